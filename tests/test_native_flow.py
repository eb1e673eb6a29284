"""Where control can go in a program: right on small programs, and in bounded time on large ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from iridium.assembler import assemble
from iridium.image import HEADER, Image
from iridium.isa import BY_NAME, WORD
from iridium.vm import Program
from iridium.vm.native import flow as flow_module
from iridium.vm.native.flow import MOST_WAYS, Flow

E = {row.name: row.encode for row in BY_NAME.values()}
LOOKS = 16
"""So often each block may be looked at, whatever the program."""


def program(code: list[bytes]) -> Program:
    """A program of encoded instructions."""
    return Program(Image(b"".join(code), version=1))


def at(index: int) -> int:
    """The address of an instruction of it."""
    return HEADER + WORD * index


@pytest.fixture
def _bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an analysis fail that looks at blocks more often than in proportion to their number."""
    looks = 0
    successors = Flow.successors

    def counted(self: Flow, start: int) -> list[int]:
        nonlocal looks
        looks += 1
        assert looks <= LOOKS * len(self.blocks), "the work is not in proportion to the program"
        return successors(self, start)

    monkeypatch.setattr(Flow, "successors", counted)


def backward_branches(count: int, each: int, target: Callable[[int], int]) -> Program:
    """A program of so many pieces of so many instructions, each of which ends with a branch backwards."""
    code: list[bytes] = []
    for number in range(count):
        code += [E["INC"](number % 32)] * (each - 2)
        code += [E["LT"](1, 2), E["DJMPE"](at(target(number)))]
    return program(code)


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize("target", [lambda n: 0, lambda n: 10 * n, lambda n: 10 * (n // 2)])
def test_many_loops(target: Callable[[int], int]) -> None:
    """Protects the compiler's thread: a hundred thousand instructions, ten thousand loops, in one another too."""
    flow = Flow(backward_branches(10_000, 10, target))
    assert len(flow.ops) == 100_000
    assert sum(map(len, flow.regions)) == len(flow.blocks)
    assert {target(number) for number in range(10_000)} <= flow.checkpoints


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize("down", [True, False])
def test_many_subroutines_that_go_on_in_one_another(down: bool) -> None:
    """Protects the compiler's thread: ten thousand subroutines, each of which ends in the next or the last one."""
    count = 10_000
    code = [E["CALL"](at(count + 1 + 2 * number)) for number in range(count)] + [E["HLT"]()]
    for number in range(count):
        code.append(E["INC"](1))
        if number == (count - 1 if down else 0):
            code.append(E["RET"]())
        else:
            code.append(E["NOP"]() if down else E["DJMPN"](at(count + 1 + 2 * (number - 1))))
    flow = Flow(program(code))
    assert sum(map(len, flow.regions)) == len(flow.blocks)


def test_many_computed_jumps() -> None:
    """Protects memory and LLVM: thousands of jumps to thousands of addresses have a bounded number of ways."""
    count = 5000
    code = [E["LOAD"](1, at(number)) for number in range(count)] + [E["JMP"](1)] * count
    flow = Flow(program(code))
    assert set(range(count)) <= flow.checkpoints, "the driver can enter at all of them"
    for region in flow.regions:
        jumps = [flow.blocks[block] - 1 for block in region]
        assert sum(len(flow.candidates.get(jump, ())) for jump in jumps) <= MOST_WAYS
    kept = [jump for jump in flow.candidates if flow.candidates[jump]]
    assert len({id(flow.candidates[jump]) for jump in kept}) <= len(flow.regions)


def test_many_jumps_in_a_small_program() -> None:
    """Protects LLVM from a region that is one large switch after the other."""
    flow = Flow(program([E["LOAD"](1, at(number)) for number in range(190)] + [E["JMPE"](1)] * 190))
    assert len(flow.regions) == 1
    assert 1000 < sum(map(len, flow.candidates.values())) <= MOST_WAYS


def test_stopped_in_the_middle() -> None:
    """Protects the end of a process: the analysis of a long program ends when it is asked to, wherever it is."""
    long = backward_branches(2000, 10, lambda n: 10 * n)

    class StoppedError(Exception):
        pass

    def stop_at(number: int) -> tuple[Callable[[], None], list[int]]:
        asked: list[int] = []

        def check() -> None:
            asked.append(1)
            if len(asked) == number:
                raise StoppedError

        return check, asked

    check, asked = stop_at(-1)
    Flow(long, check)
    assert len(asked) > 2 * len(long.code) // WORD // flow_module.CHECK_EVERY
    for number in range(1, len(asked) + 1):
        check, until_then = stop_at(number)
        with pytest.raises(StoppedError):
            Flow(long, check)
        assert len(until_then) == number


def random_program(chance: random.Random, count: int = 60) -> Program:
    """Branches, calls and returns anywhere."""

    def word() -> bytes:
        target = at(chance.randrange(count))
        name = chance.choice(("INC", "INC", "DJMPE", "DJMPN", "LOOP", "CALL", "LOAD", "JMP", "RET", "HLT"))
        if name == "LOAD":
            return E[name](2, target)
        return E[name](*{"INC": (1,), "JMP": (2,), "RET": (), "HLT": ()}.get(name, (target,)))

    return program([word() for _ in range(count)])


def test_what_leaves_a_loop() -> None:
    """Protects the cost of loop heads: exits are, as defined, all ways out of what stands between head and end."""
    for seed in range(300):
        flow = Flow(random_program(random.Random(seed)))
        expected = set()
        for block, end in flow.blocks.items():
            for head in flow.successors(block):
                if head <= block:
                    inside = [part for part in flow.blocks if head <= part < end]
                    expected |= {out for part in inside for out in flow.successors(part) if not head <= out < end}
        assert flow._loop_exits() == expected, seed


def test_where_long_subroutines_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects loops from being cut in two, except where a part gets twice too long."""
    monkeypatch.setattr(flow_module, "LARGEST_REGION", 7)
    for seed in range(300):
        flow = Flow(random_program(random.Random(seed)))
        body = sorted(flow.blocks)
        in_loop = {
            part for block in body for target in flow.successors(block) for part in body if target < part <= block
        }
        parts = list(flow._parts(body))
        assert list(itertools.chain(*parts)) == body
        for part, following in itertools.pairwise(parts):
            size = sum(flow.blocks[block] - block for block in part)
            assert size >= 14 or (size >= 7 and following[0] not in in_loop)
            for cut in part[1:]:  # there it would have been cut before
                before = sum(flow.blocks[block] - block for block in part if block < cut)
                assert before < 7 or (before < 14 and cut in in_loop)


def test_regions_hold_every_block_once() -> None:
    """Protects compiled code: whatever the program, a block is in one region, and costs are bounded."""
    for seed in range(100):
        flow = Flow(random_program(random.Random(seed), 1000))
        assert sorted(itertools.chain(*flow.regions)) == sorted(flow.blocks)
        region_of = {block: number for number, region in enumerate(flow.regions) for block in region}
        for block in flow.blocks:
            for target in flow.successors(block):
                assert target in flow.checkpoints or region_of[target] == region_of[block]
                assert target in flow.checkpoints or target > block
        assert max(flow.cost.values()) <= flow_module.MOST_COST


def test_where_returns_go() -> None:
    """Protects calls inside a region: a RET likely goes behind the calls of each subroutine that reaches it."""
    source = """.code
        call @first
        call @second
        call @third
        hlt
first:  inc $1
second: inc $2
        ret
third:  inc $3
        ret
"""
    flow = Flow(Program(assemble(source)))
    assert flow.candidates == {6: {1, 2}, 8: {3}}
