"""What a mesh costs in which nothing happens: the share of one core that all its nodes take together.

    python benchmarks/quiet.py [--nodes 50] [--seconds 20] [--settle 10] [--json]

Needs Iridium installed beside this Python, and pytest, which the helpers of the tests want. The time is what the
kernel's scheduler counted for the processes between two looks, after the mesh was whole and had settled. Beside it
stands what a bare Python takes that wakes up four times a second and does nothing, as often as a quiet node does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from tests.chaos import Cluster, running

GOAL = 5.0
"""Percent of a core that 50 quiet nodes may take in all."""


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that the threads of a process have taken."""
    # In nanoseconds, by the scheduler: what /proc/PID/stat has is sampled, and misses work that is done in a tick.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def bare(count: int, seconds: float) -> float:
    """The percent of a core that so many processes take which only wake up four times a second."""
    idling = "import time\nwhile True: time.sleep(0.25)"
    processes = [subprocess.Popen([sys.executable, "-c", idling]) for _ in range(count)]
    try:
        time.sleep(2.0)
        start, before = time.monotonic(), sum(processor_seconds(process.pid) for process in processes)
        time.sleep(seconds)
        took, after = time.monotonic() - start, sum(processor_seconds(process.pid) for process in processes)
        return 100 * (after - before) / took
    finally:
        for process in processes:
            process.kill()
            process.wait()


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
    idle = bare(options.nodes, min(options.seconds, 10))
    result = {
        "nodes": options.nodes,
        "seconds": options.seconds,
        "percent_of_a_core": round(sum(shares), 2),
        "most_of_one_node": round(max(shares), 2),
        "bare_processes": round(idle, 2),
        "goal": GOAL,
        "whole": not problem,
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key:18} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
