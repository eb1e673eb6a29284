"""What is to run: one record an application, merged the same way by every node. No I/O, no time of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec

from iridium.supervision.types import EACH, MOST_CLAIMS, MOST_ENDED, Key, Program, Record

MOST_APPLICATIONS = 128
"""Records, those of stopped applications included."""

RETENTION = 24 * 3600
"""Seconds that a stopped application is remembered, so that a node which was away does not bring it back."""


def merge(old: Record, new: Record) -> Record:
    """What two nodes that say different things of one application both say afterwards.

    The larger (version, deployment) counts as a whole. Of one deployment the larger ``balanced`` counts, and
    every replica that has ended, as far as these are not too many: then those whose names come first. The order of
    merges does not matter, and neither does merging twice.
    """
    if old.order != new.order:
        return max(old, new, key=lambda record: record.order)
    ended = dict(old.ended)
    for place, words in new.ended.items():
        ended[place] = min(words, ended.get(place, words))
    kept = dict(sorted(ended.items())[:MOST_ENDED])
    return msgspec.structs.replace(old, balanced=max(old.balanced, new.balanced), ended=kept)


class Records:
    """The records that a node knows.

    Args:
        wall_clock: gives Unix seconds: versions grow with it, and stopped applications age by it.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._records: dict[str, Record] = {}
        self._hash: str | None = None

    def all(self) -> list[Record]:
        """Every record, by name."""
        return [record for _, record in sorted(self._records.items())]

    def get(self, name: str) -> Record | None:
        """The record of an application, stopped or not, or None."""
        return self._records.get(name)

    def now(self) -> int:
        """Unix time in milliseconds."""
        return int(self._wall_clock() * 1000)

    def next_version(self, name: str) -> int:
        """A version that outdoes what is known."""
        known = self._records.get(name)
        return max(known.version + 1 if known else 1, self.now())

    def wanted(self, key: Key) -> Program | None:
        """The program of a replica that is to run, by any node, or None where it is not."""
        record = self._records.get(key.application)
        if record is None or record.stopped or record.deployment != key.deployment or key.place in record.ended:
            return None
        for program in record.programs:
            if program.name == key.program:
                known = program.replicas == EACH or key.replica in program.replicas_on("")
                return program if known else None
        return None

    def room_for(self, name: str, programs: Iterable[Program]) -> int:
        """How many replicas there would be too many if an application asked for these; at most 0 is well."""
        others = (r for r in self._records.values() if r.name != name and not r.stopped)
        asked = sum(max(1, p.replicas) for record in others for p in record.programs)
        return asked + sum(max(1, p.replicas) for p in programs) - MOST_CLAIMS

    def is_full(self, name: str) -> bool:
        """Whether there is no room for a new application."""
        active = sum(not record.stopped for record in self._records.values() if record.name != name)
        return active >= MOST_APPLICATIONS

    def take(self, record: Record) -> bool:
        """Merge a record.

        Returns:
            Whether anything changed.
        """
        if self._is_old(record):
            return False
        known = self._records.get(record.name)
        merged = record if known is None else merge(known, record)
        if merged == known:
            return False
        self._records[record.name] = merged
        self._hash = None
        if len(self._records) > MOST_APPLICATIONS:
            # Which goes is the same on every node that knows the same: a stopped one, else the oldest.
            worst = min(self._records.values(), key=lambda r: (not r.stopped, r.order, r.name))
            del self._records[worst.name]
            return worst.name != record.name
        return True

    def forget_old(self) -> None:
        """Drop what has been stopped for long."""
        for record in list(self._records.values()):
            if self._is_old(record):
                del self._records[record.name]
                self._hash = None

    def clear(self) -> None:
        """Know nothing."""
        self._records.clear()
        self._hash = None

    def _is_old(self, record: Record) -> bool:
        return record.stopped and self.now() - record.version > RETENTION * 1000

    def hash(self) -> str:
        """The same for two nodes exactly when their records are."""
        if self._hash is None:
            told = [(record.name, *record.fingerprint()) for record in self.all()]
            self._hash = hashlib.sha256(msgspec.json.encode(told)).hexdigest()
        return self._hash
