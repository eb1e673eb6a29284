"""How Python takes part: a pid and a mailbox of its own, whose messages come as objects."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed

from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import BYTES_MESSAGE, END_MESSAGE, PID_MESSAGE
from iridium.vm.runtime.mailbox import BLOCK

if TYPE_CHECKING:
    from iridium.processes.processes import Processes

_U32 = 0xFFFF_FFFF


class Message(msgspec.Struct, frozen=True):
    """A message.

    Attributes:
        sender: the pid of whoever sent it; 0 is nobody that this node knows.
        value: a word as a signed number, a pid, or bytes.
        is_pid: whether the number is a pid.
    """

    sender: int
    value: int | bytes
    is_pid: bool = False


class End(msgspec.Struct, frozen=True):
    """The notice that a process has ended which the mailbox monitors.

    Attributes:
        pid: which.
        reason: its exit reason.
    """

    pid: int
    reason: int


class Mailbox:
    """A pid and a mailbox for Python; made by :meth:`Processes.mailbox`. In a ``with`` it is closed at the end.

    Attributes:
        pid: what processes send to.
    """

    def __init__(self, processes: Processes, record: Record) -> None:
        self._processes = processes
        self._record = record
        self.pid = int(record.pid)
        self._waiting: deque[Deferred[Message | End]] = deque()
        self._open = True

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def receive(self) -> Deferred[Message | End]:
        """The next message.

        Returns:
            Fires with it, at once or when it comes; cancelling gives the wish up.
        """
        if not self._waiting:
            message = take(self._record)
            if message is not None:
                return succeed(message)
        waiting: Deferred[Message | End] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def send(self, to: int, value: int | bytes, *, is_pid: bool = False) -> bool:
        """Send a message in the name of this mailbox; whether it was taken."""
        return self._processes.send(to, value, is_pid=is_pid, sender=self.pid)

    def monitor(self, pid: int) -> bool:
        """Ask for an :class:`End` when a process ends; of one that is not there it comes at once."""
        done = bool(calls.monitor(self._record, pid))
        self._processes.flush()
        return done

    def demonitor(self, pid: int) -> None:
        """Ask no longer."""
        calls.demonitor(self._record, pid)

    def close(self) -> None:
        """Receive nothing more. Twice is as good as once."""
        if self._open:
            self._open = False
            self._processes.close_mailbox(self._record)
            for waiting in list(self._waiting):
                waiting.errback(CancelledError())
            self._waiting.clear()

    def arrived(self) -> None:
        """There are messages; called by the processes."""
        while self._waiting and self._open:
            message = take(self._record)
            if message is None:
                break
            self._waiting.popleft().callback(message)


def take(record: Record) -> Message | End | None:
    """The first message of a mailbox of the host's, taken out, or None."""
    found = calls.receive(record)
    if not found:
        return None
    sender, value, kind = found >> 32 & 0x7FFFFFFF, found & _U32, record.message_kind
    if kind == BYTES_MESSAGE:
        block = calls.take_block(record)
        data = ctypes.string_at(block + BLOCK, value)
        calls.free_block(block)
        return Message(sender, data)
    signed = value - 2**32 if value >> 31 else value
    if kind == END_MESSAGE:
        return End(sender, signed)
    return Message(sender, signed, kind == PID_MESSAGE)
