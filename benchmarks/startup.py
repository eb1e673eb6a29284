"""How long ``iridium run`` takes, the whole process: of a program that only halts, beside Python's own start, and
of one of 50 million instructions, whose compiled code is in the cache.

The commands take turns, so that what else the machine does meets all of them alike. Compiled modules are cached in
a directory of the benchmark's own, as an installation has them, even where the environment forbids to write them.

    python benchmarks/startup.py [--json] [--repeat N] [IRIDIUM]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beside import hot

SOURCE = ".code\nhlt\n"
HOT_INSTRUCTIONS = 50_000_000
"""Of the program that is hot."""

HOT_NAME = "iridium run, 50 million"
"""What the table calls it."""

HOT_GOAL = 350.0
"""Milliseconds that those may take."""

IMAGE = b"EPIE" + bytes(64) + bytes((5, 0, 0, 0))  # a version 0 image of one HLT


def measure(commands: dict[str, list[str]], repeat: int, environment: dict[str, str]) -> dict[str, float]:
    """The median of each command's time in milliseconds.

    Args:
        commands: by what the table calls them.
        repeat: how often each runs.
        environment: of the processes.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for round_number in range(-1, repeat):  # the first round fills the caches, and does not count
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)
            if round_number >= 0:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="The start-up time of `iridium run`, beside Python's own.")
    parser.add_argument(
        "iridium",
        nargs="?",
        default=str(Path(sys.executable).with_name("iridium")),
        help="the command to measure (default: the one beside this Python)",
    )
    parser.add_argument("--repeat", type=int, default=15, help="runs of each; the median counts (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if not os.path.exists(options.iridium):
        parser.error(f"{options.iridium} does not exist; install Iridium, or name the command")
    with tempfile.TemporaryDirectory() as directory:
        source, image, program = (Path(directory, name) for name in ("hlt.iasm", "hlt.ir", "hot.iasm"))
        source.write_text(SOURCE)
        program.write_text(hot(HOT_INSTRUCTIONS))
        image.write_bytes(IMAGE)
        caches = {name: os.path.join(directory, name) for name in ("PYTHONPYCACHEPREFIX", "XDG_CACHE_HOME")}
        environment = {**os.environ, **caches}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "iridium run hlt.ir": [options.iridium, "run", str(image)],
            "iridium run hlt.iasm": [options.iridium, "run", str(source)],
            HOT_NAME: [options.iridium, "run", str(program)],
        }
        medians = measure(commands, options.repeat, environment)
    if options.json:
        print(json.dumps({f"{name} (ms)": value for name, value in medians.items()}))
        return
    print(f"whole process, median of {options.repeat}")
    bare = medians["python -c pass"]
    for name, value in medians.items():
        goal = f", goal {HOT_GOAL:.0f} ms" if name == HOT_NAME else ""
        print(f"{name:26}  {value:7.1f} ms  {value / bare:5.2f} x python{goal}")


if __name__ == "__main__":
    main()
