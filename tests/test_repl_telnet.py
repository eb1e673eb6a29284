"""The REPL port: telnet and plain bytes, whatever a stranger sends, and every limit."""

from __future__ import annotations

import json
import re
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.telnet import AYT, BRK, DM, DO, DONT, ECHO, IAC, IP, NAWS, SB, SE, WILL, WONT
from twisted.logger import globalLogPublisher

from iridium.limits import DEFAULTS, TABLE, Limits
from iridium.repl.conversation import FLUSH, LINGER
from iridium.repl.intake import MAX_HELD, PATIENCE
from iridium.repl.sessions import Sessions
from iridium.repl.telnet import AT_ONCE, MAX_REPLIES, ReplFactory, _configure
from iridium.roles import Role
from tests.repl_double import ENDLESS, FakeNode, Peer

TM = bytes((6,))
GREETING = "Welcome to Iridium! Let's be productive!\n>>> "
ENDLESS_TEXT = "\n".join(ENDLESS)
FLOOD = "load $1 #65\np: prtc $1\nload $31 @p\njmp $31"


@pytest.fixture
def peer() -> Peer:
    """Somebody who has been greeted."""
    peer = Peer()
    assert peer.read() == GREETING
    return peer


@pytest.fixture
def warnings() -> Any:
    """The warnings that are logged."""
    seen: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event["log_level"].name == "warn":
            seen.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


class TestLines:
    """Lines in, text out."""

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\0"])
    def test_ends(self, peer: Peer, end: bytes) -> None:
        """Lines may end in each of the three ways; answers end in CR LF."""
        assert peer.send(b"load $0 #5" + end) == ">>> "
        peer.telnet.dataReceived(b"!quit" + end)
        assert peer.tcp.value() == b"bye\r\n"

    def test_byte_by_byte(self, peer: Peer) -> None:
        """A line may come in any pieces."""
        for byte in b"load $0 #5\r\n!registers\r\n":
            peer.telnet.dataReceived(bytes((byte,)))
        peer.node.reactor.settle()
        assert "$0 5" in peer.read()

    def test_pasted_program(self, peer: Peer) -> None:
        """Hundreds of lines in one chunk are all done, in order, and no queue overflows."""
        lines = ["load $0 #0", *(f"a{n}: inc $0" for n in range(700)), "!registers --json"]
        said = peer.send("\r\n".join(lines), rounds=5000)
        assert '{"registers":[700,0,' in said
        assert "error" not in said
        assert said.count(">>> ") == len(lines)

    def test_bad_command(self, peer: Peer) -> None:
        """A bad command points to !help, and the session goes on."""
        assert "!help" in peer.send("!xyzzy")
        assert peer.send("inc $0") == ">>> "

    def test_bad_utf8(self, peer: Peer) -> None:
        """A line that is no UTF-8 is an error that names the byte, and the session goes on."""
        assert peer.send(b"ab\xfe\r\n").startswith("error: byte 3 of the line, 0xfe")
        assert peer.send("inc $0") == ">>> "

    def test_text_in_utf8(self, peer: Peer) -> None:
        """Text goes in and out in UTF-8."""
        assert peer.send("t: .asciiz 'Grüße ✓'\nprts @t") == ">>> Grüße ✓\n>>> "

    def test_enormous_line(self, peer: Peer, warnings: list[str]) -> None:
        """A line of 10 MB is discarded as it comes: one error, no memory, and the session goes on."""
        piece = b"x" * 65536
        tracemalloc.start()
        try:
            for _ in range(160):
                peer.telnet.dataReceived(piece)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
        assert peer.read() == ""
        said = peer.send("")
        assert said == "error: the line is longer than 65536 bytes; it was dropped\n>>> "
        assert peer.send("inc $0") == ">>> "
        assert len(warnings) == 1

    def test_endless_empty_lines_leave_the_reactor_its_turns(self, peer: Peer) -> None:
        """64 KiB of nothing but line ends are not done in one go."""
        peer.telnet.dataReceived(b"\n" * 65536)
        assert peer.read().count(">>> ") < 100
        assert peer.tcp.producerState == "paused"
        peer.hang_up()


