"""What somebody may do on a node; what each command needs stands in the shell's table of commands."""

from __future__ import annotations

import enum

from iridium.errors import IridiumError


class Role(enum.StrEnum):
    """A role of a session."""

    READ_ONLY = "read-only"
    """Sees everything and changes nothing: it lists, shows and watches, but starts, stops and sends nothing."""

    OPERATOR = "operator"
    """Does everything that the shell can."""

    def allows(self, needs: Role) -> bool:
        """Whether somebody with this role may do what needs a role."""
        return self is Role.OPERATOR or needs is Role.READ_ONLY


class RoleError(IridiumError):
    """Somebody may not do what they typed.

    Args:
        what: what they typed, or what it is.
        has: the role of the session.
        needs: the role that it takes.
    """

    remedy = "ask whoever runs this node for that role, or to do it"

    def __init__(self, what: str, has: Role, needs: Role) -> None:
        super().__init__(f"{what} needs the role {needs.value}, and this session is {has.value}; {self.remedy}")
