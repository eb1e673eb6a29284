"""The documents agree with the code: links, options, messages, refusals, limits, and the programs in them."""

from __future__ import annotations

import base64
import importlib
import inspect
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner
from twisted.internet.defer import ensureDeferred

from iridium import limits
from iridium.assembler import assemble
from iridium.bench.run import NAMES
from iridium.cli.group import iridium
from iridium.cluster import messages
from iridium.cluster.link import Link, Role
from iridium.cluster.refusals import REMEDIES
from iridium.cluster.secret import Secrets
from iridium.node import Node
from iridium.options import OPTIONS
from iridium.processes import wire
from iridium.processes.kept import Dead, Live
from iridium.processes.outbound import letters
from iridium.processes.types import Exchange, ProcessInfo
from iridium.repl.commands.stats import ProcessStats
from iridium.supervision import messages as gossip
from iridium.supervision.types import Claim, Record
from iridium.supervision.types import Program as SupervisedProgram
from iridium.testing import Network, SimulatedNode, virtual_time
from iridium.vm.engine import missing_llvmlite
from iridium.vm.runtime import inbound, layout

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}

REPLICAS = (ROOT / "iridium/supervision/replicas.py").read_text(encoding="utf-8")

LIMIT_MODULES = (
    "accepting", "connecting", "conversation", "dialling", "identity", "link", "liveness", "membership", "mesh",
    "messages", "post", "questions", "rules", "session", "streams", "table",
)  # fmt: skip
"""The modules of ``iridium.cluster`` whose limits docs/cluster.md lists; and ``iridium.node``."""


PROCESS_MODULES = (
    "answering", "asking", "elsewhere", "images", "kept", "names", "neighbour", "observing", "outbound", "uploads",
    "views",
)  # fmt: skip
"""The modules of ``iridium.processes`` whose limits docs/processes.md lists."""

RUNTIME_MODULES = (
    "scheduler.table", "vm.runtime.inbound", "vm.runtime.mailbox", "vm.runtime.processes", "vm.runtime.remote",
    "vm.runtime.slots",
)  # fmt: skip
"""Where the other limits of processes stand, besides numbers that are none."""


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
    """The cells of the rows of the tables below a heading, without the first head."""
    section = TEXT[page].split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1:]]
    return [row for row in cells if len(row) > 1]  # else it is the line below a head


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


def control_rows() -> dict[str, str]:
    """What the table of control messages says of each, by its ``do``."""
    told: dict[str, str] = {}
    for row in table_rows("docs/protocol.md", "Control"):
        tag = row[0].strip("`") or list(told)[-1]
        told[tag] = told.get(tag, "") + " | ".join(row[1:])
    return told


@pytest.mark.parametrize("kind", wire.AnyControl.__args__, ids=lambda kind: kind.__name__)
def test_every_control_message_is_in_the_protocol(kind: type[wire.Control]) -> None:
    """Each request, answer and notice about processes has its rows, and all its fields are named in them."""
    told = control_rows()[str(kind.__struct_config__.tag)]
    for field in msgspec.structs.fields(kind):
        assert f"`{field.name}`" in told, field.name


def test_the_protocol_has_no_other_control_messages() -> None:
    """The table names what is said, and nothing that nobody says any more."""
    assert list(control_rows()) == [kind.__struct_config__.tag for kind in wire.AnyControl.__args__]


def test_what_is_told_of_a_process_is_in_the_protocol() -> None:
    """The objects in an answer to `why` have their fields on the page, those in a list theirs in order."""
    told = control_rows()["told"]
    for kind in (Live, Dead, ProcessInfo):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in told, (kind, name)
    assert f"[{', '.join(ProcessInfo.__struct_fields__[1:])}]" in control_rows()["listed"]


def test_every_payload_is_in_the_protocol() -> None:
    """The kinds of mail are told by number and name."""
    source = inspect.getsource(wire)
    named = {name: getattr(wire, name) for name in re.findall(r"^([A-Z]+) = \d+$", source, re.MULTILINE)}
    rows = table_rows("docs/protocol.md", "Payloads")
    assert {row[1].strip("`"): int(row[0]) for row in rows} == named


def test_every_letter_is_in_the_protocol() -> None:
    """The table of letters has each kind that a node understands, by number and name."""
    understood = set(re.findall(r"kind [!=]= ([A-Z_]+)", inspect.getsource(inbound)))
    rows = table_rows("docs/protocol.md", "Letters")
    told = {row[1].strip("`"): int(row[0]) for row in rows}
    assert told == {name: getattr(layout, name) for name in understood - {"PROXY", "PROCESS"}}


