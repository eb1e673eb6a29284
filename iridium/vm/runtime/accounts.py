"""Accounts: what some VMs may execute together, a session's and those that it has started. In the subset of Python
of :mod:`iridium.vm.runtime.subset`.

The host fills an account up now and then. A VM of an account draws what its turn may execute, and gives back what
it has not used. Where there is nothing left it is parked in its account, not in the queue, and still counts as
queued: so it is stopped and killed like any other, by the worker that comes across it. Parked VMs go back to the
queue one by one, each let in by the turn of the one before, so that no more of them move than there is room for.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import QUEUED, SLOT, SLOT_MASK, Account, Shared, Worker
from iridium.vm.runtime.locks import acquire_account, acquire_queue, release_account, release_queue
from iridium.vm.runtime.queue import append, push_again, wake_workers
from iridium.vm.runtime.subset import add_atomic, address, at, native, store_release, u32, u64


@native
def draw(account: Account, most: u64) -> u64:
    """Take instructions out of an account: at the most so many, and 0 where nothing is left."""
    acquire_account(account)
    given = most
    if account.left < given:
        given = account.left
    account.left -= given
    release_account(account)
    return given


@native
def put_back(account: Account, count: u64) -> None:
    """Give back what was drawn and not used."""
    acquire_account(account)
    account.left += count
    release_account(account)


@native
def draw_or_park(vm: Record, most: u64) -> u64:
    """What a VM's turn may execute, at the most so much; where that is 0 it is parked, and its turn is over."""
    account = at(Account, vm.account)
    acquire_account(account)
    given = most
    if account.left < given:
        given = account.left
    account.left -= given
    if given == 0:
        vm.next = 0
        if account.first == 0:
            account.first = address(vm)
        else:
            at(Record, account.last).next = address(vm)
        account.last = address(vm)
        account.parked += 1
        if vm.stop_requested != 0:
            account.sweep = 1
        store_release(vm, "state", QUEUED)
    release_account(account)
    return given


@native
def unpark(account: Account) -> u64:
    """The VM that was parked first, if there is room for one; or 0."""
    acquire_account(account)
    found: u64 = 0
    if account.left != 0:
        found = account.first
    if found != 0:
        account.first = at(Record, found).next
        account.parked -= 1
    release_account(account)
    return found


@native
def let_next(worker: Worker, account: Account) -> None:
    """Let the one in that was parked first, if there is room."""
    if account.first != 0:
        found = unpark(account)
        if found != 0:
            push_again(worker, at(Record, found))


@native
def sweep(shared: Shared, account: Account) -> None:
    """Put those back into the queue that somebody has stopped or killed: they wait for nothing more."""
    acquire_account(account)
    account.sweep = 0
    before: u64 = 0
    place = account.first
    while place != 0:
        vm = at(Record, place)
        after = vm.next
        if vm.stop_requested == 0:
            before = place
        else:
            if before == 0:
                account.first = after
            else:
                at(Record, before).next = after
            if after == 0:
                account.last = before
            account.parked -= 1
            acquire_queue(shared)
            append(shared, place, place, u32(1))
            wake_workers(shared, u32(1))
            release_queue(shared)
        place = after
    release_account(account)


@native
def refill(shared: Shared, account: Account, count: u64, most: u64) -> None:
    """Fill an account up, and let one in for each worker; for the host."""
    acquire_account(account)
    account.left += count
    if account.left > most:
        account.left = most
    release_account(account)
    if account.sweep != 0:
        sweep(shared, account)
    wanted = shared.threads
    while wanted != 0:
        wanted -= 1
        found = unpark(account)
        if found == 0:
            return
        acquire_queue(shared)
        append(shared, found, found, u32(1))
        wake_workers(shared, u32(1))
        release_queue(shared)


@native
def inherit(shared: Shared, vm: Record, parent: u32) -> None:
    """Let a new process draw from the account of whoever has started it, if that is of this node and has one."""
    slot = parent & SLOT_MASK
    if slot != 0 and slot < shared.used:
        owner = at(Record, shared.slab + u64(slot) * SLOT)
        if owner.pid == parent and owner.account != 0:
            vm.account = owner.account
            add_atomic(at(Account, vm.account), "users", 1)
