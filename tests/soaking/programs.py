"""Programs for a soak: each ends by itself, whatever becomes of the nodes that it reaches."""

from __future__ import annotations

import random
from pathlib import Path

from tests.processes import SPIN

EXAMPLES = ("arithmetic", "call_ret", "cloop", "f64_series", "fibonacci", "hello")
"""Those of `examples/` that print a little and end."""

WORKERS = """.data
name: .asciiz 'last'
.code
       self $9
       nodes $2
       load $1 @child
       load $3 #0
more:  not $3 $4
       spawnon $1 $4 $5      ; on each node, as far as they are there
       sendp $5 $9
       inc $3
       lt $3 $2
       djmpe @more
       load $6 #2000
take:  recvt $6
       djmpn @end
       recv $7 $5 $8
       dec $3
       gt $3 $0
       djmpe @take
end:   load $1 @name
       register $1           ; most find it taken
       hlt
child: load $4 #2000
       recvt $4
       djmpn @gone
       recv $9 $5 $8
       send $9 $4
gone:  hlt
"""

CRASHING = """.code
       load $1 @boom
       spawn $1 $2
       monitor $2
       load $3 #2000
       recvt $3
       djmpn @end
       recv $4 $5 $6
       spawn $1 $2
       link $2               ; which takes this one with it
       sleep $3
end:   hlt
boom:  load $7 #20
       sleep $7
       div $7 $0 $7
"""

SLEEPING = """.data
up: .asciiz 'up '
.code
       load $1 #300
       load $2 #4
again: prts @up
       sleep $1
       dec $2
       gt $2 $0
       djmpe @again
       hltr $2
"""

TALKING = """.data
text: .asciiz 'all work and no play makes a dull program, and a reader who is slow\\n'
.code
       load $1 #3000
again: prts @text
       dec $1
       gt $1 $0
       djmpe @again
       hlt
"""

OURS = {
    "workers": WORKERS,
    "crashing": CRASHING,
    "sleeping": SLEEPING,
    "spinning": SPIN,
    "talking": TALKING,
}


def unique(chance: random.Random) -> str:
    """A program that nobody has ever seen, and that is hot for a moment: it is compiled, and must be let go of."""
    steps = [f"       addi ${chance.randrange(2, 20)} #{chance.randrange(1, 30_000)}" for _ in range(10)]
    return "\n".join(
        [
            ".code",
            f"       load $20 #{chance.randrange(200_000, 2_000_000)}",
            "again: dec $20",
            *steps,
            "       gt $20 $0",
            "       djmpe @again",
            "       hlt",
            "",
        ]
    )


def write(directory: Path, examples: Path) -> None:
    """Put all of them where the sessions of a node find them."""
    for name in EXAMPLES:
        (directory / f"{name}.iasm").write_text((examples / f"{name}.iasm").read_text())
    for name, source in OURS.items():
        (directory / f"{name}.iasm").write_text(source)
