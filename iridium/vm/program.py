"""The code that a VM runs: an image's, or a shell session's that grows line by line."""

from __future__ import annotations

from typing import Any

from iridium.image import HEADER, Image
from iridium.isa import WORD


class Program:
    """Read-only data and code at their addresses.

    Many VMs may run one program. Only the owner of a session's program changes it, between turns.

    Args:
        image: what to run.

    Attributes:
        read_only: the read-only section.
        code: the instructions, from ``base`` on.
        base: the address of the first instruction.
        version: the image version, which says what opcodes are legal.
        decoded: what the reference engine made of the code; None until it first ran.
        native: what the native engines made of it; None until they first ran it, and again once it changed.
    """

    __slots__ = ("base", "code", "decoded", "image", "native", "read_only", "version")

    def __init__(self, image: Image) -> None:
        self.image = image
        self.read_only = bytearray(image.read_only)
        self.code = bytearray(image.code)
        self.base = HEADER + len(image.read_only)
        self.version = image.version
        self.decoded: Any = None
        self.native: Any = None

    @property
    def end(self) -> int:
        """The address after the last instruction."""
        return self.base + len(self.code)

    def append(self, code: bytes) -> None:
        """Add whole instructions at the end."""
        self.code += code
        self.native = None
        if self.decoded is not None:
            self.decoded.extend()

    def truncate(self, address: int) -> None:
        """Drop the instructions from an address on."""
        del self.code[address - self.base :]
        self.native = None
        if self.decoded is not None:
            self.decoded.truncate()

    def content_hash(self) -> str:
        """SHA-256, in hex, of what engines see: two programs of one hash run alike."""
        import hashlib  # what a program run from the command line need not load

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
