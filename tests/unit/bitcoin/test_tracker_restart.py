"""What a restarted exporter neither invents nor forgets."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from chainwatch import errors
from chainwatch.exposition import state_file
from chainwatch.exposition.state_file import StateFile
from chainwatch.families.bitcoin.tracker.state import State
from chainwatch.families.bitcoin.tracker.tracker import Tracker
from tests.unit.bitcoin.fake_chain import FakeChain
from tests.unit.bitcoin.watching import hurry, settings, until, value, watching


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def chain() -> FakeChain:
    chain = FakeChain()
    chain.mine(20)
    return chain


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "bitcoin.json"


async def follow_until_saved(chain: FakeChain, state: Path) -> None:
    """Run a tracker until its file holds the tip; SIGKILL could end it as well, since nothing is written at the end."""
    async with watching(chain, state) as watch:
        await watch.settled()
        await until(lambda: state.exists() and json.loads(state.read_text())["blocks"][-1]["hash"] == chain.tip)


async def test_a_restart_without_news_counts_nothing_and_remembers_when_the_tip_was_seen(
    chain: FakeChain, state: Path
) -> None:
    async with watching(chain, state) as watch:
        await watch.settled()
        [arrived] = chain.mine(seconds_ago=900)
        await watch.settled()
        seen = watch.tracker.first_seen(arrived)
        await until(lambda: arrived in state.read_text())
    async with watching(chain, state) as watch:
        assert watch.tracker.first_seen(arrived) == seen
        await watch.settled()

        assert watch.tracker.first_seen(arrived) == seen
        assert watch.reorgs() == {}
        assert watch.value("bitcoin_blocks_connected_total") == 0


async def test_the_chain_is_known_before_the_node_answers(chain: FakeChain, state: Path) -> None:
    await follow_until_saved(chain, state)

    chain.error = errors.NodeUnreachable("connection refused")
    restarted = Tracker(chain, settings(), StateFile(state, State))  # type: ignore[arg-type]

    assert restarted.chain_label == "bitcoin-regtest"
    assert Tracker(chain, settings()).chain_label is None  # type: ignore[arg-type]


async def test_blocks_of_the_downtime_are_counted_and_no_reorganisation_invented(chain: FakeChain, state: Path) -> None:
    await follow_until_saved(chain, state)
    chain.mine(5, seconds_ago=60)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.value("bitcoin_blocks_connected_total") == 5
        assert watch.reorgs() == {}
        first_seen = watch.tracker.first_seen(chain.tip)
        assert first_seen == chain.blocks[chain.tip].time


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_reorganisation_of_the_downtime_is_counted_once(chain: FakeChain, state: Path, depth: int) -> None:
    await follow_until_saved(chain, state)
    chain.reorganise(depth, depth + 2)
    await follow_until_saved(chain, state)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {"network": {depth: 1}}


async def test_a_branch_that_came_and_went_during_the_downtime_is_counted(chain: FakeChain, state: Path) -> None:
    await follow_until_saved(chain, state)
    chain.mine(2, "came and went")
    chain.reorganise(2, 4)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}}


async def test_counters_go_on_so_that_prometheus_sees_the_increase(chain: FakeChain, state: Path) -> None:
    async with watching(chain, state) as watch:
        await watch.settled()
        chain.reorganise(2, 3)
        await watch.settled()
        await until(lambda: '"network"' in state.read_text())
    chain.reorganise(1, 2, "another")
    async with watching(chain, state) as watch:
        assert watch.value("chainwatch_reorgs_total", origin="network") == 1
        assert watch.value("chainwatch_reorg_depth_blocks_sum", origin="network") == 2
        assert watch.value("bitcoin_stale_blocks_total") == 2
        await watch.settled()

        assert watch.value("chainwatch_reorgs_total", origin="network") == 2
        assert watch.value("chainwatch_reorg_depth_blocks_sum", origin="network") == 3
        assert watch.value("bitcoin_stale_blocks_total") == 3


async def test_invalidateblock_during_the_downtime_is_the_operators(chain: FakeChain, state: Path) -> None:
    await follow_until_saved(chain, state)
    chain.invalidate(2)
    chain.mine(4, "after")
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {"operator": {2: 1}}


async def test_a_branch_put_away_before_and_taken_back_during_the_downtime_is_the_operators(
    chain: FakeChain, state: Path
) -> None:
    async with watching(chain, state) as watch:
        await watch.settled()
        old = chain.invalidate(3)
        await watch.settled()
        chain.mine(1, "meanwhile")
        await watch.settled()
        await until(lambda: chain.tip in state.read_text())
    chain.reconsider(old)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {"operator": {3: 1, 1: 1}}


async def test_a_pure_fall_while_nobody_watched_and_without_marks_is_a_crash_of_the_node(
    chain: FakeChain, state: Path
) -> None:
    await follow_until_saved(chain, state)
    chain.forget(4)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {}


async def test_the_state_of_another_chain_is_not_used(
    chain: FakeChain, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await follow_until_saved(chain, state)
    other = FakeChain(salt="another network")
    other.mine(30)
    async with watching(other, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {}
        assert watch.value("bitcoin_blocks_connected_total") == 0
        assert "starting clean" in caplog.text


async def test_the_state_of_another_client_with_the_same_genesis_is_not_used(
    chain: FakeChain, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await follow_until_saved(chain, state)
    chain.subversion = "/Bitcoin SV:1.0.13/"
    chain.reorganise(3, 5)
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {}
        assert watch.tracker.chain_label == "bitcoinsv-regtest"
        assert "the node is on bitcoinsv-regtest, what is remembered belongs to bitcoin-regtest" in caplog.text


async def test_the_blocks_of_another_node_are_not_used_and_what_was_counted_is(
    chain: FakeChain, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with watching(chain, state) as watch:
        await watch.settled()
        chain.reorganise(1, 2)
        await watch.settled()
        await until(lambda: '"network"' in state.read_text())
    chain.reorganise(2, 3, "the other node's branch")
    chain.address = "192.0.2.7:8332"
    async with watching(chain, state) as watch:
        await watch.settled()

        assert watch.reorgs() == {"network": {1: 1}}
        assert "is from 127.0.0.1:8332, another node" in caplog.text
        await until(lambda: "192.0.2.7:8332" in state.read_text())


async def test_a_disk_that_hangs_holds_up_nothing_but_the_state_file(
    chain: FakeChain, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, released = os.fsync, threading.Event()
    monkeypatch.setattr(os, "fsync", lambda descriptor: (released.wait(), real(descriptor)))
    try:
        async with watching(chain, state) as watch:
            await watch.settled()
            for _ in range(3):
                chain.mine(1)
                await watch.settled()
            chain.reorganise(2, 3)
            await watch.settled()

            assert watch.value("bitcoin_blocks_connected_total") == 6
            assert watch.reorgs() == {"network": {2: 1}}
            assert not state.exists()
            released.set()
            await until(lambda: state.exists() and chain.tip in state.read_text())
    finally:
        released.set()


async def test_what_was_not_written_yet_is_written_at_the_end(
    chain: FakeChain, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_file, "PAUSE", 3600)
    async with watching(chain, state) as watch:
        await watch.settled()
        await until(state.exists)
        chain.mine(1)
        await watch.settled()
        assert chain.tip not in state.read_text()

    assert chain.tip in state.read_text()


async def test_a_damaged_file_is_a_clean_start_and_is_written_anew(
    chain: FakeChain, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.write_text('{"kind": "chainwatch bitc')
    async with watching(chain, state) as watch:
        await watch.settled()
        assert watch.reorgs() == {}
        await until(lambda: StateFile(state, State).load() is not None)
    assert "starting without it" in caplog.text


async def test_an_unwritable_file_does_not_stop_the_tracker(
    chain: FakeChain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(chain, tmp_path / "no such folder" / "state.json") as watch:
        await watch.settled()
        chain.reorganise(2, 3)
        await watch.settled()

        assert watch.reorgs() == {"network": {2: 1}}
    errors_logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors_logged) == 1


async def test_without_a_state_file_every_start_is_clean(chain: FakeChain) -> None:
    async with watching(chain) as watch:
        await watch.settled()
    chain.reorganise(2, 3)
    async with watching(chain) as watch:
        await watch.settled()

        assert watch.reorgs() == {}
        assert value(watch.tracker, "bitcoin_blocks_connected_total") == 0
