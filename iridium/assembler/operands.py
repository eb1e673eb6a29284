"""What an operand is worth: registers, integers, floats, strings.

Each reader takes the text of one operand and gives its value, or raises :class:`OperandError`, which says what is
wrong with it.
"""

from __future__ import annotations

import re
import struct

from iridium.assembler.findings import shown
from iridium.isa import REGISTERS

I32_LOW = -(1 << 31)
I32_HIGH = (1 << 31) - 1
U32_HIGH = (1 << 32) - 1

MAX_NUMBER = 1200
"""The most characters of a number: every f64 can be written out digit by digit in less."""

_INTEGER = re.compile(r"#-?(?:0[xX][0-9a-fA-F]++|[0-9]++)\Z")
_FLOAT = re.compile(
    r"#(?:nan|-?(?:inf|(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[+-]?[0-9]++)?))\Z", re.IGNORECASE | re.ASCII
)
_REGISTER = re.compile(r"\$0*([0-9]{1,2})\Z", re.ASCII)
REGISTER_NUMBERS = {f"${number}": number for number in range(REGISTERS)}
"""Registers by their usual spelling; :func:`register` knows the others, such as ``$01``."""

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_ESCAPES = {"n": b"\n", "t": b"\t", "\\": b"\\", "'": b"'", "0": b"\0"}
_F64 = struct.Struct("<d")
NAN = bytes.fromhex("000000000000f87f")
"""The only NaN that is ever written: 7ff8000000000000, little-endian."""


class OperandError(Exception):
    """An operand cannot be what it must be.

    Args:
        message: what is wrong with it.
        suggestion: what to write instead, or None.
        start, end: the characters of the operand that are wrong; all of them when end is 0.
    """

    def __init__(self, message: str, suggestion: str | None = None, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.start = start
        self.end = end


def register(text: str) -> int:
    """The number in ``$n``."""
    number = REGISTER_NUMBERS.get(text)
    if number is not None:
        return number
    found = _REGISTER.match(text)
    if found and int(found.group(1)) < REGISTERS:
        return int(found.group(1))
    if text[0] == "$" and text[1:].isdecimal():
        raise OperandError(f"there is no register {shown(text)}", f"registers are $0 to ${REGISTERS - 1}")
    raise OperandError(f"{shown(text)} is not a register", f"registers are $0 to ${REGISTERS - 1}")


def integer(text: str, low: int, high: int, *, bits: int = 0) -> int:
    """The number in ``#n``: decimal or 0x hex, with or without a minus sign.

    Args:
        text: the operand.
        low, high: the range it must lie in, both included.
        bits: if not 0, hex digits may also give a bit pattern of so many bits, of a signed number.
    """
    if not _INTEGER.match(text):
        if _FLOAT.match(text):
            raise OperandError(f"{shown(text)} must be an integer", "LOADF64 and .float take numbers like #1.5")
        raise _no_number(text)
    if len(text) <= MAX_NUMBER:
        is_hex = "x" in text or "X" in text
        value = int(text[1:], 16 if is_hex else 10)
        if low <= value <= high:
            return value
        if bits and is_hex and high < value < 1 << bits:
            return value - (1 << bits)
    also = f", or hex up to 0x{(1 << bits) - 1:x}" if bits else ""
    raise OperandError(f"{shown(text)} is out of range: {low} to {high}{also}")


def float64(text: str) -> bytes:
    """The eight bytes, little-endian, of the number in ``#x``."""
    if _INTEGER.match(text) and "x" in text.lower():
        value = float(integer(text, I32_LOW, U32_HIGH))
    elif _FLOAT.match(text):
        if len(text) > MAX_NUMBER:
            raise OperandError(f"{shown(text)} has more than {MAX_NUMBER} characters")
        value = float(text[1:])
        if value in (float("inf"), -float("inf")) and "inf" not in text.lower():
            raise OperandError(f"{shown(text)} is too large for a float", "the largest is 1.797e308; or #inf")
    else:
        raise _no_number(text)
    return _F64.pack(value) if value == value else NAN


def small_integer(pattern: bytes) -> int | None:
    """The integer from 0 to 65535 that a float (its eight bytes) is exactly, -0.0 not being one, or None."""
    value: float = _F64.unpack(pattern)[0]
    if 0 <= value <= 0xFFFF and value == int(value) and pattern[7] < 0x80:
        return int(value)
    return None


def string(text: str) -> bytes:
    """The bytes of ``'text'``, escapes replaced: characters in UTF-8, ``\\xHH`` as that byte."""
    if text[0] != "'":
        raise OperandError(f"{shown(text)} is not a string", "write 'text'")
    parts = []
    end = 1
    for escape in _ESCAPE.finditer(text, 1, len(text) - 1):
        parts.append(_utf8(text, end, escape.start()))
        end = escape.end()
        if escape.group(1):
            parts.append(bytes.fromhex(escape.group(1)))
        elif escape.group(2) in _ESCAPES:
            parts.append(_ESCAPES[escape.group(2)])
        else:
            raise OperandError(
                f"{shown(escape.group())} is no escape",
                r"there are \n \t \\ \' \0 and \xHH (two hex digits)",
                escape.start(),
                end,
            )
    parts.append(_utf8(text, end, len(text) - 1))
    return b"".join(parts)


def _utf8(text: str, start: int, end: int) -> bytes:
    try:
        return text[start:end].encode()
    except UnicodeEncodeError as error:
        wrong = start + error.start
        raise OperandError(f"U+{ord(text[wrong]):04X} is not a character", None, wrong, wrong + 1) from None


def _no_number(text: str) -> OperandError:
    if text[0] == "#":
        return OperandError(f"{shown(text)} is not a number", "numbers are written #10, #0x1f, #-3 or #1.5")
    bare = f"#{text}"
    if _INTEGER.match(bare) or _FLOAT.match(bare):
        return OperandError(f"{shown(text)} is not a number: # is missing", f"write {shown(bare)}")
    return OperandError(f"{shown(text)} is not a number", "numbers are written #10, #0x1f, #-3 or #1.5")
