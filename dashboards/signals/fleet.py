"""What every family has: whether a node answers, where it stands, whom it knows."""

from __future__ import annotations

from dataclasses import replace

from dashboards.model import Mappings, Query, Signal, Unit

OK = "green"
INFO = "blue"
WARNING = "orange"
CRITICAL = "red"

# The nodes that Prometheus is asked to watch: with the exporter gone, what it said within the last day.
KNOWN = "(chainwatch_up{*} or on (job, instance) (last_over_time(chainwatch_up{*}[1d]) and on (job, instance) up == 0))"


def _beyond(value: str, comparison: str, threshold: str) -> str:
    """The nodes whose value is beyond a threshold in force for their chain; 0 for each."""
    return f'0 * ({value} {comparison} on (chain) group_left () chainwatch:threshold{{name="{threshold}"}})'


# The worst that is true of a node comes first.
STATES = {
    "exporter gone": CRITICAL,
    "no answer": CRITICAL,
    "syncing": INFO,
    "behind": CRITICAL,
    "no peers": CRITICAL,
    "old tip": WARNING,
    "few peers": WARNING,
    "in step": OK,
}
# Absent for the moment between a new block and the exporter's look at it, which on a fast chain is often.
_AGE = "time() - last_over_time(chainwatch_tip_first_seen_timestamp_seconds{*}[1m])"
_PEERS = "sum without (direction) (chainwatch_peers{*})"
_TESTS = (
    f"0 * ({KNOWN} and on (job, instance) up == 0)",
    "0 * (chainwatch_up{*} == 0)",
    "0 * (chainwatch_syncing{*} == 1)",
    _beyond("chainwatch:blocks_behind{*}", ">=", "node_behind_blocks"),
    _beyond(_PEERS, "<", "peers_isolated"),
    _beyond(f"({_AGE})", ">", "chain_tip_stale_seconds"),
    _beyond(_PEERS, "<", "peers_few"),
    "0 * chainwatch_up{*}",
)
STATE = " or on (job, instance) ".join(f"({test} + {number})" for number, test in enumerate(_TESTS))
STATE_NAMES: Mappings = {number: (text, color) for number, (text, color) in enumerate(STATES.items())}

# Alerts that fire: those about the chosen chains, and those about our own machinery, which name no chain.
_ABOUT_CHAINS = 'chain=~"$chain"'
_ABOUT_US = 'chain="",alertname=~"Chainwatch.+",alertname!="ChainwatchWatchdog"'


def alerts(series: str, matchers: str) -> str:
    """Select from ALERTS or ALERTS_FOR_STATE."""
    return f"({series}{{{matchers}{_ABOUT_CHAINS}}} or {series}{{{matchers}{_ABOUT_US}}})"


def firing(severity: str) -> str:
    """Alerts of a severity that fire."""
    return alerts("ALERTS", f'alertstate="firing",severity=~"{severity}",')


NODES = Signal(
    title="Nodes",
    description="Exporters that Prometheus scrapes, one for each node.",
    unit=Unit.NUMBER,
    queries=(Query("count(chainwatch_up{*}) or vector(0)", "nodes"),),
)
NODES_DOWN = Signal(
    title="No answer",
    description="Exporters whose node gave no answer at the last scrape. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query("count(chainwatch_up{*} == 0) or vector(0)", "nodes"),),
    levels=((None, OK), (1, CRITICAL)),
)
EXPORTERS_GONE = Signal(
    title="Not scraped",
    description="Exporters that Prometheus cannot scrape: nothing is known about their nodes. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            'count(up{job=~"bitcoin|btcd|cometbft|tezos|substrate"} == 0'
            " or up == 0 and on (job, instance) last_over_time(chainwatch_build_info[1d])) or vector(0)",
            "exporters",
        ),
    ),
    levels=((None, OK), (1, CRITICAL)),
)
STALE_CHAINS = Signal(
    title="Stale chains",
    description="Chains of which no node here has seen a new block for longer than the alert allows. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            'count(chainwatch:tip_age_seconds:min{chain=~"$chain"}'
            ' > on (chain) chainwatch:threshold{name="chain_tip_stale_seconds"}) or vector(0)',
            "chains",
        ),
    ),
    levels=((None, OK), (1, CRITICAL)),
)
ALERTS_CRITICAL = Signal(
    title="Critical alerts",
    description="Alerts that wake a person. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(Query(f"count({firing('critical')}) or vector(0)", "alerts"),),
    levels=((None, OK), (1, CRITICAL)),
)
ALERTS_WARNING = Signal(
    title="Warnings",
    description="Alerts that go to the chat. None is normal, one now and then is daily life.",
    unit=Unit.NUMBER,
    queries=(Query(f"count({firing('warning')}) or vector(0)", "alerts"),),
    levels=((None, OK), (1, WARNING)),
)

