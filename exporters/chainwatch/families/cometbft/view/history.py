"""The last settled heights, and who has missed how many of them in a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from chainwatch.families.cometbft.consensus.model import Result, Settled

HEIGHTS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One settled height, reduced to what is shown."""

    height: int
    round: int
    how: str
    absent: tuple[str, ...]  # addresses, in index order
    nil: tuple[str, ...]
    committed_seen: float | None
    interval: float | None  # seconds since the block before was seen


@dataclass(frozen=True, slots=True)
class Misses:
    """Heights in a row without a member's signature."""

    count: int
    since: float  # time of the first of these blocks


class History:
    """Takes each settled height once, in order; starts empty with the exporter. Bounded by the set's size."""

    def __init__(self, settled: int = 0, missed: Mapping[str, int] | None = None) -> None:
        """`missed`: heights in a row up to `settled`, the last one before a restart, that each missed, by address."""
        self._before: tuple[int, Mapping[str, int]] = settled, missed or {}  # for the next height
        self.rows: deque[Row] = deque(maxlen=HEIGHTS)
        self.misses: Mapping[str, Misses] = {}  # by address, of those absent in the newest height

    def count(self, settled: Settled) -> None:
        """Take one height."""
        if self.rows and settled.block.height <= self.rows[-1].height:  # another chain
            self.rows.clear()
            self.misses = {}
        absent = tuple(settled.absent)
        nil = [m.address for m in settled.set.members if settled.signatures[m.address].result is Result.NIL]
        seen = settled.seen.committed_seen if settled.seen else None
        height = settled.block.height
        self.rows.append(
            Row(height, settled.round, settled.how.value, absent, tuple(nil), seen, self._interval(height, seen))
        )
        (last, missed), self._before = self._before, (0, {})
        known = missed if height == last + 1 else {}
        before = {
            address: self.misses.get(address) or Misses(known.get(address, 0), settled.block.time) for address in absent
        }
        self.misses = {address: Misses(misses.count + 1, misses.since) for address, misses in before.items()}

    def _interval(self, height: int, seen: float | None) -> float | None:
        last = self.rows[-1] if self.rows else None
        if last is None or last.height != height - 1 or seen is None or last.committed_seen is None:
            return None
        return max(0.0, seen - last.committed_seen)
