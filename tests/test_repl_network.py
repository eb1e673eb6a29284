"""The REPL port on real sockets: the blocking client, ``nc``-like peers, a negotiating client, the real telnet."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from iridium.errors import ClientError
from iridium.limits import Limits
from iridium.repl.client import call
from iridium.repl.telnet import ReplFactory
from iridium.scheduler import Scheduler
from tests.repl_double import ENDLESS, FakeNode

pytestmark = pytest.mark.real_reactor


class Port:
    """A listening REPL port on the real reactor."""

    def __init__(self, reactor: Any) -> None:
        self.node = FakeNode()
        self.node.reactor = reactor
        self.node.scheduler = Scheduler(reactor)
        self.factory = ReplFactory(self.node)
        self._listening = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.number = self._listening.getHost().port

    def close(self) -> Any:
        """Stop listening; every session must be over."""
        return self._listening.stopListening()


@pytest_twisted.async_yield_fixture
async def port() -> Any:
    """A REPL port."""
    from twisted.internet import reactor

    port = Port(reactor)
    yield port
    await port.close()
    # Sessions whose peers went away end in the reactor's next rounds.
    for _ in range(100):
        if not port.factory.sessions:
            break
        await _pause(reactor)
    assert len(port.factory.sessions) == 0
    assert port.node.scheduler.running == 0


def _pause(reactor: Any) -> Any:
    from twisted.internet.task import deferLater

    return deferLater(reactor, 0.01)


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Do blocking work beside the reactor."""
    return deferToThread(function, *arguments)


def converse(port: int, data: bytes) -> bytes:
    """What ``printf data | nc`` prints."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest_twisted.ensureDeferred
async def test_piped_lines(port: Port) -> None:
    """Lines from a pipe are all done before the connection ends, and the answers arrive in CR LF lines."""
    answer = await in_thread(converse, port.number, b"load $0 #5\n!registers --json\n")
    assert answer.startswith(b"Welcome to Iridium! Let's be productive!\r\n>>> ")
    assert b'{"registers":[5,0,' in answer
    assert answer.endswith(b"\r\n>>> ")


@pytest_twisted.ensureDeferred
async def test_endless_loop_holds_up_nobody(port: Port) -> None:
    """While one session loops without end, another is answered; closing the first ends its program."""

    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", port.number), 5) as connection:
            connection.sendall("\n".join((*ENDLESS, "")).encode())
            # In a process of its own: a thread of this one would wait for the program's turns, not for the node.
            ask = f"from iridium.repl.client import call; print(call('127.0.0.1', {port.number}, '!members'))"
            answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout
            # A reset, since after a mere end of the input the program would have a minute to end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return answer

    assert b"'alias': 'alpha'" in await in_thread(talk)


@pytest_twisted.ensureDeferred
async def test_client_that_negotiates(port: Port) -> None:
    """A client's offers are refused, its urgent interrupt stops the program, and lines go on."""

    def talk() -> bytes:
        seen = b""
        with socket.create_connection(("127.0.0.1", port.number), 5) as connection:
            connection.settimeout(10)

            def until(what: bytes) -> None:
                nonlocal seen
                while what not in seen:
                    piece = connection.recv(65536)
                    assert piece
                    seen += piece

            connection.sendall(b"\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f")
            # It prints, so that the interrupt is not sent before there is something to stop.
            connection.sendall("\r\n".join(("load $1 #65", "p: prtc $1", "load $31 @p", "jmp $31", "")).encode())
            until(b"\xff\xfe\x1f")
            until(b"AAAA")
            # What telnet sends on Ctrl-C: IAC IP, then a data mark whose last byte is urgent, then a timing mark.
            connection.sendall(b"\xff\xf4\xff")
            connection.send(b"\xf2", socket.MSG_OOB)
            connection.sendall(b"\xff\xfd\x06")
            until(b"\xff\xfc\x06")
            until(b"stopped at pc")
            connection.sendall(b"!registers\r\n")
            until(b"equal_flag")
            connection.sendall(b"!quit\r\n")
            while piece := connection.recv(65536):
                seen += piece
        return seen

    seen = await in_thread(talk)
    assert b"error" not in seen
    assert seen.endswith(b"bye\r\n")


@pytest_twisted.ensureDeferred
async def test_flood_to_a_slow_reader(port: Port) -> None:
    """A program that prints for ever fills no memory while its reader sleeps, and Ctrl-C ends it."""
    session: list[Any] = []

    def talk() -> int:
        with socket.create_connection(("127.0.0.1", port.number), 5) as connection:
            connection.settimeout(10)
            connection.sendall(b"load $1 #65\np: prtc $1\nload $31 @p\njmp $31\n")
            seen = 0
            while seen < 200_000:
                seen += len(connection.recv(65536))
            session.append(next(iter(port.factory.sessions)).session)
            connection.sendall(b"\xff\xf4!quit\n")
            while piece := connection.recv(65536):
                seen += len(piece)
        return seen

    assert await in_thread(talk) >= 200_000
    assert len(session[0].workspace.vm.output) == 0


