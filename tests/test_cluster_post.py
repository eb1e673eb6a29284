"""Mail between nodes of a simulated network: when sessions begin and end, and what arrives meanwhile."""

from __future__ import annotations

import pytest

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role
from iridium.cluster.messages import PIECE
from iridium.cluster.peer import Me
from iridium.cluster.post import Post
from iridium.cluster.session import MOST_WAITING, ROOM_AGAIN
from iridium.cluster.table import MOST_RECORDS
from iridium.testing import Network, SimulatedNode
from tests.letters import Letters

STRANGER = "00000000-0000-4000-8000-00000000000a"


class Mailbox:
    """What a node's post said.

    Attributes:
        got: payloads, with who sent them.
        said: sessions that began and ended, in order.
        rooms: who has room again.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.post = node.machine.post
        self.got: list[tuple[str, int, bytes]] = []
        self.said: list[tuple[str, ...]] = []
        self.rooms: list[str] = []
        name = node.machine.table.name_of
        self.post.on_mail = lambda id, kind, data: self.got.append((name(id), kind, data))
        self.post.on_session = lambda id: self.said.append(("session", name(id)))
        self.post.on_lost = lambda id, reason: self.said.append(("lost", name(id), reason))
        self.post.on_room = lambda id: self.rooms.append(name(id))

    def send(self, other: SimulatedNode, data: bytes, kind: int = 1, stream: int = 0) -> bool:
        """Send to another node."""
        return self.post.send(other.me.id, kind, data, stream)

    def number(self, other: SimulatedNode) -> int | None:
        """The number of the session with another node."""
        return self.post.sessions().get(other.me.id)


def mesh(network: Network, count: int = 2) -> list[SimulatedNode]:
    """A whole mesh."""
    nodes = [network.node(f"n{i}") for i in range(count)]
    for node in nodes:
        node.box = Mailbox(node)  # type: ignore[attr-defined]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    assert network.run_until(lambda: all(len(n.machine.post.sessions()) == count - 1 for n in nodes), 5.0)
    return nodes


def boxes(nodes: list[SimulatedNode]) -> list[Mailbox]:
    """The mailboxes of nodes."""
    return [node.box for node in nodes]  # type: ignore[attr-defined]


def payloads(count: int) -> list[bytes]:
    """Payloads that can be told apart."""
    return [n.to_bytes(4, "big") for n in range(count)]


def test_payloads_arrive_whole_and_in_order() -> None:
    """Small and large payloads of one stream arrive as they were sent, in both directions."""
    network = Network(1)
    nodes = mesh(network)
    a, b = boxes(nodes)
    assert (a.said, b.said) == ([("session", "n1")], [("session", "n0")])
    assert a.number(nodes[1]) == b.number(nodes[0]) == 1
    sent = [b"x" * size for size in (0, 5, 48 * 1024, 48 * 1024 + 1, 1024 * 1024, 7)]
    for data in sent:
        assert a.send(nodes[1], data, kind=200)
        assert b.send(nodes[0], data[::-1])
    network.run(3.0)
    assert b.got == [("n0", 200, data) for data in sent]
    assert a.got == [("n1", 1, data) for data in sent]
    assert a.post.waiting(nodes[1].me.id) == 0
    traffic = a.post.traffic()[nodes[1].me.id]
    assert (traffic.sent, traffic.received, traffic.dropped) == (6, 6, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_link_loses_nothing(seed: int) -> None:
    """Links that are cut again and again, while mail is under way, cost neither a payload nor the session."""
    network = Network(seed, slowest=0.05)
    nodes = mesh(network)
    a, b = boxes(nodes)
    sent = payloads(300)
    for number, data in enumerate(sent):
        large = bytes(100_000) if number % 50 == 0 else b""
        assert a.send(nodes[1], data + large)
        assert b.send(nodes[0], data)
        network.run(0.02)
        if number % 75 == 7:
            network.sever(*nodes)
    network.run(40.0)
    assert [data[:4] for _, _, data in b.got] == sent
    assert [data for _, _, data in a.got] == sent
    assert (len(a.said), len(b.said)) == (1, 1)
    resent = sum(box.post.traffic()[other.me.id].resent for box, other in ((a, nodes[1]), (b, nodes[0])))
    assert resent > 0


def test_mail_waits_for_the_next_link() -> None:
    """What is sent while there is no link goes out on the next one."""
    network = Network(2)
    nodes = mesh(network)
    a, b = boxes(nodes)
    network.run(2.0)
    network.sever(*nodes)
    network.run(0.006)
    assert nodes[0].linked() == []
    assert a.send(nodes[1], b"meanwhile")
    network.run(2.0)
    assert b.got == [("n0", 1, b"meanwhile")]


@pytest.mark.parametrize("silently", [False, True])
def test_a_restarted_node_gets_nothing_of_its_former_life(silently: bool) -> None:
    """A crash ends the session once at whoever lives, and counts what is lost; the next life has none of it."""
    network = Network(3)
    nodes = mesh(network)
    a, b = boxes(nodes)
    network.run(2.0)
    network.crash(nodes[1], silently=silently)
    assert a.send(nodes[1], b"for the dead")
    again = network.restart(nodes[1])
    network.light(nodes[1])
    new = Mailbox(again)
    assert network.run_until(lambda: bool(new.said), 30.0)
    network.run(10.0)
    assert new.got == []
    assert new.said == [("session", "n0")]
    assert a.said[0] == ("session", "n1")
    assert a.said[1] in (("lost", "n1", "restarted"), ("lost", "n1", "down"))
    assert a.said[2:] == [("session", "n1")]
    assert a.number(again) == new.number(nodes[0]) == 2
    assert a.post.traffic()[again.me.id].dropped == 1
    assert [subject for kind, subject, _ in nodes[0].log if kind == "mail-dropped"] == ["n1"]
    assert a.send(again, b"for the living")
    network.run(1.0)
    assert new.got == [("n0", 1, b"for the living")]
    assert b.got == []


def test_both_ends_restart() -> None:
    """Two nodes that both start anew know nothing of a number, and begin at one."""
    network = Network(4)
    nodes = mesh(network)
    for node in nodes:
        network.crash(node)
    again = [network.restart(node) for node in nodes]
    new = [Mailbox(node) for node in again]
    assert network.run_until(lambda: all(box.said for box in new), 60.0)
    assert [box.number(other) for box, other in zip(new, again[::-1], strict=True)] == [1, 1]


def test_a_node_that_was_held_to_be_down_hears_of_it() -> None:
    """A stopped process is down to the other: both ends report it once, and the larger number wins."""
    network = Network(5)
    nodes = mesh(network)
    a, b = boxes(nodes)
    network.run(2.0)
    network.freeze(nodes[1])
    for data in payloads(10):
        assert a.send(nodes[1], data)
    assert network.run_until(lambda: len(a.said) == 2, 10.0)
    assert a.said[1] == ("lost", "n1", "down")
    assert not a.send(nodes[1], b"nobody there")
    assert a.post.room(nodes[1].me.id) == 0
    network.thaw(nodes[1])
    network.run(5.0)
    assert a.said[2:] == [("session", "n1")]
    assert b.said == [("session", "n0"), ("lost", "n0", "down"), ("session", "n0")]
    assert a.number(nodes[1]) == b.number(nodes[0]) == 2
    before = len(b.got)
    assert a.send(nodes[1], b"again")
    network.run(1.0)
    assert b.got[before:] == [("n0", 1, b"again")]
    assert before in (0, 10)  # what the kernel held, or nothing: never a part out of order


def test_a_partition_ends_the_session_at_both_ends() -> None:
    """Each end holds the other to be down; healed, they begin one new session, with the same number at both."""
    network = Network(6)
    nodes = mesh(network)
    a, b = boxes(nodes)
    network.block(*nodes)
    network.block(nodes[1], nodes[0])
    assert a.send(nodes[1], b"lost")
    network.run(20.0)
    assert a.said[1:] == [("lost", "n1", "down")]
    assert b.said[1:] == [("lost", "n0", "down")]
    network.unblock()
    assert network.run_until(lambda: a.number(nodes[1]) == b.number(nodes[0]) == 2, 60.0)
    assert (len(a.said), len(b.said), b.got) == (3, 3, [])


def test_leaving_and_coming_back() -> None:
    """A node that leaves ends its sessions, once at each end; it comes back as another life."""
    network = Network(7)
    nodes = mesh(network, 3)
    a, b, c = boxes(nodes)
    nodes[1].machine.say_leave()
    assert not b.send(nodes[0], b"too late")
    network.run(1.0)
    nodes[1].machine.part()
    network.run(1.0)
    assert a.said[-1] == c.said[-1] == ("lost", "n1", "left")
    assert sorted(said[2] for said in b.said if said[0] == "lost") == ["left", "left"]
    nodes[1].machine.rejoin(nodes[1].me.incarnation + 1)
    network.join(nodes[1], nodes[0])
    network.run(3.0)
    assert [said for said in a.said if "n1" in said] == [
        ("session", "n1"), ("lost", "n1", "left"), ("session", "n1"),
    ]  # fmt: skip
    assert a.number(nodes[1]) == b.number(nodes[0]) == 2
    assert a.number(nodes[2]) == 1


def test_a_statement_that_is_outdone_costs_no_session() -> None:
    """A node that takes a higher incarnation because of what is said of it is still the same life."""
    network = Network(8)
    nodes = mesh(network, 3)
    a = boxes(nodes)[0]
    me = nodes[1].me
    nodes[2].machine.table.find("n1").open_link.send(
        m.Members([m.MemberRecord(me.id, me.incarnation + 5, me.alias, me.address)])
    )
    network.run(20.0)
    assert nodes[1].me.incarnation > me.life
    network.sever(nodes[0], nodes[1])
    network.run(5.0)
    assert [said for said in a.said if "n1" in said] == [("session", "n1")]


def test_a_frozen_peer_costs_nobody_else_anything() -> None:
    """Mail to a peer that does not answer is bounded and pushes back; everybody else's goes on."""
    network = Network(9)
    nodes = mesh(network, 3)
    a, b, c = boxes(nodes)
    network.freeze(nodes[1])
    while a.send(nodes[1], bytes(48 * 1024)):
        pass
    assert a.post.room(nodes[1].me.id) < 48 * 1024
    assert a.post.waiting(nodes[1].me.id) <= MOST_WAITING
    assert a.send(nodes[2], b"hello")
    network.run(1.0)
    assert c.got == [("n0", 1, b"hello")]
    assert a.rooms == []
    network.thaw(nodes[1])
    network.run(2.0)
    assert a.rooms == ["n1"]
    assert a.post.room(nodes[1].me.id) >= ROOM_AGAIN
    assert len(b.got) == MOST_WAITING // (48 * 1024 + 128)
    assert [said for said in a.said if said[0] == "lost"] == []


