"""What this process takes of its machine: memory, descriptors, threads. Linux tells; elsewhere it is not known."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

_PROC = Path("/proc/self")


class Resources(msgspec.Struct, frozen=True):
    """What a process takes.

    Attributes:
        memory: bytes that are resident.
        descriptors: files, sockets and the like that are open.
        threads: of the operating system.

    Each is None where the system does not tell.
    """

    memory: int | None = None
    descriptors: int | None = None
    threads: int | None = None


def measure(proc: Path = _PROC) -> Resources:
    """What this process takes now, or another.

    Args:
        proc: its directory under ``/proc``.
    """
    if sys.platform != "linux":
        return Resources()
    return Resources(_memory(proc), _entries(proc / "fd"), _entries(proc / "task"))


def _memory(proc: Path) -> int | None:
    try:
        pages = int((proc / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _entries(directory: Path) -> int | None:
    """How many there are, without the one that this look at them takes where it is our own directory."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return None
    return len(entries) - (directory == _PROC / "fd")
