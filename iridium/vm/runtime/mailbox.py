"""Mailboxes: what a process sends, and what it takes. In the subset of Python of :mod:`iridium.vm.runtime.subset`.

A mailbox is a ring of messages that grows with what is in it. It is bounded: a message that finds it full is
refused, which its sender is told at once. So nobody ever waits for a slow receiver, and no receiver fills the
memory. Only notices that a watched process has ended always fit: the receiver has asked for each of them.
"""

from __future__ import annotations

from iridium.vm.record import Record, Waiting
from iridium.vm.runtime.layout import (
    ASLEEP,
    BYTES_MESSAGE,
    END_MESSAGE,
    ENDED,
    FREE,
    IDLE,
    MAILBOX,
    PROXY,
    Block,
    Message,
    Shared,
    Worker,
)
from iridium.vm.runtime.locks import acquire_mailbox, free, malloc, now, release_mailbox
from iridium.vm.runtime.pids import slot_of
from iridium.vm.runtime.queue import tell_host, wake
from iridium.vm.runtime.remote import send_away
from iridium.vm.runtime.subset import add_atomic, at, copy, i32, native, store, u32, u64
from iridium.vm.runtime.turns import CALLED, map_heap, must_yield

MOST_MESSAGES = 4096
"""Messages in a mailbox: several turns of a sender that does nothing else, in 64 KiB."""

MOST_BYTES = 64 * 1024 * 1024
"""Bytes in the messages of a mailbox."""

LONGEST_MESSAGE = 1024 * 1024
"""Bytes of one message, which an instruction copies: none may take much longer than a tenth of a millisecond."""

MESSAGE = 16
"""Bytes of a message in the ring."""

BLOCK = 8
"""Bytes in front of the bytes of a message."""

REFUSED, SENT = 0, 1
"""What became of a message."""

LATER = 2
"""Of an instruction that can take long: it is for the next turn."""

NEXT_TURN = 1
"""A deadline that is past at once, but not before the others have had their turns."""

NOT_YET, DONE, TIMED_OUT = 0, 1, 2
"""What became of waiting."""


@native
def acquire_process(shared: Shared, pid: u32) -> u64:
    """The record of a process, a proxy or another that has a mailbox, with its lock held; or 0."""
    found = slot_of(shared, pid)
    if found != 0:
        vm = at(Record, found)
        acquire_mailbox(vm)
        if vm.pid != pid or vm.kind == FREE or vm.kind == ENDED:
            release_mailbox(vm)
            found = 0
    return found


@native
def grow_mailbox(vm: Record) -> u32:
    """Whether there is room for one more message in the ring. The caller holds the lock."""
    if vm.mailbox_count < vm.mailbox_capacity:
        return u32(1)
    capacity: u32 = 8
    if vm.mailbox_capacity != 0:
        capacity = vm.mailbox_capacity * 2
    larger = malloc(u64(capacity) * MESSAGE)
    if larger == 0:
        return u32(0)
    if vm.mailbox != 0:
        # The oldest first, so that the ring starts at its beginning again.
        first = vm.mailbox_capacity - vm.mailbox_head
        copy(larger, vm.mailbox + u64(vm.mailbox_head) * MESSAGE, u64(first) * MESSAGE)
        copy(larger + u64(first) * MESSAGE, vm.mailbox, u64(vm.mailbox_head) * MESSAGE)
        free(vm.mailbox)
    vm.mailbox = larger
    vm.mailbox_head = 0
    vm.mailbox_capacity = capacity
    return u32(1)


