"""What another node sees of a process of this one: what it prints and how it ends, as there is room on the way.

Whoever has spawned the process and waits for it misses nothing: the process waits instead. Nobody else can make it
wait; they are told how much they have missed.
"""

from __future__ import annotations

from collections.abc import Callable

from iridium.processes import wire
from iridium.processes.neighbour import Neighbour
from iridium.processes.outbound import Outbound
from iridium.processes.processes import Processes
from iridium.processes.types import Exit, reason_text
from iridium.vm.runtime.layout import NO_PROCESS

MOST_BEHIND = 64
"""Payloads that wait for room, beyond which a node misses output, or the process waits."""

MOST_SHOWN = 8192
"""Characters of output in one line."""


class Observation:
    """One process of this node that another node observes.

    Args:
        processes: of this node.
        outbound: the way to other nodes.
        neighbour: the node.
        n: the number of the observation.
        pid: of the process.
        waits: whether the process waits rather than that anything is missed.
    """

    def __init__(
        self, processes: Processes, outbound: Outbound, neighbour: Neighbour, n: int, pid: int, *, waits: bool
    ) -> None:
        self._processes = processes
        self._outbound = outbound
        self._neighbour = neighbour
        self._n = n
        self._pid = pid
        self._may_wait = self._waits = waits
        self._paused = False
        self._holding = False
        self._missed = 0
        self._unwatch: Callable[[], None] = lambda: None

    @property
    def is_behind(self) -> bool:
        """Whether too much waits for room on the way to that node."""
        return len(self._neighbour.backlog) + len(self._neighbour.held) >= MOST_BEHIND

    def begin(self) -> None:
        """Send what is kept of its output, from now on what comes, and in the end how it ended."""
        self._neighbour.observing[self._n] = self
        watching = self._processes.observe(self._pid, self._show, self._ended)
        outputs = self._processes.outputs
        self._show(outputs.of(self._pid))
        if watching is None:
            self._ended(outputs.ended(self._pid) or Exit(NO_PROCESS, reason_text(NO_PROCESS)))
        else:
            self._unwatch = watching

    def change(self, *, waits: bool, paused: bool) -> None:
        """The node says whether the process is to wait; only for one that has spawned it."""
        if self._may_wait:
            self._waits = waits
            self._paused = waits and paused
            self._hold_or_not()

    def caught_up(self) -> None:
        """There is room again."""
        if self._missed:
            self._outbound.say(self._neighbour, wire.Output(self._n, missed=self._missed))
            self._missed = 0
        self._hold_or_not()

    def stop(self) -> None:
        """Send no more."""
        self._neighbour.observing.pop(self._n, None)
        self._unwatch()
        self._hold(False)

    def _show(self, text: str) -> None:
        if not self._neighbour.peer.up:
            return
        if not self._waits and (self._missed or self.is_behind):
            self._missed += len(text)
            return
        for at in range(0, len(text), MOST_SHOWN):
            self._outbound.say(self._neighbour, wire.Output(self._n, text[at : at + MOST_SHOWN]))
        self._hold_or_not()

    def _hold_or_not(self) -> None:
        behind = self.is_behind
        if behind and self._waits and not self._holding:
            # All of them at once: a ring of each would be too much for the way.
            for observation in self._neighbour.observing.values():
                observation._hold(observation._holding or observation._waits)
        self._hold(self._paused or (self._waits and behind))

    def _hold(self, on: bool) -> None:
        if on != self._holding:
            self._holding = on
            if on:
                self._processes.hold(self._pid)
            else:
                self._processes.let_go(self._pid)

    def _ended(self, how: Exit) -> None:
        self._neighbour.observing.pop(self._n, None)
        self._holding = False
        if self._neighbour.peer.up:
            fault, missed = how.fault[:MOST_SHOWN], self._missed
            self._outbound.say(self._neighbour, wire.Output(self._n, "", True, how.reason, fault, missed))
