"""Many processes in several threads that send, spawn, watch, link and kill at random; what holds at the end.

    python -m tests.stress --minutes 10 --threads 4

runs one seed after the other in processes of their own, and tells of signals and of books that do not balance.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

from iridium.assembler import assemble
from iridium.scheduler.table import ProcessTable
from iridium.vm import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import (
    END_MESSAGE,
    ENDED,
    FREE,
    IDLE,
    KILLED,
    MAILBOX,
    SLOT,
    SLOT_MASK,
    Worker,
)
from iridium.vm.runtime.scheduling import STOPPING, TURN

PATIENCE = 60.0
"""Seconds that one seed may take."""

# $31: the seed; $30: rounds left; $29: the collector; $28 messages taken, $27 messages received; $26 generations
# left; $25: the last pid that was heard of; $24: notices that must still come. Every end tells the collector.
SOURCE = """.code
      self $25
loop: dec $30
      gt $30 $0
      djmpn @end
      load $1 #25173
      mul $31 $1 $31
      addi $31 #13849
      mov $31 $2
      shr $2 #20
      load $1 #15
      and $2 $1 $2
      load $3 #3
      lt $2 $3
      djmpe @word
      load $3 #5
      lt $2 $3
      djmpe @pid
      load $3 #6
      lt $2 $3
      djmpe @bytes
      load $3 #9
      lt $2 $3
      djmpe @take
      load $3 #10
      lt $2 $3
      djmpe @spawn
      load $3 #12
      lt $2 $3
      djmpe @watch
      load $3 #13
      lt $2 $3
      djmpe @guess
      load $3 #14
      lt $2 $3
      djmpe @time
      load $1 #63
      and $31 $1 $2
      eq $2 $0
      djmpe @die
      eq $0 $0
      djmpe @loop
word: send $25 $31
      djmpe @sent
      eq $0 $0
      djmpe @loop
pid:  self $1
      sendp $25 $1
      djmpe @sent
      eq $0 $0
      djmpe @loop
bytes: load $4 #60
      sendm $25 $0 $4
      djmpe @sent
      eq $0 $0
      djmpe @loop
sent: inc $28
      eq $0 $0
      djmpe @loop
take: recvt $0
      djmpn @loop
      recv $4 $5 $6
      load $1 #3
      eq $6 $1
      djmpe @notice
      load $1 #2
      eq $6 $1
      djmpe @raw
      inc $27
      load $1 #1
      eq $6 $1
      djmpn @loop
      mov $4 $25
      eq $0 $0
      djmpe @loop
raw:  recvm $0 $4 $5
      inc $27
      eq $0 $0
      djmpe @loop
notice: dec $24
      eq $0 $0
      djmpe @loop
spawn: gt $26 $0
      djmpn @loop
      dec $26
      load $1 @child
      mov $25 $7
      spawn $1 $4
      djmpn @loop
      mov $4 $25
      eq $0 $0
      djmpe @loop
child: load $28 #0
      load $27 #0
      load $24 #0
      self $4
      xor $31 $4 $31
      mov $7 $25
      load $30 #60
      eq $0 $0
      djmpe @loop
watch: load $1 #7
      and $31 $1 $2
      eq $2 $0
      djmpe @unwatch
      load $1 #1
      eq $2 $1
      djmpe @link
      monitor $25
      eq $0 $0
      djmpe @loop
unwatch: demonitor $25
      eq $0 $0
      djmpe @loop
link: link $25
      eq $0 $0
      djmpe @loop
guess: load $1 #511
      mov $31 $2
      shr $2 #4
      and $2 $1 $2
      gt $2 $23
      djmpn @loop
      kill $2
      eq $0 $0
      djmpe @loop
time: load $1 #1
      and $31 $1 $1
      sleep $1
      eq $0 $0
      djmpe @loop
die:  div $1 $0 $1
end:  send $29 $28
      send $29 $27
      hlt
"""

# Waits for children that end in different ways, and counts a notice for each.
WATCHING = """.code
      load $2 @child
next: spawn $2 $3
      djmpn @done
      monitor $3
      djmpn @bad
      inc $4
      send $3 $4
      lt $4 $30
      djmpe @next
done: eq $4 $0
      djmpe @end
      recv $5 $6 $7
      load $1 #3
      eq $7 $1
      djmpn @bad
      inc $8
      lt $8 $4
      djmpe @done
      load $1 #2
      recvt $1
      djmpe @bad
end:  send $29 $8
      send $29 $4
      hlt
bad:  load $1 #66
      exit $1
