"""Engines agree: the same programs on all of them, cut into turns in any way, with everything compared.

The programs are those of ``tests.fuzzing``; the long run is ``python -m tests.fuzz``. A machine without the native
engines still runs the reference engine a turn for every instruction against itself, and the tests of the tests.
"""

from __future__ import annotations

import functools
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iridium.assembler import assemble
from iridium.bench.generated import generate
from iridium.image import Image
from iridium.isa import BY_NAME, BY_OPCODE, FIRST_OF_PROCESSES, INSTRUCTIONS, WORD, Fault
from iridium.vm import Program, Stop, run
from iridium.vm.semantics import SEMANTICS
from tests import fuzz
from tests.fuzzing.compare import Plan, Step, available, check, plans, read_all, region_sizes, stepwise
from tests.fuzzing.processes import compare, make_processes
from tests.fuzzing.programs import Case, make
from tests.fuzzing.shapes import LONG, cases, cuts
from tests.fuzzing.shrink import NOP, report, shrink
from tests.local import FORMS
from tests.planted import PATCHES, find_shape, planted

SEEDS = 3000
"""Programs within which every instruction is executed and each of its faults raised; a third is enough, mostly."""

ALL = available()
OTHERS = [name for name in ALL if name not in ("reference", "stepwise")] or ["stepwise"]
"""Every engine that is compared; the reference is what they are compared with."""

SHAPES = cases()


@functools.lru_cache(64)
def program(image: Image) -> Program:
    """The program of an image, made once, so that it is compiled once."""
    return Program(image)


def agree(case: Case, plan: Plan) -> None:
    """Assert that a run by this plan shows no difference."""
    found = check(case, plan, ALL, program(case.image))
    assert found is None, "\n" + report(found)


