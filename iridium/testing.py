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

import contextlib
import ctypes
import functools
import heapq
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any, cast

from iridium.cluster.identity import next_incarnation
from iridium.cluster.link import Link, Role
from iridium.cluster.liveness import TICK
from iridium.cluster.membership import Membership
from iridium.cluster.messages import MessageError
from iridium.cluster.peer import Dial, Join, Me, Outcome
from iridium.cluster.post import Post
from iridium.cluster.rules import join_address, split_address
from iridium.errors import IridiumError
from iridium.events import EventRing
from iridium.processes import Processes
from iridium.processes.courier import Courier
from iridium.vm.runtime import locks

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

DIAL_TIMEOUT = 5.0
"""Seconds until a connection that nobody answers is given up, as on the real network."""

RETRANSMIT = 0.2
"""Seconds until a lost segment is sent again for the first time: what Linux waits at least."""

TRIES = 5
"""Times that a lost segment is sent again before the connection is given up."""


class SimulatedNode:
    """One node of a simulated network; it acts for its membership machine.

    Attributes:
        machine: the node's real membership machine.
        address: where it listens.
        alive: False after a crash.
        frozen: whether its process is stopped; what arrives waits.
        log: the events it reported: (kind, subject, detail).
        texts: what people at other nodes said: (sender, text).
        processes: those that run on it, or None.
        courier: their traffic with other nodes, or None.
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
        self.next_tick = 0.0
        self.machine = Membership(me, self, lambda: network.now, network.random)
        self.processes: Processes | None = None
        self.courier: Courier | None = None

    @property
    def post(self) -> Post:
        """Its mail with other nodes."""
        return self.machine.post

    def add_processes(self) -> None:
        """Let it run processes, in plain Python and in virtual time; see :func:`virtual_time`."""
        from iridium.scheduler import Scheduler

        reactor = SimulatedReactor(self)
        events = EventRing()
        self.processes = Processes(Scheduler(cast("Any", reactor), choice="reference"), events)
        self.processes.when_ready(lambda: None)
        self.courier = Courier(self.processes, cast("Mesh", self), events, reactor.callLater)

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

    def accept(self, link: Link) -> None:
        """Take a connection that the kernel accepted."""
        if link in self.pipes:
            self.machine.connection_made(link)

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

    def complain(self, host: str, problem: str) -> None:
        """Keep a complaint."""
        self.log.append(("misbehaved", host, problem))

    def text(self, sender: str, text: str) -> None:
        """Keep a text."""
        self.texts.append((sender, text))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something after a while."""
        self.network.later(seconds, lambda: self.happen(action))

    def hurry(self) -> None:
        """Tick soon."""
        if self.next_tick > self.network.now + TICK:
            self.network.tick_at(self, self.network.now + TICK)

    def changed(self) -> None:
        """Nothing is on disk here."""


class SimulatedTimer:
    """A call that is to come."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def active(self) -> bool:
        """Whether it is still to come."""
        return self._action is not None

    def cancel(self) -> None:
        """Let it not come."""
        self._action = None

    def fire(self) -> None:
        """Its time has come."""
        action, self._action = self._action, None
        if action is not None:
            action()


class SimulatedReactor:
    """As much of a reactor as the processes of a simulated node use.

    Args:
        node: whose.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    def seconds(self) -> float:
        """The virtual time."""
        return self._node.network.now

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **keywords: Any) -> SimulatedTimer:
        """Call something later, if the node lives."""
        timer = SimulatedTimer(lambda: call(*args, **keywords))
        self._node.later(delay, timer.fire)
        return timer


TICK_OF_CLOCK = 50_000
"""Nanoseconds that virtual time goes on whenever the runtime looks at its clock, so that turns come to an end."""


@contextlib.contextmanager
def virtual_time(network: Network) -> Iterator[None]:
    """Let the runtime of processes, as plain Python, have the time of a network: SLEEP and RECVT take no real
    time.
    """
    last = 0

    def clock_gettime(clock: int, place: int) -> int:
        nonlocal last
        last = max(last + TICK_OF_CLOCK, int(network.now * 1e9))
        ctypes.c_int64.from_address(place).value = last // 1_000_000_000
        ctypes.c_int64.from_address(place + 8).value = last % 1_000_000_000
        return 0

    kept, locks.clock_gettime = locks.clock_gettime, clock_gettime
    try:
        yield
    finally:
        locks.clock_gettime = kept


