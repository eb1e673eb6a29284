"""What people and tools are shown of applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from iridium.supervision.records import Records
from iridium.supervision.types import EACH, ApplicationView, Claim, Key, Program, Record, ReplicaView


def view(
    records: Records, claims: Iterable[tuple[str, Claim]], nodes: Sequence[str], name: Callable[[str], str]
) -> list[ApplicationView]:
    """Every application with every replica.

    Args:
        records: what is to run.
        claims: what runs, with the node of each.
        nodes: the nodes that are up.
        name: what people call a node.
    """
    held: dict[Key, list[tuple[str, Claim]]] = {}
    for node, claim in claims:
        held.setdefault(claim.key, []).append((node, claim))
    shown = []
    for record in records.all():
        rows = [row for p in record.programs for row in _rows(record, p, held, nodes, name)]
        shown.append(ApplicationView(record.name, record.version, record.stopped, rows))
    return shown


def _rows(
    record: Record,
    program: Program,
    held: dict[Key, list[tuple[str, Claim]]],
    nodes: Sequence[str],
    name: Callable[[str], str],
) -> Iterable[ReplicaView]:
    names = sorted(nodes) if program.replicas == EACH else program.replicas_on("")
    for replica in names:
        key = Key(record.name, record.deployment, program.name, replica)
        shown = name(replica) if program.replicas == EACH else replica
        for node, claim in held.get(key, ()):
            yield ReplicaView(
                program.name, shown, claim.state, name(node), claim.pid, claim.restarts, claim.detail
            )
        if key.place in record.ended:
            yield ReplicaView(program.name, shown, "ended", detail=record.ended[key.place])
        elif key not in held:
            yield ReplicaView(program.name, shown, "unclaimed")
