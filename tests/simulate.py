"""The simulation campaign: random clusters, random faults, and what must hold whatever happens.

    python -m tests.simulate --runs 100 --seed 1

Each seed is one cluster of 3 to 50 nodes and one story of joins, leaves, crashes, restarts (also elsewhere, also
without their data), partitions (also one way only), loss, pauses, duplicate names and clocks that jump, while
the nodes send each other mail. With ``--secrets`` the members know a secret, which changes node by node while
they run; some miss a step, or come back with a wrong one; and strangers that know none, another, or one that was
dropped try to get in. Then every fault ends, and within :data:`SETTLE` seconds there must be one mesh. A seed
that fails is printed with the command that repeats the shortest beginning of its story that fails too, and that
story.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable

from iridium.cluster.peer import Peer
from iridium.cluster.refusals import FINAL, RefusedError
from iridium.cluster.secret import Secrets
from iridium.cluster.table import MOST_RECORDS
from iridium.limits import DEFAULTS
from iridium.testing import JoinResult, Network, SimulatedNode
from tests.letters import Letters
from tests.rotation import Rotation, shares

SETTLE = 60.0
"""Seconds after the last fault until all is well: the longest pause between dials, and the dial, with room."""

MOST_NODES = 50

SHOWN = 30
"""Lines of a failed story that are printed."""

MOST_STRANGERS = 3
"""Nodes without the secret that try to get in."""

MOST_FAULTS = 40
"""Things that happen in a story."""

SHORTENING = 60.0
"""Seconds of real time that the search for a shorter story that fails too may take."""


class Broken(AssertionError):  # noqa: N818 - it is what an assertion says
    """Something that must hold does not."""


class Story:
    """One seed: a network, its nodes, and what happens to them.

    Args:
        seed: decides everything.
        most: the most nodes.
        faults: end the story after so many of them.
        secrets: whether its nodes know a secret, and strangers do not.
    """

    def __init__(
        self, seed: int, most: int = MOST_NODES, faults: int = MOST_FAULTS, *, secrets: bool = False
    ) -> None:
        self.chance = random.Random(f"story {seed}")
        self.network = Network(seed, slowest=self.chance.choice([0.001, 0.01, 0.1]))
        self.network.loss = self.chance.choice([0.0, 0.0, 0.02, 0.1])
        self.letters = Letters(self.network)
        self.lines: list[str] = []
        self.joins: dict[SimulatedNode, JoinResult] = {}
        self.refusals: dict[SimulatedNode, RefusedError] = {}
        self.down_since: dict[tuple[SimulatedNode, SimulatedNode], float] = {}
        self.names = 0
        self.most = most
        self.faults = faults
        self.strangers: list[SimulatedNode] = []
        self.rotation: Rotation | None = None
        if secrets:
            self.rotation = Rotation(self.network, self.chance, self.tell, lambda node: node not in self.strangers)
        self.happened = 0
        count = min(most, self.chance.choice([3, 4, 5, 8, 12, 20, 50]))
        for _ in range(count):
            self.newcomer()
        self.actions: list[tuple[int, Callable[[], None]]] = [
            (2, self.newcomer),
            (1, self.namesake),
            (2, self.leave),
            (2, self.return_),
            (3, self.crash),
            (4, self.restart),
            (3, self.cut),
            (2, self.block),
            (1, self.island),
            (2, self.heal),
            (2, self.freeze),
            (3, self.thaw),
            (1, self.step_clock),
            (8, self.mail),
        ]
        if secrets:
            self.actions += [(3, self.stranger), (5, self.change_secret), (2, self.mistake), (2, self.mend)]
            self.stranger()

    # --- who there is ---

    def alive(self) -> list[SimulatedNode]:
        """The processes that run, frozen ones included."""
        return [node for node in self.network.nodes if node.alive and node not in self.strangers]

    def running(self) -> list[SimulatedNode]:
        """Those that can do something."""
        return [node for node in self.alive() if not node.frozen]

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.lines.append(f"{self.network.now:8.2f}  {text}")

    # --- what can happen ---

    def newcomer(self, alias: str | None = None) -> None:
        """A new node joins through any other."""
        if len(self.alive()) >= self.most:
            return
        self.names += 1
        secrets = self.rotation and self.rotation.current
        node = self.network.node(f"n{self.names}" if alias is None else alias, secrets=secrets)
        if self.rotation:
            self.rotation.started(node)
        self.letters.attach(node)
        self.tell(f"{node} {node.me.id[:8]} starts")
        self.keep_joining(node)

    def namesake(self) -> None:
        """A new node comes with the name of another."""
        self.newcomer(self.chance.choice(self.network.nodes).me.alias)

    def stranger(self) -> None:
        """Somebody who knows no secret, or another, or one that was good once, wants in."""
        assert self.rotation is not None
        if len(self.strangers) < MOST_STRANGERS:
            retired = self.rotation.retired()
            which = "a retired" if retired else "another" if self.chance.random() < 0.7 else "no"
            secrets = None if which == "no" else Secrets([retired or self.rotation.new()])
            node = self.network.node(f"stranger{len(self.strangers) + 1}", secrets=secrets)
            self.strangers.append(node)
            self.tell(f"{node} starts, with {which} secret")
            self.knock(node)

    def knock(self, node: SimulatedNode) -> None:
        """A stranger tries, and tries again."""
        others = self.running()
        if others:
            self.network.join(node, self.chance.choice(others))
        self.network.later(2.0, lambda: self.knock(node))

    def change_secret(self) -> None:
        """The nodes go one step on the way to another secret."""
        assert self.rotation is not None
        self.rotation.step()

    def mistake(self) -> None:
        """A node that is gone comes back with a secret that is wrong."""
        assert self.rotation is not None
        nodes = self.dead()
        if nodes:
            node = self.chance.choice(nodes)
            self.rotation.spoil(node)
            self.start_again(node, elsewhere=False, amnesia=False)

    def mend(self) -> None:
        """A node whose secret is not the one that it should have gets that."""
        assert self.rotation is not None
        current = self.rotation.current
        nodes = [node for node in self.alive() if node.machine.proving.secrets != current]
        if nodes:
            self.rotation.mend(self.chance.choice(nodes))

    def keep_joining(self, node: SimulatedNode) -> None:
        """Join through somebody, and try again until it works or cannot."""
        if not node.alive or node.me.left:
            return
        others = [other for other in self.largest_island() if other is not node]
        if node.frozen or not others:
            self.network.later(1.0, lambda: self.keep_joining(node))
            return
        result = self.joins[node] = self.network.join(node, self.chance.choice(others))
        self.network.later(1.0, lambda: self.look_after(node, result))

    def look_after(self, node: SimulatedNode, result: JoinResult) -> None:
        """See what became of a join."""
        if isinstance(result.error, RefusedError):
            self.refusals[node] = result.error
            # What is not allowed today may be so with the next file, for which somebody who joins tries again.
            if result.error.reason in FINAL and not (self.rotation and result.error.reason == "NOT_ALLOWED"):
                return
        if result.error is not None and not node.linked():
            self.keep_joining(node)
        elif not result.done and result.error is None:
            self.network.later(1.0, lambda: self.look_after(node, result))

    def leave(self) -> None:
        """A node leaves, if it is not the last."""
        nodes = [node for node in self.running() if not node.me.left]
        if len(nodes) > 2:
            node = self.chance.choice(nodes)
            self.tell(f"{node} leaves")
            node.machine.say_leave()
            self.network.later(2.0, lambda: node.happen(lambda: node.me.left and node.machine.part()))

    def return_(self) -> None:
        """A node that left joins again."""
        nodes = [node for node in self.running() if node.me.left]
        if nodes:
            node = self.chance.choice(nodes)
            self.tell(f"{node} joins again")
            node.machine.part()
            node.machine.rejoin(node.me.incarnation + 1)
            self.keep_joining(node)

    def crash(self) -> None:
        """A process, or its whole host, is gone."""
        nodes = self.alive()
        if len(nodes) > 2:
            node = self.chance.choice(nodes)
            silently = self.chance.random() < 0.3
            self.tell(f"{node} crashes{' silently' if silently else ''}")
            self.network.crash(node, silently=silently)

    def restart(self) -> None:
        """A crashed node comes back, perhaps elsewhere, perhaps without its data."""
        nodes = self.dead()
        if nodes:
            node = self.chance.choice(nodes)
            elsewhere, amnesia = self.chance.random() < 0.3, self.chance.random() < 0.2
            self.start_again(node, elsewhere=elsewhere, amnesia=amnesia)

    def dead(self) -> list[SimulatedNode]:
        """Those that could start again."""
        if len(self.alive()) >= self.most:
            return []
        latest = {node.me.id: node for node in self.network.nodes}
        taken = {node.address for node in self.alive()}
        return [node for node in latest.values() if not node.alive and node.address not in taken]

    def start_again(self, node: SimulatedNode, *, elsewhere: bool, amnesia: bool) -> None:
        """A crashed node comes back."""
        self.network.light(node)
        if self.rotation:
            self.rotation.before_restart(node, amnesia=amnesia)
        again = self.network.restart(node, elsewhere=elsewhere, amnesia=amnesia)
        if self.rotation:
            self.rotation.restarted(again)
        self.letters.attach(again)
        self.tell(f"{node} restarts at {again.address}{' without its data' if amnesia else ''}")
        if not again.me.left:
            self.keep_joining(again)

    def pair(self) -> tuple[SimulatedNode, SimulatedNode]:
        """Two different nodes."""
        a, b = self.chance.sample(self.alive(), 2)
        return a, b

    def cut(self) -> None:
        """The connections between two nodes are cut, once."""
        a, b = self.pair()
        self.tell(f"the link of {a} and {b} is cut")
        self.network.sever(a, b)

    def block(self) -> None:
        """Nothing passes between two nodes, in one direction or both."""
        a, b = self.pair()
        self.network.block(a, b)
        if self.chance.random() < 0.5:
            self.network.block(b, a)
        self.tell(f"{a} cannot reach {b}")

    def island(self) -> None:
        """Some nodes are cut off from all others."""
        nodes = self.alive()
        some = self.chance.sample(nodes, self.chance.randint(1, len(nodes) // 2))
        self.tell(f"{some} are an island")
        for a in some:
            for b in nodes:
                if b not in some:
                    self.network.block(a, b)
                    self.network.block(b, a)

    def heal(self) -> None:
        """Every way is open again."""
        self.tell("every way is open")
        self.network.unblock()

    def freeze(self) -> None:
        """A process is stopped."""
        nodes = self.running()
        if len(nodes) > 2:
            node = self.chance.choice(nodes)
            self.tell(f"{node} is frozen")
            self.network.freeze(node)

    def thaw(self) -> None:
        """A stopped process goes on."""
        nodes = [node for node in self.alive() if node.frozen]
        if nodes:
            node = self.chance.choice(nodes)
            self.tell(f"{node} goes on")
            self.network.thaw(node)

    def step_clock(self) -> None:
        """The wall clock jumps."""
        self.network.wall += self.chance.choice([-3600.0, 3600.0])

    def mail(self) -> None:
        """Some nodes write to others, perhaps just before one of them is gone."""
        self.letters.send_some(self.chance, self.running())

    # --- what must hold ---

    def tell_all(self) -> None:
        """Live the story: faults, then quiet, then one mesh.

        Raises:
            Broken: something does not hold.
        """
        weights = [weight for weight, _ in self.actions]
        for _ in range(min(self.faults, self.chance.randint(5, MOST_FAULTS))):
            self.happened += 1
            self.network.run(self.chance.choice([0.0, 0.05, 0.5, 3.0, 8.0]))
            self.watch()
            self.chance.choices(self.actions, weights)[0][1]()
        self.network.unblock()
        self.network.loss = 0.0
        for node in self.alive():
            if node.frozen:
                self.network.thaw(node)
        if self.rotation:
            self.rotation.mend_all()
        self.mail()
        self.tell("no more faults")
        if not self.network.run_until(Every(0.25, self.network, self.is_settled), SETTLE):
            raise Broken(self.unsettled() or "not settled")
        self.mail()
        self.network.run(5.0)
        problem = self.unsettled() or self.letters.problem() or self.letters.unsettled()
        if problem:
            raise Broken(f"settled, and then: {problem}")
        self.bounded()

    def watch(self) -> None:
        """What must hold at every moment, whatever is going on.

        Raises:
            Broken: it does not.
        """
        for node in self.running():
            self.one_link_a_pair(node)
            self.queues(node)
        self.nobody_alive_is_down()
        self.strangers_are_outside()
        self.the_wrong_are_outside()
        self.an_orderly_change_costs_nothing()

    def one_link_a_pair(self, node: SimulatedNode) -> None:
        """Every ready link of a node is the one that it holds to that peer."""
        for link in node.pipes:
            if link.open:
                peer = link.owner
                if not isinstance(peer, Peer) or peer.link is not link:
                    raise Broken(f"{node} has a second ready link, {link} of {peer}")

    def queues(self, node: SimulatedNode) -> None:
        """Nothing that waits grows without a limit."""
        machine = node.machine
        if len(machine.table.peers) > MOST_RECORDS or len(node.backlog) > 10_000:
            raise Broken(f"{node} has too much of something")
        if any(link.queued > 100_000 for link in node.pipes):
            raise Broken(f"{node} has a queue that does not shrink")

    def nobody_alive_is_down(self) -> None:
        """A node that runs, and that a member hears from, is not held to be down longer than settling takes."""
        running = self.running()
        for observer in running:
            for subject in running:
                peer = observer.machine.table.peers.get(subject.me.id)
                wrong = (
                    peer is not None
                    and peer.state == "down"
                    and peer.record.incarnation == subject.me.incarnation
                    and (self.meet(observer, subject) or self.hears_of(observer, subject, running))
                )
                if not wrong:
                    self.down_since.pop((observer, subject), None)
                elif self.network.now - self.down_since.setdefault((observer, subject), self.network.now) > SETTLE:
                    raise Broken(f"{observer} has held {subject} to be down for over {SETTLE:g} s")
        if problem := self.letters.problem():
            raise Broken(problem)

    def strangers_are_outside(self) -> None:
        """Who does not know the secret knows nobody, and nobody knows it."""
        outside = {node.me.id for node in self.strangers}
        for node in self.network.nodes:
            known = node.machine.table.peers.keys()
            if known & outside or (known and node in self.strangers):
                raise Broken(f"{node} knows {list(known)}, across the secret")

    def the_wrong_are_outside(self) -> None:
        """A node that came back with a wrong secret has no link, and others see that it is gone."""
        for node, since in self.rotation.wrong.items() if self.rotation else ():
            if not node.alive:
                continue
            if node.linked():
                raise Broken(f"{node} has a wrong secret and is linked to {node.linked()}")
            for other in self.running():
                peer = other.machine.table.peers.get(node.me.id)
                is_up = peer is not None and peer.state == "up" and other not in self.rotation.wrong
                if is_up and self.network.now - since > SETTLE:
                    raise Broken(f"{other} has {node} up, which has a wrong secret since {since:.2f}")

    def an_orderly_change_costs_nothing(self) -> None:
        """As long as every node is given every step in time, no member refuses another for its secret."""
        if self.rotation is None or not self.rotation.orderly:
            return
        members = self.rotation.members()
        names = {name for node in members for name in (node.me.id, node.me.alias)}
        names -= {node.me.alias for node in self.strangers}  # which a newcomer may have, too
        for node in members:
            for kind, subject, detail in node.log:
                if kind == "refused" and subject in names and "NOT_ALLOWED" in detail:
                    raise Broken(f"{node} refused {subject} in an orderly change: {detail}")

    def meet(self, a: SimulatedNode, b: SimulatedNode) -> bool:
        """Whether nothing is between two nodes."""
        ways = self.network.reaches(a, b) and self.network.reaches(b, a)
        return ways and (self.rotation is None or shares(a, b))

    def hears_of(self, observer: SimulatedNode, subject: SimulatedNode, running: list[SimulatedNode]) -> bool:
        """Whether a member that the observer is linked to is linked to the subject."""
        return any(
            linked(observer, third)
            and linked(third, subject)
            and self.meet(observer, third)
            and self.meet(third, subject)
            for third in running
            if third not in (observer, subject)
        )

    def members(self) -> list[SimulatedNode]:
        """Those that should be in the mesh: they run, have not left, and were not refused for good."""
        return [n for n in self.alive() if not n.me.left and not self.refused(n)]

    def refused(self, node: SimulatedNode) -> bool:
        """Whether a node is outside because of its name, which a live member holds, or because it is a copy."""
        refusal = self.refusals.get(node)
        return refusal is not None and refusal.reason == "NAME_IN_USE" and not node.machine.table.peers

    def islands(self) -> list[list[SimulatedNode]]:
        """The members in groups that know of each other, in whatever way; the largest last.

        Two groups that nobody ever introduced to each other cannot become one mesh.
        """
        groups: list[list[SimulatedNode]] = []
        for node in self.members():
            met = [group for group in groups if any(knows(node, x) or knows(x, node) for x in group)]
            groups = [group for group in groups if group not in met]
            groups.append([*(member for group in met for member in group), node])
        return sorted(groups, key=len)

    def largest_island(self) -> list[SimulatedNode]:
        """Whom a newcomer may join through."""
        islands = self.islands()
        return islands[-1] if islands else []

    def is_settled(self) -> bool:
        """Whether all is well."""
        return not self.unsettled()

    def unsettled(self) -> str:
        """What is not well, or nothing."""
        return "; ".join(filter(None, map(self.unsettled_island, self.islands())))

    def unsettled_island(self, members: list[SimulatedNode]) -> str:
        """What is not well among nodes that know of each other, or nothing."""
        links: dict[tuple[str, str], str] = {}
        for node in members:
            table = node.machine.table
            for other in members:
                if other is node:
                    continue
                peer = table.peers.get(other.me.id)
                if peer is None:
                    return f"{node} does not know {other}"
                if peer.state != "up" or peer.open_link is None:
                    return f"{node} has {other} {peer.state}, {peer.link}"
                links[node.me.id, other.me.id] = peer.open_link.id
            for peer in table.peers.values():
                if peer.state == "up" and not any(m.me.id == peer.id for m in members):
                    return f"{node} has {peer.record.alias} {peer.id[:8]} up, which is not there"
        for (a, b), link in links.items():
            if links[b, a] != link:
                return f"two links between {a[:8]} and {b[:8]}"
        names = {tuple(sorted((m.me.id, n.machine.table.alias_of(m.me.id)) for m in members)) for n in members}
        if len(names) > 1:
            return f"names differ: {names}"
        return ""

    def bounded(self) -> None:
        """Nothing is left over: no join, no question, no handshake, no queue."""
        self.watch()
        for node in self.members():
            machine = node.machine
            if machine.dialler.joins:
                raise Broken(f"{node} still joins")
            late = self.network.now - 1.0
            if any(deadline < late for _, deadline, _ in machine.questions._open.values()):
                raise Broken(f"{node} still waits for an answer")
            if any(self.network.now - link.began > 2 * DEFAULTS.handshake for link in machine.handshakes):
                raise Broken(f"{node} still waits for the end of a handshake")
        for node, result in self.joins.items():
            if (
                node.alive
                and not node.me.left
                and not self.refused(node)
                and not (result.done or result.error or result.join.over)
            ):
                raise Broken(f"a join of {node} never ended")


def knows(a: SimulatedNode, b: SimulatedNode) -> bool:
    """Whether a knows b as a member; one that has left it would not call."""
    peer = a.machine.table.peers.get(b.me.id)
    return peer is not None and not peer.record.left


def linked(a: SimulatedNode, b: SimulatedNode) -> bool:
    """Whether a holds a ready link to b."""
    peer = a.machine.table.peers.get(b.me.id)
    return peer is not None and peer.open_link is not None


class Every:
    """A condition that is looked at only so often, since looking is not free."""

    def __init__(self, period: float, network: Network, condition: Callable[[], bool]) -> None:
        self.period = period
        self.network = network
        self.condition = condition
        self.next = 0.0

    def __call__(self) -> bool:
        if self.network.now < self.next:
            return False
        self.next = self.network.now + self.period
        return self.condition()


def live(
    seed: int, most: int = MOST_NODES, faults: int = MOST_FAULTS, *, secrets: bool = False
) -> tuple[Story, Exception | None]:
    """Live one seed; its story, and what broke."""
    story = Story(seed, most, faults, secrets=secrets)
    try:
        story.tell_all()
    except Exception as error:  # whatever it is: the campaign goes on, and says how to repeat it
        return story, error
    return story, None


def shortest(story: Story, error: Exception, seed: int) -> tuple[Story, Exception]:
    """The story of a seed with the fewest faults that still fails, as far as that is found in time."""
    end = time.monotonic() + SHORTENING
    for faults in range(story.happened):
        if time.monotonic() > end:
            break
        shorter, problem = live(seed, story.most, faults, secrets=story.rotation is not None)
        if problem is not None:
            return shorter, problem
    return story, error


def run(seed: int, most: int = MOST_NODES, faults: int = MOST_FAULTS, *, secrets: bool = False) -> str:
    """Live one seed.

    Returns:
        What broke, with the command that repeats it and its story; or nothing.
    """
    story, problem = live(seed, most, faults, secrets=secrets)
    if problem is None:
        return ""
    of = story.happened
    story, problem = shortest(story, problem, seed)
    again = f"python -m tests.simulate --runs 1 --seed {seed} --nodes {most} --faults {story.happened}"
    again += " --secrets" if secrets else ""
    where = "".join(traceback.format_exception(problem)[-2:]).rstrip()
    nodes = [f"{node} {node.me.id[:8]} {node.address}: {node.log[-3:]}" for node in story.members()[:8]]
    told = [
        f"seed {seed} fails, with {story.happened} of its {of} faults; again with: {again}",
        *story.lines[-SHOWN:],
        f"{story.network.now:8.2f}  {type(problem).__name__}: {problem}",
        *([] if isinstance(problem, Broken) else [where]),
        *nodes,
    ]
    return "\n".join(told)


def main() -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--nodes", type=int, default=MOST_NODES, help="the most nodes")
    parser.add_argument("--faults", type=int, default=MOST_FAULTS, help="end each story after so many")
    parser.add_argument("--secrets", action="store_true", help="a cluster with a secret, and strangers without")
    options = parser.parse_args()
    start = time.monotonic()
    failures = 0
    for seed in range(options.seed, options.seed + options.runs):
        problem = run(seed, options.nodes, options.faults, secrets=options.secrets)
        if problem:
            failures += 1
            print(problem, flush=True)
    print(f"{options.runs} seeds, {failures} failed, {time.monotonic() - start:.0f} s")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
