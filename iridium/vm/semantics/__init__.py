"""What each instruction does, for the reference engine: one function an instruction.

A function in these modules is called when a program is decoded. It gets the scratch register file, the index of
the next instruction and the operands (a code address as the index of its instruction, or None where there is
none), and gives the closure that executes the instruction and returns the index of the one that runs next.

A closure changes nothing before it is sure not to raise. Registers hold Python ints that are always within i32.
"""

from collections.abc import Callable

from iridium.vm.semantics import control, f64, integer, memory
from iridium.vm.semantics.scratch import SEMANTICS, Halt, Scratch, Step, Trap, Wait, trap

__all__ = [
    "SEMANTICS",
    "Halt",
    "Scratch",
    "Step",
    "Trap",
    "Wait",
    "control",
    "f64",
    "integer",
    "meaning",
    "memory",
    "trap",
]


def meaning(name: str) -> Callable[..., Step]:
    """What an instruction does; those of processes are imported when the first program has one."""
    if name not in SEMANTICS:
        from iridium.vm.semantics import process  # noqa: F401 - it enters them
    return SEMANTICS[name]
