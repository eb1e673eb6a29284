"""The membership machine on a simulated network: joining, refusals, ties, death, leaving."""

from __future__ import annotations

import pytest

from iridium.cluster import messages as m
from iridium.cluster.conversation import Conversation
from iridium.cluster.link import Link, Role
from iridium.cluster.liveness import ASK_EVERY, DEATH, SUSPICION, TICK
from iridium.cluster.peer import Peer
from iridium.cluster.refusals import FINAL, REMEDIES, RefusedError, UnreachableError
from iridium.cluster.types import Delivery
from iridium.errors import CommandError
from iridium.limits import DEFAULTS
from iridium.testing import JoinResult, Network, SimulatedNode


def mesh(network: Network, count: int) -> list[SimulatedNode]:
    """A whole mesh of nodes n0, n1, ... that all joined the first."""
    nodes = [network.node(f"n{i}") for i in range(count)]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    assert network.run_until(lambda: is_whole(nodes), 3.0)
    return nodes


def is_whole(nodes: list[SimulatedNode]) -> bool:
    """Whether every node holds a ready link to every other."""
    return all(len(node.linked()) == len(nodes) - 1 for node in nodes)


def refused(network: Network, node: SimulatedNode, contact: SimulatedNode) -> RefusedError:
    """The refusal that a join meets."""
    result = network.join(node, contact)
    network.run_until(lambda: result.error is not None or result.done, 5.0)
    assert isinstance(result.error, RefusedError), result.error
    assert result.error.remedy
    return result.error


def kinds(node: SimulatedNode, kind: str) -> list[str]:
    """Whom an event of that kind was about, in order."""
    return [subject for k, subject, _ in node.log if k == kind]


def test_a_chain_of_joins_is_a_full_mesh() -> None:
    """Joins are transitive: each node joins only the one before it, and all end linked to all."""
    network = Network(1)
    nodes = [network.node(f"n{i}") for i in range(5)]
    results = []
    for node, contact in zip(nodes[1:], nodes, strict=False):
        results.append(network.join(node, contact))
        network.run(0.2)
    assert all(result.done for result in results)
    for node in nodes:
        assert node.states() == dict.fromkeys(["n0", "n1", "n2", "n3", "n4"], "up")
    assert is_whole(nodes)


@pytest.mark.parametrize("seed", range(25))
def test_simultaneous_joins_leave_one_link_a_pair(seed: int) -> None:
    """Everybody joins anybody at the same moment, in both directions: one link a pair, the same at both ends."""
    network = Network(seed)
    nodes = [network.node(f"n{i}") for i in range(2 + seed % 11)]
    for i, node in enumerate(nodes[1:], 1):
        network.join(node, network.random.choice(nodes[:i]))
    for node in nodes:
        other = network.random.choice(nodes)
        if other is not node:
            network.join(node, other)
    assert network.run_until(lambda: is_whole(nodes), 3.0)
    network.run(3.0)
    assert is_whole(nodes)
    names = {(a, p.id): p.link.id for a in nodes for p in a.machine.table.peers.values() if p.link}
    for (a, b_id), link in names.items():
        b = next(node for node in nodes if node.me.id == b_id)
        assert names[b, a.me.id] == link
    assert all(len(node.pipes) == len(nodes) - 1 for node in nodes)
    assert not any(node.machine.handshakes or node.machine.dialler.joins for node in nodes)


def test_a_seed_is_one_trace() -> None:
    """The same seed gives the same events at the same nodes in the same order."""

    def trace(seed: int) -> list[object]:
        network = Network(seed)
        nodes = [network.node(f"n{i}") for i in range(6)]
        for node in nodes[1:]:
            network.join(node, nodes[0])
        network.run(2.0)
        network.crash(nodes[3])
        network.run(2.0)
        return [network.now, [node.log for node in nodes]]

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_a_join_waits_for_the_whole_mesh() -> None:
    """A join is done when each member has accepted or failed, not before; a dead one does not hold it up."""
    network = Network(2)
    nodes = mesh(network, 4)
    network.crash(nodes[2])
    newcomer = network.node("new")
    result = network.join(newcomer, nodes[0])
    assert network.run_until(lambda: result.done, 1.0)
    assert newcomer.linked() == ["n0", "n1", "n3"]
    assert newcomer.states()["n2"] == "down"


