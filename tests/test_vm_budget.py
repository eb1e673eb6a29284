"""The budget of a turn: exact, never exceeded, and invisible to the program however its turns are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.image import HEADER, Image
from iridium.isa import INSTRUCTIONS, WORD
from iridium.vm import VM, Limits, Program, Stop
from iridium.vm.record import Waiting
from tests.test_vm_instructions import ENGINES, NOP, START, snapshot

E = {row.name: row.encode for row in INSTRUCTIONS}
READ_ONLY = b"text\n\0\xff\0" + bytes(range(1, 57))
BASE = HEADER + len(READ_ONLY)

COUNTING = b"".join(
    (
        E["INC"](1),
        E["PRTI"](1),
        E["NEQ"](1, 2),
        E["DJMPE"](START),
        E["HLTR"](1),
    )
)
"""Prints 1, 2, 3 ... up to $2, then stops with that code: 4 instructions a number and one more."""


def counting(to: int, **limits: int) -> VM:
    """A machine that counts to a number."""
    vm = VM(Program(Image(COUNTING, version=1)), Limits(**limits))
    vm.record.registers[2] = to
    return vm


def observe(vm: VM) -> tuple[Any, ...]:
    """All that anyone can see of a machine, and its output, which is taken."""
    record = vm.record
    return snapshot(vm), record.stop, record.fault, record.waiting, record.instructions, vm.output.take()


def advance(engine: Any, vm: VM, budgets: list[int]) -> Stop:
    """Run turns of these budgets until one ends otherwise than by its budget; gives how the last ended."""
    stop = Stop.BUDGET
    for budget in budgets:
        before = vm.record.instructions
        turn = engine(vm, budget)
        stop = turn.stop
        assert 0 <= turn.left <= budget
        assert vm.record.instructions - before == budget - turn.left
        if stop is Stop.BUDGET:
            assert turn.left == 0
        else:
            break
    return stop


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("split", [1, 2, 3, 5, 7, 100])
def test_every_split_gives_the_same(engine: Any, split: int) -> None:
    """Protects programs from the scheduler: how turns are cut changes nothing that can be seen."""
    whole, pieces = counting(10), counting(10)
    assert engine(whole, 1000) == (Stop.HALTED, 1000 - 41)
    assert advance(engine, pieces, [split] * 100) is Stop.HALTED
    assert observe(pieces) == observe(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_budget_is_exact(engine: Any) -> None:
    """Protects the meter: a turn of n executes n instructions, for every n up to the halt and beyond."""
    for budget in range(60):
        vm = counting(10)
        stop, left = engine(vm, budget)
        executed = min(budget, 41)
        assert (stop, left) == (Stop.HALTED if budget >= 41 else Stop.BUDGET, budget - executed)
        assert vm.record.instructions == executed
        steps = counting(10)
        for _ in range(executed):
            engine(steps, 1)
        assert observe(steps) == observe(vm)


@pytest.mark.parametrize("engine", ENGINES)
def test_budget_0_returns_at_once(engine: Any) -> None:
    """Protects a turn of nothing: no instruction runs, not even one that would fault or wait."""
    for code in (COUNTING, E["POP"](1), E["HLT"](), b"", b"\xff\0\0\0"):
        vm = VM(Program(Image(code, version=1)))
        before = snapshot(vm)
        assert engine(vm, 0) == (Stop.BUDGET, 0)
        assert snapshot(vm) == before
        assert vm.record.instructions == 0
        assert vm.crash is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_last_unit_reports_the_halt(engine: Any) -> None:
    """Protects the halt that uses up the budget: it is told in that turn, with pc on what follows HLT."""
    vm = VM(Program(Image(NOP + E["HLT"]() + NOP)))
    assert engine(vm, 2) == (Stop.HALTED, 0)
    assert (vm.record.pc, vm.record.instructions) == (START + 2 * WORD, 2)
    assert engine(vm, 1) == (Stop.BUDGET, 0)  # whoever runs it on goes on behind HLT
    assert vm.record.pc == START + 3 * WORD


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_is_not_in_the_turn_before_it(engine: Any) -> None:
    """Protects the border the other way: a fault needs a unit of budget to be met, and gives it back."""
    vm = VM(Program(Image(NOP + E["POP"](1))))
    assert engine(vm, 1) == (Stop.BUDGET, 0)
    assert engine(vm, 1) == (Stop.FAULT, 1)
    assert vm.record.instructions == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_waiting_for_output_room(engine: Any) -> None:
    """Protects a full ring: the print waits uncounted at its pc, and goes on once somebody has read."""
    vm = counting(5, output=2)
    stop, left = engine(vm, 1000)
    assert (stop, left) == (Stop.WAITING, 1000 - 9)
    assert (vm.record.waiting, vm.record.pc) == (Waiting.OUTPUT_ROOM, START + WORD)
    waiting = snapshot(vm)
    assert engine(vm, 1000) == (Stop.WAITING, 1000)  # nobody has read
    assert snapshot(vm) == waiting
    assert vm.record.instructions == 9
    assert vm.crash is None
    assert vm.output.take() == "12"
    assert engine(vm, 7).stop == Stop.BUDGET
    assert vm.record.waiting == 0
    assert engine(vm, 1000).stop == Stop.WAITING
    assert vm.output.take() == "34"
    assert engine(vm, 1000).stop == Stop.HALTED
    assert vm.output.take() == "5"
    assert vm.record.instructions == 21


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["PRTS", "PRTI", "PRTF64", "PRTC"])
def test_every_print_waits(engine: Any, name: str) -> None:
    """Protects the bound of the output from each instruction that writes to it."""
    vm = VM(Program(Image(E[name](0) * 3, b"text\0", version=1)), Limits(output=2))
    assert engine(vm, 10) == (Stop.WAITING, 8)
    vm.output.take()
    assert engine(vm, 1) == (Stop.BUDGET, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("word", [E["PRTS"](5), E["PRTS"](99), E["PRTC"](1)], ids=["utf-8", "bounds", "character"])
def test_a_print_that_faults_does_not_wait(engine: Any, word: bytes) -> None:
    """Protects the order of checks: a print that cannot succeed faults, whether or not there is room."""
    vm = VM(Program(Image(E["PRTI"](0) + word, b"text\0\xff\0", version=1)), Limits(output=1))
    vm.record.registers[1] = -1
    assert engine(vm, 10) == (Stop.FAULT, 9)


def _operand(kind: Any, count: int) -> st.SearchStrategy[int]:
    if kind.register:
        return st.integers(0, 5)
    if kind.label == "code":
        return st.integers(0, count).map(lambda index: BASE + WORD * index)
    return st.sampled_from([kind.low, 0, 1, 6, kind.high])


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """Code of legal instructions whose jumps mostly lead somewhere."""
    count = draw(st.integers(1, 20))
    rows = draw(st.lists(st.sampled_from(INSTRUCTIONS), min_size=count, max_size=count))
    return b"".join(row.encode(*[draw(_operand(kind, count)) for kind in row.operands]) for row in rows)


def _addresses(code_words: int) -> st.SearchStrategy[int]:
    return st.integers(0, code_words).map(lambda index: BASE + WORD * index)


I32 = st.one_of(st.integers(-9, 70), _addresses(20), st.integers(-(2**31), 2**31 - 1))
STATES = st.fixed_dictionaries(
    {
        "registers": st.lists(I32, min_size=6, max_size=6),
        "floats": st.lists(st.floats(), min_size=6, max_size=6),
        "equal_flag": st.integers(0, 1),
        "loop_counter": st.sampled_from([0, 1, 3, 0xFFFFFF]),
        "bp": st.one_of(st.integers(-1, 4), I32),
        "remainder": I32,
        "stack": st.lists(I32, max_size=4),
    }
)


def prepared(code: bytes, state: dict[str, Any], **limits: int) -> VM:
    """A machine with this code, in this state."""
    vm = VM(Program(Image(code, READ_ONLY, version=1)), Limits(**{"stack": 50, "heap": 4096} | limits))
    vm.record.registers[:6] = state["registers"]
    vm.record.float_registers[:6] = state["floats"]
    for field in ("equal_flag", "loop_counter", "bp", "remainder"):
        setattr(vm.record, field, state[field])
    for at, word in enumerate(state["stack"]):
        vm.map_stack()[at] = word
    vm.record.sp = len(state["stack"])
    return vm


@pytest.mark.parametrize("engine", ENGINES)
@given(code=programs(), state=STATES, budgets=st.lists(st.integers(0, 9), max_size=20))
@settings(max_examples=150, deadline=None)
def test_random_programs_in_random_turns(
    engine: Any, code: bytes, state: dict[str, Any], budgets: list[int]
) -> None:
    """Protects the same promise for programs nobody thought of, in turns nobody thought of."""
    whole, turns, steps = (prepared(code, state) for _ in range(3))
    total = sum(budgets)
    stop, left = engine(whole, total)
    assert 0 <= left <= total
    assert advance(engine, turns, budgets) == stop
    assert advance(engine, steps, [1] * total) == stop
    seen = observe(whole)
    assert observe(turns) == seen
    assert observe(steps) == seen


@pytest.mark.parametrize("engine", ENGINES)
@given(code=programs(), state=STATES, room=st.integers(1, 3))
@settings(max_examples=75, deadline=None)
def test_random_programs_with_little_room_for_output(
    engine: Any, code: bytes, state: dict[str, Any], room: int
) -> None:
    """Protects that waiting for a reader changes neither what a program does nor what it prints."""
    free, slow = prepared(code, state), prepared(code, state, output=room)
    engine(free, 200)
    printed = ""
    while True:
        stop, left = engine(slow, 200 - slow.record.instructions)
        assert len(slow.output) <= room
        assert left == 200 - slow.record.instructions
        printed += slow.output.take()
        if stop is not Stop.WAITING or slow.record.waiting != Waiting.OUTPUT_ROOM:
            break
    *seen, output = observe(free)
    assert (*observe(slow)[:-1], printed) == (*seen, output)


@pytest.mark.parametrize("engine", ENGINES)
@given(
    code=st.lists(
        st.one_of(
            st.binary(min_size=WORD, max_size=WORD),
            st.tuples(st.sampled_from(INSTRUCTIONS), st.binary(min_size=3, max_size=3)).map(
                lambda pair: bytes((pair[0].opcode,)) + pair[1]
            ),
            st.tuples(st.sampled_from(INSTRUCTIONS), st.lists(st.integers(0, 5), min_size=3, max_size=3)).map(
                lambda pair: bytes((pair[0].opcode, *pair[1]))
            ),
        ),
        max_size=30,
    ).map(b"".join),
    state=STATES,
    version=st.integers(0, 1),
    budget=st.integers(0, 300),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_never_escape(
    engine: Any, code: bytes, state: dict[str, Any], version: int, budget: int
) -> None:
    """Protects the node from any program: no exception, no overrun, and pc always at an instruction or the end."""
    vm = prepared(code, state)
    vm.program = Program(Image(code, READ_ONLY, version))
    stop, left = engine(vm, budget)
    assert 0 <= left <= budget
    assert vm.record.instructions == budget - left
    assert stop in (Stop.BUDGET, Stop.HALTED, Stop.FAULT, Stop.WAITING)
    offset = vm.record.pc - vm.program.base
    assert 0 <= offset <= len(code)
    assert offset % WORD == 0
    assert vm.record.sp <= vm.record.stack_limit
    assert vm.record.heap_size <= vm.record.heap_limit
    assert (vm.crash is not None) == (stop is Stop.FAULT)
    assert all(-(2**31) <= value < 2**31 for value in vm.record.registers)


@pytest.mark.parametrize("engine", ENGINES)
def test_machines_that_share_a_program_do_not_meet(engine: Any) -> None:
    """Protects one VM's state from another that runs the same code in between."""
    program = Program(Image(COUNTING, version=1))
    machines = [VM(program) for _ in range(3)]
    for number, vm in enumerate(machines, 3):
        vm.record.registers[2] = number
        vm.record.registers[9] = number
    for _ in range(100):
        for vm in machines:
            if vm.record.stop != Stop.HALTED:
                engine(vm, 3)
    for number, vm in enumerate(machines, 3):
        assert (vm.record.stop, vm.record.stop_code) == (Stop.HALTED, number)
        assert vm.output.take() == "".join(str(n) for n in range(1, number + 1))
        assert vm.record.registers[9] == number


@pytest.mark.parametrize("engine", ENGINES)
def test_reset_gives_a_fresh_machine(engine: Any) -> None:
    """Protects a second run of the same program from what the first left behind."""
    code = b"".join((E["PUSH"](2), E["SETM"](0, 2), E["PRTI"](2), E["ALOC"](2), E["DIV"](2, 3, 4)))
    vm = VM(Program(Image(code, version=1)))
    fresh = observe(vm)
    vm.record.registers[:4] = [0, 0, 7, 2]
    engine(vm, 5)
    assert observe(vm) != fresh
    vm.reset()
    assert observe(vm) == fresh
    assert vm.heap_bytes(0, 8) == bytes(8)
