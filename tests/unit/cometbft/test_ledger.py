"""Heights are settled in order, once, by the commit of the next block, whatever the streams do."""

from __future__ import annotations

import logging

import msgspec
import pytest

from chainwatch.errors import BadReply
from chainwatch.families.cometbft.consensus.events import FLAG_ABSENT, FLAG_NIL, Block, BlockId, NewBlock
from chainwatch.families.cometbft.consensus.model import FillReason, How, Result, Validator, ValidatorSet
from chainwatch.families.cometbft.consensus.queue import KEPT_SETS, MAX_PENDING

from .ledger_chain import (
    CHAIN,
    FOUR,
    address,
    at,
    block,
    block_hash,
    commit,
    heard,
    new_block,
    new_header,
    seen_of,
)

NODE, EXPORTER = FillReason.NODE, FillReason.EXPORTER


def test_a_height_is_settled_by_the_next_block_and_not_by_its_own() -> None:
    chain = heard()
    chain.follow(1)
    assert chain.heights == []
    chain.follow(2)
    assert chain.heights == [1]


def test_the_commit_tells_who_signed_who_voted_nil_and_who_was_absent() -> None:
    chain = heard()
    chain.follow(5)
    chain.take(new_block(6, {1: FLAG_ABSENT, 2: FLAG_NIL}))
    (settled,) = chain.settled
    assert [settled.signatures[address(who)].result for who in range(4)] == [
        Result.BLOCK,
        Result.ABSENT,
        Result.NIL,
        Result.BLOCK,
    ]
    assert settled.absent == [address(1)]
    assert settled.signatures[address(1)].timestamp is None
    assert settled.signatures[address(0)].timestamp == pytest.approx(at(5, 1.8))


def test_a_settled_height_carries_what_its_block_says() -> None:
    chain = heard()
    chain.follow(5, 6)
    (settled,) = chain.settled
    assert (settled.block.hash, settled.block.proposer) == (block_hash(5), address(1))
    assert (settled.block.time, settled.block.empty, settled.round) == (at(5), True, 0)
    assert chain.ledger.set == FOUR
    assert (chain.ledger.settled, chain.ledger.settled_hash) == (5, block_hash(5))


def test_the_first_start_begins_with_the_first_height_that_can_be_settled() -> None:
    chain = heard()
    chain.take(new_block(7), new_block(8), new_block(9))
    assert chain.heights == [7, 8]


def test_nothing_is_missing_before_the_first_height_was_settled() -> None:
    chain = heard()
    chain.take(new_block(7))
    assert not chain.ledger.missing(5000)


def test_a_ledger_that_no_stream_tells_anything_begins_where_it_is_told() -> None:
    chain = heard()
    chain.ledger.begin(7)
    assert chain.ledger.missing(10) == range(8, 10)
    chain.ledger.fill(block(8), block_hash(8), commit(8), NODE)
    chain.serve()
    assert chain.heights == [8]
    assert chain.given_up == []


def test_a_ledger_that_has_begun_does_not_begin_again() -> None:
    chain = heard()
    chain.follow(3, 4)
    chain.ledger.begin(100)
    assert chain.ledger.settled == 3
    for impossible in (0, -1, 2**63):
        new = heard()
        new.ledger.begin(impossible)
        assert new.ledger.settled == 0


def test_the_first_height_is_one_that_the_watched_node_vouches_for() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(5000, 5001, 5002, vantage=1)
    assert chain.heights == []
    chain.follow(11, 12, 13)
    assert chain.heights == [11, 12]


def test_heights_that_a_vantage_point_made_up_are_not_missing() -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(11, 12)
    chain.follow(10**9, 10**9 + 1, vantage=1)
    assert chain.ledger.missing(12) == range(12, 12)
    assert chain.ledger.missing(14) == range(12, 14)
    chain.follow(13)
    assert chain.heights == [11, 12]


def test_the_time_of_the_last_settled_block_is_known_until_heights_are_given_up() -> None:
    chain = heard(settled=4, hash=block_hash(4), time=at(4))
    assert chain.ledger.settled_time == at(4)
    chain.follow(5, 6)
    assert chain.ledger.settled_time == at(5)
    chain.ledger.skip(9)
    assert chain.ledger.settled_time is None


def test_the_empty_commit_of_a_chains_first_block_is_not_taken_for_a_height() -> None:
    first = new_block(1)
    assert first.block.last_commit is not None
    first.block.last_commit.signatures.clear()
    chain = heard()
    chain.take(first, new_block(2))
    assert chain.heights == [1]
    assert chain.ledger.counters.refused == 0


