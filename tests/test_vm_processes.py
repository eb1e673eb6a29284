"""What the instructions of processes do where there is a scheduler, on every form of the runtime.

What they do without one stands in ``test_vm_instructions``; what processes promise, in ``test_processes_local``.
"""

from __future__ import annotations

import pytest

from iridium.vm.runtime.layout import KILLED, NO_PROCESS
from tests.local import Local
from tests.local import local as _local

local = _local

IDLE = ".code\nrecv $1 $2 $3\nhlt\n"
"""A process that waits for one message."""


def test_self_is_what_others_know(local: Local) -> None:
    """Protects SELF: a program can tell others where to answer."""
    process = local.spawn(".code\nself $1\nhltr $1\n")
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == process.pid


def test_spawn_copies_the_registers(local: Local) -> None:
    """Protects SPAWN: the new process begins at the address with these registers, and tells who it is by a pid."""
    source = """.code
      self $5
      load $6 #77
      itof $6 $6
      load $1 @child
      spawn $1 $2
      djmpn @bad
      recv $3 $4 $7
      eq $4 $2
      djmpn @bad
      hltr $3
child: ftoi $6 $8
      send $5 $8
      hlt
bad:  load $1 #1
      hltr $1
    """
    assert local.run(source)[0].reason == 77


def test_recv_tells_value_sender_and_kind(local: Local) -> None:
    """Protects RECV: word, pid and bytes come as they were sent, with who sent them, bytes as their size."""
    box = local.processes.mailbox()
    source = ".code\n" + "recv $1 $2 $3\nprti $1\nprtc $9\nprti $2\nprtc $9\nprti $3\nprtc $9\n" * 3 + "hlt\n"
    process = local.spawn(source, {9: 32})
    assert box.send(process.pid, -5)
    assert box.send(process.pid, box.pid, is_pid=True)
    assert local.processes.send(process.pid, b"four")
    local.settle()
    assert process.output == f"-5 {box.pid} 0 {box.pid} {box.pid} 1 4 0 2 "


def test_bytes_stay_for_recvm(local: Local) -> None:
    """Protects the pair RECV, RECVM: RECV can look how large a message is, as often as it likes."""
    source = """.code
      recv $1 $2 $3
      recv $1 $2 $3
      aloc $1
      load $4 #3
      recvm $4 $5 $6
      djmpn @bad
      eq $1 $5
      djmpn @bad
      load $4 #66
      loadb $4 $7
      hltr $7
bad:  load $1 #1
      hltr $1
    """
    process = local.spawn(source)
    local.processes.send(process.pid, bytes(range(64)))
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == 63


@pytest.mark.parametrize(("place", "size"), [(0, 65), (64, 1), (1, 64), (-1, 1), (-1, 2), (0, 100_000)])
def test_recvm_that_does_not_fit(local: Local, place: int, size: int) -> None:
    """Protects the heap: a message that would go beyond its end is a fault, and writes nothing."""
    process = local.spawn(".code\nrecvm $1 $2 $3\nhlt\n", {1: place, 2: 5})
    local.processes.send(process.pid, b"\xff" * size)
    local.settle()
    dead = local.processes.why(process.pid)
    assert process.exit is not None
    assert dead is not None
    assert process.exit.text == "heap-bounds"
    assert dead.registers[:4] == [0, place, 5, 0]


def test_recvm_leaves_what_is_no_bytes(local: Local) -> None:
    """Protects programs that take both: a word is left for RECV, and the flag says so."""
    source = ".code\neq $0 $0\nrecvm $0 $1 $2\ndjmpe @bad\nrecv $1 $2 $3\nhltr $1\nbad: load $1 #1\nhltr $1\n"
    process = local.spawn(source)
    local.processes.send(process.pid, 42)
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == 42


def test_recvm_of_no_bytes(local: Local) -> None:
    """Protects the empty message: it is one, of size 0, even at the end of the heap."""
    process = local.spawn(".code\nrecvm $1 $2 $3\ndjmpn @bad\nhltr $2\nbad: load $2 #1\nhltr $2\n", {1: 64, 2: 9})
    assert local.processes.send(process.pid, b"")
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == 0


