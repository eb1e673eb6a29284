"""The mesh on real sockets: joining, leaving, talking, and peers that are no nodes or no good ones."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import TimeoutError, getConnectError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactor, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.cluster import mesh, questions
from iridium.cluster import messages as m
from iridium.cluster.accepting import ACCEPTS
from iridium.cluster.connecting import Connector
from iridium.cluster.conversation import LONGEST_TEXT
from iridium.cluster.link import Link, Role
from iridium.cluster.peer import Dial
from iridium.cluster.refusals import RefusedError, UnreachableError
from iridium.cluster.types import Delivery
from iridium.errors import CommandError
from iridium.limits import DEFAULTS, Limits
from iridium.node import Node, NodeConfig
from tests.test_node import Nodes, address, events, eventually, free_port, join, sockets, states, within

pytestmark = pytest.mark.real_reactor

reactor: Any = _reactor

ID = "00000000-0000-4000-8000-000000000001"


@pytest_twisted.async_yield_fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    """Nodes, all of whose sockets are closed once they are stopped."""
    before = sockets()
    group = Nodes(tmp_path)
    yield group
    await group.stop_all()
    await eventually(lambda: not sockets() - before)


class Stranger(Protocol):
    """The other end of a connection to a node, or of one that a node makes; says what a test lets it.

    Attributes:
        data: what came.
        closed: fires when the connection is gone.
    """

    transport: Any

    def __init__(self, greeting: bytes = b"") -> None:
        self.data = b""
        self.greeting = greeting
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        if not self.data and self.greeting:
            self.transport.write(self.greeting)
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)

    def say(self, *messages: m.Message) -> None:
        """Send messages as a node would."""
        self.transport.write(m.encode(*messages))

    def heard(self) -> list[Any]:
        """The messages that came, whole lines only."""
        whole = self.data[: self.data.rfind(b"\n") + 1]
        return list(m.decode_lines(whole))


async def call(nodes: Nodes, node: Node) -> Stranger:
    """Connect to a node's cluster port."""
    endpoint = TCP4ClientEndpoint(reactor, *address(node))
    stranger: Stranger = await within(connectProtocol(endpoint, Stranger()))
    nodes.clients.append(stranger)
    return stranger


async def befriend(nodes: Nodes, node: Node, id: str = ID, alias: str = "friend") -> Stranger:
    """Connect to a node and be a member, by the rules."""
    friend = await call(nodes, node)
    friend.say(m.Hello(m.version_text(), node.me.cluster, id, 1, alias, link=id[:8], want="join"))
    await eventually(lambda: any(isinstance(message, m.Ready) for message in friend.heard()))
    friend.say(m.Ready())
    await eventually(lambda: states(node).get(alias) == "up")
    return friend


class Strangers(Factory):
    """Listens with strangers.

    Args:
        greeting: what each says once it has heard something.

    Attributes:
        came: those that somebody connected to.
    """

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.came: list[Stranger] = []

    def buildProtocol(self, addr: Any) -> Stranger:
        stranger = Stranger(self.greeting)
        self.came.append(stranger)
        return stranger


@pytest.fixture
def complaints() -> Any:
    """What the mesh logged about peers that misbehave."""
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("hung up on"):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def whole(*group: Node) -> bool:
    """Whether each of these nodes holds a ready link to every other, and to nobody else."""
    everybody = {node.me.id for node in group}
    return all(
        {peer.id for peer in node.mesh.machine.table.peers.values() if peer.open_link} | {node.me.id} == everybody
        for node in group
    )


def connections(node: Node) -> int:
    """How many connections a node holds."""
    return len(node.mesh._protocols)


# --- joining ---


@pytest_twisted.ensureDeferred
async def test_two_nodes(nodes: Nodes) -> None:
    """A join fires with both members, each up, and each sees the other at the address that it advertises."""
    a, b = nodes.start("a"), nodes.start("b")
    members = await join(b, a)
    assert {(x.alias, x.state, x.self, x.address) for x in members} == {
        ("b", "up", True, b.me.address),
        ("a", "up", False, a.me.address),
    }
    assert states(a) == {"a": "up", "b": "up"}


