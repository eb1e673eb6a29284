"""Every fault that every instruction can raise, and that a fault leaves no trace but itself.

What an instruction does when it goes well stands in ``test_vm_instructions``.
"""

from __future__ import annotations

from typing import Any

import pytest

from iridium.image import HEADER, Image, LineTable
from iridium.isa import BY_NAME, BY_OPCODE, INSTRUCTIONS, REGISTERS, WORD, Fault
from iridium.vm import VM, Limits, Program, Stop
from iridium.vm.machine import HEAP_LIMIT, HEAP_START, STACK_WORDS
from iridium.vm.output import Tag
from tests.test_vm_instructions import (
    END,
    ENGINES,
    FAR,
    HERE,
    LAST,
    MAX,
    MIN,
    START,
    Case,
    machine,
    snapshot,
)

LINE = 3
"""The instruction of a case is the third of its program."""

NOWHERE = (0, -1, MIN, MAX, START - WORD, START + 1, HERE + 2, END, END + WORD, 1 << 24)
"""Addresses at which no instruction is."""

NEGATIVE = (-1, -4, -8, MIN)
"""As u32 these are near 2^32 (and 2^31): address plus size must not wrap round to where the heap is."""


def faults(name: str, kind: Fault, *operands: int, **state: Any) -> Any:
    """A case that faults; ``state`` is what it meets, as ``machine`` takes it."""
    title = f"{name} {kind.value} {state.get('r', '')}{operands}".replace(" ", "")
    return pytest.param(Case(name, operands, state), kind, id=title[:70])


JUMPS = [
    *[faults("JMP", Fault.BAD_JUMP, 1, r={1: to}) for to in NOWHERE],
    # JMPF and JMPB count from two bytes into the instruction, so a multiple of 4 lands between instructions.
    *[faults("JMPF", Fault.BAD_JUMP, 1, r={1: r}) for r in (0, 4, -4, 3, -14, 14, MIN, MAX)],
    *[faults("JMPB", Fault.BAD_JUMP, 1, r={1: r}) for r in (0, 4, -4, 3, 14, -14, MIN, MAX)],
    *[faults("JMPE", Fault.BAD_JUMP, 1, r={1: to}, equal_flag=1) for to in NOWHERE],
    *[faults("DJMPE", Fault.BAD_JUMP, to, equal_flag=1) for to in NOWHERE if 0 <= to < 1 << 24],
    *[faults("DJMPN", Fault.BAD_JUMP, to) for to in NOWHERE if 0 <= to < 1 << 24],
    *[faults("LOOP", Fault.BAD_JUMP, to, loop_counter=2) for to in NOWHERE if 0 <= to < 1 << 24],
    *[faults("CALL", Fault.BAD_JUMP, to) for to in NOWHERE if 0 <= to < 1 << 24],
    *[faults("RET", Fault.BAD_JUMP, stack=(to, 0), bp=2) for to in NOWHERE],
    # The low 16 bits alone would be an instruction's address.
    faults("DJMPE", Fault.BAD_JUMP, START | 0x10000, equal_flag=1),
    faults("CALL", Fault.BAD_JUMP, START | 0x10000),
    faults("DJMPN", Fault.BAD_JUMP, HEADER + FAR - WORD, read_only=bytes(FAR)),
]

STACK = [
    faults("PUSH", Fault.STACK_OVERFLOW, 1, stack=(1, 2), limits=Limits(stack=2)),
    faults("PUSH", Fault.STACK_OVERFLOW, 1, limits=Limits(stack=0)),
    faults("CALL", Fault.STACK_OVERFLOW, START, stack=(1,), limits=Limits(stack=2)),
    faults("CALL", Fault.STACK_OVERFLOW, START, stack=(1, 2), limits=Limits(stack=2)),
    faults("POP", Fault.STACK_UNDERFLOW, 1),
    faults("RET", Fault.STACK_UNDERFLOW),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0)),  # in the outermost frame
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0), bp=1),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0), bp=3),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST,), bp=2),  # the callee popped its own frame
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0), bp=-1),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0), bp=MIN),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(LAST, 0), bp=MAX),
]

