"""Why rounds failed: those of a settled height below the one that was committed."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from chainwatch.families.cometbft.consensus.model import How, Round, Settled


class Failure(StrEnum):
    """Why a round brought no commit."""

    NO_PROPOSAL = "no_proposal"
    LATE_PROPOSAL = "late_proposal"  # complete, but after the timeout of at least the nodes that were watched
    VOTES = "votes"  # complete in time, and too few voted for it in time
    UNKNOWN = "unknown"


def failed_rounds(settled: Settled) -> Iterable[tuple[str, Failure, int]]:
    """Yield the proposer ("" where it is not known), the reason, and how many rounds; no more steps than rounds seen.

    A round number comes from the network and may be huge.
    """
    seen = settled.seen.rounds.values() if settled.seen is not None else ()
    failed = [one for one in seen if 0 <= one.number < settled.round]
    for one in failed:
        yield one.proposer, _reason(one, settled.how), 1
    if len(failed) < settled.round:
        yield "", Failure.UNKNOWN, settled.round - len(failed)


def _reason(failed: Round, how: How) -> Failure:
    if failed.proposal_in_time:
        return Failure.VOTES
    if failed.proposal_seen is not None:
        return Failure.UNKNOWN if failed.proposal_in_time is None else Failure.LATE_PROPOSAL
    if failed.timed_out or how is How.WATCHED:
        return Failure.NO_PROPOSAL
    return Failure.UNKNOWN
