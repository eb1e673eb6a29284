"""The documents agree with the code: links, options, messages, refusals, limits, and the programs in them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from iridium.assembler import assemble
from iridium.bench.run import NAMES
from iridium.cli.group import iridium
from iridium.cluster import messages
from iridium.cluster.refusals import REMEDIES
from iridium.options import OPTIONS
from iridium.vm.engine import missing_llvmlite

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}

LIMIT_MODULES = (
    "accepting", "connecting", "conversation", "dialling", "identity", "link", "liveness", "membership", "mesh",
    "messages", "post", "questions", "rules", "session", "streams", "table",
)  # fmt: skip
"""The modules of ``iridium.cluster`` whose limits docs/cluster.md lists; and ``iridium.node``."""


class Block(NamedTuple):
    """A fenced block: the page it is on, what stands behind the fence, and its text."""

    page: str
    info: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", TEXT[page], re.MULTILINE)
    return [Block(page, info.strip(), text) for info, text in found]


BLOCKS = [block for page in TEXT for block in blocks(page)]
PROGRAMS = [block for block in BLOCKS if re.match(r"iasm program\b", block.info)]


def prose(page: str) -> str:
    """A page without its fenced blocks and code, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*\n(?:.*\n)*?```$", "", TEXT[page], flags=re.MULTILINE))


def anchors(page: str) -> set[str]:
    """The anchors that headings make."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*\n(?:.*\n)*?```$", "", TEXT[page], flags=re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading, without its head."""
    section = TEXT[page].split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.parametrize("page", TEXT)
def test_links_lead_somewhere(page: str) -> None:
    """A reader who follows a link between pages, or to a part of one, arrives."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert ROOT in file.resolve().parents, target
        if anchor:
            assert anchor in anchors(file.resolve().relative_to(ROOT).as_posix()), target


def test_every_option_is_documented() -> None:
    """No option of a node has to be found in the code."""
    everything = "\n".join(TEXT.values())
    missing = [o.name for o in OPTIONS if not re.search(rf"--{re.escape(o.name)}(?![\w-])", everything)]
    assert not missing


def test_the_options_page_has_every_option_with_its_letter() -> None:
    """The table of docs/cluster.md is the list of options, with short names and defaults that are fixed."""
    rows = {row[0]: row for row in table_rows("docs/cluster.md", "Options of a node")}
    expected = [f"`--{o.name}`" + (f", `-{o.short}`" if o.short else "") for o in OPTIONS]
    assert sorted(rows) == sorted(expected)
    for option, name in zip(OPTIONS, expected, strict=True):
        if isinstance(option.default, int | str) and option.default and not option.flag:
            assert rows[name][1] == str(option.default), name


@pytest.mark.parametrize("kind", messages.AnyMessage.__args__, ids=lambda kind: kind.__name__)
def test_every_message_is_in_the_protocol(kind: type[messages.Message]) -> None:
    """Each type stands in a table of docs/protocol.md, and all its fields are named there."""
    page = TEXT["docs/protocol.md"]
    config = kind.__struct_config__
    assert f"\n| `{config.tag}` |" in page
    for field in kind.__struct_fields__:
        assert f"`{field}`" in page, f"{config.tag}.{field}"


def test_the_protocol_version_is_told() -> None:
    """The version that the page describes is the one that is spoken."""
    assert f'at present `"{messages.version_text()}"`' in TEXT["docs/protocol.md"]


def test_refusals_have_the_remedies_of_the_code() -> None:
    """The protocol's table of refusals tells exactly what a person is told."""
    rows = table_rows("docs/protocol.md", "Refusals")
    assert {row[0].strip("`"): row[2].rstrip(" |") for row in rows} == REMEDIES


def test_every_refusal_has_something_to_do() -> None:
    """The cluster's page says what to do about each refusal."""
    rows = table_rows("docs/cluster.md", "When a node is refused")
    assert {row[0].strip("`") for row in rows} == set(REMEDIES)


def test_every_workload_is_documented() -> None:
    """Whoever reads a table of `iridium bench` finds what its columns are."""
    rows = table_rows("docs/bench.md", "The workloads")
    assert [row[0].strip("`") for row in rows] == list(NAMES)


def limit_module(name: str) -> ModuleType:
    """A module by its short name in the table of limits."""
    return importlib.import_module("iridium.node" if name == "node" else f"iridium.cluster.{name}")


def numbers(name: str) -> dict[str, float]:
    """The numeric constants that a module defines itself."""
    module = limit_module(name)
    assert module.__file__
    own = re.findall(r"^([A-Z][A-Z_]*) = ", Path(module.__file__).read_text(encoding="utf-8"), re.MULTILINE)
    values = {constant: getattr(module, constant) for constant in own}
    return {f"{name}.{key}": value for key, value in values.items() if isinstance(value, int | float)}


def test_limits_are_those_of_the_code() -> None:
    """The table of limits and timers has every constant of the cluster, with its value."""
    rows = table_rows("docs/cluster.md", "Limits and timers")
    told = {row[0].strip("`"): float(row[1]) for row in rows}
    in_code = {key: value for name in (*LIMIT_MODULES, "node") for key, value in numbers(name).items()}
    assert told == in_code


def test_limits_of_the_native_engines_are_those_of_the_code() -> None:
    """The table of limits of docs/native.md has the values of the code, and the shell's page the same of them."""
    told = {row[0].strip("`"): float(row[1]) for row in table_rows("docs/native.md", "Limits")}
    for name, value in told.items():
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(f"iridium.{module}"), constant) == value, name
    most = f"{int(told['scheduler.workers.MOST_RUNNING']):,}".replace(",", " ")
    assert f"and {most} where it has" in TEXT["docs/shell.md"]


def test_there_are_programs() -> None:
    """The tutorial's programs are found, so that the tests below test something."""
    assert len([block for block in PROGRAMS if block.page == "docs/tutorial.md"]) >= 5


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"{block.page}-{block.info}")
def test_programs_assemble(block: Block) -> None:
    """A complete program on a page can be copied from it and assembled."""
    assemble(block.text, file=block.info)


def transcripts() -> list[tuple[str, str]]:
    """Each ``$ iridium run ...`` of the tutorial, and what came."""
    found = []
    for block in blocks("docs/tutorial.md"):
        if block.info == "console":
            for command, answer in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                if command.startswith("iridium run"):
                    found.append((command, answer))
    return found


@pytest.mark.parametrize(("command", "answer"), transcripts(), ids=lambda text: text.split("\n")[0][:40])
def test_the_tutorial_runs(command: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who does what the tutorial says sees what it shows."""
    for block in blocks("docs/tutorial.md"):
        name = re.match(r"iasm (?:program|source)=(\S+)$", block.info)
        if name:
            (tmp_path / name.group(1)).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(iridium, command.split()[1:])
    missing = missing_llvmlite()  # which is told in a line of its own, once it matters
    told = [
        line for line in result.output.splitlines(keepends=True) if missing is None or str(missing) not in line
    ]
    assert "".join(told) == answer
