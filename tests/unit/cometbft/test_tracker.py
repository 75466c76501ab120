"""The tracker: what streams tell is settled, what they do not tell is read, exactly once, also over a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chainwatch.families.cometbft.consensus.events import FLAG_ABSENT
from chainwatch.families.cometbft.consensus.model import Condition, FillReason, How
from chainwatch.families.cometbft.settings import Chain, Stream
from chainwatch.families.cometbft.tracker.fill import BATCH
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.living_chain import Following, LivingChain, following, hurry, until

MINE = chain.address(3)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def node() -> AsyncIterator[LivingChain]:
    async with LivingChain() as node:
        yield node


async def recognised(node: LivingChain) -> None:
    """Wait until the tracker knows its chain, and has looked again since."""
    await until(lambda: node.methods.count("status") >= 3)


# Heights


async def test_heights_of_the_stream_are_settled_once_and_their_set_is_read_once(node: LivingChain) -> None:
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12, 13)
        await watch.until_settled(12)
        watch.tell(14)

        assert watch.heights == [11, 12, 13]
        assert {settled.how for settled in watch.settled} == {How.WATCHED}
        assert node.methods.count("validators") == 1
        assert watch.value("cometbft_heights_settled_total", how="watched") == 3
        assert watch.value("cometbft_validators") == 4
        assert watch.value("cometbft_power") == 40
        assert watch.value("cometbft_power_online_ratio") == 1
        assert watch.value("cometbft_validators_missing") == 0


async def test_a_gap_is_filled_from_blocks_in_order_and_counted_once(node: LivingChain) -> None:
    node.flags[13] = {3: FLAG_ABSENT}
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        node.height = 16
        await watch.until_settled(15)

        assert watch.heights == [11, 12, 13, 14, 15]
        assert [settled.how for settled in watch.settled[2:]] == [How.FILLED] * 3
        assert {settled.reason for settled in watch.settled[2:]} == {FillReason.NODE}
        assert watch.value("cometbft_validator_precommits_total", validator=MINE, result="absent") == 1
        assert watch.value("cometbft_validator_precommits_total", validator=MINE, result="block") == 4
        assert sorted(set(node.filled())) == [12, 13, 14, 15, 16]


async def test_after_a_restart_what_passed_meanwhile_is_filled_exactly_once(node: LivingChain, tmp_path: Path) -> None:
    node.flags |= {height: {3: FLAG_ABSENT} for height in (20, 21)}
    async with following(node, folder=tmp_path) as watch:
        await recognised(node)
        watch.tell(11, 12, 13)
        await watch.until_settled(12)
    node.height = 33
    async with following(node, folder=tmp_path) as again:
        await again.until_settled(32)

        assert again.heights == list(range(13, 33))
        assert {settled.reason for settled in again.settled} == {FillReason.EXPORTER}
        await until(lambda: again.value("cometbft_heights_settled_total", how="filled") == 20)  # in the file by now
        total = sum(
            again.value("cometbft_validator_precommits_total", validator=MINE, result=result) or 0
            for result in ("block", "nil", "absent")
        )
        assert total == 22  # 11 to 32
        assert again.value("cometbft_validator_missed_by_cause_total", validator=MINE, cause="unknown") == 2


async def test_the_last_height_before_a_stop_is_in_the_file(node: LivingChain, tmp_path: Path) -> None:
    for last in (12, 14, 16):
        async with following(node, folder=tmp_path) as watch:
            await recognised(node)
            node.height = last
            watch.tell(last - 1, last)
            await watch.until_settled(last - 1)
    async with following(node, folder=tmp_path) as watch:
        assert watch.tracker.ledger.settled == 15
        await until(lambda: watch.value("cometbft_heights_settled_total", how="watched"))
        counted = [watch.value("cometbft_heights_settled_total", how=how.value) or 0 for how in How]
        assert sum(counted) == 5  # 11 to 15


async def test_more_than_max_fill_is_skipped_and_counted(node: LivingChain) -> None:
    async with following(node, max_fill=5) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        node.height = 50
        await watch.until_settled(49)

        assert watch.heights == [11, *range(45, 50)]
        assert watch.value("cometbft_heights_skipped_total") == 33  # 12 to 44


async def test_pruned_heights_are_skipped_and_counted(node: LivingChain) -> None:
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        node.lowest, node.height = 25, 30
        await watch.until_settled(29)

        assert watch.heights == [11, *range(25, 30)]
        assert watch.value("cometbft_heights_skipped_total") == 13  # 12 to 24


async def syncs_after_11(node: LivingChain, watch: Following) -> None:
    """The node told its first height, and says that it catches up now."""
    await recognised(node)
    watch.tell(11, 12)
    await watch.until_settled(11)
    node.catching_up = True
    await until(lambda: watch.tracker.verdict.condition is Condition.SYNCING)


async def test_a_node_that_syncs_a_history_is_not_asked_for_it(node: LivingChain) -> None:
    async with following(node) as watch:
        await syncs_after_11(node, watch)
        node.height = 5000
        await watch.until_settled(4900)

        assert len(set(node.filled())) <= BATCH
        assert watch.value("cometbft_heights_skipped_total") == 4988


async def test_what_a_node_missed_that_comes_back_by_sync_is_filled(node: LivingChain) -> None:
    node.flags = {height: {3: FLAG_ABSENT} for height in range(20, 160)}
    async with following(node) as watch:
        await syncs_after_11(node, watch)
        node.height = 161
        await watch.until_settled(160)

        assert watch.value("cometbft_heights_skipped_total") == 0
        assert watch.value("cometbft_validator_precommits_total", validator=MINE, result="absent") == 140


async def test_pruned_heights_are_not_given_up_while_a_vantage_point_that_may_have_them_is_silent(
    node: LivingChain,
) -> None:
    async with LivingChain() as other, following(node, other) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        other.height = 40
        other.delays["block"] = 60
        node.lowest, node.height = 30, 40
        await until(lambda: "block" in other.methods)
        await asyncio.sleep(0.3)
        assert watch.value("cometbft_heights_skipped_total") == 0
        del other.delays["block"]
        await watch.until_settled(39)
        assert watch.value("cometbft_heights_skipped_total") == 0


async def test_a_vantage_point_stands_in_for_a_node_that_hangs(node: LivingChain) -> None:
    async with LivingChain() as other, following(node, other) as watch:
        await recognised(node)
        watch.tell(11)
        node.delays["*"] = 60
        other.height = 14
        watch.tell(11, 12, 13, 14, vantage=1)
        await watch.until_settled(13)

        assert watch.heights == [11, 12, 13]
        await until(lambda: watch.tracker.verdict.condition is Condition.UNKNOWN)
        assert "validators" in other.methods
        assert not watch.tracker.condition().answering
        assert watch.value("cometbft_power_online_ratio") is None


async def test_a_set_that_cannot_be_read_is_asked_for_again_and_nothing_is_lost(node: LivingChain) -> None:
    node.errors["validators"] = (-32603, "Internal error", "something")
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12, 13)
        await until(lambda: node.methods.count("validators") >= 2)
        assert watch.heights == []
        assert watch.value("cometbft_validators") is None
        del node.errors["validators"]
        await watch.until_settled(12)
        assert watch.heights == [11, 12]


async def test_a_set_of_more_than_a_page_is_read_whole(node: LivingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.validator_sets.PER_PAGE", 3)
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        assert watch.value("cometbft_validators") == 4
        assert node.methods.count("validators") == 2


async def test_a_history_that_is_read_up_accuses_nobody_and_a_block_after_an_absence_the_node(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.catching_up = True
    async with following(node) as watch:
        await until(lambda: watch.tracker.verdict.condition is Condition.SYNCING)
        missed = chain.Course({3: FLAG_ABSENT})
        for height in (11, 12, 13):  # decided years ago by their headers
            watch.tracker.event(chain.new_block(height, missed.flags), time.time(), 0)
        await watch.until_settled(12)
        assert watch.value("cometbft_validator_missed_by_cause_total", validator=MINE, cause="unknown") == 2
        assert watch.value("cometbft_validator_missed_by_cause_total", validator=MINE, cause="node") == 0

        shift, before = time.time() - chain.at(13), chain.at
        monkeypatch.setattr(chain, "at", lambda height, offset=0.0: before(height, offset) + shift)
        for height in (14, 15):
            watch.tracker.event(chain.new_block(height, missed.flags), time.time(), 0)
        await watch.until_settled(14)
        assert watch.value("cometbft_validator_missed_by_cause_total", validator=MINE, cause="node") == 1


# Whose chain


async def test_what_is_remembered_of_another_chain_is_ignored(
    node: LivingChain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(node, folder=tmp_path) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
    node.chain_id, node.height = "another-1", 100
    with caplog.at_level(logging.WARNING):
        async with following(node, folder=tmp_path) as again:
            assert again.tracker.chain_id == chain.CHAIN
            await until(lambda: again.tracker.chain_id == "another-1")
            assert again.tracker.ledger.settled == 0
            assert again.value("cometbft_heights_settled_total", how="watched") == 0
    assert "'another-1'" in caplog.text
    assert not node.filled()


async def test_a_chain_that_began_anew_under_its_old_name_is_followed_from_its_start(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(node) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        before = chain.at
        monkeypatch.setattr(chain, "at", lambda height, offset=0.0: before(height, offset) + 86400)
        node.height = 3
        await until(lambda: watch.tracker.ledger.settled == 0)
        watch.tell(4, 5)
        await watch.until_settled(4)
        assert watch.heights == [11, 4]


async def test_another_node_of_the_chain_goes_on_with_the_counts(node: LivingChain) -> None:
    async with LivingChain(20) as other, following(node) as watch:
        await recognised(node)
        watch.tell(11, 12)
        await watch.until_settled(11)
        changed = watch.tracker._settings.__class__(
            rpc=watch.tracker._settings.rpc.__class__(url=other.url),
            tracker=watch.tracker._settings.tracker,
            validators=watch.tracker._settings.validators,
        )
        watch.tracker._nodes.configure(changed)
        watch.tracker.other_node()
        watch.tracker.configure(changed)
        assert watch.stream.url == other.url
        await watch.until_settled(19)
        assert watch.heights == list(range(11, 20))


# How it stands


async def test_silence_of_a_running_chain_is_a_dead_subscription(node: LivingChain) -> None:
    async with following(node, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await recognised(node)
        watch.tell(11, 12)
        for height in range(13, 60):
            node.height = height
            await asyncio.sleep(0.02)
        assert watch.stream.news_expected >= 1
        assert watch.tracker.verdict.condition is Condition.RUNNING
        await watch.until_settled(58)
        assert watch.heights == list(range(watch.heights[0], 59))
        assert watch.heights[0] in (10, 11)  # the silence may have been taken for a stream that tells nothing


async def test_a_halt_is_found_with_names_and_ends_with_a_block(node: LivingChain) -> None:
    node.voted = (True, False, True, False)
    async with following(node, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await recognised(node)
        watch.tell(9, 10)
        for name in ("NewHeight", "Propose", "Prevote"):
            watch.tracker.event(chain.step(11, name), time.time(), 0)
        await until(lambda: watch.tracker.verdict.condition is Condition.NO_QUORUM)
        verdict = watch.tracker.verdict
        assert verdict.missing == (chain.address(1), chain.address(3))
        assert (verdict.height, verdict.step, verdict.prevoted) == (11, "Prevote", 0.5)
        assert watch.value("cometbft_chain_condition", condition="no_quorum") == 1
        assert watch.value("cometbft_chain_condition", condition="running") == 0
        assert watch.value("cometbft_quorum_missing_ratio") == 7 / 40
        assert watch.value("cometbft_power_online_ratio") == 0.5
        assert watch.value("cometbft_validators_missing") == 2
        assert watch.value("cometbft_round_current") == 0
        assert watch.stream.news_expected == 0
        node.height = 11
        watch.tell(11)
        assert watch.tracker.verdict.condition is Condition.RUNNING
        assert watch.value("cometbft_quorum_missing_ratio") == 0


async def test_a_start_in_the_middle_of_a_halt_takes_no_silence_for_a_dead_subscription(
    node: LivingChain, tmp_path: Path
) -> None:
    node.voted = (True, False, True, False)
    async with following(node, folder=tmp_path, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await until(lambda: watch.tracker.verdict.condition is Condition.NO_QUORUM)
        looks = node.methods.count("consensus_state")
        await until(lambda: node.methods.count("consensus_state") > looks + 5)
        assert watch.stream.news_expected == 0
        assert not watch.stream.health.deaf


async def test_a_stream_that_opens_before_a_halted_node_answers_at_all_is_not_deaf(
    node: LivingChain, tmp_path: Path
) -> None:
    async with following(node, folder=tmp_path) as watch:
        await recognised(node)
        watch.tell(9, 10)
        await watch.until_settled(9)
    port, node.voted = node._port, (True, False, True, False)
    await node.stop()
    async with following(node, folder=tmp_path, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await until(lambda: watch.stream.health.connected)
        await node.start(port)
        await until(lambda: watch.tracker.verdict.condition is Condition.NO_QUORUM)
        looks = node.methods.count("consensus_state")
        await until(lambda: node.methods.count("consensus_state") > looks + 5)
        assert watch.stream.news_expected == 0


async def test_a_dead_consensus_is_told_from_a_halt(node: LivingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.verdict.APPLYING", 0.1)
    async with following(node, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await recognised(node)
        watch.tell(9, 10)
        for _, event in chain.stream(11)[:-2]:
            watch.tracker.event(event, chain.at(11), 0)
        node.height, node.stands = 11, "Commit"
        await until(lambda: watch.tracker.verdict.condition is Condition.CONSENSUS_FAILURE)
        assert watch.stream.news_expected == 0


async def test_a_node_that_its_peers_left_behind_is_behind(node: LivingChain) -> None:
    node.peer_heights = [500, 500, 11]
    async with following(node, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await recognised(node)
        await until(lambda: watch.tracker.verdict.condition is Condition.BEHIND)


async def test_a_node_that_stops_answering_and_returns(node: LivingChain) -> None:
    async with following(node) as watch:
        await recognised(node)
        assert watch.value("chainwatch_stream_connected", stream="poll") == 1
        await node.stop()
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 0)
        assert watch.tracker.verdict.condition is Condition.UNKNOWN
        assert watch.value("cometbft_round_current") is None
        await node.start(node._port)
        await until(lambda: watch.value("chainwatch_stream_connected", stream="poll") == 1)
        await until(lambda: watch.tracker.condition().peers == 4)


# The tip


async def test_a_block_that_was_there_already_has_its_headers_time_and_a_new_one_that_of_its_sight(
    node: LivingChain,
) -> None:
    async with following(node) as watch:
        await recognised(node)
        assert watch.tracker.first_seen(10) == chain.at(10)
        node.height = 11
        await until(lambda: watch.tracker.first_seen(11) is not None)
        seen = watch.tracker.first_seen(11)
        assert seen is not None
        assert seen > chain.at(11) + 3600  # now
        assert watch.tracker.first_seen(9) is None


async def test_the_spacing_is_known_from_the_headers_at_the_start(node: LivingChain) -> None:
    node.height = 150
    async with following(node) as watch:
        await until(lambda: watch.tracker.target_spacing is not None)
        assert watch.tracker.target_spacing == 6
        assert node.methods.count("blockchain") <= 6


async def test_the_spacing_that_is_set_comes_first(node: LivingChain) -> None:
    async with following(node, chain=Chain(spacing=2.5)) as watch:
        assert watch.tracker.target_spacing == 2.5
