"""The parts of supervision by themselves: placement, merging, backoff, images, fetching, uploads, messages."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridium.errors import CommandError
from iridium.supervision import images
from iridium.supervision.fetching import AGAIN, ANSWER, Fetcher
from iridium.supervision.holdings import PATIENCE, Holdings, rank
from iridium.supervision.images import ImageRefusedError, ImageStore
from iridium.supervision.messages import (
    LONGEST_MESSAGE,
    MOST_IMAGE,
    PIECE,
    Claims,
    Hello,
    ImagePiece,
    MessageError,
    Told,
    WantImage,
    decode,
    encode,
)
from iridium.supervision.placement import place, ranking, weight
from iridium.supervision.records import MOST_APPLICATIONS, RETENTION, Records, merge
from iridium.supervision.restart import Intensity, pause, runs_again
from iridium.supervision.types import MOST_CLAIMS, Claim, ExitReason, Program, Record, make_record
from iridium.supervision.uploads import MOST_UPLOADS, Uploads
from iridium.supervision.uploads import PATIENCE as UPLOAD_PATIENCE

IMAGE = "ab" * 32
NODES = st.lists(st.uuids().map(str), min_size=1, max_size=12, unique=True)

# --- placement ---


def test_weights_stay_what_they_are() -> None:
    """Nodes of different versions must agree, so that the hash never changes."""
    assert weight("app/p/0", "node") == 0x5CECA84C7F1296D7
    assert ranking("app/p/0", ["a", "b", "c"]) == ranking("app/p/0", ["c", "a", "b"])


@given(NODES, st.integers(1, 40))
def test_everything_is_placed_and_no_node_has_more_than_its_share(nodes: list[str], count: int) -> None:
    """Each replica has one node, and loads differ by what division leaves."""
    replicas = [str(at) for at in range(count)]
    placed = place("app/p", replicas, nodes)
    assert list(placed) == replicas
    load = [list(placed.values()).count(node) for node in nodes]
    assert max(load) <= -(-count // len(nodes))


@given(NODES, st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_node_that_goes_moves_only_its_own(nodes: list[str], count: int, random: Random) -> None:
    """After a death only the dead node's replicas are placed, within everyone's share of what there is then."""
    replicas = [str(at) for at in range(count)]
    placed = place("app/p", replicas, nodes)
    gone = random.choice(nodes)
    left = [node for node in nodes if node != gone]
    held = {node: list(placed.values()).count(node) for node in left}
    missing = [replica for replica in replicas if placed[replica] == gone]
    again = place("app/p", missing, left, held)
    assert list(again) == (missing if left else [])
    for node in left:
        assert held[node] + list(again.values()).count(node) <= -(-count // len(left))


def test_balance_over_programs() -> None:
    """Programs with one replica each spread over the nodes by chance, evenly enough."""
    nodes = [f"n{at}" for at in range(8)]
    load = [place(f"app/p{at}", ["0"], nodes)["0"] for at in range(800)]
    assert all(60 <= load.count(node) <= 140 for node in nodes)


def test_no_nodes() -> None:
    """Nowhere to go is no error."""
    assert place("app/p", ["0"], []) == {}


# --- records ---

RECORDS = st.builds(
    lambda version, stopped, balanced, ended, replicas: msgspec.structs.replace(
        make_record("app", version, (Program("p", IMAGE, replicas),), stopped=stopped),
        balanced=balanced,
        ended=ended,
    ),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["p/0", "p/1", "p/2"]), st.sampled_from(["ok", "no"])),
    st.integers(1, 2),
)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_merging_does_not_depend_on_the_order(records: list[Record]) -> None:
    """Whatever the order in which records arrive, all nodes end with the same one."""
    results = set()
    for order in itertools.permutations(records):
        known = Records(lambda: 1.0)
        for record in (*order, order[0]):
            known.take(record)
        results.add(known.hash())
    assert len(results) == 1
    assert all(merge(record, record) == record for record in records)


def test_records_are_bounded() -> None:
    """Two clusters that become one keep the applications that run, the newest, and as many as one may have."""
    known = Records(lambda: 1.0)
    for at in range(MOST_APPLICATIONS):
        assert known.take(make_record(f"a{at}", at + 1, stopped=at == 50))
    assert known.take(make_record("late", 7))
    assert known.get("a50") is None
    assert known.take(make_record("later", 900))
    assert known.get("a0") is None
    assert not known.take(make_record("old", 1))
    assert len(known.all()) == MOST_APPLICATIONS


def test_stopped_applications_are_forgotten() -> None:
    """A day after its stop a record goes, and is not taken back from a node that has it still."""
    now = 1e6
    known = Records(lambda: now)
    record = make_record("app", known.next_version("app"), stopped=True)
    known.take(record)
    now += RETENTION - 1
    known.forget_old()
    assert known.all() == [record]
    now += 2
    known.forget_old()
    assert known.all() == []
    assert not known.take(record)


def test_room_for_replicas() -> None:
    """What a cluster is asked for is bounded by what its last node could run."""
    known = Records(lambda: 1.0)
    known.take(make_record("a", 1, (Program("p", IMAGE, 256), Program("q", IMAGE, 250))))
    assert known.room_for("b", [Program("p", IMAGE, 6)]) == 0
    assert known.room_for("b", [Program("p", IMAGE, 7)]) == 1
    assert known.room_for("a", [Program("p", IMAGE, 7)]) < 0


# --- claims ---


def claims(node: str, life: int, sequence: int, *what: Claim) -> Claims:
    """What a node tells of itself."""
    return Claims(node, life, sequence, True, what)


def test_newer_claims_count() -> None:
    """A new life outdoes any sequence of the old one; what is old is ignored, and what is said of this node."""
    holdings = Holdings("me", lambda: 0.0)
    holdings.rise("a")
    assert holdings.take(claims("a", 1, 9))
    assert not holdings.take(claims("a", 1, 8))
    assert holdings.take(claims("a", 2, 1))
    assert not holdings.take(claims("me", 9, 9))
    assert [told.order for told in holdings.counted()] == [(2, 1)]


def test_a_member_that_says_nothing() -> None:
    """A member that is up again counts as it was for a while, then only by what it says; it is given nothing."""
    now = 0.0
    holdings = Holdings("me", lambda: now)
    holdings.rise("a")
    holdings.take(claims("a", 1, 1))
    assert holdings.taking() == ["a"]
    holdings.fall("a")
    assert holdings.counted() == []
    holdings.rise("a")
    assert holdings.awaited()
    assert len(holdings.counted()) == 1
    assert holdings.taking() == []
    now += PATIENCE + 0.01
    assert holdings.counted() == []
    assert not holdings.awaited()


def test_which_duplicate_survives() -> None:
    """What runs beats what was given up; then the older; then the smaller id."""
    old, new = (Claim("a", "0" * 16, "p", "0", "running", since) for since in (1, 2))
    given_up = Claim("a", "0" * 16, "p", "0", "given-up", 0)
    assert min([(new, "a"), (old, "b"), (given_up, "a"), (old, "c")], key=lambda pair: rank(*pair)) == (old, "b")


# --- restarts ---


@given(st.integers(0, 5000), st.floats(0, 1), st.randoms(use_true_random=False))
def test_pauses_are_bounded(tries: int, jitter: float, random: Random) -> None:
    """However often it ended: never longer than the longest, never shorter than jitter allows."""
    program = Program("p", IMAGE, first=0.1, factor=100.0, most=30.0, jitter=jitter)
    wait = pause(program, tries, random)
    full = 30.0 if tries > 1 else 0.1 * 100**tries
    assert full * (1 - jitter) - 1e-9 <= wait <= full + 1e-9


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(0, 5), st.floats(0.5, 20))
def test_intensity_is_never_exceeded(gaps: list[float], restarts: int, period: float) -> None:
    """In no period are there more restarts than that."""
    intensity = Intensity(Program("p", IMAGE, restarts=restarts, period=period))
    times = [when for when in itertools.accumulate(gaps) if intensity.allows(when)]
    for at, when in enumerate(times):
        assert sum(when - other < period for other in times[: at + 1]) <= restarts


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        ("permanent", 0, True), ("permanent", 1, True), ("transient", 0, False), ("transient", 1, True),
        ("temporary", 0, False), ("temporary", 1, False),
    ],
)  # fmt: skip
def test_policy(restart: str, code: int, again: bool) -> None:
    """The three policies of the documentation."""
    assert runs_again(Program("p", IMAGE, restart=restart), ExitReason(code, "")) is again  # type: ignore[arg-type]


# --- images ---


def image(text: str, size: int = 100) -> tuple[str, bytes]:
    """Some bytes and their hash."""
    data = (text.encode() * size)[:size]
    return hashlib.sha256(data).hexdigest(), data


def test_store(tmp_path: Path) -> None:
    """What was kept is there for the next life; a lie is refused; a file that was changed is dropped."""
    store = ImageStore(tmp_path / "images")
    digest, data = image("x")
    store.add(digest, data)
    with pytest.raises(ImageRefusedError, match="not the one"):
        store.add("0" * 64, data)
    (tmp_path / "images" / ".new.1").write_bytes(b"half")
    store = ImageStore(tmp_path / "images")
    assert digest in store
    assert store.load(digest) == data
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [digest]
    (tmp_path / "images" / digest).write_bytes(b"other")
    assert store.load(digest) is None
    assert digest not in store


def test_store_is_bounded(tmp_path: Path) -> None:
    """There is a limit for all; what no application uses makes room, and nothing else."""
    store = ImageStore(tmp_path / "images", most=250)
    (a, first), (b, second), (c, third) = (image(text) for text in "abc")
    store.add(a, first)
    store.add(b, second)
    with pytest.raises(ImageRefusedError, match="no room"):
        store.add(c, third)
    store.prune({b}, 150)
    store.add(c, third)
    assert (a in store, b in store, c in store) == (False, True, True)
    with pytest.raises(ImageRefusedError, match="the most"):
        store.add(a, bytes(MOST_IMAGE + 1))


def test_pieces(tmp_path: Path) -> None:
    """Pieces are the image; where there is none the answer says so."""
    store = ImageStore(tmp_path / "images")
    digest, data = image("piece", 3 * PIECE - 5)
    store.add(digest, data)
    told = [store.piece(digest, offset) for offset in range(0, len(data), PIECE)]
    assert b"".join(piece for _, piece in told) == data
    assert {size for size, _ in told} == {len(data)}
    assert store.piece(digest, len(data)) == store.piece("0" * 64, 0) == (0, b"")


class Sources:
    """Members that have images, or say so, and a fetcher that asks them."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.names = list(names)
        self.asked: list[tuple[str, WantImage]] = []
        self.there: dict[str, bytes] = {}
        self.liars: list[str] = []
        self.unreachable: set[str] = set()
        self.fetcher = Fetcher(
            lambda: self.now,
            lambda: self.names,
            self.send,
            self.there.__setitem__,
            lambda node, digest: self.liars.append(node),
        )

    def send(self, node: str, want: WantImage) -> bool:
        if node in self.unreachable:
            return False
        self.asked.append((node, want))
        return True

    def answer(self, data: bytes | None) -> None:
        """The member that was asked last answers."""
        node, want = self.asked[-1]
        piece = (data or b"")[want.offset : want.offset + PIECE]
        self.fetcher.receive(node, ImagePiece(want.hash, want.offset, len(data or b""), piece))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.fetcher.tick()


