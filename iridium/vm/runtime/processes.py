"""Processes: how they end, who watches whom, and who is told. In the subset of Python of
:mod:`iridium.vm.runtime.subset`.

Each watch stands in the lists of both processes, so that either can end without a search. Lists are detached under
the lock of their process and worked off without it: no two mailboxes are ever locked at once.
"""

from __future__ import annotations

from iridium.vm.record import Record, Stop
from iridium.vm.runtime.layout import (
    ASLEEP,
    END_MESSAGE,
    ENDED,
    EXIT,
    FOREVER,
    FREE,
    IDLE,
    KILL,
    KILL_PROCESS,
    KILLED,
    LINK_TO,
    LINKED,
    NO_PROCESS,
    PROCESS,
    PROXY,
    QUEUED,
    WATCHED_BY,
    WATCHES,
    Account,
    Peer,
    ProgramRecord,
    Shared,
    Watch,
    Worker,
)
from iridium.vm.runtime.locks import (
    acquire_mailbox,
    free,
    malloc,
    release_mailbox,
)
from iridium.vm.runtime.mailbox import MOST_MESSAGES, acquire_process, drop_messages, put_message
from iridium.vm.runtime.queue import push, tell_host, wake
from iridium.vm.runtime.remote import note_known, put_notice, put_request, tell_peers
from iridium.vm.runtime.slots import release_memory, release_slot
from iridium.vm.runtime.subset import (
    add_atomic,
    at,
    compare_exchange,
    exchange,
    i32,
    native,
    store_release,
    u32,
    u64,
)

MOST_WATCHES = 65_536
"""Watches of one process: each takes memory, and the end of a process takes time for each."""

WATCH = 16

ITSELF = 2
"""A process has just ended itself: it executes nothing more, and its turn is over."""


@native
def add_watch(vm: Record, kind: u32, pid: u32) -> u32:
    """Put a watch into a process's list, whose lock the caller holds. 0: no room; 1: done; 2: it is there
    already.
    """
    count: u32 = 0
    place = vm.watches
    while place != 0:
        watch = at(Watch, place)
        if watch.pid == pid and watch.kind == kind:
            return u32(2)
        count += 1
        place = watch.next
    if count >= MOST_WATCHES:
        return u32(0)
    new = malloc(u64(WATCH))
    if new == 0:
        return u32(0)
    watch = at(Watch, new)
    watch.next = vm.watches
    watch.pid = pid
    watch.kind = kind
    vm.watches = new
    return u32(1)


@native
def drop_watch(vm: Record, kind: u32, pid: u32) -> u32:
    """Take a watch out of a process's list, whose lock the caller holds; whether it was there."""
    before: u64 = 0
    place = vm.watches
    while place != 0:
        watch = at(Watch, place)
        if watch.pid == pid and watch.kind == kind:
            if before == 0:
                vm.watches = watch.next
            else:
                at(Watch, before).next = watch.next
            free(place)
            return u32(1)
        before = place
        place = watch.next
    return u32(0)


@native
def remove_watch(shared: Shared, owner: u32, kind: u32, pid: u32) -> u32:
    """Take a watch out of a process's list; whether both were there."""
    found = acquire_process(shared, owner)
    if found == 0:
        return u32(0)
    vm = at(Record, found)
    there = drop_watch(vm, kind, pid)
    release_mailbox(vm)
    return there


@native
def enter_watch(worker: Worker, vm: Record, own: u32, kind: u32, other_kind: u32, pid: u32) -> u32:
    """Enter a watch of a process, with its own pid, and of another on both sides. 0: no room; 1: done; 2: there is
    no such process; 3: it was there already.
    """
    shared = at(Shared, worker.shared)
    mine: u32 = 0
    acquire_mailbox(vm)
    if vm.pid == own and vm.kind != ENDED and vm.kind != FREE:
        mine = add_watch(vm, kind, pid)
    release_mailbox(vm)
    if mine != 1:
        if mine == 2:
            mine = u32(3)
        return mine
    found = acquire_process(shared, pid)
    result: u32 = 2
    if found != 0:
        other = at(Record, found)
        result = add_watch(other, other_kind, own)
        release_mailbox(other)
        if result == 2:
            result = u32(1)
    if found == 0:
        result = u32(2)
    if result != 1 and remove_watch(shared, own, kind, pid) == 0:
        # An earlier watch of the same process was just worked off, and this one with it.
        result = u32(1)
    return result


