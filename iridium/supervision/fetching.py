"""Getting images from other members, piece by piece. No I/O; the clock is passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from iridium.supervision.messages import MOST_IMAGE, PIECE, ImagePiece, WantImage

ANSWER = 2.0
"""Seconds that a member may take for a piece, before another is asked."""

AGAIN = 1.0
"""Seconds until the members are asked again, when none of them has an image."""

MOST_FETCHES = 4
"""Images that are fetched at once: each takes memory until it is whole."""

DISTRUST = 60.0
"""Seconds in which a member that sent something else is not asked again for an image."""


class Fetch:
    """One image on its way.

    Attributes:
        hash: which.
        data: what has come.
        size: bytes of the whole, or 0 while that is not known.
        source: the member that is asked, or "".
        asked: when.
        tried: the members that do not have it, or did not answer.
    """

    def __init__(self, digest: str) -> None:
        self.hash = digest
        self.data = bytearray()
        self.size = 0
        self.source = ""
        self.asked = 0.0
        self.tried: set[str] = set()


class Fetcher:
    """Fetches images.

    Args:
        clock: gives seconds of a monotonic clock.
        members: gives those who may be asked.
        send: sends a question; whether there was a way.
        arrived: takes an image that is what its hash says.
        lied: called with a member that sent another, and the hash.

    Attributes:
        lies: how often a member sent what is not what it was asked for.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        members: Callable[[], list[str]],
        send: Callable[[str, WantImage], bool],
        arrived: Callable[[str, bytes], None],
        lied: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._members = members
        self._send = send
        self._arrived = arrived
        self._lied = lied
        self._fetches: dict[str, Fetch] = {}
        self._distrusted: dict[tuple[str, str], float] = {}
        self.lies = 0

    def __len__(self) -> int:
        return len(self._fetches)

    def want(self, digest: str) -> None:
        """Fetch an image, unless it is on its way."""
        if digest not in self._fetches:
            self._fetches[digest] = Fetch(digest)
            self.tick()

    def keep(self, wanted: set[str]) -> None:
        """Fetch nothing else any more."""
        for digest in [digest for digest in self._fetches if digest not in wanted]:
            del self._fetches[digest]

    def tick(self) -> None:
        """Ask whoever is next, where nobody is asked or nobody answers."""
        now = self._clock()
        for key, until in list(self._distrusted.items()):
            if until <= now:
                del self._distrusted[key]
        for fetch in list(self._fetches.values())[:MOST_FETCHES]:
            if fetch.source and now - fetch.asked >= ANSWER:
                self._give_up(fetch)
            if not fetch.source and now >= fetch.asked:
                self._ask_next(fetch)

    def _ask_next(self, fetch: Fetch) -> None:
        for node in self._members():
            if node in fetch.tried or (node, fetch.hash) in self._distrusted:
                continue
            if self._ask(fetch, node):
                return
            fetch.tried.add(node)
        fetch.tried.clear()
        fetch.asked = self._clock() + AGAIN

    def _ask(self, fetch: Fetch, node: str) -> bool:
        fetch.source = node
        fetch.asked = self._clock()
        if self._send(node, WantImage(fetch.hash, len(fetch.data))):
            return True
        self._give_up(fetch)
        return False

    def _give_up(self, fetch: Fetch) -> None:
        """Ask somebody else, from the start: what has come may be wrong."""
        fetch.tried.add(fetch.source)
        fetch.source = ""
        fetch.data.clear()
        fetch.size = 0
        fetch.asked = 0.0

    def receive(self, node: str, piece: ImagePiece) -> None:
        """A piece arrived; what was not asked for is ignored."""
        fetch = self._fetches.get(piece.hash)
        if fetch is None or fetch.source != node or piece.offset != len(fetch.data):
            return
        if not piece.size:
            self._give_up(fetch)
            self.tick()
            return
        fetch.size = fetch.size or piece.size
        fits = len(fetch.data) + len(piece.data) <= fetch.size <= MOST_IMAGE and 0 < len(piece.data) <= PIECE
        if piece.size != fetch.size or not fits:
            self._lie(fetch)
            return
        fetch.data += piece.data
        if len(fetch.data) < fetch.size:
            self._ask(fetch, node)
        elif hashlib.sha256(fetch.data).hexdigest() != fetch.hash:
            self._lie(fetch)
        else:
            del self._fetches[fetch.hash]
            self._arrived(fetch.hash, bytes(fetch.data))
            self.tick()

    def _lie(self, fetch: Fetch) -> None:
        self.lies += 1
        self._distrusted[fetch.source, fetch.hash] = self._clock() + DISTRUST
        self._lied(fetch.source, fetch.hash)
        self._give_up(fetch)
        self.tick()
