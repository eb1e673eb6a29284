"""Conversations with one node's membership machine, made up step by step: right, wrong, and nearly right.

A step is a handful of lines for one of several links, cut at any byte. They follow the protocol, or are a message
that does not fit, or have fields changed to other types and extremes; proofs are right, wrong, or another link's.
Time passes in between. What must hold after each step stands at the end.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iridium.cluster import messages as m
from iridium.cluster.link import Link, Role, State
from iridium.cluster.membership import Membership
from iridium.cluster.peer import Dial, Me, Peer
from iridium.cluster.secret import Exchange, Prover, Secrets, proof
from iridium.cluster.table import MOST_RECORDS
from iridium.cluster.vouching import CertificateNames, TlsPeer
from iridium.errors import IridiumError
from iridium.limits import DEFAULTS

SECRET = "s" * 40
NODE = "88888888-0000-4000-8000-000000000000"
IDS = [NODE, *(f"{n:08x}-0000-4000-8000-000000000000" for n in (1, 2, 0x99999999, 0xFFFFFFFF))]
HOST = "10.0.0.9"

MOST_LINKS = 12
"""Links at a time: enough for any race of two of a peer."""

INTEGERS = [0, 1, 2, 3, 5, 1000, 2**31, 2**52, 2**53 - 2**20, 2**53 - 2, 2**53 - 1, 2**53, 2**64, 10**30, -1]
TEXTS = ["", "a", "n0", "iridium", "1.2", "1.0", "0.9", "2.0", "9" * 64, "x" * 65, "*", "\u2028", "\0", "!quit"]
ADDRESSES = [
    "",
    "10.0.0.1:1",
    "10.0.0.2:65535",
    "127.0.0.1:1",
    "0.0.0.0:7",
    "[::]:7",
    "x:y",
    ":",
    "[::1]:1",
    "h:0",
]

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.sampled_from([*INTEGERS, *TEXTS, *IDS, 1.5, -0.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3),
    max_leaves=6,
)
"""What a field can be changed to."""

_number = st.sampled_from(INTEGERS[:11])
_id = st.sampled_from(IDS)
_record = st.builds(
    m.MemberRecord,
    _id,
    _number,
    st.sampled_from(TEXTS[:4]),
    st.sampled_from(ADDRESSES),
    st.booleans(),
)
_data = st.sampled_from([0, 1, 1000, m.PIECE]).map(bytes)

TALK: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(m.Ping, _number),
    st.builds(m.Pong, st.integers(0, 8)),
    st.builds(m.Answer, st.integers(0, 8), st.lists(_id, max_size=2)),
    st.builds(m.Ask, _number, st.sampled_from(["links", "x"])),
    st.builds(m.Text, _number, st.sampled_from(TEXTS)),
    st.builds(
        m.Digest, st.sampled_from(TEXTS), st.dictionaries(_id, _number, max_size=3), st.lists(_id, max_size=3)
    ),
    st.builds(m.Members, st.lists(_record, max_size=4), st.booleans()),
    st.builds(m.Leave, _number),
    st.builds(m.Left, _number),
    st.builds(m.Mail, st.integers(0, 5), st.integers(0, 5), st.integers(0, 255), _data),
    st.builds(m.Ack, st.integers(0, 5)),
    st.builds(
        m.Piece, st.integers(1, 5), st.integers(0, 2), st.integers(0, 3), st.sampled_from([1, m.PIECE]).map(bytes),
        st.integers(0, 255), st.sampled_from([0, 1, m.PIECE, m.PIECE + 1, m.LARGEST_PAYLOAD]),
    ),
    st.builds(m.Ready),
    st.builds(m.Refuse, st.sampled_from(["VERSION", "LEFT", "DUPLICATE", "NOT_ALLOWED", "x"])),
    st.builds(m.Proof, st.sampled_from(["", "0" * 64])),
)  # fmt: skip
"""Messages of every type but those that the right conversation begins with."""


class World:
    """What the machine acts on: it is written down, and calls for later wait for the clock.

    Attributes:
        now: the time.
        dials: those that are to be connected.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.dials: list[Dial] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def dial(self, dial: Dial) -> None:
        """To be connected."""
        self.dials.append(dial)

    def hang_up(self, dial: Dial) -> None:
        """Not to be connected any more."""
        if dial in self.dials:
            self.dials.remove(dial)

    def later(self, seconds: float, action: Callable[[], None]) -> object:
        """Wait for the clock."""
        heapq.heappush(self._later, (self.now + seconds, next(self._count), action))
        return None

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        while self._later and self._later[0][0] <= self.now:
            heapq.heappop(self._later)[2]()

    def output(self, link: Link) -> None:
        """It is looked at after each step."""

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Nobody reads it."""

    def complain(self, host: str, problem: str) -> None:
        """Nobody reads it."""

    def text(self, sender: str, text: str) -> None:
        """Nobody reads it."""

    def hurry(self) -> None:
        """Time passes as it does."""

    def changed(self) -> None:
        """Nothing is kept."""


class Other:
    """The other end of a link: who it says it is, and what it has seen.

    Attributes:
        link: this end.
        id: who it says it is.
        nonce: that it has drawn.
        said: all bytes that it has said.
        seen: the types of the messages that came.
        met: the challenge or the hello of the node.
    """

    def __init__(self, link: Link, id: str, number: int) -> None:
        self.link = link
        self.id = id
        self.nonce = f"{number:032x}"
        self.said = b""
        self.seen: list[str] = []
        self.met: dict[str, Any] = {}
        self.ended = False

    def exchange(self) -> Exchange | None:
        """What the right proof is about, as far as this end knows."""
        if not self.met:
            return None
        if self.link.role is Role.ACCEPTOR:
            met = self.met
            return Exchange(self.id, NODE, self.nonce, met["nonce"], "1.2", met["version"], self.link.binding)
        return Exchange(
            NODE, self.id, self.met["nonce"], self.nonce, self.met["version"], "1.2", self.link.binding
        )

    def mac(self) -> str:
        """The right proof, or what is none."""
        exchange = self.exchange()
        prover: Prover = "dialler" if self.link.role is Role.ACCEPTOR else "acceptor"
        return proof(SECRET, prover, exchange) if exchange is not None else "0" * 64


class Conversations(RuleBasedStateMachine):
    """One node, and whoever speaks to it."""

    lines = 0
    """Lines that were said, in all runs."""

    steps = 0
    """Steps, in all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Other] = []
        self.count = 0
        self.ever_proved = False
        self.old_macs = ["0" * 64]

    @initialize(
        secret=st.booleans(), tls=st.booleans(), known=st.lists(_record, max_size=3), seed=st.integers(0, 99)
    )
    def begin(self, secret: bool, tls: bool, known: list[m.MemberRecord], seed: int) -> None:
        """A node starts, with members that it remembers or without."""
        self.secret, self.tls = secret, tls
        self.world = World()
        self.me = Me(NODE, "n0", 5, "iridium")
        self.me.address = "10.0.0.8:1"
        secrets = Secrets([SECRET]) if secret else None
        self.machine = Membership(self.me, self.world, lambda: self.world.now, Random(seed), secrets)  # type: ignore[arg-type]
        known = [record for record in known if record.id != NODE]  # as its file has them
        self.known = {record.id for record in known}
        self.machine.remember(known)

    # --- links ---

    def _other(self, link: Link, id: str, polite: int) -> Other:
        self.count += 1
        other = Other(link, id, self.count)
        self.others.append(other)
        self._listen()
        for _ in range(polite):
            self._go_on(other)
        return other

    def _go_on(self, other: Other) -> None:
        """Say what is right, once."""
        if other.link.state not in (State.OPEN, State.CLOSED, State.DECIDING) and not other.ended:
            self._say(other, m.encode(*self._polite(other)))

    def _certified(self, id: str) -> TlsPeer | None:
        if not self.tls:
            return None
        return TlsPeer(CertificateNames(frozenset({id})), f"{self.count:032}".encode())

    @precondition(lambda self: len(self.others) < MOST_LINKS)
    @rule(id=_id, certified=_id, polite=st.integers(0, 4))
    def call(self, id: str, certified: str, polite: int) -> None:
        """Somebody connects, and says what is right for a while."""
        self._call(id, certified, polite)

    def _call(self, id: str, certified: str, polite: int) -> Other:
        peer = self._certified(certified if self.count % 5 == 0 else id)
        link = Link(Role.ACCEPTOR, HOST, self.world.now, self.world.output, peer=peer)
        self.machine.connection_made(link)
        return self._other(link, id, polite)

    @precondition(lambda self: self.secret and len(self.others) < MOST_LINKS)
    @rule(id=_id, data=st.data())
    def cheat(self, id: str, data: st.DataObject) -> None:
        """Somebody is asked for a proof, and gives one that is not right."""
        other = self._call(id, id, 1)
        right = other.mac()
        others = [right[:-1], right.upper() + "x", str(other.met.get("mac"))]
        wrong = data.draw(st.sampled_from([*self.old_macs, *others]))
        if wrong != right:
            self._say(other, m.encode(m.Proof(wrong), *self._polite(other)[1:]), data)

    @precondition(lambda self: self.world.dials and len(self.others) < MOST_LINKS)
    @rule(id=_id, polite=st.integers(0, 4))
    def answer(self, id: str, polite: int) -> None:
        """A dial has its connection, and who is there says what is right for a while."""
        dial = self.world.dials.pop(0)
        link = self.machine.dialler.connected(dial, HOST, self._certified(id))
        if link is not None:
            self._other(link, id, polite)

    @precondition(lambda self: self.world.dials)
    @rule(outcome=st.sampled_from(["refused", "silent", "closed"]))
    def fail(self, outcome: Any) -> None:
        """A dial comes to nothing."""
        self.machine.dialler.failed(self.world.dials.pop(0), outcome, "test")

    @precondition(lambda self: len(self.machine.dialler.joins) < 3 and not self.me.left)
    @rule()
    def join(self) -> None:
        """A person joins another node."""
        errors: list[IridiumError] = []
        self.machine.dialler.join("10.0.0.1:1", lambda: None, errors.append)

    @precondition(lambda self: self.others)
    @rule(at=st.integers(0, MOST_LINKS))
    def hang_up(self, at: int) -> None:
        """A connection is gone."""
        other = self.others.pop(at % len(self.others))
        other.ended = True
        self.machine.link_lost(other.link)
        self._listen()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.25, 1.0, 3.0, 6.0, 40.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.advance(seconds)
        self.machine.liveness.tick()
        self._listen()

    # --- words ---

    def _polite(self, other: Other) -> list[m.Message]:
        """What the protocol wants to hear next."""
        link, id = other.link, other.id
        auth = "secret" if self.secret else "none"
        name = f"l{other.nonce[-4:]}"
        hello = m.Hello("1.2", "iridium", id, 5, "x", "10.0.0.9:1", "join", name, [], other.nonce, auth, life=1)
        first = m.Hello("1.2", "", id, 0, nonce=other.nonce, auth="secret")
        welcome = m.Welcome("1.2", "iridium", id, 5, "x", "10.0.0.9:1", HOST, 1, 1)
        match link.state:
            case State.EXPECT_HELLO:
                return [first if self.secret else hello]
            case State.EXPECT_PROOF:
                return [m.Proof(other.mac()), hello]
            case State.EXPECT_PROVED_HELLO:
                return [hello]
            case State.EXPECT_CHALLENGE:
                return [m.Challenge("1.2", id, other.nonce, other.mac())]
            case State.EXPECT_WELCOME:
                return [welcome, m.Members([]), m.Ready()]
            case _:
                return [m.Ready()]

    @precondition(lambda self: self.others)
    @rule(at=st.integers(0, MOST_LINKS))
    def go_on(self, at: int) -> None:
        """A link does what is right, up to being open."""
        other = self.others[at % len(self.others)]
        for _ in range(4):
            self._go_on(other)

    @precondition(lambda self: self.others)
    @rule(at=st.integers(0, MOST_LINKS), talk=st.lists(TALK, min_size=1, max_size=6), data=st.data())
    def talk(self, at: int, talk: list[m.Message], data: st.DataObject) -> None:
        """A link says some messages, in or out of turn, and perhaps with fields changed."""
        other = self.others[at % len(self.others)]
        if data.draw(st.booleans()):
            talk = data.draw(st.permutations([*self._polite(other), *talk]))
        lines = [msgspec.json.encode(message) for message in talk]
        if data.draw(st.integers(0, 2)) == 0:
            where = data.draw(st.integers(0, len(lines) - 1))
            lines[where] = self._changed(talk[where], data)
        self._say(other, b"".join(line + b"\n" for line in lines), data)

    def _changed(self, message: m.Message, data: st.DataObject) -> bytes:
        fields = msgspec.to_builtins(message)
        name = data.draw(st.sampled_from([*fields, "new"]))
        if data.draw(st.booleans()):
            fields[name] = data.draw(ANYTHING)
        elif name == "mac" or data.draw(st.booleans()):
            fields[name] = data.draw(st.sampled_from(self.old_macs))
        else:
            fields.pop(name, None)
        return json.dumps(fields).encode()

    @precondition(lambda self: self.others)
    @rule(at=st.integers(0, MOST_LINKS), noise=st.binary(max_size=60), many=st.sampled_from([1, 1, 100, 5000]))
    def noise(self, at: int, noise: bytes, many: int) -> None:
        """A link says what is no message, once or very often."""
        self._say(self.others[at % len(self.others)], noise * many)

    def _say(self, other: Other, data: bytes, draw: st.DataObject | None = None) -> None:
        cuts = [0, len(data)]
        if draw is not None and len(data) > 1:
            cuts += draw.draw(st.lists(st.integers(1, len(data) - 1), max_size=3))
        link = other.link
        for start, end in itertools.pairwise(sorted(cuts)):
            if link.closed or other.ended:
                break
            other.said += data[start:end]
            Conversations.lines += data.count(b"\n", start, end)
            try:
                self.machine.receive(link, data[start:end])
            except m.MessageError as error:
                self.machine.link_lost(link, str(error))
            self._listen()

    def _listen(self) -> None:
        """Hear what the node says, and see to the links that it has closed."""
        Conversations.steps += 1
        while True:
            closed = [other for other in self.others if other.link.closed]
            for other in self.others:
                self._hear(other)
            for other in closed:
                self.others.remove(other)
                other.ended = True
                self.machine.link_lost(other.link)
            if not closed:
                return

    def _hear(self, other: Other) -> None:
        link = other.link
        for line in link.data_to_send().splitlines():
            message = json.loads(line)
            kind = message["type"]
            other.seen.append(kind)
            if kind == "challenge" or (kind == "hello" and link.role is Role.DIALLER and not other.met):
                other.met = message
                self.old_macs = [*self.old_macs[-8:], other.mac()]
            if self.secret and not link.proved:
                assert kind in ("challenge", "refuse", "hello"), f"said to who has proved nothing: {message}"
                told = {message.get(name) or "" for name in ("alias", "address", "cluster", "link")}
                assert kind != "hello" or told == {""}, f"told to who has proved nothing: {message}"
            assert m.decode(line), line

    # --- what must hold ---

    @invariant()
    def nobody_is_believed_without_a_proof(self) -> None:
        """A link has proved the secret only if it said the right proof; else nobody new is known."""
        if not hasattr(self, "machine"):
            return
        for other in self.others:
            if other.link.proved:
                assert other.mac().encode() in other.said
                self.ever_proved = True
        if self.secret and not self.ever_proved:
            assert set(self.machine.table.peers) <= self.known
            assert not any(peer.open_link for peer in self.machine.table.peers.values())

    @invariant()
    def everything_is_bounded(self) -> None:
        """No table and no queue grows beyond its limit."""
        if not hasattr(self, "machine"):
            return
        machine = self.machine
        assert len(machine.table.peers) <= MOST_RECORDS
        assert len(machine.post._entries) <= MOST_RECORDS
        assert machine.dialler.under_way <= DEFAULTS.dials
        assert len(machine.handshakes) <= len(self.others)
        assert len(machine.questions._open) < 1000
        for other in self.others:
            assert other.link.queued <= DEFAULTS.peer_queue
            assert len(other.link._buffer) <= DEFAULTS.peer_line
        assert machine.me.incarnation <= m.MOST_INCARNATION - 2**20 or not self.others

    @invariant()
    def a_peer_has_one_link(self) -> None:
        """Every open link is the one that its peer is linked by, and no peer is the node itself."""
        if not hasattr(self, "machine"):
            return
        assert NODE not in self.machine.table.peers
        for other in self.others:
            if other.link.open:
                owner = other.link.owner
                assert isinstance(owner, Peer)
                assert owner.link is other.link
                assert self.machine.table.peers.get(owner.id) is owner
        for peer in self.machine.table.peers.values():
            assert peer.link is None or not peer.link.closed

    def teardown(self) -> None:
        """Handshakes end in time, and the node stops."""
        if not hasattr(self, "machine"):
            return
        for _ in range(24):
            self.wait(0.25)
            self.a_peer_has_one_link()
        assert not self.machine.handshakes, self.machine.handshakes
        self.machine.part()
        self._listen()
        assert not self.machine.table.peers
        assert not self.others, [other.link for other in self.others]
