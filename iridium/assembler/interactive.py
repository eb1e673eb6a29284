"""Single lines, for the session of a shell.

A session starts empty or after a loaded program and grows: what a line puts into the read-only section goes after
what is used of it, code goes after the code. Nothing that is there ever moves, so the read-only section has a
fixed length and a reserve, and a label must exist before a line names it.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from iridium.assembler.directives import CODE_SECTION, DATA_SECTION, SETTINGS, stands_alone, unknown_statement
from iridium.assembler.encode import (
    DATA_DIRECTIVES,
    LOAD,
    WORD_DIRECTIVE,
    Reference,
    encode_data,
    encode_instruction,
    encode_word,
    row_named,
)
from iridium.assembler.findings import Findings, Mistake
from iridium.assembler.layout import Program
from iridium.assembler.symbols import CODE, DATA, Symbol, definition_flaw, reference_mistake
from iridium.assembler.syntax import LINE, spans, split_statement, take_apart
from iridium.image import HEADER, MAX_IMAGE

RESERVE = 16 * 1024
"""Bytes of read-only data that a session can fill: some hundred strings; not much to have for each session."""

_DEFINE_FIRST = ": in the shell a label must be defined before it is used"
_CLEAR = "clear the program and start again"


class Fragment(NamedTuple):
    """What one line adds to a session.

    Attributes:
        read_only: bytes for the end of the used part of the read-only section.
        code: whole instructions for the end of the code; may be empty.
        symbols: the new label, by its name, or nothing.
        read_only_at: the read-only offset where ``read_only`` goes.
        code_at: the image address where ``code`` goes.
        constants: the constants in ``read_only``, by their bytes, with their offsets.
    """

    read_only: bytes
    code: bytes
    symbols: Mapping[str, Symbol]
    read_only_at: int
    code_at: int
    constants: Mapping[bytes, int]


class Interactive:
    """The assembler of a session.

    Args:
        program: the program that the session goes on from, or None for an empty one.
        reserve: the length of the read-only section of an empty session; a program has its own.

    Attributes:
        read_only_used: bytes of the read-only section in use.
        code_end: the image address after the last instruction.
    """

    def __init__(self, program: Program | None = None, reserve: int = RESERVE) -> None:
        self._symbols: dict[str, Symbol] = {}
        self._constants: dict[bytes, int] = {}
        if program is None:
            self._room = reserve
            self.read_only_used = 0
            self.code_end = HEADER + reserve
        else:
            self._symbols.update(program.symbols)
            self._room = len(program.image.read_only)
            self.read_only_used = program.read_only_used
            self.code_end = program.image.code_address + len(program.image.code)

    @property
    def symbols(self) -> Mapping[str, Symbol]:
        """The labels of the session by name."""
        return MappingProxyType(self._symbols)

    def assemble(self, text: str, *, file: str = "<input>", line: int = 1) -> Fragment:
        """Assemble a line; the session stays as it is.

        Args:
            text: the line.
            file, line: where it is from, for people.

        Raises:
            AssemblyError: the line has mistakes, or there is no room for it.
        """
        text = text.rstrip("\r\n")
        findings = Findings(file, [text], line)
        found = LINE.match(text)
        if found is None:
            flaws, found = take_apart(text)
            for start, end, message, suggestion in flaws:
                findings.add(line, start + 1, end - start, message, suggestion)
        fragment = self._fragment(found, findings, line) if found else None
        findings.tell()
        assert fragment is not None  # Otherwise there were flaws.
        return fragment

    def keep(self, fragment: Fragment) -> None:
        """Take what a line made into the session.

        Raises:
            ValueError: the session is not as it was when the line was assembled.
        """
        if (fragment.read_only_at, fragment.code_at) != (self.read_only_used, self.code_end):
            raise ValueError("the fragment belongs after other code than there is")
        self._symbols.update(fragment.symbols)
        self._constants.update(fragment.constants)
        self.read_only_used += len(fragment.read_only)
        self.code_end += len(fragment.code)

    def _fragment(self, found: re.Match[str], findings: Findings, line: int) -> Fragment:
        """What a line adds; of no use if there are findings."""
        label, statement = found.groups()
        constants: dict[bytes, int] = {}
        mistakes: list[Mistake] = []
        data = b""
        words: list[bytes] | Reference = []
        if statement is not None:
            name, *operands = split_statement(statement)
            data, words = self._encode(name, operands, constants, mistakes)
        symbols = {}
        if label is not None:
            flaw = definition_flaw(label, "" if label in self._symbols else None)
            if flaw:
                findings.add(line, found.start(1) + 1, len(label), flaw)
            at = (DATA, self.read_only_used) if data else (CODE, self.code_end)
            symbols[label] = Symbol(label, *at)
        if isinstance(words, Reference):
            known = ChainMap(symbols, self._symbols)
            mistake = reference_mistake(words, known, undefined=_DEFINE_FIRST)
            if mistake is not None:
                mistakes.append(mistake)
                words = []
            else:
                value = known[words.label].value
                is_long = words.row is LOAD and value > words.kind.high
                words = [words.long_load(value) if is_long else words.word(value)]
        read_only = data or b"".join(constants)
        code = b"".join(words)
        if not mistakes:
            mistakes += self._lack_of_room(len(read_only), len(code))
        if mistakes:
            findings.add_mistakes(line, spans(found), mistakes)
        return Fragment(read_only, code, symbols, self.read_only_used, self.code_end, constants)

    def _encode(
        self, name: str, operands: list[str], constants: dict[bytes, int], mistakes: list[Mistake]
    ) -> tuple[bytes, list[bytes] | Reference]:
        """Data and code of a statement, with its constants in ``constants``."""

        def constant(pattern: bytes) -> int:
            if pattern in self._constants:
                return self._constants[pattern]
            return constants.setdefault(pattern, self.read_only_used)

        row = row_named(name)
        if row is not None:
            return b"", encode_instruction(row, operands, constant, mistakes)
        directive = name.lower()
        if directive in DATA_DIRECTIVES:
            return encode_data(directive, operands, mistakes), []
        if directive == WORD_DIRECTIVE:
            return b"", encode_word(operands, mistakes)
        if directive in SETTINGS:
            mistakes.append(Mistake(0, f"{directive} belongs into a file, not into a session"))
        elif directive not in (CODE_SECTION, DATA_SECTION):
            mistakes.append(unknown_statement(name))
        elif operands:
            mistakes.append(stands_alone(directive, operands))
        return b"", []

    def _lack_of_room(self, read_only: int, code: int) -> list[Mistake]:
        left = self._room - self.read_only_used
        if read_only > left:
            message = f"{read_only} bytes of read-only data, and there is room for {left}"
            return [Mistake(0, message, _CLEAR)]
        if code and self.code_end + code > MAX_IMAGE:
            return [Mistake(0, f"the program is full: it has {MAX_IMAGE} bytes at most", _CLEAR)]
        return []
