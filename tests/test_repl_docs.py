"""The shell's page tells what there is."""

from __future__ import annotations

import re
from pathlib import Path

from iridium.repl.commands import TABLE

PAGE = (Path(__file__).parent.parent / "docs" / "shell.md").read_text()


def test_every_command_is_on_the_page() -> None:
    """The table of docs/shell.md has every command as it is typed, with its aliases, and no other."""
    rows = re.findall(r"^\| `(![^`]*)`(?: \(`(![a-z_]+)`\))? \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted((row.usage, *row.aliases, "")[:2] for row in TABLE.commands)
