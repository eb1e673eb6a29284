"""The ``iridium`` command as far as it is about programs: run, assemble, disassemble, and how commands are found.

Most tests call the command in this process; the last section starts real ones, for what only a process has.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import iridium.cli.running as running_module
from iridium import __version__
from iridium.cli.group import iridium
from iridium.cli.report import Transcript, register_listing
from iridium.cli.running import FIRST_TURN, SHORTEST_TURN, TURN, execute
from iridium.cli.start import COMMANDS, Entry, plain_run
from iridium.cli.status import of_stop_code
from iridium.image import Image, parse
from iridium.isa import INSTRUCTIONS
from iridium.vm import VM, Program, Stop, reference
from iridium.vm.output import CAPACITY
from iridium.vm.reference import Turn

E = {row.name: row.encode for row in INSTRUCTIONS}
START = 68

HELLO = """\
.data
text: .asciiz 'Hello, wörld!\\n'
.code
prts @text
load $1 #7
hltr $1
"""

CRASH = """\
.data
text: .asciiz 'so far'
.code
    prts @text
    load $1 #5
    div $1 $2 $3        ; line 6
    hlt
"""

PRINTS_FOR_EVER = E["PRTI"](1) + E["INC"](1) + E["DJMPN"](START)
LOOPS_FOR_EVER = E["INC"](1) + E["DJMPN"](START)


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    """A file in the test's directory."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def image(code: bytes, read_only: bytes = b"") -> bytes:
    """The bytes of an image of these instructions."""
    return Image(code, read_only, version=1).to_bytes()


def call(*arguments: str, stdin: bytes = b"", charset: str = "utf-8") -> Result:
    """The command with these arguments; what it raises, but its exit, is the test's failure."""
    result = CliRunner(charset=charset).invoke(iridium, arguments, input=stdin, prog_name="iridium")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def document(*arguments: str) -> dict[str, Any]:
    """What ``run --json`` prints, which must be one JSON document and a newline."""
    result = call("run", "--json", *arguments)
    assert result.stdout.count("\n") == 1
    decoded = json.loads(result.stdout)
    assert isinstance(decoded, dict)
    return decoded


# Running.


def test_run_source() -> None:
    """Protects the plainest use: a source's output on stdout, its stop code as exit status, stderr empty."""
    result = call("run", write("hello.iasm", HELLO))
    assert (result.stdout, result.stderr, result.exit_code) == ("Hello, wörld!\n", "", 7)


def test_run_image() -> None:
    """Protects that an image is known by its content, whatever its name says."""
    call("assemble", write("hello.iasm", HELLO), "-o", "renamed.iasm")
    result = call("run", "renamed.iasm")
    assert (result.stdout, result.stderr, result.exit_code) == ("Hello, wörld!\n", "", 7)


@pytest.mark.parametrize(
    "content", [HELLO.encode(), image(E["PRTS"](0) + E["HLT"](), b"Hello, w\xc3\xb6rld!\n\0")]
)
def test_run_from_standard_input(content: bytes) -> None:
    """Protects ``-``: source or image, from a pipe."""
    assert call("run", "-", stdin=content).stdout == "Hello, wörld!\n"
    assert call("-", stdin=content).stdout == "Hello, wörld!\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, 0), (1, 1), (255, 255), (256, 1), (257, 1), (300, 44), (512, 1), (-1, 255), (-256, 1), (-(2**31), 1)],
)
def test_stop_code_becomes_the_exit_status(code: int, status: int) -> None:
    """Protects scripts: the code modulo 256, but a code that is not 0 is never success."""
    high, low = code >> 16 & 0xFFFF, code & 0xFFFF
    result = call("run", write("p.ir", image(E["LOAD"](1, high) + E["LUI"](1, low) + E["HLTR"](1))))
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", "")
    assert of_stop_code(code) == status


def test_fault_names_the_line() -> None:
    """Protects the message of a crash: what was printed stays, then one message with file, line, pc, kind."""
    result = call("run", write("crash.iasm", CRASH))
    assert (result.exit_code, result.stdout) == (70, "so far")
    assert result.stderr == ("crash.iasm:6: fault: division-by-zero at pc 83: DIV divides 5 by $2, which is 0\n")