@pytest_twisted.ensureDeferred
async def test_a_chain_of_five_is_a_mesh(nodes: Nodes) -> None:
    """Joins are transitive: each joins the one before it, and all five hold one link to each other."""
    group = [nodes.start(f"n{i}") for i in range(5)]
    for node, contact in zip(group[1:], group, strict=False):
        await join(node, contact)
    await eventually(lambda: whole(*group))
    assert all(states(node) == dict.fromkeys(["n0", "n1", "n2", "n3", "n4"], "up") for node in group)
    view = await within(group[2].mesh.view())
    assert sorted(view.names) == ["n0", "n1", "n2", "n3", "n4"]
    assert all(sorted(row) == ["linked"] * 4 + ["self"] for row in view.rows)
    await eventually(lambda: [connections(node) for node in group] == [4] * 5)


@pytest_twisted.ensureDeferred
async def test_five_at_once(nodes: Nodes) -> None:
    """All join one at the same moment: they hear of each other, dial each other, and end with one link a pair."""
    group = [nodes.start(f"n{i}") for i in range(5)]
    await within(gatherResults([node.mesh.join(*address(group[0])) for node in group[1:]]))
    await eventually(lambda: whole(*group))
    await eventually(lambda: [connections(node) for node in group] == [4] * 5)


@pytest_twisted.ensureDeferred
async def test_a_join_twice_is_a_join(nodes: Nodes) -> None:
    """Joining a member of the same cluster again changes nothing and is no mistake."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await join(b, a)
    await join(a, b)
    assert whole(a, b)
    await eventually(lambda: connections(a) == connections(b) == 1)


@pytest_twisted.ensureDeferred
async def test_a_host_name(nodes: Nodes) -> None:
    """A contact can be named; the name is looked up, and one that there is not, or cannot be, is told as such."""
    a, b = nodes.start("a"), nodes.start("b")
    await within(b.mesh.join("localhost", address(a)[1]))
    await eventually(lambda: whole(a, b))
    with pytest.raises(UnreachableError, match="nothing listens there"):
        await within(b.mesh.join("localhost", free_port()))

    with pytest.raises(UnreachableError, match="cannot be a host name"):
        await within(b.mesh.join("node..example", 2254))

    @implementer(IHostnameResolver)
    class Nobody:
        def resolveHostName(self, receiver: Any, hostName: str, *others: Any, **more: Any) -> Any:
            receiver.resolutionBegan(self)
            receiver.resolutionComplete()
            return self

    before = reactor.installNameResolver(Nobody())
    try:
        with pytest.raises(UnreachableError, match="cannot be resolved"):
            await within(b.mesh.join("node.example", 2254))
    finally:
        reactor.installNameResolver(before)


@pytest_twisted.ensureDeferred
async def test_ipv6(nodes: Nodes) -> None:
    """A node can live at an IPv6 address, which is advertised in brackets."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    a, b = nodes.start("a", server_bind_host="::1"), nodes.start("b")
    assert a.me.address.startswith("[::1]:")
    await join(b, a)
    assert whole(a, b)


@pytest_twisted.ensureDeferred
async def test_the_advertised_address(nodes: Nodes) -> None:
    """What others are told is what `--advertise` says, and they dial it: behind a forwarded port a mesh forms."""
    port = free_port()
    a = nodes.start("a", server_bind_port=port, advertise=f"localhost:{port}")
    b, c = nodes.start("b"), nodes.start("c")
    await join(b, a)
    await join(c, b)
    await eventually(lambda: whole(a, b, c))
    [seen] = [member for member in c.mesh.members() if member.alias == "a"]
    assert seen.address == f"localhost:{port}"


# --- joins that fail ---


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_taken(nodes: Nodes) -> None:
    """A second node of an alias is refused with its holder and the remedy; none of the cluster is changed."""
    a, b = nodes.start("a"), nodes.start("twin")
    await join(b, a)
    other = nodes.start("twin", data_root_dir=nodes.root / "elsewhere")
    with pytest.raises(RefusedError) as raised:
        await join(other, a)
    assert raised.value.reason == "NAME_IN_USE"
    assert b.me.id in str(raised.value)
    assert b.me.address in str(raised.value)
    assert "--node-alias" in raised.value.remedy
    assert states(a) == {"a": "up", "twin": "up"}
    assert states(other) == {"twin": "up"}
    await eventually(lambda: connections(other) == 0)


