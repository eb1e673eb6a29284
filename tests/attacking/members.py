"""Attacks by a member: somebody who knows the secret, or has stolen the host of one who does."""

from __future__ import annotations

import base64
import json
import time

from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.wire import Caller, id_of, line, outcomes

NEWEST = 2**53 - 1
"""The largest incarnation that can be said."""


def pour(field: Field, caller: Caller, data: bytes, *, read: bool = True) -> str:
    """Say something again and again, as fast as the node takes it; how often it was said."""
    count = 0
    caller.socket.settimeout(0.5 if not read else 5.0)
    caller.socket.setblocking(False)
    sent = memoryview(b"")
    for _ in field.lasting():
        if caller.ended:
            break
        try:
            if not sent:
                count += 1
                sent = memoryview(data if caller.channel is None else caller.channel.send(data))
            sent = sent[caller.socket.send(sent) :]
        except BlockingIOError:
            time.sleep(0.001)
        except OSError as error:
            caller.ended = f"{error}"
        if read and not caller.ended:
            _drop(caller)
    caller.socket.setblocking(True)
    caller.reset()
    return f"{count * len(data) / field.seconds / 1e6:.1f} MB/s, {caller.ended or 'hung up by the attacker'}"


def _drop(caller: Caller) -> None:
    """Read what the node says, and forget it."""
    try:
        data = caller.socket.recv(1 << 20)
    except BlockingIOError:
        return
    except OSError as error:
        caller.ended = str(error)
        return
    if not data:
        caller.ended = "hung up"


@case(short=True)
def endless_line_of_a_member(field: Field) -> str:
    """As an accepted peer, sends lines of 500 MB: the node hangs up at 1 MiB each time."""
    left = 100_000_000 * field.seconds
    count = 0
    while left > 0:
        caller = field.member()
        count += 1
        while left > 0 and caller.send(b"x" * 65536):
            left -= 65536
        caller.close()
    return f"hung up on {count} times"


@case(short=True)
def lines_of_a_member_that_are_none(field: Field) -> str:
    """As an accepted peer, says broken, deep and huge lines: each ends that link, and nothing else."""
    ended = []
    for said in (
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b'{"type":"text","n":1,"text":' + b"[" * 100_000 + b"\n",
        b'{"type":"ping","n":' + b"9" * 500_000 + b"}\n",
        b'{"type":"ping","n":1e999999999}\n',
        b'{"type":"text","n":1,"text":"' + b"x" * 500_000 + b'"}\n',
        b'{"type":"digest","ages":{' + b",".join(b'"%s":1' % id_of(n).encode() for n in range(20_000)) + b"}}\n",
        line(type="members", members=[{"id": "no id", "incarnation": 1}]),
        line(type="members", members=[{"id": id_of(9), "incarnation": 2**53}]),
        line(type="hello", version="1.2", cluster="iridium", id=id_of(1), incarnation=1),
        line(type="mail", n=1, ack=0, kind=0, data="AA=="),
        b'{"type":"ping","n":-1}\n',
        b"\0" * 1000 + b"\n",
    ):
        caller = field.member()
        caller.send(said)
        ended.append(caller.outcome())
        assert caller.ended, said[:60]
    return outcomes(ended)


@case(short=True)
def never_reading(field: Field) -> str:
    """Asks without end and reads no answer: what waits for it is bounded, then its link is given up."""
    return pour(field, field.member(), line(type="ping", n=1) * 2000, read=False)


FLOODS = {
    "pings": line(type="ping", n=1) * 2000,
    "digests": line(type="digest", hash="x") * 2000,
    "asks": line(type="ask", n=1, what="links") * 1000,
    "texts": line(type="text", n=1, text="x" * 100) * 500,
    "long-texts": line(type="text", n=1, text="\u2028" * 1000) * 20,
    "unknown": b'{"type":""}\n' * 5000,
    "blank": b"\n" * 65536,
    "answers": line(type="answer", n=1, ids=[id_of(n) for n in range(1000)]) * 2,
    "left": line(type="left", incarnation=1) * 2000,
}


