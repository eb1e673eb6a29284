"""One program on two machines: the reference engine's, and one that other engines advance.

A :class:`Plan` says how the second machine's run is cut into turns, and which engine gets each. In lockstep the
first machine has the same turns and everything is compared after each; otherwise it has one turn and the ends are
compared.
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from iridium.errors import OptionError
from iridium.isa import REGISTERS, WORD
from iridium.vm import VM, Program, Stop
from iridium.vm import run as reference
from iridium.vm.engine import ENGINES, Engine, find_engine
from iridium.vm.record import Waiting
from iridium.vm.reference import Turn
from tests.fuzzing.programs import Case

if TYPE_CHECKING:
    from iridium.vm.native.flow import Sizes
    from iridium.vm.native.program import NativeProgram

GO_ON = 3
"""Turns that a machine gets after it stopped for good, in lockstep: what they do is defined as well."""

MOST_WAITS = 3
"""Turns in a row that may do nothing but wait: what they wait for will not come."""

MOST_HEAP = 65536
"""Bytes of heap that are compared after every turn; what is beyond only at the end."""

MOST_REGIONS = 8
"""Regions that a program is cut into by :func:`regions`, about: each costs some milliseconds to compile."""

_FLOATS = struct.Struct(f"={REGISTERS}Q")
_MAGNITUDE, _INFINITY = 2**63 - 1, 0x7FF0 << 48
_NAN = 0x7FF8 << 48


class Step(NamedTuple):
    """A turn of the second machine."""

    engine: str
    budget: int


class Plan(NamedTuple):
    """How a run is cut.

    Attributes:
        steps: the turns; what is left of the case's total after them is one more turn of the last engine.
        lockstep: whether the reference has the same turns.
        drain: when the output is read: "always" after a turn, when a print is "waiting", or "never".
    """

    steps: tuple[Step, ...]
    lockstep: bool = True
    drain: str = "waiting"


class Mismatch(NamedTuple):
    """Where two machines differ.

    Attributes:
        case, plan: what was run.
        turn: the number of the turn, from 0.
        differences: what, on the reference's machine and on the other.
    """

    case: Case
    plan: Plan
    turn: int
    differences: tuple[tuple[str, Any, Any], ...]


def stepwise(vm: VM, budget: int) -> Turn:
    """The reference engine with a turn for every instruction: what is compared where there is no other."""
    for left in range(budget, 0, -1):
        turn = reference(vm, 1)
        if turn.stop is not Stop.BUDGET:
            return Turn(turn.stop, left - 1 + turn.left)
    return Turn(Stop.BUDGET, 0) if budget else reference(vm, 0)


def regions(vm: VM, budget: int) -> Turn:
    """Compiled code in many small regions: what a large program is, whose way leads from one to another.

    A program is cut into the same regions every time, of sizes that its code draws. Its other native form, which
    the engines by name have, stays as it is.
    """
    from iridium.vm.native.engine import runtime

    native = _in_regions(vm.program)
    vm.native = native
    vm.record.program = native.address
    return runtime().turn(vm, budget)


@functools.lru_cache(16)
def _in_regions(program: Program) -> NativeProgram:
    from iridium.vm.native.engine import runtime
    from iridium.vm.native.program import NativeProgram

    native = NativeProgram(program, runtime().pieces)
    native.enter_at(runtime().compile(program, sizes=region_sizes(program)))
    return native


def region_sizes(program: Program) -> Sizes:
    """What :func:`regions` cuts a program into."""
    from iridium.vm.native.flow import Sizes

    chance = random.Random(program.content_hash())
    region = max(chance.choice((1, 3, 8, 8, 20)), len(program.code) // WORD // MOST_REGIONS)
    return Sizes(region, chance.choice((1, 2, 3, 5, 8, 64)), chance.choice((1, 4, 4, 16, 256)))


def available() -> dict[str, Engine]:
    """All engines that run here, by name, and those of this module: stepwise, and regions where one compiles."""
    found: dict[str, Engine] = {"stepwise": stepwise}
    for name in ENGINES:
        try:
            found[name] = find_engine(name)
        except OptionError:
            continue
    if "compiled" in found:
        found["regions"] = regions
    return found


def observe(vm: VM, heap: bool = True) -> dict[str, Any]:
    """All that can be seen of a machine but its text; any NaN is one."""
    r = vm.record
    floats = bytes(memoryview(r).cast("B")[: _FLOATS.size])
    seen = {
        "floats": [_NAN if bits & _MAGNITUDE > _INFINITY else bits for bits in _FLOATS.unpack(floats)],
        "registers": r.registers[:],
        "equal_flag": r.equal_flag,
        "remainder": r.remainder,
        "loop_counter": r.loop_counter,
        "bp": r.bp,
        "sp": r.sp,
        "pc": r.pc,
        "stop": r.stop,
        "stop_code": r.stop_code,
        "fault": r.fault,
        "waiting": r.waiting,
        "instructions": r.instructions,
        "heap_size": r.heap_size,
        "stack": vm.stack_words(),
        "printed items": len(vm.output),
    }
    if heap or r.heap_size <= MOST_HEAP:
        seen["heap"] = vm.heap_bytes(0, r.heap_size)
    return seen


def differ(want: Mapping[str, Any], got: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    """The observables that are not the same; of lists and bytes, the places."""
    found: list[tuple[str, Any, Any]] = []
    for name, value in want.items():
        other = got[name]
        if value == other:
            continue
        if isinstance(value, list | bytes) and len(value) == len(other):
            places = [at for at, (a, b) in enumerate(zip(value, other, strict=True)) if a != b]
            found += [(f"{name}[{at}]", value[at], other[at]) for at in places[:5]]
        else:
            found.append((name, value, other))
    return tuple(found)


def _turn(engine: Engine, vm: VM, budget: int) -> tuple[Any, ...]:
    """How a turn ended, or the exception that it must not have raised; and what is wrong with it by itself."""
    before = vm.record.instructions
    try:
        stop, left = engine(vm, budget)
    except Exception as error:  # whatever it is, it is a finding
        return (f"raised {error!r}",)
    wrong = []
    if not 0 <= left <= budget:
        wrong.append("the budget left is not within the budget")
    if vm.record.instructions - before != budget - left:
        wrong.append(f"{vm.record.instructions - before} counted in a turn of {budget} that left {left}")
    if stop == Stop.BUDGET and left:
        wrong.append("the budget was not used up")
    if stop != vm.record.stop:
        wrong.append(f"the record says stop {vm.record.stop}")
    return int(stop), left, *wrong


def _drain(vm: VM, plan: Plan) -> str | None:
    """Read the output if the plan says so; None where nothing was read."""
    waits = vm.record.stop == Stop.WAITING and vm.record.waiting == Waiting.OUTPUT_ROOM
    if plan.drain == "never" or (plan.drain == "waiting" and not waits):
        return None
    return read_all(vm)


def read_all(vm: VM) -> str:
    """All that was printed and not read."""
    parts = []
    while len(vm.output):
        parts.append(vm.output.take())
    return "".join(parts)


def check(
    case: Case, plan: Plan, engines: Mapping[str, Engine], program: Program | None = None
) -> Mismatch | None:
    """Run a case by a plan.

    Args:
        case, plan: what to run and how.
        engines: by the names that the plan has.
        program: made of the case's image; give it where several plans follow, so that it is compiled once.

    Returns:
        The first difference, if any.
    """
    program = program or Program(case.image)
    model, subject = case.machine(program), case.machine(program)
    return (_lockstep if plan.lockstep else _freely)(case, plan, engines, model, subject)


def _steps(case: Case, plan: Plan, subject: VM) -> Iterator[Step]:
    """The turns, cut off where the case's total is used up."""
    for step in plan.steps:
        left = case.total - subject.record.instructions
        if left <= 0:
            return
        yield Step(step.engine, min(step.budget, left))
    last = plan.steps[-1].engine
    while (left := case.total - subject.record.instructions) > 0:
        yield Step(last, left)


