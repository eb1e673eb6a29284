"""Which files a session may load, and reading one. Blocking: call it outside the reactor thread."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from iridium.errors import CommandError
from iridium.repl.visible import shortened

MAX_FILE = 4 * 1024 * 1024
"""Bytes of a file that a session loads: a million instructions, whose decoded form takes 200 MB and 5 s."""


def read_program(name: str, directory: Path | None) -> bytes:
    """The bytes of a program file.

    Args:
        name: the path as it was typed.
        directory: the only directory to read from, or None for any file.

    Raises:
        CommandError: it cannot be read, is too large, or is outside of the directory.
    """
    shown = shortened(name)
    try:
        path = Path(name).expanduser() if directory is None else _inside(name, directory)
        return _read(path, shown)
    except OSError as error:
        raise CommandError(f"{shown}: {error.strerror or error}") from None
    except (ValueError, RuntimeError) as error:
        # A NUL in the name; links in a circle; a home directory that is not known.
        raise CommandError(f"{shown}: {error}") from None


def _inside(name: str, directory: Path) -> Path:
    """The real path of a file below a directory, links followed.

    Raises:
        CommandError: it would be elsewhere.
    """
    rule = "remote sessions load files from the node's programs directory only (--programs-dir)"
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise CommandError(f"{shortened(name)} is not a path below that directory: {rule}")
    resolved = (directory / path).resolve(strict=True)
    if not resolved.is_relative_to(directory.resolve()):
        raise CommandError(f"{shortened(name)} is a link that leads elsewhere: {rule}")
    return resolved


def _read(path: Path, shown: str) -> bytes:
    # Without O_NONBLOCK, opening a FIFO that nobody writes to would hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CommandError(f"{shown}: is not a file")
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise CommandError(f"{shown}: is larger than {MAX_FILE} bytes, the most that a session loads")
    return data
