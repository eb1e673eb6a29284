"""Work that strangers can have a node do: a little in each turn of the reactor, so that the others have theirs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

SLICE = 0.002
"""Seconds of such work in one turn: some steps of a TLS handshake, and no wait for anybody else."""


class Turns:
    """Puts work off that does not fit into a turn.

    How much waits is bounded by who gives it: each connection in a handshake has one piece at most.

    Args:
        clock: seconds of a monotonic clock.
        next_turn: calls something in the next turn of the reactor.
    """

    def __init__(self, clock: Callable[[], float], next_turn: Callable[[Callable[[], None]], Any]) -> None:
        self._clock = clock
        self._next_turn = next_turn
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent = 0.0
        self._due: Any = None

    def do(self, work: Callable[[], None]) -> None:
        """Do something now, or in one of the next turns, behind what waits already."""
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._work()

    def _work(self) -> None:
        begun = self._clock()
        while self._waiting and self._spent < SLICE:
            work = self._waiting.popleft()
            try:
                work()
            finally:  # the others are not to wait for ever, whatever happens
                now = self._clock()
                self._spent += now - begun
                begun = now
                self._await_next()
        self._await_next()

    def _await_next(self) -> None:
        if self._due is None:
            self._due = self._next_turn(self._go_on)

    def _go_on(self) -> None:
        self._due = None
        self._spent = 0.0
        if self._waiting:
            self._work()

    def stop(self) -> None:
        """Do nothing of it any more."""
        self._waiting.clear()
        if self._due is not None:
            self._due.cancel()
            self._due = None
