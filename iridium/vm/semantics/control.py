"""What jumps, loops, calls and the stack do."""

from __future__ import annotations

from iridium.isa import WORD, Fault
from iridium.vm.semantics.scratch import Halt, Scratch, Step, Trap, does, wrap


@does("NOP")
def nop(s: Scratch, k: int) -> Step:
    return lambda: k


@does("HLT")
def hlt(s: Scratch, k: int) -> Step:
    def step() -> int:
        raise Halt(0)

    return step


@does("HLTR")
def hltr(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        raise Halt(r[a])

    return step


@does("JMP")
def jmp(s: Scratch, k: int, a: int) -> Step:
    r = s.registers
    return lambda: s.jump(r[a])


@does("JMPF")
def jmpf(s: Scratch, k: int, a: int) -> Step:
    r = s.registers
    here = s.base + WORD * (k - 1) + 2  # the original counts from the byte after the operand
    return lambda: s.jump(wrap(here + r[a]))


@does("JMPB")
def jmpb(s: Scratch, k: int, a: int) -> Step:
    r = s.registers
    here = s.base + WORD * (k - 1) + 2
    return lambda: s.jump(wrap(here - r[a]))


@does("JMPE")
def jmpe(s: Scratch, k: int, a: int) -> Step:
    r = s.registers
    return lambda: s.jump(r[a]) if s.equal else k


@does("DJMPE")
def djmpe(s: Scratch, k: int, target: int | None) -> Step:
    def step() -> int:
        if not s.equal:
            return k
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        return target

    return step


@does("DJMPN")
def djmpn(s: Scratch, k: int, target: int | None) -> Step:
    def step() -> int:
        if s.equal:
            return k
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        return target

    return step


@does("CLOOP")
def cloop(s: Scratch, k: int, count: int) -> Step:
    def step() -> int:
        s.loop = count
        return k

    return step


@does("LOOP")
def loop(s: Scratch, k: int, target: int | None) -> Step:
    def step() -> int:
        if not s.loop:
            return k
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        s.loop -= 1
        return target

    return step


@does("PUSH")
def push(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        if s.sp >= s.stack_limit:
            raise Trap(Fault.STACK_OVERFLOW)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        s.stack[s.sp] = r[a]
        s.sp += 1
        return k

    return step


@does("POP")
def pop(s: Scratch, k: int, a: int) -> Step:
    r = s.registers

    def step() -> int:
        if not s.sp:
            raise Trap(Fault.STACK_UNDERFLOW)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        s.sp -= 1
        r[a] = s.stack[s.sp]
        return k

    return step


@does("CALL")
def call(s: Scratch, k: int, target: int | None) -> Step:
    return_address = s.base + WORD * k

    def step() -> int:
        sp = s.sp
        if sp + 2 > s.stack_limit:
            raise Trap(Fault.STACK_OVERFLOW)
        if target is None:
            raise Trap(Fault.BAD_JUMP)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        s.stack[sp] = return_address
        s.stack[sp + 1] = s.bp
        s.sp = s.bp = sp + 2
        return target

    return step


@does("RET")
def ret(s: Scratch, k: int) -> Step:
    def step() -> int:
        bp = s.bp
        if not 2 <= bp <= s.sp:
            raise Trap(Fault.STACK_UNDERFLOW)
        if s.stack is None:
            s.stack = s.vm.map_stack()
        index = s.jump(s.stack[bp - 2])
        s.bp = s.stack[bp - 1]
        s.sp = bp - 2
        return index

    return step
