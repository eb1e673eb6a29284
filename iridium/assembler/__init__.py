"""Source text to image, and image to listing.

The language is described in ``docs/assembly.md``; instructions come from :mod:`iridium.isa` alone, and nothing
here knows what they do. :func:`assemble` takes a whole program, :class:`Interactive` one line of a shell session
after another, :func:`disassemble` writes a listing that assembles back to the same image.
"""

from __future__ import annotations

from iridium.assembler.assemble import assemble, assemble_program
from iridium.assembler.disassemble import disassemble, format_instruction
from iridium.assembler.interactive import RESERVE, Fragment, Interactive
from iridium.assembler.layout import Program
from iridium.assembler.symbols import Symbol
from iridium.assembler.syntax import MAX_NAME, MAX_SOURCE, decode_source

__all__ = [
    "MAX_NAME",
    "MAX_SOURCE",
    "RESERVE",
    "Fragment",
    "Interactive",
    "Program",
    "Symbol",
    "assemble",
    "assemble_program",
    "decode_source",
    "disassemble",
    "format_instruction",
]
