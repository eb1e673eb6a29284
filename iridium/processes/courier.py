"""The traffic of processes with other nodes: sessions as they come and go, and mail as it arrives.

What goes out is in :mod:`iridium.processes.outbound`, what is asked of other nodes in
:mod:`iridium.processes.asking`, what they ask in :mod:`iridium.processes.answering`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from iridium.events import EventRing
from iridium.processes import wire
from iridium.processes.answering import Answering
from iridium.processes.asking import Asking
from iridium.processes.images import Images
from iridium.processes.neighbour import Neighbour
from iridium.processes.outbound import Outbound
from iridium.processes.processes import Processes
from iridium.processes.spinning import Spinning
from iridium.processes.types import Exchange, Exit, reason_text
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import NODE_DOWN

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

RETIRED = 0.5
"""Seconds, twice, that the memory of a node outlives its session: workers may hold its address until their turn
ends. Twice, since all timers are due at once in a process that was stopped and goes on, its workers with it.
"""


class Courier:
    """The traffic of processes with other nodes.

    Args:
        processes: of this node.
        mesh: its place in the cluster.
        events: where to tell what people should know.
        call_later: the reactor's.
        spinning: keeps the reactor awake for answers, if anything does.

    Attributes:
        neighbours: the other nodes that there is a session with, by id.
        images: programs by hash.
        ask: questions to other nodes.
        listeners: who takes payloads of another kind, by kind: called with node id and data.
        on_down: called with a node id when its session has ended.
        on_up: called with a node id when a session has begun.
        lost: letters and requests that waited for nodes when their sessions ended.
    """

    def __init__(
        self,
        processes: Processes,
        mesh: Mesh,
        events: EventRing,
        call_later: Callable[..., Any],
        spinning: Spinning | None = None,
    ) -> None:
        self._processes = processes
        self._mesh = mesh
        self._call_later = call_later
        self._spinning = spinning
        self._table = processes.table
        self.neighbours: dict[str, Neighbour] = {}
        self.images = Images()
        self._outbound = Outbound(self._table, mesh, events, call_later, spinning)
        self.ask = Asking(processes, mesh, self.neighbours, self.images, self._outbound, call_later)
        answering = Answering(processes, mesh.me, self.neighbours, self.images, self._outbound)
        self._take_image, self._caught_up = answering.image, answering.caught_up
        self._take: dict[type[Any], Callable[[Neighbour, Any], None]] = {
            wire.Spawn: answering.spawn,
            wire.Need: answering.need,
            wire.Whereis: answering.whereis,
            wire.Introduce: answering.introduce,
            wire.Watch: answering.watch,
            wire.Kill: answering.kill,
            wire.List: answering.list_here,
            wire.Observe: answering.observe,
            wire.Why: answering.why,
            wire.Spawned: self.ask.answered,
            wire.Found: self.ask.answered,
            wire.Listed: self.ask.answered,
            wire.Told: self.ask.answered,
            wire.Output: self.ask.output,
        }
        self.listeners: dict[int, Callable[[str, bytes], None]] = {}
        self.on_up: list[Callable[[str], None]] = []
        self.on_down: list[Callable[[str], None]] = []
        self.lost = 0
        # Numbers in use; and memory of nodes that are gone, which proxies may still point to for a moment.
        self._numbers: dict[int, str] = {}
        self._retired: dict[Neighbour, Any] = {}
        post = mesh.post
        post.on_mail, post.on_session, post.on_lost, post.on_room = self._mail, self._begun, self._lost, self._room
        processes.set_on_peers(self._outbound.flush)

    def __contains__(self, id: str) -> bool:
        return id in self.neighbours

    def up(self) -> list[str]:
        """The ids of the nodes that there is a session with, in a fixed order."""
        return sorted(self.neighbours)

    def exchanges(self) -> list[Exchange]:
        """What was exchanged with each node, in a fixed order."""
        found: list[Exchange] = []
        for id, t in sorted(self._mesh.post.traffic().items()):
            neighbour = self.neighbours.get(id)
            refused, unknown = (0, 0) if neighbour is None else (neighbour.peer.refused, neighbour.peer.unknown)
            name = self._mesh.machine.table.name_of(id)
            found.append(
                Exchange(name, t.sent, t.received, t.resent, t.repeated, t.dropped, int(refused), int(unknown))
            )
        return found

    # Sessions.

    def _begun(self, id: str) -> None:
        number = next(n for n in range(1, 256) if n not in self._numbers)
        neighbour = Neighbour(id, number, self._table)
        self._numbers[number] = id
        self.neighbours[id] = neighbour
        self._outbound.by_address[ctypes.addressof(neighbour.peer)] = neighbour
        self._table.add_peer(number, neighbour.peer)
        self._table.shared.nodes = len(self.neighbours) + 1
        for call in list(self.on_up):
            call(id)

    def _lost(self, id: str, reason: str) -> None:
        neighbour = self.neighbours.pop(id, None)
        if neighbour is None:
            return
        peer = neighbour.peer
        self._table.remove_peer(peer.number)
        self._numbers.pop(peer.number, None)
        self._table.shared.nodes = len(self.neighbours) + 1
        calls.end_peer(self._table.host, peer)
        for _, loaded in neighbour.loaded.values():
            self._table.keep(loaded)
        self.lost += self._outbound.drop(neighbour)
        self._processes.flush()
        requests, neighbour.requests = neighbour.requests, {}
        for _, answer in requests.values():
            answer(None)
        for observation in list(neighbour.observing.values()):
            observation.stop()
        observed, neighbour.observed = neighbour.observed, {}
        for observer in observed.values():
            observer.on_end(Exit(NODE_DOWN, reason_text(NODE_DOWN)))
        self._retired[neighbour] = self._call_later(RETIRED, self._retire_soon, neighbour)
        for call in list(self.on_down):
            call(id)

    def _retire_soon(self, neighbour: Neighbour) -> None:
        self._retired[neighbour] = self._call_later(RETIRED, self._retire, neighbour)

    def _retire(self, neighbour: Neighbour) -> None:
        self._outbound.flush()  # it may be in the list of those that have something to send
        del self._retired[neighbour]
        self._outbound.by_address.pop(ctypes.addressof(neighbour.peer), None)
        neighbour.close()

    def stop(self) -> None:
        """The node ends."""
        for id in list(self.neighbours):
            self._lost(id, "stopped")
        self._processes.set_on_peers(lambda: None)

    def close(self) -> None:
        """Give the memory back, once no worker runs any more."""
        for neighbour, timer in list(self._retired.items()):
            if timer is not None and timer.active():
                timer.cancel()
            self._retire(neighbour)

    # Mail.

    def _room(self, id: str) -> None:
        neighbour = self.neighbours.get(id)
        if neighbour is not None:
            self._outbound.drain(neighbour)
            self._caught_up(neighbour)

    def _mail(self, id: str, kind: int, data: bytes) -> None:
        neighbour = self.neighbours.get(id)
        if neighbour is None:
            return
        if self._spinning is not None:
            self._spinning.arrived()
        if kind == wire.LETTERS or kind == wire.LARGE:
            read = calls.read_letters(self._table.host, neighbour.peer, _address_of(data), len(data))
            self._processes.run_woken()
            if read != len(data):
                self._outbound.complain(neighbour, "letters that are none")
        elif kind == wire.CONTROL:
            try:
                message = wire.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._outbound.complain(neighbour, f"control that is none: {error}")
                return
            self._take[type(message)](neighbour, message)
        elif kind == wire.IMAGE:
            self._take_image(neighbour, data)
        elif kind in self.listeners:
            self.listeners[kind](id, data)


def _address_of(data: bytes) -> int:
    return ctypes.c_uint64.from_buffer(ctypes.c_char_p(data)).value
