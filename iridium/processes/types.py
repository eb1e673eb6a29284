"""What is said about processes: how they ended, and what there is."""

from __future__ import annotations

import msgspec

from iridium.errors import IridiumError
from iridium.isa import Fault
from iridium.vm.runtime.layout import KILLED, NO_PROCESS, NODE_DOWN

_WORDS = {
    0: "normal",
    KILLED: "killed",
    NODE_DOWN: "node-down",
    NO_PROCESS: "no-process",
    **{-fault.number: fault.value for fault in Fault},
}


def reason_text(reason: int) -> str:
    """An exit reason in a word: that of a fault is its name, that of a program is its stop code."""
    return _WORDS.get(reason, f"exit {reason}")


class Exit(msgspec.Struct, frozen=True):
    """How a process ended.

    Attributes:
        reason: 0 is normal; above 0 a stop code of the program, below a reason of the node's.
        text: the same in words.
        fault: of a crash: which, where and what was wrong.
    """

    reason: int
    text: str
    fault: str = ""


class ProcessInfo(msgspec.Struct, frozen=True):
    """A process, for people and tools.

    Attributes:
        node: the alias or id of its node.
        pid: on that node.
        name: that it is registered under, or "".
        program: what it runs.
        state: running, waiting (for a message), sleeping, asking (something of its node, or for room for
            its output), or idle (a session).
        instructions: executed so far.
        mailbox: messages that wait.
        parent: the pid of whoever spawned it, 0 for nobody on that node.
    """

    node: str
    pid: int
    name: str
    program: str
    state: str
    instructions: int
    mailbox: int
    parent: int


class Listing(msgspec.Struct, frozen=True):
    """The processes of a cluster, as far as they are known.

    Attributes:
        processes: those of this node first.
        more: how many more there are, by node; only where there are some.
        silent: nodes that have not answered, or not to the end.
    """

    processes: list[ProcessInfo]
    more: dict[str, int]
    silent: list[str]


class Exchange(msgspec.Struct, frozen=True):
    """What this node and another have exchanged since this one started.

    Attributes:
        node: the alias or id of the other.
        sent, received: payloads, each with many messages of processes, or with one line of control.
        resent: lines that were sent again, on another link.
        repeated: lines that came again, and were dropped.
        dropped: payloads that were on their way when a session ended.
        refused: messages that found no room for that node, in this session.
        unknown: pids that arrived as 0, since there were too many, in this session.
    """

    node: str
    sent: int
    received: int
    resent: int
    repeated: int
    dropped: int
    refused: int
    unknown: int


class TooManyProcessesError(IridiumError):
    """The node has as many processes as it may."""

    def __init__(self, most: int) -> None:
        super().__init__(f"this node has {most} processes, the most; kill some with !kill, or use another node")


class NoSuchProcessError(IridiumError):
    """There is no such process.

    Args:
        what: as it was asked for.
        hint: what may help.
    """

    def __init__(self, what: str, hint: str = "!ps lists them") -> None:
        super().__init__(f"there is no process {what}; {hint}")


class WrongNameError(IridiumError):
    """A process cannot be given that name."""
