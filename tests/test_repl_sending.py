"""Programs that the command line sends to a session: run as if they ran there, or kept under a name."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from iridium.assembler import assemble
from iridium.errors import CommandError
from iridium.image import Image
from iridium.limits import DEFAULTS, Limits
from iridium.repl import programs
from iridium.repl.programs import LONGEST_NAME, list_programs, store_program
from tests.repl_double import FakeNode, Person

HALTS = assemble(".code\nload $1 #7\nprti $1\nhltr $1\n")
RUNS_OFF = assemble(".code\ninc $1\n")
SPINS = assemble(".code\nl: inc $1\ndjmpn @l\n")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    """Somebody with a session, and an empty programs directory."""
    return Person(FakeNode(tmp_path))


def send(person: Person, image: Image) -> str:
    """Send an image as `iridium` does; its hash."""
    data, digest = image.to_bytes(), image.content_hash()
    person.type(f"!spawn_image {digest} {len(data)} 0 {base64.b64encode(data).decode()}")
    return digest


def answers(person: Person, command: str, rounds: int = 50) -> list[Any]:
    """The JSON documents that a command gives."""
    lines = person.type(f"{command} --json", rounds=rounds).splitlines()
    return [json.loads(line.removeprefix(">>> ")) for line in lines if "{" in line]


class TestRun:
    """``!run_sent``."""

    def test_output_then_how_it_ended(self, person: Person) -> None:
        """What is printed comes first, then code, pc and instructions, as of `!run`."""
        printed, ended = answers(person, f"!run_sent {send(person, HALTS)} - a program.iasm")
        assert printed == {"output": "7"}
        assert (ended["outcome"], ended["code"], ended["instructions"]) == ("halted", 7, 3)
        assert person.session.workspace.file == "a program.iasm"
        assert person.session.node.events.recent()[-1].detail == "halted with code 7"

    def test_the_end_of_the_code_is_a_fault(self, person: Person) -> None:
        """A program that is all there is crashes at its end; at a prompt that is a pause."""
        [ended] = answers(person, f"!run_sent {send(person, RUNS_OFF)} - p")
        assert (ended["outcome"], ended["fault"]["kind"]) == ("fault", "bad-jump")
        assert "ran past its last instruction" in ended["fault"]["message"]
        [ended] = answers(person, "!run")
        assert ended["outcome"] == "end"

    @pytest.mark.parametrize("limit", [0, 1, 1000])
    def test_a_limit(self, person: Person, limit: int) -> None:
        """A limit of instructions is exact."""
        [ended] = answers(person, f"!run_sent {send(person, SPINS)} {limit} p")
        assert (ended["outcome"], ended["instructions"]) == ("limit", limit)

    def test_interrupted(self, person: Person) -> None:
        """What runs is stopped as any program."""
        digest = send(person, SPINS)
        person.type(f"!run_sent {digest} - p --json", rounds=3)
        assert person.session.executing
        assert person.session.interrupt()
        assert json.loads(person.read().removesuffix(">>> "))["outcome"] == "stopped"

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("zz - p", "is no hash"),
            (f"{'ab' * 32} - p", "is not here"),
            ("HASH many p", "the limit must be a number"),
            ("HASH -1 p", "the limit must be a number"),
        ],
    )
    def test_what_is_wrong(self, person: Person, typed: str, said: str) -> None:
        """An image that never came, or a limit that is none, is an error."""
        typed = typed.replace("HASH", send(person, HALTS))
        assert said in person.type(f"!run_sent {typed}")

    def test_its_processes_print_with_it(self, person: Person) -> None:
        """What a program's processes print is in the output too, and all of it comes however slowly it is read."""
        source = """.code
load $1 @w
spawn $1 $2
monitor $2
recv $3 $4 $5
hlt
w: load $6 #20000
load $7 #5
l: prti $7
dec $6
neq $6 $8
djmpe @l
hlt
"""
        digest = send(person, assemble(source))
        person.session.pause_output()
        person.session.submit(f"!run_sent {digest} - p --json")
        node = person.session.node
        node.reactor.settle(3000)
        for _ in range(20):
            person.session.resume_output()
            person.session.pause_output()
            node.reactor.settle(3000)
        person.session.resume_output()
        node.reactor.settle(3000)
        seen = [json.loads(line.removeprefix(">>> ")) for line in person.read().splitlines() if "{" in line]
        assert "".join(d["output"] for d in seen[:-1]) == "5" * 20_000
        assert seen[-1]["outcome"] == "halted"
        assert not node.processes._held
        assert not person.session.attended

    def test_a_session_that_ends_lets_its_processes_go(self, person: Person) -> None:
        """Whoever goes away while nothing was read leaves no process behind that waits for ever."""
        source = ".code\nload $1 @w\nspawn $1 $2\nrecv $3 $4 $5\nw: prti $7\nload $8 @w\njmp $8\n"
        digest = send(person, assemble(source))
        person.session.submit(f"!run_sent {digest} - p --json")
        node = person.session.node
        node.reactor.settle(20)
        person.session.pause_output()
        node.reactor.settle(2000)
        assert node.processes._held
        person.session.end()
        assert not node.processes._held
        for record in list(node.processes.table.records()):
            node.processes.kill(record.pid)
        node.reactor.settle(200)


