"""Validators of a CometBFT chain: what they signed, what they missed and why, how fast they are.

Of the addresses that are chosen on the board, `$validator`; own ones carry their name, others the beginning of their
address. Where several exporters count for one validator, the one that counted most is shown.
"""

from __future__ import annotations

from dashboards.common import alert_at, bad_above
from dashboards.model import Level, Query, Signal, Unit, Variable

CHOSEN = 'validator=~"$validator"'
# Where two exporters were told different names of one validator, one of them.
_NAMES = (
    f"(topk by (chain, validator) (1, cometbft_validator_own_info{{{CHOSEN},*}}) or on (chain, validator)"
    f" label_replace(group by (chain, validator) (cometbft_validator_power{{{CHOSEN},*}}),"
    ' "name", "$1", "validator", "(.{8}).*"))'
)


def named(expr: str) -> str:
    """Give each of the chosen validators its name; `expr` has the labels chain and validator."""
    return f"({expr}) * on (chain, validator) group_left (name) {_NAMES}"


def of(metric: str, *selectors: str) -> str:
    """Return a metric of the chosen validators."""
    return f"{metric}{{{','.join([*selectors, CHOSEN, '*'])}}}"


def grown(metric: str, *selectors: str, within: str = "$__rate_interval", also_by: str = "") -> str:
    """Return how much a counter of the chosen validators grew: by validator, and by another label."""
    by = f"chain, validator, {also_by}" if also_by else "chain, validator"
    return f"max by ({by}) (sum by (job, instance, {by}) (increase({of(metric, *selectors)}[{within}])))"


POWER_SHARE = (
    f"max by (chain, validator) ({of('cometbft_validator_power')})"
    " / on (chain) group_left () max by (chain) (cometbft_power{*})"
)


def share(metric: str, *selectors: str, within: str) -> str:
    """Return a counter's growth over that of the heights."""
    heights = grown("cometbft_validator_precommits_total", within=within)
    return f"{grown(metric, *selectors, within=within)} / ({heights} > 0)"


def _queries(expr: str, legend: str = "{{name}}") -> tuple[Query, ...]:
    return (Query(named(expr), legend),)


# Own ones first, then the most powerful: +Inf is above every power.
VALIDATOR = Variable(
    name="validator",
    query="query_result(sort_desc(group by (validator, name) (cometbft_validator_own_info{*}) * Inf"
    " or on (validator) label_replace(max by (validator) (cometbft_validator_power{*}),"
    ' "name", "$1", "validator", "(.+)")))',
    regex='/name="(?<text>[^"]*)".*validator="(?<value>[0-9A-F]+)"/',
    everything=False,
)

_MISSED_RATIO = alert_at("cometbft_missed_ratio")
_ANY: tuple[Level, ...] = ((None, "green"), (1, "yellow"))

SIGNED_NOW = Signal(
    title="Signed",
    description="Share of the heights of the last 15 minutes that bear its signature, for the block or nil. Above "
    "99% is normal.",
    unit=Unit.RATIO,
    queries=_queries(share("cometbft_validator_precommits_total", 'result!="absent"', within="15m")),
    levels=((None, "red"), (1 - _MISSED_RATIO, "green")),
    decimals=1,
)

IN_A_ROW_NOW = Signal(
    title="Missed in a row",
    description="Heights without its signature until the last one. 0 is normal.",
    unit=Unit.NUMBER,
    queries=_queries(f"max by (chain, validator) ({of('cometbft_validator_consecutive_missed')})"),
    levels=_ANY,
)

MEMBERSHIP = Signal(
    title="In set",
    description="Whether it is in the validator set. Whether it is jailed is known of own ones on chains of the "
    "Cosmos SDK.",
    unit=Unit.NUMBER,
    queries=_queries(
        f"2 * (max by (chain, validator) ({of('cometbft_validator_jailed')}) == 1)"
        f" or max by (chain, validator) ({of('cometbft_validator_in_set')})"
        f" or max by (chain, validator) ({of('cometbft_validator_power')} > bool 0)"
    ),
    mappings={0: ("no", "red"), 1: ("yes", "green"), 2: ("jailed", "red")},
)

DELAY_NOW = Signal(
    title="Vote delay",
    description="Mean time from the complete proposal to its precommit, last 15 minutes, as the watched nodes saw "
    "it. Below a second is normal.",
    unit=Unit.SECONDS,
    queries=_queries(
        f"{grown('cometbft_validator_vote_delay_seconds_sum', within='15m')}"
        f" / ({grown('cometbft_validator_vote_delay_seconds_count', within='15m')} > 0)"
    ),
)

