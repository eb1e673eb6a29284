"""Which engine advances a VM: the choice of a person, by name.

An engine is a callable that advances a VM by a budget of instructions and says how the turn ended. All engines
agree on everything that can be observed; they differ in speed and in what they need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from iridium.errors import OptionError
from iridium.vm import reference
from iridium.vm.machine import VM
from iridium.vm.reference import Turn

Engine: TypeAlias = Callable[[VM, int], Turn]
"""Advances a VM by at most a budget of instructions, as :func:`iridium.vm.reference.run` does."""


def _native() -> Engine:
    from iridium.vm.native.engine import native_engine

    return native_engine()


def _compiled() -> Engine:
    from iridium.vm.native.engine import compiled_engine

    return compiled_engine()


ENGINES: dict[str, Callable[[], Engine]] = {
    "reference": lambda: reference.run,
    "native": _native,
    "compiled": _compiled,
}
"""What makes an engine, by the name that a person gives it."""


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        OptionError: there is none, or it cannot run here.
    """
    if name not in ENGINES:
        raise OptionError(f"--engine {name!r} is none of {', '.join(ENGINES)}")
    return ENGINES[name]()


def available_engines() -> dict[str, Engine]:
    """Every engine that can run here, by name."""
    engines = {}
    for name in ENGINES:
        with contextlib.suppress(OptionError):
            engines[name] = find_engine(name)
    return engines
