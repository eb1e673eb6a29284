"""Telnet under a session: the byte stream without its commands, whatever a peer sends.

Conch's own parser goes byte by byte and raises on what it does not know; this one goes from one IAC to the next,
and ignores what it does not know. Option negotiation is conch's: every option is refused.
"""

from __future__ import annotations

from typing import Any

from twisted.conch import telnet
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

_IAC = telnet.IAC
_NEGOTIATION = frozenset(b"".join((telnet.WILL, telnet.WONT, telnet.DO, telnet.DONT)))
_SB = telnet.SB[0]
_END = telnet.IAC + telnet.SE
_TIMING_MARK = telnet.IAC + telnet.DO + b"\x06"

MAX_SUBNEGOTIATION = 1024
"""Bytes of a subnegotiation that are waited for; all are ignored, and no real one is longer."""


@implementer(IHalfCloseableProtocol)
class ReplTransport(telnet.TelnetTransport):
    """Telnet on a TCP connection, for a :class:`iridium.repl.telnet.ReplProtocol`."""

    transport: Any
    factory: Any
    protocol: Any

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)  # type: ignore[no-untyped-call]
        self._held = b""

    def dataReceived(self, data: bytes) -> None:
        """Take a chunk from the network."""
        if self.protocol is None or self.protocol.closing:
            return
        if not self._held and _IAC not in data:
            self.applicationDataReceived(data)  # type: ignore[no-untyped-call]
            return
        data = self._held + data
        self._held = b""
        plain: list[bytes] = []
        at = 0
        while (found := data.find(_IAC, at)) >= 0:
            plain.append(data[at:found])
            at = self._sequence(data, found, plain)
            if at < 0:
                self._held = data[found:]
                break
        else:
            plain.append(data[at:])
        self._deliver(plain)

    def _sequence(self, data: bytes, start: int, plain: list[bytes]) -> int:
        """Do what starts with the IAC at ``start``; where the rest goes on, or -1 if it is not all here."""
        if len(data) - start < 2:
            return -1
        command = data[start + 1]
        if command == _IAC[0]:
            plain.append(_IAC)
            return start + 2
        if command == _SB:
            end = data.find(_END, start + 2, start + 2 + MAX_SUBNEGOTIATION)
            if end >= 0:
                return end + 2
            # One that does not end is taken for text, so that it can hold neither memory nor the session.
            return -1 if len(data) - start < 2 + MAX_SUBNEGOTIATION else start + 2
        argument = None
        if command in _NEGOTIATION:
            if len(data) - start < 3:
                return -1
            argument = data[start + 2 : start + 3]
        self._deliver(plain)
        self.commandReceived(bytes((command,)), argument)  # type: ignore[no-untyped-call]
        if data.startswith(_TIMING_MARK, start):
            self.protocol.timingMark()
        return start + 2 + (argument is not None)

    def _deliver(self, plain: list[bytes]) -> None:
        data = b"".join(plain)
        plain.clear()
        if data:
            self.applicationDataReceived(data)  # type: ignore[no-untyped-call]

    def readConnectionLost(self) -> None:
        """The peer sends no more, but may still read."""
        if self.protocol is not None:
            self.protocol.inputEnded()

    def writeConnectionLost(self) -> None:
        """The peer reads no more."""
        self.transport.loseConnection()
