"""How the ``iridium`` command ends: its exit statuses, and the error that carries one. Without click.

The numbers from 64 to 78 are those of BSD's ``sysexits.h``; from 128 on they are a shell's for a signal.
A wrong command line ends with 2, as click has it.
"""

from __future__ import annotations

import contextlib
import sys

USAGE = 2
"""The command line is wrong, or asks for what is not there."""

DATA_ERROR = 65
"""A source does not assemble, or a file is no image."""

NO_INPUT = 66
"""A file cannot be opened or read."""

PROGRAM_FAULT = 70
"""The program crashed."""

CANNOT_CREATE = 73
"""A file cannot be written."""

OUTPUT_ERROR = 74
"""Standard output cannot be written, for another reason than that nobody reads it."""

LIMIT_REACHED = 75
"""The program was stopped by --limit or --timeout."""

NOT_ALLOWED = 77
"""The node's port lets nobody do that: its sessions are read-only."""

INTERRUPTED = 128 + 2
"""Ctrl-C."""

BROKEN_PIPE = 128 + 13
"""Whoever read standard output went away."""


def of_stop_code(code: int) -> int:
    """The exit status of a program that stopped with a code.

    An exit status has eight bits; a code that is not 0 never looks like success.
    """
    return code % 256 or int(code != 0)


class ExitError(Exception):
    """The command cannot be done, or did not end well: one message on standard error, then an exit status.

    Args:
        message: what is printed, as it stands.
        status: the exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def tell_of_building() -> None:
    """Have a person at a terminal told, once there is a reason, why a hot program stands still."""
    # Whether standard error is there at all: a process can be started without.
    if sys.stderr is not None and sys.stderr.isatty():
        from iridium.vm import engine

        engine.on_build = lambda: say("iridium: building the native interpreter, once: this takes a second or two")


def say(message: str) -> None:
    """Print a line on standard error; where nobody can read it, there is nobody to tell."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
