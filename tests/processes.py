"""Real processes, sockets and terminals for tests: what they say is read, until it comes or a deadline passes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from iridium.repl.client import call

PATIENCE = 20.0
"""Seconds that anything may take before a test fails: many times what it needs on a busy machine."""

ROOT = Path(__file__).parent.parent

TWISTD = Path(sys.executable).with_name("twistd")
INSTALLED = Path(sys.executable).with_name("iridium")

COMMAND = (sys.executable, "-c", "from iridium.cli import main; main()")
"""The ``iridium`` command of this source tree, whether or not it is installed."""

SPIN = """\
.data
text: .asciiz 'round and round\\n'
.code
      prts @text
again: inc $0
      djmpn @again
"""
"""A program that says when it runs, and does not end."""

needs_installation = pytest.mark.skipif(
    not (TWISTD.exists() and INSTALLED.exists()),
    reason=f"twistd and iridium are not both installed beside {sys.executable}: pip install .",
)


def environment(home: Path, **changes: str) -> dict[str, str]:
    """What a process of a test is started with: a home of its own, UTF-8, and nothing of who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "dumb", **changes}


class Stream:
    """Bytes that come from a process, a socket or a terminal.

    Args:
        descriptor: what is read; whoever opened it closes it.

    Attributes:
        text: all that has come.
        ended: whether nothing more will.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self._data = b""
        self.ended = False

    @property
    def text(self) -> str:
        """All that has come, with plain newlines."""
        return self._data.decode(errors="backslashreplace").replace("\r\n", "\n")

    def _read(self, deadline: float) -> bool:
        """Read once; whether there was anything, or the end, before the deadline."""
        if self.ended:
            return False
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except (ConnectionError, OSError):  # a terminal whose process is gone gives EIO
            data = b""
        self._data += data
        self.ended = not data
        return True

    def _search(self, pattern: str, start: int, seconds: float) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while True:
            found = re.compile(pattern).search(self.text, start)
            if found:
                return found
            if not self._read(deadline):
                why = "the end came first" if self.ended else f"not within {seconds:g} s"
                pytest.fail(f"{pattern!r}: {why}; what came is:\n{self.text[start:][-4000:]}")

    def comes(self, pattern: str, seconds: float) -> bool:
        """Whether the next match of a pattern comes in time; if not, nothing is lost."""
        deadline = time.monotonic() + seconds
        while not (found := re.compile(pattern).search(self.text, self._at)):
            if not self._read(deadline):
                return False
        self._at = found.end()
        return True

    def expect(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """The next match of a pattern, behind the one that was found last."""
        found = self._search(pattern, self._at, seconds)
        self._at = found.end()
        return found

    def ever(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """A match of a pattern anywhere, also in what came long ago."""
        return self._search(pattern, 0, seconds)

    def rest(self, seconds: float = PATIENCE) -> str:
        """All that comes until the end, behind what was found last."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        assert self.ended, f"no end within {seconds:g} s; what came is:\n{self.text[-4000:]}"
        text = self.text[self._at :]
        self._at = len(self.text)
        return text


class Process(Stream):
    """A process whose output is read; standard output and error in one.

    Args:
        arguments: the program and its arguments.
        cwd: where it runs.
        env: its environment.
        terminal: whether it runs under a pseudo-terminal instead of pipes.
    """

    def __init__(
        self, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, terminal: bool = False
    ) -> None:
        env = environment(cwd) if env is None else env
        if terminal:
            self._ours, theirs = pty.openpty()
            termios.tcsetwinsize(self._ours, (24, 200))
            modes = termios.tcgetattr(theirs)
            modes[3] |= termios.NOFLSH  # else Ctrl-C also discards output that was not read yet
            termios.tcsetattr(theirs, termios.TCSANOW, modes)
            streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
            preparing: Any = _take_terminal
        else:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            preparing = None
        self._popen = subprocess.Popen(
            [str(word) for word in arguments],
            cwd=cwd,
            env=env,
            start_new_session=True,
            preexec_fn=preparing,
            **streams,
        )
        if terminal:
            os.close(theirs)
            self._in = self._out = self._ours
        else:
            assert self._popen.stdin is not None
            assert self._popen.stdout is not None
            self._in, self._out = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        self._terminal = terminal
        super().__init__(self._out)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def send(self, text: str | bytes) -> None:
        """Type something, or pipe it in."""
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self._in, data) :]

    def end_input(self) -> None:
        """Say that no more comes."""
        if self._terminal:
            self.send(b"\x04")
        else:
            assert self._popen.stdin is not None
            self._popen.stdin.close()

    def press(self, key: bytes, answer: str) -> None:
        """Press a key until it has its effect: one that comes just as a program turns to its terminal is lost."""
        for _ in range(int(PATIENCE)):
            self.send(key)
            if self.comes(answer, 1.0):
                return
        self.expect(answer, 0)

    def interrupt_until_end(self) -> None:
        """Send SIGINT until it ends: one that comes while a line is being done is that line's."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended and time.monotonic() < deadline:
            self.signal(signal.SIGINT)
            self._read(time.monotonic() + 1.0)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def status(self, seconds: float = PATIENCE) -> int:
        """Read to the end; the exit status."""
        self.rest(seconds)
        return self._popen.wait(seconds)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait(PATIENCE)
        if self._terminal:
            os.close(self._ours)
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def _take_terminal() -> None:
    """In the new process: the pseudo-terminal is the one that its keys come from, so that Ctrl-C is a signal."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Conversation(Stream):
    """A plain connection to a port, as `nc` makes one.

    Args:
        port: the port, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        super().__init__(self.socket.fileno())

    def send(self, data: str | bytes) -> None:
        """Send something; a text as a line."""
        self.socket.sendall(f"{data}\r\n".encode() if isinstance(data, str) else data)

    def end_input(self) -> None:
        """Send no more, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close it without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()


