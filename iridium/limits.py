"""The limits of a node that are a matter of policy: one table, each with its range, its unit and its reason.

A row is a field of :class:`Limits`; the option ``--limit``, the shell's ``!limits`` and ``docs/limits.md`` are
derived from it. Limits that follow from the wire, from the machine or from arithmetic are no policy: they stand
as constants in the modules that keep them.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec

from iridium.errors import OptionError

KIB = 1024
MIB = 1024 * KIB


class Rule(NamedTuple):
    """What may be asked for, in the annotation of a field of :class:`Limits`.

    Attributes:
        unit: of the number, as it is written behind it.
        least, most: the range, both included.
        about: what is limited, in some words.
        reason: why there is a limit, and why its default is what it is.
    """

    unit: str
    least: int
    most: int
    about: str
    reason: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a node allows. Nothing checks the numbers here: :func:`parse` does, where somebody types them."""

    # Whoever connects to the cluster port.
    half_open: Annotated[int, Rule(
        "connections", 8, 65_536, "connections in a handshake, in all",
        "twice what the largest mesh opens to one node when it forms",
    )] = 512  # fmt: skip
    half_open_per_address: Annotated[int, Rule(
        "connections", 1, 65_536, "connections in a handshake from one address, unless that is a loopback address",
        "more nodes than a host runs; it takes eight hosts to take all places. A loopback address is everybody's",
    )] = 64  # fmt: skip
    handshake: Annotated[float, Rule(
        "seconds", 1, 60, "from a connection to the ready of both ends",
        "a few round trips of the slowest network; a stranger who says nothing holds a place for no longer",
    )] = 5.0  # fmt: skip
    stranger_line: Annotated[int, Rule(
        "bytes", 3 * KIB, 64 * KIB, "a line from a peer that is not accepted yet",
        "a hello with everything at its longest takes 2 KiB",
    )] = 4 * KIB  # fmt: skip
    peer_line: Annotated[int, Rule(
        "bytes", 512 * KIB, 16 * MIB, "a line from an accepted peer",
        "the longest that a node writes is under 400 KiB; a peer that never ends a line fills no memory",
    )] = MIB  # fmt: skip
    peer_queue: Annotated[int, Rule(
        "bytes", MIB, 256 * MIB, "what waits for a peer that does not read, before its link is given up",
        "seconds of a busy link; beyond that the peer is lost, and costs the others nothing",
    )] = 4 * MIB  # fmt: skip
    dials: Annotated[int, Rule(
        "dials", 1, 256, "dials at once",
        "enough for a mesh to form at the speed of the network, few enough not to be a flood",
    )] = 16  # fmt: skip

    # Whoever connects to the shell.
    sessions: Annotated[int, Rule(
        "sessions", 1, 10_000, "sessions at once",
        "each has a VM with a heap of its own, and nobody watches more",
    )] = 200  # fmt: skip
    first_line: Annotated[float, Rule(
        "seconds", 1, 3600, "until the first line of a session",
        "a person has typed one by then, a port scanner never does",
    )] = 60.0  # fmt: skip
    idle: Annotated[float, Rule(
        "seconds", 1, 604_800, "without a line, before a session that runs nothing is closed",
        "a forgotten session holds a VM and a place",
    )] = 3600.0  # fmt: skip
    session_line: Annotated[int, Rule(
        "bytes", 64 * KIB, 16 * MIB, "a line of a session",
        "the longest string that can be printed fits, and a piece of an image that the command line sends",
    )] = 64 * KIB  # fmt: skip
    session_queue: Annotated[int, Rule(
        "lines", 1, 4096, "lines that wait while a session executes something",
        "more than a person types ahead",
    )] = 64  # fmt: skip
    session_instructions: Annotated[int, Rule(
        "instructions/s", 0, 10**12, "what a session's program and the processes it has started execute; 0: any",
        "the scheduler shares the processors fairly, so a single user needs none; set it where sessions are many",
    )] = 0  # fmt: skip

    # What runs.
    processes: Annotated[int, Rule(
        "processes", 64, (1 << 20) - 1, "processes, sessions and mailboxes at once",
        "160 MB of slots, should a program spawn without end",
    )] = 1 << 18  # fmt: skip
    heap: Annotated[int, Rule(
        "bytes", 4 * KIB, 1024 * MIB, "the heap of a VM",
        "room for a real program; it is only taken as the program grows it",
    )] = 64 * MIB  # fmt: skip
    programs: Annotated[int, Rule(
        "files", 1, 100_000, "files in the programs directory, beyond which sessions store no more there",
        "more than anybody looks through; a script in a loop fills no directory",
    )] = 1024  # fmt: skip
    programs_bytes: Annotated[int, Rule(
        "bytes", MIB, 64 * 1024 * MIB, "all files in the programs directory, likewise",
        "64 of the largest that a session loads, and thousands of ordinary ones; the disk is the node's too",
    )] = 256 * MIB  # fmt: skip

    # The log.
    stranger_log: Annotated[int, Rule(
        "lines", 1, 1000, "log lines in 10 s about one kind of trouble that others make; the rest is counted",
        "a flood costs the disk nothing, and five are enough to see who it is",
    )] = 5  # fmt: skip


