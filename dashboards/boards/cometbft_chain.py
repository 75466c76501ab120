"""CometBFT chain: whether blocks come, and if not, whose votes are missing."""

from __future__ import annotations

from dataclasses import replace

from dashboards import lines
from dashboards.common import choices, to_validator
from dashboards.model import Board, Panel, Row, Unit
from dashboards.panels import Column, bars, graph, heatmap, stat, table, timeline
from dashboards.signals import cometbft_chain as chain
from dashboards.signals import cometbft_consensus as consensus

# Only own ones have a name here; the rest of the line is the address.
_OWN = (
    " * on (chain, validator) group_left (name) (topk by (chain, validator) (1, cometbft_validator_own_info{*})"
    " or on (chain, validator) group by (chain, validator) (cometbft_validator_power{*}))"
)
_OF_VALIDATOR = "max by (chain, validator)"


# Where the live page is, for all one can tell: at the instance, or at the usual port of the node that it names.
_PAGE = (
    f"label_replace(label_replace(group by (instance) ({chain.FAMILY}{{*}}),"
    ' "page", "$1:11333", "instance", "([^:]+)"), "page", "$1", "instance", "(.+:[0-9]+)")'
)


def _exporters() -> Panel:
    """Each exporter's view, with the way to its live page."""
    to_page = ("Who votes now: the exporter's page /consensus", "http://${__data.fields.page}/consensus")
    since, began = "condition_since_timestamp_seconds", "round_height_started_timestamp_seconds"
    return table(
        "Exporters and their nodes",
        "Each exporter's view of the chain. Click one for its live page: who is to propose, who voted, who is missing. "
        "(It opens http://INSTANCE/consensus, port 11333 where the instance is a name, as your browser reaches it.)",
        (
            Column("Exporter", label="instance", link=to_page),
            Column("Condition", chain.CONDITION_OF_EACH, mappings=chain.CONDITIONS, width=115),
            Column("Since", f"max by (instance) (cometbft_chain_{since}{{*}}) * 1000", unit=Unit.AGO, width=150),
            Column("Height", "max by (instance) (chainwatch_tip_height{*})", width=85),
            Column("Round", "max by (instance) (cometbft_round_current{*})", width=60),
            Column("Height began", f"max by (instance) (cometbft_{began}{{*}}) * 1000", unit=Unit.AGO, width=150),
            Column("Peers", "sum by (instance) (chainwatch_peers{*})", width=60),
            Column("page", label="page", hidden=True),
            Column("is at", _PAGE, hidden=True),
        ),
        width=14,
        height=6,
    )


def _validators() -> Panel:
    """Every validator, those that miss first."""
    missed = 'increase(cometbft_validator_missed_total{rule="sdk",*}[1h])'
    power = f"{_OF_VALIDATOR} (cometbft_validator_power{{*}})"
    return table(
        "Who is missing",
        "Validators, those that missed most blocks in a row first, with their misses of the last hour; own ones by "
        "name. Click an address for the validator's board. In a halt no block is missed: who has not voted is on the "
        "exporter's page /consensus.",
        (
            Column("Address", label="validator", link=to_validator(), width=365),
            Column("Own", label="name", width=85),
            Column("In a row", f"{_OF_VALIDATOR} (cometbft_validator_consecutive_missed{{*}}){_OWN}", width=95),
            Column("Missed, 1 h", f"round({_OF_VALIDATOR} ({missed})){_OWN}", width=95),
            Column(
                "Power",
                f"{power} / on (chain) group_left () max by (chain) (cometbft_power{{*}}){_OWN}",
                unit=Unit.RATIO,
                width=80,
            ),
            Column("Chain", label="chain"),
        ),
        width=16,
        height=8,
        sort="In a row",
        descending=True,
    )


def _planned(panel: Panel) -> Panel:
    """Say so where nothing is planned."""
    return replace(panel, defaults={"noValue": "none planned"})


BOARD = Board(
    uid="chainwatch-cometbft-chain",
    title="CometBFT chain",
    folder="chainwatch-cometbft",
    family="cometbft",
    description="Whether the chain makes blocks, how, and who is missing.",
    variables=choices(chain.FAMILY),
    annotations=(*chain.MARKS, chain.SET_CHANGED),
    rows=(
        Row(
            "Now",
            (
                stat(chain.CONDITION),
                stat(chain.HEIGHT),
                stat(chain.LAST_BLOCK),
                stat(chain.INTERVAL_NOW),
                stat(chain.POWER_MISSING_NOW),
                stat(chain.FAILED_ROUNDS_NOW),
                timeline(chain.CONDITION_OVER_TIME, 10, 6, logs=lines.HALTS),
                _exporters(),
                graph(consensus.INTERVAL, 12, logs=lines.ROUNDS),
                bars(consensus.ROUND_FAILURES, 12, logs={"event": "timed_out"}),
                graph(chain.POWER_MISSING, 8, 8),
                _validators(),
            ),
        ),
        Row(
            "Rounds and steps",
            (
                graph(consensus.INTERVAL_RATIO, logs=lines.ROUNDS),
                graph(consensus.ROUND_FAILURES_PER_HEIGHT, logs={"event": "timed_out"}),
                graph(consensus.ROUNDS, logs={"event": "next_round"}),
                graph(consensus.STEPS, 24, 8),
            ),
            folded=True,
        ),
        Row(
            "Votes",
            (
                heatmap(consensus.PREVOTE_ARRIVAL),
                heatmap(consensus.PRECOMMIT_ARRIVAL),
                graph(consensus.QUORUM_DELAY),
                graph(consensus.VOTES),
                bars(consensus.VOTE_ODDITIES),
            ),
            folded=True,
        ),
        Row(
            "Validator set and misbehaviour",
            (
                graph(chain.VALIDATORS, steps=True),
                bars(chain.SET_CHANGES, logs={"event": "validators_updated"}),
                bars(chain.MISBEHAVIOUR, logs=lines.DOUBLE_SIGNS),
            ),
            folded=True,
        ),
        Row(
            "Mempool and peers",
            (
                graph(chain.MEMPOOL, 6),
                graph(chain.MEMPOOL_BYTES, 6),
                graph(chain.PEERS, 6, steps=True, logs={"event": "peer_lost"}),
                graph(chain.CONGESTED, 6),
            ),
            folded=True,
        ),
        Row(
            "What the exporters see",
            (
                bars(consensus.SETTLED),
                graph(consensus.FRAMES),
                bars(consensus.STREAM_TROUBLE, logs={"category": "rpc"}),
            ),
            folded=True,
        ),
        Row(
            "Upgrade (chains of the Cosmos SDK, while one is planned)",
            (
                _planned(stat(chain.UPGRADE_HEIGHT, 4, 7)),
                _planned(stat(chain.UPGRADE_BLOCKS, 4, 7)),
                graph(chain.UPGRADE_SECONDS, 16),
            ),
            folded=True,
        ),
    ),
)