BLOCKS_BEHIND = Signal(
    title="Blocks behind",
    description="How far a node is below the best one of its chain here. 0 or 1 is normal; more for long is a node"
    " that does not follow.",
    unit=Unit.BLOCKS,
    queries=(Query("chainwatch:blocks_behind{*}"),),
    threshold="node_behind_blocks",
    minimum=0,
    decimals=0,
)
HEIGHT = Signal(
    title="Height",
    description="The node's best block. It grows with every block of the chain, and falls only in a reorganisation.",
    unit=Unit.NUMBER,
    queries=(Query("chainwatch_tip_height{*}"),),
)
TIP_AGE = Signal(
    title="Time since the last block",
    description="Since when the node has had its best block, by the exporter's clock. A saw whose teeth are the time"
    " between blocks; one node alone that climbs is a node that does not follow, all together are the chain.",
    unit=Unit.SECONDS,
    queries=(Query(_AGE),),
    threshold="chain_tip_stale_seconds",
    minimum=0,
)
PEERS = Signal(
    title="Peers",
    description="Connections to other nodes, whoever opened them. 8 to 10 for a node that cannot be reached, up to 125"
    " for one that can; few neighbours decide what a node sees.",
    unit=Unit.NUMBER,
    queries=(Query(_PEERS),),
    threshold="peers_few",
    minimum=0,
)
MEMPOOL = Signal(
    title="Transactions in the mempool",
    description="Waiting transactions. Nodes of one chain hold much the same ones; a node that stays empty gets none.",
    unit=Unit.SHORT,
    queries=(Query("chainwatch_mempool_transactions{*}"),),
    minimum=0,
)
REORGS = Signal(
    title="Reorganisations",
    description="Times that the best chain lost blocks. On a chain with proof of work one block now and then is normal;"
    " origin operator is a person at the node.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "round(sum by (chain, job, instance, origin) (increase(chainwatch_reorgs_total{*}[$__rate_interval])))",
            "{{instance}} {{origin}}",
        ),
    ),
    minimum=0,
    decimals=0,
)
REORGS_OF_CHAINS = replace(
    REORGS,
    queries=(
        Query(
            "round(max by (chain, origin) (increase(chainwatch_reorgs_total{*}[$__rate_interval])))",
            "{{chain}} {{origin}}",
        ),
    ),
)
REORG_DEPTH = Signal(
    title="Deepest reorganisation of an hour",
    description="Blocks that left the best chain at once, because of the network. 0 or 1 is normal. Payments with fewer"
    " confirmations may be undone.",
    unit=Unit.BLOCKS,
    queries=(
        Query(
            "max by (job, instance) (histogram_quantile(1, round(increase("
            'chainwatch_reorg_depth_blocks_bucket{origin="network",*}[1h]))) > 0'
            ' or 0 * chainwatch_reorg_depth_blocks_count{origin="network",*})',
        ),
    ),
    threshold="deep_reorg_blocks",
    minimum=0,
)
RESTARTS = Signal(
    title="Restarts of nodes within an hour",
    description="From the nodes' uptime. An upgrade is one.",
    unit=Unit.NUMBER,
    queries=(Query("changes(chainwatch_node_start_timestamp_seconds{*}[1h])"),),
    threshold="restarts_per_hour",
    minimum=0,
)
CLOCK_OFFSET = Signal(
    title="Clock offset",
    description="How far the network's time is ahead of the node's, as its peers tell it. A machine with NTP is right"
    " within a second.",
    unit=Unit.SECONDS,
    queries=(Query("chainwatch_clock_offset_seconds{*}"),),
    threshold="clock_offset_seconds",
)
STREAMS = Signal(
    title="Streams of events",
    description="Connections by which a node tells what happens: ZMQ, websocket, its log. Down when one of them is, or"
    " missed a block, until its next message; Exporter health shows which.",
    unit=Unit.NUMBER,
    queries=(Query("min by (chain, job, instance) (chainwatch_stream_connected{*})", "{{instance}}"),),
    mappings={1: ("all open", OK), 0: ("one down", CRITICAL)},
)
RPC_FAILURES = Signal(
    title="Calls that the nodes did not answer",
    description="The exporters' own calls, by why they failed. 0 is normal; warming_up while a node starts.",
    unit=Unit.CALLS_PER_SECOND,
    queries=(
        Query(
            "sum by (instance, reason) (rate(chainwatch_rpc_failures_total{*}[$__rate_interval]))",
            "{{instance}} {{reason}}",
        ),
    ),
    minimum=0,
)
COLLECTORS_FAILING = Signal(
    title="Collectors that fail",
    description="Parts of the exporters that could not read all they ask for; their metrics are missing. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "count by (instance) (chainwatch_collector_success{*})"
            " - sum by (instance) (chainwatch_collector_success{*})"
        ),
    ),
    minimum=0,
)
