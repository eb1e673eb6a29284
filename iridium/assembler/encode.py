"""One statement to bytes: instructions by the rows of the table, data by its directive.

A statement is encoded without knowing where anything lies. An instruction that names a label becomes a
:class:`Reference`, whose word is made when all labels are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from iridium.assembler.findings import Mistake, shown
from iridium.assembler.operands import (
    I32_HIGH,
    I32_LOW,
    REGISTER_NUMBERS,
    U32_HIGH,
    OperandError,
    float64,
    integer,
    register,
    small_integer,
    string,
)
from iridium.isa import BY_NAME, D16, Instruction, Kind

LOAD = BY_NAME["LOAD"]
LUI = BY_NAME["LUI"]
LOADF64 = BY_NAME["LOADF64"]
LOADCF64 = BY_NAME["LOADCF64"]

POOL_ENTRY = 8
"""Bytes of a constant: one f64."""

WORD_DIRECTIVE = ".word"

ROWS: dict[str, Instruction] = {name: row for row in BY_NAME.values() for name in (row.name, row.name.lower())}
"""Rows by the spellings that most sources use; :func:`row_named` knows the others."""

_BYTES = {f"#{value}": value for value in range(256)}


class Reference(NamedTuple):
    """An instruction that names a label.

    Attributes:
        row: the instruction.
        values: its operands, with anything in the place of the label's value.
        operand: which operand the label is.
        label: the label.
    """

    row: Instruction
    values: tuple[int, ...]
    operand: int
    label: str

    @property
    def kind(self) -> Kind:
        """What the operand is that the label stands for."""
        return self.row.operands[self.operand]

    def word(self, value: int) -> bytes:
        """The instruction, once the label's value is known and found to fit."""
        values = list(self.values)
        values[self.operand] = value
        return self.row.encode(*values)

    def long_load(self, value: int) -> bytes:
        """LOAD and LUI, for a LOAD whose label has a value of more than 16 bits."""
        return _load_long(self.values[0], value)


Encoded: TypeAlias = list[bytes] | Reference
"""Whole words, or one instruction that waits for a label."""


def row_named(name: str) -> Instruction | None:
    """The row of a mnemonic in any case."""
    return ROWS.get(name) or BY_NAME.get(name.upper())


def form(row: Instruction) -> str:
    """How an instruction is written, as in ``ADDI $a #n``."""
    registers = [kind for kind in row.operands if kind.register]
    only = "f" if row.operands and row.operands[0].register == "f64" else "r"
    names = iter(only if len(registers) == 1 else "abc")
    return " ".join((row.name, *(_form_of(kind, names) for kind in row.operands)))


def _form_of(kind: Kind, names: Iterator[str]) -> str:
    if kind.register:
        return f"${next(names)}"
    return f"@{kind.label}" if kind.label else "#n"


def encode_instruction(
    row: Instruction, operands: Sequence[str], constant: Callable[[bytes], int], mistakes: list[Mistake]
) -> Encoded:
    """The words of an instruction.

    Args:
        row: its row.
        operands: as they are written.
        constant: gives the read-only offset of a constant of the pool, from its eight bytes.
        mistakes: what is wrong is added here; the result is then of no use.
    """
    if len(operands) != len(row.operands):
        mistakes.append(_miscount(row.name, len(row.operands), operands, f"write `{form(row)}`"))
        return []
    values: list[int] = []
    label = None
    for position, kind in enumerate(row.operands):
        text = operands[position]
        try:
            if kind.register:
                value = REGISTER_NUMBERS.get(text, -1)
                if value < 0:
                    value = register(text)
            elif text[0] == "@" and (kind.label or row is LOAD):
                value = 0
                label = position
            elif row is LOAD:
                value = integer(text, I32_LOW, I32_HIGH, bits=32)
            elif row is LOADF64:
                pattern = float64(text)
                small = small_integer(pattern)
                if small is None:
                    row = LOADCF64
                    value = _in_pool(text, constant(pattern))
                else:
                    value = small
            else:
                value = integer(text, kind.low, kind.high)
        except OperandError as error:
            # Of the wrong sort altogether, it is better told what the instruction looks like.
            other = "#@'" if kind.register else "$@'"
            suggestion = f"write `{form(row)}`" if text[0] in other else error.suggestion
            mistakes.append(Mistake(position + 1, error.message, suggestion, error.start, error.end))
            value = 0
        values.append(value)
    if mistakes:
        return []
    if label is not None:
        return Reference(row, tuple(values), label, operands[label][1:])
    if row is LOAD and not 0 <= values[1] <= 0xFFFF:
        long = _load_long(*values)
        return [long[:4], long[4:]]
    return [row.encode(*values)]


