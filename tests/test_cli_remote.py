"""`iridium run --node` and `iridium load` against real nodes: as a run here, but there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from iridium.cli.group import iridium as command
from tests.processes import COMMAND, PATIENCE, SPIN, NodeProcess, Started, environment, needs_installation

PROGRAMS = {
    "halts": ".code\nload $1 #263\nprti $1\nhltr $1\n",
    "fault": ".data\nf: .asciiz 'before'\n.code\nprts @f\n\ndiv $1 $2 $3\nhlt\n",
    "off": ".code\nloadf64 $1 #0.1\nsqrtf64 $1 $2\nnot $3 $4\nsubf64 $5 $2 $6\neq $1 $1\ncloop #9\ninc $1\n",
    "wrong": '.data\ns: .asciiz "x"\n',
    "speaks": ".data\nf: .asciiz 'é\\n✓'\n.code\nprts @f\nload $1 #1\nitof $1 $1\ndivf64 $1 $2 $3\nhlt\n",
    "spins": ".code\nl: inc $1\ndjmpn @l\n",
}

FAMILY = """\
.data
line: .asciiz '{}\\n'
.code
      load $1 @w
      load $10 #4
more: spawn $1 $2
      monitor $2
      dec $10
      neq $10 $11
      djmpe @more
      load $10 #4
wait: recv $3 $4 $5
      dec $10
      neq $10 $11
      djmpe @wait
      hlt
w:    load $6 #5000
loop: prts @line
      dec $6
      neq $6 $11
      djmpe @loop
      div $8 $11 $9
""".format("x" * 999)
"""Its processes print 20 MB, more than sockets and pipes hold, and crash then."""

pytestmark = [pytest.mark.processes, needs_installation]


class Place:
    """Two nodes, one of them read-only, and a directory with programs to run from.

    Attributes:
        root: the directory.
        node, reader: their REPL ports.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._started = Started(root)
        a = self._started.add(NodeProcess("a", root))
        b = self._started.add(NodeProcess("b", root, "--repl-role", "read-only"))
        self.a: NodeProcess = a.wait_until_up()
        self.node, self.reader = self.a.shell, b.wait_until_up().shell
        for name, source in PROGRAMS.items():
            (root / f"{name}.iasm").write_text(source)
        (root / "family.iasm").write_text(FAMILY)
        (root / "spin.iasm").write_text(SPIN)

    def close(self) -> None:
        """End the nodes."""
        self._started.close()

    def iridium(self, *arguments: str, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
        """The command, in the directory."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            timeout=60,
            **keywords,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, not waited for."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.root, env=self.environment, stdout=pipe, stderr=pipe
        )

    @property
    def environment(self) -> dict[str, str]:
        """What it is started with."""
        return environment(self.root, PYTHONPATH=str(Path(__file__).parents[1]))

    def both(self, *arguments: str) -> list[tuple[int, bytes, bytes]]:
        """What a run here gives, and on the node: status, output, messages."""
        ways = ([], ["--node", self.node])
        done = [self.iridium("run", *arguments, *way) for way in ways]
        return [(one.returncode, one.stdout, one.stderr) for one in done]

    def until_idle(self) -> None:
        """Wait until no session of the node runs anything."""
        deadline = time.monotonic() + PATIENCE
        while self.a.ask("!stats")["programs"]:
            assert time.monotonic() < deadline
            self.a.comes("nothing", 0.05)

    def until_at_rest(self, title: str) -> None:
        """Wait until the processes of a program that is there have not executed anything for a while."""
        deadline, before = time.monotonic() + PATIENCE, -1
        while (now := self._executed(title)) != before or now == 0:
            assert time.monotonic() < deadline, "they do not come to rest"
            before = now
            self.a.comes("nothing", 0.2)

    def _executed(self, title: str) -> int:
        return sum(p["instructions"] for p in self.a.ask("!ps")["processes"] if p["program"] == title)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The nodes, for all tests of this file."""
    place = Place(tmp_path_factory.mktemp("remote"))
    yield place
    place.close()


@pytest.mark.parametrize("name", ["halts", "fault", "off", "wrong", "speaks", "missing"])
def test_as_here(place: Place, name: str) -> None:
    """Status, output and messages are those of a run here, also of what has mistakes or is not there."""
    here, there = place.both(f"{name}.iasm")
    assert there == here
    expected = {"halts": 7, "fault": 70, "off": 70, "wrong": 65, "speaks": 0, "missing": 66}
    assert here[0] == expected[name]


@pytest.mark.parametrize("option", ["--json", "--registers"])
@pytest.mark.parametrize("name", ["halts", "fault", "off", "speaks"])
def test_documents_as_here(place: Place, name: str, option: str) -> None:
    """The document for tools and the registers are the same, to the byte."""
    here, there = place.both(f"{name}.iasm", option)
    assert there == here


@pytest.mark.parametrize("limit", ["0", "1000"])
def test_limits_as_here(place: Place, limit: str) -> None:
    """A limit of instructions stops it at the same place with the same message."""
    here, there = place.both("spins.iasm", "--limit", limit, "--json")
    assert there == here
    assert here[0] == 75


def test_time_is_over(place: Place) -> None:
    """A limit of seconds stops it there."""
    done = place.iridium("run", "spins.iasm", "--timeout", "0.3", "--node", place.node)
    assert done.returncode == 75
    assert re.fullmatch(rb"spins\.iasm: stopped by --timeout after \d+ instructions, at pc \d+\n", done.stderr)
    place.until_idle()


def test_an_image_from_a_pipe(place: Place) -> None:
    """An image and standard input will do as well."""
    assert place.iridium("assemble", "halts.iasm", "-o", "halts.ir").returncode == 0
    image = (place.root / "halts.ir").read_bytes()
    done = place.iridium("run", "-", "--node", place.node, input=image)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"263", b"")


