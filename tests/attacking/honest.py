"""A peer that means well: a process that pings a node all the time, and tells on request how that went.

    python -m tests.attacking.honest PORT SECRET [TLS_DIRECTORY]

Each line of its input is answered with one of JSON: pings since the last, their round trips, whom the node holds
a link to, and whether this link is still the first one.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path

from iridium.cluster.tls_files import TlsFiles, load_tls
from tests.attacking.wire import Caller, Target, line

HONEST = "bbbbbbbb-0000-4000-8000-000000000001"
"""Its id."""

PAUSE = 0.005
"""Seconds between an answer and the next ping."""


def target(port: int, secret: str, directory: str) -> Target:
    """Where to, with what is in a directory of ``iridium certificates``."""
    if not directory:
        return Target(port, secret)
    path = Path(directory)
    return Target(port, secret, load_tls(TlsFiles(path / "node.pem", path / "node.key", path / "ca.pem", None)))


def work(peer: Caller) -> None:
    """Ping until the input ends."""
    trips: list[float] = []
    number = 0
    links: list[str] = []
    asked = False
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], PAUSE)
        if ready:
            if not sys.stdin.readline():
                return
            asked = True
            peer.send(line(type="ask", n=2**40 + number, what="links"))
        number += 1
        start = time.monotonic()
        peer.send(line(type="ping", n=number))
        while (message := peer.hear()) is not None and (message["type"], message.get("n")) != ("pong", number):
            if message["type"] == "ping":
                peer.send(line(type="pong", n=message["n"]))
            elif message["type"] == "answer":
                links = message["ids"]
        if message is not None:
            trips.append(1000 * (time.monotonic() - start))
        if asked:
            asked = False
            trips.sort()
            told = {
                "pings": len(trips),
                "p50": round(trips[len(trips) // 2], 2) if trips else 0.0,
                "p99": round(trips[int(0.99 * len(trips))], 2) if trips else 0.0,
                "most": round(trips[-1], 2) if trips else 0.0,
                "linked": not peer.ended,
                "ended": peer.ended,
                "links": links,
            }
            print(json.dumps(told), flush=True)
            trips = []


def main() -> None:
    """Become a member, say so, and ping."""
    port, secret, directory = (*sys.argv[1:], "", "")[:3]
    peer = Caller(target(int(port), secret, directory), HONEST)
    if not peer.enter(alias="honest"):
        sys.exit(f"the honest peer was not let in: {peer.ended} {peer.refusal}")
    print("{}", flush=True)
    work(peer)


if __name__ == "__main__":
    main()
