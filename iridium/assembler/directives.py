"""What a directive is called, and where it may stand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from iridium.assembler.encode import DATA_DIRECTIVES, WORD_DIRECTIVE
from iridium.assembler.findings import Mistake, nearest, shown
from iridium.isa import BY_NAME

CODE_SECTION = ".code"
DATA_SECTION = ".data"

VERSION, FILE, LINE_NUMBER = SETTINGS = (".version", ".file", ".line")
"""Directives that say something about the image and put nothing into a section."""

DIRECTIVES = (CODE_SECTION, DATA_SECTION, *DATA_DIRECTIVES, WORD_DIRECTIVE, *SETTINGS)
"""Every directive of the language."""


def unknown_statement(name: str) -> Mistake:
    """The mistake of a mnemonic or directive that there is not."""
    what = "directive or section" if name[0] == "." else "instruction"
    return Mistake(0, f"there is no {what} {shown(name)}", partial(_meant_instead, name))


def stands_alone(section: str, operands: Sequence[str]) -> Mistake:
    """The mistake of a section with operands."""
    return Mistake(1, f"{section} takes no operands", last=len(operands))


def _meant_instead(name: str) -> str | None:
    if name[0] == ".":
        return nearest(name.lower(), DIRECTIVES) or "sections are .data and .code"
    if f".{name.lower()}" in DIRECTIVES:
        return f"did you mean `.{name.lower()}`?"
    return nearest(name, BY_NAME if name.isupper() else [known.lower() for known in BY_NAME])
