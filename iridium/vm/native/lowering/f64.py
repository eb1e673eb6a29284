"""f64 arithmetic: IEEE 754 double precision, without contraction and without fast-math."""

from __future__ import annotations

from iridium.vm.native.emit import Emitter
from iridium.vm.native.lowering.registry import lowers

EPSILON = "0x3CB0000000000000"
"""2.220446049250313e-16, as LLVM writes doubles exactly."""


@lowers("LOADF64", "ITOF")
def to_f64(e: Emitter, number: str) -> str:
    return e.op(f"sitofp i32 {number} to double")


@lowers("MOVF64")
def movf64(e: Emitter, value: str) -> str:
    return value


@lowers("FTOI")
def ftoi(e: Emitter, value: str) -> str:
    return e.op(f"call i32 @llvm.fptosi.sat.i32.f64(double {value})")


@lowers("ADDF64")
def addf64(e: Emitter, a: str, b: str) -> str:
    return e.op(f"fadd double {a}, {b}")


@lowers("SUBF64")
def subf64(e: Emitter, a: str, b: str) -> str:
    return e.op(f"fsub double {a}, {b}")


@lowers("MULF64")
def mulf64(e: Emitter, a: str, b: str) -> str:
    return e.op(f"fmul double {a}, {b}")


@lowers("DIVF64")
def divf64(e: Emitter, a: str, b: str) -> str:
    return e.op(f"fdiv double {a}, {b}")


@lowers("SQRTF64")
def sqrtf64(e: Emitter, a: str) -> str:
    return e.op(f"call double @llvm.sqrt.f64(double {a})")


def _distance(e: Emitter, a: str, b: str) -> str:
    difference = e.op(f"fsub double {a}, {b}")
    return e.op(f"call double @llvm.fabs.f64(double {difference})")


@lowers("EQF64")
def eqf64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp olt double {_distance(e, a, b)}, {EPSILON}")


@lowers("NEQF64")
def neqf64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp ogt double {_distance(e, a, b)}, {EPSILON}")


@lowers("GTF64")
def gtf64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp ogt double {a}, {b}")


@lowers("GTEF64")
def gtef64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp oge double {a}, {b}")


@lowers("LTF64")
def ltf64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp olt double {a}, {b}")


@lowers("LTEF64")
def ltef64(e: Emitter, a: str, b: str) -> None:
    e.flag(f"fcmp ole double {a}, {b}")
