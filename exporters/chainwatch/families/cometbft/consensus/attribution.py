"""Why a validator missed a precommit: the first of a short list of causes that what was seen supports.

It is asked for one's own validators, and blames the watched node on the understanding that they sign through it, or
through a node beside it. No cause is guessed: without knowledge it is `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainwatch.families.cometbft.consensus.model import (
    OWN_NODE,
    Cause,
    FillReason,
    How,
    NodeCondition,
    Result,
    Round,
    Settled,
)


def attribute(settled: Settled, address: str, condition: NodeCondition) -> Cause:
    """Return the cause of a missed precommit; `condition` is the watched node's worst while the height was decided."""
    for cause, applies in _CAUSES:
        if applies(settled, address, condition):
            return cause
    return Cause.UNKNOWN


def _proposer(settled: Settled, address: str, condition: NodeCondition) -> bool:
    """Its vote was here before the next height began, and the next proposer did not put it into its block.

    A node that hung hears old votes as if they were new, and its validator votes on heights that are long decided.
    """
    return address in settled.left_out and condition.answering and not condition.catching_up


def _network(settled: Settled, address: str, _: NodeCondition) -> bool:
    """Besides this one, more than 1/6 of the power or more than 1/3 of the members did not sign."""
    others = [
        member.power
        for member in settled.set.members
        if member.address != address and settled.signatures[member.address].result is Result.ABSENT
    ]
    return 6 * sum(others) > settled.set.power or 3 * len(others) > len(settled.set.members)


def _node(settled: Settled, _: str, condition: NodeCondition) -> bool:
    """The node was away, behind or alone, or had no proposal when it was time to vote."""
    unwell = not condition.answering or condition.catching_up or condition.peers == 0
    if settled.how is How.FILLED:
        # While the exporter did not run, the condition is of another time. And a stream that was lost is no proof: a
        # reader that is too slow loses it too.
        return settled.reason is FillReason.NODE and unwell
    if unwell:
        return True
    in_round = _committed_round(settled)
    if in_round is not None and in_round.own_proposal_in_time is not None:
        return not in_round.own_proposal_in_time
    # It told this height from beginning to end, and had no proposal at all.
    return _watched_by_node(settled)


def _signer(settled: Settled, address: str, _: NodeCondition) -> bool:
    """The node was well; a prevote came and no precommit, or no vote at all."""
    in_round = _committed_round(settled)
    return (
        _watched_by_node(settled)
        and settled.signatures[address].result is Result.ABSENT
        and in_round is not None
        and address not in in_round.precommits
    )


_CAUSES: Sequence[tuple[Cause, Callable[[Settled, str, NodeCondition], bool]]] = (
    (Cause.PROPOSER, _proposer),
    (Cause.NETWORK, _network),
    (Cause.NODE, _node),
    (Cause.SIGNER, _signer),
)


def _committed_round(settled: Settled) -> Round | None:
    return settled.seen.rounds.get(settled.round) if settled.seen else None


def _watched_by_node(settled: Settled) -> bool:
    """Whether the watched node itself told the whole height, and it was not catching up."""
    seen = settled.seen
    return settled.how is How.WATCHED and seen is not None and OWN_NODE in seen.watched_by & seen.ended_by
