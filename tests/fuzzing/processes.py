"""Random programs of processes, whose results do not depend on the order of turns; and what is compared of them.

A process spawns others in phases. It tells each when to begin, and takes all that a phase sends before the next
one begins: words, pids to be answered, bytes, notices of ends. How many there are is known when the program is
written, and what is made of them is a sum, so that any order gives the same. The runtime runs a program in
several forms and with turns of several lengths, and nothing that is observed may differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from iridium.processes.kept import MOST_DEAD, Dead
from tests.local import FORMS, Local, switch

BODIES = 8
"""Processes that a program has the code of, about: compiling takes longer than running."""

DEEPEST = 2
"""How far children have children of their own."""

TURNS = (17, 300, 4096)
"""Instructions of a turn, as the runtime is told: the order of turns is another with each."""

SENT = ("word", "pid", "bytes")

ENDS = {
    "hlt": "hlt",
    "code": "load $1 #255 | and $21 $1 $1 | inc $1 | hltr $1",
    "exit": "load $1 #63 | and $22 $1 $1 | exit $1",
    "divides by zero": "div $21 $0 $1",
    "leaves the heap": "load $1 #-1 | loadm $1 $2",
    "jumps to nowhere": "load $1 #3 | jmp $1",
    "starts nobody": "load $1 #6 | spawn $1 $2",
    "sends what it does not have": "load $1 #5000 | sendm $20 $1 $1",
    "kills itself": "self $1 | kill $1",
    "ties itself to nobody": "load $1 #0 | link $1",
}
"""How a process ends, with the reason that follows from it."""

WORK = (
    "sleep $0",
    "load $1 #1 | sleep $1",
    "clock $1 | load $2 #2 | sleep $2 | clock $2 | sub $2 $1 $2 | load $1 #1 | gte $2 $1 | djmpn @bad",
    "recvt $0 | djmpe @bad",
    "load $1 #1 | recvt $1 | djmpe @bad",
    "nodes $1 | add $21 $1 $21",
    "prti $21",
    "push $21 | pop $22",
    "send $0 $21 | djmpe @bad",
    "kill $0 | djmpe @bad",
)
"""What a process does that nobody waits for: nothing comes to it meanwhile."""

BAD = 999
"""The exit code of a process that met what cannot be, whatever the order."""

HEAD = """mov $18 $20 | self $18 | load $25 #2654435 | load $26 #512 | load $27 #1000000 | load $29 #4711
      load $1 #1024 | aloc $1"""
"""$18 is the own pid, $20 the parent's; $21 and $22 are sums of all that comes; $29 is what pids are answered."""

COLLECT = """load $24 #{count}
{at}: eq $24 $0 | djmpe @{at}_over | recvt $27 | djmpn @bad | recv $4 $5 $6 | dec $24
      load $7 #1 | eq $6 $7 | djmpe @{at}_pid | load $7 #2 | eq $6 $7 | djmpe @{at}_bytes
      mul $4 $25 $5 | add $5 $6 $5 | add $21 $4 $21 | xor $22 $5 $22 | eq $0 $0 | djmpe @{at}
{at}_pid: send $4 $29 | djmpn @bad | inc $21 | eq $0 $0 | djmpe @{at}
{at}_bytes: recvm $26 $4 $5 | djmpn @bad | load $7 #512 | add $4 $7 $5 | add $21 $4 $21
{at}_sum: gte $7 $5 | djmpe @{at} | loadb $7 $6 | mul $6 $25 $6 | add $21 $6 $21 | inc $7
      eq $0 $0 | djmpe @{at}_sum
{at}_over: recvt $0 | djmpe @bad"""


class Role(NamedTuple):
    """A process that others spawn.

    Attributes:
        label: where it begins.
        messages: how many it sends to whoever spawned it.
        waits: whether it does nothing but wait for its end.
    """

    label: str
    messages: int
    waits: bool = False


