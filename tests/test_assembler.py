"""The language: what correct sources assemble to."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from iridium.assembler import Program, Symbol, assemble, assemble_program, decode_source, disassemble
from iridium.errors import AssemblyError, ImageError
from iridium.image import HEADER, MAX_IMAGE, NEAR, Image, LineTable

DOCS = Path(__file__).parents[1] / "docs"


def code_of(*lines: str) -> str:
    """The words of a code section with these lines, in hex."""
    return assemble("\n".join((".code", *lines))).code.hex(" ", 4)


def data_of(*lines: str) -> bytes:
    """The read-only section of a data section with these lines."""
    return assemble("\n".join((".data", *lines, ".code"))).read_only


GOLDEN = """\
; The example of the documentation, in short.
.data
done:   .asciiz 'off\\n'      ; 5 bytes
.code
        load $1 #3
        load $2 #0
again:  dec $1
        GT $1 $2
        djmpe @again
        prts @done
        hlt
"""


def test_golden_program() -> None:
    """A whole program, byte by byte: labels are right after a data section, and the image is version 0."""
    image = assemble(GOLDEN)
    assert image == Image(
        code=bytes.fromhex("00010003 00020000 13010000 0e010200 14005100 15000000 05000000"),
        read_only=b"off\n\0",
    )
    assert image.code_address + 8 == 0x51


def test_golden_program_of_version_1() -> None:
    """Constants come first in the read-only section and move the data; newer opcodes make version 1."""
    program = assemble_program(
        ".data\nx: .integer #-1\n.code\nloadf64 $1 #1.5\nloadc $2 @x\nloadf64 $3 #1.5\nprtf64 $1\nl: hlt",
        line_table=True,
        file="f.iasm",
    )
    assert program == Program(
        Image(
            bytes.fromhex("37010000 36020008 37030000 40010000 05000000"),
            struct.pack("<di", 1.5, -1),
            1,
            LineTable("f.iasm", (4, 5, 6, 7, 8)),
        ),
        {"x": Symbol("x", "data", 8), "l": Symbol("l", "code", 96)},
        12,
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("load $0 #500", "000001f4"),
        ("load $1 #0", "00010000"),
        ("load $1 #65535", "0001ffff"),
        ("load $1 #65536", "00010001 27010000"),
        ("load $1 #-1", "0001ffff 2701ffff"),
        ("load $1 #-2147483648", "00018000 27010000"),
        ("load $1 #2147483647", "00017fff 2701ffff"),
        ("load $1 #0xffffffff", "0001ffff 2701ffff"),
        ("load $1 #0x80000000", "00018000 27010000"),
        ("load $1 #-0x80000000", "00018000 27010000"),
        ("load $1 #0XfF", "000100ff"),
        ("load $1 #0100", "00010064"),
        ("load $01 #1", "00010001"),
        ("lui $1 #65535", "2701ffff"),
        ("shl $1 #5", "21010500"),
        ("shr $31 #0", "221f0000"),
        ("addi $1 #-32768", "34018000"),
        ("cloop #0xffffff", "28ffffff"),
        ("djmpn #68", "43004400"),
        ("prts #65536", "15000001"),
        ("loadc $1 #65535", "3601ffff"),
        ("loadf64 $2 #7", "16020007"),
        ("loadf64 $2 #7.0", "16020007"),
        ("loadf64 $2 #0.0", "16020000"),
        ("loadf64 $2 #65535", "1602ffff"),
        ("addf64 $1 $2 $3", "17010203"),
        ("gtef64 $1 $2", "1e010200"),
        ("HLT", "05000000"),
        ("Add $1 $2 $3", "01010203"),
        (".word #0xdeadbeef", "efbeadde"),
        (".WORD #1 #0x2", "01000000 02000000"),
        ("\t add\t$1  $2\t$3 ;x", "01010203"),
        ("hlt;", "05000000"),
        ("l:hlt", "05000000"),
        ("l:", ""),
        (";", ""),
        ("; 'x", ""),
    ],
)
def test_one_line_of_code(line: str, words: str) -> None:
    """Every form of operand at the ends of its range, and every way to lay a line out."""
    assert code_of(line) == words


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (r".asciiz 'a;b'", b"a;b\0"),
        (r".asciiz ''", b"\0"),
        (r".asciiz '\n\t\\\'\0\x7F\xff'", b"\n\t\\'\0\x7f\xff\0"),
        (r".asciiz 'a\\'", b"a\\\0"),
        (r".asciiz '  two  spaces, \x41'", b"  two  spaces, A\0"),
        (".asciiz 'grüße €'", "grüße €\0".encode()),
        (".asciiz '@x $1 #2 label: \"'", b'@x $1 #2 label: "\0'),
        (".integer #-2", b"\xfe\xff\xff\xff"),
        (".integer #1 #0xffffffff", b"\x01\0\0\0\xff\xff\xff\xff"),
        (".byte #-128 #255 #0x10", b"\x80\xff\x10"),
        (".byte #0 #255", b"\0\xff"),
        (".float #1.5", struct.pack("<d", 1.5)),
        (".float #3 #-0 #0x10", struct.pack("<3d", 3, -0.0, 16)),
        (".float #1e3 #1E-3 #.5 #5. #-2.5e+10", struct.pack("<5d", 1e3, 1e-3, 0.5, 5, -2.5e10)),
        (".float #inf #-inf #INF", struct.pack("<3d", float("inf"), -float("inf"), float("inf"))),
        (".float #nan", bytes.fromhex("000000000000f87f")),
        (".ASCIIZ 'x'", b"x\0"),
        ("l: .byte #1 ; comment", b"\x01"),
    ],
)
def test_one_line_of_data(line: str, data: bytes) -> None:
    """Every data directive, escape and notation of a number gives exactly these bytes."""
    assert data_of(line) == data


def test_constants_are_pooled_by_bit_pattern() -> None:
    """Each constant is there once; 0.0 and -0.0 differ; NaN is always the same."""
    image = assemble(
        ".code\n" + "\n".join(f"loadf64 $1 #{x}" for x in ("-0.0", "0.5", "nan", "5e-1", "NaN", "-0"))
    )
    assert image.read_only == struct.pack("<dd", -0.0, 0.5) + bytes.fromhex("000000000000f87f")
    assert image.code[::4] == b"\x37" * 6
    assert list(image.code[3::4]) == [0, 8, 16, 8, 16, 0]


def test_the_pool_holds_8192_constants() -> None:
    """LOADCF64 reaches offset 65535; the constant after the last that it reaches is an error at its operand."""
    lines = [".code", *(f"loadf64 $1 #{n}.5" for n in range(8192))]
    assert len(assemble("\n".join(lines)).read_only) == 65536
    with pytest.raises(AssemblyError, match="no room for the constant") as caught:
        assemble("\n".join([*lines, "loadf64 $1 #0.25", "loadf64 $1 #0.5"]))
    assert [(d.line, d.column, d.width) for d in caught.value.diagnostics] == [(8194, 12, 5)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_sections_in_either_order(order: tuple[int, int]) -> None:
    """Labels have the same values whichever section comes first."""
    parts = (".data\n.byte #1\nx: .byte #2", ".code\nprts @x\nl: djmpe @l\nload $1 @x\nload $2 @l")
    assert assemble("\n".join(parts[i] for i in order)).code.hex(" ", 4) == "15000100 14004a00 00010001 0002004a"


@pytest.mark.parametrize("length", [0, 1, 3, 4, 1000, 70000])
def test_labels_hold_whatever_the_length_of_the_data(length: int) -> None:
    """A jump goes to its label also behind read-only data of any length, where the original was off by it."""
    data = "\n".join(".byte" + " #7" * min(100, length - at) for at in range(0, length, 100))
    image = assemble(f".data\n{data}\n.code\nnop\nl: djmpe @l")
    high, low = divmod(HEADER + length + 4, 1 << 16)
    assert image.code[4:] == bytes((20, low >> 8, low & 255, high))
    assert image.version == (high > 0)


def filled(words: int) -> str:
    """A program with loads of a code label before and after, which has so many words when they are short."""
    return "\n".join(
        (".code", "load $1 @end", "l: load $2 @l", *["nop"] * (words - 4), "load $3 @end", "end: hlt")
    )


def test_loads_of_labels_are_short_up_to_64_kib() -> None:
    """The last size at which an address fits for sure has one instruction a load."""
    words = (NEAR - HEADER) // 4
    image = assemble(filled(words))
    assert HEADER + len(image.code) == NEAR
    end = (NEAR - 4).to_bytes(2, "big").hex()
    assert image.code[:8].hex(" ", 4) == f"0001{end} 00020048"
    assert image.code[-8:].hex(" ", 4) == f"0003{end} 05000000"


def test_loads_of_labels_are_long_above_64_kib() -> None:
    """One word more, and every load of a label is two words; all labels move with them."""
    words = (NEAR - HEADER) // 4 + 1
    program = assemble_program(filled(words), line_table=True)
    image = program.image
    assert len(image.code) == 4 * (words + 3)
    end = program.symbols["end"].value
    assert end == HEADER + len(image.code) - 4
    assert program.symbols["l"].value == HEADER + 8
    high, low = (part.to_bytes(2, "big").hex() for part in divmod(end, 1 << 16))
    assert image.code[:16].hex(" ", 4) == f"0001{high} 2701{low} 00020000 2702004c"
    assert image.code[-12:].hex(" ", 4) == f"0003{high} 2703{low} 05000000"
    assert image.lines is not None
    assert image.lines.lines == (2, 2, 3, 3, *range(4, words), words, words, words + 1)


def test_a_data_section_alone_can_make_loads_long() -> None:
    """It is the whole image that counts, also for the load of a small offset."""
    image = assemble(".code\nload $1 @x\n.data\nx: .byte #1\n" + ".float #1 #1 #1 #1 #1 #1 #1 #1\n" * 1024)
    assert image.code.hex(" ", 4) == "00010000 27010000"


def test_explicit_lines_follow_long_loads() -> None:
    """The line that .line sets holds for both words of a long load and moves with the code."""
    image = assemble(
        ".code\n.line #9\nload $1 @x\n.line #5\nhlt\n.data\nx: .byte #1\n" + ".float #1 #1 #1 #1\n" * 2100
    )
    assert image.lines == LineTable("<source>", (9, 9, 5))


def test_reserve() -> None:
    """A reserve pads the read-only section with zeros, moves the code, and is told apart from what is used."""
    program = assemble_program(".data\nx: .byte #1\n.code\nl: hlt", reserve=16)
    assert program.image.read_only == b"\x01" + bytes(15)
    assert (program.read_only_used, program.symbols["l"].value) == (1, HEADER + 16)
    assert assemble(".data\n.byte #1 #2\n.code", reserve=1).read_only == b"\x01\x02"


def test_a_reserve_counts_for_the_size() -> None:
    """Loads of labels are long where the padded image is over 64 KiB."""
    assert len(assemble(".code\nl: load $1 @l", reserve=NEAR).code) == 8


@pytest.mark.parametrize(
    ("source", "version"),
    [
        (".code\nhlt", 0),
        (".code\nmov $1 $2", 1),
        (".code\nloadf64 $1 #0.5", 1),
        (".code\nloadf64 $1 #5", 0),
        (".code\ndjmpe #65535", 0),
        (".code\ndjmpe #65536", 1),
        (".code\n.word #0xff", 1),
        (".version #0\n.code\n.word #0xff", 0),
        (".code\nhlt\n.version #1", 1),
        (".Version #0\n.code\nload $1 #70000", 0),
    ],
)
def test_version(source: str, version: int) -> None:
    """The image has the least version that will do, unless the source says which."""
    assert assemble(source).version == version


def test_line_table() -> None:
    """Every instruction has the line it is from, all words of a statement the same."""
    image = assemble("\n.code\n\nload $1 #70000\n; x\nl: hlt\n.word #5 #5", line_table=True, file="a b")
    assert image.lines == LineTable("a b", (4, 4, 6, 7, 7))
    assert image.version == 1
    assert assemble(".code\nhlt").lines is None


def test_version_0_has_no_line_table() -> None:
    """A source that wants to be version 0 wins over a caller that wants a table."""
    assert assemble(".version #0\n.code\nhlt", line_table=True) == Image(b"\x05\0\0\0")


@pytest.mark.parametrize(
    ("source", "table"),
    [
        (
            ".file 'x\\xc3\\xbc'\n.code\nnop\n.line #9\nnop\nnop\n.line #4294967295\nnop",
            LineTable("xü", (0, 9, 9, 0xFFFFFFFF)),
        ),
        (".code\nnop\n.line #2\nnop\n.line #3\n.line #0\nnop", LineTable("<source>", (0, 2, 0))),
        (".file ''\n.code", LineTable("", ())),
        (".code\nnop\n.FILE 'y'", LineTable("y", (0,))),
    ],
)
@pytest.mark.parametrize("wanted", [False, True])
def test_explicit_line_table(source: str, table: LineTable, wanted: bool) -> None:
    """With .file or .line the table is what they say, whether or not the caller asks for one."""
    assert assemble(source, line_table=wanted).lines == table


def test_a_file_name_that_is_not_text() -> None:
    """A file system may give a name with undecodable bytes: the table still can be written."""
    image = assemble(".code\nhlt", file="a\udcff", line_table=True)
    assert image.lines == LineTable("a\\udcff", (2,))
    image.to_bytes()


def test_line_ends_and_byte_order_mark() -> None:
    """A file from another system or editor assembles to the same."""
    data = "\ufeff.data\r\nx: .asciiz 'ü'\r\n.code\r\nprts @x ; c\r\nhlt\r\n".encode()
    source = decode_source(data, "f")
    assert source == ".data\nx: .asciiz 'ü'\n.code\nprts @x ; c\nhlt\n"
    assert assemble(source) == assemble(data.decode())


def test_labels_are_case_sensitive_and_may_look_like_anything() -> None:
    """Names with digits first, underscores, or of an instruction are names."""
    names = ("a", "A", "_", "1", "a_b", "add", "x" * 255)
    program = assemble_program(".code\n" + "\n".join(f"{name}: djmpe @{name}" for name in names))
    assert [symbol.value for symbol in program.symbols.values()] == [HEADER + 4 * n for n in range(len(names))]


def test_labels_alone_on_their_lines() -> None:
    """They stand for what follows, several for the same, at the end for the end of the code."""
    symbols = assemble_program(".code\na:\nb: ; c\n\n nop\nend:\n.data\nx:\n.byte #1\ny:").symbols
    assert {name: (s.kind, s.value) for name, s in symbols.items()} == {
        "a": ("code", 69),
        "b": ("code", 69),
        "end": ("code", 73),
        "x": ("data", 0),
        "y": ("data", 1),
    }


def test_what_the_original_dropped_in_silence() -> None:
    """All that ended a program unseen there: f64 mnemonics, fractions, ``_``, comments in a row, a mnemonic
    after an operand-less line."""
    source = (
        ".code\n; one\n; two\n; three\nnop\nadd $1 $2 $3\nhlt\nloadf64 $1 #1.5\na_b: eqf64 $1 $2\ndjmpe @a_b\nhlt"
    )
    assert len(assemble(source).code) == 4 * 7


def test_too_large_an_image() -> None:
    """A source without mistakes that makes more than addresses reach is an image error."""
    with pytest.raises(ImageError):
        assemble(".code\nhlt", reserve=MAX_IMAGE)
    with pytest.raises(AssemblyError):
        assemble(".code\nhtl", reserve=MAX_IMAGE)


def test_the_examples_of_the_docs() -> None:
    """Every program in docs/assembly.md assembles, and its listing assembles to the same."""
    blocks = re.findall(r"```\n(.*?)```", (DOCS / "assembly.md").read_text(encoding="utf-8"), re.DOTALL)
    programs = [block for block in blocks if ".code" in block]
    assert len(programs) >= 5
    for program in programs:
        image = assemble(program)
        assert assemble(disassemble(image)) == image


def test_the_mistake_of_the_docs() -> None:
    """docs/assembly.md shows a message as it is really printed."""
    source = ".data\nmsg: .asciiz 'x'\n.code\ndjmpe @msg"
    with pytest.raises(AssemblyError) as caught:
        assemble(source, file="demo.iasm")
    assert str(caught.value) in (DOCS / "assembly.md").read_text(encoding="utf-8")


def test_importing_is_light() -> None:
    """What is only needed for mistakes is not loaded by a program that has none."""
    check = "import sys, iridium.assembler; print({'difflib', 'twisted', 'llvmlite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, cwd=DOCS.parent)
    assert done.stdout.strip() == b"set()"