def test_fault_in_an_image_names_what_the_image_knows() -> None:
    """Protects the same for images: with a line table the source's line, without one the image and the pc."""
    source = write("crash.iasm", CRASH)
    call("assemble", source, "-o", "plain.ir")
    call("assemble", "-g", source, "-o", "lines.ir")
    assert call("run", "lines.ir").stderr.startswith("crash.iasm:6: fault: division-by-zero at pc 83: ")
    assert call("run", "plain.ir").stderr.startswith("plain.ir: fault: division-by-zero at pc 83: ")
    assert call("run", "-", stdin=CRASH.encode()).stderr.startswith("<stdin>:6: fault: ")


@pytest.mark.parametrize("options", [[], ["--json"], ["--registers"]])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b".code\nlaod $1 #1\nload $32 #1\n", ["p:2:1: error", "p:3:6: error", "^"]),
        (b"", ["p:1:1: error"]),
        (b".code\n\xff", ["p:2:1: error", "UTF-8"]),
        (b"\x7fELF\0\xff", ["p:1:6: error: that is a binary file", "\n    \\x7fELF\\x00", f"\n{15 * ' '}^\n"]),
        (b"EPIE", ["p: not an Iridium image: header"]),
        (image(b"") + b"\x01", ["p: not an Iridium image: line table"]),
        (b"EPIE\x02" + bytes(63), ["p: not an Iridium image: version"]),
    ],
    ids=["mistakes", "empty", "not text", "binary", "short image", "trailing bytes", "newer image"],
)
def test_a_wrong_program(content: bytes, words: list[str], options: list[str]) -> None:
    """Protects 65: stdout stays empty, whatever was asked for, and stderr says what is wrong and where."""
    result = call("run", *options, write("p", content))
    assert (result.exit_code, result.stdout) == (65, "")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", ["run", "assemble", "disassemble"])
