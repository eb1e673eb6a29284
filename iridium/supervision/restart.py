"""When a replica that ended runs again: pure decisions about policy, intensity and backoff."""

from __future__ import annotations

from collections import deque
from random import Random

from iridium.supervision.types import ExitReason, Program


def runs_again(program: Program, reason: ExitReason) -> bool:
    """Whether the policy wants a replica to run again after that end."""
    if program.restart == "transient":
        return reason.code != 0
    return program.restart == "permanent"


def pause(program: Program, tries: int, random: Random) -> float:
    """Seconds before a restart.

    Args:
        program: says how long.
        tries: restarts one after the other before this one.
        random: the source of jitter.
    """
    try:
        full = min(program.most, program.first * program.factor**tries)
    except OverflowError:
        full = program.most
    return full * (1 - program.jitter * random.random())  # nosec B311  # jitter, no secret


class Intensity:
    """Counts the restarts of one replica.

    Args:
        program: says how many are too many.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._recent: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Whether one more restart is not too many; if so it is counted."""
        while self._recent and now - self._recent[0] >= self._program.period:
            self._recent.popleft()
        if len(self._recent) >= self._program.restarts:
            return False
        self._recent.append(now)
        return True
