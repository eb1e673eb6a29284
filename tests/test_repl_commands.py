"""The commands: what each answers to people and to tools, and what is said to somebody who types them wrong."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import fail
from twisted.logger import globalLogPublisher

from iridium.assembler import assemble
from iridium.cluster.refusals import RefusedError
from iridium.cluster.tokens import Token, parse_token
from iridium.errors import CommandError
from iridium.processes.types import Exchange
from iridium.repl import files
from iridium.repl.commands import TABLE
from iridium.repl.commands.stats import MachineStats, ProcessStats, ResourceStats, Stats, WorkerStats
from iridium.repl.commands.table import Result
from iridium.repl.visible import visible, visible_json
from tests.repl_double import ENDLESS, FakeNode, Person

PROGRAM = """\
; counts to three
.data
h: .asciiz 'hi\\n'
.code
start: load $1 #3
again: inc $0
prts @h
neq $0 $1
djmpe @again
hlt
"""


def answer(person: Person, command: str) -> Any:
    """The JSON of a command's answer."""
    lines = person.type(f"{command} --json").splitlines()
    documents = [line for line in lines if line.startswith("{") and not line.startswith('{"output"')]
    assert len(documents) == 1, lines
    return msgspec.json.decode(documents[0])


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A programs directory with one program in it."""
    (tmp_path / "count.iasm").write_text(PROGRAM)
    (tmp_path / "app.toml").write_text('name = "app"\n[programs.p]\nfile = "count.iasm"\n')
    (tmp_path / "wait.iasm").write_text(".code\nrecv $1 $2 $3\nhlt\n")
    return tmp_path


@pytest.fixture
def person(programs: Path) -> Person:
    """Somebody with a session and a program to load."""
    return Person(FakeNode(programs))


IMAGE = assemble(PROGRAM)
TOKEN = str(Token("iridium", "127.0.0.1:2254", 4000, b"f" * 32, b"s" * 32))


def do(person: Person, row: Any, more: str = "") -> str:
    """Do a command; where it needs a process, there is one, with the pid 2."""
    person.node.mesh.joining.callback(person.node.mesh.members())
    person.node.courier.images.add(IMAGE)
    person.type("!load_file count.iasm")
    if row.name in ("!kill", "!send", "!observe", "!why"):
        person.type("!spawn wait.iasm")
    seen = person.type(f"{row.name} {EXAMPLES.get(row.name, '')} {more}".rstrip())
    if row.name == "!observe":  # it goes on until the process ends
        person.node.processes.kill(2)
        person.node.reactor.settle()
        seen += person.read()
    return seen


# Arguments with which each command can be done.
EXAMPLES = {
    "!load_file": "count.iasm",
    "!join_cluster": "127.0.0.1:2255",
    "!join_with": TOKEN,
    "!tell": "beta hello there",
    "!forget": "beta",
    "!spawn": "count.iasm",
    "!kill": "2",
    "!send": "2 5",
    "!observe": "2",
    "!why": "2",
    "!spawn_image": "ab" * 32,
    "!spawn_sent": f"{IMAGE.content_hash()} --start @ count",
    "!run_sent": f"{IMAGE.content_hash()} - count",
    "!store_sent": f"{IMAGE.content_hash()} count.ir",
    "!deploy": "app.toml",
    "!stop_app": "app",
    "!deploy_image": "ab" * 32,
    "!deploy_manifest": '{"name":"app","programs":[{"name":"p","image":"%s"}]}' % ("ab" * 32),
}


@pytest.mark.parametrize("row", TABLE.commands, ids=lambda row: row.name)
def test_every_command_answers_json_and_has_help(person: Person, row: Any) -> None:
    """Each command's answer is one JSON object a line, of its declared type, and !help tells about it."""
    seen = do(person, row, "--json")
    documents = [line.removeprefix(">>> ") for line in seen.splitlines() if "{" in line]
    results = [msgspec.json.decode(text) for text in documents if not text.startswith('{"output"')]
    assert len(results) == 1
    assert "error" not in results[0]
    assert issubclass(row.result, Result)
    assert set(results[0]) == {field.encode_name for field in msgspec.structs.fields(row.result)}
    msgspec.convert(results[0], row.result)
    assert row.help
    assert row.help == row.help.strip().rstrip(".")
    if row.name != "!quit":
        told = person.type(f"!help {row.name.lstrip('!')}")
        assert row.usage in told
        assert row.help in told


