"""Reaching others: the dials under way, and the joins that wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role
from iridium.cluster.peer import NEVER, Dial, Join, Outcome, Peer
from iridium.cluster.refusals import FINAL, RefusedError, UnreachableError
from iridium.cluster.rules import redial_delay
from iridium.cluster.vouching import TlsPeer
from iridium.errors import IridiumError

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership

EXPECTED = (0.25, 1.0)
"""Seconds, at least and at most, that a newcomer is given to call before it is called."""

RETRY = (0.0, 0.003, 0.02, 0.1)
"""Seconds until a dial that was hung up on is tried again, before the pauses that grow."""

HOPELESS = 12
"""Failures that a refusal which no waiting changes counts as: it leads to the longest pause."""


class Dialler:
    """The part of the membership machine that reaches for others.

    Args:
        membership: the rest of it.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self.joins: list[Join] = []
        self._dials: list[Dial] = []
        self._waiting: deque[Dial] = deque()

    @property
    def under_way(self) -> int:
        """Dials that have been started."""
        return len(self._dials)

    def _new_dial(self, address: str, peer: Peer | None, join: Join | None = None) -> Dial:
        return Dial(
            address,
            f"{self._membership.random.getrandbits(64):016x}",
            f"{self._membership.random.getrandbits(128):032x}",
            peer,
            join,
        )

    def want(self, peer: Peer) -> None:
        """Dial a peer, unless it is linked, being dialled, gone for good, or nowhere to be reached."""
        if peer.link or peer.dial or peer.record.left or not peer.record.address or self._membership.me.left:
            return
        peer.next_dial = None
        peer.dial = self._new_dial(peer.record.address, peer)
        self._start(peer.dial)

    def expect(self, peer: Peer) -> None:
        """Dial a peer that others told of in passing, unless it calls first: a newcomer dials everybody itself."""
        if not peer.link and not peer.dial:
            peer.next_dial = self._membership.clock() + self._membership.random.uniform(*EXPECTED)
            self._membership.liveness.hurry()

    def _start(self, dial: Dial) -> None:
        if len(self._dials) >= self._membership.limits.dials:
            # Whom this node has met comes before whom it was told of, who may be nobody: each of those may take
            # all of the time that a dial has.
            met = dial.join is not None or (dial.peer is not None and dial.peer.heard != NEVER)
            (self._waiting.appendleft if met else self._waiting.append)(dial)
            return
        self._dials.append(dial)
        dial.started = True
        self._membership.world.dial(dial)

    def connected(self, dial: Dial, host: str, certified: TlsPeer | None = None) -> Link | None:
        """A dial has its connection.

        Args:
            dial: which.
            host: the host at the other end.
            certified: whom its certificate is for; None without TLS.

        Returns:
            The link to feed with what arrives, its hello already queued; None when it is no longer wanted.
        """
        peer = dial.peer
        if dial not in self._dials or (peer is not None and peer.link is not None):
            self.finish(dial)
            return None
        membership = self._membership
        proving = membership.proving
        link = dial.link = Link(
            Role.DIALLER,
            host,
            membership.clock(),
            membership.world.output,
            dial.link_id,
            membership.limits,
            secret=proving.secrets is not None,
            peer=certified,
        )
        link.owner = dial
        self._membership.handshakes[link] = None
        if proving.secrets is not None:
            link.send(proving.first_hello(dial))
        else:
            link.send(self.hello(dial, peer.id if peer else self._who_is_at(dial.address)))
        return link

    def hello(self, dial: Dial, called: str) -> m.Hello:
        """All that a dial says.

        Args:
            dial: which.
            called: the id of who is called, as far as it is known.
        """
        me = self._membership.me
        session, received = self._membership.post.offer(called)
        return m.Hello(
            version=m.version_text(),
            cluster=me.cluster,
            id=me.id,
            incarnation=me.incarnation,
            alias=me.alias,
            address=me.address,
            want="join" if dial.join else "mesh",
            link=dial.link_id,
            lost=list(dial.peer.lost) if dial.peer else [],
            nonce=dial.nonce,
            auth="none" if self._membership.proving.secrets is None else "secret",
            life=me.life,
            peer=called,
            session=session,
            received=received,
        )

    def _who_is_at(self, address: str) -> str:
        """The member that was last known at an address: most likely the one that answers there."""
        return next((p.id for p in self._membership.table.peers.values() if p.record.address == address), "")

    def failed(self, dial: Dial, outcome: Outcome, detail: str) -> None:
        """A dial did not lead to a link."""
        if dial not in self._dials:
            return
        if dial.join:
            dial.join.fail(UnreachableError(f"{dial.address}: {detail}"))
        peer = dial.peer
        if peer is not None:
            if outcome == "closed" and peer.retries < len(RETRY):
                # A dying process closes its links before its port, and with that whoever came in meanwhile: so
                # ask again at once, and a little later.
                peer.next_dial = None
                self._membership.world.later(RETRY[peer.retries], lambda: self.want(peer))
                peer.retries += 1
                self.finish(dial)
                return
            self.later(peer)
            if not peer.link:
                self._membership.liveness.unreachable(peer, outcome, detail)
        self.finish(dial)

    def finish(self, dial: Dial) -> None:
        """A dial has ended, with a link or without."""
        if dial in self._dials:
            self._dials.remove(dial)
        elif dial in self._waiting:
            self._waiting.remove(dial)
        dial.link = None
        peer = dial.peer
        if peer is not None and peer.dial is dial:
            peer.dial = None
            held, peer.held = peer.held, None
            if held is not None and not held.closed:
                hello = held.owner
                assert isinstance(hello, m.Hello)
                self._membership.admission.consider(held, hello)
            self.settled(peer.id)
        self._clear_joins()
        while self._waiting and len(self._dials) < self._membership.limits.dials:
            self._start(self._waiting.popleft())

    def abandon(self, dial: Dial | None) -> None:
        """Stop a dial that nobody wants any more."""
        if dial is None:
            return
        if dial.link is not None:
            self._membership.handshakes.pop(dial.link, None)
            dial.link.close()
        elif dial.started:
            self._membership.world.hang_up(dial)
        self.finish(dial)

    def join(self, address: str, done: Callable[[], None], failed: Callable[[IridiumError], None]) -> Join:
        """Link to the node at an address and to every member it tells of.

        Args:
            address: HOST:PORT of any member.
            done: called once each member has accepted or failed.
            failed: called with a RefusedError or UnreachableError when the contact cannot be joined.
        """
        join = Join(address, done, failed)
        join.dial = self._new_dial(address, None, join)
        self.joins.append(join)
        self._start(join.dial)
        return join

    def cancel(self, join: Join) -> None:
        """Give a join up, and close what only it opened."""
        join.over = True
        self.abandon(join.dial)
        self._clear_joins()

    def settled(self, id: str) -> None:
        """A peer was reached, or could not be: joins that wait for it go on."""
        for join in list(self.joins):
            join.pending.pop(id, None)
            self.check(join)

    def check(self, join: Join) -> None:
        """Settle a join once nobody is left to wait for."""
        if join.dial is not None and join.dial in self._dials:
            return
        while join.pending:
            id = next(iter(join.pending))
            peer = self._membership.table.peers.get(id)
            if peer is not None and not peer.open_link and (peer.dial or peer.link):
                return  # one is enough: of a large mesh all are looked at once, not each time that one is reached
            del join.pending[id]
        join.settle()
        self._clear_joins()

    def _clear_joins(self) -> None:
        self.joins = [join for join in self.joins if not join.over]

    def refused(self, dial: Dial, refuse: m.Refuse) -> None:
        """The peer, or we on its behalf, said no to a dial."""
        membership = self._membership
        if dial.link is not None:
            membership.handshakes.pop(dial.link, None)
            dial.link.close()
        peer = dial.peer
        if dial.join:
            if refuse.reason == "DUPLICATE":
                self.await_others(dial.join)
            else:
                dial.join.fail(RefusedError(refuse.reason, refuse.detail, refuse.remedy))
        if peer is not None:
            if refuse.reason == "LEFT" and not membership.proving.speaks_for(dial.link, peer):
                membership.liveness.unreachable(peer, "refused", f"another node answers at {dial.address}")
            elif refuse.reason == "LEFT":
                membership.liveness.left(peer, peer.record.incarnation)
            elif refuse.reason != "DUPLICATE":
                detail = f"by it: {refuse.reason}: {refuse.detail}; {refuse.remedy}"
                membership.world.event("refused", membership.table.name_of(peer.id), detail)
            # A duplicate that we do not hold is one that the peer has yet to miss: it will, soon.
            self.later(peer, HOPELESS if refuse.reason in FINAL else 1)
        self.finish(dial)
        for join in list(self.joins):
            self.check(join)

    def reached(self, link: Link) -> None:
        """A link is ready at both ends: the dial that led to it, or raced with it, has ended."""
        for dial in [dial for dial in self._dials if dial.link is link]:
            if dial.join:
                self.await_others(dial.join)
            self.finish(dial)
        peer = link.owner
        assert isinstance(peer, Peer)
        if peer.dial is not None and peer.dial.link is None:
            self.abandon(peer.dial)  # its dial was quicker than ours
        self.settled(peer.id)

    def broken(self, link: Link, detail: str) -> None:
        """The connection of a dial is gone before its link was ready."""
        for dial in [dial for dial in self._dials if dial.link is link]:
            self.failed(dial, "closed", detail)

    def later(self, peer: Peer, failures: int = 1) -> None:
        """Dial a peer again after a pause that grows with every failure."""
        peer.failures += failures
        peer.next_dial = self._membership.clock() + redial_delay(peer.failures, self._membership.random)
        self._membership.liveness.hurry()

    def await_others(self, join: Join) -> None:
        """Keep a join waiting for every member that is being dialled."""
        join.pending.update((p.id, None) for p in self._membership.table.peers.values() if p.dial or p.link)

    def calls_itself(self, nonce: str) -> bool:
        """Whether a hello with this nonce is our own."""
        return any(dial.nonce == nonce for dial in self._dials)

    def stop(self, error: IridiumError) -> None:
        """End every dial and every join."""
        for join in list(self.joins):
            join.fail(error)
        self._waiting.clear()
        for dial in list(self._dials):
            self.abandon(dial)
