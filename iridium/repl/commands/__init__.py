"""What a session understands besides assembly: one table, and the commands in it by subject."""

from __future__ import annotations

from iridium.repl.commands import (
    applications,
    cluster,
    general,
    limits,
    machine,
    processes,
    program,
    running,
    sending,
    spawning,
    stats,
)
from iridium.repl.commands.table import Table

TABLE = Table(
    [
        *general.COMMANDS,
        *limits.COMMANDS,
        *program.COMMANDS,
        *sending.COMMANDS,
        *running.COMMANDS,
        *stats.COMMANDS,
        *machine.COMMANDS,
        *spawning.COMMANDS,
        *processes.COMMANDS,
        *cluster.COMMANDS,
        *applications.COMMANDS,
    ]
)
"""Every command, in the order of ``!help``."""
