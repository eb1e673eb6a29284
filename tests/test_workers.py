"""Worker threads that run VMs in machine code, on the real reactor: fair, exact, stopped at once."""

from __future__ import annotations

import ctypes
import gc
import mmap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from iridium.assembler import assemble
from iridium.events import EventRing
from iridium.processes import Processes
from iridium.scheduler import MAX_RUNNING, Scheduler, Task
from iridium.scheduler import workers as workers_module
from iridium.vm import VM, Program, Stop
from iridium.vm.engine import WARM, NativeUnavailableError, missing_llvmlite
from iridium.vm.machine import HEAP_LIMIT, Limits
from iridium.vm.native import engine as native
from iridium.vm.native.program import NativeProgram
from iridium.vm.reference import Turn
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.mailbox import LONGEST_MESSAGE
from tests.processes import PATIENCE

pytestmark = [
    pytest.mark.real_reactor,
    pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed"),
]

ENDLESS = Program(assemble(".code\nl: inc $0\ndjmpn @l\n"))
FLOOD = Program(assemble(".code\nl: prti $0\ninc $0\ndjmpn @l\n"))
THREADS = 2


@pytest.fixture
def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest.fixture
def make(_reactor: Any) -> Iterator[Callable[[str], Scheduler]]:
    """Makes schedulers of an engine, and ends them."""
    made: list[Scheduler] = []

    def scheduler(choice: str = "native") -> Scheduler:
        made.append(Scheduler(_reactor, choice=choice, threads=THREADS))
        return made[-1]

    yield scheduler
    for one in made:
        one.stop()


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until a condition holds."""
    from twisted.internet import reactor

    for _ in range(int(PATIENCE / 0.002)):
        if condition():
            return
        await deferLater(reactor, 0.002)
    pytest.fail("what was waited for did not happen")


class Owner:
    """Notes how VMs ended, and reads what they print unless told otherwise."""

    def __init__(self, reads: bool = True) -> None:
        self.stops: list[Stop] = []
        self.text: list[str] = []
        self.reads = reads

    def stopped(self, vm: VM, turn: Turn | None) -> None:
        assert turn is not None
        self.stops.append(turn.stop)

    def printed(self, vm: VM) -> None:
        if self.reads:
            self.text.append(vm.output.take())

    def start(self, scheduler: Scheduler, vm: VM, limit: int | None = None) -> Task:
        return scheduler.start(vm, self.stopped, self.printed, limit=limit)


@pytest_twisted.ensureDeferred
async def test_fair(make: Callable[[], Scheduler]) -> None:
    """VMs that never end have executed as much as one another, however many there are for each thread."""
    scheduler, owner = make(), Owner()
    vms = [VM(ENDLESS) for _ in range(9)]
    tasks = [owner.start(scheduler, vm) for vm in vms]
    await until(lambda: min(vm.record.instructions for vm in vms) > 600_000_000)
    for task in tasks:
        task.stop()
    counts = [vm.record.instructions for vm in vms]
    # A worker that the system stops keeps its batch meanwhile: more than a tenth apart on a busy machine.
    assert max(counts) <= 1.5 * min(counts), counts
    workers = scheduler.workers
    assert workers is not None
    assert sum(executed for _, executed in workers.worker_counts) >= sum(counts)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("choice", ["auto", "native", "compiled"])
async def test_limits_are_exact(make: Callable[[str], Scheduler], choice: str) -> None:
    """A VM executes its limit and not one instruction more; the end of the limit is told as such."""
    scheduler, owner = make(choice), Owner()
    limits = [1, 2, 4095, 4096, 4097, WARM + 1, 100_003, 3_000_001]
    vms = [VM(ENDLESS) for _ in limits]
    for vm, limit in zip(vms, limits, strict=True):
        owner.start(scheduler, vm, limit)
    await until(lambda: len(owner.stops) == len(limits))
    assert [vm.record.instructions for vm in vms] == limits
    assert set(owner.stops) == {Stop.BUDGET}
    assert scheduler.running == 0


@pytest_twisted.ensureDeferred
async def test_stop_of_what_runs(make: Callable[[], Scheduler]) -> None:
    """When ``stop`` returns, the VM runs no more, whatever a worker was doing with it."""
    scheduler, owner = make(), Owner()
    vm = VM(ENDLESS)
    for _ in range(50):
        before = vm.record.instructions
        task = owner.start(scheduler, vm)
        await until(lambda before=before: vm.record.instructions > before)
        task.stop()
        after = vm.record.instructions
        record = bytes(vm.record)[: type(vm.record).next.offset]
        await deferLater(scheduler._clock, 0)
        assert (vm.record.instructions, bytes(vm.record)[: len(record)]) == (after, record)
    assert owner.stops == []


@pytest_twisted.ensureDeferred
async def test_started_again_while_it_is_queued(make: Callable[[], Scheduler]) -> None:
    """Stopping a VM that waits for its turn and starting it at once gives it turns once, not twice or never."""
    scheduler, owner = make(), Owner()
    busy = [owner.start(scheduler, VM(ENDLESS)) for _ in range(50)]
    await until(lambda: all(task.vm.record.instructions for task in busy))
    vm = VM(ENDLESS)
    for _ in range(300):
        owner.start(scheduler, vm).stop()
    before = vm.record.instructions
    owner.start(scheduler, vm, 100_003)
    await until(lambda: owner.stops)
    assert vm.record.instructions == before + 100_003
    assert owner.stops == [Stop.BUDGET]


@pytest_twisted.ensureDeferred
async def test_stopped_in_the_queue_and_forgotten(make: Callable[[], Scheduler]) -> None:
    """The memory of a VM that was stopped in the queue lasts until no worker can come across it, and no longer."""
    scheduler, owner = make(), Owner()
    busy = owner.start(scheduler, VM(FLOOD))  # its output lets the host look
    for _ in range(500):
        owner.start(scheduler, VM(ENDLESS)).stop()
    workers = scheduler.workers
    assert workers is not None
    await until(lambda: busy.vm.record.instructions > 1_000_000 and not workers._dropped)


@pytest_twisted.ensureDeferred
async def test_full_output_waits(make: Callable[[], Scheduler]) -> None:
    """A VM whose output nobody reads stops at the full ring, and goes on behind it once it is woken."""
    scheduler, owner = make(), Owner(reads=False)
    vm = VM(FLOOD, Limits(output=10))
    task = owner.start(scheduler, vm)
    await until(lambda: task.waiting)
    assert (len(vm.output), vm.record.instructions) == (10, 30)
    text = vm.output.take()
    owner.reads = True
    task.wake()
    await until(lambda: sum(map(len, owner.text)) > 10_000)
    task.stop()
    text += "".join(owner.text) + vm.output.take()
    expected = "".join(map(str, range(vm.record.registers[0] + 1)))
    assert expected.startswith(text)
    assert len(text) > 10_000


@pytest_twisted.ensureDeferred
async def test_thousands(make: Callable[[], Scheduler]) -> None:
    """Two thousand VMs at once, more than turns in plain Python allow: each gets to its limit."""
    scheduler, owner = make(), Owner()
    first = owner.start(scheduler, VM(ENDLESS))
    await until(lambda: first.vm.record.instructions)
    vms = [VM(ENDLESS) for _ in range(2000)]
    assert len(vms) > MAX_RUNNING
    for vm in vms:
        owner.start(scheduler, vm, 50_001)
    await until(lambda: len(owner.stops) == len(vms))
    assert {vm.record.instructions for vm in vms} == {50_001}
    assert scheduler.running == 1


@pytest_twisted.ensureDeferred
async def test_faults_and_ends(make: Callable[[], Scheduler]) -> None:
    """How a program ended is told as the reference engine tells it, after all it printed."""
    scheduler, owner = make(), Owner()
    crashing = VM(Program(assemble(".code\nload $1 #7\nprti $1\ndiv $1 $2 $3\n")))
    halting = VM(Program(assemble(".code\nload $1 #3\nhltr $1\n")))
    for vm in (crashing, halting):
        owner.start(scheduler, vm)
    await until(lambda: len(owner.stops) == 2)
    assert sorted(owner.stops) == [Stop.HALTED, Stop.FAULT]
    assert owner.text == ["7"]
    assert crashing.crash is not None
    assert (crashing.crash.kind.value, halting.record.stop_code) == ("division-by-zero", 3)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("choice", ["auto", "native", "compiled"])
async def test_no_runtime(make: Callable[[str], Scheduler], monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    """Where LLVM turns out not to work, what was given to the workers runs on the reactor thread after all."""

    def broken() -> None:
        raise NativeUnavailableError("llvmlite does not work here (no such machine)")

    monkeypatch.setattr(native, "runtime", broken)
    scheduler, owner = make(choice), Owner()
    vms = [VM(ENDLESS) for _ in range(3)]
    for vm in vms:
        owner.start(scheduler, vm, WARM + 20_001)
    await until(lambda: len(owner.stops) == len(vms))
    assert {vm.record.instructions for vm in vms} == {WARM + 20_001}
    if choice != "auto":
        assert "no such machine" in str(scheduler.problem)


@pytest_twisted.ensureDeferred
async def test_choices(make: Callable[[str], Scheduler]) -> None:
    """``native`` never compiles, ``compiled`` always does, ``auto`` once a program is hot and not before."""
    owner = Owner()
    program = {
        choice: Program(assemble(".code\nl: inc $0\ndjmpn @l\n")) for choice in ("auto", "native", "compiled")
    }
    for choice, one in program.items():
        owner.start(make(choice), VM(one), 20 * native.HOT)
    short = Program(assemble(".code\nnop\nhlt\n"))
    owner.start(make("auto"), VM(short))
    await until(lambda: len(owner.stops) == 4 and program["auto"].native.compiled)
    assert program["native"].native.compiled is None
    assert program["compiled"].native.compiled is not None
    assert short.native is None


@pytest_twisted.ensureDeferred
async def test_stop_of_the_scheduler(make: Callable[[], Scheduler]) -> None:
    """Busy workers end at once, and nothing of them is left."""
    scheduler, owner = make(), Owner()
    vms = [VM(ENDLESS) for _ in range(100)]
    for vm in vms:
        owner.start(scheduler, vm)
    await until(lambda: all(vm.record.instructions for vm in vms))
    scheduler.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker ")]
    counts = [vm.record.instructions for vm in vms]
    await deferLater(scheduler._clock, 0)
    assert counts == [vm.record.instructions for vm in vms]


def short(number: int, rounds: int = 15 * WARM) -> Program:
    """A program that takes more than some turns in plain Python and is not hot; another one for each number."""
    source = f".code\nload $1 #{number}\nload $2 #{rounds}\nl: inc $3\nlt $3 $2\ndjmpe @l\nhlt\n"
    return Program(assemble(source))


async def loaded(scheduler: Scheduler) -> None:
    """Wait until there is machine code, so that what runs on is the workers'."""
    scheduler.workers.when_ready(lambda: None)
    await until(lambda: scheduler.workers.available)


