"""A node in a Python program: processes here and on another node, mailboxes, ends; two nodes in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from iridium.assembler import assemble
from iridium.errors import CommandError
from iridium.node import Node, NodeConfig
from iridium.processes import End, Exit, Message
from iridium.processes.asking import NotSpawnedError
from iridium.processes.types import NoSuchProcessError
from tests.processes import PATIENCE

pytestmark = [pytest.mark.real_reactor]

ECHO = assemble(""".data
n: .asciiz 'echo'
up: .asciiz 'up\\n'
.code
      load $9 @n
      register $9
      prts @up
      prti $7
loop: recv $1 $2 $3
      load $4 #0
      eq $1 $4
      djmpe @wrong
      send $2 $1
      eq $0 $0
      djmpe @loop
wrong: div $1 $4 $5
""")

WRONG = Exit(-7, "division-by-zero", "division-by-zero at pc 121: DIV divides 0 by $4, which is 0")


@pytest_twisted.async_yield_fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes of one cluster, a and b."""
    from twisted.internet import reactor

    made = []
    for alias in "ab":
        config = NodeConfig(node_alias=alias, server_bind_port=0, data_root_dir=tmp_path, engine="reference")
        node = Node(reactor, config)
        node.start_cluster()
        node.start()
        made.append(node)
    a, b = made
    host, _, port = b.me.address.rpartition(":")
    await a.mesh.join(host, int(port))
    await until(lambda: a.courier.up() and b.courier.up())
    yield a, b
    for node in made:
        await node.stop()


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until a condition holds."""
    from twisted.internet import reactor

    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        await deferLater(reactor, 0.005)
    pytest.fail("what was waited for did not happen")


@pytest.mark.parametrize("on", ["", "a", "b"])
@pytest_twisted.ensureDeferred
async def test_a_process(nodes: tuple[Node, Node], on: str) -> None:
    """A process is started, prints, answers, and its end is told with its fault, on each node alike."""
    a, _ = nodes
    seen: list[str] = []
    process = await a.spawn(ECHO, on=on, name="", registers={7: -5}, on_output=seen.append)
    await until(lambda: "".join(seen) == "up\n-5")
    assert process.output == "up\n-5"
    with a.mailbox() as box:
        assert box.send(process.pid, 12)
        assert await box.receive() == Message(process.pid, 12)
        waiting = process.when_done()
        assert box.monitor(process.pid)
        assert process.send(0)
        assert await waiting == WRONG
        assert await process.when_done() == process.exit == WRONG
        assert await box.receive() == End(process.pid, -7)
    assert not process.send(1)


@pytest_twisted.ensureDeferred
async def test_found_by_name(nodes: tuple[Node, Node]) -> None:
    """A process of another node is found by its name or its pid there, and killed through what stands for it."""
    a, b = nodes
    there = await b.spawn(ECHO)
    await until(lambda: b.processes.names.whereis("echo"))
    pid = await a.find("echo@b")
    assert pid == await a.find(f"{there.pid}@b")
    assert (await a.find("echo@a") if a.processes.names.whereis("echo") else 0) == 0
    for what in ("echo", "echo@a", "5000@b", "nobody@b", "77"):
        with pytest.raises(NoSuchProcessError):
            await a.find(what)
    with pytest.raises(CommandError):
        await a.find("echo@c")
    assert a.send(pid, 4)
    assert a.processes.kill(pid)
    assert (await there.when_done()).text == "killed"
    await until(lambda: not a.send(pid, 1))


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_started(nodes: tuple[Node, Node]) -> None:
    """No such node, and a node that has no room, are errors that say so."""
    a, b = nodes
    with pytest.raises(CommandError, match="c"):
        await a.spawn(ECHO, on="c")
    b.processes.table.begin = lambda *given: None  # type: ignore[method-assign]
    with pytest.raises(NotSpawnedError, match="the most; kill some"):
        await a.spawn(ECHO, on="b")
    assert not any(neighbour.observed for neighbour in a.courier.neighbours.values())


@pytest_twisted.ensureDeferred
async def test_the_loss_of_a_node(nodes: tuple[Node, Node]) -> None:
    """The processes of a node that goes away have ended for who started them: node-down."""
    a, b = nodes
    process = await a.spawn(ECHO, on="b")
    with a.mailbox() as box:
        box.monitor(process.pid)
        waiting = process.when_done()
        await b.mesh.leave()
        assert (await waiting).text == "node-down"
        assert await box.receive() == End(process.pid, -101)


@pytest_twisted.ensureDeferred
async def test_observers(nodes: tuple[Node, Node]) -> None:
    """Several observe a process from another node; each sees all of it, and one that stops takes nothing away."""
    a, b = nodes
    there = await b.spawn(ECHO)
    await until(lambda: there.output == "up\n0")
    pid = await a.find("echo@b")
    seen: dict[int, str] = {0: "", 1: ""}
    ends: list[Exit] = []

    def watch(at: int) -> Any:
        def printed(text: str) -> None:
            seen[at] += text

        return a.reach.observe(pid, printed, ends.append)

    stop = watch(0)
    watch(1)
    await until(lambda: seen == {0: "up\n0", 1: "up\n0"})
    stop()
    assert a.send(pid, 0)
    await until(lambda: ends)
    assert ends == [WRONG]
    dead = await a.reach.why(f"{there.pid}@b")
    assert (dead.reason, dead.output) == (-7, "up\n0")
    with pytest.raises(NoSuchProcessError):
        a.reach.observe(pid, seen.clear, ends.append)


@pytest_twisted.ensureDeferred
async def test_mailboxes(nodes: tuple[Node, Node]) -> None:
    """Mailboxes of Python talk to each other, before anything else has run on the node, and across nodes."""
    a, b = nodes
    first, second = a.mailbox(), a.mailbox()
    waiting = second.receive()
    assert first.send(second.pid, b"bytes")
    assert await waiting == Message(first.pid, b"bytes")
    far = b.mailbox()
    pid = await a.find(f"{far.pid}@b")
    assert first.send(pid, second.pid, is_pid=True)
    message = await far.receive()
    assert isinstance(message, Message)
    assert message.is_pid
    assert far.send(message.value, -1)
    assert (await second.receive()).value == -1
    given_up = second.receive()
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    waiting = second.receive()
    second.close()
    with pytest.raises(CancelledError):
        await waiting
    assert not first.send(second.pid, 1)
    first.close()
    far.close()