@pytest.mark.parametrize("kind", gossip.Message.__args__, ids=lambda kind: kind.__name__)
def test_every_message_of_supervisors_is_told(kind: Any) -> None:
    """The page about supervision has each message with its fields, in the order of the code."""
    rows = {row[0]: row[1] for row in table_rows("docs/supervision.md", "Between nodes")}
    fields = [f"`{name}`" for name in kind.__struct_fields__]
    assert rows[f"`{kind.__struct_config__.tag}`"] == ", ".join(fields)


@pytest.mark.parametrize(("name", "kind"), [("record", Record), ("program", SupervisedProgram), ("claim", Claim)])
def test_what_supervisors_tell_is_told(name: str, kind: Any) -> None:
    """So are the objects in them."""
    rows = table_rows("docs/supervision.md", "Between nodes")
    told = next(row[1] for row in rows if row[0] == name)
    places = [told.find(f"`{field}`") for field in kind.__struct_fields__]
    assert -1 not in places
    assert places == sorted(places)


def carried(line: str) -> list[str]:
    """What a line of mail carries, in the words of the page."""
    mail = messages.decode(line[2:].encode())
    if not isinstance(mail, messages.Mail):
        return []
    if mail.kind == wire.CONTROL:
        return [wire.encode(wire.decode(mail.data)).decode()]
    if mail.kind == wire.IMAGE:
        return [f"the image {mail.data[:32].hex()}, {len(mail.data) - 32} bytes"]
    return [
        f"to {to}, sender {sender}, kind {kind}, value {value}" + (f", then {extra[:value]!r}" if extra else "")
        for to, sender, kind, value, extra in letters(mail.data)
    ]


def test_the_exchange_of_the_protocol_decodes() -> None:
    """The lines of mail on the page are what this code reads, and carry what stands below them."""
    [text] = [block.text for block in blocks("docs/protocol.md") if block.info == "mail"]
    shown: list[str] = []
    decoded: list[str] = []
    for line in text.splitlines():
        shown.append(line.strip())
        if line[0] in "<>":
            decoded += [line, *carried(line)]
    assert shown == decoded


def test_the_exchange_of_the_protocol_is_one() -> None:
    """Two nodes that do what the page tells send each other those payloads, to the byte."""
    [text] = [block.text for block in blocks("docs/protocol.md") if block.info == "mail"]
    mails = re.findall(r'^([<>]) .*"kind":(\d+),"data":"(.*)"}$', text, re.MULTILINE)
    network = Network(seed=1)
    a, b = (network.node(name, processes=True) for name in "ab")
    sent: list[tuple[str, str, str]] = []

    def spy(node: SimulatedNode, sign: str) -> None:
        send = node.post.send

        def note(id: str, kind: int, data: bytes, stream: int = 0) -> bool:
            sent.append((sign, str(kind), base64.b64encode(data).decode()))
            return send(id, kind, data, stream)

        node.post.send = note  # type: ignore[method-assign]

    with virtual_time(network):
        network.join(b, a)
        assert network.run_until(lambda: a.linked() == ["b"] and b.linked() == ["a"], 5.0)
        spy(a, ">")
        spy(b, "<")
        started: list[Any] = []
        image = assemble(".code\nrecv $1 $2 $3\nrecv $4 $2 $3\nhltr $1\n")
        a.spawn(image, on="b").addCallback(started.append)
        network.run(1.0)
        box = a.mailbox()
        box.send(started[0].pid, 7)
        box.send(started[0].pid, b"hello")
        network.run(1.0)
    assert sent == mails


