"""The cause of a missed precommit is the first that what was seen supports; without knowledge it is unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chainwatch.families.cometbft.consensus.attribution import attribute
from chainwatch.families.cometbft.consensus.model import (
    OWN_NODE,
    Cause,
    FillReason,
    How,
    NodeCondition,
    Round,
    Settled,
)

from .heights import HEALTHY, Story, address, validators

OWN = address(0)
SEVEN = validators((10,) * 7)
BEHIND = NodeCondition(answering=True, catching_up=True, peers=20)
AWAY = NodeCondition(answering=False, catching_up=False, peers=None)
ALONE = NodeCondition(answering=True, catching_up=False, peers=0)
PEERS_UNKNOWN = NodeCondition(answering=True, catching_up=False, peers=None)


def missed(**story: object) -> Settled:
    """A watched height of seven equal validators that number 0 missed without any vote, unless told otherwise."""
    return Story(members=SEVEN, **({"absent": (0,)} | story)).settled()  # type: ignore[arg-type]


def committed(settled: Settled) -> Round:
    assert settled.seen is not None
    return settled.seen.rounds[settled.round]


def proposal(settled: Settled, in_time: bool | None) -> Settled:
    """The watched node had the proposal in time, late, or not at all."""
    committed(settled).own_proposal_in_time = in_time
    return settled


def only_by_another(settled: Settled) -> Settled:
    """The watched node's stream had a gap; another vantage point watched."""
    assert settled.seen is not None
    settled.seen.watched_by = {1}
    settled.seen.ended_by = {OWN_NODE, 1}
    return proposal(settled, None)


def filled(reason: FillReason, absent: tuple[int, ...] = (0,)) -> Settled:
    return replace(missed(how=How.FILLED, absent=absent), reason=reason)


TABLE = [
    ("its vote was in time and was left out", missed(absent=(), left_out=(0,)), HEALTHY, Cause.PROPOSER),
    ("left out, though others missed too", missed(absent=(1, 2, 3), left_out=(0,)), HEALTHY, Cause.PROPOSER),
    ("left out, it seems, to a node that was away", missed(absent=(), left_out=(0,)), AWAY, Cause.NODE),
    ("left out, it seems, to a node that is behind", missed(absent=(), left_out=(0,)), BEHIND, Cause.NODE),
    ("others of 2/7 of the power missed", missed(absent=(0, 1, 2)), HEALTHY, Cause.NETWORK),
    ("others missed while the node was behind", missed(absent=(0, 1, 2)), BEHIND, Cause.NETWORK),
    ("others missed a filled height", filled(FillReason.EXPORTER, (0, 1, 2)), HEALTHY, Cause.NETWORK),
    ("the node was catching up", missed(), BEHIND, Cause.NODE),
    ("the node did not answer", missed(), AWAY, Cause.NODE),
    ("the node had no peers", missed(), ALONE, Cause.NODE),
    ("the node had the proposal late", proposal(missed(), False), HEALTHY, Cause.NODE),
    ("the node caught up by gossip", proposal(missed(how=How.PARTIAL), False), HEALTHY, Cause.NODE),
    ("the node had no proposal", proposal(missed(), None), HEALTHY, Cause.NODE),
    ("nothing was seen, the node was away", filled(FillReason.NODE), AWAY, Cause.NODE),
    ("nothing was seen, the node was behind", filled(FillReason.NODE), BEHIND, Cause.NODE),
    ("the stream was lost, the node was well", filled(FillReason.NODE), HEALTHY, Cause.UNKNOWN),
    ("the node was well, no vote at all", missed(), HEALTHY, Cause.SIGNER),
    ("it prevoted and did not precommit", missed(absent=(), prevoted_only=(0,)), HEALTHY, Cause.SIGNER),
    ("the number of peers is not known", missed(), PEERS_UNKNOWN, Cause.SIGNER),
    ("one other of seven missed", missed(absent=(0, 1)), HEALTHY, Cause.SIGNER),
    ("nobody watched it whole", missed(how=How.PARTIAL), HEALTHY, Cause.UNKNOWN),
    ("the exporter did not run", filled(FillReason.EXPORTER), HEALTHY, Cause.UNKNOWN),
    ("the exporter did not run; the node is behind now", filled(FillReason.EXPORTER), BEHIND, Cause.UNKNOWN),
    ("only another vantage point watched", only_by_another(missed()), HEALTHY, Cause.UNKNOWN),
    ("it voted nil and nobody saw it", missed(absent=(), nil=(0,), unseen=(0,)), HEALTHY, Cause.UNKNOWN),
    ("it voted nil with a proposal in time", missed(absent=(), nil=(0,)), HEALTHY, Cause.UNKNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("settled", "condition", "cause"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_cause_of_a_miss(settled: Settled, condition: NodeCondition, cause: Cause) -> None:
    assert attribute(settled, OWN, condition) is cause


def test_a_vote_that_came_too_late_for_the_next_proposer_is_not_the_signers_fault() -> None:
    settled = missed(absent=(), left_out=(0,))
    assert attribute(replace(settled, left_out=frozenset()), OWN, HEALTHY) is Cause.UNKNOWN


@pytest.mark.parametrize(
    ("powers", "others", "network"),
    [
        ((10, 10, 10, 10, 10, 10), (1,), False),  # 1/6 of the power is not more than 1/6
        ((10, 11, 10, 10, 10, 9), (1,), True),
        ((10, 1, 1, 100, 100, 100), (1, 2), False),  # 2 of 6 by number are not more than 1/3
        ((10, 1, 1, 1, 100, 100), (1, 2, 3), True),
    ],
)
def test_many_are_more_than_a_sixth_of_the_power_or_a_third_of_the_members_besides_this_one(
    powers: tuple[int, ...], others: tuple[int, ...], network: bool
) -> None:
    settled = Story(members=validators(powers), absent=(0, *others)).settled()
    assert attribute(settled, OWN, HEALTHY) is (Cause.NETWORK if network else Cause.SIGNER)


def test_nil_votes_of_others_are_signatures_and_do_not_make_it_the_networks_fault() -> None:
    assert attribute(missed(nil=(1, 2, 3)), OWN, HEALTHY) is Cause.SIGNER
