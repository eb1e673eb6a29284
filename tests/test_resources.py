"""What a process takes of its machine, as Linux tells it."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from pathlib import Path

import pytest

from iridium.resources import Resources, measure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def test_descriptors_and_threads_are_counted() -> None:
    """One more is one more, and the look itself is none."""
    before = measure()
    assert before.descriptors is not None
    assert before.threads is not None
    reading, writing = os.pipe()
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        now = measure()
    finally:
        go.set()
        thread.join()
        os.close(reading)
        os.close(writing)
    assert (now.descriptors, now.threads) == (before.descriptors + 2, before.threads + 1)
    assert measure().descriptors == before.descriptors


def test_memory_is_what_is_resident() -> None:
    """It grows with what is used."""
    size = 64 * 1024 * 1024
    with mmap.mmap(-1, size) as memory:  # of the system's, since the process may have free memory of its own
        before = measure().memory
        memory[:] = bytes([1]) * size
        after = measure().memory
    assert before is not None
    assert after is not None
    assert after - before > 40_000_000


def test_a_process_that_is_gone_takes_what_nobody_knows(tmp_path: Path) -> None:
    """Nothing is raised about it."""
    assert measure(tmp_path / "4711") == Resources()
