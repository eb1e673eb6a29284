"""What a node keeps of its processes: what they printed, and how those that ended abnormally did."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from iridium.events import Event
from iridium.isa import WORD
from iridium.processes.types import Exit, ProcessInfo
from iridium.vm.crash import describe
from iridium.vm.record import Stop

if TYPE_CHECKING:
    from iridium.vm import VM

MOST_TEXT = 16 * 1024
"""Characters of output that are kept of one process: the last of them."""

MOST_OUTPUTS = 1024
"""Processes whose output is kept; the one that printed longest ago is dropped."""

MOST_DEAD = 256
"""Dead that are kept."""

MOST_SILENT = 256
"""Ends that are kept of processes that have printed nothing."""

LAST_WORDS = 1024
"""Characters of output that are told of a process that somebody asks about: a few lines."""

LAST_EVENTS = 8
"""Events that are told of it."""

TOP = 8
"""Words of a stack that are told."""


class Dead(msgspec.Struct, frozen=True):
    """A process that has ended, as it was.

    Attributes:
        pid, name, program: which it was.
        reason: its exit reason.
        text: the same in words.
        fault: of a crash: which, where and what was wrong; else "".
        instruction: the instruction that it was at, as far as known.
        pc: where that is.
        line: its line in the source, or None.
        instructions: executed.
        registers: all 32.
        stack: words on top of the stack, the top first.
        output: the last that it printed.
        time: Unix seconds.
        events: the last of its node that are about it.
        node: the alias or id of its node, where that is another.
    """

    pid: int
    name: str
    program: str
    reason: int
    text: str
    fault: str
    instruction: str
    pc: int
    line: int | None
    instructions: int
    registers: list[int]
    stack: list[int]
    output: str
    time: float
    events: list[Event] = []
    node: str = ""


class Live(msgspec.Struct, frozen=True):
    """A process as it is at this moment; while it runs, as it was when its last turn ended.

    Attributes:
        info: as in a list.
        instruction: the one that comes next.
        pc: where that is.
        line: its line in the source, or None.
        registers: all 32.
        stack: words on top of the stack, the top first.
        output: the last that it printed.
        events: the last of its node that are about it.
    """

    info: ProcessInfo
    instruction: str
    pc: int
    line: int | None
    registers: list[int]
    stack: list[int]
    output: str
    events: list[Event] = []


def instruction_at(vm: VM, pc: int) -> str:
    """The instruction at an address, or "" where there is none."""
    from iridium.assembler import format_instruction

    word = vm.program.word_at(pc)
    return "" if word is None else format_instruction(word, vm.program.version)


def top_of_stack(vm: VM) -> list[int]:
    """The words on top of a stack, the top first."""
    depth = vm.record.sp
    return vm.map_stack()[max(0, depth - TOP) : depth].tolist()[::-1] if depth else []


class Past(msgspec.Struct, frozen=True):
    """A process that has ended, where no more is known of it than this.

    Attributes:
        pid: on its node.
        how: its end.
        output: what is kept of what it printed.
        events: the last of its node that are about it.
        node: the alias or id of its node, where that is another.
        note: why no more is known, where that is no matter of course.
    """

    pid: int
    how: Exit
    output: str
    events: list[Event] = []
    node: str = ""
    note: str = ""


class Observer:
    """Who watches a process.

    Args:
        on_output: called with what it prints.
        on_end: called with how it ended, after the last of its output.
        on_missed: called with how many characters of its output are missing, where they are.

    Attributes:
        number: of the observation of a process of another node.
    """

    __slots__ = ("number", "on_end", "on_missed", "on_output")

    def __init__(
        self,
        on_output: Callable[[str], None],
        on_end: Callable[[Exit], None],
        on_missed: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.on_output = on_output
        self.on_end = on_end
        self.on_missed = on_missed
        self.number = 0


class Outputs:
    """What processes printed, the last of it; who watches it; and how those ended whose pids are nobody's yet."""

    def __init__(self) -> None:
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._observers: dict[int, list[Observer]] = {}
        self._ends: dict[int, Exit] = {}  # of those whose text is kept
        self._silent: OrderedDict[int, Exit] = OrderedDict()  # of those that have printed nothing

    def add(self, pid: int, text: str) -> None:
        """A process has printed."""
        self.renew(pid)
        self._texts[pid] = (self._texts.pop(pid, "") + text)[-MOST_TEXT:]
        if len(self._texts) > MOST_OUTPUTS:
            oldest, _ = self._texts.popitem(last=False)
            self._ends.pop(oldest, None)
        for observer in list(self._observers.get(pid, ())):
            observer.on_output(text)

    def of(self, pid: int) -> str:
        """What is kept of a process."""
        return self._texts.get(pid, "")

    def ended(self, pid: int) -> Exit | None:
        """How the last process with a pid ended; None where that is not known."""
        return self._ends.get(pid) or self._silent.get(pid)

    def renew(self, pid: int) -> None:
        """A process lives that has this pid: what is kept of an earlier one is nobody's any more."""
        if self._ends.pop(pid, None) is not None:
            self._texts.pop(pid, None)
        self._silent.pop(pid, None)

    def observe(
        self, pid: int, on_output: Callable[[str], None], on_end: Callable[[Exit], None] = lambda how: None
    ) -> Callable[[], None]:
        """Watch a process from now on, until it ends or the returned function is called."""
        observer = Observer(on_output, on_end)
        self._observers.setdefault(pid, []).append(observer)

        def stop() -> None:
            observers = self._observers.get(pid, [])
            if observer in observers:
                observers.remove(observer)
            if not observers:
                self._observers.pop(pid, None)

        return stop

    def forget(self, pid: int, how: Exit) -> None:
        """A process has ended: its pid will be another's, and until then its output is kept."""
        self.renew(pid)
        if pid in self._texts:
            self._ends[pid] = how
        else:
            self._silent[pid] = how
            if len(self._silent) > MOST_SILENT:
                self._silent.popitem(last=False)
        for observer in self._observers.pop(pid, ()):
            observer.on_end(how)


class Graveyard:
    """The dead, the last of them."""

    def __init__(self) -> None:
        self._dead: deque[Dead] = deque(maxlen=MOST_DEAD)

    def bury(self, vm: VM, pid: int, name: str, program: str, reason: int, text: str, output: str) -> Dead:
        """Keep what is known of a process, before its memory is given back."""
        record = vm.record
        crash = describe(vm) if record.stop == Stop.FAULT else None
        # A halt goes on behind itself; what faults or waits stays where it is.
        pc = record.pc - WORD if record.stop == Stop.HALTED else record.pc
        dead = Dead(
            pid=pid,
            name=name,
            program=program,
            reason=reason,
            text=text,
            fault="" if crash is None else str(crash),
            instruction=instruction_at(vm, pc),
            pc=pc,
            line=vm.program.image.line_of(pc),
            instructions=record.instructions,
            registers=list(record.registers),
            stack=top_of_stack(vm),
            output=output[-LAST_WORDS:],
            time=time.time(),
        )
        self._dead.append(dead)
        return dead

    def find(self, pid: int) -> Dead | None:
        """The last with a pid."""
        return next((dead for dead in reversed(self._dead) if dead.pid == pid), None)

    def all(self) -> list[Dead]:
        """All of them, the oldest first."""
        return list(self._dead)
