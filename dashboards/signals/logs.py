"""What the nodes wrote: lines by level, category and event, and what some of them say.

Labels and structured metadata are those of loki/README.md. `event` is the name of the pattern that a line matches, in
families/bitcoin/log/patterns.py or families/cometbft/log_patterns.py. `$__auto` is Grafana's step.
"""

from __future__ import annotations

from dashboards.model import Query, Signal, Source, Unit

# What is chosen at the top. Not every line has a category or an event: there All stands for `.*`, none among them.
# What is searched is a regular expression as it was typed: in backticks, with nothing escaped.
LINES = '{level=~"$level",category=~"$category",event=~"$event",*} |~ `(?i)${search:raw}`'


def _of_level(levels: str) -> str:
    """Lines of these levels, whatever level is chosen. CometBFT's harmless errors are none."""
    return f'{{level=~"{levels}",category=~"$category",category!="noise",event=~"$event",*}} |~ `(?i)${{search:raw}}`'


_TROUBLE = _of_level("error|warning")


def _or_none(label: str) -> str:
    """A zero where nothing was found, so that "no such lines" differs from "no answer"."""
    return f'or on () label_replace(vector(0), "{label}", "none", "", "")'


def _of(*events: str) -> str:
    """Lines of these events, whatever is chosen above besides the nodes."""
    return f'{{event=~"{"|".join(events)}",*}}'


ALL = Signal(
    title="Lines",
    description="Lines of the chosen time, by what is chosen above. The row On the way says whether all arrive.",
    unit=Unit.SHORT,
    queries=(Query(f"sum(count_over_time({LINES} [$__range])) or vector(0)", "lines"),),
    source=Source.LOKI,
)
ERRORS = Signal(
    title="Errors",
    description="Lines of level error in the chosen time. Few are normal. CometBFT's harmless ones (category noise: a "
    "peer or client went away) are left out.",
    unit=Unit.SHORT,
    queries=(Query(f"sum(count_over_time({_of_level('error')} [$__range])) or vector(0)", "lines"),),
    source=Source.LOKI,
    levels=((None, "green"), (1, "orange")),
)
WARNINGS = Signal(
    title="Warnings",
    description="Lines of level warning in the chosen time; of Bitcoin before version 27 those that begin with "
    "Warning. CometBFT has no such level.",
    unit=Unit.SHORT,
    queries=(Query(f"sum(count_over_time({_of_level('warning')} [$__range])) or vector(0)", "lines"),),
    source=Source.LOKI,
    levels=((None, "green"), (1, "orange")),
)
UNKNOWN = Signal(
    title="Without level",
    description="Lines without the format of the node's log: what follows a panic, or text with line ends in it. Few "
    "are normal; most of them: the pipeline is of another family than the log.",
    unit=Unit.SHORT,
    queries=(Query(f"sum(count_over_time({_of_level('unknown')} [$__range])) or vector(0)", "lines"),),
    source=Source.LOKI,
)

BY_LEVEL = Signal(
    title="Lines by level",
    description="Per second. Mostly info; mostly debug where the node's debug categories are on.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query(f"sum by (level) (rate({LINES} [$__auto]))", "{{level}}"),),
    source=Source.LOKI,
    minimum=0,
)
TROUBLE_BY_NODE = Signal(
    title="Errors and warnings by node",
    description="Lines in each interval, by what is chosen above except the level, without category noise. 0 or "
    "few are normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            f"sum by (instance, level) (count_over_time({_TROUBLE} [$__auto])) {_or_none('level')}",
            "{{instance}} {{level}}",
        ),
    ),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)
EVENTS_OF_TROUBLE = Signal(
    title="Events that mean trouble",
    description="Lines in each interval about invalid blocks, dropped lines and a stale tip (Bitcoin), double signs, "
    "keys, signing, invalid proposals and dead consensus (CometBFT), of the chosen nodes. 0 is normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "sum by (event) (count_over_time("
            + _of(
                "invalid_chain",
                "connect_failed",
                "accept_block_failed",
                "block_mutated",
                "stale_tip",
                "excessive_logging",
                "consensus_failure",
                "wal_corrupted",
                "same_key",
                "upgrade_needed",
                "conflicting_votes",
                "conflicting_vote_of_ours",
                "evidence_verified",
                "proposal_invalid",
                "signing_failed",
                "signer_silent",
            )
            + f" [$__auto])) {_or_none('event')}",
            "{{event}}",
        ),
    ),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)
THE_LINES = Signal(
    title="The lines",
    description="Newest first, each after its node's name, by what is chosen above; open one for height, hash, peer "
    "and what else it tells. The search is a regular expression that ignores case: 0000a1b2 finds a block, peer=7 all "
    "about a peer. Peers choose part of what nodes write: believe labels before text.",
    unit=Unit.TEXT,
    queries=(Query(f'{LINES} | line_format "{{{{.instance}}}}  {{{{__line__}}}}"', ""),),
    source=Source.LOKI,
)