HEAP = [
    *[
        faults(name, Fault.HEAP_BOUNDS, *operands, r={1: at, 2: 7})
        for name, size in (("LOADM", 4), ("SETM", 4), ("LOADB", 1), ("SETB", 1), ("LOADMF64", 8), ("SETMF64", 8))
        for operands in ((1, 2),)
        for at in (HEAP_START - size + 1, HEAP_START, MAX, *NEGATIVE)
    ],
    # The last byte of a heap that has grown, not of the one it started with.
    faults("LOADM", Fault.HEAP_BOUNDS, 1, 2, r={1: 97}, heap_size=100),
    *[faults("ALOC", Fault.BAD_ALLOCATION, 1, r={1: size}) for size in (-1, MIN, MAX)],
    faults("ALOC", Fault.BAD_ALLOCATION, 1, r={1: HEAP_LIMIT - HEAP_START + 1}),
    faults("ALOC", Fault.BAD_ALLOCATION, 1, r={1: 37}, limits=Limits(heap=100)),
    faults("ALOC", Fault.BAD_ALLOCATION, 1, r={1: 1}, limits=Limits(heap=100), heap_size=100),
]

READ_ONLY = [
    faults("LOADC", Fault.READ_ONLY_BOUNDS, 1, 0),
    faults("LOADC", Fault.READ_ONLY_BOUNDS, 1, 1, read_only=bytes(4)),
    faults("LOADC", Fault.READ_ONLY_BOUNDS, 1, 0xFFFF, read_only=bytes(4)),
    faults("LOADCF64", Fault.READ_ONLY_BOUNDS, 1, 0, read_only=bytes(7)),
    faults("LOADCF64", Fault.READ_ONLY_BOUNDS, 1, 0xFFFF, read_only=bytes(8)),
    *[faults("LOADRO", Fault.READ_ONLY_BOUNDS, 1, 2, r={1: at}, read_only=bytes(8)) for at in (5, 8, *NEGATIVE)],
    *[faults("LOADROB", Fault.READ_ONLY_BOUNDS, 1, 2, r={1: at}, read_only=bytes(8)) for at in (8, *NEGATIVE)],
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0, read_only=b"unterminated"),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 6, read_only=b"Hello\0"),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0xFFFFFF, read_only=b"Hello\0"),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0x10000, read_only=b"Hello\0"),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0, read_only=65537 * b"x" + b"\0"),
    faults("PRTS", Fault.BAD_STRING, 0, read_only=b"\xff\0"),
    faults("PRTS", Fault.BAD_STRING, 1, read_only="ä\0".encode()),
    faults("PRTS", Fault.BAD_STRING, 0, read_only=b"\xed\xa0\x80\0"),  # a surrogate
    faults("PRTS", Fault.BAD_STRING, 0, read_only=b"\xc0\xaf\0"),  # an overlong slash
    *[faults("PRTC", Fault.BAD_STRING, 1, r={1: n}) for n in (-1, MIN, 0xD800, 0xDFFF, 0x110000, MAX)],
]

DIVISION = [faults("DIV", Fault.DIVISION_BY_ZERO, 1, 2, 3, r={1: a, 3: 5}, remainder=4) for a in (1, 0, -1, MIN)]

# Where a word is wrong in two ways, the fault is the one that the row names first.
FIRST = [
    faults("CALL", Fault.STACK_OVERFLOW, 0, limits=Limits(stack=1)),
    faults("RET", Fault.STACK_UNDERFLOW, stack=(0, 0), bp=9),
    faults("PRTS", Fault.READ_ONLY_BOUNDS, 0, read_only=b"\xff\xff"),
    faults("DIV", Fault.BAD_REGISTER, 1, 2, 32),
    faults("SETM", Fault.BAD_REGISTER, 1, 99, r={1: -1}),
]

