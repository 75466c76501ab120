"""The tracker among nodes that are wrong, slow, of another history, or refuse: nothing is lost, skipped or believed."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from chainwatch.families.cometbft.consensus.events import FLAG_ABSENT, NewBlock
from chainwatch.families.cometbft.consensus.model import Condition, How
from chainwatch.families.cometbft.settings import Chain, Stream
from chainwatch.families.cometbft.tracker import continuity, fill, memory
from chainwatch.families.cometbft.tracker.tips import Tips
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.fake_node import NodeSays
from tests.unit.cometbft.living_chain import Following, LivingChain, following, hurry, until

MINE = chain.address(3)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def node() -> AsyncIterator[LivingChain]:
    async with LivingChain() as node:
        yield node


async def looks(node: LivingChain, more: int = 3) -> None:
    """Wait until the tracker has looked so many times more."""
    before = node.methods.count("status")
    await until(lambda: node.methods.count("status") >= before + more)


async def settled_11(node: LivingChain, watch: Following) -> None:
    await looks(node)
    watch.tell(11, 12)
    node.height = 12
    await watch.until_settled(11)


def other_history(node: LivingChain) -> None:
    """The node's blocks are others than those of `chain`, from now on."""
    block = node.answers["block"]

    def another(height: str) -> Any:
        return block(height) | {"block_id": {"hash": f"{int(height):060X}FFFF"}}

    node.answers["block"] = another


def far_block(height: int) -> NewBlock:
    made = chain.block(13)
    return NewBlock(replace(made, header=replace(made.header, height=height), last_commit=None))


def days_later(monkeypatch: pytest.MonkeyPatch, days: float = 3) -> None:
    """The chain begins anew: what is at a height now is so much later than before."""
    before = chain.at
    monkeypatch.setattr(chain, "at", lambda height, offset=0.0: before(height, offset) + 86400 * days)


# Heights that nobody has to believe


async def test_a_vantage_point_of_another_history_moves_nothing(node: LivingChain) -> None:
    async with LivingChain(5000) as other, following(node, other, max_fill=100) as watch:
        other_history(other)
        await settled_11(node, watch)
        assert not watch.tracker.streams[1].health.is_open
        watch.tracker.event(chain.new_block(5000), time.time(), 1)
        await looks(node, 10)
        node.height = 20
        watch.tell(*range(13, 21))
        await watch.until_settled(19)

        assert watch.heights == list(range(11, 20))
        assert watch.value("cometbft_heights_skipped_total") == 0


