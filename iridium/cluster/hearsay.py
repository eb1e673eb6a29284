"""What members say of members: what of it is believed, and how a node outdoes what is wrong of itself.

A member may be wrong, or lie. Of a node that this one is linked to it is believed only once that node, asked
itself, does not answer: so nobody is cut off, or made to leave, by what others say. What a node says of itself is
taken as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iridium.cluster import messages as m
from iridium.cluster.identity import alias_problem
from iridium.cluster.link import Link
from iridium.cluster.peer import Peer, checked_address
from iridium.cluster.rules import is_newer, is_wildcard, join_address

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership

MOST_HEARSAY = m.MOST_INCARNATION - 2**20
"""Incarnations from here on are believed of a node that tells its own only: whatever is said of it by others,
there are a million left to outdo it with."""

REFUTE_AFTER = 0.05
"""Seconds in which what is said of this node is answered once, however much it is."""

DOUBT_AGAIN = 1.0
"""Seconds before a peer is asked again because of what others say of it."""


class Hearsay:
    """The part of the membership machine that takes the records of others.

    Args:
        membership: the rest of it.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._refuting = False

    def merge(self, record: m.MemberRecord, link: Link | None = None) -> None:
        """Take what a member says of a member; dial it if it is news.

        Args:
            record: what is said.
            link: who says it; None where it is remembered.
        """
        membership = self._membership
        if link is not None and record.incarnation >= MOST_HEARSAY and not _speaks_of_itself(link, record):
            return
        if record.id == membership.me.id:
            self._refute(record)
            return
        peer = membership.table.peers.get(record.id)
        if peer is not None and not is_newer(record, peer.record):
            return  # nearly always, where a mesh forms: judged before anything that takes longer
        try:
            bad = alias_problem(record.alias) or (record.address and checked_address(record, "") is None)
        except m.MessageError:
            bad = True
        if bad:
            return
        record = _dialable(record, peer, link)
        if membership.table.is_forgotten(record):
            return
        if peer is not None and link is not None and peer.link is not link and peer.open_link is not None:
            self._doubt(peer, peer.open_link, record)
        else:
            self._take(record, peer, link)

    def _take(self, record: m.MemberRecord, peer: Peer | None, link: Link | None) -> None:
        membership = self._membership
        if peer is None:
            if not membership.table.has_room(record):
                return
            peer = membership.add(record)
            if record.left:  # nobody knew it, so nobody misses it
                peer.gone = membership.clock()
                return
            membership.liveness.news()
        else:
            membership.renew(peer, record)
        if record.left:
            membership.liveness.left(peer, record.incarnation)
        else:
            peer.failures = 0
            if peer.link is not None and peer.link is link:
                link.incarnation = record.incarnation  # it speaks of itself
            elif peer.link is not None and peer.link.incarnation < record.incarnation:
                membership.cut(peer)  # that life is over, whether or not its connection knows
            if link is not None and link.open:
                membership.dialler.expect(peer)
            else:
                membership.dialler.want(peer)

    def _doubt(self, peer: Peer, held: Link, record: m.MemberRecord) -> None:
        """Ask a peer that we are linked to about what others say of it, and tell it, so that it can outdo it."""
        membership = self._membership
        now = membership.clock()
        if now - peer.doubted < DOUBT_AGAIN:
            return
        peer.doubted = now
        held.send(m.Members([record]))

        def judge(answered: bool) -> None:
            known = membership.table.peers.get(record.id)
            if known is not peer or not is_newer(record, peer.record):
                return
            if not answered or peer.open_link is not held:
                self._take(record, peer, None)
            elif not record.left:
                # It lives, and has not outdone it: so it may have said so itself, while we were not linked yet.
                held.incarnation = max(held.incarnation, record.incarnation)
                membership.renew(peer, record)

        membership.questions.ping(held, judge)

    def _refute(self, record: m.MemberRecord) -> None:
        """Outdo what is said of this node, if it is newer than what it says itself."""
        membership = self._membership
        me = membership.me
        if me.left or not is_newer(record, me.record()):
            return
        me.incarnation = record.incarnation + 1
        membership.table.changed()
        if not self._refuting:
            self._refuting = True
            membership.world.later(REFUTE_AFTER, self._tell_all)

    def _tell_all(self) -> None:
        self._refuting = False
        for peer in self._membership.table.peers.values():
            if peer.open_link:
                peer.open_link.send(m.Members([self._membership.me.record()]))


def _speaks_of_itself(link: Link, record: m.MemberRecord) -> bool:
    return isinstance(link.owner, Peer) and link.owner.id == record.id


def _dialable(record: m.MemberRecord, peer: Peer | None, link: Link | None) -> m.MemberRecord:
    """A record with an address that can be dialled, where it advertises one that stands for every host."""
    host, colon, port = record.address.rpartition(":")
    if not colon or not is_wildcard(host.strip("[]")):
        return record
    if link is not None and peer is not None and peer.link is link:  # it speaks of itself
        address = join_address(link.host, int(port))
    else:
        address = peer.record.address if peer is not None else ""
    return m.MemberRecord(record.id, record.incarnation, record.alias, address, record.left)
