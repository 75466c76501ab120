"""What is counted of one validator, as it is kept in memory and in the state file."""

from __future__ import annotations

from bisect import bisect_left
from typing import Annotated

from msgspec import Meta, Struct
from prometheus_client.utils import floatToGoString

from chainwatch.families.cometbft.consensus.metrics import VOTE_DELAY
from chainwatch.families.cometbft.consensus.model import Cause, Result

# Beyond this a float of the page is no longer exact.
MAX_COUNT = 2**53
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
# Unix seconds, of the years 1 to 9999.
Time = Annotated[float, Meta(ge=-1e11, le=1e12)]

_DELAY_BOUNDS = [*map(floatToGoString, VOTE_DELAY.buckets), "+Inf"]


class ValidatorCounts(Struct, array_like=True):
    """The counts, in the order of the state file: append new ones only, before another version is needed."""

    block: Count = 0  # precommits by the canonical commit
    nil: Count = 0
    absent: Count = 0
    prevoted_block: Count = 0  # of committed rounds, where they are known
    prevoted_nil: Count = 0
    prevoted_absent: Count = 0
    alone: Count = 0
    consecutive: Count = 0  # absent in a row
    prevote_only: Count = 0
    left_out: Count = 0
    committed: Count = 0  # proposals
    failed: Count = 0
    empty: Count = 0
    double_signs: Count = 0
    left: Time | None = None  # time of the first block without it in the set; None for a member


class ValidatorTally:
    """One validator's counts, delays and label values, the latter made once and not at every scrape."""

    __slots__ = (
        "by_bound",
        "by_cause",
        "by_proposal",
        "by_result",
        "by_rule",
        "causes",
        "counts",
        "delay_sum",
        "delays",
        "itself",
    )

    def __init__(self, address: str, counts: ValidatorCounts | None = None) -> None:
        self.counts = counts or ValidatorCounts()
        self.causes = dict.fromkeys(Cause, 0)  # of one's own validators only
        self.delays = [0] * (len(VOTE_DELAY.buckets) + 1)
        self.delay_sum = 0.0
        self.itself = (address,)
        self.by_result = tuple((address, result.value) for result in Result)
        self.by_rule = ((address, "sdk"), (address, "cometbft"))
        self.by_proposal = ((address, "committed"), (address, "failed"))
        self.by_bound = tuple((address, bound) for bound in _DELAY_BOUNDS)
        self.by_cause = tuple((address, cause.value) for cause in Cause)

    def precommitted(self, result: Result, alone: bool) -> None:
        """Count its part in a commit; `alone`: most others signed."""
        counts = self.counts
        if result is Result.ABSENT:
            counts.absent += 1
            counts.consecutive += 1
            counts.alone += alone
            return
        counts.consecutive = 0
        if result is Result.BLOCK:
            counts.block += 1
        else:
            counts.nil += 1

    def prevoted(self, result: Result, precommit: Result) -> None:
        """Count its prevote in a committed round, and whether the precommit that was to follow is missing."""
        counts = self.counts
        if result is Result.BLOCK:
            counts.prevoted_block += 1
            counts.prevote_only += precommit is Result.ABSENT
        elif result is Result.NIL:
            counts.prevoted_nil += 1
        else:
            counts.prevoted_absent += 1

    def delayed(self, seconds: float) -> None:
        """Distribute the delay of a precommit, not negative."""
        self.delays[bisect_left(VOTE_DELAY.buckets, seconds)] += 1
        self.delay_sum += seconds
