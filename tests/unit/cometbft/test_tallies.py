"""Each settled height is counted for each validator: who signed, who missed, whose turn failed."""

from collections.abc import Iterable

import pytest

from chainwatch.families.cometbft.consensus.model import DoubleSign, FillReason, How, NodeCondition, Proof, Settled
from chainwatch.families.cometbft.consensus.tallies import Tallies
from tests.unit.cometbft.heights import FOUR, HEALTHY, Failed, Story, address, start, validators
from tests.unit.cometbft.pages import values

A, B, C, D = map(address, range(4))
OWN = {A: "mine"}


def counted(*heights: Story, own: dict[str, str] = OWN, only_own: bool = False) -> dict[str, float]:
    tallies = Tallies(own, only_own)
    for height in heights:
        tallies.count(height.settled(), HEALTHY)
    return values(tallies.collect())


def of(page: dict[str, float], metric: str, labels: Iterable[str]) -> list[float]:
    return [page[f"cometbft_{metric}{{{label}}}"] for label in labels]


def about(page: dict[str, float], validator: str) -> set[str]:
    return {series for series in page if validator in series}


def test_precommits_are_counted_by_the_commit_and_missed_by_both_rules() -> None:
    page = counted(Story(1), Story(2, absent=[1], nil=[2]), Story(3, nil=[2]), Story(4, how=How.FILLED, absent=[1]))

    assert of(page, "validator_precommits_total", [f"{A},block", f"{A},nil", f"{A},absent"]) == [4, 0, 0]
    assert of(page, "validator_precommits_total", [f"{B},block", f"{B},nil", f"{B},absent"]) == [2, 0, 2]
    assert of(page, "validator_precommits_total", [f"{C},block", f"{C},nil", f"{C},absent"]) == [2, 2, 0]
    assert of(page, "validator_missed_total", [f"{B},sdk", f"{B},cometbft"]) == [2, 2]
    assert of(page, "validator_missed_total", [f"{C},sdk", f"{C},cometbft"]) == [0, 2]


def test_prevotes_are_counted_where_they_are_known() -> None:
    page = counted(
        Story(1, absent=[1], nil=[2]), Story(2, how=How.PARTIAL, absent=[1]), Story(3, how=How.FILLED, absent=[1])
    )

    assert of(page, "validator_prevotes_total", [f"{A},block", f"{A},nil", f"{A},absent"]) == [1, 0, 0]
    assert of(page, "validator_prevotes_total", [f"{B},block", f"{B},nil", f"{B},absent"]) == [0, 0, 1]
    assert of(page, "validator_prevotes_total", [f"{C},block", f"{C},nil", f"{C},absent"]) == [0, 1, 0]


def test_missing_alone_is_told_from_missing_together() -> None:
    """Of four, three are more than two thirds, and two are not; nil is a signature, and power does not matter."""
    page = counted(
        Story(1, absent=[1]),
        Story(2, absent=[1], nil=[2]),
        Story(3, absent=[1, 2]),
        Story(4, validators((90, 1, 1, 1)), absent=[1, 2]),
    )

    assert of(page, "validator_missed_alone_total", [A, B, C, D]) == [0, 2, 0, 0]


def test_two_thirds_of_three_are_not_more_than_two_thirds() -> None:
    page = counted(Story(1, validators((10, 10, 1)), absent=[2]))

    assert of(page, "validator_missed_alone_total", [C]) == [0]


def test_consecutive_misses_end_with_a_signature_even_for_nil() -> None:
    heights = [Story(1, absent=[1, 2, 3]), Story(2, absent=[1, 2], how=How.FILLED), Story(3, absent=[1], nil=[2])]
    page = counted(*heights)

    assert of(page, "validator_consecutive_missed", [A, B, C, D]) == [0, 3, 0, 0]


def test_a_prevote_without_a_precommit_is_counted() -> None:
    page = counted(Story(1, prevoted_only=[1], absent=[2]), Story(2, prevoted_only=[1], how=How.FILLED))

    assert of(page, "validator_prevote_without_precommit_total", [A, B, C, D]) == [0, 1, 0, 0]


def test_a_precommit_that_the_next_block_left_out_is_counted() -> None:
    page = counted(Story(1, left_out=[3]), Story(2))

    assert of(page, "validator_precommit_left_out_total", [A, B, C, D]) == [0, 0, 0, 1]
    assert of(page, "validator_precommits_total", [f"{D},absent"]) == [1]


def test_proposals_are_counted_by_the_block_and_failed_ones_by_the_round() -> None:
    page = counted(
        Story(1, proposer=1, empty=True),
        Story(2, proposer=2, failed=[Failed(3), Failed(1)]),
        Story(3, proposer=1, how=How.FILLED, failed=[Failed(3)]),
    )

    assert of(page, "validator_proposals_total", [f"{B},committed", f"{B},failed"]) == [2, 1]
    assert of(page, "validator_proposals_total", [f"{C},committed", f"{C},failed"]) == [1, 0]
    assert of(page, "validator_proposals_total", [f"{D},committed", f"{D},failed"]) == [0, 1]
    assert of(page, "validator_empty_proposals_total", [A, B, C, D]) == [0, 1, 0, 0]


