"""The files of a node's TLS, written where it looks for them."""

from __future__ import annotations

import os
from pathlib import Path

from iridium.cluster.tls_files import CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY
from iridium.errors import CertificateError
from iridium.private import PRIVATE, PUBLIC, write_whole

ANEW = "; to make it anew, say --replace"
"""What to do about a file that is there already."""


def keep(directory: Path, certificate: bytes, key: bytes, authority: bytes, *, replace: bool = False) -> None:
    """Write the three files of a node's TLS.

    Args:
        directory: where; ``tls`` in a node's data directory is where a node looks for them.
        certificate: the node's, as PEM, and those between it and the CA.
        key: its private key, as PEM.
        authority: the certificate of the CA, as PEM.
        replace: whether they may take the place of others.

    Raises:
        CertificateError: one is there already; then none is written.
        OptionError: one cannot be written.
    """
    files = {
        NODE_KEY: (key, PRIVATE),
        CA_CERTIFICATE: (authority, PUBLIC),
        NODE_CERTIFICATE: (certificate, PUBLIC),
    }
    if not replace:
        for name in files:
            if os.path.lexists(directory / name):
                raise CertificateError(f"{directory / name} is there already{ANEW}")
    for name, (data, mode) in files.items():
        write_whole(directory / name, data, mode=mode, replace=replace, hint=ANEW)
