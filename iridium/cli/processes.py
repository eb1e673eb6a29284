"""``iridium spawn`` and ``ps``: processes of a running node and its cluster, through its shell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import click

from iridium.cli import running
from iridium.cli.cluster import ask, json_option, node_option, send_image, session, show_table
from iridium.cli.status import PROGRAM_FAULT, USAGE, ExitError, of_stop_code, say
from iridium.cli.streams import Output, display_name, read_file
from iridium.repl.client import Ask
from iridium.repl.listing import HEADER, pid_in_list, unlisted

TIMEOUT = 30.0
"""Seconds that a node may take for a command."""

FOR_EVER = 1e9
"""Seconds that a process may take that somebody waits for."""


@click.command()
@click.argument("path")
@click.option(
    "--on", "on", metavar="NAME", default="", help="Start it on that node of the cluster, by alias or id."
)
@click.option(
    "--wait", "waits", is_flag=True, help="Show what it prints, and end when it does, with its stop code."
)
@node_option
@json_option
def spawn(path: str, *, on: str, waits: bool, node: str, as_json: bool) -> None:
    """Start the program at PATH, a source or an image, as a process of a running node or its cluster.

    It is read and assembled here. Without --wait the process goes on by itself: `iridium ps` lists it, and the
    shell's `!observe` shows what it prints. Ctrl-C ends the waiting of --wait, not the process, and says what the
    process is called; the shell's `!kill` ends it.
    """
    name = display_name(path)
    data = running.load(read_file(path), name, line_table=True).to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if any(map(str.isspace, on)):
        raise ExitError(f"iridium: no node is called {on!r}", USAGE)
    output = Output()
    with session(node) as tell:
        send_image(tell, "!spawn_image", digest, data)
        title = "".join(c if c.isprintable() else "?" for c in name)
        command = f"!spawn_sent {digest} {'--wait' if waits else '--start'} {on or '@'} {title}"
        if not waits:
            started = tell(command, TIMEOUT)
            output.write(json.dumps(started) + "\n" if as_json else f"process {_called(started)} runs {name}\n")
            return
        printed: list[str] = []
        ended = _wait(tell, command, printed.append if as_json else output.write)
    click.get_current_context().exit(_status_of(output, ended, as_json, printed))


def _wait(tell: Ask, command: str, write: Callable[[str], None]) -> dict[str, Any]:
    """How a process ends that a command starts and waits for.

    Raises:
        KeyboardInterrupt: it is not waited for any more; that it goes on has been said.
    """
    called = ""

    def happened(event: dict[str, Any]) -> None:
        nonlocal called
        if "started" in event:
            called = _called(event["started"])
        else:
            write(str(event["output"]))

    try:
        return tell(command, FOR_EVER, happened)
    except KeyboardInterrupt:
        if called:
            lists = "iridium ps --all" if "@" in called else "iridium ps"
            say(f"iridium: process {called} goes on; `{lists}` shows it, `!kill {called}` in the shell ends it")
        else:
            say("iridium: the process may have been started; `iridium ps --all` tells")
        raise


def _called(process: dict[str, Any]) -> str:
    """What a process is called at the shell of the node that was asked."""
    return str(process.get("there") or process["pid"])


def _status_of(output: Output, ended: dict[str, Any], as_json: bool, printed: list[str]) -> int:
    """The exit status for a process that was waited for.

    Raises:
        ExitError: it crashed, or was killed.
    """
    if as_json:
        output.write(json.dumps({**ended, "output": "".join(printed)}) + "\n")
    elif ended["reason"] < 0:
        raise ExitError(
            f"iridium: process {_called(ended)} ended: {ended['fault'] or ended['how']}", PROGRAM_FAULT
        )
    return PROGRAM_FAULT if ended["reason"] < 0 else of_stop_code(ended["reason"])


@click.command()
@click.option("--all", "everywhere", is_flag=True, help="Those of all nodes of the cluster.")
@node_option
@json_option
def ps(*, everywhere: bool, node: str, as_json: bool) -> None:
    """List the processes of a running node, or of its cluster."""
    answer = ask(node, "!ps --all" if everywhere else "!ps")
    output = Output()
    if as_json:
        output.write(json.dumps(answer) + "\n")
        return
    rows = [_row(process, answer.get("here", process["node"])) for process in answer["processes"]]
    show_table(output, HEADER, rows)
    for line in unlisted(answer["more"], answer["silent"]):
        output.write(f"{line}\n")


def _row(process: dict[str, Any], here: str) -> tuple[str, ...]:
    """A process in a list."""
    shown = {**process, "pid": pid_in_list(process["pid"], process["node"], here)}
    return tuple(str(shown[field] or "-" if field in ("name", "parent") else shown[field]) for field in HEADER)
