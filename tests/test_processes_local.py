"""What processes of one node promise each other, on every form of the runtime."""

from __future__ import annotations

import ctypes
import heapq
import itertools
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iridium.assembler import assemble
from iridium.processes import End, Mailbox, Message, Process
from iridium.processes.kept import MOST_DEAD, MOST_OUTPUTS, MOST_TEXT, Outputs
from iridium.processes.names import LONGEST_NAME
from iridium.processes.types import TooManyProcessesError, WrongNameError
from iridium.scheduler.workers import INLINE_ROUND, INLINE_TURN
from iridium.vm.native.flow import Flow
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime import mailbox, scheduling, timers, turns
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import (
    ENDED,
    FOREVER,
    KILLED,
    NEW,
    NO_PROCESS,
    PROCESS,
    SLOT_BITS,
    SLOT_MASK,
    WORD_MESSAGE,
    Shared,
    Worker,
)
from iridium.vm.runtime.layout import (
    Message as Stored,
)
from iridium.vm.runtime.mailbox import DEAD_RING, LONGEST_MESSAGE, MOST_BYTES, MOST_MESSAGES
from iridium.vm.runtime.processes import work_off
from iridium.vm.runtime.queue import BATCH
from iridium.vm.runtime.scheduling import ALONE, ROUND, TURN
from iridium.vm.runtime.slots import REUSE_AFTER
from iridium.vm.semantics.process import OFTEN
from tests.local import Local, switch
from tests.local import local as _local

local = _local

WAITER = ".code\nrecv $1 $2 $3\nhltr $1\n"
"""A process that ends with the first word that it gets."""

SPINNER = ".code\nagain: inc $1\neq $0 $0\ndjmpe @again\n"
FAULTY = ".code\nload $1 #7\ndiv $1 $0 $2\nhlt\n"

COUNTING = """.code
again: send $1 $2
       djmpn @over
       inc $2
       lt $2 $3
       djmpe @again
over:  hltr $2
"""
"""Sends $2, $2 + 1, ... up to $3 to $1; ends with how many were taken."""


def ends(local: Local, box: Mailbox) -> list[tuple[int, int]]:
    """The notices in a mailbox."""
    return [(m.pid, m.reason) for m in local.messages(box) if isinstance(m, End)]


def test_order_in_each_pair(local: Local) -> None:
    """Several senders at once: what each has sent comes in its order, and once."""
    box, program = local.processes.mailbox(), local.program(COUNTING)
    senders = [local.spawn(program, {1: box.pid, 2: 0, 3: 500}).pid for _ in range(5)]
    local.settle()
    got: dict[int, list[Any]] = {}
    for message in local.messages(box):
        got.setdefault(message.sender, []).append(message.value)
    assert got == {pid: list(range(500)) for pid in senders}


def test_a_full_mailbox_refuses(local: Local) -> None:
    """A mailbox is bounded: the sender is told, it is counted, the receiver has what fits, and then room again."""
    box = local.processes.mailbox()
    taken = local.run(COUNTING, {1: box.pid, 3: MOST_MESSAGES + 10})[0].reason
    assert (taken, local.shared.overruns) == (MOST_MESSAGES, 1)
    assert [m.value for m in local.messages(box)] == list(range(MOST_MESSAGES))
    assert local.run(COUNTING, {1: box.pid, 3: 5})[0].reason == 5


def test_a_mailbox_is_bounded_in_bytes(local: Local) -> None:
    """Large messages do not fill the memory: their bytes are counted, and freed with them."""
    box = local.processes.mailbox()
    data = bytes(LONGEST_MESSAGE)
    taken = 0
    while local.processes.send(box.pid, data):
        taken += 1
    assert taken == MOST_BYTES // LONGEST_MESSAGE
    assert local.shared.overruns == 1
    assert not local.processes.send(box.pid, data + b"x")
    assert all(len(m.value) == LONGEST_MESSAGE for m in local.messages(box))
    assert box._record.mailbox_bytes == 0
    assert local.processes.send(box.pid, data)


def test_notices_are_bounded_too(local: Local) -> None:
    """A program that asks for notices and takes none cannot fill the memory with them."""
    source = """.code
      load $1 #9999
again: inc $2
      monitor $1
      djmpe @again
      hltr $2
    """
    assert local.run(source)[0].reason == MOST_MESSAGES + 1


