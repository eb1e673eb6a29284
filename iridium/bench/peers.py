"""Other languages as systems to measure. Each runs its own write-up of the workloads in a process of its own.

A process prints the seconds that the work alone took, and its result; starting it is not counted.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from iridium.bench.system import BenchError, Sample, Skipped, System, numbers
from iridium.bench.workload import Pace, Workload

LONGEST_RUN = 600.0
"""Seconds that one run of a peer may take: a hundred times what any of them needs on an idle machine."""

_HERE = Path(__file__).parent
_PROGRAMS = _HERE / "peer_programs"
_SCRIPT = [sys.executable, "-P"]  # -P: a script finds no module of ours beside itself


def _run(command: list[str]) -> str:
    """What a command prints.

    Raises:
        BenchError: it fails, or does not end.
    """
    try:
        # What is run are the languages that a benchmark is written in, with programs of our own.
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN, check=False)  # nosec B603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]}: {error}") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BenchError(f"{Path(command[0]).name} failed: {last[0]}")
    return done.stdout


class Peer:
    """A program that takes a workload's name and parameters.

    Args:
        name: for tools.
        title: for people.
        version: of what runs it.
        pace: decides the size of its workloads.
        command: what to run, before the workload's name.
        only: the single workload it has a figure of its own in, or None.
    """

    ours = False

    def __init__(
        self, name: str, title: str, version: str, pace: Pace, command: list[str], only: str | None = None
    ) -> None:
        self.name = name
        self.title = title
        self.version = version
        self.pace = pace
        self._command = command
        self._only = only

    def supports(self, workload: Workload) -> bool:
        """Whether it has a figure of its own in this workload."""
        return self._only in (None, workload.name)

    def prepare(self, workload: Workload, parameters: tuple[int, ...]) -> None:
        """Nothing: every process starts anew."""

    def sample(self, workload: Workload, parameters: tuple[int, ...]) -> Sample:
        """Run the workload in a new process."""
        printed = _run([*self._command, workload.name, *map(str, parameters)])
        seconds, _, result = printed.partition(" ")
        try:
            return Sample(float(seconds), numbers(result))
        except ValueError:
            raise BenchError(f"{self.title} printed {printed.strip()[:60]!r}") from None


def _version(command: str, option: str) -> str:
    """The first number that a program tells about itself; lua writes it to either stream."""
    words = [command, option]  # both from the tables of this module
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)  # nosec B603
    match = re.search(r"\d+\.[\d.]*\d", done.stdout + done.stderr)
    return match[0] if match else "?"


def _find(*names: str) -> str:
    """The path of the first of these programs that is installed.

    Raises:
        BenchError: none is.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    raise BenchError(f"{names[0]} is not installed")


_KEEP_CALLS = ("-fno-inline", "-fno-optimize-sibling-calls")


def _c(name: str, title: str, flags: tuple[str, ...], only: str | None) -> Callable[[Path], Peer]:
    def make(directory: Path) -> Peer:
        compiler = _find("gcc")
        binary = directory / name
        _run([compiler, "-O2", *flags, str(_PROGRAMS / "bodies.c"), "-o", str(binary)])
        # The bare -dumpversion is the major number alone on some systems.
        version = _run([compiler, "-dumpfullversion"]).strip()
        return Peer(name, title, version, Pace.COMPILED, [str(binary)], only)

    return make


def _lua(_directory: Path) -> Peer:
    lua = _find("lua5.4", "lua54")
    command = [lua, str(_PROGRAMS / "bodies.lua")]
    return Peer("lua", "Lua", _version(lua, "-v"), Pace.INTERPRETED, command)


def _luajit(_directory: Path) -> Peer:
    luajit = _find("luajit")
    command = [luajit, str(_PROGRAMS / "bodies.lua")]
    return Peer("luajit", "LuaJIT", _version(luajit, "-v"), Pace.COMPILED, command)


def _node(_directory: Path) -> Peer:
    node = _find("node", "nodejs")
    command = [node, str(_PROGRAMS / "bodies.js")]
    return Peer("node", "Node", _version(node, "--version"), Pace.COMPILED, command)


def _wasmtime(_directory: Path) -> Peer:
    try:
        version = importlib.metadata.version("wasmtime")
    except importlib.metadata.PackageNotFoundError:
        raise BenchError("wasmtime is not installed for this Python") from None
    return Peer("wasmtime", "wasmtime", version, Pace.COMPILED, [*_SCRIPT, str(_HERE / "in_wasmtime.py")])


def _cpython(_directory: Path) -> Peer:
    command = [*_SCRIPT, str(_HERE / "in_cpython.py")]
    return Peer("cpython", platform.python_implementation(), platform.python_version(), Pace.PYTHON, command)


PEERS: dict[str, Callable[[Path], System]] = {
    "gcc": _c("gcc", "gcc -O2", (), None),
    "gcc-calls": _c("gcc-calls", "gcc -O2, calls kept", _KEEP_CALLS, "fib"),
    "wasmtime": _wasmtime,
    "node": _node,
    "luajit": _luajit,
    "lua": _lua,
    "cpython": _cpython,
}
"""What makes a peer, by name, given a directory for what it compiles; raises :class:`BenchError` with why not."""


def find_peers(directory: Path) -> tuple[list[System], list[Skipped]]:
    """The peers that are installed, and those that are not.

    Args:
        directory: for what they compile, as long as they are used.
    """
    found: list[System] = []
    skipped: list[Skipped] = []
    for name, make in PEERS.items():
        try:
            found.append(make(directory))
        except BenchError as error:
            skipped.append(Skipped(name, str(error)))
    return found, skipped
