"""What people see of processes of other nodes, on a simulated network: all of their output, or what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from iridium.assembler import assemble
from iridium.cluster import session
from iridium.errors import CommandError
from iridium.processes import Exit, Process, observing, views, wire
from iridium.processes.kept import Past
from iridium.processes.reach import Reach
from iridium.processes.types import NoSuchProcessError
from iridium.repl.commands.processes import WhyResult
from iridium.testing import SimulatedNode
from tests.local import switch
from tests.printing import lines, printed_lines
from tests.test_processes_simulated import WAITER, Cluster

COUNT = 20_000
"""Lines: several times as many as find room on the way to another node."""

LINES = lines(COUNT)

LATER = LINES.replace(".code\n", ".code\nrecv $7 $8 $9\n")
"""The same, once a message has come."""

PRINTED = printed_lines(COUNT)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runtime as plain Python, and little room between nodes."""
    switch("python", monkeypatch)
    monkeypatch.setattr(session, "MOST_WAITING", 32 * 1024)
    monkeypatch.setattr(session, "ROOM_AGAIN", 16 * 1024)
    monkeypatch.setattr(observing, "MOST_BEHIND", 4)
    return


def reach(node: SimulatedNode) -> Reach:
    """The processes of the cluster, as a node reaches them."""
    assert node.processes is not None
    assert node.courier is not None
    return Reach(node.processes, node.courier)


def result(cluster: Cluster, asking: Any) -> Any:
    """What comes of a Deferred; an error is raised."""
    got: list[Any] = []
    asking.addBoth(got.append)
    cluster.until(lambda: bool(got))
    if isinstance(getattr(got[0], "value", None), BaseException):
        got[0].raiseException()
    return got[0]


def spawn(cluster: Cluster, texts: list[str], source: str = LINES, **options: Any) -> Process:
    """Start a process on b for a."""
    process: Process = result(
        cluster,
        reach(cluster.nodes[0]).spawn(assemble(source), on="b", on_output=texts.append, title="lines", **options),
    )
    return process


def instructions(node: SimulatedNode) -> list[int]:
    """How far the processes of a node have come."""
    assert node.processes is not None
    return [info.instructions for info in node.processes.running()]


def test_a_process_of_another_node_waits_for_its_reader() -> None:
    """While whoever waits for it does not read, it waits with a full ring; once they read, all of it comes."""
    cluster = Cluster()
    texts: list[str] = []
    process = spawn(cluster, texts)
    process.pause()
    cluster.run(2.0)
    before = instructions(cluster.nodes[1])
    cluster.run(2.0)
    assert instructions(cluster.nodes[1]) == before != []
    assert len("".join(texts)) < len(PRINTED) / 2
    process.resume()
    cluster.until(lambda: process.exit is not None)
    assert "".join(texts) == PRINTED
    assert process.exit == Exit(0, "normal")


def test_a_process_waits_for_room_on_the_way() -> None:
    """Where the network takes no more, the process waits, and nothing of its output is lost."""
    cluster = Cluster()
    texts: list[str] = []
    process = spawn(cluster, texts)
    cluster.network.freeze(cluster.nodes[0])
    cluster.run(1.0)
    assert instructions(cluster.nodes[1]) != [], "it did not wait"
    cluster.network.thaw(cluster.nodes[0])
    cluster.until(lambda: process.exit is not None)
    assert "".join(texts) == PRINTED


@pytest.mark.parametrize("way", ["spawned", "observed"])
def test_who_does_not_wait_misses_and_is_told(way: str) -> None:
    """Nobody else makes the process wait: of what found no room it is told how much that was."""
    cluster = Cluster()
    a, b = cluster.nodes
    texts: list[str] = []
    missed: list[int] = []
    ends: list[Exit] = []
    if way == "spawned":
        process = spawn(cluster, texts, waits=False, on_missed=missed.append)
        process.when_done().addCallback(ends.append)
    else:
        waiter = cluster.spawn(b, LATER)
        pid = cluster.pid_on(a, b, waiter.pid)
        reach(a).observe(pid, texts.append, ends.append, missed.append)
        cluster.run()
        waiter.send(1)
    cluster.network.freeze(a)
    cluster.run(1.5)
    assert instructions(b) == [], "it waited for somebody who only watches"
    cluster.network.thaw(a)
    cluster.until(lambda: bool(ends))
    assert sum(missed) > 0
    assert len("".join(texts)) + sum(missed) == len(PRINTED)


