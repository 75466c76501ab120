"""The JSON-RPC client against a node that answers, and several that stand in for one another."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from yarl import URL

from chainwatch import errors
from chainwatch.config import Secret
from chainwatch.families.cometbft import client as client_module
from chainwatch.families.cometbft import vantage as vantage_module
from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.consensus.model import Validator
from chainwatch.families.cometbft.schema import (
    BlockResult,
    CommitResult,
    ConsensusState,
    NetInfo,
    Status,
    UnconfirmedTxs,
    ValidatorsPage,
)
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Vantage
from chainwatch.rpc import http
from tests.unit.cometbft.asking import counted, failures
from tests.unit.cometbft.fake_node import CHAIN_ID, FakeNode, NodeSays, watched

# What is asked, and what it means


async def test_numbers_that_stand_as_text_are_numbers(fake: FakeNode, rpc: CometbftRpc) -> None:
    status = await rpc.call("status", Status)
    assert status.sync_info.latest_block_height == 9
    assert status.sync_info.latest_block_time == datetime(2026, 11, 22, 11, 43, 59, 701127, UTC)
    assert (status.node_info.network, status.node_info.version) == (CHAIN_ID, "0.38.25")
    assert (status.validator_info.address[:4], status.validator_info.voting_power) == ("0CF7", 0)


async def test_recorded_answers_are_decoded(rpc: CometbftRpc) -> None:
    net, txs = await rpc.call("net_info", NetInfo), await rpc.call("num_unconfirmed_txs", UnconfirmedTxs)
    assert (net.n_peers, len(net.peers or ())) == (4, 4)
    assert (txs.total, txs.total_bytes) == (0, 0)
    page = await rpc.call("validators", ValidatorsPage, height=10, page=1, per_page=100)
    assert (page.block_height, page.total) == (10, 4)
    assert page.members()[0] == Validator("1DA39A678B60D13FEF148D4B7CCA44182112716E", 10)
    commit = (await rpc.call("commit", CommitResult, height=5)).signed_header.commit
    assert (commit.height, commit.round, len(commit.signatures)) == (5, 0, 4)
    block = await rpc.call("block", BlockResult, height=5)
    assert block.block is not None
    assert block.block_id == commit.block_id
    assert block.block.last_commit is not None
    assert block.block.last_commit.height == 4
    state = (await rpc.call("consensus_state", ConsensusState)).round_state
    assert state.position == "10/0/1"
    assert state.height_vote_set is not None
    assert state.height_vote_set[0].prevotes == ["nil-Vote"] * 4


async def test_numbers_are_sent_as_text_and_the_rest_as_it_is(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.answers["abci_query"] = dict
    await rpc.call("abci_query", dict, path="/x", height=7, prove=False)
    assert fake.requests == [("abci_query", {"path": "/x", "height": "7", "prove": False})]


async def test_address_that_does_not_fit_is_no_member(fake: FakeNode, rpc: CometbftRpc) -> None:
    members = [{"address": "1da39A678B60D13FEF148D4B7CCA44182112716E", "voting_power": "10"}]
    fake.answers["validators"] = {"block_height": "1", "validators": members, "total": "1"}
    with pytest.raises(errors.BadReply, match=r"^validators at 127.0.0.1:\d+: the answer is not as documented: "):
        await rpc.call("validators", ValidatorsPage)


# How it is asked


async def test_equal_questions_of_one_moment_are_asked_once(fake: FakeNode, rpc: CometbftRpc) -> None:
    async def later(turns: int) -> Status:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await rpc.call("status", Status)

    first, second, third = await asyncio.gather(later(0), later(0), later(1))
    assert first == second == third
    assert fake.methods == ["status"]
    assert counted(rpc, "chainwatch_rpc_requests_total") == {("status",): 1}


async def test_questions_with_other_parameters_are_others(fake: FakeNode, rpc: CometbftRpc) -> None:
    await asyncio.gather(*(rpc.call("commit", CommitResult, height=height) for height in (5, 6, 5)))
    assert sorted(params["height"] for _, params in fake.requests) == ["5", "6"]


async def test_question_that_comes_after_the_other_left_gets_an_answer_of_its_own(
    fake: FakeNode, rpc: CometbftRpc
) -> None:
    fake.delays["status"] = 0.1
    first = asyncio.create_task(rpc.call("status", Status))
    while not fake.requests:
        await asyncio.sleep(0.005)
    fake.on_chain(CHAIN_ID, latest_block_height="10")
    second = await rpc.call("status", Status)
    assert second.sync_info.latest_block_height == 10
    await first
    assert fake.methods == ["status", "status"]


async def test_one_connection_serves_one_question_after_the_other(fake: FakeNode, rpc: CometbftRpc) -> None:
    for _ in range(5):
        await rpc.call("status", Status)
    assert len(fake.connections) == 1


async def test_no_more_requests_at_a_time_than_the_node_can_bear(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.delays["*"] = 0.02
    await asyncio.gather(*(rpc.call("commit", CommitResult, height=height) for height in range(20)))
    assert fake.most_busy == client_module.MAX_REQUESTS


async def test_request_that_nobody_waits_for_is_given_up(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.delays["status"] = 30
    waiting = [asyncio.create_task(rpc.call("status", Status)) for _ in range(2)]
    while not fake.requests:
        await asyncio.sleep(0.005)
    waiting[0].cancel()
    await asyncio.sleep(0.05)
    assert fake.abandoned == 0
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    while not fake.abandoned:
        await asyncio.sleep(0.005)
    assert failures(rpc) == {("status", "timeout"): 1}
    fake.delays.clear()
    assert await rpc.call("status", Status)


async def test_closing_ends_what_is_under_way(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.delays["status"] = 30
    waiting = asyncio.create_task(rpc.call("status", Status))
    while not fake.requests:
        await asyncio.sleep(0.005)
    await rpc.close()
    with pytest.raises(errors.NodeTimeout, match="given up before an answer came"):
        await waiting


async def test_time_of_each_request_is_recorded(rpc: CometbftRpc) -> None:
    await rpc.call("status", Status)
    assert counted(rpc, "chainwatch_rpc_duration_seconds_count") == {("status",): 1}


async def test_login_goes_to_the_proxy(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.login = "u:secret"
    rpc.configure(replace(rpc.settings, user="u", password=Secret("secret")))
    assert await rpc.call("status", Status)


# Several nodes


async def test_watched_node_answers_while_it_can() -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        await node.endpoints.ask("block", BlockResult, height=5)
        assert other.methods == []


async def test_vantage_point_stands_in_and_is_asked_first_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        await own.stop()
        assert await node.endpoints.ask("block", BlockResult, height=5)
        await own.restart()
        own.requests.clear()
        assert await node.endpoints.ask("block", BlockResult, height=6)
        assert own.methods == []
        monkeypatch.setattr(client_module, "ASIDE_SECONDS", 0.0)
        assert await node.endpoints.ask("block", BlockResult, height=7)
        assert own.methods == ["block"]


async def test_height_that_the_watched_node_has_pruned_comes_from_another() -> None:
    def pruned(**_: str) -> None:
        raise NodeSays(-32603, "Internal error", "height 5 is not available, lowest height is 8")

    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        own.answers |= {"block": pruned}
        await node.status()
        assert (await node.endpoints.ask("block", BlockResult, height=5)).block is not None
        own.requests.clear()
        await node.endpoints.ask("commit", CommitResult, height=5)
        assert own.methods == ["commit"]  # it did answer


async def test_the_watched_nodes_own_error_is_told_when_nobody_can_answer() -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        own.errors["block"] = (-32603, "Internal error", "pruned here")
        await other.stop()
        with pytest.raises(errors.RpcError, match="pruned here"):
            await node.endpoints.ask("block", BlockResult, height=5)


async def test_vantage_point_on_another_chain_is_never_asked(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        other.on_chain("evil\nchain")
        await node.status()
        await own.stop()
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                with pytest.raises(errors.NodeUnreachable):
                    await node.endpoints.ask("block", BlockResult, height=5)
        assert other.methods == ["status"]
        assert [record.message for record in caplog.records] == [
            f"vantage point {node.endpoints.all[1].address} is not used: it is on chain evil\\nchain, the watched "
            f"node at {node.rpc.address} on {CHAIN_ID}; see vantage.urls"
        ]


async def test_vantage_point_that_came_to_the_right_chain_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        other.on_chain("elsewhere")
        await node.status()
        assert not await node.endpoints.same_chain(node.endpoints.all[1])
        other.on_chain(CHAIN_ID)
        assert not await node.endpoints.same_chain(node.endpoints.all[1])
        monkeypatch.setattr(vantage_module, "RECHECK_SECONDS", 0.0)
        assert await node.endpoints.same_chain(node.endpoints.all[1])


async def test_vantage_point_is_looked_at_again_after_it_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ASIDE_SECONDS", 0.0)
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        await own.stop()
        assert await node.endpoints.ask("block", BlockResult, height=5)
        await other.stop()
        with pytest.raises(errors.NodeUnreachable):
            await node.endpoints.ask("block", BlockResult, height=5)
        await other.restart()
        other.on_chain("another net on the old port")
        with pytest.raises(errors.NodeUnreachable):
            await node.endpoints.ask("block", BlockResult, height=5)


async def test_stream_of_a_vantage_point_waits_until_that_is_on_the_same_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(vantage_module, "RECHECK_SECONDS", 0.02)
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        other.on_chain("elsewhere")
        await other.stop()
        waiting = asyncio.create_task(node.endpoints.found_same_chain(node.endpoints.all[1]))
        await asyncio.sleep(0.05)
        await node.status()
        await asyncio.sleep(0.05)
        await other.restart()
        await asyncio.sleep(0.1)
        assert "status" in other.methods
        assert not waiting.done()
        other.on_chain(CHAIN_ID)
        await asyncio.wait_for(waiting, 5)


async def test_no_vantage_point_is_asked_before_the_chain_is_known() -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await own.stop()
        with pytest.raises(errors.NodeUnreachable):
            await node.endpoints.ask("block", BlockResult, height=5)
        assert other.methods == []
        node.endpoints.chain_id = CHAIN_ID  # remembered from before a restart
        assert await node.endpoints.ask("block", BlockResult, height=5)


async def test_watched_node_that_moved_to_another_chain_takes_its_vantage_points_along() -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        assert await node.endpoints.same_chain(node.endpoints.all[1])
        own.on_chain("chainwatch-lab-2")
        await node.status()
        assert await node.endpoints.same_chain(node.endpoints.all[1])  # one answer proves nothing
        node.endpoints.chain_id = "chainwatch-lab-2"
        assert not await node.endpoints.same_chain(node.endpoints.all[1])


def block_of(name: str) -> object:
    """An answer to /block by which each height's block has a hash of its own, on this history."""
    return lambda height: {"block_id": {"hash": f"{int(height):060X}{name}"}}


