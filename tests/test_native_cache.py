"""Objects on disk: found again, never another's, never from where others can write."""

from __future__ import annotations

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
