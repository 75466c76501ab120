"""What every collector does alike, and those of the node itself: RPC server, uptime, UTXO set."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from chainwatch.errors import Forbidden, MethodNotFound, NodeError, RpcError, Unsupported
from chainwatch.families.bitcoin.collectors import (
    BITCOIN,
    fees,
    rpc_server,
    uptime,
    utxo_set,
)
from tests.unit.bitcoin.fake_node import (
    FIXTURES,
    WARMING_UP,
    FakeNode,
    NodeSays,
    collect,
    recorded,
    watched,
)

BITCOIN.load()
ALL = {registration.name: registration.build for registration in BITCOIN}


# Every collector


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("failure", ["warming_up", "forbidden", "unauthorized", "work_queue", "bad_reply"])
async def test_no_collector_reports_anything_when_the_node_refuses(name: str, failure: str) -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        match failure:
            case "warming_up":
                fake.errors["*"] = WARMING_UP
            case "forbidden":
                fake.forbidden.add("*")
            case "unauthorized":
                fake.login = "somebody:else"
            case "work_queue":
                fake.status, fake.body = 503, b"Work queue depth exceeded"
            case "bad_reply":
                fake.body = b"<html>"
        with pytest.raises(NodeError) as caught:
            await ALL[name](node).collect()
        assert caught.value.reason == failure
        assert not isinstance(caught.value, Unsupported)


@pytest.mark.parametrize("name", ALL)
async def test_no_collector_reports_what_it_knew_when_the_node_is_gone(name: str) -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = ALL[name](node)
        await collector.collect()
        await fake.stop()
        with pytest.raises(NodeError, match="is the node running"):
            await collector.collect()


def test_collectors_that_cost_the_node_much_are_off_unless_asked_for() -> None:
    assert {registration.name for registration in BITCOIN if not registration.default} == {"block_template", "utxo_set"}


def test_every_collector_says_in_one_line_what_it_is_for() -> None:
    for registration in BITCOIN:
        assert registration.summary.endswith("."), registration.name


async def test_a_scrape_of_all_collectors_takes_two_requests_once_tip_and_version_are_known() -> None:
    async with FakeNode(FIXTURES / "litecoind") as fake, watched(fake) as node:
        collectors = [registration.build(node) for registration in BITCOIN if registration.default]
        for scrape in range(2):
            fake.requests.clear()
            await asyncio.gather(*(collector.collect() for collector in collectors), return_exceptions=True)
            if scrape == 0:
                # A node before 23 does not tell the tip's time: the recorded header is that of another block.
                fake.answers["getblockheader"] = {
                    **recorded("litecoind", "getblockheader"),
                    "hash": recorded("litecoind", "getblockchaininfo")["bestblockhash"],
                }
                await asyncio.gather(*(collector.collect() for collector in collectors), return_exceptions=True)
        assert len(fake.requests) == 2
        assert len(set(fake.methods)) == len(fake.methods) - len(fees.TARGETS) + 1


# The RPC server, uptime, the UTXO set


async def test_calls_of_the_same_scrape_are_not_counted_as_load() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["getrpcinfo"] = {
            "active_commands": [
                {"method": "getrpcinfo", "duration": 22},
                {"method": "getblockchaininfo", "duration": 130},
                {"method": "gettxoutsetinfo", "duration": 61_500_000},
                {"method": "getblock", "duration": 30_000_000},
            ],
            "logpath": "/var/lib/node",
        }
        made = await collect(rpc_server.RpcServerCollector(node))
        assert made["bitcoin_rpc_active_commands"][()] == 2
        assert made["bitcoin_rpc_longest_running_command_seconds"][()] == 61.5


async def test_start_time_stands_still_until_the_node_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10_000.4
    monkeypatch.setattr(uptime, "time", SimpleNamespace(time=lambda: now))
    async with FakeNode() as fake, watched(fake) as node:
        collector = uptime.UptimeCollector(node)
        seen = set()
        for step in range(10):
            fake.answers["uptime"] = 100 + step
            now = 10_000.4 + step + (step % 3) * 0.6
            seen.add((await collect(collector))["chainwatch_node_start_timestamp_seconds"][()])
        assert seen == {9900}
        fake.answers["uptime"] = 1
        assert (await collect(collector))["chainwatch_node_start_timestamp_seconds"][()] == 10_008


async def test_utxo_set_is_counted_beside_the_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utxo_set, "PATIENCE_SECONDS", 0.02)
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = utxo_set.UtxoSetCollector(node)
        fake.delays["gettxoutsetinfo"] = 0.2
        assert await collect(collector) == {}  # not counted yet: absent
        for _ in range(50):
            made = await collect(collector)
            if made:
                break
        assert made["bitcoin_utxo_set_outputs"][()] == 129
        assert made["bitcoin_utxo_set_amount_satoshis"][()] == 585_000_000_000
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "bestblockhash": "f" * 64}
        assert await collect(collector) == made  # the last count, of the height it names, while the next one runs
        assert fake.methods.count("gettxoutsetinfo") == 2


async def test_a_count_of_the_utxo_set_that_fails_is_reported_and_begun_again() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = utxo_set.UtxoSetCollector(node)
        fake.errors["gettxoutsetinfo"] = (-32603, "Unable to read UTXO set")
        with pytest.raises(RpcError, match="Unable to read"):
            await collector.collect()
        fake.errors.clear()
        assert (await collect(collector))["bitcoin_utxo_set_height"][()] == 117


async def test_utxo_set_of_a_node_that_knows_no_hash_type() -> None:
    def answer(*params: str) -> Any:
        if params:
            raise NodeSays(-1, "gettxoutsetinfo\n\nReturns statistics about the unspent transaction output set.")
        return recorded("bitcoinsv", "gettxoutsetinfo")

    async with FakeNode(FIXTURES / "bitcoinsv") as fake, watched(fake) as node:
        fake.answers["gettxoutsetinfo"] = answer
        collector = utxo_set.UtxoSetCollector(node)
        assert (await collect(collector))["bitcoin_utxo_set_height"][()] == 111
        fake.answers["getblockchaininfo"] = {**recorded("bitcoinsv", "getblockchaininfo"), "bestblockhash": "f" * 64}
        await collect(collector)
        assert fake.methods.count("gettxoutsetinfo") == 3  # it is asked what it refused but once


# Refusals and what a version lacks


async def test_a_method_the_whitelist_lacks_fails_its_collector_and_no_other() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.forbidden.add("getmempoolinfo")
        outcomes = await asyncio.gather(*(build(node).collect() for build in ALL.values()), return_exceptions=True)
        failed = {name: outcome for name, outcome in zip(ALL, outcomes, strict=True) if isinstance(outcome, Exception)}
        assert list(failed) == ["mempool"]
        assert isinstance(failed["mempool"], Forbidden)
        assert "rpcwhitelist" in str(failed["mempool"])


@pytest.mark.parametrize("name", ["addrman", "chainstates", "orphans"])
async def test_what_an_old_node_lacks_is_unsupported_and_asked_once(name: str) -> None:
    async with FakeNode(FIXTURES / "litecoind") as fake, watched(fake) as node:
        collector = ALL[name](node)
        for _ in range(2):
            with pytest.raises(MethodNotFound):
                await collector.collect()
        assert len(fake.requests) == 1
