"""One connection between two nodes, without I/O: bytes in, messages out.

A link checks what may be said when, and how long a line may be. What is answered, and whether the link is wanted
at all, is decided in :mod:`iridium.cluster.membership`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Protocol

from iridium.cluster import messages as m
from iridium.cluster.messages import Message, MessageError, Unknown
from iridium.cluster.refusals import REMEDIES
from iridium.cluster.secret import Exchange
from iridium.cluster.vouching import TlsPeer
from iridium.limits import DEFAULTS, Limits

MOST_LINES = 64
"""Lines of a handshake, blank and unknown ones included: one with the most members that can be known takes 16.
Every other limit is of a line's length, and a flood of lines that say nothing costs far more than it weighs."""


class Role(enum.Enum):
    """Which end of the connection this is."""

    DIALLER = "dialler"
    ACCEPTOR = "acceptor"


class State(enum.Enum):
    """How far the conversation is."""

    EXPECT_HELLO = "waiting for a hello"
    EXPECT_PROOF = "waiting for a proof of the secret"
    EXPECT_PROVED_HELLO = "waiting for the hello behind a proof"
    DECIDING = "deciding about a hello"
    EXPECT_CHALLENGE = "waiting for a challenge"
    EXPECT_WELCOME = "waiting for a welcome"
    EXPECT_READY = "waiting for a ready"
    OPEN = "open"
    CLOSED = "closed"


_TALK: tuple[type[Message], ...] = (
    m.Mail, m.Piece, m.Ack, m.Members, m.Ping, m.Pong, m.Digest, m.Leave, m.Left, m.Text, m.Ask, m.Answer,
)  # fmt: skip

TRANSITIONS: dict[tuple[Role, State], dict[type[Message], State]] = {
    (Role.ACCEPTOR, State.EXPECT_HELLO): {m.Hello: State.DECIDING},
    (Role.ACCEPTOR, State.EXPECT_PROOF): {m.Proof: State.EXPECT_PROVED_HELLO, m.Refuse: State.CLOSED},
    (Role.ACCEPTOR, State.EXPECT_PROVED_HELLO): {m.Hello: State.DECIDING},
    (Role.ACCEPTOR, State.DECIDING): {},
    (Role.ACCEPTOR, State.EXPECT_READY): {m.Ready: State.OPEN},
    (Role.ACCEPTOR, State.OPEN): dict.fromkeys(_TALK, State.OPEN),
    # A welcome without a challenge is an answer, too: that of a node without a secret.
    (Role.DIALLER, State.EXPECT_CHALLENGE): {
        m.Challenge: State.EXPECT_WELCOME,
        m.Welcome: State.CLOSED,
        m.Refuse: State.CLOSED,
    },
    (Role.DIALLER, State.EXPECT_WELCOME): {m.Welcome: State.EXPECT_READY, m.Refuse: State.CLOSED},
    (Role.DIALLER, State.EXPECT_READY): {
        m.Members: State.EXPECT_READY,
        m.Ready: State.OPEN,
        m.Refuse: State.CLOSED,
    },
    (Role.DIALLER, State.OPEN): dict.fromkeys(_TALK, State.OPEN),
}
"""What may be said by the peer, and what it leads to. Everything else ends the link."""


class Source(Protocol):
    """Something that has lines for an open link whenever there is room on the connection."""

    def lines(self) -> list[Message]:
        """What is to be sent now, not much at a time; all of it counts as sent."""

    def has_lines(self) -> bool:
        """Whether there is more."""


