"""The code that a VM runs: an image's, or a shell session's that grows line by line."""

from __future__ import annotations

from typing import Any

from iridium.image import HEADER, Image
from iridium.isa import WORD


class Program:
    """Read-only data and code at their addresses.

    Many VMs may run one program. Only the owner of a session's program changes it, between turns; so processes run
    what :meth:`frozen` gives.

    Args:
        image: what to run.
        grows: whether its owner will change it.
        title: what people call it.

    Attributes:
        title: as given.
        read_only: the read-only section.
        code: the instructions, from ``base`` on.
        base: the address of the first instruction.
        version: the image version, which says what opcodes are legal.
        decoded: what the reference engine made of the code; None until it first ran.
        native: what the native engines made of it; None until they first ran it, and again once it changed.
    """

    __slots__ = (
        "__weakref__",
        "_frozen",
        "_grows",
        "base",
        "code",
        "decoded",
        "image",
        "native",
        "read_only",
        "title",
        "version",
    )

    def __init__(self, image: Image, *, grows: bool = False, title: str = "") -> None:
        self.image = image
        self.title = title
        self.read_only = bytearray(image.read_only)
        self.code = bytearray(image.code)
        self.base = HEADER + len(image.read_only)
        self.version = image.version
        self.decoded: Any = None
        self.native: Any = None
        self._grows = grows
        self._frozen: Program | None = None

    @property
    def end(self) -> int:
        """The address after the last instruction."""
        return self.base + len(self.code)

    def append(self, code: bytes) -> None:
        """Add whole instructions at the end."""
        self.code += code
        self.native = self._frozen = None
        if self.decoded is not None:
            self.decoded.extend()

    def truncate(self, address: int) -> None:
        """Drop the instructions from an address on."""
        del self.code[address - self.base :]
        self.native = self._frozen = None
        if self.decoded is not None:
            self.decoded.truncate()

    def put_data(self, offset: int, data: bytes) -> None:
        """Write into the read-only section, which keeps its size."""
        self.read_only[offset : offset + len(data)] = data
        self._frozen = None

    def frozen(self) -> Program:
        """The program as it is now, and will stay whatever its owner does: itself, unless it grows."""
        if not self._grows:
            return self
        if self._frozen is None:
            image = self.image._replace(code=bytes(self.code), read_only=bytes(self.read_only))
            if image.lines is not None:
                # Nobody knows the lines of what was added.
                known = image.lines.lines[: len(self.code) // WORD]
                lines = known + (0,) * (len(self.code) // WORD - len(known))
                image = image._replace(lines=image.lines._replace(lines=lines))
            self._frozen = Program(image, title=self.title)
        return self._frozen

    def content_hash(self) -> str:
        """SHA-256, in hex, of what engines see: two programs of one hash run alike."""
        import hashlib  # a program run from the command line need not pay for it

        digest = hashlib.sha256(b"%d %d " % (self.version, len(self.read_only)))
        digest.update(self.read_only)
        digest.update(self.code)
        return digest.hexdigest()

    def word_at(self, address: int) -> bytes | None:
        """The instruction at an address, or None where there is none."""
        offset = address - self.base
        if offset % WORD or not 0 <= offset < len(self.code):
            return None
        return bytes(self.code[offset : offset + WORD])
