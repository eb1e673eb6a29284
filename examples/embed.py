"""A Twisted program with a node of its own: it starts processes, sends them messages, and hears of their ends.

Prints what the processes print and answer. ``docs/embedding.md`` goes through it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from iridium.assembler import assemble
from iridium.node import Node, NodeConfig

SQUARE = assemble("""
.data
name: .asciiz 'square'
ready: .asciiz 'ready\\n'
.code
      load $1 @name
      register $1
      prts @ready
loop: recv $2 $3 $4     ; value, sender, kind
      load $5 #0
      eq $2 $5
      djmpe @end
      mul $2 $2 $2
      send $3 $2
      eq $0 $0
      djmpe @loop
end:  load $6 #7
      hltr $6
""")


async def main(reactor: Any) -> None:
    """Have a node for a while."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(reactor, NodeConfig(node_alias="embedded", data_root_dir=Path(directory)))
        node.start()
        try:
            await use(node)
        finally:
            await node.stop()


async def use(node: Node) -> None:
    """Start a process, talk to it, and wait for its end."""
    process = await node.spawn(SQUARE)

    # A mailbox of Python's: others send to its pid, and it sends in its own name.
    with node.mailbox() as box:
        box.send(process.pid, 12)
        message = await box.receive()
        print("12 squared is", message.value)

        # A process that was found by name, here or on another node (`square@NODE`).
        pid = await node.find("square")
        box.monitor(pid)
        node.send(pid, 0)
        end = await box.receive()
        print("the mailbox hears that it ended with", end.reason)

    how = await process.when_done()
    print("and so does whoever started it:", how.text)
    print("it had said:", process.output.strip())


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
