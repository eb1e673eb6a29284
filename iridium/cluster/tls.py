"""TLS on the cluster port, without I/O: bytes of the wire in, bytes of the conversation out, and back.

TLS 1.3 only, and both ends show a certificate of the cluster's CA. What the names in it are worth is decided in
:mod:`iridium.cluster.vouching`; the files come from :mod:`iridium.cluster.tls_files`. OpenSSL is imported once a
node has TLS, and not before: it takes 60 ms and 14 MB.

Twisted has a TLS transport of its own. Here it would tell its protocol of a connection before there is one to
trust, lose the alert that says why, and stand between a link and its socket where every message passes.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from iridium.cluster.link import Role
from iridium.cluster.vouching import CertificateNames, TlsPeer
from iridium.errors import IridiumError

if TYPE_CHECKING:
    from OpenSSL import SSL

MOST_HANDSHAKE = 64 * 1024
"""Bytes of a TLS handshake: one with a chain of RSA certificates takes 10 KiB, ours 3 KiB."""

MOST_MUTE = 256
"""Records of a connection that say nothing once it has begun, such as those with new keys: each takes longer than
it looks, and nobody has reason to send more than a few in a month."""

MOST_DEPTH = 4
"""Certificates between a node's and the CA's: nobody has more than one or two."""

BINDING = b"EXPORTER-Channel-Binding"
"""The label of a channel binding in RFC 9266."""

BINDING_SIZE = 32
"""Its bytes, from there too."""

RECORD = 16 * 1024
"""Bytes that TLS puts into one record at most."""

MOST_RECORD = RECORD + 1024
"""Bytes that one takes on the wire at most, with what OpenSSL has to say besides."""

HEADER = 5
"""Bytes before each record; the last two are its length."""

HANDSHAKE_BYTE, ALERT_BYTE = 0x16, 0x15
"""What the first byte of a TLS connection can be, and of no line of JSON."""

GET_ONE = "both nodes need a certificate of the same CA (`iridium certificates`), or neither"
SAME_CA = "give both nodes certificates of the same CA (`iridium certificates node --ca DIR`)"

_REJECTED = {
    "unknown ca": SAME_CA,
    "certificate required": "give this node a certificate (`iridium certificates node`)",
    "certificate expired": "make this node a new one (`iridium certificates node`), and compare the clocks",
    "bad certificate": SAME_CA,
    "certificate revoked": "make this node a new certificate (`iridium certificates node`)",
    "certificate unknown": SAME_CA,
    "unsupported certificate": "make one that is good for both ends of a connection (`iridium certificates node`)",
    "access denied": SAME_CA,
    "decrypt error": "the key does not fit the certificate; make a new pair (`iridium certificates node`)",
}
"""The alerts of a peer that does not take our certificate, with what to do."""

_RENEW = "make that node a new certificate (`iridium certificates node`)"
_UNVERIFIED = {
    2: ("is of another CA", SAME_CA),
    7: ("is of another CA", SAME_CA),
    9: ("is not valid yet", "compare the clocks of the two machines"),
    10: ("has expired", f"{_RENEW}, and compare the clocks of the two machines"),
    18: ("is signed by itself", SAME_CA),
    19: ("is of another CA", SAME_CA),
    20: ("is of another CA", SAME_CA),
    21: ("is of another CA", SAME_CA),
    22: ("has too long a chain", SAME_CA),
    24: ("is of something that is no CA", SAME_CA),
    26: ("is not for both ends of a connection", f"{_RENEW} for server and client authentication"),
    66: ("has too weak a key", _RENEW),
    67: ("is of a CA with too weak a key", "make a new CA (`iridium certificates ca`)"),
    68: ("is signed with too weak a hash", _RENEW),
}
"""What is wrong with a peer's certificate, by OpenSSL's number (``X509_V_ERR_...``), with what to do."""


_BOTH_ENDS_SHOW_ONE = 1 | 2
"""OpenSSL's ``VERIFY_PEER`` and ``VERIFY_FAIL_IF_NO_PEER_CERT``."""


class TlsError(IridiumError):
    """The TLS of a connection failed, and with it the connection.

    Args:
        problem: what is wrong.
        remedy: what to do, or "".
        rejected: whether the peer, whom we know by its certificate, does not take ours.
    """

    def __init__(self, problem: str, remedy: str = "", rejected: bool = False) -> None:
        self.problem = problem
        self.remedy = remedy
        self.rejected = rejected
        super().__init__(f"{problem}; {remedy}" if remedy else problem)


