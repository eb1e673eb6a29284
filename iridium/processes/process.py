"""A process, as Python programs hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from iridium.processes.kept import MOST_TEXT
from iridium.processes.types import Exit

if TYPE_CHECKING:
    from iridium.processes.processes import Processes


class Process:
    """A process that Python has spawned, or asked for.

    Attributes:
        pid: its number on this node.
        exit: how it ended, or None while it lives.
    """

    def __init__(self, processes: Processes, pid: int, flow: Callable[[bool, bool], None] | None = None) -> None:
        self._processes = processes
        # Tells the process of another node whether it may wait for its reader, and whether it should.
        self._flow = flow
        self._paused = False
        self.pid = pid
        self.exit: Exit | None = None
        self._waiting: list[Deferred[Exit]] = []
        self._output: str | None = None  # of a process of another node

    def when_done(self) -> Deferred[Exit]:
        """Fires when it has ended, with how; at once if it has already. Each call gives a Deferred of its own."""
        if self.exit is not None:
            return succeed(self.exit)
        waiting: Deferred[Exit] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def send(self, value: int | bytes, *, is_pid: bool = False) -> bool:
        """Send it a message, from nobody; whether it was taken."""
        return self._processes.send(self.pid, value, is_pid=is_pid)

    def kill(self) -> bool:
        """End it; whether it lived."""
        return self._processes.kill(self.pid)

    def pause(self) -> None:
        """Take no more of its output for now: once there are some thousand items of it, the process waits.

        Its end is told after the rest of its output. Twice is as good as once.
        """
        self._pause(True)

    def resume(self) -> None:
        """Take it again. Twice is as good as once."""
        self._pause(False)

    def _pause(self, on: bool) -> None:
        if self._paused == on or self.exit is not None:
            return
        self._paused = on
        if self._flow is not None:
            self._flow(True, on)
        elif on:
            self._processes.hold(self.pid)
        else:
            self._processes.let_go(self.pid)

    def detach(self) -> None:
        """Let it never wait for its reader again: what finds no room on the way from another node is missed."""
        self.resume()
        if self._flow is not None and self.exit is None:
            self._flow(False, False)

    @property
    def output(self) -> str:
        """What it has printed, the last of it."""
        return self._processes.outputs.of(self.pid) if self._output is None else self._output

    def _printed(self, text: str) -> None:
        """One of another node has printed."""
        self._output = ((self._output or "") + text)[-MOST_TEXT:]

    def _ended(self, how: Exit) -> None:
        self.exit = how
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(how)
