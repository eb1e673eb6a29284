"""Bytes from a terminal to keys: text in UTF-8, control characters, escape sequences, pastes. No I/O.

A sequence that is not known is swallowed whole. Nothing is kept of one but its parameters, up to a limit; and
Ctrl-C is Ctrl-C in the midst of whatever it comes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from iridium.repl.terminal.width import is_typed

MAX_PARAMETERS = 16
"""Characters of the parameters of an escape sequence that are kept: no key has more than five."""


class Key(Enum):
    """What was pressed."""

    TEXT = auto()
    BAD = auto()
    ENTER = auto()
    TAB = auto()
    INTERRUPT = auto()
    END_OF_INPUT = auto()
    CLEAR = auto()
    LEFT = auto()
    RIGHT = auto()
    WORD_LEFT = auto()
    WORD_RIGHT = auto()
    HOME = auto()
    END = auto()
    UP = auto()
    DOWN = auto()
    BACKSPACE = auto()
    DELETE = auto()
    DELETE_WORD = auto()
    KILL_WORD = auto()
    KILL_TO_START = auto()
    KILL_TO_END = auto()


class Press(NamedTuple):
    """A key, and for ``TEXT`` what was typed."""

    key: Key
    text: str = ""


_CONTROL = {
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OF_INPUT,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x08": Key.BACKSPACE,
    "\t": Key.TAB,
    "\x0b": Key.KILL_TO_END,
    "\x0c": Key.CLEAR,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x15": Key.KILL_TO_START,
    "\x17": Key.KILL_WORD,
    "\x7f": Key.BACKSPACE,
}

_ALT = {
    "b": Key.WORD_LEFT,
    "f": Key.WORD_RIGHT,
    "d": Key.DELETE_WORD,
    "\x7f": Key.KILL_WORD,
    "\x08": Key.KILL_WORD,
}

_ARROWS = {"A": Key.UP, "B": Key.DOWN, "C": Key.RIGHT, "D": Key.LEFT, "H": Key.HOME, "F": Key.END}
_WORDS = {"C": Key.WORD_RIGHT, "D": Key.WORD_LEFT}

_CSI: dict[str, Key] = {
    **_ARROWS,
    **{f"1;{shift}{letter}": key for letter, key in _ARROWS.items() for shift in (2, 4)},
    # With Alt, Ctrl or both; rxvt and others leave out the first parameter.
    **{
        f"1;{modifier}{letter}": key for letter, key in _WORDS.items() for modifier in range(3, 9) if modifier != 4
    },
    **{f"5{letter}": key for letter, key in _WORDS.items()},
    "1~": Key.HOME,
    "7~": Key.HOME,
    "4~": Key.END,
    "8~": Key.END,
    "3~": Key.DELETE,
    "3;3~": Key.DELETE_WORD,
    "3;5~": Key.DELETE_WORD,
}
_SS3: dict[str, Key] = {**_ARROWS, "c": Key.WORD_RIGHT, "d": Key.WORD_LEFT, "M": Key.ENTER}

_PASTE, _PASTE_END = "200~", "[201~"


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CSI = auto()
    LINUX = auto()  # the Linux console's function keys: two brackets and a letter
    SS3 = auto()
    STRING = auto()  # an answer of the terminal to something that a program asked
    PASTE = auto()


class KeyReader:
    """Cuts a stream into keys; how the stream is cut into pieces makes no difference."""

    def __init__(self) -> None:
        # What is no UTF-8 becomes surrogates, one a byte.
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._state = _State.TEXT
        self._parameters = ""
        self._return = False
        self._matched = 0  # how much of the end of a paste has come

    def feed(self, data: bytes) -> Iterator[Press]:
        """The keys that end in this piece of the stream; text in as long pieces as it comes.

        The iterator must be used up before the next piece.
        """
        text: list[str] = []
        for character in self._decode(data):
            press = self._take(character)
            if press is None:
                continue
            if press.key is Key.TEXT:
                text.append(press.text)
                continue
            if text:
                yield Press(Key.TEXT, "".join(text))
                text.clear()
            yield press
        if text:
            yield Press(Key.TEXT, "".join(text))

    def _take(self, character: str) -> Press | None:
        if character == "\x03":
            self._state, self._matched, self._return = _State.TEXT, 0, False
            return Press(Key.INTERRUPT)
        after_return, self._return = self._return, False
        if self._state is _State.PASTE:
            return self._pasted(character, after_return)
        if character == "\x1b":
            # Also the end of a string, whose backslash is swallowed as a key that is not known.
            self._state = _State.ESCAPE
            return None
        if self._state is _State.TEXT:
            return self._typed(character, after_return)
        return self._in_sequence(character)

    def _typed(self, character: str, after_return: bool) -> Press | None:
        if character == "\n" and after_return:
            return None
        if character in "\r\n":
            self._return = character == "\r"
            return Press(Key.ENTER)
        key = _CONTROL.get(character)
        if key is not None:
            return Press(key)
        if is_typed(character):
            return Press(Key.TEXT, character)
        return Press(Key.BAD) if "\ud800" <= character <= "\udfff" else None

    def _in_sequence(self, character: str) -> Press | None:
        state, self._state = self._state, _State.TEXT
        if state is _State.STRING:
            if character not in "\x07\r\n":
                self._state = state
                return None
            return None if character == "\x07" else self._typed(character, False)
        if state is _State.ESCAPE and character in _ALT:
            return Press(_ALT[character])
        if not " " <= character <= "~":
            return self._typed(character, False)  # the sequence has broken off
        if state is _State.ESCAPE:
            self._parameters = ""
            starts = {"[": _State.CSI, "O": _State.SS3}
            self._state = starts.get(character, _State.STRING if character in "]PX^_" else _State.TEXT)
            return None
        if state is _State.SS3:
            return self._press(_SS3.get(character))
        if state is _State.LINUX:
            return None
        if character < "@":
            self._state = state
            if len(self._parameters) < MAX_PARAMETERS:
                self._parameters += character
            return None
        if character == "[" and not self._parameters:
            self._state = _State.LINUX
            return None
        sequence = self._parameters + character
        if sequence == _PASTE:
            self._state = _State.PASTE
            return None
        return self._press(_CSI.get(sequence))

    @staticmethod
    def _press(key: Key | None) -> Press | None:
        return None if key is None else Press(key)

    def _pasted(self, character: str, after_return: bool) -> Press | None:
        """A character of a paste, which means nothing but itself until the paste ends."""
        if character == "\x1b":
            self._matched = 1
            return None
        if self._matched:
            if character == _PASTE_END[self._matched - 1]:
                self._matched += 1
                if self._matched > len(_PASTE_END):
                    self._state, self._matched = _State.TEXT, 0
                return None
            self._matched = 0
        if character == "\t":
            return Press(Key.TEXT, character)
        if character in "\r\n" or character > "\x7f" or " " <= character <= "~":
            return self._typed(character, after_return)
        return None