def test_blocks_told_again_or_by_a_second_vantage_point_settle_nothing_twice() -> None:
    chain = heard()
    for vantage in (0, 1):
        chain.follow(3, 4, 5, vantage=vantage)
    chain.follow(3, 4, 5)
    assert chain.heights == [3, 4]


def test_after_a_restart_no_height_is_settled_again() -> None:
    chain = heard(settled=4, hash=block_hash(4))
    chain.follow(3, 4, 5, 6)
    assert chain.heights == [5]


def test_after_a_restart_the_heights_between_are_missing_and_then_settled_in_order() -> None:
    chain = heard(settled=4, hash=block_hash(4))
    chain.follow(8, 9, 10)
    assert chain.heights == []
    assert chain.ledger.missing(10) == range(5, 8)
    for height in (7, 5, 6):
        chain.ledger.fill(block(height), block_hash(height), commit(height), EXPORTER)
        chain.serve()
    assert chain.heights == [5, 6, 7, 8, 9]
    assert [settled.how for settled in chain.settled] == [How.FILLED] * 3 + [How.WATCHED] * 2
    assert not chain.ledger.missing(10)


def test_a_filled_height_says_why_and_knows_of_no_votes() -> None:
    chain = heard(settled=4, chain_id=CHAIN)
    chain.ledger.fill(block(5), block_hash(5), commit(5, {3: FLAG_ABSENT}), NODE)
    chain.serve()
    (settled,) = chain.settled
    assert (settled.how, settled.reason, settled.seen, settled.prevotes) == (How.FILLED, NODE, None, None)
    assert not settled.unseen | settled.left_out | settled.contradictions
    assert settled.absent == [address(3)]


def test_filling_what_is_settled_or_waits_changes_nothing() -> None:
    chain = heard(settled=4)
    chain.follow(6, 7)
    chain.ledger.fill(block(6), block_hash(6), commit(6, {0: FLAG_ABSENT}), NODE)
    chain.ledger.fill(block(5), block_hash(5), commit(5), NODE)
    chain.ledger.fill(block(5), block_hash(5), commit(5, {0: FLAG_ABSENT}), NODE)
    assert chain.heights == [5, 6]
    assert [list(settled.absent) for settled in chain.settled] == [[], []]
    assert chain.settled[1].how is How.WATCHED


def test_what_was_seen_of_a_filled_height_is_kept_and_makes_it_partial() -> None:
    chain = heard()
    chain.follow(4, 5)
    chain.ledger.interrupted(0)
    chain.take(new_header(6), seen=at(6, 2))
    chain.ledger.fill(block(5), block_hash(5), commit(5), NODE)
    chain.ledger.fill(block(6), block_hash(6), commit(6), NODE)
    assert chain.heights == [4, 5, 6]
    assert [settled.how for settled in chain.settled] == [How.WATCHED, How.WATCHED, How.PARTIAL]
    assert seen_of(chain.settled[2]).committed_seen == at(6, 2)
    assert chain.settled[2].reason is None


def test_headers_alone_settle_nothing_and_their_heights_stay_missing() -> None:
    chain = heard()
    chain.follow(1, 2)
    chain.take(*(new_header(height) for height in range(3, 60)))
    assert chain.heights == [1]
    assert chain.ledger.missing(59) == range(2, 59)


def test_heights_given_up_are_counted_and_later_ones_settled() -> None:
    chain = heard(settled=4, hash=block_hash(4))
    chain.follow(9, 10)
    assert chain.ledger.skip(8) == 4
    assert chain.heights == [9]
    assert chain.ledger.skip(8) == 0
    assert chain.ledger.counters.reorgs == 0


def test_skipping_at_the_first_start_gives_up_nothing() -> None:
    chain = heard()
    assert chain.ledger.skip(100) == 0
    chain.follow(99, 100, 101, 102)
    assert chain.heights == [101]


def test_a_height_waits_for_its_set_and_asks_for_it_once() -> None:
    chain = heard()
    for height in (3, 4, 5):
        chain.ledger.take(new_block(height, validators_hash="B" * 64), at(height))
    assert chain.heights == []
    assert chain.ledger.wanted_sets() == {"B" * 64: 3}
    chain.ledger.learn(ValidatorSet("B" * 64, FOUR.members))
    assert chain.heights == [3, 4]
    assert chain.ledger.wanted_sets() == {}


