"""The simulated network itself, and a part of the campaign on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from iridium.cluster.link import Link, State
from iridium.cluster.secret import Exchange, Prover, Secrets
from iridium.errors import OptionError
from iridium.testing import Network, SimulatedNode
from tests import simulate

TRACE = """
from tests.simulate import Story
story = Story(3, most=8)
story.tell_all()
for node in story.network.nodes:
    print(node, node.me.id, node.log, [link.id for link in node.pipes])
print(story.lines, story.network.now)
"""


@pytest.mark.parametrize("seed", range(40))
def test_a_story_ends_in_one_mesh(seed: int) -> None:
    """Whatever happened, once it stops there is one mesh, with the same names everywhere and nothing left over."""
    assert simulate.run(seed, most=8) == ""


@pytest.mark.parametrize("seed", range(20))
def test_a_story_of_a_cluster_with_a_secret(seed: int) -> None:
    """The same with a secret, which changes meanwhile; and who does not know it is never told of anybody."""
    assert simulate.run(seed, most=8, secrets=True) == ""


def test_a_secret_that_is_not_asked_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nodes take anybody's proof, the campaign finds strangers inside."""
    monkeypatch.setattr("iridium.cluster.secret.Secrets.proven", lambda self, mac, prover, exchange: self)
    assert "stranger1" in simulate.run(1, most=4, secrets=True)


def test_a_change_of_secrets_that_costs_links_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nodes accept only the secret that they use, a change node by node is found to cost links."""
    proven = Secrets.proven

    def first_only(self: Secrets, mac: str, prover: Prover, exchange: Exchange) -> Secrets | None:
        return proven(Secrets(self.reveal()[:1]), mac, prover, exchange)

    monkeypatch.setattr(Secrets, "proven", first_only)
    told = (simulate.live(seed, most=6, secrets=True)[1] for seed in range(30))
    assert any("in an orderly change" in str(problem) for problem in told)


def test_a_member_with_a_wrong_secret_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a node that was a member gets in with whatever secret, the campaign finds it linked."""
    proven = Secrets.proven

    def anybody(self: Secrets, mac: str, prover: Prover, exchange: Exchange) -> Secrets | None:
        return proven(self, mac, prover, exchange) or self

    monkeypatch.setattr(Secrets, "proven", anybody)
    monkeypatch.setattr(simulate.Story, "stranger", lambda story: None)
    told = (simulate.live(seed, most=6, secrets=True)[1] for seed in range(30))
    assert any("has a wrong secret and is linked" in str(problem) for problem in told)


def test_a_seed_is_one_trace_under_any_hash_seed() -> None:
    """Two processes with different string hashes live the same story, to the last link."""

    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        root = Path(__file__).parents[1]
        return subprocess.check_output([sys.executable, "-c", TRACE], env=environment, cwd=root, text=True)

    assert trace("1") == trace("2") != ""


