"""A session: assembly line by line, what is kept, what waits, and what stops at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridium.repl import session as session_module
from iridium.repl import workspace as workspace_module
from iridium.scheduler import turns as scheduler_module
from iridium.vm import VM
from iridium.vm.reference import Turn
from tests.repl_double import ENDLESS, FakeNode, Person

PROMPT = ">>> "
PRINTS_FOR_EVER = ("load $1 #65", "p: prtc $1", "load $31 @p", "jmp $31")


def test_greeting() -> None:
    """A session starts with the banner and a prompt."""
    seen: list[str] = []
    node = FakeNode()
    session = session_module.Session(node, seen.append, lambda: None)
    session.start()
    assert "".join(seen) == "Welcome to Iridium! Let's be productive!\n>>> "


def test_line_executes_and_says_nothing() -> None:
    """A line of assembly does its work; when there is nothing to tell, only the prompt comes."""
    person = Person()
    assert person.type("load $0 #5") == PROMPT
    assert person.type("load $1 #-70000", "add $0 $1 $2") == PROMPT * 2
    assert person.registers()[:3] == [5, -70000, -69995]


@pytest.mark.parametrize("line", ["", "   ", "\t", "; a comment", "  ; another", ";; load $0 #1"])
def test_nothing_to_do(line: str) -> None:
    """Blank lines and comments do nothing and are no error."""
    person = Person()
    assert person.type(line) == PROMPT
    assert not person.session.workspace.program.code


def test_output_starts_and_ends_on_its_own_line() -> None:
    """What a program prints stays apart from the prompt, whether it ends its line or not."""
    person = Person()
    assert person.type("h: .asciiz 'hello'", "n: .asciiz 'line\\n'") == PROMPT * 2
    assert person.type("prts @h") == "hello\n>>> "
    assert person.type("prts @n") == "line\n>>> "


def test_state_lives_on_between_lines() -> None:
    """Registers, heap and stack are as the last line left them."""
    person = Person()
    person.type("load $0 #4096", "aloc $0", "load $1 #77", "load $2 #100", "setm $2 $1", "push $1")
    person.type("loadm $2 $5", "pop $6")
    assert person.registers()[5:7] == [77, 77]


def test_float_constants() -> None:
    """A line may need a constant, which goes into the read-only data and stays there."""
    person = Person()
    person.type("loadf64 $0 #1.5", "loadf64 $1 #2.5", "addf64 $0 $1 $2")
    assert person.type("prtf64 $2") == "4.0\n>>> "


def test_end_of_code_is_a_pause() -> None:
    """Running, jumping, branching and looping to the end of the code are no faults; each instruction counts."""
    person = Person()
    program = person.session.workspace.program
    for line in ("nop", "load $1 #{end}", "jmp $1", "eq $0 $0", "load $1 #{end}", "jmpe $1"):
        # Of a two-line pair, the second jumps to the address behind itself.
        assert person.type(line.format(end=program.end + 8)) == PROMPT, line
    record = person.session.workspace.vm.record
    assert record.instructions == 6
    assert record.pc == program.end


def test_subroutine_returns_to_the_prompt(tmp_path: Path) -> None:
    """A typed call runs a subroutine that was loaded and comes back to the end of the code."""
    (tmp_path / "f.iasm").write_text(".code\nf: inc $3\nret\n")
    person = Person(FakeNode(tmp_path))
    person.type("!load_file f.iasm")
    assert person.type("call @f", "call @f") == PROMPT * 2
    vm = person.session.workspace.vm
    assert person.registers()[3] == 2
    assert vm.record.instructions == 6
    assert vm.record.sp == 0


def test_return_to_the_end_of_the_code() -> None:
    """RET to the address after the last instruction is a pause, and is counted like any instruction."""
    person = Person()
    workspace = person.session.workspace
    program = workspace.program
    # push the address after the `ret`, push a bp, and make them a frame
    end = program.base + 4 * 5
    person.type(f"load $1 #{end}", "push $1", "push $0")
    workspace.vm.record.bp = workspace.vm.record.sp
    person.type("nop")
    executed = workspace.vm.record.instructions
    assert person.type("ret") == PROMPT
    assert workspace.vm.record.pc == program.end == end
    assert workspace.vm.record.instructions == executed + 1
    assert workspace.vm.record.sp == 0
    assert len(program.code) == 20  # nothing of the device that found it out is left


def test_halt_is_told_and_kept() -> None:
    """HLT is reported, with its code where there is one; the line stays, and the next one goes on."""
    person = Person()
    assert person.type("hlt") == "halted\n>>> "
    assert person.type("load $0 #3") == PROMPT
    assert person.type("hltr $0") == "halted with code 3\n>>> "
    assert person.type("load $1 #4") == PROMPT
    assert person.registers()[1] == 4
    assert len(person.session.workspace.program.code) == 16


def test_fault_is_told_and_not_kept() -> None:
    """A fault names kind, pc and line; the line is gone, its effects before it are not; the next goes on."""
    person = Person()
    person.type("load $0 #5")
    program = person.session.workspace.program
    answer = person.type("x: div $0 $1 $2")
    pc = program.end
    assert answer == (
        f"fault: division-by-zero at pc {pc}: DIV divides 5 by $1, which is 0\n    x: div $0 $1 $2\n>>> "
    )
    assert "x" not in person.session.workspace.symbols
    assert program.end == pc == person.session.workspace.vm.record.pc
    assert person.type("x: inc $0") == PROMPT
    assert person.registers()[0] == 6


def test_fault_of_an_earlier_line() -> None:
    """A typed call that faults inside a subroutine is told with the subroutine's line, and is not kept itself."""
    person = Person()
    person.type("load $1 #1", "f: div $0 $1 $2", "load $1 #0")
    program = person.session.workspace.program
    code = bytes(program.code)
    answer = person.type("call @f")
    assert "division-by-zero" in answer
    assert "f: div $0 $1 $2" in answer
    assert program.code == code
    assert person.session.workspace.vm.record.pc == program.end


