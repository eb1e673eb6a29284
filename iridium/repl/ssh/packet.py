"""The fields of a packet, read strictly: conch takes what is cut short for what it is not."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import provider


@provider(ILogObserver)
def _silent(event: LogEvent) -> None:
    """Note nothing."""


QUIET = Logger(observer=_silent)
"""For what conch has to say, which peers have caused; the log gets one line for what matters, from elsewhere."""


class PacketError(Exception):
    """A peer sent a packet that cannot be one; it ends its connection and nothing else."""


class Reader:
    """Takes fields from the front of a packet.

    Args:
        packet: the packet, or what is left of one.
    """

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = 0

    def raw(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            PacketError: there are not so many.
        """
        end = self._at + size
        if end > len(self._packet):
            raise PacketError("it is cut short")
        field = self._packet[self._at : end]
        self._at = end
        return field

    def number(self) -> int:
        """An unsigned number of 32 bits."""
        return int.from_bytes(self.raw(4), "big")

    def boolean(self) -> bool:
        """True or false."""
        return self.raw(1) != b"\0"

    def string(self) -> bytes:
        """Bytes with their length before them."""
        return self.raw(self.number())

    def rest(self) -> bytes:
        """All that follows."""
        return self.raw(len(self._packet) - self._at)

    def end(self) -> None:
        """Nothing follows.

        Raises:
            PacketError: something does.
        """
        if self._at != len(self._packet):
            raise PacketError("it has too much")
