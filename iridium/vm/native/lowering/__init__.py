"""What each instruction does, as LLVM IR: one function an instruction, for all native engines.

A function gets an emitter, the values of the registers that the table says it reads and its number operands, in
order, and gives the value of the register that the table says it writes. It changes nothing before it is sure not
to fault.
"""

from iridium.vm.native.lowering import control, f64, integer, memory, process
from iridium.vm.native.lowering.registry import INTERPRETED, LOWERINGS

__all__ = ["INTERPRETED", "LOWERINGS", "control", "f64", "integer", "memory", "process"]
