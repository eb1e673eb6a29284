"""Making certificates: a small CA, and those of nodes. Here are no files: PEM in, PEM out.

Keys are of the curve P-256. Ed25519 would do as well between our own nodes, but P-256 is what every CA, key store,
load balancer and audit takes too, and a TLS handshake with it is no slower.

``cryptography`` is imported when something is made or read: a node without TLS never does.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from iridium.cluster.vouching import canonical_host
from iridium.errors import CertificateError

if TYPE_CHECKING:
    from cryptography import x509

CA_YEARS = 10
"""Years that a CA is good for unless somebody says otherwise: longer than most clusters live."""

NODE_YEARS = 2
"""The same for a node's certificate: long enough to be no burden, and a lost key is worthless in the end."""

MOST_YEARS = 100
"""Years that can be asked for."""

BACKDATED = datetime.timedelta(hours=1)
"""How long before it is made a certificate begins: clocks differ."""

MOST_NAMES = 64
"""Ids and hosts of one certificate."""

LARGEST_REQUEST = 16 * 1024
"""Bytes of a signing request: one with the longest RSA key takes 6 KiB."""

LEAST_RSA = 2048
"""Bits of an RSA key that somebody else made; OpenSSL would take no shorter one."""

LONGEST_COMMON_NAME = 64
"""Characters of a common name in X.509."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)


class Authority(NamedTuple):
    """A CA.

    Attributes:
        certificate: a ``cryptography.x509.Certificate``.
        key: its private key.
    """

    certificate: Any
    key: Any


def make_key() -> Any:
    """A new private key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Any) -> bytes:
    """A private key as PEM, not encrypted: a node that restarts has nobody to ask for a passphrase."""
    from cryptography.hazmat.primitives import serialization as s

    return bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))


def certificate_pem(certificate: Any) -> bytes:
    """A certificate as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(certificate.public_bytes(Encoding.PEM))


def make_ca(name: str, years: int = CA_YEARS, now: datetime.datetime | None = None) -> Authority:
    """A CA that signs certificates of nodes, and of no other CA.

    Args:
        name: for people, at most 64 characters.
        years: how long it is good for.
        now: the time, in UTC.

    Raises:
        CertificateError: the name or the years cannot be.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key = make_key()
    subject = _subject(name)
    builder = _builder(subject, subject, key.public_key(), years, now)
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def read_ca(certificate: bytes, key: bytes) -> Authority:
    """A CA from PEM.

    Raises:
        CertificateError: it is none, it has expired, or the key is another's.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        read = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise CertificateError("the CA's certificate is no certificate in PEM form") from None
    try:
        private: Any = load_pem_private_key(key, None)
    except TypeError:
        raise CertificateError("the CA's key is encrypted; decrypt it first (openssl pkey)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the CA's key is no private key in PEM form that can be used") from None
    if private.public_key() != read.public_key():
        raise CertificateError("the CA's key does not belong to its certificate")
    try:
        is_ca = read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        raise CertificateError("the certificate is not a CA's, so what it signs counts for nothing")
    if read.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise CertificateError(
            f"the CA has expired, on {read.not_valid_after_utc:%Y-%m-%d}; make a new one, and new certificates"
        )
    return Authority(read, private)


def make_csr(key: Any) -> bytes:
    """A signing request as PEM: it shows that its sender has the key, and asks for no names.

    Args:
        key: the private key, of which only the public half is in it.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def issue(
    csr: bytes,
    ids: Sequence[str],
    hosts: Sequence[str],
    ca: Authority,
    years: int = NODE_YEARS,
    now: datetime.datetime | None = None,
) -> bytes:
    """Sign a node's certificate.

    Args:
        csr: the signing request, as PEM. Only its key counts: whatever names it asks for are ignored, since
            whoever issues decides who it is.
        ids: the ids of the node.
        hosts: its host names and addresses.
        ca: who signs.
        years: how long it is good for, but no longer than the CA.
        now: the time, in UTC.

    Returns:
        The certificate, as PEM.

    Raises:
        CertificateError: the request is none or its key cannot be used, a name cannot be one, or there is none.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
    from cryptography.x509.oid import ExtendedKeyUsageOID

    public = _requested_key(csr)
    names = _alternative_names(ids, hosts)
    title = next((name for name in (*ids, *hosts) if len(name) <= LONGEST_COMMON_NAME), "")
    signer = ca.certificate
    builder = _builder(_subject(title), signer.subject, public, years, now, signer.not_valid_after_utc)
    try:
        signers_id = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signers_id)
    except x509.ExtensionNotFound:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(both, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=not title)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority, critical=False)
    )
    own_hash = isinstance(ca.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return certificate_pem(builder.sign(ca.key, None if own_hash else hashes.SHA256()))


def _requested_key(csr: bytes) -> Any:
    """The public key of a signing request whose sender has the private one."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if len(csr) > LARGEST_REQUEST:
        raise CertificateError(f"a signing request of over {LARGEST_REQUEST} bytes")
    try:
        request = x509.load_pem_x509_csr(csr)
        valid = request.is_signature_valid
        public = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(
            "that is no signing request in PEM form, or its key is of no kind known here"
        ) from None
    if not valid:
        raise CertificateError("the signing request is not signed with its own key")
    usable = isinstance(public, ed25519.Ed25519PublicKey)
    usable = usable or (isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES)
    usable = usable or (isinstance(public, rsa.RSAPublicKey) and public.key_size >= LEAST_RSA)
    if not usable:
        raise CertificateError(
            "the key of the signing request cannot be used: "
            f"P-256, P-384, P-521, Ed25519, or RSA from {LEAST_RSA} bits can"
        )
    return public


