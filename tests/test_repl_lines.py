"""Bytes to lines: the same lines however the bytes are cut, and no line that takes memory without end."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.limits import DEFAULTS
from iridium.repl.lines import BadLineError, LineReader

MAX_LINE = DEFAULTS.session_line


def read(*chunks: bytes, finish: bool = True) -> list[str]:
    """The lines in some chunks; what could not be read as ``<kind>``."""
    reader = LineReader()
    lines = [line for chunk in chunks for line in reader.feed(chunk)]
    lines += reader.finish() if finish else []
    return [f"<{line.kind}>" if isinstance(line, BadLineError) else line for line in lines]


def test_three_ends_of_a_line() -> None:
    """Lines end as nc, Windows and telnet in character mode end them."""
    assert read(b"a\nb\r\nc\r\0d\n") == ["a", "b", "c", "d"]


def test_last_line_without_an_end() -> None:
    """The end of the input ends the last line too."""
    assert read(b"a\nb") == ["a", "b"]
    assert read(b"a\nb", finish=False) == ["a"]
    assert read(b"a\n") == ["a"]


def test_bad_utf8_names_the_byte() -> None:
    """A line that is not UTF-8 is an error that says which byte, and the next line is read."""
    reader = LineReader()
    bad, good = reader.feed(b"\xc3\xa4b\xff\nnext\n")
    assert isinstance(bad, BadLineError)
    assert "byte 4 of the line, 0xff" in str(bad)
    assert good == "next"


def test_longest_line() -> None:
    """A line of 64 KiB is read, however it ends; one byte more is not."""
    most = b"x" * MAX_LINE
    for end in (b"\n", b"\r\n", b"\r\0"):
        assert read(most + end + b"y" + end) == [most.decode(), "y"]
        assert read(most + b"x" + end + b"y" + end) == ["<too long>", "y"]


def test_interrupt_forgets_the_line() -> None:
    """Ctrl-C forgets what was typed of a line."""
    reader = LineReader()
    assert list(reader.feed(b"load $0")) == []
    reader.interrupt()
    assert list(reader.feed(b"inc $0\n")) == ["inc $0"]


@given(st.lists(st.binary(max_size=20).map(lambda data: data + b"\r\n\0"[len(data) % 4 :]), max_size=20))
def test_cutting_does_not_matter(chunks: list[bytes]) -> None:
    """However a stream is cut into chunks, the lines are those of the stream in one piece."""
    stream = b"".join(chunks)
    assert read(*chunks) == read(stream) == read(*(stream[at : at + 1] for at in range(len(stream))))
    ends = re.findall(rb"\n|\r\0", stream)
    assert len(read(stream, finish=False)) == len(ends)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * MAX_LINE), min_size=1, max_size=6), st.integers(1000, MAX_LINE))
def test_memory_is_bounded(lengths: list[int], cut: int) -> None:
    """Lines of any length leave at most one line's worth in memory, and are dropped or read by their length."""
    stream = b"".join(b"x" * length + b"\n" for length in lengths)
    reader = LineReader()
    lines = []
    for at in range(0, len(stream), cut):
        lines += reader.feed(stream[at : at + cut])
        assert len(reader._partial) <= MAX_LINE + 1
    assert [isinstance(line, BadLineError) for line in lines] == [length > MAX_LINE for length in lengths]