def _lockstep(case: Case, plan: Plan, engines: Mapping[str, Engine], model: VM, subject: VM) -> Mismatch | None:
    extra = waits = 0
    for number, step in enumerate(_steps(case, plan, subject)):
        want = _turn(reference, model, step.budget)
        got = _turn(engines[step.engine], subject, step.budget)
        different = differ(
            {"turn": want, **observe(model, heap=False)}, {"turn": got, **observe(subject, heap=False)}
        )
        if different:
            return Mismatch(case, plan, number, different)
        stop = model.record.stop
        texts = _drain(model, plan), _drain(subject, plan)
        if texts[0] != texts[1]:
            return Mismatch(case, plan, number, (("printed", *texts),))
        waits = waits + 1 if stop == Stop.WAITING and want[1] == step.budget else 0
        extra += stop in (Stop.HALTED, Stop.FAULT)
        if extra > GO_ON or waits > MOST_WAITS:
            break
    return _ends(case, plan, number, model, subject, ["", ""])


def _freely(case: Case, plan: Plan, engines: Mapping[str, Engine], model: VM, subject: VM) -> Mismatch | None:
    whole = Plan((Step("reference", case.total),), False, plan.drain)
    texts = []
    for vm, cut in ((model, whole), (subject, plan)):
        parts = []
        waits = 0
        for number, step in enumerate(_steps(case, cut, vm)):
            engine = reference if vm is model else engines[step.engine]
            turn = _turn(engine, vm, step.budget)
            if len(turn) != 2:
                return Mismatch(case, plan, number, (("turn", "as it should be", turn),))
            parts.append(_drain(vm, plan) or "")
            waits = waits + 1 if turn[0] == Stop.WAITING and turn[1] == step.budget else 0
            if turn[0] in (Stop.HALTED, Stop.FAULT) or waits > MOST_WAITS:
                break
        texts.append("".join(parts))
    return _ends(case, plan, number, model, subject, texts)


