"""Application files: what they say, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridium.assembler import assemble
from iridium.errors import ApplicationError, CommandError
from iridium.image import parse
from iridium.supervision.application import BACKOFF, INTENSITY, PROGRAM, TOP, load
from iridium.supervision.types import EACH
from iridium.vm import VM, Stop, run
from iridium.vm import Program as VmProgram

SOURCE = b".code\nhlt\n"


def read(name: str) -> bytes:
    """The programs that there are."""
    files = {
        "ok.iasm": SOURCE,
        "wrong.iasm": b".code\nlaod $0 #1\nhlt\nhtl\n",
        "ok.ir": assemble(SOURCE.decode()).to_bytes(),
        "bad.ir": b"EPIE\x09",
    }
    if name not in files:
        raise CommandError(f"{name}: there is no such file")
    return files[name]


def mistakes(text: str | bytes) -> list[tuple[int, str]]:
    """Line and message of each."""
    with pytest.raises(ApplicationError) as caught:
        load(text if isinstance(text, bytes) else text.encode(), "app.toml", read)
    return [(d.line, d.message) for d in caught.value.diagnostics]


def test_everything() -> None:
    """Every setting arrives where it belongs."""
    package = load(
        b"""
name = "counter"

[programs.tick]
file = "ok.iasm"
replicas = "each"
restart = "transient"
intensity = { restarts = 3, period = 10 }
registered = "ticker"
registers = [1, -2]

[programs.tock]
file = "ok.ir"
replicas = 4
backoff.first = 0.5
backoff.most = 5

[programs.same]
file = "ok.ir"
""",
        "app.toml",
        read,
    )
    tick, tock, same = package.programs
    assert package.name == "counter"
    assert (tick.replicas, tick.restart, tick.restarts, tick.period) == (EACH, "transient", 3, 10.0)
    assert (tick.register, tick.registers) == ("ticker", (1, -2))
    assert (tock.replicas, tock.first, tock.most, tock.factor) == (4, 0.5, 5.0, 2.0)
    assert tock.image == same.image != tick.image
    assert set(package.images) == {tick.image, tock.image}


def test_all_mistakes_at_once() -> None:
    """Each setting that is wrong is told with its line, and so are the mistakes of the programs."""
    text = """\
name = "no blanks"
replicas = 3
[programs.a]
file = "wrong.iasm"
restarts = "always"
restart = "always"
[programs.b]
file = "missing.iasm"
intensity = { restart = 3, period = -1 }
[programs.c]
replicas = true
backoff.first = nan
[programs.d]
file = "bad.ir"
registered = "x"
replicas = 2
"""
    found = mistakes(text)
    assert [line for line, _ in found] == [1, 2, 5, 6, 8, 9, 9, 10, 11, 12, 14, 15, 2, 4]
    assert "name must be a name" in found[0][1]
    assert "there is no setting 'replicas' here" in found[1][1]
    assert 'restart must be "permanent"' in found[3][1]
    assert found[4][1] == "missing.iasm: there is no such file"
    assert found[7][1] == "the program 'c' has no file"


def test_suggestions() -> None:
    """A key that is nearly right is corrected."""
    with pytest.raises(ApplicationError, match="did you mean restart") as caught:
        load(b'name = "a"\n[programs.a]\nfile = "ok.ir"\n  restrat = 1\n', "app.toml", read)
    assert "app.toml:4:3: error:" in str(caught.value)
    assert "    ^^^^^^^" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("name = \n", 1),
        ('name = "a"\nx = [', 2),
        ('name = "a"\n\n= 3\n', 3),
        (b'name = "a"\n\xff', 2),
        ("name = " + "[" * 5000, 1),
        ("name = " + "9" * 5000, 1),
        ('name = "a"\n[programs]\n', 2),
        ('name = "a"\nprograms = 3\n', 2),
        ('name = "a"\n[programs]\na = 3\n', 3),
        ('name = "a"\n[programs."a b"]\nfile = "ok.ir"\n', 2),
        ("#" * 70_000, 1),
        ('name = "a"\n' + "".join(f'[programs.p{n}]\nfile = "ok.ir"\n' for n in range(40)), 2),
    ],
)
def test_broken_files(text: str | bytes, line: int) -> None:
    """What is no application is told with its line, whatever is wrong with it."""
    assert mistakes(text)[0][0] == line


@pytest.mark.parametrize(
    ("data", "where", "problem", "is_program"),
    [
        (b"# Notes\n\nsome text\n", "app.toml:3:6: error: ", "this is not valid TOML: Expected '='", False),
        (b"; says hello\n.code\nhlt\n", "app.toml:1:1: error: ", "this is not valid TOML: ", True),
        (b"EPIE\0\0\xff", "app.toml:1:1: error: ", "this is not valid TOML: byte 0xff", True),
        (b"a = \x1b[2J" + b"x" * 500, "app.toml:1:5: error: ", "this is not valid TOML: ", False),
    ],
)
def test_what_is_no_toml(data: bytes, where: str, problem: str, is_program: bool) -> None:
    """Another file in place of an application is called what it is, and a program is told from a mistake."""
    with pytest.raises(ApplicationError) as caught:
        load(data, "app.toml", read)
    said = str(caught.value)
    assert said.startswith(where + problem)
    assert ("that is a program: `iridium spawn` starts it" in said) == is_program
    assert said.replace("\n", "").isprintable()
    assert len(said) < 400


def test_the_example() -> None:
    """The application among the examples can be deployed, and its service never ends by itself."""
    path = Path(__file__).parents[1] / "examples" / "ticker" / "ticker.toml"
    package = load(path.read_bytes(), str(path), lambda name: Path(name).read_bytes())
    pair, everywhere = package.programs
    assert (pair.replicas, everywhere.replicas, everywhere.register) == (2, EACH, "ticker")
    [image] = package.images.values()
    vm = VM(VmProgram(parse(image)))
    assert run(vm, 7).stop is Stop.BUDGET
    assert vm.output.take() == "tick 1\n"


@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes(data: bytes) -> None:
    """Whatever the file holds, there is a package or the one error."""
    with pytest.raises(ApplicationError):
        load(data, "app.toml", read)


KEYS = sorted({*TOP, *PROGRAM, *INTENSITY, *BACKOFF, "x", '"a b"'})
VALUES = st.sampled_from(
    ["1", "0", "-1", "1.5", "nan", "inf", "true", '"each"', '"a"', '"ok.ir"', '"wrong.iasm"', '"permanent"', "[]",
     "[1, 2]", "{}", "{ a = 1 }", "{ first = 1 }", "{ restarts = 2 }", "1979-05-27", "99999999999", "[", "'''"]
)  # fmt: skip
LINES = st.one_of(
    st.tuples(st.sampled_from(KEYS), VALUES).map(" = ".join),
    st.sampled_from(["[programs]", "[programs.a]", "[programs.b]", "[[programs]]", "[programs.a.backoff]", "[x]"]),
    st.sampled_from(['name = "a"', 'file = "ok.ir"', "replicas = 2", ""]),
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_any_toml(text: str) -> None:
    """TOML that is nearly an application gives a package that can be deployed, or the one error."""
    try:
        package = load(text.encode(), "app.toml", read)
    except ApplicationError as error:
        found = [d.line for d in error.diagnostics if d.file == "app.toml"]
    else:
        found = [1]
        assert all(program.image in package.images for program in package.programs)
    assert all(1 <= line <= text.count("\n") + 1 for line in found)
