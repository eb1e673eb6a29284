"""Who a node is, and the directory that remembers it.

``node.json`` holds the id, the last incarnation and whether the node left; ``peers.json`` the members it knew.
Both are replaced as a whole, never changed in place; one that does not parse stops the start and is left as it is.
"""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
import time
import unicodedata
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from iridium.cluster.messages import LONGEST_ALIAS, Incarnation, MemberRecord, NodeId
from iridium.errors import DataDirectoryError, OptionError

NODE_FILE = "node.json"
PEERS_FILE = "peers.json"
LOCK_FILE = "lock"

UNFINISHED = ".new"
"""How the name of a file ends that is not written completely yet."""

LARGEST_FILE = 4 * 1024 * 1024
"""Bytes of a state file that are read: ten times what the most records take."""

T = TypeVar("T")


class NodeState(msgspec.Struct):
    """What ``node.json`` holds.

    Attributes:
        id: the node's id.
        incarnation: the last one it used.
        left: whether it left the cluster, so that it does not rejoin by itself.
    """

    id: NodeId
    incarnation: Incarnation
    left: bool = False


@functools.lru_cache(1024)  # as many as there are records of members; a mesh that forms asks again and again
def alias_problem(alias: str) -> str | None:
    """What is wrong with an alias, or None: NFC, at most 64 bytes, printable, no whitespace, no ``@ * /``."""
    if not unicodedata.is_normalized("NFC", alias):
        return "it is not in Unicode's composed form (NFC)"
    if len(alias.encode("utf-8", "surrogatepass")) > LONGEST_ALIAS:
        return f"it has more than {LONGEST_ALIAS} bytes"
    if not alias.isprintable() or any(c.isspace() for c in alias):
        return "it has a space or a character that does not print"
    if any(c in alias for c in "@*/"):
        return "it has one of @ * /"
    if alias.startswith("!"):
        return "it starts with !"
    return None


def check_alias(alias: str) -> str:
    """The alias as it is used: in NFC.

    Raises:
        OptionError: it cannot be one.
    """
    alias = unicodedata.normalize("NFC", alias)
    problem = alias_problem(alias)
    if problem:
        raise OptionError(f"--node-alias {alias!r} cannot be used: {problem}")
    return alias


def directory_name(alias: str) -> str:
    """The name of a node's directory below the data root: the alias, percent-encoded, or ``default``."""
    if not alias:
        return "default"
    # Dots are encoded too: `.` and `..` would lead elsewhere; and `default` is the nameless node's.
    name = urllib.parse.quote(alias, safe="").replace(".", "%2E")
    return "%64efault" if name == "default" else name


def next_incarnation(stored: int, wall_clock: Callable[[], float] = time.time) -> int:
    """The incarnation of a start: it grows even where the clock went back or the directory was lost."""
    return max(stored + 1, int(wall_clock() * 1000))


def read_state(path: Path, kind: type[T]) -> T | None:
    """The contents of a state file, or None where there is none; a node may use it meanwhile.

    Raises:
        DataDirectoryError: it cannot be read, or is not what it should be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise DataDirectoryError(f"{path} is larger than any that a node writes; move it away to start")
        return msgspec.json.decode(data, type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataDirectoryError(
            f"{path} is corrupt ({error}); nothing was changed. Restore it, or move it away"
            + (" to start as a new node" if path.name == NODE_FILE else " to start without known peers")
        ) from None


class DataDirectory:
    """A node's directory, locked as long as the node lives.

    Args:
        path: the directory; made, for this user alone, where it is missing.

    Raises:
        DataDirectoryError: it cannot be made or written, or another node uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {path} cannot be used: {error.strerror}; name another with --data-root-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise DataDirectoryError(
                f"another node runs on the data directory {path}; "
                "give this one another --node-alias or --data-root-dir"
            ) from None
        for unfinished in path.glob(f".*{UNFINISHED}"):  # a write that a crash cut short
            unfinished.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another node use the directory."""
        os.close(self._lock)

    def read(self, name: str, kind: type[T]) -> T | None:
        """The contents of a state file, or None where there is none yet.

        Raises:
            DataDirectoryError: it cannot be read, or is not what it should be.
        """
        return read_state(self.path / name, kind)

    def write(self, name: str, contents: object) -> None:
        """Replace a state file: after a crash it holds the old contents or the new, never a part.

        Raises:
            DataDirectoryError: it cannot be written.
        """
        self.replace(name, msgspec.json.format(msgspec.json.encode(contents), indent=2) + b"\n")

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file, which only the node's user can read, as :meth:`write` does.

        Raises:
            DataDirectoryError: it cannot be written.
        """
        path = self.path / name
        try:
            handle, temporary = tempfile.mkstemp(UNFINISHED, f".{name}.", self.path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise DataDirectoryError(f"{path} cannot be written: {error.strerror}") from None

    def load_node(self, wall_clock: Callable[[], float] = time.time) -> NodeState:
        """The node's identity for a new start, already written back with its new incarnation.

        Raises:
            DataDirectoryError: the file is corrupt or cannot be written.
        """
        state = self.read(NODE_FILE, NodeState) or NodeState(str(uuid.uuid4()), 0)
        state.incarnation = next_incarnation(state.incarnation, wall_clock)
        self.write(NODE_FILE, state)
        return state

    def load_peers(self) -> list[MemberRecord]:
        """The members that the node knew when it last ran.

        Raises:
            DataDirectoryError: the file is corrupt.
        """
        return self.read(PEERS_FILE, list[MemberRecord]) or []