def test_fetch() -> None:
    """An image comes piece by piece from one member, checked at the end."""
    digest, data = image("fetch", 2 * PIECE + 7)
    sources = Sources("a", "b")
    sources.fetcher.want(digest)
    sources.fetcher.want(digest)
    for _ in range(3):
        sources.answer(data)
    assert sources.there == {digest: data}
    assert [node for node, _ in sources.asked] == ["a", "a", "a"]
    assert len(sources.fetcher) == 0


def test_fetch_from_another() -> None:
    """A member that has it not, does not answer, or cannot be reached costs a question; all are asked again."""
    digest, data = image("x")
    sources = Sources("a", "b", "c")
    sources.unreachable.add("c")
    sources.fetcher.want(digest)
    sources.answer(None)
    assert sources.asked[-1][0] == "b"
    sources.wait(ANSWER)
    assert len(sources.asked) == 2
    sources.wait(AGAIN)
    assert sources.asked[-1][0] == "a"
    sources.answer(data)
    assert sources.there == {digest: data}


def test_a_lie_is_refused_and_counted() -> None:
    """What is not what its hash says is never kept, and its sender is not asked for it again."""
    digest, data = image("x")
    sources = Sources("liar", "b")
    sources.fetcher.want(digest)
    sources.answer(b"y" * 100)
    assert sources.liars == ["liar"]
    assert sources.fetcher.lies == 1
    assert sources.there == {}
    assert sources.asked[-1][0] == "b"
    sources.answer(data)
    assert sources.there == {digest: data}