def test_a_file_that_cannot_be_opened(command: str) -> None:
    """Protects 66: a missing file and a directory are told by name and reason."""
    Path("somewhere").mkdir()
    for name, reason in [("missing.iasm", "No such file"), ("somewhere", "Is a directory")]:
        result = call(command, name)
        assert (result.exit_code, result.stdout) == (66, "")
        assert result.stderr.startswith(f"{name}: cannot open: {reason}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission() -> None:
    """Protects 66 for a file of somebody else's."""
    os.chmod(write("secret.iasm", HELLO), 0)
    assert call("run", "secret.iasm").exit_code == 66


def test_a_read_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects against a traceback when the file opens but its disk, or its permissions, fail."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    result = call("run", "secret.iasm")
    assert (result.exit_code, result.stdout) == (66, "")


def test_an_endless_file_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects memory from a file that has no end."""
    monkeypatch.setattr("iridium.cli.streams.LARGEST_FILE", 1 << 21)
    result = call("run", "/dev/zero")
    assert (result.exit_code, result.stdout) == (65, "")
    assert "larger than" in result.stderr


def test_limit_is_exact() -> None:
    """Protects --limit: that many instructions and not one more, across the border of turns too."""
    write("p.ir", image(LOOPS_FOR_EVER))
    for limit in (0, 1, 2, 7, FIRST_TURN - 1, FIRST_TURN, FIRST_TURN + 1, 20_000, 1_000_003):
        told = document("p.ir", "--limit", str(limit))
        assert (told["status"], told["reason"], told["code"]) == ("limit", "instructions", None)
        assert told["instructions"] == limit
        assert told["registers"][1] == (limit + 1) // 2
        assert told["pc"] == START + 4 * (limit % 2)


def test_limit_tells_how_far_the_program_came() -> None:
    """Protects the message: which limit, after how many instructions, where."""
    write("p.ir", image(LOOPS_FOR_EVER))
    result = call("run", "--limit", "1001", "p.ir")
    assert (result.exit_code, result.stdout) == (75, "")
    assert result.stderr == "p.ir: stopped by --limit after 1001 instructions, at pc 72\n"
    assert "after 1 instruction," in call("run", "--limit", "1", "p.ir").stderr


def test_a_program_that_ends_within_its_limit() -> None:
    """Protects the last instruction of the limit: if it halts, the program has halted."""
    write("p.ir", image(E["NOP"]() + E["HLT"]()))
    assert call("run", "--limit", "2", "p.ir").exit_code == 0
    assert call("run", "--limit", "1", "p.ir").exit_code == 75
    write("p.ir", image(E["NOP"]() + E["POP"](1)))
    assert call("run", "--limit", "2", "p.ir").exit_code == 70
    assert call("run", "--limit", "1", "p.ir").exit_code == 75


def test_timeout_is_judged_by_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects --timeout: the first turn that ends after its time is the last, whatever the date does."""
    now = itertools.count(0, TURN / 2)  # a turn takes half of what it should, and so does writing
    monkeypatch.setattr(running_module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    write("p.ir", image(LOOPS_FOR_EVER))
    result = call("run", "p.ir", "--engine", "reference", "--timeout", str(2.4 * TURN))
    assert (result.exit_code, result.stdout) == (75, "")
    assert result.stderr == f"p.ir: stopped by --timeout after {3 * FIRST_TURN} instructions, at pc 68\n"
    told = document("p.ir", "--engine", "reference", "--timeout", "0.001")
    assert (told["status"], told["reason"], told["instructions"]) == ("limit", "time", FIRST_TURN)


@pytest.mark.parametrize(
    ("each", "most"),
    [(1e-9, 4 * TURN), (1e-6, 2 * TURN), (1e-4, 4 * SHORTEST_TURN * 1e-4)],
    ids=["machine code", "plain Python", "long strings"],
)
def test_turns_are_as_long_as_they_should_be(monkeypatch: pytest.MonkeyPatch, each: float, most: float) -> None:
    """Protects output and --timeout with engines of any speed: after a few turns, each takes some milliseconds."""
    now = [0.0]
    took: list[float] = []

    def engine(vm: VM, budget: int) -> Turn:
        now[0] += budget * each
        took.append(budget * each)
        vm.record.instructions += budget
        return Turn(Stop.BUDGET, 0)

    monkeypatch.setattr(running_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    vm = VM(Program(Image(LOOPS_FOR_EVER, version=1)))
    assert execute(vm, engine, lambda text: None, None, 1.0) == "time"
    assert TURN / 4 < max(took[15:]) <= most


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "p.ir", "more"],
        ["run", "p.ir", "--limit", "-1"],
        ["run", "p.ir", "--limit", "1.5"],
        ["run", "p.ir", "--limit"],
        ["run", "p.ir", "--timeout", "0"],
        ["run", "p.ir", "--timeout", "-1"],
        ["run", "p.ir", "--timeout", "nan"],
        ["run", "p.ir", "--timeout", "inf"],
        ["run", "p.ir", "--timeout", "soon"],
        ["run", "p.ir", "--frobnicate"],
        ["--frobnicate"],
        ["assemble"],
        ["disassemble"],
    ],
    ids=" ".join,
)
def test_wrong_use(arguments: list[str]) -> None:
    """Protects 2 for a wrong command line, told before anything runs."""
    write("p.ir", image(PRINTS_FOR_EVER))
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_output_longer_than_the_ring() -> None:
    """Protects a program that waits for room: it goes on once its output is written, and loses none of it."""
    count = 3 * CAPACITY + 7
    write(
        "p.ir",
        image(E["LOAD"](2, count) + E["PRTC"](1) + E["INC"](3) + E["NEQ"](3, 2) + E["DJMPE"](72) + E["HLT"]()),
    )
    result = call("run", "p.ir")
    assert (result.exit_code, len(result.stdout), set(result.stdout)) == (0, count, {"\0"})
    assert document("p.ir")["instructions"] == 2 + 4 * count


def test_output_is_written_after_every_turn() -> None:
    """Protects whoever watches: what a turn printed is written before the next begins."""
    vm = VM(Program(Image(PRINTS_FOR_EVER, version=1)))
    seen: list[int] = []

    def seen_at(text: str) -> None:
        seen.append(vm.record.instructions)

    assert execute(vm, reference.run, seen_at, 20_000, None) == "instructions"
    assert seen[0] == FIRST_TURN
    assert seen[-1] == 20_000


