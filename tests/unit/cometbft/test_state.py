"""The state file of consensus: counters go on after a restart, and nothing hostile gets in."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.exposition.state_file import MAX_BYTES, StateFile
from chainwatch.families.cometbft.consensus.model import Cause, DoubleSign, How, Proof, Validator, ValidatorSet
from chainwatch.families.cometbft.consensus.state import (
    MAX_DOUBLE_SIGNS,
    MAX_POWER,
    MAX_VALIDATORS,
    Saved,
    State,
    set_problem,
)
from chainwatch.families.cometbft.consensus.tallies import Tallies
from chainwatch.families.cometbft.consensus.validator_counts import ValidatorCounts
from tests.unit.cometbft.heights import HEALTHY, Failed, Story, address, block_hash, start, validators
from tests.unit.cometbft.pages import values

A, B, C, D = map(address, range(4))
OWN = {A: "mine"}
STORY = [
    Story(1, absent=[0, 1]),
    Story(2, nil=[2], failed=[Failed(3)], proposer=1, empty=True),
    Story(3, validators({0: 10, 1: 9, 2: 10}), prevoted_only=[1], unseen=[2]),
    Story(4, validators({0: 10, 1: 9, 2: 10}), how=How.FILLED, absent=[1]),
]
LATER = [Story(5, validators({0: 10, 1: 9, 2: 10, 3: 10}), absent=[1]), Story(6, left_out=[0])]


def tallies_after(*stories: Story, own: dict[str, str] = OWN, only_own: bool = False) -> Tallies:
    tallies = Tallies(own, only_own)
    for story in stories:
        tallies.count(story.settled(), HEALTHY)
    return tallies


def state_of(tallies: Tallies, height: int = 4, double_signs: list[DoubleSign] | None = None) -> State:
    return State(
        chain="lab-1", settled=height, hash=block_hash(height), tallies=tallies.save(), double_signs=double_signs or []
    )


def through_a_file(state: State) -> State:
    return msgspec.json.decode(msgspec.json.encode(state), type=State)


def restarted(tallies: Tallies, own: dict[str, str] = OWN, only_own: bool = False) -> Tallies:
    again = Tallies(own, only_own)
    again.restore(through_a_file(state_of(tallies)).tallies)
    return again


def lasting(tallies: Tallies) -> dict[str, float]:
    """All but histograms, which start anew."""
    return {
        series: number
        for series, number in values(tallies.collect()).items()
        if not any(part in series for part in ("_bucket", "_sum", "_count{", "_count"))
    }


def test_after_a_restart_the_page_is_as_it_was() -> None:
    tallies = tallies_after(*STORY)
    tallies.double_sign(DoubleSign(B, 3, 0, 2, Proof.VANTAGE))
    tallies.skipped(3)

    assert lasting(restarted(tallies)) == lasting(tallies)


def test_counting_goes_on_as_if_there_had_been_no_restart() -> None:
    """Consecutive misses, a set that changed meanwhile, and a member that comes back among it."""
    whole, before = tallies_after(*STORY, *LATER), tallies_after(*STORY)
    again = restarted(before)
    for story in LATER:
        again.count(story.settled(), HEALTHY)

    assert lasting(again) == lasting(whole)
    assert lasting(again)["cometbft_validator_set_changes_total{joined}"] == 1
    assert lasting(again)[f"cometbft_validator_missed_total{{{B},sdk}}"] == 4


def test_a_restart_before_the_first_height_knows_nothing() -> None:
    assert lasting(restarted(Tallies(OWN))) == lasting(Tallies(OWN))


async def test_it_is_read_back_from_disk(tmp_path: Path) -> None:
    known = [DoubleSign(B, 3, 0, 2, Proof.VANTAGE)]
    file = StateFile(tmp_path / "consensus.json", State)
    file.put(state_of(tallies_after(*STORY), double_signs=known))
    assert await file.flush()
    loaded = file.load()
    file.close()

    assert loaded is not None
    assert (loaded.chain, loaded.settled, loaded.hash) == ("lab-1", 4, block_hash(4))
    assert loaded.double_signs == known
    assert loaded.tallies == tallies_after(*STORY).save()


def test_a_validator_that_became_ones_own_keeps_its_counts() -> None:
    page = lasting(restarted(tallies_after(*STORY), own={B: "new"}))

    assert page[f"cometbft_validator_precommits_total{{{B},absent}}"] == 3
    assert page[f"cometbft_validator_missed_by_cause_total{{{B},unknown}}"] == 0
    assert page[f"cometbft_validator_in_set{{{B}}}"] == 1
    assert page[f"cometbft_validator_precommits_total{{{A},absent}}"] == 1
    assert f"cometbft_validator_in_set{{{A}}}" not in page


def test_who_was_ones_own_and_no_member_is_forgotten() -> None:
    stranger = address(99)
    with_stranger = restarted(tallies_after(*STORY), own=OWN | {stranger: "spare"})
    without = restarted(with_stranger)

    assert [series for series in lasting(with_stranger) if stranger in series]
    assert not [series for series in lasting(without) if stranger in series]


def test_with_only_ones_own_the_others_of_the_file_are_left_out_and_back_again_from_zero() -> None:
    own = restarted(tallies_after(*STORY), only_own=True)
    everybody = restarted(own)

    assert not [series for series in lasting(own) if B in series]
    assert lasting(own)[f"cometbft_validator_precommits_total{{{A},absent}}"] == 1
    assert lasting(everybody)[f"cometbft_validator_precommits_total{{{B},absent}}"] == 0
    assert lasting(everybody)["cometbft_heights_settled_total{watched}"] == 3


def test_who_left_before_the_restart_is_forgotten_an_hour_after_it_left() -> None:
    again = restarted(tallies_after(*STORY))
    assert [series for series in lasting(again) if D in series]

    again.count(Story(5, validators({0: 10, 1: 9, 2: 10}), time=start(3) + 3601).settled(), HEALTHY)
    assert not [series for series in lasting(again) if D in series]


def test_a_counter_too_large_for_the_file_is_kept_at_its_bound() -> None:
    tallies = tallies_after(*STORY)
    tallies.skipped(2**62)

    assert lasting(restarted(tallies))["cometbft_heights_skipped_total"] == 2**53


def test_the_time_of_the_last_block_is_kept_and_a_file_without_it_is_read() -> None:
    state = state_of(tallies_after(*STORY))
    assert through_a_file(state).time is None
    state.time = start(4)
    assert through_a_file(state).time == start(4)
    raw = msgspec.json.decode(msgspec.json.encode(state))
    del raw["time"]
    assert msgspec.convert(raw, State).time is None


def test_counters_that_this_version_does_not_know_are_ignored() -> None:
    tallies = tallies_after(*STORY)
    saved = tallies.save()
    saved.network["cometbft_from_the_future_total"] = {"": 3}
    saved.network["cometbft_vote_events_total"]["proposal,block"] = 3
    saved.changed["renamed"] = 5.0
    again = Tallies(OWN)
    again.restore(through_a_file(State(chain="lab-1", settled=4, hash=block_hash(4), tallies=saved)).tallies)

    assert lasting(again) == lasting(tallies)


# --- Size


def widest(count: int) -> State:
    """The longest numbers there can be, for each of so many validators."""
    most = 2**53
    members = tuple(Validator(address(n), MAX_POWER // count) for n in range(count))
    counts = msgspec.convert([most] * 14 + [1_700_000_000.123456], ValidatorCounts)
    return State(
        chain="x" * 50,
        settled=2**63 - 1,
        hash="F" * 64,
        tallies=Saved(
            set=ValidatorSet("F" * 64, members),
            validators={address(n): counts for n in range(count)},
            causes={address(n): dict.fromkeys(Cause, most) for n in range(20)},
        ),
        double_signs=[DoubleSign(address(n), 2**62, 2**31 - 1, 2, Proof.EVIDENCE) for n in range(MAX_DOUBLE_SIGNS)],
    )


def test_the_largest_state_fits_into_its_file() -> None:
    state = widest(MAX_VALIDATORS)

    assert len(msgspec.json.encode(state)) < MAX_BYTES
    assert through_a_file(state) == state


def test_a_set_that_is_too_large_is_not_saved_and_ones_own_validators_are() -> None:
    last = address(MAX_VALIDATORS)
    story = Story(1, validators([1] * (MAX_VALIDATORS + 1)), absent=[MAX_VALIDATORS], how=How.FILLED)
    tallies = tallies_after(story, own={last: "mine"})
    again = restarted(tallies, own={last: "mine"})

    assert tallies.save().set is None
    assert len(tallies.save().validators) == MAX_VALIDATORS
    assert lasting(again)[f"cometbft_validator_precommits_total{{{last},absent}}"] == 1
    again.count(Story(2, story.members, how=How.FILLED).settled(), HEALTHY)
    assert lasting(again)["cometbft_validator_set_changes_total{joined}"] == 0


def test_what_a_node_cannot_say_truly_does_not_break_saving() -> None:
    mad = Story(1, validators([2**70, 1]), how=How.FILLED)
    impossible = [DoubleSign("x" * 9999, 2**80, -1, 7, Proof.COMMIT), DoubleSign(B, 3, 0, 2, Proof.COMMIT)]
    state = through_a_file(state_of(tallies_after(mad), double_signs=impossible))

    assert state.tallies.set is None
    assert state.double_signs == impossible[1:]


def test_only_the_newest_double_signs_are_kept() -> None:
    many = [DoubleSign(B, height, 0, 2, Proof.COMMIT) for height in range(1, MAX_DOUBLE_SIGNS + 3)]

    assert through_a_file(state_of(Tallies(OWN), double_signs=many)).double_signs == many[2:]


# --- Hostile content


def content() -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(msgspec.json.encode(state_of(tallies_after(*STORY))))
    return plain


def wrong(*path: str | int, value: Any) -> Any:
    plain = content()
    place = plain
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    return pytest.param(plain, id="/".join(map(str, path)) + f"={str(value)[:20]}")


@pytest.mark.parametrize(
    "plain",
    [
        wrong("kind", value="chainwatch bitcoin tracker"),
        wrong("version", value=2),
        wrong("chain", value=""),
        wrong("chain", value="x" * 51),
        wrong("settled", value=0),
        wrong("settled", value=2**63),
        wrong("hash", value="f" * 64),
        wrong("hash", value="F" * 64 + "\n"),
        wrong("hash", value="F" * 65),
        wrong("double_signs", value=[{}] * 3),
        wrong("tallies", "validators", "not an address", value=[]),
        wrong("tallies", "validators", A + "\n", value=[]),
        wrong("tallies", "validators", "a" * 40, value=[]),
        wrong("tallies", "validators", A, value=[-1]),
        wrong("tallies", "validators", A, value=[2**53 + 1]),
        wrong("tallies", "validators", A, value=[1.5]),
        wrong("tallies", "causes", A, value={"weather": 1}),
        wrong("tallies", "network", "cometbft_heights_settled_total", value={"watched": -1}),
        wrong("tallies", "network", 'evil"} 1\n', value={}),
        wrong("tallies", "changed", value={"joined": 1e300}),
        wrong("tallies", "set", "members", value=[]),
        wrong("tallies", "set", "members", 0, value=[A, 0]),
        wrong("tallies", "set", "members", 0, value=["<script>", 1]),
        wrong("tallies", "set", "members", 0, value=[B, 1]),
        wrong("tallies", "set", "members", 0, value=[A, MAX_POWER]),
        wrong("tallies", "set", "hash", value="x"),
    ],
)
def test_hostile_content_is_refused(plain: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "consensus.json"
    path.write_text(json.dumps(plain))
    file = StateFile(path, State)

    assert file.load() is None
    assert "damaged or of another program" in caplog.text
    file.close()


def test_the_content_that_the_hostile_ones_are_made_of_is_accepted() -> None:
    assert msgspec.convert(content(), State).settled == 4


def test_a_sound_set_has_no_problem() -> None:
    assert set_problem(validators((3, 2, 1))) is None
