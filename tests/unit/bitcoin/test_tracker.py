"""The tracker on a node without ZMQ: blocks and reorganisations found by looking."""

import asyncio
import logging
import time

import pytest

from chainwatch import errors
from chainwatch.errors import RpcError
from chainwatch.families.bitcoin.tracker.active_chain import WINDOW
from chainwatch.families.bitcoin.tracker.chain_rpc import MAX_WALK
from tests.unit.bitcoin.fake_chain import FakeChain
from tests.unit.bitcoin.watching import hurry, settings, until, watching


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    chain.mine(20)
    return chain


# Blocks


async def test_a_clean_start_counts_nothing(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()

        assert watch.value("bitcoin_blocks_connected_total") == 0
        assert watch.value("bitcoin_blocks_disconnected_total") == 0
        assert watch.value("chainwatch_reorgs_total", origin="network") == 0
        assert watch.value("chainwatch_reorgs_total", origin="operator") == 0
        assert watch.value("chainwatch_reorg_depth_blocks_count", origin="network") == 0
        assert watch.value("bitcoin_stale_blocks_total") == 0
        assert watch.value("chainwatch_stream_connected", stream="poll") == 1
        assert watch.tracker.chain_label == "bitcoin-regtest"


async def test_blocks_that_arrive_at_once_are_all_counted_once(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.mine(7)
        await watch.settled()
        chain.mine(1)
        await watch.settled()

        assert watch.value("bitcoin_blocks_connected_total") == 8
        assert watch.reorgs() == {}


async def test_a_node_far_ahead_is_counted_by_height_and_not_walked(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        before = chain.asked["getblockheader"]
        chain.mine(1000, seconds_ago=7200)
        await until(lambda: watch.value("bitcoin_blocks_connected_total"))

        assert watch.value("bitcoin_blocks_connected_total") == 1000
        assert chain.asked["getblockheader"] - before <= 2 * WINDOW + MAX_WALK
        assert watch.reorgs() == {}
        await watch.settled()
        assert len(watch.tracker._chain) == WINDOW


async def test_blocks_of_catching_up_are_counted_but_not_in_the_totals(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.mine(3, seconds_ago=2 * 86400)
        await watch.settled()
        assert watch.value("bitcoin_blocks_connected_total") == 3
        chain.mine(1)
        await until(lambda: watch.value("bitcoin_connected_transactions_total"))

        assert watch.value("bitcoin_connected_transactions_total") == chain.stats["txs"]


async def test_it_is_known_after_which_look_the_tip_moved(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        assert watch.tracker.moved_after is None
        before = time.time()
        await watch.looks()
        chain.mine(1)
        mined = time.time()
        await watch.settled()

        assert watch.tracker.moved_after is not None
        assert before <= watch.tracker.moved_after <= mined


async def test_a_new_poll_interval_is_taken_over_at_once(chain: FakeChain) -> None:
    async with watching(chain, poll=3600) as watch:
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 1)
        await asyncio.sleep(0.1)  # now it waits for its hour
        watch.tracker.configure(settings(poll=0.01))
        await watch.looks(5)


# Another node


async def test_the_chain_of_another_node_is_not_what_became_of_the_first_ones(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.reorganise(2, 3)
        watch.tracker.other_node()
        await watch.settled()

        assert watch.reorgs() == {}
        assert watch.tip.hash == chain.tip
        chain.reorganise(1, 2, "later")
        await watch.settled()
        assert watch.reorgs() == {"network": {1: 1}}


async def test_first_seen_is_now_for_a_block_that_arrives_and_never_fresh_for_an_old_tip() -> None:
    chain = FakeChain()
    chain.mine(3, seconds_ago=5 * 3600)
    async with watching(chain) as watch:
        await watch.settled()
        old = watch.tracker.first_seen(chain.tip)
        [arrived] = chain.mine(seconds_ago=600)
        await watch.settled()
        new = watch.tracker.first_seen(arrived)

        assert old == pytest.approx(time.time() - 5 * 3600, abs=5)
        assert new == pytest.approx(time.time(), abs=5)
        assert watch.tracker.first_seen("ff" * 32) is None


async def test_a_header_from_the_future_does_not_make_first_seen_later_than_now() -> None:
    chain = FakeChain()
    chain.mine(1, seconds_ago=-7000)
    async with watching(chain) as watch:
        await watch.settled()

        assert watch.tracker.first_seen(chain.tip) == pytest.approx(time.time(), abs=5)


# Reorganisations


@pytest.mark.parametrize("depth", [1, 2, 3, 12])
async def test_a_reorganisation_by_the_network_is_counted_once_with_its_depth(chain: FakeChain, depth: int) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.reorganise(depth, depth + 1)
        await watch.settled()
        chain.mine(2)
        await watch.settled()

        assert watch.reorgs() == {"network": {depth: 1}}
        assert watch.value("chainwatch_reorgs_total", origin="network") == 1
        assert watch.value("chainwatch_reorg_depth_blocks_sum", origin="network") == depth
        assert watch.value("bitcoin_stale_blocks_total") == depth
        assert watch.value("bitcoin_blocks_disconnected_total") == depth
        assert watch.value("bitcoin_blocks_connected_total") == depth + 3


async def test_a_branch_that_never_was_active_is_no_reorganisation(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        fork = chain.branch(chain.tip)[2].hash
        for block_hash in chain.grow(fork, 9, "heavier, but its blocks never came"):
            chain.blocks[block_hash].status = "headers-only"
        chain.mine(3)
        await watch.settled()

        assert watch.reorgs() == {}


async def test_a_branch_that_came_and_went_between_two_looks_is_found(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.mine(2, "loser")
        chain.reorganise(2, 3)
        await watch.settled()
        chain.mine(1)
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 6
        assert watch.value("bitcoin_blocks_disconnected_total") == 2


async def test_a_reorganisation_whose_last_blocks_were_not_seen_has_its_full_depth(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.mine(3, "not seen")
        chain.reorganise(5, 6)
        await watch.settled()

        assert watch.reorgs() == {"network": {5: 1}}


async def test_a_reorganisation_deeper_than_the_window_is_counted_with_what_is_known(
    chain: FakeChain, caplog: pytest.LogCaptureFixture
) -> None:
    chain.mine(WINDOW + 30)
    async with watching(chain) as watch:
        await watch.settled()
        chain.reorganise(WINDOW + 10, WINDOW + 11)
        await watch.settled()

        assert watch.reorgs() == {"network": {WINDOW: 1}}
        assert f"at least {WINDOW} blocks left" in caplog.text


async def test_a_reorganisation_is_found_when_the_node_is_far_ahead(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.reorganise(3, 200)
        await watch.settled()

        assert watch.reorgs() == {"network": {3: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 200


async def test_invalidateblock_below_the_window_is_counted_with_what_is_known(chain: FakeChain) -> None:
    chain.mine(WINDOW + 50)
    async with watching(chain) as watch:
        await watch.settled()
        chain.invalidate(WINDOW + 20)
        await watch.settled()
        chain.mine(2, "after")
        await watch.settled()

        assert watch.reorgs() == {"operator": {WINDOW: 1}}
        assert watch.value("bitcoin_blocks_connected_total") == 2


async def test_invalidateblock_is_the_operators(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.invalidate(3)
        await watch.settled()

        assert watch.reorgs() == {"operator": {3: 1}}
        assert watch.value("bitcoin_stale_blocks_total") == 0
        assert watch.value("bitcoin_blocks_disconnected_total") == 3


async def test_invalidateblock_that_takes_many_steps_is_one_reorganisation(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        for _ in range(4):
            chain.invalidate(1)
            await watch.looks(2)
        await watch.settled()

        assert watch.reorgs() == {"operator": {4: 1}}


async def test_invalidateblock_towards_another_branch_is_the_operators(chain: FakeChain) -> None:
    rival = chain.grow(chain.branch(chain.tip)[2].hash, 2, "rival")[-1]
    async with watching(chain) as watch:
        await watch.settled()
        chain.invalidate(2, then=rival)
        chain.activate(rival)
        await watch.settled()
        chain.mine(4)
        await watch.settled()

        assert watch.reorgs() == {"operator": {2: 1}}


async def test_reconsiderblock_is_the_operators_too(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        old = chain.invalidate(3)
        await watch.settled()
        chain.mine(1, "meanwhile")
        await watch.settled()
        chain.reconsider(old)
        await watch.settled()

        assert watch.reorgs() == {"operator": {3: 1, 1: 1}}


async def test_a_block_that_came_and_left_while_a_person_brought_others_back_is_the_operators(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        old = chain.invalidate(3)
        await watch.settled()
        chain.mine(1, "between two looks")
        chain.reconsider(old)
        await watch.settled()

        assert watch.reorgs() == {"operator": {3: 1, 1: 1}}


async def test_a_branch_taken_back_by_its_operator_can_be_displaced_by_the_network(
    chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.families.bitcoin.tracker.marked.REFRESH_SECONDS", 0.0)
    async with watching(chain) as watch:
        await watch.settled()
        old = chain.invalidate(1)
        await watch.settled()
        chain.mine(5, "meanwhile")
        await watch.settled()
        chain.blocks[old].status = "valid-fork"  # reconsidered, without effect: it has less work
        await watch.settled()
        for block_hash in chain.grow(old, 6, "the network's"):
            chain.activate(block_hash)
        await watch.settled()

        assert watch.reorgs() == {"operator": {1: 1}, "network": {5: 1}}


async def test_preciousblock_is_the_operators(chain: FakeChain) -> None:
    rival = chain.grow(chain.branch(chain.tip)[1].hash, 1, "rival")[-1]
    async with watching(chain) as watch:
        await watch.settled()
        chain.activate(rival)
        await watch.settled()
        chain.mine(1)  # what was displaced has no less work than the tip before this block
        await watch.settled()

        assert watch.reorgs() == {"operator": {1: 1}}


@pytest.mark.parametrize(
    "error", [errors.Forbidden("getchaintips: 403"), RpcError("getchaintips: no", -1), errors.MethodNotFound("no")]
)
async def test_without_getchaintips_work_tells_the_origin(chain: FakeChain, error: errors.NodeError) -> None:
    chain.forbidden["getchaintips"] = error
    async with watching(chain) as watch:
        await watch.settled()
        chain.reorganise(2, 3)
        await watch.settled()
        chain.invalidate(1)
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}, "operator": {1: 1}}


# A node in trouble


@pytest.mark.parametrize(
    "error",
    [
        errors.NodeUnreachable("getbestblockhash at 127.0.0.1:8332: connection refused"),
        errors.NodeTimeout("getbestblockhash at 127.0.0.1:8332: no answer within 10 s"),
        errors.Unauthorized("401"),
        errors.Forbidden("403"),
        errors.WarmingUp("the node is starting"),
        errors.WorkQueueFull("503"),
        errors.BadReply("not JSON"),
        errors.ReplyTooLarge("too large"),
        RpcError("no", -1),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_following_goes_on_after_every_failure_of_the_node(
    chain: FakeChain, error: errors.NodeError, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.error = error
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        chain.mine(2)
        chain.error = None
        await watch.settled()

        assert watch.value("chainwatch_stream_connected", stream="poll") == 1
        assert watch.value("bitcoin_blocks_connected_total") == 2
        assert watch.reorgs() == {}
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
            f"cannot follow the tip: {error}"
        ]


async def test_a_reorganisation_is_not_lost_when_the_node_fails_in_the_middle_of_judging_it(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.forbidden["getchaintips"] = errors.NodeTimeout("getchaintips: no answer within 10 s")
        chain.reorganise(2, 3)
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        assert watch.reorgs() == {}
        del chain.forbidden["getchaintips"]
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}}


async def test_an_invalidateblock_is_not_lost_either(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.invalidate(2)
        await watch.looks(1)
        chain.forbidden["getchaintips"] = errors.NodeTimeout("getchaintips: no answer within 10 s")
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        assert watch.reorgs() == {}
        del chain.forbidden["getchaintips"]
        await watch.settled()

        assert watch.reorgs() == {"operator": {2: 1}}


async def test_a_killed_node_that_starts_from_an_older_state_has_not_reorganised(
    chain: FakeChain, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        lost = chain.branch(chain.tip)[:5]
        chain.error = errors.NodeUnreachable("connection refused")
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        chain.forget(5)
        chain.error = None
        await watch.looks(5)
        assert "came back 5 blocks lower" in caplog.text
        for block in reversed(lost):
            chain.blocks[block.hash] = block
            chain.activate(block.hash)
            await watch.looks(2)
        chain.mine(1)
        await watch.settled()

        assert watch.reorgs() == {}
        assert watch.value("bitcoin_blocks_disconnected_total") == 0
        assert watch.value("bitcoin_blocks_connected_total") == 1


async def test_a_killed_node_that_comes_back_to_another_branch_has_reorganised(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        chain.error = errors.NodeUnreachable("connection refused")
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        chain.forget(2)
        chain.error = None
        await watch.looks(3)
        chain.mine(3, "what the network had")
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}}


async def test_a_node_that_knows_none_of_the_last_blocks_is_a_clean_start(
    chain: FakeChain, caplog: pytest.LogCaptureFixture
) -> None:
    chain.mine(WINDOW)
    async with watching(chain) as watch:
        await watch.settled()
        genesis = chain.blocks[chain.genesis]
        chain.blocks, chain.tip = {genesis.hash: genesis}, genesis.hash
        chain.mine(WINDOW + 60, "wiped and mined anew")
        await watch.settled()

        assert watch.reorgs() == {}
        assert watch.value("bitcoin_blocks_disconnected_total") == 0
        assert watch.tracker.first_seen(chain.tip) is not None
        assert "starting clean" in caplog.text


async def test_an_inconsistent_answer_is_a_failure_like_any_other(
    chain: FakeChain, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(chain) as watch:
        await watch.settled()
        [odd] = chain.grow(chain.tip, 1, "odd")
        chain.blocks[odd].height = 4
        previous, chain.tip = chain.tip, odd
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        chain.blocks[odd].height, chain.tip = 21, previous
        await watch.settled()

        assert watch.value("chainwatch_stream_connected", stream="poll") == 1
        assert watch.reorgs() == {}
