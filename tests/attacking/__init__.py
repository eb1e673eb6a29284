"""Attacks on real nodes, in parts; the command is ``python -m tests.attack``."""
