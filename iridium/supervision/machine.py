"""Supervision as one node sees it, without I/O and without a leader.

Every node knows every record (what is to run) and the claims of every member (what runs where). From that each
decides for itself what to start and stop here; :mod:`~iridium.supervision.gossip` tells the others. The rules are
in ``docs/supervision.md``, and in :meth:`Machine.decide`, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

import msgspec

from iridium.supervision.gossip import Gossip
from iridium.supervision.holdings import Holdings, rank
from iridium.supervision.messages import Claims, Message
from iridium.supervision.placement import place
from iridium.supervision.records import Records
from iridium.supervision.replicas import Replicas, Starter
from iridium.supervision.types import (
    EACH,
    LONGEST_DETAIL,
    MOST_CLAIMS,
    MOST_ENDED,
    ApplicationView,
    Claim,
    ExitReason,
    Key,
    Program,
    Record,
    make_record,
)
from iridium.supervision.view import view

SETTLE = 2.0
"""Seconds after a start with known applications, in which the node finds the others before it starts anything."""

SETTLE_MOST = 6.0
"""The longest that a newly started node waits for members that still settle, so that they share the work."""

MEET = 1.0
"""Seconds after a node that was alone met another, in which it starts nothing new: it first learns what runs."""

TICK = 0.25
"""Seconds between two looks at the clock, where nothing is due sooner."""

IDLE = 1.0
"""The same for a node without applications."""


class World(Starter, Protocol):
    """What acts for the machine."""

    def send(self, node: str, message: Message) -> bool:
        """Send a message to a member; whether there was a way."""

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Something happened that people may want to know."""

    def name(self, node: str) -> str:
        """What people call a member."""

    def records_changed(self) -> None:
        """The records should be saved, and images that they need be there."""


