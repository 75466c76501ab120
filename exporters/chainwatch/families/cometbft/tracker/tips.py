"""Who is where: how far the streams and the watched node have come, and what they have had time to tell."""

from __future__ import annotations

from collections import deque

# Looks of which the newest height is remembered.
LOOKS = 100


class Tips:
    """Newest blocks, as streams and looks at the nodes told them. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        # By vantage point: when its stream last told something, and the newest block that it told.
        self._heard: dict[int, float] = {}
        self._told: dict[int, int] = {}

    def heard(self, vantage: int, now: float) -> None:
        """A stream told anything."""
        self._heard[vantage] = now

    def told(self, vantage: int, height: int) -> None:
        """A stream told a block that can be believed."""
        self._told[vantage] = height

    def interrupted(self, vantage: int) -> None:
        """A stream may leave out what comes next."""
        self._told.pop(vantage, None)

    def looked(self, now: float, height: int) -> None:
        """This is the newest height that anybody names now."""
        self._looks.append((now, height))

    def to_tell(self, now: float, grace: float) -> int:
        """Return the newest height of which the streams have had time to tell, which is `grace` seconds.

        One wrong answer is forgotten by the next look: only what was named then and is still reached counts.
        """
        before = next((height for at, height in reversed(self._looks) if at <= now - grace), 0)
        tip = min(before, self._looks[-1][1]) if before else 0
        # A stream tells in order: what is above its newest block may still come, as long as it tells anything.
        telling = [block for vantage, block in self._told.items() if self._heard[vantage] > now - grace]
        return min(tip, max(telling, default=tip))
