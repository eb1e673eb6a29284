"""What a link between two nodes costs until it is ready, in processor time of either end.

    python benchmarks/links.py [--links 100] [--rounds 5] [--json]

Two processes: one node joins the other, which has nobody else, leaves, and joins again. Of each kind of node
(with nothing to show, with a secret, with a secret and certificates) a number of links are made in a row, by
turns, so that whatever else the machine does meets all of them. What the kinds share, the leaving among it, is
in all figures: the differences are what the secret and TLS take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trusting import PLAIN, SECRET, TLS, make, read
from twisted.internet import reactor as _reactor
from twisted.internet import stdio
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver

from iridium.cluster.mesh import Mesh
from iridium.cluster.peer import Me
from iridium.cluster.rules import split_address
from iridium.events import EventRing

reactor: Any = _reactor

GOAL = 10.0
"""Milliseconds of processor time that both ends of a link may take more than without secret and TLS."""

KINDS = (PLAIN, SECRET, TLS)


def node(directory: Path, kind: str) -> Mesh:
    """A node that listens on a free port of this host."""
    id = f"{random.getrandbits(32):08x}-0000-4000-8000-{random.getrandbits(48):012x}"
    me = Me(id, "", int(time.time() * 1000), "bench")
    mesh = Mesh(reactor, me, EventRing(), lambda me, records: succeed(None), trust=read(directory, kind))
    mesh.listen("127.0.0.1", 0)
    mesh.start([])
    return mesh


class Control(LineOnlyReceiver):
    """Tells the processor time of this process whenever it is asked."""

    delimiter = b"\n"

    def __init__(self, address: str) -> None:
        self._address = address

    def connectionMade(self) -> None:
        self._say({"address": self._address})

    def lineReceived(self, line: bytes) -> None:
        self._say({"seconds": time.process_time()})

    def connectionLost(self, reason: Any) -> None:
        reactor.callFromThread(reactor.stop)

    @staticmethod
    def _say(what: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


class Pair:
    """Two nodes of one kind, of which the other has a process of its own.

    Args:
        directory: where what they have to show is.
        kind: what that is.

    Attributes:
        here, there: milliseconds of processor time of a link at either end, one of each round.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        self.kind = kind
        self.here: list[float] = []
        self.there: list[float] = []
        command = [sys.executable, __file__, "--serve", str(directory), "--kind", kind]
        self._other = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._contact = split_address(self._answer()["address"])
        self._mesh = node(directory, kind)

    def _answer(self) -> dict[str, Any]:
        assert self._other.stdout is not None
        answer: dict[str, Any] = json.loads(self._other.stdout.readline())
        return answer

    def _other_seconds(self) -> float:
        assert self._other.stdin is not None
        self._other.stdin.write("?\n")
        return float(self._answer()["seconds"])

    async def make_links(self, count: int, *, warm: bool = False) -> None:
        """Make links, one after the other."""
        there, here = self._other_seconds(), time.process_time()
        for _ in range(count):
            await self._mesh.join(*self._contact)
            await self._mesh.leave()
        here, there = time.process_time() - here, self._other_seconds() - there
        if not warm:
            self.here.append(1000 * here / count)
            self.there.append(1000 * there / count)

    async def close(self) -> None:
        """End both."""
        await self._mesh.stop()
        assert self._other.stdin is not None
        self._other.stdin.close()
        self._other.wait(10)


async def measure(rounds: int, links: int) -> dict[str, Any]:
    """Measure all kinds by turns."""
    with tempfile.TemporaryDirectory() as directory:
        make(Path(directory))
        pairs = [Pair(Path(directory), kind) for kind in KINDS]
        try:
            for pair in pairs:
                await pair.make_links(10, warm=True)
            for _ in range(rounds):
                for pair in pairs:
                    await pair.make_links(links)
                    await deferLater(reactor, 0.05)  # whoever was left closes what it held
        finally:
            for pair in pairs:
                await pair.close()
    return {pair.kind: figures(pair) for pair in pairs}


def figures(pair: Pair) -> dict[str, float]:
    """The medians of a kind, in milliseconds."""
    both = [here + there for here, there in zip(pair.here, pair.there, strict=True)]
    return {
        "dialler_ms": statistics.median(pair.here),
        "acceptor_ms": statistics.median(pair.there),
        "both_ms": statistics.median(both),
        "worst_ms": max(both),
    }


def serve(directory: Path, kind: str) -> None:
    """Be the other node."""
    mesh = node(directory, kind)
    stdio.StandardIO(Control(mesh.me.address))
    reactor.run()


def show(results: dict[str, Any], links: int, rounds: int) -> None:
    """Print a table."""
    print(
        f"{rounds} rounds of {links} links of each kind, load {os.getloadavg()[0]:.1f}; processor time, ms a link"
    )
    print(f"{'':12} {'dialler':>8} {'acceptor':>9} {'both':>7} {'worst':>7} {'more':>7}")
    for kind, row in results.items():
        more = row["both_ms"] - results[PLAIN]["both_ms"]
        told = "" if kind == PLAIN else f"{more:+7.2f} (goal {GOAL:g} at most)"
        print(
            f"{kind:12} {row['dialler_ms']:8.2f} {row['acceptor_ms']:9.2f} {row['both_ms']:7.2f} "
            f"{row['worst_ms']:7.2f} {told}"
        )


def main() -> None:
    """Measure and print, or be the other node."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--links", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", default=PLAIN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.kind)
        return
    results: dict[str, Any] = {}

    def measured(found: dict[str, Any]) -> None:
        results.update(found)

    running: Deferred[Any] = ensureDeferred(measure(options.rounds, options.links))
    running.addCallback(measured)
    running.addErrback(lambda failure: failure.printTraceback())
    running.addBoth(lambda _: reactor.stop())
    reactor.run()
    if options.json:
        print(json.dumps(results))
    elif results:
        show(results, options.links, options.rounds)


if __name__ == "__main__":
    main()
