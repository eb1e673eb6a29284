"""A node's shell over SSH, with the real client of OpenSSH against a real node."""

from __future__ import annotations

import fcntl
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE, NodeProcess, Process, Started, environment, needs_installation, started

__all__ = ["started"]  # a fixture

pytestmark = [
    pytest.mark.processes,
    needs_installation,
    pytest.mark.skipif(
        shutil.which("ssh") is None or shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed"
    ),
]

LINES = 200_000
COUNT = f"""\
.code
  load $2 #{LINES}
  load $3 #10
l: prti $1
  prtc $3
  inc $1
  neq $1 $2
  djmpe @l
"""
FLOOD = ".data\nt: .asciiz 'round and round and round we go\\n'\n.code\nl: prts @t\n  djmpn @l\n"
"""A program that prints without end."""


class SshNode:
    """A node with an SSH port, and somebody who may log in.

    Args:
        started: ends everything.
        options: more options of the node.
    """

    def __init__(self, started: Started, *options: str) -> None:
        self.started = started
        self.root = started.root
        self.keygen("id")
        directory = self.root / "alpha"
        directory.mkdir(0o700)
        (directory / "programs").mkdir()
        (directory / "programs" / "count.iasm").write_text(COUNT)
        (directory / "programs" / "flood.iasm").write_text(FLOOD)
        self.keys = directory / "authorized_keys"
        self.authorize((self.root / "id.pub").read_text())
        self.node: NodeProcess = started.add(NodeProcess("alpha", self.root, "--ssh-port", "0", *options))
        self.node.wait_until_up()
        found = self.node.ever(r"SSH port on 127\.0\.0\.1:(\d+), host key (SHA256:\S+)")
        self.port, self.fingerprint = int(found[1]), found[2]

    def keygen(self, name: str, *options: str) -> Path:
        """Make a key."""
        arguments = ["ssh-keygen", "-q", "-N", "", "-C", f"{name}@test", "-f", self.root / name, *options]
        subprocess.run([*arguments, *([] if options else ["-t", "ed25519"])], check=True)
        return self.root / name

    def authorize(self, text: str) -> None:
        """Say who may log in."""
        self.keys.write_text(text)
        self.keys.chmod(0o600)

    def command(self, *arguments: str, key: str = "id") -> list[str]:
        """A command line of ssh."""
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR", "BatchMode=yes"]
        options += [f"UserKnownHostsFile={self.root / 'known'}", "ConnectTimeout=20"]
        fixed = ["ssh", "-F", "none", "-i", str(self.root / key), "-p", str(self.port)]
        return [*fixed, *(word for option in options for word in ("-o", option)), *arguments]

    def run(self, *arguments: str, given: bytes = b"", key: str = "id") -> subprocess.CompletedProcess[bytes]:
        """Run ssh to its end."""
        command = self.command(*arguments, key=key)
        return subprocess.run(command, input=given, capture_output=True, timeout=3 * PATIENCE, check=False)

    def at_terminal(self, *arguments: str) -> Process:
        """Run ssh at a terminal."""
        return self.started.process(*self.command(*arguments), terminal=True)


@pytest.fixture
def node(started: Started) -> SshNode:
    """A node with an SSH port."""
    return SshNode(started)


