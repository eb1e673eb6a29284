"""Where a node's certificate, key and CA are, and what can be wrong with these files."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from iridium.errors import OptionError
from iridium.private import read_private

if TYPE_CHECKING:
    from iridium.cluster.tls import ClusterTls

DIRECTORY = "tls"
"""Below a node's data directory."""

NODE_CERTIFICATE, NODE_KEY, CA_CERTIFICATE, CA_KEY = "node.pem", "node.key", "ca.pem", "ca.key"
"""What is in it; the last only where the node may issue certificates."""

LARGEST_PEM = 256 * 1024
"""Bytes of a file that is read: a chain of certificates takes 10 KiB, a list of many CAs 200 KiB."""

EXPIRES_SOON = datetime.timedelta(days=21)
"""Before a certificate expires, from when on the log says so at every start."""


class TlsFiles(NamedTuple):
    """The files of a node's TLS.

    Attributes:
        certificate: the node's own, and after it those between it and the CA.
        key: its private key.
        authority: the certificates of the CA.
        authority_key: the CA's private key, where this node may issue certificates; else None.
        by_option: whether options named them, so that errors do too.
    """

    certificate: Path
    key: Path
    authority: Path
    authority_key: Path | None = None
    by_option: bool = True

    def told(self, path: Path) -> str:
        """A file as errors name it."""
        options = {self.certificate: "--tls-cert ", self.key: "--tls-key ", self.authority: "--tls-ca "}
        return f"{options.get(path, '') if self.by_option else ''}{path}"


def find_files(
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
    authority_key: Path | None,
    directory: Path,
) -> TlsFiles | None:
    """The files that a node is to use.

    Args:
        certificate, key, authority, authority_key: what options named.
        directory: the node's data directory, whose ``tls`` is taken where they name nothing.

    Returns:
        The files, not read yet; None for a node without TLS.

    Raises:
        OptionError: some are missing.
    """
    given = {"--tls-cert": certificate, "--tls-key": key, "--tls-ca": authority}
    missing = [option for option, path in given.items() if path is None]
    if certificate is not None and key is not None and authority is not None:
        return TlsFiles(certificate, key, authority, authority_key)
    if len(missing) < len(given) or authority_key is not None:
        raise OptionError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: "
            "TLS needs --tls-cert, --tls-key and --tls-ca"
        )
    kept = directory / DIRECTORY
    names = (NODE_CERTIFICATE, NODE_KEY, CA_CERTIFICATE)
    entries = _entries(kept)
    there = [name for name in names if name in entries]
    if not there:
        return None
    if len(there) < len(names):
        # Not to be taken for a node without TLS: it would let everybody in.
        lost = " and ".join(name for name in names if name not in there)
        raise OptionError(
            f"{kept} has {' and '.join(there)}, but no {lost}: bring back what is missing, "
            "or remove the directory for a node without TLS"
        )
    own = kept / CA_KEY
    certificate, key, authority = (kept / name for name in names)
    return TlsFiles(certificate, key, authority, own if CA_KEY in entries else None, by_option=False)


def _entries(directory: Path) -> list[str]:
    """What is in a directory; nothing where there is none.

    Raises:
        OptionError: something is there that cannot be looked into, and so not be taken for nothing.
    """
    if not os.path.lexists(directory):
        return []
    try:
        return os.listdir(directory)
    except OSError as error:
        raise OptionError(
            f"{directory} cannot be read ({error.strerror}): let this node's user at it, "
            "or remove it for a node without TLS"
        ) from None


def load_tls(files: TlsFiles, now: datetime.datetime | None = None) -> ClusterTls:
    """Read a node's files; again, where they have been replaced.

    Args:
        files: which.
        now: the time, in UTC.

    Raises:
        OptionError: one cannot be used; the text says which, and what is wrong.
    """
    from cryptography import x509

    from iridium.cluster.tls import ClusterTls, TlsError

    certificates = _certificates(files, files.certificate)
    authorities = _certificates(files, files.authority)
    key = _key(files)
    own = certificates[0]
    now = now or datetime.datetime.now(datetime.UTC)
    for certificate, path in ((own, files.certificate), (authorities[0], files.authority)):
        told = files.told(path)
        if certificate.not_valid_after_utc < now:
            raise OptionError(f"{told} has expired, on {certificate.not_valid_after_utc:%Y-%m-%d}; make a new one")
        if certificate.not_valid_before_utc > now:
            begins = certificate.not_valid_before_utc
            raise OptionError(f"{told} is not valid before {begins:%Y-%m-%d %H:%M} UTC; is the clock right?")
    if own.public_key() != key.public_key():
        raise OptionError(f"{files.told(files.key)} is not the key of the certificate {files.certificate}")
    assert isinstance(own, x509.Certificate)
    try:
        tls = ClusterTls(certificates, key, authorities)
    except TlsError as error:
        problem = error.problem.removeprefix("its certificate ")
        raise OptionError(
            f"{files.told(files.certificate)}: the certificate {problem} (CA: {files.authority})"
            if problem != error.problem
            else f"{files.told(files.certificate)}: {problem}"
        ) from None
    if not tls.names.ids and not tls.names.hosts:
        raise OptionError(
            f"{files.told(files.certificate)} names no node and no host, so that no peer would take it; "
            "make one with `iridium certificates node`, with --id or --host"
        )
    return tls


def read_pem(path: Path, told: str = "", *, private: bool = False) -> bytes:
    """Read a small file.

    Args:
        path: the file.
        told: how errors name it; its path unless given.
        private: whether nobody but its owner may be able to read or change it.

    Raises:
        OptionError: it cannot be read, is too large, or others can.
    """
    if private:
        return read_private(path, LARGEST_PEM, "private key")
    told = told or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_PEM + 1)
    except OSError as error:
        raise OptionError(f"{told} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_PEM:
        raise OptionError(f"{told} has over {LARGEST_PEM} bytes: it cannot be what it should be")
    return data


def _certificates(files: TlsFiles, path: Path) -> list[Any]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(read_pem(path, files.told(path)))
    except ValueError:
        raise OptionError(f"{files.told(path)} holds no certificate in PEM form") from None


def _key(files: TlsFiles) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_pem(files.key, files.told(files.key), private=True)
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise OptionError(
            f"{files.told(files.key)} is encrypted, and a node cannot ask for its passphrase; decrypt it"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise OptionError(f"{files.told(files.key)} holds no private key in PEM form that can be used") from None
