"""What happened on a node: one bounded ring of events, each also a line in the log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec
from twisted.logger import Logger

from iridium.errors import on_one_line

CAPACITY = 1024
"""Events kept: a busy afternoon of a small cluster, in under half a megabyte."""

LONGEST = 1024
"""Characters of a detail that are kept: a peer chooses some of them."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        number: counts up from 1, so that a reader knows what it has seen.
        time: Unix seconds, by the wall clock: for people.
        kind: what happened: ``vm-started``, ``vm-stopped``, ``vm-crashed``, ``node-up``, ``node-suspect``,
            ``node-down``, ``node-left``, ``refused``, ``name-conflict``, ``text`` and others.
        subject: whom it happened to: a VM's UUID, a node's alias or id, an address.
        detail: a sentence for people.
    """

    number: int
    time: float
    kind: str
    subject: str
    detail: str


class EventRing:
    """The last events of a node.

    Args:
        wall_clock: gives Unix seconds.
        capacity: how many are kept.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, wall_clock: Callable[[], float] = time.time, capacity: int = CAPACITY) -> None:
        self._wall_clock = wall_clock
        self._events: deque[Event] = deque(maxlen=capacity)
        self._count = 0
        self._followers: list[Callable[[Event], None]] = []

    def add(self, kind: str, subject: str, detail: str = "") -> None:
        """Record an event, log it, and show it to whoever follows."""
        self._count += 1
        event = Event(self._count, self._wall_clock(), kind, subject[:LONGEST], detail[:LONGEST])
        self._events.append(event)
        self._log.info(
            "{kind} {subject}{colon}{detail}",
            kind=kind,
            # A peer chooses some of it, and somebody reads the log at a terminal.
            subject=on_one_line(event.subject),
            colon=": " if detail else "",
            detail=on_one_line(event.detail),
        )
        for follower in list(self._followers):
            follower(event)

    def recent(self, most: int = CAPACITY) -> list[Event]:
        """The last events, the oldest first."""
        return list(self._events)[-most:]

    def follow(self, follower: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``follower`` with every event from now on, until the returned function is called."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)