def test_output_that_the_terminal_cannot_show() -> None:
    """Protects against a crash over a character: it shows as a question mark, and the program goes on."""
    result = call("run", write("hello.iasm", HELLO), charset="ascii")
    assert (result.stdout, result.exit_code) == ("Hello, w?rld!\n", 7)


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects 130 without a traceback, and without click's word about it."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running_module, "execute", interrupted)
    result = call("run", write("hello.iasm", HELLO))
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


# Reports.


def test_json_of_a_program_that_halted() -> None:
    """Protects the document that tools read, field by field."""
    write(
        "p.iasm", ".code\nload $1 #7\nload $2 #2\ndiv $1 $2 $31\neq $1 $1\ncloop #5\nloadf64 $3 #-0.5\nhltr $1\n"
    )
    result = call("run", "--json", "p.iasm")
    assert (result.exit_code, result.stderr) == (7, "")
    told = json.loads(result.stdout)
    registers = [0] * 32
    registers[1], registers[2], registers[31] = 7, 2, 3
    floats = [0.0] * 32
    floats[3] = -0.5
    assert list(told.items()) == [
        ("status", "halted"),
        ("reason", None),
        ("code", 7),
        ("fault", None),
        ("instructions", 7),
        ("pc", START + 8 + 7 * 4),  # the constant -0.5 stands before the code
        ("registers", registers),
        ("float_registers", floats),
        ("equal_flag", True),
        ("remainder", 1),
        ("loop_counter", 5),
        ("output", ""),
        ("truncated", False),
    ]


def test_json_of_a_program_that_crashed() -> None:
    """Protects the document of a fault, and that stderr and exit status are as without --json."""
    result = call("run", "--json", write("crash.iasm", CRASH))
    told = json.loads(result.stdout)
    assert (told["status"], told["code"], told["reason"]) == ("fault", None, None)
    assert told["fault"] == {
        "kind": "division-by-zero",
        "pc": 83,
        "line": 6,
        "message": "DIV divides 5 by $2, which is 0",
    }
    assert (told["output"], told["pc"], told["instructions"], told["equal_flag"]) == ("so far", 83, 2, False)
    assert result.exit_code == 70
    assert result.stderr == call("run", "crash.iasm").stderr


def test_json_of_a_fault_without_a_line() -> None:
    """Protects the null where an image does not know its lines."""
    assert document(write("p.ir", image(E["POP"](1))))["fault"]["line"] is None


def test_json_of_floats_that_json_does_not_have() -> None:
    """Protects readers in other languages: infinities and NaN are strings, -0.0 keeps its sign."""
    code = E["LOADF64"](1, 1) + E["DIVF64"](1, 0, 2) + E["SUBF64"](0, 2, 3) + E["DIVF64"](0, 0, 4)
    told = document(write("p.ir", image(code + E["DIVF64"](0, 3, 5) + E["HLT"]())))
    assert told["float_registers"][1:5] == [1.0, "inf", "-inf", "nan"]
    assert str(told["float_registers"][5]) == "-0.0"


@pytest.mark.parametrize("extra", [0, 1])
def test_json_output_is_bounded(extra: int) -> None:
    """Protects memory and readers: at most 1 MiB of output, and a flag that says whether that was all."""
    text = "0123456789abcde\n"  # 2**16 of these are 1 MiB
    code = E["LOAD"](2, 1) + E["LUI"](2, 0)
    code += E["PRTS"](0) + E["INC"](1) + E["NEQ"](1, 2) + E["DJMPE"](START + 17 + 8)
    code += E["PRTS"](16 - extra) + E["HLT"]()  # the empty string, or the last newline once more
    told = document(write("p.ir", image(code, text.encode() + b"\0")))
    assert told["status"] == "halted"
    assert told["output"] == text * (1 << 16)
    assert told["truncated"] == bool(extra)


def test_json_memory_is_bounded_for_a_program_that_prints_for_ever() -> None:
    """Protects the machine: what is beyond the bound is not kept, and the program runs to its limit."""
    read_only = b"x" * 65536 + b"\0"
    code = E["PRTS"](0) + E["DJMPN"](START + len(read_only))
    told = document(write("p.ir", image(code, read_only)), "--limit", "1000")
    assert (told["instructions"], told["truncated"]) == (1000, True)
    assert told["output"] == "x" * (1 << 20)


