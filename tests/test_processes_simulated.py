"""What processes of different nodes promise each other, on a simulated network under a seed."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.assembler import assemble
from iridium.errors import CommandError
from iridium.processes import End, Exit, Mailbox, Process, neighbour, outbound, wire
from iridium.processes.answering import MOST_WANTED
from iridium.processes.kept import Observer
from iridium.testing import Network, SimulatedNode, virtual_time
from iridium.vm import Program
from iridium.vm.runtime import remote
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.inbound import KEPT, MOST_PROXIES
from iridium.vm.runtime.layout import (
    KILL_PROCESS,
    KILLED,
    LINK_TO,
    NO_PROCESS,
    NODE_DOWN,
    SLOT_BITS,
    WORD_MESSAGE,
)
from iridium.vm.runtime.mailbox import MOST_MESSAGES
from tests.local import switch

WAITER = ".code\nrecv $1 $2 $3\nhltr $1\n"

COUNTING = """.code
again: send $1 $2
       djmpn @over
       inc $2
       lt $2 $3
       djmpe @again
over:  hltr $2
"""
"""Sends $2, $2 + 1, ... up to $3 to $1; ends with how many were taken."""

LETTER = struct.Struct("<4I")


class Cluster:
    """Nodes with processes that are all linked.

    Args:
        seed: decides everything.
        count: of nodes, called a, b, c and so on.
    """

    def __init__(self, seed: int = 1, count: int = 2, **network: Any) -> None:
        self.network = Network(seed, **network)
        self.nodes = [self.network.node("abcdef"[n], processes=True) for n in range(count)]
        with virtual_time(self.network):
            for node in self.nodes[1:]:
                self.network.join(node, self.nodes[0])
            assert self.network.run_until(
                lambda: all(len(self.courier(node).up()) == count - 1 for node in self.nodes), 10.0
            )

    def courier(self, node: SimulatedNode) -> Any:
        """Its traffic."""
        return node.courier

    def run(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        with virtual_time(self.network):
            self.network.run(seconds)

    def until(self, condition: Any, limit: float = 60.0) -> None:
        """Let time pass until something holds."""
        with virtual_time(self.network):
            assert self.network.run_until(condition, limit), "it does not happen"

    def spawn(self, node: SimulatedNode, source: str, registers: dict[int, int] | None = None) -> Process:
        """Start a process."""
        got: list[Any] = []
        assert node.processes is not None
        node.processes.spawn(Program(assemble(source)), registers=registers).addCallback(got.append)
        return got[0]

    def box(self, node: SimulatedNode) -> Mailbox:
        """A mailbox for the test."""
        assert node.processes is not None
        return node.processes.mailbox()

    def pid_on(self, node: SimulatedNode, home: SimulatedNode, pid: int) -> int:
        """The pid that a process has on another node, found by a name."""
        assert home.processes is not None
        home.processes.names.register(f"p{pid}", pid)
        got: list[int] = []
        self.courier(node).ask.whereis(f"p{pid}", home.me.alias).addCallback(got.append)
        self.until(lambda: bool(got))
        assert got[0]
        return got[0]

    def messages(self, node: SimulatedNode, box: Mailbox) -> list[Any]:
        """All that is in a mailbox."""
        assert node.processes is not None
        return node.processes.take_messages(box._record, 1_000_000)

    def values(self, node: SimulatedNode, box: Mailbox) -> list[Any]:
        """What was sent to it."""
        return [m.value for m in self.messages(node, box) if not isinstance(m, End)]

    def ends(self, node: SimulatedNode, box: Mailbox) -> list[tuple[int, int]]:
        """The notices in it."""
        return [(m.pid, m.reason) for m in self.messages(node, box) if isinstance(m, End)]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runtime as plain Python, which has the network's time."""
    switch("python", monkeypatch)
    return


def reason(process: Process) -> int | None:
    """How a process ended."""
    return None if process.exit is None else process.exit.reason


@pytest.mark.parametrize("seed", range(5))
def test_order_over_links_that_are_cut(seed: int) -> None:
    """Per pair all arrives, in order and once, although the link is cut and made again while it is under way."""
    cluster = Cluster(seed, slowest=0.05)
    a, b = cluster.nodes
    box = cluster.box(b)
    there = cluster.pid_on(a, b, box.pid)
    senders = [cluster.spawn(a, COUNTING, {1: there, 3: 600}) for _ in range(3)]
    got: dict[int, list[Any]] = {}
    for number in range(60):
        cluster.run(0.05)
        if number % 20 == 7:
            cluster.network.sever(a, b)
        for message in cluster.messages(b, box):
            got.setdefault(message.sender, []).append(message.value)
    cluster.run(20.0)
    for message in cluster.messages(b, box):
        got.setdefault(message.sender, []).append(message.value)
    assert [reason(process) for process in senders] == [600] * 3
    assert list(got.values()) == [list(range(600))] * 3
    assert cluster.courier(a).lost == 0


