"""One fault of each kind in a small mesh of real nodes: the long run is `python -m tests.chaos`."""

from __future__ import annotations

import os
import socket
import time

import pytest

from tests.chaos import Faults, complaints, owner, running, suffer
from tests.processes import PATIENCE, needs_installation


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


@pytest.mark.processes
@needs_installation
def test_each_fault_of_a_secure_mesh_once() -> None:
    """Secret and CA change in the middle of other faults, files are spoiled, and strangers stay outside.

    One that is given the right files gets in and is seen, so somebody would notice if another did.
    """
    with running(3, proxied=True, secure=True) as cluster:
        assert cluster.keys is not None
        faults = Faults(cluster, seed=1)
        for kind, amount in (("secret", 0.0), ("ca", 0.5), ("wrong", 0.0)):
            fault = faults.kinds[kind]
            nodes = cluster.nodes
            _, _, problem = suffer(cluster, nodes, lambda fault=fault, amount=amount: fault(cluster.nodes, amount))
            assert not problem, "\n".join([kind, problem, *(node.last_lines() for node in nodes)])
        stranger = cluster.strangers[0]
        deadline = time.monotonic() + PATIENCE
        while not all(cluster.knocks.values()):
            assert time.monotonic() < deadline, cluster.knocks
            cluster.pause(0.1)
        cluster.keys.equip(stranger.alias)
        stranger.reread()
        while not cluster.problem().endswith("lists strangers"):
            assert time.monotonic() < deadline, "the stranger with the right files did not get in"
            cluster.pause(0.1)
        assert any(f"the stranger {stranger.alias!r}" in breach for breach in cluster.breaches)


def test_whose_a_connection_is() -> None:
    """The system tells who made a connection through the proxy, where TLS hides what is said in it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as made:
        port = made.getsockname()[1]
        assert owner(port, {os.getpid(): "me"}) == "me"
        assert owner(port, {1: "somebody else"}) == "?"


def test_a_seed_chooses_the_same_faults() -> None:
    """What is done, and to whom, depends on the seed alone; each kind comes once a round."""

    class Nobody:
        nodes = [f"n{number}" for number in range(10)]
        keys = None

    class Secure(Nobody):
        keys = object()

    one, again, other = (Faults(Nobody(), seed) for seed in (1, 1, 2))
    drawn = [[faults.next()[:2] for _ in range(50)] for faults in (one, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {kind for kind, _ in drawn[0][:5]} == set(one.kinds)
    secure = Faults(Secure(), 1)
    assert {secure.next()[0] for _ in range(8)} == {*one.kinds, "secret", "ca", "wrong"}


def test_complaints() -> None:
    """Tracebacks and critical lines are, and Twisted's own word on a descriptor that it could not keep is not."""
    kept = [
        "[twisted._FileDescriptorReservation#critical] Could not reserve EMFILE recovery file descriptor",
        "\tTraceback (most recent call last):",
        "\tOSError: [Errno 24] Too many open files",
    ]
    ours = ["[iridium.node.Node#critical] save", "\tTraceback (most recent call last):", "\tKeyError: 1"]
    assert complaints([*kept, "[-] quiet", *ours, *kept]) == ours[:2]
