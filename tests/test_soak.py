"""What counts as level in a soak: `python -m tests.soak`, of which .ci/run has some seconds."""

from __future__ import annotations

import random
import re

import pytest

from tests.soaking.levels import KEYS, Sample, fit, judge, table


def samples(count: int = 60, every: float = 1.0, **changes: float) -> list[Sample]:
    """Noisy samples of a level node; of the keys that are given, each rises by so much a sample."""
    chance = random.Random(7)
    usual = dict.fromkeys(KEYS, 20.0) | {"memory": 100e6}
    return [
        Sample(
            number * every,
            {
                key: value * chance.uniform(0.98, 1.02) + number * changes.get(key, 0)
                for key, value in usual.items()
            },
        )
        for number in range(count)
    ]


def calm(**values: float) -> list[Sample]:
    """Samples of a node that nobody uses."""
    return [Sample(0.0, dict.fromkeys(KEYS, 3.0) | {"memory": 90e6} | values)] * 5


def problems(before: list[Sample], busy: list[Sample], after: list[Sample], **options: bool) -> dict[str, str]:
    """What is not level."""
    return {row.key: row.problem for row in judge(before, busy, after, **options) if row.problem}


def test_the_line_through_points() -> None:
    """Least squares, against a line that is known; too few points have no slope."""
    line = fit([(x, 3 + 2 * x) for x in range(10)])
    assert line.slope == pytest.approx(2)
    assert line.error == pytest.approx(0, abs=1e-9)
    assert fit([(0, 1), (1, 5)]) == fit([(2, 1), (2, 5), (2, 9)]) == (0, 0)


def test_a_level_node_is_level() -> None:
    """Noise is no leak, and neither are events, which are a ring."""
    assert problems(calm(), samples(), calm()) == {}
    assert problems(calm(events=0), samples(events=5), calm(events=1024)) == {}


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("memory", 9e6),
        ("descriptors", 3),
        ("threads", 11),
        ("delayed_calls", 4),
        ("peers", 1),
        ("half_open", 2),
        ("sessions", 1),
        ("processes", 3),
    ],
)
def test_what_is_left_behind_is_seen(key: str, more: float) -> None:
    """A node that holds more than before, when nobody uses it, leaks."""
    assert problems(calm(), samples(), calm(**{key: calm()[0].values[key] + more})) == {key: "more than before"}


@pytest.mark.parametrize(("key", "each"), [("memory", 0.6e6), ("descriptors", 0.8), ("delayed_calls", 2.0)])
def test_what_rises_is_seen(key: str, each: float) -> None:
    """What grows while others come and go leaks, also where it is freed when all have gone."""
    assert problems(calm(), samples(**{key: each}), calm()) == {key: "rises"}


def test_a_short_run_may_fill_what_is_bounded() -> None:
    """The memory of a run of seconds says little; a large leak is seen all the same."""
    more = calm(memory=107e6)
    assert problems(calm(), samples(), more) == {"memory": "more than before"}
    assert problems(calm(), samples(), more, short=True) == {}
    assert problems(calm(), samples(), calm(memory=120e6), short=True) == {"memory": "more than before"}


def test_the_table_says_what_is_not_level() -> None:
    """A line for each, memory in MB."""
    text = table(judge(calm(), samples(), calm(threads=14)))
    assert "memory, MB" in text.splitlines()[1]
    assert re.search(r"^threads .*  more than before$", text, re.MULTILINE)
    assert len(text.splitlines()) == 1 + len(KEYS)
