"""What supervision needs of its node, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from iridium.image import Image
from iridium.supervision.types import ExitReason


class Process(Protocol):
    """A process that was spawned."""

    def kill(self) -> None:
        """End it; ``on_exit`` tells when that is done."""


class Spawner(Protocol):
    """Makes processes on this node."""

    def spawn(
        self,
        image: Image,
        *,
        name: str | None,
        registers: Sequence[int],
        on_start: Callable[[int], None],
        on_exit: Callable[[ExitReason], None],
    ) -> Process:
        """Start a process.

        Args:
            image: its program.
            name: the name to register it under, or None.
            registers: what its first integer registers hold.
            on_start: called once with its pid, before or after this returns.
            on_exit: called once, when it has ended, for whatever reason.

        Raises:
            IridiumError: it cannot be started: too many processes, a name that is taken.
        """


class Follower(Protocol):
    """Who wants to know of members."""

    def member_up(self, node: str) -> None:
        """A member is up."""

    def member_down(self, node: str) -> None:
        """A member is down, or has left."""

    def received(self, node: str, data: bytes) -> None:
        """A member sent this, with :meth:`Cluster.send`."""


class Cluster(Protocol):
    """The other members of the node's cluster."""

    @property
    def id(self) -> str:
        """This node's id."""

    def up(self) -> list[str]:
        """The ids of the members that are up, without this node."""

    def name(self, node: str) -> str:
        """What people call a member: its alias, or its id."""

    def send(self, node: str, data: bytes) -> bool:
        """Send a message of at most 256 KiB, in order and at most once; False where there is no way there."""

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Tell a follower of what happens from now on, until the returned function is called."""
