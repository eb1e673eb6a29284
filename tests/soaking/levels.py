"""Whether what a node takes and holds is level: samples in, a table and a verdict out. Nothing here does I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

KEYS = (
    "memory",
    "descriptors",
    "threads",
    "delayed_calls",
    "peers",
    "half_open",
    "sessions",
    "events",
    "processes",
)
"""What is sampled: the fields of `resources` in `!stats --json`, and the pids of the node."""

SURE = 3.0
"""Standard errors by which a slope must differ from none before it counts."""


class Tolerance(NamedTuple):
    """How much of something may be more than before, and is still level.

    Attributes:
        share: of what there was.
        least: in its own unit, where the share is less.
    """

    share: float
    least: float

    def of(self, amount: float) -> float:
        """How much may come on top of an amount."""
        return max(self.share * amount, self.least)


POOL = 10
"""Threads of Twisted's pool at most: it starts them when work comes at once, and keeps them."""

TOLERANCES = {
    # The allocator has arenas for each thread, and keeps those in which something lives. Before code that was
    # compiled and dropped was forgotten, ten minutes took 50 MB.
    "memory": Tolerance(0.08, 8e6),
    "descriptors": Tolerance(0.0, 2),
    "threads": Tolerance(0.0, POOL),
    "delayed_calls": Tolerance(0.0, 3),
    "peers": Tolerance(0.0, 0),
    "half_open": Tolerance(0.0, 1),
    "sessions": Tolerance(0.0, 0),
    "processes": Tolerance(0.0, 2),
}
"""By what a calm node may hold more than it did when it was calm before. Events are a ring, which may fill."""

BUSY = {
    "memory": Tolerance(0.06, 8e6),
    "descriptors": Tolerance(0.2, 15),
    "threads": Tolerance(0.0, POOL),
    "delayed_calls": Tolerance(0.25, 40),
    "processes": Tolerance(0.35, 60),
}
"""By how much a line through the second half may rise in all, while others come and go."""


FILLING = Tolerance(0.2, 25e6)
"""The memory that a node may take more in a run too short to have filled its bounded tables once."""


class Sample(NamedTuple):
    """What a node took and held at a time.

    Attributes:
        when: seconds since the start.
        values: by the names of :data:`KEYS`.
    """

    when: float
    values: dict[str, float]


class Line(NamedTuple):
    """A straight line through points, by least squares.

    Attributes:
        slope: a second.
        error: the standard error of that.
    """

    slope: float
    error: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The line through points; without a slope where there are fewer than three, or all at one time."""
    count = len(points)
    if count < 3:
        return Line(0.0, 0.0)
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return Line(0.0, 0.0)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Line(slope, math.sqrt(rest / (count - 2) / spread))


class Row(NamedTuple):
    """What is said of one key.

    Attributes:
        key: which.
        before, after: when the node was calm, before and after.
        low, high: the least and most while it was busy.
        rise: by how much the line through the second half of that rises, in all.
        problem: why it is not level, or "".
    """

    key: str
    before: float
    low: float
    high: float
    rise: float
    after: float
    problem: str


def calm(samples: Sequence[Sample]) -> dict[str, float]:
    """What a node holds that nobody uses: the median of the last few samples."""
    last = samples[-5:]
    return {key: statistics.median(sample.values[key] for sample in last) for key in KEYS}


def judge(
    before: Sequence[Sample], busy: Sequence[Sample], after: Sequence[Sample], *, short: bool = False
) -> list[Row]:
    """Say of each key whether it is level.

    Args:
        before: samples of a calm node that has already done everything once.
        busy: while others come and go.
        after: calm again.
        short: whether the node was still filling what is bounded.
    """
    tolerances = {**TOLERANCES, "memory": FILLING} if short else TOLERANCES
    rises = {**BUSY, "memory": FILLING} if short else BUSY
    first, last = calm(before), calm(after)
    half = busy[len(busy) // 2 :]
    seconds = half[-1].when - half[0].when if half else 0.0
    rows = []
    for key in KEYS:
        line = fit([(sample.when, sample.values[key]) for sample in half])
        rise = line.slope * seconds
        values = [sample.values[key] for sample in busy] or [0.0]
        problems = []
        if key in tolerances and last[key] - first[key] > tolerances[key].of(first[key]):
            problems.append("more than before")
        mean = statistics.fmean(sample.values[key] for sample in half) if half else 0.0
        if key in rises and rise > rises[key].of(mean) and line.slope > SURE * line.error:
            problems.append("rises")
        rows.append(Row(key, first[key], min(values), max(values), rise, last[key], " and ".join(problems)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text; memory in MB."""
    lines = [f"{'':14} {'calm':>9} {'busy, least':>12} {'most':>9} {'rise':>9} {'calm':>9}"]
    for row in rows:
        scale = 1e6 if row.key == "memory" else 1.0
        before, low, high, rise, after = (value / scale for value in row[1:6])
        name = "memory, MB" if row.key == "memory" else row.key
        verdict = row.problem or "level"
        lines.append(f"{name:14} {before:9.1f} {low:12.1f} {high:9.1f} {rise:+9.1f} {after:9.1f}  {verdict}")
    return "\n".join(lines)