@pytest.mark.parametrize(
    ("source", "word", "expected"),
    [(WAITER, 0, 0), (WAITER, 9, 9), (".code\nrecv $1 $2 $3\ndiv $1 $0 $2\n", 1, -7), (WAITER, None, KILLED)],
)
def test_a_monitor_fires_once(source: str, word: int | None, expected: int) -> None:
    """The end of a process of another node is told once, with its reason: stop code, fault, kill."""
    cluster = Cluster()
    a, b = cluster.nodes
    process, box = cluster.spawn(b, source), cluster.box(a)
    there = cluster.pid_on(a, b, process.pid)
    assert box.monitor(there)
    assert box.monitor(there)
    if word is None:
        assert a.processes is not None
        assert a.processes.kill(there)
    else:
        assert box.send(there, word)
    cluster.run()
    assert cluster.ends(a, box) == [(there, expected)]
    assert not box.send(there, 1)
    assert box.monitor(there)
    assert cluster.ends(a, box) == [(there, NO_PROCESS)]


@pytest.mark.parametrize("silently", [False, True])
def test_a_node_that_goes_down(silently: bool) -> None:
    """The end of a node is the end of all its processes: monitors fire once, links end theirs, once."""
    cluster = Cluster(count=3)
    a, b, _ = cluster.nodes
    process, box = cluster.spawn(b, WAITER), cluster.box(a)
    there = cluster.pid_on(a, b, process.pid)
    box.monitor(there)
    linked = cluster.spawn(a, ".code\nlink $9\nrecv $1 $2 $3\n", {9: there})
    cluster.run()
    cluster.network.crash(b, silently=silently)
    cluster.run(20.0)
    assert cluster.ends(a, box) == [(there, NODE_DOWN)]
    assert reason(linked) == NODE_DOWN
    assert not box.send(there, 1)


def test_links_hold_from_both_sides() -> None:
    """A link to a process of another node ends either when the other ends abnormally, or its node goes."""
    for word in (5, None):
        cluster = Cluster()
        a, b = cluster.nodes
        target = cluster.spawn(b, WAITER)
        there = cluster.pid_on(a, b, target.pid)
        linker = cluster.spawn(a, ".code\nlink $9\nrecv $1 $2 $3\nhltr $1\n", {9: there})
        cluster.run()
        if word is None:
            cluster.network.crash(a)
        else:
            linker.send(word)
        cluster.run(20.0)
        assert reason(target) == (NODE_DOWN if word is None else word)


def test_links_propagate_through_nodes() -> None:
    """A chain of links over three nodes and back ends as one."""
    cluster = Cluster(count=3)
    chain = [(cluster.nodes[0], cluster.spawn(cluster.nodes[0], WAITER))]
    for number in range(1, 12):
        node = cluster.nodes[number % 3]
        before, last = chain[-1]
        there = cluster.pid_on(node, before, last.pid)
        chain.append((node, cluster.spawn(node, ".code\nlink $9\nrecv $1 $2 $3\nhltr $1\n", {9: there})))
        cluster.run(0.1)
    chain[5][1].send(3)
    cluster.run()
    assert [reason(process) for _, process in chain] == [3] * 12


