"""The ``iridium`` command: which commands there are, and how one is found.

A command's module is imported when that command is used, so that ``iridium run`` does not wait for what only the
cluster needs. The commands themselves stand in the modules that :data:`COMMANDS` names.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, NamedTuple

import click

from iridium import __version__
from iridium.cli.status import BROKEN_PIPE, INTERRUPTED, NO_INPUT, Failure
from iridium.cli.streams import abandon_stdout


class Entry(NamedTuple):
    """One command.

    Attributes:
        target: where its click command is, as ``module:attribute``.
        summary: one line of help; it stands here so that ``iridium --help`` imports no command.
    """

    target: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("iridium.cli.programs:run", "Run a program, source or image."),
    "assemble": Entry("iridium.cli.programs:assemble", "Make an executable image of a source."),
    "disassemble": Entry("iridium.cli.programs:disassemble", "List an image as source."),
    "bench": Entry("iridium.cli.bench:bench_command", "Measure how fast programs run here."),
    "repl": Entry("iridium.cli.shell:repl", "Type assembly and see it run (what no command at all does)."),
    "join": Entry("iridium.cli.cluster:join", "Tell a running node to join a cluster."),
    "members": Entry("iridium.cli.cluster:members", "List the members of a running node's cluster."),
    "leave": Entry("iridium.cli.cluster:leave", "Tell a running node to leave its cluster."),
    "deploy": Entry("iridium.cli.applications:deploy", "Have a cluster run an application."),
    "apps": Entry("iridium.cli.applications:apps", "List a cluster's applications and their replicas."),
    "stop": Entry("iridium.cli.applications:stop", "Have a cluster run an application no more."),
    "rebalance": Entry("iridium.cli.applications:rebalance", "Move replicas, after a node has joined."),
}
"""Every command, in the order that help lists them."""

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
            Failure: the first word is neither a command nor a file.
        """
        if not args:
            args = ["repl"]
        elif args[0] not in COMMANDS and args[0] not in _OWN_OPTIONS:
            first = args[0]
            if not first.startswith("-") and not os.path.lexists(first):
                name = click.format_filename(first)
                raise Failure(f"iridium: `{name}` is neither a command nor a file; {_nearest(name)}", NO_INPUT)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C and a reader that went away end it without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            abandon_stdout()
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            abandon_stdout()
            ctx.exit(BROKEN_PIPE)


@click.group(cls=LazyGroup, options_metavar="[--help] [--version]", subcommand_metavar="COMMAND|PROGRAM ...")
@click.version_option(__version__, message="%(prog)s %(version)s")
def iridium() -> None:
    """A small clustered language VM.

    Without a command it is `iridium repl`; a program in place of the command is run. `iridium COMMAND --help`
    tells more about a command.
    """


def main() -> None:
    """The entry point of the ``iridium`` command."""
    iridium(prog_name="iridium")
