"""Counting what the log reports: from whole lines to live metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from prometheus_client import Metric

from chainwatch.exposition.metrics import LiveCounter, LiveHistogram, counter, gauge, histogram
from chainwatch.families.bitcoin.log import events
from chainwatch.families.bitcoin.log.blocks import NETWORK, OPERATOR, ConnectPhases, InvalidBlocks, TipClock
from chainwatch.families.bitcoin.log.prefix import Line, PrefixReader
from chainwatch.families.bitcoin.log.reasons import (
    BLOCK_CLASSES,
    OTHER,
    TRANSACTION_REASONS,
    transaction_labels,
)

LINES = counter("bitcoin_log_lines_total", "Lines read from the node's log, from its newlines.")
BYTES = counter("bitcoin_log_bytes_total", "Bytes read from the node's log.")
MESSAGES = counter(
    "bitcoin_log_messages_total",
    "Errors and warnings in the node's log, from its [error] and [warning] levels or its ERROR: and Warning: texts.",
    labels=("level",),
)
ACCEPTED = counter(
    "bitcoin_mempool_accepted_total",
    "Transactions of peers that entered the mempool, from AcceptToMemoryPool lines (debug=mempool).",
)
REJECTED = counter(
    "bitcoin_mempool_rejected_total",
    "Transactions of peers that were refused, from 'was not accepted' lines (debug=mempoolrej).",
    labels=("class", "reason"),
)
INVALID_BLOCKS = counter(
    "bitcoin_invalid_blocks_total",
    "Blocks found invalid, each once for each class, from BlockChecked, InvalidChainFound, ConnectTip and AcceptBlock"
    " lines. Origin operator: submitted, invalidated or reconsidered by RPC.",
    labels=("class", "origin"),
)
MISBEHAVING = counter("bitcoin_misbehaving_total", "Protocol violations of peers, from Misbehaving lines (debug=net).")
BLOCK_TIMEOUTS = counter(
    "bitcoin_block_download_timeouts_total",
    "Peers disconnected for not delivering a block, from 'Timeout downloading block' lines.",
)
BLOCK_STALLING = counter(
    "bitcoin_block_stalling_total",
    "Peers disconnected for holding up the block download, from 'is stalling block download' lines.",
)
HEADER_TO_TIP = histogram(
    "bitcoin_header_to_tip_seconds",
    "From a block's header to its UpdateTip, by the log's times. Starts at 'Saw new header' (25 and later) or at the"
    " compact block or request (debug=net). Blocks over a day old are left out.",
    # Most blocks take well under a second; 10 s and more is what an operator should look at.
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
CONNECT_PHASE = histogram(
    "bitcoin_block_connect_phase_seconds",
    "Parts of connecting a block, from the node's own times (debug=bench). They overlap: verify includes connect,"
    " connect_total all up to callbacks, total everything.",
    # From an empty test block to the largest block on a slow disk; few, because there are 13 phases.
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30),
    labels=("phase",),
)
COMPACT_BLOCKS = counter(
    "bitcoin_compact_blocks_total",
    "Compact blocks put together from the mempool alone, or after requesting transactions, from 'Successfully"
    " reconstructed block' lines (debug=cmpctblock).",
    labels=("result",),
)
COMPACT_REQUESTED = counter(
    "bitcoin_compact_block_requested_transactions_total",
    "Transactions requested to complete compact blocks, from 'Successfully reconstructed block' lines"
    " (debug=cmpctblock).",
)
RATE_LIMITED = gauge(
    "bitcoin_log_rate_limited",
    "1 while the node drops lines of a noisy source from its log, from the mark [*] (30 and later).",
)
RATE_LIMITS = counter(
    "bitcoin_log_rate_limits_total",
    "Times the node began to drop lines from its log, from the mark [*] or 'Excessive logging detected'.",
)
STALE_TIPS = counter(
    "bitcoin_stale_tip_warnings_total", "Times the node suspected a stale tip, from 'Potential stale tip' lines."
)

# Time after which a block marked invalid without a reason is taken for the operator's doing.
_SETTLE_SECONDS = 2.0


class LogMetrics:
    """Reads lines of debug.log and keeps the metrics that they feed.

    Metrics that need a debug category are exported once the node is known to write it, or has been seen to: a zero
    would say that nothing happened where nobody looked.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reader = PrefixReader()
        self._categories: frozenset[str] | None = None
        self._seen: set[str] = set()
        self._limited = False
        self._unsettled_since: float | None = None
        self._lines, self._bytes = LINES.live(), BYTES.live()
        self._messages = MESSAGES.live(("error",), ("warning",))
        self._accepted = ACCEPTED.live()
        rejections = [*TRANSACTION_REASONS.values(), (OTHER, OTHER)]
        self._rejected = REJECTED.live(*rejections)
        self._rejected_by = {labels: self._rejected.labels(*labels) for labels in rejections}
        self._invalid = INVALID_BLOCKS.live(
            *((name, origin) for name in BLOCK_CLASSES for origin in (NETWORK, OPERATOR))
        )
        self._misbehaving, self._stalling = MISBEHAVING.live(), BLOCK_STALLING.live()
        self._timeouts, self._stale = BLOCK_TIMEOUTS.live(), STALE_TIPS.live()
        self._header_to_tip, self._phase = HEADER_TO_TIP.live(), CONNECT_PHASE.live()
        self._compact = COMPACT_BLOCKS.live(("mempool",), ("requested",))
        self._compact_requested = COMPACT_REQUESTED.live()
        self._rate_limits = RATE_LIMITS.live()
        self._blocks = InvalidBlocks(lambda name, origin: self._invalid.labels(name, origin).inc())
        self._tips = TipClock(self._observe_tip)
        self._phases = ConnectPhases(self._observe_phase)

    def categories(self, active: Collection[str]) -> None:
        """Tell which debug categories the node writes, as the RPC `logging` names them."""
        self._categories = frozenset(active)

    def learn(self, chunk: bytes) -> None:
        """Learn from whole lines that were there before: what a prefix looks like. Nothing is counted."""
        self._reader.learn(chunk)

    def feed(self, chunk: bytes) -> None:
        """Count whole lines, each ended by a newline. Never raises."""
        self._settle()
        self._bytes.inc(len(chunk))
        self._lines.inc(chunk.count(b"\n"))
        for line in self._reader.read(chunk):
            if line.limited is not self._limited:
                self._limit(line.limited)
            self._level(line)
            event = events.parse(line.message)
            if event is not None:
                _HANDLERS[type(event)](self, event, line)
        if not self._blocks.unsettled:
            self._unsettled_since = None
        elif self._unsettled_since is None:
            self._unsettled_since = self._clock()

    def collect(self) -> Iterable[Metric]:
        """Return the metric families that this node can feed."""
        self._settle()
        for counted in self._always():
            yield from counted.collect()
        yield from RATE_LIMITED.sample(int(self._limited))
        for category, lives in self._by_category().items():
            if self._writes(category):
                for live in lives:
                    yield from live.collect()
        if "header" in self._seen:
            yield from self._header_to_tip.collect()

    def _always(self) -> tuple[LiveCounter, ...]:
        return (
            self._lines,
            self._bytes,
            self._messages,
            self._invalid,
            self._timeouts,
            self._stalling,
            self._rate_limits,
            self._stale,
        )

    def _by_category(self) -> dict[str, tuple[LiveCounter | LiveHistogram, ...]]:
        return {
            "mempool": (self._accepted,),
            "mempoolrej": (self._rejected,),
            "net": (self._misbehaving,),
            "bench": (self._phase,),
            "cmpctblock": (self._compact, self._compact_requested),
        }

    def _writes(self, category: str) -> bool:
        """Whether the node writes lines of a category, as it says itself or as was seen."""
        known = self._seen if self._categories is None else self._categories
        return category in known or (category == "mempoolrej" and "txnval" in known)  # Bitcoin SV's name for it

    def _settle(self) -> None:
        """Count a block that was marked invalid without a reason, once none is to be expected."""
        if self._unsettled_since is not None and self._clock() - self._unsettled_since >= _SETTLE_SECONDS:
            self._blocks.settle()
            self._unsettled_since = None

    def _level(self, line: Line) -> None:
        level = line.tags.level
        if level is None and line.tags.category is None and line.message.startswith(_LEVEL_TEXTS):
            level = "error" if line.message.startswith(b"ERROR") else "warning"
        if level in ("error", "warning"):
            self._messages.labels(level).inc()

    def _limit(self, limited: bool) -> None:
        if limited and not self._limited:
            self._rate_limits.inc()
        self._limited = limited

    def _observe_tip(self, seconds: float) -> None:
        self._seen.add("header")
        self._header_to_tip.observe(seconds)

    def _observe_phase(self, phase: str, seconds: float) -> None:
        self._seen.add("bench")
        self._phase.labels(phase).observe(seconds)

    def _on_tip(self, event: events.TipUpdated, line: Line) -> None:
        self._blocks.tip()
        self._tips.tip(event, line)

    def _on_header(self, event: events.HeaderSeen, line: Line) -> None:
        self._blocks.header(event)
        self._tips.header(event.hash, line)

    def _on_received(self, event: events.BlockReceived, line: Line) -> None:
        self._blocks.received(event)
        self._tips.header(event.hash, line)

    def _on_message(self, event: events.MessageReceived, line: Line) -> None:
        self._seen.add("net")
        self._tips.message(event, line)

    def _on_misbehaved(self, event: events.Misbehaved, line: Line) -> None:
        self._seen.add("net")
        self._misbehaving.inc()

    def _on_accepted(self, event: events.TransactionAccepted, line: Line) -> None:
        self._seen.add("mempool")
        self._accepted.inc()

    def _on_rejected(self, event: events.TransactionRejected, line: Line) -> None:
        self._seen.add("mempoolrej")
        self._rejected_by[transaction_labels(event.reason)].inc()

    def _on_compact(self, event: events.CompactReconstructed, line: Line) -> None:
        self._seen.add("cmpctblock")
        self._compact.labels("requested" if event.requested else "mempool").inc()
        self._compact_requested.inc(event.requested)


