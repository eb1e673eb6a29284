"""Processes in the shell: a session is one; its commands start others, find them, and tell what became of them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from iridium.assembler import assemble
from iridium.processes import Exit, Process, views
from iridium.processes.kept import Outputs
from iridium.repl.children import PATIENCE
from iridium.repl.commands.processes import ProcessList
from iridium.vm import Program
from iridium.vm.runtime.layout import FREE
from tests.printing import lines, printed_lines
from tests.repl_double import FakeNode, Person

ECHO = """\
.code
loop: recv $1 $2 $3
      load $4 #0
      eq $1 $4
      djmpe @wrong
      send $2 $1
      eq $0 $0
      djmpe @loop
wrong: div $1 $4 $5
"""

HELLO = ".data\nh: .asciiz 'hello\\n'\n.code\nprts @h\nload $1 #3\nhltr $1\n"

COUNT = 6000
"""Lines: three times as many as find room while nobody reads."""

PRINTED = printed_lines(COUNT)

NAMED = ".data\nn: .asciiz 'echo'\n.code\nload $1 @n\nregister $1\nrecv $1 $2 $3\nhlt\n"


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody with a session, whose pid is 1, and a few programs."""
    for name, source in {"echo": ECHO, "hello": HELLO, "named": NAMED, "lines": lines(COUNT)}.items():
        (tmp_path / f"{name}.iasm").write_text(source)
    return Person(FakeNode(tmp_path))


def answer(person: Person, command: str) -> Any:
    """The JSON of a command's answer."""
    return json.loads(person.type(f"{command} --json").splitlines()[0])


def alive(person: Person) -> list[int]:
    """The pids of the node's processes, sessions among them."""
    return [info.pid for info in person.node.processes.running()]


def test_a_session_sends_to_itself(person: Person) -> None:
    """The machine of a session has a pid and a mailbox: what typed lines send, typed lines receive."""
    person.type("self $1", "load $2 #77", "send $1 $2", "recv $3 $4 $5")
    registers = person.registers()
    assert registers[1] == registers[4] == 1
    assert registers[3:6] == [77, 1, 0]


def test_waiting_is_interrupted(person: Person) -> None:
    """A typed line that waits for a message or for time waits until `!stop`, and the session goes on."""
    assert person.type("recv $1 $2 $3") == ""
    assert "stopped at pc" in person.type("!stop")
    person.type("load $5 #60000")
    assert person.type("sleep $5") == ""
    person.session.interrupt()
    assert "stopped" in person.read()
    assert person.type("prti $5") == "60000\n>>> "


def test_what_is_stopped_hears_no_late_answer(person: Person) -> None:
    """The answer to a question that a stopped line has asked the node is not taken for one to the next."""
    answers: list[Any] = []
    person.node.processes.services.whereis_away = lambda name, node, answer: answers.append(answer)
    person.type("n: .asciiz 'x@elsewhere'", "load $1 @n", "whereis $1 $2")
    [late] = answers
    person.type("!stop")
    late(17, True)
    person.node.reactor.settle()
    assert person.registers()[2] == 0
    person.type("whereis $1 $2")
    late(17, True)
    person.node.reactor.settle()
    assert person.registers()[2] == 0
    answers[1](23, True)
    person.node.reactor.settle()
    assert person.registers()[2] == 23


def test_a_child_runs_the_program_as_it_was(person: Person) -> None:
    """Lines that are typed, dropped or cleared after a spawn are nothing to the process that was spawned."""
    lines = ("s: .asciiz 'as it was\\n'", "w: nop", "again: recv $8 $9 $10", "prts @s", "prti $8", "hlt")
    # The first time around, a session's own machine runs these lines too, and must not wait.
    person.type("self $1", "load $2 #5", "send $1 $2", *lines, "load $3 @again", "load $11 #0", "spawn $3 $4")
    pid = person.registers()[4]
    assert pid in alive(person)
    assert "fault" in person.type("t: div $0 $11 $11")
    person.type("!clear_program", "u: .asciiz 'something else'", "inc $0", "inc $0", "inc $0")
    assert f"[{pid}] as it was\n" in person.type(f"!send {pid} 42")
    person.node.reactor.advance(2 * PATIENCE)
    assert f"[{pid}] 42\n" in person.read()
    assert pid not in alive(person)


