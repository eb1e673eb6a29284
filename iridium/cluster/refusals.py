"""Why a node says no to another, in the order in which it looks, each with its remedy."""

from __future__ import annotations

from iridium.errors import IridiumError

REMEDIES: dict[str, str] = {
    "VERSION": "run the same major version of Iridium on both nodes",
    "NOT_ALLOWED": "give both nodes the same cluster secret, and have it reread (kill -HUP)",
    "WRONG_CLUSTER": "start the node with the cluster's name (--cluster), or join a node of your own cluster",
    "SELF": "that is the node's own address; name another member's",
    "STALE": "an older life of this node is calling; stop the process that still uses its data directory",
    "ID_IN_USE": "another live node has the same id, from a copied data directory: "
    "stop this node and delete node.json in its data directory",
    "DUPLICATE": "nothing needs to be done: the two nodes are linked already",
    "LEFT": "join another member, or let that node join again",
    "NAME_IN_USE": "start the node with another --node-alias, or stop the node that has this one",
    "UNREACHABLE": "the node advertises an address that others cannot reach: "
    "set --server-bind-host (-H) or --advertise to one they can",
    "FULL": "the cluster has as many members as it can; !forget those that are gone for good",
}
"""What to do, by reason; the order is the order of the checks."""

FINAL = frozenset({"VERSION", "NOT_ALLOWED", "WRONG_CLUSTER", "SELF"})
"""Refusals that no waiting changes, so that a node does not try again by itself."""


class RefusedError(IridiumError):
    """A node refused a link.

    Args:
        reason: a key of :data:`REMEDIES`, or an unknown reason of a newer node.
        detail: what it saw, in a sentence.
        remedy: what to do; the refusing node's words where it sent any.
    """

    def __init__(self, reason: str, detail: str, remedy: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.remedy = remedy or REMEDIES.get(reason, "")
        super().__init__(f"refused: {reason}: {detail}" + (f"; {self.remedy}" if self.remedy else ""))


class UnreachableError(IridiumError):
    """No link to a node could be made: nothing listens there, or it did not answer as a node in time."""
