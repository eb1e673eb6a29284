"""Many VMs at once: each computes a little, all get turns round robin, and the last one's end stops the clock.

How turns are given is a :data:`Driver`, so that another scheduler is measured by putting it into :data:`DRIVERS`.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from iridium.assembler import assemble
from iridium.bench.ours import compiles
from iridium.bench.results import ManyResult
from iridium.bench.system import BenchError
from iridium.bench.workload import Pace, with_parameters
from iridium.vm import VM, Program, Stop
from iridium.vm.engine import WARM, Engine, missing_llvmlite

VMS = 10_000
"""Machines."""

LONG_TURN = 1_000_000
"""Instructions of a turn of the program that runs before the clock starts."""

TURN = 1000
"""Instructions a turn."""

STEPS: dict[Pace, int] = {Pace.CHECK: 20, Pace.REFERENCE: 100, Pace.INTERPRETED: 10_000, Pace.COMPILED: 100_000}
"""How many steps each VM does, by the pace of the engine; a step is five instructions."""

SOURCE = """\
; A step is x = x * 69069 + 12345, begun with what the machine finds in $1. Stops with x as its code.
.code
    load $2 #100        ; parameter steps
    load $3 #69069
    load $4 #12345
    load $5 #0
step:
    mul $1 $3 $1
    add $1 $4 $1
    inc $5
    neq $5 $2
    djmpe @step
    hltr $1
"""

Driver: TypeAlias = Callable[[Engine, Sequence[Sequence[VM]], int], int]
"""Runs groups of VMs to their ends, each group on a thread of its own.

Takes the engine, the groups, and the instructions of a turn; gives how many turns there were.
"""


def _round_robin(engine: Engine, vms: Sequence[VM], turn: int) -> int:
    """Give VMs turns until all have halted."""
    ready = deque(vms)
    turns = 0
    while ready:
        vm = ready.popleft()
        turns += 1
        if engine(vm, turn).stop is Stop.BUDGET:
            ready.append(vm)
    return turns


def threads_of_python(engine: Engine, groups: Sequence[Sequence[VM]], turn: int) -> int:
    """The driver for any engine: each thread of Python goes round its own group."""
    turns = [0] * len(groups)

    def work(index: int) -> None:
        turns[index] = _round_robin(engine, groups[index], turn)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(1, len(groups))]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    return sum(turns)


def native_scheduler(engine: Engine, groups: Sequence[Sequence[VM]], turn: int) -> int:
    """The driver for machine code: the runtime's scheduler, with a worker for each group; it minds no groups."""
    from iridium.scheduler.table import ProcessTable
    from iridium.vm.native.engine import runtime
    from iridium.vm.runtime.calls import calls
    from iridium.vm.runtime.layout import FOREVER, Worker

    here = runtime()
    calls.use(here.addresses)
    table = ProcessTable(len(groups), turn, most=1)
    vms = [vm for group in groups for vm in group]
    for vm in vms:
        here.prepare(vm)
        vm.record.limit = FOREVER
        calls.submit(table.shared, vm.record)
    workers = [Worker(shared=ctypes.addressof(table.shared)) for _ in groups]
    left = len(vms)

    def work(worker: Worker) -> None:
        nonlocal left
        while left > 0:
            calls.run_some(worker, CALL)
            if worker is workers[0]:
                while calls.take_event(table.shared):
                    left -= 1

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers[1:]]
    for thread in threads:
        thread.start()
    work(workers[0])
    for thread in threads:
        thread.join()
    return sum(worker.turns for worker in workers)


CALL = 1_000_000
"""Nanoseconds of one call of a worker."""

DRIVERS: dict[str, Driver] = dict.fromkeys(("native", "compiled", "auto"), native_scheduler)
"""The driver of an engine, by its name, where it is another than :func:`threads_of_python`."""


def expected(start: int, steps: int) -> int:
    """What a VM stops with, as an i32."""
    x = start
    for _ in range(steps):
        x = (x * 69069 + 12345) & 0xFFFFFFFF
    return x - (x >> 31 << 32)


def run_many(name: str, engine: Engine, *, threads: int, vms: int, steps: int) -> ManyResult:
    """Measure once.

    Args:
        name: of the engine.
        engine: what advances a VM.
        threads: how many groups the VMs are in.
        vms: how many there are.
        steps: of each.

    Raises:
        BenchError: a VM did not stop with the right code.
    """
    image = assemble(with_parameters(SOURCE, {"steps": steps}), file="many")
    # The reference engine keeps its registers with the program, so threads do not share one.
    programs = [Program(image) for _ in range(threads)]
    is_compiled = compiles(name)
    for program in programs:  # decoded, or compiled, before the clock starts
        while True:
            vm = VM(program)
            _round_robin(engine, [vm], LONG_TURN)
            if is_compiled is None or is_compiled(vm) or vm.record.instructions < 2 * WARM:
                break
    start = time.perf_counter()
    machines = [VM(programs[index % threads]) for index in range(vms)]
    created = time.perf_counter()
    for index, vm in enumerate(machines):
        vm.record.registers[1] = index
    groups = [machines[index::threads] for index in range(threads)]
    begun = time.perf_counter()
    driver = DRIVERS.get(name, threads_of_python)
    if driver is native_scheduler and missing_llvmlite() is not None:
        driver = threads_of_python
    turns = driver(engine, groups, TURN)
    seconds = time.perf_counter() - begun
    for index in (0, vms // 2, vms - 1):
        record = machines[index].record
        if record.stop != Stop.HALTED or record.stop_code != expected(index, steps):
            raise BenchError(f"VM {index} of {vms} stopped with {record.stop_code}")
    instructions = sum(vm.record.instructions for vm in machines)
    return ManyResult(name, vms, threads, instructions, turns, created - start, seconds)
