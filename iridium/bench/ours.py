"""Our engines as systems to measure: the ones in ``iridium.vm.engine.ENGINES``, whatever these are."""

from __future__ import annotations

import time
from collections.abc import Callable

from iridium import __version__
from iridium.bench.system import BenchError, Sample, Skipped, numbers
from iridium.bench.workload import Pace, Workload
from iridium.errors import OptionError
from iridium.image import parse
from iridium.vm import VM, Program, Stop
from iridium.vm.engine import ENGINES, WARM, Engine, find_engine, missing_llvmlite

TURN = 10_000_000
"""Instructions a turn: so many that starting one costs nothing beside them, and so few that Ctrl-C acts soon."""

SHORT_TURN = 10_000
"""Instructions a turn of a new program: an engine may decide between two turns that it is worth compiling."""

PACES: dict[str, Pace] = {"reference": Pace.REFERENCE, "native": Pace.INTERPRETED}
"""How fast an engine is; one that is not in here compiles."""


def _is_compiled(vm: VM) -> bool:
    return getattr(vm.program.native, "compiled", None) is not None


IS_COMPILED: dict[str, Callable[[VM], bool]] = {"auto": _is_compiled, "compiled": _is_compiled}
"""For an engine that compiles in the background, by name: whether a VM's program is compiled by now."""

LONGEST_COMPILATION = 60.0
"""Seconds to wait for that: many times what the largest of our programs needs."""


def compiles(name: str) -> Callable[[VM], bool] | None:
    """What tells whether an engine has compiled a VM's program; None where it never does."""
    if name == "auto" and missing_llvmlite() is not None:
        return None
    return IS_COMPILED.get(name)


def finish(engine: Engine, vm: VM, turn: int = TURN) -> str:
    """Run a VM until it halts.

    Args:
        engine: what advances it.
        vm: the machine.
        turn: instructions between two looks at its output.

    Returns:
        What it printed.

    Raises:
        BenchError: it faulted.
    """
    printed: list[str] = []
    while True:
        stop = engine(vm, turn).stop
        while text := vm.output.take():
            printed.append(text)
        if stop is Stop.HALTED:
            return "".join(printed)
        if stop is Stop.FAULT:
            crash = vm.crash
            raise BenchError(f"the program crashed: {crash.message if crash else 'for no reason'}")


class EngineSystem:
    """An engine of ours.

    Args:
        name: in the table of engines.
        engine: what advances a VM.
    """

    ours = True
    version = __version__

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.title = f"Iridium, {name}"
        self.engine = engine
        self.pace = PACES.get(name, Pace.COMPILED)
        self._programs: dict[tuple[str, tuple[int, ...]], Program] = {}

    def supports(self, workload: Workload) -> bool:
        """An engine runs everything."""
        return True

    def prepare(self, workload: Workload, parameters: tuple[int, ...]) -> None:
        """Assemble and run the program, and wait until it is compiled where that goes on in the background."""
        program = Program(workload.image(parameters))
        self._programs[workload.name, parameters] = program
        self.warm_up(program)

    def warm_up(self, program: Program) -> VM:
        """Run a program until the engine will not get faster.

        Raises:
            BenchError: the program crashed, or compiling does not end.
        """
        is_compiled = compiles(self.name)
        deadline = time.monotonic() + LONGEST_COMPILATION
        while True:
            vm = VM(program)
            finish(self.engine, vm)
            # What is over at once is never compiled.
            if is_compiled is None or is_compiled(vm) or vm.record.instructions < 2 * WARM:
                return vm
            if time.monotonic() > deadline:
                raise BenchError(f"not compiled after {LONGEST_COMPILATION:.0f} s")

    def sample(self, workload: Workload, parameters: tuple[int, ...]) -> Sample:
        """Run the program on a fresh VM."""
        vm = VM(self._programs[workload.name, parameters])
        start = time.thread_time()
        printed = finish(self.engine, vm)
        seconds = time.thread_time() - start
        vm.release()
        return Sample(seconds, numbers(printed))

    def first_result(self, data: bytes) -> tuple[Sample, int]:
        """Run an image that the engine has not seen: decoding, or whatever comes first, is part of the time.

        Args:
            data: the bytes of its file.

        Returns:
            A sample with the seconds that a person waits, whichever thread used them; how many instructions ran.
        """
        start = time.perf_counter()
        vm = VM(Program(parse(data)))
        printed = finish(self.engine, vm, SHORT_TURN)
        return Sample(time.perf_counter() - start, numbers(printed)), vm.record.instructions

    def compilation(self, data: bytes) -> float | None:
        """Seconds until an image that does not end is compiled, while it runs; None if it never is.

        Raises:
            BenchError: compiling does not end.
        """
        is_compiled = compiles(self.name)
        if is_compiled is None:
            return None
        start = time.perf_counter()
        vm = VM(Program(parse(data)))
        while not is_compiled(vm):
            self.engine(vm, SHORT_TURN)
            if time.perf_counter() - start > LONGEST_COMPILATION:
                raise BenchError(f"not compiled after {LONGEST_COMPILATION:.0f} s")
        return time.perf_counter() - start


def engines() -> tuple[list[EngineSystem], list[Skipped]]:
    """The engines that run here, and those that do not."""
    found: list[EngineSystem] = []
    skipped: list[Skipped] = []
    for name in ENGINES:
        try:
            found.append(EngineSystem(name, find_engine(name)))
        except OptionError as error:
            skipped.append(Skipped(name, str(error)))
    return found, skipped
