"""The SSH port in memory: who gets in, what strangers may do, and the flow of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.logger import globalLogPublisher

from iridium.limits import DEFAULTS, Limits
from iridium.repl.conversation import FLUSH
from iridium.repl.ssh import transport
from iridium.repl.ssh.authentication import MAX_FAILURES
from iridium.repl.ssh.connection import EMPTY, MAX_CHANNELS
from iridium.repl.ssh.port import MAX_STRANGERS, MAX_STRANGERS_OF_ONE
from iridium.repl.ssh.transport import KEY_EXCHANGE, LOGIN, MAX_STRANGE
from iridium.roles import Role
from tests.repl_double import ENDLESS
from tests.ssh_double import USER_KEY, Client, Port, number

IDLE = DEFAULTS.idle
FLOOD = "load $1 #65\np: prtc $1\nload $31 @p\njmp $31\n"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    """A port at which everything is over in the end."""
    port = Port(tmp_path)
    yield port
    port.factory.stop()
    for server in (*port.factory._strangers, *port.factory._known):
        server.connectionLost()
    assert len(port.factory.sessions) == 0
    assert port.node.scheduler.running == 0
    assert not [call for call in port.node.reactor.getDelayedCalls() if call.active()]


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged, line by line."""
    seen: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        seen.append((event.get("log_format") or "").format(**event))

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


class TestLogin:
    """Who gets in."""

    def test_a_key_that_may(self, port: Port, log: list[str]) -> None:
        """Who has a key of the file gets in under any name, which is logged, printable, with the key."""
        client = port.client()
        client.request_login()
        assert client.attempt(user=b"ev\x1b[2Jil\n") == [(52, b"")]
        [line] = [line for line in log if "login" in line]
        assert line.isprintable()
        assert "me (ssh-ed25519 SHA256:" in line
        assert line.endswith("operator")

    def test_roles(self, tmp_path: Path) -> None:
        """The role of a key is the role of its sessions."""
        client = Port(tmp_path, 'role="read-only"').client().log_in()
        client.shell()
        [conversation] = client.connection.port.factory.sessions
        assert conversation.session.role is Role.READ_ONLY
        client.connection.lose()

    def test_other_keys(self, port: Port, log: list[str]) -> None:
        """Another key does not get in, and the log says which it was, once for many."""
        client = port.client()
        client.request_login()
        other = Key(Ed25519PrivateKey.generate())
        assert client.attempt(other) == [(51, NS(b"publickey") + b"\0")]
        client.attempt(other)
        lines = [line for line in log if "refused" in line]
        assert "192.0.2.1:4000, as me, with SHA256:" in lines[0]
        assert len(lines) <= DEFAULTS.stranger_log

    @pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
    def test_other_kinds_of_keys(self, port: Port, kind: str) -> None:
        """Keys of elliptic curves and of RSA get in; an RSA key does not with a signature of SHA-1."""
        private = (
            ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)
        )
        key = Key(private)
        port.authorize(key.public().toString("OPENSSH").decode())
        client = port.client()
        client.request_login()
        if kind == "rsa":
            assert client.attempt(key)[0][0] == 51
            blob = key.public().blob()
            request = NS(b"me") + NS(b"ssh-connection") + NS(b"publickey") + b"\1" + NS(b"rsa-sha2-512") + NS(blob)
            signed = NS(client.sessionID) + b"\x32" + request
            sha1 = key.sign(signed, signatureType=b"ssh-rsa")
            assert client.say(50, request + NS(sha1))[0][0] == 51
            good = key.sign(signed, signatureType=b"rsa-sha2-512")
            assert client.say(50, request + NS(good)) == [(52, b"")]
        else:
            assert client.attempt(key) == [(52, b"")]

    def test_what_a_signature_has_to_be(self, port: Port) -> None:
        """A signature of other bytes, of another session, of none or of another kind proves nothing."""
        client = port.client()
        client.request_login()
        for wrong in (
            {"session": b"another"},
            {"signature": NS(b"ssh-ed25519") + NS(b"x" * 64)},
            {"signature": NS(b"ssh-ed25519") + NS(b"")},
            {"signature": NS(b"ssh-rsa") + NS(b"x" * 64)},
            {"algorithm": b"ssh-rsa"},
        ):
            assert client.attempt(**wrong)[0][0] == 51
        assert client.attempt() == [(52, b"")]

    def test_asking_whether_a_key_would_do(self, port: Port) -> None:
        """A client may ask before it signs, which an agent wants; to be told is not to be let in."""
        client = port.client()
        client.request_login()
        blob = USER_KEY.public().blob()
        asked = NS(b"ssh-ed25519") + NS(blob)
        assert client.say(50, NS(b"me") + NS(b"ssh-connection") + NS(b"publickey") + b"\0" + asked) == [
            (60, asked)
        ]
        client.say(90, NS(b"session") + number(0) + number(1000) + number(1000))
        assert client.ended is not None

    def test_no_other_way(self, port: Port) -> None:
        """No password gets in, nor nothing; what may be tried is said."""
        client = port.client()
        client.request_login()
        answer = [(51, NS(b"publickey") + b"\0")]
        assert client.say(50, NS(b"me") + NS(b"ssh-connection") + NS(b"none")) == answer
        assert client.say(50, NS(b"me") + NS(b"ssh-connection") + NS(b"password") + b"\0" + NS(b"x")) == answer

    def test_attempts_are_counted(self, port: Port) -> None:
        """After so many that failed there are no more."""
        client = port.client()
        client.request_login()
        other = Key(Ed25519PrivateKey.generate())
        for _ in range(MAX_FAILURES - 1):
            assert client.attempt(other)[0][0] == 51
        assert client.attempt(other) == []
        assert client.connection.closed

    def test_a_key_that_was_removed(self, port: Port) -> None:
        """A key that is taken out of the file opens nothing more, not even on a connection that is open."""
        client = port.client().log_in()
        client.shell()
        port.authorize("")
        [(message, payload)] = client.say(90, NS(b"session") + number(1) + number(1000) + number(1000))
        assert message == 92
        assert b"may not log in any more" in payload
        other = port.client()
        other.request_login()
        assert other.attempt()[0][0] == 51


