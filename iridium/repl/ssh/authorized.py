"""Who may log in: a file of public keys, in OpenSSH's format. No cryptography; keys are compared as bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from iridium.errors import IridiumError
from iridium.private import NotPrivateError, open_private
from iridium.repl.visible import shortened, visible
from iridium.roles import Role

AUTHORIZED_KEYS = "authorized_keys"
"""The file in the data directory."""

MAX_BYTES = 256 * 1024
"""Bytes of the file: it is read on the reactor thread whenever it has changed."""

MAX_KEYS = 1000
"""Keys that are taken from it: with the longest, as many as fit into so many bytes."""

MAX_PROBLEMS = 20
"""Lines that are wrong and are told of one by one."""

SETTLED = 2.0
"""Seconds after which a file is taken for unchanged when its times and size are: file systems count coarsely."""

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""Kinds of keys that may log in; RSA keys sign with SHA-2 only."""

LEAST_RSA = 2048
"""Bits of an RSA key: shorter ones can be broken."""

MOST_RSA = 8192
"""Bits of an RSA key: a longer one takes long to check, and nobody has one."""

_ROLES = {role.value: role for role in Role}

_OPTION = re.compile(r"[a-z][a-z0-9-]{0,23}")
"""What the name of an option of OpenSSH looks like. Nothing else at the start of a line is told: it may be a piece
of a private key, from the wrong one of two files, and the log is no place for that."""


class AuthorizedKeysError(IridiumError):
    """A line of the file, or all of it, cannot be used as it is."""


class AuthorizedKey(NamedTuple):
    """A key that may log in.

    Attributes:
        blob: the public key, as it goes over the wire.
        kind: its type, one of :data:`KEY_TYPES`.
        comment: what stands behind it, made printable.
        role: what its owner may do.
    """

    blob: bytes
    kind: str
    comment: str
    role: Role

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        return fingerprint(self.blob)