def test_dead_letters_are_kept(local: Local) -> None:
    """People can see the last messages to nobody; older ones are only counted."""
    for number in range(DEAD_RING + 5):
        assert not local.processes.send(77, number)
    assert local.shared.dead_letters == DEAD_RING + 5
    assert local.table.dead_letters() == [(77, 0, WORD_MESSAGE, n) for n in range(5, DEAD_RING + 5)]


def test_a_spawn_storm_ends_at_the_limit(local: Local) -> None:
    """A program that spawns without end is refused at the limit, and the node goes on once some have ended."""
    local.shared.slots = 51
    source = """.code
      load $1 @child
again: spawn $1 $2
      djmpn @full
      inc $3
      eq $0 $0
      djmpe @again
full: add $3 $2 $3
      hltr $3
child: recv $1 $2 $3
      hlt
    """
    assert local.run(source)[0].reason == 49
    assert local.table.alive == 49
    extra = local.spawn(WAITER)
    with pytest.raises(TooManyProcessesError, match="50 processes"):
        local.spawn(WAITER)
    with pytest.raises(TooManyProcessesError):
        local.processes.mailbox()
    for record in list(local.table.records()):
        local.processes.kill(record.pid)
    local.settle()
    assert extra.exit is not None
    assert local.table.alive == 0
    assert local.run(source)[0].reason == 49


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (".code\nrecv $1 $2 $3\nhlt\n", 0),
        (".code\nrecv $1 $2 $3\nexit $1\n", 6),
        (".code\nrecv $1 $2 $3\ndiv $1 $0 $2\n", -7),
        (".code\nrecv $1 $2 $3\nself $1\nkill $1\nrecv $1 $2 $3\n", KILLED),
    ],
)
def test_a_monitor_fires_once(local: Local, source: str, reason: int) -> None:
    """Whoever monitors a process, however often it has asked, is told of its end once, with the reason."""
    process, boxes = local.spawn(source), [local.processes.mailbox() for _ in range(3)]
    local.settle()
    for box in boxes:
        assert box.monitor(process.pid)
        assert box.monitor(process.pid)
    boxes[2].demonitor(process.pid)
    process.send(6)
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == reason
    assert [ends(local, box) for box in boxes] == [[(process.pid, reason)]] * 2 + [[]]
    assert local.table.alive == 3


def test_a_monitor_of_one_that_has_ended(local: Local) -> None:
    """Of a pid that is nobody's any more the notice comes at once, each time that it is asked for."""
    process, box = local.spawn(".code\nhlt\n"), local.processes.mailbox()
    local.settle()
    assert box.monitor(process.pid)
    assert box.monitor(process.pid)
    assert ends(local, box) == [(process.pid, NO_PROCESS)] * 2


def test_no_notice_after_demonitor(local: Local) -> None:
    """An end whose notice is just being sent is not told to whoever has asked no longer, or asks anew."""
    for again in (False, True):
        process, box = local.spawn(WAITER), local.processes.mailbox()
        local.settle()
        box.monitor(process.pid)
        # As a worker that ends it: its list is detached, and not worked off yet.
        record = local.record(process.pid)
        watches, record.watches, record.kind = record.watches, 0, ENDED
        box.demonitor(process.pid)
        if again:
            box.monitor(process.pid)
        work_off(local.table.host, watches, process.pid, 5)
        assert ends(local, box) == [(process.pid, NO_PROCESS)] * again
        record.kind = PROCESS
        process.send(0)
        local.settle()


def test_a_chain_of_links(local: Local) -> None:
    """Links propagate: one of a hundred that ends abnormally ends them all, with its reason."""
    source = ".code\nlink $9\nrecv $1 $2 $3\nhltr $1\n"
    program, chain = local.program(source), [local.spawn(WAITER)]
    for _ in range(99):
        local.settle()
        chain.append(local.spawn(program, {9: chain[-1].pid}))
    local.settle()
    chain[50].send(13)
    local.settle()
    assert [process.exit and process.exit.reason for process in chain] == [13] * 100
    assert local.table.alive == 0


