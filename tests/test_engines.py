"""The choice of an engine: by name, by what is installed, and by how long a program runs."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from iridium.assembler import assemble
from iridium.cli.group import iridium
from iridium.errors import OptionError
from iridium.options import configure
from iridium.scheduler import Scheduler
from iridium.vm import VM, Program, Stop
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
from tests.memory import resident
from tests.processes import COMMAND, Process, environment
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
