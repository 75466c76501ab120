"""Following a log file that grows, is renamed, is cut, or is not there yet.

The file is known by its inode and read from an offset, so that a rename loses nothing and a restart of the exporter
counts nothing twice. Bytes are handed on as whole lines; what the lines mean is the business of the family.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chainwatch.streams.health import StreamHealth

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
# Small enough that one step holds the event loop for some 20 ms at most.
STEP_BYTES = 256 * 1024
LINE_LIMIT_BYTES = 64 * 1024
TAIL_BYTES = 64 * 1024
# The bytes before the offset, compared at each read: they tell a file that was cut and has grown again.
MARK_BYTES = 256
# A shorter mark is too easily found by chance.
MARK_BYTES_UNIQUE = 64
# How far a rewritten file is searched for the mark; Bitcoin Core shrinks its log to 10 MB when it starts.
SEARCH_BYTES = 32 * 1024 * 1024


class Lines:
    """Makes whole lines of pieces; holds at most one line limit of bytes back."""

    def __init__(self, limit: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit
        self._rest = b""
        self._skipping = False
        self.cut = 0  # lines that were longer than the limit and were cut to it

    def feed(self, data: bytes) -> bytes:
        """Return the lines that are complete now, each with its newline and none longer than the limit."""
        if self._skipping:
            newline = data.find(b"\n")
            if newline < 0:
                return b""
            self._skipping = False
            data = data[newline + 1 :]
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, self._rest = self._bounded(data[:end]), data[end:]
        if len(self._rest) > self._limit:
            whole += self._rest[: self._limit] + b"\n"
            self.cut += 1
            self.skip()
        return whole

    def finish(self) -> bytes:
        """Return what is left as a line of its own: nothing more comes from this file."""
        rest, self._rest, self._skipping = self._rest, b"", False
        return rest + b"\n" if rest else b""

    def skip(self) -> None:
        """Forget what is left, and everything up to the next newline."""
        self._rest, self._skipping = b"", True

    def _bounded(self, whole: bytes) -> bytes:
        start = 0
        while len(whole) - start > self._limit:
            newline = whole.rfind(b"\n", start, start + self._limit + 1)
            if newline < 0:
                return self._cut_long(whole)
            start = newline + 1
        return whole

    def _cut_long(self, whole: bytes) -> bytes:
        lines = whole[:-1].split(b"\n")
        self.cut += sum(len(line) > self._limit for line in lines)
        return b"".join(line[: self._limit] + b"\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Step:
    """What one look at the file gave."""

    data: bytes = b""
    ended: bool = False  # the file is complete, the next bytes come from its successor
    lost: bool = False  # the file was cut: bytes may be lost, and reading starts again at its beginning
    again: bool = False  # there is more to do at once


class Tail:
    """The file itself: opens it, reads on, notices that it was replaced or cut. Blocking, for one thread.

    One writer is assumed, who opens the new file only when done with the old one.
    """

    def __init__(self, path: Path, step: int = STEP_BYTES) -> None:
        self._path = path
        self._step = step
        self._fd: int | None = None
        self._id: tuple[int, int] = (0, 0)
        self._offset = 0
        self._mark = b""
        self._from_start = False
        self._replaced = False
        self._suspect = False

    @property
    def is_open(self) -> bool:
        """Whether a file is being followed."""
        return self._fd is not None

    def open(self) -> bytes:
        """Open the file and return up to 64 KiB before the place where reading will start.

        That place is the end of the file, unless it was missing before and everything in it is news.
        Raises OSError.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._from_start = True
            raise
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self._path))
            self._offset = 0 if self._from_start else state.st_size
            start = max(0, self._offset - TAIL_BYTES)
            tail = os.pread(fd, self._offset - start, start)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._id = fd, (state.st_dev, state.st_ino)
        self._mark = tail[-MARK_BYTES:]
        self._from_start = True  # whatever file comes next is new
        return tail

    def read(self) -> Step:
        """Read on by at most one step of bytes. Raises OSError."""
        assert self._fd is not None
        mark = self._mark
        data = os.pread(self._fd, self._step + len(mark), self._offset - len(mark))
        if data[: len(mark)] != mark:
            return self._cut()
        self._suspect = False
        data = data[len(mark) :]
        if data:
            self._offset += len(data)
            self._mark = (mark + data)[-MARK_BYTES:]
            return Step(data, again=True)
        if self._replaced:
            # The successor had bytes before this last look at the old file, so the old file is complete.
            self.close()
            return Step(ended=True, again=True)
        self._replaced = self._has_successor()
        return Step(again=self._replaced)

    def close(self) -> None:
        """Close the file; the next open reads the file of this name from its beginning."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None
        self._replaced = self._suspect = False

    def _has_successor(self) -> bool:
        """Whether another file of this name holds bytes; logrotate creates it empty before the writer moves on."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return False
        return (state.st_dev, state.st_ino) != self._id and state.st_size > 0

    def _cut(self) -> Step:
        """Go on in a file whose earlier bytes have changed, from the known bytes if they are still in it."""
        if not self._suspect:
            # Look again at the next poll: the writer may be in the middle of rewriting the file.
            self._suspect = True
            return Step()
        self._suspect = False
        found = self._find_mark()
        if found is not None:
            self._offset = found
            return Step(again=True)
        self._offset, self._mark = 0, b""
        return Step(lost=True, again=True)

    def _find_mark(self) -> int | None:
        """Return the offset after the last place where the mark stands, from a whole-file search."""
        assert self._fd is not None
        if len(self._mark) < MARK_BYTES_UNIQUE:
            return None
        position, kept, found = 0, b"", None
        while position < SEARCH_BYTES:
            data = os.pread(self._fd, self._step, position)
            if not data:
                break
            window = kept + data
            at = window.rfind(self._mark)
            if at >= 0:
                found = position - len(kept) + at + len(self._mark)
            position += len(data)
            kept = window[-(len(self._mark) - 1) :]
        return found


