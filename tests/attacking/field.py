"""What is attacked: two linked nodes and an honest peer, each a process; and what an attack does to them."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from iridium.cluster import certificates as c
from iridium.cluster.keeping import keep
from iridium.cluster.secret import new_secret
from tests.attacking.honest import HONEST, target
from tests.attacking.wire import Caller, Target, hang_up, id_of
from tests.processes import INSTALLED, ROOT, environment, node_command

PATIENCE = 30.0
"""Seconds that a node may take to start, and that descriptors may take to be given back: its limits come to 20."""

GROWTH = 30.0
"""Megabytes that an attack may cost a node."""

LINES = 120
"""Lines that an attack may add to a log: a dozen kinds of trouble, each said five times in ten seconds."""

SLOWEST = 1000.0
"""Milliseconds that the honest peer's 99th of a hundred pings may take, on a machine that is busy with others."""

KINDS = ("secret", "tls")
"""What guards the nodes: a secret, or a secret and TLS."""


@dataclass
class Row:
    """What came of an attack.

    Attributes:
        case, kind: which, on what.
        seconds: that it took.
        growth: megabytes that the node grew at most.
        before, most, after: its descriptors.
        pings, p50, p99, slowest: of the honest peer, in ms.
        lines: in the node's log.
        ended: how it ended for the attacker.
        failures: what does not hold.
    """

    case: str
    kind: str
    seconds: float = 0.0
    growth: float = 0.0
    before: int = 0
    most: int = 0
    after: int = 0
    pings: int = 0
    p50: float = 0.0
    p99: float = 0.0
    slowest: float = 0.0
    lines: int = 0
    ended: str = ""
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return asdict(self)


