"""How fast mail goes from one node to another: two processes, real sockets.

    python benchmarks/mail.py

One process starts another and joins it; then it streams payloads of 48 KiB, small ones, and bulk ones, and plays
ping-pong, alone and beside a stream of 1 MiB payloads. Figures depend on the machine, and on what else it does.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import succeed

from iridium.cluster.mesh import Mesh
from iridium.cluster.peer import Me
from iridium.events import EventRing

reactor: Any = _reactor

SECONDS = 2.0
"""How long each measurement takes."""

STREAM, PING, QUIT = 1, 2, 3
"""Kinds of payload: counted, sent back, the end."""


def node() -> Mesh:
    """A node that listens on a free port of this host."""
    id = f"{random.getrandbits(32):08x}-0000-4000-8000-{random.getrandbits(48):012x}"
    mesh = Mesh(
        reactor, Me(id, "", int(time.time() * 1000), "bench"), EventRing(), lambda me, records: succeed(None)
    )
    mesh.listen("127.0.0.1", 0)
    mesh.start([])
    return mesh


def serve() -> None:
    """Be the other node: send back every ping."""
    mesh = node()

    def mail(id: str, kind: int, data: bytes) -> None:
        if kind == PING:
            mesh.post.send(id, PING, data)
        elif kind == QUIT:
            reactor.stop()

    mesh.post.on_mail = mail
    print(mesh.me.address, flush=True)
    reactor.run()


class Bench:
    """The measurements, one after the other.

    Args:
        mesh: this node.
        peer: the other.
    """

    def __init__(self, mesh: Mesh, peer: str) -> None:
        self.post = mesh.post
        self.peer = peer
        self.trips: list[float] = []
        self.asked = 0.0
        self.pings = 0
        self.payload = b""
        self.stream = 1
        self.todo: list[Callable[[], None]] = [
            lambda: self.one_way("one way, 48 KiB", 48 * 1024),
            lambda: self.one_way("one way, 1 KiB", 1024),
            lambda: self.one_way("one way, 100 bytes", 100),
            lambda: self.one_way("one way, 1 MiB", 1024 * 1024),
            lambda: self.ping_pong("ping-pong", 1, 0),
            lambda: self.ping_pong("ping-pong, 64 at once", 64, 0),
            lambda: self.ping_pong("ping-pong behind a stream of 1 MiB", 1, 1024 * 1024),
            lambda: self.ping_pong("ping-pong behind a stream of 48 KiB", 1, 48 * 1024),
        ]

    def next(self) -> None:
        """Go on."""
        self.post.on_room = lambda id: None
        self.post.on_mail = lambda id, kind, data: None
        if not self.post.waiting(self.peer):
            if not self.todo:
                self.post.send(self.peer, QUIT, b"")
                reactor.callLater(0.1, reactor.stop)
                return
            self.todo.pop(0)()
        else:
            reactor.callLater(0.01, self.next)

    def fill(self, id: str) -> None:
        """Send until there is no room."""
        if time.perf_counter() < self.until:
            while self.post.send(id, STREAM, self.payload, self.stream):
                self.count += 1

    def one_way(self, name: str, size: int) -> None:
        """Stream payloads of one size, and wait until they are acknowledged."""
        self.payload = bytes(size)
        self.count = 0
        start = time.perf_counter()
        cpu = time.process_time()
        self.until = start + SECONDS
        self.post.on_room = self.fill
        self.fill(self.peer)

        def done() -> None:
            if self.post.waiting(self.peer):
                reactor.callLater(0.001, done)
                return
            seconds = time.perf_counter() - start
            each = 1e6 * (time.process_time() - cpu) / self.count
            rate = self.count * size / seconds / 1e6
            print(f"{name:36} {rate:8.1f} MB/s {self.count / seconds:10.0f}/s, {each:6.1f} us of the sender each")
            self.next()

        reactor.callLater(SECONDS, done)

    def ping_pong(self, name: str, at_once: int, behind: int) -> None:
        """Round trips, beside a stream if asked."""
        trips: list[float] = []
        pending: dict[bytes, float] = {}
        self.until = time.perf_counter() + SECONDS

        def ask(data: bytes) -> None:
            pending[data] = time.perf_counter()
            self.post.send(self.peer, PING, data)

        def mail(id: str, kind: int, data: bytes) -> None:
            now = time.perf_counter()
            trips.append(now - pending.pop(data))
            if now < self.until:
                ask(data)
            elif not pending:
                trips.sort()
                p50, p99 = (1e6 * trips[int(len(trips) * part)] for part in (0.5, 0.99))
                print(f"{name:36} {len(trips) / SECONDS:10.0f}/s, p50 {p50:6.0f} us, p99 {p99:6.0f} us")
                self.next()

        self.post.on_mail = mail
        if behind:
            self.payload = bytes(behind)
            self.post.on_room = self.fill
            self.count = 0
            self.fill(self.peer)
        for n in range(at_once):
            ask(n.to_bytes(16, "big"))


def main() -> None:
    """Start the other node, join it, measure."""
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    child = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    host, port = child.stdout.readline().strip().rsplit(":", 1)
    mesh = node()
    mesh.post.on_session = lambda id: reactor.callLater(0.1, Bench(mesh, id).next)
    mesh.join(host, int(port)).addErrback(lambda failure: print(failure) or reactor.stop())
    reactor.run()
    child.wait()


if __name__ == "__main__":
    main()
