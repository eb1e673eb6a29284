"""Commands about programs that the command line sends: run one in the session, keep one on the node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from iridium.errors import CommandError
from iridium.repl.commands.running import RunResult, start
from iridium.repl.commands.spawning import checked_hash
from iridium.repl.commands.table import Answer, Command, Result, columns, number
from iridium.repl.programs import list_programs, store_program
from iridium.repl.workspace import Loaded, prepare
from iridium.roles import Role
from iridium.vm import VM

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "the program"

REPLACE = "--replace"
"""The word that lets a program take the place of another."""

MOST_INSTRUCTIONS = 2**62
"""The highest limit that can be asked for: centuries."""

NO_LIMIT = "-"
"""Stands for no limit of instructions."""


class Stored(Result):
    """A program that is kept on the node now.

    Attributes:
        program: its name, as ``!load_file`` and ``!spawn`` take it.
        bytes: its size.
        replaced: whether it took the place of another.
    """

    program: str
    bytes: int
    replaced: bool

    def text(self) -> str:
        """A sentence."""
        how = ", in place of another" if self.replaced else ""
        return f"stored {self.program}: {self.bytes} bytes{how}; !load_file {self.program} loads it"


class StoredProgram(msgspec.Struct):
    """A file of the programs directory."""

    name: str
    bytes: int


class ProgramList(Result):
    """The files of the programs directory.

    Attributes:
        programs: the first of them, by name.
        more: how many there are besides.
        bytes: of all of them.
    """

    programs: list[StoredProgram]
    more: int
    bytes: int

    def text(self) -> str:
        """A table."""
        if not self.programs:
            return "there are no programs; `iridium load` sends one"
        text = columns([("program", "bytes"), *((p.name, str(p.bytes)) for p in self.programs)])
        return f"{text}\n{self.more} more" if self.more else text


def _sent(session: Session, digest: str) -> bytes:
    data = session.node.courier.images.data(checked_hash(digest))
    if data is None:
        raise CommandError("that image is not here; send it with !spawn_image")
    return data


def _in_thread(session: Session, work: Any, *arguments: Any) -> Deferred[Any]:
    reactor = session.node.reactor
    return deferToThreadPool(reactor, reactor.getThreadPool(), work, *arguments)


def run_sent(session: Session, arguments: list[str]) -> Answer:
    """``!run_sent``: the program is decoded in a thread, as by ``!load_file``."""
    digest, typed, title = arguments
    limit = None if typed == NO_LIMIT else number(typed, "the limit", 0, MOST_INSTRUCTIONS)
    data, engine = _sent(session, digest), session.node.scheduler.engine

    def load() -> Loaded:
        loaded = prepare(data, title)
        engine(VM(loaded.program), 0)
        return loaded

    def run(loaded: Loaded) -> Deferred[Result]:
        session.workspace.load(loaded)
        return start(session, limit, whole=True)

    return _in_thread(session, load).addCallback(run)


def store_sent(session: Session, arguments: list[str]) -> Answer:
    """``!store_sent``."""
    digest, name, *rest = arguments
    if rest not in ([], [REPLACE]):
        raise CommandError(f"type it as: !store_sent HASH NAME [{REPLACE}]")
    data, node = _sent(session, digest), session.node
    storing = _in_thread(session, store_program, name, data, node.programs_dir, node.limits, bool(rest))
    return storing.addCallback(lambda replaced: Stored(name, len(data), replaced))


def show_programs(session: Session, arguments: list[str]) -> Answer:
    """``!programs``."""

    def told(found: tuple[list[tuple[str, int]], int, int]) -> Result:
        rows, more, size = found
        return ProgramList([StoredProgram(*row) for row in rows], more, size)

    directory: Path = session.node.programs_dir
    return _in_thread(session, list_programs, directory).addCallback(told)


COMMANDS = (
    Command(
        "!programs", GROUP, Role.READ_ONLY, "list the files of the programs directory", show_programs, ProgramList
    ),
    Command(
        "!run_sent",
        GROUP,
        Role.OPERATOR,
        "run a program whose image is here; `iridium run --node` uses it",
        run_sent,
        RunResult,
        "HASH LIMIT TITLE",
        least=3,
        most=3,
        rest=True,
    ),
    Command(
        "!store_sent",
        GROUP,
        Role.OPERATOR,
        "keep a program whose image is here in the programs directory; `iridium load` uses it",
        store_sent,
        Stored,
        f"HASH NAME [{REPLACE}]",
        least=2,
        most=3,
    ),
)
