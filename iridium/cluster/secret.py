"""The cluster's secret: how nodes prove to each other that they know it, and the file that holds it.

Nothing of a secret leaves this module but proofs, and the whole of it to a newcomer with a join token; it has no
place in a log, an event or an error.
``docs/security.md`` says what the proof promises and what not.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from iridium.errors import OptionError
from iridium.private import read_private

SECRET_FILE = "secret"  # nosec B105  # its name, not what is in it
"""The name of the file in a node's data directory."""

CREDENTIAL = "iridium-secret"
"""The name under which systemd may hand the file over (``LoadCredential=iridium-secret:PATH``)."""

LEAST_SECRET = 32
"""Characters of a secret at least: whoever connects is shown a proof, and can try out at leisure what made it. So
a secret must be beyond guessing, which what people think up is not."""

MOST_SECRET = 256
"""Characters of a secret at most: more are no safer."""

MOST_FILE = 4096
"""Bytes of a file that are read: two secrets and some lines of comment."""

SECRET_BYTES = 32
"""Random bytes of a secret that is made here: as many as the hash of a proof has."""

NONCE_BITS = 128
"""Random bits of each end's nonce: enough that none ever comes again, and with it an old proof."""

PROTOCOL = "iridium proof 1"
"""What every proof begins with, so that it can be mistaken for nothing else that is made with the same key."""

NEXT_ONE = "# The next one: accepted, and not used yet."
FORMER_ONE = "# The one before: still accepted."
"""Comments above the second secret of a file, by which it is known how far a change has come."""

_FIRST_LINE = "# The secret of an Iridium cluster. Whoever has it can join, and control every node.\n"


class Exchange(NamedTuple):
    """What a proof is about; both ends must see the same.

    Attributes:
        dialler, acceptor: the ids of the two nodes.
        dialler_nonce, acceptor_nonce: what each end has drawn for this link alone.
        dialler_version, acceptor_version: of the protocol, as each end has told them, so that nobody between them
            makes them speak an older one.
        binding: what names the TLS channel that the link runs in (RFC 9266), so that nobody can sit between two
            channels; b"" without TLS.
    """

    dialler: str
    acceptor: str
    dialler_nonce: str
    acceptor_nonce: str
    dialler_version: str
    acceptor_version: str
    binding: bytes


Prover = Literal["dialler", "acceptor"]
"""Whose proof it is: one end's cannot be sent back as the other's."""


def proof(secret: str, prover: Prover, exchange: Exchange) -> str:
    """The proof that an end knows a secret: HMAC-SHA256 (RFC 2104) over whose it is and the exchange.

    What it is over is one JSON array, in which nothing can be shifted from one field into the next.
    """
    text = msgspec.json.encode([PROTOCOL, prover, *exchange[:-1], exchange.binding.hex()])
    return hmac.digest(secret.encode(), text, "sha256").hex()


