"""Transactions that enter and leave the mempool, counted from ZMQ messages.

The `sequence` topic numbers every change of the mempool. A removal does not say why, but the node removes what a new
transaction displaces and then announces that transaction, under one lock: removals whose numbers lead without a gap to
an added one were displaced by it. That is a replacement, except for transactions that a full mempool pushed out (or
that had expired) as another came in: the stream cannot tell these apart, and the metric's help says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.metrics import LiveCounter, counter

ADDED = counter(
    "bitcoin_mempool_added_total",
    "Transactions that entered the mempool, also those that a disconnected block gave back, from ZMQ sequence label A.",
)
REMOVED = counter(
    "bitcoin_mempool_removed_total",
    "Transactions that left the mempool, but not for a block: replaced, in conflict with a block, expired or pushed "
    "out; from ZMQ sequence label R, on Bitcoin SV from discardedfrommempool.",
)
REPLACED = counter(
    "bitcoin_mempool_replaced_total",
    "Transactions that left the mempool as another one took their place, from ZMQ sequence labels R and A that follow "
    "each other. While the mempool is full, those pushed out by an arriving transaction are among them.",
)


class MempoolStream:
    """Counts; each counter exists from when its topic is known to be published."""

    def __init__(self) -> None:
        self._added: LiveCounter | None = None
        self._removed: LiveCounter | None = None
        self._replaced: LiveCounter | None = None
        self._next = 0
        self._displaced = 0

    def publishes(self, topics: Iterable[str]) -> None:
        """Start the counters of these topics at 0, so that the first event is seen by increase()."""
        if "sequence" in topics:
            self._added = self._added or ADDED.live()
            self._replaced = self._replaced or REPLACED.live()
            self._removed = self._removed or REMOVED.live()
        if "discardedfrommempool" in topics:
            self._removed = self._removed or REMOVED.live()

    def added(self, number: int) -> None:
        """Count label A; `number` is the mempool's own sequence."""
        if self._added is None or self._replaced is None:
            return
        self._added.inc()
        if self._displaced and number == self._next:
            self._replaced.inc(self._displaced)
        self._displaced = 0

    def removed(self, number: int) -> None:
        """Count label R."""
        if self._removed is None:
            return
        self._removed.inc()
        self._displaced = self._displaced + 1 if self._displaced and number == self._next else 1
        self._next = number + 1

    def discarded(self) -> None:
        """Count one message of Bitcoin SV's discardedfrommempool."""
        if self._removed is not None:
            self._removed.inc()

    def interrupted(self) -> None:
        """A block, or lost messages, came in between: what was removed before was not displaced by what follows."""
        self._displaced = 0

    def collect(self) -> Iterable[Metric]:
        """Return the families of the counters that exist."""
        for live in (self._added, self._removed, self._replaced):
            if live is not None:
                yield from live.collect()
