"""What strangers do to a port, in the log: one line for each kind in a while, not one for each time."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

LOG_AGAIN = 60.0
"""Seconds between two log lines about the same kind of abuse."""


class AbuseLog:
    """One line in the log for each kind of abuse in :data:`LOG_AGAIN` seconds, with how often it was.

    Args:
        clock: tells the time.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def warn(self, kind: str, peer: str) -> None:
        """Note that a peer did it again. Kinds are a few words of this program, never of a peer."""
        count = self._count[kind] = self._count.get(kind, 0) + 1
        now = self._clock.seconds()
        if now - self._last.get(kind, -LOG_AGAIN) >= LOG_AGAIN:
            self._last[kind] = now
            self._log.warn("REPL port: {kind}, from {peer} ({count} so far)", kind=kind, peer=peer, count=count)
