"""What every test gets: nothing may be left behind unnoticed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher


@pytest.fixture
def logged_failures() -> list[str]:
    """The failures that Twisted logged during the test; a test that expects some clears the list."""
    return []


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest, logged_failures: list[str]) -> Iterator[None]:
    """Fail a test that loses an error of a Deferred, or leaves a delayed call: pytest-twisted does not."""
    seen: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        failure = event.get("log_failure") or event.get("failure")  # the second is the reactor's own, older way
        if failure is not None:
            logged_failures.append(failure.getTraceback())
            seen.append("")

    globalLogPublisher.addObserver(observe)
    reactor = sys.modules.get("twisted.internet.reactor")
    before = set(reactor.getDelayedCalls()) if reactor else set()
    real = reactor is not None and request.node.get_closest_marker("real_reactor") is not None
    if real:
        gc.freeze()  # what is there already need not be looked at again: that takes a second in the end
    yield
    if real:
        gc.collect()  # a lost error is told when its Deferred is collected
        gc.unfreeze()
    globalLogPublisher.removeObserver(observe)
    left = [call for call in (reactor.getDelayedCalls() if reactor else ()) if call not in before]
    for call in left:
        call.cancel()
    assert not left, f"delayed calls left behind: {left}"
    assert not logged_failures, "logged failures:\n" + "\n".join(logged_failures)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Give a Hypothesis test with parameters its own function back after each of them.

    pytest-twisted wraps it for every parameter and never unwraps it, so that the second would run as the first.
    """
    hypothesis = getattr(pyfuncitem.obj, "hypothesis", None)
    inner = hypothesis and hypothesis.inner_test
    try:
        return (yield)
    finally:
        if hypothesis is not None:
            hypothesis.inner_test = inner