class ClusterTls:
    """What a node needs for TLS: its certificate and key, and the CA that it trusts.

    Args:
        certificates: the node's own (``cryptography.x509.Certificate``), then those between it and the CA.
        key: its private key, of ``cryptography``.
        authorities: the certificates of the CA.

    Attributes:
        names: of its own certificate.
        expires: when its own certificate does, in UTC.

    Raises:
        TlsError: they do not fit each other, or a peer of the same CA would not take them.
    """

    def __init__(self, certificates: list[Any], key: Any, authorities: list[Any]) -> None:
        from OpenSSL import SSL, crypto

        self.names = names_of(certificates[0])
        self.expires = certificates[0].not_valid_after_utc
        context = self._context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        # A session that goes on where another ended would be one without certificates.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB that an idle link needs not
        context.set_verify(_BOTH_ENDS_SHOW_ONE)
        context.set_verify_depth(MOST_DEPTH)
        store = context.get_cert_store()
        assert store is not None
        try:
            for authority in authorities:
                store.add_cert(crypto.X509.from_cryptography(authority))
            context.use_certificate(certificates[0])
            for certificate in certificates[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(key)
            context.check_privatekey()
        except SSL.Error as error:
            raise TlsError(_reason(error) or "OpenSSL does not take it") from None
        except crypto.Error as error:
            raise TlsError(_reason(error) or "OpenSSL does not take it") from None
        self._shake_hands()

    def _shake_hands(self) -> None:
        """Meet itself, as a peer with the same CA would: what is wrong shows now, and not at the first link."""
        dialler, acceptor = self.channel(Role.DIALLER), self.channel(Role.ACCEPTOR)
        for _ in range(3):  # the hellos, the certificates, and once for each end to see that it is done
            dialler.receive(acceptor.outgoing())
            acceptor.receive(dialler.outgoing())
        assert dialler.peer is not None, "a handshake has no more flights"
        assert acceptor.peer is not None, "a handshake has no more flights"

    def channel(self, role: Role) -> Channel:
        """TLS for one connection.

        Args:
            role: which end this is.
        """
        from OpenSSL import SSL

        connection = SSL.Connection(self._context, None)
        if role is Role.DIALLER:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        verdict = Verdict()
        # With a callback of the context's, pyOpenSSL would look for what it raised after every read and write.
        connection.set_verify(_BOTH_ENDS_SHOW_ONE, verdict.note)
        return Channel(connection, verdict)


class Verdict:
    """What OpenSSL thinks of a peer's certificate; its error would not say what is wrong with it.

    Attributes:
        number: of what is wrong, as ``X509_V_ERR_...``; 0 for nothing.
    """

    def __init__(self) -> None:
        self.number = 0

    def note(self, connection: SSL.Connection, certificate: Any, number: int, depth: int, ok: int) -> bool:
        """OpenSSL has looked at one certificate of the chain."""
        if not ok:
            self.number = number
        return bool(ok)


class Channel:
    """One end of a TLS connection.

    Args:
        connection: of OpenSSL, with its role set.
        verdict: what it thinks of the peer's certificate.

    Attributes:
        peer: who is at the other end, once its certificate is verified.
        ended: whether the peer has said that nothing follows.
    """

    __slots__ = ("_connection", "_head", "_missing", "_mute", "_ssl", "_taken", "_verdict", "ended", "peer")

    def __init__(self, connection: SSL.Connection, verdict: Verdict) -> None:
        from OpenSSL import SSL

        self._ssl = SSL
        self._connection = connection
        self.peer: TlsPeer | None = None
        self.ended = False
        self._verdict = verdict
        self._taken = 0  # bytes of the handshake
        self._mute = 0
        self._missing = 0  # bytes to come of the record that has begun
        self._head = b""  # or what has come of its header

    def receive(self, data: bytes) -> bytes:
        """Take what came from the wire; without any at the beginning, to begin.

        Returns:
            What it says, nothing before the handshake is over. :meth:`outgoing` may have an answer.

        Raises:
            TlsError: the connection is of no use any more; :meth:`outgoing` may have the alert that says why.
        """
        connection, said = self._connection, []
        if data:
            connection.bio_write(data)
        most = RECORD if self._missing or self._head else min(RECORD, len(data))
        complete = records = self._count(data)
        try:
            if self.peer is None:
                self._taken += len(data)
                if self._taken > MOST_HANDSHAKE:
                    raise TlsError(f"a TLS handshake of over {MOST_HANDSHAKE} bytes")
                connection.do_handshake()
                self.peer = self._who_is_there()
                self._mute -= records
                records, most = MOST_HANDSHAKE, RECORD  # how many of them it took, OpenSSL knows
            for _ in range(records):
                said.append(connection.recv(most))
        except self._ssl.WantReadError:
            pass
        except self._ssl.ZeroReturnError:
            self.ended = True
        except self._ssl.Error as error:
            raise self._failure(error) from None
        if len(said) != complete and self.peer is not None:
            self._mute += complete - len(said)
            if self._mute > MOST_MUTE:
                raise TlsError(f"over {MOST_MUTE} records that say nothing")
        return said[0] if len(said) == 1 else b"".join(said)

    def _count(self, data: bytes) -> int:
        """The records that these bytes complete, and so how often there is something to read.

        To ask OpenSSL once more, only to learn that there is nothing, takes as long as to read.
        """
        if self._head:
            data = self._head + data
        at, size, records = self._missing, len(data), 0
        if at:
            if at > size:
                self._missing = at - size
                return 0
            records = 1
        while at + HEADER <= size:
            at += HEADER + (data[at + 3] << 8 | data[at + 4])
            if at > size:
                self._missing, self._head = at - size, b""
                return records
            records += 1
        self._missing, self._head = 0, data[at:]
        return records

    def _who_is_there(self) -> TlsPeer:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        names = CertificateNames() if certificate is None else names_of(certificate)
        return TlsPeer(names, self._connection.export_keying_material(BINDING, BINDING_SIZE, b""))

    def fingerprint(self) -> bytes:
        """SHA-256 of the peer's certificate; b"" where it has shown none."""
        from cryptography.hazmat.primitives.hashes import SHA256

        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        return b"" if certificate is None else bytes(certificate.fingerprint(SHA256()))

    def send(self, data: bytes) -> bytes:
        """What the wire gets for something to say, and whatever else is waiting to leave.

        Raises:
            TlsError: nothing more can be said.
        """
        connection = self._connection
        try:
            if len(data) <= RECORD:
                connection.send(data)
                sealed = connection.bio_read(MOST_RECORD)
                return sealed if len(sealed) < MOST_RECORD else sealed + self.outgoing()
            pieces, sent, whole = memoryview(data), 0, []
            while sent < len(data):
                sent += connection.send(pieces[sent : sent + RECORD])
                whole.append(connection.bio_read(MOST_RECORD))
            if len(whole[-1]) == MOST_RECORD:  # answers to new keys were before it
                whole.append(self.outgoing())
            return b"".join(whole)
        except self._ssl.Error as error:
            raise self._failure(error) from None

    def outgoing(self, most: int = MOST_HANDSHAKE) -> bytes:
        """What is to be sent now: of the handshake, an alert, or the end."""
        try:
            return self._connection.bio_read(most)
        except self._ssl.WantReadError:
            return b""

    def end(self) -> bytes:
        """Say that nothing follows; what the wire gets for it."""
        with contextlib.suppress(self._ssl.Error):  # in a handshake, or after a failure, there is nothing to end
            self._connection.shutdown()
        return self.outgoing()

    def _failure(self, error: SSL.Error) -> TlsError:
        """What happened, in words for people."""
        number = self._verdict.number
        if number:
            what, remedy = _UNVERIFIED.get(number, (f"cannot be verified (OpenSSL's error {number})", SAME_CA))
            return TlsError(f"its certificate {what}", remedy)
        reason = _reason(error)
        alert = re.search(r"\balert (.+)", reason)
        if alert is not None:
            name = alert[1]
            if name in _REJECTED and self.peer is not None:
                return TlsError(f"the peer rejected our certificate: {name}", _REJECTED[name], rejected=True)
            if name == "protocol version":
                return TlsError("the peer does not speak TLS 1.3", "both ends must")
            return TlsError(f"the peer ended TLS: {name}")
        if "did not return a certificate" in reason:
            return TlsError("it shows no certificate", GET_ONE)
        if reason in ("unsupported protocol", "no protocols available", "wrong version number"):
            return TlsError("it does not speak TLS 1.3", "both ends must")
        return TlsError(f"TLS failed: {reason}" if reason else "TLS failed")


def names_of(certificate: Any) -> CertificateNames:
    """Whom a certificate is for.

    Args:
        certificate: a ``cryptography.x509.Certificate``.

    Raises:
        TlsError: its names cannot be read.
    """
    from cryptography import x509

    from iridium.cluster.vouching import canonical_host

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return CertificateNames()
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise TlsError(f"the names in the certificate cannot be read ({error})") from None
    uris = (uri.lower() for uri in names.get_values_for_type(x509.UniformResourceIdentifier))
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return CertificateNames(
        frozenset(uri.removeprefix("urn:uuid:") for uri in uris if uri.startswith("urn:uuid:")),
        frozenset(canonical_host(host) for host in hosts),
    )


def _reason(error: Exception) -> str:
    """The last reason in an error of OpenSSL, or ""."""
    queue = error.args[0] if error.args else ()
    return str(queue[-1][-1]) if isinstance(queue, list | tuple) and queue else ""
