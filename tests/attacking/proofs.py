"""Attacks on the proof of the secret, by somebody who has seen one or sits between two who know it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable

from iridium.cluster.link import Role
from iridium.cluster.secret import new_secret
from tests.attacking.cases import case
from tests.attacking.field import Field
from tests.attacking.wire import NONCE, Caller, Target, line, outcomes


@case(short=True)
def replayed_and_reflected_proofs(field: Field) -> str:
    """Says again what a member said, back what the node said, and each with other fields: none is believed."""
    member = Caller(field.target)
    assert member.ask(), member.ended
    old = member.mac()
    member.close()
    ended = []
    wrong: list[Callable[[Caller], str]] = [
        lambda caller: old,
        lambda caller: str(caller.told["mac"]),
        lambda caller: caller.mac("acceptor"),
        lambda caller: "",
        lambda caller: caller.mac()[:-1],
        lambda caller: caller.mac().upper(),
        lambda caller: caller.mac()[:63] + "\u0665",
    ]
    for mac in wrong:
        caller = Caller(field.target)
        assert caller.ask(), caller.ended
        caller.send(line(type="proof", mac=mac(caller)) + caller.whole())
        ended.append(caller.outcome())
    for end in ended:
        assert "NOT_ALLOWED" in end, ended
    caller = Caller(field.target)
    assert caller.ask(), caller.ended
    caller.send(line(type="proof", mac=caller.mac()) + caller.whole(id="aaaaaaaa-0000-4000-8000-000000000002"))
    ended.append(caller.outcome())
    return outcomes(ended)


@case()
def recorded_handshake(field: Field) -> str:
    """Records every byte of a real handshake through a proxy, and plays it to the node: it is not let in."""
    recorded, proxy = record(field.a.cluster)
    member = Caller(field.at(proxy))
    assert member.enter(), (member.ended, member.refusal)
    member.close()
    ended = []
    for _ in range(3):
        again = Caller(Target(field.a.cluster), greet=False)
        again.socket.settimeout(8.0)
        again.send(bytes(recorded))
        if field.kind == "tls":
            again.socket.settimeout(8.0)
            with contextlib.suppress(OSError):
                while again.socket.recv(65536):
                    pass
            ended.append("hung up")
        else:
            ended.append(again.outcome())
            assert again.refusal == "NOT_ALLOWED", ended
    return outcomes(ended)


def record(port: int) -> tuple[bytearray, int]:
    """A proxy to a port, for one connection; what its caller says, as it comes."""
    recorded = bytearray()
    server = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        with contextlib.suppress(OSError), server:
            caller, node = server.accept()[0], socket.create_connection(("127.0.0.1", port))
            with caller, node:
                threading.Thread(target=_pump, args=(node, caller), daemon=True).start()
                _pump(caller, node, recorded)

    threading.Thread(target=work, daemon=True).start()
    return recorded, server.getsockname()[1]


def _pump(source: socket.socket, target: socket.socket, recorded: bytearray | None = None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if recorded is not None:
                recorded += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@case(short=True)
def wrong_secret_at_speed(field: Field) -> str:
    """Guesses secrets as fast as it goes: each guess is refused, and some of them are told of in the log."""
    count = 0
    for _ in field.lasting():
        guesser = Caller(field.target._replace(secret=new_secret()))
        assert guesser.ask(), guesser.ended
        guesser.send(line(type="proof", mac=guesser.mac()))
        guesser.outcome()
        assert guesser.refusal == "NOT_ALLOWED", guesser.ended
        count += 1
    return f"{count / field.seconds:.0f} guesses a second, none right"


@case(short=True)
def downgrades(field: Field) -> str:
    """Offers no proof, another kind of proof, an older version, or one that the proof is not about."""
    ended = []
    for changes in (
        {"auth": "none", "cluster": "iridium"},
        {"auth": "none", "cluster": "iridium", "version": "1.0"},
        {"auth": "hmac"},
        {"auth": ""},
        {"version": "0.9"},
        {"version": "2.0"},
        {"version": ""},
        {"version": "one"},
    ):
        caller = Caller(field.target)
        assert not caller.ask(**changes), changes
        ended.append(caller.outcome())
        assert caller.refusal in ("NOT_ALLOWED", "VERSION"), (changes, caller.ended)
    caller = Caller(field.target)
    assert caller.ask(version="1.0"), "another minor version is understood"
    caller.send(line(type="proof", mac=caller.mac()) + caller.whole(version="1.0"))  # a proof about 1.2
    ended.append(caller.outcome())
    assert caller.refusal == "NOT_ALLOWED", caller.ended
    for said in ("proof", "welcome", "ready", "members", "challenge", "ping", "mail", "leave"):
        caller = Caller(field.target)
        fields: dict[str, object] = {"mac": "0" * 64, "n": 1, "ack": 0, "kind": 0, "data": "", "incarnation": 1}
        fields |= {"members": [], "version": "1.2", "id": caller.id, "nonce": NONCE, "cluster": "iridium"}
        caller.send(line(type=said, **fields))
        ended.append(caller.outcome())
    return outcomes(ended)


@case()
def guessed_nonces(field: Field) -> str:
    """Asks for two thousand challenges with one nonce: the node never gives the same nonce or proof twice."""
    nonces = set()
    macs = set()
    for _ in range(int(200 * field.seconds)):
        caller = Caller(field.target)
        assert caller.ask(), caller.ended
        nonces.add(caller.told["nonce"])
        macs.add(caller.told["mac"])
        caller.reset()
    assert len(nonces) == len(macs) == int(200 * field.seconds), "one came twice"
    return f"{len(nonces)} different"


@case()
def man_in_the_middle(field: Field) -> str:
    """Has a node call him, passes what it says to another, and then speaks in its place.

    Without TLS the two prove the secret to each other through him, and he can say what he likes: so
    docs/security.md says. With TLS, which he can make with both since he has a certificate, the proofs are about
    two different channels, and neither is believed.
    """
    victim = field.start("victim")
    relay = Relay(field)
    with field.repl_of(victim) as person:
        person.sendall(f"!join_cluster 127.0.0.1 {relay.port}\r\n".encode())
        relay.over.wait(12.0)
    victim.close()
    if field.kind == "tls":
        assert not relay.passed, "the channel binding does not hold"
        assert "NOT_ALLOWED" in relay.said, relay.said
        return "refused: NOT_ALLOWED"
    assert relay.passed, f"it should work without TLS: {relay.said!r}"
    return "it works without TLS, as documented"


class Relay:
    """Sits between two nodes.

    Attributes:
        port: where it waits for the one.
        passed: whether both took it for the other.
        said: all that passed.
        over: set when it is.
    """

    def __init__(self, field: Field) -> None:
        self._field = field
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.passed = False
        self.said = ""
        self.over = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            with self._server, self._server.accept()[0] as caller:
                self._server.close()  # who calls again finds nobody
                self._pass(_Called(caller, self._field.target), Caller(self._field.target))
        finally:
            self.over.set()

    def _pass(self, caller: Caller, node: Caller) -> None:
        for _ in range(200):
            for one, other in ((caller, node), (node, caller)):
                message = one.hear(0.05)
                if message is not None:
                    self.said += str(message)
                    other.send(line(**message))
                    if message["type"] == "ready" and one is caller:
                        node.send(line(type="text", n=1, text="said by the one between"))
                        self.passed = node.hear_of("answer", 2.0) is not None
                        return
            if caller.ended or node.ended:
                return


class _Called(Caller):
    """A connection that somebody else made, in his TLS if there is any."""

    def __init__(self, connection: socket.socket, target: Target) -> None:
        self._target = target
        self.ended = self.refusal = ""
        self.told = {}
        self._buffer = b""
        self.channel = None
        self.socket = connection
        connection.settimeout(5.0)
        if target.tls is not None:
            self.channel = target.tls.channel(Role.ACCEPTOR)
            while self.channel.peer is None and self._read():
                pass


@case("secret")
def random_bytes(field: Field) -> str:
    """Says random bytes, at every point of a handshake."""
    ended = []
    for _ in range(30):
        for asked in (False, True):
            caller = Caller(field.target)
            if asked:
                assert caller.ask(), caller.ended
            caller.send(secrets.token_bytes(3000) + b"\n")
            ended.append(caller.outcome())
    return outcomes(ended)
