"""How wide characters are at a terminal, and where a line breaks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

_JOINERS = "\u200c\u200d"
_LONE = "\u25cc"
"""A dotted circle: what a combining character combines with where nothing is before it."""


class Cell(NamedTuple):
    """A character as it is shown, with what combines with it.

    Attributes:
        shown: what is sent to the terminal.
        width: how many columns it takes: 1 or 2.
    """

    shown: str
    width: int


def is_typed(character: str) -> bool:
    """Whether a character may be part of a line: none that controls anything, nor turns the direction of text."""
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def combines(character: str) -> bool:
    """Whether a character takes no room of its own."""
    if character.isascii():
        return False
    return (
        character in _JOINERS
        or unicodedata.category(character) in ("Mn", "Me")
        or "\u1160" <= character <= "\u11ff"  # what follows the first letter of a Korean syllable
    )


def cells(text: str) -> list[Cell]:
    """The characters of a text that has no control characters but tabs, which take one column."""
    if text.isascii():
        return [Cell(character if character != "\t" else " ", 1) for character in text]
    found: list[Cell] = []
    for character in text:
        if not combines(character):
            wide = unicodedata.east_asian_width(character) in ("W", "F")
            found.append(Cell(character if character != "\t" else " ", 2 if wide else 1))
        elif found:
            found[-1] = Cell(found[-1].shown + character, found[-1].width)
        else:
            found.append(Cell(_LONE + character, 1))
    return found


def after(line: Iterable[Cell], column: int, columns: int) -> tuple[int, int]:
    """Where the cursor is behind some cells.

    Args:
        line: the cells.
        column: where the first begins.
        columns: the width of the terminal, at least 2.

    Returns:
        How many rows further down, and the column. A row that is full to the last column ends there: the cursor is
        at the start of the next.
    """
    row = 0
    for cell in line:
        if column + cell.width > columns:
            row, column = row + 1, 0
        column += cell.width
    return (row, column) if column < columns else (row + 1, 0)


def before(text: str, at: int) -> int:
    """Where the character begins that ends at a place in a text."""
    at = max(0, at - 1)
    while at and combines(text[at]):
        at -= 1
    return at


def behind(text: str, at: int) -> int:
    """Where the character ends that begins at a place in a text."""
    at = min(len(text), at + 1)
    while at < len(text) and combines(text[at]):
        at += 1
    return at
