"""``iridium repl``: the shell on this terminal, with a node of its own.

The prompt runs in the main thread, where Ctrl-C arrives and line editing works; the node's reactor in another.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from iridium.cli.status import USAGE, ExitError, tell_of_building
from iridium.cli.streams import Output
from iridium.errors import IridiumError
from iridium.options import OPTIONS, configure
from iridium.repl.lines import BadLineError, LineReader
from iridium.vm.engine import FALLING_BACK, missing_llvmlite

PROMPT = ">>> "

PIECE = 64 * 1024
"""Bytes that are read from a pipe at once."""

HISTORY = 1000
"""Lines of history that are kept between sessions."""

INSIST = 0.1
"""Seconds until a signal that had no effect is sent again."""

T = TypeVar("T")


def _node_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a node."""
    for option in reversed(OPTIONS):
        names = [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]
        decorate = click.option(
            *names,
            option.name.replace("-", "_"),
            is_flag=option.flag,
            multiple=option.many,
            help=option.help,
            **({} if option.flag else {"metavar": option.metavar, "default": None}),
        )
        command = decorate(command)
    return command


class Prompt:
    """The terminal's side of a session: reads lines, waits for each to be done, shows what comes.

    Args:
        output: where text goes.
        interactive: whether a person types; only then prompts are shown.

    Attributes:
        closed: set when the session is over.
        waiting: whether it waits for a line.
        lost: why text can no longer be shown, or None.
        on_lost: called when that begins.
    """

    def __init__(self, output: Output, interactive: bool) -> None:
        self._output = output
        self._interactive = interactive
        self.waiting = False
        self._reader = LineReader()
        self._lines: deque[str | BadLineError] = deque()
        self.closed = threading.Event()
        self.lost: BaseException | None = None
        self.on_lost: Callable[[], Any] = lambda: None

    def write(self, text: str) -> None:
        """Show text of the session; its prompts are ours to give, except the one that a text from afar repeats."""
        if text in (PROMPT, f"\n{PROMPT}") and not (self.waiting and self._interactive):
            text = text.removesuffix(PROMPT)
        if self.lost is not None:
            return
        try:
            self._output.write(text)
        except (BrokenPipeError, ExitError) as error:
            self.lost = error
            self.closed.set()
            self.on_lost()

    def read(self) -> str | BadLineError | None:
        """The next line, or None at the end of input; Ctrl-C gives up what was typed."""
        try:
            while not self._lines:
                data = self._typed() if self._interactive else self._piped()
                if data is None:
                    return None
                self._lines.extend(self._reader.feed(data) if data else self._reader.finish())
                if not data and not self._lines:
                    return None
            return self._lines.popleft()
        except UnicodeDecodeError as error:
            return BadLineError("not UTF-8", f"{error}; the line was dropped")

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False

    def _typed(self) -> bytes | None:
        """What was typed, which is several lines where they were pasted; None at the end."""
        try:
            with self._waiting():
                return input(PROMPT).encode(errors="surrogateescape") + b"\n"
        except KeyboardInterrupt:
            self.write("\n")
            return b"\n"
        except EOFError:
            self.write("\n")
            return None

    def _piped(self) -> bytes | None:
        """The next piece of the input, empty at its end; None where the process was started without any."""
        if sys.stdin is None:
            return None
        with self._waiting():
            return os.read(sys.stdin.fileno(), PIECE)


LONGEST_END = 60.0
"""Seconds that the reactor may take to end. It waits for the native interpreter that is being built, a second or
two and many times that on a busy machine: a process that ends under LLVM crashes."""


class Background:
    """A reactor in a thread of its own."""

    def __init__(self) -> None:
        from iridium.cluster.sparing import spare_openssl

        spare_openssl()
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self._thread = threading.Thread(target=reactor.run, args=(False,), daemon=True, name="reactor")
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the reactor's thread and wait for its result, also a Deferred's."""
        from twisted.internet.defer import maybeDeferred

        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.reactor.callFromThread(lambda: maybeDeferred(function).addBoth(results.put))
        result = results.get()
        error = getattr(result, "value", None)
        if isinstance(error, BaseException):
            raise error
        return result

    def stop(self) -> None:
        """End the reactor."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(LONGEST_END)


