"""A program that grows and is cut, as a shell session's does, and the output that a machine leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.image import Image
from iridium.isa import INSTRUCTIONS, WORD, Fault
from iridium.vm import VM, Program, Stop
from iridium.vm.memory import release, reserve, view
from iridium.vm.output import CAPACITY, LONGEST_STRING, OutputRing, Tag, is_character, read_string
from iridium.vm.record import Record
from tests.test_vm_instructions import ENGINES, NOP, START, snapshot

E = {row.name: row.encode for row in INSTRUCTIONS}


def session(code: bytes = b"") -> VM:
    """A machine on a program that can grow."""
    return VM(Program(Image(code, version=1)))


@pytest.mark.parametrize("engine", ENGINES)
def test_code_runs_on_where_it_was_appended(engine: Any) -> None:
    """Protects the session: reaching the end is a pause, and the next line goes on from there."""
    vm = session()
    assert engine(vm, 1).stop == Stop.FAULT  # the end of code, which a session takes for a pause
    for count in (1, 2, 3):
        vm.program.append(E["INC"](1))
        assert engine(vm, 10) == (Stop.FAULT, 9)
        assert vm.record.registers[1] == count
        assert vm.record.pc == vm.program.end == START + WORD * count


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("word", "state"),
    [
        (E["DJMPE"](START + 2 * WORD), {"equal_flag": 1}),
        (E["DJMPN"](START + 2 * WORD), {}),
        (E["LOOP"](START + 2 * WORD), {"loop_counter": 1}),
        (E["CALL"](START + 2 * WORD), {}),
        (E["JMP"](1), {}),
    ],
    ids=["DJMPE", "DJMPN", "LOOP", "CALL", "JMP"],
)
def test_jump_to_an_address_that_exists_only_later(engine: Any, word: bytes, state: dict[str, int]) -> None:
    """Protects a forward jump that was typed, and decoded, before its target: it faults until that is there."""
    vm = session(word)
    vm.record.registers[1] = START + 2 * WORD
    for field, value in state.items():
        setattr(vm.record, field, value)
    for _ in range(2):
        assert engine(vm, 1).stop == Stop.FAULT
        assert vm.crash is not None
        assert vm.crash.kind is Fault.BAD_JUMP
        assert vm.record.pc == START
        vm.program.append(NOP)
    vm.program.append(E["HLT"]())
    assert engine(vm, 10) == (Stop.HALTED, 7)  # the jump, the second NOP, HLT


@pytest.mark.parametrize("engine", ENGINES)
def test_cut_code_is_forgotten(engine: Any) -> None:
    """Protects a line that was taken back: what stands at its address afterwards runs, not what stood there."""
    vm = session(NOP + E["LOAD"](1, 1) + E["LOAD"](2, 1))
    assert engine(vm, 3).stop == Stop.BUDGET
    vm.program.truncate(START + WORD)
    assert vm.program.end == START + WORD
    vm.record.pc = START
    assert engine(vm, 10) == (Stop.FAULT, 9)
    assert vm.record.pc == START + WORD
    vm.program.append(E["LOAD"](1, 7))
    assert engine(vm, 10) == (Stop.FAULT, 9)
    assert (vm.record.registers[1], vm.record.registers[2]) == (7, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_jump_into_code_that_was_cut_faults_again(engine: Any) -> None:
    """Protects kept code that names an address in a line that was taken back."""
    vm = session(E["DJMPN"](START + 2 * WORD) + NOP + E["HLT"]())
    assert engine(vm, 10).stop == Stop.HALTED
    vm.program.truncate(START + 2 * WORD)
    vm.record.pc = START
    assert engine(vm, 10) == (Stop.FAULT, 10)
    assert vm.crash is not None
    assert vm.crash.kind is Fault.BAD_JUMP
    vm.program.append(E["LOAD"](5, 5) + E["HLT"]())
    assert engine(vm, 10) == (Stop.HALTED, 7)
    assert vm.record.registers[5] == 5


@pytest.mark.parametrize("engine", ENGINES)
def test_truncate_to_nothing_and_begin_again(engine: Any) -> None:
    """Protects a session's cleared program."""
    vm = session(E["LOAD"](1, 1))
    engine(vm, 1)
    vm.program.truncate(vm.program.base)
    vm.reset()
    assert engine(vm, 1) == (Stop.FAULT, 1)
    vm.program.append(E["LOAD"](1, 2))
    assert engine(vm, 1) == (Stop.BUDGET, 0)
    assert vm.record.registers[1] == 2


