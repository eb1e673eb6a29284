"""What 500 silent connections and an endless line cost a node, and an honest peer of it.

    python benchmarks/hostile.py [--megabytes 500] [--connections 500] [--json]

Needs Iridium installed beside this Python. An accepted peer pings the node all the while, by the wire protocol:
first for some seconds in peace, then under attack. The attack is a process of its own, which opens the silent
connections as fast as it can, sends the line, and waits until the node has closed those to the cluster port.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from node import answers, free_port, resident

HELLO = {
    "type": "hello",
    "version": "1.0",
    "cluster": "iridium",
    "id": "00000000-0000-4000-8000-000000000001",
    "incarnation": 1,
    "alias": "honest",
    "address": "127.0.0.1:1",
    "link": "honest",
}

PEACE = 4.0
"""Seconds of pings before each attack."""

ATTACK = 8.0
"""Seconds that an attack takes at least: the handshake's five, and some in which the node hangs up on 500."""


class Honest(threading.Thread):
    """A peer that pings every 5 ms and keeps the round trips."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.trips: list[float] = []
        self.over = threading.Event()
        self._peer = socket.create_connection(("127.0.0.1", port), 5)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._peer.makefile("rb")
        self._say(HELLO)
        assert json.loads(self._lines.readline())["type"] == "welcome"
        self._say({"type": "ready"})

    def _say(self, message: dict[str, object]) -> None:
        self._peer.sendall(json.dumps(message).encode() + b"\n")

    def run(self) -> None:
        """Ping until it is over."""
        number = 0
        while not self.over.wait(0.005):
            number += 1
            start = time.monotonic()
            self._say({"type": "ping", "n": number})
            while True:
                answer = json.loads(self._lines.readline())
                if answer["type"] == "ping":
                    self._say({"type": "pong", "n": answer["n"]})
                elif answer["type"] == "pong":
                    break
            self.trips.append(time.monotonic() - start)

    def told(self) -> list[float]:
        """The round trips since it was last asked, in order of time."""
        trips, self.trips = self.trips, []
        return sorted(trips)


def stream(port: int, megabytes: int) -> None:
    """Send one line without end, again from the start whenever the node hangs up."""
    left = megabytes * 1_000_000
    piece = b"x" * 65536
    while left > 0:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            while left > 0:
                connection.sendall(piece)
                left -= len(piece)


def attack(port: int, connections: int, megabytes: int) -> None:
    """Be the attacker."""
    end = time.monotonic() + ATTACK
    silent = []
    for _ in range(connections):
        with contextlib.suppress(OSError):
            silent.append(socket.create_connection(("127.0.0.1", port), 5))
    stream(port, megabytes)
    time.sleep(max(0.0, end - time.monotonic()))
    for connection in silent:
        connection.close()


def suffer(pid: int, cluster: int, port: int, connections: int, megabytes: int) -> dict[str, float]:
    """Attack one port; what it cost."""
    honest = Honest(cluster)
    honest.start()
    time.sleep(PEACE)
    peace = honest.told()
    before = most = resident(pid)
    arguments = [sys.executable, __file__, "--attack", str(port)]
    arguments += ["--connections", str(connections), "--megabytes", str(megabytes)]
    attacker = subprocess.Popen(arguments)
    while attacker.poll() is None:
        most = max(most, resident(pid))
        time.sleep(0.05)
    honest.over.set()
    honest.join()
    trips = honest.told()
    return {
        "more_mb": round((most - before) / 1e6, 1),
        "ping_p50_ms": round(1000 * statistics.median(trips), 2),
        "ping_p99_ms": round(1000 * trips[int(0.99 * len(trips))], 2),
        "ping_most_ms": round(1000 * trips[-1], 2),
        "pings": len(trips),
        "peace_p99_ms": round(1000 * peace[int(0.99 * len(peace))], 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--attack", type=int, metavar="PORT", help="be the attacker of that port")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.attack:
        attack(options.attack, options.connections, options.megabytes)
        return
    repl, cluster = free_port(), free_port()
    twistd = str(Path(sys.executable).with_name("twistd"))
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as root:
        command = [
            twistd,
            "-n",
            "--pidfile=",
            "iridium",
            "-P",
            str(cluster),
            "-p",
            str(repl),
            "--data-root-dir",
            root,
        ]
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            answers(repl, b"", b"Welcome to Iridium!")
            for name, port in (("cluster port", cluster), ("REPL port", repl)):
                result[name] = suffer(node.pid, cluster, port, options.connections, options.megabytes)
        finally:
            node.terminate()
            node.wait(10)
    print(json.dumps(result) if options.json else "\n".join(f"{name:14} {row}" for name, row in result.items()))


if __name__ == "__main__":
    main()
