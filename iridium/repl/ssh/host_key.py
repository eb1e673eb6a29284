"""The key by which a node proves to SSH clients that it is itself, kept in its data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from iridium.cluster.identity import DataDirectory
from iridium.errors import DataDirectoryError
from iridium.private import NotPrivateError, open_private

HOST_KEY = "ssh_host_ed25519_key"
"""The file; it is in OpenSSH's format, so that ``ssh-keygen`` reads it."""

MAX_BYTES = 16 * 1024
"""Bytes of the file that are read: forty times what such a key takes."""


def load_host_key(data: DataDirectory) -> Any:
    """The node's host key; made on first use.

    Args:
        data: the node's directory.

    Returns:
        An Ed25519 private key of the cryptography package.

    Raises:
        DataDirectoryError: it is open to others, corrupt, or cannot be written.
    """
    path = data.path / HOST_KEY
    try:
        with open_private(path, follow=False) as file:
            return _load(path, file.read(MAX_BYTES))
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        data.replace(HOST_KEY, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        return key
    except NotPrivateError as error:
        raise DataDirectoryError(f"the SSH host key {path} is not used: {error}") from None


def _load(path: Path, data: bytes) -> Ed25519PrivateKey:
    try:
        key = load_ssh_private_key(data, password=None)
    except Exception as error:  # cryptography raises of many kinds, also for an encrypted one
        raise DataDirectoryError(
            f"the SSH host key {path} is corrupt ({error}). Restore it, or move it away to make a new one: "
            "then every client has to be told (ssh-keygen -R)"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DataDirectoryError(f"the SSH host key {path} is not an Ed25519 key; move it away to make a new one")
    return key
