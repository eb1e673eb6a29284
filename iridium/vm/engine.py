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

FALLING_BACK = "programs run in the reference engine"
"""What ``auto`` does where there is no native engine, for whoever is told."""

NEEDS_LLVMLITE = ("native", "compiled")
"""The engines that cannot do without llvmlite; ``auto`` can."""


def _tell_nobody() -> None:
    """Whoever has started this process wants to hear nothing."""


on_build: Callable[[], None] = _tell_nobody
"""Called, in whatever thread loads machine code, when the native interpreter is not in the cache and is built.

That takes a second or two, in which hot programs wait; whoever has a person to tell sets it.
"""


class NativeUnavailableError(OptionError):
    """There is no llvmlite that could make machine code here."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}: install it with `pip install llvmlite`, or choose --engine reference")


def missing_llvmlite() -> NativeUnavailableError | None:
    """What is wrong where llvmlite is not installed; None where it is.

    Loads nothing: whether LLVM knows this machine shows when it is loaded.
    """
    import importlib.util  # a program that is over at once need not pay for it

    if importlib.util.find_spec("llvmlite") is not None:
        return None
    return NativeUnavailableError("the native engines need llvmlite, which is not installed")


def _auto() -> Engine:
    """The reference engine, then the native ones for what goes on; without llvmlite, the former alone."""
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
            print(f"iridium: {error}; {FALLING_BACK}", file=sys.stderr)
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
    """Whether there is an engine of that name, and what it needs; nothing is loaded.

    Raises:
        OptionError: there is none.
        NativeUnavailableError: it cannot run here.
    """
    if name not in ENGINES:
        raise OptionError(f"--engine {name!r} is none of {', '.join(ENGINES)}")
    if name in NEEDS_LLVMLITE and (missing := missing_llvmlite()):
        raise missing


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
