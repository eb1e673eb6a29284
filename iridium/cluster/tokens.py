"""Join tokens: one line by which a node that has nothing gets the cluster's secret and a certificate.

A token names a node that gives them, the fingerprint of the certificate that it shows for this purpose, and a
secret that is good once and for ten minutes. Here are tokens as text and the table of those that are out; the
connection stands in :mod:`iridium.cluster.enrolling`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import msgspec

from iridium.cluster.rules import split_address
from iridium.errors import CommandError, OptionError

LIFETIME = 600.0
"""Seconds that a token is good for: time to copy a line to another machine, not to lose it."""

MOST_TOKENS = 16
"""Tokens out at once: more than anybody hands out in ten minutes by hand."""

SECRET_SIZE = 32
"""Random bytes in a token: as many as a hash has, and nobody tries them out in ten minutes."""

FINGERPRINT_SIZE = 32
"""Bytes of a SHA-256."""

CHECK_SIZE = 4
"""Bytes of the hash that show a token which was not copied whole."""

LONGEST_TOKEN = 1024
"""Characters of a token that are looked at: one with everything at its longest has 700."""

PREFIX = "iridium-join-"
"""What every token begins with, so that people and scanners of logs know one when they see it."""


class Token(NamedTuple):
    """What is in a token.

    Attributes:
        cluster: the name of the cluster that it leads into.
        address: HOST:PORT of the cluster port of the node that made it, to join.
        door: the port of that host at which the secret is given out.
        fingerprint: SHA-256 of the certificate that is shown there.
        secret: what must be said there.
    """

    cluster: str
    address: str
    door: int
    fingerprint: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"<token for {self.address}>"

    def __str__(self) -> str:
        body = msgspec.msgpack.encode(list(self))
        return _text(_check(body) + body)

    @property
    def host(self) -> str:
        """The host of the node that made it."""
        return split_address(self.address)[0]


class _Body(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    address: Annotated[str, msgspec.Meta(max_length=261)]
    door: Annotated[int, msgspec.Meta(gt=0, lt=65536)]
    fingerprint: Annotated[bytes, msgspec.Meta(min_length=FINGERPRINT_SIZE, max_length=FINGERPRINT_SIZE)]
    secret: Annotated[bytes, msgspec.Meta(min_length=SECRET_SIZE, max_length=SECRET_SIZE)]


def _text(data: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECK_SIZE]


def parse_token(text: str) -> Token:
    """The token in what somebody copied.

    Raises:
        OptionError: it is none, or not the whole of one; the text does not repeat it.
    """
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > LONGEST_TOKEN:
        raise OptionError(f"that is no join token: one begins with {PREFIX} and is made by !token on a member")
    word = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    check, body = data[:CHECK_SIZE], data[CHECK_SIZE:]
    if check != _check(body) or _text(data) != text:
        raise OptionError("the join token is not whole, or was changed on the way: copy all of it")
    try:
        token = Token(*msgspec.structs.astuple(msgspec.msgpack.decode(body, type=_Body)))
        split_address(token.address)
    except (msgspec.DecodeError, OptionError):
        raise OptionError("the join token is of another version of Iridium: make one with this one") from None
    return token


class Tokens:
    """The tokens that are out, by the hash of their secret: who reads this node's memory learns none.

    Args:
        clock: seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._expiry: dict[bytes, float] = {}

    def __len__(self) -> int:
        self._expire()
        return len(self._expiry)

    def make(self) -> bytes:
        """The secret of a new token.

        Raises:
            CommandError: there are as many as there may be.
        """
        self._expire()
        if len(self._expiry) >= MOST_TOKENS:
            raise CommandError(f"{MOST_TOKENS} tokens are out already; each is good for {LIFETIME / 60:g} minutes")
        secret = secrets.token_bytes(SECRET_SIZE)
        self._expiry[_digest(secret)] = self._clock() + LIFETIME
        return secret

    def clear(self) -> None:
        """No token that is out is good any more."""
        self._expiry.clear()

    def take(self, secret: bytes) -> Literal["good", "unknown", "expired"]:
        """Use a token up; how long it takes tells nothing of how near a wrong one is."""
        given = _digest(secret)
        found = [digest for digest in self._expiry if hmac.compare_digest(digest, given)]
        if not found:
            return "unknown"
        return "good" if self._expiry.pop(found[0]) > self._clock() else "expired"

    def _expire(self) -> None:
        now = self._clock()
        self._expiry = {digest: expiry for digest, expiry in self._expiry.items() if expiry > now}


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
