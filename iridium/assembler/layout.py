"""The second pass: where everything lies, and so what every label is worth.

In an image the constants of the pool come first, then the data, then the code. ``load $r @label`` is one word
where the whole image fits into 64 KiB with all such loads short, else two words at each of them.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain, pairwise
from typing import NamedTuple

from iridium.assembler.directives import FILE, LINE_NUMBER, VERSION
from iridium.assembler.encode import LOAD, LOADF64, POOL_ENTRY, Reference, row_named
from iridium.assembler.findings import Findings, Mistake
from iridium.assembler.symbols import DATA, Symbol, reference_mistake
from iridium.assembler.syntax import LINE, spans, split_statement, take_apart
from iridium.errors import ImageError
from iridium.image import HEADER, NEAR, Image, LineTable, check_size, required_version
from iridium.isa import WORD


class Program(NamedTuple):
    """An assembled program, with what the image does not keep.

    Attributes:
        image: the image.
        symbols: its labels by name.
        read_only_used: how much of the read-only section the source filled; the rest is reserve.
    """

    image: Image
    symbols: dict[str, Symbol]
    read_only_used: int


class Label(NamedTuple):
    """Where a label is: ``at`` counts words of code, or bytes of data, before it in the source."""

    kind: str
    at: int
    line: int


class Setting(NamedTuple):
    """Where a setting is: its line, and first and last column of its name, from 0."""

    line: int
    start: int
    end: int


class Draft:
    """What the first pass found out: everything but addresses.

    Args:
        lines: the source.

    Attributes:
        words: the code, one word each; empty where a word waits for a label.
        origins: the line that each word is from.
        references: the words that wait, by their index.
        labels: by name.
        pool: the constants by their bytes, each with its number.
        version, source_name: what ``.version`` and ``.file`` say, or None.
        line_marks: for each ``.line``, the index of the next word and the number.
        settings: where each setting first stands.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.words: list[bytes] = []
        self.origins: list[int] = []
        self.references: list[tuple[int, Reference]] = []
        self.labels: dict[str, Label] = {}
        self.pool: dict[bytes, int] = {}
        self.version: int | None = None
        self.source_name: str | None = None
        self.line_marks: list[tuple[int, int]] = []
        self.settings: dict[str, Setting] = {}
        self._data: list[bytes] = []
        self._data_length = 0

    def add_word(self, word: bytes, line: int) -> None:
        """Append a word of code."""
        self.words.append(word)
        self.origins.append(line)

    def refer(self, reference: Reference, line: int) -> None:
        """Append an instruction that waits for a label."""
        self.references.append((len(self.words), reference))
        self.add_word(b"", line)

    def add_data(self, data: bytes) -> None:
        """Append to the data."""
        self._data.append(data)
        self._data_length += len(data)

    def define(self, name: str, kind: str, line: int) -> None:
        """Let a label stand here."""
        self.labels[name] = Label(kind, self._data_length if kind == DATA else len(self.words), line)

    def constant(self, pattern: bytes) -> int:
        """The read-only offset of a constant, by its bytes; each is in the pool once."""
        return POOL_ENTRY * self.pool.setdefault(pattern, len(self.pool))

    @property
    def read_only(self) -> bytes:
        """The read-only section, without reserve."""
        return b"".join(chain(self.pool, self._data))


def lay_out(draft: Draft, findings: Findings, file: str, *, line_table: bool, reserve: int) -> Program:
    """The program that a draft makes.

    Args:
        draft: the draft; it is used up.
        findings: the mistakes of the first pass, to be told with those of this one.
        file, line_table, reserve: as for ``assemble_program``.

    Raises:
        AssemblyError: there are mistakes.
        ImageError: the image would be too large.
    """
    read_only = draft.read_only
    used = len(read_only)
    long_loads = [index for index, reference in draft.references if reference.row is LOAD]
    read_only_length = max(used, reserve)
    code_length = WORD * len(draft.words)
    if HEADER + read_only_length + code_length <= NEAR:
        long_loads = []
    try:
        check_size(read_only_length, code_length + WORD * len(long_loads))
    except ImageError:
        findings.tell()
        raise
    symbols = _symbols(draft, HEADER + read_only_length, long_loads)
    _resolve(draft, findings, symbols, far=bool(long_loads))
    code = b"".join(draft.words)
    _check_version(draft, findings, code)
    findings.tell()
    lines = _line_table(draft, file, long_loads) if line_table or _wants_table(draft) else None
    version = required_version(code, lines) if draft.version is None else draft.version
    image = Image(code, read_only.ljust(read_only_length, b"\0"), version, lines)
    return Program(image, symbols, used)


