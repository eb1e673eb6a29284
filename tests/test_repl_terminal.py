"""The line editor at a terminal: whatever is typed, and whatever comes meanwhile, the screen shows the line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.repl.lines import BadLineError
from iridium.repl.terminal.editor import HISTORY, LineEditor
from iridium.repl.terminal.keys import Key, KeyReader, Press
from iridium.repl.terminal.terminal import MOST_LISTED, Terminal
from iridium.repl.terminal.width import cells
from tests.vt import ModelTerminal

PROMPT = ">>> "
UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"
WORDS = ["!members", "!mesh", "!registers", "add", "addf64", "@loop"]


def appearance(text: str, cursor: int | None = None) -> str:
    """What a line, or what is before a place in it, looks like."""
    count = None if cursor is None else len(cells(text[:cursor]))
    return "".join(cell.shown for cell in cells(text)[:count])


class Typist:
    """Somebody at a terminal, in front of a session that asks for the next line at once.

    Attributes:
        lines: what was entered.
        interrupts, ended: how often Ctrl-C and Ctrl-D were taken for what they are.
    """

    def __init__(self, columns: int = 40, rows: int = 24) -> None:
        self.screen = ModelTerminal(columns, rows)
        self.terminal = Terminal(
            self.screen.feed,
            self,
            LineEditor(self._complete, lambda line: "secret" not in line),
            PROMPT,
            columns,
            rows,
        )
        self.lines: list[str | BadLineError] = []
        self.interrupts = self.ends = 0
        self.asks = True
        self.transcript = ""
        self.terminal.open()
        self.say(PROMPT)

    @staticmethod
    def _complete(word: str) -> list[str]:
        return [one for one in WORDS if one.startswith(word)]

    def entered(self, line: str | BadLineError) -> None:
        self.lines.append(line)
        self.transcript += appearance(line if isinstance(line, str) else "") + "\n"
        if self.asks:
            self.say(PROMPT)

    def interrupted(self) -> None:
        self.interrupts += 1

    def ended(self) -> None:
        self.ends += 1

    def say(self, text: str) -> None:
        """The session writes."""
        self.transcript += text
        self.terminal.write(text)

    def news(self, text: str) -> None:
        """Something comes that nobody asked for."""
        assert self.transcript.endswith(PROMPT)
        self.transcript = self.transcript.removesuffix(PROMPT)
        self.transcript += f"{text}\n{PROMPT}"
        self.terminal.write(f"\n{text}\n")
        self.terminal.write(PROMPT)

    def type(self, *keys: str | bytes) -> Typist:
        """Press keys."""
        for key in keys:
            self.terminal.feed(key.encode() if isinstance(key, str) else key)
        return self

    def resize(self, columns: int, rows: int = 24) -> None:
        """Change the size of the window."""
        self.screen.resize(columns, rows)
        self.terminal.resize(columns, rows)

    @property
    def line(self) -> str:
        """What the screen shows of the line, with a bar for the cursor."""
        editor = self.terminal.editor
        whole, before = self.screen.lines()[-1], self.screen.before_cursor()
        assert before.rstrip() == (before.rstrip() and whole[: len(before)].rstrip())
        assert before.removeprefix(PROMPT) == editor.text[: editor.cursor].replace("\t", " ")
        return f"{before}|{whole[len(before) :]}".removeprefix(PROMPT)

    def check(self) -> None:
        """The screen shows what it should and nothing else."""
        editor = self.terminal.editor
        expected = [line.rstrip() for line in (self.transcript + appearance(editor.text)).split("\n")]
        assert self.screen.lines() == expected
        lead = self.transcript.rsplit("\n", 1)[-1]
        assert self.screen.before_cursor() == lead + appearance(editor.text, editor.cursor)


@pytest.fixture
def typist() -> Typist:
    """Somebody who sees a prompt."""
    return Typist()


class TestKeys:
    """What each key does."""

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            (["abc"], "abc|"),
            (["abc", LEFT, LEFT, "x"], "ax|bc"),
            (["abc", b"\x1bOD", b"\x02", b"\x1bOC", b"\x06"], "abc|"),
            (["abc", b"\x01", "x"], "x|abc"),
            (["abc", b"\x1b[H", "x", b"\x1b[F", "y"], "xabcy|"),
            (["abc", b"\x1b[1~", "x", b"\x1b[4~", "y"], "xabcy|"),
            (["abc", b"\x1bOH", "x", b"\x1bOF", "y", b"\x01", b"\x05"], "xabcy|"),
            (["abc", b"\x7f"], "ab|"),
            (["abc", b"\x08"], "ab|"),
            (["abc", b"\x01", b"\x1b[3~"], "|bc"),
            (["abc", b"\x01", b"\x04"], "|bc"),
            (["abcd", LEFT, LEFT, b"\x0b"], "ab|"),
            (["abcd", LEFT, LEFT, b"\x15"], "|cd"),
            (["load $0 #15", b"\x17"], "load $0 |"),
            (["load $0 #15", b"\x17", b"\x17"], "load |"),
            (["load $0 #15", b"\x1b\x7f"], "load $0 |"),
            (["load $0 #15", b"\x1bb", b"\x1bb"], "load $|0 #15"),
            (["load $0 #15", b"\x1b[1;5D", b"\x1b[1;3D", b"\x1bOd"], "|load $0 #15"),
            (["load $0 #15", b"\x01", b"\x1bf"], "load| $0 #15"),
            (["load $0 #15", b"\x01", b"\x1b[1;5C", b"\x1b[5C"], "load $0| #15"),
            (["load $0 #15", b"\x01", b"\x1bd"], "| $0 #15"),
            (["abc", b"\x1b[24~", b"\x1b[[A", b"\x1bOP", b"\x1b[1;2P", b"\x1bq"], "abc|"),
            (["abc", b"\x1b]11;rgb:0000/0000/0000\x07", b"\x1bP1+r\x1b\\", b"\x1b[12;40R", "d"], "abcd|"),
        ],
    )
    def test_editing(self, typist: Typist, keys: list[str | bytes], line: str) -> None:
        """Keys move and change what one expects of a shell, and those that are not known do nothing."""
        typist.type(*keys)
        assert typist.line == line
        typist.check()

    def test_wide_and_combining_characters(self, typist: Typist) -> None:
        """The cursor moves by characters as one sees them, and stands where they are."""
        typist.type("aé漢e\u0301b", LEFT, LEFT)
        assert typist.line == "aé漢|e\u0301b"
        typist.type(LEFT, b"\x7f")
        assert typist.line == "a|漢e\u0301b"
        typist.type(b"\x1b[3~", b"\x1b[3~")
        assert typist.line == "a|b"
        typist.check()

    def test_lines_are_entered(self, typist: Typist) -> None:
        """Return ends a line, as do newline and both; the line is entered whole wherever the cursor was."""
        typist.type("one\r", "two\n", "three\r\n", "four", LEFT, b"\r")
        assert typist.lines == ["one", "two", "three", "four"]
        typist.check()

    def test_interrupt_gives_up_the_line(self, typist: Typist) -> None:
        """Ctrl-C leaves what was typed in view, marked, and asks for another line."""
        typist.type("load", b"\x03", "x\r")
        assert (typist.lines, typist.interrupts) == (["x"], 1)
        assert typist.screen.lines()[:2] == [">>> load^C", ">>> x"]

    def test_interrupt_in_the_midst_of_anything(self, typist: Typist) -> None:
        """No sequence that has not ended, and no paste, keeps Ctrl-C from being one."""
        for begun in (b"\x1b", b"\x1b[", b"\x1b[1;5", b"\x1bO", b"\x1b]0;", b"\x1b[200~abc", b"\xe6\xbc"):
            typist.type(begun, b"\x03")
        assert typist.interrupts == 7
        assert typist.type("ok\r").lines == ["ok"]

    def test_end_of_input(self, typist: Typist) -> None:
        """Ctrl-D ends only where nothing is typed."""
        typist.type("a", b"\x04")
        assert typist.ends == 0
        typist.type(b"\x7f", b"\x04")
        assert typist.ends == 1

    def test_clearing_the_screen(self, typist: Typist) -> None:
        """Ctrl-L leaves the prompt and the line, at the top."""
        typist.type("one\r", "two", LEFT, b"\x0c")
        assert typist.screen.shown() == [">>> two"]
        assert typist.line == "tw|o"

    def test_history(self, typist: Typist) -> None:
        """Up finds earlier lines, none twice in a row, none blank or secret; Down comes back to what was typed."""
        typist.type("one\r", "two\r", "two\r", "a secret\r", "\r", "   \r", "thr")
        assert typist.type(UP).line == "two|"
        assert typist.type(UP).line == "one|"
        assert typist.type(UP).line == "one|"
        assert typist.type(DOWN, DOWN).line == "thr|"
        assert typist.type(DOWN, b"\x10", b"\x0e").line == "thr|"
        typist.check()

    def test_history_is_bounded(self, typist: Typist) -> None:
        """So many lines are remembered, and none that are very long."""
        for number in range(HISTORY + 10):
            typist.type(f"line {number}\r")
        typist.type("x" * 2000 + "\r")
        assert typist.type(UP).line == f"line {HISTORY + 9}|"
        assert typist.type(*[UP] * 2 * HISTORY).line == "line 10|"

    def test_completion(self, typist: Typist) -> None:
        """Tab completes what is unique, goes as far as it is, and lists what it could be."""
        assert typist.type("!r", b"\t").line == "!registers |"
        assert typist.type("x @l\t").line == "!registers x @loop |"
        assert typist.type(b"\x15", "!m", b"\t").line == "!me|"
        typist.type(b"\t")
        assert typist.screen.lines()[-3:] == [">>> !me", "!members  !mesh", ">>> !me"]
        bells = typist.screen.bells
        assert typist.type("q", b"\t").line == "!meq|"
        assert typist.screen.bells == bells + 1
        assert typist.type(b"\x15", b"\t").terminal.editor.text == "\t"

    def test_listing_is_bounded(self, typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of very many words only some are listed."""
        monkeypatch.setattr("tests.test_repl_terminal.WORDS", [f"x{n}" for n in range(MOST_LISTED + 5)])
        typist.type("x\t")
        assert "and 5 more" in typist.screen.lines()

    def test_what_is_no_utf8(self, typist: Typist) -> None:
        """A byte that is no UTF-8 rings and is not typed."""
        assert typist.type(b"a\xfeb\xc3", "c").line == "abc|"
        assert typist.screen.bells == 2

    def test_a_line_that_is_too_long(self, typist: Typist) -> None:
        """What is longer than a line may be is discarded as it comes, and Return tells so."""
        typist.type(*["x" * 4096] * 40)
        assert typist.terminal.editor.text == ""
        typist.type("\r", "ok\r")
        assert isinstance(typist.lines[0], BadLineError)
        assert typist.lines[1] == "ok"


