"""What processes and messages do. All of it stands in the runtime; here is how an instruction asks for it."""

from __future__ import annotations

from collections.abc import Callable

from iridium.isa import Fault
from iridium.vm.output import read_string
from iridium.vm.record import Waiting
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import BYTES_MESSAGE, PID_MESSAGE, WORD_MESSAGE
from iridium.vm.runtime.mailbox import DOES_NOT_FIT, DONE, LATER
from iridium.vm.runtime.processes import ITSELF
from iridium.vm.runtime.turns import LOOK, SPAWNED, WATCHED
from iridium.vm.semantics.scratch import U32, Halt, Scratch, Step, Trap, Wait, does, wrap


@does("SELF")
def self_(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = s.vm.record.pid
        return k

    return step


def _entry(s: Scratch, address: int) -> int:
    """A code address that a process can begin at."""
    s.jump(address)
    return address


@does("SPAWN")
def spawn(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        address = _entry(s, r[a])
        s.others_first(SPAWNED)
        s.show_registers()
        pid = calls.spawn(s.vm.record, address)
        s.equal = pid != 0
        r[b] = pid
        return k

    return step


def _name(s: Scratch, offset: int) -> None:
    """Go on only if there is a string at a read-only offset."""
    found = read_string(s.read_only, offset & U32)
    if isinstance(found, Fault):
        raise Trap(found)


def _ask(s: Scratch) -> int:
    """Wait for the node's answer; it sets ``equal_flag`` and is the value."""
    answered = calls.ask(s.vm.record)
    if not answered:
        raise Wait(Waiting.SERVICE)
    s.equal = answered == 2
    return s.vm.record.answer


@does("SPAWNON")
def spawnon(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        _entry(s, r[a])
        if r[b] >= 0:
            _name(s, r[b])
        r[c] = _ask(s)
        return k

    return step


OFTEN = 8
"""Messages sent or taken in plain Python between two looks at the clock: each takes some microseconds."""


def _in_python(s: Scratch) -> None:
    """Before an instruction that takes much longer in plain Python than in machine code."""
    s.messages += 1
    if s.messages % OFTEN == 0 and not calls.native:
        s.others_first(LOOK)


def _send(kind: int) -> Callable[[Scratch, int, int, int], Step]:
    def make(s: Scratch, k: int, a: int, b: int) -> Step:
        r = s.registers

        def step() -> int:
            _in_python(s)
            s.equal = calls.send(s.vm.record, r[a] & U32, kind, r[b] & U32) != 0
            return k

        return step

    return make


does("SEND")(_send(WORD_MESSAGE))
does("SENDP")(_send(PID_MESSAGE))


@does("SENDM")
def sendm(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        place = s.heap_at(r[b], r[c] & U32)
        result = calls.send_bytes(s.vm.record, r[a] & U32, place, r[c] & U32)
        if result == LATER:
            raise Wait(Waiting.TURN)
        s.equal = result != 0
        return k

    return step


@does("RECV")
def recv(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        _in_python(s)
        message = calls.receive(s.vm.record)
        if not message:
            raise Wait(Waiting.MESSAGE)
        r[a] = wrap(message)
        r[b] = message >> 32 & 0x7FFFFFFF
        r[c] = s.vm.record.message_kind
        return k

    return step


@does("RECVT")
def recvt(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        _in_python(s)
        result = calls.wait_for_message(s.vm.record, r[a])
        if not result:
            raise Wait(Waiting.MESSAGE)
        s.equal = result == DONE
        return k

    return step


@does("RECVM")
def recvm(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        record = s.vm.record
        # The runtime looks at the heap's size in the record, which is written at the end of a turn.
        record.heap_size = s.heap_size
        record.heap_top = s.heap_size if record.heap else 0
        message = calls.receive_bytes(record, r[a] & U32)
        if not message:
            raise Wait(Waiting.MESSAGE)
        if message == LATER:
            raise Wait(Waiting.TURN)
        size = message & U32
        if size == DOES_NOT_FIT:
            raise Trap(Fault.HEAP_BOUNDS)
        r[b] = size
        r[c] = message >> 32 & 0x7FFFFFFF
        s.equal = record.message_kind == BYTES_MESSAGE
        return k

    return step


@does("REGISTER")
def register(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        _name(s, r[a])
        _ask(s)
        return k

    return step


@does("WHEREIS")
def whereis(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        _name(s, r[a])
        r[b] = _ask(s)
        return k

    return step


@does("MONITOR")
def monitor(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        s.others_first(WATCHED)
        s.equal = calls.monitor(s.vm.record, r[a] & U32) != 0
        return k

    return step


@does("DEMONITOR")
def demonitor(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        s.others_first(WATCHED)
        calls.demonitor(s.vm.record, r[a] & U32)
        return k

    return step


def _unless_itself(result: int) -> bool:
    """Whether something was done, unless the process has ended itself by it."""
    if result == ITSELF:
        raise Wait(Waiting.TURN)
    return result != 0


@does("LINK")
def link(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        s.others_first(WATCHED)
        s.equal = _unless_itself(calls.link(s.vm.record, r[a] & U32))
        return k

    return step


@does("EXIT")
def exit_(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        raise Halt(r[a])

    return step


@does("KILL")
def kill(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = _unless_itself(calls.kill_by(s.vm.record, r[a] & U32))
        return k

    return step


@does("SLEEP")
def sleep(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        if not calls.sleep(s.vm.record, r[a]):
            raise Wait(Waiting.TIME)
        return k

    return step


@does("CLOCK")
def clock(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = wrap(calls.clock(s.vm.record))
        return k

    return step


@does("NODES")
def nodes(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = calls.count_nodes(s.vm.record)
        return k

    return step