child: recv $1 $2 $3
      load $2 #3
      and $1 $2 $1
      eq $1 $0
      djmpe @fault
      load $2 #1
      eq $1 $2
      djmpe @normal
      load $2 #2
      eq $1 $2
      djmpe @self
      exit $1
normal: hlt
fault: div $1 $0 $1
self: self $1
      kill $1
      recv $1 $2 $3
      hlt
"""


class Stress:
    """Processes in threads.

    Args:
        seed: decides what they try; how it ends is the threads'.
        threads: how many.
        most: processes at once.
    """

    def __init__(self, seed: int, threads: int, most: int) -> None:
        from iridium.vm.native.engine import runtime

        calls.use(runtime().addresses)
        self.random = random.Random(seed)
        self.table = ProcessTable(threads, TURN, most)
        shared = self.table.shared
        shared.host_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        shared.workers_file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self.workers = [Worker(shared=ctypes.addressof(shared)) for _ in range(threads)]
        self.threads = [threading.Thread(target=self._work, args=(worker,)) for worker in self.workers]
        self.reasons: Counter[int] = Counter()
        self.problems: list[str] = []
        box = self.table.allocate(MAILBOX)
        assert box is not None
        self.box = box
        self.told: list[tuple[int, int]] = []
        self.pids: dict[int, None] = {}

    def _work(self, worker: Worker) -> None:
        while calls.work(worker, 1_000_000) != STOPPING:
            pass

    def spawn(self, program: Program, registers: dict[int, int]) -> int:
        """Start one; its pid, or 0."""
        record = self.table.begin(program, registers)
        if record is None:
            return 0
        pid = int(record.pid)
        self.table.start(record)
        return pid

    def look(self) -> None:
        """Do what a host does: bury the dead, take what the collector has got."""
        while address := calls.take_event(self.table.shared):
            record = Record.from_address(address)
            if record.kind == ENDED and record.state == IDLE:
                self.reasons[record.exit_reason] += 1
                calls.discard(self.table.shared, record)
        while found := calls.receive(self.box):
            self.told.append((self.box.message_kind, found & 0xFFFFFFFF))

    def run(self, count: int) -> None:
        """Let so many begin, and wait until all have ended."""
        program, watching = Program(assemble(SOURCE)), Program(assemble(WATCHING))
        for thread in self.threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE
        watchers = 0
        for _ in range(count):
            seed = self.random.getrandbits(31)
            self.spawn(program, {31: seed, 30: 400, 29: self.box.pid, 26: 6, 23: 40})
            if self.random.random() < 0.05:
                watchers += self.spawn(watching, {30: self.random.randrange(50), 29: self.box.pid}) != 0
            if self.random.random() < 0.1:
                calls.kill(self.table.host, self.random.randrange(1, 2000), KILLED)
                self.table.flush()
            self.look()
        while self.table.alive > 1 and time.monotonic() < deadline:
            self.look()
            time.sleep(0.001)  # the workers run without Python's lock; this thread has nothing to wait for
        self.look()
        calls.stop_workers(self.table.shared)
        for thread in self.threads:
            thread.join()
        self.check()

    def check(self) -> None:
        """What must hold."""
        shared, table = self.table.shared, self.table
        if table.alive != 1:
            left = [(r.pid, r.kind, r.state, r.waiting, r.mailbox_count) for r in table.records()]
            self.problems.append(f"{table.alive - 1} are alive: {left[:5]}")
        if shared.queued or shared.timer_entries:
            self.problems.append(f"{shared.queued} are queued, {shared.timer_entries} have timers")
        free, at = 0, shared.first_free
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            free += 1
            at = Record.from_address(at).next
        if not free == shared.free == shared.used - 1 - table.alive:
            self.problems.append(f"{free} in the list, {shared.free} free, of {shared.used} used")
        for slot in range(1, shared.used):
            record = Record.from_address(shared.slab + slot * SLOT)
            held = (record.mailbox, record.watches, record.heap, record.stack, record.output, record.mailbox_lock)
            if record.kind == FREE and any(held):
                self.problems.append(f"slot {slot} still holds {held}")
            if record.pid & SLOT_MASK != slot:
                self.problems.append(f"slot {slot} has pid {record.pid}")
        if self.reasons[66]:
            self.problems.append(f"{self.reasons[66]} watchers got what they had not asked for, or twice")
        if self.box.watches or any(kind == END_MESSAGE for kind, _ in self.told):
            self.problems.append("the collector got a notice")

    def close(self) -> None:
        """Give it all back."""
        self.table.close()
        os.close(self.table.shared.host_file)
        os.close(self.table.shared.workers_file)


BALANCE = """.code
      load $2 #0
