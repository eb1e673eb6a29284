"""The twistd service: how it is found, how it starts and fails, and what importing the package must not do."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.application.service import IServiceMaker
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import ClientCreator, Protocol
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.python.reflect import namedAny

from iridium.events import EventRing
from iridium.node import NodeConfig
from iridium.service import NodeService, Options, makeService
from tests.processes import TWISTD, environment, needs_installation
from tests.test_node import eventually, free_port, sockets, within

reactor: Any = _reactor
ROOT = Path(__file__).parent.parent


# --- being found ---


def test_twistd_finds_the_service() -> None:
    """`twistd iridium` exists: the plugin is listed once, and leads to this package's options and service."""
    [maker] = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "iridium"]
    assert maker.options is Options
    assert maker.makeService is makeService
    assert maker.description


def test_options_reach_the_service(tmp_path: Path) -> None:
    """What was typed is what the node is started with; nothing is opened before the service starts."""
    options = Options()
    options.parseOptions(["--node-alias", "a", "-P", "0", "--data-root-dir", str(tmp_path / "data")])
    service = makeService(options)
    assert isinstance(service, NodeService)
    assert service._config.node_alias == "a"
    assert service._config.server_bind_port == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--bind-port", "x"], "--bind-port 'x' is not a port"),
        (["--join", "here"], "--join: 'here' is not HOST:PORT"),
        (["--bind-host", "0.0.0.0"], "--insecure"),
        (["--no-such-option"], "no-such-option"),
        (["a-word"], "Wrong number of arguments"),
    ],
)
def test_a_mistake_in_the_options(arguments: list[str], problem: str) -> None:
    """A bad command line is a usage error that twistd prints, not a traceback."""
    with pytest.raises(usage.UsageError, match=problem):
        Options().parseOptions(["--data-root-dir", "d", *arguments])


# --- starting and stopping ---


@pytest_twisted.async_yield_fixture
async def services() -> AsyncIterator[list[NodeService]]:
    """Services that are stopped at the end, after which none of their sockets is open."""
    before = sockets()
    running: list[NodeService] = []
    yield running
    for service in running:
        await within(service.stopService())
    await eventually(lambda: not sockets() - before)


def service(running: list[NodeService], root: Path, **options: Any) -> NodeService:
    """A service with free ports, not started yet."""
    given = {"server_bind_port": 0, "bind_port": 0, "data_root_dir": root, **options}
    made = NodeService(NodeConfig(**given), reactor)
    running.append(made)
    return made


