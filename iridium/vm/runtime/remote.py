"""What leaves for another node: a bounded ring of records for each. In the subset of Python of
:mod:`iridium.vm.runtime.subset`.

A message to a proxy becomes a record in the ring of its node, in the turn of the sender; the host takes what has
gathered, many records at once, and sends it as one line. A ring that is full refuses messages, which their senders
are told at once: so a node that is slow, or frozen, costs its own messages only.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import (
    BYTES_MESSAGE,
    ENDED,
    FREE,
    GONE,
    LARGE_BYTES,
    NO_PROCESS,
    OTHERS_PID,
    PID_MESSAGE,
    PROXY,
    SPAWN_THERE,
    YOUR_PID,
    Block,
    Letter,
    Peer,
    Shared,
    Worker,
)
from iridium.vm.runtime.locks import acquire_events, free, release_events, sched_yield
from iridium.vm.runtime.pids import find, slot_of
from iridium.vm.runtime.queue import eventfd_write
from iridium.vm.runtime.subset import (
    address,
    at,
    compare_exchange,
    copy,
    exchange,
    i32,
    load,
    load_acquire,
    native,
    store,
    store_release,
    u32,
    u64,
)

LETTER = 16
"""Bytes of a record, and what all sizes in the ring are a multiple of."""

LARGEST_INLINE = 16 * 1024
"""Bytes of a message that go through the ring; more would fill it, and keep small ones waiting."""

MOST_LARGE = 32
"""Messages that are too large for the ring and wait for one node, in it or behind it: 32 MB at the most."""

RESERVE = 7 * 1024 * 1024
"""Bytes of the ring for what must not be lost: that processes have ended. More than for all slots of a node; they
are in memory only once they are used.
"""

MOST_ASKING = 1024
"""Processes that wait for one node to start another for them: the answers to all fit into its :data:`RESERVE`."""

REGISTERS = Record.remainder.offset  # type: ignore[attr-defined]
"""Bytes of all registers, at the beginning of a record."""

FIRST_SHARED = 63
"""Nodes have numbers; of a process it is kept which of them know its pid, in a bit each; those from this number on
share the last."""


@native
def acquire_peer(peer: Peer) -> None:
    """Hold the lock of a ring; nothing but the lists of events is locked meanwhile."""
    while exchange(peer, "lock", 1) != 0:
        while load_acquire(peer, "lock") != 0:
            sched_yield()


@native
def release_peer(peer: Peer) -> None:
    """Let go of it."""
    store_release(peer, "lock", 0)


@native
def put_bytes(peer: Peer, source: u64, size: u64) -> None:
    """Put bytes into the ring, padded to a multiple of a record's size. There is room."""
    place = peer.tail % peer.capacity
    first = peer.capacity - place
    if first > size:
        first = size
    copy(peer.buffer + place, source, first)
    if size > first:
        copy(peer.buffer, source + first, size - first)
    peer.tail += (size + LETTER - 1) // LETTER * LETTER


@native
def put_letter(peer: Peer, to: u32, sender: u32, kind: u32, value: u32) -> None:
    """Put a record into the ring. There is room."""
    letter = at(Letter, peer.buffer + peer.tail % peer.capacity)
    letter.to = to
    letter.sender = sender
    letter.kind = kind
    letter.value = value
    peer.tail += LETTER


@native
def has_room(peer: Peer, size: u64) -> u32:
    """Whether so many bytes fit into the ring beside what is kept for notices."""
    if peer.tail - peer.head + size + RESERVE > peer.capacity:
        return u32(0)
    return u32(1)


@native
def list_peer(shared: Shared, peer: Peer) -> None:
    """Let the host look at a peer. The caller holds its lock."""
    if peer.listed != 0:
        return
    peer.listed = 1
    wake: u32 = 0
    acquire_events(shared)
    # Whether there are events does not matter: the host may be busy with the last of them.
    if shared.first_peer == 0 and shared.host_awake == 0:
        wake = 1
    peer.next = shared.first_peer
    shared.first_peer = address(peer)
    release_events(shared)
    if wake != 0 and shared.host_file >= 0:
        eventfd_write(shared.host_file, u64(1))


