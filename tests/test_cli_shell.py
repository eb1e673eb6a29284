"""`iridium repl`, the shell with a node of its own, in real processes: piped into, and typed at in a terminal."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iridium.vm.engine import missing_llvmlite
from tests.processes import COMMAND, PATIENCE, ROOT, SPIN, Process, Started, environment
from tests.processes import started as _started

pytestmark = pytest.mark.processes

started = _started

BANNER = "Welcome to Iridium! Let's be productive!\n"
PROMPT = r">>> "


def piped(stdin: bytes, *options: str, root: Path) -> subprocess.CompletedProcess[bytes]:
    """The shell with something piped into it, run to its end; it left no directory of its own behind."""
    done = subprocess.run(
        [*COMMAND, "repl", *options],
        cwd=root,
        env=environment(root, PYTHONPATH=str(ROOT), TMPDIR=str(root)),
        input=stdin,
        capture_output=True,
        timeout=60,
    )
    assert not list(root.glob("iridium-*"))
    assert b"Traceback" not in done.stdout + done.stderr
    return done


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a shell that ended well printed after its banner."""
    assert done.returncode == 0, done
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith(BANNER)
    return text.removeprefix(BANNER)


@pytest.fixture
def shell(started: Started) -> Callable[..., Process]:
    """Starts shells, under a terminal unless told otherwise, that are ready for a line."""

    def start(*options: str, terminal: bool = True) -> Process:
        env = environment(started.root, PYTHONPATH=str(ROOT), TMPDIR=str(started.root))
        process = started.process(*COMMAND, "repl", *options, env=env, terminal=terminal)
        process.expect(re.escape(BANNER))
        if terminal:
            process.expect(PROMPT)
        return process

    return start


def typed(process: Process, line: str, answer: str = "") -> re.Match[str]:
    """Type a line; wait for a pattern in its answer, and for the next prompt."""
    process.send(f"{line}\n")
    process.expect(re.escape(line))  # as the terminal echoes it
    found = process.expect(answer)
    process.expect(PROMPT)
    return found


# --- piped into ---


def test_a_program_on_standard_input(tmp_path: Path) -> None:
    """Lines are done in order and commands answered, without prompts in between; the end of input is the end."""
    done = piped(b"load $1 #6\nload $2 #7\nmul $1 $2 $3\nprti $3\n!registers --json\nprti $1", root=tmp_path)
    first, second, third = said(done).splitlines()
    assert first == "42"
    assert json.loads(second)["registers"][:4] == [0, 6, 7, 42]
    assert third == "6"


def test_nothing_on_standard_input(tmp_path: Path) -> None:
    """No input, blank lines and comments are a greeting and a good end."""
    assert said(piped(b"", root=tmp_path)) == ""
    assert said(piped(b"\n  \r\n; a comment\n", root=tmp_path)) == ""


def test_mistakes_on_standard_input(tmp_path: Path) -> None:
    """What does not assemble, is no command, or faults is told, and the lines after it are done."""
    text = said(piped(b"nonsense $1\n!nonsense\ndiv $0 $0 $0\nload $1 #5\nprti $1\n", root=tmp_path))
    assert "error: there is no instruction `nonsense`" in text
    assert "there is no command !nonsense" in text
    assert "division" in text
    assert text.splitlines()[-1] == "5"


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    """A line that is no UTF-8, or over 64 KiB, costs itself only, as on the REPL port."""
    before, after = b"load $1 #1\n", b"\nload $2 #2\n!registers --json\n"
    for line, problem in ((b"load \xff #3", "not UTF-8"), (b"x" * 70_000, "longer than 65536 bytes")):
        error, registers = said(piped(before + line + after, root=tmp_path)).splitlines()
        assert problem in error
        assert json.loads(registers)["registers"][:3] == [0, 1, 2]


def test_quitting_before_the_end_of_the_input(tmp_path: Path) -> None:
    """Nothing after `!quit` is done."""
    assert said(piped(b"load $1 #1\nprti $1\n!quit\nprti $1\n", root=tmp_path)).splitlines() == ["1", "bye"]


