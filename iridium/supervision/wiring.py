"""Supervision on a real node: what it needs, made of the node's processes and their traffic with other nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from iridium.image import Image
from iridium.node import Node
from iridium.processes import Exit
from iridium.processes.process import Process
from iridium.processes.wire import SUPERVISION
from iridium.supervision.services import Follower
from iridium.supervision.supervisor import Supervisor
from iridium.supervision.types import ExitReason

STREAM = 1 << 62
"""The stream of all that supervisors say: none of processes, whose streams are two pids."""

NOT_STARTED = -1
"""The code of a process that could not be started after all."""


def supervise(node: Node) -> Supervisor:
    """Give a node its supervisor; before the node starts.

    Raises:
        DataDirectoryError: what an earlier life left cannot be read.
    """
    supervisor = Supervisor(
        node.reactor,
        _Cluster(node),
        _Spawner(node),
        node.data,
        node.events,
        node.me.incarnation,
        limits=node.limits,
    )
    node.supervisor = supervisor
    return supervisor


class _Replica:
    """A process that was asked for."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.killed = False

    def kill(self) -> None:
        self.killed = True
        if self.process is not None:
            self.process.kill()


class _Spawner:
    """Makes processes of this node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def spawn(
        self,
        image: Image,
        *,
        name: str | None,
        registers: Sequence[int],
        on_start: Callable[[int], None],
        on_exit: Callable[[ExitReason], None],
    ) -> _Replica:
        processes = self._node.processes
        hash, program = self._node.courier.images.add(image)
        title = image.lines.file if image.lines is not None else hash[:12]
        replica = _Replica()

        def started(process: Process) -> None:
            replica.process = process
            on_start(process.pid)
            if replica.killed:
                process.kill()
            process.when_done().addCallback(ended)

        def ended(how: Exit) -> None:
            on_exit(ExitReason(how.reason, how.fault or how.text))

        def failed(failure: Any) -> None:
            on_exit(ExitReason(NOT_STARTED, str(failure.value)))

        spawning = processes.spawn(program, registers=dict(enumerate(registers)), name=name or "", title=title)
        spawning.addCallbacks(started, failed)
        return replica


class _Cluster:
    """The other members that there is a session with."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def id(self) -> str:
        return self._node.me.id

    def up(self) -> list[str]:
        return self._node.courier.up()

    def name(self, node: str) -> str:
        return self._node.mesh.machine.table.name_of(node)

    def send(self, node: str, data: bytes) -> bool:
        return self._node.mesh.post.send(node, SUPERVISION, data, STREAM)

    def follow(self, follower: Follower) -> Callable[[], None]:
        courier = self._node.courier
        courier.on_up.append(follower.member_up)
        courier.on_down.append(follower.member_down)
        courier.listeners[SUPERVISION] = follower.received

        def stop() -> None:
            courier.on_up.remove(follower.member_up)
            courier.on_down.remove(follower.member_down)
            courier.listeners.pop(SUPERVISION, None)

        return stop
