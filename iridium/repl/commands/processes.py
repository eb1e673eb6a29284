"""Commands about processes: list them, talk to them, and find out what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from iridium.assembler.operands import OperandError, string
from iridium.errors import CommandError
from iridium.events import Event
from iridium.processes import End, Exit, Message, ProcessInfo
from iridium.processes.kept import Dead, Live, Past
from iridium.processes.types import Listing, NoSuchProcessError
from iridium.repl.commands.spawning import GROUP, Ended, HasEnded, there_of
from iridium.repl.commands.table import Answer, Command, Done, Result, columns, number
from iridium.repl.listing import HEADER, pid_in_list, unlisted
from iridium.roles import Role
from iridium.vm.runtime.layout import BYTES_MESSAGE, END_MESSAGE, PID_MESSAGE

if TYPE_CHECKING:
    from iridium.repl.session import Session

ALL = "--all"
"""The word that asks for the whole cluster."""

MOST_FLUSHED = 256
"""Messages that are taken out of a mailbox at once."""

LISTED_DEAD_LETTERS = 20
"""Dead letters that are shown: a screen."""

_KINDS = {PID_MESSAGE: "pid", BYTES_MESSAGE: "bytes", END_MESSAGE: "end"}


class ProcessList(Result):
    """Processes, of this node or of all.

    Attributes:
        processes: as far as they are known.
        more: how many more there are, by node; only where there are some.
        silent: nodes that have not answered.
        here: the name of this node.
    """

    processes: list[ProcessInfo]
    more: dict[str, int]
    silent: list[str]
    here: str

    def text(self) -> str:
        """A table, and what is not in it."""
        rows = [HEADER]
        rows += [
            (
                p.node,
                pid_in_list(p.pid, p.node, self.here),
                p.name or "-",
                p.program,
                p.state,
                str(p.instructions),
                str(p.mailbox),
                str(p.parent or "-"),
            )
            for p in self.processes
        ]
        return "\n".join([columns(rows), *unlisted(self.more, self.silent)])


def _process_list(listing: Listing, here: str) -> ProcessList:
    return ProcessList(listing.processes, listing.more, listing.silent, here)


class Taken(msgspec.Struct):
    """A message that was taken out of a mailbox.

    Attributes:
        sender: the pid of whoever sent it; of an end, of whoever ended.
        kind: "word", "pid", "bytes" or "end".
        value: a number; of bytes, the text where they are text, else hex after 0x; of an end, its exit reason.
    """

    sender: int
    kind: str
    value: int | str


class Messages(Result):
    """What was in the mailbox of the session."""

    messages: list[Taken]
    left: int

    def text(self) -> str:
        """A line for each."""
        if not self.messages:
            return "there are no messages"
        rows = [(f"from {m.sender}", m.kind, repr(m.value)) for m in self.messages]
        return columns(rows) + (f"\n{self.left} more are left" if self.left else "")


class WhyResult(Result):
    """What a process is doing, how it has crashed or was ended, or that it ended normally: one of the three."""

    live: Live | None = None
    dead: Dead | None = None
    past: Past | None = None

    def text(self) -> str:
        """The state or the fault, where that is, registers that are not 0, stack, last output and events."""
        if self.past is not None:
            past = self.past
            heading = f"process {_called(past.pid, past.node)} ended: {past.how.fault or past.how.text}"
            note = [past.note] if past.note else []
            return "\n".join([heading, *note, *_rest(past.output, past.events)])
        found = self.live or self.dead
        assert found is not None
        if self.live is not None:
            info = self.live.info
            name, program, pid, instructions = info.name, info.program, info.pid, info.instructions
            heading = f"process {_called(pid, info.node)} is {info.state}; {info.mailbox} messages wait"
        else:
            assert self.dead is not None
            name, program, pid, instructions = (
                self.dead.name,
                self.dead.program,
                self.dead.pid,
                self.dead.instructions,
            )
            heading = f"process {_called(pid, self.dead.node)} ended: {self.dead.fault or self.dead.text}"
        where = f"pc {found.pc}" + (f", line {found.line}" if found.line else "")
        lines = [
            heading,
            f"{f'{name}, ' if name else ''}{program}: {instructions} instructions, {where}: {found.instruction}",
        ]
        registers = [f"${at} {value}" for at, value in enumerate(found.registers) if value]
        lines.append("registers: " + ("  ".join(registers) or "all 0"))
        if found.stack:
            lines.append("stack: " + "  ".join(map(str, found.stack)))
        return "\n".join([*lines, *_rest(found.output, found.events)])


def _called(pid: int, node: str) -> str:
    """What a process is called that is on this node (""), or on another."""
    return f"{pid}@{node}" if node else str(pid)


def _rest(output: str, events: list[Event]) -> list[str]:
    """The last output of a process, and the last events about it, as lines."""
    lines: list[str] = []
    if output:
        lines += ["last output:", *(f"    {line}" for line in output.rstrip("\n").split("\n")[-10:])]
    if events:
        lines.append("last events:")
    for event in events:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event.time))
        lines.append(f"    {when} {event.kind}" + (f": {event.detail}" if event.detail else ""))
    return lines


class DeadLetter(msgspec.Struct):
    """A message to nobody; ``value`` is the size where it was bytes."""

    to: int
    sender: int
    kind: str
    value: int


class DeadLetters(Result):
    """Messages to nobody.

    Attributes:
        count: since the node started.
        overruns: messages that found a full mailbox.
        last: the last of them, the oldest first.
    """

    count: int
    overruns: int
    last: list[DeadLetter]

    def text(self) -> str:
        """Counters, then a line for each."""
        heading = f"{self.count} messages to nobody, {self.overruns} to full mailboxes"
        rows = [
            (f"to {d.to}", f"from {d.sender}", d.kind, f"{d.value} bytes" if d.kind == "bytes" else str(d.value))
            for d in self.last
        ]
        return f"{heading}\n{columns(rows)}" if rows else heading


def list_processes(session: Session, arguments: list[str]) -> Answer:
    """``!ps``."""
    if arguments and arguments[0] != ALL:
        raise CommandError(f"type: !ps [{ALL}]")
    asking = session.node.courier.ask
    if arguments:
        return asking.list_all().addCallback(_process_list, asking.name)
    return _process_list(session.node.processes.views.listing(asking.name), asking.name)


def kill(session: Session, arguments: list[str]) -> Answer:
    """``!kill``."""
    what = arguments[0]

    def found(pid: int) -> Result:
        if not session.node.processes.kill(pid):
            raise CommandError(f"{what} is no process that can be killed: a session, or a mailbox of Python")
        return Done(f"{what} is killed")

    return session.node.reach.find(what).addCallback(found)


def send(session: Session, arguments: list[str]) -> Answer:
    """``!send``."""
    what, text = arguments
    value = _value(text)

    def found(pid: int) -> Result:
        if not session.node.processes.send(pid, value, sender=session.pid):
            raise CommandError(f"{what} has not taken it: its mailbox is full, or it has just ended")
        return Done(f"sent to {what}")

    return session.node.reach.find(what).addCallback(found)


def _value(text: str) -> int | bytes:
    """What ``!send`` is to send.

    Raises:
        CommandError: it is neither a number nor a text between quotes.
    """
    if not text.startswith("'"):
        return number(text, "the value", -(2**31), 2**32 - 1)
    if len(text) < 2 or not text.endswith("'"):
        raise CommandError("a text ends with a quote: !send PID 'text'")
    try:
        return string(text)
    except OperandError as error:
        raise CommandError(str(error)) from None


def flush(session: Session, arguments: list[str]) -> Answer:
    """``!flush``."""
    record = session.workspace.vm.record
    if not session.pid:
        return Messages([], 0)
    taken = session.node.processes.take_messages(record, MOST_FLUSHED)
    return Messages([_taken(message) for message in taken], int(record.mailbox_count))


def _taken(message: Message | End) -> Taken:
    if isinstance(message, End):
        return Taken(message.pid, "end", message.reason)
    value = message.value
    if isinstance(value, int):
        return Taken(message.sender, "pid" if message.is_pid else "word", value)
    try:
        return Taken(message.sender, "bytes", value.decode())
    except UnicodeDecodeError:
        return Taken(message.sender, "bytes", f"0x{value.hex()}")


def observe(session: Session, arguments: list[str]) -> Answer:
    """``!observe``: shows what is kept and what comes, until the process ends or somebody interrupts it."""
    what = arguments[0]
    asking: Deferred[Any] = session.node.reach.find(what)
    stop: Callable[[], None] = lambda: None  # noqa: E731 - until it is known what to stop
    done: Deferred[Result] = Deferred(lambda _: interrupted())

    def interrupted() -> None:
        session.show_missed()
        done.callback(Done("no longer observing"))
        asking.cancel()
        stop()

    def found(pid: int) -> None:
        nonlocal stop

        def ended(how: Exit) -> None:
            if not done.called:
                session.show_missed()
                done.callback(Ended(pid, how.reason, how.text, how.fault, there_of(session, pid)))

        stop = session.node.reach.observe(
            pid,
            lambda text: session.show_observed(pid, text),
            ended,
            lambda count: session.miss(pid, count),
        )

    def gone(failure: Failure) -> Deferred[None]:
        """It has ended, perhaps: then what is kept of it is shown."""
        nonlocal asking
        failure.trap(NoSuchProcessError)
        asking = session.node.reach.past(what)
        return asking.addCallback(show)

    def show(past: Past) -> None:
        if not done.called:
            session.show_output(past.output)
            there = _called(past.pid, past.node) if past.node else ""
            done.callback(HasEnded(past.pid, past.how.reason, past.how.text, past.how.fault, there))

    def failed(failure: Failure) -> None:
        if not done.called:
            done.errback(failure)

    asking.addCallbacks(found, gone).addErrback(failed)
    return done


def why(session: Session, arguments: list[str]) -> Answer:
    """``!why``."""

    def told(found: Live | Dead | Past) -> Result:
        if isinstance(found, Past):
            return WhyResult(past=found)
        return WhyResult(live=found) if isinstance(found, Live) else WhyResult(dead=found)

    return session.node.reach.why(arguments[0]).addCallback(told)


def show_dead_letters(session: Session, arguments: list[str]) -> Answer:
    """``!dead``."""
    table = session.node.processes.table
    letters = [
        DeadLetter(to, sender, _KINDS.get(kind, "word"), value - 2**32 if value >> 31 & 1 and kind == 0 else value)
        for to, sender, kind, value in table.dead_letters()[-LISTED_DEAD_LETTERS:]
    ]
    return DeadLetters(int(table.shared.dead_letters), int(table.shared.overruns), letters)


COMMANDS = (
    Command(
        "!ps",
        GROUP,
        Role.READ_ONLY,
        "list the processes of this node, or of all",
        list_processes,
        ProcessList,
        "[--all]",
        most=1,
    ),
    Command("!kill", GROUP, Role.OPERATOR, "end a process", kill, Done, "PID", least=1, most=1),
    Command(
        "!send",
        GROUP,
        Role.OPERATOR,
        "send a process a word, or bytes as 'text'",
        send,
        Done,
        "PID VALUE",
        least=2,
        most=2,
        rest=True,
    ),
    Command(
        "!flush",
        GROUP,
        Role.OPERATOR,
        "take the messages out of this session's mailbox and show them",
        flush,
        Messages,
    ),
    Command(
        "!observe",
        GROUP,
        Role.READ_ONLY,
        "show what a process has printed and prints, until it ends or !stop",
        observe,
        Ended,
        "PID",
        least=1,
        most=1,
    ),
    Command(
        "!why",
        GROUP,
        Role.READ_ONLY,
        "tell what a process is doing, or how it ended",
        why,
        WhyResult,
        "PID",
        least=1,
        most=1,
    ),
    Command(
        "!dead",
        GROUP,
        Role.READ_ONLY,
        "show the last messages that were to nobody",
        show_dead_letters,
        DeadLetters,
    ),
)