def test_read_only_data_of_a_dropped_line_is_gone() -> None:
    """Constants of a line that faults are zeroed again, and their place is used by the next line."""
    person = Person()
    person.type("nop")
    program = person.session.workspace.program
    # A float constant in the pool, then a fault of the same line: jump into nowhere through a word.
    person.session.workspace.vm.limits._replace(stack=0)
    fragment = person.session.workspace.add("loadf64 $0 #1.25", 1)
    assert any(program.read_only)
    person.session.workspace.drop(fragment)
    assert not any(program.read_only)
    assert person.session.workspace.read_only_used == 0
    assert len(program.code) == 4


def test_wrong_line_is_told_with_a_caret_and_not_kept() -> None:
    """A line that does not assemble is an error that shows where; nothing changes."""
    person = Person()
    answer = person.type("load $0 #5", "load $99 #1")
    assert "<input>:2:6: error:" in answer
    assert "^^^" in answer
    assert len(person.session.workspace.program.code) == 4
    assert person.registers()[0] == 5


def test_code_never_moves() -> None:
    """Data may be added after code: labels keep their addresses."""
    person = Person()
    person.type("start: inc $0")
    before = person.session.workspace.symbols["start"].value
    person.type("t: .asciiz 'text'", "inc $0")
    assert person.session.workspace.symbols["start"].value == before
    assert person.session.workspace.program.base == before


def test_endless_line_stops_at_once() -> None:
    """A line that never ends leaves the session awake: !stop ends it and says where; it is kept."""
    person = Person()
    assert person.type(*ENDLESS) == PROMPT * 2
    assert person.session.executing
    assert person.type("!stop").startswith("stopped at pc ")
    assert not person.session.executing
    assert len(person.session.workspace.program.code) == 12
    assert person.type("!registers").count(PROMPT) == 1


def test_interrupt_is_like_stop() -> None:
    """An interrupt stops what runs; with nothing running it says nothing."""
    person = Person()
    assert not person.session.interrupt()
    assert person.read() == ""
    person.type(*ENDLESS)
    assert person.session.interrupt()
    assert person.read().startswith("stopped at pc ")


def test_other_lines_wait_in_order() -> None:
    """Lines that come while a program runs are done after it, in the order they came; !stop goes first."""
    person = Person()
    person.type(*ENDLESS)
    assert person.type("load $5 #1", "shl $5 #3", "inc $5", "!registers --json") == ""
    assert person.registers()[5] == 0
    answer = person.type("!stop")
    assert answer.startswith("stopped at pc ")
    assert person.registers()[5] == 9
    assert '"registers":[' in answer
    assert list(person.session.history)[-5:] == ["!stop", "load $5 #1", "shl $5 #3", "inc $5", "!registers --json"]


def test_queue_is_bounded() -> None:
    """64 lines wait; one more is an error and is dropped, and !stop still gets through."""
    person = Person()
    person.type(*ENDLESS)
    for _ in range(64):
        assert person.type("inc $5", rounds=1) == ""
    dropped = person.type("inc $5", rounds=1)
    assert dropped.startswith("error: 64 lines wait already")
    assert '"kind":"CommandError"' in person.type("!registers --json", rounds=1)
    person.type("!stop", rounds=2000)
    assert person.registers()[5] == 64


