"""``iridium join``, ``members`` and ``leave``: what a running node is told through its shell."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from iridium.cli.status import NOT_ALLOWED, ExitError
from iridium.cli.streams import Output
from iridium.cluster.rules import join_address, split_address
from iridium.cluster.tokens import parse_token
from iridium.errors import ClientError, OptionError
from iridium.repl.client import Ask, Shell, call, connect
from iridium.roles import RoleError

NODE = "127.0.0.1:2244"
"""The shell of a node that was started without options."""

FAILED = 1
"""The exit status when the node refuses, or there is none."""

JOIN_TIMEOUT = 60.0
"""Seconds that a join may take: a dial and a handshake have five each, and a large mesh is dialled in rounds."""

PIECE = 45_000
"""Bytes of an image in one line: 60 000 characters of Base64, under the longest line of a session."""

SEND_TIMEOUT = 30.0
"""Seconds that a node may take for a piece."""

node_option = click.option(
    "--node",
    metavar="HOST:PORT",
    envvar="IRIDIUM_NODE",
    default=NODE,
    show_default=True,
    show_envvar=True,
    help="The node's REPL port.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def ask(node: str, command: str, timeout: float = 30.0) -> dict[str, Any]:
    """What a node's shell answers.

    Raises:
        ExitError: there is no such shell, or it answers with an error: the refusal and its remedy.
    """
    with _failures():
        answer = call(*split_address(node), command, timeout=timeout)
    return checked_answer(answer)


@contextlib.contextmanager
def session(node: str) -> Iterator[Ask]:
    """Ask a node's shell several things, each within so many seconds.

    Raises:
        ExitError: as from :func:`ask`; where something is asked, too.
    """
    with shell_of(node) as shell:
        yield checked(shell)


@contextlib.contextmanager
def shell_of(node: str) -> Iterator[Shell]:
    """A session with a running node, whose answers may be errors.

    Raises:
        ExitError: as from :func:`ask`, but for errors that the shell answers with.
    """
    with _failures(), connect(*split_address(node)) as shell:
        yield shell


def checked(shell: Shell) -> Ask:
    """What asks a shell, and raises ExitError where it answers with an error."""
    return lambda command, timeout, on_event=None: checked_answer(shell(command, timeout, on_event))


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OptionError as error:
        raise ExitError(f"iridium: --node: {error}", FAILED) from None
    except ClientError as error:
        raise ExitError(f"iridium: {error}", FAILED) from None


def checked_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, unless it is an error.

    Raises:
        ExitError: it is one; the text has its remedy.
    """
    problem = answer.get("error")
    if problem is None:
        return answer
    remedy = problem.get("remedy")
    text = str(problem.get("message") or problem.get("kind"))
    status = NOT_ALLOWED if problem.get("kind") == RoleError.__name__ else FAILED
    raise ExitError(f"iridium: {text}" + (f"\n{remedy}" if remedy and remedy not in text else ""), status)


def send_image(tell: Ask, command: str, digest: str, data: bytes) -> None:
    """Send an image in pieces, unless the node has it.

    Args:
        tell: asks the node.
        command: of its shell, that takes them.
        digest: the hash of the image.
        data: the image.
    """
    if tell(f"{command} {digest}", SEND_TIMEOUT)["complete"]:
        return
    for offset in range(0, len(data), PIECE):
        piece = base64.b64encode(data[offset : offset + PIECE]).decode()
        tell(f"{command} {digest} {len(data)} {offset} {piece}", SEND_TIMEOUT)


def _show_members(answer: dict[str, Any], as_json: bool) -> None:
    output = Output()
    if as_json:
        output.write(json.dumps({"members": answer["members"]}) + "\n")
        return
    rows: list[tuple[str, ...]] = [
        ("*" if m["self"] else "", m["id"], m["alias"] or "-", m["address"] or "-", m["state"])
        for m in answer["members"]
    ]
    show_table(output, ("", "id", "alias", "address", "state"), rows, lambda row: row[-1] != "up")


def show_table(
    output: Output,
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    is_dim: Callable[[tuple[str, ...]], bool] = lambda row: False,
) -> None:
    """Show a table: with lines on a terminal, else as plain columns."""
    if output.is_terminal:
        _show_rich(header, rows, is_dim)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        output.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _show_rich(
    header: tuple[str, ...], rows: list[tuple[str, ...]], is_dim: Callable[[tuple[str, ...]], bool]
) -> None:
    from rich.console import Console  # 50 ms that only a person who watches has to wait for
    from rich.table import Table
    from rich.text import Text

    table = Table(*header)
    for row in rows:
        table.add_row(*map(Text, row), style="dim" if is_dim(row) else None)
    Console().print(table)


@click.command()
@click.argument("address", metavar="[HOST:PORT]", required=False)
@click.option("--token", metavar="TOKEN", help="What !token printed on a member; - reads it.")
@node_option
@json_option
def join(address: str | None, token: str | None, node: str, as_json: bool) -> None:
    """Tell a running node to join the cluster of the node at HOST:PORT, and list the members.

    HOST:PORT is the cluster port (2254 by default) of any member. Where the cluster has a secret or TLS, a node
    that has neither joins with a token, which says where: on a member, type !token.
    """
    if (address is None) == (token is None):
        raise click.UsageError("name the HOST:PORT of a member, or a --token: one of them")
    try:
        if token is not None:
            given = str(parse_token(sys.stdin.readline() if token == "-" else token))  # nosec B105  # no token
            command = f"!join_with {given}"
        else:
            command = f"!join_cluster {join_address(*split_address(address or ''))}"
    except OptionError as error:
        raise click.UsageError(str(error)) from None
    ask(node, command, JOIN_TIMEOUT)
    _show_members(ask(node, "!cluster_members"), as_json)


@click.command()
@node_option
@json_option
def members(node: str, as_json: bool) -> None:
    """List the members of a running node's cluster; * marks the node itself."""
    _show_members(ask(node, "!cluster_members"), as_json)


@click.command()
@node_option
@json_option
def leave(node: str, as_json: bool) -> None:
    """Tell a running node to leave its cluster. It goes on running, and may join again."""
    answer = ask(node, "!leave_cluster")
    Output().write(json.dumps(answer) + "\n" if as_json else f"{answer.get('message', 'left the cluster')}\n")
