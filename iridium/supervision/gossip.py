"""How nodes come to know the same records and claims: told at once when they change, compared every few seconds.

What differs is found by a hash, then by a summary, then sent. Claims have one author each; records are merged. So
it does not matter in which order, how often and by which way they arrive.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

import msgspec

from iridium.supervision.messages import Claims, Hello, Message, Summary, Told

if TYPE_CHECKING:
    from iridium.supervision.machine import Machine

COMPARE_EVERY = 2.0
"""Seconds between two rounds of hashes."""

COMPARE_WITH = 3
"""Members that a round goes to: news that could not be told directly reaches a hundred nodes in a few rounds."""

TELL_EVERY = 0.1
"""Seconds between two tellings of this node's claims, so that many changes are one message."""


class Gossip:
    """The part of the machine that talks.

    Args:
        machine: the rest of it.
        random: the source of whom to tell.
    """

    def __init__(self, machine: Machine, random: Random) -> None:
        self._machine = machine
        self._random = random
        self._next_round = machine.clock() + COMPARE_EVERY
        self._sequence = 1
        self._untold = True
        self._told = float("-inf")
        self._accepted = False
        self._news: dict[str, None] = {}

    def claims_changed(self) -> None:
        """The claims of this node changed."""
        self._untold = True
        self._sequence += 1

    def spread(self, name: str) -> None:
        """Tell every member of a record."""
        self._news[name] = None

    @property
    def unsettled(self) -> bool:
        """Whether this node has begun, or ceased, to take replicas and nobody knows yet."""
        return self._accepted != self._machine.accepts

    def greet(self, node: str) -> None:
        """Tell a member that is newly up what this node runs, and what it knows, in short."""
        self._machine.world.send(node, self._own())
        self._machine.world.send(node, self._summary())

    def flush(self) -> None:
        """Tell what is to be told now."""
        machine = self._machine
        self._note_acceptance()
        news = [record for name in self._news if (record := machine.records.get(name)) is not None]
        self._news.clear()
        for node in machine.holdings.up() if news else ():
            for record in news:
                machine.world.send(node, Told(record))
        if self._untold and machine.clock() - self._told >= TELL_EVERY:
            self._untold = False
            self._told = machine.clock()
            claims = self._own()
            for node in machine.holdings.up():
                machine.world.send(node, claims)

    def tick(self) -> None:
        """Compare with some members, if it is time. Whoever knows of no application leaves that to the others."""
        machine = self._machine
        now = machine.clock()
        if now < self._next_round:
            return
        self._next_round = now + COMPARE_EVERY * self._random.uniform(0.75, 1.25)
        members = machine.holdings.up() if machine.records.all() else []
        for node in self._random.sample(members, min(COMPARE_WITH, len(members))):
            machine.world.send(node, Hello(self._hash()))

    def due(self) -> float:
        """When there is something to tell, by the monotonic clock."""
        never = float("inf")
        next_round = self._next_round if self._machine.records.all() else never
        return min(next_round, self._told + TELL_EVERY if self._untold else never)

    def receive(self, node: str, message: Message) -> None:
        """A member sent something."""
        machine = self._machine
        if isinstance(message, Told):
            machine.learn(message.record)
        elif isinstance(message, Claims):
            if machine.holdings.take(message):
                machine.news()
        elif isinstance(message, Hello):
            if message.hash != self._hash():
                machine.world.send(node, self._summary())
        elif isinstance(message, Summary):
            self._compare(node, message)

    def _compare(self, node: str, theirs: Summary) -> None:
        machine = self._machine
        behind = False
        for record in machine.records.all():
            there = theirs.records.get(record.name)
            if there != record.fingerprint():
                behind = behind or (there is not None and there[:2] >= record.order)
                if there is None or there[:2] <= record.order:
                    machine.world.send(node, Told(record))
        behind = behind or any(machine.records.get(name) is None for name in theirs.records)
        for member, order in self._summary().claims.items():
            if theirs.claims.get(member, (-1, -1)) < order and member != node:
                machine.world.send(node, self._own() if member == machine.me else self._passed_on(member))
        behind = behind or machine.holdings.is_behind(theirs.claims)
        if behind and not theirs.again:
            machine.world.send(node, msgspec.structs.replace(self._summary(), again=True))

    def _passed_on(self, member: str) -> Claims:
        claims = self._machine.holdings.known(member)
        assert claims is not None
        return claims

    def _note_acceptance(self) -> None:
        if self.unsettled:
            self._accepted = self._machine.accepts
            self.claims_changed()

    def _own(self) -> Claims:
        self._note_acceptance()
        return self._machine.own_claims(self._sequence)

    def _summary(self) -> Summary:
        machine = self._machine
        records = {record.name: record.fingerprint() for record in machine.records.all()}
        return Summary(records, {machine.me: (machine.life, self._sequence), **machine.holdings.summary()})

    def _hash(self) -> str:
        known = sorted(self._summary().claims.items())
        told = (self._machine.records.hash() + msgspec.json.encode(known).decode()).encode()
        return hashlib.sha256(told).hexdigest()