def _symbols(draft: Draft, code_start: int, long_loads: list[int]) -> dict[str, Symbol]:
    """Labels with their values; a code label moves by a word for each long load before it."""
    data_start = POOL_ENTRY * len(draft.pool)
    return {
        name: Symbol(
            name,
            kind,
            data_start + at if kind == DATA else code_start + WORD * (at + bisect_left(long_loads, at)),
        )
        for name, (kind, at, _) in draft.labels.items()
    }


def _resolve(draft: Draft, findings: Findings, symbols: dict[str, Symbol], *, far: bool) -> None:
    """Make the words that waited for a label; a long load becomes both its words in one place of the list."""
    for index, reference in draft.references:
        mistake = reference_mistake(reference, symbols)
        if mistake is not None:
            _blame(draft, findings, draft.origins[index], mistake)
            value = 0
        else:
            value = symbols[reference.label].value
        is_long = far and reference.row is LOAD
        draft.words[index] = reference.long_load(value) if is_long else reference.word(value)


def _blame(draft: Draft, findings: Findings, line: int, mistake: Mistake) -> None:
    text = draft.lines[line - 1]
    found = LINE.match(text) or take_apart(text)[1]
    assert found is not None  # It made a word.
    findings.add_mistakes(line, spans(found), [mistake])


def _wants_table(draft: Draft) -> bool:
    return draft.source_name is not None or bool(draft.line_marks)


def _check_version(draft: Draft, findings: Findings, code: bytes) -> None:
    """Note what a source with ``.version #0`` has that needs version 1; ``.word`` may hold anything."""
    if draft.version != 0:
        return
    because = f"needs image version 1; .version on line {draft.settings[VERSION].line} says 0"
    for name in (FILE, LINE_NUMBER):
        if name in draft.settings:
            line, start, end = draft.settings[name]
            findings.add(line, start + 1, end - start, f"{name} {because}")
    if not required_version(code):
        return
    for word, line in zip(draft.words, draft.origins, strict=True):
        if required_version(word):
            text = draft.lines[line - 1]
            found = LINE.match(text) or take_apart(text)[1]
            row = row_named(split_statement(found.group(2))[0]) if found else None
            if row is None:
                continue
            if row.version:
                mistake = Mistake(0, f"{row.name} {because}")
            elif row is LOADF64:
                mistake = Mistake(2, f"a constant other than an integer from 0 to 65535 {because}")
            else:
                mistake = Mistake(len(row.operands), f"an operand over 65535 {because}")
            _blame(draft, findings, line, mistake)


def _line_table(draft: Draft, file: str, long_loads: list[int]) -> LineTable | None:
    """The table, by the settings if there are any; words before the first ``.line`` have no known line."""
    if draft.version == 0:
        return None
    lines = draft.origins
    if _wants_table(draft):
        lines = []
        marks = [(0, 0), *draft.line_marks, (len(draft.words), 0)]
        for (start, line), (end, _) in pairwise(marks):
            lines += [line] * (end - start)
    if long_loads:
        table: list[int] = []
        done = 0
        for index in long_loads:
            table += lines[done : index + 1]
            table.append(lines[index])
            done = index + 1
        lines = table + lines[done:]
    name = file if draft.source_name is None else draft.source_name
    # A file system may give a name that is not text; the table holds UTF-8.
    return LineTable(name.encode(errors="backslashreplace").decode(), tuple(lines))
