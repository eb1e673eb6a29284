"""Messages and processes between two nodes on this host, from program to program.

    python benchmarks/remote.py [--rounds 3] [--only latency ...] [--tls] [--json] [--no-erlang]

Two real nodes in a process each, with one worker thread each; beside them two nodes of Erlang/OTP, by turns, where
it is installed. Rates and times are on the wall: what else runs on the machine counts, for both alike. Beside them
stands the processor time that both nodes together took for each, which depends less on that.

With --tls each round is measured a second time with TLS between the nodes, and what that leaves is told.

A single ping-pong is timed where its answers arrive, one after the other, at the node that asks: from one to the
next is a whole round trip.
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
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from beside import PATIENCE, Figure, erlang_modules, load, numbers, processor_seconds, show
from trusting import make_certificate, read_certificate
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, globalLogPublisher

from iridium.cluster.tls import ClusterTls
from iridium.node import Node, NodeConfig
from iridium.processes import wire
from iridium.vm import Program

reactor: Any = _reactor

WAYS, TRIPS, LATENCIES, BEHIND, SPAWNS = 3 << 20, 4_000, 10_000, 300, 4_000
"""Words, round trips of each of 64, round trips of a single one, the same beside bulk, spawns."""

ERLANG_WAYS = 500_000

WINDOW = 1024
"""Words that the receiver confirms at once."""

BULK = 1024 * 1024
"""Bytes of the messages that a ping-pong runs beside."""

OTHER = -2
"""The other node, as SPAWNON numbers it; this one is -1."""

RANGES, NUMBERS = 64, 160_000
"""Primes are counted in so many ranges of so many numbers."""

PRIMES = "679461"
"""How many there are."""


def figures() -> dict[str, Figure]:
    """What is measured, with its goals."""
    return {
        "one_way": Figure("one-way words", "/s", 3e6, times=5.0),
        "ping_pong_64": Figure("64 ping-pongs, round trips", "/s", 0.3e6),
        "latency": Figure("a single ping-pong, p50", "us", most=True, times=1.6),
        "latency_99": Figure("a single ping-pong, p99", "us", most=True),
        "behind": Figure("the same beside 1 MiB messages, p50", "us", 1000.0, most=True),
        "behind_99": Figure("the same beside 1 MiB messages, p99", "us", most=True),
        "spawn": Figure("spawn there, one after the other", "/s", 6e3),
        "spawn_64": Figure("spawn there, 64 at once", "/s", 50e3),
        "primes": Figure("parallel prime count, 2 nodes of 1", "times", 1.9),
    }


def node(directory: Path, name: str, tls: ClusterTls | None = None) -> Node:
    """A node that listens on a free port."""
    made = Node(reactor, NodeConfig(node_alias=name, server_bind_port=0, data_root_dir=directory, threads=1))
    made.mesh.tls = tls
    made.start_cluster()
    made.start()
    return made


def serve(directory: Path, tls: Path | None) -> None:
    """Be the other node until whoever started it goes away."""
    other = node(directory, "b", read_certificate(tls) if tls else None)
    print(other.me.address, flush=True)
    reactor.callInThread(lambda: (sys.stdin.read(), reactor.callFromThread(reactor.stop)))
    reactor.addSystemEventTrigger("before", "shutdown", other.stop)
    reactor.run()


class Bench:
    """The measurements.

    Args:
        here: the node that programs are started on.
        other: starts another node, and gives its address, its process and what ends it.
    """

    def __init__(self, here: Node, other: Callable[[], tuple[str, int, Callable[[], Any]]]) -> None:
        self.here = here
        self.other = other
        self.programs: dict[str, Program] = {}
        self.pids = [os.getpid()]
        self.processor = 0.0  # seconds that the last run took at all nodes

    async def run(self, program: str, **registers: int) -> tuple[float, str]:
        """Run a program to its end; seconds, and what it has printed."""
        loaded = self.programs.setdefault(program, load(program))
        start, before = time.perf_counter(), sum(map(processor_seconds, self.pids))
        numbered = {int(name[1:]): value for name, value in registers.items()}
        process = await self.here.processes.spawn(loaded, registers=numbered, title=program)
        how = await process.when_done()
        if how.reason:
            raise SystemExit(f"{program} ended with {how}")
        self.processor = sum(map(processor_seconds, self.pids)) - before
        return time.perf_counter() - start, process.output

    async def rate(self, wanted: dict[str, Figure], name: str, program: str, count: int, **registers: int) -> None:
        """Take a sample of a figure that is a rate, if it is wanted."""
        if name in wanted:
            seconds, _ = await self.run(program, **registers)
            wanted[name].ours.append(count / seconds)
            wanted[name].processor.append(1e6 * self.processor / count)

    async def latencies(self, count: int) -> list[float]:
        """The median and the 99th percentile of the round trips of one ping-pong, in microseconds."""
        arrived: list[float] = []
        post = self.here.mesh.post
        on_mail = post.on_mail

        def watch(id: str, kind: int, data: bytes) -> None:
            if kind == wire.LETTERS:
                arrived.append(time.perf_counter())
            on_mail(id, kind, data)

        post.on_mail = watch
        await self.run("ping_pong", r1=count, r24=OTHER, r25=1)
        post.on_mail = on_mail
        trips = sorted(1e6 * (late - early) for early, late in pairwise(arrived[100:]))
        return [trips[len(trips) // 2], trips[len(trips) * 99 // 100]]

    async def round(self, wanted: dict[str, Figure]) -> None:
        """Take a sample of each figure that is wanted."""
        if "primes" in wanted:
            await self.run("primes", r1=RANGES, r2=NUMBERS)  # so that it is compiled
            alone, output = await self.run("primes", r1=RANGES, r2=NUMBERS)
            assert output == PRIMES, output
        address, pid, end = self.other()
        self.pids = [os.getpid(), pid]
        host, port = address.rsplit(":", 1)
        await self.here.mesh.join(host, int(port))
        while self.here.courier.up() == []:
            await deferLater(reactor, 0.01)
        if "primes" in wanted:
            await self.run("primes", r1=RANGES, r2=NUMBERS)  # there too
            both, output = await self.run("primes", r1=RANGES, r2=NUMBERS)
            assert output == PRIMES, output
            wanted["primes"].ours.append(alone / both)
        await self.rate(wanted, "one_way", "one_way", WAYS, r1=WAYS, r21=WINDOW, r24=OTHER)
        await self.rate(wanted, "ping_pong_64", "ping_pong", 64 * TRIPS, r1=TRIPS, r24=OTHER, r25=64)
        if "latency" in wanted:
            _add(wanted, "latency", await self.latencies(LATENCIES))
            wanted["latency"].processor.append(1e6 * self.processor / LATENCIES)
        if "behind" in wanted:
            bulk = await self.here.processes.spawn(load("bulk"), registers={1: BULK, 24: OTHER})
            await deferLater(reactor, 0.5)
            _add(wanted, "behind", await self.latencies(BEHIND))
            bulk.kill()
            while self.here.mesh.post.waiting(self.here.courier.up()[0]):
                await deferLater(reactor, 0.05)
        await self.rate(wanted, "spawn", "spawn", SPAWNS, r1=SPAWNS, r24=OTHER, r25=1)
        await self.rate(wanted, "spawn_64", "spawn", 16 * SPAWNS, r1=SPAWNS // 4, r24=OTHER, r25=64)
        self.pids.pop()
        end()
        while self.here.courier.up():
            await deferLater(reactor, 0.01)


def _add(wanted: dict[str, Figure], name: str, taken: list[float], *, erlang: bool = False) -> None:
    for figure, value in zip((wanted[name], wanted[f"{name}_99"]), taken, strict=True):
        (figure.erlang if erlang else figure.ours).append(value)


def erlang_round(directory: Path, wanted: dict[str, Figure]) -> None:
    """The same with two nodes of Erlang, each in a process."""

    def start(name: str, *rest: str) -> subprocess.Popen[str]:
        command = ["erl", "-noinput", "-sname", f"{name}@localhost", "-setcookie", "bench", "-pa", str(directory)]
        return subprocess.Popen([*command, *rest], stdout=subprocess.PIPE, text=True)

    other = start("iridium_bench_b", "-eval", 'io:format("up~n").')
    try:
        assert other.stdout is not None
        other.stdout.readline()
        sizes = [str(number) for number in (ERLANG_WAYS, TRIPS, LATENCIES, BEHIND, SPAWNS)]
        running = start("iridium_bench_a", "-s", "remote_bench", "main", "iridium_bench_b@localhost", *sizes)
        for name, values in numbers(running.communicate(timeout=PATIENCE)[0]).items():
            if name in wanted:
                if len(values) == 2:
                    _add(wanted, name, values, erlang=True)
                else:
                    wanted[name].erlang += values
    finally:
        other.kill()
        other.communicate()


async def measure(options: argparse.Namespace) -> None:
    """Measure and print."""

    def chosen() -> dict[str, Figure]:
        names = {name for name in figures() if not options.only or name.removesuffix("_99") in options.only}
        return {name: figure for name, figure in figures().items() if name in names}

    wanted, secured = chosen(), chosen()
    for figure in secured.values():
        figure.name, figure.times = f"{figure.name}, TLS", 0.0
    secured.pop("primes", None)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root, erlang_modules("remote_bench") as erlang:
        made = 0
        tls: Path | None = None
        make_certificate(Path(root))

        def other() -> tuple[str, int, Callable[[], Any]]:
            nonlocal made
            made += 1
            child = subprocess.Popen(
                [
                    sys.executable,
                    __file__,
                    "--serve",
                    str(Path(root, str(made))),
                    *(["--tls-of", root] if tls else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            return child.stdout.readline().strip(), child.pid, child.communicate

        here = node(Path(root, "here"), "a")
        bench = Bench(here, other)
        for _ in range(options.rounds):
            tls, here.mesh.tls = None, None
            await bench.round(wanted)
            if options.tls:
                tls, here.mesh.tls = Path(root), read_certificate(Path(root))
                await bench.round(secured)
            if erlang is not None and not options.no_erlang:
                erlang_round(erlang, wanted)
        await here.stop()
    show([*wanted.values(), *secured.values()], as_json=options.json)
    if options.tls:
        shares = {
            figure.name: round(statistics.median(secured[name].ours) / statistics.median(figure.ours), 3)
            for name, figure in wanted.items()
            if name in secured
        }
        for name, share in shares.items():
            if not options.json:
                print(f"{name}: with TLS {share:.2f} of that without")
        if options.json:
            print(json.dumps({"with TLS, of that without": shares}))


def main() -> None:
    """Be one of the nodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], choices=[n for n in figures() if not n.endswith("_99")])
    parser.add_argument("--no-erlang", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tls", action="store_true", help="measure with TLS, too")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tls-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    globalLogPublisher.addObserver(
        lambda event: event["log_level"] < LogLevel.error or print(event, file=sys.stderr)
    )
    if options.serve:
        options.serve.mkdir()
        serve(options.serve, options.tls_of)
        return
    failed: list[Any] = []

    def begin() -> None:
        done: Deferred[None] = ensureDeferred(measure(options))
        done.addErrback(failed.append)
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if failed:
        failed[0].raiseException()


if __name__ == "__main__":
    main()
