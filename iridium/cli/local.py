"""Runs a program that uses processes for ``iridium run``: a scheduler and a table of processes, and no node.

What processes do is the runtime's business, and what they ask their node for is that of
:mod:`iridium.processes`. Here is what gives them turns: the main thread, or several threads of machine code.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from iridium.errors import OptionError
from iridium.processes import Exit, Processes
from iridium.processes.kept import Outputs
from iridium.scheduler.table import ProcessTable
from iridium.scheduler.workers import CALL
from iridium.vm import VM, Program, Stop
from iridium.vm.engine import FALLING_BACK, missing_llvmlite
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import FOREVER, IDLE, Worker
from iridium.vm.runtime.scheduling import NOTHING, STOPPING, TURN

SOME = 4_000_000
"""Nanoseconds between two looks at the output: so short that nobody notices."""

LOOK_AGAIN = 0.05
"""Seconds between two looks whether anybody still can do something, where nobody tells."""

LONGEST_WAIT = 1e6
"""Seconds of one wait: what the system takes, in any case."""

MOST_REPORTED = 20
"""Crashes of other processes that are told: a program may start thousands that all crash."""

DEADLOCK = "deadlock"
"""Why a run ended whose processes all waited for each other."""


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        vm: the first process, whose memory lasts until :meth:`Local.close`.
        reason: the limit that stopped it, "instructions", "time" or "deadlock"; None if it ended by itself.
        how: its end where there was one.
    """

    vm: VM
    reason: str | None
    how: Exit | None


