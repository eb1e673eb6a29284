"""A scripted attacker against real nodes, in short: the long run is `python -m tests.attack`."""

from __future__ import annotations

import pytest

from tests.attack import carry_out, show
from tests.attacking.cases import CASES
from tests.attacking.field import KINDS
from tests.processes import needs_installation

SECONDS = 0.3
"""Seconds of each flood, and three megabytes for each tenth of it."""


@pytest.mark.processes
@needs_installation
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_cost_nothing(kind: str) -> None:
    """Strangers and members do their worst: the node lives, its links hold, and it is as large as before."""
    cases = [case for case in CASES if case.short]
    if kind == "tls":  # the others were tried already, on nodes without
        cases = [case for case in cases if case.kinds == ("tls",)]
    # With a second for a handshake, what an attacker leaves behind is gone that much sooner.
    rows = list(carry_out(cases, SECONDS, "--limit", "handshake=1", kinds=(kind,)))
    assert len(rows) == sum(kind in case.kinds for case in cases)
    assert not [show(row) for row in rows if row.failures]


def test_every_attack_says_what_it_does() -> None:
    """Whoever reads the table finds what the attacker did, and no two attacks have one name."""
    assert all(case.attack.__doc__ for case in CASES)
    assert len({case.name for case in CASES}) == len(CASES)
