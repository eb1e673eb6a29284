"""A whole program: two passes over its lines.

The first, here, reads every line once, encodes what names no label, and notes where labels and references to them
are. Then the sizes of all parts are known, and so is every address: :mod:`iridium.assembler.layout` does the rest.
"""

from __future__ import annotations

import re
from functools import partial

from iridium.assembler.directives import (
    CODE_SECTION,
    DATA_SECTION,
    FILE,
    LINE_NUMBER,
    SETTINGS,
    VERSION,
    meant_instead,
)
from iridium.assembler.encode import (
    DATA_DIRECTIVES,
    POOL_ENTRY,
    WORD_DIRECTIVE,
    Reference,
    encode_data,
    encode_instruction,
    encode_word,
    one_operand,
    row_named,
)
from iridium.assembler.findings import Findings, Mistake, shown
from iridium.assembler.layout import Draft, Label, Program, lay_out
from iridium.assembler.operands import U32_HIGH, OperandError, integer, string
from iridium.assembler.symbols import CODE, DATA, definition_flaw
from iridium.assembler.syntax import LINE, spans, split_lines, split_statement, take_apart
from iridium.image import Image
from iridium.isa import Instruction

_SECTIONS = {CODE_SECTION: CODE, DATA_SECTION: DATA}


def assemble(source: str, *, file: str = "<source>", line_table: bool = False, reserve: int = 0) -> Image:
    """The image of a program.

    Args:
        source, file, line_table, reserve: as for :func:`assemble_program`.

    Raises:
        AssemblyError, ImageError: as :func:`assemble_program` does.
    """
    return assemble_program(source, file=file, line_table=line_table, reserve=reserve).image


def assemble_program(
    source: str, *, file: str = "<source>", line_table: bool = False, reserve: int = 0
) -> Program:
    """Assemble a program.

    Args:
        source: its text.
        file: the name of the source, for people and for the line table.
        line_table: whether the image tells the source line of each instruction. Where the source has ``.file``
            or ``.line`` it always does; where it has ``.version #0`` it never does.
        reserve: the read-only section is padded with zeros to at least so many bytes.

    Raises:
        AssemblyError: the source has mistakes; all of them are in it.
        ImageError: it has none, but is too large for 24-bit addresses.
    """
    reading = _Reading(file, split_lines(source, file))
    reading.read()
    return lay_out(reading.draft, reading.findings, file, line_table=line_table, reserve=reserve)


class _Reading:
    """The first pass over a source."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.findings = Findings(file, lines)
        self.draft = Draft(lines)
        self._section: str | None = None
        self._section_lines: dict[str, int] = {}
        self._too_early = False

    def read(self) -> None:
        """Read every line."""
        match = LINE.match
        words = self.draft.words
        origins = self.draft.origins
        # Programs repeat themselves: a statement that makes one word, whatever surrounds it, is encoded once.
        known: dict[str, bytes] = {}
        for number, text in enumerate(self.draft.lines, 1):
            found = match(text) or self._sound_part(number, text)
            if found is None:
                continue
            label, statement = found.groups()
            if label is not None:
                self._define(label, number, found, statement)
            if statement is None:
                continue
            if self._section == CODE:
                word = known.get(statement)
                if word is None:
                    word = self._statement(number, found, statement)
                    if word is None:
                        continue
                    known[statement] = word
                words.append(word)
                origins.append(number)
            else:
                self._statement(number, found, statement)
        if CODE_SECTION not in self._section_lines and not self._too_early:
            advice = "write .code on a line before the instructions"
            self.findings.add(len(self.draft.lines), 1, 1, "the program has no .code section", advice)

    def _sound_part(self, number: int, text: str) -> re.Match[str] | None:
        flaws, found = take_apart(text)
        for start, end, message, suggestion in flaws:
            self.findings.add(number, start + 1, end - start, message, suggestion)
        return found

    def _define(self, name: str, number: int, found: re.Match[str], statement: str | None) -> None:
        labels = self.draft.labels
        known = labels.get(name)
        flaw = definition_flaw(name, f" on line {known.line}" if known else None)
        if flaw:
            self.findings.add(number, found.start(1) + 1, len(name), flaw)
        if known:
            return
        if self._section is None:
            self._note_too_early(number, found.start(1), found.end(1))
        # In the wrong section a statement still says what its label is, so that uses of it are judged right.
        kind = self._section or CODE
        if statement is not None:
            directive = split_statement(statement)[0].lower()
            if directive in DATA_DIRECTIVES:
                kind = DATA
            elif directive[0] != "." or directive == WORD_DIRECTIVE:
                kind = CODE
        labels[name] = Label(kind, self.draft.data_length if kind == DATA else len(self.draft.words), number)

    def _note_too_early(self, number: int, start: int, end: int) -> None:
        if not self._too_early:
            self._too_early = True
            advice = "write .data or .code on a line before it"
            self.findings.add(number, start + 1, end - start, "a statement before any section", advice)

    def _statement(self, number: int, found: re.Match[str], statement: str) -> bytes | None:
        """Take in a statement; or, if it makes one word in any place, give that word for the caller to take."""
        name, *operands = split_statement(statement)
        mistakes: list[Mistake] = []
        row = row_named(name)
        if row is not None:
            word = self._instruction(number, row, operands, mistakes)
        else:
            word = None
            self._directive(number, found, name, operands, mistakes)
        if row is not None or (name.lower() not in _SECTIONS and name.lower() not in (VERSION, FILE)):
            self._check_section(number, found, name, mistakes)
        if mistakes:
            self.findings.add_mistakes(number, spans(found), mistakes)
            return None
        return word
