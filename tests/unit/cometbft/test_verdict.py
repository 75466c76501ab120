"""Halts, dead consensus, lagging nodes and silence of other kinds, told apart; times are chosen, nothing waits."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chainwatch.families.cometbft.consensus.events import Block, Header, NewBlock, NewRound, RoundState
from chainwatch.families.cometbft.consensus.model import Condition, NodeCondition, Validator, ValidatorSet, Verdict
from chainwatch.families.cometbft.schema import RoundVotes
from chainwatch.families.cometbft.tracker.conditions import PATIENCE, Conditions
from chainwatch.families.cometbft.tracker.consensus_state import Standing, standing
from chainwatch.families.cometbft.tracker.pulse import Pulse
from chainwatch.families.cometbft.tracker.verdict import APPLYING, PROPOSING, Answer, Judge, Look, reached

T0 = 1_700_000_000.0
PATIENT = 5.0
MEMBERS = ValidatorSet("", tuple(Validator(letter * 40, 10) for letter in "ABCD"))
NOBODY = "BA{4:____} 0/40 = 0.00"
HALF = "BA{4:_xx_} 20/40 = 0.50"
ALL = "BA{4:xxxx} 40/40 = 1.00"
STEPS = {"NewHeight": 1, "NewRound": 2, "Propose": 3, "Prevote": 4, "Precommit": 6, "Commit": 8}


def stands(height: int, step: str, prevotes: str = NOBODY, precommits: str = NOBODY, number: int = 0) -> Standing:
    started = datetime.fromtimestamp(T0, UTC)
    votes = [RoundVotes(number, [], prevotes, [], precommits)]
    found = standing(f"{height}/{number}/{STEPS[step]}", started, votes)
    assert found is not None
    return found


def block(height: int) -> NewBlock:
    return NewBlock(Block(Header(height, datetime.fromtimestamp(T0, UTC))))


def step(height: int, name: str, number: int = 0) -> RoundState:
    return RoundState(height, number, f"RoundStep{name}", "NewRoundStep")


class Scene:
    """One watched node: events and looks at chosen times after T0, and the verdict."""

    def __init__(self) -> None:
        self.pulse = Pulse(T0)
        self.judge = Judge(T0)

    def event(self, at: float, event: NewBlock | NewRound | RoundState) -> None:
        self.pulse.take(event, T0 + at)
        if isinstance(event, NewBlock):
            self.judge.block(T0 + at)
        elif isinstance(event, NewRound):
            self.judge.round(event.round, T0 + at)

    def look(
        self,
        at: float,
        height: int | None,
        state: Standing | None = None,
        *,
        catching_up: bool = False,
        peers: int | None = 3,
        others: int = 0,
        patience: float = PATIENT,
    ) -> Verdict:
        answer = None if height is None else Answer(height, catching_up, peers)
        if height is not None:
            self.pulse.grew(height, T0 + at)
        if state is not None:
            self.pulse.looked(state, T0 + at)
        return self.judge.judge(Look(T0 + at, answer, state, MEMBERS, others), self.pulse, patience, T0 + at)

    @property
    def condition(self) -> Condition:
        return self.judge.verdict.condition


@pytest.fixture
def scene() -> Scene:
    """A chain that runs: block 5 came at 0, and consensus stands in Prevote of height 6."""
    scene = Scene()
    scene.look(0, 5)
    scene.event(0, block(5))
    scene.event(0.1, step(6, "NewHeight"))
    scene.event(1.0, NewRound(6, 0))
    scene.event(1.1, step(6, "Prevote"))
    return scene


def test_a_block_means_running_at_once() -> None:
    scene = Scene()
    assert scene.condition is Condition.UNKNOWN
    scene.event(1, block(5))
    assert scene.judge.verdict == Verdict(Condition.RUNNING, T0 + 1)
    scene.event(2, block(6))
    assert scene.judge.verdict.since == T0 + 1


def test_silence_within_patience_is_no_halt(scene: Scene) -> None:
    assert scene.look(6, 5, stands(6, "Prevote", HALF)).condition is Condition.RUNNING
    assert scene.look(30, 5, stands(6, "Prevote", HALF), patience=30).condition is Condition.RUNNING


def test_without_two_thirds_it_is_a_halt_and_the_missing_are_named(scene: Scene) -> None:
    verdict = scene.look(7, 5, stands(6, "Prevote", HALF))
    assert verdict == Verdict(Condition.NO_QUORUM, T0 + 1.1, 6, 0, "Prevote", 0.5, 0.0, ("A" * 40, "D" * 40))
    assert scene.look(60, 5, stands(6, "Prevote", HALF)).since == T0 + 1.1


def test_precommits_count_in_the_step_of_precommits(scene: Scene) -> None:
    scene.event(1.2, step(6, "Precommit"))
    verdict = scene.look(7, 5, stands(6, "Precommit", ALL, HALF))
    assert (verdict.condition, verdict.prevoted, verdict.precommitted) == (Condition.NO_QUORUM, 1.0, 0.5)


def test_a_trickling_vote_does_not_end_a_halt_and_movement_does(scene: Scene) -> None:
    scene.look(7, 5, stands(6, "Prevote", HALF))
    assert scene.look(8, 5, stands(6, "Prevote", "BA{4:_x__} 10/40 = 0.25")).condition is Condition.NO_QUORUM
    scene.event(9, step(6, "Precommit"))
    assert scene.look(9.5, 5, stands(6, "Precommit", ALL)).condition is Condition.RUNNING


def test_the_log_tells_of_a_halt_and_its_end_once_and_of_failing_rounds_not_at_all(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for at in (7, 8, 9):
        scene.look(at, 5, stands(6, "Prevote", HALF))
    scene.event(10, block(6))
    scene.event(13, NewRound(7, 2))
    scene.event(14, block(7))
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.levelno > logging.DEBUG]
    assert told == [
        ("WARNING", "the chain's condition is no_quorum, it was running; see /consensus"),
        ("INFO", "the chain's condition is running, it was no_quorum; see /consensus"),
    ]


def test_a_halt_ends_with_the_next_block(scene: Scene) -> None:
    scene.look(7, 5, stands(6, "Prevote", HALF))
    scene.event(8, block(6))
    assert scene.judge.verdict == Verdict(Condition.RUNNING, T0 + 8)


def test_standing_still_with_the_votes_there_is_another_halt(scene: Scene) -> None:
    assert scene.look(7, 5, stands(6, "Prevote", ALL)).condition is Condition.STUCK_WITH_QUORUM


def test_a_stored_block_that_is_not_applied_is_a_consensus_failure_if_that_lasts(scene: Scene) -> None:
    scene.event(1.3, step(6, "Commit"))
    scene.look(2, 6)  # stored
    assert scene.look(8, 6, stands(6, "Commit", ALL, ALL)).condition is Condition.RUNNING
    assert scene.look(8 + APPLYING / 2, 6, stands(6, "Commit", ALL, ALL)).condition is Condition.RUNNING
    verdict = scene.look(8 + APPLYING, 6, stands(6, "Commit", ALL, ALL))
    assert (verdict.condition, verdict.height, verdict.step) == (Condition.CONSENSUS_FAILURE, 6, "Commit")


def test_a_dead_consensus_is_called_that_though_the_others_go_on(scene: Scene) -> None:
    scene.event(1.3, step(6, "Commit"))
    scene.look(2, 6, others=6)
    for at in range(7, 20):
        scene.look(at, 6, stands(6, "Commit", ALL, ALL), others=40)
    assert scene.condition is Condition.CONSENSUS_FAILURE


def test_a_node_that_others_have_left_behind_is_behind(scene: Scene) -> None:
    assert scene.look(2, 5, others=9).condition is Condition.RUNNING  # it may come in a moment
    assert scene.look(7.5, 5, stands(6, "Prevote", HALF), others=9).condition is Condition.BEHIND
    scene.event(8, block(6))  # catching up by gossip
    assert scene.look(8.5, 6).condition is Condition.BEHIND
    assert scene.look(9, 9).condition is Condition.RUNNING


def test_a_fast_chain_that_is_two_blocks_further_at_each_look_is_not_behind(scene: Scene) -> None:
    for at in range(1, 30):
        scene.event(at, block(5 + 28 * at))
        assert scene.look(at, 5 + 28 * at, others=7 + 28 * at).condition is Condition.RUNNING


@pytest.mark.parametrize("lag", [20, 110])
def test_a_node_that_stays_as_far_behind_as_it_is_goes_on_being_behind(scene: Scene, lag: int) -> None:
    found = []
    for at in range(1, 400):
        scene.event(at, block(5 + at))
        found.append(scene.look(at, 5 + at, others=5 + at + lag).condition)
    assert set(found[: int(PATIENT)]) == {Condition.RUNNING}
    assert set(found[int(PATIENT) + 1 :]) == {Condition.BEHIND}


def test_a_node_of_a_fast_chain_that_was_behind_for_a_while_is_so_no_longer(scene: Scene) -> None:
    for at in range(1, 11):
        scene.look(at, 5, stands(6, "Prevote", HALF), others=7 + 28 * at)
    assert scene.condition is Condition.BEHIND
    for at in range(11, 30):
        scene.event(at, block(5 + 28 * at))
        scene.look(at, 5 + 28 * at, others=7 + 28 * at)
    assert scene.condition is Condition.RUNNING


def test_one_block_ahead_is_what_gossip_brings_and_yet_no_halt(scene: Scene) -> None:
    for at in range(2, 40):
        state = stands(6, "Prevote", HALF) if at > 1.1 + PATIENT else None
        found = scene.look(at, 5, state, others=6).condition
        assert found is (Condition.UNKNOWN if state else Condition.RUNNING)


@pytest.mark.parametrize("spacing", [1.0, 6.0, 10.0])
def test_a_node_that_hangs_within_a_chain_that_runs_is_behind_and_its_chain_not_halted(
    scene: Scene, spacing: float
) -> None:
    patience = max(PATIENT, 3 * spacing)
    found = []
    for at in range(1, 60):
        state = stands(6, "Prevote", HALF) if at - 1.1 > patience else None
        verdict = scene.look(at, 5, state, others=5 + int(at / spacing), patience=patience)
        found.append((verdict.condition, at))
    assert {condition for condition, _ in found} == {Condition.RUNNING, Condition.BEHIND}
    assert next(at for condition, at in found if condition is Condition.BEHIND) <= 1.1 + patience + 1


def test_a_halt_that_others_left_behind_is_no_halt_any_more(scene: Scene) -> None:
    assert scene.look(7, 5, stands(6, "Prevote", HALF), others=5).condition is Condition.NO_QUORUM
    assert scene.look(8, 5, stands(6, "Prevote", HALF), others=6).condition is Condition.UNKNOWN
    assert scene.look(9, 5, stands(6, "Prevote", HALF), others=7).condition is Condition.BEHIND


def test_votes_that_suffice_do_not_make_a_halt_of_a_chain_that_goes_on(scene: Scene) -> None:
    assert scene.look(7, 5, stands(6, "Prevote", ALL), others=6).condition is Condition.UNKNOWN


def test_a_node_that_slept_until_a_transaction_came_is_not_behind_at_once(scene: Scene) -> None:
    scene.event(1.2, step(6, "NewRound"))
    for at in (3000, 3001):
        assert scene.look(at, 5, stands(6, "NewRound"), others=7).condition is Condition.RUNNING
    assert scene.look(3000 + PATIENT, 5, stands(6, "NewRound"), others=9).condition is Condition.BEHIND


def test_a_single_peer_cannot_make_a_node_look_behind() -> None:
    assert reached([9999, 5, 5, 5]) == 5
    assert reached([9, 9, 5, 5, 5]) == 9
    assert reached([9]) == 9
    assert reached([]) == 0


def test_catching_up_is_syncing_whatever_comes(scene: Scene) -> None:
    assert scene.look(2, 5, catching_up=True).condition is Condition.SYNCING
    scene.event(2.1, block(6))
    assert scene.condition is Condition.SYNCING
    assert scene.look(3, 6).condition is Condition.RUNNING


def test_a_node_that_does_not_answer_is_unknown_unless_its_events_came_meanwhile(scene: Scene) -> None:
    scene.event(5, block(6))
    assert scene.look(4, None).condition is Condition.RUNNING
    assert scene.look(6, None) == Verdict(Condition.UNKNOWN, T0 + 6)


def test_a_node_that_was_frozen_gets_time_to_move_before_its_chain_is_called_halted(scene: Scene) -> None:
    scene.look(6, None)
    assert scene.look(40, 5, stands(6, "Prevote", HALF)).condition is Condition.UNKNOWN
    scene.event(41, step(6, "Precommit"))
    assert scene.look(41.5, 5, stands(6, "Precommit", ALL)).condition is Condition.RUNNING


def test_an_exporter_that_starts_within_a_halt_finds_it_and_never_says_running() -> None:
    scene = Scene()
    for at in range(5):
        assert scene.look(at, 5, stands(6, "Prevote", HALF)).condition is Condition.UNKNOWN
    assert scene.look(6, 5, stands(6, "Prevote", HALF)).condition is Condition.NO_QUORUM


def test_rounds_that_fail_are_told_at_once_and_end_with_a_block(scene: Scene) -> None:
    scene.event(3, NewRound(6, 1))
    assert scene.condition is Condition.RUNNING
    scene.event(6, NewRound(6, 2))
    assert scene.condition is Condition.MANY_ROUNDS
    assert scene.look(7, 5).condition is Condition.MANY_ROUNDS
    scene.event(8, block(6))
    assert scene.condition is Condition.RUNNING


def test_waiting_for_the_proposal_of_a_later_round_is_many_rounds_and_no_halt(scene: Scene) -> None:
    scene.event(6, NewRound(6, 3))
    scene.event(6, step(6, "Propose", 3))
    assert scene.look(15, 5, stands(6, "Propose", number=3)).condition is Condition.MANY_ROUNDS


@pytest.mark.parametrize("name", ["NewHeight", "NewRound", "Propose"])
def test_waiting_for_timeout_transactions_or_proposal_is_no_halt(scene: Scene, name: str) -> None:
    scene.event(1.2, step(7, name))
    scene.look(1.5, 6)
    assert scene.look(1.2 + PROPOSING - 5, 6, stands(7, name)).condition is Condition.RUNNING


@pytest.mark.parametrize("started", [T0, T0 + 7200], ids=["its clock is right", "its clock is ahead"])
def test_timeout_commit_that_never_ends_is_no_running_chain(scene: Scene, started: float) -> None:
    scene.event(1.2, step(7, "NewHeight"))
    scene.look(1.5, 6)
    state = replace(stands(7, "NewHeight"), started=started)
    assert scene.look(1.2 + PROPOSING - 5, 6, state).condition is Condition.RUNNING
    assert scene.look(2.0 + PROPOSING + PATIENT, 6, state).condition is Condition.NO_QUORUM


def test_before_the_first_block_a_node_waits_for_genesis_for_days() -> None:
    scene = Scene()
    scene.event(1, step(1, "NewHeight"))
    state = replace(stands(1, "NewHeight"), started=T0 + 86400)
    assert scene.look(80000, 0, state).condition is Condition.RUNNING


def test_a_proposal_that_never_comes_is_a_halt_in_the_end(scene: Scene) -> None:
    scene.event(1.2, step(7, "Propose"))
    scene.look(1.5, 6)
    assert scene.look(2 + PROPOSING, 6, stands(7, "Propose")).condition is Condition.NO_QUORUM


def test_a_node_that_hears_nobody_cannot_know(scene: Scene) -> None:
    assert scene.look(7, 5, stands(6, "Prevote", "BA{4:_x__} 10/40 = 0.25"), peers=0).condition is Condition.UNKNOWN


def test_where_the_node_does_not_tell_how_consensus_stands_silence_is_unknown(scene: Scene) -> None:
    assert scene.look(7, 5, None).condition is Condition.UNKNOWN


def test_a_halt_stays_one_while_a_look_fails(scene: Scene) -> None:
    scene.look(7, 5, stands(6, "Prevote", HALF))
    assert scene.look(8, 5, None).condition is Condition.NO_QUORUM


def test_a_status_that_rises_is_movement_without_any_stream() -> None:
    scene = Scene()
    for at in range(0, 30, 3):
        scene.look(at, 5 + at, stands(6 + at, "Prevote", HALF))
    assert scene.condition is Condition.RUNNING


# The node's own condition over time


def test_the_worst_of_a_time_counts() -> None:
    conditions = Conditions()
    assert not conditions.latest.answering
    for at, catching_up, peers in ((0, False, 10), (1, False, 3), (2, True, 12), (3, False, 12)):
        conditions.asked(T0 + at)
        conditions.answered(catching_up, peers)
    assert conditions.during(T0, T0 + 3) == NodeCondition(True, True, 3)
    assert conditions.during(T0 + 3, T0 + 9) == NodeCondition(True, False, 12)
    assert conditions.during(T0 - 9, T0 - 5) == NodeCondition(True, False, None)  # nobody watched
    assert conditions.during(T0 + 2.5, T0 + 2.6) == NodeCondition(True, True, 12)


def test_peers_that_cannot_be_counted_leave_a_node_answering() -> None:
    conditions = Conditions()
    conditions.found_peers(3, T0)
    assert conditions.latest.peers is None  # it never answered
    conditions.asked(T0)
    conditions.answered(False, 4)
    conditions.found_peers(None, T0)
    assert conditions.latest == NodeCondition(True, False, None)
    conditions.found_peers(2, T0 + 5)
    assert conditions.during(T0 + 5, T0 + 6) == NodeCondition(True, False, 2)


def test_a_question_that_is_out_for_long_is_not_answered() -> None:
    conditions = Conditions()
    conditions.asked(T0)
    conditions.answered(False, 4)
    conditions.asked(T0 + 10)
    assert conditions.during(T0 + 9, T0 + 10 + PATIENCE / 2).answering
    assert not conditions.during(T0 + 9, T0 + 11 + PATIENCE).answering
    conditions.failed()
    assert not conditions.during(T0 + 10, T0 + 10.5).answering
    conditions.asked(T0 + 20)
    conditions.answered(False, 4)
    assert conditions.during(T0 + 21, T0 + 22) == NodeCondition(True, False, 4)
