"""Some made-up conversations with the membership machine: the long run is `python -m tests.fuzz_link`."""

from __future__ import annotations

from tests.fuzz_link import explore
from tests.fuzzing.conversations import Conversations


def test_made_up_conversations() -> None:
    """Whatever is said on several links, the machine keeps its bounds and believes nobody without a proof."""
    before = Conversations.lines
    explore(examples=40, steps=40)
    assert Conversations.lines > before