next: add $25 $2 $3
      sub $3 $1 $3
      inc $2
      mov $31 $4
      load $5 #13
      mul $4 $5 $31
      addi $31 #7
      mov $31 $4
      shr $4 #8
      and $4 $22 $4
      add $25 $4 $4
      send $4 $2
      djmpn @refused
      inc $28
      eq $0 $0
      djmpe @take
refused: inc $24
take: recvt $0
      djmpn @go
      recv $5 $6 $7
      inc $27
      eq $0 $0
      djmpe @take
go:   lt $2 $30
      djmpe @next
      send $29 $28
      send $29 $27
      send $29 $24
      recv $5 $6 $7
      hlt
"""
"""Sends to those in the slots from $25 on, $22 + 1 of them, and takes what there is; tells what it has done."""


def balance(seed: int, threads: int, count: int, rounds: int) -> list[str]:
    """Everybody sends to everybody: what is sent is received, still there, or refused, and nothing else.

    Args:
        seed, threads: as for Stress.
        count: processes, a power of 2.
        rounds: messages that each tries to send.
    """
    stress = Stress(seed, threads, 2 * count + 10)
    program = Program(assemble(BALANCE))
    begun = []
    for _ in range(count):
        record = stress.table.begin(program)
        assert record is not None
        begun.append(record)
    for record in begun:
        values = {31: stress.random.getrandbits(31), 30: rounds, 29: stress.box.pid}
        values |= {25: begun[0].pid, 22: count - 1}
        for register, value in values.items():
            record.registers[register] = value
        stress.table.start(record)
    for thread in stress.threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    while len(stress.told) < 3 * count and time.monotonic() < deadline:
        stress.table.flush()
        stress.look()
        time.sleep(0.001)
    left = sum(record.mailbox_count for record in begun)
    totals = sum(value for _, value in stress.told)
    sent = sum(record.registers[28] for record in begun)
    received = sum(record.registers[27] for record in begun)
    refused = sum(record.registers[24] for record in begun)
    shared = stress.table.shared
    problems = []
    if len(stress.told) != 3 * count:
        problems.append(f"{len(stress.told)} answers of {3 * count}")
    if totals != sent + received + refused:
        problems.append(f"told {totals}, of {sent} + {received} + {refused}")
    if sent + refused != count * rounds or refused != shared.overruns + shared.dead_letters:
        problems.append(f"{sent} sent, {refused} refused, {shared.overruns} overruns, {shared.dead_letters} dead")
    left += shared.unread  # of those who have ended
    # Who has told the collector takes one more message, and ends.
    if not sent - received - left - count <= 0 <= sent - received - left:
        problems.append(f"{sent} sent, {received} received, {left} left")
    for record in begun:
        calls.kill(stress.table.host, record.pid, KILLED)
    stress.table.flush()
    while stress.table.alive > 1 and time.monotonic() < deadline:
        stress.look()
        time.sleep(0.001)
    stress.look()
    calls.stop_workers(shared)
    for thread in stress.threads:
        thread.join()
    stress.check()
    stress.close()
    return problems + stress.problems


def one(seed: int, threads: int, count: int) -> list[str]:
    """Run one seed; what was wrong."""
    stress = Stress(seed, threads, max(64, count // 2) if seed % 3 == 0 else 1 << 16)
    stress.run(count)
    stress.close()
    return stress.problems + balance(seed, threads, 64, 500)


def watch(command: list[str], seconds: float) -> str:
    """Run a seed in a process of its own; what was wrong, or ""."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "hangs"
    if ran.returncode < 0:
        return f"ended by {signal.Signals(-ran.returncode).name}"
    return (ran.stdout + ran.stderr)[-2000:] if ran.returncode else ""


def main(arguments: list[str] | None = None) -> int:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone, in this process")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        problems = one(options.seed, options.threads, options.count)
        print(*problems, sep="\n")
        return bool(problems)
    over = time.monotonic() + 60 * options.minutes
    seed, tries, failures = options.first, 0, 0
    while not tries or time.monotonic() < over:
        common: list[Any] = ["--threads", options.threads, "--count", options.count]
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.stress", "--seed", seed, *common]
        problem = watch([str(word) for word in command], 3 * PATIENCE)
        if problem:
            failures += 1
            print(f"seed {seed}: {problem}", flush=True)
        seed += 1
        tries += 1
    print(f"{tries} seeds, {failures} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
