"""A node: an identity, a scheduler and a place in the cluster, in one process."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from iridium.cluster.identity import NODE_FILE, PEERS_FILE, DataDirectory, NodeState, directory_name
from iridium.cluster.mesh import Mesh
from iridium.cluster.messages import MemberRecord
from iridium.cluster.newcomers import Newcomers
from iridium.cluster.peer import Me
from iridium.cluster.refusals import FINAL, RefusedError
from iridium.cluster.rules import is_loopback, split_address
from iridium.cluster.table import MOST_RECORDS
from iridium.cluster.tls_files import TlsFiles, find_files
from iridium.cluster.trust import Trust, load_trust
from iridium.cluster.types import Member
from iridium.errors import CommandError, DataDirectoryError, IridiumError, OptionError
from iridium.events import EventRing
from iridium.image import Image
from iridium.limits import DEFAULTS, Limits
from iridium.processes import Mailbox, Process, Processes
from iridium.processes.courier import Courier
from iridium.processes.reach import Reach
from iridium.processes.spinning import Spinning
from iridium.roles import Role
from iridium.scheduler import Scheduler

if TYPE_CHECKING:
    from iridium.vm.native.engine import Runtime

JOIN_AGAIN_FIRST = 0.5
"""Seconds before a failed ``--join`` is tried again for the first time; doubled each time."""

SAVE_AGAIN = 5.0
"""Seconds until a save that failed is tried again."""

JOIN_AGAIN_MOST = 30.0
"""The longest pause between two tries."""


class NodeConfig(msgspec.Struct, frozen=True):
    """What a node is started with; ``iridium.options`` says what each means."""

    node_alias: str = ""
    server_bind_host: str = "127.0.0.1"
    server_bind_port: int = 2254
    bind_host: str = "127.0.0.1"
    bind_port: int = 2244
    advertise: str = ""
    secret_file: Path | None = None
    token_port: int = 0
    data_root_dir: Path = Path("/var/lib/iridium")
    programs_dir: Path | None = None
    cluster: str = "iridium"
    join: tuple[str, ...] = ()
    threads: int = 1
    engine: str = "auto"
    no_repl: bool = False
    ssh_host: str = "127.0.0.1"
    ssh_port: int | None = None
    ssh_authorized_keys: Path | None = None
    insecure: bool = False
    limits: Limits = DEFAULTS
    repl_role: Role = Role.OPERATOR
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_ca_key: Path | None = None

    def data_directory(self) -> Path:
        """Where this node keeps its data."""
        return self.data_root_dir / directory_name(self.node_alias)

    def tls_files(self) -> TlsFiles | None:
        """The files of its TLS, or None.

        Raises:
            OptionError: some are missing.
        """
        return find_files(self.tls_cert, self.tls_key, self.tls_ca, self.tls_ca_key, self.data_directory())


class Node:
    """One running Iridium VM service.

    Args:
        reactor: what it runs on.
        config: what it is started with.

    Attributes:
        events: what happened here.
        scheduler: gives its VMs their turns.
        processes: those that run here.
        courier: their traffic with other nodes.
        reach: processes wherever they run.
        mesh: its place in the cluster.
        newcomers: join tokens, made here or used.
        supervisor: keeps the cluster's applications running here; None where nobody has set one.
        data: its data directory.
        trust: what other nodes must prove.
        programs_dir: where remote sessions load programs from.
        logical_cores: worker threads that its VMs are told of.
        limits: what it allows.
        in_use: by the name of a limit, what tells how much of it is in use.

    Raises:
        DataDirectoryError: its data cannot be used, or another node uses it.
        OptionError: its cluster's secret cannot be read, or its cluster port would be open to anybody.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, reactor: Any, config: NodeConfig) -> None:
        self.reactor = reactor
        self.config = config
        self.limits = config.limits
        self.events = EventRing()
        self.scheduler = Scheduler(reactor, choice=config.engine, threads=config.threads, limits=config.limits)
        self.scheduler.workers.on_loaded = self._machine_code_is_there
        self.logical_cores = config.threads
        self.data = DataDirectory(config.data_directory())
        try:
            self._known = self.data.load_peers()
            self.trust = self._load_trust()
            check_cluster_exposure(config.server_bind_host, config.insecure or self.trust.guards)
            state = self.data.load_node()  # last, because it writes: a start that is refused changes nothing
            self.programs_dir = config.programs_dir or self.data.path / "programs"
            if config.programs_dir is None:
                self._make_programs_dir()
            self.trust.check_id(state.id)
        except BaseException:
            self.data.close()
            raise
        self.me = Me(state.id, config.node_alias, state.incarnation, config.cluster, state.left)
        self.mesh = Mesh(reactor, self.me, self.events, self._save, trust=self.trust, limits=config.limits)
        self.newcomers = Newcomers(
            reactor, self.mesh, lambda: self.trust, self.events, self.data.path, config.token_port
        )
        self.texts = self.mesh.texts
        self.processes = Processes(self.scheduler, self.events)
        spinning = Spinning(time.monotonic, reactor.callLater)
        self.courier = Courier(self.processes, self.mesh, self.events, reactor.callLater, spinning)
        self.reach = Reach(self.processes, self.courier)
        self.supervisor: Any = None  # set by who wires it: supervision stands above the node
        self.in_use: dict[str, Callable[[], int]] = {
            "half-open": lambda: self.mesh.half_open,
            "half-open-per-address": lambda: self.mesh.half_open_of_one,
            "dials": lambda: self.mesh.dials,
            "processes": lambda: self.processes.table.alive,
        }
        self._joining: list[Deferred[Any]] = []
        self._writing = DeferredLock()
        self._stopping = False

    def _load_trust(self) -> Trust:
        config = self.config
        trust = load_trust(config.secret_file, config.tls_files(), self.data.path)
        if trust.guards:
            self._log.info("trust: {trust}", trust=trust)
        if warning := trust.warning(datetime.datetime.now(datetime.UTC)):
            self._log.warn("{warning}", warning=warning)
        return trust

    def reread(self) -> bool:
        """Read the cluster's secret and the certificates again; whoever was refused before is tried at once.

        What cannot be read changes nothing, and is an event. Links that are held stay.

        Returns:
            Whether they could be read.
        """
        try:
            trust = self._load_trust()
            trust.check_after(self.trust)
            trust.check_id(self.me.id)
        except OptionError as error:
            self.events.add("not-reread", "trust", f"{error}; the node goes on with what it had")
            return False
        self.trust = trust
        self.mesh.trust(trust)
        self.events.add("reread", "trust", str(trust))
        if not (self.mesh.machine.table.living() or self._joining or self.me.left):
            self._join_those_named()
        return True

    def _machine_code_is_there(self, runtime: Runtime) -> None:
        """Say why programs have waited, where that was for more than a moment."""
        seconds, built, directory = runtime.loading
        if built:
            kept = f"kept in {directory}" if directory is not None else "there is no directory to keep it in"
            self.events.add(
                "interpreter-built", "native", f"it took {seconds:.1f} s in which programs waited; {kept}"
            )

    def _make_programs_dir(self) -> None:
        try:
            self.programs_dir.mkdir(exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(
                f"{self.programs_dir} cannot be made: {error.strerror}; name another with --programs-dir"
            ) from None

    def start(self) -> None:
        """Look for the members of an earlier life, unless the node left them, and join whom it was told to."""
        self.mesh.start([] if self.me.left else self._known)
        if self.supervisor is not None:
            self.supervisor.start()
        self._join_those_named()

    def _join_those_named(self) -> None:
        for address in self.config.join:
            self._keep_joining(address, JOIN_AGAIN_FIRST)

    def start_cluster(self, host: str | None = None, port: int | None = None) -> str:
        """Open the cluster port.

        Args:
            host: the interface, instead of the configured one.
            port: the port, instead of the configured one; 0 takes a free one.

        Returns:
            The address that other nodes are told.

        Raises:
            CommandError: it is open already.
            OptionError: it cannot be opened; the text says which option to change.
        """
        if self.mesh.listening:
            raise CommandError(f"this node listens already, at {self.me.address}")
        config = self.config
        host = config.server_bind_host if host is None else host
        port = config.server_bind_port if port is None else port
        check_cluster_exposure(host, config.insecure or self.trust.guards)
        try:
            bound = self.mesh.listen(host, port, config.advertise)
        except CannotListenError as error:
            raise port_error("cluster", host, port, "--server-bind-port (-P)", error) from None
        address = self.me.address
        told = f", advertised as {address}" if address != bound else ""
        self._log.info("cluster port on {bound}{told}, node {id}", bound=bound, told=told, id=self.me.id)
        return address

    def spawn(
        self,
        image: Image,
        *,
        on: str = "",
        name: str = "",
        registers: Mapping[int, int] | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> Deferred[Process]:
        """Start a process.

        Args:
            image: what it runs, as :func:`iridium.assembler.assemble` or :func:`iridium.image.parse` give it.
            on: the node, by alias or id; this one if nothing is said.
            name: to register it under on its node, or "".
            registers: integer registers that are not 0.
            on_output: called with what it prints, as it does.

        Returns:
            Fires with the process once it has started, whose ``when_done()`` fires when it has ended. Errbacks
            with an IridiumError where it cannot be started.
        """
        return self.reach.spawn(image, on=on, name=name, registers=registers, on_output=on_output)

    def send(self, to: int, value: int | bytes, *, is_pid: bool = False) -> bool:
        """Send a process a message from nobody; a :meth:`mailbox` sends in its own name.

        Args:
            to: its pid on this node, which may stand for a process of another.
            value: a word (-2**31 to 2**32 - 1), a pid, or bytes.
            is_pid: whether the number is a pid.

        Returns:
            Whether it was taken: False for nobody, and where there is no room.
        """
        return self.processes.send(to, value, is_pid=is_pid)

    def join_with(self, token: str) -> Deferred[list[Member]]:
        """Get the cluster's secret and a certificate by a join token, and join.

        Returns:
            Fires as :meth:`Mesh.join` does; errbacks with an IridiumError.
        """
        enrolled = self.newcomers.enrol(token)
        return enrolled.addCallback(self._join_enrolled)

    def _join_enrolled(self, address: str) -> Deferred[list[Member]]:
        if not self.reread():
            return fail(CommandError("what the member gave cannot be used; !events tells why"))
        return self.mesh.join(*split_address(address))

    def find(self, what: str) -> Deferred[int]:
        """The pid, on this node, of ``PID@NODE``, ``NAME`` or ``NAME@NODE``; errbacks where there is none."""
        return self.reach.find(what)

    def kill(self, pid: int) -> bool:
        """End a process.

        Args:
            pid: on this node, which may stand for a process of another.

        Returns:
            Whether there was one.
        """
        return self.processes.kill(pid)

    def mailbox(self, name: str = "") -> Mailbox:
        """A pid and a mailbox for Python.

        Args:
            name: what programs find it by, or "".

        Raises:
            TooManyProcessesError: there is no room for one.
            WrongNameError: it cannot be called that.
        """
        return self.processes.mailbox(name)

    def stop(self) -> Deferred[Any]:
        """End everything: programs, links, the data directory's lock.

        Returns:
            Fires when nothing of the node is left.
        """
        self._stopping = True
        for joining in list(self._joining):
            joining.cancel()
        supervised: Deferred[Any] = succeed(None) if self.supervisor is None else self.supervisor.stop()
        return supervised.addBoth(self._end_the_rest)

    def _end_the_rest(self, result: Any) -> Any:
        self.courier.stop()
        self.processes.stop()
        self.scheduler.stop()
        self.courier.close()
        let_in = self.newcomers.stop()
        return let_in.addBoth(lambda _: self.mesh.stop()).addBoth(self._closed)

    def leave(self) -> Deferred[None]:
        """Leave the cluster: its applications stay with the others, and this node goes on without.

        Returns:
            Fires when the others have noted it, or a moment later.
        """
        if self.supervisor is None:
            return self.mesh.leave()
        self.supervisor.leave()
        leaving: Deferred[None] = self.mesh.leave()
        return leaving.addBoth(self._left)

    def _left(self, result: Any) -> Any:
        self.supervisor.left()
        return result

    def _closed(self, result: Any) -> Any:
        self.data.close()
        return result

    def _save(self, me: Me, records: list[MemberRecord]) -> Deferred[None]:
        """Write the node's state and the members it knows, outside the reactor thread: a disk may be slow."""
        state = NodeState(me.id, me.incarnation, me.left)
        pool = self.reactor.getThreadPool()
        # One after the other: what is older must not overwrite what is newer.
        saving: Deferred[None] = self._writing.run(
            deferToThreadPool, self.reactor, pool, self._write, state, records[:MOST_RECORDS]
        )
        return saving.addErrback(self._not_saved)

    def _write(self, state: NodeState, records: list[MemberRecord]) -> None:
        self.data.write(NODE_FILE, state)
        self.data.write(PEERS_FILE, records)

    def _not_saved(self, failure: Any) -> None:
        """A full disk costs the memory of who was there, not the node; and only until there is room again."""
        failure.trap(IridiumError)
        self.events.add("not-saved", str(self.data.path), str(failure.value))
        if not self._stopping:
            self.mesh.later(SAVE_AGAIN, self.mesh.changed)

    def _keep_joining(self, address: str, pause: float) -> None:
        """Join, and try again until it works or cannot."""
        joining: Deferred[Any] = self.mesh.join(*split_address(address))
        self._joining.append(joining)

        def failed(failure: Any) -> Any:
            failure.trap(IridiumError)
            error = failure.value
            if isinstance(error, RefusedError) and error.reason in FINAL:
                self.events.add("join-failed", address, f"{error}; this node does not try again")
                return None
            self.events.add("join-failed", address, f"{error}; trying again in {pause:g} s")
            return deferLater(self.reactor, pause).addCallback(again)

        def again(_: Any) -> None:
            if not self.me.left:  # else somebody made it leave meanwhile, and means it
                self._keep_joining(address, min(JOIN_AGAIN_MOST, 2 * pause))

        def joined(members: list[Member]) -> None:
            self.events.add("joined", address, f"{len(members)} members")

        joining.addCallbacks(joined, failed)
        joining.addErrback(_cancelled)
        joining.addBoth(lambda _: self._joining.remove(joining))


def _cancelled(failure: Any) -> None:
    """The node stops, and with it the joining."""
    failure.trap(CancelledError)


def check_repl_exposure(host: str, allowed: bool) -> None:
    """Refuse a REPL port that other machines could reach, unless the person said so: it asks nobody who they are.

    Raises:
        OptionError: the host is no loopback address, and it is not allowed.
    """
    if not is_loopback(host) and not allowed:
        raise OptionError(
            f"--bind-host {host}: whoever reaches that port controls the node; listen on 127.0.0.1, "
            "or start it with --insecure if the network is yours alone"
        )


def check_cluster_exposure(host: str, allowed: bool) -> None:
    """Refuse a cluster port that other machines could reach, unless who calls must prove something.

    Raises:
        OptionError: the host is no loopback address, and it is not allowed.
    """
    if not is_loopback(host) and not allowed:
        raise OptionError(
            f"--server-bind-host {host}: whoever reaches that port controls the node; give the cluster a secret "
            "(`iridium secret` makes one), listen on 127.0.0.1, or start the node with --insecure if the network "
            "is yours alone"
        )


def port_error(what: str, host: str, port: int, option: str, error: CannotListenError) -> OptionError:
    """The one line for a port that cannot be opened."""
    reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
    return OptionError(f"the {what} port {host}:{port} cannot be opened ({reason}); choose another with {option}")