def test_ctrl_c_stops_it_there(place: Place) -> None:
    """Ctrl-C stops the program on the node, says so, and ends with an interrupt's status; also a double one."""
    for insists in (False, True):
        with place.start("run", "spin.iasm", "--node", place.node) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"round and round\n"
            process.send_signal(signal.SIGINT)
            if insists:
                process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        pattern = rb"spin\.iasm: stopped on 127\.0\.0\.1:\d+ after \d+ instructions, at pc \d+\n"
        assert re.fullmatch(pattern, said), said
        assert place.a.ask("!stats")["programs"] == 0


def test_who_disappears_stops_it_too(place: Place) -> None:
    """A command that is killed leaves nothing running."""
    with place.start("run", "spin.iasm", "--node", place.node) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert place.a.ask("!stats")["programs"] == 1
        process.kill()
    place.until_idle()


def test_nobody_reads_it(place: Place) -> None:
    """When the reader of the output leaves, the command ends without a word and the program is stopped."""
    (place.root / "flood.iasm").write_text(".code\nl: prti $1\ninc $1\ndjmpn @l\n")
    with place.start("run", "flood.iasm", "--node", place.node) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 141
    place.until_idle()


def test_a_slow_reader_gets_all(place: Place) -> None:
    """Output that nobody reads for a while waits on the node, that of the program's processes too."""
    with place.start("run", "family.iasm", "--node", place.node) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        place.until_at_rest("family.iasm")
        printed = first + process.stdout.read()
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 0
    assert printed == 20_000 * (b"x" * 999 + b"\n")
    ended = rb"family\.iasm: process \d+ ended: division-by-zero at line 22 .*: DIV divides 0 by .*\n"
    assert re.fullmatch(rb"(%b){4}" % ended, said), said


def test_what_makes_no_sense_there() -> None:
    """Engine and threads are the node's: to give them is a mistake, not something to ignore."""
    for option in (["--engine", "native"], ["--threads", "2"]):
        done = CliRunner().invoke(command, ["run", "x.iasm", "--node", "127.0.0.1:1", *option])
        assert done.exit_code == 2
        assert f"{option[0]} is the node's own" in done.stderr


