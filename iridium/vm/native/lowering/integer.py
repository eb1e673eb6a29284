"""Loading, integer arithmetic and comparisons."""

from __future__ import annotations

from iridium.isa import Fault
from iridium.vm.native.emit import Emitter
from iridium.vm.native.lowering.registry import lowers


@lowers("LOAD", "MOV")
def load(e: Emitter, value: str) -> str:
    return value


@lowers("LUI")
def lui(e: Emitter, value: str, low: str) -> str:
    high = e.op(f"shl i32 {value}, 16")
    return e.op(f"or i32 {high}, {low}")


@lowers("ADD", "ADDI")
def add(e: Emitter, a: str, b: str) -> str:
    return e.op(f"add i32 {a}, {b}")


@lowers("SUB")
def sub(e: Emitter, a: str, b: str) -> str:
    return e.op(f"sub i32 {a}, {b}")


@lowers("MUL")
def mul(e: Emitter, a: str, b: str) -> str:
    return e.op(f"mul i32 {a}, {b}")


@lowers("DIV")
def div(e: Emitter, a: str, b: str) -> str:
    e.require(e.op(f"icmp ne i32 {b}, 0"), Fault.DIVISION_BY_ZERO)
    # MIN / -1 is undefined for sdiv, and an exception on some machines: dividing by -1 is a negation.
    negates = e.op(f"icmp eq i32 {b}, -1")
    divisor = e.op(f"select i1 {negates}, i32 1, i32 {b}")
    quotient = e.op(f"sdiv i32 {a}, {divisor}")
    e.set("remainder", e.op(f"srem i32 {a}, {divisor}"))
    negated = e.op(f"sub i32 0, {a}")
    return e.op(f"select i1 {negates}, i32 {negated}, i32 {quotient}")


@lowers("REM")
def rem(e: Emitter) -> str:
    return e.get("remainder")


@lowers("INC")
def inc(e: Emitter, a: str) -> str:
    return e.op(f"add i32 {a}, 1")


@lowers("DEC")
def dec(e: Emitter, a: str) -> str:
    return e.op(f"sub i32 {a}, 1")


def _shift_count(e: Emitter, count: str) -> str:
    none = e.op(f"icmp eq i32 {count}, 0")
    shift = e.op(f"select i1 {none}, i32 16, i32 {count}")
    return e.op(f"and i32 {shift}, 31")


@lowers("SHL")
def shl(e: Emitter, a: str, count: str) -> str:
    return e.op(f"shl i32 {a}, {_shift_count(e, count)}")


@lowers("SHR")
def shr(e: Emitter, a: str, count: str) -> str:
    return e.op(f"ashr i32 {a}, {_shift_count(e, count)}")


@lowers("AND")
def and_(e: Emitter, a: str, b: str) -> str:
    return e.op(f"and i32 {a}, {b}")


@lowers("OR")
def or_(e: Emitter, a: str, b: str) -> str:
    return e.op(f"or i32 {a}, {b}")


@lowers("XOR")
def xor(e: Emitter, a: str, b: str) -> str:
    return e.op(f"xor i32 {a}, {b}")


@lowers("NOT")
def not_(e: Emitter, a: str) -> str:
    return e.op(f"xor i32 {a}, -1")


@lowers("EQ")
def eq(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp eq i32 {a}, {b}")


@lowers("NEQ")
def neq(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp ne i32 {a}, {b}")


@lowers("GTE")
def gte(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp sge i32 {a}, {b}")


@lowers("LTE")
def lte(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp sle i32 {a}, {b}")


@lowers("LT")
def lt(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp slt i32 {a}, {b}")


@lowers("GT")
def gt(e: Emitter, a: str, b: str) -> None:
    e.flag(f"icmp sgt i32 {a}, {b}")
