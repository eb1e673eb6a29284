"""The scheduler: workers that give VMs their turns. In the subset of Python of :mod:`iridium.vm.runtime.subset`.

There is one queue, first in, first out. A worker takes a batch from it, gives each VM of the batch a turn, and
puts those that go on behind the others: two short looks at the shared queue for many turns, and every VM gets its
turn as often as any other, however many workers there are. What a worker's VMs wake by a message runs in the same
round, so that processes that talk to each other stay in one thread; but only for as long as the VMs of the batch
may run together, so that those that only compute get their share beside them.

A VM is queued, running, asleep (it waits for a message or a point in time) or idle. What becomes idle is put on
the list of events, under one lock with that change, so that the host sees each end once. The host may stop a VM
at any time: it sets ``stop_requested`` and waits until the VM does not run; a VM that is stopped in the queue is
dropped by the worker that comes across it. One whose account is empty is parked there, and counts as queued.
"""

from __future__ import annotations

from iridium.vm.output import Ring
from iridium.vm.record import Record, Stop, Waiting
from iridium.vm.runtime.accounts import draw_or_park, let_next, put_back
from iridium.vm.runtime.layout import (
    ASLEEP,
    FOREVER,
    IDLE,
    KILL,
    PROCESS,
    QUEUED,
    RUNNING,
    Account,
    Shared,
    Worker,
)
from iridium.vm.runtime.locks import (
    acquire_mailbox,
    acquire_queue,
    now,
    release_mailbox,
    release_queue,
)
from iridium.vm.runtime.mailbox import NEXT_TURN
from iridium.vm.runtime.processes import end, exit_reason_of
from iridium.vm.runtime.queue import (
    dropped,
    give_back,
    push_again,
    take_batch,
    tell_host,
    wake,
    wake_workers,
)
from iridium.vm.runtime.subset import (
    address,
    at,
    exchange,
    external,
    field_address,
    i32,
    load_acquire,
    native,
    store_release,
    u32,
    u64,
)
from iridium.vm.runtime.timers import set_timer, take_expired
from iridium.vm.runtime.turns import advance

TURN = 4096
"""Instructions of a turn: some microseconds interpreted, so that a thousand busy VMs have their turns in some
milliseconds; long enough that giving turns costs little beside."""

ALONE = 16
"""How many times longer the turn of a VM is that nobody waits behind, in machine code."""

ROUND = 256
"""Turns between two looks at the clock and at the queue of all workers, in machine code."""

NOTHING, TIME_OVER, STOPPING = 0, 1, 2
"""Why a worker's call returns."""

POLLIN = 1
LONGEST_SLEEP = 60_000_000_000
"""Nanoseconds that a worker sleeps at the most when nothing is to come."""


@external
def eventfd_read(file: i32, place: u64) -> i32:
    """The C library's."""
    raise NotImplementedError


@external
def poll(files: u64, count: u64, milliseconds: i32) -> i32:
    """The C library's."""
    raise NotImplementedError


@native
def fall_asleep(shared: Shared, vm: Record) -> u32:
    """Let a VM wait for a message or a point in time; 0 if what it waits for is there already."""
    acquire_mailbox(vm)
    sleeps: u32 = 1
    if (
        vm.stop_requested != 0
        or (vm.waiting == Waiting.MESSAGE and vm.mailbox_count != 0)
        or vm.deadline == NEXT_TURN
    ):
        sleeps = u32(0)
    elif vm.deadline != 0 and set_timer(shared, vm) == 0:
        sleeps = u32(0)  # no memory: it asks for the time in turns
    if sleeps != 0:
        store_release(vm, "state", ASLEEP)
    release_mailbox(vm)
    return sleeps


@native
def stopped(shared: Shared, worker: Worker, vm: Record) -> u32:
    """Whether a VM has no more turns, since somebody stopped or killed it."""
    request = load_acquire(vm, "stop_requested")
    if request == 0:
        return u32(0)
    if request == KILL:
        end(worker, vm, vm.exit_reason)
        return u32(1)
    return dropped(shared, vm)