def test_a_normal_end_leaves_links_alone(local: Local) -> None:
    """Who ends normally takes nobody along; the link is gone, and its memory with it."""
    first = local.spawn(WAITER)
    local.settle()
    second = local.spawn(".code\nlink $9\nlink $9\nrecv $1 $2 $3\nhltr $1\n", {9: first.pid})
    local.settle()
    first.send(0)
    local.settle()
    assert (first.exit is not None, second.exit) == (True, None)
    assert local.record(second.pid).watches == 0


def test_kill_in_every_state(local: Local) -> None:
    """Kill ends whoever runs, waits, sleeps, waits for its node, is queued, or has not begun; once."""
    answers: list[Any] = []
    local.processes.services.whereis_away = lambda name, node, answer: answers.append(answer)
    sources = {
        "waits": WAITER,
        "sleeps": ".code\nload $1 #30000\nsleep $1\nhlt\n",
        "times out": ".code\nload $1 #30000\nrecvt $1\nhlt\n",
        "asks": ".data\nn: .asciiz 'a@b'\n.code\nload $1 @n\nwhereis $1 $2\nhlt\n",
    }
    processes = {name: local.spawn(source) for name, source in sources.items()}
    local.settle()
    processes["runs"] = local.spawn(SPINNER)
    local.clock.iterate(2)
    processes["queued"] = local.spawn(".code\nhltr $1\n", {1: 1})
    box = local.processes.mailbox()
    for process in processes.values():
        assert box.monitor(process.pid)
        assert process.kill()
        process.kill()
    local.settle()
    assert {name: p.exit and p.exit.reason for name, p in processes.items()} == dict.fromkeys(processes, KILLED)
    assert sorted(ends(local, box)) == sorted((p.pid, KILLED) for p in processes.values())
    answers[0](5, True)  # comes too late
    local.settle()
    assert local.table.alive == 1
    assert local.shared.timer_entries == 0


def test_killed_before_it_starts(local: Local) -> None:
    """A process whose pid somebody has guessed ends in its first turn, when whoever makes it is done with it."""
    record = local.table.begin(local.program(".code\nhltr $1\n"))
    assert record is not None
    assert record.state == NEW
    assert local.processes.kill(record.pid)
    assert (record.state, record.kind) == (NEW, PROCESS)
    pid = int(record.pid)
    local.table.start(record)
    local.processes.flush()
    local.settle()
    dead = local.processes.why(pid)
    assert dead is not None
    assert (dead.reason, dead.instructions) == (KILLED, 0)
    assert local.table.alive == 0


def test_what_has_ended_is_not_started_again(local: Local) -> None:
    """The host that lets one go on which somebody ends at this moment does nothing: it has no second end."""
    process = local.spawn(WAITER)
    local.settle()
    record = local.record(process.pid)
    record.kind, record.state = ENDED, 0
    local.scheduler.workers.resume(record)
    assert record.state == 0
    assert local.shared.queued == 0
    record.kind, record.state = PROCESS, 3
    process.send(1)
    local.settle()
    assert process.exit is not None


def test_a_printer_ends_at_the_host(local: Local) -> None:
    """Output memory stays until the host is done with it, even if all of it has been read: it may be reading."""
    program = local.program(".code\nprti $1\nrecv $1 $2 $3\nhlt\n")
    record = local.table.begin(program)
    assert record is not None
    local.table.start(record)
    local.scheduler.workers.pump()
    local.settle()
    address = record.output
    assert address
    seen: list[tuple[int, int]] = []
    local.scheduler.workers.on_process = lambda r, ended: seen.append((int(r.kind), int(r.output)))
    local.processes.send(record.pid, 1)
    local.settle()
    assert seen == [(ENDED, address)]
    calls.discard(local.shared, record)


def test_sleepers_wake_in_order(local: Local) -> None:
    """Who sleeps shorter wakes first, whatever the order in which they fell asleep."""
    box = local.processes.mailbox()
    program = local.program(".code\nsleep $1\nsend $2 $1\nhlt\n")
    times = [31, 1, 21, 11, 41]
    for milliseconds in times:
        local.spawn(program, {1: milliseconds, 2: box.pid})
    got: list[Any] = []
    local.until(lambda: bool(got.extend(local.messages(box)) or len(got) == len(times)))
    assert [message.value for message in got] == sorted(times)