def test_a_reader_who_leaves_holds_nobody() -> None:
    """The process goes on when its reader says so, and when the reader's node is gone."""
    for way in ("detach", "crash"):
        cluster = Cluster()
        process = spawn(cluster, [])
        process.pause()
        cluster.run()
        assert instructions(cluster.nodes[1]) != []
        if way == "detach":
            process.detach()
        else:
            cluster.network.crash(cluster.nodes[0])
        cluster.until(lambda cluster=cluster: instructions(cluster.nodes[1]) == [])


def test_an_observer_cannot_hold_a_process() -> None:
    """Only whoever spawned it can: what another observer asks for is not done."""
    cluster = Cluster()
    a, b = cluster.nodes
    process = cluster.spawn(b, WAITER)
    pid = cluster.pid_on(a, b, process.pid)
    observer = observing_of(cluster, pid)
    cluster.courier(a).ask.flow(cluster.courier(a).ask.neighbour("b"), observer, True, True)
    cluster.run()
    assert b.processes is not None
    assert not b.processes._held
    process.send(3)
    cluster.until(lambda: process.exit is not None)


def observing_of(cluster: Cluster, pid: int) -> Any:
    """An observer of a process of b, at a."""
    ask = cluster.courier(cluster.nodes[0]).ask
    reach(cluster.nodes[0]).observe(pid, lambda text: None, lambda how: None)
    [observer] = ask.neighbour("b").observed.values()
    return observer


def test_an_observation_that_is_begun_again() -> None:
    """A number that is used twice stands for the later observation; nothing of the first is left."""
    cluster = Cluster()
    a, b = cluster.nodes
    process = spawn(cluster, [])
    process.pause()
    cluster.run()
    assert b.processes is not None
    assert b.processes._held
    [n] = cluster.courier(b).neighbours[a.me.id].observing
    cluster.courier(b)._mail(a.me.id, wire.CONTROL, wire.encode(wire.Observe(n, 1)))
    cluster.until(lambda: instructions(b) == [])
    assert not b.processes._held


def test_many_that_print_do_not_fill_the_way() -> None:
    """When the way to a node is full, all that wait for its readers are held at once, not after a ring of each."""
    cluster = Cluster()
    a, b = cluster.nodes
    texts: list[list[str]] = [[] for _ in range(20)]
    begun = [spawn(cluster, mine, LATER) for mine in texts]
    cluster.network.freeze(a)
    cluster.run(0.1)
    assert b.processes is not None
    for info in b.processes.running():
        b.processes.send(info.pid, 1)
    cluster.run(1.0)
    assert len(cluster.courier(b).neighbours[a.me.id].backlog) < 10
    cluster.network.thaw(a)
    cluster.until(lambda: all(process.exit is not None for process in begun))
    assert ["".join(mine) for mine in texts] == [PRINTED] * 20


def test_the_past_of_another_node() -> None:
    """What is kept of a process of another node that has ended comes from there, or from where it was spawned."""
    cluster = Cluster()
    a, b = cluster.nodes
    process = spawn(cluster, [], ".data\nh: .asciiz 'hello'\n.code\nprts @h\nload $1 #3\nhltr $1\n")
    cluster.until(lambda: process.exit is not None)
    there = reach(a)
    assert result(cluster, there.past("1@b")) == Past(1, Exit(3, "exit 3"), "hello", node="b")
    assert result(cluster, there.past(str(process.pid))) == Past(1, Exit(3, "exit 3"), "hello", node="b")
    for what in ("9@b", "9", "name@b"):
        with pytest.raises(NoSuchProcessError):
            result(cluster, there.past(what))
    normal = cluster.spawn(b, ".code\nhlt\n")
    cluster.until(lambda: normal.exit is not None)
    told = result(cluster, there.why(f"{normal.pid}@b"))
    assert (told.how.text, [event.kind for event in told.events]) == (
        "normal",
        ["process-started", "process-ended"],
    )


CRASHING = ".data\nh: .asciiz 'hello'\n.code\nprts @h\nload $5 #77\nrecv $1 $2 $3\ndiv $1 $9 $1\n"


def crashing(cluster: Cluster) -> Process:
    """A process of b that a has started, that crashes at a message, and has another pid at a than at b."""
    a, _ = cluster.nodes
    for _ in range(3):
        cluster.spawn(a, WAITER)
    process = spawn(cluster, [], CRASHING)
    assert process.pid > 3
    return process


