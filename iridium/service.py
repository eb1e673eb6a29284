"""`twistd iridium`: the options and the service."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger, jsonFileLogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from iridium.cluster.accepting import take_few
from iridium.cluster.rules import join_address
from iridium.cluster.sparing import spare_openssl
from iridium.errors import IridiumError
from iridium.node import Node, NodeConfig, port_error
from iridium.options import OPTIONS, configure
from iridium.repl.sessions import Sessions
from iridium.supervision.wiring import supervise


class Options(usage.Options):
    """The node options for `twistd`, made from the one list of them."""

    optFlags = [[o.name, o.short or None, o.help] for o in OPTIONS if o.flag]
    optParameters = [
        [o.name, o.short or None, None, _shown]
        for o in OPTIONS
        if not o.flag and not o.many
        for _shown in [f"{o.help}" + (f" [default: {o.default}]" if o.default and not callable(o.default) else "")]
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for option in OPTIONS:
            if option.many:
                self.setdefault(option.name, [])
        self["log-format"] = "text"

    def opt_join(self, address: str) -> None:
        """Join the cluster of the member at HOST:PORT; may be given several times."""
        self["join"].append(address)

    def opt_limit(self, text: str) -> None:
        """NAME=NUMBER: a limit other than its default, see docs/limits.md; may be given several times."""
        self["limit"].append(text)

    def opt_log_format(self, name: str) -> None:
        """How log lines look: text, or json for one object a line. [default: text]"""
        if name not in ("text", "json"):
            raise usage.UsageError(f"--log-format {name!r} is neither text nor json")
        self["log-format"] = name
        if name == "json" and self.parent is not None:
            # twistd wants the name of what makes its observer, and tells that nothing.
            _twistd_options.append(self.parent)
            self.parent["logger"] = f"{__name__}.{json_observer.__name__}"

    def postOptions(self) -> None:
        """Check all values."""
        try:
            self.config = configure(self)
        except IridiumError as error:
            raise usage.UsageError(str(error)) from None


_twistd_options: list[Mapping[str, Any]] = []
"""What twistd was started with, the last at the end: for the observer, which is made without a word."""


def json_observer() -> ILogObserver:
    """Writes events as JSON to where twistd writes lines: its log file, or standard output in the foreground."""
    twistd = _twistd_options[-1]
    path = twistd.get("logfile") or ("-" if twistd.get("nodaemon", True) else "twistd.log")
    file: Any = sys.stdout if path == "-" else LogFile.fromFullPath(path)
    return jsonFileLogObserver(file, recordSeparator="")


class NodeService(Service):
    """A node with its ports, as a Twisted service.

    Args:
        config: what the node is started with.
        reactor: what it runs on; by default the one that twistd runs.
        daemon: whether twistd has put the process in the background.
    """

    _log = Logger(namespace="iridium")

    def __init__(self, config: NodeConfig, reactor: Any = None, daemon: bool = False) -> None:
        self._config = config
        self._daemon = daemon
        self._reactor = reactor
        self.node: Node | None = None
        self._ports: list[Any] = []
        self._hangup: Any = None  # what SIGHUP did before

    def startService(self) -> None:
        """Open the data directory and the ports; end the process with one line when that cannot be."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        try:
            self._start()
        except IridiumError as error:
            self._log.critical("iridium: {problem}", problem=str(error))
            if self._daemon:
                # The process that was started waits for an exception, to tell its terminal; the log has the line.
                sys.excepthook = lambda *_: None
                raise
            raise SystemExit(1) from None

    def _start(self) -> None:
        config = self._config
        if config.insecure:
            self._log.warn("--insecure: whoever reaches the ports of this node controls it")
        node = self.node = Node(self._reactor, config)
        supervise(node)
        node.start_cluster()
        sessions = Sessions(node)
        if not config.no_repl:
            self._listen_repl(node, sessions)
        if config.ssh_port is not None:
            self._listen_ssh(node, sessions, config.ssh_port)
        node.start()
        self._reread_on_hangup(node)

    def _reread_on_hangup(self, node: Node) -> None:
        """Have SIGHUP, by which services are told of new files, reread the cluster's secret."""
        if threading.current_thread() is threading.main_thread():  # where Python lets signals be set
            self._hangup = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(node.reread))

    def _listen_repl(self, node: Node, sessions: Sessions) -> None:
        from iridium.repl.telnet import ReplFactory

        host, port = self._config.bind_host, self._config.bind_port
        role = self._config.repl_role
        address = self._listen("REPL", host, port, "--bind-port (-p)", ReplFactory(node, role, sessions))
        self._log.info("REPL port on {address}, {role}", address=address, role=role.value)

    def _listen_ssh(self, node: Node, sessions: Sessions, port: int) -> None:
        # Here, since a node without it needs no cryptography.
        from iridium.repl.ssh.port import make_factory

        factory = make_factory(node, sessions, self._config.ssh_authorized_keys)
        address = self._listen("SSH", self._config.ssh_host, port, "--ssh-port", factory)
        self._log.info("SSH port on {address}, host key {key}", address=address, key=factory.fingerprint)

    def _listen(self, what: str, host: str, port: int, option: str, factory: Any) -> str:
        """Open a port of the shell; its address."""
        try:
            listening = self._reactor.listenTCP(port, factory, interface=host)
        except CannotListenError as error:
            raise port_error(what, host, port, option, error) from None
        self._ports.append(listening)
        take_few(listening)
        return join_address(host, listening.getHost().port)

    def stopService(self) -> Deferred[Any]:
        """Close the ports and end the node."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._hangup is not None:
            signal.signal(signal.SIGHUP, self._hangup)
            self._hangup = None
        ending: list[Deferred[Any]] = []
        for port in self._ports:
            ending.append(maybeDeferred(port.stopListening))
            port.factory.stop()
        if self.node is not None:
            ending.append(self.node.stop())
        return gatherResults(ending)


def makeService(options: Options) -> NodeService:
    """The service that `twistd iridium` runs."""
    spare_openssl()  # twistd imports its reactor next
    twistd: Mapping[str, Any] = options.parent or {}
    return NodeService(options.config, daemon=not twistd.get("nodaemon", True))