@given(st.lists(st.tuples(st.sampled_from("ardt"), st.integers(0, 60)), max_size=150))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_timers_are_a_heap(steps: list[tuple[str, int]]) -> None:
    """Protects deadlines: entered, cancelled and taken in any order, the earliest is always the next."""
    shared = Shared(next_deadline=FOREVER)
    records = [Record() for _ in range(61)]
    model: dict[int, int] = {}
    for number, (what, value) in enumerate(steps):
        vm = records[value]
        if what == "a" and value not in model:
            vm.deadline = model[value] = (value * 7919 + number) % 50
            assert timers.set_timer(shared, vm) == 1
        elif what == "r":
            timers.cancel_timer(shared, vm)
            model.pop(value, None)
        elif what in "dt":
            found = timers.take_expired(shared, value)
            if model and min(model.values()) <= value:
                which = next(n for n, r in enumerate(records) if ctypes.addressof(r) == found)
                assert model.pop(which) == heapq.nsmallest(1, [*model.values(), records[which].deadline])[0]
            else:
                assert found == 0
        assert shared.timer_entries == len(model)
        assert shared.next_deadline == (min(model.values()) if model else FOREVER)
        assert [n for n, r in enumerate(records) if r.timer] == sorted(model)
    if shared.timers:
        timers.free(shared.timers)


@pytest.mark.parametrize("form", ["python", "native"])
@given(st.lists(st.integers(-40, 40), max_size=40))
@settings(max_examples=40, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_mailboxes_are_queues(form: str, monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """Protects the ring: put and taken in any pattern, messages come out as they went in, wherever it grows."""
    with monkeypatch.context() as patch:
        switch(form, patch)
        node = Local(form)
        record = node.table.allocate(PROCESS)
        assert record is not None
        model: deque[int] = deque()
        count = 0
        for step in steps:
            for _ in range(abs(step)):
                if step > 0:
                    count += 1
                    model.append(count)
                    assert calls.deliver(node.table.host, record.pid, WORD_MESSAGE, count, 0)
                else:
                    found = calls.receive(record)
                    assert (found & 0xFFFFFFFF if found else None) == (model.popleft() if model else None)
            assert record.mailbox_count == len(model)
        node.close()


def test_pids_of_the_dead_reach_nobody(local: Local) -> None:
    """A slot that is used again has another pid: what is meant for who had it before never reaches the new one."""
    local.shared.slots = 3
    program, old = local.program(WAITER), []
    for number in range(1, 40):
        process = local.spawn(program)
        local.settle()
        assert process.pid & SLOT_MASK in (1, 2)
        for pid in old:
            assert not local.processes.send(pid, 99)
            assert not local.processes.kill(pid)
        process.send(number)
        local.settle()
        assert process.exit is not None
        assert process.exit.reason == number
        old.append(process.pid)
    assert len(set(old)) == len(old)
    assert max(old) >> SLOT_BITS >= 19


def test_slots_rest_before_they_are_used_again(local: Local) -> None:
    """As long as there are untouched slots, one that was freed comes again late: stale pids are noticed."""
    program = local.program(".code\nhlt\n")
    first = local.spawn(program).pid
    for _ in range(REUSE_AFTER - 1):
        process = local.spawn(program)
        assert process.pid & SLOT_MASK != first
        local.settle()
    pids = [local.spawn(program).pid for _ in range(2)]
    assert 1 << SLOT_BITS | first in pids


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 64 * 1024, LONGEST_MESSAGE])
def test_bytes_arrive_whole(local: Local, size: int) -> None:
    """Messages of bytes arrive as they were sent, through a program, the empty and the largest too."""
    source = """.code
      recv $1 $2 $3
      aloc $1
      recvm $0 $1 $2
      sendm $9 $0 $1
      djmpn @bad
      hlt
bad:  load $1 #1
      hltr $1
    """
    box, data = local.processes.mailbox(), random.Random(size).randbytes(size)
    process = local.spawn(source, {9: box.pid})
    assert box.send(process.pid, data)
    local.until(lambda: process.exit is not None)
    assert process.exit is not None
    assert process.exit.reason == 0
    assert local.messages(box) == [Message(process.pid, data)]


def test_a_message_over_the_limit(local: Local) -> None:
    """One byte more than a message may have is refused with the flag; the sender goes on."""
    source = ".code\naloc $1\neq $0 $0\nsendm $9 $0 $1\ndjmpe @bad\nhlt\nbad: load $1 #1\nhltr $1\n"
    box = local.processes.mailbox()
    assert local.run(source, {1: LONGEST_MESSAGE + 1, 9: box.pid})[0].reason == 0
    assert local.messages(box) == []


