"""What a node's certificate stands for: pure decisions, without OpenSSL and without Twisted.

A certificate of the cluster's CA only says that somebody is let in. Who it is stands in its names, and these are
compared with what the peer says of itself. :mod:`iridium.cluster.tls` reads them from the connection.
"""

from __future__ import annotations

import contextlib
import ipaddress
from typing import NamedTuple

from iridium.cluster.rules import is_wildcard, split_address
from iridium.errors import OptionError

MOST_SHOWN = 4
"""Names of a certificate that an error lists."""

OWN_CERTIFICATE = "a node needs a certificate of its own (`iridium certificates node`), with its --id or --host"
"""What to do about one that is for somebody else."""


class CertificateNames(NamedTuple):
    """Whom a certificate is for.

    Attributes:
        ids: node ids, from ``urn:uuid:`` URIs, in lower case.
        hosts: host names in lower case, and addresses in their usual form.
    """

    ids: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    def __str__(self) -> str:
        kind, names = ("node", sorted(self.ids)) if self.ids else ("host", sorted(self.hosts))
        if not names:
            return "nobody"
        more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
        return f"{kind} {', '.join(names[:MOST_SHOWN])}{more}"


class TlsPeer(NamedTuple):
    """Who is at the other end of a TLS connection.

    Attributes:
        names: of its certificate, which the cluster's CA has signed.
        binding: 32 bytes that both ends of this connection have, and those of no other (RFC 9266, tls-exporter).
    """

    names: CertificateNames
    binding: bytes


def canonical_host(host: str) -> str:
    """A host as it is compared: an address in its usual form, a name in lower case without the last dot."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not host.isascii():
            with contextlib.suppress(UnicodeError):  # no name that anybody could look up is nobody's
                host = host.encode("idna").decode("ascii")
        return host.lower().removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def vouches(names: CertificateNames, id: str, host: str) -> bool:
    """Whether a certificate is for a node.

    Args:
        names: of the certificate. With node ids it is for those nodes only, wherever they are; without, it is for
            its hosts. A name with ``*`` is for no host: it would be for all of them.
        id: the node's id.
        host: where the node says that it is, or was dialled.
    """
    return id in names.ids if names.ids else canonical_host(host) in names.hosts


def acceptor_objection(peer: TlsPeer | None, id: str, dialled: str) -> str | None:
    """Why the certificate of a node that was dialled is not for it, or None.

    Args:
        peer: who showed it; None without TLS.
        id: the id of its welcome.
        dialled: HOST:PORT.
    """
    return None if peer is None else _objection(peer.names, id, _host_of(dialled, ""))


def dialler_objection(peer: TlsPeer | None, id: str, advertised: str, seen: str) -> str | None:
    """Why the certificate of a node that connected is not for it, or None.

    Args:
        peer: who showed it; None without TLS.
        id: the id of its hello.
        advertised: the HOST:PORT of its hello, or "".
        seen: the host that it is seen at, which counts where it advertises none.
    """
    return None if peer is None else _objection(peer.names, id, _host_of(advertised, seen))


def _host_of(address: str, seen: str) -> str:
    try:
        host = split_address(address)[0]
    except OptionError:
        return seen
    return seen if is_wildcard(host) and seen else host


def _objection(names: CertificateNames, id: str, host: str) -> str | None:
    if vouches(names, id, host):
        return None
    who = id if names.ids else f"{host or 'an unknown host'} (node {id})"
    return f"the certificate of {who} is for {names}"