async def test_vantage_point_of_the_same_name_and_another_history_is_never_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        own.answers["block"], other.answers["block"] = block_of("AAAA"), block_of("BBBB")
        other.on_chain(CHAIN_ID, latest_block_height="5000")
        await node.status()
        with caplog.at_level(logging.ERROR):
            assert not await node.endpoints.same_chain(node.endpoints.all[1])
            monkeypatch.setattr(vantage_module, "RECHECK_SECONDS", 0.0)
            node.endpoints.configure(CometbftSettings(rpc=Rpc(url=own.url), vantage=Vantage(urls=other.url)))
            await node.status()
            assert not await node.endpoints.same_chain(node.endpoints.all[1])
        own.errors["commit"] = (-32603, "Internal error", "none here")
        with pytest.raises(errors.RpcError, match="none here"):
            await node.endpoints.ask("commit", CommitResult, height=3)
        assert "commit" not in other.methods
        assert {params["height"] for method, params in other.requests if method == "block"} == {"8"}
        assert "its block 8 is " in caplog.text


async def test_vantage_point_that_left_the_chains_history_is_found_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(vantage_module, "RECHECK_SECONDS", 0.02)
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        own.answers["block"] = other.answers["block"] = block_of("AAAA")
        await node.status()
        vantage = node.endpoints.all[1]
        await asyncio.wait_for(node.endpoints.found_same_chain(vantage), 5)
        leaving = asyncio.create_task(node.endpoints.left_chain(vantage))
        await asyncio.sleep(0.1)
        assert not leaving.done()
        other.answers["block"] = block_of("BBBB")
        await asyncio.wait_for(leaving, 5)


