"""Nodes with certificates for tests, in memory: two meshes, and a wire between them that a test can cut."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from iridium.cluster import certificates as c
from iridium.cluster.mesh import Mesh
from iridium.cluster.peer import Me
from iridium.cluster.protocol import ClusterFactory
from iridium.cluster.tls import ClusterTls
from iridium.errors import IridiumError
from iridium.events import EventRing

IDS = {name: f"0000000{at}-0000-4000-8000-000000000000" for at, name in enumerate("abc", 1)}
"""The ids of the nodes, by name."""

HOST = "127.0.0.1"

CA = c.make_ca("the tests'")
"""The CA of nodes that are to trust each other."""

OTHER_CA = c.make_ca("somebody else's")

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Unchecked(ClusterTls):
    """Certificates as they come, also those that a node would not start with."""

    def _shake_hands(self) -> None:
        pass


def credentials(
    ids: Sequence[str] = (),
    hosts: Sequence[str] = (),
    *,
    ca: c.Authority = CA,
    trusts: c.Authority | None = None,
    now: datetime.datetime | None = None,
) -> ClusterTls:
    """TLS of a node.

    Args:
        ids, hosts: whom its certificate is for.
        ca: who signs it.
        trusts: whom the node trusts, if that is another.
        now: when it is made.
    """
    from cryptography import x509

    key = c.make_key()
    own = x509.load_pem_x509_certificate(c.issue(c.make_csr(key), ids, hosts, ca, now=now))
    return Unchecked([own], key, [(trusts or ca).certificate])


class End:
    """A transport: one end of a wire.

    Attributes:
        protocol: whose it is.
        sent: what it was given, and is not carried yet.
        taken: bytes carried from it.
        paused: whether its protocol wants nothing to read for now.
    """

    def __init__(self) -> None:
        self.protocol: Any = None
        self.connected = True
        self.other: End
        self.sent = b""
        self.taken = 0
        self.closing = self.half = self.gone = self.paused = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        if not self.gone and not self.half:
            self.sent += data

    def loseConnection(self) -> None:
        self.closing = True

    def loseWriteConnection(self) -> None:
        self.half = True

    def abortConnection(self) -> None:
        self.sent = b""
        self.lose(ConnectionLost())
        self.other.lose(ConnectionLost())

    def lose(self, why: Exception) -> None:
        """The connection is gone."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(why))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", HOST, 40000)

    def setTcpNoDelay(self, on: bool) -> None: ...
    def setTcpKeepAlive(self, on: bool) -> None: ...


class Wire:
    """A connection between two protocols.

    Attributes:
        carried: bytes that went over it, both ways.
    """

    def __init__(self, dialler: Any, acceptor: Any) -> None:
        self.ends = End(), End()
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        self.carried = 0
        for end, protocol in zip(self.ends, (dialler, acceptor), strict=True):
            end.protocol = protocol
        for end in self.ends:
            end.protocol.makeConnection(end)

    def carry(self, most: int = 1 << 30) -> bool:
        """Carry what was written, at most so many bytes in all; whether anything happened."""
        happened = False
        for end in self.ends:
            piece = end.sent[: max(0, most - self.carried)]
            if piece and not end.other.gone:
                end.sent = end.sent[len(piece) :]
                self.carried += len(piece)
                end.other.protocol.dataReceived(piece)
                happened = True
            if (end.closing or end.half) and not end.sent and not end.other.gone and not end.gone:
                end.other.lose(ConnectionDone())
                end.lose(ConnectionDone())
                happened = True
        return happened

    def cut(self) -> None:
        """The connection is reset."""
        for end in self.ends:
            end.lose(ConnectionLost())


class World:
    """Two nodes, a and b, with a clock of their own.

    Args:
        a, b: their TLS; None without.

    Attributes:
        members, problem: what came of b's join.
        log: what both told of those they hung up on.
    """

    def __init__(self, a: ClusterTls | None, b: ClusterTls | None) -> None:
        self.reactor = MemoryReactorClock()
        self.log: list[str] = []
        self.nodes = {name: self._node(name, tls) for name, tls in (("a", a), ("b", b))}
        self.a, self.b = self.nodes.values()
        self.members: Any = None
        self.problem: IridiumError | None = None
        self.wires: list[Wire] = []

    def _node(self, name: str, tls: ClusterTls | None) -> Mesh:
        me = Me(IDS[name], name, 1, "iridium")
        mesh = Mesh(self.reactor, me, EventRing(), lambda me, records: succeed(None), self.reactor.seconds)
        mesh.complain = lambda host, problem: self.log.append(problem)  # type: ignore[method-assign]
        mesh.listen(HOST, 0, f"{HOST}:{2254 + ord(name)}")
        mesh.start([])
        mesh.tls = tls
        return mesh

    def join(self) -> Wire:
        """Let b dial a; the wire of that."""
        joining = self.b.join(HOST, 2254 + ord("a"))
        joining.addCallbacks(self._joined, self._failed)
        return self.connect()

    def _joined(self, members: Any) -> None:
        self.members = members

    def _failed(self, failure: Failure) -> None:
        failure.trap(IridiumError)
        assert isinstance(failure.value, IridiumError)
        self.problem = failure.value

    def connect(self) -> Wire:
        """Make the connections that were asked for; the last of them."""
        asked, self.reactor.tcpClients = self.reactor.tcpClients, []
        for _, port, factory, *_ in asked:
            acceptor = ClusterFactory(self.nodes[chr(port - 2254)]).buildProtocol(None)
            dialler: Any = factory.buildProtocol(None)
            if acceptor is not None and dialler is not None:
                self.wires.append(Wire(dialler, acceptor))
        return self.wires[-1]

    def run(self, most: int = 1 << 30) -> None:
        """Carry until nothing happens any more."""
        idle = 0
        for _ in range(500):
            happened = [wire.carry(most) for wire in self.wires]
            self.reactor.advance(0.0)
            idle = 0 if any(happened) else idle + 1
            if idle > 2:  # what a turn of the reactor has written is carried in the next
                return
        raise AssertionError("they never stop talking")

    @property
    def linked(self) -> bool:
        """Whether both hold a link that is ready."""
        return all(any(peer.open_link for peer in mesh.machine.table.peers.values()) for mesh in (self.a, self.b))

    def stop(self) -> None:
        """End both; nothing is left of any connection, and nothing waits."""
        for mesh in (self.a, self.b):
            mesh.stop()
            assert not mesh.machine.greetings
            assert not mesh.machine.handshakes
        assert all(end.gone for wire in self.wires for end in wire.ends)
        self.reactor.advance(1.0)
        assert not self.reactor.getDelayedCalls()
