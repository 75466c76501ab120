"""Taking the prefix off a line of debug.log, and refusing lines that this node would not write.

A message can hold newlines (wallet dumps, and text of others that the node did not clean), so a line counts only when
its prefix has the form that this node uses: the same kind of time, and a thread name where the others have one. That
form is learnt from the log, because it depends on version and settings, and followed when it changes at a restart.
A forged line that repeats the whole prefix cannot be told from a real one, nor can any with -logtimestamps=0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from chainwatch.families.bitcoin.log.patterns import PREFIX

# Consecutive lines of another form after which that form is this node's. Lines without time need more, since a
# message may span many lines; one hundred of them at the start of an unknown log are enough.
_LINES_TO_SWITCH = 20
_LINES_TO_DROP_TIME = 2000
_LINES_TO_START_WITHOUT_TIME = 100
_NAMES_TO_BELIEVE = 2
# Brackets repeat, so what they mean is kept; source locations and wallet names are many, so not without bound.
_KNOWN_BRACKETS = 4096

THREAD = re.compile(
    rb"init|initload|loadblk|import_files|main|msghand|scheduler|opencon|addcon|dnsseed|openstream|torcontrol|i2paccept"
    rb"|mapport|upnp|shutoff|qt-init|capnp-loop|httpworker\.\d+|http_pool_\d+|httpworker|scriptch(?:\.\d+)?|txindex"
    rb"|coinstatsindex|txospenderidx|[a-z ]+ filter index|bg-[a-z-]+"
    # Bitcoin SV
    rb"|worker\d+-[A-Z]-\w+|bitcoin-\w+|mempooldb-[0-9a-f]+|Async RemoveForBlock|invalidtxnpublisher"
    rb"|rawtransactionvalidator|zmqpublisherthread|mineridsync|txnvalidator|"
)
# Both a thread and a category.
THREAD_OR_CATEGORY = frozenset({b"net", b"http"})
CATEGORIES = frozenset(
    b"net tor mempool http bench zmq walletdb rpc estimatefee addrman selectcoins reindex cmpctblock rand prune proxy"
    b" mempoolrej libevent coindb db qt leveldb validation i2p ipc lock util blockstorage txreconciliation scan"
    b" txpackages kernel privatebroadcast all".split()
)
LEVELS = frozenset({b"trace", b"debug", b"info", b"warning", b"error"})
SOURCE = re.compile(rb"[\w./-]+\.(?:cpp|h):\d+")
_ANY_THREAD = re.compile(rb"[\w. -]{0,32}")


class Tags(NamedTuple):
    """What the brackets before a message say."""

    thread: str | None  # None: the node does not write thread names, or this one is not known
    category: str | None
    level: str | None
    rest: int  # bytes at the end of the brackets that belong to the message, such as a wallet's name
    threaded: bool | None  # whether this line shows that the node writes thread names; None when it does not tell


class Line(NamedTuple):
    """One line that this node wrote."""

    time: bytes
    tags: Tags
    message: bytes
    limited: bool  # marked `[*]`: the node is dropping lines of some source

    def timestamp(self) -> float | None:
        """Return the line's Unix time, None where there is none."""
        return parse_time(self.time)


def parse_time(text: bytes) -> float | None:
    """Return the Unix time of a stamp as the node writes it (always UTC), or None when it is none."""
    try:
        stamp = datetime.fromisoformat(text.decode("ascii").strip())
    except ValueError:
        return None
    return stamp.replace(tzinfo=UTC).timestamp()


def classify(brackets: bytes, threads: bool | None) -> Tags:
    """Say what brackets mean, from left to right, stopping at the first that is unknown.

    `threads` tells whether this node writes thread names, None when that is not known.
    """
    parts = brackets[1:-2].split(b"] [") if brackets else []
    thread, threaded, used = _take_thread(parts, threads)
    if len(parts) > used + 1 and SOURCE.fullmatch(parts[used]):
        used += 2
    category = level = None
    if len(parts) > used:
        category, level = _category(parts[used])
        used += category is not None or level is not None
    if threads and thread is None:
        used = 0  # not a line of this node's form
    rest = sum(len(part) + 3 for part in parts[used:])
    return Tags(thread, category, level, rest, threaded)