def test_a_changed_set_holds_from_the_height_whose_header_names_it() -> None:
    chain = heard()
    chain.follow(3)
    three = ValidatorSet("C" * 64, FOUR.members[:3])
    chain.ledger.take(new_block(4, validators_hash=three.hash), at(4))
    chain.ledger.learn(three)
    last = commit(4)
    del last.signatures[3]
    chain.ledger.fill(block(4, validators_hash=three.hash), block_hash(4), last, NODE)
    assert [settled.set for settled in chain.settled] == [FOUR, three]
    assert set(chain.settled[1].signatures) == {address(0), address(1), address(2)}


def test_recent_sets_are_remembered_and_older_ones_asked_for_again() -> None:
    chain = heard()
    names = [f"{number:064X}" for number in range(2 * KEPT_SETS)]
    asked = []
    for height, name in enumerate([*names, names[-6], names[0]], start=3):
        chain.ledger.take(new_block(height, validators_hash=name), at(height))
        for wanted in chain.ledger.wanted_sets():
            asked.append(wanted)
            chain.ledger.learn(ValidatorSet(wanted, FOUR.members))
    assert asked == [*names, names[0]]


@pytest.mark.parametrize(
    "members",
    [
        FOUR.members[:3],
        (*FOUR.members, Validator(address(7), 10)),
        FOUR.members[::-1],
        (*FOUR.members[:3], FOUR.members[0]),
        (*FOUR.members[:3], Validator("<b>", 10)),
        tuple(Validator(member.address, 0) for member in FOUR.members),
        (*FOUR.members[:3], Validator(address(3), -5)),
    ],
    ids=["too few", "too many", "other order", "one twice", "no address", "no power", "negative power"],
)
def test_a_set_that_does_not_fit_the_commit_settles_nothing_and_is_wanted_again(
    members: tuple[Validator, ...], caplog: pytest.LogCaptureFixture
) -> None:
    chain = heard()
    flags = {3: FLAG_ABSENT}
    for height in (3, 4):
        chain.ledger.take(new_block(height, flags, validators_hash="B" * 64), at(height))
    chain.ledger.learn(ValidatorSet("B" * 64, members))
    assert chain.heights == []
    assert chain.ledger.wanted_sets() == {"B" * 64: 3}
    assert "height 3 does not fit its commit" in caplog.text
    chain.ledger.learn(ValidatorSet("B" * 64, FOUR.members))
    assert chain.heights == [3]


def test_a_height_whose_sets_never_fit_is_given_up_and_does_not_hold_up_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = heard(settled=2, hash=block_hash(2))
    chain.ledger.take(new_block(3, validators_hash="B" * 64), at(3))
    chain.follow(4, 5)
    for _ in range(3):
        assert chain.ledger.wanted_sets() == {"B" * 64: 3}
        chain.ledger.learn(ValidatorSet("B" * 64, FOUR.members[:2]))
    assert (chain.given_up, chain.heights) == ([1], [4])
    assert "height 3 is given up" in caplog.text


def test_a_block_that_the_commit_does_not_name_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    chain = heard()
    chain.follow(3, 4)
    wrong = new_block(5)
    chain.take(NewBlock(wrong.block, BlockId("F" * 64)))
    chain.take(new_block(6), new_block(7))
    assert chain.heights == [3, 4]
    assert chain.ledger.missing(7) == range(5, 6)
    assert "height 5 is not the one that was committed" in caplog.text
    chain.ledger.fill(block(5), block_hash(5), commit(5), NODE)
    assert chain.heights == [3, 4, 5, 6]


def test_the_watched_nodes_own_block_and_commit_replace_those_of_a_vantage_point() -> None:
    fork = "F" * 64
    chain = heard(settled=2, hash=block_hash(2), chain_id=CHAIN)
    chain.take(NewBlock(block(4), BlockId(fork)), vantage=1)
    chain.take(NewBlock(_after(4, fork), BlockId("E" * 64)), vantage=1)
    chain.take(new_block(4), new_block(5), new_block(3))
    assert [settled.block.hash for settled in chain.settled] == [block_hash(3), block_hash(4)]


def test_a_commit_of_another_block_than_the_watched_node_told_settles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    chain = heard(chain_id=CHAIN)
    chain.follow(3, 4, 5)
    chain.take(NewBlock(_after(5, "F" * 64), BlockId("E" * 64)), vantage=1)
    assert chain.heights == [3, 4]
    assert "the commit that a vantage point told of height 5 is not of the watched node's block" in caplog.text
    chain.follow(6)
    assert chain.heights == [3, 4, 5]


