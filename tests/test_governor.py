"""A session's instructions a second: held exactly, in both engines, by a clock that the test moves."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock, deferLater

from iridium.assembler import assemble
from iridium.limits import Limits
from iridium.scheduler import Scheduler
from iridium.scheduler.governor import BURST, TICK, Governor
from iridium.vm import VM, Program
from iridium.vm.engine import missing_llvmlite
from iridium.vm.runtime.layout import KILLED
from tests.processes import PATIENCE
from tests.repl_double import ENDLESS, FakeNode, Person

RATE = 20_000
FULL = int(RATE * BURST)
FILL = int(RATE * TICK)

LOOP = Program(assemble(".code\nl: inc $0\ndjmpn @l\n"))
FAMILY = """\
.code
load $5 #3
more: dec $5
load $1 @child
spawn $1 $2
eq $5 $6
djmpn @more
child: inc $0
neq $0 $0
djmpn @child
"""


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    """A node whose sessions have a limit, by the clock of its reactor."""
    (tmp_path / "family.iasm").write_text(FAMILY)
    node = FakeNode(tmp_path, limits=Limits(session_instructions=RATE))
    scheduler, reactor = node.scheduler, node.reactor
    table, pump = scheduler.workers.table, scheduler.workers.pump
    scheduler.governor = Governor(reactor, reactor.seconds, RATE, table, pump)
    return node


def executed(node: FakeNode, person: Person) -> int:
    """What the session's program and its processes have executed."""
    records = node.processes.table.records()
    return sum(r.instructions for r in records if r.account == person.session.workspace.vm.record.account)


def test_a_program_keeps_to_its_rate(node: FakeNode) -> None:
    """A session's program executes what its account holds, then so much a second and not one instruction more."""
    person = Person(node)
    person.type(*ENDLESS, rounds=2000)
    assert executed(node, person) == FULL
    for tick in range(1, 41):
        node.reactor.advance(TICK)
        node.reactor.settle(2000)
        assert executed(node, person) == FULL + tick * FILL
    person.session.end()


def test_an_idle_session_saves_up_no_more_than_a_burst(node: FakeNode) -> None:
    """After an hour of doing nothing a program has what a second's saving gives, not an hour's."""
    person = Person(node)
    for _ in range(100):
        node.reactor.advance(36.0)
    person.type(*ENDLESS, rounds=2000)
    assert executed(node, person) == FULL
    person.session.end()


def test_what_it_has_started_draws_from_the_same_account(node: FakeNode) -> None:
    """Processes of a session, and theirs, are held to its rate together, and go on by turns."""
    person = Person(node)
    person.type("!load_file family.iasm", "!run", rounds=500)
    node.reactor.settle(3000)
    for _ in range(100):
        node.reactor.advance(TICK)
        node.reactor.settle(2000)
    assert FULL + 100 * FILL - 10 <= executed(node, person) <= FULL + 100 * FILL
    person.session.end()


def test_it_costs_others_nothing(node: FakeNode) -> None:
    """Beside a session that is held back, a process of nobody runs on; without a limit nothing is counted."""
    person = Person(node)
    person.type(*ENDLESS, rounds=2000)
    free = VM(LOOP)
    task = node.scheduler.start(free, lambda vm, turn: None, lambda vm: None, limit=10 * FULL)
    node.reactor.settle(2000)
    assert free.record.instructions == 10 * FULL
    assert not task.running
    assert executed(node, person) == FULL
    person.session.end()
    other = Person(FakeNode())
    other.type(*ENDLESS, rounds=20)
    assert other.session.workspace.vm.record.account == 0
    assert other.session.account is None
    other.session.end()


def test_stop_acts_at_once(node: FakeNode) -> None:
    """What is held back is stopped like anything else, and says how far it came; the next line runs later."""
    person = Person(node)
    person.type(*ENDLESS, rounds=2000)
    assert "stopped at pc" in person.type("!stop")
    assert person.type("inc $7", "!registers", rounds=50) == "" or person.session.busy
    node.reactor.advance(TICK)
    node.reactor.settle(100)
    assert person.registers()[7] == 1
    person.session.end()