def test_the_delay_of_a_precommit_runs_from_the_proposal() -> None:
    """0.65 s after it, then 1.65 s, then unknown."""
    page = counted(Story(1), Story(2, votes_late=1.0), Story(3, how=How.PARTIAL), Story(4, absent=[1]))

    buckets = [f"{B},{bound}" for bound in ("0.25", "0.5", "1.0", "3.0", "+Inf")]
    assert of(page, "validator_vote_delay_seconds_bucket", buckets) == [0, 0, 1, 2, 2]
    assert of(page, "validator_vote_delay_seconds_count", [A, B]) == [3, 2]
    assert of(page, "validator_vote_delay_seconds_sum", [B]) == [pytest.approx(2.3, abs=1e-5)]


def test_a_nil_precommit_has_no_delay() -> None:
    page = counted(Story(1, nil=[1]))

    assert of(page, "validator_vote_delay_seconds_count", [A, B]) == [1, 0]


def test_ones_own_are_there_from_the_start_at_zero() -> None:
    page = values(Tallies(OWN).collect())

    assert of(page, "validator_own_info", [f"{A},mine"]) == [1]
    assert of(page, "validator_precommits_total", [f"{A},block", f"{A},nil", f"{A},absent"]) == [0, 0, 0]
    assert of(page, "validator_double_signs_total", [A]) == [0]
    causes = ("network", "node", "signer", "proposer", "unknown")
    assert of(page, "validator_missed_by_cause_total", [f"{A},{cause}" for cause in causes]) == [0] * 5
    assert not any(f"_{gauge}{{{A}" in series for series in page for gauge in ("in_set", "power", "missed"))


def test_ones_own_validator_outside_the_set_is_said_to_be_outside() -> None:
    other = address(77)
    page = counted(Story(1), own={A: "mine", other: "spare"})

    assert of(page, "validator_in_set", [A, other]) == [1, 0]
    assert of(page, "validator_precommits_total", [f"{other},absent"]) == [0]
    assert f"cometbft_validator_power{{{other}}}" not in page
    assert f"cometbft_validator_consecutive_missed{{{other}}}" not in page
    assert f"cometbft_validator_in_set{{{B}}}" not in page


def test_each_miss_of_ones_own_has_one_cause() -> None:
    tallies = Tallies({A: "mine", B: "too"})
    gone = NodeCondition(answering=False, catching_up=False, peers=None)
    tallies.count(Story(1, absent=[0]).settled(), HEALTHY)
    tallies.count(Story(2, absent=[0, 1, 2]).settled(), HEALTHY)
    tallies.count(Story(3, left_out=[0]).settled(), HEALTHY)
    tallies.count(Story(4, nil=[0], absent=[3]).settled(), HEALTHY)
    tallies.count(Story(5, absent=[1]).settled(), gone)
    page = values(tallies.collect())

    by_cause = {series: number for series, number in page.items() if "by_cause" in series and number}
    assert by_cause == {
        f"cometbft_validator_missed_by_cause_total{{{A},signer}}": 1,
        f"cometbft_validator_missed_by_cause_total{{{A},network}}": 1,
        f"cometbft_validator_missed_by_cause_total{{{A},proposer}}": 1,
        f"cometbft_validator_missed_by_cause_total{{{B},network}}": 1,
        f"cometbft_validator_missed_by_cause_total{{{B},node}}": 1,
    }


def test_with_only_ones_own_nobody_else_has_series_and_the_network_is_counted_in_full() -> None:
    heights = [Story(1, absent=[1]), Story(2, failed=[Failed(3)])]
    everything, own = counted(*heights), counted(*heights, only_own=True)

    assert own == {series: number for series, number in everything.items() if not any(v in series for v in (B, C, D))}
    assert own["cometbft_round_failures_total{other,no_proposal}"] == 1


def test_a_double_sign_is_counted_for_others_only_once_they_have_one() -> None:
    tallies = Tallies(OWN)
    tallies.count(Story(1).settled(), HEALTHY)
    before = values(tallies.collect())
    tallies.double_sign(DoubleSign(B, 1, 0, 1, Proof.VANTAGE))
    tallies.double_sign(DoubleSign(A, 1, 0, 2, Proof.EVIDENCE))
    tallies.double_sign(DoubleSign(address(55), 1, 0, 2, Proof.COMMIT))
    after = values(tallies.collect())

    assert f"cometbft_validator_double_signs_total{{{B}}}" not in before
    assert of(after, "validator_double_signs_total", [A, B]) == [1, 1]
    assert of(before, "double_signs_total", ["own,evidence", "own,vantage", "own,commit"]) == [0, 0, 0]
    assert of(after, "double_signs_total", ["own,evidence", "own,vantage", "own,commit"]) == [1, 0, 0]
    assert of(after, "double_signs_total", ["other,evidence", "other,vantage", "other,commit"]) == [0, 1, 1]


