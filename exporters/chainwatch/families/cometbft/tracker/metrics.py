"""How the chain stands, as metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.metrics import gauge
from chainwatch.families.cometbft.consensus.model import Condition, Settled, ValidatorSet, Verdict
from chainwatch.families.cometbft.tracker.consensus_state import Standing
from chainwatch.families.cometbft.tracker.pulse import Pulse

CONDITION = gauge(
    "cometbft_chain_condition",
    "1 for how the chain stands as seen through this node, from its events, /status and /consensus_state; else 0.",
    labels=("condition",),
)
CONDITION_SINCE = gauge(
    "cometbft_chain_condition_since_timestamp_seconds",
    "When the chain came to stand so; of a halt, when consensus last moved.",
)
QUORUM_MISSING = gauge(
    "cometbft_quorum_missing_ratio",
    "Share of the voting power that lacks to more than two thirds in the present step; 0 while the chain runs.",
)
ONLINE = gauge(
    "cometbft_power_online_ratio",
    "Share of the voting power that signed the last settled height, for the block or nil; of a halt, that has voted.",
)
MISSING = gauge(
    "cometbft_validators_missing",
    "Validators that did not sign the last settled height; of a halt, that have not voted in the present step.",
)
VALIDATORS = gauge("cometbft_validators", "Members of the validator set of the last settled height, from /validators.")
POWER = gauge("cometbft_power", "Voting power of that set.")
ROUND = gauge("cometbft_round_current", "Round in which the node stands, from NewRoundStep or /consensus_state.")
HEIGHT_STARTED = gauge(
    "cometbft_round_height_started_timestamp_seconds",
    "When the height that is being decided began: its first step, or /consensus_state.start_time.",
)


def condition_metrics(verdict: Verdict, standing: Standing | None, settled: Settled | None) -> Iterable[Metric]:
    """Return what the verdict says, and whose power is there: by the last settled height, or in the halt's step.

    Nothing is said of the power while the node does not answer, or its present votes cannot be read.
    """
    yield from CONDITION.samples({(one.value,): one is verdict.condition for one in Condition})
    yield from CONDITION_SINCE.sample(verdict.since)
    votes = standing.awaited if standing else None
    if verdict.condition is Condition.NO_QUORUM:
        yield from QUORUM_MISSING.sample(votes.lacking if votes else None)
        yield from ONLINE.sample(votes.share if votes else None)
        yield from MISSING.sample(votes.voted.count(False) if votes else None)
    elif verdict.condition is not Condition.UNKNOWN:
        yield from QUORUM_MISSING.sample(0)
        yield from ONLINE.sample(signed_ratio(settled) if settled else None)
        yield from MISSING.sample(len(settled.absent) if settled else None)


def set_metrics(members: ValidatorSet | None) -> Iterable[Metric]:
    """Return how many validators there are, and their power."""
    if members is not None:
        yield from VALIDATORS.sample(len(members.members))
        yield from POWER.sample(members.power)


def signed_ratio(settled: Settled) -> float | None:
    """Share of the power that signed a height, for the block or nil; None for a set without power."""
    powers = settled.set.powers()
    total = sum(powers.values())
    return 1 - sum(powers[address] for address in settled.absent) / total if total else None


def round_metrics(pulse: Pulse, verdict: Verdict) -> Iterable[Metric]:
    """Return where consensus stands; nothing while the node does not answer."""
    if verdict.condition is not Condition.UNKNOWN:
        yield from ROUND.sample(pulse.round)
        yield from HEIGHT_STARTED.sample(pulse.height_started)
