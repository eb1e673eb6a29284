"""``iridium certificates``: a small CA, and certificates of nodes, as files."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from iridium.cli.cluster import json_option
from iridium.cli.status import ExitError
from iridium.cli.streams import Output
from iridium.cluster import certificates as c
from iridium.cluster.identity import (
    LOCK_FILE,
    NODE_FILE,
    DataDirectory,
    NodeState,
    check_alias,
    directory_name,
    read_state,
)
from iridium.cluster.keeping import ANEW, keep
from iridium.cluster.tls_files import CA_CERTIFICATE, CA_KEY, DIRECTORY, read_pem
from iridium.errors import IridiumError
from iridium.options import default_data_root
from iridium.private import PUBLIC, give_to_owner_of_directory, make_directory, write_whole

FAILED = 1
"""The exit status when a certificate cannot be made."""

_path = click.Path(path_type=Path)
replace_option = click.option("--replace", is_flag=True, help="Make files anew that are there already.")


@click.group()
def certificates() -> None:
    """Make a CA and certificates, for TLS between nodes.

    \b
    iridium certificates ca DIR                           once a cluster
    iridium certificates node --ca DIR --node-alias A     once a node, on its host
    iridium certificates node NAME --ca DIR --host H      the same for a node elsewhere: take NAME/ there
    """


@certificates.command()
@click.argument("directory", metavar="DIR", type=_path)
@click.option("--name", default="Iridium cluster", show_default=True, help="What the CA is called.")
@click.option("--years", default=c.CA_YEARS, show_default=True, help="How long it is good for.")
@replace_option
@json_option
def ca(directory: Path, *, name: str, years: int, replace: bool, as_json: bool) -> None:
    """Make a CA: DIR/ca.pem, and DIR/ca.key, which nobody else may have.

    Who has the key can make certificates for nodes of the cluster. Nodes need it not: keep it where it is safe.
    """
    with _told():
        authority = c.make_ca(name, years)
        # The key first: a certificate without one could be taken for a CA that is complete.
        write_whole(directory / CA_KEY, c.key_pem(authority.key), replace=replace, hint=ANEW)
        pem = c.certificate_pem(authority.certificate)
        write_whole(directory / CA_CERTIFICATE, pem, mode=PUBLIC, replace=replace, hint=ANEW)
    until = f"{authority.certificate.not_valid_after_utc:%Y-%m-%d}"
    told = {"certificate": str(directory / CA_CERTIFICATE), "key": str(directory / CA_KEY), "expires": until}
    _say(told, as_json, f"made the CA {name!r} in {directory}, good until {until}; keep {CA_KEY} where it is safe")


@certificates.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--ca", "ca_directory", metavar="DIR", type=_path, required=True, help="Where ca.pem and ca.key are."
)
@click.option("--id", "ids", metavar="ID", multiple=True, help="Id of the node; may be given several times.")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="Host name or address of the node; likewise.")
@click.option("--out", metavar="DIR", type=_path, help="Where the files go; NAME unless given.")
@click.option("--node-alias", metavar="A", help="Make it for this node of this host, where the node looks for it.")
@click.option("--data-root-dir", metavar="DIR", type=_path, help="Where nodes of this host keep their data.")
@click.option("--years", default=c.NODE_YEARS, show_default=True, help="How long it is good for.")
@replace_option
@json_option
def node(
    name: str | None,
    *,
    ca_directory: Path,
    ids: tuple[str, ...],
    hosts: tuple[str, ...],
    out: Path | None,
    node_alias: str | None,
    data_root_dir: Path | None,
    years: int,
    replace: bool,
    as_json: bool,
) -> None:
    """Make the certificate of a node: node.pem, node.key and ca.pem.

    With --node-alias or --data-root-dir it is for the id of that node of this host, which is made if it never ran,
    and goes into its data directory: the node uses it from its next start, or SIGHUP, on. Else it is for the --id
    and --host that are given, and goes into the directory NAME, for --tls-cert, --tls-key and --tls-ca.

    A certificate with ids is good for those nodes wherever they are; one without, for any node at its hosts.
    """
    here = node_alias is not None or data_root_dir is not None
    if here and (name is not None or out is not None):
        raise click.UsageError("NAME and --out are for nodes elsewhere; --node-alias says where the files go")
    if not here and name is None and out is None:
        raise click.UsageError("name the node, or say --node-alias for one of this host")
    if not here and not ids and not hosts:
        raise click.UsageError(
            "say whom it is for: --id (as `iridium members` shows it) or --host, or --node-alias"
        )
    with _told():
        if here:
            alias = check_alias(node_alias or "")
            data = (data_root_dir or default_data_root()) / directory_name(alias)
            ids = (_id_of(data), *ids)
            out = data / DIRECTORY
        out = out or Path(name or "")
        authority_pem = read_pem(ca_directory / CA_CERTIFICATE)
        authority = c.read_ca(authority_pem, read_pem(ca_directory / CA_KEY, private=True))
        key = c.make_key()
        certificate = c.issue(c.make_csr(key), ids, hosts, authority, years)
        keep(out, certificate, c.key_pem(key), authority_pem, replace=replace)
    told = {"directory": str(out), "ids": list(ids), "hosts": list(hosts)}
    whom = ", ".join((*ids, *hosts))
    use = "the node uses it from its next start on, or from kill -HUP on" if here else _usage(out)
    _say(told, as_json, f"made a certificate for {whom} in {out}; {use}")


def _usage(out: Path) -> str:
    return f"start the node with --tls-cert {out}/node.pem --tls-key {out}/node.key --tls-ca {out}/ca.pem"


def _id_of(directory: Path) -> str:
    """The id of a node of this host; one is made where it has none yet, which nobody else may do meanwhile."""
    if (directory / NODE_FILE).exists():
        state = read_state(directory / NODE_FILE, NodeState)
        if state is not None:
            return state.id  # also of a node that runs
    make_directory(directory)
    data = DataDirectory(directory)
    try:
        state = data.read(NODE_FILE, NodeState) or NodeState(str(uuid.uuid4()), 0)
        data.write(NODE_FILE, state)
        for name in (LOCK_FILE, NODE_FILE):
            give_to_owner_of_directory(directory / name)
    finally:
        data.close()
    return state.id


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What goes wrong is one line."""
    try:
        yield
    except IridiumError as error:
        raise ExitError(f"iridium: {error}", FAILED) from None


def _say(document: Mapping[str, object], as_json: bool, text: str) -> None:
    Output().write(json.dumps(document) + "\n" if as_json else text + "\n")
