"""The reference engine: plain Python, for reading, stepping, and checking every other engine.

A program is decoded once into closures, one an instruction, over a scratch register file. A turn copies the state
record into the scratch file, calls closures until the budget is used or one of them leaves by an exception, and
copies back. A closure returns the index of the instruction that runs next, so the loop has nothing to decode.
What each instruction does stands in :mod:`iridium.vm.semantics`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import NamedTuple

from iridium.image import legal_opcodes
from iridium.isa import BY_OPCODE, CODE, REGISTERS, WORD, Fault
from iridium.vm.machine import VM
from iridium.vm.program import Program
from iridium.vm.record import Record, Stop
from iridium.vm.semantics import Halt, Scratch, Step, Trap, Wait, meaning, trap

# The part of a record that a turn copies, in the record's order: 32 f64, 32 i32, then remainder, bp and
# pc, sp, equal_flag, loop_counter.
_STATE = struct.Struct(f"={REGISTERS}d{REGISTERS}i2i4I")
_SCALARS = 2 * REGISTERS


class Turn(NamedTuple):
    """How a turn ended.

    Attributes:
        stop: why.
        left: how much of the budget was not used; never negative.
    """

    stop: Stop
    left: int


class Decoded:
    """A program as closures: ``steps[i]`` executes instruction i.

    One more step stands at the end, for a program that runs past its last instruction.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.scratch = Scratch(program)
        self.steps: list[Step] = []
        self._legal = legal_opcodes(program.version)
        # Instructions that name an address which is not in the code yet: it may come when the code grows.
        self._dangling: list[int] = []
        # And those that name one which is, by its index: they dangle once it is cut off.
        self._sources: dict[int, list[int]] = {}
        self.extend()

    def extend(self) -> None:
        """Decode what was added to the program's code."""
        steps = self.steps
        del steps[self.scratch.count :]
        first, self.scratch.count = self.scratch.count, len(self.program.code) // WORD
        dangling, self._dangling = self._dangling, []
        for index in dangling:
            steps[index] = self._decode(index)
        steps.extend([self._decode(index) for index in range(first, self.scratch.count)])
        steps.append(trap(Fault.BAD_JUMP))

    def truncate(self) -> None:
        """Forget what was cut off the program's code; what still goes there dangles again."""
        count = len(self.program.code) // WORD
        cut = [source for target in range(count, self.scratch.count) for source in self._sources.pop(target, ())]
        self._dangling = [source for source in self._dangling + cut if source < count]
        del self.steps[count:]
        self.scratch.count = count
        self.extend()

    def _decode(self, index: int) -> Step:
        word = self.program.code[WORD * index : WORD * index + WORD]
        if word[0] not in self._legal:
            return trap(Fault.ILLEGAL_OPCODE)
        row = BY_OPCODE[word[0]]
        operands: list[int | None] = []
        for kind, value in zip(row.operands, row.decode(word), strict=True):
            if kind.register and value >= REGISTERS:
                return trap(Fault.BAD_REGISTER)
            if kind is CODE:
                target = self.scratch.index_of(value)
                if target is None:
                    self._dangling.append(index)
                else:
                    self._sources.setdefault(target, []).append(index)
                operands.append(target)
            else:
                operands.append(value)
        factory: Callable[..., Step] = meaning(row.name)
        return factory(self.scratch, index + 1, *operands)


_attached: dict[int, VM] = {}
"""The VMs that run at other people's records, by the record's address."""

MOST_ATTACHED = 4096
"""How many of them are kept; others are made again for their turn."""


def interpret(record: Record, budget: int) -> int:
    """Advance whatever runs at a state record, for the runtime where it is plain Python; the budget left."""
    from iridium.vm.runtime.programs import loaded_at

    address = ctypes.addressof(record)
    vm = _attached.get(address)
    loaded = loaded_at(record.program)
    assert loaded is not None, "whoever runs a program holds it"
    if vm is None or vm.program is not loaded.program:
        if len(_attached) >= MOST_ATTACHED:
            _attached.clear()
        vm = _attached[address] = VM.attach(loaded.program, record)
    before = record.instructions
    left = run(vm, budget).left
    record.instructions = before  # the runtime counts them itself
    return left


def run(vm: VM, budget: int) -> Turn:
    """Advance a VM from its pc.

    Args:
        vm: the machine; its record is read first and written last.
        budget: the most instructions to execute; 0 returns at once.

    Returns:
        Why it stopped and what is left of the budget. HLT counts; a faulting or waiting instruction does not,
        and pc stays on it.
    """
    record = vm.record
    program = vm.program
    if program.decoded is None:
        program.decoded = Decoded(program)
    decoded: Decoded = program.decoded
    s = decoded.scratch
    steps = decoded.steps
    values = _STATE.unpack_from(record)
    s.floats[:] = values[:REGISTERS]
    s.registers[:] = values[REGISTERS:_SCALARS]
    s.remainder, s.bp, pc, s.sp, s.equal, s.loop = values[_SCALARS:]
    s.enter(vm)
    stop = Stop.BUDGET
    record.fault = record.waiting = 0
    i = (pc - program.base) // WORD
    done = 0
    try:
        for done in range(budget):  # noqa: B007 - `done` counts what completed when a step raises
            i = steps[i]()
        done = budget
    except Halt as halt:
        stop = Stop.HALTED
        record.stop_code = halt.code
        done += 1
        i += 1
    except Trap as fault:
        stop = Stop.FAULT
        record.fault = fault.kind.number
    except Wait as wait:
        stop = Stop.WAITING
        record.waiting = wait.waiting
    pc = program.base + WORD * i
    _STATE.pack_into(
        record, 0, *s.floats, *s.registers, s.remainder, s.bp, pc, s.sp, s.equal, s.loop
    )  # fmt: skip
    record.heap_size = s.heap_size
    if record.heap:
        record.heap_top = s.heap_size
    record.stop = stop
    record.instructions += done
    return Turn(stop, budget - done)
