"""Objects on disk: found again, never another's, never from where others can write."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from iridium.vm.native import cache as cache_module
from iridium.vm.native.cache import ObjectCache, compiler_digest


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    """An object is found under its name and identity, in another process too, and under no other."""
    cache = ObjectCache(tmp_path / "a" / "b", "llvm 1")
    assert cache.get("x") is None
    cache.put("x", b"code")
    assert cache.get("x") == b"code"
    assert ObjectCache(tmp_path / "a" / "b", "llvm 1").get("x") == b"code"
    assert ObjectCache(tmp_path / "a" / "b", "llvm 2").get("x") is None
    assert cache.get("y") is None
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_not_whole(tmp_path: Path) -> None:
    """A file that was cut off or changed is no object."""
    cache = ObjectCache(tmp_path / "c", "")
    cache.put("x", b"code" * 100)
    [file] = (tmp_path / "c").iterdir()
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[:32], b"", whole[:-1] + b"!"):
        file.write_bytes(broken)
        assert cache.get("x") is None


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_directory_that_others_can_write_to(tmp_path: Path, mode: int) -> None:
    """Machine code that somebody else may have put there is not run."""
    directory = tmp_path / "c"
    ObjectCache(directory, "").put("x", b"code")
    os.chmod(directory, mode)
    cache = ObjectCache(directory, "")
    assert cache.get("x") is None
    cache.put("y", b"code")
    assert len(list(directory.iterdir())) == 1


def test_no_directory(tmp_path: Path) -> None:
    """Where there can be none, everything goes on without."""
    (tmp_path / "file").write_text("")
    cache = ObjectCache(tmp_path / "file" / "c", "")
    cache.put("x", b"code")
    assert cache.get("x") is None


def test_what_is_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory stays bounded, at the cost of what was made longest ago."""
    monkeypatch.setattr(cache_module, "MOST_BYTES", 1000)
    monkeypatch.setattr(cache_module, "PRUNE_EVERY", 1)
    cache = ObjectCache(tmp_path / "c", "")
    for number in range(10):
        cache.put(str(number), bytes([1]) * 268)
        for file in (tmp_path / "c").iterdir():
            os.utime(file, (file.stat().st_mtime - 10,) * 2)
    assert [number for number in range(10) if cache.get(str(number))] == [7, 8, 9]


def test_the_digest_depends_on_the_sources() -> None:
    """Two runs of one version share objects."""
    assert compiler_digest() == compiler_digest()
    assert len(compiler_digest()) == 64


def imported(source: str) -> set[str]:
    """The modules of Iridium that a source imports where it is loaded or run, not for its types."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name for name in found if name.startswith("iridium.")}


def test_the_digest_covers_what_is_compiled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants of other modules are part of machine code: to change one gives objects of another name.

    What is left out is only called: the choice of an engine and the engine in Python.
    """
    read: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path.resolve()), read_bytes(path))[1])
    compiler_digest()
    vm = Path(cache_module.__file__).parents[1]
    root = vm.parents[1]
    sources = [*vm.glob("native/**/*.py"), *vm.glob("runtime/*.py")]
    assert {path.resolve() for path in sources} <= set(read)
    names = set().union(*(imported(path.read_text()) for path in sources))
    modules = {root.joinpath(*name.split(".")).with_suffix(".py") for name in names}
    left_out = {vm / "engine.py", vm / "reference.py"}
    assert {path for path in modules if path.is_file()} - set(read) <= left_out


def test_the_digest_depends_on_the_table_and_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another instruction table, or a line more in any source, is another compiler."""
    before = compiler_digest()
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "INSTRUCTIONS", cache_module.INSTRUCTIONS[:-1])
        assert compiler_digest() != before
    read_bytes, changed = Path.read_bytes, ""
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(path) + b"\n" * (path.name == changed))
    for changed in ("machine.py", "flow.py", "slots.py", "isa.py"):
        assert compiler_digest() != before, changed
    changed = ""
    assert compiler_digest() == before


def test_the_identity_names_llvm_and_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine code of another llvmlite or for another CPU has another name."""
    pytest.importorskip("llvmlite")
    from iridium.vm.native import jit as jit_module

    one = jit_module.Jit()
    before = one.identity
    assert before == jit_module.Jit().identity
    for name in ("cpu", "features"):
        with monkeypatch.context() as patch:
            patch.setattr(one, name, "another")
            assert one.identity != before
    monkeypatch.setattr(jit_module.llvmlite, "__version__", "0")
    assert one.identity != before


def test_a_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another user owns, and a link that may lead there, is no cache."""
    directory = tmp_path / "c"
    ObjectCache(directory, "").put("x", b"code")
    (tmp_path / "link").symlink_to(directory)
    assert not ObjectCache(tmp_path / "link", "").usable
    assert ObjectCache(tmp_path / "link", "").get("x") is None
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert not ObjectCache(directory, "").usable


def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is run only if it is this user's and no other can write to it; what is kept no other can read."""
    cache = ObjectCache(tmp_path / "c", "")
    cache.put("x", b"code")
    [file] = (tmp_path / "c").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    for mode in (0o620, 0o602):
        file.chmod(mode)
        assert cache.get("x") is None
    file.chmod(0o600)
    assert cache.get("x") == b"code"
    with monkeypatch.context() as patch:
        uid = os.getuid()
        patch.setattr(os, "getuid", lambda: uid + 1)
        assert cache.get("x") is None
    kept = file.rename(tmp_path / "kept")
    file.symlink_to(kept)
    assert cache.get("x") is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert cache.get("x") is None


def test_a_draft_that_was_left(tmp_path: Path) -> None:
    """What a process left that was killed while it wrote keeps no later one of its number from writing."""
    cache = ObjectCache(tmp_path / "c", "")
    cache._path("x").with_suffix(f".{os.getpid()}.tmp").write_bytes(b"half")
    cache.put("x", b"code")
    assert cache.get("x") == b"code"
    assert len(list((tmp_path / "c").iterdir())) == 1
