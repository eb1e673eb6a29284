"""Connections to other nodes: what becomes of a dial on a real network."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet import defer, error
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from iridium.cluster.membership import Membership
from iridium.cluster.peer import Dial, Outcome
from iridium.cluster.protocol import ClusterProtocol
from iridium.cluster.rules import is_address, split_address
from iridium.cluster.sparing import without_openssl
from iridium.errors import OptionError

DIAL_TIMEOUT = 5.0
"""Seconds for a TCP connection."""

LOOKUP_TIMEOUT = 10.0
"""Seconds for a connection to a host name, the resolver's time included."""


class Connector:
    """Carries out dials, and tells the membership machine how each that fails failed.

    Args:
        reactor: IReactorTCP and IReactorTime.
        machine: the membership machine.
        protocol: makes the protocol of a dial that has its connection.
    """

    _log = Logger()

    def __init__(self, reactor: Any, machine: Membership, protocol: Callable[[Dial], ClusterProtocol]) -> None:
        self._reactor = reactor
        self._machine = machine
        self._protocol = protocol
        # How to stop each that is under way.
        self._stop: dict[Dial, Callable[[], None]] = {}

    def connect(self, dial: Dial) -> None:
        """Connect to the address of a dial; names are looked up each time."""
        try:
            host, port = split_address(dial.address)
        except OptionError as problem:
            self._reactor.callLater(0, self._machine.dialler.failed, dial, "silent", str(problem))
            return
        factory = _DialFactory(self, dial)
        connect = self._connect_by_address if is_address(host) else self._connect_by_name
        connect(host, port, factory)

    def _connect_by_address(self, host: str, port: int, factory: _DialFactory) -> None:
        try:
            connector = self._reactor.connectTCP(host, port, factory, DIAL_TIMEOUT)
        except (OSError, ValueError) as problem:  # no such address here, or no descriptor for a socket
            self._stop[factory.dial] = lambda: None
            failure = Failure(error.ConnectError(string=str(problem)))
            self._reactor.callLater(0, self.failed, factory.dial, failure)
        else:
            self._stop[factory.dial] = connector.stopConnecting

    def _connect_by_name(self, host: str, port: int, factory: _DialFactory) -> None:
        # An address needs none of this: 20 ms of imports, and a thread that asks the resolver.
        with without_openssl():
            from twisted.internet.endpoints import HostnameEndpoint

        connecting = HostnameEndpoint(self._reactor, host, port, DIAL_TIMEOUT).connect(factory)
        self._stop[factory.dial] = connecting.cancel  # first, since a name that can be none fails at once
        connecting.addTimeout(LOOKUP_TIMEOUT, self._reactor)
        connecting.addCallbacks(lambda protocol: None, lambda failure: self.failed(factory.dial, failure))

    def hang_up(self, dial: Dial) -> None:
        """Stop connecting."""
        stop = self._stop.pop(dial, None)
        if stop is not None:
            stop()

    def connected(self, dial: Dial) -> ClusterProtocol | None:
        """The protocol for a dial's connection, unless it was hung up meanwhile."""
        if dial not in self._stop:
            return None
        protocol = self._protocol(dial)
        self._stop[dial] = protocol.hang_up  # TLS is part of connecting
        return protocol

    def linked(self, dial: Dial) -> None:
        """A dial has its link, which is how it ends from here on."""
        self._stop.pop(dial, None)

    def broken(self, dial: Dial, outcome: Outcome, detail: str) -> None:
        """A dial's connection came to nothing before there was a link."""
        if self._stop.pop(dial, None) is not None:
            self._machine.dialler.failed(dial, outcome, detail)

    def failed(self, dial: Dial, failure: Failure) -> None:
        """A dial has come to nothing."""
        if self._stop.pop(dial, None) is None:
            return  # hung up meanwhile
        problem = failure.value
        if isinstance(problem, error.ConnectionRefusedError):
            self._machine.dialler.failed(dial, "refused", "nothing listens there")
        elif isinstance(problem, error.ConnectError) and problem.osError == errno.ECONNRESET:
            # It was accepted, and closed before we looked: as with a process that dies just now.
            self._machine.dialler.failed(dial, "closed", "the peer hung up")
        elif isinstance(problem, error.DNSLookupError):
            self._machine.dialler.failed(dial, "silent", "the host name cannot be resolved")
        elif isinstance(problem, ValueError):
            self._machine.dialler.failed(dial, "silent", "that cannot be a host name")
        elif isinstance(problem, error.TimeoutError | defer.TimeoutError):
            self._machine.dialler.failed(dial, "silent", f"no answer within {DIAL_TIMEOUT:g} seconds")
        else:
            if not isinstance(problem, error.ConnectError):
                self._log.failure("dialling {address} failed", failure, address=dial.address)
            self._machine.dialler.failed(dial, "silent", str(problem))


class _DialFactory(ClientFactory):
    """Makes the protocol of one dial."""

    noisy = False

    def __init__(self, connector: Connector, dial: Dial) -> None:
        self._connector = connector
        self.dial = dial

    def buildProtocol(self, addr: IAddress | None) -> ClusterProtocol | None:
        return self._connector.connected(self.dial)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connector.failed(self.dial, reason)