def test_the_slot_of_a_session_is_given_back(person: Person) -> None:
    """The end of a session frees its pid: at once when it is idle, and once it is dropped when its VM runs."""
    other = Person(person.node)
    pid = other.session.pid
    other.type("l: self $1", "load $31 @l", "jmp $31", rounds=5)
    other.session.end()
    person.node.reactor.advance(1)
    person.node.reactor.settle()
    assert pid not in alive(person)
    person.session.end()
    assert alive(person) == []
    table = person.node.processes.table
    assert [r for r in table.records() if r.kind != FREE] == []
    assert Person(person.node).type("self $1", "prti $1").endswith("\n>>> ")


def test_watchers_hear_of_the_end_of_a_session(person: Person) -> None:
    """Whoever monitors a session is told when it ends, like of any process."""
    box = person.node.processes.mailbox()
    assert box.monitor(person.session.pid)
    ends: list[Any] = []
    box.receive().addCallback(ends.append)
    person.session.end()
    person.node.reactor.settle()
    assert [(end.pid, end.reason) for end in ends] == [(1, 0)]
    box.close()


def test_spawn_and_output(person: Person) -> None:
    """A process that was spawned prints into the session, each line with its pid, and its end is told."""
    said = person.type("!spawn hello.iasm")
    assert "process 2 runs hello.iasm" in said
    assert "[2] hello\n" in said
    assert "[2] ended: exit 3\n" in said


def test_spawn_and_wait(person: Person) -> None:
    """With --wait the output is as it is, and the answer is how it ended."""
    assert (
        person.type("!spawn hello.iasm --wait")
        == "process 2 runs hello.iasm\nhello\nprocess 2 ended: exit 3\n>>> "
    )
    lines = [json.loads(line) for line in person.type("!spawn hello.iasm --wait --json").splitlines()[:-1]]
    assert lines[1:] == [{"output": "hello\n"}, {"pid": 3, "reason": 3, "how": "exit 3", "fault": "", "there": ""}]


def test_who_waits_for_a_program_that_was_sent(person: Person) -> None:
    """A tool is told first which process it waits for; a person sees the output and the end."""
    data = assemble(HELLO).to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    person.type(f"!spawn_image {digest} {len(data)} 0 {base64.b64encode(data).decode()}")
    told = person.type(f"!spawn_sent {digest} --wait @ a title --json").splitlines()
    assert json.loads(told[0]) == {"started": {"pid": 2, "node": "", "program": "a title", "there": ""}}
    assert json.loads(told[1]) == {"output": "hello\n"}
    assert person.type(f"!spawn_sent {digest} --wait @ a title") == "hello\nprocess 3 ended: exit 3\n>>> "


def test_waiting_for_a_process_ends_with_stop(person: Person) -> None:
    """Nobody has to wait until a process ends, which goes on."""
    person.type("!spawn echo.iasm --wait")
    assert "process 2 goes on" in person.type("!stop")
    assert 2 in alive(person)
    assert "[2] ended: killed" in person.type("!kill 2")


def test_send_and_flush(person: Person) -> None:
    """Words and bytes go to a process, and its answers are in the session's mailbox."""
    person.type("!spawn echo.iasm")
    assert person.type("!send 2 -5") == "sent to 2\n>>> "
    person.type("!send 2 0xffffffff", "!send 1 'h\\xc3\\xa4\\n'", "!send 1 '\\xff'")
    messages = answer(person, "!flush")["messages"]
    assert messages == [
        {"sender": 2, "kind": "word", "value": -5},
        {"sender": 2, "kind": "word", "value": -1},
        {"sender": 1, "kind": "bytes", "value": "hä\n"},
        {"sender": 1, "kind": "bytes", "value": "0xff"},
    ]
    assert person.type("!flush") == "there are no messages\n>>> "


def test_names_and_nodes(person: Person) -> None:
    """A process is found by its name, and with the node behind an @."""
    person.type("!spawn named.iasm")
    for what in ("2", "echo", "2@alpha", "echo@alpha"):
        assert answer(person, f"!why {what}")["live"]["info"]["name"] == "echo"
    assert "nowhere is not up" in person.type("!why echo@nowhere")
    person.type("!kill echo@alpha")
    assert 2 not in alive(person)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("!kill 99", "there is no process 99; !ps lists them"),
        ("!kill 1", "is no process that can be killed"),
        ("!send 99 1", "there is no process 99"),
        ("!send nobody 1", "there is no process nobody"),
        ("!send 1 x", "the value must be a number"),
        ("!send 1 'x", "ends with a quote"),
        ("!send 1 '\\q'", "is no escape"),
        ("!send 1", "type it as: !send PID VALUE"),
        ("!observe 99", "there is no process 99"),
        ("!observe 1", "there is no process 1"),
        ("!why 99999999999999999999", "there is no process"),
        ("!ps all", "type: !ps [--all]"),
        ("!spawn nothing.iasm", "No such file"),
        ("!spawn ../hello.iasm", "programs directory only"),
        ("!spawn hello.iasm on nowhere", "nowhere is not up"),
        ("!spawn_sent xyz --wait @ t", "is no hash"),
        (f"!spawn_sent {'0' * 64} --wait @ t", "that image is not here"),
        (f"!spawn_image {'0' * 64} 5 0 !", "is no Base64"),
        (f"!spawn_image {'0' * 64} 5 1 AAAA", "does not follow"),
        (f"!spawn_image {'0' * 64} 3 0 AAAA", "has another; it was dropped"),
    ],
)
def test_mistakes(person: Person, typed: str, said: str) -> None:
    """What cannot be done is told, and does nothing."""
    told = person.type(typed)
    assert told.startswith("error: ")
    assert said in told
    assert alive(person) == [1]


