"""Mistakes in a source: each told where it is, with what to do about it, and all of them at once."""

from __future__ import annotations

import time

import pytest

from iridium.assembler import MAX_NAME, assemble, decode_source
from iridium.assembler.syntax import MAX_SOURCE, split_lines
from iridium.errors import CUT, LONGEST_EXCERPT, AssemblyError, Diagnostic


def mistakes(source: str) -> list[Diagnostic]:
    """What the assembler says about a wrong source."""
    with pytest.raises(AssemblyError) as caught:
        assemble(source, file="f.iasm")
    return caught.value.diagnostics


def marked(diagnostic: Diagnostic) -> str:
    """The characters under the carets."""
    return diagnostic.source[diagnostic.column - 1 : diagnostic.column - 1 + diagnostic.width]


@pytest.mark.parametrize(
    ("line", "token", "message", "suggestion"),
    [
        # Mnemonics and directives.
        ("  laod $1 #1", "laod", "there is no instruction `laod`", "did you mean `load`?"),
        ("x: ADDF46 $1 $2 $3", "ADDF46", "there is no instruction", "did you mean `ADDF64`?"),
        ("qqqqq", "qqqqq", "there is no instruction", None),
        ("asciiz 'x'", "asciiz", "there is no instruction", "did you mean `.asciiz`?"),
        (".asciz 'x'", ".asciz", "there is no directive or section `.asciz`", "did you mean `.asciiz`?"),
        (".text", ".text", "there is no directive or section `.text`", "sections are .data and .code"),
        ("add$1 $2 $3", "add$1", "`add$1` is no instruction", "write `add $1`"),
        ("$1", "$1", "a line starts with an instruction or a directive", None),
        ("'x'", "'x'", "a line starts with an instruction or a directive", None),
        # How many operands.
        ("add $1 $2 ; $3", "add", "ADD takes 3 operands; here are 2", "write `ADD $a $b $c`"),
        ("load", "load", "LOAD takes 2 operands; here are none", "write `LOAD $r #n`"),
        ("jmp", "jmp", "JMP takes 1 operand; here are none", "write `JMP $r`"),
        ("jmp $1 $2", "$2", "JMP takes 1 operand; here are 2", "write `JMP $r`"),
        ("hlt $1  #2", "$1  #2", "HLT takes no operands; here are 2", "write `HLT`"),
        ("l: hlt #5", "#5", "HLT takes no operands; here is 1", "write `HLT`"),
        (".word", ".word", ".word needs an operand", None),
        # Registers.
        ("inc $32", "$32", "there is no register `$32`", "registers are $0 to $31"),
        ("inc $256", "$256", "there is no register `$256`", "registers are $0 to $31"),
        ("inc $99999999999999999999", "$99999999999999999999", "there is no register", "registers are"),
        ("inc $", "$", "`$` is not a register", "registers are $0 to $31"),
        ("inc $-1", "$-1", "`$-1` is not a register", "registers are $0 to $31"),
        ("inc $x", "$x", "`$x` is not a register", "registers are $0 to $31"),
        ("inc #1", "#1", "`#1` is not a register", "write `INC $r`"),
        ("inc 1", "1", "`1` is not a register", "registers are $0 to $31"),
        ("inc @l", "@l", "`@l` is not a register", "write `INC $r`"),
        ("inc 'x'", "'x'", "`'x'` is not a register", "write `INC $r`"),
        # Integers.
        ("load $1 #99999999999", "#99999999999", "out of range: -2147483648 to 2147483647, or hex up to", None),
        ("load $1 #4294967295", "#4294967295", "out of range", None),
        ("load $1 #0x100000000", "#0x100000000", "out of range", None),
        ("load $1 #-2147483649", "#-2147483649", "out of range", None),
        ("load $1 #" + "9" * 5000, "#" + "9" * 5000, "out of range", None),
        ("lui $1 #-1", "#-1", "out of range: 0 to 65535", None),
        ("lui $1 #65536", "#65536", "out of range: 0 to 65535", None),
        ("addi $1 #32768", "#32768", "out of range: -32768 to 32767", None),
        ("addi $1 #0xffff", "#0xffff", "out of range", None),
        ("shl $1 #256", "#256", "out of range: 0 to 255", None),
        ("cloop #0x1000000", "#0x1000000", "out of range: 0 to 16777215", None),
        ("djmpe #-1", "#-1", "out of range: 0 to 16777215", None),
        ("prts #16777216", "#16777216", "out of range", None),
        ("loadc $1 #65536", "#65536", "out of range: 0 to 65535", None),
        (".word #0x100000000", "#0x100000000", "out of range", None),
        (".word #-1", "#-1", "out of range", None),
        ("load $1 #", "#", "`#` is not a number", "numbers are written"),
        ("load $1 #1x", "#1x", "`#1x` is not a number", "numbers are written"),
        ("load $1 #0x", "#0x", "is not a number", "numbers are written"),
        ("load $1 #+1", "#+1", "is not a number", "numbers are written"),
        ("load $1 5", "5", "`5` is not a number: # is missing", "write `#5`"),
        ("load $1 $2", "$2", "`$2` is not a number", "write `LOAD $r #n`"),
        ("load $1 'x'", "'x'", "`'x'` is not a number", "write `LOAD $r #n`"),
        ("load $1 #1.5", "#1.5", "must be an integer", "LOADF64 and .float take numbers like #1.5"),
        ("load $1 #1e3", "#1e3", "must be an integer", "LOADF64 and .float"),
        ("cloop @l", "@l", "`@l` is not a number", "write `CLOOP #n`"),
        ("lui $1 @l", "@l", "`@l` is not a number", "write `LUI $r #n`"),
        # Floats.
        ("loadf64 $1 #1.5.2", "#1.5.2", "is not a number", "numbers are written"),
        ("loadf64 $1 #1e", "#1e", "is not a number", "numbers are written"),
        ("loadf64 $1 1.5", "1.5", "# is missing", "write `#1.5`"),
        ("loadf64 $1 #1e999", "#1e999", "is too large for a float", "or #inf"),
        ("loadf64 $1 #-nan", "#-nan", "is not a number", "numbers are written"),
        ("loadf64 $1 #0x100000000", "#0x100000000", "out of range", None),
        ("loadf64 $1 #." + "1" * 2000, "#." + "1" * 2000, "more than 1200 characters", None),
        ("loadf64 $1 @l", "@l", "`@l` is not a number", "write `LOADF64 $f #n`"),
        # Labels.
        ("djmpe @strat", "@strat", "there is no label `strat`", "did you mean `@start`?"),
        ("djmpe @START", "@START", "there is no label `START`", "did you mean `@start`?"),
        ("djmpe @zzz", "@zzz", "there is no label `zzz`", None),
        ("djmpe @", "@", "there is no label ``", None),
        ("djmpe @msg", "@msg", "`msg` is a data label; DJMPE takes a code label", None),
        ("call @msg", "@msg", "`msg` is a data label; CALL takes a code label", None),
        ("prts @start", "@start", "`start` is a code label; PRTS takes a data label", None),
        ("loadc $1 @start", "@start", "`start` is a code label; LOADC takes a data label", None),
        ("djmpe start", "start", "`start` is not a number", "numbers are written"),
        ("start: hlt", "start", "the label `start` is already defined on line 4", None),
        ("msg: hlt", "msg", "the label `msg` is already defined on line 2", None),
        (
            "x" * (MAX_NAME + 1) + ": hlt",
            "x" * (MAX_NAME + 1),
            "the label has 256 characters; the most is 255",
            None,
        ),
        ("a: b: hlt", "b:", "a line has one label", None),
        ("a:b:", "b:", "a line has one label", None),
        ("a : hlt", ":", "a line has one label", None),
        ("hlt a:", "a:", "a line has one label", None),
        ("a-b: hlt", "a-b:", "`a-b` is no label: names have letters, digits and _", None),
        ("@a: hlt", "@a:", "`@a` is no label", None),
        # Characters.
        ("add $1, $2 $3", ",", "operands are separated by spaces, not commas", None),
        ("add $1,$2,$3", ",", "operands are separated by spaces, not commas", None),
        ("\tadd $1 $2 é", "é", "unexpected character `é` (U+00E9)", None),
        ("hlt\u00a0", "\u00a0", "unexpected character U+00A0 NO-BREAK SPACE", None),
        ("hlt \x1b", "\x1b", "unexpected character U+001B", None),
        ("hlt \0", "\0", "unexpected character U+0000", "is that a binary file?"),
        ("hlt \x0c", "\x0c", "unexpected character U+000C", None),
        ("été: hlt", "é", "unexpected character `é`", None),
        ("hlt !", "!", "unexpected character `!`", None),
        ('prts "x"', '"', "strings stand between single quotes", "write 'text'"),
        ("prts 'x", "'x", "the string is not closed", "end it with '"),
        ("prts 'x\\'", "'x\\'", "the string is not closed", "end it with '"),
        ("prts 'x ; y", "'x ; y", "the string is not closed", "end it with '"),
        ("prts 'a''b'", "'b'", "a space must stand between operands", None),
        ("prts 'a'b", "b", "a space must stand between operands", None),
        # Sections.
        (".integer #1", ".integer", ".integer belongs into .data, this is .code", None),
        (".ASCIIZ 'x'", ".ASCIIZ", ".asciiz belongs into .data, this is .code", None),
        (".code", ".code", "there is a .code section already, on line 3", None),
        # Settings.
        (".version #2", "#2", "`#2` is out of range: 0 to 1", None),
        (".version", ".version", ".version takes 1 operand; here are none", None),
        (".version #0 #1", "#1", ".version takes 1 operand; here are 2", None),
        (".file name", "name", "`name` is not a string", "write 'text'"),
        (".file '\\xff'", "'\\xff'", "`'\\xff'` is not UTF-8", None),
        (".line #-1", "#-1", "out of range", None),
        ("l: .line #1", "l", ".line takes no label", "a line of its own"),
        ("l: .version #1", "l", ".version takes no label", "a line of its own"),
    ],
)
def test_one_mistake_in_code(line: str, token: str, message: str, suggestion: str | None) -> None:
    """Each mistake is one diagnostic, under the very token that is wrong, and says how to go on."""
    source = f".data\nmsg: .asciiz 'x'\n.code\nstart: nop\n{line}\n hlt"
    (found,) = mistakes(source)
    assert message in found.message
    assert (found.file, found.line, found.source, marked(found)) == ("f.iasm", 5, line, token)
    assert found.suggestion is None if suggestion is None else suggestion in (found.suggestion or "")


