"""The native engines, as callables that advance a VM; loaded on first use, since LLVM takes 50 MB and 0.1 s."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from iridium.vm.engine import NativeUnavailableError, missing_llvmlite
from iridium.vm.machine import VM
from iridium.vm.native.cache import ObjectCache, compiler_digest, default_directory
from iridium.vm.native.compiled import Compiled, Dropped
from iridium.vm.program import Program
from iridium.vm.record import Stop
from iridium.vm.reference import Turn
from iridium.vm.runtime.calls import HOST_CALLS

if TYPE_CHECKING:
    from iridium.vm.native.flow import Sizes
    from iridium.vm.native.program import NativeProgram

HOT = 300_000
"""Instructions that a program executes before it is compiled: a third of a millisecond of the interpreter's, so
that what is over soon never costs the tenth of a second that compiling takes."""

MOST_WAITING = 1024
"""Programs that wait for the compiler; one more goes on in the interpreter and asks again later."""

_U64 = ctypes.c_uint64

CALLED = (
    "print_item", "must_yield", "check_string", "grow_heap", "send", "receive", "wait_for_message", "clock",
    "count_nodes",
)  # fmt: skip
"""The functions of the runtime that compiled programs call."""


class CancelledError(Exception):
    """Nobody wants the program compiled any more."""


class Loading(NamedTuple):
    """How the native interpreter came into this process.

    Attributes:
        seconds: that it took.
        built: whether it was made now, which takes a second or two, and not found on disk.
        directory: where it is on disk from now on, or None.
    """

    seconds: float
    built: bool
    directory: Path | None


class Runtime:
    """The native interpreter and what belongs to it, linked into this process.

    Args:
        directory: where objects are kept; by default the user's cache directory.

    Attributes:
        jit: makes and links machine code; its owner holds ``lock``.
        cache: objects of earlier runs.
        lock: one thread at a time makes machine code.
        pieces: the addresses of the interpreter's pieces.
        compiler: compiles in the background.
        dropped: machine code of programs that waits to be unloaded.
        loading: how all that came here.

    Raises:
        NativeUnavailableError: llvmlite is not there, or does not work on this machine.
    """

    def __init__(self, directory: Path | None = None) -> None:
        if missing := missing_llvmlite():
            raise missing
        try:
            self._build(directory)
        except (ImportError, OSError, RuntimeError) as error:
            raise NativeUnavailableError(f"llvmlite does not work here ({error})") from error
        self.lock = threading.Lock()
        self.compiler = BackgroundCompiler(self)
        self.dropped = Dropped(self.compiler.wake)

    def _build(self, directory: Path | None) -> None:
        """Link the interpreter, made now or found on disk."""
        began = time.perf_counter()
        from iridium.vm import engine
        from iridium.vm.native.jit import Jit

        self.jit = Jit()
        self.cache = ObjectCache(directory or default_directory(), f"{compiler_digest()} {self.jit.identity}")
        binary = self.cache.get("runtime")
        built = binary is None
        if binary is None:
            engine.on_build()
            from iridium.vm.native.interpreter import interpreter_ir

            binary = self.jit.compile(interpreter_ir())
            self.cache.put("runtime", binary)
        self._linked = self.jit.link(binary, ["pieces", "advance", *HOST_CALLS, *CALLED], {})
        addresses = self._linked.addresses
        self._called = {name: addresses[name] for name in CALLED}
        self.addresses = {name: addresses[name] for name in HOST_CALLS}
        self._advance = ctypes.CFUNCTYPE(_U64, _U64, _U64)(addresses["advance"])
        from iridium.vm.native.program import PIECES

        self.pieces = list((_U64 * PIECES).from_address(addresses["pieces"]))
        self.loading = Loading(time.perf_counter() - began, built, self.cache.directory)

    def prepare(self, vm: VM) -> NativeProgram:
        """Give a VM the native form of its program, as it is now."""
        native = self.load(vm.program)
        vm.native = native
        vm.record.program = native.address
        return native

    def load(self, program: Program) -> NativeProgram:
        """The native form of a program, as it is now."""
        from iridium.vm.native.program import NativeProgram

        native: NativeProgram | None = program.native
        if native is None:
            native = program.native = NativeProgram(program, self.pieces)
        return native

    def compile(
        self, program: Program, go_on: Callable[[], bool] = lambda: True, sizes: Sizes | None = None
    ) -> Compiled:
        """Compile a program, or find it in the cache.

        Takes up to seconds; any thread may do it, while the program runs.

        Args:
            program: the program.
            go_on: asked before each region, which takes a fraction of a second, and more often before the first.
            sizes: what it is cut into, if not as usual.

        Raises:
            CancelledError: ``go_on`` said no.
        """

        def check() -> None:
            if not go_on():
                raise CancelledError

        from iridium.vm.native.compiler import region_ir
        from iridium.vm.native.flow import USUAL, Flow

        began = time.perf_counter()
        self.dropped.unload()
        sizes = sizes or USUAL
        flow = Flow(program, check, sizes)
        content = f"{program.content_hash()} {sizes}"
        entries: dict[int, int] = {}
        linked = []
        from_cache = True
        for number in range(len(flow.regions)):
            ir, starts = region_ir(flow, number)
            name = f"region{number}"
            check()
            with self.lock:
                binary = self.cache.get(f"{content} {name}")
                if binary is None:
                    from_cache = False
                    binary = self.jit.compile(ir)
                    self.cache.put(f"{content} {name}", binary)
                linked.append(self.jit.link(binary, [name], self._called))
            entries |= dict.fromkeys(starts, linked[-1].addresses[name])
        return Compiled(entries, linked, time.perf_counter() - began, from_cache, self.dropped)

    def compile_now(self, native: NativeProgram, go_on: Callable[[], bool] = lambda: True) -> None:
        """Compile a program and let VMs enter it; one that cannot be compiled stays in the interpreter.

        Args:
            native: the native form of the program.
            go_on: as above; the program stays in the interpreter if it says no.
        """
        try:
            native.enter_at(self.compile(native.program, go_on))
        except CancelledError:
            pass
        except Exception:  # LLVM's, or a bug
            import logging

            logging.getLogger("iridium").exception("a program could not be compiled")

    def turn(self, vm: VM, budget: int) -> Turn:
        """Advance a prepared VM."""
        record = vm.record
        left = self._advance(ctypes.addressof(record), budget)
        return Turn(Stop(record.stop), left)


class BackgroundCompiler:
    """Compiles programs one after the other in a thread of its own, while they run in the interpreter."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # Of all queues this is the one that the garbage collector may use, in :meth:`wake`.
        self._waiting: queue.SimpleQueue[NativeProgram | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def consider(self, native: NativeProgram, after: int = HOT) -> None:
        """Compile a program if it is hot and nobody has asked for it yet; any thread may ask.

        Args:
            native: the native form of the program.
            after: so many instructions.
        """
        if native.requested or native.record.executed < after or self._stopping:
            return
        if self._waiting.qsize() >= MOST_WAITING or not native.request():
            return
        self._waiting.put(native)
        with self._starting:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, daemon=True, name="compiler")
                self._thread.start()
                atexit.register(self.stop)

    def wake(self) -> None:
        """Let it unload what was dropped, if it runs; else whoever compiles next does."""
        if self._thread is not None and self._waiting.empty():
            self._waiting.put(None)

    def _run(self) -> None:
        while True:
            native = self._waiting.get()
            if self._stopping:
                return
            if native is None:
                self._runtime.dropped.unload()
            else:
                self._runtime.compile_now(native, lambda: not self._stopping)
            del native  # a program that nobody runs any more goes away

    def stop(self) -> None:
        """Compile nothing more, and wait for what is being compiled: ending the process under LLVM breaks it."""
        with self._starting:
            self._stopping = True
        if self._thread is not None:
            self._waiting.put(None)
            while self._thread.is_alive():
                # Somebody who presses Ctrl-C again waits no shorter: a region takes a fraction of a second.
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    self._thread.join()
            self._thread = None


@functools.cache
def runtime() -> Runtime:
    """The one runtime of this process."""
    return Runtime()


def native_engine() -> Callable[[VM, int], Turn]:
    """The native interpreter alone, from the first instruction on."""
    here = runtime()

    def run(vm: VM, budget: int) -> Turn:
        here.prepare(vm)
        return here.turn(vm, budget)

    return run


def compiled_engine() -> Callable[[VM, int], Turn]:
    """Compiled code from the first instruction on: the first turn waits for the compiler."""
    here = runtime()

    def run(vm: VM, budget: int) -> Turn:
        native = here.prepare(vm)
        if native.request():
            here.compile_now(native)
        return here.turn(vm, budget)

    return run


def tiered_engine() -> Callable[[VM, int], Turn]:
    """The native interpreter, and compiled code once a program is hot."""
    here = runtime()

    def run(vm: VM, budget: int) -> Turn:
        native = here.prepare(vm)
        turn = here.turn(vm, budget)
        here.compiler.consider(native)
        return turn

    return run
