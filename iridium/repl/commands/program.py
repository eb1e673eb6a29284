"""Commands about the program of a session: list it, load it, empty it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from twisted.internet.threads import deferToThreadPool

from iridium.assembler import format_instruction
from iridium.image import MAX_IMAGE
from iridium.isa import WORD
from iridium.repl.commands.table import Answer, Command, Done, Result, columns, number
from iridium.repl.files import read_program
from iridium.repl.workspace import Loaded, Workspace, prepare
from iridium.roles import Role
from iridium.vm import VM

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "the program"

LISTED = 500
"""Instructions or labels that are listed at once, unless a count is given."""

MOST_LISTED = 10_000
"""The most that are listed at once: under 1 MiB of JSON."""


class Line(msgspec.Struct):
    """One instruction.

    Attributes:
        address: where it is.
        word: its four bytes in hex.
        text: the line it came from, or the instruction itself.
        labels: the labels that stand here.
    """

    address: int
    word: str
    text: str
    labels: list[str]


class Listing(Result):
    """A part of the program.

    Attributes:
        file: what was loaded, or None.
        base, end: the addresses of the first instruction and after the last.
        read_only: bytes of read-only data in use.
        lines: the instructions asked for.
    """

    file: str | None
    base: int
    end: int
    read_only: int
    lines: list[Line]

    def text(self) -> str:
        """A heading, a line for each label and each instruction, and where to go on."""
        count = (self.end - self.base) // WORD
        heading = f"{self.file or 'typed lines'}: {count} instructions, {self.read_only} bytes of read-only data"
        rows: list[tuple[str, str, str]] = []
        for line in self.lines:
            rows += [("", "", f"{label}:") for label in line.labels]
            rows.append((str(line.address), line.word, f"  {line.text}"))
        text = f"{heading}\n{columns(rows)}" if rows else heading
        next_address = self.lines[-1].address + WORD if self.lines else self.end
        if next_address < self.end:
            text += f"\n{(self.end - next_address) // WORD} more; name {next_address} to go on there"
        return text


class Label(msgspec.Struct):
    """One label: an address of the code, or an offset of the read-only data."""

    name: str
    kind: str
    value: int


class Symbols(Result):
    """The labels of the program.

    Attributes:
        symbols: the first of them, in the order they were defined.
        total: how many there are.
    """

    symbols: list[Label]
    total: int

    def text(self) -> str:
        """A table."""
        if not self.symbols:
            return "there are no labels yet; one stands before an instruction: start: inc $0"
        more = f"\n{self.total - len(self.symbols)} more" if self.total > len(self.symbols) else ""
        return columns((label.name, label.kind, str(label.value)) for label in self.symbols) + more


class LoadResult(Result):
    """What a file became."""

    file: str
    instructions: int
    read_only: int
    symbols: int

    def text(self) -> str:
        """A sentence."""
        return (
            f"loaded {self.file}: {self.instructions} instructions, {self.read_only} bytes of read-only data, "
            f"{self.symbols} labels; !run starts it"
        )


def _listed(workspace: Workspace, arguments: list[str]) -> tuple[range, dict[int, list[str]]]:
    """The addresses that were asked for, and the code labels by address."""
    program = workspace.program
    start = number(arguments[0], "the address", 0, MAX_IMAGE) if arguments else program.base
    count = number(arguments[1], "the count", 1, MOST_LISTED) if len(arguments) > 1 else LISTED
    start = max(program.base, start - (start - program.base) % WORD)
    labels: dict[int, list[str]] = {}
    for symbol in workspace.symbols.values():
        if symbol.kind == "code":
            labels.setdefault(symbol.value, []).append(symbol.name)
    return range(start, min(program.end, start + WORD * count), WORD), labels


def _listing(session: Session, arguments: list[str], *, source: bool) -> Answer:
    workspace = session.workspace
    program = workspace.program
    addresses, labels = _listed(workspace, arguments)
    lines = []
    for address in addresses:
        word = program.word_at(address) or b""
        text = workspace.text_at(address) if source else format_instruction(word, program.version)
        lines.append(Line(address, word.hex(" "), text, labels.get(address, [])))
    return Listing(workspace.file, program.base, program.end, workspace.read_only_used, lines)


def show_program(session: Session, arguments: list[str]) -> Answer:
    """``!program``."""
    return _listing(session, arguments, source=True)


def disassemble(session: Session, arguments: list[str]) -> Answer:
    """``!disassemble``."""
    return _listing(session, arguments, source=False)


def show_symbols(session: Session, arguments: list[str]) -> Answer:
    """``!symbols``."""
    symbols = list(session.workspace.symbols.values())
    return Symbols([Label(*symbol) for symbol in symbols[:MOST_LISTED]], len(symbols))


def clear_program(session: Session, arguments: list[str]) -> Answer:
    """``!clear_program``."""
    session.workspace.clear()
    return Done("the program is empty; registers and heap are as they were")


def load_file(session: Session, arguments: list[str]) -> Answer:
    """``!load_file``: reads and assembles in a thread, so that a large file does not hold up the node."""
    name = arguments[0]
    node = session.node
    directory = None if session.local else node.programs_dir

    def read() -> Loaded:
        loaded = prepare(read_program(name, directory), name)
        # A budget of nothing makes the engine decode the program, which takes long for a large one.
        node.scheduler.engine(VM(loaded.program), 0)
        return loaded

    def replace(loaded: Loaded) -> Result:
        workspace = session.workspace
        workspace.load(loaded)
        count = len(loaded.program.code) // WORD
        return LoadResult(name, count, workspace.read_only_used, len(workspace.symbols))

    reading = deferToThreadPool(node.reactor, node.reactor.getThreadPool(), read)
    return reading.addCallback(replace)


COMMANDS = (
    Command(
        "!program",
        GROUP,
        Role.READ_ONLY,
        "list the program as it was written",
        show_program,
        Listing,
        "[START [COUNT]]",
        most=2,
    ),
    Command(
        "!disassemble",
        GROUP,
        Role.READ_ONLY,
        "list the instructions it became",
        disassemble,
        Listing,
        "[START [COUNT]]",
        most=2,
    ),
    Command("!symbols", GROUP, Role.READ_ONLY, "list the labels", show_symbols, Symbols),
    Command(
        "!load_file",
        GROUP,
        Role.OPERATOR,
        "replace the program by a file, source or image, without running it",
        load_file,
        LoadResult,
        "PATH",
        least=1,
        most=1,
        rest=True,
    ),
    Command("!clear_program", GROUP, Role.OPERATOR, "forget the program and its labels", clear_program, Done),
)
