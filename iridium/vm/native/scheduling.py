"""The native scheduler: a queue of VMs that can run, workers that give them turns, and a list of what the host
must look at. In the subset of Python that :mod:`iridium.vm.native.subset` makes machine code of.

There is one queue, first in, first out. A worker takes a batch from it, gives each VM of the batch a turn, and
puts those that go on behind the others: two short looks at the shared queue for many turns, and every VM gets its
turn as often as any other, however many workers there are.

A VM is queued, running, or idle. What becomes idle is put on the list of events, under one lock with that change,
so that the host sees each end once. The host may stop a VM at any time: it sets ``stop_requested`` and waits until
the VM does not run; a VM that is stopped in the queue is dropped by the worker that comes across it.
"""

from __future__ import annotations

from iridium.vm.native.layout import IDLE, QUEUED, RUNNING, Shared, Worker
from iridium.vm.native.runtime import advance
from iridium.vm.native.subset import (
    address,
    at,
    exchange,
    external,
    i32,
    load_acquire,
    native,
    store_release,
    u32,
    u64,
)
from iridium.vm.output import Ring
from iridium.vm.record import Record, Stop

TURN = 4096
"""Instructions of a turn: some microseconds interpreted, so that a thousand busy VMs have their turns in some
milliseconds; long enough that giving turns costs little beside."""

ALONE = 16
"""How many times longer the turn of a VM is that nobody waits behind."""

BATCH = 32
"""VMs that a worker takes from the queue at once, if there are so many for each worker."""

NOTHING, TIME_OVER, STOPPING = 0, 1, 2
"""Why :func:`work` returns."""

CLOCK_MONOTONIC = 1


