"""The command that tells what runs programs, and how far it got: of the session's machine and of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from iridium.processes.types import Exchange
from iridium.repl.commands.table import Answer, Command, Result, columns
from iridium.resources import measure
from iridium.roles import Role

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


class ProcessStats(msgspec.Struct):
    """The processes of the node, and what of their messages came to nothing since it started.

    Attributes:
        alive: processes, sessions, mailboxes of Python, and pids that stand for processes of other nodes.
        dead_letters: messages to nobody.
        overruns: messages that found a full mailbox.
        unread: messages that were in mailboxes when their processes ended.
        lost: what waited for other nodes when the sessions with them ended.
        false_images: images from other nodes that were not what their hash says.
        nodes: what was exchanged with each other node.
    """

    alive: int
    dead_letters: int
    overruns: int
    unread: int
    lost: int
    false_images: int
    nodes: list[Exchange]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values."""
        rows = [
            ("processes", f"{self.alive} pids on this node"),
            (
                "messages",
                f"{self.dead_letters} to nobody, {self.overruns} to full mailboxes, {self.unread} unread when "
                f"their receivers ended, {self.lost} not yet sent when a node was lost",
            ),
        ]
        if self.false_images:
            rows.append(("images", f"{self.false_images} not what their hash says"))
        for e in self.nodes:
            rows.append(
                (
                    f"node {e.node}",
                    f"{e.sent} payloads sent, {e.received} received, {e.resent} resent, {e.repeated} repeated, "
                    f"{e.dropped} not known to have arrived; {e.refused} messages refused, "
                    f"{e.unknown} pids unknown",
                )
            )
        return rows


class RateStats(msgspec.Struct):
    """How the session stands with its limit of instructions a second.

    Attributes:
        limit: instructions a second of its program and the processes that it has started.
        left: instructions that they may execute at once.
        held_back: VMs that wait until there is something left.
    """

    limit: int
    left: int
    held_back: int


class ResourceStats(msgspec.Struct):
    """What the node takes, and what it holds: each is level over days, or something leaks.

    Attributes:
        memory: bytes that are resident, or None where the system does not tell; likewise the next two.
        descriptors: files and connections that are open.
        threads: of its process.
        delayed_calls: what its reactor is to do later.
        peers: other nodes that it knows of, those that are gone included.
        half_open: connections in a handshake.
        sessions: of its shell.
        events: that are kept.
    """

    memory: int | None
    descriptors: int | None
    threads: int | None
    delayed_calls: int
    peers: int
    half_open: int
    sessions: int
    events: int

    def rows(self) -> list[tuple[str, str]]:
        """Names and values."""
        memory = "unknown" if self.memory is None else f"{self.memory / 1e6:.1f} MB resident"
        known = [
            f"{'?' if count is None else count} {what}"
            for count, what in ((self.descriptors, "descriptors"), (self.threads, "threads"))
        ]
        return [
            ("memory", memory),
            ("open", f"{', '.join(known)}, {self.delayed_calls} delayed calls"),
            (
                "held",
                f"{self.peers} peers, {self.half_open} connections in a handshake, {self.sessions} sessions, "
                f"{self.events} events",
            ),
        ]


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
        processes: those of the node, and what became of their messages.
        loading: whether LLVM is being loaded, and programs that are hot wait for it.
        load_seconds: how long that took, with the native interpreter, or None where it is not loaded.
        built: whether the interpreter was built here, and not found on disk.
        rate: how the session stands with its limit, or None where there is none.
        resources: what the node takes and holds.
    """

    engine: str
    llvm: bool
    problem: str | None
    threads: int
    programs: int
    machine: MachineStats
    workers: list[WorkerStats]
    processes: ProcessStats
    loading: bool = False
    load_seconds: float | None = None
    built: bool = False
    rate: RateStats | None = None
    resources: ResourceStats | None = None

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
        if self.rate is not None:
            held = f", {self.rate.held_back} held back" if self.rate.held_back else ""
            rows.append(("rate", f"{self.rate.limit} instructions/s at most, {self.rate.left} at once{held}"))
        rows += [
            ("engine", self.engine),
            ("LLVM", self._llvm()),
            ("threads", str(self.threads)),
            ("programs", f"{self.programs} running on this node"),
        ]
        for number, worker in enumerate(self.workers):
            rows.append((f"worker {number}", f"{worker.turns} turns, {worker.instructions} instructions"))
        if self.resources is not None:
            rows += self.resources.rows()
        return columns([*rows, *self.processes.rows()])

    def _llvm(self) -> str:
        if self.loading:
            return "being loaded, and hot programs wait; where nothing is cached, that takes a second or two, once"
        if self.load_seconds is None:
            return "loaded" if self.llvm else self.problem or "not loaded"
        return f"loaded in {self.load_seconds:.1f} s" + (", in which the interpreter was built" * self.built)


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
        _processes(session),
        workers is not None and workers.loading,
        workers.load_seconds if workers is not None else None,
        workers is not None and workers.built,
        _rate(session),
        _resources(session),
    )


def _resources(session: Session) -> ResourceStats:
    node = session.node
    taken = measure()
    counted = {name: node.in_use[name]() for name in ("half-open", "sessions") if name in node.in_use}
    return ResourceStats(
        taken.memory,
        taken.descriptors,
        taken.threads,
        len(node.reactor.getDelayedCalls()),
        sum(not member.self for member in node.mesh.members()),
        counted.get("half-open", 0),
        counted.get("sessions", 0),
        len(node.events.recent()),
    )


def _processes(session: Session) -> ProcessStats:
    courier, shared = session.node.courier, session.node.processes.table.shared
    return ProcessStats(
        int(shared.alive),
        int(shared.dead_letters),
        int(shared.overruns),
        int(shared.unread),
        courier.lost,
        courier.images.lies,
        courier.exchanges(),
    )


def _rate(session: Session) -> RateStats | None:
    account = session.account
    if account is None:
        return None
    held_back = int(account.parked) + session.held_back
    return RateStats(session.node.scheduler.governor.rate, int(account.left), held_back)


def _machine(session: Session) -> MachineStats:
    vm = session.workspace.vm
    native = vm.program.frozen().native
    # Where there is no machine code, a program that uses processes has a native form of Python objects.
    compiled = getattr(native, "compiled", None)
    tier = "compiled" if compiled is not None else "interpreter" if hasattr(native, "compiled") else "reference"
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
        Role.READ_ONLY,
        "show what runs programs here, what the node takes and holds, and what became of processes' messages",
        show_stats,
        Stats,
        urgent=True,
    ),
)
