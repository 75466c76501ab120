"""`chainwatch cometbft top`: the live view on a terminal, as the exporter tells it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from chainwatch.errors import ChainwatchError
from chainwatch.families.cometbft.settings import CometbftSettings
from chainwatch.families.cometbft.view.document import Snapshot
from chainwatch.families.cometbft.view.reader import Exporter, exporter
from chainwatch.families.cometbft.view.screen import Size, frame

RETRY_SECONDS = 1.0
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
# Without a terminal there is no width to keep to, save what a log or a mail can take.
PAGE_COLUMNS = 160


def run(settings: CometbftSettings) -> int:
    """Show the consensus until q or Ctrl-C; once where standard output is no terminal. Returns the exit code.

    Raises `ChainwatchError` where no exporter answers at first; later it shows that the data are old, and tries again.
    """
    source = exporter(settings)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if not sys.stdout.isatty():
        doc = asyncio.run(source.once())
        print("\n".join(frame(doc, Size(PAGE_COLUMNS, None), time.time(), styled=False)))  # noqa: T201 - its purpose
        return 0
    return asyncio.run(Live(source).run())


class Live:
    """The screen while it is shown."""

    def __init__(self, exporter: Exporter, write: Callable[[str], None] | None = None) -> None:
        self._exporter = exporter
        self._write = write or _to_terminal
        self._doc: Snapshot | None = None
        self._offset = 0.0  # of the exporter's clock to this one
        self._problem = ""
        self._wake = asyncio.Event()
        self._code: int | None = None

    async def run(self) -> int:
        """Show frames until somebody ends it."""
        self._take(await self._exporter.once())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.end, 0 if number == signal.SIGINT else 128 + number)
        loop.add_signal_handler(signal.SIGWINCH, self._wake.set)
        with _keys(self._key), self._alternate_screen():
            follower = asyncio.create_task(self._follow())
            try:
                while self._code is None:
                    self._wake.clear()
                    self._draw()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), 1.0)
            finally:
                follower.cancel()
                await asyncio.wait([follower])
        return self._code

    def end(self, code: int = 0) -> None:
        """Stop with this exit code."""
        self._code = code
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            try:
                async for doc in self._exporter.stream():
                    self._take(doc)
                    self._wake.set()
                self._problem = "the exporter ended the stream"
            except ChainwatchError as error:
                self._problem = str(error)
            self._wake.set()
            await asyncio.sleep(RETRY_SECONDS)

    def _take(self, doc: Snapshot) -> None:
        self._doc, self._problem, self._offset = doc, "", doc.time - time.time()

    def _draw(self) -> None:
        if self._doc is None:
            return
        columns, lines = shutil.get_terminal_size()
        styled = "NO_COLOR" not in os.environ
        rows = frame(self._doc, Size(columns, lines), time.time() + self._offset, styled=styled, problem=self._problem)
        self._write(HOME + (END_OF_LINE + "\r\n").join(rows) + END_OF_LINE + BELOW)

    @contextlib.contextmanager
    def _alternate_screen(self) -> Iterator[None]:
        self._write(ENTER)
        try:
            yield
        finally:
            self._write(LEAVE)

    def _key(self, keys: bytes) -> None:
        if keys in (b"", b"q", b"Q", b"\x03", b"\x04"):  # nothing: the terminal is gone
            self.end()


@contextlib.contextmanager
def _keys(pressed: Callable[[bytes], None]) -> Iterator[None]:
    """Hand over keys as they are pressed, where somebody can press them."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: pressed(os.read(descriptor, 64)))
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _to_terminal(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
