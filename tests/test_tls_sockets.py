"""TLS on real sockets and between real processes: joins, strangers of every kind, resets, and what is logged."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread

from iridium.cluster import certificates as c
from iridium.cluster.keeping import keep
from iridium.cluster.link import Role
from iridium.cluster.refusals import RefusedError, UnreachableError
from iridium.cluster.tls import ClusterTls
from iridium.cluster.tls_files import DIRECTORY
from iridium.errors import OptionError
from iridium.node import Node, NodeConfig
from tests.processes import COMMAND, Conversation, NodeProcess, Process, needs_installation
from tests.test_mesh_sockets import Stranger, complaints, whole
from tests.test_node import Nodes, address, eventually, join, nodes, reactor, within
from tests.tls_double import CA, HOST, IDS, LONG_AGO, OTHER_CA, credentials

assert _reactor is reactor

__all__ = ["complaints", "nodes"]  # fixtures

REAL = pytest.mark.real_reactor


def start(nodes: Nodes, alias: str, tls: ClusterTls | None = None) -> Node:
    """A node with a certificate for this host, unless it is given another."""
    node = nodes.start(alias)
    node.mesh.tls = tls or credentials(hosts=[HOST])
    return node


@REAL
@pytest_twisted.ensureDeferred
async def test_nodes_with_certificates(nodes: Nodes) -> None:
    """Three nodes with certificates make one mesh, and what is said arrives, small and large."""
    a, b, third = (start(nodes, name) for name in "abc")
    await join(b, a)
    await join(third, b)
    await eventually(lambda: whole(a, b, third))
    for link in (peer.open_link for node in (a, b, third) for peer in node.mesh.machine.table.peers.values()):
        assert link is not None
        assert link.peer is not None
    got: list[bytes] = []
    b.mesh.post.on_mail = lambda id, kind, data: got.append(data)
    texts = [random.Random(size).randbytes(size) for size in (1, 1000, 48 * 1024, 1_000_000, 5_000_000)]
    for text in texts:
        assert a.mesh.post.send(b.me.id, 255, text, 1)
    await eventually(lambda: texts[-1] in got)
    assert [text for text in got if text in texts] == texts


@REAL
@pytest_twisted.ensureDeferred
async def test_the_socket_below(nodes: Nodes) -> None:
    """Whatever is set on the socket of a link without TLS is set with it: no delay, keep-alive, patience."""
    a, b = (start(nodes, name) for name in "ab")
    await join(b, a)
    for node in (a, b):
        for protocol in node.mesh._protocols.values():
            handle = protocol.transport.getHandle()
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000


@REAL
@pytest_twisted.ensureDeferred
async def test_a_peer_that_does_not_read(nodes: Nodes) -> None:
    """Back-pressure reaches through TLS: what a peer does not read waits in the link, and then the link ends."""
    a, b = (start(nodes, name) for name in "ab")
    await join(b, a)
    [protocol] = b.mesh._protocols.values()
    protocol.transport.pauseProducing()
    [peer] = a.mesh.machine.table.peers.values()
    link = peer.open_link
    assert link is not None
    while a.mesh.post.send(b.me.id, 255, bytes(48 * 1024)):
        pass
    await eventually(lambda: next(iter(a.mesh._protocols.values()))._paused)
    protocol.transport.resumeProducing()
    await eventually(lambda: not a.mesh.post.waiting(b.me.id))
    assert peer.open_link is link


@REAL
@pytest.mark.parametrize(
    ("a", "b", "kind", "told"),
    [
        ("good", "other", RefusedError, "the peer rejected our certificate: unknown ca"),
        ("other", "good", UnreachableError, "its certificate is of another CA"),
        ("good", "old", RefusedError, "the peer rejected our certificate: certificate expired"),
        ("good", "stranger", RefusedError, "is for host 10.0.0.1"),
        ("good", "plain", RefusedError, "this node speaks TLS only"),
        ("plain", "good", UnreachableError, "it speaks no TLS"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_is_not_let_in(
    nodes: Nodes, complaints: list[str], a: str, b: str, kind: type[Exception], told: str
) -> None:
    """On a real network too a peer that is turned away reads why, every time."""
    made = {
        "good": lambda: credentials(hosts=[HOST]),
        "other": lambda: credentials(hosts=[HOST], ca=OTHER_CA, trusts=CA),
        "old": lambda: credentials(hosts=[HOST], now=LONG_AGO),
        "stranger": lambda: credentials(hosts=["10.0.0.1"]),
        "plain": lambda: None,
    }
    contact, newcomer = nodes.start("a"), nodes.start("b")
    contact.mesh.tls, newcomer.mesh.tls = made[a](), made[b]()
    for _ in range(20):
        with pytest.raises(kind, match=told):
            await within(newcomer.mesh.join(*address(contact)))
    assert not contact.mesh.machine.handshakes
    await eventually(lambda: not contact.mesh.machine.greetings)


@REAL
@pytest_twisted.ensureDeferred
async def test_garbage_and_resets(nodes: Nodes, complaints: list[str]) -> None:
    """Whatever strangers send, and wherever they reset the connection, the node goes on without a traceback."""
    a = start(nodes, "a")
    host, port = address(a)
    tls = credentials(hosts=[HOST])
    channel = tls.channel(Role.DIALLER)
    channel.receive(b"")
    hello = channel.outgoing()
    rng = random.Random(1)

    def attack() -> None:
        for at in range(60):
            with socket.create_connection((host, port), 5) as client:
                data = (
                    hello[: at * len(hello) // 60],
                    rng.randbytes(1 + at),
                    b"\x16" + rng.randbytes(at),
                    hello + rng.randbytes(1 + 40 * at),
                    b"GET / HTTP/1.1\r\n\r\n",
                )[at % 5]
                client.sendall(data)
                if at % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    await within(deferToThread(attack))
    await eventually(lambda: not a.mesh.machine.greetings)
    assert complaints
    b = start(nodes, "b")
    await join(b, a)


@REAL
@pytest_twisted.ensureDeferred
async def test_clients_of_another_kind(nodes: Nodes, complaints: list[str]) -> None:
    """Python's own TLS, without a certificate or of an old version, is told what is missing."""
    a = start(nodes, "a")
    host, port = address(a)

    def ask(newest: ssl.TLSVersion) -> str:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = newest
        try:
            with context.wrap_socket(socket.create_connection((host, port), 5)) as client:
                client.sendall(b"{}\n")
                return client.recv(100).decode()
        except ssl.SSLError as error:
            return error.reason or ""

    assert "CERTIFICATE_REQUIRED" in await within(deferToThread(ask, ssl.TLSVersion.TLSv1_3))
    assert "PROTOCOL_VERSION" in await within(deferToThread(ask, ssl.TLSVersion.TLSv1_2))
    assert ["it shows no certificate" in complaints[0], "does not speak TLS 1.3" in complaints[1]] == [True, True]


