"""What is spoken on the SSH port: of what conch can, only what is sound today."""

from __future__ import annotations

from twisted.conch.ssh.transport import SSHTransportBase

_WANTED: tuple[bytes, ...] = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)

KEY_EXCHANGES = [name for name in _WANTED if name in SSHTransportBase.supportedKeyExchanges]
"""Elliptic curves, with and without a lattice. Of the groups of numbers conch has only one with SHA-1, and ones
whose primes somebody would have to make.
"""

HOST_KEYS = [b"ssh-ed25519"]
"""The host key is one of these."""

CIPHERS = [b"aes256-ctr", b"aes192-ctr", b"aes128-ctr"]
"""Conch's others are CBC, which leaks, and triple DES. With CTR and a MAC of the plain text, packets cannot be cut
out of the start of a connection unnoticed either (the prefix truncation that strict key exchange is against).
"""

MACS = [b"hmac-sha2-512", b"hmac-sha2-256"]
"""Not MD5 and SHA-1."""

COMPRESSIONS = [b"none"]
"""What a stranger sends is not decompressed: a little of it can become very much."""

SIGNATURES = {
    "ssh-ed25519": (b"ssh-ed25519",),
    "ecdsa-sha2-nistp256": (b"ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": (b"ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": (b"ecdsa-sha2-nistp521",),
    "ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256"),
}
"""By the type of a user's key, the signatures that prove it: RSA with SHA-2 only."""
