"""Iridium: a small clustered language VM that runs as a Twisted network service."""

__version__ = "0.1.0"
