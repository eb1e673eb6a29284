"""A node on the real reactor: starting, stopping, what it remembers, and `--join`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

import iridium.node as node_module
from iridium.cluster.identity import NODE_FILE, PEERS_FILE, DataDirectory, NodeState
from iridium.cluster.messages import MemberRecord
from iridium.cluster.rules import split_address
from iridium.cluster.types import Member
from iridium.errors import CommandError, DataDirectoryError, OptionError
from iridium.events import Event
from iridium.node import Node, NodeConfig

pytestmark = pytest.mark.real_reactor

reactor: Any = _reactor
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that anything may take before a test fails: far more than it needs on a busy machine."""

ID = "00000000-0000-4000-8000-000000000001"


async def eventually(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Let the reactor go on until a condition holds; fail with the condition's text when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            import inspect

            pytest.fail(f"not within {seconds:g} s: {inspect.getsource(condition).strip()}")
        await deferLater(reactor, 0.01, lambda: None)


def within(waiting: Deferred[T], seconds: float = PATIENCE) -> Deferred[T]:
    """A Deferred that fails when it takes too long."""
    return waiting.addTimeout(seconds, reactor)


class Nodes:
    """The nodes and ports of a test; whatever still runs at its end is stopped.

    Args:
        root: where the nodes keep their data.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: list[Node] = []
        self.ports: list[Any] = []
        self.clients: list[Any] = []

    def start(self, alias: str = "", **options: Any) -> Node:
        """A node that listens at a free port of the loopback interface."""
        config = NodeConfig(**{"node_alias": alias, "server_bind_port": 0, "data_root_dir": self.root, **options})
        node = Node(reactor, config)
        self.running.append(node)
        node.start_cluster()
        node.start()
        return node

    async def stop(self, node: Node) -> None:
        """End a node, as its process would."""
        self.running.remove(node)
        await within(node.stop())

    def serve(self, factory: Factory, port: int = 0) -> str:
        """Listen with something that is no node; gives its address."""
        listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self.ports.append(listening)
        return f"127.0.0.1:{listening.getHost().port}"

    async def stop_all(self) -> None:
        """End everything."""
        for client in self.clients:
            client.transport.abortConnection()
        for port in self.ports:
            await within(port.stopListening())
        while self.running:
            await self.stop(self.running[-1])


def sockets() -> set[Any]:
    """What the reactor reads from and writes to."""
    return {*reactor.getReaders(), *reactor.getWriters()}


@pytest_twisted.async_yield_fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    """Nodes, all of whose sockets are closed once they are stopped."""
    before = sockets()
    group = Nodes(tmp_path)
    yield group
    await group.stop_all()
    await eventually(lambda: not sockets() - before)


def address(node: Node) -> tuple[str, int]:
    """Where a node's cluster port is."""
    return split_address(node.me.address)


async def join(node: Node, contact: Node) -> list[Member]:
    """Let a node join another's cluster, until both know of it."""
    members = await within(node.mesh.join(*address(contact)))
    await eventually(lambda: any(m.id == node.me.id and m.state == "up" for m in contact.mesh.members()))
    return members


def states(node: Node) -> dict[str, str]:
    """The state of every member that a node knows, itself included, by name."""
    return {member.name: member.state for member in node.mesh.members()}


def events(node: Node, kind: str) -> list[Event]:
    """What of a kind happened at a node."""
    return [event for event in node.events.recent() if event.kind == kind]


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


# --- starting ---


@pytest_twisted.ensureDeferred
async def test_the_cluster_port(nodes: Nodes) -> None:
    """A free port is advertised as the number that it is; a port is opened once."""
    node = nodes.start("alpha")
    host, port = address(node)
    assert (host, port > 0) == ("127.0.0.1", True)
    assert states(node) == {"alpha": "up"}
    with pytest.raises(CommandError, match=f"listens already, at 127.0.0.1:{port}"):
        node.start_cluster()


@pytest_twisted.ensureDeferred
async def test_a_port_in_use(nodes: Nodes) -> None:
    """A cluster port that somebody else has is one error with the port and the option that changes it."""
    first = nodes.start("alpha")
    with pytest.raises(OptionError, match=rf"127\.0\.0\.1:{address(first)[1]}.*in use.*--server-bind-port"):
        nodes.start("beta", server_bind_port=address(first)[1])
    assert not nodes.running[-1].mesh.listening
    assert nodes.running[-1].start_cluster("127.0.0.1", 0)


@pytest_twisted.ensureDeferred
async def test_a_port_for_everybody_has_to_be_asked_for(nodes: Nodes) -> None:
    """The shell cannot open what the options would not: another interface than loopback without --insecure."""
    node = Node(reactor, NodeConfig(data_root_dir=nodes.root))
    nodes.running.append(node)
    with pytest.raises(OptionError, match="--insecure"):
        node.start_cluster("0.0.0.0", 0)
    assert not node.mesh.listening


@pytest_twisted.ensureDeferred
async def test_one_node_a_directory(nodes: Nodes) -> None:
    """Two nodes never share an identity: the second is refused until the first has stopped."""
    first = nodes.start("alpha")
    with pytest.raises(DataDirectoryError, match=r"another node runs on .*alpha"):
        nodes.start("alpha")
    await nodes.stop(first)
    assert nodes.start("alpha").me.id == first.me.id


@pytest_twisted.ensureDeferred
async def test_a_start_that_fails_lets_go_of_the_directory(nodes: Nodes) -> None:
    """After a corrupt file is moved away the node starts: the failed try kept no lock and changed no file."""
    directory = nodes.root / "alpha"
    directory.mkdir()
    (directory / PEERS_FILE).write_text("{")
    identity = f'{{"id":"{ID}","incarnation":7}}'
    (directory / NODE_FILE).write_text(identity)
    with pytest.raises(DataDirectoryError, match=PEERS_FILE):
        nodes.start("alpha")
    assert (directory / PEERS_FILE).read_text() == "{"
    assert (directory / NODE_FILE).read_text() == identity
    (directory / PEERS_FILE).unlink()
    assert states(nodes.start("alpha")) == {"alpha": "up"}


@pytest_twisted.ensureDeferred
async def test_the_programs_directory(nodes: Nodes) -> None:
    """It is made in the data directory, unless another was named; a file in its place is one error."""
    assert nodes.start("alpha").programs_dir == nodes.root / "alpha" / "programs"
    assert (nodes.root / "alpha" / "programs").is_dir()
    assert nodes.start("beta", programs_dir=nodes.root / "mine").programs_dir == nodes.root / "mine"
    assert not (nodes.root / "beta" / "programs").exists()
    (nodes.root / "gamma").mkdir()
    (nodes.root / "gamma" / "programs").touch()
    with pytest.raises(DataDirectoryError, match="--programs-dir"):
        nodes.start("gamma")


# --- what a node remembers ---


@pytest_twisted.ensureDeferred
async def test_a_restart_is_a_new_life_of_the_same_node(nodes: Nodes) -> None:
    """A restarted node has its id, a higher incarnation, and rejoins by itself; the others see it come back."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await nodes.stop(b)
    await eventually(lambda: states(a)["b"] == "down")
    again = nodes.start("b")
    assert again.me.id == b.me.id
    assert again.me.incarnation > b.me.incarnation
    await eventually(lambda: states(again) == states(a) == {"a": "up", "b": "up"})
    [seen] = [member for member in a.mesh.members() if member.alias == "b"]
    assert (seen.incarnation, seen.address) == (again.me.incarnation, again.me.address)


@pytest_twisted.ensureDeferred
async def test_both_nodes_of_a_cluster_stop_and_start(nodes: Nodes) -> None:
    """A cluster that was switched off as a whole finds itself again, as long as addresses stay."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    ports = {name: address(node)[1] for name, node in (("a", a), ("b", b))}
    await nodes.stop(a)
    await nodes.stop(b)
    a, b = (nodes.start(name, server_bind_port=port) for name, port in ports.items())
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})


