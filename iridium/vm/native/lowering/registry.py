"""Lowerings by the name of their instruction."""

from __future__ import annotations

from collections.abc import Callable

Lowering = Callable[..., str | None]

LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a function in :data:`LOWERINGS`."""

    def enter(function: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = function
        return function

    return enter
