"""Commands about the machine of a session: its registers and its memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from iridium.isa import REGISTERS
from iridium.repl.commands.table import Answer, Command, Done, Result, columns, number
from iridium.roles import Role
from iridium.vm.machine import HEAP_START

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "the machine"

MOST_HEAP = 4096
"""Bytes of heap that are shown at once: 256 lines."""

MOST_STACK = 256
"""Words of the stack that are shown: those on top, which matter."""

_ROW = 16
_COLUMNS = 4


def _grid(names: list[str], values: list[str]) -> str:
    """Registers in four columns, numbered downwards."""
    height = len(names) // _COLUMNS
    cells = [f"{name:>4} {value}" for name, value in zip(names, values, strict=True)]
    return columns([cells[row::height] for row in range(height)])


_NAMES = [f"${number}" for number in range(REGISTERS)]


class Registers(Result):
    """The integer registers and what belongs to them."""

    registers: list[int]
    pc: int
    equal_flag: bool
    remainder: int
    loop_counter: int

    def text(self) -> str:
        """A grid, then the rest in a line."""
        rest = (
            f"pc {self.pc}  equal_flag {str(self.equal_flag).lower()}  "
            f"remainder {self.remainder}  loop_counter {self.loop_counter}"
        )
        return f"{_grid(_NAMES, [str(value) for value in self.registers])}\n{rest}"


class FloatRegisters(Result):
    """The float registers; a value that is not finite is "inf", "-inf" or "nan"."""

    float_registers: list[float | str]

    def text(self) -> str:
        """A grid."""
        return _grid(_NAMES, [str(value) for value in self.float_registers])


class Heap(Result):
    """A piece of the heap.

    Attributes:
        size: bytes of the whole heap.
        start: the address of the first byte.
        bytes: the piece, in hex.
    """

    size: int
    start: int
    bytes: str

    def text(self) -> str:
        """A hex dump."""
        data = bytes.fromhex(self.bytes)
        lines = [f"the heap has {self.size} bytes"]
        for at in range(0, len(data), _ROW):
            row = data[at : at + _ROW]
            characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            lines.append(f"{self.start + at:8}  {row.hex(' '):<{3 * _ROW - 1}}  {characters}")
        return "\n".join(lines)


class Stack(Result):
    """The top of the stack.

    Attributes:
        depth: words on the whole stack.
        bp: where the frame of the running subroutine starts.
        words: the words on top, the top one first.
    """

    depth: int
    bp: int
    words: list[int]

    def text(self) -> str:
        """A word a line, each with its place."""
        if not self.words:
            return "the stack is empty"
        heading = f"{self.depth} words on the stack, bp is {self.bp}; the top comes first"
        rows = [(str(self.depth - 1 - at).rjust(8), str(word)) for at, word in enumerate(self.words)]
        more = f"\n{self.depth - len(self.words)} more below" if self.depth > len(self.words) else ""
        return f"{heading}\n{columns(rows)}{more}"


def show_registers(session: Session, arguments: list[str]) -> Answer:
    """``!registers``."""
    record = session.workspace.vm.record
    return Registers(
        list(record.registers), record.pc, bool(record.equal_flag), record.remainder, record.loop_counter
    )


def show_float_registers(session: Session, arguments: list[str]) -> Answer:
    """``!float_registers``."""
    values = session.workspace.vm.record.float_registers
    return FloatRegisters([value if math.isfinite(value) else repr(value) for value in values])


def clear_registers(session: Session, arguments: list[str]) -> Answer:
    """``!clear_registers``."""
    record = session.workspace.vm.record
    record.registers[:] = [0] * REGISTERS
    record.float_registers[:] = [0.0] * REGISTERS
    record.equal_flag = record.remainder = record.loop_counter = 0
    return Done("all registers are 0")


def show_heap(session: Session, arguments: list[str]) -> Answer:
    """``!heap``."""
    vm = session.workspace.vm
    start = number(arguments[0], "the start", 0, vm.record.heap_size - 1) if arguments else 0
    length = number(arguments[1], "the length", 1, MOST_HEAP) if len(arguments) > 1 else HEAP_START
    return Heap(vm.record.heap_size, start, vm.heap_bytes(start, length).hex())


def show_stack(session: Session, arguments: list[str]) -> Answer:
    """``!stack``."""
    vm = session.workspace.vm
    depth = vm.record.sp
    top = vm.map_stack()[max(0, depth - MOST_STACK) : depth].tolist() if depth else []
    return Stack(depth, vm.record.bp, top[::-1])


COMMANDS = (
    Command(
        "!registers",
        GROUP,
        Role.READ_ONLY,
        "show the 32 integer registers, pc and the flags",
        show_registers,
        Registers,
    ),
    Command(
        "!float_registers",
        GROUP,
        Role.READ_ONLY,
        "show the 32 float registers",
        show_float_registers,
        FloatRegisters,
    ),
    Command("!clear_registers", GROUP, Role.OPERATOR, "set all registers and flags to 0", clear_registers, Done),
    Command(
        "!heap",
        GROUP,
        Role.READ_ONLY,
        "show bytes of the heap, the first 64 if not said",
        show_heap,
        Heap,
        "[START [LENGTH]]",
        most=2,
    ),
    Command("!stack", GROUP, Role.READ_ONLY, "show the stack, the top first", show_stack, Stack),
)
