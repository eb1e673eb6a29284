"""The scratch register file that the closures of the reference engine share, and how they leave it."""

from __future__ import annotations

from collections.abc import Callable

from iridium.isa import REGISTERS, WORD, Fault
from iridium.vm.machine import VM
from iridium.vm.output import Tag
from iridium.vm.program import Program
from iridium.vm.record import Waiting
from iridium.vm.runtime.calls import calls

Step = Callable[[], int]
"""A decoded instruction: executes it and gives the index of the one that runs next."""

MIN = -(2**31)
MAX = 2**31 - 1
U32 = 0xFFFF_FFFF


class Halt(Exception):  # noqa: N818 - control flow, not an error
    """The program stopped."""

    def __init__(self, code: int) -> None:
        self.code = code


class Trap(Exception):  # noqa: N818
    """The program faulted."""

    def __init__(self, kind: Fault) -> None:
        self.kind = kind


class Wait(Exception):  # noqa: N818
    """The instruction has to wait."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting


class Scratch:
    """The state of the VM whose turn it is, in the form that closures are quickest on."""

    __slots__ = (
        "base", "bp", "count", "equal", "floats", "heap", "heap_limit", "heap_size", "loop", "messages",
        "output", "read_only", "registers", "remainder", "sp", "stack", "stack_limit", "vm",
    )  # fmt: skip

    vm: VM

    def __init__(self, program: Program) -> None:
        self.registers = [0] * REGISTERS
        self.floats = [0.0] * REGISTERS
        self.read_only = program.read_only
        self.base = program.base
        self.count = 0  # instructions decoded so far
        self.equal: bool | int = 0
        self.remainder = self.bp = self.sp = self.loop = 0
        self.messages = 0  # sent or taken by whoever runs the program
        self.heap: memoryview | None = None
        self.stack: memoryview | None = None
        self.heap_size = self.heap_limit = self.stack_limit = 0

    def enter(self, vm: VM) -> None:
        """Take over what a turn of this VM needs besides its registers."""
        record = vm.record
        self.vm = vm
        self.heap = self.stack = None
        self.heap_size = record.heap_size
        self.heap_limit = record.heap_limit
        self.stack_limit = record.stack_limit
        self.output = vm.output

    def others_first(self, work: int) -> None:
        """Before an instruction that can take long: let it wait for the next turn if this one has lasted long."""
        record = self.vm.record
        if record.worker and calls.must_yield(record, work):
            raise Wait(Waiting.TURN)

    def index_of(self, address: int) -> int | None:
        """The index of the instruction at an address, or None where there is none."""
        offset = address - self.base
        return offset // WORD if not offset % WORD and 0 <= offset < WORD * self.count else None

    def jump(self, address: int) -> int:
        """The index to go on at.

        Raises:
            Trap: no instruction is at that address.
        """
        index = self.index_of(address)
        if index is None:
            raise Trap(Fault.BAD_JUMP)
        return index

    def heap_at(self, address: int, size: int) -> int:
        """The heap address in a register as u32, once ``size`` bytes are known to be there.

        Raises:
            Trap: they are not.
        """
        at = address & U32
        if at + size > self.heap_size:
            raise Trap(Fault.HEAP_BOUNDS)
        if self.heap is None:
            self.heap = self.vm.map_heap()
        return at

    def read_only_at(self, offset: int, size: int) -> int:
        """The same for the read-only section."""
        at = offset & U32
        if at + size > len(self.read_only):
            raise Trap(Fault.READ_ONLY_BOUNDS)
        return at

    def show_registers(self) -> None:
        """Write the registers to the record, for what reads them there."""
        record = self.vm.record
        record.registers[:] = self.registers  # type: ignore[assignment]
        record.float_registers[:] = self.floats  # type: ignore[assignment]

    def write(self, tag: Tag, value: int | float) -> None:
        """Print an item.

        Raises:
            Wait: the ring is full.
        """
        if self.output.full:
            raise Wait(Waiting.OUTPUT_ROOM)
        self.output.append(tag, value)


SEMANTICS: dict[str, Callable[..., Step]] = {}


def does(name: str) -> Callable[[Callable[..., Step]], Callable[..., Step]]:
    """Enter a function in :data:`SEMANTICS` as the meaning of an instruction."""

    def enter(function: Callable[..., Step]) -> Callable[..., Step]:
        SEMANTICS[name] = function
        return function

    return enter


def trap(kind: Fault) -> Step:
    """A step that faults."""

    def step() -> int:
        raise Trap(kind)

    return step


def wrap(value: int) -> int:
    """An integer reduced to i32."""
    return (value + 2**31 & U32) - 2**31
