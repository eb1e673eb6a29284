"""The decisions of the cluster that need no state: pure functions, each a rule of ``docs/cluster.md``."""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Iterable, Sequence
from random import Random

from iridium.cluster.messages import MemberRecord
from iridium.errors import OptionError

REDIAL_FIRST = 0.5
"""Seconds before a failed dial is tried again for the first time."""

REDIAL_MOST = 30.0
"""Seconds between tries of a peer that stays down: a second of work an hour for a hundred of them."""


MOST_ADDRESSES = 1024
"""Addresses whose parts are remembered: as many as there are records of members."""


class Verdict(enum.Enum):
    """What to do with a hello from a node that is known."""

    ACCEPT = "accept"
    REPLACE = "accept, and close the link that I hold"
    PROBE = "ping the link that I hold before deciding"
    HOLD = "answer once my own dial has ended"
    STALE = "refuse: an older incarnation"
    DUPLICATE = "refuse: we are linked"


def judge_hello(
    *,
    incarnation: int,
    known: int,
    held: str | None,
    held_open: bool,
    lost: Sequence[str],
    dialling: bool,
    mine_wins: bool,
) -> Verdict:
    """Decide about a hello from a known id.

    Args:
        incarnation: the hello's.
        known: the highest incarnation seen of that node.
        held: the id of the link that I hold to it, or None.
        held_open: whether that link is open.
        lost: the links that the hello says its sender no longer holds.
        dialling: whether I have sent it a hello that is not answered yet.
        mine_wins: whether my id is the smaller, so that my dial wins over its dial.
    """
    if incarnation < known:
        return Verdict.STALE
    if incarnation > known:
        # Another life of the node, or a copy of its data: if the old life still answers, it is a copy.
        return Verdict.PROBE if held is not None and held_open else Verdict.REPLACE
    if held is not None:
        return Verdict.REPLACE if held in lost else Verdict.DUPLICATE
    if dialling and mine_wins:
        return Verdict.HOLD
    return Verdict.ACCEPT


def is_newer(record: MemberRecord, known: MemberRecord) -> bool:
    """Whether a record says something that the known one does not: by incarnation, then left over member."""
    return (record.incarnation, record.left) > (known.incarnation, known.left)


def name_holder(ids: Iterable[str]) -> str:
    """Who keeps an alias that several live nodes have: the smallest id, so that all nodes agree."""
    return min(ids)


def redial_delay(failures: int, random: Random) -> float:
    """Seconds until a peer is dialled again: doubling up to 30 s, with jitter so that peers do not move in step.

    Args:
        failures: dials that failed one after the other, from 1.
        random: the source of the jitter.
    """
    pause = min(REDIAL_MOST, REDIAL_FIRST * 2 ** min(failures - 1, 16))
    return float(pause * random.uniform(0.75, 1.25))  # nosec B311  # jitter, no secret


# The same few addresses are looked at for every link of a mesh that forms, hence the caches.
@functools.lru_cache(MOST_ADDRESSES)
def split_address(address: str, least: int = 1) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Args:
        address: what was said or typed.
        least: the least port: 0 where a free one may be asked for.

    Raises:
        OptionError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    valid = colon and host and (bracketed or ":" not in host) and len(host) <= 253
    valid = valid and host.isprintable() and not any(c.isspace() or c in "[]/@%" for c in host)
    if not valid or not (port.isascii() and port.isdigit() and len(port) <= 5 and least <= int(port) < 65536):
        raise OptionError(f"{address!r} is not HOST:PORT with a port from {least} to 65535")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_wildcard(host: str) -> bool:
    """Whether a host stands for every address of its machine, so that it says nothing to others."""
    return host in ("0.0.0.0", "::", "")  # nosec B104  # nothing is bound here


@functools.lru_cache(MOST_ADDRESSES)
def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from its own machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@functools.lru_cache(MOST_ADDRESSES)
def is_address(host: str) -> bool:
    """Whether a host is an address, and not a name that has to be looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(host: str) -> bool:
    """Whether a host is an address that other machines may be able to reach."""
    return is_address(host) and not is_wildcard(host) and not is_loopback(host) and "%" not in host


def reachable_address(advertised: str, seen: str) -> str | None:
    """Where a peer can be dialled, from what it advertises and the host it is seen at.

    Returns:
        The address; one that stands for all hosts becomes the host it was seen at. None when it advertises a
        loopback address from another machine.
    """
    if not advertised:
        return ""
    host, port = split_address(advertised)
    if is_wildcard(host):
        return join_address(seen, port)
    if is_loopback(host) and not is_loopback(seen):
        return None
    return advertised