# --- Who joins and leaves


def at(height: int, seconds: float) -> float:
    return start(height) + seconds


def test_a_run_of_misses_ends_with_the_membership_and_where_heights_were_given_up() -> None:
    tallies, others = Tallies(OWN), validators({1: 10, 2: 10, 3: 10})
    run = "cometbft_validator_consecutive_missed"
    for height in (1, 2, 3):
        tallies.count(Story(height, absent=[0]).settled(), HEALTHY)
    tallies.count(Story(4, others).settled(), HEALTHY)
    tallies.count(Story(5, absent=[0]).settled(), HEALTHY)
    assert values(tallies.collect())[f"{run}{{{A}}}"] == 1
    tallies.count(Story(6, absent=[0]).settled(), HEALTHY)
    tallies.skipped(10)
    tallies.count(Story(17, absent=[0]).settled(), HEALTHY)
    assert values(tallies.collect())[f"{run}{{{A}}}"] == 1


def test_who_left_is_exported_for_an_hour_without_gauges_and_then_forgotten() -> None:
    three = validators({0: 10, 1: 10, 2: 10})
    tallies = Tallies(OWN)
    for story in (Story(1, absent=[3]), Story(2, three), Story(3, three, time=at(2, 3600))):
        tallies.count(story.settled(), HEALTHY)
    page = values(tallies.collect())
    tallies.count(Story(4, three, time=at(2, 3601)).settled(), HEALTHY)
    later = values(tallies.collect())

    assert of(page, "validator_precommits_total", [f"{D},absent"]) == [1]
    assert f"cometbft_validator_power{{{D}}}" not in page
    assert f"cometbft_validator_consecutive_missed{{{D}}}" not in page
    assert not about(later, D)
    assert len(about(later, C)) == len(about(page, C))


def test_who_comes_back_within_the_hour_goes_on_from_its_counts() -> None:
    three = validators({0: 10, 1: 10, 2: 10})
    page = counted(Story(1, absent=[3]), Story(2, three), Story(3), Story(4, time=at(4, 9999)))

    assert of(page, "validator_precommits_total", [f"{D},block", f"{D},absent"]) == [2, 1]


def test_ones_own_is_never_forgotten() -> None:
    page = counted(Story(1, absent=[0]), Story(2, validators({1: 10, 2: 10})), Story(3, time=at(3, 99999)))
    gone = counted(Story(1, absent=[0]), Story(2, validators({1: 1})), Story(3, validators({1: 1}), time=at(3, 99999)))

    assert of(page, "validator_precommits_total", [f"{A},absent", f"{A},block"]) == [1, 1]
    assert of(gone, "validator_precommits_total", [f"{A},absent"]) == [1]
    assert of(gone, "validator_in_set", [A]) == [0]


def test_a_set_that_is_exchanged_at_every_block_does_not_add_up() -> None:
    """The longest gone are forgotten first."""
    heights = [Story(height, validators(dict.fromkeys(range(20 * height, 20 * height + 20), 1))) for height in range(9)]
    page = counted(*heights, own={})

    known = [n for n in range(180) if f"cometbft_validator_precommits_total{{{address(n)},block}}" in page]
    assert known == list(range(60, 180))


def test_own_powers_and_counts_follow_the_address_when_indexes_shift() -> None:
    page = counted(Story(1, validators({0: 5, 1: 4}), absent=[1]), Story(2, validators({1: 9, 0: 5}), absent=[1]))

    assert of(page, "validator_consecutive_missed", [A, B]) == [0, 2]
    assert of(page, "validator_power", [A, B]) == [5, 9]


# --- Size


def large(count: int = 180) -> list[Story]:
    members = validators([1000 - n for n in range(count)])
    return [
        Story(height, members, absent=[7], nil=[9], failed=[Failed(3), Failed(4, proposed=True)][: height % 3])
        for height in range(1, 5)
    ]


def series(own: dict[str, str], only_own: bool) -> int:
    return len(counted(*large(), own=own, only_own=only_own))


def test_a_set_of_180_leaves_room_for_the_rest_of_5000_series() -> None:
    assert 4000 < series(OWN, only_own=False) <= 4400


def test_with_only_ones_own_there_are_at_most_300_series() -> None:
    assert series({A: "one", B: "two"}, only_own=True) <= 300


def test_a_huge_round_number_costs_no_time() -> None:
    settled = Story(1, how=How.FILLED).settled()
    tallies = Tallies(OWN)
    tallies.count(
        Settled(
            block=settled.block,
            round=2**31 - 1,
            how=How.FILLED,
            reason=FillReason.NODE,
            set=FOUR,
            signatures=settled.signatures,
            seen=None,
            prevotes=None,
            left_out=frozenset(),
            contradictions=frozenset(),
            unseen=frozenset(),
            next_round_seen=None,
        ),
        HEALTHY,
    )

    assert values(tallies.collect())["cometbft_round_failures_total{unknown,unknown}"] == 2**31 - 1
