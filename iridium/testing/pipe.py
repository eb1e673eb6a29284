"""A connection of the simulated network."""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING

from iridium.cluster.link import Link
from iridium.cluster.messages import MessageError
from iridium.testing.node import SimulatedNode

if TYPE_CHECKING:
    from iridium.testing.network import Network

RETRANSMIT = 0.2
"""Seconds until a lost segment is sent again for the first time: what Linux waits at least."""

TRIES = 5
"""Times that a lost segment is sent again before the connection is given up."""


class Pipe:
    """A connection between two simulated nodes.

    What one end sends arrives at the other in order. A segment that is lost, by chance or because the way is
    blocked, is sent again after 0.2 s, 0.4 s, 0.8 s and so on, as TCP does; after five tries the sender's end of
    the connection is reset, while the other end learns of it only once it sends something itself.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ends: list[tuple[SimulatedNode, Link]] = []
        self._gone = [False, False]
        self._arrival = [0.0, 0.0]
        self._segments: tuple[deque[bytes | None], deque[bytes | None]] = (deque(), deque())

    def attach(self, node: SimulatedNode, link: Link) -> None:
        """Give the pipe an end."""
        self.ends.append((node, link))
        node.pipes[link] = self

    def joins(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether these two nodes are its ends."""
        return {id(node) for node, _ in self.ends} == {id(a), id(b)}

    def send(self, link: Link) -> None:
        """Carry what a link has queued; then the end of the connection, if it is closed."""
        end = self._end_of(link)
        data = link.data_to_send()
        if data:
            self._queue(end, data)
        if link.closed:
            self.close(end)
            node = self.ends[end][0]
            node.machine.link_lost(link)

    def close(self, end: int) -> None:
        """This end is closed by its process or its kernel; the other one is told."""
        if not self._gone[end]:
            node, link = self.ends[end]
            node.pipes.pop(link, None)
            self._queue(end, None)
            self._gone[end] = True

    def end_at(self, node: SimulatedNode) -> int:
        """Which end a node has."""
        return 0 if self.ends[0][0] is node else 1

    def _end_of(self, link: Link) -> int:
        return 0 if self.ends[0][1] is link else 1

    def _queue(self, end: int, segment: bytes | None) -> None:
        if self._gone[end]:
            return
        segments = self._segments[end]
        segments.append(segment)
        if len(segments) == 1:
            self._transmit(end, 0)

    def _transmit(self, end: int, tries: int) -> None:
        segments = self._segments[end]
        while segments:
            if len(self.ends) < 2 or self.network.loses(self.ends[end][0], self.ends[1 - end][0]):
                if tries == TRIES:
                    segments.clear()
                    self._reset(end)
                else:
                    self.network.later(RETRANSMIT * 2**tries, functools.partial(self._transmit, end, tries + 1))
                return
            tries = 0
            self._carry(end, segments.popleft())

    def _carry(self, end: int, segment: bytes | None) -> None:
        other = 1 - end
        # In order: nothing overtakes what was sent before it.
        at = self._arrival[other] = max(self._arrival[other], self.network.now + self.network.delay())
        node = self.ends[other][0]
        if self._gone[other] or not node.alive:
            self.network.at(at, lambda: self._reset(end))  # nobody has that connection any more
        elif segment is None:
            self.network.at(at, lambda: node.happen(lambda: self._reset(other)))
        else:
            self.network.at(at, lambda: node.happen(lambda: self._deliver(other, segment)))

    def _deliver(self, end: int, data: bytes) -> None:
        node, link = self.ends[end]
        if self._gone[end] or link.closed:
            return
        try:
            node.machine.receive(link, data)
        except MessageError as error:
            node.complain(link.host, str(error))
            node.machine.link_lost(link, str(error))

    def _reset(self, end: int) -> None:
        """An end learns that the connection is over."""
        if end < len(self.ends) and not self._gone[end]:
            self._gone[end] = True
            node, link = self.ends[end]
            node.pipes.pop(link, None)
            node.happen(lambda: node.machine.link_lost(link))

    def sever(self) -> None:
        """End the connection at both ends, as a router that forgets it does."""
        for end in range(len(self.ends)):
            self.network.later(self.network.delay(), functools.partial(self._reset, end))