def test_transcript_is_cut_at_a_character() -> None:
    """Protects the text: what is kept is whole characters, and nothing follows the cut."""
    transcript = Transcript()
    transcript.write("x" * (Transcript.LIMIT - 2))
    assert not transcript.truncated
    transcript.write("€")
    assert transcript.truncated
    transcript.write("y")
    assert transcript.text == "x" * (Transcript.LIMIT - 2)


def test_transcript_that_is_just_full() -> None:
    """Protects the flag: full to the last byte is not truncated, and empty text after it is none."""
    transcript = Transcript()
    transcript.write("x" * (Transcript.LIMIT - 3) + "€")
    transcript.write("")
    assert not transcript.truncated
    transcript.write("y")
    assert transcript.truncated
    assert transcript.text.endswith("x€")


def test_registers_for_a_person() -> None:
    """Protects --registers: after the output, on lines of their own, aligned, with flags and pc."""
    write("p.iasm", ".code\nload $1 #-70000\nload $17 #42\nprti $17\nloadf64 $2 #3\neq $0 $0\nhlt\n")
    result = call("run", "--registers", "p.iasm")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr, lines[0], len(lines)) == (0, "", "42", 1 + 1 + 16 + 1)
    assert {len(line) for line in lines[1:18]} == {len(lines[1])}
    assert lines[3].split() == ["$1", "-70000", "0.0", "$17", "42", "0.0"]
    assert lines[4].split()[:3] == ["$2", "0", "3.0"]
    assert lines[-1] == "pc 96  equal_flag true  remainder 0  loop_counter 0  instructions 7"


def test_registers_of_a_program_that_crashed() -> None:
    """Protects the registers where they are wanted most."""
    result = call("run", "--registers", write("crash.iasm", CRASH))
    assert result.exit_code == 70
    assert "pc 83  equal_flag false" in result.stdout
    assert result.stderr.startswith("crash.iasm:6: fault")


def test_registers_on_a_terminal() -> None:
    """Protects the table that a terminal gets: every register and its value are in it."""
    vm = VM(Program(Image(E["HLT"]())))
    vm.record.registers[31] = -123
    text = register_listing(vm, rich=True)
    assert "$31" in text
    assert "-123" in text
    assert text.splitlines()[-1].startswith("pc 68  ")


# Assembling and listing.


def test_assemble_beside_the_source() -> None:
    """Protects the default: the source's name with the suffix .ir, told on stderr, stdout empty."""
    Path("deep.er").mkdir()
    result = call("assemble", write("deep.er/hello.iasm", HELLO))
    assert (result.exit_code, result.stdout) == (0, "")
    content = Path("deep.er/hello.ir").read_bytes()
    assert result.stderr == (
        f"wrote deep.er/hello.ir: {len(content)} bytes, 3 instructions, 16 bytes of read-only data, version 1\n"
    )
    assert parse(content).lines is None
    assert sorted(os.listdir("deep.er")) == ["hello.iasm", "hello.ir"]


def test_assemble_with_lines() -> None:
    """Protects -g: the image names the source and the line of each instruction."""
    call("assemble", "-g", write("hello.iasm", HELLO))
    lines = parse(Path("hello.ir").read_bytes()).lines
    assert lines is not None
    assert (lines.file, lines.lines) == ("hello.iasm", (4, 5, 6))


def test_assemble_to_standard_output() -> None:
    """Protects pipes: -o - gives the image's bytes and nothing else."""
    result = call("assemble", "-", "-o", "-", stdin=HELLO.encode())
    assert result.exit_code == 0
    assert parse(result.stdout_bytes).read_only == "Hello, wörld!\n\0".encode()
    assert result.stderr.startswith("wrote standard output: ")


def test_assemble_standard_input_needs_a_name() -> None:
    """Protects against a file named after nothing."""
    result = call("assemble", "-", stdin=HELLO.encode())
    assert (result.exit_code, os.listdir(".")) == (2, [])
    assert "-o" in result.stderr