def test_beyond_the_bound_the_sender_is_told() -> None:
    """What a node that does not read is sent stays here, bounded; then senders are told, and nobody else is."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    boxes = cluster.box(b), cluster.box(c)
    slow, quick = cluster.pid_on(a, b, boxes[0].pid), cluster.pid_on(a, c, boxes[1].pid)
    cluster.network.freeze(b)
    taken = 0
    box = cluster.box(a)
    data = bytes(15_000)
    while box.send(slow, data):
        taken += 1
        assert taken < 10_000
    assert 60 <= taken <= 1024 * 1024 // 15_000
    assert box.send(quick, 7)
    cluster.run(0.5)
    assert cluster.values(c, boxes[1]) == [7]
    cluster.network.thaw(b)
    cluster.run(2.0)
    assert cluster.values(b, boxes[0]) == [data] * taken
    assert box.send(slow, 8)


def test_a_full_mailbox_of_another_node_drops_what_comes() -> None:
    """The sender, whose node took every word, is not told; what fits comes in order, the rest is counted there,
    and nobody else notices: not another process of that node, nor whoever sends once there is room again.
    """
    cluster = Cluster()
    a, b = cluster.nodes
    busy, other = cluster.spawn(b, ".code\nload $1 #600000\nsleep $1\nhlt\n"), cluster.box(b)
    there, beside = cluster.pid_on(a, b, busy.pid), cluster.pid_on(a, b, other.pid)
    count = MOST_MESSAGES + 1000
    sender = cluster.spawn(a, COUNTING, {1: there, 3: count})
    cluster.until(lambda: sender.exit is not None)
    assert reason(sender) == count
    assert cluster.box(a).send(beside, 5)
    cluster.run()
    assert a.processes is not None
    assert b.processes is not None
    here = b.processes.table.shared
    assert (here.overruns, here.dead_letters, a.processes.table.shared.overruns) == (1000, 0, 0)
    assert cluster.values(b, other) == [5]
    record = b.processes.table.find(busy.pid)
    assert record is not None
    assert [m.value for m in b.processes.take_messages(record, count)] == list(range(MOST_MESSAGES))
    assert cluster.box(a).send(there, 7)
    cluster.run()
    assert [m.value for m in b.processes.take_messages(record, count)] == [7]
    assert here.overruns == 1000


def test_a_restarted_node_gets_nothing_of_its_former_life() -> None:
    """A pid of a node's former life reaches nobody, though the next life has a process in the same slot."""
    cluster = Cluster()
    a, b = cluster.nodes
    old, box = cluster.spawn(b, WAITER), cluster.box(a)
    there = cluster.pid_on(a, b, old.pid)
    box.monitor(there)
    cluster.network.crash(b)
    assert box.send(there, 5)  # nobody knows yet
    again = cluster.network.restart(b)
    new = cluster.spawn(again, WAITER)
    assert new.pid == old.pid
    cluster.until(lambda: cluster.courier(again).up() and cluster.courier(a).up())
    cluster.run(5.0)
    assert new.exit is None
    assert not box.send(there, 6)
    assert cluster.ends(a, box) == [(there, NODE_DOWN)]
    fresh = cluster.pid_on(a, again, new.pid)
    assert fresh != there
    assert box.send(fresh, 7)
    cluster.run()
    assert reason(new) == 7


def test_names_of_other_nodes() -> None:
    """`name@node` finds the process with that name there, once it has it; an unknown name or node is nobody."""
    cluster = Cluster()
    a, b = cluster.nodes
    source = """.data
n: .asciiz 'server'
.code
  load $1 @n
  register $1
  recv $1 $2 $3
  send $2 $1
  hlt
"""
    finder = """.data
n: .asciiz 'server@b'
x: .asciiz 'nobody@b'
y: .asciiz 'server@nowhere'
.code
  load $1 @x
  whereis $1 $2
  djmpe @bad
  load $1 @y
  whereis $1 $2
  djmpe @bad
  load $1 @n
  whereis $1 $2
  djmpn @bad
  load $3 #55
  send $2 $3
  recv $1 $2 $3
  hltr $1
bad: load $1 #1
  hltr $1
"""
    cluster.spawn(b, source)
    cluster.run(0.1)
    process = cluster.spawn(a, finder)
    cluster.run()
    assert reason(process) == 55


def test_pids_in_messages() -> None:
    """SENDP of a process of this node, of the receiver's and of a third: each is somebody to write to."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    boxes = [cluster.box(node) for node in cluster.nodes]
    to_b = cluster.pid_on(a, b, boxes[1].pid)
    to_c = cluster.pid_on(a, c, boxes[2].pid)
    for pid in (boxes[0].pid, to_b, to_c):
        assert boxes[0].send(to_b, pid, is_pid=True)
    cluster.run()
    pids = [message.value for message in cluster.messages(b, boxes[1])]
    assert pids[1] == boxes[1].pid
    for number, pid in enumerate(pids):
        assert boxes[1].send(pid, number)
        assert boxes[1].monitor(pid) is (number != 1)
    cluster.run()
    got = [cluster.values(node, box) for node, box in zip(cluster.nodes, boxes, strict=True)]
    assert got == [[0], [1], [2]]
    boxes[0].close()
    boxes[2].close()
    cluster.run()
    assert sorted(cluster.ends(b, boxes[1])) == sorted([(pids[0], 0), (pids[2], 0)])


def test_pids_of_the_dead_in_messages() -> None:
    """A pid of a process that has ended arrives as nobody, or as somebody whose end is told: never as a third."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    boxes = [cluster.box(node) for node in cluster.nodes]
    to_b = cluster.pid_on(a, b, boxes[1].pid)
    dead = cluster.spawn(a, ".code\nhlt\n")
    remote = cluster.spawn(c, WAITER)
    to_c = cluster.pid_on(a, c, remote.pid)
    cluster.run(0.1)
    remote.send(1)  # its end is under way when it is told of
    assert boxes[0].send(to_b, dead.pid, is_pid=True)
    assert boxes[0].send(to_b, to_c, is_pid=True)
    cluster.run()
    first, second = [message.value for message in cluster.messages(b, boxes[1])]
    assert first == 0
    assert not boxes[1].send(second, 1)
    assert cluster.courier(b).neighbours[c.me.id].peer.proxy_count == 0


