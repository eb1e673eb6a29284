"""A small model of a terminal: what it shows after what it was sent. It wraps anew when its width changes."""

from __future__ import annotations

import re
import unicodedata

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
FILLER, GAP = "\0", "\1"
"""The second column of a wide character, and a last column that was too narrow for one."""

_UNSEEN = {0: None, 1: None}


def width(character: str) -> int:
    """The columns of a character."""
    if unicodedata.category(character) in ("Mn", "Me") or character in "\u200c\u200d" or "ᅠ" <= character <= "ᇿ":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Row:
    """A row.

    Attributes:
        cells: its characters.
        wrapped: whether it goes on in the next.
    """

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.wrapped = False

    def put(self, column: int, character: str) -> None:
        while len(self.cells) <= column:
            self.cells.append(" ")
        self.cells[column] = character


class ModelTerminal:
    """A terminal.

    Attributes:
        columns, rows: its size.
        bells: how often it rang.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._rows = [Row()]
        self._y = self._x = 0
        self._pending = False
        self.bells = 0
        self._rest = ""

    # What it is sent.

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        text = self._rest + data.decode()
        self._rest = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                assert found, f"a sequence that is none: {text[at:]!r}"
                self._sequence(found[1], found[2])
                at = found.end()
            else:
                self._character(text[at])
                at += 1

    def _character(self, character: str) -> None:
        if character == "\r":
            self._x, self._pending = 0, False
        elif character == "\n":
            self._pending = False
            self._down()
        elif character == "\a":
            self.bells += 1
        else:
            assert character >= " ", repr(character)
            self._print(character)

    def _down(self) -> None:
        self._y += 1
        if self._y == len(self._rows):
            self._rows.append(Row())

    def _print(self, character: str) -> None:
        wide = width(character)
        row = self._rows[self._y]
        if wide == 0:
            x = self._x if self._pending else self._x - 1
            while row.cells[x] in (FILLER, GAP):
                x -= 1
            row.cells[x] += character
            return
        if self._pending or self._x + wide > self.columns:
            if not self._pending:
                for x in range(self._x, self.columns):
                    row.put(x, GAP)
            row.wrapped = True
            self._down()
            self._x, self._pending = 0, False
            row = self._rows[self._y]
        for x in range(self._x, self._x + wide):
            self._break(row, x)
        row.put(self._x, character)
        if wide == 2:
            row.put(self._x + 1, FILLER)
        self._x += wide
        if self._x == self.columns:
            self._x, self._pending = self.columns - 1, True

    def _break(self, row: Row, x: int) -> None:
        """What is left of a wide character that is half overwritten is blank."""
        if x < len(row.cells) and row.cells[x] == FILLER and x:
            row.cells[x - 1] = " "
        if x + 1 < len(row.cells) and row.cells[x + 1] == FILLER and width(row.cells[x][0]) == 2:
            row.cells[x + 1] = " "

    @property
    def _top(self) -> int:
        return max(0, len(self._rows) - self.rows)

    def _sequence(self, parameters: str, final: str) -> None:
        if final in "hl":
            return
        number = int(parameters or 1) if final in "ABCD" else int(parameters or 0)
        self._pending = False
        if final == "A":
            self._y = max(self._top, self._y - number)
        elif final == "B":
            self._y = min(len(self._rows) - 1, self._y + number)
        elif final == "C":
            self._x = min(self.columns - 1, self._x + number)
        elif final == "H":
            self._y, self._x = self._top, 0
        elif final == "J" and number == 0:
            self._erase_right()
            del self._rows[self._y + 1 :]
        elif final == "J" and number == 2:
            del self._rows[self._top :]
            self._rows.append(Row())
            self._y, self._x = len(self._rows) - 1, 0
        elif final == "K":
            self._erase_right()
        else:
            raise AssertionError(f"a sequence that this terminal does not know: {parameters}{final}")

    def _erase_right(self) -> None:
        row = self._rows[self._y]
        del row.cells[self._x :]
        row.wrapped = False

    # What it shows.

    def resize(self, columns: int, rows: int) -> None:
        """Change its size, and wrap every line anew."""
        lines: list[list[str]] = [[]]
        cursor = (0, 0)
        for y, row in enumerate(self._rows):
            kept = [cell for cell in row.cells if cell != GAP]
            if y == self._y:
                before = [cell for cell in row.cells[: self._x] if cell != GAP]
                cursor = (len(lines) - 1, len(lines[-1]) + len(before) + max(0, self._x - len(row.cells)))
            lines[-1] += kept
            if not row.wrapped:
                lines.append([])
        if len(lines) > 1 and not lines[-1]:
            lines.pop()
        self.columns, self.rows = columns, rows
        self._rows = []
        for number, line in enumerate(lines):
            self._rows.append(Row())
            x = 0
            for offset in range(max(len(line), cursor[1] if number == cursor[0] else 0)):
                cell = line[offset] if offset < len(line) else " "
                if cell == FILLER:
                    self._rows[-1].put(x, FILLER)
                    x += 1
                else:
                    wide = width(cell[0])
                    if x + wide > columns:
                        for gap in range(x, columns):
                            self._rows[-1].put(gap, GAP)
                        self._rows[-1].wrapped = True
                        self._rows.append(Row())
                        x = 0
                    if (number, offset) == cursor:
                        self._y, self._x = len(self._rows) - 1, x
                    self._rows[-1].put(x, cell)
                    x += 1
            if number == cursor[0] and cursor[1] >= len(line):
                if x == columns:
                    self._rows[-1].wrapped = True
                    self._rows.append(Row())
                    x = 0
                self._y, self._x = len(self._rows) - 1, x
        self._pending = False

    def lines(self) -> list[str]:
        """All that it has shown, as lines, however they are wrapped; without blanks at their ends."""
        lines = [""]
        for row in self._rows:
            lines[-1] += "".join(row.cells)
            if not row.wrapped:
                lines.append("")
        return [line.translate(_UNSEEN).rstrip() for line in lines[:-1] or lines]

    def shown(self) -> list[str]:
        """The rows that are in view."""
        return ["".join(row.cells).translate(_UNSEEN).rstrip() for row in self._rows[self._top :]]

    def before_cursor(self) -> str:
        """What stands before the cursor, in its line."""
        text = "".join((self._rows[self._y].cells + [" "] * self.columns)[: self._x])
        y = self._y
        while y and self._rows[y - 1].wrapped:
            y -= 1
            text = "".join(self._rows[y].cells) + text
        return text.translate(_UNSEEN)
