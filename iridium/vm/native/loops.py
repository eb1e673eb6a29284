"""Loops over the heap without a bounds check and a budget check in each round.

A loop is compiled a second time, in front of the first, if it is one block of instructions that

- ends with ``lt`` of a register, its *place*, and of another, its *bound*, and a ``djmpe`` to its own start,
- writes the place once, adding its *step* to it: a positive constant, or a register,
- writes neither the bound nor the step, and
- has loads or stores at the place before the step is added.

These are not checked in the second version. When the loop is entered, from elsewhere, this holds or the first
version is entered instead:

- ``place <= last``, where ``last = heap_top - size``, and ``size`` is of the largest of these accesses;
- ``step > 0``, and so small that the loop is worth it;
- the budget left is enough for ``rounds > 0`` rounds.

The second version goes on while ``place < limit``, computed in 64 bits, where nothing wraps, with

    limit = min(bound, last + 1, place at the start + step * rounds)

Why that is the same, round by round:

- *The accesses are in bounds.* They are in the first round; in a later one, ``limit`` says so.
  ``heap_top`` can only have grown since. The place is not negative, since it starts as a u32 and only grows.
- *The budget is not exceeded.* The ``n``-th round starts only if ``n <= rounds``, since the place has grown by
  ``step`` in each before it. What is taken off is what ``n`` rounds cost, as in the first version.
- *It goes on only where the program does.* ``place < limit`` implies ``place < bound``; the bound is an i32, so
  the place as an i32 is the same number, and ``djmpe`` is taken.
- *Where it stops, nothing has been decided.* Its last ``djmpe`` is compiled as any other, by the flag that ``lt``
  has set from registers: it leads out of the loop, or to the head of the first version, which goes on with the
  budget and the registers that there are, and faults or leaves where it has to.

Everything else is emitted as in the first version, including what makes an instruction leave in the middle.
For LLVM the second version is a loop that counts: it can be unrolled and made into vector instructions.
"""

from __future__ import annotations

from typing import NamedTuple

from iridium.vm.native.emit import Emitter
from iridium.vm.native.flow import Flow, Op
from iridium.vm.native.lowering import INTERPRETED

_SIZES = {"LOADB": 1, "SETB": 1, "LOADM": 4, "SETM": 4, "LOADMF64": 8, "SETMF64": 8}
"""Bytes that each access of the heap takes; the address is its first operand."""

_MOST_ROUNDS = 2**31
"""So that a step times the rounds fits in an i64: a loop cannot take more, since its place grows."""


_WORTH = 8
"""Rounds below which a loop is not slower in its first version, since it takes some time to enter the second."""


class HeapLoop(NamedTuple):
    """A loop that is compiled twice.

    Attributes:
        place: the number of the register that says where it is in the heap.
        bound: the register that the place is compared with.
        constant: what is added to the place in each round, or 0.
        step: the register that is added to the place in each round, if it is no constant.
        stepped: the index of the instruction that adds it.
        size: of the largest access at the place before that, in bytes.
        cost: of a round, in instructions.
    """

    place: int
    bound: int
    constant: int
    step: int
    stepped: int
    size: int
    cost: int

    def free(self, index: int, op: Op) -> bool:
        """Whether an instruction is an access that needs no check."""
        return index < self.stepped and _reaches(op, self.place) > 0


def _name(op: Op) -> str:
    return op.row.name if op.row is not None else ""


def _reaches(op: Op, place: int) -> int:
    """The bytes that an instruction accesses at the address in a register, or 0."""
    return _SIZES.get(_name(op), 0) if op.values[:1] == (place,) else 0


def _written(op: Op) -> set[int]:
    """The i32 registers that an instruction writes."""
    kinds = op.row.operands if op.row is not None else ()
    return {value for kind, value in zip(kinds, op.values, strict=True) if kind.writes and kind.register == "i32"}


def _step(op: Op, place: int) -> tuple[int, int] | None:
    """What an instruction adds to a register that it writes: a constant above 0, or 0 and a register."""
    name, values = _name(op), op.values
    if name == "INC":
        return 1, 0
    if name == "ADDI" and values[1] > 0:
        return values[1], 0
    if name == "ADD" and place in values[:2]:
        return 0, values[1] if values[0] == place else values[0]
    return None


