"""The mempool of a Bitcoin-family node, and what transactions pay."""

from __future__ import annotations

from dashboards.common import bad_above
from dashboards.model import Query, Signal, Unit

FILL = Signal(
    title="Memory of the mempool",
    description="Share of -maxmempool in use. While it is full, the cheapest transactions are dropped and the lowest"
    " feerate rises.",
    unit=Unit.RATIO,
    queries=(Query("bitcoin_mempool_memory_bytes{*} / bitcoin_mempool_max_bytes{*}"),),
    threshold="bitcoin_mempool_full_ratio",
    levels=bad_above("bitcoin_mempool_full_ratio"),
    minimum=0,
)
FLOW = Signal(
    title="Transactions in and out of the mempool",
    description="Accepted from peers (the log, debug=mempool), added at all, removed for other reasons than a block,"
    " replaced (ZMQ sequence). 3 to 8 a second on Bitcoin; no accepts for an hour is an alert there.",
    unit=Unit.TX_PER_SECOND,
    queries=tuple(
        Query(f"rate(bitcoin_mempool_{way}_total{{*}}[$__rate_interval])", f"{{{{instance}}}} {way}")
        for way in ("accepted", "added", "removed", "replaced")
    ),
    minimum=0,
)
ACCEPTS_PER_HOUR = Signal(
    title="Transactions accepted within an hour",
    description="From ZMQ where it tells, else from the log. Nodes of one chain differ little; a node that falls back"
    " has bad neighbours or another policy.",
    unit=Unit.SHORT,
    queries=(Query("bitcoin:mempool_accepts:increase1h{*}"),),
    threshold="bitcoin_mempool_accepts_per_hour_min",
    minimum=0,
)
REJECTED = Signal(
    title="Refused transactions",
    description="Transactions of peers that the node refused, by class. Orphans dominate, and come with every"
    " reorganisation and every new neighbour. Class consensus is not normal. From the log, debug=mempoolrej.",
    unit=Unit.TX_PER_SECOND,
    queries=(Query("sum by (class) (rate(bitcoin_mempool_rejected_total{*}[$__rate_interval]))", "{{class}}"),),
    minimum=0,
)
REJECTED_BY_NODE = Signal(
    title="Refused, without orphans",
    description="Refused transactions, but for orphans and known ones. Nodes of one chain with the same policy refuse"
    " much the same. From the log, debug=mempoolrej.",
    unit=Unit.TX_PER_SECOND,
    queries=(
        Query(
            'sum by (instance) (rate(bitcoin_mempool_rejected_total{class!~"orphan|known",*}[$__rate_interval]))',
        ),
    ),
    threshold="bitcoin_rejects_per_second",
    minimum=0,
)
LOWEST_FEERATES = Signal(
    title="Lowest feerates",
    description="What a transaction must pay to be taken now, to be relayed at all, and to be worth a replacement. The"
    " first rises above the second while the mempool is full.",
    unit=Unit.FEERATE,
    queries=(
        Query("bitcoin_mempool_min_feerate_satoshis_per_vbyte{*}", "{{instance}} taken now"),
        Query("bitcoin_mempool_min_relay_feerate_satoshis_per_vbyte{*}", "{{instance}} relayed"),
        Query("bitcoin_mempool_incremental_relay_feerate_satoshis_per_vbyte{*}", "{{instance}} replacement adds"),
    ),
    minimum=0,
)
LOWEST_FEERATE = Signal(
    title="Lowest feerate taken now",
    description="Equal on nodes with the same -maxmempool and -minrelaytxfee.",
    unit=Unit.FEERATE,
    queries=(Query("bitcoin_mempool_min_feerate_satoshis_per_vbyte{*}"),),
    minimum=0,
)
FEE_ESTIMATES = Signal(
    title="Fee estimates",
    description="Feerate for confirmation within so many blocks. Absent while the node has seen too few transactions;"
    " Bitcoin SV has none.",
    unit=Unit.FEERATE,
    queries=(
        Query(
            'bitcoin_fee_estimate_satoshis_per_vbyte{target=~"2|6|24|144",*}',
            "{{instance}} {{target}} blocks",
        ),
    ),
    minimum=0,
)
FEE_ESTIMATE = Signal(
    title="Fee estimates for 6 blocks",
    description="Nodes that have run for days agree within a few percent.",
    unit=Unit.FEERATE,
    queries=(Query('bitcoin_fee_estimate_satoshis_per_vbyte{target="6",*}'),),
    minimum=0,
)