def _take_thread(parts: list[bytes], threads: bool | None) -> tuple[str | None, bool | None, int]:
    """Return the thread's name, whether the line shows that there are names, and how many brackets it took."""
    if not parts:
        return None, False, 0
    first = parts[0]
    both = len(parts) > 1 and _category(parts[1]) != (None, None)
    if first in THREAD_OR_CATEGORY:
        if threads or (threads is None and both):
            return first.decode(), None, 1
        return None, None, 0
    if THREAD.fullmatch(first):
        return first.decode(), True, 1
    if threads and _category(first) == (None, None) and _ANY_THREAD.fullmatch(first):
        return first.decode("ascii", "replace"), None, 1  # a thread that later versions may have
    return None, False if _category(first) != (None, None) else None, 0


def _category(part: bytes) -> tuple[str | None, str | None]:
    """Return category and level of one bracket, None for what it does not name."""
    if part in CATEGORIES:
        return part.decode(), None
    if part in LEVELS:
        return None, part.decode()
    category, colon, level = part.partition(b":")
    if colon and category in CATEGORIES and level in LEVELS:
        return category.decode(), level.decode()
    return None, None


class PrefixReader:
    """Splits lines, knows this node's form of prefix, and leaves out lines that do not have it."""

    def __init__(self) -> None:
        self._width: int | None = None  # bytes of the time and its blank: 0, 20, 21, 27 or 28, which names its kind
        self._threads: bool | None = None
        self._other_width: tuple[int, int] = (0, 0)  # another width, and how many lines in a row had it
        self._other_threads = 0  # lines in a row that contradict what is known of threads
        self._names: set[str] = set()  # threads named in such lines
        self._tags: dict[bytes, Tags] = {}

    def learn(self, chunk: bytes) -> None:
        """Learn the form from whole lines that are old news."""
        lines = [line for line in chunk.split(b"\n") if line]
        widths = Counter(_time_width(line) for line in lines)
        timed = {width: count for width, count in widths.items() if width}
        if timed:
            self._width = max(timed, key=timed.__getitem__)
        elif len(lines) >= _LINES_TO_START_WITHOUT_TIME:
            self._width = 0
        for _ in self.read(chunk):
            pass

    def read(self, chunk: bytes) -> Iterator[Line]:
        """Return the lines of a chunk that have this node's form."""
        prefix = PREFIX.compiled.match
        for text in chunk.split(b"\n"):
            if not text:
                continue
            found = prefix(text)
            assert found is not None  # every part is optional
            limited, time, brackets = found.group(1, 2, 3)
            width = len(time) if time else 0
            if width != self._width and not self._switches(width):
                continue
            if self._other_width[1] and width:
                self._other_width = (0, 0)
            tags = self._tags.get(brackets) or self._classify(brackets)
            if tags.threaded is not None:
                if tags.threaded is self._threads:
                    self._other_threads = 0
                elif self._rethreads(tags):
                    tags = self._classify(brackets)
                elif self._threads is not None:
                    continue
            yield Line(time or b"", tags, text[found.end() - tags.rest :], limited is not None)

    def _classify(self, brackets: bytes) -> Tags:
        if len(self._tags) >= _KNOWN_BRACKETS:
            self._tags.clear()
        tags = self._tags[brackets] = classify(brackets, self._threads)
        return tags

    def _switches(self, width: int) -> bool:
        """Count a line with another kind of time; return whether that kind is now this node's."""
        last, count = self._other_width
        if not width and last:
            return False  # lines without time say nothing about a change between two kinds of time
        count = count + 1 if width == last else 1
        self._other_width = (width, count)
        if width:
            needed = 1 if self._width is None else _LINES_TO_SWITCH
        else:
            needed = _LINES_TO_START_WITHOUT_TIME if self._width is None else _LINES_TO_DROP_TIME
        if count < needed:
            return False
        self._width, self._other_width = width, (0, 0)
        return True

    def _rethreads(self, tags: Tags) -> bool:
        """Count a line that contradicts what is known of thread names; return whether that is now believed.

        One name alone could be that of a wallet, so two are needed to believe that there are names.
        """
        self._other_threads += 1
        if tags.threaded:
            self._names.add(tags.thread or "")
        if tags.threaded and len(self._names) < _NAMES_TO_BELIEVE:
            return False
        if self._threads is not None and self._other_threads < _LINES_TO_SWITCH:
            return False
        self._threads, self._other_threads = tags.threaded, 0
        self._names.clear()
        self._tags.clear()
        return True


def _time_width(line: bytes) -> int:
    found = PREFIX.compiled.match(line)
    return len(found["time"] or b"") if found else 0