@pytest_twisted.ensureDeferred
async def test_a_node_that_left_does_not_rejoin(nodes: Nodes) -> None:
    """Leaving is remembered: after a restart the node is alone and answers LEFT, until it is told to join."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await within(b.mesh.leave())
    await nodes.stop(b)
    directory = DataDirectory(nodes.root / "b")
    state, peers = directory.read(NODE_FILE, NodeState), directory.load_peers()
    directory.close()
    assert state is not None
    assert state.left
    assert peers == []
    b = nodes.start("b")
    assert states(b) == {"b": "left"}
    await eventually(lambda: states(a) == {"a": "up", "b": "left"})
    await nodes.stop(b)
    b = nodes.start("b", join=(a.me.address,))
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})


@pytest_twisted.ensureDeferred
async def test_a_node_remembers_whom_it_knew(nodes: Nodes) -> None:
    """Known members reach the disk soon after they are known, without the node being stopped."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    file = nodes.root / "a" / PEERS_FILE
    await eventually(lambda: file.exists() and b.me.address in file.read_text())
    assert a.me.id not in file.read_text()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_full(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails costs the memory of who was there, is told as an event, and costs nothing else."""
    a, b = nodes.start("a"), nodes.start("b")

    def full(name: str, contents: object) -> None:
        raise DataDirectoryError(f"{name} cannot be written: No space left on device")

    monkeypatch.setattr("iridium.node.SAVE_AGAIN", 0.1)
    monkeypatch.setattr(a.data, "write", full)
    await join(b, a)
    await eventually(lambda: events(a, "not-saved"))
    assert "No space left" in events(a, "not-saved")[0].detail
    assert states(a) == states(b) == {"a": "up", "b": "up"}
    monkeypatch.undo()  # there is room again, and nothing else happens
    await eventually(lambda: any(record.id == b.me.id for record in a.data.load_peers()))
    await nodes.stop(a)


@pytest_twisted.ensureDeferred
async def test_writes_keep_their_order(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow write ends before the next begins, so that what is on disk is what was true last."""
    node = nodes.start("a")
    go_on = threading.Event()
    write, written = node._write, []

    def slow(state: NodeState, records: list[MemberRecord]) -> None:
        if not written:
            written.append("began")
            assert go_on.wait(PATIENCE)
        write(state, records)
        written.append(state.incarnation)

    monkeypatch.setattr(node, "_write", slow)
    first = node._save(node.me, [])
    node.me.incarnation += 1
    second = node._save(node.me, [MemberRecord(ID, 1)])
    await eventually(lambda: written)
    go_on.set()
    await within(first)
    await within(second)
    assert written == ["began", node.me.incarnation - 1, node.me.incarnation]
    assert node.data.load_peers() == [MemberRecord(ID, 1)]


# --- --join ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of `--join` come soon."""
    monkeypatch.setattr(node_module, "JOIN_AGAIN_FIRST", 0.01)
    monkeypatch.setattr(node_module, "JOIN_AGAIN_MOST", 0.03)


@pytest.mark.usefixtures("impatient")
@pytest_twisted.ensureDeferred
async def test_join_waits_for_its_contact(nodes: Nodes) -> None:
    """A node may start before the one that it is to join: it tries again, at growing pauses, until it is there."""
    port = free_port()
    b = nodes.start("b", join=(f"127.0.0.1:{port}",))
    await eventually(lambda: len(events(b, "join-failed")) >= 4)
    details = [event.detail for event in events(b, "join-failed")]
    assert all("nothing listens there" in detail for detail in details)
    assert [detail.partition("trying again in ")[2] for detail in details[:4]] == [
        "0.01 s",
        "0.02 s",
        "0.03 s",
        "0.03 s",
    ]
    a = nodes.start("a", server_bind_port=port)
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})
    await eventually(lambda: events(b, "joined"))
    assert not b._joining


