"""The command that tells what runs programs, and how far it got: of the session's machine and of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from iridium.repl.commands.table import Answer, Command, Result, columns

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "running it"


class MachineStats(msgspec.Struct):
    """The session's machine.

    Attributes:
        tier: the fastest form that its program has: "reference", "interpreter" or "compiled".
        instructions: executed since the last ``!run`` or ``!load_file``, a turn that goes on not counted.
        turns: that it was given.
        compile_seconds: how long compiling the program took, or None where it is not compiled.
        from_cache: whether the compiled code was found on disk.
        running: whether it runs now.
    """

    tier: str
    instructions: int
    turns: int
    compile_seconds: float | None
    from_cache: bool
    running: bool


class WorkerStats(msgspec.Struct):
    """What one worker thread has done since the node started."""

    turns: int
    instructions: int


class Stats(Result):
    """What runs programs here.

    Attributes:
        engine: the choice: "auto", "reference", "native" or "compiled".
        llvm: whether LLVM is loaded.
        problem: why the engine that was chosen cannot be had, or None.
        threads: worker threads that the node may use.
        programs: VMs that run on the node, those that wait included.
        machine: the session's.
        workers: each worker thread; none before the first program runs on.
    """

    engine: str
    llvm: bool
    problem: str | None
    threads: int
    programs: int
    machine: MachineStats
    workers: list[WorkerStats]

    def text(self) -> str:
        """Names and values, the session's machine first."""
        machine = self.machine
        rows = [
            ("tier", f"{machine.tier}{', running' if machine.running else ''}"),
            ("instructions", str(machine.instructions)),
            ("turns", str(machine.turns)),
        ]
        if machine.compile_seconds is not None:
            where = ", from the cache" if machine.from_cache else ""
            rows.append(("compile time", f"{1e3 * machine.compile_seconds:.1f} ms{where}"))
        rows += [
            ("engine", self.engine),
            ("LLVM", "loaded" if self.llvm else self.problem or "not loaded"),
            ("threads", str(self.threads)),
            ("programs", f"{self.programs} running on this node"),
        ]
        for number, worker in enumerate(self.workers):
            rows.append((f"worker {number}", f"{worker.turns} turns, {worker.instructions} instructions"))
        return columns(rows)


def show_stats(session: Session, arguments: list[str]) -> Answer:
    """``!stats``."""
    scheduler = session.node.scheduler
    workers = scheduler.workers
    return Stats(
        scheduler.choice,
        workers is not None and bool(workers.available),
        str(scheduler.problem) if scheduler.problem is not None else None,
        session.node.logical_cores,
        scheduler.running,
        _machine(session),
        [WorkerStats(*counts) for counts in workers.worker_counts] if workers is not None else [],
    )


def _machine(session: Session) -> MachineStats:
    vm = session.workspace.vm
    native = vm.program.frozen().native
    compiled = native.compiled if native is not None else None
    tier = "reference" if native is None else "interpreter" if compiled is None else "compiled"
    return MachineStats(
        tier,
        vm.record.instructions,
        vm.record.turns,
        compiled.seconds if compiled is not None else None,
        compiled is not None and compiled.from_cache,
        session.executing,
    )


COMMANDS = (
    Command(
        "!stats",
        GROUP,
        "show what runs programs here: engine, tier, instructions, turns, threads",
        show_stats,
        Stats,
        urgent=True,
    ),
)
