"""`iridium join`, `members` and `leave` against a shell that answers what a test says, and against none."""

from __future__ import annotations

import json
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import iridium.cli.cluster as cluster_module
from iridium.cli.group import iridium
from iridium.cli.status import NOT_ALLOWED
from iridium.cluster.refusals import REMEDIES
from iridium.repl import client
from iridium.repl.commands.table import render_error
from iridium.roles import Role, RoleError

BANNER = b"Welcome to Iridium! Let's be productive!\r\n>>> "

MEMBERS = {
    "members": [
        {
            "id": "0b5f0000-0000-4000-8000-000000000001",
            "alias": "alpha",
            "address": "127.0.0.1:2254",
            "incarnation": 7,
            "state": "up",
            "self": True,
        },
        {
            "id": "1c6f0000-0000-4000-8000-000000000002",
            "alias": "",
            "address": "",
            "incarnation": 8,
            "state": "down",
            "self": False,
        },
    ]
}

TABLE = """\
   id                                    alias  address         state
*  0b5f0000-0000-4000-8000-000000000001  alpha  127.0.0.1:2254  up
   1c6f0000-0000-4000-8000-000000000002  -      -               down
"""


class Shell:
    """A REPL port that greets and answers as it is told, in a thread.

    Args:
        greeting: what it says first.
        answers: what it answers to each command line, without its `--json`; to others, an error.
        before: what it says before each answer.

    Attributes:
        asked: the lines that came.
    """

    def __init__(
        self, greeting: bytes = BANNER, answers: dict[str, Any] | None = None, before: bytes = b""
    ) -> None:
        self.asked: list[str] = []
        answers = answers or {}
        shell = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(greeting)
                while line := self.rfile.readline():
                    text = line.decode().rstrip("\r\n")
                    shell.asked.append(text)
                    answer = answers.get(text.removesuffix(" --json"))
                    if isinstance(answer, bytes):
                        self.wfile.write(answer)
                        return
                    answer = answer or {"error": {"kind": "CommandError", "message": "what?", "remedy": None}}
                    self.wfile.write(before + json.dumps(answer).encode() + b"\r\n>>> ")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client went away first, as it may."""

        self._server = Server(("127.0.0.1", 0), Conversation)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def shell() -> Iterator[Callable[..., Shell]]:
    """Makes shells, which are closed at the end."""
    made: list[Shell] = []

    def make(*arguments: Any, **keywords: Any) -> Shell:
        made.append(Shell(*arguments, **keywords))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def _no_node_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IRIDIUM_NODE", raising=False)


def call(*arguments: str) -> Result:
    """The command with these arguments."""
    result = CliRunner().invoke(iridium, arguments, prog_name="iridium")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(result: Result, *words: str) -> None:
    """The command failed with one message and status 1, and printed nothing else."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


# --- what a node answers ---


def test_members(shell: Callable[..., Shell]) -> None:
    """The table names every member with its state and marks the node that was asked."""
    node = shell(answers={"!cluster_members": MEMBERS})
    result = call("members", "--node", node.address)
    assert (result.exit_code, result.stdout, result.stderr) == (0, TABLE, "")
    assert node.asked == ["!cluster_members --json"]


def test_members_for_tools(shell: Callable[..., Shell]) -> None:
    """--json prints one document with everything that the node said of its members."""
    node = shell(answers={"!cluster_members": MEMBERS})
    result = call("members", "--json", "--node", node.address)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == MEMBERS
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "asked"), [("10.0.0.1:2254", "10.0.0.1:2254"), ("[::1]:2254", "[::1]:2254"), ("node:1", "node:1")]
)
def test_join(shell: Callable[..., Shell], typed: str, asked: str) -> None:
    """A join is asked for with the address as it was typed, and then lists the cluster that was reached."""
    node = shell(answers={f"!join_cluster {asked}": {"members": []}, "!cluster_members": MEMBERS})
    result = call("join", typed, "--node", node.address)
    assert (result.exit_code, result.stdout) == (0, TABLE)
    assert node.asked == [f"!join_cluster {asked} --json", "!cluster_members --json"]
    result = call("join", typed, "--node", node.address, "--json")
    assert json.loads(result.stdout) == MEMBERS


