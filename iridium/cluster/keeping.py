"""Certificates and keys as files: written whole or not at all, keys for their owner alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from iridium.cluster.tls_files import CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY
from iridium.errors import CertificateError

PUBLIC, PRIVATE = 0o644, 0o600
"""Modes of certificates and keys."""


def make_directory(path: Path) -> None:
    """A directory for certificates, for this user alone, where there is none yet.

    Raises:
        CertificateError: it cannot be made.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(mode=0o700, parents=True)
        _give_to_owner_of(path.parent, path)
    except OSError as error:
        raise CertificateError(f"{path} cannot be made: {error.strerror}") from None


def write_file(path: Path, data: bytes, mode: int, *, replace: bool = False) -> None:
    """Write a file: after a crash it is there as a whole, or as it was before.

    Args:
        path: the file.
        data: what it is to hold.
        mode: who may read it.
        replace: whether it may take the place of one that is there.

    Raises:
        CertificateError: it cannot be written, or is there already.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                _give_to_owner_of(path.parent, file.fileno())
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # unlike a rename, it never takes the place of another
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError:
        raise CertificateError(f"{path} is there already; to make it anew, say --replace") from None
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from None


def keep(directory: Path, certificate: bytes, key: bytes, authority: bytes, *, replace: bool = False) -> None:
    """Write the three files of a node's TLS.

    Args:
        directory: where; ``tls`` in a node's data directory is where a node looks for them.
        certificate: the node's, as PEM, and those between it and the CA.
        key: its private key, as PEM.
        authority: the certificate of the CA, as PEM.
        replace: whether they may take the place of others.

    Raises:
        CertificateError: one cannot be written, or is there already; then none is written.
    """
    files = {
        NODE_KEY: (key, PRIVATE),
        CA_CERTIFICATE: (authority, PUBLIC),
        NODE_CERTIFICATE: (certificate, PUBLIC),
    }
    make_directory(directory)
    if not replace:
        for name in files:
            if os.path.lexists(directory / name):
                raise CertificateError(f"{directory / name} is there already; to make it anew, say --replace")
    for name, (data, mode) in files.items():
        write_file(directory / name, data, mode, replace=replace)


def _give_to_owner_of(directory: Path, what: Path | int) -> None:
    """What root writes into somebody's directory is of use to them only if it is theirs."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(what, owner.st_uid, owner.st_gid)
