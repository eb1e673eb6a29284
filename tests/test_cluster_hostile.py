"""What strangers and misbehaving members can do to a node: nothing that outlasts them."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from iridium.cluster import messages as m
from iridium.cluster.hearsay import MOST_HEARSAY
from iridium.cluster.link import MOST_LINES, Link, Role
from iridium.cluster.liveness import LOT
from iridium.cluster.mesh import MOST_NEWS, Mesh
from iridium.cluster.peer import MOST_TEXTS, Me
from iridium.cluster.post import MOST_SESSIONS, Post
from iridium.cluster.refusals import REMEDIES
from iridium.cluster.table import MOST_MEMBERS, MOST_RECORDS
from iridium.events import EventRing
from iridium.limits import DEFAULTS
from iridium.testing import Network, SimulatedNode

STRANGER = "00000000-0000-4000-8000-00000000000a"
HELLO = m.Hello("1.0", "iridium", STRANGER, 1, "stranger", "10.9.9.9:1", want="join", link="l")


def call(node: SimulatedNode) -> Link:
    """A connection from somebody outside the simulation."""
    link = Link(Role.ACCEPTOR, "10.9.9.9", node.network.now, node.output)
    node.machine.connection_made(link)
    return link


def mesh(network: Network, count: int) -> list[SimulatedNode]:
    """A whole mesh."""
    nodes = [network.node(f"n{i}") for i in range(count)]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    assert network.run_until(lambda: all(len(n.linked()) == count - 1 for n in nodes), 5.0)
    return nodes


def test_a_reset_at_every_byte_of_the_handshake() -> None:
    """Wherever a caller hangs up, before it was a member, nothing of it stays."""
    network = Network(1)
    [a, _] = mesh(network, 2)
    before = a.states()
    whole = m.encode(HELLO, m.Ready())
    for cut in range(len(m.encode(HELLO, m.Ready()))):
        link = call(a)
        a.machine.receive(link, whole[:cut])
        a.machine.link_lost(link)
        assert a.states() == before, cut
        assert not a.machine.handshakes
    network.run(10.0)
    assert a.linked() == ["n1"]


def test_a_reset_at_every_byte_of_the_answer() -> None:
    """Wherever the node that we dialled hangs up, the join fails with a reason, or goes on without it."""
    welcome = m.encode(
        m.Welcome("1.0", "iridium", STRANGER, 1, "stranger", "10.9.9.9:1"), m.Members([]), m.Ready()
    )
    for cut in range(0, len(welcome), 7):
        network = Network(cut)
        a, b = network.node("a"), network.node("b")
        result = network.join(a, b)
        assert network.run_until(lambda a=a: bool(a.pipes), 1.0)
        [link] = a.pipes
        a.machine.receive(link, welcome[:cut])
        a.machine.link_lost(link)
        a.pipes.clear()
        network.run(30.0)
        assert result.done or result.error is not None, cut
        assert not a.machine.handshakes
        assert not a.machine.dialler.joins


def test_a_thousand_bogus_members() -> None:
    """A member that invents others fills a bounded table; the real ones notice nothing."""
    network = Network(2)
    nodes = mesh(network, 3)
    liar, victim = nodes[1], nodes[0]
    bogus = [
        m.MemberRecord(f"00000000-0000-4000-8000-{n:012x}", 1, f"x{n}", f"10.200.{n // 250}.{n % 250}:1")
        for n in range(1, 1001)
    ]
    link = liar.machine.table.find("n0").open_link
    for line in m.member_lines(bogus):
        link.send(line)
    network.run(20.0)
    assert len(victim.machine.table.peers) <= MOST_MEMBERS - 1
    assert set(victim.linked()) >= {"n1", "n2"}
    assert not [subject for kind, subject, _ in victim.log if kind == "node-down" and subject in ("n1", "n2")]
    network.run(60.0)
    assert set(victim.linked()) >= {"n1", "n2"}


@pytest.mark.parametrize(
    "hello",
    [
        HELLO,
        m.Hello("1.0", "iridium", STRANGER, 1, "with space", "10.9.9.9:1"),
        m.Hello("1.0", "iridium", STRANGER, 1, "x", "no address"),
        m.Hello("7.0", "iridium", STRANGER, 1),
        m.Hello("1.0", "other", STRANGER, 1),
        m.Hello("1.0", "iridium", STRANGER, 1, "n1", "10.9.9.9:1", want="join"),
        m.Hello("1.0", "iridium", STRANGER, 1, "x", "127.0.0.1:1"),
        m.Hello("1.0", "iridium", STRANGER, 1, auth="hmac"),
    ],
)
def test_hellos_of_every_kind_end(hello: m.Hello) -> None:
    """A caller that says hello, right or wrong, and then nothing, is gone after the handshake's time."""
    network = Network(3)
    nodes = mesh(network, 3)
    link = call(nodes[0])
    try:
        nodes[0].machine.receive(link, m.encode(hello))
    except m.MessageError as error:
        nodes[0].machine.link_lost(link, str(error))
    network.run(DEFAULTS.handshake + 1.0)
    assert link.closed
    assert not nodes[0].machine.handshakes
    for node in nodes:  # nobody remembers it, or ever heard of it
        assert node.states() == {"n0": "up", "n1": "up", "n2": "up"}