@pytest.mark.parametrize("row", TABLE.commands, ids=lambda row: row.name)
def test_every_command_answers_people(person: Person, row: Any) -> None:
    """Without --json nobody sees JSON, and every answer ends its line."""
    seen = do(person, row)
    assert "{" not in seen
    assert "error" not in seen
    assert seen.removesuffix(">>> ").endswith("\n")


def test_help_groups_all_commands(person: Person) -> None:
    """!help names every command once, under a heading, and how to get JSON."""
    told = person.type("!help")
    for row in TABLE.commands:
        assert told.count(f"  {row.usage} ") == 1, row.name
    assert told.count("\nAbout ") == len({row.group for row in TABLE.commands})
    assert "--json" in told


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("!registrs", "did you mean !registers?"),
        ("!load_fil x", "did you mean !load_file?"),
        ("!xyzzy", "!help"),
        ("!", "!help"),
        ("!help nonsense", "!help"),
        ("!load_file", "type it as: !load_file PATH"),
        ("!tell beta", "type it as: !tell NODE TEXT"),
        ("!registers 5", "type it as: !registers"),
        ("!step x", "must be a number"),
        ("!step 0", "from 1 to"),
        ("!step -1", "from 1 to"),
        ("!step " + "9" * 100_000, "must be a number"),
        ("!heap 64", "from 0 to 63"),
        ("!heap 0 999999", "from 1 to 4096"),
        ("!events none", "must be a number"),
        ("!join_cluster", "type it as: !join_cluster HOST:PORT"),
        ("!join_cluster nowhere", "HOST:PORT"),
        ("!join_cluster h:0", "from 1 to 65535"),
        ("!join_cluster h:99999", "from 1 to 65535"),
        ("!join_cluster ::1:2255", "HOST:PORT"),
        ("!start_cluster h:", "HOST:PORT with a port from 0"),
    ],
)
def test_mistakes(person: Person, typed: str, said: str) -> None:
    """A mistake is one line that says how to type it, or where to look; in JSON it is an error object."""
    seen = person.type(typed)
    assert seen.startswith("error: ")
    assert said in seen
    assert seen.count("\n") == 1
    assert len(seen) < 400
    error = answer(person, typed)["error"]
    assert set(error) == {"kind", "message", "remedy"}
    assert error["kind"] == "CommandError"
    assert said in error["message"]


@pytest.mark.parametrize("typed", ["!Registers", "  !registers  ", "!registers\t", "!REGISTERS"])
def test_forgiving(person: Person, typed: str) -> None:
    """Case and blanks around a command do not matter."""
    assert "equal_flag" in person.type(typed)


def test_registers(person: Person) -> None:
    """The registers' JSON has the 32 values and pc, equal_flag, remainder and loop_counter."""
    person.type("load $0 #7", "load $1 #-2", "div $0 $1 $2", "eq $0 $0", "cloop #9")
    told = answer(person, "!registers")
    assert told == {
        "registers": [7, -2, -3] + [0] * 29,
        "pc": person.session.workspace.program.end,
        "equal_flag": True,
        "remainder": 1,
        "loop_counter": 9,
    }


def test_float_registers_that_are_no_numbers(person: Person) -> None:
    """Infinities and NaN are strings, because JSON has no numbers for them."""
    person.type("loadf64 $0 #1.5", "loadf64 $1 #inf", "loadf64 $2 #-inf", "subf64 $1 $1 $3")
    assert answer(person, "!float_registers")["float_registers"][:5] == [1.5, "inf", "-inf", "nan", 0.0]


def test_clear_registers(person: Person) -> None:
    """All registers and flags become 0; program, stack and heap stay."""
    person.type("load $0 #7", "push $0", "eq $0 $0", "cloop #9", "loadf64 $0 #1.5", "!clear_registers")
    told = answer(person, "!registers")
    assert told["registers"] == [0] * 32
    assert (told["equal_flag"], told["loop_counter"]) == (False, 0)
    assert answer(person, "!float_registers")["float_registers"] == [0.0] * 32
    assert answer(person, "!stack")["words"] == [7]