def test_the_ways_to_use_it(node: SshNode) -> None:
    """A pipe of lines, one command, several, errors, and what is not offered, each with its status."""
    done = node.run("-T", "me@127.0.0.1", given=b"load $0 #5\nprti $0\n!xyzzy\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Welcome to Iridium! Let's be productive!\n>>> >>> 5\n>>> error: there is no")

    done = node.run("anybody@127.0.0.1", "!members --json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b'{"members":[{')
    assert done.stdout.count(b"\n") == 1

    done = node.run("me@127.0.0.1", "load $0 #7\nprti $0\n!xyzzy\nprti $0")
    assert (done.returncode, done.stdout) == (1, b"77")
    assert done.stderr == b"error: there is no command !xyzzy; !help lists them all\n"

    for arguments in (["-s", "me@127.0.0.1", "sftp"], ["-W", "127.0.0.1:22", "me@127.0.0.1"]):
        assert node.run(*arguments).returncode == 255
    refused = node.run("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22", "me@127.0.0.1", "!quit")
    assert refused.returncode == 255
    assert "Traceback" not in node.node.text


def test_who_gets_in(node: SshNode) -> None:
    """Each kind of key that may, gets in; others do not; a change of the file, or of its mode, counts at once."""
    for kind in ("ed25519", "ecdsa", "rsa"):
        node.keygen(kind, "-t", kind)
    lines = [(node.root / f"{kind}.pub").read_text() for kind in ("ed25519", "ecdsa", "rsa")]
    node.authorize("".join(lines))
    for kind in ("ed25519", "ecdsa", "rsa"):
        assert node.run("me@127.0.0.1", "!quit", key=kind).stdout == b"bye\n"
        node.node.expect(rf"SSH login of me from .*: {kind}@test \(\S+ SHA256:\S+\), operator")
    denied = node.run("me@127.0.0.1", "!quit")
    assert denied.returncode == 255
    assert b"Permission denied (publickey)" in denied.stderr
    node.node.expect("SSH port: a refused login, from 127.0.0.1:.*, as me, with SHA256:")
    node.authorize('from="127.0.0.1" ' + (node.root / "id.pub").read_text())
    assert node.run("me@127.0.0.1", "!quit").returncode == 255
    node.node.expect("line 1: the option from is not known here")
    node.authorize((node.root / "id.pub").read_text())
    assert node.run("me@127.0.0.1", "!quit").returncode == 0
    node.keys.chmod(0o644)
    assert node.run("me@127.0.0.1", "!quit").returncode == 255
    node.node.expect("chmod 600 .*authorized_keys. Nobody can log in")


def test_the_host_key(node: SshNode) -> None:
    """The fingerprint in the log is that of the key that clients see, and of the file."""
    seen = subprocess.run(
        ["ssh-keyscan", "-p", str(node.port), "127.0.0.1"], capture_output=True, check=True, timeout=PATIENCE
    ).stdout
    (node.root / "seen").write_bytes(seen)
    for file in (node.root / "seen", node.root / "alpha" / "ssh_host_ed25519_key"):
        shown = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, check=True).stdout.decode()
        assert node.fingerprint in shown
        assert "ED25519" in shown


def test_all_lines_arrive(node: SshNode) -> None:
    """Two hundred thousand lines come whole, also where keys are exchanged again and again meanwhile."""
    expected = b"".join(b"%d\n" % n for n in range(LINES))
    for options in ([], ["-o", "RekeyLimit=100K"]):
        done = node.run(*options, "me@127.0.0.1", "!load_file count.iasm\n!run")
        assert done.returncode == 0
        assert done.stdout.partition(b"\n")[2] == expected + b"the end of the code\n"


def test_a_reader_that_stops(started: Started) -> None:
    """A program that prints without end waits for who does not read; nothing heaps up; hanging up ends it."""
    node = SshNode(started, "--engine", "reference")  # LLVM takes memory of its own
    process: Process = node.started.process(*node.command("me@127.0.0.1", "!load_file flood.iasm\n!run"))
    process.expect("round we go")
    process._read(time.monotonic() + 1)
    before = node.node.resident()
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:  # it is not read from meanwhile
        assert "error" not in node.node.ask("!stats")
        assert node.node.resident() < before + 10_000_000
    process.signal(signal.SIGKILL)
    node.node.expect("vm-stopped")


