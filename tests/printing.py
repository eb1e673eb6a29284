"""A program for tests that prints many lines, and what comes of it."""

from __future__ import annotations


def lines(count: int) -> str:
    """The source of a program that prints so many lines, of two items each: 0, 1 and so on."""
    return f"""\
.data
nl: .asciiz '\\n'
.code
      load $2 #{count}
again: prti $1
      prts @nl
      inc $1
      lt $1 $2
      djmpe @again
      hlt
"""


def printed_lines(count: int) -> str:
    """What it prints."""
    return "".join(f"{number}\n" for number in range(count))