@pytest.mark.parametrize(
    ("line", "token", "message", "suggestion"),
    [
        ("add $1 $2 $3", "add", "ADD belongs into .code, this is .data", None),
        (".word #1", ".word", ".word belongs into .code, this is .data", "write .integer"),
        (".line #1", ".line", ".line belongs into .code, this is .data", None),
        (".byte", ".byte", ".byte needs an operand", None),
        (".byte #256", "#256", "out of range: -128 to 255", None),
        (".byte #0 #-129 #1", "#-129", "out of range", None),
        (".byte #1.5", "#1.5", "must be an integer", "LOADF64 and .float"),
        (".byte 'x'", "'x'", "is not a number", "numbers are written"),
        (".byte $1", "$1", "is not a number", "numbers are written"),
        (".integer #2147483648", "#2147483648", "out of range", None),
        (".integer @x", "@x", "is not a number", "numbers are written"),
        (".float", ".float", ".float needs an operand", None),
        (".float #x", "#x", "is not a number", "numbers are written"),
        (".asciiz", ".asciiz", ".asciiz takes 1 operand; here are none", "write `.asciiz 'text'`"),
        (".asciiz 'a' 'b'", "'b'", ".asciiz takes 1 operand; here are 2", "write `.asciiz 'text'`"),
        (".asciiz x", "x", "`x` is not a string", "write 'text'"),
        (".asciiz 'ab\\qc'", "\\q", "`\\q` is no escape", r"\xHH (two hex digits)"),
        (".asciiz '\\x4'", "\\x", "`\\x` is no escape", r"\xHH (two hex digits)"),
        (".asciiz '\\u0041'", "\\u", "`\\u` is no escape", r"\xHH (two hex digits)"),
        (".asciiz 'a\ud800'", "\ud800", "U+D800 is not a character", None),
        (".code #1 #2", "#1 #2", ".code takes no operands", None),
        ("l: .code", "l", ".code takes no label", "a line of its own"),
    ],
)
def test_one_mistake_in_data(line: str, token: str, message: str, suggestion: str | None) -> None:
    """As in code."""
    end = "" if ".code" in line else "\n.code"
    (found,) = mistakes(f".data\n{line}{end}")
    assert message in found.message
    assert (found.line, found.source, marked(found)) == (2, line, token)
    assert found.suggestion is None if suggestion is None else suggestion in (found.suggestion or "")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", [(1, 1, "the program has no .code section")]),
        ("; nothing\n", [(2, 1, "the program has no .code section")]),
        (".data\n.byte #1\n.version #1", [(3, 1, "the program has no .code section")]),
        ("hlt\nhlt\n.code\nhlt", [(1, 1, "a statement before any section")]),
        ("hlt", [(1, 1, "a statement before any section")]),
        ("l:\n.code", [(1, 1, "a statement before any section")]),
        (".line #1\n.code", [(1, 1, "a statement before any section")]),
        ("m: .byte #1\n.code\nprts @m", [(1, 1, "a statement before any section")]),
        (".code\nm: .byte #1\nprts @m", [(2, 4, ".byte belongs into .data, this is .code")]),
        (".data\nl: nop\n.code\ndjmpe @l", [(2, 4, "NOP belongs into .code, this is .data")]),
        (".data\n.code\nhlt\n.data", [(4, 1, "there is a .data section already, on line 1")]),
        (".version #1\n.version #1\n.code", [(2, 1, "there is a .version already, on line 1")]),
        (".file 'a'\n.code\n.file 'a'", [(3, 1, "there is a .file already, on line 1")]),
        (".code\nl: nop\nl: nop\nl: nop", [(n, 1, "the label `l` is already defined on line 2") for n in (3, 4)]),
    ],
)
def test_whole_sources(source: str, expected: list[tuple[int, int, str]]) -> None:
    """Mistakes of the whole program; a cause is told once, not again at everything that follows from it."""
    assert [(d.line, d.column, d.message) for d in mistakes(source)] == expected


