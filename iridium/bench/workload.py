"""The five workloads: their programs, their sizes, and what one iteration of each is.

A program stands in ``programs/`` as it can be run by itself. A line ``load $1 #1000 ; parameter n`` holds a
parameter; measuring puts another number there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import NamedTuple

from iridium.assembler import assemble
from iridium.image import Image

_PARAMETER = re.compile(r"^(\s*load \$\d+ )#\S+(\s*; parameter (\w+).*)$", re.MULTILINE)


class Pace(enum.IntEnum):
    """How fast a system is, roughly: it decides how large its workloads are, so that each takes part of a second.

    What is compared is the time of one iteration. A step is a factor of about ten; ``--quick`` goes one step down.
    """

    CHECK = 0
    """So small that anything does it at once: the results that all systems must agree on."""
    QUICK = 1
    """What the slowest system does under ``--quick``."""
    REFERENCE = 2
    PYTHON = 3
    INTERPRETED = 4
    COMPILED = 5


class Workload(NamedTuple):
    """One of the five.

    Attributes:
        name: what the command line calls it, and the file name of its program.
        title: what a person reads above its figures.
        unit: what the time is divided by.
        parameters: their names, in the order in which peers take them.
        sizes: their values at each :class:`Pace`.
        iterations: how many units there are, of the parameters and the numbers of the result.
    """

    name: str
    title: str
    unit: str
    parameters: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    iterations: Callable[[Sequence[int], Sequence[int]], int]

    def size(self, pace: Pace, *, quick: bool = False) -> tuple[int, ...]:
        """The parameters for a system of that pace."""
        return self.sizes[max(0, pace - quick)]

    @property
    def source(self) -> str:
        """The program, as its file has it."""
        return (files(__package__) / "programs" / f"{self.name}.iasm").read_text(encoding="utf-8")

    def image(self, values: Sequence[int]) -> Image:
        """The program with these parameters, assembled."""
        return assemble(
            with_parameters(self.source, dict(zip(self.parameters, values, strict=True))), file=self.name
        )


def with_parameters(source: str, values: dict[str, int]) -> str:
    """A source with other numbers in its lines of parameters.

    Raises:
        KeyError: it has a parameter that has no value.
        ValueError: a value has no line.
    """
    named = {name for _, _, name in _PARAMETER.findall(source)}
    if missing := sorted(values.keys() - named):
        raise ValueError(f"no line for {', '.join(missing)}")
    return _PARAMETER.sub(lambda match: f"{match[1]}#{values[match[3]]}{match[2]}", source)


def _fib_calls(parameters: Sequence[int], _result: Sequence[int]) -> int:
    """How often the naive fib calls itself, the first call included: 2 * fib(n + 1) - 1."""
    this, following = 0, 1
    for _ in range(parameters[0]):
        this, following = following, this + following
    return 2 * following - 1


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "count",
            "count to n",
            "iteration",
            ("n",),
            ((1000,), (100_000,), (1_000_000,), (10_000_000,), (60_000_000,), (1_000_000_000,)),
            lambda parameters, _: parameters[0],
        ),
        Workload(
            "lcg",
            "linear congruential generator",
            "iteration",
            ("outer", "inner"),
            ((3, 100), (3, 10_000), (3, 100_000), (10, 100_000), (200, 100_000), (3000, 100_000)),
            lambda parameters, _: parameters[0] * parameters[1],
        ),
        Workload("fib", "fib, recursive", "call", ("n",), ((10,), (17,), (22,), (28,), (33,), (39,)), _fib_calls),
        Workload(
            "mandelbrot",
            "mandelbrot",
            "step",
            ("width", "height", "limit"),
            ((12, 10, 20), (40, 40, 30), (100, 100, 50), (200, 200, 100), (400, 400, 200), (1000, 1000, 200)),
            lambda _, result: result[0],
        ),
        Workload(
            "sieve",
            "sieve of i32 cells",
            "cell",
            ("n", "rounds"),
            ((1000, 2), (10_000, 1), (100_000, 1), (1_000_000, 1), (1_000_000, 5), (1_000_000, 100)),
            # every cell is cleared, all but two are counted, and some are marked more than once
            lambda parameters, result: (2 * parameters[0] - 2) * parameters[1] + result[1],
        ),
    )
}
"""By name, in the order of every table."""
