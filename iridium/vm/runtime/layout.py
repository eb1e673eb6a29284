"""The structures that the native engines share with Python besides the state record."""

from __future__ import annotations

import ctypes


class ProgramRecord(ctypes.Structure):
    """A program as the native engines have it.

    There are two copies of the decoded code: ``code`` has a marker wherever compiled code can be entered,
    ``plain`` has none. The native interpreter runs on the first until it meets a marker, and on the second where
    compiled code must not be entered: for the last instructions of a turn.
    """

    code: int
    plain: int
    entries: int
    read_only: int
    read_only_size: int
    base: int
    count: int
    users: int
    executed: int

    _fields_ = [
        ("code", ctypes.c_uint64),
        ("plain", ctypes.c_uint64),
        (
            "entries",
            ctypes.c_uint64,
        ),  # for each instruction an address of compiled code or 0; 0 before there is any
        ("read_only", ctypes.c_uint64),
        ("read_only_size", ctypes.c_uint32),
        ("base", ctypes.c_uint32),  # the address of the first instruction
        ("count", ctypes.c_uint32),  # instructions
        ("padding", ctypes.c_uint32),
        ("users", ctypes.c_uint64),  # processes that run it
        ("executed", ctypes.c_uint64),  # instructions, by all VMs, before it was compiled: how hot it is
    ]


class Decoded(ctypes.Structure):
    """An instruction as the native interpreter reads it."""

    lowered: int
    immediate: int
    registers: ctypes.Array[ctypes.c_uint8]

    _fields_ = [
        ("lowered", ctypes.c_uint64),  # the address of its code in the interpreter
        ("immediate", ctypes.c_int32),  # an operand of 16 or 24 bits; of a code address, the index or -1
        ("registers", ctypes.c_uint8 * 4),  # operands of one byte, each in its place
    ]


# How a piece of native code ended, in ``Record.stop``, besides the values of Stop, which a caller of ``advance``
# sees. The pc is on the instruction that comes next.
ENTERED = 16
"""The interpreter met a marker: compiled code goes on from here."""
SHORT = 17
"""Compiled code might exceed the budget that is left: the interpreter counts out the rest."""
LEFT = 18
"""Compiled code leaves one instruction to the interpreter: it faults, waits, or uses memory for the first time."""
ELSEWHERE = 19
"""The next instruction is in another region of compiled code, or in none."""


class Shared(ctypes.Structure):
    """What the workers of a scheduler share: the queue of VMs that can run, the table of processes, and the lists
    of what the host must look at.
    """

    lock: int
    waiting: int
    head: int
    tail: int
    queued: int
    stopping: int
    events_lock: int
    event_state: int
    first_event: int
    last_event: int
    first_peer: int
    host_file: int
    workers_file: int
    threads: int
    turn: int
    table_lock: int
    slots: int
    slab: int
    used: int
    alive: int
    first_free: int
    last_free: int
    free: int
    nodes: int
    timer_lock: int
    timers: int
    timer_capacity: int
    timer_entries: int
    next_deadline: int
    dead_letters: int
    overruns: int
    spawned: int
    stack_limit: int
    heap_limit: int
    output_capacity: int
    host_cares: int
    host_awake: int
    peers: int
    peer_count: int
    dead_ring: int
    unread: int
    alone: int
    batch: int
    round: int

    _fields_ = [
        ("lock", ctypes.c_uint32),  # of the queue
        ("waiting", ctypes.c_uint32),  # workers that wait for a VM
        ("head", ctypes.c_uint64),
        ("tail", ctypes.c_uint64),
        ("queued", ctypes.c_uint32),
        ("stopping", ctypes.c_uint32),  # 1: workers return
        ("events_lock", ctypes.c_uint32),  # of the lists of events, and of every VM's state as the host sees it
        ("event_state", ctypes.c_uint32),  # of the VM that the host took from the list last
        ("first_event", ctypes.c_uint64),  # VMs
        ("last_event", ctypes.c_uint64),
        ("first_peer", ctypes.c_uint64),  # nodes that something waits to be sent to
        ("host_file", ctypes.c_int32),  # an eventfd that the host's reactor reads, or -1
        ("workers_file", ctypes.c_int32),  # an eventfd that counts the workers to wake, or -1
        ("threads", ctypes.c_uint32),  # how many workers there are
        ("turn", ctypes.c_uint32),  # instructions of a turn
        # The table of processes.
        ("table_lock", ctypes.c_uint32),
        ("slots", ctypes.c_uint32),  # how many there are
        ("slab", ctypes.c_uint64),  # the address of slot 0, which is nobody's
        ("used", ctypes.c_uint32),  # slots that have ever been used; the ones behind them are untouched memory
        ("alive", ctypes.c_uint32),  # processes
        ("first_free", ctypes.c_uint64),  # used slots that are free, the one first that was freed first
        ("last_free", ctypes.c_uint64),
        ("free", ctypes.c_uint32),
        ("nodes", ctypes.c_uint32),  # that there is a session with, this one included
        # Who waits for a point in time: a binary heap of records, the earliest deadline first.
        ("timer_lock", ctypes.c_uint32),
        ("timer_entries", ctypes.c_uint32),
        ("timers", ctypes.c_uint64),
        ("timer_capacity", ctypes.c_uint32),
        ("host_cares", ctypes.c_uint32),  # 1: the host is told of every process that ends
        ("next_deadline", ctypes.c_uint64),  # the earliest, or the end of time
        # Counters.
        ("dead_letters", ctypes.c_uint64),  # messages to nobody
        ("overruns", ctypes.c_uint64),  # messages to full mailboxes
        ("spawned", ctypes.c_uint64),
        # What a process may use at the most.
        ("stack_limit", ctypes.c_uint32),
        ("heap_limit", ctypes.c_uint32),
        ("output_capacity", ctypes.c_uint32),
        ("host_awake", ctypes.c_uint32),  # 1: the host will look at its lists without being told
        ("peers", ctypes.c_uint64),  # the addresses of the other nodes' Peers, by their number
        ("peer_count", ctypes.c_uint64),
        ("dead_ring", ctypes.c_uint64),  # the last dead letters
        ("unread", ctypes.c_uint64),  # messages that were in mailboxes whose processes ended
        # What a worker does between two looks at the clock; see iridium.vm.runtime.scheduling.
        ("alone", ctypes.c_uint32),  # how many times longer a turn is that nobody waits behind
        ("batch", ctypes.c_uint32),  # VMs that a worker takes from the queue at once, at the most
        ("round", ctypes.c_uint32),  # turns, at the most
    ]


