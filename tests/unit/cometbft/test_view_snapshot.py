"""The document of the live view, from the recording of a halt."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from msgspec.structs import replace

from chainwatch.families.cometbft.consensus.model import (
    Condition,
    NodeCondition,
    SeenVote,
    Settled,
    Validator,
    ValidatorSet,
    Verdict,
)
from chainwatch.families.cometbft.consensus.tallies import Tallies
from chainwatch.families.cometbft.view.document import Snapshot
from chainwatch.families.cometbft.view.history import HEIGHTS, History
from chainwatch.families.cometbft.view.snapshot import MAX_NAME, ROUNDS, clean
from chainwatch.families.cometbft.view.words import percent, sentence

from .heights import FOUR, SPACING, Story, address
from .view_scene import HALTED, MEMBERS, NODE0, NODE1, NODE2, NODE3, NOW, WENT_ON, Scene, asked, halted, members

HEALTHY = NodeCondition(answering=True, catching_up=False, peers=4)


def marks(doc: Snapshot) -> dict[str, tuple[str, str]]:
    return {one.address: (one.prevote, one.precommit) for one in doc.validators}


def missing(doc: Snapshot) -> dict[str, float]:
    return {one.address: one.since for one in doc.missing}


# a halt


def test_a_halt_names_who_is_missing_and_since_when() -> None:
    doc = halted().take()
    assert missing(doc) == {NODE2: HALTED, NODE3: HALTED}
    assert [(one.name, one.power) for one in doc.missing] == [("node3", 10), ("node2", 10)]
    assert (doc.height, doc.round, doc.step) == (6, 0, "Prevote")
    assert doc.proposer is not None
    assert doc.proposer.name == "node0"
    assert (doc.prevoted, doc.precommitted) == (0.5, 0.0)
    assert doc.power is not None
    assert (doc.power.total, doc.power.two_thirds) == (40, 27)
    assert marks(doc) == {
        NODE3: ("none", "none"), NODE0: ("yes", "none"), NODE1: ("yes", "none"), NODE2: ("none", "none"),
    }  # fmt: skip
    assert doc.node.words == "Halted: no quorum. 50.0 % of the power has prevoted, more than 66.7 % is needed."


def test_after_a_restart_within_the_halt_the_votes_are_those_that_the_node_counts() -> None:
    scene = Scene()
    scene.play(until=HALTED - 1.4)  # the set is learnt
    current = scene.ledger.current
    assert current is not None
    assert current.number < 6
    scene.halt()
    doc = scene.take()
    assert (doc.height, doc.round, doc.step) == (6, 0, "Prevote")
    assert marks(doc) == {
        NODE3: ("none", "none"), NODE0: ("yes", "none"), NODE1: ("yes", "none"), NODE2: ("none", "none"),
    }  # fmt: skip
    assert set(missing(doc)) == {NODE2, NODE3}
    assert doc.proposer is None
    assert doc.rounds[0].prevotes is not None
    assert doc.rounds[0].prevotes.quorum_after_seconds is None


def test_an_exporter_that_started_within_the_halt_names_who_is_missing_by_the_standing_set() -> None:
    scene = Scene()
    scene.halt()
    assert scene.take().validators == []
    scene.standing_set = members()
    doc = scene.take()
    assert marks(doc) == {
        NODE3: ("none", "none"), NODE0: ("yes", "none"), NODE1: ("yes", "none"), NODE2: ("none", "none"),
    }  # fmt: skip
    assert missing(doc) == {NODE2: HALTED, NODE3: HALTED}
    assert doc.power is not None
    assert (doc.power.total, doc.power.two_thirds) == (40, 27)


def test_a_halt_is_told_by_the_set_that_stands_which_may_be_newer_than_the_settled_one() -> None:
    scene = halted()
    newcomer = "F" * 40
    scene.standing_set = ValidatorSet("", (Validator(newcomer, 30), *members().members))
    prevotes = {"prevotes": ["nil-Vote"] * 5, "prevotes_bit_array": "BA{5:__xx_} 20/70 = 0.29"}
    votes = [{"round": 0, **prevotes, "precommits": ["nil-Vote"] * 5, "precommits_bit_array": "BA{5:_____} 0/70 ="}]
    scene.standing = asked(height_vote_set=votes)
    scene.verdict = dataclasses.replace(scene.verdict, missing=(newcomer, NODE3, NODE2))
    doc = scene.take()
    assert set(missing(doc)) == {newcomer, NODE3, NODE2}
    assert doc.power is not None
    assert doc.power.total == 70
    assert doc.rounds[0].prevotes is not None
    assert (doc.rounds[0].prevotes.block, doc.rounds[0].prevotes.quorum) == (pytest.approx(20 / 70), False)


def test_without_a_look_at_who_stands_the_settled_set_is_shown() -> None:
    scene = halted()
    scene.standing = None
    scene.standing_set = ValidatorSet("", (Validator("A" * 40, 1),))
    assert set(marks(scene.take())) == set(MEMBERS)


def test_votes_of_another_set_are_counted_and_blamed_on_nobody() -> None:
    scene = Scene()
    scene.play(until=HALTED - 1.4)
    scene.halt()
    scene.verdict = Verdict(Condition.NO_QUORUM, HALTED, 6, 0, "Prevote", 0.5, 0.0)
    stranger = "Vote{1:AAAAAAAAAAAA 6/00/SIGNED_MSG_TYPE_PREVOTE(Prevote) A2D702A899B2 67C3257CA190 000000000000 @ x}"
    prevotes = {"prevotes": ["nil-Vote", stranger, "nil-Vote", "nil-Vote"], "prevotes_bit_array": "BA{4:_x__} 10/40 ="}
    votes = [{"round": 0, **prevotes, "precommits": [], "precommits_bit_array": ""}]
    scene.standing = asked(height_vote_set=votes)
    doc = scene.take()
    assert set(marks(doc).values()) == {("unknown", "unknown")}
    assert (doc.prevoted, doc.precommitted, doc.missing) == (0.25, None, [])
    assert doc.rounds[0].prevotes is None


def test_a_look_that_is_older_than_the_stream_is_let_go() -> None:
    scene = halted()
    scene.play(after=HALTED, until=WENT_ON + 3)
    doc = scene.take()
    assert doc.height is not None
    assert doc.height > 6
    assert doc.prevoted != 0.5


def test_the_halt_shows_in_the_interval_afterwards() -> None:
    scene = Scene()
    scene.play(until=WENT_ON + 5)
    intervals = {row.height: row.interval for row in scene.take().last_heights}
    assert intervals[6] == pytest.approx(26.4, abs=0.1)
    assert intervals[5] == pytest.approx(1.3, abs=0.3)


def test_a_consensus_failure_is_nobodys_absence() -> None:
    scene = halted()
    scene.verdict = Verdict(Condition.CONSENSUS_FAILURE, HALTED, 14, 0, "Commit", 1.0, 1.0)
    doc = scene.take()
    assert doc.missing == []
    assert doc.node.words.startswith("Consensus failure at height 14: the node answers, but cannot apply the block")


def test_a_halt_whose_verdict_names_nobody_names_those_whose_vote_is_not_there() -> None:
    scene = halted()
    scene.verdict = dataclasses.replace(scene.verdict, missing=())
    assert set(missing(scene.take())) == {NODE2, NODE3}


# while it runs


def test_before_anything_was_told_everything_is_unknown_and_nothing_is_zero() -> None:
    scene = Scene()
    scene.chain_id = None
    scene.node = NodeCondition(answering=False, catching_up=False, peers=None)
    scene.verdict = Verdict(Condition.UNKNOWN, NOW)
    doc = scene.take()
    assert (doc.height, doc.round, doc.step, doc.proposer, doc.power, doc.prevoted) == (None,) * 6
    assert (doc.rounds, doc.validators, doc.missing, doc.last_heights) == ([], [], [], [])
    assert (doc.node.catching_up, doc.node.peers, doc.node.height) == (None, None, None)
    assert doc.node.words == "Unknown: the node does not answer."


def test_votes_that_may_have_been_lost_are_unknown_and_not_none() -> None:
    scene = Scene()
    scene.play(until=HALTED)
    scene.ledger.interrupted(0)
    doc = scene.take()
    assert marks(doc)[NODE0] == ("yes", "unknown")
    assert marks(doc)[NODE2] == ("unknown", "unknown")
    assert (doc.prevoted, doc.rounds[0].prevotes) == (None, None)


def test_the_time_to_quorum_runs_from_the_proposal() -> None:
    scene = halted()
    current = scene.ledger.current
    assert current is not None
    seen = current.rounds[0]
    assert seen.proposal_seen is not None
    for voter, seconds in ((NODE2, 3.0), (NODE3, 4.0)):
        seen.prevotes[voter] = SeenVote(seen.proposal, seen.proposal_seen + seconds, 0.0)
    counted = scene.take().rounds[0].prevotes
    assert counted is not None
    assert (counted.block, counted.quorum, counted.quorum_after_seconds) == (1.0, True, 3.0)


def test_a_vote_of_the_next_round_does_not_begin_it() -> None:
    scene = Scene()
    scene.play(until=HALTED)
    current = scene.ledger.current
    assert current is not None
    later = type(current.rounds[0])(1)
    later.prevotes[NODE0] = SeenVote("", NOW, NOW)
    current.rounds[1] = later
    doc = scene.take()
    assert (doc.round, [entry.round for entry in doc.rounds]) == (0, [0])


def test_many_rounds_name_those_that_voted_in_none_and_stay_bounded() -> None:
    scene = Scene()
    scene.play(until=HALTED)
    current = scene.ledger.current
    assert current is not None
    first = current.rounds[0]
    for number in range(1, 60):
        entry = type(first)(number, started=HALTED + number)
        entry.prevotes |= {voter: SeenVote("", HALTED + number, 0.0) for voter in (NODE0, NODE1, NODE3)}
        current.rounds[number] = entry
    scene.verdict = Verdict(Condition.MANY_ROUNDS, HALTED)
    doc = scene.take()
    assert (doc.round, len(doc.rounds), doc.rounds[-1].round) == (59, ROUNDS, 59)
    assert missing(doc) == {NODE2: current.opened}
    assert doc.rounds[-1].prevotes is not None
    assert (doc.rounds[-1].prevotes.nil, doc.rounds[-1].prevotes.quorum) == (0.75, True)


@pytest.mark.parametrize("condition", [Condition.SYNCING, Condition.BEHIND, Condition.UNKNOWN])
def test_who_cannot_know_accuses_nobody(condition: Condition) -> None:
    scene = halted()
    scene.history.count(Story(5, absent=[1]).settled())
    scene.verdict = Verdict(condition, NOW)
    assert scene.take().missing == []


def test_own_validators_are_marked() -> None:
    assert [one.address for one in halted().take().validators if one.own] == [NODE0]
    assert [one.index for one in halted().take().validators] == [0, 1, 2, 3]


# the last heights


def test_misses_are_counted_in_a_row_since_the_first_block() -> None:
    history = History()
    for height in (1, 2, 3):
        history.count(Story(height, absent=[2]).settled())
    assert history.misses[address(2)].count == 3
    assert history.misses[address(2)].since == Story(1).settled().block.time
    history.count(Story(4, nil=[3]).settled())
    assert history.misses == {}
    assert history.rows[-1].nil == (address(3),)


def test_misses_in_a_row_go_on_after_a_restart_where_no_height_is_lacking() -> None:
    before = Tallies({})
    for height in (1, 2, 3):
        before.count(Story(height, absent=[2, 3] if height == 3 else [2]).settled(), HEALTHY)
    after = Tallies({})
    after.restore(before.save())

    history = History(3, after.missed_in_a_row)
    history.count(Story(4, absent=[0, 2]).settled())
    assert {voter: misses.count for voter, misses in history.misses.items()} == {address(0): 1, address(2): 4}
    history.count(Story(5, absent=[3]).settled())
    assert history.misses[address(3)].count == 1

    gap = History(3, after.missed_in_a_row)
    gap.count(Story(5, absent=[2]).settled())
    assert gap.misses[address(2)].count == 1


def test_whoever_missed_the_last_block_is_missing_while_the_chain_runs() -> None:
    scene = Scene()
    scene.play(until=HALTED)
    for height in range(10, 13):
        scene.history.count(recorded(Story(height, absent=[0]).settled()))
    doc = scene.take()
    assert missing(doc) == {NODE3: Story(10).settled().block.time}
    assert {one.address: one.consecutive_missed for one in doc.validators}[NODE3] == 3


def recorded(settled: Settled) -> Settled:
    """The same height, decided by the recording's members."""
    names = dict(zip((member.address for member in FOUR.members), MEMBERS, strict=True))
    signatures = {names[voter]: signature for voter, signature in settled.signatures.items()}
    return dataclasses.replace(settled, set=members(), signatures=signatures)


