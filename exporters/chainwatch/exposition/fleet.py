"""The fleet contract: metrics that every family exports with the same meaning, so that one board serves all chains."""

from chainwatch.exposition.metrics import counter, gauge, histogram

UP = gauge("chainwatch_up", "1 when the node answered during this scrape.")
NODE_INFO = gauge(
    "chainwatch_node_info", "Which software the node runs, as it names itself.", labels=("family", "client", "version")
)
NODE_START = gauge("chainwatch_node_start_timestamp_seconds", "When the node's process started, from its uptime.")
SYNCING = gauge("chainwatch_syncing", "1 while the node says that it is catching up with its network.")
TIP_HEIGHT = gauge("chainwatch_tip_height", "Height of the node's best block.")
FINALIZED_HEIGHT = gauge(
    "chainwatch_finalized_height", "Height of the last block that the protocol calls final; absent without finality."
)
TIP_HASH_ID = gauge(
    "chainwatch_tip_hash_id", "Low 52 bits of the best block's hash: equal between nodes that agree on the tip."
)
TIP_TIMESTAMP = gauge("chainwatch_tip_timestamp_seconds", "Time in the best block's header.")
TIP_FIRST_SEEN = gauge(
    "chainwatch_tip_first_seen_timestamp_seconds", "When this exporter first saw the best block; its own clock."
)
TARGET_SPACING = gauge("chainwatch_target_spacing_seconds", "Time between blocks that the protocol aims at.")
PEERS = gauge("chainwatch_peers", "Connections to other nodes, by who opened them.", labels=("direction",))
CLOCK_OFFSET = gauge(
    "chainwatch_clock_offset_seconds", "How far the network's time is ahead of the node's clock, as the node sees it."
)
MEMPOOL_TRANSACTIONS = gauge("chainwatch_mempool_transactions", "Transactions in the node's mempool.")
MEMPOOL_BYTES = gauge("chainwatch_mempool_bytes", "Size of the transactions in the mempool (virtual bytes on Bitcoin).")

REORGS = counter(
    "chainwatch_reorgs_total",
    "Times that the best chain lost blocks; origin operator when a person at the node asked for it.",
    labels=("origin",),
)
REORG_DEPTH = histogram(
    "chainwatch_reorg_depth_blocks",
    "Blocks that left the best chain in one reorganisation.",
    labels=("origin",),
    buckets=(1, 2, 3, 4, 6, 10, 20, 100),
)

RPC_REQUESTS = counter(
    "chainwatch_rpc_requests_total", "Calls that this exporter made to the node.", labels=("method",)
)
RPC_FAILURES = counter(
    "chainwatch_rpc_failures_total", "Calls to the node that failed, by reason.", labels=("method", "reason")
)
RPC_DURATION = histogram(
    "chainwatch_rpc_duration_seconds",
    "Time until the node had answered one request; several calls in one request count as method batch.",
    labels=("method",),
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
)

STREAM_CONNECTED = gauge(
    "chainwatch_stream_connected", "1 while a stream of events from the node is open and sound.", labels=("stream",)
)
STREAM_LAST_EVENT = gauge(
    "chainwatch_stream_last_event_timestamp_seconds", "When the last event came by a stream.", labels=("stream",)
)
STREAM_GAPS = counter(
    "chainwatch_stream_gaps_total", "Times that a stream lost events, noticed and repaired where possible.",
    labels=("stream",),
)  # fmt: skip

COLLECTOR_SUCCESS = gauge(
    "chainwatch_collector_success",
    "1 when the collector read all it asks for during this scrape, 0 when it failed.",
    labels=("collector",),
)
COLLECTOR_DURATION = gauge(
    "chainwatch_collector_duration_seconds", "Time the collector took during this scrape.", labels=("collector",)
)
COLLECTOR_SUPPORTED = gauge(
    "chainwatch_collector_supported", "0 when this node's version or build cannot answer.", labels=("collector",)
)


def tip_hash_id(block_hash: str) -> float:
    """The low 52 bits of a block hash in hex, as a float that holds them exactly."""
    return float(int(block_hash[-13:], 16))