class Worker(ctypes.Structure):
    """One worker thread's own; the host has one too, for what it does to processes."""

    shared: int
    head: int
    tail: int
    count: int
    again_count: int
    again_head: int
    again_tail: int
    seconds: int
    nanoseconds: int
    poll_file: int
    poll_events: int
    turns: int
    executed: int
    round_end: int
    work: int
    measured: int
    measured_from: int

    _fields_ = [
        ("shared", ctypes.c_uint64),
        ("head", ctypes.c_uint64),  # the VMs that it runs next: taken from the queue, or woken by its own
        ("tail", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("again_count", ctypes.c_uint32),
        ("again_head", ctypes.c_uint64),  # the VMs that have had their turn and want another
        ("again_tail", ctypes.c_uint64),
        ("seconds", ctypes.c_int64),  # where clock_gettime writes
        ("nanoseconds", ctypes.c_int64),
        ("poll_file", ctypes.c_int32),  # a struct pollfd
        ("poll_events", ctypes.c_uint32),
        ("turns", ctypes.c_uint64),
        ("executed", ctypes.c_uint64),
        ("round_end", ctypes.c_uint64),  # what ``executed`` is when those have had their time whom it began with
        # Of instructions that can take long; see iridium.vm.runtime.turns.
        ("work", ctypes.c_uint64),  # what they have done since the clock was looked at
        ("measured", ctypes.c_uint64),  # the turn in which that was, counted from 1
        ("measured_from", ctypes.c_uint64),  # when it was first looked at in that turn, nanoseconds
        ("apart", ctypes.c_uint8 * 128),  # so that no other thread writes to the same lines of the cache
    ]


class Account(ctypes.Structure):
    """What some VMs may execute together; see iridium.vm.runtime.accounts."""

    lock: int
    parked: int
    left: int
    first: int
    last: int
    users: int
    sweep: int

    _fields_ = [
        ("lock", ctypes.c_uint32),
        ("parked", ctypes.c_uint32),  # VMs that wait until there is something left
        ("left", ctypes.c_uint64),  # instructions
        ("first", ctypes.c_uint64),  # the VMs that wait, the one that has waited longest first
        ("last", ctypes.c_uint64),
        ("users", ctypes.c_uint64),  # processes that draw from it
        ("sweep", ctypes.c_uint64),  # 1: some that wait may have been stopped or killed
    ]


class Message(ctypes.Structure):
    """A message in a mailbox."""

    value: int
    sender: int
    kind: int

    _fields_ = [
        ("value", ctypes.c_uint64),  # a word or a pid; of bytes, the address of a Block; of an end, the reason
        ("sender", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
    ]


class Peer(ctypes.Structure):
    """Another node: what waits to be sent there, and the proxies of its processes."""

    lock: int
    listed: int
    up: int
    number: int
    next: int
    buffer: int
    capacity: int
    head: int
    tail: int
    proxies: int
    proxy_count: int
    unknown: int
    slow: int
    broken: int
    large: int
    special: int
    asking: int
    refused: int
    dropped: int
    programs: int
    program_count: int

    _fields_ = [
        ("lock", ctypes.c_uint32),
        ("listed", ctypes.c_uint32),  # whether it is in the host's list of peers to look at
        ("up", ctypes.c_uint32),  # whether there is a session with it
        ("number", ctypes.c_uint32),
        ("next", ctypes.c_uint64),  # the peer behind it in that list
        ("buffer", ctypes.c_uint64),  # a ring of records
        ("capacity", ctypes.c_uint64),  # its bytes
        ("head", ctypes.c_uint64),  # bytes ever taken out, and put in
        ("tail", ctypes.c_uint64),
        ("proxies", ctypes.c_uint64),  # the pid of the proxy for each slot of its table
        ("proxy_count", ctypes.c_uint32),
        ("unknown", ctypes.c_uint32),  # pids that arrived as 0, since there were too many proxies
        ("slow", ctypes.c_uint32),  # records in the ring that the host must look at one by one
        ("broken", ctypes.c_uint32),  # 1: something that must not be lost did not fit; the session has to end
        ("large", ctypes.c_uint32),  # messages in blocks of their own that have not left yet
        ("special", ctypes.c_uint32),  # of the records that were taken out last, those that count as slow
        ("asking", ctypes.c_uint32),  # processes of this node that have asked it for another and wait
        ("padding", ctypes.c_uint32),
        ("refused", ctypes.c_uint64),  # messages that did not fit
        ("dropped", ctypes.c_uint64),  # messages that were in the ring when the session ended
        ("programs", ctypes.c_uint64),  # the addresses of the programs that it knows by number
        ("program_count", ctypes.c_uint64),
    ]


class Letter(ctypes.Structure):
    """A record of what goes from node to node: to whom, from whom, what. Bytes follow it, padded to 16."""

    to: int
    sender: int
    kind: int
    value: int

    _fields_ = [
        ("to", ctypes.c_uint32),  # a pid as the receiving node knows it
        ("sender", ctypes.c_uint32),  # a pid as the sending node knows it
        ("kind", ctypes.c_uint32),
        ("value", ctypes.c_uint32),  # of bytes, how many
    ]


class Block(ctypes.Structure):
    """The bytes of a message, which follow this head."""

    size: int

    _fields_ = [("size", ctypes.c_uint64)]


class Watch(ctypes.Structure):
    """One side of a watch between two processes."""

    next: int
    pid: int
    kind: int

    _fields_ = [
        ("next", ctypes.c_uint64),
        ("pid", ctypes.c_uint32),  # the other process
        ("kind", ctypes.c_uint32),
    ]


# ``Record.state``, as the scheduler has it.
IDLE = 0
"""In no queue: it has not been started, has ended, or waits for something that the host gives."""
QUEUED = 1
RUNNING = 2
ASLEEP = 3
"""In no queue: it waits for a message or for a point in time."""
NEW = 4
"""In no queue: whoever makes it has not started it yet, and nobody else may touch its registers."""

# ``Record.stop_requested``.
STOP = 1
"""The host wants it to have no more turns."""
KILL = 2
"""It is to end, with the reason that ``exit_reason`` has."""

# ``Record.kind``.
FREE = 0
"""A free slot, or a VM that is no process."""
PROCESS = 1
"""A process: it ends when its program does."""
SESSION = 2
"""A VM of the host's with a pid and a mailbox: the host says when it ends."""
MAILBOX = 3
"""A pid and a mailbox whose messages the host takes."""
PROXY = 4
"""What stands for a process of another node."""
ENDED = 5
"""A process that has ended, which the host still looks at."""

# ``Message.kind``, as programs see it.
WORD_MESSAGE = 0
PID_MESSAGE = 1
BYTES_MESSAGE = 2
END_MESSAGE = 3
"""A process that was watched has ended: the sender is that process, the value its exit reason."""

# ``Letter.kind``: the above, and these.
YOUR_PID = 16
"""A pid, of a process of the receiving node."""
OTHERS_PID = 17
"""A pid of a third node; the host puts in which. It never leaves the node like this."""
LARGE_BYTES = 18
"""Bytes in a block of their own, whose address follows; the host sends them. It never leaves the node like
this.
"""
GONE = 19
"""The sender, a process, has ended; the value is its exit reason."""
EXIT = 20
"""A process that the receiver is linked to has ended abnormally; the value is its exit reason."""
KILL_PROCESS = 21
"""The receiver is to end."""
LINK_TO = 22
"""The sender has linked itself to the receiver."""
SPAWN_THERE = 23
"""The sender wants a process: the value is the number of its program, in place of a receiver stands where it
begins; its registers follow."""
SPAWNED = 24
"""The process that the receiver wanted: the sender is it, or 0."""

# ``Watch.kind``, in the list of one process.
WATCHED_BY = 0
"""The other is told when this one ends."""
WATCHES = 1
"""This one is told when the other ends."""
LINKED = 2
"""Both: each ends when the other ends abnormally."""

# Exit reasons that are no stop codes of programs. A fault is minus its number.
KILLED = -100
NODE_DOWN = -101
NO_PROCESS = -102
"""There was no such process when it was asked for."""

SLOT = 640
"""Bytes from one slot of the table of processes to the next."""

SLOT_BITS = 20
SLOT_MASK = (1 << SLOT_BITS) - 1
GENERATIONS = 1 << 11
"""How often a slot is used before a pid comes again."""

FOREVER = 2**64 - 1
"""A deadline that never comes, and a limit that is never reached."""