class TestTelnet:
    """Telnet's commands in the stream."""

    def test_negotiation_is_refused(self, peer: Peer) -> None:
        """What a client offers or asks for is refused, once each, and never shows up as text."""
        peer.telnet.dataReceived(IAC + WILL + NAWS + IAC + DO + ECHO + IAC + WONT + NAWS + IAC + DONT + ECHO)
        assert peer.tcp.value() == IAC + DONT + NAWS + IAC + WONT + ECHO
        peer.tcp.clear()
        peer.telnet.dataReceived(IAC + SB + NAWS + b"\0\x50\0\x18" + IAC + SE)
        assert peer.send("inc $0") == ">>> "

    def test_real_client_s_start(self, peer: Peer) -> None:
        """What a telnet client sends at its start, cut anywhere, does no harm to the line after it."""
        start = IAC + DO + b"\x03" + IAC + WILL + b"\x18" + IAC + SB + b"\x18\0xterm" + IAC + SE
        for cut in range(len(start)):
            other = Peer()
            other.telnet.dataReceived(start[:cut])
            other.telnet.dataReceived(start[cut:])
            other.tcp.clear()
            assert other.send("!stop") == "nothing is running\n>>> "

    @pytest.mark.parametrize(
        "interrupt", [IAC + IP, IAC + BRK, b"\x03", IAC + IP + IAC + DM, IAC + IP + IAC + DO + TM]
    )
    def test_interrupt(self, peer: Peer, interrupt: bytes) -> None:
        """Ctrl-C in each of its forms stops what runs, and the session goes on."""
        peer.send(ENDLESS_TEXT)
        assert peer.send(interrupt).startswith("stopped at pc") or interrupt.endswith(TM)
        assert not peer.telnet.protocol.conversation.session.executing
        peer.read()
        assert peer.send("inc $5") == ">>> "

    def test_timing_mark_is_answered(self, peer: Peer) -> None:
        """Telnet throws away what comes after Ctrl-C until its timing mark is answered, so it is told again."""
        peer.send(ENDLESS_TEXT)
        peer.telnet.dataReceived(IAC + IP + IAC + DO + TM)
        report, mark, again = peer.tcp.value().partition(IAC + WONT + TM)
        assert report.startswith(b"stopped at pc")
        assert mark
        assert again == b"\r\n" + report
        peer.tcp.clear()
        peer.telnet.dataReceived(IAC + IP + IAC + DO + TM)
        assert peer.tcp.value() == IAC + WONT + TM + b"\r\n>>> "
        peer.tcp.clear()
        peer.telnet.dataReceived(IAC + DO + TM)
        assert peer.tcp.value() == IAC + WONT + TM

    def test_interrupt_forgets_half_a_line(self, peer: Peer) -> None:
        """What was typed of a line before Ctrl-C is not executed."""
        peer.telnet.dataReceived(b"load $0 #")
        peer.telnet.dataReceived(IAC + IP)
        assert peer.send("inc $0") == ">>> "

    def test_are_you_there(self, peer: Peer) -> None:
        """AYT is answered, also while a program runs."""
        peer.send(ENDLESS_TEXT)
        assert "[Iridium: yes]" in peer.send(IAC + AYT)

    @pytest.mark.parametrize("command", [b"\x00", b"a", b"\x7f", b"\xec", b"\xf0", b"\xf8"])
    def test_unknown_command(self, peer: Peer, command: bytes) -> None:
        """An unknown byte after IAC is ignored: conch's own parser raises there."""
        assert peer.send(b"inc" + IAC + command + b" $0\r\n") == ">>> "

    def test_empty_subnegotiation(self, peer: Peer) -> None:
        """An empty subnegotiation is ignored: conch's own parser raises there."""
        assert peer.send(IAC + SB + IAC + SE + b"inc $0\r\n") == ">>> "

    def test_endless_subnegotiation(self, peer: Peer) -> None:
        """A subnegotiation that does not end neither grows nor keeps the session."""
        for _ in range(100):
            peer.telnet.dataReceived((IAC + SB if _ == 0 else b"") + b"y" * 1000)
            assert len(peer.telnet._held) < 2048
        assert "error" in peer.send("")
        assert peer.send("inc $0") == ">>> "

    def test_doubled_iac_is_a_byte(self, peer: Peer) -> None:
        """IAC IAC is the byte 255, which no UTF-8 text has."""
        assert "0xff" in peer.send(b"a" + IAC + IAC + b"\r\n")

    def test_answers_that_nobody_reads(self, peer: Peer, warnings: list[str]) -> None:
        """A peer that asks and asks and does not read is cut off before its answers fill the memory."""
        peer.tcp.reads = False
        for _ in range(1000):
            peer.telnet.dataReceived((IAC + AYT + IAC + DO + ECHO) * 100)
        assert peer.tcp.aborted
        assert len(peer.tcp.value()) < peer.tcp.BUFFER + MAX_REPLIES + 2000
        said = "REPL port: telnet commands without reading the answers, from 192.168.1.1:54321"
        assert warnings == [said] * DEFAULTS.stranger_log


