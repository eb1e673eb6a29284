"""Commands that start processes, of files and of images that the command line sends."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from iridium.assembler import assemble, decode_source
from iridium.errors import CommandError
from iridium.image import Image, is_image, parse
from iridium.processes import Exit, Process
from iridium.processes.uploads import MOST_IMAGE
from iridium.repl.commands.table import Answer, Command, Done, Result, number
from iridium.repl.files import read_program
from iridium.repl.visible import shortened
from iridium.roles import Role

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "processes"

WAIT = "--wait"
"""The word that asks for the end of a process."""

START = "--start"
"""The word of a program that does not."""

HERE = "@"
"""Stands for this node where a program has to name one; no alias has that character."""

ON = " on "
"""What stands before the node in ``!spawn PATH on NODE``."""

_HASH = re.compile(r"[0-9a-f]{64}\Z")


class Spawned(Result):
    """A process that has been started.

    Attributes:
        pid: on this node, also where it runs on another.
        node: the node that was asked for, or "" for this one.
        program: what it runs.
        there: what people call it on another node, ``PID@NODE``, with the pid that it has there; else "".
    """

    pid: int
    node: str
    program: str
    there: str = ""

    def text(self) -> str:
        """A sentence."""
        here = f"; this node calls it {self.pid}" if self.there else ""
        return f"process {self.there or self.pid} runs {self.program}{here}"


class Started(Result):
    """A process that somebody waits for has been started: for tools, which may want to name it later.

    Attributes:
        started: which.
    """

    started: Spawned

    def text(self) -> str:
        """Nothing: whoever waits in the shell sees its output alone."""
        return ""


class Ended(Result):
    """How a process has ended that was waited for.

    Attributes:
        pid: on this node.
        reason: its exit reason.
        how: the same in words.
        fault: of a crash: which, where and what was wrong; else "".
        there: what people call it on another node, ``PID@NODE``; else "".
    """

    pid: int
    reason: int
    how: str
    fault: str
    there: str = ""

    def text(self) -> str:
        """A sentence."""
        return f"process {self.there or self.pid} ended: {self.fault or self.how}"


class HasEnded(Ended):
    """How a process had ended before somebody asked for its output."""

    def text(self) -> str:
        """A sentence."""
        return f"process {self.there or self.pid} has ended: {self.fault or self.how}"


class ImagePart(Result):
    """What a node has of an image."""

    hash: str
    complete: bool

    def text(self) -> str:
        """A sentence."""
        return f"the image {self.hash[:16]}... is {'here' if self.complete else 'not all here yet'}"


def image_of(data: bytes, name: str) -> Image:
    """The image in a file, or the one that its source makes, with a line table.

    Raises:
        AssemblyError: the source has mistakes.
        ImageError: it is a broken image.
    """
    return parse(data) if is_image(data) else assemble(decode_source(data, name), file=name, line_table=True)


def _words(text: str) -> tuple[str, str, bool]:
    """What ``PATH [on NODE] [--wait]`` says: path, node (:data:`HERE` is this one) or "", and whether to wait.

    The last `` on `` with one word behind it always names a node, whatever files there are.
    """
    text = text.strip()
    waits = text.endswith(f" {WAIT}")
    text = text.removesuffix(WAIT).rstrip() if waits else text
    path, on, node = text.rpartition(ON)
    if on and node.strip() and " " not in node.strip():
        return path.strip(), node.strip(), waits
    return text, "", waits


def spawn(session: Session, arguments: list[str]) -> Answer:
    """``!spawn``: reads and assembles in a thread, as ``!load_file`` does."""
    path, on, waits = _words(arguments[0])
    node = session.node
    on = _known(session, path, on)
    directory = None if session.local else node.programs_dir
    reading = deferToThreadPool(
        node.reactor, node.reactor.getThreadPool(), lambda: image_of(read_program(path, directory), path)
    )
    return reading.addCallback(lambda image: start(session, image, path, on, waits=waits))


def _known(session: Session, path: str, on: str) -> str:
    """The node that a process is to start on, or "" for this one; looked for before any file is.

    Raises:
        CommandError: there is none of that name; how to type it if it belongs to the path.
    """
    if on in ("", HERE):
        return ""
    try:
        session.node.courier.ask.neighbour(on)
    except CommandError as error:
        whole = shortened(f"{path}{ON}{on}")
        hint = f"; for a file that is called {whole!r}, type: !spawn {whole}{ON}{HERE}" if "." in on else ""
        raise CommandError(f"{error}{hint}") from None
    return on


def start(
    session: Session, image: Image, title: str, on: str, *, waits: bool, quiet: bool = False
) -> Deferred[Result]:
    """Start a process whose output comes to a session.

    Args:
        session: whose.
        image: what it runs.
        title: what people call that.
        on: the node, or "" for this one.
        waits: whether the answer is how it has ended.
        quiet: whether a session that waits is told the pid first only where it wants JSON.
    """
    children = session.children
    process: Process | None = None
    early: list[str] | None = []

    def printed(text: str) -> None:
        # What comes before anybody knows its pid waits for that.
        if process is None:
            if early is not None:
                early.append(text)
        elif waits and waiting:
            session.show_output(text)
        else:
            children.printed(process.pid, text)

    waiting = waits

    def failed(failure: Failure) -> Failure:
        """It was not started; or it will be, and nobody wants to know any more."""
        nonlocal early
        early = None
        return failure

    def spawned(found: Process) -> Result | Deferred[Result]:
        nonlocal process
        process = found
        result = Spawned(found.pid, on, title, there_of(session, found.pid))
        if waits:
            session.show(Started(result) if quiet else result, anyway=True)
        if waits:
            session.reads_from(found)
        for text in early or ():
            printed(text)
        if waits:
            return wait(found)
        found.when_done().addCallback(lambda how: children.ended(found.pid, how))
        return result

    def wait(found: Process) -> Deferred[Result]:
        def stop(_: Deferred[Result]) -> None:
            nonlocal waiting
            waiting = False
            session.reads_from(None)
            found.detach()
            done.callback(Done(f"process {session.node.reach.label(found.pid)} goes on"))

        done: Deferred[Result] = Deferred(stop)

        def ended(how: Exit) -> None:
            if waiting:
                session.reads_from(None)
                there = there_of(session, found.pid)
                done.callback(Ended(found.pid, how.reason, how.text, how.fault, there))
            else:
                children.ended(found.pid, how)

        found.when_done().addCallback(ended)
        return done

    def missed(count: int) -> None:
        if process is not None:
            children.missed(process.pid, count)

    spawning = session.node.reach.spawn(
        image, on=on, title=title, on_output=printed, on_missed=missed, parent=session.pid, waits=waits
    )
    return spawning.addCallbacks(spawned, failed)


def there_of(session: Session, pid: int) -> str:
    """``PID@NODE``, of a pid that stands for a process of another node; else ""."""
    label = session.node.reach.label(pid)
    return label if label != str(pid) else ""


def checked_hash(text: str) -> str:
    """The hash of an image, as it was typed.

    Raises:
        CommandError: it is none.
    """
    if _HASH.match(text) is None:
        raise CommandError(f"{shortened(text)} is no hash: 64 digits of lower-case hex")
    return text


def take_image(session: Session, arguments: list[str]) -> Answer:
    """``!spawn_image``: with the hash alone, tells whether the image is here."""
    digest, reach, images = checked_hash(arguments[0]), session.node.reach, session.node.courier.images
    if len(arguments) == 1:
        return ImagePart(digest, images.program(digest) is not None)
    if len(arguments) != 4:
        raise CommandError("type it as: !spawn_image HASH [SIZE OFFSET BASE64]")
    size = number(arguments[1], "the size", 1, MOST_IMAGE)
    offset = number(arguments[2], "the offset", 0, MOST_IMAGE)
    try:
        piece = base64.b64decode(arguments[3], validate=True)
    except (binascii.Error, ValueError):
        raise CommandError("the last argument is no Base64") from None
    whole = reach.uploads.add(digest, size, offset, piece)
    if whole is not None:
        images.receive(digest, whole)
    return ImagePart(digest, whole is not None)


def spawn_sent(session: Session, arguments: list[str]) -> Answer:
    """``!spawn_sent``: as ``!spawn``, of an image that ``!spawn_image`` has brought."""
    digest, way, node, title = arguments
    if way not in (WAIT, START):
        raise CommandError(f"{shortened(way)} is neither {WAIT} nor {START}")
    program = session.node.courier.images.program(checked_hash(digest))
    if program is None:
        raise CommandError("that image is not here; send it with !spawn_image")
    on = "" if node == HERE else node
    return start(session, program.image, title, on, waits=way == WAIT, quiet=True)


COMMANDS = (
    Command(
        "!spawn",
        GROUP,
        Role.OPERATOR,
        "start a process, here or on another node; its output comes to this session",
        spawn,
        Spawned,
        "PATH [on NODE] [--wait]",
        least=1,
        most=1,
        rest=True,
    ),
    Command(
        "!spawn_image",
        GROUP,
        Role.OPERATOR,
        "take a piece of an image, or tell whether it is here; `iridium spawn` uses it",
        take_image,
        ImagePart,
        "HASH [SIZE OFFSET BASE64]",
        least=1,
        most=4,
    ),
    Command(
        "!spawn_sent",
        GROUP,
        Role.OPERATOR,
        "start a process of an image that is here; `iridium spawn` uses it",
        spawn_sent,
        Spawned,
        "HASH HOW NODE TITLE",
        least=4,
        most=4,
        rest=True,
    ),
)
