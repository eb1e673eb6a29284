"""Taking connections without making those wait that are there already."""

from __future__ import annotations

from typing import Any

ACCEPTS = 4
"""Connections that a port takes in one turn of the reactor: under a millisecond, however many want in at once."""


def take_few(port: Any) -> None:
    """Let a port take at most :data:`ACCEPTS` connections a turn; Twisted takes a hundred and more.

    Args:
        port: an IListeningPort that listens.
    """
    take = getattr(port, "doRead", None)
    if take is None:  # a reactor of another kind, or of a test
        return

    def few() -> Any:
        port.numberAccepts = ACCEPTS
        return take()

    port.doRead = few
