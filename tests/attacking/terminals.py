"""Attacks on the SSH port, by somebody who has no key."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time

from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.strangers import crowd, ends, stream
from tests.attacking.wire import last_word, outcomes

BANNER = b"SSH-2.0-attacker\r\n"


def packet(payload: bytes) -> bytes:
    """A packet of SSH before there are keys."""
    padding = 8 - (len(payload) + 5) % 8 + 4
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def listing(*names: str) -> bytes:
    """A list of names."""
    joined = ",".join(names).encode()
    return struct.pack(">I", len(joined)) + joined


def offer(kex: str = "curve25519-sha256") -> bytes:
    """The offer of algorithms that a client begins with."""
    kinds = (
        (kex,),
        ("ssh-ed25519",),
        *(("aes256-ctr",),) * 2,
        *(("hmac-sha2-256",),) * 2,
        *(("none",),) * 2,
        (),
        (),
    )
    return packet(b"\x14" + bytes(16) + b"".join(listing(*names) for names in kinds) + bytes(5))


def say(field: Field, data: bytes, seconds: float = 8.0) -> str:
    """Say something, and wait for the end."""
    with socket.create_connection(("127.0.0.1", field.a.ssh), 5) as plain:
        return last_word(plain, data, seconds)


@case("secret", short=True)
def garbage_for_ssh(field: Field) -> str:
    """Says garbage to the SSH port: instead of a banner, as a packet, as an offer, before and after one."""
    ended = [
        say(field, said)
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            os.urandom(5000),
            b"\n" * 100_000,
            BANNER + os.urandom(5000),
            BANNER + b"\xff\xff\xff\xff" + bytes(70_000),
            BANNER + bytes(5000),
            BANNER + packet(b"\x14" + os.urandom(200)),
            BANNER + offer("no-such-exchange"),
            BANNER + offer() + packet(b"\x1e" + struct.pack(">I", 32) + bytes(32)),
            BANNER + offer() + packet(b"\x32" + listing("root") + listing("ssh-connection") + listing("none")),
            BANNER + packet(b"\x5a" + listing("session") + bytes(12)),
            BANNER + packet(b"\x02" + listing("x")) * 5000,
        )
    ]
    assert "still open" not in ended, ended
    return outcomes(ended)


@case("secret", short=True)
def endless_banner(field: Field) -> str:
    """Sends 500 MB to the SSH port without a banner, and 500 MB behind one."""
    megabytes = int(50 * field.seconds)
    ended = stream(field.a.ssh, megabytes, b"x" * 65536)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", field.a.ssh), 5) as plain:
        plain.sendall(BANNER + offer())
        for _ in range(megabytes * 15):
            plain.sendall(bytes(65536))
    return ended


@case("secret", growth=40.0)
def silent_terminals(field: Field) -> str:
    """Opens 300 connections to the SSH port, offers algorithms on half of them, and says no more."""
    sockets = crowd(field.a.ssh, 300)
    for one in sockets[::2]:
        with contextlib.suppress(OSError):
            one.sendall(BANNER + offer())
    return ends(sockets, 3.0)


@case("secret", short=True)
def exchanges_at_speed(field: Field) -> str:
    """Begins a key exchange as fast as it goes, the costly half of which is the node's."""
    count = 0
    begin = BANNER + offer() + packet(b"\x1e" + struct.pack(">I", 32) + b"\x09" + bytes(31))
    for _ in field.lasting():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", field.a.ssh), 5) as plain:
            plain.settimeout(5.0)
            plain.sendall(begin)
            said = b""
            while b"\x1f" not in said and (data := plain.recv(65536)):
                said += data
            count += b"\x1f" in said
    time.sleep(0.1)
    return f"{count / field.seconds:.0f} a second"