@pytest.mark.parametrize("arguments", [["hello.ir"], ["hello.ir", "-o", "./hello.ir"], ["hello.ir", "-o", "link"]])
def test_assemble_never_overwrites_its_source(arguments: list[str]) -> None:
    """Protects a source whose name ends as an image's does."""
    write("hello.ir", HELLO)
    os.symlink("hello.ir", "link")
    result = call("assemble", *arguments)
    assert result.exit_code == 2
    assert "overwrite" in result.stderr
    assert Path("hello.ir").read_text() == HELLO


def test_assemble_an_image() -> None:
    """Protects against assembling what is assembled."""
    result = call("assemble", write("p.bin", image(b"")))
    assert (result.exit_code, result.stdout) == (65, "")
    assert "already" in result.stderr
    assert not Path("p.ir").exists()


def test_assemble_a_wrong_source_leaves_the_old_image() -> None:
    """Protects the image of yesterday from the mistake of today."""
    write("p.ir", b"old")
    result = call("assemble", write("p.iasm", ".code\nnonsense\n"))
    assert (result.exit_code, result.stdout) == (65, "")
    assert "p.iasm:2:1: error" in result.stderr
    assert Path("p.ir").read_bytes() == b"old"


def test_assemble_writes_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the old image from a full disk: it stays, and no draft is left beside it."""
    write("p.ir", b"old")
    write("p.iasm", HELLO)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = call("assemble", "p.iasm")
    assert (result.exit_code, result.stdout) == (73, "")
    assert result.stderr == "p.ir: cannot write: No space left on device\n"
    assert Path("p.ir").read_bytes() == b"old"
    assert sorted(os.listdir(".")) == ["p.iasm", "p.ir"]


def test_assemble_into_a_directory_that_is_not_there() -> None:
    """Protects against a traceback for a mistyped path."""
    result = call("assemble", write("p.iasm", HELLO), "-o", "no/such/p.ir")
    assert result.exit_code == 73
    assert result.stderr.startswith("no/such/p.ir: cannot write: No such file")


def test_assemble_over_an_existing_image() -> None:
    """Protects what a path is besides its bytes: its mode, and the link that leads to it."""
    os.chmod(write("real.ir", b"old"), 0o640)
    os.symlink("real.ir", "link.ir")
    assert call("assemble", write("p.iasm", HELLO), "-o", "link.ir").exit_code == 0
    assert Path("link.ir").is_symlink()
    assert parse(Path("real.ir").read_bytes())
    assert stat.S_IMODE(os.stat("real.ir").st_mode) == 0o640


def test_assemble_to_a_device() -> None:
    """Protects /dev/null from becoming a file."""
    assert call("assemble", write("p.iasm", HELLO), "-o", os.devnull).exit_code == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_disassemble_gives_the_image_back() -> None:
    """Protects the listing on stdout: assembled again it is the same image, line table or not."""
    call("assemble", write("hello.iasm", HELLO))
    result = call("disassemble", "hello.ir")
    assert (result.exit_code, result.stderr) == (0, "")
    assert call("assemble", write("again.iasm", result.stdout)).exit_code == 0
    assert Path("again.ir").read_bytes() == Path("hello.ir").read_bytes()
    assert call("disassemble", "-", stdin=Path("hello.ir").read_bytes()).stdout == result.stdout


def test_disassemble_what_is_no_image() -> None:
    """Protects 65 with stdout empty."""
    result = call("disassemble", write("hello.iasm", HELLO))
    assert (result.exit_code, result.stdout) == (65, "")
    assert result.stderr.startswith("hello.iasm: not an Iridium image: magic")


# How a command is found.


@pytest.mark.parametrize(
    "arguments",
    [["p.iasm"], ["--", "p.iasm"], ["--limit", "9", "p.iasm"], ["p.iasm", "--limit", "9"], ["./p.iasm"]],
    ids=" ".join,
)
def test_a_program_in_place_of_a_command_runs(arguments: list[str]) -> None:
    """Protects `iridium PROGRAM`, with options on either side."""
    write("p.iasm", HELLO)
    result = call(*arguments)
    assert (result.stdout, result.exit_code) == ("Hello, wörld!\n", 7)


def test_json_before_the_program() -> None:
    """Protects `iridium --json PROGRAM`."""
    assert json.loads(call("--json", write("p.iasm", HELLO)).stdout)["code"] == 7


def test_a_program_named_as_a_command() -> None:
    """Protects the command from a file of its name; the file runs by its path."""
    write("assemble", HELLO)
    assert call("assemble").exit_code == 2
    assert call("./assemble").exit_code == 7
    assert call("run", "assemble").exit_code == 7


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["assembel", "p.iasm"], "`iridium assemble`"),
        (["jion", "host:1"], "`iridium join`"),
        (["memebrs"], "`iridium members`"),
        (["quux", "--help"], "`iridium --help`"),
        ([""], "`iridium --help`"),
    ],
)
def test_a_mistyped_command(arguments: list[str], meant: str) -> None:
    """Protects whoever mistypes: told that it is neither command nor file, and what is near it."""
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (66, "")
    assert f"`{arguments[0]}` is neither a command nor a file" in result.stderr
    assert meant in result.stderr


def test_no_arguments_is_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects `iridium` alone, and that a command is found by its entry in the table."""

    @click.command()
    def repl() -> None:
        click.echo("the shell")

    module = ModuleType("a_shell")
    module.repl = repl  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_shell", module)
    monkeypatch.setitem(COMMANDS, "repl", Entry("a_shell:repl", "what help says"))
    assert call().stdout == call("repl").stdout == "the shell\n"
    assert "what help says" in call("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["run", "p.iasm"], "p.iasm"),
        (["run", "missing"], "missing"),
        (["run", "-"], "-"),
        (["run", "run"], "run"),
        (["p.iasm"], "p.iasm"),
        (["run", "-x"], None),
        (["run", "--help"], None),
        (["run", "p.iasm", "--json"], None),
        (["p.iasm", "--json"], None),
        (["p.iasm", "p.iasm"], None),
        (["missing"], None),
        (["members"], None),
        (["--version"], None),
        (["run"], None),
        ([], None),
    ],
)
def test_a_plain_run(arguments: list[str], program: str | None) -> None:
    """Protects the short way of a run: it takes what click would run the same, and leaves all else to click."""
    write("p.iasm", HELLO)
    write("members", HELLO)
    assert plain_run(arguments) == program


