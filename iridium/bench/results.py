"""What ``iridium bench`` measures, as the structures that its JSON document is made of."""

from __future__ import annotations

import math
import statistics
from typing import Any

import msgspec


class SystemInfo(msgspec.Struct, frozen=True):
    """A system that was measured; see :class:`iridium.bench.system.System`."""

    name: str
    title: str
    version: str
    ours: bool


class SkippedInfo(msgspec.Struct, frozen=True):
    """A system that was not measured, in one workload or in all, and why."""

    name: str
    workload: str | None
    reason: str


class Figure(msgspec.Struct, frozen=True):
    """One system in one workload.

    Attributes:
        system: its name.
        parameters: the workload's, by name.
        iterations: how many there were in each sample.
        result: what came out.
        samples: nanoseconds an iteration, in the order they were taken.
        ns: their median.
        ratio: of the median to the baseline's; None without a baseline.
    """

    system: str
    parameters: dict[str, int]
    iterations: int
    result: tuple[int, ...]
    samples: list[float]
    ns: float
    ratio: float | None


class WorkloadResult(msgspec.Struct, frozen=True):
    """One workload.

    Attributes:
        name: of the workload.
        title: for people.
        unit: what an iteration is.
        baseline: the system that ratios are to, or None.
        figures: in the order of the systems.
    """

    name: str
    title: str
    unit: str
    baseline: str | None
    figures: list[Figure]

    def of(self, system: str) -> Figure | None:
        """The figure of a system, if there is one."""
        return next((figure for figure in self.figures if figure.system == system), None)


class GeneratedResult(msgspec.Struct, frozen=True):
    """The generated program on one engine.

    Attributes:
        engine: its name.
        instructions: in the program.
        executed: until it halts.
        first_result_seconds: from an image in memory to the printed checksum; the median of some programs.
        compiled_seconds: until the program is compiled, while it runs; None where the engine does not compile.
    """

    engine: str
    instructions: int
    executed: int
    first_result_seconds: float
    compiled_seconds: float | None


class ManyResult(msgspec.Struct, frozen=True):
    """Many VMs at once on one engine.

    Attributes:
        engine: its name.
        vms: how many.
        threads: that advance them.
        instructions: that all executed together.
        turns: that all had together.
        create_seconds: to make the VMs, on one thread.
        seconds: until the last halted.
    """

    engine: str
    vms: int
    threads: int
    instructions: int
    turns: int
    create_seconds: float
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """Everything of one run.

    Attributes:
        version: of Iridium.
        machine: what it ran on.
        quick: whether the workloads were small.
        repeat: samples of each figure.
        systems: that were measured, in the order of the tables.
        skipped: what was not.
        workloads: the five, or those that were asked for.
        generated: the large program, an entry an engine.
        many: many VMs, an entry an engine and number of threads.
    """

    version: str
    machine: dict[str, Any]
    quick: bool
    repeat: int
    systems: list[SystemInfo]
    skipped: list[SkippedInfo]
    workloads: list[WorkloadResult]
    generated: list[GeneratedResult]
    many: list[ManyResult]

    def mean_ratio(self, system: str) -> float | None:
        """The geometric mean of a system's ratios; None unless it has one in every workload."""
        figures = [workload.of(system) for workload in self.workloads]
        ratios = [figure.ratio for figure in figures if figure is not None and figure.ratio is not None]
        if not ratios or len(ratios) < len(figures):
            return None
        return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
