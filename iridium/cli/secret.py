"""``iridium secret``: the file that lets a node into its cluster. It needs no running node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from iridium.cli.status import ExitError
from iridium.cli.streams import Output
from iridium.cluster.identity import check_alias, directory_name
from iridium.cluster.secret import SECRET_FILE, Secrets, new_secret, read_secrets
from iridium.errors import IridiumError
from iridium.options import default_data_root
from iridium.private import write_whole

FAILED = 1
"""The exit status when there is no such file, or it cannot be written."""

STEPS: dict[str, tuple[Callable[[Secrets], Secrets], str]] = {
    "add": (Secrets.with_new, "holds a second secret, which nodes accept and do not use yet"),
    "use": (Secrets.turned, "now has the second secret first: nodes use it, and still accept the other"),
    "drop": (Secrets.without_old, "holds the secret in use alone: the other lets nobody in any more"),
}
"""What can be done to a file, and what it is then."""

_NEXT = """\
Give the same file to every node of the cluster, readable by its user alone: as `{name}` in its data directory,
or under any name with --secret-file. A running node reads it again at SIGHUP, or when it is started anew.
"""


@click.command()
@click.option("--node-alias", metavar="A", default="", help="The node whose data directory gets it.")
@click.option("--data-root-dir", metavar="DIR", default=None, help="Where nodes keep their data.")
@click.option(
    "--file", "given", metavar="FILE", default=None, help="This file instead of one in a data directory."
)
@click.option("--add", "step", flag_value="add", help="Add a second secret, to change to.")
@click.option("--use", "step", flag_value="use", help="Use the second secret, and still accept the first.")
@click.option("--drop", "step", flag_value="drop", help="Drop the secret that is no longer used.")
def secret(node_alias: str, data_root_dir: str | None, given: str | None, step: str | None) -> None:
    """Make the secret of a cluster, or change it. It is written to a file, and never shown.

    To change the secret of a running cluster, do --add, then --use, then --drop, and after each step give the file
    to every node and have it reread (SIGHUP): at every moment each node accepts what the others use.
    """
    try:
        path = _path(node_alias, data_root_dir, given)
        if step is None:
            write_whole(path, Secrets([new_secret()]).to_text().encode(), replace=False)
            said = "holds a new secret"
        else:
            change, said = STEPS[step]
            path = path.resolve()  # where a link leads: the link itself stays
            write_whole(path, _changed(path, change).to_text().encode(), replace=True)
    except IridiumError as error:
        raise ExitError(f"iridium: {error}", FAILED) from None
    Output().write(f"{path} {said}.\n{_NEXT.format(name=SECRET_FILE)}")


def _changed(path: Path, change: Callable[[Secrets], Secrets]) -> Secrets:
    try:
        return change(read_secrets(path))
    except IridiumError as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise ExitError(f"iridium: {where}{error}", FAILED) from None


def _path(alias: str, root: str | None, given: str | None) -> Path:
    if given is not None:
        return Path(given).absolute()
    directory = default_data_root() if root is None else Path(root)
    return directory.absolute() / directory_name(check_alias(alias)) / SECRET_FILE
