"""Supervisors of several nodes on a clock: processes, images, disk, and messages that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from iridium.assembler import assemble
from iridium.cluster.identity import DataDirectory
from iridium.errors import CommandError, IridiumError
from iridium.events import EventRing
from iridium.image import Image
from iridium.supervision.application import Package
from iridium.supervision.messages import ImagePiece, encode
from iridium.supervision.services import Follower
from iridium.supervision.supervisor import APPLICATIONS_FILE, Supervisor
from iridium.supervision.types import ExitReason, Program, Record
from tests.repl_double import ReactorClock

IMAGE = assemble(".code\nl: inc $0\ndjmpe @l\nhlt\n")
DIGEST = IMAGE.content_hash()
PACKAGE = Package("app", (Program("p", DIGEST, 4, registers=(1, 2), restarts=3),), {DIGEST: IMAGE.to_bytes()})


class FakeProcess:
    """A process that ends when it is told."""

    def __init__(self, pid: int, registers: Sequence[int], on_exit: Callable[[ExitReason], None]) -> None:
        self.pid = pid
        self.registers = registers
        self.on_exit = on_exit
        self.killed = False

    def kill(self) -> None:
        self.killed = True
        self.on_exit(ExitReason(2, "killed"))


class Deaf:
    """A follower that does nothing."""

    def member_up(self, node: str) -> None: ...
    def member_down(self, node: str) -> None: ...
    def received(self, node: str, data: bytes) -> None: ...


class Site:
    """One node: a supervisor, and the doubles of its spawner and of its place in the cluster."""

    def __init__(self, world: World, name: str, path: Path, life: int = 1) -> None:
        self.world = world
        self.id = name
        self.followers: list[Follower] = []
        self.processes: list[FakeProcess] = []
        self.full = False
        self.events = EventRing()
        self.data = DataDirectory(path / name)
        self.alive = True
        world.sites[name] = self
        self.supervisor = Supervisor(
            world.clock,
            self,
            self,
            self.data,
            self.events,
            life,
            world.clock.seconds,
            world.clock.seconds,
            Random(1),
        )
        self.supervisor.start()
        for other in world.sites.values():
            if other is not self:
                for follower in other.followers:
                    follower.member_up(name)

    def spawn(
        self,
        image: Image,
        *,
        name: str | None,
        registers: Sequence[int],
        on_start: Callable[[int], None],
        on_exit: Callable[[ExitReason], None],
    ) -> FakeProcess:
        if self.full:
            raise CommandError("there are too many processes")
        assert image.content_hash() == DIGEST
        self.processes.append(FakeProcess(100 + len(self.processes), registers, on_exit))
        on_start(self.processes[-1].pid)
        return self.processes[-1]

    def up(self) -> list[str]:
        return [name for name, site in self.world.sites.items() if site.alive and site is not self]

    def name(self, node: str) -> str:
        return node

    def send(self, node: str, data: bytes) -> bool:
        self.world.clock.callLater(0.001, self.world.deliver, self.id, node, data)
        return True

    def follow(self, follower: Follower) -> Callable[[], None]:
        self.followers.append(follower)
        return self.followers.clear

    def running(self) -> int:
        return sum(not process.killed for process in self.processes)

    def close(self) -> None:
        """The node stops."""
        if self.alive:
            self.alive = False
            self.supervisor.stop()
            self.data.close()
            for site in self.world.sites.values():
                for follower in site.followers if site.alive else ():
                    follower.member_down(self.id)


class World:
    """The nodes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ReactorClock()
        self.clock.rightNow = 1e6
        self.sites: dict[str, Site] = {}

    def site(self, name: str, life: int = 1) -> Site:
        return Site(self, name, self.path, life)

    def deliver(self, sender: str, to: str, data: bytes) -> None:
        for follower in list(self.sites[to].followers):
            follower.received(sender, data)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 100)):
            self.clock.advance(0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Nodes that are closed at the end."""
    made = World(tmp_path)
    yield made
    for site in made.sites.values():
        site.close()


def test_deploy_runs_everywhere(world: World) -> None:
    """The images reach the other nodes, the registers the processes; the view tells who runs what."""
    a, b = world.site("a"), world.site("b")
    world.run(2.0)
    a.supervisor.deploy(PACKAGE)
    world.run(1.0)
    assert (a.running(), b.running()) == (2, 2)
    assert b.supervisor.has_image(DIGEST)
    assert b.processes[0].registers == (1, 2)
    [view] = a.supervisor.applications()
    assert [row.state for row in view.replicas] == ["running"] * 4
    assert sorted(row.node for row in view.replicas) == ["a", "a", "b", "b"]
    b.supervisor.stop_application("app")
    world.run(0.5)
    assert (a.running(), b.running()) == (0, 0)


def test_failover_has_the_image_already(world: World) -> None:
    """The node that an application was deployed through may be the one that dies."""
    a, b = world.site("a"), world.site("b")
    world.run(2.0)
    a.supervisor.deploy(PACKAGE)
    world.run(1.0)
    a.close()
    world.run(0.5)
    assert b.running() == 4


def test_restart_from_disk(world: World) -> None:
    """Applications, and their images, are there again when the node is."""
    a = world.site("a")
    a.supervisor.deploy(PACKAGE)
    world.run(1.0)
    assert a.running() == 4
    a.close()
    again = world.site("a", life=2)
    assert again.running() == 0
    world.run(3.0)
    assert again.running() == 4


def test_an_ended_process_is_restarted_and_given_up(world: World) -> None:
    """What ends is started again with pauses, and given up with an event when it ends too often."""
    a = world.site("a")
    a.supervisor.deploy(Package("app", (Program("p", DIGEST, restarts=3),), PACKAGE.images))
    for _ in range(4):
        world.run(2.0)
        a.processes[-1].killed = True
        a.processes[-1].on_exit(ExitReason(1, "fault: heap-bounds"))
    world.run(20.0)
    assert len(a.processes) == 4
    [row] = a.supervisor.applications()[0].replicas
    assert row.state == "given-up"
    assert "heap-bounds" in row.detail
    kinds = [event.kind for event in a.events.recent()]
    assert kinds.count("replica-restart") == 3
    assert kinds.count("replica-given-up") == 1


def test_a_spawner_that_refuses(world: World) -> None:
    """A start that fails counts as an abnormal end."""
    a = world.site("a")
    a.full = True
    a.supervisor.deploy(PACKAGE)
    world.run(10.0)
    assert {row.state for row in a.supervisor.applications()[0].replicas} == {"given-up"}
    assert "too many processes" in a.supervisor.applications()[0].replicas[0].detail


def test_leaving(world: World) -> None:
    """A node that leaves takes nothing with it."""
    a, b = world.site("a"), world.site("b")
    world.run(2.0)
    a.supervisor.deploy(PACKAGE)
    world.run(1.0)
    b.supervisor.leave()
    world.run(0.5)
    assert (a.running(), b.running()) == (4, 0)
    b.alive = False
    a.supervisor.member_down("b")
    b.supervisor.member_down("a")
    b.supervisor.left()
    world.run(5.0)
    assert (a.running(), b.running()) == (4, 0)
    assert b.supervisor.applications() == []


def test_what_cannot_be_deployed(world: World) -> None:
    """An image that is not there or is none, too many replicas, an application that is not there: told."""
    a = world.site("a")
    programs = tuple(Program(f"p{at}", DIGEST, 256) for at in range(3))
    with pytest.raises(CommandError, match="send it first"):
        a.supervisor.deploy(PACKAGE._replace(images={}))
    with pytest.raises(CommandError, match="ask for fewer"):
        a.supervisor.deploy(PACKAGE._replace(programs=programs))
    with pytest.raises(IridiumError, match="not the one"):
        a.supervisor.deploy(PACKAGE._replace(images={"0" * 64: IMAGE.to_bytes()}))
    with pytest.raises(IridiumError, match="not an Iridium image"):
        a.supervisor.deploy(PACKAGE._replace(images={"0" * 64: b"x"}))
    with pytest.raises(CommandError, match="there are none"):
        a.supervisor.stop_application("app")
    with pytest.raises(CommandError, match="no application x"):
        a.supervisor.rebalance("x")
    assert a.supervisor.rebalance() == []


def test_bad_messages_are_counted(world: World) -> None:
    """What a member sends that is no message is counted, told a few times, and harms nothing."""
    a, _ = world.site("a"), world.site("b")
    for _ in range(100):
        a.supervisor.received("b", b"{}")
    a.supervisor.received("b", encode(ImagePiece(DIGEST, 0, 10, b"x")))
    assert a.supervisor.bad_messages == 100
    assert sum(event.kind == "bad-message" for event in a.events.recent()) == 5


def test_an_image_that_lies(world: World) -> None:
    """A member that answers with another image is told of, and another member asked."""
    a, b = world.site("a"), world.site("b")
    world.run(2.0)
    b.followers[:] = [Deaf()]  # it is the test that answers for it
    a.supervisor.machine.deploy("app", (Program("p", DIGEST),))
    world.run(0.1)
    a.supervisor.received("b", encode(ImagePiece(DIGEST, 0, 4, b"EPIE")))
    assert a.supervisor.fetcher.lies == 1
    assert [event.subject for event in a.events.recent() if event.kind == "image-lie"] == ["b"]
    assert not a.supervisor.has_image(DIGEST)


def test_stopping_saves(world: World) -> None:
    """What was decided just before the node stopped is on its disk."""
    a = world.site("a")
    a.supervisor.deploy(PACKAGE)
    a.supervisor.stop_application("app")
    a.close()
    [record] = DataDirectory(a.data.path).read(APPLICATIONS_FILE, list[Record]) or []
    assert record.stopped
