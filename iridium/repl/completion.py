"""What the beginning of a word can become: commands, mnemonics, and the labels of a session."""

from __future__ import annotations

from iridium.isa import BY_NAME
from iridium.repl.commands import TABLE
from iridium.repl.session import Session

_WORDS = [command.name for command in TABLE.commands] + [name.lower() for name in BY_NAME]


def complete(session: Session, start: str) -> list[str]:
    """The words that begin so.

    Args:
        session: whose labels are known.
        start: the beginning.
    """
    labels = [f"@{name}" for name in session.workspace.symbols]
    return [word for word in (*_WORDS, *labels) if word.startswith(start)]