# None of these needs a scheduler: what is wrong is seen first.
PROCESSES = [
    *[faults("SPAWN", Fault.BAD_JUMP, 1, 2, r={1: to, 2: 9}) for to in NOWHERE],
    *[faults("SPAWNON", Fault.BAD_JUMP, 1, 2, 3, r={1: to, 2: -1, 3: 9}) for to in NOWHERE],
    faults("SPAWNON", Fault.BAD_JUMP, 1, 2, 3, r={1: 0, 2: 99}),  # the address comes first
    faults("SPAWNON", Fault.READ_ONLY_BOUNDS, 1, 2, 3, r={1: HEADER + 5, 2: 5}, read_only=b"node\0"),
    faults("SPAWNON", Fault.READ_ONLY_BOUNDS, 1, 2, 3, r={1: HEADER + 4}, read_only=b"node"),
    faults("SPAWNON", Fault.BAD_STRING, 1, 2, 3, r={1: HEADER + 4}, read_only=b"\xff\xff\xff\0"),
    *[
        faults("SENDM", Fault.HEAP_BOUNDS, 1, 2, 3, r={1: 7, 2: at, 3: size})
        for at, size in [(0, 65), (64, 1), (1, 64), (0, -1), (-1, 1), (-1, 2), (MIN, 1), (MAX, MAX), (-8, 16)]
    ],
    *[
        faults(name, kind, 1, *more, r={1: at}, read_only=data)
        for name, more in (("REGISTER", ()), ("WHEREIS", (2,)))
        for kind, at, data in [
            (Fault.READ_ONLY_BOUNDS, 0, b""),
            (Fault.READ_ONLY_BOUNDS, 0, b"name"),
            (Fault.READ_ONLY_BOUNDS, 5, b"name\0"),
            (Fault.READ_ONLY_BOUNDS, -1, b"name\0"),
            (Fault.BAD_STRING, 0, b"\xff\0"),
        ]
    ],
]

NAMED = [*JUMPS, *STACK, *HEAP, *READ_ONLY, *DIVISION, *PROCESSES]

ELSEWHERE = {("RECVM", Fault.HEAP_BOUNDS)}
"""Raised only where there is a message: see ``test_vm_processes``."""


def bad_registers() -> list[Any]:
    """A case for every register operand of every instruction, with the flag clear and set."""
    cases = []
    for row in INSTRUCTIONS:
        for at, kind in enumerate(row.operands):
            for number in (REGISTERS, 0xFF) if kind.register else ():
                operands = [1] * len(row.operands)
                operands[at] = number
                for flag in (0, 1):  # also where JMPE would not jump
                    state = {"equal_flag": flag, "r": {1: START}, "read_only": bytes(16)}
                    title = f"{row.name}-{at}-{number}-{flag}"
                    cases.append(
                        pytest.param(Case(row.name, tuple(operands), state), Fault.BAD_REGISTER, id=title)
                    )
    return cases


BAD_REGISTERS = bad_registers()


def assert_faults(engine: Any, vm: VM, kind: Fault) -> None:
    """Run a machine whose next instruction faults, and look for any other effect that it has."""
    vm.output.append(Tag.CHARACTER, ord("|"))
    before = snapshot(vm)
    assert engine(vm, 5) == (Stop.FAULT, 5)
    assert snapshot(vm) == before
    assert vm.output.take() == "|"
    assert (vm.record.stop, vm.record.fault, vm.record.waiting) == (Stop.FAULT, kind.number, 0)
    assert vm.record.instructions == 0
    crash = vm.crash
    assert crash is not None
    assert (crash.kind, crash.pc) == (kind, before["pc"])
    assert crash.line == (LINE if vm.program.image.lines else None)
    assert crash.message.isprintable()
    assert crash.message
    assert f"pc {crash.pc}" in str(crash)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("case", "kind"), [*NAMED, *FIRST, *BAD_REGISTERS])
def test_fault(engine: Any, case: Case, kind: Fault) -> None:
    """Protects that a fault is the right one, changes nothing, is not counted, and stays on its instruction."""
    vm = case.machine()
    # Distinctive values where the case says nothing: what a fault wrongly writes must not go unseen.
    for number in range(4, REGISTERS):
        vm.record.registers[number] = -1000 - number
        vm.record.float_registers[number] = number + 0.5
    vm.record.stop_code = 77
    assert_faults(engine, vm, kind)
    crash = vm.crash
    assert crash is not None
    assert case.name in crash.message


def test_every_fault_of_every_row_has_a_case() -> None:
    """Protects the table: a fault that a row names is one that the instruction is seen to raise, and no other."""
    named = {(row.name, kind) for row in INSTRUCTIONS for kind in row.faults}
    assert {(case.name, kind) for case, kind in (parameters.values for parameters in NAMED)} == named - ELSEWHERE