def test_leave(shell: Callable[..., Shell]) -> None:
    """A leave prints what the node says about it, as text and as JSON."""
    node = shell(answers={"!leave_cluster": {"message": "this node has left the cluster"}})
    result = call("leave", "--node", node.address)
    assert (result.exit_code, result.stdout) == (0, "this node has left the cluster\n")
    result = call("leave", "--json", "--node", node.address)
    assert json.loads(result.stdout) == {"message": "this node has left the cluster"}


@pytest.mark.parametrize("reason", list(REMEDIES))
def test_a_refusal(shell: Callable[..., Shell], reason: str) -> None:
    """A refused join ends with status 1, the reason and, once, its remedy; the members are not listed."""
    remedy = REMEDIES[reason]
    for message in (f"refused: {reason}: because", f"refused: {reason}: because; {remedy}"):
        error = {"error": {"kind": reason, "message": message, "remedy": remedy}}
        node = shell(answers={"!join_cluster 127.0.0.1:9": error})
        result = call("join", "127.0.0.1:9", "--node", node.address)
        fails(result, f"iridium: refused: {reason}: because", remedy)
        assert result.stderr.count(remedy) == 1
        assert node.asked == ["!join_cluster 127.0.0.1:9 --json"]


@pytest.mark.parametrize("arguments", [["members"], ["leave"], ["join", "127.0.0.1:9"]])
def test_an_error_without_a_remedy(shell: Callable[..., Shell], arguments: list[str]) -> None:
    """Whatever the node cannot do ends with status 1 and its own words, with --json too."""
    node = shell()
    fails(call(*arguments, "--node", node.address), "iridium: what?")
    fails(call(*arguments, "--json", "--node", node.address), "iridium: what?")


def test_texts_from_other_nodes_in_between(shell: Callable[..., Shell]) -> None:
    """A text that arrives at the node while it is asked is not taken for its answer."""
    node = shell(answers={"!cluster_members": MEMBERS}, before=b"\r\n* beta: {hello}\r\n>>> ")
    result = call("members", "--node", node.address)
    assert result.stdout == TABLE


# --- what is no node ---


def test_nothing_listens() -> None:
    """Without a node the error says where it was looked for and how to start or name one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    fails(call("members", "--node", address), f"nothing listens at {address}", "twistd iridium", "IRIDIUM_NODE")


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff\x00\x1b[2J\n"]
)
def test_something_else_listens(shell: Callable[..., Shell], greeting: bytes) -> None:
    """Another service is recognised before anything is sent to it, and its words cannot reach the terminal raw."""
    other = shell(greeting)
    result = call("members", "--node", other.address)
    fails(result, f"{other.address} is no Iridium shell")
    assert "\x1b" not in result.stderr
    assert other.asked == []


def test_something_silent_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts and never greets is given up."""
    real = client.call
    monkeypatch.setattr(
        cluster_module, "call", lambda *a, **k: real(*a, **{**k, "connect_timeout": 0.2, "timeout": 0.2})
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        fails(call("members", "--node", address), f"{address} says nothing")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed the connection without an answer"),
        (b"{half", "closed the connection without an answer"),
        (b"{no json}\r\n", "no JSON"),
        (b"x" * (client.MAX_REPLY + 70_000), "more than"),
    ],
    ids=["nothing", "half", "no-json", "endless"],
)
def test_a_node_that_answers_badly(shell: Callable[..., Shell], answer: bytes, problem: str) -> None:
    """An answer that breaks off, is none, or does not end is one error each."""
    node = shell(answers={"!cluster_members": answer})
    fails(call("members", "--node", node.address), problem)