def test_no_node(place: Place) -> None:
    """Without a node there, and with an address that is none, the message names it; mistakes are told first."""
    done = place.iridium("run", "halts.iasm", "--node", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"iridium: nothing listens at 127.0.0.1:1; ")
    done = place.iridium("run", "halts.iasm", "--node", "here")
    assert (done.returncode, b"--node: 'here' is not HOST:PORT" in done.stderr) == (1, True)
    assert place.iridium("run", "wrong.iasm", "--node", "127.0.0.1:1").returncode == 65


def test_the_environment_names_no_node_for_a_run(place: Place) -> None:
    """IRIDIUM_NODE is for commands that need a node: a run stays here unless it is told otherwise."""
    done = subprocess.run(
        [*COMMAND, "run", "halts.iasm", "--json"],
        cwd=place.root,
        env={**place.environment, "IRIDIUM_NODE": "127.0.0.1:1"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 7


@pytest.mark.parametrize("arguments", [["run", "halts.iasm"], ["load", "halts.iasm"], ["spawn", "halts.iasm"]])
def test_a_read_only_node(place: Place, arguments: list[str]) -> None:
    """A port of readers takes no programs, and says whom to ask."""
    done = place.iridium(*arguments, "--node", place.reader)
    assert (done.returncode, done.stdout) == (77, b"")
    assert b"needs the role operator, and this session is read-only; ask whoever runs this node" in done.stderr
    assert place.iridium("ps", "--node", place.reader).returncode == 0


def test_load(place: Place) -> None:
    """A program is kept under its name or another, refused twice, replaced when that is said, and runs there."""
    done = place.iridium("load", "halts.iasm", "--node", place.node)
    assert (done.returncode, done.stdout) == (0, f"stored halts.ir on {place.node}: 106 bytes\n".encode())
    done = place.iridium("load", "halts.iasm", "--node", place.node)
    assert done.returncode == 1
    assert done.stderr.startswith(b"iridium: there is a program halts.ir already; add --replace")
    done = place.iridium("load", "halts.iasm", "--replace", "--json", "--node", place.node)
    assert json.loads(done.stdout) == {"program": "halts.ir", "bytes": 106, "replaced": True}
    assert place.iridium("load", "fault.iasm", "--as", "f", "--node", place.node).returncode == 0
    assert [p["name"] for p in place.a.ask("!programs")["programs"]] == ["f", "halts.ir"]
    assert place.a.ask("!load_file f")["instructions"] == 3
    assert place.a.ask("!spawn halts.ir")["program"] == "halts.ir"
    for name in ("../f", ".f", "a b", ""):
        done = place.iridium("load", "halts.iasm", "--as", name, "--node", place.node)
        assert (done.returncode, b"cannot be the name of a program" in done.stderr) == (1, True)
    assert place.iridium("load", "-", "--node", place.node, input=b".code\nhlt\n").returncode == 2
    done = place.iridium("load", "-", "--as", "piped", "--node", place.node, input=b".code\nhlt\n")
    assert done.returncode == 0
    assert place.iridium("load", "wrong.iasm", "--node", place.node).returncode == 65


def test_a_plain_run_imports_nothing_of_this(tmp_path: Path) -> None:
    """Who runs a program here does not wait for what talks to nodes, with options or without."""
    (tmp_path / "p.iasm").write_text(".code\nhlt\n")
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from iridium.cli import main; main()"
    for options in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "run", "p.iasm", *options],
            cwd=tmp_path,
            env=environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[1])),
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = done.stdout.split()
        unwanted = (
            "twisted",
            "msgspec",
            "iridium.repl",
            "iridium.cluster",
            "iridium.limits",
            "iridium.cli.remote",
        )
        assert "iridium.cli.running" in loaded
        assert not [name for name in loaded if name.startswith(unwanted)]