@pytest.mark.parametrize(
    ("line", "token", "message"),
    [
        ("mov $1 $2", "mov", "MOV needs image version 1; .version on line 2 says 0"),
        ("loadf64 $1 #1.5", "#1.5", "a constant other than an integer from 0 to 65535 needs image version 1"),
        ("djmpe #65536", "#65536", "an operand over 65535 needs image version 1"),
        ("cloop #70000", "#70000", "an operand over 65535 needs image version 1"),
        (".line #1", ".line", ".line needs image version 1"),
        (".file 'x'", ".file", ".file needs image version 1"),
    ],
)
def test_what_version_0_does_not_have(line: str, token: str, message: str) -> None:
    """An explicit version 0 is a promise that the assembler checks, at each thing that would break it."""
    (found,) = mistakes(f".code\n.version #0\nnop\n{line}\nhlt")
    assert message in found.message
    assert (found.line, marked(found)) == (4, token)


def test_a_label_too_far_for_version_0() -> None:
    """A label's address counts as the number that it is."""
    source = ".version #0\n.code\ndjmpe @l\nload $1 @l\n" + "nop\n" * 20000 + "l: hlt"
    (found,) = mistakes(source)
    assert (found.line, marked(found)) == (3, "@l")


def test_a_label_out_of_reach() -> None:
    """LOADC reaches 64 KiB; a label beyond is an error, never a wrong offset."""
    data = ".float" + " #0" * 8192
    (found,) = mistakes(f".data\n{data}\nx: .integer #1\n.code\nloadc $1 @x")
    assert found.message == "`x` is at read-only offset 65536; LOADC reaches 65535"
    assert (found.line, marked(found)) == (5, "@x")