def _flood(name: str, what: str, short: bool) -> None:
    def attack(field: Field) -> str:
        return pour(field, field.member(), FLOODS[name])

    attack.__name__ = f"flood_of_{name}".replace("-", "_")
    attack.__doc__ = f"As an accepted peer, sends {what} without a pause, and reads the answers."
    case(short=short)(attack)


_flood("pings", "pings", True)
_flood("digests", "hashes that differ, each worth an answer with all records", True)
_flood("asks", "questions", False)
_flood("texts", "texts for the people at the node, which go to its log", True)
_flood("long-texts", "texts of three bytes a character", False)
_flood("unknown", "messages of a type that nobody knows", False)
_flood("blank", "newlines", False)
_flood("answers", "answers that nobody asked for", False)
_flood("left", "confirmations of a leave that never was", False)


@case()
def large_digests(field: Field) -> str:
    """Asks about a thousand members in each of many digests."""
    asks = [field.b.id, *(id_of(n) for n in range(1000))]
    return pour(field, field.member(), line(type="digest", asks=asks))


def bogus(count: int, start: int = 1000, **changes: object) -> list[bytes]:
    """Lines that tell of members that are none."""
    records = [
        {"id": id_of(n), "incarnation": 1, "alias": f"x{n}", "address": f"127.0.0.1:{1 + n % 1000}", **changes}
        for n in range(start, start + count)
    ]
    return [line(type="members", members=records[i : i + 96]) for i in range(0, count, 96)]


@case(fresh=True, short=True, lines=1200)
def bogus_members(field: Field) -> str:
    """Announces 100 000 members that are none: the table is bounded, and somebody new still gets in."""
    caller = field.member()
    for said in bogus(100_000):
        caller.send(said)
    caller.close()
    late = Caller(field.target, id_of(2))
    assert late.enter(want="join", alias="late"), f"somebody new is refused: {late.refusal}"
    late.close()
    return "a newcomer is let in"


@case(fresh=True, lines=1200)
def bogus_members_that_left(field: Field) -> str:
    """The same of members that have left, which are not counted among the living."""
    caller = field.member()
    for said in bogus(100_000, left=True):
        caller.send(said)
    caller.close()
    late = Caller(field.target, id_of(2))
    assert late.enter(want="join", alias="late"), f"somebody new is refused: {late.refusal}"
    late.close()
    return "a newcomer is let in"


@case(fresh=True, short=True)
def lies_about_members(field: Field) -> str:
    """Says of both nodes that they have left, or live anew, elsewhere, at the newest incarnations there can be."""
    caller = field.member()
    for id in (field.b.id, field.a.id):
        for incarnation in (int(time.time() * 1000) + 10**6, NEWEST - 2**21, NEWEST - 2, NEWEST - 1, NEWEST):
            for left in (False, True):
                lie = {"id": id, "incarnation": incarnation, "alias": "x", "address": "127.0.0.1:9", "left": left}
                caller.send(line(type="members", members=[lie]))
                time.sleep(0.3)
    time.sleep(1.0)
    caller.close()
    return "said"


@case(fresh=True, lines=1200)
def false_leaves(field: Field) -> str:
    """Leaves and comes back without end, with ever newer incarnations, each time an event."""
    caller = field.member()
    now = caller.incarnation
    said = b"".join(
        line(type="leave", incarnation=now + n)
        + line(type="members", members=[{"id": caller.id, "incarnation": now + n + 1, "alias": "x"}])
        for n in range(200)
    )
    return pour(field, caller, said)


@case(fresh=True)
def refutations_without_end(field: Field) -> str:
    """Tells ever newer things of the node itself, which has to outdo each for all others to hear."""
    caller = field.member()
    now = int(time.time() * 1000) + 1000
    count = 0
    for n in field.lasting():
        records = [{"id": field.a.id, "incarnation": now + 96 * n + i, "left": True} for i in range(0, 96, 2)]
        if not caller.send(line(type="members", members=records)):
            break
        count += 48
    caller.reset()
    return f"{count / field.seconds:.0f} a second"


