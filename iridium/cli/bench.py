"""``iridium bench``: how fast programs run here, on every engine and beside other languages."""

from __future__ import annotations

import sys

import click

from iridium.bench.run import NAMES, bench
from iridium.cli.status import PROGRAM_FAULT, ExitError
from iridium.cli.streams import Output, write_file


class _ProgressLine:
    """One line of a terminal that says what is going on; nothing where nobody watches."""

    def __init__(self) -> None:
        self._watched = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._watched:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Leave nothing behind."""
        self("")


@click.command(name="bench")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--workload",
    "names",
    multiple=True,
    type=click.Choice(NAMES),
    help="Measure this one only; may be given several times.",
)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Samples; medians count.")
@click.option("--quick", is_flag=True, help="Workloads a tenth of the size: seconds, and rough figures.")
@click.option("--chart", "chart_path", metavar="FILE.svg", help="Draw the five workloads as bars into that file.")
def bench_command(
    *, as_json: bool, names: tuple[str, ...], repeat: int, quick: bool, chart_path: str | None
) -> None:
    """Measure how fast programs run here.

    Five workloads run on every engine, and as the same programs in C, WebAssembly, JavaScript, Lua and Python,
    as far as these are installed. A large generated program and ten thousand machines at once run on our engines.
    """
    import msgspec

    progress = _ProgressLine()
    try:
        report = bench(names or NAMES, repeat=repeat, quick=quick, progress=progress)
    finally:
        progress.clear()
    if chart_path is not None:
        if not any(workload.figures for workload in report.workloads):
            raise click.UsageError("there is nothing to draw: --chart needs one of the five workloads")
        from iridium.bench.chart import chart

        write_file(chart_path, chart(report).encode())
    output = Output()
    if as_json:
        output.write(msgspec.json.encode(report).decode() + "\n")
    else:
        from iridium.bench.table import left_out, plain, pretty, tables

        shown = [(pretty if output.is_terminal else plain)(table) for table in tables(report)]
        output.write("\n".join(filter(None, [*shown, left_out(report)])))
    ours = {system.name for system in report.systems if system.ours}
    for entry in report.skipped:
        if entry.workload is not None and entry.name in ours:
            raise ExitError(
                f"iridium: engine {entry.name} failed in {entry.workload}: {entry.reason}", PROGRAM_FAULT
            )
