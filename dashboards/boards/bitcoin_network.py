"""Bitcoin network view: several nodes of a chain side by side, and the chain itself."""

from __future__ import annotations

from dataclasses import replace

from dashboards import lines
from dashboards.common import MARKS, choices, to_node
from dashboards.model import Board, Panel, Query, Row, Signal, Unit
from dashboards.panels import Column, bars, gauges, graph, stat, table
from dashboards.signals import bitcoin_chain, bitcoin_mempool, bitcoin_peers, fleet

_OURS = "and on (job, instance) bitcoin_headers{*}"
_NODE = "by (chain, job, instance)"

_BEST_BLOCK = Signal(
    title="Best block",
    description="Whether the nodes with the greatest height have the same block there. Two for the time of a block or"
    " two is a race, normal 68 times a year on Bitcoin; longer is a split.",
    unit=Unit.NUMBER,
    queries=(Query("max by (chain) (chainwatch:chain_split and on (chain) bitcoin_headers{*})", "{{chain}}"),),
    mappings={0: ("one", fleet.OK), 1: ("several", fleet.WARNING)},
)
_HEIGHT = Signal(
    title="Best height",
    description="The greatest of the nodes chosen.",
    unit=Unit.NUMBER,
    queries=(Query(f"max by (chain) (chainwatch_tip_height{{*}} {_OURS})", "{{chain}}"),),
)
_NEWEST = Signal(
    title="Last block",
    description="Since when no node has seen a new block.",
    unit=Unit.SECONDS,
    queries=(Query(f"min by (chain) ({fleet.TIP_AGE.queries[0].expr} {_OURS})", "{{chain}}"),),
)
_REORGS = Signal(
    title="Reorgs",
    description="By the network, at the node that had most, in the time range shown. A few a month are normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            f'round(max by (chain) (increase(chainwatch_reorgs_total{{origin="network",*}}[$__range]) {_OURS}))',
            "{{chain}}",
        ),
    ),
)
_NODES = Signal(
    title="Nodes",
    description="Nodes that answer, by chain. Two or more of a chain can be compared.",
    unit=Unit.NUMBER,
    queries=(Query("count by (chain) (bitcoin_headers{*})", "{{chain}}"),),
)


def _side_by_side() -> Panel:
    """The nodes compared."""
    best = "chainwatch:best_tip_hash_id"
    return table(
        "Nodes side by side",
        "Nodes with the same branch letter have the same best block; a node without one is behind. The tip is the end"
        " of the block's hash, in hexadecimal, without zeros at its front.",
        (
            Column("Chain", label="chain", width=140),
            Column("Node", label="instance", width=120, link=to_node("bitcoin-node")),
            Column("Version", label="version"),
            Column("Height", f"max {_NODE} (chainwatch_tip_height{{*}} {_OURS})"),
            Column("Behind", f"max {_NODE} (chainwatch:blocks_behind{{*}} {_OURS})"),
            Column("Tip ends in", f"max {_NODE} (chainwatch_tip_hash_id{{*}} {_OURS})", unit=Unit.HEX, width=130),
            Column(
                "Branch",
                f"max {_NODE} ({best}{{*}} < bool on (chain) group_left () max by (chain) ({best}) {_OURS})",
                mappings={0: ("A", fleet.OK), 1: ("B", fleet.WARNING)},
                width=80,
            ),
            Column("Last block", f"max {_NODE} ({fleet.TIP_AGE.queries[0].expr} {_OURS})", unit=Unit.SECONDS),
            Column("Mempool", f"max {_NODE} (chainwatch_mempool_transactions{{*}} {_OURS})", unit=Unit.SHORT),
            Column("Its size", f"max {_NODE} (chainwatch_mempool_bytes{{*}} {_OURS})", unit=Unit.BYTES),
            Column("Its fees", f"max {_NODE} (bitcoin_mempool_fees_satoshis{{*}})", unit=Unit.SATOSHIS),
            Column("Peers", f"sum {_NODE} (chainwatch_peers{{*}} {_OURS})"),
            Column("job", label="job", hidden=True),
            Column(
                "runs",
                'max by (chain, job, instance, version) (chainwatch_node_info{family="bitcoin",*})',
                hidden=True,
            ),
        ),
        height=7,
        sort="Chain",
    )


def _chains() -> Panel:
    """Each chain in one line."""

    def of_chain(metric: str) -> str:
        return f"max by (chain) ({metric}{{*}})"

    return table(
        "Chains",
        "The difficulty changes every 2016 blocks, when the period is at 100%; on a regtest network never. The median"
        " time is that of the last 11 blocks, normally an hour ago on Bitcoin.",
        (
            Column("Chain", label="chain"),
            Column("Difficulty", of_chain("bitcoin_difficulty"), unit=Unit.SHORT),
            Column("Next difficulty", of_chain("bitcoin_next_difficulty"), unit=Unit.SHORT),
            Column("Period so far", of_chain("bitcoin_retarget_progress_ratio"), unit=Unit.RATIO),
            Column("Subsidy", of_chain("bitcoin_block_subsidy_satoshis") + " / 1e8", unit=Unit.COINS),
            Column("Transactions", of_chain("bitcoin_chain_transactions"), unit=Unit.SHORT),
            Column("Median time", f"1000 * {of_chain('bitcoin_tip_median_timestamp_seconds')}", unit=Unit.AGO),
        ),
        height=5,
        sort="Chain",
    )


