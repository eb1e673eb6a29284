"""Jumps, loops, calls and the stack."""

from __future__ import annotations

from iridium.isa import Fault
from iridium.vm.native.emit import Emitter
from iridium.vm.native.lowering.registry import lowers


@lowers("NOP")
def nop(e: Emitter) -> None:
    pass


@lowers("HLT")
def hlt(e: Emitter) -> None:
    e.halt("0")


@lowers("HLTR")
def hltr(e: Emitter, code: str) -> None:
    e.halt(code)


@lowers("JMP")
def jmp(e: Emitter, address: str) -> None:
    e.jump_computed(address)


def _after_operand(e: Emitter) -> str:
    return e.op(f"add i32 {e.here()}, 2")  # the original counts from the byte after the operand


@lowers("JMPF")
def jmpf(e: Emitter, offset: str) -> None:
    e.jump_computed(e.op(f"add i32 {_after_operand(e)}, {offset}"))


@lowers("JMPB")
def jmpb(e: Emitter, offset: str) -> None:
    e.jump_computed(e.op(f"sub i32 {_after_operand(e)}, {offset}"))


@lowers("JMPE")
def jmpe(e: Emitter, address: str) -> None:
    e.jump_computed(address, condition=e.get("equal_flag"))


@lowers("DJMPE")
def djmpe(e: Emitter, target: str) -> None:
    e.jump(target, condition=e.get("equal_flag"))


@lowers("DJMPN")
def djmpn(e: Emitter, target: str) -> None:
    e.jump(target, condition=e.op(f"xor i1 {e.get('equal_flag')}, true"))


@lowers("CLOOP")
def cloop(e: Emitter, count: str) -> None:
    e.set("loop_counter", count)


@lowers("LOOP")
def loop(e: Emitter, target: str) -> None:
    counter = e.get("loop_counter")
    e.jump(
        target,
        lambda: e.set("loop_counter", e.op(f"sub i32 {counter}, 1")),
        e.op(f"icmp ne i32 {counter}, 0"),
    )


@lowers("PUSH")
def push(e: Emitter, value: str) -> None:
    e.room_on_stack(1)
    sp = e.get("sp")
    e.store("i32", value, e.stack(sp), e.STACK)
    e.set("sp", e.op(f"add i32 {sp}, 1"))


@lowers("POP")
def pop(e: Emitter) -> str:
    sp = e.get("sp")
    e.require(e.op(f"icmp ne i32 {sp}, 0"), Fault.STACK_UNDERFLOW)
    top = e.op(f"sub i32 {sp}, 1")
    e.set("sp", top)
    return e.load("i32", e.stack(top), e.STACK)


@lowers("CALL")
def call(e: Emitter, target: str) -> None:
    e.room_on_stack(2)

    def push_frame() -> None:
        sp = e.get("sp")
        e.store("i32", e.op(f"add i32 {e.here()}, 4"), e.stack(sp), e.STACK)
        e.store("i32", e.get("bp"), e.stack(e.op(f"add i32 {sp}, 1")), e.STACK)
        frame = e.op(f"add i32 {sp}, 2")
        e.set("sp", frame)
        e.set("bp", frame)

    e.jump(target, push_frame)


@lowers("RET")
def ret(e: Emitter) -> None:
    bp = e.get("bp")
    enough = e.op(f"icmp sge i32 {e.get('sp')}, {bp}")
    frame = e.op(f"icmp sge i32 {bp}, 2")
    e.require(e.op(f"and i1 {enough}, {frame}"), Fault.STACK_UNDERFLOW)
    bottom = e.op(f"sub i32 {bp}, 2")
    address = e.load("i32", e.stack(bottom), e.STACK)

    def pop_frame() -> None:
        caller = e.load("i32", e.stack(e.op(f"sub i32 {bp}, 1")), e.STACK)
        e.set("bp", caller)
        e.set("sp", bottom)

    e.jump_computed(address, pop_frame)
