"""Where a key stands in a TOML text. The parser does not say, so that it is searched: for messages only."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]")
_KEY = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_PARTS = re.compile(_PART)


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PARTS.findall(dotted))


def locate(lines: Sequence[str], path: tuple[str, ...]) -> tuple[int, int, int]:
    """Line and column, from 1, and width of a key, or of the nearest table around it that can be found.

    Args:
        lines: the text.
        path: the key, after the tables that it is in.
    """
    best = (1, 1, 1)
    depth = 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        found = header or _KEY.match(line)
        if found is None:
            continue
        if header:
            table = _split(found[1])
        here = table if header else table + _split(found[1])
        common = min(len(here), len(path))  # [programs.a] is where there is something of `programs`, too
        if common > depth and here[:common] == path[:common]:
            depth = common
            best = number, found.start(1) + 1, len(found[1])
            if depth < len(path) and not header:  # an inline table: its keys are on the same line, or not found
                inner = re.search(rf"\b{re.escape(path[-1])}\b", line[found.end() :])
                if inner:
                    best = number, found.end() + inner.start() + 1, len(path[-1])
    return best
