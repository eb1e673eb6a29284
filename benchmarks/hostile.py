"""What 500 silent connections and an endless line cost a node, and an honest peer of it.

    python benchmarks/hostile.py [--megabytes 500] [--connections 500] [--json]

Needs Iridium installed beside this Python. An accepted peer pings the node all the while, by the wire protocol:
first for some seconds in peace, then under attack. The attack is a process of its own, which opens the silent
connections as fast as it can, sends the line, and waits until the node has closed those to the cluster port. It is
tried on a node that lets anybody in, at both of its ports; on one with a secret; and on one with a secret and TLS.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from node import answers, free_port, resident

from iridium.cluster.link import Role
from iridium.cluster.secret import Exchange, new_secret, proof
from iridium.cluster.tls import Channel
from iridium.cluster.tls_files import TlsFiles, load_tls

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


NONCE = "5" * 32


class Honest(threading.Thread):
    """A peer that pings every 5 ms and keeps the round trips.

    Args:
        port: the cluster port.
        secret: of the node, "" for none.
        tls: the directory with the certificate of the peer, for a node with TLS.
    """

    def __init__(self, port: int, secret: str = "", tls: Path | None = None) -> None:
        super().__init__(daemon=True)
        self.trips: list[float] = []
        self.over = threading.Event()
        self._buffer = b""
        self._channel: Channel | None = None
        self._peer = socket.create_connection(("127.0.0.1", port), 5)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            files = TlsFiles(tls / "node.pem", tls / "node.key", tls / "ca.pem")
            self._channel = load_tls(files).channel(Role.DIALLER)
            self._channel.receive(b"")
            self._peer.sendall(self._channel.outgoing())
            while self._channel.peer is None:
                self._read()
        if secret:
            self._prove(secret)
        self._say(
            HELLO
            | {"incarnation": time.time_ns() // 10**6, "auth": "secret" if secret else "none", "nonce": NONCE}
        )
        welcome = self._hear()
        assert welcome["type"] == "welcome", welcome
        self._say({"type": "ready"})

    def _prove(self, secret: str) -> None:
        id = HELLO["id"]
        first = {"type": "hello", "version": "1.0", "cluster": "", "id": id, "incarnation": 0}
        self._say(first | {"nonce": NONCE, "auth": "secret"})
        told = self._hear()
        binding = b""
        if self._channel is not None and self._channel.peer is not None:
            binding = self._channel.peer.binding
        exchange = Exchange(str(id), told["id"], NONCE, told["nonce"], "1.0", told["version"], binding)
        self._say({"type": "proof", "mac": proof(secret, "dialler", exchange)})

    def _say(self, message: dict[str, object]) -> None:
        data = json.dumps(message).encode() + b"\n"
        self._peer.sendall(data if self._channel is None else self._channel.send(data))

    def _read(self) -> None:
        data = self._peer.recv(65536)
        assert data, "the node hung up on the honest peer"
        if self._channel is not None:
            data = self._channel.receive(data)
            self._peer.sendall(self._channel.outgoing())
        self._buffer += data

    def _hear(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._read()
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def run(self) -> None:
        """Ping until it is over."""
        number = 0
        while not self.over.wait(0.005):
            number += 1
            start = time.monotonic()
            self._say({"type": "ping", "n": number})
            while True:
                answer = self._hear()
                if answer["type"] == "ping":
                    self._say({"type": "pong", "n": answer["n"]})
                elif answer["type"] == "pong":
                    break
            self.trips.append(time.monotonic() - start)

    def close(self) -> None:
        """Hang up."""
        self._peer.close()

    def told(self) -> list[float]:
        """The round trips since it was last asked, in order of time."""
        trips, self.trips = self.trips, []
        return sorted(trips)


@contextlib.contextmanager
def guarded(root: Path, kind: str) -> Iterator[tuple[int, int, int, str, Path | None]]:
    """A node: its process id, its cluster port and its REPL port, its secret, and where a peer's certificate is.

    Args:
        root: an empty directory.
        kind: "" for one that lets anybody in, "secret", or "TLS" for both.
    """
    repl, cluster = free_port(), free_port()
    twistd = str(Path(sys.executable).with_name("twistd"))
    words = [
        twistd,
        "-n",
        "--pidfile=",
        "iridium",
        "-P",
        str(cluster),
        "-p",
        str(repl),
        "--data-root-dir",
        str(root),
    ]
    secret = ""
    if kind:
        secret = new_secret()
        file = root / "shared"
        file.touch(0o600)
        file.write_text(secret)
        words += ["--secret-file", str(file)]
    if kind == "TLS":
        make = [str(Path(sys.executable).with_name("iridium")), "certificates"]
        peer = ["node", "peer", "--ca", "ca", "--id", str(HELLO["id"])]
        for arguments in (["ca", "ca"], peer, ["node", "--ca", "ca", "--data-root-dir", str(root)]):
            subprocess.run([*make, *arguments], cwd=root, check=True, stdout=subprocess.DEVNULL)
    node = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        answers(repl, b"", b"Welcome to Iridium!")
        yield node.pid, cluster, repl, secret, root / "peer" if kind == "TLS" else None
    finally:
        node.terminate()
        node.wait(10)


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


def suffer(pid: int, honest: Honest, port: int, connections: int, megabytes: int) -> dict[str, float]:
    """Attack one port; what it cost."""
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
    honest.close()
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
    result: dict[str, dict[str, float]] = {}
    for kind, ports in (
        ("", ("cluster port", "REPL port")),
        ("secret", ("cluster port",)),
        ("TLS", ("cluster port",)),
    ):
        with tempfile.TemporaryDirectory() as root, guarded(Path(root), kind) as (pid, cluster, repl, secret, tls):
            for name in ports:
                honest = Honest(cluster, secret, tls)
                port = cluster if name == "cluster port" else repl
                row = suffer(pid, honest, port, options.connections, options.megabytes)
                result[f"{name}, {kind or 'open'}"] = row
    print(json.dumps(result) if options.json else "\n".join(f"{name:20} {row}" for name, row in result.items()))


if __name__ == "__main__":
    main()
