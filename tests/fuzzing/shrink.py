"""Makes a mismatch small enough to read, and prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from iridium.assembler.disassemble import format_instruction
from iridium.image import Image
from iridium.isa import BY_NAME, WORD
from iridium.vm.engine import Engine
from tests.fuzzing.compare import Mismatch, Plan, Step, check
from tests.fuzzing.programs import Case

NOP = BY_NAME["NOP"].encode()
TRIES = 600
"""Runs that shrinking may take: compiling each takes time, and nobody waits for the last NOP."""

SHOWN = 40
"""Turns that are printed."""


def shrink(found: Mismatch, engines: Mapping[str, Engine]) -> Mismatch:
    """The same kind of mismatch on a program with more NOPs, fewer registers set and fewer turns."""
    tries = TRIES
    progress = True
    while progress and tries > 0:
        progress = False
        for case, plan in _smaller(found):
            tries -= 1
            if tries <= 0:
                break
            again = check(case, plan, engines)
            if again is not None:
                found = again
                progress = True
                break
    return found


def _smaller(found: Mismatch) -> Iterator[tuple[Case, Plan]]:
    """Candidates, those that take away most first."""
    case, plan, turn = found.case, found.plan, found.turn
    steps = plan.steps
    if turn + 1 < len(steps):
        yield case, plan._replace(steps=steps[: turn + 1])
    for size in (turn, turn // 2, turn // 4, 1):  # several turns before the one that fails as one
        for at in range(0, max(0, len(steps) - size), size) if size else ():
            one = Step(steps[at].engine, sum(step.budget for step in steps[at : at + size + 1]))
            yield case, plan._replace(steps=(*steps[:at], one, *steps[at + size + 1 :]))
            if at > 8 * size:
                break
    yield from ((smaller, plan) for smaller in _smaller_programs(case))


def _smaller_programs(case: Case) -> Iterator[Case]:
    image = case.image
    count = len(image.code) // WORD
    words = [image.code[at : at + WORD] for at in range(0, len(image.code), WORD)]
    real = [at for at, word in enumerate(words) if word != NOP]
    if count and words[-1] == NOP:
        yield case._replace(image=_with(image, words[: real[-1] + 1 if real else 0]))
    size = len(real)
    while size:
        for start in range(0, len(real), size):
            gone = set(real[start : start + size])
            yield case._replace(image=_with(image, [NOP if at in gone else w for at, w in enumerate(words)]))
        size //= 2
    if any(case.registers) or any(case.floats):
        yield case._replace(registers=(), floats=())
    for name in ("registers", "floats"):
        values = getattr(case, name)
        for at, value in enumerate(values):
            if value:
                yield case._replace(**{name: (*values[:at], 0, *values[at + 1 :])})


def _with(image: Image, words: list[bytes]) -> Image:
    return Image(b"".join(words), image.read_only, image.version)


def listing(image: Image) -> Iterator[str]:
    """The code with its addresses; NOPs in a row as one line."""
    address, nops = image.code_address, 0
    for at in range(0, len(image.code), WORD):
        word = image.code[at : at + WORD]
        if word == NOP:
            nops += 1
            continue
        if nops:
            yield f"         {nops} x nop"
            nops = 0
        yield f"  {address + at:6d} {format_instruction(word, image.version)}"
    if nops:
        yield f"         {nops} x nop"


def report(found: Mismatch) -> str:
    """All that is needed to see a mismatch again."""
    case, plan = found.case, found.plan
    turns = [f"{step.engine} {step.budget}" for step in plan.steps[: found.turn + 1]]
    hidden = len(turns) - SHOWN
    return "\n".join((
        f"{case.name}: version {case.image.version}, {case.limits}, total {case.total}",
        *listing(case.image),
        f"  read-only {case.image.read_only[:200].hex()}",
        f"  registers {list(case.registers)}",
        f"  floats {list(case.floats)}",
        f"  {'lockstep' if plan.lockstep else 'ends only'}, output read: {plan.drain}",
        f"  turns {'' if hidden <= 0 else f'({hidden} more) '}{', '.join(turns[-SHOWN:])}",
        *(f"  turn {found.turn}: {name} is {want!r} in the reference, {got!r} here"[:400]
          for name, want, got in found.differences),
    ))  # fmt: skip
