"""A program as the native engines have it: decoded instructions, and where compiled code can be entered."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from iridium.image import legal_opcodes
from iridium.isa import BY_OPCODE, CODE, REGISTERS, WORD, Fault, Instruction
from iridium.vm.program import Program
from iridium.vm.runtime.layout import Decoded
from iridium.vm.runtime.programs import LoadedProgram

DECODED = ctypes.sizeof(Decoded)
"""Bytes of a decoded instruction."""

OPCODES = 256
"""The interpreter's pieces by opcode; behind them in the table stand those that raise each fault, then the
marker's.
"""

MARKER = OPCODES + len(Fault) + 1
"""Where in the table the piece of the marker is, which ends the interpreter's run."""

PIECES = MARKER + 1
"""How long the table is."""

LONGEST_COMPILED = 1 << 17
"""Instructions of a program beyond which it is never compiled: with so many, compiling takes half a minute, and
what is found out for it a hundred megabytes."""

_DECODED = struct.Struct("=Qi4B")
if TYPE_CHECKING:
    from iridium.vm.native.compiled import Compiled

_ADDRESS = struct.Struct("=Q")
_deciding = threading.Lock()  # who compiles a program, and whose code is entered


def decode(program: Program) -> Iterator[tuple[Instruction | None, tuple[int, ...], Fault | None]]:
    """Each instruction's row and operands, or the fault that it always raises.

    A code address becomes the index of its instruction, or -1 where there is none.
    """
    legal = legal_opcodes(program.version)
    count = len(program.code) // WORD
    known: dict[bytes, tuple[Instruction | None, tuple[int, ...], Fault | None]] = {}
    code = bytes(program.code)
    for at in range(0, len(code), WORD):
        word = code[at : at + WORD]
        found = known.get(word)
        if found is None:
            found = known[word] = _decode(word, legal, program.base, count)
        yield found


def _decode(
    word: bytes, legal: frozenset[int], base: int, count: int
) -> tuple[Instruction | None, tuple[int, ...], Fault | None]:
    if word[0] not in legal:
        return None, (), Fault.ILLEGAL_OPCODE
    row = BY_OPCODE[word[0]]
    values = []
    for kind, value in zip(row.operands, row.decode(word), strict=True):
        if kind.register and value >= REGISTERS:
            return None, (), Fault.BAD_REGISTER
        if kind is CODE:
            index, rest = divmod(value - base, WORD)
            value = index if not rest and 0 <= index < count else -1
        values.append(value)
    return row, tuple(values), None


class NativeProgram(LoadedProgram):
    """What the native engines need of a program besides.

    Args:
        program: the program.
        pieces: the addresses of the interpreter's pieces, as :func:`interpreter_ir` has them in its table.

    Attributes:
        compiled: the compiled code that VMs enter, kept in memory for as long as one may run it; None before.
        requested: whether somebody has been told to compile it.
    """

    __slots__ = ("_code", "_entries", "_pieces", "_plain", "compiled", "requested")

    def __init__(self, program: Program, pieces: list[int]) -> None:
        super().__init__(program)
        self._pieces = pieces
        decoded = b"".join(self._encode(*found) for found in decode(program))
        # A program that runs past its last instruction finds one that faults.
        decoded += _DECODED.pack(pieces[OPCODES + Fault.BAD_JUMP.number], 0, 0, 0, 0, 0)
        self._code = ctypes.create_string_buffer(decoded, len(decoded))
        self._plain = ctypes.create_string_buffer(decoded, len(decoded))
        self._entries: ctypes.Array[ctypes.c_char] | None = None
        self.compiled: Compiled | None = None
        self.requested = False
        self.record.code = ctypes.addressof(self._code)
        self.record.plain = ctypes.addressof(self._plain)

    def _encode(self, row: Instruction | None, values: tuple[int, ...], fault: Fault | None) -> bytes:
        if row is None:
            assert fault is not None
            return _DECODED.pack(self._pieces[OPCODES + fault.number], 0, 0, 0, 0, 0)
        immediate = 0
        registers = [0, 0, 0, 0]
        for at, (kind, value) in enumerate(zip(row.operands, values, strict=True)):
            if kind.width == 1:
                registers[at] = value
            else:
                immediate = value
        return _DECODED.pack(self._pieces[row.opcode], immediate, *registers)

    def request(self) -> bool:
        """Whether the caller has to compile it: nobody has been told so before, and it is not too long."""
        with _deciding:
            first, self.requested = not self.requested, True
        return first and self.record.count <= LONGEST_COMPILED

    def enter_at(self, compiled: Compiled) -> None:
        """Let VMs enter compiled code; they may be running meanwhile. What they enter already stays."""
        with _deciding:
            first = self.compiled is None
            if first:
                self.compiled = compiled
                compiled.keep()
        if not first:
            compiled.drop()
            return
        table = self._entries = ctypes.create_string_buffer(_ADDRESS.size * (self.record.count + 1))
        for index, address in compiled.entries.items():
            _ADDRESS.pack_into(table, _ADDRESS.size * index, address)
        self.record.entries = ctypes.addressof(table)
        # The marker comes last: the interpreter stops at it only to find the entry. Each is one aligned store, as
        # ctypes makes them; struct would write byte by byte, and the interpreter might jump to half an address.
        decoded = (Decoded * (self.record.count + 1)).from_buffer(self._code)
        for index in compiled.entries:
            decoded[index].lowered = self._pieces[MARKER]

    def __del__(self) -> None:
        # Nobody runs it any more: a VM that could has a reference to this object.
        if self.compiled is not None:
            self.compiled.drop()
