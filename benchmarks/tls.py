"""What TLS costs: processor time of a handshake, both ends, and of a message, beside what a start pays for it.

    python benchmarks/tls.py [--rounds 5] [--json]

In memory, on one thread; the goal of a handshake is what a link may cost in all. Between nodes on real sockets
`benchmarks/remote.py --tls` measures, with TLS and without by turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

from beside import Figure, show
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from iridium.cluster import certificates as c
from iridium.cluster.link import Role
from iridium.cluster.tls import Channel, ClusterTls

HANDSHAKES, MESSAGES = 100, 5_000
"""Of each in one sample."""

SIZES = (100, 1000, 16_384, 131_072)
"""Bytes of a message; the last is what mail writes at once."""

IMPORT = """\
import re, sys, time
block = sys.argv[1] == "without"
if block:
    sys.modules["OpenSSL"] = None
start = time.process_time()
import twisted.internet.reactor
took = time.process_time() - start
print(1e3 * took, int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""
"""What importing the reactor takes, in milliseconds and MiB, with pyOpenSSL and as without it."""


def figures() -> dict[str, Figure]:
    """What is measured, with its goals."""
    wanted = {
        "p256": Figure("handshake with P-256, both ends", "ms of CPU", 10.0, most=True),
        "ed25519": Figure("handshake with Ed25519, both ends", "ms of CPU", most=True),
    }
    for size in SIZES:
        wanted[f"send{size}"] = Figure(f"{size} bytes, sent", "us of CPU", most=True)
        wanted[f"receive{size}"] = Figure(f"{size} bytes, received", "us of CPU", most=True)
    for what in ("with", "without"):
        wanted[f"{what}_ms"] = Figure(f"import of the reactor, {what} pyOpenSSL", "ms of CPU", most=True)
        wanted[f"{what}_mb"] = Figure(f"the same, {what}", "MiB", most=True)
    return wanted


def credentials(key: Any) -> ClusterTls:
    """TLS of a node with a key, of a CA with another of that kind."""
    ca = c.make_ca("benchmark")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    own_hash = isinstance(key, ed25519.Ed25519PrivateKey)
    csr = builder.sign(key, None if own_hash else hashes.SHA256()).public_bytes(Encoding.PEM)
    certificate = x509.load_pem_x509_certificate(c.issue(csr, [], ["127.0.0.1"], ca))
    return ClusterTls([certificate], key, [ca.certificate])


def pair(tls: ClusterTls) -> tuple[Channel, Channel]:
    """Both ends of a connection, whose handshake is over."""
    dialler, acceptor = tls.channel(Role.DIALLER), tls.channel(Role.ACCEPTOR)
    for _ in range(3):
        dialler.receive(acceptor.outgoing())
        acceptor.receive(dialler.outgoing())
    assert dialler.peer is not None
    assert acceptor.peer is not None
    return dialler, acceptor


def sample(wanted: dict[str, Figure], kinds: dict[str, ClusterTls]) -> None:
    """Take one of each figure."""
    for name, tls in kinds.items():
        start = time.process_time()
        for _ in range(HANDSHAKES):
            pair(tls)
        wanted[name].ours.append(1e3 * (time.process_time() - start) / HANDSHAKES)
    dialler, acceptor = pair(kinds["p256"])
    for size in SIZES:
        text = bytes(size)
        count = max(100, MESSAGES * 100 // max(100, size))
        start = time.process_time()
        sent = [dialler.send(text) for _ in range(count)]
        middle = time.process_time()
        for data in sent:
            acceptor.receive(data)
        end = time.process_time()
        wanted[f"send{size}"].ours.append(1e6 * (middle - start) / count)
        wanted[f"receive{size}"].ours.append(1e6 * (end - middle) / count)
    for what in ("with", "without"):
        done = subprocess.run([sys.executable, "-c", IMPORT, what], capture_output=True, text=True, check=True)
        taken, memory = map(float, done.stdout.split())
        wanted[f"{what}_ms"].ours.append(taken)
        wanted[f"{what}_mb"].ours.append(memory)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = figures()
    kinds = {
        "p256": credentials(ec.generate_private_key(ec.SECP256R1())),
        "ed25519": credentials(ed25519.Ed25519PrivateKey.generate()),
    }
    for _ in range(options.rounds):
        sample(wanted, kinds)
    show(list(wanted.values()), as_json=options.json)


if __name__ == "__main__":
    main()
