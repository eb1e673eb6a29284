"""Which engine advances a VM: the choice of a person, by name.

An engine is a callable that advances a VM by a budget of instructions and says how the turn ended. All engines
agree on everything that can be observed; they differ in speed and in what they need.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TypeAlias

from iridium.errors import OptionError
from iridium.vm import reference
from iridium.vm.machine import VM
from iridium.vm.record import Stop
from iridium.vm.reference import Turn

Engine: TypeAlias = Callable[[VM, int], Turn]
"""Advances a VM by at most a budget of instructions, as :func:`iridium.vm.reference.run` does."""


WARM = 4096
"""Instructions that a VM executes before ``auto`` loads LLVM for it: what a program needs that is over at once."""


def _auto() -> Engine:
    """The reference engine, then the native ones for what goes on; without llvmlite, the reference engine
    alone.
    """
    tiered: list[Engine] = []

    def run(vm: VM, budget: int) -> Turn:
        if tiered:
            return tiered[0](vm, budget)
        first = min(budget, max(0, WARM - vm.record.instructions))
        turn = reference.run(vm, first)
        if turn.stop is not Stop.BUDGET or first == budget:
            return Turn(turn.stop, budget - first + turn.left)
        try:
            tiered.append(_load("tiered"))
        except OptionError as error:
            print(f"iridium: {error}", file=sys.stderr)
            tiered.append(reference.run)
        return tiered[0](vm, budget - first)

    return run


def _load(name: str) -> Engine:
    from iridium.vm.native import engine  # imports nothing of LLVM before one of them is made

    engines: dict[str, Callable[[], Engine]] = {
        "native": engine.native_engine,
        "compiled": engine.compiled_engine,
        "tiered": engine.tiered_engine,
    }
    return engines[name]()


ENGINES: dict[str, Callable[[], Engine]] = {
    "auto": _auto,
    "reference": lambda: reference.run,
    "native": lambda: _load("native"),
    "compiled": lambda: _load("compiled"),
}
"""What makes an engine, by the name that a person gives it."""


def check_engine(name: str) -> None:
    """Whether there is an engine of that name; whether it can run here shows when it is used.

    Raises:
        OptionError: there is none.
    """
    if name not in ENGINES:
        raise OptionError(f"--engine {name!r} is none of {', '.join(ENGINES)}")


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        OptionError: there is none, or it cannot run here.
    """
    check_engine(name)
    return ENGINES[name]()


def available_engines() -> dict[str, Engine]:
    """Every engine that can run here, by name."""
    engines = {}
    for name in ENGINES:
        with contextlib.suppress(OptionError):
            engines[name] = find_engine(name)
    return engines
