"""From pids to the records in the slots that they name. In the subset of Python of
:mod:`iridium.vm.runtime.subset`.
"""

from __future__ import annotations

from iridium.vm.record import Record
from iridium.vm.runtime.layout import ENDED, FREE, SLOT, SLOT_MASK, Shared
from iridium.vm.runtime.subset import at, native, u32, u64


@native
def slot_of(shared: Shared, pid: u32) -> u64:
    """The record in the slot that a pid names, whose pid may be another by now; 0 where that was never used."""
    slot = pid & SLOT_MASK
    if slot == 0 or slot >= shared.used:
        return u64(0)
    return shared.slab + u64(slot) * SLOT


@native
def find(shared: Shared, pid: u32) -> u64:
    """The record of a process, a proxy or another that has a mailbox; or 0.

    It may end at any time: whoever takes its lock looks at its pid and kind again.
    """
    found = slot_of(shared, pid)
    if found != 0:
        vm = at(Record, found)
        if vm.pid != pid or vm.kind == FREE or vm.kind == ENDED:
            found = 0
    return found