def test_the_history_is_bounded_and_begins_anew_with_another_chain() -> None:
    history = History()
    for height in range(1, 100):
        history.count(Story(height).settled())
    assert [row.height for row in history.rows] == list(range(100 - HEIGHTS, 100))
    assert history.rows[-1].interval == pytest.approx(SPACING)
    history.count(Story(1, absent=[1]).settled())
    assert [row.height for row in history.rows] == [1]
    assert history.misses[address(1)].count == 1


# names and numbers


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None), ("", None), ("Ångström 鯨", "Ångström 鯨"),
        ("a\x1b[31mb\r\nc\x00", "a�[31mb��c�"),
        ("\u202egnp.exe", "�gnp.exe"), ("\ud800", "�"), ("x" * 500, "x" * (MAX_NAME - 1) + "…"),
    ],
)  # fmt: skip
def test_a_name_is_bounded_and_steers_nothing(name: str | None, shown: str | None) -> None:
    assert clean(name) == shown


def test_the_document_can_be_encoded_whatever_the_names_are() -> None:
    scene = halted()
    scene.called = dict.fromkeys(MEMBERS, '"\ud800</script>\x00')
    doc = msgspec.json.decode(msgspec.json.encode(scene.take()), type=Snapshot)
    assert doc.missing[0].name == '"�</script>�'
    assert replace(doc, time=0.0).version == 1


@pytest.mark.parametrize(
    ("share", "text"),
    [(2 / 3, "66.6 %"), (0.5, "50.0 %"), (0.57, "57.0 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (0.9999, "99.9 %")],
)
def test_a_share_is_cut_so_that_two_thirds_never_look_like_enough(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("condition", list(Condition))
def test_every_condition_is_a_sentence(condition: Condition) -> None:
    for verdict in (Verdict(condition, 0.0), Verdict(condition, 0.0, 7, 3, "Precommit", 0.9, 2 / 3)):
        text = sentence(verdict, answering=True)
        assert text.endswith(".")
        assert "None" not in text
    assert condition is Condition.RUNNING or len(text) > 20


def test_a_set_without_power_is_no_set() -> None:
    scene = halted()
    assert scene.ledger.set is not None

    class Empty:
        current = scene.ledger.current
        set = ValidatorSet("", (Validator(NODE0, 0),))

    scene.ledger = Empty()  # type: ignore[assignment]
    doc = scene.take()
    assert (doc.power, doc.validators, doc.missing) == (None, [], [])
    assert doc.prevoted == 0.5
