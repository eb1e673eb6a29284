"""Who is alive: judged by this node itself, from when it, or a member it trusts to be up, last heard something.

Links that are silent are pinged in turn, a few a second: with every member doing so, somebody asks each member
about once a second, however large the mesh is, and a quiet mesh costs its hosts next to nothing. A peer that owes
an answer for a second is suspected; the other members are asked when they heard from it, and ping it themselves.
After five seconds in which nobody heard from it, it is down. One whose host refuses the connection is down at
once. Later evidence makes it up again: the others are asked about the dead too, now and then, in case that one of
them is reached by somebody else.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Literal

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role
from iridium.cluster.peer import NEVER, Outcome, Peer

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership

TICK = 0.25
"""Seconds between two looks at the clock while something is pending: the precision of everything below."""

IDLE = 1.0
"""Seconds between two looks while nothing is: no wait is shorter, so each is seen to in time."""

LATE = 1.0
"""A tick that comes this much too late means that this process was stopped, and knows nothing of that time."""

UNSURE = 0.25
"""Seconds after such a tick in which what arrives is no sign of life: the kernel kept it since who knows when."""

LOT = 32
"""Unfinished connections that are closed at once: hundreds would keep the members waiting."""

NEXT_LOT = 0.02
"""Seconds until more of them are."""

SILENCE = 1.0
"""Seconds without a byte before a link may be pinged, and seconds that an answer may take."""

ASKED = 0.5
"""The same for a peer that another member asks about: it wants to know of now."""

ROUND = 50.0
"""Seconds in which every silent link is pinged once, in a large mesh."""

PINGS = 1.0
"""Pings a second where that is more than a round needs: in a small mesh each link has its turn much sooner."""

SUSPICION = 2.0
"""Seconds in which nobody heard from a peer that owes an answer before it is suspected."""

HEARING = 0.5
"""Seconds from suspicion to the verdict at least: the other members are asked, and what they say arrives."""

SUSPICION_UNLINKED = 4.0
"""The same for a peer that only others have a link to: they were asked several times."""

DEATH = 5.0
"""Seconds in which nobody heard from a peer before it is down."""

DIGEST_EVERY = 3.0
"""Seconds between two rounds of telling hashes."""

ASK_EVERY = 1.0
"""Seconds between two rounds of asking about members in doubt."""

NEWS = 0.5
"""Seconds until a round when something changed, so that a mesh which forms talks once, not at each step."""

DIGEST_TO = 3
"""Members that a round goes to: news reaches a hundred nodes in a handful of rounds."""

MISSED_FOR = 2 * DEATH
"""Seconds that a peer has been down before others are asked about it: what they say is no echo of its last."""

MOST_MISSED = 16
"""Members that are down of which a round asks: it says little more than a round without."""

TELL_LEAST = 0.25
"""Seconds before it is even where the difference is another: a short line is not each time worth long ones."""

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
        self._last_tick = self._due = membership.clock()
        self._next_digest = self._last_tick
        self._allowance = 0.0  # pings that may go out now
        self._unsure = NEVER  # until when bytes that arrive may have waited while this process was stopped

    # --- evidence ---

    def heard(self, peer: Peer) -> None:
        """Bytes of a peer arrived."""
        now = self._membership.clock()
        if now - self._due > LATE or now < self._unsure:
            return  # this process was stopped: they may be as old as that, and their sender dead
        peer.heard = now
        peer.pinged = None
        if peer.alive != "up":
            self._become(peer, "up")

    def told_of(self, peer: Peer, when: float) -> None:
        """A member that is up heard from a peer at a time.

        What is told is never told on: ages that are copied from node to node would make the dead immortal.
        """
        peer.told_of = max(peer.told_of, when)
        # Evidence from before it was suspected, or down, is none against that.
        patience = DEATH if peer.alive == "down" else SUSPICION
        fresh = self._membership.clock() - when < patience and when > peer.judged
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
        self.hurry()

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
        membership.post.end(peer.id, "left")

    def _become(self, peer: Peer, state: Literal["up", "suspect", "down"], why: str = "") -> None:
        if peer.alive == state or peer.record.left:
            return
        peer.alive = state
        peer.judged = self._membership.clock() if state != "up" else NEVER
        peer.gone = self._membership.clock() if state == "down" else None
        self._membership.world.event(f"node-{state}", peer.record.alias or peer.id, why or peer.record.address)
        if state == "down":
            self._membership.post.end(peer.id, "down")

    # --- time ---

    def hurry(self) -> None:
        """Something is due soon: do not idle until the next look at the clock."""
        self._due = min(self._due, self._membership.clock() + TICK)
        self._membership.world.hurry()

    def tick(self) -> float:
        """Look at the clock.

        Returns:
            Seconds until this is to be called again: :data:`TICK`, :data:`IDLE`, or :data:`NEXT_LOT`.
        """
        membership = self._membership
        now = membership.clock()
        late = now - self._due
        elapsed, self._last_tick = now - self._last_tick, now
        if late > LATE:
            self._forgive(late, now)
        membership.questions.tick(now)
        overdue = [link for link in membership.handshakes if now - link.began > membership.limits.handshake]
        for link in overdue[:LOT]:
            problem = f"no handshake within {membership.limits.handshake:g} seconds"
            if link.role is Role.ACCEPTOR:  # what we dialled is known by its dial
                membership.world.complain(link.host, problem)
            membership.link_lost(link, problem)
        slow = [one for one in membership.greetings if now - one.began > membership.limits.handshake]
        for greeting in slow[:LOT]:
            greeting.give_up(f"no handshake within {membership.limits.handshake:g} seconds")
        suspects = []
        missed = []
        links = []
        busy = bool(membership.handshakes or membership.greetings or membership.questions.open)
        for peer in list(membership.table.peers.values()):
            open = peer.link is not None and peer.link.open
            if open and peer.pinged is None and peer.alive == "up" and peer.next_dial is None:
                links.append(peer)  # nearly all, nearly always
                continue
            doubtful = not open or (peer.pinged is not None and now - peer.pinged >= SILENCE)
            self._judge(peer, now, doubtful)
            if peer.next_dial is not None and peer.next_dial <= now:
                membership.dialler.want(peer)
            # One just told of is being dialled: to ask all others about it would only slow a mesh that forms.
            new = peer.judged == NEVER and now - peer.since < SUSPICION
            suspect = (peer.alive == "suspect" and not new) or (peer.alive == "up" and doubtful)
            if suspect and not peer.record.left:
                suspects.append(peer.id)
            elif peer.gone is not None and now - peer.gone > RETENTION:
                membership.table.forget(peer.record)  # or a member that remembers it longer brings it back
                membership.drop(peer)
            elif peer.alive == "down" and not peer.record.left and now - peer.judged > MISSED_FOR:
                missed.append(peer.id)
            in_doubt = peer.alive != "down" and not peer.record.left
            busy = busy or in_doubt or (peer.next_dial is not None and peer.next_dial - now < IDLE)
        self._ping_some(links, now, elapsed)
        if suspects:
            self._next_digest = min(self._next_digest, now + ASK_EVERY)
        # While the mesh forms, what would be told is about to change; but not for ever.
        if now >= self._next_digest + (DIGEST_EVERY if membership.handshakes and not suspects else 0.0):
            pause = ASK_EVERY if suspects else DIGEST_EVERY
            self._next_digest = now + pause * membership.random.uniform(0.75, 1.25)
            self._tell(suspects, missed)
        pause = NEXT_LOT if max(len(overdue), len(slow)) > LOT else TICK if busy else IDLE
        self._due = now + pause
        return pause

    def _forgive(self, late: float, now: float) -> None:
        """Restart every timer: while this process was stopped, others may have answered in vain."""
        membership = self._membership
        self._unsure = now + UNSURE
        membership.questions.postpone(late)
        for link in membership.handshakes:
            link.began += late
        for greeting in membership.greetings:
            greeting.began += late
        for peer in membership.table.peers.values():
            peer.excused = now
            peer.pinged = None
            if peer.link is not None:
                peer.link.heard = now

    def _judge(self, peer: Peer, now: float, doubtful: bool) -> None:
        if peer.record.left:
            return
        silent = now - max(peer.last_sign, peer.since, peer.excused)
        patience = SUSPICION if peer.link is not None else SUSPICION_UNLINKED
        if peer.alive == "up" and doubtful and silent >= patience:
            self._become(peer, "suspect", f"silent for {silent:.1f} s")
            self._next_digest = now
        elif peer.alive == "suspect" and silent >= DEATH and now - max(peer.judged, peer.since) >= HEARING:
            self._become(peer, "down", f"nobody heard from it for {silent:.1f} s")

    def _ping_some(self, linked: list[Peer], now: float, elapsed: float) -> None:
        """Ping the peers that have been silent longest, so many that all had their turn in a round."""
        self._allowance = min(self._allowance, 1.0) + min(elapsed, IDLE) * max(PINGS, len(linked) / ROUND)
        turn = int(self._allowance)
        silent = [peer for peer in linked if now - peer.heard >= SILENCE] if turn else []
        for peer in nsmallest(turn, silent, key=lambda peer: peer.heard):
            self._allowance -= 1
            self._ping(peer, now)

    def _ping(self, peer: Peer, now: float) -> None:
        # One ping is enough until it is answered: the connection delivers it, or breaks.
        link = peer.open_link
        if link is not None:
            peer.pinged = now
            link.send(m.Ping(0))

    def _tell(self, suspects: list[str], missed: list[str]) -> None:
        """Tell some members the hash of what we know; ask all about those we suspect, some about those we miss."""
        membership = self._membership
        links = [p.open_link for p in membership.table.peers.values() if p.open_link]
        chosen = links if suspects else membership.random.sample(links, min(DIGEST_TO, len(links)))
        # One that nobody heard from may be back, and out of our reach alone.
        asks = suspects + membership.random.sample(missed, min(MOST_MISSED, len(missed)))
        for link in chosen:
            link.send(m.Digest(membership.table.hash(), asks=asks))

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
            for asked in known:
                if asked.pinged is None and now - asked.heard >= ASKED:
                    self._ping(asked, now)
            # Of one that is down for us we know more than when we last heard from it.
            told = [p for p in known if p.alive != "down" and p.heard > now - RETENTION]
            ages = {p.id: max(0, int(1000 * (now - p.heard))) for p in told}
            link.send(m.Digest(ages=ages))
        own = membership.table.hash()
        if not message.hash or message.hash == own:
            return
        # The same difference again: telling did not help (one of us has forgotten somebody), so tell less often.
        again = peer.told_hashes == (own, message.hash)
        peer.told_pause = min(2 * peer.told_pause, TELL_AGAIN_MOST) if again else TELL_AGAIN
        if now - peer.told >= (peer.told_pause if again else TELL_LEAST):
            peer.told = now
            peer.told_hashes = (own, message.hash)
            link.send(*m.member_lines(membership.table.records()))