WORDS = st.sampled_from(
    [
        E["INC"](1),
        E["LOAD"](1, 9),
        E["PRTI"](1),
        E["DJMPN"](START),
        E["DJMPN"](START + 3 * WORD),
        E["CALL"](START + 5 * WORD),
        E["HLT"](),
        b"\xff\0\0\0",
    ]
)


@pytest.mark.parametrize("engine", ENGINES)
@given(
    edits=st.lists(st.one_of(st.lists(WORDS, max_size=4), st.integers(0, 8)), max_size=10),
    runs=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_an_edited_program_is_the_program_it_became(
    engine: Any, edits: list[list[bytes] | int], runs: bool
) -> None:
    """Protects growing and cutting in any order: the result behaves as if it had been assembled at once."""
    program = Program(Image(b"", version=1))
    for edit in edits:
        if isinstance(edit, list):
            program.append(b"".join(edit))
        else:
            program.truncate(min(program.end, START + WORD * edit))
        if runs:
            engine(VM(program), 5)
    edited, whole = VM(program), session(bytes(program.code))
    assert engine(edited, 50) == engine(whole, 50)
    assert snapshot(edited) == snapshot(whole)
    assert edited.output.take() == whole.output.take()


def test_word_at() -> None:
    """Protects what crashes and listings read: whole instructions at their addresses, and nothing elsewhere."""
    program = Program(Image(NOP + E["HLT"]()))
    assert program.word_at(START) == NOP
    assert program.word_at(START + WORD) == E["HLT"]()
    for address in (0, START - WORD, START + 1, START + 2 * WORD, -WORD):
        assert program.word_at(address) is None


def test_a_string_of_the_greatest_length() -> None:
    """Protects the limit of PRTS: 64 KiB and their NUL are a string, one byte more is none."""
    data = bytearray(b"x" * LONGEST_STRING + b"\0")
    assert read_string(data, 0) == "x" * 65536
    assert read_string(b"y" + data, 0) is Fault.READ_ONLY_BOUNDS
    assert read_string(b"y" + data, 1) == "x" * 65536


def test_characters() -> None:
    """Protects what PRTC takes: every Unicode scalar value, and so nothing that cannot be encoded."""
    for point in (0, 0xD7FF, 0xE000, 0x10FFFF):
        assert is_character(point)
        chr(point).encode()
    for point in (-1, 0xD800, 0xDFFF, 0x110000, -(2**31), 2**31 - 1):
        assert not is_character(point)


def test_the_ring_is_taken_in_pieces() -> None:
    """Protects a reader from a ring of long strings: a piece ends soon after the size asked for."""
    ring = OutputRing(Record(output_capacity=CAPACITY), b"x" * 1000 + b"\0")
    for _ in range(10):
        ring.append(Tag.STRING, 0)
    assert ring.take(1500) == "x" * 2000
    assert len(ring) == 8
    assert ring.take() == "x" * 8000
    assert ring.take() == ""


def test_the_ring_says_when_it_is_full() -> None:
    """Protects the bound of what a VM holds for a reader that never comes."""
    ring = OutputRing(Record(output_capacity=CAPACITY), b"")
    for number in range(CAPACITY):
        assert not ring.full
        ring.append(Tag.INTEGER, number)
    assert ring.full
    ring.take(1)
    assert not ring.full


@pytest.mark.parametrize("engine", ENGINES)
def test_strings_of_a_session_that_grew(engine: Any) -> None:
    """Protects read-only data that is filled in place after the program was decoded."""
    vm = VM(Program(Image(E["PRTS"](0) + E["PRTS"](4), bytes(8), version=1)))
    engine(vm, 1)
    vm.program.read_only[4:8] = b"new\0"
    engine(vm, 1)
    assert vm.output.take() == "new"


def test_a_machine_has_a_name_when_it_is_asked() -> None:
    """Protects the identity of a VM in events: one UUID, its own, the same every time."""
    one, other = session(), session()
    assert one.uuid == one.uuid != other.uuid
    assert len(one.uuid) == 36


def test_memory_that_was_never_used_reads_as_zero() -> None:
    """Protects looking at a machine from mapping the memory that it looks at."""
    vm = session()
    assert vm.heap_bytes(60, 10) == bytes(4)
    assert vm.heap_bytes(100, 10) == b""
    assert vm.stack_words() == []
    assert (vm.record.heap, vm.record.stack) == (0, 0)


def test_what_is_reserved_is_not_counted() -> None:
    """Protects starting processes from a node or a test with many tables: what is only reserved costs nothing."""
    size = 1 << 36  # 64 GiB: more than most machines have
    address = reserve(size)
    try:
        view(address + size - 1, 1)[0] = 7
    finally:
        release(address, size)
