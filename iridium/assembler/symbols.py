"""Labels: how programs and shell sessions give them away, and what can be wrong with the use of one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from iridium.assembler.encode import LOAD, Reference
from iridium.assembler.findings import Mistake, nearest, shown
from iridium.assembler.syntax import MAX_NAME

CODE = "code"
DATA = "data"


class Symbol(NamedTuple):
    """A label.

    Attributes:
        name: as it was written: labels are case-sensitive.
        kind: "code" or "data".
        value: the image address of a code label, the read-only offset of a data label.
    """

    name: str
    kind: str
    value: int


def definition_flaw(name: str, known: str | None) -> str | None:
    """What is wrong with the definition of a label, or None.

    Args:
        name: the label.
        known: where it is defined already, or None.
    """
    if known is not None:
        return f"the label {shown(name)} is already defined{known}"
    if len(name) > MAX_NAME:
        return f"the label has {len(name)} characters; the most is {MAX_NAME}"
    return None


def reference_mistake(
    reference: Reference, symbols: Mapping[str, Symbol], *, undefined: str = ""
) -> Mistake | None:
    """What is wrong with an instruction's use of a label, or None.

    Args:
        reference: the instruction.
        symbols: all labels there are.
        undefined: what else to tell of a label that is not there.
    """
    row, _, operand, label = reference
    part = operand + 1
    symbol = symbols.get(label)
    if symbol is None:
        suggestion = partial(nearest, label, symbols, "@")
        return Mistake(part, f"there is no label {shown(label)}{undefined}", suggestion)
    kind = row.operands[operand]
    if row is LOAD:
        return None
    if symbol.kind != kind.label:
        return Mistake(part, f"{shown(label)} is a {symbol.kind} label; {row.name} takes a {kind.label} label")
    if symbol.value > kind.high:
        return Mistake(
            part, f"{shown(label)} is at read-only offset {symbol.value}; {row.name} reaches {kind.high}"
        )
    return None
