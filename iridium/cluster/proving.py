"""Proving the cluster's secret: nothing else is told to a peer, or believed of it, before both have done so.

The dialler's first hello says no more than its id and a nonce; the acceptor answers with its own and with its
proof; the dialler checks that, and only then sends its proof and says what it wants. A node without a secret knows
nothing of this, and cannot be linked to one that has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iridium.cluster import messages as m
from iridium.cluster.link import Link
from iridium.cluster.peer import Dial, Peer
from iridium.cluster.refusals import REMEDIES
from iridium.cluster.secret import NONCE_BITS, Exchange, Secrets

if TYPE_CHECKING:
    from iridium.cluster.membership import Membership

SAID_UNPROVED = frozenset({"VERSION", "NOT_ALLOWED"})
"""Refusals that are believed before there is a proof: they only end this dial."""


class Proving:
    """The part of the membership machine that proves the secret, and has it proved.

    Args:
        membership: the rest of it.
        secrets: what the node accepts; None lets anybody in.

    Attributes:
        secrets: as given; another may be set at any time, for the links to come.
    """

    def __init__(self, membership: Membership, secrets: Secrets | None) -> None:
        self._membership = membership
        self.secrets = secrets

    # --- the dialler ---

    def first_hello(self, dial: Dial) -> m.Hello:
        """What is said to an acceptor that has not proved anything."""
        me = self._membership.me
        return m.Hello(m.version_text(), "", me.id, 0, nonce=dial.nonce, auth="secret")

    def challenged(self, link: Link, challenge: m.Challenge) -> None:
        """The acceptor says that it knows the secret, and asks for the same."""
        dial = link.owner
        assert isinstance(dial, Dial)
        if not m.is_understood(challenge.version):
            detail = f"{dial.address} speaks version {challenge.version}"
            self._membership.dialler.refused(dial, m.Refuse("VERSION", detail))
            return
        exchange = Exchange(
            dialler=self._membership.me.id,
            acceptor=challenge.id,
            dialler_nonce=dial.nonce,
            acceptor_nonce=challenge.nonce,
            dialler_version=m.version_text(),
            acceptor_version=challenge.version,
            binding=link.binding,
        )
        proven = self.secrets.proven(challenge.mac, "acceptor", exchange) if self.secrets else None
        if proven is None:
            link.refuse("NOT_ALLOWED", "your proof of the secret is wrong")
            detail = f"{dial.address} does not know this cluster's secret"
            self._membership.dialler.refused(dial, m.Refuse("NOT_ALLOWED", detail))
            return
        if challenge.id == self._membership.me.id:
            # Ours, come back: whoever brought it may not know the secret, so it is told nothing more.
            link.close()
            self._membership.dialler.refused(dial, self._own_id_at(dial.address, challenge.nonce))
            return
        link.exchange = exchange
        link.proved = True
        # With the secret that the acceptor used: that one it knows for sure, while the cluster changes to another.
        link.send(m.Proof(proven.proof("dialler", exchange)), self._membership.dialler.hello(dial, challenge.id))

    def _own_id_at(self, address: str, nonce: str) -> m.Refuse:
        """Why a challenge in this node's own name is not answered: it called itself, or has a double."""
        me = self._membership.me
        asked = (link.exchange.acceptor_nonce for link in self._membership.handshakes if link.exchange is not None)
        if nonce in asked:
            return m.Refuse("SELF", f"{address} is this node", REMEDIES["SELF"])
        return m.Refuse(
            "ID_IN_USE", f"the node at {address} has this node's own id, {me.id}", REMEDIES["ID_IN_USE"]
        )

    def speaks_for(self, link: Link | None, peer: Peer) -> bool:
        """Whether what is said on the link of a dial is said by that peer, as far as a secret can tell."""
        return link is None or link.exchange is None or link.exchange.acceptor == peer.id

    def judged(self, link: Link, address: str, refuse: m.Refuse) -> m.Refuse:
        """What a refusal is worth: one without a proof may come from anybody who sits at an address."""
        if self.secrets is None or link.proved or refuse.reason in SAID_UNPROVED:
            return refuse
        return m.Refuse("NOT_ALLOWED", f"{address} says {refuse.reason}, and has not proved the secret")

    def refusal_of_welcome(self, link: Link, address: str, welcome: m.Welcome) -> m.Refuse | None:
        """Why a welcome is not believed, or None.

        Raises:
            MessageError: it comes from another node than the one that proved the secret.
        """
        if link.closed:  # it came instead of a challenge
            return m.Refuse("NOT_ALLOWED", f"{address} has no secret, this node has one")
        if link.exchange is not None and welcome.id != link.exchange.acceptor:
            raise m.MessageError("the welcome behind a proof names another node")
        return None

    # --- the acceptor ---

    def refusal_of_hello(self, link: Link, hello: m.Hello) -> tuple[str, str] | None:
        """Why a hello is not even asked for a proof, or None.

        Raises:
            MessageError: it comes from another node than the one that proved the secret.
        """
        if self.secrets is None:
            if hello.auth != "none":
                return "NOT_ALLOWED", "you offer to prove a secret; this node has none"
        elif hello.auth != "secret":
            return "NOT_ALLOWED", "this node wants the cluster's secret proved; you have none"
        elif link.exchange is not None and hello.id != link.exchange.dialler:
            raise m.MessageError("the hello behind a proof names another node")
        return None

    def wants_proof(self, link: Link) -> bool:
        """Whether a hello is to be answered with a challenge."""
        return self.secrets is not None and not link.proved

    def challenge(self, link: Link, hello: m.Hello) -> None:
        """Prove the secret to who said hello, and ask for the same."""
        assert self.secrets is not None
        exchange = Exchange(
            dialler=hello.id,
            acceptor=self._membership.me.id,
            dialler_nonce=hello.nonce,
            acceptor_nonce=f"{self._membership.random.getrandbits(NONCE_BITS):032x}",
            dialler_version=hello.version,
            acceptor_version=m.version_text(),
            binding=link.binding,
        )
        link.challenge(exchange, self.secrets.proof("acceptor", exchange))

    def proves(self, link: Link, proof: m.Proof) -> bool:
        """Whether a proof is right."""
        assert link.exchange is not None
        link.proved = bool(self.secrets and self.secrets.proven(proof.mac, "dialler", link.exchange))
        return link.proved
