"""The cluster port's Twisted side of a link: bytes from the transport to the machine, and back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role
from iridium.cluster.peer import Dial
from iridium.cluster.tls import ALERT_BYTE, GET_ONE, HANDSHAKE_BYTE, Channel, ClusterTls, TlsError
from iridium.cluster.vouching import TlsPeer

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh


FLUSH = 5.0
"""Seconds that a peer has to take the last words of a closed link."""

MOST_UNHEARD = 64 * 1024
"""Bytes that are read from a peer which was turned away, so that it reads why: more than it can say in that time
if it means well."""

AT_ONCE = 16 * 1024
"""Bytes that are given to the system at once, not when the reactor has asked it whether it takes them: an answer
that is waited for comes that much sooner."""

STRANGERS_PART = 8 * 1024
"""Bytes that are read in one turn of the reactor from who is not accepted yet: a handshake has hardly more, and
what waits of hundreds in their handshakes is no memory worth counting."""

UNACKNOWLEDGED = 12.0
"""Seconds that bytes may stay unacknowledged: five tries of TCP. Linux alone keeps a dead link for 15 minutes."""

ONLY_TLS = "this node speaks TLS only"
NO_TLS = "this node has no certificate, and speaks no TLS"


def _give_up_after(transport: Any, seconds: float) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT") and hasattr(transport, "getHandle"):
        transport.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))


def _is_empty(transport: Any) -> bool:
    """Whether a transport writes to a socket of its own, and nothing waits in it that must go first."""
    empty = getattr(transport, "dataBuffer", None) == b"" and not transport._tempDataBuffer
    return bool(transport.connected and empty)


@implementer(IPushProducer)
class ClusterProtocol(Protocol):
    """One connection of the mesh, with TLS if the mesh has it.

    Args:
        mesh: whose it is.
        dial: what it was dialled for, or None when the peer connected.

    Attributes:
        link: its link; None until there is one, which with TLS is after its handshake.
        began: when the connection was made.
        dialled, host: whether this node made it, and to or from which host.
    """

    transport: Any  # ITCPTransport, once connected

    def __init__(self, mesh: Mesh, dial: Dial | None = None) -> None:
        self._mesh = mesh
        self._dial = dial
        self._paused = False
        self._ending: Any = None
        self._tls: ClusterTls | None = None
        self._channel: Channel | None = None  # once there is something to say in it
        self._heard = False
        self._unheard = 0
        self._held = b""  # of a TLS handshake, until there is time for it
        self._waits = False
        self._part: int | None = None  # what the transport reads at a time from a peer
        self.link: Link | None = None
        self.began = 0.0
        self.dialled = dial is not None
        self.host = ""

    def connectionMade(self) -> None:
        """Make the link, or first agree on TLS."""
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        _give_up_after(self.transport, UNACKNOWLEDGED)
        self.began = self._mesh.machine.clock()
        self.host = self.transport.getPeer().host
        self._part = getattr(self.transport, "bufferSize", None)
        self.transport.bufferSize = STRANGERS_PART
        self._tls = self._mesh.tls
        if self._tls is None:
            self._begin(None)
            return
        self._mesh.greet(self)
        if self._dial is not None:
            self._channel = self._tls.channel(Role.DIALLER)
            self._channel.receive(b"")
            self.transport.write(self._channel.outgoing())

    def _begin(self, peer: TlsPeer | None) -> None:
        """Make the link, unless nobody wants it any more."""
        host, machine = self.host, self._mesh.machine
        self._mesh.greeted(self)
        if self._dial is not None:
            self.link = machine.dialler.connected(self._dial, host, peer)
        else:
            self.link = Link(
                Role.ACCEPTOR, host, machine.clock(), self._mesh.output, limits=machine.limits, peer=peer
            )
            machine.connection_made(self.link)
        if self.link is None:
            self.transport.abortConnection()
            return
        self.link.began = self.began
        self.transport.registerProducer(self, True)
        self._mesh.connected(self.link, self)

    def dataReceived(self, data: bytes) -> None:
        """Feed the machine."""
        if self._ending is not None and self.link is None:
            self._unheard += len(data)
            if self._unheard > MOST_UNHEARD:
                self.transport.abortConnection()
            return
        if not self._heard:
            self._heard = True
            if (data[0] in (HANDSHAKE_BYTE, ALERT_BYTE)) != (self._tls is not None):
                self._speaks_otherwise()
                return
        if self._tls is None or self.link is not None:
            self._take(data)
            return
        self._held = data
        if self._channel is None:
            self._mesh.engage(self)
        else:
            self._mesh.turns.do(self._take_held)
        if self._held:
            self._waits = True
            self.transport.pauseProducing()

    def engage(self) -> None:
        """There is room for one more whose TLS has begun."""
        assert self._tls is not None
        self._channel = self._tls.channel(Role.ACCEPTOR)
        self._mesh.turns.do(self._take_held)

    def _take_held(self) -> None:
        data, self._held = self._held, b""
        if self._waits:
            self._waits = False
            self.transport.resumeProducing()
        if data:  # else the connection is gone
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._channel is not None:
            data = self._opened(self._channel, data)
        link = self.link
        if data and link is not None and not link.closed:
            self._mesh.receive(link, data)
            if self._part is not None and link.open:
                self.transport.bufferSize, self._part = self._part, None

    # --- TLS ---

    def _opened(self, channel: Channel, data: bytes) -> bytes:
        """What is said in bytes of TLS; the link is made as soon as it is known who is there."""
        try:
            said = channel.receive(data)
        except TlsError as error:
            self._failed(error)
            return b""
        if self.link is None:  # later, what OpenSSL has to say leaves with what we have
            answer = channel.outgoing()
            if answer:
                self.transport.write(answer)
            if channel.peer is not None:
                self._begin(channel.peer)
        if channel.ended:
            # Whoever says that nothing follows hears nothing more either.
            self.transport.loseConnection()
        return said

    def _failed(self, error: TlsError) -> None:
        """TLS came to nothing: tell the peer, and whoever waits here."""
        channel, link = self._channel, self.link
        assert channel is not None
        if link is None:
            if self._dial is None:
                self._mesh.complain(self.host, str(error))
            self._turn_away(channel.outgoing())
            if self._dial is not None:
                self._mesh.broken(self._dial, "silent", str(error))
        elif not self._mesh.rejected(link, error):
            self._mesh.misbehaved(link, error)

    def _speaks_otherwise(self) -> None:
        """One end speaks TLS and the other does not: both are told in words that they understand."""
        host = self.host
        link = self.link
        if self._tls is None:
            if link is None or link.closed:
                return
            if self._dial is not None:
                self._mesh.machine.link_lost(link, f"it speaks TLS; {NO_TLS}; {GET_ONE}")
                return
            self._mesh.complain(host, f"it speaks TLS; {NO_TLS}")
            self._mesh.machine.handshakes.pop(link, None)
            link.refuse("NOT_ALLOWED", NO_TLS, GET_ONE)
        elif self._dial is not None:
            self._turn_away(b"")
            self._mesh.broken(self._dial, "silent", f"it speaks no TLS; {GET_ONE}")
        else:
            self._mesh.complain(host, f"it speaks no TLS; {GET_ONE}")
            self._turn_away(m.encode(m.Refuse("NOT_ALLOWED", ONLY_TLS, GET_ONE)))

    def _turn_away(self, last_words: bytes) -> None:
        """Close a connection that never had a link, once the peer has read why.

        What it sends meanwhile is read and dropped: were it left in the socket, the system would reset the
        connection, and the last words might be lost with it.
        """
        if last_words:
            self.transport.write(last_words)
        self.transport.loseWriteConnection()
        self._ending = self._mesh.later(FLUSH, self.transport.abortConnection)

    def give_up(self, problem: str = "") -> None:
        """The TLS handshake takes too long, or nobody wants it any more."""
        self._mesh.greeted(self)
        if self._ending is None:
            if self._dial is not None:
                self._mesh.broken(self._dial, "silent", problem)
            elif problem:
                self._mesh.complain(self.host, problem)
        self.transport.abortConnection()

    def hang_up(self) -> None:
        """Nobody wants the connection any more."""
        self.transport.abortConnection()

    # --- both ---

    def flush(self) -> None:
        """Write what the link has queued, in one piece; close the connection if the link is closed."""
        link = self.link
        if link is None or self.transport is None or self._paused:
            if link is not None and link.closed and self.transport is not None:
                self.transport.abortConnection()  # the peer does not read: nothing can be told to it
            return
        data = link.data_to_send()
        if self._channel is not None:
            data = self._sealed(self._channel, data, link.closed and self._ending is None)
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

    def _sealed(self, channel: Channel, data: bytes, last: bool) -> bytes:
        try:
            sealed = channel.send(data) if data else b""
        except TlsError:
            return b""  # whoever reads next learns why
        return sealed + channel.end() if last else sealed

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
        self._held, self._waits = b"", False
        self._mesh.greeted(self)
        if self.link is not None:
            self._mesh.disconnected(self.link)
        elif self._dial is not None:
            self._mesh.broken(self._dial, "closed", "it hung up before TLS was agreed on; perhaps it has none")


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