def friend(node: SimulatedNode, version: str = "1.1", life: int = 1) -> Link:
    """A member from outside the simulation, linked by the rules."""
    link = Link(Role.ACCEPTOR, "10.9.9.9", node.network.now, lambda link: None)
    node.machine.connection_made(link)
    hello = m.Hello(version, "iridium", STRANGER, 1, "friend", "10.9.9.9:1", link="l", life=life)
    node.machine.receive(link, m.encode(hello))
    node.machine.receive(link, m.encode(m.Ready()))
    assert link.open
    return link


def test_an_older_version_has_no_mail() -> None:
    """A node of version 1.0 is a member like any other, that nothing is mailed to, and that mails nothing."""
    network = Network(10)
    node = network.node("n0")
    box = Mailbox(node)
    link = friend(node, "1.0", 0)
    assert box.said == []
    assert not box.post.send(STRANGER, 1, b"x")
    with pytest.raises(m.MessageError, match="without a session"):
        node.machine.receive(link, m.encode(m.Mail(1, 0, 0, b"")))


def test_a_peer_that_announces_too_much_is_hung_up_on() -> None:
    """Pieces that cannot be end the link like any other nonsense, and keep nothing."""
    network = Network(11)
    node = network.node("n0")
    Mailbox(node)
    link = friend(node)
    huge = [m.Piece(n, 0, n, bytes(PIECE), 1, m.LARGEST_PAYLOAD) for n in range(1, 6)]
    with pytest.raises(m.MessageError, match="at a time"):
        node.machine.receive(link, m.encode(*huge))
    with pytest.raises(m.MessageError, match="bad 'piece' message"):
        m.decode(m.encode(m.Piece(1, 0, 1, b"x", 1, m.LARGEST_PAYLOAD + 1)))


