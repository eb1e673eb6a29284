"""How long the assembler takes: ``python benchmarks/assembler.py``.

The source has 200 000 lines with 50 000 labels: jumps and calls back and forth, loads of labels, arithmetic with
many different operands, comments and data, so that neither repetition nor order helps.
"""

from __future__ import annotations

import statistics
import time

from iridium.assembler import assemble_program

LINES = 200_000
LABELS = 50_000
RUNS = 5


def source() -> str:
    """A program of :data:`LINES` lines with :data:`LABELS` labels."""
    groups = LABELS - LABELS // 10
    lines = [".data", *(f"text_{n}: .byte #{n % 256} ; data {n}" for n in range(LABELS // 10)), ".code"]
    for n in range(groups):
        lines += (
            f"label_{n}: load ${n % 32} #{n}   ; a comment",
            f"    add ${n % 31} ${n % 29} ${n % 23}",
            f"    djmpe @label_{n * 7919 % groups}",
        )
        if n % 9 == 0:
            lines += (f"    load ${n % 32} @label_{groups - 1 - n}", f"    loadf64 ${n % 32} #{n % 8000}.5")
    while len(lines) < LINES:
        lines += (f"    addi ${len(lines) % 32} #{len(lines) % 32768}",)
    return "\n".join(lines)


def main() -> None:
    """Print lines, labels and seconds."""
    text = source()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        program = assemble_program(text, file="benchmark.iasm")
        seconds.append(time.perf_counter() - start)
    lines = text.count("\n") + 1
    print(f"{lines} lines, {len(program.symbols)} labels: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
