"""What ``iridium disassemble`` shows of how a program is compiled: its blocks, its LLVM IR, its machine code."""

from __future__ import annotations

from collections.abc import Iterator

from iridium.assembler import format_instruction
from iridium.image import Image
from iridium.vm import Program
from iridium.vm.engine import NativeUnavailableError, missing_llvmlite
from iridium.vm.native.flow import Flow


def blocks(image: Image) -> str:
    """The basic blocks of a program, region by region, with where control goes from each; needs no llvmlite."""
    program = Program(image)
    flow = Flow(program)
    return "\n\n".join("\n".join(_region(program, flow, number)) for number in range(len(flow.regions)))


def _region(program: Program, flow: Flow, number: int) -> Iterator[str]:
    region = flow.regions[number]
    size = sum(flow.blocks[block] - block for block in region)
    yield f"region {number}: {_count(len(region), 'block')}, {_count(size, 'instruction')}"
    for block in region:
        mark = f"checkpoint, cost {flow.cost[block]}" if block in flow.checkpoints else f"cost {flow.cost[block]}"
        yield f"  {flow.address(block)}: {mark}; {_followers(flow, block)}"
        for index in range(block, flow.blocks[block]):
            address = flow.address(index)
            word = program.word_at(address)
            assert word is not None
            yield f"{address:9}  {format_instruction(word, program.version)}"


def _followers(flow: Flow, block: int) -> str:
    """Where a block goes: to others by their addresses, and by a computed jump perhaps anywhere."""
    ways = [str(flow.address(target)) for target in flow.successors(block)]
    last = flow.blocks[block] - 1
    row = flow.ops[last].row
    if row is None:
        return "always faults"
    if row.leaves and flow.ops[last].target is None and row.name not in ("HLT", "HLTR"):
        likely = ", ".join(str(flow.address(target)) for target in sorted(flow.candidates.get(last, ())))
        ways.append(f"a computed address (likely {likely})" if likely else "a computed address")
    return f"to {', '.join(ways)}" if ways else "ends"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def llvm_ir(image: Image) -> str:
    """The IR of a program after LLVM has optimised it, region by region.

    Raises:
        NativeUnavailableError: there is no llvmlite.
    """
    return _compiled(image, assembly=False)


def machine_code(image: Image) -> str:
    """The machine code of a program as assembly of this machine, region by region.

    Raises:
        NativeUnavailableError: there is no llvmlite.
    """
    return _compiled(image, assembly=True)


def _compiled(image: Image, *, assembly: bool) -> str:
    if missing := missing_llvmlite():
        raise missing
    from iridium.vm.native.compiler import region_ir

    try:
        from iridium.vm.native.jit import Jit

        jit = Jit()
    except (ImportError, OSError, RuntimeError) as error:
        raise NativeUnavailableError(f"llvmlite does not work here ({error})") from None
    flow = Flow(Program(image))
    parts = []
    comment = "#" if assembly else ";"
    for number in range(len(flow.regions)):
        ir, entries = region_ir(flow, number)
        text = jit.assembly(ir) if assembly else str(jit.optimise(ir))
        addresses = ", ".join(str(flow.address(entry)) for entry in entries)
        parts.append(f"{comment} region {number}, entered at {addresses}\n{text.strip()}")
    return "\n\n".join(parts)