@REAL
@pytest_twisted.ensureDeferred
async def test_a_plain_node_that_is_asked_for_tls(nodes: Nodes, complaints: list[str]) -> None:
    """A node without TLS answers a TLS client in its own words, and says so in its log."""
    a = nodes.start("a")
    endpoint = TCP4ClientEndpoint(reactor, *address(a))
    stranger = await within(connectProtocol(endpoint, Stranger()))
    nodes.clients.append(stranger)
    stranger.transport.write(b"\x16\x03\x01\x00\x05hello")
    await within(stranger.closed)
    [refusal] = stranger.heard()
    assert (refusal.reason, refusal.detail) == ("NOT_ALLOWED", "this node has no certificate, and speaks no TLS")
    [line] = complaints
    assert "it speaks TLS" in line


@REAL
@pytest_twisted.ensureDeferred
async def test_a_certificate_of_another_node(nodes: Nodes, tmp_path: Path) -> None:
    """A node does not start with a certificate that every peer would refuse, and says which it needs."""
    key = c.make_key()
    certificate = c.issue(c.make_csr(key), [IDS["a"]], [], CA)
    keep(tmp_path / "x" / DIRECTORY, certificate, c.key_pem(key), c.certificate_pem(CA.certificate))
    with pytest.raises(OptionError, match=rf"is for node {IDS['a']}, and this is the node .* --id "):
        Node(reactor, NodeConfig(node_alias="x", data_root_dir=tmp_path))
    with pytest.raises(OptionError):  # and lets go of the directory each time
        Node(reactor, NodeConfig(node_alias="x", data_root_dir=tmp_path))