@pytest.fixture
def said() -> Any:
    """The lines that services logged."""
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_format"):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.mark.processes
@needs_installation
def test_a_mistake_stands_last(tmp_path: Path) -> None:
    """twistd prints how it is used before it says what is wrong; what is wrong is the last line."""
    arguments = [TWISTD, "-n", "--pidfile=", "iridium", "--bind-port", "x"]
    done = subprocess.run(arguments, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1
    assert "--bind-port 'x' is not a port" in done.stdout.splitlines()[-1]


class Client(Protocol):
    """Collects what a port says."""

    data = b""
    lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_start_and_stop(services: list[NodeService], tmp_path: Path) -> None:
    """A started service greets at its REPL port; a stopped one has told its sessions and freed everything."""
    made = service(services, tmp_path)
    made.startService()
    assert made.node is not None
    assert made.node.mesh.listening
    client = await within(ClientCreator(reactor, Client).connectTCP("127.0.0.1", made._ports[0].getHost().port))
    await eventually(lambda: b"Welcome to Iridium!" in client.data)
    services.remove(made)
    await within(made.stopService())
    await eventually(lambda: client.lost)
    assert b"the node stops" in client.data
    again = service(services, tmp_path)
    again.startService()


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_without_a_shell(services: list[NodeService], tmp_path: Path) -> None:
    """With --no-repl there is a cluster port and nothing else to connect to."""
    made = service(services, tmp_path, no_repl=True)
    made.startService()
    assert made.node is not None
    assert made.node.mesh.listening
    assert made._ports == []


@pytest.mark.parametrize(
    ("option", "remedy"), [("server_bind_port", "--server-bind-port (-P)"), ("bind_port", "--bind-port (-p)")]
)
@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_port_in_use(
    services: list[NodeService], tmp_path: Path, said: list[str], option: str, remedy: str
) -> None:
    """A start that fails ends the process with status 1 and one line that says which option to change."""
    first = service(services, tmp_path, node_alias="a")
    first.startService()
    port = first._ports[0].getHost().port
    second = service(services, tmp_path, node_alias="b", **{option: port})
    with pytest.raises(SystemExit) as raised:
        second.startService()
    assert raised.value.code == 1
    assert raised.value.__suppress_context__
    [line] = [line for line in said if line.startswith("iridium: ")]
    assert remedy in line
    assert f"127.0.0.1:{port}" in line


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_service_that_could_not_start_can_be_stopped(tmp_path: Path, said: list[str]) -> None:
    """Stopping what never got as far as a node fires at once, instead of holding the reactor up for ever."""
    (tmp_path / "data").touch()
    made = service([], tmp_path / "data")
    with pytest.raises(SystemExit):
        made.startService()
    assert made.node is None
    await within(made.stopService())
    assert "--data-root-dir" in said[-1]


@pytest.mark.parametrize("daemon", [False, True])
def test_what_twistd_is_told_in_the_background(tmp_path: Path, daemon: bool) -> None:
    """A service knows whether somebody waits at a terminal for an exception that says why it did not start."""
    options = Options()
    options.parent = {"nodaemon": not daemon}
    options.parseOptions(["--data-root-dir", str(tmp_path)])
    assert makeService(options)._daemon is daemon


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_an_insecure_start_is_logged(services: list[NodeService], tmp_path: Path, said: list[str]) -> None:
    """A node that others can reach says so in its log at every start; one that they cannot does not."""
    service(services, tmp_path, node_alias="a").startService()
    assert not any("--insecure" in line for line in said)
    service(services, tmp_path, node_alias="b", insecure=True, server_bind_host="0.0.0.0").startService()
    assert any("--insecure" in line for line in said)


@pytest.mark.real_reactor
@pytest_twisted.ensureDeferred
async def test_a_join_of_the_command_line(services: list[NodeService], tmp_path: Path) -> None:
    """`--join` works while the contact starts: the service does not wait for it."""
    port = free_port()
    first = service(services, tmp_path, node_alias="a", join=(f"127.0.0.1:{port}",))
    first.startService()
    second = service(services, tmp_path, node_alias="b", server_bind_port=port)
    second.startService()
    await eventually(lambda: all(s.node and len(s.node.mesh.members()) == 2 for s in services))


# --- what an import does ---


def loaded_by(program: str) -> set[str]:
    """The modules that a program loads in a Python of its own."""
    shown = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program + shown], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_module_installs_a_reactor() -> None:
    """`twistd --reactor` chooses the reactor: no import of any module may choose before it."""
    loaded = loaded_by(
        "import importlib, pkgutil, iridium\n"
        "from iridium.vm.engine import missing_llvmlite\n"
        "for found in pkgutil.walk_packages(iridium.__path__, 'iridium.'):\n"
        "    if found.name != 'iridium.vm.native.jit' or missing_llvmlite() is None:\n"
        "        importlib.import_module(found.name)\n"
    )
    assert {"iridium.cli.shell", "iridium.service", "iridium.repl.telnet", "iridium.testing"} <= loaded
    assert "twisted.internet.defer" in loaded
    assert "twisted.internet.reactor" not in loaded


@pytest.mark.parametrize(
    "module", ["iridium.cli", "iridium.cli.running", "iridium.cli.programs", "iridium.cli.cluster"]
)
def test_commands_that_need_no_twisted_do_not_load_it(module: str) -> None:
    """`iridium run` and the commands that ask a running node start quickly: Twisted alone would double that."""
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not [name for name in loaded if name.partition(".")[0] == "twisted"]


def test_no_peer_writes_to_the_terminal_of_who_reads_the_log() -> None:
    """What others say is one line of the log, in which nothing drives a terminal."""
    log = io.StringIO()
    observer = textFileLogObserver(log)
    globalLogPublisher.addObserver(observer)
    ring = EventRing()
    ring.add("text", "b", "so\x1b[2J\r\n2030-01-01 00:00:00 [iridium#info] started\u2028\u202e")
    globalLogPublisher.removeObserver(observer)
    [line] = log.getvalue().splitlines()
    assert line.isprintable()
    assert line.endswith("text b: so\\x1b[2J\\r\\n2030-01-01 00:00:00 [iridium#info] started\\u2028\\u202e")
    assert ring.recent()[0].detail.startswith("so\x1b")  # whoever shows it escapes it as it has to be there


def test_log_format(tmp_path: Path) -> None:
    """--log-format json makes each log line one JSON object with the event's fields; other formats are refused."""
    options = Options()
    options.parent = {"logfile": str(tmp_path / "log")}
    options.parseOptions(["--log-format", "json", "--data-root-dir", str(tmp_path)])
    observer = namedAny(options.parent["logger"])()
    globalLogPublisher.addObserver(observer)
    EventRing().add("node-up", "b", "127.0.0.1:2255")
    globalLogPublisher.removeObserver(observer)
    observer._outFile.close()
    [line] = (tmp_path / "log").read_text().splitlines()
    event = json.loads(line)
    assert (event["kind"], event["subject"], event["detail"]) == ("node-up", "b", "127.0.0.1:2255")
    with pytest.raises(usage.UsageError, match="neither text nor json"):
        Options().parseOptions(["--log-format", "xml"])