def test_a_node_without_room(shell: Callable[..., Shell]) -> None:
    """A node whose sessions are all taken says so itself, and that is what the person reads."""
    node = shell(b"Iridium has no room for another session; try again later\r\n")
    fails(call("members", "--node", node.address), "no room for another session")


def test_a_pipe_that_nobody_reads_is_not_the_nodes_fault(shell: Callable[..., Shell]) -> None:
    """`iridium spawn --wait | head -1`: that standard output is closed is nothing that the connection has done."""
    node = shell(answers={"!go": b'{"output": "1"}\r\n{"reason": 0}\r\n'})

    def closed(event: dict[str, Any]) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), cluster_module.session(node.address) as tell:
        tell("!go", 5, closed)


def test_ctrl_c_just_before_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C that comes in the last moment before the command waits for the node is not lost. What happens then
    cannot be timed; a signal to another thread is the same to Python: noted, and nothing that ends a wait.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    waits = threading.Event()
    real = client._Reader.line

    def line(reader: Any, deadline: float) -> bytes:
        waits.set()
        return real(reader, deadline)

    def press() -> None:
        waits.wait()
        state = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
        while state.read_text().rpartition(") ")[2][0] != "S":
            pass
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread = threading.Thread(target=press)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connecting = socket.create_connection(server.getsockname())
            with connecting, server.accept()[0]:
                reader = client._Reader(connecting, "here")
                monkeypatch.setattr(client._Reader, "line", line)
                thread.start()
                with pytest.raises(KeyboardInterrupt):
                    reader.line(time.monotonic() + 20)
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)


# --- which node ---


def test_the_node_of_the_environment(shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch) -> None:
    """IRIDIUM_NODE names the node for a whole terminal; --node on the command line is stronger."""
    mine, other = (shell(answers={"!cluster_members": MEMBERS}) for _ in range(2))
    monkeypatch.setenv("IRIDIUM_NODE", mine.address)
    assert call("members").exit_code == 0
    assert (len(mine.asked), len(other.asked)) == (1, 0)
    assert call("members", "--node", other.address).exit_code == 0
    assert (len(mine.asked), len(other.asked)) == (1, 1)


def test_the_default_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any address the node is the one that `twistd iridium` starts on this machine."""
    asked: list[Any] = []

    def answer(*arguments: Any, **keywords: Any) -> dict[str, Any]:
        asked.append(arguments)
        return MEMBERS

    monkeypatch.setattr(cluster_module, "call", answer)
    assert call("members").exit_code == 0
    assert asked == [("127.0.0.1", 2244, "!cluster_members")]


@pytest.mark.parametrize(
    "address", ["", "here", "127.0.0.1:0", "127.0.0.1:70000", "::1:2254", "a b:1", "a:1\n!quit"]
)
def test_bad_addresses(address: str, shell: Callable[..., Shell]) -> None:
    """An address that can be none is a mistake in the command line, and nothing of it reaches the node's shell."""
    node = shell()
    result = call("join", address, "--node", node.address)
    assert result.exit_code == 2
    assert "is not HOST:PORT" in result.stderr
    assert node.asked == []
    if address:
        fails(call("members", "--node", address), "--node", "is not HOST:PORT")


@pytest.mark.parametrize(
    ("command", "line"),
    [(["join", "127.0.0.1:2254"], "!join_cluster 127.0.0.1:2254"), (["leave"], "!leave_cluster")],
)
def test_a_port_that_is_read_only(shell: Callable[..., Shell], command: list[str], line: str) -> None:
    """Who may only look is told so, with the command, the roles and whom to ask, in one message and a status."""
    refused = json.loads(render_error(RoleError(line.split()[0], Role.READ_ONLY, Role.OPERATOR), as_json=True))
    result = call(*command, "--node", shell(answers={line: refused}).address)
    assert result.exit_code == NOT_ALLOWED == 77
    assert result.stdout == ""
    assert result.stderr == (
        f"iridium: {line.split()[0]} needs the role operator, and this session is read-only; "
        "ask whoever runs this node for that role, or to do it\n"
    )
