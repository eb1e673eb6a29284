"""Who may log in, and who the node is: the file of authorized keys, and the host key."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.keys import Key

from iridium.cluster.identity import DataDirectory
from iridium.errors import DataDirectoryError
from iridium.repl.ssh.authorized import (
    MAX_BYTES,
    MAX_KEYS,
    MAX_PROBLEMS,
    AuthorizedKeys,
    AuthorizedKeysError,
    fingerprint,
    parse,
    parse_line,
)
from iridium.repl.ssh.host_key import HOST_KEY, load_host_key
from iridium.roles import Role


def public(private: Any, comment: str = "me") -> str:
    """The line of a key."""
    return Key(private).public().toString("OPENSSH", comment=comment).decode()


ED25519 = public(Ed25519PrivateKey.generate())
OTHER = public(Ed25519PrivateKey.generate(), "you@there again")


class TestLines:
    """A line of the file."""

    @pytest.mark.parametrize(
        "private",
        [
            Ed25519PrivateKey.generate(),
            *(ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())),
            rsa.generate_private_key(65537, 2048),
        ],
        ids=lambda key: type(key).__name__,
    )
    def test_kinds(self, private: Any) -> None:
        """Keys of these kinds are taken, with their comment."""
        key = parse_line(public(private))
        assert key is not None
        assert key.blob == Key(private).public().blob()
        assert (key.comment, key.role) == ("me", Role.OPERATOR)
        assert key.fingerprint == fingerprint(key.blob)

    @pytest.mark.parametrize(
        ("options", "role"),
        [
            ('role="read-only"', Role.READ_ONLY),
            ('role="operator"', Role.OPERATOR),
            ('ROLE="read-only"', Role.READ_ONLY),
            ("", Role.OPERATOR),
        ],
    )
    def test_roles(self, options: str, role: Role) -> None:
        """The one option is the role."""
        for blank in (" ", "\t", "   "):
            key = parse_line(f"{options}{blank}{OTHER}\r")
            assert key is not None
            assert (key.role, key.comment) == (role, "you@there again")

    @pytest.mark.parametrize(
        "options",
        [
            'from="10.0.0.0/8"',
            'command="!members"',
            "restrict",
            'role="read-only",no-pty',
            'no-pty,role="read-only"',
            "cert-authority",
            'environment="A=B c, ssh-ed25519"',
        ],
    )
    def test_options_that_restrict(self, options: str) -> None:
        """A key with a restriction that is not understood here is not taken without it."""
        with pytest.raises(AuthorizedKeysError, match="is not known here"):
            parse_line(f"{options} {ED25519}")

    @pytest.mark.parametrize(
        "options",
        ["role=read-only", 'role="root"', 'role=""', "role", 'role="operator",role="operator"', 'role="x'],
    )
    def test_roles_that_are_none(self, options: str) -> None:
        """A role that is misspelt is no role, least of all the greater one."""
        with pytest.raises(AuthorizedKeysError, match=r"role|quotation"):
            parse_line(f"{options} {ED25519}")

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("ssh-ed25519", "broken"),
            ("ssh-ed25519 AAAA", "broken"),
            ("ssh-ed25519 !!!! me", "broken"),
            (ED25519.replace("ssh-ed25519 ", "ssh-rsa "), "broken"),
            (ED25519[:60], "broken"),
            ("ssh-dss AAAAB3NzaC1kc3MAAACBAP me", "not a kind of key"),
            ("sk-ssh-ed25519@openssh.com AAAA me", "not a kind of key"),
            ("hello world", "is not known here"),
            (public(rsa.generate_private_key(65537, 1024)), "1024 bits"),
            ('role="operator"', "no key in it"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "put the line of the .pub file here"),
            ("\ufeff" + ED25519, "begins with neither"),
        ],
    )
    def test_what_is_no_key(self, line: str, problem: str) -> None:
        """What is wrong is told, with what to do."""
        with pytest.raises(AuthorizedKeysError, match=problem):
            parse_line(line)

    def test_a_private_key_is_not_told(self) -> None:
        """The wrong one of two files, put in by mistake, does not carry its private key into the log."""
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        keys, problems = parse(f"{pem.decode()}{ED25519}\n")
        assert len(keys) == 1
        assert len(problems) == len(pem.splitlines())
        for line in pem.decode().splitlines()[1:-1]:
            assert not any(line[at : at + 8] in problem for problem in problems for at in range(len(line) - 7))

    def test_a_file(self) -> None:
        """Bad lines are told with their numbers, the others count; blanks and comments are nothing."""
        keys, problems = parse(f'# mine\n\n{ED25519}\nrubbish\nfrom="x" {OTHER}\n  {OTHER}\n{ED25519}\n')
        assert [key.comment for key in keys.values()] == ["me", "you@there again"]
        assert [problem.split(":")[0] for problem in problems] == ["line 4", "line 5", "line 7"]

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever the file holds, what is wrong with it can be shown."""
        _, problems = parse(text)
        assert all(problem.isprintable() for problem in problems)