class AttackedNode:
    """A node in a process of its own, whose log goes to a file.

    Args:
        alias: its alias.
        root: where it keeps its data and its log.
        options: more options.

    Attributes:
        alias, data, log: its alias, its data directory, the file of its log.
        cluster, repl, ssh: its ports, once it is up; the last is 0 where it has none.
    """

    def __init__(self, alias: str, root: Path, *options: str) -> None:
        self.alias = alias
        self.data = root / alias
        self.log = root / f"{alias}.log"
        self._has_ssh = "--ssh-port" in options
        with self.log.open("wb") as file:
            self._process = subprocess.Popen(
                [str(word) for word in (*node_command(alias, root), "-P", "0", "-p", "0", *options)],
                cwd=root,
                env=environment(root),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.cluster = self.repl = self.ssh = 0

    def wait_until_up(self) -> AttackedNode:
        """Wait until its ports are open."""
        self.cluster = int(self._said(r"cluster port on 127\.0\.0\.1:(\d+)"))
        self.repl = int(self._said(r"REPL port on 127\.0\.0\.1:(\d+)"))
        if self._has_ssh:
            self.ssh = int(self._said(r"SSH port on 127\.0\.0\.1:(\d+)"))
        return self

    def _said(self, pattern: str) -> str:
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.text())) is None:
            if time.monotonic() > end or not self.alive:
                raise RuntimeError(f"{self.alias} does not start:\n{self.text()}")
            time.sleep(0.05)
        return found[1]

    def text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def id(self) -> str:
        """Its node id."""
        return str(json.loads((self.data / "node.json").read_text())["id"])

    def resident(self) -> float:
        """Megabytes of memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1000 if found else 0.0

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


class Honest:
    """The honest peer's process."""

    def __init__(self, port: int, secret: str, directory: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacking.honest", str(port), secret, directory],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError("the honest peer is gone")
        told: dict[str, Any] = json.loads(said)
        return told

    def report(self) -> dict[str, Any]:
        """How it went since it was last asked."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Field:
    """Two nodes, ``a`` under attack and linked to ``b``, and the honest peer of ``a``.

    Args:
        root: an empty directory.
        kind: one of :data:`KINDS`.
        seconds: that a flood lasts.
        options: more options of the nodes.

    Attributes:
        kind, seconds: as given.
        secret: the cluster's.
        target: the cluster port of ``a`` with all that opens it.
        kept: descriptors that the case in hand has had the node open for good: the door's port.
        certificates: the directories of certificates: the attacker's own, one of another CA, one that has expired.
    """

    def __init__(self, root: Path, kind: str, seconds: float, *options: str) -> None:
        self.root = root
        self.kind = kind
        self.seconds = seconds
        self.secret = new_secret()
        self.options = options
        self.kept = 0
        self.certificates: dict[str, Path] = {}
        self._closing: list[Callable[[], object]] = []
        (root / "secret").write_text(self.secret + "\n")
        (root / "secret").chmod(0o600)
        if kind == "tls":
            self._certify()
        try:
            self.a = self.start("a", *(("--ssh-port", "0") if kind == "secret" else ()))
            self.b = self.start("b", "--join", f"127.0.0.1:{self.a.cluster}")
            directory = str(self.certificates.get("honest", ""))
            self.honest = Honest(self.a.cluster, self.secret, directory)
            self._closing.append(self.honest.close)
        except BaseException:
            self.close()
            raise
        self.target = self.at(self.a.cluster)

    def at(self, port: int, name: str = "attacker") -> Target:
        """A cluster port, with the attacker's secret and certificate."""
        return target(port, self.secret, str(self.certificates.get(name, "")))

    @property
    def without_tls(self) -> Target:
        """The port of ``a`` for somebody who speaks no TLS."""
        return Target(self.a.cluster, self.secret)

    def start(self, alias: str, *options: str) -> AttackedNode:
        """Start a node of this cluster."""
        if self.kind == "tls":
            self._make("node", "--ca", "ca", "--node-alias", alias, "--data-root-dir", ".")
        given = ("--secret-file", str(self.root / "secret"), *self.options, *options)
        node = AttackedNode(alias, self.root, *given)
        self._closing.append(node.close)
        return node.wait_until_up()

    def _make(self, *words: str) -> None:
        arguments = [str(INSTALLED), "certificates", *words]
        subprocess.run(arguments, cwd=self.root, env=environment(self.root), check=True, stdout=subprocess.DEVNULL)

    def _certify(self) -> None:
        """Make the CA and what the attacker has, with the command that people use."""
        self._make("ca", "ca")
        self._make("ca", "other")
        ids = [word for number in range(50) for word in ("--id", id_of(number))]
        self._make("node", "attacker", "--ca", "ca", *ids)
        self._make("node", "honest", "--ca", "ca", "--id", HONEST)
        self._make("node", "foreign", "--ca", "other", "--id", id_of(1))
        authority = c.read_ca((self.root / "ca/ca.pem").read_bytes(), (self.root / "ca/ca.key").read_bytes())
        key = c.make_key()
        long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
        old = c.issue(c.make_csr(key), [id_of(1)], [], authority, years=1, now=long_ago)
        keep(self.root / "expired", old, c.key_pem(key), (self.root / "ca/ca.pem").read_bytes())
        for name in ("attacker", "honest", "foreign", "expired"):
            self.certificates[name] = self.root / name

    # --- what cases use ---

    def member(self, number: int = 1, **changes: object) -> Caller:
        """The attacker as an accepted peer."""
        caller = Caller(self.target, id_of(number))
        assert caller.enter(**changes), f"not accepted: {caller.ended} {caller.refusal}"
        return caller

    def lasting(self) -> Iterator[int]:
        """Count up as long as a flood lasts."""
        end = time.monotonic() + self.seconds
        number = 0
        while time.monotonic() < end:
            yield number
            number += 1

    def repl(self) -> socket.socket:
        """A connection to the REPL port."""
        return self.repl_of(self.a)

    @staticmethod
    def repl_of(node: AttackedNode) -> socket.socket:
        """A connection to the REPL port of a node."""
        return socket.create_connection(("127.0.0.1", node.repl), 10)

    # --- judging ---

    def suffer(self, name: str, attack: Callable[[Field], str], growth: float, lines: int) -> Row:
        """Carry an attack out, and see what it costs and what still holds."""
        row = Row(name, self.kind, before=self.a.descriptors())
        self.kept = 0
        self.honest.report()
        size, begin, others = self.a.resident(), len(self.a.text()), len(self.b.text())
        over = threading.Event()
        most = [size, float(row.before)]

        def watch() -> None:
            while not over.wait(0.05) and self.a.alive:
                with contextlib.suppress(OSError):
                    most[0] = max(most[0], self.a.resident())
                    most[1] = max(most[1], self.a.descriptors())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.monotonic()
        try:
            row.ended = attack(self)
        except Exception as error:
            row.failures.append(f"the attack itself: {type(error).__name__}: {error}")
        finally:
            hang_up()
        row.seconds = round(time.monotonic() - start, 1)
        try:
            self._judge(row, begin, others)
        finally:
            over.set()
            watcher.join()
        row.growth, row.most = round(most[0] - size, 1), int(most[1])
        if row.growth > growth:
            row.failures.append(f"{row.growth} MB more")
        if row.lines > lines:
            row.failures.append(f"{row.lines} lines in the log")
        return row

    def _judge(self, row: Row, begin: int, others: int) -> None:
        if not self.a.alive:
            row.failures.append("the node is dead")
            return
        told = self.honest.report()
        row.pings, row.p50, row.p99, row.slowest = told["pings"], told["p50"], told["p99"], told["most"]
        if not told["linked"]:
            row.failures.append(f"the honest peer lost its link: {told['ended']}")
        if row.p99 > SLOWEST:
            row.failures.append(f"a ping takes {row.p99} ms")
        end = time.monotonic() + PATIENCE
        while (
            self.a.descriptors() > row.before + self.kept or self.b.id not in told["links"]
        ) and time.monotonic() < end:
            time.sleep(0.1)
            told = self.honest.report()
        row.after = self.a.descriptors()
        if row.after > row.before + self.kept:
            row.failures.append(f"{row.after - row.before - self.kept} descriptors are not given back")
        if self.b.id not in told["links"]:
            row.failures.append("the mesh is not whole")
        said = self.a.text()[begin:]
        row.lines = said.count("\n")
        for text in (said, self.b.text()[others:]):
            found = re.search(r"(?s)(Traceback|Unhandled).{0,2000}", text)
            if found:
                row.failures.append(f"in the log: {found[0]}")

    def close(self) -> None:
        """End all processes."""
        for close in reversed(self._closing):
            close()
        self._closing.clear()