def test_an_output_that_is_closed(node: SshNode) -> None:
    """`ssh node ... | head` ends, as it does elsewhere."""
    command = " ".join(f"'{word}'" for word in node.command("me@127.0.0.1", "!load_file flood.iasm\n!run"))
    began = time.monotonic()
    done = subprocess.run(["sh", "-c", f"{command} | head -2"], capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout.endswith(b"round we go\n")
    assert time.monotonic() - began < PATIENCE
    node.node.expect("vm-stopped")


def test_at_a_terminal(node: SshNode) -> None:
    """A person edits lines in any script, completes words, resizes, interrupts, and leaves."""
    person = node.at_terminal("me@127.0.0.1")
    person.expect("Welcome to Iridium! Let's be productive!\n>>> ")
    person.send("load $0 #41\r")
    person.expect(">>> ")
    person.send("inc $1\x1b[D\x7f \x7f\x7f\x7f$\x01\x05\x15inc $0\r")
    person.expect(">>> ")
    person.send("; grüße 漢字\x1b[D\x7f\r")
    person.expect(">>> ")
    person.send("prti $0\r")
    person.expect("42\n>>> ")
    person.send("!regis\t")
    person.expect("!registers ")
    person.send("\r")
    person.expect("equal_flag")
    person.expect(">>> ")
    person.send("again: inc $0\rload $31 @again\r")
    person.expect(">>> .*>>> ")
    person.send("jmp $31\r")
    person.send("!st")
    person.expect("!st")
    person.send(b"\x03")
    person.expect(r"stopped at pc \d+")
    person.expect(">>> ")
    fcntl.ioctl(person._ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    person.send("; " + "x" * 60)
    person.expect("x" * 30)
    person.send(b"\x03")
    person.expect(r"\^C\n>>> ")
    person.send(b"\x04")
    assert person.status() == 0


def test_one_command_at_a_terminal(node: SshNode) -> None:
    """With -t a command can be interrupted; it says so, and goes on with what follows."""
    person = node.at_terminal("-t", "me@127.0.0.1", "!load_file flood.iasm\n!run\n!members")
    person.expect("round we go\n")
    person.send(b"\x03")
    person.expect(r"stopped at pc \d+.*\n")
    person.expect("alpha")
    assert person.status() == 0


def test_the_node_stops(node: SshNode) -> None:
    """A node that is stopped tells those who are logged in, and does not wait for them."""
    person = node.at_terminal("me@127.0.0.1")
    person.expect(">>> ")
    node.node.stop()
    person.expect("the node stops; the session is closed")
    assert person.status() != 0


def test_strangers(node: SshNode) -> None:
    """Garbage, other protocols and broken handshakes end, leave no traceback, and keep nobody out."""
    version = b"SSH-2.0-OpenSSH_9.9\r\n"
    for data in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        version + bytes(100_000),
        version + b"\xff" * 100_000,
        version + b"\0\0\0\x1c\x0a\x14" + bytes(100),
        version + b"\0\0\0\x0c\x0a\x05" + bytes(100),
    ):
        with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as peer:
            peer.settimeout(PATIENCE)
            try:
                peer.sendall(data)
                while peer.recv(65536):
                    pass
            except ConnectionError:
                pass
    half: list[Any] = []
    for _ in range(8):  # as many as one address may have
        half.append(socket.create_connection(("127.0.0.1", node.port), PATIENCE))
        half[-1].sendall(version)
    node.node.ever("something that is not SSH")
    for peer in half:
        peer.close()
    assert node.run("me@127.0.0.1", "!quit").stdout == b"bye\n"
    cut: Process = node.started.process(*node.command("-T", "me@127.0.0.1"))
    cut.expect(">>> ")
    cut.signal(signal.SIGKILL)
    assert node.run("me@127.0.0.1", "!quit").stdout == b"bye\n"
    assert "Traceback" not in node.node.text
    assert "Unhandled" not in node.node.text


def test_several_sessions_on_one_connection(node: SshNode) -> None:
    """A connection that a client keeps serves one command after the other."""
    control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={node.root}/c", "-o", "ControlPersist=10"]
    for _ in range(5):
        assert node.run(*control, "me@127.0.0.1", "load $0 #3\nprti $0").stdout == b"3"
    node.node.ever("SSH login")
    assert not node.node.comes("SSH login.*SSH login", 0.5)
    assert node.run("-o", f"ControlPath={node.root}/c", "-O", "exit", "me@127.0.0.1").returncode == 0


def test_nothing_without_the_option(started: Started) -> None:
    """A node that is not asked for it opens no such port, makes no key, and imports nothing for it."""
    [node] = started.nodes("alpha")
    assert "SSH" not in node.text
    assert not (node.data / "ssh_host_ed25519_key").exists()
    code = (
        "import sys\n"
        "from twisted.internet.testing import MemoryReactorClock\n"
        "import iridium.service, iridium.repl.telnet\n"
        "heavy = 'twisted.conch.ssh', 'iridium.repl.ssh', 'iridium.repl.terminal', 'cryptography'\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment(started.root)
    )
    assert done.stdout == "[]\n"


def test_a_host_key_that_others_can_read(node: SshNode) -> None:
    """Such a key stops the start, with one line that says what to do."""
    node.node.stop()
    key = node.root / "alpha" / "ssh_host_ed25519_key"
    key.chmod(0o644)
    again: NodeProcess = node.started.add(NodeProcess("alpha", node.root, "--ssh-port", "0"))
    assert again.status() == 1
    assert f"chmod 600 {key}" in again.text
    assert "Traceback" not in again.text
