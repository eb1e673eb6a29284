"""The shell's commands for applications, and the `iridium` commands that use them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import iridium.cli.cluster as cluster_module
from iridium.cli.group import iridium
from iridium.repl import client
from iridium.supervision.types import ApplicationView, ReplicaView
from tests.repl_double import FakeNode, FakeSupervisor, Person

APPLICATION = 'name = "counter"\n[programs.tick]\nfile = "tick.iasm"\nreplicas = 2\n'
SOURCE = ".code\nl: inc $0\nload $31 @l\njmp $31\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with an application."""
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "counter.toml").write_text(APPLICATION)
    (tmp_path / "apps" / "tick.iasm").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def person(programs: Path) -> Person:
    """Somebody at a node with these programs."""
    return Person(FakeNode(programs))


def supervisor(person: Person) -> FakeSupervisor:
    """The double that the commands reach."""
    assert person.node.supervisor is not None
    return person.node.supervisor


def answer(person: Person, line: str) -> Any:
    """The JSON answer to a line."""
    return json.loads(person.type(f"{line} --json").splitlines()[0])


def test_deploy(person: Person) -> None:
    """!deploy reads the file and the programs beside it; !apps shows what there is."""
    assert person.type("!apps") == "no applications; deploy one with !deploy PATH\n>>> "
    assert "counter is deployed: 2 replicas, 0 running" in person.type("!deploy apps/counter.toml")
    [package] = supervisor(person).deployed
    assert package.name == "counter"
    assert set(package.images) == {package.programs[0].image}
    said = person.type("!apps")
    assert "counter      tick     0        alpha  starting" in said
    assert answer(person, "!apps")["applications"][0]["replicas"][1]["replica"] == "1"


def test_deploy_keeps_to_the_programs_directory(person: Person, programs: Path) -> None:
    """Neither the file nor its programs may be elsewhere for a remote session."""
    (programs / "apps" / "bad.toml").write_text(APPLICATION.replace("tick.iasm", "../../x.iasm"))
    said = person.type("!deploy apps/bad.toml")
    assert said.startswith("apps/bad.toml:3:1: error:")
    assert "programs directory only" in said
    assert "programs directory only" in person.type("!deploy /etc/passwd")


def test_mistakes_name_file_and_line(person: Person, programs: Path) -> None:
    """Mistakes of the application and of its programs are told at once, with paths that can be opened."""
    (programs / "apps" / "counter.toml").write_text(APPLICATION + "restrat = 1\n")
    (programs / "apps" / "tick.iasm").write_text(".code\nlaod $0 #1\n")
    said = person.type("!deploy apps/counter.toml")
    assert "apps/counter.toml:5:1: error:" in said
    assert "apps/tick.iasm:2:1: error:" in said
    assert answer(person, "!deploy apps/counter.toml")["error"]["kind"] == "ApplicationError"


def test_other_commands(person: Person) -> None:
    """Stopping and rebalancing reach the supervisor; a node without one says so."""
    assert person.type("!stop_app counter") == "counter is stopped\n>>> "
    assert person.type("!undeploy other") == "other is stopped\n>>> "
    assert supervisor(person).stopped == ["counter", "other"]
    assert "nothing to move" in person.type("!rebalance")
    assert "replicas of counter move" in person.type("!rebalance counter")
    person.node.supervisor = None
    assert person.type("!apps") == "error: this node runs no applications\n>>> "


def test_stopped_and_given_up_are_shown(person: Person) -> None:
    """The reason stands beside what was given up; a stopped application is one line."""
    row = ReplicaView("tick", "0", "given-up", "beta", 0, 5, "more than 5 restarts in 60 s")
    supervisor(person).shown = [ApplicationView("a", 1, False, [row]), ApplicationView("b", 2, True, [])]
    lines = person.type("!apps").splitlines()
    assert lines[1].split()[:5] == ["a", "tick", "0", "beta", "given-up"]
    assert lines[1].endswith("more than 5 restarts in 60 s")
    assert lines[2].split()[:5] == ["b", "-", "-", "-", "stopped"]


