"""Virtual time for what runs on a simulated node."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from iridium.vm.runtime import locks
from iridium.vm.runtime.calls import calls

if TYPE_CHECKING:
    from iridium.testing.network import Network
    from iridium.testing.node import SimulatedNode


class SimulatedTimer:
    """A call that is to come."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def active(self) -> bool:
        """Whether it is still to come."""
        return self._action is not None

    def cancel(self) -> None:
        """Let it not come."""
        self._action = None

    def fire(self) -> None:
        """Its time has come."""
        action, self._action = self._action, None
        if action is not None:
            action()


class SimulatedReactor:
    """As much of a reactor as the processes of a simulated node use.

    Args:
        node: whose.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    def seconds(self) -> float:
        """The virtual time."""
        return self._node.network.now

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **keywords: Any) -> SimulatedTimer:
        """Call something later, if the node lives."""
        timer = SimulatedTimer(lambda: call(*args, **keywords))
        self._node.later(delay, timer.fire)
        return timer


TICK_OF_CLOCK = 50_000
"""Nanoseconds that virtual time goes on whenever the runtime looks at its clock, so that turns come to an end."""


@contextlib.contextmanager
def virtual_time(network: Network) -> Iterator[None]:
    """Let the runtime of processes, as plain Python, have the time of a network: SLEEP and RECVT take no real
    time. Whatever happens to processes of simulated nodes happens in here.
    """
    last = 0

    def clock_gettime(clock: int, place: int) -> int:
        nonlocal last
        last = max(last + TICK_OF_CLOCK, int(network.now * 1e9))
        ctypes.c_int64.from_address(place).value = last // 1_000_000_000
        ctypes.c_int64.from_address(place + 8).value = last % 1_000_000_000
        return 0

    # A real node may have loaded the machine code, whose clock is the system's.
    loaded, calls.__dict__ = calls.__dict__, {"native": False}
    kept, locks.clock_gettime = locks.clock_gettime, clock_gettime
    try:
        yield
    finally:
        locks.clock_gettime = kept
        calls.__dict__ = loaded
