"""Attacks on the TLS of the cluster port."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from pathlib import Path
from typing import Any

from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.strangers import crowd, ends
from tests.attacking.wire import Caller, line, outcomes


def reckless(directory: Path | None, version: int | None = None) -> Any:
    """A TLS connection that verifies nobody: OpenSSL's, with bytes in and bytes out.

    Args:
        directory: whose certificate it shows; None for none.
        version: of TLS, at most.
    """
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if version is not None:
        context.set_max_proto_version(version)
    if directory is not None:
        context.use_certificate_chain_file(str(directory / "node.pem"))
        context.use_privatekey_file(str(directory / "node.key"))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def hello(directory: Path | None = None, version: int | None = None) -> tuple[Any, bytes]:
    """Such a connection, and its client hello."""
    from OpenSSL import SSL

    connection = reckless(directory, version)
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection, connection.bio_read(65536)


def shake(field: Field, directory: Path | None, version: int | None = None) -> str:
    """Make a connection, whoever is there; how the node ends it, with OpenSSL's words for its alert."""
    from OpenSSL import SSL

    connection, first = hello(directory, version)
    with socket.create_connection(("127.0.0.1", field.a.cluster), 5) as plain:
        plain.sendall(first)
        end = time.monotonic() + 8.0
        while time.monotonic() < end:
            try:
                data = plain.recv(65536)
            except OSError:
                return "reset"
            if not data:
                return "hung up"
            connection.bio_write(data)
            try:
                with contextlib.suppress(SSL.WantReadError):
                    connection.do_handshake()
                    connection.recv(65536)
            except SSL.Error as error:
                return str(error.args[0][-1][-1]) if error.args and error.args[0] else "ended"
            with contextlib.suppress(SSL.WantReadError, OSError):
                plain.sendall(connection.bio_read(65536))
    return "still open"


@case("tls", short=True)
def wrong_certificates(field: Field) -> str:
    """Shows a certificate of another CA, one that has expired, none, or speaks TLS 1.2: each gets its alert."""
    from OpenSSL import SSL

    ended = [
        shake(field, field.certificates["foreign"]),
        shake(field, field.certificates["expired"]),
        shake(field, None),
        shake(field, field.certificates["attacker"], SSL.TLS1_2_VERSION),
    ]
    assert "still open" not in ended, ended
    assert "expired" in ended[1], ended
    return "; ".join(ended)


@case("tls", short=True)
def half_open_handshakes(field: Field) -> str:
    """Says a client hello on 600 connections and nothing more: what each costs is given back in time."""
    sockets = crowd(field.a.cluster, 600)
    for one in sockets:
        with contextlib.suppress(OSError):
            one.sendall(hello()[1])
    return ends(sockets, 12.0)


@case("tls")
def half_open_handshakes_with_certificates(field: Field) -> str:
    """Makes TLS on as many connections as can be had, as a member, and then says nothing."""
    callers = []
    for _ in range(int(100 * field.seconds)):
        with contextlib.suppress(OSError):
            callers.append(Caller(field.target))
    return ends([caller.socket for caller in callers], 12.0)


@case("tls")
def fragments(field: Field) -> str:
    """Sends client hellos in single bytes, and in records of one byte, on 20 connections at once."""
    sockets = crowd(field.a.cluster, 20)
    first = hello()[1]
    body = first[5:]
    records = b"".join(b"\x16\x03\x01\x00\x01" + body[at : at + 1] for at in range(len(body)))
    for said, some in ((first, sockets[::2]), (records, sockets[1::2])):
        for at in range(len(said)):
            for one in some:
                with contextlib.suppress(OSError):
                    one.sendall(said[at : at + 1])
    return ends(sockets, 12.0)


@case("tls")
def resets_in_tls(field: Field) -> str:
    """Resets the connection at every 32nd byte of a TLS handshake, in both directions of it."""
    length = len(hello()[1])
    count = 0
    for cut in range(0, length, 32):
        caller = Caller(field.target, greet=False)
        caller.send(hello()[1][:cut])
        caller.reset()
        count += 1
    connection, first = hello(field.certificates["attacker"])
    answer = _answer(field, connection, first)
    for cut in range(0, len(answer), 32):
        connection, first = hello(field.certificates["attacker"])
        with contextlib.suppress(OSError):
            caller = Caller(field.target, greet=False)
            caller.socket.settimeout(5.0)
            caller.send(first)
            answer = _answer_of(connection, caller)
            caller.send(answer[:cut])
            caller.reset()
        count += 1
    return f"{count} resets"


def _answer(field: Field, connection: Any, first: bytes) -> bytes:
    caller = Caller(field.target, greet=False)
    caller.socket.settimeout(5.0)
    caller.send(first)
    try:
        return _answer_of(connection, caller)
    finally:
        caller.reset()


def _answer_of(connection: Any, caller: Caller) -> bytes:
    """What a client says to the flight of the node: its certificate, the proof that it is its own, and the end."""
    from OpenSSL import SSL

    while True:
        connection.bio_write(caller.socket.recv(65536))
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
            return bytes(connection.bio_read(65536))


