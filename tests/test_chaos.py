"""One fault of each kind in a small mesh of real nodes: the long run is `python -m tests.chaos`."""

from __future__ import annotations

import pytest

from tests.chaos import Faults, complaints, running, suffer
from tests.processes import needs_installation


@pytest.mark.processes
@needs_installation
def test_each_fault_once() -> None:
    """After each kind of fault, at its mildest, the mesh is whole again in time, and nobody complained."""
    with running(4, proxied=True) as cluster:
        faults = Faults(cluster, seed=1)
        for at, (kind, fault) in enumerate(faults.kinds.items()):
            nodes = [cluster.nodes[(at + further) % 4] for further in range(3)]
            _, _, problem = suffer(cluster, nodes, lambda fault=fault, nodes=nodes: fault(nodes, 0.0))
            assert not problem, "\n".join([kind, problem, *(node.last_lines() for node in nodes)])


def test_a_seed_chooses_the_same_faults() -> None:
    """What is done, and to whom, depends on the seed alone; each kind comes once a round."""

    class Nobody:
        nodes = [f"n{number}" for number in range(10)]

    one, again, other = (Faults(Nobody(), seed) for seed in (1, 1, 2))
    drawn = [[faults.next()[:2] for _ in range(50)] for faults in (one, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {kind for kind, _ in drawn[0][:5]} == set(one.kinds)


def test_complaints() -> None:
    """Tracebacks and critical lines are, and Twisted's own word on a descriptor that it could not keep is not."""
    kept = [
        "[twisted._FileDescriptorReservation#critical] Could not reserve EMFILE recovery file descriptor",
        "\tTraceback (most recent call last):",
        "\tOSError: [Errno 24] Too many open files",
    ]
    ours = ["[iridium.node.Node#critical] save", "\tTraceback (most recent call last):", "\tKeyError: 1"]
    assert complaints([*kept, "[-] quiet", *ours, *kept]) == ours[:2]
