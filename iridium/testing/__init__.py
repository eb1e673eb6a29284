"""A simulated network for tests of the cluster: many nodes in one process, in virtual time, under a seed.

The nodes run the real membership machine; only sockets and clocks are simulated. Everything that happens is
decided by the seed, so that a failing run can be repeated exactly::

    network = Network(seed=1)
    a, b = network.node("a"), network.node("b")
    network.join(b, a)
    network.run(1.0)
    assert a.states() == {"a": "up", "b": "up"}

A node made with ``processes=True`` runs processes too, under :func:`virtual_time`, and has the calls of a real
node about them.
"""

from __future__ import annotations

from iridium.testing.network import JoinResult, Network
from iridium.testing.node import SimulatedNode
from iridium.testing.pipe import Pipe
from iridium.testing.time import SimulatedReactor, SimulatedTimer, virtual_time

__all__ = ["JoinResult", "Network", "Pipe", "SimulatedNode", "SimulatedReactor", "SimulatedTimer", "virtual_time"]
