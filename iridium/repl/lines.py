"""Bytes to lines: chunks as they come in, lines or what is wrong with them out. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator

from iridium.errors import IridiumError
from iridium.limits import DEFAULTS

INTERRUPT = b"\x03"
"""What Ctrl-C sends where no terminal makes a signal or a telnet command of it."""

_INTERRUPTS = re.compile(INTERRUPT + b"+")


def split_interrupts(data: bytes) -> list[bytes]:
    """What came before, between and behind the interrupts in a piece of a stream."""
    return _INTERRUPTS.split(data)


class BadLineError(IridiumError):
    """A line that could not be read.

    Args:
        kind: "too long" or "not UTF-8", for the log.
        message: for the person.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LineReader:
    """Cuts a stream into lines, which end with ``\\n``, ``\\r\\n`` or ``\\r\\0``.

    What has come of a line that has not ended yet is kept, up to the longest.

    Args:
        longest: bytes of a line; what is longer is discarded as it comes.
    """

    def __init__(self, longest: int = DEFAULTS.session_line) -> None:
        self._longest = longest
        self._partial = bytearray()
        self._return = False
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[str | BadLineError]:
        """The lines that end in this piece of the stream.

        The iterator must be used up before the next piece.
        """
        if self._return:
            data = b"\r" + data
        # The byte after a carriage return says whether it ends the line, and may not be here yet.
        self._return = data.endswith(b"\r")
        if self._return:
            data = data[:-1]
        *ends, rest = data.replace(b"\r\0", b"\n").split(b"\n")
        for end in ends:
            self._add(end)
            yield self._line()
        self._add(rest)

    def interrupt(self) -> None:
        """Forget the line that has not ended yet."""
        self._partial.clear()
        self._return = self._too_long = False

    def finish(self) -> Iterator[str | BadLineError]:
        """The last line, when the stream ended without ending it."""
        if self._partial or self._too_long:
            yield self._line()

    def _add(self, data: bytes) -> None:
        if (
            self._too_long or len(self._partial) + len(data) > self._longest + 1
        ):  # a carriage return may go with it
            self._too_long = True
            self._partial.clear()
        else:
            self._partial += data

    def _line(self) -> str | BadLineError:
        line = bytes(self._partial.removesuffix(b"\r"))
        too_long = self._too_long or len(line) > self._longest
        self._partial.clear()
        self._too_long = False
        if too_long:
            return BadLineError("too long", f"the line is longer than {self._longest} bytes; it was dropped")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            at = error.start
            return BadLineError(
                "not UTF-8", f"byte {at + 1} of the line, 0x{line[at]:02x}, is not UTF-8; the line was dropped"
            )
