"""What is seen of a height while it is decided: votes, rounds, proposals, and whether anybody watched it."""

from __future__ import annotations

import pytest

from chainwatch.families.cometbft.consensus.events import (
    FLAG_ABSENT,
    FLAG_NIL,
    PRECOMMIT,
    PREVOTE,
    NewRound,
)
from chainwatch.families.cometbft.consensus.ledger import KEPT_SETTLED
from chainwatch.families.cometbft.consensus.model import NIL, FillReason, How, Result, Settled, Validator, ValidatorSet

from .ledger_chain import (
    CHAIN,
    EVERYONE,
    FOUR,
    HEALTHY,
    Course,
    Heard,
    address,
    at,
    block,
    block_hash,
    commit,
    heard,
    new_block,
    new_round,
    prevote_of,
    proposal,
    seen_of,
    step,
    stream,
    vote,
)


def watched(course: Course = HEALTHY, *, left_away: tuple[type, ...] = ()) -> Settled:
    """Return height 5 as settled when it went like this, with heights 4 and 6 healthy."""
    chain = heard()
    chain.follow(4)
    for seen, event in stream(5, course) + stream(6, before=course):
        if not isinstance(event, left_away):
            chain.take(event, seen=seen)
    return chain.settled[-1]


def test_a_healthy_height_is_watched_with_every_vote() -> None:
    settled = watched()
    assert (settled.block.height, settled.how) == (5, How.WATCHED)
    assert settled.prevotes == {address(who): Result.BLOCK for who in EVERYONE}
    assert not settled.unseen | settled.left_out | settled.contradictions
    first = seen_of(settled).rounds[0]
    assert set(first.precommits) == {address(who) for who in EVERYONE}
    assert first.precommits[address(3)].seen == at(5, 2.3), "the last one came after the block"
    assert (first.proposer, first.started, first.proposal) == (address(1), at(5, 1), block_hash(5))
    assert first.steps == {
        "NewHeight": at(5), "Propose": at(5, 1.01), "Prevote": at(5, 1.2), "Precommit": at(5, 1.7), "Commit": at(5, 2),
    }  # fmt: skip
    assert settled.next_round_seen == at(6, 1), "the pause before the round is not part of it"


def test_an_absent_prevote_is_told_where_more_than_two_thirds_of_the_power_prevoted() -> None:
    settled = watched(Course(no_prevote=frozenset({2})))
    assert settled.how is How.WATCHED
    assert prevote_of(settled, 2) is Result.ABSENT


def test_without_prevotes_of_two_thirds_the_node_caught_up_and_nobody_is_accused() -> None:
    settled = watched(Course(no_prevote=frozenset({1, 2})))
    assert (settled.how, settled.prevotes, settled.unseen) == (How.PARTIAL, None, frozenset())


@pytest.mark.parametrize(("powers", "known"), [((20, 10, 10, 20), False), ((21, 10, 10, 20), True)])
def test_two_thirds_of_the_power_are_not_more_than_two_thirds(powers: tuple[int, ...], known: bool) -> None:
    members = tuple(Validator(address(who), power) for who, power in enumerate(powers))
    chain = heard()
    for height in (4, 5, 6):
        for seen, event in stream(height, Course(no_prevote=frozenset({3}))):
            chain.ledger.take(event, seen)
            if chain.ledger.wanted_sets():
                chain.ledger.learn(ValidatorSet(FOUR.hash, members))
    assert [settled.prevotes is not None for settled in chain.settled] == [known, known]


def test_a_height_whose_block_no_stream_told_was_not_watched_to_its_end() -> None:
    chain = heard()
    chain.follow(4)
    for seen, event in stream(5)[:-2]:
        chain.take(event, seen=seen)
    chain.ledger.fill(block(5), block_hash(5), commit(5), FillReason.EXPORTER)
    assert [(settled.block.height, settled.how) for settled in chain.settled] == [(4, How.WATCHED), (5, How.PARTIAL)]


def test_a_block_without_votes_is_partial_and_nobody_is_unseen() -> None:
    chain = heard()
    chain.take(new_block(5), new_block(6), seen=at(6))
    assert (chain.settled[0].how, chain.settled[0].prevotes, chain.settled[0].unseen) == (
        How.PARTIAL,
        None,
        frozenset(),
    )