def test_every_register_operand_has_a_case() -> None:
    """Protects the check of register numbers, operand by operand."""
    tested = set()
    for parameters in BAD_REGISTERS:
        case = parameters.values[0]
        tested |= {(case.name, at) for at, value in enumerate(case.operands) if value >= REGISTERS}
    assert tested == {
        (row.name, at) for row in INSTRUCTIONS for at, kind in enumerate(row.operands) if kind.register
    }


def test_every_kind_of_fault_is_raised_by_something() -> None:
    """Protects the list of faults from one that nothing raises."""
    raised = {parameters.values[1] for parameters in [*NAMED, *BAD_REGISTERS]}
    assert raised | {Fault.ILLEGAL_OPCODE} == set(Fault)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", [0, 1])
def test_illegal_opcodes(engine: Any, version: int) -> None:
    """Protects the border of the instruction set, which in a version 0 image is the original's."""
    legal = {row.opcode for row in INSTRUCTIONS if row.version <= version}
    illegal = sorted(set(range(256)) - legal)
    assert illegal[-1] == 255
    for opcode in illegal:
        vm = machine(bytes((opcode, 1, 2, 3)), version=version)
        assert_faults(engine, vm, Fault.ILLEGAL_OPCODE)
        assert vm.crash is not None
        assert str(opcode) in vm.crash.message


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", [row for row in INSTRUCTIONS if row.version == 0], ids=lambda row: row.name)
def test_the_original_opcodes_are_legal_in_version_0(engine: Any, row: Any) -> None:
    """Protects the images that the original's assembler wrote."""
    assert row == BY_OPCODE[row.opcode]
    operands = [START if kind.label == "code" else 1 for kind in row.operands]
    vm = machine(row.encode(*operands), version=0, r={1: 6}, read_only=bytes(4), stack=(START + 4, 0), bp=2)
    engine(vm, 1)
    assert vm.record.fault in (0, Fault.BAD_JUMP.number)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("code", [b"", BY_NAME["NOP"].encode()], ids=["no code", "one instruction"])