def said(hello: m.Hello = HELLO, **changes: object) -> bytes:
    """A hello with some fields changed, to whatever it may be."""
    return msgspec.json.encode({**msgspec.to_builtins(hello), "type": "hello", **changes}) + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        said(id=7),
        said(id="not an id"),
        said(id="0" * 36),
        said(incarnation="1"),
        said(incarnation=-1),
        said(incarnation=2**53),
        said(incarnation=1.5),
        said(cluster="x" * 65),
        said(alias=["a"]),
        said(alias="x" * 65),
        said(alias="\u00e9" * 64),
        said(alias="x" * 3000),
        said(alias="x" * 100_000),
        said(alias="a\n!quit"),
        said(address=5),
        said(address="x" * 262),
        said(address="10.9.9.9:1:2"),
        said(want="all"),
        said(lost={}),
        said(lost=["l"] * 17),
        said(link=None),
        b'{"type":["hello"]}\n',
        b'["hello"]\n',
        b"null\n",
    ],
    ids=lambda line: line[:60].decode() + f"... {len(line)}",
)
def test_hellos_that_are_none(line: bytes) -> None:
    """A hello with a field of a wrong type or size ends its connection with a sentence, and is not answered."""
    network = Network(6)
    nodes = mesh(network, 2)
    link = call(nodes[0])
    with pytest.raises(m.MessageError) as error:
        nodes[0].machine.receive(link, line)
    assert len(str(error.value)) < 4200
    nodes[0].machine.link_lost(link, str(error.value))
    assert link.closed
    assert link.data_to_send() == b""
    assert not nodes[0].machine.handshakes
    network.run(3.0)
    assert all(node.states() == {"n0": "up", "n1": "up"} for node in nodes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "7.0"}, "VERSION"),
        ({"version": "one"}, "VERSION"),
        ({"version": "0.9", "auth": "hmac", "cluster": "other"}, "VERSION"),
        ({"auth": "hmac", "cluster": "other"}, "NOT_ALLOWED"),
        ({"cluster": "other", "id": "n0"}, "WRONG_CLUSTER"),
        ({"cluster": ""}, "WRONG_CLUSTER"),
        ({"id": "n0"}, "ID_IN_USE"),
        ({"id": "n1", "incarnation": 0}, "STALE"),
        ({"id": "n1", "incarnation": 99}, "ID_IN_USE"),
        ({"id": "n1", "incarnation": 1}, "DUPLICATE"),
        ({"alias": "n0"}, "NAME_IN_USE"),
        ({"alias": "n1", "address": "127.0.0.1:1"}, "NAME_IN_USE"),
        ({"address": "127.0.0.1:1"}, "UNREACHABLE"),
        ({"address": "[::1]:1"}, "UNREACHABLE"),
        ({"address": "localhost:1"}, "UNREACHABLE"),
    ],
    ids=str,
)
def test_each_wrong_hello_has_its_refusal(changes: dict[str, object], reason: str) -> None:
    """The first reason that fits is sent with its remedy, is one event at most, and the members do not notice."""
    network = Network(7)
    nodes = mesh(network, 2)
    ids = {node.me.alias: node.me.id for node in nodes}
    if changes.get("id") in ids:
        changes = {**changes, "id": ids[str(changes["id"])]}
    before = nodes[0].linked()
    link = call(nodes[0])
    nodes[0].machine.receive(link, said(**changes))
    network.run(2.0)  # the incumbent of an id or a name is asked first
    assert link.closed
    [refusal] = m.decode_lines(link.data_to_send())
    assert isinstance(refusal, m.Refuse)
    assert (refusal.reason, refusal.remedy) == (reason, REMEDIES[reason])
    refused = [detail for kind, _, detail in nodes[0].log if kind == "refused"]
    assert len(refused) == (reason != "DUPLICATE")
    assert nodes[0].linked() == before == ["n1"]
    assert all(node.states() == {"n0": "up", "n1": "up"} for node in nodes)