def test_memory_comes_back(local: Local) -> None:
    """Who ends gives back heap, stack, output, mailbox, unread messages and watches, whatever it held."""
    program = local.program(".code\nload $2 #1000\naloc $2\nsetb $0 $2\npush $2\nmonitor $9\nlink $9\nprti $2\n"
                            "sleep $0\nexit $1\n")  # fmt: skip
    other = local.spawn(SPINNER.replace(".code\n", ".code\nrecv $1 $2 $3\n"))
    local.settle()
    before = _mappings()
    for reason in [0] * 20:
        process = local.spawn(program, {1: reason, 9: other.pid})
        for _ in range(20):
            process.send(b"x" * 1000)
            process.send(5)
        local.settle()
        assert process.exit is not None
    assert local.shared.unread == 20 * 40
    assert local.record(other.pid).watches == 0
    assert local.table.alive == 1
    assert _mappings() <= before + 2
    for record in [Record.from_address(local.shared.slab + n * 640) for n in range(2, 22)]:
        assert not any((record.heap, record.stack, record.output, record.mailbox, record.watches))


def _mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum(1 for _ in maps)


def test_a_name_has_one_owner(local: Local) -> None:
    """A name is refused while its owner lives, and free once it has ended; a process has one name."""
    source = """.data
n: .asciiz 'server'
m: .asciiz 'other'
.code
      load $1 @n
      register $1
      djmpn @bad
      load $1 @m
      register $1
      djmpe @bad
      recv $1 $2 $3
      hltr $1
bad:  load $1 #1
      hltr $1
    """
    program, names = local.program(source), local.processes.names
    first = local.spawn(program)
    local.settle()
    assert names.all() == {"server": first.pid}
    assert local.run(program)[0].reason == 1
    first.send(5)
    local.settle()
    assert names.all() == {}
    second = local.spawn(program)
    local.settle()
    assert names.whereis("server") == second.pid
    assert not names.register("x" * (LONGEST_NAME + 1), second.pid)


def test_output_is_kept_and_bounded(local: Local) -> None:
    """What a process prints is kept after its end, the last of it, in the order in which it was printed."""
    source = ".code\nagain: prti $1\nprtc $3\ninc $1\nlt $1 $2\ndjmpe @again\nhlt\n"
    exit, output = local.run(source, {2: 20_000, 3: 10})
    assert exit.reason == 0
    assert len(output) == MOST_TEXT
    assert output.splitlines()[-3:] == ["19997", "19998", "19999"]
    outputs = Outputs()
    for pid in range(MOST_OUTPUTS + 1):
        outputs.add(pid, "x")
    assert (outputs.of(0), outputs.of(1)) == ("", "x")


def test_the_graveyard_tells_why(local: Local) -> None:
    """How a process ended abnormally can be asked for after its end: fault, place, registers, output."""
    process = local.spawn(FAULTY.replace("div", "prti $1\npush $1\ndiv"), name="sad", title="faulty")
    local.settle()
    dead = local.processes.why(process.pid)
    assert dead is not None
    assert (dead.text, dead.name, dead.program, dead.output) == ("division-by-zero", "sad", "faulty", "7")
    assert (dead.instruction, dead.registers[1], dead.stack) == ("div $1 $0 $2", 7, [7])
    program = local.program(FAULTY)
    for _ in range(MOST_DEAD):
        local.spawn(program)
    local.settle()
    assert local.processes.graveyard.find(process.pid) is None
    assert len(local.processes.graveyard.all()) == MOST_DEAD


def test_a_late_answer_starts_nothing(local: Local) -> None:
    """An answer of the node that comes after the question is over is dropped: it is no answer to the next."""
    answers: list[Any] = []
    local.processes.services.whereis_away = lambda name, node, answer: answers.append(answer)
    source = ".data\nn: .asciiz 'a@b'\n.code\nload $1 @n\nwhereis $1 $2\nwhereis $1 $3\nhltr $3\n"
    process: Process = local.spawn(source)
    local.settle()
    answers[0](11, True)
    local.settle()
    answers[0](12, True)
    local.settle()
    assert len(answers) == 2
    assert process.exit is None
    answers[1](13, True)
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == 13


