"""A CometBFT chain: how it stands, who is missing, its validator set, and the node through which it is seen.

Several exporters may watch one chain: what is the chain's is shown once, by chain.
"""

from __future__ import annotations

from dashboards.common import ALERTS, EXPORTER_STARTS, alert_at, bad_above
from dashboards.model import Annotation, Mappings, Query, Signal, Unit

FAMILY = "cometbft_chain_condition"


MARKS = (ALERTS, EXPORTER_STARTS)
SET_CHANGED = Annotation(
    "Set changes",
    'max by (chain, change) (cometbft_validator_set_changed_timestamp_seconds{change=~"joined|left",*}) * 1000',
    "{{chain}}: a validator {{change}}",
    "purple",
    at_value=True,
)

# The conditions of cometbft_chain_condition as numbers. What is the chain's comes before what is only the node's, the
# better before the worse: of several views of one chain the lowest is right, as one that sees blocks proves that they
# come.
_CONDITIONS = (
    ("running", "green"),
    ("many_rounds", "yellow"),
    ("no_quorum", "red"),
    ("stuck_with_quorum", "red"),
    ("consensus_failure", "red"),
    ("behind", "orange"),
    ("syncing", "blue"),
    ("unknown", "orange"),
)
CONDITIONS: Mappings = {number: (name.replace("_", " "), color) for number, (name, color) in enumerate(_CONDITIONS)}
_NUMBERED = " or ".join(
    f'(cometbft_chain_condition{{condition="{name}",*}} == 1) * {number}'
    for number, (name, _) in enumerate(_CONDITIONS)
)
CONDITION_OF_EACH = f"min by (instance) ({_NUMBERED})"

CONDITION = Signal(
    title="Condition",
    description="How the chain stands: of several exporters' views the best, since one that sees blocks proves that "
    "they come. Running is normal. No quorum: two thirds of the power have not voted. Stuck with quorum: halted "
    "although they have. Consensus failure: the node lives, its consensus is dead.",
    unit=Unit.NUMBER,
    queries=(Query(f"min by (chain) ({_NUMBERED})", "{{chain}}"),),
    mappings=CONDITIONS,
)

CONDITION_OVER_TIME = Signal(
    title="Condition, as each exporter sees it",
    description="Running is normal. Behind, syncing and unknown are the node's own trouble; many rounds, no quorum "
    "and stuck with quorum are the chain's when no exporter sees it running.",
    unit=Unit.NUMBER,
    queries=(Query(CONDITION_OF_EACH),),
    mappings=CONDITIONS,
)

HEIGHT = Signal(
    title="Height",
    description="The highest block that a watched node has.",
    unit=Unit.NUMBER,
    queries=(Query("max by (chain) (chainwatch_tip_height{*})", "{{chain}}"),),
)

LAST_BLOCK = Signal(
    title="Last block",
    description="How long ago a watched node took its last block. Below one block interval is normal, and the time "
    "since the last scrape on top.",
    unit=Unit.SECONDS,
    queries=(Query("time() - max by (chain) (chainwatch_tip_first_seen_timestamp_seconds{*})", "{{chain}}"),),
    decimals=0,
    minimum=0,
)

INTERVAL_NOW = Signal(
    title="Interval",
    description="Mean time between two blocks, last 5 minutes. What is normal is the chain's; below it is compared "
    "with the usual one.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            "min by (chain) (rate(cometbft_block_interval_seconds_sum{*}[5m])"
            " / rate(cometbft_block_interval_seconds_count{*}[5m]))",
            "{{chain}}",
        ),
    ),
)

POWER_MISSING_NOW = Signal(
    title="Not signing",
    description="Share of the voting power that did not sign the last block; of a halt, that has not voted. A few "
    "percent are normal. Above a third the chain stops.",
    unit=Unit.RATIO,
    queries=(Query("1 - max by (chain) (cometbft_power_online_ratio{*})", "{{chain}}"),),
    levels=(
        (None, "green"),
        (alert_at("cometbft_power_missing_ratio"), "yellow"),
        (alert_at("cometbft_power_missing_critical_ratio"), "red"),
    ),
    decimals=1,
)

FAILED_ROUNDS_NOW = Signal(
    title="Failed rounds",
    description="Failed rounds for each block, last ten minutes. Below 0.01 is healthy.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "max by (chain) (sum by (chain, job, instance) (increase(cometbft_round_failures_total{*}[10m]))"
            " / sum by (chain, job, instance) (increase(cometbft_heights_settled_total{*}[10m])))",
            "{{chain}}",
        ),
    ),
    levels=bad_above("cometbft_failed_rounds_per_height"),
    decimals=2,
)

