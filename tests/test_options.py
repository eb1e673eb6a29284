"""The options of a node: what each accepts, what it is without being given, and that both front ends agree."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import platformdirs
import pytest
from click.testing import CliRunner
from twisted.python import usage

from iridium import options
from iridium.cli import shell
from iridium.errors import OptionError
from iridium.limits import DEFAULTS, TABLE, Limit, Limits, parse
from iridium.node import NodeConfig, check_cluster_exposure
from iridium.options import OPTIONS, configure, default_data_root
from iridium.roles import Role
from iridium.service import Options


def test_without_any_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node that is told nothing listens on loopback at the ports that clients assume, and joins nobody."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert configure({}) == NodeConfig(
        node_alias="",
        server_bind_host="127.0.0.1",
        server_bind_port=2254,
        bind_host="127.0.0.1",
        bind_port=2244,
        advertise="",
        data_root_dir=tmp_path,
        programs_dir=None,
        cluster="iridium",
        join=(),
        threads=len(os.sched_getaffinity(0)),
        engine="auto",
        no_repl=False,
        ssh_host="127.0.0.1",
        ssh_port=None,
        ssh_authorized_keys=None,
        insecure=False,
        limits=DEFAULTS,
        repl_role=Role.OPERATOR,
    )


FIELDS = {"limit": "limits"}
"""Options that are called otherwise in a configuration."""

GOOD: list[tuple[str, Any, Any]] = [
    ("node-alias", "alpha", "alpha"),
    ("node-alias", "e\u0301", "é"),
    ("node-alias", "", ""),
    ("server-bind-host", "::1", "::1"),
    ("server-bind-host", "localhost", "localhost"),
    ("server-bind-port", "0", 0),
    ("server-bind-port", "65535", 65535),
    ("bind-host", "127.0.0.2", "127.0.0.2"),
    ("bind-port", "1", 1),
    ("advertise", "node.example:2254", "node.example:2254"),
    ("advertise", "[2001:db8::1]:2254", "[2001:db8::1]:2254"),
    ("token-port", "2264", 2264),
    ("tls-cert", "/etc/iridium/node.pem", Path("/etc/iridium/node.pem")),
    ("tls-key", "/etc/iridium/node.key", Path("/etc/iridium/node.key")),
    ("tls-ca", "/etc/iridium/ca.pem", Path("/etc/iridium/ca.pem")),
    ("tls-ca-key", "/etc/iridium/ca.key", Path("/etc/iridium/ca.key")),
    ("secret-file", "/etc/iridium/secret", Path("/etc/iridium/secret")),
    ("data-root-dir", "/srv/iridium", Path("/srv/iridium")),
    ("programs-dir", "programs", Path("programs")),
    ("cluster", "a", "a"),
    ("cluster", "x" * 64, "x" * 64),
    ("join", ["127.0.0.1:2254", "node.example:1"], ("127.0.0.1:2254", "node.example:1")),
    ("threads", "1", 1),
    ("threads", "1024", 1024),
    ("engine", "auto", "auto"),
    ("engine", "reference", "reference"),
    ("limit", ["sessions=3", "handshake=2.5", "sessions=4"], Limits(sessions=4, handshake=2.5)),
    ("repl-role", "read-only", Role.READ_ONLY),
    ("no-repl", True, True),
    ("ssh-host", "0.0.0.0", "0.0.0.0"),
    ("ssh-port", "0", 0),
    ("ssh-port", "2222", 2222),
    ("ssh-authorized-keys", "/keys", Path("/keys")),
    ("insecure", True, True),
]


@pytest.mark.parametrize(("name", "typed", "value"), GOOD)
def test_values_that_can_be_used(name: str, typed: Any, value: Any) -> None:
    """Every option has values that reach the configuration under its name."""
    others = dict.fromkeys(("tls-cert", "tls-key", "tls-ca"), "f") if name.startswith("tls-") else {}
    config = configure({"data-root-dir": "d", **others, name: typed})
    assert getattr(config, FIELDS.get(name, name.replace("-", "_"))) == value


def test_every_option_is_tried() -> None:
    """No option is missing from the tests of values."""
    names = {option.name for option in OPTIONS}
    assert {name for name, *_ in GOOD} == names
    assert set(NodeConfig.__struct_fields__) == {FIELDS.get(name, name.replace("-", "_")) for name in names}


BAD: list[tuple[str, Any]] = [
    ("engine", "steam"),
    ("node-alias", "a b"),
    ("node-alias", "x" * 65),
    ("server-bind-host", ""),
    ("server-bind-host", "a b"),
    ("server-bind-port", "65536"),
    ("server-bind-port", "-1"),
    ("server-bind-port", ""),
    ("bind-host", ""),
    ("bind-port", "http"),
    ("bind-port", "²"),
    ("bind-port", "1" * 5000),
    ("advertise", "here"),
    ("advertise", "here:0"),
    ("advertise", ""),
    ("data-root-dir", ""),
    ("programs-dir", ""),
    ("ssh-host", ""),
    ("ssh-port", "ssh"),
    ("ssh-port", ""),
    ("ssh-authorized-keys", ""),
    ("cluster", ""),
    ("cluster", "x" * 65),
    ("cluster", "a b"),
    ("cluster", "a\x07"),
    ("join", ["127.0.0.1"]),
    ("join", ["127.0.0.1:2254", ":2254"]),
    ("limit", ["sessions"]),
    ("limit", ["sesions=3"]),
    ("limit", ["sessions=0"]),
    ("limit", ["sessions=1.5"]),
    ("limit", ["sessions=-1"]),
    ("limit", ["handshake=nan"]),
    ("limit", ["sessions=" + "9" * 5000]),
    ("repl-role", "root"),
    ("tls-cert", ""),
    ("tls-key", ""),
    ("tls-ca", ""),
    ("tls-ca-key", ""),
    ("threads", "0"),
    ("threads", "1025"),
    ("threads", "two"),
    ("threads", "9" * 5000),
]


@pytest.mark.parametrize(("name", "typed"), BAD)
def test_values_that_cannot_be_used(name: str, typed: Any) -> None:
    """A value that cannot work is refused before anything starts, and the error names its option."""
    with pytest.raises(OptionError, match=f"--{name}"):
        configure({"data-root-dir": "d", "insecure": True, name: typed})


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_limit_takes_its_range(row: Limit) -> None:
    """The least, the most and the default of each limit can be typed; what is beyond is told the range."""
    for value in (row.least, row.most, row.default):
        assert parse(f"{row.name}={value:.15g}") == (row, value)
    for value in (row.least - 1, row.most + 1):
        with pytest.raises(OptionError, match=rf"from {row.least} to {row.most} {row.unit}"):
            parse(f"{row.name}={value}")
    assert row.least <= row.default <= row.most


def test_a_wrong_limit_names_the_nearest() -> None:
    """Whoever mistypes a limit is told the nearest, its range and its unit; whoever guesses, all of them."""
    with pytest.raises(OptionError, match=r"nearest is sessions, from 1 to 10000 sessions \(200 if not said\)"):
        parse("sesions=3")
    with pytest.raises(OptionError, match=r"half-open, .*, stranger-log"):
        parse("qqqqqqqq=3")


# --- where the data is ---


def test_the_data_directory_of_a_system_service() -> None:
    """systemd's own choice comes first; of several directories that it gives, the first."""
    assert default_data_root({"STATE_DIRECTORY": "/var/lib/a"}) == Path("/var/lib/a")
    assert default_data_root({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")


@pytest.mark.parametrize("environment", [{}, {"STATE_DIRECTORY": ""}])
def test_the_data_directory_otherwise(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """/var/lib/iridium is used by whoever may write it; everybody else has a directory of their own."""
    monkeypatch.setattr(platformdirs, "user_state_path", lambda name: Path("/home/me/state") / name)
    monkeypatch.setattr(options.os, "access", lambda path, mode: mode == os.W_OK)
    assert default_data_root(environment) == Path("/var/lib/iridium")
    monkeypatch.setattr(options.os, "access", lambda path, mode: False)
    assert default_data_root(environment) == Path("/home/me/state/iridium")


# --- who may reach the ports ---


ELSEWHERE = ["0.0.0.0", "::", "192.0.2.1", "node.example"]


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_shell_that_others_reach_has_to_be_asked_for(host: str) -> None:
    """The REPL port asks nobody who they are, so on another interface than loopback it needs --insecure."""
    given = {"data-root-dir": "d", "bind-host": host}
    with pytest.raises(OptionError, match=f"--bind-host {host}: .*--insecure"):
        configure(given)
    assert configure({**given, "insecure": True}).bind_host == host
    assert configure({**given, "no-repl": True}).no_repl


@pytest.mark.parametrize("host", ELSEWHERE)
def test_a_cluster_port_that_others_reach_needs_a_secret(host: str) -> None:
    """Or --insecure; the remedy names both."""
    check_cluster_exposure("127.0.0.1", allowed=False)
    check_cluster_exposure(host, allowed=True)
    with pytest.raises(OptionError, match=f"--server-bind-host {host}: .*iridium secret.*--insecure"):
        check_cluster_exposure(host, allowed=False)


def test_ssh_may_be_reached_by_others() -> None:
    """The SSH port knows who somebody is, so it may listen anywhere; it is not open unless it is asked for."""
    assert configure({"data-root-dir": "d", "ssh-port": "22", "ssh-host": "0.0.0.0"}).ssh_host == "0.0.0.0"
    assert configure({"data-root-dir": "d", "ssh-host": "0.0.0.0"}).ssh_port is None


def test_certificates_are_given_whole() -> None:
    """Some of the options of TLS without the others are an error that names them."""
    with pytest.raises(OptionError, match="--tls-key and --tls-ca are missing"):
        configure({"data-root-dir": "d", "tls-cert": "c"})


# --- both front ends ---


def by_twistd(arguments: list[str]) -> NodeConfig:
    """What `twistd iridium` makes of arguments."""
    parsed = Options()
    parsed.parseOptions(arguments)
    return parsed.config


def by_click(arguments: list[str]) -> NodeConfig:
    """What `iridium repl` makes of arguments."""
    made: list[NodeConfig] = []

    def command(**given: Any) -> None:
        names = {option.name.replace("-", "_"): option.name for option in OPTIONS}
        made.append(configure({names[key]: value for key, value in given.items()}))

    result = CliRunner().invoke(click.command()(shell._node_options(command)), arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    [config] = made
    return config


ARGUMENTS = [
    [],
    ["--node-alias", "alpha", "--cluster", "here"],
    ["-H", "::1", "-P", "0", "-p", "0", "-t", "4"],
    ["--server-bind-host=127.0.0.2", "--server-bind-port=7000", "--bind-host=127.0.0.3", "--bind-port=7001"],
    ["--threads", "2", "--no-repl", "--insecure", "--bind-host", "0.0.0.0"],
    ["--join", "127.0.0.1:1", "--join", "[::1]:2", "--advertise", "node.example:3"],
    ["--programs-dir", "p", "--node-alias", ""],
    ["--ssh-port", "0", "--ssh-host", "::", "--ssh-authorized-keys", "k"],
    ["--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a", "--tls-ca-key", "s", "-H", "0.0.0.0"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_both_front_ends_understand_the_same(arguments: list[str]) -> None:
    """`twistd iridium` and `iridium repl` take the same options, long and short, to the same configuration."""
    arguments = [*arguments, "--data-root-dir", "d"]
    config = by_twistd(arguments)
    assert config == by_click(arguments)
    assert config.data_root_dir == Path("d")


@pytest.mark.parametrize(("name", "typed"), [(n, t) for n, t in BAD if isinstance(t, str)])
def test_both_front_ends_refuse_the_same(name: str, typed: str) -> None:
    """A bad value is refused at either, by name; twistd shows it as a mistake in its usage."""
    arguments = ["--insecure", f"--{name}={typed}"]
    with pytest.raises(usage.UsageError, match=f"--{name}"):
        by_twistd(arguments)
    with pytest.raises(OptionError, match=f"--{name}"):
        by_click(arguments)


def test_both_helps_list_every_option() -> None:
    """The help of either names every option with its explanation, and the defaults of the ports."""
    twistd = " ".join(str(Options()).split())
    shown = " ".join(CliRunner().invoke(shell.repl, ["--help"]).output.split())
    for option in OPTIONS:
        assert f"--{option.name}" in twistd
        assert f"--{option.name}" in shown
        if not option.many:
            assert option.help in twistd
        assert option.help in shown
    assert "[default: 2254]" in twistd
