"""How soon a node answers on both ports after its start, and how much memory it takes; also once it has compiled.

    python benchmarks/node.py [--runs 9] [--json]

Needs Iridium installed beside this Python. Beside it stand a bare `python -c pass` and an empty Twisted service
(`twistd -n ftp`), in the same run, because absolute times move from machine to machine. A node that has compiled a
hot program has LLVM in its memory: `cold` where its cache of objects was empty, `warm` where it found them there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from beside import hot

from iridium.repl.client import connect

HELLO = (
    b'{"type":"hello","version":"99.0","cluster":"x","id":"00000000-0000-4000-8000-000000000000",'
    b'"incarnation":1}\n'
)
"""Any node answers this with a refusal."""

HOT = hot(2_000_000_000)
"""A node has compiled it long before its end, whatever it builds first."""

GOAL_MB = 120.0
"""Resident memory that a node may take which has compiled a program."""


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, send: bytes, expect: bytes, limit: float = 10.0) -> None:
    """Wait until a port answers a line with certain bytes.

    Raises:
        TimeoutError: it does not in time.
    """
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(send)
            if expect in connection.recv(4096):
                return
        time.sleep(0.002)
    raise TimeoutError(f"port {port} does not answer")


def resident(pid: int) -> int:
    """Bytes of resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise LookupError(pid)


@contextlib.contextmanager
def started(twistd: str, root: str, *options: str, **environment: str) -> Iterator[tuple[int, int, float]]:
    """A node that answers: its process id, its REPL port, and the seconds that it took to answer on both ports."""
    repl, cluster = free_port(), free_port()
    command = [twistd, "-n", "--pidfile=", "iridium", "-P", str(cluster), "-p", str(repl), "--data-root-dir", root]
    start = time.monotonic()
    node = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        answers(repl, b"", b"Welcome to Iridium!")
        answers(cluster, HELLO, b'"VERSION"')
        yield node.pid, repl, time.monotonic() - start
    finally:
        node.terminate()
        node.wait(10)


def one_node(twistd: str, root: str) -> tuple[float, int]:
    """Start a node; seconds until both ports answer, and its resident memory then."""
    with started(twistd, root) as (pid, _, seconds):
        return seconds, resident(pid)


def one_that_compiles(twistd: str, root: str, cache: str) -> int:
    """Start a node and let it run a hot program to its end; its resident memory then.

    Args:
        twistd, root: as for the others.
        cache: where it keeps objects.

    Raises:
        RuntimeError: the program did not run as compiled code.
    """
    Path(root, "hot.iasm").write_text(HOT)
    with (
        started(twistd, root, "--programs-dir", root, XDG_CACHE_HOME=cache) as (pid, port, _),
        connect("127.0.0.1", port) as ask,
    ):
        for command in ("!load_file hot.iasm", "!run"):
            answer = ask(command, 60.0)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
        machine = ask("!stats", 10.0)["machine"]
        if machine["tier"] != "compiled":
            raise RuntimeError(f"the hot program was not compiled: {machine}")
        return resident(pid)


def one_twistd(twistd: str) -> tuple[float, int]:
    """The same for a Twisted service that does next to nothing."""
    port = free_port()
    start = time.monotonic()
    service = subprocess.Popen(
        [twistd, "-n", "--pidfile=", "ftp", "-p", str(port), "-r", "/nonexistent"], stdout=subprocess.DEVNULL
    )
    try:
        answers(port, b"", b"220")
        return time.monotonic() - start, resident(service.pid)
    finally:
        service.terminate()
        service.wait(10)


def bare_python() -> float:
    """Seconds that `python -c pass` takes."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    twistd = str(Path(sys.executable).with_name("twistd"))
    with tempfile.TemporaryDirectory() as root:
        one_node(twistd, root)  # compiles the modules
        nodes = [one_node(twistd, root) for _ in range(options.runs)]
        cold, warm = [], []
        for number in range(max(1, options.runs // 3)):
            cache = str(Path(root, f"cache{number}"))
            cold.append(one_that_compiles(twistd, root, cache))
            warm.append(one_that_compiles(twistd, root, cache))
    services = [one_twistd(twistd) for _ in range(options.runs)]
    bare = statistics.median(bare_python() for _ in range(options.runs))
    result = {
        "node_seconds": round(statistics.median(seconds for seconds, _ in nodes), 3),
        "node_mb": round(statistics.median(memory for _, memory in nodes) / 1e6, 1),
        "compiled_cold_mb": round(statistics.median(cold) / 1e6, 1),
        "compiled_warm_mb": round(statistics.median(warm) / 1e6, 1),
        "compiled_goal_mb": GOAL_MB,
        "twistd_seconds": round(statistics.median(seconds for seconds, _ in services), 3),
        "twistd_mb": round(statistics.median(memory for _, memory in services) / 1e6, 1),
        "python_seconds": round(bare, 4),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key:16} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