@pytest.mark.parametrize("engine", OTHERS)
@given(number=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_random_programs(engine: str, number: int) -> None:
    """Protects every program from depending on its engine, on how its turns are cut, and on a change of engine."""
    case = make(number)
    for plan in itertools.islice(plans(number, [engine], min(case.total, 1000)), 3):
        agree(case._replace(total=min(case.total, 1000)), plan)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", SHAPES)
def test_directed_programs(engine: str, name: str) -> None:
    """Protects the shapes that engines cut code into: turns end at each of their instructions."""
    case = SHAPES[name]
    if engine == "stepwise" and case.total > 10 * LONG:
        pytest.skip("a turn for each of a million instructions")
    for plan in cuts(case, [engine]):
        agree(case, plan)


@pytest.mark.parametrize("engine", [name for name in ALL if name != "stepwise"])
@pytest.mark.parametrize("seed", range(2))
def test_the_generated_program(engine: str, seed: int) -> None:
    """Protects large programs, which have several regions: wherever turns end, and between engines."""
    case = Case(f"generated {seed}", assemble(generate(seed, 1)), total=400_000)
    for names, budget in (((engine,), 100_003), ((engine,), 997), ((engine, "reference", *OTHERS), 1009)):
        steps = tuple(Step(name, budget) for name in names) * (case.total // budget // len(names))
        agree(case, Plan(steps, lockstep=False))


@pytest.mark.parametrize("name", SHAPES)
def test_directed_programs_between_engines(name: str) -> None:
    """Protects the state record: whatever one engine leaves there, the next goes on from."""
    case = SHAPES[name]
    if case.total <= 1000:
        for budget in (1, 5):
            agree(case, Plan(tuple(Step(engine, budget) for engine in [*ALL] * (100 // len(ALL)))))


@given(st.binary(max_size=60), st.binary(max_size=20), st.integers(0, 1), st.integers(0, 99))
@example(b"", b"", 0, 0)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_any_bytes_as_code(code: bytes, read_only: bytes, version: int, number: int) -> None:
    """Protects the node: whatever the code is, engines agree on it, and none breaks."""
    image = Image(code[: len(code) // WORD * WORD], read_only, version)
    case = Case("bytes", image, make(number).limits, total=200)
    for plan in itertools.islice(plans(number, OTHERS, 200), 3):
        agree(case, plan)


@pytest.mark.parametrize("number", range(12))
def test_random_processes(number: int) -> None:
    """Protects processes from depending on the form of the runtime that runs them, or on how long turns are.

    They wait, are tied, killed, timed out; all that does not depend on the order of turns is the same.
    """
    source, wrong = compare(number, FORMS if "native" in ALL else FORMS[:1])
    assert not wrong, "\n".join([*wrong, source])


def test_random_processes_do_everything() -> None:
    """Protects the programs of processes from missing an instruction; names and nodes have tests of their own."""
    written = {word for number in range(12) for word in make_processes(number).upper().split()}
    missing = {row.name for row in INSTRUCTIONS if row.opcode >= FIRST_OF_PROCESSES} - written
    assert missing == {"SPAWNON", "REGISTER", "WHEREIS"}


def test_programs_are_cut_into_regions() -> None:
    """Protects the engine of many regions from cutting nothing: most programs have several."""
    pytest.importorskip("llvmlite")
    from iridium.vm.native.flow import Flow

    cut = 0
    for number in range(50):
        image = make(number).image
        flow = Flow(Program(image), sizes=region_sizes(Program(image)))
        assert sorted(block for region in flow.regions for block in region) == sorted(flow.blocks)
        cut += len(flow.regions) > 1
    assert cut > 30


def executed(case: Case) -> Iterator[tuple[str, Fault | None]]:
    """The instructions of a run, each with the fault it ended in or None."""
    vm = case.machine(Program(case.image))
    faults = list(Fault)
    for _ in range(400):
        word = vm.program.word_at(vm.record.pc)
        turn = run(vm, 1)
        row = BY_OPCODE.get(word[0]) if word else None
        if row is not None:
            yield row.name, faults[vm.record.fault - 1] if turn.stop is Stop.FAULT else None
        if turn.stop is Stop.WAITING and read_all(vm):
            continue
        if turn.stop is not Stop.BUDGET:
            return


def test_random_programs_reach_everything() -> None:
    """Protects the fuzzer from blind spots: a new instruction or fault that it does not reach fails here."""
    wanted = {(row.name, fault) for row in INSTRUCTIONS for fault in (None, *row.faults)}
    wanted.remove(("RECVM", Fault.HEAP_BOUNDS))  # needs a message, and so a scheduler: see test_vm_processes
    for number in range(SEEDS):
        wanted.difference_update(executed(make(number)))
        if not wanted:
            break
    assert not wanted


def test_a_number_gives_one_program() -> None:
    """Protects repeating a failure: program and turns depend on their number alone."""
    for number in range(20):
        assert make(number) == make(number)
        one, again = (list(itertools.islice(plans(number, OTHERS, 300), 6)) for _ in range(2))
        assert one == again


@pytest.mark.parametrize("name", PATCHES)
def test_planted_mistakes_are_found(name: str) -> None:
    """Protects these tests: each mistake that is planted in an engine shows on a directed program."""
    assert find_shape("planted", planted(PATCHES[name]))


@pytest.mark.parametrize("name", ["SEND", "RECVT", "KILL"])
def test_planted_mistakes_of_processes_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the comparison of processes: an instruction that always says that it did something is noticed."""
    right = SEMANTICS[name]

    def wrong(s: Any, *operands: int) -> Any:
        step = right(s, *operands)

        def always() -> int:
            follows = step()
            s.equal = True
            return follows

        return always

    monkeypatch.setitem(SEMANTICS, name, wrong)
    assert any(compare(number, FORMS[:1])[1] for number in range(12))


def test_a_mismatch_is_made_small() -> None:
    """Protects whoever reads a mismatch: what does not matter becomes NOP, and the report tells the rest."""
    engines: dict[str, Any] = {"planted": planted(PATCHES["shift by 0 is by 0"])}
    nops = [BY_NAME["INC"].encode(5)] * 30
    code = b"".join(
        (*nops, BY_NAME["LOAD"].encode(1, 3), BY_NAME["SHL"].encode(1, 0), *nops, BY_NAME["HLT"].encode())
    )
    case = Case("big", Image(code), registers=(1, 2, 3), floats=(1.5,))
    found = check(case, Plan((Step("planted", 10),) * 9), engines)
    assert found is not None
    small = shrink(found, engines)
    words = [small.case.image.code[at : at + WORD] for at in range(0, len(small.case.image.code), WORD)]
    assert [word for word in words if word != NOP] == [BY_NAME["SHL"].encode(1, 0)]
    assert "shl $1 #0" in report(small)
    assert "registers[1]" in report(small)


def test_stepwise_is_exact() -> None:
    """Protects the comparison where no native engine is: turns of one instruction keep the meter of a long one."""
    vm = make(0).machine(Program(Image(NOP * 3 + BY_NAME["HLT"].encode())))
    assert stepwise(vm, 2) == (Stop.BUDGET, 0)
    assert stepwise(vm, 0) == (Stop.BUDGET, 0)
    assert stepwise(vm, 10) == (Stop.HALTED, 8)


def test_the_fuzzer_runs_and_reports() -> None:
    """Protects the long run: it comes to its end and counts what it tried."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", "10", "--engines", "stepwise"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "10 programs" in ran.stdout
    assert "0 mismatches" in ran.stdout


def test_a_signal_is_a_failure_with_its_program(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the long run from mistaking a crash for an end: the program that did it is named."""
    script = f"import os; print('try 17', flush=True); os.kill(os.getpid(), {signal.SIGKILL})"
    tally = fuzz.Tally()
    fuzz.watch([sys.executable, "-c", script], tally)
    assert (tally.crashes, tally.last) == (1, 17)
    assert "SIGKILL" in capsys.readouterr().out


def test_an_engine_that_hangs_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the long run from a turn that never ends."""
    tally = fuzz.Tally()
    fuzz.watch([sys.executable, "-c", "import time; print('try 18', flush=True); time.sleep(100)"], tally, 0.5)
    assert (tally.crashes, tally.last) == (1, 18)
    assert "hangs" in capsys.readouterr().out
