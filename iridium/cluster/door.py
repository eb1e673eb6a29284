"""The door that newcomers with a join token come through: a TLS port that is open while a token is out.

It is a port of its own, so that the cluster port need not let anybody in who has no certificate, and it closes
with the last token. What is said there stands in :mod:`iridium.cluster.enrolling`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet import defer, error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from iridium.cluster.enrolling import (
    LONGEST_ASKED,
    LONGEST_GIVEN,
    Desk,
    Enrolled,
    EnrolmentError,
    parse_answer,
    request,
)
from iridium.cluster.rules import join_address
from iridium.cluster.tls import Channel, TlsError, Verdict
from iridium.cluster.tokens import LIFETIME, Token, Tokens
from iridium.errors import IridiumError

MOST_GUESTS = 16
"""Connections at once: as many as there may be tokens. Each costs a TLS handshake."""

PATIENCE = 10.0
"""Seconds for all that is said through the door, on either side: two round trips and a signature."""


class Pair(NamedTuple):
    """A certificate for the door, and its key.

    Attributes:
        certificate, key: of ``cryptography``.
        fingerprint: SHA-256 of the certificate.
    """

    certificate: Any
    key: Any
    fingerprint: bytes


def make_pair(id: str) -> Pair:
    """A certificate that nothing vouches for but the tokens that name it. It takes a tenth of a second at first.

    Args:
        id: of the node that shows it.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import load_pem_x509_certificate

    from iridium.cluster import certificates as c

    key = c.make_key()
    pem = c.issue(c.make_csr(key), [id], [], c.make_ca("Iridium join token"), years=1)
    certificate = load_pem_x509_certificate(pem)
    return Pair(certificate, key, certificate.fingerprint(SHA256()))


def _channel(pair: Pair | None) -> Channel:
    """TLS for one connection: with a certificate at the door, without one where a newcomer calls.

    Nobody is verified by OpenSSL: the newcomer looks at the fingerprint, and the member at the token.
    """
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET)
    if pair is not None:
        context.use_certificate(pair.certificate)
        context.use_privatekey(pair.key)
    connection = SSL.Connection(context, None)
    (connection.set_connect_state if pair is None else connection.set_accept_state)()
    return Channel(connection, Verdict())


class Door:
    """Opens and closes the port.

    Args:
        reactor: IReactorTCP and IReactorTime.
        desk: answers newcomers.
        tokens: those that are out.
        port: which; 0 takes a free one.
    """

    _log = Logger(namespace="iridium.cluster")

    def __init__(self, reactor: Any, desk: Desk, tokens: Tokens, port: int = 0) -> None:
        self._reactor = reactor
        self.desk = desk
        self._tokens = tokens
        self._wanted = port
        self._port: Any = None
        self._pair: Pair | None = None  # what it shows
        self._closing: Any = None
        self._guests: dict[_Guest, None] = {}

    @property
    def is_open(self) -> bool:
        """Whether newcomers can come in."""
        return self._port is not None

    def make_token(self, pair: Pair, interface: str, cluster: str, address: str) -> Token:
        """A new token, and the port open for it.

        Args:
            pair: what the port shows if it is not open yet.
            interface: the port's interface.
            cluster: the name of the cluster.
            address: HOST:PORT by which newcomers reach this node.

        Raises:
            CommandError: too many are out.
            CannotListenError: there is no port.
        """
        if self._port is None:
            self._port = self._reactor.listenTCP(self._wanted, _DoorFactory(self, pair), interface=interface)
            self._pair = pair
            self._log.info("open for newcomers with a token on {port}", port=self._port.getHost().port)
        assert self._pair is not None
        secret = self._tokens.make()
        if self._closing is not None:
            self._closing.cancel()
        self._closing = self._reactor.callLater(LIFETIME, self._close)
        return Token(cluster, address, self._port.getHost().port, self._pair.fingerprint, secret)

    def _close(self) -> None:
        self._closing = None
        self.stop()

    def stop(self) -> Deferred[Any]:
        """Close the port, whatever tokens are out."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self._tokens.clear()
        port, self._port, self._pair = self._port, None, None
        for guest in list(self._guests):
            guest.transport.abortConnection()
        return defer.maybeDeferred(port.stopListening) if port is not None else defer.succeed(None)

    # --- the protocols' side ---

    def came(self, guest: _Guest) -> bool:
        """A guest is there; whether there is room for it."""
        if len(self._guests) >= MOST_GUESTS:
            return False
        self._guests[guest] = None
        return True

    def went(self, guest: _Guest) -> None:
        """A guest is gone."""
        self._guests.pop(guest, None)

    def answered(self) -> None:
        """A guest was answered: close the door behind the last who had a token."""
        if len(self._tokens) or self._closing is None:
            return
        soon = self._reactor.seconds() + PATIENCE  # it has yet to read the answer
        if self._closing.getTime() > soon:  # who comes without a token does not keep it open
            self._closing.cancel()
            self._closing = self._reactor.callLater(PATIENCE, self._close)

    def later(self, seconds: float, action: Callable[[], None]) -> Any:
        """Call something after a while."""
        return self._reactor.callLater(seconds, action)


class _Line(Protocol):
    """Reads one line in TLS, of bounded length, and says one."""

    transport: Any
    longest = 0

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._buffer = b""
        self._greeted = self._done = False
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._channel.receive(b"")
        self.transport.write(self._channel.outgoing())

    def dataReceived(self, data: bytes) -> None:
        if self._done:
            return
        try:
            self._buffer += self._channel.receive(data)
        except TlsError as problem:
            self._end(str(problem))
            return
        self.transport.write(self._channel.outgoing())
        if not self._greeted and self._channel.peer is not None:
            self._greeted = True
            self.greeted()
        line, newline, _ = self._buffer.partition(b"\n")
        if len(line) > self.longest:
            self._end(f"a line of over {self.longest} bytes")
        elif newline and not self._done:
            self._done = True
            self.heard(line)

    def say(self, data: bytes) -> None:
        """Say something."""
        self.transport.write(self._channel.send(data))

    def close(self) -> None:
        """Say that nothing follows, and hang up."""
        self._done = True
        self.transport.write(self._channel.end())
        self.transport.loseConnection()

    def _end(self, problem: str) -> None:
        self.failed(problem)
        self.close()

    def greeted(self) -> None:
        """TLS is agreed on."""

    def heard(self, line: bytes) -> None:
        """The line is there."""
        raise NotImplementedError

    def failed(self, problem: str) -> None:
        """There will be none."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _Guest(_Line):
    """Somebody at the door."""

    longest = LONGEST_ASKED

    def __init__(self, door: Door, pair: Pair) -> None:
        super().__init__(_channel(pair))
        self._door = door

    def connectionMade(self) -> None:
        self._timer = self._door.later(PATIENCE, self.transport.abortConnection)
        if self._door.came(self):
            super().connectionMade()
        else:
            self._done = True
            self.transport.abortConnection()

    def heard(self, line: bytes) -> None:
        self.say(self._door.desk.answer(line, self.transport.getPeer().host))
        self._door.answered()
        self.close()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self._door.went(self)