def test_pids_are_shown_as_commands_take_them(person: Person) -> None:
    """The process of a replica on another node is `PID@NODE`, which `!why` and others find."""
    rows = [ReplicaView("tick", str(at), "running", node, 7) for at, node in enumerate(("alpha", "beta"))]
    supervisor(person).shown = [ApplicationView("a", 1, False, rows)]
    lines = person.type("!apps").splitlines()
    assert [line.split()[5] for line in lines[1:3]] == ["7", "7@beta"]


@pytest.mark.parametrize(
    "line",
    [
        "!deploy_image x",
        f"!deploy_image {'a' * 64} 5",
        f"!deploy_image {'a' * 64} 5 0 ???",
        f"!deploy_image {'a' * 64} 5 9 YQ==",
        f"!deploy_image {'a' * 64} 99999999999 0 YQ==",
        "!deploy_manifest {",
        '!deploy_manifest {"name": "a", "programs": []}',
        '!deploy_manifest {"name": "a b", "programs": []}',
        "!deploy_manifest " + "[" * 5000,
        "!deploy",
        "!stop_app",
    ],
)
def test_bad_arguments(person: Person, line: str) -> None:
    """What the command line would never send is one line of error."""
    said = person.type(line)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert supervisor(person).deployed == []


@pytest.fixture
def node(person: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
    """The `iridium` commands talk to the person's session instead of a socket."""
    import contextlib

    def call(host: str, port: int, command: str, **_: object) -> Any:
        assert len(command) < 65_000
        return answer(person, command)

    @contextlib.contextmanager
    def connect(host: str, port: int) -> Any:
        yield lambda command, timeout, on_output=None: call(host, port, command)

    monkeypatch.setattr(cluster_module, "call", call)
    monkeypatch.setattr(cluster_module, "connect", connect)
    return person


def run(*arguments: str) -> Any:
    """The command with these arguments."""
    result = CliRunner().invoke(iridium, arguments, prog_name="iridium")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_line(node: Person, programs: Path) -> None:
    """`iridium deploy` sends images in lines that a session takes, once; the others ask the shell."""
    table = "\n".join(f".integer #{at}" for at in range(12_000))
    (programs / "apps" / "tick.iasm").write_text(f".data\n{table}\n{SOURCE}")
    path = str(programs / "apps" / "counter.toml")
    assert run("deploy", path).stdout == "counter is deployed: 2 replicas\n"
    [(digest, data)] = supervisor(node).images.items()
    assert len(data) > cluster_module.PIECE
    [package] = supervisor(node).deployed
    assert package.programs[0].image == digest
    before = len(node.session.history)
    assert json.loads(run("deploy", path, "--json").stdout)["application"]["name"] == "counter"
    assert len(node.session.history) - before == 2
    assert run("apps").stdout.splitlines()[1].split()[:4] == ["counter", "tick", "0", "alpha"]
    assert len(json.loads(run("apps", "--json").stdout)["applications"]) == 1
    assert run("rebalance").stdout == "replicas of counter move\n"
    assert run("stop", "counter").stdout == "counter is stopped\n"


def test_the_command_line_has_mistakes(node: Person, programs: Path) -> None:
    """Mistakes are told with file and line, and nothing is sent."""
    path = programs / "apps" / "counter.toml"
    path.write_text('name = "a"\n[programs.p]\nfile = "missing.iasm"\n')
    result = run("deploy", str(path))
    assert result.exit_code == 65
    assert f"{path}:3:1: error:" in result.stderr
    assert "missing.iasm: cannot open" in result.stderr
    assert run("deploy", str(programs / "none.toml")).exit_code == 66
    assert supervisor(node).deployed == []


def test_several_questions_on_one_connection() -> None:
    """A connection greets once and answers each command."""
    import socketserver
    import threading

    class Shell(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"Welcome to Iridium!\r\n>>> ")
            while line := self.rfile.readline():
                self.wfile.write(json.dumps({"said": base64.b64encode(line).decode()}).encode() + b"\r\n>>> ")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Shell) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with client.connect("127.0.0.1", server.server_address[1]) as ask:
            answers = [ask(f"!x {at}", 5.0) for at in range(3)]
        server.shutdown()
        thread.join()
    assert [base64.b64decode(a["said"]) for a in answers] == [b"!x 0 --json\n", b"!x 1 --json\n", b"!x 2 --json\n"]