@pytest.mark.usefixtures("impatient")
@pytest_twisted.ensureDeferred
async def test_join_gives_up_where_waiting_does_not_help(nodes: Nodes) -> None:
    """A cluster of another name is refused once, with the reason, and not asked again; the node lives on."""
    a = nodes.start("a")
    b = nodes.start("b", cluster="other", join=(a.me.address,))
    await eventually(lambda: events(b, "join-failed"))
    await deferLater(reactor, 0.1, lambda: None)  # ten times the pause after which it would ask again
    [failed] = events(b, "join-failed")
    assert "WRONG_CLUSTER" in failed.detail
    assert "--cluster" in failed.detail
    assert "does not try again" in failed.detail
    assert len(events(a, "refused")) == 1
    assert states(b) == {"b": "up"}
    assert not b._joining


@pytest_twisted.ensureDeferred
async def test_join_of_several(nodes: Nodes) -> None:
    """Each `--join` is tried for itself: one that is not there does not keep the node from another."""
    a = nodes.start("a")
    b = nodes.start("b", join=(f"127.0.0.1:{free_port()}", a.me.address))
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})
    await eventually(lambda: events(b, "join-failed"))


@pytest_twisted.ensureDeferred
async def test_a_stop_ends_the_trying(nodes: Nodes) -> None:
    """A node that waits to try again stops at once and leaves no call behind."""
    b = nodes.start("b", join=(f"127.0.0.1:{free_port()}",))
    await eventually(lambda: events(b, "join-failed"))
    await nodes.stop(b)
    assert not b._joining


@pytest.mark.usefixtures("impatient")
@pytest_twisted.ensureDeferred
async def test_a_leave_ends_the_trying(nodes: Nodes) -> None:
    """Who is told to leave does not come back because of an older `--join` that has not worked yet."""
    port = free_port()
    b = nodes.start("b", join=(f"127.0.0.1:{port}",))
    await eventually(lambda: events(b, "join-failed"))
    await within(b.mesh.leave())
    await eventually(lambda: not b._joining)
    a = nodes.start("a", server_bind_port=port)
    await deferLater(reactor, 0.1, lambda: None)  # three times the longest pause
    assert states(a) == {"a": "up"}
    assert states(b) == {"b": "left"}


# --- stopping ---


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_a_node(nodes: Nodes) -> None:
    """When `stop` fires, the node's sockets, calls and lock are gone, in the middle of whatever it did."""
    silent = nodes.serve(Factory.forProtocol(Protocol))
    before, calls = sockets(), set(reactor.getDelayedCalls())
    a, b, c = nodes.start("a"), nodes.start("b"), nodes.start("c", join=(silent,))
    await join(b, a)
    joining = c.mesh.join(*address(b))
    refused: list[Any] = []
    joining.addBoth(refused.append)
    for node in (c, b, a):
        await nodes.stop(node)
    await eventually(lambda: not sockets() - before)
    await eventually(lambda: not set(reactor.getDelayedCalls()) - calls)
    assert refused
    for name in "abc":
        DataDirectory(nodes.root / name).close()