class TestStrangers:
    """What those may do who have not logged in."""

    def test_slow_ones(self, port: Port, log: list[str]) -> None:
        """Who has not logged in after a while is hung up on, however far he got."""
        silent, half, polite = port.raw(), port.raw(), port.client()
        half.send(b"SSH-2.0-x")
        polite.request_login()
        silent.wait(LOGIN - 0.1)
        assert not any(one.closed for one in (silent, half, polite.connection))
        silent.wait(0.2)
        assert silent.closed
        assert half.closed
        assert polite.connection.closed
        assert not [line for line in log if "rror" in line]

    @pytest.mark.parametrize(
        "first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\0", b"\r\n", b"SSH-1.5-x\r\n", b"\0" * 99]
    )
    def test_what_is_not_ssh(self, port: Port, first: bytes) -> None:
        """Whoever speaks something else is hung up on at once, without an answer."""
        connection = port.raw()
        connection.tcp.clear()
        connection.send(first)
        assert connection.closed
        assert connection.tcp.value() == b""

    def test_a_version_without_end(self, port: Port) -> None:
        """A first line that does not end ends soon."""
        connection = port.raw()
        for _ in range(300):
            if not connection.closed:
                connection.send(b"SSH-2.0-x" if not connection.server.buf else b"x")
        assert connection.closed

    def test_too_many_bytes(self, port: Port) -> None:
        """A stranger may send so much and no more."""
        client = port.client()
        client.request_login()
        while not client.connection.closed:
            client.say(2, NS(b"x" * 1000))
            assert client.connection.server._received <= MAX_STRANGE + 2000
        assert client.connection.tcp.aborted

    def test_too_many_connections(self, port: Port) -> None:
        """One address has so many connections without a login, all have so many; who is in does not count."""
        ours = [port.connect() for _ in range(MAX_STRANGERS_OF_ONE + 3)]
        assert sum(one is not None for one in ours) == MAX_STRANGERS_OF_ONE
        others = [port.connect(f"198.51.100.{n}") for n in range(MAX_STRANGERS)]
        assert sum(one is not None for one in others) == MAX_STRANGERS - MAX_STRANGERS_OF_ONE
        assert ours[0] is not None
        ours[0].lose()
        assert port.connect("203.0.113.1") is not None

    def test_messages_out_of_turn(self, port: Port) -> None:
        """Before there are keys nothing but keys is talked about, and each step of that comes once."""
        for packet in (
            b"\x05" + NS(b"ssh-userauth"),
            b"\x15",
            b"\x1e" + NS(b"x" * 32),
            b"\x32",
            b"\x5a",
            b"\x22" + b"\0" * 12,
        ):
            connection = port.raw(f"192.0.2.{packet[0]}")
            padding = 8 - (5 + len(packet)) % 8 + 8
            connection.send(
                b"SSH-2.0-x\r\n" + number(len(packet) + padding + 1) + bytes((padding,)) + packet + b"\0" * padding
            )
            assert connection.closed, packet

    def test_nothing_but_the_login_comes_first(self, port: Port) -> None:
        """With keys, but before the login, there are no channels and no other service."""
        client = port.client()
        client.say(90, NS(b"session") + number(0) + number(1000) + number(1000))
        assert client.connection.closed or client.take() == []
        client = port.client()
        client.say(5, NS(b"ssh-connection"))
        assert client.connection.closed

    def test_hanging_up_in_between(self, port: Port, logged_failures: list[str]) -> None:
        """A connection may be lost at any time."""
        port.raw().lose()
        port.client().connection.lose()
        client = port.client()
        client.request_login()
        client.connection.lose()
        client = port.client().log_in()
        client.type(client.shell(), "\n".join((*ENDLESS, "")))
        client.connection.lose()
        assert port.node.scheduler.running == 0
        assert not logged_failures


