"""What a lowering writes with: LLVM IR as text, for whichever engine is being built.

A lowering says what an instruction does to values. Where its operands come from, where its results go, what
happens when it faults and where a jump leads differ between the native interpreter and the compiler; each is a
subclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from iridium.isa import Fault, Instruction
from iridium.vm.record import Record, Waiting

Effects = Callable[[], None]
"""Emits what a jump does besides jumping, at a place where it is certain to be taken."""


def nothing() -> None:
    """A jump that only jumps."""


class Lines:
    """A growing piece of IR with fresh names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def line(self, text: str) -> None:
        """Add an instruction that has no result."""
        self.lines.append(f"  {text}")

    def op(self, text: str) -> str:
        """Add an instruction and give the name of its result."""
        self._count += 1
        self.lines.append(f"  %v{self._count} = {text}")
        return f"%v{self._count}"

    def fresh(self, what: str) -> str:
        """A label that nothing has yet."""
        self._count += 1
        return f"{what}.{self._count}"

    def begin(self, label: str) -> None:
        """Start a block; the one before has its terminator."""
        self.lines.append(f"{label}:")


class Emitter(Lines, ABC):
    """Emits one instruction.

    Attributes:
        row: the instruction's row of the table.
        ended: whether the instruction has said where control goes; if not, it goes to the next one.
    """

    row: Instruction
    ended: bool

    FIELDS: ClassVar[dict[str, str]] = {
        "remainder": "i32",
        "bp": "i32",
        "sp": "i32",
        "loop_counter": "i32",
        "heap_size": "i32",
        "heap_top": "i32",
        "stack_capacity": "i32",
        "read_only_size": "i32",
        "equal_flag": "i1",
        "heap": "ptr",
        "stack": "ptr",
        "read_only": "ptr",
    }
    """The parts of the state that lowerings name, besides registers, and the type each has as a value."""

    def lower(self, row: Instruction, lowering: Callable[..., str | None]) -> None:
        """Emit an instruction: read what the table says it reads, lower it, write what it gives."""
        self.row = row
        self.ended = False
        arguments = [
            self.read(at) if kind.register else self.number(at)
            for at, kind in enumerate(row.operands)
            if kind.reads or not kind.register
        ]
        result = lowering(self, *arguments)
        if result is not None:
            self.write(next(at for at, kind in enumerate(row.operands) if kind.writes), result)

    # Operands.

    @abstractmethod
    def read(self, at: int) -> str:
        """The value of a register operand: an i32 or a double."""

    @abstractmethod
    def write(self, at: int, value: str) -> None:
        """Write a register operand."""

    @abstractmethod
    def number(self, at: int) -> str:
        """An operand that is a number, as i32; of a code address, the index of its instruction or -1."""

    @abstractmethod
    def here(self) -> str:
        """The address of this instruction, as i32."""

    # State.

    @abstractmethod
    def get(self, field: str) -> str:
        """The value of one of :data:`FIELDS`."""

    @abstractmethod
    def set(self, field: str, value: str) -> None:
        """Write one of :data:`FIELDS`."""

    @abstractmethod
    def call(self, function: str, *arguments: tuple[str, str], result: str = "i32") -> str:
        """Call a function of the runtime with the VM and these (type, value) pairs."""

    @abstractmethod
    def record(self, field: str) -> str:
        """An i32 of the record that no instruction writes itself."""

    @abstractmethod
    def reload(self, *fields: str) -> None:
        """Notice that a function of the runtime changed these fields."""

    # Where it goes.

    @abstractmethod
    def require(self, holds: str, fault: Fault, otherwise: tuple[str, ...] = ()) -> None:
        """Go on only if an i1 holds.

        Args:
            holds: the condition.
            fault: what the instruction faults with where it does not.
            otherwise: a function of the runtime and its i32 arguments, that may make it hold (it maps memory that
                is used for the first time) and says so; where there is none, the fault is certain.
        """

    @abstractmethod
    def wait_unless(self, ready: str, waiting: Waiting) -> None:
        """Go on only if an i1 holds; otherwise the VM waits on this instruction."""

    def others_first(self, work: int) -> None:
        """Before an instruction of so much work: if this turn has lasted long, it waits for the next."""
        over = self.call("must_yield", ("i32", str(work)))
        self.wait_unless(self.op(f"icmp eq i32 {over}, 0"), Waiting.TURN)

    @abstractmethod
    def jump(self, target: str, effects: Effects = nothing, condition: str | None = None) -> None:
        """Go to the instruction of a code operand, if it is one and the condition holds; else to the next."""

    @abstractmethod
    def jump_computed(self, address: str, effects: Effects = nothing, condition: str | None = None) -> None:
        """The same for an address that is only known when the program runs."""

    @abstractmethod
    def halt(self, code: str) -> None:
        """Stop the program; this instruction counts."""

    # What several lowerings share.

    def flag(self, comparison: str) -> None:
        """Set ``equal_flag`` to the result of a comparison."""
        self.set("equal_flag", self.op(comparison))

    def heap(self, address: str, size: int) -> str:
        """A pointer to bytes of the heap, once they are known to be there; the address is taken as u32."""
        # Compared with the last address that is good, which does not change in a loop; it may be negative.
        last = self.op(f"sub nsw i64 {self.wide(self.get('heap_top'))}, {size}")
        inside = self.op(f"icmp sle i64 {self.wide(address)}, {last}")
        self.require(inside, Fault.HEAP_BOUNDS, ("map_heap", address, str(size)))
        return self.op(f"getelementptr i8, ptr {self.get('heap')}, i64 {self.wide(address)}")

    def read_only(self, offset: str, size: int) -> str:
        """The same for the read-only section."""
        end = self.op(f"add nuw nsw i64 {self.wide(offset)}, {size}")
        inside = self.op(f"icmp ule i64 {end}, {self.wide(self.get('read_only_size'))}")
        self.require(inside, Fault.READ_ONLY_BOUNDS)
        return self.op(f"getelementptr i8, ptr {self.get('read_only')}, i64 {self.wide(offset)}")

    def room_on_stack(self, words: int) -> None:
        """Go on only if so many words can be pushed."""
        end = self.op(f"add i32 {self.get('sp')}, {words}")
        fits = self.op(f"icmp ule i32 {end}, {self.get('stack_capacity')}")
        self.require(fits, Fault.STACK_OVERFLOW, ("map_stack", end))

    def stack(self, index: str) -> str:
        """A pointer to a word of the stack, which the caller knows to be there."""
        return self.op(f"getelementptr i32, ptr {self.get('stack')}, i64 {self.wide(index)}")

    def wide(self, value: str) -> str:
        """An i32 as i64, taken as unsigned."""
        return self.op(f"zext i32 {value} to i64")

    HEAP = ""
    STACK = ""
    """Metadata for memory accesses, which tells an optimiser that heap, stack and state do not overlap."""

    def load(self, kind: str, pointer: str, metadata: str = "") -> str:
        """Read memory, which need not be aligned."""
        return self.op(f"load {kind}, ptr {pointer}, align 1{metadata}")

    def store(self, kind: str, value: str, pointer: str, metadata: str = "") -> None:
        """Write memory, which need not be aligned."""
        self.line(f"store {kind} {value}, ptr {pointer}, align 1{metadata}")


OFFSETS = {name: getattr(Record, name).offset for name, *_ in Record._fields_}
"""Where each field of the state record is, in bytes."""

UNLIKELY = "!prof !0"
MODULE = """
declare double @llvm.fabs.f64(double)
declare double @llvm.sqrt.f64(double)
declare i32 @llvm.fptosi.sat.i32.f64(double)
declare { i64, i1 } @llvm.usub.with.overflow.i64(i64, i64)
declare i32 @llvm.fshr.i32(i32, i32, i32)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
!0 = !{!"branch_weights", i32 1, i32 100000}
"""
"""What every module declares; ``!0`` marks a branch whose first way is hardly ever gone."""
