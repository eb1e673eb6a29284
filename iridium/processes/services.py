"""What processes ask their node for: names, and processes on other nodes. The node answers while they wait."""

from __future__ import annotations

from collections.abc import Callable

from iridium.isa import BY_OPCODE
from iridium.processes.names import Names
from iridium.scheduler.table import ProcessTable
from iridium.vm.output import read_string
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime.layout import PROCESS, SESSION

Answer = Callable[[int, bool], None]
"""Takes the value and the flag that a process has asked its node for."""


class Services:
    """The services of a node.

    Args:
        table: the processes of this node.
        names: what they are called.
        spawn_here: starts a process for another, at an address of its program; gives its pid, or 0.
        resume: lets a process go on that has its answer.

    Attributes:
        spawn_away: answers SPAWNON for another node than this; set by whoever knows other nodes.
        whereis_away: answers WHEREIS of ``name@node``, likewise.
    """

    def __init__(
        self,
        table: ProcessTable,
        names: Names,
        spawn_here: Callable[[Record, Program, int], int],
        resume: Callable[[Record], None],
    ) -> None:
        self._table = table
        self._names = names
        self._spawn_here = spawn_here
        self._resume = resume
        self.spawn_away: Callable[[Record, Program, str | int, int, Answer], None] | None = None
        self.whereis_away: Callable[[str, str, Answer], None] | None = None

    def serve(self, record: Record) -> None:
        """Answer a process that waits for it."""
        # It may be killed or stopped meanwhile, and its slot be another's or its question another.
        pid, turns = int(record.pid), int(record.turns)
        program = self._table.program_of(record)
        word = None if program is None else program.word_at(record.pc)
        answered = False

        def answer(value: int, good: bool) -> None:
            nonlocal answered
            # It may have been killed meanwhile, and its slot may be another's; a session may have stopped it.
            waits = record.pid == pid and record.kind in (PROCESS, SESSION) and record.turns == turns
            if not answered and waits and not record.stop_requested:
                answered = True
                record.answer = value
                record.answered = 2 if good else 1
                self._resume(record)

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
            answer(0, self._names.register(name, pid))
            return
        name, at, node = name.partition("@")
        if not at:
            found = self._names.whereis(name)
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
            pid = self._spawn_here(record, program, pc)
            answer(pid, pid != 0)
        else:
            self.spawn_away(record, program, where, pc, answer)