def test_a_spinner_does_not_keep_others_waiting(local: Local) -> None:
    """Who computes without end gets its turns, and so does everybody else."""
    spinner = local.spawn(SPINNER)
    process = local.spawn(COUNTING, {1: local.processes.mailbox().pid, 3: 50})
    while process.exit is None:
        local.clock.iterate()
    spinner.kill()
    local.settle()
    assert spinner.exit is not None


def test_stored_messages_have_their_size() -> None:
    """Protects the arithmetic of the ring: a message has the size that the runtime counts with."""
    assert ctypes.sizeof(Stored) == mailbox.MESSAGE


def test_a_name_that_cannot_be_given(local: Local) -> None:
    """From Python a process or a mailbox is begun with the name that it was to have, or not at all."""
    box = local.processes.mailbox("here")
    before = len(local.processes.running())
    for name in ("here", "a b", "x" * (LONGEST_NAME + 1)):
        with pytest.raises(WrongNameError, match=r"taken|no name"):
            local.processes.mailbox(name)
        failures: list[Any] = []
        local.processes.spawn(Program(assemble(WAITER)), name=name).addErrback(failures.append)
        assert [failure.type for failure in failures] == [WrongNameError]
    assert len(local.processes.running()) == before
    local.spawn(".data\nn: .asciiz 'here'\n.code\nload $1 @n\nwhereis $1 $2\nsend $2 $1\nhlt\n")
    local.settle()
    assert len(local.processes.take_messages(box._record, 9)) == 1


def test_an_observer_that_fails(local: Local, logged_failures: list[str]) -> None:
    """A bug in what Python does with output is logged, and the process's end, and the others, are heard of."""
    printing = ".code\nprti $1\nhltr $1\n"
    failing, good = (local.spawn(printing, {1: number}) for number in (4, 5))
    said: list[str] = []
    assert local.processes.observe(failing.pid, lambda text: said[9])
    assert local.processes.observe(good.pid, said.append)
    local.settle()
    assert [process.exit.reason for process in (failing, good) if process.exit] == [4, 5]
    assert said == ["5"]
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_compiled_code_goes_on_where_it_waited() -> None:
    """A turn that begins with a message is compiled from its first instruction on, wherever the RECV stands."""
    flow = Flow(Program(assemble(".code\nagain: send $1 $2\nrecv $3 $4 $5\ninc $2\nrecvt $2\ndjmpe @again\n")))
    assert flow.checkpoints >= {1, 3}


LONG_STRING = f".data\ns: .asciiz '{'x' * 60_000}'\n"

SLOW = {
    "sendm": ".code\naloc $1\nagain: sendm $9 $0 $1\neq $0 $0\ndjmpe @again\n",
    "prts": LONG_STRING + ".code\nagain: prts @s\neq $0 $0\ndjmpe @again\n",
}


@pytest.mark.parametrize("what", SLOW)
def test_slow_instructions_end_a_turn(local: Local, what: str) -> None:
    """Who copies or prints a lot has short turns, counted in instructions, and others get theirs beside it."""
    slow = local.spawn(SLOW[what], {1: LONGEST_MESSAGE, 9: 77})
    other = local.spawn(SPINNER)
    records = [local.record(process.pid) for process in (slow, other)]
    for _ in range(20):
        local.clock.iterate()
    assert records[0].instructions <= 100 * records[0].turns
    assert records[1].turns >= records[0].turns - 1
    assert records[1].instructions > 10 * records[0].instructions
    assert slow.kill()
    assert other.kill()
    local.settle()


def test_taking_large_messages_ends_a_turn(local: Local) -> None:
    """Who takes many large messages does it in several turns, and gets each of them once."""
    source = """.code
      aloc $1
again: recvm $0 $2 $3
      add $5 $2 $4
      mov $4 $5
      inc $6
      lt $6 $7
      djmpe @again
      hltr $5
    """
    count, size = MOST_BYTES // LONGEST_MESSAGE, LONGEST_MESSAGE
    process = local.spawn(source, {1: size, 7: count})
    turns_before = local.scheduler.workers.worker_counts[0][0]
    for _ in range(count):
        assert local.processes.send(process.pid, bytes(size))
    local.until(lambda: process.exit is not None)
    assert process.exit is not None
    assert process.exit.reason == count * size
    assert local.scheduler.workers.worker_counts[0][0] - turns_before >= 3