def test_the_exchange_of_proofs_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes with the secret of the page say each other what it shows."""
    [text] = [block.text for block in blocks("docs/protocol.md") if block.info == "proof"]
    network = Network(seed=1)
    secrets = Secrets(["an-example-that-nobody-must-use-0000"])
    a, b = (network.node(name, secrets=secrets) for name in "ab")
    said: list[str] = []
    receive = Link.receive

    def note(link: Link, data: bytes, now: float) -> Iterator[messages.Message]:
        said.extend(f"{'<' if link.role is Role.DIALLER else '>'} {line}" for line in data.decode().splitlines())
        return receive(link, data, now)

    monkeypatch.setattr(Link, "receive", note)
    network.join(b, a)
    assert network.run_until(lambda: a.linked() == ["b"] and b.linked() == ["a"], 5.0)
    assert said == text.splitlines()


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


def numbers(name: str, module: ModuleType | None = None) -> dict[str, float]:
    """The numeric constants that a module defines itself."""
    module = module or limit_module(name)
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


def test_the_page_of_limits_is_made_of_the_table() -> None:
    """docs/limits.md is what `python -m iridium.limits` prints."""
    assert TEXT["docs/limits.md"] == limits.reference()


def test_limits_of_tls_are_those_of_the_code() -> None:
    """The table of limits of docs/tls.md has every constant of these modules, with its value."""
    told = {row[0].strip("`"): float(row[1]) for row in table_rows("docs/tls.md", "Limits")}
    modules = ("tls", "tls_files", "certificates")
    assert told == {key: value for name in modules for key, value in numbers(name).items()}


def test_limits_of_processes_are_those_of_the_code() -> None:
    """The table of limits of processes has every bound that holds for them, with its value."""
    rows = table_rows("docs/processes.md", "Limits")
    told = {row[0].strip("`"): float(row[1].replace(" ", "")) for row in rows}
    in_code: dict[str, float] = {}
    for name in PROCESS_MODULES:
        in_code |= numbers(name, importlib.import_module(f"iridium.processes.{name}"))
    for path in RUNTIME_MODULES:
        for key, value in numbers(path.removeprefix("vm."), importlib.import_module(f"iridium.{path}")).items():
            if re.search(r"\.(MOST|LONGEST|LARGEST|RESERVE|KEPT|DEAD_RING)", key):
                in_code[key] = value
    assert told == in_code


def test_limits_of_the_native_engines_are_those_of_the_code() -> None:
    """The table of limits of docs/native.md has the values of the code, and the shell's page the same of them."""
    told = {row[0].strip("`"): float(row[1]) for row in table_rows("docs/native.md", "Limits")}
    for name, value in told.items():
        module, _, constant = name.rpartition(".")
        if module == "vm.native.jit" and missing_llvmlite() is not None:
            continue  # it cannot even be imported
        assert getattr(importlib.import_module(f"iridium.{module}"), constant) == value, name
    most = f"{int(told['scheduler.workers.MOST_RUNNING']):,}".replace(",", " ")
    assert f"and {most} where it has" in TEXT["docs/shell.md"]


def test_every_counter_is_told() -> None:
    """docs/shell.md tells the counters of `!stats` apart: each field has its row."""
    told = " ".join(row[1] for row in table_rows("docs/shell.md", "Counters and events") if len(row) == 3)
    fields = {*ProcessStats.__struct_fields__, *Exchange.__struct_fields__} - {"node"}
    assert set(re.findall(r"`(\w+)`", told)) == fields


def test_every_event_is_told() -> None:
    """docs/shell.md says of each kind of event that the code has when it happens."""
    told = " ".join(row[0] for row in table_rows("docs/shell.md", "Counters and events"))
    kinds = set()
    for path in (ROOT / "iridium").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        kinds |= set(re.findall(r"(?:events\.add|event|_complain)\(\s*\"([a-z-]+)\"", source))
    kinds |= {f"replica-{kind}" for kind in re.findall(r"Ending\(\"([a-z-]+)\"", REPLICAS)}
    assert kinds - set(re.findall(r"`([a-z-]+)`", told)) == set()
    assert len(kinds) > 20


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


def pythons(page: str) -> list[str]:
    """The Python programs on a page."""
    return [block.text for block in blocks(page) if block.info == "python"]


@pytest.mark.parametrize("number", range(len(pythons("docs/testing.md"))))
def test_the_examples_of_the_simulation_pass(number: int) -> None:
    """Each example of docs/testing.md has tests, and they pass."""
    text = pythons("docs/testing.md")[number]
    names: dict[str, Any] = {}
    exec(compile(text, "docs/testing.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize("name", ["spawn", "send", "find", "kill", "mailbox"])
def test_the_double_has_the_calls_of_a_node(name: str) -> None:
    """What takes a node in a test takes a simulated one: the calls have the same arguments and results."""
    real: Callable[..., Any] = getattr(Node, name)
    assert inspect.signature(getattr(SimulatedNode, name)) == inspect.signature(real)


def test_the_embedded_example_runs_on_the_double(capsys: pytest.CaptureFixture[str]) -> None:
    """The code that docs/embedding.md shows does the same on a simulated node as on a real one."""
    use = runpy.run_path(str(ROOT / "examples" / "embed.py"))["use"]
    network = Network(seed=3)
    node = network.node("a", processes=True)
    with virtual_time(network):
        using = ensureDeferred(use(node))
        network.run(1.0)
    assert using.called
    assert using.result is None
    [transcript] = [block.text for block in blocks("docs/embedding.md") if block.info == "console"]
    assert capsys.readouterr().out == transcript.split("\n", 1)[1]


def test_each_promise_of_security_has_its_test() -> None:
    """Every test that docs/security.md names exists, under that name, in that file."""
    page = TEXT["docs/security.md"]
    file, named = "", []
    for given, name in re.findall(r"`(?:(test_\w+\.py))?::(test_\w+)`", page):
        file = given or file
        named.append((file, name))
    assert named
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, name)
