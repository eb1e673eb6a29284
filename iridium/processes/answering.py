"""What other nodes ask of this one, and what they are answered."""

from __future__ import annotations

from iridium.cluster.peer import Me
from iridium.errors import IridiumError
from iridium.processes import wire
from iridium.processes.images import Images, WrongImageError
from iridium.processes.kept import Dead
from iridium.processes.neighbour import Neighbour
from iridium.processes.observing import Observation
from iridium.processes.outbound import Outbound
from iridium.processes.processes import Processes
from iridium.vm.program import Program
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import GONE, NO_PROCESS, PROXY

MOST_WANTED = 4096
"""Requests that wait for images from one node."""

_FOR_IMAGES = 1 << 40
"""The stream of images: no pid, so that nobody's messages wait behind them."""

_FOR_LISTS = 1 << 41
"""That of lists, likewise."""

ROWS = 256
"""Processes in one line of a list."""

MOST_OBSERVED = 4096
"""Processes that one node observes of another: each is a closure, and a line for all that it prints."""


class Answering:
    """Answers to other nodes.

    Args:
        processes: of this node.
        me: this node.
        neighbours: the other nodes that there is a session with, by id.
        images: programs by hash.
        outbound: the way to other nodes.
    """

    def __init__(
        self,
        processes: Processes,
        me: Me,
        neighbours: dict[str, Neighbour],
        images: Images,
        outbound: Outbound,
    ) -> None:
        self._processes = processes
        self._me = me
        self._neighbours = neighbours
        self._images = images
        self._outbound = outbound

    def spawn(self, neighbour: Neighbour, message: wire.Spawn) -> None:
        """It wants a process here."""
        program = self._images.program(message.image)
        if program is not None:
            self._start(neighbour, message, program)
            return
        if neighbour.wanting >= MOST_WANTED:
            self._outbound.say(neighbour, wire.Spawned(message.n, 0, "too many requests wait for their images"))
            return
        waiting = neighbour.wanted.setdefault(message.image, [])
        if not waiting:
            self._outbound.say(neighbour, wire.Need(message.image))
        waiting.append(message)
        neighbour.wanting += 1

    def _start(self, neighbour: Neighbour, message: wire.Spawn, program: Program) -> None:
        def started() -> None:
            if not neighbour.peer.up:
                return  # it has gone while machine code was loaded
            parent = neighbour.intern(message.parent) if message.parent else 0
            pc = message.pc or program.base
            if program.word_at(pc) is None:
                self._outbound.say(neighbour, wire.Spawned(message.n, 0, f"{pc} is no instruction of that image"))
                return
            try:
                pid = self._processes.begin_for_other(
                    program, pc, message.registers, parent, message.name, message.title
                )
            except IridiumError as error:
                self._outbound.say(neighbour, wire.Spawned(message.n, 0, str(error)))
                return
            neighbour.introduce(pid)
            if message.output:
                self._observe(neighbour, message.n, pid, waits=message.waits)
            self._processes.let_run(pid)
            number = neighbour.number_of(message.image, self._processes.table.load(program))
            self._outbound.say(neighbour, wire.Spawned(message.n, pid, "", number))

        self._processes.when_ready(started, program)

    def need(self, neighbour: Neighbour, message: wire.Need) -> None:
        """It wants an image."""
        data = self._images.data(message.image)
        self._outbound.send(neighbour, wire.IMAGE, bytes.fromhex(message.image) + (data or b""), _FOR_IMAGES)

    def image(self, neighbour: Neighbour, data: bytes) -> None:
        """It sends one."""
        hash = data[:32].hex()
        waiting = neighbour.wanted.pop(hash, [])
        neighbour.wanting -= len(waiting)
        if not waiting:
            self._outbound.complain(neighbour, f"the image {hash[:12]}... that nobody asked for")
            return
        try:
            program = self._images.receive(hash, data[32:])
        except WrongImageError as error:
            self._outbound.complain(neighbour, str(error))
            for message in waiting:
                self._outbound.say(neighbour, wire.Spawned(message.n, 0, str(error)))
            return
        for message in waiting:
            self._start(neighbour, message, program)

    def whereis(self, neighbour: Neighbour, message: wire.Whereis) -> None:
        """It looks for a process by name, or by pid."""
        pid = message.pid if message.pid and self._processes.is_alive(message.pid) else 0
        if not message.pid:
            pid = self._processes.names.whereis(message.name)
        if pid:
            neighbour.introduce(pid)
        self._outbound.say(neighbour, wire.Found(message.n, pid))

    def introduce(self, neighbour: Neighbour, message: wire.Introduce) -> None:
        """One of its processes has sent the pid of one of a third node, or of this."""
        third = self._neighbours.get(message.node)
        pid = 0
        if message.node == self._me.id:
            pid = message.pid if self._processes.is_alive(message.pid) else 0
        elif third is not None:
            known = third.known(message.pid)
            pid = third.intern(message.pid)
            if pid != known:
                self._outbound.say(third, wire.Watch(message.pid))
        sender = neighbour.intern(message.sender)
        # To nobody is a dead letter; a process of a third node is not this peer's to write to.
        to = message.to if self._processes.is_alive(message.to) else 0
        self._processes.send(to, pid, is_pid=True, sender=sender)

    def watch(self, neighbour: Neighbour, message: wire.Watch) -> None:
        """A third node has told it of a process of this one."""
        self._known(neighbour, message.pid)

    def _known(self, neighbour: Neighbour, pid: int) -> None:
        """A process of this node is known there from now on; if it has ended, that is told."""
        record = self._processes.table.find(pid)
        if record is not None and record.kind != PROXY:
            neighbour.introduce(pid)
        else:
            calls.put_notice(self._processes.table.shared, neighbour.peer, 0, pid, GONE, NO_PROCESS)
        self._outbound.flush()

    def kill(self, neighbour: Neighbour, message: wire.Kill) -> None:
        """It ends a process."""
        if self._processes.is_alive(message.pid):
            self._processes.kill(message.pid, message.reason)

    def list_here(self, neighbour: Neighbour, message: wire.List) -> None:
        """It wants to know which processes run here."""
        listing = self._processes.views.listing()
        left = sum(listing.more.values())
        rows = [
            (p.pid, p.name[:1024], p.program[:1024], p.state, p.instructions, p.mailbox, p.parent)
            for p in listing.processes
        ]
        for at in range(0, max(1, len(rows)), ROWS):
            answer = wire.Listed(message.n, rows[at : at + ROWS], at + ROWS < len(rows), left)
            self._outbound.send(neighbour, wire.CONTROL, wire.encode(answer), _FOR_LISTS)

    def observe(self, neighbour: Neighbour, message: wire.Observe) -> None:
        """It wants to see what a process prints, or no more, or have it wait."""
        observation = neighbour.observing.get(message.n)
        if message.on and not message.pid:
            if observation is not None:  # else it is over, which that node is about to hear
                observation.change(waits=message.waits, paused=message.paused)
            return
        if message.on:
            self._observe(neighbour, message.n, message.pid, waits=False)
        elif observation is not None:
            observation.stop()

    def _observe(self, neighbour: Neighbour, n: int, pid: int, *, waits: bool) -> None:
        before = neighbour.observing.get(n)
        if before is not None:
            before.stop()
        if len(neighbour.observing) >= MOST_OBSERVED:
            self._outbound.say(neighbour, wire.Output(n, ended=True, reason=NO_PROCESS))
            return
        Observation(self._processes, self._outbound, neighbour, n, pid, waits=waits).begin()

    def caught_up(self, neighbour: Neighbour) -> None:
        """There is room again on the way to it."""
        for n, observation in list(neighbour.observing.items()):
            if observation.is_behind:
                return
            # Those that have had their turn come last the next time.
            if neighbour.observing.pop(n, None) is not None:
                neighbour.observing[n] = observation
                observation.caught_up()

    def why(self, neighbour: Neighbour, message: wire.Why) -> None:
        """It wants to know what became of a process."""
        live = self._processes.live(message.pid)
        ended = None if live is not None else self._processes.why(message.pid)
        dead, past = (ended, None) if isinstance(ended, Dead) else (None, ended)
        self._outbound.say(neighbour, wire.Told(message.n, live, dead, past))
