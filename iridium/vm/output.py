"""What a program prints: a bounded ring of tagged items, turned into text by whoever reads it.

An engine appends what to print, not how it looks, so that every engine stops at the same instruction when the
ring is full and formatting is said once.
"""

from __future__ import annotations

import enum
from collections import deque

from iridium.isa import Fault

CAPACITY = 4096
"""Items before the program waits for a reader: a full screen of single characters, 64 KiB of records."""

LONGEST_STRING = 64 * 1024
"""The most bytes that PRTS prints, so that one instruction stays short."""


class Tag(enum.IntEnum):
    """What an item of the ring holds."""

    STRING = 0  # the read-only offset of a NUL-terminated string
    INTEGER = 1
    FLOAT = 2
    CHARACTER = 3  # a code point


def read_string(read_only: bytes | bytearray, offset: int) -> str | Fault:
    """The string at an offset of the read-only section, or the fault of printing it."""
    end = read_only.find(0, offset, offset + LONGEST_STRING + 1)
    if end < 0:
        return Fault.READ_ONLY_BOUNDS
    try:
        return read_only[offset:end].decode()
    except UnicodeDecodeError:
        return Fault.BAD_STRING


def is_character(code_point: int) -> bool:
    """Whether PRTC can print a code point: any Unicode scalar value."""
    return 0 <= code_point < 0xD800 or 0xE000 <= code_point <= 0x10FFFF


class OutputRing:
    """Printed items that nobody has read yet.

    Args:
        read_only: the read-only section that the strings are in.
        capacity: how many items it holds.
    """

    __slots__ = ("_capacity", "_items", "_read_only")

    def __init__(self, read_only: bytes | bytearray, capacity: int = CAPACITY) -> None:
        self._read_only = read_only
        self._capacity = capacity
        self._items: deque[tuple[int, int | float]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the next print has to wait."""
        return len(self._items) >= self._capacity

    def append(self, tag: int, value: int | float) -> None:
        """Add an item; the caller has seen that there is room and that the item can be printed."""
        self._items.append((tag, value))

    def take(self, most: int = 256 * 1024) -> str:
        """Remove the oldest items and give them as text.

        Args:
            most: stop after this many characters, so that a ring of long strings is not one huge text.
        """
        parts: list[str] = []
        size = 0
        while self._items and size < most:
            tag, value = self._items.popleft()
            if tag == Tag.CHARACTER:
                text = chr(int(value))
            elif tag == Tag.STRING:
                string = read_string(self._read_only, int(value))
                assert isinstance(string, str), "the engine checked the string before it printed it"
                text = string
            else:
                text = repr(value)
            parts.append(text)
            size += len(text)
        return "".join(parts)