def test_input_that_is_closed(tmp_path: Path) -> None:
    """A shell without any standard input greets and ends."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "repl"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        capture_output=True,
        timeout=60,
    )
    assert said(done) == ""


@pytest.mark.parametrize(
    ("sink", "status", "message"),
    [("/dev/full", 74, b"No space left"), ("| head -c 100 >/dev/null", 141, b"")],
    ids=["full", "gone"],
)
def test_output_that_nobody_reads(tmp_path: Path, sink: str, status: int, message: bytes) -> None:
    """A program that prints for ever ends when its output cannot be written or nobody reads it, with a status."""
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    redirect = sink if sink.startswith("|") else f">{sink}"
    done = subprocess.run(
        ["/bin/bash", "-c", f'"$@" {redirect}; exit ${{PIPESTATUS[0]}}', "bash", *COMMAND, "repl"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(ROOT)),
        input=b"l: prti $0\nload $31 @l\njmp $31\n",
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == status, done
    assert message in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_options(tmp_path: Path) -> None:
    """A bad option is status 2 with its reason; a data directory in use or corrupt is status 1."""
    done = piped(b"", "--server-bind-port", "x", root=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"iridium: --server-bind-port 'x' is not a port" in done.stderr
    (tmp_path / "data" / "a").mkdir(parents=True)
    file = tmp_path / "data" / "a" / "node.json"
    file.write_text("{")
    done = piped(b"", "--node-alias", "a", "--data-root-dir", "data", root=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"node.json is corrupt" in done.stderr
    assert file.read_text() == "{"


def test_a_node_that_is_somebody(tmp_path: Path) -> None:
    """With a data directory the shell's node is the same node every time; without one it is nobody."""
    ids = [
        json.loads(said(piped(b"!members --json", *options, root=tmp_path)))["members"][0]["id"]
        for options in (["--data-root-dir", "data"], ["--data-root-dir", "data"], [], [])
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


# --- typed at ---


def test_lines_that_are_typed(shell: Callable[..., Process]) -> None:
    """A person sees one prompt a line, below what a program printed, and can correct and repeat what is typed."""
    process = shell()
    typed(process, "load $1 #41")
    typed(process, "inc $1")
    typed(process, "prti $1", r"\n42\n")
    process.send("load $2 #9\x7f8\n")  # a character is taken back
    process.expect(PROMPT)
    process.send("\x1b[A\n")  # the line before, again
    process.expect(PROMPT)
    found = typed(process, "!registers --json", r'"registers":\[([^]]*)\]')
    assert found[1].split(",")[:3] == ["0", "42", "8"]
    assert ">>> >>> " not in process.text
    process.send("!quit\n")
    assert process.status() == 0


def test_completion(shell: Callable[..., Process]) -> None:
    """Tab completes commands, mnemonics and the labels of the program."""
    pytest.importorskip("readline")
    process = shell()
    process.send("!cluster_m\t\n")
    process.expect(r"!cluster_members")
    process.expect(r"address")
    process.expect(PROMPT)
    typed(process, "somewhere: inc $1")
    process.send("load $2 @some\t\n")
    process.expect(r"@somewhere")
    process.expect(PROMPT)
    assert "error" not in process.text


def test_history_is_kept(shell: Callable[..., Process], started: Started) -> None:
    """What was typed in one shell is there in the next, readable by its user alone."""
    pytest.importorskip("readline")
    process = shell()
    typed(process, "load $1 #77")
    process.send("!quit\n")
    assert process.status() == 0
    [file] = started.root.glob("**/history")
    assert file.stat().st_mode & 0o777 == 0o600
    process = shell()
    process.send("\x1b[A\x1b[A\n")
    process.expect(r"load \$1 #77")
    process.expect(PROMPT)
    typed(process, "prti $1", r"\n77\n")


def run_for_ever(process: Process, root: Path) -> None:
    """Let a shell run a program that does not end, until it is seen to run."""
    (root / "spin.iasm").write_text(SPIN)
    typed(process, "!load_file spin.iasm")
    process.send("!run\n")
    process.expect("round and round")


def test_ctrl_c_in_an_endless_loop(shell: Callable[..., Process], started: Started) -> None:
    """Ctrl-C ends the program, not the shell; what it did is there, and the shell goes on."""
    process = shell()
    run_for_ever(process, started.root)
    process.press(b"\x03", "stopped")
    process.expect(PROMPT)
    found = typed(process, "!registers --json", r'"registers":\[(\d+)')
    assert int(found[1]) > 0
    typed(process, "load $1 #5")
    typed(process, "prti $1", r"\n5\n")


def test_ctrl_c_again_and_again(shell: Callable[..., Process], started: Started) -> None:
    """Ctrl-C pressed many times ends the program and some prompts, but never the shell."""
    process = shell()
    run_for_ever(process, started.root)
    for _ in range(20):
        process.send(b"\x03")
    process.expect("stopped")
    for _ in range(20):
        process.send(b"\x03")
        process.comes(PROMPT, 0.05)
    process.press(b"\x03", PROMPT)
    process.send("load $1 #5\nprti $1\n")
    process.expect(r"\n5\n")


def test_ctrl_c_without_a_terminal(shell: Callable[..., Process], started: Started) -> None:
    """Into a shell that is piped into, the signal ends the program that runs, else the shell, with status 130."""
    process = shell(terminal=False)
    (started.root / "spin.iasm").write_text(SPIN)
    process.send("!load_file spin.iasm\n!run\nload $1 #5\nprti $1\n")
    process.expect("round and round")
    process.signal(signal.SIGINT)
    process.expect("stopped")
    process.expect(r"\n5")
    process.interrupt_until_end()
    assert process.status() == 130


def test_ctrl_c_while_it_ends(shell: Callable[..., Process], started: Started) -> None:
    """Signals that come while the shell ends do not disturb that, nor change its status."""
    process = shell(terminal=False)
    (started.root / "spin.iasm").write_text(SPIN)
    process.send("!load_file spin.iasm\n!run\n")
    process.expect("round and round")
    deadline = time.monotonic() + PATIENCE
    while not process.ended and time.monotonic() < deadline:
        process.signal(signal.SIGINT)
        process.comes("nothing of the kind", 0.02)
    assert process.status() == 130, process.text


PRESSES = """
import os, signal, sys, time
from iridium import cli
from iridium.{module} import {name}
{call} = {name}.{method}
def press(*arguments):
    result = {call}(*arguments)
    os.kill(os.getpid(), signal.SIGINT)
    while {until}:
        time.sleep(0.01)
    return result
{name}.{method} = press
sys.argv[1:] = ["repl"]
cli.main()
"""
"""Somebody presses Ctrl-C just when something has been done while the shell starts."""


def test_ctrl_c_when_the_banner_has_come(started: Started) -> None:
    """As soon as there is something to see, Ctrl-C ends no shell that somebody types at."""
    code = PRESSES.format(module="repl.session", name="Session", method="start", call="start", until="False")
    process = started.process(sys.executable, "-c", code, terminal=True)
    process.expect(PROMPT)
    typed(process, "load $1 #5")
    typed(process, "prti $1", r"\n5\n")
    process.end_input()
    assert process.status() == 0


def test_ctrl_c_before_the_banner(started: Started) -> None:
    """Before that it gives up the start, says nothing, and leaves nothing behind."""
    until = "signal.getsignal(signal.SIGINT) is not signal.SIG_IGN"  # what the shell does when it ends
    code = PRESSES.format(module="node", name="Node", method="start", call="start", until=until)
    env = environment(started.root, TMPDIR=str(started.root))
    process = started.process(sys.executable, "-c", code, terminal=True, env=env)
    assert process.status() == 130
    assert "Traceback" not in process.rest()
    assert not list(started.root.glob("iridium-*"))


SLOW_BUILD = """
import os, sys, time
from iridium import cli
from iridium.vm.native.engine import Runtime
build = Runtime._build
def slowly(self, directory):
    os.write(1, b"building\\n")
    time.sleep(6)
    build(self, directory)
    os.write(1, b"built\\n")
Runtime._build = slowly
sys.argv[1:] = ["repl"]
cli.main()
"""
"""A machine that is so busy that the native interpreter takes long to build."""


@pytest.mark.skipif(missing_llvmlite() is not None, reason="nothing is built without llvmlite")
def test_ctrl_c_while_the_interpreter_is_built(started: Started) -> None:
    """A shell does not end under LLVM, which would crash: it waits until the interpreter is built."""
    (started.root / "spin.iasm").write_text(SPIN)
    env = environment(started.root, TMPDIR=str(started.root))
    process = started.process(sys.executable, "-c", SLOW_BUILD, env=env)
    process.send("!load_file spin.iasm\n!run\n")
    process.expect("building")
    process.interrupt_until_end()
    assert process.status() == 130, process.text
    assert "\nbuilt\n" in process.text


def test_ctrl_c_at_the_prompt(shell: Callable[..., Process]) -> None:
    """Ctrl-C gives up the line that is being typed: nothing of it is done, and a new prompt comes."""
    process = shell()
    process.send("load $1 #5")
    process.expect(r"#5")
    process.press(b"\x03", PROMPT)
    process.press(b"\x03", PROMPT)
    found = typed(process, "!registers --json", r'"registers":\[([^]]*)\]')
    assert set(found[1].split(",")) == {"0"}


def test_ctrl_d(shell: Callable[..., Process]) -> None:
    """Ctrl-D at an empty prompt ends the shell, with status 0."""
    process = shell()
    process.end_input()
    assert process.status() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_shell(shell: Callable[..., Process], started: Started, number: int) -> None:
    """A shell that is told to end, or whose terminal goes, clears its data away, even in an endless loop."""
    process = shell()
    assert list(started.root.glob("iridium-*"))
    run_for_ever(process, started.root)
    process.signal(number)
    assert process.status() == 128 + number
    assert not list(started.root.glob("iridium-*"))


def test_a_signal_that_another_thread_gets(shell: Callable[..., Process]) -> None:
    """A signal that does not interrupt the wait for a key ends the shell all the same."""
    process = shell()
    typed(process, "inc $1", "")
    *_, thread = sorted(int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir())
    assert thread != process.pid
    assert ctypes.CDLL(None).tgkill(process.pid, thread, signal.SIGTERM) == 0
    assert process.status() == 128 + signal.SIGTERM


# --- several ---


def test_two_shells_are_a_cluster(shell: Callable[..., Process]) -> None:
    """A shell opens its cluster port when it is told to; another joins it, and a text appears at its prompt."""
    a, b = shell(), shell()
    address = typed(a, "!start_cluster 127.0.0.1:0", r"the cluster port is (127\.0\.0\.1:\d+);")[1]
    assert not address.endswith(":0")
    typed(b, f"!join_cluster {address}", r"!start_cluster first")
    typed(b, "!start_cluster 127.0.0.1:0", r"the cluster port is")
    members = typed(b, f"!join_cluster {address}", r"(?s)address.*?\n(?=>>> )")[0]
    assert members.count(" up\n") == 2
    assert address in members
    typed(a, "!tell * hello there", r"arrived")
    b.expect(r"\n\* [0-9a-f-]{36}: hello there\n>>> ")
    b.send("!quit\n")
    assert b.status() == 0
    a.send("!quit\n")
    assert a.status() == 0


def test_a_shell_that_joins_at_once(shell: Callable[..., Process], started: Started) -> None:
    """`iridium repl --join` is a member without a word being typed."""
    a = shell()
    address = typed(a, "!start_cluster 127.0.0.1:0", r"the cluster port is (127\.0\.0\.1:\d+);")[1]
    b = shell("--join", address, "-P", "0", "--node-alias", "b", "--data-root-dir", str(started.root))
    for _ in range(int(PATIENCE * 20)):
        if "joined" in typed(b, "!events --json", r'\{"events".*\n')[0]:
            break
    assert typed(a, "!members", r"(?s)address.*?\n(?=>>> )")[0].count(" up\n") == 2
