"""TLS between nodes, in memory: who is let in, what each end is told, and connections that break anywhere."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from iridium.cluster import tls
from iridium.cluster.link import Role
from iridium.cluster.liveness import LOT
from iridium.cluster.mesh import MOST_ENGAGED
from iridium.cluster.protocol import ClusterFactory
from iridium.cluster.refusals import RefusedError, UnreachableError
from iridium.cluster.tls import MOST_MUTE, Channel, TlsError
from iridium.cluster.vouching import (
    CertificateNames,
    TlsPeer,
    acceptor_objection,
    canonical_host,
    dialler_objection,
    vouches,
)
from iridium.limits import DEFAULTS
from tests.tls_double import CA, HOST, IDS, LONG_AGO, OTHER_CA, End, World, credentials

A, B, C = IDS.values()


def own(name: str) -> tls.ClusterTls:
    """The TLS of a node with a certificate for its id."""
    return credentials([IDS[name]])


# --- the rule ---


@pytest.mark.parametrize(
    ("ids", "hosts", "id", "host", "good"),
    [
        ([A], [], A, "10.0.0.1", True),
        ([A], [], B, "10.0.0.1", False),
        ([A, B], [], B, "10.0.0.1", True),
        ([A], ["10.0.0.1"], A, "10.0.0.2", True),  # ids are enough
        ([A], ["10.0.0.1"], B, "10.0.0.1", False),  # and hosts do not help
        ([], ["10.0.0.1"], A, "10.0.0.1", True),
        ([], ["10.0.0.1"], A, "10.0.0.2", False),
        ([], ["node.example"], A, "NODE.example.", True),
        ([], ["node.example"], A, "other.example", False),
        ([], ["*.example"], A, "node.example", False),
        ([], ["2001:db8::1"], A, "2001:DB8:0:0::1", True),
        ([], ["10.0.0.1"], A, "::ffff:10.0.0.1", True),
        ([], [], A, "10.0.0.1", False),
        ([], [], "", "", False),
    ],
)
def test_whom_a_certificate_is_for(ids: list[str], hosts: list[str], id: str, host: str, good: bool) -> None:
    """With ids for those nodes only, else for its hosts; without names for nobody."""
    names = CertificateNames(frozenset(ids), frozenset(map(canonical_host, hosts)))
    assert vouches(names, id, host) is good


@pytest.mark.parametrize(
    ("names", "advertised", "seen", "good"),
    [
        ({"10.0.0.1"}, "10.0.0.1:2254", "10.9.9.9", True),  # behind an address translation
        ({"10.0.0.1"}, "10.9.9.9:2254", "10.0.0.1", False),  # what it advertises is dialled by all
        ({"10.0.0.1"}, "0.0.0.0:2254", "10.0.0.1", True),
        ({"10.0.0.1"}, "[::]:2254", "10.0.0.1", True),
        ({"10.0.0.1"}, "", "10.0.0.1", True),
        ({"10.0.0.1"}, "", "10.0.0.2", False),
        ({"node.example"}, "node.example:2254", "10.0.0.1", True),
    ],
)
def test_the_host_of_a_node_that_connects(names: set[str], advertised: str, seen: str, good: bool) -> None:
    """What it advertises counts, or where it is seen if that says nothing."""
    peer = TlsPeer(CertificateNames(frozenset(), frozenset(names)), b"")
    assert (dialler_objection(peer, A, advertised, seen) is None) is good


def test_without_tls_nobody_objects() -> None:
    """A link without TLS is not judged by names."""
    assert acceptor_objection(None, A, "10.0.0.1:1") is None
    assert dialler_objection(None, A, "", "") is None


# --- two nodes ---


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (lambda: own("a"), lambda: own("b")),
        (lambda: credentials(hosts=[HOST]), lambda: credentials(hosts=[HOST])),
        (lambda: own("a"), lambda: credentials(hosts=["x.example", HOST])),
    ],
)
def test_a_join(a: Callable[[], tls.ClusterTls], b: Callable[[], tls.ClusterTls]) -> None:
    """Two nodes of one CA are linked, with whom they have verified, and with the same binding at both ends."""
    world = World(a(), b())
    wire = world.join()
    world.run()
    assert [member.alias for member in world.members] == ["b", "a"]
    assert world.linked
    dialler, acceptor = (end.protocol.link for end in wire.ends)
    assert dialler.binding == acceptor.binding
    assert len(dialler.binding) == 32
    assert dialler.peer.names == world.a.tls.names  # type: ignore[union-attr]
    assert acceptor.peer.names == world.b.tls.names  # type: ignore[union-attr]
    world.stop()
    assert world.log == []


def test_without_tls_there_is_no_binding() -> None:
    """A link without TLS says so."""
    world = World(None, None)
    wire = world.join()
    world.run()
    assert world.linked
    assert [(end.protocol.link.peer, end.protocol.link.binding) for end in wire.ends] == [(None, b"")] * 2
    world.stop()


def test_each_link_has_a_binding_of_its_own() -> None:
    """What binds a secret to one connection says nothing on another."""
    bindings = set()
    for _ in range(2):
        world = World(own("a"), own("b"))
        wire = world.join()
        world.run()
        bindings.add(wire.ends[0].protocol.link.binding)
        world.stop()
    assert len(bindings) == 2


CERTIFICATE = r"`iridium certificates"

FAILURES: dict[str, tuple[Callable[[], Any], Callable[[], Any], type[Exception], str, str]] = {
    "b is of another CA": (
        lambda: own("a"),
        lambda: credentials([B], ca=OTHER_CA, trusts=CA),
        RefusedError,
        rf"NOT_ALLOWED: the peer rejected our certificate: unknown ca; .*{CERTIFICATE}",
        rf"its certificate is of another CA; .*{CERTIFICATE}",
    ),
    "a is of another CA": (
        lambda: credentials([A], ca=OTHER_CA, trusts=CA),
        lambda: own("b"),
        UnreachableError,
        rf"its certificate is of another CA; .*{CERTIFICATE}",
        "the peer ended TLS: unknown ca",
    ),
    "b has expired": (
        lambda: own("a"),
        lambda: credentials([B], now=LONG_AGO),
        RefusedError,
        rf"NOT_ALLOWED: the peer rejected our certificate: certificate expired; .*{CERTIFICATE}",
        rf"its certificate has expired; .*{CERTIFICATE}",
    ),
    "a has expired": (
        lambda: credentials([A], now=LONG_AGO),
        lambda: own("b"),
        UnreachableError,
        rf"its certificate has expired; .*{CERTIFICATE}",
        "the peer ended TLS: certificate expired",
    ),
    "b is not whom its certificate is for": (
        lambda: own("a"),
        lambda: credentials([C]),
        RefusedError,
        rf"NOT_ALLOWED: the certificate of {B} is for node {C}; .*{CERTIFICATE}",
        "",
    ),
    "a is not whom its certificate is for": (
        lambda: credentials([C]),
        lambda: own("b"),
        RefusedError,
        rf"NOT_ALLOWED: the certificate of {A} is for node {C}; .*{CERTIFICATE}",
        "",
    ),
    "b is at another host": (
        lambda: own("a"),
        lambda: credentials(hosts=["10.0.0.1"]),
        RefusedError,
        rf"the certificate of 127.0.0.1 \(node {B}\) is for host 10.0.0.1",
        "",
    ),
    "a is at another host": (
        lambda: credentials(hosts=["10.0.0.1", "node.example"]),
        lambda: own("b"),
        RefusedError,
        rf"the certificate of 127.0.0.1 \(node {A}\) is for host 10.0.0.1, node.example",
        "",
    ),
    "b has no TLS": (
        lambda: own("a"),
        lambda: None,
        RefusedError,
        rf"NOT_ALLOWED: this node speaks TLS only; .*{CERTIFICATE}",
        rf"it speaks no TLS; .*{CERTIFICATE}",
    ),
    "a has no TLS": (
        lambda: None,
        lambda: own("b"),
        UnreachableError,
        rf"it speaks no TLS; .*{CERTIFICATE}",
        "it speaks TLS; this node has no certificate",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_who_is_not_let_in(name: str) -> None:
    """Whatever is wrong with a certificate, both ends are told what and what to do, at once and in one line."""
    a, b, kind, told, logged = FAILURES[name]
    world = World(a(), b())
    world.join()
    world.run()
    assert not world.linked
    assert type(world.problem) is kind
    assert re.search(told, str(world.problem)), str(world.problem)
    assert re.search(logged, "\n".join(world.log)) if logged else world.log == [], world.log
    assert not world.a.machine.greetings
    assert all(end.gone for wire in world.wires for end in wire.ends)
    world.stop()


def test_a_node_begins_with_tls_while_it_runs() -> None:
    """TLS is one attribute of the mesh: what is linked stays so, and the next connection has it."""
    world = World(None, None)
    first = world.join()
    world.run()
    world.a.tls, world.b.tls = own("a"), own("b")
    assert world.linked
    first.cut()
    world.reactor.advance(0.3)
    world.connect()
    world.run()
    assert world.linked
    links = [peer.open_link for node in (world.a, world.b) for peer in node.machine.table.peers.values()]
    assert [link.binding == links[0].binding != b"" for link in links if link and links[0]] == [True, True]
    world.stop()


# --- connections that break, and those who mean harm ---


def test_resets_anywhere_in_the_handshake() -> None:
    """A connection that breaks after any byte is a failed dial, with an error for people, and leaves nothing."""
    a, b = own("a"), own("b")
    whole = World(a, b)
    wire = whole.join()
    whole.run()
    total = wire.carried
    whole.stop()
    for most in range(0, total, int(os.environ.get("TLS_STRIDE", "37"))):
        world = World(a, b)
        wire = world.join()
        world.run(most)
        assert wire.carried <= most
        wire.cut()
        world.run(most)
        assert (world.problem is None) is (world.members is not None)
        if world.problem is not None:
            assert isinstance(world.problem, UnreachableError), most
        assert not world.a.machine.greetings
        assert not world.b.machine.greetings
        assert not any("bug" in line for line in world.log)
        world.stop()


def test_garbled_handshakes() -> None:
    """A byte that is wrong anywhere ends the connection: no link, a line in the log or an error, no traceback."""
    a, b = own("a"), own("b")
    for at in range(0, 4000, 97):
        world = World(a, b)
        wire = world.join()
        world.run(at)
        for end in wire.ends:
            if end.sent:
                end.sent = bytes([end.sent[0] ^ 0x55]) + end.sent[1:]
                break
        world.run()
        world.reactor.advance(DEFAULTS.handshake + 1)
        world.run()
        assert not world.linked, at
        assert world.problem is not None
        world.stop()


@pytest.mark.parametrize(
    "data", [b"\x16", b"\x16\x03\x01\x02\x00" + b"x" * 600, b"\x15\x03\x03\x00\x02\x02\x28", b"\x16" * 70_000]
)
def test_what_only_looks_like_tls(data: bytes) -> None:
    """Whoever sends a byte of TLS and then nonsense, or nothing, is hung up on in time."""
    world = World(own("a"), None)
    acceptor: Any = ClusterFactory(world.a).buildProtocol(None)
    end = End()
    end.other = End()
    end.other.protocol = end.protocol = acceptor
    end.other.gone = True
    acceptor.makeConnection(end)
    acceptor.dataReceived(data)
    world.reactor.pump([0.25] * 4 * (int(DEFAULTS.handshake) + 2))
    assert end.gone
    assert len(world.log) == 1
    assert not world.a.machine.greetings
    world.stop()


def connection(world: World) -> End:
    """Somebody who connects to node a and says nothing."""
    acceptor: Any = ClusterFactory(world.a).buildProtocol(None)
    end = End()
    end.other = End()
    end.other.gone = True
    end.protocol = acceptor
    acceptor.makeConnection(end)
    return end


def test_connections_in_a_tls_handshake_count() -> None:
    """Who only connects takes a place among those in a handshake, and gives it back in time, a lot at once."""
    world = World(own("a"), None)
    ends = [connection(world) for _ in range(DEFAULTS.half_open)]
    assert world.a.no_room("127.0.0.1")
    assert ClusterFactory(world.a).buildProtocol(None) is None
    world.reactor.pump([0.25] * 4 * int(DEFAULTS.handshake))
    assert not any(end.gone for end in ends)
    world.reactor.advance(0.5)
    assert sum(end.gone for end in ends) == LOT
    world.reactor.pump([0.25] * 4 * 10)
    assert all(end.gone for end in ends)
    assert not world.a.no_room("127.0.0.1")
    world.stop()


def test_tls_that_has_begun_is_limited() -> None:
    """Who says nothing costs no TLS; of those that begin so many go on, and the rest waits until one is done."""
    world = World(own("a"), None)
    channel = own("b").channel(Role.DIALLER)
    channel.receive(b"")
    hello = channel.outgoing()
    ends = [connection(world) for _ in range(MOST_ENGAGED + 10)]
    assert not any(end.protocol._channel for end in ends)
    for end in ends:
        end.protocol.dataReceived(hello)
    answered = [end for end in ends if end.sent]
    assert answered == ends[:MOST_ENGAGED]
    assert [end.paused for end in ends] == [False] * MOST_ENGAGED + [True] * 10
    ends[0].lose(ConnectionLost())
    ends[-1].lose(ConnectionLost())
    assert ends[MOST_ENGAGED].sent
    assert not ends[MOST_ENGAGED].paused
    assert not ends[MOST_ENGAGED + 1].sent
    world.reactor.pump([0.25] * 4 * 15)
    assert all(end.gone for end in ends)
    assert not world.a._engaged
    assert not world.a._unengaged
    world.stop()


def test_the_time_for_a_handshake_is_one() -> None:
    """Who takes long for TLS has only the rest of the time for its hello."""
    world = World(own("a"), None)
    end = connection(world)
    channel = own("b").channel(Role.DIALLER)
    channel.receive(b"")
    world.reactor.pump([0.25] * 4 * 4)
    for _ in range(4):
        data = channel.outgoing()
        if data:
            end.protocol.dataReceived(data)
        channel.receive(end.sent)
        end.sent = b""
    assert end.protocol.link is not None
    assert not world.a.machine.greetings
    world.reactor.pump([0.25] * 4)
    assert not end.gone
    world.reactor.pump([0.25] * 4)
    assert end.closing
    world.stop()


def pair() -> tuple[Channel, Channel]:
    """Both ends of a connection, whose handshake is over."""
    ends = own("b").channel(Role.DIALLER), own("a").channel(Role.ACCEPTOR)
    for _ in range(3):
        ends[0].receive(ends[1].outgoing())
        ends[1].receive(ends[0].outgoing())
    assert all(end.peer for end in ends)
    return ends


def test_what_is_said_arrives_in_any_pieces() -> None:
    """Records arrive whole, in bytes, and many at once; nothing is lost or waits."""
    dialler, acceptor = pair()
    texts = [b"", b"a", b"b" * 100, b"c" * 16384, b"d" * 16385, b"e" * 200_000]
    sent = b"".join(dialler.send(text) for text in texts if text)
    assert acceptor.receive(sent) == b"".join(texts)
    sent = b"".join(dialler.send(text) for text in texts[:4] if text)
    assert b"".join(acceptor.receive(sent[at : at + 1]) for at in range(len(sent))) == b"".join(texts[:4])
    for size in (2, 3, 4, 5, 6, 7, 100, 1000, 4096, 65536):
        sent = b"".join(dialler.send(text) for text in texts if text)
        got = b"".join(acceptor.receive(sent[at : at + size]) for at in range(0, len(sent), size))
        assert got == b"".join(texts), size


def test_the_end_is_said() -> None:
    """Who closes a link says so; who only vanishes does not, and that is no error of TLS either."""
    dialler, acceptor = pair()
    assert acceptor.receive(dialler.send(b"bye") + dialler.end()) == b"bye"
    assert acceptor.ended
    with pytest.raises(TlsError):
        dialler.send(b"more")


class Mute:
    """An OpenSSL connection whose peer sends nothing but new keys."""

    def bio_write(self, data: bytes) -> None: ...

    def recv(self, most: int) -> bytes:
        raise SSL.WantReadError


def test_records_that_say_nothing_end() -> None:
    """A few records that say nothing are a peer's right; one that sends ever new keys is hung up on."""
    dialler, _ = pair()
    channel: Any = dialler
    channel._connection = Mute()
    record = b"\x17\x03\x03\x00\x16" + bytes(0x16)
    for _ in range(MOST_MUTE // 8 - 1):
        assert channel.receive(8 * record) == b""
    with pytest.raises(TlsError, match="say nothing"):
        channel.receive(16 * record)


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_2_VERSION])
def test_older_versions(version: int) -> None:
    """TLS 1.2 and older are refused, and the log says why."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(version)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    old = SSL.Connection(context, None)
    old.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        old.do_handshake()
    world = World(own("a"), None)
    end = connection(world)
    end.protocol.dataReceived(old.bio_read(65536))
    old.bio_write(end.sent)
    with pytest.raises(SSL.Error, match="protocol version"):
        old.do_handshake()
    assert world.log == ["it does not speak TLS 1.3; both ends must"]
    end.lose(ConnectionError())
    world.stop()


def test_no_certificate() -> None:
    """A client that shows no certificate is told that one is required."""
    context = SSL.Context(SSL.TLS_METHOD)
    bare = SSL.Connection(context, None)
    bare.set_connect_state()
    world = World(own("a"), None)
    end = connection(world)
    problems = []
    for _ in range(3):
        try:
            bare.do_handshake()
            bare.recv(100)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            problems.append(str(error))
        with contextlib.suppress(SSL.WantReadError):
            end.protocol.dataReceived(bare.bio_read(65536))
        if end.sent:
            bare.bio_write(end.sent)
            end.sent = b""
    assert "certificate required" in problems[0]
    assert world.log[0].startswith("it shows no certificate; ")
    assert end.half
    assert not world.a.machine.handshakes
    end.lose(ConnectionError())
    world.stop()


def test_no_session_goes_on_where_another_ended() -> None:
    """A client that asks to resume a session is asked for its certificate again."""
    credentials_of_b = own("b")
    session = None
    for _ in range(2):
        client = SSL.Connection(credentials_of_b._context, None)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        server = own("a").channel(Role.ACCEPTOR)
        sizes = []
        for _ in range(4):
            try:
                client.do_handshake()
                client.recv(1)
            except SSL.WantReadError:
                pass
            try:
                data = client.bio_read(65536)
                sizes.append(len(data))
                server.receive(data)
            except SSL.WantReadError:
                pass
            data = server.outgoing()
            if data:
                client.bio_write(data)
        assert server.peer is not None
        assert max(sizes[1:]) > 700  # the certificate is in it
        session = client.get_session()


def test_a_link_that_is_truncated_is_lost() -> None:
    """The end of a connection without TLS's own end is the loss of a link, as without TLS."""
    world = World(own("a"), own("b"))
    wire = world.join()
    world.run()
    wire.cut()
    world.run()
    assert not world.linked
    world.reactor.advance(0.3)
    world.connect()
    world.run()
    assert world.linked
    world.stop()
    assert world.log == []
