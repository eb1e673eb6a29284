"""How fast the reference engine is, beside CPython's own loop in the same run.

Both count to the same number: Iridium with INC, NEQ, DJMPE, CPython with ``while i != n: i += 1``. On a machine
that others use, the ratio of the two says more than either.

    python benchmarks/interpreter.py [--json] [--count N] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs from a checkout, installed or not

from iridium.image import HEADER, Image
from iridium.isa import BY_NAME
from iridium.vm import VM, Program, Stop, run

TURN = 20_000
"""Instructions a turn, as ``iridium run`` has it: what a turn costs by itself is part of the speed."""

LOOP = (("INC", 1), ("NEQ", 1, 2), ("DJMPE", HEADER))


def iridium_loop(count: int) -> float:
    """Seconds that the counting loop takes in the reference engine."""
    code = b"".join(BY_NAME[name].encode(*operands) for name, *operands in LOOP) + BY_NAME["HLT"].encode()
    vm = VM(Program(Image(code)))
    vm.record.registers[2] = count
    run(vm, 0)  # decode before the clock starts
    start = time.perf_counter()
    while run(vm, TURN).stop is Stop.BUDGET:
        pass
    seconds = time.perf_counter() - start
    assert vm.record.registers[1] == count
    assert vm.record.instructions == len(LOOP) * count + 1
    return seconds


def python_loop(count: int) -> float:
    """Seconds that the same loop takes in CPython."""
    i = 0
    start = time.perf_counter()
    while i != count:
        i += 1
    return time.perf_counter() - start


def median(measure: Callable[[int], float], count: int, repeat: int) -> float:
    """The median of several measurements."""
    return statistics.median(measure(count) for _ in range(repeat))


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="The reference engine's speed, beside CPython's own loop.")
    parser.add_argument("--count", type=int, default=1_000_000, help="how far to count (default 1000000)")
    parser.add_argument("--repeat", type=int, default=5, help="measurements; the median counts (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    iridium_seconds = median(iridium_loop, options.count, options.repeat)
    python_seconds = median(python_loop, options.count, options.repeat)
    figures = {
        "million_instructions_per_second": len(LOOP) * options.count / iridium_seconds / 1e6,
        "iridium_ns_per_iteration": iridium_seconds / options.count * 1e9,
        "python_ns_per_iteration": python_seconds / options.count * 1e9,
        "ratio": iridium_seconds / python_seconds,
    }
    if options.json:
        print(json.dumps(figures))
        return
    print(f"counting to {options.count}, median of {options.repeat}")
    print(f"{'':18}  ns/iteration  M instructions/s")
    print(
        f"{'reference engine':18}  {figures['iridium_ns_per_iteration']:12.1f}"
        f"  {figures['million_instructions_per_second']:16.2f}"
    )
    print(f"{'CPython while loop':18}  {figures['python_ns_per_iteration']:12.1f}")
    print(f"{'ratio':18}  {figures['ratio']:12.2f}")


if __name__ == "__main__":
    main()
