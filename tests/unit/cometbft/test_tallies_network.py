"""What is counted of the network: heights, rounds, steps, votes, delays, the set, evidence."""

import pytest

from chainwatch.families.cometbft.consensus.model import EvidenceType, How, Misbehaviour
from chainwatch.families.cometbft.consensus.tallies import Tallies
from tests.unit.cometbft.heights import HEALTHY, SPACING, Failed, Story, address, start, validators
from tests.unit.cometbft.pages import values

OWN = {address(0): "mine"}


def counted(*heights: Story) -> dict[str, float]:
    tallies = Tallies(OWN)
    for height in heights:
        tallies.count(height.settled(), HEALTHY)
    return values(tallies.collect())


def nonzero(page: dict[str, float], metric: str) -> dict[str, float]:
    """By label values."""
    start = f"cometbft_{metric}{{"
    return {name.removeprefix(start)[:-1]: number for name, number in page.items() if name.startswith(start) and number}


def test_known_label_values_start_at_zero() -> None:
    page = values(Tallies({}).collect())

    for series in (
        "heights_settled_total{watched}",
        "heights_skipped_total",
        "round_failures_total{own,no_proposal}",
        "round_failures_total{unknown,unknown}",
        "vote_events_total{prevote,nil}",
        "vote_unseen_total",
        "vote_contradictions_total",
        "validator_set_changes_total{left}",
        "evidence_total{duplicate_vote,own}",
        "evidence_total{light_client_attack,other}",
        "double_signs_total{other,vantage}",
        "step_duration_seconds_count{PrevoteWait}",
        "rounds_per_height_count",
        "block_interval_seconds_count",
        "vote_arrival_seconds_count{precommit,timestamp}",
    ):
        assert page[f"cometbft_{series}"] == 0


def test_heights_are_counted_by_how_they_were_settled() -> None:
    tallies = Tallies(OWN)
    for height, how in enumerate((How.WATCHED, How.WATCHED, How.PARTIAL, How.FILLED)):
        tallies.count(Story(height, how=how).settled(), HEALTHY)
    tallies.skipped(7)
    page = values(tallies.collect())

    assert nonzero(page, "heights_settled_total") == {"watched": 2, "partial": 1, "filled": 1}
    assert page["cometbft_heights_skipped_total"] == 7


@pytest.mark.parametrize(
    ("failed", "how", "expected"),
    [
        (Failed(0), How.WATCHED, "own,no_proposal"),
        (Failed(3), How.WATCHED, "other,no_proposal"),
        (Failed(3, timed_out=False), How.WATCHED, "other,no_proposal"),
        (Failed(3, timed_out=True), How.PARTIAL, "other,no_proposal"),
        (Failed(3, timed_out=False), How.PARTIAL, "other,unknown"),
        (Failed(3, proposed=True, in_time=False), How.WATCHED, "other,late_proposal"),
        (Failed(0, proposed=True, in_time=True), How.WATCHED, "own,votes"),
        (Failed(0, proposed=True, in_time=True, timed_out=False), How.PARTIAL, "own,votes"),
        (Failed(None), How.WATCHED, "unknown,no_proposal"),
        (Failed(0), How.FILLED, "unknown,unknown"),
    ],
)
def test_a_failed_round_is_counted_by_proposer_and_reason(failed: Failed, how: How, expected: str) -> None:
    assert nonzero(counted(Story(1, how=how, failed=[failed])), "round_failures_total") == {expected: 1}


def test_rounds_that_were_not_seen_are_counted_as_unknown() -> None:
    story = Story(1, how=How.PARTIAL, failed=[Failed(3), Failed(2)]).settled()
    assert story.seen is not None
    del story.seen.rounds[0]
    tallies = Tallies(OWN)
    tallies.count(story, HEALTHY)

    failures = nonzero(values(tallies.collect()), "round_failures_total")
    assert failures == {"unknown,unknown": 1, "other,no_proposal": 1}


def test_rounds_are_distributed_for_filled_heights_too() -> None:
    page = counted(Story(1), Story(2, failed=[Failed(), Failed()]), Story(3, how=How.FILLED, failed=[Failed()]))

    assert [page[f"cometbft_rounds_per_height_bucket{{{bound}}}"] for bound in ("1.0", "2.0", "3.0", "+Inf")] == [
        1,
        2,
        3,
        3,
    ]
    assert page["cometbft_rounds_per_height_sum"] == 6