def test_why(person: Person) -> None:
    """A process that lives is shown with its registers and line; one that crashed with its fault and its line."""
    person.type("!spawn echo.iasm", "!send 2 7")
    live = answer(person, "!why 2")["live"]
    assert (live["info"]["state"], live["line"], live["registers"][1]) == ("waiting", 2, 7)
    assert live["instruction"] == "recv $1 $2 $3"
    said = person.type("!why 2")
    assert "process 2 is waiting; 0 messages wait" in said
    assert "line 2: recv $1 $2 $3" in said
    assert "[2] ended: division-by-zero at line 9" in person.type("!send 2 0")
    dead = answer(person, "!why 2")["dead"]
    assert (dead["line"], dead["reason"]) == (9, -7)
    assert dead["registers"][2] == 1
    assert "process 2 ended: division-by-zero at line 9" in person.type("!why 2")


def test_observe(person: Person) -> None:
    """What is kept is shown first, then what comes; the end of the process ends it."""
    other = Person(person.node)
    person.type("!spawn echo.iasm")
    other.type("!observe 3")
    person.type("!send 3 0")
    assert "process 3 ended: division-by-zero" in other.read()
    assert "no longer observing" in [other.type("!spawn echo.iasm", "!observe 4"), other.type("!stop")][1]


def test_dead_letters(person: Person) -> None:
    """A message to nobody is counted and kept."""
    person.type("load $1 #99", "load $2 #-1", "send $1 $2")
    assert answer(person, "!dead") == {
        "count": 1,
        "overruns": 0,
        "last": [{"to": 99, "sender": 1, "kind": "word", "value": -1}],
    }


def test_an_image_in_pieces(person: Person) -> None:
    """What `iridium spawn` does: pieces of an image, then a process of it."""
    data = assemble(HELLO).to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert not answer(person, f"!spawn_image {digest}")["complete"]
    for at in range(0, len(data), 50):
        piece = base64.b64encode(data[at : at + 50]).decode()
        complete = answer(person, f"!spawn_image {digest} {len(data)} {at} {piece}")["complete"]
    assert complete
    said = person.type(f"!spawn_sent {digest} --wait @ a title")
    assert said == "hello\nprocess 2 ended: exit 3\n>>> "


def test_lines_of_a_process_that_nobody_reads(person: Person) -> None:
    """Who does not read misses old lines of processes, costs no memory, and is told how much is missing."""
    person.session.pause_output()
    for _ in range(100):
        person.session.children.printed(7, "line\n")
    person.session.children.printed(8, "line\n")
    person.session.resume_output()
    seen = person.read()
    assert seen.count("[7] line\n") == 63
    assert seen.count("[8] line\n") == 1
    assert "[7] ... 185 characters were not shown\n" in seen
    assert seen.index("not shown") < seen.index("] line")


def test_spawn_at_the_end_of_the_code(person: Person) -> None:
    """The end of a session's code is no place to begin: the line faults, and nothing has begun there."""
    person.type("load $1 #16460")
    before = alive(person)
    assert "bad-jump" in person.type("spawn $1 $2")
    assert alive(person) == before
    assert person.registers()[2] == 0


def pause_at_each_write(person: Person) -> None:
    """Let the other end take one text and then no more, until it reads again."""
    person.session._screen._write_out = lambda text: (person._write(text), person.session.pause_output())