class Machine:
    """The applications of the cluster, and the replicas of this node.

    Args:
        me: this node's id.
        life: grows with every start of this node.
        world: what acts for the machine.
        clock: gives seconds of a monotonic clock.
        wall_clock: gives Unix seconds.
        random: the source of jitter and of whom to tell.
        known: the records from an earlier life.
    """

    def __init__(
        self,
        me: str,
        life: int,
        world: World,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        random: Random,
        known: Iterable[Record] = (),
    ) -> None:
        self.me = me
        self.life = life
        self.world = world
        self.clock = clock
        self.records = Records(wall_clock)
        self.holdings = Holdings(me, clock)
        self.replicas = Replicas(world, clock, random, self._claims_changed)
        self.gossip = Gossip(self, random)
        self._balanced: dict[str, int] = {}
        self._stopping = self._parted = False
        self._deciding = False
        self._dirty = True
        self._held_back = False
        for record in known:
            self.records.take(record)
            self._balanced[record.deployment] = record.balanced
        self._began = clock()
        self._newborn = bool(self.records.all())
        self._settled = clock() + (SETTLE if self._newborn else 0.0)

    # --- what people want ---

    def deploy(self, name: str, programs: tuple[Program, ...]) -> Record:
        """Have an application run, in place of what ran under its name."""
        record = make_record(name, self.records.next_version(name), programs)
        self.learn(record)
        return record

    def stop(self, name: str) -> Record:
        """Have an application run no more; it is known to exist."""
        record = make_record(name, self.records.next_version(name), stopped=True)
        self.learn(record)
        return record

    def rebalance(self, record: Record) -> None:
        """Have the replicas of an application move to where they would be placed if none ran."""
        now = max(record.balanced + 1, self.records.now())
        self.learn(msgspec.structs.replace(record, balanced=now))

    def view(self) -> list[ApplicationView]:
        """The applications and their replicas, for people."""
        claims = [(self.me, claim) for claim in self.replicas.claims()]
        claims += [(told.node, claim) for told in self.holdings.counted() for claim in told.claims]
        return view(self.records, claims, [self.me, *self.holdings.up()], self.world.name)

    # --- what happens ---

    def member_up(self, node: str) -> None:
        """A member is up."""
        if not self.holdings.up():
            self._settled = max(self._settled, self.clock() + MEET)
        self.holdings.rise(node)
        self.gossip.greet(node)
        self._changed()

    def member_down(self, node: str) -> None:
        """A member is down, or has left: what it claimed is to run elsewhere."""
        self.holdings.fall(node)
        self._changed()

    def receive(self, node: str, message: Message) -> None:
        """A member sent something."""
        self.gossip.receive(node, message)
        self._settle_changes()

    def started(self, key: Key, pid: int) -> None:
        """The process of a replica runs here."""
        self.replicas.started(key, pid)
        self._settle_changes()

    def ended(self, key: Key, reason: ExitReason) -> None:
        """The process of a replica here ended, or could not be started."""
        ending = self.replicas.ended(key, reason)
        if ending is None:
            return
        self.world.event(f"replica-{ending.kind}", str(key), ending.detail)
        record = self.records.get(key.application)
        if ending.kind == "ended" and record is not None and record.deployment == key.deployment:
            ended = {key.place: reason.words[:LONGEST_DETAIL]}
            self.learn(_add_ended(record, ended))
        self._changed()

    def tick(self) -> float:
        """Look at the clock.

        Returns:
            Seconds until this is to be called again, at the latest.
        """
        self.replicas.tick()
        self.gossip.tick()
        self.records.forget_old()
        self.holdings.forget_old()
        # What was held back waits only for time to pass: members that are awaited, a node that settles.
        self._dirty = self._dirty or self.gossip.unsettled or self._held_back
        self._settle_changes()
        return self.pause()

    def pause(self) -> float:
        """Seconds until :meth:`tick` is to be called."""
        longest = TICK if self.records.all() or self.replicas.all() else IDLE
        due = min(self.replicas.due(), self.gossip.due()) - self.clock()
        return min(longest, max(0.0, due))

    def part(self) -> None:
        """The node is about to leave its cluster, and with it the applications: end its replicas, know of none.

        Until :meth:`rejoin` it learns and takes nothing.
        """
        self._parted = True
        self.records.clear()
        self.holdings.clear()
        self.world.records_changed()
        self._changed()

    def rejoin(self) -> None:
        """The node has left, or its leave failed: from now on it may have applications again."""
        self._parted = False
        self._changed()

    def shut(self) -> None:
        """The node stops: end its replicas, and tell the others that it takes none, so that they need not wait."""
        self._stopping = True
        self._claims_changed()
        self._changed()

    # --- what follows from it ---

    @property
    def accepts(self) -> bool:
        """Whether this node takes replicas."""
        return not (self._stopping or self._parted) and self.clock() >= self._settled

    def _may_start(self) -> bool:
        """Whether enough is known of the others to start what nobody runs."""
        if not self.accepts or self.holdings.awaited() or self.holdings.settling():
            return False
        if self._newborn and self.clock() < self._began + SETTLE_MOST:
            self._newborn = len(self.holdings.taking()) < len(self.holdings.up())
        else:
            self._newborn = False
        return not self._newborn

    def learn(self, record: Record) -> bool:
        """Take a record, from a person or a member.

        Returns:
            Whether it is news.
        """
        before = self.records.get(record.name)
        if self._parted or not self.records.take(record):
            return False
        now = self.records.get(record.name)
        if now is not None and (before is None or before.deployment != now.deployment):
            self._balanced[now.deployment] = now.balanced
            if before is not None:
                self._balanced.pop(before.deployment, None)
            kind = "application-stopped" if now.stopped else "application-deployed"
            self.world.event(kind, now.name, f"version {now.version}")
        self.gossip.spread(record.name)
        self.world.records_changed()
        self._changed()
        return True

    def news(self) -> None:
        """The claims of a member changed."""
        self._dirty = True

    def _claims_changed(self) -> None:
        self.gossip.claims_changed()

    def _changed(self) -> None:
        self._dirty = True
        self._settle_changes()

    def _settle_changes(self) -> None:
        # What is decided may change what is known at once, where a process ends as soon as it is killed.
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._dirty:
                self._dirty = False
                self.decide()
        finally:
            self._deciding = False
        self.gossip.flush()

    def decide(self) -> None:
        """Stop here what is not to run here, start what nobody runs, hand over what is to move."""
        counted = self.holdings.counted()
        held: dict[Key, tuple[Claim, str]] = {}
        promised: dict[Key, str] = {}
        for claims in counted:
            for claim in claims.claims:
                if claim.state == "handed":
                    promised[claim.key] = claim.to
                elif claim.key not in held or rank(claim, claims.node) < rank(*held[claim.key]):
                    held[claim.key] = claim, claims.node
        self._let_go(held)
        self._held_back = not self._may_start()
        if self._held_back:
            return
        nodes = sorted([self.me, *self.holdings.taking()])
        for record in self.records.all():
            if not record.stopped:
                for program in record.programs:
                    self._start_missing(record, program, nodes, held, promised)
                self._balance(record, nodes)

    def _let_go(self, held: dict[Key, tuple[Claim, str]]) -> None:
        for replica in self.replicas.all():
            key = replica.key
            if self._stopping or self.records.wanted(key) is None:
                if replica.state != "stopping":
                    self.replicas.stop(key)
            elif key in held:
                claim, node = held[key]
                own = replica.claim()
                if own is None:
                    continue
                if replica.state == "handed":
                    self.replicas.stop(key)
                elif rank(claim, node) < rank(own, self.me):
                    self.world.event("replica-duplicate", str(key), f"{self.world.name(node)} keeps it")
                    self.replicas.stop(key)

    def _start_missing(
        self,
        record: Record,
        program: Program,
        nodes: list[str],
        held: dict[Key, tuple[Claim, str]],
        promised: dict[Key, str],
    ) -> None:
        load: dict[str, int] = {}
        missing = []
        for name in program.replicas_on(self.me):
            key = Key(record.name, record.deployment, program.name, name)
            here = key in self.replicas
            to = promised.get(key)
            if here or key in held:
                node = self.me if here else held[key][1]
                load[node] = load.get(node, 0) + 1
            elif to is not None and to != self.me and to in nodes:
                load[to] = load.get(to, 0) + 1
            elif key.place in record.ended:
                continue
            elif to == self.me or program.replicas == EACH:
                load[self.me] = load.get(self.me, 0) + 1
                self._begin(key, program)
            else:
                missing.append(name)
        for name, node in place(f"{record.name}/{program.name}", missing, nodes, load).items():
            if node == self.me:
                self._begin(Key(record.name, record.deployment, program.name, name), program)

    def _begin(self, key: Key, program: Program) -> None:
        if len(self.replicas) >= MOST_CLAIMS:
            return  # two clusters became one, with more applications than either would take: some wait
        self.replicas.begin(key, program, self.records.now())

    def _balance(self, record: Record, nodes: list[str]) -> None:
        if record.balanced <= self._balanced.setdefault(record.deployment, record.balanced):
            return
        self._balanced[record.deployment] = record.balanced
        for program in record.programs:
            if program.replicas == EACH:
                continue
            names = [n for n in program.replicas_on("") if f"{program.name}/{n}" not in record.ended]
            for name, node in place(f"{record.name}/{program.name}", names, nodes).items():
                key = Key(record.name, record.deployment, program.name, name)
                if key in self.replicas and node != self.me:
                    self.world.event("replica-moves", str(key), f"to {self.world.name(node)}")
                    self.replicas.hand(key, node)

    def own_claims(self, sequence: int) -> Claims:
        """What this node tells of itself."""
        return Claims(self.me, self.life, sequence, self.accepts, self.replicas.claims())


def _add_ended(record: Record, ended: dict[str, str]) -> Record:
    """The record with more replicas that have ended, as far as it has room."""
    return msgspec.structs.replace(record, ended=dict(sorted({**record.ended, **ended}.items())[:MOST_ENDED]))
