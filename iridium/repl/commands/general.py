"""Commands about the shell itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from iridium.repl.commands.table import Answer, Command, Done, Result
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "the shell"


class CommandHelp(msgspec.Struct):
    """One command, for somebody who has not used it."""

    name: str
    arguments: str
    help: str
    group: str
    aliases: list[str]
    needs: str


class Help(Result):
    """What can be typed.

    Attributes:
        commands: those that the session may do; or the one that was asked for.
        role: the session's.
        others: how many there are besides that need another role.
    """

    commands: list[CommandHelp]
    role: str
    others: int

    def text(self) -> str:
        """By subject; a single command with its other names."""
        if len(self.commands) == 1:
            row = self.commands[0]
            also = f"\nalso: {', '.join(row.aliases)}" if row.aliases else ""
            needs = "" if row.needs == Role.READ_ONLY.value else f"\nneeds the role {row.needs}"
            return f"{row.name} {row.arguments}".rstrip() + f"\n  {row.help}{also}{needs}"
        width = max(len(f"{row.name} {row.arguments}") for row in self.commands)
        reads = self.role == Role.READ_ONLY.value
        lines = ["This session is read-only. Type a command:" if reads else "Type assembly, or a command:"]
        group = ""
        for row in self.commands:
            if row.group != group:
                group = row.group
                lines += ["", f"About {group}:"]
            lines.append(f"  {f'{row.name} {row.arguments}'.ljust(width)}  {row.help}")
        if self.others:
            lines += ["", f"{self.others} more commands, and assembly, need the role {Role.OPERATOR.value}."]
        return "\n".join([*lines, "", "--json at the end of any command gives its answer as one JSON object."])


class History(Result):
    """What was typed."""

    lines: list[str]

    def text(self) -> str:
        """Numbered, the oldest first."""
        return "\n".join(f"{number:4}  {line}" for number, line in enumerate(self.lines, 1))


def show_help(session: Session, arguments: list[str]) -> Answer:
    """``!help``."""
    from iridium.repl.commands import TABLE  # the table has this command in it

    allowed = [row for row in TABLE.commands if session.role.allows(row.needs)]
    rows = [TABLE.find(arguments[0])] if arguments else allowed
    commands = [CommandHelp(r.name, r.arguments, r.help, r.group, list(r.aliases), r.needs.value) for r in rows]
    return Help(commands, session.role.value, len(TABLE.commands) - len(allowed))


def show_history(session: Session, arguments: list[str]) -> Answer:
    """``!history``."""
    return History(list(session.history))


def leave_shell(session: Session, arguments: list[str]) -> Answer:
    """``!quit``."""
    session.quit()
    return Done("bye")


COMMANDS = (
    Command(
        "!help",
        GROUP,
        Role.READ_ONLY,
        "list the commands, or tell about one",
        show_help,
        Help,
        "[COMMAND]",
        most=1,
    ),
    Command("!history", GROUP, Role.READ_ONLY, "show the last lines that were typed", show_history, History),
    Command(
        "!quit", GROUP, Role.READ_ONLY, "end this session; the node goes on", leave_shell, Done, aliases=("!exit",)
    ),
)
