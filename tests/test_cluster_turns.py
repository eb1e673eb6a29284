"""Work in turns: however much strangers ask for, the others are served in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from twisted.internet.task import Clock

from iridium.cluster.turns import SLICE, Turns


def test_work_that_does_not_fit_into_a_turn_waits() -> None:
    """In each turn as much is done as fits, in the order in which it came, and what comes later is behind it."""
    now = [0.0]
    done: list[int] = []
    following: list[Callable[[], None]] = []

    def work(number: int) -> None:
        now[0] += SLICE / 2
        done.append(number)

    def later(action: Callable[[], None]) -> object:
        following.append(action)
        return action

    turns = Turns(lambda: now[0], later)
    for number in range(5):
        turns.do(partial(work, number))
    assert done == [0, 1]
    assert len(following) == 1
    following.pop()()
    assert done == [0, 1, 2, 3]
    turns.do(partial(work, 5))
    assert done == [0, 1, 2, 3]
    following.pop()()
    assert done == [0, 1, 2, 3, 4, 5]
    following.pop()()
    assert not following


def test_a_failure_keeps_nobody_waiting() -> None:
    """What fails is told to who asked, and the rest goes on."""
    reactor = Clock()
    done: list[int] = []
    turns = Turns(reactor.seconds, lambda action: reactor.callLater(0, action))
    with pytest.raises(ZeroDivisionError):
        turns.do(lambda: done.append(1 // 0))
    turns.do(lambda: done.append(2))
    reactor.advance(0)
    assert done == [2]


def test_nothing_is_done_after_the_end() -> None:
    """What waits is dropped."""
    reactor = Clock()
    now = [0.0]
    done: list[int] = []

    def work() -> None:
        now[0] += SLICE
        done.append(1)

    turns = Turns(lambda: now[0], lambda action: reactor.callLater(0, action))
    turns.do(work)
    turns.do(work)
    turns.stop()
    assert done == [1]
    assert not reactor.getDelayedCalls()