def test_hundreds_of_silent_connections_end_in_lots() -> None:
    """Those that are overdue together are closed a few at a time, soon, each with its complaint."""
    network = Network(8)
    nodes = mesh(network, 2)
    links = [call(nodes[0]) for _ in range(500)]
    begun, counts = network.now, [0]

    def look() -> bool:
        counts.append(sum(link.closed for link in links))
        return counts[-1] == len(links)

    assert network.run_until(look, DEFAULTS.handshake + 2.0)
    assert network.now - begun > DEFAULTS.handshake
    assert max(after - before for before, after in itertools.pairwise(counts)) == LOT
    problems = [problem for kind, _, problem in nodes[0].log if kind == "misbehaved"]
    assert problems == ["no handshake within 5 seconds"] * 500
    assert nodes[0].linked() == ["n1"]


def test_five_hundred_silent_connections() -> None:
    """They hold little, and only as long as a handshake may take; a real join gets through meanwhile."""
    network = Network(4)
    nodes = mesh(network, 3)
    links = [call(nodes[0]) for _ in range(500)]
    for link in links[::2]:
        nodes[0].machine.receive(link, b'{"type":"hello","vers')
    newcomer = network.node("new")
    result = network.join(newcomer, nodes[0])
    assert network.run_until(lambda: result.done, 2.0)
    network.run(DEFAULTS.handshake + 1.0)
    assert all(link.closed for link in links)
    assert not nodes[0].machine.handshakes


