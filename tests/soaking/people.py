"""People at a node's shell who come, type and go, politely or not: each is a coroutine with a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.soaking import programs

PATIENCE = 60.0
"""Seconds that an answer may take, on a machine that is busy with 200 of them."""

PAUSE = (0.2, 3.0)
"""Seconds between two things that a person does."""

MOST_LINES = 6
"""Things that a person does before going."""

_RESET = struct.pack("ii", 1, 0)
_INTERRUPT = b"\xff\xf4"  # telnet's IAC IP

LINES = (
    "load $1 #7",
    "add $1 $1 $2",
    "here: inc $3",
    "div $1 $0 $4",
    "bogus $1",
    "prti $2",
    "load $5",
    "push $1",
    "pop $6",
    "load $7 #64",
    "aloc $7",
    "setm $0 $1",
    ".data",
)
"""Lines of assembly, some wrong, some that fault."""

QUESTIONS = (
    "!stats",
    "!limits",
    "!events 5",
    "!cluster_members",
    "!mesh",
    "!ps",
    "!ps --all",
    "!dead",
    "!heap",
    "!stack",
    "!symbols",
    "!program",
    "!disassemble",
    "!history",
    "!help",
    "!apps",
    "!xyzzy",
)
"""Commands that tell something."""


class HangUp(Exception):  # noqa: N818 - it is what happens, not what is wrong
    """The node closed the connection, as it may."""


class Tally:
    """What all people did.

    Attributes:
        done: how often what was done.
        problems: what a node may not do to anybody.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []


