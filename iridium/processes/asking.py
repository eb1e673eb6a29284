"""What this node asks of others: processes there, names, lists, what became of a process, what one prints."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed

from iridium.cluster.messages import LARGEST_PAYLOAD
from iridium.errors import CommandError, IridiumError
from iridium.processes import wire
from iridium.processes.elsewhere import Elsewhere, Home
from iridium.processes.images import Images
from iridium.processes.kept import Dead, Live, Observer, Past
from iridium.processes.neighbour import Neighbour
from iridium.processes.outbound import MOST_BACKLOG, Outbound
from iridium.processes.processes import Processes
from iridium.processes.services import Answer
from iridium.processes.types import Exit, Listing, ProcessInfo, reason_text
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import PROCESS
from iridium.vm.runtime.remote import REGISTERS

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

MOST_REQUESTS = 65_536
"""Requests that wait for their answers from one node."""

LIST_WAIT = 2.0
"""Seconds that a list waits for other nodes."""


class NotSpawnedError(IridiumError):
    """Another node has not started a process."""


class Asking:
    """Questions to other nodes, and their answers.

    Args:
        processes: of this node.
        mesh: its place in the cluster.
        neighbours: the other nodes that there is a session with, by id.
        images: programs by hash.
        outbound: the way to other nodes.
        call_later: the reactor's.

    Attributes:
        elsewhere: what pids of this node have stood for, of those that people see or ask for.
    """

    def __init__(
        self,
        processes: Processes,
        mesh: Mesh,
        neighbours: dict[str, Neighbour],
        images: Images,
        outbound: Outbound,
        call_later: Callable[..., Any],
    ) -> None:
        self.elsewhere = Elsewhere(mesh)
        self._call_later = call_later
        self._processes = processes
        self._mesh = mesh
        self._neighbours = neighbours
        self._images = images
        self._outbound = outbound
        self._count = 0
        processes.services.spawn_away = self._spawn_for
        processes.services.whereis_away = self._whereis_for

    @property
    def name(self) -> str:
        """What this node is called in lists: its alias, or the beginning of its id."""
        return self._mesh.me.alias or self._mesh.me.id[:8]

    def neighbour(self, target: str) -> Neighbour | None:
        """The node of an alias, an id or a prefix; None for this node itself.

        Raises:
            CommandError: there is none, or no session with it.
        """
        table = self._mesh.machine.table
        if table.is_me(target):
            return None
        peer = table.find(target)
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
        waits: bool = False,
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
            waits: whether the process waits rather than that the observer misses anything; see :meth:`flow`.

        Returns:
            Fires with the pid that it has here; errbacks with NotSpawnedError.
        """
        done: Deferred[int] = Deferred()
        number = 0

        def answer(message: wire.Spawned | None) -> None:
            pid = neighbour.intern(message.pid) if message is not None and message.pid else 0
            if message is not None and message.number >= 0:
                neighbour.numbers[hash] = message.number
            if pid:
                if observer is not None and message is not None:
                    self.elsewhere.remember(pid, neighbour.id, message.pid)
                done.callback(pid)
            else:
                neighbour.observed.pop(number, None)
                why = "the node went away" if message is None else message.why or "there is no room for another"
                done.errback(NotSpawnedError(f"the process was not started: {why}"))

        size = len(self._images.data(hash) or b"")
        if size > LARGEST_PAYLOAD - 32:
            return fail(NotSpawnedError("the process was not started: its image is too large to send"))
        n = self._ask(neighbour, wire.Spawned, answer)
        if n is not None:
            number = n
            if parent:
                neighbour.introduce(parent)
            if observer is not None:
                neighbour.observed[n] = observer
                observer.number = n
            watched = observer is not None
            self._outbound.say(neighbour, wire.Spawn(n, hash, pc, registers, parent, name, title, watched, waits))
        return done

    def flow(self, neighbour: Neighbour, observer: Observer, waits: bool, paused: bool) -> None:
        """Tell a process there that was spawned from here how to treat its reader.

        Args:
            neighbour: its node.
            observer: what it was spawned with.
            waits: whether it waits rather than that anything is missed.
            paused: whether it is to wait now.
        """
        if neighbour.observed.get(observer.number) is observer and neighbour.peer.up:
            self._outbound.say(neighbour, wire.Observe(observer.number, 0, True, waits, paused))

    def _spawn_for(self, record: Record, program: Program, where: str | int, pc: int, answer: Answer) -> None:
        """SPAWNON of a process of this node."""
        try:
            if isinstance(where, int):
                ids = sorted(self._neighbours)
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
        hash = self._images.hash_of(program)
        number = neighbour.numbers.get(hash)
        asks = record.kind == PROCESS and number is not None
        if asks and calls.ask_to_spawn(neighbour.peer, record, number, pc):
            return  # the runtime will see to the answer
        registers = ctypes.string_at(ctypes.addressof(record), REGISTERS)
        # A session sees what its children print, wherever they run; the pid is known before they do.
        screen = self._processes.screen_of(int(record.pid))
        found = 0
        observer = None
        if screen is not None:
            observer = Observer(
                lambda text: screen.printed(found, text),
                lambda how: screen.ended(found, how) if how.reason else None,
                lambda count: screen.missed(found, count),
            )
        spawning = self.spawn(
            neighbour,
            hash,
            registers=registers,
            pc=pc,
            parent=int(record.pid),
            title=self._processes.views.title_of(record),
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
            pid = neighbour.intern(message.pid) if message is not None and message.pid else 0
            if pid and message is not None:
                self.elsewhere.remember(pid, neighbour.id, message.pid)
            done.callback(pid)

        n = self._ask(neighbour, wire.Found, answer)
        if n is not None:
            self._outbound.say(neighbour, wire.Whereis(n, question.name, question.pid))
        return done

    def list_all(self) -> Deferred[Listing]:
        """The processes of all nodes that answer within :data:`LIST_WAIT` seconds, and who does not."""
        here = self._processes.views.listing(self.name)
        rows, more = here.processes, here.more
        waiting = set(self._neighbours)
        silent: list[str] = []
        asked: list[tuple[Neighbour, int]] = []
        done: Deferred[Listing] = Deferred()

        def finish() -> None:
            for neighbour, n in asked:
                neighbour.requests.pop(n, None)
            if not done.called:
                name_of = self._mesh.machine.table.name_of
                done.callback(Listing(rows, more, silent + [name_of(id) for id in sorted(waiting)]))

        for id in sorted(self._neighbours):
            neighbour, title = self._neighbours[id], self._mesh.machine.table.name_of(id)

            def answer(message: wire.Listed | None, id: str = id, title: str = title) -> None:
                if message is not None:
                    rows.extend(
                        ProcessInfo(title, pid, name, program, state, instructions, mailbox, parent)
                        for pid, name, program, state, instructions, mailbox, parent in message.rows
                    )
                    if message.more:
                        return
                    if message.left:
                        more[title] = message.left
                else:
                    silent.append(title)
                waiting.discard(id)
                if not waiting:
                    finish()

            n = self._ask(neighbour, wire.Listed, answer)
            if n is not None:
                asked.append((neighbour, n))
                self._outbound.say(neighbour, wire.List(n))
        if not waiting:
            finish()
        else:
            timer = self._call_later(LIST_WAIT, finish)
            done.addBoth(lambda result: (timer.active() and timer.cancel(), result)[1])
        return done

    def home_of(self, proxy_pid: int) -> tuple[Neighbour, int] | None:
        """The node of a process that is not of this one, and its pid there; None if there is no such process."""
        proxy = self._processes.table.find(proxy_pid)
        neighbour = self._outbound.home_of(proxy)
        return None if proxy is None or neighbour is None else (neighbour, int(proxy.parent))

    def home(self, pid: int) -> Home | None:
        """What a pid of this node stands for, or stood for last; None where that is a process of this node, or
        nobody knows.
        """
        found = self.home_of(pid)
        if found is not None:
            return self.elsewhere.remember(pid, found[0].id, found[1])
        return None if self._processes.is_alive(pid) else self.elsewhere.recall(pid)

    def label(self, pid: int) -> str:
        """What people call a process that has this pid here: the pid, or ``PID@NODE`` where it runs on another."""
        home = self.home(pid)
        return str(pid) if home is None else self.elsewhere.label(home)

    def neighbour_of(self, home: Home) -> Neighbour | None:
        """Its node; None where that is not up, or was started again."""
        return self._neighbours.get(home.node) if self.elsewhere.is_same_life(home) else None

    def missing(self, home: Home) -> str:
        """Why its node cannot be asked about it; "" where it can."""
        if home.node not in self._neighbours:
            return f"{self.elsewhere.name(home)} is not up"
        return "" if self.neighbour_of(home) else f"{self.elsewhere.name(home)} was started again since"

    def observe(self, proxy_pid: int, observer: Observer) -> Callable[[], None] | None:
        """Watch a process of another node, beginning with what is kept of it; None if it is no such process."""
        home = self.home_of(proxy_pid)
        if home is None:
            return None
        return self.observe_there(*home, observer)

    def observe_there(self, neighbour: Neighbour, pid: int, observer: Observer) -> Callable[[], None]:
        """The same of a pid of another node, which may have ended."""
        self._count += 1
        n = observer.number = self._count
        neighbour.observed[n] = observer
        self._outbound.say(neighbour, wire.Observe(n, pid))

        def stop() -> None:
            if neighbour.observed.pop(n, None) is not None and neighbour.peer.up:
                self._outbound.say(neighbour, wire.Observe(n, pid, False))

        return stop

    def why(self, neighbour: Neighbour, pid: int) -> Deferred[Live | Dead | Past | None]:
        """What a process of another node is doing, or how it has ended; None where that is not known."""
        done: Deferred[Live | Dead | Past | None] = Deferred()

        def answer(message: wire.Told | None) -> None:
            done.callback(None if message is None else message.live or message.dead or message.past)

        n = self._ask(neighbour, wire.Told, answer)
        if n is not None:
            self._outbound.say(neighbour, wire.Why(n, pid))
        return done

    # Their answers.

    def _ask(self, neighbour: Neighbour, kind: type[Any], answer: Callable[[Any], None]) -> int | None:
        if len(neighbour.requests) >= MOST_REQUESTS or neighbour.backlog_bytes > MOST_BACKLOG // 2:
            answer(None)
            return None
        self._count += 1
        neighbour.requests[self._count] = kind, answer
        return self._count

    def answered(self, neighbour: Neighbour, message: Any) -> None:
        """A node has answered."""
        if message.n not in neighbour.requests:
            return  # nobody waits any more
        number: int = message.n
        kind, answer = neighbour.requests[number]
        if kind is not type(message):
            self._outbound.complain(neighbour, "an answer to another question")
            return
        if not getattr(message, "more", False):
            del neighbour.requests[number]
        answer(message)

    def output(self, neighbour: Neighbour, message: wire.Output) -> None:
        """A process there that is observed has printed something, or ended."""
        observer = neighbour.observed.get(message.n)
        if observer is None:
            return
        if message.missed:
            observer.on_missed(message.missed)
        if message.text:
            observer.on_output(message.text)
        if message.ended:
            neighbour.observed.pop(message.n, None)
            observer.on_end(Exit(message.reason, reason_text(message.reason), message.fault))
