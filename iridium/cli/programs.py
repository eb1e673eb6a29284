"""Commands about one program: run it, assemble it, list it.

``docs/tutorial.md`` shows them at work; the exit statuses stand in :mod:`iridium.cli.status`.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from iridium.cli.status import DATA_ERROR, LIMIT_REACHED, PROGRAM_FAULT, USAGE, Failure, of_stop_code
from iridium.cli.streams import Output, display_name, read_file, write_file, write_stdout
from iridium.errors import AssemblyError, ImageError, OptionError
from iridium.image import Image, is_image, parse

if TYPE_CHECKING:
    from iridium.vm import VM
    from iridium.vm.engine import Engine

FIRST_TURN = 4096
"""Instructions of the first turn: less than a millisecond of the reference engine."""

SHORTEST_TURN = 16
"""Instructions of a turn when each is slow: one can print 64 KiB."""

TURN = 0.004
"""Seconds, about, between two looks at the clock and the output: so short that nobody notices."""

SUFFIX = ".ir"
"""How the file name of an image ends."""


@contextlib.contextmanager
def _mistakes_of(name: str) -> Iterator[None]:
    """Turn what is wrong with a source or an image into a message and an exit status."""
    try:
        yield
    except AssemblyError as error:
        raise Failure(str(error), DATA_ERROR) from None  # every diagnostic names the file itself
    except ImageError as error:
        raise Failure(f"{name}: {error}", DATA_ERROR) from None


def load(data: bytes, name: str, *, line_table: bool) -> Image:
    """The image in a file, or the one its source makes.

    Args:
        data: the whole file.
        name: its name, for people.
        line_table: whether a source's image tells the line of each instruction.

    Raises:
        Failure: it is neither.
    """
    with _mistakes_of(name):
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


def _verdict(vm: VM, name: str, reason: str | None) -> tuple[int, str | None]:
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


def _positive(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:  # so written, nan is refused too
        raise click.BadParameter("must be a positive number of seconds")
    return value


@click.command()
@click.argument("program")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document about how it ended.")
@click.option("--registers", is_flag=True, help="Print the registers after the program's output.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Stop after N instructions.")
@click.option("--timeout", type=float, callback=_positive, metavar="S", help="Stop after S seconds.")
@click.option("--engine", default="auto", metavar="NAME", help="What runs it: auto, reference, native, compiled.")
@click.pass_context
def run(
    ctx: click.Context,
    program: str,
    *,
    as_json: bool,
    registers: bool,
    limit: int | None,
    timeout: float | None,
    engine: str,
) -> None:
    """Run PROGRAM, a source or an image; `-` is standard input.

    The exit status is the program's stop code; 65 if it is wrong, 66 if it cannot be opened, 70 if it crashes,
    75 if a limit stops it.
    """
    from iridium.vm import VM, Program
    from iridium.vm.engine import find_engine

    try:
        advance = find_engine(engine)
    except OptionError as error:
        raise Failure(f"iridium: {error}", USAGE) from None
    name = display_name(program)
    vm = VM(Program(load(read_file(program), name, line_table=True)))
    output = Output()
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
    status, message = _verdict(vm, name, reason)
    if message is not None:
        if output.is_terminal:
            output.start_line()
        raise Failure(message, status)
    ctx.exit(status)


def _image_path(source: str, out: str | None) -> str:
    """Where ``assemble`` writes.

    Raises:
        click.UsageError: nobody said, or it would overwrite the source.
    """
    if out is None:
        if source == "-":
            raise click.UsageError("a source from standard input has no name to derive the image's from: add -o")
        out = os.path.splitext(source)[0] + SUFFIX
    if out != "-" and source != "-" and os.path.exists(out) and os.path.samefile(source, out):
        raise click.UsageError(f"the image would overwrite its source {click.format_filename(source)}: add -o")
    return out


@click.command()
@click.argument("source")
@click.option("-o", "out", metavar="OUT", help="Write the image there; `-` is standard output.")
@click.option("-g", "line_table", is_flag=True, help="Add a line table, so that faults name source lines.")
def assemble(source: str, *, out: str | None, line_table: bool) -> None:
    """Make an executable image of SOURCE; `-` is standard input.

    The image is written beside the source, with the suffix `.ir`.
    """
    data = read_file(source)
    out = _image_path(source, out)
    name = display_name(source)
    if is_image(data):
        raise Failure(f"{name}: is an image already; `iridium disassemble` makes source of it", DATA_ERROR)
    image = load(data, name, line_table=line_table)
    content = image.to_bytes()
    if out == "-":
        write_stdout(content)
    else:
        write_file(out, content)
    written = "standard output" if out == "-" else click.format_filename(out)
    click.echo(
        f"wrote {written}: {len(content)} bytes, {len(image.code) // 4} instructions, "
        f"{len(image.read_only)} bytes of read-only data, version {image.version}",
        err=True,
    )


@click.command()
@click.argument("file")
@click.option("--blocks", is_flag=True, help="Show basic blocks: where control goes, checkpoints and their costs.")
@click.option("--llvm", is_flag=True, help="Show the LLVM IR that the compiler makes of it.")
@click.option("--asm", is_flag=True, help="Show the machine code that the compiler makes of it.")
def disassemble(file: str, *, blocks: bool, llvm: bool, asm: bool) -> None:
    """List the image FILE as source that assembles to the same image; `-` is standard input.

    With --blocks, --llvm or --asm, show how FILE, an image or a source, is compiled.
    """
    if blocks + llvm + asm > 1:
        raise click.UsageError("--blocks, --llvm and --asm: choose one")
    data = read_file(file)
    name = display_name(file)
    if blocks or llvm or asm:
        from iridium.cli import inside

        image = load(data, name, line_table=False)
        try:
            text = (inside.blocks if blocks else inside.llvm_ir if llvm else inside.machine_code)(image)
        except OptionError as error:
            raise Failure(f"iridium: {error}", USAGE) from None
    else:
        from iridium.assembler import disassemble as listing

        with _mistakes_of(name):
            text = listing(parse(data))
    output = Output()
    output.write(text)
    output.start_line()