def test_heap(person: Person) -> None:
    """!heap shows bytes of the heap, a piece of it from an address, never beyond its end."""
    person.type("load $0 #8", "load $1 #0x04030201", "setm $0 $1")
    assert answer(person, "!heap 8 4") == {"size": 64, "start": 8, "bytes": "01020304"}
    assert len(answer(person, "!heap")["bytes"]) == 128
    assert answer(person, "!heap 0x3e 4096")["bytes"] == "0000"
    assert "01 02 03 04" in person.type("!heap")


def test_stack_is_shown_from_the_top(person: Person) -> None:
    """!stack shows the words on top first, and of a deep stack only those."""
    person.type("load $0 #1", "push $0", "inc $0", "push $0")
    assert answer(person, "!stack") == {"depth": 2, "bp": 0, "words": [2, 1]}
    person.type("cloop #999", "p: push $0", "loop @p", rounds=500)
    told = answer(person, "!stack")
    assert told["depth"] == 1002
    assert len(told["words"]) == 256
    assert "746 more below" in person.type("!stack")


def test_symbols(person: Person) -> None:
    """Labels come with their kind and value."""
    person.type("t: .asciiz 'x'", "go: inc $0")
    base = person.session.workspace.program.base
    assert answer(person, "!symbols") == {
        "symbols": [{"name": "t", "kind": "data", "value": 0}, {"name": "go", "kind": "code", "value": base}],
        "total": 2,
    }


def test_program_and_disassembly(person: Person) -> None:
    """!program lists the lines as they were typed, !disassemble the instructions they became."""
    person.type("go: load $0 #-1 ; all ones", "INC $0")
    told = answer(person, "!program")
    base = told["base"]
    assert [line["address"] for line in told["lines"]] == [base, base + 4, base + 8]
    assert [line["text"] for line in told["lines"]] == ["go: load $0 #-1 ; all ones"] * 2 + ["INC $0"]
    assert [line["labels"] for line in told["lines"]] == [["go"], [], []]
    told = answer(person, "!disassemble")
    assert [line["text"].split()[0].lower() for line in told["lines"]] == ["load", "lui", "inc"]
    assert [line["address"] for line in answer(person, f"!program {base + 5} 1")["lines"]] == [base + 4]
    assert f"name {base + 4} to go on" in person.type("!program 0 1")


def test_listing_of_an_empty_program(person: Person) -> None:
    """An empty program is listed as such."""
    assert "0 instructions" in person.type("!program")
    assert "no labels" in person.type("!symbols")


def test_load_and_run(person: Person) -> None:
    """A loaded program does not run until !run; its output and its end are told, and events say it ran."""
    said = person.type("!load_file count.iasm")
    assert "loaded count.iasm: 6 instructions, 4 bytes of read-only data, 3 labels" in said
    assert person.registers()[0] == 0
    assert person.type("!run") == "hi\nhi\nhi\nhalted\n>>> "
    vm = person.session.workspace.vm
    assert [(e.kind, e.subject) for e in person.node.events.recent()] == [
        ("vm-started", vm.uuid),
        ("vm-stopped", vm.uuid),
    ]


def test_run_starts_fresh(person: Person) -> None:
    """!run starts with zero registers, an empty stack and a new heap, as often as it is typed."""
    person.type("!load_file count.iasm", "load $0 #100", "push $0", "aloc $0")
    for _ in range(2):
        told = person.type("!run --json")
        assert '{"output":"hi\\nhi\\nhi\\n"}' in told
        assert '"outcome":"halted"' in told
    assert person.registers()[0] == 3
    assert answer(person, "!stack")["depth"] == 0
    assert answer(person, "!heap")["size"] == 64


def test_lines_append_after_a_loaded_program(person: Person) -> None:
    """Lines that are typed after loading run at once from their own address and may name its labels and data."""
    person.type("!load_file count.iasm")
    end = person.session.workspace.program.end
    assert person.type("prts @h") == "hi\n>>> "
    assert person.type("load $4 @again", "mov $4 $5") == ">>> >>> "
    workspace = person.session.workspace
    assert person.registers()[5] == workspace.symbols["again"].value
    assert workspace.text_at(end) == "prts @h"
    assert workspace.text_at(workspace.program.base) == "start: load $1 #3"


def test_load_an_image(person: Person, programs: Path) -> None:
    """An image is loaded as it is; without a source, instructions are shown by name."""
    image = assemble(PROGRAM)
    (programs / "count.ir").write_bytes(image.to_bytes())
    person.type("!load_file count.ir")
    assert person.session.workspace.program.base == image.code_address
    assert person.type("!run").startswith("hi\nhi\nhi\nhalted")
    assert person.type("inc $7") == ">>> "
    assert "room for 0" in person.type("x: .asciiz 'an image reserves nothing'")
    assert answer(person, "!program")["lines"][1]["text"].lower() == "inc $0"


