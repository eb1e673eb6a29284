"""One run of everything that was asked for, from the systems that are there to a report."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from iridium import __version__
from iridium.assembler import assemble
from iridium.bench import many
from iridium.bench.generated import INSTRUCTIONS, generate
from iridium.bench.measure import Measurement, Progress, describe, machine
from iridium.bench.ours import EngineSystem, engines
from iridium.bench.peers import find_peers
from iridium.bench.results import GeneratedResult, ManyResult, Report, SkippedInfo, WorkloadResult
from iridium.bench.system import BenchError, System
from iridium.bench.workload import WORKLOADS, Pace

GENERATED = "generated"
MANY = "many"
NAMES = (*WORKLOADS, GENERATED, MANY)
"""What can be asked for, in the order in which it is done."""

ROUNDS = 50
"""Rounds of the generated program: one or two million instructions."""

THREADS = (1, 2)
"""Numbers of threads that advance many VMs."""


def bench(names: Sequence[str], *, repeat: int, quick: bool, progress: Progress) -> Report:
    """Measure.

    Args:
        names: of :data:`NAMES`.
        repeat: samples of each figure; their median counts.
        quick: whether everything is about ten times smaller.
        progress: is told what is done next.
    """
    ours, missing = engines()
    skipped = [SkippedInfo(name, None, reason) for name, reason in missing]
    systems: list[System] = list(ours)
    workloads: list[WorkloadResult] = []
    chosen = [workload for workload in WORKLOADS.values() if workload.name in names]
    if chosen:
        with tempfile.TemporaryDirectory(prefix="iridium-bench-") as directory:
            progress("looking for peers")
            peers, absent = find_peers(Path(directory))
            systems += peers
            skipped += [SkippedInfo(name, None, reason) for name, reason in absent]
            measurement = Measurement(systems, chosen, quick=quick, progress=progress)
            workloads = measurement.take(repeat)
            skipped += measurement.skipped
    generated: list[GeneratedResult] = []
    if GENERATED in names:
        generated = _generated(ours, skipped, repeat=repeat, quick=quick, progress=progress)
    crowds: list[ManyResult] = []
    if MANY in names:
        crowds = _many(ours, skipped, repeat=repeat, quick=quick, progress=progress)
    return Report(
        version=__version__,
        machine=machine(),
        quick=quick,
        repeat=repeat,
        systems=[describe(system) for system in systems],
        skipped=skipped,
        workloads=workloads,
        generated=generated,
        many=crowds,
    )


def _image(seed: int, rounds: int) -> bytes:
    return assemble(generate(seed, rounds), file=GENERATED).to_bytes()


def _generated(
    ours: Sequence[EngineSystem], skipped: list[SkippedInfo], *, repeat: int, quick: bool, progress: Progress
) -> list[GeneratedResult]:
    """The large program on every engine; each repetition is another program, so that none is known already."""
    images = [_image(seed, ROUNDS // 10 if quick else ROUNDS) for seed in range(repeat)]
    results: list[GeneratedResult] = []
    checksums: list[tuple[int, ...]] = []
    for system in ours:
        progress(f"{GENERATED}: {system.title}")
        try:
            # First, while nothing else waits for the compiler; and of a seed that no cache has seen.
            until_compiled = system.compilation(_image(time.time_ns(), 0))
            runs = [system.first_result(image) for image in images]
            found = [sample.result for sample, _ in runs]
            checksums = checksums or found
            if found != checksums:
                raise BenchError(f"gave {found}, {ours[0].title} {checksums}")
            first = statistics.median(sample.seconds for sample, _ in runs)
            executed = round(statistics.median(count for _, count in runs))
            results.append(GeneratedResult(system.name, INSTRUCTIONS, executed, first, until_compiled))
        except BenchError as error:
            skipped.append(SkippedInfo(system.name, GENERATED, str(error)))
    return results


def _many(
    ours: Sequence[EngineSystem], skipped: list[SkippedInfo], *, repeat: int, quick: bool, progress: Progress
) -> list[ManyResult]:
    """Many VMs on every engine, with one thread and with two in turns."""
    results: list[ManyResult] = []
    for system in ours:
        steps = many.STEPS[Pace.CHECK if quick and system.pace is Pace.REFERENCE else system.pace]
        if quick and system.pace is not Pace.REFERENCE:
            steps //= 10
        samples: dict[int, list[ManyResult]] = {threads: [] for threads in THREADS}
        try:
            for number in range(repeat):
                for threads, taken in samples.items():
                    progress(f"{MANY}: round {number + 1} of {repeat}, {system.title}, {threads} threads")
                    sample = many.run_many(system.name, system.engine, threads=threads, vms=many.VMS, steps=steps)
                    taken.append(sample)
        except BenchError as error:
            skipped.append(SkippedInfo(system.name, MANY, str(error)))
            continue
        for taken in samples.values():
            taken.sort(key=lambda sample: sample.seconds)
            results.append(taken[len(taken) // 2])
    return results