@case(fresh=True)
def squatted_names(field: Field) -> str:
    """Joins under the names of others, and links under them: joins are refused, and the nodes keep their links."""
    ended = []
    for alias in ("a", "b"):
        caller = Caller(field.target, id_of(3))
        caller.enter(want="join", alias=alias)
        ended.append(caller.outcome(3.0))
        assert caller.refusal == "NAME_IN_USE", ended
    for alias in ("a", "b", "*", "@", "!quit", "\x1b[2J", "a b", "x" * 64):
        caller = Caller(field.target, id_of(3))
        caller.enter(alias=alias)
        caller.reset()
    return outcomes(ended)


@case(fresh=True)
def ids_of_others(field: Field) -> str:
    """Says hello as the node itself and as its peers, older, equal and newer: who is alive keeps his place."""
    ended = []
    for id in (field.a.id, field.b.id):
        for incarnation in (0, 1, int(time.time() * 1000) + 10**6, NEWEST):
            caller = Caller(field.target, id)
            caller.enter(incarnation=incarnation, life=incarnation)
            ended.append(caller.outcome(3.0))
            assert caller.refusal, ended
    return outcomes(ended)


@case(fresh=True)
def bogus_mail(field: Field) -> str:
    """Opens sessions, and sends mail out of order, pieces of nothing, too many pieces, and false receipts."""
    data = base64.b64encode(b"x" * 100).decode()
    whole = base64.b64encode(b"x" * 32768).decode()
    ended = []
    for messages in (
        [{"type": "mail", "n": 2, "ack": 0, "kind": 0, "data": data}],
        [{"type": "mail", "n": 2**53 - 1, "ack": 0, "kind": 0, "data": data}],
        [{"type": "mail", "n": 1, "ack": 2**53 - 1, "kind": 0, "data": data}],
        [{"type": "ack", "ack": 2**53 - 1}],
        [{"type": "piece", "n": 1, "ack": 0, "bulk": 1, "data": data}],
        [{"type": "piece", "n": 1, "ack": 0, "bulk": 1, "data": data, "size": 2**24}],
        [{"type": "piece", "n": n, "ack": 0, "bulk": n, "data": whole, "size": 2**24} for n in range(1, 70)],
        [{"type": "mail", "n": 1, "ack": 0, "kind": 0, "data": "?"}],
        [{"type": "mail", "n": 1, "ack": 0, "kind": 256, "data": data}],
    ):
        caller = field.member(life=1, session=0)
        caller.send(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        ended.append(caller.outcome(3.0))
    caller = field.member(life=1)
    mail = [{"type": "mail", "n": n + 1, "ack": 0, "kind": n % 256, "data": data} for n in range(20_000)]
    caller.send(b"".join(json.dumps(message).encode() + b"\n" for message in mail))
    caller.send(b"".join(json.dumps(message).encode() + b"\n" for message in mail[:100]))  # again
    ended.append("20000 of nonsense: " + caller.outcome(2.0))
    return outcomes(ended)


@case(fresh=True)
def session_numbers(field: Field) -> str:
    """Names sessions that never were, up to the largest number: the next link still has one that can be said."""
    ended = []
    for number in (1, 2**31, 2**53 - 2, 2**53 - 1):
        for received in (None, 0, 1, 2**53 - 1):
            caller = field.member(life=5, peer=field.a.id, session=number, received=received)
            assert caller.told["session"] < 2**53, "a number that nobody may say"
            caller.send(line(type="ping", n=1))
            ended.append("linked" if caller.hear_of("pong", 2.0) else f"{caller.ended}")
            caller.reset()
    return outcomes(ended)


@case(fresh=True)
def links_in_turn(field: Field) -> str:
    """Is accepted, and hangs up, as fast as it goes; each time it was a member."""
    count = 0
    for _ in field.lasting():
        caller = Caller(field.target, id_of(4))
        if caller.enter():
            count += 1
        caller.reset()
    return f"{count / field.seconds:.0f} links a second"
