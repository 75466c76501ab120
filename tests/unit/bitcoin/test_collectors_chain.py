"""What the collectors make of blocks, branches, fees and mining."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from chainwatch.errors import Unsupported
from chainwatch.families.bitcoin.collectors import (
    block,
    block_template,
    blockchain,
    chain_tips,
    chainstates,
    deployments,
    fees,
    indexes,
    mining,
    orphans,
)
from chainwatch.families.bitcoin.settings import Chain
from tests.unit.bitcoin.fake_node import (
    FIXTURES,
    FakeNode,
    NodeSays,
    collect,
    recorded,
    watched,
)

# The best chain


@pytest.mark.parametrize(
    ("behind", "tip_age", "syncing"),
    [(0, 3600, 0), (500_000, 365 * 86400, 1), (40, 3600, 0), (0, 30 * 86400, 0)],
    ids=["in step", "catches up", "stuck on a young chain", "an old chain without new headers"],
)
async def test_a_node_that_does_not_say_whether_it_syncs(behind: int, tip_age: int, syncing: int) -> None:
    info = recorded("bitcoinsv", "getblockchaininfo")
    async with FakeNode(FIXTURES / "bitcoinsv") as fake, watched(fake) as node:
        fake.answers["getblockchaininfo"] = {
            **info,
            "headers": info["blocks"] + behind,
            "mediantime": int(time.time()) - tip_age,
        }
        made = await collect(blockchain.BlockchainCollector(node))
        assert made["chainwatch_syncing"] == {(): syncing}


# Fees, mining, templates


async def test_fee_estimates_by_target_leave_out_what_the_node_cannot_estimate() -> None:
    def estimate(target: int) -> dict[str, Any]:
        if target == 1008:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": 1008}
        return {"feerate": 0.00012345, "blocks": target}

    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["estimatesmartfee"] = estimate
        made = (await collect(fees.FeesCollector(node)))["bitcoin_fee_estimate_satoshis_per_vbyte"]
        assert made == {(str(target),): 12.345 for target in (2, 3, 6, 12, 24, 144)}
        assert len(fake.requests) == 1


@pytest.mark.parametrize(("height", "progress"), [(2016, 1 / 2016), (3023, 0.5), (4031, 1.0)])
async def test_retarget_progress(height: int, progress: float) -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "chain": "main"}
        fake.answers["getmininginfo"] = {**recorded("bitcoind31", "getmininginfo"), "blocks": height}
        made = await collect(mining.MiningCollector(node))
        assert made["bitcoin_retarget_progress_ratio"][()] == progress


async def test_next_difficulty_is_absent_before_29() -> None:
    async with FakeNode(FIXTURES / "litecoind") as fake, watched(fake) as node:
        made = await collect(mining.MiningCollector(node))
        assert "bitcoin_difficulty" in made
        assert "bitcoin_next_difficulty" not in made
        assert "bitcoin_retarget_progress_ratio" not in made  # regtest


@pytest.mark.parametrize(
    ("folder", "chain", "rules"),
    [
        ("bitcoind31", "main", ["segwit"]),
        ("bitcoind31", "signet", ["segwit", "signet"]),
        ("litecoind", "main", ["segwit", "mweb"]),
    ],
)
async def test_template_is_asked_by_the_chains_rules(folder: str, chain: str, rules: list[str]) -> None:
    async with FakeNode(FIXTURES / folder) as fake, watched(fake, chain=Chain(name="mine")) as node:
        fake.answers["getblockchaininfo"] = {**recorded(folder, "getblockchaininfo"), "chain": chain}
        made = await collect(block_template.BlockTemplateCollector(node))
        assert made["bitcoin_block_template_transactions"][()] == 7
        assert fake.requests[-1] == [("getblocktemplate", [{"rules": rules}])]


async def test_template_is_absent_while_the_node_has_none() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.errors["getblocktemplate"] = (-9, "Bitcoin Core is not connected!")
        assert await collect(block_template.BlockTemplateCollector(node)) == {}


# Blocks, tips, chain states


async def test_block_statistics_are_asked_once_for_each_best_block() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = block.BlockCollector(node)
        for _ in range(3):
            made = await collect(collector)
        assert made["bitcoin_block_transactions"][()] == 8
        assert fake.methods.count("getblockstats") == 1
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "bestblockhash": "f" * 64}
        await collect(collector)
        assert fake.requests[-1] == [("getblockstats", ["f" * 64])]


async def test_feerates_of_a_block_that_holds_only_its_coinbase_are_absent() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getblockstats"] = {
            **recorded("bitcoind31", "getblockstats"),
            "txs": 1,
            "feerate_percentiles": [0] * 5,
        }
        made = await collect(block.BlockCollector(node))
        assert made["bitcoin_block_transactions"][()] == 1
        assert "bitcoin_block_feerate_satoshis_per_vbyte" not in made


async def test_block_without_data_on_a_pruned_node_is_unsupported() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.errors["getblockstats"] = (-1, "Block not available (pruned data)")
        with pytest.raises(Unsupported, match="pruned"):
            await block.BlockCollector(node).collect()


async def test_first_block_has_no_statistics() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "blocks": 0}
        assert await collect(block.BlockCollector(node)) == {}


async def test_bitcoin_sv_without_txindex_tells_what_it_can() -> None:
    stats = recorded("bitcoinsv", "getblockstats")

    def answer(_: str, selected: list[str] | None = None) -> dict[str, Any]:
        if selected is None:
            raise NodeSays(-8, "One or more of the selected stats requires -txindex enabled")
        return {name: stats[name] for name in selected}

    async with FakeNode(FIXTURES / "bitcoinsv") as fake, watched(fake) as node:
        fake.answers["getblockstats"] = answer
        collector = block.BlockCollector(node)
        made = await collect(collector)
        assert made["bitcoin_block_subsidy_satoshis"][()] == 5_000_000_000
        assert made["bitcoin_block_inputs"][()] == 4
        assert "bitcoin_block_fees_satoshis" not in made
        fake.answers["getblockchaininfo"] = {**recorded("bitcoinsv", "getblockchaininfo"), "bestblockhash": "f" * 64}
        await collect(collector)
        assert fake.methods.count("getblockstats") == 3  # what it refused once is not asked again


async def test_chain_tips_by_status_and_age() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        tips = recorded("bitcoind31", "getchaintips_invalidated")
        fake.answers["getchaintips"] = [*tips, {**tips[-1], "status": 'new"status'}]
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "blocks": 116 + 144}
        made = await collect(chain_tips.ChainTipsCollector(node))
        assert made["bitcoin_chain_tips"] == {
            ("active",): 1, ("valid-fork",): 1, ("valid-headers",): 1, ("headers-only",): 0, ("invalid",): 2,
            ("other",): 1,
        }  # fmt: skip
        assert made["bitcoin_chain_tips_recent"] == {
            ("active",): 1, ("valid-fork",): 0, ("valid-headers",): 1, ("headers-only",): 0, ("invalid",): 2
        }  # fmt: skip


async def test_chain_tips_are_kept_for_a_while_as_long_as_the_tip_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(chain_tips, "time", SimpleNamespace(monotonic=lambda: now))
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        collector = chain_tips.ChainTipsCollector(node)
        await collect(collector)
        now += 14
        await collect(collector)
        assert fake.methods.count("getchaintips") == 1
        now += 2
        await collect(collector)
        assert fake.methods.count("getchaintips") == 2
        fake.answers["getblockchaininfo"] = {**recorded("bitcoind31", "getblockchaininfo"), "bestblockhash": "f" * 64}
        await collect(collector)
        assert fake.methods.count("getchaintips") == 3


async def test_chain_states_of_a_node_that_runs_on_a_snapshot() -> None:
    one = recorded("bitcoind31", "getchainstates")["chainstates"][0]
    snapshot = {**one, "blocks": 900_000, "validated": False, "snapshot_blockhash": "f" * 64}
    async with FakeNode() as fake, watched(fake) as node:
        collector = chainstates.ChainstatesCollector(node)
        fake.answers["getchainstates"] = {"headers": 900_000, "chainstates": [one, snapshot]}
        made = await collect(collector)
        assert made["bitcoin_chainstate_height"] == {("background",): 117, ("snapshot",): 900_000}
        assert made["bitcoin_chainstate_validated"] == {("background",): 1, ("snapshot",): 0}
        fake.answers["getchainstates"] = {"headers": 900_000, "chainstates": [{**snapshot, "validated": True}]}
        assert (await collect(collector))["bitcoin_chainstate_height"] == {("main",): 900_000}


async def test_signalling_of_a_deployment_that_has_started() -> None:
    info = recorded("bitcoind31", "getdeploymentinfo")
    info["deployments"]["testdummy"]["bip9"] |= {
        "status": "started",
        "statistics": {"period": 144, "elapsed": 100, "count": 57, "threshold": 108, "possible": True},
    }
    info["deployments"]['x"{} 1\n'] = info["deployments"]["bip34"]
    info["deployments"] |= {f"flood{number}": info["deployments"]["bip34"] for number in range(1000)}
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["getdeploymentinfo"] = info
        made = await collect(deployments.DeploymentsCollector(node))
        assert made["bitcoin_deployment_state"]["testdummy", "started"] == 1
        assert made["bitcoin_deployment_state"]["testdummy", "defined"] == 0
        assert made["bitcoin_deployment_state"]["bip34", "active"] == 1
        assert made["bitcoin_deployment_signalling_blocks"] == {("testdummy",): 57}
        assert made["bitcoin_deployment_threshold_blocks"] == {("testdummy",): 108}
        assert made["bitcoin_deployment_elapsed_blocks"] == {("testdummy",): 100}
        assert len(made["bitcoin_deployment_state"]) == 5 * deployments.MAX_DEPLOYMENTS


async def test_deployments_are_unsupported_where_nothing_tells_of_them() -> None:
    info = recorded("litecoind", "getblockchaininfo")
    del info["softforks"]
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["getblockchaininfo"] = info
        with pytest.raises(Unsupported, match="does not tell"):
            await deployments.DeploymentsCollector(node).collect()


async def test_lag_of_an_index_and_an_index_of_a_name_unknown() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getindexinfo"] = {
            "txindex": {"synced": False, "best_block_height": 100},
            "coinstatsindex": {"synced": True, "best_block_height": 118},  # one block after getblockchaininfo
            "newindex": {"synced": False, "best_block_height": 3},
            "newerindex": {"synced": True, "best_block_height": 117},
        }
        made = await collect(indexes.IndexesCollector(node))
        assert made["bitcoin_index_lag_blocks"] == {("txindex",): 17, ("coinstatsindex",): 0, ("other",): 114}
        assert made["bitcoin_index_synced"]["other",] == 0


async def test_node_without_indexes_has_no_index_metrics() -> None:
    async with FakeNode(FIXTURES / "bitcoind31") as fake, watched(fake) as node:
        fake.answers["getindexinfo"] = {}
        assert await collect(indexes.IndexesCollector(node)) == {}


async def test_orphans_are_counted_and_weighed() -> None:
    async with FakeNode() as fake, watched(fake) as node:
        fake.answers["getorphantxs"] = [{"txid": "a", "bytes": 200}, {"txid": "b", "bytes": 50, "from": [1, 2]}]
        made = await collect(orphans.OrphansCollector(node))
        assert made == {"bitcoin_orphan_transactions": {(): 2}, "bitcoin_orphan_bytes": {(): 250}}
        assert fake.requests == [[("getorphantxs", [1])]]