class TestWhileAProgramRuns:
    """What waits, what acts at once, and what is dropped."""

    def test_stop(self, peer: Peer) -> None:
        """!stop ends an endless loop, at the latest when the line has had its patience."""
        peer.send(ENDLESS_TEXT)
        peer.wait(PATIENCE)
        assert "stopped at pc" in peer.send("!stop")

    def test_stop_in_the_same_chunk(self, peer: Peer) -> None:
        """A script may stop its own endless loop and go on: everything in order."""
        said = peer.send(f"{ENDLESS_TEXT}\n!stop\nload $5 #9\n!registers --json")
        assert "stopped" not in said
        said = peer.wait(PATIENCE)
        assert said.startswith("stopped at pc")
        assert ",0,0,0,0,9,0," in said

    def test_stop_does_not_hit_what_is_done_in_time(self, peer: Peer) -> None:
        """A !stop behind quick lines comes after them, not in the middle of them."""
        said = peer.send("inc $0\ninc $0\n!stop\ninc $0\n!registers --json")
        assert '{"registers":[3,' in said
        assert "nothing is running" in said

    def test_sixty_four_lines_wait(self, peer: Peer) -> None:
        """Once a line takes long, 64 lines wait behind it; each more is an error, and !stop gets through."""
        peer.send(f"{ENDLESS_TEXT}\ninc $5")
        peer.wait(PATIENCE)
        said = ""
        for _ in range(70):
            said += peer.send("inc $5", rounds=1)
        assert said.count("error: 64 lines wait already") == 7
        peer.send("!stop", rounds=5000)
        assert '"registers":[' in peer.send("!registers --json")
        assert peer.telnet.protocol.conversation.session.workspace.vm.record.registers[5] == 64

    def test_paste_behind_a_slow_line_is_kept(self, peer: Peer) -> None:
        """Lines that came in one piece with the slow one are all done, more than 64 of them too."""
        peer.send(ENDLESS_TEXT + "\n" + "inc $5\n" * 300)
        peer.wait(PATIENCE)
        assert "error" not in peer.send("!stop", rounds=5000)
        assert peer.telnet.protocol.conversation.session.workspace.vm.record.registers[5] == 300

    def test_peer_that_goes_on_sending(self, peer: Peer) -> None:
        """Lines without end behind a program without end are held in bounded memory."""
        peer.send(ENDLESS_TEXT)
        for _ in range(50):
            peer.telnet.dataReceived(b"inc $5\n" * 1000)
            peer.wait(PATIENCE, rounds=1)
        protocol = peer.telnet.protocol.conversation
        assert protocol.session.waiting <= 64 + 1000
        assert protocol._intake._held < MAX_HELD
        assert "stopped" in peer.send("!stop")
        peer.hang_up()

    def test_peer_is_not_read_while_too_much_waits(self, peer: Peer) -> None:
        """Beyond 64 KiB of lines the peer's socket has to hold the rest, until there is room."""
        peer.telnet.dataReceived(b"inc $5\n" * 5000)
        assert peer.tcp.producerState == "paused"
        peer.node.reactor.settle(20_000)
        assert peer.tcp.producerState == "producing"
        assert peer.telnet.protocol.conversation.session.workspace.vm.record.registers[5] == 5000


