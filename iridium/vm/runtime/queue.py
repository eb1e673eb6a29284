"""Who can run: the queue of all workers, the lists of each, and the list of what the host must look at.

In the subset of Python of :mod:`iridium.vm.runtime.subset`.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import ASLEEP, ENDED, IDLE, QUEUED, RUNNING, STOP, Account, Shared, Worker
from iridium.vm.runtime.locks import (
    acquire_events,
    acquire_mailbox,
    acquire_queue,
    release_events,
    release_mailbox,
    release_queue,
)
from iridium.vm.runtime.subset import (
    address,
    at,
    compare_exchange,
    exchange,
    external,
    i32,
    load_acquire,
    native,
    store_release,
    u32,
    u64,
)
from iridium.vm.runtime.timers import cancel_timer

BATCH = 32
"""VMs that a worker takes from the queue at once, if there are so many for each worker; in machine code."""


@external
def eventfd_write(file: i32, value: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@native
def push(worker: Worker, vm: Record) -> None:
    """Put a VM behind those that a worker runs next."""
    vm.next = 0
    if worker.head == 0:
        worker.head = address(vm)
    else:
        at(Record, worker.tail).next = address(vm)
    worker.tail = address(vm)
    worker.count += 1


@native
def push_again(worker: Worker, vm: Record) -> None:
    """Put a VM behind those that have had their turn."""
    vm.next = 0
    if worker.again_head == 0:
        worker.again_head = address(vm)
    else:
        at(Record, worker.again_tail).next = address(vm)
    worker.again_tail = address(vm)
    worker.again_count += 1


@native
def wake_workers(shared: Shared, most: u32) -> None:
    """Wake so many workers, if they wait. The caller holds the lock."""
    left = most
    while left != 0 and shared.waiting != 0:
        shared.waiting -= 1
        left -= 1
        eventfd_write(shared.workers_file, u64(1))


@native
def append(shared: Shared, first: u64, last: u64, count: u32) -> None:
    """Put a chain of VMs behind the queue. The caller holds the lock."""
    at(Record, last).next = 0
    if shared.head == 0:
        shared.head = first
    else:
        at(Record, shared.tail).next = first
    shared.tail = last
    shared.queued += count


@native
def give_back(shared: Shared, worker: Worker, keep: u32) -> None:
    """Put a worker's VMs behind the queue.

    Waiting workers are woken for all of them but ``keep``, which this worker will take itself.
    """
    count = worker.count + worker.again_count
    if count == 0:
        return
    wake: u32 = 0
    if count > keep:
        wake = count - keep
    acquire_queue(shared)
    if worker.head != 0:
        append(shared, worker.head, worker.tail, worker.count)
    if worker.again_head != 0:
        append(shared, worker.again_head, worker.again_tail, worker.again_count)
    wake_workers(shared, wake)
    release_queue(shared)
    worker.head = 0
    worker.count = 0
    worker.again_head = 0
    worker.again_count = 0


@native
def take_batch(shared: Shared, worker: Worker) -> None:
    """Take VMs from the queue: a fair share of them, and at most a batch."""
    acquire_queue(shared)
    wanted = shared.queued // shared.threads
    if wanted == 0:
        wanted = 1
    if wanted > shared.batch:
        wanted = shared.batch
    while wanted != 0 and shared.head != 0:
        vm = at(Record, shared.head)
        shared.head = vm.next
        shared.queued -= 1
        wanted -= 1
        push(worker, vm)
    release_queue(shared)


# What the host does to VMs.


@native
def submit(shared: Shared, vm: Record) -> None:
    """Let a VM have turns; for the host, and only for a VM that it has seen idle, or has stopped itself."""
    # What somebody has ended at this moment is the host's, and has no turns.
    acquire_mailbox(vm)
    if vm.kind != ENDED:
        acquire_queue(shared)
        if vm.stop_requested == STOP:
            vm.stop_requested = 0
        if compare_exchange(vm, "state", IDLE, QUEUED):
            append(shared, address(vm), address(vm), u32(1))
            wake_workers(shared, u32(1))
        release_queue(shared)
    release_mailbox(vm)


@native
def request_stop(shared: Shared, vm: Record) -> u32:
    """Let a VM have no more turns; whether it has one at this moment. For the host, which asks until it has
    not.
    """
    exchange(vm, "stop_requested", STOP)
    if vm.account != 0:
        store_release(at(Account, vm.account), "sweep", 1)
    if load_acquire(vm, "state") == ASLEEP:
        acquire_mailbox(vm)
        if vm.state == ASLEEP:
            store_release(vm, "state", IDLE)
            cancel_timer(shared, vm)
        release_mailbox(vm)
    if load_acquire(vm, "state") == RUNNING:
        return u32(1)
    return u32(0)


@native
def dropped(shared: Shared, vm: Record) -> u32:
    """Whether a VM that the host stopped has really no more turns: it may have been started again meanwhile."""
    acquire_queue(shared)
    stopped: u32 = 0
    if vm.stop_requested == STOP:
        stopped = 1
        store_release(vm, "state", IDLE)
    release_queue(shared)
    return stopped


# What the host hears of VMs.


@native
def tell_host(shared: Shared, vm: Record, state: u32) -> None:
    """Put a VM on the list of events, and change its state, as one step."""
    wake: u32 = 0
    acquire_events(shared)
    if vm.in_events == 0:
        vm.in_events = 1
        vm.next_event = 0
        if shared.first_event == 0:
            shared.first_event = address(vm)
            if shared.host_awake == 0:
                wake = 1
        else:
            at(Record, shared.last_event).next_event = address(vm)
        shared.last_event = address(vm)
    # Last: whoever sees that it is idle sees that it is in the list.
    store_release(vm, "state", state)
    release_events(shared)
    if wake != 0 and shared.host_file >= 0:
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
    release_events(shared)
    return found


@native
def wake(worker: Worker, vm: Record) -> None:
    """Let a VM that is asleep have a turn. The caller holds its mailbox, without which nothing ends its sleep."""
    if vm.state == ASLEEP:
        store_release(vm, "state", QUEUED)
        cancel_timer(at(Shared, worker.shared), vm)
        push(worker, vm)