def test_a_signature_whose_vote_nobody_told_is_unseen_and_not_absent() -> None:
    settled = watched(Course(no_precommit=frozenset({2})))
    assert settled.unseen == {address(2)}
    assert settled.absent == []


def test_a_nil_prevote_is_nil() -> None:
    chain = heard()
    chain.follow(4)
    for seen, event in stream(5, Course({1: FLAG_NIL})) + stream(6, before=Course({1: FLAG_NIL})):
        chain.take(event, seen=seen)
    settled = chain.settled[-1]
    assert prevote_of(settled, 1) is Result.NIL
    assert settled.signatures[address(1)].result is Result.NIL
    assert not settled.contradictions


@pytest.mark.parametrize("block", [None, NIL], ids=["for the block", "for nil"])
def test_a_precommit_that_came_in_time_and_is_not_in_the_commit_was_left_out(block: str | None) -> None:
    settled = _with_vote_left_out(at(5, 2.5), block)
    assert settled.left_out == {address(0)}
    assert not settled.contradictions


def test_a_precommit_after_the_next_round_began_was_not_left_out_but_late() -> None:
    assert _with_vote_left_out(at(6, 1.001), None).left_out == frozenset()


def test_a_precommit_for_another_block_has_no_place_in_the_commit_and_was_not_left_out() -> None:
    settled = _with_vote_left_out(at(5, 2), "D" * 64)
    assert not settled.left_out | settled.contradictions


def test_whether_a_vote_was_left_out_is_not_claimed_where_the_next_height_was_not_seen() -> None:
    chain = heard()
    chain.follow(5)
    chain.take(new_block(6, {0: FLAG_ABSENT}), seen=at(6, 2))
    assert chain.settled[-1].next_round_seen is None
    assert chain.settled[-1].left_out == frozenset()


def _with_vote_left_out(seen: float, block: str | None) -> Settled:
    chain = heard()
    chain.follow(4)
    course = Course({0: FLAG_ABSENT})
    lines = stream(5, course) + stream(6, before=course)
    lines.append((seen, vote(PRECOMMIT, 5, 0, block=block)))
    for told, event in sorted(lines, key=lambda line: line[0]):
        chain.take(event, seen=told)
    return chain.settled[-1]


def test_a_gap_in_the_stream_makes_the_open_heights_partial_and_the_next_is_watched_again() -> None:
    chain = heard()
    chain.follow(4)
    for seen, event in stream(5):
        if seen == at(5, 1.2):
            chain.ledger.interrupted(0)
        chain.take(event, seen=seen)
    chain.follow(6, 7)
    assert [settled.how for settled in chain.settled] == [How.WATCHED, How.PARTIAL, How.WATCHED]
    assert [settled.prevotes is None for settled in chain.settled] == [False, True, False]


def test_a_gap_after_the_block_takes_nothing_from_the_height() -> None:
    chain = heard()
    chain.follow(5)
    chain.ledger.interrupted(0)
    chain.follow(6)
    assert chain.settled[0].how is How.WATCHED


def test_a_second_vantage_point_watches_through_a_gap_of_the_first() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(4, vantage=1)
    for seen, event in stream(5):
        chain.ledger.interrupted(0)
        chain.take(event, seen=seen, vantage=0)
        chain.take(event, seen=seen + 0.1, vantage=1)
    chain.follow(6)
    settled = chain.settled[-1]
    assert (settled.block.height, settled.how) == (5, How.WATCHED)
    assert seen_of(settled).watched_by & seen_of(settled).ended_by == {1}


def test_a_stream_that_begins_within_a_height_does_not_watch_it() -> None:
    settled = watched(left_away=(NewRound,))
    assert settled.how is How.WATCHED, "NewHeight tells the beginning too"
    chain = heard()
    for seen, event in stream(5)[2:] + stream(6):
        chain.take(event, seen=seen)
    assert chain.settled[-1].how is How.PARTIAL


