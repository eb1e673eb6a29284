"""Commands about the node and its cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred

from iridium.cluster import rules
from iridium.cluster.tokens import LIFETIME
from iridium.cluster.types import Delivery, Member
from iridium.errors import CommandError, OptionError
from iridium.events import CAPACITY, Event
from iridium.repl.commands.table import Answer, Command, Done, Result, columns, number
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.session import Session

T = TypeVar("T")

FOLLOW = "--follow"
"""The word that asks for what is still to come."""

GROUP = "the node and its cluster"

EVENTS = 20
"""Events that are listed unless somebody asks for more: a screen."""


class Members(Result):
    """Who is in the cluster."""

    members: list[Member]

    def text(self) -> str:
        """A table; ``*`` marks this node."""
        rows = [("", "id", "alias", "address", "state")]
        rows += [("*" if m.self else "", m.id, m.alias or "-", m.address or "-", m.state) for m in self.members]
        return columns(rows)


class Listening(Result):
    """Where the cluster port is."""

    address: str

    def text(self) -> str:
        """A sentence."""
        return f"the cluster port is {self.address}; other nodes join with: !join_cluster {self.address}"


class TokenMade(Result):
    """A join token."""

    token: str
    seconds: float

    def text(self) -> str:
        """The token, and what to do with it."""
        return (
            f"{self.token}\ngood once, for {self.seconds / 60:g} minutes; on the new node's machine: "
            "iridium join --token TOKEN"
        )


class Deliveries(Result):
    """Whom a text reached."""

    deliveries: list[Delivery]

    def text(self) -> str:
        """A line for each member."""
        lines = [
            f"{d.member}: {'arrived' if d.arrived else f'not delivered: {d.detail}'}" for d in self.deliveries
        ]
        return "\n".join(lines) or "there is nobody to tell"


class Links(Result):
    """Who holds a link to whom."""

    names: list[str]
    rows: list[list[str]]

    _MARKS = {"self": "-", "linked": "x", "unlinked": ".", "unknown": "?"}

    def text(self) -> str:
        """A table with a column for each member, in the order of the rows."""
        header = ["", "", *(str(at) for at in range(1, len(self.names) + 1))]
        rows = [
            [str(at), name, *(self._MARKS.get(cell, cell) for cell in row)]
            for at, (name, row) in enumerate(zip(self.names, self.rows, strict=True), 1)
        ]
        links = sum(row.count("linked") for row in self.rows)
        legend = "x: the row's node holds a link to the column's; .: it does not; ?: it did not answer"
        return f"{columns([header, *rows])}\n{legend}\n{links} ends of links"


class Events(Result):
    """What happened on the node."""

    events: list[Event]

    def text(self) -> str:
        """A line for each, the oldest first."""
        if not self.events:
            return "nothing has happened yet"
        return columns(
            (time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(e.time)), e.kind, e.subject, e.detail)
            for e in self.events
        )


def split_address(words: list[str], least: int = 1) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or the two words ``HOST PORT``.

    Args:
        words: what was typed.
        least: the least port: 0 where a free one may be asked for.

    Raises:
        CommandError: it is none of them.
    """
    address = words[0] if len(words) == 1 else f"{_bracketed(words[0])}:{words[1]}"
    try:
        return rules.split_address(address, least)
    except OptionError as error:
        raise CommandError(str(error)) from None


