"""The words for a fault.

A faulting instruction changes nothing, so what went wrong is still there to be read from the record and the
instruction at pc: no engine carries texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from iridium.isa import BY_OPCODE, REGISTERS, Fault, Instruction
from iridium.vm.output import LONGEST_STRING, is_character

if TYPE_CHECKING:
    from iridium.vm.machine import VM

_FAULTS = list(Fault)
_U32 = 0xFFFFFFFF


class Crash(NamedTuple):
    """A fault that stopped a program.

    Attributes:
        kind: which fault.
        pc: the address of the instruction that raised it.
        line: its source line, or None where the image does not tell.
        message: what was wrong, with the values that were.
    """

    kind: Fault
    pc: int
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"pc {self.pc}" if self.line is None else f"line {self.line} (pc {self.pc})"
        return f"{self.kind.value} at {where}: {self.message}"


def describe(vm: VM) -> Crash:
    """The crash of a VM whose record has a fault."""
    record = vm.record
    kind = _FAULTS[record.fault - 1]
    pc = record.pc
    return Crash(kind, pc, vm.program.image.line_of(pc), _message(vm, kind, pc))


def _message(vm: VM, kind: Fault, pc: int) -> str:
    word = vm.program.word_at(pc)
    if word is None:
        return "the program ran past its last instruction; end it with hlt"
    row = BY_OPCODE.get(word[0])
    if kind is Fault.ILLEGAL_OPCODE or row is None:
        return f"{word[0]} is no opcode of a version {vm.program.version} image"
    operands = row.decode(word)
    if kind is Fault.BAD_REGISTER:
        bad = next(v for k, v in zip(row.operands, operands, strict=True) if k.register and v >= REGISTERS)
        return f"{row.name} names register ${bad}; the last is ${REGISTERS - 1}"
    return f"{row.name} {_WORDS[kind](vm, row, operands)}"


def _value(vm: VM, operands: tuple[int, ...], at: int) -> int:
    return int(vm.record.registers[operands[at]])


def _jump(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    if row.name == "RET":
        target = vm.map_stack()[vm.record.bp - 2]
    elif row.operands[0].register:
        offset = _value(vm, operands, 0)
        here = vm.record.pc + 2
        target = {"JMPF": here + offset, "JMPB": here - offset}.get(row.name, offset)
        target = (target + 2**31 & 0xFFFFFFFF) - 2**31  # it wrapped as i32
    else:
        target = operands[0]
    return f"goes to {target}; the instructions are every 4 bytes from {vm.program.base} to {vm.program.end - 4}"


def _heap(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    heap = f"the heap has {vm.record.heap_size} bytes"
    if row.name == "SENDM":
        address, size = (_value(vm, operands, at) & _U32 for at in (1, 2))
        return f"sends {size} bytes from heap address {address} on; {heap}"
    return f"reaches heap address {_value(vm, operands, 0) & _U32}; {heap}"


def _overflow(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    return f"finds {vm.record.sp} words on the stack; the most is {vm.record.stack_limit}"


def _underflow(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    if row.name == "POP":
        return "finds the stack empty"
    return f"finds no call to return from: bp is {vm.record.bp}, sp is {vm.record.sp}"


def _division(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    return f"divides {_value(vm, operands, 0)} by ${operands[1]}, which is 0"


def _allocation(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    asked = _value(vm, operands, 0)
    return f"asks for {asked} bytes; the heap has {vm.record.heap_size} of at most {vm.record.heap_limit}"


def _offset(vm: VM, row: Instruction, operands: tuple[int, ...]) -> int:
    """Where in the read-only section an instruction looks."""
    if row.name in ("PRTS", "LOADC", "LOADCF64"):
        return operands[-1]
    return _value(vm, operands, 1 if row.name == "SPAWNON" else 0) & _U32


def _read_only(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    offset = _offset(vm, row, operands)
    size = len(vm.program.read_only)
    if Fault.BAD_STRING in row.faults and offset < size:
        return f"finds no NUL within {min(LONGEST_STRING, size - offset)} bytes of read-only offset {offset}"
    return f"reaches read-only offset {offset}; the section has {size} bytes"


def _string(vm: VM, row: Instruction, operands: tuple[int, ...]) -> str:
    if row.name == "PRTC":
        code_point = _value(vm, operands, 0)
        assert not is_character(code_point), "PRTC faults only where there is no character"
        return f"prints {code_point}, which is no Unicode character"
    does = "prints bytes" if row.name == "PRTS" else "takes a name of bytes"
    return f"{does} at read-only offset {_offset(vm, row, operands)} that are not UTF-8"


_WORDS = {
    Fault.BAD_JUMP: _jump,
    Fault.HEAP_BOUNDS: _heap,
    Fault.STACK_OVERFLOW: _overflow,
    Fault.STACK_UNDERFLOW: _underflow,
    Fault.DIVISION_BY_ZERO: _division,
    Fault.BAD_ALLOCATION: _allocation,
    Fault.READ_ONLY_BOUNDS: _read_only,
    Fault.BAD_STRING: _string,
}