_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def _alternative_names(ids: Sequence[str], hosts: Sequence[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    if not ids and not hosts:
        raise CertificateError("a certificate needs a node id or a host that it is for")
    if len(ids) + len(hosts) > MOST_NAMES:
        raise CertificateError(f"a certificate for over {MOST_NAMES} ids and hosts")
    names: list[x509.GeneralName] = []
    for id in ids:
        try:
            is_id = str(uuid.UUID(id)) == id
        except ValueError:
            is_id = False
        if not is_id:
            raise CertificateError(
                f"{id!r} is not a node id: 32 hex digits as 8-4-4-4-12, as `iridium members` shows"
            )
        names.append(x509.UniformResourceIdentifier(f"urn:uuid:{id}"))
    for host in hosts:
        canonical = canonical_host(host)
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(canonical)))
        except ValueError:
            names.append(x509.DNSName(_checked_name(host, canonical)))
    return names


def _checked_name(host: str, canonical: str) -> str:
    if "*" in host:
        raise CertificateError(f"{host!r} would be for every host of a domain, and so for no node: name each host")
    if len(canonical) > 253 or not all(map(_LABEL.fullmatch, canonical.split("."))):
        raise CertificateError(f"{host!r} is neither a host name nor an address")
    return canonical


def _subject(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if len(name) > LONGEST_COMMON_NAME or (name and not name.isprintable()):
        raise CertificateError(f"{name!r} cannot be a name: at most {LONGEST_COMMON_NAME} characters that print")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: Any,
    years: int,
    now: datetime.datetime | None,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    from cryptography import x509

    if not 0 < years <= MOST_YEARS:
        raise CertificateError(f"{years} years: from 1 to {MOST_YEARS} can be asked for")
    now = (now or datetime.datetime.now(datetime.UTC)).replace(microsecond=0)
    until = now + datetime.timedelta(days=365.25 * years)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(until, latest) if latest is not None else until)
    )


def _usage(**wanted: bool) -> x509.KeyUsage:
    from cryptography import x509

    all_of_them = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in all_of_them})