def test_a_broken_rule_is_told_with_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that fails prints how to repeat it and what happened: the campaign can fail at all."""
    monkeypatch.setattr("iridium.cluster.dialling.Dialler.want", lambda self, peer: None)
    monkeypatch.setattr("iridium.cluster.dialling.Dialler.expect", lambda self, peer: None)
    seed, told = next((seed, told) for seed in range(10) if (told := simulate.run(seed, most=5)))
    found = re.search(
        r"again with: python -m tests.simulate --runs 1 --seed (\d+) --nodes 5 --faults (\d+)\n", told
    )
    assert found is not None, told
    assert int(found[1]) == seed
    assert "no more faults" in told
    # The command repeats the story, which is as short as one that fails can be.
    faults = int(found[2])
    assert simulate.run(seed, most=5, faults=faults).splitlines()[1:] == told.splitlines()[1:]
    assert all(simulate.live(seed, 5, fewer)[1] is None for fewer in range(faults))


@pytest.mark.parametrize("bug", [RuntimeError("dictionary changed size"), OptionError("no"), RecursionError()])
def test_whatever_breaks_is_told(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    """No kind of error ends the campaign without the command that repeats it."""

    def fail(self: object, link: object, message: object) -> None:
        raise bug

    monkeypatch.setattr("iridium.cluster.membership.Membership._talk", fail)
    told = simulate.run(1, most=3)
    assert "again with: python -m tests.simulate --runs 1 --seed 1 --nodes 3 --faults" in told
    assert type(bug).__name__ in told


def test_a_second_link_is_noticed() -> None:
    """A node that holds two ready links to one peer breaks the story at once."""
    story = simulate.Story(1, most=3)
    assert story.network.run_until(lambda: all(len(n.linked()) == 2 for n in story.network.nodes), 30.0)
    [node, other, _] = story.network.nodes
    story.watch()
    [first] = [link for link in node.pipes if link.owner.id == other.me.id]
    second = Link(first.role, first.host, 0.0, node.output, "second")
    second.state, second.owner = State.OPEN, first.owner
    node.pipes[second] = node.pipes[first]
    with pytest.raises(simulate.Broken, match="second ready link"):
        story.watch()


def test_a_verdict_that_never_ends_is_noticed() -> None:
    """A node that is held to be down, while a member that the observer trusts is linked to it, is told of."""
    story = simulate.Story(1, most=3)
    network = story.network
    assert network.run_until(lambda: all(len(n.linked()) == 2 for n in network.nodes), 30.0)
    [observer, subject, _] = network.nodes
    network.block(observer, subject)
    network.block(subject, observer)
    peer = observer.machine.table.peers[subject.me.id]
    peer.alive = "down"
    story.watch()
    network.now += simulate.SETTLE + 1
    with pytest.raises(simulate.Broken, match="to be down"):
        story.watch()


def pair(network: Network) -> list[SimulatedNode]:
    """Two nodes that are linked."""
    nodes = [network.node("a"), network.node("b")]
    network.join(nodes[1], nodes[0])
    assert network.run_until(lambda: nodes[0].linked() == ["b"], 20.0)
    return nodes


def test_loss_delays_and_does_not_reorder() -> None:
    """On a lossy network everything that arrives arrives in order; lost segments come late."""
    network = Network(1)
    [a, b] = pair(network)
    network.loss = 0.3
    answered: list[bool] = []
    for n in range(5):
        a.machine.questions.text(a.machine.table.find("b").open_link, str(n), answered.append)
        network.run(0.01)
    network.run_until(lambda: len(b.texts) == 5, 20.0)
    assert [text for _, text in b.texts] == ["0", "1", "2", "3", "4"]


def test_a_blocked_way_resets_the_senders_end() -> None:
    """After five vain tries the sender's kernel gives the connection up; the other end finds out by itself."""
    network = Network(2)
    [a, b] = pair(network)
    network.block(a, b)
    link = a.machine.table.find("b").open_link
    a.machine.questions.ping(link, lambda answered: None)
    assert network.run_until(lambda: link not in a.pipes, 10.0)
    network.unblock()
    assert network.run_until(lambda: a.linked() == ["b"] and b.linked() == ["a"], 60.0)


def test_a_dark_host_answers_nothing() -> None:
    """A host that is gone refuses nothing: dials to it run into their timeout."""
    network = Network(3)
    [a, b] = pair(network)
    network.run(2.0)
    network.crash(b, silently=True)
    network.run(1.0)
    assert a.states()["b"] == "up"
    assert network.run_until(lambda: a.states()["b"] == "down", 6.0)
    network.light(b)
    again = network.restart(b, elsewhere=True)
    assert again.me.incarnation > b.me.incarnation
    peer = a.machine.table.find("b")
    assert network.run_until(lambda: peer.record.address == again.address and a.linked() == ["b"], 5.0)
    assert again.linked() == ["a"]


def test_a_restart_without_data_is_another_node() -> None:
    """Amnesia gives a new id; the old one stays down."""
    network = Network(4)
    [a, b] = pair(network)
    network.crash(b)
    network.run(1.0)
    again = network.restart(b, amnesia=True)
    assert again.me.id != b.me.id
    assert again.machine.table.peers == {}
    network.join(again, a)
    network.run(8.0)
    table = a.machine.table
    assert (table.peers[b.me.id].state, table.alias_of(b.me.id)) == ("down", "")
    assert table.find("b").id == again.me.id
    assert a.linked() == ["b"]


def test_a_fifth_cut_off_and_back() -> None:
    """Eight of forty nodes are cut off and come back, under 10 % loss, to one mesh."""
    network = Network(5)
    nodes = [network.node(f"n{i}") for i in range(40)]
    for node in nodes[1:]:
        network.join(node, nodes[0])
    whole = simulate.Every(0.5, network, lambda: all(len(n.linked()) == len(nodes) - 1 for n in nodes))
    assert network.run_until(whole, 20.0)
    network.loss = 0.1
    for a in nodes[:8]:
        for b in nodes[8:]:
            network.block(a, b)
            network.block(b, a)
    network.run(12.0)
    assert nodes[20].states()["n3"] == "down"
    network.unblock()
    assert network.run_until(whole, 90.0)


def test_the_example_of_the_documentation() -> None:
    """The test that docs/testing.md shows is one, and passes."""
    text = (Path(__file__).parents[1] / "docs" / "testing.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(example, "docs/testing.md", "exec"), names)
    test = names["test_a_crash_is_noticed"]
    assert callable(test)
    test()
