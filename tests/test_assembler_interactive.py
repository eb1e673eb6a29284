"""The assembler of a shell session: one line after another, and nothing ever moves."""

from __future__ import annotations

import struct

import pytest

from iridium.assembler import RESERVE, Fragment, Interactive, Program, Symbol, assemble, assemble_program
from iridium.errors import AssemblyError, Diagnostic
from iridium.image import HEADER, MAX_IMAGE, Image

START = HEADER + RESERVE


def enter(session: Interactive, *lines: str) -> Fragment:
    """Assemble and keep lines; the last one's fragment."""
    fragment = session.assemble("")
    for line in lines:
        fragment = session.assemble(line)
        session.keep(fragment)
    return fragment


def mistake(session: Interactive, line: str) -> Diagnostic:
    """The one thing that is wrong with a line."""
    with pytest.raises(AssemblyError) as caught:
        session.assemble(line)
    (found,) = caught.value.diagnostics
    return found


def test_an_empty_session() -> None:
    """Code starts behind the reserve."""
    session = Interactive()
    assert (session.symbols, session.read_only_used, session.code_end) == ({}, 0, START)
    assert Interactive(reserve=100).code_end == HEADER + 100


def test_instructions_are_appended() -> None:
    """Each line goes to the end of the code; several words too."""
    session = Interactive()
    first = session.assemble("load $1 #70000")
    assert first == Fragment(b"", bytes.fromhex("0001000127011170"), {}, 0, START, {})
    session.keep(first)
    assert enter(session, "hlt").code_at == START + 8
    assert session.code_end == START + 12


def test_assemble_is_pure() -> None:
    """A line that faults is not kept, and leaves no trace."""
    session = Interactive()
    for line in ("l: hlt", "x: .byte #1", "loadf64 $1 #0.5"):
        assert session.assemble(line) == session.assemble(line)
    assert (session.symbols, session.read_only_used, session.code_end) == ({}, 0, START)


def test_labels() -> None:
    """Code and data labels are kept and known to later lines."""
    session = Interactive()
    fragment = enter(session, "a: nop", "x: .asciiz 'hi'", "b:")
    assert fragment.symbols == {"b": Symbol("b", "code", START + 4)}
    assert session.symbols == {
        "a": Symbol("a", "code", START),
        "x": Symbol("x", "data", 0),
        "b": Symbol("b", "code", START + 4),
    }
    assert session.assemble("djmpe @b").code == b"\x14" + (START + 4).to_bytes(3, "little")[1::-1] + b"\0"
    assert session.assemble("prts @x").code == b"\x15\0\0\0"


def test_a_line_may_name_its_own_label() -> None:
    """A loop on one line, and the load of one's own address."""
    session = Interactive()
    assert session.assemble("l: djmpe @l").code == b"\x14" + START.to_bytes(2, "big") + b"\0"
    assert session.assemble("l: load $1 @l").code == b"\0\x01" + START.to_bytes(2, "big")


def test_data_goes_after_data() -> None:
    """Data of all kinds and constants fill the read-only section in the order of the lines."""
    session = Interactive()
    enter(session, ".byte #1 #2")
    fragment = enter(session, "loadf64 $1 #0.5")
    assert (fragment.read_only, fragment.read_only_at) == (struct.pack("<d", 0.5), 2)
    assert fragment.code == b"\x37\x01\0\x02"
    assert enter(session, "x: .integer #7").symbols["x"].value == 10
    assert session.read_only_used == 14


def test_constants_are_there_once() -> None:
    """A constant that the session has is used again."""
    session = Interactive()
    enter(session, ".byte #1", "loadf64 $1 #0.5", "loadf64 $2 #0.25")
    fragment = session.assemble("loadf64 $3 #5e-1")
    assert (fragment.read_only, fragment.code) == (b"", b"\x37\x03\0\x01")


@pytest.mark.parametrize("line", ["", "  ; x", ".data", ".code", ".CODE ; x", "\r\n", "nop ; x\r\n"])
def test_lines_that_add_no_data(line: str) -> None:
    """Sections do nothing, so that a program can be pasted; what ends a line does not count."""
    fragment = Interactive().assemble(line)
    assert (fragment.read_only, fragment.symbols, len(fragment.code)) == (b"", {}, 4 * ("nop" in line))


def test_raw_words() -> None:
    """.word is code here too."""
    assert Interactive().assemble(".word #1 #2").code == b"\1\0\0\0\2\0\0\0"