def _bracketed(host: str) -> str:
    """An IPv6 address as it stands before a port; any other host as it is."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _then(waiting: Deferred[T], make: Callable[[T], Result]) -> Deferred[Result]:
    return waiting.addCallback(make)


def list_members(session: Session, arguments: list[str]) -> Answer:
    """``!cluster_members``."""
    return Members(session.node.mesh.members())


def start_cluster(session: Session, arguments: list[str]) -> Answer:
    """``!start_cluster``."""
    host, port = split_address(arguments, least=0) if arguments else (None, None)
    return Listening(session.node.start_cluster(host, port))


def join_cluster(session: Session, arguments: list[str]) -> Answer:
    """``!join_cluster``."""
    return _then(session.node.mesh.join(*split_address(arguments)), Members)


def make_token(session: Session, arguments: list[str]) -> Answer:
    """``!token``."""
    made = session.node.newcomers.make_token(*arguments)
    return _then(made, lambda token: TokenMade(str(token), LIFETIME))


def join_with(session: Session, arguments: list[str]) -> Answer:
    """``!join_with``."""
    return _then(session.node.join_with(arguments[0]), Members)


def leave_cluster(session: Session, arguments: list[str]) -> Answer:
    """``!leave_cluster``."""
    return _then(session.node.leave(), lambda _: Done("this node has left the cluster"))


def tell(session: Session, arguments: list[str]) -> Answer:
    """``!tell``."""
    target, text = arguments
    return _then(session.node.mesh.tell(target, text), Deliveries)


def show_mesh(session: Session, arguments: list[str]) -> Answer:
    """``!mesh``."""
    return _then(session.node.mesh.view(), lambda view: Links(view.names, view.rows))


def forget(session: Session, arguments: list[str]) -> Answer:
    """``!forget``."""
    session.node.mesh.forget(arguments[0])
    return Done(f"{arguments[0]} is forgotten")


def show_events(session: Session, arguments: list[str]) -> Answer:
    """``!events``."""
    words = [word for word in arguments if word != FOLLOW]
    if len(words) > 1:
        raise CommandError(f"type: !events [N] [{FOLLOW}]")
    most = number(words[0], "how many events", 1, CAPACITY) if words else EVENTS
    recent = Events(session.node.events.recent(most))
    return recent if len(words) == len(arguments) else _follow(session, recent)


def _follow(session: Session, recent: Events) -> Deferred[Result]:
    """Show events as they happen, until somebody interrupts it."""
    session.show(recent)
    stop = session.node.events.follow(lambda event: session.show(Events([event])))

    def interrupted(following: Deferred[Result]) -> None:
        stop()
        following.callback(Done("no longer following"))

    return Deferred(interrupted)


COMMANDS = (
    Command(
        "!cluster_members",
        GROUP,
        Role.READ_ONLY,
        "list the nodes of the cluster",
        list_members,
        Members,
        aliases=("!members",),
    ),
    Command("!mesh", GROUP, Role.READ_ONLY, "show which node holds a link to which", show_mesh, Links),
    Command(
        "!start_cluster",
        GROUP,
        Role.OPERATOR,
        "open the cluster port, so that other nodes can join this one",
        start_cluster,
        Listening,
        "[HOST:PORT]",
        most=2,
    ),
    Command(
        "!join_cluster",
        GROUP,
        Role.OPERATOR,
        "join the cluster of the node whose cluster port that is",
        join_cluster,
        Members,
        "HOST:PORT",
        least=1,
        most=2,
    ),
    Command(
        "!token",
        GROUP,
        Role.OPERATOR,
        "make a token with which one new node gets the cluster's secret and a certificate, and joins",
        make_token,
        TokenMade,
        "[HOST]",
        most=1,
    ),
    Command(
        "!join_with",
        GROUP,
        Role.OPERATOR,
        "join the cluster whose token that is",
        join_with,
        Members,
        "TOKEN",
        least=1,
        most=1,
        private=True,
    ),
    Command("!leave_cluster", GROUP, Role.OPERATOR, "leave the cluster", leave_cluster, Done),
    Command(
        "!tell",
        GROUP,
        Role.OPERATOR,
        "show a text in every session of a node; * is every node",
        tell,
        Deliveries,
        "NODE TEXT",
        least=2,
        most=2,
        rest=True,
    ),
    Command(
        "!forget", GROUP, Role.OPERATOR, "drop a node that is gone for good", forget, Done, "NODE", least=1, most=1
    ),
    Command(
        "!events",
        GROUP,
        Role.READ_ONLY,
        f"show the last N events, {EVENTS} if not said; with {FOLLOW} also those to come, until !stop",
        show_events,
        Events,
        f"[N] [{FOLLOW}]",
        most=2,
    ),
)