def test_an_old_pid_from_a_third_node_ends_nobody() -> None:
    """A node that tells of a pid of long ago does not end who has its slot now."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    process, box = cluster.spawn(b, WAITER), cluster.box(a)
    there = cluster.pid_on(a, b, process.pid)
    box.monitor(there)
    stale = (process.pid + (2040 << SLOT_BITS)) & 0x7FFFFFFF
    cluster.courier(a)._mail(c.me.id, wire.CONTROL, wire.encode(wire.Introduce(box.pid, 0, b.me.id, stale)))
    cluster.run()
    assert cluster.values(a, box) == [0]
    assert box.send(there, 4)
    cluster.run()
    assert reason(process) == 4


SPAWNING = """.data
n: .asciiz '{}'
.code
      load $1 @child
      load $8 #77
      {}
      spawnon $1 $2 $3
      djmpn @no
      monitor $3
      send $3 $8
      recv $4 $5 $6
      hltr $4
no:   load $1 #1
      sub $0 $1 $1
      hltr $1
child: recv $4 $5 $6
      nodes $9
      add $8 $9 $8
      hltr $8
"""


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("b", "load $2 @n", 79),
        ("a", "load $2 @n", 79),
        ("", "load $2 #-1", 79),
        ("", "load $2 #-2", 79),
        ("", "load $2 #-3", -1),
        ("nowhere", "load $2 @n", -1),
        ("", "load $2 #-2147483648", -1),
    ],
)
def test_spawn_on_a_node(name: str, line: str, expected: int) -> None:
    """SPAWNON by name and by number: the new process has the registers; of an unknown node the flag tells."""
    cluster = Cluster()
    a, b = cluster.nodes
    process = cluster.spawn(a, SPAWNING.format(name or "x", line))
    cluster.run(2.0)
    assert reason(process) == expected
    assert a.processes is not None
    assert b.processes is not None
    assert (a.processes.table.alive, b.processes.table.alive) == (0, 0)


def test_an_image_goes_once() -> None:
    """However many processes of an image are wanted, its bytes go once; and their requests are all answered."""
    cluster = Cluster()
    a, _ = cluster.nodes
    sent: list[int] = []
    send = a.post.send

    def count(id: str, kind: int, data: bytes, stream: int = 0) -> bool:
        sent.append(kind)
        return send(id, kind, data, stream)

    a.post.send = count  # type: ignore[method-assign]
    first = [cluster.spawn(a, SPAWNING.format("b", "load $2 @n")) for _ in range(5)]
    cluster.run()
    again = cluster.spawn(a, SPAWNING.format("b", "load $2 @n"))
    cluster.run()
    assert [reason(process) for process in [*first, again]] == [79] * 6
    assert sent.count(wire.IMAGE) == 1


def test_an_image_that_is_not_what_its_hash_says() -> None:
    """A lying hash is refused and counted, whoever asked for it is told, and nothing of it runs."""
    cluster = Cluster()
    a, b = cluster.nodes
    got: list[Any] = []
    courier, neighbour = cluster.courier(a), cluster.courier(a).ask.neighbour("b")
    lie = hashlib.sha256(b"another").hexdigest()
    courier.images._kept[lie] = assemble(WAITER).to_bytes()
    courier.ask.spawn(neighbour, lie).addErrback(lambda failure: got.append(str(failure.value)))
    cluster.run()
    assert "has another" in got[0]
    assert cluster.courier(b).images.lies == 1
    nonsense = b"no image at all"
    hash = hashlib.sha256(nonsense).hexdigest()
    courier.images._kept[hash] = nonsense
    courier.ask.spawn(neighbour, hash).addErrback(lambda failure: got.append(str(failure.value)))
    courier.ask.spawn(neighbour, "f" * 64).addErrback(lambda failure: got.append(str(failure.value)))
    cluster.run()
    assert len(got) == 3
    assert b.processes is not None
    assert b.processes.table.alive == 0
    assert sum(kind == "misbehaved" for kind, _, _ in b.log) == 3


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 1, 48 * 1024 - 15, 100_001, 1024 * 1024 - 3])
def test_large_messages_keep_their_order(size: int) -> None:
    """Words around a large message of the same sender come before and after it, and its end after all."""
    cluster = Cluster()
    a, b = cluster.nodes
    box, sender = cluster.box(b), cluster.box(a)
    there = cluster.pid_on(a, b, box.pid)
    here = cluster.pid_on(b, a, sender.pid)
    box.monitor(here)
    for number in range(5):
        assert sender.send(there, number)
        assert sender.send(there, bytes([number]) * size)
    sender.close()
    cluster.run(5.0)
    got = cluster.messages(b, box)
    assert [m.value if isinstance(m.value, int) else (len(m.value), m.value[0]) for m in got[:-1]] == [
        each for number in range(5) for each in (number, (size, number))
    ]
    assert got[-1] == End(here, 0)
    assert not [entry for entry in b.log if entry[0] == "misbehaved"]
    assert cluster.courier(b).neighbours[a.me.id].peer.proxy_count == 0


def test_large_messages_hold_nobody_up() -> None:
    """Beside another process's stream of large messages, more than the mail takes at once, words go at once."""
    cluster = Cluster(slowest=0.02)
    a, b = cluster.nodes
    boxes = [cluster.box(b), cluster.box(b)]
    there = [cluster.pid_on(a, b, box.pid) for box in boxes]
    bulky, brief = cluster.box(a), cluster.box(a)
    taken = 0
    data = bytes(1024 * 1024)

    def fill() -> None:
        nonlocal taken
        for _ in range(200):
            if not bulky.send(there[0], data):
                break
            taken += 1
        cluster.run(0.001)

    for _ in range(4):
        fill()
    assert taken > 64
    began = cluster.network.now
    assert brief.send(there[1], 5)
    cluster.until(lambda: boxes[1]._record.mailbox_count == 1, 1.0)
    assert cluster.network.now - began < 0.15
    got = 0
    for _ in range(2000):
        cluster.run(0.05)
        got += len(cluster.messages(b, boxes[0]))
        if got == taken:
            break
    assert got == taken
    assert cluster.courier(a).neighbours[b.me.id].peer.large == 0