def test_people_see_it(node: FakeNode) -> None:
    """`!stats` tells limit, what is left and who is held back; `!ps` shows who is."""
    person = Person(node)
    person.type("!load_file family.iasm", "!run", rounds=3000)
    node.reactor.settle(3000)
    told = json.loads(person.type("!stats --json"))["rate"]
    assert (told["limit"], told["left"]) == (RATE, 0)
    assert told["held_back"] >= 1
    assert f"rate          {RATE} instructions/s at most, 0 at once" in person.type("!stats")
    watching = Person(node)
    assert "held back" in watching.type("!ps")
    watching.session.end()
    person.session.end()


def test_nothing_is_left_behind(node: FakeNode) -> None:
    """When the session and its processes are gone, so is the account, and nothing ticks any more."""
    person = Person(node)
    person.type("!load_file family.iasm", "!run", rounds=2000)
    person.session.end()
    for _ in range(5):
        node.reactor.advance(TICK)
        node.reactor.settle(500)
    assert node.scheduler.governor._accounts, "its processes still run"
    for record in list(node.processes.table.records()):
        node.processes.kill(record.pid)
    for _ in range(5):
        node.reactor.advance(TICK)
        node.reactor.settle(500)
    assert not node.scheduler.governor._accounts
    assert not node.reactor.getDelayedCalls()


# --- in machine code ---


async def until(condition: Any) -> None:
    """Let the reactor run until a condition holds."""
    from twisted.internet import reactor

    for _ in range(int(PATIENCE / 0.002)):
        if condition():
            return
        await deferLater(reactor, 0.002)
    pytest.fail("what was waited for did not happen")


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """Worker threads, with a governor whose clock the test moves as ``scheduler.governor._clock``."""
    from twisted.internet import reactor

    scheduler = Scheduler(reactor, choice="native", threads=2)
    clock, workers = Clock(), scheduler.workers
    scheduler.governor = Governor(clock, clock.seconds, RATE, workers.table, workers.pump)
    yield scheduler
    scheduler.stop()


@pytest.mark.real_reactor
@pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed")
@pytest_twisted.ensureDeferred
async def test_machine_code_keeps_to_it_too(scheduler: Scheduler) -> None:
    """In worker threads the rate holds to the instruction, over all VMs of an account; others run on."""
    governor = scheduler.governor
    account = governor.open()
    assert account is not None
    vms, free = [VM(LOOP) for _ in range(4)], VM(LOOP)
    for vm in vms:
        vm.record.account = ctypes.addressof(account)
    tasks = [scheduler.start(vm, lambda vm, turn: None, lambda vm: None) for vm in (*vms, free)]

    def held_back() -> bool:
        return account.parked == len(vms) and not account.left

    for tick in range(20):
        await until(held_back)
        assert sum(vm.record.instructions for vm in vms) == FULL + tick * FILL
        governor._clock.advance(TICK)
    await until(held_back)
    before = free.record.instructions
    await until(lambda: free.record.instructions > before + 100 * FULL)
    assert max(vm.record.instructions for vm in vms) < FULL + 20 * FILL, "each has had its share"
    tasks[0].stop()  # at once, though it is parked
    stopped_at = vms[0].record.instructions
    governor._clock.advance(TICK)
    await until(lambda: account.parked == 3 and not account.left)
    assert vms[0].record.instructions == stopped_at
    for task in tasks:
        task.stop()
    governor._clock.advance(1.0)
    governor.stop()


@pytest.mark.real_reactor
@pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed")
@pytest_twisted.ensureDeferred
async def test_machine_code_hands_accounts_on(scheduler: Scheduler) -> None:
    """What a process of an account spawns draws from it, can be killed while it is parked, and leaves it then."""
    from iridium.events import EventRing
    from iridium.processes import Processes

    governor, processes = scheduler.governor, Processes(scheduler, EventRing())
    account = governor.open()
    assert account is not None
    session = processes.session_record()
    assert session is not None
    session.account = ctypes.addressof(account)
    process = await processes.spawn(Program(assemble(FAMILY)), parent=int(session.pid))
    await until(lambda: account.users == 4 and not account.left)
    records = [r for r in processes.table.records() if r.pid != session.pid]
    assert sum(r.instructions for r in records) == FULL
    for record in records:
        assert processes.kill(record.pid)
    ended: list[Any] = []
    process.when_done().addCallback(ended.append)
    for _ in range(3):
        governor._clock.advance(TICK)
        await until(lambda: not account.parked)
    await until(lambda: not account.users and ended)
    assert ended[0].reason == KILLED
    processes.end_session(session)
    governor.close(account)
    assert not governor._accounts
    processes.stop()
