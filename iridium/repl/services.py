"""What a session needs of its node, and nothing more: :class:`iridium.node.Node` gives it, a test's double too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from iridium.cluster.tokens import Token
from iridium.cluster.types import Delivery, Member, MeshView
from iridium.events import EventRing
from iridium.limits import Limits
from iridium.processes import Processes
from iridium.processes.courier import Courier
from iridium.processes.reach import Reach
from iridium.scheduler import Scheduler
from iridium.supervision.application import Package
from iridium.supervision.types import ApplicationView


class Texts(Protocol):
    """Where texts from other nodes arrive."""

    def follow(self, follower: Callable[[str, str], None], /) -> Callable[[], None]:
        """Call ``follower(sender, text)`` with each, until the returned function is called."""


class Mesh(Protocol):
    """The node's place in the cluster."""

    def join(self, host: str, port: int) -> Deferred[list[Member]]:
        """Join the cluster of the node at that address."""

    def leave(self) -> Deferred[None]:
        """Leave the cluster."""

    def members(self) -> list[Member]:
        """Who is in the cluster, as this node sees it."""

    def tell(self, target: str, text: str) -> Deferred[list[Delivery]]:
        """Send a text to a member, or to all with ``*``."""

    def view(self) -> Deferred[MeshView]:
        """Who holds a link to whom."""

    def forget(self, target: str) -> None:
        """Drop a member that is down."""


class Newcomers(Protocol):
    """How others get in."""

    def make_token(self, host: str = "") -> Deferred[Token]:
        """A join token for a newcomer that reaches this node at a host."""


class Supervisor(Protocol):
    """The applications of the node's cluster."""

    def applications(self) -> list[ApplicationView]:
        """Every application and where its replicas are."""

    def has_image(self, digest: str) -> bool:
        """Whether the node has an image."""

    def upload(self, digest: str, size: int, offset: int, piece: bytes) -> bool:
        """Take a piece of an image; whether it is whole now."""

    def deploy(self, package: Package) -> ApplicationView:
        """Have an application run."""

    def stop_application(self, name: str) -> ApplicationView:
        """Have an application run no more."""

    def rebalance(self, name: str | None = None) -> list[str]:
        """Have replicas move to where they would be placed today; the names of their applications."""


class Node(Protocol):
    """The node that a session belongs to.

    Attributes:
        reactor: what it runs on.
        logical_cores: worker threads that its VMs are told of.
        limits: what it allows.
        in_use: by the name of a limit, what tells how much of it is in use.
    """

    reactor: Any
    logical_cores: int
    limits: Limits
    in_use: dict[str, Callable[[], int]]

    @property
    def scheduler(self) -> Scheduler:
        """Gives VMs their turns."""

    @property
    def processes(self) -> Processes:
        """Those that run on it."""

    @property
    def courier(self) -> Courier:
        """Their traffic with other nodes."""

    @property
    def reach(self) -> Reach:
        """Processes wherever they run."""

    @property
    def events(self) -> EventRing:
        """What happened on the node."""

    @property
    def texts(self) -> Texts:
        """Texts from other nodes."""

    @property
    def mesh(self) -> Mesh:
        """Its place in the cluster."""

    @property
    def supervisor(self) -> Supervisor | None:
        """The applications of its cluster, or None for a node that runs none."""

    @property
    def programs_dir(self) -> Path:
        """Where remote sessions load programs from."""

    @property
    def newcomers(self) -> Newcomers:
        """Join tokens."""

    def join_with(self, token: str) -> Deferred[list[Member]]:
        """Join by a token."""

    def leave(self) -> Deferred[None]:
        """Leave the cluster."""

    def start_cluster(self, host: str | None = None, port: int | None = None) -> str:
        """Open the cluster port and give its address."""
