"""Looks at the watched node: what it is asked, how often, and which of the heights it hears of are believed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.consensus.events import NewBlock
from chainwatch.families.cometbft.consensus.model import Condition, NodeCondition
from chainwatch.families.cometbft.settings import Chain, CometbftSettings, Rpc, Stream
from chainwatch.families.cometbft.tracker import closer
from chainwatch.families.cometbft.tracker.tip import FALLEN_SECONDS, PER_SECOND, SPARE, SURE, Tip
from chainwatch.families.cometbft.tracker.validator_sets import SetReader
from chainwatch.families.cometbft.tracker.watch import Watch
from chainwatch.streams.health import StreamHealth
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.living_chain import LivingChain, following, hurry, until

T0 = 1_700_000_000.0
REFUSED = (-32601, "Method not found", "")
FAR = 2**61


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block 10 is made now."""
    before, shift = chain.at, time.time() - chain.at(10)
    monkeypatch.setattr(chain, "at", lambda height, offset=0.0: before(height, offset) + shift)


@pytest.fixture
async def node() -> AsyncIterator[LivingChain]:
    async with LivingChain() as node:
        yield node


@asynccontextmanager
async def watching(node: LivingChain, silence: float = 5.0) -> AsyncIterator[Watch]:
    """A watch that looks only when it is told to, its stream open; a second of the chain's time is its spacing."""
    settings = CometbftSettings(
        rpc=Rpc(url=node.url, timeout=5), stream=Stream(silence=silence), chain=Chain(spacing=silence / 3)
    )
    endpoints = Endpoints(settings)
    stream = StreamHealth("consensus", is_open=True)
    try:
        yield Watch(endpoints, settings, SetReader(endpoints), stream, lambda: None)
    finally:
        await endpoints.close()


async def looks(watch: Watch, found: Callable[[], object]) -> None:
    """Look until something is found."""
    await until_done(watch.look, found)