def test_all_mistakes_at_once_in_order() -> None:
    """Mistakes of all passes come together, several of one line too, in the order of the source."""
    source = ".code\ndjmpe @no\nadd $40, #5 $1 ; '\nfoo\nl: nop\nl: load $50 #x\nprts @l\n 'x"
    found = [(d.line, d.column, marked(d)) for d in mistakes(source)]
    assert found == [
        (2, 7, "@no"),
        (3, 5, "$40"),
        (3, 8, ","),
        (3, 10, "#5"),
        (4, 1, "foo"),
        (6, 1, "l"),
        (6, 9, "$50"),
        (6, 13, "#x"),
        (7, 6, "@l"),
        (8, 2, "'x"),
    ]


def test_a_comma_does_not_hide_the_label_of_its_line() -> None:
    """A line that is wrong still defines its label, so that uses of it are no further mistakes."""
    for line in ("l: add $1, $2, $3", "l: 'x", "l: nonsense", "l: é"):
        assert len(mistakes(f".code\n{line}\ndjmpe @l")) == 1


def test_a_rendered_mistake() -> None:
    """The whole text: headline for editors, line, caret under the token also after tabs, suggestion."""
    (found,) = mistakes(".code\n\tl:\tload $1 #70000x ; comment")
    assert found.render() == (
        "f.iasm:2:13: error: `#70000x` is not a number\n"
        "    \tl:\tload $1 #70000x ; comment\n"
        "    \t  \t        ^^^^^^^\n"
        "    numbers are written #10, #0x1f, #-3 or #1.5"
    )


def test_suggestions_for_the_first_mistakes_only() -> None:
    """Working out suggestions is slow, and nobody sees more than are shown."""
    found = mistakes(".code\n" + "laod $1 #1\n" * 30)
    assert [d.suggestion is not None for d in found] == [True] * 20 + [False] * 10