def test_version() -> None:
    """Protects --version."""
    assert call("--version").stdout == f"iridium {__version__}\n"


def test_help_of_the_commands() -> None:
    """Protects the help: the group lists every command, each command says what it takes."""
    listed = call("--help").stdout
    for name in ("run", "assemble", "disassemble", "repl", "join", "members", "leave"):
        assert f"\n  {name} " in listed
    for option in ("--json", "--registers", "--limit", "--timeout"):
        assert option in call("run", "--help").stdout
    assert "-g" in call("assemble", "--help").stdout
    assert call("disassemble", "--help").exit_code == 0


# Real processes.

SLOW = (
    "twisted", "llvmlite", "click", "rich", "json", "msgspec", "asyncio",
    "difflib", "inspect", "dataclasses", "hashlib",
)  # fmt: skip
"""What a plain run never needs."""

ROOT = str(Path(__file__).parents[1])


def command(*arguments: str, code: str = "from iridium.cli import main; main()") -> list[str]:
    """A command line that starts the command of this tree, whatever directory it runs in."""
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {code}", *arguments]


ALTERING = ("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONUNBUFFERED")
"""Environment variables that change how Python writes text."""


def environment(**more: str) -> dict[str, str]:
    """This process's, without :data:`ALTERING`."""
    kept = {name: value for name, value in os.environ.items() if name not in ALTERING}
    return kept | more


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A process of the command, with pipes, that Ctrl-C reaches even if this one ignores it."""
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Its exit status and what it said on stderr."""
    with process:
        assert process.stderr is not None
        said = process.stderr.read()
        return process.wait(), said


@pytest.mark.processes
def test_process_runs_a_program_from_standard_input() -> None:
    """Protects the whole path of a real process: stdin, stdout, exit status."""
    done = subprocess.run(
        command("run", "-"), input=HELLO.encode(), capture_output=True, env=environment(PYTHONIOENCODING="utf-8")
    )
    assert (done.stdout.decode(), done.stderr, done.returncode) == ("Hello, wörld!\n", b"", 7)


