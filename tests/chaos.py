"""Random faults in a mesh of real nodes: after each, the mesh must be whole again within seconds.

    python -m tests.chaos --minutes 2 [--nodes 10] [--seed 1] [--secure]

Needs Iridium installed beside this Python. Every node is a `twistd` of its own, reached by the others through a
proxy that can cut the connections between two of them. Faults come one after the other: a kill and a restart, a
pause, cut connections, a full disk, too few descriptors. With --secure the nodes have a secret and TLS, which
change in the middle of other faults, and are spoiled; and strangers whose secret or certificate is wrong try to
join all the while. A seed chooses the same faults each time. The exit status is 1 when a fault was not got over
in time, a stranger was known to anybody, or a node logged an error that nobody expected.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import itertools
import os
import random
import re
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iridium.errors import ClientError
from iridium.repl.client import call
from tests.processes import TWISTD, environment, node_command
from tests.securing import Keys

HEALED = 5.0
"""Seconds from the end of a fault until the mesh is whole."""

PATIENCE = 60.0
"""Seconds that anything may take before the run is given up."""

POLL = 0.02
"""Seconds between two questions."""

KNOCK = 0.2
"""Seconds between two tries of strangers to get in."""

LASTING = 0.4
"""Seconds after which a mesh that was whole must still be: more than a tick of its nodes."""

DISK = 256 * 1024
"""Bytes of a data directory that is a file system of its own."""

READY = b'{"type":"ready"}'
"""What each end of a link says last before it is open."""

NOT_OVER = "not over"
"""What a problem starts with when the mesh did not become whole even with patience."""


class Half(asyncio.Protocol):
    """One of the two connections that the proxy joins.

    Args:
        pair: what it is a half of.
    """

    transport: asyncio.Transport

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._head = b""
        self._waiting: list[bytes] = []
        self.other: Half | None = None
        self.ready: float | None = None
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._pair.made(self)

    def join(self, other: Half) -> None:
        """Pass on what came and what will come to the other half."""
        self.other = other
        if self._waiting:
            other.transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)
        if self.ready is None:
            self._head += data
            self._pair.heard(self, self._head)
            # In TLS nobody sees what is said: there only the nodes tell whether a connection is a link.
            if READY in self._head or self._pair.sealed:
                self.ready, self._head = time.monotonic(), b""

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.gone:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._pair.lost(self, exc)


class Pair:
    """A connection through the proxy, from one node to another.

    Args:
        door: where it came in.

    Attributes:
        dialler: who made it, as its hello says, or the system where that cannot be read.
        sealed: whether it cannot be read.
    """

    def __init__(self, door: Door) -> None:
        self.door = door
        self.dialler = ""
        self.sealed = door.proxy.whose is not None
        self.near = Half(self)
        self.far: Half | None = None

    def made(self, half: Half) -> None:
        """Learn who dials where no line will tell."""
        whose = self.door.proxy.whose
        if half is self.near and whose is not None:
            self.dialler = whose(half.transport.get_extra_info("peername")[1])

    def heard(self, half: Half, head: bytes) -> None:
        """Learn who dials from the first line of the near half."""
        if half is self.near and not self.dialler and b"\n" in head and not self.sealed:
            found = re.search(rb'"alias":"([^"]*)"', head)
            self.dialler = found[1].decode() if found else "?"

    @property
    def ends(self) -> set[str]:
        """The aliases of the two nodes."""
        return {self.dialler, self.door.alias}

    @property
    def ready(self) -> float | None:
        """When both ends had said that they are ready."""
        if self.far is None or self.near.ready is None or self.far.ready is None:
            return None
        return max(self.near.ready, self.far.ready)

    async def connect(self) -> None:
        """Reach the node behind the door."""
        try:
            assert self.door.target is not None
            loop = asyncio.get_running_loop()
            _, self.far = await loop.create_connection(lambda: Half(self), "127.0.0.1", self.door.target)
        except (AssertionError, OSError):
            self.abort()
            return
        if self.near.gone:
            self.abort()
            return
        self.near.join(self.far)
        self.far.join(self.near)

    def lost(self, half: Half, exc: Exception | None) -> None:
        """One half ended: so does the other."""
        other = self.far if half is self.near else self.near
        if other is not None and not other.gone:
            if exc is None:
                other.transport.close()
            else:
                other.transport.abort()
        self.door.proxy.pairs.pop(self, None)

    def abort(self) -> None:
        """End both halves at once."""
        for half in (self.near, self.far):
            if half is not None and not half.gone:
                half.transport.abort()


class Door:
    """The address of one node, at the proxy.

    Args:
        proxy: whose it is.
        alias: the node's.

    Attributes:
        port: what the node advertises; it stays the node's own while the door is shut.
        target: the port that the node listens on.
    """

    def __init__(self, proxy: Proxy, alias: str) -> None:
        self.proxy = proxy
        self.alias = alias
        self.target: int | None = None
        self._server: asyncio.Server | None = None
        self._reserved = self._bound(0)
        self.port = int(self._reserved.getsockname()[1])
        proxy.doors.append(self)

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def open(self, target: int) -> None:
        """Let connections through to a port."""
        self.target = target
        self.proxy.do(self._open())

    def shut(self) -> None:
        """Refuse connections, as a host does where no process listens."""
        self.proxy.do(self._shut())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, sock=self._bound(self.port), backlog=512)

    def _accepted(self) -> Half:
        pair = Pair(self)
        self.proxy.pairs[pair] = None
        self.proxy.keep(pair.connect())
        return pair.near

    async def close(self) -> None:
        """In the proxy's thread: give the port up."""
        await self._shut()
        self._reserved.close()

    async def _shut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()


