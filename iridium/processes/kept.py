"""What a node keeps of its processes: what they printed, and how those that ended abnormally did."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from iridium.isa import WORD
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


class Outputs:
    """What processes printed, the last of it; and who watches it."""

    def __init__(self) -> None:
        self._texts: OrderedDict[int, str] = OrderedDict()
        self._observers: dict[int, list[Callable[[str], None]]] = {}

    def add(self, pid: int, text: str) -> None:
        """A process has printed."""
        self._texts[pid] = (self._texts.pop(pid, "") + text)[-MOST_TEXT:]
        if len(self._texts) > MOST_OUTPUTS:
            self._texts.popitem(last=False)
        for observer in list(self._observers.get(pid, ())):
            observer(text)

    def of(self, pid: int) -> str:
        """What is kept of a process."""
        return self._texts.get(pid, "")

    def observe(self, pid: int, observer: Callable[[str], None]) -> Callable[[], None]:
        """Call somebody with what a process prints from now on, until the returned function is called."""
        self._observers.setdefault(pid, []).append(observer)

        def stop() -> None:
            observers = self._observers.get(pid, [])
            if observer in observers:
                observers.remove(observer)
            if not observers:
                self._observers.pop(pid, None)

        return stop

    def forget(self, pid: int) -> None:
        """A process has ended: its pid will be another's."""
        self._observers.pop(pid, None)


class Graveyard:
    """The dead, the last of them."""

    def __init__(self) -> None:
        self._dead: deque[Dead] = deque(maxlen=MOST_DEAD)

    def bury(self, vm: VM, pid: int, name: str, program: str, reason: int, text: str, output: str) -> Dead:
        """Keep what is known of a process, before its memory is given back."""
        from iridium.assembler import format_instruction

        record = vm.record
        crash = describe(vm) if record.stop == Stop.FAULT else None
        word = vm.program.word_at(record.pc if crash else record.pc - WORD)
        depth = record.sp
        dead = Dead(
            pid=pid,
            name=name,
            program=program,
            reason=reason,
            text=text,
            fault="" if crash is None else str(crash),
            instruction="" if word is None else format_instruction(word, vm.program.version),
            pc=record.pc,
            line=None if crash is None else crash.line,
            instructions=record.instructions,
            registers=list(record.registers),
            stack=vm.map_stack()[max(0, depth - 8) : depth].tolist()[::-1] if depth else [],
            output=output[-1024:],
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
