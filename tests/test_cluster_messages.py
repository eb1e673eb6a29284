"""The wire's vocabulary."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridium.cluster import messages as m

IDS = st.uuids().map(str)
NUMBERS = st.integers(0, 2**53 - 1)
ALIASES = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
RECORDS = st.builds(m.MemberRecord, IDS, NUMBERS, ALIASES, st.just("10.0.0.1:2254"), st.booleans())
TALK = st.one_of(
    st.builds(m.Ping, NUMBERS),
    st.builds(m.Text, NUMBERS, ALIASES),
    st.builds(m.Digest, st.text("abc", max_size=9), st.dictionaries(IDS, NUMBERS, max_size=3)),
)
MESSAGES = st.one_of(
    st.builds(
        m.Hello,
        version=st.just("1.0"),
        cluster=st.just("iridium"),
        id=IDS,
        incarnation=NUMBERS,
        alias=ALIASES,
        want=st.sampled_from(["join", "mesh"]),
        lost=st.lists(st.text("0123456789abcdef", max_size=16), max_size=16),
        session=NUMBERS,
        received=st.none() | NUMBERS,
    ),
    st.builds(m.Welcome, st.just("1.0"), st.just("iridium"), IDS, NUMBERS, ALIASES),
    st.builds(m.Members, st.lists(RECORDS, max_size=5), st.booleans()),
    st.builds(m.Ready),
    st.builds(
        m.Refuse, st.sampled_from(["FULL", "LEFT"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=99)
    ),
    st.builds(m.Ping, NUMBERS),
    st.builds(m.Pong, NUMBERS),
    st.builds(
        m.Digest, st.text("abc", max_size=9), st.dictionaries(IDS, NUMBERS, max_size=3), st.lists(IDS, max_size=3)
    ),
    st.builds(m.Leave, NUMBERS),
    st.builds(m.Left, NUMBERS),
    st.builds(m.Text, NUMBERS, ALIASES),
    st.builds(m.Ask, NUMBERS, st.just("links")),
    st.builds(m.Answer, NUMBERS, st.lists(IDS, max_size=3)),
    st.builds(m.Mail, NUMBERS, NUMBERS, st.integers(0, 255), st.binary(max_size=99)),
    st.builds(m.Piece, NUMBERS, NUMBERS, NUMBERS, st.binary(min_size=1, max_size=99), st.integers(0, 255)),
    st.builds(m.Ack, NUMBERS),
    st.builds(m.Challenge, st.just("1.0"), IDS, st.text("abc", max_size=9), st.text("abc", max_size=9)),
    st.builds(m.Proof, st.text("abc", max_size=9)),
)


@given(st.lists(MESSAGES, max_size=8))
def test_round_trip(messages: list[m.Message]) -> None:
    """What one node sends, another reads, one by one and whole chunks at a time."""
    lines = m.encode(*messages)
    assert list(m.decode_lines(lines)) == messages
    assert list(m.decode_lines(lines.replace(b"\n", b"\r\n"))) == messages
    assert [m.decode(line) for line in lines.splitlines()] == messages


@given(st.binary(max_size=200))
def test_arbitrary_bytes(line: bytes) -> None:
    """Garbage is a MessageError, never another exception."""
    try:
        message = m.decode(line.replace(b"\n", b" "))
    except m.MessageError:
        return
    assert isinstance(message, m.Message | m.Unknown)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(sorted(m._FIELDS)),
)
def test_arbitrary_json(value: object, kind: str) -> None:
    """JSON of the wrong shape is a MessageError, whatever it claims to be."""
    fields = value if isinstance(value, dict) else {"n": value, "members": value, "id": value}
    try:
        message = m.decode(json.dumps({**fields, "type": kind}).encode())
    except m.MessageError:
        return
    assert isinstance(message, m.Message)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"GET / HTTP/1.1", "not a line of JSON"),
        (b"\xff\xfe", "not a line of JSON"),
        (b"[" * 4000, "not a line of JSON"),
        (b'{"type":"ping"}', "bad 'ping' message"),
        (b'{"type":"ping","n":-1}', "bad 'ping' message"),
        (b'{"type":"ping","n":1e400}', "not a line of JSON"),
        (b'{"type":7}', "bad 7 message"),
        (b"{}", "bad None message"),
        (b'{"type":"leave","incarnation":9007199254740992}', "bad 'leave' message"),
        (b'{"type":"hello","version":"1.0","cluster":"x","id":"me","incarnation":1}', "bad 'hello' message"),
        (b'{"type":"x","y":' + b"[" * 4000 + b"]" * 4000 + b"}", "not a line of JSON"),
        (b'{"type":"ping","n":1,"y":' + b"[" * 4000 + b"]" * 4000 + b"}", "not a line of JSON"),
    ],
)
def test_bad_lines_say_what_is_wrong(line: bytes, says: str) -> None:
    """Each kind of bad line has a clear error; deep nesting is one of them, not a crash."""
    with pytest.raises(m.MessageError, match=says):
        m.decode(line)


def test_newer_minor_versions_are_understood() -> None:
    """Unknown types are told apart from garbage, and unknown fields are ignored and counted."""
    assert m.decode(b'{"type":"sing","song":1}') == m.Unknown("sing")
    assert m.decode(b'{"type":"ping","n":3,"mood":"good"}') == m.Ping(3)
    assert m.unknown_fields(b'{"type":"ping","n":3,"mood":"good"}') == 1
    assert list(m.decode_lines(b'{"type":"sing"}\n\n{"type":"ready"}\n')) == [m.Unknown("sing"), m.Ready()]


def test_a_list_of_the_most_members_fits_its_lines() -> None:
    """No ``members`` line is over 64 KiB, at the longest aliases and addresses; the last says so."""
    record = m.MemberRecord(
        "0" * 8 + "-0000-0000-0000-" + "0" * 12, 2**53 - 1, '"' * 64, "h" * 255 + ":65535", True
    )
    lines = m.member_lines([record] * 1024)
    assert [line.more for line in lines] == [True] * (len(lines) - 1) + [False]
    assert sum(len(line.members) for line in lines) == 1024
    assert max(len(m.encode(line)) for line in lines) <= 64 * 1024
    assert m.member_lines([]) == [m.Members([], more=False)]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.0", (1, 0)),
        ("12.34", (12, 34)),
        ("1", None),
        ("1.x", None),
        ("-1.0", None),
        ("", None),
        ("\u0661.\u0660", None),
    ],
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    """Only MAJOR.MINOR in ASCII digits is a version."""
    assert m.parse_version(text) == version
