"""Gives many VMs their turns: on the reactor thread in plain Python, or in threads of machine code.

``turns`` is the scheduler that everybody uses, with turns on the reactor thread; ``workers`` takes over the VMs
that run on, once there is a native engine for them.
"""

from iridium.scheduler.turns import (
    MAX_RUNNING,
    SLICE,
    TURN,
    Engine,
    OnStop,
    Scheduler,
    Task,
    TooManyRunningError,
)
from iridium.scheduler.workers import Workers

__all__ = [
    "MAX_RUNNING",
    "SLICE",
    "TURN",
    "Engine",
    "OnStop",
    "Scheduler",
    "Task",
    "TooManyRunningError",
    "Workers",
]
