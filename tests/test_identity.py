"""Who a node is, and the directory that remembers it: aliases, names, the lock, whole files or none."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iridium.cluster import identity
from iridium.cluster.identity import (
    LARGEST_FILE,
    LOCK_FILE,
    NODE_FILE,
    PEERS_FILE,
    DataDirectory,
    NodeState,
    alias_problem,
    check_alias,
    directory_name,
    next_incarnation,
)
from iridium.cluster.messages import MemberRecord
from iridium.errors import DataDirectoryError, OptionError

ID = "00000000-0000-4000-8000-000000000001"

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a disk may be busy

IDS = st.uuids().map(str)
INCARNATIONS = st.integers(0, 2**53 - 1)
RECORDS = st.builds(
    MemberRecord,
    id=IDS,
    incarnation=INCARNATIONS,
    alias=st.text(max_size=64).filter(lambda text: text.isprintable()),
    address=st.sampled_from(["", "127.0.0.1:2254", "[::1]:1", "node.example:65535"]),
    left=st.booleans(),
)


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """An open data directory."""
    directory = DataDirectory(tmp_path / "data")
    yield directory
    directory.close()


# --- aliases ---


@pytest.mark.parametrize("alias", ["", "a", "node-1", "nœud", "節点", "a.b", "default", "a!b", "x" * 64, "é" * 32])
def test_names_that_can_be_used(alias: str) -> None:
    """Every printable word of up to 64 bytes is an alias, whatever its script."""
    assert alias_problem(alias) is None
    assert check_alias(alias) == alias


@pytest.mark.parametrize(
    ("alias", "problem"),
    [
        ("x" * 65, "64 bytes"),
        ("é" * 33, "64 bytes"),
        ("a b", "space"),
        ("a\u00a0b", "space"),
        ("a\n", "space"),
        ("a\x1b[2J", "print"),
        ("a\u200bb", "print"),
        ("a\udcff", "print"),
        ("a@b", "@"),
        ("*", "@"),
        ("a/b", "@"),
        ("!quit", "!"),
    ],
)
def test_names_that_cannot_be_used(alias: str, problem: str) -> None:
    """What the shell, addresses or a terminal would take for something else is refused with the reason."""
    assert problem in (alias_problem(alias) or "")
    with pytest.raises(OptionError, match="--node-alias"):
        check_alias(alias)


def test_a_name_is_composed() -> None:
    """A decomposed name is typed alike, so it becomes the composed one; as it stands it is refused from peers."""
    decomposed = unicodedata.normalize("NFD", "é")
    assert check_alias(decomposed) == "é"
    assert "NFC" in (alias_problem(decomposed) or "")


# --- directories ---


def test_the_directories_of_names() -> None:
    """Every alias has a directory of its own directly below the data root, also one that looks like a path."""
    assert directory_name("") == "default"
    assert directory_name("alpha") == "alpha"
    assert directory_name("default") not in ("default", "")
    assert directory_name("..") == "%2E%2E"
    assert directory_name(".") == "%2E"
    assert directory_name("a\\b") == "a%5Cb"


@UNHURRIED
@given(st.lists(st.text(max_size=64), unique=True, max_size=5))
def test_directories_do_not_collide(aliases: list[str]) -> None:
    """Two aliases never share a directory, and none leads out of the data root."""
    aliases = [alias for alias in aliases if alias_problem(alias) is None]
    names = [directory_name(alias) for alias in aliases]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name
        assert name not in (".", "..")
        assert len(name) <= 255


def test_a_directory_is_private(data: DataDirectory) -> None:
    """Nobody but the node's user can look into a directory that the node made."""
    assert data.path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where the directory should be is an error that names the path and the option."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataDirectoryError, match=r"data.*--data-root-dir"):
        DataDirectory(tmp_path / "data")


# --- the lock ---


def test_one_node_a_directory(tmp_path: Path) -> None:
    """A second node on the same directory is refused, with what to do; after the first is closed it is not."""
    first = DataDirectory(tmp_path)
    with pytest.raises(DataDirectoryError, match=r"another node runs on .*--node-alias or --data-root-dir"):
        DataDirectory(tmp_path)
    first.close()
    DataDirectory(tmp_path).close()


