"""What loading, integer arithmetic and comparisons do."""

from __future__ import annotations

from iridium.isa import Fault
from iridium.vm.semantics.scratch import MAX, MIN, Scratch, Step, Trap, does, wrap


@does("LOAD")
def load(s: Scratch, k: int, a: int, value: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = value
        return k

    return step


@does("LUI")
def lui(s: Scratch, k: int, a: int, low: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = wrap(r[a] << 16 | low)
        return k

    return step


@does("MOV")
def mov(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        r[b] = r[a]
        return k

    return step


@does("ADD")
def add(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        value = r[a] + r[b]
        r[c] = value if MIN <= value <= MAX else wrap(value)
        return k

    return step


@does("SUB")
def sub(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        value = r[a] - r[b]
        r[c] = value if MIN <= value <= MAX else wrap(value)
        return k

    return step


@does("MUL")
def mul(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        value = r[a] * r[b]
        r[c] = value if MIN <= value <= MAX else wrap(value)
        return k

    return step


@does("DIV")
def div(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        dividend, divisor = r[a], r[b]
        if divisor == 0:
            raise Trap(Fault.DIVISION_BY_ZERO)
        quotient = abs(dividend) // abs(divisor)
        if (dividend < 0) != (divisor < 0):
            quotient = -quotient
        s.remainder = dividend - quotient * divisor
        r[c] = wrap(quotient)  # only MIN / -1 leaves the range
        return k

    return step


@does("REM")
def rem(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = s.remainder
        return k

    return step


@does("ADDI")
def addi(s: Scratch, k: int, a: int, value: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = wrap(r[a] + value)
        return k

    return step


@does("INC")
def inc(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        value = r[a] + 1
        r[a] = value if value <= MAX else MIN
        return k

    return step


@does("DEC")
def dec(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        value = r[a] - 1
        r[a] = value if value >= MIN else MAX
        return k

    return step


@does("SHL")
def shl(s: Scratch, k: int, a: int, count: int) -> Step:
    r = s.registers
    by = (count or 16) % 32

    def step() -> int:
        r[a] = wrap(r[a] << by)
        return k

    return step


@does("SHR")
def shr(s: Scratch, k: int, a: int, count: int) -> Step:
    r = s.registers
    by = (count or 16) % 32

    def step() -> int:
        r[a] >>= by
        return k

    return step


@does("AND")
def and_(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        r[c] = r[a] & r[b]
        return k

    return step


@does("OR")
def or_(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        r[c] = r[a] | r[b]
        return k

    return step


@does("XOR")
def xor(s: Scratch, k: int, a: int, b: int, c: int) -> Step:
    r = s.registers

    def step() -> int:
        r[c] = r[a] ^ r[b]
        return k

    return step


@does("NOT")
def not_(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        r[b] = ~r[a]
        return k

    return step


@does("EQ")
def eq(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] == r[b]
        return k

    return step


@does("NEQ")
def neq(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] != r[b]
        return k

    return step


@does("GTE")
def gte(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] >= r[b]
        return k

    return step


@does("LTE")
def lte(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] <= r[b]
        return k

    return step


@does("LT")
def lt(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] < r[b]
        return k

    return step


@does("GT")
def gt(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        s.equal = r[a] > r[b]
        return k

    return step
