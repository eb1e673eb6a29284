"""`iridium run` of programs that use processes, without a node: in plain Python, and in machine code."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from iridium.cli import local, processes
from iridium.cli.group import iridium
from iridium.errors import OptionError
from iridium.vm.engine import FALLING_BACK, missing_llvmlite
from tests.processes import COMMAND, PATIENCE, NodeProcess, Started, environment, needs_installation
from tests.processes import started as _started

started = _started

WAYS = [("reference", 1)]
if missing_llvmlite() is None:
    WAYS += [("auto", 1), ("native", 2), ("compiled", 1)]

ASKS = """\
.data
n: .asciiz 'first'
m: .asciiz 'nobody'
x: .asciiz 'first@elsewhere'
nl: .asciiz '\\n'
.code
      self $9
      load $1 @n
      register $1
      djmpn @bad
      load $1 @m
      whereis $1 $2
      djmpe @bad
      load $1 @x
      whereis $1 $2
      djmpe @bad
      load $1 @child
      load $2 #-2
      spawnon $1 $2 $3
      djmpe @bad
      load $2 @m
      spawnon $1 $2 $3
      djmpe @bad
      load $2 #-1
      spawnon $1 $2 $3
      djmpn @bad
      monitor $3
      recv $4 $5 $6
      prti $4
      prts @nl
      recv $4 $5 $6
      prti $4
      prts @nl
      nodes $7
      prti $7
      hlt
bad:  load $1 #99
      hltr $1
child: load $1 @n
      whereis $1 $2
      load $3 #7
      send $2 $3
      load $4 #3
      hltr $4
"""
"""Asks for all that a node answers; there is nobody but this process and its child."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs a source, in each way."""
    monkeypatch.chdir(tmp_path)

    def run(source: str, *options: str, engine: str = "reference", threads: int = 1) -> Result:
        Path("p.iasm").write_text(source)
        arguments = ["run", "p.iasm", "--engine", engine, "--threads", str(threads), *options]
        return CliRunner().invoke(iridium, arguments)

    return run


@pytest.mark.parametrize(("engine", "threads"), WAYS)
class TestEveryWay:
    """The same in each engine, with one thread or two."""

    def test_services(self, run, engine: str, threads: int) -> None:
        """Names, SPAWNON on this node and NODES are answered; other nodes there are none."""
        done = run(ASKS, engine=engine, threads=threads)
        assert (done.stdout, done.stderr, done.exit_code) == ("7\n3\n1", "", 0)

    def test_the_first_process_decides(self, run, engine: str, threads: int) -> None:
        """The run ends when the first process does, with its code, though another runs for ever."""
        source = ".code\nload $1 @w\nspawn $1 $2\nload $3 #5\nsleep $3\nhltr $3\nw: inc $7\ndjmpn @w\n"
        done = run(source, engine=engine, threads=threads)
        assert (done.stdout, done.stderr, done.exit_code) == ("", "", 5)

    def test_all_wait_for_ever(self, run, engine: str, threads: int) -> None:
        """Processes that all wait for messages end the run with a word about it, and status 75."""
        done = run(".code\nload $1 @w\nspawn $1 $2\nw: recv $1 $2 $3\nhlt\n", engine=engine, threads=threads)
        assert done.exit_code == 75
        assert done.stderr == "p.iasm: deadlock: all 2 processes wait for messages that nobody can send\n"

    def test_who_waits_for_a_time_is_no_deadlock(self, run, engine: str, threads: int) -> None:
        """A process that will go on by itself is waited for."""
        source = ".code\nload $1 #150\nrecvt $1\ndjmpe @no\nload $1 #4\nhltr $1\nno: hlt\n"
        assert run(source, engine=engine, threads=threads).exit_code == 4

    def test_crashes(self, run, engine: str, threads: int) -> None:
        """A crash of the first process ends the run with 70; that of another is told and ends nothing."""
        source = """.code
load $1 @w
spawn $1 $2
monitor $2
recv $3 $4 $5
prti $3
load $6 #50
sleep $6
w: div $9 $9 $9
"""
        done = run(source, engine=engine, threads=threads)
        assert done.stdout == "-7"
        other, own = done.stderr.splitlines()
        assert other == (
            "p.iasm: process 2: fault: division-by-zero at line 9 (pc 96): DIV divides 0 by $9, which is 0"
        )
        assert own.startswith("p.iasm:9: fault: division-by-zero at pc 96")
        assert done.exit_code == 70

    def test_killed(self, run, engine: str, threads: int) -> None:
        """The first process can be ended by another."""
        source = ".code\nself $9\nload $1 @w\nspawn $1 $2\nrecv $3 $4 $5\nw: kill $9\nrecv $3 $4 $5\n"
        done = run(source, engine=engine, threads=threads)
        assert (done.exit_code, done.stderr) == (70, "p.iasm: the first process was ended by another: killed\n")
        assert json.loads(run(source, "--json", engine=engine, threads=threads).stdout)["status"] == "killed"

    def test_all_output(self, run, engine: str, threads: int) -> None:
        """What all processes print comes, however much it is, and --json has it in its document."""
        source = """\
.code
      load $1 @w
      load $10 #4
      load $11 #0
next: spawn $1 $2
      monitor $2
      dec $10
      neq $10 $11
      djmpe @next
      load $10 #4
wait: recv $3 $4 $5
      dec $10
      neq $10 $11
      djmpe @wait
      hlt
w:    load $12 #120
      cloop #9999
more: prtc $12
      loop @more
      hlt
"""
        assert run(source, engine=engine, threads=threads).stdout == "x" * 40_000
        document = json.loads(run(source, "--json", engine=engine, threads=threads).stdout)
        assert (document["status"], document["output"]) == ("halted", "x" * 40_000)


