"""A VM: a state record, a program, memory that appears when it is used, and its output."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from iridium.isa import WORD
from iridium.vm.crash import Crash, describe
from iridium.vm.memory import release, reserve, view
from iridium.vm.output import CAPACITY, OutputRing, release_ring
from iridium.vm.program import Program
from iridium.vm.record import Record, Stop

STACK_WORDS = 524_288
"""The most words on a stack: 2 MiB, so that endless recursion ends soon and hurts nobody."""

HEAP_START = 64
"""Bytes of heap that every VM has without asking."""

HEAP_LIMIT = 64 * 1024 * 1024
"""The most bytes of heap unless the owner says otherwise."""


MACHINE = Record.next.offset  # type: ignore[attr-defined]
"""Bytes at the beginning of a record that are the machine's; the rest is the scheduler's, and what makes a
process.
"""


class Limits(NamedTuple):
    """What a VM may use at the most.

    Attributes:
        stack: words on the stack.
        heap: bytes of heap, at least :data:`HEAP_START`.
        output: items that wait for a reader.
    """

    stack: int = STACK_WORDS
    heap: int = HEAP_LIMIT
    output: int = CAPACITY


class VM:
    """One virtual machine.

    Args:
        program: the code; several VMs may share it.
        limits: bounds of its memory and output.
        record: its state record, where another than one of its own: a slot of a table of processes.

    Attributes:
        record: the state that engines work on.
        program: the code.
        output: what it printed and nobody has read yet.
        logical_cores: how many worker threads its node runs; a setting that the node passes on.
        native: the native form of its program that ``record.program`` points to, which keeps it in memory.
    """

    __slots__ = ("_owned", "_uuid", "limits", "logical_cores", "native", "output", "program", "record")

    def __init__(
        self,
        program: Program,
        limits: Limits = Limits(),  # noqa: B008
        logical_cores: int = 1,
        record: Record | None = None,
    ) -> None:
        self.program = program
        self.limits = limits
        self.logical_cores = logical_cores
        self._uuid: str | None = None
        self.native: Any = None
        self._owned = record is None
        self.record = Record() if record is None else record
        self.reset()

    @classmethod
    def attach(cls, program: Program, record: Record) -> VM:
        """A VM that is there already, as its record has it; whoever made it gives its memory back."""
        vm = cls.__new__(cls)
        vm.program = program
        vm.limits = Limits(record.stack_limit, record.heap_limit, record.output_capacity)
        vm.logical_cores = 1
        vm._uuid = None
        vm.native = program.native
        vm._owned = False
        vm.record = record
        vm.output = OutputRing(record, program.read_only)
        return vm

    def __del__(self) -> None:
        if getattr(self, "_owned", False):
            self.release()

    def reset(self) -> None:
        """Fresh registers, stack, heap and output; pc on the first instruction."""
        self.release()
        record = self.record
        ctypes.memset(ctypes.addressof(record), 0, MACHINE)
        record.deadline = 0
        record.pc = self.program.base
        record.heap_size = HEAP_START
        record.heap_limit = self.limits.heap
        record.stack_limit = self.limits.stack
        record.output_capacity = self.limits.output
        self.output = OutputRing(record, self.program.read_only)

    def release(self) -> None:
        """Give back stack, heap and output ring; engines map them again when they are next used."""
        record = self.record
        if record.heap:
            release(record.heap, record.heap_limit)
        if record.stack:
            release(record.stack, WORD * record.stack_limit)
        record.heap = record.stack = record.heap_top = record.stack_capacity = 0
        release_ring(record)

    def replace_program(self, program: Program) -> None:
        """Run another program from its first instruction, with nothing on the stack; registers and heap stay."""
        self.program = program
        self.output.clear()
        self.output = OutputRing(self.record, program.read_only)
        record = self.record
        record.pc = program.base
        record.sp = record.bp = record.program = 0
        record.stop = Stop.BUDGET
        record.fault = 0

    @property
    def uuid(self) -> str:
        """The name of this VM in events and to its owner, made when it is first asked for."""
        if self._uuid is None:
            import uuid  # 5 ms that a program run from the command line need not pay

            self._uuid = str(uuid.uuid4())
        return self._uuid

    def map_heap(self) -> memoryview:
        """The heap; only its first ``record.heap_size`` bytes belong to the program."""
        record = self.record
        if not record.heap:
            record.heap = reserve(record.heap_limit)
            record.heap_top = record.heap_size
        return view(record.heap, record.heap_limit)

    def map_stack(self) -> memoryview:
        """The stack as i32 words; the lowest ``record.sp`` are in use."""
        record = self.record
        if not record.stack:
            record.stack = reserve(WORD * record.stack_limit)
            record.stack_capacity = record.stack_limit
        return view(record.stack, WORD * record.stack_limit).cast("i")

    def heap_bytes(self, start: int, length: int) -> bytes:
        """A piece of the heap, cut off at its size; for people and for tests."""
        end = min(start + length, self.record.heap_size)
        if not self.record.heap:
            return bytes(max(0, end - start))
        return bytes(self.map_heap()[start:end])

    def stack_words(self) -> list[int]:
        """The words on the stack, the oldest first; for people and for tests."""
        return self.map_stack()[: self.record.sp].tolist() if self.record.stack else []

    @property
    def crash(self) -> Crash | None:
        """What the last turn's fault was, or None where it ended otherwise."""
        return describe(self) if self.record.stop == Stop.FAULT else None