def test_fault_of_a_run(person: Person, programs: Path) -> None:
    """A crash of a program is told with pc, line and text, in words and in JSON, and as an event."""
    (programs / "bad.iasm").write_text(".code\nload $0 #1\n  div $0 $1 $2\n")
    person.type("!load_file bad.iasm")
    said = person.type("!run")
    assert "fault: division-by-zero at pc" in said
    assert "line 3" in said
    assert "    div $0 $1 $2\n" in said
    fault = answer(person, "!run")["fault"]
    assert (fault["kind"], fault["line"], fault["text"]) == ("division-by-zero", 3, "div $0 $1 $2")
    assert person.node.events.recent(1)[0].kind == "vm-crashed"
    assert person.session.workspace.vm.record.pc == fault["pc"]


def test_run_to_the_end_of_the_code(person: Person, programs: Path) -> None:
    """A program without HLT ends where its code ends, as lines do."""
    (programs / "open.iasm").write_text(".code\ninc $0\n")
    person.type("!load_file open.iasm")
    assert person.type("!run") == "the end of the code\n>>> "
    assert answer(person, "!run")["outcome"] == "end"


def test_run_can_be_stopped(person: Person) -> None:
    """!stop ends a run and says where; the registers can be looked at then."""
    person.type(*ENDLESS)
    person.type("!stop")
    person.type("!run")
    assert "stopped at pc" in person.type("!stop")
    assert person.registers()[0] > 0
    assert person.node.events.recent(1)[0].kind == "vm-stopped"
    person.type("!run")
    said = person.type("!stop --json")
    assert '{"stopped":true,"pc":' in said
    assert said.count(">>> ") == 1


def test_session_that_ends_while_a_program_runs(person: Person) -> None:
    """The end of a run is an event also when its session went away."""
    person.type(*ENDLESS)
    person.type("!stop")
    person.type("!run")
    person.session.end()
    assert [event.kind for event in person.node.events.recent()] == ["vm-started", "vm-stopped"]


def test_nothing_to_run(person: Person) -> None:
    """Without a program, !run and !step say what to do."""
    assert "!load_file PATH" in person.type("!run")
    assert "!load_file PATH" in person.type("!step")


def test_step(person: Person) -> None:
    """!step executes so many instructions and shows the next one; at the end it says so."""
    person.type("!load_file count.iasm")
    base = person.session.workspace.program.base
    assert person.type("!step") == f"pc {base + 4}: again: inc $0\n>>> "
    told = answer(person, "!step 2")
    assert (told["outcome"], told["instructions"], told["pc"]) == ("limit", 2, base + 12)
    assert told["next"] == "neq $0 $1"
    assert "halted" in person.type("!step 1000")
    assert "nothing to step" in person.type("!step")


def test_step_into_the_end(person: Person) -> None:
    """A step that runs past the last instruction counts what it executed."""
    person.type("inc $0", "inc $0", "!run")
    person.session.workspace.vm.record.pc = person.session.workspace.program.base
    told = answer(person, "!step 10")
    assert (told["outcome"], told["instructions"], told["next"]) == ("end", 2, None)


def test_step_on_a_fault(person: Person, programs: Path) -> None:
    """A step that faults tells the fault and stays on the instruction."""
    (programs / "bad.iasm").write_text(".code\ndiv $0 $1 $2\n")
    person.type("!load_file bad.iasm")
    for _ in range(2):
        assert "division-by-zero" in person.type("!step")


def test_clear_program(person: Person) -> None:
    """!clear_program forgets code, labels, data and the stack; registers and heap stay; lines go on."""
    person.type("load $0 #7", "t: .asciiz 'x'", "push $0", "aloc $0", "!clear_program")
    workspace = person.session.workspace
    assert not workspace.program.code
    assert not workspace.symbols
    assert not any(workspace.program.read_only)
    assert answer(person, "!stack")["depth"] == 0
    assert answer(person, "!heap")["size"] == 71
    assert person.registers()[0] == 7
    assert person.type("t: .asciiz 'y'", "prts @t") == ">>> y\n>>> "


