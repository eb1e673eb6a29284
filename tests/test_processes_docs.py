"""The pages about processes, supervision and embedding, and the examples, do what they say, also on real nodes."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from iridium.cli.group import iridium
from tests.processes import INSTALLED, PATIENCE, NodeProcess, Started, environment, needs_installation
from tests.processes import started as _started
from tests.test_docs import blocks

pytestmark = pytest.mark.processes

started = _started

ROOT = Path(__file__).parents[1]
PAGE = "docs/processes.md"


def commands(info: str, page: str = PAGE) -> list[tuple[str, str]]:
    """Each command of a page's transcripts of a kind, and what came."""
    found = [block.text for block in blocks(page) if block.info == info]
    return [pair for text in found for pair in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)]


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize(("command", "answer"), commands("console run"), ids=lambda text: text.split("\n")[0][:40])
def test_what_runs_without_a_node(
    command: str, answer: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who runs the page's programs sees what it shows."""
    for block in blocks(PAGE):
        if name := re.match(r"iasm program=(\S+)$", block.info):
            (tmp_path / name[1]).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(iridium, [*command.split()[1:], "--engine", engine])
    assert result.output == answer


def test_embedding(tmp_path: Path) -> None:
    """The example of a node in a Python program runs as its page shows it, and the page shows what it is."""
    program = (ROOT / "examples" / "embed.py").read_text()
    [code] = [block.text for block in blocks("docs/embedding.md") if block.info == "python"]
    [transcript] = [block.text for block in blocks("docs/embedding.md") if block.info == "console"]
    assert code in program
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "embed.py")],
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert transcript == f"$ python examples/embed.py\n{done.stdout}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Started, NodeProcess, NodeProcess]]:
    """Two nodes, a and b, as the page starts them."""
    everything = Started(tmp_path_factory.mktemp("cluster"))
    a, b = everything.nodes("a", "b")
    b.ask(f"!join_cluster {a.address}")
    for node in (a, b):
        node.until({"a": "up", "b": "up"})
    yield everything, a, b
    everything.close()
    for node in (a, b):
        assert "Traceback" not in node.text, node.text


