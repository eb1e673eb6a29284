"""Executable images: what a file may be, and what is refused with which field named."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iridium.assembler import assemble
from iridium.errors import ImageError
from iridium.image import HEADER, MAX_IMAGE, Image, LineTable, check_size, is_image, parse, required_version

DOCS = Path(__file__).parents[1] / "docs"

LINES = st.integers(0, 0xFFFFFFFF)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Any image that a file can hold."""
    words = draw(st.lists(st.binary(min_size=4, max_size=4), max_size=12))
    version = draw(st.integers(0, 1))
    lines = st.lists(LINES, min_size=len(words), max_size=len(words)).map(tuple)
    tables = st.none() | st.builds(LineTable, NAMES, lines) if version else st.none()
    return Image(b"".join(words), draw(st.binary(max_size=24)), version, draw(tables))


def header(version: int = 0, code: int = 0, read_only: int = 0) -> bytearray:
    """A header with these fields."""
    data = bytearray(HEADER)
    data[:5] = b"EPIE" + bytes((version,))
    data[8:12] = code.to_bytes(4, "little")
    data[64:68] = read_only.to_bytes(4, "little")
    return data


def test_golden_file() -> None:
    """The format byte by byte, as the original writes it."""
    image = Image(bytes.fromhex("0001 01f4 0500 0000"), b"hi\0")
    assert image.to_bytes() == (
        b"EPIE" + bytes(60) + b"\x03\0\0\0" + b"hi\0" + bytes.fromhex("0001 01f4 0500 0000")
    )
    assert image.code_address == 71


def test_golden_file_with_a_line_table() -> None:
    """Version 1 tells the code length, and the table follows the code."""
    image = Image(b"\x05\0\0\0", b"", 1, LineTable("a.iasm", (7,)))
    assert image.to_bytes() == (
        b"EPIE\x01\0\0\0" + b"\x04\0\0\0" + bytes(52) + bytes(4) + b"\x05\0\0\0\x06\0\0\0a.iasm\x07\0\0\0"
    )


@given(images())
@settings(deadline=None)
def test_parse_is_the_inverse_of_to_bytes(image: Image) -> None:
    """A written image is read back as it was."""
    data = image.to_bytes()
    assert is_image(data)
    assert parse(data) == image
    assert image.content_hash() == hashlib.sha256(data).hexdigest()


@given(images(), st.integers(0, 200))
@settings(deadline=None)
def test_a_truncated_file_is_refused_or_whole(image: Image, length: int) -> None:
    """A cut file never gives an image with code of a broken length."""
    try:
        cut = parse(image.to_bytes()[:length])
    except ImageError:
        return
    assert len(cut.code) % 4 == 0


@given(st.binary(max_size=100) | st.binary(max_size=200).map(lambda tail: b"EPIE" + tail))
@example(b"EPIE" + bytes(60) + b"\xff\xff\xff\xff")
@example(bytes(header(1, 0)) + b"\xff\xff\xff\xff")
@settings(deadline=None)
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    """No file, however broken, raises anything that a caller does not expect."""
    with contextlib.suppress(ImageError):
        assert parse(data).to_bytes() == data


@given(st.integers(0, 1), LINES, LINES, st.binary(max_size=40))
@settings(deadline=None)
def test_any_lengths_give_an_image_or_an_image_error(version: int, code: int, read_only: int, rest: bytes) -> None:
    """Lengths of gigabytes in a short file are an error at once, not an allocation."""
    data = bytes(header(version, code * version, read_only)) + rest
    with contextlib.suppress(ImageError):
        assert parse(data).to_bytes() == data


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "magic"),
        (b"EPI", "magic"),
        (b"\x7fELF" + bytes(100), "magic"),
        (b"EPIE", "header"),
        (b"EPIE" + bytes(63), "header"),
        (header(2), "version"),
        (header(255), "version"),
        (header(0, 4) + bytes(4), "header"),
        (header(0, 0, 1), "read-only length"),
        (header(0, 0, 0xFFFFFFFF), "read-only length"),
        (header(0) + b"\x05", "code length"),
        (header(0) + b"\x05\0\0", "code length"),
        (header(1, 6) + bytes(6), "code length"),
        (header(1, 8) + bytes(4), "code length"),
        (header(1, 4) + bytes(4) + b"x", "line table"),
        (header(1, 4) + bytes(4) + b"\x01\0\0\0\xff\0\0\0\0", "line table"),
        (header(1, 4) + bytes(4) + b"\0\0\0\0" + bytes(8), "line table"),
    ],
)
def test_refusals_name_the_field(data: bytes | bytearray, field: str) -> None:
    """Each thing that can be wrong with a file is told by the name that docs/images.md uses."""
    with pytest.raises(ImageError) as caught:
        parse(bytes(data))
    assert caught.value.field == field


@pytest.mark.parametrize("at", [5, 6, 7, 12, 40, 63])
def test_reserved_bytes_are_zero(at: int) -> None:
    """A later version may use them, so this one must not read over them."""
    data = header(1, 0)
    data[at] = 1
    with pytest.raises(ImageError, match="reserved"):
        parse(bytes(data))


def test_size_limit() -> None:
    """An address must fit in 24 bits; one byte more is refused."""
    check_size(MAX_IMAGE - HEADER, 0)
    with pytest.raises(ImageError):
        check_size(MAX_IMAGE - HEADER - 3, 4)


@pytest.mark.parametrize(
    ("code", "version"),
    [
        ("", 0),
        ("2f000000", 0),
        ("30010200", 1),
        ("ff000000", 1),
        ("14123400", 0),
        ("14123401", 1),
        ("01010203", 0),
        ("0500000014000001", 1),
    ],
)
def test_required_version(code: str, version: int) -> None:
    """Version 1 is for newer opcodes and operands of 24 bits only, so that the original can read the rest."""
    assert required_version(bytes.fromhex(code)) == version


def test_a_line_table_needs_version_1() -> None:
    """Version 0 has no place for it."""
    assert required_version(b"", LineTable("", ())) == 1


def test_line_of() -> None:
    """A fault's address gives its line, and nothing where there is none: between words, outside, unknown."""
    image = Image(bytes(8), b"x", 1, LineTable("f", (3, 0)))
    assert [image.line_of(at) for at in (68, 69, 70, 73, 77)] == [None, 3, None, None, None]
    assert Image(bytes(4)).line_of(68) is None


def test_the_line_table_is_content() -> None:
    """Images that differ only in it have different hashes: they report differently."""
    tables = (None, LineTable("f", (1,)), LineTable("f", (2,)))
    assert len({Image(bytes(4), b"", 1, table).content_hash() for table in tables}) == 3


def test_the_example_of_the_docs() -> None:
    """docs/images.md shows the bytes that its example makes."""
    text = (DOCS / "images.md").read_text(encoding="utf-8").split("## An example")[1]
    source, dump = text.split("makes these 79 bytes:")
    rows = re.findall(r"^ {4}[0-9a-f]{8}  (.{48})", dump, re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == assemble(source).to_bytes()