@pytest.mark.parametrize("to", [0, 1 << 20, 5, -1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", ["send $1 $2", "sendp $1 $2", "sendm $1 $3 $4"])
def test_to_nobody(local: Local, name: str, to: int) -> None:
    """Protects senders: what nobody can get is refused with the flag, counted, and kept for people."""
    source = f".code\neq $0 $0\n{name}\ndjmpe @bad\nhlt\nbad: load $1 #1\nhltr $1\n"
    assert local.run(source, {1: to, 2: 9, 4: 3})[0].reason == 0
    assert local.shared.dead_letters == 1
    kind, value = {"send ": (0, 9), "sendp": (1, 9), "sendm": (2, 3)}[name[:5]]
    assert local.table.dead_letters() == [(to & 0xFFFFFFFF, 1, kind, value)]


@pytest.mark.parametrize("milliseconds", [0, -1, 3])
def test_recvt_times_out(local: Local, milliseconds: int) -> None:
    """Protects RECVT: without a message the flag is 0 when the time is over, and not before."""
    source = """.code
      clock $8
      recvt $1
      djmpe @bad
      clock $9
      sub $9 $8 $9
      hltr $9
bad:  load $1 #1
      sub $0 $1 $1
      hltr $1
    """
    took = local.run(source, {1: milliseconds})[0].reason
    assert max(0, milliseconds - 1) <= took < 2000


def test_recvt_with_a_message(local: Local) -> None:
    """Protects RECVT: a message that comes ends the wait at once, and stays for RECV."""
    source = ".code\nrecvt $1\ndjmpn @bad\nrecv $2 $3 $4\nhltr $2\nbad: load $1 #1\nhltr $1\n"
    process = local.spawn(source, {1: 1_000_000})
    local.settle()
    assert local.shared.timer_entries == 1
    local.processes.send(process.pid, 5)
    local.settle()
    assert process.exit is not None
    assert process.exit.reason == 5
    assert local.shared.timer_entries == 0


def test_a_timeout_is_set_once(local: Local) -> None:
    """Protects the deadline: each RECVT has one of its own, also after one that a message ended."""
    source = ".code\nrecvt $1\nrecv $2 $3 $4\nrecvt $5\ndjmpe @bad\nhlt\nbad: load $1 #1\nhltr $1\n"
    process = local.spawn(source, {1: 1_000_000, 5: 1})
    local.settle()
    local.processes.send(process.pid, 5)
    local.until(lambda: process.exit is not None)
    assert process.exit is not None
    assert process.exit.reason == 0


def test_sleep_0_lets_others_go_first(local: Local) -> None:
    """Protects SLEEP 0: two processes that do so take turns."""
    source = ".code\nload $2 #3\nagain: send $5 $1\nsleep $0\ndec $2\ngt $2 $0\ndjmpe @again\nhlt\n"
    program, box = local.program(source), local.processes.mailbox()
    for number in (1, 2):
        local.spawn(program, {1: number, 5: box.pid})
    local.settle()
    assert [message.value for message in local.messages(box)] == [1, 2, 1, 2, 1, 2]


def test_a_negative_sleep_is_none(local: Local) -> None:
    """Protects programs that are late: there is no waiting for the past."""
    assert local.run(".code\nsleep $1\nhlt\n", {1: -5})[0].reason == 0


def test_exit_and_kill(local: Local) -> None:
    """Protects the two ways to end: by itself with any reason, by another as killed; a stale pid kills nobody."""
    assert local.run(".code\nexit $1\n", {1: -7})[0].reason == -7
    victim = local.spawn(IDLE)
    local.settle()
    source = ".code\nkill $1\ndjmpn @bad\nkill $2\ndjmpe @bad\nhlt\nbad: load $1 #1\nhltr $1\n"
    assert local.run(source, {1: victim.pid, 2: 5 << 20 | victim.pid})[0].reason == 0
    assert victim.exit is not None
    assert victim.exit.reason == KILLED


@pytest.mark.parametrize(("first", "reason"), [("self $1\nkill $1", KILLED), ("link $9", NO_PROCESS)])
def test_who_ends_itself_does_nothing_more(local: Local, first: str, reason: int) -> None:
    """Protects KILL and LINK: the instruction that ends its own process is its last, not its turn's last."""
    exit, output = local.run(f".code\n{first}\nprti $1\nhlt\n", {9: 4321})
    assert (exit.reason, output) == (reason, "")


def test_monitor_of_oneself_is_refused(local: Local) -> None:
    """Protects the books: nobody watches or links itself."""
    source = ".code\nself $1\nmonitor $1\ndjmpe @bad\nlink $1\ndjmpe @bad\nhlt\nbad: load $1 #1\nhltr $1\n"
    assert local.run(source)[0].reason == 0


def test_monitor_of_nobody(local: Local) -> None:
    """Protects MONITOR: of a pid that is nobody's the notice comes at once, with that pid as its sender."""
    source = ".code\nmonitor $1\ndjmpn @bad\nrecv $2 $3 $4\nprti $3\nprti $4\nhltr $2\nbad: hlt\n"
    exit, output = local.run(source, {1: 4321})
    assert (exit.reason, output) == (NO_PROCESS, "43213")


def test_link_to_nobody(local: Local) -> None:
    """Protects LINK: who binds itself to nobody ends, as it would had the other ended before."""
    assert local.run(".code\nlink $1\nrecv $1 $2 $3\n", {1: 4321})[0].reason == NO_PROCESS


def test_register_and_whereis(local: Local) -> None:
    """Protects names: taken once, found by anybody, refused to a second owner and to a bad name."""
    source = """.data
a: .asciiz 'server'
b: .asciiz 'bad name'
.code
      load $1 @a
      register $1
      djmpn @bad
      whereis $1 $2
      djmpn @bad
      self $3
      eq $2 $3
      djmpn @bad
      load $1 @b
      register $1
      djmpe @bad
      whereis $1 $2
      djmpe @bad
      hltr $2
bad:  load $1 #1
      hltr $1
    """
    assert local.run(source)[0].reason == 0
    assert local.processes.names.all() == {}


def test_spawnon_without_a_cluster(local: Local) -> None:
    """Protects a node by itself: it is number -1, any other is not there, and NODES is 1."""
    source = """.data
n: .asciiz 'nowhere'
.code
      load $9 #-1
      load $1 @child
      spawnon $1 $9 $2
      djmpn @bad
      dec $9
      spawnon $1 $9 $3
      djmpe @bad
      load $9 @n
      spawnon $1 $9 $3
      djmpe @bad
      nodes $4
      add $3 $4 $3
      hltr $3
bad:  load $1 #9
      hltr $1
child: hlt
    """
    assert local.run(source)[0].reason == 1
