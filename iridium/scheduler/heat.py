"""The programs that run in the native interpreter and may get hot: watched while somebody runs or keeps them."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iridium.vm.native.engine import BackgroundCompiler
    from iridium.vm.native.program import NativeProgram

CONSIDERED = 256
"""Programs for each call of a worker: where there are more, it looks at all of them less often, so that looking
takes less than a tenth of its time."""


class Heat:
    """Finds out which programs are to be compiled. Any thread may use it."""

    def __init__(self) -> None:
        # Weakly: a program that is over before it is hot leaves nothing here.
        self._watched: weakref.WeakSet[NativeProgram] = weakref.WeakSet()
        self._changing = threading.Lock()
        self._due = 0  # how many programs may be looked at, by the calls since all of them were

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, native: NativeProgram) -> None:
        """Look at a program from now on, until somebody has asked for it to be compiled."""
        if not native.requested:
            with self._changing:
                self._watched.add(native)

    def consider(self, compiler: BackgroundCompiler, at_once: bool) -> None:
        """Give the compiler what has got hot. One thread looks; whoever comes meanwhile need not.

        Args:
            compiler: who compiles.
            at_once: whether everything is hot.
        """
        if not self._changing.acquire(blocking=False):
            return
        try:
            self._due += CONSIDERED
            if self._due < len(self._watched):
                return
            self._due = 0
            for native in list(self._watched):
                if at_once:
                    compiler.consider(native, after=0)
                else:
                    compiler.consider(native)
                if native.requested:
                    self._watched.discard(native)
        finally:
            self._changing.release()
