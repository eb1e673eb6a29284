"""Programs by the hash of their image: those of this node, and those that came from others."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from weakref import WeakKeyDictionary, WeakValueDictionary

from iridium.errors import ImageError, IridiumError
from iridium.image import Image, parse
from iridium.vm.program import Program

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of images that are kept; the one that was used longest ago is dropped, and comes again if it is needed."""

ENTRY = 1024
"""Bytes that an image counts for besides its own: what keeping it takes, however small it is."""

MOST_PROGRAMS = 256
"""Programs that are ready to run though nobody runs them. Each has tables and perhaps machine code, 50 KB where
the image has 200 bytes; of others the image alone is kept."""

PROGRAM_BYTES = 4 * 1024 * 1024
"""Bytes of the images of those: decoded, a program takes up to fifty times as much. The last one may be larger."""


class WrongImageError(IridiumError):
    """An image is not what its hash says, or none at all."""


class Images:
    """Images and their programs, by hash.

    Attributes:
        lies: how many images came under a hash that is not theirs.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        # A program that somebody runs is found as long as it is there; those that were used last are held, too.
        self._programs: WeakValueDictionary[str, Program] = WeakValueDictionary()
        self._hashes: WeakKeyDictionary[Program, str] = WeakKeyDictionary()
        self._ready: OrderedDict[str, tuple[int, Program]] = OrderedDict()
        self._ready_bytes = 0
        self.lies = 0

    def add(self, image: Image) -> tuple[str, Program]:
        """Keep an image; its hash and its program."""
        data = image.to_bytes()
        return self._keep(hashlib.sha256(data).hexdigest(), data, image)

    def receive(self, hash: str, data: bytes) -> Program:
        """Keep an image that came from another node.

        Raises:
            WrongImageError: it is not what it should be.
        """
        if hashlib.sha256(data).hexdigest() != hash:
            self.lies += 1
            raise WrongImageError(f"an image that should have the hash {hash[:12]}... has another; it was dropped")
        try:
            image = parse(data)
        except ImageError as error:
            raise WrongImageError(str(error)) from None
        return self._keep(hash, data, image)[1]

    def program(self, hash: str) -> Program | None:
        """The program of an image that is kept, or None."""
        data = self._kept.get(hash)
        return None if data is None else self._keep(hash, data)[1]

    def data(self, hash: str) -> bytes | None:
        """The bytes of an image that is kept, or None."""
        return self._kept.get(hash)

    def hash_of(self, program: Program) -> str:
        """The hash of the image of a program that does not grow; both are kept from now on."""
        hash = self._hashes.get(program)
        if hash is None or hash not in self._kept:
            data = program.image.to_bytes()
            hash = hashlib.sha256(data).hexdigest()
            self._put(hash, data)
        if self._programs.get(hash) is not program:
            self._use(hash, program)
        return hash

    def _keep(self, hash: str, data: bytes, image: Image | None = None) -> tuple[str, Program]:
        self._put(hash, data)
        program = self._programs.get(hash)
        if program is None:
            program = Program(parse(data) if image is None else image)
        self._use(hash, program)
        return hash, program

    def _put(self, hash: str, data: bytes) -> None:
        if hash in self._kept:
            self._kept.move_to_end(hash)
            return
        self._kept[hash] = data
        self._bytes += len(data) + ENTRY
        while self._bytes > MOST_BYTES and len(self._kept) > 1:
            gone, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped) + ENTRY
            self._retire(gone)

    def _use(self, hash: str, program: Program) -> None:
        """Have a program ready; others may have to make room."""
        self._programs[hash] = program
        self._hashes[program] = hash
        self._retire(hash)
        size = len(self._kept[hash])
        self._ready[hash] = size, program
        self._ready_bytes += size
        while len(self._ready) > 1 and (len(self._ready) > MOST_PROGRAMS or self._ready_bytes > PROGRAM_BYTES):
            self._retire(next(iter(self._ready)))

    def _retire(self, hash: str) -> None:
        size, _ = self._ready.pop(hash, (0, None))
        self._ready_bytes -= size
