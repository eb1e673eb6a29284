"""What people at one node ask of the others: texts that arrive, and who holds a link to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed
from twisted.python.failure import Failure

from iridium.cluster.membership import Membership
from iridium.cluster.peer import Peer
from iridium.cluster.types import Delivery, MeshView
from iridium.errors import CommandError

T = TypeVar("T")

LONGEST_TEXT = 4096
"""Characters of a text, as ``messages.Text`` has it: who sends more is taken for one that misbehaves."""


class Conversation:
    """Questions to other members, as Deferreds.

    Args:
        machine: the membership machine that carries them.
    """

    def __init__(self, machine: Membership) -> None:
        self._machine = machine

    def tell(self, target: str, text: str) -> Deferred[list[Delivery]]:
        """Show a text to the people at a member, or with ``*`` at all that are not gone.

        Returns:
            Fires with whether it arrived, for each; fails with CommandError when there is no such member, or the
            text is too long.
        """
        if len(text) > LONGEST_TEXT:
            return fail(CommandError(f"the text has over {LONGEST_TEXT} characters; nobody was told"))
        try:
            peers = (
                list(self._machine.table.peers.values()) if target == "*" else [self._machine.table.find(target)]
            )
        except CommandError as error:
            return fail(error)
        return _all(
            [self._tell(peer, text) for peer in peers if target != "*" or peer.state not in ("down", "left")]
        )

    def _tell(self, peer: Peer, text: str) -> Deferred[Delivery]:
        name = self._machine.table.name_of(peer.id)
        if peer.open_link is None:
            why = "there is no link to it just now" if peer.state == "up" else f"it is {peer.state}"
            return succeed(Delivery(name, False, why))
        result: Deferred[Delivery] = Deferred()
        self._machine.questions.text(
            peer.open_link,
            text,
            lambda arrived: result.callback(Delivery(name, arrived, "" if arrived else "it did not answer")),
        )
        return result

    def view(self) -> Deferred[MeshView]:
        """Ask every member whom it holds a link to.

        Returns:
            Fires with the table of who reaches whom.
        """
        ids = [member.id for member in self._machine.table.members()]
        own: list[str] | None = [peer.id for peer in self._machine.table.peers.values() if peer.open_link]
        asked: list[Deferred[list[str] | None]] = [
            succeed(own),
            *(self._links_of(self._machine.table.peers[id]) for id in ids[1:]),
        ]
        names = [self._machine.table.name_of(id) for id in ids]
        return _all(asked).addCallback(lambda held: _table(ids, names, held))

    def _links_of(self, peer: Peer) -> Deferred[list[str] | None]:
        if peer.open_link is None:
            return succeed(None)
        result: Deferred[list[str] | None] = Deferred()
        self._machine.questions.links(peer.open_link, result.callback)
        return result


class Texts:
    """Lines from people at other nodes, for whoever follows them."""

    def __init__(self) -> None:
        self._followers: list[Callable[[str, str], None]] = []

    def follow(self, follower: Callable[[str, str], None]) -> Callable[[], None]:
        """Call ``follower`` with sender and text, until the returned function is called."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def show(self, sender: str, text: str) -> None:
        """Pass a text on."""
        for follower in list(self._followers):
            follower(sender, text)


def _table(ids: list[str], names: list[str], held: list[list[str] | None]) -> MeshView:
    rows = []
    for id, links in zip(ids, held, strict=True):
        if links is None:
            rows.append(["self" if other == id else "unknown" for other in ids])
        else:
            rows.append(["self" if other == id else "linked" if other in links else "unlinked" for other in ids])
    return MeshView(names, rows)


def _all(waiting: list[Deferred[T]]) -> Deferred[list[T]]:
    """The results of all; when it is cancelled, or one fails, it fails with just that."""
    return gatherResults(waiting, consumeErrors=True).addErrback(_first)


def _first(failure: Failure) -> Failure:
    error = failure.value
    assert isinstance(error, FirstError)
    return error.subFailure