def fingerprint(blob: bytes) -> str:
    """The fingerprint of a public key: SHA256 and base64, as OpenSSH writes it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()


def parse_line(line: str) -> AuthorizedKey | None:
    """The key in a line, None where it has none.

    Raises:
        AuthorizedKeysError: it cannot be taken; the text says why and what to do.
    """
    line = line.strip(" \t\r")
    if not line or line.startswith("#"):
        return None
    if line.startswith("-----BEGIN "):
        raise AuthorizedKeysError(
            "this is no public key in OpenSSH's format; put the line of the .pub file here, "
            "and take a private key out again"
        )
    role = Role.OPERATOR
    kind, rest = _word(line)
    if not _is_type(kind):
        options, rest = _split_options(line)
        role = _role(options)
        kind, rest = _word(rest)
    if kind not in KEY_TYPES:
        raise AuthorizedKeysError(
            f"{_shown(kind)} is not a kind of key that can log in; make one with ssh-keygen -t ed25519"
            if _is_type(kind)
            else "there is no key in it; a line is TYPE KEY COMMENT, as in a .pub file of ssh-keygen"
        )
    encoded, comment = _word(rest)
    try:
        blob = base64.b64decode(encoded, validate=True)
        _check(blob, kind)
    except (binascii.Error, ValueError, struct.error):
        raise AuthorizedKeysError(
            f"the {kind} key is broken; copy the whole line of the .pub file again"
        ) from None
    return AuthorizedKey(blob, kind, _shown(comment.strip()), role)


def parse(text: str) -> tuple[dict[bytes, AuthorizedKey], list[str]]:
    """The keys of a file, by their bytes, and what is wrong in it, line by line."""
    keys: dict[bytes, AuthorizedKey] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            key = parse_line(line)
            if key is None:
                continue
            if key.blob in keys:
                raise AuthorizedKeysError("this key stands above already; the first line counts")
            if len(keys) >= MAX_KEYS:
                problems.append(f"line {number}: more than {MAX_KEYS} keys; those from here on are ignored")
                break
            keys[key.blob] = key
        except AuthorizedKeysError as error:
            problems.append(f"line {number}: {error}")
    return keys, problems


class AuthorizedKeys:
    """The file, read again whenever it changes.

    Args:
        path: the file.
        warn: takes what is wrong with it, once for every change.
        wall_clock: seconds since 1970, as file systems count them.
    """

    def __init__(self, path: Path, warn: Callable[[str], None], wall_clock: Callable[[], float]) -> None:
        self.path = path
        self._warn = warn
        self._wall_clock = wall_clock
        self._keys: dict[bytes, AuthorizedKey] = {}
        self._state: tuple[int, ...] | None = None
        self._told: list[str] = []

    def find(self, blob: bytes) -> AuthorizedKey | None:
        """The key with these bytes, if it may log in as the file is now."""
        return self.load().get(blob)

    def load(self) -> dict[bytes, AuthorizedKey]:
        """All keys, as the file is now; none while it cannot be used."""
        try:
            problems = self._refresh()
        except FileNotFoundError:
            self._keys, self._state = {}, None
            problems = [
                "there is no such file, so nobody can log in; put public keys into it, a line each "
                "(cat ~/.ssh/id_ed25519.pub), and chmod 600 it"
            ]
        except (AuthorizedKeysError, NotPrivateError) as error:
            self._keys, self._state = {}, None
            problems = [f"{error} Nobody can log in."]
        if problems is not None and problems != self._told:
            self._told = problems
            for problem in problems[:MAX_PROBLEMS]:
                self._warn(f"{self.path}: {problem}")
            if len(problems) > MAX_PROBLEMS:
                self._warn(f"{self.path}: {len(problems) - MAX_PROBLEMS} more lines cannot be used")
        return self._keys

    def _refresh(self) -> list[str] | None:
        """Read the file if it has changed; what is wrong in it, or None if it has not."""
        with open_private(self.path) as file:
            status = file.status
            state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            if state == self._state:
                return None
            data = file.read(MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise AuthorizedKeysError(f"it has more than {MAX_BYTES} bytes; keep only keys that are in use.")
        self._keys, problems = parse(data.decode(errors="replace"))
        # One that was written just now may be written again with the same times.
        settled = self._wall_clock() - max(status.st_mtime, status.st_ctime) > SETTLED
        self._state = state if settled else None
        return problems


def _is_type(word: str) -> bool:
    return word.startswith(("ssh-", "ecdsa-", "sk-")) and "=" not in word and "," not in word


def _word(text: str) -> tuple[str, str]:
    """The first word and the rest."""
    parts = text.split(None, 1)
    return (parts[0], parts[1] if len(parts) > 1 else "") if parts else ("", "")


def _split_options(line: str) -> tuple[list[str], str]:
    """The options at the start of a line, and what follows them. Blanks and commas in quotes are part of one."""
    options: list[str] = []
    start = 0
    quoted = escaped = False
    for at, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif not quoted and character in " \t,":
            options.append(line[start:at])
            start = at + 1
            if character != ",":
                return options, line[start:]
    if quoted:
        raise AuthorizedKeysError("a quotation mark is not closed")
    return [*options, line[start:]], ""


def _role(options: list[str]) -> Role:
    role: Role | None = None
    for option in options:
        name, _, value = option.partition("=")
        if name.casefold() != "role" and _OPTION.fullmatch(name) is None:
            raise AuthorizedKeysError(
                "it begins with neither a kind of key nor an option; a line is TYPE KEY COMMENT, as in a .pub "
                "file of ssh-keygen"
            )
        if name.casefold() != "role":
            raise AuthorizedKeysError(
                f"the option {name} is not known here, and the key is not taken without the restriction "
                'that it means; the only option is role="read-only" or role="operator"'
            )
        found = _ROLES.get(value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else "")
        if found is None or role is not None:
            raise AuthorizedKeysError('a role is given once, as role="read-only" or role="operator"')
        role = found
    return role or Role.OPERATOR


def _check(blob: bytes, kind: str) -> None:
    """Raise ValueError or struct.error where the bytes are no key of that kind."""
    name, *fields = _fields(blob)
    if name != kind.encode():
        raise ValueError
    if kind == "ssh-ed25519":
        (key,) = fields
        if len(key) != 32:
            raise ValueError
    elif kind == "ssh-rsa":
        exponent, modulus = fields
        bits = int.from_bytes(modulus, "big").bit_length()
        if not LEAST_RSA <= bits <= MOST_RSA:
            raise AuthorizedKeysError(
                f"the RSA key has {bits} bits, and {LEAST_RSA} to {MOST_RSA} are taken; "
                "make one with ssh-keygen -t ed25519"
            )
        if len(exponent) > 8:
            raise ValueError
    else:
        curve, _point = fields
        if curve != kind.rpartition("-")[2].encode():
            raise ValueError


def _fields(blob: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(blob):
        (length,) = struct.unpack_from(">L", blob, at)
        if at + 4 + length > len(blob):
            raise ValueError
        yield blob[at + 4 : at + 4 + length]
        at += 4 + length


def _shown(text: str) -> str:
    """What somebody wrote, for the log."""
    return visible(shortened(text)).replace("\n", "\\n")