class _DoorFactory(Factory):
    noisy = False

    def __init__(self, door: Door, pair: Pair) -> None:
        self._door = door
        self._pair = pair

    def buildProtocol(self, addr: Any) -> _Guest:
        return _Guest(self._door, self._pair)


# --- the newcomer ---


def enrol(reactor: Any, token: Token, id: str, csr: bytes) -> Deferred[Enrolled]:
    """Ask the member that made a token for what this node needs.

    Args:
        reactor: IReactorTCP and IReactorTime.
        token: the token.
        id: this node's id.
        csr: a signing request, as PEM.

    Returns:
        Fires with what it gives; errbacks with EnrolmentError.
    """
    where = join_address(token.host, token.door)
    result: Deferred[Enrolled] = Deferred(lambda _: connector.disconnect())
    factory = _AskerFactory(token, request(token.secret, id, csr), result, where)
    connector = reactor.connectTCP(token.host, token.door, factory, PATIENCE)
    return result.addTimeout(PATIENCE, reactor, lambda late, _: _too_late(late, where))


def _too_late(late: Any, where: str) -> Failure:
    late.trap(defer.CancelledError)
    return Failure(EnrolmentError(f"{where} does not answer within {PATIENCE:g} seconds"))


class _Asker(_Line):
    """The newcomer's end: says nothing before it has seen the right certificate."""

    longest = LONGEST_GIVEN

    def __init__(self, factory: _AskerFactory) -> None:
        super().__init__(_channel(None))
        self._factory = factory

    def greeted(self) -> None:
        """Ask, if the certificate is the one that the token names."""
        if self._channel.fingerprint() == self._factory.token.fingerprint:
            self.say(self._factory.asks)
        else:
            self._end("it is not the node that made the token")

    def heard(self, line: bytes) -> None:
        try:
            self._factory.end(parse_answer(line))
        except IridiumError as problem:
            self._factory.end(problem)
        self.close()

    def failed(self, problem: str) -> None:
        self._factory.end(EnrolmentError(f"{self._factory.where}: {problem}"))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        where = self._factory.where
        self._factory.end(
            EnrolmentError(f"{where} hung up without an answer; is it the node that made the token?")
        )


class _AskerFactory(ClientFactory):
    noisy = False

    def __init__(self, token: Token, asks: bytes, result: Deferred[Enrolled], where: str) -> None:
        self.token = token
        self.asks = asks
        self.where = where
        self._result: Deferred[Enrolled] | None = result

    def buildProtocol(self, addr: Any) -> _Asker:
        return _Asker(self)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        what = "does not answer" if reason.check(error.TimeoutError) else "cannot be reached"
        nobody = reason.check(error.ConnectionRefusedError)
        problem = (
            "nobody is there: the token was used or has expired, or its node was stopped; make another with !token"
            if nobody
            else str(reason.value)
        )
        self.end(EnrolmentError(f"{self.where} {what} ({problem})"))

    def end(self, outcome: Enrolled | IridiumError) -> None:
        """Tell who asked, once."""
        result, self._result = self._result, None
        if result is None or result.called:
            return
        if isinstance(outcome, IridiumError):
            result.errback(outcome)
        else:
            result.callback(outcome)
