"""What the compiler made of a program, and what becomes of that once nobody runs it any more."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_DROPPED = 256
"""Programs whose machine code waits to be unloaded; one more is unloaded at once, by whoever drops it."""


class Compiled(NamedTuple):
    """A program in machine code.

    Attributes:
        entries: the address of code by the index of the instruction that it starts with.
        linked: what keeps the code in memory.
        seconds: how long it took.
        from_cache: whether all of it was found on disk.
        dropped: where it goes when nobody runs it any more.
    """

    entries: dict[int, int]
    linked: list[Any]
    seconds: float
    from_cache: bool
    dropped: Dropped

    def keep(self) -> None:
        """From now on somebody may run it, until :meth:`drop`."""
        self.dropped.keep(self)

    def drop(self) -> None:
        """Nobody runs it any more."""
        self.dropped.add(self)

    def unload(self) -> None:
        """Take it out of memory, once LLVM has time for that."""
        for linked in self.linked:
            with contextlib.suppress(RuntimeError):  # LLVM could not: it stays
                linked.close()


class Dropped:
    """Machine code that nobody runs any more, until a thread unloads it that may wait.

    LLVM does one thing at a time: to unload something may take as long as to compile a region. Whoever happens to
    drop a program, the reactor's thread say, is not to wait so long.

    Args:
        wake: called where there is some; may be called for nothing.
        most: how many programs may wait.
    """

    def __init__(self, wake: Callable[[], None], most: int = MOST_DROPPED) -> None:
        self._wake = wake
        self._most = most
        self._waiting: deque[Compiled] = deque()
        # What is not to be unloaded yet. A program is garbage together with all that only it refers to: then the
        # collector would have LLVM's objects unload themselves, while another thread unloads them.
        self._kept: dict[int, Compiled] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, compiled: Compiled) -> None:
        """Hold machine code that somebody may run."""
        self._kept[id(compiled)] = compiled

    def add(self, compiled: Compiled) -> None:
        """Unload a program's machine code soon. Called by the garbage collector, anywhere: so it takes no lock."""
        self._kept.pop(id(compiled), None)
        if len(self._waiting) >= self._most:
            compiled.unload()
            return
        self._waiting.append(compiled)
        self._wake()

    def unload(self) -> None:
        """Unload all that waits for it."""
        while True:
            try:
                compiled = self._waiting.popleft()
            except IndexError:
                return
            compiled.unload()
