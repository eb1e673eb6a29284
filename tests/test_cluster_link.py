"""One connection: what may be said when, and how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridium.cluster import messages as m
from iridium.cluster.link import TRANSITIONS, Link, Role, State
from iridium.limits import DEFAULTS
from tests.test_cluster_messages import MESSAGES, TALK

ID = "00000000-0000-4000-8000-000000000001"
HELLO = m.Hello("1.0", "iridium", ID, 1)
WELCOME = m.Welcome("1.0", "iridium", ID, 1)


def acceptor() -> Link:
    """A link at the accepting end, nothing said yet."""
    return Link(Role.ACCEPTOR, "127.0.0.1", 0.0, lambda link: None)


def opened() -> Link:
    """A link at the accepting end, ready at both ends, its own words taken."""
    link = acceptor()
    assert list(link.receive(m.encode(HELLO), 0.0)) == [HELLO]
    link.accept(WELCOME, None)
    list(link.receive(m.encode(m.Ready()), 0.0))
    assert link.open
    link.data_to_send()
    return link


def test_a_whole_handshake() -> None:
    """Both ends open, and only what was said passes between them."""
    dialler = Link(Role.DIALLER, "b", 0.0, lambda link: None, "l1")
    other = acceptor()
    dialler.send(HELLO)
    assert list(other.receive(dialler.data_to_send(), 1.0)) == [HELLO]
    record = m.MemberRecord(ID, 3)
    other.accept(WELCOME, [record])
    seen = []
    for message in dialler.receive(other.data_to_send(), 2.0):
        seen.append(message)
        if isinstance(message, m.Welcome):
            dialler.send(m.Ready())
    assert seen == [WELCOME, m.Members([record]), m.Ready()]
    assert dialler.open
    assert not other.open
    assert list(other.receive(dialler.data_to_send(), 3.0)) == [m.Ready()]
    assert other.open
    assert other.heard == 3.0


@pytest.mark.parametrize("message", [m.Ping(1), m.Ready(), WELCOME, m.Members([]), m.Leave(1), m.Text(1, "hi")])
def test_nothing_but_a_hello_opens_a_conversation(message: m.Message) -> None:
    """Whatever else a stranger says first ends the link."""
    with pytest.raises(m.MessageError, match="while waiting for a hello"):
        list(acceptor().receive(m.encode(message), 0.0))


def test_nothing_but_the_handshake_before_ready() -> None:
    """A peer that talks before it is ready, or says hello twice, ends the link."""
    for message in (m.Ping(1), HELLO):
        link = acceptor()
        list(link.receive(m.encode(HELLO), 0.0))
        link.accept(WELCOME, None)
        with pytest.raises(m.MessageError, match="while waiting for a ready"):
            list(link.receive(m.encode(message), 0.0))
    with pytest.raises(m.MessageError, match="while open"):
        list(opened().receive(m.encode(HELLO), 0.0))


def test_every_state_has_its_row() -> None:
    """The transition table covers both roles and names only states of that role."""
    assert {state for _, state in TRANSITIONS} == set(State) - {State.CLOSED}
    assert all(message in m.AnyMessage.__args__ for row in TRANSITIONS.values() for message in row)


def test_a_strangers_line_is_short() -> None:
    """A stranger's line over 4 KiB ends the link, with or without its end; a hello of 4 KiB does not."""
    for data in (b" " * (DEFAULTS.stranger_line + 1), b'{"type":"hello"' + b" " * DEFAULTS.stranger_line + b"}\n"):
        with pytest.raises(m.MessageError, match="4096 bytes"):
            list(acceptor().receive(data, 0.0))
    hello = m.encode(HELLO)
    padded = hello[:-2] + b" " * (DEFAULTS.stranger_line - len(hello)) + b"}\n"
    assert list(acceptor().receive(padded, 0.0)) == [HELLO]


def test_an_accepted_line_has_a_limit_too() -> None:
    """A peer's line may have 1 MiB; what is buffered never is more than that and one chunk."""
    link = opened()
    text = m.encode(m.Ping(1))
    assert len(list(link.receive(text * (2 * DEFAULTS.peer_line // len(text)), 0.0))) > 90_000
    for _ in range(16):
        list(link.receive(b"x" * 65536, 0.0))
    with pytest.raises(m.MessageError, match="1048576 bytes"):
        list(link.receive(b"x", 0.0))
    with pytest.raises(m.MessageError, match="1048576 bytes"):
        list(opened().receive(b"x" * (DEFAULTS.peer_line + 1) + b"\n", 0.0))


def test_a_peer_that_does_not_read_is_given_up() -> None:
    """What waits to be sent is bounded: over the limit the link closes and keeps nothing."""
    link = opened()
    for n in range(100_000):
        link.send(m.Text(n, "x" * 1000))
        if link.closed:
            break
    assert link.closed
    assert link.queued <= DEFAULTS.peer_queue + 2000
    assert link.data_to_send() == b""


def test_newer_minor_versions() -> None:
    """Fields and types of a newer minor version are ignored and counted, before and after acceptance."""
    link = acceptor()
    list(link.receive(m.encode(HELLO).replace(b'"1.0"', b'"1.7"').replace(b"}", b',"mood":"good"}'), 0.0))
    assert link.ignored == 1
    link.accept(WELCOME, None)
    list(link.receive(m.encode(m.Ready()), 0.0))
    assert list(link.receive(b'{"type":"sing"}\n{"type":"ping","n":1,"x":2}\n', 0.0)) == [m.Ping(1)]
    assert link.ignored == 3


def test_refusing_closes_after_the_reason() -> None:
    """A refusal is sent with its remedy, and nothing after it."""
    link = acceptor()
    list(link.receive(m.encode(HELLO), 0.0))
    link.refuse("FULL", "no room")
    link.send(m.Ping(1))
    [refuse] = list(m.decode_lines(link.data_to_send()))
    assert isinstance(refuse, m.Refuse)
    assert (refuse.reason, refuse.detail) == ("FULL", "no room")
    assert "!forget" in refuse.remedy
    assert link.closed


@given(
    st.lists(st.binary(max_size=100) | st.lists(MESSAGES, max_size=3).map(lambda ms: m.encode(*ms)), max_size=10),
    st.booleans(),
)
def test_arbitrary_bytes_in_arbitrary_pieces(pieces: list[bytes], is_open: bool) -> None:
    """Whatever arrives, the link gives messages or one MessageError, and keeps at most a line."""
    link = opened() if is_open else acceptor()
    try:
        for piece in pieces:
            for message in link.receive(piece, 1.0):
                assert isinstance(message, m.Message)
                if isinstance(message, m.Hello) and link.state is State.DECIDING:
                    link.accept(WELCOME, [])
    except m.MessageError:
        link.close()
    assert len(link._buffer) <= DEFAULTS.peer_line


@given(st.lists(TALK, max_size=6), st.integers(1, 50))
def test_pieces_do_not_matter(messages: list[m.Message], size: int) -> None:
    """The same bytes in any pieces are the same messages."""
    data = m.encode(*messages)
    link = opened()
    got = [x for i in range(0, len(data), size) for x in link.receive(data[i : i + size], 1.0)]
    assert got == messages
