"""Runs VMs and processes in machine code in worker threads, and lets the reactor hear of what they do.

A worker calls the runtime's scheduler for a millisecond at a time, without Python's lock. What the host must look
at comes as a list of VMs; a file descriptor that the reactor watches says that there are some. Where there is no
machine code the same scheduler runs as plain Python, a few milliseconds at a time, on the reactor thread.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.errors import OptionError
from iridium.isa import FIRST_OF_PROCESSES, WORD
from iridium.limits import DEFAULTS, Limits
from iridium.scheduler.heat import Heat
from iridium.scheduler.table import ProcessTable
from iridium.vm import VM
from iridium.vm.engine import FALLING_BACK, WARM, NativeUnavailableError
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import FOREVER, IDLE, Worker

if TYPE_CHECKING:
    from iridium.scheduler.turns import Task
    from iridium.vm.native.engine import Runtime

CALL = 1_000_000
"""Nanoseconds of one call of a worker: how long another thread of this process may wait for it to look up."""

INLINE_CALL = 2_000_000
"""Nanoseconds of one call on the reactor thread: how long the network may wait."""

INLINE_TURN = 2048
"""Instructions of a turn in plain Python, whoever waits behind: some tenths of a millisecond."""

INLINE_BATCH = 2
"""VMs that have their turns there before the clock is looked at."""

INLINE_ROUND = 8
"""Turns there before the clock is looked at, if they are short: each takes some hundredths of a millisecond."""

WOKEN = 100_000
"""Nanoseconds for which the reactor thread runs those that it has woken itself, while all workers sleep: a message
is answered in less, and nobody notices that the network waits."""

CONSIDER = 256
"""So often the reactor thread does that before it looks whether a program has got hot by it."""

EVENTS_AT_ONCE = 256
"""Events that the reactor handles before it looks at its sockets again."""

MOST_RUNNING = 1 << 18
"""VMs that run at once: each takes half a kilobyte and a Python object."""

LOOK_AGAIN = 0.01
"""Seconds between two looks whether workers have dropped a VM: they do when its turn would come."""

SLOW_TO_DECODE = 4096
"""Instructions of a program beyond which it is prepared in another thread than the reactor's."""

OnEvent = Callable[[Record, bool], None]
"""Is told of a process, and whether it runs no more."""


def uses_processes(program: Program) -> bool:
    """Whether a program has an instruction that only the runtime's scheduler can serve."""
    return max(program.code[::WORD], default=0) >= FIRST_OF_PROCESSES


