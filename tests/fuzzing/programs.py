"""Random programs: a number gives a program, the same one every time.

Programs are structured, because what engines get wrong hides in loops, calls and the turns that end inside them.
Single instructions are made from the operand kinds of the table alone, so one that is added to the table is tried
without a change here. How often a program does what faults is drawn once a program: calm ones run long,
wild ones end at every fault there is.
"""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from iridium.errors import ImageError
from iridium.image import HEADER, Image, parse
from iridium.isa import BY_NAME, FIRST_OF_PROCESSES, INSTRUCTIONS, REGISTERS, WORD, Fault, Instruction, Kind
from iridium.vm import VM, Limits, Program
from iridium.vm.machine import HEAP_START
from iridium.vm.output import LONGEST_STRING

MIN, MAX = -(2**31), 2**31 - 1
EPSILON = 2.220446049250313e-16

INTEGERS = (
    0, 1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 31, 32, 33, 57, 60, 61, 63, 64, 65, 100, 255, 256, 0x7FFF, 0x8000, 0xFFFF,
    0x10000, 2**30, MAX - 3, MAX - 1, MAX, MIN, MIN + 1, -(2**30), -0x8000, -256, -8, -4, -3, -2, -1,
)  # fmt: skip
"""Where integer instructions change their ways."""

FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.1, 1.5, -3.25, 100.0, EPSILON, -EPSILON, 1 + EPSILON, 5e-324, -5e-324,
    2.2250738585072014e-308, 1e-300, 1e300, 1.7976931348623157e308, math.inf, -math.inf, math.nan,
    2.0**31, 2.0**31 - 1, 2.0**31 - 0.5,    -(2.0**31), -(2.0**31) - 1, 4294967295.0,
)  # fmt: skip
"""Where float instructions change theirs; 5e-324 is the smallest there is."""

ODD_NAN = bytes.fromhex("01000000000ff4ff")
"""A NaN whose bits must not be seen in memory again."""

CODE_POINTS = (0, 10, 65, 0xE9, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10FFFF, 0x110000, -1, MIN, MAX)

COMMON = 8
"""Registers from 0 that most operands name, so that instructions work on each other's results."""

COUNTERS, ENDS = 16, 20
"""Registers that count structured loops, and those that say how far, by depth."""

DEEPEST = 3
"""Structured loops within each other."""

RARE = {"HLT": 0.03, "HLTR": 0.03, "RET": 0.1, "NOP": 0.3, "PRTS": 0.5, "CALL": 0.1, "LOOP": 0.2, "CLOOP": 0.3}
"""How often instructions are taken that end or derail a program; others that leave get 0.15, the rest 1."""

WAITING = ("RECV", "RECVM", "REGISTER", "SPAWNON", "WHEREIS")
"""Instructions that wait for ever where there is no node: programs here run without one, so these end them."""

Late: TypeAlias = Callable[[], int]
"""A value that is known when the program is complete."""


class Case(NamedTuple):
    """A program and the machine that it starts on.

    Attributes:
        name: what it is, or how to make it again.
        image: the program.
        limits: of the machine.
        registers, floats: the first registers, where they are not 0.
        total: the instructions after which nobody waits for its end any longer.
    """

    name: str
    image: Image
    limits: Limits = Limits()
    registers: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    total: int = 3000

    def machine(self, program: Program) -> VM:
        """A VM at its start; ``program`` is made of the image, once for all machines of a case."""
        vm = VM(program, self.limits)
        vm.record.registers[: len(self.registers)] = self.registers
        vm.record.float_registers[: len(self.floats)] = self.floats
        return vm


