"""Application files: TOML that says which programs run, how many of each, and when they are restarted.

All mistakes are told at once, each with its line, those of the programs' sources too. Nothing here touches a disk:
who loads an application says how its files are read. ``docs/supervision.md`` describes the format.
"""

from __future__ import annotations

import difflib
import math
import posixpath
import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

from iridium.assembler import assemble, decode_source
from iridium.errors import ApplicationError, AssemblyError, Diagnostic, ImageError, IridiumError
from iridium.image import is_image, parse
from iridium.supervision.keys import locate
from iridium.supervision.messages import MOST_IMAGE
from iridium.supervision.types import (
    EACH,
    LONGEST_NAME,
    LONGEST_REGISTERED,
    MOST_PROGRAMS,
    MOST_REGISTERS,
    MOST_REPLICAS,
    Program,
)

LARGEST_FILE = 64 * 1024
"""Bytes of an application file: some hundred for each of the most programs, with room for comments."""

_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}\Z")

_SOURCE = re.compile(r"^\s*\.(?:code|data)\s*(?:;.*)?$", re.MULTILINE | re.IGNORECASE)
"""What every source has and no TOML."""

_PROGRAM = "that is a program: `iridium spawn` starts it; an application file names programs, docs/supervision.md"

Path = tuple[str, ...]


class Package(NamedTuple):
    """An application, ready to be deployed.

    Attributes:
        name: its name.
        programs: what is to run.
        images: the image files of the programs, by content hash.
    """

    name: str
    programs: tuple[Program, ...]
    images: dict[str, bytes]


