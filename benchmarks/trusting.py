"""What nodes of a benchmark have to show each other: nothing, a secret, or a secret and certificates."""

from __future__ import annotations

from pathlib import Path

from iridium.cluster import certificates
from iridium.cluster.keeping import keep
from iridium.cluster.secret import SECRET_FILE, Secrets, new_secret
from iridium.cluster.tls import ClusterTls
from iridium.cluster.tls_files import find_files, load_tls
from iridium.cluster.trust import Trust, load_trust
from iridium.private import write_whole

PLAIN, SECRET, TLS = "plain", "secret", "secret+tls"
"""What there is to measure, from the least that is asked for to the most."""


def make_certificate(directory: Path) -> None:
    """Files of TLS for whoever is on this host, in `tls` below a directory."""
    ca = certificates.make_ca("benchmark")
    key = certificates.make_key()
    certificate = certificates.issue(certificates.make_csr(key), [], ["127.0.0.1"], ca)
    authority = certificates.certificate_pem(ca.certificate)
    keep(directory / "tls", certificate, certificates.key_pem(key), authority)


def read_certificate(directory: Path) -> ClusterTls:
    """What was made there."""
    files = find_files(None, None, None, None, directory)
    assert files is not None
    return load_tls(files)


def make(directory: Path) -> None:
    """A secret and certificates, in a directory."""
    write_whole(directory / SECRET_FILE, Secrets([new_secret()]).to_text().encode(), replace=False)
    make_certificate(directory)


def read(directory: Path, kind: str) -> Trust:
    """What a node of some kind has to show, of what was made in a directory."""
    if kind == PLAIN:
        return Trust()
    files = find_files(None, None, None, None, directory) if kind == TLS else None
    return load_trust(directory / SECRET_FILE, files, directory, {})
