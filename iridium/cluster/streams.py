"""Payloads on their way out and in: which goes next, and how pieces become a payload again.

Payloads of one stream leave in the order in which they were given, whether they are small or bulk. Bulk goes in
pieces, those of different streams in turn, so that nobody waits for another's megabytes. The receiver needs to
know nothing of streams: it delivers what is whole. Lines and their numbers are in :mod:`iridium.cluster.session`.
"""

from __future__ import annotations

from collections import deque

from iridium.cluster.messages import LARGEST_MAIL, PIECE, MessageError, Piece

MOST_BULK = 64
"""Bulk payloads that wait for one peer, or arrive from it, at a time."""

MOST_BULK_BYTES = 64 * 1024 * 1024
"""Bytes of them altogether: four of the largest."""


class _Bulk:
    """A payload that leaves in pieces."""

    __slots__ = ("at", "data", "kind", "number", "turn")

    def __init__(self, kind: int, data: bytes, turn: int) -> None:
        self.kind = kind
        self.data = data
        self.turn = turn  # how many small payloads leave before its first piece
        self.at = 0
        self.number = 0


class Outgoing:
    """What has not been sent yet, in the order in which it may be.

    Attributes:
        bulk: bulk payloads in it.
    """

    __slots__ = ("_held", "_numbers", "_put", "_ready", "_taken", "_turns", "bulk", "held")

    def __init__(self) -> None:
        self.bulk = 0
        self.held = 0  # small payloads that wait behind a bulk one of their stream
        self._ready: deque[tuple[int, bytes]] = deque()
        # Streams with a bulk payload: that one first, then whatever has to wait for it.
        self._held: dict[int, deque[_Bulk | tuple[int, bytes]]] = {}
        self._turns: deque[int] = deque()
        self._put = self._taken = self._numbers = 0

    def __len__(self) -> int:
        return len(self._ready) + self.held + self.bulk

    def add(self, kind: int, data: bytes, stream: int) -> None:
        """Take a payload."""
        waiting = self._held.get(stream)
        if len(data) > LARGEST_MAIL:
            self.bulk += 1
            bulk = _Bulk(kind, data, self._put)
            if waiting is None:
                self._held[stream] = deque([bulk])
                self._turns.append(stream)
            else:
                waiting.append(bulk)
        elif waiting is None:
            self._ready.append((kind, data))
            self._put += 1
        else:
            self.held += 1
            waiting.append((kind, data))

    def holds(self, stream: int) -> bool:
        """Whether a stream has a bulk payload that is not sent yet, so that its next payload would wait."""
        return stream in self._held

    def has_small(self) -> bool:
        """Whether there is a small payload to send."""
        return bool(self._ready)

    def small(self) -> tuple[int, bytes]:
        """Take the next small payload: kind and data."""
        self._taken += 1
        return self._ready.popleft()

    def has_piece(self) -> bool:
        """Whether a stream has a piece to send now."""
        return bool(self._turns) and any(self._may_go(stream) for stream in self._turns)

    def _may_go(self, stream: int) -> bool:
        bulk = self._held[stream][0]
        return isinstance(bulk, _Bulk) and bulk.turn <= self._taken

    def piece(self, n: int, ack: int) -> tuple[Piece, int]:
        """The next piece, of the stream whose turn it is.

        Args:
            n, ack: the numbers of its line.

        Returns:
            The line, and the size of the whole payload if this is its last piece, else 0.
        """
        while not self._may_go(self._turns[0]):
            self._turns.rotate(-1)
        stream = self._turns.popleft()
        bulk = self._held[stream][0]
        assert isinstance(bulk, _Bulk)
        size = len(bulk.data)
        part = bulk.data[bulk.at : bulk.at + PIECE]
        if bulk.at == 0:
            self._numbers += 1
            bulk.number = self._numbers
            line = Piece(n, ack, bulk.number, part, bulk.kind, size)
        else:
            line = Piece(n, ack, bulk.number, part)
        bulk.at += PIECE
        if bulk.at < size:
            self._turns.append(stream)
            return line, 0
        self._finish(stream)
        return line, size

    def _finish(self, stream: int) -> None:
        """A stream's bulk payload is sent: what waited behind it may go, up to the next."""
        waiting = self._held[stream]
        waiting.popleft()
        self.bulk -= 1
        while waiting:
            following = waiting[0]
            if isinstance(following, _Bulk):
                following.turn = self._put
                self._turns.append(stream)
                return
            self._ready.append(following)
            waiting.popleft()
            self._put += 1
            self.held -= 1
        del self._held[stream]


class _Arriving:
    """A payload that arrives in pieces."""

    __slots__ = ("got", "kind", "parts", "size")

    def __init__(self, kind: int, size: int) -> None:
        self.kind = kind
        self.size = size
        self.got = 0
        self.parts: list[bytes] = []


class Incoming:
    """Payloads of which some pieces have arrived.

    Attributes:
        size: bytes that their senders announced, altogether.
    """

    __slots__ = ("_arriving", "size")

    def __init__(self) -> None:
        self.size = 0
        self._arriving: dict[int, _Arriving] = {}

    def __len__(self) -> int:
        return len(self._arriving)

    def add(self, piece: Piece) -> tuple[int, bytes] | None:
        """Take a piece.

        Returns:
            Kind and data of the payload, if it is whole now.

        Raises:
            MessageError: too much is announced, or the piece does not continue what was.
        """
        bulk = self._arriving.get(piece.bulk)
        if piece.size:
            if bulk is not None:
                raise MessageError(f"two payloads with the number {piece.bulk}")
            if len(self) >= MOST_BULK or self.size + piece.size > MOST_BULK_BYTES:
                raise MessageError(f"over {MOST_BULK} payloads or {MOST_BULK_BYTES} bytes in pieces at a time")
            bulk = self._arriving[piece.bulk] = _Arriving(piece.kind, piece.size)
            self.size += piece.size
        elif bulk is None:
            raise MessageError(f"a piece of payload {piece.bulk}, which was not announced")
        # Full pieces only: a payload in single bytes would cost its receiver fifty times its size.
        if len(piece.data) != min(PIECE, bulk.size - bulk.got):
            raise MessageError(f"a piece of {len(piece.data)} bytes where another size was due")
        bulk.parts.append(piece.data)
        bulk.got += len(piece.data)
        if bulk.got < bulk.size:
            return None
        del self._arriving[piece.bulk]
        self.size -= bulk.size
        return bulk.kind, b"".join(bulk.parts)