class Owner:
    """Somebody who looks after a file of keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.now = 2e9  # long after anything was written
        self.keys = AuthorizedKeys(path, self.said.append, lambda: self.now)

    def write(self, text: str, mode: int = 0o600) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)

    def comments(self) -> list[str]:
        """Who may log in now."""
        return [key.comment for key in self.keys.load().values()]


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    """Somebody without a file yet."""
    return Owner(tmp_path / "authorized_keys")


class TestFile:
    """The file."""

    def test_changes_count_at_once(self, owner: Owner) -> None:
        """A key that is added or taken away counts from then on, also within the same moment."""
        assert owner.comments() == []
        owner.now = 0.0
        owner.write(ED25519)
        assert owner.comments() == ["me"]
        owner.write(OTHER[: len(ED25519)])  # as long, and maybe at the same time
        assert owner.comments() != ["me"]
        owner.path.unlink()
        assert owner.comments() == []

    def test_it_is_not_read_again_for_nothing(self, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that is as it was is only looked at."""
        owner.write(ED25519)
        assert owner.comments() == ["me"]
        monkeypatch.setattr("iridium.repl.ssh.authorized.parse", None)
        assert owner.comments() == ["me"]

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o606])
    def test_others_must_not_be_at_it(self, owner: Owner, mode: int) -> None:
        """Where others could read or write it nobody gets in, and the log says what to do, once."""
        owner.write(ED25519, mode)
        assert owner.comments() == []
        assert owner.comments() == []
        [line] = owner.said
        assert line == (
            f"{owner.path}: its mode is {mode:04o}, which lets others at it: chmod 600 {owner.path}. "
            "Nobody can log in."
        )
        owner.path.chmod(0o600)
        assert owner.comments() == ["me"]
        owner.path.chmod(mode)
        assert owner.comments() == []
        assert len(owner.said) == 2

    def test_it_must_be_a_file_of_ours(self, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pipe, a directory, or somebody else's file is not read."""
        os.mkfifo(owner.path, 0o600)
        assert owner.comments() == []
        owner.path.unlink()
        owner.path.mkdir(0o700)
        assert owner.comments() == []
        owner.path.rmdir()
        owner.write(ED25519)
        monkeypatch.setattr("iridium.private.os.geteuid", lambda: owner.path.stat().st_uid + 1)
        if owner.path.stat().st_uid != 0:
            assert owner.comments() == []
            assert "chown" in owner.said[-1]
        assert "not a regular file" in owner.said[0]

    def test_what_is_told_when_there_is_none(self, owner: Owner) -> None:
        """A node without the file says how to make one, once."""
        owner.comments()
        owner.comments()
        [line] = owner.said
        assert "chmod 600" in line

    def test_bounds(self, owner: Owner) -> None:
        """A file that is too large is not read; keys beyond so many are ignored, and so many problems are told."""
        owner.write("x" * (MAX_BYTES + 1))
        assert owner.comments() == []
        assert "more than 262144 bytes" in owner.said.pop()
        blobs = [
            Key(Ed25519PrivateKey.generate()).public().toString("OPENSSH").decode() for _ in range(MAX_KEYS + 5)
        ]
        owner.write("\n".join(blobs))
        assert len(owner.comments()) == MAX_KEYS
        assert "ignored" in owner.said.pop()
        owner.write("x\n" * 1000 + ED25519)
        assert owner.comments() == ["me"]
        assert len(owner.said) == MAX_PROBLEMS + 1


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDirectory]:
    """A node's directory."""
    data = DataDirectory(tmp_path / "data")
    yield data
    data.close()


class TestHostKey:
    """The host key."""

    def test_it_is_made_once(self, data: DataDirectory) -> None:
        """The key is made on first use, for the node's user alone, and stays."""
        first = load_host_key(data)
        path = data.path / HOST_KEY
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_host_key(data).public_key() == first.public_key()
        assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_one_that_others_know(self, data: DataDirectory, mode: int) -> None:
        """A key that others can read is not used; the text says what to do."""
        load_host_key(data)
        (data.path / HOST_KEY).chmod(mode)
        with pytest.raises(DataDirectoryError, match="chmod 600"):
            load_host_key(data)

    @pytest.mark.parametrize("what", ["", "rubbish", "cut", "encrypted"])
    def test_one_that_is_corrupt(self, data: DataDirectory, what: str) -> None:
        """A file that is no key stops the start and is left as it is."""
        key = load_host_key(data)
        path = data.path / HOST_KEY
        if what == "cut":
            path.write_bytes(path.read_bytes()[:200])
        elif what == "encrypted":
            secret = BestAvailableEncryption(b"secret")
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, secret))
        else:
            path.write_text(what)
        before = path.read_bytes()
        with pytest.raises(DataDirectoryError, match="is corrupt"):
            load_host_key(data)
        assert path.read_bytes() == before

    def test_one_of_another_kind(self, data: DataDirectory) -> None:
        """Only an Ed25519 key will do, and no link to one."""
        path = data.path / HOST_KEY
        private = rsa.generate_private_key(65537, 2048)
        from cryptography.hazmat.primitives.serialization import NoEncryption

        data.replace(HOST_KEY, private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        with pytest.raises(DataDirectoryError, match="not an Ed25519 key"):
            load_host_key(data)
        path.rename(data.path / "elsewhere")
        path.symlink_to(data.path / "elsewhere")
        with pytest.raises(DataDirectoryError, match="is not used: it cannot be read"):
            load_host_key(data)
