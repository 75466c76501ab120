"""The exporter as the service runs it: its pages, its labels, its settings, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from chainwatch.config import State
from chainwatch.errors import ConfigError
from chainwatch.exposition.runner import Runner
from chainwatch.families.cometbft import FAMILY
from chainwatch.families.cometbft.exporter import CometbftExporter
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Validators
from tests.unit.cometbft import ledger_chain as chain
from tests.unit.cometbft.living_chain import LivingChain, hurry


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def node() -> AsyncIterator[LivingChain]:
    async with LivingChain() as node:
        yield node


@pytest.fixture
async def exporter(node: LivingChain) -> AsyncIterator[CometbftExporter]:
    made = CometbftExporter(CometbftSettings(rpc=Rpc(url=node.url)))
    yield made
    await made.close()


async def test_a_scrape_joins_what_is_asked_with_what_was_counted(exporter: CometbftExporter) -> None:
    FAMILY.collectors.load()
    collectors = {entry.name: entry.build(exporter.node) for entry in FAMILY.collectors if entry.name == "status"}
    await exporter.tracker.watch.look()

    families = {family.name: family for family in await Runner(collectors, exporter.sources).collect(5)}

    assert families["chainwatch_tip_height"].samples[0].value == 10
    assert families["chainwatch_tip_first_seen_timestamp_seconds"].samples[0].value == chain.at(10)
    assert "chainwatch_rpc_requests" in families
    assert {sample.labels["stream"] for sample in families["chainwatch_stream_connected"].samples} == {
        "poll",
        "consensus",
    }
    assert sum(sample.value for sample in families["cometbft_chain_condition"].samples) == 1
    assert {sample.value for sample in families["chainwatch_reorgs"].samples} == {0}


async def test_the_chain_is_a_label_once_the_node_named_it(exporter: CometbftExporter) -> None:
    assert exporter.constant_labels() == {"chain": "unknown"}
    assert dict(exporter.facts())["Chain"].startswith("not known yet")
    await exporter.node.status()
    assert exporter.constant_labels() == {"chain": chain.CHAIN}


async def test_every_page_of_the_family_has_a_route(exporter: CometbftExporter) -> None:
    assert {route.path for route in exporter.routes()} == set(FAMILY.pages)


async def test_a_new_address_is_followed_and_its_chain_recognised_anew(
    exporter: CometbftExporter, node: LivingChain
) -> None:
    async with LivingChain(99) as other:
        await exporter.tracker.watch.look()
        assert exporter.tracker.tip == 10

        exporter.configure(CometbftSettings(rpc=Rpc(url=other.url)))

        assert exporter.tracker.tip is None
        await exporter.tracker.watch.look()
        assert exporter.tracker.tip == 99
        assert exporter.node.settings.rpc.url == other.url


async def test_two_exporters_do_not_share_a_state_folder(node: LivingChain, tmp_path: Path) -> None:
    settings = CometbftSettings(rpc=Rpc(url=node.url), state=State(dir=tmp_path))
    first = CometbftExporter(settings)
    with pytest.raises(ConfigError, match="in use by another exporter"):
        CometbftExporter(settings)
    await first.close()
    await CometbftExporter(settings).close()


async def test_only_ones_own_validators_are_shown_where_that_is_set(node: LivingChain) -> None:
    settings = CometbftSettings(rpc=Rpc(url=node.url), validators=Validators(own=f"{chain.address(2)}=two"))
    for only_own, shown in ((False, 4), (True, 1)):
        made = structs.replace(settings, validators=structs.replace(settings.validators, only_own=only_own))
        exporter = CometbftExporter(made)
        exporter.tracker.ledger.learn(chain.FOUR)
        for height in (11, 12):
            for seen, event in chain.stream(height):
                exporter.tracker.event(event, seen, 0)
        exporter.tracker.ledger.learn(chain.FOUR)
        families = {family.name: family for family in exporter.tracker.collect()}
        assert len(families["cometbft_validator_power"].samples) == shown
        await exporter.close()