def test_a_contact_that_is_not_there() -> None:
    """A join fails with why when nothing listens, and when nobody answers."""
    network = Network(3)
    a, b = network.node("a"), network.node("b")
    network.crash(b)
    result = network.join(a, b)
    network.run(1.0)
    assert isinstance(result.error, UnreachableError)
    assert "nothing listens there" in str(result.error)
    c = network.node("c")
    network.block(a, c)
    result = network.join(a, c)
    network.run(6.0)
    assert isinstance(result.error, UnreachableError)


def test_a_frozen_contact_does_not_hold_a_join_for_ever() -> None:
    """A connection that is accepted and never answered ends after the handshake's five seconds."""
    network = Network(4)
    a, b = network.node("a"), network.node("b")
    network.freeze(b)
    result = network.join(a, b)
    network.run(5.6)
    assert isinstance(result.error, UnreachableError)
    assert "no handshake" in str(result.error)


def test_cancelling_a_join_closes_what_it_opened() -> None:
    """A cancelled join calls nobody, and no connection of it stays."""
    network = Network(5)
    a, b = network.node("a"), network.node("b")
    result = network.join(a, b)
    a.machine.dialler.cancel(result.join)
    network.run(1.0)
    assert (result.done, result.error, a.linked(), b.linked()) == (False, None, [], [])
    assert not a.pipes
    result = network.join(a, b)
    network.run_until(lambda: bool(a.pipes), 1.0)
    a.machine.dialler.cancel(result.join)
    network.run(1.0)
    assert (result.done, a.pipes, b.pipes) == (False, {}, {})


def test_refusals_have_remedies_in_their_order() -> None:
    """The list is the design's, in the order in which a node looks."""
    assert list(REMEDIES) == [
        "VERSION", "NOT_ALLOWED", "WRONG_CLUSTER", "SELF", "STALE", "ID_IN_USE", "DUPLICATE", "LEFT",
        "NAME_IN_USE", "UNREACHABLE", "FULL",
    ]  # fmt: skip
    assert {"VERSION", "WRONG_CLUSTER", "NOT_ALLOWED", "SELF"} == FINAL


def test_wrong_cluster() -> None:
    """Clusters of different names never merge, and the refusal names both."""
    network = Network(6)
    a, b = network.node("a"), network.node("b", cluster="other")
    error = refused(network, b, a)
    assert error.reason == "WRONG_CLUSTER"
    assert "'iridium'" in error.detail
    assert "'other'" in error.detail
    assert a.states() == {"a": "up"}


def test_self() -> None:
    """A node that joins its own address is told so."""
    network = Network(7)
    a = network.node("a")
    assert refused(network, a, a).reason == "SELF"


def test_a_copied_data_directory() -> None:
    """A second process with a live node's id is refused as ID_IN_USE, whether or not its incarnation is newer."""
    network = Network(8)
    nodes = mesh(network, 3)
    for incarnation in (2, 1):
        copy = network.node("copy", id=nodes[1].me.id, incarnation=incarnation)
        error = refused(network, copy, nodes[1])
        assert error.reason == "ID_IN_USE"
        assert "delete node.json" in error.remedy
    copy = network.node("copy", id=nodes[1].me.id, incarnation=2)
    assert refused(network, copy, nodes[0]).reason == "ID_IN_USE"
    network.run(3.0)
    assert is_whole(nodes)


def test_a_restart_replaces_the_life_before() -> None:
    """A node that comes back with a higher incarnation takes its place, even before its death was noticed."""
    network = Network(9)
    nodes = mesh(network, 3)
    network.freeze(nodes[2])  # its old connections look alive and do not answer
    again = network.node("n2", id=nodes[2].me.id, incarnation=2)
    result = network.join(again, nodes[0])
    assert network.run_until(lambda: result.done, 8.0)
    network.run(3.0)
    assert again.linked() == ["n0", "n1"]
    assert nodes[0].machine.table.peers[again.me.id].record.incarnation == 2


