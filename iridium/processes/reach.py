"""Processes wherever they run: started on a node by its name, and found as ``PID``, ``PID@NODE``, ``NAME@NODE``.

What is asked of another node is the business of :mod:`iridium.processes.courier`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from iridium.errors import CommandError, IridiumError
from iridium.image import Image
from iridium.isa import REGISTERS
from iridium.processes.courier import Courier
from iridium.processes.elsewhere import Home
from iridium.processes.kept import MOST_TEXT, Dead, Live, Observer, Past
from iridium.processes.process import Process
from iridium.processes.processes import Processes
from iridium.processes.types import Exit, NoSuchProcessError
from iridium.processes.uploads import Uploads
from iridium.vm.runtime.layout import NO_PROCESS

_Found = TypeVar("_Found", Live, Dead, Past, Live | Dead | Past)
_REGISTERS = struct.Struct(f"<{REGISTERS}d{REGISTERS}i")


class Reach:
    """The processes of a cluster, as a node reaches them.

    Args:
        processes: of this node.
        courier: their traffic with other nodes.

    Attributes:
        uploads: images that the command line sends.
    """

    def __init__(self, processes: Processes, courier: Courier) -> None:
        self._processes = processes
        self._courier = courier
        self.uploads = Uploads(time.monotonic)

    def spawn(
        self,
        image: Image,
        *,
        on: str = "",
        name: str = "",
        title: str = "",
        registers: Mapping[int, int] | None = None,
        on_output: Callable[[str], None] | None = None,
        on_missed: Callable[[int], None] | None = None,
        parent: int = 0,
        waits: bool = True,
    ) -> Deferred[Process]:
        """Start a process, here or on another node.

        Args:
            image: what it runs; it goes to another node once.
            on: the node's alias, id, or the beginning of its id; this one if nothing is said.
            name: to register it under on its node, or "".
            title: what the program is called in lists.
            registers: integer registers that are not 0.
            on_output: called with what it prints, as it does.
            on_missed: called with how many characters are missing in that; only if it does not wait.
            parent: the pid of whoever wants it.
            waits: whether the process waits while there is no room for its output on the way from another node.

        Returns:
            Fires with the process once it has started; errbacks with TooManyProcessesError, NotSpawnedError, or
            CommandError where there is no such node.
        """
        try:
            neighbour = self._courier.ask.neighbour(on) if on else None
        except IridiumError as error:
            return fail(error)
        hash, program = self._courier.images.add(image)
        if neighbour is None:
            return self._processes.spawn(
                program,
                registers=registers,
                name=name,
                title=title,
                on_output=on_output,
                parent=parent,
            )
        outputs = self._processes.outputs

        def printed(text: str) -> None:
            process._printed(text)
            if process.pid:
                outputs.add(process.pid, text)
            if on_output is not None:
                on_output(text)

        def ended(how: Exit) -> None:
            if process.pid:
                outputs.forget(process.pid, how)
            process._ended(how)

        def spawned(pid: int) -> Process:
            outputs.renew(pid)
            process.pid = pid
            return process

        observer = Observer(printed, ended, on_missed or (lambda count: None))
        process = Process(
            self._processes, 0, lambda waits, paused: self._courier.ask.flow(neighbour, observer, waits, paused)
        )

        values = [0] * REGISTERS
        for number, value in (registers or {}).items():
            values[number % REGISTERS] = (value + 2**31 & 0xFFFF_FFFF) - 2**31
        return self._courier.ask.spawn(
            neighbour,
            hash,
            registers=_REGISTERS.pack(*[0.0] * REGISTERS, *values) if registers else b"",
            parent=parent,
            name=name,
            title=title,
            observer=observer,
            waits=waits,
        ).addCallback(spawned)

    def find(self, what: str) -> Deferred[int]:
        """The pid, on this node, of a process.

        Args:
            what: ``PID``, ``PID@NODE``, ``NAME`` or ``NAME@NODE``.

        Returns:
            Fires with it; errbacks with NoSuchProcessError where there is none, or CommandError where there is no
            such node.
        """
        who, at, node = what.partition("@")
        number = _pid_of(who)
        if not at:
            record = None if number is None else self._processes.table.find(number)
            found = self._processes.names.whereis(who) if number is None else number if record is not None else 0
            finding = succeed(found)
        elif number is None:
            finding = self._courier.ask.whereis(who, node)
        else:
            finding = self._courier.ask.find(number, node)

        def check(pid: int) -> int:
            if not pid:
                raise self._no_such(what)
            return pid

        return finding.addCallback(check)

    def observe(
        self,
        pid: int,
        on_output: Callable[[str], None],
        on_end: Callable[[Exit], None],
        on_missed: Callable[[int], None] = lambda count: None,
    ) -> Callable[[], None]:
        """Watch a process, beginning with what is kept of its output; it never waits for that.

        Args:
            pid: as this node has it.
            on_output: called with what it prints.
            on_end: called once, when it has ended.
            on_missed: called with how many characters are missing in the output, since there was no room for them
                on the way from another node.

        Returns:
            What ends the watching.

        Raises:
            NoSuchProcessError: there is none, or it is none that prints.
        """
        watching = self._courier.ask.observe(pid, Observer(on_output, on_end, on_missed))
        if watching is None:
            watching = self._processes.observe(pid, on_output, on_end)
            if watching is not None and (kept := self._processes.outputs.of(pid)):
                on_output(kept)
        if watching is None:
            raise NoSuchProcessError(str(pid))
        return watching

    def past(self, what: str) -> Deferred[Past]:
        """What is kept of a process that has ended.

        Args:
            what: ``PID`` or ``PID@NODE``.

        Returns:
            Fires with it; errbacks with NoSuchProcessError where nothing is known of it, or CommandError where
            there is no such node.
        """
        who, _, node = what.partition("@")
        pid = _pid_of(who)
        if pid is None:
            return fail(NoSuchProcessError(what[:80]))
        try:
            home = self._home(pid, node)
        except IridiumError as error:
            return fail(error)
        past = None if node and home is not None else self._processes.past(pid)
        if past is not None:
            return succeed(past if home is None else self._of(home, past))
        neighbour = None if home is None else self._courier.ask.neighbour_of(home)
        if home is None or neighbour is None:
            return fail(self._no_such(what))
        output = ""
        done: Deferred[Past] = Deferred(lambda _: stop())

        def printed(text: str) -> None:
            nonlocal output
            output = (output + text)[-MOST_TEXT:]

        def ended(how: Exit) -> None:
            if not neighbour.peer.up or (how.reason == NO_PROCESS and not output):
                done.errback(self._no_such(what))
            else:
                done.callback(self._of(home, Past(home.pid, how, output)))

        stop = self._courier.ask.observe_there(neighbour, home.pid, Observer(printed, ended))
        return done

    def why(self, what: str) -> Deferred[Live | Dead | Past]:
        """What a process is doing, or how it has ended.

        Args:
            what: ``PID``, ``PID@NODE``, ``NAME`` or ``NAME@NODE``; one that has ended has its pid only.

        Returns:
            Fires with it; errbacks as :meth:`find` does.
        """
        who, _, node = what.partition("@")
        number = _pid_of(who)
        if number is None:
            return self.find(what).addCallback(lambda pid: self._why(pid, "", what))
        return self._why(number, node, what)

    def _why(self, pid: int, node: str, what: str) -> Deferred[Live | Dead | Past]:
        ask = self._courier.ask
        try:
            home = self._home(pid, node)
        except IridiumError as error:
            return fail(error)
        if home is None:
            here = self._processes.live(pid) or self._processes.why(pid)
            return fail(self._no_such(what)) if here is None else succeed(here)
        neighbour = ask.neighbour_of(home)
        asking = succeed(None) if neighbour is None else ask.why(neighbour, home.pid)

        def check(found: Live | Dead | Past | None) -> Live | Dead | Past:
            if isinstance(found, Past):
                found = msgspec.structs.replace(found, note="")  # which is ours to say
            if found is not None:
                return self._of(home, found)
            missing = ask.missing(home)
            # The output and the end of one that was spawned from here are kept here, too.
            past = None if node else self._processes.past(pid)
            if past is not None:
                because = missing or f"{ask.elsewhere.name(home)} remembers no more"
                return self._of(home, msgspec.structs.replace(past, note=f"no more is known of it: {because}"))
            raise CommandError(f"{ask.elsewhere.label(home)}: {missing}") if missing else self._no_such(what)

        return asking.addCallback(check)

    def label(self, pid: int) -> str:
        """What people call a process that has this pid here: the pid, or ``PID@NODE`` where it runs on another.

        Both name it in commands; of one that has ended, as long as that is remembered.
        """
        return self._courier.ask.label(pid)

    def _home(self, pid: int, node: str) -> Home | None:
        """The process that ``PID`` or ``PID@NODE`` names, if it is not of this node.

        Raises:
            CommandError: there is no such node.
        """
        ask = self._courier.ask
        if not node:
            return ask.home(pid)
        neighbour = ask.neighbour(node)
        return None if neighbour is None else ask.elsewhere.home(neighbour.id, pid)

    def _of(self, home: Home, found: _Found) -> _Found:
        """What is known of a process of another node, with its name for people and its pid there."""
        node = self._courier.ask.elsewhere.name(home)
        if isinstance(found, Live):
            return msgspec.structs.replace(found, info=msgspec.structs.replace(found.info, node=node))
        return msgspec.structs.replace(found, node=node, pid=home.pid)

    def _no_such(self, what: str) -> NoSuchProcessError:
        """The error, with a hint for whoever puts a pid of this node before the name of another."""
        who, _, node = what.partition("@")
        pid = _pid_of(who)
        if pid is not None and node:
            label = self._courier.ask.label(pid)
            if label.endswith(f"@{node}"):
                return NoSuchProcessError(what[:80], f"did you mean {label}, which is {pid} on this node?")
        return NoSuchProcessError(what[:80])


def _pid_of(text: str) -> int | None:
    """A pid that somebody typed, or None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**31 else None