def find_loop(flow: Flow, block: int) -> HeapLoop | None:
    """The loop that a block is, if it is one that is compiled twice."""
    ops = flow.ops[block : flow.blocks[block]]
    names = [_name(op) for op in ops]
    if names[-2:] != ["LT", "DJMPE"] or ops[-1].target != block or flow.cost[block] != len(ops):
        return None
    if not all(names) or not INTERPRETED.isdisjoint(names):
        return None
    place, bound = ops[-2].values
    stepped = [at for at, op in enumerate(ops) if place in _written(op)]
    step = _step(ops[stepped[0]], place) if len(stepped) == 1 else None
    if step is None:
        return None
    size = max((_reaches(op, place) for op in ops[: stepped[0]]), default=0)
    fixed = {bound} if step[0] else {bound, step[1]}
    if not size or any(fixed & _written(op) for op in ops):
        return None
    return HeapLoop(place, bound, *step, block + stepped[0], size, len(ops))


class Entrance(NamedTuple):
    """What is computed before the second version.

    Attributes:
        may: the i1 that says whether it can be entered.
        place, step: where the loop starts and what is added in a round, as i64.
        left: the budget.
        limit: the place from which on it does not go on, as i64.
        block: the label of the block that this is computed in.
    """

    may: str
    place: str
    step: str
    left: str
    limit: str
    block: str


def enter(e: Emitter, loop: HeapLoop, first: str) -> Entrance:
    """Emit what stands before the second version; ``first`` is the label of the first."""
    place = e.wide(e.get(f"r{loop.place}"))
    step = str(loop.constant) if loop.constant else e.op(f"sext i32 {e.get(f'r{loop.step}')} to i64")
    bound = e.op(f"sext i32 {e.get(f'r{loop.bound}')} to i64")
    worth = e.fresh("worth")
    there = e.op(f"add nsw i64 {place}, {e.op(f'mul nsw i64 {step}, {_WORTH}')}")
    e.line(f"br i1 {e.op(f'icmp slt i64 {there}, {bound}')}, label %{worth}, label %{first}")
    e.begin(worth)
    last = e.op(f"sub nsw i64 {e.wide(e.get('heap_top'))}, {loop.size}")
    left = e.op("load i64, ptr %left")
    rounds = e.op(f"udiv i64 {left}, {loop.cost}")
    rounds = e.op(f"call i64 @llvm.umin.i64(i64 {rounds}, i64 {_MOST_ROUNDS})")

    inside = e.op(f"icmp sle i64 {place}, {last}")
    forward = e.op(f"icmp sgt i64 {step}, 0")
    affordable = e.op(f"icmp ne i64 {rounds}, 0")
    may = e.op(f"and i1 {e.op(f'and i1 {inside}, {forward}')}, {affordable}")

    farthest = e.op(f"add nsw i64 {place}, {e.op(f'mul nsw i64 {step}, {rounds}')}")
    limit = e.op(f"call i64 @llvm.smin.i64(i64 {bound}, i64 {e.op(f'add nsw i64 {last}, 1')})")
    limit = e.op(f"call i64 @llvm.smin.i64(i64 {limit}, i64 {farthest})")
    return Entrance(may, place, step, left, limit, worth)


def take(e: Emitter, loop: HeapLoop, entrance: Entrance, place: str) -> None:
    """Emit what the round at a place takes off the budget, at its start."""
    if not loop.constant:
        left = e.op(f"sub nuw i64 {e.op('load i64, ptr %left')}, {loop.cost}")
    else:  # from the place, so that nothing else is carried round; by a constant, a division is cheap
        way = e.op(f"sub nuw nsw i64 {place}, {entrance.place}")
        before = e.op(f"mul nuw nsw i64 {e.op(f'udiv exact i64 {way}, {loop.constant}')}, {loop.cost}")
        left = e.op(f"sub nuw i64 {entrance.left}, {e.op(f'add nuw nsw i64 {before}, {loop.cost}')}")
    e.line(f"store i64 {left}, ptr %left")
