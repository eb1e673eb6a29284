"""Who is alive: judged by this node itself, from when it, or a member it trusts to be up, last heard something.

A link that is silent for a second is pinged. A peer that stays silent is suspected, and the other members are
asked when they heard from it; after five seconds in which nobody did, it is down. One whose host refuses the
connection is down at once. Later evidence makes it up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from iridium.cluster import messages as m
from iridium.cluster.link import Link
from iridium.cluster.peer import NEVER, Outcome, Peer

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership

TICK = 0.25
"""Seconds between two looks at the clock: the precision of everything below."""

LATE = 1.0
"""A tick that comes this much too late means that this process was stopped, and knows nothing of that time."""

HANDSHAKE = 5.0
"""Seconds from a connection to the ready of both ends."""

SILENCE = 1.0
"""Seconds without a byte before a link is pinged."""

SUSPICION = 2.0
"""Seconds without a byte before a peer is suspected: a ping had a second to come back."""

SUSPICION_UNLINKED = 4.0
"""The same for a peer that only others have a link to: they had two rounds of digests to say they heard it."""

DEATH = 5.0
"""Seconds in which nobody heard from a peer before it is down."""

DIGEST_EVERY = 2.0
"""Seconds between two rounds of telling hashes."""

NEWS = 0.5
"""Seconds until a round when something changed, so that a mesh which forms talks once, not at each step."""

DIGEST_TO = 3
"""Members that a round goes to: news reaches a hundred nodes in a handful of rounds."""

TELL_AGAIN = 1.0
"""Seconds before the same member is sent all records again."""

TELL_AGAIN_MOST = 60.0
"""The longest such pause, reached when telling changes nothing."""

RETENTION = 24 * 3600.0
"""Seconds that a member which is down or left is remembered."""


class Liveness:
    """The part of the membership machine that time drives.

    Args:
        membership: the rest of it.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._last_tick = membership.clock()
        self._next_digest = self._last_tick

    # --- evidence ---

    def heard(self, peer: Peer) -> None:
        """Bytes of a peer arrived."""
        peer.heard = self._membership.clock()
        peer.pinged = None
        if peer.alive != "up":
            self._become(peer, "up")

    def told_of(self, peer: Peer, when: float) -> None:
        """A member that is up heard from a peer at a time.

        What is told is never told on: ages that are copied from node to node would make the dead immortal.
        """
        peer.told_of = max(peer.told_of, when)
        # Evidence from before it was suspected, or down, is none against that.
        fresh = self._membership.clock() - when < SUSPICION and when > peer.judged
        if peer.alive != "up" and fresh:
            self._become(peer, "up")

    def linked(self, peer: Peer) -> None:
        """A link to a peer is ready at both ends."""
        peer.heard = self._membership.clock()
        peer.pinged = None
        self._become(peer, "up")

    def news(self) -> None:
        """The records changed: do not wait for the next round to tell."""
        self._next_digest = min(self._next_digest, self._membership.clock() + NEWS)

    def unreachable(self, peer: Peer, outcome: Outcome, detail: str) -> None:
        """A dial failed: a refused connection means that the process is gone, silence that something is."""
        if outcome == "refused":
            self._become(peer, "down", detail)
        elif peer.alive == "up":
            self._become(peer, "suspect", detail)

    def left(self, peer: Peer, incarnation: int) -> None:
        """A peer said that it leaves, or another member says that it did."""
        membership = self._membership
        known = peer.record
        if incarnation < known.incarnation:
            return
        newly = not known.left or peer.gone is None
        peer.alive = "down"  # so that it comes back as news
        peer.record = m.MemberRecord(known.id, incarnation, known.alias, known.address, True)
        peer.next_dial = None
        if newly:
            peer.gone = membership.clock()
            membership.table.changed()
            membership.world.event("node-left", known.alias or known.id, "")

    def _become(self, peer: Peer, state: Literal["up", "suspect", "down"], why: str = "") -> None:
        if peer.alive == state or peer.record.left:
            return
        peer.alive = state
        peer.judged = self._membership.clock() if state != "up" else NEVER
        peer.gone = self._membership.clock() if state == "down" else None
        self._membership.world.event(f"node-{state}", peer.record.alias or peer.id, why or peer.record.address)

    # --- time ---

    def tick(self) -> None:
        """Look at the clock; call this every :data:`TICK` seconds."""
        membership = self._membership
        now = membership.clock()
        late = now - self._last_tick - TICK
        self._last_tick = now
        if late > LATE:
            self._forgive(late, now)
        membership.questions.tick(now)
        for link in list(membership.handshakes):
            if now - link.began > HANDSHAKE:
                membership.link_lost(link, f"no handshake within {HANDSHAKE:g} seconds")
        suspects = []
        for peer in list(membership.table.peers.values()):
            self._judge(peer, now)
            if peer.next_dial is not None and peer.next_dial <= now:
                membership.dialler.want(peer)
            if not peer.record.left and (peer.alive == "suspect" or (peer.alive == "up" and not peer.open_link)):
                suspects.append(peer.id)
            elif peer.gone is not None and now - peer.gone > RETENTION:
                membership.table.forget(peer.record)  # or a member that remembers it longer brings it back
                membership.drop(peer)
        # While the mesh forms, what would be told is about to change; but not for ever.
        if now >= self._next_digest + (DIGEST_EVERY if membership.handshakes and not suspects else 0.0):
            self._next_digest = now + DIGEST_EVERY * membership.random.uniform(0.75, 1.25)
            self._tell(suspects)

    def _forgive(self, late: float, now: float) -> None:
        """Restart every timer: while this process was stopped, others may have answered in vain."""
        membership = self._membership
        membership.questions.postpone(late)
        for link in membership.handshakes:
            link.began += late
        for peer in membership.table.peers.values():
            peer.excused = now
            peer.pinged = None
            if peer.link is not None:
                peer.link.heard = now

    def _judge(self, peer: Peer, now: float) -> None:
        if peer.record.left:
            return
        link = peer.open_link
        if link is not None:
            silent = now - link.heard
            if silent >= SILENCE and (peer.pinged is None or now - peer.pinged >= SILENCE):
                peer.pinged = now
                link.send(m.Ping(0))
        silent = now - max(peer.last_sign, peer.since, peer.excused)
        if peer.alive == "up" and silent >= (SUSPICION if link is not None else SUSPICION_UNLINKED):
            self._become(peer, "suspect", f"silent for {silent:.1f} s")
            self._next_digest = now
        elif peer.alive == "suspect" and silent >= DEATH:
            self._become(peer, "down", f"nobody heard from it for {silent:.1f} s")

    def _tell(self, suspects: list[str]) -> None:
        """Tell some members the hash of what we know; ask all about those we suspect."""
        membership = self._membership
        links = [p.open_link for p in membership.table.peers.values() if p.open_link]
        chosen = links if suspects else membership.random.sample(links, min(DIGEST_TO, len(links)))
        for link in chosen:
            link.send(m.Digest(membership.table.hash(), asks=suspects))

    def digest(self, peer: Peer, link: Link, message: m.Digest) -> None:
        """A member told what it knows, or asks what we do."""
        membership = self._membership
        now = membership.clock()
        if peer.alive == "up":
            for id, age in message.ages.items():
                subject = membership.table.peers.get(id)
                if subject is not None:
                    self.told_of(subject, now - age / 1000)
        if message.asks:
            known = [membership.table.peers[id] for id in message.asks if id in membership.table.peers]
            ages = {p.id: max(0, int(1000 * (now - p.heard))) for p in known if p.heard > now - RETENTION}
            link.send(m.Digest(ages=ages))
        own = membership.table.hash()
        if not message.hash or message.hash == own:
            return
        # The same difference again: telling did not help (one of us has forgotten somebody), so tell less often.
        again = peer.told_hashes == (own, message.hash)
        peer.told_pause = min(2 * peer.told_pause, TELL_AGAIN_MOST) if again else TELL_AGAIN
        if now - peer.told >= peer.told_pause or not again:
            peer.told = now
            peer.told_hashes = (own, message.hash)
            link.send(*m.member_lines(membership.table.records()))