class Secrets:
    """The secrets that a node accepts, at most two of them.

    Args:
        known: the first is used; the second only accepted, while the cluster goes from one to the other.
        second: what the file says of the second one, :data:`NEXT_ONE` or :data:`FORMER_ONE`; "" for nothing.
    """

    def __init__(self, known: Sequence[str], second: str = "") -> None:
        self._known = tuple(known)
        self._second = second

    def __repr__(self) -> str:
        return f"<{len(self._known)} secrets>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and self._known == other._known

    def __hash__(self) -> int:
        return hash(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def proof(self, prover: Prover, exchange: Exchange) -> str:
        """The proof with the secret that is used."""
        return proof(self._known[0], prover, exchange)

    def proven(self, mac: str, prover: Prover, exchange: Exchange) -> Secrets | None:
        """The secrets with the one first that a proof was made with, or None where it was made with none of them.

        How long it takes tells nothing of how near a proof is.
        """
        given = mac.encode()
        right = [
            secret
            for secret in self._known
            if hmac.compare_digest(proof(secret, prover, exchange).encode(), given)
        ]
        return Secrets((*right, *(secret for secret in self._known if secret not in right))) if right else None

    def reveal(self) -> list[str]:
        """The secrets themselves, to be told to a newcomer with a token, and to nobody else."""
        return list(self._known)

    def to_text(self) -> str:
        """The contents of a file that holds them."""
        between = f"{self._second}\n" if self._second else ""
        return _FIRST_LINE + between.join(f"{secret}\n" for secret in self._known)

    def with_new(self, secret: str = "") -> Secrets:  # nosec B107  # none is given: one is made
        """These and a new one behind them, that is accepted and not yet used.

        Args:
            secret: the new one; "" makes one.

        Raises:
            OptionError: there are two already.
        """
        self._expect(1, "it holds two secrets already: --use the second everywhere, then --drop the first")
        return Secrets((*self._known, secret or new_secret()), NEXT_ONE)

    def turned(self) -> Secrets:
        """The second secret used, the first still accepted.

        Raises:
            OptionError: there is no second one, or it is in use already.
        """
        if self._second == FORMER_ONE:
            raise OptionError(
                "the new secret is in use already: --drop the one before, once every node has the file"
            )
        self._expect(2, "it holds one secret only: --add another first, and give the file to every node")
        return Secrets(self._known[::-1], FORMER_ONE)

    def without_old(self) -> Secrets:
        """The one that is used, alone.

        Raises:
            OptionError: there is no other, or it is the next one.
        """
        if self._second == NEXT_ONE:
            raise OptionError("the second secret is not in use yet, and the first is: --use the second first")
        self._expect(2, "it holds one secret only, so there is none to drop")
        return Secrets(self._known[:1])

    def _expect(self, count: int, otherwise: str) -> None:
        if len(self._known) != count:
            raise OptionError(otherwise)


def new_secret() -> str:
    """A secret that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(SECRET_BYTES)


def parse_secrets(text: str, path: object = "the secret file") -> Secrets:
    """The secrets in a file's text: one a line; empty lines and those that start with ``#`` do not count.

    Raises:
        OptionError: there is none, or more than two, or one that cannot be a secret; the text names the line.
    """
    found: list[str] = []
    second = ""
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word in (NEXT_ONE, FORMER_ONE):
            second = word
        if not word or word.startswith("#"):
            continue
        if not (word.isascii() and word.isprintable()) or " " in word:
            raise OptionError(f"{path}, line {number}: a secret is printable ASCII without spaces")
        if not LEAST_SECRET <= len(word) <= MOST_SECRET:
            raise OptionError(
                f"{path}, line {number}: a secret has {LEAST_SECRET} to {MOST_SECRET} characters, this one "
                f"{len(word)}; `iridium secret` makes one"
            )
        found.append(word)
    if not found:
        raise OptionError(f"{path} holds no secret; `iridium secret` makes one")
    if len(found) > 2 or len(set(found)) < len(found):
        raise OptionError(f"{path} holds over two secrets, or one twice; keep the one in use and the next")
    return Secrets(found, second)


def read_secrets(path: Path, *, credential: bool = False) -> Secrets:
    """The secrets in a file, which nobody else may read.

    Args:
        path: the file.
        credential: whether systemd gave it, which guards the directory and may show other bits for the file.

    Raises:
        OptionError: it cannot be read, others can read or replace it, or it holds no secrets.
    """
    data = read_private(path, MOST_FILE, "secret file", guarded=credential)
    try:
        return parse_secrets(data.decode("ascii"), path)
    except UnicodeDecodeError:
        raise OptionError(f"{path} is no secret file: it holds more than ASCII") from None


def find_secrets(
    given: Path | None, directory: Path, environment: Mapping[str, str] = os.environ
) -> tuple[Secrets, Path] | None:
    """A node's secrets and where they are: in the file that was named, systemd's credential, its data directory.

    Args:
        given: the file that was named, if any.
        directory: the data directory.
        environment: of the process.

    Returns:
        None where there is no such file, and none was named.

    Raises:
        OptionError: the first of the files that is there cannot be used.
    """
    if given is not None:
        return read_secrets(given), given
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    if credentials and os.path.lexists(path := Path(credentials) / CREDENTIAL):
        return read_secrets(path, credential=True), path
    path = directory / SECRET_FILE
    return (read_secrets(path), path) if os.path.lexists(path) else None