def command_on(node: NodeProcess, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, told to talk to a node, in the directory of the sources."""
    return subprocess.run(
        [INSTALLED, *arguments],
        cwd=ROOT,
        env=environment(root, IRIDIUM_NODE=node.shell),
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_installation
def test_what_runs_on_a_cluster(cluster: tuple[Started, NodeProcess, NodeProcess]) -> None:
    """The page's commands for two nodes, one after the other, and the lines of its session, give what it shows."""
    everything, a, _ = cluster
    for command, answer in commands("console cluster"):
        done = command_on(a, everything.root, *command.split()[1:])
        assert (done.stdout, done.stderr, done.returncode) == (answer, "", 0), command
    session = everything.conversation(a.repl_port)
    session.expect(r">>> $")
    [text] = [block.text for block in blocks(PAGE) if block.info == "console session"]
    for typed, answer in re.findall(r"^>>> (.*)\n((?:(?!>>> ).*\n)*)", text, re.MULTILINE):
        session.send(typed)
        pattern = re.sub(r"from\\ \d+", r"from \\d+", re.escape(answer)) + ">>> $"
        while typed == "!flush" and not session.comes(pattern, 0.2):
            session.send(typed)  # what comes from another node takes a moment
        if typed != "!flush":
            session.expect(pattern)


@needs_installation
def test_listing_and_waiting(cluster: tuple[Started, NodeProcess, NodeProcess], tmp_path: Path) -> None:
    """Without --wait `iridium spawn` leaves a process to itself, which `ps` lists; with it, its end is told."""
    everything, a, _ = cluster
    program = tmp_path / "wait.iasm"
    program.write_text(".code\nrecv $1 $2 $3\nhlt\n")
    done = command_on(a, everything.root, "spawn", str(program), "--on", "b")
    [pid] = re.findall(r"process (\d+@b) runs .*wait\.iasm\n", done.stdout)
    done = command_on(a, everything.root, "ps", "--all")
    assert re.search(rf"^b +{pid} +- +\S*wait\.iasm +waiting", done.stdout, re.MULTILINE)
    assert a.ask(f"!kill {pid}") == {"message": f"{pid} is killed"}
    program.write_text(".code\nload $1 #9\nhltr $1\n")
    assert command_on(a, everything.root, "spawn", str(program), "--wait").returncode == 9
    program.write_text(".code\nload $1 #0\ndiv $1 $1 $1\n")
    done = command_on(a, everything.root, "spawn", str(program), "--on", "b", "--wait")
    assert done.returncode == 70
    [pid] = re.findall(r"^iridium: process (\d+@b) ended: division-by-zero at line 3", done.stderr)
    dead = a.ask(f"!why {pid}")["dead"]
    assert (f"{dead['pid']}@{dead['node']}", dead["line"]) == (pid, 3)
    done = command_on(a, everything.root, "spawn", str(program), "--on", "c")
    assert (done.returncode, done.stderr) == (1, "iridium: no member is called c; !cluster_members lists them\n")


def placed(table: str) -> tuple[list[list[str]], bool]:
    """A list of replicas without what chance decides, which is the order of nodes and who has which of the pair;
    and whether each replica is where it may be.
    """
    head, *rows = [line.split() for line in table.splitlines()]
    pair = [row[3] for row in rows if row[1] == "pair"]
    everywhere = [row[3] for row in rows if row[1] == "everywhere"]
    right = everywhere == [row[2] for row in rows if row[1] == "everywhere"] and len(set(pair)) == len(pair)
    return [head, *sorted(row[:3] + row[4:] for row in rows)], right and set(pair) <= set(everywhere)


@needs_installation
def test_the_ticker_on_three_nodes(started: Started) -> None:
    """The commands of the page about supervision give what it shows, the kill of a node among them."""
    a, b, c = nodes = started.nodes("a", "b", "c")
    for node in (b, c):
        node.ask(f"!join_cluster {a.address}")
    for node in nodes:
        node.until({"a": "up", "b": "up", "c": "up"})
    transcript = commands("console cluster", "docs/supervision.md")
    assert len(transcript) == 5
    for command, answer in transcript:
        if command == "kill -9 PID-OF-C":
            c.signal(signal.SIGKILL)
            continue
        done = command_on(a, started.root, *command.split()[1:])
        deadline = time.monotonic() + PATIENCE
        while command == "iridium apps" and placed(done.stdout) != placed(answer):
            assert time.monotonic() < deadline, done.stdout
            done = command_on(a, started.root, *command.split()[1:])
        assert (done.stderr, done.returncode) == ("", 0), command
        if command != "iridium apps":
            assert done.stdout == answer


@needs_installation
def test_primes_survive_the_kill_of_a_node(started: Started) -> None:
    """The coordinator hands the ranges of a dead node's workers to others, and counts each once."""
    a, b = started.nodes("a", "b")
    b.ask(f"!join_cluster {a.address}")
    a.until({"a": "up", "b": "up"})
    source = (ROOT / "examples" / "primes.iasm").read_text()
    large = source.replace("load $3 #50000 ", "load $3 #8000000 ").replace("load $4 #500 ", "load $4 #5000 ")
    assert large != source
    (started.root / "large.iasm").write_text(large)
    counting = started.process(INSTALLED, "spawn", "large.iasm", "--wait", "--node", a.shell)
    deadline = time.monotonic() + 20
    for _ in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count()):
        rows = a.ask("!ps --all")["processes"]
        if [row for row in rows if row["node"] == "b" and row["instructions"] > 1_000_000]:
            break
    b.signal(signal.SIGKILL)
    assert counting.rest(60) == "539777 primes\n"
