"""Processes in several threads: the books balance whatever the threads do. The long run is `tests.stress`."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests import stress

pytest.importorskip("llvmlite")


@pytest.mark.parametrize(("seed", "threads"), [(1, 2), (2, 4), (3, 3)])
def test_the_books_balance(seed: int, threads: int) -> None:
    """Protects processes from each other's threads: no message lost or doubled, no slot, lock or memory left over.

    Thousands send, spawn, watch, link, kill and die at random, with too few slots in every third seed; each has
    its end; every monitor fires once; what was sent is what was received, refused, or is still there.
    """
    command = [sys.executable, "-m", "tests.stress", "--seed", seed, "--threads", threads, "--count", 800]
    assert stress.watch([str(word) for word in command], 3 * stress.PATIENCE) == ""


def test_the_stress_reports() -> None:
    """Protects the long run: it counts its seeds, and says by which signal one ended."""
    command = [sys.executable, "-m", "tests.stress", "--minutes", "0", "--count", "50", "--threads", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1 seeds, 0 failures\n")
    script = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    assert stress.watch([sys.executable, "-c", script], 10.0) == "ended by SIGSEGV"
    assert stress.watch([sys.executable, "-c", "import time; time.sleep(100)"], 0.3) == "hangs"