def test_a_stranger_that_comes_and_goes_has_no_session() -> None:
    """A hello alone begins nothing, and leaves nothing behind."""
    network = Network(12)
    node = network.node("n0")
    box = Mailbox(node)
    link = Link(Role.ACCEPTOR, "10.9.9.9", 0.0, lambda link: None)
    node.machine.connection_made(link)
    node.machine.receive(link, m.encode(m.Hello("1.1", "iridium", STRANGER, 1, life=1)))
    assert not box.post.send(STRANGER, 1, b"x")
    node.machine.link_lost(link)
    assert box.said == []
    assert box.post.traffic() == {}


class Ends:
    """Two posts that shake hands as links do."""

    def __init__(self) -> None:
        network = Network(13)
        self.nodes = [network.node("a"), network.node("b")]
        self.posts = [Post(node.me, node) for node in self.nodes]
        self.lost: list[tuple[int, str]] = []
        for n, post in enumerate(self.posts):
            post.on_lost = lambda id, reason, n=n: self.lost.append((n, reason))

    def hello(self, n: int) -> m.Hello:
        """What one end would say now."""
        me, other = self.nodes[n].me, self.nodes[1 - n].me
        session, received = self.posts[n].offer(other.id)
        return m.Hello("1.1", "iridium", me.id, 1, life=me.life, peer=other.id, session=session, received=received)

    def answer(self, n: int, hello: m.Hello) -> m.Welcome:
        """The other end's answer."""
        me = self.nodes[n].me
        session, received = self.posts[n].answer(self.link(), hello)
        return m.Welcome("1.1", "iridium", me.id, 1, life=me.life, session=session, received=received)

    def link(self, session: int = 0) -> Link:
        """An open link, as far as a post can tell."""
        link = Link(Role.ACCEPTOR, "", 0.0, lambda link: None)
        link.session = session
        return link

    def meet(self, n: int) -> int:
        """A whole handshake that one end begins; the number of the session."""
        welcome = self.answer(1 - n, self.hello(n))
        assert self.posts[n].agree(self.link(), welcome)
        for end in (0, 1):
            assert self.posts[end].opened(self.nodes[1 - end].me.id, self.link(welcome.session))
        return welcome.session


