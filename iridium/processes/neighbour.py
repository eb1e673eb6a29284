"""Another node, as the processes of this one have to do with it: what waits for it, and what it was asked."""

from __future__ import annotations

import ctypes
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iridium.processes import wire
from iridium.processes.kept import Observer
from iridium.scheduler.table import ProcessTable
from iridium.vm.memory import release, reserve
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import SLOT_MASK, Peer
from iridium.vm.runtime.programs import LoadedProgram
from iridium.vm.runtime.remote import RESERVE

if TYPE_CHECKING:
    from iridium.processes.observing import Observation

RING = 1024 * 1024 + RESERVE
"""Bytes of the ring for one node: 65 536 words that wait, and then their senders are told; and the reserve."""

MOST_PROGRAMS = 256
"""Programs that one node knows by number: processes of others are started by requests, which takes longer."""

_PROXIES = 4 * (SLOT_MASK + 1)


class Neighbour:
    """Another node that there is a session with.

    Args:
        id: its id.
        number: which no other has meanwhile.
        table: the processes of this node.

    Attributes:
        id: its id.
        peer: what the runtime knows of it.
        backlog: small payloads that found no room, which go before everything else: kind, data, stream.
        held: large payloads that found no room, and what must not overtake them; nobody else waits for these.
        streams: how many of them each stream has.
        requests: what waits for answers, by number.
        loaded: programs of this node that it knows by number, by hash, with that number.
        numbers: programs that this node knows there by number, by hash.
    """

    def __init__(self, id: str, number: int, table: ProcessTable) -> None:
        self.id = id
        self._table = table
        self._programs = (ctypes.c_uint64 * MOST_PROGRAMS)()
        self.peer = Peer(
            number=number,
            capacity=RING,
            buffer=reserve(RING),
            proxies=reserve(_PROXIES),
            up=1,
            programs=ctypes.addressof(self._programs),
        )
        self.loaded: dict[str, tuple[int, LoadedProgram]] = {}
        self.numbers: dict[str, int] = {}
        self.backlog: deque[tuple[int, bytes, int]] = deque()
        self.backlog_bytes = 0
        self.held: deque[tuple[int, bytes, int]] = deque()
        self.streams: Counter[int] = Counter()
        self.requests: dict[int, tuple[type[Any], Callable[[Any], None]]] = {}
        self.wanting = 0
        self.wanted: dict[str, list[wire.Spawn]] = {}  # requests that wait for an image, by its hash
        # By the number of the observation: what it observes here, and what is observed there.
        self.observing: dict[int, Observation] = {}
        self.observed: dict[int, Observer] = {}

    def number_of(self, hash: str, loaded: LoadedProgram) -> int:
        """The number that it knows a program by from now on; -1 if it knows too many."""
        if hash not in self.loaded:
            number = len(self.loaded)
            if number >= MOST_PROGRAMS:
                return -1
            self.loaded[hash] = number, loaded
            self._programs[number] = loaded.address
            self.peer.program_count = number + 1
        return self.loaded[hash][0]

    def intern(self, pid: int) -> int:
        """The pid that a process of that node has here; 0 where there are too many."""
        return int(calls.intern(self._table.host, self.peer, pid))

    def known(self, pid: int) -> int:
        """The pid that a process of that node has here, or an earlier one in the same slot there; 0 for none."""
        return ctypes.c_uint32.from_address(self.peer.proxies + 4 * (pid & SLOT_MASK)).value

    def introduce(self, pid: int) -> None:
        """It has been told of a process of this node, and will be told of its end."""
        calls.introduce(self._table.shared, self.peer, pid)

    def close(self) -> None:
        """Give the memory back; no worker knows it any more."""
        release(self.peer.buffer, RING)
        release(self.peer.proxies, _PROXIES)
