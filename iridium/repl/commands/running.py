"""Commands that run the program of a session, or stop it, and how the end of a run is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred

from iridium.errors import CommandError
from iridium.repl.commands.table import Answer, Command, Result, number
from iridium.repl.execution import Ending
from iridium.repl.visible import shortened
from iridium.repl.workspace import Workspace
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "running it"

MOST_STEPS = 2**31 - 1
"""The most instructions of a step; ``!run`` has no limit, and both can be stopped."""


class FaultReport(msgspec.Struct):
    """A fault, as :class:`iridium.vm.Crash` has it, and the text of the instruction."""

    kind: str
    pc: int
    line: int | None
    message: str
    text: str


class RunResult(Result):
    """How a program, a step or a typed line ended.

    Attributes:
        outcome: "end" (of the code), "halted", "fault", "stopped", "limit" (of a step) or "failed" (a bug).
        code: the code of HLT or HLTR, or None.
        pc: the address where it is now.
        instructions: how many were executed.
        next: the instruction at pc, or None at the end of the code.
        fault: the fault, or None.
    """

    outcome: str
    code: int | None
    pc: int
    instructions: int
    next: str | None
    fault: FaultReport | None

    @property
    def failed(self) -> bool:
        """Whether it ended in a fault, or a bug."""
        return self.outcome in ("fault", "failed")

    def text(self) -> str:
        """What somebody has to know who sees the output."""
        if self.fault is not None:
            where = f"pc {self.fault.pc}" + (f", line {self.fault.line}" if self.fault.line else "")
            return f"fault: {self.fault.kind} at {where}: {self.fault.message}\n    {self.fault.text}"
        if self.outcome == "halted":
            return f"halted with code {self.code}" if self.code else "halted"
        if self.outcome == "failed":
            return "the engine failed: a bug of Iridium, which the node's log tells more about"
        here = f"pc {self.pc}: {self.next}" if self.next is not None else f"pc {self.pc}, the end of the code"
        return {"end": "the end of the code", "stopped": f"stopped at {here}"}.get(self.outcome, here)


class StepResult(RunResult):
    """How a step ended."""

    def text(self) -> str:
        """The same, and the instruction that is next."""
        said = RunResult.text(self)
        if self.outcome in ("halted", "stopped", "limit") or self.next is None:
            return said
        return f"{said}\npc {self.pc}: {self.next}" if self.fault is None else said


class StopResult(Result):
    """Whether something was stopped, and where the machine is."""

    stopped: bool
    pc: int

    def text(self) -> str:
        """Only where there was nothing to stop: what was stopped says so itself."""
        return "" if self.stopped else "nothing is running"


def report(workspace: Workspace, ending: Ending, kind: type[RunResult] = RunResult) -> RunResult:
    """What to tell about an ending; called before anything is taken from the program."""
    fault = None
    if ending.crash is not None:
        crash = ending.crash
        text = shortened(workspace.text_at(crash.pc), 120)
        fault = FaultReport(crash.kind.value, crash.pc, crash.line, crash.message, text)
    following = shortened(workspace.text_at(ending.pc), 120) or None
    return kind(ending.outcome, ending.code, ending.pc, ending.executed, following, fault)


def run(session: Session, arguments: list[str]) -> Answer:
    """``!run``."""
    _require_code(session.workspace)
    return start(session)


def start(session: Session, limit: int | None = None, *, whole: bool = False) -> Deferred[Result]:
    """Run the program of a session from its first instruction.

    Args:
        session: whose.
        limit, whole: as :meth:`Session.execute` has them.
    """
    workspace = session.workspace
    vm, events = workspace.vm, session.node.events
    vm.reset()
    running = session.execute(limit, whole=whole)
    events.add("vm-started", vm.uuid, workspace.file or "typed lines")

    def ended(ending: Ending) -> Result:
        result = report(workspace, ending)
        if ending.outcome in ("fault", "failed"):
            events.add("vm-crashed", vm.uuid, str(ending.crash or "the engine failed"))
        else:
            events.add("vm-stopped", vm.uuid, result.text())
        return result

    return running.addCallback(ended)


def step(session: Session, arguments: list[str]) -> Answer:
    """``!step``."""
    workspace = session.workspace
    count = number(arguments[0], "the number of instructions", 1, MOST_STEPS) if arguments else 1
    _require_code(workspace)
    if workspace.vm.record.pc == workspace.program.end:
        raise CommandError(
            "pc is at the end of the code: there is nothing to step; !run starts from the beginning"
        )
    stepping = session.execute(limit=count)
    return stepping.addCallback(lambda ending: report(workspace, ending, StepResult))


def stop(session: Session, arguments: list[str]) -> Answer:
    """``!stop``."""
    stopped = session.interrupt()
    return StopResult(stopped, session.workspace.vm.record.pc)


def _require_code(workspace: Workspace) -> None:
    if not workspace.program.code:
        raise CommandError("there is no program; type some lines, or load a file with !load_file PATH")


COMMANDS = (
    Command(
        "!run",
        GROUP,
        Role.OPERATOR,
        "run the program from its first instruction, with fresh registers, stack and heap",
        run,
        RunResult,
    ),
    Command(
        "!step",
        GROUP,
        Role.OPERATOR,
        "execute N instructions from pc, 1 if not said, and show the next",
        step,
        StepResult,
        "[N]",
        most=1,
    ),
    Command("!stop", GROUP, Role.READ_ONLY, "stop what is running, at once", stop, StopResult, urgent=True),
)
