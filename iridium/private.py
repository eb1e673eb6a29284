"""Files with secrets: read only if nobody else can read them, written for their owner alone, and as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from iridium.errors import IridiumError, OptionError

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of a file with a secret, and of one that everybody may read, such as a certificate."""


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
def open_private(path: Path, *, follow: bool = True, guarded: bool = False) -> Iterator[PrivateFile]:
    """Open a file that the node's user or root owns, and that nobody else can read or write.

    Args:
        path: the file.
        follow: whether it may be a link.
        guarded: whether something else keeps others out of its directory, so that its mode does not count.

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
        _check(path, status, guarded)
        yield PrivateFile(descriptor, status)
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result, guarded: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivateError("it is not a regular file.")
    user = os.geteuid()
    if status.st_uid not in (user, 0):
        raise NotPrivateError(
            f"it belongs to user {status.st_uid}, and this node runs as user {user}: chown {user} {path}."
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 and not guarded:
        raise NotPrivateError(f"its mode is {mode:04o}, which lets others at it: chmod 600 {path}.")


def read_private(path: Path, most: int, what: str, *, guarded: bool = False) -> bytes:
    """The contents of a file that :func:`open_private` opens.

    Args:
        path, guarded: as there.
        most: the most bytes it may have.
        what: what it is, for an error.

    Raises:
        OptionError: it is not such a file, or cannot be read; the text says what to do.
    """
    try:
        with open_private(path, guarded=guarded) as file:
            data = file.read(most)
    except FileNotFoundError:
        raise OptionError(f"there is no {what} {path}") from None
    except NotPrivateError as error:
        raise OptionError(f"the {what} {path} is not used: {error}") from None
    if len(data) > most:
        raise OptionError(f"the {what} {path} has more than {most} bytes")
    return data


def write_whole(
    path: Path, data: bytes, *, replace: bool, mode: int = PRIVATE, hint: str = ", and was left as it is"
) -> None:
    """Write a file; after a crash it is there as a whole, or as it was before.

    Args:
        path: the file; its directory is made, for this user alone, where it is missing.
        data: what it is to hold.
        replace: whether there may be one already.
        mode: who may read it.
        hint: what follows the error that there is one.

    Raises:
        OptionError: it cannot be written, or is there already.
    """
    make_directory(path.parent)
    owner = path if replace and path.exists() else path.parent
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                _give_to_owner_of(owner, file.fileno())
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # unlike a rename, it never takes the place of another
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except FileExistsError:
        raise OptionError(f"{path} is there already{hint}") from None
    except OSError as error:
        raise OptionError(f"{path} cannot be written: {error.strerror}") from None


def make_directory(path: Path, mode: int = 0o700) -> None:
    """A directory for this user alone, where there is none yet.

    Args:
        path: the directory; those above it are made as directories usually are.
        mode: who may be in it.

    Raises:
        OptionError: it cannot be made.
    """
    if path.is_dir():
        return
    make_directory(path.parent, 0o777)  # one by one, so that each belongs to whose directory it is in
    try:
        path.mkdir(mode, exist_ok=True)
        _give_what_is_at(path, os.O_DIRECTORY)
    except OSError as error:
        raise OptionError(f"{path} cannot be made: {error.strerror}") from None


def give_to_owner_of_directory(path: Path) -> None:
    """Give a file to whose directory it is in, where root made it.

    Raises:
        OptionError: it cannot be opened, or is a link.
    """
    try:
        _give_what_is_at(path, os.O_NONBLOCK)
    except OSError as error:
        raise OptionError(f"{path} cannot be given to its directory's owner: {error.strerror}") from None


def _give_what_is_at(path: Path, flags: int) -> None:
    # By its descriptor: whoever owns the directory could have put a link to something else in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
    try:
        _give_to_owner_of(path.parent, descriptor)
    finally:
        os.close(descriptor)


def _give_to_owner_of(neighbour: Path, descriptor: int) -> None:
    """What root writes for somebody is of use to them only if it is theirs, like what was or is around it."""
    if os.geteuid() == 0:
        owner = neighbour.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
