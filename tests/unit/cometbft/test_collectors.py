"""What the collectors make of the watched node's answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chainwatch.errors import NodeError, Unsupported
from chainwatch.families.cometbft.collectors import COMETBFT, mempool, peers, status
from chainwatch.families.cometbft.node import UNKNOWN
from tests.unit.cometbft.fake_node import CHAIN_ID, FIRST_SEEN, FakeNode, collect, watched

COMETBFT.load()
ALL = {registration.name: registration.build for registration in COMETBFT}
# Those that ask the tracker alone, or the application, are tested beside these.
OWN = ("status", "peers", "mempool")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("failure", ["unauthorized", "forbidden", "work_queue", "bad_reply", "rpc_error"])
async def test_no_collector_reports_anything_when_the_node_refuses(name: str, failure: str) -> None:
    async with FakeNode() as fake, watched(fake) as node:
        match failure:
            case "unauthorized":
                fake.login = "somebody:else"
            case "forbidden":
                fake.status = 403
            case "work_queue":
                fake.status = 429
            case "bad_reply":
                fake.body = b"<html>"
            case "rpc_error":
                fake.errors["*"] = (-32603, "Internal error", "no")
        with pytest.raises(NodeError) as caught:
            await ALL[name](node).collect()
        assert caught.value.reason == failure
        assert not isinstance(caught.value, Unsupported)


@pytest.mark.parametrize("name", OWN)
async def test_no_collector_reports_what_it_knew_when_the_node_is_gone(name: str) -> None:
    async with FakeNode() as fake, FakeNode() as other, watched(fake, other) as node:
        collector = ALL[name](node)
        await collector.collect()
        await fake.stop()
        with pytest.raises(NodeError):
            await collector.collect()
        assert other.methods == []  # nobody else can say how the watched node is


async def test_collectors_of_one_scrape_ask_each_thing_once() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        await asyncio.gather(*(ALL[name](node).collect() for name in (*OWN, *OWN)))
        assert sorted(fake.methods) == ["net_info", "num_unconfirmed_txs", "status"]


# Status


async def test_newest_block_and_software() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        page = await collect(status.StatusCollector(node))
    assert page == {
        "chainwatch_node_info": {("cometbft", "cometbft", "0.38.25"): 1},
        "chainwatch_syncing": {(): 0},
        "chainwatch_target_spacing_seconds": {(): 1.3},
        "chainwatch_tip_height": {(): 9},
        "chainwatch_finalized_height": {(): 9},
        "chainwatch_tip_hash_id": {(): int("4ECA5508497D67C3"[-13:], 16)},
        "chainwatch_tip_timestamp_seconds": {(): 1795347839.701127},
        "chainwatch_tip_first_seen_timestamp_seconds": {(): FIRST_SEEN},
    }
    assert node.chain == CHAIN_ID


async def test_node_before_its_first_block_has_no_tip() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.on_chain(
            CHAIN_ID, latest_block_hash="", latest_block_height="0", latest_block_time="1970-01-01T00:00:00Z",
            catching_up=True,
        )  # fmt: skip
        page = await collect(status.StatusCollector(node))
    assert set(page) == {"chainwatch_node_info", "chainwatch_syncing", "chainwatch_target_spacing_seconds"}
    assert page["chainwatch_syncing"] == {(): 1}


@pytest.mark.parametrize(
    ("version", "client", "label"),
    [
        ("0.34.24", "tendermint", "0.34.24"),
        ("v0.34.24", "tendermint", "v0.34.24"),
        ("0.37.2", "cometbft", "0.37.2"),
        ("0.40.0-rc1", "cometbft", "0.40.0-rc1"),
        ("1.0.1", "cometbft", "1.0.1"),
        ('1.0"}\nforged 1', "cometbft", "other"),
        ("9" * 41, "cometbft", "other"),
        ("", "cometbft", "other"),
    ],
)
async def test_software_by_version(version: str, client: str, label: str) -> None:
    async with FakeNode() as fake, watched(fake) as node:
        told = fake.result("status")
        told["node_info"]["version"] = version
        fake.answers["status"] = told
        page = await collect(status.StatusCollector(node))
    assert page["chainwatch_node_info"] == {("cometbft", client, label): 1}


async def test_hash_that_is_none_is_left_out() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.on_chain(CHAIN_ID, latest_block_hash="not hex at all")
        page = await collect(status.StatusCollector(node))
    assert "chainwatch_tip_hash_id" not in page
    assert page["chainwatch_tip_height"] == {(): 9}


@pytest.mark.parametrize("chain_id", ["a b", 'x",forged="1', "x\n"])
async def test_chain_with_an_odd_name_is_unknown(chain_id: str) -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.on_chain(chain_id)
        await node.status()
        assert node.chain == UNKNOWN


async def test_chain_is_unknown_before_the_node_answered() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        assert node.chain == UNKNOWN


# Peers


def a_peer(outbound: bool | None = False, **queues: Any) -> dict[str, Any]:
    channels = [{"ID": 32, "SendQueueCapacity": "100", "SendQueueSize": "0"}]
    channels[0] |= queues
    return {"is_outbound": outbound, "connection_status": {"Channels": channels}}


async def peers_of(*given: dict[str, Any] | None) -> dict[str, dict[tuple[str, ...], float]]:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["net_info"] = {"listening": True, "n_peers": str(len(given)), "peers": list(given)}
        return await collect(peers.PeersCollector(node))


async def test_recorded_peers_by_direction() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        page = await collect(peers.PeersCollector(node))
    assert page["chainwatch_peers"] == {("inbound",): 4, ("outbound",): 0}
    assert page["cometbft_peers_send_queue_max_ratio"] == {(): 0}
    assert page["cometbft_peers_congested"] == {(): 0}


async def test_full_queues_are_counted_by_peer() -> None:
    page = await peers_of(
        a_peer(SendQueueSize="50"), a_peer(True, SendQueueSize="80"), a_peer(True, SendQueueSize="49")
    )
    assert page["chainwatch_peers"] == {("inbound",): 1, ("outbound",): 2}
    assert page["cometbft_peers_send_queue_max_ratio"] == {(): 0.8}
    assert page["cometbft_peers_congested"] == {(): 2}


async def test_queue_of_one_message_is_no_congestion() -> None:
    page = await peers_of(a_peer(SendQueueCapacity="1", SendQueueSize="1"), a_peer(SendQueueSize="1"))
    assert page["cometbft_peers_send_queue_max_ratio"] == {(): 0.01}
    assert page["cometbft_peers_congested"] == {(): 0}


async def test_node_without_peers_has_zero_of_them_and_no_queue() -> None:
    page = await peers_of()
    assert page["chainwatch_peers"] == {("inbound",): 0, ("outbound",): 0}
    assert "cometbft_peers_send_queue_max_ratio" not in page
    assert page["cometbft_peers_congested"] == {(): 0}


async def test_transport_that_tells_no_queues_exports_none() -> None:
    page = await peers_of({"is_outbound": True, "connection_status": None}, {"is_outbound": True})
    assert page == {"chainwatch_peers": {("inbound",): 0, ("outbound",): 2}}


async def test_peers_of_unknown_direction_are_not_guessed() -> None:
    assert "chainwatch_peers" not in await peers_of(a_peer(None), a_peer(True))


async def test_list_of_peers_that_is_missing_is_not_zero_peers() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["net_info"] = {"listening": True, "n_peers": "3", "peers": None}
        assert await collect(peers.PeersCollector(node)) == {}
        fake.answers["net_info"] = {"listening": True, "n_peers": "0", "peers": None}
        assert (await collect(peers.PeersCollector(node)))["chainwatch_peers"][("inbound",)] == 0


# Mempool


async def test_mempool() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["num_unconfirmed_txs"] = {"n_txs": "2", "total": "70", "total_bytes": "12345", "txs": None}
        page = await collect(mempool.MempoolCollector(node))
    assert page == {"chainwatch_mempool_transactions": {(): 70}, "chainwatch_mempool_bytes": {(): 12345}}


async def test_mempool_that_does_not_tell_its_size_is_absent() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["num_unconfirmed_txs"] = {"n_txs": "2"}
        assert await collect(mempool.MempoolCollector(node)) == {}
