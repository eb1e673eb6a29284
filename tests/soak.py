"""A node under people and peers who come and go, for as long as you like: what it takes and holds must stay level.

    python -m tests.soak --minutes 10 [--sessions 200] [--peers 20] [--secure] [--seed 1] [--json]

Needs Iridium installed beside this Python. The node is a `twistd` of its own. Sessions type assembly, run
programs, start processes, load files, and go politely or not, some over SSH; peers join, start processes on it,
send mail, leave, or vanish: most are nodes that share one process, some a `twistd` each, which is killed,
stopped, and started again. With --secure all of them have a secret and TLS.

The node first does everything for a while and is left alone: what it holds then is the beginning. At the end it is
left alone again and must hold no more; and while others come and go, a line through the second half must not rise.
The exit status is 1 where something is not level, or somebody got no answer, or the node logged an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iridium.errors import ClientError
from iridium.repl.client import connect
from tests.chaos import Node, Output, complaints
from tests.processes import ROOT, TWISTD, environment
from tests.securing import Keys
from tests.soaking import programs
from tests.soaking.guests import AVAILABLE, Guest, make_key
from tests.soaking.levels import KEYS, Sample, judge, table
from tests.soaking.people import Person, Tally

PATIENCE = 60.0
"""Seconds that a start, an end or an answer may take."""

WARM = 0.3
"""The share of the time in which the node does everything for the first time."""

CALM = (2.0, 30.0)
"""Seconds, at least and at most, that the node is left alone each time: a tenth of all."""

SAMPLES = 300
"""How many samples are taken of a run, as far as they are not closer together than :data:`OFTEN`."""

OFTEN = 0.25
"""Seconds between two samples at least."""

SHORT = 5.0
"""Minutes until the node has filled what it fills: it keeps the output of 1024 processes, and code of programs."""

REAL = 3
"""Peers that are a `twistd` each."""

GUESTS = 20
"""One of so many sessions comes over SSH, where OpenSSH is installed."""

FULL = 16
"""Sessions that the node has room for besides those of people: the sampler's, and some that are just ending."""


class Crowd:
    """People and peers for a while.

    Args:
        soak: whose.
        seed: what is drawn.
    """

    def __init__(self, soak: Soak, seed: int) -> None:
        self._soak = soak
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._gone = threading.Event()
        self._people = threading.Thread(target=self._live, daemon=True)
        self._faults = threading.Thread(target=self._trouble, daemon=True)
        self._peers = soak.start_peers()
        self._people.start()
        self._faults.start()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        soak, node = self._soak, self._soak.node
        programs_dir = node.data / "programs"
        people = [
            Person(
                number,
                node.repl_port,
                programs_dir,
                [*soak.light, *(peer.alias for peer in soak.real)],
                soak.tally,
                self._over,
                random.Random(self._chance.random()),
            )
            for number in range(soak.sessions - soak.guests)
        ]

        guests = [
            Guest(soak.ssh_port, soak.root, soak.key, soak.tally, self._over, random.Random(self._chance.random()))
            for _ in range(soak.guests)
            if soak.key is not None
        ]

        async def together() -> None:
            # A mistake of this program's must not look like a fine run; nor is anybody else to stay for it.
            lives = (one.live() for one in [*people, *guests])
            for result in await asyncio.gather(*lives, return_exceptions=True):
                if isinstance(result, BaseException):
                    soak.tally.problems.append(f"people: {result!r}")

        self._loop.run_until_complete(together())

    def _trouble(self) -> None:
        """What happens to the peers that are a process each, one after the other."""
        real = self._soak.real
        while real and not self._gone.wait(self._chance.uniform(1, 5)):
            peer = self._chance.choice(real)
            what = self._chance.choice(["kill", "end", "leave", "stop"])
            try:
                self._strike(peer, what)
            except (ClientError, TimeoutError) as error:
                self._soak.tally.problems.append(f"{what} {peer.alias}: {error}")
                return
            self._soak.tally.done[f"{what} a peer"] += 1

    def _strike(self, peer: Node, what: str) -> None:
        if what == "kill":
            peer.kill()
            peer.start().wait_until_up()
        elif what == "end":
            peer.end()
            peer.start().wait_until_up()
        elif what == "leave":
            peer.ask("!leave_cluster")
            self._soak.join(peer)
        else:
            peer.signal(signal.SIGSTOP)
            self._gone.wait(self._chance.uniform(0.5, 7))
            peer.signal(signal.SIGCONT)

    def end(self) -> None:
        """Have everybody go, and wait until they have."""
        self._gone.set()
        self._loop.call_soon_threadsafe(self._over.set)
        self._people.join(2 * PATIENCE)
        self._faults.join(PATIENCE)
        if self._people.is_alive() or self._faults.is_alive():
            self._soak.tally.problems.append("somebody does not go")
        else:
            self._loop.close()
        self._soak.end_peers(self._peers)


