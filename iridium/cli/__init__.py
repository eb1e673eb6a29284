"""The ``iridium`` command: its entry point. Everything is imported in there, so that Ctrl-C at once is met too."""

from __future__ import annotations


def main() -> None:
    """Start the command.

    Raises:
        SystemExit: always; the exit statuses stand in :mod:`iridium.cli.status`.
    """
    try:
        from iridium.cli.start import start

        start()
    except KeyboardInterrupt:
        from iridium.cli.status import INTERRUPTED

        raise SystemExit(INTERRUPTED) from None
