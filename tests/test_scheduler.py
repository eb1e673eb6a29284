"""The scheduler: turns in order, none too long, nothing for who waits, and no VM that hurts another."""

from __future__ import annotations

from typing import Any

import pytest

from iridium.assembler import assemble
from iridium.scheduler import SLICE, TURN, Scheduler, TooManyRunningError
from iridium.scheduler import turns as scheduler_module
from iridium.vm import VM, Program, Stop, run
from iridium.vm.machine import Limits
from iridium.vm.reference import Turn
from iridium.vm.runtime.layout import ENTERED
from tests.repl_double import ReactorClock

LOOP = ".code\nl: inc $0\nload $31 @l\njmp $31\n"


def machine(source: str, **limits: int) -> VM:
    """A VM with a program."""
    return VM(Program(assemble(source)), Limits(**limits))


class Owner:
    """Notes what a scheduler tells about one VM."""

    def __init__(self) -> None:
        self.stops: list[Turn | None] = []
        self.text = ""
        self.reads = True

    def stopped(self, vm: VM, turn: Turn | None) -> None:
        self.stops.append(turn)

    def printed(self, vm: VM) -> None:
        if self.reads:
            self.text += vm.output.take()


class Engine:
    """An engine that executes nothing, takes a set time for an instruction, and notes the turns it gave."""

    def __init__(self, seconds_each: float = 1e-6) -> None:
        self.now = 0.0
        self.seconds_each = seconds_each
        self.calls: list[tuple[VM, int]] = []

    def __call__(self, vm: VM, budget: int) -> Turn:
        self.calls.append((vm, budget))
        self.now += budget * self.seconds_each
        vm.record.instructions += budget
        return Turn(Stop.BUDGET, 0)

    def seconds(self) -> float:
        return self.now


def test_halt() -> None:
    """A program that halts is told once, with its last turn, and costs nothing afterwards."""
    clock = ReactorClock()
    owner = Owner()
    vm = machine(".code\nload $0 #7\nhlt\n")
    scheduler = Scheduler(clock)
    task = scheduler.start(vm, owner.stopped, owner.printed)
    assert scheduler.running == 1
    clock.settle()
    assert [turn and turn.stop for turn in owner.stops] == [Stop.HALTED]
    assert vm.record.registers[0] == 7
    assert not task.running
    assert scheduler.running == 0
    assert clock.calls == []


def test_output_comes_before_the_end() -> None:
    """What the last turn printed is there before the end is told."""
    clock = ReactorClock()
    said: list[str] = []
    vm = machine(".data\nh: .asciiz 'hi'\n.code\nprts @h\nhlt\n")
    Scheduler(clock).start(vm, lambda vm, turn: said.append("end"), lambda vm: said.append(vm.output.take()))
    clock.settle()
    assert said == ["hi", "end"]


def test_one_turn_an_iteration_in_order() -> None:
    """Programs take turns round-robin, and the reactor serves the network after every single turn."""
    clock = ReactorClock()
    engine = Engine()
    owner = Owner()
    scheduler = Scheduler(clock, engine, engine.seconds)
    vms = [machine(LOOP) for _ in range(3)]
    for vm in vms:
        scheduler.start(vm, owner.stopped, owner.printed)
    order = []
    for _ in range(6):
        before = len(engine.calls)
        clock.iterate()
        served = {id(vm) for vm, _ in engine.calls[before:]}
        assert len(served) == 1
        order.append(served.pop())
    assert order == [id(vm) for vm in vms] * 2


def test_turn_is_short() -> None:
    """A turn ends about 2 ms after it started, however fast the instructions are."""
    clock = ReactorClock()
    engine = Engine(seconds_each=1e-7)
    scheduler = Scheduler(clock, engine, engine.seconds)
    scheduler.start(machine(LOOP), Owner().stopped, Owner().printed)
    clock.iterate()
    assert TURN <= engine.now <= TURN + SLICE * engine.seconds_each


def test_slow_instructions_get_short_slices() -> None:
    """A program of slow instructions soon stays within its turn too; a fast one gets long slices again."""
    clock = ReactorClock()
    engine = Engine(seconds_each=50e-6)
    scheduler = Scheduler(clock, engine, engine.seconds)
    scheduler.start(machine(LOOP), Owner().stopped, Owner().printed)
    clock.iterate(5)
    before = engine.now
    clock.iterate()
    assert engine.now - before <= 1.5 * TURN
    engine.seconds_each = 1e-8
    clock.iterate(5)
    assert engine.calls[-1][1] == SLICE


def test_waiting_costs_nothing() -> None:
    """A VM whose output is full has no turns until somebody who made room wakes it."""
    clock = ReactorClock()
    owner = Owner()
    owner.reads = False
    vm = machine(".code\nl: prti $0\nload $31 @l\njmp $31\n", output=3)
    task = Scheduler(clock).start(vm, owner.stopped, owner.printed)
    clock.settle()
    assert task.waiting
    assert clock.calls == []
    owner.reads = True
    vm.output.take()
    task.wake()
    assert not task.waiting
    clock.iterate(3)
    assert len(owner.text) > 3
    task.stop()
    assert clock.calls == []


def test_reading_at_once_needs_no_wake() -> None:
    """An owner that reads in ``on_output`` keeps the program running."""
    clock = ReactorClock()
    owner = Owner()
    vm = machine(".code\ncloop #9\nl: prti $0\nloop @l\nhlt\n", output=2)
    Scheduler(clock).start(vm, owner.stopped, owner.printed)
    clock.settle()
    assert owner.text == "0" * 10
    assert len(owner.stops) == 1


