"""Real nodes whose programs run in machine code: stopped at once, in nobody's way, gone when the node ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.conch.telnet import IAC, IP

from iridium.vm.engine import missing_llvmlite
from tests.processes import COMMAND, PATIENCE, Conversation, NodeProcess, Started, needs_installation
from tests.processes import started as _started

pytestmark = [
    pytest.mark.processes,
    needs_installation,
    pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed"),
]

started = _started

LOOP = "l: inc $0\r\ndjmpn @l\r\n"
FLOOD = "l: prti $0\r\ninc $0\r\nload $31 @l\r\njmp $31\r\n"
STOPPED = -15


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that the tests share."""
    everything = Started(tmp_path_factory.mktemp("native"))
    one = everything.add(NodeProcess("native", everything.root, "--threads", "2")).wait_until_up()
    yield one
    status = one.stop()
    everything.close()
    assert status == STOPPED, one.text
    assert "Traceback" not in one.text, one.text


def greeted(started: Started, node: NodeProcess) -> Conversation:
    """A session whose prompt has come."""
    session = started.conversation(node.repl_port)
    session.expect(r">>> $")
    return session


def stats(session: Conversation) -> dict[str, Any]:
    """What `!stats` says, also while a program runs."""
    session.send("!stats --json")
    found: dict[str, Any] = json.loads(session.expect(r'\{"engine".*\}')[0])
    return found


def until_workers_run(session: Conversation, tier: str) -> None:
    """Wait until a session's program has reached a tier."""
    deadline = time.monotonic() + PATIENCE
    while (told := stats(session))["machine"]["tier"] != tier:
        assert time.monotonic() < deadline, told


def test_building_is_shown(started: Started, node: NodeProcess) -> None:
    """The first hot program of an installation stands still while the interpreter is built: `!stats` says so, and
    afterwards an event does.
    """
    session = greeted(started, node)
    session.send(LOOP.encode())
    until_workers_run(session, "compiled")
    told = stats(session)
    assert told["built"]
    assert not told["loading"]
    assert told["load_seconds"] > 0
    session.send("!stop")
    [event] = [e for e in node.ask("!events 1000")["events"] if e["kind"] == "interpreter-built"]
    assert f"in which programs waited; kept in {started.root.parent}" in event["detail"]


@pytest.mark.parametrize("terminal", [True, False])
def test_building_is_told_to_a_person(started: Started, terminal: bool) -> None:
    """`iridium run` says why it stands still the first time, where somebody watches."""
    (started.root / "hot.iasm").write_text(".code\ncloop #50000\nl: inc $0\nloop @l\nprti $0\nhlt\n")
    for already in (False, True):
        said = started.process(*COMMAND, "run", "hot.iasm", terminal=terminal).rest()
        note = "iridium: building the native interpreter, once: this takes a second or two\n"
        assert said == (note if terminal and not already else "") + "50001"


def test_stop_and_interrupt(started: Started, node: NodeProcess) -> None:
    """An endless loop in compiled code ends at `!stop`, and at Ctrl-C, as soon as a person can tell."""
    session = greeted(started, node)
    session.send(LOOP.encode())
    until_workers_run(session, "compiled")
    began = time.monotonic()
    session.send("!stop")
    session.expect(r"stopped at pc .*\n>>> $")
    session.send("djmpn @l")
    until_workers_run(session, "compiled")
    session.send(IAC + IP)
    session.expect(r"stopped at pc .*\n>>> $")
    assert time.monotonic() - began < 5
    session.send("!quit")
    session.rest()


def test_quit_while_it_runs(started: Started, node: NodeProcess) -> None:
    """`!quit` waits for the program and says so; hanging up ends both."""
    session = greeted(started, node)
    session.send(LOOP.encode())
    until_workers_run(session, "compiled")
    session.send("!quit")
    session.expect(r"!quit waits for the program to end")
    session.send("!stop")
    assert "bye" in session.rest()
    other = greeted(started, node)
    other.send(LOOP.encode())
    until_workers_run(other, "compiled")
    other.reset()
    last = greeted(started, node)
    deadline = time.monotonic() + PATIENCE
    while stats(last)["programs"]:
        assert time.monotonic() < deadline, "a program outlived its session"


