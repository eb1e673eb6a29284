"""What the heap, the read-only section and printing do."""

from __future__ import annotations

import math
import struct

from iridium.isa import Fault
from iridium.vm.output import Tag, is_character, read_string
from iridium.vm.runtime.turns import SCANNED
from iridium.vm.semantics.scratch import Scratch, Step, Trap, does

_read_i32 = struct.Struct("<i").unpack_from
_write_i32 = struct.Struct("<i").pack_into
_read_f64 = struct.Struct("<d").unpack_from
_write_f64 = struct.Struct("<d").pack_into


@does("ALOC")
def aloc(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        size = r[a]
        if size < 0 or s.heap_size + size > s.heap_limit:
            raise Trap(Fault.BAD_ALLOCATION)
        s.heap_size += size
        return k

    return step


@does("LOADM")
def loadm(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        at = s.heap_at(r[a], 4)
        r[b] = _read_i32(s.heap, at)[0]  # type: ignore[arg-type]  # heap_at mapped it
        return k

    return step


@does("SETM")
def setm(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        at = s.heap_at(r[a], 4)
        _write_i32(s.heap, at, r[b])  # type: ignore[arg-type]
        return k

    return step


@does("LOADB")
def loadb(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        at = s.heap_at(r[a], 1)
        r[b] = s.heap[at]  # type: ignore[index]
        return k

    return step


@does("SETB")
def setb(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        at = s.heap_at(r[a], 1)
        s.heap[at] = r[b] & 0xFF  # type: ignore[index]
        return k

    return step


@does("LOADMF64")
def loadmf64(s: Scratch, k: int, a: int, b: int) -> Step:
    r, f = s.registers, s.floats

    def step() -> int:
        at = s.heap_at(r[a], 8)
        f[b] = _read_f64(s.heap, at)[0]  # type: ignore[arg-type]
        return k

    return step


@does("SETMF64")
def setmf64(s: Scratch, k: int, a: int, b: int) -> Step:
    r, f = s.registers, s.floats

    def step() -> int:
        at = s.heap_at(r[a], 8)
        value = f[b]
        # Every NaN is written with the same bits, so that memory does not tell engines apart.
        _write_f64(s.heap, at, value if value == value else math.nan)  # type: ignore[arg-type]
        return k

    return step


@does("LOADC")
def loadc(s: Scratch, k: int, a: int, offset: int) -> Step:
    r = s.registers

    def step() -> int:
        r[a] = _read_i32(s.read_only, s.read_only_at(offset, 4))[0]
        return k

    return step


@does("LOADCF64")
def loadcf64(s: Scratch, k: int, a: int, offset: int) -> Step:
    f = s.floats

    def step() -> int:
        f[a] = _read_f64(s.read_only, s.read_only_at(offset, 8))[0]
        return k

    return step


@does("LOADRO")
def loadro(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        r[b] = _read_i32(s.read_only, s.read_only_at(r[a], 4))[0]
        return k

    return step


@does("LOADROB")
def loadrob(s: Scratch, k: int, a: int, b: int) -> Step:
    r = s.registers

    def step() -> int:
        r[b] = s.read_only[s.read_only_at(r[a], 1)]
        return k

    return step


@does("PRTS")
def prts(s: Scratch, k: int, offset: int) -> Step:
    def step() -> int:
        string = read_string(s.read_only, offset)
        if isinstance(string, Fault):
            raise Trap(string)
        s.others_first(SCANNED * len(string))
        s.write(Tag.STRING, offset)
        return k

    return step


@does("PRTI")
def prti(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        s.write(Tag.INTEGER, r[a])
        return k

    return step


@does("PRTF64")
def prtf64(s: Scratch, k: int, a: int) -> Step:
    f = s.floats

    def step() -> int:
        s.write(Tag.FLOAT, f[a])
        return k

    return step


@does("PRTC")
def prtc(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        if not is_character(r[a]):
            raise Trap(Fault.BAD_STRING)
        s.write(Tag.CHARACTER, r[a])
        return k

    return step
