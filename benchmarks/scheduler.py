"""The scheduler of VMs: turns, threads, idle VMs, and a timer on the reactor while all cores compute.

    python benchmarks/scheduler.py [--rounds 5] [--seconds 60] [--only turns ...] [--json]

Turns are counted per second of processor time of the thread that gives them, so that other programs count little;
what two threads do is beside what one does on the wall, just before and after: it wants two cores for itself.
"""

from __future__ import annotations

import argparse
import ctypes
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from beside import Figure, load, resident, show
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred

from iridium.node import Node, NodeConfig
from iridium.scheduler.table import ProcessTable
from iridium.vm import Program
from iridium.vm.native.engine import runtime
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import Worker

reactor: Any = _reactor

TURN = 1000
"""Instructions of a turn."""

BUSY, IDLE = 10_000, 100_000
"""VMs that compute, and that do not."""

NANOSECONDS = 1_000_000_000
"""Of one measurement of turns or of threads."""

TIMER = 0.01
"""Seconds of the timer."""


def figures() -> dict[str, Figure]:
    """What is measured, with its goals."""
    return {
        "turns": Figure("turns of 1 000 instructions, one thread", "/s", 3e6),
        "threads": Figure("work of 2 threads, of 1", "times", 1.9),
        "bytes": Figure("an idle VM", "bytes", 640.0, most=True),
        "created": Figure("100 000 idle VMs created, processor time", "s", 0.5, most=True),
        "late_50": Figure("10 ms timer beside 10 000 VMs, p50 late", "ms", most=True),
        "late": Figure("10 ms timer beside 10 000 VMs, p99.9 late", "ms", 20.0, most=True),
        "latest": Figure("10 ms timer beside 10 000 VMs, latest", "ms", most=True),
    }


def busy(program: Program, threads: int) -> ProcessTable:
    """A table of VMs that compute for ever."""
    table = ProcessTable(threads, TURN)
    for _ in range(BUSY):
        record = table.begin(program)
        assert record is not None
        table.start(record)
    return table


def work(program: Program, threads: int) -> tuple[float, float]:
    """Give turns on some threads for a while: turns a second of processor time, instructions a second."""
    table = busy(program, threads)
    workers = [Worker(shared=ctypes.addressof(table.shared)) for _ in range(threads)]
    seconds = [0.0] * threads

    def run(number: int) -> None:
        start = time.thread_time()
        calls.run_some(workers[number], NANOSECONDS)
        seconds[number] = time.thread_time() - start

    others = [threading.Thread(target=run, args=(number,)) for number in range(1, threads)]
    start = time.perf_counter()
    for other in others:
        other.start()
    run(0)
    for other in others:
        other.join()
    took = time.perf_counter() - start
    turns, executed = sum(worker.turns for worker in workers), sum(worker.executed for worker in workers)
    table.close()
    return turns / sum(seconds), executed / took


def idle(program: Program) -> tuple[float, float]:
    """Make VMs that do nothing: bytes of each, and seconds of processor time for all."""
    table = ProcessTable(1, TURN)
    before, start = resident(), time.thread_time()
    for _ in range(IDLE):
        table.begin(program)
    seconds = time.thread_time() - start
    each = round((resident() - before) / IDLE)
    table.close()
    return float(each), seconds


async def timer(program: Program, seconds: float) -> list[float]:
    """How late a timer on the reactor of a node comes whose VMs compute on all cores; milliseconds, sorted."""
    late: list[float] = []
    with TemporaryDirectory() as root:
        config = NodeConfig(node_alias="a", server_bind_port=0, data_root_dir=Path(root), threads=2)
        node = Node(reactor, config)
        for _ in range(BUSY):
            await node.processes.spawn(program)
        done: Deferred[None] = Deferred()
        until = time.monotonic() + seconds

        def tick(due: float) -> None:
            now = time.monotonic()
            late.append(1000 * (now - due))
            if now > until:
                done.callback(None)
            else:
                reactor.callLater(TIMER, tick, time.monotonic() + TIMER)

        reactor.callLater(TIMER, tick, time.monotonic() + TIMER)
        await done
        await node.stop()
    return sorted(late)


async def measure(options: argparse.Namespace) -> None:
    """Measure and print."""
    native = runtime()
    calls.use(native.addresses)
    program = load("compute")
    loaded = native.load(program)
    loaded.requested = True  # or the node would compile it once more, while it runs
    loaded.enter_at(native.compile(program))
    wanted = figures()
    groups = options.only or ["turns", "threads", "idle", "timer"]
    for _ in range(options.rounds):
        if "turns" in groups:
            wanted["turns"].ours.append(work(program, 1)[0])
        if "threads" in groups:
            before, both, after = (work(program, threads)[1] for threads in (1, 2, 1))
            wanted["threads"].ours.append(2 * both / (before + after))
        if "idle" in groups:
            each, seconds = idle(program)
            wanted["bytes"].ours.append(each)
            wanted["created"].ours.append(seconds)
    if "timer" in groups:
        late = await timer(program, options.seconds)
        wanted["late_50"].ours.append(late[len(late) // 2])
        wanted["late"].ours.append(late[len(late) * 999 // 1000])
        wanted["latest"].ours.append(late[-1])
    show(list(wanted.values()), as_json=options.json)


def main() -> None:
    """Measure on a reactor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", default=[], choices=["turns", "threads", "idle", "timer"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
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