@pytest.mark.processes
def test_process_with_a_wrong_source() -> None:
    """Protects scripts that read stdout: it stays empty, and there is no traceback."""
    done = subprocess.run(command("run", write("p.iasm", "nonsense")), capture_output=True, env=environment())
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.startswith(b"p.iasm:1:1: error: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.processes
def test_process_with_a_terminal_of_few_characters() -> None:
    """Protects the output from the encoding of a plain terminal."""
    done = subprocess.run(
        command("run", write("p.iasm", HELLO)), capture_output=True, env=environment(PYTHONIOENCODING="ascii")
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"Hello, w?rld!\n", b"", 7)


@pytest.mark.processes
def test_process_whose_reader_goes_away() -> None:
    """Protects `iridium run ... | head -1`: the process ends with SIGPIPE's status and says nothing."""
    process = start("run", write("p.ir", image(PRINTS_FOR_EVER)))
    assert process.stdout is not None
    assert process.stdout.read(5) == b"01234"
    process.stdout.close()
    assert finish(process) == (141, b"")


@pytest.mark.processes
def test_process_shows_output_at_once_and_ends_with_ctrl_c() -> None:
    """Protects a program that prints and then computes for long: its output is there, and Ctrl-C ends it."""
    code = E["PRTI"](0) + E["INC"](1) + E["DJMPN"](START + 4)
    process = start("run", write("p.ir", image(code)))
    assert process.stdout is not None
    assert process.stdout.read(1) == b"0"
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, b"")


@pytest.mark.processes
@pytest.mark.parametrize("module", ["iridium.cli.start", "contextlib", "iridium.cli.running", "iridium.vm"])
def test_process_ends_with_ctrl_c_while_it_starts(module: str) -> None:
    """Protects Ctrl-C at the very first: whatever is being imported, there is no traceback."""
    code = f"""
import sys
from iridium.cli import main
class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            raise KeyboardInterrupt
sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, Interrupt())
main()
"""
    write("p.iasm", HELLO)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{code}", "run", "p.iasm"],
        capture_output=True,
        env=environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.processes
def test_process_ends_with_ctrl_c_while_nobody_reads() -> None:
    """Protects Ctrl-C while the pipe is full: what could not be written does not hold the process up."""
    read_only = b"x" * 65535 + b"\n\0"
    process = start("run", write("p.ir", image(E["PRTS"](0) + E["DJMPN"](START + len(read_only)), read_only)))
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    process.stdout.close()
    assert finish(process) == (130, b"")


@pytest.mark.processes
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_process_whose_disk_is_full() -> None:
    """Protects against a traceback when stdout cannot be written."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("run", write("p.iasm", HELLO)), stdout=full, stderr=subprocess.PIPE, env=environment()
        )
    assert (done.returncode, done.stderr) == (
        74,
        b"iridium: cannot write standard output: No space left on device\n",
    )


@pytest.mark.processes
@pytest.mark.parametrize("name", ["p.ir", "p.iasm"])
def test_process_imports_only_what_a_run_needs(name: str) -> None:
    """Protects the start: a run imports nothing that only other commands or other output need."""
    write(name, image(E["HLT"]()) if name == "p.ir" else ".code\nhlt\n")
    code = (
        "import atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from iridium.cli import main; main()"
    )
    done = subprocess.run(command("run", name, code=code), capture_output=True, env=environment())
    assert done.returncode == 0
    imported = done.stderr.decode().split()
    assert "iridium.vm.reference" in imported
    unneeded = (*SLOW, "iridium.cli.report", "iridium.cli.cluster", "iridium.cli.shell")
    assert not [module for module in unneeded if module in imported]
    assert ("iridium.assembler" in imported) == (name == "p.iasm")


@pytest.mark.processes
def test_process_help_imports_no_command() -> None:
    """Protects the help from what the commands import."""
    code = (
        "import atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from iridium.cli import main; main()"
    )
    done = subprocess.run(command("--help", code=code), capture_output=True, env=environment())
    assert done.returncode == 0
    imported = set(done.stderr.decode().split())
    assert not imported & {"iridium.vm", "iridium.assembler", "twisted", "rich"}
    assert not imported & {entry.target.partition(":")[0] for entry in COMMANDS.values()}