class Pipe:
    """A connection between two simulated nodes.

    What one end sends arrives at the other in order. A segment that is lost, by chance or because the way is
    blocked, is sent again after 0.2 s, 0.4 s, 0.8 s and so on, as TCP does; after five tries the sender's end of
    the connection is reset, while the other end learns of it only once it sends something itself.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ends: list[tuple[SimulatedNode, Link]] = []
        self._gone = [False, False]
        self._arrival = [0.0, 0.0]
        self._segments: tuple[deque[bytes | None], deque[bytes | None]] = (deque(), deque())

    def attach(self, node: SimulatedNode, link: Link) -> None:
        """Give the pipe an end."""
        self.ends.append((node, link))
        node.pipes[link] = self

    def joins(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether these two nodes are its ends."""
        return {id(node) for node, _ in self.ends} == {id(a), id(b)}

    def send(self, link: Link) -> None:
        """Carry what a link has queued; then the end of the connection, if it is closed."""
        end = self._end_of(link)
        data = link.data_to_send()
        if data:
            self._queue(end, data)
        if link.closed:
            self.close(end)
            node = self.ends[end][0]
            node.machine.link_lost(link)

    def close(self, end: int) -> None:
        """This end is closed by its process or its kernel; the other one is told."""
        if not self._gone[end]:
            node, link = self.ends[end]
            node.pipes.pop(link, None)
            self._queue(end, None)
            self._gone[end] = True

    def end_at(self, node: SimulatedNode) -> int:
        """Which end a node has."""
        return 0 if self.ends[0][0] is node else 1

    def _end_of(self, link: Link) -> int:
        return 0 if self.ends[0][1] is link else 1

    def _queue(self, end: int, segment: bytes | None) -> None:
        if self._gone[end]:
            return
        segments = self._segments[end]
        segments.append(segment)
        if len(segments) == 1:
            self._transmit(end, 0)

    def _transmit(self, end: int, tries: int) -> None:
        segments = self._segments[end]
        while segments:
            if len(self.ends) < 2 or self.network.loses(self.ends[end][0], self.ends[1 - end][0]):
                if tries == TRIES:
                    segments.clear()
                    self._reset(end)
                else:
                    self.network.later(RETRANSMIT * 2**tries, functools.partial(self._transmit, end, tries + 1))
                return
            tries = 0
            self._carry(end, segments.popleft())

    def _carry(self, end: int, segment: bytes | None) -> None:
        other = 1 - end
        # In order: nothing overtakes what was sent before it.
        at = self._arrival[other] = max(self._arrival[other], self.network.now + self.network.delay())
        node = self.ends[other][0]
        if self._gone[other] or not node.alive:
            self.network.at(at, lambda: self._reset(end))  # nobody has that connection any more
        elif segment is None:
            self.network.at(at, lambda: node.happen(lambda: self._reset(other)))
        else:
            self.network.at(at, lambda: node.happen(lambda: self._deliver(other, segment)))

    def _deliver(self, end: int, data: bytes) -> None:
        node, link = self.ends[end]
        if self._gone[end] or link.closed:
            return
        try:
            node.machine.receive(link, data)
        except MessageError as error:
            node.complain(link.host, str(error))
            node.machine.link_lost(link, str(error))

    def _reset(self, end: int) -> None:
        """An end learns that the connection is over."""
        if end < len(self.ends) and not self._gone[end]:
            self._gone[end] = True
            node, link = self.ends[end]
            node.pipes.pop(link, None)
            node.happen(lambda: node.machine.link_lost(link))

    def sever(self) -> None:
        """End the connection at both ends, as a router that forgets it does."""
        for end in range(len(self.ends)):
            self.network.later(self.network.delay(), functools.partial(self._reset, end))