@native
def tell_end(worker: Worker, to: u32, pid: u32, reason: i32, watched: u32) -> None:
    """Put the notice that a process has ended into a mailbox; if ``watched``, only where there is a watch for it,
    which is taken out in the same step: so it comes once, and none comes after DEMONITOR.
    """
    found = acquire_process(at(Shared, worker.shared), to)
    if found != 0:
        vm = at(Record, found)
        if watched == 0 or drop_watch(vm, u32(WATCHES), pid) != 0:
            put_message(worker, vm, u32(END_MESSAGE), u64(u32(reason)), pid)
        release_mailbox(vm)


@native
def monitor(vm: Record, pid: u32) -> u32:
    """MONITOR: whether there was room; of a process that is not there, the notice comes at once.

    Notices are never refused, so there are no more of them than watches: a full mailbox asks for none.
    """
    if vm.worker == 0 or vm.mailbox_count >= MOST_MESSAGES:
        return u32(0)
    worker = at(Worker, vm.worker)
    if pid == vm.pid:
        return u32(0)
    result = enter_watch(worker, vm, vm.pid, u32(WATCHES), u32(WATCHED_BY), pid)
    if result == 2:
        tell_end(worker, vm.pid, pid, i32(NO_PROCESS), u32(0))
    if result != 0:
        result = u32(1)
    return result


@native
def demonitor(vm: Record, pid: u32) -> None:
    """DEMONITOR: no notice comes that is not in the mailbox already."""
    if vm.worker == 0:
        return
    shared = at(Shared, at(Worker, vm.worker).shared)
    remove_watch(shared, vm.pid, u32(WATCHES), pid)
    remove_watch(shared, pid, u32(WATCHED_BY), vm.pid)


@native
def link(vm: Record, pid: u32) -> u32:
    """LINK: whether there was room, or :data:`ITSELF`: of a process that is not there, this one is ended."""
    if vm.worker == 0 or pid == vm.pid:
        return u32(0)
    worker = at(Worker, vm.worker)
    shared = at(Shared, worker.shared)
    result = enter_watch(worker, vm, vm.pid, u32(LINKED), u32(LINKED), pid)
    if result == 2:
        result = u32(1)
        if kill(worker, vm.pid, i32(NO_PROCESS)) != 0:
            result = u32(ITSELF)
    elif result == 1:
        if link_away(shared, vm.pid, pid) == 0:
            remove_watch(shared, vm.pid, u32(LINKED), pid)
            remove_watch(shared, pid, u32(LINKED), vm.pid)
            result = u32(0)
    elif result == 3:
        result = u32(1)
    return result


@native
def link_away(shared: Shared, pid: u32, other: u32) -> u32:
    """Tell the node of a process, if it is another than this, that one of this node is linked to it; whether there
    was room for that.
    """
    found = acquire_process(shared, other)
    if found == 0:
        return u32(1)  # its end is just being told
    proxy = at(Record, found)
    told: u32 = 1
    if proxy.kind == PROXY:
        peer = at(Peer, proxy.program)
        note_known(shared, peer, pid)
        told = put_request(shared, peer, proxy.parent, pid, u32(LINK_TO), i32(0))
    release_mailbox(proxy)
    return told


@native
def kill(worker: Worker, pid: u32, reason: i32) -> u32:
    """End a process with a reason; whether there was one. It ends when its turn does, or at once."""
    shared = at(Shared, worker.shared)
    found = acquire_process(shared, pid)
    if found == 0:
        return u32(0)
    vm = at(Record, found)
    done: u32 = 0
    if vm.kind == PROXY:
        done = 1
        if vm.stop_requested != KILL:  # else it is known there already
            done = put_request(shared, at(Peer, vm.program), vm.parent, u32(0), u32(KILL_PROCESS), reason)
            if done != 0:
                vm.stop_requested = u32(KILL)
    elif vm.kind == PROCESS:
        done = 1
        if vm.stop_requested != KILL:
            vm.exit_reason = reason
            vm.stop_requested = u32(KILL)
            if vm.account != 0:
                store_release(at(Account, vm.account), "sweep", 1)
            if vm.state == ASLEEP:
                wake(worker, vm)
            elif compare_exchange(vm, "state", IDLE, QUEUED):
                push(worker, vm)
    release_mailbox(vm)
    return done


