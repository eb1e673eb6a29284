"""People who come over SSH, with the client of OpenSSH: for a command, for lines, or until they are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
from pathlib import Path

from tests.processes import environment
from tests.soaking.people import PATIENCE, Tally

STAY = (0.5, 8.0)
"""Seconds after which one that stays is killed."""

PAUSE = (0.5, 5.0)
"""Seconds between two visits."""

AVAILABLE = shutil.which("ssh") is not None and shutil.which("ssh-keygen") is not None
"""Whether OpenSSH is installed."""

COMMANDS = ("!ps --json", "!stats", "!spawn hello.iasm --wait", "!spawn crashing.iasm --wait", "!xyzzy")
LINES = b"load $1 #7\ninc $1\nprti $1\n!load_file fibonacci.iasm\n!run\nbogus\n!registers\n"
SPIN = b"!load_file spinning.iasm\n!run\n"


def make_key(directory: Path, authorized: Path) -> Path:
    """A key that the node whose file of authorized keys is given lets in."""
    key = directory / "guest"
    command = ["ssh-keygen", "-q", "-N", "", "-C", "guest", "-t", "ed25519", "-f", str(key)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(key.with_suffix(".pub").read_text())
    authorized.chmod(0o600)
    return key


class Guest:
    """Somebody who comes over SSH.

    Args:
        port: where.
        root: a directory that is theirs.
        key: lets them in.
        tally: what is done is noted there.
        over: set when everybody is to go.
        chance: what is drawn.
    """

    def __init__(
        self, port: int, root: Path, key: Path, tally: Tally, over: asyncio.Event, chance: random.Random
    ) -> None:
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR", "BatchMode=yes"]
        options += [f"UserKnownHostsFile={root / 'known'}", f"ConnectTimeout={PATIENCE:.0f}"]
        self._command = ["ssh", "-F", "none", "-i", str(key), "-p", str(port)]
        self._command += [word for option in options for word in ("-o", option)]
        self._root = root
        self._tally = tally
        self._over = over
        self._chance = chance

    async def live(self) -> None:
        """Come and go until told to stay away."""
        while not self._over.is_set():
            await self._idle(*PAUSE)
            what = self._chance.choice(["command", "lines", "terminal", "killed", "killed"])
            if what == "command":
                await self._ssh(["127.0.0.1", self._chance.choice(COMMANDS)], b"")
            elif what == "lines":
                await self._ssh(["127.0.0.1"], LINES)
            elif what == "terminal":
                await self._ssh(["-tt", "127.0.0.1"], LINES.replace(b"\n", b"\r") + b"!quit\r")
            else:
                await self._killed()
            self._tally.done[f"ssh {what}"] += 1

    async def _idle(self, least: float, most: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._chance.uniform(least, most))

    async def _start(self, arguments: list[str]) -> asyncio.subprocess.Process:
        pipe, nobody = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            *self._command, *arguments, env=environment(self._root), stdin=pipe, stdout=nobody, stderr=nobody
        )

    async def _ssh(self, arguments: list[str], given: bytes) -> None:
        ssh = await self._start(arguments)
        try:
            await asyncio.wait_for(ssh.communicate(given), PATIENCE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                ssh.kill()
            await ssh.wait()
            self._tally.problems.append(f"ssh {arguments} took over {PATIENCE:g} s")
            return
        if ssh.returncode == 255:
            self._tally.problems.append(f"ssh {arguments} could not log in")

    async def _killed(self) -> None:
        """Go without a word, while a program runs and a line waits."""
        ssh = await self._start(["127.0.0.1"])
        assert ssh.stdin is not None
        ssh.stdin.write(SPIN)
        await self._idle(*STAY)
        with contextlib.suppress(ProcessLookupError):
            ssh.kill()
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            ssh.stdin.close()
        await ssh.wait()
