"""Attacks on the door for newcomers, which is open while a join token is out."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import time
from typing import Any

from iridium.cluster import certificates as c
from iridium.cluster.tokens import Token, parse_token
from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.secured import hello
from tests.attacking.strangers import crowd, ends
from tests.attacking.wire import id_of, outcomes


def token(field: Field) -> Token:
    """A token, as an operator makes one."""
    field.kept = 1
    with field.repl() as shell:
        shell.settimeout(10.0)
        shell.sendall(b"!token\r\n")
        said = b""
        while (found := re.search(rb"iridium-join-[\w-]+(?=\s)", said)) is None:
            data = shell.recv(65536)
            assert data, said
            said += data
    return parse_token(found[0].decode())


def knock(port: int, said: bytes, seconds: float = 12.0) -> str:
    """Say something at the door, in TLS; the answer, or how the connection ends."""
    from OpenSSL import SSL

    connection, first = hello()
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.settimeout(seconds)
        plain.sendall(first)
        answer = b""
        asked = False
        while b"\n" not in answer:
            try:
                data = plain.recv(65536)
            except TimeoutError:
                return "still open"
            except OSError:
                return "reset"
            if not data:
                return "hung up"
            connection.bio_write(data)
            try:
                with contextlib.suppress(SSL.WantReadError):
                    if not asked:
                        connection.do_handshake()
                        asked = True
                        connection.send(said)
                    answer += connection.recv(65536)
            except SSL.Error:
                return "TLS ended"
            with contextlib.suppress(SSL.WantReadError, OSError):
                plain.sendall(connection.bio_read(1 << 20))
    told: dict[str, Any] = json.loads(answer)
    return str(told["type"]) if told["type"] != "refuse" else f"refused: {told['detail'][:40]}"


def request(secret: bytes, id: str, csr: str | None = None) -> bytes:
    """What a newcomer says."""
    csr = c.make_csr(c.make_key()).decode() if csr is None else csr
    asked = {"type": "enrol", "token": base64.b64encode(secret).decode(), "id": id, "csr": csr}
    return json.dumps(asked).encode() + b"\n"


@case("secret", short=True, lines=150)
def bogus_tokens(field: Field) -> str:
    """Tries tokens as fast as it goes: none is right, and the log has some of them."""
    made = token(field)
    count = 0
    said = request(b"x" * 32, id_of(1))
    for _ in field.lasting():
        assert "enrolled" not in knock(made.door, said)
        count += 1
    return f"{count / field.seconds:.0f} a second"


@case("secret", short=True)
def used_and_stolen_tokens(field: Field) -> str:
    """Uses a token twice, or for the id of a node that is there: only the first use leads to anything."""
    made, other = token(field), token(field)
    ended = [
        knock(made.door, request(made.secret, id_of(20))),
        knock(made.door, request(made.secret, id_of(21))),
        knock(made.door, request(other.secret, field.b.id)),
        knock(made.door, request(other.secret, id_of(22))),
    ]
    assert ended[0] == "enrolled", ended
    assert "enrolled" not in ended[1:], ended
    return outcomes(ended)


@case("secret", short=True)
def garbage_at_the_door(field: Field) -> str:
    """Says garbage at the door, with TLS and without, deep and huge."""
    made = token(field)
    ended = [
        knock(made.door, said)
        for said in (
            b"\n",
            b"[" * 4000 + b"\n",
            b"x" * 5000,
            b"x" * 500_000,
            b'{"type":"enrol"}\n',
            b'{"type":"enrol","token":"AA=="}\n',
            request(b"x" * 32, "no id"),
            request(b"x" * 32, id_of(1), "x" * 4000),
            b"GET / HTTP/1.1\r\n\r\n",
        )
    ]
    for said in (b"x" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000):
        with socket.create_connection(("127.0.0.1", made.door), 5) as plain:
            plain.settimeout(12.0)
            try:
                plain.sendall(said)
                while plain.recv(65536):
                    pass
                ended.append("hung up")
            except TimeoutError:
                ended.append("still open")
            except OSError:
                ended.append("reset")
    assert "enrolled" not in ended
    assert "still open" not in ended, ended
    return outcomes(ended)


@case("secret")
def a_crowd_at_the_door(field: Field) -> str:
    """Stands at the door with 100 connections; when they have been sent away, a newcomer gets in."""
    made = token(field)
    said = ends(crowd(made.door, 100), 14.0)
    assert knock(made.door, request(made.secret, id_of(23))) == "enrolled"
    return said


@case("secret")
def knocking_at_speed(field: Field) -> str:
    """Connects to the door with a client hello, and resets, as fast as it goes."""
    made = token(field)
    first = hello()[1]
    count = 0
    for _ in field.lasting():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", made.door), 5) as plain:
            plain.sendall(first)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            count += 1
    time.sleep(0.2)
    return f"{count / field.seconds:.0f} a second"
