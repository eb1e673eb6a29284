"""The REPL port: sessions over telnet, or over ``nc``, and the limits of a port that strangers reach."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import Any

from twisted.conch import telnet
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.repl.iac import ReplTransport
from iridium.repl.intake import Intake
from iridium.repl.lines import BadLineError, LineReader
from iridium.repl.screen import PROMPT
from iridium.repl.services import Node
from iridium.repl.session import Session
from iridium.roles import Role
from iridium.throttle import Throttle

LINGER = 60.0
"""Seconds that all the rest may take after the end of the input, when nobody can type ``!stop`` any more."""

FLUSH = 10.0
"""Seconds that a connection may take to send the rest of its output once it is closed from this end."""

AT_ONCE = 8 * 1024
"""Bytes that are read in one turn of the reactor: in telnet commands alone they are a few milliseconds of work,
after which the others have theirs."""

MAX_REPLIES = 4096
"""Bytes of answers to telnet commands while the peer does not read; one that wants more wants to fill memory."""

MAX_REPEATED = 1024
"""Characters of the report of an interrupt that are written once more: a few lines."""

_CTRL_C = re.compile(b"\x03+")
"""What Ctrl-C sends where the terminal does not turn it into a telnet command."""

_HTTP = re.compile(r"HTTP/1\.\S\s*\Z")


@implementer(IPushProducer)
class ReplProtocol(telnet.TelnetProtocol):
    """One connection to the REPL port.

    Args:
        factory: the port.

    Attributes:
        peer: its address, for the log.
        session: the session.
        closing: whether it is over from this end.
    """

    transport: Any

    def __init__(self, factory: ReplFactory) -> None:
        self.factory = factory
        self.peer = "somebody"
        self._clock = factory.clock
        self._reader = LineReader(factory.limits.session_line)
        self.session = Session(factory.node, self._write, self._close, role=factory.role, on_idle=self._done)
        self._intake = Intake(self.session, self._clock, self._read)
        self._timer: Any = None
        self._linger: Any = None
        self._spoke = False
        self._active = self._clock.seconds()
        # What was written since an interrupt, for telnet's timing mark.
        self._unseen: list[str] | None = None
        self._paused = False
        self._replies = 0
        self._input_ended = False
        self.closing = False

    def connectionMade(self) -> None:
        """Greet, or refuse for want of room."""
        tcp = self._tcp = self.transport.transport
        peer = self.transport.getPeer()
        if isinstance(peer, (IPv4Address, IPv6Address)):
            self.peer = f"{peer.host}:{peer.port}"
        if ITCPTransport.providedBy(tcp):
            _configure(tcp)
        tcp.registerProducer(self, True)
        if not self.factory.admit(self):
            self._write("Iridium has no room for another session; try again later\n")
            self._close()
            return
        self._timer = self._clock.callLater(self.factory.limits.first_line, self._check_idle)
        self.session.start()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything."""
        self.closing = True
        for call in (self._timer, self._linger):
            if call is not None and call.active():
                call.cancel()
        self._intake.stop()
        self.session.end()
        self.factory.released(self)

    # Bytes in.

    def dataReceived(self, data: bytes) -> None:
        """Take text, from which the telnet commands are removed."""
        first, *rest = _CTRL_C.split(data)
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
                self._write(answer)

    def timingMark(self) -> None:
        """The peer has had the answer to a timing mark, which telnet sends after an interrupt.

        Until then it throws away what it receives. So the report of the interrupt is written once more, or the
        prompt where there was nothing to interrupt.
        """
        unseen, self._unseen = self._unseen, None
        if unseen is not None and self._may_reply(MAX_REPEATED):
            self._write("\n" + ("".join(unseen)[-MAX_REPEATED:] or PROMPT))

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
        if self.closing or self._input_ended:
            return
        self._take(self._reader.finish())
        self._input_ended = True
        if self.session.attended:
            self.session.interrupt()
        self._linger = self._clock.callLater(
            LINGER, self.end, f"stopped, because the input ended {LINGER:.0f} s ago"
        )
        self._done()

    def _interrupt(self) -> None:
        self._reader.interrupt()
        self.session.interrupt()

    def _may_reply(self, size: int) -> bool:
        """Whether the peer may have an answer that it does not wait for; if not, it is thrown out."""
        self._replies = self._replies + size if self._paused else 0
        if self._replies > MAX_REPLIES:
            self.abuse("telnet commands without reading the answers")
            self._abort()
        return not self.closing

    def _take(self, lines: Iterable[str | BadLineError]) -> None:
        for line in lines:
            if self.closing:
                return
            if not self._spoke:
                self._spoke = True
                self.factory.spoke(self)
                if isinstance(line, str) and _HTTP.search(line):
                    self.abuse("an HTTP request")
                    self._close()
                    return
            self._active = self._clock.seconds()
            self._unseen = None
            if isinstance(line, BadLineError):
                self.abuse(f"a line that is {line.kind}")
            self._intake.add(line)
        self._intake.feed()

    def _read(self, go: bool) -> None:
        """Read from the peer, or do not."""
        if not self.closing and not self._input_ended:
            (self._tcp.resumeProducing if go else self._tcp.pauseProducing)()

    def _done(self) -> None:
        """The session can take a line."""
        self._active = self._clock.seconds()
        self._intake.feed()
        if self._input_ended and self._intake.empty and not self.session.busy:
            self._close()

    # Output, and whether the peer reads it.

    def _write(self, text: str) -> None:
        if self._unseen is not None:
            self._unseen.append(text[-MAX_REPEATED:])
            del self._unseen[:-8]
        self.transport.write(text.encode())

    def pauseProducing(self) -> None:
        """The peer does not read what it has."""
        self._paused = True
        self._intake.pause()
        self.session.pause_output()

    def resumeProducing(self) -> None:
        """It does again."""
        self._paused = False
        # First the lines: a program that prints without end would pause the output again at once.
        self._intake.resume()
        self.session.resume_output()

    def stopProducing(self) -> None:
        """The connection is about to be lost."""

    # The end.

    def _check_idle(self) -> None:
        self._timer = None
        if not self._spoke:
            self.abuse("no first line")
            self.end(f"no line came in {self.factory.limits.first_line:g} s")
            return
        if self.session.busy and not self._paused:
            self._active = self._clock.seconds()
        rest = self._active + self.factory.limits.idle - self._clock.seconds()
        if rest <= 0:
            self.end(f"no line came for {self.factory.limits.idle / 60:g} minutes")
        else:
            self._timer = self._clock.callLater(rest, self._check_idle)

    def end(self, reason: str) -> None:
        """Say why and close."""
        if self.closing:
            return
        if self._paused:
            self._abort()
        else:
            self._write(f"\n{reason}; the session is closed\n")
            self._close()

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well."""
        self.factory.complain(kind, self.peer)

    def _close(self) -> None:
        """Send what there is and close; the rest happens when the connection is lost."""
        if self.closing:
            return
        self.closing = True
        self._intake.stop()
        self.session.end()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(FLUSH, self._tcp.abortConnection)
        # A connection with a producer waits for it before it closes.
        self._tcp.unregisterProducer()
        self._tcp.loseConnection()

    def _abort(self) -> None:
        self.closing = True
        self._intake.stop()
        self.session.end()
        self._tcp.abortConnection()


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

    Attributes:
        node, role: as given.
        clock: the node's reactor, for timers.
        limits: the node's.
    """

    _log = Logger(namespace="iridium")

    noisy = False

    def __init__(self, node: Node, role: Role = Role.OPERATOR) -> None:
        self.node = node
        self.role = role
        self.clock = node.reactor
        self.limits = node.limits
        self._throttle = Throttle(self.limits.stranger_log)
        node.in_use["sessions"] = lambda: self.sessions
        # Both in the order in which they came; dicts, because a set has no order.
        self._open: dict[ReplProtocol, None] = {}
        self._silent: dict[ReplProtocol, None] = {}

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(self._open)

    def buildProtocol(self, addr: Any) -> ReplTransport:
        """A new connection."""
        transport = ReplTransport(ReplProtocol, self)
        transport.factory = self
        return transport

    def admit(self, protocol: ReplProtocol) -> bool:
        """Whether there is room for a session; the one that has been silent longest may have to make it."""
        if len(self._open) >= self.limits.sessions:
            protocol.abuse("all sessions are taken")
            if not self._silent:
                return False
            oldest = next(iter(self._silent))
            self.released(oldest)
            oldest.end("no line came, and somebody else wants the session")
        self._open[protocol] = self._silent[protocol] = None
        return True

    def complain(self, kind: str, peer: str) -> None:
        """A line in the log about what somebody does, not for each of a flood.

        Args:
            kind: some words of this program, never of a peer.
            peer: who it is.
        """
        unsaid = self._throttle.ask(self.clock.seconds(), kind)
        if unsaid is not None:
            more = f" (and {unsaid} others)" if unsaid else ""
            self._log.warn("REPL port: {kind}, from {peer}{more}", kind=kind, peer=peer, more=more)

    def spoke(self, protocol: ReplProtocol) -> None:
        """A session has sent its first line."""
        self._silent.pop(protocol, None)

    def released(self, protocol: ReplProtocol) -> None:
        """A session is over."""
        self._open.pop(protocol, None)
        self._silent.pop(protocol, None)

    def stop(self) -> None:
        """Close every session; for the end of the node."""
        for protocol in list(self._open):
            protocol.end("the node stops")
