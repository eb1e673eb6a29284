"""The choice of an engine: by name, by what is installed, and by how long a program runs."""

from __future__ import annotations

import functools
import gc
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from iridium.assembler import assemble
from iridium.cli.group import iridium
from iridium.errors import OptionError
from iridium.options import configure
from iridium.scheduler import Scheduler
from iridium.vm import VM, Program, Stop
from iridium.vm import engine as engine_module
from iridium.vm.engine import (
    ENGINES,
    NEEDS_LLVMLITE,
    WARM,
    NativeUnavailableError,
    available_engines,
    check_engine,
    find_engine,
    missing_llvmlite,
)
from iridium.vm.native import engine as native
from iridium.vm.native import program as native_program
from iridium.vm.native.program import PIECES, NativeProgram
from tests.memory import resident
from tests.processes import COMMAND, PATIENCE, Process, environment
from tests.repl_double import ReactorClock

LONG = """\
.code
        load $1 #500000
again:  inc $2
        prti $2
        lt $2 $1
        djmpe @again
        hltr $2
"""
"""A program that prints and goes through all tiers: two million instructions."""

ENDLESS = ".code\nl: inc $0\ndjmpn @l\n"

needs_llvmlite = pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed")


@pytest.fixture
def _without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python find no llvmlite, and nobody remember that there was one."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "llvmlite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setattr(native, "runtime", functools.cache(native.Runtime))


@pytest.fixture
def _broken_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let llvmlite be there, but not work."""

    def broken() -> None:
        raise NativeUnavailableError("llvmlite does not work here (no LLVM for this machine)")

    monkeypatch.setattr(native, "runtime", broken)


def run(path: Path, source: str, *options: str) -> Result:
    """Run a program by the command."""
    path = path / "p.iasm"
    path.write_text(source)
    return CliRunner().invoke(iridium, ["run", *options, str(path)], prog_name="iridium")


@pytest.mark.parametrize("name", [name for name in available_engines() if name != "reference"])
def test_every_engine_gives_the_same(tmp_path: Path, name: str) -> None:
    """Protects the command on every engine: output that exceeds the ring, and the stop code."""
    expected = "".join(map(str, range(1, 500_001)))
    result = run(tmp_path, LONG, "--engine", name)
    assert (result.exit_code, result.stdout == expected) == (500_000 % 256, True)


@pytest.mark.parametrize("name", available_engines())
@pytest.mark.parametrize("limit", [0, 1, WARM - 1, WARM, WARM + 1, native.HOT - 1, native.HOT + 1, 1_000_003])
def test_limit_is_exact_on_every_engine(tmp_path: Path, name: str, limit: int) -> None:
    """Protects --limit where one engine takes over from another."""
    result = run(tmp_path, ENDLESS, "--engine", name, "--limit", str(limit))
    assert result.exit_code == 75
    assert f"after {limit} instruction" in result.stderr


def test_an_engine_that_does_not_exist(tmp_path: Path) -> None:
    """Protects the list of names in the error."""
    result = run(tmp_path, ENDLESS, "--engine", "steam")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "iridium: --engine 'steam' is none of auto, reference, native, compiled\n"


@pytest.mark.usefixtures("_without_llvmlite")
def test_without_llvmlite_programs_run_all_the_same(tmp_path: Path) -> None:
    """Protects machines without llvmlite: one line on standard error, once the program is not over at once."""
    result = run(tmp_path, ENDLESS, "--limit", "20000")
    told, stopped = result.stderr.splitlines()
    assert told == f"iridium: {missing_llvmlite()}; programs run in the reference engine"
    assert "pip install llvmlite" in told
    assert "stopped by --limit after 20000 instructions" in stopped
    assert run(tmp_path, ".code\nhlt\n").stderr == ""
    assert "pip" not in run(tmp_path, ENDLESS, "--limit", "20000", "--engine", "reference").stderr


@pytest.mark.usefixtures("_without_llvmlite")
@pytest.mark.parametrize("name", NEEDS_LLVMLITE)
def test_without_llvmlite_a_native_engine_is_an_error(tmp_path: Path, name: str) -> None:
    """Protects whoever asks for what is not there: the command, and a node before it starts, say what to do."""
    result = run(tmp_path, ".code\nhlt\n", "--engine", name)
    assert (result.exit_code, result.stderr) == (2, f"iridium: {missing_llvmlite()}\n")
    with pytest.raises(OptionError, match="pip install llvmlite"):
        configure({"engine": name})
    assert configure({"engine": "auto"}).engine == "auto"
    assert list(available_engines()) == ["auto", "reference"]


@pytest.mark.usefixtures("_broken_llvmlite")
def test_llvmlite_that_does_not_work(tmp_path: Path) -> None:
    """Protects against an llvmlite that knows no code for this machine: the same as none."""
    result = run(tmp_path, ENDLESS, "--limit", "20000")
    assert "no LLVM for this machine" in result.stderr.splitlines()[0]
    assert result.exit_code == 75
    with pytest.raises(NativeUnavailableError):
        find_engine("native")


@pytest.mark.usefixtures("_without_llvmlite")
def test_without_llvmlite_a_node_has_no_worker_threads() -> None:
    """Protects a node: its scheduler runs everything on the reactor thread, and knows why."""
    scheduler = Scheduler(ReactorClock(), choice="auto")
    assert scheduler.workers.available is False
    assert isinstance(scheduler.problem, NativeUnavailableError)
    assert Scheduler(ReactorClock(), choice="reference").problem is None


def test_checking_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects an idle node from LLVM: a name is checked without making an engine."""
    monkeypatch.setattr(native, "runtime", lambda: pytest.fail("the runtime was loaded"))
    for name in ENGINES if missing_llvmlite() is None else ("auto", "reference"):
        check_engine(name)