def test_a_sender_of_small_behind_large_ones_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What must wait behind a large message of its sender is kept, in order, up to a bound."""
    monkeypatch.setattr(outbound, "MOST_HELD", 100)
    cluster = Cluster()
    a, b = cluster.nodes
    box, sender = cluster.box(b), cluster.box(a)
    there = cluster.pid_on(a, b, box.pid)
    cluster.network.freeze(b)
    large = 0
    for _ in range(100):
        large += sender.send(there, bytes(1024 * 1024))
        cluster.run(0.001)
    words = [n for n in range(3000) if sender.send(there, n)]
    cluster.run(0.1)
    assert len(cluster.courier(a).neighbours[b.me.id].held) < 100 + 2048 + 64
    cluster.network.thaw(b)
    got: list[Any] = []
    for _ in range(400):
        cluster.run(0.05)
        got += cluster.values(b, box)
        if len(got) == large + len(words):
            break
    assert [value if isinstance(value, int) else "large" for value in got] == ["large"] * large + words


def test_too_much_to_tell_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that do not fit the ring of a node that does not read are not lost in silence: all of it is down."""
    monkeypatch.setattr(neighbour, "RING", neighbour.RING - remote.RESERVE + 4096)
    monkeypatch.setattr(remote, "RESERVE", 4096)
    cluster = Cluster()
    a, b = cluster.nodes
    process = cluster.spawn(b, WAITER)
    box = cluster.box(a)
    there = cluster.pid_on(a, b, process.pid)
    box.monitor(there)
    peer = cluster.courier(a).neighbours[b.me.id].peer
    while box.send(there, bytes(15_000)):
        pass
    for _ in range(2 * 20_000 // 16):
        calls.put_notice(a.processes.table.shared, peer, 0, 5, 19, 0)  # type: ignore[union-attr]
    assert peer.broken
    cluster.run(0.01)
    assert cluster.ends(a, box) == [(there, NODE_DOWN)]
    cluster.until(lambda: cluster.courier(a).up() and cluster.courier(b).up())


LINKING = """.code
      load $3 #200
again: link $1
      kill $2
      dec $3
      neq $3 $4
      djmpe @again
      hlt
"""
"""Links itself to one process, and kills another, over and over."""


def test_what_is_said_already_is_not_said_again() -> None:
    """A program that links and kills all the time fills no ring: a node that does not read hears of each once."""
    cluster = Cluster()
    a, b = cluster.nodes
    linked, killed = (cluster.pid_on(a, b, cluster.spawn(b, WAITER).pid) for _ in range(2))
    cluster.run()
    peer = cluster.courier(a).neighbours[b.me.id].peer
    put: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        put_letter = remote.put_letter
        patch.setattr(remote, "put_letter", lambda *row: (put.append(row[3]), put_letter(*row)))
        process = cluster.spawn(a, LINKING, {1: linked, 2: killed})
        cluster.run()
    assert reason(process) == 0
    assert [kind for kind in put if kind in (LINK_TO, KILL_PROCESS)] == [LINK_TO, KILL_PROCESS]
    assert not peer.broken


def test_no_room_for_a_request() -> None:
    """LINK and KILL of a process of a node that does not read say that they were not done; and nothing breaks."""
    cluster = Cluster()
    a, b = cluster.nodes
    process = cluster.spawn(b, WAITER)
    there = cluster.pid_on(a, b, process.pid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "RESERVE", neighbour.RING)
        linking = cluster.spawn(
            a, ".code\nlink $1\ndjmpe @wrong\nkill $1\ndjmpe @wrong\nhlt\nwrong: hltr $1\n", {1: there}
        )
        cluster.run()
        assert reason(linking) == 0
        assert not a.processes.kill(there)  # type: ignore[union-attr]
    assert reason(process) is None
    assert a.processes.kill(there)  # type: ignore[union-attr]
    cluster.run()
    assert reason(process) == KILLED


def test_who_asked_has_gone_before_programs_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits for machine code is forgotten with its session: nothing of it is looked at any more."""
    cluster = Cluster()
    a, b = cluster.nodes
    waiting: list[Any] = []
    monkeypatch.setattr(b.processes, "when_ready", lambda call, program: waiting.append(call))
    hash, _ = cluster.courier(a).images.add(assemble(WAITER))
    cluster.courier(a).ask.spawn(cluster.courier(a).ask.neighbour("b"), hash).addErrback(lambda _: None)
    cluster.until(lambda: bool(waiting))
    cluster.network.crash(a)
    cluster.until(lambda: not cluster.courier(b).up())
    cluster.run(2.0)
    [start] = waiting
    start()
    assert b.processes.running() == []  # type: ignore[union-attr]


def test_a_name_that_is_taken_on_another_node() -> None:
    """Whoever wants a process there with a name that it cannot have is told so, and gets none."""
    cluster = Cluster()
    a, b = cluster.nodes
    owner = cluster.spawn(b, WAITER)
    assert b.processes.names.register("square", owner.pid)  # type: ignore[union-attr]
    asking = cluster.courier(a).ask
    hash, _ = cluster.courier(a).images.add(assemble(WAITER))
    got: list[str] = []
    for name in ("square", "a b"):
        asking.spawn(asking.neighbour("b"), hash, name=name).addErrback(
            lambda failure: got.append(str(failure.value))
        )
        cluster.run()
    assert got[0] == f"the process was not started: the name square is taken on this node, by process {owner.pid}"
    assert "is no name" in got[1]
    assert len(b.processes.running()) == 1  # type: ignore[union-attr]


def test_a_dead_letter_from_another_node_keeps_its_address() -> None:
    """What comes for a process that has ended is kept with the pid that it was for."""
    cluster = Cluster()
    a, b = cluster.nodes
    process, box = cluster.spawn(b, WAITER), cluster.box(a)
    there = cluster.pid_on(a, b, process.pid)
    process.kill()
    assert box.send(there, 77)  # its end is not known here yet
    cluster.run()
    [(to, _, _, value)] = b.processes.table.dead_letters()  # type: ignore[union-attr]
    assert (to, value) == (process.pid, 77)


def test_slots_are_kept_for_processes_of_this_node() -> None:
    """However many processes others introduce, a part of the slots is left for those that begin here."""
    cluster = Cluster()
    a, b = cluster.nodes
    box = cluster.box(a)
    shared = a.processes.table.shared  # type: ignore[union-attr]
    alive = shared.alive
    shared.alive = shared.slots - shared.slots // KEPT + 1
    cluster.courier(a)._mail(b.me.id, wire.LETTERS, letters((box.pid, 5, WORD_MESSAGE, 1)))
    assert [(m.sender, m.value) for m in cluster.messages(a, box)] == [(0, 1)]
    shared.alive = alive
    cluster.courier(a)._mail(b.me.id, wire.LETTERS, letters((box.pid, 5, WORD_MESSAGE, 1)))
    assert [m.sender != 0 for m in cluster.messages(a, box)] == [True]


def test_a_process_of_a_third_node_is_asked_about_once() -> None:
    """Its pid may come again and again: its node is told once that this one knows it."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    process, box = cluster.spawn(c, WAITER), cluster.box(a)
    said: list[Any] = []
    sending = cluster.courier(a)._outbound
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "say", lambda neighbour, message: said.append(message))
        for _ in range(3):
            message = wire.Introduce(box.pid, 0, c.me.id, process.pid)
            cluster.courier(a)._mail(b.me.id, wire.CONTROL, wire.encode(message))
    assert said == [wire.Watch(process.pid)]
    assert len(set(cluster.values(a, box))) == 1


