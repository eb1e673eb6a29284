"""What the ``iridium`` command reads and writes: programs in, standard output, files that appear whole."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

from iridium.cli.status import (
    BROKEN_PIPE,
    CANNOT_CREATE,
    DATA_ERROR,
    INTERRUPTED,
    NO_INPUT,
    OUTPUT_ERROR,
    ExitError,
    say,
)

LARGEST_FILE = 1 << 28
"""The most bytes of a program that are read: what the assembler takes, several times the largest image."""

_PIECE = 1 << 20


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _output_failure(error: OSError) -> ExitError:
    abandon_stdout()
    return ExitError(f"iridium: cannot write standard output: {_why(error)}", OUTPUT_ERROR)


def display_name(path: str) -> str:
    """How messages and line tables name a file."""
    return "<stdin>" if path == "-" else printable(path)


def printable(path: str) -> str:
    """A path with what is not UTF-8 in it replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Args:
        path: the file, or ``-`` for standard input.

    Raises:
        ExitError: it cannot be opened or read, or is too large.
    """
    try:
        if path == "-":
            # None where the process was started with its standard input closed.
            data = _read(sys.stdin.buffer) if sys.stdin is not None else b""
        else:
            with open(path, "rb") as file:
                data = _read(file)
    except OSError as error:
        raise ExitError(f"{display_name(path)}: cannot open: {_why(error)}", NO_INPUT) from None
    if len(data) > LARGEST_FILE:
        raise ExitError(f"{display_name(path)}: larger than {LARGEST_FILE} bytes", DATA_ERROR)
    return data


def _read(file: BinaryIO) -> bytes:
    # Piece by piece, so that a small file reserves little and an endless one is given up.
    data = bytearray()
    while len(data) <= LARGEST_FILE and (piece := file.read(_PIECE)):
        data += piece
    return bytes(data)


def write_file(path: str, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Args:
        path: the file; a device or a pipe is written in place, a symbolic link's target is replaced.
        data: all of its bytes.

    Raises:
        ExitError: it cannot be written; the old file, if there was one, is unchanged.
    """
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb") as file:
                file.write(data)
            return
        _replace(target, data, mode)
    except OSError as error:
        raise ExitError(f"{display_name(path)}: cannot write: {_why(error)}", CANNOT_CREATE) from None


def _replace(target: str, data: bytes, mode: int | None) -> None:
    # Beside the target: a rename is atomic only within a file system.
    draft = f"{target}.{os.getpid()}.tmp"
    with open(draft, "xb") as file:
        try:
            if mode is not None:
                os.chmod(draft, stat.S_IMODE(mode))
            file.write(data)
            file.flush()
            os.replace(draft, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise


class Output:
    """Standard output: text that shows at once and never fails for a character that cannot be encoded."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self._line_start = True
        # A test or an embedding program may have put another kind of stream in its place.
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches it."""
        # A process that was started with its standard output closed has None here.
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> None:
        """Write and flush.

        Raises:
            ExitError: it cannot be written.
            BrokenPipeError: nobody reads it any more.
        """
        if not text or self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _output_failure(error) from None
        self._line_start = text.endswith("\n")

    def start_line(self) -> None:
        """End the line that the program left open, if it did."""
        if not self._line_start:
            self.write("\n")


def write_stdout(data: bytes) -> None:
    """Write bytes to standard output.

    Raises:
        ExitError: they cannot be written.
        BrokenPipeError: nobody reads them.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _output_failure(error) from None


def abandon_stdout() -> None:
    """Let standard output lead nowhere, so that what it still holds can neither fail nor block at exit."""
    # Without a descriptor of its own there is nothing that the end of the process would flush.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End the process as a command ends: with a message and a status; Ctrl-C and a reader that left need no word.

    Raises:
        SystemExit: the command failed, was interrupted, or nobody reads what it writes.
    """
    try:
        yield
    except ExitError as failure:
        say(str(failure))
        raise SystemExit(failure.status) from None
    except KeyboardInterrupt:
        abandon_stdout()
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        abandon_stdout()
        raise SystemExit(BROKEN_PIPE) from None
