"""The ``iridium`` command: which commands there are, and how it starts.

A run without options goes straight to :mod:`iridium.cli.running`, since importing click takes as long as that.
Everything else is click's: :mod:`iridium.cli.group`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from iridium.cli.streams import ending


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
    "secret": Entry("iridium.cli.secret:secret", "Make the secret of a cluster, or change it."),
    "join": Entry("iridium.cli.cluster:join", "Tell a running node to join a cluster."),
    "members": Entry("iridium.cli.cluster:members", "List the members of a running node's cluster."),
    "spawn": Entry("iridium.cli.processes:spawn", "Start a program as a process of a running node."),
    "load": Entry("iridium.cli.remote:load", "Keep a program on a running node, for its shells."),
    "ps": Entry("iridium.cli.processes:ps", "List the processes of a running node or its cluster."),
    "leave": Entry("iridium.cli.cluster:leave", "Tell a running node to leave its cluster."),
    "deploy": Entry("iridium.cli.applications:deploy", "Have a cluster run an application."),
    "apps": Entry("iridium.cli.applications:apps", "List a cluster's applications and their replicas."),
    "stop": Entry("iridium.cli.applications:stop", "Have a cluster run an application no more."),
    "certificates": Entry("iridium.cli.certificates:certificates", "Make a CA and certificates, for TLS."),
    "rebalance": Entry("iridium.cli.applications:rebalance", "Move replicas, after a node has joined."),
}
"""Every command, in the order that help lists them."""


def plain_run(arguments: Sequence[str]) -> str | None:
    """The program, where the command line is no more than ``iridium PROGRAM`` or ``iridium run PROGRAM``."""
    if len(arguments) == 2 and arguments[0] == "run":
        program = arguments[1]
    elif len(arguments) == 1 and arguments[0] not in COMMANDS and os.path.lexists(arguments[0]):
        program = arguments[0]
    else:
        return None
    return None if program.startswith("-") and program != "-" else program


def start() -> None:
    """Do what the command line says, and end the process.

    Raises:
        SystemExit: always.
    """
    with ending():
        program = plain_run(sys.argv[1:])
        if program is not None:
            from iridium.cli.running import run

            sys.exit(run(program))
        from iridium.cli.group import iridium

        iridium(prog_name="iridium")