class LogFollower:
    """Follows one log file for as long as `run` runs.

    `handle` receives whole lines as one bytes object: every line ends in a newline, none is longer than 64 KiB, a
    call holds the event loop for one step of 256 KiB at most. `prime` receives, once, the last whole lines before
    the place where reading starts: old news, good only to learn what lines look like.
    An error raised by either ends `run`.
    """

    def __init__(
        self,
        path: Path,
        handle: Callable[[bytes], None],
        health: StreamHealth,
        *,
        prime: Callable[[bytes], None] | None = None,
        poll: float = POLL_SECONDS,
        step: int = STEP_BYTES,
    ) -> None:
        self.path = path
        self.health = health
        self.status = f"{path}: not opened yet"
        self._handle = handle
        self._prime = prime
        self._poll = poll
        self._tail = Tail(path, step)
        self._lines = Lines()

    @property
    def lines_cut(self) -> int:
        """Lines that were longer than 64 KiB and were cut to that."""
        return self._lines.cut

    def silent(self) -> None:
        """Note that something happened which should be in this file and is not; the next line makes up for it."""
        if self.health.connected:
            self.health.silent()
            self._say(
                logging.WARNING,
                f"{self.path}: silent although the node has new blocks. Does this node write its log there?",
            )

    async def run(self) -> None:
        """Follow the file until cancelled; waits for a file that is missing or may not be read."""
        # Reads happen in a thread of their own: a disk that hangs must not hang the scrape.
        thread = ThreadPoolExecutor(1, thread_name_prefix="log-follower")
        try:
            while True:
                again = await self._turn(thread)
                await asyncio.sleep(0 if again else self._poll)
        finally:
            self.health.down()
            thread.submit(self._tail.close)
            thread.shutdown(wait=False)

    async def _turn(self, thread: ThreadPoolExecutor) -> bool:
        """Do one step; return whether there is more to do at once."""
        loop = asyncio.get_running_loop()
        try:
            if not self._tail.is_open:
                self._opened(await loop.run_in_executor(thread, self._tail.open))
            step = await loop.run_in_executor(thread, self._tail.read)
        except OSError as error:
            self._failed(error)
            return False
        self._take(step)
        return step.again

    def _opened(self, tail: bytes) -> None:
        if not tail:
            return
        if not tail.endswith(b"\n"):
            self._lines.skip()
        if self._prime is not None:
            first = tail.find(b"\n") + 1 if len(tail) == TAIL_BYTES else 0
            prime, self._prime = self._prime, None
            prime(tail[first : tail.rfind(b"\n") + 1])

    def _take(self, step: Step) -> None:
        self.health.up()
        if step.data:
            self.health.event()
        if not self.health.deaf:
            self._say(logging.INFO, f"{self.path}: following it")
        if step.data:
            lines = self._lines.feed(step.data)
        elif step.ended:
            lines = self._lines.finish()
            log.info("%s: replaced by a new file, going on there", self.path)
        else:
            lines = b""
        if step.lost:
            self._lines.finish()
            self.health.gap()
            log.warning(
                "%s: it was cut while being followed, lines may be lost; starting again at its beginning."
                " If logrotate does this, prefer rename and SIGHUP to copytruncate.",
                self.path,
            )
        if lines:
            self._handle(lines)

    def _failed(self, error: OSError) -> None:
        self.health.down()
        if isinstance(error, FileNotFoundError):
            text = f"{self.path}: no such file; waiting for it. If the node runs, check --log.file"
        elif isinstance(error, PermissionError):
            text = (
                f"{self.path}: permission denied; the exporter's user must be allowed to read the file"
                " and to enter every folder above it. Trying again"
            )
        else:
            text = f"{self.path}: cannot be read: {error.strerror or error}. Trying again"
        self._say(logging.WARNING, text)

    def _say(self, level: int, text: str) -> None:
        """Log a new state once, not at every poll."""
        if text != self.status:
            self.status = text
            log.log(level, "%s", text)