def test_stop_leaves_the_machine_where_it_is() -> None:
    """A stopped task is never told, has no turn any more, and its VM can go on elsewhere."""
    clock = ReactorClock()
    owner = Owner()
    vm = machine(LOOP)
    task = Scheduler(clock).start(vm, owner.stopped, owner.printed)
    clock.iterate()
    executed = vm.record.instructions
    assert executed > 0
    task.stop()
    task.stop()
    task.wake()
    clock.settle()
    assert vm.record.instructions == executed
    assert owner.stops == []
    assert run(vm, 3) == Turn(Stop.BUDGET, 0)


def test_stop_while_output_is_read() -> None:
    """Whoever reads the output may stop the task there."""
    clock = ReactorClock()
    owner = Owner()
    tasks: list[Any] = []
    scheduler = Scheduler(clock)
    tasks.append(scheduler.start(machine(".code\nprti $0\nhlt\n"), owner.stopped, lambda vm: tasks[0].stop()))
    clock.settle()
    assert owner.stops == []
    assert scheduler.running == 0


def test_wake_does_not_raise_the_dead() -> None:
    """Waking a task while its last output is read does not run the program past its end."""
    clock = ReactorClock()
    owner = Owner()
    vm = machine(".code\nprti $0\nhlt\nprti $0\nhlt\n")
    tasks: list[Any] = []

    def printed(vm: VM) -> None:
        owner.printed(vm)
        tasks[0].wake()

    tasks.append(Scheduler(clock).start(vm, owner.stopped, printed))
    clock.settle()
    assert owner.text == "0"
    assert len(owner.stops) == 1


@pytest.mark.parametrize("limit", [0, 1, 2, SLICE, SLICE + 1, 12_345])
def test_limit_is_exact(limit: int) -> None:
    """A task with a limit executes exactly so many instructions."""
    clock = ReactorClock()
    owner = Owner()
    vm = machine(LOOP)
    Scheduler(clock).start(vm, owner.stopped, owner.printed, limit=limit)
    clock.settle()
    assert vm.record.instructions == limit
    assert [turn and turn.stop for turn in owner.stops] == [Stop.BUDGET]


def test_broken_engine_ends_its_vm_only(logged_failures: list[str]) -> None:
    """A bug in the engine is logged and told to the owner; other programs go on."""

    def engine(vm: VM, budget: int) -> Turn:
        if vm is broken:
            raise ZeroDivisionError("a bug")
        return run(vm, budget)

    clock = ReactorClock()
    broken, healthy = machine(LOOP), machine(".code\nload $0 #7\nhlt\n")
    bad, good = Owner(), Owner()
    scheduler = Scheduler(clock, engine)
    scheduler.start(broken, bad.stopped, bad.printed)
    scheduler.start(healthy, good.stopped, good.printed)
    clock.settle()
    assert bad.stops == [None]
    assert [turn and turn.stop for turn in good.stops] == [Stop.HALTED]
    assert "a bug" in logged_failures.pop()


def test_broken_owner_ends_its_task_only(logged_failures: list[str]) -> None:
    """A bug in what reads the output is logged and ends that task; other programs go on."""

    def broken(vm: VM) -> None:
        raise ZeroDivisionError("a bug")

    clock = ReactorClock()
    bad, good = Owner(), Owner()
    scheduler = Scheduler(clock)
    scheduler.start(machine(".code\nprti $0\nhlt\n"), bad.stopped, broken)
    scheduler.start(machine(".code\nprti $0\nhlt\n"), good.stopped, good.printed)
    clock.settle()
    assert good.text == "0"
    assert scheduler.running == 0
    assert "a bug" in logged_failures.pop()


def test_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One VM more than the limit is refused with a remedy; when one ends there is room again."""
    monkeypatch.setattr(scheduler_module, "MAX_RUNNING", 2)
    clock = ReactorClock()
    owner = Owner()
    scheduler = Scheduler(clock)
    task = scheduler.start(machine(LOOP), owner.stopped, owner.printed)
    scheduler.start(machine(LOOP), owner.stopped, owner.printed)
    with pytest.raises(TooManyRunningError, match="stop one"):
        scheduler.start(machine(LOOP), owner.stopped, owner.printed)
    task.stop()
    scheduler.start(machine(LOOP), owner.stopped, owner.printed)
    scheduler.stop()
    assert scheduler.running == 0
    assert clock.calls == []


def test_machines_of_one_program_share_nothing() -> None:
    """VMs that run the same program at the same time each keep their own registers and memory."""
    clock = ReactorClock()
    program = Program(assemble(".code\nl: inc $0\npush $0\neq $0 $1\ndjmpn @l\nhlt\n"))
    owner = Owner()
    scheduler = Scheduler(clock)
    vms = [VM(program) for _ in range(4)]
    for number, vm in enumerate(vms, 1):
        vm.record.registers[1] = 20_000 * number
        scheduler.start(vm, owner.stopped, owner.printed)
    clock.settle(100_000)
    assert [vm.record.registers[0] for vm in vms] == [20_000, 40_000, 60_000, 80_000]
    assert [vm.record.sp for vm in vms] == [20_000, 40_000, 60_000, 80_000]


def test_output_of_what_runs_in_a_worker() -> None:
    """While a machine runs, its reason to stop is the engine's own business: its output is read all the same."""
    owner = Owner()
    scheduler = Scheduler(ReactorClock(), choice="reference")
    vm = machine(".code\nprti $0\nl: djmpn @l\nhlt\n")
    task = scheduler.start(vm, owner.stopped, owner.printed)
    run(vm, 2)
    vm.record.stop = ENTERED
    scheduler._happened(task, ended=False)
    assert owner.text == "0"
    assert owner.stops == []
    task.stop()
