"""One session: order, at most once, nothing lost while it lasts, and bounds on all that it keeps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.cluster import messages as m
from iridium.cluster.messages import LARGEST_MAIL, LARGEST_PAYLOAD, PIECE, Ack, Mail, MessageError, Piece
from iridium.cluster.session import (
    ACK_LINES,
    LINE_COST,
    MOST_PIECES,
    MOST_WAITING,
    ROOM_AGAIN,
    WRITE,
    Session,
    Traffic,
)  # fmt: skip
from iridium.cluster.streams import MOST_BULK, MOST_BULK_BYTES, Incoming


class End:
    """One end of a session, and the bytes that are on their way to it."""

    def __init__(self) -> None:
        self.session = Session(1, 1, Traffic())
        self.sent: list[tuple[int, bytes]] = []  # stream and data
        self.got: list[bytes] = []
        self.coming = b""
        self.buffer = b""
        self.woken = 0

    def wake(self) -> None:
        """Count what the session asks for."""
        self.woken += 1

    def take(self, size: int) -> None:
        """Let some bytes arrive."""
        self.buffer += self.coming[:size]
        self.coming = self.coming[size:]
        whole = self.buffer.rfind(b"\n") + 1
        lines, self.buffer = self.buffer[:whole], self.buffer[whole:]
        for line in m.decode_lines(lines):
            assert isinstance(line, Mail | Piece | Ack)
            payload = self.session.receive(line)
            if payload is not None:
                self.got.append(payload[1])


def link(a: End, b: End, stale: bool = False) -> None:
    """Make a link, as the handshake does: each end learns what the other has; or had, if it was said before."""
    for end, other in ((a, b), (b, a)):
        end.coming = end.buffer = b""
        assert end.session.can_resume(other.session.received)
        if not stale:
            end.session.acknowledged(other.session.received)
        end.session.attach(end.wake)


def pair() -> tuple[End, End]:
    """The two ends of a session, linked."""
    a, b = End(), End()
    link(a, b)
    return a, b


def flush(end: End, other: End) -> None:
    """Write once."""
    other.coming += m.encode_lines(end.session.lines())


def settle(a: End, b: End) -> None:
    """Let everything arrive."""
    for _ in range(1000):
        for end, other in ((a, b), (b, a)):
            if end.session.owes:
                end.session.acknowledge()
            flush(end, other)
            other.take(len(other.coming))
        if not (a.session.has_lines() or b.session.has_lines() or a.session.owes or b.session.owes):
            return
    raise AssertionError("it never ends")


SIZES = [0, 1, 900, LARGEST_MAIL, LARGEST_MAIL + 1, 4 * PIECE, 9 * PIECE]
SENDS = st.tuples(st.just("send"), st.booleans(), st.sampled_from(SIZES), st.integers(0, 2))
STEPS = st.one_of(
    SENDS,
    st.tuples(st.just("flush"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("take"), st.booleans(), st.integers(1, 300_000), st.just(0)),
    st.tuples(st.just("cut"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("link"), st.booleans(), st.just(0), st.just(0)),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEPS, max_size=40))
def test_nothing_is_lost_repeated_or_overtaken(steps: list[tuple[str, bool, int, int]]) -> None:
    """Whatever is cut where: each payload arrives once, those of one stream in order, and nothing is left over."""
    a, b = pair()
    for number, (what, first, size, stream) in enumerate(steps):
        end, other = (a, b) if first else (b, a)
        if what == "send":
            data = number.to_bytes(2, "big") + bytes(size)
            if end.session.send(7, data, stream):
                end.sent.append((stream, data))
        elif what == "flush" and end.session.wake is not None:
            flush(end, other)
        elif what == "take":
            end.take(size)
        elif what == "cut":  # one end, or both, notices
            end.session.detach()
            end.coming = b""
        elif what == "link":
            a.session.detach()
            b.session.detach()
            link(a, b, stale=first)
        assert sum(isinstance(line, Piece) for line, _ in end.session._unacked) <= MOST_PIECES
    a.session.detach()
    b.session.detach()
    link(a, b)
    settle(a, b)
    for end, other in ((a, b), (b, a)):
        assert sorted(end.got) == sorted(data for _, data in other.sent)
        for stream in range(3):
            sent = [data for key, data in other.sent if key == stream]
            assert [data for data in end.got if data in sent] == sent
        session = end.session
        assert (session.waiting, session.bulk, session.bulk_bytes) == (0, 0, 0)
        assert not session._unacked
        assert not len(session._outgoing)
        assert session._incoming.size == 0
        assert session.abandon() == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(SENDS, max_size=20), st.integers(0, 400_000))
def test_what_is_dropped_is_counted(sends: list[tuple[str, bool, int, int]], arrive: int) -> None:
    """At its end a session tells how many payloads were not acknowledged."""
    a, b = pair()
    for _, _, size, stream in sends:
        a.session.send(0, bytes(size), stream)
    flush(a, b)
    b.take(arrive)
    b.session.acknowledge()
    flush(b, a)
    a.take(len(a.coming))
    assert a.session.abandon() == len(sends) - len(b.got)
    assert a.session.traffic.dropped == len(sends) - len(b.got)


def test_acknowledgements_ride_on_lines() -> None:
    """Ping-pong needs no line that only acknowledges; a stream one way has one every few lines."""
    a, b = pair()
    a.session.send(0, b"ping", 0)
    flush(a, b)
    b.take(1000)
    b.session.send(0, b"pong", 0)
    [line] = b.session.lines()
    assert isinstance(line, Mail)
    assert (line.n, line.ack) == (1, 1)
    assert not b.session.owes
    for _ in range(ACK_LINES):
        assert not b.session.has_lines()
        a.session.send(0, b"x", 0)
        flush(a, b)
        b.take(1000)
    assert b.session.lines() == [Ack(ACK_LINES + 1)]


def test_one_wake_for_many_payloads() -> None:
    """A session asks once to be written, however much it is given until it is."""
    a, _ = pair()
    for _ in range(5):
        a.session.send(0, b"x", 0)
    assert a.woken == 1
    a.session.lines()
    a.session.send(0, b"x", 0)
    assert a.woken == 2


def test_small_payloads_are_bounded_and_room_comes_back() -> None:
    """A peer that acknowledges nothing is owed 4 MiB at most, empty payloads included; room is told once."""
    for size in (0, LARGEST_MAIL):
        a, b = pair()
        count = 0
        while a.session.send(0, bytes(size), 0):
            count += 1
        assert count == MOST_WAITING // (size + LINE_COST)
        assert a.session.room <= max(0, size - 1)
        assert not a.session.has_room_again()
        while a.session.waiting > MOST_WAITING - ROOM_AGAIN:
            assert not a.session.has_room_again()
            flush(a, b)
            b.take(len(b.coming))
            b.session.acknowledge()
            flush(b, a)
            a.take(len(a.coming))
        assert a.session.has_room_again()
        assert not a.session.has_room_again()


def test_bulk_is_bounded_in_number_and_bytes() -> None:
    """Neither many nor huge payloads pile up for a peer."""
    a, _ = pair()
    assert sum(a.session.send(0, bytes(LARGEST_MAIL + 1), n) for n in range(100)) == MOST_BULK
    a, _ = pair()
    huge = bytes(LARGEST_PAYLOAD)
    assert sum(a.session.send(0, huge, n) for n in range(100)) == MOST_BULK_BYTES // LARGEST_PAYLOAD
    assert a.session.send(0, b"small", 0)  # other room than theirs


def test_a_write_is_bounded() -> None:
    """However much waits, one write has about 128 KiB; the rest follows."""
    a, _ = pair()
    for _ in range(80):
        a.session.send(0, bytes(LARGEST_MAIL), 0)
    for _ in range(5):
        assert sum(len(line.data) for line in a.session.lines()) <= WRITE + LARGEST_MAIL + PIECE
        assert a.session.has_lines()


def test_bulk_of_several_streams_takes_turns_and_small_ones_pass() -> None:
    """Pieces go round robin; a small payload waits for no other stream's bulk, but for its own stream's."""
    a, b = pair()
    a.session.send(1, bytes(10 * PIECE), 1)
    a.session.send(2, bytes(4 * PIECE), 2)
    a.session.send(3, b"behind", 1)
    a.session.send(4, b"beside", 3)
    order: list[int] = []
    got: list[int] = []
    while a.session.has_lines():
        for line in a.session.lines():
            order.append(line.bulk if isinstance(line, Piece) else 0)
            payload = b.session.receive(line)
            if payload is not None:
                got.append(payload[0])
        a.session.acknowledged(b.session.received)
    assert got == [4, 2, 1, 3]
    assert order[0] == 0
    pieces = [number for number in order if number]
    assert all(x != y for x, y in pairwise(pieces[:8]))
    assert (pieces.count(1), pieces.count(2)) == (10, 4)


def test_small_before_bulk_of_one_stream() -> None:
    """A small payload that was sent before a large one of its stream arrives before it, behind many others too."""
    a, b = pair()
    for n in range(60):
        a.session.send(0, n.to_bytes(2, "big") + bytes(LARGEST_MAIL - 2), 1)
    a.session.send(0, b"zz" + bytes(LARGEST_MAIL), 1)
    settle(a, b)
    assert [data[:2] for data in b.got] == [*(n.to_bytes(2, "big") for n in range(60)), b"zz"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([Mail(2, 0, 0, b"")], "line 2 of a session after line 0"),
        ([Ack(1)], "of 0 that were sent"),
        ([Piece(1, 0, 5, b"x")], "not announced"),
        ([Piece(1, 0, 5, bytes(PIECE), 0, 2 * PIECE), Piece(2, 0, 5, b"x")], "another size was due"),
        ([Piece(1, 0, 5, bytes(PIECE), 0, 9)], "another size was due"),
        ([Piece(1, 0, 5, bytes(PIECE), 0, 2 * PIECE), Piece(2, 0, 5, bytes(PIECE), 0, 2 * PIECE)], "two payloads"),
        ([Piece(n, 0, n, bytes(PIECE), 0, LARGEST_PAYLOAD) for n in range(1, 6)], "at a time"),
        ([Piece(n, 0, n, bytes(PIECE), 0, PIECE + 1) for n in range(1, MOST_BULK + 2)], "at a time"),
    ],
)
def test_lines_that_cannot_be(lines: list[Mail | Piece | Ack], problem: str) -> None:
    """A peer that skips lines, acknowledges what was not sent, or announces too much, misbehaves."""
    session = Session(1, 1, Traffic())
    for line in lines[:-1]:
        session.receive(line)
    with pytest.raises(MessageError, match=problem):
        session.receive(lines[-1])


def test_reassembly_keeps_what_arrived_only() -> None:
    """An announcement alone allocates nothing, and a whole payload leaves nothing behind."""
    incoming = Incoming()
    assert incoming.add(Piece(1, 0, 1, bytes(PIECE), 3, PIECE + 2)) is None
    assert incoming.size == PIECE + 2
    assert incoming.add(Piece(2, 0, 1, b"ab")) == (3, bytes(PIECE) + b"ab")
    assert (incoming.size, len(incoming)) == (0, 0)
