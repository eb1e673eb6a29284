"""The wire protocol as an attacker speaks it: blocking, unchecked, and with every step in his hands."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from iridium.cluster.link import Role
from iridium.cluster.secret import Exchange, Prover, proof
from iridium.cluster.tls import Channel, ClusterTls, TlsError

PATIENCE = 10.0
"""Seconds that an answer may take: twice what a handshake may."""

VERSION = "1.2"

NONCE = "5" * 32


class Target(NamedTuple):
    """A cluster port, and what opens it.

    Attributes:
        port: on loopback.
        secret: of the cluster, "" for none.
        tls: what to speak TLS with; None for none.
    """

    port: int
    secret: str = ""
    tls: ClusterTls | None = None


_callers: list[Caller] = []


def hang_up() -> None:
    """Close every connection that is still there."""
    for caller in list(_callers):
        caller.close()


def id_of(number: int) -> str:
    """The id of the attacker's node number so and so."""
    return f"aaaaaaaa-0000-4000-8000-{number:012x}"


def line(**message: object) -> bytes:
    """One line of the wire."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Caller:
    """A connection to a cluster port.

    Args:
        target: which, and with what.
        id: the node that it says it is.
        greet: whether to make TLS, where the target has it.

    Attributes:
        socket: the connection.
        channel: its TLS, or None.
        ended: how the node ended it, or "" as long as it has not.
        refusal: the reason of the refusal that came, or "".
        told: what the challenge said.
    """

    def __init__(self, target: Target, id: str = id_of(1), *, greet: bool = True) -> None:
        self._target = target
        self.id = id
        self.incarnation = int(time.time() * 1000)
        self.ended = ""
        self.refusal = ""
        self.told: dict[str, Any] = {}
        self._buffer = b""
        self.channel: Channel | None = None
        self.socket = socket.create_connection(("127.0.0.1", target.port), PATIENCE)
        _callers.append(self)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if greet and target.tls is not None:
            self.channel = target.tls.channel(Role.DIALLER)
            self.channel.receive(b"")
            self.socket.sendall(self.channel.outgoing())
            while self.channel.peer is None and self._read():
                pass

    # --- bytes ---

    def send(self, data: bytes) -> bool:
        """Say something, in TLS if there is any; whether the connection took it."""
        try:
            self.socket.sendall(data if self.channel is None else self.channel.send(data))
        except (OSError, TlsError) as error:
            self.ended = self.ended or _told(error)
            return False
        return True

    def _read(self) -> bool:
        """Take what is there; False when nothing more comes."""
        try:
            data = self.socket.recv(65536)
            if not data:
                self.ended = self.ended or "hung up"
                return False
            if self.channel is not None:
                data = self.channel.receive(data)
                self.socket.sendall(self.channel.outgoing())
        except (OSError, TlsError) as error:
            self.ended = self.ended or _told(error)
            return False
        self._buffer += data
        return True

    def hear(self, seconds: float = PATIENCE) -> dict[str, Any] | None:
        """The next message, or None where none comes any more."""
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            if not self._read():
                return None
        text, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        if message["type"] == "refuse":
            self.refusal = message["reason"]
        return message

    def hear_of(self, kind: str, seconds: float = PATIENCE) -> dict[str, Any] | None:
        """The next message of a kind; pings meanwhile are answered."""
        end = time.monotonic() + seconds
        while (message := self.hear(max(0.0, end - time.monotonic()))) is not None:
            if message["type"] == kind:
                return message
            if message["type"] == "ping":
                self.send(line(type="pong", n=message["n"]))
            elif message["type"] == "refuse":
                return None
        return None

    # --- the conversation ---

    def exchange(self) -> Exchange:
        """What the proofs of this connection are about."""
        binding = b"" if self.channel is None or self.channel.peer is None else self.channel.peer.binding
        return Exchange(
            self.id, self.told["id"], NONCE, self.told["nonce"], VERSION, self.told["version"], binding
        )

    def mac(self, prover: Prover = "dialler") -> str:
        """The right proof."""
        return proof(self._target.secret, prover, self.exchange())

    def first(self, **changes: object) -> bytes:
        """A first hello."""
        said: dict[str, object] = {"version": VERSION, "cluster": "", "id": self.id, "incarnation": 0}
        said |= {"nonce": NONCE, "auth": "secret"} if self._target.secret else {"cluster": "iridium"}
        return line(type="hello", **said | changes)

    def whole(self, **changes: object) -> bytes:
        """A hello with everything."""
        said = {"version": VERSION, "cluster": "iridium", "id": self.id, "incarnation": self.incarnation}
        said |= {"nonce": NONCE, "auth": "secret" if self._target.secret else "none", "link": f"l{time.time_ns()}"}
        return line(type="hello", **said | changes)

    def ask(self, **changes: object) -> bool:
        """Say the first hello; whether the node answers it with a challenge."""
        self.send(self.first(**changes))
        message = self.hear()
        if message is None or message["type"] != "challenge":
            return False
        self.told = message
        return True

    def enter(self, **changes: object) -> bool:
        """Become a member; whether the node accepts it.

        Args:
            changes: fields of the hello.
        """
        if self._target.secret:
            if not self.ask():
                return False
            self.send(line(type="proof", mac=self.mac()))
        self.send(self.whole(**changes))
        welcome = self.hear_of("welcome")
        if welcome is None:
            return False
        self.told = self.told | welcome
        return self.hear_of("ready") is not None and self.send(line(type="ready"))

    # --- the end ---

    def outcome(self, seconds: float = PATIENCE) -> str:
        """Read to the end; how the node ended the connection."""
        end = time.monotonic() + seconds
        while self.hear(max(0.0, end - time.monotonic())) is not None:
            pass  # it may be pings for ever
        self.close()
        ended = self.ended or "still open"
        return f"{ended}, {self.refusal}" if self.refusal else ended

    def reset(self) -> None:
        """End it with a reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """End it."""
        self.socket.close()
        with contextlib.suppress(ValueError):
            _callers.remove(self)


def _told(error: Exception) -> str:
    if isinstance(error, TlsError):
        return str(error).partition(";")[0]
    if isinstance(error, TimeoutError):
        return ""
    return "reset" if isinstance(error, ConnectionResetError | BrokenPipeError) else str(error)


def last_word(peer: socket.socket, data: bytes, seconds: float) -> str:
    """Say something and no more; how the connection ends within so many seconds."""
    peer.settimeout(seconds)
    try:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass
    except TimeoutError:
        return "still open"
    except OSError:
        return "reset"
    return "hung up"


def outcomes(ends: Sequence[str]) -> str:
    """Ends that are alike, counted."""
    counts: dict[str, int] = {}
    for end in ends:
        counts[end] = counts.get(end, 0) + 1
    return "; ".join(f"{count} x {end}" if count > 1 else end for end, count in counts.items())