def test_a_stale_life_is_refused() -> None:
    """A hello with an incarnation older than the known one is refused."""
    network = Network(10)
    a = network.node("a")
    b = network.node("b", incarnation=5)
    network.join(b, a)
    network.run(1.0)
    old = network.node("b", id=b.me.id, incarnation=4)
    assert refused(network, old, a).reason == "STALE"


def test_a_name_in_use() -> None:
    """A join with a live node's alias is refused, by the node itself and by any other, naming the holder."""
    network = Network(11)
    nodes = mesh(network, 3)
    for contact in nodes:
        error = refused(network, network.node("n1"), contact)
        assert error.reason == "NAME_IN_USE"
        assert nodes[1].me.id in error.detail


def test_a_silent_holder_loses_its_name() -> None:
    """A newcomer takes the alias of a node that does not answer, or that is down."""
    network = Network(12)
    nodes = mesh(network, 3)
    network.freeze(nodes[1])
    newcomer = network.node("n1")
    result = network.join(newcomer, nodes[0])
    assert network.run_until(lambda: result.done or result.error is not None, 9.0)
    assert result.error is None
    network.crash(nodes[2])
    network.run(1.0)
    result = network.join(network.node("n2"), nodes[0])
    network.run(9.0)
    assert result.done


def test_merging_islands_keep_the_smaller_ids_name() -> None:
    """Two islands that share an alias merge; the smaller id keeps it everywhere, and both sides are told."""
    network = Network(13)
    left, right = network.node("hub"), network.node("hub2")
    twins = [network.node("twin"), network.node("twin")]
    network.join(twins[0], left)
    network.join(twins[1], right)
    network.run(1.0)
    network.join(left, right)
    nodes = [left, right, *twins]
    assert network.run_until(lambda: is_whole(nodes), 5.0)
    winner, loser = sorted(twins, key=lambda node: node.me.id)
    for node in nodes:
        table = node.machine.table
        assert table.alias_of(winner.me.id) == "twin"
        assert table.alias_of(loser.me.id) == ""
    assert kinds(winner, "name-conflict") == ["twin"]
    assert kinds(loser, "name-conflict") == ["twin"]


def test_an_unreachable_address() -> None:
    """A node that advertises loopback to another machine is told what to set."""
    network = Network(14)
    a, b = network.node("a"), network.node("b")
    b.me.address = "127.0.0.1:2254"
    error = refused(network, b, a)
    assert error.reason == "UNREACHABLE"
    assert "--advertise" in error.remedy


def test_a_wildcard_address_becomes_the_one_seen() -> None:
    """A node that listens on all interfaces is told to others under the host it was seen at, with its port."""
    network = Network(15)
    a, b, c = network.node("a"), network.node("b"), network.node("c")
    b.me.address = "0.0.0.0:2254"
    network.join(b, a)
    network.run(0.5)
    network.join(c, a)
    assert network.run_until(lambda: is_whole([a, b, c]), 3.0)
    assert c.machine.table.peers[b.me.id].record.address == b.address
    assert b.me.address == b.address


def test_a_full_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The member after the last is refused."""
    monkeypatch.setattr("iridium.cluster.admission.MOST_MEMBERS", 3)
    network = Network(16)
    nodes = mesh(network, 3)
    assert refused(network, network.node("n3"), nodes[0]).reason == "FULL"


def test_another_major_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of another major version is refused before anything else; a newer minor one is let in."""
    network = Network(17)
    a, b, c = network.node("a"), network.node("b"), network.node("c")
    monkeypatch.setattr(m, "version_text", lambda: "2.0")
    result = network.join(b, a)
    network.run_until(lambda: result.error is not None, 0.004)
    network.run(1.0)
    assert isinstance(result.error, RefusedError)
    assert result.error.reason == "VERSION"
    monkeypatch.setattr(m, "version_text", lambda: "1.9")
    assert network.join(c, a)
    network.run(1.0)
    assert c.linked() == ["a"]