def test_who_waits_for_a_process_sees_all_of_it(person: Person) -> None:
    """While the reader of `!spawn --wait` does not read, the process waits with a full ring; nothing is lost."""
    pause_at_each_write(person)
    person.session.line("!spawn lines.iasm --wait")
    person.node.reactor.settle()
    seen = person.read()
    pauses = 0
    while "ended" not in seen:
        [before] = [info for info in person.node.processes.running() if info.pid == 2] or [None]
        person.node.reactor.settle()
        [after] = [info for info in person.node.processes.running() if info.pid == 2] or [None]
        assert before == after, "it goes on though nobody reads"
        person.session.resume_output()
        person.node.reactor.settle()
        seen += person.read()
        pauses += 1
        assert pauses < 20
    assert pauses >= 3
    person.session.resume_output()
    assert seen.startswith(f"process 2 runs lines.iasm\n{PRINTED}process 2 ended: normal\n")
    assert alive(person) == [1]


@pytest.mark.parametrize("way", ["interrupt", "end"])
def test_who_waits_no_more_holds_nobody(person: Person, way: str) -> None:
    """A process whose reader had stopped reading goes on when the waiting ends, or the session."""
    other = Person(person.node)
    pause_at_each_write(person)
    person.session.line("!spawn lines.iasm --wait")
    person.node.reactor.settle()
    assert 3 in alive(other)
    getattr(person.session, way)()
    person.node.reactor.settle()
    assert 3 not in alive(other)
    assert person.node.processes.outputs.of(3).endswith("\n5999\n")


def test_a_process_that_is_killed_while_it_waits_for_its_reader(person: Person) -> None:
    """Its end is told after the rest of its output, once that is read, and its slot is free then."""
    other = Person(person.node)
    pause_at_each_write(person)
    person.session.line("!spawn lines.iasm --wait")
    person.node.reactor.settle()
    person.read()
    other.type("!kill 3")
    assert 3 not in alive(other)
    assert "ended" not in person.seen
    for _ in range(3):
        person.session.resume_output()
        person.node.reactor.settle()
    assert "process 3 ended: killed" in person.seen
    assert PRINTED.startswith(person.seen.partition("process 3")[0])
    assert person.node.processes.table.find(3) is None


def test_who_only_observes_holds_nobody(person: Person) -> None:
    """A process goes on though an observer does not read, who is told how much is missing."""
    other = Person(person.node)
    person.type("!spawn echo.iasm")
    other.type("!observe 3")
    other.session.pause_output()
    for text in ("abc", "de"):
        person.node.processes.outputs.add(3, text)
    assert other.read() == ""
    other.session.resume_output()
    assert other.read() == "[3] ... 5 characters were not shown\n"
    other.session.pause_output()
    person.node.processes.outputs.add(3, "f")
    person.type("!kill 3")
    assert "[3] ... 1 character was not shown\nprocess 3 ended: killed\n" in other.read()


def test_the_output_of_one_that_has_ended(person: Person) -> None:
    """`!observe` shows what is kept of a process that has ended, and how it ended; until its pid is another's."""
    person.type("!spawn hello.iasm")
    assert person.type("!observe 2") == "hello\nprocess 2 has ended: exit 3\n>>> "
    assert person.type("!observe 2@alpha") == "hello\nprocess 2 has ended: exit 3\n>>> "
    said = [json.loads(line) for line in person.type("!observe 2 --json").splitlines()[:-1]]
    assert said == [{"output": "hello\n"}, {"pid": 2, "reason": 3, "how": "exit 3", "fault": "", "there": ""}]
    outputs = person.node.processes.outputs
    outputs.renew(2)
    assert outputs.of(2) == ""
    assert "there is no process 2" in person.type("!observe 2")


def test_old_output_is_not_that_of_the_next_with_the_pid() -> None:
    """Output and end of a process are dropped when another with its pid prints, ends or is looked at."""
    outputs = Outputs()
    outputs.add(5, "old")
    outputs.forget(5, Exit(0, "normal"))
    assert (outputs.of(5), outputs.ended(5)) == ("old", Exit(0, "normal"))
    outputs.add(5, "new")
    assert (outputs.of(5), outputs.ended(5)) == ("new", None)
    outputs.forget(5, Exit(3, "exit 3"))
    outputs.forget(5, Exit(4, "exit 4"))
    assert (outputs.of(5), outputs.ended(5)) == ("", Exit(4, "exit 4"))


def test_why_tells_events(person: Person) -> None:
    """`!why` has the last events about a process, living or dead."""
    person.type("!spawn echo.iasm", "!send 2 7")
    assert [event["kind"] for event in answer(person, "!why 2")["live"]["events"]] == ["process-started"]
    person.type("!send 2 0")
    events = answer(person, "!why 2")["dead"]["events"]
    assert [event["kind"] for event in events] == ["process-started", "process-crashed"]
    assert re.search(r"last events:\n    \S+ \S+Z process-started: echo.iasm\n", person.type("!why 2"))


