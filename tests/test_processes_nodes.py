"""Processes of real nodes: what they promise across real sockets, and when a real process is stopped or killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from iridium.assembler import assemble
from iridium.node import Node
from iridium.processes import End, Mailbox, Process
from iridium.vm import Program
from iridium.vm.runtime.layout import KILLED, NODE_DOWN
from tests.processes import NodeProcess, Started, needs_installation
from tests.test_node import Nodes, eventually, join, nodes, within  # noqa: F401 - a fixture

pytestmark = pytest.mark.real_reactor

WAITER = ".code\nrecv $1 $2 $3\nhltr $1\n"

COUNTING = """.code
again: send $1 $2
       djmpn @again
       inc $2
       load $5 #1023
       and $2 $5 $4
       eq $4 $0
       djmpn @more
       recv $4 $5 $6
more:  lt $2 $3
       djmpe @again
       hltr $2
"""
"""Sends $2, $2 + 1, ... up to $3 to $1, again where there is no room; after 1024 it waits for a word back, so that
the mailbox there has room.
"""

CHECKING = """.code
again: recv $1 $2 $3
       eq $1 $4
       djmpn @bad
       inc $4
       load $7 #1023
       and $4 $7 $8
       eq $8 $0
       djmpn @more
       send $2 $4
more:  lt $4 $5
       djmpe @again
       hltr $4
bad:   load $1 #1
       sub $0 $1 $1
       hltr $1
"""
"""Takes $4, $4 + 1, ... up to $5; anything else is the wrong order."""


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Started]:
    """Nodes in processes of their own."""
    everything = Started(tmp_path)
    yield everything
    everything.close()


async def spawn(node: Node, source: str, registers: dict[int, int] | None = None, name: str = "") -> Process:
    """Start a process."""
    process: Process = await within(
        node.processes.spawn(Program(assemble(source)), registers=registers, name=name)
    )
    return process


async def linked(*group: Node) -> None:
    """Wait until there are sessions between all."""
    await eventually(lambda: all(len(node.courier.up()) == len(group) - 1 for node in group))


async def spawn_on(node: Node, other: str, source: str) -> int:
    """Start a process on another node; the pid that it has on this one."""
    hash, _ = node.courier.images.add(assemble(source))
    neighbour = node.courier.ask.neighbour(other)
    assert neighbour is not None
    pid: int = await within(node.courier.ask.spawn(neighbour, hash))
    return pid


async def ends(node: Node, box: Mailbox, count: int) -> list[tuple[int, int]]:
    """The notices in a mailbox, once there are so many; and whatever has come besides."""
    got: list[Any] = []

    def enough() -> bool:
        got.extend(m for m in node.processes.take_messages(box._record, 1000) if isinstance(m, End))
        return len(got) >= count

    await eventually(enough)
    return [(end.pid, end.reason) for end in got]


@pytest_twisted.ensureDeferred
async def test_order_between_nodes(nodes: Nodes) -> None:  # noqa: F811
    """Words of several senders arrive in the order of each, once, also over a link that breaks."""
    a, b = nodes.start("a", threads=2), nodes.start("b", threads=2)
    await join(b, a)
    await linked(a, b)
    takers = [await spawn(b, CHECKING, {5: 30_000}, name=f"taker{n}") for n in range(3)]
    senders = []
    for number in range(3):
        pid = await within(a.courier.ask.whereis(f"taker{number}", "b"))
        senders.append(await spawn(a, COUNTING, {1: pid, 3: 30_000}))
    await eventually(lambda: a.mesh.post.traffic()[b.me.id].sent > 3)
    next(iter(a.mesh._protocols.values())).transport.abortConnection()
    for process in [*senders, *takers]:
        assert (await within(process.when_done())).reason == 30_000
    assert (a.courier.lost, b.courier.lost) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_monitors_and_links_between_nodes(nodes: Nodes) -> None:  # noqa: F811
    """The end of a process of another node is told once: exit, kill, and the end of its node."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await linked(a, b)
    box = a.processes.mailbox()
    pids = [await spawn_on(a, "b", WAITER) for _ in range(3)]
    for pid in pids:
        assert box.monitor(pid)
        assert box.monitor(pid)
    bound = await spawn(a, ".code\nlink $9\nrecv $1 $2 $3\n", {9: pids[2]})
    box.send(pids[0], 5)
    a.processes.kill(pids[1])
    assert sorted(await ends(a, box, 2)) == sorted([(pids[0], 5), (pids[1], KILLED)])
    await nodes.stop(b)
    assert await ends(a, box, 1) == [(pids[2], NODE_DOWN)]
    assert (await within(bound.when_done())).reason == NODE_DOWN
    assert not box.send(pids[2], 1)
    again = nodes.start("b")
    await linked(a, again)
    fresh = await spawn_on(a, "b", WAITER)
    assert fresh not in pids
    assert box.monitor(fresh)
    box.send(fresh, 9)
    assert await ends(a, box, 1) == [(fresh, 9)]


