"""The cluster as one node sees it, without I/O.

The Twisted mesh, or a simulator, tells this machine of connections, bytes and time; the machine tells it whom to
dial and has links to send. Its parts: :mod:`~iridium.cluster.table` is whom the node knows,
:mod:`~iridium.cluster.proving` has the cluster's secret proved, :mod:`~iridium.cluster.admission` answers hellos,
:mod:`~iridium.cluster.dialling` reaches others and joins,
:mod:`~iridium.cluster.hearsay` takes what members say of members,
:mod:`~iridium.cluster.liveness` judges life and death, :mod:`~iridium.cluster.questions` waits for answers,
:mod:`~iridium.cluster.post` carries mail;
single decisions stand in :mod:`~iridium.cluster.rules`. Here is what happens on links.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from iridium.cluster import messages as m
from iridium.cluster.admission import Admission
from iridium.cluster.dialling import Dialler
from iridium.cluster.hearsay import Hearsay
from iridium.cluster.link import Link
from iridium.cluster.liveness import Liveness
from iridium.cluster.peer import Dial, Greeting, Me, Peer, Surroundings, checked_address
from iridium.cluster.post import Post
from iridium.cluster.proving import Proving
from iridium.cluster.questions import Questions
from iridium.cluster.refusals import UnreachableError
from iridium.cluster.rules import name_holder
from iridium.cluster.secret import Secrets
from iridium.cluster.table import MOST_RECORDS, Table
from iridium.cluster.vouching import OWN_CERTIFICATE, acceptor_objection
from iridium.errors import CommandError
from iridium.limits import DEFAULTS, Limits

MAIL = (m.Mail, m.Piece, m.Ack)

STABLE = 1.0
"""Seconds that a link has held before its loss is an accident, and redialled at once."""


class Membership:
    """The mesh as one node sees it.

    Args:
        me: this node.
        world: what acts for the machine.
        clock: gives seconds of a monotonic clock.
        random: the source of link names, nonces and jitter.
        secrets: what a peer must prove to know; None lets anybody in.
        limits: what strangers and peers may cost.
    """

    def __init__(
        self,
        me: Me,
        world: Surroundings,
        clock: Callable[[], float],
        random: Random,
        secrets: Secrets | None = None,
        limits: Limits = DEFAULTS,
    ) -> None:
        self.me = me
        self.limits = limits
        self.world = world
        self.clock = clock
        self.random = random
        self.handshakes: dict[Link, None] = {}
        self.greetings: dict[Greeting, None] = {}
        self.table = Table(me, world)
        self.questions = Questions(clock)
        self.post = Post(me, world, self.table.name_of)
        self.proving = Proving(self, secrets)
        self.admission = Admission(self)
        self.dialler = Dialler(self)
        self.liveness = Liveness(self)
        self.hearsay = Hearsay(self)

    def forget(self, target: str) -> None:
        """Drop a member that is down or has left.

        Raises:
            CommandError: there is no such member, or it is alive.
        """
        peer = self.table.find(target)
        if peer.state not in ("down", "left"):
            raise CommandError(
                f"{target} is {peer.state}; only a member that is down or has left can be forgotten"
            )
        self.table.forget(peer.record)
        self.drop(peer)

    def drop(self, peer: Peer) -> None:
        """Know nothing more of a member."""
        self.cut(peer)
        if not peer.newcomer:  # or it may hold the session that it was offered
            self.post.end(peer.id, "left" if peer.record.left or self.me.left else "forgotten")
        self.dialler.abandon(peer.dial)
        self.table.peers.pop(peer.id, None)
        self.table.changed()

    def add(self, record: m.MemberRecord) -> Peer:
        """Know a new member; where the table is full, at the cost of the one that is gone longest."""
        if len(self.table.peers) >= MOST_RECORDS:
            gone = self.table.longest_gone()
            if gone is not None:
                self.drop(gone)
        peer = self.table.peers[record.id] = Peer(record, self.clock())
        self.table.changed()
        return peer

    def remember(self, records: list[m.MemberRecord]) -> None:
        """Take members known from an earlier life, and dial them."""
        for record in records:
            if record.left:  # no news
                self.add(record).gone = self.clock()
            else:
                self.hearsay.merge(record)

    def say_leave(self) -> None:
        """Tell every member that this node leaves; each answers ``left``."""
        self.me.left = True
        for peer in self.table.peers.values():
            if peer.open_link:
                peer.open_link.send(m.Leave(self.me.incarnation))
        self.post.end_all("left")
        self.table.changed()

    def part(self) -> None:
        """Close every link and know nobody: the end of a leave, or of the node."""
        self.post.end_all("left")
        self.dialler.stop(UnreachableError("this node has left the cluster"))
        for peer in list(self.table.peers.values()):
            self.drop(peer)
        for greeting in list(self.greetings):
            greeting.give_up()
        for link in list(self.handshakes):
            link.close()
        self.handshakes.clear()

    def rejoin(self, incarnation: int) -> None:
        """Be a member again after a leave, as a new incarnation."""
        self.me.left = False
        self.me.incarnation = self.me.life = incarnation
        self.table.changed()

    def trust(self, secrets: Secrets | None, *, stricter: bool = False) -> None:
        """Have another secret proved from now on; links that are held stay, and missing ones are tried at once.

        Args:
            secrets: what a peer must prove to know.
            stricter: whether something is asked for that was not before; a first secret always is. Handshakes
                that began without it come to nothing.
        """
        stricter = stricter or (secrets is not None and self.proving.secrets is None)
        self.proving.secrets = secrets
        for link in list(self.handshakes) if stricter else ():
            self.link_lost(link, "what this node asks for has changed meanwhile")
        for peer in list(self.table.peers.values()):
            peer.failures = peer.retries = 0
            self.dialler.want(peer)

    def connection_made(self, link: Link) -> None:
        """Somebody connected.

        Args:
            link: this end of the connection, to feed with what arrives.
        """
        link.began = link.heard = self.clock()
        self.handshakes[link] = None

    def receive(self, link: Link, data: bytes) -> None:
        """Bytes arrived on a link.

        Raises:
            MessageError: the peer misbehaves; call ``link.close`` and ``link_lost``.
        """
        now = self.clock()
        for message in link.receive(data, now):
            if isinstance(message, MAIL):
                assert isinstance(link.owner, Peer)
                self.post.receive(link.owner.id, link, message)
            elif isinstance(message, m.Hello):
                self.admission.greet(link, message)
            elif isinstance(message, m.Challenge):
                self.proving.challenged(link, message)
            elif isinstance(message, m.Proof):
                self.admission.proof(link, message)
            elif isinstance(message, m.Welcome):
                self._welcomed(link, message)
            elif isinstance(message, m.Refuse):
                self._refused(link, message)
            elif isinstance(message, m.Ready):
                self._opened(link)
            elif isinstance(message, m.Members):
                for record in message.members:
                    self.hearsay.merge(record, link)
            else:
                self._talk(link, message)
        if isinstance(link.owner, Peer) and link.open:
            self.liveness.heard(link.owner)
            self._renew_session(link, link.owner)

    def _renew_session(self, link: Link, peer: Peer) -> None:
        """Call a peer anew that was held to be down: its session is over, and the next link makes another."""
        if self.post.is_over(link) and not peer.record.left and not self.me.left:
            self.link_lost(link, "its session has ended")

    def link_lost(self, link: Link, detail: str = "the peer hung up") -> None:
        """A connection is gone, whoever ended it."""
        self.handshakes.pop(link, None)
        self.post.lost(link)
        owner = link.owner
        was_open = link.open
        link.close()
        if isinstance(owner, Dial) and owner.link is link:
            self.dialler.failed(owner, "closed", detail)
        elif isinstance(owner, Peer) and owner.link is link:
            self._unlink(owner, held_for=self.clock() - link.began if was_open else 0.0)
        self.dialler.broken(link, detail)  # it may have had its welcome, but no ready
        for peer in self.table.peers.values():
            if peer.held is link:
                peer.held = None

    def hold(self, peer: Peer, link: Link) -> None:
        """Hold this link to a peer, instead of any other."""
        old, peer.link = peer.link, link
        link.owner = peer
        self._close(old)

    def cut(self, peer: Peer) -> None:
        """Close the link to a peer and do not make another."""
        old, peer.link = peer.link, None
        self._close(old)

    def _close(self, link: Link | None) -> None:
        # Last in whatever is done: who waits for an answer on this link learns that there will be none, and may
        # go on to decide about another connection of the same peer.
        if link is not None:
            self.handshakes.pop(link, None)
            self.post.lost(link)
            link.close()
            self.questions.lost(link)

    def _unlink(self, peer: Peer, held_for: float) -> None:
        link, peer.link = peer.link, None
        assert link is not None
        peer.lost.append(link.id)
        if peer.alive == "up":
            peer.excused = self.clock()  # it may not have been its turn to speak for long: judge it afresh
        if peer.newcomer:  # it said hello and nothing more: nobody to remember
            self.drop(peer)
        elif held_for > STABLE or not peer.failures:
            peer.failures = int(held_for <= STABLE)
            self.dialler.want(peer)
        else:  # it does not hold for long, so something is wrong: do not run in circles
            self.dialler.later(peer)
        self.dialler.settled(peer.id)
        self.questions.lost(link)

    def renew(self, peer: Peer, record: m.MemberRecord) -> None:
        """Take a record that is at least as new as the one known."""
        if peer.record != record or peer.newcomer:
            peer.record = record
            self.table.changed()

    def _welcomed(self, link: Link, welcome: m.Welcome) -> None:
        dial = link.owner
        assert isinstance(dial, Dial)
        refuse = self.proving.refusal_of_welcome(link, dial.address, welcome)
        refuse = refuse or self._refusal_of(link, welcome, dial.address)
        if refuse is not None:
            self.dialler.refused(dial, refuse)
            return
        address = checked_address(welcome, link.host)
        record = m.MemberRecord(welcome.id, welcome.incarnation, welcome.alias, address or dial.address)
        peer = self.table.peers.get(welcome.id)
        if dial.peer is not None and peer is not dial.peer:
            # Another node answers at that address now: the one we meant is not there.
            self.liveness.unreachable(dial.peer, "refused", f"another node answers at {dial.address}")
            self.dialler.later(dial.peer)
        if peer is None:
            peer = self.add(record)
        elif (peer.link is not None and peer.id < self.me.id) or welcome.incarnation < peer.record.incarnation:
            # Its dial won over ours while neither knew the other's id, or this is an older life of it.
            self.dialler.refused(dial, m.Refuse("DUPLICATE"))
            return
        self.renew(peer, record)
        self.me.seen_at(welcome.seen)
        if not self.post.agree(link, welcome):
            self.link_lost(link, "it speaks of a session that has ended")
            return
        if dial.join:
            dial.join.pending[peer.id] = None
        link.send(m.Ready())
        self.hold(peer, link)

    def _refusal_of(self, link: Link, welcome: m.Welcome, address: str) -> m.Refuse | None:
        """Why we do not want what we dialled, or None; the person sees it as if the peer had refused."""
        if not m.is_understood(welcome.version):
            return m.Refuse("VERSION", f"{address} speaks version {welcome.version}")
        objection = acceptor_objection(link.peer, welcome.id, address)
        if objection:
            return m.Refuse("NOT_ALLOWED", objection, OWN_CERTIFICATE)
        if welcome.cluster != self.me.cluster:
            return m.Refuse("WRONG_CLUSTER", f"{address} belongs to the cluster {welcome.cluster!r}")
        if welcome.id == self.me.id:
            return m.Refuse("SELF", f"{address} is this node")
        return None

    def _refused(self, link: Link, refuse: m.Refuse) -> None:
        if isinstance(link.owner, Dial):
            dial = link.owner
            self.dialler.refused(dial, self.proving.judged(link, dial.address, refuse))
        elif isinstance(link.owner, m.Hello):
            self.admission.refused(link, link.owner)

    def _opened(self, link: Link) -> None:
        self.handshakes.pop(link, None)
        peer = link.owner
        assert isinstance(peer, Peer)
        peer.newcomer = False
        peer.retries = 0
        peer.next_dial = None
        self.table.changed()
        self.liveness.linked(peer)
        self.liveness.news()
        self._name_conflict(peer)
        self.dialler.reached(link)
        if not self.post.opened(peer.id, link):
            self.link_lost(link, "its session has ended")

    def _name_conflict(self, peer: Peer) -> None:
        alias = peer.record.alias
        rivals = [p.id for p in self.table.holders(alias)] + [self.me.id] * (alias == self.me.alias)
        if alias and len(rivals) > 1:
            others = ", ".join(id for id in rivals if id != name_holder(rivals))
            detail = (
                f"{name_holder(rivals)} keeps the alias; {others} is known by its id: give it another --node-alias"
            )
            self.world.event("name-conflict", alias, detail)

    def _talk(self, link: Link, message: m.Message) -> None:
        peer = link.owner
        assert isinstance(peer, Peer)
        if isinstance(message, m.Ping):
            link.send(m.Pong(message.n))
        elif isinstance(message, m.Pong | m.Answer):
            self.questions.answered(link, message)
        elif isinstance(message, m.Digest):
            self.liveness.digest(peer, link, message)
        elif isinstance(message, m.Leave):
            link.send(m.Left(message.incarnation))
            self.liveness.left(peer, message.incarnation)
        elif isinstance(message, m.Left):
            self.questions.parted(link)
        elif isinstance(message, m.Text):
            self._text(link, peer, message)
        elif isinstance(message, m.Ask):
            ids = [p.id for p in self.table.peers.values() if p.open_link] if message.what == "links" else []
            link.send(m.Answer(message.n, ids))

    def _text(self, link: Link, peer: Peer, message: m.Text) -> None:
        """Show a text, unless too many came: its sender learns that, since it gets no answer."""
        unsaid = peer.texts.ask(self.clock())
        if unsaid is None:
            return
        more = f" (and {unsaid} others, which came too fast)" if unsaid else ""
        self.world.text(self.table.name_of(peer.id), message.text + more)
        link.send(m.Answer(message.n))
