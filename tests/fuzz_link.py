"""A long run of made-up conversations with a node's membership machine, from an empty corpus.

    python -m tests.fuzz_link --minutes 10

What is said, and what must hold after each step, stands in ``tests/fuzzing/conversations.py``. A short form is
``tests/test_fuzz_link.py``. It prints how much was tried; what fails is shrunk and printed by Hypothesis.
"""

from __future__ import annotations

import argparse
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzzing.conversations import Conversations

EXAMPLES = 200
"""Conversations between two looks at the clock."""

STEPS = 60
"""Steps of one."""


def explore(examples: int, steps: int) -> None:
    """Try some conversations, others each time.

    Args:
        examples: how many.
        steps: of each.
    """
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Conversations,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def main() -> None:
    """Explore for a while."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    begun = time.monotonic()
    conversations = 0
    try:
        while time.monotonic() < begun + 60 * minutes:
            explore(EXAMPLES, STEPS)
            conversations += EXAMPLES
    finally:
        seconds = time.monotonic() - begun
        said = f"{Conversations.lines} lines in {Conversations.steps} pieces"
        print(f"{said}, in {conversations} conversations that ended well; {seconds:.0f} s")


if __name__ == "__main__":
    main()