async def test_blocks_that_cannot_be_compared_leave_it_at_the_name_until_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vantage_module, "UNSURE_SECONDS", 0.0)
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        own.answers["block"], other.answers["block"] = block_of("AAAA"), block_of("BBBB")
        own.errors["block"] = (-32603, "Internal error", "pruned")
        await node.status()
        vantage = node.endpoints.all[1]
        assert await node.endpoints.same_chain(vantage)
        del own.errors["block"]
        assert not await node.endpoints.same_chain(vantage)


async def test_whether_everybody_has_answered_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        await node.status()
        own.errors["commit"] = other.errors["commit"] = (-32603, "Internal error", "no")
        for silent in (False, True):
            if silent:
                await other.stop()
            with pytest.raises(errors.RpcError):
                await node.endpoints.ask("commit", CommitResult, height=3)
            assert node.endpoints.all_answered is not silent


@pytest.mark.parametrize("name", ["", "x" * 51])
async def test_status_without_a_chains_name_is_no_answer(fake: FakeNode, rpc: CometbftRpc, name: str) -> None:
    fake.on_chain(name)
    with pytest.raises(errors.BadReply, match="not as documented"):
        await rpc.call("status", Status)


@pytest.mark.parametrize("same_login", [False, True])
async def test_password_goes_to_others_only_when_that_is_wanted(same_login: bool) -> None:
    async with FakeNode() as own, FakeNode() as other:
        rpc, vantage = Rpc(user="u", password=Secret("secret")), Vantage(urls=other.url, same_login=same_login)
        async with watched(own, rpc=rpc, vantage=vantage) as node:
            await node.status()
            await node.endpoints.same_chain(node.endpoints.all[1])
    assert own.logins[0] is not None
    assert (other.logins[0] is not None) is same_login


async def test_new_settings_reach_every_address() -> None:
    async with FakeNode() as own, FakeNode() as other, watched(own, other) as node:
        node.endpoints.configure(CometbftSettings(rpc=Rpc(url=own.url, timeout=3), vantage=Vantage(urls=other.url)))
        assert [rpc.settings.timeout for rpc in node.endpoints.all] == [3, 3]


async def test_answer_is_bounded_for_the_exchange_itself(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of the request decides, not the length that the server declares."""
    fake.body = b"x" * 1000
    session = http.open_session(1, 5)
    try:
        request = http.Request(URL(fake.url), b'{"id":1,"method":"x","params":{}}', {}, True,
                               "x at y", "CometBFT", 999)  # fmt: skip
        with pytest.raises(errors.ReplyTooLarge, match="larger than 999 bytes; is this a CometBFT node's RPC server"):
            await http.post(session, request)
    finally:
        await session.close()
