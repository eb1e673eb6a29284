"""One session with one peer, without I/O: payloads in, lines out; and the other way round.

A session outlives the links that carry it. Its lines are numbered; what the peer has not acknowledged is kept,
and sent again on the next link; what arrives twice is dropped. So within a session payloads arrive in order, and
at most once. When a session begins and ends, and which number it has, is decided in :mod:`iridium.cluster.post`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from iridium.cluster.messages import LARGEST_MAIL, Ack, Mail, Message, MessageError, Piece
from iridium.cluster.streams import MOST_BULK, MOST_BULK_BYTES, Incoming, Outgoing

MOST_WAITING = 4 * 1024 * 1024
"""Bytes of small payloads unsent or unacknowledged: what a fast network has under way, and 1 GiB for 255 peers."""

LINE_COST = 128
"""Bytes that each payload counts beside its own: what keeping it costs, so that empty ones are bounded too."""

MOST_PIECES = 4
"""Unacknowledged pieces of bulk: whatever else is sent waits behind 128 KiB of it at most."""

WRITE = 128 * 1024
"""Bytes of payload for one write: twice what a transport takes before it asks to wait, and few enough that
the other peers get their turn."""

ACK_LINES = 64
"""Lines that are acknowledged at once, without waiting for a line that goes the other way."""

ACK_BYTES = 256 * 1024
"""Bytes after which they are: so the sender never runs out of room while its peer keeps up."""

ROOM_AGAIN = MOST_WAITING // 2
"""Bytes that must be free before a sender that had no room is told: less would wake it for every line."""


class Traffic:
    """What was exchanged with one peer, in payloads.

    Attributes:
        sent: taken for the peer.
        received: delivered from it.
        resent: lines sent again on another link.
        repeated: lines that arrived again and were dropped.
        dropped: unsent or unacknowledged when their session ended; the latter may have arrived.
    """

    __slots__ = ("dropped", "received", "repeated", "resent", "sent")

    def __init__(self) -> None:
        self.sent = self.received = self.resent = self.repeated = self.dropped = 0


class Session:
    """One end of a session.

    Args:
        number: of the session.
        life: which life of the peer has the other end.
        traffic: where to count.

    Attributes:
        announced: whether the layer above knows of it.
        confirmed: whether the other end holds it for certain.
        received: the number of the last line that arrived.
        wake: called when there are lines to send; None while no link carries the session.
    """

    __slots__ = (
        "_acked", "_again", "_incoming", "_outgoing", "_owed", "_owed_bytes", "_pieces", "_refused", "_sent",
        "_unacked", "_urgent", "_woken", "announced", "bulk", "bulk_bytes", "confirmed", "life",
        "number", "received", "traffic", "waiting", "wake",
    )  # fmt: skip

    def __init__(self, number: int, life: int, traffic: Traffic) -> None:
        self.number = number
        self.life = life
        self.traffic = traffic
        self.announced = self.confirmed = False
        self.received = 0
        self.waiting = 0  # bytes of small payloads, with LINE_COST
        self.bulk = self.bulk_bytes = 0
        self.wake: Callable[[], None] | None = None
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._sent = self._acked = 0
        # Lines sent and not acknowledged, with what each frees: bytes of a small payload, or, with the last piece
        # of a bulk one, its size.
        self._unacked: deque[tuple[Mail | Piece, int]] = deque()
        self._again: deque[Mail | Piece] = deque()  # those to be sent again
        self._pieces = 0
        self._owed = self._owed_bytes = 0  # lines and bytes that we have not acknowledged
        self._urgent = False  # the acknowledgement does not wait for a line to ride on
        self._woken = self._refused = False

    def __repr__(self) -> str:
        return f"<Session {self.number} with life {self.life}>"

    # --- the sender's side ---

    @property
    def room(self) -> int:
        """Bytes that one more small payload may have, with those that wait."""
        return max(0, MOST_WAITING - self.waiting - LINE_COST)

    def send(self, kind: int, data: bytes, stream: int) -> bool:
        """Take a payload, or say that there is no room for it now."""
        size = len(data)
        if size > LARGEST_MAIL:
            if self.bulk >= MOST_BULK or self.bulk_bytes + size > MOST_BULK_BYTES:
                self._refused = True
                return False
            self.bulk += 1
            self.bulk_bytes += size
        else:
            if self.waiting + size + LINE_COST > MOST_WAITING:
                self._refused = True
                return False
            self.waiting += size + LINE_COST
        self._outgoing.add(kind, data, stream)
        self.traffic.sent += 1
        if not self._woken:
            self._wake()
        return True

    def holds(self, stream: int) -> bool:
        """Whether what is sent in a stream would wait, behind a bulk payload of it."""
        return self._outgoing.holds(stream)

    def want_room(self) -> None:
        """Somebody has something for which there may be no room: tell when there is."""
        self._refused = True

    def has_room_again(self) -> bool:
        """Whether somebody found no room, and there is enough now; true once."""
        again = (
            self._refused
            and MOST_WAITING - self.waiting >= ROOM_AGAIN
            and self.bulk <= MOST_BULK // 2
            and self.bulk_bytes <= MOST_BULK_BYTES // 2
        )
        if again:
            self._refused = False
        return again

    def _wake(self) -> None:
        if self.wake is not None:
            self._woken = True
            self.wake()

    def has_lines(self) -> bool:
        """Whether there is anything to send now."""
        if self._urgent or self._again or self._outgoing.has_small():
            return True
        return self._pieces < MOST_PIECES and self._outgoing.has_piece()

    def lines(self) -> list[Message]:
        """What goes out now, about :data:`WRITE` bytes at a time; it is kept until it is acknowledged."""
        self._woken = False
        lines: list[Message] = []
        size = 0
        again = self._again
        while again and size < WRITE:
            line = again.popleft()
            if line.n > self._acked:
                line.ack = self.received
                size += len(line.data)
                lines.append(line)
                self.traffic.resent += 1
        if not again:
            outgoing = self._outgoing
            while size < WRITE:
                before = len(lines)
                if outgoing.has_small():
                    kind, data = outgoing.small()
                    self._sent += 1
                    mail = Mail(self._sent, self.received, kind, data)
                    self._unacked.append((mail, len(data) + LINE_COST))
                    size += len(data)
                    lines.append(mail)
                if self._pieces < MOST_PIECES and outgoing.has_piece():
                    self._sent += 1
                    piece, whole = outgoing.piece(self._sent, self.received)
                    self._unacked.append((piece, whole))
                    self._pieces += 1
                    size += len(piece.data)
                    lines.append(piece)
                if len(lines) == before:
                    break
        if self._urgent and not lines:
            lines.append(Ack(self.received))
        if lines:
            self._owed = self._owed_bytes = 0
            self._urgent = False
        return lines

    # --- the receiver's side ---

    @property
    def owes(self) -> bool:
        """Whether lines have arrived that are not acknowledged."""
        return self._owed > 0

    def acknowledge(self) -> None:
        """Send an acknowledgement now, with a line or without."""
        self._urgent = True
        if not self._woken:
            self._wake()

    def receive(self, line: Mail | Piece | Ack) -> tuple[int, bytes] | None:
        """Take a line.

        Returns:
            Kind and data of a payload that is to be delivered now.

        Raises:
            MessageError: it cannot be one of this session.
        """
        self.acknowledged(line.ack)
        if isinstance(line, Ack):
            return None
        if line.n != self.received + 1:
            if line.n > self.received:
                raise MessageError(f"line {line.n} of a session after line {self.received}")
            self.traffic.repeated += 1
            return None
        self.received = line.n
        self._owed += 1
        self._owed_bytes += len(line.data)
        if isinstance(line, Mail):
            if (self._owed >= ACK_LINES or self._owed_bytes >= ACK_BYTES) and not self._urgent:
                self.acknowledge()
            self.traffic.received += 1
            return line.kind, line.data
        whole = self._incoming.add(line)
        if not self._urgent:
            self.acknowledge()  # its sender waits after four
        if whole is not None:
            self.traffic.received += 1
        return whole

    def acknowledged(self, n: int) -> None:
        """The peer has every line up to this one.

        Raises:
            MessageError: it cannot have.
        """
        if n <= self._acked:
            return
        if n > self._sent:
            raise MessageError(f"line {n} of a session acknowledged, of {self._sent} that were sent")
        self._acked = n
        unacked = self._unacked
        while unacked and unacked[0][0].n <= n:
            line, freed = unacked.popleft()
            if isinstance(line, Mail):
                self.waiting -= freed
            else:
                self._pieces -= 1
                if freed:
                    self.bulk -= 1
                    self.bulk_bytes -= freed
        if not self._woken and self.wake is not None and self.has_lines():
            self._wake()

    # --- links ---

    def can_resume(self, received: int) -> bool:
        """Whether a peer that has this many lines can be sent all that it lacks."""
        return self._acked <= received <= self._sent

    def attach(self, wake: Callable[[], None]) -> None:
        """A link carries the session from now on: what is not acknowledged goes out again."""
        self.wake = wake
        self._again = deque(line for line, _ in self._unacked)
        self._urgent = self._owed > 0
        self._woken = False
        if self.has_lines():
            self._wake()

    def detach(self) -> None:
        """No link carries it now; what is sent waits."""
        self.wake = None
        self._again.clear()

    def abandon(self) -> int:
        """End it.

        Returns:
            How many payloads are dropped: unsent, or not known to have arrived.
        """
        self.detach()
        dropped = len(self._outgoing) + sum(isinstance(line, Mail) or freed > 0 for line, freed in self._unacked)
        self.traffic.dropped += dropped
        self._outgoing, self._incoming = Outgoing(), Incoming()
        self._unacked.clear()
        self.waiting = self.bulk = self.bulk_bytes = self._pieces = self._owed = 0
        self._refused = False
        return dropped