@pytest_twisted.ensureDeferred
async def test_itself(nodes: Nodes) -> None:
    """A node that is told to join itself says so, and has not made itself a second member."""
    a = nodes.start("a")
    with pytest.raises(RefusedError, match="SELF"):
        await within(a.mesh.join(*address(a)))
    assert states(a) == {"a": "up"}


@pytest_twisted.ensureDeferred
async def test_joining_without_listening(nodes: Nodes) -> None:
    """A node that nobody could dial is told to open its port first."""
    a = nodes.start("a")
    node = Node(reactor, NodeConfig(data_root_dir=nodes.root))
    nodes.running.append(node)
    node.start()
    with pytest.raises(CommandError, match="!start_cluster first"):
        await within(node.mesh.join(*address(a)))


@pytest_twisted.ensureDeferred
async def test_nothing_listens(nodes: Nodes) -> None:
    """The error of a join says what address did not answer, and why."""
    a, port = nodes.start("a"), free_port()
    with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}: nothing listens there"):
        await within(a.mesh.join("127.0.0.1", port))
    assert states(a) == {"a": "up"}


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (getConnectError((errno.ECONNREFUSED, "refused")), "refused"),
        (getConnectError((errno.ECONNRESET, "reset")), "closed"),
        (getConnectError((errno.EHOSTUNREACH, "no route")), "silent"),
        (TimeoutError(), "silent"),
    ],
    ids=["refused", "reset", "no-route", "timeout"],
)
def test_how_a_dial_fails(problem: Exception, outcome: str) -> None:
    """A connection that is reset before we see it was taken by somebody who hung up, perhaps in dying."""
    said: list[str] = []
    machine: Any = SimpleNamespace(
        dialler=SimpleNamespace(failed=lambda dial, outcome, detail: said.append(outcome))
    )
    connector = Connector(MemoryReactor(), machine, lambda dial: None)
    dial = Dial("127.0.0.1:9", "link", "nonce")
    connector.connect(dial)
    connector.failed(dial, Failure(problem))
    assert said == [outcome]


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfd\x18\xff\xfd\x20",
        b"{}\n",
        b'{"type":"ready"}\n',
        b"x" * (2 * DEFAULTS.stranger_line),
    ],
    ids=["http", "ssh", "telnet", "json", "out-of-turn", "endless"],
)
@pytest_twisted.ensureDeferred
async def test_something_else_answers(nodes: Nodes, greeting: bytes) -> None:
    """A contact that is no node is an error of the join, at once or when its handshake takes too long."""
    server = Strangers(greeting)
    a, where = nodes.start("a", limits=Limits(handshake=0.3)), nodes.serve(server)
    with pytest.raises(UnreachableError, match=where):
        await within(a.mesh.join("127.0.0.1", int(where.rpartition(":")[2])))
    [other] = server.came
    await within(other.closed)
    assert [type(message) for message in other.heard()] == [m.Hello]
    assert states(a) == {"a": "up"}
    assert connections(a) == 0


@pytest_twisted.ensureDeferred
async def test_a_silent_contact(nodes: Nodes) -> None:
    """Who accepts and says nothing is given up after the time of a handshake, and hung up on."""
    server = Strangers()
    a, where = nodes.start("a", limits=Limits(handshake=0.3)), nodes.serve(server)
    with pytest.raises(UnreachableError, match=r"no handshake within 0\.3 seconds"):
        await within(a.mesh.join("127.0.0.1", int(where.rpartition(":")[2])))
    await within(server.came[0].closed)
    assert connections(a) == 0


@pytest_twisted.ensureDeferred
async def test_a_join_that_is_cancelled(nodes: Nodes) -> None:
    """Ctrl-C ends a join at once: its connection closes, and the node can join again."""
    server = Strangers()
    a, b, where = nodes.start("a"), nodes.start("b"), nodes.serve(server)
    joining = a.mesh.join("127.0.0.1", int(where.rpartition(":")[2]))
    ends: list[Any] = []
    joining.addBoth(ends.append)
    await eventually(lambda: server.came and server.came[0].data)
    joining.cancel()
    await within(server.came[0].closed)
    assert ends[0].check(CancelledError)
    assert connections(a) == 0
    joining = a.mesh.join(*address(b))
    joining.addErrback(lambda failure: failure.trap(CancelledError))
    joining.cancel()  # before there even is a connection
    await join(a, b)
    await eventually(lambda: whole(a, b))