@case("tls", short=True)
def handshakes_at_speed(field: Field) -> str:
    """Says client hellos as fast as it goes, on many connections at once: the costly half is the node's."""
    first = hello()[1]
    count = 0
    held: list[socket.socket] = []
    for _ in field.lasting():
        with contextlib.suppress(OSError):
            one = socket.create_connection(("127.0.0.1", field.a.cluster), 5)
            one.sendall(first)
            held.append(one)
            count += 1
        if len(held) >= 100:
            for one in held:
                one.close()
            held.clear()
    for one in held:
        one.close()
    return f"{count / field.seconds:.0f} hellos a second"


@case("tls", short=True)
def hellos_in_one_moment(field: Field) -> str:
    """Opens 500 connections, and says a client hello on all of them in the same moment, again and again."""
    first = hello()[1]
    rounds = 0
    for _ in field.lasting():
        sockets = crowd(field.a.cluster, 500)
        time.sleep(0.2)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.sendall(first)
        left = {one.fileno(): one for one in sockets}
        end = time.monotonic() + 3.0
        while left and time.monotonic() < end:
            for number in select.select(list(left), [], [], 0.2)[0]:
                left.pop(number)
        for one in sockets:
            one.close()
        rounds += 1
    return f"{rounds} rounds"


GARBAGE = (b"\x16" * 6000, b"\x17\x03\x03\xff\xff" + b"x" * 70_000, b"\x15\x03\x03\x00\x02\x02\x00")
"""What begins like a record, and is none."""


@case("tls", short=True)
def garbage_in_tls(field: Field) -> str:
    """Says garbage instead of TLS, after a handshake, and in the place of a record; and the wire without TLS."""
    ended = []
    for asked in (False, True):
        for said in (*GARBAGE, b"x" * 40_000):
            caller = field.member() if asked else Caller(field.target)
            with contextlib.suppress(OSError):
                caller.socket.sendall(said)
            ended.append(caller.outcome(8.0))
            assert caller.ended, said[:5]
    caller = Caller(field.without_tls)
    assert not caller.ask()
    ended.append(f"without TLS: {caller.outcome()}")
    return outcomes(ended)


@case("tls", short=True)
def key_updates(field: Field) -> str:
    """Asks for new keys in every record, each of which costs the node more than it weighs: but not without end."""
    count = 0
    ended = []
    for _ in field.lasting():
        for record_of in (updates, pings_of_one_byte):
            caller, secret = _shaken(field)
            caller.socket.settimeout(3.0)
            sealed = record_of(secret, 20_000)
            with contextlib.suppress(OSError):
                caller.socket.sendall(sealed)
            try:
                while caller.socket.recv(65536):
                    pass
                ended.append("hung up")
            except TimeoutError:
                ended.append("still open")
            except OSError:
                ended.append("reset")
            caller.reset()
            count += 1
        assert "still open" not in ended
    return outcomes(sorted(ended))


def _shaken(field: Field) -> tuple[Caller, bytes]:
    """A connection with its TLS made, and the secret of what the attacker says."""
    from OpenSSL import SSL

    secrets: dict[str, bytes] = {}

    def note(_: object, text: bytes) -> None:
        label, _, secret = text.decode().split(" ")
        secrets[label] = bytes.fromhex(secret)

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_keylog_callback(note)
    directory = field.certificates["attacker"]
    context.use_certificate_chain_file(str(directory / "node.pem"))
    context.use_privatekey_file(str(directory / "node.key"))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    caller = Caller(field.target, greet=False)
    caller.socket.settimeout(5.0)
    caller.send(bytes(connection.bio_read(65536)))
    caller.send(_answer_of(connection, caller))
    assert connection.get_cipher_name() == "TLS_AES_256_GCM_SHA384", connection.get_cipher_name()
    return caller, secrets["CLIENT_TRAFFIC_SECRET_0"]


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446, with SHA-384 and no context."""
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)


def _seal(secret: bytes, number: int, content: bytes) -> bytes:
    """A record: what is said, and behind it the byte that says what it is."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key, start = _expand(secret, "key", 32), _expand(secret, "iv", 12)
    nonce = (int.from_bytes(start, "big") ^ number).to_bytes(12, "big")
    head = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
    return head + AESGCM(key).encrypt(nonce, content, head)


def updates(secret: bytes, most: int) -> bytes:
    """Records that each ask for a new key, and are followed by one."""
    records = []
    for _ in range(most // 4):
        records.append(_seal(secret, 0, b"\x18\0\0\x01\x01" + b"\x16"))
        secret = _expand(secret, "traffic upd", 48)
    return b"".join(records)


def pings_of_one_byte(secret: bytes, most: int) -> bytes:
    """Records with one byte of a line each, which does not end."""
    return b"".join(_seal(secret, number, b"x\x17") for number in range(most))


@case("tls")
def another_id_than_the_certificates(field: Field) -> str:
    """Proves the secret with a good certificate, and says that it is a node which is not in that."""
    ended = []
    for id in (field.b.id, "cccccccc-0000-4000-8000-000000000001"):
        caller = Caller(field.target, id)
        caller.enter()
        ended.append(caller.outcome())
        assert caller.refusal == "NOT_ALLOWED", ended
    caller = Caller(field.target)
    caller.send(line(type="ping", n=1))
    ended.append(caller.outcome())
    return outcomes(ended)
