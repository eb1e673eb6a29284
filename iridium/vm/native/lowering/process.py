"""Processes and messages. What they do stands in the runtime; here is how an instruction asks for it."""

from __future__ import annotations

from iridium.isa import Fault
from iridium.vm.native.emit import Emitter
from iridium.vm.native.lowering.registry import lowers
from iridium.vm.record import Waiting
from iridium.vm.runtime.layout import BYTES_MESSAGE, PID_MESSAGE, WORD_MESSAGE
from iridium.vm.runtime.mailbox import DOES_NOT_FIT, LATER
from iridium.vm.runtime.processes import ITSELF
from iridium.vm.runtime.turns import SPAWNED, WATCHED


def _accepted(e: Emitter, result: str) -> None:
    """Set ``equal_flag`` to whether something was done."""
    e.flag(f"icmp ne i32 {result}, 0")


@lowers("SELF")
def self_(e: Emitter) -> str:
    return e.record("pid")


@lowers("SPAWN", interpreted=True)
def spawn(e: Emitter, address: str) -> str:
    wrong = e.call("spawn_checked", ("i32", address))
    e.require(e.op(f"icmp eq i32 {wrong}, 0"), Fault.BAD_JUMP)
    e.others_first(SPAWNED)
    pid = e.call("spawn", ("i32", address))
    _accepted(e, pid)
    return pid


def _name(e: Emitter, offset: str) -> None:
    """Go on only if there is a string at a read-only offset."""
    wrong = e.call("check_string", ("i32", offset))
    inside = e.op(f"icmp ne i32 {wrong}, {Fault.READ_ONLY_BOUNDS.number}")
    e.require(inside, Fault.READ_ONLY_BOUNDS)
    e.require(e.op(f"icmp eq i32 {wrong}, 0"), Fault.BAD_STRING)


def _ask(e: Emitter) -> str:
    """Wait for the node's answer; it sets ``equal_flag`` and is the value."""
    answered = e.call("ask")
    e.wait_unless(e.op(f"icmp ne i32 {answered}, 0"), Waiting.SERVICE)
    e.flag(f"icmp eq i32 {answered}, 2")
    return e.record("answer")


@lowers("SPAWNON", interpreted=True)
def spawnon(e: Emitter, address: str, node: str) -> str:
    wrong = e.call("spawn_checked", ("i32", address))
    e.require(e.op(f"icmp eq i32 {wrong}, 0"), Fault.BAD_JUMP)
    numbered = e.op(f"icmp slt i32 {node}, 0")
    wrong = e.call("check_node_name", ("i32", node))
    inside = e.op(f"icmp ne i32 {wrong}, {Fault.READ_ONLY_BOUNDS.number}")
    e.require(e.op(f"or i1 {numbered}, {inside}"), Fault.READ_ONLY_BOUNDS)
    good = e.op(f"icmp eq i32 {wrong}, 0")
    e.require(e.op(f"or i1 {numbered}, {good}"), Fault.BAD_STRING)
    return _ask(e)


@lowers("SEND")
def send(e: Emitter, to: str, value: str) -> None:
    _accepted(e, e.call("send", ("i32", to), ("i32", str(WORD_MESSAGE)), ("i32", value)))


@lowers("SENDP")
def sendp(e: Emitter, to: str, pid: str) -> None:
    _accepted(e, e.call("send", ("i32", to), ("i32", str(PID_MESSAGE)), ("i32", pid)))


@lowers("SENDM", interpreted=True)
def sendm(e: Emitter, to: str, address: str, size: str) -> None:
    there = e.call("map_heap", ("i32", address), ("i32", size))
    e.require(e.op(f"icmp ne i32 {there}, 0"), Fault.HEAP_BOUNDS)
    result = e.call("send_bytes", ("i32", to), ("i32", address), ("i32", size))
    e.wait_unless(e.op(f"icmp ne i32 {result}, {LATER}"), Waiting.TURN)
    _accepted(e, result)


def _taken(e: Emitter, message: str) -> str:
    """Wait until there is a message; the sender of the one that was found."""
    e.wait_unless(e.op(f"icmp slt i64 {message}, 0"), Waiting.MESSAGE)
    shifted = e.op(f"trunc i64 {e.op(f'lshr i64 {message}, 32')} to i32")
    return e.op(f"and i32 {shifted}, {0x7FFFFFFF}")


@lowers("RECV")
def recv(e: Emitter) -> None:
    message = e.call("receive", result="i64")
    sender = _taken(e, message)
    e.write(0, e.op(f"trunc i64 {message} to i32"))
    e.write(1, sender)
    e.write(2, e.record("message_kind"))


@lowers("RECVT")
def recvt(e: Emitter, milliseconds: str) -> None:
    result = e.call("wait_for_message", ("i32", milliseconds))
    e.wait_unless(e.op(f"icmp ne i32 {result}, 0"), Waiting.MESSAGE)
    e.flag(f"icmp eq i32 {result}, 1")


@lowers("RECVM", interpreted=True)
def recvm(e: Emitter, address: str) -> None:
    message = e.call("receive_bytes", ("i32", address), result="i64")
    e.wait_unless(e.op(f"icmp ne i64 {message}, {LATER}"), Waiting.TURN)
    sender = _taken(e, message)
    size = e.op(f"trunc i64 {message} to i32")
    e.require(e.op(f"icmp ne i32 {size}, {DOES_NOT_FIT - 2**32}"), Fault.HEAP_BOUNDS)
    e.write(1, size)
    e.write(2, sender)
    e.flag(f"icmp eq i32 {e.record('message_kind')}, {BYTES_MESSAGE}")


@lowers("REGISTER", interpreted=True)
def register(e: Emitter, offset: str) -> None:
    _name(e, offset)
    _ask(e)


@lowers("WHEREIS", interpreted=True)
def whereis(e: Emitter, offset: str) -> str:
    _name(e, offset)
    return _ask(e)


@lowers("MONITOR", interpreted=True)
def monitor(e: Emitter, pid: str) -> None:
    e.others_first(WATCHED)
    _accepted(e, e.call("monitor", ("i32", pid)))


@lowers("DEMONITOR", interpreted=True)
def demonitor(e: Emitter, pid: str) -> None:
    e.others_first(WATCHED)
    e.call("demonitor", ("i32", pid), result="void")


def _unless_itself(e: Emitter, result: str) -> None:
    """Set ``equal_flag``, unless the process has ended itself by this."""
    e.wait_unless(e.op(f"icmp ne i32 {result}, {ITSELF}"), Waiting.TURN)
    _accepted(e, result)


@lowers("LINK", interpreted=True)
def link(e: Emitter, pid: str) -> None:
    e.others_first(WATCHED)
    _unless_itself(e, e.call("link", ("i32", pid)))


@lowers("EXIT")
def exit_(e: Emitter, reason: str) -> None:
    e.halt(reason)


@lowers("KILL", interpreted=True)
def kill(e: Emitter, pid: str) -> None:
    _unless_itself(e, e.call("kill_by", ("i32", pid)))


@lowers("SLEEP", interpreted=True)
def sleep(e: Emitter, milliseconds: str) -> None:
    done = e.call("sleep", ("i32", milliseconds))
    e.wait_unless(e.op(f"icmp ne i32 {done}, 0"), Waiting.TIME)


@lowers("CLOCK")
def clock(e: Emitter) -> str:
    return e.call("clock")


@lowers("NODES")
def nodes(e: Emitter) -> str:
    return e.call("count_nodes")
