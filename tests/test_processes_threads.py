"""Processes in several threads: the books balance whatever the threads do. The long run is `tests.stress`."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from iridium.assembler import assemble
from iridium.events import EventRing
from iridium.processes import Processes
from iridium.scheduler import Scheduler
from iridium.vm import Program
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import KILLED, WORD_MESSAGE
from tests import stress

pytest.importorskip("llvmlite")


@pytest.mark.parametrize(("seed", "threads"), [(1, 2), (2, 4), (3, 3)])
def test_the_books_balance(seed: int, threads: int) -> None:
    """Protects processes from each other's threads: no message lost or doubled, no slot, lock or memory left over.

    Thousands send, spawn, watch, link, kill and die at random, with too few slots in every third seed; each has
    its end; every monitor fires once; what was sent is what was received, refused, or is still there.
    """
    command = [sys.executable, "-m", "tests.stress", "--seed", seed, "--threads", threads, "--count", 800]
    assert stress.watch([str(word) for word in command], 3 * stress.PATIENCE) == ""


PRINTING = """.data
n: .asciiz 'nobody'
.code
      prti $1
      load $2 @n
      whereis $2 $3
      djmpe @bad
      sleep $0
      prti $1
      gt $1 $4
      djmpn @end
      kill $5
end:  prti $1
bad:  hlt
"""


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_the_host_and_the_threads() -> None:
    """Protects the host, which reads output, answers questions and buries while threads run, kill and end.

    Each process ends once, for its owner; what it printed is the beginning of what it prints, or all.
    """
    scheduler = Scheduler(reactor, choice="native", threads=3)
    processes = Processes(scheduler, EventRing())
    program, chance = Program(assemble(PRINTING)), random.Random(5)
    begun = []
    for number in range(600):
        victim = begun[-1].pid if begun else 0
        process = await processes.spawn(program, registers={1: 7, 4: chance.choice((0, 9)), 5: victim})
        begun.append(process)
        if number % 7 == 0:
            begun[chance.randrange(len(begun))].kill()
    for process in begun:
        done = process.when_done().addTimeout(20.0, reactor)
        assert (await done).reason in (0, KILLED)
        assert process.output == "777"[: len(process.output)]
    assert {process.output for process in begun if process.exit.reason == 0} <= {"777", ""}
    assert processes.table.alive == 0
    processes.stop()
    scheduler.stop()


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_deadline_that_is_set_on_the_reactor_thread() -> None:
    """Protects SLEEP and RECVT of whoever the reactor has run itself: the workers asleep wake in time for them."""
    scheduler = Scheduler(reactor, choice="native", threads=2)
    processes = Processes(scheduler, EventRing())
    sleeper = Program(assemble(".code\nrecv $1 $2 $3\nload $4 #5\nsleep $4\nhltr $1\n"))
    process = await processes.spawn(sleeper)
    shared, host = processes.table.shared, processes.table.host
    while shared.waiting < 2 or shared.queued:
        await deferLater(reactor, 0.002)
    assert calls.deliver(host, process.pid, WORD_MESSAGE, 9, 0)
    processes.run_woken()
    assert (await process.when_done().addTimeout(20.0, reactor)).reason == 9
    processes.stop()
    scheduler.stop()


def test_the_stress_reports() -> None:
    """Protects the long run: it counts its seeds, and says by which signal one ended."""
    command = [sys.executable, "-m", "tests.stress", "--minutes", "0", "--count", "50", "--threads", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1 seeds, 0 failures\n")
    script = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    assert stress.watch([sys.executable, "-c", script], 10.0) == "ended by SIGSEGV"
    assert stress.watch([sys.executable, "-c", "import time; time.sleep(100)"], 0.3) == "hangs"