def test_both_pids_of_a_process_of_another_node() -> None:
    """Whoever starts a process on another node is told the pid that it has there, and can say that or their own:
    also once it has ended, and then everything is asked there.
    """
    cluster = Cluster()
    process = crashing(cluster)
    there = reach(cluster.nodes[0])
    assert there.label(process.pid) == "1@b"
    assert there.label(1) == "1"
    live = result(cluster, there.why("1@b"))
    assert WhyResult(live=live).text().startswith("process 1@b is waiting; ")
    assert result(cluster, there.why(str(process.pid))) == live
    with pytest.raises(NoSuchProcessError, match=f"did you mean 1@b, which is {process.pid} on this node"):
        result(cluster, there.find(f"{process.pid}@b"))
    cluster.nodes[1].processes.send(1, 1)
    cluster.until(lambda: process.exit is not None)
    assert there.label(process.pid) == "1@b"
    dead = result(cluster, there.why(str(process.pid)))
    assert (dead.node, dead.pid, dead.registers[5]) == ("b", 1, 77)
    assert [event.kind for event in dead.events] == ["process-crashed"]
    assert result(cluster, there.why("1@b")) == dead
    assert WhyResult(dead=dead).text().startswith("process 1@b ended: division-by-zero")
    for what in (f"{process.pid}@b", "900@b"):
        for ask in (there.why, there.past, there.find):
            with pytest.raises(NoSuchProcessError, match="did you mean 1@b" if what[0] != "9" else "!ps lists"):
                result(cluster, ask(what))


def test_a_process_whose_node_has_gone() -> None:
    """What is known of it here is told, and why no more; a node that was started again is not asked, since the pid
    is another's there.
    """
    cluster = Cluster()
    a, b = cluster.nodes
    process = crashing(cluster)
    there = reach(a)
    cluster.nodes[1].processes.send(1, 1)
    cluster.until(lambda: process.exit is not None)
    cluster.network.crash(b)
    cluster.until(lambda: not cluster.courier(a).up())
    gone = result(cluster, there.why(str(process.pid)))
    assert (gone.pid, gone.node, gone.output, gone.how.reason) == (1, "b", "hello", -7)
    text = WhyResult(past=gone).text()
    assert "process 1@b ended: division-by-zero" in text
    assert "\nno more is known of it: b is not up\n" in text
    with pytest.raises(CommandError, match="b is not up"):
        result(cluster, there.why("1@b"))
    cluster.network.restart(b)
    cluster.until(lambda: bool(cluster.courier(a).up()))
    again = result(cluster, there.why(str(process.pid)))
    assert (again.how, again.note) == (gone.how, "no more is known of it: b was started again since")


def test_who_did_not_answer_and_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of the cluster says how many processes of a node are not in it, and which node did not answer."""
    monkeypatch.setattr(views, "MOST_LISTED", 3)
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    for _ in range(5):
        cluster.spawn(b, WAITER)
    cluster.network.freeze(c)
    listing = result(cluster, cluster.courier(a).ask.list_all())
    assert ([row.node for row in listing.processes], listing.more, listing.silent) == (["b"] * 3, {"b": 2}, ["c"])


def test_the_beginning_of_the_own_id() -> None:
    """It names this node like that of any other; too little of it, or that of several, names nobody."""
    cluster = Cluster()
    a, b = cluster.nodes
    ask = cluster.courier(a).ask
    assert ask.neighbour(a.me.id[:4]) is None
    assert ask.neighbour(b.me.id[:4]).id == b.me.id
    with pytest.raises(CommandError):
        ask.neighbour(a.me.id[:3])
    table = a.machine.table
    table.peers[a.me.id[:8] + "x"] = table.peers[b.me.id]
    with pytest.raises(CommandError, match="2 ids start with"):
        ask.neighbour(a.me.id[:8])
    assert ask.neighbour(a.me.id) is None


def test_what_was_exchanged() -> None:
    """Payloads, refused messages and lost ones are counted for each node."""
    cluster = Cluster()
    a, b = cluster.nodes
    result(cluster, cluster.courier(a).ask.list_all())
    [exchange] = cluster.courier(a).exchanges()
    assert (exchange.node, exchange.refused, exchange.unknown) == (b.me.alias, 0, 0)
    assert exchange.sent > 0
    assert exchange.received > 0
