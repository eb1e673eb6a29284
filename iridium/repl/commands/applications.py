"""Commands about applications that the cluster keeps running."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.threads import deferToThreadPool

from iridium.errors import CommandError
from iridium.repl.commands.table import Answer, Command, Result, columns, number
from iridium.repl.files import read_program
from iridium.repl.listing import pid_in_list
from iridium.repl.services import Supervisor
from iridium.repl.visible import shortened
from iridium.roles import Role
from iridium.supervision.application import Package, load
from iridium.supervision.messages import MOST_IMAGE
from iridium.supervision.types import MOST_PROGRAMS, ApplicationView, Name, Program

if TYPE_CHECKING:
    from iridium.repl.session import Session

GROUP = "applications"

_HASH = re.compile(r"[0-9a-f]{64}\Z")

_WELL = ("running", "ended")
"""States of replicas that need nobody's attention."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """An application as the command line sends it, once its images are there."""

    name: Name
    programs: list[Program]


class Applications(Result):
    """The applications and where their replicas are; and what this node is called."""

    applications: list[ApplicationView]
    here: str

    def text(self) -> str:
        """A line for each replica."""
        if not self.applications:
            return "no applications; deploy one with !deploy PATH"
        rows: list[tuple[str, ...]] = [
            ("application", "program", "replica", "node", "state", "pid", "restarts", "")
        ]
        for app in self.applications:
            if app.stopped:
                rows.append((app.name, "-", "-", "-", "stopped", "-", "-", ""))
            for at in app.replicas:
                pid = pid_in_list(at.pid, at.node, self.here) if at.pid else "-"
                rows.append(
                    (app.name, at.program, at.replica, at.node or "-", at.state, pid, str(at.restarts), at.detail)
                )
        return columns(rows)


class Deployed(Result):
    """An application that is to run from now on."""

    application: ApplicationView

    def text(self) -> str:
        """A sentence."""
        count = len(self.application.replicas)
        well = sum(replica.state in _WELL for replica in self.application.replicas)
        plural = "" if count == 1 else "s"
        return f"{self.application.name} is deployed: {count} replica{plural}, {well} running; !apps shows them"


class Stopped(Result):
    """An application that is to run no more."""

    name: str

    def text(self) -> str:
        """A sentence."""
        return f"{self.name} is stopped"


class Rebalanced(Result):
    """Applications whose replicas move."""

    names: list[str]

    def text(self) -> str:
        """A sentence."""
        if not self.names:
            return "no applications run, so there is nothing to move"
        return f"replicas of {', '.join(self.names)} move to where they would be placed today; !apps shows them"


class ImagePart(Result):
    """What a node has of an image."""

    hash: str
    complete: bool

    def text(self) -> str:
        """A sentence."""
        return f"the image {self.hash[:16]}... is {'here' if self.complete else 'not all here yet'}"


def _supervisor(session: Session) -> Supervisor:
    supervisor = session.node.supervisor
    if supervisor is None:
        raise CommandError("this node runs no applications")
    return supervisor


def show_applications(session: Session, arguments: list[str]) -> Answer:
    """``!apps``."""
    own = session.node.mesh.members()[0]
    return Applications(_supervisor(session).applications(), own.alias or own.id)


def deploy(session: Session, arguments: list[str]) -> Answer:
    """``!deploy``: reads and assembles in a thread, as ``!load_file`` does."""
    supervisor = _supervisor(session)
    name = arguments[0]
    directory = None if session.local else session.node.programs_dir
    reactor = session.node.reactor

    def read() -> Package:
        return load(read_program(name, directory), name, lambda path: read_program(path, directory))

    reading = deferToThreadPool(reactor, reactor.getThreadPool(), read)
    return reading.addCallback(lambda package: Deployed(supervisor.deploy(package)))


def deploy_image(session: Session, arguments: list[str]) -> Answer:
    """``!deploy_image``: with the hash alone, tells whether the image is here."""
    supervisor = _supervisor(session)
    digest = arguments[0]
    if _HASH.match(digest) is None:
        raise CommandError(f"{shortened(digest)} is no hash: 64 digits of lower-case hex")
    if len(arguments) == 1:
        return ImagePart(digest, supervisor.has_image(digest))
    if len(arguments) != 4:
        raise CommandError("type it as: !deploy_image HASH [SIZE OFFSET BASE64]")
    size = number(arguments[1], "the size", 1, MOST_IMAGE)
    offset = number(arguments[2], "the offset", 0, MOST_IMAGE)
    try:
        piece = base64.b64decode(arguments[3], validate=True)
    except (binascii.Error, ValueError):
        raise CommandError("the last argument is no Base64") from None
    return ImagePart(digest, supervisor.upload(digest, size, offset, piece))


def deploy_manifest(session: Session, arguments: list[str]) -> Answer:
    """``!deploy_manifest``."""
    supervisor = _supervisor(session)
    try:
        manifest = msgspec.json.decode(arguments[0].encode("utf-8", "replace"), type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError(f"the manifest is wrong: {error}") from None
    names = [program.name for program in manifest.programs]
    if not 1 <= len(names) <= MOST_PROGRAMS or len(set(names)) != len(names):
        raise CommandError(f"the manifest is wrong: 1 to {MOST_PROGRAMS} programs, each with a name of its own")
    return Deployed(supervisor.deploy(Package(manifest.name, tuple(manifest.programs), {})))


def stop_application(session: Session, arguments: list[str]) -> Answer:
    """``!stop_app``."""
    return Stopped(_supervisor(session).stop_application(arguments[0]).name)


def rebalance(session: Session, arguments: list[str]) -> Answer:
    """``!rebalance``."""
    return Rebalanced(_supervisor(session).rebalance(arguments[0] if arguments else None))


COMMANDS = (
    Command(
        "!apps",
        GROUP,
        Role.READ_ONLY,
        "list the applications and where their replicas are",
        show_applications,
        Applications,
    ),
    Command(
        "!deploy",
        GROUP,
        Role.OPERATOR,
        "have the cluster run the application in a file",
        deploy,
        Deployed,
        "PATH",
        least=1,
        most=1,
        rest=True,
    ),
    Command(
        "!stop_app",
        GROUP,
        Role.OPERATOR,
        "have the cluster run an application no more",
        stop_application,
        Stopped,
        "APPLICATION",
        least=1,
        most=1,
        aliases=("!undeploy",),
    ),
    Command(
        "!rebalance",
        GROUP,
        Role.OPERATOR,
        "move replicas to where they would be placed today",
        rebalance,
        Rebalanced,
        "[APPLICATION]",
        most=1,
    ),
    Command(
        "!deploy_image",
        GROUP,
        Role.OPERATOR,
        "take a piece of an image, or tell whether it is here; `iridium deploy` uses it",
        deploy_image,
        ImagePart,
        "HASH [SIZE OFFSET BASE64]",
        least=1,
        most=4,
    ),
    Command(
        "!deploy_manifest",
        GROUP,
        Role.OPERATOR,
        "have the cluster run an application whose images are here; `iridium deploy` uses it",
        deploy_manifest,
        Deployed,
        "JSON",
        least=1,
        most=1,
        rest=True,
    ),
)
