"""``iridium secret``: the file of a cluster's secret is made and changed, and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from iridium.cli.group import iridium
from iridium.cluster.secret import Secrets, read_secrets


def run(*arguments: str | Path) -> Result:
    """What the command says."""
    return CliRunner().invoke(iridium, ["secret", *map(str, arguments)])


def secrets_of(path: Path) -> list[str]:
    """The secrets in a file, in order."""
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_a_secret_in_a_data_directory(tmp_path: Path) -> None:
    """It is written where the node of that name looks, for this user alone, and what is said does not show it."""
    done = run("--data-root-dir", tmp_path, "--node-alias", "a.b")
    assert done.exit_code == 0, done.output
    path = tmp_path / "a%2Eb" / "secret"
    assert done.output.startswith(f"{path} holds a new secret.\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    [secret] = secrets_of(path)
    assert secret not in done.output
    again = run("--data-root-dir", tmp_path, "--node-alias", "a.b")
    assert again.exit_code == 1
    assert again.output == f"iridium: {path} is there already, and was left as it is\n"
    assert secrets_of(path) == [secret]


def test_a_secret_is_changed_in_three_steps(tmp_path: Path) -> None:
    """Add, use, drop: the order in the file is what nodes go by."""
    file = tmp_path / "s"
    assert run("--file", file).exit_code == 0
    [old] = secrets_of(file)
    assert run("--file", file, "--add").exit_code == 0
    [first, new] = secrets_of(file)
    assert first == old
    assert run("--file", file, "--use").exit_code == 0
    assert secrets_of(file) == [new, old]
    assert run("--file", file, "--drop").exit_code == 0
    assert secrets_of(file) == [new]
    assert read_secrets(file) == Secrets([new])


def test_a_secret_behind_a_link(tmp_path: Path) -> None:
    """The file that nodes share is changed, and not only the name by which one of them reads it."""
    run("--file", tmp_path / "s")
    (tmp_path / "link").symlink_to("s")
    assert run("--file", tmp_path / "link", "--add").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert len(secrets_of(tmp_path / "s")) == 2


@pytest.mark.parametrize("step", ["--use", "--drop"])
def test_a_step_that_makes_no_sense(tmp_path: Path, step: str) -> None:
    """It is refused with the file and the reason, and nothing is changed."""
    file = tmp_path / "s"
    run("--file", file)
    before = file.read_text()
    done = run("--file", file, step)
    assert done.exit_code == 1
    assert done.output.startswith(f"iridium: {file}: it holds one secret only")
    assert file.read_text() == before


def test_no_file_to_change(tmp_path: Path) -> None:
    """A step needs a file, and says which is missing."""
    done = run("--file", tmp_path / "none", "--add")
    assert done.exit_code == 1
    assert "there is no secret file" in done.output


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A path that leads through a file is a line, no traceback."""
    (tmp_path / "f").write_text("")
    done = run("--file", tmp_path / "f" / "secret")
    assert done.exit_code == 1
    assert "cannot be made: File exists" in done.output


def test_a_name_that_is_none(tmp_path: Path) -> None:
    """The alias is checked as a node's would be."""
    done = run("--data-root-dir", tmp_path, "--node-alias", "a b")
    assert done.exit_code == 1
    assert "--node-alias 'a b' cannot be used" in done.output
    assert not list(tmp_path.iterdir())
