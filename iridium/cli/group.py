"""The ``iridium`` command for click: how a command of the table is found and run.

A command's module is imported when that command is used, so that none waits for what only others need. The
commands themselves stand in the modules that :data:`iridium.cli.start.COMMANDS` names.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

from iridium import __version__
from iridium.cli.start import COMMANDS
from iridium.cli.status import NO_INPUT, say
from iridium.cli.streams import ending, printable

_OWN_OPTIONS = ("--help", "--version")


def _nearest(name: str) -> str:
    """What to do about a name that is no command."""
    import difflib  # only a mistake needs it

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"did you mean `iridium {close[0]}`?" if close else "`iridium --help` lists the commands"


class LazyGroup(click.Group):
    """The group of :data:`COMMANDS`, with what is typed instead of a command taken as a program to run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``iridium`` is ``iridium repl``, and ``iridium PROGRAM`` is ``iridium run PROGRAM``.

        Raises:
            click.exceptions.Exit: the first word is neither a command nor a file.
        """
        if not args:
            args = ["repl"]
        elif args[0] not in COMMANDS and args[0] not in _OWN_OPTIONS:
            first = args[0]
            if not first.startswith("-") and not os.path.lexists(first):
                name = printable(first)
                say(f"iridium: `{name}` is neither a command nor a file; {_nearest(name)}")
                ctx.exit(NO_INPUT)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises is told here, before click would in words of its own."""
        with ending():
            return super().invoke(ctx)


@click.group(cls=LazyGroup, options_metavar="[--help] [--version]", subcommand_metavar="COMMAND|PROGRAM ...")
@click.version_option(__version__, message="%(prog)s %(version)s")
def iridium() -> None:
    """A small clustered language VM.

    Without a command it is `iridium repl`; a program in place of the command is run. `iridium COMMAND --help`
    tells more about a command.
    """
