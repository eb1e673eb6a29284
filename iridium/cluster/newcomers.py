"""How a node lets newcomers in with a token, and how it comes in with one itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool

from iridium.cluster import certificates as c
from iridium.cluster.door import Door, Pair, enrol, make_pair
from iridium.cluster.enrolling import TOKEN_REFUSED, Desk, Enrolled, store
from iridium.cluster.mesh import Mesh
from iridium.cluster.rules import is_address, is_wildcard, join_address, split_address
from iridium.cluster.tokens import Token, Tokens, parse_token
from iridium.cluster.trust import Trust
from iridium.errors import CommandError, IridiumError, OptionError
from iridium.events import EventRing
from iridium.throttle import Throttle


class Newcomers:
    """Join tokens, from both ends.

    Args:
        reactor: what it runs on.
        mesh: the node's place in the cluster.
        trust: gives what the node trusts at present.
        events: where to tell what happens.
        directory: the node's data directory.
        port: where newcomers come in; 0 takes a free one.
    """

    def __init__(
        self,
        reactor: Any,
        mesh: Mesh,
        trust: Callable[[], Trust],
        events: EventRing,
        directory: Path,
        port: int = 0,
    ) -> None:
        self._reactor = reactor
        self._mesh = mesh
        self._trust = trust
        self._directory = directory
        self._events = events
        self._refusals = Throttle(mesh.machine.limits.stranger_log)
        tokens = Tokens(time.monotonic)
        self._door = Door(reactor, Desk(tokens, trust, self._is_known, self._event), tokens, port)

    def _event(self, kind: str, subject: str, detail: str) -> None:
        """Tell what happens at the door, but not of each guess at a token."""
        unsaid = self._refusals.ask(time.monotonic()) if kind == TOKEN_REFUSED else 0
        if unsaid is not None:
            self._events.add(kind, subject, f"{detail} (and {unsaid} more)" if unsaid else detail)

    def _is_known(self, id: str) -> bool:
        return id == self._mesh.me.id or id in self._mesh.machine.table.peers

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        # The first certificate that is made takes a tenth of a second, for what is imported.
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def make_token(self, host: str = "") -> Deferred[Token]:
        """A token for one newcomer.

        Args:
            host: where newcomers reach this node; what it advertises if not said.

        Returns:
            Fires with it; errbacks with an IridiumError where there is nothing to give, or nowhere to give it.
        """
        try:
            self._door.desk.check()
            address = self._address(host)
        except CommandError as error:
            return fail(error)
        made: Deferred[Pair] = self._in_thread(self._prepare)
        return made.addCallback(self._open, address)

    def _prepare(self) -> Pair:
        self._door.desk.check_authority()
        return make_pair(self._mesh.me.id)

    def _address(self, host: str) -> str:
        if not self._mesh.listening:
            raise CommandError("this node does not listen yet: !start_cluster first")
        advertised, port = split_address(self._mesh.me.address)
        host = host or advertised
        if is_wildcard(host):
            raise CommandError(f"this node listens on {host}; say at which host newcomers reach it: !token HOST")
        address = join_address(host, port)
        try:
            split_address(address)
            valid = is_address(host) or ":" not in host
        except OptionError:
            valid = False
        if not valid:
            raise CommandError(f"{host[:60]!r} is no host: type an address or a name, without a port")
        return address

    def _open(self, pair: Pair, address: str) -> Token:
        try:
            return self._door.make_token(pair, self._mesh.interface, self._mesh.me.cluster, address)
        except CannotListenError as error:
            raise CommandError(
                f"no port for newcomers can be opened ({error.socketError}); choose another with --token-port"
            ) from None

    def enrol(self, text: str) -> Deferred[str]:
        """Get what a token leads to, and put it into the data directory.

        Args:
            text: the token.

        Returns:
            Fires with the HOST:PORT to join then; errbacks with an IridiumError.
        """
        try:
            token = parse_token(text)
            self._check_alone(token)
        except IridiumError as error:
            return fail(error)
        made: Deferred[Any] = self._in_thread(_key_and_request)
        return made.addCallback(lambda pair: self._ask(token, *pair))

    def _check_alone(self, token: Token) -> None:
        me = self._mesh.me
        if token.cluster != me.cluster:
            raise CommandError(
                f"the token is for the cluster {token.cluster!r}, this node belongs to {me.cluster!r}: start it "
                f"with --cluster {token.cluster}"
            )
        if self._trust().guards:
            raise CommandError(
                "this node has a secret or certificate already; join with HOST:PORT instead of a token"
            )
        if self._mesh.machine.table.living():
            raise CommandError("this node is in a cluster; !leave_cluster first")

    def _ask(self, token: Token, key: bytes, csr: bytes) -> Deferred[str]:
        asked: Deferred[Enrolled] = enrol(self._reactor, token, self._mesh.me.id, csr)
        stored: Deferred[Any] = asked.addCallback(
            lambda given: self._in_thread(store, given, key, self._directory)
        )
        return stored.addCallback(lambda _: token.address)

    def stop(self) -> Deferred[Any]:
        """Let nobody in any more."""
        return self._door.stop()


def _key_and_request() -> tuple[bytes, bytes]:
    """A new key and its signing request, as PEM."""
    key = c.make_key()
    return c.key_pem(key), c.make_csr(key)
