"""A whole program: two passes over its lines.

The first, here, reads every line once, encodes what names no label, and notes where labels and references to them
are. Then the sizes of all parts are known, and so is every address: :mod:`iridium.assembler.layout` does the rest.
"""

from __future__ import annotations

import re

from iridium.assembler.directives import (
    CODE_SECTION,
    DATA_SECTION,
    LINE_NUMBER,
    SETTINGS,
    VERSION,
    stands_alone,
    unknown_statement,
)
from iridium.assembler.encode import (
    DATA_DIRECTIVES,
    ROWS,
    WORD_DIRECTIVE,
    Reference,
    encode_data,
    encode_instruction,
    encode_word,
    one_operand,
    row_named,
)
from iridium.assembler.findings import Findings, Mistake, shown
from iridium.assembler.layout import Draft, Program, Setting, lay_out
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
                self._define(label, number, found)
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

    def _define(self, name: str, number: int, found: re.Match[str]) -> None:
        known = self.draft.labels.get(name)
        flaw = definition_flaw(name, f" on line {known.line}" if known else None)
        if flaw:
            self.findings.add(number, found.start(1) + 1, len(name), flaw)
        if self._section is None:
            self._note_too_early(number, found.start(1), found.end(1))
        if not known:
            self.draft.define(name, self._section or CODE, number)

    def _note_too_early(self, number: int, start: int, end: int) -> None:
        # Told once: the statements after it have the same cause.
        if not self._too_early:
            self._too_early = True
            advice = "write .data or .code on a line before it"
            self.findings.add(number, start + 1, end - start, "a statement before any section", advice)

    def _statement(self, number: int, found: re.Match[str], statement: str) -> bytes | None:
        """Take in a statement; or give its word, if it makes the same one in any place, for the caller to take."""
        name, *operands = split_statement(statement)
        mistakes: list[Mistake] = []
        word = None
        row = ROWS.get(name) or row_named(name)
        if row is not None:
            if self._section != CODE:
                self._misplaced(number, found, row.name, CODE)
            word = self._instruction(number, row, operands, mistakes)
        else:
            directive = name.lower()
            if directive in _SECTIONS:
                self._enter(number, found, directive, operands, mistakes)
            elif directive in SETTINGS:
                self._set(number, found, directive, operands, mistakes)
            elif directive in DATA_DIRECTIVES:
                if self._section != DATA:
                    self._misplaced(number, found, directive, DATA)
                self.draft.add_data(encode_data(directive, operands, mistakes))
            elif directive == WORD_DIRECTIVE:
                if self._section != CODE:
                    self._misplaced(number, found, directive, CODE)
                for raw in encode_word(operands, mistakes):
                    self.draft.add_word(raw, number)
            else:
                mistakes.append(unknown_statement(name))
        if mistakes:
            self.findings.add_mistakes(number, spans(found), mistakes)
        return word

    def _instruction(
        self, number: int, row: Instruction, operands: list[str], mistakes: list[Mistake]
    ) -> bytes | None:
        encoded = encode_instruction(row, operands, self.draft.constant, mistakes)
        if isinstance(encoded, Reference):
            self.draft.refer(encoded, number)
            return None
        if len(encoded) == 1 and self._section == CODE:
            return encoded[0]
        for word in encoded:
            self.draft.add_word(word, number)
        return None

    def _misplaced(self, number: int, found: re.Match[str], name: str, wanted: str) -> None:
        """Note a statement that is not in the section it belongs into."""
        start, end = spans(found)[0]
        if self._section is None:
            self._note_too_early(number, start, end)
        else:
            advice = "write .integer for four bytes of data" if name == WORD_DIRECTIVE else None
            message = f"{name} belongs into .{wanted}, this is .{self._section}"
            self.findings.add(number, start + 1, end - start, message, advice)
        # Its label is what the statement makes it, so that uses of the label are judged right.
        label = found.group(1)
        if label is not None and self.draft.labels[label].line == number:
            self.draft.define(label, wanted, number)

    def _enter(
        self, number: int, found: re.Match[str], name: str, operands: list[str], mistakes: list[Mistake]
    ) -> None:
        self._refuse_label(number, found, name)
        if operands:
            mistakes.append(stands_alone(name, operands))
        first = self._section_lines.setdefault(name, number)
        if first != number:
            mistakes.append(Mistake(0, f"there is a {name} section already, on line {first}"))
        self._section = _SECTIONS[name]

    def _set(
        self, number: int, found: re.Match[str], name: str, operands: list[str], mistakes: list[Mistake]
    ) -> None:
        self._refuse_label(number, found, name)
        draft = self.draft
        setting = draft.settings.get(name)
        if name == LINE_NUMBER:
            if self._section != CODE:
                self._misplaced(number, found, name, CODE)
            value = one_operand(name, operands, mistakes, lambda text: integer(text, 0, U32_HIGH))
            draft.line_marks.append((len(draft.words), value or 0))
        elif setting is not None:
            mistakes.append(Mistake(0, f"there is a {name} already, on line {setting.line}"))
        elif name == VERSION:
            draft.version = one_operand(name, operands, mistakes, lambda text: integer(text, 0, 1))
        else:
            draft.source_name = one_operand(name, operands, mistakes, _file_name)
        draft.settings.setdefault(name, Setting(number, *spans(found)[0]))

    def _refuse_label(self, number: int, found: re.Match[str], name: str) -> None:
        if found.group(1) is not None:
            start, end = found.span(1)
            advice = "put the label on a line of its own"
            self.findings.add(number, start + 1, end - start, f"{name} takes no label", advice)


def _file_name(text: str) -> str:
    try:
        return string(text).decode()
    except UnicodeDecodeError:
        raise OperandError(f"{shown(text)} is not UTF-8") from None
