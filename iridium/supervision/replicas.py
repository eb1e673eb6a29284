"""The replicas that this node sees to: started, ended, started again. No I/O; clock and randomness are passed in.

One replica goes through these states::

    starting --started--> running --ended--> waiting --due--> starting     restarted
    starting, running     --ended--> (gone)                                ended for good, by its policy
    starting, running     --ended--> given-up                              too many restarts
    starting, running     --stop---> stopping --ended--> (gone)
    starting, running     --hand---> handing  --ended--> handed            waits for the other node's claim
    waiting, given-up     --stop---> (gone);  waiting --hand--> handed
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple, Protocol

from iridium.supervision.restart import Intensity, pause, runs_again
from iridium.supervision.types import LONGEST_DETAIL, Claim, ExitReason, Key, Program

HANDOVER = 2.0
"""Seconds that a replica is kept for the node that it was handed to."""

Condition = Literal["starting", "running", "waiting", "given-up", "stopping", "handing", "handed"]

_ACTIVE = ("starting", "running")


class Replica:
    """One replica on this node.

    Attributes:
        key, program: which.
        state: see above.
        since: when it was claimed, in milliseconds of Unix time.
        began: when its process was started, by the monotonic clock.
        due: when "waiting" or "handed" ends.
        tries: restarts one after the other.
        restarts, pid, detail, to: as a claim has them.
    """

    def __init__(self, key: Key, program: Program, since: int) -> None:
        self.key = key
        self.program = program
        self.state: Condition = "starting"
        self.since = since
        self.intensity = Intensity(program)
        self.began = self.due = 0.0
        self.tries = self.restarts = self.pid = 0
        self.detail = self.to = ""

    def claim(self) -> Claim | None:
        """What the other nodes are told; nothing of what is being stopped."""
        state = "running" if self.state == "handing" else self.state
        if state == "stopping":
            return None
        return Claim(*self.key, state, self.since, self.restarts, self.pid, self.detail, self.to)


class Starter(Protocol):
    """What makes processes of replicas."""

    def start_process(self, key: Key, program: Program) -> None:
        """Start a replica's process; ``started`` or ``ended`` tells what became of it, later."""

    def kill(self, key: Key) -> None:
        """End a replica's process, or its start; ``ended`` tells when that is done, later."""


class Ending(NamedTuple):
    """What the end of a process means.

    Attributes:
        kind: "stopped", "handed", "ended" (for good, by its policy), "given-up" or "restart".
        detail: a sentence.
    """

    kind: Literal["stopped", "handed", "ended", "given-up", "restart"]
    detail: str


class Replicas:
    """The replicas of this node.

    Args:
        starter: makes and ends their processes.
        clock: gives seconds of a monotonic clock.
        random: the source of jitter.
        changed: called whenever the claims change.
    """

    def __init__(
        self, starter: Starter, clock: Callable[[], float], random: Random, changed: Callable[[], None]
    ) -> None:
        self._starter = starter
        self._clock = clock
        self._random = random
        self._changed = changed
        self._here: dict[Key, Replica] = {}

    def __len__(self) -> int:
        return len(self._here)

    def __contains__(self, key: Key) -> bool:
        return key in self._here

    def all(self) -> list[Replica]:
        """Every replica, in the order of claiming."""
        return list(self._here.values())

    def claims(self) -> tuple[Claim, ...]:
        """What the other nodes are told."""
        return tuple(claim for replica in self._here.values() if (claim := replica.claim()) is not None)

    def begin(self, key: Key, program: Program, since: int) -> None:
        """Claim a replica and start it."""
        self._here[key] = Replica(key, program, since)
        self._start(self._here[key])

    def _start(self, replica: Replica) -> None:
        replica.state = "starting"
        replica.began = self._clock()
        self._changed()
        self._starter.start_process(replica.key, replica.program)

    def started(self, key: Key, pid: int) -> None:
        """The process of a replica runs."""
        replica = self._here.get(key)
        if replica is not None and replica.state == "starting":
            replica.state, replica.pid, replica.detail = "running", pid, ""
            replica.began = self._clock()
            self._changed()

    def stop(self, key: Key) -> None:
        """See to a replica no more; what runs is ended first."""
        replica = self._here[key]
        if replica.state in _ACTIVE:
            replica.state = "stopping"
            self._starter.kill(key)
        elif replica.state == "handing":
            replica.state = "stopping"
        elif replica.state != "stopping":
            del self._here[key]
        self._changed()

    def hand(self, key: Key, to: str) -> None:
        """End a replica here, and keep it for another node."""
        replica = self._here[key]
        if replica.state in _ACTIVE:
            replica.state, replica.to = "handing", to
            self._starter.kill(key)
        elif replica.state == "waiting":
            replica.to = to
            self._handed(replica)

    def _handed(self, replica: Replica) -> None:
        replica.state, replica.pid, replica.detail = "handed", 0, ""
        replica.due = self._clock() + HANDOVER
        self._changed()

    def ended(self, key: Key, reason: ExitReason) -> Ending | None:
        """The process of a replica ended, or could not be started.

        Returns:
            What that means, or None where no such process was known.
        """
        replica = self._here.get(key)
        if replica is None or replica.state not in (*_ACTIVE, "stopping", "handing"):
            return None
        self._changed()
        if replica.state == "stopping":
            del self._here[key]
            return Ending("stopped", reason.words)
        if replica.state == "handing":
            self._handed(replica)
            return Ending("handed", reason.words)
        if not runs_again(replica.program, reason):
            del self._here[key]
            return Ending("ended", reason.words)
        return self._restart(replica, reason)

    def _restart(self, replica: Replica, reason: ExitReason) -> Ending:
        now = self._clock()
        program = replica.program
        replica.pid = 0
        if not replica.intensity.allows(now):
            replica.state = "given-up"
            limit = f"more than {program.restarts} restarts in {program.period:g} s"
            replica.detail = f"{limit}; the last end: {reason.words}"[:LONGEST_DETAIL]
            return Ending("given-up", replica.detail)
        if now - replica.began >= program.most:
            replica.tries = 0  # it ran well for long
        wait = pause(program, replica.tries, self._random)
        replica.tries += 1
        replica.restarts += 1
        replica.state, replica.due, replica.detail = "waiting", now + wait, reason.words[:LONGEST_DETAIL]
        return Ending("restart", f"{reason.words}; again in {wait:.2f} s")

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        for replica in list(self._here.values()):
            if replica.due > now:
                continue
            if replica.state == "waiting":
                self._start(replica)
            elif replica.state == "handed":
                del self._here[replica.key]
                self._changed()

    def due(self) -> float:
        """When :meth:`tick` has something to do, by the monotonic clock."""
        return min((r.due for r in self._here.values() if r.state in ("waiting", "handed")), default=float("inf"))