@native
def turn(shared: Shared, worker: Worker, vm: Record) -> None:
    """Give one VM its turn."""
    vm.worker = address(worker)
    exchange(vm, "state", RUNNING)
    if vm.account != 0:
        let_next(worker, at(Account, vm.account))
    if vm.stop_requested != 0 and stopped(shared, worker, vm) != 0:
        return
    budget = u64(shared.turn)
    if worker.head == 0 and worker.again_head == 0 and shared.queued == 0:
        budget *= u64(shared.alone)
    if vm.limit < budget:
        budget = vm.limit
    if vm.account != 0 and budget != 0:
        budget = draw_or_park(vm, budget)
        if budget == 0:
            return
    left = advance(vm, budget)
    if vm.account != 0:
        put_back(at(Account, vm.account), left)
    if vm.limit != FOREVER:
        vm.limit -= budget - left
    vm.turns += 1
    worker.turns += 1
    worker.executed += budget - left
    if vm.stop_requested != 0 and stopped(shared, worker, vm) != 0:
        return
    if vm.stop == Stop.WAITING:
        if vm.waiting == Waiting.MESSAGE or vm.waiting == Waiting.TIME:
            tell_output(shared, vm)
            if fall_asleep(shared, vm) != 0:
                return
        elif vm.waiting != Waiting.TURN:
            hand_over(shared, worker, vm)
            return
        else:
            # It has had its time. So it goes on as after any turn, and the clock is looked at.
            vm.stop = Stop.BUDGET
            vm.waiting = Waiting.NOTHING
            worker.round_end = 0
    elif vm.stop != Stop.BUDGET or vm.limit == 0:
        if vm.kind == PROCESS:
            end(worker, vm, exit_reason_of(vm))
        else:
            hand_over(shared, worker, vm)
        return
    tell_output(shared, vm)
    store_release(vm, "state", QUEUED)
    push_again(worker, vm)


@native
def hand_over(shared: Shared, worker: Worker, vm: Record) -> None:
    """Give a VM to the host, unless somebody kills it at this moment."""
    acquire_mailbox(vm)
    killed: u32 = 0
    if vm.stop_requested == KILL:
        killed = 1
    else:
        # The host looks at it from now on: whoever ends it leaves its slot to the host.
        vm.host_cares = 1
        tell_host(shared, vm, u32(IDLE))
    release_mailbox(vm)
    if killed != 0:
        end(worker, vm, vm.exit_reason)


@native
def tell_output(shared: Shared, vm: Record) -> None:
    """Let the host read what a VM has printed, while it goes on."""
    if vm.output != 0 and vm.in_events == 0:
        ring = at(Ring, vm.output)
        # Once: a reader that leaves it there for now knows.
        if ring.written != ring.told and ring.written != load_acquire(ring, "read"):
            ring.told = ring.written
            tell_host(shared, vm, u32(RUNNING))


@native
def wake_expired(shared: Shared, worker: Worker, time: u64) -> None:
    """Let those run who waited until now."""
    while True:
        found = take_expired(shared, time)
        if found == 0:
            return
        vm = at(Record, found)
        acquire_mailbox(vm)
        wake(worker, vm)
        release_mailbox(vm)


@native
def run_round(worker: Worker) -> u32:
    """Give turns until the clock should be looked at; how many there were."""
    shared = at(Shared, worker.shared)
    if worker.head == 0:
        take_batch(shared, worker)
    worker.round_end = worker.executed + u64(worker.count) * u64(shared.turn)
    most = shared.round
    given: u32 = 0
    while worker.head != 0 and given < most:
        if worker.executed >= worker.round_end and (worker.again_head != 0 or shared.queued != 0):
            break
        vm = at(Record, worker.head)
        worker.head = vm.next
        worker.count -= 1
        given += 1
        turn(shared, worker, vm)
    if shared.queued == 0 and load_acquire(shared, "waiting") == 0 and worker.head == 0:
        # Nobody else wants them, and nobody waits for his turn in the queue.
        worker.head = worker.again_head
        worker.tail = worker.again_tail
        worker.count = worker.again_count
        worker.again_head = 0
        worker.again_count = 0
    elif worker.head != 0 or worker.again_head != 0:
        give_back(shared, worker, u32(1))
    return given


