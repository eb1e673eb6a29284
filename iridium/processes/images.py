"""Programs by the hash of their image: those of this node, and those that came from others."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from iridium.errors import ImageError, IridiumError
from iridium.image import Image, parse
from iridium.vm.program import Program

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of images that are kept; the one that was used longest ago is dropped, and comes again if it is needed."""


class WrongImageError(IridiumError):
    """An image is not what its hash says, or none at all."""


class Images:
    """Images and their programs, by hash.

    Attributes:
        lies: how many images came under a hash that is not theirs.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[bytes, Program]] = OrderedDict()
        self._hashes: dict[int, str] = {}
        self._bytes = 0
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
        found = self._kept.get(hash)
        if found is None:
            return None
        self._kept.move_to_end(hash)
        return found[1]

    def data(self, hash: str) -> bytes | None:
        """The bytes of an image that is kept, or None."""
        found = self._kept.get(hash)
        return None if found is None else found[0]

    def hash_of(self, program: Program) -> str:
        """The hash of the image of a program that does not grow; both are kept from now on."""
        known = self._hashes.get(id(program))
        if known is not None and (found := self._kept.get(known)) is not None and found[1] is program:
            return known
        data = program.image.to_bytes()
        hash = hashlib.sha256(data).hexdigest()
        if hash not in self._kept:
            self._put(hash, data, program)
        else:
            self._kept[hash] = data, program  # the one that is used
        self._hashes[id(program)] = hash
        return hash

    def _keep(self, hash: str, data: bytes, image: Image) -> tuple[str, Program]:
        found = self._kept.get(hash)
        if found is not None:
            self._kept.move_to_end(hash)
            return hash, found[1]
        program = Program(image)
        self._hashes[id(program)] = hash
        self._put(hash, data, program)
        return hash, program

    def _put(self, hash: str, data: bytes, program: Program) -> None:
        self._kept[hash] = (data, program)
        self._bytes += len(data)
        while self._bytes > MOST_BYTES and len(self._kept) > 1:
            _, (dropped, gone) = self._kept.popitem(last=False)
            self._hashes.pop(id(gone), None)
            self._bytes -= len(dropped)
