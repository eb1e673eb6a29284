"""What strangers do to a port, in the log: some lines of each kind in a while, not one for each time."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from iridium.throttle import Throttle


class Complaints:
    """The lines of a port.

    Args:
        clock: tells the time.
        lines: of one kind in a while; the limit ``stranger-log``.
        port: which port it is, for people.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, clock: Any, lines: int, port: str = "REPL") -> None:
        self._clock = clock
        self._port = port
        self._throttle = Throttle(lines)

    def warn(self, kind: str, peer: str) -> None:
        """A line in the log about what somebody does, not for each of a flood.

        Args:
            kind: some words of this program, never of a peer.
            peer: who it is.
        """
        unsaid = self._throttle.ask(self._clock.seconds(), kind)
        if unsaid is not None:
            more = f" (and {unsaid} others)" if unsaid else ""
            line = "{port} port: {kind}, from {peer}{more}"
            self._log.warn(line, port=self._port, kind=kind, peer=peer, more=more)
