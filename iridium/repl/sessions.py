"""The sessions of a node: how many there are, over all of its ports, and who makes room for a newcomer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iridium.repl.services import Node
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.conversation import Conversation

KEPT = 10
"""One of so many sessions is kept for operators: twenty of 200, more than a node has."""


def _is_reader(conversation: Conversation) -> bool:
    return conversation.session.role is Role.READ_ONLY


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
        """Whether there is room for a session; the one that has been silent longest may have to make it.

        Read-only sessions have room for nine tenths: who may only look cannot keep operators out.
        """
        most = self.limits.sessions
        full, silent = len(self._open) >= most, list(self._silent)
        if _is_reader(conversation) and sum(map(_is_reader, self._open)) >= most - most // KEPT:
            full, silent = True, list(filter(_is_reader, silent))
        if full:
            conversation.abuse("all sessions are taken")
            if not silent:
                return False
            self.released(silent[0])
            silent[0].end("no line came, and somebody else wants the session")
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