class TestSlowReader:
    """Backpressure."""

    def test_program_waits(self, peer: Peer) -> None:
        """A program that prints without end waits while its peer does not read, and uses no turns."""
        peer.tcp.reads = False
        peer.send(FLOOD, rounds=500)
        assert len(peer.tcp.value()) < 3 * peer.tcp.BUFFER
        vm = peer.telnet.protocol.conversation.session.workspace.vm
        executed = vm.record.instructions
        peer.wait(0, rounds=100)
        assert vm.record.instructions == executed
        peer.tcp.clear()
        peer.tcp.read_again()
        peer.wait(0, rounds=10)
        assert vm.record.instructions > executed
        peer.hang_up()

    def test_no_lines_are_taken(self, peer: Peer) -> None:
        """While the peer does not read, its lines are not done either."""
        peer.telnet.protocol.pauseProducing()
        assert peer.send("load $0 #5\n!help\n!help") == ""
        assert peer.telnet.protocol.conversation.session.workspace.vm.record.registers[0] == 0
        peer.telnet.protocol.resumeProducing()
        assert "$0 5" in peer.send("!registers")

    def test_answers_stop_at_the_buffer(self, peer: Peer) -> None:
        """Thousands of commands whose answers nobody reads cost one buffer."""
        peer.tcp.reads = False
        peer.send("!help\n" * 5000, rounds=500)
        assert len(peer.tcp.value()) < peer.tcp.BUFFER + 10_000
        peer.hang_up()

    def test_stop_gets_through_a_flood(self, peer: Peer) -> None:
        """!stop acts though the output is paused almost all the time, as with a program that prints for ever."""
        peer.tcp.reads = False
        peer.send(FLOOD, rounds=500)
        peer.wait(PATIENCE)
        peer.telnet.dataReceived(b"!stop\r\n")
        peer.tcp.read_again()
        assert "stopped at pc" in peer.read()
        assert not peer.telnet.protocol.conversation.session.executing

    def test_interrupt_gets_through_a_flood(self, peer: Peer) -> None:
        """Ctrl-C acts at once, though nobody reads."""
        peer.tcp.reads = False
        peer.send(FLOOD, rounds=500)
        peer.telnet.dataReceived(IAC + IP)
        assert not peer.telnet.protocol.conversation.session.executing


class TestEnd:
    """How sessions end."""

    def test_end_of_input(self, peer: Peer) -> None:
        """Lines that were received are done before the session ends; the last needs no end."""
        peer.telnet.dataReceived(b"load $0 #7\ninc $0\n!registers")
        said = peer.end_input()
        assert "$0 8" in said
        assert peer.closed
        assert peer.tcp.producer is None

    def test_end_of_input_waits_for_the_program(self, peer: Peer) -> None:
        """A program may end by itself after the input did."""
        peer.telnet.dataReceived(b"cloop #5000\np: inc $0\nloop @p\n!registers\n")
        assert "$0 5001" in peer.end_input(rounds=500)
        assert peer.closed

    def test_endless_program_after_the_end_of_input(self, peer: Peer) -> None:
        """A program that does not end is stopped a while after the input ended, with a word about it."""
        peer.telnet.dataReceived(f"{ENDLESS_TEXT}\n".encode())
        peer.end_input()
        peer.wait(LINGER - 1)
        assert not peer.closed
        assert "input ended 60 s ago" in peer.wait(1)
        assert peer.closed
        assert peer.node.scheduler.running == 0

    def test_quit_ends_the_session_only(self, peer: Peer) -> None:
        """!quit closes this connection; another session and the node go on."""
        other = Peer(peer.factory)
        other.read()
        assert peer.send("!quit") == "bye\n"
        assert peer.closed
        assert other.send("inc $0") == ">>> "

    def test_nothing_is_left_behind(self, peer: Peer) -> None:
        """When a connection is lost in the middle of everything, no call, follower, task or session remains."""
        peer.send(f"{ENDLESS_TEXT}\ninc $0\ninc $0")
        peer.hang_up()
        assert peer.node.reactor.calls == []
        assert peer.node.texts.followers == []
        assert peer.node.scheduler.running == 0
        assert len(peer.factory.sessions) == 0

    def test_peer_that_does_not_take_the_rest(self, peer: Peer) -> None:
        """A connection that was closed but cannot send its rest is cut off after a while."""
        peer.send("!quit")
        assert not peer.tcp.aborted
        peer.wait(FLUSH)
        assert peer.tcp.aborted
        peer.hang_up()
        assert peer.node.reactor.calls == []

    def test_node_stops(self, peer: Peer) -> None:
        """When the node stops every session is told and closed."""
        other = Peer(peer.factory)
        peer.factory.stop()
        assert "the node stops" in peer.read()
        assert peer.closed
        assert other.closed

    def test_peer_reads_no_more(self, peer: Peer) -> None:
        """When the peer closes its reading half there is nobody to talk to."""
        peer.telnet.writeConnectionLost()
        assert peer.closed


