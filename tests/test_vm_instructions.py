"""What every instruction does, one line a case: the state before, the instruction, and all that it changes.

A case runs one instruction in the middle of a program of NOPs and compares the whole state of the machine, so that
a change which the case does not name fails it too.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import pytest

from iridium.image import HEADER, Image, LineTable
from iridium.isa import BY_NAME, INSTRUCTIONS, REGISTERS, WORD
from iridium.vm import VM, Limits, Program, Stop
from iridium.vm.engine import available_engines
from iridium.vm.machine import HEAP_LIMIT, HEAP_START
from iridium.vm.record import Waiting
from iridium.vm.semantics import SEMANTICS

ENGINES = [pytest.param(engine, id=name) for name, engine in available_engines().items()]
"""Every engine that can run here; all of them pass every case."""

NOP = BY_NAME["NOP"].encode()
BEFORE, AFTER = 2, 3  # NOPs around the instruction, so that there is somewhere to jump in both directions
HERE = HEADER + WORD * BEFORE
"""The address of the instruction in a program without read-only data."""

START, NEXT, LAST = HEADER, HERE + WORD, HERE + WORD * AFTER
END = LAST + WORD

MIN, MAX = -(2**31), 2**31 - 1
INF, NAN = math.inf, math.nan
EPSILON = 2.220446049250313e-16
ODD_NAN = struct.unpack("<d", bytes.fromhex("01000000000ff4ff"))[0]
"""A negative signalling NaN with a payload."""

CANONICAL_NAN = bytes.fromhex("000000000000f87f")


class Case(NamedTuple):
    """An instruction and the state that it meets; what a test is told about it stands in its own tables."""

    name: str
    operands: tuple[int, ...]
    state: dict[str, Any]

    def machine(self) -> VM:
        """A VM with pc on the instruction."""
        return machine(BY_NAME[self.name].encode(*self.operands), **self.state)


def machine(
    word: bytes,
    *,
    r: dict[int, int] | None = None,
    f: dict[int, float] | None = None,
    stack: tuple[int, ...] = (),
    heap: bytes = b"",
    read_only: bytes = b"",
    version: int = 1,
    limits: Limits = Limits(),  # noqa: B008
    **record: int,
) -> VM:
    """A VM about to execute ``word``, the third of six instructions.

    Args:
        word: the instruction.
        r, f: registers that are not 0.
        stack: words on the stack, the oldest first.
        heap: bytes at its start.
        read_only: the read-only section.
        version: the image version; in version 1 line n is that of the n-th instruction.
        limits: of the VM.
        record: fields of the state record.
    """
    code = NOP * BEFORE + word + NOP * AFTER
    lines = LineTable("case.iasm", tuple(range(1, len(code) // WORD + 1))) if version else None
    vm = VM(Program(Image(code, read_only, version, lines)), limits)
    vm.record.pc = vm.program.base + WORD * BEFORE
    for number, integer in (r or {}).items():
        vm.record.registers[number] = integer
    for number, value in (f or {}).items():
        vm.record.float_registers[number] = value
    for at, pushed in enumerate(stack):
        vm.map_stack()[at] = pushed
    vm.record.sp = len(stack)
    if heap:
        vm.map_heap()[: len(heap)] = heap
    for field, number in record.items():
        setattr(vm.record, field, number)
    vm.record.heap_top = vm.record.heap_size if vm.record.heap else 0
    return vm


def bits(value: float) -> str:
    """A float so that -0.0 differs from 0.0 and NaN equals NaN."""
    return "nan" if value != value else struct.pack(">d", value).hex()


def snapshot(vm: VM) -> dict[str, Any]:
    """All that a program can observe, but its output."""
    record = vm.record
    state = {f"r{n}": record.registers[n] for n in range(REGISTERS)}
    state |= {f"f{n}": bits(record.float_registers[n]) for n in range(REGISTERS)}
    fields = ("pc", "sp", "bp", "equal_flag", "remainder", "loop_counter", "heap_size", "stop_code")
    state |= {field: getattr(record, field) for field in fields}
    state["heap"] = vm.heap_bytes(0, 4096).rstrip(b"\0")
    state["stack"] = vm.stack_words()
    return state


def does(name: str, *operands: int, then: dict[str, Any] | None = None, **state: Any) -> Any:
    """A case that goes well.

    Args:
        name, operands: the instruction.
        then: what it changes; pc goes to the next instruction unless it is named.
        state: what it meets, as :func:`machine` takes it.
    """
    changes = then or {}
    title = f"{name} {state.get('r', '')}{state.get('f', '')}{operands}".replace(" ", "")
    return pytest.param(Case(name, operands, state), changes, id=title[:70])


def integers(name: str, *rows: tuple[int, int, int]) -> list[Any]:
    """Cases of ``$1 op $2 -> $3``."""
    return [does(name, 1, 2, 3, r={1: a, 2: b, 3: 99}, then={"r3": c}) for a, b, c in rows]


def floats(name: str, *rows: tuple[float, float, float]) -> list[Any]:
    """The same for f64."""
    return [does(name, 1, 2, 3, f={1: a, 2: b, 3: 99.0}, then={"f3": c}) for a, b, c in rows]


def compares(name: str, file: str, *rows: tuple[float, float, int]) -> list[Any]:
    """Cases of ``equal_flag = $1 op $2``, each with the flag clear and set before."""
    return [
        does(name, 1, 2, **{file: {1: a, 2: b}}, equal_flag=before, then={"equal_flag": flag})
        for a, b, flag in rows
        for before in (0, 1)
    ]


def ordered(name: str, less: int, same: int, more: int) -> list[Any]:
    """Cases of a signed comparison."""
    pairs = [(1, 2, less), (2, 2, same), (2, 1, more), (-1, 0, less), (0, -1, more)]
    return compares(name, "r", *pairs, (MIN, MAX, less), (MAX, MIN, more), (MIN, MIN, same))


def float_ordered(name: str, less: int, same: int, more: int) -> list[Any]:
    """Cases of an f64 comparison: everything about NaN is false, and the zeros are the same."""
    pairs = [(1.0, 1.5, less), (1.5, 1.5, same), (1.5, 1.0, more), (-INF, INF, less), (INF, INF, same)]
    nans = [(NAN, 1.0, 0), (1.0, NAN, 0), (NAN, NAN, 0)]
    tiny = [(1.0, 1.0 + EPSILON, less), (-0.0, 0.0, same), (0.0, -0.0, same), (5e-324, 0.0, more)]
    return compares(name, "f", *pairs, *nans, *tiny)


ARITHMETIC = [
    does("LOAD", 3, 0, r={3: 7}, then={"r3": 0}),
    does("LOAD", 3, 0x8000, then={"r3": 0x8000}),
    does("LOAD", 31, 0xFFFF, r={31: -1}, then={"r31": 0xFFFF}),
    does("LUI", 3, 0x5678, r={3: 0x1234}, then={"r3": 0x12345678}),
    does("LUI", 3, 0, r={3: 0xFFFF}, then={"r3": -0x10000}),
    does("LUI", 3, 0xFFFF, r={3: -1}, then={"r3": -1}),
    does("LUI", 3, 1, r={3: 0x7FFF0000}, then={"r3": 1}),
    *integers("ADD", (2, 3, 5), (MAX, 1, MIN), (MIN, -1, MAX), (MIN, MIN, 0), (MAX, MAX, -2)),
    *integers("SUB", (2, 3, -1), (MIN, 1, MAX), (MAX, -1, MIN), (0, MIN, MIN), (MIN, MAX, 1)),
    *integers("MUL", (-2, 3, -6), (MAX, MAX, 1), (MIN, -1, MIN), (MIN, MIN, 0), (65536, 65536, 0)),
    *integers("MUL", (46341, 46341, -2147479015), (MAX, 2, -2)),
    does("ADD", 5, 5, 5, r={5: 21}, then={"r5": 42}),
    *[
        does("DIV", 1, 2, 3, r={1: a, 2: b}, remainder=99, then={"r3": quotient, "remainder": rest})
        for a, b, quotient, rest in [
            (7, 2, 3, 1),
            (-7, 2, -3, -1),
            (7, -2, -3, 1),
            (-7, -2, 3, -1),
            (6, 3, 2, 0),
            (0, -5, 0, 0),
            (1, MIN, 0, 1),
            (MIN, 1, MIN, 0),
            (MIN, -1, MIN, 0),
            (MIN, MAX, -1, -1),
            (MIN, MIN, 1, 0),
        ]
    ],
    does("DIV", 1, 2, 1, r={1: 17, 2: 5}, then={"r1": 3, "remainder": 2}),
    does("DIV", 1, 2, 2, r={1: 17, 2: 5}, then={"r2": 3, "remainder": 2}),
    does("REM", 4, r={4: 9}, remainder=-3, then={"r4": -3}),
    does("INC", 1, r={1: -1}, then={"r1": 0}),
    does("INC", 1, r={1: MAX}, then={"r1": MIN}),
    does("DEC", 1, r={1: 0}, then={"r1": -1}),
    does("DEC", 1, r={1: MIN}, then={"r1": MAX}),
    does("ADDI", 1, -1, r={1: MIN}, then={"r1": MAX}),
    does("ADDI", 1, 0x7FFF, r={1: MAX}, then={"r1": MIN + 0x7FFE}),
    does("ADDI", 1, -0x8000, r={1: 1}, then={"r1": -0x7FFF}),
    does("MOV", 1, 2, r={1: MIN, 2: 5}, then={"r2": MIN}),
    does("MOV", 1, 1, r={1: 8}),
]

BITS = [
    *[
        does("SHL", 1, count, r={1: before}, then={"r1": after})
        for before, count, after in [
            (1, 0, 0x10000),  # 0 means 16
            (0x12345678, 0, 0x56780000),
            (1, 1, 2),
            (1, 16, 0x10000),
            (1, 31, MIN),
            (3, 31, MIN),
            (-1, 31, MIN),
            (5, 32, 5),  # 32 shifts by 0
            (5, 33, 10),
            (5, 48, 5 << 16),
            (1, 255, MIN),
            (MAX, 1, -2),
        ]
    ],
    *[
        does("SHR", 1, count, r={1: before}, then={"r1": after})
        for before, count, after in [
            (0x12345678, 0, 0x1234),
            (MIN, 0, -0x8000),
            (-1, 1, -1),
            (MAX, 1, MAX >> 1),
            (MIN, 16, -0x8000),
            (MIN, 31, -1),
            (MAX, 31, 0),
            (-5, 32, -5),
            (-5, 33, -3),
            (MIN, 255, -1),
        ]
    ],
    *integers("AND", (0b1100, 0b1010, 0b1000), (-1, MIN, MIN), (MAX, MIN, 0)),
    *integers("OR", (0b1100, 0b1010, 0b1110), (MAX, MIN, -1), (0, 0, 0)),
    *integers("XOR", (0b1100, 0b1010, 0b0110), (MAX, MIN, -1), (-1, -1, 0), (-1, MAX, MIN)),
    does("NOT", 1, 2, r={1: 0}, then={"r2": -1}),
    does("NOT", 1, 2, r={1: MAX}, then={"r2": MIN}),
]

COMPARISONS = [
    *ordered("EQ", 0, 1, 0),
    *ordered("NEQ", 1, 0, 1),
    *ordered("GTE", 0, 1, 1),
    *ordered("LTE", 1, 1, 0),
    *ordered("LT", 1, 0, 0),
    *ordered("GT", 0, 0, 1),
    *float_ordered("GTF64", 0, 0, 1),
    *float_ordered("GTEF64", 0, 1, 1),
    *float_ordered("LTF64", 1, 0, 0),
    *float_ordered("LTEF64", 1, 1, 0),
]

# a, b, EQF64, NEQF64: within epsilon of each other is equal, exactly epsilon apart is neither.
NEARNESS = [
    (1.5, 1.5, 1, 0),
    (0.0, -0.0, 1, 0),
    (EPSILON / 2, 0.0, 1, 0),
    (math.nextafter(EPSILON, 0.0), 0.0, 1, 0),
    (EPSILON, 0.0, 0, 0),
    (0.0, EPSILON, 0, 0),
    (1.0 + EPSILON, 1.0, 0, 0),
    (math.nextafter(EPSILON, 1.0), 0.0, 0, 1),
    (1.0, 1.0 + 2 * EPSILON, 0, 1),
    (1e300, -1e300, 0, 1),
    (INF, 1.0, 0, 1),
    (INF, -INF, 0, 1),
    (INF, INF, 0, 0),
    (-INF, -INF, 0, 0),
    (NAN, NAN, 0, 0),
    (NAN, 1.0, 0, 0),
]
COMPARISONS += compares("EQF64", "f", *[(a, b, equal) for a, b, equal, _ in NEARNESS])
COMPARISONS += compares("NEQF64", "f", *[(a, b, unequal) for a, b, _, unequal in NEARNESS])

FLOATS = [
    does("LOADF64", 3, 0, f={3: 7.0}, then={"f3": 0.0}),
    does("LOADF64", 3, 0xFFFF, then={"f3": 65535.0}),
    *floats("ADDF64", (0.1, 0.2, 0.30000000000000004), (1e308, 1e308, INF), (INF, -INF, NAN)),
    *floats("ADDF64", (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (NAN, 1.0, NAN), (1e16, 1.0, 1e16)),
    *floats("SUBF64", (0.3, 0.1, 0.19999999999999998), (0.0, 0.0, 0.0), (-0.0, 0.0, -0.0)),
    *floats("SUBF64", (INF, INF, NAN), (-1e308, 1e308, -INF), (1.0, NAN, NAN)),
    *floats("MULF64", (0.1, 3.0, 0.30000000000000004), (-1.0, 0.0, -0.0), (0.0, INF, NAN)),
    *floats("MULF64", (1e308, -10.0, -INF), (5e-324, 0.5, 0.0), (NAN, 0.0, NAN), (-INF, -2.0, INF)),
    *floats("DIVF64", (1.0, 3.0, 0.3333333333333333), (-7.0, 2.0, -3.5), (1.0, INF, 0.0)),
    *floats("DIVF64", (1.0, 0.0, INF), (1.0, -0.0, -INF), (-1.0, 0.0, -INF), (-1.0, -0.0, INF)),
    *floats("DIVF64", (0.0, 0.0, NAN), (-0.0, 0.0, NAN), (0.0, -5.0, -0.0), (NAN, 0.0, NAN)),
    *floats("DIVF64", (INF, 0.0, INF), (INF, -0.0, -INF), (INF, INF, NAN), (1.0, NAN, NAN)),
    *floats("DIVF64", (1e308, 1e-308, INF), (5e-324, 2.0, 0.0), (-1.0, INF, -0.0)),
    does("DIVF64", 1, 1, 1, f={1: 3.0}, then={"f1": 1.0}),
    *[
        does("SQRTF64", 1, 2, f={1: a, 2: 9.0}, then={"f2": b})
        for a, b in [
            (2.0, 1.4142135623730951),
            (0.0, 0.0),
            (-0.0, -0.0),
            (-5e-324, NAN),
            (INF, INF),
            (-INF, NAN),
            (NAN, NAN),
        ]
    ],
    does("MOVF64", 1, 2, f={1: -0.0, 2: 5.0}, then={"f2": -0.0}),
    does("MOVF64", 1, 2, f={1: NAN}, then={"f2": NAN}),
    *[does("ITOF", 1, 2, r={1: a}, then={"f2": float(a)}) for a in (0, -7, MIN, MAX)],
    *[
        does("FTOI", 1, 2, f={1: a}, r={2: 99}, then={"r2": b})
        for a, b in [
            (1.9, 1),
            (-1.9, -1),
            (-0.5, 0),
            (-0.0, 0),
            (2147483646.999, MAX - 1),
            (2147483647.0, MAX),
            (2147483647.5, MAX),
            (2147483648.0, MAX),
            (-2147483648.0, MIN),
            (-2147483648.9, MIN),
            (-2147483649.0, MIN),
            (1e300, MAX),
            (INF, MAX),
            (-INF, MIN),
            (NAN, 0),
            (ODD_NAN, 0),
        ]
    ],
]

CONTROL = [
    does("NOP"),
    does("HLT", stop_code=9, then={"stop": Stop.HALTED, "stop_code": 0}),
    *[does("HLTR", 1, r={1: code}, then={"stop": Stop.HALTED, "stop_code": code}) for code in (0, 7, MIN, MAX)],
    *[does("JMP", 1, r={1: to}, then={"pc": to}) for to in (START, HERE, NEXT, LAST)],
    *[does("JMPF", 1, r={1: r}, then={"pc": HERE + 2 + r}) for r in (-10, -2, 2, 6, 14 - WORD)],
    *[does("JMPB", 1, r={1: r}, then={"pc": HERE + 2 - r}) for r in (10, 6, 2, -2, -6)],
    does("JMPE", 1, r={1: START}, equal_flag=1, then={"pc": START}),
    does("JMPE", 1, r={1: START}),
    does("JMPE", 1, r={1: -1}),  # the target of a branch not taken does not matter
    does("DJMPE", START, equal_flag=1, then={"pc": START}),
    does("DJMPE", START),
    does("DJMPE", 3),
    does("DJMPN", START, then={"pc": START}),
    does("DJMPN", START, equal_flag=1),
    does("DJMPN", 3, equal_flag=1),
    does("CLOOP", 0, loop_counter=5, then={"loop_counter": 0}),
    does("CLOOP", 10, then={"loop_counter": 10}),
    does("CLOOP", 0xFFFF, then={"loop_counter": 0xFFFF}),
    does("CLOOP", 0x10000, then={"loop_counter": 0x10000}),
    does("CLOOP", 0xFFFFFF, then={"loop_counter": 0xFFFFFF}),
    does("LOOP", START),
    does("LOOP", 3),
    does("LOOP", START, loop_counter=1, then={"loop_counter": 0, "pc": START}),
    does("LOOP", LAST, loop_counter=0xFFFFFF, then={"loop_counter": 0xFFFFFE, "pc": LAST}),
    does("PUSH", 1, r={1: MIN}, then={"stack": [MIN], "sp": 1}),
    does("PUSH", 1, r={1: 3}, stack=(1, 2), bp=1, then={"stack": [1, 2, 3], "sp": 3}),
    does("PUSH", 1, r={1: 3}, stack=(1, 2), limits=Limits(stack=3), then={"stack": [1, 2, 3], "sp": 3}),
    does("POP", 1, stack=(5, MIN), then={"stack": [5], "sp": 1, "r1": MIN}),
    does("POP", 1, stack=(5,), then={"stack": [], "sp": 0, "r1": 5}),
    does("POP", 1, stack=(5, 6), bp=2, then={"stack": [5], "sp": 1, "r1": 6}),  # below bp
    does("CALL", LAST, then={"stack": [NEXT, 0], "sp": 2, "bp": 2, "pc": LAST}),
    does("CALL", HERE, stack=(7, 8, 9), bp=2, then={"stack": [7, 8, 9, NEXT, 2], "sp": 5, "bp": 5, "pc": HERE}),
    does("CALL", START, bp=-3, then={"stack": [NEXT, -3], "sp": 2, "bp": 2, "pc": START}),
    does("CALL", START, limits=Limits(stack=2), then={"stack": [NEXT, 0], "sp": 2, "bp": 2, "pc": START}),
    does("RET", stack=(LAST, 0), bp=2, then={"stack": [], "sp": 0, "bp": 0, "pc": LAST}),
    does("RET", stack=(9, START, 4, 1, 2), bp=3, then={"stack": [9], "sp": 1, "bp": 4, "pc": START}),
    does("RET", stack=(START, MIN), bp=2, then={"stack": [], "sp": 0, "bp": MIN, "pc": START}),
]

_BYTES = bytes(range(1, 65))

MEMORY = [
    does("ALOC", 1, then={}),
    does("ALOC", 1, r={1: 1}, then={"heap_size": HEAP_START + 1}),
    does("ALOC", 1, r={1: 4000}, heap=_BYTES, then={"heap_size": HEAP_START + 4000}),
    does("ALOC", 1, r={1: HEAP_LIMIT - HEAP_START}, then={"heap_size": HEAP_LIMIT}),
    does("ALOC", 1, r={1: 36}, limits=Limits(heap=100), then={"heap_size": 100}),
    *[
        does("LOADM", 1, 2, r={1: at}, heap=_BYTES, then={"r2": int.from_bytes(_BYTES[at : at + 4], "little")})
        for at in (0, 1, 2, 3, 60)
    ],
    does("LOADM", 1, 1, r={1: 4}, heap=bytes(4) + b"\xff\xff\xff\x7f", then={"r1": MAX}),
    does("LOADM", 1, 2, heap=b"\0\0\0\x80", then={"r2": MIN}),
    does("LOADM", 1, 2, r={1: 60, 2: 5}, then={"r2": 0}),
    *[
        does("SETM", 1, 2, r={1: at, 2: -2}, then={"heap": bytes(at) + b"\xfe\xff\xff\xff"})
        for at in (0, 1, 7, 60)
    ],
    does("SETM", 1, 1, r={1: 4}, heap=b"\x01" * 8, then={"heap": b"\x01" * 4 + b"\x04"}),
    does("LOADB", 1, 2, r={1: 63}, heap=bytes(63) + b"\xff", then={"r2": 255}),
    does("LOADB", 1, 2, heap=b"\x80\xff", then={"r2": 128}),
    does("SETB", 1, 2, r={1: 63, 2: -1}, then={"heap": bytes(63) + b"\xff"}),
    does("SETB", 1, 2, r={1: 1, 2: 0x1234}, heap=b"\x01\x02\x03", then={"heap": b"\x01\x34\x03"}),
    does("LOADMF64", 1, 2, r={1: 3}, heap=bytes(3) + struct.pack("<d", -1.5), then={"f2": -1.5}),
    does("LOADMF64", 1, 2, r={1: 56}, heap=bytes(56) + struct.pack("<d", INF), then={"f2": INF}),
    does("LOADMF64", 1, 2, heap=struct.pack("<d", ODD_NAN), then={"f2": NAN}),
    does("SETMF64", 1, 2, r={1: 1}, f={2: -0.0}, then={"heap": bytes(8) + b"\x80"}),
    does("SETMF64", 1, 2, r={1: 56}, f={2: 0.1}, then={"heap": bytes(56) + struct.pack("<d", 0.1)}),
    does("SETMF64", 1, 2, f={2: NAN}, then={"heap": CANONICAL_NAN}),
    does("SETMF64", 1, 2, f={2: -NAN}, then={"heap": CANONICAL_NAN}),
    does("SETMF64", 1, 2, f={2: ODD_NAN}, then={"heap": CANONICAL_NAN}),
]

READ_ONLY = [
    does("LOADC", 2, 1, read_only=b"\x01\xfe\xff\xff\xff", then={"r2": -2}),
    does("LOADC", 2, 0xFFFF, read_only=bytes(0xFFFF) + b"\x01\x02\x03\x04", then={"r2": 0x04030201}),
    does("LOADCF64", 2, 1, read_only=b"\x01" + struct.pack("<d", 2.5), then={"f2": 2.5}),
    does("LOADCF64", 2, 0, read_only=struct.pack("<d", -0.0), then={"f2": -0.0}),
    does("LOADRO", 1, 2, r={1: 1}, read_only=b"\x01\xff\xff\xff\x7f", then={"r2": MAX}),
    does("LOADRO", 1, 1, r={1: 70000}, read_only=bytes(70000) + b"\x01\0\0\0", then={"r1": 1}),
    does("LOADROB", 1, 2, r={1: 2}, read_only=b"\x01\x02\xff", then={"r2": 255}),
]

_STRING = 64 * 1024 * b"x" + b"\0"

PRINTING = [
    does("PRTS", 0, read_only=b"Hello\n\0rest", then={"output": "Hello\n"}),
    does("PRTS", 6, read_only=b"Hello\n\0", then={"output": ""}),
    does("PRTS", 2, read_only="äß€😀\0".encode(), then={"output": "ß€😀"}),
    does("PRTS", 0, read_only=_STRING, then={"output": "x" * 65536}),
    does("PRTS", 0x11170, read_only=bytes(0x11170) + b"far\0", then={"output": "far"}),
    *[does("PRTI", 1, r={1: n}, then={"output": str(n)}) for n in (0, -1, MIN, MAX)],
    *[
        does("PRTF64", 1, f={1: value}, then={"output": text})
        for value, text in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1 / 3, "0.3333333333333333"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1e22, "1e+22"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (INF, "inf"),
            (-INF, "-inf"),
            (NAN, "nan"),
            (ODD_NAN, "nan"),
        ]
    ],
    *[
        does("PRTC", 1, r={1: point}, then={"output": chr(point)})
        for point in (0, 10, 65, 0xE4, 0xD7FF, 0xE000, 0xFFFF, 0x1F600, 0x10FFFF)
    ],
]

# Of a VM that is nobody's process: nothing is there to send to. What there is to say otherwise stands in
# ``test_vm_processes``.
ALONE = [
    does("SELF", 1, r={1: 9}, then={"r1": 0}),
    does("SPAWN", 1, 2, r={1: START, 2: 9}, equal_flag=1, then={"r2": 0, "equal_flag": 0}),
    does("SEND", 1, 2, r={1: 1, 2: 5}, equal_flag=1, then={"equal_flag": 0}),
    does("SEND", 1, 2, r={1: -1, 2: 5}, equal_flag=1, then={"equal_flag": 0}),
    does("SENDP", 1, 2, r={1: 1, 2: 5}, equal_flag=1, then={"equal_flag": 0}),
    does("SENDM", 1, 2, 3, r={1: 1, 2: 60, 3: 4}, equal_flag=1, then={"equal_flag": 0}),
    does("SENDM", 1, 2, 3, r={1: 1, 2: 64}, equal_flag=1, then={"equal_flag": 0}),
    *[does("RECVT", 1, r={1: n}, equal_flag=1, then={"equal_flag": 0}) for n in (0, 5, -1, MAX)],
    does("MONITOR", 1, r={1: 1}, equal_flag=1, then={"equal_flag": 0}),
    does("DEMONITOR", 1, r={1: 1}, equal_flag=1),
    does("LINK", 1, r={1: 1}, equal_flag=1, then={"equal_flag": 0}),
    does("KILL", 1, r={1: 1}, equal_flag=1, then={"equal_flag": 0}),
    *[does("EXIT", 1, r={1: code}, then={"stop": Stop.HALTED, "stop_code": code}) for code in (0, 7, MIN, MAX)],
    *[does("SLEEP", 1, r={1: n}) for n in (0, 5, -1)],
    does("CLOCK", 1, r={1: 9}, then={"r1": 0}),
    does("NODES", 1, then={"r1": 1}),
]

CASES = [*ARITHMETIC, *BITS, *COMPARISONS, *FLOATS, *CONTROL, *MEMORY, *READ_ONLY, *PRINTING, *ALONE]

WAITING = [
    (Case("RECV", (1, 2, 3), {"r": {1: 9}, "equal_flag": 1}), Waiting.MESSAGE),
    (Case("RECVM", (1, 2, 3), {"r": {1: 0, 2: 9}, "equal_flag": 1}), Waiting.MESSAGE),
    (Case("RECVM", (1, 2, 3), {"r": {1: -1}}), Waiting.MESSAGE),  # where to matters once there is a message
    (Case("REGISTER", (1,), {"read_only": b"nam\0"}), Waiting.SERVICE),
    (Case("WHEREIS", (1, 2), {"read_only": b"nam\0", "r": {2: 9}}), Waiting.SERVICE),
    (Case("SPAWNON", (1, 2, 3), {"read_only": b"nam\0", "r": {1: HEADER + 4}}), Waiting.SERVICE),
    (Case("SPAWNON", (1, 2, 3), {"r": {1: START, 2: -1}}), Waiting.SERVICE),
    (Case("SPAWNON", (1, 2, 3), {"r": {1: START, 2: MIN}}), Waiting.SERVICE),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("case", "what"), WAITING)
def test_instruction_waits(engine: Any, case: Case, what: Waiting) -> None:
    """Protects waiting: it costs nothing of the budget, changes nothing, and says what for; however often."""
    vm = case.machine()
    before = snapshot(vm)
    for _ in range(2):
        assert engine(vm, 5) == (Stop.WAITING, 5)
        assert snapshot(vm) == before
        assert (vm.record.stop, vm.record.waiting, vm.record.instructions) == (Stop.WAITING, what, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("case", "then"), CASES)
def test_instruction(engine: Any, case: Case, then: dict[str, Any]) -> None:
    """Protects what an instruction does, that it does nothing else, and that it costs one of the budget."""
    vm = case.machine()
    expected = snapshot(vm) | {"pc": vm.record.pc + WORD}
    expected |= {key: bits(value) if key[0] == "f" else value for key, value in then.items()}
    stop = expected.pop("stop", Stop.BUDGET)
    printed = expected.pop("output", "")
    if "heap" in then:
        expected["heap"] = expected["heap"].rstrip(b"\0")
    assert engine(vm, 1) == (stop, 0)
    assert snapshot(vm) == expected
    assert (vm.output.take(), len(vm.output)) == (printed, 0)
    assert (vm.record.stop, vm.record.fault, vm.record.waiting) == (stop, 0, 0)
    assert vm.record.instructions == 1
    assert vm.crash is None


def test_every_instruction_has_a_case() -> None:
    """Protects the table: a new row needs its semantics here and in the engine."""
    tested = {parameters.values[0].name for parameters in CASES} | {case.name for case, _ in WAITING}
    assert tested == {row.name for row in INSTRUCTIONS} == set(SEMANTICS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", INSTRUCTIONS, ids=lambda row: row.name)
def test_unused_operand_bytes_are_ignored(engine: Any, row: Any) -> None:
    """Protects images of other assemblers, which may leave anything in the bytes that no operand takes."""
    used = 1 + sum(kind.width for kind in row.operands)
    operands = [START if kind.label == "code" else kind.low for kind in row.operands]
    clean = row.encode(*operands)
    states = []
    for word in (clean, clean[:used] + b"\xff" * (WORD - used)):
        vm = machine(word, r={0: START}, f={0: 4.0}, stack=(START, 0), bp=2, read_only=b"text \0\0\0\0")
        turn = engine(vm, 1)
        states.append((turn, snapshot(vm), vm.output.take()))
    assert states[0] == states[1]


FAR = 0x20000
"""Bytes of read-only data that put the code where addresses need their third byte."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["DJMPE", "DJMPN", "LOOP", "CALL"])
@pytest.mark.parametrize("index", [0, 5])
def test_jump_with_a_24_bit_address(engine: Any, name: str, index: int) -> None:
    """Protects the third byte of code addresses: without it a program beyond 64 KiB jumps elsewhere."""
    target = HEADER + FAR + WORD * index
    vm = machine(
        BY_NAME[name].encode(target), read_only=bytes(FAR), loop_counter=1, equal_flag=int(name == "DJMPE")
    )
    assert engine(vm, 1).stop == Stop.BUDGET
    assert vm.record.pc == target


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 10])
def test_cloop_runs_the_body_once_more_than_its_count(engine: Any, count: int) -> None:
    """Protects the original's counting: CLOOP #10 runs a body that ends in LOOP eleven times."""
    code = b"".join(
        (BY_NAME["CLOOP"].encode(count), BY_NAME["INC"].encode(1), BY_NAME["LOOP"].encode(START + WORD))
    )
    vm = VM(Program(Image(code + BY_NAME["HLT"].encode())))
    assert engine(vm, 1000).stop == Stop.HALTED
    assert vm.record.registers[1] == count + 1
    assert vm.record.loop_counter == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_heap_grows_in_zero_pages_and_keeps_what_it_has(engine: Any) -> None:
    """Protects allocation: old bytes stay where they are and new ones read as zero, up to the last."""
    code = b"".join(
        BY_NAME[name].encode(*operands)
        for name, *operands in [
            ("SETM", 1, 2),  # heap[60] = -1
            ("ALOC", 3),
            ("LOADM", 1, 4),
            ("LOADM", 5, 6),
            ("SETB", 7, 2),
            ("LOADB", 7, 8),
            ("HLT",),
        ]
    )
    vm = VM(Program(Image(code, version=1)))
    for register, value in {1: 60, 2: -1, 3: 100_000, 5: 64, 6: 9, 7: HEAP_START + 100_000 - 1}.items():
        vm.record.registers[register] = value
    assert engine(vm, 100).stop == Stop.HALTED
    assert [vm.record.registers[n] for n in (4, 6, 8)] == [-1, 0, 255]


@pytest.mark.parametrize("engine", ENGINES)
def test_call_and_return_nest(engine: Any) -> None:
    """Protects frames: a callee that leaves words on the stack still returns to its caller with bp restored."""
    e = {row.name: row.encode for row in INSTRUCTIONS}
    inner = START + 5 * WORD
    code = b"".join(
        (
            e["CALL"](START + 2 * WORD),  # 0
            e["HLT"](),
            e["PUSH"](1),  # 2: outer
            e["CALL"](inner),
            e["RET"](),
            e["PUSH"](1),  # 5: inner
            e["PUSH"](1),
            e["INC"](1),
            e["RET"](),
        )
    )
    vm = VM(Program(Image(code)))
    assert engine(vm, 100).stop == Stop.HALTED
    assert (vm.record.sp, vm.record.bp, vm.record.registers[1]) == (0, 0, 1)
    assert vm.record.pc == START + 2 * WORD
