"""Objects kept on disk, so that a program is compiled once on a machine and not once a process.

An object is machine code: whoever can write this directory can run code as its owner. So it is made with mode
0700, and used only if it belongs to the user and nobody else can write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from iridium.isa import INSTRUCTIONS

MOST_BYTES = 64 * 1024 * 1024
"""What the directory may hold: thousands of programs."""

PRUNE_EVERY = 64
"""Objects that are kept between two looks at how much there is: looking reads the whole directory."""

LARGEST = 32 * 1024 * 1024
"""The most bytes of one object that are read."""

_SOURCES = Path(__file__).parent
_SHARED = (
    "../../isa.py", "../../image.py", "../machine.py", "../memory.py", "../output.py", "../program.py",
    "../record.py",
)  # fmt: skip


def compiler_digest() -> str:
    """A hash of everything in Iridium that an object depends on: the table, the lowerings, the compilers."""
    digest = hashlib.sha256(repr(INSTRUCTIONS).encode())
    shared = [_SOURCES / name for name in _SHARED]
    for source in [*sorted(_SOURCES.rglob("*.py")), *sorted(_SOURCES.parent.glob("runtime/*.py")), *shared]:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def default_directory() -> Path:
    """The user's cache directory."""
    import platformdirs

    return platformdirs.user_cache_path("iridium") / "native"


class ObjectCache:
    """Objects by name, as files of one directory.

    Args:
        directory: where; made if it is not there.
        identity: what the objects depend on besides what their name says; objects of another are not found.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self._directory = directory
        self._identity = identity
        self._kept = 0
        self.usable = self._prepare()

    @property
    def directory(self) -> Path | None:
        """Where objects are kept; None where they are not."""
        return self._directory if self.usable else None

    def _prepare(self) -> bool:
        """Whether the directory is there, and only this user's."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.lstat(self._directory)
        except OSError:
            return False
        return _is_private(found, stat.S_ISDIR)

    def _path(self, name: str) -> Path:
        return self._directory / hashlib.sha256(f"{self._identity}\0{name}".encode()).hexdigest()

    def get(self, name: str) -> bytes | None:
        """The object of that name, or None."""
        if not self.usable:
            return None
        try:
            # The digest in front is what tells a file that was cut off, by a full disk say, from a whole one.
            with open(self._path(name), "rb", opener=_open_own) as file:
                found = file.read(LARGEST)
        except OSError:
            return None
        digest, binary = found[:32], found[32:]
        return binary if binary and hashlib.sha256(binary).digest() == digest else None

    def put(self, name: str, binary: bytes) -> None:
        """Keep an object; where that cannot be, it is made again another time."""
        if not self.usable or len(binary) > LARGEST - 32:
            return
        path = self._path(name)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            try:
                draft.unlink(missing_ok=True)  # of a process of that number that was killed
                with open(draft, "xb", opener=_open_private) as file:
                    file.write(hashlib.sha256(binary).digest() + binary)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
            if self._kept % PRUNE_EVERY == 0:
                self._prune()
            self._kept += 1

    def _prune(self) -> None:
        """Drop the files that were made longest ago, once there are too many bytes."""
        files = [(e.stat().st_mtime, e.stat().st_size, e.path) for e in os.scandir(self._directory)]
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= MOST_BYTES:
                break
            os.unlink(path)
            total -= size


def _open_private(path: str, flags: int) -> int:
    """What makes a file that only this user can read."""
    return os.open(path, flags, 0o600)


def _open_own(path: str, flags: int) -> int:
    """What opens a file of this user's that nobody else can write to.

    Raises:
        OSError: it is none.
    """
    # Without waiting: a pipe would never open.
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not _is_private(os.fstat(file), stat.S_ISREG):
        os.close(file)
        raise PermissionError(f"{path} may be somebody else's")
    return file


def _is_private(found: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether a file of some kind belongs to this user, and nobody else can write to it."""
    private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_kind(found.st_mode) and found.st_uid == os.getuid() and private
