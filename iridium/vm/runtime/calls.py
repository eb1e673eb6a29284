"""How Python calls the runtime: as machine code once that is loaded, as plain Python before and without it.

Both work on the same structures, but not at the same time: what is one step for machine code is several for
Python. So the switch is made once, by whoever owns the structures, before any worker thread runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from iridium.vm.runtime import inbound, scheduling  # noqa: F401 - what they define is in FUNCTIONS then
from iridium.vm.runtime.subset import FUNCTIONS

HOST_CALLS = (
    "work", "run_some", "run_woken", "stop_workers", "submit", "request_stop", "give_back", "take_event",
    "begin", "start", "spawn", "kill", "kill_by", "discard", "allocate", "release_slot", "release_memory",
    "acquire_process", "release_mailbox", "close_mailbox", "deliver", "send", "send_bytes", "receive",
    "receive_bytes", "drop_messages", "wait_for_message", "make_block", "take_block", "free_block", "monitor",
    "demonitor", "link", "ask", "sleep", "clock", "now", "count_nodes", "take_peer", "take_letters",
    "large_has_left", "introduce", "put_notice", "read_letters", "intern", "ask_to_spawn", "end_peer",
    "must_yield", "draw", "put_back", "refill",
)  # fmt: skip
"""The functions of the runtime that Python calls, and no others: each has an entry in the machine code. To run one
as Python beside machine code that works on the same structures would undo every lock.
"""

_TYPES: dict[str, Any] = {
    "i32": ctypes.c_int32,
    "u32": ctypes.c_uint32,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "None": None,
}
_TAKES_LONG = frozenset(("work", "run_some", "run_woken"))  # Python's lock is released meanwhile


class Calls:
    """The functions of :data:`HOST_CALLS`, as attributes."""

    def __init__(self) -> None:
        self.native = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in HOST_CALLS:
            raise AttributeError(f"{name} is none of the functions of the runtime that Python may call")
        found: Callable[..., Any] = FUNCTIONS[name]
        return found

    def use(self, addresses: Mapping[str, int]) -> None:
        """Call machine code from now on."""
        if not self.native:
            for name in HOST_CALLS:
                setattr(self, name, _entry(name, addresses[name]))
            self.native = True


def _entry(name: str, address: int) -> Callable[..., Any]:
    notes = dict(FUNCTIONS[name].__annotations__)
    result = _TYPES[notes.pop("return")]
    # A structure is passed by its address, which ctypes takes of the object.
    names = FUNCTIONS[name].__globals__
    kinds = [_TYPES[note] if note in _TYPES else ctypes.POINTER(names[note]) for note in notes.values()]
    make = ctypes.CFUNCTYPE if name in _TAKES_LONG else ctypes.PYFUNCTYPE
    return make(result, *kinds)(address)


calls = Calls()
"""The runtime of this process."""
