"""Plants one mistake at a time in an engine, and shows that the comparison of engines finds each.

    python -m tests.planted
    python -m tests.planted --native

:data:`PATCHES` are mistakes in the reference engine: in what an instruction means, or in how a turn ends. The
engine that has one is compared with the reference engine that has none. :data:`LOWERINGS` are mistakes in the
native engines: in a lowering, or in how the compiler puts them together; each is planted in a process of its own
with an empty cache of objects, before any engine is built.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from iridium.isa import BY_OPCODE, WORD, Fault
from iridium.vm import VM, Stop, run
from iridium.vm.engine import Engine
from iridium.vm.output import Tag
from iridium.vm.reference import Turn
from iridium.vm.semantics import SEMANTICS, Scratch, Step, Trap
from iridium.vm.semantics.scratch import MAX, MIN, U32, wrap
from tests.fuzzing.compare import Mismatch, Plan, available, check, plans
from tests.fuzzing.compare import Step as TurnOf
from tests.fuzzing.programs import make
from tests.fuzzing.shapes import LONG, cases, cuts

PROGRAMS = 2000
"""Random programs that are tried against each mistake: a few seconds of them."""

PATIENCE = 900.0
"""Seconds that a mistake in the native engines may take to show; then something hangs, which shows it as well."""

Meaning: TypeAlias = Callable[..., Step]
"""An entry of ``SEMANTICS``."""


class Patch(NamedTuple):
    """A mistake.

    Attributes:
        meanings: the instructions that mean something wrong.
        turn: what goes wrong around a turn; by default nothing.
    """

    meanings: Mapping[str, Meaning] = {}
    turn: Callable[[Engine, VM, int], Turn] = lambda engine, vm, budget: engine(vm, budget)


def planted(patch: Patch) -> Engine:
    """The reference engine with a mistake in it; it keeps closures of its own beside the program's."""
    decoded: list[Any] = [None, None]  # of the last program

    def mistaken(vm: VM, budget: int) -> Turn:
        program = vm.program
        right = {name: SEMANTICS[name] for name in patch.meanings}
        kept = program.decoded
        program.decoded = decoded[1] if decoded[0] is program else None
        SEMANTICS.update(patch.meanings)
        try:
            return run(vm, budget)
        finally:
            SEMANTICS.update(right)
            decoded[:] = program, program.decoded
            program.decoded = kept

    return lambda vm, budget: patch.turn(mistaken, vm, budget)


# Wrong meanings.

_RIGHT = dict(SEMANTICS)
"""The right ones, which are looked up while a wrong one is in their place."""