FAILED_PROPOSALS_NOW = Signal(
    title="Failed proposals",
    description="Rounds of the last hour that failed when it was its turn to propose. 0 is normal, 1 bad luck.",
    unit=Unit.NUMBER,
    queries=_queries(f"""round({grown("cometbft_validator_proposals_total", 'result="failed"', within="1h")})"""),
    levels=bad_above("cometbft_failed_proposals"),
)

# A validator of others has this counter only from its first double sign on, which no increase() would show.
DOUBLE_SIGNS = Signal(
    title="Double signs",
    description="Times that it signed two different votes for one height, round and step, as counted by the exporter "
    "so far. 0 is normal. Of your own: stop every process that holds the key.",
    unit=Unit.NUMBER,
    queries=_queries(
        f"max by (chain, validator) (max_over_time({of('cometbft_validator_double_signs_total')}[$__range]))"
        f" or 0 * max by (chain, validator) ({of('cometbft_validator_power')})"
    ),
    levels=((None, "green"), (1, "red")),
)

_SIGNED = grown("cometbft_validator_precommits_total", 'result!="absent"')
_ABSENT = grown("cometbft_validator_precommits_total", 'result="absent"')
HISTORY = Signal(
    title="Signed or missed",
    description="Green: it signed every height of the interval. Red: it missed all of them. Gaps: no height was "
    "decided, or nobody watched.",
    unit=Unit.NUMBER,
    queries=_queries(f"(({_ABSENT} > bool 0) + ({_SIGNED} == bool 0)) and {_SIGNED} + {_ABSENT} > 0"),
    mappings={0: ("signed", "green"), 1: ("missed some", "yellow"), 2: ("missed all", "red")},
)

MISSED_BY_CAUSE = Signal(
    title="Missed by cause",
    description="Network: many missed. Node: the watched node was behind, alone or had the proposal late. Signer: "
    "the node was well and no vote came. Proposer: the vote was left out. Unknown: nobody watched. Others' misses "
    "have no cause.",
    unit=Unit.NUMBER,
    queries=(
        Query(named(grown("cometbft_validator_missed_by_cause_total", also_by="cause")), "{{cause}}, {{name}}"),
        Query(
            named(
                f"""{grown("cometbft_validator_missed_total", 'rule="sdk"')}"""
                f" unless on (chain, validator) {of('cometbft_validator_own_info')}"
            ),
            "missed, {{name}}",
        ),
    ),
    minimum=0,
)

IN_A_ROW = Signal(
    title="Missed in a row",
    description="Heights without its signature until the last one. 0 is normal; a restart costs a few.",
    unit=Unit.NUMBER,
    queries=_queries(f"max by (chain, validator) ({of('cometbft_validator_consecutive_missed')})"),
    threshold="cometbft_consecutive_missed_blocks",
    minimum=0,
)

MISSED_SHARE = Signal(
    title="Missed share",
    description="Share of the heights of the last 15 minutes without its signature. Below 1% is normal.",
    unit=Unit.RATIO,
    queries=_queries(share("cometbft_validator_missed_total", 'rule="sdk"', within="15m")),
    threshold="cometbft_missed_ratio",
    minimum=0,
)


def _quantile(quantile: float) -> str:
    """Return a quantile of the delay of each chosen validator's precommits."""
    return f"histogram_quantile({quantile}, {grown('cometbft_validator_vote_delay_seconds_bucket', also_by='le')})"


DELAY = Signal(
    title="Vote delay",
    description="From the complete proposal to its precommit, as the watched nodes saw it: mean, and what nine of "
    "ten stayed below (at best a quarter of a second, the finest the exporter keeps). Steady is normal.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            named(
                f"{grown('cometbft_validator_vote_delay_seconds_sum')}"
                f" / ({grown('cometbft_validator_vote_delay_seconds_count')} > 0)"
            ),
            "mean, {{name}}",
        ),
        Query(named(_quantile(0.9)), "90%, {{name}}"),
    ),
    minimum=0,
)

DELAYS = Signal(
    title="Vote delays",
    description="Precommits of the chosen validators by the time since the proposal was complete. Votes that wander "
    "up are a slow signer, or a long way to the watched nodes.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            f"sum by (le) (increase({of('cometbft_validator_vote_delay_seconds_bucket')}[$__rate_interval]))", "{{le}}"
        ),
    ),
)

PREVOTES = Signal(
    title="Prevotes",
    description="Its prevotes in watched heights: for the block, nil, or absent. Only for the block is normal; nil "
    "means that it had no proposal in time, or refused it.",
    unit=Unit.NUMBER,
    queries=_queries(grown("cometbft_validator_prevotes_total", also_by="result"), "{{result}}, {{name}}"),
    minimum=0,
)