def test_the_earliest_arrival_counts_whichever_vantage_point_is_read_first() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(4, vantage=1)
    for vantage, lag in ((0, 0.2), (1, 0.0)):
        for seen, event in stream(5):
            chain.take(event, seen=seen + lag, vantage=vantage)
    chain.follow(6)
    height = seen_of(chain.settled[-1])
    first = height.rounds[0]
    assert {precommit.seen for precommit in first.precommits.values()} == {at(5, 1.8), at(5, 2.3)}
    assert (first.started, first.steps["Commit"], height.opened) == (at(5, 1), at(5, 2), at(5))
    assert (first.proposal_seen, first.own_proposal_seen) == (at(5, 1.2), at(5, 1.4))
    assert height.committed_seen == at(5, 2.1)
    assert chain.ledger.counters.duplicates == 8


def test_a_vote_may_come_before_its_round_and_a_step_before_its_new_round() -> None:
    chain = heard()
    chain.follow(4)
    lines = stream(5)
    for seen, event in reversed(lines[:-1]):
        chain.take(event, seen=seen)
    chain.take(lines[-1][1], seen=lines[-1][0])
    chain.follow(6)
    assert chain.settled[-1] == watched()


def test_a_node_that_had_the_proposal_before_its_round_began_tells_no_new_round() -> None:
    chain = heard()
    chain.follow(4)
    early = [line for line in stream(5) if not isinstance(line[1], NewRound) and line[1] != step(5, "Propose")]
    for seen, event in early + stream(6):
        chain.take(event, seen=seen)
    settled = chain.settled[-1]
    assert settled.how is How.WATCHED
    assert seen_of(settled).rounds[0].proposer == settled.block.proposer
    assert chain.settled[0].next_round_seen == at(5, 1.2), "the step Prevote shows that the round began"


def test_a_stream_that_begins_with_a_later_round_does_not_watch_the_height() -> None:
    chain = heard()
    chain.follow(4)
    begun = stream(5)[2:]
    chain.take(new_round(5, 1), seen=at(5))
    for seen, event in begun:
        if not isinstance(event, NewRound):
            chain.take(event, seen=seen)
    chain.follow(6)
    assert (chain.settled[-1].block.height, chain.settled[-1].how) == (5, How.PARTIAL)


def test_the_header_does_not_name_the_proposer_of_a_later_round() -> None:
    """A block that wins in a later round may be one that another proposed before."""
    chain = heard()
    chain.follow(4)
    chain.take(vote(PREVOTE, 5, 0, round_number=1), new_block(5), new_block(6, round_number=1))
    assert seen_of(chain.settled[-1]).rounds[1].proposer == ""


def test_votes_of_a_failed_round_come_late_and_those_of_the_next_round_early() -> None:
    chain = heard()
    chain.follow(4)
    chain.take(step(5, "NewHeight"), new_round(5, proposer=2), step(5, "Prevote", event="TimeoutPropose"), seen=at(5))
    for who in EVERYONE:
        chain.take(vote(PREVOTE, 5, who, round_number=1), vote(PRECOMMIT, 5, who, round_number=1), seen=at(5, 1))
        chain.take(vote(PREVOTE, 5, who, block=NIL), vote(PRECOMMIT, 5, who, block=NIL), seen=at(5, 1.1))
    chain.take(new_round(5, 1, proposer=3), proposal(5, 1), new_block(5), seen=at(5, 2))
    chain.take(new_block(6, round_number=1), seen=at(6))
    settled = chain.settled[-1]
    assert (settled.round, settled.how) == (1, How.WATCHED)
    failed, won = seen_of(settled).rounds[0], seen_of(settled).rounds[1]
    assert (failed.proposer, failed.timed_out, failed.proposal) == (address(2), True, NIL)
    assert (won.proposer, won.timed_out, won.proposal_in_time) == (address(3), False, True)
    assert {precommit.block for precommit in failed.precommits.values()} == {NIL}
    assert chain.double_signs == [], "the same vote in another round is another vote"


@pytest.mark.parametrize(
    ("at_step", "in_time"),
    [("NewHeight", True), ("NewRound", True), ("Propose", True), ("Prevote", False), ("Commit", False)],
)
def test_the_step_tells_whether_a_proposal_came_in_time(at_step: str, in_time: bool) -> None:
    chain = heard()
    chain.take(proposal(5, at_step=at_step), seen=at(5, 3))
    first = chain.ledger.heights[5].rounds[0]
    assert (first.proposal_in_time, first.own_proposal_in_time, first.own_proposal_seen) == (in_time, in_time, at(5, 3))