async def until_done(step: Callable[[], Awaitable[Any]], found: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not found():
        assert time.monotonic() < ends
        await step()


# Peers


@pytest.mark.parametrize("slow", [False, True], ids=["refused", "hangs"])
async def test_a_node_that_does_not_count_its_peers_answers_all_the_same(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.watch.PEERS_SECONDS", 5.0)
    if slow:
        node.delays["net_info"] = 60
    else:
        node.errors["net_info"] = REFUSED
    async with watching(node) as watch:
        for _ in range(5):
            assert await watch.look() is not None
        assert watch.conditions.latest == NodeCondition(True, False, None)
        assert watch.poll.is_open
        assert node.methods.count("net_info") == 1  # and not at each look
    node.requests.clear()
    async with following(node) as tracked:  # a chain whose node hides its peers is followed
        await until(lambda: tracked.stream.health.is_open)


async def test_the_time_that_a_status_may_take_is_its_own(node: LivingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.watch.STATUS_SECONDS", 1.0)
    node.delays |= {"status": 0.6, "net_info": 0.6}
    async with watching(node) as watch:
        assert await watch.look() is not None
        assert watch.conditions.latest == NodeCondition(True, False, 4)


# Closer looks


async def test_rounds_that_the_stream_tells_are_not_asked_for_however_old_the_tip(node: LivingChain) -> None:
    async with watching(node) as watch:
        await watch.look()
        for height in (11, 12):
            for _, event in chain.stream(height):
                watch.take(event, time.time())
        for number in range(1, 30):
            watch.take(chain.new_round(13, number), time.time())
            await watch.look()
        assert watch.verdict.condition is Condition.MANY_ROUNDS
        assert "consensus_state" not in node.methods
        assert node.methods.count("dump_consensus_state") == 1  # the peers may be further
        assert watch.pause == watch._settings.tracker.poll_interval


async def test_a_node_rests_from_a_closer_look_and_its_halt_goes_on_with_names_and_set(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.voted = (True, False, True, False)
    node.delays["consensus_state"] = 0.1
    async with watching(node, silence=0.1) as watch:
        await looks(watch, lambda: watch.verdict.condition is Condition.NO_QUORUM)
        asked = node.methods.count("consensus_state")
        began = time.monotonic()
        while time.monotonic() - began < 0.1 * closer.REST / 4:
            await watch.look()
            assert watch.verdict.condition is Condition.NO_QUORUM
            assert watch.verdict.missing == (chain.address(1), chain.address(3))
            assert watch.standing is not None
            assert watch.members is not None
            assert [member.address for member in watch.members.members] == [
                member.address for member in chain.FOUR.members
            ]
        assert node.methods.count("consensus_state") <= asked + 1


async def test_what_was_read_before_a_movement_is_not_taken_for_the_present(node: LivingChain) -> None:
    async with watching(node, silence=0.1) as watch:
        await looks(watch, lambda: watch.standing is not None)
        watch._closer._rested = time.monotonic() + 60
        node.height = 12
        await watch.look()
        assert watch.standing is None
        assert watch.members is None


# Headers


async def test_a_node_that_gives_no_headers_is_asked_once_a_minute(node: LivingChain) -> None:
    node.errors["blockchain"] = REFUSED
    async with following(node):
        await until(lambda: node.methods.count("status") >= 10)
    assert node.methods.count("blockchain") == 1


# Heights that cannot be


@pytest.mark.usefixtures("_now")
async def test_heights_that_no_chain_can_have_reached_change_nothing(node: LivingChain) -> None:
    async with watching(node) as watch:
        await watch.look()
        block = chain.block(13)
        block = structs.replace(block, header=structs.replace(block.header, height=FAR))
        for impossible in (chain.new_round(FAR), chain.step(FAR, "Prevote"), NewBlock(block)):
            watch.take(impossible, time.time())
        assert watch.first_seen(FAR) is None
        assert watch.tip.height == 10
        assert watch.pulse.heard <= 11
        for _, event in chain.stream(11):
            watch.take(event, time.time())
        assert watch.pulse.applied == watch.tip.height == 11
        assert watch.pulse.height == 12


@pytest.mark.usefixtures("_now")
async def test_others_and_consensus_that_name_impossible_heights_are_not_believed(node: LivingChain) -> None:
    node.peer_heights = [FAR, FAR, FAR]
    node.voted = (True, False, True, False)
    async with watching(node, silence=0.1) as watch:
        watch.vantage_heights |= {1: 5000, 2: FAR}  # of another history, and of none
        real = node.answers["consensus_state"]

        def far() -> Any:
            answer = real()
            answer["round_state"]["height/round/step"] = f"{FAR}/0/4"
            return answer

        node.answers["consensus_state"] = far
        await until_done(watch.look, lambda: "consensus_state" in node.methods)
        assert watch.pulse.height < 100
        assert watch.standing is None
        node.answers["consensus_state"] = real
        await looks(watch, lambda: watch.verdict.condition is Condition.NO_QUORUM)


@pytest.mark.usefixtures("_now")
async def test_one_wrong_status_is_forgotten(node: LivingChain) -> None:
    async with watching(node) as watch:
        await watch.look()
        node.height = 10**6
        node.answers["status"] = lying(node.answers["status"])
        for _ in range(SURE - 1):
            assert await watch.look() is None
        assert watch.conditions.latest.answering
        node.height = 11
        assert await watch.look() is not None
        assert watch.tip.height == watch.pulse.applied + 11 == 11


def lying(status: Callable[[], Any]) -> Callable[[], Any]:
    """The same answers, as of a block that is made now."""

    def answer() -> Any:
        told = status()
        told["sync_info"]["latest_block_time"] = "2026-01-01T00:00:00Z"
        return told

    return answer


def test_a_chain_reaches_what_its_time_allows() -> None:
    tip = Tip()
    assert tip.reach(T0) == 0
    assert tip.answered(10, T0, T0)
    tip.saw(10, T0)
    assert tip.reach(T0 - 5) == 10 + SPARE
    assert tip.reach(T0 + 60) == 10 + SPARE + 60 * PER_SECOND


def test_a_leap_counts_once_it_was_told_again_and_again() -> None:
    tip = Tip()
    tip.answered(10, T0, T0)
    tip.saw(10, T0)
    assert [tip.answered(10**9, T0, T0 + 1) for _ in range(SURE)] == [False] * (SURE - 1) + [True]
    assert not tip.answered(2 * 10**9, T0, T0 + 1) or tip.height == 10


def test_a_node_that_fell_back_is_believed_after_a_while_and_a_moment_is_none() -> None:
    tip = Tip()
    tip.answered(100, T0, T0)
    tip.saw(100, T0)
    tip.header(99, T0 - 1)
    tip.header(100, T0)
    tip.answered(60, T0, T0 + 1)
    tip.answered(60, T0, T0 + FALLEN_SECONDS)
    assert tip.height == 100
    tip.answered(100, T0, T0 + FALLEN_SECONDS + 0.5)  # it was another node behind the same address
    tip.answered(60, T0, T0 + FALLEN_SECONDS + 2)
    assert tip.height == 100
    tip.answered(60, T0 - 40, T0 + 2 * FALLEN_SECONDS + 2)
    assert tip.height == 60
    assert tip.first_seen(100) is None
    assert tip.latest_header is None


def test_a_stream_that_goes_on_shows_that_an_old_status_is_old() -> None:
    tip = Tip()
    tip.answered(100, T0, T0)
    tip.saw(100, T0)
    for later in range(1, 40):
        tip.answered(60, T0, T0 + later)
        assert tip.height == 99 + later
        tip.saw(100 + later, T0 + later)


async def test_what_was_believed_above_a_node_that_fell_back_is_forgotten(
    node: LivingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.families.cometbft.tracker.tip.FALLEN_SECONDS", 0.05)
    async with watching(node) as watch:
        node.height = 500
        await watch.look()
        for _, event in chain.stream(501):
            watch.take(event, time.time())
        node.height = 300
        await looks(watch, lambda: watch.tip.height == 300)
        for _, event in chain.stream(301):
            watch.take(event, time.time())
        assert (watch.pulse.applied, watch.pulse.height, watch.tip.height) == (301, 302, 301)
