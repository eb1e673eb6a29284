"""The cluster's secret: its file, its proof, and that nothing passes between nodes without it."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role
from iridium.cluster.refusals import RefusedError
from iridium.cluster.secret import (
    MOST_FILE,
    Exchange,
    Secrets,
    new_secret,
    parse_secrets,
    proof,
    read_secrets,
)
from iridium.cluster.vouching import CertificateNames, TlsPeer
from iridium.errors import OptionError
from iridium.private import write_whole
from iridium.testing import Network, SimulatedNode

A, B = "a" * 40, "b" * 40
STRANGER = "00000000-0000-4000-8000-00000000000a"
WHERE = Exchange(STRANGER, STRANGER.replace("a", "b"), "n1", "n2", "1.2", "1.2", b"")


# --- the proof ---


def test_a_proof_that_does_not_change() -> None:
    """The proof is HMAC-SHA256 over one JSON array, as docs/protocol.md says: others can compute it."""
    import hashlib
    import hmac

    text = f'["iridium proof 1","dialler","{WHERE.dialler}","{WHERE.acceptor}","n1","n2","1.2","1.2",""]'
    assert proof(A, "dialler", WHERE) == hmac.new(A.encode(), text.encode(), hashlib.sha256).hexdigest()


@given(st.sampled_from(Exchange._fields), st.text(min_size=1, max_size=20))
def test_a_proof_is_about_everything(field: str, other: str) -> None:
    """Whatever differs between what the two ends saw, a proof is wrong."""
    value = other.encode() if field == "binding" else other
    changed = WHERE._replace(**{field: value})
    if changed != WHERE:
        assert proof(A, "dialler", changed) != proof(A, "dialler", WHERE)
        assert Secrets([A]).proven(proof(A, "dialler", changed), "dialler", WHERE) is None


@given(
    st.lists(st.text(max_size=6), min_size=7, max_size=7), st.lists(st.text(max_size=6), min_size=7, max_size=7)
)
def test_fields_of_a_proof_cannot_be_shifted(one: list[str], other: list[str]) -> None:
    """Two exchanges have one proof only if they are equal in each field."""
    first, second = (Exchange(*fields[:6], fields[6].encode()) for fields in (one, other))
    assert (proof(A, "dialler", first) == proof(A, "dialler", second)) == (first == second)


def test_the_proof_of_one_end_is_none_of_the_other() -> None:
    """An acceptor's proof cannot be sent back to it as a dialler's."""
    secrets = Secrets([A])
    assert secrets.proven(secrets.proof("acceptor", WHERE), "acceptor", WHERE) == secrets
    assert secrets.proven(secrets.proof("acceptor", WHERE), "dialler", WHERE) is None


@given(st.text(max_size=64))
def test_what_is_no_proof(mac: str) -> None:
    """Anything that a peer can send as its proof is judged, and is wrong."""
    assert Secrets([A, B]).proven(mac, "dialler", WHERE) is None


def test_both_secrets_are_accepted_and_the_first_is_used() -> None:
    """While a cluster goes from one secret to another, and the answer has the secret of the question."""
    assert Secrets([A, B]).proof("dialler", WHERE) == proof(A, "dialler", WHERE)
    for used in (A, B):
        proven = Secrets([A, B]).proven(proof(used, "acceptor", WHERE), "acceptor", WHERE)
        assert proven is not None
        assert proven.proof("dialler", WHERE) == proof(used, "dialler", WHERE)
    assert Secrets([B]).proven(proof(A, "acceptor", WHERE), "acceptor", WHERE) is None


def test_a_secret_does_not_show() -> None:
    """No secret is in what a traceback or a log would show of the object."""
    assert A not in repr(Secrets([A, B]))


# --- the file ---


def test_a_secret_of_our_own() -> None:
    """What is made here is beyond guessing, another each time, and can be read back."""
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert min(map(len, made)) >= 43
    for one in made:
        assert parse_secrets(Secrets([one]).to_text()) == Secrets([one])


@given(st.text(max_size=200))
def test_any_text_is_secrets_or_an_error_that_shows_none(text: str) -> None:
    """A file's text is taken or refused with a line that does not repeat what may be a secret."""
    problem = ""
    try:
        assert 1 <= len(parse_secrets(text, "F")) <= 2
    except OptionError as error:
        problem = str(error)
    assert not problem or problem.startswith("F")
    assert all(word not in problem for word in text.split() if len(word) > 20)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no secret; `iridium secret` makes one"),
        ("# nothing\n\n", "holds no secret"),
        ("short\n", "line 1: a secret has 32 to 256 characters, this one 5"),
        (f"{A}\n{'x' * 257}\n", "line 2: a secret has 32 to 256 characters, this one 257"),
        (f"{A} {B}\n", "line 1: a secret is printable ASCII without spaces"),
        ("ä" * 40, "line 1: a secret is printable ASCII"),
        (f"{A}\n{B}\n{'c' * 40}\n", "over two secrets"),
        (f"{A}\n{A}\n", "one twice"),
    ],
)
def test_what_is_no_secret_file(text: str, problem: str) -> None:
    """Each mistake has its line."""
    with pytest.raises(OptionError, match=problem):
        parse_secrets(text, "the file")


