"""The three ways to use a session over SSH: line by line, one command and its answer, and at a terminal."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from iridium.repl.commands import TABLE
from iridium.repl.completion import complete
from iridium.repl.conversation import Conversation
from iridium.repl.lines import INTERRUPT, BadLineError, LineReader, split_interrupts
from iridium.repl.screen import PROMPT
from iridium.repl.terminal.editor import LineEditor
from iridium.repl.terminal.terminal import Terminal

if TYPE_CHECKING:
    from iridium.repl.ssh.channel import SessionChannel


class Shell:
    """What carries a conversation over a channel.

    Args:
        channel: the channel.
        tool: whether there is no greeting and no prompt.
        errors: whether errors go to the standard error output.

    Attributes:
        conversation: the session.
        clock: for timers.
    """

    def __init__(self, channel: SessionChannel, *, tool: bool = False, errors: bool = False) -> None:
        transport = channel.transport
        self._channel = channel
        self._transport = transport
        self.clock: Any = transport.factory.clock
        self.conversation = Conversation(
            transport.factory.sessions,
            self,
            role=transport.key.role,
            trusted=True,
            tool=tool,
            errors=self._write_error if errors else None,
        )

    def start(self) -> None:
        """Begin."""
        self.conversation.open()

    def received(self, data: bytes) -> None:
        """Take what the peer sends."""
        raise NotImplementedError

    def end_input(self) -> None:
        """The peer sends no more."""
        self.conversation.end_input()

    def interrupt(self) -> None:
        """Stop what runs, at once."""
        self.conversation.session.interrupt()

    def resize(self, columns: int, rows: int) -> None:
        """The peer's window has another size."""

    def pause(self) -> None:
        """The peer does not read what it has."""
        self.conversation.pause()

    def resume(self) -> None:
        """It does again."""
        self.conversation.resume()

    # What carries the conversation.

    def write(self, text: str) -> None:
        """Send text."""
        self._channel.write(text.encode())  # type: ignore[no-untyped-call]

    def _write_error(self, text: str) -> None:
        self._channel.write_error(text.encode())

    def read(self, go: bool) -> None:
        """Take more from the peer, or leave it there for now."""
        self._channel.read(go)

    def close(self, failed: bool) -> None:
        """Send what there is, and the exit status, and close."""
        self._channel.finish(int(failed))

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""
        self._channel.abandon(1)

    def abuse(self, kind: str) -> None:
        """Log what nobody does who means well."""
        self._transport.abuse(kind)


class Plain(Shell):
    """Line by line, as over telnet: for pipes, and for tools."""

    def __init__(self, channel: SessionChannel) -> None:
        super().__init__(channel)
        self._reader = LineReader(channel.transport.factory.sessions.limits.session_line)

    def received(self, data: bytes) -> None:
        """Take a piece of the input."""
        first, *rest = split_interrupts(data)
        self.conversation.take(self._reader.feed(first))
        for piece in rest:
            self.interrupt()
            self.conversation.take(self._reader.feed(piece))

    def end_input(self) -> None:
        """The input has ended."""
        self.conversation.take(self._reader.finish())
        super().end_input()

    def interrupt(self) -> None:
        """Stop what runs, and forget the line that has not ended yet."""
        self._reader.interrupt()
        super().interrupt()


class Command(Shell):
    """The lines of a command, and their answers; what the peer sends besides is none of them.

    Args:
        channel: the channel.
        command: the lines.
        terminal: whether the output is for a terminal.
    """

    def __init__(self, channel: SessionChannel, command: bytes, *, terminal: bool) -> None:
        super().__init__(channel, tool=True, errors=True)
        self._command = command
        self._terminal = terminal

    def start(self) -> None:
        """Do all of it."""
        if not self.conversation.open():
            return
        reader = LineReader(self._transport.factory.sessions.limits.session_line)
        self.conversation.take([*reader.feed(self._command), *reader.finish()])
        self.conversation.end_input()

    def received(self, data: bytes) -> None:
        """Look for Ctrl-C, which a terminal sends."""
        if self._terminal and len(split_interrupts(data)) > 1:
            self.interrupt()

    def end_input(self) -> None:
        """The command was here from the beginning."""

    def write(self, text: str) -> None:
        """Send text."""
        super().write(text.replace("\n", "\r\n") if self._terminal else text)

    def _write_error(self, text: str) -> None:
        super()._write_error(text.replace("\n", "\r\n") if self._terminal else text)

    def close(self, failed: bool) -> None:
        """Close with 1 where anything went wrong."""
        super().close(failed or self.conversation.session.failed)


class AtTerminal(Shell):
    """At a terminal, with a line editor of ours.

    Args:
        channel: the channel.
        columns, rows: the terminal's size.
    """

    def __init__(self, channel: SessionChannel, columns: int, rows: int) -> None:
        super().__init__(channel)
        session = self.conversation.session
        longest = channel.transport.factory.sessions.limits.session_line
        editor = LineEditor(partial(complete, session), lambda line: TABLE.shown(line) == line, longest)
        self._terminal = Terminal(self._send, self, editor, PROMPT, columns, rows)
        # What is typed while the terminal takes nothing: it would have to show it. The window limits it.
        self._held = b""
        self._wanted = True

    def start(self) -> None:
        """Begin."""
        self._terminal.open()
        super().start()

    def received(self, data: bytes) -> None:
        """Take what is typed."""
        if self.conversation.closing:
            return
        if not self.conversation.paused:
            self._terminal.feed(data)
            return
        self._held += data
        self.read(self._wanted)
        if INTERRUPT in data:
            self.interrupt()

    def resize(self, columns: int, rows: int) -> None:
        """The window has another size."""
        if not self.conversation.closing:
            self._terminal.resize(columns, rows)

    def resume(self) -> None:
        """The terminal takes something again."""
        super().resume()
        if self._held and not self.conversation.paused:
            held, self._held = self._held, b""
            self.read(self._wanted)
            self.received(held)

    def read(self, go: bool) -> None:
        """Take more from the terminal, or leave it there for now."""
        self._wanted = go
        super().read(go and not self._held)

    def write(self, text: str) -> None:
        """Show text."""
        self._terminal.write(text)

    def close(self, failed: bool) -> None:
        """Leave the terminal as it was, and close."""
        self._terminal.close()
        super().close(failed)

    def _send(self, data: bytes) -> None:
        self._channel.write(data)  # type: ignore[no-untyped-call]

    # What is typed.

    def entered(self, line: str | BadLineError) -> None:
        """A line was entered."""
        self.conversation.take([line])

    def interrupted(self) -> None:
        """Ctrl-C was pressed."""
        self.interrupt()

    def ended(self) -> None:
        """Ctrl-D was pressed where nothing was typed."""
        self.end_input()
