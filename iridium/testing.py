"""A simulated network for tests of the cluster: many nodes in one process, in virtual time, under a seed.

The nodes run the real membership machine; only sockets and clocks are simulated. Everything that happens is
decided by the seed, so that a failing run can be repeated exactly::

    network = Network(seed=1)
    a, b = network.node("a"), network.node("b")
    network.join(b, a)
    network.run(1.0)
    assert a.states() == {"a": "up", "b": "up"}
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable
from random import Random

from iridium.cluster.link import Link
from iridium.cluster.liveness import TICK
from iridium.cluster.membership import Membership
from iridium.cluster.messages import MessageError
from iridium.cluster.peer import Dial, Join, Me, Outcome
from iridium.errors import IridiumError

DIAL_TIMEOUT = 5.0
"""Seconds until a connection that nobody answers is given up, as on the real network."""


class SimulatedNode:
    """One node of a simulated network; it acts for its membership machine.

    Attributes:
        machine: the node's real membership machine.
        address: where it listens.
        alive: False after a crash.
        frozen: whether its process is stopped; what arrives waits.
        log: the events it reported: (kind, subject, detail).
        texts: what people at other nodes said: (sender, text).
    """

    def __init__(self, network: Network, me: Me, host: str) -> None:
        self.network = network
        self.me = me
        self.host = host
        self.address = me.address
        self.alive = True
        self.frozen = False
        self.log: list[tuple[str, str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.backlog: list[Callable[[], None]] = []
        self.pipes: dict[Link, Pipe] = {}
        self.dials: dict[Dial, None] = {}
        self.machine = Membership(me, self, lambda: network.now, network.random)

    def __repr__(self) -> str:
        return f"<SimulatedNode {self.me.alias or self.me.id[:8]}>"

    def states(self) -> dict[str, str]:
        """The state of every member that the node knows, itself included, by its name."""
        return {member.name: member.state for member in self.machine.table.members()}

    def linked(self) -> list[str]:
        """The names of the members it holds a ready link to, sorted."""
        table = self.machine.table
        return sorted(table.name_of(peer.id) for peer in table.peers.values() if peer.open_link)

    def happen(self, action: Callable[[], None]) -> None:
        """Let something happen to the node: now, or when it thaws; never after its crash."""
        if self.frozen:
            self.backlog.append(action)
        elif self.alive:
            action()

    # What the membership machine asks of the world:

    def dial(self, dial: Dial) -> None:
        """Connect, with the network's delay."""
        self.dials[dial] = None
        self.network.connect(self, dial)

    def hang_up(self, dial: Dial) -> None:
        """Stop connecting."""
        self.dials.pop(dial, None)

    def output(self, link: Link) -> None:
        """Send what the link has, once everything of this moment has happened."""
        self.network.later(0.0, lambda: self.happen(lambda: self._flush(link)))

    def _flush(self, link: Link) -> None:
        pipe = self.pipes.get(link)
        if pipe is not None:
            pipe.send(link)

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Keep an event."""
        self.log.append((kind, subject, detail))

    def text(self, sender: str, text: str) -> None:
        """Keep a text."""
        self.texts.append((sender, text))

    def changed(self) -> None:
        """Nothing is on disk here."""


class Pipe:
    """A connection between two simulated nodes: each end's bytes arrive at the other in order, after a delay."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ends: list[tuple[SimulatedNode, Link]] = []
        self._arrival = [0.0, 0.0]
        self.cut = False

    def attach(self, node: SimulatedNode, link: Link) -> None:
        """Give the pipe an end."""
        self.ends.append((node, link))
        node.pipes[link] = self

    def _other(self, link: Link) -> int:
        return 1 if self.ends[0][1] is link else 0

    def send(self, link: Link) -> None:
        """Carry what a link has queued; then the end of the connection, if it is closed."""
        data = link.data_to_send()
        to = self._other(link)
        if len(self.ends) < 2 or self.cut:
            return
        node, target = self.ends[to]
        source = self.ends[1 - to][0]
        if not self.network.reaches(source, node):
            return  # lost: the peers find out by silence
        # In order, as TCP delivers: nothing overtakes what was sent before it.
        at = self._arrival[to] = max(self._arrival[to], self.network.now + self.network.delay())
        if data:
            self.network.at(at, lambda: node.happen(lambda: self._deliver(node, target, data)))
        if link.closed:
            self.network.at(at, lambda: node.happen(lambda: self._end(node, target)))
            source.pipes.pop(link, None)
            source.machine.link_lost(link)

    def _deliver(self, node: SimulatedNode, link: Link, data: bytes) -> None:
        if link not in node.pipes or link.closed:
            return
        try:
            node.machine.receive(link, data)
        except MessageError as error:
            node.machine.link_lost(link, str(error))

    def _end(self, node: SimulatedNode, link: Link) -> None:
        if node.pipes.pop(link, None) is not None:
            node.machine.link_lost(link)

    def sever(self) -> None:
        """End the connection at both ends at once."""
        self.cut = True
        for node, link in self.ends:
            self._sever_end(node, link)

    def _sever_end(self, node: SimulatedNode, link: Link) -> None:
        self.network.later(self.network.delay(), lambda: node.happen(lambda: self._end(node, link)))