class Proxy:
    """Passes connections on to nodes, in a thread of its own; knows who talks to whom and can cut them off.

    Args:
        whose: tells by the port of a connection who made it, where it cannot be read; None where it can.

    Attributes:
        pairs: the connections.
        doors: one for each node.
        whose: as given.
    """

    def __init__(self, whose: Callable[[int], str] | None = None) -> None:
        self.whose = whose
        self.pairs: dict[Pair, None] = {}
        self.doors: list[Door] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Any) -> Any:
        """Have the proxy's thread do something; its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def keep(self, work: Any) -> None:
        """In the proxy's thread: do something at leisure."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cut(self, one: str, other: str) -> tuple[int, float]:
        """Cut all connections between two nodes; how many there were, and when."""
        return self.do(self._cut({one, other}))

    async def _cut(self, ends: set[str]) -> tuple[int, float]:
        between = [pair for pair in self.pairs if pair.ends == ends]
        for pair in between:
            pair.abort()
        return len(between), time.monotonic()

    def linked(self, one: str, other: str) -> float | None:
        """When the connection between two nodes became a link, if there is one now."""
        return self.do(self._linked({one, other}))

    async def _linked(self, ends: set[str]) -> float | None:
        times = [pair.ready for pair in self.pairs if pair.ends == ends]
        return max((when for when in times if when is not None), default=None)

    def close(self) -> None:
        """End every connection and the thread."""
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _close(self) -> None:
        for door in self.doors:
            await door.close()
        for pair in list(self.pairs):
            pair.abort()
        await asyncio.sleep(0)  # the transports close in the next turn