@native
def kill_by(vm: Record, pid: u32) -> u32:
    """KILL: whether there was such a process, or :data:`ITSELF`."""
    if vm.worker == 0:
        return u32(0)
    done = kill(at(Worker, vm.worker), pid, i32(KILLED))
    if done != 0 and pid == vm.pid:
        done = u32(ITSELF)
    return done


@native
def work_off(worker: Worker, watches: u64, pid: u32, reason: i32) -> None:
    """Tell everybody in a list, which is nobody's any more, that a process has ended."""
    shared = at(Shared, worker.shared)
    place = watches
    while place != 0:
        watch = at(Watch, place)
        if watch.kind == WATCHED_BY:
            tell_end(worker, watch.pid, pid, reason, u32(1))
        elif watch.kind == WATCHES:
            remove_watch(shared, watch.pid, u32(WATCHED_BY), pid)
        else:
            remove_watch(shared, watch.pid, u32(LINKED), pid)
            if reason != 0:
                end_linked(worker, watch.pid, pid, reason)
        after = watch.next
        free(place)
        place = after


@native
def end_linked(worker: Worker, pid: u32, by: u32, reason: i32) -> None:
    """End a process that was linked to one that has ended abnormally."""
    shared = at(Shared, worker.shared)
    found = acquire_process(shared, pid)
    if found == 0:
        return
    vm = at(Record, found)
    remote: u64 = 0
    theirs: u32 = 0
    if vm.kind == PROXY:
        remote = vm.program
        theirs = vm.parent
    release_mailbox(vm)
    if remote != 0:
        put_notice(shared, at(Peer, remote), theirs, by, u32(EXIT), reason)
    else:
        kill(worker, pid, reason)


@native
def end(worker: Worker, vm: Record, reason: i32) -> None:
    """End a process whose turn it is: tell who watches it, and make its slot free, or the host's."""
    shared = at(Shared, worker.shared)
    acquire_mailbox(vm)
    vm.exit_reason = reason
    exchange(vm, "kind", ENDED)  # seen by all before ``known`` is read; see introduce
    watches = vm.watches
    vm.watches = 0
    if vm.mailbox_count != 0:
        add_atomic(shared, "unread", u64(vm.mailbox_count))
    drop_messages(vm)
    release_mailbox(vm)
    work_off(worker, watches, vm.pid, reason)
    if vm.known != 0:
        tell_peers(shared, vm, reason)
    cares = shared.host_cares | vm.host_cares
    if reason != 0:
        cares = u32(1)
    if vm.output != 0:
        cares = u32(1)  # even if all is read: the host may be reading at this moment
    if cares != 0:
        tell_host(shared, vm, u32(IDLE))
    else:
        discard(shared, vm)


@native
def discard(shared: Shared, vm: Record) -> None:
    """Make the slot of a process that has ended free; for the host, once it has seen all that it wants."""
    release_memory(vm)
    if vm.account != 0:
        add_atomic(at(Account, vm.account), "users", u64(FOREVER))
    add_atomic(at(ProgramRecord, vm.program), "users", u64(FOREVER))
    release_slot(shared, vm)


@native
def close_mailbox(worker: Worker, vm: Record, reason: i32) -> None:
    """End what the host has a pid for: a session, or a mailbox of its own."""
    acquire_mailbox(vm)
    exchange(vm, "kind", ENDED)
    watches = vm.watches
    vm.watches = 0
    drop_messages(vm)
    release_mailbox(vm)
    work_off(worker, watches, vm.pid, reason)
    if vm.known != 0:
        tell_peers(at(Shared, worker.shared), vm, reason)


@native
def exit_reason_of(vm: Record) -> i32:
    """The exit reason of a process whose turn ended by a halt or a fault."""
    if vm.stop == Stop.FAULT:
        return i32(0) - i32(vm.fault)
    return vm.stop_code


@native
def ask(vm: Record) -> u32:
    """What has become of a question to the node: 0: nothing yet; 1: no; 2: yes, with ``answer``. Taken once."""
    state = vm.answered
    vm.answered = 0
    return state


@native
def count_nodes(vm: Record) -> u32:
    """NODES."""
    if vm.worker == 0:
        return u32(1)
    return at(Shared, at(Worker, vm.worker).shared).nodes
