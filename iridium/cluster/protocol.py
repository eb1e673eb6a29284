"""The cluster port's Twisted side of a link: bytes from the transport to the machine, and back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.cluster.link import Link, Role
from iridium.cluster.peer import Dial

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh


FLUSH = 5.0
"""Seconds that a peer has to take the last words of a closed link."""

AT_ONCE = 16 * 1024
"""Bytes that are given to the system at once, not when the reactor has asked it whether it takes them: an answer
that is waited for comes that much sooner."""

UNACKNOWLEDGED = 12.0
"""Seconds that bytes may stay unacknowledged: five tries of TCP. Linux alone keeps a dead link for 15 minutes."""


def _give_up_after(transport: Any, seconds: float) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT") and hasattr(transport, "getHandle"):
        transport.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))


def _is_empty(transport: Any) -> bool:
    """Whether a transport writes to a socket of its own, and nothing waits in it that must go first."""
    empty = getattr(transport, "dataBuffer", None) == b"" and not transport._tempDataBuffer
    return bool(transport.connected and empty)


@implementer(IPushProducer)
class ClusterProtocol(Protocol):
    """One connection of the mesh.

    Args:
        mesh: whose it is.
        dial: what it was dialled for, or None when the peer connected.
    """

    transport: Any  # ITCPTransport, once connected

    def __init__(self, mesh: Mesh, dial: Dial | None = None) -> None:
        self._mesh = mesh
        self._dial = dial
        self._paused = False
        self._ending: Any = None
        self.link: Link | None = None

    def connectionMade(self) -> None:
        """Make the link, unless nobody wants it any more."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        _give_up_after(self.transport, UNACKNOWLEDGED)
        host = self.transport.getPeer().host
        machine = self._mesh.machine
        if self._dial is not None:
            self.link = machine.dialler.connected(self._dial, host)
        else:
            self.link = Link(Role.ACCEPTOR, host, machine.clock(), self._mesh.output, limits=machine.limits)
            machine.connection_made(self.link)
        if self.link is None:
            self.transport.abortConnection()
            return
        self.transport.registerProducer(self, True)
        self._mesh.connected(self.link, self)

    def dataReceived(self, data: bytes) -> None:
        """Feed the machine."""
        if self.link is not None and not self.link.closed:
            self._mesh.receive(self.link, data)

    def flush(self) -> None:
        """Write what the link has queued, in one piece; close the connection if the link is closed."""
        link = self.link
        if link is None or self.transport is None or self._paused:
            if link is not None and link.closed and self.transport is not None:
                self.transport.abortConnection()  # the peer does not read: nothing can be told to it
            return
        data = link.data_to_send()
        if data:
            if len(data) <= AT_ONCE and _is_empty(self.transport):
                written = self.transport.writeSomeData(data)
                # What is wrong with the connection the transport finds again.
                data = data[max(0, written if isinstance(written, int) else 0) :]
            if data:
                self.transport.write(data)
        if link.closed and self._ending is None:
            # Without a producer, or the transport would wait for its leave to close; and not for ever.
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            self._ending = self._mesh.later(FLUSH, self.transport.abortConnection)

    def pauseProducing(self) -> None:
        """The peer does not read; what is said to it waits in the link, which has a limit."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The peer reads again."""
        self._paused = False
        self.flush()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._paused = True

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell the machine, which decides what follows."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        if self.link is not None:
            self._mesh.disconnected(self.link)


class ClusterFactory(Factory):
    """Makes protocols for the peers that connect.

    Args:
        mesh: whose port it is.
    """

    noisy = False

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def buildProtocol(self, addr: IAddress | None) -> ClusterProtocol | None:
        """A protocol for a new connection, or None when too many are unfinished."""
        host = getattr(addr, "host", "somebody")
        full = self._mesh.no_room(host)
        if not full:
            return ClusterProtocol(self._mesh)
        self._mesh.complain(host, full)
        return None
