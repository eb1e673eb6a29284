"""Files with secrets: read only if nobody else can read them, written for their owner alone, and as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from iridium.errors import OptionError

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of a file with a secret, and of one that everybody may read, such as a certificate."""


def read_private(path: Path, most: int, what: str, *, guarded: bool = False) -> bytes:
    """The contents of a file that only its owner may read, who is this user or root.

    Args:
        path: the file.
        most: the most bytes it may have.
        what: what it is, for an error.
        guarded: whether something else keeps others out of its directory, so that its mode does not count.

    Raises:
        OptionError: it is not such a file, or cannot be read; the text says what to do.
    """
    try:
        # A file that would make us wait, such as a FIFO, is none.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())  # of what was opened, not of what stands there by now
            if not stat.S_ISREG(status.st_mode):
                raise OptionError(f"the {what} {path} is not a file")
            if status.st_uid not in (0, os.geteuid()):
                raise OptionError(f"the {what} {path} belongs to another user, who can read it; chown it")
            if not guarded and stat.S_IMODE(status.st_mode) & 0o077:
                raise OptionError(f"the {what} {path} can be read or changed by others; chmod 600 {path}")
            data = file.read(most + 1)
    except OSError as error:
        raise OptionError(f"the {what} {path} cannot be read: {error.strerror}") from None
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
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                _give_to_owner_of(path.parent, file.fileno())
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


def make_directory(path: Path) -> None:
    """A directory for this user alone, where there is none yet.

    Raises:
        OptionError: it cannot be made.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(mode=0o700, parents=True)
        _give_to_owner_of(path.parent, path)
    except OSError as error:
        raise OptionError(f"{path} cannot be made: {error.strerror}") from None


def _give_to_owner_of(directory: Path, what: Path | int) -> None:
    """What root writes into somebody's directory is of use to them only if it is theirs."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(what, owner.st_uid, owner.st_gid)
