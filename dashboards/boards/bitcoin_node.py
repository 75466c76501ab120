"""Bitcoin node: what a node does, from its blocks to its log."""

from __future__ import annotations

from dataclasses import replace

from dashboards import lines
from dashboards.common import MARKS, choices
from dashboards.model import Board, Panel, Query, Row, Signal, Unit
from dashboards.panels import Column, bars, gauges, graph, stat, table, timeline
from dashboards.signals import bitcoin_chain, bitcoin_mempool, bitcoin_node, bitcoin_peers, fleet


def _tile(signal: Signal, worst: str, title: str) -> Panel:
    """One large value: of several nodes the worst."""
    query = Query(f"{worst}({signal.queries[0].expr})", title)
    says = f"{signal.description} Of several nodes chosen: {worst}."
    return stat(replace(signal, title=title, queries=(query,), description=says))


def _reasons() -> Panel:
    """Why transactions were refused."""
    refused = "sum by (instance, class, reason) (increase(bitcoin_mempool_rejected_total{*}[$__range]))"
    return table(
        "Why transactions were refused",
        "The most frequent reasons in the time range shown. bad-txns-inputs-missingorspent is an orphan: its parent is"
        " not here yet.",
        (
            Column("Node", label="instance"),
            Column("Class", label="class", width=90),
            Column("Reason", label="reason", width=230),
            Column("Refused", f"topk(12, round({refused}))"),
        ),
        width=12,
        height=8,
        sort="Refused",
        descending=True,
        logs=lines.REFUSED,
    )


def _messages() -> Panel:
    """Which messages the bytes are."""
    return table(
        "Traffic by type of message",
        "Mean of the time range shown, of the peers there are at scrapes. Transactions (tx, inv) are most on a node"
        " that serves no blocks.",
        (
            Column("Message", label="message"),
            *(
                Column(
                    way.capitalize(),
                    f"sum by (message) (rate(bitcoin_message_{way}_bytes_total{{*}}[$__range]))",
                    unit=Unit.BYTES_PER_SECOND,
                )
                for way in ("received", "sent")
            ),
        ),
        width=8,
        height=10,
        sort="Received",
        descending=True,
    )


def _kinds() -> Panel:
    """Many short bars, hence small letters."""
    panel = gauges(bitcoin_peers.KINDS, height=10)
    return replace(panel, options={**panel.options, "text": {"titleSize": 12, "valueSize": 14}, "minVizHeight": 12})


def _facts() -> Panel:
    """What a node holds, one line each."""

    def of_node(metric: str) -> str:
        return f"max by (instance) ({metric})"

    return table(
        "What the nodes hold",
        "Empty where the node does not say, or does not prune. Slots are for inbound peers; in flight are blocks asked"
        " of peers; unsent are own transactions that no peer has asked for; the last two are RPC calls in progress.",
        (
            Column("Node", label="instance"),
            Column(
                "Uptime",
                of_node(
                    "time() - chainwatch_node_start_timestamp_seconds{*} and on (job, instance) bitcoin_headers{*}"
                ),
                unit=Unit.SECONDS,
            ),
            Column("Verified", of_node("bitcoin_verification_progress_ratio{*}"), unit=Unit.RATIO),
            Column("On disk", of_node("bitcoin_blockchain_size_bytes{*}"), unit=Unit.BYTES),
            Column("Prunes to", of_node("bitcoin_prune_target_bytes{*}"), unit=Unit.BYTES),
            Column("From block", of_node("bitcoin_prune_height{*}")),
            Column("Upload max", of_node("bitcoin_upload_target_bytes{*}"), unit=Unit.BYTES),
            Column("Slots", of_node("bitcoin_inbound_slots{*}")),
            Column("Banned", of_node("bitcoin_banned_entries{*}")),
            Column("In flight", of_node("bitcoin_peers_inflight_blocks{*}")),
            Column("Unsent", of_node("bitcoin_mempool_unbroadcast_transactions{*}")),
            Column("Orphans", of_node("bitcoin_orphan_transactions{*}")),
            Column("RPC calls", of_node("bitcoin_rpc_active_commands{*}")),
            Column("Longest", of_node("bitcoin_rpc_longest_running_command_seconds{*}"), unit=Unit.SECONDS),
        ),
        height=5,
    )