DEFAULTS = Limits()
"""Those of a node that is told nothing."""


class Limit(NamedTuple):
    """One row of the table.

    Attributes:
        name: as it is typed.
        field: its name in :class:`Limits`.
        default: the number where nobody says another.
        unit, least, most, about, reason: as :class:`Rule` has them.
    """

    name: str
    field: str
    default: float
    unit: str
    least: int
    most: int
    about: str
    reason: str

    def of(self, limits: Limits) -> float:
        """The number of this limit in some limits."""
        value: float = getattr(limits, self.field)
        return value

    @property
    def range(self) -> str:
        """What may be typed, in words."""
        return f"{self.name}, from {self.least} to {self.most} {self.unit} ({self.default:.15g} if not said)"


def _rows() -> tuple[Limit, ...]:
    rules = {name: hint.__metadata__[0] for name, hint in get_type_hints(Limits, include_extras=True).items()}
    return tuple(Limit(name.replace("_", "-"), name, getattr(DEFAULTS, name), *rules[name]) for name in rules)


TABLE: tuple[Limit, ...] = _rows()
"""Every limit, in the order in which ``!limits`` lists them."""

_BY_NAME = {row.name: row for row in TABLE}

LONGEST_NUMBER = 20
"""Characters of a number that are looked at: making one of a million digits takes long."""


def find(name: str) -> Limit:
    """The limit of that name.

    Raises:
        OptionError: there is none; the text names the nearest, with its range and unit.
    """
    row = _BY_NAME.get(name)
    if row is None:
        import difflib  # only for a mistake

        near = difflib.get_close_matches(name[:40], _BY_NAME, n=1, cutoff=0.4)
        hint = f"the nearest is {_BY_NAME[near[0]].range}" if near else f"there are {', '.join(_BY_NAME)}"
        raise OptionError(f"there is no limit {name[:40]!r}; {hint}")
    return row


def parse(text: str) -> tuple[Limit, float]:
    """A limit and its number, of ``NAME=NUMBER``.

    Raises:
        OptionError: there is no such limit, or the number is out of its range; the text says what would do.
    """
    name, equals, typed = (part.strip() for part in text.partition("="))
    if not equals:
        raise OptionError(f"--limit {text[:60]!r} is not NAME=NUMBER, such as sessions=100")
    try:
        row = find(name)
    except OptionError as error:
        raise OptionError(f"--limit: {error}") from None
    whole = isinstance(row.default, int)
    value = _number(typed, whole=whole)
    if value is None or not row.least <= value <= row.most:
        what = "no whole number" if whole and value is None else "no number" if value is None else "out of range"
        raise OptionError(f"--limit {name}={typed[:40]}: {what}; say {row.range}")
    return row, value


def _number(text: str, *, whole: bool) -> float | None:
    if not 0 < len(text) <= LONGEST_NUMBER or not text.isascii() or not set(text) <= set("0123456789._"):
        return None
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None


def combine(given: tuple[tuple[Limit, float], ...]) -> Limits:
    """The limits of a node, of those that somebody gave; of one that is given twice, the last counts."""
    values: dict[str, Any] = {row.field: value for row, value in given}
    return Limits(**values)


_HEAD = """# Limits

What a node allows is bounded everywhere. The limits here are policy: a node is started with
`--limit NAME=NUMBER`, as often as needed, to have another than the default. `!limits` in the shell shows what
holds on a node, and how much of it is in use. (This page is made by `python -m iridium.limits`.)

Other limits follow from the wire, from the machine or from arithmetic, and cannot be changed:
[the cluster's](cluster.md#limits-and-timers), [those of processes](processes.md#limits),
[of the native engines](native.md#limits), and [where the others stand](architecture.md#where-the-limits-are).

| limit | default | unit | from | to | what, and why |
|---|---|---|---|---|---|
"""


def reference() -> str:
    """The text of ``docs/limits.md``."""
    return _HEAD + "".join(
        f"| `{row.name}` | {row.default:.15g} | {row.unit} | {row.least} | {row.most} "
        f"| {row.about}: {row.reason} |\n"
        for row in TABLE
    )


if __name__ == "__main__":
    print(reference(), end="")
