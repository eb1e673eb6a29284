"""``iridium run --node`` and ``iridium load``: programs that are assembled here, for a running node."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import click

from iridium.cli import running
from iridium.cli.cluster import (
    FAILED,
    checked,
    checked_answer,
    json_option,
    node_option,
    send_image,
    session,
    shell_of,
)
from iridium.cli.programs import SUFFIX
from iridium.cli.report import Transcript, document, register_listing
from iridium.cli.status import INTERRUPTED, ExitError, say
from iridium.cli.streams import Output, display_name, read_file
from iridium.image import HEADER, Image
from iridium.isa import Fault
from iridium.repl.client import Shell
from iridium.vm import VM, Crash, Program, Stop

TIMEOUT = 30.0
"""Seconds that a node may take for a command."""

FOR_EVER = 1e9
"""Seconds that a program may run."""

INSIST = 0.5
"""Seconds in which another interrupt is the same: `timeout -s INT` sends two."""

MOST_REPORTED = 20
"""Ends of other processes that are told: a program may start thousands that all crash."""

_ENDED = re.compile(r"\[(\d+)\] ended: (.*)")


class RemoteVM(VM):
    """A machine as a node has told of it, after its run.

    Args:
        image: what it ran.
        ended: what ``!run_sent`` answered.
        integers, floats: what ``!registers`` and ``!float_registers`` did; None where nobody asked.
    """

    def __init__(
        self, image: Image, ended: dict[str, Any], integers: dict[str, Any] | None, floats: dict[str, Any] | None
    ) -> None:
        super().__init__(Program(image))
        record = self.record
        record.pc = ended["pc"]
        record.instructions = ended["instructions"]
        record.stop = {"halted": Stop.HALTED, "fault": Stop.FAULT}.get(ended["outcome"], Stop.BUDGET)
        record.stop_code = ended["code"] or 0
        if integers is not None and floats is not None:
            record.registers[:] = integers["registers"]
            record.float_registers[:] = [float(value) for value in floats["float_registers"]]
            for name in ("equal_flag", "remainder", "loop_counter"):
                setattr(record, name, integers[name])
        fault = ended["fault"]
        self._crash = fault and Crash(Fault(fault["kind"]), fault["pc"], fault["line"], fault["message"])

    @property
    def crash(self) -> Crash | None:
        """The fault that the node told of."""
        return self._crash


def _title(name: str) -> str:
    """A name as a line of the shell can have it."""
    return "".join(c if c.isprintable() else "?" for c in name) or "?"


def _image(program: str) -> tuple[str, Image, bytes, str]:
    """The name of a program, its image, that as bytes, and their hash; nothing has been sent yet.

    Raises:
        ExitError: it cannot be read, or has mistakes.
    """
    name = display_name(program)
    image = running.load(read_file(program), name, line_table=True)
    data = image.to_bytes()
    return name, image, data, hashlib.sha256(data).hexdigest()


class _Stopper:
    """Stops a program on a node once somebody wants it: Ctrl-C, or the time that it may take.

    Args:
        shell: where it runs.

    Attributes:
        why: "interrupt" or "time", or None.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.why: str | None = None
        self._interrupted_at: float | None = None

    @contextlib.contextmanager
    def watching(self, timeout: float | None) -> Iterator[None]:
        """Stop what the command that is given meanwhile does, once somebody wants it."""
        self._shell.sent.clear()
        timer = threading.Timer(timeout, self._time_is_over) if timeout is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        # A signal can only be dealt with in the main thread; elsewhere, as in a test, nobody types Ctrl-C.
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, self._interrupted) if main else None
        try:
            yield
        finally:
            if main:
                signal.signal(signal.SIGINT, before)
            if timer is not None:
                timer.cancel()

    def _interrupted(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._interrupted_at is not None and now - self._interrupted_at < INSIST:
            return
        if self._interrupted_at is not None or not self._shell.sent.is_set():
            raise KeyboardInterrupt  # nothing runs yet, or the node takes its time: ending the session stops it
        self._interrupted_at = now
        self.why = "interrupt"
        self._shell.interrupt()

    def _time_is_over(self) -> None:
        self._shell.sent.wait()
        if self.why is None:
            self.why = "time"
            self._shell.interrupt()


def run(
    program: str, node: str, *, as_json: bool, registers: bool, limit: int | None, timeout: float | None
) -> int:
    """Do ``iridium run --node``.

    Args:
        program: the file, or ``-``.
        node: the REPL port of the node, as HOST:PORT.
        as_json, registers, limit, timeout: the options of that name.

    Returns:
        The exit status.

    Raises:
        ExitError: it cannot be run, or did not halt.
    """
    name, image, data, digest = _image(program)
    output, transcript = Output(), Transcript()
    with shell_of(node) as shell:
        tell = checked(shell)
        send_image(tell, "!spawn_image", digest, data)
        shell.on_news = _reporter(name)
        stopper = _Stopper(shell)
        write = transcript.write if as_json else output.write
        most = "-" if limit is None else str(min(limit, 2**62))
        with stopper.watching(timeout):
            answer = shell(
                f"!run_sent {digest} {most} {_title(name)}",
                FOR_EVER,
                lambda event: write(str(event["output"])),
            )
        if answer.get("error", {}).get("kind") == "InterruptedCommandError" and stopper.why:
            answer = {
                "outcome": "stopped",
                "pc": HEADER + len(image.read_only),
                "instructions": 0,
                "code": None,
                "fault": None,
            }
        ended = checked_answer(answer)
        wanted = as_json or registers
        integers = tell("!registers", TIMEOUT) if wanted else None
        floats = tell("!float_registers", TIMEOUT) if wanted else None
    vm = RemoteVM(image, ended, integers, floats)
    reason = {"limit": "instructions", "stopped": "time"}.get(ended["outcome"])
    stopped = ended["outcome"] == "stopped" and stopper.why != "time"
    if ended["outcome"] == "failed":
        raise ExitError(
            f"{name}: the engine of {node} failed: a bug of Iridium; the node's log tells more", FAILED
        )
    if stopped:
        if output.is_terminal:
            output.start_line()
        count = f"{vm.record.instructions} instruction{'' if vm.record.instructions == 1 else 's'}"
        raise ExitError(f"{name}: stopped on {node} after {count}, at pc {vm.record.pc}", INTERRUPTED)
    if as_json:
        output.write(document(vm, reason, transcript) + "\n")
    elif registers:
        output.start_line()
        output.write(register_listing(vm, rich=output.is_terminal))
    return running.end(output, *running.verdict(vm, name, reason))


def _reporter(name: str) -> Any:
    """What tells of processes of the program that did not end normally."""
    told = 0

    def report(line: str) -> None:
        nonlocal told
        found = _ENDED.match(line)
        if found is not None and told < MOST_REPORTED:
            told += 1
            say(f"{name}: process {found[1]} ended: {found[2]}")

    return report


@click.command()
@click.argument("program")
@click.option("--as", "name", metavar="NAME", help="What to call it there; the file's name with .ir unless given.")
@click.option("--replace", is_flag=True, help="Take the place of a program that has that name.")
@node_option
@json_option
def load(program: str, *, name: str | None, replace: bool, node: str, as_json: bool) -> None:
    """Keep PROGRAM, a source or an image, on a running node, under a name; `-` is standard input.

    It is read and assembled here, and stored as an image in the node's programs directory. Any session there can
    `!load_file NAME` and `!spawn NAME`; `!programs` lists what there is.
    """
    if name is None:
        if program == "-":
            raise click.UsageError("a program from standard input has no name: add --as NAME")
        name = os.path.splitext(os.path.basename(program))[0] + SUFFIX
    _, _, data, digest = _image(program)
    if not name or any(map(str.isspace, name)):
        raise ExitError(f"iridium: {name!r} cannot be the name of a program; choose another with --as", FAILED)
    with session(node) as tell:
        send_image(tell, "!spawn_image", digest, data)
        stored = tell(f"!store_sent {digest} {name}{' --replace' if replace else ''}", TIMEOUT)
    output = Output()
    if as_json:
        output.write(json.dumps(stored) + "\n")
        return
    how = ", in place of another" if stored["replaced"] else ""
    output.write(f"stored {stored['program']} on {node}: {stored['bytes']} bytes{how}\n")