class Output(threading.Thread):
    """Reads what all nodes say, each line with the time when it came."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.news = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._awake, self._wake = socket.socketpair()
        self._selector.register(self._awake, selectors.EVENT_READ)
        self._over = False
        self.start()

    def follow(self, node: Node, descriptor: int) -> None:
        """Read a node's output from now on, until it ends."""
        self._selector.register(descriptor, selectors.EVENT_READ, [node, b""])
        self._wake.send(b".")

    def run(self) -> None:
        """Read until told to end."""
        while not self._over:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._awake.recv(4096)
                else:
                    self._read(key.fd, key.data, time.monotonic())

    def _read(self, descriptor: int, held: list[Any], now: float) -> None:
        node, rest = held
        data = os.read(descriptor, 65536)
        if not data:
            self._selector.unregister(descriptor)
            os.close(descriptor)
        *lines, held[1] = (rest + data).split(b"\n")
        with self.news:
            node.lines += [(now, line.decode(errors="backslashreplace")) for line in lines]
            self.news.notify_all()

    def wait(self, happened: Callable[[], bool], deadline: float) -> bool:
        """Wait until lines make something true; whether they did before the deadline."""
        with self.news:
            return self.news.wait_for(happened, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End the thread."""
        self._over = True
        self._wake.send(b".")
        self.join(PATIENCE)
        self._selector.close()
        self._awake.close()
        self._wake.close()


class Node:
    """A node in a `twistd` of its own, whose output is read all the time.

    Args:
        alias: its alias.
        root: where it runs and keeps its data.
        output: reads what it says.
        door: its address at the proxy, if it is behind one.
        options: more of its options.

    Attributes:
        lines: what it said in all its lives, each line with the time.
    """

    def __init__(
        self,
        alias: str,
        root: Path,
        output: Output,
        door: Door | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._options = options
        self.alias = alias
        self.root = root
        self.data = root / alias
        self.door = door
        self.lines: list[tuple[float, str]] = []
        self.repl_port = self.cluster_port = 0
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0

    def start(self) -> Node:
        """Start its process."""
        self._from = len(self.lines)
        advertised = ["--advertise", f"127.0.0.1:{self.door.port}"] if self.door else []
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [*map(str, node_command(self.alias, self.root)), "-P", "0", "-p", "0", *advertised, *self._options],
            cwd=self.root,
            env=environment(self.root),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(writing)
        self._output.follow(self, reading)
        return self

    def wait_until_up(self) -> Node:
        """Wait until both ports are open; the door opens then."""
        # The address that it logs may be the door's; Twisted tells the port itself.
        self.cluster_port = int(self.logged(r"ClusterFactory starting on (\d+)")[1])
        self.repl_port = int(self.logged(r"REPL port on 127\.0\.0\.1:(\d+)")[1])
        if self.door:
            self.door.open(self.cluster_port)
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def address(self) -> str:
        """The address that others are told."""
        return f"127.0.0.1:{self.door.port if self.door else self.cluster_port}"

    def logged(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """A line of its present life; waits for it.

        Raises:
            TimeoutError: it does not come.
        """
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(m for _, line in self.lines[self._from :] if (m := re.search(pattern, line)))
            return bool(found)

        if not self._output.wait(look, time.monotonic() + seconds):
            raise TimeoutError(f"{self.alias} does not say {pattern!r} within {seconds:g} s\n{self.last_lines()}")
        return found[0]

    def said(self, pattern: str, since: float) -> float | None:
        """When it first said something, since a time."""
        first = None
        for when, line in reversed(self.lines):
            if when < since:
                break
            if re.search(pattern, line):
                first = when
        return first

    def last_lines(self, most: int = 15) -> str:
        """The end of its log."""
        return "\n".join(f"    {self.alias}: {line}" for _, line in self.lines[-most:])

    def ask(self, command: str) -> dict[str, Any]:
        """What its shell answers.

        Raises:
            ClientError: it does not answer.
        """
        return call("127.0.0.1", self.repl_port, command, connect_timeout=HEALED, timeout=HEALED)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def reread(self, expected: str = r"\breread\b", tries: int = 3) -> None:
        """Have it read its secret and certificates again.

        Args:
            expected: what it says then.
            tries: how often it is told; one that can open no file just then goes on with what it had.

        Raises:
            TimeoutError: it does not say so.
        """
        for _ in range(tries):
            begun = time.monotonic()
            self.signal(signal.SIGHUP)
            if self._output.wait(lambda since=begun: self.said(expected, since) is not None, begun + HEALED):
                return
        raise TimeoutError(f"{self.alias} does not say {expected!r}\n{self.last_lines()}")

    def end(self) -> None:
        """End it as a system does."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait(PATIENCE)

    def kill(self) -> float:
        """End it as a crash does; when that was."""
        if self.door:
            self.door.shut()
        when = time.monotonic()
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(PATIENCE)
        return when


class Cluster:
    """A mesh of real nodes.

    Args:
        root: a directory for their data.
        total: how many.
        proxied: whether each is reached through the proxy.
        disks: whether each data directory is a small file system of its own, where this process may mount one.
        secure: whether they have a secret and TLS, and strangers want in.

    Attributes:
        keys: what they have to show, or None.
        strangers: those that want in.
        breaches: who knew of a stranger, or was known to one.
    """

    def __init__(
        self, root: Path, total: int, *, proxied: bool = False, disks: bool = False, secure: bool = False
    ) -> None:
        self.root = root
        self.output = Output()
        self.proxy = Proxy(self._whose if secure else None) if proxied else None
        self.keys: Keys | None = None
        self.strangers: list[Node] = []
        self.breaches: list[str] = []
        self._knocking: Knocking | None = None
        self._mounted: list[Path] = []
        self._cuts: dict[tuple[Node, Node], float] = {}
        names = [f"n{number:02}" for number in range(total)]
        self.nodes = [
            Node(name, root, self.output, Door(self.proxy, name) if self.proxy else None) for name in names
        ]
        if disks:
            for node in self.nodes:
                self._mount(node.data)
        if secure:
            self.keys = Keys(root)
            for name in names:
                self.keys.equip(name)
            self.strangers = [Node(name, root, self.output) for name in self.keys.strangers()]

    def _whose(self, port: int) -> str:
        """The alias of the node that a connection from a port of this host belongs to."""
        return owner(port, {node.pid: node.alias for node in [*self.nodes, *self.strangers] if node.running})

    def _mount(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        size = f"size={DISK},mode=700"
        mounting = ["mount", "-t", "tmpfs", "-o", size, "iridium-chaos", str(path)]
        with contextlib.suppress(OSError):
            if subprocess.run(mounting, capture_output=True, timeout=PATIENCE).returncode == 0:
                self._mounted.append(path)

    @property
    def knocks(self) -> dict[str, Counter[str]]:
        """Of each stranger, how often it was turned away with which words."""
        return self._knocking.refused if self._knocking else {}

    @property
    def own_disks(self) -> bool:
        """Whether the data directories are file systems of their own."""
        return len(self._mounted) == len(self.nodes)

    def form(self) -> float:
        """Start all nodes and join them; the seconds that the last took to be whole after the joins."""
        for node in self.nodes:
            node.start()
        first, *rest = [node.wait_until_up() for node in self.nodes]
        for node in rest:
            answer = node.ask(f"!join_cluster {first.address}")
            assert "error" not in answer, answer
        seconds, problem = self.until_whole(PATIENCE)
        assert not problem, problem
        for node in self.strangers:
            node.start()
        for node in self.strangers:
            node.wait_until_up()
        if self.strangers:
            self._knocking = Knocking(self)
        return seconds

    def problem(self) -> str:
        """What keeps the mesh from being whole, or nothing: every node lists all as up, and is linked to all."""
        names = {node.alias for node in self.nodes}
        for node in self.nodes:
            if not node.running:
                return f"{node.alias} does not run"
            try:
                members = node.ask("!cluster_members")["members"]
            except (ClientError, KeyError) as error:
                return f"{node.alias} does not answer: {error}"
            seen = {member["alias"]: member["state"] for member in members}
            outside = [member["alias"] for member in members if member["alias"] not in names]
            self.breaches += [f"{node.alias} lists the stranger {name!r}" for name in outside]
            if seen != dict.fromkeys(names, "up") or len(members) != len(names):
                odd = [f"{m['alias'] or m['id']} {m['state']}" for m in members if m["state"] != "up"]
                odd += [f"{name} missing" for name in sorted(names - set(seen))]
                return f"{node.alias} lists {', '.join(odd) or 'strangers'}"
        for one, other in list(self._cuts):
            if self.linked_again(one, other) is None:
                return f"{one.alias} and {other.alias} have no link in place of the one that was cut"
            del self._cuts[one, other]
        return self._links()

    def cut(self, one: Node, other: Node) -> tuple[int, float]:
        """Cut the connections between two nodes at the proxy; how many there were, and when."""
        assert self.proxy is not None
        count, when = self.proxy.cut(one.alias, other.alias)
        self._cuts[one, other] = when
        return count, when

    def linked_again(self, one: Node, other: Node) -> float | None:
        """When both ends of a link between two nodes that were cut off from each other were ready."""
        assert self.proxy is not None
        when = self.proxy.linked(one.alias, other.alias)
        return when if when is not None and when > self._cuts[one, other] else None

    def _links(self) -> str:
        try:
            view = self.nodes[0].ask("!mesh")
        except ClientError as error:
            return f"{self.nodes[0].alias} does not answer: {error}"
        for name, row in zip(view["names"], view["rows"], strict=True):
            for other, cell in zip(view["names"], row, strict=True):
                if cell not in ("self", "linked"):
                    return f"{name} to {other}: {cell}"
        return ""

    def until_whole(self, seconds: float, since: float | None = None) -> tuple[float, str]:
        """Wait until the mesh is whole, and stays so for more than a tick of its nodes.

        Args:
            seconds: how long at most until it is whole.
            since: from when on; now by default.

        Returns:
            The seconds until it was whole for good, and what is still wrong.
        """
        since = time.monotonic() if since is None else since
        whole: float | None = None
        while True:
            asked = time.monotonic()
            problem = self.problem()
            if problem and asked - since > seconds:
                return asked - since, problem
            if problem:
                whole = None
            elif whole is None:
                whole = time.monotonic()
            elif asked - whole >= LASTING:
                return whole - since, ""
            self.pause(POLL if problem else LASTING)

    def pause(self, seconds: float) -> None:
        """Let time pass; the end of a node that should run ends it early."""
        self.output.wait(lambda: not all(node.running for node in self.nodes), time.monotonic() + seconds)

    def close(self) -> None:
        """End everything and clean up."""
        if self._knocking:
            self._knocking.close()
        for node in [*self.nodes, *self.strangers]:
            if node.running:
                node.signal(signal.SIGCONT)
                node.kill()
        self.output.close()
        if self.proxy:
            self.proxy.close()
        for path in self._mounted:
            subprocess.run(["umount", "-l", str(path)], capture_output=True, timeout=PATIENCE)


class Knocking(threading.Thread):
    """Has the strangers of a cluster try to join, again and again, through one member after the other.

    Args:
        cluster: which.

    Attributes:
        refused: of each, how often it was turned away with which words.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.refused: dict[str, Counter[str]] = {node.alias: Counter() for node in cluster.strangers}
        self._cluster = cluster
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Knock until told to end."""
        doors = itertools.cycle(self._cluster.nodes)
        while not self._over.is_set():
            for stranger in self._cluster.strangers:
                if not self._over.wait(KNOCK):
                    self._knock(stranger, next(doors))

    def _knock(self, stranger: Node, member: Node) -> None:
        breaches = self._cluster.breaches
        try:
            answer = stranger.ask(f"!join_cluster {member.address}")
            members = stranger.ask("!cluster_members")["members"]
        except (ClientError, KeyError):
            return  # the member may be stopped, and the dial takes as long as the answer may
        if "error" in answer:
            # Without the address, which is each time another.
            self.refused[stranger.alias][answer["error"]["message"].replace(member.address, "ADDRESS")] += 1
        else:
            breaches.append(f"{stranger.alias} joined at {member.alias}")
        if len(members) > 1:
            breaches.append(f"{stranger.alias} knows {[m['alias'] for m in members]}")

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self.join(PATIENCE)


def owner(port: int, names: Mapping[int, str], proc: Path = Path("/proc")) -> str:
    """Who made a connection of this host.

    Args:
        port: that it comes from.
        names: by process id, who is asked about.
        proc: where the system tells.

    Returns:
        The name, or "?".
    """
    with contextlib.suppress(OSError):
        for line in (proc / "net" / "tcp").read_text().splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                made = f"socket:[{words[9]}]"
                for pid, name in names.items():
                    if made in _descriptors(proc / str(pid) / "fd"):
                        return name
    return "?"


def _descriptors(directory: Path) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry.path))
    return found


