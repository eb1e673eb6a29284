"""What benchmarks share: programs, Erlang beside those of processes, and the tables that come out.

A figure has a name, a unit and a goal. Ours and Erlang's are taken by turns, in one run; medians count.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from iridium.assembler import assemble
from iridium.vm import Program

HERE = Path(__file__).parent

PATIENCE = 120.0
"""Seconds until something that has not ended is taken for stuck."""


class Figure(msgspec.Struct):
    """What is measured.

    Attributes:
        name: what.
        unit: in what.
        goal: what ours should reach.
        most: whether the goal is the most that it may be, not the least.
        times: what ours should be of Erlang's, in times; 0 for no such goal.
        ours, erlang: samples.
        processor: microseconds of processor time that each of ours took, where that is known.
    """

    name: str
    unit: str
    goal: float = 0.0
    most: bool = False
    times: float = 0.0
    ours: list[float] = []
    erlang: list[float] = []
    processor: list[float] = []


def hot(instructions: int) -> str:
    """The source of a program that computes and nothing else, for about so many instructions."""
    return f"""\
.code
      load $2 #{instructions // 5}
top:  mul $3 $2 $3
      inc $3
      inc $1
      lt $1 $2
      djmpe @top
      hlt
"""


def load(name: str) -> Program:
    """One of the programs that stand beside the benchmarks."""
    return Program(assemble((HERE / "programs" / f"{name}.iasm").read_text(), file=name))


@contextmanager
def erlang_modules(*names: str) -> Iterator[Path | None]:
    """A directory with compiled Erlang modules; None where Erlang is not installed."""
    if not (shutil.which("erl") and shutil.which("erlc")):
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        sources = [str(HERE / "erlang" / f"{name}.erl") for name in names]
        subprocess.run(["erlc", "-o", directory, *sources], check=True, timeout=PATIENCE)
        yield Path(directory)


def numbers(text: str) -> dict[str, list[float]]:
    """What an Erlang program has printed: lines of a name and numbers."""
    lines = [line.split() for line in text.splitlines()]
    return {name: [float(number) for number in rest] for name, *rest in lines}


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that the threads of a process have taken."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _short(value: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= 10 * size or (size == 1e6 and value >= size):
            return f"{value / size:.2f}{letter}"
    return f"{value:.4g}"


def _row(figure: Figure) -> dict[str, object]:
    ours = statistics.median(figure.ours)
    row: dict[str, object] = {"name": figure.name, "unit": figure.unit, "ours": ours, "samples": figure.ours}
    if figure.processor:
        row["processor_us"] = statistics.median(figure.processor)
    reached = True
    if figure.goal:
        row["goal"] = figure.goal
        reached = ours <= figure.goal if figure.most else ours >= figure.goal
    if figure.erlang:
        erlang = statistics.median(figure.erlang)
        row |= {"erlang": erlang, "erlang_samples": figure.erlang, "times": ours / erlang}
        if figure.times:
            row["goal_times"] = figure.times
            reached = reached and (ours / erlang <= figure.times if figure.most else ours / erlang >= figure.times)
    if figure.goal or figure.times:
        row["reached"] = reached
    return row


def show(figures: list[Figure], *, as_json: bool) -> None:
    """Print the medians, those of ours beside their goals and Erlang's."""
    rows = [_row(figure) for figure in figures if figure.ours]
    load = round(os.getloadavg()[0], 2)
    if as_json:
        print(json.dumps({"load": load, "figures": rows}))
        return
    print(f"{'':44} {'ours':>10} {'goal':>10} {'Erlang':>10} {'times':>7} {'us of CPU':>10}")
    for row, figure in zip(rows, [figure for figure in figures if figure.ours], strict=True):
        goal = _short(figure.goal) if figure.goal else ""
        erlang = _short(statistics.median(figure.erlang)) if figure.erlang else ""
        times = f"{row['times']:.2f}" if figure.erlang else ""
        processor = f"{row['processor_us']:.2f}" if figure.processor else ""
        missed = "" if row.get("reached", True) else "  missed"
        if figure.times and figure.erlang:
            missed += f"  (goal {'at most' if figure.most else 'at least'} {figure.times:g} times)"
        title = f"{figure.name}, {figure.unit}"
        print(f"{title:44} {_short(row['ours']):>10} {goal:>10} {erlang:>10} {times:>7} {processor:>10}{missed}")
    print(f"load average {load}")