def test_limits(run) -> None:
    """--limit counts the first process's instructions; --timeout ends all."""
    source = ".code\nload $1 @w\nspawn $1 $2\nw: inc $7\nload $8 @w\njmp $8\n"
    done = run(source, "--limit", "100")
    assert (done.exit_code, done.stderr) == (75, "p.iasm: stopped by --limit after 100 instructions, at pc 84\n")
    assert run(source, "--limit", "0").exit_code == 75
    done = run(source, "--timeout", "0.1")
    assert done.exit_code == 75
    assert "stopped by --timeout" in done.stderr
    assert "$7" in run(source, "--limit", "10", "--registers").stdout


@pytest.mark.processes
def test_a_plain_program_imports_nothing_of_this(tmp_path: Path) -> None:
    """Who uses no processes does not wait for Twisted."""
    (tmp_path / "p.iasm").write_text(".code\nhlt\n")
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from iridium.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "p.iasm"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[1])),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert "iridium.cli.running" in loaded
    assert not [name for name in loaded if name.startswith(("twisted", "iridium.processes", "iridium.scheduler"))]


def sleeping(tmp_path: Path, code: str = COMMAND[-1]) -> subprocess.Popen[bytes]:
    """A run whose only process sleeps for a minute, and has said so. Ctrl-C reaches it even if we ignore it."""
    (tmp_path / "p.iasm").write_text(".data\nt: .asciiz 'up\\n'\n.code\nprts @t\nload $1 #60000\nsleep $1\nhlt\n")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "p.iasm"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[1])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.mark.processes