class TestLimits:
    """What keeps strangers from using the port up."""

    def test_http(self, peer: Peer, warnings: list[str]) -> None:
        """A browser's request closes the connection, and nothing of it is executed."""
        assert peer.send(b"GET /!quit HTTP/1.1\r\ninc $0\r\n") == ""
        assert peer.closed
        assert peer.telnet.protocol.conversation.session.workspace.vm.record.registers[0] == 0
        assert warnings == ["REPL port: an HTTP request, from 192.168.1.1:54321"]

    def test_http_later_is_no_request(self, peer: Peer) -> None:
        """Only the first line is looked at so."""
        peer.send("inc $0")
        assert "error" in peer.send("; HTTP/1.1\nGET / HTTP/1.1")
        assert not peer.closed

    def test_time_to_the_first_line(self, peer: Peer) -> None:
        """A session without a line is closed after a minute."""
        peer.wait(DEFAULTS.first_line - 1)
        assert not peer.closed
        assert "no line came" in peer.wait(1)
        assert peer.closed

    def test_idle(self, peer: Peer) -> None:
        """A session is closed an hour after its last line."""
        peer.wait(30)
        peer.send("inc $0")
        peer.wait(DEFAULTS.first_line)
        peer.wait(DEFAULTS.idle - DEFAULTS.first_line - 1)
        assert not peer.closed
        assert "60 minutes" in peer.wait(1)
        assert peer.closed

    def test_each_line_counts(self, peer: Peer) -> None:
        """A session that gets a line in every hour lives on."""
        for _ in range(5):
            peer.send("inc $0")
            peer.wait(DEFAULTS.idle - 1)
        assert not peer.closed

    def test_running_program_is_not_idle(self, peer: Peer) -> None:
        """A session whose program runs is kept; its hour starts when the program ends."""
        peer.send(ENDLESS_TEXT)
        for _ in range(10):
            peer.wait(DEFAULTS.idle / 2, rounds=1)
        assert not peer.closed
        peer.telnet.protocol.conversation.session.interrupt()
        peer.wait(DEFAULTS.idle - 1)
        assert not peer.closed
        peer.wait(DEFAULTS.idle)
        assert peer.closed

    def test_program_whose_peer_does_not_read_is_idle(self, peer: Peer) -> None:
        """A session whose output nobody takes for an hour is cut off."""
        peer.tcp.reads = False
        peer.send(FLOOD, rounds=500)
        for _ in range(3):
            peer.wait(DEFAULTS.idle, rounds=1)
        assert peer.tcp.aborted

    def test_full(self, warnings: list[str]) -> None:
        """When all sessions are taken, the one that was silent longest makes room; one that spoke never does."""
        factory = ReplFactory(FakeNode(limits=Limits(sessions=3)))
        first, second, third = Peer(factory), Peer(factory), Peer(factory)
        first.send("inc $0")
        fourth = Peer(factory)
        assert second.closed
        assert "somebody else wants" in second.read()
        assert not first.closed
        assert not third.closed
        assert fourth.read() == GREETING
        third.send("inc $0")
        fourth.send("inc $0")
        fifth = Peer(factory)
        assert fifth.read() == "Iridium has no room for another session; try again later\n"
        assert fifth.closed
        assert fourth.send("inc $0") == ">>> "
        first.hang_up()
        assert Peer(factory).read() == GREETING
        assert warnings == ["REPL port: all sessions are taken, from 192.168.1.1:54321"] * 2

    def test_readers_leave_room_for_operators(self) -> None:
        """Read-only sessions take nine tenths at most, and make room for each other only."""
        node = FakeNode(limits=Limits(sessions=20))
        sessions = Sessions(node)
        readers, operators = ReplFactory(node, Role.READ_ONLY, sessions), ReplFactory(node, sessions=sessions)
        first = Peer(operators)  # silent, and longer than all of them
        crowd = [Peer(readers) for _ in range(18)]
        assert "this session is read-only" in Peer(readers).read()
        assert [peer.closed for peer in (first, *crowd[:2])] == [False, True, False]
        for peer in crowd[1:]:
            peer.send("!members")
        assert "this session is read-only" in Peer(readers).read()  # instead of the one that was let in above
        last = Peer(readers)
        last.send("!members")
        assert "no room" in Peer(readers).read()
        assert Peer(operators).read() == GREETING
        assert not first.closed
        assert len(sessions) == 20

    def test_no_session_more_than_the_limit(self) -> None:
        """Two hundred silent strangers and more take two hundred sessions."""
        factory = ReplFactory(FakeNode())
        peers = [Peer(factory) for _ in range(250)]
        assert len(factory.sessions) == 200
        assert sum(peer.closed for peer in peers) == 50
        factory.stop()

    def test_abuse_is_logged_now_and_then(self, peer: Peer, warnings: list[str]) -> None:
        """A thousand bad lines are five lines in the log; later there is another, which says what was left out."""
        peer.send(b"\xfe\n" * 1000, rounds=2000)
        assert len(warnings) == DEFAULTS.stranger_log
        peer.wait(60)
        peer.send(b"\xfe\n")
        assert len(warnings) == DEFAULTS.stranger_log + 1
        assert f"(and {1000 - DEFAULTS.stranger_log} others)" in warnings[-1]

    def test_one_kind_does_not_hide_another(self, peer: Peer, warnings: list[str]) -> None:
        """A flood of one kind of abuse takes none of the lines of another kind."""
        peer.send(b"\xfe\n" * 100, rounds=2000)
        peer.send(b"x" * (DEFAULTS.session_line + 1) + b"\n")
        assert "too long" in warnings[-1]


