"""Lines on their way from a connection to its session.

While the session does a line, the lines behind it wait here, and beyond :data:`MAX_HELD` bytes in the peer's
socket: a program can be pasted however long it is. But a line that takes longer than :data:`PATIENCE` must not
hide the ``!stop`` behind it. So then all that waits goes to the session, and what comes after that goes there at
once, into a queue with a limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from iridium.repl.lines import BadLineError
from iridium.repl.session import Session

PATIENCE = 0.1
"""Seconds that a line may take before the lines behind it are looked at."""

MAX_HELD = 64 * 1024
"""Bytes of lines that wait here before the peer's socket has to hold the rest."""

OVERHEAD = 64
"""Bytes that a line counts for besides its text, so that empty lines count too."""


class Intake:
    """Gives lines to a session as it can take them.

    Args:
        session: where they go.
        clock: for the patience.
        read: called with whether more may be read from the peer.
    """

    def __init__(self, session: Session, clock: Any, read: Callable[[bool], None]) -> None:
        self._session = session
        self._clock = clock
        self._read = read
        self._lines: deque[str | BadLineError] = deque()
        self._held = 0
        self._reading = True
        self._paused = False
        self._feeding = False
        # The number of the line that takes long, how many of those behind it came before that was known, and the
        # call that finds out.
        self._slow: int | None = None
        self._pasted = 0
        self._patience: Any = None

    @property
    def empty(self) -> bool:
        """Whether no line waits here."""
        return not self._lines

    def add(self, line: str | BadLineError) -> None:
        """Take a line; :meth:`feed` gives it to the session."""
        self._lines.append(line)
        self._held += self._size(line)

    def pause(self) -> None:
        """Give nothing to the session for now."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.feed()

    def stop(self) -> None:
        """Forget everything."""
        self._paused = True
        self._lines.clear()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def feed(self) -> None:
        """Give lines to the session as far as it can take them."""
        if self._feeding or self._paused:
            return
        self._feeding = True
        try:
            while self._lines and not self._paused:
                if self._session.busy and not self._is_slow():
                    break
                line = self._lines.popleft()
                self._held -= self._size(line)
                self._give(line)
        finally:
            self._feeding = False
        if self._reading != (self._held < MAX_HELD):
            self._reading = not self._reading
            self._read(self._reading)

    @staticmethod
    def _size(line: str | BadLineError) -> int:
        return OVERHEAD + (len(line) if isinstance(line, str) else 0)

    def _give(self, line: str | BadLineError) -> None:
        pasted = self._pasted > 0
        self._pasted -= pasted
        if isinstance(line, BadLineError):
            self._session.reject(line)
        elif pasted or not self._session.busy:
            self._session.submit(line)
        else:
            self._session.line(line)

    def _is_slow(self) -> bool:
        """Whether the session's line takes long; if that is not known yet, it is found out in a while."""
        line = self._session.lines_done
        rest = self._session.began + PATIENCE - self._clock.seconds()
        if self._slow != line and self._patience is None:
            if rest > 0:
                self._patience = self._clock.callLater(rest, self._lose_patience)
            else:
                self._slow = line
        return self._slow == line

    def _lose_patience(self) -> None:
        self._patience = None
        if self._session.busy and self._session.began + PATIENCE <= self._clock.seconds():
            self._slow = self._session.lines_done
            # Once: those that went over the last time still wait in the session.
            self._pasted = 0 if self._session.waiting else len(self._lines)
        self.feed()