class Soak:
    """The node, and what is noted of it.

    Args:
        root: a directory for everything.
        sessions: people at once.
        peers: peers at once.
        secure: whether there are a secret and TLS.

    Attributes:
        node: the one that it is about.
        light: the aliases of peers that share a process.
        real: the other peers.
        tally: what people did.
        guests: how many of them come over SSH.
        key: with which, or None.
        ssh_port: where.
        peers_did: what peers did.
    """

    def __init__(self, root: Path, sessions: int, peers: int, *, secure: bool) -> None:
        self.root = root
        self.sessions = sessions
        self.output = Output()
        room = ("--limit", f"sessions={sessions + FULL}", *(("--ssh-port", "0") if AVAILABLE else ()))
        self.node = Node("main", root, self.output, options=room)
        few = min(REAL, peers)
        self.real = [Node(f"real{number}", root, self.output) for number in range(few)]
        self.light = [f"light{number}" for number in range(peers - few)]
        self.tally = Tally()
        self.peers_did: dict[str, int] = {}
        self._start = time.monotonic()
        self.guests = max(1, sessions // GUESTS) if AVAILABLE else 0
        self.key = make_key(root, self.node.data / "authorized_keys") if AVAILABLE else None
        self.ssh_port = 0
        if secure:
            keys = Keys(root)
            for alias in ("main", *self.light, *(peer.alias for peer in self.real)):
                keys.equip(alias)

    def begin(self) -> None:
        """Start the node."""
        self.node.start().wait_until_up()
        if self.key is not None:
            self.ssh_port = int(self.node.logged(r"SSH port on 127\.0\.0\.1:(\d+)")[1])
        programs.write(self.node.data / "programs", ROOT / "examples")

    def join(self, peer: Node) -> None:
        """Have a peer join the node."""
        answer = peer.ask(f"!join_cluster {self.node.address}")
        if "error" in answer:
            raise ClientError(f"{peer.alias} cannot join: {answer['error']}")

    # --- peers ---

    def start_peers(self) -> subprocess.Popen[str] | None:
        """Start those that share a process, and those that do not."""
        for peer in self.real:
            peer.start()
        for peer in self.real:
            peer.wait_until_up()
            self.join(peer)
        if not self.light:
            return None
        command = [sys.executable, "-m", "tests.soaking.peers", str(self.root), self.node.address, *self.light]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(self.root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end_peers(self, light: subprocess.Popen[str] | None) -> None:
        """End all of them: they leave."""
        for peer in self.real:
            peer.end()
        if light is None:
            return
        try:
            said, _ = light.communicate("", PATIENCE)
            told = json.loads(said)
        except (subprocess.TimeoutExpired, ValueError) as error:
            light.kill()
            light.wait()
            self.tally.problems.append(f"peers: {error}")
            return
        for what, count in told["tally"].items():
            self.peers_did[what] = self.peers_did.get(what, 0) + count
        self.tally.problems += [f"peers: {problem}" for problem in told["problems"]]

    # --- samples ---

    def sample(self, seconds: float, pause: float) -> list[Sample]:
        """Look at the node for a while, every so often."""
        samples = []
        end = time.monotonic() + seconds
        with connect("127.0.0.1", self.node.repl_port, connect_timeout=PATIENCE) as ask:
            while time.monotonic() < end and self.node.running:
                stats = ask("!stats", PATIENCE)
                values: dict[str, Any] = {**stats["resources"], "processes": stats["processes"]["alive"]}
                samples.append(Sample(time.monotonic() - self._start, {key: values[key] for key in KEYS}))
                time.sleep(pause)
        return samples

    def run(self, seconds: float, seed: int) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """All of it; the samples of before, of the busy time, and of after."""
        calm = min(CALM[1], max(CALM[0], seconds / 10))
        pause = max(OFTEN, seconds / SAMPLES)
        crowd = Crowd(self, seed)
        self.sample(WARM * seconds, pause)
        crowd.end()
        before = self._settle(calm)
        crowd = Crowd(self, seed + 1)
        # The first seconds are for everybody to come.
        busy = self.sample((1 - WARM) * seconds - 2 * calm, pause)
        crowd.end()
        return before, busy, self._settle(calm)

    def _settle(self, seconds: float) -> list[Sample]:
        """Leave the node alone, and then look at it."""
        time.sleep(seconds)
        return self.sample(2.0, OFTEN)

    def close(self) -> None:
        """End everything."""
        for node in (*self.real, self.node):
            if node.running:
                node.signal(signal.SIGCONT)
                node.kill()
        self.output.close()


@contextlib.contextmanager
def soaking(sessions: int, peers: int, *, secure: bool) -> Iterator[Soak]:
    """A node that runs; all of it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="iridium-soak-") as root:
        soak = Soak(Path(root), sessions, peers, secure=secure)
        try:
            soak.begin()
            yield soak
        finally:
            soak.close()


def nobody_came(busy: list[Sample], peers: int) -> list[str]:
    """What no sample has anything of, so that the run says nothing about it."""
    return [
        key
        for key in ("sessions", "processes", *(["peers"] if peers else ()))
        if max((sample.values[key] for sample in busy), default=0.0) <= (key != "peers")
    ]


def main() -> int:
    """Soak, and print what is level; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--secure", action="store_true", help="with a secret and TLS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print every sample, too")
    options = parser.parse_args()
    if not TWISTD.exists():
        parser.error(f"there is no {TWISTD}: pip install .")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with soaking(options.sessions, options.peers, secure=options.secure) as soak:
        before, busy, after = soak.run(60 * options.minutes, options.seed)
        said = complaints(line for _, line in soak.node.lines)
        problems = [*soak.tally.problems, *said]
        problems += [f"nobody came: {what}" for what in nobody_came(busy, options.peers)]
        if not soak.node.running:
            problems.append(f"the node has ended\n{soak.node.last_lines()}")
    rows = judge(before, busy, after, short=options.minutes < SHORT)
    if options.json:
        for name, samples in (("before", before), ("busy", busy), ("after", after)):
            for sample in samples:
                print(json.dumps({"phase": name, "when": round(sample.when, 2), **sample.values}))
    secure = "with a secret and TLS" if options.secure else "without a secret"
    print(f"{options.sessions} sessions and {options.peers} peers, {secure}, {options.minutes:g} min, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}\n{table(rows)}")
    print("people:", ", ".join(f"{count} {what}" for what, count in soak.tally.done.most_common()))
    print("peers:", ", ".join(f"{count} {what}" for what, count in sorted(soak.peers_did.items())))
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    return 1 if problems or any(row.problem for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
