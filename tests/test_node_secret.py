"""Nodes with a cluster's secret, on real sockets: where they find it, whom they let in, and how they reread it."""

from __future__ import annotations

import datetime
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_twisted

from iridium.cluster.identity import NODE_FILE
from iridium.cluster.refusals import RefusedError
from iridium.cluster.secret import CREDENTIAL, SECRET_FILE, Secrets, find_secrets, new_secret
from iridium.cluster.tls import ClusterTls
from iridium.cluster.trust import Trust
from iridium.errors import CommandError, OptionError
from iridium.private import write_whole
from iridium.service import NodeService
from tests.test_node import Nodes, address, events, eventually, join, nodes, states, within
from tests.test_service import service, services

__all__ = ["nodes", "services"]  # fixtures

pytestmark = pytest.mark.real_reactor

A, B = new_secret(), new_secret()


def secret_file(path: Path, *secrets: str) -> Path:
    """A file with secrets."""
    write_whole(path, Secrets(secrets).to_text().encode(), replace=True)
    return path


def test_where_a_secret_is_looked_for(tmp_path: Path) -> None:
    """The file that is named, then systemd's credential, then the data directory; none of them is no secret."""
    directory, credentials = tmp_path / "data", tmp_path / "credentials"
    for each in (directory, credentials):
        each.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert find_secrets(None, directory, environment) is None
    own = secret_file(directory / SECRET_FILE, A)
    assert find_secrets(None, directory, environment) == (Secrets([A]), own)
    given = secret_file(credentials / CREDENTIAL, B)
    given.chmod(0o440)  # as systemd has it for a service with a user of its own
    assert find_secrets(None, directory, environment) == (Secrets([B]), given)
    assert find_secrets(None, directory, {}) == (Secrets([A]), own)
    assert find_secrets(own, directory, environment) == (Secrets([A]), own)
    with pytest.raises(OptionError, match="there is no secret file"):
        find_secrets(tmp_path / "none", directory, {})


@pytest_twisted.ensureDeferred
async def test_a_mesh_with_a_secret(nodes: Nodes) -> None:
    """Three nodes with one secret are a mesh; one with another is refused, and told what to do."""
    file = secret_file(nodes.root / "s", A)
    a, b, c = (nodes.start(name, secret_file=file) for name in "abc")
    await join(b, a)
    await join(c, b)
    await eventually(lambda: states(a) == states(b) == states(c) == dict.fromkeys("abc", "up"))
    other = nodes.start("d", secret_file=secret_file(nodes.root / "t", B))
    with pytest.raises(RefusedError, match=r"NOT_ALLOWED.*give both nodes the same cluster secret"):
        await within(other.mesh.join(*address(a)))
    assert states(other) == {"d": "up"}
    assert "d" not in states(a)
    await eventually(lambda: any("another secret" in event.detail for event in events(a, "refused")))


@pytest_twisted.ensureDeferred
async def test_a_secret_in_the_data_directory(nodes: Nodes) -> None:
    """It needs no option."""
    for name in "ab":
        secret_file(nodes.root / name / SECRET_FILE, A)
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    stranger = nodes.start("c")
    with pytest.raises(RefusedError, match="you have none"):
        await within(stranger.mesh.join(*address(a)))


@pytest_twisted.ensureDeferred
async def test_a_secret_opens_the_cluster_port(nodes: Nodes) -> None:
    """With a secret the port may listen on any interface; without, it may not, and the data stays as it was."""
    file = secret_file(nodes.root / "s", A)
    nodes.start("a", secret_file=file, server_bind_host="0.0.0.0")
    with pytest.raises(OptionError, match="iridium secret"):
        nodes.start("b", server_bind_host="0.0.0.0")
    assert not (nodes.root / "b" / NODE_FILE).exists()
    c = nodes.start("c")
    await within(c.mesh.leave())
    with pytest.raises(CommandError, match="listens already"):
        c.start_cluster("0.0.0.0", 0)


@pytest_twisted.ensureDeferred
async def test_a_wrong_file_stops_the_start(nodes: Nodes) -> None:
    """A secret that others can read, or that is none, stops the start with a line and changes nothing."""
    file = secret_file(nodes.root / "s", A)
    file.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        nodes.start("a", secret_file=file)
    file.chmod(0o600)
    file.write_text("tooshort")
    with pytest.raises(OptionError, match="32 to 256 characters"):
        nodes.start("a", secret_file=file)
    assert not (nodes.root / "a" / NODE_FILE).exists()


def test_a_certificate_that_expires_soon() -> None:
    """Whoever starts the node, or has it reread, is told three weeks before."""
    day = datetime.datetime(2030, 1, 31, tzinfo=datetime.UTC)
    trust = Trust(tls=cast("ClusterTls", SimpleNamespace(expires=day)))
    assert trust.warning(day - datetime.timedelta(days=22)) == ""
    assert "expires on 2030-01-31; make a new one" in trust.warning(day - datetime.timedelta(days=20))
    assert Trust().warning(day) == ""


@pytest_twisted.ensureDeferred
async def test_sighup_rereads_the_secret(services: list[NodeService], tmp_path: Path) -> None:
    """A node takes the new file at SIGHUP; one that cannot be read changes nothing, and is told."""
    one, two = secret_file(tmp_path / "one", A), secret_file(tmp_path / "two", B)
    first = service(services, tmp_path, node_alias="a", secret_file=one)
    first.startService()
    assert first.node is not None
    contact = first.node.me.address
    second = service(services, tmp_path, node_alias="b", secret_file=two, join=(contact,))
    second.startService()
    node = second.node
    assert node is not None
    await eventually(lambda: events(node, "join-failed"))
    assert "does not try again" in events(node, "join-failed")[0].detail
    secret_file(two, A)
    two.chmod(0o644)
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: events(node, "not-reread"))
    assert "chmod 600" in events(node, "not-reread")[0].detail
    two.chmod(0o600)
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: states(node) == {"a": "up", "b": "up"})
    two.unlink()
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: len(events(node, "not-reread")) == 2)
    assert node.trust.guards
