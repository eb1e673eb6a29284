"""What the tests of the shell stand on: a node without a network, a clock that is a reactor, a peer to talk to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from iridium.cluster.tokens import Token, parse_token
from iridium.cluster.types import Delivery, Member, MeshView
from iridium.errors import CommandError
from iridium.events import EventRing
from iridium.limits import DEFAULTS, Limits
from iridium.processes import Processes
from iridium.processes.images import Images
from iridium.processes.reach import Reach
from iridium.processes.types import Exchange, Listing
from iridium.processes.uploads import Uploads
from iridium.repl.iac import ReplTransport
from iridium.repl.session import Session
from iridium.repl.telnet import ReplFactory
from iridium.roles import Role
from iridium.scheduler import Scheduler
from iridium.supervision.application import Package
from iridium.supervision.types import ApplicationView, ReplicaView

ENDLESS = ("l: inc $0", "load $31 @l", "jmp $31")
"""Lines of which the last never ends."""


class InstantThreadPool:
    """A thread pool that does the work at once, in this thread."""

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any, **keywords: Any
    ) -> None:
        try:
            result = function(*args, **keywords)
        except Exception:
            from twisted.python.failure import Failure

            on_result(False, Failure())
        else:
            on_result(True, result)


class ReactorClock(Clock):
    """A clock that goes round as a reactor does: a call for now, made in a round, waits for the next round."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = InstantThreadPool()

    def getThreadPool(self) -> InstantThreadPool:
        return self.pool

    def callFromThread(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> None:
        function(*args, **keywords)

    def iterate(self, rounds: int = 1) -> None:
        """Make the calls that are due, ``rounds`` times."""
        for _ in range(rounds):
            for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
                if call.active():
                    self.calls.remove(call)
                    call.called = 1
                    call.func(*call.args, **call.kw)

    def settle(self, rounds: int = 5000) -> None:
        """Go round until nothing is due, or so many times."""
        while rounds and any(call.getTime() <= self.seconds() for call in self.calls):
            self.iterate()
            rounds -= 1

    def advance(self, amount: float) -> None:
        """Let time pass, and one round."""
        self.rightNow += amount
        self.iterate()


class FakeTexts:
    """Texts from other nodes, sent by the test."""

    def __init__(self) -> None:
        self.followers: list[Callable[[str, str], None]] = []

    def follow(self, follower: Callable[[str, str], None], /) -> Callable[[], None]:
        self.followers.append(follower)
        return lambda: self.followers.remove(follower)

    def arrive(self, sender: str, text: str) -> None:
        """Another node sends a text."""
        for follower in list(self.followers):
            follower(sender, text)


class FakeMesh:
    """A cluster of two, and Deferreds that the test fires."""

    def __init__(self) -> None:
        self.me = Member("0b5f", "alpha", "127.0.0.1:2254", 7, "up", True)
        self.other = Member("1c6f", "", "127.0.0.1:2255", 8, "down", False)
        self.joining: Deferred[list[Member]] = Deferred()
        self.joined: list[tuple[str, int]] = []
        self.told: list[tuple[str, str]] = []
        self.forgotten: list[str] = []

    def join(self, host: str, port: int) -> Deferred[list[Member]]:
        self.joined.append((host, port))
        return self.joining

    def leave(self) -> Deferred[None]:
        return succeed(None)

    def members(self) -> list[Member]:
        return [self.me, self.other]

    def tell(self, target: str, text: str) -> Deferred[list[Delivery]]:
        self.told.append((target, text))
        return succeed([Delivery("beta", True), Delivery("gamma", False, "it is down")])

    def view(self) -> Deferred[MeshView]:
        return succeed(MeshView(["alpha", "beta"], [["self", "linked"], ["unknown", "unknown"]]))

    def forget(self, target: str) -> None:
        self.forgotten.append(target)


class FakeCourier:
    """The traffic with other nodes where there are none."""

    def __init__(self, processes: Processes) -> None:
        self.images = Images()
        self.ask = FakeAsking(processes)
        self.lost = 0

    def exchanges(self) -> list[Exchange]:
        return []


class FakeAsking:
    """Questions where nobody else is."""

    name = "alpha"

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def neighbour(self, target: str) -> None:
        if target != self.name:
            raise CommandError(f"{target} is not up; !cluster_members lists who is")

    def list_all(self) -> Deferred[Listing]:
        return succeed(self._processes.views.listing(self.name))

    def whereis(self, name: str, node: str) -> Deferred[int]:
        return self.find(self._processes.names.whereis(name), node)

    def find(self, pid: int, node: str) -> Deferred[int]:
        try:
            self.neighbour(node)
        except CommandError as error:
            return fail(error)
        return succeed(pid if self._processes.is_alive(pid) else 0)

    def home_of(self, pid: int) -> None:
        return None

    def home(self, pid: int) -> None:
        return None

    def label(self, pid: int) -> str:
        return str(pid)

    def observe(self, pid: int, observer: object) -> None:
        return None


class FakeSupervisor:
    """Applications that run nowhere."""

    def __init__(self) -> None:
        self.deployed: list[Package] = []
        self.stopped: list[str] = []
        self.images: dict[str, bytes] = {}
        self.uploads = Uploads(lambda: 0.0)
        self.shown: list[ApplicationView] = []

    def applications(self) -> list[ApplicationView]:
        return self.shown

    def has_image(self, digest: str) -> bool:
        return digest in self.images

    def upload(self, digest: str, size: int, offset: int, piece: bytes) -> bool:
        whole = self.uploads.add(digest, size, offset, piece)
        if whole is not None:
            self.images[digest] = whole
        return whole is not None

    def deploy(self, package: Package) -> ApplicationView:
        self.deployed.append(package)
        replicas = [
            ReplicaView(p.name, r, "starting", "alpha") for p in package.programs for r in p.replicas_on("x")
        ]
        self.shown = [ApplicationView(package.name, 5, False, replicas)]
        return self.shown[0]

    def stop_application(self, name: str) -> ApplicationView:
        self.stopped.append(name)
        return ApplicationView(name, 6, True, [])

    def rebalance(self, name: str | None = None) -> list[str]:
        return [name] if name else [view.name for view in self.shown]


class FakeNode:
    """A node without a network."""

    def __init__(self, programs_dir: Path = Path("/nonexistent"), limits: Limits = DEFAULTS) -> None:
        self.reactor = ReactorClock()
        self.scheduler = Scheduler(self.reactor, limits=limits)
        self.events = EventRing(wall_clock=self.reactor.seconds)
        self.processes = Processes(self.scheduler, self.events)
        self.courier = FakeCourier(self.processes)
        self.reach = Reach(self.processes, self.courier)
        self.texts = FakeTexts()
        self.mesh = FakeMesh()
        self.supervisor: FakeSupervisor | None = FakeSupervisor()
        self.programs_dir = programs_dir
        self.logical_cores = 2
        self.limits = limits
        self.in_use: dict[str, Callable[[], int]] = {}
        self.listening: list[tuple[str | None, int | None]] = []

    @property
    def newcomers(self) -> FakeNode:
        return self

    def make_token(self, host: str = "") -> Deferred[Token]:
        return succeed(Token("iridium", f"{host or '127.0.0.1'}:2254", 4000, b"f" * 32, b"s" * 32))

    def join_with(self, token: str) -> Deferred[list[Member]]:
        parse_token(token)
        return self.mesh.join("127.0.0.1", 2254)

    def leave(self) -> Deferred[None]:
        return self.mesh.leave()

    def start_cluster(self, host: str | None = None, port: int | None = None) -> str:
        self.listening.append((host, port))
        return f"{host or '127.0.0.1'}:{port or 2254}"


class Person:
    """Somebody in front of a session.

    Attributes:
        node, session: the other side.
        seen: all that was written.
        closed: how often the session closed the connection.
    """

    def __init__(self, node: FakeNode | None = None, *, local: bool = False, role: Role = Role.OPERATOR) -> None:
        self.node = node or FakeNode()
        self.seen = ""
        self.closed = 0
        self.session = Session(self.node, self._write, self._close, local=local, role=role)
        self.session.start()
        self.read()

    def _write(self, text: str) -> None:
        self.seen += text

    def _close(self) -> None:
        self.closed += 1

    def read(self) -> str:
        """What was written since the last time."""
        seen, self.seen = self.seen, ""
        return seen

    def type(self, *lines: str, rounds: int = 50) -> str:
        """Type lines, wait a while after each, and read the answers."""
        for line in lines:
            self.session.line(line)
            self.node.reactor.settle(rounds)
        return self.read()

    def registers(self) -> list[int]:
        """The integer registers of the session's machine."""
        return list(self.session.workspace.vm.record.registers)


class TcpTransport(StringTransport):
    """A TCP connection whose peer may stop reading: after 64 KiB the producer is told so, as Twisted does."""

    BUFFER = 64 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.unread = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.reads:
            self.unread += len(data)
            if self.unread > self.BUFFER and self.producer is not None:
                self.producer.pauseProducing()

    def read_again(self) -> None:
        """The peer reads what there is."""
        self.reads = True
        self.unread = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Peer:
    """The other end of a connection to a REPL port.

    Attributes:
        factory, node, tcp, telnet: the port, its node, the connection, the protocol on it.
    """

    def __init__(self, factory: ReplFactory | None = None) -> None:
        self.factory = factory or ReplFactory(FakeNode())
        self.node: Any = self.factory.node
        self.tcp = TcpTransport()
        self.telnet: ReplTransport = self.factory.buildProtocol(None)
        self.telnet.makeConnection(self.tcp)

    def send(self, data: bytes | str, rounds: int = 50) -> str:
        """Send bytes, or lines without their ends, wait a while, and read the answer."""
        self.telnet.dataReceived(data if isinstance(data, bytes) else f"{data}\r\n".encode())
        self.node.reactor.settle(rounds)
        return self.read()

    def read(self) -> str:
        """What came since the last time, with plain newlines."""
        data = self.tcp.value()
        self.tcp.clear()
        return data.decode(errors="backslashreplace").replace("\r\n", "\n")

    def wait(self, seconds: float, rounds: int = 50) -> str:
        """Let time pass, and read."""
        self.node.reactor.advance(seconds)
        self.node.reactor.settle(rounds)
        return self.read()

    def end_input(self, rounds: int = 50) -> str:
        """Send no more, wait a while, and read."""
        self.telnet.readConnectionLost()
        self.node.reactor.settle(rounds)
        return self.read()

    def hang_up(self) -> None:
        """Lose the connection."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.telnet.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the other end closed the connection."""
        return bool(self.tcp.disconnecting)
