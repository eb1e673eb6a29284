"""The instruction set: the only list of instructions.

The assembler, the disassembler, every engine, completion in the shell and ``docs/isa.md`` are derived from
:data:`INSTRUCTIONS`. What an instruction *does* stands in the engines; here is what it is called, how its
operands lie in the word, which faults it can raise, and one line of semantics.

An instruction is a word of four bytes::

    byte 0   byte 1   byte 2   byte 3
    opcode   a        b        c
             r        r        r          one byte a register (0..31) or a shift count
             r        hi       lo         a 16-bit immediate is big-endian
             mid      lo       hi         a 24-bit address or count: c, zero in version 0, is the high byte

Operands take bytes from ``a`` on, in the order they are written. Bytes that no operand takes are ignored when a
program runs and zero when one is assembled.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

REGISTERS = 32
"""How many i32 and how many f64 registers there are: what the original has, and a register fits in 5 bits."""

WORD = 4
"""Bytes of an instruction."""


class Fault(enum.Enum):
    """Why a program can crash. A faulting instruction changes nothing, is not counted, and pc stays on it."""

    ILLEGAL_OPCODE = "illegal-opcode"
    BAD_REGISTER = "bad-register"
    BAD_JUMP = "bad-jump"
    HEAP_BOUNDS = "heap-bounds"
    STACK_OVERFLOW = "stack-overflow"
    STACK_UNDERFLOW = "stack-underflow"
    DIVISION_BY_ZERO = "division-by-zero"
    BAD_ALLOCATION = "bad-allocation"
    READ_ONLY_BOUNDS = "read-only-bounds"
    BAD_STRING = "bad-string"

    @property
    def number(self) -> int:
        """The fault as the state record holds it: from 1, in the order above; 0 is no fault."""
        return list(Fault).index(self) + 1


class Kind(NamedTuple):
    """What an operand is.

    Attributes:
        name: as the reference prints it.
        width: bytes it takes in the word: 1, 2 or 3.
        low, high: the values it may have, both included.
        register: the register file it names ("i32" or "f64"), or "" for a number.
        reads, writes: whether the instruction reads and writes that register.
        label: the labels it accepts ("code" or "data"), or "" for none.
    """

    name: str
    width: int
    low: int
    high: int
    register: str = ""
    reads: bool = False
    writes: bool = False
    label: str = ""


def _register(name: str, file: str, *, reads: bool = False, writes: bool = False) -> Kind:
    return Kind(name, 1, 0, REGISTERS - 1, file, reads, writes)


R = _register("register", "i32", reads=True)
W = _register("register, written", "i32", writes=True)
RW = _register("register, read and written", "i32", reads=True, writes=True)
FR = _register("float register", "f64", reads=True)
FW = _register("float register, written", "f64", writes=True)
U16 = Kind("imm16", 2, 0, 0xFFFF)
S16 = Kind("imm16, signed", 2, -0x8000, 0x7FFF)
D16 = Kind("read-only offset, 16 bits", 2, 0, 0xFFFF, label="data")
SHIFT = Kind("shift count", 1, 0, 0xFF)
CODE = Kind("code address, 24 bits", 3, 0, 0xFFFFFF, label="code")
DATA = Kind("read-only offset, 24 bits", 3, 0, 0xFFFFFF, label="data")
COUNT = Kind("count, 24 bits", 3, 0, 0xFFFFFF)


class Instruction(NamedTuple):
    """One row of the table.

    Attributes:
        opcode: the first byte of the word.
        name: the mnemonic, in capitals.
        operands: what follows it, in source order and in byte order.
        semantics: one line for people; ``r`` is the only register, ``a b c`` are the operands in order.
        faults: the faults it can raise, in the order it checks for them, besides bad-register.
        version: the image version that introduced it.
        leaves: whether control may go elsewhere than to the next instruction.
    """

    opcode: int
    name: str
    operands: tuple[Kind, ...]
    semantics: str
    faults: tuple[Fault, ...] = ()
    version: int = 0
    leaves: bool = False

    def decode(self, word: bytes | bytearray) -> tuple[int, ...]:
        """The operand values of a word of this instruction, in order; registers are not checked.

        Args:
            word: four bytes; the opcode is not looked at.
        """
        values = []
        at = 1
        for kind in self.operands:
            if kind.width == 1:
                value = word[at]
            elif kind.width == 2:
                value = word[at] << 8 | word[at + 1]
                if value > kind.high:
                    value -= 0x10000
            else:
                value = word[at + 2] << 16 | word[at] << 8 | word[at + 1]
            values.append(value)
            at += kind.width
        return tuple(values)

    def encode(self, *values: int) -> bytes:
        """The word of this instruction with these operands.

        Args:
            values: one for each operand, each within its kind's low and high.
        """
        word = bytearray((self.opcode,))
        for kind, value in zip(self.operands, values, strict=True):
            if kind.width == 1:
                word.append(value)
            elif kind.width == 2:
                word += (value & 0xFFFF).to_bytes(2, "big")
            else:
                word += bytes((value >> 8 & 0xFF, value & 0xFF, value >> 16))
        return bytes(word.ljust(WORD, b"\0"))


_DIVISION = (Fault.DIVISION_BY_ZERO,)
_JUMP = (Fault.BAD_JUMP,)
_HEAP = (Fault.HEAP_BOUNDS,)
_DATA = (Fault.READ_ONLY_BOUNDS,)

INSTRUCTIONS: tuple[Instruction, ...] = (
    # The original's 48.
    Instruction(0, "LOAD", (W, U16), "r = imm16, zero-extended"),
    Instruction(1, "ADD", (R, R, W), "c = a + b, wrapping"),
    Instruction(2, "SUB", (R, R, W), "c = a - b, wrapping"),
    Instruction(3, "MUL", (R, R, W), "c = a * b, wrapping"),
    Instruction(
        4,
        "DIV",
        (R, R, W),
        "c = a / b, truncating; remainder takes the sign of a; MIN / -1 is MIN, remainder 0",
        _DIVISION,
    ),
    Instruction(5, "HLT", (), "stop with code 0", leaves=True),
    Instruction(6, "JMP", (R,), "pc = r", _JUMP, leaves=True),
    Instruction(7, "JMPF", (R,), "pc = pc of this instruction + 2 + r, wrapping", _JUMP, leaves=True),
    Instruction(8, "JMPB", (R,), "pc = pc of this instruction + 2 - r, wrapping", _JUMP, leaves=True),
    Instruction(9, "EQ", (R, R), "equal_flag = a == b"),
    Instruction(10, "NEQ", (R, R), "equal_flag = a != b"),
    Instruction(11, "GTE", (R, R), "equal_flag = a >= b, signed"),
    Instruction(12, "LTE", (R, R), "equal_flag = a <= b, signed"),
    Instruction(13, "LT", (R, R), "equal_flag = a < b, signed"),
    Instruction(14, "GT", (R, R), "equal_flag = a > b, signed"),
    Instruction(15, "JMPE", (R,), "if equal_flag, pc = r", _JUMP, leaves=True),
    Instruction(16, "NOP", (), "nothing"),
    Instruction(17, "ALOC", (R,), "grow the heap by r zero bytes", (Fault.BAD_ALLOCATION,)),
    Instruction(18, "INC", (RW,), "r = r + 1, wrapping"),
    Instruction(19, "DEC", (RW,), "r = r - 1, wrapping"),
    Instruction(20, "DJMPE", (CODE,), "if equal_flag, pc = address", _JUMP, leaves=True),
    Instruction(
        21,
        "PRTS",
        (DATA,),
        "print the NUL-terminated UTF-8 string at that offset, at most 64 KiB",
        (Fault.READ_ONLY_BOUNDS, Fault.BAD_STRING),
    ),
    Instruction(22, "LOADF64", (FW, U16), "f = imm16"),
    Instruction(23, "ADDF64", (FR, FR, FW), "c = a + b, IEEE 754"),
    Instruction(24, "SUBF64", (FR, FR, FW), "c = a - b, IEEE 754"),
    Instruction(25, "MULF64", (FR, FR, FW), "c = a * b, IEEE 754"),
    Instruction(26, "DIVF64", (FR, FR, FW), "c = a / b, IEEE 754"),
    Instruction(27, "EQF64", (FR, FR), "equal_flag = abs(a - b) < 2.220446049250313e-16"),
    Instruction(28, "NEQF64", (FR, FR), "equal_flag = abs(a - b) > 2.220446049250313e-16"),
    Instruction(29, "GTF64", (FR, FR), "equal_flag = a > b"),
    Instruction(30, "GTEF64", (FR, FR), "equal_flag = a >= b"),
    Instruction(31, "LTF64", (FR, FR), "equal_flag = a < b"),
    Instruction(32, "LTEF64", (FR, FR), "equal_flag = a <= b"),
    Instruction(33, "SHL", (RW, SHIFT), "r = r << n mod 32; n = 0 means 16"),
    Instruction(34, "SHR", (RW, SHIFT), "r = r >> n mod 32, arithmetic; n = 0 means 16"),
    Instruction(35, "AND", (R, R, W), "c = a & b"),
    Instruction(36, "OR", (R, R, W), "c = a | b"),
    Instruction(37, "XOR", (R, R, W), "c = a ^ b"),
    Instruction(38, "NOT", (R, W), "b = ~a"),
    Instruction(39, "LUI", (RW, U16), "r = r << 16 | imm16"),
    Instruction(40, "CLOOP", (COUNT,), "loop_counter = n"),
    Instruction(
        41,
        "LOOP",
        (CODE,),
        "if loop_counter is not 0: decrement it and pc = address",
        _JUMP,
        leaves=True,
    ),
    Instruction(42, "LOADM", (R, W), "b = the i32 at heap[a], a as u32", _HEAP),
    Instruction(43, "SETM", (R, R), "the i32 at heap[a] = b, a as u32", _HEAP),
    Instruction(44, "PUSH", (R,), "push r", (Fault.STACK_OVERFLOW,)),
    Instruction(45, "POP", (W,), "pop r; may go below bp", (Fault.STACK_UNDERFLOW,)),
    Instruction(
        46,
        "CALL",
        (CODE,),
        "push the address of the next instruction, push bp, bp = sp, pc = address",
        (Fault.STACK_OVERFLOW, Fault.BAD_JUMP),
        leaves=True,
    ),
    Instruction(
        47,
        "RET",
        (),
        "unless 2 <= bp <= sp: fault; sp = bp, pop bp, pop pc",
        (Fault.STACK_UNDERFLOW, Fault.BAD_JUMP),
        leaves=True,
    ),
    # Version 1.
    Instruction(48, "MOV", (R, W), "b = a", version=1),
    Instruction(49, "MOVF64", (FR, FW), "b = a", version=1),
    Instruction(50, "ITOF", (R, FW), "b = a as f64", version=1),
    Instruction(51, "FTOI", (FR, W), "b = a truncated, saturating; NaN gives 0", version=1),
    Instruction(52, "ADDI", (RW, S16), "r = r + imm16, wrapping", version=1),
    Instruction(53, "REM", (W,), "r = remainder", version=1),
    Instruction(54, "LOADC", (W, D16), "r = the i32 at that read-only offset", _DATA, 1),
    Instruction(55, "LOADCF64", (FW, D16), "f = the f64 at that read-only offset", _DATA, 1),
    Instruction(56, "LOADB", (R, W), "b = the byte at heap[a], zero-extended", _HEAP, 1),
    Instruction(57, "SETB", (R, R), "the byte at heap[a] = the low byte of b", _HEAP, 1),
    Instruction(58, "LOADMF64", (R, FW), "b = the f64 at heap[a]", _HEAP, 1),
    Instruction(59, "SETMF64", (R, FR), "the f64 at heap[a] = b; any NaN as 7ff8000000000000", _HEAP, 1),
    Instruction(60, "LOADRO", (R, W), "b = the i32 at read-only offset a, a as u32", _DATA, 1),
    Instruction(61, "LOADROB", (R, W), "b = the byte at read-only offset a, zero-extended", _DATA, 1),
    Instruction(62, "SQRTF64", (FR, FW), "b = square root of a; of a negative: NaN", version=1),
    Instruction(63, "PRTI", (R,), "print r in decimal", version=1),
    Instruction(64, "PRTF64", (FR,), "print f, shortest form that reads back; inf, -inf, nan", version=1),
    Instruction(65, "PRTC", (R,), "print the character with code point r", (Fault.BAD_STRING,), 1),
    Instruction(66, "HLTR", (R,), "stop with code r", version=1, leaves=True),
    Instruction(67, "DJMPN", (CODE,), "if not equal_flag, pc = address", _JUMP, 1, True),
    # Processes. A pid is positive; 0 is nobody. What can be refused sets equal_flag: 1 is yes.
    Instruction(80, "SELF", (W,), "r = own pid", version=1),
    Instruction(
        81, "SPAWN", (R, W), "b = pid of a new process at code address a, with these registers; or 0", _JUMP, 1
    ),
    Instruction(
        82,
        "SPAWNON",
        (R, R, W),
        "c = the same on the node with the name at read-only offset b, or of number -1 - b; or 0",
        (Fault.BAD_JUMP, Fault.READ_ONLY_BOUNDS, Fault.BAD_STRING),
        1,
    ),
    Instruction(83, "SEND", (R, R), "send the word b to process a", version=1),
    Instruction(84, "SENDP", (R, R), "send the pid b to process a", version=1),
    Instruction(85, "SENDM", (R, R, R), "send c bytes of the heap from b on to process a", _HEAP, 1),
    Instruction(
        86,
        "RECV",
        (W, W, W),
        "wait for a message: a = value, b = sender, c = kind; bytes stay for RECVM",
        version=1,
    ),
    Instruction(
        87, "RECVT", (R,), "wait for a message at most r milliseconds; equal_flag = there is one", version=1
    ),
    Instruction(
        88,
        "RECVM",
        (R, W, W),
        "wait for a message; if it is bytes: into the heap at a, b = how many, c = sender, equal_flag = 1",
        _HEAP,
        1,
    ),
    Instruction(
        89,
        "REGISTER",
        (R,),
        "take the name at read-only offset r, if nobody has it",
        (Fault.READ_ONLY_BOUNDS, Fault.BAD_STRING),
        1,
    ),
    Instruction(
        90,
        "WHEREIS",
        (R, W),
        "b = pid of the process with the name at read-only offset a, `name` or `name@node`; or 0",
        (Fault.READ_ONLY_BOUNDS, Fault.BAD_STRING),
        1,
    ),
    Instruction(91, "MONITOR", (R,), "ask for a message of kind 3 when process r ends", version=1),
    Instruction(92, "DEMONITOR", (R,), "ask no longer", version=1),
    Instruction(93, "LINK", (R,), "end when process r ends abnormally, and the other way round", version=1),
    Instruction(94, "EXIT", (R,), "end with exit reason r; 0 is normal", version=1, leaves=True),
    Instruction(95, "KILL", (R,), "end process r", version=1),
    Instruction(96, "SLEEP", (R,), "wait r milliseconds; 0 lets the others go first", version=1),
    Instruction(97, "CLOCK", (W,), "r = milliseconds of a clock that never steps, wrapping", version=1),
    Instruction(98, "NODES", (W,), "r = nodes that this one has a session with, itself included", version=1),
)

FIRST_OF_PROCESSES = 80
"""Opcodes from here on are those of processes: what they do needs a scheduler, and some of it a node."""

PROCESS_OPCODES = frozenset(row.opcode for row in INSTRUCTIONS if row.opcode >= FIRST_OF_PROCESSES)
"""The opcodes of those."""

BY_NAME: dict[str, Instruction] = {row.name: row for row in INSTRUCTIONS}
"""Instruction by mnemonic, in capitals."""

BY_OPCODE: dict[int, Instruction] = {row.opcode: row for row in INSTRUCTIONS}
"""Instruction by opcode; an opcode that is not here is illegal."""

ORIGINAL_OPCODES = 48
"""Opcodes below this are legal in a version 0 image; from here on an image must be version 1."""