class Network:
    """Nodes, and what carries their bytes, in virtual time.

    Args:
        seed: decides every delay and every choice.
        slowest: the longest delay of a segment, in seconds.

    Attributes:
        now: the virtual time, in seconds.
        nodes: every node ever made, in order.
    """

    def __init__(self, seed: int = 0, slowest: float = 0.005) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.nodes: list[SimulatedNode] = []
        self._slowest = slowest
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._blocked: dict[tuple[str, str], None] = {}

    def node(self, alias: str = "", cluster: str = "iridium", id: str = "", incarnation: int = 1) -> SimulatedNode:
        """A new node, which listens at an address of its own and ticks from now on."""
        host = f"10.0.{len(self.nodes) // 200}.{len(self.nodes) % 200 + 1}"
        me = Me(id or str(uuid.UUID(int=self.random.getrandbits(128), version=4)), alias, incarnation, cluster)
        me.address = f"{host}:2254"
        node = SimulatedNode(self, me, host)
        self.nodes.append(node)
        self.later(self.random.uniform(0, TICK), lambda: self._tick(node))
        return node

    def _tick(self, node: SimulatedNode) -> None:
        if node.alive:
            if not node.frozen:
                node.machine.liveness.tick()
            self.later(TICK, lambda: self._tick(node))

    # --- time ---

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._queue, (when, next(self._order), action))

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Let something happen after a delay, in seconds."""
        self.at(self.now + delay, action)

    def delay(self) -> float:
        """How long the next segment takes."""
        return self.random.uniform(self._slowest / 10, self._slowest)

    def run(self, seconds: float) -> None:
        """Let that much virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Let time pass until a condition holds.

        Args:
            condition: looked at after everything that happens.
            limit: seconds of virtual time at the most.

        Returns:
            Whether it holds.
        """
        end = self.now + limit
        while not condition():
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return condition()
            self.now, _, action = heapq.heappop(self._queue)
            action()
        return True

    # --- what happens to nodes ---

    def join(self, node: SimulatedNode, contact: SimulatedNode) -> JoinResult:
        """Let a node join through another, as a person would.

        Returns:
            What becomes of it, once enough time has passed.
        """
        result = JoinResult()
        result.join = node.machine.dialler.join(contact.address, result.succeed, result.fail)
        return result

    def crash(self, node: SimulatedNode) -> None:
        """End a node's process: its connections end, and its port refuses."""
        node.alive = False
        for pipe in list(node.pipes.values()):
            pipe.sever()

    def freeze(self, node: SimulatedNode) -> None:
        """Stop a node's process, as SIGSTOP does: connections stay, nothing answers."""
        node.frozen = True

    def thaw(self, node: SimulatedNode) -> None:
        """Let a frozen process go on."""
        node.frozen = False
        backlog, node.backlog = node.backlog, []
        for action in backlog:
            node.happen(action)

    def sever(self, a: SimulatedNode, b: SimulatedNode) -> None:
        """Cut every connection between two nodes, once."""
        for pipe in list(a.pipes.values()):
            if any(node is b for node, _ in pipe.ends):
                pipe.sever()

    def block(self, a: SimulatedNode, b: SimulatedNode) -> None:
        """From now on nothing that a sends reaches b."""
        self._blocked[a.host, b.host] = None

    def unblock(self) -> None:
        """Everything reaches everybody again; connections that lost bytes are cut, as TCP gives up on them."""
        for a, b in list(self._blocked):
            nodes = {node.host: node for node in self.nodes}
            self.sever(nodes[a], nodes[b])
        self._blocked.clear()

    def reaches(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether what a sends arrives at b."""
        return (a.host, b.host) not in self._blocked

    def connect(self, node: SimulatedNode, dial: Dial) -> None:
        """Carry out a dial."""
        target = next((n for n in reversed(self.nodes) if n.address == dial.address), None)
        if target is None or not (self.reaches(node, target) and self.reaches(target, node)):
            self.later(DIAL_TIMEOUT, lambda: node.happen(lambda: self._failed(node, dial, "silent", "no answer")))
            return
        self.later(self.delay(), lambda: self._arrive(node, target, dial))

    def _arrive(self, node: SimulatedNode, target: SimulatedNode, dial: Dial) -> None:
        if not target.alive:
            self.later(
                self.delay(),
                lambda: node.happen(lambda: self._failed(node, dial, "refused", "nothing listens there")),
            )
            return
        # The kernel accepts, whether or not the process runs.
        self.later(self.delay(), lambda: node.happen(lambda: self._connected(node, target, dial)))

    def _connected(self, node: SimulatedNode, target: SimulatedNode, dial: Dial) -> None:
        if dial not in node.dials:
            return
        del node.dials[dial]
        link = node.machine.dialler.connected(dial, target.host)
        if link is None:
            return
        pipe = Pipe(self)
        pipe.attach(node, link)

        def accept() -> None:
            pipe.attach(target, target.machine.connection_made(node.host))
            node.output(link)

        target.happen(accept)

    def _failed(self, node: SimulatedNode, dial: Dial, outcome: Outcome, detail: str) -> None:
        if dial in node.dials:
            del node.dials[dial]
            node.machine.dialler.failed(dial, outcome, detail)


class JoinResult:
    """What became of a join.

    Attributes:
        join: the attempt.
        done: whether the mesh was reached.
        error: why the contact could not be joined, or None.
    """

    join: Join

    def __init__(self) -> None:
        self.done = False
        self.error: IridiumError | None = None

    def succeed(self) -> None:
        """The mesh was reached."""
        self.done = True

    def fail(self, error: IridiumError) -> None:
        """The contact could not be joined."""
        self.error = error
