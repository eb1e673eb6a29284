"""Holds what a session runs to so many instructions a second; on the reactor thread.

A session has an account, from which its program and the processes that it has started draw their instructions
(:mod:`iridium.vm.runtime.accounts`). The governor fills the accounts up in small steps. Whoever finds nothing left
waits; nothing is ended. Where there is no limit there are no accounts, and nobody pays for them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from iridium.scheduler.table import ProcessTable
from iridium.vm.runtime.calls import calls
from iridium.vm.runtime.layout import Account

TICK = 1 / 16
"""Seconds between two fillings: a program that is held back goes on in steps that nobody sees."""

BURST = 1.0
"""Seconds' worth of instructions that an account holds at the most: a short command is never held back."""


class Governor:
    """The accounts of a node.

    Args:
        clock: the reactor, or what stands for it in a test.
        seconds: a clock that never steps.
        rate: instructions a second of each account; 0 is any number.
        table: the processes.
        pump: called when VMs may go on that were parked.

    Attributes:
        rate: as given.
    """

    def __init__(
        self,
        clock: Any,
        seconds: Callable[[], float],
        rate: int,
        table: ProcessTable,
        pump: Callable[[], None],
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._seconds = seconds
        self._table = table
        self._pump = pump
        self._accounts: dict[int, Account] = {}  # by their addresses, which records hold
        self._closed: set[int] = set()
        self._waiting: list[Callable[[], None]] = []
        self._next: Any = None
        self._last = 0.0
        self._rest = 0.0  # of an instruction, that was not filled in yet

    @property
    def most(self) -> int:
        """Instructions that an account holds when it is full."""
        return max(1, int(self.rate * BURST))

    def open(self) -> Account | None:
        """An account of its own for a session, which is full; None where there is no limit."""
        if not self.rate:
            return None
        account = Account(left=self.most)
        self._accounts[ctypes.addressof(account)] = account
        if self._next is None:
            self._last = self._seconds()
            self._next = self._clock.callLater(TICK, self._tick)
        return account

    def close(self, account: Account) -> None:
        """A session has ended, and no worker comes across its VM any more; its processes go on as before."""
        self._closed.add(ctypes.addressof(account))
        self._forget()

    def when_filled(self, call: Callable[[], None]) -> None:
        """Call something once the accounts have been filled up again."""
        self._waiting.append(call)

    def stop(self) -> None:
        """The node ends: nothing runs any more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._waiting.clear()

    def _tick(self) -> None:
        self._next = self._clock.callLater(TICK, self._tick)
        now = self._seconds()
        due = self._rest + max(0.0, now - self._last) * self.rate
        self._last = now
        count = min(int(due), self.most)
        self._rest = due - int(due)
        for account in self._accounts.values():
            calls.refill(self._table.shared, account, count, self.most)
        self._pump()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()
        self._forget()

    def _forget(self) -> None:
        """Drop accounts that nobody draws from any more; without any, nothing ticks."""
        for place in [place for place in self._closed if not self._accounts[place].users]:
            self._closed.discard(place)
            del self._accounts[place]
        if not self._accounts and self._next is not None:
            self._next.cancel()
            self._next = None