@pytest_twisted.ensureDeferred
async def test_a_join_that_is_cancelled_late(nodes: Nodes) -> None:
    """Ctrl-C undoes a join whose contact accepted, and that waits for a member which does not answer."""
    server = Strangers()
    a, b, where = nodes.start("a"), nodes.start("b"), nodes.serve(server)
    before = a.me.incarnation
    b.mesh.machine.hearsay.merge(m.MemberRecord(ID, 1, "ghost", where))
    joining = a.mesh.join(*address(b))
    ends: list[Any] = []
    joining.addBoth(ends.append)
    await eventually(lambda: whole(a, b) and len(server.came) == 2)
    assert not ends
    joining.cancel()
    assert ends[0].check(CancelledError)
    await eventually(lambda: states(b).get("a") == "left" and connections(a) == 0)
    await eventually(lambda: a.me.incarnation > before)
    assert states(a) == {"a": "up"}
    await within(b.mesh.join(*address(a)))  # it is no node that left: who joins it is welcome
    await eventually(lambda: whole(a, b))


# --- leaving, dying, coming back ---


@pytest_twisted.ensureDeferred
async def test_leaving_and_joining_again(nodes: Nodes) -> None:
    """Who leaves is seen to have left, not to be dead; it refuses dials, and can join again in a new life."""
    a, b, c = (nodes.start(name) for name in "abc")
    await join(b, a)
    await join(c, a)
    await eventually(lambda: whole(a, b, c))
    before = c.me.incarnation
    await within(c.mesh.leave())
    assert states(c) == {"c": "left"}
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up", "c": "left"})
    await eventually(lambda: connections(c) == 0)
    with pytest.raises(CommandError, match="has left already"):
        await within(c.mesh.leave())
    other = nodes.start("other")
    with pytest.raises(RefusedError, match="LEFT"):
        await join(other, c)
    await join(c, b)
    assert c.me.incarnation > before
    await eventually(lambda: whole(a, b, c))
    assert states(a) == {"a": "up", "b": "up", "c": "up"}


