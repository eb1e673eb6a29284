"""Lists of processes in words, for the shell and for the command line, which imports nothing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HEADER = ("node", "pid", "name", "program", "state", "instructions", "mailbox", "parent")
"""What stands over a list: the fields of :class:`iridium.processes.types.ProcessInfo`."""


def pid_in_list(pid: int, node: str, here: str) -> str:
    """How a list shows a pid: as commands on this node take it.

    Args:
        pid: on its node.
        node: its node.
        here: this node.
    """
    return str(pid) if node == here else f"{pid}@{node}"


def unlisted(more: Mapping[str, int], silent: Sequence[str]) -> list[str]:
    """What a list does not show, a line each.

    Args:
        more: how many more processes there are, by node.
        silent: nodes that have not answered.
    """
    return [f"{count} more on {node}" for node, count in more.items()] + [f"{n} did not answer" for n in silent]
