"""A network of its own for each test: hosts that are network namespaces of Linux, and a wire between them.

A host has one interface, a TUN device, whose packets the wire takes and gives: here, in a thread, late or not at
all where a test wants that. The systems do the rest. `tc netem` would do the same where a kernel has it,
which many have not; this needs root and the `ip` of iproute2. Nothing of it is connected to the machine's network.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from iridium.repl.client import call
from tests.processes import NodeProcess, Process, node_command

T = TypeVar("T")

NETWORK = "10.213.7"
"""Addresses of hosts, which no other network sees."""

SECONDS = 10.0
"""That a command of iproute2 may take, many times what it does."""

MOST_UNDER_WAY = 10_000
"""Packets that the wire delays at a time; more are lost, as in any router."""

LARGEST_PACKET = 65536

TUN = "/dev/net/tun"

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_INTERFACE, _IS_TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000  # TUNSETIFF, IFF_TUN, IFF_NO_PI


def missing() -> str:
    """Why this machine cannot have such networks; "" where it seems that it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip`: apt-get install iproute2"
    return "" if os.path.exists(TUN) else f"there is no {TUN}"


class NotAllowedError(Exception):
    """The machine does not allow it, in the system's words."""


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise NotAllowedError(f"`ip {' '.join(words)}`: {done.stderr.strip()}")
    return done.stdout


class Wire:
    """Carries packets between hosts, in a thread of its own.

    Attributes:
        delay: seconds that a packet takes.
        loss: the part of all packets that is lost.
        island: the hosts, by address, that reach only each other; everybody else reaches everybody else.
        lost: how many packets have been lost by chance.
    """

    def __init__(self, seed: int) -> None:
        self.delay = 0.0
        self.loss = 0.0
        self.island: frozenset[bytes] = frozenset()
        self.lost = 0
        self._random = random.Random(seed)
        self._files: dict[bytes, int] = {}
        self._under_way: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._run, name="wire")

    def attach(self, address: bytes, file: int) -> None:
        """A host's interface: a TUN device, which is the wire's from now on."""
        self._files[address] = file

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def close(self) -> None:
        """Carry no more; the interfaces are gone."""
        os.write(self._woken, b"x")
        if self._thread.is_alive():
            self._thread.join()
        for file in (*self._files.values(), self._wake, self._woken):
            os.close(file)

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            ready, _, _ = select.select([self._wake, *self._files.values()], [], [], wait)
            if self._wake in ready:
                return
            for file in ready:
                # The system takes a device down before it is gone.
                with contextlib.suppress(BlockingIOError, OSError):
                    self._take(os.read(file, LARGEST_PACKET))
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                self._give(heapq.heappop(self._under_way)[2])

    def _take(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4 or len(self._under_way) >= MOST_UNDER_WAY:
            return
        if self._random.random() < self.loss:
            self.lost += 1
            return
        self._count += 1  # those that are due at once go in the order in which they came
        heapq.heappush(self._under_way, (time.monotonic() + self.delay, self._count, packet))

    def _give(self, packet: bytes) -> None:
        sender, receiver = packet[12:16], packet[16:20]
        file = self._files.get(receiver)
        if file is not None and (sender in self.island) == (receiver in self.island):
            with contextlib.suppress(OSError):
                os.write(file, packet)


class Hosts:
    """Hosts on one network.

    Args:
        names: what they are called; each of them has the next address of :data:`NETWORK`.
        seed: decides what is lost.

    Attributes:
        wire: what connects them.

    Raises:
        NotAllowedError: they cannot be made; nothing is left.
    """

    def __init__(self, *names: str, seed: int = 1) -> None:
        self.names = names
        self.wire = Wire(seed)
        self._made: list[str] = []
        try:
            for name in names:
                self._make(name)
        except BaseException:
            self.close()
            raise
        self.wire.start()

    def _make(self, name: str) -> None:
        namespace = self.namespace(name)
        _ip("netns", "add", namespace)
        self._made.append(namespace)
        try:
            self.wire.attach(bytes(map(int, self.address(name).split("."))), self.on(name, _new_interface))
        except OSError as error:
            raise NotAllowedError(f"{TUN}: {error.strerror}") from None
        _ip("-n", namespace, "address", "add", f"{self.address(name)}/24", "dev", "wire")
        for device in ("lo", "wire"):
            _ip("-n", namespace, "link", "set", device, "up")

    def namespace(self, name: str) -> str:
        """The namespace of a host."""
        return f"iridium-{os.getpid()}-{name}"

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"{NETWORK}.{1 + self.names.index(name)}"

    def cut_off(self, *names: str) -> None:
        """These reach each other and nobody else, and nobody is told: packets are lost."""
        self.wire.island = frozenset(bytes(map(int, self.address(name).split("."))) for name in names)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cut_off()

    def on(self, name: str, function: Callable[[], T]) -> T:
        """What a function returns or raises that is called on a host; files that it opens stay that host's."""
        outcome: list[Callable[[], T]] = []

        def work() -> None:
            try:
                _enter(self.namespace(name))  # only this thread, which ends with it
                result = function()
            except BaseException as error:
                outcome.append(_raising(error))
            else:
                outcome.append(lambda: result)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return outcome[0]()

    def close(self) -> None:
        """Nothing is left of it. Whatever still runs on a host is ended first."""
        self.wire.close()
        for namespace in reversed(self._made):
            with contextlib.suppress(NotAllowedError):
                for pid in _ip("netns", "pids", namespace).split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                _ip("netns", "del", namespace)
        self._made.clear()


def _new_interface() -> int:
    """A TUN device of the calling thread's host, called ``wire``; as a file, of which each read gives a packet."""
    file = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(file, _SET_INTERFACE, struct.pack("16sH22x", b"wire", _IS_TUN | _NO_HEADER))
    except BaseException:
        os.close(file)
        raise
    return file


def _enter(namespace: str) -> None:
    """Take the calling thread to a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), _NEW_NETWORK) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


class HostedNode(NodeProcess):
    """A node in a `twistd` of its own, on a host of its own, whose name it has as its alias.

    Args:
        hosts: all of them.
        alias: the name of one.
        root: where it runs and keeps its data.
        options: more options.
    """

    def __init__(self, hosts: Hosts, alias: str, root: Path, *options: str) -> None:
        self._hosts = hosts
        self.alias = alias
        self.data = root / alias
        inside = ("ip", "netns", "exec", hosts.namespace(alias))
        Process.__init__(self, *inside, *node_command(alias, root), *options, cwd=root)

    def wait_until_up(self) -> HostedNode:
        """Wait until both ports are open."""
        self.cluster_port = int(self.ever(r"cluster port on [\d.]+:(\d+)")[1])
        self.repl_port = int(self.ever(r"REPL port on 127\.0\.0\.1:(\d+)")[1])
        return self

    @property
    def address(self) -> str:
        """Its cluster port, as other hosts reach it."""
        return f"{self._hosts.address(self.alias)}:{self.cluster_port}"

    def ask(self, command: str, timeout: float = 30.0) -> dict[str, Any]:
        """What its shell answers to a command."""
        return self._hosts.on(self.alias, lambda: call("127.0.0.1", self.repl_port, command, timeout=timeout))