def test_a_killed_node_is_down_at_once() -> None:
    """Its connections end, redials are refused: everybody knows within a few round trips."""
    network = Network(18)
    nodes = mesh(network, 10)
    network.crash(nodes[4])
    survivors = nodes[:4] + nodes[5:]
    assert network.run_until(lambda: all(n.states()["n4"] == "down" for n in survivors), 0.05)
    assert is_whole(survivors)


def test_a_cut_link_comes_back() -> None:
    """A lost connection between two live nodes is redialled at once, and nobody is marked down for it."""
    network = Network(19)
    nodes = mesh(network, 10)
    network.run(2.0)
    network.sever(nodes[2], nodes[7])
    network.run_until(lambda: not is_whole(nodes), 0.1)
    assert network.run_until(lambda: is_whole(nodes), 1.0)
    assert not any(kinds(node, "node-down") or kinds(node, "node-suspect") for node in nodes)


def test_a_frozen_node_is_suspected_then_down_then_up() -> None:
    """Silence is noticed without a closed connection; the thawed node does not blame the others."""
    network = Network(20)
    nodes = mesh(network, 5)
    network.run(3.0)
    network.freeze(nodes[3])
    others = nodes[:3] + nodes[4:]
    assert network.run_until(lambda: all(n.states()["n3"] == "suspect" for n in others), 3.0)
    assert network.run_until(lambda: all(n.states()["n3"] == "down" for n in others), 4.5)
    network.run(10.0)
    network.thaw(nodes[3])
    assert network.run_until(lambda: all(n.states()["n3"] == "up" for n in others) and is_whole(nodes), 2.0)
    assert not kinds(nodes[3], "node-down")


def test_a_member_just_told_of_is_not_asked_about() -> None:
    """Whom a node has only heard of is dialled, not doubted; one that never answers is asked about later on.

    Else all members of a mesh that forms would ask all others about each other.
    """
    network = Network(31)
    a, b, silent = mesh(network, 3)
    newcomer = network.node("new")
    network.block(newcomer, silent)
    network.block(silent, newcomer)
    asked: list[float] = []
    digest = a.machine.liveness.digest

    def watch(peer: Peer, link: Link, message: m.Digest) -> None:
        if peer.id == newcomer.me.id and silent.me.id in message.asks:
            asked.append(network.now)
        digest(peer, link, message)

    a.machine.liveness.digest = watch  # type: ignore[method-assign]
    began = network.now
    network.join(newcomer, a)
    network.run(SUSPICION - TICK)
    assert newcomer.linked() == ["n0", "n1"]
    assert not asked
    network.run(DEATH)
    assert asked
    assert asked[0] < began + SUSPICION + ASK_EVERY + 3 * TICK
    assert newcomer.states()["n2"] == "up"  # the others hear from it
    assert b.states()["n2"] == "up"


@pytest.mark.parametrize("count", [3, 12])
def test_one_that_only_others_hear_from_comes_back(count: int) -> None:
    """A member that was down, and lives again where only others reach it, is up by what they say."""
    network = Network(37)
    nodes = mesh(network, count)
    observer, subject, witness = nodes[:3]
    for a, b in ((observer, subject), (subject, observer)):
        network.block(a, b)
    network.run(10.0)
    network.freeze(subject)
    assert network.run_until(lambda: observer.states()["n1"] == witness.states()["n1"] == "down", 10.0)
    network.run(20.0)
    network.thaw(subject)
    assert network.run_until(lambda: observer.states()["n1"] == "up", 20.0)
    assert observer.machine.table.find("n1").open_link is None


def test_the_last_words_of_the_dead_are_no_sign_of_life() -> None:
    """What the others heard from a member before it died never makes it up again, however slow the answers are."""
    network = Network(38, slowest=0.5)
    nodes = [network.node(f"n{i}") for i in range(6)]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    assert network.run_until(lambda: is_whole(nodes), 30.0)
    network.run(10.0)
    network.crash(nodes[5])
    assert network.run_until(lambda: all(n.states()["n5"] == "down" for n in nodes[:5]), 3.0)
    before = [len(kinds(node, "node-up")) for node in nodes[:5]]
    network.run(120.0)
    assert [len(kinds(node, "node-up")) for node in nodes[:5]] == before