class _Signals:
    """Waits for time to pass, or for a signal: also for one that came just before, or to another thread.

    Python's own ``time.sleep`` begins although a signal has come in the moment before, and then lasts.

    Args:
        wakes: what the signals are read from; None where this is not the main thread, which alone has them.
    """

    def __init__(self, wakes: int | None) -> None:
        self._files = [] if wakes is None else [wakes]

    def wait(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            KeyboardInterrupt: Ctrl-C, also one whose exception has been lost in a place that raises none.
        """
        if seconds > 0:
            select.select(self._files, [], [], min(seconds, LONGEST_WAIT))
        for file in self._files:
            with contextlib.suppress(BlockingIOError):
                came = os.read(file, 64)
                if signal.SIGINT in came and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                    raise KeyboardInterrupt


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    """What to wait with; only one at a time."""
    if threading.current_thread() is not threading.main_thread():
        yield _Signals(None)
        return
    wakes, came = os.pipe()
    os.set_blocking(wakes, False)
    os.set_blocking(came, False)
    before = signal.set_wakeup_fd(came, warn_on_full_buffer=False)
    try:
        yield _Signals(wakes)
    finally:
        signal.set_wakeup_fd(before)
        os.close(wakes)
        os.close(came)


class _Shown(Outputs):
    """Writes what processes print instead of keeping it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def add(self, pid: int, text: str) -> None:
        self._write(text)


class _NoEvents:
    """Nobody reads the events of a run."""

    def add(self, kind: str, subject: str, detail: str = "") -> None:
        """Forget it."""


class _Turns:
    """What :class:`Processes` needs of whoever gives turns."""

    def __init__(self, table: ProcessTable) -> None:
        self.table = table
        self.workers = self
        self.on_process: Callable[[Record, bool], None] = lambda record, ended: None
        self.on_peers: Callable[[], None] = lambda: None

    def when_ready(self, call: Callable[[], None], program: Program | None = None) -> None:
        """Everything is ready."""
        call()

    def watch_heat(self, program: Program) -> None:
        """There is one program, which is watched anyway."""

    def pump(self) -> None:
        """Turns are given all the time."""

    def resume(self, record: Record) -> None:
        """Give one that waited its turns again."""
        calls.submit(self.table.shared, record)


class Local:
    """A run of a program that uses processes.

    Args:
        program: what the first process runs.
        engine: "auto", "native", "compiled" or "reference".
        threads: how many run it; more than one only in machine code.
        write: takes what all processes print.
        report: takes a line about a process other than the first that has crashed.
        warn: takes a line about what runs it.
        limit: the most instructions of the first process, or None.

    Raises:
        OptionError: the engine cannot be had.
    """

    def __init__(
        self,
        program: Program,
        engine: str,
        threads: int,
        write: Callable[[str], None],
        report: Callable[[str], None],
        warn: Callable[[str], None],
        limit: int | None,
    ) -> None:
        self._compiler: Any = None
        self._load(engine, warn)
        self._threads = threads if calls.native else 1
        self._table = ProcessTable(self._threads, TURN)
        self._turns = _Turns(self._table)
        self._processes = Processes(self._turns, _NoEvents())  # type: ignore[arg-type]
        self._processes.outputs = _Shown(write)
        self._processes.on_end = self._ended
        self._report = report
        self._reported = 0
        self._done: Ended | None = None
        self._native = self._table.load(program)
        if engine == "compiled":
            from iridium.vm.native.engine import runtime

            if self._native.request():  # type: ignore[attr-defined]
                runtime().compile_now(self._native)  # type: ignore[arg-type]
        first = self._table.begin(program)
        assert first is not None, "an empty table has room"
        first.host_cares = 1
        if limit is not None:
            first.limit = limit
        self._first = first
        self._pid = int(first.pid)

    def _load(self, engine: str, warn: Callable[[str], None]) -> None:
        if engine == "reference":
            return
        missing = missing_llvmlite()
        try:
            if missing is not None:
                raise missing
            from iridium.vm.native.engine import runtime

            loaded = runtime()
        except OptionError as error:
            if engine != "auto":
                raise
            warn(f"iridium: {error}; {FALLING_BACK}")
            return
        calls.use(loaded.addresses)
        self._compiler = loaded.compiler if engine == "auto" else None

    def run(self, timeout: float | None) -> Ended:
        """Run until the first process ends, nobody can do anything any more, or so many seconds are over."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._table.start(self._first)
        with _signals() as signals:
            return self._run_threads(deadline) if self._threads > 1 else self._run_here(deadline, signals)

    def _run_here(self, deadline: float, signals: _Signals) -> Ended:
        worker = Worker(shared=ctypes.addressof(self._table.shared))
        while True:
            result = calls.run_some(worker, SOME)
            happened = self._look()
            if self._done is not None:
                return self._done
            if time.monotonic() >= deadline:
                return self._stopped("time")
            shared = self._table.shared
            if result == NOTHING and not happened and not shared.head:
                if shared.next_deadline == FOREVER:
                    return self._stopped(DEADLOCK)
                wait = max(0, shared.next_deadline - calls.now(worker)) / 1e9
                signals.wait(min(wait, max(0.0, deadline - time.monotonic())))

    def _run_threads(self, deadline: float) -> Ended:
        shared = self._table.shared
        shared.host_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        shared.workers_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        workers = [Worker(shared=ctypes.addressof(shared)) for _ in range(self._threads)]
        threads = [threading.Thread(target=_work, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            while True:
                wait = min(LOOK_AGAIN, max(0.0, deadline - time.monotonic()))
                ready, _, _ = select.select([shared.host_file], [], [], wait)
                if ready:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(shared.host_file)
                happened = self._look()
                if self._done is not None:
                    return self._done
                if time.monotonic() >= deadline:
                    return self._stopped("time")
                quiet = shared.waiting == self._threads and not shared.queued
                if quiet and not happened and not shared.first_event and shared.next_deadline == FOREVER:
                    return self._stopped(DEADLOCK)
        finally:
            calls.stop_workers(shared)
            for thread in threads:
                while thread.is_alive():  # whoever is impatient: their memory must last until they have ended
                    with contextlib.suppress(KeyboardInterrupt):
                        thread.join()
            os.close(shared.host_file)
            os.close(shared.workers_file)
            shared.host_file = shared.workers_file = -1

    def _look(self) -> bool:
        """Look at what has something to tell, and whether there was anything."""
        shared = self._table.shared
        if self._compiler is not None:
            self._compiler.consider(self._native)
        happened = False
        while self._done is None and (address := calls.take_event(shared)):
            happened = True
            ended = shared.event_state == IDLE
            record = Record.from_address(address)
            if record.kind:
                self._turns.on_process(record, ended)
        return happened

    def _ended(self, vm: VM, pid: int, how: Exit) -> bool:
        """A process has ended; its memory is kept if it was the first."""
        if pid == self._pid:
            limited = vm.record.stop == Stop.BUDGET and not vm.record.limit
            self._done = Ended(vm, "instructions" if limited else None, how)
            return False
        if how.fault and self._reported < MOST_REPORTED:
            self._reported += 1
            self._report(f"process {pid}: fault: {how.fault}")
        return True

    def _stopped(self, reason: str) -> Ended:
        vm = self._processes.views.vm_of(self._first)
        assert vm is not None, "the first process lives"
        return Ended(vm, reason, None)

    @property
    def alive(self) -> int:
        """How many processes there are."""
        return self._table.alive

    def close(self) -> None:
        """Give all memory back."""
        self._table.close()


def _work(worker: Worker) -> None:
    """One thread's life."""
    while calls.work(worker, CALL) != STOPPING:
        pass
