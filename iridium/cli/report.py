"""What ``iridium run`` tells about a program that ended: one JSON document, or its registers for a person."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from iridium.isa import REGISTERS
from iridium.vm import Stop

if TYPE_CHECKING:
    from iridium.vm import VM

_HALF = REGISTERS // 2
_HEADINGS = ("", "integer", "float") * 2


class Transcript:
    """What a program printed, up to a limit."""

    LIMIT = 1024 * 1024
    """The most bytes of UTF-8: a program that prints for ever costs no more."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = self.LIMIT
        self.truncated = False

    def write(self, text: str) -> None:
        """Keep the text, or as many whole characters of it as there is room for."""
        if self.truncated or not text:
            return
        data = text.encode()
        if len(data) > self._room:
            self.truncated = True
            text = data[: self._room].decode(errors="ignore")  # what is ignored is half a character
        self._room -= len(data)
        self._parts.append(text)

    @property
    def text(self) -> str:
        """All that was kept."""
        return "".join(self._parts)


def _json_float(value: float) -> float | str:
    """A float as JSON can hold it: numbers that are not finite are strings."""
    return value if math.isfinite(value) else repr(value)


def document(vm: VM, reason: str | None, transcript: Transcript, status: str | None = None) -> str:
    """The document of ``iridium run --json``, without a newline.

    Args:
        vm: the machine after its last turn.
        reason: the limit that stopped it, or None.
        transcript: what it printed.
        status: how it ended, where that is none of "limit", "fault" and "halted".
    """
    record = vm.record
    crash = vm.crash
    halted = record.stop == Stop.HALTED
    fault = crash and {
        "kind": crash.kind.value,
        "pc": crash.pc,
        "line": crash.line,
        "message": crash.message,
    }
    return json.dumps(
        {
            "status": status or ("limit" if reason else "fault" if fault else "halted"),
            "reason": reason,
            "code": record.stop_code if halted else None,
            "fault": fault,
            "instructions": record.instructions,
            "pc": record.pc,
            "registers": list(record.registers),
            "float_registers": [_json_float(value) for value in record.float_registers],
            "equal_flag": bool(record.equal_flag),
            "remainder": record.remainder,
            "loop_counter": record.loop_counter,
            "output": transcript.text,
            "truncated": transcript.truncated,
        },
        allow_nan=False,
    )


def register_listing(vm: VM, *, rich: bool) -> str:
    """The registers, flags and pc, for a person.

    Args:
        vm: the machine.
        rich: whether a terminal shows it, with lines and colours; otherwise plain aligned text.
    """
    record = vm.record
    rows = []
    for left in range(_HALF):
        row = []
        for number in (left, left + _HALF):
            row += [f"${number}", str(record.registers[number]), repr(record.float_registers[number])]
        rows.append(row)
    scalars = {
        "pc": record.pc,
        "equal_flag": "true" if record.equal_flag else "false",
        "remainder": record.remainder,
        "loop_counter": record.loop_counter,
        "instructions": record.instructions,
    }
    footer = "  ".join(f"{name} {value}" for name, value in scalars.items())
    return (_rich_table if rich else _plain_table)(rows) + footer + "\n"


def _plain_table(rows: list[list[str]]) -> str:
    table = [list(_HEADINGS), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "".join(f"{line}\n" for line in lines)


def _rich_table(rows: list[list[str]]) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", style=None if heading else "bold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
