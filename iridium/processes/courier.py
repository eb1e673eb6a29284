"""The traffic of processes with other nodes: letters out and in, and what is asked of them.

What processes send gathers in a ring for each node (:mod:`iridium.vm.runtime.remote`); from there it goes out as
mail, many letters at once, as far as there is room. What comes in goes to the runtime as it is. Requests and their
answers are rarer, and stand here.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from iridium.cluster.messages import LARGEST_MAIL, LARGEST_PAYLOAD
from iridium.errors import CommandError, IridiumError
from iridium.events import EventRing
from iridium.processes import wire
from iridium.processes.images import Images, WrongImageError
from iridium.processes.kept import Dead, Live, Observer
from iridium.processes.processes import Answer, Processes
from iridium.processes.spinning import Spinning
from iridium.processes.types import Exit, ProcessInfo, reason_text
from iridium.vm.memory import release, reserve
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import (
    BYTES_MESSAGE,
    GONE,
    LARGE_BYTES,
    NO_PROCESS,
    NODE_DOWN,
    OTHERS_PID,
    PROCESS,
    PROXY,
    SLOT_MASK,
    SPAWN_THERE,
    Peer,
)
from iridium.vm.runtime.mailbox import BLOCK
from iridium.vm.runtime.programs import LoadedProgram
from iridium.vm.runtime.remote import LETTER

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

RING = 1024 * 1024
"""Bytes of the ring for one node: 61 440 words that wait, and then their senders are told."""

BATCH = 32 * 1024
"""Bytes of letters in one payload: a few thousand words, and small enough that nobody waits behind it."""

MOST_REQUESTS = 65_536
"""Requests that wait for their answers from one node."""

MOST_WANTED = 4096
"""Requests that wait for images from one node."""

MOST_BACKLOG = 32 * 1024 * 1024
"""Bytes that wait for one node behind what the post takes; a node that asks and asks, and reads nothing, is cut
off there.
"""

MOST_HELD = 4096
"""Payloads that wait for a large one of their sender; then everything else waits too."""

_COST = 256
"""Bytes that each of them counts beside its own."""

_FOR_IMAGES = 1 << 40
"""The stream of images: no pid, so that nobody's messages wait behind them."""

_FOR_LISTS = 1 << 41
"""That of lists, likewise."""

ROWS = 256
"""Processes in one line of a list."""

MOST_OBSERVED = 4096
"""Processes that one node observes of another: each is a closure, and a line for all that it prints."""

MOST_BEHIND = 64
"""Payloads that wait for room, beyond which a node that observes misses output."""

MOST_SHOWN = 8192
"""Characters of output in one line."""

LIST_WAIT = 2.0
"""Seconds that a list waits for other nodes."""

MOST_PROGRAMS = 256
"""Programs that one node knows by number: processes of others are started by requests, which takes longer."""

_PROXIES = 4 * (SLOT_MASK + 1)
_LETTER = struct.Struct("=4I")
_POINTER = struct.Struct("=QQ")
_REGISTERS = 384
_SIZES = {LARGE_BYTES: LETTER, SPAWN_THERE: _REGISTERS}


class NotSpawnedError(IridiumError):
    """Another node has not started a process."""


