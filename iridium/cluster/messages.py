"""What nodes say to each other: one JSON object a line, told apart by its ``type``.

The structs are both vocabulary and schema: a line that decodes has the right types and sizes. ``docs/protocol.md``
shows them in a conversation. A newer minor version may send fields and types that are not here: they are ignored
and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from iridium.errors import IridiumError

VERSION = (1, 2)
"""Protocol version: another major is refused, another minor understood."""

LONGEST_ALIAS = 64
"""Bytes of an alias in UTF-8."""

RECORDS_A_LINE = 96
"""Members in one ``members`` line: at the longest alias and address they stay under 64 KiB."""

MOST_LOST = 16
"""Links that a hello names as lost: only those of the last moments can matter."""

MOST_IDS = 1024
"""Ids in one message: as many as there are records of members."""

MOST_INCARNATION = 2**53
"""Incarnations are below this, so that every JSON reader has them exactly; time gets there in 285 000 years."""

LARGEST_MAIL = 48 * 1024
"""Bytes of a payload that goes as one line, of 64 KiB once it is base64: larger lines are no faster."""

PIECE = 32 * 1024
"""Bytes of each piece of a larger payload: a millisecond on a slow network, so that others get their turn."""

LARGEST_PAYLOAD = 16 * 1024 * 1024
"""Bytes of a payload altogether: its receiver has to hold all of it before it is delivered."""

NodeId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Alias = Annotated[str, msgspec.Meta(max_length=LONGEST_ALIAS)]
Address = Annotated[str, msgspec.Meta(max_length=261)]  # a DNS name, a colon, a port
Incarnation = Annotated[int, msgspec.Meta(ge=0, lt=MOST_INCARNATION)]
Token = Annotated[str, msgspec.Meta(max_length=64)]
ClusterName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Sentence = Annotated[str, msgspec.Meta(max_length=1024)]
Kind = Annotated[int, msgspec.Meta(ge=0, lt=256)]


class MessageError(IridiumError):
    """A line is not a message: the peer misbehaves, or is no node."""


class Message(msgspec.Struct, tag_field="type"):
    """One line on the wire."""


class Hello(Message, tag="hello"):
    """The dialler's first line: who I am and what I want.

    Where it can prove a secret, it says only its id, version, nonce and ``auth`` at first, and the whole once the
    acceptor has proved that it knows the secret too.

    Attributes:
        version: "MAJOR.MINOR" of the protocol.
        cluster: the cluster's name.
        id, alias, incarnation, address: the dialler; alias "" is none, address "" is not listening.
        want: "join" asks to be told of all members, "mesh" is a link between two that know of each other.
        link: a random name for this link.
        lost: names of recent links to this peer that the dialler no longer holds.
        nonce: random, for the proof of a secret.
        auth: what the dialler can prove: "secret" or "none".
        life: the incarnation that the dialler started with, or came back with after a leave; 0 is no sessions.
        peer: the id of whom it means to call, and so has the following session with; "" if it cannot tell.
        session: the number of its latest session with that node, 0 for none that it knows of.
        received: the last line of that session it has; None when the session is over.
    """

    version: Token
    cluster: Annotated[str, msgspec.Meta(max_length=64)]
    id: NodeId
    incarnation: Incarnation
    alias: Alias = ""
    address: Address = ""
    want: Literal["join", "mesh"] = "mesh"
    link: Token = ""
    lost: Annotated[list[Token], msgspec.Meta(max_length=MOST_LOST)] = []
    nonce: Token = ""
    auth: Token = "none"
    life: Incarnation = 0
    peer: Token = ""
    session: Number = 0
    received: Number | None = None


class Challenge(Message, tag="challenge"):
    """The acceptor proves that it knows the cluster's secret, and asks the dialler to do so.

    Attributes:
        version: "MAJOR.MINOR" of the protocol.
        id: the acceptor.
        nonce: random, for the dialler's proof.
        mac: the acceptor's proof (:func:`iridium.cluster.secret.proof`).
    """

    version: Token
    id: NodeId
    nonce: Token
    mac: Token


class Proof(Message, tag="proof"):
    """The dialler proves the same; its whole hello follows."""

    mac: Token


class Welcome(Message, tag="welcome"):
    """The acceptor's answer: who it is, and at what host it sees the dialler.

    Attributes:
        version, cluster, id, incarnation, alias, address: as in a hello.
        seen: the host that the dialler is seen at.
        life: the incarnation that the acceptor started with, or came back with after a leave.
        session: the number of the session that this link carries; 0 for none.
        received: the last line of it that the acceptor has; None when the session is new.
    """

    version: Token
    cluster: ClusterName
    id: NodeId
    incarnation: Incarnation
    alias: Alias = ""
    address: Address = ""
    seen: Address = ""
    life: Incarnation = 0
    session: Number = 0
    received: Number | None = None


class MemberRecord(msgspec.Struct, frozen=True):
    """What members tell each other of a member; merged by (incarnation, left over member)."""

    id: NodeId
    incarnation: Incarnation
    alias: Alias = ""
    address: Address = ""
    left: bool = False


class Members(Message, tag="members"):
    """Members that the sender knows; ``more`` says whether another line of them follows."""

    members: Annotated[list[MemberRecord], msgspec.Meta(max_length=RECORDS_A_LINE)]
    more: bool = False


class Ready(Message, tag="ready"):
    """The sender holds this link; once both have said so, anything may pass."""


class Refuse(Message, tag="refuse"):
    """No, and why; the connection closes."""

    reason: Token
    detail: Sentence = ""
    remedy: Sentence = ""


class Ping(Message, tag="ping"):
    """Are you there?"""

    n: Number


class Pong(Message, tag="pong"):
    """Yes, to the ping with that number."""

    n: Number


class Digest(Message, tag="digest"):
    """A hash of what the sender knows, and how long ago it heard from members that somebody suspects.

    Attributes:
        hash: of all its member records; "" when it only answers.
        ages: milliseconds since it heard from a member, by id.
        asks: the ids of members it suspects and wants ages of.
    """

    hash: Token = ""
    ages: Annotated[dict[NodeId, Number], msgspec.Meta(max_length=MOST_IDS)] = {}
    asks: Annotated[list[NodeId], msgspec.Meta(max_length=MOST_IDS)] = []


class Leave(Message, tag="leave"):
    """The sender leaves the cluster."""

    incarnation: Incarnation


class Left(Message, tag="left"):
    """Noted: the peer has left."""

    incarnation: Incarnation


class Text(Message, tag="text"):
    """A line from a person to the people at another node; answered with the same number."""

    n: Number
    text: Annotated[str, msgspec.Meta(max_length=4096)]


class Ask(Message, tag="ask"):
    """A question to a member; ``links``: whom do you hold a ready link to?"""

    n: Number
    what: Token


class Answer(Message, tag="answer"):
    """The answer to the question or text with that number; ``ids`` for ``links``."""

    n: Number
    ids: Annotated[list[NodeId], msgspec.Meta(max_length=MOST_IDS)] = []


class Mail(Message, tag="mail"):
    """A payload, whole.

    Attributes:
        n: the number of this line in the session; pieces are counted with it.
        ack: the last line of the other direction that the sender has.
        kind: what the payload is, for whoever gets it.
        data: the payload.
    """

    n: Number
    ack: Number
    kind: Kind
    data: Annotated[bytes, msgspec.Meta(max_length=LARGEST_MAIL)]


class Piece(Message, tag="piece", omit_defaults=True):
    """A part of a payload that is too large for one line; the first says what it is part of.

    Attributes:
        n, ack: as in mail.
        bulk: a number by which the pieces of one payload belong together.
        data: 32 KiB of it, or what is left.
        kind, size: of the whole payload, in its first piece only.
    """

    n: Number
    ack: Number
    bulk: Number
    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PIECE)]
    kind: Kind = 0
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_PAYLOAD)] = 0


class Ack(Message, tag="ack"):
    """The sender has every line of the session up to this one."""

    ack: Number


class Unknown(msgspec.Struct, frozen=True):
    """A line with a type that this version does not know; it is never sent."""

    type: str


AnyMessage = (
    Hello | Challenge | Proof | Welcome | Members | Ready | Refuse | Ping | Pong | Digest
    | Leave | Left | Text | Ask | Answer | Mail | Piece | Ack
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyMessage)
_anything = msgspec.json.Decoder(dict[str, object])
_FIELDS = {kind.__struct_config__.tag: frozenset(kind.__struct_fields__) for kind in AnyMessage.__args__}


def encode(*messages: Message) -> bytes:
    """The lines of messages, each with its newline."""
    return b"".join([_encoder.encode(message) + b"\n" for message in messages])


def encode_lines(messages: Sequence[Message]) -> bytes:
    """The same for many at once: what is in them is copied once."""
    return _encoder.encode_lines(messages)


def decode(line: bytes) -> Message | Unknown:
    """The message in one line.

    Raises:
        MessageError: it is none; the error says what is wrong where.
    """
    try:
        message: Message = _decoder.decode(line)
        return message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = error
    try:
        kind = _anything.decode(line).get("type")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        hint = (
            "; that is a REPL port, the cluster port is another" if line.startswith(b"Welcome to Iridium!") else ""
        )
        raise MessageError(f"not a line of JSON: {problem}{hint}") from None
    if isinstance(kind, str) and kind not in _FIELDS:
        return Unknown(kind)
    raise MessageError(f"a bad {kind!r} message: {problem}") from None


def decode_lines(lines: bytes) -> Iterable[Message | Unknown]:
    """The messages in whole lines, decoded together; blank lines are skipped.

    Raises:
        MessageError: one is none, once the iteration reaches it.
    """
    try:
        messages: list[Message | Unknown] = _decoder.decode_lines(lines)
        return messages
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _one_by_one(lines)


def _one_by_one(lines: bytes) -> Iterator[Message | Unknown]:
    for line in lines.split(b"\n"):
        if line.strip():
            yield decode(line)


def unknown_fields(line: bytes) -> int:
    """How many fields of a line this version does not know, at its top level; 0 where it is no message."""
    try:
        fields = _anything.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0  # decoding it as a message will tell what is wrong
    known = _FIELDS.get(str(fields.get("type")))
    return 0 if known is None else len(fields.keys() - known - {"type"})


def parse_version(text: str) -> tuple[int, int] | None:
    """The version in a hello or welcome, or None where it is none."""
    major, dot, minor = text.partition(".")
    if not (dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        return None
    return int(major), int(minor)


def is_understood(text: str) -> bool:
    """Whether a version is one that this node can talk to: of the same major version."""
    version = parse_version(text)
    return version is not None and version[0] == VERSION[0]


def version_text() -> str:
    """This version as the wire has it."""
    return f"{VERSION[0]}.{VERSION[1]}"


def member_lines(records: list[MemberRecord]) -> list[Members]:
    """Records as ``members`` messages, the last with ``more`` false; none at all is one empty message."""
    pieces = [records[i : i + RECORDS_A_LINE] for i in range(0, len(records), RECORDS_A_LINE)] or [[]]
    return [Members(piece, more=piece is not pieces[-1]) for piece in pieces]
