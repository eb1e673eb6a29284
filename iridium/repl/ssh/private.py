"""Files that only the node's user may be at: opened, and looked at, before anything in them is believed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from iridium.errors import IridiumError


class NotPrivateError(IridiumError):
    """A file that is not used, because of what it is or whose; the text says what to do."""


class PrivateFile(NamedTuple):
    """An open file that is what it should be.

    Attributes:
        descriptor: to read it with.
        status: what it is.
    """

    descriptor: int
    status: os.stat_result

    def read(self, most: int) -> bytes:
        """All of it, or the first bytes, one more than the most."""
        data = b""
        while len(data) <= most and (piece := os.read(self.descriptor, most + 1 - len(data))):
            data += piece
        return data


@contextlib.contextmanager
def open_private(path: Path, *, follow: bool = True) -> Iterator[PrivateFile]:
    """Open a file that the node's user or root owns, and that nobody else can read or write.

    Args:
        path: the file.
        follow: whether it may be a link.

    Raises:
        FileNotFoundError: there is none.
        NotPrivateError: it cannot be opened, or is not such a file.
    """
    # Not blocking, since it may turn out to be a pipe. What is looked at is what is read.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotPrivateError(f"it cannot be read: {error.strerror}.") from None
    try:
        status = os.fstat(descriptor)
        _check(path, status)
        yield PrivateFile(descriptor, status)
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivateError("it is not a regular file.")
    user = os.geteuid()
    if status.st_uid not in (user, 0):
        raise NotPrivateError(
            f"it belongs to user {status.st_uid}, and this node runs as user {user}: chown {user} {path}."
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise NotPrivateError(f"its mode is {mode:04o}, which lets others at it: chmod 600 {path}.")
