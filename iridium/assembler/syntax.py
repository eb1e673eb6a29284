"""What a line looks like: label, mnemonic or directive, operands, comment.

One regular expression recognises a well-formed line, and that is all that is ever done to most lines. Only a line
that it refuses is taken apart, to say what is wrong with it and where. What an operand is worth stands in
:mod:`iridium.assembler.operands`.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

from iridium.assembler.findings import shown
from iridium.errors import AssemblyError, Diagnostic

MAX_NAME = 255
"""The most characters of a label: long enough for names that a compiler makes, short enough to show."""

MAX_SOURCE = 1 << 28
"""The most characters of a source: 16 for each byte of the largest image, so that its listing fits."""

_STRING = r"'(?:[^'\\]|\\.)*+'"
_OPERAND = rf"(?:[\w$#@.+-]++|{_STRING})"

# Possessive quantifiers: no line, however long or wrong, makes it go back.
LINE = re.compile(rf"[ \t]*+(?:(\w++):[ \t]*+)?+(\.?\w++(?:[ \t]++{_OPERAND})*+)?+[ \t]*+(?:;.*)?+\Z", re.ASCII)
"""A well-formed line; group 1 is its label, group 2 mnemonic or directive with the operands."""

_TOKEN = re.compile(rf"(?:[\w$#@.+-]++:?|{_STRING})|;.*|[^ \t]", re.ASCII)
_WORD = re.compile(_OPERAND, re.ASCII)
_LABEL = re.compile(r"[ \t]*\w+:", re.ASCII)
_NAME = re.compile(r"\.?\w+", re.ASCII)
_GLUED = re.compile(r"(\.?[A-Za-z]\w*)([$#@].*)", re.ASCII)


class Flaw(NamedTuple):
    """Why a line is not well-formed.

    Attributes:
        start, end: the characters of the line that are wrong, counted from 0.
        message: what is wrong with them.
        suggestion: what to write instead, or None.
    """

    start: int
    end: int
    message: str
    suggestion: str | None = None


def decode_source(data: bytes, file: str) -> str:
    """The text in a source file.

    Args:
        data: the whole file: UTF-8, a byte order mark is dropped, lines may end in ``\\r\\n``.
        file: its name, for people.

    Raises:
        AssemblyError: it is not UTF-8; the diagnostic points at the first byte that is not, and says so where the
            file is no text at all.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        line_end = data.find(b"\n", error.start)
        line = data[line_start : line_end if line_end >= 0 else len(data)]
        before = data[line_start : error.start].decode()
        problem = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        suggestion = "save the file in UTF-8; an executable image is loaded, not assembled"
        # UTF-16 has them too.
        if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            problem = f"that is a binary file, not a source: {problem}"
            suggestion = "name a source, or an image that `iridium assemble` has made"
        raise AssemblyError(
            [
                Diagnostic(
                    problem,
                    file=file,
                    line=data.count(b"\n", 0, error.start) + 1,
                    column=len(before) + 1,
                    source=line.decode(errors="replace").removesuffix("\r"),
                    suggestion=suggestion,
                )
            ]
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def split_lines(source: str, file: str) -> list[str]:
    """The lines of a source, without what ends them.

    Raises:
        AssemblyError: it is longer than :data:`MAX_SOURCE`.
    """
    if len(source) > MAX_SOURCE:
        message = f"the source has {len(source)} characters; the most is {MAX_SOURCE}"
        raise AssemblyError([Diagnostic(message, file=file, line=1, column=1, source="")])
    return source.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")


def split_statement(statement: str) -> list[str]:
    """Mnemonic or directive, then the operands, of group 2 of :data:`LINE`."""
    return _WORD.findall(statement) if "'" in statement else statement.split()


def spans(found: re.Match[str]) -> list[tuple[int, int]]:
    """Where the parts that :func:`split_statement` gives stand in the line: first and last column, from 0."""
    return [word.span() for word in _WORD.finditer(found.string, found.start(2), found.end(2))]


def take_apart(text: str) -> tuple[list[Flaw], re.Match[str] | None]:
    """What is wrong with a line that :data:`LINE` refuses, and what can be read of it all the same.

    Args:
        text: the line.

    Returns:
        The flaws, and a match of :data:`LINE` on as much of the line as is sound, columns unmoved, or None.
    """
    flaws: list[Flaw] = []
    end = 0
    words = 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word[0] == ";":
            break
        if word == ",":
            if not flaws:
                flaws.append(Flaw(*token.span(), "operands are separated by spaces, not commas"))
            continue
        flaw = _flaw(token, words, touching=words > 0 and token.start() == end)
        if flaw is not None:
            # What follows cannot be trusted. The label, which other lines may name, can.
            label = _LABEL.match(text)
            return [*flaws, flaw], LINE.match(label.group()) if label else None
        end = token.end()
        words += word[-1] != ":"
    return flaws, LINE.match(_TOKEN.sub(lambda token: " " if token.group() == "," else token.group(), text))


def _flaw(token: re.Match[str], words: int, *, touching: bool) -> Flaw | None:
    """What is wrong with a token; ``words`` come before it, and it touches the last of them or not."""
    start, end = token.span()
    word = token.group()
    text = token.string
    if word == "'":
        return Flaw(start, len(text), "the string is not closed", "end it with ' (write \\' for one inside it)")
    if word == '"':
        return Flaw(start, end, 'strings stand between single quotes, not "', "write 'text'")
    if word == ":" or word[-1] == ":":
        if words or text[:start].strip(" \t"):
            return Flaw(start, end, "a line has one label, a name with `:` right after it, before the instruction")
        if not re.fullmatch(r"\w+:", word, re.ASCII):
            return Flaw(start, end, f"{shown(word[:-1])} is no label: names have letters, digits and _")
        return None
    if len(word) == 1 and not _WORD.fullmatch(word):
        name = unicodedata.name(word, "")
        what = f"`{word}` (U+{ord(word):04X})" if word.isprintable() else f"U+{ord(word):04X} {name}".rstrip()
        hint = "a source is text; is that a binary file?" if word == "\0" else None
        return Flaw(start, end, f"unexpected character {what}", hint)
    if touching:
        return Flaw(start, end, "a space must stand between operands")
    if words or _NAME.fullmatch(word):
        return None
    glued = _GLUED.fullmatch(word)
    if glued:
        return Flaw(start, end, f"{shown(word)} is no instruction", f"write `{glued.group(1)} {glued.group(2)}`")
    return Flaw(start, end, f"a line starts with an instruction or a directive, not with {shown(word)}")
