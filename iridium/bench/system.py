"""What can be measured: a system runs a workload and says how long that took and what came out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from iridium.bench.workload import Pace, Workload
from iridium.errors import IridiumError


class BenchError(IridiumError):
    """A system did not do its workload; the text says what it did."""


class Sample(NamedTuple):
    """One measurement.

    Attributes:
        seconds: processor time of the thread that did the work, so that what else the machine does counts little.
        result: the numbers that came out.
    """

    seconds: float
    result: tuple[int, ...]


class System(Protocol):
    """An engine of ours, or a peer.

    Attributes:
        name: for tools and for the command line.
        title: for people.
        version: of the program that it is.
        ours: whether it is an engine of Iridium.
        pace: decides the size of its workloads.
    """

    name: str
    title: str
    version: str
    ours: bool
    pace: Pace

    def supports(self, workload: Workload) -> bool:
        """Whether it has a figure of its own in this workload."""
        ...

    def prepare(self, workload: Workload, parameters: tuple[int, ...]) -> None:
        """Do, once and untimed, what a first run would pay for.

        Raises:
            BenchError: it cannot do the workload.
        """
        ...

    def sample(self, workload: Workload, parameters: tuple[int, ...]) -> Sample:
        """Run the workload once.

        Raises:
            BenchError: it does not end well.
        """
        ...


class Skipped(NamedTuple):
    """A system that is not measured.

    Attributes:
        name: as in :class:`System`.
        reason: why, for people.
    """

    name: str
    reason: str


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a result.

    Raises:
        ValueError: something else is in it.
    """
    return tuple(int(word) for word in text.split())
