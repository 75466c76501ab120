"""The watched node's newest blocks: when they were first seen, and how long one takes."""

from __future__ import annotations

from collections import deque
from statistics import median

# Intervals of which the median is taken.
INTERVALS = 100
# Blocks whose first sight is remembered: a scrape asks for the newest, which may have moved on meanwhile.
REMEMBERED = 32


class Tip:
    """First sight by height, and recent header times. Times are Unix seconds."""

    def __init__(self) -> None:
        self.height = 0
        self._seen: dict[int, float] = {}
        self._headers: deque[tuple[int, float]] = deque(maxlen=INTERVALS + 1)
        self._interval: float | None = None

    def first_seen(self, height: int) -> float | None:
        """When the node's block of this height was first seen; None when that is not remembered."""
        return self._seen.get(height)

    def saw(self, height: int, at: float) -> None:
        """The node has this block now; only the first time counts."""
        self.height = max(self.height, height)
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