def test_a_step_lasts_until_the_next_step_or_round() -> None:
    page = counted(Story(1))

    assert nonzero(page, "step_duration_seconds_sum") == pytest.approx(
        {"NewHeight": 1.0, "Propose": 0.3, "Prevote": 0.4, "Precommit": 0.4, "Commit": 0.1}, abs=1e-5
    )


def test_steps_of_a_failed_round_last_until_the_next_one_begins() -> None:
    page = counted(Story(1, failed=[Failed()]))

    sums = nonzero(page, "step_duration_seconds_sum")
    assert sums["Propose"] == pytest.approx(1.8 + 0.3, abs=1e-5)
    assert sums["Precommit"] == pytest.approx(0.8 + 0.4, abs=1e-5)
    assert page["cometbft_step_duration_seconds_count{Precommit}"] == 2


def test_a_step_that_another_vantage_point_saw_after_later_ones_is_left_out() -> None:
    story = Story(1).settled()
    assert story.seen is not None
    story.seen.rounds[0].steps |= {"PrevoteWait": start(1) + 0.9, "PrecommitWait": start(1) + 1.0}
    tallies = Tallies(OWN)
    tallies.count(story, HEALTHY)

    assert nonzero(values(tallies.collect()), "step_duration_seconds_sum") == pytest.approx(
        {"NewHeight": 1.0, "Propose": 0.3, "Prevote": 0.4, "Precommit": 0.4, "Commit": 0.1}, abs=1e-5
    )


def test_the_interval_is_taken_between_watched_heights_in_a_row() -> None:
    page = counted(
        Story(1), Story(2), Story(3, failed=[Failed()]), Story(4, how=How.FILLED), Story(5), Story(6, how=How.PARTIAL)
    )

    assert page["cometbft_block_interval_seconds_count"] == 2
    assert page["cometbft_block_interval_seconds_sum"] == pytest.approx(SPACING + SPACING + 3, abs=1e-5)


def test_the_spacing_is_the_median_by_the_blocks_own_times() -> None:
    tallies = Tallies(OWN)
    assert tallies.spacing() is None
    for height in (1, 2, 3, 4, 6):
        tallies.count(Story(height, how=How.FILLED, time=start(height) + (90 if height > 3 else 0)).settled(), HEALTHY)

    assert tallies.spacing() == SPACING


def test_votes_are_counted_by_type_and_by_what_they_are_for() -> None:
    page = counted(
        Story(1, absent=[1], nil=[2], prevoted_only=[3]), Story(2, how=How.PARTIAL), Story(3, how=How.FILLED)
    )

    assert nonzero(page, "vote_events_total") == {
        "prevote,block": 2 + 4,
        "prevote,nil": 1,
        "precommit,block": 1 + 4,
        "precommit,nil": 1,
    }


def test_votes_of_failed_rounds_count_and_their_arrival_too() -> None:
    page = counted(Story(1, failed=[Failed()]))

    assert nonzero(page, "vote_events_total") == {
        "prevote,block": 4,
        "prevote,nil": 4,
        "precommit,block": 4,
        "precommit,nil": 4,
    }
    assert page["cometbft_vote_arrival_seconds_count{precommit,timestamp}"] == 8
    assert page["cometbft_vote_arrival_seconds_count{precommit,proposal}"] == 4


def test_arrival_is_measured_since_the_proposal_and_since_the_votes_own_time() -> None:
    page = counted(Story(1), Story(2, how=How.PARTIAL), Story(3, how=How.FILLED))

    assert nonzero(page, "vote_arrival_seconds_sum") == pytest.approx(
        {
            "prevote,proposal": 4 * 0.2,
            "prevote,timestamp": 4 * 0.08,
            "precommit,proposal": 4 * 0.65,
            "precommit,timestamp": 4 * 0.08,
        },
        abs=1e-5,
    )