@pytest.mark.parametrize(
    "piece",
    [
        ImagePiece("0" * 64, 0, 10, b"x" * 11),
        ImagePiece("0" * 64, 0, 10, b""),
        ImagePiece("0" * 64, 0, MOST_IMAGE + 1, b"x"),
        ImagePiece("0" * 64, 0, MOST_IMAGE + 1, b"x" * (PIECE + 1)),
    ],
)
def test_pieces_out_of_bounds(piece: ImagePiece) -> None:
    """A size that lies is a lie; nothing is collected beyond the limits."""
    sources = Sources("liar")
    sources.fetcher.want("0" * 64)
    sources.fetcher.receive("stranger", piece)
    assert sources.fetcher.lies == 0
    sources.fetcher.receive("liar", piece)
    assert sources.fetcher.lies == 1


def test_uploads() -> None:
    """Pieces follow one another; 0 starts again; too many, too large and out of order are errors."""
    now = 0.0
    uploads = Uploads(lambda: now)
    assert uploads.add("a", 6, 0, b"xxx") is None
    assert uploads.add("a", 6, 0, b"abc") is None
    assert uploads.add("a", 6, 3, b"def") == b"abcdef"
    with pytest.raises(CommandError, match="from offset 0"):
        uploads.add("a", 6, 3, b"def")
    uploads.add("a", 6, 0, b"abc")
    with pytest.raises(CommandError, match="from offset 0"):
        uploads.add("a", 6, 3, b"defg")
    with pytest.raises(CommandError, match="bytes"):
        uploads.add("a", MOST_IMAGE + 1, 0, b"")
    for name in "abcd"[:MOST_UPLOADS]:
        uploads.add(name, 6, 0, b"abc")
    with pytest.raises(CommandError, match="try again"):
        uploads.add("e", 6, 0, b"abc")
    now += UPLOAD_PATIENCE
    uploads.add("e", 6, 0, b"abc")