def test_a_rotation_step_by_step() -> None:
    """Add, use, drop; and each step only where it makes sense."""
    one = Secrets([A])
    two = one.with_new()
    assert len(two) == 2
    assert two.proof("dialler", WHERE) == one.proof("dialler", WHERE)
    used = two.turned()
    assert used != two
    last = used.without_old()
    assert len(last) == 1
    assert last.proof("dialler", WHERE) == used.proof("dialler", WHERE)
    for wrong in (two.with_new, one.turned, one.without_old):
        with pytest.raises(OptionError, match="holds"):
            wrong()
    # Not the same step twice, nor out of order, also when the file was written and read in between.
    for again in (used.turned, parse_secrets(used.to_text()).turned):
        with pytest.raises(OptionError, match="is in use already"):
            again()
    for early in (two.without_old, parse_secrets(two.to_text()).without_old):
        with pytest.raises(OptionError, match="not in use yet"):
            early()
    by_hand = parse_secrets(f"{A}\n{B}\n")  # nobody knows which is the next one
    assert by_hand.turned() == Secrets([B, A])
    assert by_hand.without_old() == Secrets([A])


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A secret that others know is none; systemd's directory of credentials guards itself."""
    path = tmp_path / "secret"
    write_whole(path, Secrets([A]).to_text().encode(), replace=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secrets(path) == Secrets([A])
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(OptionError, match="which lets others at it: chmod 600"):
            read_secrets(path)
    path.chmod(0o440)
    assert read_secrets(path, credential=True) == Secrets([A])


def test_what_else_is_no_secret_file(tmp_path: Path) -> None:
    """A directory, a FIFO, nothing at all, a huge file, bytes: each its line, and none makes a node wait."""
    with pytest.raises(OptionError, match="there is no secret file"):
        read_secrets(tmp_path / "none")
    with pytest.raises(OptionError, match="not a regular file"):
        read_secrets(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(OptionError, match="not a regular file"):
        read_secrets(tmp_path / "fifo")
    large = tmp_path / "large"
    write_whole(large, b"a" * (MOST_FILE + 1), replace=False)
    with pytest.raises(OptionError, match="more than 4096 bytes"):
        read_secrets(large)
    write_whole(large, b"\xff" * 40, replace=True)
    with pytest.raises(OptionError, match="more than ASCII"):
        read_secrets(large)


def test_a_file_is_not_replaced_unless_it_is_meant(tmp_path: Path) -> None:
    """A secret that is lost cannot be made again; and what is left of a write is nothing else."""
    path = tmp_path / "data" / "secret"
    write_whole(path, b"1", replace=False)
    with pytest.raises(OptionError, match="is there already"):
        write_whole(path, b"2", replace=False)
    assert path.read_bytes() == b"1"
    write_whole(path, b"3", replace=True)
    assert path.read_bytes() == b"3"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_for_somebody_is_theirs(tmp_path: Path) -> None:
    """A node of another user reads what root made for it: new directories and files, and one that was replaced."""
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 1234, 1235)
    key = tmp_path / "data" / "a" / "tls" / "node.key"
    write_whole(key, b"1", replace=False)
    for path in (key, key.parent, key.parent.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235), path
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    # In a directory of root's, as /etc is, what counts is whose the file was.
    path = tmp_path / "secret"
    write_whole(path, b"1", replace=False)
    os.chown(path, 1234, 1235)
    write_whole(path, b"2", replace=True)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_root_gives_nothing_else_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns a directory, and puts a link where root is just making one, does not get what it leads to."""
    victim = tmp_path / "victim"
    victim.mkdir()
    mine = tmp_path / "mine"
    mine.mkdir()
    os.chown(mine, 1234, 1235)
    mkdir = Path.mkdir

    def swapped(self: Path, *arguments: object, **options: object) -> None:
        mkdir(self)
        self.rmdir()
        self.symlink_to(victim)

    monkeypatch.setattr(Path, "mkdir", swapped)
    with pytest.raises(OptionError, match="cannot be made"):
        write_whole(mine / "tls" / "node.key", b"1", replace=False)
    assert victim.stat().st_uid == 0


# --- between nodes ---


def mesh(network: Network, *secrets: Secrets | None) -> list[SimulatedNode]:
    """A node for each, all of them told to join the first."""
    nodes = [network.node(f"n{i}", secrets=secret) for i, secret in enumerate(secrets)]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    return nodes


def test_a_mesh_with_a_secret() -> None:
    """Nodes that know the secret are one mesh, and stay it when links break and nodes restart."""
    network = Network(1)
    nodes = mesh(network, *[Secrets([A])] * 6)
    assert network.run_until(lambda: all(len(n.linked()) == 5 for n in nodes), 5.0)
    network.sever(nodes[1], nodes[2])
    network.crash(nodes[3])
    network.run(1.0)
    nodes[3] = network.restart(nodes[3])
    assert network.run_until(lambda: all(len(n.linked()) == 5 for n in nodes), 10.0)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (Secrets([A]), Secrets([B]), "does not know this cluster's secret"),
        (Secrets([A]), None, "this node wants the cluster's secret proved; you have none"),
        (None, Secrets([A]), "you offer to prove a secret; this node has none"),
    ],
)
def test_who_does_not_know_the_secret(theirs: Secrets | None, ours: Secrets | None, words: str) -> None:
    """A join is refused as NOT_ALLOWED, with the remedy, and neither end knows more of the other than before."""
    network = Network(1)
    a, b = network.node("a", secrets=theirs), network.node("b", secrets=ours)
    result = network.join(b, a)
    network.run(10.0)
    assert isinstance(result.error, RefusedError)
    assert result.error.reason == "NOT_ALLOWED"
    assert words in result.error.detail
    assert "give both nodes the same cluster secret" in str(result.error)
    assert a.states() == {"a": "up"}
    assert b.states() == {"b": "up"}
    assert not a.machine.handshakes
    assert not b.machine.handshakes
    assert any(kind == "refused" and "NOT_ALLOWED" in detail for kind, _, detail in a.log)


def test_a_cluster_changes_its_secret_node_by_node() -> None:
    """At every step of a rotation every pair of nodes can link anew, in either direction."""
    steps = [Secrets([A]), Secrets([A, B]), Secrets([B, A]), Secrets([B])]
    for before, after in itertools.pairwise(steps):
        for changed in (0, 1, 2):
            network = Network(changed)
            nodes = [network.node(f"n{i}", secrets=after if i < changed else before) for i in range(3)]
            network.join(nodes[0], nodes[2])
            network.join(nodes[2], nodes[1])
            assert network.run_until(lambda nodes=nodes: all(len(n.linked()) == 2 for n in nodes), 5.0), before


@pytest.mark.parametrize("behind", [1, 2, 3])
def test_a_node_that_misses_steps(behind: int) -> None:
    """One or two steps behind, a lost link comes back, whoever can dial; three behind, only with the file."""
    steps = [Secrets([A]), Secrets([A, B]), Secrets([B, A]), Secrets([B])]
    for late in range(len(steps) - behind):
        for seed in range(4):  # which decides whose id is the smaller
            network = Network(seed)
            a, b = (network.node(name, secrets=steps[late]) for name in "ab")
            network.join(b, a)
            assert network.run_until(lambda a=a, b=b: a.linked() == ["b"] and b.linked() == ["a"], 5.0)
            b.machine.trust(steps[late + behind])
            network.sever(a, b)
            network.run(40.0)
            assert a.linked() == (["b"] if behind < 3 else []), (late, seed)
            a.machine.trust(steps[late + behind])
            assert network.run_until(lambda a=a, b=b: a.linked() == ["b"] and b.linked() == ["a"], 1.0)


def test_a_node_takes_another_secret_while_it_runs() -> None:
    """Links stay; who was refused before is let in at once after the change."""
    network = Network(1)
    a, b = network.node("a", secrets=Secrets([A])), network.node("b", secrets=Secrets([A]))
    network.join(b, a)
    assert network.run_until(lambda: a.linked() == ["b"] and b.linked() == ["a"], 5.0)
    a.machine.trust(Secrets([B]))
    network.run(1.0)
    assert a.linked() == ["b"]
    network.sever(a, b)
    network.run(10.0)
    assert a.linked() == []
    b.machine.trust(Secrets([B]))
    assert network.run_until(lambda: a.linked() == ["b"], 1.0)


def hear(link: Link, data: bytes) -> list[m.Message]:
    """What an end makes of bytes, without a machine behind it."""
    return list(link.receive(data, 0.0))


def call(node: SimulatedNode, hello: m.Hello) -> tuple[Link, list[m.Message]]:
    """Say hello to a node as somebody outside the simulation; the link there, and what it answers."""
    link = Link(Role.ACCEPTOR, "10.9.9.9", node.network.now, node.output)
    node.machine.connection_made(link)
    node.machine.receive(link, m.encode(hello))
    return link, list(m.decode_lines(link.data_to_send()))  # type: ignore[arg-type]


FIRST = m.Hello("1.2", "", STRANGER, 0, nonce="mine", auth="secret")
WHOLE = m.Hello("1.2", "iridium", STRANGER, 1, "stranger", "10.9.9.9:1", want="join", nonce="mine", auth="secret")


def exchange(node: SimulatedNode, challenge: m.Message, hello: m.Hello = FIRST) -> Exchange:
    """What a proof to that node must be about."""
    assert isinstance(challenge, m.Challenge)
    return Exchange(hello.id, node.me.id, hello.nonce, challenge.nonce, hello.version, challenge.version, b"")


def test_nothing_is_told_before_the_proof() -> None:
    """A node with members and a name tells a stranger its id, its version and a nonce, and takes in nothing."""
    network = Network(1)
    a, b = mesh(network, Secrets([A]), Secrets([A]))
    assert network.run_until(lambda: a.linked() == ["n1"] and b.linked() == ["n0"], 5.0)
    link, said = call(a, WHOLE)
    [challenge] = said
    assert isinstance(challenge, m.Challenge)
    assert challenge == m.Challenge("1.2", a.me.id, challenge.nonce, challenge.mac)
    assert link.owner is not None
    assert a.states() == {"n0": "up", "n1": "up"}


def test_a_dialler_tells_nothing_before_the_proof() -> None:
    """What waits at a member's address learns an id and a nonce, no name, no address, no session."""
    network = Network(1)
    a, b = network.node("a", secrets=Secrets([A])), network.node("b", secrets=Secrets([B]))
    network.join(a, b)
    assert network.run_until(lambda: bool(a.pipes), 1.0)
    [link] = a.pipes
    [hello] = m.decode_lines(link.data_to_send())
    assert isinstance(hello, m.Hello)
    assert hello == m.Hello("1.2", "", a.me.id, 0, nonce=hello.nonce, auth="secret")
    assert len(hello.nonce) == 32


def test_a_proof_lets_in() -> None:
    """Who speaks the protocol by hand, and knows the secret, is a member."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    link, [challenge] = call(a, FIRST)
    where = exchange(a, challenge)
    assert isinstance(challenge, m.Challenge)
    assert Secrets([A]).proven(challenge.mac, "acceptor", where)
    a.machine.receive(link, m.encode(m.Proof(proof(A, "dialler", where)), WHOLE))
    assert [type(message) for message in m.decode_lines(link.data_to_send())] == [m.Welcome, m.Members, m.Ready]
    a.machine.receive(link, m.encode(m.Ready()))
    assert a.linked() == ["stranger"]


def refused(node: SimulatedNode, link: Link) -> bool:
    """Whether a link ended with NOT_ALLOWED, and left nothing."""
    [said] = m.decode_lines(link.data_to_send())
    assert isinstance(said, m.Refuse)
    assert link.closed
    assert not node.machine.handshakes
    assert node.states() == {"a": "up"}
    return said.reason == "NOT_ALLOWED"


def test_a_replayed_proof() -> None:
    """A proof that was right on one link is wrong on the next: the nonce is another."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    link, [challenge] = call(a, FIRST)
    right = m.encode(m.Proof(proof(A, "dialler", exchange(a, challenge))), WHOLE)
    a.machine.link_lost(link)
    again, _ = call(a, FIRST)
    a.machine.receive(again, right)
    assert refused(a, again)


def test_a_reflected_proof() -> None:
    """A node's own proof, taken from one of its links and sent back on it or on another, is wrong."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    link, [challenge] = call(a, FIRST)
    assert isinstance(challenge, m.Challenge)
    a.machine.receive(link, m.encode(m.Proof(challenge.mac), WHOLE))
    assert refused(a, link)
    # As a dialler with the node's own id and the nonce that it was asked with, so that it proves to itself.
    mine = m.Hello("1.2", "", a.me.id, 0, nonce=challenge.nonce, auth="secret")
    first, [one] = call(a, mine)
    assert isinstance(one, m.Challenge)
    second, [two] = call(a, m.Hello("1.2", "", a.me.id, 0, nonce=one.nonce, auth="secret"))
    assert isinstance(two, m.Challenge)
    a.machine.link_lost(second)
    a.machine.receive(first, m.encode(m.Proof(two.mac), mine))
    assert refused(a, first)


def test_a_proof_for_another_version() -> None:
    """Who sits between two nodes cannot make them speak an older version: the proof is about both versions."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    older = m.Hello("1.0", "", STRANGER, 0, nonce="mine", auth="secret")
    link, [challenge] = call(a, older)
    said_by_dialler = exchange(a, challenge)  # it said 1.2, somebody made 1.0 of it
    a.machine.receive(link, m.encode(m.Proof(proof(A, "dialler", said_by_dialler)), WHOLE))
    assert refused(a, link)


def test_a_proof_in_another_channel() -> None:
    """A proof that was made in one TLS channel is wrong in another."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    link = Link(Role.ACCEPTOR, "10.9.9.9", 0.0, a.output, peer=TlsPeer(CertificateNames(), b"theirs"))
    a.machine.connection_made(link)
    a.machine.receive(link, m.encode(FIRST))
    [challenge] = m.decode_lines(link.data_to_send())
    assert isinstance(challenge, m.Challenge)
    where = exchange(a, challenge)._replace(binding=b"ours")
    assert Secrets([A]).proven(challenge.mac, "acceptor", where) is None
    a.machine.receive(link, m.encode(m.Proof(proof(A, "dialler", where)), WHOLE))
    assert refused(a, link)


def test_another_id_behind_the_proof() -> None:
    """Who has proved the secret as one node cannot go on as another."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    link, [challenge] = call(a, FIRST)
    other = m.Hello("1.2", "iridium", STRANGER.replace("a", "b"), 1, address="10.9.9.9:1", auth="secret")
    with pytest.raises(m.MessageError, match="names another node"):
        a.machine.receive(link, m.encode(m.Proof(proof(A, "dialler", exchange(a, challenge))), other))
    a.machine.link_lost(link)
    assert a.states() == {"a": "up"}


def dialled(secrets: Secrets) -> tuple[SimulatedNode, Link, object, m.Hello]:
    """A node that dials, with nobody at the other end yet: the link, what becomes of its join, its hello."""
    network = Network(1)
    a, b = network.node("a", secrets=secrets), network.node("b")
    result = network.join(a, b)
    assert network.run_until(lambda: bool(a.pipes), 1.0)
    [link] = a.pipes
    a.pipes.clear()
    [hello] = m.decode_lines(link.data_to_send())
    assert isinstance(hello, m.Hello)
    return a, link, result, hello


@pytest.mark.parametrize("reason", ["LEFT", "STALE", "ID_IN_USE", "DUPLICATE", "FULL", "WRONG_CLUSTER", "x"])
def test_a_refusal_without_a_proof_is_not_believed(reason: str) -> None:
    """Who sits at a member's address cannot make a node take it for gone, or for anything else."""
    a, link, result, _ = dialled(Secrets([A]))
    a.machine.receive(link, m.encode(m.Refuse(reason, "so it says")))
    assert isinstance(result.error, RefusedError)  # type: ignore[attr-defined]
    assert result.error.reason == "NOT_ALLOWED"  # type: ignore[attr-defined]
    assert "has not proved the secret" in str(result.error)  # type: ignore[attr-defined]


def test_a_welcome_without_a_proof_is_not_believed() -> None:
    """Nor can it take a node in."""
    a, link, result, _ = dialled(Secrets([A]))
    welcome = m.Welcome("1.2", "iridium", STRANGER, 1, "stranger", "10.9.9.9:1")
    a.machine.receive(link, m.encode(welcome, m.Members([m.MemberRecord(STRANGER, 1)]), m.Ready()))
    assert "has no secret, this node has one" in str(result.error)  # type: ignore[attr-defined]
    assert a.states() == {"a": "up"}


def test_another_welcome_behind_the_proof() -> None:
    """The acceptor that has proved the secret is the one that is linked."""
    a, link, _, hello = dialled(Secrets([A]))
    where = Exchange(a.me.id, STRANGER, hello.nonce, "theirs", "1.2", "1.2", b"")
    a.machine.receive(link, m.encode(m.Challenge("1.2", STRANGER, "theirs", proof(A, "acceptor", where))))
    [said, whole] = m.decode_lines(link.data_to_send())
    assert said == m.Proof(proof(A, "dialler", where))
    assert isinstance(whole, m.Hello)
    assert whole.alias == "a"
    welcome = m.Welcome("1.2", "iridium", STRANGER.replace("a", "b"), 1, "", "10.9.9.9:1")
    with pytest.raises(m.MessageError, match="names another node"):
        a.machine.receive(link, m.encode(welcome))


def test_a_challenge_of_another_version() -> None:
    """A challenge of another major version is refused as such."""
    a, link, result, _ = dialled(Secrets([A]))
    a.machine.receive(link, m.encode(m.Challenge("2.0", STRANGER, "n", "")))
    assert result.error.reason == "VERSION"  # type: ignore[attr-defined]


def test_a_reset_at_every_byte_of_a_proof() -> None:
    """Wherever a caller hangs up, nothing of it stays."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    whole = m.encode(m.Proof("0" * 64), WHOLE, m.Ready())
    for cut in range(len(whole)):
        link, _ = call(a, FIRST)
        right = m.encode(m.Proof(proof(A, "dialler", link.exchange)), WHOLE, m.Ready())  # type: ignore[arg-type]
        a.machine.receive(link, right[:cut])
        a.machine.link_lost(link)
        assert a.states() == {"a": "up"}, cut
        assert not a.machine.handshakes


def test_a_call_to_oneself_with_a_secret() -> None:
    """A node that dials its own address is told so, although it could prove the secret to itself."""
    network = Network(1)
    a = network.node("a", secrets=Secrets([A]))
    result = network.join(a, a)
    network.run(5.0)
    assert isinstance(result.error, RefusedError)
    assert result.error.reason == "SELF"


def test_a_challenge_of_ones_own_is_not_answered() -> None:
    """Who sits at a member's address and hands a node's own challenge back to it learns nothing more."""
    a, link, result, hello = dialled(Secrets([A]))
    caller, [challenge] = call(a, hello)  # in the node's own name, and with the nonce of its dial
    a.machine.receive(link, m.encode(challenge))
    assert link.closed
    assert not link.data_to_send()
    assert result.error.reason == "SELF"  # type: ignore[attr-defined]
    a.machine.link_lost(caller)
    assert a.states() == {"a": "up"}


def test_a_double_is_not_taken_for_oneself() -> None:
    """A node with the same id, of a copied data directory, is named as what it is."""
    a, link, result, hello = dialled(Secrets([A]))
    where = Exchange(a.me.id, a.me.id, hello.nonce, "theirs", "1.2", "1.2", b"")
    a.machine.receive(link, m.encode(m.Challenge("1.2", a.me.id, "theirs", proof(A, "acceptor", where))))
    assert result.error.reason == "ID_IN_USE"  # type: ignore[attr-defined]
    assert "node.json" in result.error.remedy  # type: ignore[attr-defined]


@pytest.mark.parametrize("other", [False, True])
def test_only_who_has_left_can_say_so(other: bool) -> None:
    """A node that has left and answers at a member's address says nothing about that member."""
    network = Network(1)
    a, b = network.node("a", secrets=Secrets([A])), network.node("b", secrets=Secrets([A]))
    network.join(b, a)
    assert network.run_until(lambda: a.linked() == ["b"] and b.linked() == ["a"], 5.0)
    peer = a.machine.table.peers[b.me.id]
    a.machine.cut(peer)
    a.machine.dialler.want(peer)
    assert peer.dial is not None
    link = a.machine.dialler.connected(peer.dial, b.host)
    assert link is not None
    [hello] = m.decode_lines(link.data_to_send())
    assert isinstance(hello, m.Hello)
    id = STRANGER if other else b.me.id
    where = Exchange(a.me.id, id, hello.nonce, "theirs", "1.2", "1.2", b"")
    a.machine.receive(link, m.encode(m.Challenge("1.2", id, "theirs", proof(A, "acceptor", where))))
    a.machine.receive(link, m.encode(m.Refuse("LEFT", "the node x has left the cluster")))
    assert peer.record.left is not other


def test_handshakes_from_before_the_first_secret_come_to_nothing() -> None:
    """A node that gets its first secret lets nobody in, and joins nobody, who began without."""
    network = Network(1)
    a = network.node("a")
    want = m.Hello("1.2", "iridium", STRANGER, 1, "stranger", "10.9.9.9:1", want="join", nonce="mine")
    caller, said = call(a, want)
    assert m.Ready() in said
    network.join(a, network.node("b"))
    assert network.run_until(lambda: len(a.machine.handshakes) == 2, 1.0)
    [called] = [link for link in a.machine.handshakes if link is not caller]
    a.machine.trust(Secrets([A]))
    assert caller.closed
    assert called.closed
    a.machine.receive(caller, m.encode(m.Ready()))
    assert a.linked() == []
