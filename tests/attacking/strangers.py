"""Attacks on the cluster port by somebody who knows no secret."""

from __future__ import annotations

import contextlib
import select
import socket
import time

from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.wire import Caller, Target, id_of, line, outcomes

SILENT = 600
"""Connections that say nothing: more than the node lets into a handshake."""


def crowd(port: int, count: int) -> list[socket.socket]:
    """Connections to a port, as many as can be had."""
    sockets = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(("127.0.0.1", port), 5))
    return sockets


def ends(sockets: list[socket.socket], seconds: float) -> str:
    """Wait until the node ends connections; how many it did, and close all."""
    left = dict.fromkeys(sockets)
    ended = 0
    limit = time.monotonic() + seconds
    poll = select.poll()
    by_number = {one.fileno(): one for one in left}
    for one in left:
        poll.register(one, select.POLLIN)
    while by_number and time.monotonic() < limit:
        for number, _ in poll.poll(200):
            with contextlib.suppress(OSError):
                if by_number[number].recv(65536):
                    continue
            poll.unregister(number)
            del by_number[number]
            ended += 1
    for one in sockets:
        one.close()
    return f"{ended} of {len(sockets)} hung up on in {seconds - max(0.0, limit - time.monotonic()):.1f} s"


def stream(port: int, megabytes: int, piece: bytes) -> str:
    """Send without end, again from the start whenever the node hangs up."""
    left = megabytes * 1_000_000
    calls = 0
    while left > 0:
        calls += 1
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            while left > 0:
                connection.sendall(piece)
                left -= len(piece)
    return f"hung up on {calls - 1} times in {megabytes} MB"


@case(short=True)
def silent_connections(field: Field) -> str:
    """Opens 600 connections and says nothing: those with a place lose it after the handshake's time."""
    return ends(crowd(field.a.cluster, SILENT), 12.0)


@case()
def slow_loris(field: Field) -> str:
    """Says a hello at a byte a second on 50 connections: a handshake has five seconds in all."""
    sockets = crowd(field.a.cluster, 50)
    for byte in Caller(field.without_tls).first()[:8]:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.sendall(bytes((byte,)))
        time.sleep(1.0)
    return ends(sockets, 4.0)


@case(short=True)
def open_and_close(field: Field) -> str:
    """Opens connections and closes them as fast as one process can: none leaves anything behind."""
    count = 0
    for _ in field.lasting():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", field.a.cluster), 5).close()
            count += 1
    return f"{count / field.seconds:.0f} connections a second"


@case(short=True)
def endless_line(field: Field) -> str:
    """Sends a line of 500 MB: the node hangs up at 4 KiB, or at the first byte that is no TLS."""
    return stream(field.a.cluster, int(100 * field.seconds), b"x" * 65536)


@case("secret", short=True)
def blank_lines(field: Field) -> str:
    """Sends newlines without end: what a stranger says is bounded, whether or not it says anything."""
    return stream(field.a.cluster, int(20 * field.seconds), b"\n" * 65536)


@case("secret", short=True)
def lines_of_another_version(field: Field) -> str:
    """Sends messages of a type that nobody knows, which are ignored: but not without end."""
    return stream(field.a.cluster, int(20 * field.seconds), b'{"type":""}\n' * 5000)


BAD_LINES: dict[str, bytes] = {
    "deep lists": b"[" * 100_000 + b"\n",
    "deep objects": b'{"a":' * 100_000 + b"\n",
    "deep lists that fit": b"[" * 4000 + b"\n",
    "deep objects that fit": b'{"a":' * 800 + b"\n",
    "a deep field": b'{"type":"hello","x":' + b"[" * 3900 + b"\n",
    "a huge number": b'{"type":"hello","incarnation":' + b"9" * 4000 + b"}\n",
    "a huge exponent": b'{"type":"hello","incarnation":1e999999999}\n',
    "a huge string": b'{"type":"hello","id":"' + b"x" * 4000 + b'"}\n',
    "a long version": line(type="hello", version="9" * 60 + ".9", cluster="", id=id_of(1), incarnation=0),
    "no UTF-8": b'{"type":"hello","id":"\xff\xfe"}\n',
    "lone surrogates": b'{"type":"hello","id":"\\ud800"}\n',
    "zeros": bytes(4000) + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bogus id": line(type="hello", version="1.2", cluster="", id="../../etc/passwd", incarnation=0),
    "the id of the node": b"",  # filled in below
}
"""Lines that are no hello, each of which ends its connection."""


@case(short=True)
def lines_that_are_none(field: Field) -> str:
    """Says each of a list of broken, deep and huge lines: each ends its own connection, in words."""
    lines = BAD_LINES | {"the id of the node": Caller(field.without_tls, field.a.id).first()}
    ended = []
    for said in lines.values():
        caller = Caller(field.target)
        caller.send(said)
        ended.append(caller.outcome())
    return outcomes(ended)


@case("secret")
def resets_at_every_byte(field: Field) -> str:
    """Resets the connection after every single byte of a handshake that would be right."""
    caller = Caller(field.target)
    assert caller.ask()
    length = len(caller.first() + line(type="proof", mac=caller.mac()) + caller.whole() + line(type="ready"))
    caller.close()
    for cut in range(length):
        caller = Caller(field.target)
        first = caller.first()
        if cut <= len(first):
            caller.send(first[:cut])
        else:
            assert caller.ask(), caller.ended
            rest = line(type="proof", mac=caller.mac()) + caller.whole() + line(type="ready")
            caller.send(rest[: cut - len(first)])
        caller.reset()
    return f"{length} resets"


@case()
def half_closed_sockets(field: Field) -> str:
    """Shuts one half of a connection, at four points of a handshake: the node ends the other half in time."""
    ended = []
    for how in (socket.SHUT_WR, socket.SHUT_RD):
        for point in range(4):
            caller = Caller(field.target, greet=point > 0)
            if point > 1:
                assert caller.ask(), caller.ended
            if point > 2:
                caller.send(line(type="proof", mac=caller.mac()))
            caller.socket.shutdown(how)
            if how == socket.SHUT_RD:
                caller.send(b"{")
                time.sleep(0.1)
                caller.close()
                ended.append("closed by the attacker")
            else:
                ended.append(caller.outcome())
    return outcomes(ended)


def flood(field: Field, target: Target, say: bytes) -> str:
    """Call, say something, hang up, as often as it goes."""
    count = 0
    for _ in field.lasting():
        with contextlib.suppress(OSError):
            caller = Caller(target, greet=False)
            caller.send(say)
            caller.reset()
            count += 1
    return f"{count / field.seconds:.0f} calls a second"


@case("secret", short=True)
def hellos_at_speed(field: Field) -> str:
    """Has the node make a proof and a nonce for each of a flood of first hellos: cheap, and nothing is kept."""
    return flood(field, field.without_tls, Caller(field.without_tls).first())