@pytest_twisted.ensureDeferred
async def test_client(port: Port) -> None:
    """The client gives the answer of a command as an object, errors too."""
    answer = await in_thread(call, "127.0.0.1", port.number, "!cluster_members")
    assert [member["alias"] for member in answer["members"]] == ["alpha", ""]
    answer = await in_thread(call, "127.0.0.1", port.number, "!xyzzy")
    assert answer["error"]["kind"] == "CommandError"


@pytest_twisted.ensureDeferred
async def test_client_is_not_confused_by_texts(port: Port) -> None:
    """A text from another node that arrives before the answer is not taken for it."""
    from twisted.internet import reactor

    asking = in_thread(call, "127.0.0.1", port.number, "!join_cluster h:1")
    while not port.node.mesh.joined:
        await _pause(reactor)
    port.node.texts.arrive("{beta", '{"not": "the answer"}')
    port.node.mesh.joining.callback([])
    assert await asking == {"members": []}


@pytest_twisted.ensureDeferred
async def test_client_of_a_full_port(port: Port) -> None:
    """The client repeats what a port says that has no room."""
    port.factory.sessions.limits = Limits(sessions=0)
    with pytest.raises(ClientError, match="no room for another session"):
        await in_thread(call, "127.0.0.1", port.number, "!members")


@pytest.fixture
def stranger() -> Iterator[Callable[[bytes, bool], int]]:
    """Starts a server that says something and then hangs up, or not; gives its port."""
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(says: bytes, hang_up: bool) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        open_sockets.append(server)

        def serve() -> None:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            open_sockets.append(connection)
            connection.sendall(says)
            if hang_up:
                connection.close()

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(server.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(5)
    for each in open_sockets:
        each.close()


@pytest.mark.parametrize(
    ("says", "hang_up", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "no Iridium shell: it says 'SSH-2.0-OpenSSH_9.2'"),
        (b"\x1b[2J\r\n", False, r"it says '\.\[2J'"),
        (b"", False, "says nothing: a cluster port"),
        (b"", True, "closed the connection"),
        (b"Welcome to Iridium! Let's be productive!\r\n>>> ", True, "closed the connection"),
        (b"Welcome to Iridium! Let's be productive!\r\n>>> ", False, "does not answer in time"),
        (b"Welcome to Iridium! Let's be productive!\r\n>>> {]\r\n", False, "no JSON"),
        (b"Welcome to Iridium! Let's be productive!\r\n" + b"x" * 2**21, False, "more than"),
    ],
)
def test_client_at_the_wrong_door(
    stranger: Callable[[bytes, bool], int], says: bytes, hang_up: bool, message: str
) -> None:
    """The client says what is there instead of a shell, in one line without control characters."""
    port = stranger(says, hang_up)
    with pytest.raises(ClientError, match=message) as caught:
        call("127.0.0.1", port, "!members", connect_timeout=0.2, timeout=0.2)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_client_without_a_node() -> None:
    """Where nothing listens, the client says so and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClientError, match=r"nothing listens at .* IRIDIUM_NODE"):
        call("127.0.0.1", port, "!members")


def run_telnet(port: Port) -> bytes:
    """Talk to a port with the real telnet program under a terminal, as a person does."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child
        os.execvp("telnet", ["telnet", "127.0.0.1", str(port.number)])
    seen = b""

    def until(what: bytes, after: int = 0) -> None:
        nonlocal seen
        deadline = time.monotonic() + 10
        while what not in seen[after:]:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536)

    try:
        until(b">>> ")
        os.write(terminal, b"\x03")
        until(b">>> ", len(seen))
        for line in ENDLESS:
            os.write(terminal, line.encode() + b"\n")
        session = next(iter(port.factory.sessions)).session
        deadline = time.monotonic() + 10
        while session.workspace.vm.record.registers[0] < 1000 and time.monotonic() < deadline:
            os.sched_yield()
        os.write(terminal, b"\x03")
        until(b"stopped at pc")
        os.write(terminal, b"!registers\n")
        until(b"equal_flag", seen.rfind(b"stopped"))
        os.write(terminal, b"!quit\n")
        until(b"bye")
    finally:
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        os.waitpid(pid, 0)
    return seen


@pytest.mark.skipif(shutil.which("telnet") is None, reason="the telnet program is not installed")
@pytest_twisted.ensureDeferred
async def test_real_telnet(port: Port) -> None:
    """With the real telnet a person types lines, stops a loop with Ctrl-C, sees so and goes on, and quits."""
    seen = await in_thread(run_telnet, port)
    assert b"error" not in seen
    assert "�" not in seen.decode(errors="replace")
