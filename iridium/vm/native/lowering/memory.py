"""The heap, the read-only section and printing."""

from __future__ import annotations

from iridium.isa import Fault
from iridium.vm.native.emit import Emitter
from iridium.vm.native.lowering.registry import lowers
from iridium.vm.output import Tag
from iridium.vm.record import Waiting

NAN = "9221120237041090560"
"""7ff8000000000000, the only NaN that is written to memory, so that memory does not tell engines apart."""


@lowers("ALOC")
def aloc(e: Emitter, size: str) -> None:
    grown = e.call("grow_heap", ("i32", size))
    e.require(e.op(f"icmp ne i32 {grown}, 0"), Fault.BAD_ALLOCATION)
    e.reload("heap", "heap_top", "heap_size")


@lowers("LOADM")
def loadm(e: Emitter, address: str) -> str:
    return e.load("i32", e.heap(address, 4), e.HEAP)


@lowers("SETM")
def setm(e: Emitter, address: str, value: str) -> None:
    e.store("i32", value, e.heap(address, 4), e.HEAP)


@lowers("LOADB")
def loadb(e: Emitter, address: str) -> str:
    byte = e.load("i8", e.heap(address, 1), e.HEAP)
    return e.op(f"zext i8 {byte} to i32")


@lowers("SETB")
def setb(e: Emitter, address: str, value: str) -> None:
    pointer = e.heap(address, 1)
    e.store("i8", e.op(f"trunc i32 {value} to i8"), pointer, e.HEAP)


@lowers("LOADMF64")
def loadmf64(e: Emitter, address: str) -> str:
    return e.load("double", e.heap(address, 8), e.HEAP)


@lowers("SETMF64")
def setmf64(e: Emitter, address: str, value: str) -> None:
    pointer = e.heap(address, 8)
    bits = e.op(f"bitcast double {value} to i64")
    is_nan = e.op(f"fcmp uno double {value}, {value}")
    e.store("i64", e.op(f"select i1 {is_nan}, i64 {NAN}, i64 {bits}"), pointer, e.HEAP)


@lowers("LOADC", "LOADRO")
def loadc(e: Emitter, offset: str) -> str:
    return e.load("i32", e.read_only(offset, 4))


@lowers("LOADCF64")
def loadcf64(e: Emitter, offset: str) -> str:
    return e.load("double", e.read_only(offset, 8))


@lowers("LOADROB")
def loadrob(e: Emitter, offset: str) -> str:
    byte = e.load("i8", e.read_only(offset, 1))
    return e.op(f"zext i8 {byte} to i32")


def _print(e: Emitter, tag: Tag, bits: str) -> None:
    printed = e.call("print_item", ("i32", str(int(tag))), ("i64", bits))
    e.wait_unless(e.op(f"icmp ne i32 {printed}, 0"), Waiting.OUTPUT_ROOM)


@lowers("PRTS")
def prts(e: Emitter, offset: str) -> None:
    # Its work is counted once it is known how long the string is.
    e.others_first(0)
    wrong = e.call("check_string", ("i32", offset))
    inside = e.op(f"icmp ne i32 {wrong}, {Fault.READ_ONLY_BOUNDS.number}")
    e.require(inside, Fault.READ_ONLY_BOUNDS)
    e.require(e.op(f"icmp eq i32 {wrong}, 0"), Fault.BAD_STRING)
    _print(e, Tag.STRING, e.wide(offset))


@lowers("PRTI")
def prti(e: Emitter, value: str) -> None:
    _print(e, Tag.INTEGER, e.op(f"sext i32 {value} to i64"))


@lowers("PRTF64")
def prtf64(e: Emitter, value: str) -> None:
    _print(e, Tag.FLOAT, e.op(f"bitcast double {value} to i64"))


@lowers("PRTC")
def prtc(e: Emitter, value: str) -> None:
    below = e.op(f"icmp ult i32 {value}, {0x110000}")
    # The surrogates are the only numbers in between that are no characters.
    from_surrogates = e.op(f"sub i32 {value}, {0xD800}")
    outside = e.op(f"icmp uge i32 {from_surrogates}, {0x800}")
    e.require(e.op(f"and i1 {below}, {outside}"), Fault.BAD_STRING)
    _print(e, Tag.CHARACTER, e.wide(value))