def test_what_waited_for_a_frozen_node_is_no_sign_of_life() -> None:
    """A node that thaws and finds the last words of one that died meanwhile tells nobody that it is alive."""
    network = Network(39)
    nodes = mesh(network, 6)
    network.run(5.0)
    network.freeze(nodes[1])
    network.run(2.0)
    network.crash(nodes[5], silently=True)
    network.run(30.0)
    others = [nodes[0], *nodes[2:5]]
    assert all(node.states()["n5"] == "down" for node in others)
    network.thaw(nodes[1])
    network.run(60.0)
    assert all(kinds(node, "node-up").count("n5") == 1 for node in nodes[:5])
    assert nodes[1].states()["n5"] == "down"


def test_leaving_and_joining_again() -> None:
    """A node that leaves is shown as left, not down, refuses dials, and may come back in the same process."""
    network = Network(21)
    nodes = mesh(network, 4)
    leaver = nodes[2]
    leaver.machine.say_leave()
    network.run(0.2)
    leaver.machine.part()
    network.run(5.0)
    for node in nodes:
        if node is not leaver:
            assert node.states()["n2"] == "left"
            assert not kinds(node, "node-down")
    assert leaver.states() == {"n2": "left"}
    assert refused(network, network.node("x"), leaver).reason == "LEFT"
    leaver.machine.rejoin(2)
    result = network.join(leaver, nodes[0])
    assert network.run_until(lambda: result.done and is_whole(nodes), 3.0)
    assert all(set(node.states().values()) == {"up"} for node in nodes)


def test_a_hello_and_nothing_more_is_not_remembered() -> None:
    """Somebody who says hello and hangs up, or goes silent, leaves no member behind."""
    network = Network(22)
    a = network.node("a")
    hello = m.Hello("1.0", "iridium", "00000000-0000-4000-8000-00000000000a", 1, "x", "10.9.9.9:1")
    link = Link(Role.ACCEPTOR, "10.9.9.9", 0.0, a.output)
    a.machine.connection_made(link)
    a.machine.receive(link, m.encode(hello))
    assert "x" in a.states()
    a.machine.link_lost(link)
    assert a.states() == {"a": "up"}
    silent = Link(Role.ACCEPTOR, "10.9.9.9", 0.0, a.output)
    a.machine.connection_made(silent)
    a.machine.receive(silent, m.encode(hello))
    network.run(6.0)
    assert silent.closed
    assert a.states() == {"a": "up"}
    assert not a.machine.handshakes


@pytest.mark.parametrize(
    "record",
    [
        m.MemberRecord("00000000-0000-4000-8000-00000000000a", 1, "has space", "10.0.0.9:1"),
        m.MemberRecord("00000000-0000-4000-8000-00000000000a", 1, "x", "nonsense"),
        m.MemberRecord("00000000-0000-4000-8000-00000000000a", 1, "x" * 60 + "\u00e9" * 4, "10.0.0.9:1"),
    ],
)
def test_bad_records_are_not_taken(record: m.MemberRecord) -> None:
    """What a member says of others is checked as if they said it themselves."""
    network = Network(23)
    [a, b] = mesh(network, 2)
    for peer in b.machine.table.peers.values():
        peer.open_link.send(m.Members([record]))
    network.run(1.0)
    assert a.states() == {"n0": "up", "n1": "up"}


def test_rumours_of_ones_own_death_are_outdone() -> None:
    """A node that others say has left, or lived later, takes a higher incarnation and stays."""
    network = Network(24)
    nodes = mesh(network, 3)
    lie = m.MemberRecord(nodes[0].me.id, 7, "n0", nodes[0].address, left=True)
    nodes[1].machine.hearsay.merge(lie)
    network.run(8.0)
    assert nodes[0].me.incarnation > 7
    assert all(node.states()["n0"] == "up" for node in nodes)


