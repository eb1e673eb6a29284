"""One connection to the SSH port, under its services: conch's transport, with bounds on what a stranger may do.

Conch raises whatever it raises on packets that are none, and logs what peers do. Here both end the connection with
one line in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.conch.ssh.transport import (
    DISCONNECT_BY_APPLICATION,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
    SSHServerTransport,
)
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.repl.conversation import FLUSH
from iridium.repl.ssh import algorithms
from iridium.repl.ssh.authentication import Authentication
from iridium.repl.ssh.authorized import AuthorizedKey
from iridium.repl.ssh.connection import Connection
from iridium.repl.ssh.packet import QUIET, PacketError
from iridium.repl.visible import shortened, visible

if TYPE_CHECKING:
    from iridium.repl.ssh.port import SshFactory

LOGIN = 20.0
"""Seconds until a peer must have logged in: a person with a pass phrase to type has typed it before."""

KEY_EXCHANGE = 20.0
"""Seconds that an exchange of keys may take; meanwhile all output waits."""

MAX_STRANGE = 64 * 1024
"""Bytes that a peer may send until it has logged in: with twenty keys on offer it is a third of it."""

MAX_VERSION = 255
"""Bytes of the first line, as the standard has it."""

MAX_UNREAD = 4 * 1024 * 1024
"""Bytes that are sent to a peer that does not read: ten sessions that notice and stop have a part of it each."""

REKEY = 1024 * 1024 * 1024
"""Bytes after which keys are exchanged again, as the standard recommends."""

_KEX_INIT, _NEW_KEYS, _KEX_DH_INIT = 20, 21, 30
_EVER = (1, 2, 3, 4, _KEX_INIT, _NEW_KEYS, _KEX_DH_INIT)
"""Messages of the transport that may come before there are keys."""
_ENCRYPTED = (*_EVER, 5, 7)
"""And those that may come after."""


@implementer(IPushProducer)
class SshTransport(SSHServerTransport):
    """A connection to the SSH port.

    Args:
        factory: the port.
        peer: its address, for the log.
        group: what its address counts as, where connections of an address are counted.

    Attributes:
        factory, peer, group: as given.
        key: the key it logged in with, or None.
        user: the name it logged in with.
        blocked: whether nothing should be sent for now: the peer does not read, or keys are being exchanged.
    """

    transport: Any
    factory: Any
    service: Any
    _log = QUIET

    # Only to a server that begins so OpenSSH's client tells that its output is closed (`ssh node ... | head`); any
    # other it would read no more, and wait for it.
    ourVersionString = b"SSH-2.0-OpenSSH_compatible_Iridium"
    supportedKeyExchanges = algorithms.KEY_EXCHANGES
    supportedPublicKeys = algorithms.HOST_KEYS
    supportedCiphers = algorithms.CIPHERS
    supportedMACs = algorithms.MACS
    supportedCompressions = algorithms.COMPRESSIONS

    def __init__(self, factory: SshFactory, peer: str, group: str) -> None:
        self.factory = factory
        self.peer = peer
        self.group = group
        self.key: AuthorizedKey | None = None
        self.user = ""
        self._clock = factory.clock
        self._closing = False
        self._received = 0
        self._sent = 0
        self._unread = 0
        self._full = False
        # What comes next of an exchange of keys.
        self._next_step = _KEX_INIT
        self._timers: dict[str, Any] = {}

    @property
    def blocked(self) -> bool:
        """Whether nothing should be sent for now."""
        return self._full or self._keyExchangeState != self._KEY_EXCHANGE_NONE

    def connectionMade(self) -> None:
        """Say hello."""
        self._start("login", LOGIN, f"no login within {LOGIN:.0f} s")
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        """Let go of everything."""
        self._closing = True
        for name in list(self._timers):
            self._cancel(name)
        service, self.service = self.service, None
        if service is not None:
            service.serviceStopped()
        self.factory.lost(self)

    # In.

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of the peer."""
        if self._closing:
            return
        if self.key is None:
            self._received += len(data)
            if self._received > MAX_STRANGE:
                self.abandon("too much before the login")
                return
        if not self.gotVersion:
            data = self._take_version(data)
            if not self.gotVersion:
                return
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        except PacketError as error:
            self._violated(str(error))
        except _MalformedError:
            self._violated("a packet that is none")

    def _take_version(self, data: bytes) -> bytes:
        """Look for the first line; what follows it, or nothing as long as it has not come."""
        first = self.buf + data
        line, end, rest = first.partition(b"\n")
        if not b"SSH-2.0-".startswith(line[:8]) or len(line) > MAX_VERSION or (end and len(line) < 8):
            # Not a word: whoever speaks HTTP, or anything else, would take it for an answer.
            self.abandon("something that is not SSH")
            return b""
        if not end:
            self.buf = first
            return b""
        self.gotVersion = True
        self.otherVersionString = line.rstrip(b"\r")
        self.buf = b""
        return rest

    def getPacket(self) -> bytes | None:
        """The next packet, if it is there."""
        try:
            packet: bytes | None = None if self._closing else super().getPacket()  # type: ignore[no-untyped-call]
        except Exception:
            # What it does to bytes of a peer involves nothing of ours.
            raise _MalformedError from None
        self.incomingPacketSequence &= 0xFFFFFFFF
        return packet

    def dispatchMessage(self, number: int, payload: bytes) -> None:
        """Take a packet."""
        if self._closing:
            return
        encrypted = self.sessionID is not None and self.isEncrypted("both")  # type: ignore[no-untyped-call]
        if number >= 50 and encrypted and self.service is not None:
            self.service.packetReceived(number, payload)
            return
        if number not in (_ENCRYPTED if encrypted else _EVER) or not self._in_turn(number):
            raise PacketError(f"message {number} out of turn")
        try:
            super().dispatchMessage(number, payload)  # type: ignore[no-untyped-call]
        except PacketError:
            raise
        except Exception:
            # Nothing of ours runs for messages of the transport: it is the peer's doing.
            raise _MalformedError from None

    def _in_turn(self, number: int) -> bool:
        """Whether a message comes when it may: keys come in three steps, each once."""
        return number not in (_KEX_INIT, _KEX_DH_INIT, _NEW_KEYS) or number == self._next_step

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """The peer is about to close."""
        self._closing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """The peer wants to log in; the other service begins when it has."""
        if packet != b"\0\0\0\x0cssh-userauth" or self.service is not None:
            self.sendDisconnect(DISCONNECT_SERVICE_NOT_AVAILABLE, b"log in first, and once")
            return
        self.sendPacket(6, packet)
        self.setService(Authentication())  # type: ignore[no-untyped-call]

    # Logging in.

    def authenticated(self, user: bytes, key: AuthorizedKey) -> None:
        """The peer has proved that it has a key."""
        self.key = key
        self.user = _name(user)
        self._cancel("login")
        self.factory.logged_in(self)
        self.setService(Connection())  # type: ignore[no-untyped-call]

    def refused(self, user: bytes, what: str) -> None:
        """The peer could not log in with this."""
        self.factory.log.warn("a refused login", f"{self.peer}, as {_name(user)}, with {what}")

    # Keys.

    def sendKexInit(self) -> None:
        """Begin to exchange keys; what goes to the channels waits."""
        self._sent = 0  # first, since this sends, too
        super().sendKexInit()  # type: ignore[no-untyped-call]
        self._start("keys", KEY_EXCHANGE, f"no keys within {KEY_EXCHANGE:.0f} s")
        self._tell_service()

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        """Tell which signatures of users are taken; conch would tell those of host keys."""
        taken = b",".join(name for names in algorithms.SIGNATURES.values() for name in names)
        super().sendExtInfo([(b"server-sig-algs", taken)])  # type: ignore[no-untyped-call]

    def ssh_KEXINIT(self, packet: bytes) -> None:
        """The peer says how it would exchange keys."""
        self._next_step = _KEX_DH_INIT
        super().ssh_KEXINIT(packet)

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        self._next_step = _NEW_KEYS
        super()._keySetup(sharedSecret, exchangeHash)

    def _newKeys(self) -> None:
        self._next_step = _KEX_INIT
        self._cancel("keys")
        super()._newKeys()  # type: ignore[no-untyped-call]
        self._unread = 0
        self._tell_service()

    # Out.

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Send a packet, or keep it while keys are exchanged."""
        if self._closing and messageType != 1:
            return
        if self.blocked and self.key is not None:
            self._unread += len(payload) + 64
            if self._unread > MAX_UNREAD:
                self.abandon("answers that are not read")
                return
        super().sendPacket(messageType, payload)  # type: ignore[no-untyped-call]
        self.outgoingPacketSequence &= 0xFFFFFFFF
        self._sent += len(payload)
        if self._sent > REKEY and not self.blocked and self.key is not None:
            self.sendKexInit()

    def pauseProducing(self) -> None:
        """The peer does not read what it has."""
        if not self._full:
            self._full = True
            self._unread = 0
            self._tell_service()

    def resumeProducing(self) -> None:
        """It does again."""
        self._full = False
        self._tell_service()

    def stopProducing(self) -> None:
        """The connection is about to be lost."""

    def _tell_service(self) -> None:
        if isinstance(self.service, Connection):
            self.service.block(self.blocked)

    # The end.

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Say why and close."""
        if self._closing:
            return
        self._closing = True
        self.transport.unregisterProducer()
        super().sendDisconnect(reason, desc)  # type: ignore[no-untyped-call]
        self._timers["flush"] = self._clock.callLater(FLUSH, self.transport.abortConnection)

    def end(self, reason: str) -> None:
        """Close, because this end wants to."""
        self.sendDisconnect(DISCONNECT_BY_APPLICATION, reason)

    def stop(self) -> None:
        """Close, because the node stops."""
        if self._closing:
            return
        if isinstance(self.service, Connection) and self.service.channels:
            # Their sessions have said so. A client that reads a disconnect shows nothing more of what it has read.
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.end("the node stops")

    def abandon(self, kind: str) -> None:
        """Close without a word, for what nobody does who means well."""
        self.abuse(kind)
        self._closing = True
        self.transport.abortConnection()

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well."""
        self.factory.log.warn(kind, self.peer)

    def _violated(self, how: str) -> None:
        self.factory.log.warn("a breach of the protocol", f"{self.peer}: {how}")
        self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, how)

    def _start(self, name: str, seconds: float, what: str) -> None:
        self._cancel(name)
        self._timers[name] = self._clock.callLater(seconds, self._late, name, what)

    def _late(self, name: str, what: str) -> None:
        del self._timers[name]
        self.abandon(what)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()


class _MalformedError(Exception):
    """Conch stumbled over what a peer sent."""


def _name(user: bytes) -> str:
    """A user's name, which anybody may choose freely, for the log."""
    return visible(shortened(user[:256].decode("utf-8", "replace"))).replace("\n", "\\n") or "nobody"