GARBAGE = st.binary(max_size=400)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(GARBAGE, st.booleans())
def test_garbage(tmp_path: Path, data: bytes, version: bool) -> None:
    """Whatever bytes come, nothing is raised, and the connection is over soon."""
    connection = Port(tmp_path).raw()
    connection.send(b"SSH-2.0-x\r\n" + data if version else data)
    connection.wait(LOGIN + FLUSH + 1)
    assert connection.closed
    connection.lose()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*range(1, 10), 20, 21, 30, 34, 50, *range(80, 102), 200]), GARBAGE, st.sampled_from("slo"))
def test_garbage_in_packets(tmp_path: Path, message: int, payload: bytes, state: str) -> None:
    """Whatever a packet holds, before and after the login, its connection lives or ends, and nothing is raised."""
    port = Port(tmp_path)
    client = port.client()
    if state != "s":
        client.log_in()
    if state == "o":
        channel = client.shell()
        if 93 <= message <= 100:
            payload = number(channel) + payload
    client.say(message, payload)
    port.factory.stop()
    client.connection.lose()
    assert len(port.factory.sessions) == 0


class TestKeys:
    """What is spoken."""

    def test_nothing_weak_is_offered(self, port: Port) -> None:
        """No SHA-1, no MD5, no CBC, no small group, nothing unencrypted, nothing compressed."""
        client = Client(port.raw())
        client.pump()
        names = b",".join(getNS(client.otherKexInitPayload[17:], 8)[:8]).split(b",")
        assert not [
            name
            for name in names
            if any(bad in name for bad in (b"sha1", b"md5", b"cbc", b"3des", b"zlib", b"dss"))
        ]
        assert not [name for name in names if name.startswith(b"diffie-hellman") or name == b"ssh-rsa"]
        assert {b"curve25519-sha256", b"ssh-ed25519", b"aes256-ctr", b"hmac-sha2-256"} <= {*names}
        assert names.count(b"none") == 2  # both of them compressions

    def test_new_keys(self, port: Port) -> None:
        """Either end may want new keys at any time; what is written meanwhile comes afterwards."""
        client = port.client().log_in()
        channel = client.shell()
        client.data()
        client.sendKexInit()
        client.pump()
        assert client.type(channel, "load $0 #5\n") == ">>> "
        client.connection.server.sendKexInit()
        assert next(iter(port.factory.sessions)).paused
        client.pump()
        assert not next(iter(port.factory.sessions)).paused
        assert client.type(channel, "prti $0\n") == "5\n>>> "

    def test_new_keys_by_themselves(self, port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
        """After so many bytes the server wants new keys, and every byte comes."""
        monkeypatch.setattr(transport, "REKEY", 5000)
        client = port.client().log_in()
        channel = client.shell()
        session = client.connection.server.sessionID
        before = client.connection.server.currentEncryptions
        said = client.type(channel, "".join(f"prti ${n % 32}\n" for n in range(500)))
        for _ in range(200):
            client.pump()
            said += client.data()
        assert said.count("0\n>>> ") == 500
        assert client.connection.server.currentEncryptions is not before
        assert client.connection.server.sessionID == session

    def test_keys_that_do_not_come(self, port: Port) -> None:
        """A peer that begins an exchange of keys and does not end it is hung up on; meanwhile nothing heaps up."""
        client = port.client().log_in()
        channel = client.shell()
        client.type(channel, FLOOD)
        client.connection.server.sendKexInit()
        client.connection.wait(KEY_EXCHANGE / 2)
        assert len(client.connection.server._blockedByKeyExchange) < 100
        client.connection.wait(KEY_EXCHANGE)
        assert client.connection.tcp.aborted


class TestSessions:
    """What may be opened, and asked for."""

    def test_line_by_line(self, port: Port) -> None:
        """A shell without a terminal is the one of telnet; the end of the input ends it with status 0."""
        client = port.client().log_in()
        channel = client.shell()
        assert client.data() == "Welcome to Iridium! Let's be productive!\n>>> "
        assert client.type(channel, "load $0 #5\nprti $0") == ">>> "
        answers = client.say(96, number(channel))
        assert [m for m, _ in answers] == [94, 94, 98, 97]
        assert answers[2][1] == number(7) + NS(b"exit-status") + b"\0" + number(0)

    def test_lines_with_the_request(self, port: Port) -> None:
        """Input that comes in one piece with the request is done after the greeting."""
        client = port.client().log_in()
        channel = client.open()
        client.sendPacket(98, number(channel) + NS(b"shell") + b"\1")
        client.sendPacket(94, number(channel) + NS(b"prti $0\n"))
        client.pump()
        assert client.data() == "Welcome to Iridium! Let's be productive!\n>>> 0\n>>> "

    def test_one_command(self, port: Port) -> None:
        """A command has its answer and nothing else on standard output, errors elsewhere, and a status."""
        client = port.client().log_in()
        for command, out, error, status in (
            ("load $0 #5\nprti $0", "5", "", 0),
            ("!xyzzy", "", "error: there is no command !xyzzy; !help lists them all\n", 1),
            ("load $0 #0\ndiv $1 $0 $2\nprti $0", "0", "fault: division-by-zero", 1),
            ("", "", "", 0),
            ("!quit", "bye\n", "", 0),
        ):
            channel = client.open()
            assert client.ask(channel, b"exec", NS(command.encode())) == 99
            messages = client.take()
            assert b"".join(p[8:] for m, p in messages if m == 94).decode() == out
            assert b"".join(p[12:] for m, p in messages if m == 95).decode().startswith(error)
            assert messages[-2:] == [
                (98, number(7) + NS(b"exit-status") + b"\0" + number(status)),
                (97, number(7)),
            ]
            client.say(97, number(channel))

    def test_a_command_and_its_input(self, port: Port) -> None:
        """What comes on standard input is nobody's; its end ends nothing; closing ends everything."""
        client = port.client().log_in()
        channel = client.open()
        client.ask(channel, b"exec", NS("\n".join(ENDLESS).encode()))
        for _ in range(20):
            client.type(channel, "!xyzzy\n" * 1000)
        client.say(96, number(channel))
        client.connection.wait(IDLE * 2)
        assert port.node.scheduler.running == 1
        client.say(97, number(channel))
        assert port.node.scheduler.running == 0
        assert client.connection.server.service.channels == {}

    def test_signals(self, port: Port) -> None:
        """An interrupt by signal or break stops what runs, as Ctrl-C does."""
        client = port.client().log_in()
        channel = client.shell()
        for ask in (
            lambda: client.ask(channel, b"signal", NS(b"INT")),
            lambda: client.ask(channel, b"break", number(0)),
        ):
            client.type(channel, "\n".join((*ENDLESS, "")))
            client.connection.wait(1)
            assert ask() == 99
            assert "stopped at" in client.data()
        client.type(channel, "\n".join((*ENDLESS, "")))
        assert "stopped at" in client.type(channel, b"\x03")

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            (b"subsystem", NS(b"sftp")),
            (b"x11-req", b"\0" + NS(b"MIT-MAGIC-COOKIE-1") + NS(b"00") + number(0)),
            (b"auth-agent-req@openssh.com", b""),
            (b"env", NS(b"LANG") + NS(b"C")),
            (b"no-such-thing", b""),
            (b"\xff\xfe", b""),
        ],
    )
    def test_what_is_not_granted(self, port: Port, kind: bytes, data: bytes) -> None:
        """Subsystems, X11, agents and the environment are refused, and the session is none the worse."""
        client = port.client().log_in()
        channel = client.open()
        assert client.ask(channel, kind, data) == 100
        assert client.ask(channel, b"shell") == 99
        assert client.ask(channel, b"shell") == 100
        assert client.ask(channel, b"exec", NS(b"!quit")) == 100

    def test_forwarding(self, port: Port) -> None:
        """No connection is made to anywhere, and none is taken."""
        client = port.client().log_in()
        target = NS(b"127.0.0.1") + number(22) + NS(b"127.0.0.1") + number(1)
        sizes = number(0) + number(1000) + number(1000)
        assert client.say(90, NS(b"direct-tcpip") + sizes + target)[0][0] == 92
        assert client.say(80, NS(b"tcpip-forward") + b"\1" + NS(b"") + number(0)) == [(82, b"")]
        assert client.say(80, NS(b"keepalive@openssh.com") + b"\1") == [(82, b"")]

    def test_too_many_channels(self, port: Port) -> None:
        """One connection has so many sessions."""
        client = port.client().log_in()
        for _ in range(MAX_CHANNELS):
            client.shell()
        assert client.say(90, NS(b"session") + number(0) + number(1000) + number(1000))[0][0] == 92

    def test_one_limit_for_all(self, port: Port) -> None:
        """Sessions over SSH and telnet are counted together; who has logged in is not put out for a stranger."""
        from iridium.repl.telnet import ReplFactory
        from tests.repl_double import Peer

        port.factory.sessions.limits = Limits(sessions=2)
        client = port.client().log_in()
        client.shell()
        factory = ReplFactory(port.node, sessions=port.factory.sessions)
        silent = Peer(factory)
        client.shell()
        assert silent.closed
        late = Peer(factory)
        assert "no room" in late.read()
        channel = client.open()
        client.take()
        client.ask(channel, b"exec", NS(b"!members"))
        messages = client.take()
        assert b"no room" in next(p for m, p in messages if m == 95)
        assert (98, number(7) + NS(b"exit-status") + b"\0" + number(1)) in messages
        silent.hang_up()
        late.hang_up()

    def test_a_connection_without_a_session(self, port: Port) -> None:
        """A connection on which nothing happens ends soon, one with a session after an hour of silence."""
        idle = port.client().log_in()
        idle.open()
        busy = port.client().log_in()
        busy.shell()
        idle.connection.wait(EMPTY + 1)
        assert idle.connection.closed
        assert not busy.connection.closed
        busy.connection.wait(IDLE)
        busy.pump()
        assert "no line came for 60 minutes" in busy.data()

    def test_the_node_stops(self, port: Port) -> None:
        """A stop is told in every session, and closes every connection."""
        idle = port.client().log_in()
        client = port.client().log_in()
        client.shell()
        client.data()
        port.factory.stop()
        client.pump()
        assert "the node stops" in client.data()
        assert client.connection.closed
        assert idle.connection.closed
        idle.pump()
        assert idle.ended == b"the node stops"


