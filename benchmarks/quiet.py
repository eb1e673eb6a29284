"""What a mesh costs in which nothing happens: the share of one core that all its nodes take together.

    python benchmarks/quiet.py [--nodes 50] [--seconds 20] [--settle 10] [--json]

Needs Iridium installed beside this Python, and pytest, which the helpers of the tests want. The time is what the
kernel counted for the processes, user and system, between two looks, after the mesh was whole and had settled.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from tests.chaos import Cluster, running

GOAL = 5.0
"""Percent of a core that 50 quiet nodes may take in all."""


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    # The name, in parentheses, may hold anything; user and system time are the 14th and 15th fields.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(cluster: Cluster, seconds: float) -> list[float]:
    """The percent of a core that each node takes, over a time."""
    pids = [node.pid for node in cluster.nodes]
    start, before = time.monotonic(), [processor_seconds(pid) for pid in pids]
    cluster.pause(seconds)
    took, after = time.monotonic() - start, [processor_seconds(pid) for pid in pids]
    assert took >= seconds, cluster.problem()
    return [100 * (late - early) / took for early, late in zip(before, after, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--settle", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with running(options.nodes) as cluster:
        cluster.pause(options.settle)
        shares = share(cluster, options.seconds)
        problem = cluster.problem()
    result = {
        "nodes": options.nodes,
        "seconds": options.seconds,
        "percent_of_a_core": round(sum(shares), 2),
        "most_of_one_node": round(max(shares), 2),
        "goal": GOAL,
        "whole": not problem,
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key:18} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
