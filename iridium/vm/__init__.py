"""One VM: its state record, its program, its output, and the engines that advance it.

``record`` is the state every engine shares, ``program`` the code it runs, ``output`` what it printed,
``machine`` the VM that holds them, ``reference`` the engine in plain Python, ``crash`` the words for a fault.
Nothing in here knows the network or Twisted.
"""

from iridium.vm.crash import Crash
from iridium.vm.machine import VM, Limits
from iridium.vm.program import Program
from iridium.vm.record import Stop
from iridium.vm.reference import run

__all__ = ["VM", "Crash", "Limits", "Program", "Stop", "run"]