@pytest.mark.parametrize("slow", ["sendm $9 $0 $1", "recvm $0 $2 $3", "prts @s", "spawn $5 $6", "monitor $9",
                                  "demonitor $9", "link $9"])  # fmt: skip
def test_what_takes_long_is_executed_once(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    """An instruction that ends a turn which has lasted long is executed in the next one, and counted once."""
    switch("python", monkeypatch)
    local = Local("python")
    monkeypatch.setattr(turns, "LOOK", 0)
    time = iter(range(0, 10**12, turns.LONGEST_TURN))
    monkeypatch.setattr(turns, "now", lambda worker: next(time))
    source = f".data\ns: .asciiz 'x'\n.code\naloc $1\nload $5 @child\nagain: {slow}\ninc $7\nlt $7 $8\n"
    source += "djmpe @again\nhltr $7\nchild: hlt\n"
    waiter = local.spawn(WAITER)
    process = local.spawn(source, {1: 5, 8: 10, 9: waiter.pid})
    for _ in range(10):
        assert local.processes.send(process.pid, b"bytes")
    local.settle()
    dead = local.processes.why(process.pid)
    assert dead is not None
    assert (dead.reason, dead.instructions) == (10, 2 + 4 * 10 + 1)
    assert local.scheduler.workers.worker_counts[0][0] >= 10
    if slow.startswith("prts"):
        assert process.output == 10 * "x"
    if slow.startswith("spawn"):
        assert local.shared.spawned == 12
    local.close()


def test_messages_in_plain_python_end_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without machine code sending takes long too, so a turn ends after some messages once it has lasted long."""
    switch("python", monkeypatch)
    local = Local("python")
    time = iter(range(0, 10**12, turns.LONGEST_TURN))
    monkeypatch.setattr(turns, "now", lambda worker: next(time))
    box = local.processes.mailbox()
    assert local.run(COUNTING, {1: box.pid, 3: 200})[0].reason == 200
    assert [message.value for message in local.messages(box)] == list(range(200))
    assert local.scheduler.workers.worker_counts[0][0] >= 200 // OFTEN // 3
    local.close()


PASSING = """.code
      load $5 @back
      spawn $5 $6
      send $6 $0
back: recv $1 $2 $3
      load $4 #0
work: inc $4
      lt $4 $8
      djmpe @work
      send $2 $1
      eq $0 $0
      djmpe @back
"""
"""Two processes that pass a word to and fro, after 3 * $8 instructions each time."""


def test_a_spinner_beside_a_pair_gets_its_share(local: Local) -> None:
    """Two processes that wake each other get two turns to the one of a process that only computes, and no more."""
    shared = local.shared  # as in worker threads
    shared.turn, shared.alone, shared.batch, shared.round = TURN, ALONE, BATCH, ROUND
    spinner = local.spawn(SPINNER)
    pair = local.spawn(PASSING, {8: (TURN - 100) // 3})
    record = local.record(spinner.pid)
    while record.instructions < 10 * TURN:
        local.clock.iterate()
    assert record.instructions >= 0.25 * local.scheduler.workers.worker_counts[0][1]
    assert pair.exit is None
    for process in list(local.table.records()):
        local.processes.kill(process.pid)
    local.settle()


@pytest.mark.parametrize("busy", ["one", "many", "pair"])
def test_plain_python_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch, busy: str) -> None:
    """Without machine code the reactor waits for a few short turns at the most, however many want more."""
    switch("python", monkeypatch)
    local = Local("python")
    looks: list[tuple[int, int]] = []
    real = scheduling.now

    def now(worker: Worker) -> int:
        looks.append((worker.turns, worker.executed))
        return real(worker)

    monkeypatch.setattr(scheduling, "now", now)
    if busy == "pair":
        local.spawn(PASSING, {8: 1})
    else:
        program = local.program(SPINNER)
        for _ in range(1 if busy == "one" else 32):
            local.spawn(program)
    local.clock.iterate(20)
    assert len(looks) > 20
    between = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(looks)]
    assert max(given for given, _ in between) <= INLINE_ROUND
    assert max(executed for _, executed in between) <= 3 * INLINE_TURN
    for process in list(local.table.records()):
        local.processes.kill(process.pid)
    local.settle()
    local.close()
