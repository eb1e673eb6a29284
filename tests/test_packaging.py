"""What is installed: the wheel carries the package, the twistd plugin, the command and the licence."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from iridium import __version__

ROOT = Path(__file__).parent.parent

DATA = ("iridium/bench/programs/", "iridium/bench/peer_programs/")
"""Where files of the package that are no modules stand."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel of this source tree, built without a network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed beside this Python")
    directory = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = directory.iterdir()
    with zipfile.ZipFile(file) as opened:
        yield opened


def contents(wheel: zipfile.ZipFile, name: str) -> bytes:
    """A file of the wheel's metadata."""
    [path] = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path)


def test_the_version() -> None:
    """The version that the command prints is the one that the package is released under."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_every_module_is_packed(wheel: zipfile.ZipFile) -> None:
    """Nothing of the package is missing from the wheel, and nothing of it is only there by accident."""
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "iridium").rglob("*.py")}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "iridium/repl/commands/table.py" in source
    assert source <= packed
    others = {name for name in packed - source if not name.startswith(DATA)}
    assert others <= {"twisted/plugins/iridium_plugin.py", "iridium/py.typed"}


@pytest.mark.parametrize("directory", DATA)
def test_the_programs_of_the_benchmark_are_packed(wheel: zipfile.ZipFile, directory: str) -> None:
    """An installed `iridium bench` has its workloads, and what the peers run."""
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / directory).iterdir()}
    assert source
    assert source == {name for name in wheel.namelist() if name.startswith(directory)}


def test_the_plugin_is_packed(wheel: zipfile.ZipFile) -> None:
    """twistd finds the plugin beside Twisted's own, whose packages the wheel must not shadow."""
    assert (ROOT / "twisted/plugins/iridium_plugin.py").read_bytes() == wheel.read(
        "twisted/plugins/iridium_plugin.py"
    )
    assert not [name for name in wheel.namelist() if name.startswith("twisted/") and name.endswith("__init__.py")]


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    """An installation makes the `iridium` command, which leads to the function that is there."""
    assert b"[console_scripts]\niridium = iridium.cli:main" in contents(wheel, "entry_points.txt")
    from iridium.cli import main

    assert callable(main)


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    """The wheel says what it is, carries its licence, and does not need what only its tests need."""
    metadata = message_from_bytes(contents(wheel, "METADATA"))
    assert metadata["Name"] == "iridium-vm"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert contents(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra" not in line]
    assert any(line.startswith("twisted") for line in needed)
    assert not any(line.startswith(("pytest", "hypothesis", "ruff")) for line in needed)
