"""The instruction table: consistent in itself, and its encoding is its own inverse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.assembler.reference import reference
from iridium.isa import BY_NAME, BY_OPCODE, INSTRUCTIONS, ORIGINAL_OPCODES, WORD, Fault, Instruction

DOCS = Path(__file__).parents[1] / "docs"

instructions = st.sampled_from(INSTRUCTIONS)


@st.composite
def operations(draw: st.DrawFn) -> tuple[Instruction, tuple[int, ...]]:
    """An instruction with operands in their ranges."""
    row = draw(instructions)
    return row, tuple(draw(st.integers(kind.low, kind.high)) for kind in row.operands)


def test_opcodes_and_names_are_unique() -> None:
    """Two rows with one opcode or one name would hide each other."""
    assert len(BY_NAME) == len(BY_OPCODE) == len(INSTRUCTIONS)
    assert all(row.name == row.name.upper() for row in INSTRUCTIONS)


def test_the_first_48_opcodes_are_the_originals() -> None:
    """An image of the original must mean the same here: these numbers never change."""
    names = """
        LOAD ADD SUB MUL DIV HLT JMP JMPF JMPB EQ NEQ GTE LTE LT GT JMPE NOP ALOC INC DEC DJMPE PRTS LOADF64
        ADDF64 SUBF64 MULF64 DIVF64 EQF64 NEQF64 GTF64 GTEF64 LTF64 LTEF64 SHL SHR AND OR XOR NOT LUI CLOOP
        LOOP LOADM SETM PUSH POP CALL RET
    """.split()  # noqa: SIM905 -- 48 quoted names would be harder to read
    assert [row.name for row in INSTRUCTIONS if row.version == 0] == names
    assert [BY_NAME[name].opcode for name in names] == list(range(ORIGINAL_OPCODES))


def test_operands_fit_into_a_word() -> None:
    """Opcode and operands together have at most four bytes, and only the last operand is not a register."""
    for row in INSTRUCTIONS:
        assert 1 + sum(kind.width for kind in row.operands) <= WORD, row.name
        assert all(kind.register for kind in row.operands[:-1]), row.name


def test_versions_follow_opcodes() -> None:
    """The image's version can be told from the greatest opcode."""
    assert all((row.opcode >= ORIGINAL_OPCODES) == (row.version > 0) for row in INSTRUCTIONS)


def test_faults_are_numbered_from_one() -> None:
    """The state record holds 0 for no fault, so none may have that number."""
    assert [fault.number for fault in Fault] == list(range(1, len(Fault) + 1))


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("LOAD", (1, 500), "00 01 01 f4"),
        ("ADD", (1, 2, 3), "01 01 02 03"),
        ("HLT", (), "05 00 00 00"),
        ("SHL", (1, 5), "21 01 05 00"),
        ("DJMPE", (0x123456,), "14 34 56 12"),
        ("CLOOP", (10,), "28 00 0a 00"),
        ("ADDI", (2, -2), "34 02 ff fe"),
        ("LOADCF64", (3, 8), "37 03 00 08"),
    ],
)
def test_encoding(name: str, values: tuple[int, ...], word: str) -> None:
    """The bytes of one instruction of each form, written out: the format of files that exist."""
    assert BY_NAME[name].encode(*values) == bytes.fromhex(word)


@given(operations())
@settings(deadline=None)
def test_decode_is_the_inverse_of_encode(operation: tuple[Instruction, tuple[int, ...]]) -> None:
    """No operand loses a bit or a sign on its way through a word."""
    row, values = operation
    word = row.encode(*values)
    assert len(word) == WORD
    assert BY_OPCODE[word[0]] is row
    assert row.decode(word) == values


@given(instructions, st.binary(min_size=3, max_size=3))
@settings(deadline=None)
def test_any_word_decodes_into_the_ranges_of_its_kinds(row: Instruction, rest: bytes) -> None:
    """Any word gives numbers in range; registers alone may be over 31, which is a fault of the program."""
    for kind, value in zip(row.operands, row.decode(bytes((row.opcode,)) + rest), strict=True):
        assert kind.low <= value <= (0xFF if kind.register else kind.high)


def test_the_reference_is_in_step() -> None:
    """docs/isa.md is what the table says now; write it anew with the command that it names."""
    assert (DOCS / "isa.md").read_text(encoding="utf-8") == reference()


def test_the_reference_can_be_written() -> None:
    """The command in docs/isa.md prints that page."""
    command = [sys.executable, "-m", "iridium.assembler.reference"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=DOCS.parent)
    assert done.stdout.decode("utf-8") == reference()


def test_the_reference_names_every_instruction_and_fault() -> None:
    """Nothing that the table has is missing from the page."""
    text = reference()
    assert all(f"| {row.opcode} | `{row.name}" in text for row in INSTRUCTIONS)
    assert all(f"| {fault.value} |" in text for fault in Fault)