def _switches() -> Panel:
    """What a node is set to, and in which phase it is."""

    def switch(title: str, metric: str, yes: str | None, no: str | None) -> Column:
        """A column of yes and no, and the colour of the one that is worth a look."""
        return Column(title, f"max by (instance) ({metric}{{*}})", mappings={1: ("yes", yes), 0: ("no", no)})

    return table(
        "Switches",
        "What the nodes are set to, and their phase. Coloured is what is not usual for long. Loaded is the mempool of"
        " the last run; upload full is a used-up -maxuploadtarget; a noisy source makes a node drop log lines (30 and"
        " later).",
        (
            Column("Node", label="instance"),
            switch("Network on", "bitcoin_network_active", None, fleet.WARNING),
            switch("Wants txs", "bitcoin_local_relay", None, fleet.INFO),
            switch("Loaded", "bitcoin_mempool_loaded", None, fleet.INFO),
            switch("First sync", "bitcoin_initial_block_download", fleet.INFO, None),
            switch("Full RBF", "bitcoin_mempool_full_rbf", None, None),
            switch("Prunes", "bitcoin_pruned", None, None),
            switch("Upload full", "bitcoin_upload_target_reached", fleet.INFO, None),
            switch("Drops lines", "bitcoin_log_rate_limited", fleet.WARNING, None),
        ),
        height=5,
        logs={"event": "excessive_logging"},
    )


def _chain_states() -> Panel:
    """Chain states: two while a snapshot is verified."""
    of_state = "max by (instance, chainstate)"
    return table(
        "Chain states (26 and later)",
        "One, main; two while a node that started from a snapshot verifies what is below it.",
        (
            Column("Node", label="instance"),
            Column("Chain state", label="chainstate"),
            Column("Height", f"{of_state} (bitcoin_chainstate_height{{*}})"),
            Column(
                "Validated",
                f"{of_state} (bitcoin_chainstate_validated{{*}})",
                mappings={1: ("yes", fleet.OK), 0: ("not yet", fleet.INFO)},
            ),
            Column("Verified", f"{of_state} (bitcoin_chainstate_verification_progress_ratio{{*}})", unit=Unit.RATIO),
            Column("Cache", "sum by (instance, chainstate) (bitcoin_chainstate_cache_bytes{*})", unit=Unit.BYTES),
        ),
        width=10,
        height=7,
    )


BOARD = Board(
    uid="chainwatch-bitcoin-node",
    title="Bitcoin node",
    folder="chainwatch-bitcoin",
    family="bitcoin",
    description="What nodes of the Bitcoin family do: Bitcoin Core, Litecoin, Bitcoin SV and others.",
    variables=choices('chainwatch_node_info{family="bitcoin"}'),
    annotations=MARKS,
    rows=(
        Row(
            "Now",
            (
                _tile(bitcoin_node.STATE_NOW, "min", "State"),
                _tile(bitcoin_node.ALERTS, "sum", "Alerts"),
                _tile(fleet.HEIGHT, "max", "Height"),
                _tile(fleet.BLOCKS_BEHIND, "max", "Behind"),
                _tile(fleet.TIP_AGE, "max", "Last block"),
                _tile(fleet.PEERS, "min", "Peers"),
                graph(fleet.TIP_AGE),
                graph(bitcoin_peers.BY_DIRECTION, steps=True),
                graph(fleet.MEMPOOL),
                graph(bitcoin_mempool.REJECTED, stacked=True, logs=lines.REFUSED),
                graph(bitcoin_chain.HEADER_TO_TIP, logs=lines.HEADER_TO_TIP),
                bars(bitcoin_node.LOG_MESSAGES, logs=lines.TROUBLE),
            ),
        ),
        Row(
            "Mempool",
            (
                graph(bitcoin_mempool.FILL),
                graph(bitcoin_mempool.LOWEST_FEERATES, steps=True),
                graph(bitcoin_mempool.FEE_ESTIMATES, steps=True),
                graph(bitcoin_mempool.FLOW, 12, 8, logs=lines.ACCEPTED),
                _reasons(),
            ),
            folded=True,
        ),
        Row(
            "Blocks",
            (
                graph(bitcoin_chain.CONNECT_PHASES, 12, 8, logs={"event": "connect_phase"}),
                graph(bitcoin_chain.COMPACT_BLOCKS, 12, 8, logs={"event": "compact_done"}),
                bars(bitcoin_chain.INVALID_BLOCKS, logs=lines.INVALID_BLOCKS),
                bars(bitcoin_chain.BLOCKS_LEFT, logs=lines.REORGS),
                bars(bitcoin_chain.BLOCK_TROUBLE, logs=lines.BLOCK_TROUBLE),
            ),
            folded=True,
        ),
        Row(
            "Peers",
            (
                graph(bitcoin_peers.BY_NETWORK, stacked=True, steps=True),
                graph(bitcoin_peers.PING),
                bars(bitcoin_peers.MISBEHAVING, logs={"event": "misbehaving"}),
                graph(bitcoin_peers.TRAFFIC, height=10),
                _messages(),
                _kinds(),
            ),
            folded=True,
        ),
        Row(
            "The program",
            (
                _facts(),
                _switches(),
                timeline(bitcoin_node.WARNING_KINDS, 7, 7),
                graph(bitcoin_node.INDEX_LAG, 7, steps=True),
                _chain_states(),
            ),
            folded=True,
        ),
    ),
)
