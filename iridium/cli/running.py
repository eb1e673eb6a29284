"""Runs a program for the ``iridium`` command: load, execute, report. A plain run comes here without click.

The exit statuses stand in :mod:`iridium.cli.status`, the documents for tools in :mod:`iridium.cli.report`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from iridium.cli.status import (
    DATA_ERROR,
    LIMIT_REACHED,
    PROGRAM_FAULT,
    USAGE,
    ExitError,
    of_stop_code,
    say,
    tell_of_building,
)
from iridium.cli.streams import Output, display_name, read_file
from iridium.errors import AssemblyError, ImageError, OptionError
from iridium.image import Image, is_image, parse
from iridium.isa import PROCESS_OPCODES, WORD

if TYPE_CHECKING:
    from iridium.vm import VM
    from iridium.vm.engine import Engine

FIRST_TURN = 4096
"""Instructions of the first turn: less than a millisecond of the reference engine."""

SHORTEST_TURN = 16
"""Instructions of a turn when each is slow: one can print 64 KiB."""

TURN = 0.004
"""Seconds, about, between two looks at the clock and the output: so short that nobody notices."""


@contextlib.contextmanager
def mistakes_of(name: str) -> Iterator[None]:
    """Turn what is wrong with a source or an image into a message and an exit status."""
    try:
        yield
    except AssemblyError as error:
        raise ExitError(str(error), DATA_ERROR) from None  # every diagnostic names the file itself
    except ImageError as error:
        raise ExitError(f"{name}: {error}", DATA_ERROR) from None


def load(data: bytes, name: str, *, line_table: bool) -> Image:
    """The image in a file, or the one its source makes.

    Args:
        data: the whole file.
        name: its name, for people.
        line_table: whether a source's image tells the line of each instruction.

    Raises:
        ExitError: it is neither.
    """
    with mistakes_of(name):
        if is_image(data):
            return parse(data)
        from iridium.assembler import assemble, decode_source  # an image runs without it

        return assemble(decode_source(data, name), file=name, line_table=line_table)


def execute(
    vm: VM, engine: Engine, write: Callable[[str], None], limit: int | None, timeout: float | None
) -> str | None:
    """Run a VM to its end, or as far as it may go.

    Args:
        vm: the machine.
        engine: advances it.
        write: takes what the program prints, after every turn.
        limit: the most instructions, or None.
        timeout: the most seconds, or None; looked at after every turn.

    Returns:
        The limit that stopped it, "instructions" or "time"; None if it halted or crashed.
    """
    from iridium.vm import Stop

    now = time.monotonic()
    deadline = math.inf if timeout is None else now + timeout
    size = FIRST_TURN
    while True:
        budget = size if limit is None else min(size, limit - vm.record.instructions)
        stop = engine(vm, budget).stop
        before, now = now, time.monotonic()
        paced = _next_size(size, now - before)
        # A turn that ended early was short for another reason than that instructions are fast.
        size = paced if stop is Stop.BUDGET else min(size, paced)
        while text := vm.output.take():
            write(text)
        if stop in (Stop.HALTED, Stop.FAULT):
            return None
        # A program that waits for room in its output has it now.
        if vm.record.instructions == limit:
            return "instructions"
        if now >= deadline:
            return "time"
        now = time.monotonic()  # what is spent on writing is not the program's


def _next_size(size: int, took: float) -> int:
    """Instructions of the next turn, after one that took so many seconds: faster engines take over meanwhile."""
    if took < TURN / 2:
        return 2 * size
    return max(SHORTEST_TURN, size // 4) if took > 2 * TURN else size


def verdict(vm: VM, name: str, reason: str | None) -> tuple[int, str | None]:
    """The exit status of a program that ended, and what standard error is told."""
    record = vm.record
    if reason is not None:
        option = "--limit" if reason == "instructions" else "--timeout"
        count = f"{record.instructions} instruction{'' if record.instructions == 1 else 's'}"
        return LIMIT_REACHED, f"{name}: stopped by {option} after {count}, at pc {record.pc}"
    crash = vm.crash
    if crash is None:
        return of_stop_code(record.stop_code), None
    lines = vm.program.image.lines
    # The line is one of the source's, which for an image is another file than the one that runs.
    where = name if crash.line is None or lines is None else f"{lines.file}:{crash.line}"
    return PROGRAM_FAULT, f"{where}: fault: {crash.kind.value} at pc {crash.pc}: {crash.message}"


def run(
    program: str,
    *,
    as_json: bool = False,
    registers: bool = False,
    limit: int | None = None,
    timeout: float | None = None,
    engine: str = "auto",
    threads: int = 1,
) -> int:
    """Do ``iridium run``.

    Args:
        program: the file, or ``-``.
        as_json, registers, limit, timeout, engine, threads: the options of that name.

    Returns:
        The exit status.

    Raises:
        ExitError: it cannot be run, or did not halt.
    """
    from iridium.vm import VM, Program
    from iridium.vm.engine import find_engine

    tell_of_building()
    try:
        advance = find_engine(engine)
    except OptionError as error:
        raise ExitError(f"iridium: {error}", USAGE) from None
    name = display_name(program)
    image = load(read_file(program), name, line_table=True)
    output = Output()
    if PROCESS_OPCODES.intersection(image.code[::WORD]):
        return _run_processes(image, name, output, as_json, registers, limit, timeout, engine, threads)
    vm = VM(Program(image))
    if as_json:
        from iridium.cli.report import Transcript, document

        transcript = Transcript()
        reason = execute(vm, advance, transcript.write, limit, timeout)
        output.write(document(vm, reason, transcript) + "\n")
    else:
        reason = execute(vm, advance, output.write, limit, timeout)
        if registers:
            from iridium.cli.report import register_listing

            output.start_line()
            output.write(register_listing(vm, rich=output.is_terminal))
    return end(output, *verdict(vm, name, reason))


def end(output: Output, status: int, message: str | None) -> int:
    """The exit status.

    Raises:
        ExitError: there is a message.
    """
    if message is not None:
        if output.is_terminal:
            output.start_line()
        raise ExitError(message, status)
    return status


def _run_processes(
    image: Image,
    name: str,
    output: Output,
    as_json: bool,
    registers: bool,
    limit: int | None,
    timeout: float | None,
    engine: str,
    threads: int,
) -> int:
    """The same for a program that uses processes: all of them print, the first says how it ends."""
    from iridium.cli.local import DEADLOCK, Local  # Twisted and more, for those that need it
    from iridium.cli.report import Transcript, document, register_listing
    from iridium.vm import Program, Stop

    transcript = Transcript()
    write = transcript.write if as_json else output.write
    try:
        local = Local(Program(image), engine, threads, write, lambda line: say(f"{name}: {line}"), say, limit)
    except OptionError as error:
        raise ExitError(f"iridium: {error}", USAGE) from None
    try:
        vm, reason, how = local.run(timeout)
        killed = how is not None and vm.record.stop not in (Stop.HALTED, Stop.FAULT) and reason is None
        if as_json:
            output.write(document(vm, reason, transcript, "killed" if killed else None) + "\n")
        elif registers:
            output.start_line()
            output.write(register_listing(vm, rich=output.is_terminal))
        if reason == DEADLOCK:
            count = f"all {local.alive} processes wait" if local.alive > 1 else "the only process waits"
            return end(output, LIMIT_REACHED, f"{name}: deadlock: {count} for messages that nobody can send")
        if killed:
            assert how is not None
            return end(output, PROGRAM_FAULT, f"{name}: the first process was ended by another: {how.text}")
        return end(output, *verdict(vm, name, reason))
    finally:
        local.close()
