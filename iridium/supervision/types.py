"""What supervision is about: programs, records of applications, claims of replicas. Values only."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, NamedTuple

import msgspec

LONGEST_NAME = 32
"""Characters of the name of an application or of a program: they stand in every claim."""

MOST_PROGRAMS = 32
"""Programs of an application: a record stays a small message."""

MOST_REPLICAS = 256
"""Replicas of a program: one for each node of the largest cluster."""

MOST_CLAIMS = 512
"""Replicas that one node runs, and that a cluster is asked for: its last node must be able to run them all."""

MOST_ENDED = 512
"""Ended replicas that a record remembers: twice the nodes of the largest cluster."""

LONGEST_DETAIL = 120
"""Characters of why a replica is in its state."""

LONGEST_REGISTERED = 64
"""Characters of the name under which a replica is registered on its node."""

MOST_REGISTERS = 32
"""Initial registers: as many as a machine has."""

EACH = 0
"""As the number of replicas: one on each node."""

Name = Annotated[str, msgspec.Meta(pattern=rf"\A[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}\Z")]
Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Deployment = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Detail = Annotated[str, msgspec.Meta(max_length=LONGEST_DETAIL)]
Word = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
Restart = Literal["permanent", "transient", "temporary"]
State = Literal["starting", "running", "waiting", "given-up", "handed"]


class ExitReason(NamedTuple):
    """How a process ended.

    Attributes:
        code: 0 is a normal end, every other number an abnormal one.
        words: the same for people.
    """

    code: int
    words: str


class Program(msgspec.Struct, frozen=True):
    """One program of an application, as the cluster knows it.

    Attributes:
        name: what it is called in its application.
        image: the content hash of its image.
        replicas: how many run in the cluster; :data:`EACH` is one on each node.
        restart: when a replica that ended runs again: always, after an abnormal end, never.
        restarts, period: more restarts than that in so many seconds are too many.
        first, factor, most: the first pause before a restart in seconds, what each further one is multiplied by,
            and the longest.
        jitter: the part of a pause that chance decides, from 0 to 1.
        register: the name of the process on its node, or None.
        registers: what the first integer registers hold.
    """

    name: Name
    image: Hash
    replicas: Annotated[int, msgspec.Meta(ge=0, le=MOST_REPLICAS)] = 1
    restart: Restart = "permanent"
    restarts: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 5
    period: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 60.0
    first: Seconds = 0.1
    factor: Annotated[float, msgspec.Meta(ge=1, le=100)] = 2.0
    most: Seconds = 30.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    register: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_REGISTERED)] | None = None
    registers: Annotated[tuple[Word, ...], msgspec.Meta(max_length=MOST_REGISTERS)] = ()

    def replicas_on(self, node: str) -> list[str]:
        """The replicas that a node has to see to: all of them, or its own where each node has one."""
        return [node] if self.replicas == EACH else [str(at) for at in range(self.replicas)]


class Record(msgspec.Struct, frozen=True):
    """What the cluster knows of an application.

    Attributes:
        name: its name.
        version: grows with every deployment and stop; milliseconds of Unix time where that is larger.
        deployment: names this deployment; of two with one version the larger counts.
        stopped: whether it is to run no more.
        programs: what is to run.
        balanced: grows with every ``rebalance``.
        ended: the replicas that have ended for good, as ``program/replica``, and how.
    """

    name: Name
    version: Number
    deployment: Deployment
    stopped: bool = False
    programs: Annotated[tuple[Program, ...], msgspec.Meta(max_length=MOST_PROGRAMS)] = ()
    balanced: Number = 0
    ended: Annotated[dict[str, Detail], msgspec.Meta(max_length=MOST_ENDED)] = {}

    @property
    def order(self) -> tuple[int, str]:
        """The larger one counts."""
        return self.version, self.deployment

    def fingerprint(self) -> tuple[int, str, int, str]:
        """What differs whenever two records of an application do."""
        ended = hashlib.sha256(msgspec.json.encode(sorted(self.ended.items()))).hexdigest()[:16]
        return self.version, self.deployment, self.balanced, ended if self.ended else ""


def make_record(
    name: str, version: int, programs: tuple[Program, ...] = (), *, stopped: bool = False, balanced: int = 0
) -> Record:
    """A new record, named by its contents."""
    draft = Record(name, version, "0" * 16, stopped, programs, balanced)
    digest = hashlib.sha256(msgspec.json.encode(draft)).hexdigest()
    return msgspec.structs.replace(draft, deployment=digest[:16])


class Key(NamedTuple):
    """One replica of one deployment."""

    application: str
    deployment: str
    program: str
    replica: str

    def __str__(self) -> str:
        return f"{self.application}/{self.program}/{self.replica}"

    @property
    def place(self) -> str:
        """How a record's ``ended`` names it."""
        return f"{self.program}/{self.replica}"


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A node says that it sees to a replica.

    Attributes:
        application, deployment, program, replica: which.
        state: "starting"; "running"; "waiting" to be started again; "given-up" after too many restarts; "handed"
            over to the node ``to``, which has not claimed it yet.
        since: when the node claimed it, in milliseconds of its own Unix time; as long as the claim, it stays.
        restarts: how often the node started it again.
        pid: its process on that node, or 0.
        detail: why it is in its state.
        to: see "handed".
    """

    application: Name
    deployment: Deployment
    program: Name
    replica: NodeId
    state: State
    since: Number
    restarts: Number = 0
    pid: Word = 0
    detail: Detail = ""
    to: Annotated[str, msgspec.Meta(max_length=64)] = ""

    @property
    def key(self) -> Key:
        """The replica."""
        return Key(self.application, self.deployment, self.program, self.replica)


class ReplicaView(msgspec.Struct, frozen=True):
    """One replica, for people and tools.

    Attributes:
        program, replica: which.
        state: as in a claim; "ended" for good; "unclaimed" while no node that is up has it.
        node: where, or "".
        pid, restarts, detail: as in a claim.
    """

    program: str
    replica: str
    state: str
    node: str = ""
    pid: int = 0
    restarts: int = 0
    detail: str = ""


class ApplicationView(msgspec.Struct, frozen=True):
    """One application, for people and tools.

    Attributes:
        name, version: which.
        stopped: whether it is to run no more.
        replicas: every replica; one that two nodes claim stands there twice.
    """

    name: str
    version: int
    stopped: bool
    replicas: list[ReplicaView]
