"""Listings: they read well, and assemble back to exactly the image they are from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.assembler import MAX_SOURCE, assemble, disassemble, format_instruction
from iridium.image import HEADER, MAX_IMAGE, Image, LineTable, legal_opcodes
from iridium.isa import BY_NAME, BY_OPCODE, INSTRUCTIONS


@st.composite
def words(draw: st.DrawFn) -> bytes:
    """A word: any at all, one that is nearly an instruction, or a jump to near the start of the code."""
    near = st.integers(HEADER - 4, HEADER + 60).map(lambda address: bytes((address >> 8, address & 255, 0)))
    small = st.binary(min_size=3, max_size=3) | st.tuples(*[st.integers(0, 33)] * 3).map(bytes) | near
    opcode = draw(st.sampled_from(INSTRUCTIONS).map(lambda row: row.opcode) | st.integers(0, 255))
    return bytes((opcode,)) + draw(small)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Any valid image, with code that looks like a program more often than random bytes do."""
    code = draw(st.lists(words(), max_size=20))
    version = draw(st.integers(0, 1))
    name = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
    lines = st.lists(st.integers(0, 3) | st.integers(0, 0xFFFFFFFF), min_size=len(code), max_size=len(code))
    table = st.none() | st.builds(LineTable, name, lines.map(tuple)) if version else st.none()
    return Image(b"".join(code), draw(st.binary(max_size=30)), version, draw(table))


@given(images())
@settings(deadline=None)
def test_a_listing_assembles_to_its_image(image: Image) -> None:
    """The promise: assemble(disassemble(image)) == image, for every image."""
    assert assemble(disassemble(image)) == image


@given(images(), st.booleans())
@settings(deadline=None)
def test_a_listing_with_a_table_says_all_itself(image: Image, line_table: bool) -> None:
    """The name of the listing and the wish for a table change nothing where the image has its own."""
    if image.lines:
        assert assemble(disassemble(image), file="other", line_table=line_table) == image


def test_golden_listing() -> None:
    """Labels where jumps go, numbers elsewhere, data with its characters, words for what is no instruction."""
    image = assemble(
        ".data\nx: .asciiz 'Hi, you;\\n'\n.code\nload $1 #70000\nl: loadf64 $2 #3\ndjmpe @l\ncall #80\n"
        "loop #4\nprts @x\n.word #0xffffffff #0x01000005\nend: hlt"
    )
    assert disassemble(image) == (
        ".data\n"
        "    .byte #72 #105 #44 #32 #121 #111 #117 #59  ; 0: Hi, you;\n"
        "    .byte #10 #0  ; 8: ..\n"
        ".code\n"
        "    load $1 #1\n"
        "    lui $1 #4464\n"
        "L0056:\n"
        "    loadf64 $2 #3\n"
        "    djmpe @L0056\n"
        "    call #80\n"
        "    loop #4\n"
        "    prts #0\n"
        "    .word #0xffffffff\n"
        "    .word #0x01000005\n"
        "    hlt\n"
    )


def test_golden_listing_with_lines() -> None:
    """A line is named where it changes; the file name is quoted, whatever is in it."""
    image = Image(bytes(16), b"", 1, LineTable("it's\n\\ü\x1b", (0, 7, 7, 3)))
    assert disassemble(image) == (
        ".file 'it\\'s\\x0a\\\\ü\\x1b'\n.code\n    load $0 #0\n    .line #7\n    load $0 #0\n    load $0 #0\n"
        "    .line #3\n    load $0 #0\n"
    )


@pytest.mark.parametrize(
    ("code", "version", "listing"),
    [
        ("05000000", 0, ".code\n    hlt\n"),
        ("05000000", 1, ".version #1\n.code\n    hlt\n"),
        ("30010200", 1, ".code\n    mov $1 $2\n"),
        ("30010200", 0, ".version #0\n.code\n    .word #0x00020130\n"),
        ("28000001", 1, ".code\n    cloop #65536\n"),
        ("28000001", 0, ".version #0\n.code\n    .word #0x01000028\n"),
        ("", 1, ".version #1\n.code\n"),
    ],
)
def test_versions(code: str, version: int, listing: str) -> None:
    """What is an instruction depends on the version, which is told where it is not the derived one."""
    image = Image(bytes.fromhex(code), b"", version)
    assert disassemble(image) == listing
    assert assemble(listing) == image


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("01010203", "add $1 $2 $3"),
        ("01010220", ".word #0x20020101"),
        ("3402fffe", "addi $2 #-2"),
        ("14005600", "djmpe #86"),
        ("14000001", "djmpe #65536"),
        ("21011000", "shl $1 #16"),
        ("21011001", ".word #0x01100121"),
        ("ff000000", ".word #0x000000ff"),
    ],
)
def test_format_instruction(word: str, text: str) -> None:
    """One instruction as fault messages show it: numbers for addresses, .word for what is none."""
    assert format_instruction(bytes.fromhex(word)) == text


def test_format_instruction_by_version() -> None:
    """An instruction of version 1 is none in version 0."""
    assert format_instruction(b"\x30\1\2\0", 0) == ".word #0x00020130"
    assert format_instruction(b"\x05\0\0\0", 0) == "hlt"


@given(words(), st.integers(0, 1))
@settings(deadline=None)
def test_a_formatted_instruction_assembles_to_its_word(word: bytes, version: int) -> None:
    """What a fault message shows can be typed in again; only legal opcodes are shown by name."""
    text = format_instruction(word, version)
    assert assemble(f".code\n{text}").code == word
    if not text.startswith(".word"):
        assert word[0] in legal_opcodes(version)
        assert text.startswith(BY_OPCODE[word[0]].name.lower())


def test_the_listing_of_the_largest_image_is_within_the_limit() -> None:
    """The longest lines that a listing can have, so often as an image can: still a source."""
    table = LineTable("f", tuple(range(2**32 - 1000, 2**32)))
    calls = b"".join(BY_NAME["CALL"].encode(address) for address in range(HEADER, HEADER + 4000, 4))
    code = Image(calls, b"", 1, table)
    data = Image(b"", b"\xff" * 4000)
    longest = max(len(disassemble(image)) / 4000 for image in (code, data))
    # Addresses and offsets of the largest image have more digits than these.
    assert (longest + 1) * MAX_IMAGE < MAX_SOURCE