def test_finding_members() -> None:
    """By exact id, by alias, by a unique prefix of four or more; each miss says why."""
    network = Network(25)
    nodes = mesh(network, 3)
    table = nodes[0].machine.table
    one = nodes[1].me.id
    assert table.find(one).id == table.find("n1").id == table.find(one[:8]).id == one
    for target, says in [
        ("nobody", "no member is called"),
        (one[:3], "no member is called"),
        ("n0", "this node itself"),
    ]:
        with pytest.raises(CommandError, match=says):
            table.find(target)


def test_forgetting() -> None:
    """Only a member that is down or has left can be forgotten, and others' records do not bring it back."""
    network = Network(26)
    nodes = mesh(network, 3)
    with pytest.raises(CommandError, match="is up"):
        nodes[0].machine.forget("n2")
    network.crash(nodes[2])
    network.run(1.0)
    nodes[0].machine.forget("n2")
    network.run(5.0)
    assert nodes[0].states() == {"n0": "up", "n1": "up"}
    again = network.node("n2", id=nodes[2].me.id, incarnation=2)
    network.join(again, nodes[0])
    network.run(2.0)
    assert nodes[0].states()["n2"] == "up"


def test_texts_arrive_and_are_acknowledged() -> None:
    """A text reaches the people at the peer, and the sender learns that; from a frozen peer it learns nothing."""
    network = Network(27)
    [a, b] = mesh(network, 2)
    peer = a.machine.table.find("n1")
    heard: list[bool] = []
    a.machine.questions.text(peer.open_link, "hello there", heard.append)
    network.run(0.1)
    assert b.texts == [("n0", "hello there")]
    assert heard == [True]
    network.freeze(b)
    a.machine.questions.text(peer.open_link, "and now?", heard.append)
    network.run(2.0)
    assert heard == [True, False]


def test_telling_all_leaves_nobody_out() -> None:
    """With `*` a member that lives but cannot be reached just now is reported; one that is gone is not."""
    network = Network(42)
    nodes = mesh(network, 4)
    network.crash(nodes[3])
    network.block(nodes[0], nodes[2])
    network.block(nodes[2], nodes[0])
    network.sever(nodes[0], nodes[2])
    assert network.run_until(lambda: nodes[0].linked() == ["n1"] and nodes[0].states()["n3"] == "down", 5.0)
    told: list[list[Delivery]] = []
    Conversation(nodes[0].machine).tell("*", "hello").addCallback(told.append)
    network.run(0.2)
    assert told == [[Delivery("n1", True), Delivery("n2", False, "there is no link to it just now")]]
    assert nodes[1].texts == [("n0", "hello")]


def test_asking_for_links() -> None:
    """A member answers whom it holds a link to; one that dies meanwhile answers nothing, once."""
    network = Network(28)
    nodes = mesh(network, 3)
    answers: list[object] = []
    nodes[0].machine.questions.links(nodes[0].machine.table.find("n1").open_link, answers.append)
    network.run(0.1)
    assert [sorted(answer) for answer in answers] == [sorted([nodes[0].me.id, nodes[2].me.id])]
    network.freeze(nodes[1])
    nodes[0].machine.questions.links(nodes[0].machine.table.find("n1").open_link, answers.append)
    network.crash(nodes[1])
    network.run(5.0)
    assert answers[1:] == [None]


def test_known_peers_are_found_again() -> None:
    """A node that restarts with the records of its former life comes back by itself."""
    network = Network(29)
    nodes = mesh(network, 4)
    known = [r for r in nodes[3].machine.table.records() if r.id != nodes[3].me.id]
    network.crash(nodes[3])
    network.run(1.0)
    again = network.node("n3", id=nodes[3].me.id, incarnation=2)
    again.machine.remember(known)
    assert network.run_until(lambda: is_whole([*nodes[:3], again]), 3.0)