def test_a_killed_node_frees_its_directory(tmp_path: Path) -> None:
    """The lock dies with its process, even by SIGKILL: nobody has to delete a file by hand."""
    program = (
        "import pathlib, sys\n"
        "from iridium.cluster.identity import DataDirectory\n"
        f"kept = DataDirectory(pathlib.Path({str(tmp_path)!r}))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(DataDirectoryError):
            DataDirectory(tmp_path)
        process.kill()
        process.wait(10)
    assert (tmp_path / LOCK_FILE).exists()
    DataDirectory(tmp_path).close()


# --- whole files or none ---


def fail_with(error: OSError) -> Callable[..., Any]:
    """A function that always fails so."""

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_changes_nothing(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A disk that is full half way leaves the old file as it was, and nothing beside it."""
    data.write(NODE_FILE, NodeState(ID, 1))
    before = (data.path / NODE_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(identity.os, step, fail_with(OSError(28, "No space left on device")))
        with pytest.raises(DataDirectoryError, match=r"node\.json cannot be written: No space left"):
            data.write(NODE_FILE, NodeState(ID, 2))
    assert (data.path / NODE_FILE).read_bytes() == before
    assert sorted(p.name for p in data.path.iterdir()) == [LOCK_FILE, NODE_FILE]


def test_a_temporary_file_that_cannot_be_made(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room even for the temporary file is the same error, and the old file stays."""
    data.write(NODE_FILE, NodeState(ID, 1))
    with monkeypatch.context() as patch:
        patch.setattr(identity.tempfile, "mkstemp", fail_with(OSError(28, "No space left on device")))
        with pytest.raises(DataDirectoryError, match="No space left"):
            data.write(NODE_FILE, NodeState(ID, 2))
    assert data.read(NODE_FILE, NodeState) == NodeState(ID, 1)


def test_what_a_crash_left_is_cleared_away(tmp_path: Path) -> None:
    """The temporary file of a write that a crash cut short is gone after the next start; other files are not."""
    (tmp_path / f".{NODE_FILE}.abc.new").write_text("{")
    (tmp_path / "notes.json.old").write_text("mine")
    DataDirectory(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [LOCK_FILE, "notes.json.old"]


# --- files that are not what they should be ---

BROKEN = [
    b"",
    b"{",
    b"null",
    b"[1]",
    b'{"id": 5, "incarnation": 1}',
    b'{"id": "00000000-0000-4000-8000-000000000001", "incarnation": -1}',
    b'{"id": "00000000-0000-4000-8000-000000000001"}',
    b'{"id": "../../etc", "incarnation": 1}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
]


def open_node(data: DataDirectory) -> Any:
    """What a node reads first."""
    return data.load_node()


def open_peers(data: DataDirectory) -> Any:
    """What a node reads next."""
    return data.load_peers()


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize(("name", "load"), [(NODE_FILE, open_node), (PEERS_FILE, open_peers)])
def test_a_corrupt_file_stops_the_start(
    data: DataDirectory, name: str, load: Callable[[DataDirectory], Any], content: bytes
) -> None:
    """A node never overwrites what it does not understand: the error names the file, whose bytes stay."""
    path = data.path / name
    path.write_bytes(content)
    with pytest.raises(DataDirectoryError, match=f"{name} is corrupt.*nothing was changed") as raised:
        load(data)
    assert "move it away" in str(raised.value)
    assert path.read_bytes() == content
    assert sorted(p.name for p in data.path.iterdir()) == sorted([LOCK_FILE, name])


@pytest.mark.parametrize(("name", "load"), [(NODE_FILE, open_node), (PEERS_FILE, open_peers)])
def test_a_file_that_is_too_large(data: DataDirectory, name: str, load: Callable[[DataDirectory], Any]) -> None:
    """A file that no node writes is not read into memory, and stays."""
    path = data.path / name
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(DataDirectoryError, match=f"{name} is larger"):
        load(data)
    assert path.stat().st_size == LARGEST_FILE + 1


@pytest.mark.parametrize(("name", "load"), [(NODE_FILE, open_node), (PEERS_FILE, open_peers)])
def test_a_file_that_cannot_be_read(data: DataDirectory, name: str, load: Callable[[DataDirectory], Any]) -> None:
    """What cannot even be opened is an error that names the file; a directory stands in for lacking rights."""
    (data.path / name).mkdir()
    with pytest.raises(DataDirectoryError, match=f"{name} cannot be read"):
        load(data)
    assert (data.path / name).is_dir()


# --- lives ---


def test_a_new_node(data: DataDirectory) -> None:
    """A node without a past makes itself an id, writes it down at once, and knows nobody."""
    state = data.load_node(lambda: 1000.0)
    assert uuid.UUID(state.id).version == 4
    assert state.incarnation == 1_000_000
    assert not state.left
    assert data.read(NODE_FILE, NodeState) == state
    assert data.load_peers() == []


@pytest.mark.parametrize("clock", [2000.0, 1000.0, 0.0])
def test_every_start_is_a_new_life(data: DataDirectory, clock: float) -> None:
    """The incarnation grows with every start, also where the clock went back; id and the left flag stay."""
    data.write(NODE_FILE, NodeState(ID, 1_000_000, True))
    incarnations = [data.load_node(lambda: clock).incarnation for _ in range(3)]
    assert incarnations == sorted(set(incarnations))
    assert incarnations[0] > 1_000_000
    state = data.read(NODE_FILE, NodeState)
    assert state == NodeState(ID, incarnations[-1], True)


@UNHURRIED
@given(st.integers(0, 2**53 - 2), st.floats(0, 4e9))
def test_incarnations_grow(stored: int, now: float) -> None:
    """A start is newer than every earlier one, and newer than the starts of a lost directory before it."""
    incarnation = next_incarnation(stored, lambda: now)
    assert incarnation > stored
    assert incarnation >= int(now * 1000)


@UNHURRIED
@given(st.lists(RECORDS, max_size=20), IDS, INCARNATIONS, st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, records: list[MemberRecord], id: str, incarnation: int, left: bool
) -> None:
    """Records and identity come back as they were, whatever characters are in them."""
    data = DataDirectory(tmp_path_factory.getbasetemp() / "round-trip")
    try:
        data.write(PEERS_FILE, records)
        data.write(NODE_FILE, NodeState(id, incarnation, left))
        assert data.load_peers() == records
        assert data.read(NODE_FILE, NodeState) == NodeState(id, incarnation, left)
    finally:
        data.close()
        assert not [name for name in os.listdir(data.path) if name.startswith(".")]