@pytest_twisted.ensureDeferred
async def test_large_messages_between_nodes(nodes: Nodes) -> None:  # noqa: F811
    """A stream of messages of 1 MiB arrives whole and in order, and words of another sender pass it."""
    a, b = nodes.start("a"), nodes.start("b")
    await join(b, a)
    await linked(a, b)
    boxes = [b.processes.mailbox() for _ in range(2)]
    for number, box in enumerate(boxes):
        b.processes.names.register(f"box{number}", box.pid)
    bulky, brief = a.processes.mailbox(), a.processes.mailbox()
    large, small = [await within(a.courier.ask.whereis(f"box{number}", "b")) for number in (0, 1)]
    for number in range(30):
        assert bulky.send(large, bytes([number]) * (1 << 20))
    assert brief.send(small, 7)
    first: Any = await within(boxes[1].receive())
    assert first.value == 7
    assert boxes[0]._record.mailbox_count < 30
    got = [await within(boxes[0].receive()) for _ in range(30)]
    assert [(message.value[0], len(message.value)) for message in got] == [(n, 1 << 20) for n in range(30)]


@needs_installation
@pytest.mark.processes
@pytest_twisted.ensureDeferred
async def test_a_node_that_is_killed(nodes: Nodes, others: Started) -> None:  # noqa: F811
    """`kill -9` of a node is told to monitors and links of its processes once; its next life has none of them."""
    a = nodes.start("a")
    [b] = others.nodes("b")
    await within(a.mesh.join("127.0.0.1", b.cluster_port))
    await eventually(lambda: len(a.courier.up()) == 1)
    await eventually(lambda: (b.data / "peers.json").exists())  # or its next life does not know whom to look for
    box = a.processes.mailbox()
    pids = [await spawn_on(a, "b", WAITER) for _ in range(3)]
    for pid in pids:
        assert box.monitor(pid)
    bound = await spawn(a, ".code\nlink $9\nrecv $1 $2 $3\n", {9: pids[0]})
    os.kill(b.pid, signal.SIGKILL)
    assert sorted(await ends(a, box, 3)) == sorted((pid, NODE_DOWN) for pid in pids)
    assert (await within(bound.when_done())).reason == NODE_DOWN
    others.add(NodeProcess("b", others.root)).wait_until_up()
    await eventually(lambda: len(a.courier.up()) == 1, 30.0)
    fresh = await spawn_on(a, "b", WAITER)
    for pid in pids:
        assert not box.send(pid, 3)
    assert box.monitor(fresh)
    assert box.send(fresh, 4)
    assert await ends(a, box, 1) == [(fresh, 4)]


@needs_installation
@pytest.mark.processes
@pytest_twisted.ensureDeferred
async def test_a_node_that_is_frozen(nodes: Nodes, others: Started) -> None:  # noqa: F811
    """SIGSTOP of a node costs what is sent to it alone: senders are told, and others are served at once."""
    a, c = nodes.start("a"), nodes.start("c")
    await join(c, a)
    [b] = others.nodes("b")
    await within(a.mesh.join("127.0.0.1", b.cluster_port))
    await eventually(lambda: len(a.courier.up()) == 2)
    box = a.processes.mailbox()
    slow, quick = await spawn_on(a, "b", WAITER), await spawn_on(a, "c", WAITER)
    assert box.monitor(quick)
    os.kill(b.pid, signal.SIGSTOP)
    taken = 0
    while box.send(slow, bytes(15_000)):
        taken += 1
        assert taken < 100_000
    assert taken > 50
    assert box.send(quick, 8)
    assert await ends(a, box, 1) == [(quick, 8)]
    os.kill(b.pid, signal.SIGCONT)