def natives() -> int:
    """How many programs are in memory in their native form."""
    gc.collect()
    return sum(isinstance(found, NativeProgram) for found in gc.get_objects())


@pytest_twisted.ensureDeferred
async def test_programs_that_are_over_are_forgotten(make: Callable[[str], Scheduler]) -> None:
    """Protects a node's memory: hundreds of programs that end before they are hot leave nothing behind."""
    scheduler, owner = make("auto"), Owner()
    await loaded(scheduler)
    gc.unfreeze()  # what other tests left has to go first
    before = natives()
    for number in range(0, 300, 50):
        for one in range(number, number + 50):
            owner.start(scheduler, VM(short(one)))
        await until(lambda number=number: len(owner.stops) == number + 50)
    workers = scheduler.workers
    await until(lambda: not workers._dropped)
    assert natives() <= before + 1  # the table has the last one until it gets another
    assert len(workers._heat) <= 1


@pytest_twisted.ensureDeferred
async def test_programs_of_processes_that_are_over_are_forgotten(make: Callable[[str], Scheduler]) -> None:
    """The same for processes: the table drops their programs, and nobody else has them."""
    scheduler = make("auto")
    processes = Processes(scheduler, EventRing())
    gc.unfreeze()
    before = natives()
    for number in range(200):
        await (await processes.spawn(short(number))).when_done()
    await (await processes.spawn(Program(assemble(".code\nhlt\n")))).when_done()
    assert natives() <= before + 1
    assert len(scheduler.workers._heat) <= 1
    processes.stop()


