"""The secret of a simulated cluster on its way to others, as people do it: node by node, and not without mistakes.

Each node has a file. A step changes the file of all nodes, one after the other, while whatever else happens
happens: some are missed, some are frozen and reread it when they go on, some are dead and find it when they
start again. A node may come back with a wrong file. Sooner or later everybody has the right one.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from iridium.cluster.secret import Secrets
from iridium.testing import Network, SimulatedNode

SPREAD = 15.0
"""Seconds in which the nodes get their files after a step, in whatever order: faults come between."""

CUTS = 0.4
"""How often a link of a node that has just reread its file is cut, so that another is made between two steps."""

STEPS = ("accept a second secret", "use the second secret", "drop the first")


def shares(one: SimulatedNode, other: SimulatedNode) -> bool:
    """Whether two nodes can make a link: one knows the secret that the other proves as acceptor."""
    a, b = one.machine.proving.secrets, other.machine.proving.secrets
    if a is None or b is None:
        return a is b
    return a.reveal()[0] in b.reveal() or b.reveal()[0] in a.reveal()


class Rotation:
    """The secrets of a cluster, and who has which.

    Args:
        network: where the nodes are.
        chance: what is drawn.
        tell: takes a line for the story.
        is_member: whether a node is no stranger.

    Attributes:
        current: what every node should have.
        files: what the node of an id has, by id.
        wrong: the running nodes that have what they should not, and since when.
        orderly: whether no node was ever more than one step behind, or had a wrong file.
    """

    def __init__(
        self,
        network: Network,
        chance: random.Random,
        tell: Callable[[str], None],
        is_member: Callable[[SimulatedNode], bool],
    ) -> None:
        self._network = network
        self._chance = chance
        self._tell = tell
        self._is_member = is_member
        self._step = 0
        self._until = 0.0
        self._over = False
        self._retired: list[str] = []
        self.current = Secrets([self.new()])
        self.files: dict[str, Secrets] = {}
        self.wrong: dict[SimulatedNode, float] = {}
        self.orderly = True

    def new(self) -> str:
        """A secret that nobody has."""
        return f"{self._chance.getrandbits(256):064x}"

    def members(self) -> list[SimulatedNode]:
        """The latest life of each node."""
        return [*{node.me.id: node for node in self._network.nodes if self._is_member(node)}.values()]

    def started(self, node: SimulatedNode) -> None:
        """A new node has what all should have."""
        self.files[node.me.id] = self.current

    # --- steps ---

    def step(self) -> None:
        """Go one step on the way to another secret; now and then a node or two are missed."""
        if self._network.now < self._until and self._chance.random() < 0.8:
            return  # people finish what they began, mostly
        self._until = self._network.now + SPREAD
        members = self.members()
        if any(self._has(node) != self.current for node in members):
            self.orderly = False
        steps = (self.current.with_new, self.current.turned, self.current.without_old)
        if self._step == 0:
            self.current = self.current.with_new(self.new())
        else:
            if self._step == 2:
                self._retired.append(self.current.reveal()[1])
            self.current = steps[self._step]()
        missed = self._chance.sample(members, self._chance.choice([0, 0, 1, 2]) % (len(members) + 1))
        self._tell(f"nodes {STEPS[self._step]}{f', but {missed} are missed' if missed else ''}")
        self._step = (self._step + 1) % len(STEPS)
        secrets = self.current
        for node in members:
            if node not in missed and node not in self.wrong:
                id = node.me.id
                self._network.later(self._chance.uniform(0, SPREAD), lambda id=id: self._give(id, secrets))

    def _give(self, id: str, secrets: Secrets) -> None:
        """A node gets a file, unless it has a newer one, and rereads it as soon as it can."""
        node = next((node for node in self.members() if node.me.id == id), None)
        if node is None or secrets is not self.current or node in self.wrong:
            return
        self.files[id] = secrets
        node.happen(lambda: self._reread(node))

    def _reread(self, node: SimulatedNode) -> None:
        node.machine.trust(self.files[node.me.id])
        others = [other for other in self.members() if other is not node and other.alive]
        if others and not self._over and self._chance.random() < CUTS:
            self._network.sever(node, self._chance.choice(others))

    def _has(self, node: SimulatedNode) -> Secrets | None:
        """What a node uses, or will when it starts."""
        return node.machine.proving.secrets if node.alive else self.files[node.me.id]

    # --- mistakes ---

    def retired(self) -> str | None:
        """A secret that was dropped, that nobody has any more, and that was not given out yet."""
        held = {secret for node in self.members() for secret in self._held(node)}
        for secret in self._retired:
            if secret not in held:
                self._retired.remove(secret)
                return secret
        return None

    def _held(self, node: SimulatedNode) -> list[str]:
        known = node.machine.proving.secrets
        return [*(known.reveal() if known else ()), *self.files[node.me.id].reveal()]

    def spoil(self, node: SimulatedNode) -> None:
        """A dead node's file becomes a wrong one, or one that was right long ago."""
        self.orderly = False
        secret = self.retired()
        self.files[node.me.id] = Secrets([secret or self.new()])
        self._tell(f"{node} gets {'a retired' if secret else 'a wrong'} secret while it is away")

    def before_restart(self, node: SimulatedNode, *, amnesia: bool) -> None:
        """A dead node is about to start, with the file that it has; without its data it is given the right one."""
        node.machine.proving.secrets = self.current if amnesia else self.files[node.me.id]

    def restarted(self, node: SimulatedNode) -> None:
        """It runs again."""
        known = self.files.setdefault(node.me.id, self.current)
        if not set(known.reveal()) & set(self.current.reveal()):
            self.wrong[node] = self._network.now
            self.orderly = False

    def mend(self, node: SimulatedNode) -> None:
        """A node gets the right file, whatever it has."""
        self._tell(f"{node} gets the right secret")
        self._mend(node)

    def _mend(self, node: SimulatedNode) -> None:
        self.wrong.pop(node, None)
        self._give(node.me.id, self.current)

    def mend_all(self) -> None:
        """Everybody gets the right file, and nothing more happens."""
        self._over = True
        for node in self.members():
            self._mend(node)
