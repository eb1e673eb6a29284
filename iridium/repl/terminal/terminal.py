"""A terminal with a line editor, at the other end of some bytes. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from iridium.repl.lines import BadLineError
from iridium.repl.terminal.display import Display
from iridium.repl.terminal.editor import Event, LineEditor
from iridium.repl.terminal.keys import Key, KeyReader

MOST_LISTED = 100
"""Words that are listed as what one could become; all begin the same way."""

_PASTES_MARKED = "\x1b[?2004h"
_PASTES_PLAIN = "\x1b[?2004l"


class Listener(Protocol):
    """What happens to what is typed."""

    def entered(self, line: str | BadLineError) -> None:
        """A line was entered."""

    def interrupted(self) -> None:
        """Ctrl-C was pressed."""

    def ended(self) -> None:
        """Ctrl-D was pressed where nothing was typed."""


class Terminal:
    """Shows text and takes lines.

    Args:
        send: takes bytes for the terminal.
        listener: is told what is typed.
        editor: the line.
        prompt: what the session writes to ask for a line.
        columns, rows: the terminal's size; 0 where that is not known.

    Attributes:
        editor: as given.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        listener: Listener,
        editor: LineEditor,
        prompt: str,
        columns: int,
        rows: int,
    ) -> None:
        self._send = send
        self._listener = listener
        self._prompt = prompt
        self._keys = KeyReader()
        self._display = Display(self._collect, columns, rows)
        self._drawn: list[str] = []
        self.editor = editor

    def open(self) -> None:
        """Have pastes marked as such, so that nothing in them is taken for a key."""
        self._send(_PASTES_MARKED.encode())

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._send(_PASTES_PLAIN.encode())

    def feed(self, data: bytes) -> None:
        """Take bytes of the terminal."""
        for press in self._keys.feed(data):
            if press.key is Key.INTERRUPT:
                self._display.show(self.editor.text, self.editor.cursor)  # what is given up stays in view
            event = self.editor.press(press)
            if event is not None:
                self._happened(event)
        self._display.show(self.editor.text, self.editor.cursor)
        self._flush()

    def write(self, text: str) -> None:
        """Show text of the session before what is being typed.

        At a prompt it is something that nobody asked for, or the answer to a line that was typed ahead. Either
        takes the place of the prompt; the next one is on its way.
        """
        asked = self._display.lead == self._prompt
        self._display.write(text.removeprefix("\n") if asked else text, instead=asked)
        self._flush()

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""
        self._display.resize(columns, rows)
        self._flush()

    def _happened(self, event: Event) -> None:
        editor, display = self.editor, self._display
        if event is Event.ENTERED:
            line = editor.entered
            display.show(*((line, len(line)) if isinstance(line, str) else ("", 0)))
            display.leave()
            self._flush()
            self._listener.entered(line)
        elif event is Event.INTERRUPTED:
            asked = display.lead == self._prompt
            if asked:
                display.leave("^C")
            display.show("", 0)
            self._flush()
            self._listener.interrupted()
            if asked and display.lead == "":
                display.write(self._prompt)
        elif event is Event.ENDED:
            self._listener.ended()
        elif event is Event.LISTED:
            display.show(editor.text, editor.cursor)
            lead = display.lead or ""
            display.leave()
            display.write(_listing(editor.listed) + lead)
        elif event is Event.CLEARED:
            display.show(editor.text, editor.cursor)
            display.clear()
        else:
            display.ring()

    def _collect(self, text: str) -> None:
        self._drawn.append(text)

    def _flush(self) -> None:
        drawn = "".join(self._drawn)
        self._drawn.clear()
        if drawn:
            self._send(drawn.encode("utf-8", "replace"))


def _listing(words: list[str]) -> str:
    shown = "  ".join(words[:MOST_LISTED])
    more = len(words) - MOST_LISTED
    return f"{shown}\n" + (f"and {more} more\n" if more > 0 else "")
