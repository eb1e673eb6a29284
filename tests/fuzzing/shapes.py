"""Programs chosen by hand: the shapes that engines cut code into, each met by every budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from iridium.assembler import assemble
from iridium.image import HEADER, Image
from iridium.vm import Limits
from tests.fuzzing.compare import Plan, Step
from tests.fuzzing.programs import FLOATS, INTEGERS, MAX, MIN, ODD_NAN, Case

SMALL = Limits(stack=64, heap=256, output=8)

RESIDUES = 13
"""Budgets from 1 to this cut every short loop at each of its instructions."""

SHORT, LONG = 1000, 10_000
"""Cases up to so many instructions are cut in all ways; above, in few; above the second, in one."""


def _source(code: str, data: str = "") -> Image:
    """An image of statements that stand on one line each or are parted by ``|``."""
    head = f".data\n{data}\n" if data else ""
    return assemble(f"{head}.code\n" + code.replace("|", "\n") + "\n")


def _repeat(statement: str, times: int) -> str:
    return "|".join([statement] * times)


# Loops, as engines meet them: at their head, in their middle, within each other.
LOOPS = {
    "count": "load $2 #40 | top: inc $1 | lt $1 $2 | djmpe @top | hlt",
    "count down": "load $1 #40 | top: dec $1 | gt $1 $0 | djmpe @top | hlt",
    "count with jmpe": "load $2 #40 | load $3 @top | top: inc $1 | neq $1 $2 | jmpe $3 | hlt",
    "count with djmpn": "load $2 #40 | top: inc $1 | gte $1 $2 | djmpn @top | hlt",
    "one instruction, for ever": "eq $0 $0 | top: djmpe @top",
    "one instruction, counted": "cloop #30 | top: loop @top | hlt",
    "two instructions, for ever": "top: inc $1 | eq $0 $0 | djmpe @top",
    "jump to itself": "load $1 @top | top: jmp $1",
    "nested": "load $3 #5 | outer: load $1 #0 | inner: inc $1 | inc $9 | lt $1 $3 | djmpe @inner"
    "| inc $2 | lt $2 $3 | djmpe @outer | hlt",
    "nested cloop": "load $3 #4 | outer: cloop #5 | inner: inc $9 | loop @inner | inc $2 | lt $2 $3 | djmpe @outer | hlt",
    "cloop spoilt by an inner one": "cloop #3 | outer: inc $1 | cloop #2 | inner: inc $2 | loop @inner | loop @outer | hlt",
    "entered in the middle": "load $2 #12 | eq $0 $0 | djmpe @middle | top: inc $5 | middle: inc $1 | lt $1 $2 | djmpe @top | hlt",
    "entered in the middle, by a computed jump": "load $2 #12 | load $7 @middle | jmp $7 | top: inc $5 | add $5 $1 $6"
    "| middle: inc $1 | lt $1 $2 | djmpe @top | hlt",
    "two with a shared head": "load $2 #7 | load $4 #20 | top: inc $9 | inc $1 | lt $1 $2 | djmpe @top | load $1 #0"
    "| inc $3 | lt $3 $4 | djmpe @top | hlt",
    "two that overlap": "load $4 #9 | a: inc $1 | b: inc $2 | lt $1 $4 | djmpe @a | lt $2 $4 | djmpe @b | hlt",
    "two exits": "load $2 #30 | load $3 #11 | top: inc $1 | eq $1 $3 | djmpe @out | lt $1 $2 | djmpe @top | out: mov $1 $7 | hlt",
    "flag carried round": "load $2 #9 | top: djmpe @over | inc $5 | over: inc $1 | neq $1 $2 | loop @top | djmpe @top | hlt",
    "remainder carried round": "load $2 #20 | load $3 #3 | top: inc $1 | rem $5 | div $1 $3 $4 | add $6 $5 $6 | lt $1 $2"
    "| djmpe @top | hlt",
    "loop counter carried round": "cloop #9 | top: inc $1 | call @f | loop @top | hlt | f: inc $2 | ret",
    "floats": "load $2 #20 | loadf64 $1 #1 | loadf64 $2 #3 | top: divf64 $1 $2 $3 | addf64 $3 $4 $4 | mulf64 $4 $4 $5"
    "| inc $1 | lt $1 $2 | djmpe @top | prtf64 $5 | hlt",
    "mandelbrot": "load $2 #60 | loadf64 $9 #4 | loadf64 $1 #-0.5 | loadf64 $2 #0.56"
    "| top: mulf64 $3 $3 $5 | mulf64 $4 $4 $6 | mulf64 $3 $4 $7 | addf64 $7 $7 $7 | addf64 $7 $2 $4 | subf64 $5 $6 $8"
    "| addf64 $8 $1 $3 | addf64 $5 $6 $8 | ltf64 $8 $9 | djmpn @out | inc $1 | lt $1 $2 | djmpe @top | out: hlt",
    "lcg": "load $1 #12345 | load $2 #1664525 | load $3 #1013904223 | load $5 #30 | top: mul $1 $2 $1 | add $1 $3 $1"
    "| inc $4 | lt $4 $5 | djmpe @top | hlt",
}  # fmt: skip

# Loops over the heap, which engines may run without checks while they are sure: started and left in all places.
_WALK = "load $1 #{start} | load $2 #{bound} | load $3 #{step} | top: setm $1 $9 | inc $9 | add $1 $3 $1 | lt $1 $2 | djmpe @top | inc $8 | hlt"
_GROW = "load $5 #120 | aloc $5 | setm $9 $9 |"
WALKS = {
    f"walk from {start} to {bound} by {step}": _GROW + _WALK.format(start=start, bound=bound, step=step)
    for start, bound, step in (
        (0, 184, 4), (0, 180, 4), (0, 181, 4), (0, 185, 4), (0, 188, 4), (0, 4000, 4), (3, 184, 7), (0, MAX, 5), (1, MAX, 5), (0, MAX, 7),
        (-4, 100, 4), (-100, 100, 1), (MIN, MAX, 4), (MIN, MAX, MAX), (180, 1000, 4), (181, 1000, 4), (184, 1000, 4),
        (100, 50, 4), (100, 100, 4), (0, -1, 4), (0, MIN, 4), (0, 184, 0), (0, 184, -4), (180, 184, -4), (0, 184, MIN),
        (0, MAX, MAX), (0, MAX, MAX - 8), (0, MAX, 2**28 - 1), (0, MAX, 2**27 + 1), (4, MAX, 2**28), (0, 184, 22), (0, 184, 23), (0, 9, 1),
    )
} | {
    "walk by a step in the program": _GROW + "load $2 #184 | top: loadm $1 $4 | add $4 $5 $5 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk byte by byte": _GROW + "load $1 #100 | load $2 #190 | top: loadb $1 $4 | add $4 $5 $5 | setb $1 $5 | inc $1 | lt $1 $2 | djmpe @top | hlt",
    "walk by a step that divides nothing": _GROW + "load $2 #190 | load $1 #5 | top: setm $1 $1 | addi $1 #13 | inc $9 | lt $1 $2 | djmpe @top | hlt",
    "walk of sizes": _GROW + "load $1 #100 | load $2 #190 | top: loadb $1 $4 | setmf64 $1 $4 | loadm $1 $5 | xor $5 $6 $6 | addi $1 #3 | lt $1 $2 | djmpe @top | hlt",
    "walk over f64 to the end": _GROW + "load $2 #1000 | load $1 #4 | top: setmf64 $1 $1 | addi $1 #8 | lt $1 $2 | djmpe @top | hlt",
    "walk over f64": _GROW + "load $2 #177 | loadf64 $3 #1.5 | top: loadmf64 $1 $4 | addf64 $4 $3 $3 | setmf64 $1 $3 | addi $1 #8 | lt $1 $2 | djmpe @top | hlt",
    "walk that stores into what it loads next": _GROW + "load $1 #100 | load $2 #180 | load $6 #7 | top: setm $1 $6 | inc $1 | loadb $1 $6 | inc $6 | lt $1 $2 | djmpe @top | hlt",
    "walk that stores where it loads, in parts": _GROW + "load $1 #100 | load $2 #180 | load $6 #7 | top: loadm $1 $4 | add $4 $6 $6 | setm $1 $6 | inc $1 | lt $1 $2 | djmpe @top | hlt",
    "walk with a second place": _GROW + "load $2 #184 | load $7 #8 | top: loadm $1 $4 | inc $4 | setm $7 $4 | addi $1 #4 | addi $7 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk with a place that is passed on": _GROW + "load $2 #184 | top: setm $1 $1 | mov $1 $7 | addi $1 #4 | loadm $1 $4 | setb $7 $4 | lt $1 $2 | djmpe @top | hlt",
    "walk that divides": _GROW + "load $2 #184 | load $6 #20 | top: setm $1 $6 | div $2 $6 $7 | dec $6 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that prints": _GROW + "load $2 #184 | top: setm $1 $1 | prti $1 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that pushes": _GROW + "load $2 #184 | top: setm $1 $1 | push $1 | push $1 | push $1 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that grows the heap": _GROW + "load $2 #400 | load $6 #2 | top: setm $1 $1 | aloc $6 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that steps twice": _GROW + "load $2 #184 | top: setm $1 $1 | inc $1 | setm $1 $1 | inc $1 | lt $1 $2 | djmpe @top | hlt",
    "walk that moves its bound": _GROW + "load $2 #90 | top: setm $1 $1 | inc $2 | addi $1 #2 | dec $2 | dec $2 | lt $1 $2 | djmpe @top | hlt",
    "walk that reads its bound": _GROW + "load $2 #160 | load $4 #80 | setm $4 $4 | top: loadm $1 $6 | sub $2 $6 $2 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that moves its step": _GROW + "load $2 #184 | load $3 #1 | top: setm $1 $1 | add $3 $1 $1 | inc $3 | lt $1 $2 | djmpe @top | hlt",
    "walk by doubling": _GROW + "load $2 #184 | load $1 #1 | top: setm $1 $1 | add $1 $1 $1 | lt $1 $2 | djmpe @top | hlt",
    "walk that overwrites its place": _GROW + "load $2 #184 | load $4 #60 | setm $4 $4 | top: loadm $1 $1 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "walk that compares before it steps": _GROW + "load $2 #184 | top: setm $1 $1 | lt $1 $2 | addi $1 #4 | djmpe @top | hlt",
    "walk with its comparison turned round": _GROW + "load $2 #184 | top: setm $1 $1 | addi $1 #4 | lt $2 $1 | djmpe @top | hlt",
    "walk in a walk": _GROW + "load $2 #60 | load $7 #5 | outer: load $1 #0 | top: loadm $1 $4 | inc $4 | setm $1 $4 | addi $1 #4 | lt $1 $2 | djmpe @top"
    "| inc $6 | lt $6 $7 | djmpe @outer | hlt",
    "walk that ends the code": _GROW + "load $2 #184 | top: setm $1 $1 | addi $1 #4 | lt $1 $2 | djmpe @top",
    "walk entered by a computed jump": _GROW + "load $2 #184 | load $4 @top | load $6 #3 | jmp $4 | top: setm $1 $1 | addi $1 #4 | lt $1 $2 | djmpe @top"
    "| load $1 #0 | dec $6 | gt $6 $0 | jmpe $4 | hlt",
    "walk of a heap that is not there yet": "load $2 #60 | top: loadm $1 $4 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
}  # fmt: skip

# The same over more cells than a vector instruction takes.
LONG_WALKS = {
    "long walk, cleared": "top: setm $1 $9 | addi $1 #4 | lt $1 $2 | djmpe @top",
    "long walk, summed": "setm $2 $2 | load $1 #3 | top: loadm $1 $4 | add $5 $4 $5 | inc $6 | addi $1 #4 | lt $1 $2 | djmpe @top",
    "long walk, changed": "top: loadb $1 $4 | add $4 $6 $4 | setb $1 $4 | inc $1 | lt $1 $2 | djmpe @top",
    "long walk, each from the one before": "top: loadb $1 $4 | add $4 $6 $6 | setb $1 $6 | inc $6 | inc $1 | lt $1 $2 | djmpe @top",
    "long walk, overlapping": "top: setm $1 $1 | loadm $1 $4 | add $5 $4 $5 | inc $1 | lt $1 $2 | djmpe @top",
    "long walk, over its end": "load $2 #5000 | top: setm $1 $1 | addi $1 #4 | lt $1 $2 | djmpe @top",
    "long walk, f64": "loadf64 $1 #0.5 | top: setmf64 $1 $1 | addf64 $1 $1 $1 | addi $1 #8 | lt $1 $2 | djmpe @top",
}  # fmt: skip

# Faults within blocks and loops: what stands before them is done, what stands behind them is not.
FAULTS = {
    "division in the middle of a block": "load $1 #7 | inc $2 | load $3 #2 | div $1 $3 $4 | div $1 $0 $4 | inc $2 | rem $5 | hlt",
    "division in a loop": "load $1 #5 | top: inc $9 | div $9 $1 $4 | dec $1 | inc $8 | eq $0 $0 | djmpe @top",
    "heap at its end, in a loop": "load $2 #200 | top: setm $1 $1 | addi $1 #4 | inc $9 | lt $1 $2 | djmpe @top | hlt",
    "heap byte by byte": "load $2 #200 | top: setb $1 $1 | inc $1 | lt $1 $2 | djmpe @top | hlt",
    "heap downwards": "load $1 #60 | load $2 #-100 | top: setm $1 $1 | addi $1 #-4 | gt $1 $2 | djmpe @top | hlt",
    "heap f64 at its end": "load $2 #200 | top: setmf64 $1 $1 | addi $1 #8 | loadmf64 $3 $3 | lt $1 $2 | djmpe @top | hlt",
    "heap near the largest address": "load $1 #2147483600 | load $2 #2147483647 | top: loadm $1 $3 | addi $1 #4 | lt $1 $2 | djmpe @top | hlt",
    "heap address wraps": "load $1 #-8 | load $2 #8 | top: inc $9 | loadb $1 $3 | addi $1 #1 | lt $1 $2 | djmpe @top | hlt",
    "heap grows in the loop that uses it": "load $3 #16 | load $2 #400 | top: aloc $3 | setm $1 $1 | addi $1 #12 | lt $1 $2 | djmpe @top | hlt",
    "address register loaded over itself": "load $1 #8 | load $2 #24 | setm $1 $2 | top: loadm $1 $1 | inc $9 | loadm $1 $1 | aloc $9 | eq $0 $0 | djmpe @top",
    "value and address in one register": "load $2 #100 | top: setm $1 $1 | loadb $1 $3 | add $3 $1 $1 | inc $1 | lt $1 $2 | djmpe @top | hlt",
    "allocation to the limit": "load $1 #64 | top: aloc $1 | inc $2 | prti $2 | eq $0 $0 | djmpe @top",
    "allocation of nothing, of less": "aloc $1 | aloc $1 | load $1 #192 | aloc $1 | load $2 #252 | loadm $2 $3 | inc $2 | loadm $2 $3",
    "negative allocation": "load $1 #-1 | inc $2 | aloc $1 | inc $2 | hlt",
    "push to the limit": "top: push $1 | inc $1 | eq $0 $0 | djmpe @top",
    "pop below the bottom": "inc $1 | push $1 | pop $2 | inc $3 | pop $2 | hlt",
    "bytes over 127": "load $1 #255 | top: setb $2 $1 | loadb $2 $3 | add $4 $3 $4 | dec $1 | inc $2 | lt $2 $1 | djmpe @top | loadm $0 $5",
    "return without a call": "inc $1 | ret | hlt",
    "bad register in the middle of a block": "inc $1 | inc $2 | .word #0x00200101 | inc $3 | hlt",
    "bad register that is jumped over": "eq $0 $0 | djmpe @over | .word #0x00200101 | over: inc $3 | hlt",
    "bad register of a branch not taken": "inc $1 | .word #0x0000200f | hlt",
    "illegal opcode in a loop": "load $2 #5 | top: inc $1 | lt $1 $2 | djmpe @top | .word #0x000000c8 | hlt",
    "off the end": "inc $1 | inc $1",
    "off the end from a loop": "load $2 #5 | top: inc $1 | lt $1 $2 | djmpe @top",
    "branch behind the end": "load $2 #5 | top: inc $1 | gt $1 $2 | djmpe #4000 | eq $0 $0 | djmpe @top",
    "branch into an instruction": "load $2 #5 | top: inc $1 | gt $1 $2 | djmpe #70 | eq $0 $0 | djmpe @top",
    "bad branch never taken": "load $2 #9 | top: inc $1 | gt $0 $2 | djmpe #71 | lt $1 $2 | djmpe @top | hlt",
    "loop to nowhere, count used up": "loop #3 | inc $1 | cloop #1 | loop #3 | inc $1",
    "call to nowhere": "inc $1 | call #66 | inc $1",
    "call to nowhere on a full stack": "top: push $1 | inc $1 | load $2 #62 | lt $1 $2 | djmpe @top | call #3 | inc $1",
    "call with one word of room": "load $2 #63 | top: push $1 | inc $1 | lt $1 $2 | djmpe @top | inc $9 | call @f | f: inc $9 | hlt",
    "bad character": "load $1 #55295 | prtc $1 | inc $1 | inc $2 | prtc $1 | hlt",
}  # fmt: skip

CALLS = {
    "call in a loop": "load $2 #10 | top: call @f | lt $1 $2 | djmpe @top | hlt | f: inc $1 | ret",
    "fib": "load $1 #7 | load $10 #2 | call @fib | hlt | fib: lt $1 $10 | djmpe @leaf | push $1 | dec $1 | call @fib | pop $1"
    "| push $2 | addi $1 #-2 | call @fib | pop $3 | add $2 $3 $2 | ret | leaf: mov $1 $2 | ret",
    "recursion without end": "f: inc $1 | call @f | ret",
    "recursion of two without end": "f: inc $1 | call @g | ret | g: inc $2 | call @f | ret",
    "words left over are dropped": "load $2 #9 | top: push $1 | call @f | pop $4 | inc $1 | lt $1 $2 | djmpe @top | hlt"
    "| f: push $1 | push $2 | push $1 | ret",
    "argument taken from below the base": "load $5 #33 | push $5 | call @f | hlt | f: pop $1 | pop $2 | pop $3 | push $2 | push $1 | inc $9 | ret",
    "returns elsewhere": "load $1 @there | call @f | inc $9 | hlt | there: inc $8 | hlt | f: pop $2 | pop $3 | push $1 | push $2 | ret",
    "returns into a block": "load $20 #3 | call @f | inc $9 | x: inc $9 | inc $9 | hlt | f: pop $2 | pop $3 | addi $3 #4 | push $3 | push $2 | ret",
    "returns into an instruction": "call @f | hlt | f: pop $2 | pop $3 | addi $3 #2 | push $3 | push $2 | inc $7 | ret",
    "returns to a negative address": "load $1 #-4 | call @f | hlt | f: pop $2 | pop $3 | push $1 | push $2 | ret",
    "forged base 1": "load $1 #1 | call @f | push $1 | inc $9 | ret | hlt | f: pop $2 | pop $3 | push $3 | push $1 | ret",
    "forged base -1": "load $1 #-1 | call @f | push $1 | inc $9 | ret | hlt | f: pop $2 | pop $3 | push $3 | push $1 | ret",
    "forged base, huge": "load $1 #2147483647 | call @f | push $1 | call @g | inc $9 | ret | hlt | f: pop $2 | pop $3 | push $3 | push $1 | ret | g: ret",
    "forged base, within": "load $1 #2 | push $1 | load $2 @there | push $2 | push $1 | call @f | push $1 | inc $9 | ret | there: inc $8 | hlt"
    "| f: pop $4 | pop $3 | push $3 | push $1 | ret",
    "base above the stack": "call @f | hlt | f: push $1 | call @g | pop $3 | pop $3 | pop $3 | inc $9 | ret | g: ret",
    "jumps out of a subroutine": "load $3 @out | load $2 #4 | top: call @f | inc $9 | out: inc $1 | lt $1 $2 | djmpe @top | ret | f: jmp $3",
    "falls into the next subroutine": "call @f | call @g | hlt | f: inc $1 | g: inc $2 | ret",
    "shared tail": "call @f | call @g | hlt | f: inc $1 | eq $0 $0 | djmpe @tail | g: inc $2 | tail: inc $3 | ret",
    "branch into a subroutine": "load $2 #3 | call @f | hlt | f: inc $1 | x: inc $5 | lt $1 $2 | djmpe @back | ret | back: inc $1 | eq $0 $0 | djmpe @x",
    "calls its caller's loop": "load $2 #6 | top: inc $1 | call @f | lt $1 $2 | djmpe @top | hlt | f: lt $1 $2 | djmpe @top | ret",
    "call of what is next": "call @next | next: inc $1 | load $2 #3 | lt $1 $2 | djmpe @next | ret",
    "loop in a subroutine": "load $2 #6 | call @f | call @f | hlt | f: load $1 #0 | top: inc $1 | inc $9 | lt $1 $2 | djmpe @top | ret",
    "fault in a subroutine": "load $2 #4 | load $3 #3 | top: call @f | inc $1 | lt $1 $2 | djmpe @top | hlt | f: inc $9 | dec $3 | div $2 $3 $4 | ret",
    "halt in a subroutine": "call @f | inc $1 | hlt | f: inc $2 | call @g | inc $1 | ret | g: load $5 #77 | hltr $5",
    "flag and remainder through a call": "load $1 #17 | load $2 #5 | call @f | djmpe @yes | hlt | yes: rem $7 | hlt | f: div $1 $2 $3 | eq $0 $0 | ret",
}  # fmt: skip

JUMPS = {
    "dispatch": "load $5 @a | load $6 @b | load $7 #12 | top: jmp $5 | a: mov $5 $8 | mov $6 $5 | mov $8 $6 | inc $1"
    "| load $9 @top | lt $1 $7 | jmpe $9 | hlt | b: addi $1 #2 | mov $5 $8 | mov $6 $5 | mov $8 $6 | load $9 @top | jmp $9",
    "forwards and back by distance": "load $1 #6 | load $2 #10 | load $3 #5 | jmpf $1 | hlt | hlt | inc $9 | lt $9 $3 | djmpe @go | hlt | go: jmpb $2 | hlt",
    "distance into an instruction": "load $1 #4 | inc $2 | jmpf $1 | hlt",
    "distance that wraps": "load $1 #-2147483648 | inc $2 | jmpb $1 | hlt",
    "into each instruction of a block": "load $5 @block | load $6 @end | top: load $9 @top | jmp $5 | block: inc $1 | inc $2 | inc $3 | addi $5 #4"
    "| lt $5 $6 | jmpe $9 | end: hlt",
    "to the end": "load $1 @end | jmp $1 | end:",
    "to each address of an instruction": "load $1 @x | load $2 #4 | x: inc $1 | inc $3 | jmp $1",
    "not taken, to a bad address": "load $1 #-1 | neq $0 $0 | jmpe $1 | inc $2 | eq $0 $0 | jmpe $1",
}  # fmt: skip

# Long enough for several regions of any size, with short ways and long ones from each into the next and back.
_OVER = "lt $1 $2 | djmpe @over{0} | inc $4 | add $4 $1 $5 | xor $5 $4 $4 | inc $4 | over{0}: inc $1"
CROSSINGS = {
    "short and long ways": "load $2 #9 |" + "|".join(_OVER.format(n) for n in range(24)) + "| hlt",
    "short and long ways in a loop": "load $2 #9 | load $3 #40 | top: inc $9 |"
    + "|".join(_OVER.format(n) for n in range(24))
    + "| lt $1 $3 | djmpe @top | hlt",
    "calls there and back": "load $2 #30 | load $3 #60 | top: call @f0 | call @f5 | lt $1 $3 | djmpe @top | hlt |"
    + "|".join(f"f{n}: call @f{n + 1} | {_OVER.format(n)} | ret" for n in range(9))
    + "| f9: inc $9 | ret",
    "computed jumps there and back": "load $2 #9 | load $6 #40 | load $7 @j0 | jmp $7 |"
    + "|".join(f"j{n}: {_OVER.format(n)} | load $7 @j{(n * 5 + 1) % 12} | jmp $7" for n in range(12)),
}  # fmt: skip

PRINTS = {
    "print until the ring is full": "top: inc $1 | prti $1 | eq $0 $0 | djmpe @top",
    "print everything": "load $2 #9 | loadf64 $1 #0.1 | top: inc $1 | prts @text | prti $1 | prtf64 $1 | addf64 $1 $1 $1 | load $3 #65 | prtc $3"
    "| lt $1 $2 | djmpe @top | hlt",
    "print what is no string": "inc $1 | prts @text | prts @bad",
    "print without an end": "inc $1 | prts @open",
}  # fmt: skip

_DATA = "text: .asciiz 'text'\nbad: .byte #255 #0\nopen: .byte #65 #66"


def _all_comparisons() -> str:
    names = ("eq", "neq", "gte", "lte", "lt", "gt")
    return "|".join(
        f"load $1 #{a} | load $2 #{b} |"
        + "|".join(f"{name} $1 $2 | djmpn @c{at}_{name} | inc $9 | c{at}_{name}: add $9 $9 $9" for name in names)
        for at, (a, b) in enumerate((a, b) for a in (MIN, -1, 0, 1, MAX) for b in (MIN, 0, 1, MAX))
    )


def _arithmetic() -> str:
    names = ("add", "sub", "mul", "and", "or", "xor")
    pairs = [(a, b) for a in (MIN, MIN + 1, -7, -1, 0, 3, 0x10000, MAX) for b in (MIN, -3, -1, 2, MAX)]
    lines = []
    for a, b in pairs:
        lines.append(f"load $1 #{a} | load $2 #{b} | div $1 $2 $3 | rem $4 | xor $5 $3 $5 | add $6 $4 $6")
        lines += [f"{name} $1 $2 $3 | mul $7 $6 $7 | add $7 $3 $7 | inc $3 | dec $3" for name in names]
        lines.append("inc $1 | add $8 $1 $8 | load $1 #-2147483648 | dec $1 | not $1 $1 | xor $8 $1 $8")
    return "load $6 #3 |" + "|".join(lines)


def _shifts() -> str:
    return "|".join(
        f"load $1 #{value} | shl $1 #{n} | add $2 $1 $2 | load $1 #{value} | shr $1 #{n} | xor $3 $1 $3"
        for value in (-1, MIN, MAX, 0x12345678, -98765)
        for n in (0, 1, 15, 16, 17, 31, 32, 33, 48, 64, 255)
    )


def _float_comparisons() -> str:
    names = ("eqf64", "neqf64", "gtf64", "gtef64", "ltf64", "ltef64")
    lines = []
    for a in range(8):
        for b in range(8):
            lines += [
                f"{name} ${a} ${b} | djmpn @f{a}_{b}_{name} | inc $9 | f{a}_{b}_{name}: add $9 $9 $9"
                for name in names
            ]
    return "|".join(lines)


def _float_arithmetic() -> str:
    lines = []
    for a in range(8):
        for b in range(8):
            lines += [f"{name} ${a} ${b} $20 | setmf64 $0 $20 | loadm $0 $1 | load $2 #4 | loadm $2 $2 | mul $3 $4 $3 | xor $3 $1 $3 | add $3 $2 $3"
                      for name in ("addf64", "subf64", "mulf64", "divf64")]  # fmt: skip
        lines.append(
            f"sqrtf64 ${a} $20 | movf64 ${a} $21 | setmf64 $0 $21 | load $2 #4 | loadm $2 $1 | xor $3 $1 $3 | ftoi $20 $1 | xor $3 $1 $3 | itof $1 $22 | ftoi ${a} $2 | mul $3 $4 $3 | xor $3 $2 $3 | itof $2 $23"
        )
    return "load $4 #31 |" + "|".join(lines)


def _memory_edges() -> Iterator[tuple[str, str]]:
    for name, size in (("loadm", 4), ("setm", 4), ("loadb", 1), ("setb", 1), ("loadmf64", 8), ("setmf64", 8)):
        for at in (0, 64 - size, 65 - size, 64, -1, -size, MIN, MAX):
            yield f"{name} at {at}", f"load $1 #{at} | inc $2 | {name} $1 $3 | inc $2 | hlt"
    for name, size in (("loadro", 4), ("loadrob", 1)):
        for at in (0, 20 - size, 21 - size, 20, -1, MIN):
            yield f"{name} at {at}", f"load $1 #{at} | inc $2 | {name} $1 $3 | inc $2 | hlt"
    for name, size in (("loadc", 4), ("loadcf64", 8)):
        for at in (0, 20 - size, 21 - size, 20, 65535):
            yield f"{name} at {at}", f"inc $2 | {name} $3 #{at} | inc $2 | hlt"


def cases() -> dict[str, Case]:
    """All of them, by name."""
    found: dict[str, Case] = {}

    def add(
        name: str, image: Image, limits: Limits = SMALL, total: int = 400, **state: tuple[int | float, ...]
    ) -> None:
        found[name] = Case(name, image, limits, total=total, **state)

    for group in (LOOPS, WALKS, FAULTS, CALLS, JUMPS, CROSSINGS):
        for name, code in group.items():
            add(name, _source(code))
    for name, code in LONG_WALKS.items():
        grown = f"load $3 #1936 | aloc $3 | load $6 #3 | load $2 #1990 | {code} | inc $8 | hlt"
        add(name, _source(grown), Limits(stack=64, heap=4096, output=8), total=9000)
    for name, code in PRINTS.items():
        add(name, _source(code, _DATA))
    for name, code in _memory_edges():
        add(name, _source(code, "x: .byte " + " ".join(f"#{200 + n}" for n in range(20))), total=10)
    for name, write in (("comparisons", _all_comparisons), ("arithmetic", _arithmetic), ("shifts", _shifts)):
        add(name, _source(write() + "| hlt"), total=5000, registers=INTEGERS[:8])
    for at in range(0, len(FLOATS) - 7, 6):
        for name, write in (("float comparisons", _float_comparisons), ("float arithmetic", _float_arithmetic)):
            add(f"{name} {at}", _source(write() + "| hlt"), total=5000, floats=FLOATS[at : at + 8])
    for length in (1023, 1024, 1025, 2100):
        add(f"straight run of {length}", _source(_repeat("inc $1", length) + "| hlt"), total=3000)
    body = f"load $3 #3 | top: {_repeat('inc $1', 1022)} | inc $2 | lt $2 $3 | djmpe @top | hlt"
    add("loop of 1025", _source(body), total=4000)
    add("fault after 1025", _source(f"{_repeat('addi $1 #3', 1025)} | div $1 $0 $2 | hlt"), total=3000)
    odd = ODD_NAN.hex(" ").replace(" ", " #0x")
    nan = "top: loadcf64 $1 #0 | setmf64 $0 $1 | movf64 $1 $2 | addf64 $1 $1 $3 | load $2 #4 | loadm $0 $1 | loadm $2 $2 | setmf64 $0 $3 | hlt"
    add("a NaN with other bits", _source(nan, f"odd: .byte #0x{odd}"))
    deep = "load $1 #{} | call @f | hlt | f: inc $2 | dec $1 | gt $1 $0 | djmpn @out | call @f | inc $3 | out: ret"
    for depth in (1000, 1023, 1024, 1025, 3000):
        add(f"{depth} calls deep", _source(deep.format(depth)), Limits(stack=10_000), total=40_000)
    add(
        "stack of the usual limit",
        _source("top: push $1 | push $2 | inc $1 | eq $0 $0 | djmpe @top"),
        Limits(),
        1_500_000,
    )
    add("calls to the usual limit", _source("f: call @f"), Limits(), 600_000)
    add("no code", Image(b"", version=1))
    add(
        "branch to the next 64 KiB",
        Image(_source("eq $0 $0").code + bytes((20, 0, HEADER, 1)) + bytes(4), version=1),
    )
    add("version 0 knows no MOV", Image(_source("inc $1 | mov $1 $2 | hlt").code, version=0))
    wide = Image(_source(f"inc $1 | call #{HEADER} | hlt").code, version=0)
    add("calls for ever in version 0", wide)
    return found


def cuts(case: Case, names: Sequence[str]) -> Iterator[Plan]:
    """How a directed case is cut: by small budgets, by one turn that ends at each instruction, and whole."""

    def plan(budgets: Iterable[int], name: str, lockstep: bool = True) -> Plan:
        return Plan(tuple(Step(name, budget) for budget in budgets), lockstep)

    for name in names:
        yield plan([10_000_000], name, lockstep=False)
        if case.total > LONG:
            continue
        yield plan([case.total], name)
        if case.total > SHORT:
            firsts: Iterable[int] = (1, 2, 3, 10, *range(1021, 1028), 2047, 2048)
        else:
            firsts = range(1, 25)
            for budget in range(1, RESIDUES + 1):
                yield plan([budget] * (min(case.total, 100) // budget + 1), name)
        for first in firsts:
            yield plan([first, 0, case.total], name)
        for budget in (3, 100, 1023, 1024, 1025):
            yield plan([budget] * (min(case.total // budget, 100) + 1), name, lockstep=False)
    if len(names) > 1 and case.total <= LONG:
        for budget in (1, 3, 7):
            yield Plan(tuple(Step(names[turn % len(names)], budget) for turn in range(100)))