def make(number: int) -> Case:
    """The program of a number. Half are structured; the others look for what those seldom meet."""
    chance = random.Random(f"program {number}")
    kind = number % 20
    if kind == 19:
        image = _file(chance)
    elif kind == 18:
        image = Image(
            chance.randbytes(WORD * chance.randrange(40)), chance.randbytes(chance.choice((0, 3, 50))), 1
        )
    elif kind >= 16:
        image = Author(chance).soup()
    elif kind >= 13:
        image = Author(chance).calm_until_the_end()
    elif kind >= 9:
        image = Author(chance).all_sorts()
    elif kind >= 7:
        image = Author(chance).subroutines()
    else:
        image = Author(chance).program()
    limits = Limits(
        stack=chance.choice((0, 1, 2, 3, 5, 16, 17, 64, 64, 64, 300, 300, 1000, 1000)),
        heap=chance.choice((HEAP_START, HEAP_START + 3, 200, 4096, 65536)),
        output=chance.choice((0, 1, 2, 7, 64, 64, 4096, 4096)),
    )
    if 9 <= kind < 13:
        limits = Limits(300, 65536, 4096)
    registers = tuple(
        chance.choice(INTEGERS) if chance.random() < 0.8 else chance.randint(MIN, MAX) for _ in range(COMMON)
    )
    floats = tuple(chance.choice(FLOATS) for _ in range(COMMON))
    return Case(f"program {number}", image, limits, registers, floats, chance.choice((300, 3000, 3000, 20000)))


def _file(chance: random.Random) -> Image:
    """What a damaged file holds; an empty program where it is refused, which is what should happen to most."""
    data = bytearray(Author(chance).program().to_bytes())
    for _ in range(chance.randrange(1, 5)):
        at = chance.choice((4, 8, 9, 64, 65, chance.randrange(len(data)), chance.randrange(len(data))))
        data[at] = chance.choice((0, 1, 2, 0xFF, chance.randrange(256)))
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.1:
        data[5:] = chance.randbytes(chance.randrange(200))
    try:
        return parse(bytes(data))
    except ImageError:
        return Image(b"")


class Place:
    """An instruction that something refers to, perhaps before it is written."""

    __slots__ = ("index",)

    def __init__(self) -> None:
        self.index: int | None = None


