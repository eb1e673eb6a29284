"""Executable images: parse, validate, build.

An image is a header, a read-only section, the code, and in version 1 an optional line table. ``docs/images.md``
draws it byte by byte. All integers are little-endian::

     0..3    45 50 49 45 ("EPIE")
     4       version, 0 or 1
     8..11   version 1: length of the code in bytes
    64..67   length of the read-only section
    68..     the read-only section, the code, then the line table or nothing

The rest of the first 64 bytes is zero. In version 0 the code is all that follows the read-only section.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from iridium.errors import ImageError
from iridium.isa import BY_OPCODE, ORIGINAL_OPCODES, WORD

MAGIC = b"EPIE"
HEADER = 68
"""Bytes before the read-only section, so the least address that code can have."""

NEAR = 0x10000
"""Up to this size every address and offset of an image fits in a 16-bit immediate."""

MAX_IMAGE = 1 << 24
"""The most bytes of header, read-only section and code: addresses in instructions have 24 bits."""

LONGEST_NAME = 4096
"""Bytes of a file name in a line table: the longest path that Linux has."""

_U32 = struct.Struct("<I")
_CODE_LENGTH = 8
_READ_ONLY_LENGTH = 64


class LineTable(NamedTuple):
    """Where each instruction came from.

    Attributes:
        file: the name of the source.
        lines: one line number (from 1; 0: unknown) for each instruction.
    """

    file: str
    lines: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """Length of the file name, the name in UTF-8, then a u32 for each instruction."""
        name = self.file.encode()
        return _U32.pack(len(name)) + name + struct.pack(f"<{len(self.lines)}I", *self.lines)

    @classmethod
    def parse(cls, data: bytes, instructions: int) -> LineTable:
        """The table in ``data``, which must hold it exactly.

        Raises:
            ImageError: it does not.
        """
        if len(data) >= WORD and _U32.unpack_from(data)[0] > LONGEST_NAME:
            raise ImageError("line table", f"the file name has more than {LONGEST_NAME} bytes")
        name_end = WORD + (_U32.unpack_from(data)[0] if len(data) >= WORD else 0)
        if len(data) != name_end + WORD * instructions:
            raise ImageError(
                "line table",
                f"{len(data)} bytes follow the code; a table of {instructions} lines "
                f"with a name of {name_end - WORD} bytes has {name_end + WORD * instructions}",
            )
        try:
            name = data[WORD:name_end].decode()
        except UnicodeDecodeError as error:
            raise ImageError("line table", f"the file name is not UTF-8 at its byte {error.start}") from None
        return cls(name, struct.unpack_from(f"<{instructions}I", data, name_end))


class Image(NamedTuple):
    """A program ready to run.

    Attributes:
        code: whole instructions, four bytes each.
        read_only: the read-only section.
        version: 0, which knows the original's opcodes only, or 1.
        lines: the line table, in version 1, or None.
    """

    code: bytes
    read_only: bytes = b""
    version: int = 0
    lines: LineTable | None = None

    @property
    def code_address(self) -> int:
        """The address of the first instruction: code addresses count from the start of the image."""
        return HEADER + len(self.read_only)

    def line_of(self, address: int) -> int | None:
        """The source line of the instruction at an address, or None where it is not known."""
        index, rest = divmod(address - self.code_address, WORD)
        if self.lines is None or rest or not 0 <= index < len(self.lines.lines):
            return None
        return self.lines.lines[index] or None

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            ValueError: it is of version 0, which has no line table, and has one.
        """
        if self.lines is not None and not self.version:
            raise ValueError("a version 0 image has no line table")
        header = bytearray(HEADER)
        header[:4] = MAGIC
        header[4] = self.version
        if self.version:
            _U32.pack_into(header, _CODE_LENGTH, len(self.code))
        _U32.pack_into(header, _READ_ONLY_LENGTH, len(self.read_only))
        table = self.lines.to_bytes() if self.lines else b""
        return b"".join((header, self.read_only, self.code, table))

    def content_hash(self) -> str:
        """SHA-256 of the file, in hex: what names an image between nodes and in caches."""
        import hashlib  # an image that only runs needs none, and it takes 4 ms

        return hashlib.sha256(self.to_bytes()).hexdigest()


def is_image(data: bytes) -> bool:
    """Whether a file claims to be an image, rather than a source text."""
    return data.startswith(MAGIC)


def required_version(code: bytes, lines: LineTable | None = None) -> int:
    """The least version that can hold this code: 1 for a newer opcode, a 24-bit operand or a line table."""
    if lines is not None:
        return 1
    opcodes = code[::WORD]
    if opcodes and max(opcodes) >= ORIGINAL_OPCODES:
        return 1
    return int(any(high and opcode in _WIDE for opcode, high in zip(opcodes, code[3::WORD], strict=True)))


_WIDE = frozenset(opcode for opcode, row in BY_OPCODE.items() if any(kind.width == 3 for kind in row.operands))


def check_size(read_only: int, code: int) -> None:
    """Refuse an image whose addresses would not fit in 24 bits.

    Args:
        read_only, code: lengths in bytes.

    Raises:
        ImageError: they are too long together.
    """
    if HEADER + read_only + code > MAX_IMAGE:
        raise ImageError(
            "code length",
            f"header, read-only section and code are {HEADER + read_only + code} bytes; "
            f"the most is {MAX_IMAGE}, since addresses have 24 bits",
        )


def parse(data: bytes) -> Image:
    """The image in a file.

    Args:
        data: the whole file.

    Raises:
        ImageError: it is none; the error names the field that is wrong.
    """
    if not is_image(data):
        raise ImageError("magic", f"the file starts with {data[:4].hex(' ') or 'nothing'}, not 45 50 49 45")
    if len(data) < HEADER:
        raise ImageError("header", f"the file has {len(data)} bytes; the header alone has {HEADER}")
    version = data[4]
    if version > 1:
        raise ImageError("version", f"{version} is unknown; this Iridium reads 0 and 1")
    used = (range(5), range(_CODE_LENGTH, _CODE_LENGTH + 4 * version))
    if any(data[i] for i in range(_READ_ONLY_LENGTH) if not any(i in part for part in used)):
        raise ImageError("header", "a reserved byte is not zero")
    code_start = HEADER + _U32.unpack_from(data, _READ_ONLY_LENGTH)[0]
    if code_start > len(data):
        raise ImageError(
            "read-only length", f"the section would end at byte {code_start}; the file has {len(data)}"
        )
    code_length = _U32.unpack_from(data, _CODE_LENGTH)[0] if version else len(data) - code_start
    if code_length % WORD:
        raise ImageError("code length", f"{code_length} is not a multiple of {WORD}")
    code_end = code_start + code_length
    if code_end > len(data):
        raise ImageError("code length", f"the code would end at byte {code_end}; the file has {len(data)}")
    check_size(code_start - HEADER, code_length)
    table = data[code_end:]
    return Image(
        code=bytes(data[code_start:code_end]),
        read_only=bytes(data[HEADER:code_start]),
        version=version,
        lines=LineTable.parse(table, code_length // WORD) if table else None,
    )


@functools.cache
def legal_opcodes(version: int) -> frozenset[int]:
    """The opcodes that an image of this version may execute."""
    return frozenset(row.opcode for row in BY_OPCODE.values() if row.version <= version)