class Link:
    """One end of a connection.

    Args:
        role: which end.
        host: the host that the peer is seen at.
        now: the time, in seconds of a monotonic clock.
        on_output: called when there is something to send, or the link is to be closed.
        id: the name of the link, once it is known: the dialler gives it.
        limits: how long a line may be, and how much may wait for the peer.
        secret: whether this end, a dialler, wants the secret proved before it says who it is.
        peer: whom the certificate at the other end is for; None without TLS.

    Attributes:
        state: how far the conversation is.
        heard: when the last byte came.
        began: when the connection was made.
        incarnation: the life of the peer that holds the other end, once it said so.
        exchange: what the proofs of the secret are about, once both nonces are known.
        proved: whether the peer has proved that it knows the secret.
        ignored: unknown fields and messages of a newer minor version.
        owner: whatever membership keeps with the link.
        session: the number of the session that the handshake agreed on; 0 for none.
        source: what else is sent, behind everything that is queued here; None before it is open.
    """

    __slots__ = (
        "_buffer", "_limits", "_lines", "_newer", "_on_output", "_outgoing", "began", "exchange", "heard", "host",
        "id", "ignored", "incarnation", "owner", "peer", "proved", "queued", "role", "session", "source", "state",
    )  # fmt: skip

    def __init__(
        self,
        role: Role,
        host: str,
        now: float,
        on_output: Callable[[Link], None],
        id: str = "",
        limits: Limits = DEFAULTS,
        *,
        secret: bool = False,
        peer: TlsPeer | None = None,
    ) -> None:
        self.role = role
        self.host = host
        self.id = id
        self.peer = peer
        if role is Role.ACCEPTOR:
            self.state = State.EXPECT_HELLO
        else:
            self.state = State.EXPECT_CHALLENGE if secret else State.EXPECT_WELCOME
        self.began = self.heard = now
        self.ignored = 0
        self.incarnation = 0
        self.exchange: Exchange | None = None
        self.proved = False
        self.queued = 0
        self.owner: object = None
        self.session = 0
        self.source: Source | None = None
        self._on_output = on_output
        self._limits = limits
        self._outgoing: list[bytes] = []
        self._buffer: bytes | bytearray = b""  # the beginning of a line
        self._lines = 0  # of the handshake
        self._newer = False

    def __repr__(self) -> str:
        return f"<Link {self.id} {self.role.value} {self.host} {self.state.value}>"

    @property
    def binding(self) -> bytes:
        """32 bytes that only the two ends of this connection have, or none without TLS."""
        return self.peer.binding if self.peer is not None else b""

    @property
    def open(self) -> bool:
        """Whether both ends are ready."""
        return self.state is State.OPEN

    @property
    def closed(self) -> bool:
        """Whether this end has ended the conversation."""
        return self.state is State.CLOSED

    def receive(self, data: bytes, now: float) -> Iterator[Message]:
        """The messages that bytes complete, one by one: react to each before you take the next.

        Args:
            data: what came from the peer, in any pieces.
            now: when.

        Raises:
            MessageError: the peer said something that is no message, too long, or not its turn; close the link.
        """
        self.heard = now
        if self.closed:
            return
        if b"\n" not in data:
            self._keep(data)
            return
        buffer = bytes(self._buffer) + data if self._buffer else data
        self._buffer = b""
        while not self.closed:
            # Strangers' lines one at a time, since the limit changes with what they say; friends' all at once.
            talking = self.state is State.OPEN
            end = (buffer.rfind(b"\n") if talking else buffer.find(b"\n")) + 1
            limit = self._longest()
            lines = buffer[:end]
            longest = end or len(buffer)
            if longest > limit and lines:
                longest = max(map(len, lines.split(b"\n")))
            if longest > limit:
                raise MessageError(f"a line of over {limit} bytes")
            buffer = buffer[end:]
            if not lines:
                self._buffer = buffer
                return
            if not talking:
                self._lines += 1
                if self._lines > MOST_LINES:
                    raise MessageError(f"over {MOST_LINES} lines of a handshake")
            for message in m.decode_lines(lines):
                if isinstance(message, Unknown):
                    self.ignored += 1
                    continue
                if self.state is not State.OPEN or type(message) not in _TALK:
                    self._advance(message)
                yield message
                if self.state is State.CLOSED:
                    return
            if self._newer:
                self.ignored += sum(m.unknown_fields(line) for line in lines.split(b"\n") if line.strip())
            if not buffer:
                return

    def _keep(self, data: bytes) -> None:
        """Keep a part of a line, at a cost that does not grow with what is kept of it already."""
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data
        if len(self._buffer) > self._longest():
            raise MessageError(f"a line of over {self._longest()} bytes")

    def _longest(self) -> int:
        """Bytes of a line at present."""
        return self._limits.stranger_line if self.state in _STRANGER else self._limits.peer_line

    def _advance(self, message: Message) -> None:
        following = TRANSITIONS[self.role, self.state].get(type(message))
        if following is None:
            kind = type(message).__struct_config__.tag
            raise MessageError(f"a {kind!r} message while {self.state.value}")
        if following is State.CLOSED:
            self.close()
            return
        self.state = following
        if isinstance(message, m.Hello | m.Welcome):
            self.incarnation = message.incarnation
            version = m.parse_version(message.version)
            self._newer = version is not None and version > m.VERSION

    def send(self, *messages: Message) -> None:
        """Queue messages; they leave together with everything else of this turn."""
        if self.closed:
            return
        self._queue(m.encode(*messages))

    def accept(self, welcome: m.Welcome, members: list[m.MemberRecord] | None) -> None:
        """Answer the hello: who we are, whom we know if the peer wants to join, and that we are ready."""
        assert self.state is State.DECIDING, self.state
        told = [] if members is None else m.member_lines(members)
        self.state = State.EXPECT_READY
        self.send(welcome, *told, m.Ready())

    def challenge(self, exchange: Exchange, mac: str) -> None:
        """Answer a first hello: prove the secret, and ask for the dialler's proof."""
        assert self.state is State.DECIDING, self.state
        self.state = State.EXPECT_PROOF
        self.exchange = exchange
        self.send(m.Challenge(exchange.acceptor_version, exchange.acceptor, exchange.acceptor_nonce, mac))

    def refuse(self, reason: str, detail: str, remedy: str = "") -> None:
        """Say no, with the reason's remedy unless there is a better one, and close."""
        self.send(m.Refuse(reason, detail, remedy or REMEDIES[reason]))
        self.close()

    def close(self) -> None:
        """End the conversation once what is queued is sent."""
        if not self.closed:
            self.state = State.CLOSED
            self._buffer = b""
            self._on_output(self)

    def data_to_send(self) -> bytes:
        """What is queued, and some of what the source has; the queue is empty afterwards."""
        outgoing, self._outgoing = self._outgoing, []
        self.queued = 0
        source = self.source
        if source is not None and not self.closed:
            lines = source.lines()
            if lines:
                outgoing.append(m.encode_lines(lines))
            if source.has_lines():
                self._on_output(self)
        return b"".join(outgoing)

    def poke(self) -> None:
        """The source has lines."""
        if not self.closed:
            self._on_output(self)

    def _queue(self, data: bytes) -> None:
        self.queued += len(data)
        if self.queued > self._limits.peer_queue:
            self._outgoing.clear()
            self.close()
            return
        self._outgoing.append(data)
        if len(self._outgoing) == 1:
            self._on_output(self)


_STRANGER = frozenset(State) - {State.EXPECT_READY, State.OPEN, State.CLOSED}