class Author:
    """Writes one program.

    Args:
        chance: decides everything.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.words: list[tuple[Instruction, tuple[int | Late, ...]] | bytes] = []
        self.places: list[Place] = []
        self.functions: list[Place] = []
        self.numbers: list[int] = []  # read-only offsets of floats
        self.risk = chance.choice((0.0, 0.02, 0.1, 0.2, 0.4))
        self.heap = HEAP_START  # bytes, as far as one can tell without running it
        self.read_only = self._read_only()
        self.base = HEADER + len(self.read_only)
        self.version = int(chance.random() < 0.95)
        self.rows = [row for row in INSTRUCTIONS if row.version <= self.version]
        self.weights = [
            RARE.get(row.name, 0.15 if row.leaves or row.name in WAITING else 1.0) for row in self.rows
        ]

    # What is written down.

    def emit(self, name: str, *values: int | Late) -> None:
        """Add an instruction of the table."""
        self.words.append((BY_NAME[name], values))

    def mark(self, place: Place | None = None) -> Place:
        """A place at what comes next."""
        place = place or Place()
        place.index = len(self.words)
        self.places.append(place)
        return place

    def address(self, place: Place) -> int:
        """Where a place is, in a complete program; one that was never written is behind its end."""
        return self.base + WORD * (len(self.words) if place.index is None else place.index)

    def image(self) -> Image:
        """The complete program."""
        return Image(b"".join(self._encode(word) for word in self.words), self.read_only, self.version)

    def _encode(self, word: tuple[Instruction, tuple[int | Late, ...]] | bytes) -> bytes:
        if isinstance(word, bytes):
            return word
        row, values = word
        known = [value() if callable(value) else value for value in values]
        return row.encode(
            *(v if k.low <= v <= k.high else v & 255 if k.width == 1 else v & k.high
              for k, v in zip(row.operands, known, strict=True))
        )  # fmt: skip

    def constant(self, register: int, value: int | Late) -> None:
        """Load any i32; an address by its low half alone where that is all there is."""
        if not callable(value) and 0 <= value <= 0xFFFF:
            self.emit("LOAD", register, value)
            return
        late = value if callable(value) else lambda: value
        self.emit("LOAD", register, lambda: late() >> 16 & 0xFFFF)
        self.emit("LUI", register, lambda: late() & 0xFFFF)

    # Operands, by their kinds.

    def risky(self) -> bool:
        """Whether to do what is likely to fault."""
        return self.chance.random() < self.risk

    def operand(self, kind: Kind) -> int | Late:
        """A value of a kind, from the table's description of it."""
        chance = self.chance
        if kind.register:
            if self.risky() and chance.random() < 0.1:
                return chance.choice((REGISTERS, 255))
            return chance.randrange(COMMON if chance.random() < 0.9 else REGISTERS)
        if kind.label == "code":
            return self.target()
        if kind.label == "data":
            return self.offset()
        if kind.width == 3:
            return chance.choice((0, 1, 2, 5, 30, 300, 0x10000, kind.high))
        edges = [0, 1, 2, 15, 16, 17, 31, 32, 33, kind.low, kind.high, kind.high - 1]
        return chance.choice(
            [edge for edge in edges if kind.low <= edge <= kind.high] + [chance.randint(*kind[2:4])]
        )

    def target(self) -> int | Late:
        """A code address, good or bad."""
        chance = self.chance
        if self.risky():
            bad = chance.choice((0, 1, 2, 3, -WORD, WORD, 0x10000, 0xFF0000))
            end = chance.random() < 0.5
            return lambda: max(0, (self.base + (WORD * len(self.words) if end else 0) + bad) & 0xFFFFFF)
        if self.places and chance.random() < 0.5:
            place = chance.choice(self.places)
            return lambda: self.address(place)
        share = chance.random()
        return lambda: self.base + WORD * int(share * len(self.words))

    def offset(self) -> int:
        """A read-only offset, good or bad."""
        size = len(self.read_only)
        if size < 8 or self.risky():
            return self.chance.choice((0, size, size + 1, max(0, size - 3), max(0, size - 7), 0xFFFF)) & 0xFFFF
        return min(0xFFFF, self.chance.choice((0, size - 8, self.chance.randrange(0, size - 7))))

    def heap_address(self, row: Instruction) -> int:
        """A heap address, good or bad, for an instruction that reads or writes there."""
        size = 8 if any(kind.register == "f64" for kind in row.operands) else 1 if row.name.endswith("B") else 4
        if self.risky():
            return self.chance.choice(
                (
                    self.heap - self.chance.randrange(-2, 9),
                    self.heap,
                    self.heap + 1 - size,
                    self.heap + 1 - size,
                    -1,
                    -2,
                    -4,
                    -8,
                    MIN,
                    MAX,
                )
            )
        return self.chance.choice((0, 1, HEAP_START - size, self.chance.randrange(HEAP_START - 7)))

    # Single instructions.

    def instruction(self, row: Instruction | None = None) -> None:
        """One instruction, with what it needs to do something before it, as its faults tell."""
        row = row or self.chance.choices(self.rows, self.weights)[0]
        if self.risky() and self.chance.random() < 0.1:
            self.words.append(self.chance.randbytes(WORD))
            return
        values = [self.operand(kind) for kind in row.operands]
        first = values[0] if row.operands and row.operands[0].register == "i32" else None
        if (
            isinstance(first, int)
            and first < REGISTERS
            and row.operands[0].reads
            and (not self.risk or self.chance.random() < 0.85)
        ):
            self._prepare(row, first, values)
        self.emit(row.name, *values)

    def _prepare(self, row: Instruction, first: int, values: list[int | Late]) -> None:
        """Give the registers of an instruction values that it was made for."""
        second = values[1] if len(values) > 1 and isinstance(values[1], int) and values[1] < REGISTERS else None
        if row.name == "SENDM" and second is not None:
            size = values[2]
            if isinstance(size, int) and size < REGISTERS:
                self.constant(size, self.chance.choice((0, 1, 4, HEAP_START)))
            self.constant(second, self.heap_address(row))
        elif row.name == "SPAWNON" and second is not None:
            self._prepare_jump(row, first)
            self.constant(second, self.chance.choice((-1, -2, self.offset(), self.offset())))
        elif Fault.HEAP_BOUNDS in row.faults:
            self.constant(first, self.heap_address(row))
        elif Fault.READ_ONLY_BOUNDS in row.faults:
            self.constant(first, self.offset())
        elif Fault.BAD_ALLOCATION in row.faults:
            size = self.chance.choice((0, 1, 3, 64, 100, 1000, *((-1, MIN, MAX, 65536) if self.risky() else ())))
            self.heap += max(0, size)
            self.constant(first, size)
        elif Fault.BAD_STRING in row.faults:
            self.constant(first, self.chance.choice(CODE_POINTS if self.risky() else CODE_POINTS[:5]))
        elif Fault.DIVISION_BY_ZERO in row.faults:
            divisor = values[1]
            if isinstance(divisor, int) and divisor < REGISTERS:
                least = self.chance.random() < 0.1
                if least:
                    self.constant(first, MIN)
                self.constant(divisor, -1 if least else 0 if self.risky() else self.chance.choice(INTEGERS[1:]))
        elif Fault.BAD_JUMP in row.faults:
            self._prepare_jump(row, first)

    def _prepare_jump(self, row: Instruction, register: int) -> None:
        """A register with where to go: a distance from the byte after the operand, or an address."""
        target = self.target()
        goal = target if callable(target) else lambda: target
        if row.name not in ("JMPF", "JMPB"):
            self.constant(register, goal)
            return
        sign = 1 if row.name == "JMPF" else -1
        here = Place()
        here.index = len(self.words) + 2  # a late constant takes two words
        self.constant(register, lambda: sign * (goal() - self.address(here) - 2))

    def derail(self, depth: int) -> None:
        """An instruction that should fault, if it is a branch that is taken."""
        row = self.chance.choice([row for row in self.rows if row.faults])
        if "loop_counter" in row.semantics:
            self.emit("CLOOP", self.chance.choice((0, 1, 2)))
        elif "equal_flag" in row.semantics:
            self.emit(self.chance.choice(("EQ", "NEQ", "NEQ")), 0, 0)
        kept, self.risk = self.risk, 1.0
        if row.name == "RET" and self.chance.random() < 0.7:
            inside = Place()
            self.emit("CALL", lambda: self.address(inside))
            self._forges(self.mark(inside))
        else:
            self.instruction(row)
        self.risk = kept

    def straight(self, most: int) -> None:
        """Some instructions in a row that go on with the next."""
        for _ in range(self.chance.randint(1, most)):
            row = self.chance.choice(self.rows)
            while row.leaves or row.name in WAITING:
                row = self.chance.choice(self.rows)
            self.instruction(row)

    # Structures.

    def statement(self, depth: int = 0) -> None:
        """One piece of a program."""
        if self.risky() and self.chance.random() < 0.3:
            self.derail(depth)
            return
        kinds = [self.straight_piece, self.branch, self.indirect, self.call, self.instruction_piece]
        if depth < DEEPEST:
            kinds += [self.counted, self.counted, self.repeated, self.heap_walk, self.shared_head, self.middle]
        self.chance.choice(kinds)(depth)

    def body(self, depth: int) -> None:
        """Up to three pieces."""
        for _ in range(self.chance.randrange(1, 4)):
            self.statement(depth)

    def straight_piece(self, depth: int) -> None:
        """A few instructions, or very rarely more than engines let pass without a look at the budget."""
        self.straight(1500 if depth == 0 and self.chance.random() < 0.01 else 8)

    def instruction_piece(self, depth: int) -> None:
        """Any instruction, those that leave too."""
        self.instruction()

    def _back(self, head: Place, depth: int) -> None:
        """Count on, compare, and go back to the head while the count is not full."""
        counter, end = COUNTERS + depth, ENDS + depth
        step, compare, jump = self.chance.choice(
            (("INC", "LT", "DJMPE"), ("INC", "NEQ", "DJMPE"), ("INC", "GTE", "DJMPN"), ("INC", "EQ", "DJMPN"),
             ("INC", "LTE", "JMPE"), ("INC", "GT", "DJMPN"))
        )  # fmt: skip
        if not self.version and jump == "DJMPN":
            compare, jump = "LT", "DJMPE"
        self.emit(step, counter)
        if self.chance.random() < 0.3:
            self.straight(2)
        if jump == "JMPE":
            self.constant(31, lambda: self.address(head))
        self.emit(compare, counter, end)
        self.emit(jump, 31 if jump == "JMPE" else lambda: self.address(head))

    def _count_to(self, depth: int) -> None:
        start = self.chance.choice((0, 0, 1, -3, MAX - 10))
        self.constant(COUNTERS + depth, start)
        self.constant(ENDS + depth, min(MAX, start + self.chance.choice((0, 1, 2, 5, 20, 60))))

    def counted(self, depth: int) -> None:
        """A loop that counts in a register, of any of several forms."""
        self._count_to(depth)
        head = self.mark()
        self.body(depth + 1)
        self._back(head, depth)

    def repeated(self, depth: int) -> None:
        """A CLOOP loop; one in another spoils the other's count, which may then never end."""
        self.emit("CLOOP", self.chance.choice((0, 1, 2, 10, 50)))
        head = self.mark()
        if self.chance.random() < 0.8:
            self.body(depth + (1 if self.chance.random() < 0.5 else DEEPEST))
        self.emit("LOOP", lambda: self.address(head))

    def shared_head(self, depth: int) -> None:
        """Two loops with one head."""
        self._count_to(depth)
        head = self.mark()
        self.straight(3)
        self._back(head, depth)
        self._count_to(depth)
        self.straight(2)
        if self.chance.random() < 0.5:
            self._back(head, depth)
        else:
            self.emit("LOOP", lambda: self.address(head))

    def middle(self, depth: int) -> None:
        """A loop that is entered in its middle."""
        self._count_to(depth)
        inside, head = Place(), Place()
        self._jump(inside)
        self.mark(head)
        self.straight(3)
        self.mark(inside)
        self.body(depth + 1)
        self._back(head, depth)

    def _jump(self, to: Place) -> None:
        """Go somewhere, in one of the ways there are."""
        register = self.chance.choice((30, self.chance.randrange(COMMON)))
        if self.chance.random() < 0.5:
            self.emit(self.chance.choice(("EQ", "GTE", "LTE")), register, register)
            self.emit("DJMPE", lambda: self.address(to))
        else:
            self.constant(register, lambda: self.address(to))
            self.emit("JMP", register)

    def branch(self, depth: int) -> None:
        """A comparison, and a piece that is left out by it."""
        after = Place()
        compares = [
            row for row in self.rows if "equal_flag =" in row.semantics and row.opcode < FIRST_OF_PROCESSES
        ]
        self.instruction(self.chance.choice(compares))
        if self.version and self.chance.random() < 0.5:
            self.emit("DJMPN", lambda: self.address(after))
        else:
            self.emit("DJMPE", lambda: self.address(after))
        self.straight(4)
        if depth < DEEPEST and self.chance.random() < 0.3:
            self.body(depth + 1)
        self.mark(after)

    def indirect(self, depth: int) -> None:
        """A computed jump: over a few instructions, or, at a risk, anywhere."""
        names = ("JMP", "JMPF", "JMPE", "JMPB")
        if self.risky():
            self.instruction(BY_NAME[self.chance.choice(names)])
            return
        after = Place()
        name = self.chance.choice(names)
        here = Place()
        here.index = len(self.words) + 2
        sign = {"JMPF": 1, "JMPB": -1}.get(name)
        goal = (
            (lambda: self.address(after))
            if sign is None
            else lambda: sign * (self.address(after) - self.address(here) - 2)
        )
        register = self.chance.randrange(COMMON)
        self.constant(register, goal)
        self.emit(name, register)
        self.straight(3)
        self.mark(after)

    def heap_walk(self, depth: int) -> None:
        """A loop over the heap that ends before its end, at it, or beyond; upwards or down."""
        chance = self.chance
        if chance.random() < 0.4:
            self.instruction(BY_NAME["ALOC"])
        counter, end, step = COUNTERS + depth, ENDS + depth, 24 + depth
        stride = chance.choice((1, 1, 2, 4, 4, 4, 8, 12, 100, *((0, -4, -1) if self.risky() else ())))
        start = chance.choice((0, 0, 4, 7, *((-20, MAX - 40, MIN) if self.risky() else ())))
        reach = chance.choice((1, 5, 17, 50))
        to = chance.choice((start + reach * max(1, stride), self.heap - 8 if not self.risky() else self.heap + 5))
        to = min(to, self.heap - 8 + 12 * self.risky()) if start >= 0 else min(to, MAX)
        self.constant(counter, start)
        self.constant(end, to)
        self.constant(step, stride)
        head = self.mark()
        rows = [row for row in self.rows if Fault.HEAP_BOUNDS in row.faults and row.opcode < FIRST_OF_PROCESSES]
        for _ in range(chance.randint(1, 3)):
            self.emit((row := chance.choice(rows)).name, counter, self.operand(row.operands[1]))
            if chance.random() < 0.3:
                self.straight(2)
        if stride == 1 and chance.random() < 0.6:
            self.emit("INC", counter)
        elif self.version and chance.random() < 0.5:
            self.emit("ADDI", counter, stride)
        else:
            self.emit("ADD", *chance.choice(((step, counter), (counter, step))), counter)
        self.emit(chance.choice(("LT", "LTE", "NEQ") if self.risky() else ("LT",)), counter, end)
        self.emit("DJMPE", lambda: self.address(head))

    def call(self, depth: int) -> None:
        """A call of a subroutine that is there already or is still to be written, with or without an argument."""
        if not self.functions or (len(self.functions) < 4 and self.chance.random() < 0.4):
            self.functions.append(Place())
        function = self.chance.choice(self.functions)
        argument = self.chance.random() < 0.3
        if argument:
            self.emit("PUSH", self.chance.randrange(COMMON))
        self.emit("CALL", lambda: self.address(function))
        if argument:
            self.emit("POP", self.chance.randrange(COMMON))

    def function(self, place: Place) -> None:
        """A subroutine, seldom one that keeps no discipline."""
        self.mark(place)
        if not self.risky() and self.chance.random() < 0.75:
            self.chance.choice((self._calm, self._calm, self._recursive))(place)
        else:
            wild = (self._leaves_words, self._below_base, self._forges, self._endless, self._falls_through)
            self.chance.choice(wild)(place)

    def _calm(self, place: Place) -> None:
        saved = self.chance.randrange(COMMON)
        self.emit("PUSH", saved)
        self.straight(4)
        if self.chance.random() < 0.4:
            self.statement(2)
        self.emit("POP", saved)
        self.emit("RET")

    def _recursive(self, place: Place) -> None:
        """Calls itself as often as a register says."""
        done, depth = Place(), 28
        self.emit("DEC", depth)
        self.emit("LT", depth, 15)  # nobody writes $15 on purpose
        self.emit("DJMPE", lambda: self.address(done))
        self.straight(2)
        self.emit("CALL", lambda: self.address(place))
        self.straight(2)
        self.emit("INC", depth)
        self.mark(done)
        self.emit("RET")

    def _leaves_words(self, place: Place) -> None:
        for _ in range(self.chance.randint(1, 3)):
            self.emit("PUSH", self.chance.randrange(COMMON))
        self.straight(2)
        self.emit("RET")

    def _below_base(self, place: Place) -> None:
        """Takes bp and the return address off the stack, and puts back what may be something else."""
        base, back = self.chance.sample(range(COMMON), 2)
        self.emit("POP", base)
        self.emit("POP", back)
        if self.chance.random() < 0.5:
            self.straight(2)
        if self.chance.random() < 0.7:
            self.emit("PUSH", back)
            self.emit("PUSH", base)
            self.emit("RET")
        else:
            self.emit("JMP", back)

    def _forges(self, place: Place) -> None:
        """Makes a frame of its own and returns through it, to anywhere."""
        self.emit("POP", 9)
        self.emit("POP", 10)
        self.constant(11, self.target())
        self.constant(12, self.chance.choice((0, 1, 2, 3, -1, MAX, MIN, 300)))
        self.emit("PUSH", 11)
        self.emit("PUSH", self.chance.choice((9, 12)))
        self.emit("RET")  # goes to $11; the next one meets a bp that may be anything

    def _endless(self, place: Place) -> None:
        self.emit("INC", 27)
        self.emit("CALL", lambda: self.address(place))
        self.emit("RET")

    def _falls_through(self, place: Place) -> None:
        self.straight(2)

    # Whole programs.

    def program(self) -> Image:
        """A structured program."""
        self.constant(28, self.chance.choice((0, 3, 12)))
        for _ in range(self.chance.randint(1, 10)):
            self.statement()
        self.chance.choice((self._halts, self._halts, self._halts, self._goes_on, self.derail, self._ends))(0)
        for function in self.functions:  # it grows while subroutines call others
            self.function(function)
        return self.image()

    def all_sorts(self) -> Image:
        """One instruction after another, each once, on the values that matter; nothing leaves, little faults."""
        self.risk = 0.0
        rows = [row for row in self.rows if not row.leaves and row.name != "PRTS"]
        if len(self.read_only) < 8:
            rows = [row for row in rows if Fault.READ_ONLY_BOUNDS not in row.faults]
        for _ in range(10):  # words for POP
            self.emit("PUSH", self.chance.randrange(COMMON))
        for _ in range(self.chance.randrange(20, 150)):
            drawn = self.chance.random()
            if drawn < 0.15:
                self.constant(self.chance.randrange(COMMON), self.chance.choice(INTEGERS))
            elif drawn < 0.3 and self.version and self.numbers:
                self.emit("LOADCF64", self.chance.randrange(COMMON), self.chance.choice(self.numbers))
            self.instruction(self.chance.choice(rows))
        self._halts(0)
        return self.image()

    def subroutines(self) -> Image:
        """Calls of a few subroutines, half of which keep no discipline, and little else."""
        self.risk = self.chance.choice((0.0, 0.05))
        for _ in range(self.chance.randint(2, 6)):
            if self.chance.random() < 0.5:
                self.emit("PUSH", self.chance.randrange(COMMON))
            self.call(0)
        self._halts(0)
        bodies = (
            self._calm,
            self._recursive,
            self._falls_through,
            self._leaves_words,
            self._below_base,
            self._forges,
        )
        for function in self.functions:
            self.mark(function)
            self.chance.choice(bodies)(function)
        return self.image()

    def calm_until_the_end(self) -> Image:
        """A short program that mostly comes as far as what faults in its end."""
        self.risk = 0.0
        for _ in range(self.chance.randrange(3)):
            self.chance.choice((self.straight_piece, self.counted, self.branch))(DEEPEST - 1)
        for _ in range(3):
            self.derail(0)
            if self.chance.random() < 0.3:
                self.straight(3)
        self._halts(0)
        for function in self.functions:
            self.function(function)
        return self.image()

    def _halts(self, depth: int) -> None:
        if self.version and self.chance.random() < 0.3:
            self.emit("HLTR", self.chance.randrange(COMMON))
        else:
            self.emit("HLT")

    def _goes_on(self, depth: int) -> None:
        """For ever, unless something faults."""
        if self.chance.random() < 0.5:
            self.emit("CALL", self.base)
        else:
            self._jump(self.chance.choice(self.places or [Place()]))

    def _ends(self, depth: int) -> None:
        """Into the first subroutine, or behind the last instruction."""
        self.straight(2)

    def soup(self) -> Image:
        """Instructions without structure."""
        for _ in range(self.chance.randint(1, 40)):
            self.instruction()
        return self.image()

    def _read_only(self) -> bytes:
        """Strings, good and bad, numbers, and an end without a NUL; very rarely more than a print can print."""
        chance = self.chance
        if chance.random() < 0.15:
            return b""
        pieces = [
            b"text\0",
            "\u00e9\U0001f600\0".encode(),
            b"\0",
            struct.pack("<i", chance.choice(INTEGERS)),
            ODD_NAN,
        ]
        if self.risk:
            pieces += [b"\xff\0", b"\xed\xa0\x80\0", b"\xc3\0"]
        numbers = [struct.pack("<d", value) for value in chance.sample(FLOATS, 6)]
        pieces += numbers
        chance.shuffle(pieces)
        if chance.random() < 0.01:
            pieces.insert(0, b"x" * (LONGEST_STRING + chance.choice((-1, 0, 1))) + b"\0")
        ends = list(itertools.accumulate(map(len, pieces)))
        self.numbers = [
            end - 8 for end, piece in zip(ends, pieces, strict=True) if piece in numbers and end < 0xFFFF
        ]
        return b"".join(pieces) + (b"end" if self.risk else b"end\0")
