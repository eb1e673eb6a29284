"""``iridium disassemble`` with --blocks, --llvm and --asm: what a program is compiled to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from iridium.assembler import assemble
from iridium.cli.group import iridium
from iridium.vm.engine import missing_llvmlite
from tests.test_engines import _without_llvmlite as _without_llvmlite
from tests.test_engines import needs_llvmlite

SOURCE = """\
.code
        load $1 #3
again:  call @body
        dec $1
        eq $1 $0
        djmpn @again
        hlt
body:   inc $2
        ret
        .word #0xff
"""

BLOCKS = """\
region 0: 6 blocks, 9 instructions
  68: checkpoint, cost 1; to 72
       68  load $1 #3
  72: checkpoint, cost 1; to 92, 76
       72  call #92
  76: checkpoint, cost 3; to 72, 88
       76  dec $1
       80  eq $1 $0
       84  djmpn #72
  88: checkpoint, cost 1; ends
       88  hlt
  92: checkpoint, cost 2; to a computed address (likely 76)
       92  inc $2
       96  ret
  100: cost 1; always faults
      100  .word #0x000000ff
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A program with a loop, a subroutine and a word that is no instruction."""
    path = tmp_path / "p.iasm"
    path.write_text(SOURCE)
    return path


def show(*arguments: str | Path) -> Result:
    """Call the command."""
    return CliRunner().invoke(iridium, ["disassemble", *map(str, arguments)], prog_name="iridium")


def test_blocks(source: Path, tmp_path: Path) -> None:
    """Every block has its address, cost, checkpoint mark and followers; source and image give the same."""
    result = show(source, "--blocks")
    assert (result.exit_code, result.stdout) == (0, BLOCKS)
    (tmp_path / "p.ir").write_bytes(assemble(SOURCE).to_bytes())
    assert show(tmp_path / "p.ir", "--blocks").stdout == BLOCKS


def test_blocks_of_a_large_program(source: Path) -> None:
    """A program of several regions is shown region by region, every instruction once."""
    source.write_text(
        ".code\n"
        + "".join(f"call @s{i}\n" for i in range(20))
        + "hlt\n"
        + "".join(f"s{i}: inc $1\n" + "dec $2\n" * 60 + "ret\n" for i in range(20))
    )
    text = show(source, "--blocks").stdout
    assert len(re.findall(r"^region \d+:", text, re.MULTILINE)) > 10
    addresses = re.findall(r"^ +(\d+)  \w", text, re.MULTILINE)
    assert len(addresses) == len(set(addresses)) == 21 + 20 * 62


def test_an_empty_program(source: Path) -> None:
    """No code is no block and no error."""
    source.write_text(".code\n")
    assert (show(source, "--blocks").exit_code, show(source, "--blocks").stdout) == (0, "")


@needs_llvmlite
def test_what_llvm_makes_of_it(source: Path) -> None:
    """The optimised IR and the machine code name the function of each region and where it is entered."""
    ir = show(source, "--llvm")
    assert ir.stdout.startswith("; region 0, entered at 68, 72, 76, 88, 92\n")
    assert "define i64 @region0(" in ir.stdout
    code = show(source, "--asm")
    assert code.stdout.startswith("# region 0, entered at 68")
    assert "region0:" in code.stdout
    assert (ir.exit_code, code.exit_code) == (0, 0)


def test_mistakes(source: Path) -> None:
    """One way to look at it at a time; a wrong source is told as everywhere."""
    assert show(source, "--llvm", "--asm").exit_code == 2
    source.write_text(".code\nhalt\n")
    wrong = show(source, "--blocks")
    assert (wrong.exit_code, wrong.stdout) == (65, "")
    assert "p.iasm:2:1" in wrong.stderr


@pytest.mark.usefixtures("_without_llvmlite")
@pytest.mark.parametrize("option", ["--llvm", "--asm"])
def test_without_llvmlite(source: Path, option: str) -> None:
    """Blocks need no LLVM; the rest says what is missing."""
    assert show(source, "--blocks").stdout == BLOCKS
    result = show(source, option)
    assert (result.exit_code, result.stderr) == (2, f"iridium: {missing_llvmlite()}\n")
