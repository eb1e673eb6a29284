"""What of a flood of trouble goes to the log: some lines of each kind in a while, not one for each time."""

from __future__ import annotations

WINDOW = 10.0
"""Seconds in which lines of one kind are counted."""


class Throttle:
    """Decides what of a flood is worth a line.

    Args:
        lines: of one kind in :data:`WINDOW` seconds; the limit ``stranger-log``.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._said: dict[str, list[float]] = {}
        self._unsaid: dict[str, int] = {}

    def ask(self, now: float, kind: str = "") -> int | None:
        """Whether to say it.

        Args:
            now: seconds of a monotonic clock.
            kind: of the trouble: a few words of this program, never of a peer, or the table would grow.

        Returns:
            How many of the kind were not said since the last one that was; None when this one is not to be said
            either.
        """
        said = self._said[kind] = [when for when in self._said.get(kind, ()) if now - when < WINDOW]
        if len(said) >= self._lines:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return None
        said.append(now)
        return self._unsaid.pop(kind, 0)