def test_load_replaces_everything(person: Person) -> None:
    """Loading forgets the program before it and starts on a fresh machine, ready to be stepped."""
    person.type("old: load $0 #7", "push $0", "!load_file count.iasm")
    assert person.registers()[0] == 0
    assert "old" not in person.session.workspace.symbols
    told = answer(person, "!registers")
    assert told["pc"] == person.session.workspace.program.base


def test_file_that_does_not_assemble(person: Person, programs: Path) -> None:
    """The mistakes of a file are told as the assembler tells them, and the old program stays."""
    (programs / "wrong.iasm").write_text(".code\nlaod $0 #1\n")
    person.type("inc $0")
    said = person.type("!load_file wrong.iasm")
    assert "wrong.iasm:2:1: error:" in said
    assert answer(person, "!load_file wrong.iasm")["error"]["kind"] == "AssemblyError"
    assert len(person.session.workspace.program.code) == 4
    (programs / "wrong.ir").write_bytes(b"EPIE\x09")
    assert answer(person, "!load_file wrong.ir")["error"]["kind"] == "ImageError"


class TestWhichFiles:
    """Remote sessions read below the programs directory only; the local prompt reads any file."""

    @pytest.fixture
    def outside(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("outside") / "secret.iasm"
        path.write_text(PROGRAM)
        return path

    def test_below(self, person: Person, programs: Path) -> None:
        """Directories below it are part of it, and so are links that stay inside; blanks belong to a name."""
        (programs / "deep").mkdir()
        (programs / "deep" / "my program.iasm").write_text(PROGRAM)
        (programs / "link.iasm").symlink_to(programs / "deep" / "my program.iasm")
        assert "loaded" in person.type("!load_file deep/my program.iasm")
        assert "loaded" in person.type("!load_file link.iasm")

    def test_absolute(self, person: Person, programs: Path, outside: Path) -> None:
        """An absolute path is refused, also one into the directory."""
        for path in (outside, programs / "count.iasm"):
            assert "programs directory only" in person.type(f"!load_file {path}")

    def test_upwards(self, person: Person, outside: Path, programs: Path) -> None:
        """A path with .. is refused."""
        path = os.path.relpath(outside, programs)
        assert "programs directory only" in person.type(f"!load_file {path}")
        assert "programs directory only" in person.type("!load_file deep/../count.iasm")

    def test_links_that_lead_out(self, person: Person, programs: Path, outside: Path) -> None:
        """A link out of the directory is refused, of a file and of a directory."""
        (programs / "out.iasm").symlink_to(outside)
        (programs / "away").symlink_to(outside.parent)
        assert "link that leads elsewhere" in person.type("!load_file out.iasm")
        assert "link that leads elsewhere" in person.type("!load_file away/secret.iasm")

    def test_neighbour_with_the_same_beginning(self, tmp_path: Path) -> None:
        """A directory whose name starts with that of the programs directory is another directory."""
        for name in ("programs", "programs-secret"):
            (tmp_path / name).mkdir()
        (tmp_path / "programs-secret" / "x.iasm").write_text(PROGRAM)
        (tmp_path / "programs" / "x.iasm").symlink_to(tmp_path / "programs-secret" / "x.iasm")
        person = Person(FakeNode(tmp_path / "programs"))
        assert "elsewhere" in person.type("!load_file x.iasm")

    @pytest.mark.parametrize("name", ["missing.iasm", "deep", "nul\0.iasm", "x" * 5000, "~root/x", "loop"])
    def test_nothing_to_read(self, person: Person, programs: Path, name: str) -> None:
        """What is no file is one line, not a traceback."""
        (programs / "deep").mkdir()
        (programs / "loop").symlink_to(programs / "loop")
        said = person.type(f"!load_file {name}")
        assert said.startswith("error: ")
        assert said.count("\n") == 1

    def test_pipe(self, person: Person, programs: Path) -> None:
        """A FIFO neither loads nor holds a thread for ever."""
        os.mkfifo(programs / "pipe")
        assert "is not a file" in person.type("!load_file pipe")

    def test_too_large(self, person: Person, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file over the limit is refused."""
        monkeypatch.setattr(files, "MAX_FILE", 10)
        assert "larger than" in person.type("!load_file count.iasm")

    def test_local_prompt(self, programs: Path, outside: Path) -> None:
        """The local prompt reads any file."""
        person = Person(FakeNode(programs), local=True)
        assert "loaded" in person.type(f"!load_file {outside}")

    def test_nothing_is_leaked(self, person: Person, outside: Path, programs: Path) -> None:
        """Nobody learns by the answer whether a file outside exists."""
        there = person.type(f"!load_file {outside}").replace(outside.name, "X")
        not_there = person.type(f"!load_file {outside.with_name('X')}")
        assert there == not_there


def test_members(person: Person) -> None:
    """The members' JSON is an object with one object a member; !members is the same command."""
    told = answer(person, "!cluster_members")
    assert told == answer(person, "!members")
    assert told == {
        "members": [
            {
                "id": "0b5f",
                "alias": "alpha",
                "address": "127.0.0.1:2254",
                "incarnation": 7,
                "state": "up",
                "self": True,
            },
            {
                "id": "1c6f",
                "alias": "",
                "address": "127.0.0.1:2255",
                "incarnation": 8,
                "state": "down",
                "self": False,
            },
        ]
    }


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("127.0.0.1:2255", ("127.0.0.1", 2255)),
        ("127.0.0.1 2255", ("127.0.0.1", 2255)),
        ("host.example:1", ("host.example", 1)),
        ("[::1]:2255", ("::1", 2255)),
        ("::1 2255", ("::1", 2255)),
    ],
)
def test_join_takes_both_forms(person: Person, typed: str, address: tuple[str, int]) -> None:
    """HOST:PORT and HOST PORT mean the same; the answer is the members that were reached."""
    person.type(f"!join_cluster {typed}")
    assert person.node.mesh.joined == [address]
    assert person.session.busy
    person.node.mesh.joining.callback(person.node.mesh.members())
    assert "alpha" in person.read()


