"""Where control can go in a program: basic blocks, checkpoints, and the regions that are compiled together.

A *checkpoint* is a block before which compiled code looks at the budget: every loop head, call target, return
point and target of a computed jump, so that between two checkpoints there are only finitely many ways. The *cost*
of a block is the longest of these ways, in instructions, from the start of the block to the next checkpoint.
Compiled code passes a checkpoint only if the budget left covers the cost of its block, and so never exceeds it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from iridium.isa import CODE, WORD, Fault, Instruction
from iridium.vm.native.program import decode
from iridium.vm.program import Program

MOST_COST = 256
"""The most instructions between two checkpoints: with less budget than that, a turn may be interpreted."""

LONGEST_BLOCK = 64
"""Instructions after which a block ends, so that costs can be kept small."""

LARGEST_REGION = 384
"""Instructions that are compiled together: beyond some hundreds, LLVM takes much longer for each."""


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
    def target(self) -> int | None:
        """The index that a code operand names, or None."""
        if self.row is not None:
            for kind, value in zip(self.row.operands, self.values, strict=True):
                if kind is CODE and value >= 0:
                    return value
        return None


_NEVER_ON = frozenset(("HLT", "HLTR", "JMP", "JMPF", "JMPB", "RET"))


class Flow:
    """The control flow of a program.

    Args:
        program: the program, which does not change meanwhile.
        sizes: what to cut it into.

    Attributes:
        ops: its instructions.
        base: the address of the first.
        blocks: where each block ends, by where it starts.
        checkpoints: the blocks that are checkpoints.
        cost: the cost of each block.
        candidates: where each computed jump, by its index, is likely to go.
        regions: the blocks of each region, in order.
    """

    def __init__(self, program: Program, sizes: Sizes = USUAL) -> None:
        self._sizes = sizes
        self.base = program.base
        self.ops = [Op(*found) for found in decode(program)]
        self.candidates = self._guess_targets()
        self.blocks = self._find_blocks()
        for index, targets in self._guess_returns().items():
            self.candidates.setdefault(index, set()).update(targets)
        self.checkpoints = self._find_checkpoints()
        self.regions = self._divide()
        self._enter_regions()
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

    def _guess_targets(self) -> dict[int, set[int]]:
        """Where computed jumps may go: to constants that were loaded."""
        count = len(self.ops)
        loaded: set[int] = set()
        jumps: dict[int, set[int]] = {}
        constants: dict[int, int] = {}  # of registers, since the last jump
        for index, op in enumerate(self.ops):
            if op.row is None:
                continue
            name, values = op.row.name, op.values
            if name == "LOAD":
                constants[values[0]] = values[1]
            elif name == "LUI":
                constants[values[0]] = (constants.get(values[0], 0) << 16 | values[1]) & 0xFFFFFFFF
            elif name in ("JMP", "JMPE"):
                jumps[index] = loaded
            elif name in ("JMPF", "JMPB") and values[0] in constants:
                offset = constants[values[0]] if name == "JMPF" else -constants[values[0]]
                index_there, rest = divmod(WORD * index + 2 + offset, WORD)
                jumps[index] = {index_there} if not rest and 0 <= index_there < count else set()
            if name in ("LOAD", "LUI"):
                there, rest = divmod(constants[values[0]] - self.base, WORD)
                if not rest and 0 <= there < count:
                    loaded.add(there)
            else:
                for kind, value in zip(op.row.operands, values, strict=True):
                    if kind.writes and kind.register == "i32":
                        constants.pop(value, None)
        return jumps

    def _find_blocks(self) -> dict[int, int]:
        leaders = {0}
        for index, op in enumerate(self.ops):
            if op.ends_block:
                leaders.add(index + 1)
            if op.target is not None:
                leaders.add(op.target)
        for targets in self.candidates.values():
            leaders |= targets
        leaders.discard(len(self.ops))
        blocks: dict[int, int] = {}
        ordered = [*sorted(leaders), len(self.ops)]
        for start, end in itertools.pairwise(ordered):
            for part in range(start, end, self._sizes.block):
                blocks[part] = min(part + self._sizes.block, end)
        return blocks

    def _calls(self) -> dict[int, list[int]]:
        """The indices of the calls of each subroutine."""
        calls: dict[int, list[int]] = {}
        for index, op in enumerate(self.ops):
            if op.row is not None and op.row.name == "CALL" and op.target is not None:
                calls.setdefault(op.target, []).append(index)
        return calls

    def _body(self, start: int) -> list[int]:
        """The blocks that a subroutine reaches without entering another."""
        seen: set[int] = set()
        todo = [start]
        while todo:
            block = todo.pop()
            if block in seen:
                continue
            seen.add(block)
            last = self.ops[self.blocks[block] - 1]
            followers = self.successors(block)
            if last.row is not None and last.row.name == "CALL":
                followers = followers[1:] if last.target is not None else followers
            todo += followers
        return sorted(seen)

    def _guess_returns(self) -> dict[int, set[int]]:
        """Where each RET may go: behind the calls of the subroutines that reach it."""
        found: dict[int, set[int]] = {}
        for target, calls in self._calls().items():
            points = {call + 1 for call in calls if call + 1 < len(self.ops)}
            for block in self._body(target):
                last = self.blocks[block] - 1
                row = self.ops[last].row
                if row is not None and row.name == "RET":
                    found.setdefault(last, set()).update(points)
        return found

    def _find_checkpoints(self) -> set[int]:
        found = {0} if self.blocks else set()
        for index, op in enumerate(self.ops):
            target = op.target
            is_call = op.row is not None and op.row.name == "CALL"
            if target is not None and (is_call or target <= index):
                found.add(target)
            if is_call and index + 1 < len(self.ops):
                found.add(index + 1)
        for targets in self.candidates.values():
            found |= targets
        return found | self._loop_exits()

    def _loop_exits(self) -> set[int]:
        """Where loops are left: so the cost of a loop head is that of the loop and not of what comes behind it."""
        found: set[int] = set()
        for block, end in self.blocks.items():
            for head in self.successors(block):
                if head <= block:
                    inside = [part for part in self.blocks if head <= part < end]
                    found.update(out for part in inside for out in self.successors(part) if not head <= out < end)
        return found

    def _divide(self) -> list[list[int]]:
        """Regions: the whole of a small program, else subroutine by subroutine, long ones in parts."""
        if len(self.ops) <= self._sizes.region:
            return [sorted(self.blocks)] if self.blocks else []
        owned: set[int] = set()
        regions: list[list[int]] = []
        for start in [*sorted(self._calls()), *sorted(self.blocks)]:
            if start not in owned:
                body = [block for block in self._body(start) if block not in owned]
                owned.update(body)
                regions += self._parts(body)
        return regions

    def _parts(self, body: list[int]) -> Iterable[list[int]]:
        """Cut a long subroutine where no loop goes across, or anyhow where a part gets twice too long."""
        cut_by_loop: set[int] = set()
        for block in body:
            for target in self.successors(block):
                if target <= block:
                    cut_by_loop.update(part for part in body if target < part <= block)
        part: list[int] = []
        size, most = 0, self._sizes.region
        for block in body:
            if size >= 2 * most or (size >= most and block not in cut_by_loop):
                yield part
                part, size = [], 0
            part.append(block)
            size += self.blocks[block] - block
        if part:
            yield part

    def _enter_regions(self) -> None:
        """What is reached from another region is a checkpoint: regions are entered at checkpoints only."""
        region_of = {block: at for at, region in enumerate(self.regions) for block in region}
        for block, region in region_of.items():
            self.checkpoints.update(target for target in self.successors(block) if region_of[target] != region)

    def _find_costs(self) -> dict[int, int]:
        """From the last block to the first: what is no checkpoint is reached from before it only."""
        cost: dict[int, int] = {}
        for block in sorted(self.blocks, reverse=True):
            length = self.blocks[block] - block
            for target in self.successors(block):
                if target not in self.checkpoints and length + cost[target] > self._sizes.cost:
                    self.checkpoints.add(target)
            ways = [cost[target] for target in self.successors(block) if target not in self.checkpoints]
            cost[block] = length + max(ways, default=0)
        return cost
