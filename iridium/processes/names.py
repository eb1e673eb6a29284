"""Names of processes on one node: a name has one owner at a time."""

from __future__ import annotations

from collections.abc import Callable

MOST_NAMES = 65_536
"""Names on a node: each is a few hundred bytes that a program can ask for."""

LONGEST_NAME = 255
"""Bytes of a name, in UTF-8."""


class Names:
    """Who is called what.

    Args:
        is_alive: whether a pid is still that of a process.
    """

    def __init__(self, is_alive: Callable[[int], bool]) -> None:
        self._is_alive = is_alive
        self._pids: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def problem(self, name: str) -> str:
        """Why nobody can be given a name; "" if somebody can.

        A name is at most :data:`LONGEST_NAME` bytes, printable, without blanks and without ``@``.
        """
        good = name and name.isprintable() and not any(c.isspace() or c == "@" for c in name)
        if not good or len(name.encode()) > LONGEST_NAME:
            return f"{name[:64]!r} is no name: 1 to {LONGEST_NAME} bytes, printable, without blanks and @"
        if owner := self.whereis(name):
            return f"the name {name} is taken on this node, by process {owner}"
        if len(self._pids) >= MOST_NAMES:
            for held in list(self._pids):
                self.whereis(held)  # the dead make room
            if len(self._pids) >= MOST_NAMES:
                return f"this node has {MOST_NAMES} names, the most"
        return ""

    def register(self, name: str, pid: int) -> bool:
        """Give a name to a process; whether it has that now. It keeps another that it has."""
        if self.whereis(name) == pid:
            return True
        if self.name_of(pid) or self.problem(name):
            return False
        self._pids[name] = pid
        self._names[pid] = name
        return True

    def whereis(self, name: str) -> int:
        """The pid of the process with a name, or 0."""
        pid = self._pids.get(name, 0)
        if pid and not self._is_alive(pid):
            self.forget(pid)
            return 0
        return pid

    def name_of(self, pid: int) -> str:
        """The name of a process, or ""."""
        return self._names.get(pid, "")

    def forget(self, pid: int) -> None:
        """A process has ended: its name is free."""
        name = self._names.pop(pid, None)
        if name is not None:
            self._pids.pop(name, None)

    def all(self) -> dict[str, int]:
        """Every name of a process that lives."""
        return {name: pid for name in sorted(self._pids) if (pid := self.whereis(name))}
