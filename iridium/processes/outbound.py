"""What goes to other nodes: letters of the rings, many at once, and lines of control among them, as there is room.

What processes send gathers in a ring for each node (:mod:`iridium.vm.runtime.remote`). Small payloads wait in one
line, and overtake large ones, but for those of the same sender.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iridium.cluster.messages import LARGEST_MAIL
from iridium.events import EventRing
from iridium.processes import wire
from iridium.processes.neighbour import Neighbour
from iridium.processes.spinning import Spinning
from iridium.scheduler.table import ProcessTable
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import BYTES_MESSAGE, LARGE_BYTES, OTHERS_PID, PROXY, SPAWN_THERE
from iridium.vm.runtime.mailbox import BLOCK
from iridium.vm.runtime.remote import LETTER, REGISTERS

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

BATCH = 32 * 1024
"""Bytes of letters in one payload: a few thousand words, and small enough that nobody waits behind it."""

MOST_BACKLOG = 32 * 1024 * 1024
"""Bytes that wait for one node behind what the post takes; a node that asks and asks, and reads nothing, is cut
off there.
"""

MOST_HELD = 4096
"""Payloads that wait for a large one of their sender; then everything else waits too."""

_COST = 256
"""Bytes that each of them counts beside its own."""

_LETTER = struct.Struct("<4I")  # as the wire has them, and the rings of every machine that this runs on
_POINTER = struct.Struct("=QQ")
_SIZES = {LARGE_BYTES: LETTER, SPAWN_THERE: REGISTERS}


class Outbound:
    """The way to other nodes.

    Args:
        table: the processes of this node.
        mesh: its place in the cluster.
        events: where to tell what people should know.
        call_later: the reactor's.
        spinning: keeps the reactor awake for answers, if anything does.

    Attributes:
        by_address: the other nodes, by the address of what the runtime knows of each.
    """

    def __init__(
        self,
        table: ProcessTable,
        mesh: Mesh,
        events: EventRing,
        call_later: Callable[..., Any],
        spinning: Spinning | None,
    ) -> None:
        self._table = table
        self._mesh = mesh
        self._events = events
        self._call_later = call_later
        self._spinning = spinning
        self._buffer = ctypes.create_string_buffer(BATCH)
        self.by_address: dict[int, Neighbour] = {}

    def flush(self) -> None:
        """Send what has gathered for other nodes."""
        shared = self._table.shared
        while True:  # the first look is with the lock: what a worker has put there before is seen
            neighbour = self.by_address.get(calls.take_peer(shared))
            if neighbour is not None and neighbour.peer.up:
                self.drain(neighbour)
            if not shared.first_peer:
                return

    def drain(self, neighbour: Neighbour) -> None:
        """Send letters of one node, as far as there is room."""
        post, id, peer = self._mesh.post, neighbour.id, neighbour.peer
        if peer.broken or neighbour.backlog_bytes > MOST_BACKLOG:
            self._events.add("session-broken", self._mesh.machine.table.name_of(id), "too much to tell at once")
            post.end(id, "broken")
            return
        backlog, held = neighbour.backlog, neighbour.held
        while backlog:
            kind, data, stream = backlog[0]
            if not post.send(id, kind, data, stream):
                return
            neighbour.backlog_bytes -= len(data) + _COST
            backlog.popleft()
        while held:
            kind, data, stream = held[0]
            if not post.send(id, kind, data, stream):
                break
            self._has_left(neighbour, kind)
            held.popleft()
            neighbour.streams[stream] -= 1
            if not neighbour.streams[stream]:
                del neighbour.streams[stream]
        place = ctypes.addressof(self._buffer)
        while peer.head != peer.tail and not backlog:
            if len(held) >= MOST_HELD or post.room(id) < 2 * BATCH:
                post.want_room(id)
                return
            data = ctypes.string_at(place, calls.take_letters(peer, place, BATCH))
            if peer.special or held or post.is_bulky(id):
                self._send_one_by_one(neighbour, data)
            else:
                self.send(neighbour, wire.LETTERS, data)

    def send(self, neighbour: Neighbour, kind: int, data: bytes, stream: int = 0) -> None:
        """Send a payload, or keep it until there is room."""
        bulk = len(data) > LARGEST_MAIL
        if self._spinning is not None:
            self._spinning.sent()
        waits = stream in neighbour.streams or (bulk and bool(neighbour.held or neighbour.backlog))
        if not waits and (bulk or not neighbour.backlog):
            waits = not self._mesh.post.send(neighbour.id, kind, data, stream)
            if not waits:
                self._has_left(neighbour, kind)
                return
        if bulk or stream in neighbour.streams:
            neighbour.held.append((kind, data, stream))
            neighbour.streams[stream] += 1
            return
        self._has_left(neighbour, kind)
        neighbour.backlog.append((kind, data, stream))
        neighbour.backlog_bytes += len(data) + _COST
        if neighbour.backlog_bytes > MOST_BACKLOG:
            self._call_later(0, self._drain_if_up, neighbour)  # which ends the session

    def say(self, neighbour: Neighbour, message: wire.Control) -> None:
        """Send a line of control."""
        self.send(neighbour, wire.CONTROL, wire.encode(message))

    def complain(self, neighbour: Neighbour, what: str) -> None:
        """Say in the log what a node has done wrong."""
        self._mesh.mistaken(self._mesh.machine.table.name_of(neighbour.id), what)

    def _drain_if_up(self, neighbour: Neighbour) -> None:
        if neighbour.peer.up:
            self.drain(neighbour)

    def _has_left(self, neighbour: Neighbour, kind: int) -> None:
        if kind == wire.LARGE:
            calls.large_has_left(neighbour.peer)

    def _send_one_by_one(self, neighbour: Neighbour, data: bytes) -> None:
        """Send letters some of which are large, or about third nodes, or must wait behind a large one."""
        post = self._mesh.post
        plain = bytearray()

        def flush() -> None:
            if plain:
                self.send(neighbour, wire.LETTERS, bytes(plain))
                plain.clear()

        for to, sender, kind, value, extra in letters(data):
            # All of one sender in one stream: what it sent comes before the news of its end.
            stream = sender or to << 32
            if kind == LARGE_BYTES:
                flush()
                block = _POINTER.unpack(extra)[0]
                letter = _LETTER.pack(to, sender, 2, value) + ctypes.string_at(block + BLOCK, value)
                calls.free_block(block)
                self.send(neighbour, wire.LARGE, letter, stream)
                continue
            waits = stream in neighbour.streams or post.holds(neighbour.id, stream)
            if kind == OTHERS_PID:
                flush()
                self._introduce(neighbour, to, sender, value, stream if waits else 0)
            elif waits:
                flush()
                self.send(neighbour, wire.LETTERS, _LETTER.pack(to, sender, kind, value) + extra, stream)
            else:
                plain += _LETTER.pack(to, sender, kind, value) + extra
        flush()

    def _introduce(self, neighbour: Neighbour, to: int, sender: int, proxy_pid: int, stream: int) -> None:
        proxy = self._table.find(proxy_pid)
        third = self.home_of(proxy)
        if proxy is None or third is None:
            self.send(neighbour, wire.LETTERS, _LETTER.pack(to, sender, 1, 0), stream)
        else:
            message = wire.Introduce(to, sender, third.id, int(proxy.parent))
            self.send(neighbour, wire.CONTROL, wire.encode(message), stream)

    def drop(self, neighbour: Neighbour) -> int:
        """Empty the ring of a node that is gone; how many letters were in it."""
        count = len(neighbour.backlog) + len(neighbour.held)
        neighbour.backlog.clear()
        neighbour.held.clear()
        neighbour.streams.clear()
        while size := calls.take_letters(neighbour.peer, ctypes.addressof(self._buffer), BATCH):
            for _, _, kind, _, extra in letters(self._buffer.raw[:size]):
                count += 1
                if kind == LARGE_BYTES:
                    calls.free_block(_POINTER.unpack(extra)[0])
        return count

    def home_of(self, proxy: Record | None) -> Neighbour | None:
        """The node of a process that is not of this one; None if there is no such process."""
        return None if proxy is None or proxy.kind != PROXY else self.by_address.get(proxy.program)


def letters(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """Letters one by one: to, sender, kind, value, and what follows the record."""
    letters = []
    at = 0
    while at < len(data):
        to, sender, kind, value = _LETTER.unpack_from(data, at)
        at += LETTER
        more = _SIZES.get(kind, 0) if kind != BYTES_MESSAGE else (value + LETTER - 1) // LETTER * LETTER
        letters.append((to, sender, kind, value, data[at : at + more]))
        at += more
    return letters
