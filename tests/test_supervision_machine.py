"""The supervision machine on simulated nodes: placement, failover, restarts, partitions, what never happens."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random

import pytest

from iridium.supervision.types import EACH, MOST_CLAIMS, ExitReason, Program
from tests.supervised import CRASH, Process, SupervisedCluster

IMAGE = "ab" * 32


def program(name: str = "p", **what: object) -> Program:
    """A program of an application."""
    return Program(name, IMAGE, **what)  # type: ignore[arg-type]


def cluster_of(count: int, seed: int = 1, **what: float) -> SupervisedCluster:
    """So many nodes that know each other."""
    cluster = SupervisedCluster(seed, **what)
    for at in range(count):
        cluster.node(f"n{at}")
    cluster.run(3.0)
    return cluster


def check(cluster: SupervisedCluster) -> None:
    """Every replica that is to run has exactly one process; nothing else has any; all know the same."""
    running = cluster.running()
    wanted = cluster.wanted()
    assert sorted(running) == sorted(wanted)
    assert {key: nodes for key, nodes in running.items() if len(nodes) != 1} == {}
    assert len({node.machine.records.hash() for node in cluster.alive()}) == 1
    assert len({node.machine.gossip._hash() for node in cluster.alive()}) == 1


def test_deploy_spreads_replicas() -> None:
    """Each replica runs exactly once, at once, and no node has more than its share."""
    cluster = cluster_of(4)
    cluster.nodes["n2"].machine.deploy("app", (program(replicas=10), program("q", replicas=EACH)))
    cluster.run(0.3)
    check(cluster)
    load = Counter(nodes[0] for key, nodes in cluster.running().items() if key.program == "p")
    assert max(load.values()) <= 3
    assert [
        nodes for key, nodes in cluster.running().items() if key.program == "q" and nodes != [key.replica]
    ] == []


def test_a_stop_ends_everything_everywhere() -> None:
    """What is stopped runs nowhere, and stays stopped for a node that was away."""
    cluster = cluster_of(3)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=6),))
    cluster.run(0.5)
    cluster.crash("n1")
    cluster.run(1.0)
    cluster.nodes["n2"].machine.stop("app")
    cluster.run(0.5)
    assert cluster.running() == {}
    cluster.restart("n1")
    cluster.run(10.0)
    assert cluster.running() == {}
    assert [view.stopped for view in cluster.nodes["n1"].machine.view()] == [True]


def test_failover_within_a_second() -> None:
    """The replicas of a dead node run again within a second of its death being known; the others do not move."""
    cluster = cluster_of(5)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=40),))
    cluster.run(1.0)
    before = cluster.running()
    cluster.crash("n3")
    cluster.run(0.05)  # it is known
    cluster.run(1.0)
    check(cluster)
    after = cluster.running()
    assert {key: after[key] for key, nodes in before.items() if nodes != ["n3"]} == {
        key: nodes for key, nodes in before.items() if nodes != ["n3"]
    }


def test_a_joiner_gets_nothing_until_rebalance() -> None:
    """Healthy replicas stay where they are when a node joins; `rebalance` moves some, and each runs once."""
    cluster = cluster_of(2)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=9),))
    cluster.run(1.0)
    before = cluster.running()
    cluster.node("n2")
    cluster.run(5.0)
    assert cluster.running() == before
    record = cluster.nodes["n1"].machine.records.get("app")
    assert record is not None
    cluster.nodes["n1"].machine.rebalance(record)
    cluster.run(1.0)
    check(cluster)
    assert Counter(nodes[0] for nodes in cluster.running().values()) == {"n0": 3, "n1": 3, "n2": 3}


def test_partition_and_healing() -> None:
    """Both halves run everything; after healing each replica runs once, and it is the older that survives."""
    cluster = cluster_of(4)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=8),))
    cluster.run(1.0)
    before = cluster.running()
    cluster.part(["n0", "n1"], ["n2", "n3"])
    cluster.run(8.0)
    assert all(len(nodes) == 2 for nodes in cluster.running().values())
    cluster.heal()
    cluster.run(1.0)
    check(cluster)
    assert cluster.running() == before


def test_a_stop_in_one_half_reaches_the_other() -> None:
    """Of what was said in two halves the later counts, whatever it was."""
    cluster = cluster_of(4)
    cluster.nodes["n0"].machine.deploy("a", (program(replicas=4),))
    cluster.nodes["n0"].machine.deploy("b", (program(replicas=4),))
    cluster.run(1.0)
    cluster.part(["n0", "n1"], ["n2", "n3"])
    cluster.run(8.0)
    cluster.nodes["n0"].machine.stop("a")
    cluster.nodes["n0"].machine.stop("b")
    cluster.run(1.0)
    cluster.nodes["n2"].machine.deploy("b", (program(replicas=2),))
    cluster.run(1.0)
    cluster.heal()
    cluster.run(2.0)
    check(cluster)
    assert {key.application for key in cluster.running()} == {"b"}
    assert len(cluster.running()) == 2


def test_whole_cluster_restarts() -> None:
    """Applications come back from disk when every node was gone, and the nodes share them again."""
    cluster = cluster_of(3)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=6),))
    cluster.run(1.0)
    for name in ("n0", "n1", "n2"):
        cluster.crash(name)
    cluster.run(10.0)
    for name in ("n0", "n1", "n2"):
        cluster.restart(name)
        cluster.run(1.0)
    cluster.run(8.0)
    check(cluster)
    assert Counter(nodes[0] for nodes in cluster.running().values()) == {"n0": 2, "n1": 2, "n2": 2}


def test_restart_that_nobody_noticed() -> None:
    """A node that is back before anyone saw it go says that it runs nothing, and its replicas run again."""
    cluster = cluster_of(3)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=6),))
    cluster.run(1.0)
    cluster.restart("n1", noticed=0.0)
    cluster.run(3.0)
    check(cluster)


def test_policies() -> None:
    """Permanent always runs again, transient after an abnormal end only, temporary never; what ended stays so."""
    cluster = cluster_of(3)
    ends = {"always": 0, "crashed": 1, "done": 0, "once": 1}
    cluster.lifetime = lambda process: (
        (0.5, ExitReason(ends[process.key.program], "so")) if cluster.now < 5 else None
    )
    programs = (
        program("always", restart="permanent"),
        program("crashed", restart="transient"),
        program("done", restart="transient"),
        program("once", restart="temporary"),
    )
    cluster.nodes["n0"].machine.deploy("app", programs)
    cluster.run(8.0)
    assert {key.program for key in cluster.running()} == {"always", "crashed"}
    for name in ("n0", "n1", "n2"):
        cluster.crash(name)
        cluster.run(2.0)
        cluster.restart(name)
        cluster.run(8.0)
    check(cluster)
    assert {key.program for key in cluster.running()} == {"always", "crashed"}
    [view] = cluster.nodes["n1"].machine.view()
    assert {row.program: row.state for row in view.replicas if row.state == "ended"} == {
        "done": "ended",
        "once": "ended",
    }


def test_intensity() -> None:
    """A replica that ends again and again is given up with a reason that every node shows; deploying helps."""
    cluster = cluster_of(3)
    cluster.lifetime = lambda process: (0.01, CRASH)
    cluster.nodes["n0"].machine.deploy("app", (program(restarts=3, period=60.0, jitter=0.0),))
    cluster.run(20.0)
    assert sum(len(node.starts) for node in cluster.nodes.values()) == 4
    for node in cluster.nodes.values():
        [row] = node.machine.view()[0].replicas
        assert row.state == "given-up"
        assert row.detail == "more than 3 restarts in 60 s; the last end: it crashed"
    [events] = [
        [e for e in node.log if e[1] == "replica-given-up"] for node in cluster.nodes.values() if node.starts
    ]
    assert len(events) == 1
    cluster.lifetime = lambda process: None
    cluster.nodes["n1"].machine.deploy("app", (program(restarts=3),))
    cluster.run(1.0)
    check(cluster)


def test_backoff() -> None:
    """Pauses grow by the factor up to the most, and start again after a long run."""
    cluster = cluster_of(1)
    node = cluster.nodes["n0"]
    long = iter([0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0])
    cluster.lifetime = lambda process: (next(long), CRASH)
    node.machine.deploy("app", (program(restarts=6, first=0.5, factor=2.0, most=4.0, jitter=0.0),))
    cluster.run(60.0)
    times = [when for when, _ in node.starts]
    pauses = [round(b - a, 1) for a, b in itertools.pairwise(times)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 5.5]


def test_a_node_that_stops_or_leaves() -> None:
    """A node that stops says so: its replicas run elsewhere at once, long before anyone could find it dead."""
    cluster = cluster_of(3)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=6),))
    cluster.run(1.0)
    cluster.nodes["n0"].machine.shut()
    cluster.run(0.5)
    running = cluster.running()
    assert len(running) == 6
    assert all(nodes[0] != "n0" and len(nodes) == 1 for nodes in running.values())


def test_parted_node_runs_nothing() -> None:
    """A node that leaves its cluster knows nothing of its applications any more."""
    cluster = cluster_of(2)
    cluster.nodes["n0"].machine.deploy("app", (program(replicas=4),))
    cluster.run(1.0)
    cluster.part(["n0"], ["n1"])
    cluster.nodes["n1"].machine.part()
    cluster.run(10.0)
    assert {nodes[0] for nodes in cluster.running().values()} == {"n0"}
    assert cluster.nodes["n1"].machine.view() == []


ACTIONS = [
    "deploy", "deploy", "stop", "crash", "crash", "restart", "restart", "part", "heal", "heal", "balance", "join",
]  # fmt: skip


def story(seed: int, faults: int = 25) -> SupervisedCluster:
    """One seed: nodes, applications, and what happens to them; then all faults end."""
    chance = Random(f"supervision {seed}")
    cluster = SupervisedCluster(seed, slowest=chance.choice([0.001, 0.02, 0.2]), verdict=chance.choice([0.2, 5.0]))
    names = [f"n{at}" for at in range(chance.choice([2, 3, 5, 8]))]
    for name in names:
        cluster.node(name, skew=chance.choice([0.0, 0.0, -3.0, 5.0]))
    cluster.run(2.0)

    def lifetime(process: Process) -> tuple[float, ExitReason] | None:
        return (
            (chance.expovariate(0.5), ExitReason(chance.choice([0, 1]), "so")) if chance.random() < 0.3 else None
        )

    cluster.lifetime = lifetime
    for _ in range(faults):
        nodes = cluster.alive()
        node = chance.choice(nodes)
        action = chance.choice(ACTIONS)
        app = f"app{chance.randrange(3)}"
        known = node.machine.records.get(app)
        gone = [name for name, other in cluster.nodes.items() if not other.alive]
        if action == "deploy":
            restart = chance.choice(["permanent", "permanent", "transient", "temporary"])
            programs = (program(replicas=chance.choice([EACH, 1, 3, 12]), restart=restart, restarts=1000),)
            node.machine.deploy(app, programs)
        elif action == "stop" and known:
            node.machine.stop(app)
        elif action == "balance" and known:
            node.machine.rebalance(known)
        elif action == "crash" and len(nodes) > 1:
            cluster.crash(node.id, silently=chance.random() < 0.5)
        elif action == "restart":
            cluster.restart(chance.choice(gone or list(cluster.nodes)), forget=chance.random() < 0.2)
        elif action == "join" and len(cluster.nodes) < 12:
            cluster.node(f"n{len(cluster.nodes)}")
        elif action == "part":
            ids = list(cluster.nodes)
            chance.shuffle(ids)
            at = chance.randrange(len(ids))
            cluster.part(ids[:at], ids[at:])
        elif action == "heal":
            cluster.heal()
        cluster.run(chance.choice([0.05, 0.5, 3.0, 10.0]))
    cluster.lifetime = lambda process: None
    cluster.heal()
    return cluster


@pytest.mark.parametrize("seed", range(60))
def test_stories(seed: int) -> None:
    """Whatever happened: soon after the last fault every replica runs exactly once, and nothing else does."""
    cluster = story(seed)
    cluster.run(40.0)  # the last process that was to end may have ended after the longest pause
    check(cluster)
    for node in cluster.alive():
        assert len(node.machine.replicas) <= MOST_CLAIMS
    sent = cluster.sent
    cluster.run(20.0)
    quiet = (cluster.sent - sent) / 20 / len(cluster.alive())
    assert quiet < 3.1, "a quiet cluster compares hashes, and says no more"


def test_nothing_is_said_where_nothing_runs() -> None:
    """Members that know of no application compare nothing: a quiet cluster is quiet."""
    cluster = cluster_of(5)
    cluster.run(10.0)
    sent = cluster.sent
    cluster.run(60.0)
    assert cluster.sent == sent