def test_long_tokens_are_cut_in_messages() -> None:
    """A token of a megabyte is not repeated in every message."""
    (found,) = mistakes(".code\n" + "x" * 1_000_000)
    assert len(found.message) < 100
    assert found.width == 1_000_000


def test_lines_count_from_newlines_alone() -> None:
    """Other characters that some editors take for line ends do not move the numbers; ``\\r\\n`` is one end."""
    found = mistakes(".code ; \x0b \x0c \x85 \u2028\r\nhlt\r\nfoo\r\n")
    assert [(d.line, d.source) for d in found] == [(3, "foo")]


@pytest.mark.parametrize(
    ("data", "line", "column", "byte"),
    [
        (b"\xff", 1, 1, "0xff"),
        (b".code\nhlt ; \xc3\xa9 \xe9\n", 2, 9, "0xe9"),
        (b".code\r\n\xc3", 2, 1, "0xc3"),
    ],
)
def test_bytes_that_are_not_utf8(data: bytes, line: int, column: int, byte: str) -> None:
    """A file in another encoding is told where it is first wrong, counted in characters."""
    with pytest.raises(AssemblyError, match=f"byte {byte} is not UTF-8") as caught:
        decode_source(data, "f")
    (found,) = caught.value.diagnostics
    assert (found.file, found.line, found.column) == ("f", line, column)


@pytest.mark.parametrize(
    ("line", "marked_as"),
    [
        ("x" * 70 + " foo! " + "y" * 500, "!"),
        ("bar" + "y" * 500, "bar" + "y" * (LONGEST_EXCERPT - 3) + CUT),
        ("add $1 $2 '" + "z" * 400 + "' %", "%"),
        ("add " + "\x1b" * 3 + "\0" * 400, "\\x1b"),
        ("\tnop 'a\x1b[2J' \x85", "\\x85"),
    ],
)
def test_what_is_shown_of_a_line(line: str, marked_as: str) -> None:
    """Of a long line there is the part around the caret, and what does not print is an escape: no file drives a
    terminal or fills it. The caret stands under the token all the same.
    """
    said = [found.render().split("\n") for found in mistakes(f".code\n{line}")]
    for _, excerpt, carets, *_ in said:
        assert excerpt.replace("\t", "").isprintable()
        assert len(excerpt) <= 4 + LONGEST_EXCERPT + 2 * len(CUT)
        assert len(carets) <= len(excerpt)
    shown = [excerpt[carets.index("^") : carets.rindex("^") + 1] for _, excerpt, carets, *_ in said]
    assert marked_as in shown


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\0\0\xd0", b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_binary_file(data: bytes) -> None:
    """What is no text at all is called so, and its bytes do not reach the terminal."""
    with pytest.raises(AssemblyError, match="that is a binary file, not a source") as caught:
        decode_source(data, "f")
    assert str(caught.value).replace("\n", "").isprintable()


def test_a_file_in_utf_16() -> None:
    """It has zeros too, but somebody has written it."""
    with pytest.raises(AssemblyError, match="save the file in UTF-8"):
        decode_source(".code\nhlt".encode("utf-16"), "f")


def test_the_size_of_a_source_is_limited() -> None:
    """A source that no image could be as large as is refused before it is read."""

    class Endless(str):
        def __len__(self) -> int:
            return MAX_SOURCE + 1

    with pytest.raises(AssemblyError, match="the most is"):
        split_lines(Endless(), "f")


@pytest.mark.parametrize(
    "body",
    [
        "foo $1\n" * 50_000,
        "add $1, $40, #3\n" * 20_000,
        "é\n" * 50_000,
        "".join(f"label_{n}: djmpe @lable_{n}\n" for n in range(50_000)),
        "add " + "," * 300_000,
        "add " + "$1 " * 100_000 + "é",
        "nop '" + "\\" * 300_001,
        "load $1 #" + "1" * 1_000_000 + "x",
        "loadf64 $1 #" + "1" * 1_000_000,
        ".word " + "#x " * 50_000,
        " " * 1_000_000 + "é",
        "x" * 1_000_000 + " :",
        "l: " + "a:" * 300_000,
    ],
    ids=lambda body: body[:12],
)
def test_bad_sources_end_soon(body: str) -> None:
    """Time is linear in the length of the source, whatever is wrong with it: seconds would be minutes if not."""
    start = time.process_time()
    mistakes(f".code\n{body}")
    assert time.process_time() - start < 8
