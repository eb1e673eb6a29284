"""Where replicas go: rendezvous hashing with bounded loads. Pure functions.

Each replica gives each node a weight by hash and goes to the heaviest (D. Thaler, C. Ravishankar, "Using
name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998): nodes that know the
same members agree without a word, and a node that goes takes nothing from the others. So that the replicas of one
program do not meet on one node by chance, no node takes more than its share of them, rounded up (V. Mirrokni, M.
Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence


@functools.lru_cache(1 << 16)  # 256 replicas of a program on 256 nodes: deciding again costs nothing
def weight(replica: str, node: str) -> int:
    """How much a replica wants to be on a node: 64 bits of a hash of both."""
    digest = hashlib.blake2b(f"{replica}\0{node}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def ranking(replica: str, nodes: Collection[str]) -> list[str]:
    """The nodes, the one first that the replica wants most."""
    return sorted(nodes, key=lambda node: (weight(replica, node), node), reverse=True)


def place(
    program: str,
    replicas: Sequence[str],
    nodes: Collection[str],
    held: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Where the replicas of one program go that are nowhere yet.

    Args:
        program: what its replicas are called before their own names: the application and the program.
        replicas: those to place, in an order that every node uses.
        nodes: the nodes that can take any.
        held: how many replicas of the program each node has already; those stay.

    Returns:
        The node of each replica; empty where there are no nodes.
    """
    if not nodes:
        return {}
    load = {node: (held or {}).get(node, 0) for node in nodes}
    share = -(-(sum(load.values()) + len(replicas)) // len(load))
    placed = {}
    for replica in replicas:
        ranked = ranking(f"{program}/{replica}", load)
        # There is one: the shares of all nodes together are at least what is held and to be placed.
        chosen = next(node for node in ranked if load[node] < share)
        load[chosen] += 1
        placed[replica] = chosen
    return placed