PRECOMMITS = Signal(
    title="Precommits",
    description="Its precommits by the canonical commit: for the block, nil, or absent. Only for the block is normal.",
    unit=Unit.NUMBER,
    queries=_queries(grown("cometbft_validator_precommits_total", also_by="result"), "{{result}}, {{name}}"),
    minimum=0,
)

PREVOTED_ONLY = Signal(
    title="Prevoted, not precommitted",
    description="Share of the heights of 15 minutes where it prevoted for the block and no precommit of it is in the "
    "commit. 0 is normal; else the signer refuses or answers late.",
    unit=Unit.RATIO,
    queries=_queries(share("cometbft_validator_prevote_without_precommit_total", within="15m")),
    threshold="cometbft_prevote_without_precommit_ratio",
    minimum=0,
)

LEFT_OUT = Signal(
    title="Left out by the proposer",
    description="Share of the heights of an hour whose precommit was seen in time and is not in the next block. "
    "Below 1% is normal; more is a long way to the proposers.",
    unit=Unit.RATIO,
    queries=_queries(share("cometbft_validator_precommit_left_out_total", within="1h")),
    threshold="cometbft_left_out_ratio",
    minimum=0,
)

MISSED_FOR_SIGNER = Signal(
    title="Missed for the signer",
    description="Share of the heights of five minutes that own validators missed though the node was well. 0 is "
    "normal; known of own validators only.",
    unit=Unit.RATIO,
    queries=_queries(share("cometbft_validator_missed_by_cause_total", 'cause="signer"', within="5m")),
    threshold="cometbft_signer_missed_ratio",
    minimum=0,
)

MISSED_ALONE = Signal(
    title="Missed alone",
    description="Heights that it missed and more than two thirds of the set signed: its own trouble, not the "
    "network's.",
    unit=Unit.NUMBER,
    queries=_queries(grown("cometbft_validator_missed_alone_total")),
    minimum=0,
)

PROPOSALS = Signal(
    title="Proposals",
    description="Blocks that it proposed, and rounds that failed in its turn. It proposes as often as its share of "
    "the power.",
    unit=Unit.NUMBER,
    queries=_queries(grown("cometbft_validator_proposals_total", also_by="result"), "{{result}}, {{name}}"),
    minimum=0,
)

EMPTY_PROPOSALS = Signal(
    title="Empty blocks",
    description="Share of the blocks that it proposed within an hour without a transaction. Normal where there are "
    "few; else its node hears no transactions.",
    unit=Unit.RATIO,
    queries=_queries(
        f"{grown('cometbft_validator_empty_proposals_total', within='1h')}"
        f""" / ({grown("cometbft_validator_proposals_total", 'result="committed"', within="1h")} > 0)"""
    ),
    minimum=0,
    maximum=1,
)

POWER = Signal(
    title="Voting power",
    description="Its power in the set, in the chain's own measure. Delegations move it by parts of a percent a day.",
    unit=Unit.SHORT,
    queries=_queries(f"max by (chain, validator) ({of('cometbft_validator_power')})"),
    minimum=0,
)

_ALLOWED = (
    "max by (chain) (cometbft_slashing_window_blocks{*}) * (1 - max by (chain) (cometbft_slashing_min_signed_ratio{*}))"
)
WINDOW_MISSED = Signal(
    title="Missed within the window",
    description="Blocks missed of the slashing window, and how many may be missed without being jailed.",
    unit=Unit.BLOCKS,
    queries=(
        Query(named(f"max by (chain, validator) ({of('cometbft_validator_missed_window_blocks')})"), "{{name}}"),
        Query(_ALLOWED, "allowed, {{chain}}"),
    ),
    minimum=0,
)

JAIL_DISTANCE = Signal(
    title="Blocks left until jail",
    description="Blocks of the window that it may still miss; the next one after that jails. Steady is normal.",
    unit=Unit.BLOCKS,
    queries=_queries(f"min by (chain, validator) ({of('cometbft_validator_jail_distance_blocks')})"),
    minimum=0,
)

JAIL_DISTANCE_RATIO = Signal(
    title="Misses left, of those allowed",
    description="100% is perfect. Below the line one restart may be enough to be jailed.",
    unit=Unit.RATIO,
    queries=_queries(
        f"min by (chain, validator) ({of('cometbft_validator_jail_distance_blocks')}) / on (chain) group_left ()"
        f" ({_ALLOWED})"
    ),
    threshold="cometbft_jail_distance_ratio",
    minimum=0,
)
