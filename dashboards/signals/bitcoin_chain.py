"""Blocks of a Bitcoin-family node: how they arrive, how long they take, what was wrong with them."""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit

# Where means and quantiles end in `>= 0`, it drops NaN, an hour without a block: one such series blanks a whole graph.

HEADER_TO_TIP = Signal(
    title="From header to tip",
    description="Time from a block's header to its connection, of the blocks of an hour: median and the slowest"
    " twentieth. Under a second is normal. Needs the node's log; up to version 24 also debug=net.",
    unit=Unit.SECONDS,
    queries=tuple(
        Query(
            f"histogram_quantile({quantile},"
            " sum by (instance, le) (rate(bitcoin_header_to_tip_seconds_bucket{*}[1h]))) >= 0",
            f"{{{{instance}}}} {name}",
        )
        for quantile, name in ((0.5, "median"), (0.95, "95%"))
    ),
    minimum=0,
)
CONNECT_PHASES = Signal(
    title="Time to connect a block, by phase",
    description="Mean of the blocks of an hour at the nodes chosen, from the node's own times. The phases overlap:"
    " verify includes connect, and total everything. Below a second is normal on an SSD. Needs the node's log with"
    " debug=bench.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            "sum by (phase) (rate(bitcoin_block_connect_phase_seconds_sum{*}[1h]))"
            " / sum by (phase) (rate(bitcoin_block_connect_phase_seconds_count{*}[1h])) >= 0",
            "{{phase}}",
        ),
    ),
    minimum=0,
)
COMPACT_BLOCKS = Signal(
    title="Compact blocks",
    description="Blocks of the last hour that were put together from the mempool alone, those for which transactions"
    " had to be requested, and how many were. Most need none; a mempool unlike the miners' needs many. Needs"
    " debug=cmpctblock.",
    unit=Unit.SHORT,
    queries=(
        Query("sum by (instance, result) (increase(bitcoin_compact_blocks_total{*}[1h]))", "{{instance}} {{result}}"),
        Query(
            "increase(bitcoin_compact_block_requested_transactions_total{*}[1h])",
            "{{instance}} transactions requested",
        ),
    ),
    minimum=0,
)
INVALID_BLOCKS = Signal(
    title="Invalid blocks",
    description="Blocks that the node found invalid, from its log. 0 is normal. Class consensus means proof of work"
    " spent on a block that breaks the rules, or rules that differ; mutated and header blocks are junk of peers; origin"
    " operator is a person at the node.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "round(sum by (class, origin) (increase(bitcoin_invalid_blocks_total{*}[$__rate_interval])))",
            "{{class}}, {{origin}}",
        ),
    ),
    minimum=0,
)
BLOCK_TROUBLE = Signal(
    title="Blocks that peers did not deliver",
    description="Peers disconnected since a block did not come, or since they held up the download, and the node's own"
    " suspicion of a stale tip. 0 is normal. From the node's log.",
    unit=Unit.NUMBER,
    queries=tuple(
        Query(f"round(sum by (instance) (increase({metric}{{*}}[$__rate_interval])))", f"{{{{instance}}}} {name}")
        for metric, name in (
            ("bitcoin_block_download_timeouts_total", "timed out"),
            ("bitcoin_block_stalling_total", "stalled"),
            ("bitcoin_stale_tip_warnings_total", "suspects a stale tip"),
        )
    ),
    minimum=0,
)
BLOCKS_LEFT = Signal(
    title="Blocks that left the chain",
    description="Blocks disconnected from the best chain, by a reorganisation or by a person at the node, and those"
    " that the network gave up for a better one (stale). One now and then is normal: 68 a year on Bitcoin.",
    unit=Unit.BLOCKS,
    queries=(
        Query(
            "round(sum by (instance) (increase(bitcoin_blocks_disconnected_total{*}[$__rate_interval])))",
            "{{instance}} disconnected",
        ),
        Query(
            "round(sum by (instance) (increase(bitcoin_stale_blocks_total{*}[$__rate_interval])))",
            "{{instance}} stale",
        ),
    ),
    minimum=0,
)
STALE_BLOCKS = Signal(
    title="Stale blocks",
    description="Blocks that left the best chain since the network had a better one, in the time range shown. A node"
    " that saw the winner first has none.",
    unit=Unit.NUMBER,
    queries=(Query("round(max by (chain) (increase(bitcoin_stale_blocks_total{*}[$__range])))", "{{chain}}"),),
)
CHAIN_TIPS = Signal(
    title="Ends of branches within 144 blocks",
    description="Beside the active chain: valid-fork was connected once, valid-headers and headers-only lost a race"
    " elsewhere. Invalid is never normal, unless somebody here invalidated a block.",
    unit=Unit.NUMBER,
    queries=(Query('bitcoin_chain_tips_recent{status!="active",*}', "{{instance}} {{status}}"),),
    minimum=0,
)
HASH_RATE = Signal(
    title="Hash rate of the network",
    description="What the last 120 blocks imply. It scatters by a tenth from chance alone.",
    unit=Unit.HASHES_PER_SECOND,
    queries=(Query("max by (chain) (bitcoin_network_hashes_per_second{*})", "{{chain}}"),),
    minimum=0,
)
DIFFICULTY = Signal(
    title="Difficulty",
    description="Of the best block, and of the next one where the node says it (29 and later). It changes every 2016"
    " blocks.",
    unit=Unit.SHORT,
    queries=(
        Query("max by (chain) (bitcoin_difficulty{*})", "{{chain}}"),
        Query("max by (chain) (bitcoin_next_difficulty{*})", "{{chain}} next"),
    ),
)
FULLNESS = Signal(
    title="Fullness of the best block",
    description="Its weight, of 4,000,000 that are allowed. Near 100% is normal on Bitcoin while transactions wait.",
    unit=Unit.RATIO,
    queries=(Query("max by (chain) (bitcoin_block_weight{*}) / 4e6", "{{chain}}"),),
    minimum=0,
    maximum=1,
)
BLOCK_CONTENT = Signal(
    title="Content of the best block",
    description="Transactions with the coinbase (an empty block has one), inputs, outputs, and by how many the unspent"
    " outputs grew.",
    unit=Unit.SHORT,
    queries=(
        Query("max by (chain) (bitcoin_block_transactions{*})", "{{chain}} transactions"),
        Query("max by (chain) (bitcoin_block_inputs{*})", "{{chain}} inputs"),
        Query("max by (chain) (bitcoin_block_outputs{*})", "{{chain}} outputs"),
        Query("max by (chain) (bitcoin_block_utxo_change{*})", "{{chain}} unspent outputs more"),
    ),
)
BLOCK_FEES = Signal(
    title="What the best block paid",
    description="Fees and subsidy that its miner earned. Fees above the subsidy are rare.",
    unit=Unit.COINS,
    queries=(
        Query("max by (chain) (bitcoin_block_fees_satoshis{*}) / 1e8", "{{chain}} fees"),
        Query("max by (chain) (bitcoin_block_subsidy_satoshis{*}) / 1e8", "{{chain}} subsidy"),
    ),
    minimum=0,
)
BLOCK_FEERATES = Signal(
    title="Feerates in the best block",
    description="By weight: half of the block pays more than the median. Absent for a block with only its coinbase.",
    unit=Unit.FEERATE,
    queries=(
        Query(
            'max by (chain, stat) (bitcoin_block_feerate_satoshis_per_vbyte{stat=~"min|p25|median|p75|p90",*})',
            "{{chain}} {{stat}}",
        ),
    ),
    minimum=0,
)
THROUGHPUT = Signal(
    title="Transactions confirmed per second",
    description="In connected blocks, mean of an hour. 3 to 8 on Bitcoin. Not counted while the node catches up.",
    unit=Unit.TX_PER_SECOND,
    queries=(Query("max by (chain) (rate(bitcoin_connected_transactions_total{*}[1h]))", "{{chain}}"),),
    minimum=0,
)
CONFIRMED_FEERATE = Signal(
    title="Mean feerate confirmed",
    description="Fees for each virtual byte of the blocks of an hour. What a payment cost, as against what is"
    " estimated.",
    unit=Unit.FEERATE,
    queries=(
        Query(
            "max by (chain) (rate(bitcoin_connected_fees_satoshis_total{*}[1h])"
            " / (rate(bitcoin_connected_weight_total{*}[1h]) / 4 or rate(bitcoin_connected_bytes_total{*}[1h]))) >= 0",
            "{{chain}}",
        ),
    ),
    minimum=0,
)