class TestStore:
    """``!store_sent`` and ``!programs``."""

    def test_any_session_can_use_it(self, person: Person) -> None:
        """A program that was sent is listed, loaded and spawned by its name, in this session and in others."""
        digest = send(person, HALTS)
        [stored] = answers(person, f"!store_sent {digest} seven.ir")
        size = len(HALTS.to_bytes())
        assert stored == {"program": "seven.ir", "bytes": size, "replaced": False}
        other = Person(person.node)
        [listed] = answers(other, "!programs")
        assert listed == {"programs": [{"name": "seven.ir", "bytes": size}], "more": 0, "bytes": size}
        assert "loaded seven.ir: 3 instructions" in other.type("!load_file seven.ir")
        assert "halted with code 7" in other.type("!run")
        assert "runs seven.ir" in other.type("!spawn seven.ir")
        assert "seven.ir  " in other.type("!programs")

    def test_nothing_is_overwritten_unless_asked(self, person: Person) -> None:
        """A second program of the same name is refused with what to do, and takes its place when that is said."""
        first, second = send(person, HALTS), send(person, SPINS)
        person.type(f"!store_sent {first} p")
        path = person.node.programs_dir / "p"
        assert "there is a program p already; add --replace" in person.type(f"!store_sent {second} p")
        assert path.read_bytes() == HALTS.to_bytes()
        assert "in place of another" in person.type(f"!store_sent {second} p --replace")
        assert path.read_bytes() == SPINS.to_bytes()
        assert [p.name for p in person.node.programs_dir.iterdir()] == ["p"]
        assert "type it as: !store_sent" in person.type(f"!store_sent {second} p --force")

    def test_without_a_directory(self, tmp_path: Path) -> None:
        """A directory that is not there is an error, for both."""
        person = Person(FakeNode(tmp_path / "nowhere"))
        digest = send(person, HALTS)
        for command in (f"!store_sent {digest} p", "!programs"):
            assert "the programs directory cannot be read: No such file or directory" in person.type(command)

    def test_no_programs(self, person: Person) -> None:
        """An empty directory says how one comes there."""
        assert "there are no programs; `iridium load` sends one" in person.type("!programs")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        ".hidden",
        "-x",
        "a b",
        "a\nb",
        "a\0",
        "é",
        "~",
        "x" * (LONGEST_NAME + 1),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    """Only a plain file name is taken."""
    inside = tmp_path / "in"
    inside.mkdir()
    with pytest.raises(CommandError, match="cannot be the name of a program"):
        store_program(name, b"x", inside, DEFAULTS, True)
    assert list(inside.iterdir()) == []
    assert list(tmp_path.iterdir()) == [inside]


@pytest.mark.parametrize("replace", [False, True])
def test_links_and_directories_stay(tmp_path: Path, replace: bool) -> None:
    """What is there and is no file is neither followed nor replaced."""
    inside, outside = tmp_path / "in", tmp_path / "outside"
    inside.mkdir()
    outside.write_bytes(b"precious")
    (inside / "link").symlink_to(outside)
    (inside / "dangling").symlink_to(tmp_path / "new")
    (inside / "directory").mkdir()
    os.mkfifo(inside / "fifo")
    for name in ("link", "dangling", "directory", "fifo"):
        with pytest.raises(CommandError, match=f"{name} is there, and is no file that could be replaced"):
            store_program(name, b"x", inside, DEFAULTS, replace)
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "new").exists()
    assert sorted(p.name for p in inside.iterdir()) == ["dangling", "directory", "fifo", "link"]


def test_the_directory_has_limits(tmp_path: Path) -> None:
    """So many files and so many bytes; a replacement counts only by what it adds."""
    limits = Limits(programs=3, programs_bytes=100)
    for name in "abc":
        store_program(name, b"x" * 30, tmp_path, limits, False)
    with pytest.raises(CommandError, match="has 3 files, and may have 3"):
        store_program("d", b"x", tmp_path, limits, False)
    with pytest.raises(CommandError, match="would have 101 bytes, and may have 100"):
        store_program("a", b"x" * 41, tmp_path, limits, True)
    assert store_program("a", b"x" * 40, tmp_path, limits, True)
    assert list_programs(tmp_path) == ([("a", 40), ("b", 30), ("c", 30)], 0, 100)


def test_of_two_at_once_one_finds_room(tmp_path: Path) -> None:
    """Sessions that store at the same moment do not get past the limit together."""
    limits = Limits(programs=1)
    outcomes: list[str] = []

    def store(name: str) -> None:
        try:
            store_program(name, b"x", tmp_path, limits, False)
            outcomes.append("stored")
        except CommandError:
            outcomes.append("refused")

    threads = [threading.Thread(target=store, args=(f"p{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["stored"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is an error, and leaves nothing behind; what was there stays whole."""
    store_program("p", b"old", tmp_path, DEFAULTS, False)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs.os, "fsync", full)
    with pytest.raises(CommandError, match="p cannot be stored: No space left on device"):
        store_program("p", b"new", tmp_path, DEFAULTS, True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("p", b"old")]


def test_a_long_list_says_how_many_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many programs the first are listed, and hidden files are none."""
    monkeypatch.setattr(programs, "MOST_LISTED", 2)
    for name in ("c", "a", "b", ".draft"):
        (tmp_path / name).write_bytes(b"xy")
    assert list_programs(tmp_path) == ([("a", 2), ("b", 2)], 1, 6)
    assert Person(FakeNode(tmp_path)).type("!programs").splitlines()[-2] == "1 more"
