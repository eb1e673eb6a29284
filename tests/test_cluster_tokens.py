"""Join tokens: as text, as a table, at the desk, and between nodes on real sockets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock

from iridium.cluster import certificates as c
from iridium.cluster import door as door_module
from iridium.cluster.enrolling import (
    LONGEST_ASKED,
    Desk,
    Enrolled,
    EnrolmentError,
    parse_answer,
    request,
    store,
)
from iridium.cluster.identity import DataDirectory
from iridium.cluster.keeping import keep
from iridium.cluster.newcomers import Newcomers
from iridium.cluster.secret import SECRET_FILE, Secrets, new_secret, read_secrets
from iridium.cluster.tls_files import DIRECTORY, TlsFiles, load_tls
from iridium.cluster.tokens import LIFETIME, MOST_TOKENS, PREFIX, Token, Tokens, parse_token
from iridium.cluster.trust import Trust
from iridium.errors import CertificateError, CommandError, IridiumError, OptionError
from iridium.events import EventRing
from iridium.limits import DEFAULTS
from iridium.node import Node
from iridium.private import PRIVATE, PUBLIC, write_whole
from tests.test_node import Nodes, events, eventually, free_port, nodes, states, within

__all__ = ["nodes"]  # a fixture

reactor: Any = _reactor

ID = "00000000-0000-4000-8000-000000000001"
NEW = "00000000-0000-4000-8000-00000000000a"

TOKENS = st.builds(
    Token,
    st.text(min_size=1, max_size=64),
    st.sampled_from(["127.0.0.1:2254", "[2001:db8::1]:1", "node.example:65535"]),
    st.integers(1, 65535),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


# --- as text ---


@given(TOKENS)
def test_round_trip(token: Token) -> None:
    """What is copied whole is the token that was made, blanks around it or not; and it is one word."""
    text = str(token)
    assert parse_token(f"  {text}\n") == token
    assert text.startswith(PREFIX)
    assert not any(character.isspace() for character in text)


@given(TOKENS, st.data())
def test_a_token_that_was_copied_badly(token: Token, data: st.DataObject) -> None:
    """Any character that is lost or changed is noticed, before anybody is called."""
    text = str(token)
    at = data.draw(st.integers(len(PREFIX), len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_"))
    for bad in (text[:at] + text[at + 1 :], text[:at] + other + text[at + 1 :], text[:at]):
        if bad != text:
            with pytest.raises(OptionError, match=r"copy all of it|begins with"):
                parse_token(bad)


@given(st.text(max_size=2000) | st.text(max_size=2000).map(PREFIX.__add__))
def test_what_is_no_token(text: str) -> None:
    """Anything else is refused with a line that does not repeat it."""
    with pytest.raises(OptionError) as raised:
        parse_token(text)
    assert len(str(raised.value)) < 120


def test_a_token_does_not_show_its_secret() -> None:
    """Not where a log or a traceback would show it."""
    token = Token("iridium", "127.0.0.1:2254", 1, b"f" * 32, b"s" * 32)
    assert repr(token) == "<token for 127.0.0.1:2254>"


# --- the table ---


def test_a_token_is_good_once_and_for_ten_minutes() -> None:
    """And what was never made is good never."""
    clock = Clock()
    tokens = Tokens(clock.seconds)
    first, second = tokens.make(), tokens.make()
    assert len(tokens) == 2
    assert tokens.take(first) == "good"
    assert tokens.take(first) == "unknown"
    assert tokens.take(b"x" * 32) == "unknown"
    clock.advance(LIFETIME)
    assert tokens.take(second) == "expired"
    assert tokens.take(second) == "unknown"
    assert len(tokens) == 0


def test_so_many_tokens_and_no_more() -> None:
    """The table has a limit, and room again when some have expired."""
    clock = Clock()
    tokens = Tokens(clock.seconds)
    for _ in range(MOST_TOKENS):
        tokens.make()
    with pytest.raises(CommandError, match="16 tokens are out already"):
        tokens.make()
    clock.advance(LIFETIME)
    tokens.make()


# --- the desk ---


class Setting:
    """A desk with a token out, of a cluster with a secret and, unless it is not wanted, with TLS."""

    def __init__(self, root: Path, *, tls: bool = True) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.secret = new_secret()
        files = self.certificates(root) if tls else None
        self.trust = Trust(Secrets([self.secret]), root / "s", None, files)
        self.tokens = Tokens(lambda: 0.0)
        self.token = self.tokens.make()
        self.desk = Desk(
            self.tokens, lambda: self.trust, lambda id: id == ID, lambda *event: self.said.append(event)
        )
        self.key = c.make_key()

    @staticmethod
    def certificates(root: Path) -> TlsFiles:
        """A CA and a node's files."""
        ca, key = c.make_ca("test"), c.make_key()
        paths = [root / name for name in ("node.pem", "node.key", "ca.pem", "ca.key")]
        contents = [
            c.issue(c.make_csr(key), [ID], [], ca),
            c.key_pem(key),
            c.certificate_pem(ca.certificate),
            c.key_pem(ca.key),
        ]
        for path, data in zip(paths, contents, strict=True):
            write_whole(path, data, replace=False, mode=PRIVATE if path.suffix == ".key" else PUBLIC)
        return TlsFiles(*paths)

    def ask(self, id: str = NEW, token: bytes | None = None, csr: bytes | None = None) -> Enrolled:
        """What a newcomer gets."""
        asked = request(token or self.token, id, c.make_csr(self.key) if csr is None else csr)
        return parse_answer(self.desk.answer(asked.rstrip(b"\n"), "10.9.9.9").rstrip(b"\n"))


