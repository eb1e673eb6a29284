"""The native engines, as callables that advance a VM; loaded on first use, since LLVM takes 50 MB and 0.1 s."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from iridium.errors import OptionError
from iridium.vm.machine import VM
from iridium.vm.program import Program
from iridium.vm.native.cache import ObjectCache, compiler_digest, default_directory
from iridium.vm.record import Stop
from iridium.vm.reference import Turn

if TYPE_CHECKING:
    from iridium.vm.native.program import NativeProgram

RUNTIME = "advance", "pieces", "print_item", "check_string", "grow_heap", "map_heap", "map_stack"
"""What Python and compiled programs use of the runtime."""

_advance_type = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


class NativeUnavailableError(OptionError):
    """There is no llvmlite that could make machine code here."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the native engines need llvmlite ({why}): `pip install llvmlite`, or choose --engine reference"
        )


class Runtime:
    """The native interpreter and what belongs to it, linked into this process.

    Args:
        directory: where objects are kept; by default the user's cache directory.

    Attributes:
        jit: makes and links machine code; its owner holds ``lock``.
        cache: objects of earlier runs.
        lock: one thread at a time makes machine code.
        addresses: where the functions of the runtime are.

    Raises:
        NativeUnavailableError: llvmlite is not there or does not know this machine.
    """

    def __init__(self, directory: Path | None = None) -> None:
        try:
            from iridium.vm.native.jit import Jit

            self.jit = Jit()
        except (ImportError, OSError, RuntimeError) as error:
            raise NativeUnavailableError(str(error)) from None
        self.lock = threading.Lock()
        identity = f"{compiler_digest()} {self.jit.identity}"
        self.cache = ObjectCache(directory or default_directory(), identity)
        binary = self.cache.get("runtime")
        if binary is None:
            from iridium.vm.native.interpreter import interpreter_ir

            binary = self.jit.compile(interpreter_ir())
            self.cache.put("runtime", binary)
        self._linked = self.jit.link(binary, RUNTIME, {})
        self.addresses = self._linked.addresses
        from iridium.vm.native.interpreter import MARKER

        self.pieces = list((ctypes.c_uint64 * (MARKER + 1)).from_address(self.addresses["pieces"]))
        self._advance = _advance_type(self.addresses["advance"])

    def prepare(self, vm: VM) -> NativeProgram:
        """Give a VM the native form of its program, as it is now."""
        from iridium.vm.native.program import NativeProgram

        native: NativeProgram | None = vm.program.native
        if native is None:
            native = vm.program.native = NativeProgram(vm.program, self.pieces)
        vm.native = native
        vm.record.program = native.address
        return native

    def compile(self, native: NativeProgram, program: Program) -> None:
        """Compile a program, or find it in the cache, and let its VMs enter it.

        Takes up to seconds; any thread may do it, while the program runs.
        """
        from iridium.vm.native.compiler import region_ir
        from iridium.vm.native.flow import Flow

        flow = Flow(program)
        content = program.content_hash()
        for number in range(len(flow.regions)):
            ir, entries = region_ir(flow, number)
            name = f"region{number}"
            with self.lock:
                binary = self.cache.get(f"{content} {name}")
                if binary is None:
                    binary = self.jit.compile(ir)
                    self.cache.put(f"{content} {name}", binary)
                linked = self.jit.link(binary, [name], self.addresses)
            address = linked.addresses[name]
            native.enter_at(dict.fromkeys(entries, address), linked)

    def advance(self, vm: VM, budget: int) -> Turn:
        """Advance a prepared VM."""
        record = vm.record
        left = self._advance(ctypes.addressof(record), budget)
        return Turn(Stop(record.stop), left)


@functools.cache
def runtime() -> Runtime:
    """The one runtime of this process."""
    return Runtime()


def native_engine() -> Callable[[VM, int], Turn]:
    """The native interpreter alone, from the first instruction on."""
    here = runtime()

    def run(vm: VM, budget: int) -> Turn:
        here.prepare(vm)
        return here.advance(vm, budget)

    return run


def compiled_engine() -> Callable[[VM, int], Turn]:
    """Compiled code from the first instruction on: the first turn waits for the compiler."""
    here = runtime()

    def run(vm: VM, budget: int) -> Turn:
        native = here.prepare(vm)
        if not native.compiled:
            here.compile(native, vm.program)
        return here.advance(vm, budget)

    return run
