"""The processes of this node's replicas: started when their image is here, ended, and told of to the machine."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.logger import Logger

from iridium.errors import IridiumError
from iridium.image import Image, parse
from iridium.supervision.images import ImageStore
from iridium.supervision.services import Process, Spawner
from iridium.supervision.types import ExitReason, Key, Program

NOT_STARTED = -1
"""The exit code of a replica that could not be started, or was stopped before."""


class _Job:
    """A replica's process, or its start while the image is not here."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: Process | None = None


class Processes:
    """Processes by replica.

    Args:
        spawner: makes them.
        images: where their images are.
        want: called with the hash of an image that is not there; :meth:`arrived` or :meth:`refused` answers.
        started: called with the pid once a process runs.
        ended: called once for each start, when the process ended or could not be started.
    """

    _log = Logger(namespace="iridium.supervision")

    def __init__(
        self,
        spawner: Spawner,
        images: ImageStore,
        want: Callable[[str], None],
        started: Callable[[Key, int], None],
        ended: Callable[[Key, ExitReason], None],
    ) -> None:
        self._spawner = spawner
        self._images = images
        self._want = want
        self._started = started
        self._ended = ended
        self._jobs: dict[Key, _Job] = {}
        self._parsed: dict[str, Image] = {}

    def start(self, key: Key, program: Program) -> None:
        """Start a process, now or when its image is here."""
        self._jobs[key] = _Job(program)
        self._try(key)

    def kill(self, key: Key) -> None:
        """End a process, or its start."""
        job = self._jobs[key]
        if job.process is None:
            self._exited(key, job, ExitReason(NOT_STARTED, "it was stopped before it started"))
        else:
            job.process.kill()

    def arrived(self, digest: str) -> None:
        """An image is there now."""
        for key, job in list(self._jobs.items()):
            if job.process is None and job.program.image == digest:
                self._try(key)

    def refused(self, digest: str, why: str) -> None:
        """An image cannot be had."""
        for key, job in list(self._jobs.items()):
            if job.process is None and job.program.image == digest:
                self._exited(key, job, ExitReason(NOT_STARTED, why))

    def forget(self, wanted: Collection[str]) -> None:
        """Keep no other images in memory than these."""
        for digest in [digest for digest in self._parsed if digest not in wanted]:
            del self._parsed[digest]

    def _image(self, digest: str) -> Image | None:
        image = self._parsed.get(digest)
        if image is None and (data := self._images.load(digest)) is not None:
            image = self._parsed[digest] = parse(data)
        return image

    def _try(self, key: Key) -> None:
        job = self._jobs[key]
        try:
            image = self._image(job.program.image)
            if image is None:
                self._want(job.program.image)
                return
            process = self._spawner.spawn(
                image,
                name=job.program.register,
                registers=job.program.registers,
                on_start=lambda pid: self._began(key, job, pid),
                on_exit=lambda reason: self._exited(key, job, reason),
            )
        except IridiumError as error:
            self._exited(key, job, ExitReason(NOT_STARTED, str(error)))
        except Exception as error:
            self._log.failure("a replica could not be started")
            self._exited(key, job, ExitReason(NOT_STARTED, f"a bug of Iridium: {type(error).__name__}"))
        else:
            if self._jobs.get(key) is job:  # else it has ended already
                job.process = process

    def _began(self, key: Key, job: _Job, pid: int) -> None:
        if self._jobs.get(key) is job:
            self._started(key, pid)

    def _exited(self, key: Key, job: _Job, reason: ExitReason) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
            self._ended(key, reason)