def test_records_are_exchanged_when_hashes_differ() -> None:
    """A member that two nodes know and a third missed is told of, and dialled."""
    network = Network(30)
    nodes = mesh(network, 2)
    stranger = network.node("s")
    network.block(nodes[1], stranger)
    network.block(stranger, nodes[1])
    network.join(stranger, nodes[0])
    network.run(1.0)
    assert stranger.linked() == ["n0"]
    network.unblock()
    assert network.run_until(lambda: is_whole([*nodes, stranger]), 45.0)


def test_join_result_reports_once() -> None:
    """Joining a contact that is linked already succeeds at once."""
    network = Network(31)
    nodes = mesh(network, 3)
    result: JoinResult = network.join(nodes[1], nodes[0])
    assert network.run_until(lambda: result.done, 1.0)
    assert result.error is None
    assert is_whole(nodes)


def test_two_hellos_that_wait_for_the_same_probe_leave_one_link() -> None:
    """A restarted node that dialled twice while its old life was being probed is accepted once."""
    network = Network(32)
    [a, b] = mesh(network, 2)
    network.run(2.0)
    network.freeze(b)  # its old connection stays open and silent
    links = []
    for name in ("first", "second"):
        link = Link(Role.ACCEPTOR, b.host, 0.0, a.output)
        a.machine.connection_made(link)
        a.machine.receive(link, m.encode(m.Hello("1.0", "iridium", b.me.id, 9, "n1", b.address, link=name)))
        links.append(link)
    network.run(1.5)
    held = a.machine.table.peers[b.me.id].link
    assert held in links
    assert [link.closed for link in links] == [link is not held for link in links]


def test_a_member_that_left_is_left_for_good() -> None:
    """Its last words do not revive it: the record ages, and its return is news."""
    network = Network(33)
    [a, b, c] = mesh(network, 3)
    b.machine.say_leave()
    network.run(0.5)
    peer = a.machine.table.peers[b.me.id]
    assert (peer.state, peer.alive, peer.gone is not None) == ("left", "down", True)
    b.machine.part()
    b.machine.rejoin(9)
    network.join(b, c)
    network.run(3.0)
    assert kinds(a, "node-up").count("n1") == 2


def test_the_forgotten_dead_stay_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is dropped after its time does not come back from a member that keeps it a little longer."""
    monkeypatch.setattr("iridium.cluster.liveness.RETENTION", 20.0)
    network = Network(34)
    nodes = mesh(network, 4)
    network.run(2.0)
    network.crash(nodes[3])
    network.run(60.0)
    for node in nodes[:3]:
        assert nodes[3].me.id not in node.machine.table.peers
        assert len(kinds(node, "node-down")) == 1


def test_a_wildcard_keeps_no_foreign_or_useless_host() -> None:
    """What a peer claims to see is taken only where others could use it."""
    network = Network(35)
    a = network.node("a")
    for seen in ("127.0.0.1", "a b", "", "0.0.0.0", "fe80::1%eth0"):
        a.me.address = "0.0.0.0:2254"
        a.me.seen_at(seen)
        assert a.me.address == "0.0.0.0:2254"
    a.me.seen_at("10.0.0.7")
    assert a.me.address == "10.0.0.7:2254"


def test_a_wildcard_never_replaces_a_known_address() -> None:
    """A node that says a wildcard of itself is known under the host it speaks from; hearsay keeps the old one."""
    network = Network(36)
    [a, b, c] = mesh(network, 3)
    for speaker in (b, c):
        record = m.MemberRecord(b.me.id, b.me.incarnation + 1 + (speaker is c), "n1", "0.0.0.0:2254")
        speaker.machine.table.find("n0").open_link.send(m.Members([record]))
        network.run(0.2)
        assert a.machine.table.peers[b.me.id].record.address == b.address


def test_refusals_do_not_fill_the_log() -> None:
    """Of many refusals a few are told, the rest are counted, and nothing raw of a stranger's is in them."""
    network = Network(37)
    [a, _] = mesh(network, 2)
    for n in range(200):
        link = Link(Role.ACCEPTOR, "10.9.9.9", network.now, a.output)
        a.machine.connection_made(link)
        id = f"00000000-0000-4000-8000-{n:012x}"
        a.machine.receive(link, m.encode(m.Hello("9\x1b[2J", "iridium", id, 1, "\x1b[31m")))
    told = [(subject, detail) for kind, subject, detail in a.log if kind == "refused"]
    assert 1 <= len(told) <= 5
    assert all(text.isprintable() for line in told for text in line)


