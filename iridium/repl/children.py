"""What processes print that a session has spawned or observes, as lines of that session.

Each line begins with the pid, ``PID@NODE`` of another node, since several may print at once, and a person may be
typing meanwhile. A line that has not ended is shown after a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from iridium.processes import Exit
from iridium.repl.screen import missed

PATIENCE = 0.1
"""Seconds until a line is shown that has not ended."""

LONGEST_LINE = 4096
"""Characters after which a line that does not end is shown as one."""


class Children:
    """Shows what processes print.

    Args:
        show: takes who says it, and a line.
        call_later: the reactor's.
        label: what people call the process with a pid.

    Attributes:
        joined: takes the pid and what it has printed, as it is, instead; None for lines.
    """

    def __init__(
        self, show: Callable[[str, str], None], call_later: Callable[..., Any], label: Callable[[int], str]
    ) -> None:
        self._label = label
        self._show = show
        self._call_later = call_later
        self._partial: dict[int, str] = {}
        self._timer: Any = None
        self._ended = False
        self.joined: Callable[[int, str], None] | None = None

    def printed(self, pid: int, text: str) -> None:
        """A process has printed."""
        if self._ended:
            return
        if self.joined is not None:
            self.joined(pid, text)
            return
        *lines, rest = (self._partial.pop(pid, "") + text).split("\n")
        for line in lines:
            self._line(pid, line)
        if len(rest) > LONGEST_LINE:
            self._line(pid, rest)
        elif rest:
            self._partial[pid] = rest
            if self._timer is None:
                self._timer = self._call_later(PATIENCE, self._lose_patience)

    def missed(self, pid: int, count: int) -> None:
        """So many characters that a process has printed have not come here."""
        if not self._ended:
            self._finish(pid)
            self._line(pid, missed(count))

    def ended(self, pid: int, how: Exit) -> None:
        """A process has ended."""
        if not self._ended:
            self._finish(pid)
            self._line(pid, f"ended: {how.fault or how.text}")

    def end(self) -> None:
        """Show nothing more."""
        self._ended = True
        self._partial.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _line(self, pid: int, line: str) -> None:
        self._show(f"[{self._label(pid)}]", line)

    def _finish(self, pid: int) -> None:
        if pid in self._partial:
            self._line(pid, self._partial.pop(pid))

    def _lose_patience(self) -> None:
        self._timer = None
        for pid in list(self._partial):
            self._finish(pid)
