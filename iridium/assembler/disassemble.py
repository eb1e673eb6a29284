"""An image as a listing that assembles back to it, byte for byte.

A word prints as an instruction where the assembler would make exactly that word of it, else as ``.word``;
read-only data prints as bytes. What is an instruction depends on the image's version.
"""

from __future__ import annotations

from collections.abc import Iterator

from iridium.image import Image, required_version
from iridium.isa import BY_OPCODE, REGISTERS, WORD, Instruction

_BYTES_A_LINE = 8
_INDENT = "    "


def disassemble(image: Image) -> str:
    """The listing of an image.

    Args:
        image: any image that :func:`iridium.image.parse` gives.

    Returns:
        A source with ``assemble(source) == image``. Targets of jumps and calls that are instructions have labels
        that tell their address in hex; other addresses and all read-only offsets are numbers.
    """
    return "\n".join((*_settings(image), *_data(image.read_only), ".code", *_code(image), ""))


def format_instruction(word: bytes, version: int = 1) -> str:
    """One instruction as text, with numbers for addresses.

    Args:
        word: its four bytes.
        version: the version of the image it is in.

    Returns:
        What the assembler would make that word of; ``.word`` where there is no such instruction.
    """
    decoded = _decode(word, version)
    return _text(*decoded) if decoded else f".word #0x{int.from_bytes(word, 'little'):08x}"


def _decode(word: bytes, version: int) -> tuple[Instruction, tuple[int, ...]] | None:
    """The instruction and its operands, if assembling them gives this word in an image of this version."""
    row = BY_OPCODE.get(word[0])
    if row is None or required_version(word) > version:
        return None
    values = row.decode(word)
    registers = (value for kind, value in zip(row.operands, values, strict=True) if kind.register)
    if any(value >= REGISTERS for value in registers) or row.encode(*values) != word:
        return None
    return row, values


def _text(row: Instruction, values: tuple[int, ...]) -> str:
    operands = (
        f"{'$' if kind.register else '#'}{value}" for kind, value in zip(row.operands, values, strict=True)
    )
    return " ".join((row.name.lower(), *operands))


def _settings(image: Image) -> Iterator[str]:
    if image.version != required_version(image.code, image.lines):
        yield f".version #{image.version}"
    if image.lines is not None:
        yield f".file '{_quoted(image.lines.file)}'"


def _quoted(text: str) -> str:
    """A text as a string of the language, every character that is not printable as the bytes of its UTF-8."""
    return "".join(
        f"\\{c}" if c in "\\'" else c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode())
        for c in text
    )


def _data(read_only: bytes) -> Iterator[str]:
    if read_only:
        yield ".data"
    for offset in range(0, len(read_only), _BYTES_A_LINE):
        part = read_only[offset : offset + _BYTES_A_LINE]
        numbers = " ".join(f"#{byte}" for byte in part)
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{_INDENT}.byte {numbers}  ; {offset}: {characters}"


def _code(image: Image) -> Iterator[str]:
    start = image.code_address
    end = start + len(image.code)
    words = [image.code[at : at + WORD] for at in range(0, len(image.code), WORD)]
    texts: dict[bytes, str] = {}
    targets: dict[bytes, int] = {}
    for word in set(words):
        texts[word] = format_instruction(word, image.version)
        decoded = _decode(word, image.version)
        if decoded and decoded[0].operands and decoded[0].operands[-1].label == "code":
            target = decoded[1][-1]
            if target in range(start, end, WORD):
                targets[word] = target
                texts[word] = f"{decoded[0].name.lower()} @{_label(target)}"
    labelled = set(targets.values())
    lines = image.lines.lines if image.lines else None
    line = 0
    for index, word in enumerate(words):
        address = start + index * WORD
        if address in labelled:
            yield f"{_label(address)}:"
        if lines is not None and lines[index] != line:
            line = lines[index]
            yield f"{_INDENT}.line #{line}"
        yield _INDENT + texts[word]


def _label(address: int) -> str:
    return f"L{address:04x}"
