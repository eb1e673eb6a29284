"""Messages and processes of one node, beside Erlang/OTP where it is installed.

    python benchmarks/messages.py [--rounds 5] [--json] [--no-erlang]

Ours run compiled, in the scheduler of a worker, on one thread; Erlang as it comes, with a scheduler a core. Times
are on the wall, taken by turns. An idle process is what 100 000 of them, that wait for a message, add to the
resident memory.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import time
from pathlib import Path

from beside import PATIENCE, Figure, erlang_modules, load, numbers, resident, show

from iridium.scheduler.table import ProcessTable
from iridium.vm import Program
from iridium.vm.native.engine import runtime
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import Worker
from iridium.vm.runtime.scheduling import TIME_OVER, TURN

MOST = (1 << 20) - 1
"""Processes that the table has room for."""

CALL = 1_000_000_000
"""Nanoseconds of one call of the scheduler."""

IDLE = 100_000
"""Processes that wait."""

WAYS, TRIPS, HOPS, SPAWNS = 10 * 1024 * 1024, 5_000_000, 10_000_000, 3_000_000
"""Words, round trips, hops and processes of ours."""

ERLANG = (3_000_000, 1_000_000, 2_000_000, 500_000, IDLE)
"""The same of Erlang, with the idle processes: a second each."""


def figures() -> dict[str, Figure]:
    """What is measured, with its goals."""
    return {
        "one_way": Figure("one-way words", "/s", 25e6),
        "ping_pong": Figure("ping-pong, round trips", "/s", 20e6),
        "ring": Figure("ring of 1000, hops", "/s", 20e6),
        "spawn": Figure("spawn from a program", "/s", 2e6),
        "idle": Figure("an idle process", "bytes", 640.0, most=True),
    }


class Run:
    """A program as the only one of a table, on this thread.

    Args:
        program: which, compiled.
        registers: what it begins with, by number.
    """

    def __init__(self, program: Program, registers: dict[int, int]) -> None:
        self.table = ProcessTable(1, TURN, MOST)
        self.worker = Worker(shared=ctypes.addressof(self.table.shared))
        record = self.table.begin(program, registers)
        assert record is not None
        self.table.start(record)

    def until_nothing_runs(self) -> float:
        """Run until nobody can; seconds."""
        start = time.perf_counter()
        while calls.run_some(self.worker, CALL) == TIME_OVER:
            pass
        return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-erlang", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    native = runtime()
    calls.use(native.addresses)
    programs = {name: load(name) for name in ("one_way_here", "ping_pong_here", "ring", "spawn_here", "idle")}
    for program in programs.values():
        native.load(program).enter_at(native.compile(program))
    wanted = figures()

    def rate(name: str, program: str, count: int, **registers: int) -> None:
        run = Run(programs[program], {1: count} | {int(key[1:]): value for key, value in registers.items()})
        wanted[name].ours.append(count / run.until_nothing_runs())
        run.table.close()

    with erlang_modules("local_bench") as erlang:
        for _ in range(options.rounds):
            rate("one_way", "one_way_here", WAYS)
            rate("ping_pong", "ping_pong_here", TRIPS)
            rate("ring", "ring", HOPS, r20=1000)
            rate("spawn", "spawn_here", SPAWNS)
            before = resident()
            run = Run(programs["idle"], {1: IDLE})
            run.until_nothing_runs()
            wanted["idle"].ours.append(round((resident() - before) / IDLE))
            run.table.close()
            if erlang is not None and not options.no_erlang:
                erlang_round(erlang, wanted)
    show(list(wanted.values()), as_json=options.json)


def erlang_round(directory: Path, wanted: dict[str, Figure]) -> None:
    """The same with Erlang."""
    command = ["erl", "-noinput", "-pa", str(directory), "-s", "local_bench", "main", *map(str, ERLANG)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    for name, values in numbers(done.stdout).items():
        wanted[name].erlang += values


if __name__ == "__main__":
    main()