def test_a_vote_from_the_future_counts_as_immediate() -> None:
    story = Story(1).settled()
    assert story.seen is not None
    votes = story.seen.rounds[0].precommits
    votes[address(1)] = votes[address(1)]._replace(timestamp=start(1) + 3600, seen=start(1))
    tallies = Tallies(OWN)
    tallies.count(story, HEALTHY)
    page = values(tallies.collect())

    assert page["cometbft_vote_arrival_seconds_bucket{precommit,timestamp,0.02}"] == 1
    assert page["cometbft_vote_arrival_seconds_sum{precommit,timestamp}"] == pytest.approx(3 * 0.08, abs=1e-5)
    assert page["cometbft_vote_arrival_seconds_bucket{precommit,proposal,0.02}"] == 1


def test_a_quorum_is_reached_by_power_and_the_full_set_by_everyone() -> None:
    """Validator 1 has the power that is lacking, and votes 2 s later than the others."""
    members = validators((30, 50, 10, 10))
    story = Story(1, members).settled()
    assert story.seen is not None
    for votes in (story.seen.rounds[0].prevotes, story.seen.rounds[0].precommits):
        votes[address(1)] = votes[address(1)]._replace(seen=votes[address(1)].seen + 1)
        votes[address(3)] = votes[address(3)]._replace(seen=votes[address(3)].seen + 2)
    tallies = Tallies(OWN)
    tallies.count(story, HEALTHY)
    page = values(tallies.collect())

    assert nonzero(page, "vote_quorum_delay_seconds_sum") == pytest.approx(
        {"prevote": 1.2, "precommit": 1.65}, abs=1e-5
    )
    assert nonzero(page, "vote_full_delay_seconds_sum") == pytest.approx({"prevote": 2.2, "precommit": 2.65}, abs=1e-5)


def test_exactly_two_thirds_are_no_quorum_and_without_a_member_the_set_is_not_full() -> None:
    page = counted(Story(1, validators((10, 10, 10)), nil=[2]), Story(2, absent=[1]), Story(3, how=How.PARTIAL))

    assert nonzero(page, "vote_quorum_delay_seconds_count") == {"prevote": 1, "precommit": 1}
    assert nonzero(page, "vote_full_delay_seconds_count") == {"prevote": 1, "precommit": 1}


def test_unseen_and_contradicted_votes_are_counted() -> None:
    page = counted(Story(1, unseen=[1, 2]), Story(2, contradictions=[3], how=How.PARTIAL))

    assert page["cometbft_vote_unseen_total"] == 2
    assert page["cometbft_vote_contradictions_total"] == 1


def test_set_changes_are_counted_and_dated_by_the_block() -> None:
    page = counted(
        Story(1, validators({0: 10, 1: 10, 2: 10, 3: 10})),
        Story(2, validators({0: 10, 1: 10, 2: 10, 3: 10})),
        Story(3, validators({0: 10, 1: 9, 2: 11, 4: 10, 5: 10}), how=How.FILLED),
        Story(7, validators({0: 10, 1: 10, 2: 11, 4: 10, 5: 10})),
    )

    assert nonzero(page, "validator_set_changes_total") == {
        "joined": 2,
        "left": 1,
        "power_raised": 2,
        "power_lowered": 1,
    }
    assert nonzero(page, "validator_set_changed_timestamp_seconds") == {
        "joined": start(3),
        "left": start(3),
        "power_raised": start(7),
        "power_lowered": start(3),
    }


def test_the_first_set_is_no_change() -> None:
    page = counted(Story(1))

    assert not nonzero(page, "validator_set_changes_total")
    assert "cometbft_validator_set_changed_timestamp_seconds{joined}" not in page


def test_evidence_is_counted_by_type_and_by_whom_it_accuses() -> None:
    pieces = (
        Misbehaviour(EvidenceType.DUPLICATE_VOTE, (address(0),)),
        Misbehaviour(EvidenceType.DUPLICATE_VOTE, (address(3),)),
        Misbehaviour(EvidenceType.LIGHT_CLIENT_ATTACK, (address(3), address(0), address(1))),
        Misbehaviour(EvidenceType.LIGHT_CLIENT_ATTACK, ()),
    )

    assert nonzero(counted(Story(1, misbehaviour=pieces, how=How.FILLED), Story(2)), "evidence_total") == {
        "duplicate_vote,own": 1,
        "duplicate_vote,other": 1,
        "light_client_attack,own": 1,
        "light_client_attack,other": 1,
    }