def test_a_proposal_that_only_another_vantage_point_had_in_time_was_late_for_the_node() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(4, vantage=1)
    chain.take(proposal(5), seen=at(5, 1), vantage=1)
    chain.take(proposal(5, at_step="Prevote"), seen=at(5, 4))
    first = chain.ledger.heights[5].rounds[0]
    assert (first.proposal_in_time, first.own_proposal_in_time) == (True, False)
    assert (first.proposal_seen, first.own_proposal_seen) == (at(5, 1), at(5, 4))


def test_the_current_height_is_the_newest_that_consensus_stands_in() -> None:
    chain = heard()
    assert chain.ledger.current is None
    chain.follow(5)
    chain.take(step(6, "NewHeight"), vote(PRECOMMIT, 5, 0))
    assert chain.ledger.current is chain.ledger.heights[6]


def test_a_height_that_cannot_be_is_never_the_current_one() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(5, 6)
    chain.take(step(2**62, "Propose"))
    chain.take(step(2**62, "Propose"), vantage=1)
    assert chain.ledger.current is None
    chain.take(step(7, "NewHeight"))
    assert chain.ledger.current is chain.ledger.heights[7]


def test_a_height_far_beyond_the_settled_one_is_current_once_the_tip_is_there() -> None:
    chain = heard(settled=5)
    chain.take(step(900_000, "NewHeight"))
    assert chain.ledger.current is None
    chain.ledger.missing(899_999)
    assert chain.ledger.current is chain.ledger.heights[900_000]


def test_where_a_vantage_point_stands_is_forgotten_when_it_is_gone() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(5, 6)
    chain.follow(6, vantage=1)
    chain.take(step(8, "NewHeight"), vantage=1)
    assert chain.ledger.current is chain.ledger.heights[8]
    chain.ledger.interrupted(1)
    assert chain.ledger.current is chain.ledger.heights[6]


def test_a_vote_after_its_height_was_settled_is_late_and_changes_nothing() -> None:
    chain = heard()
    chain.follow(4)
    course = Course(no_precommit=frozenset({1}))
    for seen, event in stream(5, course) + stream(6):
        chain.take(event, seen=seen)
    chain.take(vote(PRECOMMIT, 5, 1), vote(PRECOMMIT, 1, 1))
    assert chain.ledger.counters.late == 2
    assert address(1) not in seen_of(chain.settled[-1]).rounds[0].precommits


def test_settled_heights_are_forgotten_after_a_moment() -> None:
    chain = heard()
    chain.follow(*range(3, 30))
    assert list(chain.ledger.heights) == list(range(29 - KEPT_SETTLED, 30))


def test_a_further_vantage_point_counts_from_its_first_block_of_this_chain_on(caplog: pytest.LogCaptureFixture) -> None:
    chain = heard()
    chain.follow(4)
    chain.take(vote(PREVOTE, 5, 0), seen=at(5, 1))
    chain.take(vote(PREVOTE, 5, 0, block=NIL), seen=at(5, 1), vantage=1)
    chain.take(new_block(4, chain="elsewhere-1"), vote(PREVOTE, 5, 0, block=NIL), vantage=1)
    assert chain.double_signs == []
    assert chain.ledger.foreign == {1: "elsewhere-1"}
    assert "vantage point 1 sends events of chain 'elsewhere-1'" in caplog.text
    assert "vantage.urls" in caplog.text
    chain.take(new_block(4), vote(PREVOTE, 5, 1), vantage=1)
    assert chain.ledger.foreign == {}
    assert address(1) in chain.ledger.heights[5].rounds[0].prevotes


def test_a_node_that_begins_a_height_anew_after_its_restart_tells_no_vote_twice() -> None:
    chain: Heard = heard()
    chain.follow(4)
    lines = stream(5)
    for seen, event in lines[:8]:
        chain.take(event, seen=seen)
    chain.ledger.interrupted(0)
    for seen, event in lines:
        chain.take(event, seen=seen + 20)
    chain.follow(6)
    settled = chain.settled[-1]
    assert len(seen_of(settled).rounds[0].prevotes) == 4
    assert settled.how is How.WATCHED
    assert seen_of(settled).rounds[0].started == at(5, 1)
