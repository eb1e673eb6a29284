"""The programs directory of a node: what is in it, and putting something there. Blocking: call it outside the
reactor thread.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
import tempfile
import threading
from pathlib import Path

from iridium.errors import CommandError
from iridium.limits import Limits
from iridium.repl.visible import shortened

MOST_LISTED = 1000
"""Files that are listed: nobody reads more, and it stays far below the longest answer."""

MOST_SEEN = 1 << 18
"""Entries of the directory that are looked at: more than ``programs`` allows; somebody else has put them there."""

LONGEST_NAME = 100
"""Characters of the name of a program that is stored: a file name of any system, with room for a draft's."""

_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}\Z")

_storing = threading.Lock()
"""One at a time: or two could each find room for one."""


def check_name(name: str) -> None:
    """Refuse what is no plain file name.

    Raises:
        CommandError: it is none; the text says what is.
    """
    if _NAME.match(name) is None:
        raise CommandError(
            f"{shortened(name)} cannot be the name of a program: letters, digits, _ . and -, not first a . or -, "
            f"at most {LONGEST_NAME} characters"
        )


def list_programs(directory: Path) -> tuple[list[tuple[str, int]], int, int]:
    """The programs of a directory: names and sizes of the first by name, how many more, and the bytes of all.

    Raises:
        CommandError: it cannot be read.
    """
    found = sorted((name, size) for name, size in _files(directory).items() if not name.startswith("."))
    return found[:MOST_LISTED], max(0, len(found) - MOST_LISTED), sum(size for _, size in found)


def store_program(name: str, data: bytes, directory: Path, limits: Limits, replace: bool) -> bool:
    """Put a program into a directory, so that a reader sees all of it or nothing.

    Args:
        name: a plain file name.
        data: the image.
        directory: where.
        limits: how many files there may be, and how many bytes.
        replace: whether it may take the place of a file that is there.

    Returns:
        Whether it did.

    Raises:
        CommandError: it cannot be called that, there is one of that name, no room, or the system refuses.
    """
    check_name(name)
    with _storing:
        files = _files(directory)
        there = name in files
        if there and not replace:
            raise CommandError(
                f"there is a program {name} already; add --replace, or choose another name with --as"
            )
        if not there and len(files) >= limits.programs:
            raise CommandError(
                f"the programs directory has {len(files)} files, and may have {limits.programs} (!limits)"
            )
        size = sum(files.values()) - files.get(name, 0) + len(data)
        if size > limits.programs_bytes:
            raise CommandError(
                f"the programs directory would have {size} bytes, and may have {limits.programs_bytes} (!limits)"
            )
        try:
            _write(directory / name, data, replace)
        except FileExistsError:
            raise CommandError(f"{name} is there, and is no file that could be replaced") from None
        except OSError as error:
            raise CommandError(f"{name} cannot be stored: {error.strerror or error}") from None
    return there


def _files(directory: Path) -> dict[str, int]:
    """The files in a directory, links and what is no file left out, with their sizes."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in itertools.islice(entries, MOST_SEEN):
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        sizes[entry.name] = status.st_size
    except OSError as error:
        raise CommandError(f"the programs directory cannot be read: {error.strerror or error}") from None
    return sizes


def _write(target: Path, data: bytes, replace: bool) -> None:
    # Beside the target, since a name is given at once only within a file system.
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".draft", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        if replace and (not os.path.lexists(target) or stat.S_ISREG(os.lstat(target).st_mode)):
            os.replace(draft, target)
        else:
            os.link(draft, target)  # fails where there is anything of that name, a link too
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
