"""The collectors that ask the application: a Cosmos SDK chain, and a chain that is none."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chainwatch.errors import Unsupported
from chainwatch.families.cometbft.collectors.slashing import SlashingCollector
from chainwatch.families.cometbft.collectors.upgrade import UpgradeCollector
from chainwatch.families.cometbft.node import CometbftNode
from chainwatch.families.cometbft.sdk import queries
from tests.unit.cometbft.fake_node import FakeNode, collect, watched
from tests.unit.cometbft.test_sdk import INFOS, NODE0, NODE3, PARAMS, PLAN

LAST_PAGE = ""


def application(fake: FakeNode, values: dict[str, str]) -> None:
    """The node's application answers these paths, every other one as the SDK does; a list has one page."""

    def answer(path: str, data: str, prove: bool) -> Any:
        value = LAST_PAGE if b"next".hex() in data else values.get(path)
        return {"response": {"code": 0 if value is not None else 6, "codespace": "sdk", "value": value}}

    fake.answers["abci_query"] = answer


@pytest.fixture
async def node(fake: FakeNode) -> AsyncIterator[CometbftNode]:
    async with watched(fake) as made:
        made.tracker.names = {NODE3: "mine"}  # type: ignore[misc]
        made.tracker.shown = [NODE0, NODE3, "0" * 40]  # type: ignore[misc]
        yield made


async def test_slashing_tells_how_many_blocks_a_validator_may_still_miss(fake: FakeNode, node: CometbftNode) -> None:
    application(fake, {queries.SLASHING_PARAMS: PARAMS, queries.SIGNING_INFOS: INFOS})
    page = await collect(SlashingCollector(node))
    assert page["cometbft_slashing_window_blocks"] == {(): 10_000}
    assert page["cometbft_slashing_min_signed_ratio"] == {(): 0.05}
    assert page["cometbft_validator_missed_window_blocks"] == {(NODE0,): 42, (NODE3,): 9501}
    assert page["cometbft_validator_jail_distance_blocks"] == {(NODE0,): 9458, (NODE3,): 0}
    assert page["cometbft_validator_jailed"] == {(NODE3,): 1}


async def test_an_upgrade_ahead_is_told_with_its_distance(fake: FakeNode, node: CometbftNode) -> None:
    application(fake, {queries.CURRENT_PLAN: PLAN})
    fake.on_chain("chainwatch-lab", latest_block_height="15816100")
    page = await collect(UpgradeCollector(node))
    assert page == {"cometbft_upgrade_height": {(): 15816200}, "cometbft_upgrade_distance_blocks": {(): 100}}


async def test_no_upgrade_is_no_metric(fake: FakeNode, node: CometbftNode) -> None:
    application(fake, {queries.CURRENT_PLAN: ""})
    assert await collect(UpgradeCollector(node)) == {}


@pytest.mark.parametrize("collector", [SlashingCollector, UpgradeCollector])
async def test_an_application_without_the_modules_is_not_supported(
    fake: FakeNode, node: CometbftNode, collector: type[Any]
) -> None:
    application(fake, {})
    with pytest.raises(Unsupported):
        await collect(collector(node))


async def test_what_another_application_answers_to_any_path_is_not_taken_for_parameters(
    fake: FakeNode, node: CometbftNode
) -> None:
    """The kvstore of CometBFT's own, as recorded with a key that it has not."""
    fake.answers["abci_query"] = {"response": {"code": 0, "log": "does not exist", "value": None, "height": "9"}}
    with pytest.raises(Unsupported):
        await collect(SlashingCollector(node))
    assert await collect(UpgradeCollector(node)) == {}