class TestPaste:
    """What is pasted."""

    def test_many_lines(self, typist: Typist) -> None:
        """Each line of a paste is entered, in order; a terminal sends returns for its newlines."""
        lines = [f"inc ${n % 32}" for n in range(500)]
        typist.type("\r".join(lines) + "\r")
        assert typist.lines == lines
        typist.check()

    def test_marked_as_one(self, typist: Typist) -> None:
        """In a paste that the terminal marks, nothing is a key: tabs stay, controls and sequences are dropped."""
        typist.type(b"\x1b[200~", "\tinc $0\r\n  a\x01b\x1b[Ac\n!r\t", b"\x1b[201~", "d\r")
        assert typist.lines == ["\tinc $0", "  abAc", "!r\td"]
        typist.check()

    def test_a_tab_at_the_start(self, typist: Typist) -> None:
        """An indented program can be pasted where pastes are not marked, too."""
        assert typist.type("\tinc $0\r").lines == ["\tinc $0"]


class TestScreen:
    """What is to be seen."""

    @pytest.mark.parametrize("text", ["x" * 36, "x" * 37, "x" * 100, "漢" * 18, "x" + "漢" * 40, "e\u0301" * 36])
    def test_a_line_longer_than_the_screen_is_wide(self, typist: Typist, text: str) -> None:
        """A line that fills rows is shown and edited like a short one, at the ends of rows, too."""
        typist.type(text)
        typist.check()
        for _ in text:
            typist.type(LEFT)
            typist.check()
        typist.type("y", b"\x1b[3~", b"\x05", "z", b"\x7f")
        typist.check()
        typist.type("\r", "next")
        typist.check()

    def test_a_line_longer_than_the_screen(self) -> None:
        """Of a line with no room on the screen, the part around the cursor is shown, and nothing else is lost."""
        typist = Typist(20, 5)
        text = "".join(chr(ord("a") + n % 26) for n in range(1000))
        typist.type(text)
        assert "".join(typist.screen.shown()).endswith(text[-20:])
        typist.type(b"\x01")
        assert "".join(typist.screen.shown()).startswith(">>> abcdefgh")
        typist.type("X", b"\x05", "Y\r", "next")
        assert typist.lines == [f"X{text}Y"]
        assert typist.screen.shown()[-1] == ">>> next"

    def test_news(self, typist: Typist) -> None:
        """What comes while somebody types stands above the line, which stays as it was."""
        typist.type("load $0", LEFT)
        typist.news("* beta: hello")
        assert typist.line == "load $|0"
        typist.check()
        typist.type("x" * 50)
        typist.news("* beta: hello again")
        typist.check()

    def test_typing_ahead(self, typist: Typist) -> None:
        """While a program runs, what is typed stands behind its output, and output goes on where it was."""
        typist.asks = False
        typist.type("!run\r", "!st")
        typist.check()
        typist.say("4")
        typist.check()
        typist.say("2\nand so")
        typist.check()
        typist.type("op")
        typist.say(" on\n")
        typist.check()
        typist.type("\r")
        assert typist.lines == ["!run", "!stop"]
        typist.check()

    def test_output_with_control_characters(self, typist: Typist) -> None:
        """Where nobody knows where a program left the cursor, what is typed has a row of its own."""
        typist.asks = False
        typist.type("!run\r")
        typist.say("10%\r20%\r")
        typist.type("!stop", LEFT)
        assert typist.screen.shown()[-2:] == ["20%", "!stop"]
        assert typist.screen.before_cursor() == "!sto"

    @pytest.mark.parametrize("columns", [8, 10, 39, 41, 80, 200])
    @pytest.mark.parametrize("text", ["short", "x" * 100, "漢" * 30, "x" * 36])
    def test_resize(self, typist: Typist, text: str, columns: int) -> None:
        """After a change of the width the line is shown once, and the cursor is where it was in it."""
        typist.type("earlier\r", text, LEFT, LEFT)
        typist.resize(columns)
        typist.check()
        typist.type("y", b"\x05", "z")
        typist.check()
        typist.resize(40)
        typist.type(b"\x01", "a")
        typist.check()

    def test_no_size_and_absurd_sizes(self) -> None:
        """A terminal that tells no size, or one that cannot be, is taken for one of 80 columns, or the nearest."""
        for columns, rows in ((0, 0), (1, 1), (2**32 - 1, 2**32 - 1)):
            sent: list[bytes] = []
            terminal = Terminal(sent.append, Typist(), LineEditor(lambda word: []), PROMPT, columns, rows)
            terminal.write(PROMPT)
            terminal.feed("漢x".encode() * 200)
            terminal.resize(rows, columns)
            terminal.feed(b"\x01y\r")