def letters(*rows: tuple[int, int, int, int]) -> bytes:
    """Records as nodes send them."""
    return b"".join(LETTER.pack(*row) for row in rows)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.builds(
                lambda *row: LETTER.pack(*row),
                st.sampled_from([0, 1, 2, 3, 4, 5, 1 << 20, 2**31 - 1, 2**32 - 1]),
                st.sampled_from([0, 1, 2, 3, 1 << 20 | 1, 2**31 - 1, 2**32 - 1]),
                st.integers(0, 30),
                st.sampled_from([0, 1, 2, 3, 16, 17, 1 << 20 | 2, 2**31, 2**32 - 1]),
            ),
            st.builds(
                lambda do, n, pid: b"{" + b'"do":"%s","n":%d,"pid":%d' % (do.encode(), n, pid) + b"}",
                st.sampled_from(
                    [
                        "spawn",
                        "spawned",
                        "need",
                        "whereis",
                        "found",
                        "introduce",
                        "watch",
                        "list",
                        "listed",
                        "observe",
                        "output",
                    ]
                ),
                st.integers(-1, 3),
                st.integers(-1, 2**31),
            ),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_garbage_of_a_peer_hurts_nobody(pieces: list[bytes]) -> None:
    """Whatever a peer sends as letters, control or image: no crash, no effect on who it does not name, counted."""
    cluster = Cluster()
    a, b = cluster.nodes
    assert a.processes is not None
    for _ in range(3):
        cluster.box(a)
    victim = a.processes.table.allocate(1)  # a process that no letter names: its generation is another
    assert victim is not None
    victim.pid |= 1000 << SLOT_BITS
    for piece in pieces:
        for kind in (wire.LETTERS, wire.LARGE, wire.CONTROL, wire.IMAGE, 77):
            cluster.courier(a)._mail(b.me.id, kind, piece)
    cluster.courier(a)._mail(b.me.id, wire.LETTERS, b"\xff" * 17)
    assert any(kind == "misbehaved" for kind, _, _ in a.log)
    assert (victim.mailbox_count, victim.stop_requested, victim.kind) == (0, 0, 1)
    cluster.run(3.0)
    box = cluster.box(b)
    there = cluster.pid_on(a, b, box.pid)
    assert cluster.box(a).send(there, 3)
    cluster.run()
    assert cluster.values(b, box)[-1:] == [3]


