"""Worker threads that run VMs in machine code, and how the reactor hears of what they do.

A worker calls the native scheduler for a millisecond at a time, without Python's lock. What the host must look at
comes as a list of VMs; a file descriptor that the reactor watches says that there are some.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from iridium.errors import OptionError
from iridium.vm import VM
from iridium.vm.engine import FALLING_BACK, WARM
from iridium.vm.native.layout import IDLE, Shared, Worker

if TYPE_CHECKING:
    from iridium.scheduler.turns import Task
    from iridium.vm.native.engine import Runtime

CALL = 1_000_000
"""Nanoseconds of one call of a worker: how long another thread of this process may wait for it to look up."""

EVENTS_AT_ONCE = 256
"""Events that the reactor handles before it looks at its sockets again."""

NO_LIMIT = 2**64 - 1

MOST_RUNNING = 1 << 20
"""VMs that run at once: each takes half a kilobyte and a Python object."""

SLOW_TO_DECODE = 4096
"""Instructions of a program beyond which it is prepared in another thread than the reactor's."""


@implementer(IReadDescriptor)
class Workers:
    """The VMs that machine code runs.

    Args:
        reactor: watches for their events.
        threads: how many workers.
        choice: "auto", "native" or "compiled", as :data:`iridium.vm.engine.ENGINES` has them.
        on_event: called with a task when there is output, or it stopped: then ``task.vm`` runs no more.
        load: gives the native runtime; called in a thread, once a VM is to run here.

    Attributes:
        available: whether the runtime is loaded; None before anybody knows, False where it cannot be.
        problem: why the runtime cannot be loaded, once that is known.
        threads: as given.
    """

    _log = Logger(namespace="iridium")

    def __init__(
        self,
        reactor: Any,
        threads: int,
        choice: str,
        on_event: Callable[[Task, bool], None],
        load: Callable[[], Runtime] | None = None,
    ) -> None:
        self.available: bool | None = None
        self.problem: OptionError | None = None
        self.threads = threads
        self.choice = choice
        self._reactor = reactor
        self._on_event = on_event
        self._load = load or _load
        self._loading = False
        self._runtime: Any = None
        self._tasks: dict[int, Task] = {}
        self._parked: list[Task] = []  # until the runtime is loaded or their programs are ready
        # Stopped in the queue: the worker that comes across them drops them, and their memory must last till then.
        self._dropped: dict[int, VM] = {}
        self._hot: dict[Any, Any] = {}  # programs that may get hot, by their native form
        self._workers: list[Worker] = []
        self._running: list[threading.Thread] = []
        self._shared = Shared(threads=threads)
        self._stopped = False

    @property
    def running(self) -> int:
        """How many VMs it has."""
        return len(self._tasks) + len(self._parked)

    @property
    def worker_counts(self) -> list[tuple[int, int]]:
        """Turns and instructions of each worker so far."""
        return [(worker.turns, worker.executed) for worker in self._workers]

    def wants(self, task: Task) -> bool:
        """Whether a task should run here from now on."""
        if self.available is False or self._stopped:
            return False
        if self.choice == "auto":
            if task.vm.record.instructions - task.before < WARM:
                return False
            if self.available is None:
                self._load_runtime()
                return False
        return True

    def add(self, task: Task, limit: int | None) -> None:
        """Run a task's VM from now on."""
        record = task.vm.record
        record.limit = NO_LIMIT if limit is None else limit
        if self.available is None:
            self._parked.append(task)
            self._load_runtime()
        else:
            self._prepare(task)

    def resume(self, task: Task) -> None:
        """Give a VM that stopped to wait its turns again."""
        self._runtime.submit(ctypes.addressof(self._shared), ctypes.addressof(task.vm.record))

    def remove(self, task: Task) -> None:
        """Run a VM no more; when this returns, nothing touches it."""
        if task in self._parked:
            self._parked.remove(task)
            return
        record = task.vm.record
        address = ctypes.addressof(record)
        if self._tasks.pop(address, None) is None:
            return
        # A turn is over in microseconds, unless the system runs other threads than the worker's in between.
        while self._runtime.request_stop(address):
            os.sched_yield()
        if record.state != IDLE or record.in_events:
            self._dropped[address] = task.vm

    def stop(self) -> None:
        """End the workers, and with them all VMs."""
        self._stopped = True
        if self._running:
            self._runtime.stop_workers(ctypes.addressof(self._shared))
            for thread in self._running:
                thread.join()
            self._running.clear()
            self._reactor.removeReader(self)
            os.close(self._shared.host_file)
            os.close(self._shared.workers_file)
        self._tasks.clear()
        self._dropped.clear()

    # The reactor's side.

    def fileno(self) -> int:
        """What the reactor watches."""
        return int(self._shared.host_file)

    def logPrefix(self) -> str:
        """How the reactor calls it in its log."""
        return "workers"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is going down; nothing is lost by that."""

    def doRead(self) -> None:
        """Look at the VMs that have something to tell."""
        os.eventfd_read(self._shared.host_file)
        shared = ctypes.addressof(self._shared)
        for _ in range(EVENTS_AT_ONCE):
            address = self._runtime.take_event(shared)
            if not address:
                break
            task = self._tasks.get(address)
            if task is None:
                continue  # it was stopped meanwhile
            ended = self._shared.event_state == IDLE
            self._on_event(task, ended)
        else:
            os.eventfd_write(self._shared.host_file, 1)  # go on when the sockets have had their turn
        for address in [
            a for a, vm in self._dropped.items() if vm.record.state == IDLE and not vm.record.in_events
        ]:
            del self._dropped[address]

    def finished(self, task: Task) -> None:
        """Forget a task whose VM has stopped."""
        self._tasks.pop(ctypes.addressof(task.vm.record), None)

    # Getting ready.

    def _load_runtime(self) -> None:
        if not self._loading:
            self._loading = True
            pool = self._reactor.getThreadPool()
            deferToThreadPool(self._reactor, pool, self._load).addCallbacks(self._loaded, self._not_there)

    def _loaded(self, runtime: Runtime) -> None:
        if self._stopped:
            return
        self._runtime = runtime
        self.available = True
        self._start_threads()
        self._release_parked()

    def _not_there(self, failure: Failure) -> None:
        failure.trap(OptionError)
        error = failure.value
        assert isinstance(error, OptionError)
        self.problem = error
        self._log.warn("{problem}; {instead}", problem=str(error), instead=FALLING_BACK)
        self.available = False
        self._release_parked()

    def _release_parked(self) -> None:
        parked, self._parked = self._parked, []
        for task in parked:
            if self.available:
                self._prepare(task)
            else:
                task.fall_back()

    def _prepare(self, task: Task) -> None:
        program = task.vm.program
        ready = program.native is not None and (self.choice != "compiled" or program.native.compiled is not None)
        if ready or (self.choice != "compiled" and len(program.code) < 4 * SLOW_TO_DECODE):
            self._submit(task)
            return
        self._parked.append(task)
        pool = self._reactor.getThreadPool()
        preparing = deferToThreadPool(self._reactor, pool, self._prepare_slowly, task.vm)
        preparing.addCallback(lambda _: self._prepared(task))
        preparing.addErrback(lambda failure: self._log.failure("a program could not be compiled", failure))

    def _prepare_slowly(self, vm: VM) -> None:
        native = self._runtime.prepare(vm)
        if self.choice == "compiled" and not native.requested:
            native.requested = True
            native.enter_at(self._runtime.compile(vm.program))

    def _prepared(self, task: Task) -> None:
        if task in self._parked:  # else it was stopped meanwhile
            self._parked.remove(task)
            self._submit(task)

    def _submit(self, task: Task) -> None:
        vm = task.vm
        native = self._runtime.prepare(vm)
        if self.choice == "auto" and not native.requested:
            self._hot[native] = vm.program
        address = ctypes.addressof(vm.record)
        self._tasks[address] = task
        self._dropped.pop(address, None)
        self._runtime.submit(ctypes.addressof(self._shared), address)

    def _start_threads(self) -> None:
        from iridium.vm.native.scheduling import TURN

        self._shared.turn = TURN
        self._shared.host_file = os.eventfd(0, os.EFD_CLOEXEC)
        self._shared.workers_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._reactor.addReader(self)
        self._workers = [Worker(shared=ctypes.addressof(self._shared)) for _ in range(self.threads)]
        for number, worker in enumerate(self._workers):
            thread = threading.Thread(target=self._work, args=(worker,), name=f"worker {number}", daemon=True)
            self._running.append(thread)
            thread.start()

    def _work(self, worker: Worker) -> None:
        """One worker thread's life."""
        from iridium.vm.native.scheduling import STOPPING

        work, address, compiler = self._runtime.work, ctypes.addressof(worker), self._runtime.compiler
        while work(address, CALL) != STOPPING:
            for native, program in tuple(self._hot.items()):
                compiler.consider(native, program)
                if native.requested:
                    self._hot.pop(native, None)


def _load() -> Runtime:
    from iridium.vm.native.engine import runtime

    return runtime()
