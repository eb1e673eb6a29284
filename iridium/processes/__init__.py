"""Processes as a node has them: spawned, named, watched, listed, and reached from other nodes.

``processes`` is what the node and its shell use; ``names`` who is called what; ``kept`` what remains of output and
of the dead; ``mailbox`` how Python takes part; ``courier`` the traffic with other nodes; ``images`` the programs
that come from there. What a process does itself stands in :mod:`iridium.vm.runtime`.
"""

from iridium.processes.mailbox import End, Mailbox, Message
from iridium.processes.process import Process
from iridium.processes.processes import Processes
from iridium.processes.types import Exit, ProcessInfo, reason_text

__all__ = ["End", "Exit", "Mailbox", "Message", "Process", "ProcessInfo", "Processes", "reason_text"]
