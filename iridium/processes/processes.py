"""The processes of a node, as the node, its shell and Python programs use them."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from iridium.events import EventRing
from iridium.isa import BY_OPCODE
from iridium.processes.kept import (
    LAST_WORDS,
    MOST_TEXT,
    Dead,
    Graveyard,
    Live,
    Outputs,
    instruction_at,
    top_of_stack,
)
from iridium.processes.mailbox import Mailbox, take
from iridium.processes.names import Names
from iridium.processes.types import Exit, ProcessInfo, TooManyProcessesError, reason_text
from iridium.vm import VM
from iridium.vm.crash import describe
from iridium.vm.output import read_string
from iridium.vm.program import Program
from iridium.vm.record import Record, Stop, Waiting
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import (
    ASLEEP,
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

MOST_LISTED = 1000
"""Processes of one node in a list: a node can have a hundred thousand, and nobody reads them."""

MOST_VIEWS = 4096
"""Processes that a view for reading their output is kept of; others are made again."""

Answer = Callable[[int, bool], None]
"""Takes the value and the flag that a process has asked its node for."""


class Screen(Protocol):
    """Sees what the processes that a session has spawned do."""

    def printed(self, pid: int, text: str) -> None:
        """One of them has printed."""

    def ended(self, pid: int, how: Exit) -> None:
        """One of them has not ended normally."""


class Process:
    """A process that Python has spawned, or asked for.

    Attributes:
        pid: its number on this node.
        exit: how it ended, or None while it lives.
    """

    def __init__(self, processes: Processes, pid: int) -> None:
        self._processes = processes
        self.pid = pid
        self.exit: Exit | None = None
        self._waiting: list[Deferred[Exit]] = []
        self._output: str | None = None  # of a process of another node

    def when_done(self) -> Deferred[Exit]:
        """Fires when it has ended, with how; at once if it has already. Each call gives a Deferred of its own."""
        if self.exit is not None:
            return succeed(self.exit)
        waiting: Deferred[Exit] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def send(self, value: int | bytes, *, is_pid: bool = False) -> bool:
        """Send it a message, from nobody; whether it was taken."""
        return self._processes.send(self.pid, value, is_pid=is_pid)

    def kill(self) -> bool:
        """End it; whether it lived."""
        return self._processes.kill(self.pid)

    @property
    def output(self) -> str:
        """What it has printed, the last of it."""
        return self._processes.outputs.of(self.pid) if self._output is None else self._output

    def _printed(self, text: str) -> None:
        """One of another node has printed."""
        self._output = ((self._output or "") + text)[-MOST_TEXT:]

    def _ended(self, how: Exit) -> None:
        self.exit = how
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(how)


class Processes:
    """The processes of a node.

    Args:
        scheduler: runs them.
        events: where to tell of those that start and crash.

    Attributes:
        names: who is called what.
        outputs: what they printed.
        graveyard: those that ended abnormally.
        spawn_away: answers SPAWNON for another node than this; set by whoever knows other nodes.
        whereis_away: answers WHEREIS of ``name@node``, likewise.
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
        self.spawn_away: Callable[[Record, Program, str | int, int, Answer], None] | None = None
        self.whereis_away: Callable[[str, str, Answer], None] | None = None
        self.on_end: Callable[[VM, int, Exit], bool] = lambda vm, pid, how: True
        self._handles: dict[int, Process] = {}
        self._mailboxes: dict[int, Mailbox] = {}
        self._screens: dict[int, Screen] = {}  # who sees what the children of a session print, by its pid
        self._views: OrderedDict[int, VM] = OrderedDict()

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
            Fires with the process once it has started, which is at once unless machine code is still to be loaded;
            errbacks with TooManyProcessesError.
        """
        spawned: Deferred[Process] = Deferred()

        def start() -> None:
            try:
                spawned.callback(self._spawn(program, registers, name, title, on_output, parent, pc))
            except Exception:
                spawned.errback()

        self._workers.when_ready(start)
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
        program = program.frozen()
        program.title = program.title or title
        record = self.table.begin(program, registers, pc, parent)
        if record is None:
            raise TooManyProcessesError(self.table.shared.slots - 1)
        pid = int(record.pid)
        record.host_cares = 1
        self._workers.watch_heat(program)
        if name:
            self.names.register(name, pid)
        if on_output is not None:
            self.outputs.observe(pid, on_output)
        process = self._handles[pid] = Process(self, pid)
        self._events.add("process-started", str(pid), title)
        self.table.start(record)
        self._workers.pump()
        return process

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call something once processes can run: at once, or when machine code is loaded."""
        self._workers.when_ready(call)

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
        """A process that another node wants, which has no turns until :meth:`let_run`; its pid, or 0."""
        program.title = program.title or title
        new = self.table.begin(program, None, pc, parent)
        if new is None:
            return 0
        ctypes.memmove(ctypes.addressof(new), registers, min(len(registers), REGISTERS))
        if name:
            self.names.register(name, int(new.pid))
        self._workers.watch_heat(program)
        return int(new.pid)

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

    def mailbox(self) -> Mailbox:
        """A pid and a mailbox for Python.

        Raises:
            TooManyProcessesError: there is no room for one.
        """
        record = self.table.allocate(MAILBOX)
        if record is None:
            raise TooManyProcessesError(self.table.shared.slots - 1)
        box = self._mailboxes[record.pid] = Mailbox(self, record)
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
        return is_process

    def live(self, pid: int, node: str = "") -> Live | None:
        """What a process is doing, or None if there is none."""
        record = self.table.find(pid)
        vm = None if record is None or not self._care(pid) else self.view(record)
        if record is None or vm is None:
            return None
        return Live(
            self._info(record, node),
            instruction_at(vm, record.pc),
            int(record.pc),
            vm.program.image.line_of(record.pc),
            list(record.registers),
            top_of_stack(vm),
            self.outputs.of(pid)[-LAST_WORDS:],
        )

    def handle(self, pid: int) -> Process | None:
        """The process object of a pid that Python has spawned and that lives."""
        return self._handles.get(pid)

    def running(self, node: str = "") -> list[ProcessInfo]:
        """The processes that live, at most :data:`MOST_LISTED` of them."""
        found: list[ProcessInfo] = []
        for record in self.table.records():
            if record.kind not in (PROCESS, SESSION, MAILBOX):
                continue
            found.append(self._info(record, node))
            if len(found) >= MOST_LISTED:
                break
        return found

    def _info(self, record: Record, node: str) -> ProcessInfo:
        pid = int(record.pid)
        return ProcessInfo(
            node=node,
            pid=pid,
            name=self.names.name_of(pid),
            program={SESSION: "(a session)", MAILBOX: "(Python)"}.get(record.kind) or self.title_of(record),
            state=_state(record),
            instructions=int(record.instructions),
            mailbox=int(record.mailbox_count),
            parent=int(record.parent),
        )

    def title_of(self, record: Record) -> str:
        """What the program of a process is called."""
        program = self.table.program_of(record)
        if program is None:
            return ""
        if not program.title:
            program.title = program.content_hash()[:12]
        return program.title

    def view(self, record: Record) -> VM | None:
        """A process as a VM, to look at."""
        address = ctypes.addressof(record)
        program = self.table.program_of(record)
        if program is None:
            return None
        vm = self._views.get(address)
        if vm is None or vm.program is not program:
            vm = self._views[address] = VM.attach(program, record)
            if len(self._views) > MOST_VIEWS:
                self._views.popitem(last=False)
        return vm

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
                self._drain(record)
                self._buried(record)
            return
        # One that ends at this moment, in another thread, is told of once more if it has left anything.
        if record.kind == PROCESS and self._care(record.pid):
            self._drain(record)
        if record.kind == ENDED:
            return
        if ended and record.stop == Stop.WAITING and record.kind in (PROCESS, SESSION):
            if record.waiting == Waiting.SERVICE:
                self._serve(record)
            elif record.waiting == Waiting.OUTPUT_ROOM:
                self._workers.resume(record)

    def _drain(self, record: Record) -> None:
        vm = self.view(record)
        while vm is not None and len(vm.output):
            text = vm.output.take()
            pid = int(record.pid)
            self.outputs.add(pid, text)
            # Whoever spawned it through Python has said who sees it.
            screen = None if pid in self._handles else self._screens.get(record.parent)
            if screen is not None:
                screen.printed(pid, text)

    def _buried(self, record: Record) -> None:
        pid, reason = int(record.pid), int(record.exit_reason)
        vm = self.view(record)
        text = reason_text(reason)
        fault = ""
        if vm is not None and reason != 0:
            dead = self.graveyard.bury(
                vm, pid, self.names.name_of(pid), self.title_of(record), reason, text, self.outputs.of(pid)
            )
            fault = dead.fault
        self._views.pop(ctypes.addressof(record), None)
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

    def why(self, pid: int) -> Dead | None:
        """How a process ended abnormally, if that is still known."""
        return self.graveyard.find(pid)

    def crash_of(self, record: Record) -> str:
        """The fault of a process, in words."""
        vm = self.view(record)
        return str(describe(vm)) if vm is not None else ""

    # Services: what a process asks its node for.

    def _serve(self, record: Record) -> None:
        # It may be killed or stopped meanwhile, and its slot be another's or its question another.
        pid, turns = int(record.pid), record.turns
        program = self.table.program_of(record)
        word = None if program is None else program.word_at(record.pc)
        answered = False

        turns = int(record.turns)

        def answer(value: int, good: bool) -> None:
            nonlocal answered
            # It may have been killed meanwhile, and its slot may be another's; a session may have stopped it.
            waits = record.pid == pid and record.kind in (PROCESS, SESSION) and record.turns == turns
            if not answered and waits and not record.stop_requested:
                answered = True
                record.answer = value
                record.answered = 2 if good else 1
                self._workers.resume(record)

        if program is None or word is None:
            answer(0, False)
            return
        row = BY_OPCODE[word[0]]
        operands = row.decode(word)
        values = [record.registers[operand] for operand in operands]
        if row.name == "SPAWNON":
            self._spawn_on(record, program, values, answer)
            return
        name = str(read_string(program.read_only, values[0] & 0xFFFF_FFFF))
        if row.name == "REGISTER":
            answer(0, self.names.register(name, pid))
            return
        name, at, node = name.partition("@")
        if not at:
            found = self.names.whereis(name)
            answer(found, found != 0)
        elif self.whereis_away is None:
            answer(0, False)
        else:
            self.whereis_away(name, node, answer)

    def _spawn_on(self, record: Record, program: Program, values: list[int], answer: Answer) -> None:
        pc, node = values[0], values[1]
        where: str | int = node if node < 0 else str(read_string(program.read_only, node))
        if where == -1 or self.spawn_away is None:
            if where != -1:
                answer(0, False)
                return
            pid = self.spawn_here(record, program, pc)
            answer(pid, pid != 0)
        else:
            self.spawn_away(record, program, where, pc, answer)

    def stop(self) -> None:
        """The node ends; nothing is told to anybody any more."""
        self._workers.on_process = lambda record, ended: None
        for box in list(self._mailboxes.values()):
            box.close()


def _state(record: Record) -> str:
    if record.kind == MAILBOX:
        return "-"
    if record.kind == SESSION and record.state == IDLE:
        return "idle"
    if record.state == ASLEEP:
        return "sleeping" if record.waiting == Waiting.TIME else "waiting"
    if record.stop == Stop.WAITING and record.waiting in (Waiting.SERVICE, Waiting.OUTPUT_ROOM):
        return "asking"
    return "running"