def test_numbers_grow_and_the_larger_wins() -> None:
    """One session as long as both hold it; when either has ended it, the next is greater than any that was."""
    ends = Ends()
    assert [ends.meet(n) for n in (0, 1, 0)] == [1, 1, 1]
    for judging in ([0], [1], [0, 1]):
        for calling in (0, 1):
            before = ends.posts[0].offer(ends.nodes[1].me.id)[0]
            ends.lost.clear()
            for n in judging:
                ends.posts[n].end(ends.nodes[1 - n].me.id, "down")
            assert ends.meet(calling) == before + 1
            assert sorted(ends.lost) == [(0, "down"), (1, "down")]


def test_a_node_that_forgot_learns_the_number() -> None:
    """One end's memory is enough: a node that starts anew, at either end, is given a number that never was."""
    for calling in (0, 1):
        ends = Ends()
        ends.meet(0)
        ends.posts[0].end(ends.nodes[1].me.id, "down")
        assert ends.meet(0) == 2
        ends.posts[1] = Post(ends.nodes[1].me, ends.nodes[1])
        ends.nodes[1].me.life += 1
        assert ends.meet(calling) == 3
        assert ends.lost[-1] == (0, "restarted")


def test_a_hello_from_before_does_not_end_a_session() -> None:
    """A hello that was written before a session began is answered with it, and its sender goes on."""
    ends = Ends()
    old = ends.hello(1)
    assert ends.meet(0) == 1
    for _ in range(3):
        welcome = ends.answer(0, old)
        assert (welcome.session, welcome.received) == (1, 0)
    assert ends.posts[1].agree(ends.link(), welcome)
    assert ends.lost == []