@native
def put_message(worker: Worker, vm: Record, kind: u32, value: u64, sender: u32) -> u32:
    """Put a message into a mailbox whose lock the caller holds; whether it fits."""
    shared = at(Shared, worker.shared)
    if vm.mailbox_count >= MOST_MESSAGES and kind != END_MESSAGE:
        add_atomic(shared, "overruns", 1)
        return u32(0)
    size: u64 = 0
    if kind == BYTES_MESSAGE:
        size = at(Block, value).size
        if u64(vm.mailbox_bytes) + size > MOST_BYTES:
            add_atomic(shared, "overruns", 1)
            return u32(0)
    if grow_mailbox(vm) == 0:
        add_atomic(shared, "overruns", 1)
        return u32(0)
    vm.mailbox_bytes += u32(size)
    place = (vm.mailbox_head + vm.mailbox_count) & (vm.mailbox_capacity - 1)
    message = at(Message, vm.mailbox + u64(place) * MESSAGE)
    message.value = value
    message.sender = sender
    message.kind = kind
    vm.mailbox_count += 1
    if vm.state == ASLEEP:
        if vm.waiting == Waiting.MESSAGE:
            wake(worker, vm)
    elif vm.kind == MAILBOX:
        tell_host(shared, vm, u32(IDLE))
    return u32(1)


@native
def deliver(worker: Worker, to: u32, kind: u32, value: u64, sender: u32) -> u32:
    """Send a message to a process, wherever it runs; whether it was taken. A block that was not is freed."""
    shared = at(Shared, worker.shared)
    found = acquire_process(shared, to)
    taken: u32 = 0
    if found == 0:
        note_dead_letter(shared, to, kind, value, sender)
    else:
        vm = at(Record, found)
        if vm.kind == PROXY:
            taken = send_away(worker, vm, kind, value, sender)
        else:
            taken = put_message(worker, vm, kind, value, sender)
        release_mailbox(vm)
    if taken == 0 and kind == BYTES_MESSAGE:
        free(value)
    return taken


@native
def send(vm: Record, to: u32, kind: u32, value: u32) -> u32:
    """SEND and SENDP."""
    if vm.worker == 0:
        return u32(REFUSED)
    return deliver(at(Worker, vm.worker), to, kind, u64(value), vm.pid)


@native
def send_bytes(vm: Record, to: u32, place: u32, size: u32) -> u32:
    """SENDM, of bytes of the heap that are known to be there; or :data:`LATER`."""
    if vm.worker == 0 or size > LONGEST_MESSAGE:
        return u32(REFUSED)
    if must_yield(vm, size + CALLED) != 0:
        return u32(LATER)
    block = malloc(u64(size) + BLOCK)
    if block == 0:
        return u32(REFUSED)
    at(Block, block).size = u64(size)
    if size != 0:
        copy(block + BLOCK, vm.heap + u64(place), u64(size))
    return deliver(at(Worker, vm.worker), to, u32(BYTES_MESSAGE), block, vm.pid)


@native
def drop_first(vm: Record) -> None:
    """Take the first message out of a mailbox whose lock the caller holds."""
    vm.mailbox_head = (vm.mailbox_head + 1) & (vm.mailbox_capacity - 1)
    vm.mailbox_count -= 1


TAKEN = 1 << 63
"""The bit that says that :func:`receive` found a message; above the 31 bits of the sender, above the value."""


@native
def receive(vm: Record) -> u64:
    """RECV: the first message, as value, sender and :data:`TAKEN`, or 0; ``message_kind`` says what it is.

    Of bytes it gives the size, and leaves them for :func:`receive_bytes`.
    """
    if vm.mailbox_count == 0:
        return u64(0)
    acquire_mailbox(vm)
    message = at(Message, vm.mailbox + u64(vm.mailbox_head) * MESSAGE)
    vm.message_kind = message.kind
    value = message.value & 0xFFFFFFFF
    if message.kind == BYTES_MESSAGE:
        value = at(Block, message.value).size
    result = value | u64(message.sender) << 32 | TAKEN
    if message.kind != BYTES_MESSAGE:
        drop_first(vm)
    release_mailbox(vm)
    return result


