"""Where control can go in a program: basic blocks, checkpoints, and the regions that are compiled together.

A *checkpoint* is a block before which compiled code looks at the budget: every loop head, call target, return
point, target of a computed jump and wait for a message, so that between two checkpoints there are only finitely
many ways. The *cost* of a block is the longest of these ways, in instructions, from the start of the block to the
next checkpoint. Compiled code passes one only if the budget left covers the cost of its block, and so never
exceeds it. Checkpoints are also where it is entered: turns often begin where the one before waited.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from iridium.isa import CODE, WORD, Fault, Instruction
from iridium.vm.native.program import decode
from iridium.vm.program import Program

MOST_COST = 256
"""The most instructions between two checkpoints: with less budget than that, a turn may be interpreted."""

LONGEST_BLOCK = 64
"""Instructions after which a block ends, so that costs can be kept small."""

LARGEST_REGION = 384
"""Instructions that are compiled together: beyond some hundreds, LLVM takes much longer for each."""

MOST_WAYS = 2048
"""Likely targets of the computed jumps of a region, all together: each is a way of its own for LLVM. What is left
out is reached through the driver.
"""

CHECK_EVERY = 4096
"""Steps between two questions whether to go on: some milliseconds."""

_T = TypeVar("_T")


class Sizes(NamedTuple):
    """What a program is cut into; tests cut smaller than is worth it, so that small programs have many regions.

    Attributes:
        region: instructions that are compiled together, about.
        block: instructions after which a block ends.
        cost: the most instructions between two checkpoints, but for a longer block.
    """

    region: int = LARGEST_REGION
    block: int = LONGEST_BLOCK
    cost: int = MOST_COST


USUAL = Sizes()
"""What programs are cut into, but for tests."""


class Op(NamedTuple):
    """One instruction.

    Attributes:
        row: its row, or None where it always faults.
        values: its operands; a code address is the index of its instruction, or -1.
        fault: what it always raises, or None.
    """

    row: Instruction | None
    values: tuple[int, ...]
    fault: Fault | None

    @property
    def ends_block(self) -> bool:
        """Whether control can go elsewhere than to the next instruction."""
        return self.row is None or self.row.leaves

    @property
    def goes_on(self) -> bool:
        """Whether control can go to the next instruction: a call comes back there."""
        return self.row is not None and self.row.name not in _NEVER_ON

    @property
    def waits(self) -> bool:
        """Whether it waits for a message, so that turns begin with it."""
        return self.row is not None and self.row.name in _WAITING

    @property
    def target(self) -> int | None:
        """The index that a code operand names, or None."""
        if self.row is not None:
            for kind, value in zip(self.row.operands, self.values, strict=True):
                if kind is CODE and value >= 0:
                    return value
        return None


_WAITING = frozenset(("RECV", "RECVT"))
_NEVER_ON = frozenset(("HLT", "HLTR", "JMP", "JMPF", "JMPB", "RET"))


class Flow:
    """The control flow of a program; finding it out takes time in proportion to the length of the program.

    Args:
        program: the program, which does not change meanwhile.
        check: called now and then; what it raises ends the analysis.
        sizes: what to cut it into.

    Attributes:
        ops: its instructions.
        base: the address of the first.
        blocks: where each block ends, by where it starts.
        checkpoints: the blocks that are checkpoints.
        cost: the cost of each block.
        candidates: where each computed jump, by its index, is likely to go in its own region.
        regions: the blocks of each region, in order.
    """

    def __init__(self, program: Program, check: Callable[[], None] = lambda: None, sizes: Sizes = USUAL) -> None:
        self._check = check
        self._sizes = sizes
        self.base = program.base
        self.ops = [Op(*found) for found in self._each(decode(program))]
        self._callers = self._find_calls()
        self._loaded: set[int] = set()  # the instructions whose addresses are loaded
        self._exact: dict[int, set[int]] = {}  # where jumps by a known offset go
        self._anywhere: list[int] = []  # the jumps to what is in a register
        self._find_computed_jumps()
        self.blocks = self._find_blocks()
        self.checkpoints = self._find_checkpoints()
        self._owner: dict[int, int] = {}  # of each block: the start of the subroutine that reaches it first
        self._joins: dict[int, set[int]] = {}  # the subroutines that each other one goes on in
        self.regions = self._divide()
        self._region_of = {block: at for at, region in enumerate(self.regions) for block in region}
        self._enter_regions()
        self.candidates = self._find_candidates()
        self.cost = self._find_costs()

    def address(self, index: int) -> int:
        """The address of an instruction."""
        return self.base + WORD * index

    def successors(self, start: int) -> list[int]:
        """The blocks behind a block, other than by a computed jump; a call's are its target and what is next."""
        end = self.blocks[start]
        last = self.ops[end - 1]
        found = [last.target] if last.target is not None else []
        if last.goes_on and end < len(self.ops):
            found.append(end)
        return found

    # Finding out.

    def _each(self, items: Iterable[_T]) -> Iterator[_T]:
        """The same, with a question now and then whether to go on."""
        for number, item in enumerate(items):
            if not number % CHECK_EVERY:
                self._check()
            yield item

    def _find_calls(self) -> dict[int, list[int]]:
        """The indices of the calls of each subroutine."""
        calls: dict[int, list[int]] = {}
        for index, op in self._each(enumerate(self.ops)):
            if op.row is not None and op.row.name == "CALL" and op.target is not None:
                calls.setdefault(op.target, []).append(index)
        return calls

    def _find_computed_jumps(self) -> None:
        """Where computed jumps may go: to constants that were loaded."""
        count = len(self.ops)
        constants: dict[int, int] = {}  # of registers, since the last jump
        for index, op in self._each(enumerate(self.ops)):
            if op.row is None:
                continue
            name, values = op.row.name, op.values
            if name == "LOAD":
                constants[values[0]] = values[1]
            elif name == "LUI":
                constants[values[0]] = (constants.get(values[0], 0) << 16 | values[1]) & 0xFFFFFFFF
            elif name in ("JMP", "JMPE"):
                self._anywhere.append(index)
            elif name in ("JMPF", "JMPB") and values[0] in constants:
                offset = constants[values[0]] if name == "JMPF" else -constants[values[0]]
                index_there, rest = divmod(WORD * index + 2 + offset, WORD)
                self._exact[index] = {index_there} if not rest and 0 <= index_there < count else set()
            if name in ("LOAD", "LUI"):
                there, rest = divmod(constants[values[0]] - self.base, WORD)
                if not rest and 0 <= there < count:
                    self._loaded.add(there)
            else:
                for kind, value in zip(op.row.operands, values, strict=True):
                    if kind.writes and kind.register == "i32":
                        constants.pop(value, None)
        if not self._anywhere:
            self._loaded.clear()  # nobody jumps there

    def _find_blocks(self) -> dict[int, int]:
        leaders = {0, *self._loaded}
        for index, op in self._each(enumerate(self.ops)):
            if op.ends_block:
                leaders.add(index + 1)
            if op.target is not None:
                leaders.add(op.target)
            if op.waits:
                leaders.add(index)
        for targets in self._exact.values():
            leaders |= targets
        leaders.discard(len(self.ops))
        blocks: dict[int, int] = {}
        ordered = [*sorted(leaders), len(self.ops)]
        for start, end in itertools.pairwise(ordered):
            for part in range(start, end, self._sizes.block):
                blocks[part] = min(part + self._sizes.block, end)
        return blocks

    def _find_checkpoints(self) -> set[int]:
        found = {0, *self._loaded} if self.blocks else set()
        for index, op in self._each(enumerate(self.ops)):
            target = op.target
            is_call = op.row is not None and op.row.name == "CALL"
            if target is not None and (is_call or target <= index):
                found.add(target)
            if is_call and index + 1 < len(self.ops):
                found.add(index + 1)
            if op.waits:
                found.add(index)
        for targets in self._exact.values():
            found |= targets
        return found | self._loop_exits()

    def _loop_exits(self) -> set[int]:
        """Where loops are left: so the cost of a loop head is that of the loop and not of what comes behind it.

        A loop is what stands between its head and the end of a block that jumps back there. A way leaves one of
        the loops that a block is in if it goes behind the first end of these, or before the last head.
        """
        order = sorted(self.blocks)
        loops = [
            (head, self.blocks[block])
            for block in self._each(order)
            for head in self.successors(block)
            if head <= block
        ]
        ends = _first_ends(order, loops)
        # Seen from the other end of the program, heads are ends.
        mirrored = _first_ends([-block for block in reversed(order)], [(1 - end, 1 - head) for head, end in loops])
        found: set[int] = set()
        for block, end in self._each(ends.items()):
            head = 1 - mirrored[-block]
            found.update(out for out in self.successors(block) if not head <= out < end)
        return found

    def _divide(self) -> list[list[int]]:
        """Regions: the whole of a small program, else subroutine by subroutine, long ones in parts."""
        bodies: list[list[int]] = []
        for start in self._each([*sorted(self._callers), *sorted(self.blocks)]):
            if start not in self._owner:
                bodies.append(self._body(start))
            elif self._owner[start] != start:
                self._joins.setdefault(start, set()).add(self._owner[start])
        if len(self.ops) <= self._sizes.region:
            return [sorted(self.blocks)] if self.blocks else []
        return [part for body in bodies for part in self._parts(body)]

    def _body(self, start: int) -> list[int]:
        """The blocks that a subroutine reaches without entering another, and that are no other's already."""
        body: list[int] = []
        for block in self._each(todo := [start]):
            owner = self._owner.get(block)
            if owner is None:
                self._owner[block] = start
                body.append(block)
                last = self.ops[self.blocks[block] - 1]
                followers = self.successors(block)
                is_call = last.row is not None and last.row.name == "CALL" and last.target is not None
                todo += followers[1:] if is_call else followers
            elif owner != start:
                self._joins.setdefault(start, set()).add(owner)
        return sorted(body)

    def _parts(self, body: list[int]) -> Iterable[list[int]]:
        """Cut a long subroutine where no loop goes across, or anyhow where a part gets twice too long."""
        back = sorted(
            (target, block) for block in self._each(body) for target in self.successors(block) if target <= block
        )
        seen = 0
        reach = -1  # the last block that a loop which began before this one comes back from
        part: list[int] = []
        size, most = 0, self._sizes.region
        for block in body:
            while seen < len(back) and back[seen][0] < block:
                reach = max(reach, back[seen][1])
                seen += 1
            if size >= 2 * most or (size >= most and block > reach):
                yield part
                part, size = [], 0
            part.append(block)
            size += self.blocks[block] - block
        if part:
            yield part

    def _enter_regions(self) -> None:
        """What is reached from another region is a checkpoint: regions are entered at checkpoints only."""
        region_of = self._region_of
        for block, region in self._each(region_of.items()):
            self.checkpoints.update(target for target in self.successors(block) if region_of[target] != region)

    def _find_candidates(self) -> dict[int, set[int]]:
        """Where each computed jump is likely to go in its own region; some of that where it is too much."""
        ways = dict.fromkeys(self._anywhere, self._near(self._loaded)) | self._find_returns()
        block_of = {self.blocks[block] - 1: block for block in self.blocks}
        region_of = {index: self._region_of[block_of[index]] for index in (*ways, *self._exact)}
        jumps = Counter(region_of.values())
        found: dict[int, set[int]] = {}
        chosen: dict[tuple[int, int], set[int]] = {}  # many jumps have the same targets
        for index, by_region in self._each(ways.items()):
            region = region_of[index]
            key = id(by_region), region
            if key not in chosen:
                most = MOST_WAYS // jumps[region]
                chosen[key] = set(sorted(by_region.get(region, ()))[:most])
            found[index] = chosen[key]
        return found | {
            index: {target for target in targets if self._region_of[target] == region_of[index]}
            for index, targets in self._exact.items()
        }

    def _near(self, targets: Iterable[int]) -> dict[int, set[int]]:
        """Blocks by their regions."""
        found: dict[int, set[int]] = {}
        for target in self._each(targets):
            found.setdefault(self._region_of[target], set()).add(target)
        return found

    def _find_returns(self) -> dict[int, dict[int, set[int]]]:
        """Where each RET may go, by region: behind the calls of the subroutines that reach it."""
        count = len(self.ops)
        own = {
            start: self._near(call + 1 for call in calls if call + 1 < count)
            for start, calls in self._callers.items()
        }
        rets: dict[int, list[int]] = {}
        regions: dict[int, set[int]] = {}
        for block, owner in self._each(self._owner.items()):
            last = self.blocks[block] - 1
            row = self.ops[last].row
            if row is not None and row.name == "RET":
                rets.setdefault(owner, []).append(last)
                regions.setdefault(owner, set()).add(self._region_of[block])
        points = {owner: {at: set(there) for at, there in own.get(owner, {}).items()} for owner in rets}
        for start, others in self._each(self._joins.items()):
            # Who goes on in another subroutine returns from there.
            for other in others & rets.keys():
                for region in regions[other] & own.get(start, {}).keys():
                    points[other].setdefault(region, set()).update(own[start][region])
        return {index: points[owner] for owner, indices in rets.items() for index in indices}

    def _find_costs(self) -> dict[int, int]:
        """From the last block to the first: what is no checkpoint is reached from before it only."""
        cost: dict[int, int] = {}
        for block in self._each(sorted(self.blocks, reverse=True)):
            length = self.blocks[block] - block
            successors = self.successors(block)
            for target in successors:
                if target not in self.checkpoints and length + cost[target] > self._sizes.cost:
                    self.checkpoints.add(target)
            ways = [cost[target] for target in successors if target not in self.checkpoints]
            cost[block] = length + max(ways, default=0)
        return cost


def _first_ends(order: list[int], loops: list[tuple[int, int]]) -> dict[int, int]:
    """The first end of the loops that each block is in; without those that are in none.

    Args:
        order: the blocks, in order.
        loops: the head and the end of each: a block is in it from the one on and before the other.
    """
    loops = sorted(loops)
    begun = 0
    ends: list[int] = []
    found: dict[int, int] = {}
    for block in order:
        while begun < len(loops) and loops[begun][0] <= block:
            heapq.heappush(ends, loops[begun][1])
            begun += 1
        while ends and ends[0] <= block:
            heapq.heappop(ends)
        if ends:
            found[block] = ends[0]
    return found
