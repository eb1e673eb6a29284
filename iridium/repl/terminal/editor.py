"""The line that somebody types: keys in, a text with a cursor, and lines when they are entered. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from iridium.limits import DEFAULTS
from iridium.repl.lines import BadLineError
from iridium.repl.terminal.keys import Key, Press
from iridium.repl.terminal.width import before, behind

HISTORY = 256
"""Lines that Up finds again."""

LONGEST_REMEMBERED = 1024
"""Characters of a line that is remembered: with the others, 1 MiB for a session at the very most."""


class Event(Enum):
    """What a key led to besides another text or another place of the cursor."""

    ENTERED = auto()
    INTERRUPTED = auto()
    ENDED = auto()
    CLEARED = auto()
    LISTED = auto()
    BELL = auto()


class LineEditor:
    """A line with a cursor in it.

    Args:
        complete: the words that begin with a text.
        remembers: whether a line may be found again: not one with a secret in it.
        longest: bytes of a line; what is longer is discarded as it comes.

    Attributes:
        text: what stands in the line.
        cursor: before which character of it the cursor is.
        entered: the line that was entered last, or what is wrong with it.
        listed: what the word could become that was to be completed last.
    """

    def __init__(
        self,
        complete: Callable[[str], list[str]],
        remembers: Callable[[str], bool] = lambda line: True,
        longest: int = DEFAULTS.session_line,
    ) -> None:
        self.text = ""
        self.cursor = 0
        self.entered: str | BadLineError = ""
        self.listed: list[str] = []
        self._complete = complete
        self._remembers = remembers
        self._longest = longest
        self._too_long = False
        self._history: deque[str] = deque(maxlen=HISTORY)
        # How far back in it, from 1; 0 is the line that is being typed, which waits aside meanwhile.
        self._back = 0
        self._aside = ""

    def press(self, press: Press) -> Event | None:
        """Take a key.

        Returns:
            What it led to, where it is more than a change of the line.
        """
        if press.key is Key.TEXT:
            return self._insert(press.text)
        return _KEYS[press.key](self)

    def clear(self) -> None:
        """Forget what was typed."""
        self._set("")
        self._too_long = False
        self._back = 0

    def _set(self, text: str, cursor: int | None = None) -> None:
        self.text = text
        self.cursor = len(text) if cursor is None else cursor

    def _insert(self, text: str) -> Event | None:
        if not self._too_long:
            whole = self.text[: self.cursor] + text + self.text[self.cursor :]
            self._too_long = len(whole) > self._longest or len(whole.encode()) > self._longest
            self._set(whole, self.cursor + len(text))
        if self._too_long:
            # What comes now is discarded as it comes, up to the end of the line.
            self._set("")
            return Event.BELL
        return None

    def _cut(self, start: int, end: int) -> Event | None:
        if start == end:
            return Event.BELL
        self._set(self.text[:start] + self.text[end:], start)
        return None

    def _move(self, to: int) -> Event | None:
        if to == self.cursor:
            return Event.BELL
        self.cursor = to
        return None

    # Keys.

    def _bad(self) -> Event:
        return Event.BELL

    def _enter(self) -> Event:
        text = self.text
        self.entered = text
        again = bool(self._history) and self._history[-1] == text
        if self._too_long:
            what = f"the line is longer than {self._longest} bytes; it was dropped"
            self.entered = BadLineError("too long", what)
        elif text.strip() and not again and len(text) <= LONGEST_REMEMBERED and self._remembers(text):
            self._history.append(text)
        self.clear()
        return Event.ENTERED

    def _interrupt(self) -> Event:
        self.clear()
        return Event.INTERRUPTED

    def _end_of_input(self) -> Event | None:
        if not self.text and not self._too_long:
            return Event.ENDED
        return self._delete()

    def _clear_screen(self) -> Event:
        return Event.CLEARED

    def _left(self) -> Event | None:
        return self._move(before(self.text, self.cursor))

    def _right(self) -> Event | None:
        return self._move(behind(self.text, self.cursor))

    def _home(self) -> Event | None:
        return self._move(0)

    def _end(self) -> Event | None:
        return self._move(len(self.text))

    def _word_left(self) -> Event | None:
        return self._move(self._word_start())

    def _word_right(self) -> Event | None:
        return self._move(self._word_end())

    def _backspace(self) -> Event | None:
        return self._cut(before(self.text, self.cursor), self.cursor)

    def _delete(self) -> Event | None:
        return self._cut(self.cursor, behind(self.text, self.cursor))

    def _delete_word(self) -> Event | None:
        return self._cut(self.cursor, self._word_end())

    def _kill_word(self) -> Event | None:
        """Up to the blank before: a label or a path goes in one piece."""
        start = self.cursor
        while start and self.text[start - 1].isspace():
            start -= 1
        while start and not self.text[start - 1].isspace():
            start -= 1
        return self._cut(start, self.cursor)

    def _kill_to_start(self) -> Event | None:
        self._too_long = False
        return self._cut(0, self.cursor)

    def _kill_to_end(self) -> Event | None:
        return self._cut(self.cursor, len(self.text))

    def _word_start(self) -> int:
        at = self.cursor
        while at and not self.text[at - 1].isalnum():
            at -= 1
        while at and self.text[at - 1].isalnum():
            at -= 1
        # Not between a character and what combines with it.
        return at if at == 0 else behind(self.text, at - 1)

    def _word_end(self) -> int:
        at, end = self.cursor, len(self.text)
        while at < end and not self.text[at].isalnum():
            at += 1
        while at < end and self.text[at].isalnum():
            at += 1
        return at if at == self.cursor else behind(self.text, at - 1)

    def _up(self) -> Event | None:
        return self._go_back(self._back + 1)

    def _down(self) -> Event | None:
        return self._go_back(self._back - 1)

    def _go_back(self, back: int) -> Event | None:
        if not 0 <= back <= len(self._history) or self._too_long:
            return Event.BELL
        if self._back == 0:
            self._aside = self.text
        self._back = back
        self._set(self._history[-back] if back else self._aside)
        return None

    def _tab(self) -> Event | None:
        typed = self.text[: self.cursor]
        start = max(typed.rfind(" "), typed.rfind("\t")) + 1
        word = typed[start:]
        if not word:
            return self._insert("\t")  # that of a pasted program, most likely
        found = self._complete(word)
        longest = found[0] if found else ""
        while not all(one.startswith(longest) for one in found):
            longest = longest[:-1]
        if len(found) == 1:
            longest += " "
        if len(longest) > len(word):
            return self._insert(longest[len(word) :])
        self.listed = found
        return Event.LISTED if found else Event.BELL


_KEYS: dict[Key, Callable[[LineEditor], Event | None]] = {
    Key.BAD: LineEditor._bad,
    Key.ENTER: LineEditor._enter,
    Key.TAB: LineEditor._tab,
    Key.INTERRUPT: LineEditor._interrupt,
    Key.END_OF_INPUT: LineEditor._end_of_input,
    Key.CLEAR: LineEditor._clear_screen,
    Key.LEFT: LineEditor._left,
    Key.RIGHT: LineEditor._right,
    Key.WORD_LEFT: LineEditor._word_left,
    Key.WORD_RIGHT: LineEditor._word_right,
    Key.HOME: LineEditor._home,
    Key.END: LineEditor._end,
    Key.UP: LineEditor._up,
    Key.DOWN: LineEditor._down,
    Key.BACKSPACE: LineEditor._backspace,
    Key.DELETE: LineEditor._delete,
    Key.DELETE_WORD: LineEditor._delete_word,
    Key.KILL_WORD: LineEditor._kill_word,
    Key.KILL_TO_START: LineEditor._kill_to_start,
    Key.KILL_TO_END: LineEditor._kill_to_end,
}