def test_refused_join(person: Person) -> None:
    """A refusal is told with its remedy; in JSON its reason is the kind."""
    person.node.mesh.joining = fail(RefusedError("WRONG_CLUSTER", "it is in cluster `x`"))
    error = answer(person, "!join_cluster h:1")["error"]
    assert error["kind"] == "WRONG_CLUSTER"
    assert "--cluster" in error["remedy"]
    person.node.mesh.joining = fail(RefusedError("WRONG_CLUSTER", "it is in cluster `x`"))
    assert "--cluster" in person.type("!join_cluster h:1")


def test_start_cluster(person: Person) -> None:
    """!start_cluster opens the configured port, or the one that is named, and says how others join."""
    assert "!join_cluster 127.0.0.1:2254" in person.type("!start_cluster")
    person.type("!start_cluster 127.0.0.1:0", "!start_cluster 10.0.0.1 99")
    assert person.node.listening == [(None, None), ("127.0.0.1", 0), ("10.0.0.1", 99)]


def test_tell_keeps_the_text(person: Person) -> None:
    """The text of !tell is the rest of the line, blanks and all; each delivery is told."""
    said = person.type("!tell beta  hello   there ")
    assert person.node.mesh.told == [("beta", "hello   there")]
    assert "beta: arrived" in said
    assert "gamma: not delivered: it is down" in said


def test_leave_forget_mesh(person: Person) -> None:
    """The rest of the cluster's commands reach the mesh, and its mistakes are told."""
    assert "left the cluster" in person.type("!leave_cluster")
    person.type("!forget beta")
    assert person.node.mesh.forgotten == ["beta"]
    assert answer(person, "!mesh") == {
        "names": ["alpha", "beta"],
        "rows": [["self", "linked"], ["unknown", "unknown"]],
    }
    person.node.mesh.forget = lambda target: (_ for _ in ()).throw(CommandError(f"there is no node {target}"))
    assert person.type("!forget x") == "error: there is no node x\n>>> "


def test_events(person: Person) -> None:
    """!events shows the last N, 20 unless said."""
    assert "nothing has happened" in person.type("!events")
    for number in range(30):
        person.node.events.add("node-up", f"n{number}", "\x1b[31mred")
    assert len(answer(person, "!events")["events"]) == 20
    assert [event["subject"] for event in answer(person, "!events 2")["events"]] == ["n28", "n29"]
    assert "\x1b" not in person.type("!events")


