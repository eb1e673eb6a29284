"""A program as the runtime knows it: a record with its addresses, and which program it is."""

from __future__ import annotations

import ctypes
import weakref

from iridium.isa import WORD
from iridium.vm.program import Program
from iridium.vm.runtime.layout import ProgramRecord


class LoadedProgram:
    """What the runtime needs of a program; made anew when the program changes.

    Args:
        program: the program.

    Attributes:
        record: what the runtime sees of it.
        program: as given.
    """

    __slots__ = ("__weakref__", "_read_only", "program", "record")

    def __init__(self, program: Program) -> None:
        self.program = program
        self._read_only = (ctypes.c_char * len(program.read_only)).from_buffer(program.read_only)
        self.record = ProgramRecord(
            read_only=ctypes.addressof(self._read_only),
            read_only_size=len(program.read_only),
            base=program.base,
            count=len(program.code) // WORD,
        )
        _loaded[self.address] = self

    @property
    def address(self) -> int:
        """Where the record is."""
        return ctypes.addressof(self.record)


_loaded: weakref.WeakValueDictionary[int, LoadedProgram] = weakref.WeakValueDictionary()


def loaded_at(address: int) -> LoadedProgram | None:
    """The program whose record is at an address, as long as somebody holds it."""
    return _loaded.get(address)
