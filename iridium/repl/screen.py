"""What the other end of a session sees: whole lines, a prompt, and news in between that nobody asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from iridium.repl.visible import visible, visible_json

BANNER = "Welcome to Iridium! Let's be productive!\n"
PROMPT = ">>> "

NEWS = 64
"""Texts from other nodes that are kept for a reader who does not read; the oldest are dropped."""


class Screen:
    """Keeps track of where the cursor of the other end is.

    Args:
        write: takes text for the other end.

    Attributes:
        paused: whether the other end does not read for now; only news is held back here.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.paused = False
        self._write_out = write
        self._line_start = True
        self._prompted = False
        self._news: deque[str] = deque(maxlen=NEWS)
        self._ended = False

    def write(self, text: str) -> None:
        """Write text as it is, a program's for example."""
        if text and not self._ended:
            self._prompted = False
            self._line_start = text.endswith("\n")
            self._write_out(text)

    def write_line(self, text: str) -> None:
        """Write whole lines, from the start of a line on."""
        if text:
            self.write(text if self._line_start else f"\n{text}")

    def write_json_output(self, text: str) -> None:
        """Write what a program printed, for a tool: one JSON object."""
        self.write_line(visible_json(msgspec.json.encode({"output": text}).decode()) + "\n")

    def prompt(self) -> None:
        """Ask for a line, unless that is the last thing that was written."""
        if not self._prompted:
            self.write_line(PROMPT)
            self._prompted = not self._ended

    def entered(self) -> None:
        """A line came: whoever typed it ended it, which put the cursor at the start of the next."""
        if self._prompted:
            self._line_start = True
            self._prompted = False

    def announce(self, sender: str, text: str) -> None:
        """Show a text from another node, and the prompt again where one stood."""
        self.news(f"* {sender}: {text}".replace("\n", "\\n"))

    def news(self, line: str) -> None:
        """Show a line that nobody asked for, and the prompt again where one stood."""
        news = visible(line) + "\n"
        if self.paused:
            self._news.append(news)
        else:
            self._show_news(news)

    def resume(self) -> None:
        """The other end reads again."""
        self.paused = False
        while self._news and not self.paused:
            self._show_news(self._news.popleft())

    def end(self) -> None:
        """Nobody is there any more."""
        self._ended = True
        self._news.clear()

    def _show_news(self, news: str) -> None:
        prompted = self._prompted
        if prompted:
            self._line_start = False
        self.write_line(news)
        if prompted:
            self.prompt()
