"""A node of the simulated network: the real machines, in a world that the network makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred

from iridium.cluster.link import Link
from iridium.cluster.liveness import TICK
from iridium.cluster.membership import Membership
from iridium.cluster.peer import Dial, Me
from iridium.cluster.post import Post
from iridium.cluster.secret import Secrets
from iridium.events import EventRing
from iridium.image import Image
from iridium.processes import Mailbox, Process, Processes
from iridium.processes.courier import Courier
from iridium.processes.reach import Reach
from iridium.testing.time import SimulatedReactor

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh
    from iridium.testing.network import Network
    from iridium.testing.pipe import Pipe

Part = TypeVar("Part")


class SimulatedNode:
    """One node of a simulated network; it acts for its membership machine.

    One that runs processes has the calls of :class:`iridium.node.Node` about them, so that code which takes a node
    can be tested with it.

    Attributes:
        machine: the node's real membership machine.
        address: where it listens.
        alive: False after a crash.
        frozen: whether its process is stopped; what arrives waits.
        log: the events it reported: (kind, subject, detail).
        texts: what people at other nodes said: (sender, text).
        processes: those that run on it, or None.
        courier: their traffic with other nodes, or None.
        reach: processes wherever they run, or None.
    """

    def __init__(self, network: Network, me: Me, host: str, secrets: Secrets | None = None) -> None:
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
        self.machine = Membership(me, self, lambda: network.now, network.random, secrets)
        self.processes: Processes | None = None
        self.courier: Courier | None = None
        self.reach: Reach | None = None

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
        self.reach = Reach(self.processes, self.courier)

    def spawn(
        self,
        image: Image,
        *,
        on: str = "",
        name: str = "",
        registers: Mapping[int, int] | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> Deferred[Process]:
        """Start a process, as :meth:`iridium.node.Node.spawn` does."""
        return _running(self.reach).spawn(image, on=on, name=name, registers=registers, on_output=on_output)

    def send(self, to: int, value: int | bytes, *, is_pid: bool = False) -> bool:
        """Send a process a message from nobody, as :meth:`iridium.node.Node.send` does."""
        return _running(self.processes).send(to, value, is_pid=is_pid)

    def find(self, what: str) -> Deferred[int]:
        """The pid of ``PID@NODE``, ``NAME`` or ``NAME@NODE``, as :meth:`iridium.node.Node.find` gives it."""
        return _running(self.reach).find(what)

    def mailbox(self, name: str = "") -> Mailbox:
        """A pid and a mailbox for Python, as :meth:`iridium.node.Node.mailbox` gives it."""
        return _running(self.processes).mailbox(name)

    def kill(self, pid: int) -> bool:
        """End a process, as :meth:`iridium.node.Node.kill` does."""
        return _running(self.processes).kill(pid)

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

    mistaken = complain

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


def _running(part: Part | None) -> Part:
    assert part is not None, "this node runs no processes: make it with Network.node(processes=True)"
    return part
