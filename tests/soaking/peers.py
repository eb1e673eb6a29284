"""Nodes that come and go in one process: each a real :class:`iridium.node.Node` with links of its own.

    python -m tests.soaking.peers ROOT ADDRESS ALIAS...

joins the node at an address and goes on until its input ends. What happened is printed at the end, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import deferLater

from iridium.assembler import assemble
from iridium.cluster.rules import split_address
from iridium.errors import IridiumError
from iridium.image import Image
from iridium.node import Node, NodeConfig
from tests.soaking import programs

STAY = (2.0, 15.0)
"""Seconds that a peer is there for."""

AWAY = (0.2, 4.0)
"""Seconds until it comes again."""

PAUSE = (0.3, 3.0)
"""Seconds between two things that it does."""

WAIT = 90.0
"""Seconds that anything may take, on a machine that is as busy as this makes it."""

LARGEST = 200_000
"""Bytes of a message: in many pieces."""


class Peer:
    """One node, in all its lives.

    Args:
        reactor: what it runs on.
        alias: its alias.
        root: where its data is.
        address: of the node that it joins.
        tally: what happened is noted there.
    """

    def __init__(self, reactor: Any, alias: str, root: Path, address: str, tally: Counter[str]) -> None:
        self._reactor = reactor
        self._alias = alias
        self._root = root
        self._contact = split_address(address)
        self._tally = tally
        self._chance = random.Random(alias)
        self._images: dict[str, Image] = {name: assemble(text) for name, text in programs.OURS.items()}
        self.over = False
        self._sleeping: Any = None

    async def live(self) -> None:
        """Come, do this and that, and go, again and again."""
        while not self.over:
            await self._sleep(AWAY)
            node = Node(
                self._reactor,
                NodeConfig(
                    node_alias=self._alias, server_bind_port=0, data_root_dir=self._root, engine="reference"
                ),
            )
            try:
                node.start_cluster()
                node.start()
                await self._be(node)
            finally:
                await node.stop()

    async def _be(self, node: Node) -> None:
        end = self._reactor.seconds() + self._chance.uniform(*STAY)
        while self._reactor.seconds() < end and not self.over:
            if await self._try("join", lambda: node.mesh.join(*self._contact)):
                break
            await self._sleep(PAUSE)
        with node.mailbox() as box:
            box.send(box.pid, 1)
            while self._reactor.seconds() < end and not self.over:
                await self._do(node, box)
                await self._sleep(PAUSE)
        how = self._chance.random()
        if how < 0.4 or self.over:
            await self._try("leave", node.leave)
        elif how < 0.5:
            await self._try("leave and return", node.leave)
            await self._try("join", lambda: node.mesh.join(*self._contact))
        else:
            self._tally["gone without a word"] += 1  # as a crash is: links end, and nobody was told

    async def _do(self, node: Node, box: Any) -> None:
        doing = self._chance.choice(["spawn", "spawn", "bytes", "tell", "view", "list", "find", "many"])
        if doing in ("spawn", "many"):
            name = self._chance.choice(["workers", "crashing", "sleeping", *(["talking"] * (doing == "spawn"))])
            count = 20 if doing == "many" else 1
            await DeferredList([ensureDeferred(self._spawn(node, box, name)) for _ in range(count)])
        elif doing == "bytes":
            await self._bytes(node, box)
        elif doing == "tell":
            await self._try("tell", lambda: node.mesh.tell("*", f"hello from {self._alias}"))
        elif doing == "view":
            await self._try("view", node.mesh.view)
        elif doing == "list":
            await self._try("list", node.courier.ask.list_all)
        else:
            await self._try("find", lambda: node.find("last@main"))

    async def _spawn(self, node: Node, box: Any, name: str) -> None:
        process = await self._try("spawn", lambda: node.spawn(self._images[name], on="main"))
        if process is not None:
            box.monitor(process.pid)
            if self._chance.random() < 0.3:
                process.kill()
            await self._try(f"end of {name}", process.when_done)

    async def _bytes(self, node: Node, box: Any) -> None:
        """Large messages to a process that ends without having read them all."""
        process = await self._try("spawn", lambda: node.spawn(self._images["sleeping"], on="main"))
        if process is not None:
            for _ in range(5):
                box.send(process.pid, bytes(self._chance.randrange(LARGEST)))
            await self._try("end of sleeping", process.when_done)

    async def _try(self, what: str, action: Callable[[], Any]) -> Any:
        """Do something that may fail for want of a node; what came, or None."""
        waiting: Deferred[Any] = maybeDeferred(action)
        waiting.addTimeout(WAIT, self._reactor)
        try:
            result = await waiting
        except IridiumError as error:
            self._tally[f"{what}: {type(error).__name__}"] += 1
            return None
        self._tally[what] += 1
        return result if result is not None else True

    async def _sleep(self, between: tuple[float, float]) -> None:
        if not self.over:
            await deferLater(self._reactor, self._chance.uniform(*between))


class Input(Protocol):
    """Ends everything with the input.

    Args:
        end: what to call then.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def connectionLost(self, reason: Any = None) -> None:
        """Whoever started this is done with it."""
        self._end()


def main() -> None:
    """Be all peers until the input ends."""
    from twisted.internet import reactor
    from twisted.python.log import startLoggingWithObserver, textFromEventDict

    problems: list[str] = []

    def observe(event: Any) -> None:
        if event.get("isError"):
            problems.append(textFromEventDict(event) or "?")

    startLoggingWithObserver(observe, setStdout=False)
    root, address, *aliases = sys.argv[1:]
    tally: Counter[str] = Counter()
    peers = [Peer(reactor, alias, Path(root), address, tally) for alias in aliases]
    lives = DeferredList([ensureDeferred(peer.live()) for peer in peers])

    def end() -> None:
        for peer in peers:
            peer.over = True
        lives.addBoth(stop)

    def stop(results: Any) -> None:
        problems.extend(failure.getTraceback() for fine, failure in results or () if not fine)
        print(json.dumps({"tally": tally, "problems": problems[:10]}), flush=True)
        reactor.stop()  # type: ignore[attr-defined]

    StandardIO(Input(end))
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