# --- whatever comes ---

KEYS = st.sampled_from(
    [
        *(UP, DOWN, LEFT, RIGHT, b"\x1bb", b"\x1bf", b"\x1bd", b"\x1b[3~", b"\t"),
        *(b"\x01", b"\x05", b"\x0b", b"\x15", b"\x17", b"\x7f", b"\x03", b"\r", b"\n", b"\x1b[200~", b"\x1b[201~"),
        *("a", "b c", "!m", "é", "漢字", "e\u0301", "\u0301", "👍", "x" * 30, "\xa0", "한"),
    ]
).map(lambda key: key.encode() if isinstance(key, str) else key)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(KEYS, st.tuples(st.integers(8, 60), st.just(24)), st.sampled_from(["n", "漢" * 25]))),
    st.integers(8, 60),
)
def test_the_screen_is_right_after_everything(steps: list[bytes | tuple[int, int] | str], columns: int) -> None:
    """After any keys, news and changes of the width, everything is shown that was, and the line as it is."""
    typist = Typist(columns, 60)
    for step in steps:
        if isinstance(step, bytes):
            before = typist.terminal.editor.text
            typist.type(step)
            if step == b"\x03":
                typist.transcript += f"{appearance(before)}^C\n{PROMPT}"
            if {"!members  !mesh", "add  addf64"} & {*typist.screen.lines()}:
                return  # a listing, which the transcript does not have
        elif isinstance(step, str):
            typist.news(step)
        else:
            typist.resize(step[0], 60)
        if len(typist.terminal.editor.text) > 150:
            typist.type(b"\r")
        typist.check()


