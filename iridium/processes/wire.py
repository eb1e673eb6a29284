"""What nodes say to each other about processes, besides the messages of processes themselves.

A payload of mail starts with nothing: its kind says what it is. Letters are as the runtime has them, records of 16
bytes; control is one JSON object, told apart by its ``do``; an image follows its hash.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from iridium.processes.kept import Dead, Live, Past

LETTERS = 0
"""Records of messages, as :class:`iridium.vm.runtime.layout.Letter` has them."""
CONTROL = 1
"""One of the structs below, as JSON."""
LARGE = 2
"""One message of many bytes: its record, then the bytes."""
IMAGE = 3
"""The 32 bytes of an image's hash, then the image."""
SUPERVISION = 8
"""What supervisors say to each other; none of this module's business."""

Pid = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Word = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**32)]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(max_length=65_536)]
Title = Annotated[str, msgspec.Meta(max_length=1024)]


class Control(msgspec.Struct, tag_field="do", omit_defaults=True):
    """A request, an answer, or a notice."""


class Spawn(Control, tag="spawn"):
    """Start a process.

    Attributes:
        n: the number of the request.
        image: the hash of its program.
        pc: where it begins; 0 is the first instruction.
        registers: 256 bytes of f64 registers and 128 of i32 registers, or nothing: all 0.
        parent: who wants it, a pid of the asking node.
        name: to register it under, or "".
        title: what people call the program.
        output: whether the asking node observes it; the number of that is the one of the request.
        waits: whether that node misses nothing of the output: the process waits while there is no room on the way,
            and while the node says so.
    """

    n: Number
    image: Hash
    pc: Word = 0
    registers: Annotated[bytes, msgspec.Meta(max_length=384)] = b""
    parent: Pid = 0
    name: Title = ""
    title: Title = ""
    output: bool = False
    waits: bool = False


class Spawned(Control, tag="spawned"):
    """The answer: its pid there, or 0 and why not.

    Attributes:
        number: what to call its program in letters from now on, for as long as the session lasts; -1 for nothing.
    """

    n: Number
    pid: Pid
    why: Title = ""
    number: Annotated[int, msgspec.Meta(ge=-1, lt=2**31)] = -1


class Need(Control, tag="need"):
    """Send that image; then the requests for it are done."""

    image: Hash


class Whereis(Control, tag="whereis"):
    """Who has that name, or has that pid?"""

    n: Number
    name: Title = ""
    pid: Pid = 0


class Found(Control, tag="found"):
    """The answer: a pid, or 0."""

    n: Number
    pid: Pid


class Introduce(Control, tag="introduce"):
    """A message with the pid of a process of a third node.

    Attributes:
        to: a pid of the receiving node.
        sender: a pid of the sending node.
        node: the id of the third.
        pid: on that node.
    """

    to: Pid
    sender: Pid
    node: Title
    pid: Pid


class Watch(Control, tag="watch"):
    """Tell me when that process of yours ends: I have heard of it from somebody else."""

    pid: Pid


class Kill(Control, tag="kill"):
    """End that process of yours, with a reason."""

    pid: Pid
    reason: Word


class List(Control, tag="list"):
    """Which processes have you?"""

    n: Number


class Listed(Control, tag="listed"):
    """The answer, in lines of some hundred.

    Attributes:
        n: the number of the request.
        rows: processes.
        more: whether another line follows.
        left: processes that are in none of them, since there are so many.
    """

    n: Number
    rows: list[tuple[Pid, Title, Title, Title, Number, Number, Pid]]
    more: bool = False
    left: Number = 0


class Observe(Control, tag="observe"):
    """Send me what that process of yours has printed and will print, and how it ends; or do so no longer.

    Attributes:
        n: the number of the observation.
        pid: which; 0 in a message about an observation that there is.
        on: whether it is wanted.
        waits: of an observation that a request to spawn began: whether it still is to miss nothing.
        paused: whether the process is to wait now, once what it may print without a reader is full.
    """

    n: Number
    pid: Pid
    on: bool = True
    waits: bool = False
    paused: bool = False


class Output(Control, tag="output"):
    """What a process of mine that you observe has printed; and how it has ended, if it has.

    Attributes:
        n: the number of the observation.
        text: what it has printed.
        ended: whether that is all.
        reason, fault: how it has ended.
        missed: characters that are missing before the text, since there was no room for them.
    """

    n: Number
    text: Text = ""
    ended: bool = False
    reason: Word = 0
    fault: Text = ""
    missed: Number = 0


class Why(Control, tag="why"):
    """What is that process of yours doing, or how has it ended?"""

    n: Number
    pid: Pid


class Told(Control, tag="told"):
    """The answer; none of them where nothing is known of it."""

    n: Number
    live: Live | None = None
    dead: Dead | None = None
    past: Past | None = None


AnyControl = (
    Spawn
    | Spawned
    | Need
    | Whereis
    | Found
    | Introduce
    | Watch
    | Kill
    | List
    | Listed
    | Observe
    | Output
    | Why
    | Told
)

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyControl).decode
