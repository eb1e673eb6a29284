"""The pure decisions, as tables."""

from __future__ import annotations

from random import Random

import pytest

from iridium.cluster import rules
from iridium.cluster.messages import MemberRecord
from iridium.cluster.rules import Verdict
from iridium.errors import OptionError

BASE = {
    "incarnation": 5,
    "known": 5,
    "held": None,
    "held_open": False,
    "lost": [],
    "dialling": False,
    "mine_wins": False,
}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.ACCEPT),
        ({"incarnation": 4}, Verdict.STALE),
        ({"incarnation": 4, "held": "l", "held_open": True, "lost": ["l"]}, Verdict.STALE),
        ({"incarnation": 6}, Verdict.REPLACE),
        ({"incarnation": 6, "held": "l"}, Verdict.REPLACE),
        ({"incarnation": 6, "held": "l", "held_open": True}, Verdict.PROBE),
        ({"incarnation": 6, "dialling": True, "mine_wins": True}, Verdict.REPLACE),
        ({"held": "l"}, Verdict.DUPLICATE),
        ({"held": "l", "held_open": True}, Verdict.DUPLICATE),
        ({"held": "l", "held_open": True, "lost": ["k"]}, Verdict.DUPLICATE),
        ({"held": "l", "held_open": True, "lost": ["k", "l"]}, Verdict.REPLACE),
        ({"dialling": True}, Verdict.ACCEPT),
        ({"dialling": True, "mine_wins": True}, Verdict.HOLD),
        ({"mine_wins": True}, Verdict.ACCEPT),
        ({"held": "l", "dialling": True, "mine_wins": True}, Verdict.DUPLICATE),
    ],
)
def test_hello_from_a_known_id(changes: dict[str, object], verdict: Verdict) -> None:
    """Each row of the rule for links: incarnation first, then what I hold, then whom I dial."""
    assert rules.judge_hello(**{**BASE, **changes}) is verdict


def test_two_simultaneous_dials_leave_one_link() -> None:
    """Whatever the ids, exactly one of two crossing hellos is accepted."""
    verdicts = [rules.judge_hello(**{**BASE, "dialling": True, "mine_wins": wins}) for wins in (True, False)]
    assert sorted(v.name for v in verdicts) == ["ACCEPT", "HOLD"]


@pytest.mark.parametrize(
    ("new", "old", "newer"),
    [
        ((2, False), (1, False), True),
        ((1, True), (1, False), True),
        ((1, False), (1, True), False),
        ((1, True), (2, False), False),
        ((1, True), (1, True), False),
    ],
)
def test_records_merge_by_incarnation_then_left(new: tuple[int, bool], old: tuple[int, bool], newer: bool) -> None:
    """A newer life wins over a left one, and left over member in the same life."""
    a, b = (MemberRecord("x", incarnation, left=left) for incarnation, left in (new, old))
    assert rules.is_newer(a, b) is newer


def test_redial_delays_grow_to_their_limit() -> None:
    """The pause doubles, with jitter, and never exceeds 30 s by more than the jitter, however long it lasts."""
    random = Random(1)
    delays = [rules.redial_delay(n, random) for n in (1, 2, 5, 8, 1000, 10**9)]
    assert 0.375 <= delays[0] <= 0.625
    assert delays[0] < delays[1] < delays[2]
    assert all(22.5 <= delay <= 37.5 for delay in delays[3:])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:2254", ("127.0.0.1", 2254)),
        ("[::1]:80", ("::1", 80)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    """Addresses are read, and written back as they were."""
    assert rules.split_address(text) == parts
    assert rules.join_address(*parts) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":1",
        "host:",
        "host:0",
        "host:65536",
        "::1:80",
        "h:1x",
        "h:-1",
        "h:\u0663",
        "a b:1",
        "[::1:80",
        "h\n:1",
        "x" * 254 + ":1",
        "h:000001",
    ],
)
def test_bad_addresses(text: str) -> None:
    """What is no HOST:PORT is said to be none."""
    with pytest.raises(OptionError, match="HOST:PORT"):
        rules.split_address(text)


@pytest.mark.parametrize(
    ("advertised", "seen", "reachable"),
    [
        ("10.0.0.1:5", "10.0.0.9", "10.0.0.1:5"),
        ("0.0.0.0:5", "10.0.0.9", "10.0.0.9:5"),
        ("[::]:5", "fe80::1", "[fe80::1]:5"),
        ("127.0.0.1:5", "127.0.0.1", "127.0.0.1:5"),
        ("127.0.0.1:5", "::ffff:127.0.0.1", "127.0.0.1:5"),
        ("127.0.0.1:5", "10.0.0.9", None),
        ("localhost:5", "10.0.0.9", None),
        ("[::1]:5", "10.0.0.9", None),
        ("node.example:5", "10.0.0.9", "node.example:5"),
        ("", "10.0.0.9", ""),
    ],
)
def test_reachable_addresses(advertised: str, seen: str, reachable: str | None) -> None:
    """Wildcards become the host seen, with the listening port; loopback from elsewhere is unreachable."""
    assert rules.reachable_address(advertised, seen) == reachable
