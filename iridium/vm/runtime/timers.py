"""Who waits for a point in time: an indexed binary heap, so that a process is in it once and can be taken out.

In the subset of Python of :mod:`iridium.vm.runtime.subset`. The heap is that of Williams (1964): the entry at
place i has its followers at 2i and 2i + 1, counted from 1, and none is earlier than the one before it.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import FOREVER, Shared
from iridium.vm.runtime.locks import acquire_timers, free, malloc, release_timers
from iridium.vm.runtime.subset import address, at, copy, load, native, store, u32, u64


@native
def timer_at(shared: Shared, place: u32) -> u64:
    """The record at a place of the heap."""
    return load(u64, shared.timers + u64(place) * 8)


@native
def put_timer(shared: Shared, place: u32, vm: Record) -> None:
    """Put a record at a place."""
    store(u64, shared.timers + u64(place) * 8, address(vm))
    vm.timer = place


@native
def rise(shared: Shared, vm: Record, start: u32) -> None:
    """Put a record at a place or nearer to the top, where it belongs."""
    place = start
    while place > 1:
        above = at(Record, timer_at(shared, place // 2))
        if above.deadline <= vm.deadline:
            break
        put_timer(shared, place, above)
        place = place // 2
    put_timer(shared, place, vm)


@native
def sink(shared: Shared, vm: Record, start: u32) -> None:
    """Put a record at a place or further from the top, where it belongs."""
    place = start
    while place * 2 <= shared.timer_entries:
        below: u32 = place * 2
        if below < shared.timer_entries:
            left = at(Record, timer_at(shared, below))
            right = at(Record, timer_at(shared, below + 1))
            if right.deadline < left.deadline:
                below = below + 1
        follower = at(Record, timer_at(shared, below))
        if vm.deadline <= follower.deadline:
            break
        put_timer(shared, place, follower)
        place = below
    put_timer(shared, place, vm)


@native
def note_next(shared: Shared) -> None:
    """Remember the earliest deadline, which workers look at without the lock."""
    if shared.timer_entries == 0:
        shared.next_deadline = FOREVER
    else:
        shared.next_deadline = at(Record, timer_at(shared, u32(1))).deadline


@native
def set_timer(shared: Shared, vm: Record) -> u32:
    """Enter a VM that waits until ``deadline``; whether there was memory for it."""
    acquire_timers(shared)
    if shared.timer_entries + 1 >= shared.timer_capacity:
        capacity: u32 = 64
        if shared.timer_capacity != 0:
            capacity = shared.timer_capacity * 2
        larger = malloc(u64(capacity) * 8)
        if larger == 0:
            release_timers(shared)
            return u32(0)
        if shared.timers != 0:
            copy(larger, shared.timers, u64(shared.timer_capacity) * 8)
            free(shared.timers)
        shared.timers = larger
        shared.timer_capacity = capacity
    shared.timer_entries += 1
    rise(shared, vm, shared.timer_entries)
    note_next(shared)
    release_timers(shared)
    return u32(1)


@native
def remove_timer(shared: Shared, vm: Record) -> None:
    """Take a record out of the heap, where it is in it. The caller holds the lock."""
    place = vm.timer
    if place == 0:
        return
    vm.timer = 0
    last = at(Record, timer_at(shared, shared.timer_entries))
    shared.timer_entries -= 1
    if address(last) != address(vm):
        if place > 1 and last.deadline < at(Record, timer_at(shared, place // 2)).deadline:
            rise(shared, last, place)
        else:
            sink(shared, last, place)
    note_next(shared)


@native
def cancel_timer(shared: Shared, vm: Record) -> None:
    """A VM waits no longer."""
    if vm.timer != 0:
        acquire_timers(shared)
        remove_timer(shared, vm)
        release_timers(shared)


@native
def take_expired(shared: Shared, time: u64) -> u64:
    """The record whose deadline is past longest, taken out of the heap, or 0."""
    found: u64 = 0
    acquire_timers(shared)
    if shared.timer_entries != 0:
        first = at(Record, timer_at(shared, u32(1)))
        if first.deadline <= time:
            found = address(first)
            remove_timer(shared, first)
    release_timers(shared)
    return found