POWER_MISSING = Signal(
    title="Voting power that does not sign",
    description="A few percent are normal; above a third the chain stops. Missing to a quorum: what lacks to more "
    "than two thirds in the present step, 0 while the chain runs. The upper alert wakes a person.",
    unit=Unit.RATIO,
    queries=(
        Query("1 - max by (chain) (cometbft_power_online_ratio{*})", "missing, {{chain}}"),
        Query("min by (chain) (cometbft_quorum_missing_ratio{*})", "missing to a quorum, {{chain}}"),
        Query(
            'max by (chain) (chainwatch:threshold{name="cometbft_power_missing_critical_ratio",chain=~"$chain"})',
            "alert, {{chain}}, critical",
        ),
    ),
    threshold="cometbft_power_missing_ratio",
    minimum=0,
)

VALIDATORS = Signal(
    title="Validators",
    description="Members of the validator set, and those that did not sign the last block (of a halt, that have not "
    "voted in the present step). Some out of a hundred are normal; who, says the table Who is missing, and in a halt "
    "the page /consensus.",
    unit=Unit.NUMBER,
    queries=(
        Query("max by (chain) (cometbft_validators{*})", "in the set, {{chain}}"),
        Query("min by (chain) (cometbft_validators_missing{*})", "not signing, {{chain}}"),
    ),
    minimum=0,
)

SET_CHANGES = Signal(
    title="Changes of the validator set",
    description="Members that joined or left, or whose power was raised or lowered. A few are normal; many that "
    "leave at once are a wave of jailings.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "max by (chain, change) (increase(cometbft_validator_set_changes_total{*}[$__rate_interval]))",
            "{{change}}, {{chain}}",
        ),
    ),
    minimum=0,
)

MISBEHAVIOUR = Signal(
    title="Double signs and evidence",
    description="Pairs of different votes by one validator in one round, by whichever proof came first, and the "
    "evidence that went into blocks. None is normal. Own: stop every process that holds the key.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "max by (chain, whose) (sum without (proof) (increase(cometbft_double_signs_total{*}[$__rate_interval])))",
            "double signs, {{whose}}, {{chain}}",
        ),
        Query(
            "max by (chain, whose) (sum without (type) (increase(cometbft_evidence_total{*}[$__rate_interval])))",
            "evidence, {{whose}}, {{chain}}",
        ),
    ),
    minimum=0,
)

MEMPOOL = Signal(
    title="Mempool",
    description="Transactions that wait in the node. Near 0 is normal on most chains; full, at 5,000 by default, it "
    "refuses new ones.",
    unit=Unit.NUMBER,
    queries=(Query("chainwatch_mempool_transactions{*}"),),
    threshold="cometbft_mempool_transactions",
    minimum=0,
)

MEMPOOL_BYTES = Signal(
    title="Size of the mempool",
    description="Bytes of the waiting transactions; the node's limit is 64 MiB by default (max_txs_bytes).",
    unit=Unit.BYTES,
    queries=(Query("chainwatch_mempool_bytes{*}"),),
    minimum=0,
)

PEERS = Signal(
    title="Peers",
    description="Connections by who opened them. A validator behind sentries has two or three, others ten and more.",
    unit=Unit.NUMBER,
    queries=(Query("chainwatch_peers{*}", "{{instance}} {{direction}}"),),
    minimum=0,
)

CONGESTED = Signal(
    title="Full send queues",
    description="Share of the peers whose queue of messages is at least half full, and how full the fullest one is. "
    "One slow peer is its own trouble; a third of them is this node's, or its line's.",
    unit=Unit.RATIO,
    queries=(
        Query(
            "cometbft_peers_congested{*}"
            " / on (job, instance, chain) sum by (job, instance, chain) (chainwatch_peers{*})",
            "{{instance}}, peers",
        ),
        Query("cometbft_peers_send_queue_max_ratio{*}", "{{instance}}, fullest queue"),
    ),
    threshold="cometbft_peers_congested_ratio",
    minimum=0,
)

UPGRADE_HEIGHT = Signal(
    title="Upgrade at",
    description="Height at which the chain stops for its next upgrade; without a plan, and on chains without the "
    "upgrade module, there is none.",
    unit=Unit.NUMBER,
    queries=(Query("min by (chain) (cometbft_upgrade_height{*})", "{{chain}}"),),
)

UPGRADE_BLOCKS = Signal(
    title="Blocks left",
    description="Blocks until the upgrade. Nodes without the new version stay there.",
    unit=Unit.NUMBER,
    queries=(Query("min by (chain) (cometbft_upgrade_distance_blocks{*})", "{{chain}}"),),
)

UPGRADE_SECONDS = Signal(
    title="Time until the upgrade",
    description="At the usual time between blocks. Empty without a plan.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            "min by (chain) (cometbft_upgrade_distance_blocks{*})"
            " * on (chain) max by (chain) (chainwatch_target_spacing_seconds{*})",
            "{{chain}}",
        ),
    ),
    threshold="cometbft_upgrade_near_seconds",
    minimum=0,
)
