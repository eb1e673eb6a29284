"""Processes as people look at them: what runs, what it is called, what it does."""

from __future__ import annotations

import ctypes
import itertools
from collections import OrderedDict

from iridium.processes.kept import Live, instruction_at, top_of_stack
from iridium.processes.names import Names
from iridium.processes.types import Listing, ProcessInfo
from iridium.scheduler.table import ProcessTable
from iridium.vm import VM
from iridium.vm.record import Record, Stop, Waiting
from iridium.vm.runtime.layout import ASLEEP, IDLE, MAILBOX, PROCESS, QUEUED, SESSION, Account

MOST_LISTED = 1000
"""Processes of one node in a list: a node can have a hundred thousand, and nobody reads them."""

MOST_VIEWS = 4096
"""Processes that a view for reading their output is kept of; others are made again."""


class Views:
    """The processes of a node, to look at.

    Args:
        table: where they are.
        names: what they are called.
    """

    def __init__(self, table: ProcessTable, names: Names) -> None:
        self._table = table
        self._names = names
        self._kept: OrderedDict[int, VM] = OrderedDict()

    def live(self, record: Record, node: str, last_words: str) -> Live | None:
        """What a process is doing, with the last that it has printed; None if nobody knows its program."""
        vm = self.vm_of(record)
        if vm is None:
            return None
        return Live(
            self._info(record, node),
            instruction_at(vm, record.pc),
            int(record.pc),
            vm.program.image.line_of(record.pc),
            list(record.registers),
            top_of_stack(vm),
            last_words,
        )

    def running(self, node: str = "") -> list[ProcessInfo]:
        """The processes that live, at most :data:`MOST_LISTED` of them."""
        living = (record for record in self._table.records() if record.kind in (PROCESS, SESSION, MAILBOX))
        return [self._info(record, node) for record in itertools.islice(living, MOST_LISTED)]

    def listing(self, node: str = "") -> Listing:
        """The same, and how many more there are."""
        rows = self.running(node)
        more = self._table.count(PROCESS, SESSION, MAILBOX) - len(rows) if len(rows) == MOST_LISTED else 0
        return Listing(rows, {node: more} if more > 0 else {}, [])

    def _info(self, record: Record, node: str) -> ProcessInfo:
        pid = int(record.pid)
        return ProcessInfo(
            node=node,
            pid=pid,
            name=self._names.name_of(pid),
            program={SESSION: "(a session)", MAILBOX: "(Python)"}.get(record.kind) or self.title_of(record),
            state=_state(record),
            instructions=int(record.instructions),
            mailbox=int(record.mailbox_count),
            parent=int(record.parent),
        )

    def title_of(self, record: Record) -> str:
        """What the program of a process is called."""
        program = self._table.program_of(record)
        if program is None:
            return ""
        if not program.title:
            program.title = program.content_hash()[:12]
        return program.title

    def vm_of(self, record: Record) -> VM | None:
        """A process as a VM, to look at."""
        address = ctypes.addressof(record)
        program = self._table.program_of(record)
        if program is None:
            return None
        vm = self._kept.get(address)
        if vm is None or vm.program is not program:
            vm = self._kept[address] = VM.attach(program, record)
            if len(self._kept) > MOST_VIEWS:
                self._kept.popitem(last=False)
        return vm

    def forget(self, record: Record) -> None:
        """A process has ended."""
        self._kept.pop(ctypes.addressof(record), None)


def _state(record: Record) -> str:
    if record.kind == MAILBOX:
        return "-"
    if record.kind == SESSION and record.state == IDLE:
        return "idle"
    if record.state == QUEUED and record.account and not Account.from_address(record.account).left:
        return "held back"
    if record.state == ASLEEP:
        return "sleeping" if record.waiting == Waiting.TIME else "waiting"
    if record.stop == Stop.WAITING and record.waiting in (Waiting.SERVICE, Waiting.OUTPUT_ROOM):
        return "asking"
    return "running"
