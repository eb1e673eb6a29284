"""What somebody may do on a node; what each command needs stands in the shell's table of commands."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """A role of a session."""

    READ_ONLY = "read-only"
    """Sees everything and changes nothing: it lists, shows and watches, but starts, stops and sends nothing."""

    OPERATOR = "operator"
    """Does everything that the shell can."""
