"""What a command is, and how what was typed becomes a call of one. The commands stand beside this file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec
from twisted.internet.defer import Deferred

from iridium.cluster.tokens import PREFIX
from iridium.errors import CommandError, IridiumError
from iridium.repl.visible import shortened, visible, visible_json
from iridium.roles import Role, RoleError

if TYPE_CHECKING:
    from iridium.repl.session import Session

JSON = "--json"
"""The word at the end of a command that asks for its result as one JSON object."""


class Result(msgspec.Struct):
    """What a command answers: fields for tools, a text for people."""

    def text(self) -> str:
        """The answer in words; lines are separated by newlines, and no newline ends it. "" says nothing."""
        raise NotImplementedError

    @property
    def failed(self) -> bool:
        """Whether it tells of a failure, for the exit status of who runs a command and is gone."""
        return False


class Done(Result):
    """A command that has no more to say than a sentence."""

    message: str

    def text(self) -> str:
        """The sentence."""
        return self.message


Answer: TypeAlias = "Result | Deferred[Result]"
Function: TypeAlias = "Callable[[Session, list[str]], Answer]"


class Command(NamedTuple):
    """One row of the table.

    Attributes:
        name: as it is typed, with the ``!``.
        group: the heading it stands under in ``!help``.
        needs: the role that a session must have for it.
        help: what it does, in a line.
        function: does it; gets the session and the arguments.
        result: the type of what it answers.
        arguments: how its arguments are written, optional ones in brackets.
        least, most: how many there are.
        rest: whether the last argument is all the rest of the line, blanks included.
        urgent: whether it acts at once while something else is executing.
        private: whether its arguments are to be in no history and no log.
        aliases: other names.
    """

    name: str
    group: str
    needs: Role
    help: str
    function: Function
    result: type[Result]
    arguments: str = ""
    least: int = 0
    most: int = 0
    rest: bool = False
    urgent: bool = False
    private: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """How to type it."""
        return f"{self.name} {self.arguments}".rstrip()

    def split(self, text: str) -> list[str]:
        """The arguments in what follows the name.

        Raises:
            CommandError: there are too few or too many.
        """
        words = text.split(None, self.most - 1) if self.rest else text.split()
        if not self.least <= len(words) <= self.most:
            raise CommandError(f"type it as: {self.usage} (!help lists all commands)")
        return words


class Call(NamedTuple):
    """A command as it was typed.

    Attributes:
        command: the row.
        arguments: what follows its name.
        as_json: whether the answer is to be JSON.
    """

    command: Command
    arguments: list[str]
    as_json: bool


class Table:
    """Commands by name and alias.

    Args:
        commands: the rows, in the order of ``!help``.
    """

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = tuple(commands)
        self._by_name = {name: row for row in commands for name in (row.name, *row.aliases)}

    def find(self, name: str) -> Command:
        """The command of that name; case and a missing ``!`` do not matter.

        Raises:
            CommandError: there is none; the text names the nearest.
        """
        folded = name.casefold()
        row = self._by_name.get(folded) or self._by_name.get(f"!{folded}")
        if row is None:
            raise CommandError(f"there is no command {shortened(name)}; {self._nearest(folded)}")
        return row

    def parse(self, line: str, role: Role) -> Call:
        """What a line that starts with ``!`` asks for.

        Args:
            line: what was typed.
            role: of the session.

        Raises:
            CommandError: there is no such command, or its arguments are wrong.
            RoleError: the session may not do it.
        """
        words, as_json = split_json(line)
        name, _, rest = words.partition(" ")
        row = self.find(name)
        if not role.allows(row.needs):
            raise RoleError(row.name, role, row.needs)
        return Call(row, row.split(rest.strip()), as_json)

    def shown(self, line: str) -> str:
        """A line as it may be remembered: without what is private, also where it is mistyped or no command."""
        word, *more = line.split(None, 1) or [""]
        row = self._by_name.get(word.casefold())
        private = PREFIX in line or (bool(more) and row is not None and row.private)
        return line if not private else "..." if PREFIX in word else f"{word} ..."

    def is_urgent(self, line: str, role: Role) -> bool:
        """Whether a line acts at once, whatever is executing."""
        try:
            return line.lstrip().startswith("!") and self.parse(line, role).command.urgent
        except IridiumError:
            return False

    def _nearest(self, name: str) -> str:
        bang = name if name.startswith("!") else f"!{name}"
        close = difflib.get_close_matches(bang[:40], self._by_name, n=1)
        return f"did you mean {close[0]}? !help lists them all" if close else "!help lists them all"


def split_json(line: str) -> tuple[str, bool]:
    """A command line without ``--json`` at its end, with blanks as one kind, and whether it was there."""
    line = line.strip().replace("\t", " ")
    words, blank, last = line.rpartition(" ")
    return (words.rstrip(), True) if blank and last == JSON else (line, False)


def number(text: str, what: str, least: int, most: int) -> int:
    """A number that somebody typed, in decimal or 0x hex.

    Args:
        text: what was typed.
        what: what it is for, in an error.
        least, most: the range, both included.

    Raises:
        CommandError: it is no number or out of range.
    """
    try:
        # The length is looked at first: making an int of a million digits takes long.
        value = int(text, 0) if len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise CommandError(f"{what} must be a number from {least} to {most}, not {shortened(text)}")
    return value


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells, aligned to the left, two blanks apart."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def render(result: Result, *, as_json: bool) -> str:
    """A result as it is written, with the newline that ends it, or "" where it has nothing to say."""
    if as_json:
        return visible_json(msgspec.json.encode(result).decode()) + "\n"
    text = visible(result.text())
    return f"{text}\n" if text else ""


def render_error(error: BaseException, *, as_json: bool) -> str:
    """An error as it is written, with the newline that ends it.

    Args:
        error: an IridiumError, or what ended a command otherwise.
        as_json: whether the command asked for JSON.
    """
    remedy = getattr(error, "remedy", None) or None
    if not as_json:
        return visible(f"{'error: ' if not _has_headline(error) else ''}{error}") + "\n"
    kind = getattr(error, "reason", None) or type(error).__name__
    document = {"error": {"kind": kind, "message": str(error), "remedy": remedy}}
    return visible_json(msgspec.json.encode(document).decode()) + "\n"


def _has_headline(error: BaseException) -> bool:
    """Whether the text says ``error:`` by itself, as diagnostics of a source do."""
    return hasattr(error, "diagnostics")


class InterruptedCommandError(IridiumError):
    """A command was interrupted before it was done."""
