"""The assembler on sources that nobody wrote: it gives an image or says what is wrong, and never anything else."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.assembler import Interactive, assemble, assemble_program, decode_source, disassemble
from iridium.errors import AssemblyError
from iridium.image import Image, parse
from iridium.isa import BY_NAME, INSTRUCTIONS, Instruction

WORDS = """
.data .code .asciiz .byte .word .line .version .file .float .integer add LOAD loadf64 hlt djmpe prts
l: m: @l @m $1 $32 #1 #-1 #0xff #1.5 #nan #x 'a' '\\n' '\\q' ' ; , : " # $ @ .
"""
SCRAPS = st.sampled_from([*WORDS.split(), "\n", "\n", "\t", "\r", "\0", "é"])
TEXTS = (
    st.text(max_size=40) | st.lists(SCRAPS, max_size=25).map(" ".join) | st.lists(SCRAPS, max_size=25).map("".join)
)


@given(TEXTS, st.booleans(), st.integers(0, 100))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_an_image_or_an_assembly_error(text: str, line_table: bool, reserve: int) -> None:
    """No text makes the assembler fail otherwise; every mistake points into the source; every image is sound."""
    try:
        image = assemble(text, line_table=line_table, reserve=reserve)
    except AssemblyError as error:
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        places = [(d.line, d.column) for d in error.diagnostics]
        assert places == sorted(places)
        for found in error.diagnostics:
            assert found.source == lines[found.line - 1]
            assert found.column - 1 + found.width <= max(1, len(found.source))
    else:
        assert parse(image.to_bytes()) == image
        assert assemble(disassemble(image)) == image


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_any_line_gives_a_fragment_or_an_assembly_error(text: str) -> None:
    """The same for a session, which goes on after anything."""
    session = Interactive()
    for line in text.split("\n"):
        with contextlib.suppress(AssemblyError):
            session.keep(session.assemble(line))
    session.keep(session.assemble("hlt"))


@given(st.binary(max_size=30))
@settings(deadline=None)
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    """A file that is no text is an assembly error with a place in it."""
    try:
        text = decode_source(data, "f")
    except AssemblyError as error:
        (found,) = error.diagnostics
        assert found.column <= len(found.source) + 1
    else:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid instruction with numbers, in any layout, and the word it must make."""
    special = (BY_NAME["LOAD"], BY_NAME["LOADF64"])
    row: Instruction = draw(st.sampled_from([row for row in INSTRUCTIONS if row not in special]))
    name = draw(st.sampled_from([row.name, row.name.lower(), row.name.title()]))
    gaps = st.text(" \t", min_size=1, max_size=3)
    text = name
    values = []
    for kind in row.operands:
        value = draw(st.integers(kind.low, kind.high))
        number = f"{value}" if kind.register or draw(st.booleans()) else f"{value:#x}"
        text += draw(gaps) + ("$" if kind.register else "#") + number
        values.append(value)
    return text + draw(st.sampled_from(["", " ", "; c", "\t; add $1, 'x"])), row.encode(*values)


@given(st.lists(statements(), max_size=8))
@settings(deadline=None)
def test_valid_statements_assemble(lines: list[tuple[str, bytes]]) -> None:
    """Every instruction of the table can be written, with any operands in range, alone and in a session."""
    assert assemble("\n".join((".code", *(text for text, _ in lines)))).code == b"".join(word for _, word in lines)
    session = Interactive()
    for text, word in lines:
        assert session.assemble(text).code == word


@given(st.integers(-(2**31), 2**31 - 1))
@settings(deadline=None)
def test_load_makes_any_i32(value: int) -> None:
    """The machine's reading of what LOAD becomes is the number that was written."""
    code = assemble(f".code\nload $7 #{value}").code
    register = 0
    for at in range(0, len(code), 4):
        row = {0: BY_NAME["LOAD"], 39: BY_NAME["LUI"]}[code[at]]
        destination, immediate = row.decode(code[at : at + 4])
        assert destination == 7
        register = immediate if row.name == "LOAD" else register << 16 & 0xFFFFFFFF | immediate
    assert register == value & 0xFFFFFFFF
    assert len(code) == (4 if 0 <= value <= 65535 else 8)


@given(st.floats())
@settings(deadline=None)
def test_loadf64_makes_any_float(value: float) -> None:
    """Every f64 that Python prints is read back bit by bit, from the instruction or from the pool."""
    image = assemble(f".code\nloadf64 $1 #{value!r}")
    if image.read_only:
        assert image.code == b"\x37\x01\0\0"
        assert image.read_only == (
            struct.pack("<d", value) if value == value else bytes.fromhex("000000000000f87f")
        )
    else:
        assert struct.pack("<d", int.from_bytes(image.code[2:], "big")) == struct.pack("<d", value)


@given(st.binary(max_size=20))
@settings(deadline=None)
def test_any_bytes_can_be_a_string(data: bytes) -> None:
    """Escapes reach every byte."""
    text = "".join(f"\\x{byte:02x}" for byte in data)
    assert assemble(f".data\n.asciiz '{text}'\n.code").read_only == data + b"\0"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\'\n\r"), max_size=20))
@settings(deadline=None)
def test_any_text_can_be_a_string(text: str) -> None:
    """All characters stand for themselves, but the two that need an escape and the ends of a line."""
    assert assemble(f".data\n.asciiz '{text}'\n.code").read_only == text.encode() + b"\0"


@given(
    st.lists(st.sampled_from(["nop", "load $1 #70000", "load $1 @{}", "djmpe @{}"]), min_size=1, max_size=10),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_labels_are_the_addresses_of_their_lines(lines: list[str], data: st.DataObject) -> None:
    """Short or long loads before it, data or none: what a label is worth is where its instruction lies."""
    targets = [data.draw(st.integers(0, len(lines) - 1)) for _ in lines]
    reserve = data.draw(st.sampled_from([0, 1, 65536 - 68 - 40, 70000]))
    source = "\n".join(
        f"l{n}: {line.format(f'l{target}')}" for n, (line, target) in enumerate(zip(lines, targets, strict=True))
    )
    program = assemble_program(f".code\n{source}", line_table=True, reserve=reserve)
    image: Image = program.image
    assert image.lines is not None
    far = 68 + reserve + sum(8 if "#" in line else 4 for line in lines) > 65536
    for n, (line, target) in enumerate(zip(lines, targets, strict=True)):
        at = 4 * image.lines.lines.index(n + 2)
        assert program.symbols[f"l{n}"].value == image.code_address + at
        value = program.symbols[f"l{target}"].value
        if line.startswith("djmpe"):
            assert BY_NAME["DJMPE"].decode(image.code[at : at + 4]) == (value,)
        elif "@" in line and far:
            assert image.code[at : at + 8] == struct.pack(">BBHBBH", 0, 1, value >> 16, 39, 1, value & 0xFFFF)
        elif "@" in line:
            assert image.code[at : at + 4] == struct.pack(">BBH", 0, 1, value)
