"""A channel of an SSH connection: what the peer asks for, and the flow of bytes both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.conch.ssh.channel import SSHChannel

from iridium.repl.conversation import FLUSH
from iridium.repl.ssh.packet import QUIET, Reader
from iridium.repl.ssh.shells import AtTerminal, Command, Plain, Shell

if TYPE_CHECKING:
    from iridium.repl.ssh.connection import Connection

WINDOW = 64 * 1024
"""Bytes that a peer may send before it has to wait: a large paste."""

STANDARD_ERROR = 1


class SessionChannel(SSHChannel):
    """A channel of the kind "session".

    Args:
        conn: the connection.
        number: its number at this end.
        window: bytes that may be sent to the peer before it says more.
        largest: bytes of the largest packet of them.

    Attributes:
        reads: whether it takes more from the peer.
        begun: whether the session has begun.
    """

    name = b"session"
    conn: Any
    _log = QUIET

    def __init__(self, conn: Connection, number: int, window: int, largest: int) -> None:
        super().__init__(WINDOW, remoteWindow=window, remoteMaxPacket=largest, conn=conn)
        self.id: Any = number
        self.reads = True
        self._shell: Shell | None = None
        self.begun = False
        self._size: tuple[int, int] | None = None
        self._timer: Any = None
        # Why nothing should be written for now: the window is full, or the whole connection is blocked.
        self._full = self._blocked = False

    @property
    def transport(self) -> Any:
        """The connection below."""
        return self.conn.transport

    # What the peer asks for.

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        """Do a request; whether it is granted."""
        function = _REQUESTS.get(requestType)
        return function is not None and not self.localClosed and function(self, Reader(data))

    def _terminal(self, reader: Reader) -> bool:
        reader.string()  # the name of the terminal: all that is used, all of them can
        columns, rows = reader.number(), reader.number()
        if self._shell is not None:
            return False
        self._size = columns, rows
        return True

    def _window_change(self, reader: Reader) -> bool:
        columns, rows = reader.number(), reader.number()
        if self._shell is None or self._size is None:
            return False
        self._shell.resize(columns, rows)
        return True

    def _open_shell(self, reader: Reader) -> bool:
        if self._shell is not None:
            return False
        self._shell = Plain(self) if self._size is None else AtTerminal(self, *self._size)
        return True

    def _execute(self, reader: Reader) -> bool:
        command = reader.string()
        reader.end()
        if self._shell is not None:
            return False
        self._shell = Command(self, command, terminal=self._size is not None)
        return True

    def _interrupt(self, reader: Reader) -> bool:
        if self._shell is None:
            return False
        self._shell.interrupt()
        return True

    def _signal(self, reader: Reader) -> bool:
        return reader.string() in (b"INT", b"TERM", b"QUIT") and self._interrupt(reader)

    def _reads_no_more(self, reader: Reader) -> bool:
        """The end of a pipe that our output goes into is closed: nobody will ever see more."""
        if self._shell is not None:
            self._shell.conversation.abort()
        return True

    def begin(self) -> None:
        """Begin the session that was asked for, now that the peer knows that it has it."""
        if self._shell is not None and not self.begun and not self.localClosed:
            self.begun = True
            self._shell.start()
            self._tell()

    # In.

    def dataReceived(self, data: bytes) -> None:
        """Take what the peer sends."""
        if self._shell is not None and not self.localClosed:
            self._shell.received(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        """Nothing of that kind comes from a client."""

    def eofReceived(self) -> None:
        """The peer sends no more."""
        if self._shell is not None and not self.localClosed:
            self._shell.end_input()

    def read(self, go: bool) -> None:
        """Take more from the peer, or do not."""
        self.reads = go
        if go and self.localWindowLeft < self.localWindowSize // 2:
            self.conn.adjustWindow(self, self.localWindowSize - self.localWindowLeft)

    # Out.

    def write_error(self, data: bytes) -> None:
        """Send what belongs to the standard error output."""
        self.writeExtended(STANDARD_ERROR, data)  # type: ignore[no-untyped-call]

    def addWindowBytes(self, data: int) -> None:
        """The peer takes more."""
        # Conch first lets write, then writes what waits: who writes much then finds no end.
        self.remoteWindowLeft += data
        waiting, self.buf = self.buf, b""
        errors, self.extBuf = self.extBuf, []
        if waiting:
            self.write(waiting)  # type: ignore[no-untyped-call]
        for kind, error in errors:
            self.writeExtended(kind, error)  # type: ignore[no-untyped-call]
        if not self.buf and not self.extBuf and self._full:
            self._full = False
            self._tell()

    def stopWriting(self) -> None:
        """The peer takes no more for now."""
        if not self._full:
            self._full = True
            self._tell()

    def block(self, blocked: bool) -> None:
        """The whole connection takes no more for now, or does again."""
        if self._blocked != blocked:
            self._blocked = blocked
            self._tell()

    def _tell(self) -> None:
        shell = self._shell
        if shell is None or self.localClosed or shell.conversation.closing:
            return
        paused = self._full or self._blocked
        if paused != shell.conversation.paused:
            (shell.pause if paused else shell.resume)()

    # The end.

    def finish(self, status: int) -> None:
        """Send what there is, then an exit status, and close."""
        self.conn.sendRequest(self, b"exit-status", status.to_bytes(4, "big"))
        self.loseConnection()  # type: ignore[no-untyped-call]

    def abandon(self, status: int) -> None:
        """Close at once; what was not sent yet is lost."""
        self.buf, self.extBuf = b"", []
        if not self.localClosed:
            self.finish(status)
        if self._timer is None and self.id in self.conn.channels:
            # One that does not even answer this takes its connection along.
            self._timer = self.transport.factory.clock.callLater(FLUSH, self._insist)

    def _insist(self) -> None:
        self._timer = None
        self.transport.abandon("a session that it does not close")

    def closeReceived(self) -> None:
        """The peer takes no more."""
        self.buf, self.extBuf = b"", []
        self.loseConnection()  # type: ignore[no-untyped-call]

    def closed(self) -> None:
        """Both ends have closed it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shell is not None:
            self._shell.conversation.lost()


_REQUESTS = {
    b"pty-req": SessionChannel._terminal,
    b"window-change": SessionChannel._window_change,
    b"shell": SessionChannel._open_shell,
    b"exec": SessionChannel._execute,
    b"signal": SessionChannel._signal,
    b"break": SessionChannel._interrupt,
    b"eow@openssh.com": SessionChannel._reads_no_more,
}
"""What is granted; forwarding, subsystems and the environment are not here."""
