"""A large program made from a seed: some forty functions of arithmetic, branches, loops, calls and heap.

It stands for what a compiler of another language would give: nothing in it is hot alone, and an engine that
compiles has all of it to compile. The same seed and size give the same source.
"""

from __future__ import annotations

import random
from collections.abc import Callable

INSTRUCTIONS = 3000
"""Instructions of the program, exactly."""

FUNCTIONS = 40
"""Functions that they are divided among."""

DEAREST_CALLEE = 1500
"""A function that executes more instructions is called by the main loop only: a round has to end soon."""

LARGEST_PIECE = 8
"""The most instructions that one piece of a body has; where there is less room, a body is filled one by one."""

# Registers 0 to 11 hold values; what the others hold:
_ADDRESS, _OTHER, _COUNTER, _ZERO, _SEVEN, _MASK, _ROUND, _ROUNDS = range(12, 20)
_HEAP_MASK = 0x3FC  # of an address: a kibibyte, in words

_ARITHMETIC = ("add", "add", "sub", "mul", "xor", "xor", "or", "and")
_COMPARISONS = ("eq", "neq", "gte", "lte", "lt", "gt")


class _Function:
    """The body of one function while it grows.

    Attributes:
        lines: labels included.
        words: instructions in them.
        cost: the most that one call executes.
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.lines = [f"{name}:"]
        self.words = 0
        self.cost = 0
        self._chance = chance
        self._labels = 0

    def emit(self, *instructions: str, times: int = 1) -> None:
        self.lines += [f"    {text}" for text in instructions]
        self.words += len(instructions)
        self.cost += times * len(instructions)

    def label(self) -> str:
        self._labels += 1
        return f"{self.name}_{self._labels}"

    def value(self) -> str:
        return f"${self._chance.randrange(12)}"

    def values(self, count: int) -> str:
        return " ".join(self.value() for _ in range(count))

    def arithmetic(self, times: int = 1) -> None:
        """One instruction."""
        chance = self._chance
        kind = chance.randrange(8)
        if kind < 5:
            text = f"{chance.choice(_ARITHMETIC)} {self.values(3)}"
        elif kind == 5:
            text = f"{chance.choice(('shl', 'shr'))} {self.value()} #{chance.randrange(1, 8)}"
        elif kind == 6:
            text = f"{chance.choice(('inc', 'dec'))} {self.value()}"
        else:
            text = f"addi {self.value()} #{chance.randrange(-999, 1000)}"
        self.emit(text, times=times)

    def store(self) -> None:
        self.emit(f"and {self.value()} ${_MASK} ${_ADDRESS}", f"setm ${_ADDRESS} {self.value()}")

    def load(self) -> None:
        self.emit(f"and {self.value()} ${_MASK} ${_ADDRESS}", f"loadm ${_ADDRESS} {self.value()}")

    def divide(self) -> None:
        self.emit(f"div {self.value()} ${_SEVEN} {self.value()}", f"rem {self.value()}")

    def floats(self) -> None:
        self.emit(f"itof {self.value()} $1", f"itof {self.value()} $2")
        self.emit(f"{self._chance.choice(('addf64', 'subf64', 'mulf64'))} $1 $2 $3", f"ftoi $3 {self.value()}")

    def spill(self) -> None:
        self.emit(f"push {self.value()}")
        self.arithmetic()
        self.emit(f"pop {self.value()}")

    def branch(self) -> None:
        skip = self.label()
        jump = self._chance.choice(("djmpe", "djmpn"))
        self.emit(f"{self._chance.choice(_COMPARISONS)} {self.values(2)}", f"{jump} @{skip}")
        for _ in range(self._chance.randrange(1, 5)):
            self.arithmetic()
        self.lines.append(f"{skip}:")

    def either(self) -> None:
        """A branch with two arms, the first of which leaves by a computed jump."""
        other, end = self.label(), self.label()
        self.emit(f"{self._chance.choice(_COMPARISONS)} {self.values(2)}", f"djmpe @{other}")
        self.arithmetic()
        self.emit(f"load ${_OTHER} @{end}", f"jmp ${_OTHER}")
        self.lines.append(f"{other}:")
        self.arithmetic()
        self.lines.append(f"{end}:")

    def loop(self) -> None:
        again, times = self.label(), self._chance.randrange(2, 7)
        self.emit(f"load ${_COUNTER} #{times}")
        self.lines.append(f"{again}:")
        for _ in range(self._chance.randrange(2, 5)):
            self.arithmetic(times)
        self.emit(f"dec ${_COUNTER}", f"gt ${_COUNTER} ${_ZERO}", f"djmpe @{again}", times=times)

    def call(self, callee: _Function) -> None:
        self.emit(f"call @{callee.name}")
        self.cost += callee.cost


def _grow(function: _Function, words: int, callees: list[_Function], chance: random.Random) -> None:
    """Fill a body to exactly that many instructions, the RET included."""
    pieces: list[Callable[[], None]] = [
        function.arithmetic, function.arithmetic, function.arithmetic, function.store, function.load,
        function.divide, function.floats, function.spill, function.branch, function.either, function.loop,
    ]  # fmt: skip
    while function.words < words - LARGEST_PIECE - 1:
        if callees and chance.random() < 0.08:
            function.call(chance.choice(callees))
        else:
            chance.choice(pieces)()
    while function.words < words - 1:
        function.arithmetic()
    function.emit("ret")


def generate(seed: int, rounds: int, instructions: int = INSTRUCTIONS) -> str:
    """The source of a program that prints a checksum and halts.

    Args:
        seed: of everything that is by chance.
        rounds: how often the main loop calls every function; 0 is 2 ** 32 times.
        instructions: of the whole program, at least some hundred.
    """
    chance = random.Random(seed)  # nosec B311  # the same program for everybody
    main = _main(chance, rounds)
    share, rest = divmod(instructions - main.words, FUNCTIONS)
    functions: list[_Function] = []
    for number in reversed(range(FUNCTIONS)):  # a function calls those after it, so recursion ends
        function = _Function(f"f{number}", chance)
        callees = [callee for callee in functions if callee.cost <= DEAREST_CALLEE]
        _grow(function, share + (number < rest), callees, chance)
        functions.append(function)
    lines = [f"; Made from the seed {seed}: {instructions} instructions.", "", ".code", *main.lines]
    for function in reversed(functions):
        lines += ["", *function.lines]
    return "\n".join(lines) + "\n"


def _main(chance: random.Random, rounds: int) -> _Function:
    """Sets values, calls every function in a loop, and adds up what is left in registers and heap."""
    main = _Function("main", chance)
    main.emit(*[f"load ${register} #{chance.randrange(65536)}" for register in range(12)])
    main.emit(f"load ${_ZERO} #0", f"load ${_SEVEN} #7", f"load ${_MASK} #{_HEAP_MASK}", f"load ${_ROUND} #0")
    main.emit(f"load ${_COUNTER} #0", f"load ${_ADDRESS} #1024", f"aloc ${_ADDRESS}")
    # A number over 65535 would take two instructions, so the bound is made of two halves in any case.
    main.emit(f"load ${_ROUNDS} #{rounds >> 16}", f"lui ${_ROUNDS} #{rounds & 0xFFFF}")
    main.lines.append("round:")
    main.emit(*[f"call @f{number}" for number in range(FUNCTIONS)])
    main.emit(f"inc ${_ROUND}", f"neq ${_ROUND} ${_ROUNDS}", "djmpe @round")
    main.emit("load $20 #31", "load $21 #0", "load $22 #4", f"load $23 #{_HEAP_MASK + 4}", "load $24 #0")
    for register in range(12):
        main.emit("mul $21 $20 $21", f"add $21 ${register} $21")
    main.lines.append("heap:")
    main.emit(
        "loadm $24 $25", "mul $21 $20 $21", "add $21 $25 $21", "add $24 $22 $24", "lt $24 $23", "djmpe @heap"
    )
    main.emit("prti $21", "hlt")
    return main
