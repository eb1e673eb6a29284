"""A session with somebody at the other end of a connection: who is silent, slow or gone is not waited for.

Whatever carries it, telnet or SSH, makes lines of bytes and bytes of text; here is what both have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from iridium.repl.intake import Intake
from iridium.repl.lines import BadLineError
from iridium.repl.session import Session
from iridium.repl.sessions import Sessions
from iridium.roles import Role

LINGER = 60.0
"""Seconds that all the rest may take after the end of the input, when nobody can type ``!stop`` any more."""

FLUSH = 10.0
"""Seconds that a connection may take to send the rest of its output once it is closed from this end."""

_HTTP = re.compile(r"HTTP/1\.\S\s*\Z")


class Carrier(Protocol):
    """What a conversation needs of the connection that carries it."""

    def write(self, text: str) -> None:
        """Send text; lines end with a newline."""

    def read(self, go: bool) -> None:
        """Take more from the peer, or leave it there for now."""

    def close(self, failed: bool) -> None:
        """Send what there is and close; ``failed`` if that was not the peer's wish."""

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well: a few words of this program."""


class Conversation:
    """One session, its timers, and whether its peer sends and reads.

    Args:
        sessions: those of the node.
        carrier: the connection.
        role: what the peer may do.
        trusted: whether the peer has proved who it is. Then it need not hurry with its first line nor with reading
            the last output, and what runs may go on when its input has ended, since it can still hang up.
        tool: whether there is no greeting and no prompt, only answers.
        errors: takes errors, where they do not go to the same place as answers.

    Attributes:
        session: the session.
        closing: whether it is over from this end.
        paused: whether the peer does not read.
        input_ended: whether the peer sends no more.
    """

    def __init__(
        self,
        sessions: Sessions,
        carrier: Carrier,
        *,
        role: Role = Role.OPERATOR,
        trusted: bool = False,
        tool: bool = False,
        errors: Callable[[str], None] | None = None,
    ) -> None:
        self._sessions = sessions
        self._carrier = carrier
        self._say = errors or carrier.write
        self._trusted = trusted
        self._tool = tool
        self._clock = sessions.clock
        self.session = Session(
            sessions.node,
            carrier.write,
            self.close,
            role=role,
            prompts=not tool,
            errors=errors,
            on_idle=self._done,
        )
        self._intake = Intake(self.session, self._clock, self._read)
        self._timer: Any = None
        self._linger: Any = None
        self._spoke = False
        self._active = self._clock.seconds()
        self.closing = False
        self.paused = False
        self.input_ended = False

    def open(self) -> bool:
        """Greet, or refuse for want of room.

        Returns:
            Whether there is room.
        """
        if not self._sessions.admit(self):
            self._say("Iridium has no room for another session; try again later\n")
            self.close(failed=True)
            return False
        if self._trusted:
            self._speaks()
        limits = self._sessions.limits
        self._timer = self._clock.callLater(limits.idle if self._spoke else limits.first_line, self._check_idle)
        if not self._tool:
            self.session.start()
        return True

    def lost(self) -> None:
        """The connection is gone: let go of everything."""
        self.closing = True
        for call in (self._timer, self._linger):
            if call is not None and call.active():
                call.cancel()
        self._intake.stop()
        self.session.end()
        self._sessions.released(self)

    # Lines in.

    def take(self, lines: Iterable[str | BadLineError]) -> None:
        """Take lines from the peer."""
        for line in lines:
            if self.closing:
                return
            if not self._spoke:
                self._speaks()
                if isinstance(line, str) and _HTTP.search(line):
                    self.abuse("an HTTP request")
                    self.close(failed=True)
                    return
            self._active = self._clock.seconds()
            if isinstance(line, BadLineError):
                self.abuse(f"a line that is {line.kind}")
            self._intake.add(line)
        self._intake.feed()

    def end_input(self) -> None:
        """The peer sends no more: end the session once everything is done."""
        if self.closing or self.input_ended:
            return
        self.input_ended = True
        if self.session.attended and not self._trusted:
            self.session.interrupt()
        if not self._trusted:
            self._linger = self._clock.callLater(
                LINGER, self.end, f"stopped, because the input ended {LINGER:.0f} s ago"
            )
        self._done()

    def _speaks(self) -> None:
        self._spoke = True
        self._sessions.spoke(self)

    def _read(self, go: bool) -> None:
        if not self.closing and not self.input_ended:
            self._carrier.read(go)

    def _done(self) -> None:
        """The session can take a line."""
        self._active = self._clock.seconds()
        self._intake.feed()
        if self.input_ended and self._intake.empty and not self.session.busy:
            self.close()

    # Whether the peer reads.

    def pause(self) -> None:
        """The peer does not read what it has."""
        self.paused = True
        self._intake.pause()
        self.session.pause_output()

    def resume(self) -> None:
        """It does again."""
        self.paused = False
        # First the lines: a program that prints without end would pause the output again at once.
        self._intake.resume()
        self.session.resume_output()

    # The end.

    def _check_idle(self) -> None:
        self._timer = None
        if not self._spoke:
            self.abuse("no first line")
            self.end(f"no line came in {self._sessions.limits.first_line:g} s")
            return
        if self.session.busy and not self.paused:
            self._active = self._clock.seconds()
        idle = self._sessions.limits.idle
        rest = self._active + idle - self._clock.seconds()
        if rest <= 0:
            self.end(f"no line came for {idle / 60:g} minutes")
        else:
            self._timer = self._clock.callLater(rest, self._check_idle)

    def end(self, reason: str) -> None:
        """Say why and close."""
        if self.closing:
            return
        if self.paused:
            self.abort()
        else:
            self._say(f"\n{reason}; the session is closed\n")
            self.close(failed=True)

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well."""
        self._carrier.abuse(kind)

    def close(self, failed: bool = False) -> None:
        """Send what there is and close; the rest happens when the connection is lost.

        Args:
            failed: whether that was not the peer's wish.
        """
        if self.closing:
            return
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.callLater(
            self._sessions.limits.idle if self._trusted else FLUSH, self._carrier.abort
        )
        self._carrier.close(failed)

    def abort(self) -> None:
        """Close at once."""
        self._stop()
        self._carrier.abort()

    def _stop(self) -> None:
        self.closing = True
        self._intake.stop()
        self.session.end()
