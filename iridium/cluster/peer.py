"""What a node keeps about itself, about each other member, and about each attempt to reach one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

from iridium.cluster.identity import alias_problem
from iridium.cluster.link import Link
from iridium.cluster.messages import MOST_LOST, Hello, MemberRecord, MessageError, Welcome
from iridium.cluster.rules import is_public, is_wildcard, join_address, reachable_address, split_address
from iridium.cluster.types import Member, State
from iridium.errors import IridiumError, OptionError
from iridium.throttle import Throttle

NEVER = float("-inf")

MOST_TEXTS = 32
"""Texts from one member that are shown in ten seconds: more than a person types, and each is a line in the log."""

Outcome = Literal["refused", "silent", "closed"]
"""How a dial fails: nothing listens there; no answer in time, or no way there; the peer hung up."""


class Me:
    """This node.

    Args:
        id, alias, incarnation: its identity.
        cluster: the name of the cluster it belongs to.
        left: whether it left, and has not joined again.

    Attributes:
        life: the incarnation that this process started with, or came back with after a leave. Its sessions belong
            to it; the incarnation also grows when something newer is said of this node than it said itself.
        address: the HOST:PORT it advertises, or "" as long as it does not listen.
    """

    def __init__(self, id: str, alias: str, incarnation: int, cluster: str, left: bool = False) -> None:
        self.id = id
        self.alias = alias
        self.incarnation = self.life = incarnation
        self.cluster = cluster
        self.address = ""
        self.left = left

    def record(self) -> MemberRecord:
        """What others are told of this node."""
        return MemberRecord(self.id, self.incarnation, self.alias, self.address, self.left)

    def seen_at(self, host: str) -> None:
        """Take the host that a peer sees this node at, if what it advertises stands for every host.

        A peer on the same machine sees loopback, which would be of no use to others; what is no address at all is
        a peer's mistake.
        """
        if not self.address or not is_public(host):
            return
        own, port = split_address(self.address)
        if is_wildcard(own):
            self.address = join_address(host, port)


class Peer:
    """Another member, as this node knows it.

    Args:
        record: what it, or another member, said of it.
        now: the time, in seconds of the monotonic clock.

    Attributes:
        state: up, suspect or down, judged here; "left" stands in the record.
        link: the link that is held to it, from its acceptance on.
        dial: the attempt to reach it that is under way or waiting.
        held: a connection whose hello waits for that attempt to end.
        lost: the names of links that are gone; the next hello tells the latest of them.
        since: when this node learned of it.
        heard: when this node last heard from it; NEVER if it did not.
        excused: until when its silence is not its own, but this process's that was stopped.
        told_of: the same of a member that told this node, by the age that it gave.
        pinged: when the last ping went out that nothing came back for, or None.
        failures: dials that failed since it was last reached.
        retries: dials that were hung up on at once, and tried again at once, since then.
        next_dial: when to dial it again, or None.
        judged: when it was last held to be suspect or down; NEVER while it is up.
        gone: when it went down or left, or None.
        newcomer: known only through a hello that is not confirmed by a ready yet.
        doubted: when it was last asked about what others say of it.
        texts: which of the texts from the people there are shown.
    """

    __slots__ = (
        "alive", "dial", "doubted", "excused", "failures", "gone", "heard", "held", "judged", "link", "lost",
        "newcomer", "next_dial", "pinged", "record", "retries", "since", "texts", "told", "told_hashes", "told_of",
        "told_pause",
    )  # fmt: skip

    def __init__(self, record: MemberRecord, now: float) -> None:
        self.record = record
        self.alive: Literal["up", "suspect", "down"] = "suspect"
        self.link: Link | None = None
        self.dial: Dial | None = None
        self.held: Link | None = None
        self.lost: deque[str] = deque(maxlen=MOST_LOST)
        self.since = now
        self.heard = NEVER
        self.told_of = NEVER
        self.excused = NEVER
        self.pinged: float | None = None
        self.failures = 0
        self.retries = 0
        self.next_dial: float | None = None
        self.gone: float | None = None
        self.judged = NEVER
        self.newcomer = False
        self.doubted = NEVER
        self.texts = Throttle(MOST_TEXTS)
        # When it was last sent all records, at which difference of hashes, and how long not again.
        self.told = NEVER
        self.told_hashes = ("", "")
        self.told_pause = 0.0

    @property
    def id(self) -> str:
        """Its node id."""
        return self.record.id

    @property
    def last_sign(self) -> float:
        """When it last was alive for sure, as far as this node knows."""
        return max(self.heard, self.told_of)

    @property
    def state(self) -> State:
        """Its state, for people."""
        return "left" if self.record.left else self.alive

    @property
    def open_link(self) -> Link | None:
        """The link to it, if both ends are ready."""
        return self.link if self.link is not None and self.link.open else None

    def member(self, alias: str) -> Member:
        """The peer as the shell shows it, under the alias that it holds."""
        record = self.record
        return Member(record.id, alias, record.address, record.incarnation, self.state, False)


class Join:
    """A join under way: done once the contact is linked and each member it told of is linked or failed.

    Args:
        address: the contact.
        done: called once when the mesh is reached.
        failed: called once with why the contact could not be joined.
    """

    def __init__(self, address: str, done: Callable[[], None], failed: Callable[[IridiumError], None]) -> None:
        self.address = address
        self.pending: dict[str, None] = {}
        self.dial: Dial | None = None
        self._done = done
        self._failed = failed
        self.over = False

    def settle(self) -> None:
        """The mesh is reached, as far as it can be."""
        if not self.over:
            self.over = True
            self._done()

    def fail(self, error: IridiumError) -> None:
        """The contact could not be joined."""
        if not self.over:
            self.over = True
            self._failed(error)


class Dial:
    """An attempt to make a link.

    Args:
        address: HOST:PORT.
        link_id: the name that the link will have.
        nonce: random; tells a node that it called itself.
        peer: whom it is meant for, or None when only the address is known.
        join: the join whose contact this is.
    """

    __slots__ = ("address", "join", "link", "link_id", "nonce", "peer", "started")

    def __init__(
        self, address: str, link_id: str, nonce: str, peer: Peer | None = None, join: Join | None = None
    ) -> None:
        self.address = address
        self.link_id = link_id
        self.nonce = nonce
        self.peer = peer
        self.join = join
        self.link: Link | None = None
        self.started = False


class Greeting(Protocol):
    """A connection that has no link yet: its TLS is being agreed on. It counts as one in a handshake.

    Attributes:
        began: when the connection was made.
        dialled: whether this node made it.
        host: the host at the other end.
    """

    began: float
    dialled: bool
    host: str

    def give_up(self, problem: str = "") -> None:
        """Close the connection, with a line in the log if there is a problem; it is no greeting any more then."""


class Surroundings(Protocol):
    """What the membership machine needs of the world; the Twisted mesh and the simulator provide it."""

    def dial(self, dial: Dial) -> None:
        """Connect; then call ``dial_connected`` or ``dial_failed`` of the machine."""

    def hang_up(self, dial: Dial) -> None:
        """Stop connecting; nothing is called any more."""

    def output(self, link: Link) -> None:
        """A link has something to send, or wants to be closed."""

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Something happened that people want to know."""

    def complain(self, host: str, problem: str) -> None:
        """Somebody at a host is hung up on, and people may want to know why."""

    def text(self, sender: str, text: str) -> None:
        """A person at another node said something."""

    def later(self, seconds: float, action: Callable[[], None]) -> object:
        """Call something after a while."""

    def hurry(self) -> None:
        """Something is due soon: tick again within ``TICK`` seconds."""

    def changed(self) -> None:
        """The records, or this node's own, changed and want to be on disk."""


def checked_address(said: Hello | Welcome | MemberRecord, seen: str) -> str | None:
    """Where the sender can be reached; None when it cannot, since it advertises loopback from elsewhere.

    Raises:
        MessageError: its alias or address cannot be one.
    """
    problem = alias_problem(said.alias)
    if problem:
        raise MessageError(f"the alias {said.alias!r} cannot be used: {problem}")
    try:
        return reachable_address(said.address, seen or said.address.rpartition(":")[0].strip("[]"))
    except OptionError as error:
        raise MessageError(f"a bad address: {error}") from None
