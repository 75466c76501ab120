"""Fleet overview: every chain and node, and what is wrong."""

from __future__ import annotations

from dataclasses import replace

from dashboards import lines
from dashboards.common import MARKS, choices, to_node, to_validator
from dashboards.model import Board, Mappings, Panel, Row, Unit
from dashboards.panels import Column, bars, graph, stat, table, timeline
from dashboards.signals import fleet

# The board of a node, by the family that its exporter names.
_BOARD_OF = {"bitcoin": "bitcoin-node", "cometbft": "cometbft-chain"}
_OTHERWISE = "exporters"

_NODE = "by (chain, job, instance)"
_RUNBOOKS = "https://github.com/chainwatch/chainwatch/${__data.fields.page}"
_SEVERITIES: Mappings = {
    3: ("critical", fleet.CRITICAL),
    2: ("warning", fleet.WARNING),
    1: ("info", fleet.INFO),
    0: ("none fires", fleet.OK),
}


def _board() -> str:
    """Which board shows a node: a label `board` beside the node's."""
    known = "last_over_time(chainwatch_node_info{*}[1d])"
    expr = f'label_replace({known}, "board", "{_OTHERWISE}", "", "")'
    for family, board in _BOARD_OF.items():
        expr = f'label_replace({expr}, "board", "{board}", "family", "{family}")'
    return f"max by (chain, job, instance, board) ({expr})"


def _nodes() -> Panel:
    """Every node in one line."""
    firing = f"count by (job, instance) ({fleet.firing('critical|warning')})"
    return table(
        "Chains and nodes",
        "Every node, with the worst that is true of it now. Click a node for its board.",
        (
            Column("State", f"max {_NODE} ({fleet.STATE})", mappings=fleet.STATE_NAMES, width=105),
            Column("Chain", label="chain", width=150),
            Column("Node", label="instance", width=150, link=to_node("${__data.fields.board}")),
            Column("Height", f"max {_NODE} (chainwatch_tip_height{{*}})"),
            Column("Behind", f"max {_NODE} (chainwatch:blocks_behind{{*}})", width=75),
            Column("Last block", f"max {_NODE} ({fleet.TIP_AGE.queries[0].expr})", unit=Unit.SECONDS),
            Column("Peers", f"sum {_NODE} (chainwatch_peers{{*}})", width=65),
            Column("Client", label="client"),
            Column("Version", label="version"),
            Column(
                "Alerts",
                f"max {_NODE} (0 * {fleet.KNOWN} + on (job, instance) group_left () {firing} or 0 * {fleet.KNOWN})",
                levels=((None, "text"), (1, fleet.WARNING)),
                width=70,
            ),
            Column("job", label="job", hidden=True),
            Column("board", label="board", hidden=True),
            Column("is shown by", _board(), hidden=True),
            Column("runs", "max by (chain, job, instance, client, version) (chainwatch_node_info{*})", hidden=True),
        ),
        height=8,
        sort="State",
    )


def _at_its_node(alerts: str) -> str:
    """Alerts with the board of their node, and its chain: an exporter that cannot be scraped names none."""
    known = f"topk by (job, instance) (1, {_board()})"
    return (
        f"({alerts}) * on (job, instance) group_left (chain, board) {known}"
        " or on (alertname, job, instance, name, validator)"
        f' label_replace({alerts}, "board", "{_OTHERWISE}", "", "")'
    )


