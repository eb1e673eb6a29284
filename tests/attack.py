"""A scripted attacker against real nodes: what hostile strangers and members cost, and what holds all the same.

    python -m tests.attack [--seconds N] [--only NAME,...] [--json] [--list]

Each attack is a function in ``tests/attacking/`` whose docstring says what the attacker does and what must hold.
It is tried on two linked nodes, each a ``twistd iridium``, with a secret, or with a secret and TLS; an honest peer
pings the one under attack all the while. After each attack the node must be alive, its links whole, its
descriptors given back, its memory at most 30 MB larger, and its log short and without a traceback. The exit
status is 1 if anything does not hold.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.attacking import doors, members, proofs, secured, shells, strangers, terminals  # noqa: F401 - they fill the list
from tests.attacking.cases import CASES, Case
from tests.attacking.field import KINDS, Field, Row

SECONDS = 5.0
"""Seconds that a flood lasts, if not said."""


def carry_out(cases: Sequence[Case], seconds: float, *options: str, kinds: Sequence[str] = KINDS) -> Iterator[Row]:
    """Try attacks, all that can share nodes on the same ones.

    Args:
        cases: the attacks.
        seconds: that a flood lasts.
        options: more options of the nodes.
        kinds: the kinds of nodes.
    """
    for kind in kinds:
        chosen = [case for case in cases if kind in case.kinds]
        groups = [[case for case in chosen if not case.fresh], *([case] for case in chosen if case.fresh)]
        for group in filter(None, groups):
            with tempfile.TemporaryDirectory() as root:
                field = Field(Path(root), kind, seconds, *options)
                try:
                    for case in group:
                        yield field.suffer(case.name, case.attack, case.growth, case.lines)
                        if not field.a.alive:
                            break
                finally:
                    field.close()


def show(row: Row) -> str:
    """A row of the table."""
    return (
        f"{row.case:31} {row.kind:7} {row.seconds:6.1f} {row.growth:7.1f} "
        f"{row.before:4}/{row.most:4}/{row.after:4} "
        f"{row.p50:7.2f} {row.p99:8.2f} {row.slowest:8.2f} {row.lines:5}  {row.ended}"
        + "".join(f"\n    FAILED: {failure}" for failure in row.failures)
    )


HEAD = (
    f"{'attack':31} {'on':7} {'s':>6} {'+MB':>7} {'descriptors':>14} {'p50 ms':>7} {'p99 ms':>8} {'most ms':>8} "
    f"{'lines':>5}  how it ended"
)


def main() -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a flood lasts")
    parser.add_argument("--only", default="", help="names of attacks, parted by commas")
    parser.add_argument("--kind", choices=KINDS, help="attack this kind of nodes only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true", help="list the attacks")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else []
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no attack is called {', '.join(sorted(unknown))}; --list lists them")
    cases = [case for case in CASES if not names or case.name in names]
    if options.list:
        for case in cases:
            print(f"{case.name} ({', '.join(case.kinds)}): {inspect.getdoc(case.attack)}")
        return
    rows = []
    if not options.json:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n{HEAD}", flush=True)
    kinds = (options.kind,) if options.kind else KINDS
    for row in carry_out(cases, options.seconds, kinds=kinds):
        rows.append(row)
        if not options.json:
            print(show(row), flush=True)
    if options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
    failed = sum(bool(row.failures) for row in rows)
    print(f"{len(rows)} attacks, {failed} of them not withstood", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
