"""Memory comes back: resident memory over thousands of programs and of runs.

    python -m tests.memory
    python -m tests.memory --engines compiled,scheduler --programs 2000

Each is measured in a process of its own; ``scheduler`` stands for a node's, whose worker threads get all programs.
An engine that interprets must be level after the first thousand programs, and every engine after the first
thousand runs of one. An engine that compiles may keep :data:`COMPILED` for each distinct program compiled and
dropped.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

from iridium.image import Image
from iridium.isa import BY_NAME
from iridium.vm import VM, Limits, Program, Stop
from iridium.vm.engine import missing_llvmlite
from iridium.vm.reference import Turn
from tests.fuzzing.compare import available

LEVEL = 1 << 20
"""Bytes by which memory that is level may still move: 116 bytes for each of 9 000 programs."""

COMPILED = 8 * 1024
"""Bytes for each distinct program that was compiled and dropped: what the allocator cannot give back so soon."""

SCHEDULER = "scheduler"
"""What stands for programs that a node's scheduler runs, with the engine ``auto``."""

ROUNDS = 6000
"""Rounds of a program there: twice as many instructions as a turn in plain Python, so that the workers get it."""

AT_ONCE = 50
"""Programs that it runs at once."""

COMPILERS = ("compiled",)
"""Engines that compile every program."""

WARM = 1000
"""Programs or runs before the first measurement; of compiled programs a tenth."""

HEAP = 4096
"""Bytes of heap that each program grows and writes to, besides its stack and its output."""

E = {row.name: row.encode for row in BY_NAME.values()}


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


def image(number: int, rounds: int = 20) -> Image:
    """A small program, another one for each number: a loop that uses stack, heap, output and a subroutine."""
    base = 68
    code = [
        E["LOAD"](1, number & 0xFFFF),
        E["LUI"](1, number >> 16),
        E["LOAD"](2, HEAP),
        E["ALOC"](2),
        E["LOAD"](3, rounds + number % 7),
        E["INC"](4),  # the loop's head
        E["SETM"](2, 1),
        E["CALL"](base + 4 * 13),
        E["LT"](4, 3),
        E["DJMPE"](base + 4 * 5),
        E["PRTI"](1),
        E["HLT"](),
        E["NOP"](),
        E["PUSH"](4),
        E["ADD"](1, 4, 1),
        E["POP"](4),
        E["RET"](),
    ]
    return Image(b"".join(code), version=1)


def live(program: Program, engine: Callable[[VM, int], object]) -> None:
    """Run a program to its end, in two turns and one for what follows, and drop the machine."""
    vm = VM(program, Limits(stack=1024, heap=1 << 20, output=64))
    for budget in (50, 10_000):
        engine(vm, budget)
    assert vm.record.stop == Stop.HALTED, vm.crash
    vm.output.take()


def live_all(engine: Callable[[VM, int], object], programs: Iterable[Program]) -> None:
    """Run programs one after the other."""
    for program in programs:
        live(program, engine)


def live_scheduled(programs: Iterable[Program]) -> None:
    """Run programs in a scheduler of two worker threads, some at once."""
    from twisted.internet import reactor

    from iridium.scheduler import Scheduler

    scheduler = Scheduler(reactor, choice="auto", threads=2)
    coming = iter(programs)

    def ended(vm: VM, turn: Turn | None) -> None:
        assert turn is not None
        assert turn.stop is Stop.HALTED, vm.crash
        start()

    def start() -> None:
        program = next(coming, None)
        if program is not None:
            scheduler.start(VM(program, Limits(stack=1024, heap=1 << 20, output=64)), ended, read)
        elif not scheduler.running:
            reactor.callLater(0, reactor.stop)

    def read(vm: VM) -> None:
        vm.output.take()

    def begin() -> None:
        for _ in range(AT_ONCE):
            start()

    # LLVM takes its memory before the first of them is counted.
    reactor.callWhenRunning(lambda: scheduler.workers.when_ready(begin))
    reactor.run(installSignalHandlers=False)
    scheduler.stop()


def measure(name: str, count: int, distinct: bool) -> int:
    """Live programs and print what each cost after the warm-up.

    Args:
        name: the engine.
        count: how many.
        distinct: whether each is another program; else it is one that runs again and again.

    Returns:
        0 if memory is as it should be.
    """
    compiles = distinct and name in COMPILERS
    warm = WARM // 10 if compiles else WARM
    run_all = live_scheduled if name == SCHEDULER else functools.partial(live_all, available()[name])
    rounds = ROUNDS if name == SCHEDULER else 20
    one = Program(image(0, rounds))
    before = 0

    def programs() -> Iterator[Program]:
        nonlocal before
        for number in range(count):
            if number == warm:
                gc.collect()
                before = resident()
            yield Program(image(number, rounds)) if distinct else one

    start = time.monotonic()
    run_all(programs())
    gc.collect()
    grown = resident() - before
    allowed = COMPILED * (count - warm) if compiles else LEVEL
    what = "programs" if distinct else "runs of one"
    print(
        f"{name:10s} {count} {what}: {grown / 1024:+.0f} KiB after the first {warm}, {grown / (count - warm):.0f} "
        f"bytes each, {'as it should be' if grown <= allowed else 'TOO MUCH'}; "
        f"{resident() / (1 << 20):.0f} MiB in all, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return int(grown > allowed)


def main() -> None:
    """Measure every engine that is here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=10_000, help="and runs of one")
    parser.add_argument("--compiled", type=int, default=1000, help="distinct programs of an engine that compiles")
    parser.add_argument("--engines", default="", help="names, parted by commas; all that run here by default")
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "COUNT", "DISTINCT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.exit(measure(options.one[0], int(options.one[1]), options.one[2] == "1"))
    here = [*available(), *([SCHEDULER] if missing_llvmlite() is None else [])]
    kinds = [name for name in here if name not in ("stepwise", "regions")]
    names = options.engines.split(",") if options.engines else kinds
    failures = 0
    for name in names:
        if name not in here:
            print(f"{name:10s} is not here")
            continue
        for distinct in (True, False):
            count = options.compiled if distinct and name in COMPILERS else options.programs
            command = [sys.executable, "-m", "tests.memory", "--one", name, str(count), str(int(distinct))]
            with tempfile.TemporaryDirectory() as cache:  # what was compiled before must not be found
                ran = subprocess.run(command, env={**os.environ, "XDG_CACHE_HOME": cache}, check=False)
            failures += ran.returncode != 0
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