# --- messages ---


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_the_error(data: bytes) -> None:
    """Whatever a member sends: a message or the one error."""
    try:
        decode(data)
    except MessageError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 100_000,
        b" " * (LONGEST_MESSAGE + 1),
        b'{"type":"claims","node":"a","life":-1,"sequence":1,"accepts":true}',
        b'{"type":"record","record":{"name":"a b","version":1,"deployment":"0000000000000000"}}',
        b'{"type":"record","record":{"name":"a\\n","version":1,"deployment":"0000000000000000"}}',
        b'{"type":"want-image","hash":"../../etc/passwd","offset":0}',
        b'{"type":"what"}',
    ],
)
def test_messages_out_of_bounds(data: bytes) -> None:
    """What is out of bounds is refused."""
    with pytest.raises(MessageError):
        decode(data)


def test_the_largest_messages_fit() -> None:
    """The most that a node may say is still a message."""
    name = "n" * 32
    claim = Claim(name, "f" * 16, name, "r" * 36, "given-up", (1 << 53) - 1, 1000, 1 << 30, "d" * 120, "t" * 36)
    most = Claims("n" * 36, 1, 1, True, (claim,) * MOST_CLAIMS)
    assert decode(encode(most)) == most
    programs = tuple(Program(f"p{at}", IMAGE, registers=(-(1 << 31),) * 32, register="r" * 64) for at in range(32))
    ended = {f"{name}/{at:036}": "d" * 120 for at in range(512)}
    record = msgspec.structs.replace(make_record(name, 1, programs), ended=ended)
    assert decode(encode(Told(record))) == Told(record)
    assert decode(encode(Hello("x"))) == Hello("x")
    assert images.MOST_BYTES >= MOST_IMAGE