def test_a_newcomer_gets_what_it_needs(tmp_path: Path) -> None:
    """The secret, and a certificate for its id and nobody else, with which TLS works at once."""
    desk = Setting(tmp_path)
    given = desk.ask()
    assert given.secrets == [desk.secret]
    (tmp_path / "new").mkdir()
    store(given, c.key_pem(desk.key), tmp_path / "new")
    assert read_secrets(tmp_path / "new" / SECRET_FILE) == Secrets([desk.secret])
    kept = tmp_path / "new" / DIRECTORY
    tls = load_tls(TlsFiles(kept / "node.pem", kept / "node.key", kept / "ca.pem"))
    assert tls.names.ids == {NEW}
    assert not tls.names.hosts
    assert desk.said == [("token-used", NEW, "from 10.9.9.9")]


def test_a_cluster_without_tls_gives_a_secret(tmp_path: Path) -> None:
    """And no certificate."""
    desk = Setting(tmp_path, tls=False)
    given = desk.ask()
    assert (given.secrets, given.certificate, given.ca) == ([desk.secret], "", "")


def test_a_token_is_used_up_by_whoever_comes_first(tmp_path: Path) -> None:
    """The second is turned away, with what to do, and a wrong one uses nothing up."""
    desk = Setting(tmp_path)
    with pytest.raises(EnrolmentError, match=r"unknown here.*make another token there"):
        desk.ask(token=b"w" * 32)
    assert desk.ask().secrets
    with pytest.raises(EnrolmentError, match="unknown here: it was used before"):
        desk.ask()
    assert [kind for kind, _, _ in desk.said] == ["token-refused", "token-used", "token-refused"]


def test_a_token_gets_no_certificate_of_a_node_that_is_there(tmp_path: Path) -> None:
    """A newcomer cannot become a member that exists already."""
    desk = Setting(tmp_path)
    with pytest.raises(EnrolmentError, match="is a node of this cluster already; !forget it first"):
        desk.ask(id=ID)


