"""The slots of processes: taken, filled with what a process begins with, and free again. In the subset of Python
of :mod:`iridium.vm.runtime.subset`.
"""

from __future__ import annotations

from iridium.isa import WORD, Fault
from iridium.vm.machine import HEAP_START
from iridium.vm.output import ITEM, RING_HEADER
from iridium.vm.record import Record
from iridium.vm.runtime.accounts import inherit
from iridium.vm.runtime.layout import (
    FOREVER,
    FREE,
    GENERATIONS,
    NEW,
    PROCESS,
    QUEUED,
    SLOT,
    SLOT_BITS,
    SLOT_MASK,
    ProgramRecord,
    Shared,
    Worker,
)
from iridium.vm.runtime.locks import acquire_mailbox, acquire_table, release_mailbox, release_table
from iridium.vm.runtime.queue import push
from iridium.vm.runtime.remote import REGISTERS
from iridium.vm.runtime.subset import (
    add_atomic,
    address,
    at,
    clear,
    compare_exchange,
    copy,
    external,
    i32,
    native,
    store_release,
    u32,
    u64,
)

REUSE_AFTER = 1024
"""Free slots before one is used again, while there are untouched ones: so that pids do not come again soon."""

CLEARED = Record.in_events.offset  # type: ignore[attr-defined]
"""Bytes of a record that are another's once the slot is used again; what follows belongs to the slot."""


@external
def munmap(place: u64, size: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@native
def allocate(shared: Shared, kind: u32) -> u64:
    """A slot with a pid of its own, or 0 where there is none left."""
    acquire_table(shared)
    found: u64 = 0
    if shared.first_free != 0 and (shared.free >= REUSE_AFTER or shared.used >= shared.slots):
        found = shared.first_free
        shared.first_free = at(Record, found).next
        shared.free -= 1
    elif shared.used < shared.slots:
        found = shared.slab + u64(shared.used) * SLOT
        at(Record, found).pid = shared.used
        shared.used += 1
    if found != 0:
        shared.alive += 1
    release_table(shared)
    if found != 0:
        vm = at(Record, found)
        # Whoever has an old pid of it may look at it at this moment; the lock is not cleared.
        acquire_mailbox(vm)
        clear(found, u64(CLEARED))
        vm.kind = kind
        vm.host_cares = 0
        release_mailbox(vm)
    return found


@native
def release_slot(shared: Shared, vm: Record) -> None:
    """Make a slot free: its next pid is of the next generation. Nothing of it is in any queue."""
    slot = vm.pid & SLOT_MASK
    generation = ((vm.pid >> SLOT_BITS) + 1) % GENERATIONS
    acquire_mailbox(vm)
    vm.kind = u32(FREE)
    vm.pid = slot | generation << SLOT_BITS
    release_mailbox(vm)
    acquire_table(shared)
    vm.next = 0
    if shared.first_free == 0:
        shared.first_free = address(vm)
    else:
        at(Record, shared.last_free).next = address(vm)
    shared.last_free = address(vm)
    shared.free += 1
    shared.alive -= 1
    release_table(shared)


@native
def release_memory(vm: Record) -> None:
    """Give back stack, heap and output."""
    if vm.heap != 0:
        munmap(vm.heap, u64(vm.heap_limit))
    if vm.stack != 0:
        munmap(vm.stack, u64(vm.stack_limit) * WORD)
    if vm.output != 0:
        munmap(vm.output, u64(vm.output_capacity) * ITEM + RING_HEADER)
    vm.heap = 0
    vm.heap_top = 0
    vm.stack = 0
    vm.stack_capacity = 0
    vm.output = 0


@native
def begin(worker: Worker, program: u64, pc: u32, parent: u32) -> u64:
    """A new process, which has no turns yet; or 0 where there are too many."""
    shared = at(Shared, worker.shared)
    found = allocate(shared, u32(FREE))
    if found == 0:
        return u64(0)
    vm = at(Record, found)
    vm.program = program
    vm.pc = pc
    vm.heap_size = u32(HEAP_START)
    vm.heap_limit = shared.heap_limit
    vm.stack_limit = shared.stack_limit
    vm.output_capacity = shared.output_capacity
    vm.limit = u64(FOREVER)
    vm.parent = parent
    vm.worker = address(worker)
    vm.state = u32(NEW)
    inherit(shared, vm, parent)
    add_atomic(at(ProgramRecord, program), "users", 1)
    add_atomic(shared, "spawned", 1)
    # Last: somebody may guess its pid, and from now on it is one.
    store_release(vm, "kind", PROCESS)
    return found


@native
def start(worker: Worker, vm: Record) -> None:
    """Let a new process have turns. One that was killed meanwhile ends in its first."""
    if compare_exchange(vm, "state", NEW, QUEUED):
        push(worker, vm)


@native
def spawn(vm: Record, pc: u32) -> u32:
    """SPAWN: a process of the same program, with a copy of the registers; its pid, or 0."""
    if vm.worker == 0:
        return u32(0)
    worker = at(Worker, vm.worker)
    found = begin(worker, vm.program, pc, vm.pid)
    if found == 0:
        return u32(0)
    new = at(Record, found)
    copy(found, address(vm), u64(REGISTERS))
    pid = new.pid
    start(worker, new)
    return pid


@native
def is_instruction(place: u64, target: u32) -> u32:
    """Whether an address is that of an instruction of a program."""
    program = at(ProgramRecord, place)
    offset = target - program.base
    if target < program.base or offset % WORD != 0 or offset // WORD >= program.count:
        return u32(0)
    return u32(1)


@native
def spawn_checked(vm: Record, target: u32) -> u32:
    """The number of the fault of spawning at an address that is no instruction's, or 0."""
    if is_instruction(vm.program, target) == 0:
        return u32(Fault.BAD_JUMP.number)
    return u32(0)