def test_a_peer_is_no_way_to_a_third_node() -> None:
    """Letters and requests of a peer reach processes of this node only, not those it has a place for."""
    cluster = Cluster(count=3)
    a, b, c = cluster.nodes
    process = cluster.spawn(c, WAITER)
    there = cluster.pid_on(a, c, process.pid)
    courier = cluster.courier(a)
    courier._mail(
        b.me.id, wire.LETTERS, letters((there, 1, WORD_MESSAGE, 5), (there, 1, 20, 5), (there, 0, 21, 0))
    )
    courier._mail(b.me.id, wire.CONTROL, wire.encode(wire.Kill(there, 5)))
    courier._mail(b.me.id, wire.CONTROL, wire.encode(wire.Introduce(there, 1, b.me.id, 1)))
    cluster.run()
    assert process.exit is None
    assert a.processes is not None
    assert a.processes.table.shared.dead_letters == 2


def test_a_peer_with_too_many_processes() -> None:
    """Beyond the limit the processes of a node arrive as nobody, and are counted; their messages come."""
    cluster = Cluster()
    a, b = cluster.nodes
    box = cluster.box(a)
    peer = cluster.courier(a).neighbours[b.me.id].peer
    peer.proxy_count = MOST_PROXIES
    cluster.courier(a)._mail(b.me.id, wire.LETTERS, letters((box.pid, 5, WORD_MESSAGE, 1)))
    assert [(m.sender, m.value) for m in cluster.messages(a, box)] == [(0, 1)]
    assert peer.unknown == 1
    peer.proxy_count = 0