class Field(NamedTuple):
    """One setting: what is asked for, and a test of a value for it."""

    wanted: str
    fits: Callable[[Any], bool]


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _real(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and math.isfinite(value) and least <= value <= most


def _registers(value: Any) -> bool:
    word = _whole(-(1 << 31), (1 << 31) - 1)
    return isinstance(value, list) and len(value) <= MOST_REGISTERS and all(map(word, value))


def _registered(value: Any) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_REGISTERED or not value.isprintable():
        return False
    return not any(c.isspace() or c == "@" for c in value)


_TABLE = Field("a table", lambda value: isinstance(value, dict))

TOP = {
    "name": Field(
        f"a name of at most {LONGEST_NAME} letters, digits, - and _",
        lambda value: isinstance(value, str) and _NAME.match(value) is not None,
    ),
    "programs": Field(
        f"tables [programs.NAME], 1 to {MOST_PROGRAMS}",
        lambda value: isinstance(value, dict) and 1 <= len(value) <= MOST_PROGRAMS,
    ),
}

PROGRAM = {
    "file": Field("the path of a program", lambda value: isinstance(value, str) and value != ""),
    "replicas": Field(
        f'a number from 1 to {MOST_REPLICAS}, or "each" for one on each node',
        lambda value: value == "each" or _whole(1, MOST_REPLICAS)(value),
    ),
    "restart": Field(
        '"permanent", "transient" or "temporary"',
        lambda value: isinstance(value, str) and value in ("permanent", "transient", "temporary"),
    ),
    "intensity": _TABLE,
    "backoff": _TABLE,
    "registered": Field(
        f"a name of at most {LONGEST_REGISTERED} printable characters, without blanks and @", _registered
    ),
    "registers": Field(f"at most {MOST_REGISTERS} numbers of 32 bits", _registers),
}

INTENSITY = {
    "restarts": Field("a number from 0 to 1000", _whole(0, 1000)),
    "period": Field("seconds, from 0.001 to 86400", _real(0.001, 86400)),
}

BACKOFF = {
    "first": Field("seconds, from 0 to 86400", _real(0, 86400)),
    "factor": Field("a number from 1 to 100", _real(1, 100)),
    "most": Field("seconds, from 0 to 86400", _real(0, 86400)),
    "jitter": Field("a number from 0 to 1", _real(0, 1)),
}


def load(data: bytes, file: str, read: Callable[[str], bytes]) -> Package:
    """The application in a file, with its programs.

    Args:
        data: the application file.
        file: its path; those of programs are relative to it.
        read: gives the bytes of a program by its path, joined to that of the file; raises IridiumError where it
            cannot.

    Raises:
        ApplicationError: it has mistakes, or its programs have.
    """
    return _Reading(data, file, read).package()


class _Reading:
    """One application file on its way to a package."""

    def __init__(self, data: bytes, file: str, read: Callable[[str], bytes]) -> None:
        self._file = file
        self._read = read
        self._found: list[Diagnostic] = []
        self._images: dict[str, bytes] = {}
        self._assembled: dict[str, str | None] = {}
        self._lines = [""]
        if len(data) > LARGEST_FILE:
            self._say(1, 1, 1, f"the file has {len(data)} bytes; the most of an application is {LARGEST_FILE}")
            raise ApplicationError(self._found)
        self._document = self._parse(data)

    def package(self) -> Package:
        """What the file says."""
        top = self._check((), self._document, TOP)
        for name in TOP:
            if name not in self._document:
                what = "name = " if name == "name" else "[programs.NAME]"
                self._say(1, 1, 1, f"there is no {name}", f"add: {what}{' ...' if name == 'name' else ''}")
        programs = [self._program(name, table) for name, table in top.get("programs", {}).items()]
        if self._found:
            raise ApplicationError(sorted(self._found, key=lambda d: (d.file != self._file, d.file, d.line)))
        return Package(top["name"], tuple(p for p in programs if p is not None), self._images)

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            problem = f"this is not valid TOML: byte 0x{data[error.start]:02x} is not UTF-8"
            self._say(line, 1, 1, problem, _PROGRAM if is_image(data) else None)
            raise ApplicationError(self._found) from None
        text = text.removeprefix("\ufeff").replace("\r\n", "\n")
        self._lines = text.split("\n")
        try:
            return tomllib.loads(text)
        except RecursionError:
            self._say(1, 1, 1, "arrays or tables are nested too deep")
        except (
            ValueError,
            OverflowError,
        ) as error:  # tomllib's own error is a ValueError, and so is a long number
            message = str(error)
            where = re.search(r" \(at line (\d+), column (\d+)\)\Z", message)
            at = (int(where[1]), int(where[2])) if where else (len(self._lines), 1)
            problem = f"this is not valid TOML: {re.sub(r' [(]at [^()]*[)]$', '', message)}"
            self._say(*at, 1, problem, _PROGRAM if _SOURCE.search(text) else None)
        raise ApplicationError(self._found)

    def _say(self, line: int, column: int, width: int, message: str, suggestion: str | None = None) -> None:
        source = self._lines[line - 1] if line <= len(self._lines) else ""
        self._found.append(
            Diagnostic(
                message,
                file=self._file,
                line=line,
                column=column,
                source=source,
                width=width,
                suggestion=suggestion,
            )
        )

    def _say_at(self, path: Path, message: str, suggestion: str | None = None) -> None:
        self._say(*locate(self._lines, path), message, suggestion)

    def _check(self, path: Path, table: dict[str, Any], fields: dict[str, Field]) -> dict[str, Any]:
        """The settings of a table that can be used; what is wrong with the others is noted."""
        good = {}
        for key, value in table.items():
            field = fields.get(key)
            if field is None:
                near = difflib.get_close_matches(key[:40], fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(fields)}"
                self._say_at((*path, key), f"there is no setting {_shown(key)} here", hint)
            elif not field.fits(value):
                self._say_at((*path, key), f"{key} must be {field.wanted}, not {_shown(value)}")
            else:
                good[key] = value
        return good

    def _program(self, name: str, table: Any) -> Program | None:
        path = ("programs", name)
        before = len(self._found)
        if _NAME.match(name) is None:
            self._say_at(path, f"{_shown(name)} is no {TOP['name'].wanted.removeprefix('a ')}")
        if not isinstance(table, dict):
            self._say_at(path, f"{_shown(name)} must be a table: [programs.NAME]")
            return None
        good = self._check(path, table, PROGRAM)
        settings = {
            **self._check((*path, "intensity"), good.get("intensity", {}), INTENSITY),
            **self._check((*path, "backoff"), good.get("backoff", {}), BACKOFF),
        }
        replicas = good.get("replicas", 1)
        if "registered" in good and replicas not in (1, "each"):
            self._say_at((*path, "registered"), 'a registered name has one owner a node: replicas = 1 or "each"')
        if "file" not in table:
            self._say_at(path, f"the program {_shown(name)} has no file", 'add: file = "..."')
        image = self._image(good["file"], (*path, "file")) if "file" in good else None
        if image is None or len(self._found) > before:
            return None
        settings = {key: value if key == "restarts" else float(value) for key, value in settings.items()}
        return Program(
            name,
            image,
            EACH if replicas == "each" else replicas,
            good.get("restart", "permanent"),
            register=good.get("registered"),
            registers=tuple(good.get("registers", ())),
            **settings,
        )

    def _image(self, name: str, path: Path) -> str | None:
        """The hash of the image of a program, or None where it has mistakes, which are noted."""
        if name not in self._assembled:
            self._assembled[name] = self._make_image(name, path)
        return self._assembled[name]

    def _make_image(self, name: str, path: Path) -> str | None:
        where = posixpath.join(posixpath.dirname(self._file), name)
        try:
            data = self._read(where)
            image = (
                parse(data) if is_image(data) else assemble(decode_source(data, name), file=name, line_table=True)
            )
        except AssemblyError as error:
            # The image names its source as the application does, wherever that stands; a person opens the file.
            for diagnostic in error.diagnostics:
                diagnostic.file = where
            self._found += error.diagnostics
            return None
        except ImageError as error:
            self._say_at(path, f"{_shown(name)}: {error}")
            return None
        except IridiumError as error:
            self._say_at(path, str(error))
            return None
        data = image.to_bytes()
        if len(data) > MOST_IMAGE:
            self._say_at(path, f"the image of {_shown(name)} has {len(data)} bytes; the most is {MOST_IMAGE}")
            return None
        digest = image.content_hash()
        self._images[digest] = data
        return digest


def _shown(value: object) -> str:
    text = (
        repr(value)
        if not isinstance(value, dict | list)
        else f"a {'table' if isinstance(value, dict) else 'list'}"
    )
    return text if len(text) <= 40 else f"{text[:40]}..."
