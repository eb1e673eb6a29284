"""The VM and the program of a session.

The program grows line by line. It reserves read-only data, so that code never moves: a kept line stays where it
is, and so does every label. Nothing in here runs anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from iridium.assembler import Fragment, Interactive, Symbol, assemble_program, decode_source, format_instruction
from iridium.assembler import Program as Assembled
from iridium.errors import CommandError
from iridium.image import Image, is_image, parse
from iridium.isa import WORD
from iridium.vm import VM, Program
from iridium.vm.machine import HEAP_LIMIT, Limits
from iridium.vm.record import Record

RESERVE = 16 * 1024
"""Bytes of read-only data that a session reserves: strings and constants of hundreds of lines."""

MAX_CODE = 65_536 * WORD
"""Bytes of code beyond which no line is added: nobody types 65 536 instructions, and each takes memory."""

MAX_SYMBOLS = 16_384
"""Labels beyond which no line that defines one is added."""

TYPED = "typed lines"
"""What the program of a session is called that no file was loaded into."""

_RESERVED = bytes(RESERVE)


class Loaded(NamedTuple):
    """A file as a session can take it over; made outside the reactor thread.

    Attributes:
        name: the file, for people.
        assembled: the image and its labels.
        program: the same for a VM.
        lines: the source, line by line; empty for an image.
    """

    name: str
    assembled: Assembled
    program: Program
    lines: list[str]


def prepare(data: bytes, name: str) -> Loaded:
    """Make a program of a file, a source or an image.

    Raises:
        AssemblyError: the source has mistakes.
        ImageError: it is a broken image, or a source that is too large for one.
    """
    if is_image(data):
        image = parse(data)
        program = Program(image, grows=True, title=name)
        return Loaded(name, Assembled(image, {}, len(image.read_only)), program, [])
    source = decode_source(data, name)
    assembled = assemble_program(source, file=name, line_table=True, reserve=RESERVE)
    # Whatever the file uses, lines that are typed later may use every instruction.
    assembled = assembled._replace(image=assembled.image._replace(version=1))
    program = Program(assembled.image, grows=True, title=name)
    return Loaded(name, assembled, program, source.split("\n"))


class Workspace:
    """What a session works on.

    Args:
        logical_cores: what its VM is told of its node.
        record: the slot of a table of processes that its VM has, or None for a VM that is no process.
        heap: the most bytes of heap that its VM may have.

    Attributes:
        vm: the machine.
        file: the file that the program came from, or None.
    """

    def __init__(self, logical_cores: int = 1, record: Record | None = None, heap: int = HEAP_LIMIT) -> None:
        program = self._start_empty()
        self.vm = VM(program, Limits(heap=heap), logical_cores, record)
        self._record = record

    def _start_empty(self) -> Program:
        self.file: str | None = None
        self._source: list[str] = []
        # The typed lines that have code: where each starts, and its text.
        self._starts: list[int] = []
        self._texts: list[str] = []
        self._assembler = Interactive(reserve=RESERVE)
        return Program(Image(b"", _RESERVED, 1), grows=True, title=TYPED)

    @property
    def program(self) -> Program:
        """The code."""
        return self.vm.program

    @property
    def symbols(self) -> Mapping[str, Symbol]:
        """The labels by name."""
        return self._assembler.symbols

    @property
    def read_only_used(self) -> int:
        """How many bytes of the read-only section hold something."""
        return self._assembler.read_only_used

    def give_back(self) -> Record | None:
        """The slot, for whoever gave it, once the VM has been stopped; it goes on with a record of its own."""
        record, self._record = self._record, None
        if record is not None:
            self.vm = VM(self.program, self.vm.limits, self.vm.logical_cores)
        return record

    def add(self, text: str, line: int) -> Fragment:
        """Put a typed line behind the code, with pc on it.

        Args:
            text: the line.
            line: its number, for diagnostics.

        Returns:
            What was added, for :meth:`keep` or :meth:`drop`.

        Raises:
            AssemblyError: it is wrong; nothing was added.
            CommandError: the program is full.
        """
        fragment = self._assembler.assemble(text, line=line)
        program = self.program
        if fragment.code and len(program.code) + len(fragment.code) > MAX_CODE:
            raise CommandError(
                f"the program has {MAX_CODE // WORD} instructions, the most; !clear_program empties it"
            )
        if fragment.symbols and len(self.symbols) >= MAX_SYMBOLS:
            raise CommandError(f"the program has {MAX_SYMBOLS} labels, the most; !clear_program empties it")
        at = fragment.read_only_at
        program.put_data(at, fragment.read_only)
        if fragment.code:
            program.append(fragment.code)
            self._starts.append(fragment.code_at)
            self._texts.append(text.strip())
            self.vm.record.pc = fragment.code_at
        return fragment

    def keep(self, fragment: Fragment) -> None:
        """Make what :meth:`add` added part of the program."""
        self._assembler.keep(fragment)

    def drop(self, fragment: Fragment) -> None:
        """Take it away again; pc goes to the end of the code."""
        program = self.program
        at = fragment.read_only_at
        program.put_data(at, bytes(len(fragment.read_only)))
        if fragment.code:
            program.truncate(fragment.code_at)
            del self._starts[-1], self._texts[-1]
        self.vm.record.pc = program.end

    def load(self, loaded: Loaded) -> None:
        """Replace the program, on a fresh machine, with pc on its first instruction."""
        self._start_empty()
        self.file = loaded.name
        self._source = loaded.lines
        self._assembler = Interactive(loaded.assembled, reserve=RESERVE)
        self.vm.program = loaded.program
        self.vm.reset()

    def clear(self) -> None:
        """Forget program, labels and read-only data. Registers and heap stay; the stack, which may hold addresses
        of the code that is gone, is emptied.
        """
        self.vm.replace_program(self._start_empty())

    def text_at(self, address: int) -> str:
        """The line that an instruction came from, or what the instruction is called; "" where there is none."""
        word = self.program.word_at(address)
        if word is None:
            return ""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            return self._texts[index]
        line = self.program.image.line_of(address)
        if line is not None and line <= len(self._source):
            return self._source[line - 1].strip()
        return format_instruction(word, self.program.version)
