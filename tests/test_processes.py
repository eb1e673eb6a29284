"""Real nodes: `twistd` and `iridium` as they are installed, real ports, real signals."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.conch.telnet import AYT, DO, DONT, IAC, IP, SB, SE, WILL, WONT

from tests.processes import (
    INSTALLED,
    PATIENCE,
    SPIN,
    TWISTD,
    Conversation,
    NodeProcess,
    Started,
    environment,
    needs_installation,
    node_command,
)
from tests.processes import started as _started

pytestmark = [pytest.mark.processes, needs_installation]

started = _started

BANNER = r"Welcome to Iridium! Let's be productive!\n>>> "
STOPPED = -signal.SIGTERM  # what twistd ends with once it has shut down for that signal
ENDLESS = "l: inc $0\r\nload $31 @l\r\njmp $31\r\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that the tests share which leave it as it was; it has not complained when they are done."""
    everything = Started(tmp_path_factory.mktemp("shared"))
    [shared] = everything.nodes("shared")
    yield shared
    status = shared.stop()
    everything.close()
    assert status == STOPPED, shared.text
    assert "Traceback" not in shared.text, shared.text
    assert "Unhandled" not in shared.text, shared.text


def iridium(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    """The installed `iridium` command, run to its end."""
    return subprocess.run(
        [INSTALLED, *arguments], cwd=root, env=environment(root), capture_output=True, text=True, timeout=60
    )


def fails_to_start(*options: str, alias: str, root: Path) -> str:
    """Start a node that cannot: it ends with status 1, one line about it, and no traceback; the line."""
    done = subprocess.run(
        [*node_command(alias, root), *options],
        cwd=root,
        env=environment(root),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if "#critical] iridium: " in line]
    assert done.stderr == ""
    return line


def greeted(started: Started, port: int) -> Conversation:
    """A session that has its first prompt."""
    session = started.conversation(port)
    session.expect(BANNER)
    return session


def answers(session: Conversation) -> None:
    """A session does a line at once."""
    session.send("load $7 #1234")
    session.expect(r">>> $")
    session.send("!registers")
    session.expect(r"\$7\s+1234\b")
    session.expect(r">>> $")


# --- one node ---


def test_twistd_lists_the_plugin(tmp_path: Path) -> None:
    """After an installation `twistd --help` knows the command, wherever it is run."""
    done = subprocess.run(
        [TWISTD, "--help"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert re.search(r"^\s+iridium\s+\S", done.stdout, re.MULTILINE)


def test_both_ports(started: Started, node: NodeProcess) -> None:
    """With port 0 both ports are free ones; the shell greets, and the cluster port that is advertised answers."""
    assert len({node.cluster_port, node.repl_port, 0}) == 3
    answers(greeted(started, node.repl_port))
    [member] = node.ask("!cluster_members")["members"]
    assert (member["alias"], member["address"], member["self"]) == ("shared", node.address, True)
    assert member["id"] == node.saved("node.json")["id"]
    peer = started.conversation(node.cluster_port)
    peer.send(
        '{"type":"hello","version":"1.0","cluster":"other","incarnation":1,'
        '"id":"00000000-0000-4000-8000-000000000001"}'
    )
    refusal = peer.rest()
    assert '"reason":"WRONG_CLUSTER"' in refusal
    assert '"remedy":' in refusal


def test_a_port_in_use(node: NodeProcess, tmp_path: Path) -> None:
    """A port that somebody has ends the start with the port and the option to change."""
    line = fails_to_start("-P", str(node.cluster_port), "-p", "0", alias="b", root=tmp_path)
    assert f"127.0.0.1:{node.cluster_port}" in line
    assert "--server-bind-port" in line
    line = fails_to_start("-P", "0", "-p", str(node.repl_port), alias="b", root=tmp_path)
    assert f"127.0.0.1:{node.repl_port}" in line
    assert "--bind-port" in line


def test_one_node_a_directory(node: NodeProcess) -> None:
    """A second node on the same data directory is refused, and the first does not notice."""
    before = node.saved("node.json")
    line = fails_to_start("-P", "0", "-p", "0", alias="shared", root=node.data.parent)
    assert "another node runs on the data directory" in line
    assert "--node-alias" in line
    assert node.saved("node.json") == before
    assert node.states() == {"shared": "up"}


def test_a_corrupt_file(tmp_path: Path) -> None:
    """A node.json that cannot be understood stops the start, is named, and is not touched."""
    file = tmp_path / "a" / "node.json"
    file.parent.mkdir()
    file.write_bytes(b'{"id": "half a fi')
    line = fails_to_start("-P", "0", "-p", "0", alias="a", root=tmp_path)
    assert str(file) in line
    assert "nothing was changed" in line
    assert file.read_bytes() == b'{"id": "half a fi'


@pytest.fixture
def in_background(tmp_path: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """Starts nodes in the background; gives what the terminal is told. They end with the test."""
    aliases: list[str] = []

    def start(alias: str) -> subprocess.CompletedProcess[str]:
        aliases.append(alias)
        _, _, _, *rest = node_command(alias, tmp_path)
        return subprocess.run(
            [TWISTD, "-l", f"{alias}.log", f"--pidfile={alias}.pid", *rest, "-P", "0", "-p", "0"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    yield start
    for alias in aliases:
        file = tmp_path / f"{alias}.pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGKILL)


def test_in_the_background(
    started: Started, tmp_path: Path, in_background: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """A `twistd` that goes to the background is a node like any other, and ends at SIGTERM with nothing left."""
    done = in_background("a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    file = tmp_path / "a.pid"
    process = os.pidfd_open(int(file.read_text()))
    try:
        [port] = re.findall(r"REPL port on 127\.0\.0\.1:(\d+)", (tmp_path / "a.log").read_text())
        session = greeted(started, int(port))
        answers(session)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        assert "the node stops" in session.rest()
        ended, _, _ = select.select([process], [], [], PATIENCE)
        assert ended
    finally:
        os.close(process)
    assert not file.exists()


def test_a_failure_in_the_background(
    tmp_path: Path, in_background: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """The terminal that started a background process is told what kind of failure it was; the log has it all."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "node.json").write_text("{")
    done = in_background("a")
    assert done.returncode == 1
    assert "DataDirectoryError" in done.stderr
    log = (tmp_path / "a.log").read_text()
    assert "nothing was changed" in log
    assert "Traceback" not in done.stdout + done.stderr + log


def test_a_bad_option(tmp_path: Path) -> None:
    """A mistake in the options is told by twistd as such, with status 1 and no traceback."""
    done = subprocess.run(
        [*node_command("a b", tmp_path)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "--node-alias 'a b' cannot be used" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


# --- several nodes ---


def test_five_nodes(started: Started) -> None:
    """Joined in a chain, five nodes list five; one that is killed, stopped or leaves is seen so by the rest."""
    aliases = ["n0", "n1", "n2", "n3", "n4"]
    nodes = started.nodes(*aliases)
    for contact, newcomer in itertools.pairwise(nodes):
        done = iridium("join", contact.address, "--node", newcomer.shell, root=started.root)
        assert done.returncode == 0, done.stderr
        assert contact.address in done.stdout
    for one in nodes:
        one.until(dict.fromkeys(aliases, "up"))
        done = iridium("members", "--node", one.shell, root=started.root)
        assert [line.split()[-1] for line in done.stdout.splitlines()] == ["state", *["up"] * 5]
    # One is killed.
    nodes[2].signal(signal.SIGKILL)
    assert nodes[2].status() == -signal.SIGKILL
    for one in (nodes[0], nodes[1], nodes[3], nodes[4]):
        one.until({**dict.fromkeys(aliases, "up"), "n2": "down"})
    # One is told to end.
    stopped = nodes[4]
    known = stopped.saved("node.json")["id"]
    assert stopped.stop() == STOPPED, stopped.text
    assert "Server Shut Down" in stopped.text
    assert stopped.saved("node.json")["id"] == known
    assert sorted(peer["alias"] for peer in stopped.saved("peers.json")) == ["n0", "n1", "n2", "n3"]
    # One leaves.
    done = iridium("leave", "--node", nodes[3].shell, root=started.root)
    assert (done.returncode, done.stderr) == (0, "")
    for one in nodes[:2]:
        one.until({"n0": "up", "n1": "up", "n2": "down", "n3": "left", "n4": "down"})
        one.ever(r"node-left n3\b")
    for one in nodes:
        assert "Traceback" not in one.text, one.text


def test_a_node_that_comes_back(started: Started) -> None:
    """A killed node that starts again with its data, at other ports, is a member without being told to join."""
    a, b, killed = started.nodes("a", "b", "c")
    for newcomer in (b, killed):
        assert iridium("join", a.address, "--node", newcomer.shell, root=started.root).returncode == 0
    everyone = dict.fromkeys("abc", "up")
    killed.until(everyone)
    killed.remembers("a", "b")
    before = killed.saved("node.json")
    killed.signal(signal.SIGKILL)
    assert killed.status() == -signal.SIGKILL
    a.until({**everyone, "c": "down"})
    [again] = started.nodes("c")
    assert again.cluster_port != killed.cluster_port
    for one in (a, b, again):
        one.until(everyone)
        listed = {member["alias"]: member for member in one.ask("!cluster_members")["members"]}
        assert (listed["c"]["id"], listed["c"]["address"]) == (before["id"], again.address)
        assert listed["c"]["incarnation"] > before["incarnation"]
        assert len(listed) == 3


def test_a_node_that_leaves_and_returns(started: Started) -> None:
    """A node that left is shown so, by itself as well, and joins again without being started anew."""
    a, b, gone = started.nodes("a", "b", "c")
    for newcomer in (b, gone):
        assert iridium("join", a.address, "--node", newcomer.shell, root=started.root).returncode == 0
    everyone = dict.fromkeys("abc", "up")
    b.until(everyone)
    assert iridium("leave", "--node", gone.shell, root=started.root).returncode == 0
    for one in (a, b):
        one.until({**everyone, "c": "left"})
    assert gone.states() == {"c": "left"}
    done = iridium("join", gone.address, "--node", a.shell, root=started.root)
    assert done.returncode == 1
    assert "LEFT" in done.stderr
    done = iridium("join", b.address, "--node", gone.shell, root=started.root)
    assert (done.returncode, done.stderr) == (0, "")
    for one in (a, b, gone):
        one.until(everyone)


def links(node: NodeProcess) -> dict[str, dict[str, str]]:
    """Who holds a link to whom, as a node tells it."""
    view = node.ask("!mesh")
    names = view["names"]
    return {name: dict(zip(names, row, strict=True)) for name, row in zip(names, view["rows"], strict=True)}


def test_seeing_the_mesh(started: Started) -> None:
    """From any node: the table of links, events as they happen, texts that arrive, and who is gone forgotten."""
    a, b, c = started.nodes("a", "b", "c")
    following = greeted(started, a.repl_port)
    following.send("!events --follow")
    for newcomer in (b, c):
        assert iridium("join", a.address, "--node", newcomer.shell, root=started.root).returncode == 0
    following.expect(r"node-up +b\b[^>]*node-up +c\b")
    everyone = dict.fromkeys("abc", "up")
    for one in (a, b, c):
        one.until(everyone)
        assert links(one) == {x: {y: "self" if x == y else "linked" for y in "abc"} for x in "abc"}
    shown = started.conversation(b.repl_port)
    shown.expect(BANNER)
    shown.send("!mesh")
    shown.expect(r"6 ends of links")
    # Texts: to an alias, an id, the start of one, and all.
    id = c.saved("node.json")["id"]
    reader = greeted(started, c.repl_port)
    for target in ("c", id, id[:8], "*"):
        told = a.ask(f"!tell {target} hello to {target}")["deliveries"]
        assert {"member": "c", "arrived": True, "detail": ""} in told
        assert len(told) == (2 if target == "*" else 1)
        reader.expect(re.escape(f"* a: hello to {target}"))
    assert "no member is called" in a.ask("!tell nobody x")["error"]["message"]
    # A refused node, and one that dies, are events too.
    (started.root / "elsewhere").mkdir()
    twin: NodeProcess = started.add(NodeProcess("b", started.root / "elsewhere"))
    twin.wait_until_up()
    assert iridium("join", a.address, "--node", twin.shell, root=started.root).returncode == 1
    following.expect(r"refused +b +NAME_IN_USE")
    c.signal(signal.SIGKILL)
    following.expect(r"node-down +c\b")
    a.until({**everyone, "c": "down"})
    assert links(a)["c"] == {"a": "unknown", "b": "unknown", "c": "self"}
    assert a.ask("!tell c x")["deliveries"] == [{"member": "c", "arrived": False, "detail": "it is down"}]
    assert "is up" in a.ask("!forget b")["error"]["message"]
    assert "forgotten" in a.ask("!forget c")["message"]
    assert a.states() == {"a": "up", "b": "up"}
    assert b.states() == {**everyone, "c": "down"}
    following.send("!stop")
    following.expect("no longer following")
    # Programs are events like nodes are.
    session = greeted(started, a.repl_port)
    (a.data / "programs" / "bad.iasm").write_text(".data\n.code\nload $0 #1\nload $1 #0\ndiv $0 $1 $2\n")
    session.send("!load_file bad.iasm")
    session.send("!run")
    session.expect("division-by-zero")
    events = [(event["kind"], event["subject"]) for event in a.ask("!events 100")["events"]]
    kinds = [kind for kind, _ in events]
    assert {"node-up", "refused", "node-down", "vm-started", "vm-crashed"} <= set(kinds)
    for kind, subject in events:  # each is a line of the log
        a.ever(rf"\b{kind} {re.escape(subject)}\b")


def test_log_lines_as_json(started: Started) -> None:
    """With --log-format json every line that a node writes is one object, events with their fields among them."""
    node: NodeProcess = started.add(NodeProcess("a", started.root, "--log-format", "json"))
    node.cluster_port = int(node.ever(r'"bound": "127\.0\.0\.1:(\d+)"')[1])
    node.repl_port = int(node.ever(r'"address": "127\.0\.0\.1:(\d+)"')[1])
    [b] = started.nodes("b")
    assert iridium("join", node.address, "--node", b.shell, root=started.root).returncode == 0
    rude = started.conversation(node.cluster_port)
    rude.send("GET / HTTP/1.1")
    rude.rest()
    b.signal(signal.SIGKILL)
    node.until({"a": "up", "b": "down"})
    events = node.ask("!events")["events"]
    assert node.stop() == STOPPED
    lines = [json.loads(line) for line in node.text.splitlines()]
    told = [(line["kind"], line["subject"], line["detail"]) for line in lines if "kind" in line]
    assert told == [(event["kind"], event["subject"], event["detail"]) for event in events]
    assert {kind for kind, _, _ in told} >= {"node-up", "node-down"}
    assert [line["host"] for line in lines if "problem" in line] == ["127.0.0.1"]


def test_five_hundred_silent_connections(started: Started) -> None:
    """On either port they cost nobody else anything: a node joins, a session works, and the node grows little."""
    node, b = started.nodes("a", "b")
    session = greeted(started, node.repl_port)
    answers(session)
    before = node.resident()
    for port in (node.cluster_port, node.repl_port):
        for number in range(500):
            stranger = started.conversation(port)
            if number % 2:
                stranger.send(b'{"type":"hel')
    assert iridium("join", node.address, "--node", b.shell, root=started.root).returncode == 0
    node.until({"a": "up", "b": "up"})
    answers(session)
    assert node.resident() - before < 30_000_000
    node.ever("hung up on 127.0.0.1: no handshake within 5 seconds", 10.0)
    assert len(re.findall("hung up on", node.text)) <= 10
    assert "Traceback" not in node.text


def test_islands_with_a_common_name(started: Started) -> None:
    """Two clusters that each have a member `same` become one of four members, in which one keeps the name."""
    island = started.root / "island"
    island.mkdir()
    same, a = started.nodes("same", "a")
    other: NodeProcess = started.add(NodeProcess("same", island))
    b: NodeProcess = started.add(NodeProcess("b", island))
    nodes = [same, a, other.wait_until_up(), b.wait_until_up()]
    for newcomer, contact in ((a, same), (b, other), (a, b)):
        done = iridium("join", contact.address, "--node", newcomer.shell, root=started.root)
        assert done.returncode == 0, done.stderr
    holder, loser = sorted(node.saved("node.json")["id"] for node in (same, other))
    for one in nodes:
        one.until({"a": "up", "b": "up", "same": "up", "": "up"})
        names = {member["alias"]: member["id"] for member in one.ask("!cluster_members")["members"]}
        assert (names["same"], names[""]) == (holder, loser)
        one.ever(f"name-conflict same.*{holder} keeps the alias; {loser} is known by its id.*--node-alias")


def test_a_name_that_is_taken(started: Started, node: NodeProcess) -> None:
    """A node with the alias of a member is not let in: it is told who has the name, and what to do."""
    [twin] = started.nodes("shared")
    done = iridium("join", node.address, "--node", twin.shell, root=started.root)
    assert (done.returncode, done.stdout) == (1, "")
    assert "NAME_IN_USE" in done.stderr
    assert node.saved("node.json")["id"] in done.stderr
    assert "--node-alias" in done.stderr
    assert node.states() == twin.states() == {"shared": "up"}
    assert iridium("members", "--node", twin.shell, root=started.root).returncode == 0


# --- who is not well-behaved ---

RUDE = {
    "garbage": bytes(range(256)) * 16,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless": b"x" * 10_000_000,
}


@pytest.mark.parametrize("said", RUDE.values(), ids=RUDE.keys())
def test_rude_peers_of_the_cluster_port(started: Started, node: NodeProcess, said: bytes) -> None:
    """Whatever a stranger sends ends its own connection, while a session goes on."""
    session = greeted(started, node.repl_port)
    stranger = started.conversation(node.cluster_port)
    try:
        stranger.send(said)
    except OSError:
        pass  # it was hung up on before it was done
    else:
        stranger.rest()
    answers(session)
    half = started.conversation(node.cluster_port)
    half.send(b'{"type":"hel')
    half.reset()
    answers(session)


@pytest.mark.parametrize("said", RUDE.values(), ids=RUDE.keys())
def test_rude_peers_of_the_shell(started: Started, node: NodeProcess, said: bytes) -> None:
    """Whatever a stranger types is an error to it at most, while another session goes on."""
    session = greeted(started, node.repl_port)
    stranger = greeted(started, node.repl_port)
    stranger.send(said + b"\r\n")
    if said.startswith(b"GET"):
        assert "error" not in stranger.rest()
    else:
        stranger.expect("not UTF-8|longer than")
    answers(session)
    stranger.reset()
    answers(session)


def test_an_endless_loop(started: Started, node: NodeProcess) -> None:
    """A program that never ends freezes neither its session nor the node: others work, and `!stop` ends it."""
    session = greeted(started, node.repl_port)
    session.send(ENDLESS.encode())
    other = greeted(started, node.repl_port)
    answers(other)
    assert node.states() == {"shared": "up"}
    session.send("!stop")
    session.expect(r"stopped")
    session.expect(r">>> $")
    answers(session)


# --- programs that people connect with ---


def test_a_plain_socket(started: Started, node: NodeProcess) -> None:
    """What is piped in through `nc` is done line by line, and the connection ends when all is answered."""
    session = started.conversation(node.repl_port)
    session.send(b"load $1 #6\nload $2 #7\nmul $1 $2 $3\n!registers --json\nbad line")
    session.end_input()
    said = session.rest()
    assert re.search(r'"registers":\[0,6,7,42,', said)
    assert "bad" in said[said.index('"registers"') :]


def test_a_telnet_that_negotiates(started: Started, node: NodeProcess) -> None:
    """Options are refused, subnegotiations skipped, and lines around them understood; IP interrupts a program."""
    session = greeted(started, node.repl_port)
    echo, size, kind = b"\x01", b"\x1f", b"\x18"
    session.send(IAC + DO + echo + IAC + WILL + size + IAC + SB + size + b"\x00\x50\x00\x18" + IAC + SE)
    session.send(b"lo" + IAC + WILL + kind + b"ad $1 #4" + IAC + SB + kind + b"\x00xterm" + IAC + SE + b"2\r\0")
    session.expect(r">>> $")
    replies = session._data
    for reply in (IAC + WONT + echo, IAC + DONT + size, IAC + DONT + kind):
        assert reply in replies
    session.send("!registers --json")
    session.expect(r'"registers":\[0,42,')
    # It prints, so that the interrupt is not sent before there is something to stop.
    session.send(b"load $1 #65\np: prtc $1\nload $31 @p\njmp $31\n")
    session.expect(r"AAAA")
    session.send(IAC + AYT)
    session.expect(r"\[Iridium: yes\]")
    session.send(IAC + IP)
    session.expect(r"stopped")
    answers(session)
    session.send("!quit")
    session.rest()


@pytest.mark.skipif(shutil.which("telnet") is None, reason="there is no telnet program on this machine")
def test_the_telnet_program(started: Started, node: NodeProcess) -> None:
    """With the program that people have: lines, Ctrl-C in an endless loop, and `!quit`."""
    session = started.process("telnet", "127.0.0.1", str(node.repl_port), terminal=True)
    session.expect(r"Welcome to Iridium! Let's be productive!")
    session.expect(r">>> ")
    session.send("load $1 #42\r")
    session.expect(r">>> ")
    session.send("!registers --json\r")
    session.expect(r'"registers":\[0,42,')
    session.expect(r">>> ")
    (node.data / "programs" / "spin.iasm").write_text(SPIN)
    session.send("!load_file spin.iasm\r")
    session.expect(r">>> ")
    session.send("!run\r")
    session.expect(r"round and round")
    answers(greeted(started, node.repl_port))
    session.press(b"\x03", "stopped")
    session.expect(r">>> ")
    session.send("!registers --json\r")
    assert int(session.expect(r'"registers":\[(\d+),')[1]) > 0
    session.send("!quit\r")
    session.expect(r"closed by foreign host")
    session.rest()
