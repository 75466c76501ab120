"""The watched node's newest blocks: when they were first seen, and how long one takes."""

from __future__ import annotations

from collections import deque
from statistics import median

# Intervals of which the median is taken.
INTERVALS = 100
# Blocks that a chain can make at the very most in a second, and besides: clocks differ, and a block's time is earlier
# than the block.
PER_SECOND, SPARE = 20, 1000
# A height that cannot be is believed when it was answered so many times in a row.
SURE = 3
# A node that for so long answers less than it once did has fallen back, or was once misunderstood.
FALLEN_SECONDS = 10.0
# Blocks whose first sight is remembered: a scrape asks for the newest, which may have moved on meanwhile.
REMEMBERED = 32


class Tip:
    """First sight by height, and recent header times. Times are Unix seconds."""

    def __init__(self) -> None:
        self.height = 0
        self._seen: dict[int, float] = {}
        self._headers: deque[tuple[int, float]] = deque(maxlen=INTERVALS + 1)
        self._interval: float | None = None
        self._time: float | None = None  # of the newest block
        self._leaps = 0
        self._lower_since: float | None = None

    def reach(self, now: float) -> int:
        """Return the highest block that the chain can have by now; 0 before the node told any.

        Any stream, peer or proxy may name any height, and of the highest that was told only a still higher one would
        rid us.
        """
        if self._time is None:
            return 0
        return self.height + SPARE + int(PER_SECOND * max(0.0, now - self._time))

    def answered(self, height: int, time: float, now: float) -> bool:
        """/status names this block, of this time, as the newest; return whether that is believed.

        One wrong answer, as of a proxy that asks another node, must not count; one that stays must.
        """
        if self._time is not None and height > self.reach(now):
            self._leaps += 1
            if self._leaps < SURE:
                return False
        self._leaps = 0
        if height >= self.height:
            self._lower_since = None
            self._time = time
        elif self._lower_since is None:
            self._lower_since = now
        elif now - self._lower_since >= FALLEN_SECONDS:
            self._fall(height, time)
        return True

    def _fall(self, height: int, time: float) -> None:
        self.height, self._time, self._lower_since = height, time, None
        self._seen = {below: at for below, at in self._seen.items() if below <= height}
        while self._headers and self._headers[-1][0] > height:
            self._headers.pop()
        self._interval = None

    def first_seen(self, height: int) -> float | None:
        """When the node's block of this height was first seen; None when that is not remembered."""
        return self._seen.get(height)

    def saw(self, height: int, at: float) -> None:
        """The node has this block now; only the first time counts."""
        if height > self.height:
            self.height, self._lower_since = height, None
        if height <= 0 or height in self._seen or height < self.height - REMEMBERED:
            return
        self._seen[height] = at
        while len(self._seen) > REMEMBERED:
            del self._seen[min(self._seen)]

    def header(self, height: int, time: float) -> None:
        """A block's header says this time; heights are told in rising order, gaps are no interval."""
        if self._headers and height <= self._headers[-1][0]:
            return
        self._headers.append((height, time))
        if height >= self.height:
            self._time = time
        self._interval = None

    @property
    def latest_header(self) -> float | None:
        """Time of the newest header that was told."""
        return self._headers[-1][1] if self._headers else None

    @property
    def interval(self) -> float | None:
        """Median of the recent intervals between header times; None before there are any."""
        if self._interval is None:
            pairs = zip(self._headers, list(self._headers)[1:], strict=False)
            found = [later - earlier for (low, earlier), (high, later) in pairs if high == low + 1]
            self._interval = max(median(found), 0.0) if found else None
        return self._interval

    def forget(self) -> None:
        """It is another node, or another chain."""
        self.__init__()  # type: ignore[misc]