class NodeProcess(Process):
    """A node in a `twistd` of its own, on free ports.

    Args:
        alias: its alias.
        root: where it runs and keeps its data.
        options: more options.

    Attributes:
        alias: as given.
        data: its data directory.
    """

    def __init__(self, alias: str, root: Path, *options: str) -> None:
        self.alias = alias
        self.data = root / alias
        super().__init__(*node_command(alias, root), "-P", "0", "-p", "0", *options, cwd=root)

    def wait_until_up(self) -> NodeProcess:
        """Wait until both ports are open."""
        self.cluster_port = int(self.ever(r"cluster port on 127\.0\.0\.1:(\d+)")[1])
        self.repl_port = int(self.ever(r"REPL port on 127\.0\.0\.1:(\d+)")[1])
        return self

    @property
    def address(self) -> str:
        """Its cluster port, as other nodes are told it."""
        return f"127.0.0.1:{self.cluster_port}"

    @property
    def shell(self) -> str:
        """Its REPL port, as the `iridium` command is told it."""
        return f"127.0.0.1:{self.repl_port}"

    def ask(self, command: str) -> dict[str, Any]:
        """What its shell answers to a command."""
        return call("127.0.0.1", self.repl_port, command)

    def states(self) -> dict[str, str]:
        """The state of every member that it knows, by alias."""
        return {member["alias"]: member["state"] for member in self.ask("!cluster_members")["members"]}

    def until(self, expected: Mapping[str, str]) -> None:
        """Wait until it sees its members so: it is asked again whenever it logs something, and now and then."""
        deadline = time.monotonic() + PATIENCE
        while (states := self.states()) != expected:
            assert time.monotonic() < deadline, f"{self.alias} sees {states}, not {expected}"
            self._read(time.monotonic() + 0.2)

    def remembers(self, *aliases: str) -> None:
        """Wait until these members are in its data directory."""
        deadline = time.monotonic() + PATIENCE
        while not (self.data / "peers.json").exists() or {p["alias"] for p in self.saved("peers.json")} != {
            *aliases
        }:
            assert time.monotonic() < deadline, f"{self.alias} did not save that it knows {aliases}"
            self._read(time.monotonic() + 0.2)

    def saved(self, name: str) -> Any:
        """A file of its data directory."""
        return json.loads((self.data / name).read_text())

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return 1024 * int(found[1])

    def stop(self) -> int:
        """End it as a system does; its exit status."""
        self.signal(signal.SIGTERM)
        return self.status()


def node_command(alias: str, root: Path) -> list[str | Path]:
    """The command line of a node, up to its own options."""
    return [
        TWISTD,
        "-n",
        "--pidfile=",
        "iridium",
        "--node-alias",
        alias,
        "--data-root-dir",
        root,
    ]


class Started:
    """What a test started; all of it ends with the test.

    Args:
        root: where processes run and nodes keep their data.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._all: list[Any] = []

    def add(self, one: Any) -> Any:
        """Close this at the end."""
        self._all.append(one)
        return one

    def nodes(self, *aliases: str) -> list[NodeProcess]:
        """Nodes on free ports, started side by side."""
        starting: list[NodeProcess] = [self.add(NodeProcess(alias, self.root)) for alias in aliases]
        return [node.wait_until_up() for node in starting]

    def conversation(self, port: int) -> Conversation:
        """A connection to a port."""
        conversation: Conversation = self.add(Conversation(port))
        return conversation

    def process(self, *arguments: str | Path, **keywords: Any) -> Process:
        """Any process."""
        process: Process = self.add(Process(*arguments, cwd=self.root, **keywords))
        return process

    def close(self) -> None:
        """End everything, the last first."""
        for one in reversed(self._all):
            one.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """What the test starts."""
    everything = Started(tmp_path)
    yield everything
    everything.close()
