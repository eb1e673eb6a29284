"""What a program prints: a bounded ring of tagged items, turned into text by whoever reads it.

An engine appends what to print, not how it looks, so that every engine stops at the same instruction when the
ring is full and formatting is said once. The ring is native memory, mapped at the first print: an engine writes at
its end and the reader takes from its start, each with a counter of its own that only it changes.
"""

from __future__ import annotations

import ctypes
import enum
import struct

from iridium.isa import Fault
from iridium.vm.memory import release, reserve, view
from iridium.vm.record import Record

CAPACITY = 4096
"""Items before the program waits for a reader: a full screen of single characters, 64 KiB of records."""

LONGEST_STRING = 64 * 1024
"""The most bytes that PRTS prints, so that one instruction stays short."""


class Tag(enum.IntEnum):
    """What an item of the ring holds."""

    STRING = 0  # the read-only offset of a NUL-terminated string
    INTEGER = 1
    FLOAT = 2  # its bits
    CHARACTER = 3  # a code point


class Ring(ctypes.Structure):
    """The head of the ring; the items follow it, each a tag and a value of eight bytes."""

    written: int
    read: int
    told: int

    _fields_ = [
        ("written", ctypes.c_uint64),  # items ever appended; the next goes to this index modulo the capacity
        ("read", ctypes.c_uint64),  # items ever taken
        ("told", ctypes.c_uint64),  # items of which the reader has been told
    ]


ITEM = 16
"""Bytes of an item."""

RING_HEADER = ctypes.sizeof(Ring)
_INTEGER = struct.Struct("=qq")
_FLOAT = struct.Struct("=qd")


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
    """Printed items of a VM that nobody has read yet.

    Args:
        record: the VM's state, which holds the ring's address and capacity.
        read_only: the read-only section that the strings are in.
    """

    __slots__ = ("_at", "_bytes", "_read_only", "_record", "_ring")

    def __init__(self, record: Record, read_only: bytes | bytearray) -> None:
        self._record = record
        self._read_only = read_only
        self._at = 0
        self._ring = Ring()  # an empty one, until there is one

    def _map(self) -> Ring:
        """The ring's head, wherever it is by now."""
        address = self._record.output
        if address != self._at:
            self._at = address
            self._ring = Ring.from_address(address)
            self._bytes = view(address, ring_size(self._record.output_capacity))
        return self._ring

    def __len__(self) -> int:
        ring = self._map()
        return ring.written - ring.read

    @property
    def full(self) -> bool:
        """Whether the next print has to wait."""
        return len(self) >= self._record.output_capacity

    def append(self, tag: int, value: int | float) -> None:
        """Add an item; the caller has seen that there is room and that the item can be printed."""
        record = self._record
        if not record.output:
            record.output = reserve(ring_size(record.output_capacity))
        ring = self._map()
        item = _FLOAT if tag == Tag.FLOAT else _INTEGER
        item.pack_into(self._bytes, RING_HEADER + ring.written % record.output_capacity * ITEM, tag, value)
        ring.written += 1

    def clear(self) -> None:
        """Drop what nobody has read."""
        ring = self._map()
        ring.read = ring.written

    def take(self, most: int = 256 * 1024) -> str:
        """Remove the oldest items and give them as text.

        Args:
            most: stop after this many characters, so that a ring of long strings is not one huge text.
        """
        ring = self._map()
        parts: list[str] = []
        size = 0
        at, end = ring.read, ring.written
        while at < end and size < most:
            offset = RING_HEADER + at % self._record.output_capacity * ITEM
            tag, value = _INTEGER.unpack_from(self._bytes, offset)
            if tag == Tag.CHARACTER:
                text = chr(value)
            elif tag == Tag.STRING:
                string = read_string(self._read_only, value)
                assert isinstance(string, str), "the engine checked the string before it printed it"
                text = string
            elif tag == Tag.FLOAT:
                text = repr(_FLOAT.unpack_from(self._bytes, offset)[1])
            else:
                text = str(value)
            parts.append(text)
            size += len(text)
            at += 1
        ring.read = at
        return "".join(parts)


def ring_size(capacity: int) -> int:
    """Bytes of a ring with room for that many items."""
    return RING_HEADER + ITEM * capacity


def release_ring(record: Record) -> None:
    """Give back the ring's memory, and with it what nobody has read."""
    if record.output:
        release(record.output, ring_size(record.output_capacity))
        record.output = 0