class TestFlow:
    """Who sends and does not read, or reads and does not send."""

    def test_a_window_that_is_full(self, port: Port) -> None:
        """A program prints as far as the peer takes it, and goes on when it takes more; all comes, in order."""
        client = port.client().log_in()
        channel = client.shell(window=1000)
        said = client.data()
        said += client.type(channel, "load $3 #10\nload $2 #3000\n")
        said += client.type(channel, "l: prti $1\nprtc $3\ninc $1\nneq $1 $2\ndjmpe @l\n")
        for _ in range(10):
            client.connection.wait(1)
        client.pump()
        said += client.data()
        assert len(said) == 1000
        assert len(client.connection.server.service.channels[channel].buf) < 200_000
        for _ in range(20):
            said += b"".join(p[8:] for _, p in client.say(93, number(channel) + number(1000))).decode()
        assert "".join(f"{n}\n" for n in range(1, 3000)) in said
        assert said.endswith(">>> ")

    def test_a_peer_that_does_not_read_from_its_socket(self, port: Port) -> None:
        """With the largest window, too, a program waits for its reader."""
        client = port.client().log_in()
        channel = client.shell(window=2**32 - 1)
        client.connection.tcp.reads = False
        client.type(channel, FLOOD)
        for _ in range(20):
            client.connection.wait(1)
        assert len(client.connection.tcp.value()) < 2_000_000
        client.connection.tcp.clear()

    def test_answers_that_are_not_read(self, port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who asks without end and reads no answer is hung up on."""
        monkeypatch.setattr(transport, "MAX_UNREAD", 100_000)
        client = port.client().log_in()
        client.shell()
        client.connection.tcp.reads = False
        client.connection.server.pauseProducing()
        for _ in range(20_000):
            client.sendPacket(80, NS(b"keepalive@openssh.com") + b"\1")
            if len(client.transport.value()) > 60_000:
                client.pump()
            if client.connection.tcp.aborted:
                break
        assert client.connection.tcp.aborted
        client.transport.clear()

    def test_lines_without_end(self, port: Port) -> None:
        """Lines behind a program without end are held as far as there is room; more ends the connection."""
        client = port.client().log_in()
        channel = client.shell()
        client.type(channel, "\n".join((*ENDLESS, "")))
        server_channel = client.connection.server.service.channels[channel]
        sent = 0
        while server_channel.localWindowLeft >= 7000 and sent < 500_000:
            client.type(channel, "inc $5\n" * 1000)
            sent += 7000
        assert sent < 200_000
        client.say(94, number(channel) + NS(b"x" * (server_channel.localWindowLeft + 1)))
        assert client.connection.closed
        client.connection.lose()
        assert port.node.scheduler.running == 0

    def test_a_last_word_that_is_not_read(self, port: Port) -> None:
        """A session that has ended waits for its reader, but not for ever; closing it from there ends it."""
        client = port.client().log_in()
        channel = client.open(window=10)
        client.ask(channel, b"exec", NS(b"!help"))
        client.connection.wait(60)
        assert len(port.factory.sessions) == 1
        client.say(97, number(channel))
        assert len(port.factory.sessions) == 0
        channel = client.open(window=10)
        client.ask(channel, b"exec", NS(b"!help"))
        client.connection.wait(IDLE + 1)
        client.connection.wait(FLUSH + 1)
        assert client.connection.tcp.aborted


class TestTerminal:
    """A shell with a terminal."""

    def start(self, port: Port, **keywords: Any) -> tuple[Client, int]:
        client = port.client().log_in()
        channel = client.open(**keywords)
        size = number(40) + number(10) + number(0) + number(0)
        assert client.ask(channel, b"pty-req", NS(b"xterm") + size + NS(b"\0")) == 99
        assert client.ask(channel, b"shell") == 99
        return client, channel

    def test_a_line(self, port: Port) -> None:
        """What is typed is echoed and done; Ctrl-D ends it."""
        client, channel = self.start(port)
        assert client.data() == "\x1b[?2004hWelcome to Iridium! Let's be productive!\r\n>>> "
        assert client.type(channel, "prti $0") == "prti $0"
        assert client.type(channel, "\r") == "\r\n0\r\n>>> "
        client.type(channel, b"\x04")
        assert not port.factory.sessions or next(iter(port.factory.sessions)).closing

    def test_resize(self, port: Port) -> None:
        """The peer tells when its window changes."""
        client, channel = self.start(port)
        client.type(channel, "x" * 50)
        size = number(80) + number(10) + number(0) + number(0)
        client.say(98, number(channel) + NS(b"window-change") + b"\0" + size)
        client.type(channel, "y")

    def test_typing_while_nothing_is_read(self, port: Port) -> None:
        """Echoes do not heap up for who does not read; Ctrl-C acts all the same; what was typed is not lost."""
        client, channel = self.start(port, window=5000)
        client.take()
        client.type(channel, FLOOD.replace("\n", "\r"))
        client.connection.wait(1)
        server_channel = client.connection.server.service.channels[channel]
        assert next(iter(port.factory.sessions)).paused
        before = len(server_channel.buf)
        for _ in range(60):
            client.type(channel, b"\x1b[D" * 300 + b"x")
        assert len(server_channel.buf) == before
        client.type(channel, b"\x03")
        assert port.node.scheduler.running == 0
        client.type(channel, b"prti $1\r")
        said = b"".join(p[8:] for _, p in client.say(93, number(channel) + number(10_000_000))).decode()
        for _ in range(10):
            client.connection.wait(1)
            client.pump()
            said += client.data()
        assert said.endswith("65\r\n>>> ")
        assert server_channel.reads


def test_the_file_is_looked_at_once_it_may_have_changed(tmp_path: Path) -> None:
    """The descriptor of the file is closed after each look."""
    port = Port(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        port.factory.keys.find(b"x")
    assert len(os.listdir("/proc/self/fd")) == before
