"""The long comparison of engines on random programs, from an empty corpus.

    python -m tests.fuzz --minutes 10
    python -m tests.fuzz --count 1 --seed 12345 --engines compiled

Each number from ``--seed`` on is a program (some are arbitrary bytes as code, or as a file), which runs several
times, cut into turns at random, on each engine and on machines that move between engines; see ``tests.fuzzing``.
One of the engines cuts programs into many regions. Some numbers have a program of processes besides, which runs in
all forms of the runtime and must give the same, in whatever order the processes have their turns.
The work is done in a process of its own: where that dies of a signal or a turn does not end, it is a failure with
the number of the program, and the run goes on behind it.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from iridium.vm import Program
from iridium.vm.engine import Engine
from tests.fuzzing.compare import available, check, plans
from tests.fuzzing.processes import compare
from tests.fuzzing.programs import make
from tests.fuzzing.shrink import report, shrink
from tests.local import FORMS

PATIENCE = 120.0
"""Seconds that a program may take with all its runs, and the shrinking of a mismatch; then something hangs."""

PLANS = 6
"""Runs of each program: compiling costs more than running, so it is worth several."""

PROCESSES_EVERY = 20
"""Numbers from one that also has a program of processes to the next: those take as long as many others."""

MOST_REPORTS = 20
"""Mismatches after which the run ends: more of the same help nobody."""


class Tally:
    """What was tried so far.

    Attributes:
        programs, instructions, mismatches, crashes: how many.
        last: the number of the last program that was begun.
    """

    def __init__(self) -> None:
        self.programs = self.instructions = self.mismatches = self.crashes = 0
        self.last = -1


def work(first: int, count: int, seconds: float, names: Sequence[str]) -> None:
    """Try programs and tell of each on standard output: ``try N``, ``tried INSTRUCTIONS``, or ``| text`` to print.

    Args:
        first, count: the numbers of the programs.
        seconds: when to end in any case.
        names: the engines.
    """
    engines = available()
    end = time.monotonic() + seconds
    for number in itertools.islice(itertools.count(first), count):
        if time.monotonic() > end:
            break
        print(f"try {number}", flush=True)
        print(f"tried {try_one(number, names, engines)}", flush=True)


def try_one(number: int, names: Sequence[str], engines: Mapping[str, Engine]) -> int:
    """Run a program by all its plans; a mismatch is shrunk and printed.

    Returns:
        The instructions of a run, times the runs.
    """
    if number % PROCESSES_EVERY == 0:
        source, wrong = compare(number, FORMS if "native" in engines else FORMS[:1])
        if wrong:
            lines = "\n".join([*wrong, source]).splitlines()
            print("mismatch", *(f"| {line}" for line in lines), sep="\n", flush=True)
    case = make(number)
    program = Program(case.image)
    for plan in itertools.islice(plans(number, names, case.total), PLANS * max(1, len(names) - 1)):
        found = check(case, plan, engines, program)
        if found is not None:
            print("mismatch")
            again = check(case, found.plan, engines)
            lines = report(shrink(again, engines) if again else found).splitlines()
            if again is None:
                lines.insert(0, "(not again in a second run)")
            print("\n".join(f"| {line}" for line in lines), flush=True)
            break
    vm = case.machine(program)
    engines["reference"](vm, case.total)
    return int(vm.record.instructions) * PLANS


def watch(command: Sequence[str], tally: Tally, patience: float = PATIENCE) -> None:
    """Run the process that does the work and count what it tells, until it ends, one way or another."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines))
    reader.start()
    hangs = False
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            hangs = True
            process.kill()
            continue
        if line is None:
            break
        _count(line, tally)
    code = process.wait()
    reader.join()
    process.stdout.close()
    if code == 0:
        return
    tally.crashes += 1
    how = f"hangs for {patience:.0f} s" if hangs else f"ends the process with {_status(code)}"
    print(
        f"program {tally.last} {how}; again with: python -m tests.fuzz --count 1 --seed {tally.last}", flush=True
    )


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _count(line: str, tally: Tally) -> None:
    word, _, rest = line.rstrip("\n").partition(" ")
    if word == "try":
        tally.last = int(rest)
    elif word == "tried":
        tally.programs += 1
        tally.instructions += int(rest)
    elif word == "mismatch":
        tally.mismatches += 1
        print(f"program {tally.last}; again with: python -m tests.fuzz --count 1 --seed {tally.last}")
    else:
        print(rest, flush=True)


def _status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def main() -> None:
    """Fuzz for a while."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=0, help="end after so many programs; 0: only the time counts")
    parser.add_argument("--seed", type=int, default=1, help="the number of the first program")
    parser.add_argument("--engines", default="", help="names, parted by commas; all that run here by default")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    here = available()
    names = (
        options.engines.split(",") if options.engines else [n for n in here if n not in ("reference", "stepwise")]
    )
    names = names or ["stepwise"]
    if missing := [name for name in names if name not in here]:
        parser.error(f"no engine {', '.join(missing)} here; there is {', '.join(here)}")
    count = options.count or 1 << 62
    start = time.monotonic()
    if options.worker:
        work(options.seed, count, 60 * options.minutes, names)
        return
    tally = Tally()
    next_one = options.seed
    while (left := 60 * options.minutes - (time.monotonic() - start)) > 0 and next_one < options.seed + count:
        watch(
            [sys.executable, "-m", "tests.fuzz", "--worker", "--minutes", str(left / 60), "--seed", str(next_one),
             "--count", str(options.seed + count - next_one), "--engines", ",".join(names)],
            tally,
        )  # fmt: skip
        if tally.last < next_one or tally.mismatches + tally.crashes > MOST_REPORTS:
            break
        next_one = tally.last + 1
    print(
        f"{tally.programs} programs from {options.seed} on, {tally.instructions} instructions, "
        f"on {', '.join(names)}: "
        f"{tally.mismatches} mismatches, {tally.crashes} crashes, {time.monotonic() - start:.0f} s"
    )
    sys.exit(tally.mismatches + tally.crashes > 0 or not tally.programs)


if __name__ == "__main__":
    main()
