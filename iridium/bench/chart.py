"""The five workloads as a bar chart in SVG, readable on light and on dark backgrounds.

A panel for each workload, a bar for each system, all on one logarithmic scale of nanoseconds an iteration.
"""

from __future__ import annotations

import math
from html import escape

from iridium.bench.results import Figure, Report, SystemInfo, WorkloadResult
from iridium.bench.table import short

COLUMNS = 2
PANEL = 440
"""Widths are in pixels; two panels are as wide as a page of text."""
NAMES = 150
"""What the names left of the bars take."""
VALUES = 60
"""What the numbers right of the longest bar take."""
BAR = 20
"""From bar to bar."""
HEAD = 34
FOOT = 26
MARGIN = 16

STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.quiet { fill: #57606a }
.grid { stroke: #d0d7de }
.peer { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .peer { fill: #6e7681 }
  .ours { fill: #4493f8 }
}"""


class Scale:
    """A logarithmic scale over whole decades.

    Args:
        values: that it must hold, all over 0.
        width: from its first decade to its last, in pixels.
    """

    def __init__(self, values: list[float], width: float) -> None:
        self.first = math.floor(math.log10(min(values)))
        self.last = max(self.first + 1, math.ceil(math.log10(max(values))))
        self._width = width

    def x(self, value: float) -> float:
        """How far from the start a value is."""
        return (math.log10(value) - self.first) / (self.last - self.first) * self._width

    @property
    def decades(self) -> list[float]:
        """The values to draw lines at."""
        return [10.0**power for power in range(self.first, self.last + 1)]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    classes = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{classes}>{escape(text)}</text>'


def _panel(
    workload: WorkloadResult, bars: list[tuple[SystemInfo, Figure]], scale: Scale, height: float
) -> list[str]:
    """The elements of one panel, with its corner at 0, 0."""
    parts = [
        _text(0, 16, workload.title, "title"),
        _text(PANEL - 2 * MARGIN, 16, f"ns per {workload.unit}", "quiet", "end"),
    ]
    bottom = height - FOOT
    for decade in scale.decades:
        x = NAMES + scale.x(decade)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{HEAD - 6}" x2="{x:.1f}" y2="{bottom:.1f}"/>')
        parts.append(_text(x, bottom + 14, f"{decade:g}", "quiet", "middle"))
    for number, (system, figure) in enumerate(bars):
        y = HEAD + BAR * number
        width = max(1.0, scale.x(figure.ns))
        kind = "ours" if system.ours else "peer"
        parts.append(_text(NAMES - 8, y + 11, system.title, anchor="end"))
        parts.append(f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{width:.1f}" height="{BAR - 6}" rx="2"/>')
        parts.append(_text(NAMES + width + 5, y + 11, short(figure.ns)))
    return parts


def chart(report: Report) -> str:
    """The document.

    Args:
        report: with at least one figure of a workload.
    """
    panels = []
    for workload in report.workloads:
        found = [(system, workload.of(system.name)) for system in report.systems]
        bars = [(system, figure) for system, figure in found if figure is not None]
        panels.append((workload, sorted(bars, key=lambda bar: bar[1].ns)))
    scale = Scale(
        [figure.ns for workload in report.workloads for figure in workload.figures],
        PANEL - NAMES - VALUES - MARGIN,
    )
    height = HEAD + FOOT + BAR * max(len(bars) for _, bars in panels)
    lines = math.ceil(len(panels) / COLUMNS)
    width, full = COLUMNS * PANEL + MARGIN, MARGIN + lines * (height + MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {full}" width="{width}" height="{full}" '
        'role="img">',
        f"<title>The speed of Iridium {escape(report.version)}: nanoseconds an iteration, short is good, "
        "on a logarithmic scale</title>",
        f"<style>{STYLE}</style>",
    ]
    for number, (workload, bars) in enumerate(panels):
        line, column = divmod(number, COLUMNS)
        x, y = MARGIN + column * PANEL, MARGIN + line * (height + MARGIN)
        parts += [f'<g transform="translate({x} {y})">', *_panel(workload, bars, scale, height), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"