@external
def clock_gettime(clock: i32, place: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@external
def sched_yield() -> i32:
    """The C library's."""
    raise NotImplementedError


@external
def eventfd_read(file: i32, place: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@external
def eventfd_write(file: i32, value: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@native
def now(worker: Worker) -> u64:
    """Nanoseconds by a clock that never steps."""
    clock_gettime(CLOCK_MONOTONIC, address(worker.seconds))
    return u64(worker.seconds) * 1000000000 + u64(worker.nanoseconds)


@native
def acquire_queue(shared: Shared) -> None:
    """Hold the queue's lock: for a few instructions, so whoever waits lets others run instead of sleeping."""
    while exchange(shared.lock, 1) != 0:
        while load_acquire(shared.lock) != 0:
            sched_yield()


@native
def acquire_events(shared: Shared) -> None:
    """Hold the lock of the events, likewise."""
    while exchange(shared.events_lock, 1) != 0:
        while load_acquire(shared.events_lock) != 0:
            sched_yield()


@native
def append(shared: Shared, first: Record, last: Record, count: u32, wake: u32) -> None:
    """Put a chain of VMs behind the queue, and wake so many workers that wait. The caller holds the lock."""
    last.next = 0
    if shared.head == 0:
        shared.head = address(first)
    else:
        at(Record, shared.tail).next = address(first)
    shared.tail = address(last)
    shared.queued += count
    while wake != 0 and shared.waiting != 0:
        shared.waiting -= 1
        wake -= 1
        eventfd_write(shared.workers_file, u64(1))


@native
def submit(shared: Shared, vm: Record) -> None:
    """Let a VM have turns; for the host, and only for a VM that it has seen idle, or has stopped itself."""
    acquire_queue(shared)
    vm.stop_requested = 0
    if vm.state == IDLE:
        vm.state = QUEUED
        append(shared, vm, vm, u32(1), u32(1))
    store_release(shared.lock, 0)


@native
def request_stop(vm: Record) -> u32:
    """Let a VM have no more turns; whether it has one right now. For the host, which asks until it has none."""
    exchange(vm.stop_requested, 1)
    if load_acquire(vm.state) == RUNNING:
        return u32(1)
    return u32(0)


@native
def tell_host(shared: Shared, vm: Record, state: u32) -> None:
    """Put a VM on the list of events, and change its state, as one step."""
    acquire_events(shared)
    store_release(vm.state, state)
    wake: u32 = 0
    if vm.in_events == 0:
        vm.in_events = 1
        vm.next_event = 0
        if shared.first_event == 0:
            shared.first_event = address(vm)
            wake = 1
        else:
            at(Record, shared.last_event).next_event = address(vm)
        shared.last_event = address(vm)
    store_release(shared.events_lock, 0)
    if wake != 0:
        eventfd_write(shared.host_file, u64(1))


@native
def take_event(shared: Shared) -> u64:
    """The next VM that the host must look at, or 0; ``event_state`` says in which state it is."""
    acquire_events(shared)
    found = shared.first_event
    if found != 0:
        vm = at(Record, found)
        shared.first_event = vm.next_event
        vm.in_events = 0
        shared.event_state = vm.state
    store_release(shared.events_lock, 0)
    return found


@native
def take_batch(shared: Shared, worker: Worker) -> None:
    """Take VMs from the queue: a fair share of them, and at most a batch."""
    acquire_queue(shared)
    wanted = shared.queued // shared.threads
    if wanted == 0:
        wanted = 1
    if wanted > BATCH:
        wanted = u32(BATCH)
    while wanted != 0 and shared.head != 0:
        vm = at(Record, shared.head)
        shared.head = vm.next
        shared.queued -= 1
        wanted -= 1
        push(worker, vm)
    store_release(shared.lock, 0)


@native
def push(worker: Worker, vm: Record) -> None:
    """Put a VM behind a worker's own."""
    vm.next = 0
    if worker.head == 0:
        worker.head = address(vm)
    else:
        at(Record, worker.tail).next = address(vm)
    worker.tail = address(vm)
    worker.count += 1


@native
def give_back(shared: Shared, worker: Worker) -> None:
    """Put a worker's VMs behind the queue."""
    if worker.head == 0:
        return
    acquire_queue(shared)
    # This worker takes one of them itself.
    append(shared, at(Record, worker.head), at(Record, worker.tail), worker.count, worker.count - 1)
    worker.head = 0
    worker.count = 0
    store_release(shared.lock, 0)


@native
def dropped(shared: Shared, vm: Record) -> u32:
    """Whether a VM that somebody stopped has really no more turns: it may have been started again meanwhile."""
    acquire_queue(shared)
    stopped = vm.stop_requested
    if stopped != 0:
        store_release(vm.state, IDLE)
    store_release(shared.lock, 0)
    return stopped


@native
def turn(shared: Shared, worker: Worker, vm: Record) -> None:
    """Give one VM its turn."""
    exchange(vm.state, RUNNING)
    if load_acquire(vm.stop_requested) != 0 and dropped(shared, vm) != 0:
        return
    budget = u64(shared.turn)
    if worker.head == 0 and shared.queued == 0:
        budget *= ALONE
    if vm.limit < budget:
        budget = vm.limit
    left = advance(vm, budget)
    vm.limit -= budget - left
    vm.turns += 1
    worker.turns += 1
    worker.executed += budget - left
    if load_acquire(vm.stop_requested) != 0 and dropped(shared, vm) != 0:
        return
    if vm.stop != Stop.BUDGET or vm.limit == 0:
        tell_host(shared, vm, u32(IDLE))
        return
    if vm.output != 0 and vm.in_events == 0:
        ring = at(Ring, vm.output)
        if ring.written != load_acquire(ring.read):
            # The host reads what was printed while the VM goes on.
            tell_host(shared, vm, u32(QUEUED))
    store_release(vm.state, QUEUED)
    push(worker, vm)


@native
def work(worker: Worker, nanoseconds: u64) -> u32:
    """Give turns for some time; where there is nothing to do, wait. What a worker thread calls, over and over."""
    shared = at(Shared, worker.shared)
    end = now(worker) + nanoseconds
    while True:
        if load_acquire(shared.stopping) != 0:
            return u32(STOPPING)
        take_batch(shared, worker)
        if worker.head == 0:
            acquire_queue(shared)
            if shared.head == 0 and shared.stopping == 0:
                shared.waiting += 1
                store_release(shared.lock, 0)
                # Nothing to do: sleep until somebody submits a VM. The time asked for may be over then.
                eventfd_read(shared.workers_file, address(worker.seconds))
                return u32(NOTHING)
            store_release(shared.lock, 0)
        remaining = worker.count
        while remaining != 0:
            vm = at(Record, worker.head)
            worker.head = vm.next
            worker.count -= 1
            remaining -= 1
            turn(shared, worker, vm)
        give_back(shared, worker)
        if now(worker) >= end:
            return u32(TIME_OVER)


@native
def stop_workers(shared: Shared) -> None:
    """Let every worker return."""
    acquire_queue(shared)
    store_release(shared.stopping, 1)
    while shared.waiting != 0:
        shared.waiting -= 1
        eventfd_write(shared.workers_file, u64(1))
    store_release(shared.lock, 0)
