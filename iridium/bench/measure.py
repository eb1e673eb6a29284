"""Lets systems take turns at the workloads: first all must agree on small ones, then they are timed.

In each round every system takes one sample of every workload, so that whatever else the machine does meanwhile
meets all of them alike. Medians count.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from iridium.bench.results import Figure, SkippedInfo, SystemInfo, WorkloadResult
from iridium.bench.system import BenchError, Sample, System
from iridium.bench.workload import Pace, Workload

BASELINES = ("gcc-calls", "gcc")
"""What ratios are to: the first of these that has a figure in the workload."""

Progress = Callable[[str], None]
"""Is told what is done next."""


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    return {
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def describe(system: System) -> SystemInfo:
    """A system, as a report names it."""
    return SystemInfo(system.name, system.title, system.version, system.ours)


class _Run:
    """One system at one workload."""

    def __init__(self, system: System, workload: Workload, parameters: tuple[int, ...]) -> None:
        self.system = system
        self.workload = workload
        self.parameters = parameters
        self.samples: list[Sample] = []

    def figure(self, baseline: float | None) -> Figure:
        iterations = self.workload.iterations(self.parameters, self.samples[0].result)
        ns = [sample.seconds * 1e9 / iterations for sample in self.samples]
        median = statistics.median(ns)
        return Figure(
            system=self.system.name,
            parameters=dict(zip(self.workload.parameters, self.parameters, strict=True)),
            iterations=iterations,
            result=self.samples[0].result,
            samples=ns,
            ns=median,
            ratio=median / baseline if baseline else None,
        )


class Measurement:
    """All systems at all workloads.

    Args:
        systems: in the order of the tables.
        workloads: likewise.
        quick: whether to use small parameters.
        progress: is told what is done next.

    Attributes:
        skipped: systems that failed or disagreed, as long as it runs.
    """

    def __init__(
        self, systems: Sequence[System], workloads: Sequence[Workload], *, quick: bool, progress: Progress
    ) -> None:
        self._workloads = workloads
        self._progress = progress
        self.skipped: list[SkippedInfo] = []
        self._runs = [
            _Run(system, workload, workload.size(system.pace, quick=quick))
            for workload in workloads
            for system in systems
            if system.supports(workload)
        ]

    def take(self, repeat: int) -> list[WorkloadResult]:
        """Measure.

        Args:
            repeat: samples of each figure, at least 1.
        """
        self._check()
        self._each("warming up", lambda run: run.system.prepare(run.workload, run.parameters))
        for number in range(1, repeat + 1):
            self._each(f"round {number} of {repeat}", lambda run: run.samples.append(self._sample(run)))
        return [self._result(workload) for workload in self._workloads]

    def _check(self) -> None:
        """Drop every system that does not give the result that most give."""
        results: dict[int, tuple[int, ...]] = {}

        def small(run: _Run) -> None:
            parameters = run.workload.size(Pace.CHECK)
            run.system.prepare(run.workload, parameters)
            results[id(run)] = run.system.sample(run.workload, parameters).result

        self._each("checking", small)
        expected = {
            workload.name: Counter(results[id(run)] for run in self._runs if run.workload is workload).most_common(
                1
            )
            for workload in self._workloads
        }

        def agree(run: _Run) -> None:
            [(most, _)] = expected[run.workload.name]
            if results[id(run)] != most:
                raise BenchError(f"gave {results[id(run)]}, others {most}")

        self._each("comparing", agree)

    @staticmethod
    def _sample(run: _Run) -> Sample:
        sample = run.system.sample(run.workload, run.parameters)
        if run.samples and sample.result != run.samples[0].result:
            raise BenchError(f"gave {sample.result} after {run.samples[0].result}")
        return sample

    def _each(self, what: str, act: Callable[[_Run], None]) -> None:
        """Do something to every run, and drop the ones that it fails for."""
        left: list[_Run] = []
        for run in self._runs:
            self._progress(f"{what}: {run.workload.name}, {run.system.title}")
            try:
                act(run)
            except BenchError as error:
                self.skipped.append(SkippedInfo(run.system.name, run.workload.name, str(error)))
            else:
                left.append(run)
        self._runs = left

    def _result(self, workload: Workload) -> WorkloadResult:
        runs = [run for run in self._runs if run.workload is workload]
        names = [run.system.name for run in runs]
        baseline = next((name for name in BASELINES if name in names), None)
        ns = runs[names.index(baseline)].figure(None).ns if baseline else None
        figures = [run.figure(ns) for run in runs]
        return WorkloadResult(workload.name, workload.title, workload.unit, baseline, figures)