@native
def take_peer(shared: Shared) -> u64:
    """The next peer that the host must look at, or 0."""
    acquire_events(shared)
    found = shared.first_peer
    if found != 0:
        shared.first_peer = at(Peer, found).next
    release_events(shared)
    if found != 0:
        peer = at(Peer, found)
        acquire_peer(peer)
        peer.listed = 0
        release_peer(peer)
    return found


@native
def note_known(shared: Shared, peer: Peer, pid: u32) -> None:
    """Remember that a peer knows a process of this node."""
    found = slot_of(shared, pid)
    if found == 0:
        return
    vm = at(Record, found)
    number = u64(peer.number)
    if number > FIRST_SHARED:
        number = u64(FIRST_SHARED)
    bit = u64(1) << number
    while vm.pid == pid:
        # Somebody may note another peer at the same time.
        known = load_acquire(vm, "known")
        if known & bit != 0 or compare_exchange(vm, "known", known, known | bit):
            break


@native
def is_over(shared: Shared, pid: u32) -> u32:
    """Whether a process of this node, or what it was, has ended. Its end may not be told yet."""
    found = slot_of(shared, pid)
    if found == 0:
        return u32(1)
    vm = at(Record, found)
    if load_acquire(vm, "kind") == FREE or vm.pid != pid or vm.kind == ENDED:
        return u32(1)
    return u32(0)


@native
def introduce(shared: Shared, peer: Peer, pid: u32) -> None:
    """A peer has been told of a process of this node: it will be told of its end, at once if that was before.

    Whoever ends a process first says that it has ended, and then looks at who knows it; here it is the other way
    round. So at least one of the two tells; twice does no harm, since the peer has forgotten the process by then.
    """
    note_known(shared, peer, pid)
    if is_over(shared, pid) != 0:
        put_notice(shared, peer, u32(0), pid, u32(GONE), i32(NO_PROCESS))


@native
def send_away(worker: Worker, proxy: Record, kind: u32, value: u64, sender: u32) -> u32:
    """Put a message to a proxy, whose lock the caller holds, into its node's ring; whether it fits.

    A block that fits is freed, or is the host's from now on.
    """
    shared = at(Shared, worker.shared)
    peer = at(Peer, proxy.program)
    needed: u64 = LETTER
    size: u64 = 0
    if kind == BYTES_MESSAGE:
        size = at(Block, value).size
        needed = LETTER + (size + LETTER - 1) // LETTER * LETTER
        if size > LARGEST_INLINE:
            needed = LETTER * 2
    acquire_peer(peer)
    if peer.up == 0 or (size > LARGEST_INLINE and peer.large >= MOST_LARGE) or has_room(peer, needed) == 0:
        peer.refused += 1
        release_peer(peer)
        return u32(0)
    note_known(shared, peer, sender)
    about: u32 = 0
    if kind == BYTES_MESSAGE:
        if size > LARGEST_INLINE:
            put_letter(peer, proxy.parent, sender, u32(LARGE_BYTES), u32(size))
            letter = peer.buffer + peer.tail % peer.capacity
            store(u64, letter, value)
            store(u64, letter + 8, u64(0))
            peer.tail += LETTER
            peer.slow += 1
            peer.large += 1
        else:
            put_letter(peer, proxy.parent, sender, kind, u32(size))
            put_bytes(peer, value + 8, size)
            free(value)
    elif kind == PID_MESSAGE:
        about = put_pid(shared, peer, proxy.parent, sender, u32(value))
    else:
        put_letter(peer, proxy.parent, sender, kind, u32(value))
    list_peer(shared, peer)
    release_peer(peer)
    if about != 0 and is_over(shared, about) != 0:
        # It has ended meanwhile: behind the message, which makes it known.
        put_notice(shared, peer, u32(0), about, u32(GONE), i32(NO_PROCESS))
    return u32(1)


@native
def put_pid(shared: Shared, peer: Peer, to: u32, sender: u32, pid: u32) -> u32:
    """Put a pid into the ring, so that the other node understands it; the pid if it is of a process here, or 0."""
    about: u32 = 0
    kind: u32 = PID_MESSAGE
    value: u32 = 0
    found = find(shared, pid)
    if found != 0:
        vm = at(Record, found)
        value = pid
        if vm.kind == PROXY:
            value = vm.parent
            kind = u32(YOUR_PID)
            if vm.program != address(peer):
                value = pid
                kind = u32(OTHERS_PID)
                peer.slow += 1
        else:
            note_known(shared, peer, pid)
            about = pid
    put_letter(peer, to, sender, kind, value)
    return about