@native
def receive_bytes(vm: Record, place: u32) -> u64:
    """RECVM: the bytes of the first message into the heap, as :func:`receive` gives it; or 0 if there is none, or
    :data:`LATER`.

    A size of :data:`DOES_NOT_FIT` means that the heap is too small, and the message is left; ``message_kind`` says
    whether it was bytes at all, and one of another kind is left too.
    """
    if vm.mailbox_count == 0:
        return u64(0)
    acquire_mailbox(vm)
    message = at(Message, vm.mailbox + u64(vm.mailbox_head) * MESSAGE)
    vm.message_kind = message.kind
    result = u64(message.sender) << 32 | TAKEN
    if message.kind == BYTES_MESSAGE:
        block = message.value
        size = at(Block, block).size
        if must_yield(vm, u32(size) + CALLED) != 0:
            result = u64(LATER)
        elif map_heap(vm, place, u32(size)) == 0:
            result = result | DOES_NOT_FIT
        else:
            if size != 0:
                copy(vm.heap + u64(place), block + BLOCK, size)
            vm.mailbox_bytes -= u32(size)
            free(block)
            drop_first(vm)
            result = result | size
    release_mailbox(vm)
    return result


DOES_NOT_FIT = 0xFFFF_FFFF


@native
def take_block(vm: Record) -> u64:
    """The block of the first message, which is bytes, taken out of the mailbox; for the host, which frees it."""
    acquire_mailbox(vm)
    message = at(Message, vm.mailbox + u64(vm.mailbox_head) * MESSAGE)
    block = message.value
    vm.mailbox_bytes -= u32(at(Block, block).size)
    drop_first(vm)
    release_mailbox(vm)
    return block


@native
def free_block(block: u64) -> None:
    """Give the memory of a message's bytes back."""
    free(block)


@native
def make_block(size: u64) -> u64:
    """Memory for the bytes of a message, or 0 where there is none."""
    block = malloc(size + BLOCK)
    if block != 0:
        at(Block, block).size = size
    return block


@native
def note_dead_letter(shared: Shared, to: u32, kind: u32, value: u64, sender: u32) -> None:
    """Count a message to nobody, and keep the last of them for people."""
    number = add_atomic(shared, "dead_letters", 1)
    letter = at(Message, shared.dead_ring + number % DEAD_RING * 24)
    letter.value = value
    if kind == BYTES_MESSAGE:
        letter.value = at(Block, value).size
    letter.sender = sender
    letter.kind = kind
    store(u32, shared.dead_ring + number % DEAD_RING * 24 + 16, to)


DEAD_RING = 256
"""Dead letters that are kept, of 24 bytes: a message and to whom it went."""


@native
def until(vm: Record, milliseconds: i32) -> u32:
    """Whether the deadline of a waiting instruction has passed; the first time, it is set."""
    time = now(at(Worker, vm.worker))
    if vm.deadline == 0:
        vm.deadline = u64(NEXT_TURN)
        if milliseconds > 0:
            vm.deadline = time + u64(u32(milliseconds)) * 1000000
        return u32(0)
    if time >= vm.deadline:
        vm.deadline = 0
        return u32(1)
    return u32(0)


@native
def wait_for_message(vm: Record, milliseconds: i32) -> u32:
    """RECVT: whether there is a message, or the time is over."""
    if vm.mailbox_count != 0:
        vm.deadline = 0
        return u32(DONE)
    if vm.worker == 0:
        return u32(TIMED_OUT)
    if until(vm, milliseconds) != 0:
        return u32(TIMED_OUT)
    return u32(NOT_YET)


@native
def sleep(vm: Record, milliseconds: i32) -> u32:
    """SLEEP: whether the time is over."""
    if vm.worker == 0:
        return u32(DONE)
    return until(vm, milliseconds)


@native
def clock(vm: Record) -> u32:
    """CLOCK: milliseconds, from an unknown point in time on."""
    if vm.worker == 0:
        return u32(0)
    return u32(now(at(Worker, vm.worker)) // 1000000 & 0xFFFFFFFF)


@native
def drop_messages(vm: Record) -> None:
    """Empty a mailbox and give its memory back. The caller holds the lock."""
    while vm.mailbox_count != 0:
        message = at(Message, vm.mailbox + u64(vm.mailbox_head) * MESSAGE)
        if message.kind == BYTES_MESSAGE:
            free(message.value)
        drop_first(vm)
    if vm.mailbox != 0:
        free(vm.mailbox)
    vm.mailbox = 0
    vm.mailbox_head = 0
    vm.mailbox_capacity = 0
    vm.mailbox_bytes = 0