def test_ctrl_c(tmp_path: Path) -> None:
    """A run whose processes wait for time ends at Ctrl-C."""
    with sleeping(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


@pytest.mark.processes
def test_ctrl_c_just_before_the_wait(tmp_path: Path) -> None:
    """A Ctrl-C that comes in the last moment before the main thread waits is not lost. What happens then cannot be
    timed; a signal to another thread is the same to Python: noted, and nothing that ends a wait.
    """
    code = """
import signal, threading, time
def press():
    states = open(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    while (states.seek(0), states.read().rpartition(") ")[2][0])[1] != "S" or not began.is_set():
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
began = threading.Event()
from iridium.cli import local, main
run = local.Local.run
local.Local.run = lambda *arguments: (began.set(), run(*arguments))[1]
threading.Thread(target=press, daemon=True).start()
main()
"""
    with sleeping(tmp_path, code) as process:
        try:
            assert process.wait(PATIENCE) == 130
        finally:
            process.kill()


def test_the_line_about_llvmlite(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said where machine code is missing has the command's name before it, once, and no program's."""
    monkeypatch.setattr(local, "missing_llvmlite", lambda: OptionError("there is none"))
    done = run(".code\nself $1\nhlt\n", engine="auto")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"iridium: there is none; {FALLING_BACK}\n"


def test_a_list_says_what_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`iridium ps` tells what the node has left out: in words, and as fields."""
    answer = {"processes": [], "more": {"a": 7}, "silent": ["b"]}
    monkeypatch.setattr(processes, "ask", lambda node, command: answer)
    said = CliRunner().invoke(iridium, ["ps", "--all"]).stdout
    assert said.endswith("\n7 more on a\nb did not answer\n")
    assert json.loads(CliRunner().invoke(iridium, ["ps", "--all", "--json"]).stdout) == answer


def test_a_title_is_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that `iridium spawn` names is the one of --on, whatever the file is called."""
    told: list[str] = []

    def tell(command: str, timeout: float, on_output: object = None) -> dict[str, object]:
        told.append(command)
        return {"pid": 3, "complete": True}

    monkeypatch.setattr(processes, "session", lambda node: contextlib.nullcontext(tell))
    monkeypatch.chdir(tmp_path)
    Path("x on b.iasm").write_text(".code\nhlt\n")
    done = CliRunner().invoke(iridium, ["spawn", "x on b.iasm"])
    assert done.stdout == "process 3 runs x on b.iasm\n"
    assert re.fullmatch(r"!spawn_sent [0-9a-f]{64} --start @ x on b\.iasm", told[-1])
    CliRunner().invoke(iridium, ["spawn", "x on b.iasm", "--on", "c"])
    assert told[-1].endswith(" --start c x on b.iasm")
    assert CliRunner().invoke(iridium, ["spawn", "x on b.iasm", "--on", "b c"]).exit_code == 2


LONG_LINES = """\
.data
rest: .asciiz ' {}\\n'
.code
      load $2 #30000
again: prti $1
      prts @rest
      inc $1
      lt $1 $2
      djmpe @again
      hlt
""".format("x" * 1000)
"""Prints 30 MB, more than sockets and pipes hold."""


@pytest.mark.processes
@needs_installation
@pytest.mark.parametrize("where", ["a", "b"])
def test_a_slow_pipe_gets_all(started: Started, where: str) -> None:
    """`iridium spawn --wait` into a pipe that nobody reads for a while: the process waits, also on another node,
    and every line comes.
    """
    a, b = started.nodes("a", "b")
    b.ask(f"!join_cluster {a.address}")
    a.until({"a": "up", "b": "up"})
    (started.root / "long.iasm").write_text(LONG_LINES)
    node = a if where == "a" else b
    deadline = time.monotonic() + PATIENCE
    with subprocess.Popen(
        [*COMMAND, "spawn", "long.iasm", "--wait", "--node", a.shell, "--on", where],
        cwd=started.root,
        env=environment(started.root, PYTHONPATH=str(Path(__file__).parents[1])),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"0"
        before = -1
        while (now := so_far(node)) != before or now == 0:
            assert time.monotonic() < deadline, "it does not come to rest"
            before = now
            node.comes("nothing", 0.2)
        lines = (b"0" + process.stdout.read()).splitlines()
    assert process.returncode == 0
    assert lines == [b"%d " % number + b"x" * 1000 for number in range(30_000)]
    assert so_far(node) == 0


@pytest.mark.processes
@needs_installation
def test_ctrl_c_of_waiting(started: Started) -> None:
    """Ctrl-C of `iridium spawn --wait` ends the waiting, and says what goes on and how to end that."""
    (a,) = started.nodes("a")
    (started.root / "p.iasm").write_text(".data\nt: .asciiz 'up\\n'\n.code\nprts @t\nrecv $1 $2 $3\nhlt\n")
    with subprocess.Popen(
        [*COMMAND, "spawn", "p.iasm", "--wait", "--node", a.shell],
        cwd=started.root,
        env=environment(started.root, PYTHONPATH=str(Path(__file__).parents[1])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(PATIENCE) == 130
    [running] = [p for p in a.ask("!ps")["processes"] if p["program"] == "p.iasm"]
    pid = running["pid"]
    assert said == f"iridium: process {pid} goes on; `iridium ps` shows it, `!kill {pid}` in the shell ends it\n"


@pytest.mark.processes
@needs_installation
def test_a_pipe_that_is_closed(started: Started) -> None:
    """`iridium spawn --wait | head -1` ends as `iridium run` does: SIGPIPE's status, and not a word."""
    (a,) = started.nodes("a")
    (started.root / "long.iasm").write_text(LONG_LINES)
    with subprocess.Popen(
        [*COMMAND, "spawn", "long.iasm", "--wait", "--node", a.shell],
        cwd=started.root,
        env=environment(started.root, PYTHONPATH=str(Path(__file__).parents[1])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 141


def so_far(node: NodeProcess) -> int:
    """Instructions that the node's process has executed; 0 where there is none."""
    return sum(p["instructions"] for p in node.ask("!ps")["processes"] if p["program"] == "long.iasm")
