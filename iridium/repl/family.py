"""The processes of a program that somebody runs from the command line: what they print is shown with its own.

Nothing of it is lost: while the reader does not read, those who print wait, and how the program ended is only told
once what those have printed is shown that ended before it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred

from iridium.processes import Processes
from iridium.vm.runtime.layout import ENDED

LOOK_AGAIN = 0.005
"""Seconds between two looks whether a process has ended completely: it takes a moment of another thread."""

MOST_LOOKS = 200
"""Looks, a second of them: then the program's end is told all the same."""

LOOKED_AT = 4096
"""Slots of the table that are looked at: some milliseconds. Where there are more, the end of one may be missed."""


class Family:
    """Shows what the processes of a session's program print.

    Args:
        processes: of the node.
        pid: the session's.
        show: takes what they print.
        paused: whether the reader does not read.
        call_later: the reactor's.
    """

    def __init__(
        self,
        processes: Processes,
        pid: int,
        show: Callable[[str], None],
        paused: Callable[[], bool],
        call_later: Callable[..., Any],
    ) -> None:
        self._processes = processes
        self._pid = pid
        self._show = show
        self._paused = paused
        self._call_later = call_later
        self._held: dict[int, None] = {}  # those that wait for the reader
        self._shown: Deferred[None] | None = None
        self._looks = 0
        self._next: Any = None

    def printed(self, pid: int, text: str) -> None:
        """One of them has printed."""
        self._show(text)
        if self._paused() and pid not in self._held:
            self._held[pid] = None
            self._processes.hold(pid)

    def resume(self) -> None:
        """The reader reads again."""
        held, self._held = self._held, {}
        for pid in held:
            self._processes.let_go(pid)
        self._look()

    def finish(self) -> Deferred[None]:
        """Wait, once the program has ended, until all is shown; who cancels that does not want to see the rest."""
        shown = self._shown = Deferred(lambda deferred: deferred.callback(None))
        self._look()
        return shown

    def stop(self) -> None:
        """Show nothing more, and let nobody wait."""
        self._shown = None
        self._stop_looking()
        self.resume()

    def _stop_looking(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        if self._shown is None or self._shown.called or self._held:
            return
        if self._next is not None:
            return
        if self._looks < MOST_LOOKS and self._somebody_ends():
            self._looks += 1
            self._next = self._call_later(LOOK_AGAIN, self._look_again)
        else:
            self._shown.callback(None)

    def _look_again(self) -> None:
        self._next = None
        self._look()

    def _somebody_ends(self) -> bool:
        """Whether one of them has ended, and the node has not read all that it printed."""
        records = islice(self._processes.table.records(), LOOKED_AT)
        return any(record.parent == self._pid and record.kind == ENDED for record in records)