class Person:
    """Somebody who comes and goes.

    Args:
        number: which.
        port: the shell's.
        directory: where the programs of the node's sessions are.
        others: the aliases of nodes that processes may be started on.
        tally: what is done is noted there.
        over: set when everybody is to go.
        chance: what is drawn.
    """

    def __init__(
        self,
        number: int,
        port: int,
        directory: Path,
        others: list[str],
        tally: Tally,
        over: asyncio.Event,
        chance: random.Random,
    ) -> None:
        self._port = port
        self._directory = directory
        self._own = f"own{number}"
        self._others = others
        self._tally = tally
        self._over = over
        self._chance = chance
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._doings: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (6, self._type),
            (4, self._question),
            (3, self._run),
            (2, self._stop),
            (4, self._spawn),
            (2, self._wait),
            (1, self._mail),
            (2, self._unique),
            (1, self._follow),
            (1, self._tell),
        )
        self._endings: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (4, self._quit),
            (3, self._end_input),
            (3, self._reset),
            (2, self._half_a_line),
            (2, self._leave_running),
            (1, self._flood),
        )

    async def live(self) -> None:
        """Come and go until told to stay away."""
        while not self._over.is_set():
            await self._idle(0.0, PAUSE[1])
            try:
                await self._visit()
            except (HangUp, ConnectionError):
                self._tally.done["hung up on"] += 1
            except TimeoutError:
                self._tally.problems.append(f"{self._own} got no answer within {PATIENCE:g} s")

    async def _idle(self, least: float = PAUSE[0], most: float = PAUSE[1]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._chance.uniform(least, most))

    async def _visit(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        try:
            if self._chance.random() < 0.1:
                await self._silent()
                return
            await self._until(b"productive!\n")
            for _ in range(self._chance.randint(1, MOST_LINES)):
                await self._one_of(self._doings)
                await self._idle()
                if self._over.is_set():
                    break
            await self._one_of(self._endings)
        finally:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    async def _one_of(self, choices: tuple[tuple[int, Callable[[], Awaitable[None]]], ...]) -> None:
        ((_, doing),) = self._chance.choices(choices, [weight for weight, _ in choices])
        await doing()
        self._tally.done[doing.__name__.strip("_")] += 1

    # --- the wire ---

    def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def _line(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise HangUp
        return line.replace(b"\r\n", b"\n")

    async def _until(self, end: bytes) -> None:
        while not (await self._line()).endswith(end):
            pass

    async def _settled(self) -> None:
        """Wait until all lines are done: commands are done in their order."""
        self._say("!registers --json")
        await self._until_object("registers", "error")

    async def _until_object(self, *fields: str) -> dict[str, Any]:
        """The next answer that has one of these fields."""
        while True:
            line = await self._line()
            at = line.find(b"{")  # a prompt or output may stand before it
            if at < 0:
                continue
            try:
                found = json.loads(line[at:])
            except ValueError:
                continue
            if isinstance(found, dict) and any(field in found for field in fields):
                return found

    # --- what people do ---

    async def _type(self) -> None:
        self._say(*self._chance.choices(LINES, k=self._chance.randint(1, 8)))
        await self._settled()

    async def _question(self) -> None:
        self._say(self._chance.choice(QUESTIONS))
        await self._settled()

    async def _run(self) -> None:
        self._say(f"!load_file {self._chance.choice(programs.EXAMPLES)}.iasm", "!run")
        await self._settled()

    async def _stop(self) -> None:
        self._say("!load_file spinning.iasm", "!run")
        await self._until(b"round and round\n")
        await self._idle(0.0, 0.5)
        if self._chance.random() < 0.5:
            self._say("!stop")
        else:
            self._writer.write(_INTERRUPT)
        await self._settled()

    async def _spawn(self) -> None:
        where = f" on {self._chance.choice(self._others)}" if self._others and self._chance.random() < 0.4 else ""
        self._say(f"!spawn {self._chance.choice(list(programs.OURS))}.iasm{where} --json")
        answer = await self._until_object("pid", "error")
        if "pid" in answer:
            await self._idle(0.0, 0.5)
            pid = answer["pid"]
            self._say(self._chance.choice([f"!kill {pid}", f"!send {pid} 7", f"!why {pid}", f"!observe {pid}"]))
            await self._idle(0.0, 1.0)
            # Those that spin do not end by themselves.
            self._say("!stop", f"!kill {pid}")
        await self._settled()

    async def _wait(self) -> None:
        name = self._chance.choice([*programs.EXAMPLES, "workers", "crashing", "sleeping"])
        self._say(f"!spawn {name}.iasm --wait")
        await self._settled()

    async def _mail(self) -> None:
        self._say("self $1", "send $1 $2", "recv $3 $4 $5", "send $1 $2", "!flush")
        await self._settled()

    async def _unique(self) -> None:
        source = programs.unique(self._chance)
        if self._chance.random() < 0.3:
            self._say("!clear_program", *source.splitlines()[1:])
        else:
            (self._directory / f"{self._own}.iasm").write_text(source)
            self._say(f"!load_file {self._own}.iasm", "!run", f"!spawn {self._own}.iasm --wait")
        await self._settled()

    async def _follow(self) -> None:
        self._say("!events 3 --follow")
        await self._idle()
        self._say("!stop")
        await self._settled()

    async def _tell(self) -> None:
        self._say(f"!tell {self._chance.choice(['*', *self._others])} hello from {self._own}")
        await self._settled()

    # --- how people go ---

    async def _silent(self) -> None:
        await self._idle()
        self._tally.done["silent"] += 1
        await self._reset()

    async def _quit(self) -> None:
        self._say("!quit")
        with contextlib.suppress(HangUp):
            await self._until(b"never\n")

    async def _end_input(self) -> None:
        self._say("prti $1", "!registers")
        self._writer.write_eof()
        with contextlib.suppress(HangUp):
            await self._until(b"never\n")

    async def _reset(self) -> None:
        found = self._writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    async def _half_a_line(self) -> None:
        self._writer.write(b"load $1 #")
        await self._idle(0.0, 0.2)
        await self._reset()

    async def _leave_running(self) -> None:
        """Go while a program runs and a line waits: both end with the session."""
        self._say("!load_file spinning.iasm", "!run")
        await self._until(b"round and round\n")
        self._say("inc $1")
        await self._idle(0.0, 0.2)
        await self._reset()

    async def _flood(self) -> None:
        """Have a lot printed, read none of it, and go."""
        self._say("!load_file talking.iasm", "!run")
        await self._idle()
        await self._reset()
