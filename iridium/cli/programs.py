"""Commands about one program: run it, assemble it, list it; here is what click knows of them.

``docs/tutorial.md`` shows them at work; what a run does stands in :mod:`iridium.cli.running`.
"""

from __future__ import annotations

import math
import os

import click

from iridium.cli import running
from iridium.cli.status import DATA_ERROR, USAGE, ExitError, say
from iridium.cli.streams import Output, display_name, printable, read_file, write_file, write_stdout
from iridium.errors import OptionError
from iridium.image import is_image, parse

SUFFIX = ".ir"
"""How the file name of an image ends."""

_DEFAULT = click.core.ParameterSource.DEFAULT


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
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=1,
    metavar="N",
    help="Worker threads, for processes; 1 unless given.",
)
@click.option("--node", metavar="HOST:PORT", help="Run it on the node with that REPL port, not here.")
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
    threads: int,
    node: str | None,
) -> None:
    """Run PROGRAM, a source or an image; `-` is standard input.

    The exit status is the program's stop code; 65 if it is wrong, 66 if it cannot be opened, 70 if it crashes,
    75 if a limit stops it. A program that uses processes ends when its first does, or with 75 when all of them
    wait for ever.

    With --node, the program is read and assembled here and runs in a session of a running node, as if it ran here:
    the same output, messages and status. Ctrl-C stops it there.
    """
    if node is not None:
        from iridium.cli import remote

        given = [f"--{name}" for name in ("engine", "threads") if ctx.get_parameter_source(name) is not _DEFAULT]
        if given:
            raise click.UsageError(f"{given[0]} is the node's own, and cannot be given with --node")
        ctx.exit(remote.run(program, node, as_json=as_json, registers=registers, limit=limit, timeout=timeout))
    ctx.exit(
        running.run(
            program,
            as_json=as_json,
            registers=registers,
            limit=limit,
            timeout=timeout,
            engine=engine,
            threads=threads,
        )
    )


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
        raise click.UsageError(f"the image would overwrite its source {printable(source)}: add -o")
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
        raise ExitError(f"{name}: is an image already; `iridium disassemble` makes source of it", DATA_ERROR)
    image = running.load(data, name, line_table=line_table)
    content = image.to_bytes()
    if out == "-":
        write_stdout(content)
    else:
        write_file(out, content)
    written = "standard output" if out == "-" else printable(out)
    say(
        f"wrote {written}: {len(content)} bytes, {len(image.code) // 4} instructions, "
        f"{len(image.read_only)} bytes of read-only data, version {image.version}"
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

        image = running.load(data, name, line_table=False)
        try:
            text = (inside.blocks if blocks else inside.llvm_ir if llvm else inside.machine_code)(image)
        except OptionError as error:
            raise ExitError(f"iridium: {error}", USAGE) from None
    else:
        from iridium.assembler import disassemble as listing

        with running.mistakes_of(name):
            text = listing(parse(data))
    output = Output()
    output.write(text)
    output.start_line()
