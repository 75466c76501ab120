"""One height while it is decided: its rounds, steps, proposals and votes as they come, within bounds.

Two vantage points may tell the same thing: the earliest arrival counts.
"""

from __future__ import annotations

from datetime import UTC, datetime

from chainwatch.families.cometbft.consensus.events import (
    PRECOMMIT,
    PREVOTE,
    CompleteProposal,
    NewRound,
    RoundState,
    Vote,
)
from chainwatch.families.cometbft.consensus.model import OWN_NODE, Height, Round, SeenVote

# A chain in trouble makes some hundred rounds a day; the newest ones matter, for one of them commits.
MAX_ROUNDS = 64
# The largest sets have a few hundred members. Whoever answers on the port could name any number of voters.
MAX_VOTERS = 1000
# int32 in the protocol.
_LAST_ROUND = 2**31
_HEX = "0123456789ABCDEF"
_STEPS = frozenset(
    ("NewHeight", "NewRound", "Propose", "Prevote", "PrevoteWait", "Precommit", "PrecommitWait", "Commit")
)
# The node had the whole proposal before it stopped waiting for it.
_IN_TIME = frozenset(("RoundStepNewHeight", "RoundStepNewRound", "RoundStepPropose"))


def is_address(text: str) -> bool:
    """Tell whether this is an address: 40 digits of upper-case hex."""
    return len(text) == 40 and not text.strip(_HEX)


def is_hash(text: str) -> bool:
    """Tell whether this is a block's hash in upper-case hex, or empty for nil."""
    return len(text) <= 64 and not text.strip(_HEX)


def unix(moment: datetime) -> float:
    """Return Unix seconds; a time without offset is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def open_round(height: Height, number: int) -> Round | None:
    """Return the round; None where the number is impossible, or lower than all that are kept."""
    in_round = height.rounds.get(number)
    if in_round is None and 0 <= number < _LAST_ROUND:
        in_round = height.rounds[number] = Round(number)
        if len(height.rounds) > MAX_ROUNDS:
            del height.rounds[min(height.rounds)]
            in_round = height.rounds.get(number)
    return in_round


def votes_of(in_round: Round, kind: int) -> dict[str, SeenVote] | None:
    """Return the round's votes of this type; None for a type that does not exist."""
    if kind == PRECOMMIT:
        return in_round.precommits
    return in_round.prevotes if kind == PREVOTE else None


def add_vote(votes: dict[str, SeenVote], vote: Vote, seen: float, vantage: int) -> bool:
    """Take a validator's first vote; False where address or hash cannot be, or there are too many voters."""
    address, block = vote.validator_address, vote.block_id.hash
    if not is_address(address) or not is_hash(block) or len(votes) >= MAX_VOTERS:
        return False
    votes[address] = SeenVote(block, seen, unix(vote.timestamp), vantage)
    return True


def count_votes(height: Height) -> int:
    """Return how many votes are kept of it."""
    return sum(len(seen.prevotes) + len(seen.precommits) for seen in height.rounds.values())


def begin_round(height: Height, in_round: Round, event: NewRound, seen: float, vantage: int) -> None:
    """Take NewRound: who is to propose, and since when."""
    if is_address(event.proposer.address):
        in_round.proposer = in_round.proposer or event.proposer.address
    in_round.started = _earliest(in_round.started, seen)
    if in_round.number == 0:
        height.watched_by.add(vantage)


def enter_step(height: Height, in_round: Round, event: RoundState, seen: float, vantage: int) -> None:
    """Take NewRoundStep or TimeoutPropose; the others of its kind tell nothing that the votes do not."""
    if event.name == "TimeoutPropose":
        in_round.timed_out = True
        return
    step = event.step.removeprefix("RoundStep")
    if event.name != "NewRoundStep" or step not in _STEPS:
        return
    in_round.steps[step] = _earliest(in_round.steps.get(step), seen)
    if step == "NewHeight":
        height.watched_by.add(vantage)


def take_proposal(in_round: Round, event: CompleteProposal, seen: float, vantage: int) -> bool:
    """Take CompleteProposal; False where its hash cannot be."""
    if not is_hash(event.block_id.hash):
        return False
    in_time = event.step in _IN_TIME
    in_round.proposal = in_round.proposal or event.block_id.hash
    in_round.proposal_seen = _earliest(in_round.proposal_seen, seen)
    in_round.proposal_in_time = bool(in_round.proposal_in_time) or in_time
    if vantage == OWN_NODE:
        in_round.own_proposal_seen = _earliest(in_round.own_proposal_seen, seen)
        in_round.own_proposal_in_time = bool(in_round.own_proposal_in_time) or in_time
    return True


def end(height: Height, seen: float, vantage: int) -> None:
    """Take the news that the height's block was applied."""
    height.committed_seen = _earliest(height.committed_seen, seen)
    height.ended_by.add(vantage)


def interrupt(height: Height, vantage: int) -> None:
    """Note a gap in what this vantage point tells: it no longer watches the height, unless it told the end already."""
    if vantage not in height.ended_by:
        height.watched_by.discard(vantage)


def next_round_seen(next_height: Height | None) -> float | None:
    """Return when the first round of the next height was first seen; None if it was not.

    The step NewHeight is not part of it: while a node waits there, late precommits still count.
    """
    if next_height is None:
        return None
    times = [in_round.started for in_round in next_height.rounds.values() if in_round.started is not None]
    for in_round in next_height.rounds.values():
        times += [at for step, at in in_round.steps.items() if step != "NewHeight"]
    return min(times, default=None)


def _earliest(known: float | None, seen: float) -> float:
    return seen if known is None else min(known, seen)
