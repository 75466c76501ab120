"""How a CometBFT chain comes to its blocks: intervals, rounds, steps, votes; and how much of it an exporter saw."""

from __future__ import annotations

from dashboards.model import Query, Signal, Unit


def _mean(metric: str, by: str) -> str:
    """Mean of a histogram: of its values within an interval."""
    total, count = (f"sum by ({by}) (rate({metric}_{end}{{*}}[$__rate_interval]))" for end in ("sum", "count"))
    return f"{total} / ({count} > 0)"


INTERVAL = Signal(
    title="Block interval",
    description="Mean time between two blocks, and the usual one: what the exporter was told, else what it measured. "
    "Above it: rounds fail, or blocks wait for transactions.",
    unit=Unit.SECONDS,
    queries=(
        Query(_mean("cometbft_block_interval_seconds", "chain"), "{{chain}}"),
        Query("max by (chain) (chainwatch_target_spacing_seconds{*})", "usual, {{chain}}"),
    ),
    minimum=0,
)

INTERVAL_RATIO = Signal(
    title="Interval over the day's median",
    description="Mean of five minutes over the median of a day. 1 is normal; a failed round costs 4 to 6 seconds.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            'cometbft:block_interval_seconds:mean5m{chain=~"$chain"}'
            ' / quantile_over_time(0.5, cometbft:block_interval_seconds:mean5m{chain=~"$chain"}[1d])',
            "{{chain}}",
        ),
    ),
    threshold="cometbft_block_interval_ratio",
    decimals=2,
    minimum=0,
)

ROUND_FAILURES = Signal(
    title="Failed rounds",
    description="Rounds without a commit, by reason: no proposal came, it came late, or too few voted for it. Own: "
    "it was your validator's turn to propose. None, or one in a hundred blocks, is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "max by (chain, reason) (sum by (chain, job, instance, reason)"
            ' (increase(cometbft_round_failures_total{whose!="own",*}[$__rate_interval])))',
            "{{reason}}, {{chain}}",
        ),
        Query(
            'max by (chain, reason) (increase(cometbft_round_failures_total{whose="own",*}[$__rate_interval])) > 0',
            "own: {{reason}}, {{chain}}",
        ),
    ),
    minimum=0,
)

ROUND_FAILURES_PER_HEIGHT = Signal(
    title="Failed rounds per height",
    description="Of ten minutes. Below 0.01 is healthy. One dead validator of N with equal power makes 1/N of the "
    "heights fail once.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "max by (chain) (sum by (chain, job, instance) (increase(cometbft_round_failures_total{*}[10m]))"
            " / sum by (chain, job, instance) (increase(cometbft_heights_settled_total{*}[10m])))",
            "{{chain}}",
        ),
    ),
    threshold="cometbft_failed_rounds_per_height",
    decimals=2,
    minimum=0,
)

ROUNDS = Signal(
    title="Rounds for a block",
    description="Mean number of rounds that a height took, and the round in which the present one stands, counted "
    "from 1. 1 is normal; in a halt the present one climbs.",
    unit=Unit.NUMBER,
    queries=(
        Query(_mean("cometbft_rounds_per_height", "chain"), "mean, {{chain}}"),
        Query("max by (chain) (cometbft_round_current{*}) + 1", "present, {{chain}}"),
    ),
    decimals=1,
    minimum=0,
)

STEPS = Signal(
    title="Duration of the steps",
    description="Mean time in each step of consensus. NewHeight is the wait before a height (timeout_commit). A long "
    "Propose is a proposer or its block, PrevoteWait and PrecommitWait mean that the votes disagreed.",
    unit=Unit.SECONDS,
    queries=(Query(_mean("cometbft_step_duration_seconds", "chain, step"), "{{step}}, {{chain}}"),),
    minimum=0,
)


def _arrival(kind: str) -> Signal:
    """How the votes of one type arrived."""
    return Signal(
        title=f"Arrival of {kind}s",
        description=f"{kind.capitalize()}s for the block by the time since its proposal was complete, as the watched "
        "nodes saw them. Most arrive within a quarter of a second; a band that climbs is a network or a proposal "
        "that slows down.",
        unit=Unit.SECONDS,
        queries=(
            Query(
                "sum by (le) (increase(cometbft_vote_arrival_seconds_bucket"
                f'{{type="{kind}",since="proposal",*}}[$__rate_interval]))',
                "{{le}}",
            ),
        ),
    )


