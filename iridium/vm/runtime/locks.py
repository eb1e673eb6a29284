"""Locks between the threads of a scheduler, and time. In the subset of Python of :mod:`iridium.vm.runtime.subset`.

A lock is held for some tens of instructions, so whoever waits for one does not sleep: it tries again, and lets
other threads run, since the holder may be one that the system has stopped.

Whoever holds several takes them in this order: a mailbox's, the queue's, the timers', a peer's, the events'.
Nobody holds two mailboxes, and the table's lock is held alone; an account's with the queue's behind it, or alone.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import Account, Shared, Worker
from iridium.vm.runtime.subset import (
    exchange,
    external,
    field_address,
    i32,
    load_acquire,
    native,
    store_release,
    u64,
)

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
def malloc(size: u64) -> u64:
    """The C library's."""
    raise NotImplementedError


@external
def free(place: u64) -> None:
    """The C library's."""
    raise NotImplementedError


@native
def now(worker: Worker) -> u64:
    """Nanoseconds by a clock that never steps."""
    clock_gettime(CLOCK_MONOTONIC, field_address(worker, "seconds"))
    return u64(worker.seconds) * 1000000000 + u64(worker.nanoseconds)


@native
def acquire_queue(shared: Shared) -> None:
    """Hold the lock of the queue of VMs that can run."""
    while exchange(shared, "lock", 1) != 0:
        while load_acquire(shared, "lock") != 0:
            sched_yield()


@native
def release_queue(shared: Shared) -> None:
    """Let go of it."""
    store_release(shared, "lock", 0)


@native
def acquire_events(shared: Shared) -> None:
    """Hold the lock of the lists of events."""
    while exchange(shared, "events_lock", 1) != 0:
        while load_acquire(shared, "events_lock") != 0:
            sched_yield()


@native
def release_events(shared: Shared) -> None:
    """Let go of it."""
    store_release(shared, "events_lock", 0)


@native
def acquire_table(shared: Shared) -> None:
    """Hold the lock of the table of processes; nothing else is taken meanwhile."""
    while exchange(shared, "table_lock", 1) != 0:
        while load_acquire(shared, "table_lock") != 0:
            sched_yield()


@native
def release_table(shared: Shared) -> None:
    """Let go of it."""
    store_release(shared, "table_lock", 0)


@native
def acquire_timers(shared: Shared) -> None:
    """Hold the lock of the deadlines."""
    while exchange(shared, "timer_lock", 1) != 0:
        while load_acquire(shared, "timer_lock") != 0:
            sched_yield()


@native
def release_timers(shared: Shared) -> None:
    """Let go of it."""
    store_release(shared, "timer_lock", 0)


@native
def acquire_account(account: Account) -> None:
    """Hold the lock of an account; only the queue's is taken meanwhile."""
    while exchange(account, "lock", 1) != 0:
        while load_acquire(account, "lock") != 0:
            sched_yield()


@native
def release_account(account: Account) -> None:
    """Let go of it."""
    store_release(account, "lock", 0)


@native
def acquire_mailbox(vm: Record) -> None:
    """Hold the lock of a process: of its mailbox, its watches, and whether it is one."""
    while exchange(vm, "mailbox_lock", 1) != 0:
        while load_acquire(vm, "mailbox_lock") != 0:
            sched_yield()


@native
def release_mailbox(vm: Record) -> None:
    """Let go of it."""
    store_release(vm, "mailbox_lock", 0)
