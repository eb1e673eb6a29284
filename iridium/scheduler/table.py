"""The table of processes, as Python has it: the memory of the slots, and what the host does to them."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Mapping

from iridium.isa import REGISTERS
from iridium.limits import DEFAULTS
from iridium.vm.machine import STACK_WORDS
from iridium.vm.memory import release, reserve, view
from iridium.vm.output import CAPACITY
from iridium.vm.program import Program
from iridium.vm.record import Record
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import FOREVER, FREE, SLOT, SLOT_BITS, SLOT_MASK, Peer, Shared, Worker
from iridium.vm.runtime.mailbox import DEAD_RING
from iridium.vm.runtime.programs import LoadedProgram, loaded_at
from iridium.vm.runtime.queue import BATCH
from iridium.vm.runtime.scheduling import ALONE, ROUND

DEAD_LETTER = 24
"""Bytes of a dead letter that is kept: its value, its sender, its kind, to whom it went."""

MOST_PEERS = 256
"""Other nodes that ever have a number at once: as many as a cluster has members."""

_DEAD = struct.Struct("=QIII4x")


class ProcessTable:
    """Processes, and VMs of the host's that can send and receive.

    Args:
        threads: how many workers run them.
        turn: instructions of a turn.
        most: processes at once, at most 2**20 - 1.
        heap: bytes of heap that each may have.
        host_cares: whether the host hears of every process that ends, not only of those with something to tell.

    Attributes:
        shared: what all workers share.
        host: the worker in whose name the host does things.
        in_threads: whether worker threads use it now.
    """

    def __init__(
        self,
        threads: int,
        turn: int,
        most: int = DEFAULTS.processes,
        heap: int = DEFAULTS.heap,
        *,
        host_cares: bool = False,
    ) -> None:
        most = min(most, SLOT_MASK)
        self.in_threads = False
        self._slab_size = (most + 1) * SLOT
        self._dead_ring = ctypes.create_string_buffer(DEAD_RING * DEAD_LETTER)
        self._peers = (ctypes.c_uint64 * MOST_PEERS)()
        self.shared = Shared(
            threads=threads,
            turn=turn,
            alone=ALONE,
            batch=BATCH,
            round=ROUND,
            slots=most + 1,
            slab=reserve(self._slab_size),
            used=1,  # slot 0 is nobody's
            nodes=1,
            host_file=-1,
            workers_file=-1,
            next_deadline=FOREVER,
            stack_limit=STACK_WORDS,
            heap_limit=heap,
            output_capacity=CAPACITY,
            host_cares=int(host_cares),
            peers=ctypes.addressof(self._peers),
            peer_count=MOST_PEERS,
            dead_ring=ctypes.addressof(self._dead_ring),
        )
        self.host = Worker(shared=ctypes.addressof(self.shared))
        # Programs that processes run, by the address of their record: nobody else may hold them.
        self._programs: dict[int, LoadedProgram] = {}

    def __del__(self) -> None:
        # A process that ends in the middle leaves its workers running: they need the memory to the last.
        if getattr(self, "shared", None) is not None and self.shared.slab and not self.in_threads:
            self.close()

    def close(self) -> None:
        """Give the memory back; nothing runs any more."""
        for record in self.records():
            calls.release_memory(record)
            calls.drop_messages(record)
        release(self.shared.slab, self._slab_size)
        self.shared.slab = self.shared.used = 0

    @property
    def alive(self) -> int:
        """How many slots are in use."""
        return int(self.shared.alive)

    def load(self, program: Program) -> LoadedProgram:
        """The form of a program that processes run; kept for as long as one of them does.

        A program that grows must be given as it is now, :meth:`Program.frozen`.
        """
        if calls.native:
            from iridium.vm.native.engine import runtime

            loaded: LoadedProgram = runtime().load(program)
        else:
            loaded = program.native or LoadedProgram(program)
            program.native = loaded
        if loaded.address not in self._programs:
            self._drop_programs()
            self._programs[loaded.address] = loaded
        return loaded

    def keep(self, loaded: LoadedProgram) -> None:
        """Keep a program's form that processes run, before whoever spawned them lets go of it."""
        if loaded.record.users:
            self._programs[loaded.address] = loaded

    def _drop_programs(self) -> None:
        for address in [a for a, loaded in self._programs.items() if not loaded.record.users]:
            del self._programs[address]

    def begin(
        self, program: Program, registers: Mapping[int, int] | None = None, pc: int | None = None, parent: int = 0
    ) -> Record | None:
        """A new process that has no turns until :meth:`start`.

        Args:
            program: what it runs.
            registers: integer registers that are not 0.
            pc: where it begins; by default at the first instruction.
            parent: the pid of whoever spawned it.

        Returns:
            Its record, or None where there are too many processes.
        """
        loaded = self.load(program)
        address = calls.begin(self.host, loaded.address, program.base if pc is None else pc, parent)
        if not address:
            return None
        record = Record.from_address(address)
        for number, value in (registers or {}).items():
            record.registers[number % REGISTERS] = value
        return record

    def start(self, record: Record) -> None:
        """Let a new process have turns."""
        calls.start(self.host, record)
        self.flush()

    def allocate(self, kind: int) -> Record | None:
        """A slot for a session or a mailbox of the host's, or None where there is none."""
        address = calls.allocate(self.shared, kind)
        if not address:
            return None
        record = Record.from_address(address)
        record.worker = ctypes.addressof(self.host)
        return record

    def find(self, pid: int) -> Record | None:
        """The record of a process that has not ended, or of a proxy, a session or a mailbox."""
        slot = pid & SLOT_MASK
        if not 0 < slot < self.shared.used or pid >> SLOT_BITS >= 2048 or pid < 0:
            return None
        record = Record.from_address(self.shared.slab + slot * SLOT)
        return record if record.pid == pid and record.kind != FREE else None

    def records(self) -> Iterator[Record]:
        """Every slot that is in use."""
        for slot in range(1, self.shared.used):
            record = Record.from_address(self.shared.slab + slot * SLOT)
            if record.kind != FREE:
                yield record

    def count(self, *kinds: int) -> int:
        """How many slots are of some kinds; of a hundred thousand in milliseconds."""
        if self.shared.used < 2:
            return 0
        # Kinds are numbers of one byte.
        first = Record.kind.offset  # type: ignore[attr-defined]
        found = view(self.shared.slab, self.shared.used * SLOT)[SLOT + first :: SLOT].tobytes()
        return sum(found.count(kind) for kind in kinds)

    def program_of(self, record: Record) -> Program | None:
        """The program that a process runs."""
        loaded = self._programs.get(record.program) or loaded_at(record.program)
        return None if loaded is None else loaded.program

    def dead_letters(self) -> list[tuple[int, int, int, int]]:
        """The last messages to nobody, the oldest first: to, sender, kind, value (of bytes: the size)."""
        count = self.shared.dead_letters
        letters = []
        for number in range(max(0, count - DEAD_RING), count):
            value, sender, kind, to = _DEAD.unpack_from(self._dead_ring, number % DEAD_RING * DEAD_LETTER)
            letters.append((to, sender, kind, value))
        return letters

    def flush(self) -> None:
        """Let those run whom the host has woken."""
        calls.give_back(self.shared, self.host, 0)

    def add_peer(self, number: int, peer: Peer) -> None:
        """Enter another node's ring under its number."""
        self._peers[number] = ctypes.addressof(peer)

    def remove_peer(self, number: int) -> None:
        """Forget it."""
        self._peers[number] = 0
