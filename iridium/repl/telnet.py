"""The REPL port: sessions over telnet, or over ``nc``."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from twisted.conch import telnet
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.repl.complaints import Complaints
from iridium.repl.conversation import Conversation
from iridium.repl.iac import ReplTransport
from iridium.repl.lines import BadLineError, LineReader, split_interrupts
from iridium.repl.screen import PROMPT
from iridium.repl.services import Node
from iridium.repl.sessions import Sessions
from iridium.roles import Role

AT_ONCE = 8 * 1024
"""Bytes that are read in one turn of the reactor: in telnet commands alone they are a few milliseconds of work,
after which the others have theirs."""

MAX_REPLIES = 4096
"""Bytes of answers to telnet commands while the peer does not read; one that wants more wants to fill memory."""

MAX_REPEATED = 1024
"""Characters of the report of an interrupt that are written once more: a few lines."""


@implementer(IPushProducer)
class ReplProtocol(telnet.TelnetProtocol):
    """One connection to the REPL port.

    Args:
        factory: the port.

    Attributes:
        peer: its address, for the log.
        conversation: the session with it.
    """

    transport: Any

    def __init__(self, factory: ReplFactory) -> None:
        self.factory = factory
        self.peer = "somebody"
        self._reader = LineReader(factory.sessions.limits.session_line)
        self.conversation = Conversation(factory.sessions, self, role=factory.role)
        # What was written since an interrupt, for telnet's timing mark.
        self._unseen: list[str] | None = None
        self._replies = 0

    @property
    def closing(self) -> bool:
        """Whether it is over from this end."""
        return self.conversation.closing

    def connectionMade(self) -> None:
        """Greet, or refuse for want of room."""
        tcp = self._tcp = self.transport.transport
        peer = self.transport.getPeer()
        if isinstance(peer, (IPv4Address, IPv6Address)):
            self.peer = f"{peer.host}:{peer.port}"
        if ITCPTransport.providedBy(tcp):
            _configure(tcp)
        tcp.registerProducer(self, True)
        self.conversation.open()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything."""
        self.conversation.lost()

    # Bytes in.

    def dataReceived(self, data: bytes) -> None:
        """Take text, from which the telnet commands are removed."""
        first, *rest = split_interrupts(data)
        self._take(self._reader.feed(first))
        for piece in rest:
            self._interrupt()
            self._take(self._reader.feed(piece))

    def unhandledCommand(self, command: bytes, argument: bytes | None) -> None:
        """Take a telnet command."""
        if command in (telnet.IP, telnet.BRK):
            self._unseen = []
            self._interrupt()
        elif command == telnet.AYT:
            answer = "[Iridium: yes]\n"
            if self._may_reply(len(answer)):
                self.write(answer)

    def timingMark(self) -> None:
        """The peer has had the answer to a timing mark, which telnet sends after an interrupt.

        Until then it throws away what it receives. So the report of the interrupt is written once more, or the
        prompt where there was nothing to interrupt.
        """
        unseen, self._unseen = self._unseen, None
        if unseen is not None and self._may_reply(MAX_REPEATED):
            self.write("\n" + ("".join(unseen)[-MAX_REPEATED:] or PROMPT))

    def enableLocal(self, option: bytes) -> bool:
        """Refuse an option of this end; the answer goes out by itself."""
        self._may_reply(3)
        return False

    def enableRemote(self, option: bytes) -> bool:
        """Refuse an option of the other end."""
        self._may_reply(3)
        return False

    def inputEnded(self) -> None:
        """The peer sends no more: end the session once everything is done."""
        if not self.closing and not self.conversation.input_ended:
            self._take(self._reader.finish())
            self.conversation.end_input()

    def _interrupt(self) -> None:
        self._reader.interrupt()
        self.conversation.session.interrupt()

    def _may_reply(self, size: int) -> bool:
        """Whether the peer may have an answer that it does not wait for; if not, it is thrown out."""
        self._replies = self._replies + size if self.conversation.paused else 0
        if self._replies > MAX_REPLIES:
            self.abuse("telnet commands without reading the answers")
            self.conversation.abort()
        return not self.closing

    def _take(self, lines: Iterable[str | BadLineError]) -> None:
        lines = list(lines)
        if lines:
            self._unseen = None
        self.conversation.take(lines)

    # What carries the conversation.

    def write(self, text: str) -> None:
        """Send text."""
        if self._unseen is not None:
            self._unseen.append(text[-MAX_REPEATED:])
            del self._unseen[:-8]
        self.transport.write(text.encode())

    def read(self, go: bool) -> None:
        """Read from the peer, or do not."""
        (self._tcp.resumeProducing if go else self._tcp.pauseProducing)()

    def close(self, failed: bool) -> None:
        """Send what there is and close."""
        # A connection with a producer waits for it before it closes.
        self._tcp.unregisterProducer()
        self._tcp.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        self._tcp.abortConnection()

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well."""
        self.factory.log.warn(kind, self.peer)

    def pauseProducing(self) -> None:
        """The peer does not read what it has."""
        self.conversation.pause()

    def resumeProducing(self) -> None:
        """It does again."""
        self.conversation.resume()

    def stopProducing(self) -> None:
        """The connection is about to be lost."""


def _configure(tcp: Any) -> None:
    """Set the options of a TCP connection to a person."""
    tcp.setTcpKeepAlive(True)
    tcp.setTcpNoDelay(True)
    tcp.bufferSize = AT_ONCE
    # Telnet marks an interrupt with an urgent byte. Out of band, it would be missing behind its IAC.
    if hasattr(tcp, "getHandle"):
        tcp.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


class ReplFactory(Factory):
    """The REPL port of a node.

    Args:
        node: the node.
        role: what its sessions may do.
        sessions: those of the node, which other ports share.

    Attributes:
        node, role, sessions: as given.
        log: what strangers did.
    """

    noisy = False

    def __init__(self, node: Node, role: Role = Role.OPERATOR, sessions: Sessions | None = None) -> None:
        self.node = node
        self.role = role
        self.sessions = Sessions(node) if sessions is None else sessions
        self.log = Complaints(node.reactor, node.limits.stranger_log)

    def buildProtocol(self, addr: Any) -> ReplTransport:
        """A new connection."""
        transport = ReplTransport(ReplProtocol, self)
        transport.factory = self
        return transport

    def stop(self) -> None:
        """Close every session; for the end of the node."""
        self.sessions.stop()
