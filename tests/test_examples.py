"""The examples run, and print exactly what their reader is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from iridium.cli.group import iridium
from iridium.vm.engine import available_engines, missing_llvmlite

EXAMPLES = Path(__file__).parents[1] / "examples"

EXPECTED = {
    "hello": "Hello, world!\n",
    "arithmetic": """\
17 + 5 = 22
17 - 5 = 12
17 * 5 = 85
17 / 5 = 3, remainder 2
17 shifted left by 2 = 68
2147483647 + 1 = -2147483648
""",
    "counting_loop": "counted to 100000\n",
    "cloop": "1 2 3 4 5 6 7 8 9 10\n",
    "call_ret": """\
1! = 1
2! = 2
3! = 6
4! = 24
5! = 120
6! = 720
7! = 5040
8! = 40320
9! = 362880
10! = 3628800
11! = 39916800
12! = 479001600
""",
    "fibonacci": "0 1 1 2 3 5 8 13 21 34 55 89 144 233 377 610 987 1597 2584 4181\n",
    "sieve": "2 3 5 7 11 13 17 19 23 29 31 37 41 43 47 53 59 61 67 71 73 79 83 89 97 "
    "101 103 107 109 113 127 131 137 139 149 151 157 163 167 173 179 181 191 193 197 199 \n",
    "mandelbrot": """\
......................................................................
...............................................,:;,,,.................
..............................................,,,:o:,,................
............................................,,++@@@+:;,...............
.......................................,,,,,,,#@@@@@@:,,,,............
....................................,,:@;::oo@@@@@@@@@%+@,,,,@,.......
..................................,,,,:@@@@@@@@@@@@@@@@@@@@@@:,,......
......................,,,,....,,,,,,@@@@@@@@@@@@@@@@@@@@@@@@@:,,......
....................,,;:,,,:;,,,,,,;@@@@@@@@@@@@@@@@@@@@@@@@@@@+,.....
....................,,,:+@@@@@@o+::@@@@@@@@@@@@@@@@@@@@@@@@@@@;:,.....
.................,,;,,:o@@@@@@@@@@*@@@@@@@@@@@@@@@@@@@@@@@@@@@*,......
........,,,,,,,,,::;@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@,,,......
........,,,,,,,,,::;@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@,,,......
.................,,;,,:o@@@@@@@@@@*@@@@@@@@@@@@@@@@@@@@@@@@@@@*,......
....................,,,:+@@@@@@o+::@@@@@@@@@@@@@@@@@@@@@@@@@@@;:,.....
....................,,;:,,,:;,,,,,,;@@@@@@@@@@@@@@@@@@@@@@@@@@@+,.....
......................,,,,....,,,,,,@@@@@@@@@@@@@@@@@@@@@@@@@:,,......
..................................,,,,:@@@@@@@@@@@@@@@@@@@@@@:,,......
....................................,,:@;::oo@@@@@@@@@%+@,,,,@,.......
.......................................,,,,,,,#@@@@@@:,,,,............
............................................,,++@@@+:;,...............
..............................................,,,:o:,,................
...............................................,:;,,,.................
......................................................................
""",
    "f64_series": """\
e = 1 + 1/1! + 1/2! + 1/3! + ... = 2.7182818284590455
pi = 3 + 4/(2*3*4) - 4/(4*5*6) + 4/(6*7*8) - ... = 3.141592653340544
""",
}
"""What each prints, by the name of its file."""


@pytest.mark.parametrize("engine", [n for n in available_engines() if n != "auto" or not missing_llvmlite()])
@pytest.mark.parametrize("name", EXPECTED)
def test_example(name: str, engine: str) -> None:
    """Protects an example: it runs as it stands, on every engine, and prints this."""
    result = CliRunner().invoke(iridium, ["run", "--engine", engine, str(EXAMPLES / f"{name}.iasm")])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == EXPECTED[name]


def test_every_example_is_run() -> None:
    """Protects against an example that nobody runs."""
    assert {path.stem for path in EXAMPLES.glob("*.iasm")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_says_what_it_is(name: str) -> None:
    """Protects the newcomer: every example opens with what it shows and what it prints."""
    head = (EXAMPLES / f"{name}.iasm").read_text().partition("\n\n")[0]
    assert all(line.startswith("; ") for line in head.splitlines())
    assert "; Prints" in head


def test_the_mandelbrot_set_is_the_one_python_finds() -> None:
    """Protects the floating-point instructions together: the same sums in Python give the same picture."""
    palette = "......,,,,:::;;;+++***ooo###%@"
    lines, imaginary = [], -1.15
    for _ in range(24):
        line, real = "", -2.2
        for _ in range(70):
            x = y = 0.0
            rounds = 0
            while rounds < 29 and x * x + y * y <= 4.0:
                x, y = x * x - y * y + real, 2 * (x * y) + imaginary
                rounds += 1
            line += palette[rounds]
            real += 0.042
        lines.append(line)
        imaginary += 0.1
    assert EXPECTED["mandelbrot"].splitlines() == lines
