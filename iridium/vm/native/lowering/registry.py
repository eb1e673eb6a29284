"""Lowerings by the name of their instruction."""

from __future__ import annotations

from collections.abc import Callable

Lowering = Callable[..., str | None]

LOWERINGS: dict[str, Lowering] = {}

INTERPRETED: set[str] = set()
"""Instructions that compiled code leaves to the interpreter: each takes so long that going there does not
matter.
"""


def lowers(*names: str, interpreted: bool = False) -> Callable[[Lowering], Lowering]:
    """Enter a function in :data:`LOWERINGS`.

    Args:
        names: the instructions that it lowers.
        interpreted: whether compiled code leaves them to the interpreter.
    """

    def enter(function: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = function
            if interpreted:
                INTERPRETED.add(name)
        return function

    return enter