def _after(height: int, committed: str) -> Block:
    """The next block, of a history in which this height's block is another."""
    last = msgspec.structs.replace(commit(height), block_id=BlockId(committed))
    return msgspec.structs.replace(block(height + 1), last_commit=last)


def test_up_to_0_37_the_hash_of_a_block_is_that_of_its_commit() -> None:
    chain = heard()
    chain.take(NewBlock(block(3)), NewBlock(block(4)))
    assert chain.settled[0].block.hash == block_hash(3)


def test_a_block_that_does_not_build_on_the_settled_one_is_a_reorganisation(caplog: pytest.LogCaptureFixture) -> None:
    chain = heard()
    chain.follow(3, 4)
    chain.take(new_block(5, last="E" * 64), new_block(6))
    assert chain.heights == [3, 4, 5]
    assert chain.ledger.counters.reorgs == 1
    assert "block 5 does not build on the block that was settled for height 4" in caplog.text


def test_a_node_of_another_chain_is_refused_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    chain = heard()
    chain.follow(3, 4)
    chain.take(new_block(5, chain="elsewhere-1"), new_block(6, chain="elsewhere-1"))
    chain.follow(7)
    assert chain.heights == [3]
    assert chain.ledger.foreign == {}, "the node is back on the chain"
    assert len(caplog.records) == 1
    assert f"'elsewhere-1', this exporter watches '{CHAIN}'" in caplog.text


def test_a_chain_id_remembered_from_before_the_restart_counts_from_the_first_block() -> None:
    chain = heard(chain_id="cosmoshub-4")
    chain.follow(3, 4)
    assert chain.heights == []
    assert chain.ledger.foreign == {0: CHAIN}
    assert chain.ledger.counters.foreign > 0


def test_a_fill_of_another_chain_or_with_a_commit_of_another_block_is_refused() -> None:
    chain = heard(settled=4, chain_id=CHAIN)
    with pytest.raises(BadReply, match="'elsewhere-1', this exporter watches 'chainwatch-lab'"):
        chain.ledger.fill(block(5, chain="elsewhere-1"), block_hash(5), commit(5), NODE)
    with pytest.raises(BadReply, match="do not agree"):
        chain.ledger.fill(block(5), block_hash(5), commit(6), NODE)
    with pytest.raises(BadReply, match="do not agree"):
        chain.ledger.fill(block(5), "D" * 64, commit(5), NODE)
    assert chain.ledger.missing(7) == range(5, 7)


@pytest.mark.parametrize("name", ["", "ABC\nDEF", "F" * 65])
def test_a_commit_for_nil_or_for_no_hash_settles_nothing(name: str) -> None:
    chain = heard()
    chain.follow(3)
    bad = new_block(4)
    last = msgspec.structs.replace(commit(3), block_id=BlockId(name))
    chain.take(NewBlock(msgspec.structs.replace(bad.block, last_commit=last), bad.block_id))
    assert chain.heights == []
    assert chain.ledger.counters.refused == 1


def test_names_in_a_header_that_cannot_be_are_left_empty() -> None:
    header = msgspec.structs.replace(block(4).header, proposer_address="<b>", last_block_id=BlockId("\n"))
    chain = heard(settled=3, hash=block_hash(3))
    chain.ledger.fill(Block(header), block_hash(4), commit(4), NODE)
    chain.serve()
    assert chain.settled[0].block.proposer == ""
    assert chain.ledger.counters.reorgs == 0


def test_heights_that_wait_are_bounded_and_the_forgotten_ones_are_missing() -> None:
    chain = heard(settled=1, hash=block_hash(1))
    newest = MAX_PENDING + 500
    for height in range(3, newest + 1):
        chain.ledger.take(new_block(height), at(height))
    assert chain.ledger.missing(newest) == range(2, 3), "the nearest are kept, whose turn comes first"
    chain.ledger.fill(block(2), block_hash(2), commit(2), EXPORTER)
    chain.serve()
    assert chain.ledger.missing(newest) == range(2 + MAX_PENDING, newest)
    while missing := chain.ledger.missing(newest):
        chain.ledger.fill(block(missing[0]), block_hash(missing[0]), commit(missing[0]), EXPORTER)
    assert chain.heights == list(range(2, newest))


def test_the_commit_of_the_tip_is_not_asked_for() -> None:
    chain = heard(settled=4)
    assert chain.ledger.missing(5) == range(5, 5)
    assert chain.ledger.missing(6) == range(5, 6)
