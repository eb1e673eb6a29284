"""How a peer proves who it is: with a key of the file of authorized keys, and in no other way.

Conch's own server for this imports the reactor, and writes tracebacks for what peers do.
"""

from __future__ import annotations

from typing import Any

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISCONNECT_SERVICE_NOT_AVAILABLE,
)

from iridium.repl.ssh.algorithms import SIGNATURES
from iridium.repl.ssh.authorized import AuthorizedKey, fingerprint
from iridium.repl.ssh.packet import PacketError, Reader

MAX_FAILURES = 6
"""Attempts that may fail: a person's agent offers one key after the other."""

REQUEST = 50
FAILURE = 51
SUCCESS = 52
KEY_OK = 60

_METHODS = b"publickey"


class Authentication(SSHService):
    """The ssh-userauth service of a connection."""

    name = b"ssh-userauth"
    transport: Any

    def __init__(self) -> None:
        self._failures = 0
        self._asked = False
        self._done = False

    def packetReceived(self, number: int, packet: bytes) -> None:
        """Take a packet."""
        if number != REQUEST:
            raise PacketError(f"message {number} before the login")
        if self._done:
            return
        reader = Reader(packet)
        user, service, method = reader.string(), reader.string(), reader.string()
        if service != b"ssh-connection":
            self.transport.sendDisconnect(DISCONNECT_SERVICE_NOT_AVAILABLE, b"there is only ssh-connection")
        elif method == b"publickey":
            self._public_key(user, reader)
        elif method == b"none" and not self._asked:
            self._asked = True  # how a client asks which methods there are
            self._answer_failure()
        else:
            self._failed(user, "no key")

    def _public_key(self, user: bytes, reader: Reader) -> None:
        signed = reader.boolean()
        algorithm, blob = reader.string(), reader.string()
        signature = reader.string() if signed else b""
        reader.end()
        key = self.transport.factory.keys.find(blob)
        if key is None:
            self._failed(user, f"{fingerprint(blob)}, which is not in {self.transport.factory.keys.path}")
        elif algorithm not in SIGNATURES[key.kind]:
            self._failed(user, f"{key.fingerprint}, which signed with SHA-1")
        elif not signed:
            self.transport.sendPacket(KEY_OK, NS(algorithm) + NS(blob))
        elif self._proves(key, user, algorithm, signature):
            self._done = True
            self.transport.sendPacket(SUCCESS, b"")
            self.transport.authenticated(user, key)
        else:
            self._failed(user, f"{key.fingerprint} and a wrong signature")

    def _proves(self, key: AuthorizedKey, user: bytes, algorithm: bytes, signature: bytes) -> bool:
        """Whether a signature proves that the peer has the key, on this connection and for this request."""
        if Reader(signature).string() != algorithm:
            return False
        request = NS(user) + NS(b"ssh-connection") + NS(b"publickey") + b"\1" + NS(algorithm) + NS(key.blob)
        signed = NS(self.transport.sessionID) + bytes((REQUEST,)) + request
        try:
            return bool(Key.fromString(key.blob, type="BLOB").verify(signature, signed))
        except Exception:  # whatever the libraries think of the bytes of a peer, they prove nothing
            return False

    def _failed(self, user: bytes, what: str) -> None:
        self._failures += 1
        self.transport.refused(user, what)
        if self._failures >= MAX_FAILURES:
            self.transport.sendDisconnect(
                DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, b"too many keys that may not log in"
            )
        else:
            self._answer_failure()

    def _answer_failure(self) -> None:
        self.transport.sendPacket(FAILURE, NS(_METHODS) + b"\0")
