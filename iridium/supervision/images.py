"""The images of the cluster's programs on this node's disk, named by their contents. Blocking, but short."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from iridium.errors import DataDirectoryError, IridiumError
from iridium.supervision.messages import MOST_IMAGE, PIECE

MOST_BYTES = 256 * 1024 * 1024
"""Bytes of all images: 64 of the largest, and more than any cluster needs that runs a few hundred replicas."""

_TEMPORARY = ".new."


class ImageRefusedError(IridiumError):
    """An image is not what its hash says, or there is no room for it."""


class ImageStore:
    """A directory with one file an image.

    What is in a file is checked against its name whenever it is read, so that nothing has to be written with more
    than ordinary care; a file that is wrong is dropped, and fetched again.

    Args:
        path: the directory; made where it is missing.
        most: bytes that all images may take.

    Raises:
        DataDirectoryError: it cannot be made or read.
    """

    def __init__(self, path: Path, most: int = MOST_BYTES) -> None:
        self._path = path
        self._most = most
        self._sizes: dict[str, int] = {}
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            for file in sorted(path.iterdir()):
                if file.name.startswith(_TEMPORARY):  # a write that a crash cut short
                    file.unlink(missing_ok=True)
                elif len(file.name) == 64 and file.is_file():
                    self._sizes[file.name] = file.stat().st_size
        except OSError as error:
            raise DataDirectoryError(f"the images in {path} cannot be read: {error.strerror}") from None

    def __contains__(self, digest: str) -> bool:
        return digest in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, digest: str, data: bytes) -> None:
        """Keep an image.

        Raises:
            ImageRefusedError: it has another hash, is too large, or there is no room.
        """
        if len(data) > MOST_IMAGE:
            raise ImageRefusedError(f"an image of {len(data)} bytes; the most is {MOST_IMAGE}")
        if hashlib.sha256(data).hexdigest() != digest:
            raise ImageRefusedError(f"an image is not the one that it was said to be, {digest[:16]}...")
        if digest in self._sizes:
            return
        if sum(self._sizes.values()) + len(data) > self._most:
            raise ImageRefusedError(f"there is no room for another image: all may take {self._most} bytes")
        try:
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._path)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, self._path / digest)
        except OSError as error:
            raise ImageRefusedError(f"an image cannot be written: {error.strerror}") from None
        self._sizes[digest] = len(data)

    def load(self, digest: str) -> bytes | None:
        """An image, or None where it is not here, or no more what it was."""
        if digest not in self._sizes:
            return None
        try:
            data = (self._path / digest).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() == digest:
            return data
        self._drop(digest)
        return None

    def piece(self, digest: str, offset: int) -> tuple[int, bytes]:
        """A piece of an image as it is sent: the size of the whole, and bytes; 0 and none where it is not here."""
        size = self._sizes.get(digest, 0)
        if offset >= size:
            return 0, b""
        try:
            with (self._path / digest).open("rb") as file:
                file.seek(offset)
                return size, file.read(PIECE)
        except OSError:
            return 0, b""

    def prune(self, wanted: Collection[str], most: int) -> None:
        """Drop what no application uses, as far as all images take more than ``most`` bytes."""
        for digest in list(self._sizes):
            if sum(self._sizes.values()) <= most:
                return
            if digest not in wanted:
                self._drop(digest)

    def _drop(self, digest: str) -> None:
        del self._sizes[digest]
        with contextlib.suppress(OSError):
            (self._path / digest).unlink()