def test_answers_to_other_questions() -> None:
    """An answer of another kind, or to nobody's question, is dropped; the right one still counts."""
    cluster = Cluster()
    a, b = cluster.nodes
    courier = cluster.courier(a)
    got: list[Any] = []
    courier.ask.whereis("x", "b").addCallback(got.append)
    n = next(iter(courier.neighbours[b.me.id].requests))
    for wrong in (wire.Spawned(n, 5), wire.Listed(n, []), wire.Found(n + 9, 4)):
        courier._mail(b.me.id, wire.CONTROL, wire.encode(wrong))
    assert got == []
    cluster.run()
    assert got == [0]


def test_a_peer_that_asks_for_many_images() -> None:
    """Requests that wait for images are bounded, whatever hashes they name; the rest is refused."""
    cluster = Cluster()
    a, b = cluster.nodes
    courier = cluster.courier(a)
    neighbour = courier.neighbours[b.me.id]
    for n in range(MOST_WANTED + 5):
        courier._take[wire.Spawn](neighbour, wire.Spawn(n, f"{n:064x}"))
    assert neighbour.wanting == sum(map(len, neighbour.wanted.values())) == MOST_WANTED


def test_a_peer_that_asks_and_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that nobody takes are bounded: the session ends, and with it what waited."""
    monkeypatch.setattr(outbound, "MOST_BACKLOG", 100_000)
    cluster = Cluster()
    a, b = cluster.nodes
    courier = cluster.courier(a)
    cluster.network.freeze(b)
    question = wire.encode(wire.Whereis(1, "x"))
    for _ in range(60_000):
        courier._mail(b.me.id, wire.CONTROL, question)
        if not courier.up():
            break
    cluster.run(0.1)
    assert courier.up() == []
    cluster.network.thaw(b)
    cluster.until(lambda: courier.up() and cluster.courier(b).up())


def test_an_unknown_node_is_an_error() -> None:
    """From Python an unknown node is an error that says so."""
    cluster = Cluster()
    with pytest.raises(CommandError):
        cluster.courier(cluster.nodes[0]).ask.neighbour("nowhere")


def test_the_whole_cluster_is_listed() -> None:
    """The list has the processes of every node that answers; one that is frozen is left out after a while."""
    cluster = Cluster(count=3)
    for node in cluster.nodes:
        cluster.spawn(node, WAITER)
    for frozen in (False, True):
        if frozen:
            cluster.network.freeze(cluster.nodes[1])
        got: list[Any] = []
        cluster.courier(cluster.nodes[0]).ask.list_all().addCallback(got.append)
        cluster.until(lambda got=got: bool(got))
        assert sorted(row.node for row in got[0].processes) == (["a", "c"] if frozen else ["a", "b", "c"])
    assert cluster.courier(cluster.nodes[0]).neighbours[cluster.nodes[1].me.id].requests == {}


def test_output_of_another_node() -> None:
    """What a process prints comes to the node that observes it."""
    cluster = Cluster()
    a, _ = cluster.nodes
    courier = cluster.courier(a)
    texts: list[str] = []
    ends: list[Exit] = []
    hash, _ = courier.images.add(assemble(".code\nprti $1\nsleep $1\nprti $1\nhlt\n"))
    courier.ask.spawn(courier.ask.neighbour("b"), hash, observer=Observer(texts.append, ends.append))
    cluster.run()
    assert "".join(texts) == "00"
    assert ends == [Exit(0, "normal")]


def test_sleep_in_virtual_time() -> None:
    """Protects the double: a process of a simulated node sleeps as long as the network says."""
    cluster = Cluster()
    process = cluster.spawn(cluster.nodes[0], ".code\nload $1 #30000\nsleep $1\nhlt\n")
    cluster.run(29.0)
    assert process.exit is None
    cluster.run(2.0)
    assert process.exit == Exit(0, "normal")


def test_virtual_time_beside_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the double where a real node has loaded the machine code before: its clock is the system's."""
    switch("native", monkeypatch)
    loaded = calls.sleep
    cluster = Cluster()
    a, _ = cluster.nodes
    process = []
    with virtual_time(cluster.network):
        a.spawn(assemble(".code\nload $1 #30000\nsleep $1\nhlt\n"), on="b").addCallback(process.append)
        cluster.network.run(29.0)
        assert process[0].exit is None
        cluster.network.run(2.0)
    assert process[0].exit == Exit(0, "normal")
    assert calls.sleep is loaded


def test_a_node_without_processes_says_so() -> None:
    """Protects whoever forgets to ask for them: the calls of a node tell what to write."""
    node = Network().node("a")
    with pytest.raises(AssertionError, match="processes=True"):
        node.mailbox()


def test_the_size_of_a_record() -> None:
    """Protects the wire: a record has 16 bytes, whatever the compiler."""
    from iridium.vm.runtime.layout import Letter

    assert ctypes.sizeof(Letter) == LETTER.size
