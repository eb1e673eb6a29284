"""Mail on real sockets: order and completeness over links that break, large payloads, peers that do not read."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import pytest_twisted

from iridium.cluster import messages as m
from iridium.cluster.session import MOST_WAITING
from iridium.node import Node
from tests.test_mesh_sockets import ID, befriend, complaints, nodes  # noqa: F401 - fixtures
from tests.test_node import Nodes, eventually, join

pytestmark = pytest.mark.real_reactor


class Mailbox:
    """What arrives at a node.

    Attributes:
        got: payloads, in order.
        said: sessions that began and ended.
    """

    def __init__(self, node: Node) -> None:
        self.post = node.mesh.post
        self.got: list[bytes] = []
        self.said: list[str] = []
        self.post.on_mail = self.keep
        self.post.on_session = lambda id: self.said.append("session")
        self.post.on_lost = lambda id, reason: self.said.append(reason)

    def keep(self, id: str, kind: int, data: bytes) -> None:
        """Take a payload."""
        self.got.append(data)


async def two(group: Nodes) -> tuple[Node, Node, Mailbox, Mailbox]:
    """Two nodes with a session."""
    a, b = group.start("a"), group.start("b")
    boxes = Mailbox(a), Mailbox(b)
    await join(b, a)
    await eventually(lambda: [box.said for box in boxes] == [["session"], ["session"]])
    return a, b, *boxes


def links(node: Node) -> list[Any]:
    """The transports of a node's links."""
    return [protocol.transport for protocol in node.mesh._protocols.values()]


@pytest_twisted.ensureDeferred
async def test_mail_of_every_size(nodes: Nodes) -> None:  # noqa: F811
    """Payloads of all sizes arrive whole, in order, and leave nothing behind."""
    a, b, _, box = await two(nodes)
    sent = [bytes([n % 251]) * (n * n * 700) for n in range(60)]
    for data in sent:
        assert a.mesh.post.send(b.me.id, 1, data)
    await eventually(lambda: len(box.got) == len(sent))
    assert [hashlib.sha256(x).digest() for x in box.got] == [hashlib.sha256(x).digest() for x in sent]
    await eventually(lambda: a.mesh.post.waiting(b.me.id) == 0)


@pytest_twisted.ensureDeferred
async def test_a_connection_that_breaks_loses_nothing(nodes: Nodes) -> None:  # noqa: F811
    """The kernel drops what it had to send, and the session sends it again: all in order, no session ends."""
    a, b, here, there = await two(nodes)
    sent = [n.to_bytes(4, "big") * 4000 for n in range(200)]

    def first(id: str, kind: int, data: bytes) -> None:
        """Break it while most is still on its way."""
        there.got.append(data)
        b.mesh.post.on_mail = there.keep
        links(a)[0].abortConnection()

    b.mesh.post.on_mail = first
    for data in sent:
        assert a.mesh.post.send(b.me.id, 1, data)
    await eventually(lambda: len(there.got) == len(sent))
    assert there.got == sent
    assert (here.said, there.said) == (["session"], ["session"])
    assert a.mesh.post.traffic()[b.me.id].resent > 0


@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_read(nodes: Nodes) -> None:  # noqa: F811
    """Mail for it stays here, bounded; another peer has its own at once; and it goes on when the peer does."""
    a, b, here, there = await two(nodes)
    c = nodes.start("c")
    other = Mailbox(c)
    await join(c, a)
    await eventually(lambda: other.said.count("session") >= 1 and here.said.count("session") == 2)
    b_side = next(p.transport for p in b.mesh._protocols.values() if p.link.owner.id == a.me.id)
    b_side.pauseProducing()  # of bytes: it reads no more
    count = 0
    while a.mesh.post.send(b.me.id, 1, bytes(40_000)):
        count += 1
    assert a.mesh.post.room(b.me.id) < 40_000
    assert a.mesh.post.waiting(b.me.id) <= MOST_WAITING
    assert a.mesh.post.send(c.me.id, 1, b"not behind it")
    await eventually(lambda: other.got == [b"not behind it"])
    told: list[str] = []
    a.mesh.post.on_room = told.append
    b_side.resumeProducing()
    await eventually(lambda: len(there.got) == count)
    assert told == [b.me.id]


@pytest_twisted.ensureDeferred
async def test_a_node_that_stops_and_starts_again(nodes: Nodes) -> None:  # noqa: F811
    """Its peer loses the session once, and has a larger one with the next life, which gets only new mail."""
    a, b, here, _ = await two(nodes)
    await nodes.stop(b)
    await eventually(lambda: len(here.said) == 2)
    assert here.said[1] in ("down", "restarted")
    assert not a.mesh.post.send(b.me.id, 1, b"nobody is there")
    again = nodes.start("b")
    box = Mailbox(again)
    await eventually(lambda: len(here.said) == 3 and box.said == ["session"])
    assert again.mesh.post.sessions() == {a.me.id: 2}
    assert a.mesh.post.send(again.me.id, 1, b"hello")
    await eventually(lambda: box.got == [b"hello"])


@pytest_twisted.ensureDeferred
async def test_mail_that_cannot_be(nodes: Nodes, complaints: list[str]) -> None:  # noqa: F811
    """A member that sends what is no mail of a session is hung up on, with a line in the log."""
    a = nodes.start("a")
    friend = await befriend(nodes, a)
    friend.say(m.Piece(1, 0, 1, b"x"))
    await eventually(lambda: friend.closed.called)
    assert "mail on a link without a session" in complaints[-1]
    assert ID not in a.mesh.post.sessions()