async def test_the_stream_of_a_vantage_point_that_leaves_the_history_is_left(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.client.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("chainwatch.families.cometbft.vantage.RECHECK_SECONDS", 0.05)
    async with LivingChain() as other, following(node, other) as watch:
        await until(lambda: watch.tracker.streams[1].health.is_open)
        watch.tracker.event(chain.new_block(12), time.time(), 1)
        assert watch.tracker.watch.vantage_heights == {1: 12}
        other_history(other)
        await until(lambda: not watch.tracker.watch.vantage_heights)


@pytest.mark.parametrize("vantage", [0, 1])
@pytest.mark.parametrize("height", [10**11, 2**61])
async def test_a_block_beyond_all_reach_is_not_believed(node: LivingChain, vantage: int, height: int) -> None:
    async with LivingChain(12) as other, following(node, other) as watch:
        await settled_11(node, watch)
        watch.tracker.event(far_block(height), time.time(), vantage)
        await looks(node, 10)
        assert not watch.tracker.watch.vantage_heights
        node.height = 14
        watch.tell(13, 14)
        await watch.until_settled(13)
        assert watch.heights == [11, 12, 13]
        assert watch.value("cometbft_heights_skipped_total") == 0


async def test_a_block_of_another_chain_is_no_height_of_a_vantage_point(node: LivingChain) -> None:
    async with LivingChain(12) as other, following(node, other) as watch:
        await looks(node)
        watch.tracker.event(chain.new_block(12, chain="elsewhere"), time.time(), 1)
        assert not watch.tracker.watch.vantage_heights


async def test_one_wrong_status_skips_nothing(node: LivingChain) -> None:
    async with following(node) as watch:
        await settled_11(node, watch)
        told = node.answers["status"]

        def wrong() -> Any:
            answer = told()
            answer["sync_info"]["latest_block_height"] = str(10**9)
            return answer

        node.answers["status"] = wrong
        await looks(node, 8)  # until it is believed, by whoever keeps the tip
        node.answers["status"] = told
        await looks(node, 8)
        node.height = 14
        watch.tell(13, 14)
        await watch.until_settled(13)
        assert watch.heights == [11, 12, 13]
        assert watch.value("cometbft_heights_skipped_total") == 0


@pytest.mark.parametrize("wrong", ["chain", "height", "future"])
async def test_more_than_max_fill_is_skipped_only_to_a_block_that_fits(node: LivingChain, wrong: str) -> None:
    block = node.answers["block"]

    def odd(height: str) -> Any:
        answer = block(height)
        if int(height) > 40:
            header = answer["block"]["header"]
            later = datetime.now(UTC) + timedelta(hours=2)
            header |= {
                "chain": {"chain_id": "elsewhere"},
                "height": {"height": "99"},
                "future": {"time": msgspec.to_builtins(later)},
            }[wrong]
        return answer

    node.answers["block"] = odd
    async with following(node, max_fill=5) as watch:
        await settled_11(node, watch)
        node.height = 50
        await until(lambda: len(set(node.filled())) >= 10)
        assert watch.value("cometbft_heights_skipped_total") == 0
        await watch.until_settled(25)
        assert watch.heights[:14] == list(range(11, 25))


@pytest.mark.parametrize("max_fill", [1000, 10_000])
async def test_a_gap_that_is_mostly_pruned_is_skipped_at_once(node: LivingChain, max_fill: int) -> None:
    async with following(node, max_fill=max_fill) as watch:
        await settled_11(node, watch)
        node.lowest, node.height = 4900, 5000
        await watch.until_settled(4999)
        assert watch.heights == [11, *range(4900, 5000)]
        assert watch.value("cometbft_heights_skipped_total") == 4888
        assert len([height for height in node.filled() if height < 4900]) <= 10


def test_the_tip_that_streams_had_time_to_tell_is_one_that_is_still_there() -> None:
    tips = Tips()
    for at, height in ((0.0, 10), (1.0, 10**9), (2.0, 11), (3.0, 12), (4.0, 12)):
        tips.looked(at, height)
        assert tips.to_tell(at, 2.0) <= 12
    tips.told(0, 11)
    tips.heard(0, 3.5)
    assert tips.to_tell(4.0, 1.0) == 11  # it is still telling
    assert tips.to_tell(9.0, 1.0) == 12


# Heights that cannot be read


async def test_one_height_that_nobody_can_give_is_given_up_and_holds_up_no_other(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fill, "TRIED_SECONDS", 0.3)
    monkeypatch.setattr(fill, "MAX_PAUSE", 0.05)
    block = node.answers["block"]
    node.answers["block"] = lambda height: {"block_id": {"hash": ""}} if height == "20" else block(height)
    async with following(node) as watch:
        await settled_11(node, watch)
        node.height = 25
        await watch.until_settled(18)
        assert node.filled().count(20) < 5
        await watch.until_settled(24)
        assert watch.heights == [*range(11, 19), *range(21, 25)]
        assert watch.value("cometbft_heights_skipped_total") == 2  # the commit of 19 is in 20
        assert "height 20 could not be read" in caplog.text


@pytest.mark.parametrize("reason", ["not yet", "silent vantage point"])
async def test_a_height_that_may_come_is_waited_for(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(fill, "TRIED_SECONDS", 0.0)
    monkeypatch.setattr(fill, "MAX_PAUSE", 0.02)
    said = "height 13 must be less than or equal to the current blockchain height 12"
    async with LivingChain(20) as other, following(node, other) as watch:
        await settled_11(node, watch)
        await until(lambda: watch.tracker.streams[1].health.is_open)
        if reason == "not yet":
            node.errors["block"] = other.errors["block"] = (-32603, "Internal error", said)
        else:
            node.errors["block"] = (-32603, "Internal error", "something")
            other.delays["block"] = 60
            monkeypatch.setattr(watch.tracker._nodes.all[1], "settings",
                                replace(watch.tracker._nodes.all[1].settings, timeout=0.02))  # fmt: skip
        node.height = 20
        await until(lambda: node.methods.count("block") > 20)
        assert watch.value("cometbft_heights_skipped_total") == 0


async def test_a_node_that_gives_no_blocks_at_all_costs_one_gap_and_not_all_that_follows(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "TRIED_SECONDS", 0.0)
    async with following(node) as watch:
        await settled_11(node, watch)
        del node.answers["block"]
        node.height = 20
        await watch.until_settled(19)
        assert watch.value("cometbft_heights_skipped_total") == 8
        assert node.methods.count("block") <= 4 * fill.TRIES
        watch.tell(20, 21, 22)
        node.height = 22
        await watch.until_settled(21)
        assert watch.heights[-1] == 21


async def test_a_node_that_limits_calls_is_still_read_from_as_fast_as_it_allows(node: LivingChain) -> None:
    times: list[float] = []
    block = node.answers["block"]

    def limited(height: str) -> Any:
        now = time.monotonic()
        times[:] = [at for at in times if now - at < 0.2]
        if len(times) >= 10:
            raise NodeSays(-32603, "Internal error", "rate limited")
        times.append(now)
        return block(height)

    node.answers["block"] = limited
    async with following(node) as watch:
        await settled_11(node, watch)
        node.height = 60
        await watch.until_settled(59)
        assert watch.heights == list(range(11, 60))


# Validator sets


@pytest.mark.parametrize("per_page", [1, 100])
async def test_sets_that_change_with_each_block_are_read_several_at_a_time_and_their_pages_too(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch, per_page: int
) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.validator_sets.PER_PAGE", per_page)
    validators, answered, most = node.answers["validators"], 0, 0

    def counted(**params: str) -> Any:
        nonlocal answered, most
        most = max(most, node.methods.count("validators") - answered)
        answered += 1
        return validators(**params)

    node.answers["validators"] = counted
    node.delays["validators"] = 0.1
    async with following(node) as watch:
        await looks(node)
        for height in range(11, 18):
            made = chain.block(height, validators_hash=f"{height:064X}")
            watch.tracker.event(NewBlock(made), time.time(), 0)
        node.height = 17
        await watch.until_settled(16)
        assert watch.heights == list(range(11, 17))
        assert most >= (4 if per_page == 1 else 3)  # the client asks four at a time


async def test_a_proxy_that_is_not_available_is_no_set_that_is_gone(node: LivingChain) -> None:
    node.errors["validators"] = (-32603, "Internal error", "the service is not available")
    async with following(node) as watch:
        await looks(node)
        watch.tell(11, 12, 13)
        await until(lambda: node.methods.count("validators") >= 4)
        del node.errors["validators"]
        await watch.until_settled(12)
        assert watch.heights == [11, 12]


async def test_a_set_that_is_gone_is_given_up_and_only_that(node: LivingChain) -> None:
    validators = node.answers["validators"]

    def gone(height: str, page: str, per_page: str) -> Any:
        if height == "12":
            raise NodeSays(-32603, "Internal error", "could not find validator set for height #12")
        return validators(height, page, per_page)

    node.answers["validators"] = gone
    async with following(node) as watch:
        await looks(node)
        for height in range(11, 16):
            watch.tracker.event(NewBlock(chain.block(height, validators_hash=f"{height:064X}")), time.time(), 0)
        await watch.until_settled(14)
        assert watch.heights == [11, 13, 14]


# Starts


async def test_without_any_stream_heights_are_read_from_the_first_start_on(node: LivingChain) -> None:
    node.flags |= {height: {3: FLAG_ABSENT} for height in range(11, 60)}
    async with following(node, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        await until(lambda: watch.tracker.ledger.settled)
        node.height = 30
        await watch.until_settled(29)
        assert watch.heights[-1] == 29
        assert {settled.how for settled in watch.settled} == {How.FILLED}
        assert (watch.value("cometbft_validator_consecutive_missed", validator=MINE) or 0) >= 19


async def test_a_stream_that_tells_begins_with_what_it_tells(node: LivingChain) -> None:
    async with following(node) as watch:
        await looks(node, 10)
        assert watch.tracker.ledger.settled == 0  # its patience is longer
        watch.tell(14, 15)
        await watch.until_settled(14)
        assert watch.heights == [14]


async def test_a_chain_that_began_anew_while_the_exporter_was_down_is_followed_from_its_start(
    node: LivingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(node, folder=tmp_path) as watch:
        await looks(node)
        node.height = 1000
        watch.tell(999, 1000)
        await watch.until_settled(999)
    days_later(monkeypatch)
    node.height = 50
    async with following(node, folder=tmp_path) as watch:
        assert watch.tracker.ledger.settled == 999
        await until(lambda: watch.tracker.ledger.settled == 0)
        watch.tell(51, 52)
        await watch.until_settled(51)
        assert watch.heights == [51]
    assert "began anew and is at height 50" in caplog.text


async def test_a_chain_that_began_anew_and_is_longer_by_now_is_known_by_its_block(
    node: LivingChain, tmp_path: Path
) -> None:
    async with following(node, folder=tmp_path) as watch:
        await settled_11(node, watch)
    other_history(node)
    node.height = 50
    async with following(node, folder=tmp_path) as watch:
        await until(lambda: watch.tracker.ledger.settled == 0)
        assert watch.value("cometbft_heights_settled_total", how="watched") == 0


async def test_one_odd_answer_forgets_nothing_and_three_do(node: LivingChain) -> None:
    async with following(node) as watch:
        await settled_11(node, watch)
        told = node.answers["status"]
        names = iter(["other-1", "other-2", chain.CHAIN, "", "", "", "other-1", chain.CHAIN])

        def odd() -> Any:
            answer = told()
            answer["node_info"]["network"] = next(names, chain.CHAIN)
            return answer

        node.answers["status"] = odd
        await looks(node, 12)
        assert (watch.tracker.chain_id, watch.tracker.ledger.settled) == (chain.CHAIN, 11)
        assert watch.value("cometbft_heights_settled_total", how="watched") == 1
        node.answers["status"] = told
        node.chain_id = "other-1"
        await until(lambda: watch.tracker.chain_id == "other-1")
        assert watch.tracker.ledger.settled == 0
        assert continuity.SURE == 3


REMEMBERED = ("cometbft_heights_settled", "cometbft_vote_events", "cometbft_validator_precommits",
              "cometbft_validator_prevotes", "cometbft_validator_missed", "cometbft_validator_proposals")  # fmt: skip


def counters(watch: Following) -> dict[tuple[str, ...], float]:
    """What pages show of the counters that are remembered, by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in watch.tracker.collect()
        for sample in family.samples
        if family.name in REMEMBERED
    }


async def test_whenever_it_is_killed_no_counter_was_shown_that_is_not_remembered(
    node: LivingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SAVE_SECONDS", 0.07)
    folders = iter(range(100))
    kills: list[tuple[dict[tuple[str, ...], float], Path]] = []
    async with following(node, folder=tmp_path) as watch:
        await looks(node)
        for height in range(11, 40):
            watch.tell(height)
            node.height = height
            shown = counters(watch)
            await asyncio.sleep(0.01)
            if height % 5 == 0 and (tmp_path / "cometbft.json").exists():
                killed = tmp_path / str(next(folders))
                killed.mkdir()
                shutil.copy(tmp_path / "cometbft.json", killed)
                kills.append((shown, killed))
        await until(lambda: watch.value("cometbft_heights_settled_total", how="watched") == 28)
    assert len([shown for shown, _ in kills if any(shown.values())]) >= 3
    node.delays["status"] = 60
    for shown, killed in kills:
        async with following(node, folder=killed) as again:
            after = counters(again)
            assert {key: value for key, value in shown.items() if after.get(key, 0) < value} == {}


class Disk:
    """A state file of which the test says when it is written."""

    def __init__(self) -> None:
        self.written = True

    def put(self, state: object) -> None:
        self.written = False


def test_counters_are_shown_once_they_are_written_or_the_disk_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now, count, disk = 0.0, 0, Disk()
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.memory.time.monotonic", lambda: now)
    kept = memory.Memory(cast(Any, disk), lambda: cast(Any, "state"), lambda: cast(Any, [count]))
    kept.begin()
    count, kept.changed = 1, True
    kept._put(cast(Any, disk))
    assert list(kept.show()) == [0]
    disk.written = True
    assert list(kept.show()) == [1]
    now = 100.0
    kept._put(cast(Any, disk))  # nothing new for long
    count, kept.changed = 2, True
    kept._put(cast(Any, disk))
    count, kept.changed = 3, True
    now += memory.LATE_SECONDS
    assert list(kept.show()) == [1]
    now += 2 * memory.SAVE_SECONDS
    assert list(kept.show()) == [3]
    disk.written, kept.changed = True, False  # an older page does not come after it
    assert list(kept.show()) == [3]


async def test_after_a_stop_all_counters_go_on_at_once(node: LivingChain, tmp_path: Path) -> None:
    async with following(node, folder=tmp_path) as watch:
        await settled_11(node, watch)
    for _ in range(2):  # also where nothing was counted in between
        async with following(node, folder=tmp_path) as watch:
            assert watch.value("cometbft_heights_settled_total", how="watched") == 1
            prevotes = {"validator": MINE, "result": "block"}
            assert watch.value("cometbft_validator_prevotes_total", **prevotes) == 1
            await looks(node)


# Blame


async def test_a_clock_of_ours_that_is_ahead_does_not_look_at_the_wrong_time(node: LivingChain) -> None:
    async with following(node) as watch:
        await looks(node)
        node.catching_up = True
        await until(lambda: watch.tracker.verdict.condition is Condition.SYNCING)
        await asyncio.sleep(0.05)
        missed = chain.Course({3: FLAG_ABSENT})
        for height, course, before in ((11, missed, chain.HEALTHY), (12, chain.HEALTHY, missed)):
            for _, event in chain.stream(height, course, before):  # years after their headers, by our clock
                watch.tracker.event(event, time.time(), 0)
        await watch.until_settled(11)
        assert watch.settled[0].how is How.WATCHED
        assert watch.value("cometbft_validator_missed_by_cause_total", validator=MINE, cause="node") == 1


async def test_who_stands_is_the_set_of_the_last_height_until_that_of_the_standing_one_is_read(
    node: LivingChain, tmp_path: Path
) -> None:
    async with following(node, folder=tmp_path) as watch:
        assert watch.tracker.standing_set is None
        await settled_11(node, watch)
        assert watch.tracker.standing_set == chain.FOUR
    node.voted = (True, False, True, False)
    async with following(node, folder=tmp_path, stream=Stream(silence=0.1), chain=Chain(spacing=0.03)) as watch:
        assert watch.tracker.standing_set == chain.FOUR
        await until(lambda: watch.tracker.verdict.condition is Condition.NO_QUORUM)
        standing = watch.tracker.standing_set
        assert standing is not None
        assert standing.members == chain.FOUR.members
        assert standing.hash == ""
