"""llvmlite, as far as Iridium uses it: IR to an object, an object to addresses.

Imported only once a program is hot.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite.binding.newpassmanagers import NewPassManager

LIBRARIES = 64
"""Objects that one linker links: it remembers each for good, some 8 KB, also when that is unloaded. Then comes
another, and the old one goes with the last of its objects that is."""

_lock = threading.Lock()
_libraries = 0


class Jit:
    """Makes machine code for this process's CPU, and links it into the process.

    One thread at a time may use it; code that was linked stays until its :class:`Linked` is closed.
    """

    def __init__(self) -> None:
        with _lock:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            # Loop strength reduction takes the budget for one more induction variable, and makes more of them.
            llvm.set_option("iridium", "-disable-lsr")
        self.cpu = llvm.get_host_cpu_name()
        self.features = llvm.get_host_cpu_features().flatten()
        self._machines: dict[int, Any] = {}
        self._linker: Any = None
        self._linked = 0

    @property
    def identity(self) -> str:
        """What an object depends on besides the IR it was made of."""
        return f"{llvmlite.__version__} {llvm.get_process_triple()} {self.cpu} {self.features}"

    def _machine(self, level: int) -> Any:
        machine = self._machines.get(level)
        if machine is None:
            target = llvm.Target.from_default_triple()
            machine = self._machines[level] = target.create_target_machine(
                cpu=self.cpu, features=self.features, opt=level, reloc="default", codemodel="jitdefault"
            )
        return machine

    def optimise(self, ir: str, level: int = 2) -> Any:
        """The module of some IR, optimised.

        Args:
            ir: the text of the module.
            level: 0 to 3, as compilers count.
        """
        machine = self._machine(level)
        # In a context of its own, which goes with the module: LLVM keeps in it whatever types and numbers it met.
        module = llvm.parse_assembly(ir, llvm.create_context())
        module.triple = llvm.get_process_triple()
        module.data_layout = str(machine.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=level)
        builder = llvm.create_pass_builder(machine, options)
        passes = builder.getModulePassManager()
        passes.run(module, builder)
        # llvmlite 0.50 does not do so itself: its own method stands behind one of a base class that does nothing.
        NewPassManager._dispose(passes)
        passes.detach()
        return module

    def compile(self, ir: str, level: int = 2) -> bytes:
        """The object of some IR."""
        return bytes(self._machine(level).emit_object(self.optimise(ir, level)))

    def assembly(self, ir: str, level: int = 2) -> str:
        """The machine code of some IR, for people."""
        return str(self._machine(level).emit_assembly(self.optimise(ir, level)))

    def link(self, binary: bytes, exports: Sequence[str], imports: Mapping[str, int]) -> Linked:
        """Load an object.

        Args:
            binary: the object.
            exports: the symbols whose addresses are wanted.
            imports: the addresses of symbols that it uses; those of the process are found by themselves.
        """
        global _libraries
        if self._linker is None or self._linked >= LIBRARIES:
            # What the old one has linked holds on to it.
            self._linker, self._linked = llvm.create_lljit_compiler(self._machine(2), use_jit_link=False), 0
        self._linked += 1
        builder = llvm.JITLibraryBuilder().add_object_img(binary).add_current_process()
        for name, address in imports.items():
            builder.import_symbol(name, address)
        for name in exports:
            builder.export_symbol(name)
        _libraries += 1  # a name cannot be used twice, even when its library is gone
        return Linked(builder.link(self._linker, f"iridium{_libraries}"), exports)


class Linked:
    """Machine code in the process.

    Attributes:
        addresses: where each exported symbol is.
    """

    def __init__(self, tracker: Any, exports: Sequence[str]) -> None:
        self._tracker = tracker
        self.addresses = {name: int(tracker[name]) for name in exports}

    def close(self) -> None:
        """Unload it; nothing may be running in it any more."""
        self._tracker.close()
