"""What other nodes say that they run. No I/O; the clock is passed in."""

from __future__ import annotations

from collections.abc import Callable

from iridium.supervision.messages import MOST_NODES, Claims
from iridium.supervision.types import Claim

PATIENCE = 0.5
"""Seconds that a member which is newly up has to say what it runs. Until then nothing new is started here, and
what it ran before counts; several round trips, and half of the second in which a failover must be done."""

NEWCOMER = 1.5
"""Seconds after which a member that takes no replicas is not waited for: it settles for one, then says so."""

KEPT = 60.0
"""Seconds that the claims of a member that is not up are kept: a link that comes back brings no news."""


class Holder:
    """A member and its claims.

    Attributes:
        up: whether it is up.
        since: when that became so.
        fresh: whether it has been heard of since it was last down; its claims may be here before it is known up.
        claims: the newest, or None.
    """

    def __init__(self, since: float) -> None:
        self.up = False
        self.since = since
        self.fresh = False
        self.claims: Claims | None = None


class Holdings:
    """The claims of the other members.

    Args:
        me: this node, whose own claims are not here.
        clock: gives seconds of a monotonic clock.
    """

    def __init__(self, me: str, clock: Callable[[], float]) -> None:
        self._me = me
        self._clock = clock
        self._holders: dict[str, Holder] = {}

    def rise(self, node: str) -> None:
        """A member is up."""
        holder = self._holders.setdefault(node, Holder(self._clock()))
        holder.up, holder.since = True, self._clock()

    def fall(self, node: str) -> None:
        """A member is not up any more."""
        holder = self._holders.get(node)
        if holder is not None:
            holder.up, holder.fresh, holder.since = False, False, self._clock()

    def take(self, claims: Claims) -> bool:
        """Take what a member says of itself or of another.

        Returns:
            Whether it is news.
        """
        if claims.node == self._me:
            return False
        holder = self._holders.get(claims.node)
        if holder is None:
            # Told of before it is known to be up, which will follow.
            if len(self._holders) >= MOST_NODES:
                return False
            holder = self._holders[claims.node] = Holder(self._clock())
        if holder.claims is not None and claims.order < holder.claims.order:
            return False
        news = not holder.fresh or holder.claims is None or claims.order > holder.claims.order
        holder.claims, holder.fresh = claims, True
        return news

    def up(self) -> list[str]:
        """The members that are up, by id."""
        return sorted(node for node, holder in self._holders.items() if holder.up)

    def counted(self) -> list[Claims]:
        """The claims that count: of members that are up, and have been heard of or are still awaited."""
        late = self._clock() - PATIENCE
        members = [self._holders[node] for node in self.up()]
        return [h.claims for h in members if h.claims is not None and (h.fresh or h.since > late)]

    def taking(self) -> list[str]:
        """The members that take replicas."""
        fresh = [self._holders[node] for node in self.up() if self._holders[node].fresh]
        return [h.claims.node for h in fresh if h.claims is not None and h.claims.accepts]

    def awaited(self) -> bool:
        """Whether a member is up that has yet to say what it runs."""
        late = self._clock() - PATIENCE
        return any(h.up and not h.fresh and h.since > late for h in self._holders.values())

    def settling(self) -> bool:
        """Whether a member has come up so lately that it takes no replicas yet, but will: it gets its share."""
        late = self._clock() - NEWCOMER
        return any(
            h.up and h.since > late and h.claims is not None and not h.claims.accepts
            for h in self._holders.values()
        )

    def summary(self) -> dict[str, tuple[int, int]]:
        """Life and sequence of the claims of each member that is up and has been heard of."""
        known = ((node, self._holders[node]) for node in self.up())
        return {node: holder.claims.order for node, holder in known if holder.claims and holder.fresh}

    def is_behind(self, told: dict[str, tuple[int, int]]) -> bool:
        """Whether another node's summary has claims that are news here."""
        return any(order > self._order(node) for node, order in told.items() if node != self._me)

    def _order(self, node: str) -> tuple[int, int]:
        holder = self._holders.get(node)
        if holder is None or holder.claims is None or (holder.up and not holder.fresh):
            return -1, -1
        return holder.claims.order

    def known(self, node: str) -> Claims | None:
        """The claims of a member, or None."""
        holder = self._holders.get(node)
        return holder.claims if holder is not None else None

    def forget_old(self) -> None:
        """Drop members that have not been up for a while."""
        for node, holder in list(self._holders.items()):
            if not holder.up and self._clock() - holder.since > KEPT:
                del self._holders[node]

    def clear(self) -> None:
        """Know of no claims; who is up stays."""
        for holder in self._holders.values():
            holder.claims, holder.fresh = None, False


def rank(claim: Claim, node: str) -> tuple[bool, int, str]:
    """Of two claims of one replica, the smaller survives: what runs, then the older, then the smaller node id."""
    return claim.state == "given-up", claim.since, node
