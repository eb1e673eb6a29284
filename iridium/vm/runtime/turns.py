"""What the native engines call: growing memory, printing, and the turn of a VM. In the subset of Python that
:mod:`iridium.vm.runtime.subset` makes machine code of.
"""

from __future__ import annotations

from iridium.isa import WORD, Fault
from iridium.vm.memory import FLAGS, PROTECTION
from iridium.vm.output import ITEM, LONGEST_STRING, RING_HEADER, Ring
from iridium.vm.record import Record, Stop
from iridium.vm.runtime.layout import ELSEWHERE, ENTERED, LEFT, RUNNING, SHORT, ProgramRecord, Worker
from iridium.vm.runtime.locks import now
from iridium.vm.runtime.subset import (
    EXTERNALS,
    at,
    enter,
    external,
    i32,
    load,
    native,
    store,
    store_release,
    u8,
    u32,
    u64,
)

FAILED = 0xFFFF_FFFF_FFFF_FFFF
"""What ``mmap`` returns when it has no room."""

LONGEST_TURN = 200_000
"""Nanoseconds after which a turn ends before an instruction that can take long: so the others, and whoever wants
to stop it, wait not much longer than for an ordinary one.
"""

LOOK = 64 * 1024
"""Work between two looks at the clock, counted in bytes copied: it takes some microseconds, beside which looking
costs nothing.
"""

SCANNED = 8
"""The work of looking at one byte of a string, beside that of copying one."""

CALLED = 512
"""The work of an instruction that allocates memory, besides the bytes that it copies."""

SPAWNED = 4096
"""The work of making a process: its slot may be memory that was never touched."""

WATCHED = LOOK
"""The work of entering or removing a watch: the lists of both sides are searched, however long they are."""


@external
def mmap(at: u64, size: u64, protection: i32, flags: i32, file: i32, offset: u64) -> u64:
    """The C library's."""
    raise NotImplementedError


def interpret(vm: Record, instruction: u64, budget: u64, code: u64) -> u64:
    """The native interpreter, from an instruction of one copy of the decoded code; gives the budget left.

    In Python it is the reference engine, from pc on.
    """
    from iridium.vm import reference

    return reference.interpret(vm, budget)


EXTERNALS["interpret"] = interpret  # type: ignore[assignment]


@native
def reserve(size: u64) -> u64:
    """Zero pages, or 0 where the system has no room."""
    found = mmap(u64(0), size, PROTECTION, FLAGS, -1, u64(0))
    if found == FAILED:
        return u64(0)
    return found


@native
def map_heap(vm: Record, place: u32, size: u32) -> u32:
    """Whether bytes of the heap are there, after mapping it where it has not been used before."""
    if vm.heap == 0:
        vm.heap = reserve(u64(vm.heap_limit))
        if vm.heap == 0:
            return u32(0)
        vm.heap_top = vm.heap_size
    if u64(place) + u64(size) <= u64(vm.heap_top):
        return u32(1)
    return u32(0)


@native
def grow_heap(vm: Record, size: i32) -> u32:
    """Whether the heap has got so many bytes more."""
    if size < 0 or u64(vm.heap_size) + u64(u32(size)) > u64(vm.heap_limit):
        return u32(0)
    vm.heap_size += u32(size)
    if vm.heap != 0:
        vm.heap_top = vm.heap_size
    return u32(1)


@native
def map_stack(vm: Record, words: u32) -> u32:
    """Whether the stack has room for so many words, after mapping it where it has not been used before."""
    if words > vm.stack_limit:
        return u32(0)
    if vm.stack == 0:
        vm.stack = reserve(u64(vm.stack_limit) * WORD)
        if vm.stack == 0:
            return u32(0)
        vm.stack_capacity = vm.stack_limit
    return u32(1)


@native
def print_item(vm: Record, tag: u32, bits: u64) -> u32:
    """Whether there was room for an item in the output ring."""
    if vm.output == 0:
        vm.output = reserve(u64(vm.output_capacity) * ITEM + RING_HEADER)
        if vm.output == 0:
            return u32(0)
    ring = at(Ring, vm.output)
    if ring.written - ring.read >= u64(vm.output_capacity):
        return u32(0)
    item = vm.output + RING_HEADER + ring.written % u64(vm.output_capacity) * ITEM
    store(u64, item, u64(tag))
    store(u64, item + 8, bits)
    store_release(ring, "written", ring.written + 1)
    return u32(1)