def test_an_endless_line_from_a_member() -> None:
    """A member that never ends its line is hung up on at a megabyte, and called again."""
    network = Network(5)
    [a, b] = mesh(network, 2)
    network.run(2.0)
    link = a.machine.table.find("n1").open_link
    for _ in range(DEFAULTS.peer_line // 65536):
        a.machine.receive(link, b"x" * 65536)
    with pytest.raises(m.MessageError, match="over 1048576 bytes"):
        a.machine.receive(link, b"x")
    a.machine.link_lost(link)
    a.pipes[link].close(a.pipes[link].end_at(a))
    assert network.run_until(lambda: a.linked() == ["n1"] and b.linked() == ["n0"], 5.0)


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b'{"type":""}\n'], ids=["blank", "blank-crlf", "unknown"])
@pytest.mark.parametrize("piece", [1, 65536])
def test_lines_that_say_nothing(line: bytes, piece: int) -> None:
    """Blank lines, and messages of a newer version, are ignored in a handshake, but not without end."""
    network = Network(9)
    nodes = mesh(network, 2)
    link = call(nodes[0])
    nodes[0].machine.receive(link, line * MOST_LINES)
    flood = line * (piece // len(line) + 1)
    with pytest.raises(m.MessageError, match=f"over {MOST_LINES} lines"):
        nodes[0].machine.receive(link, flood)
    nodes[0].machine.link_lost(link)
    late = call(nodes[0])
    nodes[0].machine.receive(late, m.encode(HELLO))
    with pytest.raises(m.MessageError, match=f"over {MOST_LINES} lines"):  # nor by who is as good as accepted
        nodes[0].machine.receive(late, line * 65536)


def test_a_long_line_in_single_bytes() -> None:
    """What a byte costs does not grow with the line that it is part of, and nothing of the line is lost."""
    network = Network(10)
    [a, _] = mesh(network, 2)
    link = a.machine.table.find("n1").open_link
    text = m.encode(m.Text(7, "x" * 4000))
    for at in range(len(text)):
        a.machine.receive(link, text[at : at + 1])
    assert a.texts == [("n1", "x" * 4000)]
    a.machine.receive(link, b"x" * 500_000)
    kept = link._buffer
    a.machine.receive(link, b"x")
    assert link._buffer is kept, "it was copied"


NEWEST = m.MOST_INCARNATION - 1


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("incarnation", [5, 10**12, MOST_HEARSAY - 1, MOST_HEARSAY, NEWEST - 1, NEWEST])
def test_lies_about_a_member(incarnation: int, left: bool) -> None:
    """Whatever one member says of another, who is linked to that one stays so, and it outdoes the lie."""
    network = Network(11)
    liar, victim, other = mesh(network, 3)
    network.run(3.0)
    links = [node.machine.table.find(victim.me.id).open_link for node in (liar, other)]
    lie = m.MemberRecord(victim.me.id, incarnation, "x", "10.9.9.9:1", left)
    links.append(liar.machine.table.find(other.me.id).open_link)
    links[-1].send(m.Members([lie]))
    network.run(20.0)
    assert other.machine.table.find(victim.me.id).open_link is links[1], "it was cut"
    assert other.states() == victim.states() == {"n0": "up", "n1": "up", "n2": "up"}
    assert not [event for event in other.log if event[0] in ("node-left", "node-down")]
    network.sever(victim, other)  # nor does a lie keep it out later
    assert network.run_until(lambda: len(other.linked()) == len(victim.linked()) == 2, 5.0)


@pytest.mark.parametrize("port", ["abc", "", "99999", "1:2", "\u0661"])
def test_a_member_that_is_nowhere(port: str) -> None:
    """What a member says of itself that cannot be is dropped, and costs it nothing."""
    network = Network(1)
    [a, b] = mesh(network, 2)
    peer = a.machine.table.peers[b.me.id]
    assert peer.link is not None
    record = m.MemberRecord(b.me.id, peer.record.incarnation + 1, "n1", f"0.0.0.0:{port}")
    a.machine.receive(peer.link, m.encode(m.Members([record])))
    assert peer.record.address == b.me.address
    assert a.linked() == ["n1"]


def test_a_member_that_lives_anew_behind_a_dead_link() -> None:
    """What others say of a new life is believed once the old one does not answer."""
    network = Network(12)
    a, b, c = mesh(network, 3)
    network.crash(c, silently=True)
    held = a.machine.table.find(c.me.id).open_link
    newer = m.MemberRecord(c.me.id, c.me.incarnation + 1, "n2", c.address)
    b.machine.table.find(a.me.id).open_link.send(m.Members([newer]))
    network.run(0.5)
    assert a.machine.table.find(c.me.id).link is held
    network.run(2.0)
    assert a.machine.table.find(c.me.id).link is not held
    assert a.machine.table.find(c.me.id).record.incarnation == newer.incarnation


def test_a_flood_of_lies_about_the_node_itself() -> None:
    """A node outdoes what is said of it for all at once, not a line a lie to each of its peers."""
    network = Network(13)
    a, b, c = mesh(network, 3)
    network.run(3.0)
    link = b.machine.table.find(a.me.id).open_link
    mine = a.machine.table.find(b.me.id).open_link
    heard = c.machine.table.find(a.me.id).record.incarnation
    lies = [m.MemberRecord(a.me.id, a.me.incarnation + 2 * n + 1, "x", "", left=True) for n in range(90)]
    for n in range(50):
        a.machine.receive(
            mine,
            m.encode(
                m.Members([msgspec.structs.replace(lie, incarnation=lie.incarnation + 200 * n) for lie in lies])
            ),
        )
    assert a.machine.table.find(c.me.id).open_link.queued < 1000
    assert link.open
    network.run(1.0)
    assert c.machine.table.find(a.me.id).record.incarnation == a.me.incarnation > heard + 9000
    assert all(node.states() == {"n0": "up", "n1": "up", "n2": "up"} for node in (a, b, c))


def invented(count: int, *, left: bool = False) -> list[m.Members]:
    """Lines about members that are none."""
    return m.member_lines(
        [
            m.MemberRecord(
                f"00000000-0000-4000-8000-{n:012x}", 1, f"x{n}", f"10.200.{n // 250 % 250}.{n % 250}:1", left
            )
            for n in range(1, count + 1)
        ]
    )


def test_invented_members_keep_nobody_out() -> None:
    """Who says hello himself takes the place of one that is down, and that nobody here has ever heard from."""
    network = Network(14)
    victim, liar = mesh(network, 2)
    liar.machine.table.find("n0").open_link.send(*invented(1000))
    network.run(120.0)
    assert victim.machine.table.living() == MOST_MEMBERS - 1
    newcomer = network.node("new")
    network.join(newcomer, victim)
    assert network.run_until(lambda: "new" in victim.linked(), 5.0)
    assert victim.machine.table.living() == MOST_MEMBERS - 1
    assert set(victim.linked()) == {"n1", "new"}


def test_a_lost_link_does_not_wait_behind_invented_members() -> None:
    """Whom a node has met is dialled before those that it was told of, each of whom may not answer for seconds."""
    network = Network(15)
    victim, liar, other = mesh(network, 3)
    network.run(3.0)
    liar.machine.table.find("n0").open_link.send(*invented(1000))
    network.run(2.0)
    assert victim.machine.dialler.under_way == DEFAULTS.dials
    peer = victim.machine.table.find("n2")
    peer.link, held = None, peer.link
    victim.machine.dialler.want(peer)
    assert victim.machine.dialler._waiting[0] is peer.dial
    victim.machine.dialler.abandon(peer.dial)
    peer.link = held
    assert other.linked()


def test_members_that_have_left_and_never_were() -> None:
    """They are no event, and none that is known is forgotten for them."""
    network = Network(16)
    victim, liar = mesh(network, 2)
    before = len(victim.log)
    for line in invented(5000, left=True):
        victim.machine.receive(victim.machine.table.find("n1").open_link, m.encode(line))
    assert len(victim.log) == before
    assert len(victim.machine.table.peers) == MOST_RECORDS
    assert victim.linked() == ["n1"]
    assert liar.linked() == ["n0"]


def test_a_flood_of_texts() -> None:
    """A member's texts are shown up to so many in ten seconds; what is not shown is not answered, and counted."""
    network = Network(17)
    victim, _ = mesh(network, 2)
    link = victim.machine.table.find("n1").open_link
    for n in range(1000):
        victim.machine.receive(link, m.encode(m.Text(n, f"text {n}")))
    assert [text for _, text in victim.texts] == [f"text {n}" for n in range(MOST_TEXTS)]
    assert (
        len([answer for answer in m.decode_lines(link.data_to_send()) if isinstance(answer, m.Answer)])
        == MOST_TEXTS
    )
    network.run(11.0)
    victim.machine.receive(link, m.encode(m.Text(0, "later")))
    assert victim.texts[-1] == ("n1", f"later (and {1000 - MOST_TEXTS} others, which came too fast)")


def test_a_flood_of_hashes() -> None:
    """A short line with another hash each time is not each time worth all records."""
    network = Network(18)
    victim, _ = mesh(network, 2)
    network.run(3.0)
    link = victim.machine.table.find("n1").open_link
    link.data_to_send()
    for n in range(1000):
        victim.machine.receive(link, m.encode(m.Digest(f"{n}")))
    assert len(list(m.decode_lines(link.data_to_send()))) == 1


def test_ages_of_more_than_can_be_known() -> None:
    """A digest speaks of as many members as there can be, not of a megabyte of them."""
    network = Network(19)
    victim, _ = mesh(network, 2)
    ages = {f"00000000-0000-4000-8000-{n:012x}": n for n in range(m.MOST_IDS + 1)}
    with pytest.raises(m.MessageError, match="digest"):
        victim.machine.receive(victim.machine.table.find("n1").open_link, m.encode(m.Digest(ages=ages)))


def test_the_largest_session_number() -> None:
    """Whoever names it leaves a number for the next session with him that can still be said."""
    post = Post(Me("a", "a", 1, "iridium"), Network(20).node("w"))
    link = Link(Role.ACCEPTOR, "h", 0.0, lambda _: None)
    for number in (NEWEST, MOST_SESSIONS, MOST_SESSIONS - 1):
        session, _ = post.answer(link, m.Hello("1.2", "iridium", STRANGER, 1, life=1, peer="a", session=number))
        assert 0 < session <= MOST_SESSIONS
    assert not post.agree(link, m.Welcome("1.2", "iridium", STRANGER, 1, life=1, session=NEWEST))
    assert post.answer(link, m.Hello("1.2", "iridium", STRANGER, 1, life=2, peer="a"))[0] == MOST_SESSIONS + 1


def test_a_flood_of_events() -> None:
    """Whatever a member has happen again and again is in the log so many times in ten seconds, and counted."""
    ring = EventRing()
    clock = Clock()
    told = Mesh(clock, Me("a", "a", 1, "iridium"), ring, lambda me, records: succeed(None), clock.seconds)
    for n in range(2000):
        told.event("node-left", f"x{n}", "")
    told.event("node-up", "y", "")
    assert [event.kind for event in ring.recent()] == ["node-left"] * MOST_NEWS + ["node-up"]
    clock.advance(11.0)
    told.event("node-left", "z", "")
    assert ring.recent(1)[0].detail == f" (and {2000 - MOST_NEWS} more of this kind)"
