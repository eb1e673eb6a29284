"""What a terminal shows: whatever was written, and behind it the line that is being typed. No I/O.

The line is drawn behind the last text that has not ended its own line, a prompt for example. More text takes the
line away first and draws it again behind. A place is known relative to where the line begins; nothing is asked of
the terminal but to wrap at its last column, as all do, and nothing of what a program wrote is understood: if it
holds control characters, nobody knows where the cursor is, and the line is drawn on a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from iridium.repl.terminal.width import Cell, after, cells, is_typed

LEAST, MOST = 8, 1000
"""Columns and rows that are believed: narrower is no terminal, and nobody has a wider one."""

DEFAULT = 80, 24
"""Columns and rows where the other end names none."""

LONGEST_LEAD = 1024
"""Characters of a text before the line that can be drawn again, as after a change of the terminal's width."""

_ERASE_BELOW = "\x1b[J"
_ERASE_RIGHT = "\x1b[K"
_CLEAR = "\x1b[H\x1b[2J"


class Display:
    """Keeps a line in view.

    Args:
        write: takes what is for the terminal.
        columns, rows: its size; 0 where that is not known.
    """

    def __init__(self, write: Callable[[str], None], columns: int, rows: int) -> None:
        self._write_out = write
        self._columns, self._rows = _believed(columns, rows)
        # What stands before the line on its row, where that is known, and the column that the line begins at.
        self._lead: str | None = ""
        self._start: int | None = 0
        # The line as it is shown, how many cells of it are before the cursor, and where that is, counted from the
        # row on which the line begins.
        self._line: list[Cell] = []
        self._before = self._row = self._column = 0
        # The line as it should be shown.
        self._text = ""
        self._cursor = 0

    @property
    def lead(self) -> str | None:
        """What stands before the line on its row, or None where that is not known."""
        return self._lead

    def show(self, text: str, cursor: int) -> None:
        """Show another line, or the cursor elsewhere in it.

        Args:
            text: the line.
            cursor: the number of characters before the cursor.
        """
        self._text, self._cursor = text, cursor
        self._write_out(self._draw())

    def write(self, text: str, *, instead: bool = False) -> None:
        """Write text before the line.

        Args:
            text: the text; its lines end with a newline.
            instead: whether it takes the place of what stands before the line on its row.
        """
        erased = self._erase()
        if instead and self._lead:
            erased += f"\r{_ERASE_BELOW}"
            self._lead, self._start = "", 0
        self._follow(text)
        self._write_out(erased + text.replace("\n", "\r\n") + self._draw())

    def leave(self, mark: str = "") -> None:
        """End the line as it is, with a mark behind it, and go on at the start of the next row."""
        self._cursor = len(self._text)
        drawn = self._draw() + mark
        self._text, self._cursor = "", 0
        self._line, self._row, self._column = [], 0, 0
        self._lead, self._start = "", 0
        self._write_out(f"{drawn}\r\n")

    def ring(self) -> None:
        """Tell that a key did nothing."""
        self._write_out("\a")

    def clear(self) -> None:
        """Clear the screen, but for the line and what stands before it."""
        self._line = []
        lead = self._lead or ""
        self._lead, self._start = "", 0
        self._follow(lead)
        self._write_out(_CLEAR + lead + self._draw())

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size; most have wrapped what they show anew."""
        size = _believed(columns, rows)
        if size == (self._columns, self._rows):
            return
        shown = self._line
        self._columns, self._rows = size
        self._line = []
        lead = self._lead
        if lead is None:
            self._start = None if self._start is None or shown else self._start % self._columns
            self._row, self._column = 0, self._start or 0
            self._write_out(self._draw())
            return
        self._lead, self._start = "", 0
        if not shown:
            self._follow(lead)
            self._row, self._column = 0, self._start
            return
        up, _ = after([*cells(lead), *shown[: self._before]], 0, self._columns)
        erased = f"{_up(up)}\r{_ERASE_BELOW}"
        self._follow(lead)
        self._write_out(erased + lead + self._draw())

    # Drawing.

    def _follow(self, text: str) -> None:
        """Keep track of where text leaves the cursor, which is at the start of the line that is being typed."""
        *ended, tail = text.rsplit("\n", 1)
        if ended:
            self._lead, self._start = "", 0
        if not all(map(is_typed, tail)):
            self._lead = self._start = None
        elif self._start is not None:
            if self._lead is not None:
                self._lead = self._lead + tail if len(self._lead) + len(tail) <= LONGEST_LEAD else None
            _, self._start = after(cells(tail), self._start, self._columns)
        self._row, self._column = 0, self._start or 0

    def _erase(self) -> str:
        """Take the line away."""
        if not self._line:
            return ""
        erased = self._go(0, self._start or 0) + _ERASE_BELOW
        self._line = []
        return erased

    def _draw(self) -> str:
        """Make the terminal show the line as it should be."""
        line, cursor = self._view()
        drawn = ""
        if self._start is None:
            if not line:
                return ""
            drawn = "\r\n"
            self._lead, self._start, self._row, self._column = "", 0, 0, 0
        same = 0
        for old, new in zip(self._line, line, strict=False):
            if old != new:
                break
            same += 1
        old_end = after(self._line, self._start, self._columns)
        if same < len(line) or same < len(self._line):
            drawn += self._go(*after(line[:same], self._start, self._columns))
            drawn += self._put(line[same:])
            if (self._row, self._column) < old_end or same < len(self._line):
                drawn += _ERASE_BELOW
        self._line, self._before = line, cursor
        return drawn + self._go(*after(line[:cursor], self._start, self._columns))

    def _put(self, line: list[Cell]) -> str:
        """Write cells at the cursor, and go on to the next row where they end a row."""
        drawn: list[str] = []
        full = False
        for cell in line:
            if self._column + cell.width > self._columns:
                if not full:
                    drawn.append(_ERASE_RIGHT)  # too narrow a rest of the row for a wide character
                self._row, self._column = self._row + 1, 0
            drawn.append(cell.shown)
            self._column += cell.width
            full = self._column == self._columns
        if full:
            # The terminal waits for one more character before it wraps.
            drawn.append(" \r")
            self._row, self._column = self._row + 1, 0
        return "".join(drawn)

    def _go(self, row: int, column: int) -> str:
        if (row, column) == (self._row, self._column):
            return ""
        moved = _up(self._row - row)
        if column != self._column:
            moved += "\r" + (f"\x1b[{column}C" if column else "")
        self._row, self._column = row, column
        return moved

    def _view(self) -> tuple[list[Cell], int]:
        """The part of the line that fits onto the screen, and how many of its cells are before the cursor."""
        text, cursor = self._text, self._cursor
        room = self._columns * (self._rows - 1) - (self._start or 0) - 1
        if 2 * len(text) > room and (len(text) > room or self._rows_of(text) > self._rows):
            # Page by page, half a page at a time, and counted in characters, of which any may be a wide one.
            page = max(1, room // 5)
            start = max(0, cursor // page - 1) * page
            text, cursor = text[start : start + 2 * page], cursor - start
        return cells(text), len(cells(text[:cursor]))

    def _rows_of(self, text: str) -> int:
        row, _ = after(cells(text), self._start or 0, self._columns)
        return row + 1


def _believed(columns: int, rows: int) -> tuple[int, int]:
    columns, rows = columns or DEFAULT[0], rows or DEFAULT[1]
    return min(MOST, max(LEAST, columns)), min(MOST, max(2, rows))


def _up(rows: int) -> str:
    """Go up so many rows, or down."""
    return f"\x1b[{rows}A" if rows > 0 else f"\x1b[{-rows}B" if rows < 0 else ""