@pytest.mark.parametrize("csr", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_a_request_that_is_none(tmp_path: Path, csr: bytes) -> None:
    """A signing request that cannot be read is told, and gives nothing away."""
    desk = Setting(tmp_path)
    with pytest.raises(EnrolmentError, match="no signing request"):
        desk.ask(csr=csr)


@given(line=st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_what_else_is_said_at_the_desk(line: bytes) -> None:
    """Whatever is said, the answer is a refusal in one line."""
    said: list[tuple[str, str, str]] = []
    desk = Desk(Tokens(lambda: 0.0), Trust, lambda id: False, lambda *event: said.append(event))
    answer = desk.answer(line, "10.9.9.9")
    assert answer.endswith(b"\n")
    assert answer.count(b"\n") == 1
    assert b'"refuse"' in answer
    assert len(said) == 1


@given(st.binary(max_size=300))
def test_what_else_a_member_answers(line: bytes) -> None:
    """A newcomer takes nothing that is no answer."""
    with pytest.raises(IridiumError):
        parse_answer(line)


def test_nothing_to_give(tmp_path: Path) -> None:
    """No token is made where there is no secret, or no key to sign with."""
    desk = Setting(tmp_path)
    desk.desk.check()
    assert desk.trust.files is not None
    desk.trust = desk.trust._replace(files=desk.trust.files._replace(authority_key=None))
    with pytest.raises(CommandError, match="--tls-ca-key"):
        desk.desk.check()
    desk.trust = Trust()
    with pytest.raises(CommandError, match="nobody needs a token"):
        desk.desk.check()


def test_an_answer_with_a_secret_that_is_none() -> None:
    """What a member gives is looked at before it is written."""
    with pytest.raises(OptionError, match="32 to 256 characters"):
        parse_answer(b'{"type":"enrolled","secrets":["short"]}')


# --- between nodes ---


def guarded(nodes: Nodes, *, tls: bool = False, **options: Any) -> Node:
    """A node whose cluster has a secret, and perhaps TLS, whose CA it has."""
    root = nodes.root / "a"
    write_whole(root / SECRET_FILE, Secrets([new_secret()]).to_text().encode(), replace=False)
    if tls:
        directory = DataDirectory(root)
        id = directory.load_node().id
        directory.close()
        ca, key = c.make_ca("test"), c.make_key()
        certificate = c.issue(c.make_csr(key), [id], [], ca)
        keep(root / DIRECTORY, certificate, c.key_pem(key), c.certificate_pem(ca.certificate))
        write_whole(root / DIRECTORY / "ca.key", c.key_pem(ca.key), replace=False)
    return nodes.start("a", **options)


@pytest.mark.real_reactor
@pytest.mark.parametrize("tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_newcomer_joins_with_a_token(nodes: Nodes, tls: bool) -> None:
    """One line on each side: it has the secret, and TLS where the cluster has; and a restart changes nothing."""
    a = guarded(nodes, tls=tls)
    token = await within(a.newcomers.make_token())
    b = nodes.start("b")
    members = await within(b.join_with(str(token)))
    assert {member.alias for member in members} == {"a", "b"}
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})
    assert b.trust.secrets == a.trust.secrets
    assert (b.trust.tls is not None) == tls
    assert events(a, "token-used")[0].subject == b.me.id
    await nodes.stop(b)
    b = nodes.start("b")
    await eventually(lambda: states(a) == states(b) == {"a": "up", "b": "up"})
    c = nodes.start("c")
    with pytest.raises(EnrolmentError, match="used before"):
        await within(c.join_with(str(token)))
    assert not c.trust.guards
    assert not (nodes.root / "c" / SECRET_FILE).exists()
    with pytest.raises(CommandError, match="has a secret or certificate already"):
        await within(b.join_with(str(token)))


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_key_of_a_ca_that_cannot_sign(nodes: Nodes) -> None:
    """It is noticed before a token promises what cannot be given, and not by the newcomer."""
    a = guarded(nodes, tls=True)
    key = nodes.root / "a" / DIRECTORY / "ca.key"
    key.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        await within(a.newcomers.make_token())
    write_whole(key, c.key_pem(c.make_key()), replace=True)
    with pytest.raises(CertificateError, match="does not belong to its certificate"):
        await within(a.newcomers.make_token())
    assert not a.newcomers._door.is_open


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_somebody_else_behind_the_door(nodes: Nodes) -> None:
    """A newcomer says its token to nobody whose certificate is not the one in it."""
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    wrong = token._replace(fingerprint=b"x" * 32)
    b = nodes.start("b")
    with pytest.raises(EnrolmentError, match="is not the node that made the token"):
        await within(b.join_with(str(wrong)))
    assert not events(a, "token-used")
    await within(b.join_with(str(token)))  # it was not used up


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_nobody_behind_the_door(nodes: Nodes) -> None:
    """Where nothing listens, or what listens is no door, the newcomer gets a line."""
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    b = nodes.start("b")
    plain = token._replace(door=int(a.me.address.rpartition(":")[2]))  # the cluster port, without TLS
    with pytest.raises(EnrolmentError, match=r"it does not speak TLS|TLS failed|hung up"):
        await within(b.join_with(str(plain)))
    await within(a.newcomers.stop())
    with pytest.raises(EnrolmentError, match="the token was used or has expired, or its node was stopped"):
        await within(b.join_with(str(token)))


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_token_for_another_cluster(nodes: Nodes) -> None:
    """Nobody is called with it."""
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    b = nodes.start("b", cluster="other")
    with pytest.raises(CommandError, match="start it with --cluster iridium"):
        await within(b.join_with(str(token)))
    assert not events(a, "token-used")


class Knocker(Protocol):
    """Somebody at the door who says what it likes, without TLS."""

    lost = False
    said = b""

    def connectionMade(self) -> None:
        self.transport.write(self.factory.words)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.said += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


async def knock(port: int, words: bytes, *, tls: bool) -> Knocker:
    """Somebody at the door who says something, in TLS or not."""
    factory = Factory.forProtocol(Knocker)
    factory.words = words  # type: ignore[attr-defined]
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    if tls:
        endpoint = wrapClientTLS(CertificateOptions(), endpoint)  # it trusts whoever is there
    knocker: Knocker = await within(endpoint.connect(factory))
    return knocker


@pytest.mark.real_reactor
@pytest.mark.parametrize(
    ("words", "tls"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", False),
        (b"\x16\x03\x01\xff\xff" + b"x" * 70_000, False),
        (b"y" * (LONGEST_ASKED + 1), True),
        (b"z" * 1_000_000, True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_garbage_at_the_door(nodes: Nodes, words: bytes, tls: bool) -> None:
    """Whoever says too much, or what is no TLS, is hung up on, and the token stays good."""
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    knocker = await knock(token.door, words, tls=tls)
    await eventually(lambda: knocker.lost)
    b = nodes.start("b")
    await within(b.join_with(str(token)))


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_crowd_at_the_door(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many come in at once; who says nothing has to go soon, with or without TLS."""
    monkeypatch.setattr(door_module, "PATIENCE", 1.0)
    monkeypatch.setattr(door_module, "MOST_GUESTS", 4)
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    crowd = [await knock(token.door, b"", tls=at % 2 == 0) for at in range(8)]
    await eventually(lambda: sum(knocker.lost for knocker in crowd) >= 4)
    await eventually(lambda: all(knocker.lost for knocker in crowd))


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_the_door_closes(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last token's time, and soon after the last was used."""
    a = guarded(nodes)
    monkeypatch.setattr(door_module, "LIFETIME", 0.1)
    await within(a.newcomers.make_token())
    await eventually(lambda: not a.newcomers._door.is_open)
    monkeypatch.setattr(door_module, "LIFETIME", 600.0)
    monkeypatch.setattr(door_module, "PATIENCE", 0.3)
    token = await within(a.newcomers.make_token())
    b = nodes.start("b")
    await within(b.join_with(str(token)))
    await eventually(lambda: not a.newcomers._door.is_open)


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_what_is_given_cannot_be_used(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer that cannot read what it was given does not go on and join without."""
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    monkeypatch.setattr(
        "iridium.cluster.newcomers.store", lambda given, key, directory: (directory / SECRET_FILE).write_text("x")
    )
    b = nodes.start("b")
    with pytest.raises(CommandError, match="cannot be used; !events tells why"):
        await within(b.join_with(str(token)))
    assert not b.mesh.machine.dialler.under_way
    assert "not-reread" in {event.kind for event in b.events.recent()}


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_nobody_keeps_the_door_open(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knocks without a token, once the last is used, does not put off when it closes."""
    monkeypatch.setattr(door_module, "PATIENCE", 0.5)
    a = guarded(nodes)
    token = await within(a.newcomers.make_token())
    b = nodes.start("b")
    await within(b.join_with(str(token)))
    door = a.newcomers._door
    closes = door._closing.getTime()
    door.answered()
    assert door._closing.getTime() == closes
    await eventually(lambda: not door.is_open)


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_port_for_newcomers_that_is_taken(nodes: Nodes) -> None:
    """A token that nobody could use is not made, and the option is named; one that can be has the port."""
    port = free_port()
    a = guarded(nodes, token_port=port)
    token = await within(a.newcomers.make_token())
    assert token.door == port
    write_whole(nodes.root / "b" / SECRET_FILE, Secrets([new_secret()]).to_text().encode(), replace=False)
    b = nodes.start("b", token_port=port)
    with pytest.raises(CommandError, match="--token-port"):
        await within(b.newcomers.make_token())


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_where_newcomers_are_to_come(nodes: Nodes) -> None:
    """A node that stands at every interface has to be told by which host it is reached."""
    a = guarded(nodes)
    a.me.address = "0.0.0.0:2254"
    with pytest.raises(CommandError, match="!token HOST"):
        await within(a.newcomers.make_token())
    token = await within(a.newcomers.make_token("node.example"))
    assert token.address == "node.example:2254"
    for wrong in ("node.example:2254", "[::1]", "a/b", "x" * 300):
        with pytest.raises(CommandError, match="is no host"):
            await within(a.newcomers.make_token(wrong))


def test_a_flood_of_guesses_is_a_few_events(tmp_path: Path) -> None:
    """Whoever guesses at tokens fills neither the log nor the events; the next event says how many there were."""
    events = EventRing()
    mesh = SimpleNamespace(machine=SimpleNamespace(limits=DEFAULTS, table=SimpleNamespace(peers={})), me=None)
    newcomers = Newcomers(Clock(), mesh, Trust, events, tmp_path)  # type: ignore[arg-type]
    for _ in range(1000):
        newcomers._door.desk.answer(b"guess", "10.9.9.9")
    assert [event.kind for event in events.recent()] == ["token-refused"] * DEFAULTS.stranger_log
