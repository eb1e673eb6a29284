"""What this node has asked others and waits for: pings that probe, texts, questions, goodbyes."""

from __future__ import annotations

from collections.abc import Callable

from iridium.cluster import messages as m
from iridium.cluster.link import Link

PATIENCE = 1.0
"""Seconds until a ping, text or question counts as unanswered: ten times the slowest round trip of a live node."""


class Questions:
    """Questions under way, each answered exactly once: by the peer, by the end of its link, or by time.

    Args:
        clock: gives seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._number = 0
        self._open: dict[int, tuple[Link, float, Callable[[m.Message | None], None]]] = {}
        self._goodbyes: dict[Link, Callable[[], None]] = {}

    @property
    def open(self) -> bool:
        """Whether anything waits for an answer."""
        return bool(self._open)

    def _ask(
        self, link: Link, message: Callable[[int], m.Message], done: Callable[[m.Message | None], None]
    ) -> None:
        self._number += 1
        self._open[self._number] = (link, self._clock() + PATIENCE, done)
        link.send(message(self._number))

    def ping(self, link: Link, done: Callable[[bool], None]) -> None:
        """Ask whether the peer lives; ``done`` gets whether it answered."""
        self._ask(link, m.Ping, lambda answer: done(answer is not None))

    def text(self, link: Link, text: str, done: Callable[[bool], None]) -> None:
        """Send a line to the people at a peer; ``done`` gets whether it arrived."""
        self._ask(link, lambda n: m.Text(n, text), lambda answer: done(answer is not None))

    def links(self, link: Link, done: Callable[[list[str] | None], None]) -> None:
        """Ask whom the peer holds a link to; ``done`` gets the ids, or None without an answer."""
        self._ask(
            link,
            lambda n: m.Ask(n, "links"),
            lambda answer: done(answer.ids if isinstance(answer, m.Answer) else None),
        )

    def answered(self, link: Link, message: m.Pong | m.Answer) -> None:
        """An answer arrived; one that nobody waits for any more, or from another peer, is ignored."""
        asked, _, done = self._open.get(message.n, (None, 0.0, None))
        if asked is link and done is not None:
            del self._open[message.n]
            done(message)

    def goodbye(self, link: Link, done: Callable[[], None]) -> None:
        """Call ``done`` when the peer has noted that we leave, or its link ends."""
        self._goodbyes[link] = done

    def parted(self, link: Link) -> None:
        """The peer noted that we leave."""
        done = self._goodbyes.pop(link, None)
        if done is not None:
            done()

    def lost(self, link: Link) -> None:
        """A link ended: what was asked on it has no answer."""
        self.parted(link)
        for n, (asked, _, done) in list(self._open.items()):
            if asked is link and self._forget(n):
                done(None)

    def _forget(self, n: int) -> bool:
        """Whether a question was still open: an earlier one's answer may have ended it meanwhile."""
        return self._open.pop(n, None) is not None

    def tick(self, now: float) -> None:
        """Give up what has waited too long."""
        for n, (_, deadline, done) in list(self._open.items()):
            if deadline <= now and self._forget(n):
                done(None)

    def postpone(self, seconds: float) -> None:
        """Give every question that much more time: this process did not run."""
        self._open = {n: (link, deadline + seconds, done) for n, (link, deadline, done) in self._open.items()}