def test_quit_waits_and_says_so() -> None:
    """!quit behind a running program waits for it and tells how to end that; then the session closes."""
    person = Person()
    person.type(*ENDLESS)
    assert "!stop or Ctrl-C" in person.type("!quit")
    assert person.closed == 0
    assert "bye" in person.type("!stop")
    assert person.closed == 1
    assert person.type("!registers") == ""


def test_quit_stops_the_lines_behind_it() -> None:
    """Nothing that was typed after !quit is done."""
    person = Person()
    person.type(*ENDLESS)
    person.type("!quit", "load $5 #1", "!stop")
    assert person.closed == 1
    assert person.registers()[5] == 0


def test_nothing_to_stop() -> None:
    """!stop without a program says so and is no error."""
    assert Person().type("!stop") == "nothing is running\n>>> "


def test_sessions_share_nothing() -> None:
    """Two sessions of a node have their own registers, labels, programs and history."""
    node = FakeNode()
    one, other = Person(node), Person(node)
    one.type("label: load $0 #5")
    assert "error" in other.type("load $0 @label")
    assert other.registers()[0] == 0
    other.type(*ENDLESS)
    assert one.type("inc $0") == PROMPT
    assert one.registers()[0] == 6
    other.session.end()
    assert node.reactor.calls == []


def test_submit_tells_when_a_line_is_done() -> None:
    """The Deferred of a line fires when that line's last word is written, not before."""
    person = Person()
    done: list[int] = []
    person.session.submit("load $0 #1").addCallback(lambda _: done.append(1))
    person.session.submit("!nonsense").addCallback(lambda _: done.append(2))
    assert done == []
    person.node.reactor.settle()
    assert done == [1, 2]


def test_pasted_program_leaves_the_reactor_its_turns() -> None:
    """Hundreds of quick lines at once are all done, a few dozen between two rounds of the reactor."""
    person = Person()
    done: list[int] = []
    for number in range(300):
        person.session.submit("; nothing").addCallback(lambda _, n=number: done.append(n))
    assert len(done) == session_module.LINES_A_TURN
    person.node.reactor.iterate()
    assert len(done) == 2 * session_module.LINES_A_TURN
    person.node.reactor.settle()
    assert done == list(range(300))


def test_reader_who_does_not_read_stops_the_program() -> None:
    """While the output is paused the program waits with a full ring and uses no turns; then it goes on."""
    person = Person()
    person.type(*PRINTS_FOR_EVER)
    person.session.pause_output()
    person.node.reactor.settle()
    person.read()
    record = person.session.workspace.vm.record
    executed = record.instructions
    assert person.node.reactor.calls == []
    person.session.resume_output()
    person.node.reactor.iterate(3)
    assert set(person.read()) == {"A"}
    assert record.instructions > executed
    person.session.end()


def test_pausing_in_the_middle_of_a_write() -> None:
    """A transport that pauses while it is written to gets no more than the piece at hand."""
    person = Person()
    person.type("t: .asciiz 'abcdefgh'", "p: prts @t", "load $31 @p")
    person.session._screen._write_out = lambda text: (person._write(text), person.session.pause_output())
    person.session.line("jmp $31")
    person.node.reactor.settle()
    assert 0 < len(person.read()) <= 2 * 64 * 1024
    person.session.interrupt()
    person.node.reactor.settle()
    assert person.session.workspace.vm.output.full is False


def test_stop_drops_what_nobody_read() -> None:
    """!stop ends a printing program even when its reader does not read: what is left is dropped."""
    person = Person()
    person.type(*PRINTS_FOR_EVER)
    person.session.pause_output()
    person.node.reactor.settle()
    person.read()
    assert person.session.interrupt()
    assert not person.session.executing
    assert len(person.session.workspace.vm.output) == 0


def test_output_of_a_line_that_faults_is_shown_first() -> None:
    """A line's output comes before the report of its fault, also when the reader was slow."""
    person = Person()
    person.type("t: .asciiz 'text'", "load $7 #0", "f: prts @t", "load $31 #5")
    person.session.pause_output()
    person.session.line("jmp $31")
    person.node.reactor.settle()
    person.session.resume_output()
    person.node.reactor.settle()
    answer = person.read()
    assert "fault: bad-jump" in answer
    person.session.pause_output()
    person.session.line("call @f")
    person.node.reactor.settle()
    assert person.read() == ""
    person.session.resume_output()
    person.node.reactor.settle()
    answer = person.read()
    assert answer.index("text") < answer.index(">>> ")


