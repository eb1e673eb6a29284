"""When the reactor goes on looking for an answer, and when it sleeps."""

from __future__ import annotations

from twisted.internet.task import Clock

from iridium.processes.spinning import MOST_LOOKS, SPIN, TAKEN, UNTIL_NEXT, Spinning

LOOK = 5e-6
"""Seconds of a look."""


class Spun:
    """A reactor whose looks take time, and a processor that others may want for a while when it is offered.

    Attributes:
        looks: how often it has looked.
        taken: seconds that it takes until an offered processor is back.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.looks = 0
        self.taken = 0.0
        self.offers = 0
        self.waiting: list[object] = []
        self.spinning = Spinning(self.clock.seconds, lambda seconds, call: self.waiting.append(call), self.offer)

    def offer(self) -> None:
        """Somebody else runs."""
        self.offers += 1
        self.clock.advance(self.taken)

    def run(self, look: float = LOOK) -> int:
        """Look until the reactor would sleep; how often."""
        looks = 0
        while self.waiting:
            self.clock.advance(look)
            self.waiting.pop()()
            looks += 1
        return looks

    def exchange(self, seconds: float) -> int:
        """Send something and have an answer after a time; how often the reactor has looked meanwhile."""
        self.spinning.sent()
        looks = 0
        end = self.clock.seconds() + seconds
        while self.waiting and self.clock.seconds() < end:
            self.clock.advance(LOOK)
            self.waiting.pop()()
            looks += 1
        self.clock.advance(max(0.0, end - self.clock.seconds()))
        self.spinning.arrived()
        return looks


def test_it_looks_once_answers_come_soon() -> None:
    """Nobody spins for a first answer; the one after a quick one is looked for until it is there."""
    spun = Spun()
    assert spun.exchange(SPIN / 4) == 0
    assert spun.exchange(SPIN / 4) == 10
    assert spun.run() == 1  # and then no more: it has arrived
    assert not spun.waiting


def test_an_answer_that_does_not_come() -> None:
    """One moment of looking, and from then on none, until an answer has come soon again."""
    spun = Spun()
    spun.exchange(SPIN / 4)
    spun.spinning.sent()
    assert spun.run() == round(SPIN / LOOK)
    spun.spinning.arrived()
    spun.spinning.sent()
    assert spun.run() == 0
    spun.clock.advance(SPIN / 2)
    spun.spinning.arrived()
    assert spun.exchange(SPIN / 4) > 0


def test_a_slow_peer_costs_nothing() -> None:
    """Answers that take longer are slept for."""
    spun = Spun()
    assert [spun.exchange(2 * SPIN) for _ in range(10)] == [0] * 10


def test_a_processor_that_others_want() -> None:
    """Somebody takes what is offered: no other try for a while, however soon answers come; and then one."""
    spun = Spun()
    spun.exchange(SPIN / 4)
    spun.taken = 2 * TAKEN
    spun.spinning.sent()
    assert (spun.run(), spun.offers) == (1, 1)
    spun.spinning.arrived()
    assert spun.exchange(SPIN / 4) == spun.exchange(SPIN / 4) == 0
    spun.clock.advance(UNTIL_NEXT)
    spun.taken = 0.0
    assert spun.exchange(SPIN / 4) == 10


def test_a_clock_that_stands_still() -> None:
    """Looking ends by itself."""
    spun = Spun()
    spun.exchange(SPIN / 4)
    spun.spinning.sent()
    assert spun.run(look=0.0) == MOST_LOOKS