class Network:
    """Nodes, and what carries their bytes, in virtual time.

    Args:
        seed: decides every delay and every choice.
        slowest: the longest delay of a segment, in seconds.
        loss: the share of segments that are lost, from 0 to 1.

    Attributes:
        random: where every choice comes from.
        now: the virtual time, in seconds.
        wall: what the wall clock is ahead of it; step it as you like.
        nodes: every node ever made, in order.
        loss: as given; may be changed at any time.
    """

    def __init__(self, seed: int = 0, slowest: float = 0.005, loss: float = 0.0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.wall = 1_800_000_000.0
        self.loss = loss
        self.nodes: list[SimulatedNode] = []
        self._slowest = slowest
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._blocked: dict[tuple[str, str], None] = {}
        self._dark: dict[str, None] = {}
        self._listening: dict[str, SimulatedNode] = {}

    def node(
        self,
        alias: str = "",
        cluster: str = "iridium",
        id: str = "",
        incarnation: int = 1,
        port: int = 2254,
        *,
        processes: bool = False,
    ) -> SimulatedNode:
        """A new node on a host of its own, which listens and ticks from now on.

        Args:
            alias, cluster, id, incarnation: who it is; a new id by default.
            port: where it listens.
            processes: whether it runs processes.
        """
        host = f"10.0.{len(self.nodes) // 200}.{len(self.nodes) % 200 + 1}"
        me = Me(id or str(uuid.UUID(int=self.random.getrandbits(128), version=4)), alias, incarnation, cluster)
        me.address = f"{host}:{port}"
        node = SimulatedNode(self, me, host)
        if processes:
            node.add_processes()
        return self._start(node)

    def _start(self, node: SimulatedNode) -> SimulatedNode:
        self.nodes.append(node)
        self._listening[node.address] = node
        self.tick_at(node, self.now + self.random.uniform(0, TICK))
        return node

    def restart(self, node: SimulatedNode, *, elsewhere: bool = False, amnesia: bool = False) -> SimulatedNode:
        """Start a crashed node again, as a new process.

        Args:
            node: the crashed one.
            elsewhere: it listens at another address.
            amnesia: its data directory is gone: it has another id and knows nobody.

        Returns:
            The new process; with its data, it looks for the members that it knew.
        """
        assert not node.alive, "crash it first"
        old = node.me
        stored = 0 if amnesia else old.incarnation
        id = str(uuid.UUID(int=self.random.getrandbits(128), version=4)) if amnesia else old.id
        me = Me(id, old.alias, next_incarnation(stored, lambda: self.wall + self.now), old.cluster, False)
        me.address = old.address
        if elsewhere:
            host, port = split_address(old.address)
            while me.address in self._listening and (
                me.address == old.address or self._listening[me.address].alive
            ):
                port += 1  # as on a real host, two processes cannot listen on one
                me.address = join_address(host, port)
        new = SimulatedNode(self, me, node.host)
        if node.processes is not None:
            new.add_processes()
        again = self._start(new)
        if not amnesia:
            known = [record for record in node.machine.table.records() if record.id != old.id]
            again.machine.remember([] if old.left else known)
            me.left = old.left
        return again

    def tick_at(self, node: SimulatedNode, when: float) -> None:
        """Let a node look at its clock at a time, and at none that was meant before."""
        node.next_tick = when
        self.at(when, lambda: self._tick(node, when))

    def _tick(self, node: SimulatedNode, when: float) -> None:
        if node.alive and node.next_tick == when:
            self.tick_at(node, self.now + (TICK if node.frozen else node.machine.liveness.tick()))

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

    def crash(self, node: SimulatedNode, *, silently: bool = False) -> None:
        """End a node's process.

        Args:
            node: which.
            silently: its host goes with it, so that nobody is told; otherwise the kernel ends its connections and
                refuses new ones.
        """
        node.alive = False
        if silently:
            self._dark[node.host] = None
        for pipe in list(node.pipes.values()):
            pipe.close(pipe.end_at(node))

    def light(self, node: SimulatedNode) -> None:
        """A host that went dark is there again."""
        self._dark.pop(node.host, None)

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
            if pipe.joins(a, b):
                pipe.sever()

    def block(self, a: SimulatedNode, b: SimulatedNode) -> None:
        """From now on nothing that a sends reaches b."""
        self._blocked[a.host, b.host] = None

    def unblock(self) -> None:
        """Everything reaches everybody again, hosts that went dark included."""
        self._blocked.clear()
        self._dark.clear()

    def reaches(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether what a sends can arrive at b."""
        return (a.host, b.host) not in self._blocked and a.host not in self._dark and b.host not in self._dark

    def loses(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether the next segment from a to b is lost."""
        return not self.reaches(a, b) or (self.loss > 0 and self.random.random() < self.loss)

    def connect(self, node: SimulatedNode, dial: Dial) -> None:
        """Carry out a dial."""
        self._knock(node, dial, 0)
        self.later(DIAL_TIMEOUT, lambda: node.happen(lambda: self._failed(node, dial, "silent", "no answer")))

    def _knock(self, node: SimulatedNode, dial: Dial, tries: int) -> None:
        """Send what opens a connection, again after 1 s, 2 s and so on while it is lost."""
        target = self._listening.get(dial.address)
        if target is None:
            return
        if self.loses(node, target) or self.loses(target, node):
            if tries < TRIES:
                self.later(1.0 * 2**tries, lambda: self._knock(node, dial, tries + 1))
            return
        there_and_back = self.delay() + self.delay()
        if target.alive:  # the kernel accepts, whether or not the process runs
            self.later(there_and_back, lambda: node.happen(lambda: self._connected(node, target, dial)))
        else:
            refused = "nothing listens there"
            self.later(there_and_back, lambda: node.happen(lambda: self._failed(node, dial, "refused", refused)))

    def _connected(self, node: SimulatedNode, target: SimulatedNode, dial: Dial) -> None:
        if dial not in node.dials:
            return
        del node.dials[dial]
        link = node.machine.dialler.connected(dial, target.host)
        if link is None:
            return
        pipe = Pipe(self)
        pipe.attach(node, link)
        pipe.attach(target, Link(Role.ACCEPTOR, node.host, self.now, target.output))
        target.happen(lambda: target.accept(pipe.ends[1][1]))

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
