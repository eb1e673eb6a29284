"""The list of attacks, which the modules beside this one fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.attacking.field import GROWTH, KINDS, LINES, Field

Attack = Callable[[Field], str]
"""Carries an attack out and tells how it ended; its docstring says what the attacker does, and what must hold."""


class Case(NamedTuple):
    """An attack.

    Attributes:
        name: as it is asked for.
        attack: what it does.
        kinds: on which kinds of nodes it is tried.
        fresh: whether it needs nodes of its own, since it leaves something behind by design.
        growth, lines: megabytes and lines in the log that it may cost.
        short: whether it is in the test suite.
    """

    name: str
    attack: Attack
    kinds: tuple[str, ...]
    fresh: bool
    growth: float
    lines: int
    short: bool


CASES: list[Case] = []


def case(
    *kinds: str, fresh: bool = False, growth: float = GROWTH, lines: int = LINES, short: bool = False
) -> Callable[[Attack], Attack]:
    """Put a function into the list.

    Args:
        kinds: on which kinds of nodes it is tried; all if none is named.
        fresh, growth, lines, short: as :class:`Case` has them.
    """

    def add(attack: Attack) -> Attack:
        name = attack.__name__.replace("_", "-")
        CASES.append(Case(name, attack, kinds or KINDS, fresh, growth, lines, short))
        return attack

    return add
