"""The command that tells what the node allows, and how much of it is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from iridium.limits import TABLE
from iridium.repl.commands.table import Answer, Command, Result, columns
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "the shell"


class LimitView(msgspec.Struct):
    """One limit of the node.

    Attributes:
        name: as ``--limit`` takes it.
        value: what holds now.
        default: what holds where nobody says another.
        unit: of these.
        in_use: how much of it is in use, or None where that is not counted.
        changed: whether it is another than the default.
        about: what is limited.
        reason: why.
    """

    name: str
    value: float
    default: float
    unit: str
    in_use: int | None
    changed: bool
    about: str
    reason: str


class LimitList(Result):
    """What the node allows."""

    limits: list[LimitView]

    def text(self) -> str:
        """Two lines each: the numbers, then the reason."""
        rows = [("limit", "value", "in use", "")]
        for view in self.limits:
            value = f"{view.value:.15g} {view.unit}"
            changed = f" (changed; {view.default:.15g} if not said)" if view.changed else ""
            rows.append((view.name, value, "-" if view.in_use is None else str(view.in_use), view.about + changed))
        table = columns(rows).split("\n")
        reasons = ["", *(f"    {view.reason}" for view in self.limits)]
        lines = [line for pair in zip(table, reasons, strict=True) for line in pair if line]
        return "\n".join([*lines, "a node is started with --limit NAME=NUMBER to have another"])


def show_limits(session: Session, arguments: list[str]) -> Answer:
    """``!limits``."""
    node = session.node
    views = []
    for row in TABLE:
        value, count = row.of(node.limits), node.in_use.get(row.name)
        in_use = None if count is None else count()
        changed = value != row.default
        views.append(LimitView(row.name, value, row.default, row.unit, in_use, changed, row.about, row.reason))
    return LimitList(views)


COMMANDS = (
    Command(
        "!limits",
        GROUP,
        Role.READ_ONLY,
        "show what this node allows, how much of it is in use, and why",
        show_limits,
        LimitList,
        urgent=True,
    ),
)
