"""What Python calls of the runtime is there in both of its forms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import iridium
from iridium.vm.runtime.calls import HOST_CALLS, Calls
from iridium.vm.runtime.subset import FUNCTIONS


def called() -> set[str]:
    """The functions of the runtime that the package calls."""
    texts = [path.read_text() for path in Path(iridium.__file__).parent.rglob("*.py")]
    trees = [ast.parse(text) for text in texts if "runtime.calls import calls" in text]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "calls"
    } - {"native", "use", "__dict__"}


def test_every_call_has_an_entry() -> None:
    """Protects all that is locked: what has none would run as Python, beside machine code."""
    assert len(called()) > 30
    assert called() <= set(HOST_CALLS) <= set(FUNCTIONS)


def test_nothing_else_can_be_called() -> None:
    """A function of the runtime that is not for the host is none of its attributes, nor what does not exist."""
    for name in ("acquire_peer", "nothing"):
        with pytest.raises(AttributeError, match=name):
            getattr(Calls(), name)
