"""A session: lines in, text out. Telnet, the local prompt and tests put a transport around it.

A line is an assembly line, a command that starts with ``!``, or nothing. Lines are done one after the other; what
takes time keeps the session busy, and the lines after it wait. ``!stop`` and
:meth:`Session.interrupt` do not wait.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from iridium.assembler import Fragment
from iridium.errors import CommandError, IridiumError
from iridium.processes import Process
from iridium.repl.children import Children
from iridium.repl.commands import TABLE
from iridium.repl.commands.running import report
from iridium.repl.commands.table import (
    InterruptedCommandError,
    Result,
    render,
    render_error,
    split_json,
)
from iridium.repl.execution import Ending, Execution
from iridium.repl.family import Family
from iridium.repl.screen import BANNER, Screen, missed
from iridium.repl.services import Node
from iridium.repl.visible import shortened
from iridium.repl.workspace import Workspace
from iridium.roles import Role, RoleError

LINES_A_TURN = 32
"""Lines that are done in one go: after them the node serves its other connections first."""

HISTORY = 256
"""Lines of history, each cut at :data:`LONGEST_REMEMBERED` characters: 64 KiB a session."""

LONGEST_REMEMBERED = 256

RUNS_CODE = Role.OPERATOR
"""The role that a line of assembly needs: a program can start, stop and talk to whatever has a pid."""

READ_ONLY = "this session is read-only: it sees everything and changes nothing; !help lists what it can do\n"


class _Line:
    """One line on its way.

    Attributes:
        text: what was typed.
        error: why it cannot be done, where that is known already.
        done: fires when it is completely done.
        as_json: whether the answer is to be JSON.
    """

    __slots__ = ("as_json", "done", "error", "text")

    def __init__(self, text: str, error: IridiumError | None = None) -> None:
        self.text = text
        self.error = error
        self.done: Deferred[None] = Deferred()
        self.as_json = error is None and text.lstrip().startswith("!") and split_json(text)[1]


class Session:
    """One person's or tool's conversation with a node, with a VM and a program of its own.

    Args:
        node: the node.
        write: takes text for the other end; lines end with a newline.
        close: called when the session is over from this end.
        local: whether it may load any file that the node's user can read.
        role: what it may do.
        prompts: whether it asks for lines.
        errors: takes errors for people, where they do not go where answers go.
        on_idle: called whenever the session is ready for another line.

    Attributes:
        node: the node.
        local, role: as given.
        history: the last lines, the oldest first.
        workspace: its VM and program.
        children: shows what processes do that it has spawned or observes.
        account: what its program and processes draw their instructions from, or None where there is no limit.
        lines_done: how many lines are completely done.
        failed: whether any of them was an error or ended in a fault.
        began: when the line that is being done began, by the reactor's clock.
    """

    _log = Logger(namespace="iridium")

    def __init__(
        self,
        node: Node,
        write: Callable[[str], None],
        close: Callable[[], None],
        *,
        local: bool = False,
        role: Role = Role.OPERATOR,
        prompts: bool = True,
        errors: Callable[[str], None] | None = None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.local = local
        self.role = role
        self.history: deque[str] = deque(maxlen=HISTORY)
        self.children = Children(self._news, node.reactor.callLater, node.reach.label)
        record = node.processes.session_record(self.children)
        self.workspace = Workspace(node.logical_cores, record, node.limits.heap)
        self.account = node.scheduler.governor.open()
        if self.account is not None:
            self.workspace.vm.record.account = ctypes.addressof(self.account)
        self.lines_done = 0
        self.failed = False
        self.began = 0.0
        self._screen = Screen(write, prompts)
        self._errors = errors
        self._close = close
        self._on_idle = on_idle
        self._line_number = 0
        # What is being done, what waits for it, and what may stop it.
        self._current: _Line | None = None
        self._queue: deque[_Line] = deque()
        self._working: Deferred[Any] | None = None
        self._execution: Execution | None = None
        # Lines done since the reactor had its turn, and the call that goes on after it.
        self._burst = 0
        self._breath: Any = None
        self._pumping = False
        self._urgent = False
        self._quitting = False
        self._ended = False
        self._unfollow: Callable[[], None] | None = None
        # The process whose output the line that is being done shows and waits for; and the pid of one that it only
        # watches, with the characters that could not be shown.
        self._source: Process | None = None
        self._watched = 0
        self._missed = 0
        # The processes of a program that is all there is, while it runs.
        self._family: Family | None = None

    @property
    def pid(self) -> int:
        """Of its VM, which is a process; 0 where the node had no slot for it."""
        return int(self.workspace.vm.record.pid)

    @property
    def busy(self) -> bool:
        """Whether a line would have to wait."""
        return self._current is not None or bool(self._queue)

    @property
    def _reads(self) -> bool:
        return not (self._screen.paused or self._ended)

    @property
    def executing(self) -> bool:
        """Whether a program runs."""
        return self._execution is not None

    @property
    def attended(self) -> bool:
        """Whether it runs a program for somebody who waits for all of it, and whose end ends it."""
        return self._family is not None

    @property
    def held_back(self) -> bool:
        """Whether its program, on the reactor thread, waits for its account to be filled up."""
        return self._execution is not None and self._execution.held_back

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return len(self._queue)

    def start(self) -> None:
        """Greet."""
        self._unfollow = self.node.texts.follow(self._screen.announce)
        self._screen.write(BANNER)
        if not self.role.allows(Role.OPERATOR):
            self._screen.write(READ_ONLY)
        self._screen.prompt()

    def line(self, text: str) -> None:
        """Take a line; while something is executing and as many wait as may, it is refused with an error."""
        line = _Line(text)
        most = self.node.limits.session_queue
        if len(self._queue) >= most and not self._acts_at_once(line):
            refused = CommandError(
                f"{most} lines wait already, so this one was dropped; !stop ends what is running"
            )
            self._screen.write_line(render_error(refused, as_json=line.as_json))
        else:
            self._accept(line)

    def submit(self, text: str) -> Deferred[None]:
        """Take a line from somebody who waits until it is done before sending many more.

        Returns:
            Fires when the line is completely done, whatever came of it.
        """
        return self._accept(_Line(text))

    def reject(self, error: IridiumError) -> Deferred[None]:
        """Take a line that could not even be read: its turn is spent on the error."""
        return self._accept(_Line("", error))

    def interrupt(self) -> bool:
        """Stop what is executing, at once.

        Returns:
            Whether there was anything.
        """
        if self._execution is not None:
            self._execution.stop()
        elif self._working is not None:
            self._working.cancel()
        else:
            return False
        return True

    def pause_output(self) -> None:
        """The other end does not read: a program that prints waits, a process that a line waits for, all lines."""
        self._screen.paused = True
        if self._execution is not None:
            self._execution.pause()
        if self._source is not None:
            self._source.pause()

    def resume_output(self) -> None:
        """The other end reads again."""
        self._screen.resume()
        if self._reads:
            self.show_missed()
        if self._execution is not None and self._reads:
            self._execution.resume()
        if self._family is not None and self._reads:
            self._family.resume()
        if self._source is not None and self._reads:
            self._source.resume()
        self._pump()

    def quit(self) -> None:
        """End the session after the line that is being done."""
        self._quitting = True

    def end(self) -> None:
        """The other end is gone: stop everything and let go of everything. Twice is as good as once."""
        if self._ended:
            return
        self._ended = True
        self._screen.end()
        if self._unfollow is not None:
            self._unfollow()
        if self._breath is not None:
            self._breath.cancel()
        self.interrupt()
        self.children.end()
        self._alone()
        if self.account is not None:
            governor, used, account = self.node.scheduler.governor, self.workspace.vm, self.account
            self.node.scheduler.workers.when_dropped(used.record, lambda: governor.close(account))
        record = self.workspace.give_back()
        if record is not None:
            self.node.processes.end_session(record)
        while self._queue:
            self._queue.popleft().done.callback(None)

    def execute(self, limit: int | None = None, *, whole: bool = False) -> Deferred[Ending]:
        """Run the session's VM from its pc; for commands.

        Args:
            limit: the most instructions, or None.
            whole: whether the program is all there is: running past its end is a fault then, and what its
                processes print is shown with its own output, for whose reader they wait too.

        Returns:
            Fires with how it ended, once its output is written.

        Raises:
            TooManyRunningError: the node runs as many programs as it can.
        """
        as_json = self._current is not None and self._current.as_json
        execution = self._execution = Execution(
            self.node.scheduler,
            self.workspace.vm,
            self._screen.write_json_output if as_json else self._screen.write,
            limit=limit,
            paused=self._screen.paused,
            whole=whole,
        )
        if whole:
            reactor = self.node.reactor
            family = self._family = Family(
                self.node.processes, self.pid, self.show_output, lambda: self._screen.paused, reactor.callLater
            )
            self.children.joined = family.printed
        return execution.done.addCallback(self._executed)

    def _executed(self, ending: Ending) -> Ending | Deferred[Ending]:
        self._execution = None
        if self._family is not None:
            shown: Deferred[Any] = self._family.finish()
            return shown.addBoth(lambda _: self._alone()).addCallback(lambda _: ending)
        return ending

    # One line after the other.

    def _acts_at_once(self, line: _Line) -> bool:
        return self._current is not None and line.error is None and TABLE.is_urgent(line.text, self.role)

    def _accept(self, line: _Line) -> Deferred[None]:
        done = line.done
        if self._ended or self._quitting:
            done.callback(None)
        elif self._acts_at_once(line):
            self._act(line)
        else:
            self._queue.append(line)
            if self._execution is not None and line.text.strip() == "!quit":
                self._screen.write_line("!quit waits for the program to end; !stop or Ctrl-C ends it\n")
            self._pump()
        return done

    def _act(self, line: _Line) -> None:
        """Do an urgent command in the middle of another line."""
        self._remember(line.text)
        self._urgent = True
        try:
            result = TABLE.parse(line.text, self.role)
            answer = result.command.function(self, result.arguments)
            assert isinstance(answer, Result), "urgent commands answer at once"
            self._screen.write_line(render(answer, as_json=line.as_json))
        finally:
            self._urgent = False
        if self._current is None:
            self._screen.prompt()
        line.done.callback(None)
        self._pump()

    def _pump(self) -> None:
        """Do the lines that wait, until one takes time."""
        if self._pumping or self._urgent:
            return
        self._pumping = True
        try:
            while self._queue and self._current is None and self._breath is None and self._reads:
                if self._burst >= LINES_A_TURN:
                    self._breath = self.node.reactor.callLater(0, self._breathed)
                    return
                self._burst += 1
                self._begin(self._queue.popleft())
        finally:
            self._pumping = False
        if not self.busy and not self._ended:
            self._on_idle()

    def _breathed(self) -> None:
        self._breath = None
        self._burst = 0
        self._pump()

    def _begin(self, line: _Line) -> None:
        self._current = line
        self.began = self.node.reactor.seconds()
        self._screen.entered()
        working: Deferred[Result | None] = maybeDeferred(self._do, line)
        self._working = working
        working.addCallbacks(self._show, self._show_error, callbackArgs=(line,), errbackArgs=(line,))
        working.addErrback(lambda failure: self._log.failure("an answer could not be written", failure))
        working.addBoth(lambda _: self._finish(line))

    def _do(self, line: _Line) -> Any:
        """Do one line.

        Returns:
            The result or a Deferred of it; None where there is nothing to say.
        """
        if line.error is not None:
            raise line.error
        text = line.text.strip()
        if text:
            self._remember(text)
        if text.startswith("!"):
            call = TABLE.parse(text, self.role)
            return call.command.function(self, call.arguments)
        if text and not text.startswith(";"):
            if not self.role.allows(RUNS_CODE):
                raise RoleError("a line of assembly", self.role, RUNS_CODE)
            return self._run_line(line.text)
        return None

    def _finish(self, line: _Line) -> None:
        self._current = self._working = None
        self.lines_done += 1
        if self._quitting and not self._ended:
            self.end()
            self._close()
        if not self._urgent:
            self._screen.prompt()
        line.done.callback(None)
        self._pump()

    def _remember(self, text: str) -> None:
        self.history.append(shortened(TABLE.shown(text), LONGEST_REMEMBERED))

    # Assembly.

    def _run_line(self, text: str) -> Deferred[Result | None] | None:
        """Add a line of assembly to the program and execute it."""
        self._line_number += 1
        fragment = self.workspace.add(text, self._line_number)
        if not fragment.code:
            self.workspace.keep(fragment)
            return None
        try:
            running = self.execute()
        except IridiumError:
            self.workspace.drop(fragment)
            raise
        return running.addCallback(self._line_ran, fragment)

    def _line_ran(self, ending: Ending, fragment: Fragment) -> Result | None:
        # The text of a line that is not kept is still known here.
        result = report(self.workspace, ending)
        if ending.outcome in ("fault", "failed"):
            self.workspace.drop(fragment)
        else:
            self.workspace.keep(fragment)
        return None if ending.outcome == "end" else result

    # What the other end sees.

    def _news(self, source: str, line: str) -> None:
        self._screen.news(source, line)

    def show(self, result: Result, *, anyway: bool = False) -> None:
        """Show a result before the line that it belongs to is done.

        Args:
            result: dropped while the other end does not read, since more may come without end.
            anyway: whether it is shown all the same.
        """
        if self._reads or anyway:
            as_json = self._current is not None and self._current.as_json
            self._screen.write_line(render(result, as_json=as_json))

    def _alone(self) -> None:
        """Whatever processes print belongs to no program any more."""
        family, self._family = self._family, None
        self.children.joined = None
        if family is not None:
            family.stop()

    def reads_from(self, process: Process | None) -> None:
        """The line that is being done waits for this process, or for none any more, and shows all that it prints:
        while the other end does not read, the process waits.
        """
        self._source = process
        if process is not None and self._screen.paused and not self._ended:
            process.pause()

    def show_output(self, text: str) -> None:
        """Show what a process prints that waits for the reader of this session."""
        as_json = self._current is not None and self._current.as_json
        (self._screen.write_json_output if as_json else self._screen.write)(text)

    def show_observed(self, pid: int, text: str) -> None:
        """Show what a process prints that waits for nobody: what the other end does not read is only counted."""
        if self._reads:
            self.show_output(text)
        else:
            self.miss(pid, len(text))

    def miss(self, pid: int, count: int) -> None:
        """Say how much of the output of a process is not shown, once the other end reads."""
        self._watched = pid
        self._missed += count
        if self._reads:
            self.show_missed()

    def show_missed(self) -> None:
        """Say so now, before more of it or its end is shown."""
        if self._missed:
            label = self.node.reach.label(self._watched)
            self._screen.write_line(f"[{label}] {missed(self._missed)}\n")
            self._missed = 0

    def _show(self, result: Result | None, line: _Line) -> None:
        if result is not None:
            self._tell(render(result, as_json=line.as_json), line, result.failed)

    def _show_error(self, failure: Failure, line: _Line) -> None:
        error: BaseException | None = failure.value
        if isinstance(error, CancelledError):
            error = InterruptedCommandError("interrupted")
        if not isinstance(error, IridiumError):
            self._log.failure(
                "a line of a session failed: {line}", failure, line=shortened(TABLE.shown(line.text))
            )
            error = IridiumError(f"a bug of Iridium ({type(error).__name__}); the node's log tells more about it")
        self._tell(render_error(error, as_json=line.as_json), line, failed=True)

    def _tell(self, text: str, line: _Line, failed: bool) -> None:
        """Show what came of a line."""
        self.failed = self.failed or failed
        if failed and self._errors is not None and not line.as_json:
            self._errors(text)
        else:
            self._screen.write_line(text)