CHUNKS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [IAC + IP, IAC + SB, IAC + SE, IAC, IAC + DO, IAC + WILL + ECHO, b"\r", b"\n", b"\r\0", b"\x03"]
        ),
        st.sampled_from([f"{line}\n".encode() for line in ("!stop", "!registers", "!step 3", "!run", *ENDLESS)]),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(chunks=CHUNKS, end=st.booleans())
def test_no_bytes_do_any_harm(chunks: list[bytes], end: bool) -> None:
    """Any bytes in any chunks: never an exception, never a hang, bounded memory, and nothing left behind."""
    peer = Peer()
    for chunk in chunks:
        peer.telnet.dataReceived(chunk)
        peer.node.reactor.iterate(3)
        assert len(peer.telnet._held) < 2048
    if end:
        peer.end_input(rounds=20)
    elif not peer.closed:
        peer.telnet.dataReceived(IAC + SE + b"\x03\n")
        peer.wait(PATIENCE, rounds=20)
        peer.send(b"\x03!stop\n")
        peer.wait(PATIENCE, rounds=20)
        peer.send(b"\x03!members --json\n", rounds=100)
    peer.hang_up()
    assert peer.node.reactor.calls == []
    assert peer.node.texts.followers == []


def test_limits_with_what_is_in_use() -> None:
    """`!limits` tells value, unit, use, reason and whether it was changed, to people and to tools."""
    factory = ReplFactory(FakeNode(limits=Limits(sessions=7, session_queue=3)))
    peers = [Peer(factory) for _ in range(3)]
    peers[0].read()
    told = json.loads(peers[0].send("!limits --json").removesuffix(">>> "))["limits"]
    by_name = {row["name"]: row for row in told}
    assert list(by_name) == [row.name for row in TABLE]
    sessions = by_name["sessions"]
    assert (sessions["value"], sessions["default"], sessions["unit"]) == (7, 200, "sessions")
    assert (sessions["in_use"], sessions["changed"]) == (3, True)
    assert (by_name["idle"]["in_use"], by_name["idle"]["changed"]) == (None, False)
    text = peers[0].send("!limits")
    assert re.search(
        r"^sessions +7 sessions +3 +sessions at once \(changed; 200 if not said\)$", text, re.MULTILINE
    )
    assert all(row.reason in text for row in TABLE)
    factory.stop()


def test_a_little_is_read_at_a_time() -> None:
    """Whoever sends telnet commands without end has a few milliseconds of a turn, not a tenth of a second."""
    tcp = SimpleNamespace(setTcpKeepAlive=bool, setTcpNoDelay=bool, bufferSize=65536)
    _configure(tcp)
    assert tcp.bufferSize == AT_ONCE
