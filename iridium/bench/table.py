"""Reports for people: tables and what was left out, for a terminal or as plain aligned text."""

from __future__ import annotations

from typing import NamedTuple

from iridium.bench.results import Figure, Report

NONE = "-"


class Table(NamedTuple):
    """Text in rows and columns.

    Attributes:
        title: what stands above it.
        headings: of the columns; the first column is to the left, the others to the right.
        rows: of cells.
        note: what stands below it.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    note: str


def short(value: float) -> str:
    """A number with about three digits."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds in a unit that suits them."""
    return f"{short(seconds * 1e3)} ms" if seconds < 1 else f"{short(seconds)} s"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return NONE
    return short(figure.ns) if figure.ratio is None else f"{short(figure.ns)} ({short(figure.ratio)})"


def _workloads(report: Report) -> Table:
    titles = {system.name: system.title for system in report.systems}
    rows = []
    for system in report.systems:
        figures = [workload.of(system.name) for workload in report.workloads]
        if any(figures):
            mean = report.mean_ratio(system.name)
            version = "" if system.ours else f" {system.version}"
            cells = [_cell(figure) for figure in figures]
            rows.append([f"{system.title}{version}", *cells, NONE if mean is None else short(mean)])
    note = f"median of {report.repeat}, processor time"
    if bases := [workload.baseline for workload in report.workloads if workload.baseline]:
        usual = max(bases, key=bases.count)
        others = [
            f"{workload.name}: {titles[workload.baseline]}"
            for workload in report.workloads
            if workload.baseline not in (None, usual)
        ]
        note += f"; in brackets the ratio to {titles[usual]}" + "".join(f", {other}" for other in others)
    headings = ["", *(f"{workload.name}/{workload.unit}" for workload in report.workloads), "mean ratio"]
    return Table("nanoseconds an iteration", headings, rows, note)


def _generated(report: Report) -> Table:
    rows = [
        [
            result.engine,
            f"{result.executed / 1e6:.2f} M",
            duration(result.first_result_seconds),
            NONE if result.compiled_seconds is None else duration(result.compiled_seconds),
        ]
        for result in report.generated
    ]
    size = report.generated[0].instructions
    headings = ["engine", "executed", "first result", "compiled"]
    return Table(
        f"a generated program of {size} instructions", headings, rows, f"wall time, median of {report.repeat}"
    )


def _many(report: Report) -> Table:
    single = {result.engine: result.instructions / result.seconds for result in report.many if result.threads == 1}
    rows = []
    for result in report.many:
        rate = result.instructions / result.seconds
        rows.append(
            [
                result.engine,
                str(result.threads),
                duration(result.create_seconds),
                duration(result.seconds),
                f"{short(rate / 1e6)} M",
                f"{short(result.turns / result.seconds / 1e3)} k",
                f"{rate / single[result.engine]:.2f}",
            ]
        )
    headings = ["engine", "threads", "to create", "to run", "instructions/s", "turns/s", "to one thread"]
    return Table(f"{report.many[0].vms} VMs at once", headings, rows, f"wall time, median of {report.repeat}")


def tables(report: Report) -> list[Table]:
    """The tables of a report, those that have something in them."""
    made = []
    if report.workloads:
        made.append(_workloads(report))
    if report.generated:
        made.append(_generated(report))
    if report.many:
        made.append(_many(report))
    return made


def left_out(report: Report) -> str:
    """A line for each system that was not measured; empty if all were."""
    lines = []
    for entry in report.skipped:
        where = f" in {entry.workload}" if entry.workload else ""
        lines.append(f"not measured: {entry.name}{where}: {entry.reason}\n")
    return "".join(lines)


def plain(table: Table) -> str:
    """A table as aligned text."""
    lines = [table.headings, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.headings))]
    text = [table.title]
    for first, *rest in lines:
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)),
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, table.note]) + "\n"


def pretty(table: Table) -> str:
    """A table with lines and colours, for the terminal that this process writes to."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
    for number, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row), style="bold" if row[0].startswith("Iridium") else None)
    console = Console()
    with console.capture() as captured:
        console.print(shown)
    return captured.get()
