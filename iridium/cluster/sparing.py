"""Twisted without OpenSSL, for a process that has no use for its TLS.

Where pyOpenSSL is installed, importing Twisted's reactor imports it too, with ``cryptography`` and what checks
names on the web: 60 ms and 13 MB that a node would pay at each start. Without pyOpenSSL the same reactor goes
without. Our own TLS (:mod:`iridium.cluster.tls`) asks OpenSSL itself, when it is needed.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_openssl() -> Iterator[None]:
    """Import as if pyOpenSSL were not installed; afterwards it can be. Nothing where it is imported already."""
    if "OpenSSL" in sys.modules:
        yield
        return
    sys.modules["OpenSSL"] = None  # type: ignore[assignment]  # so Python says that there is no such module
    try:
        yield
    finally:
        del sys.modules["OpenSSL"]


def spare_openssl() -> None:
    """Import what a reactor is made of without OpenSSL, before somebody imports a reactor.

    For processes of ours only: in them ``reactor.listenSSL`` and ``startTLS`` do not work.
    """
    with without_openssl():
        # Neither is a reactor yet, so that `twistd --reactor` still chooses one.
        importlib.import_module("twisted.internet.tcp")
        importlib.import_module("twisted.internet.posixbase")