@native
def put_request(shared: Shared, peer: Peer, to: u32, sender: u32, kind: u32, value: i32) -> u32:
    """Put what somebody wants into the ring, who is told if there is no room; whether there was."""
    acquire_peer(peer)
    done: u32 = 0
    if peer.up != 0 and has_room(peer, u64(LETTER)) != 0:
        put_letter(peer, to, sender, kind, u32(value))
        list_peer(shared, peer)
        done = 1
    release_peer(peer)
    return done


@native
def put_notice(shared: Shared, peer: Peer, to: u32, sender: u32, kind: u32, value: i32) -> None:
    """Put what must not be lost into the ring."""
    acquire_peer(peer)
    if peer.up != 0:
        if peer.tail - peer.head + LETTER > peer.capacity:
            peer.broken = 1
        else:
            put_letter(peer, to, sender, kind, u32(value))
        list_peer(shared, peer)
    release_peer(peer)


@native
def tell_peers(shared: Shared, vm: Record, reason: i32) -> None:
    """Tell the nodes that know a process that it has ended."""
    number: u64 = 0
    while number < shared.peer_count:
        bit = number
        if bit > FIRST_SHARED:
            bit = u64(FIRST_SHARED)
        if vm.known >> bit & 1 != 0:
            peer = load(u64, shared.peers + number * 8)
            if peer != 0:
                put_notice(shared, at(Peer, peer), u32(0), vm.pid, u32(GONE), reason)
        number += 1


@native
def ask_to_spawn(peer: Peer, vm: Record, program: u32, pc: u32) -> u32:
    """Ask another node for a process, in the name of one that waits for the answer; whether that fits."""
    shared = at(Shared, at(Worker, vm.worker).shared)
    asked: u32 = 0
    acquire_peer(peer)
    if peer.up != 0 and peer.asking < MOST_ASKING and has_room(peer, u64(LETTER + REGISTERS)) != 0:
        asked = 1
        note_known(shared, peer, vm.pid)
        vm.asked = peer.number
        peer.asking += 1
        put_letter(peer, pc, vm.pid, u32(SPAWN_THERE), program)
        put_bytes(peer, address(vm), u64(REGISTERS))
        list_peer(shared, peer)
    release_peer(peer)
    if asked != 0 and is_over(shared, vm.pid) != 0:
        # It was killed meanwhile: behind the request, which makes it known.
        put_notice(shared, peer, u32(0), vm.pid, u32(GONE), i32(NO_PROCESS))
    return asked


@native
def take_letters(peer: Peer, place: u64, most: u64) -> u64:
    """Copy the oldest records out of a ring, whole ones and at most so many bytes; gives how many bytes.

    ``peer.special`` says how many of them the host must look at one by one.
    """
    acquire_peer(peer)
    taken: u64 = 0
    peer.special = 0
    while peer.head + taken < peer.tail:
        letter = at(Letter, peer.buffer + (peer.head + taken) % peer.capacity)
        size: u64 = LETTER
        if letter.kind == BYTES_MESSAGE:
            size = LETTER + (u64(letter.value) + LETTER - 1) // LETTER * LETTER
        elif letter.kind == LARGE_BYTES:
            size = LETTER * 2
        elif letter.kind == SPAWN_THERE:
            size = LETTER + REGISTERS
        if taken + size > most:
            break
        if letter.kind == LARGE_BYTES or letter.kind == OTHERS_PID:
            peer.special += 1
        taken += size
    start = peer.head % peer.capacity
    first = peer.capacity - start
    if first > taken:
        first = taken
    copy(place, peer.buffer + start, first)
    if taken > first:
        copy(place + first, peer.buffer, taken - first)
    peer.head += taken
    peer.slow -= peer.special
    if peer.head == peer.tail:
        # From the beginning again, so that only so much of the ring is in memory as has ever been full.
        peer.head = 0
        peer.tail = 0
    release_peer(peer)
    return taken


@native
def large_has_left(peer: Peer) -> None:
    """A message in a block of its own is on its way: there is room for another."""
    acquire_peer(peer)
    peer.large -= 1
    release_peer(peer)
