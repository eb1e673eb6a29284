"""Roles: what a read-only session may type, that this changes nothing, and what it is told of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iridium.assembler import assemble
from iridium.repl.commands import TABLE
from iridium.repl.commands.table import Command
from iridium.repl.telnet import ReplFactory
from iridium.roles import Role
from iridium.vm import Program
from tests.repl_double import ENDLESS, FakeNode, Peer, Person

READS = (
    "!help", "!limits", "!history", "!quit", "!program", "!disassemble", "!symbols", "!stop", "!stats",
    "!registers", "!float_registers", "!heap", "!stack", "!ps", "!observe", "!why", "!dead", "!cluster_members",
    "!mesh", "!events", "!apps", "!programs",
)  # fmt: skip
"""What a read-only session may do. Each other command has been decided the other way: it changes something, sends
something, or makes the node work for it (``!load_file`` reads and decodes megabytes)."""

TYPED = {
    "!help": ("", "kill"),
    "!heap": ("", "0 4096"),
    "!ps": ("", "--all"),
    "!observe": ("1", "waiting", "1@alpha", "77"),
    "!why": ("1", "waiting", "77"),
    "!events": ("", "5", "--follow", "1 --follow"),
    "!program": ("", "0 100"),
}
"""Arguments to try, where a command takes any."""

FORBIDDEN = [row for row in TABLE.commands if row.needs is not Role.READ_ONLY]
ALLOWED = [row for row in TABLE.commands if row.needs is Role.READ_ONLY]


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    """A node on which something runs, waits, has a name and mail, and whose programs directory has a file."""
    (tmp_path / "p.iasm").write_text(".code\nhlt\n")
    node = FakeNode(tmp_path)
    waiting = Program(assemble(".code\nprti $0\nl: recv $1 $2 $3\nrecv $1 $2 $3\ndjmpn @l\n"))
    node.processes.spawn(waiting, name="waiting", title="waiting")
    node.processes.send(1, 5)
    node.processes.send(99, 5)
    node.events.add("node-up", "beta")
    node.reactor.settle()
    return node


def state(node: FakeNode, but: int = 0) -> Any:
    """All that somebody could have changed on a node; of the session with the pid ``but`` nothing."""
    table = node.processes.table
    records = [
        (r.pid, r.kind, r.state, r.pc, r.instructions, r.mailbox_count, r.stop_requested, list(r.registers))
        for r in table.records()
        if r.pid != but
    ]
    mesh, supervisor = node.mesh, node.supervisor
    assert supervisor is not None
    return (
        records,
        [(e.kind, e.subject, e.detail) for e in node.events.recent()],
        (table.shared.dead_letters, table.shared.spawned, table.shared.overruns, table.shared.unread),
        node.processes.names.whereis("waiting"),
        (mesh.joined, mesh.told, mesh.forgotten, node.listening, node.scheduler.running),
        (supervisor.deployed, supervisor.stopped, supervisor.images),
        node.reactor.getDelayedCalls(),
        sorted((path.name, path.read_bytes()) for path in node.programs_dir.iterdir()),
    )


def reader(node: FakeNode) -> Person:
    """Somebody with a read-only session."""
    return Person(node, role=Role.READ_ONLY)


def test_every_command_has_been_decided() -> None:
    """The role that a command needs stands in its row, and is what has been decided here."""
    assert "needs" not in Command._field_defaults
    assert [row.name for row in ALLOWED] == [row.name for row in TABLE.commands if row.name in READS]
    assert len(ALLOWED) == len(READS)
    assert {row.needs for row in TABLE.commands} == set(Role)


@pytest.mark.parametrize("row", ALLOWED, ids=lambda row: row.name)
def test_what_reads_changes_nothing(node: FakeNode, row: Command) -> None:
    """Whatever a read-only session types that it may, with or without --json, the node is as before."""
    person = reader(node)
    before = state(node, person.session.pid)
    for arguments in TYPED.get(row.name, ("",)):
        for as_json in ("", "--json"):
            seen = person.type(f"{row.name} {arguments} {as_json}".strip(), rounds=500)
            assert "needs the role" not in seen or row.name == "!help"
            assert state(node, person.session.pid) == before
            if row.name in ("!observe", "!events"):
                person.type("!stop")
                assert state(node, person.session.pid) == before
            if row.name == "!quit":
                person = reader(node)
    person.session.end()
    node.reactor.settle()
    assert state(node) == before


@pytest.mark.parametrize("row", FORBIDDEN, ids=lambda row: row.name)
def test_what_changes_something_is_refused(node: FakeNode, row: Command) -> None:
    """Everything else is an error that names the command, both roles and whom to ask; and nothing has happened."""
    person = reader(node)
    before = state(node)
    for arguments in ("", "2", "p.iasm", "waiting 5", "127.0.0.1:2255", "* hello"):
        for name in (row.name, row.name.upper(), *row.aliases):
            said = person.type(f"{name} {arguments}".strip())
            wanted = (
                f"{row.name} needs the role operator, and this session is read-only; ask whoever runs this node"
            )
            assert said.startswith(f"error: {wanted}"), said
    told = json.loads(person.type(f"{row.name} --json").removesuffix(">>> "))["error"]
    assert told["kind"] == "RoleError"
    assert told["remedy"] == "ask whoever runs this node for that role, or to do it"
    assert state(node) == before
    person.session.end()


@pytest.mark.parametrize(
    "line", ["inc $0", "hlt", "x: .asciiz 'a'", "label:", "no such thing", "send $1 $2", "spawn $0 $1"]
)
def test_no_code_runs(node: FakeNode, line: str) -> None:
    """A line of assembly is refused before it is looked at: a program could send, spawn and kill."""
    person = reader(node)
    before = state(node)
    assert "a line of assembly needs the role operator, and this session is read-only" in person.type(line)
    assert state(node) == before
    workspace = person.session.workspace
    assert (workspace.program.code, dict(workspace.symbols), workspace.read_only_used) == (b"", {}, 0)
    assert person.type("", "; a comment") == ">>> >>> "
    person.session.end()


def test_another_sessions_program_goes_on(node: FakeNode) -> None:
    """A reader's `!stop` and Ctrl-C are its own: they stop nobody else's program."""
    worker, person = Person(node), reader(node)
    worker.type(*ENDLESS)
    person.type("!stop")
    assert not person.session.interrupt()
    assert worker.session.executing
    worker.session.end()
    person.session.end()


def test_help_has_what_the_role_allows(node: FakeNode) -> None:
    """A reader's list is what works; of the rest it is told how many there are, and of each what it needs."""
    person = reader(node)
    listed = json.loads(person.type("!help --json").removesuffix(">>> "))
    assert [row["name"] for row in listed["commands"]] == [row.name for row in ALLOWED]
    assert (listed["role"], listed["others"]) == ("read-only", len(FORBIDDEN))
    text = person.type("!help")
    assert text.startswith("This session is read-only.")
    assert f"{len(FORBIDDEN)} more commands, and assembly, need the role operator." in text
    assert "!kill" not in text
    assert "needs the role operator" in person.type("!help kill")
    assert "needs the role" not in Person(node).type("!help ps")
    assert [r["name"] for r in json.loads(Person(node).type("!help --json").removesuffix(">>> "))["commands"]] == [
        row.name for row in TABLE.commands
    ]


def test_a_port_of_readers(node: FakeNode) -> None:
    """A port has the role that it was opened with, says so at once, and a second port may have another."""
    peer = Peer(ReplFactory(node, Role.READ_ONLY))
    greeting = peer.read()
    assert greeting.startswith("Welcome to Iridium! Let's be productive!\nthis session is read-only: ")
    assert "needs the role operator" in peer.send("!kill waiting")
    assert "waiting" in peer.send("!ps")
    other = Peer(ReplFactory(node))
    other.read()
    assert other.send("!kill waiting") != ""
    assert node.processes.names.whereis("waiting") == 0
    peer.hang_up()
    other.hang_up()