class Neighbour:
    """Another node that there is a session with.

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

    def __init__(self, id: str, number: int) -> None:
        self.id = id
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
        self.observing: dict[int, Callable[[], None]] = {}
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

    def close(self) -> None:
        """Give the memory back; no worker knows it any more."""
        release(self.peer.buffer, RING)
        release(self.peer.proxies, _PROXIES)


class Courier:
    """The traffic of processes with other nodes.

    Args:
        processes: of this node.
        mesh: its place in the cluster.
        events: where to tell what people should know.
        call_later: the reactor's.
        spinning: keeps the reactor awake for answers, if anything does.

    Attributes:
        images: programs by hash.
        listeners: who takes payloads of another kind, by kind: called with node id and data.
        on_down: called with a node id when its session has ended.
        on_up: called with a node id when a session has begun.
    """

    _log = Logger(namespace="iridium.processes")

    def __init__(
        self,
        processes: Processes,
        mesh: Mesh,
        events: EventRing,
        call_later: Callable[..., Any],
        spinning: Spinning | None = None,
    ) -> None:
        self._processes = processes
        self._spinning = spinning
        self._mesh = mesh
        self._events = events
        self._call_later = call_later
        self._table = processes.table
        self.images = Images()
        self.listeners: dict[int, Callable[[str, bytes], None]] = {}
        self.on_up: list[Callable[[str], None]] = []
        self.on_down: list[Callable[[str], None]] = []
        self._neighbours: dict[str, Neighbour] = {}
        self._by_address: dict[int, Neighbour] = {}
        # Numbers in use; and memory of nodes that are gone, which proxies may still point to for a moment.
        self._numbers: dict[int, str] = {}
        self._retired: dict[Neighbour, Any] = {}
        self._count = 0
        self._buffer = ctypes.create_string_buffer(BATCH)
        self.lost = 0
        processes.spawn_away = self._spawn_for
        processes.whereis_away = self._whereis_for
        post = mesh.post
        post.on_mail, post.on_session, post.on_lost, post.on_room = self._mail, self._begun, self._lost, self._room
        processes.set_on_peers(self._flush)

    # Sessions.

    def _begun(self, id: str) -> None:
        number = next(n for n in range(1, 256) if n not in self._numbers)
        neighbour = Neighbour(id, number)
        self._numbers[number] = id
        self._neighbours[id] = neighbour
        self._by_address[ctypes.addressof(neighbour.peer)] = neighbour
        self._table.add_peer(number, neighbour.peer)
        self._table.shared.nodes = len(self._neighbours) + 1
        for call in list(self.on_up):
            call(id)

    def _lost(self, id: str, reason: str) -> None:
        neighbour = self._neighbours.pop(id, None)
        if neighbour is None:
            return
        peer = neighbour.peer
        self._table.remove_peer(peer.number)
        self._numbers.pop(peer.number, None)
        self._table.shared.nodes = len(self._neighbours) + 1
        calls.end_peer(self._table.host, peer)
        for _, loaded in neighbour.loaded.values():
            self._table.keep(loaded)
        self.lost += self._drop(neighbour)
        self._processes.flush()
        requests, neighbour.requests = neighbour.requests, {}
        for _, answer in requests.values():
            answer(None)
        for stop in neighbour.observing.values():
            stop()
        observed, neighbour.observed = neighbour.observed, {}
        for observer in observed.values():
            observer.on_end(Exit(NODE_DOWN, reason_text(NODE_DOWN)))
        # Workers may hold its address for the rest of their turn.
        self._retired[neighbour] = self._call_later(1.0, self._retire, neighbour)
        for call in list(self.on_down):
            call(id)

    def _retire(self, neighbour: Neighbour) -> None:
        self._flush()  # it may be in the list of those that have something to send
        del self._retired[neighbour]
        self._by_address.pop(ctypes.addressof(neighbour.peer), None)
        neighbour.close()

    def _drop(self, neighbour: Neighbour) -> int:
        """Empty the ring of a node that is gone; how many letters were in it."""
        count = len(neighbour.backlog) + len(neighbour.held)
        neighbour.backlog.clear()
        neighbour.held.clear()
        neighbour.streams.clear()
        while size := calls.take_letters(neighbour.peer, ctypes.addressof(self._buffer), BATCH):
            for _, _, kind, _, extra in _letters(self._buffer.raw[:size]):
                count += 1
                if kind == LARGE_BYTES:
                    calls.free_block(_POINTER.unpack(extra)[0])
        return count

    def stop(self) -> None:
        """The node ends."""
        for id in list(self._neighbours):
            self._lost(id, "stopped")
        self._processes.set_on_peers(lambda: None)

    def close(self) -> None:
        """Give the memory back, once no worker runs any more."""
        for neighbour, timer in list(self._retired.items()):
            if timer is not None and timer.active():
                timer.cancel()
            self._retire(neighbour)

    @property
    def name(self) -> str:
        """What this node is called in lists: its alias, or the beginning of its id."""
        return self._mesh.me.alias or self._mesh.me.id[:8]

    def __contains__(self, id: str) -> bool:
        return id in self._neighbours

    def up(self) -> list[str]:
        """The ids of the nodes that there is a session with, in a fixed order."""
        return sorted(self._neighbours)

    # Out.

    def _flush(self) -> None:
        """Send what has gathered for other nodes."""
        shared = self._table.shared
        while True:  # the first look is with the lock: what a worker has put there before is seen
            neighbour = self._by_address.get(calls.take_peer(shared))
            if neighbour is not None and neighbour.peer.up:
                self._drain(neighbour)
            if not shared.first_peer:
                return

    def _room(self, id: str) -> None:
        neighbour = self._neighbours.get(id)
        if neighbour is not None:
            self._drain(neighbour)

    def _drain(self, neighbour: Neighbour) -> None:
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
                self._send(neighbour, wire.LETTERS, data)

    def _send(self, neighbour: Neighbour, kind: int, data: bytes, stream: int = 0) -> None:
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

    def _drain_if_up(self, neighbour: Neighbour) -> None:
        if neighbour.peer.up:
            self._drain(neighbour)

    def _has_left(self, neighbour: Neighbour, kind: int) -> None:
        if kind == wire.LARGE:
            calls.large_has_left(neighbour.peer)

    def _send_one_by_one(self, neighbour: Neighbour, data: bytes) -> None:
        """Send letters some of which are large, or about third nodes, or must wait behind a large one."""
        post = self._mesh.post
        plain = bytearray()

        def flush() -> None:
            if plain:
                self._send(neighbour, wire.LETTERS, bytes(plain))
                plain.clear()

        for to, sender, kind, value, extra in _letters(data):
            # All of one sender in one stream: what it sent comes before the news of its end.
            stream = sender or to << 32
            if kind == LARGE_BYTES:
                flush()
                block = _POINTER.unpack(extra)[0]
                letter = _LETTER.pack(to, sender, 2, value) + ctypes.string_at(block + BLOCK, value)
                calls.free_block(block)
                self._send(neighbour, wire.LARGE, letter, stream)
                continue
            waits = stream in neighbour.streams or post.holds(neighbour.id, stream)
            if kind == OTHERS_PID:
                flush()
                self._introduce(neighbour, to, sender, value, stream if waits else 0)
            elif waits:
                flush()
                self._send(neighbour, wire.LETTERS, _LETTER.pack(to, sender, kind, value) + extra, stream)
            else:
                plain += _LETTER.pack(to, sender, kind, value) + extra
        flush()

    def _introduce(self, neighbour: Neighbour, to: int, sender: int, proxy_pid: int, stream: int) -> None:
        proxy = self._table.find(proxy_pid)
        third = None if proxy is None or proxy.kind != PROXY else self._by_address.get(proxy.program)
        if proxy is None or third is None:
            self._send(neighbour, wire.LETTERS, _LETTER.pack(to, sender, 1, 0), stream)
        else:
            message = wire.Introduce(to, sender, third.id, int(proxy.parent))
            self._send(neighbour, wire.CONTROL, wire.encode(message), stream)

    def _say(self, neighbour: Neighbour, message: wire.Control) -> None:
        self._send(neighbour, wire.CONTROL, wire.encode(message))

    # In.

    def _mail(self, id: str, kind: int, data: bytes) -> None:
        neighbour = self._neighbours.get(id)
        if neighbour is None:
            return
        if self._spinning is not None:
            self._spinning.arrived()
        if kind == wire.LETTERS or kind == wire.LARGE:
            read = calls.read_letters(self._table.host, neighbour.peer, _address_of(data), len(data))
            self._processes.run_woken()
            if read != len(data):
                self._complain(neighbour, "letters that are none")
        elif kind == wire.CONTROL:
            try:
                message = wire.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._complain(neighbour, f"control that is none: {error}")
                return
            getattr(self, f"_on_{type(message).__name__.lower()}")(neighbour, message)
        elif kind == wire.IMAGE:
            self._on_image(neighbour, data)
        elif kind in self.listeners:
            self.listeners[kind](id, data)

    def _complain(self, neighbour: Neighbour, what: str) -> None:
        self._mesh.complain(self._mesh.machine.table.name_of(neighbour.id), what)

    def _known(self, neighbour: Neighbour, pid: int) -> None:
        """A process of this node is known there from now on; if it has ended, that is told."""
        record = self._table.find(pid)
        if record is not None and record.kind != PROXY:
            calls.introduce(self._table.shared, neighbour.peer, pid)
        else:
            calls.put_notice(self._table.shared, neighbour.peer, 0, pid, GONE, NO_PROCESS)
        self._flush()

    # Requests.

    def _ask(self, neighbour: Neighbour, kind: type[Any], answer: Callable[[Any], None]) -> int | None:
        if len(neighbour.requests) >= MOST_REQUESTS or neighbour.backlog_bytes > MOST_BACKLOG // 2:
            answer(None)
            return None
        self._count += 1
        neighbour.requests[self._count] = kind, answer
        return self._count

    def _answered(self, neighbour: Neighbour, message: Any) -> None:
        if message.n not in neighbour.requests:
            return  # nobody waits any more
        number: int = message.n
        kind, answer = neighbour.requests[number]
        if kind is not type(message):
            self._complain(neighbour, "an answer to another question")
            return
        if not getattr(message, "more", False):
            del neighbour.requests[number]
        answer(message)

    _on_spawned = _on_found = _on_listed = _on_told = _answered

    def neighbour(self, target: str) -> Neighbour | None:
        """The node of an alias, an id or a prefix; None for this node itself.

        Raises:
            CommandError: there is none, or no session with it.
        """
        me = self._mesh.me
        if target in (me.id, me.alias) and target:
            return None
        peer = self._mesh.machine.table.find(target)
        neighbour = self._neighbours.get(peer.id)
        if neighbour is None:
            raise CommandError(f"{target} is not up; !cluster_members lists who is")
        return neighbour

    def spawn(
        self,
        neighbour: Neighbour,
        hash: str,
        *,
        registers: bytes = b"",
        pc: int = 0,
        parent: int = 0,
        name: str = "",
        title: str = "",
        observer: Observer | None = None,
    ) -> Deferred[int]:
        """Start a process on another node.

        Args:
            neighbour: which.
            hash: of its image, which is kept here.
            registers: 384 bytes of f64 and i32 registers, or nothing.
            pc: where it begins; 0 is the first instruction.
            parent: the pid of whoever wants it.
            name, title: as for a process of this node.
            observer: told what it prints and how it ends.

        Returns:
            Fires with the pid that it has here; errbacks with NotSpawnedError.
        """
        done: Deferred[int] = Deferred()
        number = 0

        def answer(message: wire.Spawned | None) -> None:
            pid = self._intern(neighbour, message.pid) if message is not None and message.pid else 0
            if message is not None and message.number >= 0:
                neighbour.numbers[hash] = message.number
            if pid:
                done.callback(pid)
            else:
                neighbour.observed.pop(number, None)
                why = "the node went away" if message is None else message.why or "there is no room for another"
                done.errback(NotSpawnedError(f"the process was not started: {why}"))

        size = len(self.images.data(hash) or b"")
        if size > LARGEST_PAYLOAD - 32:
            return fail(NotSpawnedError("the process was not started: its image is too large to send"))
        n = self._ask(neighbour, wire.Spawned, answer)
        if n is not None:
            number = n
            if parent:
                calls.introduce(self._table.shared, neighbour.peer, parent)
            if observer is not None:
                neighbour.observed[n] = observer
            self._say(neighbour, wire.Spawn(n, hash, pc, registers, parent, name, title, observer is not None))
        return done

    def _intern(self, neighbour: Neighbour, pid: int) -> int:
        return int(calls.intern(self._table.host, neighbour.peer, pid))

    def _spawn_for(self, record: Record, program: Program, where: str | int, pc: int, answer: Answer) -> None:
        """SPAWNON of a process of this node."""
        try:
            if isinstance(where, int):
                ids = self.up()
                neighbour = self._neighbours[ids[-2 - where]] if -2 - where < len(ids) else None
                if neighbour is None:
                    answer(0, False)
                    return
            else:
                neighbour = self.neighbour(where)
        except IridiumError:
            answer(0, False)
            return
        if neighbour is None:
            here = self._processes.spawn_here(record, program, pc)
            answer(here, here != 0)
            return
        hash = self.images.hash_of(program)
        number = neighbour.numbers.get(hash)
        asks = record.kind == PROCESS and number is not None
        if asks and calls.ask_to_spawn(neighbour.peer, record, number, pc):
            return  # the runtime will see to the answer
        registers = ctypes.string_at(ctypes.addressof(record), _REGISTERS)
        # A session sees what its children print, wherever they run; the pid is known before they do.
        screen = self._processes.screen_of(int(record.pid))
        found = 0
        observer = None
        if screen is not None:
            observer = Observer(
                lambda text: screen.printed(found, text),
                lambda how: screen.ended(found, how) if how.reason else None,
            )
        spawning = self.spawn(
            neighbour,
            hash,
            registers=registers,
            pc=pc,
            parent=int(record.pid),
            title=self._processes.title_of(record),
            observer=observer,
        )

        def spawned(pid: int) -> None:
            nonlocal found
            found = pid
            answer(pid, True)

        spawning.addCallbacks(spawned, lambda _: answer(0, False))

    def _whereis_for(self, name: str, node: str, answer: Answer) -> None:
        """WHEREIS of ``name@node``."""
        self.whereis(name, node).addCallbacks(lambda pid: answer(pid, pid != 0), lambda _: answer(0, False))

    def whereis(self, name: str, node: str) -> Deferred[int]:
        """The pid, as this node has it, of the process with a name on a node; 0 if there is none."""
        try:
            neighbour = self.neighbour(node)
        except IridiumError as error:
            return fail(error)
        if neighbour is None:
            return succeed(self._processes.names.whereis(name))
        return self._find(neighbour, wire.Whereis(0, name[:1024]))

    def find(self, pid: int, node: str) -> Deferred[int]:
        """The pid, as this node has it, of a process with a pid of another; 0 if there is none."""
        try:
            neighbour = self.neighbour(node)
        except IridiumError as error:
            return fail(error)
        if neighbour is None:
            return succeed(pid if self._processes.is_alive(pid) else 0)
        return self._find(neighbour, wire.Whereis(0, pid=pid))

    def _find(self, neighbour: Neighbour, question: wire.Whereis) -> Deferred[int]:
        done: Deferred[int] = Deferred()

        def answer(message: wire.Found | None) -> None:
            done.callback(self._intern(neighbour, message.pid) if message is not None and message.pid else 0)

        n = self._ask(neighbour, wire.Found, answer)
        if n is not None:
            self._say(neighbour, wire.Whereis(n, question.name, question.pid))
        return done

    def list_all(self) -> Deferred[list[ProcessInfo]]:
        """The processes of all nodes that answer within :data:`LIST_WAIT` seconds."""
        rows = self._processes.running(self.name)
        waiting = set(self._neighbours)
        asked: list[tuple[Neighbour, int]] = []
        done: Deferred[list[ProcessInfo]] = Deferred()

        def finish() -> None:
            for neighbour, n in asked:
                neighbour.requests.pop(n, None)
            if not done.called:
                done.callback(rows)

        for id in self.up():
            neighbour, title = self._neighbours[id], self._mesh.machine.table.name_of(id)

            def answer(message: wire.Listed | None, id: str = id, title: str = title) -> None:
                if message is not None:
                    rows.extend(
                        ProcessInfo(title, pid, name, program, state, instructions, mailbox, parent)
                        for pid, name, program, state, instructions, mailbox, parent in message.rows
                    )
                    if message.more:
                        return
                waiting.discard(id)
                if not waiting:
                    finish()

            n = self._ask(neighbour, wire.Listed, answer)
            if n is not None:
                asked.append((neighbour, n))
                self._say(neighbour, wire.List(n))
        if not waiting:
            finish()
        else:
            timer = self._call_later(LIST_WAIT, finish)
            done.addBoth(lambda result: (timer.active() and timer.cancel(), result)[1])
        return done

    def home_of(self, proxy_pid: int) -> tuple[Neighbour, int] | None:
        """The node of a process that is not of this one, and its pid there; None if there is no such process."""
        proxy = self._table.find(proxy_pid)
        neighbour = None if proxy is None or proxy.kind != PROXY else self._by_address.get(proxy.program)
        return None if proxy is None or neighbour is None else (neighbour, int(proxy.parent))

    def observe(self, proxy_pid: int, observer: Observer) -> Callable[[], None] | None:
        """Watch a process of another node, beginning with what is kept of it; None if it is no such process."""
        home = self.home_of(proxy_pid)
        if home is None:
            return None
        neighbour, pid = home
        self._count += 1
        n = self._count
        neighbour.observed[n] = observer
        self._say(neighbour, wire.Observe(n, pid))

        def stop() -> None:
            if neighbour.observed.pop(n, None) is not None and neighbour.peer.up:
                self._say(neighbour, wire.Observe(n, pid, False))

        return stop

    def why(self, neighbour: Neighbour, pid: int) -> Deferred[Live | Dead | None]:
        """What a process of another node is doing, or how it has ended; None where that is not known."""
        done: Deferred[Live | Dead | None] = Deferred()
        n = self._ask(
            neighbour,
            wire.Told,
            lambda message: done.callback(None if message is None else message.live or message.dead),
        )
        if n is not None:
            self._say(neighbour, wire.Why(n, pid))
        return done

    # What others ask.

    def _on_spawn(self, neighbour: Neighbour, message: wire.Spawn) -> None:
        program = self.images.program(message.image)
        if program is not None:
            self._start(neighbour, message, program)
            return
        if neighbour.wanting >= MOST_WANTED:
            self._say(neighbour, wire.Spawned(message.n, 0, "too many requests wait for their images"))
            return
        waiting = neighbour.wanted.setdefault(message.image, [])
        if not waiting:
            self._say(neighbour, wire.Need(message.image))
        waiting.append(message)
        neighbour.wanting += 1

    def _start(self, neighbour: Neighbour, message: wire.Spawn, program: Program) -> None:
        def started() -> None:
            parent = self._intern(neighbour, message.parent) if message.parent else 0
            pc = message.pc or program.base
            if program.word_at(pc) is None:
                self._say(neighbour, wire.Spawned(message.n, 0, f"{pc} is no instruction of that image"))
                return
            pid = self._processes.begin_for_other(
                program, pc, message.registers, parent, message.name, message.title
            )
            if pid:
                calls.introduce(self._table.shared, neighbour.peer, pid)
                if message.output:
                    self._on_observe(neighbour, wire.Observe(message.n, pid))
                self._processes.let_run(pid)
            why = "" if pid else "that node has no room for another"
            number = neighbour.number_of(message.image, self._table.load(program))
            self._say(neighbour, wire.Spawned(message.n, pid, why, number))

        self._processes.when_ready(started)

    def _on_need(self, neighbour: Neighbour, message: wire.Need) -> None:
        data = self.images.data(message.image)
        self._send(neighbour, wire.IMAGE, bytes.fromhex(message.image) + (data or b""), _FOR_IMAGES)

    def _on_image(self, neighbour: Neighbour, data: bytes) -> None:
        hash = data[:32].hex()
        waiting = neighbour.wanted.pop(hash, [])
        neighbour.wanting -= len(waiting)
        if not waiting:
            self._complain(neighbour, f"the image {hash[:12]}... that nobody asked for")
            return
        try:
            program = self.images.receive(hash, data[32:])
        except WrongImageError as error:
            self._complain(neighbour, str(error))
            for message in waiting:
                self._say(neighbour, wire.Spawned(message.n, 0, str(error)))
            return
        for message in waiting:
            self._start(neighbour, message, program)

    def _on_whereis(self, neighbour: Neighbour, message: wire.Whereis) -> None:
        pid = message.pid if message.pid and self._processes.is_alive(message.pid) else 0
        if not message.pid:
            pid = self._processes.names.whereis(message.name)
        if pid:
            calls.introduce(self._table.shared, neighbour.peer, pid)
        self._say(neighbour, wire.Found(message.n, pid))

    def _on_introduce(self, neighbour: Neighbour, message: wire.Introduce) -> None:
        third = self._neighbours.get(message.node)
        pid = 0
        if message.node == self._mesh.me.id:
            pid = message.pid if self._processes.is_alive(message.pid) else 0
        elif third is not None:
            pid = self._intern(third, message.pid)
            self._say(third, wire.Watch(message.pid))
        sender = self._intern(neighbour, message.sender)
        # To nobody is a dead letter; a process of a third node is not this peer's to write to.
        to = message.to if self._processes.is_alive(message.to) else 0
        self._processes.send(to, pid, is_pid=True, sender=sender)

    def _on_watch(self, neighbour: Neighbour, message: wire.Watch) -> None:
        self._known(neighbour, message.pid)

    def _on_kill(self, neighbour: Neighbour, message: wire.Kill) -> None:
        if self._processes.is_alive(message.pid):
            self._processes.kill(message.pid, message.reason)

    def _on_list(self, neighbour: Neighbour, message: wire.List) -> None:
        rows = [
            (p.pid, p.name[:1024], p.program[:1024], p.state, p.instructions, p.mailbox, p.parent)
            for p in self._processes.running()
        ]
        for at in range(0, max(1, len(rows)), ROWS):
            answer = wire.Listed(message.n, rows[at : at + ROWS], at + ROWS < len(rows))
            self._send(neighbour, wire.CONTROL, wire.encode(answer), _FOR_LISTS)

    def _on_observe(self, neighbour: Neighbour, message: wire.Observe) -> None:
        n, pid = message.n, message.pid
        stop = neighbour.observing.pop(n, None)
        if stop is not None:
            stop()
        if not message.on:
            return
        if len(neighbour.observing) >= MOST_OBSERVED:
            self._say(neighbour, wire.Output(n, ended=True, reason=NO_PROCESS))
            return

        def ended(how: Exit) -> None:
            neighbour.observing.pop(n, None)
            if neighbour.peer.up:
                self._say(neighbour, wire.Output(n, "", True, how.reason, how.fault[:MOST_SHOWN]))

        self._show(neighbour, n, self._processes.outputs.of(pid))
        watching = self._processes.observe(pid, lambda text: self._show(neighbour, n, text), ended)
        if watching is None:
            ended(Exit(NO_PROCESS, reason_text(NO_PROCESS)))
        else:
            neighbour.observing[n] = watching

    def _show(self, neighbour: Neighbour, n: int, text: str) -> None:
        # What a node that does not read misses is on this one still.
        if neighbour.peer.up and len(neighbour.backlog) < MOST_BEHIND:
            for at in range(0, len(text), MOST_SHOWN):
                self._say(neighbour, wire.Output(n, text[at : at + MOST_SHOWN]))

    def _on_output(self, neighbour: Neighbour, message: wire.Output) -> None:
        observer = neighbour.observed.get(message.n)
        if observer is None:
            return
        if message.text:
            observer.on_output(message.text)
        if message.ended:
            neighbour.observed.pop(message.n, None)
            observer.on_end(Exit(message.reason, reason_text(message.reason), message.fault))

    def _on_why(self, neighbour: Neighbour, message: wire.Why) -> None:
        live = self._processes.live(message.pid)
        dead = None if live is not None else self._processes.why(message.pid)
        self._say(neighbour, wire.Told(message.n, live, dead))


def _address_of(data: bytes) -> int:
    return ctypes.c_uint64.from_buffer(ctypes.c_char_p(data)).value


def _letters(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
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