# --- real processes ---


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a CA and the certificates of alpha and beta, made by the command."""
    for arguments in (
        ("ca", "CA"),
        ("node", "--ca", "CA", "--data-root-dir", ".", "--node-alias", "alpha"),
        ("node", "--ca", "CA", "--data-root-dir", ".", "--node-alias", "beta"),
    ):
        made = Process(*COMMAND, "certificates", *arguments, cwd=tmp_path)
        assert made.status() == 0, made.text
        made.close()
    return tmp_path


@pytest.mark.processes
@needs_installation
def test_two_nodes_of_the_command_line(here: Path) -> None:
    """What `iridium certificates` makes is all that two nodes need; who has none is told; the logs are clean."""
    alpha, beta, plain = NodeProcess("alpha", here), NodeProcess("beta", here), NodeProcess("plain", here)
    try:
        for node in (alpha, beta, plain):
            node.wait_until_up()
        joining = Process(*COMMAND, "join", alpha.address, "--node", beta.shell, cwd=here)
        assert joining.status() == 0, joining.text
        joining.close()
        alpha.until({"alpha": "up", "beta": "up"})
        for contact, newcomer, told in (
            (alpha, plain, "NOT_ALLOWED: this node speaks TLS only"),
            (plain, beta, "it speaks no TLS; both nodes need a certificate"),
        ):
            joining = Process(*COMMAND, "join", contact.address, "--node", newcomer.shell, cwd=here)
            assert joining.status() == 1
            assert told in joining.text
            joining.close()
        nc = Conversation(alpha.cluster_port)
        nc.send("hello?")
        nc.expect("NOT_ALLOWED")
        nc.close()
        if shutil.which("openssl"):
            for extra, why in (((), "certificate required"), (("-tls1_2",), "protocol version")):
                done = subprocess.run(
                    ["openssl", "s_client", "-ign_eof", "-connect", alpha.address, *extra],
                    input="",
                    capture_output=True,
                    text=True,
                    timeout=20,
                    check=False,
                )
                assert why in done.stderr
        for node in (alpha, beta, plain):
            node.stop()
            assert "Main loop terminated" in node.text
            assert "Traceback" not in node.text
            assert "Unhandled" not in node.text
    finally:
        for node in (alpha, beta, plain):
            node.close()


@pytest.mark.processes
@needs_installation
def test_a_certificate_is_renewed_while_the_node_runs(here: Path) -> None:
    """After SIGHUP the next connection is shown the certificate that has taken the place of the old one."""
    alpha = NodeProcess("alpha", here)
    try:
        alpha.wait_until_up()
        alpha.expect("REPL port on")
        shown = ssl.get_server_certificate((HOST, alpha.cluster_port))
        assert shown.strip() == (alpha.data / DIRECTORY / "node.pem").read_text().strip()
        arguments = ("node", "--ca", "CA", "--data-root-dir", ".", "--node-alias", "alpha", "--replace")
        made = Process(*COMMAND, "certificates", *arguments, cwd=here)
        assert made.status() == 0, made.text
        made.close()
        renewed = (alpha.data / DIRECTORY / "node.pem").read_text().strip()
        assert renewed != shown.strip()
        alpha.signal(signal.SIGHUP)
        alpha.expect("reread trust")
        assert ssl.get_server_certificate((HOST, alpha.cluster_port)).strip() == renewed
    finally:
        alpha.close()


@pytest.mark.processes
@needs_installation
def test_a_node_with_a_broken_certificate_does_not_start(here: Path) -> None:
    """A start that cannot be is one line, with the file and what to do."""
    (here / "alpha" / DIRECTORY / "node.key").chmod(0o644)
    node = NodeProcess("alpha", here)
    try:
        assert node.status() == 1
        assert "chmod 600" in node.text
        assert "Traceback" not in node.text
    finally:
        node.close()
