"""How long a simulated cluster takes, in wall time, to become one mesh again after a fifth of it was cut off.

    python benchmarks/simulation.py [--nodes 200] [--seed 1]

The nodes form a mesh, a fifth of them is cut off for ten virtual seconds, then every way is open again but 10 % of
all segments are lost.
"""

from __future__ import annotations

import argparse
import time

from iridium.testing import Network


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start, worked = time.monotonic(), time.process_time()
    network = Network(options.seed)
    nodes = [network.node(f"n{i}") for i in range(options.nodes)]
    for node in nodes[1:]:
        network.join(node, nodes[0])

    def whole() -> bool:
        return all(
            sum(peer.open_link is not None for peer in node.machine.table.peers.values()) == len(nodes) - 1
            for node in nodes
        )

    def say(what: str) -> None:
        took = f"{time.monotonic() - start:.1f} s, {time.process_time() - worked:.1f} s of processor time"
        print(f"{what} at {network.now:.1f} virtual seconds, {took}", flush=True)

    def until_whole(limit: float) -> None:
        end = network.now + limit
        while not whole():
            assert network.now < end, "not one mesh in time"
            network.run(0.5)
        say("one mesh")

    until_whole(30.0)
    cut = nodes[: options.nodes // 5]
    for a in cut:
        for b in nodes[options.nodes // 5 :]:
            network.block(a, b)
            network.block(b, a)
    network.run(10.0)
    network.loss = 0.1
    network.unblock()
    say("every way is open")
    until_whole(120.0)


if __name__ == "__main__":
    main()