PREVOTE_ARRIVAL = _arrival("prevote")
PRECOMMIT_ARRIVAL = _arrival("precommit")

QUORUM_DELAY = Signal(
    title="Time until a quorum",
    description="Mean time from the complete proposal to votes for it of more than two thirds of the power, and to a "
    "vote of every member where all voted. Below a second is normal.",
    unit=Unit.SECONDS,
    queries=(
        Query(_mean("cometbft_vote_quorum_delay_seconds", "chain, type"), "{{type}}s of two thirds, {{chain}}"),
        Query(_mean("cometbft_vote_full_delay_seconds", "chain, type"), "{{type}}s of all, {{chain}}"),
    ),
    minimum=0,
)

VOTES = Signal(
    title="Votes",
    description="Votes seen, for a block and for nil, and those seen again. Votes for nil mean that proposals came "
    "late or were refused. Seen again is normal with several vantage points.",
    unit=Unit.VOTES_PER_SECOND,
    queries=(
        Query(
            "max by (chain, type, vote) (rate(cometbft_vote_events_total{*}[$__rate_interval]))",
            "{{type}} for {{vote}}, {{chain}}",
        ),
        Query("max by (chain) (rate(cometbft_vote_duplicates_total{*}[$__rate_interval]))", "seen again, {{chain}}"),
    ),
    minimum=0,
)

VOTE_ODDITIES = Signal(
    title="Votes unseen, late, contradicted",
    description="Unseen: in a commit, and no watched node published it. Late: after the height was settled. "
    "Contradicted: the commit says another block than the vote did, a double sign. Some unseen and late ones are "
    "normal.",
    unit=Unit.NUMBER,
    queries=tuple(
        Query(f"max by (chain) (increase(cometbft_vote_{name}_total{{*}}[$__rate_interval]))", f"{text}, {{{{chain}}}}")
        for name, text in (("unseen", "unseen"), ("late", "late"), ("contradictions", "contradicted"))
    ),
    minimum=0,
)

SETTLED = Signal(
    title="Heights by how they were seen",
    description="Of all chosen exporters. Watched from first round to block is normal. Partial: some events were "
    "lost. Filled: read afterwards, as after a restart of the exporter, without times of votes. Skipped: nobody had "
    "them.",
    unit=Unit.NUMBER,
    queries=(
        Query("sum by (how) (increase(cometbft_heights_settled_total{*}[$__rate_interval]))", "{{how}}"),
        Query("sum(increase(cometbft_heights_skipped_total{*}[$__rate_interval]))", "skipped"),
    ),
    minimum=0,
)

FRAMES = Signal(
    title="Frames of the event streams",
    description="What the exporter reads from the websockets of its nodes: mostly votes, so it follows the size of "
    "the validator set. None for a minute is a dead stream or a halted chain.",
    unit=Unit.FRAMES_PER_SECOND,
    queries=(Query("rate(cometbft_stream_frames_total{*}[$__rate_interval])", "{{instance}} {{stream}}"),),
    minimum=0,
)

STREAM_TROUBLE = Signal(
    title="Trouble of the event streams",
    description="Subscriptions that the node ended, events lost, frames dropped since the exporter was too slow, or "
    "not readable. None is normal; what is lost is read afterwards, without the times of votes.",
    unit=Unit.NUMBER,
    queries=(
        Query("sum(increase(cometbft_stream_cancellations_total{*}[$__rate_interval]))", "ended"),
        Query("sum(increase(chainwatch_stream_gaps_total{*}[$__rate_interval]))", "gaps"),
        Query("sum(increase(cometbft_stream_dropped_frames_total{*}[$__rate_interval]))", "dropped"),
        Query("sum(increase(cometbft_stream_unreadable_frames_total{*}[$__rate_interval]))", "unreadable"),
    ),
    minimum=0,
)
