"""Images that come in pieces from the command line, before the application that uses them. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from iridium.errors import CommandError
from iridium.supervision.messages import MOST_IMAGE

MOST_UPLOADS = 4
"""Images that come at once: 16 MiB at most."""

PATIENCE = 60.0
"""Seconds without a piece before another upload may take the place."""


class _Upload:
    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.data = bytearray()
        self.touched = now


class Uploads:
    """Puts images together.

    Args:
        clock: gives seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._uploads: dict[str, _Upload] = {}

    def add(self, digest: str, size: int, offset: int, piece: bytes) -> bytes | None:
        """Take a piece.

        Args:
            digest: the hash of the whole image.
            size: its bytes.
            offset: where the piece belongs: behind the one before, or 0 to start again.
            piece: its bytes.

        Returns:
            The image once it is whole; nothing has compared it with its hash.

        Raises:
            CommandError: the piece does not belong there, the image is too large, or too many come at once.
        """
        now = self._clock()
        if not 0 < size <= MOST_IMAGE:
            raise CommandError(f"an image has 1 to {MOST_IMAGE} bytes, not {size}")
        if offset == 0:
            self._make_room(digest, now)
            self._uploads[digest] = _Upload(size, now)
        upload = self._uploads.get(digest)
        if upload is None or upload.size != size or len(upload.data) != offset or len(piece) > size - offset:
            self._uploads.pop(digest, None)
            raise CommandError("this piece does not follow the one before; send the image again from offset 0")
        upload.data += piece
        upload.touched = now
        if len(upload.data) < size:
            return None
        del self._uploads[digest]
        return bytes(upload.data)

    def _make_room(self, digest: str, now: float) -> None:
        self._uploads.pop(digest, None)
        if len(self._uploads) < MOST_UPLOADS:
            return
        oldest = min(self._uploads, key=lambda known: self._uploads[known].touched)
        if now - self._uploads[oldest].touched < PATIENCE:
            raise CommandError(f"{MOST_UPLOADS} images are being sent to this node; try again when they are there")
        del self._uploads[oldest]