def test_following_events(person: Person) -> None:
    """!events --follow shows what happens until it is stopped, lets go of it then, and keeps up with JSON."""
    assert ">>> " not in person.type("!events --follow")
    person.node.events.add("node-up", "n1", "here")
    person.node.events.add("node-down", "n2", "gone")
    seen = person.read()
    assert "n1" in seen
    assert "gone" in seen
    assert person.type("!stop").endswith(">>> ")
    person.node.events.add("node-up", "n3")
    assert person.read() == ""
    person.type("!events 1 --follow --json")
    person.node.events.add("node-up", "n4")
    [event] = json.loads(person.read())["events"]
    assert (event["kind"], event["subject"]) == ("node-up", "n4")
    person.session.end()
    person.node.events.add("node-up", "n5")
    assert person.node.events._followers == []
    assert "type: !events" in Person(person.node).type("!events 1 2")


def test_history(person: Person) -> None:
    """!history numbers what was typed, itself included."""
    person.type("inc $0", "", "!members")
    assert answer(person, "!history")["lines"] == ["inc $0", "!members", "!history --json"]


def test_names_from_peers_cannot_drive_a_terminal(person: Person) -> None:
    """What other nodes choose is shown escaped, to people and in JSON, where it stays the same text."""
    evil = "a\x1b[2J\x9b31m\u202e\x7f"
    person.node.mesh.me = msgspec.structs.replace(person.node.mesh.me, alias=evil)
    shown = person.type("!members")
    assert all(c.isprintable() or c == "\n" for c in shown)
    shown = person.type("!members --json")
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert answer(person, "!members")["members"][0]["alias"] == evil


def test_visible() -> None:
    """Escaping leaves printable text alone and JSON the same document."""
    assert visible("plain ✓ text\n\tof lines") == "plain ✓ text\n\tof lines"
    document = msgspec.json.encode({"a": "x\x7f\x85\U000e0001✓"}).decode()
    assert visible_json(document).isprintable()
    assert msgspec.json.decode(visible_json(document)) == msgspec.json.decode(document)


@pytest.mark.parametrize("typed", ["!join_with {}", "!JOIN_WITH\t{}", "  !join_with   {} --json"])
def test_a_token_is_not_remembered(person: Person, typed: str) -> None:
    """What is typed behind !join_with is in no history, however it is typed."""
    person.node.mesh.joining.callback([])
    person.type(typed.format(TOKEN), "!members")
    lines = answer(person, "!history")["lines"]
    assert [line.casefold().split() for line in lines] == [
        ["!join_with", "..."],
        ["!members"],
        ["!history", "--json"],
    ]
    for mistyped in ("!join_wiht {}", "{}", "join_with {}", "iridium join --token {}", "!{}"):
        person.type(mistyped.format(TOKEN))
    assert TOKEN not in person.type("!history")


