"""The mesh on Twisted: listens, dials, ticks, and owns the Deferreds.

What is decided stands in :mod:`iridium.cluster.membership`; here its decisions meet sockets and time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from iridium.cluster import messages as m
from iridium.cluster.accepting import take_few
from iridium.cluster.connecting import Connector
from iridium.cluster.conversation import Conversation, Texts
from iridium.cluster.link import Link, Role
from iridium.cluster.liveness import TICK
from iridium.cluster.membership import Membership
from iridium.cluster.peer import Dial, Join, Me, Outcome
from iridium.cluster.protocol import ClusterFactory, ClusterProtocol
from iridium.cluster.rules import is_loopback, join_address
from iridium.cluster.table import MOST_MEMBERS
from iridium.cluster.tls import ClusterTls, TlsError
from iridium.cluster.trust import Trust
from iridium.cluster.turns import Turns
from iridium.cluster.types import Delivery, Member, MeshView
from iridium.errors import CommandError, IridiumError, on_one_line
from iridium.events import EventRing
from iridium.limits import DEFAULTS, Limits
from iridium.throttle import Throttle

GOODBYE = 2.0
"""Seconds that a leaving node waits for the others to note it."""

MOST_NEWS = 2 * MOST_MEMBERS
"""Events of one kind in ten seconds: what becomes of a whole cluster that goes and comes, and no more of what a
member makes up."""

MOST_ENGAGED = 256
"""Connections whose TLS others have begun and not finished: each takes 64 KiB, where one that says nothing takes
none. As many as the largest mesh opens to one node."""

SAVE_AFTER = 0.5
"""Seconds between a change of the records and their saving, so that a forming mesh is one write."""


class Mesh:
    """The cluster as the node and the shell use it.

    Args:
        reactor: IReactorTCP and IReactorTime.
        me: this node.
        events: where to tell what happens.
        save: writes the node's own state and the records to disk; called outside the reactor thread.
        clock: gives seconds of a monotonic clock.
        rng: the source of link names, nonces and jitter.
        trust: what other nodes must prove.
        limits: what strangers and peers may cost.

    Attributes:
        tls: what new connections are secured with; None for none. It can be set at any time: links that are there
            go on as they are.
        turns: paces the steps of TLS handshakes.
    """

    _log = Logger(namespace="iridium.cluster")

    def __init__(
        self,
        reactor: Any,
        me: Me,
        events: EventRing,
        save: Callable[[Me, list[m.MemberRecord]], Deferred[None]],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        trust: Trust = Trust(),  # noqa: B008 - it never changes
        limits: Limits = DEFAULTS,
    ) -> None:
        self._reactor = reactor
        self._events = events
        self._save = save
        self._clock = clock
        self.me = me
        self.machine = Membership(me, self, clock, rng or random.SystemRandom(), trust.secrets, limits)
        self.post = self.machine.post
        self.texts = Texts()
        self._conversation = Conversation(self.machine)
        self._protocols: dict[Link, ClusterProtocol] = {}
        self._dirty: dict[Link, None] = {}
        self._receiving = False
        self._connector = Connector(reactor, self.machine, lambda dial: ClusterProtocol(self, dial))
        self.tls: ClusterTls | None = trust.tls
        self._port: Any = None  # IListeningPort, once open
        self._next_tick: Any = None  # IDelayedCall, once started
        self._saving: Any = None
        self._leaving = False
        self._later: list[Any] = []
        self._complaints = Throttle(limits.stranger_log)
        self._mistakes = Throttle(limits.stranger_log)
        self._news = Throttle(MOST_NEWS)
        self._engaged: dict[ClusterProtocol, None] = {}
        self._unengaged: dict[ClusterProtocol, None] = {}  # those that wait for room among them
        self.turns = Turns(clock, lambda action: reactor.callLater(0, action))

    # --- the node's side ---

    def listen(self, host: str, port: int, advertise: str = "") -> str:
        """Open the cluster port.

        Args:
            host: the interface.
            port: the port; 0 takes a free one.
            advertise: HOST:PORT to tell others instead.

        Returns:
            The address that it listens at; ``me.address`` is the advertised one.

        Raises:
            CannotListenError: the port is in use or not allowed.
        """
        backlog = self.machine.limits.half_open
        self._port = self._reactor.listenTCP(port, ClusterFactory(self), backlog=backlog, interface=host)
        take_few(self._port)
        bound = join_address(host, self._port.getHost().port)
        self.me.address = advertise or bound
        self.machine.table.changed()
        return bound

    @property
    def interface(self) -> str:
        """The interface of the cluster port."""
        return str(self._port.getHost().host)

    def trust(self, trust: Trust) -> None:
        """Have other nodes prove this from now on; held links stay, and missing ones are tried at once."""
        stricter = trust.tls is not None and self.tls is None
        self.tls = trust.tls
        self.machine.trust(trust.secrets, stricter=stricter)

    @property
    def listening(self) -> bool:
        """Whether the cluster port is open."""
        return self._port is not None

    def start(self, known: list[m.MemberRecord]) -> None:
        """Begin to keep time, and look for the members of an earlier life."""
        self._next_tick = self._reactor.callLater(TICK, self._tick)
        self.machine.remember(known)

    def _tick(self) -> None:
        pause = TICK
        try:
            pause = self.machine.liveness.tick()
        except Exception:
            # A bug, but one that must not end the node's sense of time.
            self._log.failure("a tick of the membership machine failed")
        self._next_tick = self._reactor.callLater(pause, self._tick)

    def stop(self) -> Deferred[Any]:
        """Close the port and every link; the others will find this node gone."""
        if self._next_tick is not None and self._next_tick.active():
            self._next_tick.cancel()
        saved = self._save_now()
        self._save = lambda me, records: succeed(None)
        self.machine.part()
        for call in self._later:
            if call.active():
                call.cancel()
        self.turns.stop()
        for protocol in list(self._protocols.values()):
            if protocol.transport is not None:
                protocol.transport.abortConnection()
        self._cancel_save()
        closed = self._port.stopListening() if self._port is not None else None
        return gatherResults([saved, closed or succeed(None)])

    # --- what people ask for ---

    def join(self, host: str, port: int) -> Deferred[list[Member]]:
        """Join the cluster that a node belongs to.

        Args:
            host, port: any member's cluster port.

        Returns:
            Fires with the members once each has accepted or failed; fails with RefusedError or UnreachableError
            when the first contact does. Cancelling it closes what it opened: a node that was alone before is so
            again, and members that had accepted it meanwhile are told that it left.
        """
        if not self.listening:
            return fail(CommandError("this node does not listen yet: !start_cluster first"))
        if self._leaving:
            return fail(CommandError("this node is just leaving; try again in a moment"))
        return self._rejoin().addCallback(lambda _: self._join(join_address(host, port)))

    def _rejoin(self) -> Deferred[Any]:
        if not self.me.left:
            return succeed(None)
        self.machine.rejoin(max(self.me.incarnation + 1, int(time.time() * 1000)))
        return self._save_now()

    def _join(self, address: str) -> Deferred[list[Member]]:
        alone = not self.machine.table.living()

        def cancel(_: Any) -> None:
            self.machine.dialler.cancel(attempt)
            if alone and self.machine.table.living() and not self.me.left:
                undone = self.leave().addCallback(lambda _: self._rejoin())
                undone.addErrback(lambda failure: self._log.failure("a join was not undone", failure=failure))

        result: Deferred[list[Member]] = Deferred(cancel)
        attempt: Join = self.machine.dialler.join(
            address,
            lambda: self._reactor.callLater(0, _fire, result, self.members),
            lambda error: self._reactor.callLater(0, _fail, result, error),
        )
        return result

    def leave(self) -> Deferred[None]:
        """Leave the cluster: say so, wait until it is noted, close every link.

        The node goes on running, answers dials with LEFT, and may join again.
        """
        if self.me.left:
            return fail(CommandError("this node has left already"))
        links = [peer.open_link for peer in self.machine.table.peers.values() if peer.open_link]
        waiting: Deferred[Any] = gatherResults([self._goodbye(link) for link in links])
        self._leaving = True
        self.machine.say_leave()
        waiting.addCallback(lambda _: self._part())
        return waiting.addCallback(lambda _: self._save_now())

    def _part(self) -> None:
        self._leaving = False
        self.machine.part()

    def _goodbye(self, link: Link) -> Deferred[None]:
        noted: Deferred[None] = Deferred()
        noted.addErrback(_enough)
        self.machine.questions.goodbye(link, lambda: _fire(noted, lambda: None))
        return noted.addTimeout(GOODBYE, self._reactor)

    def members(self) -> list[Member]:
        """This node and every other that it knows of."""
        return self.machine.table.members()

    def forget(self, target: str) -> None:
        """Drop a member that is down or has left.

        Raises:
            CommandError: there is no such member, or it is alive.
        """
        self.machine.forget(target)

    def tell(self, target: str, text: str) -> Deferred[list[Delivery]]:
        """Show a text to the people at a member, or at all with ``*``; fires with whether it arrived, for each."""
        return self._conversation.tell(target, text)

    def view(self) -> Deferred[MeshView]:
        """Ask every member whom it holds a link to; fires with the table of who reaches whom."""
        return self._conversation.view()

    # --- the machine's side (Surroundings) ---

    def dial(self, dial: Dial) -> None:
        """Connect to the address of a dial."""
        self._connector.connect(dial)

    def hang_up(self, dial: Dial) -> None:
        """Stop connecting."""
        self._connector.hang_up(dial)

    def output(self, link: Link) -> None:
        """A link has something to send: everything of this reactor turn leaves in one write.

        What answers to something that has just arrived leaves when all of that is read.
        """
        if not self._dirty and not self._receiving:
            self._reactor.callLater(0, self._flush)
        self._dirty[link] = None

    def receive(self, link: Link, data: bytes) -> None:
        """Bytes arrived on a link; a peer that misbehaves is hung up on."""
        self._receiving = True
        try:
            self.machine.receive(link, data)
        except m.MessageError as error:
            self.misbehaved(link, error)
        finally:
            self._receiving = False
            self._flush()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for link in dirty:
            protocol = self._protocols.get(link)
            if protocol is not None:
                protocol.flush()

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Something happened that people want to know; not each of a flood of the same kind."""
        unsaid = self._news.ask(self._clock(), kind)
        if unsaid is not None:
            self._events.add(kind, subject, f"{detail} (and {unsaid} more of this kind)" if unsaid else detail)

    def complain(self, host: str, problem: str) -> None:
        """A line in the log about somebody who is hung up on; not for each of a flood."""
        unsaid = self._complaints.ask(self._clock())
        if unsaid is not None:
            more = f" (and {unsaid} others were)" if unsaid else ""
            self._log.warn(
                "hung up on {host}: {problem}{more}", host=host, problem=on_one_line(problem), more=more
            )

    def mistaken(self, name: str, problem: str) -> None:
        """A line in the log about what a member sent that is dropped, while the link goes on; likewise."""
        unsaid = self._mistakes.ask(self._clock())
        if unsaid is not None:
            more = f" (and {unsaid} others)" if unsaid else ""
            self._log.warn(
                "dropped, from {name}: {problem}{more}", name=name, problem=on_one_line(problem), more=more
            )

    def text(self, sender: str, text: str) -> None:
        """A person at another node said something."""
        self._events.add("text", sender, text)
        self.texts.show(sender, text)

    def hurry(self) -> None:
        """Tick soon."""
        call = self._next_tick
        if call is not None and call.active() and call.getTime() > self._reactor.seconds() + TICK:
            call.reset(TICK)

    def changed(self) -> None:
        """Save soon."""
        if self._saving is None:
            self._saving = self._reactor.callLater(SAVE_AFTER, self._save_later)

    def _save_later(self) -> None:
        self._saving = None
        self._save_now()

    def _cancel_save(self) -> None:
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None

    def _save_now(self) -> Deferred[None]:
        self._cancel_save()
        records = [] if self.me.left else [r for r in self.machine.table.records() if r.id != self.me.id]
        return self._save(self.me, records)

    # --- the protocols' side ---

    @property
    def half_open(self) -> int:
        """Connections that are in a handshake."""
        return len(self.machine.handshakes) + len(self.machine.greetings)

    @property
    def dials(self) -> int:
        """Connections that it is making."""
        return self.machine.dialler.under_way

    @property
    def half_open_of_one(self) -> int:
        """How many of them come from one address, the one with the most; loopback addresses do not count."""
        hosts = list(self._half_open_hosts())
        return max((hosts.count(host) for host in set(hosts) if not is_loopback(host)), default=0)

    def _half_open_hosts(self) -> Iterator[str]:
        """Where connections in a handshake come from that others made."""
        yield from (link.host for link in self.machine.handshakes if link.role is Role.ACCEPTOR)
        yield from (greeting.host for greeting in self.machine.greetings if not greeting.dialled)

    def no_room(self, host: str) -> str:
        """Why another connection from an address may not begin a handshake now; "" if it may."""
        limits = self.machine.limits
        if self.half_open >= limits.half_open:
            return "too many connections are in a handshake"
        if self.half_open >= limits.half_open_per_address and not is_loopback(host):
            theirs = sum(one == host for one in self._half_open_hosts())
            if theirs >= limits.half_open_per_address:
                return "too many connections from that address are in a handshake"
        return ""

    def later(self, seconds: float, action: Callable[[], None]) -> Any:
        """Call something after a while, unless the mesh has stopped by then."""
        self._later = [call for call in self._later if call.active()]
        self._later.append(self._reactor.callLater(seconds, action))
        return self._later[-1]

    def greet(self, protocol: ClusterProtocol) -> None:
        """A connection begins with TLS; until it has a link it counts all the same."""
        self.machine.greetings[protocol] = None
        self.machine.liveness.hurry()

    def engage(self, protocol: ClusterProtocol) -> None:
        """Somebody begins with TLS; where too many have, it waits until one of them is done."""
        self._unengaged[protocol] = None
        self._engage_next()

    def _engage_next(self) -> None:
        while self._unengaged and len(self._engaged) < MOST_ENGAGED:
            protocol = next(iter(self._unengaged))
            del self._unengaged[protocol]
            self._engaged[protocol] = None
            protocol.engage()

    def greeted(self, protocol: ClusterProtocol) -> None:
        """A connection has its link, or is gone."""
        self.machine.greetings.pop(protocol, None)
        self._unengaged.pop(protocol, None)
        if self._engaged.pop(protocol, self) is None:
            self._engage_next()

    def broken(self, dial: Dial, outcome: Outcome, detail: str) -> None:
        """A dial's connection came to nothing before there was a link."""
        self._connector.broken(dial, outcome, detail)

    def rejected(self, link: Link, error: TlsError) -> bool:
        """Take it for a refusal, where what we dialled does not take our certificate; whether that is so."""
        if not error.rejected or not isinstance(link.owner, Dial):
            return False
        self.machine.dialler.refused(link.owner, m.Refuse("NOT_ALLOWED", error.problem, error.remedy))
        return True

    def connected(self, link: Link, protocol: ClusterProtocol) -> None:
        """A connection has its link."""
        if isinstance(link.owner, Dial):
            self._connector.linked(link.owner)
        self._protocols[link] = protocol
        self.output(link)

    def disconnected(self, link: Link) -> None:
        """A connection is gone."""
        self._protocols.pop(link, None)
        self.machine.link_lost(link)

    def misbehaved(self, link: Link, error: IridiumError) -> None:
        """A peer said what it must not: hang up, with one line in the log."""
        self.complain(link.host, str(error))
        self.machine.link_lost(link, str(error))


def _enough(failure: Failure) -> None:
    """A member that does not note in time that this node leaves is left all the same."""
    failure.trap(CancelledError)


def _fire(result: Deferred[Any], value: Callable[[], Any]) -> None:
    if not result.called:
        result.callback(value())


def _fail(result: Deferred[Any], error: IridiumError) -> None:
    if not result.called:
        result.errback(error)
