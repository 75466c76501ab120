"""How the chain stands, as a sentence for somebody who was woken up."""

from __future__ import annotations

import math

from chainwatch.families.cometbft.consensus.model import Condition, Verdict
from chainwatch.families.cometbft.tracker.consensus_state import PRECOMMITTING


def sentence(verdict: Verdict, answering: bool) -> str:
    """Say what the verdict means."""
    match verdict.condition:
        case Condition.RUNNING:
            return "Running."
        case Condition.SYNCING:
            return "Syncing: the node catches up with the chain, and tells of no votes meanwhile."
        case Condition.BEHIND:
            return "Behind: the node's peers are heights ahead, though it does not say that it catches up."
        case Condition.MANY_ROUNDS:
            return f"Many rounds: {_round(verdict)} goes by without a block."
        case Condition.NO_QUORUM:
            return f"Halted: no quorum. {_voted(verdict)}, more than 66.7 % is needed."
        case Condition.STUCK_WITH_QUORUM:
            return f"Halted, although enough voted. {_voted(verdict)}, more than 66.7 % is needed."
        case Condition.CONSENSUS_FAILURE:
            where = "" if verdict.height is None else f" at height {verdict.height}"
            return f"Consensus failure{where}: the node answers, but cannot apply the block; see the node's log."
    return (
        "Unknown: the node answers, but tells nothing by which its chain can be judged."
        if answering
        else "Unknown: the node does not answer."
    )


def percent(share: float) -> str:
    """A share of the power, cut and not rounded: two thirds are 66.6 %, and not enough."""
    return f"{math.floor(round(share * 1000, 6)) / 10:.1f} %"


def _round(verdict: Verdict) -> str:
    if verdict.round is None:
        return "one round after another"
    return f"round {verdict.round}" + (f" of height {verdict.height}" if verdict.height is not None else "")


def _voted(verdict: Verdict) -> str:
    share, did = verdict.prevoted, "prevoted"
    if verdict.step in PRECOMMITTING:
        share, did = verdict.precommitted, "precommitted"
    return f"{'An unknown share' if share is None else percent(share)} of the power has {did}"
