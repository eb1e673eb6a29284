"""What the cluster shows to people and to tools."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["up", "suspect", "down", "left"]


class Member(msgspec.Struct, frozen=True):
    """One node of the cluster, as this node sees it.

    Attributes:
        id: the node's id, a UUID.
        alias: its alias, or "" for none.
        address: the HOST:PORT it advertises, or "" when it does not listen.
        incarnation: grows with every start of that node.
        state: whether it is alive, by this node's own judgement.
        self: whether it is this node.
    """

    id: str
    alias: str
    address: str
    incarnation: int
    state: State
    self: bool

    @property
    def name(self) -> str:
        """What a person calls it: the alias, or the id."""
        return self.alias or self.id


class Delivery(msgspec.Struct, frozen=True):
    """Whether a text reached a member.

    Attributes:
        member: the member's name.
        arrived: whether it said so.
        detail: why not, or "".
    """

    member: str
    arrived: bool
    detail: str = ""


class MeshView(msgspec.Struct, frozen=True):
    """Who holds a link to whom.

    Attributes:
        names: the members, in the order of rows and columns.
        rows: ``rows[i][j]`` says whether node i holds a link to node j: "self", "linked", "unlinked", or
            "unknown" when node i did not answer.
    """

    names: list[str]
    rows: list[list[str]]