def _binary(result: Callable[[int, int], int]) -> Meaning:
    def factory(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
        def step() -> int:
            s.registers[c] = result(s.registers[a], s.registers[b])
            return k

        return step

    return factory


def _float_binary(result: Callable[[float, float], float]) -> Meaning:
    def factory(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
        def step() -> int:
            s.floats[c] = result(s.floats[a], s.floats[b])
            return k

        return step

    return factory


def _compare(holds: Callable[[int, int], bool], file: str = "registers", *, only_sets: bool = False) -> Meaning:
    def factory(s: Scratch, k: int, a: int, b: int) -> Step:
        values = getattr(s, file)

        def step() -> int:
            s.equal = holds(values[a], values[b]) or (only_sets and s.equal)
            return k

        return step

    return factory


def _changed(name: str, before: Callable[..., None]) -> dict[str, Meaning]:
    """The right meaning, after something that should not happen."""
    right = SEMANTICS[name]

    def factory(s: Scratch, k: int, *operands: int) -> Step:
        step = right(s, k, *operands)

        def changed() -> int:
            before(s, *operands)
            return step()

        return changed

    return {name: factory}


def _shift(name: str, by: Callable[[int], int]) -> dict[str, Meaning]:
    """A shift whose count is made wrongly; the right meaning then sees one that it takes as it is."""
    right = SEMANTICS[name]
    return {name: lambda s, k, a, n: right(s, k, a, by(n))}


def _shr_logical(s: Scratch, k: int, a: int, n: int) -> Step:
    def step() -> int:
        s.registers[a] = wrap((s.registers[a] & U32) >> ((n or 16) % 32))
        return k

    return step


def _div(quotient_of: Callable[[int, int], int], *, remainder: bool = True) -> Meaning:
    def factory(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
        def step() -> int:
            dividend, divisor = s.registers[a], s.registers[b]
            if not divisor:
                raise Trap(Fault.DIVISION_BY_ZERO)
            quotient = quotient_of(dividend, divisor)
            if remainder:
                s.remainder = wrap(dividend - quotient * divisor)
            s.registers[c] = max(MIN, min(MAX, quotient)) if quotient_of is _saturating else wrap(quotient)
            return k

        return step

    return factory


def _truncate(dividend: int, divisor: int) -> int:
    return int(math.copysign(1, dividend) * math.copysign(1, divisor)) * (abs(dividend) // abs(divisor))


def _saturating(dividend: int, divisor: int) -> int:
    return _truncate(dividend, divisor)


def _loadm(check_: Callable[[Scratch, int], bool]) -> Meaning:
    def factory(s: Scratch, k: int, a: int, b: int) -> Step:
        def step() -> int:
            at = s.registers[a] & U32
            if not check_(s, at):
                raise Trap(Fault.HEAP_BOUNDS)
            heap = s.heap = s.heap or s.vm.map_heap()
            s.registers[b] = int.from_bytes(heap[at : at + 4], "little", signed=True)
            return k

        return step

    return factory


def _setmf64(s: Scratch, k: int, a: int, b: int) -> Step:
    def step() -> int:
        at = s.heap_at(s.registers[a], 8)
        assert s.heap is not None
        struct.pack_into("<d", s.heap, at, s.floats[b])
        return k

    return step


def _loadb_signed(s: Scratch, k: int, a: int, b: int) -> Step:
    def step() -> int:
        at = s.heap_at(s.registers[a], 1)
        assert s.heap is not None
        s.registers[b] = (s.heap[at] ^ 128) - 128
        return k

    return step


def _aloc(s: Scratch, k: int, a: int) -> Step:
    def step() -> int:
        size = s.registers[a]
        if size < 0 or s.heap_size + size >= s.heap_limit:
            raise Trap(Fault.BAD_ALLOCATION)
        s.heap_size += size
        return k

    return step


def _push_limited(s: Scratch, k: int, a: int) -> Step:
    right = _RIGHT["PUSH"](s, k, a)

    def step() -> int:
        if s.sp + 1 >= s.stack_limit:
            raise Trap(Fault.STACK_OVERFLOW)
        return right()

    return step


def _call(s: Scratch, k: int, target: int | None) -> Step:
    right = _RIGHT["CALL"](s, k, target)

    def step() -> int:
        if s.sp + 2 <= s.stack_limit:
            if s.stack is None:
                s.stack = s.vm.map_stack()
            if target is None:  # the fault of the jump, when the frame is there already
                s.stack[s.sp], s.stack[s.sp + 1] = s.base + WORD * k, s.bp
                s.sp += 2
        return right()

    return step


def _ret(s: Scratch, k: int) -> Step:
    def step() -> int:
        bp = s.bp
        if not 2 <= bp <= s.stack_limit:  # and not: at most sp
            raise Trap(Fault.STACK_UNDERFLOW)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        index = s.jump(s.stack[bp - 2])
        s.bp, s.sp = s.stack[bp - 1], bp - 2
        return index

    return step


def _ret_leaves_words(s: Scratch, k: int) -> Step:
    def step() -> int:
        bp, sp = s.bp, s.sp
        if not 2 <= bp <= sp:
            raise Trap(Fault.STACK_UNDERFLOW)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        index = s.jump(s.stack[sp - 2])  # as if the callee had left nothing
        s.bp, s.sp = s.stack[sp - 1], sp - 2
        return index

    return step


def _loop_once_less(s: Scratch, k: int, target: int | None) -> Step:
    def step() -> int:
        s.loop -= s.loop > 0
        if not s.loop:
            return k
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        return target

    return step


def _djmpe_eager(s: Scratch, k: int, target: int | None) -> Step:
    def step() -> int:
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        return target if s.equal else k

    return step


def _jmp_rounds(s: Scratch, k: int, a: int) -> Step:
    return lambda: s.jump(s.registers[a] & ~3 | s.base & 3)


def _jmpf_from_start(s: Scratch, k: int, a: int) -> Step:
    return lambda: s.jump(wrap(s.base + WORD * (k - 1) + s.registers[a]))


def _ftoi_wraps(s: Scratch, k: int, a: int, b: int) -> Step:
    def step() -> int:
        value = s.floats[a]
        s.registers[b] = wrap(int(value)) if math.isfinite(value) else 0
        return k

    return step


def _ftoi_nan(s: Scratch, k: int, a: int, b: int) -> Step:
    right = _RIGHT["FTOI"](s, k, a, b)

    def step() -> int:
        if math.isnan(s.floats[a]):
            s.registers[b] = MIN
            return k
        return right()

    return step


def _movf64_loses_sign(s: Scratch, k: int, a: int, b: int) -> Step:
    def step() -> int:
        s.floats[b] = s.floats[a] + 0.0
        return k

    return step


def _flushing(a: float, b: float) -> float:
    product = a * b
    return 0.0 if abs(product) < sys.float_info.min else product


def _prtc(s: Scratch, k: int, a: int) -> Step:
    def step() -> int:
        if not 0 <= s.registers[a] <= 0x10FFFF:
            raise Trap(Fault.BAD_STRING)
        s.write(Tag.CHARACTER, s.registers[a])
        return k

    return step


def _pop_clears(s: Scratch, a: int) -> None:
    s.registers[a] = 0


# Wrong ends of turns.


def _overshoots(engine: Engine, vm: VM, budget: int) -> Turn:
    """A turn that ends on a comparison executes that too: the branch after it belongs to it."""
    stop, left = engine(vm, budget)
    word = vm.program.word_at(vm.record.pc)
    if stop is Stop.BUDGET and budget and word and 9 <= word[0] <= 14:
        stop, _ = engine(vm, 1)
    return Turn(stop, left)


def _stops_early(engine: Engine, vm: VM, budget: int) -> Turn:
    stop, left = engine(vm, max(budget - (budget > 2), 0))
    return Turn(stop, left if stop is Stop.BUDGET else left + (budget > 2))


def _resumes_behind(engine: Engine, vm: VM, budget: int) -> Turn:
    turn = engine(vm, budget)
    word = vm.program.word_at(vm.record.pc)
    if (
        turn.stop is Stop.BUDGET
        and budget
        and word
        and BY_OPCODE.get(word[0], BY_OPCODE[0]).name in ("DJMPE", "LOOP")
    ):
        vm.record.pc += WORD
    return turn


def _loses(field: str) -> Callable[[Engine, VM, int], Turn]:
    """A turn that does not write a field back when its budget ends."""

    def turn(engine: Engine, vm: VM, budget: int) -> Turn:
        before = getattr(vm.record, field)
        stop, left = engine(vm, budget)
        if stop is Stop.BUDGET:
            setattr(vm.record, field, before)
        return Turn(stop, left)

    return turn


def _counts_a_fault(engine: Engine, vm: VM, budget: int) -> Turn:
    stop, left = engine(vm, budget)
    if stop is Stop.FAULT:
        vm.record.instructions += 1
        left -= 1
    return Turn(stop, left)


def _fault_moves_on(engine: Engine, vm: VM, budget: int) -> Turn:
    turn = engine(vm, budget)
    if turn.stop is Stop.FAULT:
        vm.record.pc += WORD
    return turn


def _counts_a_wait(engine: Engine, vm: VM, budget: int) -> Turn:
    stop, left = engine(vm, budget)
    return Turn(stop, left - (stop is Stop.WAITING))


PATCHES: dict[str, Patch] = {
    "LT is LTE": Patch({"LT": _compare(lambda a, b: a <= b)}),
    "GT is unsigned": Patch({"GT": _compare(lambda a, b: a & U32 > b & U32)}),
    "EQ does not clear the flag": Patch({"EQ": _compare(lambda a, b: a == b, only_sets=True)}),
    "EQF64 is exact": Patch({"EQF64": _compare(lambda a, b: a == b, "floats")}),
    "NEQF64 holds for a NaN": Patch(
        {"NEQF64": _compare(lambda a, b: not abs(a - b) <= 2.220446049250313e-16, "floats")}
    ),
    "LTF64 is not GTEF64": Patch({"LTF64": _compare(lambda a, b: not a >= b, "floats")}),
    "ADD saturates": Patch({"ADD": _binary(lambda a, b: max(MIN, min(MAX, a + b)))}),
    "MUL through a float": Patch({"MUL": _binary(lambda a, b: wrap(int(float(a) * float(b))))}),
    "shift by 0 is by 0": Patch(_shift("SHL", lambda n: n or 32)),
    "shift by 32 is by 16": Patch(_shift("SHL", lambda n: n % 32)),
    "SHR is logical": Patch({"SHR": _shr_logical}),
    "DIV rounds down": Patch({"DIV": _div(lambda a, b: a // b)}),
    "DIV forgets the remainder": Patch({"DIV": _div(_truncate, remainder=False)}),
    "MIN / -1 is MAX": Patch({"DIV": _div(_saturating)}),
    "heap bound one too far": Patch({"LOADM": _loadm(lambda s, at: at + 4 <= s.heap_size + 1)}),
    "heap bound one too near": Patch({"LOADM": _loadm(lambda s, at: at + 4 < s.heap_size)}),
    "heap address wraps": Patch({"LOADM": _loadm(lambda s, at: at + 4 & U32 <= s.heap_size)}),
    "LOADB keeps the sign": Patch({"LOADB": _loadb_signed}),
    "NaNs keep their bits in memory": Patch({"SETMF64": _setmf64}),
    "heap limit not reached": Patch({"ALOC": _aloc}),
    "stack limit one too low": Patch({"PUSH": _push_limited}),
    "CALL to nowhere leaves its frame": Patch({"CALL": _call}),
    "RET above the stack": Patch({"RET": _ret}),
    "RET keeps what was left over": Patch({"RET": _ret_leaves_words}),
    "POP of nothing clears the register": Patch(_changed("POP", lambda s, a: None if s.sp else _pop_clears(s, a))),
    "LOOP once less": Patch({"LOOP": _loop_once_less}),
    "bad branch faults untaken": Patch({"DJMPE": _djmpe_eager}),
    "JMP into an instruction": Patch({"JMP": _jmp_rounds}),
    "JMPF from the start": Patch({"JMPF": _jmpf_from_start}),
    "FTOI wraps": Patch({"FTOI": _ftoi_wraps}),
    "FTOI of a NaN": Patch({"FTOI": _ftoi_nan}),
    "-0.0 lost": Patch({"MOVF64": _movf64_loses_sign}),
    "denormals flushed": Patch({"MULF64": _float_binary(_flushing)}),
    "surrogates print": Patch({"PRTC": _prtc}),
    "budget overshoots": Patch(turn=_overshoots),
    "budget not used up": Patch(turn=_stops_early),
    "resumes behind the branch": Patch(turn=_resumes_behind),
    "equal flag not written back": Patch(turn=_loses("equal_flag")),
    "loop counter not written back": Patch(turn=_loses("loop_counter")),
    "remainder not written back": Patch(turn=_loses("remainder")),
    "fault counted": Patch(turn=_counts_a_fault),
    "pc behind the fault": Patch(turn=_fault_moves_on),
    "waiting counted": Patch(turn=_counts_a_wait),
}
"""Mistakes in the reference engine, by what they are."""


# Mistakes in the native engines, made before an engine is built.

NATIVE = ("native", "compiled")
"""The engines that are built from lowerings."""

COMPILED = ("compiled",)

REGIONS = ("regions",)
"""Compiled code in many regions: what is wrong between two regions shows there alone."""


class Change(NamedTuple):
    """A mistake in the native engines.

    Attributes:
        make: makes it, given what :class:`Parts` has.
        engines: those that have it.
        rare: whether random programs hardly ever meet it, so that directed ones have to show it alone.
    """

    make: Callable[[Any], None]
    engines: tuple[str, ...] = NATIVE
    rare: bool = False


class Parts:
    """The parts of the native engines that mistakes are made in; imported late, since llvmlite may be missing."""

    def __init__(self) -> None:
        from iridium.vm.native import compiler, emit, flow, loops, lowering

        self.lowerings = lowering.LOWERINGS
        self.integer = lowering.integer
        self.loops = loops
        self.emitter = emit.Emitter
        self.flow = flow.Flow
        self.region = compiler._Region


def _instead(name: str, other: str) -> Change:
    """One instruction is lowered as another with the same operands."""

    def make_it(parts: Parts) -> None:
        parts.lowerings[name] = parts.lowerings[other]

    return Change(make_it)


def _lowered(name: str, lowering: Callable[..., Any]) -> Change:
    """An instruction is lowered in another way."""
    return Change(lambda parts: parts.lowerings.update({name: lowering}))


def _replaced(part: str, name: str, of: Callable[..., Any], engines: tuple[str, ...] = COMPILED) -> Change:
    """A function of a part is another, which gets the right one and then the arguments."""

    def make_it(parts: Parts) -> None:
        owner = getattr(parts, part)
        right = getattr(owner, name)
        setattr(owner, name, lambda *arguments, **named: of(right, *arguments, **named))

    return Change(make_it, engines)


def _store_double(e: Any, address: str, value: str) -> None:
    e.store("double", value, e.heap(address, 8), e.HEAP)


def _text_without_flag(right: Callable[..., Any], region: Any) -> Any:
    region._written.discard("equal_flag")
    return right(region)


def _exit_behind(right: Callable[..., Any], region: Any, pc: int | str, stop: int, give_back: int) -> Any:
    from iridium.vm.runtime.layout import SHORT

    return right(region, int(pc) + WORD if stop == SHORT else pc, stop, give_back)


def _exit_keeps(right: Callable[..., Any], region: Any, pc: int | str, stop: int, give_back: int) -> Any:
    return right(region, pc, stop, give_back - (give_back > 2))


def _exit_to_region(right: Callable[..., Any], region: Any, pc: int | str, stop: int, give_back: int) -> Any:
    """The way to an instruction of another region, which is known: a computed one is no number here."""
    from iridium.vm.runtime.layout import ELSEWHERE

    crosses = stop == ELSEWHERE and isinstance(pc, int)
    return right(region, pc, stop, max(0, give_back - crosses))


def _loop_but(**wrong: Callable[[Any], Any]) -> Change:
    """Loops over the heap are found with something else about them."""

    def find(right: Callable[..., Any], *arguments: Any) -> Any:
        loop = right(*arguments)
        return loop and loop._replace(**{name: value(loop) for name, value in wrong.items()})

    return _replaced("loops", "find_loop", find)


def _limit_one_more(right: Callable[..., Any], e: Any, *arguments: Any) -> Any:
    entrance = right(e, *arguments)
    return entrance._replace(limit=e.op(f"add i64 {entrance.limit}, 1"))


LOWERINGS: dict[str, Change] = {
    "LT as LTE": _instead("LT", "LTE"),
    "GTE as GT": _instead("GTE", "GT"),
    "EQ as GTE": _instead("EQ", "GTE"),
    "LTF64 as LTEF64": _instead("LTF64", "LTEF64"),
    "NEQF64 as EQF64": _instead("NEQF64", "EQF64"),
    "SHL as SHR": _instead("SHL", "SHR"),
    "INC as DEC": _instead("INC", "DEC"),
    "ADDF64 as SUBF64": _instead("ADDF64", "SUBF64"),
    "SETM as SETB": _instead("SETM", "SETB"),
    "LOADM as LOADRO": _instead("LOADM", "LOADRO"),
    "DJMPE as DJMPN": _instead("DJMPE", "DJMPN"),
    "JMPF as JMPB": _instead("JMPF", "JMPB"),
    "shift by 0 is by 0": _replaced(
        "integer", "_shift_count", lambda right, e, count: e.op(f"and i32 {count}, 31"), NATIVE
    ),
    "SHR is logical": _lowered(
        "SHR",
        lambda e, a, n: e.op(f"lshr i32 {a}, {e.op(f'and i32 {n}, 31')}") if n != "0" else e.op("add i32 0, 0"),
    ),
    "LOADB keeps the sign": _lowered(
        "LOADB", lambda e, a: e.op(f"sext i8 {e.load('i8', e.heap(a, 1), e.HEAP)} to i32")
    ),
    "NaNs keep their bits in memory": _lowered("SETMF64", _store_double)._replace(rare=True),
    "heap bound one too far": _replaced(
        "emitter", "heap", lambda right, e, address, size: right(e, address, size - 1), NATIVE
    ),
    "heap bound one too near": _replaced(
        "emitter", "heap", lambda right, e, address, size: right(e, address, size + 1), NATIVE
    ),
    "budget passed by one": _replaced(
        "flow", "_find_costs", lambda right, flow: {block: cost - 1 for block, cost in right(flow).items()}
    ),
    "way out keeps one of the budget": _replaced("region", "_exit", _exit_keeps),
    "end of a turn resumes one behind": _replaced("region", "_exit", _exit_behind),
    "what is left to the interpreter is jumped over": _replaced(
        "region", "_leave", lambda right, region: region._exit(int(region.here()) + WORD, 18, region._taken)
    ),
    "equal flag not written back": _replaced("region", "text", _text_without_flag),
    "nothing given back between regions": _replaced("region", "_exit", _exit_to_region, REGIONS),
    "loop entered in any case": _replaced(
        "loops", "enter", lambda right, *arguments: right(*arguments)._replace(may="true")
    ),
    "loop goes one too far": _replaced("loops", "enter", _limit_one_more),
    "loop of words bounded for bytes": _loop_but(size=lambda loop: 1)._replace(rare=True),
    "loop costs one less": _loop_but(cost=lambda loop: loop.cost - 1),
    "loop unchecked behind its step": _loop_but(stepped=lambda loop: 2**31)._replace(rare=True),
}
"""Mistakes in the native engines, by what they are."""


class Verdict(NamedTuple):
    """How a mistake was found.

    Attributes:
        shape: the directed program that showed it, or "".
        programs: after how many random programs it showed; 0: it did not.
    """

    shape: str
    programs: int


def look_for(name: str, engine: Engine, programs: int = PROGRAMS) -> Verdict:
    """Compare an engine that has a mistake, on directed and then on random programs."""
    return Verdict(find_shape(name, engine), _programs(name, engine, programs))


def find_shape(name: str, engine: Engine) -> str:
    """The first directed program that shows a mistake, or "". First all are cut in two ways, then in all ways."""
    small = {shape: case for shape, case in cases().items() if case.total <= LONG}
    for shape, case in small.items():
        few = [Plan((TurnOf(name, budget),) * turns) for budget, turns in ((case.total, 1), (3, 60))]
        if _first(case, few, {name: engine}):
            return shape
    for shape, case in small.items():
        if _first(case, cuts(case, [name]), {name: engine}):
            return shape
    return ""


def _first(case: Any, cut: Any, engines: Mapping[str, Engine]) -> Mismatch | None:
    return next(filter(None, (check(case, plan, engines) for plan in cut)), None)


def _programs(name: str, engine: Engine, programs: int) -> int:
    for number in range(programs):
        case = make(number)
        engines = {name: engine, "reference": run}
        if _first(case, itertools.islice(plans(number, [name], case.total), 3), engines):
            return number + 1
    return 0


def _native_in_here(mistake: str, programs: int) -> int:
    """In a process of its own: plant, build the engines, look."""
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # objects with a mistake in them go nowhere else
    change = LOWERINGS[mistake]
    change.make(Parts())
    missed, tried = False, 0
    engines = available()
    for name in change.engines:
        if name not in engines:
            continue
        tried += 1
        verdict = look_for(name, engines[name], 0 if change.rare else programs)
        missed |= not (_tell(f"{mistake} ({name})", verdict) or (change.rare and verdict.shape))
    if not tried:
        print(f"{mistake:46s} no native engine runs here")
    return int(missed or not tried)


def _tell(mistake: str, verdict: Verdict) -> bool:
    random_ = f"random program {verdict.programs}" if verdict.programs else "no random program"
    print(f"{mistake:46s} {verdict.shape or 'NO DIRECTED PROGRAM':40s} {random_}", flush=True)
    return bool(verdict.shape and verdict.programs)


def _native(mistakes: Sequence[str], programs: int) -> int:
    """Plant each mistake in the lowerings in a process with an empty cache, so that no good object hides it."""
    if importlib.util.find_spec("iridium.vm.native") is None:
        sys.exit("there are no native engines here: nothing was planted")
    missed = 0
    for mistake in mistakes:
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "tests.planted", "--one", mistake, "--programs", str(programs)]
            environment = {**os.environ, "TMPDIR": directory}
            try:
                code = subprocess.run(command, env=environment, timeout=PATIENCE, check=False).returncode
            except subprocess.TimeoutExpired:
                print(f"{mistake:46s} hangs")
                continue
        if code < 0:
            print(f"{mistake:46s} ends the process with signal {-code}")
        missed += code > 0
    return missed


def main() -> None:
    """Plant all mistakes, one at a time; fail if one is not found by directed and by random programs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=PROGRAMS, help="random ones that are tried, for each")
    parser.add_argument("--native", action="store_true", help="in the lowerings of the native engines")
    parser.add_argument("--only", default="", help="mistakes, parted by commas; all by default")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.exit(_native_in_here(options.one, options.programs))
    known: Mapping[str, Any] = LOWERINGS if options.native else PATCHES
    mistakes = options.only.split(",") if options.only else list(known)
    if unknown := [name for name in mistakes if name not in known]:
        parser.error(f"no mistake {', '.join(unknown)}; there is {', '.join(known)}")
    if options.native:
        missed = _native(mistakes, options.programs)
    else:
        found = [_tell(name, look_for("planted", planted(PATCHES[name]), options.programs)) for name in mistakes]
        missed = found.count(False)
    print(f"{len(mistakes)} mistakes, {missed} missed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
