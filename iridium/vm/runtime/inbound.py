"""What comes from another node: records, and the proxies that stand for its processes. In the subset of Python of
:mod:`iridium.vm.runtime.subset`. Only the host's thread calls these.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import (
    BYTES_MESSAGE,
    ENDED,
    EXIT,
    FREE,
    GENERATIONS,
    GONE,
    IDLE,
    KILL_PROCESS,
    KILLED,
    LINK_TO,
    LINKED,
    NO_PROCESS,
    NODE_DOWN,
    PID_MESSAGE,
    PROCESS,
    PROXY,
    QUEUED,
    SLOT,
    SLOT_BITS,
    SLOT_MASK,
    SPAWN_THERE,
    SPAWNED,
    WORD_MESSAGE,
    YOUR_PID,
    Block,
    Letter,
    Peer,
    Shared,
    Worker,
)
from iridium.vm.runtime.locks import acquire_mailbox, free, malloc, release_mailbox
from iridium.vm.runtime.mailbox import BLOCK, LONGEST_MESSAGE, deliver, note_dead_letter
from iridium.vm.runtime.pids import find
from iridium.vm.runtime.processes import enter_watch, kill, work_off
from iridium.vm.runtime.queue import push
from iridium.vm.runtime.remote import LETTER, REGISTERS, acquire_peer, note_known, put_notice, release_peer
from iridium.vm.runtime.slots import allocate, begin, is_instruction, release_slot, start
from iridium.vm.runtime.subset import (
    address,
    at,
    compare_exchange,
    copy,
    i32,
    load,
    native,
    store,
    store_release,
    u32,
    u64,
)

MOST_PROXIES = 65_536
"""Processes of one other node that this node keeps a place for."""

KEPT = 4
"""One slot in so many is for processes of this node: whatever others introduce, programs and people go on here."""


@native
def proxy_place(peer: Peer, pid: u32) -> u64:
    """Where the pid of the proxy of a process is kept."""
    return peer.proxies + u64(pid & SLOT_MASK) * 4


@native
def end_proxy(worker: Worker, proxy: Record, reason: i32) -> None:
    """A process of another node has ended: tell who watches it here, and forget it."""
    shared = at(Shared, worker.shared)
    peer = at(Peer, proxy.program)
    place = proxy_place(peer, proxy.parent)
    if load(u32, place) == proxy.pid:
        store(u32, place, u32(0))
    peer.proxy_count -= 1
    acquire_mailbox(proxy)
    proxy.kind = u32(ENDED)
    watches = proxy.watches
    proxy.watches = 0
    release_mailbox(proxy)
    work_off(worker, watches, proxy.pid, reason)
    release_slot(shared, proxy)


@native
def intern(worker: Worker, peer: Peer, pid: u32) -> u32:
    """The pid that a process of another node has here, or 0 where there are too many."""
    if pid & SLOT_MASK == 0 or pid >> SLOT_BITS >= 2048:
        return u32(0)
    shared = at(Shared, worker.shared)
    place = proxy_place(peer, pid)
    known = load(u32, place)
    if known != 0:
        found = find(shared, known)
        if found != 0:
            proxy = at(Record, found)
            if proxy.parent == pid:
                return known
            if ((pid >> SLOT_BITS) - (proxy.parent >> SLOT_BITS)) % GENERATIONS >= GENERATIONS // 2:
                return u32(0)  # an old pid, from a third node or kept as a number: the one that is there lives
            # Its slot is used again, so it has ended.
            end_proxy(worker, proxy, i32(NO_PROCESS))
    if peer.proxy_count >= MOST_PROXIES or shared.slots - shared.alive < shared.slots // KEPT:
        peer.unknown += 1
        return u32(0)
    new = allocate(shared, u32(FREE))
    if new == 0:
        peer.unknown += 1
        return u32(0)
    vm = at(Record, new)
    vm.program = address(peer)
    vm.parent = pid
    store_release(vm, "kind", PROXY)
    peer.proxy_count += 1
    store(u32, place, vm.pid)
    return vm.pid


@native
def is_local(shared: Shared, pid: u32) -> u32:
    """Whether a pid that another node sends is that of a process of this node."""
    found = find(shared, pid)
    if found != 0 and at(Record, found).kind != PROXY:
        return u32(1)
    return u32(0)


@native
def hand_in(worker: Worker, to: u32, letter: Letter, kind: u32, value: u64, sender: u32) -> None:
    """Deliver a message, or keep it as a dead letter to whom it was addressed."""
    if to != 0:
        deliver(worker, to, kind, value, sender)
    else:
        note_dead_letter(at(Shared, worker.shared), letter.to, kind, value, sender)
        if kind == BYTES_MESSAGE:
            free(value)


@native
def spawn_for(worker: Worker, peer: Peer, letter: Letter) -> None:
    """Start the process that one of another node wants, and tell it the pid; or 0, if that cannot be."""
    shared = at(Shared, worker.shared)
    found: u64 = 0
    if u64(letter.value) < peer.program_count:
        program = load(u64, peer.programs + u64(letter.value) * 8)
        if is_instruction(program, letter.to) != 0:
            found = begin(worker, program, letter.to, intern(worker, peer, letter.sender))
    pid: u32 = 0
    if found != 0:
        vm = at(Record, found)
        copy(found, address(letter) + LETTER, u64(REGISTERS))
        pid = vm.pid
        note_known(shared, peer, pid)
    put_notice(shared, peer, letter.sender, pid, u32(SPAWNED), i32(0))
    if found != 0:
        start(worker, at(Record, found))


@native
def answer_spawn(worker: Worker, peer: Peer, vm: Record, pid: u32) -> None:
    """Tell a process which other it has got, if it waits for that."""
    if vm.asked != peer.number:
        return
    answer: u32 = 0
    if pid != 0:
        answer = intern(worker, peer, pid)
    acquire_mailbox(vm)
    vm.asked = 0
    if vm.kind == PROCESS:
        vm.answer = i32(answer)
        vm.answered = 1
        if answer != 0:
            vm.answered = 2
        if compare_exchange(vm, "state", IDLE, QUEUED):
            push(worker, vm)
    release_mailbox(vm)


@native
def read_letters(worker: Worker, peer: Peer, data: u64, size: u64) -> u64:
    """Do what records from another node say; how many bytes of them were right: fewer than all is a mistake."""
    shared = at(Shared, worker.shared)
    here: u64 = 0
    while here + LETTER <= size:
        letter = at(Letter, data + here)
        length: u64 = LETTER
        kind = letter.kind
        value = u64(letter.value)
        to = letter.to
        if kind != GONE and is_local(shared, to) == 0:
            to = u32(0)  # nobody, or somebody means a process of a third node: it has no business here
        if kind == BYTES_MESSAGE:
            if value > LONGEST_MESSAGE or here + LETTER + value > size:
                break
            length = LETTER + (value + LETTER - 1) // LETTER * LETTER
            block = malloc(value + BLOCK)
            if block == 0:
                break
            at(Block, block).size = value
            copy(block + BLOCK, data + here + LETTER, value)
            hand_in(worker, to, letter, kind, block, intern(worker, peer, letter.sender))
        elif kind == WORD_MESSAGE:
            hand_in(worker, to, letter, kind, value, intern(worker, peer, letter.sender))
        elif kind == PID_MESSAGE:
            if value != 0:
                value = u64(intern(worker, peer, u32(value)))
            hand_in(worker, to, letter, kind, value, intern(worker, peer, letter.sender))
        elif kind == YOUR_PID:
            if is_local(shared, u32(value)) == 0:
                value = 0
            hand_in(worker, to, letter, u32(PID_MESSAGE), value, intern(worker, peer, letter.sender))
        elif kind == GONE:
            known = load(u32, proxy_place(peer, letter.sender))
            found = find(shared, known)
            if found != 0 and at(Record, found).parent == letter.sender:
                end_proxy(worker, at(Record, found), i32(letter.value))
        elif kind == EXIT:
            kill(worker, to, i32(letter.value))
        elif kind == KILL_PROCESS:
            kill(worker, to, i32(KILLED))
        elif kind == SPAWN_THERE:
            length = u64(LETTER + REGISTERS)
            if here + length > size:
                break
            spawn_for(worker, peer, letter)
        elif kind == SPAWNED:
            if peer.asking != 0:
                peer.asking -= 1
            found = find(shared, to)
            if found != 0:
                answer_spawn(worker, peer, at(Record, found), letter.sender)
        elif kind == LINK_TO:
            found = find(shared, to)
            other = intern(worker, peer, letter.sender)
            if found != 0 and other != 0:
                enter_watch(worker, at(Record, found), to, u32(LINKED), u32(LINKED), other)
        else:
            break
        if length > size - here:
            length = size - here  # the bytes of the last record need not be padded
        here += length
    return here


@native
def end_peer(worker: Worker, peer: Peer) -> None:
    """The session with another node has ended: all its processes have, and what waited to be sent is dropped."""
    acquire_peer(peer)
    peer.up = 0
    peer.broken = 0
    release_peer(peer)
    shared = at(Shared, worker.shared)
    slot: u32 = 1
    while slot < shared.used and peer.asking != 0:
        answer_spawn(worker, peer, at(Record, shared.slab + u64(slot) * SLOT), u32(0))
        slot += 1
    peer.asking = 0
    slot = u32(1)
    while slot <= SLOT_MASK and peer.proxy_count != 0:
        known = load(u32, peer.proxies + u64(slot) * 4)
        if known != 0:
            found = find(shared, known)
            if found != 0:
                end_proxy(worker, at(Record, found), i32(NODE_DOWN))
            store(u32, peer.proxies + u64(slot) * 4, u32(0))
        slot += 1
    peer.proxy_count = 0
