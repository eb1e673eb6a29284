"""The scheduler, with turns on the reactor thread.

Round-robin, one turn a reactor iteration, so that the network is served between two turns. A turn is a few slices
of instructions, until about :data:`TURN` seconds are used. A VM that waits for room in its output is not in the
queue and costs nothing until somebody wakes it. Where there are workers, a VM that runs on is theirs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from iridium.errors import IridiumError, OptionError
from iridium.limits import DEFAULTS, Limits
from iridium.scheduler.governor import Governor
from iridium.scheduler.workers import MOST_RUNNING, Workers
from iridium.vm import VM, Stop, run
from iridium.vm.engine import FALLING_BACK, missing_llvmlite
from iridium.vm.record import Waiting
from iridium.vm.reference import Turn
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import Account

TURN = 0.002
"""Seconds of a turn: what the network waits at most, and long enough for 10 000 instructions of plain Python."""

SLICE = 1024
"""Instructions between two looks at the clock: a tenth of a turn, so that looking costs nothing beside them."""

SHORTEST_SLICE = 16
"""Instructions of a slice when each is slow: one can print 64 KiB."""

MAX_RUNNING = 1024
"""VMs that run at once: with more, each would get its turn less than once in two seconds."""

Engine = Callable[[VM, int], Turn]
"""Advances a VM by a budget, as :func:`iridium.vm.run` does."""


class TooManyRunningError(IridiumError):
    """The node runs as many programs as it can."""

    remedy = "stop one of them, or try again when one has ended"

    def __init__(self, most: int) -> None:
        super().__init__(f"this node runs {most} programs already; {self.remedy}")


class OnStop(Protocol):
    """Is told how a VM's last turn ended; None: the engine broke, which is logged."""

    def __call__(self, vm: VM, turn: Turn | None) -> None:
        """``turn`` is None where the engine broke."""


