"""The simulated network: its nodes, what happens to them and between them, and when."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Callable
from random import Random

from iridium.cluster.identity import next_incarnation
from iridium.cluster.link import Link, Role
from iridium.cluster.liveness import TICK
from iridium.cluster.peer import Dial, Join, Me, Outcome
from iridium.cluster.rules import join_address, split_address
from iridium.cluster.secret import Secrets
from iridium.errors import IridiumError
from iridium.testing.node import SimulatedNode
from iridium.testing.pipe import TRIES, Pipe

DIAL_TIMEOUT = 5.0
"""Seconds until a connection that nobody answers is given up, as on the real network."""


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
        self.random = Random(seed)  # nosec B311  # a seed is to give one story, whatever is drawn
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
        secrets: Secrets | None = None,
    ) -> SimulatedNode:
        """A new node on a host of its own, which listens and ticks from now on.

        Args:
            alias, cluster, id, incarnation: who it is; a new id by default.
            port: where it listens.
            processes: whether it runs processes.
            secrets: what others must prove to know.
        """
        host = f"10.0.{len(self.nodes) // 200}.{len(self.nodes) % 200 + 1}"
        me = Me(id or str(uuid.UUID(int=self.random.getrandbits(128), version=4)), alias, incarnation, cluster)
        me.address = f"{host}:{port}"
        node = SimulatedNode(self, me, host, secrets)
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
        new = SimulatedNode(self, me, node.host, node.machine.proving.secrets)
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
