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
    padding: int
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
        ("executed", ctypes.c_uint64),  # instructions, by all VMs, interpreted or compiled: how hot it is
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
    """What the workers of a scheduler share: the queue of VMs that can run, and the list of those for the host."""

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
    host_file: int
    workers_file: int
    threads: int
    turn: int

    _fields_ = [
        ("lock", ctypes.c_uint32),  # of the queue
        ("waiting", ctypes.c_uint32),  # workers that wait for a VM
        ("head", ctypes.c_uint64),
        ("tail", ctypes.c_uint64),
        ("queued", ctypes.c_uint32),
        ("stopping", ctypes.c_uint32),  # 1: workers return
        ("events_lock", ctypes.c_uint32),  # of the list of events, and of every VM's state as the host sees it
        ("event_state", ctypes.c_uint32),  # of the VM that the host took from the list last
        ("first_event", ctypes.c_uint64),
        ("last_event", ctypes.c_uint64),
        ("host_file", ctypes.c_int32),  # an eventfd that the host's reactor reads
        ("workers_file", ctypes.c_int32),  # an eventfd that counts the workers to wake
        ("threads", ctypes.c_uint32),  # how many workers there are
        ("turn", ctypes.c_uint32),  # instructions of a turn
    ]


class Worker(ctypes.Structure):
    """One worker thread's own."""

    shared: int
    head: int
    tail: int
    count: int
    padding: int
    seconds: int
    nanoseconds: int
    turns: int
    executed: int

    _fields_ = [
        ("shared", ctypes.c_uint64),
        ("head", ctypes.c_uint64),  # the VMs that it has taken from the queue and will run next
        ("tail", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("seconds", ctypes.c_int64),  # where clock_gettime writes
        ("nanoseconds", ctypes.c_int64),
        ("turns", ctypes.c_uint64),
        ("executed", ctypes.c_uint64),
    ]


# ``Record.state``, as the native scheduler has it.
IDLE = 0
"""In no queue: it has not been started, has ended, or waits for something that the host gives."""
QUEUED = 1
RUNNING = 2
