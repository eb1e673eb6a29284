"""How soon a mesh of real nodes gets over a failure: a cut link, a killed node, a frozen one.

    python benchmarks/failures.py [--nodes 10] [--cuts 20] [--kills 20] [--failovers 10] [--stops 3] [--json]

Needs Iridium installed beside this Python, and pytest, which the helpers of the tests want. When a node knew of a
death is the time of its own event, by the host's clock; for the rest a line of its log counts when it is read.

- `cut`: the connection between two live nodes is cut at a proxy, until both ends of a new one are ready.
- `kill`: a node is killed, until the last of the others knows that it is down. No proxy is between them.
- `kill, each`: the same for each of the others by itself.
- `kill, bare`: a process that has loaded what a node has and does nothing else is killed, until a process at the
  other end of its one connection reads the end of it: what the kernel takes of the above.
- `failover`: a node is killed that runs its share of an application's replicas, from the event of the first node
  that knows of it until the event of the last of these replicas that is started elsewhere.
- `freeze`: a node is stopped with SIGSTOP, until the last of the others logs that it is down.
- `thaw`: it is continued, until the last of the others logs that it is up.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from tests.chaos import PATIENCE, Cluster, Node, running

GOALS = {
    "cut": 1.0,
    "kill": 0.010,
    "kill, each": 0.010,
    "kill, bare": 0.010,
    "failover": 1.0,
    "freeze": 5.5,
    "thaw": 2.0,
}
"""Seconds that each may take."""

SHARE = 4
"""Replicas that a node has in the failovers."""

SERVICE = ".code\nrecv $1 $2 $3\nhlt\n"
"""What they run: it waits until it is ended."""

APPLICATION = 'name = "service"\n[programs.steady]\nfile = "service.iasm"\nreplicas = {}\n'

BARE = """
import iridium.repl.telnet, iridium.service, socket, sys, time
from twisted.internet import reactor
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.send(b"x")
time.sleep(60)
"""
"""A process as large as a node."""

POLL = 0.002
"""Seconds between two questions to the proxy, which knows the time itself."""

ASK = 0.1
"""Seconds between two questions to nodes, which know the times themselves: so they have little else to do."""

STEADY = 1.5
"""Seconds that a link has held before it is cut: one that fell at once before is not dialled at once again."""


def said_by_all(cluster: Cluster, node: Node, what: str, since: float) -> list[float]:
    """Seconds until each of the other nodes logs something about a node.

    Raises:
        TimeoutError: one does not.
    """
    others = [one for one in cluster.nodes if one is not node]
    pattern = rf"\b{what} {node.alias}\b"
    times: list[float | None] = []

    def look() -> bool:
        times[:] = [one.said(pattern, since) for one in others]
        return None not in times

    if not cluster.output.wait(look, time.monotonic() + PATIENCE):
        silent = [one.alias for one, when in zip(others, times, strict=True) if when is None]
        raise TimeoutError(f"no {what} {node.alias} at {', '.join(silent)}")
    return [when - since for when in times if when is not None]


def made_whole(cluster: Cluster) -> None:
    """Wait until the mesh is whole again.

    Raises:
        TimeoutError: it does not become so.
    """
    _, problem = cluster.until_whole(PATIENCE)
    if problem:
        raise TimeoutError(problem)


def cut_links(cluster: Cluster, runs: int, chance: random.Random) -> tuple[list[float], int]:
    """Cut links of nodes that live.

    Returns:
        Seconds until both ends were linked again, and how often a node was taken for suspect or down meanwhile.
    """
    pairs = list(itertools.combinations(cluster.nodes, 2))
    chosen = [pair for _ in range(-(-runs // len(pairs))) for pair in chance.sample(pairs, len(pairs))][:runs]
    cluster.pause(STEADY)
    begun, seconds = time.monotonic(), []
    for one, other in chosen:
        count, when = cluster.cut(one, other)
        assert count, f"there is no connection between {one.alias} and {other.alias}"
        while (again := cluster.linked_again(one, other)) is None:
            if time.monotonic() > when + PATIENCE:
                raise TimeoutError(f"{one.alias} and {other.alias} do not link again")
            cluster.pause(POLL)
        seconds.append(again - when)
        made_whole(cluster)
    lines = [line for node in cluster.nodes for when, line in node.lines if when >= begun]
    return seconds, sum(" node-suspect " in line or " node-down " in line for line in lines)


def knew(node: Node, of: Node, since: float) -> float:
    """Seconds until a node knew that another is down."""
    since += time.time() - time.monotonic()
    events = node.ask("!events 100")["events"]
    return next(
        float(event["time"]) - since
        for event in events
        if (event["kind"], event["subject"]) == ("node-down", of.alias) and event["time"] >= since
    )


def kill_nodes(cluster: Cluster, runs: int) -> list[list[float]]:
    """Kill nodes, each time another; seconds until each of the others knew."""
    seconds = []
    for node in itertools.islice(itertools.cycle(cluster.nodes), runs):
        cluster.pause(STEADY)
        since = node.kill()
        said_by_all(cluster, node, "node-down", since)
        seconds.append([knew(other, node, since) for other in cluster.nodes if other is not node])
        node.start().wait_until_up()
        made_whole(cluster)
    return seconds


def replicas(node: Node) -> dict[str, list[str]]:
    """The pids of the replicas that run, by node, as one node sees it."""
    found: dict[str, list[str]] = {}
    for application in node.ask("!apps")["applications"]:
        for replica in application["replicas"]:
            if replica["state"] == "running":
                found.setdefault(replica["node"], []).append(str(replica["pid"]))
    return found


def until_run(cluster: Cluster, nodes: list[Node], share: int) -> None:
    """Wait until all replicas run, and each of these nodes has at least so many of them, in the eyes of each.

    Raises:
        TimeoutError: that does not come.
    """
    deadline = time.monotonic() + PATIENCE
    total = SHARE * len(cluster.nodes)
    for node in nodes:
        while True:
            found = replicas(node)
            counts = [len(found.get(one.alias, [])) for one in nodes]
            if sum(counts) == sum(map(len, found.values())) == total and min(counts) >= share:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{node.alias} sees {counts} replicas, of {total}")
            time.sleep(ASK)


def happened(node: Node, kind: str, since: float) -> dict[str, float]:
    """When something happened on a node, by whom it happened to; since a time of the wall clock."""
    events = node.ask("!events 1024")["events"]
    return {e["subject"]: float(e["time"]) for e in events if e["kind"] == kind and e["time"] >= since}


def fail_over(cluster: Cluster, runs: int) -> list[float]:
    """Kill nodes with replicas, each time another; seconds from the first word of it until all run elsewhere."""
    total = SHARE * len(cluster.nodes)
    (cluster.root / "service.iasm").write_text(SERVICE)
    application = cluster.root / "service.toml"
    application.write_text(APPLICATION.format(total))
    iridium = Path(sys.executable).with_name("iridium")
    shell = f"127.0.0.1:{cluster.nodes[0].repl_port}"
    subprocess.run([iridium, "deploy", application, "--node", shell], check=True, stdout=subprocess.DEVNULL)
    seconds = []
    for node in itertools.islice(itertools.cycle(cluster.nodes), runs):
        until_run(cluster, cluster.nodes, SHARE)
        cluster.pause(STEADY)
        others = [one for one in cluster.nodes if one is not node]
        killed = node.kill()
        since = killed + time.time() - time.monotonic()
        said_by_all(cluster, node, "node-down", killed)
        until_run(cluster, others, SHARE)
        began = [happened(one, "process-started", since) for one in others]
        assert sum(map(len, began)) == SHARE, began
        known = min(happened(one, "node-down", since)[node.alias] for one in others)
        seconds.append(max(when for times in began for when in times.values()) - known)
        node.start().wait_until_up()
        made_whole(cluster)
        # It takes its share once it has listened for some seconds; until then it gets none.
        while len(replicas(others[0]).get(node.alias, [])) < SHARE:
            others[0].ask("!rebalance service")
            cluster.pause(1.0)
    cluster.nodes[0].ask("!stop_app service")
    return seconds


def stop_nodes(cluster: Cluster, runs: int) -> tuple[list[float], list[float]]:
    """Freeze nodes and thaw them; seconds until the last of the others took each for down, and for up again."""
    frozen, thawed = [], []
    for node in itertools.islice(itertools.cycle(cluster.nodes), runs):
        cluster.pause(STEADY)
        since = time.monotonic()
        node.signal(signal.SIGSTOP)
        try:
            frozen.append(max(said_by_all(cluster, node, "node-down", since)))
        finally:
            since = time.monotonic()
            node.signal(signal.SIGCONT)
        thawed.append(max(said_by_all(cluster, node, "node-up", since)))
        made_whole(cluster)
    return frozen, thawed


def kill_bare() -> float:
    """Seconds from the kill of a process like a node to the end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen([sys.executable, "-c", BARE, str(server.getsockname()[1])])
        with process, server.accept()[0] as connection:
            connection.recv(1)
            time.sleep(0.1)
            start = time.monotonic()
            process.kill()
            with contextlib.suppress(ConnectionError):
                connection.recv(1)
            return time.monotonic() - start


