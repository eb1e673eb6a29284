"""Every error that a person can meet.

One base class, :class:`IridiumError`; a subclass names one thing that can go wrong. The text of an error says
where it is and what to do about it, because it is printed as it stands: no traceback accompanies it.
Faults of a running program are not errors of Iridium: they are values, in :mod:`iridium.isa`.
"""

from __future__ import annotations

from collections.abc import Sequence


class IridiumError(Exception):
    """Something that the person at the keyboard, or a peer, did or met; never a bug of Iridium."""


class ImageError(IridiumError):
    """A file is not an executable image.

    Args:
        field: the part of the image that is wrong, as ``docs/images.md`` names it.
        problem: what is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"not an Iridium image: {field}: {problem}")
        self.field = field
        self.problem = problem


LONGEST_EXCERPT = 110
"""Columns of a line that a diagnostic shows: a line of a terminal, and all of the lines that people write."""

CUT = "..."
"""Stands for the rest of a line."""


def escaped(character: str) -> str:
    """A character as a terminal may get it: as it is, or an escape where it does not print."""
    printable = character.isprintable() or character == "\t"
    return character if printable else character.encode("unicode_escape").decode()


def on_one_line(text: str) -> str:
    """A text as a line of a log may have it: what does not print, ends of lines too, as an escape."""
    return text if text.isprintable() else "".join(map(escaped, text))


def _fitting(pieces: list[str], room: int) -> list[str]:
    """As many of the pieces as there is room for, from the first on."""
    for count, piece in enumerate(pieces):
        room -= len(piece)
        if room < 0:
            return [*pieces[:count], CUT]
    return pieces


class Diagnostic:
    """One mistake in a source text.

    Args:
        message: what is wrong.
        file: the name of the source, for people.
        line: line number, from 1.
        column: column of the first character of the wrong token, from 1.
        source: the text of that line.
        width: how many characters the wrong token has.
        suggestion: what to write instead, or None.
    """

    __slots__ = ("column", "file", "line", "message", "source", "suggestion", "width")

    def __init__(
        self,
        message: str,
        *,
        file: str,
        line: int,
        column: int,
        source: str,
        width: int = 1,
        suggestion: str | None = None,
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        self.width = width
        self.suggestion = suggestion

    def __repr__(self) -> str:
        return f"<Diagnostic {self.headline()}>"

    def headline(self) -> str:
        """``file:line:column: error: message``, the form that editors know how to jump to."""
        return "".join(map(escaped, f"{self.file}:{self.line}:{self.column}: error: {self.message}"))

    def render(self) -> str:
        """The headline, the source line with a caret under the token, and the suggestion.

        What does not print is shown as escapes. Of a line that is longer than :data:`LONGEST_EXCERPT` there is the
        part around the caret.
        """
        before, after = self._excerpt()
        # A tab counts as one column, so it is kept in the margin for the caret to stand right.
        margin = "".join("\t" if piece == "\t" else " " * len(piece) for piece in before)
        carets = "^" * max(1, sum(map(len, after[: self.width])))
        text = f"{self.headline()}\n    {''.join(before)}{''.join(after)}\n    {margin}{carets}"
        return f"{text}\n    {self.suggestion}" if self.suggestion else text

    def _excerpt(self) -> tuple[list[str], list[str]]:
        """What is shown of the line before the caret and from it on, character by character."""
        at = self.column - 1
        # One character more than there can be room for, so that it shows where something is cut.
        before = list(map(escaped, self.source[max(0, at - LONGEST_EXCERPT - 1) : at]))
        after = list(map(escaped, self.source[at : at + LONGEST_EXCERPT + 1]))
        left, right = (sum(map(len, pieces)) for pieces in (before, after))
        if left + right <= LONGEST_EXCERPT:
            return before, after
        # Half of it for each side, and what one side does not need for the other.
        half = LONGEST_EXCERPT // 2
        before = _fitting(before[::-1], max(half, LONGEST_EXCERPT - right))[::-1]
        return before, _fitting(after, max(half, LONGEST_EXCERPT - left))


class SourceError(IridiumError):
    """A text has mistakes; all of them are told at once.

    Args:
        diagnostics: every mistake, in the order of the source.
    """

    DETAILED = 20
    """How many are shown with caret and suggestion: more than a screen of them helps nobody."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = list(diagnostics)
        shown = [d.render() for d in self.diagnostics[: self.DETAILED]]
        rest = len(self.diagnostics) - len(shown)
        if rest:
            shown.append(f"and {rest} more error{'s' if rest > 1 else ''}")
        super().__init__("\n".join(shown))


class AssemblyError(SourceError):
    """A program does not assemble."""


class ApplicationError(SourceError):
    """An application file, or a program that it names, has mistakes."""


class DataDirectoryError(IridiumError):
    """The node's data directory cannot be used: in use, unreadable, or a file in it is corrupt."""


class OptionError(IridiumError):
    """An option or a setting has a value that cannot work; the text names the option."""


class CertificateError(IridiumError):
    """A certificate, a key or a signing request cannot be made or used."""


class CommandError(IridiumError):
    """A shell command cannot be done as it was typed; the text says how to type it."""


class ClientError(IridiumError):
    """The shell of a running node could not be reached, or did not answer as one."""
