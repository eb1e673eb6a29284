"""What nodes tell each other about applications: one JSON object a message, tagged by ``type``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from iridium.errors import IridiumError
from iridium.supervision.records import MOST_APPLICATIONS
from iridium.supervision.types import MOST_CLAIMS, Claim, Deployment, Hash, Name, NodeId, Number, Record

LONGEST_MESSAGE = 256 * 1024
"""Bytes of a message: the claims of a node that runs as many replicas as it may. Most have some hundred."""

MOST_NODES = 512
"""Nodes that one message tells of: twice the largest cluster, for those that have just gone."""

PIECE = 32 * 1024
"""Bytes of an image in one message, so that it holds up nothing for long."""

MOST_IMAGE = 4 * 1024 * 1024
"""Bytes of an image: what a session loads, a million instructions."""

Digest = Annotated[str, msgspec.Meta(max_length=64)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=MOST_IMAGE)]


class Told(msgspec.Struct, frozen=True, tag="record"):
    """A record; the receiver merges it."""

    record: Record


class Claims(msgspec.Struct, frozen=True, tag="claims"):
    """All that one node sees to.

    Attributes:
        node: which node; it alone makes these, others pass them on.
        life: grows with every start of that node.
        sequence: grows with every change in one life.
        accepts: whether the node takes more replicas: not while it settles, nor when it stops.
        claims: its replicas.
    """

    node: NodeId
    life: Number
    sequence: Number
    accepts: bool
    claims: Annotated[tuple[Claim, ...], msgspec.Meta(max_length=MOST_CLAIMS)] = ()

    @property
    def order(self) -> tuple[int, int]:
        """The larger one is newer."""
        return self.life, self.sequence


class Hello(msgspec.Struct, frozen=True, tag="digest"):
    """A hash of all that a node knows; one who knows something else answers with a summary."""

    hash: Digest


class Summary(msgspec.Struct, frozen=True, tag="summary"):
    """What a node knows, in short. The receiver sends what is newer with it, and its own summary if it is behind.

    Attributes:
        records: of each application what :meth:`~iridium.supervision.types.Record.fingerprint` gives.
        claims: of each node that is up life and sequence.
        again: whether it answers a summary, and so is not answered by one.
    """

    records: Annotated[
        dict[Name, tuple[Number, Deployment, Number, Digest]], msgspec.Meta(max_length=MOST_APPLICATIONS)
    ]
    claims: Annotated[dict[NodeId, tuple[Number, Number]], msgspec.Meta(max_length=MOST_NODES)]
    again: bool = False


class WantImage(msgspec.Struct, frozen=True, tag="want-image"):
    """Asks for a piece of an image."""

    hash: Hash
    offset: Offset


class ImagePiece(msgspec.Struct, frozen=True, tag="image"):
    """A piece of an image, or with a size of 0 the answer that the node does not have it.

    Attributes:
        hash, offset: as they were asked for.
        size: bytes of the whole image.
        data: at most :data:`PIECE` bytes, in Base64.
    """

    hash: Hash
    offset: Offset
    size: Offset
    data: Annotated[bytes, msgspec.Meta(max_length=PIECE)] = b""


Message: TypeAlias = Told | Claims | Hello | Summary | WantImage | ImagePiece

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


class MessageError(IridiumError):
    """A member sent what is no message; the text says why."""


def encode(message: Message) -> bytes:
    """A message as it is sent."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """What a member sent. Fields that this version does not know are ignored.

    Raises:
        MessageError: it is no message of this version, or out of bounds.
    """
    if len(data) > LONGEST_MESSAGE:
        raise MessageError(f"a message of {len(data)} bytes; the most is {LONGEST_MESSAGE}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(str(error)) from None