def test_a_token_is_not_logged(
    person: Person, monkeypatch: pytest.MonkeyPatch, logged_failures: list[str]
) -> None:
    """Nor is it in the log, where a bug of ours ends the command."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(person.node, "join_with", lambda token: fail(ZeroDivisionError("a bug")))
    globalLogPublisher.addObserver(said.append)
    assert "a bug of Iridium" in person.type(f"!join_with {TOKEN}")
    globalLogPublisher.removeObserver(said.append)
    assert said[0]["line"] == "!join_with ..."
    assert TOKEN not in str(said)
    logged_failures.clear()


def test_what_a_token_says(person: Person) -> None:
    """A person gets the token alone on a line, to copy, and what to do with it; a tool its time."""
    token, then = person.type("!token").splitlines()[:2]
    assert parse_token(token)
    assert "10 minutes" in then
    assert "iridium join --token" in then
    assert answer(person, "!token node.example")["seconds"] == 600


def test_stats(person: Person) -> None:
    """What `!stats` tells: of the machine what it has done, of the node what runs programs."""
    person.type("load $0 #1", "inc $0")
    told = answer(person, "!stats")
    assert told["machine"] == {
        "tier": "reference",
        "instructions": 2,
        "turns": 2,
        "compile_seconds": None,
        "from_cache": False,
        "running": False,
    }
    del told["machine"], told["resources"]
    assert told == {
        "engine": "reference",
        "llvm": False,
        "problem": None,
        "threads": 2,
        "programs": 0,
        "workers": [],
        "processes": {
            "alive": 1,
            "dead_letters": 0,
            "overruns": 0,
            "unread": 0,
            "lost": 0,
            "false_images": 0,
            "nodes": [],
        },
        "rate": None,
        "loading": False,
        "load_seconds": None,
        "built": False,
    }
    words = person.type("!stats")
    assert re.search(r"^instructions +2$", words, re.MULTILINE)
    assert re.search(r"^LLVM +not loaded$", words, re.MULTILINE)


def test_stats_of_what_the_node_takes(person: Person) -> None:
    """`!stats` tells what should be level over days: memory, descriptors, threads, delayed calls, tables."""
    person.node.in_use.update({"half-open": lambda: 3, "sessions": lambda: 4})
    calls = len(person.node.reactor.getDelayedCalls())
    told = answer(person, "!stats")["resources"]
    assert told["delayed_calls"] - calls in (0, 1)  # the command itself may wait for a turn
    assert (told["peers"], told["half_open"], told["sessions"]) == (1, 3, 4)
    before = told["events"]
    person.node.events.add("text", "beta", "hello")
    later = person.node.reactor.callLater(9, lambda: None)
    again = answer(person, "!stats")["resources"]
    assert (again["events"], again["delayed_calls"]) == (before + 1, told["delayed_calls"] + 1)
    later.cancel()
    assert told["memory"] > 10_000_000
    assert told["descriptors"] >= 3
    assert told["threads"] >= 1
    words = person.type("!stats")
    assert re.search(r"^memory +\d+\.\d MB resident$", words, re.MULTILINE)
    assert re.search(r"^open +\d+ descriptors, \d+ threads, \d+ delayed calls$", words, re.MULTILINE)
    assert re.search(r"^held +1 peers, 3 connections in a handshake, 4 sessions, \d+ events$", words, re.MULTILINE)


def test_stats_where_the_system_does_not_tell() -> None:
    """What is not known is said to be so, not taken for nothing."""
    rows = dict(ResourceStats(None, None, None, 1, 2, 3, 4, 5).rows())
    assert rows["memory"] == "unknown"
    assert rows["open"] == "? descriptors, ? threads, 1 delayed calls"


def test_stats_of_what_runs(person: Person) -> None:
    """`!stats` answers while a program runs: that is when somebody wants to know."""
    person.type(*ENDLESS, rounds=3)
    told = answer(person, "!stats")
    assert told["machine"]["running"]
    assert told["programs"] == 1
    assert ", running" in person.type("!stats", rounds=3)
    person.type("!stop")


def test_stats_in_words() -> None:
    """Compile time, workers and a problem are told where there are any."""
    machine = MachineStats("compiled", 5, 6, 0.0123, True, False)
    processes = ProcessStats(3, 4, 5, 6, 7, 8, [Exchange("beta", 1, 2, 3, 4, 5, 6, 7)])
    text = Stats("auto", False, "no llvmlite", 2, 1, machine, [WorkerStats(7, 8)], processes).text()
    assert re.search(r"^compile time +12.3 ms, from the cache$", text, re.MULTILINE)
    assert re.search(r"^LLVM +no llvmlite$", text, re.MULTILINE)
    assert re.search(r"^worker 0 +7 turns, 8 instructions$", text, re.MULTILINE)
    assert re.search(
        r"^messages +4 to nobody, 5 to full mailboxes, 6 unread when .*, 7 not yet sent when a node", text, re.M
    )
    assert re.search(r"^images +8 not what their hash says$", text, re.M)
    assert re.search(
        r"^node beta +1 payloads sent, .* 5 not known to have arrived; 6 messages refused, 7 pids unknown$",
        text,
        re.M,
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            (True, None, False),
            "being loaded, and hot programs wait; where nothing is cached, that takes a second or ",
        ),
        ((False, 0.12, False), "loaded in 0.1 s\n"),
        ((False, 1.26, True), "loaded in 1.3 s, in which the interpreter was built\n"),
    ],
)
def test_stats_of_loading(fields: tuple[bool, float | None, bool], said: str) -> None:
    """Whoever sees a hot program stand still learns that it waits for machine code, and for how long it has."""
    machine = MachineStats("reference", 5, 6, None, False, True)
    stats = Stats("auto", not fields[0], None, 2, 1, machine, [], ProcessStats(1, 0, 0, 0, 0, 0, []), *fields)
    assert said in f"{stats.text()}\n"


def test_stats_of_messages(person: Person) -> None:
    """Messages that came to nothing are counted where people look."""
    person.type("load $1 #99", "send $1 $2")
    assert answer(person, "!stats")["processes"]["dead_letters"] == 1
