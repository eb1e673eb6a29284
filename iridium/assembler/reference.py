"""The reference of the instruction set, made from the table.

``python -m iridium.assembler.reference > docs/isa.md`` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from iridium.assembler.encode import form
from iridium.isa import INSTRUCTIONS, REGISTERS, Fault, Instruction, Kind

_FAULTS = {
    Fault.ILLEGAL_OPCODE: "The image's version has no instruction of that number.",
    Fault.BAD_REGISTER: f"A register that the instruction uses has a number over {REGISTERS - 1}.",
    Fault.BAD_JUMP: "The target is outside the code or inside an instruction; or the program ran past its last "
    "instruction. The fault is the jump's, and pc stays on it.",
    Fault.HEAP_BOUNDS: "An access to the heap reaches beyond what is allocated.",
    Fault.STACK_OVERFLOW: "The stack has no room for what is pushed.",
    Fault.STACK_UNDERFLOW: "A POP from an empty stack, or a RET without a frame to return from.",
    Fault.DIVISION_BY_ZERO: "The divisor of DIV is 0.",
    Fault.BAD_ALLOCATION: "ALOC of a negative number, or of more than the heap may have.",
    Fault.READ_ONLY_BOUNDS: "An access reaches beyond the read-only section, or a string in it does not end.",
    Fault.BAD_STRING: "What is to be printed is not UTF-8, or no character.",
}

_HEAD = """\
# Instruction set

This page is generated from the table in `iridium/isa.py`: `python -m iridium.assembler.reference > docs/isa.md`.
[assembly.md](assembly.md) describes the language, [images.md](images.md) the files.

## The machine

{registers} i32 registers `$0` to `${last}` (two's complement, wrapping), {registers} f64 registers with the same
names in the instructions for floats, `pc`, a stack of i32 words with `sp` and `bp`, a byte heap, read-only data,
`equal_flag`, `remainder` and `loop_counter`.

## Encoding

An instruction is a word of four bytes: the opcode, then the operands in the order they are written.

| byte 0 | byte 1 | byte 2 | byte 3 | |
|---|---|---|---|---|
| opcode | a | b | c | one byte for a register (0 to {last}) or a shift count |
| opcode | register | high | low | 16 bits are big-endian |
| opcode | middle | low | high | 24 bits: byte 3, zero in the original, is the high byte |

Bytes that no operand takes are ignored when a program runs, and zero when one is assembled. Code addresses are
byte offsets from the start of the image, so the first instruction is at 68 + the length of the read-only section.
"""

_TABLE_HEAD = """\
`r` or `f` is the only register, `a b c` are the registers in order; `#n` is a number, `@code` and `@data` are a
label of that kind or a number. Whatever names a register can also fault with bad-register.

| opcode | form | meaning | faults | version |
|---|---|---|---|---|
"""

_SPECIAL = """
LOAD takes any i32: the assembler makes LOAD and LUI of a number outside 0 to 65535, and of a label where the image
is larger than 64 KiB. LOADF64 takes any float: of one that is not an integer from 0 to 65535 the assembler makes
LOADCF64, with the number in the constant pool."""

_FAULT_RULE = """\
A faulting instruction changes nothing, is not counted, and pc stays on it. Opcode and registers are checked first,
whether or not a branch is taken; then the faults of the table, in its order.
"""


def reference() -> str:
    """The text of ``docs/isa.md``."""
    parts = (
        _HEAD.format(registers=REGISTERS, last=REGISTERS - 1),
        "## Operands\n",
        "| operand | bytes | values | takes a label |\n|---|---|---|---|",
        *_kinds(),
        "\n## Instructions\n",
        _TABLE_HEAD + "\n".join(_row(row) for row in INSTRUCTIONS),
        _SPECIAL,
        "\n## Faults\n",
        _FAULT_RULE,
        "| number | fault | when |\n|---|---|---|",
        *(f"| {fault.number} | {fault.value} | {_FAULTS[fault]} |" for fault in Fault),
    )
    return "\n".join(parts) + "\n"


def _kinds() -> Iterator[str]:
    """One line for each kind of operand, in the order of the table's first use of it."""
    kinds: dict[Kind, None] = {}
    for row in INSTRUCTIONS:
        kinds.update(dict.fromkeys(row.operands))
    for name, width, low, high, *_, label in kinds:
        yield f"| {name} | {width} | {low} to {high} | {label} |"


def _row(row: Instruction) -> str:
    faults = ", ".join(fault.value for fault in row.faults)
    semantics = row.semantics.replace("|", "\\|")
    return f"| {row.opcode} | `{form(row)}` | {semantics} | {faults} | {row.version} |"


if __name__ == "__main__":
    print(reference(), end="")