def _in_pool(text: str, offset: int) -> int:
    if offset > D16.high:
        raise OperandError(
            f"no room for the constant {shown(text)}: its read-only offset would be {offset}, "
            f"and {LOADCF64.name} reaches {D16.high}"
        )
    return offset


def _load_long(destination: int, value: int) -> bytes:
    return LOAD.encode(destination, value >> 16 & 0xFFFF) + LUI.encode(destination, value & 0xFFFF)


def encode_word(operands: Sequence[str], mistakes: list[Mistake]) -> list[bytes]:
    """The words of ``.word``; as :func:`encode_instruction` otherwise."""
    return _each(WORD_DIRECTIVE, operands, mistakes, lambda text: integer(text, 0, U32_HIGH).to_bytes(4, "little"))


def encode_data(name: str, operands: Sequence[str], mistakes: list[Mistake]) -> bytes:
    """What a data directive puts into the read-only section.

    Args:
        name: a key of :data:`DATA_DIRECTIVES`.
        operands, mistakes: as for :func:`encode_instruction`.
    """
    return DATA_DIRECTIVES[name](operands, mistakes)


def _bytes(operands: Sequence[str], mistakes: list[Mistake]) -> bytes:
    try:
        if operands:
            return bytes([_BYTES[text] for text in operands])
    except KeyError:
        pass
    return b"".join(_each(".byte", operands, mistakes, lambda text: bytes((integer(text, -128, 255) & 0xFF,))))


def _integers(operands: Sequence[str], mistakes: list[Mistake]) -> bytes:
    return b"".join(
        _each(
            ".integer",
            operands,
            mistakes,
            lambda text: integer(text, I32_LOW, I32_HIGH, bits=32).to_bytes(4, "little", signed=True),
        )
    )


def _floats(operands: Sequence[str], mistakes: list[Mistake]) -> bytes:
    return b"".join(_each(".float", operands, mistakes, float64))


def _asciiz(operands: Sequence[str], mistakes: list[Mistake]) -> bytes:
    if len(operands) != 1:
        mistakes.append(_miscount(".asciiz", 1, operands, "write `.asciiz 'text'`"))
        return b""
    return b"".join(_each(".asciiz", operands, mistakes, string)) + b"\0"


DATA_DIRECTIVES: dict[str, Callable[[Sequence[str], list[Mistake]], bytes]] = {
    ".asciiz": _asciiz,
    ".integer": _integers,
    ".float": _floats,
    ".byte": _bytes,
}
"""What belongs into ``.data``, and what it puts there."""


_Value = TypeVar("_Value")


def one_operand(
    name: str, operands: Sequence[str], mistakes: list[Mistake], read: Callable[[str], _Value]
) -> _Value | None:
    """The value of the only operand of a directive, or None after a mistake.

    Args:
        name: the directive.
        operands, mistakes: as for :func:`encode_instruction`.
        read: gives the value, or raises OperandError.
    """
    if len(operands) != 1:
        mistakes.append(_miscount(name, 1, operands, None))
        return None
    values = _each(name, operands, mistakes, read)
    return values[0] if values else None


def _each(
    name: str, operands: Sequence[str], mistakes: list[Mistake], read: Callable[[str], _Value]
) -> list[_Value]:
    if not operands:
        mistakes.append(Mistake(0, f"{name} needs an operand"))
    values = []
    for position, text in enumerate(operands):
        try:
            values.append(read(text))
        except OperandError as error:
            mistakes.append(Mistake(position + 1, error.message, error.suggestion, error.start, error.end))
    return values


def _miscount(name: str, wanted: int, operands: Sequence[str], suggestion: str | None) -> Mistake:
    count = f"{wanted or 'no'} operand{'' if wanted == 1 else 's'}"
    message = f"{name} takes {count}; here {'is' if len(operands) == 1 else 'are'} {len(operands) or 'none'}"
    if len(operands) < wanted:
        return Mistake(0, message, suggestion)
    return Mistake(wanted + 1, message, suggestion, last=len(operands))