# What texts said before lines had levels (27).
_LEVEL_TEXTS = (b"ERROR: ", b"Warning: ", b"WARNING: ")
_HANDLERS: dict[type, Callable[[LogMetrics, Any, Line], None]] = {
    events.TipUpdated: LogMetrics._on_tip,
    events.BlockDisconnecting: lambda log, event, line: log._tips.disconnecting(),
    events.HeaderSeen: LogMetrics._on_header,
    events.BlockReceived: LogMetrics._on_received,
    events.MessageReceived: LogMetrics._on_message,
    events.TransactionsRequested: lambda log, event, line: log._tips.transactions_requested(event),
    events.BlockWorkValid: lambda log, event, line: log._tips.work_valid(event, line),
    events.CompactReconstructed: LogMetrics._on_compact,
    events.BlockChecked: lambda log, event, line: log._blocks.checked(event, line),
    events.InvalidChainFound: lambda log, event, line: log._blocks.chain_found(event, line),
    events.ConnectFailed: lambda log, event, line: log._blocks.connect_failed(event, line),
    events.AcceptFailed: lambda log, event, line: log._blocks.accept_failed(event, line),
    events.HeaderRefused: lambda log, event, line: log._blocks.header_refused(event, line),
    events.BlockMutated: lambda log, event, line: log._blocks.mutated(event, line),
    events.Misbehaved: LogMetrics._on_misbehaved,
    events.BlockTimedOut: lambda log, event, line: log._timeouts.inc(),
    events.BlockStalled: lambda log, event, line: log._stalling.inc(),
    events.TransactionAccepted: LogMetrics._on_accepted,
    events.TransactionRejected: LogMetrics._on_rejected,
    events.ConnectPhase: lambda log, event, line: log._phases.phase(event, line.tags.thread),
    events.StaleTip: lambda log, event, line: log._stale.inc(),
    events.LoggingSuppressed: lambda log, event, line: log._limit(True),
    events.RpcCalled: lambda log, event, line: log._blocks.rpc(event, line),
}
