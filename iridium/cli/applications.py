"""``iridium deploy``, ``apps``, ``stop`` and ``rebalance``: applications of a running node's cluster."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import click
import msgspec

from iridium.cli.cluster import ask, json_option, node_option, session
from iridium.cli.status import DATA_ERROR, ExitError
from iridium.cli.streams import Output, read_file
from iridium.errors import ApplicationError, CommandError

PIECE = 45_000
"""Bytes of an image in one line: 60 000 characters of Base64, under the longest line of a session."""

TIMEOUT = 30.0
"""Seconds that a node may take for a command."""


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except ExitError as error:
        raise CommandError(str(error)) from None


def _send_image(tell: Callable[[str, float], dict[str, Any]], digest: str, data: bytes) -> None:
    """Send an image in pieces, unless the node has it."""
    if tell(f"!deploy_image {digest}", TIMEOUT)["complete"]:
        return
    for offset in range(0, len(data), PIECE):
        piece = base64.b64encode(data[offset : offset + PIECE]).decode()
        tell(f"!deploy_image {digest} {len(data)} {offset} {piece}", TIMEOUT)


@click.command()
@click.argument("path", metavar="APP.toml")
@node_option
@json_option
def deploy(path: str, node: str, as_json: bool) -> None:
    """Have the cluster of a running node run the application in APP.toml.

    The programs that it names are read, assembled and sent from here. What ran under the name of the application
    is replaced. docs/supervision.md describes the file.
    """
    from iridium.supervision.application import load  # the assembler, which the other commands do not need

    try:
        package = load(read_file(path), path, _read)
    except ApplicationError as error:
        raise ExitError(str(error), DATA_ERROR) from None
    manifest = msgspec.json.encode({"name": package.name, "programs": package.programs}).decode()
    with session(node) as tell:
        for digest, data in package.images.items():
            _send_image(tell, digest, data)
        answer = tell(f"!deploy_manifest {manifest}", TIMEOUT)
    if as_json:
        Output().write(json.dumps(answer) + "\n")
        return
    count = len(answer["application"]["replicas"])
    Output().write(f"{package.name} is deployed: {count} replica{'' if count == 1 else 's'}\n")


@click.command()
@node_option
@json_option
def apps(node: str, as_json: bool) -> None:
    """List the applications of a running node's cluster, and where their replicas are."""
    answer = ask(node, "!apps")
    output = Output()
    if as_json:
        output.write(json.dumps({"applications": answer["applications"]}) + "\n")
        return
    rows: list[tuple[str, ...]] = [("application", "program", "replica", "node", "state", "restarts", "")]
    for app in answer["applications"]:
        if app["stopped"]:
            rows.append((app["name"], "-", "-", "-", "stopped", "-", ""))
        for at in app["replicas"]:
            rows.append(
                (
                    app["name"],
                    at["program"],
                    at["replica"],
                    at["node"] or "-",
                    at["state"],
                    str(at["restarts"]),
                    at["detail"],
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        output.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


@click.command()
@click.argument("application")
@node_option
@json_option
def stop(application: str, node: str, as_json: bool) -> None:
    """Have the cluster of a running node run APPLICATION no more."""
    answer = ask(node, f"!stop_app {application}")
    Output().write(json.dumps(answer) + "\n" if as_json else f"{answer['name']} is stopped\n")


@click.command()
@click.argument("application", required=False)
@node_option
@json_option
def rebalance(application: str | None, node: str, as_json: bool) -> None:
    """Move replicas of APPLICATION, or of all, to where they would be placed today."""
    answer = ask(node, f"!rebalance {application or ''}".rstrip())
    names = ", ".join(answer["names"])
    said = f"replicas of {names} move" if names else "no applications run, so there is nothing to move"
    Output().write(json.dumps(answer) + "\n" if as_json else f"{said}\n")