@implementer(IReadDescriptor)
class Workers:
    """The VMs and processes that the runtime runs.

    Args:
        reactor: watches for their events.
        threads: how many workers.
        choice: "auto", "native", "compiled" or "reference", as :data:`iridium.vm.engine.ENGINES` has them.
        on_event: called with a task when there is output, or it stopped: then ``task.vm`` runs no more.
        load: gives the native runtime; called in a thread, once something is to run here.
        limits: how many processes, and how large.

    Attributes:
        available: whether there is machine code; None before anybody knows, False where it cannot be.
        problem: why there is none, once that is known.
        threads: as given.
        choice: as given.
        loading: whether machine code is being loaded, so that hot programs wait.
        table: the processes.
        on_loaded: called with the runtime, once machine code is there.
        on_process: told of processes, sessions and mailboxes that are nobody's task.
        on_peers: called when something waits to be sent to other nodes.
    """

    _log = Logger(namespace="iridium")

    def __init__(
        self,
        reactor: Any,
        threads: int,
        choice: str,
        on_event: Callable[[Task, bool], None],
        load: Callable[[], Runtime] | None = None,
        limits: Limits = DEFAULTS,
    ) -> None:
        from iridium.vm.runtime.scheduling import TURN

        self.available: bool | None = False if choice == "reference" else None
        self.problem: OptionError | None = None
        self.threads = threads
        self.choice = choice
        self.table = ProcessTable(threads, TURN, limits.processes, limits.heap)
        self.on_loaded: Callable[[Runtime], None] = lambda runtime: None
        self.on_process: OnEvent = lambda record, ended: None
        self.on_peers: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._on_event = on_event
        self._load = load or _load
        self.loading = False
        self._asked = False
        self._runtime: Any = None
        self._when_ready: list[Callable[[], None]] = []
        self._tasks: dict[int, Task] = {}
        self._parked: list[Task] = []  # until the runtime is loaded or their programs are ready
        # Stopped in the queue: the worker that comes across them drops them, and their memory must last till then.
        self._dropped: dict[int, VM] = {}
        # Who waits for that, and the call that looks whether it is so.
        self._leaving: list[tuple[Record, Callable[[], None]]] = []
        self._leaving_call: Any = None
        self._heat = Heat()
        self._workers: list[Worker] = []
        self._running: list[threading.Thread] = []
        self._inline: Worker | None = None
        self._pumping: Any = None
        self._woken = 0
        self._stopped = False

    @property
    def running(self) -> int:
        """How many tasks it has."""
        return len(self._tasks) + len(self._parked)

    @property
    def load_seconds(self) -> float | None:
        """How long machine code took to load; None before it is there."""
        return None if self._runtime is None else self._runtime.loading.seconds

    @property
    def built(self) -> bool:
        """Whether the native interpreter was built in this process, and not found on disk."""
        return self._runtime is not None and self._runtime.loading.built

    @property
    def worker_counts(self) -> list[tuple[int, int]]:
        """Turns and instructions of each worker so far."""
        return [(worker.turns, worker.executed) for worker in self._workers]

    def when_ready(self, call: Callable[[], None], program: Program | None = None) -> None:
        """Call something once it is known what runs processes: at once, or when machine code is loaded.

        Args:
            call: what to call; never, if everything is stopped before.
            program: what they are to run, which does not change: it is to be ready too.
        """
        if self.available is None:
            self._when_ready.append(lambda: self.when_ready(call, program))
            self._load_runtime()
            return
        self._start()
        if program is None or self._is_ready(program):
            call()
            return
        preparing = self._prepare_in_thread(program)
        # If it cannot be had, whoever is called finds out.
        preparing.addErrback(lambda failure: self._log.failure("a program could not be prepared", failure))
        preparing.addCallback(lambda _: None if self._stopped else call())
        preparing.addErrback(lambda failure: self._log.failure("a program could not be started", failure))

    def wants(self, task: Task) -> bool:
        """Whether a task should run here from now on."""
        if self._stopped:
            return False
        if uses_processes(task.vm.program):
            return True
        if self.available is False or task.fallen_back:
            return False
        # While machine code is loaded, such a program waits: beside one that runs as Python that takes a hundred
        # times as long, since the two threads hand each other Python's lock at every file that is imported.
        return self.choice != "auto" or task.vm.record.instructions - task.before >= WARM

    def add(self, task: Task, limit: int | None) -> None:
        """Run a task's VM from now on."""
        task.vm.record.limit = FOREVER if limit is None else limit
        if self.available is None:
            self._parked.append(task)
            self._load_runtime()
        else:
            self._start()
            self._prepare(task)

    def resume(self, record: Record) -> None:
        """Give a VM that stopped to wait its turns again."""
        calls.submit(self.table.shared, record)
        self.pump()

    def remove(self, task: Task) -> None:
        """Run a VM no more; when this returns, nothing touches it."""
        if task in self._parked:
            self._parked.remove(task)
            return
        record = task.vm.record
        address = ctypes.addressof(record)
        if self._tasks.pop(address, None) is None:
            return
        # A turn is over in microseconds, or within a millisecond if its instructions are slow, unless the system
        # runs other threads than the worker's in between.
        while calls.request_stop(self.table.shared, record):
            os.sched_yield()
        self._keep_program(task)
        record.deadline = 0
        if record.state != IDLE or record.in_events:
            self._dropped[address] = task.vm

    def when_dropped(self, record: Record, call: Callable[[], None]) -> None:
        """Call something once no worker comes across a VM any more that was removed or has stopped."""
        if self._stopped or (record.state == IDLE and not record.in_events):
            self._dropped.pop(ctypes.addressof(record), None)
            call()
        else:
            self._leaving.append((record, call))
            if self._leaving_call is None:
                self._leaving_call = self._reactor.callLater(LOOK_AGAIN, self._look_at_leaving)

    def _look_at_leaving(self) -> None:
        self._leaving_call = None
        leaving, self._leaving = self._leaving, []
        for record, call in leaving:
            self.when_dropped(record, call)

    def stop(self) -> None:
        """End the workers, and with them all VMs."""
        self._stopped = True
        if self._running:
            calls.stop_workers(self.table.shared)
            for thread in self._running:
                thread.join()
            self._running.clear()
            self.table.in_threads = False
            self._reactor.removeReader(self)
            os.close(self.table.shared.host_file)
            os.close(self.table.shared.workers_file)
            self.table.shared.host_file = self.table.shared.workers_file = -1
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        if self._leaving_call is not None:
            self._leaving_call.cancel()
            self._look_at_leaving()
        self._tasks.clear()
        self._parked.clear()
        self._dropped.clear()
        self._when_ready.clear()

    # The reactor's side.

    def fileno(self) -> int:
        """What the reactor watches."""
        return int(self.table.shared.host_file)

    def logPrefix(self) -> str:
        """How the reactor calls it in its log."""
        return "workers"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is going down; nothing is lost by that."""

    def doRead(self) -> None:
        """Look at what has something to tell."""
        os.eventfd_read(self.table.shared.host_file)
        if not self._look():
            os.eventfd_write(self.table.shared.host_file, 1)  # go on when the sockets have had their turn

    def _look(self) -> bool:
        """Handle events, some of them, then send what waits for other nodes; whether that were all events."""
        shared = self.table.shared
        shared.host_awake = 1  # what happens meanwhile needs not be told
        for _ in range(EVENTS_AT_ONCE):
            if not shared.first_event:
                break
            address = calls.take_event(shared)
            try:
                self._take(address, shared.event_state == IDLE)
            except Exception:  # a bug in what somebody does with one must not end the others
                self._log.failure("what a process has told could not be dealt with")
        shared.host_awake = 0
        self.on_peers()
        if shared.first_event:
            return False
        if self._dropped:
            for address, vm in list(self._dropped.items()):
                if vm.record.state == IDLE and not vm.record.in_events:
                    del self._dropped[address]
        return True

    def _take(self, address: int, ended: bool) -> None:
        """Handle one event."""
        task = self._tasks.get(address)
        if task is not None:
            self._on_event(task, ended)
        elif address not in self._dropped:
            record = Record.from_address(address)
            if record.kind:
                self.on_process(record, ended)

    def run_woken(self) -> None:
        """Let those run whom this thread has woken: here and for a moment, if no worker is awake."""
        if not self._running:
            self.table.flush()
            self.pump()
        elif self.table.host.head:
            self.table.shared.host_awake = 1
            calls.run_woken(self.table.host, WOKEN)
            if not self._look():
                os.eventfd_write(self.table.shared.host_file, 1)
            self._woken += 1
            if self._woken % CONSIDER == 0:
                self._consider()

    def finished(self, task: Task) -> None:
        """Forget a task whose VM has stopped."""
        self._tasks.pop(ctypes.addressof(task.vm.record), None)
        self._keep_program(task)

    def _keep_program(self, task: Task) -> None:
        """Let those go on whom a VM has spawned, which has another program when it runs the next time."""
        if task.vm.native is not None:
            self.table.keep(task.vm.native)

    def pump(self) -> None:
        """Where there are no threads: go on soon, on the reactor thread."""
        if self._stopped:
            return
        if self._inline is not None:
            if self._pumping is not None:
                self._pumping.cancel()
            self._pumping = self._reactor.callLater(0, self._run_inline)
        elif not self._workers and self._pumping is None and self._something_to_tell():
            # Nothing runs yet, but mailboxes of the host's may have messages, or have sent some.
            self._pumping = self._reactor.callLater(0, self._look_early)

    def _something_to_tell(self) -> bool:
        return bool(self.table.shared.first_event or self.table.shared.first_peer)

    def _look_early(self) -> None:
        self._pumping = None
        if not self._look():
            self.pump()

    def _run_inline(self) -> None:
        from iridium.vm.runtime.scheduling import TIME_OVER

        self._pumping = None
        assert self._inline is not None
        result = calls.run_some(self._inline, INLINE_CALL)
        again = not self._look() or result == TIME_OVER or self.table.shared.head
        if again and not self._stopped:
            self.pump()
        elif self._pumping is None and self.table.shared.next_deadline != FOREVER and not self._stopped:
            wait = max(0, self.table.shared.next_deadline - calls.now(self._inline)) / 1e9
            self._pumping = self._reactor.callLater(wait, self._run_inline)

    # Getting ready.

    def _load_runtime(self) -> None:
        if not self._asked:
            self._asked = self.loading = True
            pool = self._reactor.getThreadPool()
            deferToThreadPool(self._reactor, pool, self._load).addCallbacks(self._loaded, self._not_there)

    def _loaded(self, runtime: Runtime) -> None:
        if self._stopped:
            return
        calls.use(runtime.addresses)
        self._runtime = runtime
        self.available = True
        self.loading = False
        self.on_loaded(runtime)
        self._release()

    def _not_there(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, OptionError):  # a bug, but those who wait must go on
            self._log.failure("the native engines could not be loaded", failure)
            error = NativeUnavailableError(f"the native engines could not be loaded ({error})")
        self.problem = error
        self._log.warn("{problem}; {instead}", problem=str(error), instead=FALLING_BACK)
        self.available = self.loading = False
        self._release()

    def _release(self) -> None:
        """Go on with what waited until it was known what runs it."""
        self._start()
        parked, self._parked = self._parked, []
        for task in parked:
            if self.available or uses_processes(task.vm.program):
                self._prepare(task)
            else:
                task.fall_back()
        waiting, self._when_ready = self._when_ready, []
        for call in waiting:
            call()

    def _prepare(self, task: Task) -> None:
        program = task.vm.program.frozen()
        if self._is_ready(program):
            self._submit(task)
            return
        self._parked.append(task)
        preparing = self._prepare_in_thread(program)
        preparing.addCallbacks(lambda _: self._prepared(task), lambda failure: self._not_prepared(task, failure))
        preparing.addErrback(lambda failure: self._log.failure("a program could not be started", failure))

    def _is_ready(self, program: Program) -> bool:
        """Whether a program can run at once, without keeping the reactor waiting."""
        compiled = self.choice == "compiled" and self.available
        if program.native is not None:
            return not compiled or program.native.requested
        return not compiled and len(program.code) < WORD * SLOW_TO_DECODE

    def _prepare_in_thread(self, program: Program) -> Deferred[None]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self.prepare_slowly, program)

    def prepare_slowly(self, program: Program) -> None:
        """Decode a program, and compile it if that is to be first; in another thread than the reactor's."""
        if not self.available:
            return
        native = self._runtime.load(program)
        if self.choice == "compiled" and native.request():
            self._runtime.compile_now(native, lambda: not self._stopped)

    def _prepared(self, task: Task) -> None:
        if task in self._parked:  # else it was stopped meanwhile
            self._parked.remove(task)
            self._submit(task)

    def _not_prepared(self, task: Task, failure: Failure) -> None:
        """A program cannot be had in machine code: it runs without, if it can."""
        self._log.failure("a program could not be prepared", failure)
        if task in self._parked:
            self._parked.remove(task)
            if uses_processes(task.vm.program):
                task.give_up()
            else:
                task.fall_back()

    def watch_heat(self, program: Program) -> None:
        """Compile a program once it is hot if the engine is "auto", and soon if it is "compiled"."""
        if self.choice in ("auto", "compiled") and self.available:
            self._heat.watch(program.native)
            if self.choice == "compiled":
                self._consider()

    def _submit(self, task: Task) -> None:
        vm = task.vm
        program = vm.program.frozen()
        loaded = self.table.load(program)
        vm.native = loaded
        vm.record.program = loaded.address
        # What it asked its node for before it was stopped is not answered any more.
        vm.record.answered = 0
        vm.record.turns += 1
        self.watch_heat(program)
        address = ctypes.addressof(vm.record)
        self._tasks[address] = task
        self._dropped.pop(address, None)
        self.resume(vm.record)

    def _start(self) -> None:
        """Begin to run: in threads, or without machine code on the reactor thread."""
        if self._workers or self._stopped:
            return
        shared = self.table.shared
        if not self.available:
            self._inline = Worker(shared=ctypes.addressof(shared))
            self._workers = [self._inline]
            shared.threads = 1
            shared.turn = INLINE_TURN
            shared.alone = 1
            shared.batch = INLINE_BATCH
            shared.round = INLINE_ROUND
            return
        shared.host_file = os.eventfd(0, os.EFD_CLOEXEC)
        shared.workers_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._reactor.addReader(self)
        if self._something_to_tell():
            os.eventfd_write(shared.host_file, 1)  # nobody could say so when it came
        self._workers = [Worker(shared=ctypes.addressof(shared)) for _ in range(self.threads)]
        self.table.in_threads = True
        for number, worker in enumerate(self._workers):
            thread = threading.Thread(target=self._work, args=(worker,), name=f"worker {number}", daemon=True)
            self._running.append(thread)
            thread.start()

    def _work(self, worker: Worker) -> None:
        """One worker thread's life."""
        from iridium.vm.runtime.scheduling import STOPPING

        while calls.work(worker, CALL) != STOPPING:
            self._consider()

    def _consider(self) -> None:
        """Compile what has got hot."""
        self._heat.consider(self._runtime.compiler, at_once=self.choice == "compiled")


def _load() -> Runtime:
    from iridium.vm.native.engine import runtime

    return runtime()
