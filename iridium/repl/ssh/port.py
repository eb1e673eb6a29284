"""The SSH port of a node: its connections, how many there may be, and who has logged in."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import Any

from twisted.conch.ssh.keys import Key
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from iridium.node import Node
from iridium.repl.complaints import Complaints
from iridium.repl.sessions import Sessions
from iridium.repl.ssh.authorized import AUTHORIZED_KEYS, AuthorizedKeys, fingerprint
from iridium.repl.ssh.host_key import load_host_key
from iridium.repl.ssh.transport import SshTransport

MAX_STRANGERS = 32
"""Connections that have not logged in, in all: each may last for twenty seconds."""

MAX_STRANGERS_OF_ONE = 8
"""And from one address, so that one peer cannot keep all others out."""

MAX_CONNECTIONS = 200
"""Connections that have logged in: as many as there are sessions."""


class SshFactory(Factory):
    """The SSH port of a node.

    Args:
        sessions: those of the node.
        keys: who may log in.
        host_key: the node's, of the cryptography package.

    Attributes:
        sessions, keys: as given.
        clock: for timers.
        fingerprint: the host key's.
        log: what strangers did.
    """

    noisy = False
    primes = None
    _log = Logger(namespace="iridium")

    def __init__(self, sessions: Sessions, keys: AuthorizedKeys, host_key: Any) -> None:
        self.sessions = sessions
        self.keys = keys
        self.clock = sessions.clock
        self.log = Complaints(self.clock, sessions.limits.stranger_log, "SSH")
        key = Key(host_key)
        # Where conch looks for them.
        self.privateKeys = {b"ssh-ed25519": key}
        self.publicKeys = {b"ssh-ed25519": key.public()}
        self.fingerprint = fingerprint(key.public().blob())
        # In the order in which they came.
        self._strangers: dict[SshTransport, None] = {}
        self._known: dict[SshTransport, None] = {}

    def buildProtocol(self, addr: Any) -> SshTransport | None:
        """A new connection, or None where there is no room for it."""
        peer, group = _describe(addr)
        theirs = sum(stranger.group == group for stranger in self._strangers)
        if theirs >= MAX_STRANGERS_OF_ONE:
            self.log.warn("too many connections without a login from one address", peer)
            return None
        if len(self._strangers) >= MAX_STRANGERS or len(self._known) >= MAX_CONNECTIONS:
            self.log.warn("too many connections", peer)
            return None
        transport = SshTransport(self, peer, group)
        self._strangers[transport] = None
        return transport

    def logged_in(self, transport: SshTransport) -> None:
        """A peer has proved who it is."""
        self._strangers.pop(transport, None)
        self._known[transport] = None
        key = transport.key
        assert key is not None
        self._log.info(
            "SSH login of {user} from {peer}: {comment} ({kind} {fingerprint}), {role}",
            user=transport.user,
            peer=transport.peer,
            comment=key.comment or "a key without a comment",
            kind=key.kind,
            fingerprint=key.fingerprint,
            role=key.role.value,
        )

    def lost(self, transport: SshTransport) -> None:
        """A connection is over."""
        self._strangers.pop(transport, None)
        self._known.pop(transport, None)

    def stop(self) -> None:
        """Close every connection; for the end of the node."""
        self.sessions.stop()
        for transport in (*self._strangers, *self._known):
            transport.stop()


def make_factory(node: Node, sessions: Sessions, authorized_keys: Path | None = None) -> SshFactory:
    """The SSH port of a node, with its host key.

    Args:
        node: the node.
        sessions: its sessions.
        authorized_keys: the file that says who may log in; by default the one in the data directory.

    Raises:
        DataDirectoryError: the host key cannot be used.
    """
    host_key = load_host_key(node.data)
    path = authorized_keys or node.data.path / AUTHORIZED_KEYS
    log = Logger(namespace="iridium")
    keys = AuthorizedKeys(path, lambda problem: log.warn("SSH: {problem}", problem=problem), time.time)
    keys.load()  # so that what is wrong with it is told at the start
    return SshFactory(sessions, keys, host_key)


def _describe(address: Any) -> tuple[str, str]:
    """An address for the log, and what it counts as: a network, where one machine has a whole one."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}", str(address.host)
    if isinstance(address, IPv6Address):
        host = ipaddress.IPv6Address(address.host.partition("%")[0])
        mapped = host.ipv4_mapped
        group = str(mapped) if mapped is not None else str(ipaddress.IPv6Network((host, 64), strict=False))
        return f"[{address.host}]:{address.port}", group
    return "somebody", ""
