"""The state record of a VM: what an engine reads when a turn starts and leaves when it ends.

It is a C structure that every engine works on in place, whatever language it is written in. Stack, heap and
output ring are not in it: they are mapped when a program first uses them, and the record has their addresses.
"""

from __future__ import annotations

import ctypes
import enum

from iridium.isa import REGISTERS


class Stop(enum.IntEnum):
    """Why an engine gave a VM back."""

    BUDGET = 0
    """The turn's budget is used up; the next turn goes on from here."""
    HALTED = 1
    """The program stopped; ``stop_code`` says how."""
    FAULT = 2
    """The program crashed; ``fault`` says why and pc is on the instruction that did it."""
    WAITING = 3
    """The instruction at pc waits, uncounted; ``waiting`` says for what."""


class Waiting(enum.IntEnum):
    """What a waiting instruction waits for."""

    NOTHING = 0
    OUTPUT_ROOM = 1
    """A reader of what it prints."""
    MESSAGE = 2
    """A message in its mailbox, or the time that it said."""
    TIME = 3
    """A point in time."""
    SERVICE = 4
    """An answer of its node, to what the instruction asks."""
    TURN = 5
    """Only its next turn: it has let the others go first."""


class Record(ctypes.Structure):
    """All of a VM's state but the bytes of its stack, heap and output.

    ``bp`` is signed because RET takes it from the stack, where a program can have put anything.
    """

    float_registers: ctypes.Array[ctypes.c_double]
    registers: ctypes.Array[ctypes.c_int32]
    remainder: int
    bp: int
    pc: int
    sp: int
    equal_flag: int
    loop_counter: int
    stop_code: int
    stop: int
    fault: int
    waiting: int
    heap_size: int
    heap_limit: int
    heap_top: int
    stack_limit: int
    stack_capacity: int
    output_capacity: int
    instructions: int
    heap: int
    stack: int
    output: int
    program: int
    next: int
    limit: int
    state: int
    stop_requested: int
    turns: int
    asked: int
    account: int
    worker: int
    mailbox: int
    mailbox_head: int
    mailbox_count: int
    mailbox_capacity: int
    mailbox_bytes: int
    watches: int
    deadline: int
    timer: int
    message_kind: int
    answer: int
    answered: int
    exit_reason: int
    parent: int
    known: int
    next_event: int
    in_events: int
    pid: int
    kind: int
    mailbox_lock: int
    host_cares: int

    _fields_ = [
        ("float_registers", ctypes.c_double * REGISTERS),
        ("registers", ctypes.c_int32 * REGISTERS),
        ("remainder", ctypes.c_int32),
        ("bp", ctypes.c_int32),
        ("pc", ctypes.c_uint32),  # the address of an instruction, or the end of the code
        ("sp", ctypes.c_uint32),  # words on the stack
        ("equal_flag", ctypes.c_uint32),  # 0 or 1
        ("loop_counter", ctypes.c_uint32),
        ("stop_code", ctypes.c_int32),  # what HLT or HLTR stopped with
        ("stop", ctypes.c_uint32),  # Stop: how the last turn ended
        ("fault", ctypes.c_uint32),  # Fault.number; 0 is none
        ("waiting", ctypes.c_uint32),  # Waiting
        ("heap_size", ctypes.c_uint32),  # bytes that the program has
        ("heap_limit", ctypes.c_uint32),  # bytes
        ("heap_top", ctypes.c_uint32),  # heap_size once the heap is mapped, 0 before
        ("stack_limit", ctypes.c_uint32),  # words
        ("stack_capacity", ctypes.c_uint32),  # stack_limit once the stack is mapped, 0 before
        ("output_capacity", ctypes.c_uint32),  # items
        ("instructions", ctypes.c_uint64),  # executed since the start
        ("heap", ctypes.c_uint64),  # addresses, 0 before they are mapped
        ("stack", ctypes.c_uint64),
        ("output", ctypes.c_uint64),
        ("program", ctypes.c_uint64),  # of the program as the native engines have it, or 0
        # What the scheduler keeps about it; see iridium.vm.runtime.scheduling.
        ("next", ctypes.c_uint64),  # the record behind it in the queue that it is in
        ("limit", ctypes.c_uint64),  # instructions that it may still execute
        ("state", ctypes.c_uint32),
        ("stop_requested", ctypes.c_uint32),
        ("worker", ctypes.c_uint64),  # whose turn it is in
        # What makes it a process; see iridium.vm.runtime.processes.
        ("mailbox", ctypes.c_uint64),  # a ring of messages, or 0
        ("mailbox_head", ctypes.c_uint32),
        ("mailbox_count", ctypes.c_uint32),
        ("mailbox_capacity", ctypes.c_uint32),
        ("mailbox_bytes", ctypes.c_uint32),  # in messages of bytes
        ("watches", ctypes.c_uint64),  # a list of who watches it and whom it watches
        ("deadline", ctypes.c_uint64),  # nanoseconds; until when it waits, or 0
        ("timer", ctypes.c_uint32),  # its place in the heap of deadlines, from 1; 0 is none
        ("message_kind", ctypes.c_uint32),  # of the message that it took last
        ("answer", ctypes.c_int32),  # of a service
        ("answered", ctypes.c_uint32),  # 0: not yet; 1: no; 2: yes
        ("exit_reason", ctypes.c_int32),
        ("parent", ctypes.c_uint32),  # who spawned it; of a proxy, the pid that its own node knows it by
        ("known", ctypes.c_uint64),  # to which nodes, by number: they are told when it ends
        ("turns", ctypes.c_uint32),  # that it has had
        ("asked", ctypes.c_uint32),  # the number of the node that it has asked for a process, or 0
        ("account", ctypes.c_uint64),  # what it draws its instructions from, or 0; see iridium.vm.runtime.accounts
        # From here on, what survives when a slot is used again.
        ("in_events", ctypes.c_uint32),
        ("next_event", ctypes.c_uint64),  # the record behind it in the list of those that the host must look at
        ("pid", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("mailbox_lock", ctypes.c_uint32),
        ("host_cares", ctypes.c_uint32),  # 1: the host is told when it ends, however it does
    ]
