"""Mail between this node and the others: one session with each peer, and what begins and ends them.

The layer above gives payloads and is called with those that arrive; it never sees links. Two ends agree on a
session in the handshake of every link: they go on with the one that both hold, or begin another, whose number is
greater than any that either knows. ``docs/cluster.md`` has the rules and their reasons. One session is
:mod:`iridium.cluster.session`.
"""

from __future__ import annotations

from collections.abc import Callable

from iridium.cluster import messages as m
from iridium.cluster.link import Link
from iridium.cluster.peer import Me, Surroundings
from iridium.cluster.session import Session, Traffic
from iridium.cluster.table import MOST_RECORDS

MOST_SESSIONS = 2**52
"""Numbers of sessions that are believed: above each there is one for the next session, also after whoever lied."""

ACK_AFTER = 0.05
"""Seconds that an acknowledgement waits for a line to ride on: a breath for people, and no window fills up."""


class _Entry:
    """What is kept of a peer: its latest session, and what was exchanged in all of them."""

    __slots__ = ("link", "number", "session", "taken", "traffic")

    def __init__(self) -> None:
        self.link: Link | None = None  # what carries the session
        self.number = 0  # the highest that either end has named
        self.taken = 0  # the highest that both ends have held
        self.session: Session | None = None
        self.traffic = Traffic()


def _ignore(*_: object) -> None:
    """What is called as long as nobody listens."""


