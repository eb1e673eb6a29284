"""What is wrong with a source: collected while it is read, told all at once.

Findings are noted in any order and told in the order of the source. A suggestion is worked out only when it will
be shown, because looking for the nearest name among many is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from iridium.errors import AssemblyError, Diagnostic

Suggestion: TypeAlias = str | Callable[[], str | None] | None
"""What to write instead; or what finds it, when asked; or nothing."""

MOST_CANDIDATES = 500
"""How many names are compared in search of the nearest: each takes about 20 µs, and 20 suggestions are shown."""

ALIKE = 0.65
"""How alike names are, as difflib measures, for a suggestion: ``htl`` and ``hlt``, not ``.text`` and ``.byte``."""

_SHOWN = 40
"""The most characters of a token that a message repeats; the caret shows the rest."""


class Finding(NamedTuple):
    """One mistake.

    Attributes:
        line, column: where, both from 1.
        width: characters of the wrong token.
        message: what is wrong.
        suggestion: what to write instead.
    """

    line: int
    column: int
    width: int
    message: str
    suggestion: Suggestion = None


class Mistake(NamedTuple):
    """What is wrong with a statement, before it is known where the statement stands.

    Attributes:
        part: what is wrong: 0 is the mnemonic or directive, 1 the first operand, and so on.
        message: what is wrong with it.
        suggestion: what to write instead.
        start, end: the characters of the part that are wrong; all of them when end is 0.
        last: the last part that is wrong, if there are several.
    """

    part: int
    message: str
    suggestion: Suggestion = None
    start: int = 0
    end: int = 0
    last: int = 0


class Findings:
    """The mistakes of one source.

    Args:
        file: its name, for people.
        lines: its lines, the first one first.
        first: the number of the first line.
    """

    def __init__(self, file: str, lines: list[str], first: int = 1) -> None:
        self._file = file
        self._lines = lines
        self._first = first
        self._found: list[Finding] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, column: int, width: int, message: str, suggestion: Suggestion = None) -> None:
        """Note one mistake; the arguments are those of :class:`Finding`."""
        self._found.append(Finding(line, column, width, message, suggestion))

    def add_mistakes(self, line: int, spans: Sequence[tuple[int, int]], mistakes: Iterable[Mistake]) -> None:
        """Note what is wrong with the statement on a line.

        Args:
            line: its number.
            spans: where the statement's parts start and end in the line, from 0.
            mistakes: what is wrong with them.
        """
        for part, message, suggestion, start, end, last in mistakes:
            first = spans[part][0]
            stop = first + end if end else spans[max(part, last)][1]
            self.add(line, first + start + 1, stop - first - start, message, suggestion)

    def tell(self) -> None:
        """Do nothing if there are none.

        Raises:
            AssemblyError: with every mistake, in the order of the source.
        """
        if not self._found:
            return
        # The sort is stable and looks at the place only: suggestions cannot be compared.
        self._found.sort(key=lambda finding: finding[:2])
        raise AssemblyError([self._diagnostic(*numbered) for numbered in enumerate(self._found)])

    def _diagnostic(self, number: int, finding: Finding) -> Diagnostic:
        suggestion = finding.suggestion if number < AssemblyError.DETAILED else None
        return Diagnostic(
            finding.message,
            file=self._file,
            line=finding.line,
            column=finding.column,
            source=self._lines[finding.line - self._first],
            width=finding.width,
            suggestion=suggestion() if callable(suggestion) else suggestion,
        )


def shown(token: str) -> str:
    """A token as a message repeats it: in backquotes, and not at any length."""
    return f"`{token}`" if len(token) <= _SHOWN else f"`{token[:_SHOWN]}...`"


def nearest(word: str, names: Iterable[str], sigil: str = "") -> str | None:
    """The question whether the name most like ``word`` was meant, or None where none is like it.

    Args:
        word: what was written.
        names: what could have been meant.
        sigil: what stands before the name in the source.
    """
    import difflib  # Imported by the first mistake: most sources have none, and it takes 3 ms.

    folded = word.casefold()
    candidates = list(names)
    for name in candidates:
        if name.casefold() == folded:
            return f"did you mean `{sigil}{name}`?"
    if len(candidates) > MOST_CANDIDATES:
        candidates = [
            name
            for name in candidates
            if abs(len(name) - len(word)) <= 2 and (name[:2] == word[:2] or name[-2:] == word[-2:])
        ]
    close = difflib.get_close_matches(word, candidates[:MOST_CANDIDATES], cutoff=ALIKE)
    if not close:
        return None
    # Of several that are alike, one with the same first letter: that is seldom the one that is mistyped.
    best = next((name for name in close if name[0] == word[0]), close[0])
    return f"did you mean `{sigil}{best}`?"