@pytest_twisted.ensureDeferred
async def test_hot_once_in_many_runs(make: Callable[[str], Scheduler]) -> None:
    """A program is watched for as long as somebody keeps it: many short processes of it make it hot together."""
    scheduler = make("auto")
    processes = Processes(scheduler, EventRing())
    program = short(1, native.HOT // 10)
    for _ in range(4):
        assert program.native is None or program.native.compiled is None
        assert program.native is None or program.native.record.executed < native.HOT
        await (await processes.spawn(program)).when_done()
    # Some worker looks when its call is over.
    busy = Owner().start(scheduler, VM(ENDLESS))
    await until(lambda: program.native.compiled)
    busy.stop()
    processes.stop()


@pytest_twisted.ensureDeferred
async def test_compiled_processes(make: Callable[[str], Scheduler]) -> None:
    """``compiled`` compiles what processes run too, before their first instruction."""
    processes = Processes(make("compiled"), EventRing())
    program = Program(assemble(".code\nl: inc $1\nlt $1 $2\ndjmpe @l\nhlt\n"))
    process = await processes.spawn(program, registers={2: 100_000})
    assert program.native.compiled is not None
    assert (await process.when_done()).reason == 0
    other = Program(assemble(".code\nhlt\n"))  # as a node starts one for another node
    pid = processes.begin_for_other(other, other.base, b"", 0, "", "other")
    await until(lambda: other.native.compiled)
    processes.let_run(pid)
    processes.stop()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("choice", ["native", "auto"])
async def test_a_program_that_cannot_be_prepared(
    make: Callable[[str], Scheduler],
    monkeypatch: pytest.MonkeyPatch,
    logged_failures: list[str],
    choice: str,
) -> None:
    """A program that cannot be decoded runs on the reactor thread; the others run in machine code as before."""
    monkeypatch.setattr(workers_module, "SLOW_TO_DECODE", 0)
    bad = short(1)
    load = native.Runtime.load

    def fail(self: native.Runtime, program: Program) -> NativeProgram:
        if program is bad:
            raise MemoryError("no room")
        return load(self, program)

    monkeypatch.setattr(native.Runtime, "load", fail)
    scheduler, owner = make(choice), Owner()
    await loaded(scheduler)
    good = short(2)
    for program in (bad, good, bad):
        owner.start(scheduler, VM(program))
    await until(lambda: len(owner.stops) == 3)
    assert set(owner.stops) == {Stop.HALTED}
    assert (bad.native, good.native is None) == (None, False)
    assert scheduler.running == 0
    assert all("no room" in text for text in logged_failures)
    assert logged_failures
    logged_failures.clear()


@pytest_twisted.ensureDeferred
async def test_a_program_that_nothing_can_run(
    make: Callable[[str], Scheduler], monkeypatch: pytest.MonkeyPatch, logged_failures: list[str]
) -> None:
    """A program with process instructions that cannot be prepared is ended, and its owner told."""
    monkeypatch.setattr(workers_module, "SLOW_TO_DECODE", 0)

    def fail(self: native.Runtime, program: Program) -> NativeProgram:
        raise MemoryError("no room")

    monkeypatch.setattr(native.Runtime, "load", fail)
    scheduler = make("native")
    ended: list[Turn | None] = []
    program = Program(assemble(".code\nself $1\nhlt\n"))
    scheduler.start(VM(program), lambda vm, turn: ended.append(turn), lambda vm: None)
    await until(lambda: ended)
    assert (ended, scheduler.running) == ([None], 0)
    processes = Processes(scheduler, EventRing())
    with pytest.raises(MemoryError):
        await processes.spawn(short(1))
    processes.stop()
    logged_failures.clear()


@pytest_twisted.ensureDeferred
async def test_a_program_that_cannot_be_compiled(
    make: Callable[[str], Scheduler], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``compiled``, a program over which LLVM fails goes on in the interpreter, and ends."""

    def fail(self: native.Runtime, program: Program, go_on: object) -> None:
        raise RuntimeError("LLVM is out of registers")

    monkeypatch.setattr(native.Runtime, "compile", fail)
    scheduler, owner = make("compiled"), Owner()
    program = short(1)
    for _ in range(2):
        owner.start(scheduler, VM(program))
    await until(lambda: len(owner.stops) == 2)
    assert set(owner.stops) == {Stop.HALTED}
    assert (program.native is None, program.native.compiled) == (False, None)
    processes = Processes(scheduler, EventRing())
    assert (await (await processes.spawn(short(2))).when_done()).reason == 0
    processes.stop()
    assert "out of registers" in caplog.text


@pytest_twisted.ensureDeferred
async def test_a_runtime_that_is_broken(
    make: Callable[[str], Scheduler], monkeypatch: pytest.MonkeyPatch, logged_failures: list[str]
) -> None:
    """A bug while machine code is loaded keeps nobody waiting: processes and programs run in Python."""
    monkeypatch.setattr(calls, "__dict__", {"native": False})  # what was loaded stands there, by name

    def broken() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(native, "runtime", broken)
    scheduler, owner = make("native"), Owner()
    owner.start(scheduler, VM(ENDLESS), 10_001)
    processes = Processes(scheduler, EventRing())
    process = await processes.spawn(Program(assemble(".code\nself $1\nhlt\n")))
    assert (await process.when_done()).reason == 0
    await until(lambda: owner.stops)
    assert scheduler.workers.available is False
    assert "a bug" in str(scheduler.problem)
    processes.stop()
    [text] = logged_failures
    assert "ValueError: a bug" in text
    logged_failures.clear()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("choice", ["auto", "compiled"])
async def test_long_programs_are_prepared_elsewhere(
    make: Callable[[str], Scheduler], monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """Protects the reactor: what is spawned is decoded, and compiled where it has to be, in another thread."""
    threads: list[tuple[str, bool]] = []

    def noted(name: str) -> None:
        call = getattr(native.Runtime, name)

        def run(self: native.Runtime, *arguments: Any) -> Any:
            if name == "compile" or arguments[0].native is None:
                threads.append((name, threading.current_thread() is threading.main_thread()))
            return call(self, *arguments)

        monkeypatch.setattr(native.Runtime, name, run)

    noted("load")
    noted("compile")
    processes = Processes(make(choice), EventRing())
    program = Program(assemble(".code\n" + "inc $1\n" * workers_module.SLOW_TO_DECODE + "hlt\n"))
    for _ in range(2):
        assert (await (await processes.spawn(program)).when_done()).reason == 0
    expected = [("load", False)] + [("compile", False)] * (choice == "compiled")
    assert threads == expected
    processes.stop()


@pytest_twisted.ensureDeferred
async def test_memory_comes_back(make: Callable[[], Scheduler]) -> None:
    """The memory of VMs and processes that ended in a worker is given back, whether they halt or fault."""

    def reserved() -> int:
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE

    scheduler, owner = make(), Owner()
    processes = Processes(scheduler, EventRing())
    gc.unfreeze()
    programs = [
        Program(assemble(f".code\nload $1 #4096\naloc $1\nsetm $1 $1\npush $1\nprti $1\n{end}\n"))
        for end in ("hlt", "div $1 $2 $3")
    ]
    before = 0
    for number in range(60):
        if number == 10:
            before = reserved()
        program = programs[number % 2]
        owner.start(scheduler, VM(program))
        process = await processes.spawn(program)
        await process.when_done()
        await until(lambda number=number: len(owner.stops) == number + 1)
        assert process.exit is not None
    assert processes.table.alive == 0
    assert reserved() - before < 10 * HEAP_LIMIT, "each of a hundred had reserved so much"
    processes.stop()


@pytest_twisted.ensureDeferred
async def test_all_threads_work(make: Callable[[], Scheduler]) -> None:
    """Every worker thread executes a fair part of what there is to do."""
    scheduler, owner = make(), Owner()
    tasks = [owner.start(scheduler, VM(ENDLESS)) for _ in range(20)]
    workers = scheduler.workers
    await until(lambda: sum(executed for _, executed in workers.worker_counts) > 400_000_000)
    assert len(workers.worker_counts) == THREADS
    assert all(turns for turns, _ in workers.worker_counts)
    await until(lambda: min(executed for _, executed in workers.worker_counts) > 40_000_000)
    for task in tasks:
        task.stop()


def test_compiled_code_is_entered_while_it_runs() -> None:
    """Protects the moment when compiled code takes over: a VM that runs finds a whole address or none."""
    runtime = native.runtime()
    vm = VM(Program(assemble(".code\nl: inc $0\ninc $1\ndjmpn @l\n")))
    form = runtime.prepare(vm)
    compiled = runtime.compile(vm.program)
    running = threading.Thread(target=lambda: [runtime.turn(vm, 100_000) for _ in range(1000)])
    running.start()
    tables = []  # the thread may still read an old one
    while running.is_alive():
        form.record.entries = 0
        form.compiled = None
        form.enter_at(compiled)
        tables.append(form._entries)
    assert vm.record.instructions == 100_000_000
    assert ctypes.addressof(form.record) == vm.record.program


SLOW = {
    "sendm": ".code\naloc $1\nagain: sendm $9 $0 $1\neq $0 $0\ndjmpe @again\n",
    "prts": f".data\ns: .asciiz '{'x' * 60_000}'\n.code\nagain: prts @s\neq $0 $0\ndjmpe @again\n",
}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("choice", ["native", "compiled"])
@pytest.mark.parametrize("what", SLOW)
async def test_stop_of_slow_instructions(make: Callable[[str], Scheduler], what: str, choice: str) -> None:
    """Stopping a program whose instructions are slow waits for some of them, not for a turn of thousands."""
    scheduler, owner = make(choice), Owner()
    slow, other = VM(Program(assemble(SLOW[what]))), VM(ENDLESS)
    slow.record.registers[1] = LONGEST_MESSAGE
    tasks = [owner.start(scheduler, vm) for vm in (slow, other)]
    await until(lambda: slow.record.instructions > 1000 and other.record.instructions > 1_000_000)
    for task in tasks:
        task.stop()
    assert slow.record.instructions <= 100 * slow.record.turns
    assert other.record.instructions > 10 * slow.record.instructions
