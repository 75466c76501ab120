"""How long things took in a height, from the times at which they were seen; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chainwatch.families.cometbft.consensus.metrics import STEPS
from chainwatch.families.cometbft.consensus.model import Height, SeenVote

# A round's own beginning stands between the wait for it and its first step.
_ORDER = (STEPS[0], "", *STEPS[1:])


def step_durations(height: Height) -> Iterable[tuple[str, float]]:
    """Yield each step and how long it lasted: until the next step or round, and the last one until the block.

    With several vantage points a step may be seen first where an earlier one was not seen yet: such a step is left out.
    """
    end = height.committed_seen
    for number in sorted(height.rounds, reverse=True):
        seen = height.rounds[number]
        for step in reversed(_ORDER):
            began = seen.steps.get(step) if step else seen.started
            if began is None or (end is not None and began > end):
                continue
            if step and end is not None:
                yield step, end - began
            end = began


def quorum_delay(
    votes: Mapping[str, SeenVote], block: str, powers: Mapping[str, int], since: float, total: int
) -> float | None:
    """Return the time from `since` until votes for the block had more than 2/3 of `total`; None if they never had."""
    power = 0
    for seen, address in sorted((vote.seen, address) for address, vote in votes.items() if vote.block == block):
        power += powers.get(address, 0)
        if 3 * power > 2 * total:
            return max(0.0, seen - since)
    return None


def full_delay(votes: Mapping[str, SeenVote], powers: Mapping[str, int], since: float) -> float | None:
    """Return the time from `since` until every member had voted, whatever; None where one did not."""
    if not votes.keys() >= powers.keys():
        return None
    return max(0.0, max(votes[address].seen for address in powers) - since)
