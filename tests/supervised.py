"""Many supervision machines in one process, in virtual time, under a seed: members, messages, processes simulated.

What membership would say is decided here too: who can reach whom is known to a node after a delay of its own, so
that nodes disagree for a while about who is alive, as they do.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

from iridium.supervision.machine import Machine
from iridium.supervision.messages import Message, MessageError, decode, encode
from iridium.supervision.types import EACH, ExitReason, Key, Program, Record

CRASH = ExitReason(1, "it crashed")


class Process:
    """A process of a replica: when it began, and whether it is being killed."""

    def __init__(self, key: Key, program: Program) -> None:
        self.key = key
        self.program = program
        self.running = False
        self.killed = False


class SupervisedNode:
    """One node: its machine, and what acts for it."""

    def __init__(self, cluster: SupervisedCluster, name: str, known: list[Record], skew: float = 0.0) -> None:
        self.cluster = cluster
        self.id = name
        self.alive = True
        self.processes: dict[Key, Process] = {}
        self.sees: dict[str, None] = {}
        self.log: list[tuple[float, str, str, str]] = []
        self.starts: list[tuple[float, Key]] = []
        self.disk = known
        cluster.lives += 1
        self.machine = Machine(
            name,
            cluster.lives,
            self,
            lambda: cluster.now,
            lambda: 1e9 + cluster.now + skew,
            cluster.random,
            known,
        )
        self.timers = 0
        self.hurry()

    def hurry(self) -> None:
        """Something happened: tick when the machine next wants it."""
        self.timers += 1
        timer = self.timers
        self.cluster.later(max(0.001, self.machine.pause()), lambda: self.tick(timer))

    def tick(self, timer: int) -> None:
        if self.alive and timer == self.timers:
            self.machine.tick()
            self.hurry()

    def send(self, node: str, message: Message) -> bool:
        return self.cluster.carry(self, node, encode(message))

    def event(self, kind: str, subject: str, detail: str) -> None:
        self.log.append((self.cluster.now, kind, subject, detail))

    def name(self, node: str) -> str:
        return node

    def records_changed(self) -> None:
        self.disk = self.machine.records.all()

    def start_process(self, key: Key, program: Program) -> None:
        assert key not in self.processes, f"{key} is started twice on {self.id}"
        process = self.processes[key] = Process(key, program)
        self.starts.append((self.cluster.now, key))
        self.cluster.later(self.cluster.random.uniform(0, 0.02), lambda: self._run(process))

    def _run(self, process: Process) -> None:
        if self.alive and self.processes.get(process.key) is process and not process.killed:
            process.running = True
            self.machine.started(process.key, 7)
            self.hurry()
            lifetime = self.cluster.lifetime(process)
            if lifetime is not None:
                self.cluster.later(lifetime[0], lambda: self.end(process, lifetime[1]))

    def kill(self, key: Key) -> None:
        process = self.processes[key]
        assert not process.killed
        process.killed = True
        self.cluster.later(
            self.cluster.random.uniform(0, 0.02), lambda: self.end(process, ExitReason(2, "killed"))
        )

    def end(self, process: Process, reason: ExitReason) -> None:
        """The process ends."""
        if self.alive and self.processes.get(process.key) is process:
            del self.processes[process.key]
            self.machine.ended(process.key, reason)
            self.hurry()


class SupervisedCluster:
    """The nodes, and what lies between them.

    Args:
        seed: decides everything.
        slowest: seconds that a message takes at most.
        verdict: seconds after which a node knows at the latest that another cannot be reached.
    """

    def __init__(self, seed: int, *, slowest: float = 0.01, verdict: float = 5.0) -> None:
        self.random = Random(seed)
        self.slowest = slowest
        self.verdict = verdict
        self.now = 0.0
        self.lives = 0
        self.nodes: dict[str, SupervisedNode] = {}
        self.cuts: set[frozenset[str]] = set()
        self.lifetime: Callable[[Process], tuple[float, ExitReason] | None] = lambda process: None
        self.sent = 0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._arrival: dict[tuple[str, str], float] = {}

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (self.now + seconds, next(self._numbers), call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self._calls)
            call()
        self.now = end

    def alive(self) -> list[SupervisedNode]:
        return [node for node in self.nodes.values() if node.alive]

    def node(self, name: str, *, known: list[Record] | None = None, skew: float = 0.0) -> SupervisedNode:
        """Start a node; the others find it."""
        node = self.nodes[name] = SupervisedNode(self, name, known or [], skew)
        self.look()
        return node

    def reach(self, a: str, b: str) -> bool:
        return self.nodes[a].alive and self.nodes[b].alive and frozenset((a, b)) not in self.cuts

    def look(self, verdict: float | None = None) -> None:
        """Who sees whom may have changed: each node learns it in its own time."""
        for a in list(self.nodes):
            for b in list(self.nodes):
                if a != b:
                    up = self.reach(a, b)
                    late = self.random.uniform(0, 0.1 if up else self.verdict if verdict is None else verdict)
                    node = self.nodes[a]
                    self.later(late, lambda node=node, b=b, up=up: self._see(node, b, up))  # type: ignore[misc]

    def _see(self, node: SupervisedNode, other: str, up: bool) -> None:
        if not node.alive or self.reach(node.id, other) is not up or (other in node.sees) is up:
            return
        if up:
            node.sees[other] = None
            node.machine.member_up(other)
        else:
            del node.sees[other]
            node.machine.member_down(other)

    def carry(self, sender: SupervisedNode, to: str, data: bytes) -> bool:
        if not self.reach(sender.id, to):
            return False
        self.sent += 1
        pair = sender.id, to
        receiver = self.nodes[to]
        # In order, as on a connection; what is on the way when the connection breaks is lost.
        at = max(self._arrival.get(pair, 0.0), self.now + self.random.uniform(0, self.slowest))
        self._arrival[pair] = at
        life = sender.machine.life

        def arrive() -> None:
            if receiver.alive and self.reach(*pair) and self.nodes[sender.id].machine.life == life:
                try:
                    message = decode(data)
                except MessageError as error:
                    raise AssertionError(f"a node sent what it would not take: {error}") from None
                receiver.machine.receive(sender.id, message)
                receiver.hurry()

        self.later(at - self.now, arrive)
        return True

    def crash(self, name: str, *, silently: bool = False) -> None:
        """A node's process is gone."""
        self.nodes[name].alive = False
        self.look(None if silently else 0.05)

    def restart(self, name: str, *, forget: bool = False, noticed: float = 0.5) -> SupervisedNode:
        """A node starts again, from its disk."""
        old = self.nodes[name]
        old.alive = False
        for other in self.alive():
            # The new process tells of itself on a new connection; whether the others saw the old one go is chance.
            if name in other.sees and self.random.random() < noticed:
                del other.sees[name]
                other.machine.member_down(name)
        return self.node(name, known=[] if forget else old.disk)

    def part(self, *islands: list[str]) -> None:
        """Let only the nodes of one island reach each other."""
        where = {name: at for at, island in enumerate(islands) for name in island}
        self.cuts = {
            frozenset((a, b)) for a in self.nodes for b in self.nodes if where.get(a) != where.get(b) and a != b
        }
        self.look()

    def heal(self) -> None:
        self.cuts.clear()
        self.look()

    # --- what holds ---

    def running(self) -> dict[Key, list[str]]:
        """Where each replica has a process."""
        found: dict[Key, list[str]] = {}
        for node in self.alive():
            for key, process in node.processes.items():
                if process.running:
                    found.setdefault(key, []).append(node.id)
        return found

    def wanted(self) -> list[Key]:
        """Every replica that is to run, by what the first node knows."""
        nodes = self.alive()
        keys = []
        for record in nodes[0].machine.records.all():
            for program in () if record.stopped else record.programs:
                ids = [n.id for n in nodes] if program.replicas == EACH else program.replicas_on("")
                keys += [Key(record.name, record.deployment, program.name, replica) for replica in ids]
        return [key for key in keys if nodes[0].machine.records.wanted(key) is not None]
