"""A client of a REPL port that asks and waits: for the ``iridium`` command. Only the standard library."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from iridium.errors import ClientError

GREETING = b"Welcome to Iridium!"
"""What a session starts with."""

MAX_REPLY = 1024 * 1024
"""Bytes of an answer: more than any command gives."""

EVENTS = frozenset({"output", "started"})
"""The fields of objects that may come before an answer; such an object has one of them and no other."""

LOOK_UP = 0.5
"""Seconds of one wait for the node: Ctrl-C that comes in the moment before a wait is seen after it."""

_PROMPT = b">>> "
_REMEDY = "start a node with `twistd iridium`, or name another with --node HOST:PORT or IRIDIUM_NODE"


INTERRUPT = b"\xff\xf4"
"""Telnet's command to interrupt: it acts at once, also while what was printed has not been read."""


class Ask(Protocol):
    """Does a command in a session."""

    def __call__(
        self, command: str, timeout: float, on_event: Callable[[dict[str, Any]], None] | None = None, /
    ) -> dict[str, Any]:
        """The answer.

        Args:
            command: without ``--json``.
            timeout: seconds that it may take.
            on_event: called with each object that comes before the answer: output of what the command waits for,
                or that it has started.
        """


def call(host: str, port: int, command: str, *, connect_timeout: float = 5, timeout: float = 30) -> dict[str, Any]:
    """Have a running node do one command of its shell.

    Args:
        host, port: its REPL port.
        command: the command line, without ``--json``.
        connect_timeout: seconds until it must have greeted.
        timeout: seconds that the command may take.

    Returns:
        The JSON object that it answers: the command's result, or ``{"error": ...}``.

    Raises:
        ClientError: nothing listens there, something else does, or it does not answer in time.
    """
    with connect(host, port, connect_timeout=connect_timeout) as ask:
        return ask(command, timeout)


@contextlib.contextmanager
def connect(host: str, port: int, *, connect_timeout: float = 5) -> Iterator[Shell]:
    """A session with a running node, for several commands.

    Args:
        host, port, connect_timeout: as for :func:`call`.

    Returns:
        Does a command, given without ``--json``, within so many seconds, as :func:`call` does.

    Raises:
        ClientError: as from :func:`call`; from the commands, too.
    """
    where = f"{host}:{port}"
    with _blaming(where):
        connection = socket.create_connection((host, port), connect_timeout)
    with connection:
        reader = _Reader(connection, where)
        with _blaming(where):
            _expect_greeting(reader, connect_timeout)
        yield Shell(reader)


@contextlib.contextmanager
def _blaming(where: str) -> Iterator[None]:
    """Turn what goes wrong with a connection into words about it.

    Nothing else may happen in here: whoever writes what has come to a pipe can find that broken, too.

    Raises:
        ClientError: it went wrong.
    """
    try:
        yield
    except ConnectionRefusedError:
        raise ClientError(f"nothing listens at {where}; {_REMEDY}") from None
    except (ConnectionResetError, BrokenPipeError):
        raise ClientError(f"{where} closed the connection without an answer; {_REMEDY}") from None
    except TimeoutError:
        raise ClientError(f"{where} does not answer in time; {_REMEDY}") from None
    except socket.gaierror as error:
        raise ClientError(f"{where}: there is no such host ({error.strerror}); {_REMEDY}") from None
    except OSError as error:
        raise ClientError(f"{where} cannot be reached ({error.strerror or error}); {_REMEDY}") from None


class _Reader:
    """Reads a connection line by line, until a deadline.

    Args:
        connection: the socket.
        where: its address, for people.
    """

    def __init__(self, connection: socket.socket, where: str) -> None:
        self.connection = connection
        self.where = where
        self._data = bytearray()

    def line(self, deadline: float) -> bytes:
        """The next line, without what ends it and without prompts before it.

        Raises:
            ClientError: the connection ends first, or the line is too long.
            TimeoutError: it did not come in time.
        """
        while (end := self._data.find(b"\n")) < 0:
            if len(self._data) > MAX_REPLY:
                raise ClientError(f"{self.where} answers with more than {MAX_REPLY} bytes")
            # A socket takes a timeout of 0 for "do not block", and a negative one for a mistake.
            left = max(0.001, deadline - time.monotonic())
            self.connection.settimeout(min(left, LOOK_UP))
            try:
                data = self.connection.recv(65536)
            except TimeoutError:
                if left <= LOOK_UP:
                    raise
                continue
            if not data:
                raise ClientError(f"{self.where} closed the connection without an answer; {_REMEDY}")
            self._data += data
        line = bytes(self._data[:end]).rstrip(b"\r")
        del self._data[: end + 1]
        while line.startswith(_PROMPT):
            line = line[len(_PROMPT) :]
        return line


def _expect_greeting(reader: _Reader, connect_timeout: float) -> None:
    try:
        greeting = reader.line(time.monotonic() + connect_timeout)
    except TimeoutError:
        silent = f"{reader.where} says nothing: a cluster port, or a node that hangs; a REPL port greets at once"
        raise ClientError(f"{silent}; {_REMEDY}") from None
    if not greeting.startswith(GREETING):
        said = greeting[:200].decode(errors="replace")
        if said.startswith("Iridium "):
            raise ClientError(f"{reader.where}: {said}")
        shown = "".join(c if c.isprintable() else "." for c in said[:40])
        raise ClientError(f"{reader.where} is no Iridium shell: it says {shown!r}; {_REMEDY}")


class Shell:
    """A session with a running node, which does one command at a time.

    Args:
        reader: its connection.

    Attributes:
        sent: set once the command is on its way: from then on :meth:`interrupt` means it.
        on_news: takes the lines that nobody asked for, of processes and other nodes.
    """

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.sent = threading.Event()
        self.on_news: Callable[[str], None] = lambda line: None

    def __call__(
        self, command: str, timeout: float, on_event: Callable[[dict[str, Any]], None] | None = None, /
    ) -> dict[str, Any]:
        """Do a command, as :class:`Ask` tells."""
        reader = self._reader
        deadline = time.monotonic() + timeout
        with _blaming(reader.where):
            reader.connection.settimeout(timeout)
            self.sent.clear()
            reader.connection.sendall(f"{command} --json\n".encode())
            self.sent.set()
        while True:
            answer = self._object(deadline)
            if on_event is None or not (len(answer) == 1 and EVENTS.issuperset(answer)):
                return answer
            on_event(answer)

    def _object(self, deadline: float) -> dict[str, Any]:
        """The next object that the session says; news may come in between, which is none."""
        where = self._reader.where
        while True:
            with _blaming(where):
                line = self._reader.line(deadline)
            if line.startswith(b"{"):
                break
            self.on_news(line.decode(errors="replace"))
        try:
            answer = json.loads(line)
        except ValueError:
            raise ClientError(f"{where} answers with what is no JSON") from None
        if not isinstance(answer, dict):
            raise ClientError(f"{where} answers with what is no JSON object")
        return answer

    def interrupt(self) -> None:
        """Stop what the command does, from a signal or another thread; its answer says so."""
        # Where the connection is gone, whoever waits for the answer finds out.
        with contextlib.suppress(OSError):
            self._reader.connection.sendall(INTERRUPT)
