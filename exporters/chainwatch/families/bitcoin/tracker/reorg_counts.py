"""Reorganisations counted: by origin, by depth, and the blocks that went stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import Metric

from chainwatch.exposition import fleet
from chainwatch.exposition.metrics import counter
from chainwatch.families.bitcoin.tracker.reorgs import Origin

STALE = counter(
    "bitcoin_stale_blocks_total",
    "Blocks that left the active chain because the network had a better one; as seen by this exporter.",
)
ORIGINS: tuple[Origin, ...] = get_args(Origin)
# A count's place in the state file is bounded, and so is the time to restore it.
MAX_COUNT = 10_000
MAX_DEPTH = 100_000


class ReorgCounts:
    """The counters, and their plain form for the state file: restored, they do not start again from 0.

    Without that, a reorganisation found after a restart would bring the counter to where it had been before, and
    Prometheus would see nothing.
    """

    def __init__(self) -> None:
        self._count = fleet.REORGS.live(*((origin,) for origin in ORIGINS))
        self._depth = fleet.REORG_DEPTH.live(*((origin,) for origin in ORIGINS))
        self._stale = STALE.live()
        self._seen: dict[Origin, Counter[int]] = {origin: Counter() for origin in ORIGINS}

    def add(self, origin: Origin, depth: int) -> None:
        """Count one reorganisation."""
        self._count.labels(origin).inc()
        self._depth.labels(origin).observe(depth)
        if origin == "network":
            self._stale.inc(depth)
        kept = min(depth, MAX_DEPTH)
        self._seen[origin][kept] = min(self._seen[origin][kept] + 1, MAX_COUNT)

    def restore(self, seen: Mapping[Origin, Mapping[int, int]]) -> None:
        """Continue from what a state file says."""
        for origin, depths in seen.items():
            for depth, times in depths.items():
                for _ in range(times):
                    self.add(origin, depth)

    @property
    def seen(self) -> dict[Origin, dict[int, int]]:
        """Times by origin and depth."""
        return {origin: dict(depths) for origin, depths in self._seen.items() if depths}

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        for live in (self._count, self._depth, self._stale):
            yield from live.collect()