@click.command()
@_node_options
def repl(**given: Any) -> None:
    """Type assembly and see it run; `!help` lists the commands.

    The shell has a node of its own, which listens once you say `!start_cluster`. Without --node-alias and
    --data-root-dir the node is nobody in particular: its data is gone when the shell ends.
    """
    _end_on(signal.SIGTERM, signal.SIGHUP)
    names = {option.name.replace("-", "_"): option.name for option in OPTIONS}
    typed = {names[key]: value for key, value in given.items()}
    with _data_root(typed):
        try:
            config = configure(typed)
        except IridiumError as error:
            raise ExitError(f"iridium: {error}", USAGE) from None
        if config.engine == "auto" and (missing := missing_llvmlite()):
            click.echo(f"iridium: {missing}; {FALLING_BACK}", err=True)
        tell_of_building()
        background = Background()
        try:
            _converse(background, config)
        finally:
            background.stop()


@contextlib.contextmanager
def _data_root(typed: dict[str, Any]) -> Iterator[None]:
    if typed["data-root-dir"] or typed["node-alias"]:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="iridium-") as directory:
        typed["data-root-dir"] = directory
        yield


def _converse(background: Background, config: Any) -> None:
    from iridium.node import Node
    from iridium.repl.session import Session
    from iridium.supervision.wiring import supervise

    interactive = sys.stdin is not None and sys.stdin.isatty()
    prompt = Prompt(Output(), interactive)
    nodes: list[Node] = []
    sessions: list[Session] = []

    def start() -> Session:
        node = Node(background.reactor, config)
        nodes.append(node)
        supervise(node)
        if config.join:
            node.start_cluster()
        node.start()
        session = Session(node, prompt.write, prompt.closed.set, local=True)
        prompt.on_lost = lambda: background.reactor.callFromThread(session.end)
        sessions.append(session)
        session.start()
        return session

    def interrupt(number: int, frame: Any) -> None:
        # Pressed twice, or just between two lines, Ctrl-C must not end the shell that somebody types at. Before
        # there is one, it gives up the start.
        if prompt.waiting or not sessions or not (interactive or sessions[0].executing):
            if not (interactive and sessions):  # that ends the shell: the next must not meet it half-way
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise KeyboardInterrupt
        background.reactor.callFromThread(sessions[0].interrupt)

    def end() -> Any:
        for session in sessions:
            session.end()
        return nodes[0].stop() if nodes else None

    signal.signal(signal.SIGINT, interrupt)
    try:
        try:
            session = background.call(start)
        except IridiumError as error:
            raise ExitError(f"iridium: {error}", 1) from None
        if interactive:
            _edit_lines(session)
        while not prompt.closed.is_set():
            line = prompt.read()
            if line is None:
                break
            background.call(lambda line=line: _give(session, line))  # type: ignore[misc]
        if prompt.lost is not None:
            raise prompt.lost
    finally:
        # Pressed once more it must not interrupt this: what ends with threads of machine code running may crash.
        # It stays ignored, since Python ends by letting it kill the process otherwise.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        background.call(end)


def _give(session: Any, line: str | BadLineError) -> Any:
    return session.reject(line) if isinstance(line, BadLineError) else session.submit(line)


def _end_on(*numbers: int) -> None:
    """Let signals that end the process clear up first."""
    ending = threading.Event()

    def end(number: int, frame: Any) -> None:
        if not ending.is_set():
            ending.set()
            raise SystemExit(128 + number)

    def insist() -> None:
        # Python runs handlers in the main thread; where that just begins to wait for a key as the signal comes, or
        # another thread gets the signal, it would go on waiting. Sent again to that thread, it ends the waiting.
        while not ending.is_set():
            for number in os.read(came, 1):
                while number in numbers and not ending.wait(INSIST):
                    signal.pthread_kill(main, number)

    main = threading.get_ident()
    came, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, end)
    threading.Thread(target=insist, daemon=True, name="signals").start()


def _edit_lines(session: Any) -> None:
    """History, kept between sessions, and completion of commands, mnemonics and labels."""
    try:
        import readline
    except ImportError:  # a Python built without it still has a prompt
        return
    import platformdirs

    from iridium.repl import completion

    def complete(start: str, state: int) -> str | None:
        matching = completion.complete(session, start)
        return f"{matching[state]} " if state < len(matching) else None

    readline.set_completer_delims(" \t")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(HISTORY)
    file = Path(platformdirs.user_state_path("iridium")) / "history"
    with contextlib.suppress(OSError):  # no history is no reason for no shell
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(os.fspath(file))
        atexit.register(lambda: _save_history(os.fspath(file)))


def _save_history(file: str) -> None:
    import readline

    with contextlib.suppress(OSError):
        readline.write_history_file(file)