def _ends(case: Case, plan: Plan, number: int, model: VM, subject: VM, texts: list[str]) -> Mismatch | None:
    seen = [observe(vm) for vm in (model, subject)]
    if plan.drain == "always":  # how much was left to read after the last turn depends on how it was cut
        for each in seen:
            del each["printed items"]
    for vm, each, text in zip((model, subject), seen, texts, strict=True):
        if not plan.lockstep and plan.drain == "waiting":
            each.pop("printed items")
        each["printed"] = text + read_all(vm)
    different = differ(*seen)
    return Mismatch(case, plan, number, different) if different else None


def plans(number: int, names: Sequence[str], total: int) -> Iterator[Plan]:
    """Endless ways to cut a run among these engines, the same ones every time for a number.

    The first three are: lockstep of one engine, ends only, and a machine that moves between engines.
    """
    chance = random.Random(f"plan {number}")
    while True:
        for lockstep, moving in ((True, False), (False, False), (chance.random() < 0.7, True)):
            one = chance.choice(names)
            budget = _budgets(chance)
            steps = []
            for _ in range(chance.choice((5, 40, 300))):
                steps.append(Step(chance.choice((*names, "reference")) if moving else one, budget()))
                if sum(step.budget for step in steps[-8:]) > 8 * total:
                    break
            yield Plan(tuple(steps), lockstep, chance.choice(("waiting", "waiting", "always", "never")))


def _budgets(chance: random.Random) -> Callable[[], int]:
    """A way to choose budgets."""
    same = chance.choice((1, 1, 2, 3, 4, 5, 6, 7, 11, 13, 16, 17, 64, 1000, 1024, 1025))
    return chance.choice((
        lambda: same,
        lambda: chance.randint(1, 10),
        lambda: chance.randint(1, 100),
        lambda: chance.randint(0, 3),
        lambda: chance.choice((0, 1, 2, 50, 333, 1023, 1024, 1025, 5000)),
        lambda: 1_000_000,
    ))  # fmt: skip