class Post:
    """Mail with every other member.

    Args:
        me: this node.
        world: tells people of what is dropped, and calls later.
        name: what people call the node with an id.

    Attributes:
        on_mail: called with node id, kind and data of each payload that arrives.
        on_session: called with a node id when a session begins: the node is up and linked.
        on_lost: called with a node id and "down", "left", "restarted" or "forgotten" once each session has ended.
        on_room: called with a node id when a payload found no room there, and there is enough again.
    """

    def __init__(self, me: Me, world: Surroundings, name: Callable[[str], str] = str) -> None:
        self.on_mail: Callable[[str, int, bytes], object] = _ignore
        self.on_session: Callable[[str], object] = _ignore
        self.on_lost: Callable[[str, str], object] = _ignore
        self.on_room: Callable[[str], object] = _ignore
        self._me = me
        self._world = world
        self._name = name
        self._entries: dict[str, _Entry] = {}
        self._owing: dict[str, None] = {}  # peers whose lines are not acknowledged yet

    # --- the layer above ---

    def send(self, node_id: str, kind: int, data: bytes, stream: int = 0) -> bool:
        """Send a payload to a member.

        Args:
            node_id: whom to.
            kind: 0 to 255, for the other end to know what it is.
            data: at most :data:`~iridium.cluster.messages.LARGEST_PAYLOAD` bytes.
            stream: payloads of one stream arrive in the order in which they were sent; small ones of another do
                not wait for the large ones of this.

        Returns:
            Whether it was taken. False where there is no session with such a member, or no room; in the latter
            case :attr:`on_room` is called once there is.
        """
        if not 0 <= kind < 256 or len(data) > m.LARGEST_PAYLOAD:
            raise ValueError(f"kind {kind} with {len(data)} bytes: at most 255, and {m.LARGEST_PAYLOAD} bytes")
        session = self._session(node_id)
        return session is not None and session.announced and session.send(kind, data, stream)

    def room(self, node_id: str) -> int:
        """Bytes that a small payload to a member may have now; 0 where there is no session with it."""
        session = self._session(node_id)
        return session.room if session is not None and session.announced else 0

    def is_bulky(self, node_id: str) -> bool:
        """Whether bulk payloads wait for a member, so that streams matter."""
        session = self._session(node_id)
        return session is not None and session.bulk > 0

    def want_room(self, node_id: str) -> None:
        """Call :attr:`on_room` when there is room for a member."""
        session = self._session(node_id)
        if session is not None:
            session.want_room()

    def holds(self, node_id: str, stream: int) -> bool:
        """Whether what is sent in a stream would wait, behind a bulk payload of it."""
        session = self._session(node_id)
        return session is not None and session.holds(stream)

    def sessions(self) -> dict[str, int]:
        """The number of the session with each member that there is one with, by node id."""
        return {id: s.number for id, e in self._entries.items() if (s := e.session) is not None and s.announced}

    def traffic(self) -> dict[str, Traffic]:
        """What was exchanged, by node id."""
        return {id: entry.traffic for id, entry in self._entries.items() if entry.taken}

    def waiting(self, node_id: str) -> int:
        """Bytes that are kept for a member: unsent or unacknowledged."""
        session = self._session(node_id)
        return session.waiting + session.bulk_bytes if session is not None else 0

    def _session(self, id: str) -> Session | None:
        entry = self._entries.get(id)
        return entry.session if entry is not None else None

    # --- agreeing, in the handshake ---

    def offer(self, id: str) -> tuple[int, int | None]:
        """What a hello says of the session with a peer: its number, and what has arrived; None if it is over."""
        entry = self._entries.get(id)
        if entry is None:
            return 0, None
        session = entry.session
        return (entry.number, None) if session is None else (session.number, session.received)

    def answer(self, link: Link, hello: m.Hello) -> tuple[int, int | None]:
        """Decide, as the acceptor, which session a link carries.

        Returns:
            Its number and what has arrived of it, None where it is new; 0 and None for no session.
        """
        entry = self._entry(hello.id)
        session = entry.session
        if session is not None and session.life != hello.life:
            self._end(hello.id, entry, "restarted")
            session = None
        if not hello.life:
            return 0, None
        # Another node may have been at this address, and the hello speak of the session with that one.
        named = hello.session if hello.peer == self._me.id and hello.session < MOST_SESSIONS else 0
        if session is not None:
            link.session = session.number
            if named == session.number and hello.received is not None:
                if session.can_resume(hello.received):
                    session.acknowledged(hello.received)
                return session.number, session.received
            if named < session.number:
                # It was written before what its sender knows by now, or its sender has forgotten: if so, it will
                # say that the session is over, now that it hears of it.
                return session.number, session.received if session.confirmed else None
            self._end(hello.id, entry, "down")
        self._begin(entry, max(entry.number, named) + 1, hello.life)
        link.session = entry.number
        return entry.number, None

    def agree(self, link: Link, welcome: m.Welcome) -> bool:
        """Follow, as the dialler, what the acceptor decided; False where it no longer fits what we hold."""
        entry = self._entry(welcome.id)
        session = entry.session
        if session is not None and session.life != welcome.life:
            self._end(welcome.id, entry, "restarted")
            session = None
        link.session = welcome.session
        if not welcome.session:
            return True
        if welcome.session >= MOST_SESSIONS:
            return False
        held = session is not None and session.number == welcome.session
        taken = session is not None and session.confirmed
        if not held and welcome.received is None and welcome.session > (entry.number if taken else entry.taken):
            self._end(welcome.id, entry, "down")
            self._begin(entry, welcome.session, welcome.life)
            session, held = entry.session, True
        entry.number = max(entry.number, welcome.session)
        received = welcome.received or 0
        if session is None or not held or not session.can_resume(received):
            return False
        session.acknowledged(received)
        self._confirm(entry, session)
        return True

    def _begin(self, entry: _Entry, number: int, life: int) -> None:
        entry.number = max(entry.number, number)
        entry.session = Session(number, life, entry.traffic)

    def _confirm(self, entry: _Entry, session: Session) -> None:
        session.confirmed = True
        entry.taken = session.number

    # --- links, as they come and go ---

    def opened(self, id: str, link: Link) -> bool:
        """A link is ready at both ends; False where its session ended meanwhile."""
        if not link.session:
            return True
        entry = self._entry(id)
        session = entry.session
        if session is None or session.number != link.session:
            return False
        if entry.link is not None:
            entry.link.source = None
        entry.link = link
        link.source = session
        self._confirm(entry, session)
        session.attach(link.poke)
        if not session.announced:
            session.announced = True
            self.on_session(id)
        elif session.has_room_again():
            self.on_room(id)
        return True

    def lost(self, link: Link) -> None:
        """A link is gone; its session goes on with the next."""
        session, link.source = link.source, None
        if isinstance(session, Session):
            session.detach()

    def is_over(self, link: Link) -> bool:
        """Whether an open link carries a session that has ended at this end."""
        return link.open and link.session > 0 and link.source is None

    def receive(self, id: str, link: Link, line: m.Mail | m.Piece | m.Ack) -> None:
        """A line of a session arrived.

        Raises:
            MessageError: it cannot be one.
        """
        session = link.source
        if not isinstance(session, Session):
            if not link.session:
                raise m.MessageError("mail on a link without a session")
            return  # it has ended here, which the peer will find out
        payload = session.receive(line)
        if session.owes and id not in self._owing:
            if not self._owing:
                self._world.later(ACK_AFTER, self._acknowledge)
            self._owing[id] = None
        if payload is not None:
            self.on_mail(id, *payload)
        if session.has_room_again():
            self.on_room(id)

    def _acknowledge(self) -> None:
        owing, self._owing = self._owing, {}
        for id in owing:
            session = self._session(id)
            if session is not None and session.owes:
                session.acknowledge()

    # --- ends ---

    def end(self, id: str, reason: str) -> None:
        """The session with a peer is over: what is unsent or unacknowledged is dropped."""
        entry = self._entries.get(id)
        if entry is not None:
            self._end(id, entry, reason)

    def end_all(self, reason: str) -> None:
        """Every session is over."""
        for id in list(self._entries):
            self.end(id, reason)

    def _end(self, id: str, entry: _Entry, reason: str) -> None:
        session, entry.session = entry.session, None
        link, entry.link = entry.link, None
        if session is None:
            return
        if link is not None:
            link.source = None
        dropped = session.abandon()
        if dropped:
            self._world.event(
                "mail-dropped", self._name(id), f"{dropped} payloads not known to have arrived: {reason}"
            )
        if session.announced:
            self.on_lost(id, reason)

    def _entry(self, id: str) -> _Entry:
        entry = self._entries.get(id)
        if entry is None:
            if len(self._entries) >= MOST_RECORDS:
                self._evict()
            entry = self._entries[id] = _Entry()
        return entry

    def _evict(self) -> None:
        """Forget the peer that was met first, of those that there is no session with."""
        for id, entry in self._entries.items():
            if entry.session is None or not entry.session.announced:
                del self._entries[id]
                return
