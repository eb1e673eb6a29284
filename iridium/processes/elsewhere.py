"""Which processes of other nodes pids of this one stand for, or have stood for.

So people can say either number, also of a process that has ended.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from iridium.cluster.mesh import Mesh

MOST_REMEMBERED = 1024
"""Processes that are remembered: as many as output is kept of."""


class Home(NamedTuple):
    """A process of another node.

    Attributes:
        node: the id of the node.
        incarnation: which life of that node; in another, the pid is another's.
        pid: there.
    """

    node: str
    incarnation: int
    pid: int


class Elsewhere:
    """Remembers them.

    Args:
        mesh: this node's place in the cluster.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._homes: OrderedDict[int, Home] = OrderedDict()

    def home(self, node: str, pid: int) -> Home:
        """The process with a pid of another node, as that lives now."""
        peer = self._mesh.machine.table.peers.get(node)
        return Home(node, 0 if peer is None else peer.record.incarnation, pid)

    def remember(self, pid: int, node: str, there: int) -> Home:
        """A pid of this node stands for a process of another."""
        home = self._homes[pid] = self.home(node, there)
        self._homes.move_to_end(pid)
        if len(self._homes) > MOST_REMEMBERED:
            self._homes.popitem(last=False)
        return home

    def recall(self, pid: int) -> Home | None:
        """What a pid of this node has stood for, if that is still known."""
        return self._homes.get(pid)

    def name(self, home: Home) -> str:
        """What people call its node."""
        return self._mesh.machine.table.name_of(home.node)

    def label(self, home: Home) -> str:
        """What people call it: ``PID@NODE``."""
        return f"{home.pid}@{self.name(home)}"

    def is_same_life(self, home: Home) -> bool:
        """Whether its node has not been started again since."""
        return self.home(home.node, home.pid) == home