def test_running_past_the_last_instruction(engine: Any, code: bytes) -> None:
    """Protects the end of the code: pc stands after the last instruction and the program has crashed."""
    vm = VM(Program(Image(code, version=1, lines=LineTable("f", (1,) * (len(code) // WORD)))))
    assert engine(vm, 10) == (Stop.FAULT, 10 - len(code) // WORD)
    assert (vm.record.pc, vm.record.instructions) == (HEADER + len(code), len(code) // WORD)
    crash = vm.crash
    assert crash is not None
    assert (crash.kind, crash.line) == (Fault.BAD_JUMP, None)
    assert "past its last instruction" in crash.message


@pytest.mark.parametrize("engine", ENGINES)
def test_a_crash_without_a_line_table_tells_the_address(engine: Any) -> None:
    """Protects the message of an image that was assembled without line numbers."""
    vm = VM(Program(Image(BY_NAME["POP"].encode(1))))
    engine(vm, 1)
    crash = vm.crash
    assert crash is not None
    assert (crash.line, crash.pc) == (None, START)
    assert str(crash) == "stack-underflow at pc 68: POP finds the stack empty"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case("DIV", (1, 2, 3), {"r": {1: 9}}), ("9", "$2")),
        (Case("JMP", (1,), {"r": {1: 70}}), ("70", str(START), str(LAST))),
        (Case("JMPF", (1,), {"r": {1: 4}}), (str(HERE + 6),)),
        (Case("JMPB", (1,), {"r": {1: 4}}), (str(HERE - 2),)),
        (Case("JMPF", (1,), {"r": {1: MAX}}), (str(MIN + HERE + 1),)),
        (Case("CALL", (70,), {}), ("70",)),
        (Case("RET", (), {"stack": (71, 0), "bp": 2}), ("71",)),
        (Case("RET", (), {"stack": (71,), "bp": 5}), ("bp is 5", "sp is 1")),
        (Case("LOADM", (1, 2), {"r": {1: -4}}), (str(2**32 - 4), str(HEAP_START))),
        (Case("ALOC", (1,), {"r": {1: -3}}), ("-3", str(HEAP_LIMIT))),
        (Case("PUSH", (1,), {"stack": (1, 2), "limits": Limits(stack=2)}), ("2 words", "most is 2")),
        (Case("LOADC", (1, 9), {"read_only": bytes(5)}), ("9", "5 bytes")),
        (Case("LOADRO", (1, 2), {"r": {1: 6}, "read_only": bytes(5)}), ("6", "5 bytes")),
        (Case("PRTS", (1,), {"read_only": b"abc"}), ("NUL", "1")),
        (Case("PRTS", (1,), {"read_only": b"a\xff\0"}), ("UTF-8", "1")),
        (Case("PRTC", (1,), {"r": {1: 0xD800}}), (str(0xD800),)),
        (Case("SENDM", (1, 2, 3), {"r": {1: 700, 2: 60, 3: 9}}), ("9 bytes from heap address 60", "has 64")),
        (
            Case("SPAWNON", (1, 2, 3), {"r": {1: HEADER + 5, 2: 7}, "read_only": b"node\0"}),
            ("reaches read-only offset 7", "5 bytes"),
        ),
        (Case("SPAWNON", (1, 2, 3), {"r": {1: HEADER + 3, 2: 1}, "read_only": b"a\xff\0"}), ("name", "offset 1 ")),
        (Case("REGISTER", (9,), {"r": {9: 1}, "read_only": b"a\xff\0"}), ("name", "offset 1 ", "UTF-8")),
        (Case("WHEREIS", (9, 2), {"r": {9: 1}, "read_only": b"a\xff\0"}), ("name", "offset 1 ", "UTF-8")),
        *(
            (Case(name, (9, *more), {"r": {9: 1}, "read_only": b"name"}), ("no NUL within 3 bytes", "offset 1"))
            for name, more in (("REGISTER", ()), ("WHEREIS", (2,)))
        ),
        (Case("NOT", (1, 200), {}), ("$200", "$31")),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_crash_tells_the_values(engine: Any, case: Case, words: tuple[str, ...]) -> None:
    """Protects that the message of a crash has what a person needs to find the mistake."""
    vm = case.machine()
    engine(vm, 1)
    assert vm.crash is not None
    for word in words:
        assert word in vm.crash.message


@pytest.mark.parametrize("engine", ENGINES)
def test_endless_recursion_ends_at_the_limit_of_the_stack(engine: Any) -> None:
    """Protects the node from a program that calls itself for ever: 524 288 words and not one more."""
    vm = VM(Program(Image(BY_NAME["CALL"].encode(START))))
    turn = engine(vm, STACK_WORDS)
    assert (STACK_WORDS, turn.stop) == (524_288, Stop.FAULT)
    assert vm.record.instructions == STACK_WORDS // 2
    assert (vm.record.sp, vm.record.bp) == (STACK_WORDS, STACK_WORDS)
    assert vm.crash is not None
    assert vm.crash.kind is Fault.STACK_OVERFLOW
    assert vm.stack_words()[:4] == [START + WORD, 0, START + WORD, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_pushing_for_ever_ends_at_the_limit_of_the_stack(engine: Any) -> None:
    """Protects the same limit where it is reached one word at a time."""
    code = BY_NAME["PUSH"].encode(0) + BY_NAME["JMP"].encode(1)
    vm = VM(Program(Image(code)), Limits(stack=1001))
    vm.record.registers[1] = START
    assert engine(vm, 10_000).stop == Stop.FAULT
    assert (vm.record.sp, vm.record.pc, vm.record.instructions) == (1001, START, 2002)


@pytest.mark.parametrize("engine", ENGINES)
def test_allocating_for_ever_ends_at_the_limit_of_the_heap(engine: Any) -> None:
    """Protects the node's memory: the heap grows to its limit and the program crashes, not the node."""
    code = BY_NAME["ALOC"].encode(0) + BY_NAME["JMP"].encode(1)
    vm = VM(Program(Image(code)))
    vm.record.registers[0] = 1 << 20
    vm.record.registers[1] = START
    assert engine(vm, 10_000).stop == Stop.FAULT
    assert vm.record.heap_size == HEAP_START + 63 * (1 << 20)
    assert vm.crash is not None
    assert vm.crash.kind is Fault.BAD_ALLOCATION


@pytest.mark.parametrize("engine", ENGINES)
def test_a_crashed_program_crashes_again(engine: Any) -> None:
    """Protects a VM that is run although it crashed: pc is on the instruction, which faults as before."""
    vm = machine(BY_NAME["POP"].encode(1))
    assert engine(vm, 3) == engine(vm, 3) == (Stop.FAULT, 3)
    assert vm.record.instructions == 0