@pytest.mark.parametrize(
    ("line", "token", "message", "suggestion"),
    [
        ("a: nop", "a", "the label `a` is already defined", None),
        ("a:", "a", "the label `a` is already defined", None),
        ("djmpe @aa", "@aa", "in the shell a label must be defined before it is used", "did you mean `@a`?"),
        ("djmpe @zzzz", "@zzzz", "there is no label `zzzz`: in the shell", None),
        ("prts @a", "@a", "`a` is a code label; PRTS takes a data label", None),
        ("l: prts @l", "@l", "`l` is a code label", None),
        ("load $1", "load", "LOAD takes 2 operands", "write `LOAD $r #n`"),
        ("htl", "htl", "there is no instruction `htl`", "did you mean `hlt`?"),
        (".text", ".text", "there is no directive or section", "sections are"),
        (".data #1", "#1", ".data takes no operands", None),
        (".version #1", ".version", ".version belongs into a file", None),
        (".file 'x'", ".file", ".file belongs into a file", None),
        (".line #1", ".line", ".line belongs into a file", None),
        ("nop\nnop", "\n", "unexpected character U+000A", None),
        ("add $1, $2 $3", ",", "separated by spaces", None),
        ("nop 'x", "'x", "the string is not closed", "end it with '"),
    ],
)
def test_mistakes(line: str, token: str, message: str, suggestion: str | None) -> None:
    """Mistakes are told as in a file, and what only a session has in its own words."""
    session = Interactive()
    enter(session, "a: nop")
    found = mistake(session, line)
    assert message in found.message
    assert found.source[found.column - 1 : found.column - 1 + found.width] == token
    assert found.suggestion is None if suggestion is None else suggestion in (found.suggestion or "")


def test_mistakes_say_where() -> None:
    """File and line are what the shell says they are, and several mistakes come at once."""
    with pytest.raises(AssemblyError) as caught:
        Interactive().assemble("add $32 $1, #5", file="<telnet>", line=17)
    assert [d.headline().split(": ")[0] for d in caught.value.diagnostics] == [
        "<telnet>:17:5",
        "<telnet>:17:11",
        "<telnet>:17:13",
    ]


def test_the_reserve_runs_out() -> None:
    """Data beyond the reserve is an error that says what to do; a line that fits still goes."""
    session = Interactive(reserve=10)
    enter(session, ".float #1")
    for line in (".byte #1 #2 #3", "loadf64 $1 #0.5"):
        found = mistake(session, line)
        assert "room for 2" in found.message
        assert found.suggestion == "clear the program and start again"
    enter(session, ".byte #1 #2", "nop")
    assert session.read_only_used == 10
    mistake(session, ".byte #1")


def test_after_a_program() -> None:
    """A session goes on where the program ends, with its labels and the rest of its reserve."""
    program = assemble_program(".data\nx: .byte #5\n.code\nmain: hlt", reserve=RESERVE)
    session = Interactive(program)
    assert (session.read_only_used, session.code_end) == (1, START + 4)
    fragment = enter(session, "y: .byte #6", "prts @y", "call @main")
    assert fragment.code == b"\x2e" + START.to_bytes(2, "big") + b"\0"
    assert "y" not in program.symbols
    assert "already defined" in mistake(session, "main: nop").message


def test_after_an_image_without_room() -> None:
    """A loaded binary has no reserve: code can be added, data cannot."""
    image = Image(b"\x05\0\0\0", b"abc")
    session = Interactive(Program(image, {}, len(image.read_only)))
    assert session.code_end == HEADER + 7
    enter(session, "nop")
    assert mistake(session, ".byte #1").suggestion == "clear the program and start again"


def test_loads_of_far_labels_are_long() -> None:
    """A label's value decides, since what is before it never moves."""
    program = assemble_program(".code\na: nop\n" + "nop\n" * 20000 + "b: hlt", reserve=RESERVE)
    session = Interactive(program)
    assert session.assemble("load $1 @a").code == b"\0\x01" + START.to_bytes(2, "big")
    far = START + 4 * 20001
    assert session.assemble("load $1 @b").code == struct.pack(">BBHBBH", 0, 1, far >> 16, 39, 1, far & 0xFFFF)


def test_constants_out_of_reach() -> None:
    """LOADCF64 reaches 64 KiB of read-only data; beyond, a constant is an error, not another constant."""
    session = Interactive(reserve=100_000)
    enter(session, *(".float" + " #0" * 1024 for _ in range(8)))
    assert "no room for the constant" in mistake(session, "loadf64 $1 #0.5").message


def test_the_program_is_full() -> None:
    """Addresses have 24 bits in a session too."""
    session = Interactive(reserve=MAX_IMAGE - HEADER - 4)
    enter(session, "nop")
    assert "the program is full" in mistake(session, "nop").message
    enter(session, ".byte #1")


def test_keep_refuses_what_is_out_of_date() -> None:
    """A fragment has addresses in it: it can only go where it was assembled for."""
    session = Interactive()
    first, second = session.assemble("nop"), session.assemble("hlt")
    session.keep(first)
    with pytest.raises(ValueError, match="belongs"):
        session.keep(second)


def test_a_session_makes_the_code_of_a_file() -> None:
    """Typed line by line, a program has the code it has when it is assembled from a file with the same reserve."""
    lines = [
        ".data",
        "x: .asciiz 'hi'",
        "y: .integer #3",
        ".code",
        "l: loadc $1 @y",
        "load $2 @l",
        "djmpe @l",
        "prts @x",
    ]
    session = Interactive(reserve=64)
    code = b""
    for line in lines:
        fragment = session.assemble(line)
        session.keep(fragment)
        code += fragment.code
    assert code == assemble("\n".join(lines), reserve=64).code