def _deployments() -> Panel:
    """Changes of the rules."""
    of_rule = "max by (chain, instance, deployment)"
    state = "max by (chain, instance, deployment, state) (bitcoin_deployment_state{*} == 1)"
    return table(
        "Deployments of rules",
        "Active is normal for old rules. While one is started, miners signal in their blocks until the threshold of a"
        " period is reached. Nodes that differ will one day split.",
        (
            Column("Chain", label="chain"),
            Column("Node", label="instance"),
            Column("Rule", label="deployment"),
            Column("State", label="state"),
            Column("Signalling", f"{of_rule} (bitcoin_deployment_signalling_blocks{{*}})", unit=Unit.BLOCKS),
            Column("Needed", f"{of_rule} (bitcoin_deployment_threshold_blocks{{*}})", unit=Unit.BLOCKS),
            Column("Period so far", f"{of_rule} (bitcoin_deployment_elapsed_blocks{{*}})", unit=Unit.BLOCKS),
            Column("is", state, hidden=True),
        ),
        height=8,
        sort="Rule",
    )


def _templates() -> Panel:
    """What the nodes would mine."""
    return table(
        "The block that each node would mine",
        "Needs --collector.block-template. A node whose block earns less than the others' lacks transactions.",
        (
            Column("Node", label="instance"),
            Column("Fees", "max by (instance) (bitcoin_block_template_fees_satoshis{*})", unit=Unit.SATOSHIS),
            Column("Transactions", "max by (instance) (bitcoin_block_template_transactions{*})"),
            Column("Fullness", "max by (instance) (bitcoin_block_template_weight{*}) / 4e6", unit=Unit.RATIO),
        ),
        width=12,
        height=6,
    )


def _coins() -> Panel:
    """The unspent outputs of each node."""
    return table(
        "Unspent outputs",
        "Needs --collector.utxo-set. Equal on all nodes at one height; the coins grow by each block's subsidy at most.",
        (
            Column("Node", label="instance"),
            Column("Height", "max by (instance) (bitcoin_utxo_set_height{*})"),
            Column("Outputs", "max by (instance) (bitcoin_utxo_set_outputs{*})"),
            Column("Txs", "max by (instance) (bitcoin_utxo_set_transactions{*})"),
            Column("Coins", "max by (instance) (bitcoin_utxo_set_amount_satoshis{*}) / 1e8"),
            Column("On disk", "max by (instance) (bitcoin_utxo_set_disk_bytes{*})", unit=Unit.BYTES),
        ),
        width=12,
        height=6,
    )


BOARD = Board(
    uid="chainwatch-bitcoin-network",
    title="Bitcoin network view",
    folder="chainwatch-bitcoin",
    family="bitcoin",
    description="Several nodes of the Bitcoin family side by side, and what their chains do.",
    variables=choices('chainwatch_node_info{family="bitcoin"}'),
    annotations=MARKS,
    since="now-6h",
    rows=(
        Row(
            "Now",
            (
                stat(_NODES, in_lines=True),
                stat(_BEST_BLOCK, in_lines=True),
                stat(_HEIGHT, in_lines=True),
                stat(_NEWEST, in_lines=True),
                stat(_REORGS, logs=lines.REORGS, in_lines=True),
                stat(bitcoin_chain.STALE_BLOCKS, in_lines=True),
                _side_by_side(),
                graph(replace(fleet.BLOCKS_BEHIND, threshold=None), steps=True),
                bars(fleet.REORGS, logs=lines.REORGS),
                graph(fleet.MEMPOOL),
                graph(bitcoin_mempool.FEE_ESTIMATE, steps=True),
                graph(bitcoin_mempool.REJECTED_BY_NODE, logs=lines.REFUSED),
                graph(bitcoin_chain.HEADER_TO_TIP, logs=lines.HEADER_TO_TIP),
            ),
        ),
        Row(
            "Branches and mempools",
            (
                graph(fleet.REORG_DEPTH, 12, steps=True, logs=lines.REORGS),
                graph(bitcoin_chain.CHAIN_TIPS, 12, steps=True),
                graph(bitcoin_mempool.LOWEST_FEERATE, 12, steps=True),
                graph(bitcoin_mempool.ACCEPTS_PER_HOUR, 12),
            ),
            folded=True,
        ),
        Row(
            "Chain and blocks",
            (
                _chains(),
                graph(bitcoin_chain.HASH_RATE),
                graph(bitcoin_chain.DIFFICULTY, steps=True),
                graph(bitcoin_chain.FULLNESS, steps=True),
                graph(bitcoin_chain.BLOCK_CONTENT, steps=True),
                graph(bitcoin_chain.THROUGHPUT),
                graph(bitcoin_chain.BLOCK_FEES, steps=True),
                graph(bitcoin_chain.BLOCK_FEERATES, 12, steps=True),
                graph(bitcoin_chain.CONFIRMED_FEERATE, 12),
            ),
            folded=True,
        ),
        Row(
            "Peers and rules",
            (
                gauges(bitcoin_peers.CLIENTS, 12, 8),
                graph(bitcoin_peers.ADDRMAN, 12, 8),
                _deployments(),
            ),
            folded=True,
        ),
        Row("Off by default: block templates, unspent outputs", (_templates(), _coins()), folded=True),
    ),
)
