"""Real nodes on hosts of their own: a network that parts and heals, one that loses and delays, a wrong address.

Hosts are network namespaces; where the machine does not allow them, these tests are skipped and say why.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.namespaces import HostedNode, Hosts, NotAllowedError, missing
from tests.processes import PATIENCE, needs_installation

pytestmark = [
    pytest.mark.processes,
    needs_installation,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

ALL = ("a", "b", "c", "d")

COUNT = 3000
"""Messages, one a millisecond: fewer than a mailbox holds, should many come at once."""

SINK = f"""\
.data
name: .asciiz 'sink'
good: .asciiz 'in order '
bad:  .asciiz 'after '
then: .asciiz ' came '
.code
      load $1 @name
      register $1
      load $10 #0
      load $11 #{COUNT}
again: recv $1 $2 $3
      neq $1 $10
      djmpe @wrong
      inc $10
      neq $10 $11
      djmpe @again
      prts @good
      prti $10
      hlt
wrong: prts @bad
      prti $10
      prts @then
      prti $1
      hlt
"""
"""Takes 0, 1 and so on; tells the first that is not the next, be it lost, late, or come twice."""

SOURCE = f"""\
.data
name: .asciiz 'sink@b'
.code
      load $1 @name
      whereis $1 $2
      load $10 #0
      load $11 #{COUNT}
      load $12 #1
again: send $2 $10
      djmpe @taken
      sleep $12
      eq $0 $0
      djmpe @again
taken: sleep $12
      inc $10
      neq $10 $11
      djmpe @again
      hlt
"""
"""Sends them; what is refused, since too much waits for the other node, is sent again."""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Four hosts on one network."""
    try:
        made = Hosts(*ALL)
    except NotAllowedError as error:
        pytest.skip(f"this machine has no network namespaces for us: {error}")
    yield made
    made.close()


class Nodes:
    """Nodes on hosts, which end before their hosts do."""

    def __init__(self, hosts: Hosts, root: Path) -> None:
        self._hosts = hosts
        self._root = root
        self._all: list[HostedNode] = []

    def start(self, *names: str, options: tuple[str, ...] = ("--insecure",)) -> list[HostedNode]:
        """A node on each of these hosts, at its address."""
        nodes = []
        for name in names:
            at = ("-H", self._hosts.address(name)) if "--insecure" in options else ()
            nodes.append(HostedNode(self._hosts, name, self._root, *at, *options))
            self._all.append(nodes[-1])
        return [node.wait_until_up() for node in nodes]

    def close(self) -> None:
        """End all."""
        for node in self._all:
            node.close()


@pytest.fixture
def nodes(hosts: Hosts, tmp_path: Path) -> Iterator[Nodes]:
    """Starts nodes."""
    started = Nodes(hosts, tmp_path)
    yield started
    started.close()


def joined(nodes: list[HostedNode]) -> None:
    """Have all but the first join it, until each sees each."""
    for node in nodes[1:]:
        node.ask(f"!join_cluster {nodes[0].address}")
    everybody(nodes)


def everybody(nodes: list[HostedNode]) -> None:
    """Wait until each sees each, and holds a link to it."""
    for node in nodes:
        node.until({other.alias: "up" for other in nodes})
    deadline = time.monotonic() + PATIENCE
    while True:
        rows = nodes[0].ask("!mesh")["rows"]
        if all(cell in ("self", "linked") for row in rows for cell in row):
            return
        assert time.monotonic() < deadline, rows
        nodes[0].comes("nothing of the kind", 0.1)


def test_a_partition(nodes: Nodes, hosts: Hosts) -> None:
    """Two halves of a network that is cut in silence hold each other to be down, and go on; once it is whole, they
    find each other by themselves.
    """
    a, b, c, d = started = nodes.start(*ALL)
    joined(started)
    hosts.cut_off("c", "d")
    for ours, theirs in (((a, b), (c, d)), ((c, d), (a, b))):
        expected = {node.alias: "up" for node in ours} | {node.alias: "down" for node in theirs}
        for node in ours:
            node.until(expected)
    assert "error" not in a.ask("!tell b still here")
    hosts.heal()
    everybody(started)


def test_loss_and_delay(nodes: Nodes, hosts: Hosts, tmp_path: Path) -> None:
    """Where packets are late and one in twenty is lost, a mesh forms, and messages come in order and once, also
    over a moment in which nothing comes through.
    """
    hosts.wire.delay, hosts.wire.loss = 0.02, 0.05
    a, b, *_ = started = nodes.start(*ALL)
    joined(started)
    (tmp_path / "b" / "programs" / "sink.iasm").write_text(SINK)
    (tmp_path / "a" / "programs" / "source.iasm").write_text(SOURCE)
    sink = b.ask("!spawn sink.iasm")["pid"]
    a.ask("!spawn source.iasm")
    hosts.cut_off("b")
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # TCP sends again meanwhile, and nobody is held to be down
        a.comes("nothing of the kind", 0.1)
    hosts.heal()
    deadline = time.monotonic() + PATIENCE
    while (told := b.ask(f"!why {sink}"))["past"] is None:
        assert time.monotonic() < deadline, told
        b.comes("nothing of the kind", 0.1)
    assert told["past"]["output"] == f"in order {COUNT}"
    assert hosts.wire.lost > 100


def test_an_address_that_others_cannot_reach(nodes: Nodes) -> None:
    """A node that listens on loopback only and joins one of another host is told why nobody could dial it."""
    [a] = nodes.start("a")
    [b] = nodes.start("b", options=())
    error = b.ask(f"!join_cluster {a.address}")["error"]
    assert error["kind"] == "UNREACHABLE"
    assert "-H" in error["remedy"]
    assert b.states() == {"b": "up"}
    assert a.states() == {"a": "up"}