@contextlib.contextmanager
def running(total: int, *, proxied: bool = False, disks: bool = False, secure: bool = False) -> Iterator[Cluster]:
    """A mesh that is whole; all of it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="iridium-chaos-") as root:
        cluster = Cluster(Path(root), total, proxied=proxied, disks=disks, secure=secure)
        try:
            cluster.form()
            yield cluster
        finally:
            cluster.close()


class Faults:
    """What can go wrong: each method does it to its end, and gives when that was and what it did.

    All that a seed decides is drawn before anything is done, so that the times of a run do not change it.

    Args:
        cluster: to whom.
        seed: which.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self._random = random.Random(seed)
        self.kinds = {
            "kill": self.kill,
            "stop": self.stop,
            "cut": self.cut,
            "disk": self.disk,
            "files": self.files,
        }
        if cluster.keys is not None:
            self.kinds.update({"secret": self.secret, "ca": self.authority, "wrong": self.wrong})
        self._left: list[str] = []

    def next(self) -> tuple[str, list[Node], Callable[[], tuple[float, str]]]:
        """The next fault: its kind, whom it concerns, and what does it. Every kind comes once a round."""
        if not self._left:
            self._left = self._random.sample(sorted(self.kinds), len(self.kinds))
        kind = self._left.pop()
        nodes = self._random.sample(self.cluster.nodes, 3)
        amount = self._random.random()
        return kind, nodes, lambda: self.kinds[kind](nodes, amount)

    def kill(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """End a process at once, and start it again with the same data after up to 5 seconds."""
        nodes[0].kill()
        time_away = 5 * amount**2
        _until(time.monotonic() + time_away)
        nodes[0].start().wait_until_up()
        return time.monotonic(), f"away for {time_away:.1f} s"

    def stop(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Stop a process for 1 to 8 seconds."""
        seconds = 1 + 7 * amount
        nodes[0].signal(signal.SIGSTOP)
        try:
            self.cluster.pause(seconds)
        finally:
            nodes[0].signal(signal.SIGCONT)
        return time.monotonic(), f"for {seconds:.1f} s"

    def cut(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Cut the connections between two nodes."""
        count, when = self.cluster.cut(nodes[0], nodes[1])
        return when, f"{nodes[0].alias} from {nodes[1].alias}, {count} connection(s)"

    def disk(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Fill a node's disk, have it save something, and make room again."""
        node = nodes[0]
        begun = time.monotonic()
        with _full(node) if self.cluster.own_disks else _limited(node, resource.RLIMIT_FSIZE, 0):
            # A link that comes back changes the records: the node tries to save, fails, and says so.
            self.cluster.cut(node, nodes[1])
            noticed = self.cluster.output.wait(
                lambda: node.said(r"\bnot-saved\b", begun) is not None, time.monotonic() + HEALED
            )
        how = "tmpfs" if self.cluster.own_disks else "RLIMIT_FSIZE"
        return time.monotonic(), f"{how}, {'noticed' if noticed else 'not noticed'}"

    def files(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Let a node open nothing for 0.5 to 3 seconds, while two of its links are cut."""
        node, *others = nodes
        few = 8 if amount < 0.5 else 16
        seconds = 0.5 + 2.5 * amount
        with _limited(node, resource.RLIMIT_NOFILE, few):
            for other in others:
                self.cluster.cut(node, other)
            self.cluster.pause(seconds)
        return time.monotonic(), f"{few} for {seconds:.1f} s"

    # --- of a mesh with a secret and TLS ---

    def secret(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Go one step on the way to another secret, node by node, with another fault in the middle."""
        assert self.cluster.keys is not None
        step, give = self.cluster.keys.change_secret()
        return self._change(f"{step}", give, ["no-certificate"], nodes, amount)

    def authority(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """The same on the way to another CA."""
        assert self.cluster.keys is not None
        step, give = self.cluster.keys.change_authority()
        return self._change(step, give, ["wrong-secret", "former-secret", "no-secret"], nodes, amount)

    def _change(
        self, step: str, give: Callable[[str], None], strangers: list[str], nodes: list[Node], amount: float
    ) -> tuple[float, str]:
        """Give something to all nodes, and to strangers whom something else keeps out."""
        everybody = self.cluster.nodes
        at = everybody.index(nodes[0])
        order = everybody[at:] + everybody[:at]
        order = order if amount < 0.5 else order[::-1]
        half = len(order) // 2
        for node in order[:half]:
            give(node.alias)
            node.reread()
        name = ("kill", "stop", "cut", "files")[int(4 * amount)]
        # One of those that has the new files, and two that have not; or the other way round.
        _, what = self.kinds[name]([order[half - 1], order[half], order[-1]], (4 * amount) % 1)
        for node in order[half:]:
            give(node.alias)
            node.reread()
        for stranger in self.cluster.strangers:
            if stranger.alias in strangers:
                give(stranger.alias)
                stranger.reread()
        return time.monotonic(), f"{step}; {name} {what}"

    def wrong(self, nodes: list[Node], amount: float) -> tuple[float, str]:
        """Have a node reread what it cannot use, and cut a link; then give it what is right."""
        assert self.cluster.keys is not None
        node = nodes[0]
        what = self.cluster.keys.spoil(node.alias, amount)
        try:
            node.reread(r"\bnot-reread\b")
            self.cluster.cut(node, nodes[1])
            _, problem = self.cluster.until_whole(HEALED)
        finally:
            self.cluster.keys.certify(node.alias)
            self.cluster.keys.give_secret(node.alias)
        node.reread()
        return time.monotonic(), f"{what}{f', and meanwhile {problem}: not borne' * bool(problem)}"


def _until(deadline: float) -> None:
    """Let time pass while a node is away on purpose."""
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, POLL))


@contextlib.contextmanager
def _full(node: Node) -> Iterator[None]:
    """Leave no room on the file system of a node's data."""
    filler = node.data / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextlib.contextmanager
def _limited(node: Node, what: int, least: int) -> Iterator[None]:
    """Lower a limit of a node's process."""
    soft, hard = resource.prlimit(node.pid, what)
    resource.prlimit(node.pid, what, (least, hard))
    try:
        yield
    finally:
        resource.prlimit(node.pid, what, (soft, hard))


COMPLAINTS = re.compile(r"Traceback|Unhandled|#critical\]")
"""What no node may log, whatever happens."""

NOT_OURS = re.compile(r"Could not (re-)?reserve EMFILE recovery file descriptor")
"""Twisted's own word, with a traceback, where a limit falls below the descriptor that it keeps for such a case."""


def complaints(lines: Iterable[str]) -> list[str]:
    """Those of a node's lines that it may not log."""
    found = []
    excused = False
    for line in lines:
        if not line.startswith("\t"):  # else it goes on with what was said before
            excused = NOT_OURS.search(line) is not None
        if COMPLAINTS.search(line) and not excused:
            found.append(line)
    return found


class Record:
    """What came of the faults."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.failures: list[str] = []

    def add(self, kind: str, seconds: float, problem: str) -> int:
        """Note one fault; its number."""
        self.times.setdefault(kind, []).append(seconds)
        if problem:
            self.failures.append(f"{kind}: {problem}")
        return sum(map(len, self.times.values()))

    def summary(self) -> str:
        """A line for each kind, and the failures."""
        lines = [f"{'fault':8} {'count':>5} {'median s':>9} {'worst s':>9}"]
        for kind, times in [*sorted(self.times.items()), ("all", [t for all in self.times.values() for t in all])]:
            if times:
                lines.append(f"{kind:8} {len(times):5} {statistics.median(times):9.2f} {max(times):9.2f}")
        return "\n".join([*lines, f"failures: {len(self.failures)}", *(f"  {what}" for what in self.failures)])


def suffer(cluster: Cluster, nodes: list[Node], strike: Callable[[], tuple[float, str]]) -> tuple[str, float, str]:
    """Do one fault, and wait until the mesh is whole again.

    Returns:
        What was done, the seconds that healing took, and what went wrong.
    """
    begun = time.monotonic()
    since, what = strike()
    took, problem = cluster.until_whole(HEALED, since)
    if problem:
        took, still = cluster.until_whole(PATIENCE, since)
        problem = f"{NOT_OVER}: {still}" if still else f"whole after {took:.1f} s; before that: {problem}"
    elif took > HEALED:
        problem = f"whole after {took:.1f} s"
    said = [
        f"{node.alias} said: {line}"
        for node in cluster.nodes
        for line in complaints(line for when, line in node.lines if when >= begun)
    ]
    if "not borne" in what:
        said.append(what)
    said += sorted(set(cluster.breaches))
    cluster.breaches.clear()
    if "not noticed" in what:
        said.append(f"{nodes[0].alias} did not notice the full disk")
    return what, took, "; ".join(filter(None, [problem, *said[:3]]))


def rage(cluster: Cluster, seed: int, seconds: float, say: Callable[[str], None] = print) -> Record:
    """Do faults one after the other.

    Args:
        cluster: a whole mesh, behind its proxy.
        seed: which faults.
        seconds: how long.
        say: is told a line for each.

    Returns:
        What came of them; it ends early when the mesh does not become whole even with patience.
    """
    faults, record = Faults(cluster, seed), Record()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind, nodes, strike = faults.next()
        what, took, problem = suffer(cluster, nodes, strike)
        number = record.add(kind, took, problem)
        say(f"{number:4} {kind:6} {nodes[0].alias:5} {what:46} {took:6.2f} s {problem and 'FAILED ' + problem}")
        if problem:
            concerned = [node for node in cluster.nodes if node in nodes or node.alias in problem]
            say("\n".join(node.last_lines() for node in concerned))
        if problem.startswith(NOT_OVER):
            break
    return record


def main() -> int:
    """Run, and print what happened; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--secure", action="store_true", help="with a secret, TLS, and strangers")
    options = parser.parse_args()
    if not TWISTD.exists():
        parser.error(f"there is no {TWISTD}: pip install .")
    if options.nodes < 3:
        parser.error("it takes at least 3 nodes")
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with running(options.nodes, proxied=True, disks=True, secure=options.secure) as cluster:
        disks = "a tmpfs each" if cluster.own_disks else "RLIMIT_FSIZE"
        secure = "a secret and TLS" if options.secure else "no secret"
        print(f"{options.nodes} nodes, seed {seed}, {secure}, disks: {disks}", flush=True)
        record = rage(cluster, seed, 60 * options.minutes, lambda line: print(line, flush=True))
        for name, words in cluster.knocks.items():
            said, often = words.most_common(1)[0] if words else ("never", 0)
            print(f"{name} was turned away {words.total()} times, {often} with: {said[:150]}")
    print(record.summary())
    return 1 if record.failures else 0


if __name__ == "__main__":
    sys.exit(main())
