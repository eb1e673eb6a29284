"""Supervision on Twisted: the machine meets processes, members, disk and time. What it decides stands there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from iridium.cluster.identity import DataDirectory
from iridium.errors import CommandError, DataDirectoryError, IridiumError
from iridium.events import EventRing
from iridium.image import parse
from iridium.limits import DEFAULTS, Limits
from iridium.processes.uploads import Uploads
from iridium.supervision.application import Package
from iridium.supervision.fetching import Fetcher
from iridium.supervision.images import MOST_BYTES, ImageStore
from iridium.supervision.machine import Machine
from iridium.supervision.messages import ImagePiece, Message, MessageError, WantImage, decode, encode
from iridium.supervision.processes import Processes
from iridium.supervision.services import Cluster, Spawner
from iridium.supervision.types import ApplicationView, ExitReason, Key, Program, Record
from iridium.throttle import Throttle

APPLICATIONS_FILE = "applications.json"
IMAGES = "images"

SAVE_AFTER = 0.2
"""Seconds between a change of the records and their saving, so that many changes are one write."""

SAVE_AGAIN = 5.0
"""Seconds until a save that failed is tried again."""


class Supervisor:
    """The applications of the cluster, as the node and the shell use them.

    Args:
        reactor: IReactorTime, with a thread pool.
        cluster: the other members.
        spawner: makes processes here.
        data: the node's directory.
        events: where to tell what happens.
        life: grows with every start of this node: its incarnation at the start.
        clock: gives seconds of a monotonic clock.
        wall_clock: gives Unix seconds.
        rng: the source of jitter.
        limits: how much of what members do wrong is told.

    Attributes:
        bad_messages: how many messages of members were refused.

    Raises:
        DataDirectoryError: what an earlier life left cannot be read.
    """

    _log = Logger(namespace="iridium.supervision")

    def __init__(
        self,
        reactor: Any,
        cluster: Cluster,
        spawner: Spawner,
        data: DataDirectory,
        events: EventRing,
        life: int,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        limits: Limits = DEFAULTS,
    ) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._data = data
        self._events = events
        known = data.read(APPLICATIONS_FILE, list[Record]) or []
        self.images = ImageStore(data.path / IMAGES)
        self.machine = Machine(cluster.id, life, self, clock, wall_clock, rng or random.SystemRandom(), known)
        self.fetcher = Fetcher(clock, self.machine.holdings.up, self.send, self._arrived, self._lied)
        self._uploads = Uploads(clock)
        self.processes = Processes(spawner, self.images, self.fetcher.want, self._started, self._ended)
        self._complaints = Throttle(limits.stranger_log)
        self._clock = clock
        self._writing = DeferredLock()
        self._saving: Any = None
        self._next_tick: Any = None
        self._unfollow: Callable[[], None] = lambda: None
        self._running = False
        self.bad_messages = 0

    # --- the node's side ---

    def start(self) -> None:
        """Begin to keep time and to follow the members."""
        self._running = True
        self._unfollow = self._cluster.follow(self)
        for node in self._cluster.up():
            self.machine.member_up(node)
        self._provide()
        self._tick()

    def stop(self) -> Deferred[None]:
        """End every replica here, tell the others, and save.

        Returns:
            Fires when the records are saved. Processes that are still ending then are the spawner's.
        """
        self.machine.shut()
        self._running = False
        self._unfollow()
        for call in (self._next_tick, self._saving):
            if call is not None and call.active():
                call.cancel()
        return self._save()

    def leave(self) -> None:
        """The node is about to leave its cluster: its replicas end, and the applications stay with the others."""
        self._do(self.machine.part)

    def left(self) -> None:
        """The node has left, or could not."""
        self._do(self.machine.rejoin)

    # --- the shell's side ---

    def applications(self) -> list[ApplicationView]:
        """The applications of the cluster and their replicas."""
        return self.machine.view()

    def has_image(self, digest: str) -> bool:
        """Whether an image is here."""
        return digest in self.images

    def upload(self, digest: str, size: int, offset: int, piece: bytes) -> bool:
        """Take a piece of an image.

        Returns:
            Whether it is whole now.

        Raises:
            IridiumError: it does not belong there, or the image is not what its hash says.
        """
        whole = self._uploads.add(digest, size, offset, piece)
        if whole is None:
            return False
        self._keep(digest, whole)
        return True

    def deploy(self, package: Package) -> ApplicationView:
        """Have an application run, in place of what ran under its name.

        Args:
            package: the application, with those of its images that are not here yet.

        Raises:
            CommandError: an image is missing, or there are too many applications or replicas.
            IridiumError: an image cannot be kept.
        """
        name, programs, images = package
        records = self.machine.records
        for digest, data in images.items():
            self._keep(digest, data)
        missing = [program.name for program in programs if program.image not in self.images]
        if missing:
            raise CommandError(f"the image of {', '.join(missing)} is not on this node; send it first")
        if records.is_full(name):
            raise CommandError("the cluster has as many applications as it can; stop one first")
        excess = records.room_for(name, programs)
        if excess > 0:
            raise CommandError(f"these are {excess} replicas more than the cluster runs; ask for fewer")
        self._do(lambda: self.machine.deploy(name, programs))
        return self._view(name)

    def stop_application(self, name: str) -> ApplicationView:
        """Have an application run no more.

        Raises:
            CommandError: there is none of that name.
        """
        self._known(name)
        self._do(lambda: self.machine.stop(name))
        return self._view(name)

    def rebalance(self, name: str | None = None) -> list[str]:
        """Have the replicas of an application, or of all, move to where they would be placed today.

        Returns:
            The applications.

        Raises:
            CommandError: there is none of that name.
        """
        records = [self._known(name)] if name else [r for r in self.machine.records.all() if not r.stopped]
        for record in records:
            self._do(lambda record=record: self.machine.rebalance(record))  # type: ignore[misc]
        return [record.name for record in records]

    def _known(self, name: str) -> Record:
        record = self.machine.records.get(name)
        if record is None or record.stopped:
            running = [r.name for r in self.machine.records.all() if not r.stopped]
            there = f"there are: {', '.join(running)}" if running else "there are none"
            raise CommandError(f"no application {name[:60]} runs; {there}")
        return record

    def _view(self, name: str) -> ApplicationView:
        return next(view for view in self.machine.view() if view.name == name)

    # --- the members' side ---

    def member_up(self, node: str) -> None:
        """A member is up."""
        self._do(lambda: self.machine.member_up(node))

    def member_down(self, node: str) -> None:
        """A member is down, or has left."""
        self._do(lambda: self.machine.member_down(node))

    def received(self, node: str, data: bytes) -> None:
        """A member sent something; what is no message is counted, and now and then told."""
        try:
            message = decode(data)
        except MessageError as error:
            self.bad_messages += 1
            self._complain("bad-message", node, str(error))
            return
        if isinstance(message, WantImage):
            size, piece = self.images.piece(message.hash, message.offset)
            self.send(node, ImagePiece(message.hash, message.offset, size, piece))
        elif isinstance(message, ImagePiece):
            self.fetcher.receive(node, message)
        else:
            self._do(lambda: self.machine.receive(node, message))

    def _complain(self, kind: str, node: str, detail: str) -> None:
        unsaid = self._complaints.ask(self._clock())
        if unsaid is not None:
            more = f" (and {unsaid} more like it)" if unsaid else ""
            self._events.add(kind, self._cluster.name(node), f"{detail}{more}")

    # --- what acts for the machine ---

    def send(self, node: str, message: Message) -> bool:
        """Send a message to a member."""
        return self._cluster.send(node, encode(message))

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Tell what happened."""
        self._events.add(kind, subject, detail)

    def name(self, node: str) -> str:
        """What people call a member."""
        return self._cluster.name(node)

    def records_changed(self) -> None:
        """Save the records soon, and see that their images are here."""
        if self._running:
            self._save_in(SAVE_AFTER)
            self._provide()

    def start_process(self, key: Key, program: Program) -> None:
        """Start a replica's process, now or when its image is here."""
        self.processes.start(key, program)

    def kill(self, key: Key) -> None:
        """End a replica's process, or its start."""
        self.processes.kill(key)

    def _started(self, key: Key, pid: int) -> None:
        self._do(lambda: self.machine.started(key, pid))

    def _ended(self, key: Key, reason: ExitReason) -> None:
        self._do(lambda: self.machine.ended(key, reason))

    # --- images ---

    def _keep(self, digest: str, data: bytes) -> None:
        parse(data)
        self.images.prune(self._wanted(), MOST_BYTES - len(data))
        self.images.add(digest, data)

    def _wanted(self) -> set[str]:
        active = [record for record in self.machine.records.all() if not record.stopped]
        return {program.image for record in active for program in record.programs}

    def _provide(self) -> None:
        """Fetch the images of every application, so that a failover need not wait for them."""
        wanted = self._wanted()
        self.fetcher.keep(wanted)
        self.processes.forget(wanted)
        for digest in sorted(wanted):
            if digest not in self.images:
                self.fetcher.want(digest)

    def _arrived(self, digest: str, data: bytes) -> None:
        try:
            self._keep(digest, data)
        except IridiumError as error:
            self._events.add("image-refused", digest[:16], str(error))
            self.processes.refused(digest, str(error))
        else:
            self.processes.arrived(digest)

    def _lied(self, node: str, digest: str) -> None:
        self._complain("image-lie", node, f"it sent something else as the image {digest[:16]}...")

    # --- time and disk ---

    def _do(self, work: Callable[[], object]) -> None:
        """Have the machine do something, and tick when it next wants to."""
        try:
            work()
        except Exception:
            # A bug, but one that must not end the node.
            self._log.failure("supervision failed")
        if self._running:
            if self._next_tick is not None and self._next_tick.active():
                self._next_tick.cancel()
            self._next_tick = self._reactor.callLater(max(0.01, self.machine.pause()), self._tick)

    def _tick(self) -> None:
        self.fetcher.tick()
        self._do(self.machine.tick)

    def _save_in(self, seconds: float) -> None:
        if self._saving is None or not self._saving.active():
            self._saving = self._reactor.callLater(seconds, self._save)

    def _save(self) -> Deferred[None]:
        pool = self._reactor.getThreadPool()
        saving: Deferred[None] = self._writing.run(
            deferToThreadPool, self._reactor, pool, self._data.write, APPLICATIONS_FILE, self.machine.records.all()
        )
        return saving.addErrback(self._not_saved)

    def _not_saved(self, failure: Any) -> None:
        failure.trap(DataDirectoryError)
        self._events.add("not-saved", APPLICATIONS_FILE, str(failure.value))
        if self._running:
            self._save_in(SAVE_AGAIN)