def test_a_flood_of_output(started: Started, node: NodeProcess) -> None:
    """A program that prints for ever is read in order, waits for a slow reader, and stops in the middle."""
    session = greeted(started, node)
    session.send(FLOOD.encode())
    session.expect(r"30000")
    other = greeted(started, node)
    other.send("!registers")
    other.expect(r"equal_flag")
    session.send("!stop")
    session.expect(r"stopped at pc")
    session.expect(r">>> $")
    printed = session.text.partition(">>> >>> ")[2]
    assert "".join(map(str, range(1, 2000))) in printed.replace("\n", "")


def test_two_hundred_sessions(started: Started) -> None:
    """While 199 sessions run endless loops, another is answered at once, and the node ends within a moment."""
    node = started.add(NodeProcess("busy", started.root, "--threads", "2")).wait_until_up()
    sessions = [greeted(started, node) for _ in range(199)]
    for session in sessions:
        session.send(LOOP.encode())
    until_workers_run(sessions[-1], "compiled")
    other = greeted(started, node)
    answers = []
    for _ in range(10):
        began = time.monotonic()
        other.send("inc $0")
        other.expect(r">>> $")
        answers.append(time.monotonic() - began)
    assert sorted(answers)[5] < 1, answers
    told = stats(other)
    assert told["programs"] == 199
    assert len(told["workers"]) == 2
    began = time.monotonic()
    assert node.stop() == STOPPED
    assert time.monotonic() - began < 5, "a node with nothing but busy workers ends at once"
    assert "Traceback" not in node.text


def test_the_prompt_takes_an_engine(started: Started) -> None:
    """`iridium repl --engine` runs what is typed on that engine, and `!stats` tells."""
    for engine, tier in (("reference", "reference"), ("native", "interpreter"), ("compiled", "compiled")):
        process = started.process(*COMMAND, "repl", "--engine", engine)
        process.send("load $1 #50000\nl: inc $2\nlt $2 $1\ndjmpe @l\n!stats --json\n!run\n!step 2\n!quit\n")
        told = json.loads(process.expect(r'\{"engine".*\}')[0])
        assert (told["engine"], told["machine"]["tier"]) == (engine, tier)
        assert told["machine"]["instructions"] >= 150_000
        process.expect(r"the end of the code")
        assert process.status() == 0


def test_children_of_typed_lines(started: Started, node: NodeProcess) -> None:
    """Processes of a session go on with the program as it was, in machine code, while it is changed and ends."""
    session = greeted(started, node)

    def type_(line: str, answer: str = "") -> None:
        session.send(line)
        session.expect(answer + r">>> $")

    lines = (
        "self $1",
        "load $2 #5",
        "send $1 $2",
        "s: .asciiz 'as it was\\n'",
        "load $20 #0",
        "w: inc $20",
        "nop",
    )
    for line in (*lines, "wait: recv $8 $9 $10", "prts @s", "hlt"):
        type_(line, r"(as it was\n|halted\n)?")
    type_("load $3 @wait")
    children = []
    for _ in range(20):
        type_("spawn $3 $4")
        session.send("prti $4")
        children.append(int(session.expect(r"(\d+)\n>>> $")[1]))
    assert len(set(children)) == 20
    type_("!clear_program", r"the program is empty.*\n")
    for at in range(50):
        type_(f"t{at}: .asciiz 'something else'")
        type_("inc $0")
    for child in children[:10]:
        session.send(f"!send {child} 1")
        session.expect(rf"\[{child}\] as it was\n")
    busy = greeted(started, node)
    for line in ("a: self $5", "prti $5", "load $31 @a"):
        busy.send(line)
        busy.expect(r">>> $")
    busy.send("jmp $31")
    busy.close()  # with output that it has not read, which tells the node
    session.send("!quit")
    session.rest()
    other = greeted(started, node)
    for child in children[10:]:
        other.send(f"!send {child} 1")
        other.expect(rf"sent to {child}\n>>> $")
    deadline = time.monotonic() + PATIENCE
    # What is left is this session, and the one of whoever asks.
    while len(rows := node.ask("!ps")["processes"]) > 2:
        assert time.monotonic() < deadline, rows
    other.send("!quit")
    other.rest()
