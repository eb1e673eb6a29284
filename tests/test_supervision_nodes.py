"""Applications on real nodes: deployed, moved when a node is killed, rebalanced, stopped."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE, NodeProcess, Started, needs_installation
from tests.processes import started as _started
from tests.test_processes import iridium

pytestmark = [pytest.mark.processes, needs_installation]

started = _started

SERVICE = """\
.code
        load $1 #50
again:  sleep $1
        load $2 @again
        jmp $2
"""

CRASHES = """\
.code
        load $1 #20
        sleep $1
        div $1 $0 $2
"""

APPLICATION = """\
name = "service"

[programs.steady]
file = "service.iasm"
replicas = 6

[programs.broken]
file = "crashes.iasm"
restart = "permanent"
intensity = { restarts = 2, period = 60 }
backoff = { first = 0.01, factor = 1, most = 0.01, jitter = 0 }

[programs.everywhere]
file = "service.iasm"
replicas = "each"
"""

FAILOVER = 1.0
"""Seconds from the first word of a death until all replicas run again, as docs/supervision.md promises."""


def where(node: NodeProcess, program: str = "steady") -> Counter[str]:
    """On which nodes the replicas of a program run, as one node sees it."""
    found: Counter[str] = Counter()
    for application in node.ask("!apps")["applications"]:
        for replica in application["replicas"]:
            if replica["program"] == program and replica["state"] == "running":
                found[replica["node"]] += 1
    return found


def replicas(node: NodeProcess, program: str) -> list[dict[str, Any]]:
    """What one node knows of a program's replicas."""
    return [
        replica
        for application in node.ask("!apps")["applications"]
        for replica in application["replicas"]
        if replica["program"] == program
    ]


def events(node: NodeProcess, kind: str) -> dict[str, float]:
    """When something last happened on a node, by whom it happened to, by the host's clock."""
    return {e["subject"]: float(e["time"]) for e in node.ask("!events 1024")["events"] if e["kind"] == kind}


def failover(nodes: list[NodeProcess], dead: str) -> float:
    """Seconds from when the first node knew of a death until the last of its replicas was started."""
    known = min(events(node, "node-down")[dead] for node in nodes)
    began = []
    for node in nodes:
        started = events(node, "process-started")
        pids = [str(r["pid"]) for r in replicas(node, "steady") if r["node"] == node.alias]
        began += [started[pid] for pid in pids if started[pid] >= known]
    assert len(began) == 2
    return max(began) - known


def wait(what: str, condition: Any, seconds: float = PATIENCE) -> float:
    """Ask until it is so; how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, what
    return time.monotonic() - began


def test_replicas_of_a_killed_node_run_elsewhere(started: Started, tmp_path: Path) -> None:
    """Protects what supervision is for: kill -9 of a node costs a moment, and all replicas run again.

    All run within a second of the death being known. Also that crash loops end, that a node that comes back gets
    its share by a rebalance only, and that stopping stops.
    """
    a, b, c = nodes = started.nodes("a", "b", "c")
    for node in (b, c):
        node.ask(f"!join_cluster {a.address}")
    for node in nodes:
        node.until({"a": "up", "b": "up", "c": "up"})
    (tmp_path / "service.iasm").write_text(SERVICE)
    (tmp_path / "crashes.iasm").write_text(CRASHES)
    (tmp_path / "app.toml").write_text(APPLICATION)
    deployed = iridium("deploy", str(tmp_path / "app.toml"), "--node", a.shell, root=tmp_path)
    assert deployed.returncode == 0, deployed.stderr
    share = {"a": 2, "b": 2, "c": 2}
    for node in nodes:
        wait("the replicas are spread", lambda node=node: where(node) == share)
    wait("the crash loop is given up", lambda: [r["state"] for r in replicas(a, "broken")] == ["given-up"])
    c.remembers("a", "b")
    c.signal(signal.SIGKILL)
    a.until({"a": "up", "b": "up", "c": "down"})
    for node in (a, b):
        wait("all run again", lambda node=node: where(node) == {"a": 3, "b": 3})
    assert failover([a, b], "c") < FAILOVER
    [c] = started.nodes("c")
    nodes = [a, b, c]
    for node in nodes:
        # What is to run on each node runs on this one: it takes replicas, and could have taken others.
        wait("it takes replicas", lambda node=node: where(node, "everywhere") == {"a": 1, "b": 1, "c": 1})
        assert where(node) == {"a": 3, "b": 3}
    rebalanced = iridium("rebalance", "--node", b.shell, root=tmp_path)
    assert rebalanced.returncode == 0, rebalanced.stderr
    for node in nodes:
        wait("it has its share", lambda node=node: where(node) == share)
    listed = iridium("apps", "--node", b.shell, root=tmp_path)
    assert "steady" in listed.stdout
    stopped = iridium("stop", "service", "--node", b.shell, root=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    for node in nodes:
        wait("nothing runs", lambda node=node: not where(node) and not where(node, "everywhere"))
