"""The secret and the certificates of a mesh of real nodes, made and changed with the `iridium` command.

A cluster goes from one secret, or CA, to another in three steps; after each the files are given to every node,
which is told to read them again. Strangers have nearly the right ones.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from iridium.cluster.secret import SECRET_FILE
from iridium.cluster.tls_files import CA_CERTIFICATE, DIRECTORY, NODE_CERTIFICATE
from iridium.private import write_whole
from tests.processes import COMMAND, environment

PATIENCE = 60.0
"""Seconds that the command may take."""

SECRET_STEPS = ("add", "use", "drop")
"""What changes a secret, in order: at every moment each node accepts what the others use."""

AUTHORITY_STEPS = ("both", "issue", "new")
"""The same of a CA: both are believed, then certificates come from the new one, then that alone is believed."""


class Keys:
    """What the nodes of one cluster have to show, and how it changes.

    Args:
        root: where the nodes have their data directories, and the originals a directory of their own beside them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals = root / "originals"
        self.originals.mkdir(mode=0o700)
        self._secret = self.originals / SECRET_FILE
        self._authorities = [self._authority()]
        self._steps = {"secret": 0, "authority": 0}
        self._made = 1
        self._iridium("secret", "--file", self._secret)
        self.former = self.originals / "former"
        shutil.copy2(self._secret, self.former)
        for step in SECRET_STEPS:
            self._iridium("secret", "--file", self._secret, f"--{step}")

    def _iridium(self, *arguments: object) -> None:
        command = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(
            command, env=environment(self.root), capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def _authority(self, name: str = "ca0") -> Path:
        self._iridium("certificates", "ca", self.originals / name)
        return self.originals / name

    # --- a member ---

    def equip(self, alias: str) -> None:
        """Give a node all that it needs, before its first start."""
        self.certify(alias)
        self.give_secret(alias)

    def certify(self, alias: str) -> None:
        """Give a node a certificate, from the newest CA that may issue yet, and whom it is to believe."""
        issuing = self._authorities[-1] if self._steps["authority"] >= 2 else self._authorities[0]
        self._certificate(alias, issuing)
        self.give_authorities(alias)

    def _certificate(self, alias: str, authority: Path) -> None:
        where = ("--node-alias", alias, "--data-root-dir", self.root, "--replace")
        self._iridium("certificates", "node", "--ca", authority, *where)

    def give_authorities(self, alias: str) -> None:
        """Give a node the CAs that it is to believe."""
        self._believe(alias, self._authorities[-1:] if self._steps["authority"] == 0 else self._authorities)

    def _believe(self, alias: str, believed: list[Path]) -> None:
        pem = b"".join((authority / CA_CERTIFICATE).read_bytes() for authority in believed)
        write_whole(self.root / alias / DIRECTORY / CA_CERTIFICATE, pem, replace=True)

    def give_secret(self, alias: str) -> None:
        """Give a node the secret file as it is now."""
        write_whole(self.root / alias / SECRET_FILE, self._secret.read_bytes(), replace=True)

    # --- changes ---

    def change_secret(self) -> tuple[str, Callable[[str], None]]:
        """Take the next step to another secret; which that was, and what gives it to a node."""
        step = SECRET_STEPS[self._steps["secret"]]
        self._steps["secret"] = (self._steps["secret"] + 1) % len(SECRET_STEPS)
        self._iridium("secret", "--file", self._secret, f"--{step}")
        return step, self.give_secret

    def change_authority(self) -> tuple[str, Callable[[str], None]]:
        """Take the next step to another CA; which that was, and what gives it to a node."""
        at = self._steps["authority"]
        self._steps["authority"] = (at + 1) % len(AUTHORITY_STEPS)
        if at == 0:
            self._authorities.append(self._authority(f"ca{self._made}"))
            self._made += 1
        elif at == 2:
            del self._authorities[0]
        return AUTHORITY_STEPS[at], (self.give_authorities, self.certify, self.give_authorities)[at]

    # --- mistakes ---

    def spoil(self, alias: str, amount: float) -> str:
        """Put something wrong in a place that a node reads; what it is.

        Args:
            alias: the node.
            amount: from 0 to 1; which of the mistakes.
        """
        data = self.root / alias
        secret, certificate = data / SECRET_FILE, data / DIRECTORY / NODE_CERTIFICATE
        mistakes: dict[str, Callable[[], object]] = {
            "secret too short": lambda: write_whole(secret, b"short\n", replace=True),
            "no secret": secret.unlink,
            "secret for others to read": lambda: secret.chmod(0o644),
            "half a certificate": lambda: certificate.write_bytes(certificate.read_bytes()[:200]),
            "another's certificate": lambda: self._anothers(certificate),
            "no certificate": certificate.unlink,
        }
        name = list(mistakes)[min(int(amount * len(mistakes)), len(mistakes) - 1)]
        mistakes[name]()
        return name

    def _anothers(self, certificate: Path) -> None:
        at = self.originals / "another"
        self._iridium("certificates", "node", at, "--ca", self._authorities[0], "--host", "example", "--replace")
        shutil.copy(at / NODE_CERTIFICATE, certificate)

    # --- who must not get in ---

    def strangers(self) -> list[str]:
        """Make what strangers have; their aliases, which tell what is wrong with them."""
        self._others = self._authority("others")
        self.equip("wrong-secret")
        self._iridium("secret", "--file", self.originals / "wrong")
        self._replace("wrong-secret", self.originals / "wrong")
        self.equip("former-secret")
        self._replace("former-secret", self.former)
        self.certify("no-secret")
        self.equip("wrong-authority")
        self._certificate("wrong-authority", self._others)
        self._believe("wrong-authority", [*self._authorities, self._others])
        self.give_secret("no-certificate")
        return ["wrong-secret", "former-secret", "no-secret", "wrong-authority", "no-certificate"]

    def _replace(self, alias: str, secret: Path) -> None:
        write_whole(self.root / alias / SECRET_FILE, secret.read_bytes(), replace=True)
