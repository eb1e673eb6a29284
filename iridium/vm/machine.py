"""A VM: a state record, a program, memory that appears when it is used, and its output."""

from __future__ import annotations

import mmap
from typing import NamedTuple

from iridium.isa import WORD
from iridium.vm.crash import Crash, describe
from iridium.vm.output import CAPACITY, OutputRing
from iridium.vm.program import Program
from iridium.vm.record import Record, Stop

STACK_WORDS = 524_288
"""The most words on a stack: 2 MiB, so that endless recursion ends soon and hurts nobody."""

HEAP_START = 64
"""Bytes of heap that every VM has without asking."""

HEAP_LIMIT = 64 * 1024 * 1024
"""The most bytes of heap unless the owner says otherwise."""


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


def _reserve(size: int) -> mmap.mmap:
    """Zero bytes that cost memory only where they are touched, so that growing never copies."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    return mmap.mmap(-1, size, flags=flags)


class VM:
    """One virtual machine.

    Args:
        program: the code; several VMs may share it.
        limits: bounds of its memory and output.

    Attributes:
        record: the state that engines work on.
        program: the code.
        output: what it printed and nobody has read yet.
        logical_cores: how many worker threads its node runs; a setting that the node passes on.
    """

    __slots__ = ("_heap", "_stack", "_uuid", "limits", "logical_cores", "output", "program", "record")

    def __init__(self, program: Program, limits: Limits = Limits(), logical_cores: int = 1) -> None:  # noqa: B008
        self.program = program
        self.limits = limits
        self.logical_cores = logical_cores
        self._uuid: str | None = None
        self.reset()

    def reset(self) -> None:
        """Fresh registers, stack, heap and output; pc on the first instruction."""
        self.record = Record(
            pc=self.program.base,
            heap_size=HEAP_START,
            heap_limit=self.limits.heap,
            stack_limit=self.limits.stack,
        )
        self.output = OutputRing(self.program.read_only, self.limits.output)
        self._heap: mmap.mmap | None = None
        self._stack: memoryview | None = None

    @property
    def uuid(self) -> str:
        """The name of this VM in events and to its owner, made when it is first asked for."""
        if self._uuid is None:
            import uuid  # 5 ms that a program run from the command line need not pay

            self._uuid = str(uuid.uuid4())
        return self._uuid

    def map_heap(self) -> mmap.mmap:
        """The heap; only its first ``record.heap_size`` bytes belong to the program."""
        if self._heap is None:
            self._heap = _reserve(self.limits.heap)
        return self._heap

    def map_stack(self) -> memoryview:
        """The stack as i32 words; the lowest ``record.sp`` are in use."""
        if self._stack is None:
            self._stack = memoryview(_reserve(WORD * self.limits.stack)).cast("i")
        return self._stack

    def heap_bytes(self, start: int, length: int) -> bytes:
        """A piece of the heap, cut off at its size; for people and for tests."""
        end = min(start + length, self.record.heap_size)
        if self._heap is None:
            return bytes(max(0, end - start))
        return self._heap[start:end]

    def stack_words(self) -> list[int]:
        """The words on the stack, the oldest first; for people and for tests."""
        return [] if self._stack is None else self._stack[: self.record.sp].tolist()

    @property
    def crash(self) -> Crash | None:
        """What the last turn's fault was, or None where it ended otherwise."""
        return describe(self) if self.record.stop == Stop.FAULT else None
