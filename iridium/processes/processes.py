"""The processes of a node, as the node, its shell and Python programs use them."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from iridium.events import Event, EventRing
from iridium.processes.kept import (
    LAST_EVENTS,
    LAST_WORDS,
    Dead,
    Graveyard,
    Live,
    Outputs,
    Past,
)
from iridium.processes.mailbox import Mailbox, take
from iridium.processes.names import Names
from iridium.processes.process import Process
from iridium.processes.services import Services
from iridium.processes.types import Exit, ProcessInfo, TooManyProcessesError, WrongNameError, reason_text
from iridium.processes.views import Views
from iridium.vm import VM
from iridium.vm.program import Program
from iridium.vm.record import Record, Stop, Waiting
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import (
    BYTES_MESSAGE,
    ENDED,
    IDLE,
    KILLED,
    MAILBOX,
    PID_MESSAGE,
    PROCESS,
    PROXY,
    SESSION,
    WORD_MESSAGE,
)
from iridium.vm.runtime.mailbox import BLOCK, LONGEST_MESSAGE
from iridium.vm.runtime.remote import REGISTERS

if TYPE_CHECKING:
    from iridium.scheduler import Scheduler


class Screen(Protocol):
    """Sees what the processes that a session has spawned do."""

    def printed(self, pid: int, text: str) -> None:
        """One of them has printed."""

    def missed(self, pid: int, count: int) -> None:
        """So many characters that one of them has printed are missing here."""

    def ended(self, pid: int, how: Exit) -> None:
        """One of them has not ended normally."""


class Processes:
    """The processes of a node.

    Args:
        scheduler: runs them.
        events: where to tell of those that start and crash.

    Attributes:
        names: who is called what.
        outputs: what they printed.
        graveyard: those that ended abnormally.
        services: what they ask this node for.
        views: they as people look at them.
        on_end: called with the VM, the pid and the end of each process whose end the node hears of; whether its
            memory may be given back.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, scheduler: Scheduler, events: EventRing) -> None:
        self._workers = scheduler.workers
        self._workers.on_process = self._happened
        self.table = self._workers.table
        self._events = events
        self.names = Names(self.is_alive)
        self.outputs = Outputs()
        self.graveyard = Graveyard()
        self.services = Services(self.table, self.names, self.spawn_here, self._workers.resume)
        self.views = Views(self.table, self.names)
        self.on_end: Callable[[VM, int, Exit], bool] = lambda vm, pid, how: True
        self._handles: dict[int, Process] = {}
        self._mailboxes: dict[int, Mailbox] = {}
        self._screens: dict[int, Screen] = {}  # who sees what the children of a session print, by its pid
        # Processes whose output is not taken for now: how many want that. Those that wait for room in it, and
        # those that have ended with some of it left.
        self._held: Counter[int] = Counter()
        self._stuck: set[int] = set()
        self._unburied: dict[int, Record] = {}

    # Spawning.

    def spawn(
        self,
        program: Program,
        *,
        registers: Mapping[int, int] | None = None,
        name: str = "",
        title: str = "",
        on_output: Callable[[str], None] | None = None,
        parent: int = 0,
        pc: int | None = None,
    ) -> Deferred[Process]:
        """Start a process.

        Args:
            program: what it runs; many may share it.
            registers: integer registers that are not 0.
            name: to register it under, or "".
            title: what the program is called in lists.
            on_output: called with what it prints, as it does.
            parent: the pid of whoever wants it.
            pc: where it begins, by default at the first instruction.

        Returns:
            Fires with the process once it has started, which is at once unless machine code is still to be loaded
            or the program to be prepared; errbacks with TooManyProcessesError or
            WrongNameError.
        """
        spawned: Deferred[Process] = Deferred()
        program = program.frozen()

        def start() -> None:
            try:
                spawned.callback(self._spawn(program, registers, name, title, on_output, parent, pc))
            except Exception:
                spawned.errback()

        self._workers.when_ready(start, program)
        return spawned

    def _spawn(
        self,
        program: Program,
        registers: Mapping[int, int] | None,
        name: str,
        title: str,
        on_output: Callable[[str], None] | None,
        parent: int,
        pc: int | None,
    ) -> Process:
        record = self._begin(program, registers, pc, parent, name, title)
        pid = int(record.pid)
        record.host_cares = 1
        if on_output is not None:
            self.outputs.observe(pid, on_output)
        process = self._handles[pid] = Process(self, pid)
        self._events.add("process-started", str(pid), title)
        self.table.start(record)
        self._workers.pump()
        return process

    def when_ready(self, call: Callable[[], None], program: Program | None = None) -> None:
        """Call something once processes can run, those of a program say: at once, or when that is ready."""
        self._workers.when_ready(call, program)

    def set_on_peers(self, call: Callable[[], None]) -> None:
        """Who is called when something waits to be sent to other nodes."""
        self._workers.on_peers = call

    def spawn_here(self, record: Record, program: Program, pc: int) -> int:
        """Start a process as SPAWN does, for a process that asked its node for it; its pid, or 0."""
        new = self.table.begin(program, None, pc, int(record.pid))
        if new is None:
            return 0
        ctypes.memmove(ctypes.addressof(new), ctypes.addressof(record), REGISTERS)
        pid = int(new.pid)
        self.table.start(new)
        self._workers.pump()
        return pid

    def begin_for_other(
        self, program: Program, pc: int, registers: bytes, parent: int, name: str, title: str
    ) -> int:
        """A process that another node wants, which has no turns until :meth:`let_run`; its pid.

        Raises:
            TooManyProcessesError: there is no room for one.
            WrongNameError: it cannot be called that.
        """
        new = self._begin(program, None, pc, parent, name, title)
        ctypes.memmove(ctypes.addressof(new), registers, min(len(registers), REGISTERS))
        return int(new.pid)

    def _begin(
        self,
        program: Program,
        registers: Mapping[int, int] | None,
        pc: int | None,
        parent: int,
        name: str,
        title: str,
    ) -> Record:
        """A process with a name, if it is to have one, that has no turns yet."""
        self._check_name(name)
        program.title = program.title or title
        record = self.table.begin(program, registers, pc, parent)
        if record is None:
            raise TooManyProcessesError(self.table.shared.slots - 1)
        if name:
            self.names.register(name, int(record.pid))
        self._workers.watch_heat(program)
        return record

    def _check_name(self, name: str) -> None:
        if name and (problem := self.names.problem(name)):
            raise WrongNameError(problem)

    def let_run(self, pid: int) -> None:
        """Give it turns."""
        record = self.table.find(pid)
        if record is not None:
            self.table.start(record)
            self._workers.pump()

    # What processes and people do to them.

    def is_alive(self, pid: int) -> bool:
        """Whether there is a process, or another that can receive, of this node."""
        record = self.table.find(pid)
        return record is not None and record.kind not in (ENDED, PROXY)

    def send(self, to: int, value: int | bytes, *, is_pid: bool = False, sender: int = 0) -> bool:
        """Send a message.

        Args:
            to: a pid of this node, which may stand for a process of another.
            value: a word (-2**31 to 2**32 - 1), a pid, or bytes.
            is_pid: whether the number is a pid.
            sender: the pid that it is from.

        Returns:
            Whether it was taken: False for nobody, and where there is no room.
        """
        if isinstance(value, bytes):
            if len(value) > LONGEST_MESSAGE:
                return False
            block = calls.make_block(len(value))
            if not block:
                return False
            ctypes.memmove(block + BLOCK, value, len(value))
            taken = calls.deliver(self.table.host, to, BYTES_MESSAGE, block, sender)
        else:
            kind = PID_MESSAGE if is_pid else WORD_MESSAGE
            taken = calls.deliver(self.table.host, to, kind, value & 0xFFFF_FFFF, sender)
        self.flush()
        return bool(taken)

    def kill(self, pid: int, reason: int = KILLED) -> bool:
        """End a process with a reason; whether there was one."""
        done = bool(calls.kill(self.table.host, pid, reason))
        self.flush()
        return done

    def flush(self) -> None:
        """Let those run whom this thread has woken."""
        self.table.flush()
        self._workers.pump()

    def run_woken(self) -> None:
        """The same, on this thread where that is sooner."""
        self._workers.run_woken()

    def mailbox(self, name: str = "") -> Mailbox:
        """A pid and a mailbox for Python, with a name for programs to find it by, or none.

        Raises:
            TooManyProcessesError: there is no room for one.
            WrongNameError: it cannot be called that.
        """
        self._check_name(name)
        record = self.table.allocate(MAILBOX)
        if record is None:
            raise TooManyProcessesError(self.table.shared.slots - 1)
        box = self._mailboxes[record.pid] = Mailbox(self, record)
        if name:
            self.names.register(name, int(record.pid))
        return box

    def close_mailbox(self, record: Record, reason: int = 0) -> None:
        """End a session's or a mailbox's pid."""
        self._mailboxes.pop(record.pid, None)
        self.names.forget(record.pid)
        record.worker = ctypes.addressof(self.table.host)
        calls.close_mailbox(self.table.host, record, reason)
        self.flush()
        calls.release_memory(record)
        calls.release_slot(self.table.shared, record)

    def session_record(self, screen: Screen | None = None) -> Record | None:
        """A slot for the VM of a session, so that it can send and receive; None where there is none left.

        Args:
            screen: is shown what the children of that VM print, and how those ended that did not end normally.
        """
        record = self.table.allocate(SESSION)
        if record is not None and screen is not None:
            self._screens[int(record.pid)] = screen
        return record

    def end_session(self, record: Record) -> None:
        """Take it back; it has been stopped, and is free once no worker comes across it any more."""
        self._screens.pop(int(record.pid), None)
        self._workers.when_dropped(record, lambda: self.close_mailbox(record))

    def screen_of(self, pid: int) -> Screen | None:
        """Who sees what the children of a session print."""
        return self._screens.get(pid)

    def take_messages(self, record: Record, most: int) -> list[Any]:
        """The messages of a session, taken out of its mailbox."""
        messages: list[Any] = []
        while len(messages) < most and (message := take(record)) is not None:
            messages.append(message)
        return messages

    def observe(
        self, pid: int, on_output: Callable[[str], None], on_end: Callable[[Exit], None] = lambda how: None
    ) -> Callable[[], None] | None:
        """Watch a process of this node from now on.

        Args:
            pid: which.
            on_output: called with what it prints.
            on_end: called once it has ended.

        Returns:
            What ends the watching; None if there is no such process.
        """
        if not self._care(pid):
            return None
        return self.outputs.observe(pid, on_output, on_end)

    def _care(self, pid: int) -> bool:
        """Hear of the end of a process, however it ends, until when its memory lasts; whether it lives."""
        # Under its lock: else it could end at this moment without a word.
        address = calls.acquire_process(self.table.shared, pid)
        if not address:
            return False
        record = Record.from_address(address)
        is_process = record.kind == PROCESS
        if is_process:
            record.host_cares = 1
        calls.release_mailbox(record)
        if is_process:
            self.outputs.renew(pid)
        return is_process

    def hold(self, pid: int) -> None:
        """Take none of what a process prints, until :meth:`let_go` was called as often: its ring keeps that, and
        once it is full the process waits.
        """
        self._held[pid] += 1

    def let_go(self, pid: int) -> None:
        """Take it again; of one that has ended meanwhile that is told after the rest of its output."""
        if pid not in self._held:
            return  # it has ended, and all of its output was read
        self._held[pid] -= 1
        if self._held[pid]:
            return
        del self._held[pid]
        dead = self._unburied.pop(pid, None)
        if dead is not None:
            self._bury(dead)
            return
        record = self.table.find(pid)
        if record is None or not self._care(pid):
            return
        self._drain(record)
        if pid in self._stuck and pid not in self._held:
            self._stuck.remove(pid)
            self._workers.resume(record)

    def live(self, pid: int, node: str = "") -> Live | None:
        """What a process is doing, or None if there is none."""
        record = self.table.find(pid)
        if record is None or not self._care(pid):
            return None
        found = self.views.live(record, node, self.outputs.of(pid)[-LAST_WORDS:])
        return None if found is None else msgspec.structs.replace(found, events=self._events_of(pid))

    def running(self, node: str = "") -> list[ProcessInfo]:
        """The processes that live, some of them."""
        return self.views.running(node)

    def handle(self, pid: int) -> Process | None:
        """The process object of a pid that Python has spawned and that lives."""
        return self._handles.get(pid)

    # What happens.

    def _happened(self, record: Record, ended: bool) -> None:
        """The runtime has something to tell of a process, a session or a mailbox."""
        if record.kind == MAILBOX:
            box = self._mailboxes.get(record.pid)
            if box is not None:
                box.arrived()
            return
        if record.kind == ENDED:
            # An event from before its end may come while a worker still ends it; that is over when it is idle.
            if record.state == IDLE:
                self._bury(record)
            return
        # One that ends at this moment, in another thread, is told of once more if it has left anything.
        if record.kind == PROCESS and self._care(record.pid):
            self._drain(record)
        if record.kind == ENDED:
            return
        if ended and record.stop == Stop.WAITING and record.kind in (PROCESS, SESSION):
            if record.waiting == Waiting.SERVICE:
                self.services.serve(record)
            elif record.waiting == Waiting.OUTPUT_ROOM:
                if record.pid in self._held:
                    self._stuck.add(int(record.pid))
                else:
                    self._workers.resume(record)

    def _bury(self, record: Record) -> None:
        """One has ended: that is told once all of its output is read."""
        pid = int(record.pid)
        self._stuck.discard(pid)
        read = True  # also where an observer fails
        try:
            read = self._drain(record)
        finally:
            if read:
                self._held.pop(pid, None)
                self._buried(record)
            else:
                self._unburied[pid] = record

    def _drain(self, record: Record) -> bool:
        """Read what a process has printed, unless it is held; whether nothing is left."""
        vm = self.views.vm_of(record)
        pid = int(record.pid)
        while vm is not None and len(vm.output):
            if pid in self._held:
                return False
            text = vm.output.take()
            self.outputs.add(pid, text)
            # Whoever spawned it through Python has said who sees it.
            screen = None if pid in self._handles else self._screens.get(record.parent)
            if screen is not None:
                screen.printed(pid, text)
        return True

    def _buried(self, record: Record) -> None:
        pid, reason = int(record.pid), int(record.exit_reason)
        vm = self.views.vm_of(record)
        text = reason_text(reason)
        fault = ""
        if vm is not None and reason != 0:
            dead = self.graveyard.bury(
                vm, pid, self.names.name_of(pid), self.views.title_of(record), reason, text, self.outputs.of(pid)
            )
            fault = dead.fault
        self.views.forget(record)
        handle = self._handles.pop(pid, None)
        self.names.forget(pid)
        parent = int(record.parent)
        how = Exit(reason, text, fault)
        if vm is None or self.on_end(vm, pid, how):
            calls.discard(self.table.shared, record)
        if reason < 0:
            self._events.add("process-crashed" if fault else "process-ended", str(pid), fault or text)
        elif handle is not None:
            self._events.add("process-ended", str(pid), text)
        self.outputs.forget(pid, how)
        if handle is not None:
            handle._ended(how)
        elif reason != 0 and parent in self._screens:
            self._screens[parent].ended(pid, how)

    def why(self, pid: int) -> Dead | Past | None:
        """How the last process with a pid ended, if that is still known: of a normal end there is less to tell."""
        how = self.outputs.ended(pid)
        found: Dead | Past | None = self.graveyard.find(pid)
        if found is None or (how is not None and not how.reason):
            found = self.past(pid)
        if found is None:
            return None
        return msgspec.structs.replace(found, output=found.output[-LAST_WORDS:], events=self._events_of(pid))

    def _events_of(self, pid: int) -> list[Event]:
        """The last events that are about a process."""
        subject = str(pid)
        return [event for event in self._events.recent() if event.subject == subject][-LAST_EVENTS:]

    def past(self, pid: int) -> Past | None:
        """What is kept of the output of the last process with a pid, if it has ended and that is still known."""
        how = self.outputs.ended(pid)
        return None if how is None else Past(pid, how, self.outputs.of(pid))

    def stop(self) -> None:
        """The node ends; nothing is told to anybody any more."""
        self._workers.on_process = lambda record, ended: None
        for box in list(self._mailboxes.values()):
            box.close()
