"""LLVM as Iridium uses it: what was linked stays until it is unloaded, and what is gone costs nothing."""

from __future__ import annotations

import ctypes
import gc
import weakref

import pytest

from iridium.vm.engine import missing_llvmlite

pytestmark = pytest.mark.skipif(missing_llvmlite() is not None, reason="llvmlite is not installed")

IR = "define i32 @answer() {{ ret i32 {number} }}"


def test_what_was_linked_outlives_its_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of linkers that were replaced still run, whichever of them are unloaded, and in whatever order."""
    from iridium.vm.native import jit as module
    from iridium.vm.native.jit import Jit, Linked

    monkeypatch.setattr(module, "LIBRARIES", 4)
    jit = Jit()

    def answer(linked: Linked) -> int:
        return int(ctypes.CFUNCTYPE(ctypes.c_int32)(linked.addresses["answer"])())

    kept = {number: jit.link(jit.compile(IR.format(number=number)), ["answer"], {}) for number in range(18)}
    gc.collect()
    assert [answer(linked) for linked in kept.values()] == list(range(18))
    for number in (17, 0, 2, 1, 3, 9):
        kept.pop(number).close()
        gc.collect()
        assert [answer(linked) for linked in kept.values()] == list(kept)


def test_a_linker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linker remembers whatever it has linked: it serves so many times, and nothing here keeps it longer."""
    from iridium.vm.native import jit as module
    from iridium.vm.native.jit import Jit

    monkeypatch.setattr(module, "LIBRARIES", 2)
    jit = Jit()
    binary = jit.compile(IR.format(number=7))
    linkers = []
    for _ in range(6):
        jit.link(binary, ["answer"], {}).close()
        linkers.append(weakref.ref(jit._linker))
    gc.collect()
    assert [linker() is not None for linker in linkers] == [False] * 4 + [True] * 2
