"""Answering hellos: who is let in, who is told to wait, who is refused and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from iridium.cluster import messages as m
from iridium.cluster.identity import alias_problem
from iridium.cluster.link import Link
from iridium.cluster.peer import Peer, checked_address
from iridium.cluster.rules import Verdict, judge_hello
from iridium.cluster.table import MOST_MEMBERS
from iridium.cluster.vouching import OWN_CERTIFICATE, dialler_objection
from iridium.throttle import Throttle

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership


class Admission:
    """The part of the membership machine that answers hellos.

    Args:
        membership: the rest of it.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._complaints = Throttle(membership.limits.stranger_log)

    def greet(self, link: Link, hello: m.Hello) -> None:
        """Answer a hello: with a challenge, where its sender has yet to prove the secret."""
        link.owner = hello
        proving = self._membership.proving
        refusal = _refusal_of_version(hello) or proving.refusal_of_hello(link, hello)
        if refusal:
            self._turn_away(link, *refusal)
        elif proving.wants_proof(link):
            proving.challenge(link, hello)
        else:
            self.consider(link, hello)

    def proof(self, link: Link, proof: m.Proof) -> None:
        """Take the proof of who said hello; the whole hello follows, unless it is wrong."""
        if not self._membership.proving.proves(link, proof):
            self._turn_away(link, "NOT_ALLOWED", "your proof of the secret is wrong")

    def refused(self, link: Link, hello: m.Hello) -> None:
        """Who said hello does not take this node's proof."""
        self._membership.handshakes.pop(link, None)
        self._complain(hello, f"by it: NOT_ALLOWED: it has another secret than this node (from {link.host})")

    def consider(
        self, link: Link, hello: m.Hello, *, old_is_gone: bool = False, name_is_free: bool = False
    ) -> None:
        """Let the sender of a hello in or not, or put it off until a probe or a dial of ours has ended."""
        link.owner = hello
        refusal = self._refusal_of_stranger(link, hello)
        if refusal:
            self._turn_away(link, *refusal)
            return
        address = checked_address(hello, link.host)
        peer = self._membership.table.peers.get(hello.id)
        if peer is not None:
            verdict = self._judge(peer, hello, old_is_gone)
            if verdict is Verdict.STALE:
                detail = f"incarnation {hello.incarnation} is older than {peer.record.incarnation}"
                self._turn_away(link, "STALE", detail)
                return
            if verdict is Verdict.PROBE:
                self._probe(
                    peer,
                    alive=lambda: self._turn_away(
                        link, "ID_IN_USE", f"{hello.id} is alive at {peer.record.address}"
                    ),
                    silent=lambda: self.consider(link, hello, old_is_gone=True, name_is_free=name_is_free),
                    of=link,
                )
                return
            if verdict is Verdict.DUPLICATE:
                self._turn_away(link, "DUPLICATE", f"there is a link already: {peer.link.id if peer.link else ''}")
                return
            if verdict is Verdict.HOLD:
                if peer.held is not None:
                    peer.held.close()
                peer.held = link
                return
        me = self._membership.me
        if me.left:
            self._turn_away(link, "LEFT", f"the node {me.alias or me.id} has left the cluster")
            return
        if (
            hello.want == "join"
            and hello.alias
            and not name_is_free
            and self._name_taken(link, hello, old_is_gone)
        ):
            return
        if address is None:
            self._turn_away(
                link, "UNREACHABLE", f"{hello.address} is a loopback address; you come from {link.host}"
            )
            return
        if peer is None and self._membership.table.living() >= MOST_MEMBERS - 1:
            rumour = self._membership.table.rumour()
            if rumour is None:
                self._turn_away(link, "FULL", f"the cluster has {MOST_MEMBERS} members")
                return
            self._membership.drop(rumour)
        self._accept(link, hello, address)

    def _refusal_of_stranger(self, link: Link, hello: m.Hello) -> tuple[str, ...] | None:
        """Why a hello is refused whatever is known of its sender, or None."""
        me = self._membership.me
        objection = dialler_objection(link.peer, hello.id, hello.address, link.host)
        if objection:
            return "NOT_ALLOWED", objection, OWN_CERTIFICATE
        if hello.cluster != me.cluster:
            return "WRONG_CLUSTER", f"this node belongs to the cluster {me.cluster!r}, you to {hello.cluster!r}"
        if hello.id == me.id:
            if self._membership.dialler.calls_itself(hello.nonce):
                return "SELF", f"this is the node {self._membership.table.name_of(me.id)} that calls"
            return "ID_IN_USE", f"{me.id} is this node's own id"
        return None

    def _judge(self, peer: Peer, hello: m.Hello, old_is_gone: bool) -> Verdict:
        link = peer.link
        known = peer.record.incarnation
        if link is not None and hello.incarnation >= known:
            known = link.incarnation  # others may have told of the new life while the link is still the old one's
        verdict = judge_hello(
            incarnation=hello.incarnation,
            known=known,
            held=link.id if link else None,
            held_open=peer.open_link is not None,
            lost=hello.lost,
            dialling=peer.dial is not None and peer.dial.link is not None,
            mine_wins=self._membership.me.id < peer.id,
        )
        return Verdict.REPLACE if verdict is Verdict.PROBE and old_is_gone else verdict

    def _name_taken(self, link: Link, hello: m.Hello, old_is_gone: bool) -> bool:
        """Whether the answer to a join is refused, or put off, because of its alias."""
        if hello.alias == self._membership.me.alias:
            self._turn_away(link, "NAME_IN_USE", f"this node, {self._membership.me.id}, is called {hello.alias!r}")
            return True
        incumbent = next(
            (p for p in self._membership.table.holders(hello.alias) if p.id != hello.id and p.open_link), None
        )
        if incumbent is None:
            return False
        detail = f"{hello.alias!r} is the node {incumbent.id} at {incumbent.record.address}"
        self._probe(
            incumbent,
            alive=lambda: self._turn_away(link, "NAME_IN_USE", detail),
            silent=lambda: self.consider(link, hello, old_is_gone=old_is_gone, name_is_free=True),
            of=link,
        )
        return True

    def _probe(self, peer: Peer, alive: Callable[[], None], silent: Callable[[], None], of: Link) -> None:
        """Ping a peer for a second; the answer decides about the link ``of``, unless that is gone by then."""
        held = peer.open_link
        assert held is not None
        self._membership.questions.ping(
            held,
            lambda answered: None if of.closed else alive() if answered else silent(),
        )

    def _turn_away(self, link: Link, reason: str, detail: str, remedy: str = "") -> None:
        hello = link.owner
        assert isinstance(hello, m.Hello)
        self._membership.handshakes.pop(link, None)
        if reason != "DUPLICATE":
            self._complain(hello, f"{reason}: {detail} (from {link.host})")
        link.refuse(reason, detail, remedy)

    def _complain(self, hello: m.Hello, detail: str) -> None:
        """Tell people of a refusal, but not of every one: whoever is refused may come again at once."""
        unsaid = self._complaints.ask(self._membership.clock())
        if unsaid is not None:
            more = f" (and {unsaid} more)" if unsaid else ""
            name = hello.id if alias_problem(hello.alias) else hello.alias or hello.id
            self._membership.world.event("refused", name, detail + more)

    def _accept(self, link: Link, hello: m.Hello, address: str) -> None:
        session, received = self._membership.post.answer(link, hello)
        record = m.MemberRecord(hello.id, hello.incarnation, hello.alias, address)
        told = self._membership.table.records(newcomers=True) if hello.want == "join" else None
        peer = self._membership.table.peers.get(hello.id)
        if peer is None:
            peer = self._membership.add(record)
            peer.newcomer = True
        self._membership.renew(peer, record)
        self._membership.table.recall(peer.id)
        link.id = hello.link
        me = self._membership.me
        link.accept(
            m.Welcome(
                version=m.version_text(),
                cluster=me.cluster,
                id=me.id,
                incarnation=me.incarnation,
                alias=me.alias,
                address=me.address,
                seen=link.host,
                life=me.life,
                session=session,
                received=received,
            ),
            told,
        )
        self._membership.hold(peer, link)


def _refusal_of_version(hello: m.Hello) -> tuple[str, str] | None:
    if not m.is_understood(hello.version):
        return "VERSION", f"this node speaks version {m.version_text()}, you speak {hello.version!r}"
    return None
