"""The options of a node: one list, which `twistd iridium` and `iridium repl` both read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from iridium import limits
from iridium.cluster.identity import check_alias
from iridium.cluster.rules import split_address
from iridium.errors import OptionError
from iridium.node import NodeConfig, check_repl_exposure
from iridium.roles import Role
from iridium.vm.engine import ENGINES, check_engine

MOST_THREADS = 1024
"""Worker threads that can be asked for: more than any machine that this runs on has cores."""

ROLES = " or ".join(role.value for role in Role)
"""Those there are, in a sentence."""


class Option(NamedTuple):
    """One option.

    Attributes:
        name: as it is typed, without the dashes.
        help: one line.
        short: its letter, or "".
        default: the value without it; a function of no arguments where it depends on the machine.
        parse: makes the value from what was typed; raises OptionError.
        flag: whether it takes no value.
        many: whether it may be given several times.
        metavar: what stands for the value in the help.
    """

    name: str
    help: str
    short: str = ""
    default: Any = None
    parse: Callable[[str], Any] = str
    flag: bool = False
    many: bool = False
    metavar: str = "VALUE"


def _number(text: str) -> int:
    """A number, or -1 where it is none; one of many digits is not even looked at."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else -1


def _port(name: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not 0 <= _number(text) < 65536:
            raise OptionError(f"--{name} {text!r} is not a port: a number from 0 to 65535, 0 for any free one")
        return int(text)

    return parse


def _host(name: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text or not text.isprintable() or " " in text:
            raise OptionError(f"--{name} {text!r} is not a host: an address such as 127.0.0.1 or ::1")
        return text

    return parse


def _directory(name: str) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        if not text:
            raise OptionError(f"--{name} is empty: name a directory, `.` for this one")
        return Path(text)

    return parse


def _file(name: str) -> Callable[[str], Path]:
    def parse(text: str) -> Path:
        if not text:
            raise OptionError(f"--{name} is empty: name a file")
        return Path(text).absolute()  # twistd in the background changes its directory

    return parse


def _address(name: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            split_address(text)
        except OptionError as error:
            raise OptionError(f"--{name}: {error}") from None
        return text

    return parse


def _threads(text: str) -> int:
    if not 0 < _number(text) <= MOST_THREADS:
        raise OptionError(f"--threads {text!r} is not a number from 1 to {MOST_THREADS}")
    return int(text)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _engine(text: str) -> str:
    check_engine(text)
    return text


def _cluster(text: str) -> str:
    if not 0 < len(text) <= 64 or not text.isprintable() or any(c.isspace() for c in text):
        raise OptionError(f"--cluster {text!r} cannot be a cluster's name: 1 to 64 characters without spaces")
    return text


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise OptionError(f"--repl-role {text!r} is no role: it is {ROLES}") from None


def _limit(text: str) -> tuple[limits.Limit, float]:
    return limits.parse(text)


def default_data_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Where nodes keep their data: systemd's state directory, /var/lib/iridium, or the user's own."""
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    system = Path("/var/lib/iridium")
    nearest = system if system.exists() else system.parent
    if os.access(nearest, os.W_OK):
        return system
    import platformdirs  # 10 ms that a node with a directory of its own need not pay

    return platformdirs.user_state_path("iridium")


OPTIONS: tuple[Option, ...] = (
    Option("node-alias", "a name for the node, unique in its cluster", default="", parse=check_alias, metavar="A"),
    Option(
        "server-bind-host",
        "interface of the cluster port",
        "H",
        "127.0.0.1",
        _host("server-bind-host"),
        metavar="HOST",
    ),
    Option("server-bind-port", "cluster port", "P", 2254, _port("server-bind-port"), metavar="PORT"),
    Option("bind-host", "interface of the REPL port", "", "127.0.0.1", _host("bind-host"), metavar="HOST"),
    Option("bind-port", "REPL port", "p", 2244, _port("bind-port"), metavar="PORT"),
    Option("advertise", "address to give to other nodes", "", "", _address("advertise"), metavar="HOST:PORT"),
    Option(
        "secret-file",
        "the cluster's secret, instead of the file `secret` in the data directory",
        "",
        None,
        _file("secret-file"),
        metavar="FILE",
    ),
    Option(
        "token-port",
        "port for newcomers with a token, open while one is out; any free one if not said",
        "",
        0,
        _port("token-port"),
        metavar="PORT",
    ),
    Option(
        "data-root-dir",
        "where nodes keep their data",
        "",
        default_data_root,
        _directory("data-root-dir"),
        metavar="DIR",
    ),
    Option(
        "programs-dir", "where the shell loads programs from", "", None, _directory("programs-dir"), metavar="DIR"
    ),
    Option("cluster", "the cluster's name", "", "iridium", _cluster, metavar="NAME"),
    Option("join", "join this member's cluster", "", (), _address("join"), many=True, metavar="HOST:PORT"),
    Option("threads", "worker threads for programs, one a core if not said", "t", _cores, _threads, metavar="N"),
    Option(
        "tls-cert",
        "this node's certificate (PEM): TLS on the cluster port",
        "",
        None,
        _file("tls-cert"),
        metavar="FILE",
    ),
    Option("tls-key", "the private key of that certificate", "", None, _file("tls-key"), metavar="FILE"),
    Option(
        "tls-ca", "certificate of the CA that signed those of all nodes", "", None, _file("tls-ca"), metavar="FILE"
    ),
    Option(
        "tls-ca-key",
        "private key of that CA, if this node may issue certificates",
        "",
        None,
        _file("tls-ca-key"),
        metavar="FILE",
    ),
    Option("engine", f"what runs programs: {', '.join(ENGINES)}", "", "auto", _engine, metavar="NAME"),
    Option(
        "limit",
        "a limit other than its default; docs/limits.md lists them",
        "",
        (),
        _limit,
        many=True,
        metavar="NAME=NUMBER",
    ),
    Option(
        "repl-role", f"what sessions of the REPL port may do: {ROLES}", "", Role.OPERATOR, _role, metavar="ROLE"
    ),
    Option("no-repl", "open no REPL port", flag=True, default=False),
    Option("ssh-host", "interface of the SSH port", "", "127.0.0.1", _host("ssh-host"), metavar="HOST"),
    Option("ssh-port", "SSH port; none is opened if not said", "", None, _port("ssh-port"), metavar="PORT"),
    Option(
        "ssh-authorized-keys",
        "who may log in over SSH, if not the data directory's authorized_keys says",
        "",
        None,
        _file("ssh-authorized-keys"),
        metavar="FILE",
    ),
    Option("insecure", "allow ports on other interfaces than loopback", flag=True, default=False),
)


def configure(given: Mapping[str, Any]) -> NodeConfig:
    """A node's configuration.

    Args:
        given: by option name, what was typed: a string, a list of strings, or a flag; options may be missing.

    Raises:
        OptionError: a value cannot work; the text names the option.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        typed = given.get(option.name)
        value: Any
        if option.flag:
            value = bool(typed)
        elif not typed and typed != "":
            value = option.default() if callable(option.default) else option.default
        elif option.many:
            value = tuple(option.parse(one) for one in typed)
        else:
            value = option.parse(typed)
        values[option.name.replace("-", "_")] = value
    values["limits"] = limits.combine(values.pop("limit"))
    config = NodeConfig(**values)
    config.tls_files()  # whether all are named
    if not config.no_repl:
        check_repl_exposure(config.bind_host, config.insecure)
    return config
