"""Memory that every engine can work on: zero pages outside Python's heap, taken from the system and given back."""

from __future__ import annotations

import ctypes
import functools
import mmap
from typing import Any

NO_RESERVE = 0x4000
"""Linux's MAP_NORESERVE, which the mmap module of Python 3.11 does not name. Without it the system counts what is
reserved as if it were used, and refuses to start another process once that is more than there is."""

PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
"""What ``mmap`` is called with, here and in machine code: pages cost memory only once they are touched."""

_FAILED = ctypes.c_void_p(-1).value


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def reserve(size: int) -> int:
    """Zero bytes at a fixed address, so that what grows in them is never copied.

    Args:
        size: bytes.

    Returns:
        The address.

    Raises:
        MemoryError: the system has no room.
    """
    address = _libc().mmap(None, size, PROTECTION, FLAGS, -1, 0)
    if address is None or address == _FAILED:
        raise MemoryError(f"no room for {size} bytes")
    return int(address)


def release(address: int, size: int) -> None:
    """Give back what :func:`reserve` gave, with the same size."""
    _libc().munmap(address, size)


def view(address: int, size: int) -> memoryview:
    """The bytes at an address, to read and to write; valid until they are released."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
