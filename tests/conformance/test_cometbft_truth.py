"""Every recorded scenario, replayed: what the ledger settles is what the chain itself said afterwards (truth.json)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from chainwatch.families.cometbft.consensus.attribution import attribute
from chainwatch.families.cometbft.consensus.events import (
    FLAG_ABSENT,
    FLAG_COMMIT,
    FLAG_NIL,
    PRECOMMIT,
    PREVOTE,
    Block,
    BlockId,
    Commit,
    CommitSig,
    NewBlock,
    NewBlockHeader,
)
from chainwatch.families.cometbft.consensus.model import (
    Cause,
    DoubleSign,
    EvidenceType,
    FillReason,
    How,
    NodeCondition,
    Proof,
    Result,
    Settled,
    ValidatorSet,
)

from .cometbft_replay import Replayed, Told, TrueHeight, Truth, feed, new, replay, sets_of, told, truth

HEALTHY = NodeCondition(answering=True, catching_up=False, peers=4)
FLAGS = {Result.ABSENT: FLAG_ABSENT, Result.BLOCK: FLAG_COMMIT, Result.NIL: FLAG_NIL}
# Scenario, the files of its vantage points, and the heights that its recording settles.
RECORDINGS: list[tuple[str, tuple[str, ...], range]] = [
    ("happy", ("full",), range(3, 27)),
    ("happy", ("node0",), range(3, 27)),
    ("happy", ("full", "node0"), range(3, 27)),
    ("one_validator_down", ("full",), range(3, 18)),
    ("one_validator_killed", ("full",), range(3, 21)),
    ("flapping", ("full",), range(3, 23)),
    ("flapping", ("node0",), range(3, 23)),
    ("flapping", ("full", "node0"), range(3, 23)),
    ("halt", ("full",), range(3, 10)),
    ("halt", ("node0",), range(3, 10)),
    ("halt", ("full", "node0"), range(3, 10)),
    ("nil_votes", ("full",), range(3, 18)),
    ("many_rounds", ("full",), range(3, 10)),
    ("valset_change", ("full",), range(3, 26)),
    ("double_sign", ("full",), range(3, 20)),
    ("consensus_failure", ("full",), range(3, 13)),
    ("consensus_failure", ("node0",), range(3, 13)),
    ("consensus_failure", ("full", "node0"), range(3, 13)),
]
recordings = pytest.mark.parametrize(
    ("scenario", "files", "heights"), RECORDINGS, ids=[f"{name}: {'+'.join(files)}" for name, files, _ in RECORDINGS]
)


def agrees(settled: Settled, true: TrueHeight) -> None:
    """Assert that a settled height says what the chain said."""
    assert {address: FLAGS[signature.result] for address, signature in settled.signatures.items()} == true.flags
    assert list(settled.absent) == true.absent
    assert [a for a, signature in settled.signatures.items() if signature.result is Result.NIL] == true.nil
    assert (settled.block.hash, settled.block.proposer, settled.round) == (true.hash, true.proposer, true.round)
    assert settled.block.transactions == true.transactions
    assert settled.block.empty == (true.transactions == 0)
    assert settled.set.members == true.members
    assert len(settled.misbehaviour) == len(true.evidence)


def addresses(scenario: str, *names: str) -> list[str]:
    return [truth(scenario).addresses[name] for name in names]


def rounds(replayed: Replayed, height: int) -> dict[int, str]:
    """The proposer of each round that was seen of a height, by number of the round."""
    seen = replayed.settled[height].seen
    assert seen is not None
    return {number: one.proposer for number, one in sorted(seen.rounds.items())}


def restarted(*files: str) -> list[Told]:
    """The recordings of one node, one after the other: each is a new connection."""
    lines: list[Told] = []
    for name in files:
        part = [line._replace(vantage=0) for line in told("restart", name)]
        lines += [Told(part[0].seen, 0, None), *part]
    return lines


@recordings
def test_every_settled_height_is_what_the_chain_says(scenario: str, files: tuple[str, ...], heights: range) -> None:
    replayed, true = replay(scenario, *files), truth(scenario)
    assert replayed.order == list(heights)
    for height, settled in replayed.settled.items():
        if true.heights[height].canonical:
            agrees(settled, true.heights[height])
    assert replayed.ledger.counters.refused == replayed.ledger.counters.reorgs == replayed.ledger.counters.foreign == 0


@recordings
def test_all_heights_of_a_node_in_sync_are_watched_and_the_prevotes_known(
    scenario: str, files: tuple[str, ...], heights: range
) -> None:
    for settled in replay(scenario, *files).settled.values():
        assert settled.how is How.WATCHED
        assert settled.prevotes is not None


@recordings
def test_the_proposer_of_the_round_that_won_is_the_one_in_the_header(
    scenario: str, files: tuple[str, ...], heights: range
) -> None:
    replayed = replay(scenario, *files)
    for height, settled in replayed.settled.items():
        assert rounds(replayed, height)[settled.round] == settled.block.proposer


@recordings
def test_no_vote_in_time_was_left_out_in_any_recording(scenario: str, files: tuple[str, ...], heights: range) -> None:
    assert not any(settled.left_out for settled in replay(scenario, *files).settled.values())


@pytest.mark.parametrize("files", [("full",), ("node0",), ("full", "node0")])
def test_a_healthy_chain_misses_nothing_and_accuses_nobody(files: tuple[str, ...]) -> None:
    replayed = replay("happy", *files)
    for settled in replayed.settled.values():
        assert (settled.round, list(settled.absent), settled.unseen) == (0, [], frozenset())
        assert settled.prevotes is not None
        assert set(settled.prevotes.values()) == {Result.BLOCK}
        assert settled.seen is not None
        assert len(settled.seen.rounds[0].prevotes) == len(settled.seen.rounds[0].precommits) == 4
    assert replayed.double_signs == []


def test_the_second_vantage_point_tells_every_vote_again_and_none_twice() -> None:
    one, two = replay("happy", "full"), replay("happy", "full", "node0")
    assert one.ledger.counters.duplicates == 0
    assert two.ledger.counters.duplicates > 180
    assert two.ledger.counters.late == 0


@pytest.mark.parametrize("scenario", ["happy", "halt", "flapping", "many_rounds", "nil_votes", "valset_change"])
def test_no_double_sign_is_claimed_where_there_was_none(scenario: str) -> None:
    assert replay(scenario).double_signs == []


@pytest.mark.parametrize(("scenario", "last"), [("one_validator_down", 15), ("one_validator_killed", 16)])
def test_a_stopped_validator_is_absent_and_its_signer_is_blamed(scenario: str, last: int) -> None:
    (node3,) = addresses(scenario, "node3")
    missed = [settled for settled in replay(scenario).settled.values() if settled.absent]
    assert [settled.block.height for settled in missed] == list(range(5, last + 1))
    assert {attribute(settled, node3, HEALTHY) for settled in missed} == {Cause.SIGNER}


def test_the_same_misses_are_the_nodes_fault_while_the_watched_node_is_not_well() -> None:
    (node3,) = addresses("one_validator_down", "node3")
    missed = [settled for settled in replay("one_validator_down").settled.values() if settled.absent]
    for condition in (NodeCondition(False, False, None), NodeCondition(True, True, 4), NodeCondition(True, False, 0)):
        assert {attribute(settled, node3, condition) for settled in missed} == {Cause.NODE}


@pytest.mark.parametrize(
    ("scenario", "failed"), [("one_validator_down", [5, 9, 13]), ("one_validator_killed", [5, 9, 13, 17])]
)
def test_a_failed_round_names_the_dead_proposer_that_no_header_names(scenario: str, failed: list[int]) -> None:
    (node3,) = addresses(scenario, "node3")
    replayed = replay(scenario)
    assert [height for height, settled in replayed.settled.items() if settled.round] == failed
    for height in failed:
        settled = replayed.settled[height]
        assert settled.seen is not None
        assert rounds(replayed, height)[0] == node3 != settled.block.proposer
        assert settled.seen.rounds[0].timed_out
        # At 17 the woken validator's proposal came, after the time for it.
        assert settled.seen.rounds[0].proposal_in_time is (False if height == 17 else None)


def test_a_nil_precommit_is_seen_as_such_and_is_not_an_absence() -> None:
    (node3,) = addresses("one_validator_down", "node3")
    settled = replay("one_validator_down").settled[16]
    assert settled.signatures[node3].result is Result.NIL
    assert settled.absent == []
    (node3,) = addresses("nil_votes", "node3")
    replayed = replay("nil_votes")
    nil = [height for height, one in replayed.settled.items() if one.signatures[node3].result is Result.NIL]
    assert nil == [3, 4, 6, 8, 10, 11, 13, 14, 15, 17]
    assert not any(one.absent or one.round for one in replayed.settled.values())


@pytest.mark.parametrize("files", [("full",), ("node0",), ("full", "node0")])
def test_a_vote_that_no_node_published_is_unseen_and_not_missed(files: tuple[str, ...]) -> None:
    (node3,) = addresses("flapping", "node3")
    replayed = replay("flapping", *files)
    assert {height: set(one.unseen) for height, one in replayed.settled.items() if one.unseen} == {
        8: {node3}, 20: {node3},
    }  # fmt: skip
    assert [height for height, one in replayed.settled.items() if one.signatures[node3].result is Result.NIL] == [6, 18]
    assert not any(settled.absent for settled in replayed.settled.values())


@pytest.mark.parametrize("files", [("full",), ("node0",), ("full", "node0")])
def test_after_a_halt_only_the_gap_in_time_tells_of_it(files: tuple[str, ...]) -> None:
    replayed = replay("halt", *files)
    seen = [settled.seen for settled in replayed.settled.values()]
    blocks = [height.committed_seen for height in seen if height is not None and height.committed_seen is not None]
    gaps = {height: after - before for height, (before, after) in enumerate(pairwise(blocks), 3)}
    assert [height for height, gap in gaps.items() if gap > 3] == [5], "block 6 came long after block 5"
    assert gaps[5] > 25
    assert not any(settled.absent or settled.round or settled.unseen for settled in replayed.settled.values())


def test_all_failed_rounds_of_a_hasty_chain_are_seen() -> None:
    replayed = replay("many_rounds")
    assert [settled.round for settled in replayed.settled.values()] == [6, 5, 4, 4, 4, 5, 5]
    for height, settled in replayed.settled.items():
        assert list(rounds(replayed, height))[: settled.round + 1] == list(range(settled.round + 1))


def test_changes_of_the_set_hold_from_their_heights_and_no_leaver_is_missing() -> None:
    node1, node3, node4 = addresses("valset_change", "node1", "node3", "node4")
    replayed = replay("valset_change")
    sets = {height: settled.set for height, settled in replayed.settled.items()}
    changed = [height for height in sets if height > 3 and sets[height].members != sets[height - 1].members]
    assert changed == [7, 12, 17, 22]
    assert [member.address for member in sets[7].members].index(node1) == 0
    assert sets[7].powers()[node1] == 25
    assert [height for height in sets if node3 not in sets[height].powers()] == list(range(12, 22))
    assert [height for height in sets if node4 in sets[height].powers()] == list(range(17, 26))
    assert not any(settled.absent for settled in replayed.settled.values())


def test_one_double_sign_is_told_once_and_its_evidence_stands_in_its_block() -> None:
    (node3,) = addresses("double_sign", "node3")
    replayed = replay("double_sign")
    assert replayed.double_signs == [DoubleSign(node3, 11, 0, PREVOTE, Proof.EVIDENCE)]
    pieces = {height: one.misbehaviour for height, one in replayed.settled.items() if one.misbehaviour}
    assert list(pieces) == [12]
    assert [(piece.type, piece.validators) for piece in pieces[12]] == [(EvidenceType.DUPLICATE_VOTE, (node3,))]
    assert replayed.settled[13].set.powers()[node3] == 10
    assert replayed.settled[14].set.powers()[node3] == 9


def test_two_vantage_points_prove_double_signs_before_and_without_any_evidence() -> None:
    (node3,) = addresses("consensus_failure", "node3")
    replayed = replay("consensus_failure", "full", "node0")
    proofs = {(one.validator, one.height, one.round, one.type): one.proof for one in replayed.double_signs}
    assert proofs == {
        (node3, 10, 0, PREVOTE): Proof.EVIDENCE,
        (node3, 11, 0, PREVOTE): Proof.VANTAGE,
        (node3, 12, 0, PRECOMMIT): Proof.VANTAGE,
        (node3, 13, 0, PRECOMMIT): Proof.VANTAGE,
        (node3, 14, 0, PRECOMMIT): Proof.VANTAGE,
    }  # fmt: skip
    assert len(replayed.double_signs) == 5


def test_when_consensus_died_the_standing_height_has_its_votes_and_no_block() -> None:
    replayed = replay("consensus_failure")
    current = replayed.ledger.current
    assert current is not None
    assert (current.number, current.committed_seen) == (14, None)
    assert "Commit" in current.rounds[0].steps
    assert list(replayed.ledger.missing(14)) == [13], "its commit stands in block 14, which nobody could apply"


def test_a_restarted_node_brings_bursts_without_votes_then_precommits_alone_and_accuses_nobody() -> None:
    replayed = feed(new(), restarted("life1_sigterm", "life1_after", "life2_sigkill"), sets_of(truth("restart")))
    assert replayed.order == list(range(3, 14))
    how = {height: settled.how for height, settled in replayed.settled.items()}
    assert how == dict.fromkeys(range(3, 7), How.WATCHED) | dict.fromkeys(range(7, 14), How.PARTIAL)
    for height, settled in replayed.settled.items():
        agrees(settled, truth("restart").heights[height])
        assert not settled.absent
        assert not settled.unseen
        assert (settled.prevotes is None) == (height > 6)
    assert replayed.double_signs == []
    votes = {height: _votes(settled) for height, settled in replayed.settled.items()}
    assert [height for height, (prevotes, precommits) in votes.items() if not prevotes and not precommits] == [7, 8]
    assert [height for height, (prevotes, precommits) in votes.items() if precommits and not prevotes] == [
        9,
        10,
        11,
        12,
        13,
    ]


def test_an_exporter_that_was_away_is_filled_exactly_once() -> None:
    true = truth("happy")
    lines = told("happy", "full")
    first = feed(new(), [line for line in lines if _height(line) <= 9], sets_of(true))
    stopped, stopped_hash = first.ledger.settled, first.ledger.settled_hash
    second = new(settled=stopped, hash=stopped_hash, chain_id=true.chain_id)
    feed(second, [line for line in lines if _height(line) >= 17], sets_of(true))
    assert second.order == []
    for height in list(second.ledger.missing(26)):
        second.ledger.fill(*_as_read(true, height), FillReason.EXPORTER)
        for name, at in second.ledger.wanted_sets().items():
            validators = sets_of(true)(name, at)
            assert validators is not None
            second.ledger.learn(validators)
    assert first.order + second.order == list(range(3, 27))
    assert Counter(settled.how for settled in second.settled.values()) == {How.FILLED: 8, How.WATCHED: 10}
    for height in first.order + second.order:
        settled = (first.settled | second.settled)[height]
        assert [FLAGS[settled.signatures[member.address].result] for member in settled.set.members] == [2] * 4


def test_headers_alone_settle_nothing_and_leave_the_heights_to_be_filled() -> None:
    lines = told("syncing", "full")
    assert any(isinstance(line.event, NewBlockHeader) for line in lines)
    replayed = feed(new(settled=1, hash="0" * 64), lines, lambda name, height: None)
    assert replayed.order == replayed.double_signs == []
    newest = max(_height(line) for line in lines)
    assert replayed.ledger.missing(newest) == range(2, newest)
    assert replayed.ledger.wanted_sets() == {}


@pytest.mark.parametrize("pause", ["pause1_slow", "pause2_slow"])
def test_heights_that_a_slow_reader_lost_are_watched_by_nobody(pause: str) -> None:
    lines = told("slow_client", pause)
    replayed = feed(new(), [*lines, Told(lines[-1].seen, 0, None)], lambda name, height: None)
    assert replayed.order == replayed.double_signs == []
    unended = [height for height in replayed.ledger.heights.values() if not height.ended_by]
    assert not any(height.watched_by for height in unended)


def test_one_query_for_all_events_shows_the_same_as_many_subscriptions_with_their_copies() -> None:
    lines = told("queries", "full")
    members = truth("happy").heights[3].members  # the same four validators
    both = []
    for part in ([line for line in lines if line.connection == "O"], lines):
        replayed = feed(new(), part, lambda name, height: ValidatorSet(name, members))
        assert replayed.order == [3]
        assert replayed.double_signs == []
        both.append(replayed)
    only_o, all_queries = (replayed.settled[3] for replayed in both)
    assert only_o.round == all_queries.round == 4
    assert only_o.how is all_queries.how is How.WATCHED
    assert only_o.signatures == all_queries.signatures
    assert [both[0].ledger.counters.duplicates, both[1].ledger.counters.duplicates > 0] == [0, True]


def _votes(settled: Settled) -> tuple[int, int]:
    """How many prevotes and precommits were seen of a height."""
    rounds = settled.seen.rounds.values() if settled.seen else ()
    return sum(len(one.prevotes) for one in rounds), sum(len(one.precommits) for one in rounds)


def _height(line: Told) -> int:
    event = line.event
    if isinstance(event, NewBlock):
        return event.block.header.height
    return event.header.height if isinstance(event, NewBlockHeader) else event.height if event else 0


def _as_read(true: Truth, height: int) -> tuple[Block, str, Commit]:
    """A height as /block and /commit would tell it."""
    known = true.heights[height]
    signatures = [CommitSig(flag, address) for address, flag in known.flags.items()]
    event = next(
        line.event for line in told("happy", "full") if isinstance(line.event, NewBlock) and _height(line) == height
    )
    return event.block, known.hash, Commit(height, known.round, BlockId(known.hash), signatures)