def result(pieces: list[bytes]) -> tuple[object, ...]:
    """All that can be seen of what was typed in these pieces."""
    typist = Typist(20, 6)
    for piece in pieces:
        typist.type(piece)
    editor = typist.terminal.editor
    lines = [line if isinstance(line, str) else str(line) for line in typist.lines]
    shown = (typist.screen.lines(), typist.screen.before_cursor())
    return lines, typist.interrupts, typist.ends, editor.text, editor.cursor, shown


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(KEYS, max_size=40).map(b"".join)), st.data())
def test_pieces_make_no_difference(data: bytes, draw: st.DataObject) -> None:
    """Any bytes can come, in any pieces: nothing raises, and lines and screen are the same."""
    whole = result([data])
    assert result([data[n : n + 1] for n in range(len(data))]) == whole
    cut = draw.draw(st.integers(0, len(data)))
    assert result([data[:cut], data[cut:]]) == whole


def test_sequences_are_bounded() -> None:
    """A sequence that does not end keeps nothing."""
    reader = KeyReader()
    for _ in range(100):
        assert list(reader.feed(b"\x1b[" + b"1;" * 10_000)) == []
    assert len(reader._parameters) < 100
    assert list(reader.feed(b"Ca")) == [Press(Key.TEXT, "a")]
    for _ in range(100):
        assert list(reader.feed(b"\x1b]" + b"x" * 10_000)) == []
    assert list(reader.feed(b"\ra")) == [Press(Key.ENTER), Press(Key.TEXT, "a")]
