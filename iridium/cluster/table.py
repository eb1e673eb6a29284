"""Whom a node knows: records, names, and the hash that tells whether two nodes know the same."""

from __future__ import annotations

import hashlib

from iridium.cluster import messages as m
from iridium.cluster.peer import NEVER, Me, Peer, Surroundings
from iridium.cluster.rules import name_holder
from iridium.cluster.types import Member
from iridium.errors import CommandError

MOST_MEMBERS = 256
"""Members of a cluster: at 255 links a node a full mesh still costs each node little."""

MOST_RECORDS = 1024
"""Members known, those included that are down or left."""

LEAST_PREFIX = 4
"""Characters of an id that are enough to name a node."""


class Table:
    """The members that a node knows, itself included.

    Args:
        me: the node.
        world: is told when the records change.
    """

    def __init__(self, me: Me, world: Surroundings) -> None:
        self.me = me
        self.peers: dict[str, Peer] = {}
        self._world = world
        self._hash = ""
        self._living: int | None = None
        self._forgotten: dict[str, int] = {}

    def members(self) -> list[Member]:
        """This node and every other that it knows of, this node first."""
        me = self.me
        own = Member(me.id, self.alias_of(me.id), me.address, me.incarnation, "left" if me.left else "up", True)
        return [own, *(peer.member(self.alias_of(peer.id)) for peer in self.peers.values())]

    def alias_of(self, id: str) -> str:
        """The alias that a node holds: its own, unless another live node with a smaller id has the same."""
        known = self.me if id == self.me.id else self.peers[id].record if id in self.peers else None
        if known is None or not known.alias:
            return ""
        alias = known.alias
        rivals = [p.id for p in self.holders(alias)]
        if self.me.alias == alias:
            rivals.append(self.me.id)
        return alias if not rivals or name_holder(rivals) == id else ""

    def holders(self, alias: str) -> list[Peer]:
        """The other live members that were started with an alias."""
        # One of which only the record arrived, and no sign of life since, may be long gone: it holds no name.
        return [
            p
            for p in self.peers.values()
            if p.record.alias == alias and p.state in ("up", "suspect") and p.last_sign >= p.since
        ]

    def name_of(self, id: str) -> str:
        """What a person calls a node."""
        return self.alias_of(id) or id

    def find(self, target: str) -> Peer:
        """The peer with that id, else that alias, else the only one whose id starts so.

        Raises:
            CommandError: there is none, or several.
        """
        if target in self.peers:
            return self.peers[target]
        for peer in self.peers.values():
            if target and self.alias_of(peer.id) == target:
                return peer
        matching = [p for p in self.peers.values() if p.id.startswith(target)]
        if len(target) < LEAST_PREFIX or not matching:
            if target in (self.me.id, self.me.alias):
                raise CommandError(f"{target} is this node itself")
            raise CommandError(f"no member is called {target}; !cluster_members lists them")
        if len(matching) > 1:
            raise _ambiguous(target, len(matching))
        return matching[0]

    def is_me(self, target: str) -> bool:
        """Whether a target is this node: by its id or alias, else by the beginning of its id.

        Raises:
            CommandError: other ids begin so, too.
        """
        if target and target in (self.me.id, self.me.alias):
            return True
        named = any(self.alias_of(id) == target for id in self.peers)
        if named or len(target) < LEAST_PREFIX or not self.me.id.startswith(target):
            return False
        others = sum(id.startswith(target) for id in self.peers)
        if others:
            raise _ambiguous(target, others + 1)
        return True

    def hash(self) -> str:
        """A hash of all records; equal hashes mean that there is nothing to tell.

        Addresses are left out: each node may see another under a different one, and they only change with the
        incarnation.
        """
        if not self._hash:
            rows = sorted((r.id, r.incarnation, r.left) for r in self.records())
            self._hash = hashlib.sha256(repr(rows).encode()).hexdigest()[:32]
        return self._hash

    def records(self, newcomers: bool = False) -> list[m.MemberRecord]:
        """What this node tells others: itself and all it knows.

        Args:
            newcomers: also those whose handshake is not over. Whoever joins is told of them, since two that join
                the same contact at once must hear of each other from it. Nobody else is: the whole cluster would
                remember a stranger that says hello and hangs up.
        """
        return [self.me.record(), *(p.record for p in self.peers.values() if newcomers or not p.newcomer)]

    def changed(self) -> None:
        """Note that the records are not what they were."""
        self._hash = ""
        self._living = None
        self._world.changed()

    def living(self) -> int:
        """How many other members have not left."""
        if self._living is None:
            self._living = sum(not p.record.left for p in self.peers.values())
        return self._living

    def forget(self, record: m.MemberRecord) -> None:
        """Do not take a member back on anybody's word but its own, until it starts anew."""
        if len(self._forgotten) >= MOST_RECORDS:
            del self._forgotten[next(iter(self._forgotten))]
        self._forgotten[record.id] = record.incarnation

    def recall(self, id: str) -> None:
        """Take a forgotten member back: it said hello itself."""
        self._forgotten.pop(id, None)

    def is_forgotten(self, record: m.MemberRecord) -> bool:
        """Whether a record speaks of a life that was forgotten."""
        return record.incarnation <= self._forgotten.get(record.id, -1)

    def has_room(self, record: m.MemberRecord) -> bool:
        """Whether a member that is not known yet can be taken."""
        if record.left:
            return len(self.peers) < MOST_RECORDS  # nobody that is known need be forgotten for it
        return self.living() < MOST_MEMBERS - 1 and (
            len(self.peers) < MOST_RECORDS or self.longest_gone() is not None
        )

    def rumour(self) -> Peer | None:
        """A member that is down, and that this node knows from others alone; None where there is none.

        Who has come himself takes its place, where there is no other: or a member that invents others could keep
        everybody out.
        """
        return next(
            (p for p in self.peers.values() if p.state == "down" and p.heard == NEVER and not p.link), None
        )

    def longest_gone(self) -> Peer | None:
        """The member that went down or left before all others, or None where none is gone."""
        gone = [peer for peer in self.peers.values() if peer.gone is not None and peer.link is None]
        return min(gone, key=lambda peer: peer.gone or 0.0, default=None)


def _ambiguous(target: str, count: int) -> CommandError:
    return CommandError(f"{count} ids start with {target}; type more of it")