def test_why_of_one_that_ended_normally(person: Person) -> None:
    """A normal end is told of the last few, too."""
    person.type("!spawn lines.iasm", rounds=5000)
    told = answer(person, "!why 2")
    assert told["past"]["how"] == {"reason": 0, "text": "normal", "fault": ""}
    said = person.type("!why 2")
    assert said.startswith("process 2 ended: normal\nlast output:\n")
    assert "    5999\nlast events:\n" in said
    assert "there is no process 99" in person.type("!why 99")


def test_a_list_says_what_is_not_in_it(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """`!ps` has as many processes as somebody may read, and says how many more there are."""
    monkeypatch.setattr(views, "MOST_LISTED", 2)
    for _ in range(3):
        person.type("!spawn echo.iasm")
    told = answer(person, "!ps")
    assert ([p["pid"] for p in told["processes"]], told["more"], told["silent"]) == ([1, 2], {"alpha": 2}, [])
    assert person.type("!ps --all").endswith("\n2 more on alpha\n>>> ")
    listing = ProcessList([], {}, ["beta"], "alpha")
    assert listing.text().endswith("\nbeta did not answer")


def test_a_title_is_no_node(person: Person) -> None:
    """What a program calls a process is taken as it is, whatever words stand in it."""
    data = assemble(HELLO).to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    person.type(f"!spawn_image {digest} {len(data)} 0 {base64.b64encode(data).decode()}")
    told = answer(person, f"!spawn_sent {digest} --start @ x on b.iasm --wait")
    assert (told["node"], told["program"]) == ("", "x on b.iasm --wait")
    assert "nowhere is not up" in person.type(f"!spawn_sent {digest} --wait nowhere x")
    assert "neither --wait nor --start" in person.type(f"!spawn_sent {digest} -w @ x")


def test_a_path_that_ends_like_a_node(person: Person, tmp_path: Path) -> None:
    """The last `on` names a node, always; how to type it for a file is told, and `on @` does it."""
    (tmp_path / "x on b.iasm").write_text(HELLO)
    told = person.type("!spawn x on b.iasm")
    assert told.startswith("error: b.iasm is not up; ")
    assert "for a file that is called 'x on b.iasm', type: !spawn x on b.iasm on @" in told
    assert "process 2 runs x on b.iasm\n" in person.type("!spawn x on b.iasm on @")
    assert "process 3 runs hello.iasm\n" in person.type("!spawn hello.iasm on @ --wait")
    assert person.type("!spawn hello.iasm on beta").endswith("lists who is\n>>> ")


def test_output_that_is_not_taken_is_told_once(person: Person) -> None:
    """A process that computes while nobody takes its output does not wake the node at each turn."""
    person.node.reactor.settle()
    processes, workers = person.node.processes, person.node.scheduler.workers
    source = ".code\nprti $1\nagain: inc $2\nload $3 @again\njmp $3\n"
    started: list[Process] = []
    processes.spawn(Program(assemble(source))).addCallback(started.append)
    started[0].pause()
    told: list[int] = []
    happened = workers.on_process
    workers.on_process = lambda record, ended: (told.append(int(record.pid)), happened(record, ended))[1]
    person.node.reactor.settle(20)
    record = processes.table.find(started[0].pid)
    assert record is not None
    assert record.turns > 5
    assert told == [started[0].pid]
    started[0].resume()
    assert started[0].output == "0"
    assert started[0].kill()
    person.node.reactor.settle()


def test_a_spawn_that_is_answered_late(person: Person) -> None:
    """Whoever stops reading before the process is started is told of it, and the process waits from the beginning;
    what comes of a spawn that was given up is dropped.
    """
    spawned: list[Deferred[Process]] = []
    prints: list[Any] = []

    def spawn(image: object, *, on_output: Any, **options: object) -> Deferred[Process]:
        prints.append(on_output)
        spawned.append(Deferred())
        return spawned[-1]

    person.node.reach.spawn = spawn  # type: ignore[method-assign]
    flow: list[tuple[bool, bool]] = []
    process = Process(person.node.processes, 7, lambda *told: flow.append(told))
    person.type("!spawn hello.iasm --wait")
    person.session.pause_output()
    prints[0]("early ")
    spawned[0].callback(process)
    assert flow == [(True, True)]
    assert person.read() == "process 7 runs hello.iasm\nearly "
    person.session.resume_output()
    assert flow == [(True, True), (True, False)]
    person.type("!stop", "!spawn hello.iasm --wait", "!stop")
    assert flow == [(True, True), (True, False), (False, False)]
    kept = weakref.ref(late := Text("late"))
    prints[1](late)
    del late
    assert kept() is None


class Text(str):
    """A text that can be seen to be dropped."""
