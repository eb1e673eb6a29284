"""Mail between the nodes of a simulated network, and what must hold of it whatever happens to them.

Each payload says which process sent it, in which of its sessions, to which life of the receiver, and its number
there.
"""

from __future__ import annotations

import random
import struct

from iridium.cluster.link import Link
from iridium.cluster.messages import Hello
from iridium.cluster.post import ACK_AFTER
from iridium.cluster.session import MOST_WAITING
from iridium.cluster.streams import MOST_BULK_BYTES
from iridium.testing import Network, SimulatedNode

HEAD = struct.Struct("<IIQIB")
"""Sender, session of the sender, life of the receiver, number in that session and stream, stream."""

STREAMS = 3

SLACK = 10.0
"""Seconds between the two ends' views of when a session began."""


class Letters:
    """Everything that is sent and received in a network.

    Args:
        network: whose.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[SimulatedNode] = []
        self.problems: list[str] = []
        # The latest session of a process with a peer: its number for this book, when it began, whether it lasts.
        self.sessions: dict[tuple[int, str], list[float]] = {}
        self.count = 0
        self.lost: list[tuple[SimulatedNode, str, str]] = []
        self.sent: dict[tuple[int, int], int] = {}
        self.got: dict[tuple[int, int, int], list[int]] = {}
        self.began: dict[tuple[str, str, int], float] = {}  # when a session was first offered
        self.verdicts: dict[tuple[str, str], float] = {}

    def attach(self, node: SimulatedNode) -> None:
        """Watch a node's mail from now on."""
        index = len(self.nodes)
        self.nodes.append(node)
        post = node.machine.post
        post.on_session = lambda id: self._began(index, id)
        post.on_lost = lambda id, reason: self._ended(index, id, reason)
        post.on_mail = lambda id, kind, data: self._arrived(index, id, data)
        end = post.end

        def judged(id: str, reason: str) -> None:
            self.verdicts[node.me.id, id] = self.network.now
            end(id, reason)

        answer = post.answer

        def answered(link: Link, hello: Hello) -> tuple[int, int | None]:
            number, received = answer(link, hello)
            self._offered(node.me.id, hello.id, number)
            return number, received

        post.end = judged  # type: ignore[method-assign]
        post.answer = answered  # type: ignore[method-assign]

    def _began(self, index: int, id: str) -> None:
        if self.sessions.get((index, id), [0, 0, 0])[2]:
            self.problems.append(f"{self.nodes[index]}: two sessions with {id[:8]}")
        self.count += 1
        began = self._offered(self.nodes[index].me.id, id, self.nodes[index].machine.post.sessions()[id])
        self.sessions[index, id] = [self.count, began, 1]

    def _offered(self, a: str, b: str, number: int) -> float:
        return self.began.setdefault((min(a, b), max(a, b), number), self.network.now)

    def _ended(self, index: int, id: str, reason: str) -> None:
        node = self.nodes[index]
        self.lost.append((node, id, reason))
        session = self.sessions.get((index, id), [0, 0, 0])
        if not session[2]:
            self.problems.append(f"{node}: {id[:8]} lost twice")
        session[2] = 0
        judged = max(self.verdicts.get((node.me.id, id), -SLACK), self.verdicts.get((id, node.me.id), -SLACK))
        if reason == "down" and judged < session[1] - SLACK:
            self.problems.append(f"{node}: the session with {id[:8]} ended, and nobody was held to be down")

    def _arrived(self, index: int, id: str, data: bytes) -> None:
        node = self.nodes[index]
        sender, session, life, number, stream = HEAD.unpack_from(data)
        if self.nodes[sender].me.id != id or life != node.me.life or not node.alive:
            self.problems.append(f"{node} got what was meant for another life of it")
        got = self.got.setdefault((session, stream, index), [])
        if got and number <= got[-1]:
            self.problems.append(f"{node} got {number} of {self.nodes[sender]} after {got[-1]}")
        got.append(number)

    def send(self, node: SimulatedNode, id: str, size: int, stream: int) -> bool:
        """Send one payload."""
        index = self.nodes.index(node)
        post = node.machine.post
        session = post._session(id)
        book = int(self.sessions.get((index, id), [0, 0, 0])[0])
        number = self.sent.get((book, stream), 0) + 1
        life = session.life if session is not None else 0
        head = HEAD.pack(index, book, life, number, stream)
        if not post.send(id, 1, head + bytes(size), stream):
            return False
        self.sent[book, stream] = number
        return True

    def send_some(self, chance: random.Random, nodes: list[SimulatedNode], most: int = 30) -> None:
        """A few nodes send to some of those they know."""
        for node in chance.sample(nodes, min(4, len(nodes))):
            ids = list(node.machine.post.sessions())
            if not ids:
                continue
            for _ in range(chance.randint(1, most)):
                size = (
                    chance.choice([0, 100, 1000]) if chance.random() < 0.98 else chance.choice([60_000, 300_000])
                )
                self.send(node, chance.choice(ids), size, chance.randrange(STREAMS))

    def problem(self) -> str:
        """What does not hold, or nothing."""
        for node in self.nodes:
            for id in node.machine.post.sessions() if node.alive else ():
                if node.machine.post.waiting(id) > MOST_WAITING + MOST_BULK_BYTES:
                    return f"{node} keeps too much for {id[:8]}"
        return "; ".join(self.problems)

    def unsettled(self) -> str:
        """What has not arrived though it should have, or nothing: look a while after everything is well."""
        where = {node.me.id: at for at, node in enumerate(self.nodes) if node.alive}
        for (index, id), (book, _, lasts) in self.sessions.items():
            node = self.nodes[index]
            if not lasts or not node.alive or id not in where:
                continue
            if node.machine.post.waiting(id):
                return f"{node} has mail for {id[:8]} after all is well for over {ACK_AFTER:g} s"
            for stream in range(STREAMS):
                sent = self.sent.get((int(book), stream), 0)
                got = self.got.get((int(book), stream, where[id]), [])
                if got != list(range(1, sent + 1)):
                    return f"{node} sent {sent} to {id[:8]}, and {len(got)} arrived"
        return ""
