"""One program, or one line of a session, on its way through the scheduler: output as it comes, then how it ended.

Reaching the end of a session's code is a pause and no fault, because the next line goes there. An engine knows no
such thing: it faults. Running past the last instruction is recognised by pc; whether a jump, a call or a return
went there is found out by executing it once more with a HLT behind the code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from twisted.internet.defer import Deferred

from iridium.isa import BY_NAME, FIRST_OF_PROCESSES, WORD, Fault
from iridium.scheduler import Engine, Scheduler
from iridium.vm import VM, Crash, Stop
from iridium.vm.reference import Turn

PIECE = 64 * 1024
"""Characters of output that are written at once: what a transport takes before it asks to wait."""

_HLT = BY_NAME["HLT"].encode()

Outcome = Literal["end", "halted", "fault", "stopped", "limit", "failed"]
"""How it ended: at the end of the code, by HLT, a fault, somebody, the limit, or a bug of the engine."""


class Ending(NamedTuple):
    """How an execution ended.

    Attributes:
        outcome: in a word.
        pc: where the VM is now.
        code: the code of HLT or HLTR, where that ended it.
        crash: the fault, where that ended it.
        executed: instructions that completed.
    """

    outcome: Outcome
    pc: int
    code: int | None
    crash: Crash | None
    executed: int


class Execution:
    """Runs a VM from its pc until it ends or is stopped.

    Args:
        scheduler: gives the turns.
        vm: the machine, whose program nobody else runs.
        write: takes what is printed.
        limit: the most instructions, or None.
        paused: whether nothing may be written for now.
        whole: whether the program is all there is, so that running past its end is a fault.

    Attributes:
        done: fires with the :class:`Ending`, once all output is written.

    Raises:
        TooManyRunningError: the scheduler has no room.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        vm: VM,
        write: Callable[[str], None],
        *,
        limit: int | None = None,
        paused: bool = False,
        whole: bool = False,
    ) -> None:
        self.done: Deferred[Ending] = Deferred()
        self._engine = scheduler.engine
        self._vm = vm
        self._write = write
        self._paused = paused
        self._whole = whole
        self._before = vm.record.instructions
        self._ending: Ending | None = None
        self._task = scheduler.start(vm, self._stopped, self._printed, limit=limit)

    @property
    def held_back(self) -> bool:
        """Whether it has no turns on the reactor thread until its account is filled up."""
        return self._task.parked

    def stop(self) -> None:
        """End it at once; what it printed and nobody has read is dropped."""
        self._task.stop()
        self._vm.output.clear()
        self._finish(self._ending or self._end("stopped"))

    def pause(self) -> None:
        """Write nothing more; a program that goes on printing waits."""
        self._paused = True

    def resume(self) -> None:
        """Write again."""
        self._paused = False
        self._drain()

    def _printed(self, vm: VM) -> None:
        self._drain()

    def _stopped(self, vm: VM, turn: Turn | None) -> None:
        record = vm.record
        if turn is None:
            self._ending = self._end("failed")
        elif turn.stop is Stop.HALTED:
            self._ending = self._end("halted")._replace(code=record.stop_code)
        elif turn.stop is Stop.BUDGET:
            self._ending = self._end("limit")
        elif not self._whole and _reached_end(vm, self._engine):
            record.stop = Stop.BUDGET
            record.fault = 0
            self._ending = self._end("end")
        else:
            self._ending = self._end("fault")._replace(crash=vm.crash)
        self._drain()

    def _end(self, outcome: Outcome) -> Ending:
        record = self._vm.record
        return Ending(outcome, record.pc, None, None, record.instructions - self._before)

    def _drain(self) -> None:
        """Write what was printed, as far as it may be, and finish when nothing is left."""
        output = self._vm.output
        while len(output) and not self._paused:
            self._write(output.take(PIECE))
        if len(output):
            return
        if self._ending is not None:
            self._finish(self._ending)
        else:
            self._task.wake()

    def _finish(self, ending: Ending) -> None:
        if not self.done.called:
            self.done.callback(ending)


def _reached_end(vm: VM, engine: Engine) -> bool:
    """Whether a fault is only the end of the code; if so, the VM stands there afterwards, at pc = end."""
    record, program = vm.record, vm.program
    end = program.end
    if record.fault != Fault.BAD_JUMP.number or record.pc == end:
        return record.fault == Fault.BAD_JUMP.number
    word = program.word_at(record.pc)
    if word is None or word[0] >= FIRST_OF_PROCESSES:
        return False  # where a process was to begin: it must not begin here
    program.append(_HLT)
    # The faulting instruction has changed nothing, so it can be executed again; the second is the HLT, or none.
    turn = engine(vm, 2)
    reached = turn.stop is Stop.HALTED and record.pc == end + WORD
    if reached:
        record.pc = end
        record.instructions -= 1
    program.truncate(end)
    return reached
