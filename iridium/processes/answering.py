"""What other nodes ask of this one, and what they are answered."""

from __future__ import annotations

from iridium.cluster.peer import Me
from iridium.processes import wire
from iridium.processes.images import Images, WrongImageError
from iridium.processes.neighbour import Neighbour
from iridium.processes.outbound import Outbound
from iridium.processes.processes import Processes
from iridium.processes.types import Exit, reason_text
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

MOST_BEHIND = 64
"""Payloads that wait for room, beyond which a node that observes misses output."""

MOST_SHOWN = 8192
"""Characters of output in one line."""


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
            parent = neighbour.intern(message.parent) if message.parent else 0
            pc = message.pc or program.base
            if program.word_at(pc) is None:
                self._outbound.say(neighbour, wire.Spawned(message.n, 0, f"{pc} is no instruction of that image"))
                return
            pid = self._processes.begin_for_other(
                program, pc, message.registers, parent, message.name, message.title
            )
            if pid:
                neighbour.introduce(pid)
                if message.output:
                    self.observe(neighbour, wire.Observe(message.n, pid))
                self._processes.let_run(pid)
            why = "" if pid else "that node has no room for another"
            number = neighbour.number_of(message.image, self._processes.table.load(program))
            self._outbound.say(neighbour, wire.Spawned(message.n, pid, why, number))

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
            pid = third.intern(message.pid)
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
        rows = [
            (p.pid, p.name[:1024], p.program[:1024], p.state, p.instructions, p.mailbox, p.parent)
            for p in self._processes.running()
        ]
        for at in range(0, max(1, len(rows)), ROWS):
            answer = wire.Listed(message.n, rows[at : at + ROWS], at + ROWS < len(rows))
            self._outbound.send(neighbour, wire.CONTROL, wire.encode(answer), _FOR_LISTS)

    def observe(self, neighbour: Neighbour, message: wire.Observe) -> None:
        """It wants to see what a process prints, or no more."""
        n, pid = message.n, message.pid
        stop = neighbour.observing.pop(n, None)
        if stop is not None:
            stop()
        if not message.on:
            return
        if len(neighbour.observing) >= MOST_OBSERVED:
            self._outbound.say(neighbour, wire.Output(n, ended=True, reason=NO_PROCESS))
            return

        def ended(how: Exit) -> None:
            neighbour.observing.pop(n, None)
            if neighbour.peer.up:
                self._outbound.say(neighbour, wire.Output(n, "", True, how.reason, how.fault[:MOST_SHOWN]))

        self._show(neighbour, n, self._processes.outputs.of(pid))
        watching = self._processes.observe(pid, lambda text: self._show(neighbour, n, text), ended)
        if watching is None:
            ended(Exit(NO_PROCESS, reason_text(NO_PROCESS)))
        else:
            neighbour.observing[n] = watching

    def _show(self, neighbour: Neighbour, n: int, text: str) -> None:
        # What a node that does not read misses is on this one still.
        if neighbour.peer.up and len(neighbour.backlog) < MOST_BEHIND:
            for at in range(0, len(text), MOST_SHOWN):
                self._outbound.say(neighbour, wire.Output(n, text[at : at + MOST_SHOWN]))

    def why(self, neighbour: Neighbour, message: wire.Why) -> None:
        """It wants to know what became of a process."""
        live = self._processes.live(message.pid)
        dead = None if live is not None else self._processes.why(message.pid)
        self._outbound.say(neighbour, wire.Told(message.n, live, dead))
