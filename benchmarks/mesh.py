"""How long a mesh takes to form: one process a node, all listening, then all joining the first at once.

    python benchmarks/mesh.py [--nodes 10 25 50] [--runs 20] [--secret] [--tls] [--erlang-runs 3] [--json]

The time runs from the moment that every node is told to join until the last node holds N-1 ready links. Each run
then waits half a second and checks that every pair has exactly one link, of the same name at both ends.
With --secret, nodes that prove a secret do the same by turns with those that prove nothing; with --tls, nodes
with a secret and certificates. Where Erlang is installed, its nodes do the same in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from trusting import PLAIN, SECRET, TLS, make

from iridium.cluster.secret import SECRET_FILE
from iridium.cluster.tls_files import CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY

FILES = {"cert": NODE_CERTIFICATE, "key": NODE_KEY, "ca": CA_CERTIFICATE}
"""The files of TLS by the options that name them."""

CHILD = """
import json, sys, time
from pathlib import Path
from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineOnlyReceiver
from iridium.node import Node, NodeConfig

root, number, total = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
given = {name: Path(path) for name, path in (word.split("=", 1) for word in sys.argv[4:])}
node = Node(reactor, NodeConfig(node_alias=f"n{number}", server_bind_port=0, data_root_dir=root, **given))
address = node.start_cluster()
node.start()
machine = node.mesh.machine
done = None
opened = 0

def links():
    return {p.id: p.link.id for p in machine.table.peers.values() if p.open_link}

linked = machine.liveness.linked
def watch(peer):
    global done, opened
    linked(peer)
    opened += 1
    if done is None and opened >= total - 1 and len(links()) == total - 1:
        done = time.monotonic()
        say({"done": done})
machine.liveness.linked = watch

def say(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()

class Control(LineOnlyReceiver):
    delimiter = b"\\n"
    def connectionMade(self):
        say({"address": address, "id": node.me.id})
    def lineReceived(self, line):
        if line.startswith(b"join"):
            host, port = line.split()[1].decode().rsplit(":", 1)
            node.mesh.join(host, int(port)).addErrback(lambda f: say({"error": str(f.value)}))
        elif line == b"links":
            say({"links": links()})
    def connectionLost(self, reason):
        node.stop().addBoth(lambda _: reactor.callFromThread(reactor.stop))

stdio.StandardIO(Control())
reactor.run(installSignalHandlers=False)
"""

ERLANG = """
io:format("ready~n"),
Contact = list_to_atom(string:trim(io:get_line(""))),
(Contact =:= node()) orelse net_kernel:connect_node(Contact),
Wait = fun W() -> case length(nodes()) of
    N when N =:= %d -> ok;
    _ -> receive after 1 -> W() end
end end,
Wait(), io:format("done~n"), io:get_line(""), halt().
"""


def one_erlang_run(total: int) -> float | None:
    """Form a mesh of Erlang nodes once; seconds until each sees all others, None where one ended instead."""
    name = "iridium_bench"
    children = [
        subprocess.Popen(
            [
                "erl",
                "-noshell",
                "-sname",
                f"{name}{i}@localhost",
                "-setcookie",
                name,
                "-eval",
                ERLANG % (total - 1),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for i in range(total)
    ]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        start = time.monotonic()
        for child in children:
            child.stdin.write(f"{name}0@localhost\n")
        for child in children:
            if child.stdout.readline() != "done\n":
                return None
        return time.monotonic() - start
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


def given(keys: Path, kind: str) -> list[str]:
    """What a node of some kind is told of files, of those that :mod:`trusting` made in a directory."""
    secret = [f"secret_file={keys / SECRET_FILE}"] if kind != PLAIN else []
    tls = [f"tls_{name}={keys / 'tls' / file}" for name, file in FILES.items()] if kind == TLS else []
    return [*secret, *tls]


def one_run(total: int, root: Path, files: list[str]) -> tuple[float, list[str]]:
    """Form a mesh once.

    Args:
        total: how many nodes.
        root: a directory for their data.
        files: what each has to show, as :func:`given` has it.

    Returns:
        Seconds, and what is wrong with the mesh.
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), str(number), str(total), *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for number in range(total)
    ]
    try:
        hellos = [json.loads(child.stdout.readline()) for child in children]
        start = time.monotonic()
        for child in children[1:]:
            child.stdin.write(f"join {hellos[0]['address']}\n")
        answers = [json.loads(child.stdout.readline()) for child in children]
        problems = [answer["error"] for answer in answers if "error" in answer]
        if problems:
            return float("nan"), problems
        seconds = max(answer["done"] for answer in answers) - start
        time.sleep(0.5)
        return seconds, check(children, [hello["id"] for hello in hellos])
    finally:
        for child in children:
            child.stdin.close()
        for child in children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
            child.stdout.close()


def check(children: list[subprocess.Popen[str]], ids: list[str]) -> list[str]:
    """What is wrong with the links that the nodes hold."""
    ends: Counter[str] = Counter()
    problems = []
    for child, own in zip(children, ids, strict=True):
        child.stdin.write("links\n")
        links = json.loads(child.stdout.readline())["links"]
        missing = set(ids) - {own} - set(links)
        if missing:
            problems.append(f"{own[:8]} has no link to {len(missing)}")
        ends.update(links.values())
    problems += [f"link {link} has {count} ends" for link, count in ends.items() if count != 2]
    return problems


def measure(total: int, runs: int, kinds: list[str]) -> dict[str, object]:
    """Form meshes of each kind by turns; the figures of the first, and beside them those of the others."""
    made: dict[str, list[tuple[float, list[str]]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as keys:
        make(Path(keys))
        for _ in range(runs):
            for kind in kinds:
                with tempfile.TemporaryDirectory() as root:
                    made[kind].append(one_run(total, Path(root), given(Path(keys), kind)))
    figures = {kind: summary(of_kind) for kind, of_kind in made.items()}
    result = figures.pop(kinds[0])
    for kind, of_kind in figures.items():
        if of_kind["median_ms"] and result["median_ms"]:
            of_kind["times"] = round(of_kind["median_ms"] / result["median_ms"], 2)
        result[kind] = of_kind
    result["load"] = round(os.getloadavg()[0], 1)
    return result


def summary(runs: list[tuple[float, list[str]]]) -> dict[str, Any]:
    """The figures of some runs."""
    good = [seconds for seconds, problems in runs if not problems]
    return {
        "runs": len(runs),
        "whole": len(good),
        "median_ms": round(1000 * statistics.median(good), 1) if good else None,
        "worst_ms": round(1000 * max(good), 1) if good else None,
        "problems": [problem for _, problems in runs for problem in problems][:10],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--erlang-runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--secret", action="store_true", help="nodes with a secret, too")
    parser.add_argument("--tls", action="store_true", help="nodes with a secret and certificates, too")
    options = parser.parse_args()
    kinds = [PLAIN, *([SECRET] if options.secret else []), *([TLS] if options.tls else [])]
    results = {}
    for total in options.nodes:
        results[total] = measure(total, options.runs, kinds)
        if options.erlang_runs and shutil.which("erl"):
            erlang = [seconds for _ in range(options.erlang_runs) if (seconds := one_erlang_run(total))]
            results[total]["erlang_median_ms"] = round(1000 * statistics.median(erlang), 1) if erlang else None
        if not options.json:
            print(f"N = {total}: {results[total]}", flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