class Task:
    """One VM in a scheduler's care; made by :meth:`Scheduler.start`.

    Attributes:
        vm: the machine.
        before: instructions that it had executed when it was started.
        fallen_back: whether it cannot run in machine code.
        parked: whether it has no turns until its account is filled up.
        running: False once it stopped or was stopped.
        waiting: whether it has no turns until :meth:`wake`.
    """

    __slots__ = (
        "_limit", "_native", "_on_output", "_on_stop", "_queued", "_scheduler", "_slice", "before", "fallen_back",
        "parked", "running", "vm", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        scheduler: Scheduler,
        vm: VM,
        on_stop: OnStop,
        on_output: Callable[[VM], None],
        limit: int | None,
    ) -> None:
        self._scheduler = scheduler
        self.vm = vm
        self._on_stop = on_stop
        self._on_output = on_output
        self._limit = limit
        self._slice = SLICE
        self._queued = False
        self._native = False
        self.before = vm.record.instructions
        self.fallen_back = False
        self.parked = False
        self.running = True
        self.waiting = False

    def stop(self) -> None:
        """End it at once and leave the VM where it is; ``on_stop`` is not called. Twice is as good as once."""
        if self.running:
            self.running = False
            self._scheduler._forget(self)

    def wake(self) -> None:
        """Give a VM that waits its turns again: there is room in its output. Otherwise nothing happens."""
        if self.running and self.waiting:
            self.waiting = False
            self._scheduler._resume(self)

    def fall_back(self) -> None:
        """Run on the reactor thread after all: there is no native engine, or none for its program."""
        self._native = False
        self.fallen_back = True
        self._scheduler._enqueue(self)

    def give_up(self) -> None:
        """End it: there is nothing that can run it."""
        self._scheduler._end(self, None)

    def _turn(self, engine: Engine, seconds: Callable[[], float]) -> Turn:
        """Advance the VM for about :data:`TURN` seconds."""
        vm = self.vm
        vm.record.turns += 1
        account = Account.from_address(vm.record.account) if vm.record.account else None
        now = seconds()
        end = now + TURN
        while True:
            budget = self._slice if self._limit is None else min(self._slice, self._limit)
            if account is not None:
                budget = calls.draw(account, budget)
                if not budget:
                    self.parked = True
                    return Turn(Stop.BUDGET, 0)
            turn = engine(vm, budget)
            if account is not None:
                calls.put_back(account, turn.left)
            if self._limit is not None:
                self._limit -= budget - turn.left
            if turn.stop is not Stop.BUDGET or self._limit == 0:
                return turn
            before, now = now, seconds()
            self._pace(now - before)
            if now >= end:
                return turn

    def _pace(self, took: float) -> None:
        """Shorten the slices of a program whose instructions are slow, lengthen them when they are not."""
        if took > TURN / 4:
            self._slice = max(SHORTEST_SLICE, self._slice // 4)
        elif took < TURN / 16:
            self._slice = min(SLICE, self._slice * 2)


class Scheduler:
    """Gives VMs their turns.

    Args:
        clock: the reactor, or what stands for it in a test.
        engine: advances a VM by a budget.
        seconds: a clock that never steps, to measure turns by.
        choice: the engine by name; with another than "reference", VMs that run on are run by worker threads.
        threads: how many of those.
        limits: how many processes, and how large.

    Attributes:
        engine: as given; what a single turn outside the scheduler is given with.
        choice: as given.
        workers: the worker threads, and the processes.
        governor: holds sessions to their instructions a second.
    """

    _log = Logger(namespace="iridium")

    def __init__(
        self,
        clock: IReactorTime,
        engine: Engine = run,
        seconds: Callable[[], float] = time.perf_counter,
        choice: str = "reference",
        threads: int = 1,
        limits: Limits = DEFAULTS,
    ) -> None:
        self.engine = engine
        self.choice = choice
        missing = missing_llvmlite() if choice != "reference" else None
        if missing is not None:
            self._log.warn("{problem}; {instead}", problem=str(missing), instead=FALLING_BACK)
        choice = choice if missing is None else "reference"
        self.workers = Workers(clock, threads, choice, self._happened, limits=limits)
        self.workers.problem = missing
        rate = limits.session_instructions
        self.governor = Governor(clock, seconds, rate, self.workers.table, self.workers.pump)
        self._clock = clock
        self._seconds = seconds
        self._tasks: set[Task] = set()
        self._ready: deque[Task] = deque()
        self._next: IDelayedCall | None = None

    @property
    def problem(self) -> OptionError | None:
        """Why the engine that was chosen cannot be had; None where nothing is wrong, as far as is known."""
        return self.workers.problem

    @property
    def running(self) -> int:
        """How many VMs it has, those that wait included."""
        return len(self._tasks)

    def start(self, vm: VM, on_stop: OnStop, on_output: Callable[[VM], None], *, limit: int | None = None) -> Task:
        """Give a VM turns from now on.

        Args:
            vm: the machine; nobody else advances it meanwhile.
            on_stop: called once with the VM and its last turn when it halted, faulted or reached the limit.
            on_output: called after a turn that left something in the VM's output, before ``on_stop``.
            limit: the most instructions to execute, or None; at the limit the last turn's stop is BUDGET.

        Raises:
            TooManyRunningError: there are :data:`MAX_RUNNING` already.
        """
        most = MOST_RUNNING if self.workers.available else MAX_RUNNING
        if len(self._tasks) >= most:
            raise TooManyRunningError(most)
        task = Task(self, vm, on_stop, on_output, limit)
        self._tasks.add(task)
        self._place(task)
        return task

    def stop(self) -> None:
        """End every task; for the end of the node."""
        for task in list(self._tasks):
            task.stop()
        self.governor.stop()
        self.workers.stop()

    def _place(self, task: Task) -> None:
        """Queue a task here, or give it to the workers."""
        if self.workers.wants(task):
            task._native = True
            self.workers.add(task, task._limit)
        else:
            self._enqueue(task)

    def _resume(self, task: Task) -> None:
        if task._native:
            self.workers.resume(task.vm.record)
        else:
            self._enqueue(task)

    def _happened(self, task: Task, ended: bool) -> None:
        """A worker has something to tell of a task: it has printed, or does not run any more."""
        record = task.vm.record
        # While it runs, the engines keep there what is no reason to stop.
        stop = Stop(record.stop) if ended else None
        if ended and stop is not Stop.WAITING:
            self.workers.finished(task)
            task._native = False
        if len(task.vm.output):
            self._tell(task, "on_output", lambda: task._on_output(task.vm))
        if stop is None or not task.running:
            return
        if stop is not Stop.WAITING:
            self._end(task, Turn(stop, 0))
            return
        if record.waiting == Waiting.SERVICE:
            self.workers.on_process(record, True)
            return
        task.waiting = task.vm.output.full
        if not task.waiting:
            self._resume(task)

    def _enqueue(self, task: Task) -> None:
        task._queued = True
        self._ready.append(task)
        if self._next is None:
            # Zero seconds means the reactor's next iteration, after it has looked at its sockets.
            self._next = self._clock.callLater(0, self._advance)

    def _forget(self, task: Task) -> None:
        self._tasks.discard(task)
        if task._native:
            self.workers.remove(task)
        if task._queued:
            task._queued = False
            self._ready.remove(task)
        if not self._ready and self._next is not None:
            self._next.cancel()
            self._next = None

    def _advance(self) -> None:
        """Give the next VM its turn."""
        self._next = None
        task = self._ready.popleft()
        task._queued = False
        if self._ready:
            self._next = self._clock.callLater(0, self._advance)
        try:
            turn = task._turn(self.engine, self._seconds)
        except Exception:
            self._log.failure("the engine broke; VM {vm} is stopped", vm=task.vm.uuid)
            self._end(task, None)
            return
        self._tell(task, "on_output", lambda: task._on_output(task.vm) if len(task.vm.output) else None)
        if not task.running:
            return  # whoever read the output stopped it
        # Output that was read meanwhile has made room; otherwise whoever reads it later wakes the task.
        task.waiting = turn.stop is Stop.WAITING and task.vm.output.full
        if turn.stop in (Stop.HALTED, Stop.FAULT) or task._limit == 0:
            self._end(task, turn)
        elif task.parked:
            self.governor.when_filled(lambda: self._unpark(task))
        elif not task.waiting:
            self._place(task)

    def _unpark(self, task: Task) -> None:
        task.parked = False
        if task.running:
            self._place(task)

    def _end(self, task: Task, turn: Turn | None) -> None:
        task.stop()
        self._tell(task, "on_stop", lambda: task._on_stop(task.vm, turn))

    def _tell(self, task: Task, what: str, call: Callable[[], None]) -> None:
        """Call the owner of a task; a bug there ends that task and nothing else."""
        try:
            call()
        except Exception:
            self._log.failure("{what} of VM {vm} failed", what=what, vm=task.vm.uuid)
            task.stop()
