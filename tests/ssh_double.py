"""An SSH client in memory, which says what a test wants, at any time; and the port that it talks to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport

from iridium.repl.sessions import Sessions
from iridium.repl.ssh.authorized import AuthorizedKeys
from iridium.repl.ssh.port import SshFactory
from tests.repl_double import FakeNode, TcpTransport

HOST_KEY = Ed25519PrivateKey.generate()
USER_KEY = Key(Ed25519PrivateKey.generate())


def number(value: int) -> bytes:
    """An unsigned number of 32 bits, as it goes over the wire."""
    return value.to_bytes(4, "big")


class Port:
    """An SSH port without a network.

    Args:
        directory: where the file of authorized keys is.

    Attributes:
        node, factory: the node and its port.
        file: the file of authorized keys.
        warnings: what was said of it.
    """

    def __init__(self, directory: Path, options: str = "") -> None:
        self.node = FakeNode()
        self.file = directory / "authorized_keys"
        self.file.touch(0o600)
        self.authorize(f"{options} {USER_KEY.public().toString('OPENSSH', comment='me').decode()}")
        self.warnings: list[str] = []
        keys = AuthorizedKeys(self.file, self.warnings.append, lambda: 0.0)
        self.factory = SshFactory(Sessions(self.node), keys, HOST_KEY)

    def authorize(self, text: str) -> None:
        """Put something into the file."""
        self.file.write_text(text)

    def connect(self, host: str = "192.0.2.1") -> Connection | None:
        """A connection from an address, or None where it is refused."""
        server = self.factory.buildProtocol(IPv4Address("TCP", host, 4000))
        return None if server is None else Connection(self, server)

    def raw(self, host: str = "192.0.2.1") -> Connection:
        """A connection that there is room for."""
        connection = self.connect(host)
        assert connection is not None
        return connection

    def client(self) -> Client:
        """A client that has agreed on keys."""
        client = Client(self.raw())
        client.pump()
        assert client.secure
        return client


class Connection:
    """The server's end of a connection.

    Attributes:
        port, server, tcp: the port, its protocol, and what that writes to.
    """

    def __init__(self, port: Port, server: Any) -> None:
        self.port = port
        self.server = server
        self.tcp = TcpTransport()
        server.makeConnection(self.tcp)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.server.dataReceived(data)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.port.node.reactor.advance(seconds)
        self.port.node.reactor.settle(5)

    @property
    def closed(self) -> bool:
        """Whether the server closed the connection, or is about to."""
        return bool(self.tcp.disconnecting) or self.tcp.aborted

    def lose(self) -> None:
        """The connection is over."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.server.connectionLost(Failure(ConnectionDone()))


class Client(SSHClientTransport):
    """A client.

    Attributes:
        connection: the server's end.
        secure: whether there are keys.
        messages: what the server sent, in order: numbers and payloads.
        ended: why the server ended it, or None.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.secure = False
        self.messages: list[tuple[int, bytes]] = []
        self.ended: bytes | None = None
        self.makeConnection(StringTransport())

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(hostKey == Key(HOST_KEY).public().blob())

    def connectionSecure(self) -> None:
        self.secure = True

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        self.ended = description

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        if messageNum >= 50 or messageNum in (3, 6):
            self.messages.append((messageNum, payload))
        else:
            super().dispatchMessage(messageNum, payload)

    def pump(self, rounds: int = 5) -> None:
        """Carry bytes both ways until there are none."""
        tcp = self.connection.tcp
        while True:
            self.connection.port.node.reactor.settle(rounds)
            out, back = self.transport.value(), tcp.value() if tcp.reads else b""
            if not out and not back:
                return
            self.transport.clear()
            if back:
                tcp.clear()
                self.dataReceived(back)
            if out and not self.connection.closed:
                self.connection.send(out)

    def say(self, message: int, payload: bytes = b"") -> list[tuple[int, bytes]]:
        """Send a message; what comes back."""
        earlier = self.take()
        self.sendPacket(message, payload)
        self.pump()
        answers, self.messages = self.messages, earlier
        return answers

    def take(self) -> list[tuple[int, bytes]]:
        """What came since the last time."""
        messages, self.messages = self.messages, []
        return messages

    def request_login(self) -> None:
        """Ask for the service of logging in."""
        assert self.say(5, NS(b"ssh-userauth")) == [(6, NS(b"ssh-userauth"))]

    def attempt(
        self,
        key: Key = USER_KEY,
        *,
        user: bytes = b"me",
        algorithm: bytes | None = None,
        session: bytes | None = None,
        signature: bytes | None = None,
    ) -> list[tuple[int, bytes]]:
        """Try to log in."""
        algorithm = algorithm or key.sshType()
        request = (
            NS(user) + NS(b"ssh-connection") + NS(b"publickey") + b"\1" + NS(algorithm) + NS(key.public().blob())
        )
        signed = NS(session or self.sessionID) + bytes((50,)) + request
        return self.say(50, request + NS(signature if signature is not None else key.sign(signed)))

    def log_in(self) -> Client:
        """Log in."""
        self.request_login()
        assert self.attempt() == [(52, b"")]
        return self

    def open(self, window: int = 2**16, largest: int = 32768, kind: bytes = b"session") -> int:
        """Open a channel; its number at the server."""
        [(message, payload)] = self.say(90, NS(kind) + number(7) + number(window) + number(largest))
        assert message == 91, payload
        return int.from_bytes(payload[4:8], "big")

    def ask(self, channel: int, kind: bytes, data: bytes = b"") -> int:
        """Ask something for a channel: 99 where it is granted, 100 where not."""
        answers = self.say(98, number(channel) + NS(kind) + b"\1" + data)
        [granted] = [m for m, _ in answers if m in (99, 100)]
        self.messages += [answer for answer in answers if answer[0] not in (99, 100)]
        return granted

    def shell(self, **keywords: Any) -> int:
        """A channel with a shell."""
        channel = self.open(**keywords)
        assert self.ask(channel, b"shell") == 99
        return channel

    def data(self) -> str:
        """What came as output since the last time."""
        return b"".join(p[8:] for m, p in self.take() if m == 94).decode()

    def type(self, channel: int, text: str | bytes) -> str:
        """Send input; what comes back."""
        data = text.encode() if isinstance(text, str) else text
        return "".join(p[8:].decode() for m, p in self.say(94, number(channel) + NS(data)) if m == 94)