def test_the_table_makes_room_for_the_living(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is full, the member that is gone longest goes; a newcomer is known all the same."""
    monkeypatch.setattr("iridium.cluster.table.MOST_RECORDS", 12)
    monkeypatch.setattr("iridium.cluster.membership.MOST_RECORDS", 12)
    network = Network(38)
    nodes = mesh(network, 3)
    for n in range(30):
        passing = network.node(f"p{n}")
        network.join(passing, nodes[0])
        network.run(0.5)
        passing.machine.say_leave()
        network.run(0.1)
        passing.machine.part()
    assert all(len(node.machine.table.peers) <= 12 for node in nodes)
    last = network.node("last")
    network.join(last, nodes[1])
    assert network.run_until(lambda: is_whole([*nodes, last]), 5.0)


def test_hashes_that_never_agree_are_told_ever_less() -> None:
    """After one node has forgotten a member, the others do not send all they know every other second for ever."""
    network = Network(39)
    nodes = mesh(network, 3)
    network.run(2.0)
    network.crash(nodes[2])
    network.run(1.0)
    nodes[0].machine.forget("n2")
    sent = 0
    original = Link.send

    def send(link: Link, *messages: m.Message) -> None:
        nonlocal sent
        sent += any(isinstance(message, m.Members) for message in messages)
        original(link, *messages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "send", send)
        network.run(120.0)
    assert sent < 30


def test_a_refusal_closes_both_ends() -> None:
    """The node that is refused hangs up too, whether or not the other one does."""
    network = Network(40)
    a, b = network.node("a"), network.node("b", cluster="other")
    refused(network, b, a)
    network.run(1.0)
    assert a.pipes == b.pipes == {}


def test_few_dials_at_once() -> None:
    """A node that knows many members that do not answer dials a few of them at a time, and all in the end."""
    network = Network(40)
    [a] = mesh(network, 1)
    dark = [network.node(f"d{i}") for i in range(40)]
    for node in dark:
        network.crash(node, silently=True)
    dialled: dict[str, None] = {}
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, len(a.dials))
        dialled.update((dial.address, None) for dial in a.dials)
        return len(dialled) == len(dark)

    a.machine.remember([node.me.record() for node in dark])
    assert network.run_until(look, 20.0)
    assert most == DEFAULTS.dials


@pytest.mark.parametrize("ours_works", [False, True])
def test_a_hello_waits_for_our_own_dial(ours_works: bool) -> None:
    """Of two dials at once that of the smaller id wins: the other's hello is answered when it has ended."""
    network = Network(41)
    a = network.node("a", id="00000000-0000-4000-8000-000000000001")
    b = network.node("b", id="00000000-0000-4000-8000-000000000002")
    network.freeze(b)
    a.machine.remember([b.me.record()])
    assert network.run_until(lambda: bool(a.pipes), 1.0)
    network.run(0.1)
    [ours] = a.pipes
    theirs = Link(Role.ACCEPTOR, b.host, network.now, a.output)
    a.machine.connection_made(theirs)
    a.machine.receive(theirs, m.encode(m.Hello("1.0", "iridium", b.me.id, 1, "b", b.address, link="theirs")))
    network.run(1.0)
    assert not theirs.closed
    assert theirs.data_to_send() == b""
    if ours_works:
        network.thaw(b)
        network.run(1.0)
        [answer] = m.decode_lines(theirs.data_to_send())
        assert isinstance(answer, m.Refuse)
        assert answer.reason == "DUPLICATE"
        assert a.linked() == ["b"]
    else:
        a.machine.link_lost(ours)
        kinds_of = [type(message) for message in m.decode_lines(theirs.data_to_send())]
        assert kinds_of == [m.Welcome, m.Ready]
        assert a.machine.table.find("b").link is theirs