@needs_llvmlite
def test_tiers() -> None:
    """Protects ``auto``: plain Python first, then the interpreter, then compiled code."""
    vm = VM(Program(assemble(ENDLESS)))
    engine = find_engine("auto")
    assert engine(vm, WARM).stop is Stop.BUDGET
    assert vm.program.native is None
    engine(vm, 1)
    assert vm.program.native is not None
    while vm.program.native.compiled is None:
        engine(vm, 100_000)
    assert vm.record.instructions >= native.HOT
    before = vm.record.instructions
    engine(vm, 1_000_001)
    assert vm.record.instructions == before + 1_000_001


@needs_llvmlite
@pytest.mark.processes
def test_a_program_that_ends_while_it_is_compiled(tmp_path: Path) -> None:
    """Protects the end of a process: LLVM at work in another thread neither breaks it nor is cut off."""
    (tmp_path / "p.iasm").write_text(LONG.replace("prti $2", "nop"))
    env = environment(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    for _ in range(2):  # the second finds the interpreter, and what was compiled, on disk
        process = Process(*COMMAND, "run", "p.iasm", cwd=tmp_path, env=env)
        status = process.status()
        process.close()
        assert (status, process.text) == (500_000 % 256, "")


# Who compiles, and what becomes of it. None of this needs LLVM.


class Code:
    """Linked machine code, as far as unloading goes."""

    def __init__(self) -> None:
        self.closed_by: list[str] = []

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def form() -> NativeProgram:
    """The native form of a program."""
    return NativeProgram(Program(assemble(ENDLESS)), [1] * PIECES)


def compiled(dropped: native.Dropped) -> tuple[native.Compiled, Code]:
    """A program in machine code."""
    code = Code()
    return native.Compiled({0: 4096}, [code], 0.0, False, dropped), code


class FakeRuntime:
    """Notes what is to be compiled."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[NativeProgram] = queue.SimpleQueue()
        self.compiler = native.BackgroundCompiler(self)  # type: ignore[arg-type]
        self.dropped = native.Dropped(self.compiler.wake)

    def compile_now(self, native: NativeProgram, go_on: Callable[[], bool]) -> None:
        self.jobs.put(native)


@pytest.fixture
def fake() -> Any:
    """A runtime whose compiler ends with the test."""
    runtime = FakeRuntime()
    yield runtime
    runtime.compiler.stop()


def test_one_program_is_compiled_once(fake: FakeRuntime) -> None:
    """Protects code that runs: many threads find a program hot at once, and one of them has it compiled."""
    threads = 8
    together = threading.Barrier(threads)

    class Record:
        count = 1

        @property
        def executed(self) -> int:
            together.wait(PATIENCE)  # all of them have seen that nobody has asked yet
            return native.HOT

    one, last = form(), form()
    one.record = Record()  # type: ignore[assignment]
    running = [threading.Thread(target=fake.compiler.consider, args=(one,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    fake.compiler.consider(last, 0)
    assert fake.jobs.get(timeout=PATIENCE) is one
    assert fake.jobs.get(timeout=PATIENCE) is last


def test_compiled_after_it_is_hot_and_not_before(fake: FakeRuntime) -> None:
    """Protects short programs from the compiler: the counter decides, to the instruction."""
    one = form()
    one.record.executed = native.HOT - 1
    fake.compiler.consider(one)
    assert (one.requested, fake.compiler._thread) == (False, None)
    one.record.executed = native.HOT
    fake.compiler.consider(one)
    assert fake.jobs.get(timeout=PATIENCE) is one


def test_too_many_wait_for_the_compiler(fake: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the bound of the queue: who finds no room is compiled when it is considered again."""
    one = form()
    with monkeypatch.context() as patch:
        patch.setattr(native, "MOST_WAITING", 0)
        fake.compiler.consider(one, 0)
        assert not one.requested
    fake.compiler.consider(one, 0)
    assert fake.jobs.get(timeout=PATIENCE) is one


def test_a_very_long_program_is_never_compiled(fake: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the compiler's thread: beyond a length a program stays interpreted, and nobody asks again."""
    monkeypatch.setattr(native_program, "LONGEST_COMPILED", 1)
    long, short = form(), NativeProgram(Program(assemble(".code\nhlt\n")), [1] * PIECES)
    fake.compiler.consider(long, 0)
    fake.compiler.consider(short, 0)
    assert long.requested
    assert fake.jobs.get(timeout=PATIENCE) is short


def test_code_that_runs_stays() -> None:
    """Protects VMs that run compiled code: what comes second is unloaded, and the first is where it was."""
    dropped = native.Dropped(lambda: None)
    (first, running), (second, late) = compiled(dropped), compiled(dropped)
    one = form()
    one.enter_at(first)
    entries = one.record.entries
    one.enter_at(second)
    assert (one.compiled, one.record.entries) == (first, entries)
    dropped.unload()
    assert (len(running.closed_by), len(late.closed_by)) == (0, 1)
    del one
    dropped.unload()
    assert len(running.closed_by) == 1


def test_code_is_unloaded_by_the_compiler(fake: FakeRuntime) -> None:
    """Protects the reactor: whoever drops a program does not wait for LLVM, which is at work in another thread."""
    early, early_code = compiled(fake.dropped)
    early.drop()
    assert (len(fake.dropped), early_code.closed_by) == (1, []), "that thread has never run"
    fake.compiler.consider(form(), 0)
    fake.jobs.get(timeout=PATIENCE)
    unloaded: queue.SimpleQueue[None] = queue.SimpleQueue()
    late, code = compiled(fake.dropped)
    late.linked.append(type("Last", (), {"close": lambda self: unloaded.put(None)})())
    one = form()
    one.enter_at(late)
    del one
    unloaded.get(timeout=PATIENCE)
    assert early_code.closed_by == code.closed_by == ["compiler"]
    fake.compiler.stop()
    last, last_code = compiled(fake.dropped)
    last.drop()
    assert (len(fake.dropped), last_code.closed_by) == (1, []), "that thread has ended"


def test_code_of_garbage_is_unloaded_once() -> None:
    """Protects LLVM from two threads with one object: what only a cycle of garbage had is not collected."""
    finalized: list[str] = []

    class Tracker(Code):
        def __del__(self) -> None:
            finalized.append("by the collector")

    dropped = native.Dropped(lambda: None)
    one = form()
    one.program.native = one
    one.enter_at(native.Compiled({0: 4096}, [Tracker()], 0.0, False, dropped))
    del one
    gc.collect()
    assert (len(dropped), finalized) == (1, [])
    dropped.unload()
    assert (len(dropped), finalized) == (0, ["by the collector"])


def test_dropped_code_is_bounded() -> None:
    """Protects memory where nobody compiles any more: beyond a number, code is unloaded where it is dropped."""
    dropped = native.Dropped(lambda: None, most=3)
    codes = []
    for _ in range(5):
        one, code = compiled(dropped)
        one.drop()
        codes.append(code)
    assert [len(code.closed_by) for code in codes] == [0, 0, 0, 1, 1]
    assert len(dropped) == 3


# Where LLVM fails, and what is on disk.


@needs_llvmlite
@pytest.mark.parametrize("broken", ["compile", "link"])
@pytest.mark.parametrize("error", [RuntimeError("no such relocation"), OSError("out of memory")])
def test_llvm_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: Exception) -> None:
    """Protects against an LLVM that cannot make or load the interpreter: the same as none."""
    from iridium.vm.native.jit import Jit

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(Jit, broken, fail)
    monkeypatch.setattr(native, "runtime", lambda: native.Runtime(tmp_path / "cache"))
    result = run(tmp_path, ENDLESS, "--limit", "20000")
    assert (result.exit_code, str(error) in result.stderr.splitlines()[0]) == (75, True)
    with pytest.raises(NativeUnavailableError, match=str(error)):
        find_engine("compiled")


@needs_llvmlite
def test_a_program_that_cannot_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects a run where LLVM fails over one program: it stays in the interpreter, and that is logged."""

    def fail(*arguments: object) -> None:
        raise RuntimeError("LLVM is out of registers")

    monkeypatch.setattr(native.Runtime, "compile", fail)
    result = run(tmp_path, ENDLESS, "--limit", "1000003", "--engine", "compiled")
    assert result.exit_code == 75
    assert "after 1000003 instruction" in result.stderr
    assert "could not be compiled" in caplog.text


@needs_llvmlite
def test_compiling_is_cancelled_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the end of a process: while a long program is still analysed, a no ends it."""
    runtime = native.runtime()
    long = Program(assemble(".code\n" + "inc $0\n" * 50_000))
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(1)
        return len(asked) < 5

    with pytest.raises(native.CancelledError):
        runtime.compile(long, go_on)
    assert len(asked) == 5


@needs_llvmlite
def test_building_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is built once, and whoever has somebody to tell hears of it before it is."""
    told: list[str] = []
    monkeypatch.setattr(engine_module, "on_build", lambda: told.append("building"))
    first, second = native.Runtime(tmp_path).loading, native.Runtime(tmp_path).loading
    assert told == ["building"]
    assert (first.built, second.built, second.directory) == (True, False, tmp_path)
    assert first.seconds > second.seconds > 0


@needs_llvmlite
def test_another_process_finds_the_regions(tmp_path: Path) -> None:
    """Protects the cache: what one runtime has compiled, another takes from the disk, and it runs alike."""
    first, second = native.Runtime(tmp_path), native.Runtime(tmp_path)
    results = []
    for runtime in (first, second):
        vm = VM(Program(assemble(LONG.replace("prti $2", "nop"))))
        form = runtime.prepare(vm)
        form.enter_at(runtime.compile(vm.program))
        assert form.compiled is not None
        turn = runtime.turn(vm, 10_000_000)
        results.append((form.compiled.from_cache, turn, vm.record.stop_code))
    assert [from_cache for from_cache, _, _ in results] == [False, True]
    assert results[0][1:] == results[1][1:]
    another = Program(assemble(LONG))
    assert not second.compile(another).from_cache


@pytest.mark.skipif(missing_llvmlite() is not None, reason="nothing is compiled without llvmlite")
def test_compiling_gives_its_memory_back() -> None:
    """Protects a node that compiles many programs: nothing that LLVM needed for one stays, but its code."""
    from iridium.vm.native.compiler import region_ir
    from iridium.vm.native.flow import Flow

    ir, _ = region_ir(Flow(Program(assemble(LONG))), 0)
    jit = native.runtime().jit
    before = 0
    for number in range(90):
        if number == 30:
            before = resident()
        jit.compile(ir)
    assert resident() - before < 60 * 32 * 1024