@pytest_twisted.ensureDeferred
async def test_leaving_a_member_that_does_not_answer(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that does not note the leave holds the leaver up for a moment only."""
    monkeypatch.setattr(mesh, "GOODBYE", 0.2)
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    friend = await befriend(nodes, a)
    await within(a.mesh.leave())
    assert m.Leave(a.me.incarnation) in friend.heard()
    await within(friend.closed)
    assert states(a) == {"a": "left"}
    await eventually(lambda: states(b)["a"] == "left")


@pytest_twisted.ensureDeferred
async def test_leaving_without_waiting(nodes: Nodes) -> None:
    """Ctrl-C during a leave ends the waiting, not the leaving: nothing is left half done."""
    a = nodes.start("a")
    friend = await befriend(nodes, a)
    leaving = a.mesh.leave()
    leaving.cancel()
    await within(leaving)
    assert states(a) == {"a": "left"}
    await within(friend.closed)


@pytest_twisted.ensureDeferred
async def test_a_member_that_dies(nodes: Nodes) -> None:
    """A stopped process is down at the others at once, since its port refuses; `forget` drops it for good."""
    a, b, c = (nodes.start(name) for name in "abc")
    await join(b, a)
    await join(c, a)
    await eventually(lambda: whole(a, b, c))
    with pytest.raises(CommandError, match="c is up"):
        a.mesh.forget("c")
    await nodes.stop(c)
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up", "c": "down"})
    assert events(a, "node-down")
    a.mesh.forget("c")
    b.mesh.forget(c.me.id[:8])
    assert states(a) == states(b) == {"a": "up", "b": "up"}
    with pytest.raises(CommandError, match="no member is called c"):
        a.mesh.forget("c")


@pytest_twisted.ensureDeferred
async def test_a_link_that_breaks(nodes: Nodes) -> None:
    """A lost connection between two live nodes comes back, and neither is ever down."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    [protocol] = a.mesh._protocols.values()
    [link] = a.mesh._protocols
    protocol.transport.abortConnection()
    await eventually(lambda: whole(a, b) and link not in a.mesh._protocols)
    assert states(a) == states(b) == {"a": "up", "b": "up"}
    assert not events(a, "node-down")
    assert not events(b, "node-down")


# --- talking ---


@pytest_twisted.ensureDeferred
async def test_texts(nodes: Nodes) -> None:
    """A text reaches one member or all, people there see who says it, and the sender learns that it arrived."""
    a, b, c = (nodes.start(name) for name in "abc")
    await join(b, a)
    await join(c, a)
    await eventually(lambda: whole(a, b, c))
    heard: list[tuple[str, str, str]] = []
    for node in (a, b, c):
        node.texts.follow(lambda sender, text, at=node.me.alias: heard.append((at, sender, text)))  # type: ignore[misc]
    assert await within(a.mesh.tell("b", "hällo")) == [Delivery("b", True)]
    assert heard == [("b", "a", "hällo")]
    deliveries = await within(b.mesh.tell("*", "all"))
    assert sorted(deliveries, key=str) == [Delivery("a", True), Delivery("c", True)]
    assert sorted(heard[1:]) == [("a", "b", "all"), ("c", "b", "all")]
    assert [(event.subject, event.detail) for event in events(b, "text")] == [("a", "hällo")]
    await nodes.stop(c)
    await eventually(lambda: states(a)["c"] == "down")
    assert await within(a.mesh.tell("c", "hello?")) == [Delivery("c", False, "it is down")]
    assert await within(a.mesh.tell("*", "x")) == [Delivery("b", True)]
    with pytest.raises(CommandError, match="no member is called nobody"):
        await within(a.mesh.tell("nobody", "x"))


@pytest_twisted.ensureDeferred
async def test_what_is_said_in_one_turn_leaves_in_one_write(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages a turn of the reactor has for a peer, they are one write, and so one packet."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    [protocol] = a.mesh._protocols.values()
    writes: list[bytes] = []
    write = protocol.transport.writeSomeData
    monkeypatch.setattr(protocol.transport, "writeSomeData", lambda data: (writes.append(data), write(data))[1])
    told = gatherResults([a.mesh.tell("b", str(number)) for number in range(5)])
    assert await within(told) == [[Delivery("b", True)]] * 5
    assert [data for data in writes if b'"text"' in data and data.count(b'"type":"text"') == 5]


@pytest_twisted.ensureDeferred
async def test_a_text_that_is_too_long(nodes: Nodes) -> None:
    """The longest text arrives whole; one more character is refused here, and does not cost the link."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    links = list(a.mesh._protocols)
    text = "\U0001f600" * LONGEST_TEXT
    assert await within(a.mesh.tell("b", text)) == [Delivery("b", True)]
    with pytest.raises(CommandError, match=f"over {LONGEST_TEXT} characters"):
        await within(a.mesh.tell("b", text + "x"))
    assert await within(a.mesh.tell("b", "still there?")) == [Delivery("b", True)]
    assert list(a.mesh._protocols) == links


@pytest_twisted.ensureDeferred
async def test_a_member_that_does_not_answer(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer in time is told as such, for texts and in the table of links; others are not held up."""
    monkeypatch.setattr(questions, "PATIENCE", 0.2)
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await befriend(nodes, a)
    deliveries = await within(a.mesh.tell("*", "x"))
    assert sorted(deliveries, key=str) == [Delivery("b", True), Delivery("friend", False, "it did not answer")]
    view = await within(a.mesh.view())
    assert view.names == ["a", "b", "friend"]
    assert view.rows == [
        ["self", "linked", "linked"],
        ["linked", "self", "unlinked"],
        ["unknown", "unknown", "self"],
    ]


@pytest_twisted.ensureDeferred
async def test_questions_that_are_cancelled(nodes: Nodes) -> None:
    """Ctrl-C while a member is asked ends the asking as a cancelled call, whatever comes of the answers."""
    a = nodes.start("a")
    friends = [await befriend(nodes, a), await befriend(nodes, a, ID[:-1] + "2", "other")]
    for ask in (lambda: a.mesh.tell("*", "x"), a.mesh.view):
        ends: list[Any] = []
        asking = ask()
        asking.addBoth(ends.append)
        asking.cancel()
        [end] = ends
        assert end.check(CancelledError)
    await eventually(lambda: all(any(isinstance(x, m.Ask) for x in friend.heard()) for friend in friends))
    for friend in friends:
        friend.say(*(m.Answer(x.n) for x in friend.heard() if isinstance(x, m.Text | m.Ask)), m.Ping(77))
    await eventually(lambda: all(m.Pong(77) in friend.heard() for friend in friends))


# --- peers that are no nodes, or no good ones ---

HELLO = m.Hello("1.0", "iridium", ID, 1)

RUDE = [
    b"\x00\x01\x02\xff\n",
    b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    b"x" * 10_000_000,
    b'{"type":"hello"}\n',
    b'{"type":"ping","n":1}\n',
    m.encode(m.Hello("1.0", "iridium", ID, 1, "!quit")),
    m.encode(m.Hello("1.0", "iridium", ID, 1, "", "nowhere")),
    m.encode(HELLO, HELLO),
    b"[" * 4000 + b"\n",
    b'{"type":"hello","version":1,"cluster":[],"id":{},"incarnation":"x"}\n',
    m.encode(m.Hello("1.0", "iridium", ID, 1, "x" * 3000)),
    m.encode(m.Hello("1.0", "iridium", ID, 1, "x" * 5000)),
]


@pytest.mark.parametrize("said", RUDE, ids=range(len(RUDE)))
@pytest_twisted.ensureDeferred
async def test_strangers_that_misbehave(nodes: Nodes, complaints: list[str], said: bytes) -> None:
    """What is no message, not its turn or too long ends its connection and is one line in the log, no more."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    stranger = await call(nodes, a)
    stranger.transport.write(said)
    await within(stranger.closed)
    assert len(complaints) == 1
    assert complaints[0].startswith("hung up on 127.0.0.1: ")
    assert len(complaints[0]) < 1000
    assert states(a) == {"a": "up", "b": "up"}
    assert await within(b.mesh.tell("a", "still there?")) == [Delivery("a", True)]


@pytest_twisted.ensureDeferred
async def test_half_a_hello(nodes: Nodes, complaints: list[str]) -> None:
    """A connection that ends in the middle of a line is no offence: nothing is logged, and nothing kept."""
    a = nodes.start("a")
    stranger = await call(nodes, a)
    stranger.transport.write(m.encode(HELLO)[:40])
    await eventually(lambda: connections(a) == 1)
    stranger.transport.loseConnection()
    await within(stranger.closed)
    await eventually(lambda: connections(a) == 0)
    assert not complaints
    assert not a.mesh.machine.handshakes
    assert states(a) == {"a": "up"}


@pytest_twisted.ensureDeferred
async def test_a_stranger_that_says_nothing(nodes: Nodes, complaints: list[str]) -> None:
    """Whoever is not through the handshake in time is hung up on, with a line: said nothing, or only a hello."""
    a = nodes.start("a", limits=Limits(handshake=0.3))
    silent, slow = await call(nodes, a), await call(nodes, a)
    slow.say(HELLO)
    await within(silent.closed)
    await within(slow.closed)
    await eventually(lambda: connections(a) == 0)
    assert complaints == ["hung up on 127.0.0.1: no handshake within 0.3 seconds"] * 2
    assert states(a) == {"a": "up"}


@pytest_twisted.ensureDeferred
async def test_a_crowd_at_the_door(nodes: Nodes) -> None:
    """Of many that connect at once a few are taken in a turn of the reactor, so that members have theirs."""
    a = nodes.start("a")
    port, handshakes, taken = a.mesh._port, a.mesh.machine.handshakes, [0]
    few = port.doRead

    def counted() -> None:
        before = len(handshakes)
        few()
        taken.append(len(handshakes) - before)

    port.doRead = counted
    crowd = [socket.create_connection(address(a)) for _ in range(60)]
    try:
        await eventually(lambda: len(handshakes) == len(crowd))
        assert max(taken) == ACCEPTS
    finally:
        for one in crowd:
            one.close()
    await eventually(lambda: not handshakes)


@pytest_twisted.ensureDeferred
async def test_a_member_that_misbehaves(nodes: Nodes, complaints: list[str]) -> None:
    """An accepted peer has limits too: a line that does not end costs it the link, and nobody else's."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    friend = await befriend(nodes, a)
    friend.transport.write(b"x" * (DEFAULTS.peer_line + 1))
    await within(friend.closed)
    assert len(complaints) == 1
    assert f"{DEFAULTS.peer_line} bytes" in complaints[0]
    assert await within(b.mesh.tell("a", "still there?")) == [Delivery("a", True)]


@pytest_twisted.ensureDeferred
async def test_a_flood_of_strangers(nodes: Nodes, complaints: list[str]) -> None:
    """However many misbehave, the log has a handful of lines, and says later how many it left out."""
    a, b = nodes.start("a"), nodes.start("b")
    now = [0.0]
    a.mesh._clock = lambda: now[0]
    for _ in range(30):
        stranger = await call(nodes, a)
        stranger.transport.write(b"x\n")
        await within(stranger.closed)
    assert len(complaints) == DEFAULTS.stranger_log
    now[0] = 11.0
    stranger = await call(nodes, a)
    stranger.transport.write(b"x\n")
    await within(stranger.closed)
    assert len(complaints) == DEFAULTS.stranger_log + 1
    assert f"{30 - DEFAULTS.stranger_log} others" in complaints[-1]
    await join(b, a)


@pytest_twisted.ensureDeferred
async def test_too_many_strangers(nodes: Nodes, complaints: list[str]) -> None:
    """Connections in a handshake are bounded: one too many is closed, members do not notice, and room returns."""
    a, b = nodes.start("a", limits=Limits(half_open=3)), nodes.start("b")
    await join(b, a)
    strangers = [await call(nodes, a) for _ in range(3)]
    await eventually(lambda: len(a.mesh.machine.handshakes) == 3)
    turned_away = await call(nodes, a)
    await within(turned_away.closed)
    assert complaints == ["hung up on 127.0.0.1: too many connections are in a handshake"]
    assert await within(a.mesh.tell("b", "x")) == [Delivery("b", True)]
    for stranger in strangers:
        stranger.transport.abortConnection()
    await eventually(lambda: not a.mesh.machine.handshakes)
    await join(nodes.start("c"), a)


@pytest_twisted.ensureDeferred
async def test_a_member_that_never_reads(nodes: Nodes) -> None:
    """What waits for a peer is bounded: over the limit it is cut, while its link costs the others nothing."""
    a, b = nodes.start("a", limits=Limits(peer_queue=64 * 1024)), nodes.start("b")
    await join(b, a)
    friend = await befriend(nodes, a)
    [protocol] = [p for link, p in a.mesh._protocols.items() if getattr(link.owner, "id", "") == ID]
    for handle in (friend.transport.getHandle(), protocol.transport.getHandle()):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    friend.transport.pauseProducing()
    asking: list[Deferred[Any]] = []

    def cut() -> bool:
        if protocol.link is not None and not protocol.link.closed:
            asking.append(a.mesh.tell("friend", "x" * LONGEST_TEXT))
            return False
        return True

    await eventually(cut)
    assert protocol.link is not None
    assert protocol.link.data_to_send() == b""
    deliveries = await within(gatherResults(asking))
    assert deliveries[-1] == [Delivery("friend", False, "it did not answer")]
    await eventually(lambda: connections(a) == 1)
    assert await within(b.mesh.tell("a", "still there?")) == [Delivery("a", True)]


def test_too_many_strangers_from_one_address(tmp_path: Path) -> None:
    """Connections in a handshake from one address have a limit of their own: others, and loopback, come in."""
    node = Node(
        MemoryReactorClock(),
        NodeConfig(data_root_dir=tmp_path, limits=Limits(half_open=9, half_open_per_address=2)),
    )
    mesh = node.mesh

    def arrive(host: str) -> str:
        full = mesh.no_room(host)
        if not full:
            mesh.machine.connection_made(Link(Role.ACCEPTOR, host, 0.0, lambda link: None))
        return full

    from_one = "too many connections from that address are in a handshake"
    assert [arrive("192.0.2.1") for _ in range(4)] == ["", "", from_one, from_one]
    assert [arrive("192.0.2.2") for _ in range(3)] == ["", "", from_one]
    assert (mesh.half_open, mesh.half_open_of_one) == (4, 2)
    assert [arrive("127.0.0.1") for _ in range(6)] == [""] * 5 + ["too many connections are in a handshake"]
    node.data.close()