class Author:
    """Writes one program.

    Args:
        chance: decides everything.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.lines: list[str] = []
        self._labels = 0
        self._bodies = BODIES

    def program(self) -> str:
        """The source."""
        root = [HEAD, "load $21 #1 | load $22 #2", *self._phases(0)]
        root.append("prti $21 | load $1 #32 | prtc $1 | prti $22 | hltr $21")
        code = "|".join([*root, *self.lines, f"bad: load $1 #{BAD} | hltr $1"])
        return ".code\n" + code.replace("|", "\n") + "\n"

    def _label(self) -> str:
        self._labels += 1
        return f"l{self._labels}"

    def _phases(self, depth: int) -> Iterator[str]:
        for _ in range(self.chance.randint(1, 2)):
            expected = 0
            for _ in range(self.chance.randint(1, 3)):
                role = self._role(depth + 1)
                for _ in range(self.chance.choice((1, 1, 2, 3))):
                    code, count = self._child(role)
                    expected += count
                    yield code
            yield COLLECT.format(at=self._label(), count=expected)
            if self.chance.random() < 0.5:
                yield from self._work()

    def _child(self, role: Role) -> tuple[str, int]:
        """Start one and let it go: the code, and how many messages will come of it."""
        code = [f"load $19 @{role.label} | add $21 $22 $17 | spawn $19 $10 | djmpn @bad"]
        monitors = self.chance.choice((0, 1, 1, 2))
        code += ["monitor $10 | djmpn @bad"] * monitors
        forgets = monitors and self.chance.random() < 0.2
        if forgets:
            code.append("demonitor $10")
        go = f"load $1 #{self.chance.randrange(1000)} | send $10 $1 | djmpn @bad"
        code.append("kill $10" if role.waits else go)
        notices = int(monitors > 0 and not forgets)
        return "|".join(code), role.messages + notices

    def _role(self, depth: int) -> Role:
        """A process that is written now."""
        self._bodies -= 1
        label = self._label()
        kind = self.chance.random()
        if kind < 0.1:
            self.lines.append(f"{label}: recv $1 $2 $3 | hlt")
            return Role(label, 0, waits=True)
        body = [f"{label}: {HEAD}", "recv $1 $2 $3 | eq $2 $20 | djmpn @bad | mov $1 $21 | mov $17 $22"]
        if depth < DEEPEST and self._bodies > 0:
            body += self._phases(depth)
        body += self._work()
        messages = [self.chance.choice(SENT) for _ in range(self.chance.randrange(4))]
        for message in messages:
            body += [self._send(message), *self._work()]
        body.append(self._tied() if kind < 0.25 else self.chance.choice(list(ENDS.values())))
        self.lines += body
        return Role(label, len(messages))

    def _send(self, what: str) -> str:
        at = self._label()
        if what == "word":
            return "send $20 $21 | djmpn @bad"
        if what == "pid":
            return (
                "sendp $20 $18 | djmpn @bad | recvt $27 | djmpn @bad | recv $1 $2 $3 | eq $2 $20 | djmpn @bad"
                "| add $21 $1 $21"
            )
        return (
            f"load $1 #0 | load $2 #{self.chance.choice((0, 1, 7, 64))} | {at}: gte $1 $2 | djmpe @{at}_full"
            f"| mul $21 $25 $21 | inc $21 | setb $1 $21 | inc $1 | eq $0 $0 | djmpe @{at}"
            f"| {at}_full: sendm $20 $0 $2 | djmpn @bad"
        )

    def _tied(self) -> str:
        """Tie oneself to a child, and end with its reason; or go on, where it ends normally."""
        at = self._label()
        how = self.chance.choice(("hlt", "divides by zero", "exit"))
        self.lines.append(f"{at}: recv $1 $2 $3 | {ENDS[how]}")
        # An odd $22, of which the child has a copy, is a reason that is not normal.
        code = f"load $1 #1 | or $22 $1 $22 | load $19 @{at} | spawn $19 $10 | djmpn @bad | link $10 | djmpn @bad"
        if how == "hlt":
            return f"{code} | monitor $10 | send $10 $0 | recv $1 $2 $3 | eq $2 $10 | djmpn @bad | hltr $1"
        return f"{code} | send $10 $0 | recv $1 $2 $3 | eq $0 $0 | djmpe @bad"

    def _work(self) -> Iterator[str]:
        """Something that takes a while, and does not depend on anybody."""
        for _ in range(self.chance.randrange(3)):
            at = self._label()
            rounds = self.chance.choice((1, 20, 300))
            loop = f"{at}: mul $21 $25 $21 | addi $21 #77 | xor $22 $21 $22 | dec $1 | gt $1 $0 | djmpe @{at}"
            yield self.chance.choice((f"load $1 #{rounds} | {loop}", *WORK))


def make_processes(number: int) -> str:
    """The source of the program of a number."""
    return Author(random.Random(f"processes {number}")).program()


def observe(form: str, source: str, turn: int) -> dict[str, Any]:
    """Run a program in a form of the runtime that this process has switched to; what is seen of it.

    Args:
        form: one of :data:`tests.local.FORMS`.
        source: the program.
        turn: instructions of a turn.
    """
    local = Local(form)
    local.shared.turn = turn
    try:
        first = local.spawn(source)
        # Nobody may wait any longer where one has met what cannot be.
        local.until(lambda: local.table.alive == 0 or _bad(local) > 0)
        dead = [
            # Who was ended by others may have been anywhere just then.
            (one.reason, one.fault, one.output, _ended_itself(one) and one.instructions)
            for one in local.processes.graveyard.all()
        ]
        return {
            "end": first.exit,
            "output": first.output,
            "dead": sorted(dead) if len(dead) < MOST_DEAD else [],
            "bad": _bad(local),
            "dead letters": int(local.shared.dead_letters),
            "overruns": int(local.shared.overruns),
            "unread": int(local.shared.unread),
        }
    finally:
        local.close()


def _bad(local: Local) -> int:
    return sum(one.reason == BAD for one in local.processes.graveyard.all())


def _ended_itself(dead: Dead) -> bool:
    return bool(dead.fault) or dead.instruction.startswith(("hltr", "exit"))


def compare(number: int, forms: Sequence[str] = FORMS) -> tuple[str, list[str]]:
    """Run the program of a number in several forms and with several lengths of a turn.

    Returns:
        The source, and what was wrong.
    """
    chance = random.Random(f"turns {number}")
    source = make_processes(number)
    runs = [("python", TURNS[-1]), *((form, chance.choice(TURNS)) for form in forms)]
    wrong: list[str] = []
    want: dict[str, Any] = {"bad": 0}
    for form, turn in runs:
        with pytest.MonkeyPatch.context() as patch:
            switch(form, patch)
            try:
                seen = observe(form, source, turn)
            except AssertionError as error:  # it waits for ever
                wrong.append(f"{form}, turns of {turn}: {error}")
                continue
        wrong += [
            f"{form}, turns of {turn}: {name} is {seen[name]!r}, not {value!r}"
            for name, value in want.items()
            if seen[name] != value
        ]
        want = want if len(want) > 1 else seen
    return source, wrong
