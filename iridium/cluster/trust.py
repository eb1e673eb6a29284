"""What a node knows that others must show: the cluster's secret, and the CA of its certificates."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from iridium.cluster.secret import Secrets, find_secrets
from iridium.cluster.tls import ClusterTls
from iridium.cluster.tls_files import EXPIRES_SOON, TlsFiles, load_tls
from iridium.errors import OptionError


class Trust(NamedTuple):
    """What other nodes must prove; nothing at all lets anybody in.

    Attributes:
        secrets: that they must know, or None.
        secret_path: where these stand, or None.
        tls: with what connections are secured, or None.
        files: where that stands, or None.
    """

    secrets: Secrets | None = None
    secret_path: Path | None = None
    tls: ClusterTls | None = None
    files: TlsFiles | None = None

    @property
    def guards(self) -> bool:
        """Whether anything is asked for."""
        return self.secrets is not None or self.tls is not None

    def __str__(self) -> str:
        parts = []
        if self.secrets is not None:
            parts.append(f"{len(self.secrets)} secret{'s' * (len(self.secrets) > 1)} in {self.secret_path}")
        if self.tls is not None and self.files is not None:
            parts.append(f"certificate {self.files.certificate}, good until {self.tls.expires:%Y-%m-%d}")
        return "; ".join(parts) or "nothing"

    def warning(self, now: datetime.datetime) -> str:
        """What somebody should do soon, or ""."""
        if self.tls is None or self.tls.expires - now > EXPIRES_SOON:
            return ""
        return f"the certificate expires on {self.tls.expires:%Y-%m-%d}; make a new one, and send SIGHUP"

    def check_id(self, id: str) -> None:
        """Refuse a certificate that every peer would refuse: one for other nodes.

        Raises:
            OptionError: the certificate is for nodes, and not for this one.
        """
        if self.tls is not None and self.files is not None and self.tls.names.ids and id not in self.tls.names.ids:
            raise OptionError(
                f"{self.files.told(self.files.certificate)} is for {self.tls.names}, and this is the node {id}; "
                f"make one for it: iridium certificates node NAME --ca DIR --id {id}"
            )

    def check_after(self, before: Trust) -> None:
        """Refuse to ask for less than before while the node runs: a file that is gone is a mistake.

        Raises:
            OptionError: the secret or the certificate is gone.
        """
        for what, had, has in (
            ("secret is", before.secrets, self.secrets),
            ("certificates are", before.tls, self.tls),
        ):
            if had is not None and has is None:
                raise OptionError(f"the {what} gone; to do without, start the node anew")


def load_trust(
    secret_file: Path | None,
    tls_files: TlsFiles | None,
    directory: Path,
    environment: Mapping[str, str] = os.environ,
) -> Trust:
    """Read what a node is told to trust.

    Args:
        secret_file: the file with the secret that was named, or None.
        tls_files: the files of its TLS, or None.
        directory: the data directory.
        environment: of the process.

    Raises:
        OptionError: a file cannot be used; the text says which and what to do.
    """
    found = find_secrets(secret_file, directory, environment)
    secrets, path = (None, None) if found is None else found
    return Trust(secrets, path, None if tls_files is None else load_tls(tls_files), tls_files)
