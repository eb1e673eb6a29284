"""What the other end of a session sees: whole lines, a prompt, and news in between that nobody asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from iridium.repl.visible import visible, visible_json

BANNER = "Welcome to Iridium! Let's be productive!\n"
PROMPT = ">>> "

NEWS = 64
"""Lines of processes and of other nodes that are kept for a reader who does not read; the oldest are dropped, and
counted for each of as many sources.
"""

LONGEST_OUTPUT = 64 * 1024
"""Characters of output in one JSON object: with 12 for each, as escapes, less than a client takes of a line."""

OTHERS = "[...]"
"""Stands for the sources beyond those."""


def missed(count: int) -> str:
    """What stands in the place of output that could not be shown."""
    return f"... {count} character{'' if count == 1 else 's'} {'was' if count == 1 else 'were'} not shown"


class Screen:
    """Keeps track of where the cursor of the other end is.

    Args:
        write: takes text for the other end.
        prompts: whether to ask for lines.

    Attributes:
        paused: whether the other end does not read for now; only news is held back here, so much of it.
    """

    def __init__(self, write: Callable[[str], None], prompts: bool = True) -> None:
        self._prompts = prompts
        self.paused = False
        self._write_out = write
        self._line_start = True
        self._prompted = False
        self._news: deque[tuple[str, str]] = deque()
        self._missed: dict[str, int] = {}  # characters that were dropped, by source
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
        """Write what a program printed, for a tool: JSON objects, a line each."""
        for at in range(0, len(text), LONGEST_OUTPUT):
            document = msgspec.json.encode({"output": text[at : at + LONGEST_OUTPUT]}).decode()
            self.write_line(visible_json(document) + "\n")

    def prompt(self) -> None:
        """Ask for a line, unless that is the last thing that was written."""
        if self._prompts and not self._prompted:
            self.write_line(PROMPT)
            self._prompted = not self._ended

    def entered(self) -> None:
        """A line came: whoever typed it ended it, which put the cursor at the start of the next."""
        if self._prompted:
            self._line_start = True
            self._prompted = False

    def announce(self, sender: str, text: str) -> None:
        """Show a text from another node, and the prompt again where one stood."""
        self.news("*", f"{sender}: {text}".replace("\n", "\\n"))

    def news(self, source: str, line: str) -> None:
        """Show a line that nobody asked for, after who says it, and the prompt again where one stood."""
        if not self.paused:
            self._show_news(source, line)
            return
        self._news.append((source, line))
        if len(self._news) > NEWS:
            source, line = self._news.popleft()
            if source not in self._missed and len(self._missed) >= NEWS:
                source = OTHERS
            self._missed[source] = self._missed.get(source, 0) + len(line) + 1

    def resume(self) -> None:
        """The other end reads again: tell what it has missed, then what was kept."""
        self.paused = False
        while self._missed and not self.paused:
            source = next(iter(self._missed))
            self._show_news(source, missed(self._missed.pop(source)))
        while self._news and not self.paused:
            self._show_news(*self._news.popleft())

    def end(self) -> None:
        """Nobody is there any more."""
        self._ended = True
        self._news.clear()
        self._missed.clear()

    def _show_news(self, source: str, line: str) -> None:
        news = visible(f"{source} {line}") + "\n"
        prompted = self._prompted
        if prompted:
            self._line_start = False
        self.write_line(news)
        if prompted:
            self.prompt()
