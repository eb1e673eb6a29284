"""Attacks on the REPL port."""

from __future__ import annotations

import contextlib
import os
import random
import socket

from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.strangers import crowd, ends, stream
from tests.attacking.wire import last_word, outcomes


def say(field: Field, data: bytes, seconds: float = 3.0) -> str:
    """Say something to the shell and no more; how it ends."""
    with field.repl() as shell:
        return last_word(shell, data, seconds)


@case("secret", short=True)
def http(field: Field) -> str:
    """Has a browser speak to the shell: the first line gives it away, and nothing of it is executed."""
    requests = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n!spawn x\r\n",
        b"POST /!kill HTTP/1.0\r\nContent-Length: 9\r\n\r\n!kill all\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + os.urandom(512) + b"\r\n",
    ]
    return outcomes([say(field, request) for request in requests])


@case("secret", short=True)
def telnet_negotiations(field: Field) -> str:
    """Negotiates options without end, and with answers that are not read."""
    sent = 0
    ended = []
    pieces = (
        b"\xff\xfd\x01",
        b"\xff\xfb\x18",
        b"\xff\xf6",
        b"\xff\xfa\x18",
        b"\xff\xfd\x06",
        b"\xff",
        b"\x03",
        b"\xff\xf4",
    )
    for said in (piece * 20_000 for piece in pieces):
        with field.repl() as shell:
            shell.settimeout(2.0)
            end = "taken"
            for _ in range(int(20 * field.seconds)):
                try:
                    shell.sendall(said)
                    sent += len(said)
                except TimeoutError:
                    end = "not read"
                    break
                except OSError:
                    end = "hung up"
                    break
            ended.append(end)
    return f"{sent / 1e6:.0f} MB: {outcomes(ended)}"


@case("secret", short=True)
def endless_line_in_a_shell(field: Field) -> str:
    """Sends a line of 500 MB to the shell, which drops what is over 64 KiB of it."""
    return stream(field.a.repl, int(100 * field.seconds), b"x" * 65536)


@case("secret")
def short_lines_in_a_shell(field: Field) -> str:
    """Sends lines as fast as they are taken, and reads nothing."""
    sent = 0
    with field.repl() as shell:
        shell.settimeout(0.5)
        for _ in field.lasting():
            try:
                sent += shell.send(b"!help\r\n" * 1000)
            except OSError:
                break
    return f"{sent / 1e6:.1f} MB taken"


@case("secret", growth=60.0)
def sessions_taken(field: Field) -> str:
    """Takes 300 sessions: 200 are there, and whoever says a line gets one of somebody who never did."""
    sockets = crowd(field.a.repl, 300)
    answer = b""
    with field.repl() as shell, contextlib.suppress(OSError):
        shell.settimeout(3.0)
        shell.sendall(b"!symbols\r\n")
        while b">>>" not in answer.partition(b">>>")[2]:
            answer += shell.recv(65536)
    assert b"Welcome" in answer, answer
    return ends(sockets, 1.0)


@case("secret")
def shells_at_speed(field: Field) -> str:
    """Opens sessions and resets them as fast as it goes."""
    count = 0
    for _ in field.lasting():
        with contextlib.suppress(OSError):
            shell = field.repl()
            shell.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            shell.close()
            count += 1
    return f"{count / field.seconds:.0f} sessions a second"


@case("secret")
def noise_in_a_shell(field: Field) -> str:
    """Types random bytes, control characters, and half a line with a half-closed connection behind it."""
    chance = random.Random(1)
    ended = [say(field, chance.randbytes(2000) + b"\r\n") for _ in range(30)]
    ended += [
        say(field, said) for said in (b"", b"\0", b"\x1b[2J\x1b]0;x\x07\r\n", b"load $0 #", b"\xff", b"\xff\xf4")
    ]
    return outcomes(ended)
