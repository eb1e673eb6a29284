"""What a directive is called, and where it may stand."""

from __future__ import annotations

from iridium.assembler.encode import DATA_DIRECTIVES, ROWS, WORD_DIRECTIVE
from iridium.assembler.findings import nearest
from iridium.isa import BY_NAME

CODE_SECTION = ".code"
DATA_SECTION = ".data"

VERSION, FILE, LINE_NUMBER = SETTINGS = (".version", ".file", ".line")
"""Directives that say something about the image and put nothing into a section."""

DIRECTIVES = (CODE_SECTION, DATA_SECTION, *DATA_DIRECTIVES, WORD_DIRECTIVE, *SETTINGS)
"""Every directive of the language."""


def meant_instead(name: str) -> str | None:
    """What an unknown mnemonic or directive was meant to be, as a question, or None."""
    if name[0] == ".":
        return nearest(name.lower(), DIRECTIVES)
    if f".{name.lower()}" in DIRECTIVES:
        return f"did you mean `.{name.lower()}`?"
    return nearest(name.upper(), BY_NAME) if name.isupper() else nearest(name.lower(), _LOWER)


_LOWER = [name for name in ROWS if name.islower()]