def test_a_node_that_forgot_a_session_says_so() -> None:
    """Whoever is offered a session that it does not hold hangs up, and then names it as over: a new one begins."""
    ends = Ends()
    ends.meet(0)
    ends.posts[1] = Post(ends.nodes[1].me, ends.nodes[1])  # in the same life
    assert not ends.posts[1].agree(ends.link(), ends.answer(0, ends.hello(1)))
    assert ends.meet(1) == 2
    assert ends.lost == [(0, "down")]


def test_a_hello_for_another_node_ends_nothing() -> None:
    """Whoever dials an address where another node was speaks of its session with that one."""
    ends = Ends()
    ends.meet(0)
    hello = ends.hello(1)
    hello.peer, hello.session, hello.received = STRANGER, 7, None
    welcome = ends.answer(0, hello)
    assert (welcome.session, welcome.received) == (1, 0)
    assert ends.posts[1].agree(ends.link(), welcome)
    assert ends.lost == []


def test_a_welcome_that_is_lost_costs_no_session() -> None:
    """Whichever message of a handshake is the last to arrive, the next handshake goes on with the same session."""
    ends = Ends()
    ends.answer(1, ends.hello(0))  # and nobody hears it
    ends.meet(1)
    assert ends.lost == []
    ends = Ends()
    welcome = ends.answer(1, ends.hello(0))
    assert ends.posts[0].agree(ends.link(), welcome)
    assert ends.posts[0].opened(ends.nodes[1].me.id, ends.link(1))  # the other end has no ready yet
    assert ends.posts[0].send(ends.nodes[1].me.id, 1, b"early")
    assert ends.meet(1) == 1
    assert ends.lost == []


def test_what_is_remembered_of_peers_is_bounded() -> None:
    """However many nodes come and go, as many are remembered as there may be records."""
    network = Network(14)
    me = Me(STRANGER, "", 1, "iridium")
    post = Post(me, network.node("a"))
    for n in range(MOST_RECORDS + 100):
        post.answer(Ends.link(None), m.Hello("1.1", "iridium", f"00000000-0000-4000-8000-{n:012x}", 1, life=1))
    assert len(post._entries) == MOST_RECORDS


def test_letters_notice_what_must_not_be() -> None:
    """The book that the campaign keeps tells of mail that arrives twice, or for another life, and of lost ends."""
    network = Network(15)
    nodes = [network.node("a"), network.node("b")]
    letters = Letters(network)
    for node in nodes:
        letters.attach(node)
    network.join(nodes[1], nodes[0])
    network.run(2.0)
    assert letters.send(nodes[0], nodes[1].me.id, 10, 1)
    network.run(1.0)
    assert letters.problem() == letters.unsettled() == ""
    session = nodes[0].machine.post._session(nodes[1].me.id)
    session._sent = session._acked = 0
    nodes[1].machine.post._session(nodes[0].me.id).received = 0
    letters.sent.clear()
    letters.send(nodes[0], nodes[1].me.id, 10, 1)
    network.run(1.0)
    assert "got 1 of" in letters.problem()
    nodes[0].machine.post.on_lost(nodes[1].me.id, "down")
    assert "nobody was held to be down" in letters.problem()
    nodes[0].machine.post.on_lost(nodes[1].me.id, "down")
    assert "lost twice" in letters.problem()
