"""Whether the reactor sleeps while it waits for another node's answer, or goes on looking for it.

To sleep and be woken costs more than most answers take where both nodes run on one machine, or stand side by
side. So after something was sent the reactor looks again and again for :data:`SPIN` seconds, but only as long as
the last answer came within that time: a peer that is slow, far away or silent costs one such moment, and then
nothing. Between two looks it offers its processor to whoever else wants it. If somebody does, it sleeps for some
time to come: the system soon wakes those that sleep, and lets those wait that spin.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

SPIN = 200e-6
"""Seconds in which an answer must come: a node of this machine takes 50 us, or 100 if it must be woken itself."""

TAKEN = 100e-6
"""Seconds after which a processor that was offered was taken: nobody took it if it is back in one."""

UNTIL_NEXT = 0.1
"""Seconds without another try after that: a wait for the processor's other threads is some 5 milliseconds."""

MOST_LOOKS = 100
"""Looks for one answer: there is time for some thirty, but a clock may stand still."""


class Spinning:
    """Keeps a reactor from sleeping.

    Args:
        clock: seconds that only go forward.
        call_later: the reactor's: what is called after 0 seconds is called when it has looked at its sockets.
        offer: lets other threads of the machine run.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        call_later: Callable[..., Any],
        offer: Callable[[], object] = os.sched_yield,
    ) -> None:
        self._clock = clock
        self._call_later = call_later
        self._offer = offer
        self._sent: float | None = None  # when the last was sent that nothing has answered
        self._soon = False  # whether the last answer was
        self._not_before = float("-inf")
        self._looks = 0
        self._looking = False

    def sent(self) -> None:
        """Something was sent that may be answered."""
        now = self._sent = self._clock()
        self._looks = 0
        if self._soon and not self._looking and now >= self._not_before:
            self._looking = True
            self._call_later(0, self._look)

    def arrived(self) -> None:
        """Something has arrived."""
        if self._sent is not None:
            self._soon = self._clock() - self._sent < SPIN
            self._sent = None

    def _look(self) -> None:
        now = self._clock()
        self._looks += 1
        self._looking = False
        if self._sent is None:
            return
        if now - self._sent >= SPIN or self._looks >= MOST_LOOKS:
            self._soon = False
            return
        self._offer()
        after = self._clock()
        if after - now > TAKEN:
            self._not_before = after + UNTIL_NEXT
        else:
            self._looking = True
            self._call_later(0, self._look)