@native
def must_yield(vm: Record, work: u32) -> u32:
    """Whether a turn has lasted so long that the others come first.

    Asked before an instruction that can take long, which then waits for the next turn. If not, what it is going
    to do is counted, in the unit of :data:`LOOK`. Each turn can do one such instruction at least. Outside the
    scheduler whoever gives turns measures them.
    """
    if vm.worker == 0 or vm.state != RUNNING:
        return u32(0)
    worker = at(Worker, vm.worker)
    before = worker.work
    worker.work = before + u64(work)
    if before < LOOK:
        return u32(0)
    worker.work = u64(work)
    time = now(worker)
    if worker.measured != worker.turns + 1:
        worker.measured = worker.turns + 1
        worker.measured_from = time
        return u32(0)
    if time - worker.measured_from < LONGEST_TURN:
        return u32(0)
    return u32(1)


@native
def check_string(vm: Record, offset: u32) -> u32:
    """The number of the fault of printing the string at that offset of the read-only section, or 0.

    The ranges are those of table 3-7 of the Unicode standard, "well-formed UTF-8 byte sequences".
    """
    program = at(ProgramRecord, vm.program)
    end = program.read_only + u64(program.read_only_size)
    here = program.read_only + u64(offset)
    if here + LONGEST_STRING + 1 < end:
        end = here + LONGEST_STRING + 1
    # The end comes first: without one, it does not matter what the bytes are.
    scan = here
    while scan < end and load(u8, scan) != 0:
        scan += 1
    if vm.worker != 0:
        at(Worker, vm.worker).work += (scan - here) * SCANNED
    if scan >= end:
        return u32(Fault.READ_ONLY_BOUNDS.number)
    while here < scan:
        first = u32(load(u8, here))
        here += 1
        more: u32 = 0
        low: u32 = 0x80
        high: u32 = 0xBF
        if first >= 0x80:
            if first < 0xC2 or first > 0xF4:
                return u32(Fault.BAD_STRING.number)
            more = 1
            if first >= 0xE0:
                more = 2
            if first >= 0xF0:
                more = 3
            if first == 0xE0:
                low = 0xA0
            if first == 0xED:
                high = 0x9F
            if first == 0xF0:
                low = 0x90
            if first == 0xF4:
                high = 0x8F
        while more != 0:
            # The NUL at the end is no continuation, so this never runs past it.
            following = u32(load(u8, here))
            if following < low or following > high:
                return u32(Fault.BAD_STRING.number)
            low = 0x80
            high = 0xBF
            here += 1
            more -= 1
    return u32(0)


@native
def check_node_name(vm: Record, node: u32) -> u32:
    """The same for the name of a node; a negative number is none, and right."""
    if node >= 0x80000000:
        return u32(0)
    return check_string(vm, node)


@native
def advance(vm: Record, budget: u64) -> u64:
    """Give a VM its turn: the budget that is left of it. ``vm.stop`` says why it ended."""
    program = at(ProgramRecord, vm.program)
    vm.stop = Stop.BUDGET
    vm.fault = 0
    vm.waiting = 0
    left: u64 = budget
    while left != 0:
        index = (vm.pc - program.base) // WORD
        entry: u64 = 0
        if program.entries != 0:
            entry = load(u64, program.entries + u64(index) * 8)
        if entry == 0:
            left = interpret(vm, program.code + u64(index) * 16, left, program.code)
            if vm.stop != ENTERED:
                break
            vm.stop = Stop.BUDGET
        else:
            left = enter(entry, vm, left, index)
            index = (vm.pc - program.base) // WORD
            if vm.stop == SHORT:
                left = interpret(vm, program.plain + u64(index) * 16, left, program.plain)
                break
            if vm.stop == LEFT:
                rest = interpret(vm, program.plain + u64(index) * 16, u64(1), program.plain)
                left -= 1 - rest
                if vm.stop != Stop.BUDGET:
                    break
            elif vm.stop != ELSEWHERE:
                break
            vm.stop = Stop.BUDGET
    vm.instructions += budget - left
    if program.entries == 0:
        # No more once it is compiled: workers would write in turns to what all of them read at every turn.
        program.executed += budget - left
    return left
