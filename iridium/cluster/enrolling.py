"""What a newcomer with a join token and a member say to each other: one line each way, inside TLS.

The member shows a certificate that it has made for this purpose, whose fingerprint is in the token: the newcomer
says nothing to anybody else. It says the token's secret, its id and a signing request; the member gives it what it
needs to join. Here is no I/O; :mod:`iridium.cluster.door` has the sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

from iridium.cluster import certificates as c
from iridium.cluster.keeping import keep
from iridium.cluster.messages import NodeId
from iridium.cluster.secret import SECRET_FILE, Secrets, parse_secrets
from iridium.cluster.tls_files import CA_KEY, DIRECTORY, TlsFiles, read_pem
from iridium.cluster.tokens import SECRET_SIZE, Tokens
from iridium.cluster.trust import Trust
from iridium.errors import CertificateError, CommandError, IridiumError
from iridium.private import write_whole

LONGEST_ASKED = 4096
"""Bytes of what a newcomer says: a signing request with a P-256 key takes 400, one with RSA 2000."""

LONGEST_GIVEN = 64 * 1024
"""Bytes of the answer: a certificate, the CA's, and two secrets take 4 KiB."""


TOKEN_REFUSED = "token-refused"  # nosec B105  # the name of an event
"""The event of somebody who gets nothing."""


class Enrol(msgspec.Struct, tag_field="type", tag="enrol"):
    """A newcomer asks for what it needs.

    Attributes:
        token: the token's secret.
        id: the newcomer's node id.
        csr: a signing request, as PEM.
    """

    token: Annotated[bytes, msgspec.Meta(min_length=SECRET_SIZE, max_length=SECRET_SIZE)]
    id: NodeId
    csr: str


class Enrolled(msgspec.Struct, tag_field="type", tag="enrolled", omit_defaults=True):
    """A member gives it.

    Attributes:
        secrets: the cluster's, the one in use first; empty where it has none.
        certificate, ca: the newcomer's certificate and the CA's, as PEM; "" where the cluster has no TLS.
    """

    secrets: Annotated[list[str], msgspec.Meta(max_length=2)] = []
    certificate: str = ""
    ca: str = ""


class Turned(msgspec.Struct, tag_field="type", tag="refuse"):
    """A member gives nothing, and says why."""

    detail: Annotated[str, msgspec.Meta(max_length=1024)]


class EnrolmentError(IridiumError):
    """A join token did not lead into its cluster; the text says why and what to do."""


_encoder = msgspec.json.Encoder()
_asked = msgspec.json.Decoder(Enrol)
_given = msgspec.json.Decoder(Enrolled | Turned)


class Desk:
    """Where a member gives out what newcomers need, for the tokens that are out.

    Args:
        tokens: these.
        trust: gives what the cluster asks for at present.
        is_known: whether an id is a member's, or this node's own.
        event: told what happened: a kind, a subject, a detail.
    """

    def __init__(
        self,
        tokens: Tokens,
        trust: Callable[[], Trust],
        is_known: Callable[[str], bool],
        event: Callable[[str, str, str], None],
    ) -> None:
        self._tokens = tokens
        self._trust = trust
        self._is_known = is_known
        self._event = event

    def check(self) -> None:
        """Whether there is anything to give, before a token promises it.

        Raises:
            CommandError: there is not; the text says what to do.
        """
        trust = self._trust()
        if not trust.guards:
            raise CommandError("this cluster has no secret and no TLS, so nobody needs a token: use !join_cluster")
        if trust.files is not None and trust.files.authority_key is None:
            raise CommandError(
                "this node has no key of the CA, and so no certificate to give to a newcomer: make the token on a "
                f"node that was started with --tls-ca-key, or with {DIRECTORY}/{CA_KEY} in its data directory; "
                "one that came later counts after kill -HUP"
            )

    def check_authority(self) -> None:
        """Whether certificates can be signed; it reads files, and imports what takes a tenth of a second.

        Raises:
            IridiumError: they cannot; the text says why.
        """
        trust = self._trust()
        if trust.files is not None:
            _authority(trust.files)

    def answer(self, line: bytes, host: str) -> bytes:
        """The answer to what a newcomer says, a line.

        Args:
            line: what it says.
            host: where it is.
        """
        try:
            asked = _asked.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._turn_away(host, "that is no request of a newcomer")
        taken = self._tokens.take(asked.token)
        if taken == "unknown":
            return self._turn_away(host, "the token is unknown here: it was used before, or the node restarted")
        if taken == "expired":
            return self._turn_away(host, "the token has expired")
        if self._is_known(asked.id):
            # Or the token of a newcomer would be good for the certificate of a node that is there already.
            detail = f"{asked.id} is a node of this cluster already; !forget it first, if it is gone"
            return self._turn_away(host, detail)
        try:
            given = self._give(asked)
        except IridiumError as error:
            return self._turn_away(host, str(error))
        self._event("token-used", asked.id, f"from {host}")
        return _encoder.encode(given) + b"\n"

    def _turn_away(self, host: str, detail: str) -> bytes:
        self._event(TOKEN_REFUSED, host, detail)
        return _encoder.encode(Turned(detail[:1024])) + b"\n"

    def _give(self, asked: Enrol) -> Enrolled:
        trust = self._trust()
        given = Enrolled()
        if trust.secrets is not None:
            given.secrets = trust.secrets.reveal()
        if trust.files is not None:
            given.certificate = c.issue(asked.csr.encode(), [asked.id], [], _authority(trust.files)).decode()
            given.ca = read_pem(trust.files.authority).decode()
        return given


def _authority(files: TlsFiles) -> c.Authority:
    if files.authority_key is None:
        raise CertificateError("this node cannot issue certificates any more")
    return c.read_ca(read_pem(files.authority), read_pem(files.authority_key, private=True))


def request(token: bytes, id: str, csr: bytes) -> bytes:
    """What a newcomer says.

    Args:
        token: the token's secret.
        id: its node id.
        csr: its signing request, as PEM.
    """
    return _encoder.encode(Enrol(token, id, csr.decode())) + b"\n"


def parse_answer(line: bytes) -> Enrolled:
    """What a member gives.

    Raises:
        IridiumError: it gives nothing, or says what is no answer.
    """
    try:
        answer: Enrolled | Turned = _given.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EnrolmentError("the member's answer is none; both nodes need the same version of Iridium") from None
    if isinstance(answer, Turned):
        raise EnrolmentError(f"the member gives nothing: {answer.detail}; make another token there with !token")
    if not answer.secrets and not answer.certificate:
        raise EnrolmentError("the member gives neither a secret nor a certificate")
    if answer.secrets:
        parse_secrets("\n".join(answer.secrets), "what the member gives")
    return answer


def store(given: Enrolled, key: bytes, directory: Path) -> None:
    """Put what a member gave where the node looks for it.

    Args:
        given: this.
        key: the private key of the request, as PEM.
        directory: the node's data directory.

    Raises:
        IridiumError: a file cannot be written, or is there already.
    """
    # The certificate first: with a secret alone, after a crash in between, the node would dial without TLS.
    if given.certificate:
        keep(directory / DIRECTORY, given.certificate.encode(), key, given.ca.encode())
    if given.secrets:
        write_whole(directory / SECRET_FILE, Secrets(given.secrets).to_text().encode(), replace=False)
