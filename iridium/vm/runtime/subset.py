"""A small subset of Python that becomes machine code: what the runtime of the VMs is written in.

A function marked ``@native`` is a plain Python function and can be called as one: so the runtime works without
LLVM, slowly. :mod:`iridium.vm.native.translate` makes machine code of the same source. ``docs/native.md`` tells
what such a function may use. In short: integers of stated width, fields of C structures, ``if``, ``while``,
``return``, and calls of one another and of the few operations below. There are no objects, no exceptions and no
checks: an address that is wrong is written to.

Every address is a ``u64``. A parameter or a variable annotated with a structure's class is such a structure, whose
fields are read and written in place. Numbers must fit their type: Python's do not wrap around.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
S = TypeVar("S", bound=ctypes.Structure)

FUNCTIONS: dict[str, FunctionType] = {}
"""Every ``@native`` function by name, in the order of the sources."""

EXTERNALS: dict[str, FunctionType] = {}
"""Functions that the runtime calls and does not define: the C library's, and the native interpreter's entry."""


class _Integer:
    """An integer type; called, it keeps the low bits of a number."""

    def __init__(self, ctype: Any) -> None:
        self.ctype = ctype

    def __call__(self, number: int) -> int:
        return int(self.ctype(number).value)


if TYPE_CHECKING:
    u8: TypeAlias = int
    i32: TypeAlias = int
    u32: TypeAlias = int
    i64: TypeAlias = int
    u64: TypeAlias = int
else:
    u8 = _Integer(ctypes.c_uint8)
    i32 = _Integer(ctypes.c_int32)
    u32 = _Integer(ctypes.c_uint32)
    i64 = _Integer(ctypes.c_int64)
    u64 = _Integer(ctypes.c_uint64)


def native(function: F) -> F:
    """Mark a function as one of the runtime."""
    FUNCTIONS[function.__name__] = function  # type: ignore[assignment]
    return function


def external(function: F) -> F:
    """Mark the declaration of a function of the C library."""
    EXTERNALS[function.__name__] = function  # type: ignore[assignment]
    name, notes = function.__name__, dict(function.__annotations__)

    @functools.cache
    def found() -> Any:
        types = {"i32": ctypes.c_int32, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}
        entry = getattr(ctypes.CDLL(None), name)
        entry.restype = types.get(notes["return"])
        entry.argtypes = [types[note] for parameter, note in notes.items() if parameter != "return"]
        return entry

    return functools.wraps(function)(lambda *arguments: found()(*arguments))  # type: ignore[return-value]


def at(struct: type[S], address: int) -> S:
    """The structure at an address."""
    return struct.from_address(address)


def address(struct: ctypes.Structure) -> int:
    """The address of a structure."""
    return ctypes.addressof(struct)


def field_address(struct: ctypes.Structure, name: str) -> int:
    """The address of a field."""
    return ctypes.addressof(struct) + int(getattr(type(struct), name).offset)


def load(kind: type[int], address: int) -> int:
    """The value at an address, which need not be aligned."""
    return int(kind.ctype.from_address(address).value)  # type: ignore[attr-defined]


def store(kind: type[int], address: int, value: int) -> None:
    """Write a value at an address, which need not be aligned."""
    kind.ctype.from_address(address).value = value  # type: ignore[attr-defined]


def load_acquire(struct: ctypes.Structure, name: str) -> int:
    """Read a field that another thread writes with :func:`store_release`; what it wrote before is seen too."""
    return int(getattr(struct, name))


def store_release(struct: ctypes.Structure, name: str, value: int) -> None:
    """Write a field for a thread that reads it with :func:`load_acquire`."""
    setattr(struct, name, value)


def exchange(struct: ctypes.Structure, name: str, value: int) -> int:
    """Write a field and give what was there, as one step that no thread can come between.

    In Python it is two steps, so the runtime runs in Python in one thread only.
    """
    before = int(getattr(struct, name))
    setattr(struct, name, value)
    return before


def add_atomic(struct: ctypes.Structure, name: str, value: int) -> int:
    """Add to a field and give what was there, as one step."""
    before = int(getattr(struct, name))
    setattr(struct, name, before + value)
    return before


def compare_exchange(struct: ctypes.Structure, name: str, expected: int, new: int) -> bool:
    """Write a field if it still is what is expected, as one step; whether it was."""
    if int(getattr(struct, name)) != expected:
        return False
    setattr(struct, name, new)
    return True


def copy(to: int, source: int, size: int) -> None:
    """Copy bytes that do not overlap."""
    ctypes.memmove(to, source, size)


def clear(to: int, size: int) -> None:
    """Set bytes to zero."""
    ctypes.memset(to, 0, size)


def enter(function: int, vm: object, fuel: int, index: int) -> int:
    """Call compiled code: its address, the VM, the budget left, the instruction to enter at; what is left then.

    There is none where the runtime runs in Python.
    """
    raise NotImplementedError