@native
def run_some(worker: Worker, nanoseconds: u64) -> u32:
    """Give turns for some time, or until there is nothing to do."""
    shared = at(Shared, worker.shared)
    time = now(worker)
    over = time + nanoseconds
    while True:
        if load_acquire(shared, "stopping") != 0:
            give_back(shared, worker, u32(0))
            return u32(STOPPING)
        if shared.next_deadline <= time:
            wake_expired(shared, worker, time)
        given = run_round(worker)
        time = now(worker)
        if given == 0 and shared.next_deadline > time:
            return u32(NOTHING)
        if time >= over:
            give_back(shared, worker, u32(1))
            return u32(TIME_OVER)


@native
def run_woken(worker: Worker, nanoseconds: u64) -> u32:
    """Give a turn to those whom the host has woken, and to whom they wake, for some time; how many turns.

    Only while all workers sleep: to wake one takes longer than most answers to a message. What wants more is
    theirs.
    """
    shared = at(Shared, worker.shared)
    given: u32 = 0
    deadline = shared.next_deadline
    if shared.waiting == shared.threads and shared.queued == 0:
        over = now(worker) + nanoseconds
        while worker.head != 0:
            vm = at(Record, worker.head)
            worker.head = vm.next
            worker.count -= 1
            given += 1
            turn(shared, worker, vm)
            if now(worker) >= over:
                break
    give_back(shared, worker, u32(0))
    if shared.next_deadline < deadline:
        wake_one(shared)  # they sleep until the deadline that was the next before
    return given


@native
def wake_one(shared: Shared) -> None:
    """Wake a worker, if one sleeps."""
    acquire_queue(shared)
    wake_workers(shared, u32(1))
    release_queue(shared)


@native
def work(worker: Worker, nanoseconds: u64) -> u32:
    """The same, but sleep while there is nothing to do. What a worker thread calls, over and over."""
    shared = at(Shared, worker.shared)
    result = run_some(worker, nanoseconds)
    if result != NOTHING:
        return result
    acquire_queue(shared)
    if shared.head != 0 or shared.stopping != 0:
        release_queue(shared)
        return u32(NOTHING)
    shared.waiting += 1
    release_queue(shared)
    # Sleep until somebody submits a VM, or the next deadline. Rounded up: too early would be once more.
    time = now(worker)
    wait: u64 = LONGEST_SLEEP
    if shared.next_deadline < time + wait:
        wait = u64(0)
        if shared.next_deadline > time:
            wait = shared.next_deadline - time
    worker.poll_file = shared.workers_file
    worker.poll_events = u32(POLLIN)
    poll(field_address(worker, "poll_file"), u64(1), i32(u32(wait // 1000000 + 1)))
    acquire_queue(shared)
    woken: u32 = 1
    if worker.poll_events >> 16 == 0 and shared.waiting != 0:
        # Nobody has woken it: it does not wait any more. Else somebody has, or is about to.
        shared.waiting -= 1
        woken = u32(0)
    release_queue(shared)
    while woken != 0 and eventfd_read(shared.workers_file, field_address(worker, "seconds")) != 0:
        if load_acquire(shared, "stopping") != 0:  # else a signal came between
            break
    return u32(NOTHING)


@native
def stop_workers(shared: Shared) -> None:
    """Let every worker return."""
    acquire_queue(shared)
    store_release(shared, "stopping", 1)
    wake_workers(shared, shared.waiting)
    release_queue(shared)
