"""The sessions of a node: how many there are, over all of its ports, and who makes room for a newcomer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iridium.repl.services import Node

if TYPE_CHECKING:
    from iridium.repl.conversation import Conversation


class Sessions:
    """Those that are open now.

    Args:
        node: whose they are.

    Attributes:
        node: as given.
        clock: the node's reactor, for timers.
        limits: the node's.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.clock = node.reactor
        self.limits = node.limits
        node.in_use["sessions"] = lambda: len(self)
        # Both in the order in which they came; dicts, because a set has no order.
        self._open: dict[Conversation, None] = {}
        self._silent: dict[Conversation, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Conversation]:
        return iter(list(self._open))

    def admit(self, conversation: Conversation) -> bool:
        """Whether there is room for a session; the one that has been silent longest may have to make it."""
        if len(self._open) >= self.limits.sessions:
            conversation.abuse("all sessions are taken")
            if not self._silent:
                return False
            oldest = next(iter(self._silent))
            self.released(oldest)
            oldest.end("no line came, and somebody else wants the session")
        self._open[conversation] = self._silent[conversation] = None
        return True

    def spoke(self, conversation: Conversation) -> None:
        """A session has sent its first line."""
        self._silent.pop(conversation, None)

    def released(self, conversation: Conversation) -> None:
        """A session is over."""
        self._open.pop(conversation, None)
        self._silent.pop(conversation, None)

    def stop(self) -> None:
        """Close every session; for the end of the node."""
        for conversation in self:
            conversation.end("the node stops")
