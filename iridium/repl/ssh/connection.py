"""What a peer may open and ask for once it has logged in: sessions, and nothing else."""

from __future__ import annotations

from typing import Any

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_CHANNEL_TYPE,
    SSHConnection,
)

from iridium.repl.ssh.channel import SessionChannel
from iridium.repl.ssh.packet import QUIET, PacketError, Reader

MAX_CHANNELS = 10
"""Sessions of one connection at once, as in OpenSSH."""

EMPTY = 60.0
"""Seconds that a connection may be without a session: one that is kept for the next is opened again in no time."""

LEAST_PACKET = 256
"""Bytes of the smallest packet that a peer may insist on: with a byte each, output would be nothing but frames."""

MOST_PACKET = 32 * 1024
"""Bytes of data that are sent in a packet at most."""


class Connection(SSHConnection):
    """The ssh-connection service of a connection."""

    transport: Any
    _log = QUIET

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._empty: Any = None

    def serviceStarted(self) -> None:
        """The peer has logged in."""
        self._watch()

    def serviceStopped(self) -> None:
        """The connection is lost."""
        super().serviceStopped()  # type: ignore[no-untyped-call]
        if self._empty is not None:
            self._empty.cancel()
            self._empty = None

    def packetReceived(self, number: int, packet: bytes) -> None:
        """Take a packet, if it is one."""
        reader = Reader(packet)
        if number == MSG_CHANNEL_OPEN:
            self._open(reader)
        elif number == MSG_GLOBAL_REQUEST:
            reader.string()
            reader.boolean()
            super().packetReceived(number, packet)  # type: ignore[no-untyped-call]
        elif number in _ON_CHANNELS:
            channel = self.channels.get(reader.number())
            if channel is None:
                raise PacketError(f"message {number} to no channel")
            if number == MSG_CHANNEL_REQUEST:
                self._request(channel, reader)
            else:
                _ON_CHANNELS[number](channel, reader)
                super().packetReceived(number, packet)  # type: ignore[no-untyped-call]
        elif number >= 80:
            raise PacketError(f"message {number} out of turn")
        # What belongs to the login comes too late, and is to be ignored.

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        """Nothing is done for a whole connection: no ports are forwarded."""
        return 0

    def _open(self, reader: Reader) -> None:
        kind, remote, window, largest = reader.string(), reader.number(), reader.number(), reader.number()
        key = self.transport.key
        if kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"tun@openssh.com"):
            self._refuse(remote, OPEN_ADMINISTRATIVELY_PROHIBITED, "this node forwards nothing")
        elif kind != b"session":
            self._refuse(remote, OPEN_UNKNOWN_CHANNEL_TYPE, "there are only sessions")
        elif largest < LEAST_PACKET:
            self._refuse(remote, OPEN_RESOURCE_SHORTAGE, f"packets must have room for {LEAST_PACKET} bytes")
        elif len(self.channels) >= MAX_CHANNELS:
            self._refuse(remote, OPEN_RESOURCE_SHORTAGE, f"{MAX_CHANNELS} sessions are open on this connection")
        elif self.transport.factory.keys.find(key.blob) != key:
            self._refuse(remote, OPEN_ADMINISTRATIVELY_PROHIBITED, "the key may not log in any more")
        else:
            local = self.localChannelID
            self.localChannelID += 1
            channel = SessionChannel(self, local, window, min(largest, MOST_PACKET))
            self.channels[local] = channel
            self.channelsToRemoteChannel[channel] = remote
            self.localToRemoteChannel[local] = remote
            numbers = (remote, local, channel.localWindowSize, channel.localMaxPacket)
            data = b"".join(number.to_bytes(4, "big") for number in numbers)
            self.transport.sendPacket(MSG_CHANNEL_OPEN_CONFIRMATION, data)
            channel.block(self.transport.blocked)

    def _refuse(self, remote: int, reason: int, text: str) -> None:
        numbers = remote.to_bytes(4, "big") + reason.to_bytes(4, "big")
        self.transport.sendPacket(MSG_CHANNEL_OPEN_FAILURE, numbers + NS(text) + NS(b""))

    def _request(self, channel: SessionChannel, reader: Reader) -> None:
        kind, answer = reader.string(), reader.boolean()
        granted = channel.requestReceived(kind, reader.rest())
        if answer and channel in self.channelsToRemoteChannel:
            remote = self.channelsToRemoteChannel[channel].to_bytes(4, "big")
            self.transport.sendPacket(MSG_CHANNEL_SUCCESS if granted else MSG_CHANNEL_FAILURE, remote)
        channel.begin()
        self._watch()

    def channelClosed(self, channel: Any) -> None:
        """Both ends have closed a channel."""
        super().channelClosed(channel)  # type: ignore[no-untyped-call]
        self._watch()

    def adjustWindow(self, channel: Any, bytesToAdd: int) -> None:
        """Let the peer send more on a channel, unless that cannot take it now."""
        if channel.reads:
            super().adjustWindow(channel, bytesToAdd)  # type: ignore[no-untyped-call]

    def block(self, blocked: bool) -> None:
        """The peer reads nothing for now, or does again."""
        for channel in list(self.channels.values()):
            channel.block(blocked)

    def _watch(self) -> None:
        """Close the connection if it stays without a session."""
        used = any(channel.begun for channel in self.channels.values()) or self.transport.service is not self
        if used and self._empty is not None:
            self._empty.cancel()
            self._empty = None
        elif not used and self._empty is None:
            self._empty = self.transport.factory.clock.callLater(EMPTY, self._stayed_empty)

    def _stayed_empty(self) -> None:
        self._empty = None
        self.transport.end(f"no session for {EMPTY:.0f} s")


def _data(channel: SessionChannel, reader: Reader) -> None:
    size = len(reader.string())
    reader.end()
    if size > min(channel.localWindowLeft, channel.localMaxPacket):
        raise PacketError("more data than there is room for")


def _extended_data(channel: SessionChannel, reader: Reader) -> None:
    reader.number()
    _data(channel, reader)


def _number(channel: SessionChannel, reader: Reader) -> None:
    reader.number()
    reader.end()


def _nothing(channel: SessionChannel, reader: Reader) -> None:
    reader.end()


_ON_CHANNELS = {
    MSG_CHANNEL_WINDOW_ADJUST: _number,
    MSG_CHANNEL_DATA: _data,
    MSG_CHANNEL_EXTENDED_DATA: _extended_data,
    MSG_CHANNEL_EOF: _nothing,
    MSG_CHANNEL_CLOSE: _nothing,
    MSG_CHANNEL_REQUEST: _nothing,
}
"""What follows the number of the channel in each message to one."""