def test_end_releases_everything() -> None:
    """When the connection is gone the program is stopped, nobody is followed, nothing is scheduled."""
    node = FakeNode()
    person = Person(node)
    done: list[None] = []
    person.type(*ENDLESS)
    person.session.submit("inc $1").addCallback(done.append)
    person.session.end()
    person.session.end()
    assert done == [None]
    assert node.texts.followers == []
    assert node.reactor.calls == []
    assert node.scheduler.running == 0
    assert person.type("load $5 #1") == ""
    assert person.registers()[5] == 0


def test_end_cancels_what_is_waited_for() -> None:
    """A command that waits for the cluster is cancelled when its session ends."""
    person = Person()
    cancelled: list[object] = []
    person.node.mesh.joining.addErrback(lambda failure: cancelled.append(failure) or failure)
    person.type("!join_cluster 127.0.0.1:2255")
    person.session.end()
    assert len(cancelled) == 1


def test_interrupt_cancels_what_is_waited_for() -> None:
    """Ctrl-C during a join gives the prompt back; so does !stop."""
    person = Person()
    person.type("!join_cluster 127.0.0.1:2255")
    assert person.session.busy
    assert person.type("load $0 #1") == ""
    assert person.type("!stop") == "error: interrupted\n>>> >>> "
    assert person.registers()[0] == 1


def test_texts_of_other_nodes() -> None:
    """A text appears in every session, on a line of its own, control characters escaped; then the prompt."""
    node = FakeNode()
    one, other = Person(node), Person(node)
    node.texts.arrive("beta", "hi\x1b[2J\nthere\u202e")
    assert one.read() == other.read() == "\n* beta: hi\\x1b[2J\\nthere\\u202e\n>>> "


def test_texts_while_a_program_prints() -> None:
    """A text does not break into the middle of a line without a newline before it."""
    person = Person()
    person.type("load $1 #65", "prtc $1", *ENDLESS)
    person.node.texts.arrive("beta", "hi")
    assert person.read() == "* beta: hi\n"
    person.session.end()


def test_texts_for_somebody_who_does_not_read() -> None:
    """Texts that cannot be written are kept, the last 64 of them, and shown later."""
    person = Person()
    person.session.pause_output()
    for number in range(100):
        person.node.texts.arrive("beta", str(number))
    assert person.read() == ""
    person.session.resume_output()
    answer = person.read()
    assert answer.count("* beta") == 64
    assert "* beta: 99\n" in answer


def test_history_is_bounded() -> None:
    """History keeps the last lines, each cut to a length."""
    person = Person()
    person.type(*(f"; {number}" for number in range(300)), "; " + "x" * 10_000)
    history = person.session.history
    assert len(history) == 256
    assert len(history[-1]) < 300


def test_unexpected_error_is_logged_and_told(logged_failures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a command costs that line only: the person is told, the log has the traceback."""
    person = Person()
    monkeypatch.setattr(person.node.mesh, "members", lambda: [][0])
    assert "a bug of Iridium (IndexError)" in person.type("!members")
    assert '"error"' in person.type("!members --json")
    assert person.type("inc $0") == PROMPT
    assert len(logged_failures) == 2
    logged_failures.clear()


def test_broken_engine_is_told(logged_failures: list[str]) -> None:
    """When the engine breaks, the line is reported as not done and dropped, and the session goes on."""

    def broken(vm: VM, budget: int) -> Turn:
        raise ZeroDivisionError("a bug")

    person = Person()
    good, person.node.scheduler.engine = person.node.scheduler.engine, broken
    assert "a bug of Iridium" in person.type("inc $0")
    person.node.scheduler.engine = good
    assert person.type("inc $0") == PROMPT
    assert person.registers()[0] == 1
    logged_failures.clear()


def test_node_that_runs_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the scheduler has no room for is an error and is not kept."""
    person = Person()
    monkeypatch.setattr(scheduler_module, "MAX_RUNNING", 0)
    assert "programs already" in person.type("inc $0")
    assert not person.session.workspace.program.code
    monkeypatch.undo()
    assert person.type("inc $0") == PROMPT


def test_program_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session's program cannot grow without end, neither in code nor in labels."""
    monkeypatch.setattr(workspace_module, "MAX_CODE", 8)
    monkeypatch.setattr(workspace_module, "MAX_SYMBOLS", 1)
    person = Person()
    person.type("inc $0", "inc $0")
    assert "!clear_program" in person.type("inc $0")
    assert person.registers()[0] == 2
    person.type("a:")
    assert "labels" in person.type("b:")
    person.type("!clear_program")
    assert person.type("b: inc $0") == PROMPT


def test_control_characters_are_never_echoed() -> None:
    """What somebody types wrong comes back escaped."""
    answer = Person().type("load \x1b]0;title\x07 #1", "!\x1b[2J", "!heap \x9b31m")
    assert all(c.isprintable() or c == "\n" for c in answer)
    assert "\\x1b" in answer
