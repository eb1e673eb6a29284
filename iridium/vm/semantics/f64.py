"""What f64 arithmetic does: IEEE 754 double precision, as Python floats have it."""

from __future__ import annotations

import math

from iridium.vm.semantics.scratch import MAX, MIN, Scratch, Step, does

EPSILON = 2.220446049250313e-16
"""f64's machine epsilon: within it two floats are equal for EQF64, as the original has it."""


@does("LOADF64")
def loadf64(s: Scratch, k: int, a: int, number: int) -> Step:
    f = s.floats
    value = float(number)

    def step() -> int:
        f[a] = value
        return k

    return step


@does("MOVF64")
def movf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        f[b] = f[a]
        return k

    return step


@does("ITOF")
def itof(s: Scratch, k: int, a: int, b: int) -> Step:
    r, f = s.registers, s.floats

    def step() -> int:
        f[b] = float(r[a])
        return k

    return step


@does("FTOI")
def ftoi(s: Scratch, k: int, a: int, b: int) -> Step:
    r, f = s.registers, s.floats

    def step() -> int:
        value = f[a]
        r[b] = 0 if value != value else int(min(max(value, MIN), MAX))
        return k

    return step


@does("ADDF64")
def addf64(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    f = s.floats

    def step() -> int:
        f[c] = f[a] + f[b]
        return k

    return step


@does("SUBF64")
def subf64(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    f = s.floats

    def step() -> int:
        f[c] = f[a] - f[b]
        return k

    return step


@does("MULF64")
def mulf64(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    f = s.floats

    def step() -> int:
        f[c] = f[a] * f[b]
        return k

    return step


@does("DIVF64")
def divf64(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    f = s.floats

    def step() -> int:
        dividend, divisor = f[a], f[b]
        if divisor:
            f[c] = dividend / divisor
        elif dividend:  # Python raises where IEEE 754 has a signed infinity, or NaN for 0/0
            f[c] = dividend * math.copysign(math.inf, divisor)
        else:
            f[c] = math.nan
        return k

    return step


@does("SQRTF64")
def sqrtf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        f[b] = math.nan if f[a] < 0.0 else math.sqrt(f[a])
        return k

    return step


@does("EQF64")
def eqf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = abs(f[a] - f[b]) < EPSILON
        return k

    return step


@does("NEQF64")
def neqf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = abs(f[a] - f[b]) > EPSILON
        return k

    return step


@does("GTF64")
def gtf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = f[a] > f[b]
        return k

    return step


@does("GTEF64")
def gtef64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = f[a] >= f[b]
        return k

    return step


@does("LTF64")
def ltf64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = f[a] < f[b]
        return k

    return step


@does("LTEF64")
def ltef64(s: Scratch, k: int, a: int, b: int) -> Step:
    f = s.floats

    def step() -> int:
        s.equal = f[a] <= f[b]
        return k

    return step
