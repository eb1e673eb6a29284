"""The processes of one node in this thread, for tests: on each form that the runtime has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from iridium.assembler import assemble
from iridium.errors import OptionError
from iridium.events import EventRing
from iridium.processes import Exit, Mailbox, Process, Processes
from iridium.scheduler import Scheduler
from iridium.vm import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from tests.repl_double import ReactorClock

FORMS = ("python", "native", "compiled")
"""The runtime as plain Python, as machine code with the native interpreter, and with compiled programs."""

PATIENCE = 10.0
"""Real seconds that something may take which takes milliseconds."""


class Local:
    """The processes of a node.

    Args:
        form: one of :data:`FORMS`, which the fixture has switched to.
        most: processes at once.
    """

    def __init__(self, form: str = "python", most: int = 0) -> None:
        self.form = form
        self.clock = ReactorClock()
        self.scheduler = Scheduler(self.clock, choice="reference")
        self.events = EventRing()
        self.processes = Processes(self.scheduler, self.events)
        self.table = self.processes.table
        self.shared = self.table.shared
        self.processes.when_ready(lambda: None)
        if most:
            self.shared.slots = most + 1

    def program(self, source: str) -> Program:
        """A program, compiled if that is the form."""
        program = Program(assemble(source))
        if self.form == "compiled":
            from iridium.vm.native.engine import runtime

            native = runtime().load(program)
            native.requested = True
            native.enter_at(runtime().compile(program))
        return program

    def spawn(self, source: str | Program, registers: dict[int, int] | None = None, **keywords: Any) -> Process:
        """Start a process; it has its turns with :meth:`settle`."""
        program = self.program(source) if isinstance(source, str) else source
        got: list[Any] = []
        self.processes.spawn(program, registers=registers, **keywords).addBoth(got.append)
        if not isinstance(got[0], Process):
            got[0].raiseException()
        return got[0]

    def settle(self) -> None:
        """Let everything run that can run now."""
        self.clock.settle()

    def run(self, source: str | Program, registers: dict[int, int] | None = None) -> tuple[Exit, str]:
        """Start a process and wait for its end: how it ended, and what it printed."""
        process = self.spawn(source, registers)
        self.until(lambda: process.exit is not None)
        assert process.exit is not None
        return process.exit, process.output

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            self.clock.advance(0.001)
            self.clock.settle()

    def messages(self, box: Mailbox) -> list[Any]:
        """All that is in a mailbox."""
        return self.processes.take_messages(box._record, 1_000_000)

    def record(self, pid: int) -> Record:
        """The record of a process that lives."""
        found = self.table.find(pid)
        assert found is not None
        return found

    def close(self) -> None:
        """End it all; nothing may be left in use but what still lives."""
        self.processes.stop()
        self.scheduler.stop()


def switch(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process call one form of the runtime; skip the test where there is none."""
    monkeypatch.setattr(calls, "__dict__", {"native": False})  # what was loaded stands there, by name
    if form != "python":
        from iridium.vm.native.engine import runtime

        try:
            calls.use(runtime().addresses)
        except OptionError as error:
            pytest.skip(str(error))


@pytest.fixture(params=FORMS)
def local(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """The processes of a node, on each form of the runtime."""
    switch(request.param, monkeypatch)
    node = Local(request.param)
    yield node
    node.close()