def bare_python() -> float:
    """Seconds that `python -c pass` takes: how fast the machine is just now."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--failovers", type=int, default=10)
    parser.add_argument("--stops", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    python = statistics.median(bare_python() for _ in range(9))
    with running(options.nodes, proxied=True) as cluster:
        cut, wrongly = cut_links(cluster, options.cuts, random.Random(1))
    with running(options.nodes) as cluster:
        kills = kill_nodes(cluster, options.kills)
        failovers = fail_over(cluster, options.failovers)
        freeze, thaw = stop_nodes(cluster, options.stops)
    bare = [kill_bare() for _ in range(options.kills)]
    measured = {
        "cut": cut,
        "kill": [max(times) for times in kills],
        "kill, each": [seconds for times in kills for seconds in times],
        "kill, bare": bare,
        "failover": failovers,
        "freeze": freeze,
        "thaw": thaw,
    }
    figures = {
        name: {
            "runs": len(seconds),
            "median_ms": round(1000 * statistics.median(seconds), 1),
            "worst_ms": round(1000 * max(seconds), 1),
            "goal_ms": 1000 * GOALS[name],
        }
        for name, seconds in measured.items()
        if seconds
    }
    if options.json:
        print(json.dumps({**figures, "wrongly_missed": wrongly, "python_ms": round(1000 * python, 1)}))
        return
    print(f"{'':10} {'runs':>5} {'median ms':>10} {'worst ms':>10} {'goal ms':>9}")
    for name, of in figures.items():
        print(f"{name:10} {of['runs']:5} {of['median_ms']:10} {of['worst_ms']:10} {of['goal_ms']:9g}")
    print(f"nodes taken for suspect or down while links were cut: {wrongly}")
    print(f"python -c pass: {1000 * python:.1f} ms")


if __name__ == "__main__":
    main()