def _alerts() -> Panel:
    """What fires."""
    row = "by (alertname, chain, job, instance, name, validator, board)"
    rank = " or ".join(f"{number} * {fleet.firing(name)}" for number, (name, _) in _SEVERITIES.items() if number)
    # A page for each row, that of no alert too.
    severity = (
        f'label_replace(max {row} ({_at_its_node(rank)}), "page", "blob/main/docs/runbooks/$1.md", "alertname", "(.+)")'
        ' or on () label_replace(vector(0), "page", "tree/main/docs/runbooks", "", "")'
    )
    waiting = fleet.alerts("ALERTS_FOR_STATE", 'severity=~"critical|warning|info",')
    since = f'(1000 * {waiting} and ignoring (alertstate) ALERTS{{alertstate="firing"}})'
    return table(
        "Alerts that fire",
        "Worst first. Click an alert for what it means and what to do, a node or a validator for its board. Alerts made"
        " from logs are at Alertmanager only.",
        (
            Column("Severity", severity, mappings=_SEVERITIES, width=100),
            Column(
                "Alert",
                label="alertname",
                link=("What it means, what to do", _RUNBOOKS),
                width=280,
            ),
            Column("Chain", label="chain"),
            Column("Node", label="instance", link=to_node("${__data.fields.board}")),
            Column("Validator", label="name", link=to_validator()),
            Column(
                "Since",
                f"min {row} ({_at_its_node(since)})",
                unit=Unit.AGO,
            ),
            Column("job", label="job", hidden=True),
            Column("validator", label="validator", hidden=True),
            Column("board", label="board", hidden=True),
            Column("page", label="page", hidden=True),
        ),
        height=7,
        sort="Severity",
        descending=True,
    )


def _chains() -> Panel:
    """Every chain in one line."""
    chosen = '{chain=~"$chain"}'
    stale = f'chainwatch:threshold{{name="chain_tip_stale_seconds",{chosen[1:]}'
    return table(
        "Chains",
        "What all nodes of a chain have seen together. Nodes with different blocks at one height are normal for the"
        " time of a block or two.",
        (
            Column("Chain", label="chain"),
            Column("Nodes", "count by (chain) (chainwatch_up{*})"),
            Column("Height", f"max by (chain) (chainwatch:tip_height:max{chosen})"),
            Column("Last block", f"max by (chain) (chainwatch:tip_age_seconds:min{chosen})", unit=Unit.SECONDS),
            Column("Alert after", f"max by (chain) ({stale})", unit=Unit.SECONDS),
            Column("Spacing", "max by (chain) (chainwatch_target_spacing_seconds{*})", unit=Unit.SECONDS),
            Column(
                "Best blocks",
                f"max by (chain) (chainwatch:chain_split{chosen})",
                mappings={0: ("one", fleet.OK), 1: ("several", fleet.WARNING)},
            ),
        ),
        height=6,
        sort="Chain",
    )


def _thresholds() -> Panel:
    """The numbers at which alerts begin."""
    return table(
        "Thresholds in force",
        "The numbers behind the dashed lines and the alerts. A chain without a line here has no such alert. How to"
        " change one: prometheus/examples/local_thresholds.yml.",
        (
            Column("Chain", label="chain"),
            Column("Threshold", label="name"),
            Column("Value", 'max by (chain, name) (chainwatch:threshold{chain=~"$chain"})', unit=Unit.SHORT),
        ),
        height=12,
        sort="Threshold",
    )


_STATS = (
    fleet.NODES,
    fleet.NODES_DOWN,
    fleet.EXPORTERS_GONE,
    fleet.STALE_CHAINS,
    fleet.ALERTS_CRITICAL,
    fleet.ALERTS_WARNING,
)

BOARD = Board(
    uid="chainwatch-fleet",
    title="Fleet overview",
    folder="chainwatch",
    description="Every chain and node that chainwatch watches, and what is wrong.",
    variables=choices("chainwatch_up"),
    annotations=MARKS,
    rows=(
        Row(
            "Now",
            (
                *(stat(signal, 4, 3) for signal in _STATS),
                _nodes(),
                _alerts(),
                graph(replace(fleet.BLOCKS_BEHIND, threshold=None), steps=True),
                graph(fleet.TIP_AGE),
                graph(fleet.PEERS, steps=True),
            ),
        ),
        Row(
            "Chains",
            (
                _chains(),
                bars(fleet.REORGS_OF_CHAINS, logs=lines.REORGS),
                graph(fleet.REORG_DEPTH, steps=True, logs=lines.REORGS),
                graph(fleet.MEMPOOL),
            ),
            folded=True,
        ),
        Row(
            "The way to the nodes",
            (
                graph(fleet.RESTARTS, steps=True),
                graph(fleet.CLOCK_OFFSET),
                timeline(fleet.STREAMS, 8, 7),
                graph(fleet.RPC_FAILURES, 12),
                bars(fleet.COLLECTORS_FAILING, 12),
            ),
            folded=True,
        ),
        Row("Numbers at which alerts begin", (_thresholds(),), folded=True),
    ),
)