BY_CATEGORY = Signal(
    title="Lines by category",
    description="Per second. Bitcoin: the debug category that the node names; CometBFT: what the line is about. Lines "
    "without a category have no name here.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query(f'sum by (category) (rate({LINES} | category!="" [$__auto]))', "{{category}}"),),
    source=Source.LOKI,
    minimum=0,
)
BY_EVENT = Signal(
    title="Lines by event",
    description="Per second, the eight most frequent of those that chainwatch knows.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query(f'topk(8, sum by (event) (rate({LINES} | event!="" [$__auto])))', "{{event}}"),),
    source=Source.LOKI,
    minimum=0,
)
BY_NODE = Signal(
    title="Lines by node",
    description="Per second, by what is chosen above.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query(f"sum by (instance) (rate({LINES} [$__auto]))"),),
    source=Source.LOKI,
    minimum=0,
)

REFUSED_TRANSACTIONS = Signal(
    title="Refused transactions by reason",
    description="Lines in each interval, in the node's own words, the ten most frequent (needs debug=mempoolrej). "
    "Fees and conflicts are daily life.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            f"topk(10, sum by (reason) (count_over_time({_of('rejected', 'rejected_sv')} [$__auto])))"
            f" {_or_none('reason')}",
            "{{reason}}",
        ),
    ),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)
REFUSED_BLOCKS = Signal(
    title="Refused blocks by reason",
    description="Lines in each interval about blocks and headers that break a rule. 0 is normal; one block makes "
    "several lines.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "sum by (reason) (count_over_time("
            + _of("block_checked", "connect_failed", "accept_block_failed", "header_refused", "block_mutated")
            + f' | reason!="" [$__auto])) {_or_none("reason")}',
            "{{reason}}",
        ),
    ),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)
SLOWEST_BLOCK = Signal(
    title="Slowest block",
    description="The longest time that connecting one block took in each interval, as the node says (needs "
    "debug=bench). Some 100 ms are normal at the tip; seconds are a slow disk or a small cache.",
    unit=Unit.SECONDS,
    queries=(
        Query(
            f'max by (instance) (max_over_time({_of("connect_phase")} | phase="Connect block" | unwrap milliseconds'
            ' | __error__="" [$__auto])) / 1000',
        ),
    ),
    source=Source.LOKI,
    minimum=0,
)
TIMEOUTS = Signal(
    title="Timeouts of consensus by step",
    description="CometBFT: lines in each interval about steps that ran out of time, from which rounds fail. 0 is "
    "normal.",
    unit=Unit.NUMBER,
    queries=(Query(f"sum by (step) (count_over_time({_of('timed_out')} [$__auto])) {_or_none('step')}", "{{step}}"),),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)
PEERS = Signal(
    title="Trouble with peers",
    description="Lines in each interval about peers that broke the protocol, stalled, or were lost. Some are normal.",
    unit=Unit.NUMBER,
    queries=(
        Query(
            "sum by (event) (count_over_time("
            + _of(
                "misbehaving",
                "block_timeout",
                "block_stalling",
                "mutated_from",
                "peer_lost",
                "peer_given_up",
                "peer_invalid_block",
            )
            + f" [$__auto])) {_or_none('event')}",
            "{{event}}",
        ),
    ),
    source=Source.LOKI,
    minimum=0,
    decimals=0,
)

ARRIVED = Signal(
    title="Lines that reached Loki",
    description="Per second, whatever is chosen above besides the nodes. Beside it, what the exporter read of the "
    "same log: less arrives, since the pipeline drops calls of the exporter itself and empty lines.",
    unit=Unit.LINES_PER_SECOND,
    queries=(Query("sum by (instance) (rate({*} [$__auto]))"),),
    source=Source.LOKI,
    minimum=0,
)
ARRIVED_BYTES = Signal(
    title="Bytes that reached Loki",
    description="Text of the lines, before compression to about a tenth. 10 kB/s are 0.9 GB a day.",
    unit=Unit.BYTES_PER_SECOND,
    queries=(Query("sum by (instance) (bytes_rate({*} [$__auto]))"),),
    source=Source.LOKI,
    minimum=0,
)
RATE_LIMITED = Signal(
    title="Lines dropped by the node",
    description="Bitcoin Core 30 and later drop lines of a noisy source; what they dropped is nowhere. kept is normal.",
    unit=Unit.NUMBER,
    queries=(Query("bitcoin_log_rate_limited{*}"),),
    mappings={0: ("kept", "green"), 1: ("dropped", "red")},
)
