"""The JSON-RPC client against a node that refuses, hangs, breaks off, and answers nonsense."""

import socket

import pytest

from chainwatch import errors
from chainwatch.errors import RpcError
from chainwatch.families.bitcoin import client as client_module
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.settings import Rpc
from tests.unit.bitcoin.asking import CHAIN_CALLS, all_of, failures
from tests.unit.bitcoin.fake_node import WARMING_UP, FakeNode

# Refusals


async def test_forbidden_batch_is_asked_one_by_one_and_the_forbidden_method_remembered(
    fake: FakeNode, rpc: BitcoinRpc
) -> None:
    fake.forbidden.add("getpeerinfo")
    answers = await all_of(rpc, *CHAIN_CALLS)
    assert answers[:2] == [{}, {}]
    assert isinstance(answers[2], errors.Forbidden)
    assert "rpcallowip" in str(answers[2])
    assert "rpcwhitelist" in str(answers[2])
    assert len(fake.requests) == 4
    fake.requests.clear()
    await all_of(rpc, *CHAIN_CALLS)
    assert sorted(len(calls) for calls in fake.requests) == [1, 2]
    assert failures(rpc) == {("getpeerinfo", "forbidden"): 2}


async def test_method_that_is_allowed_again_joins_the_batch(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.forbidden.add("getpeerinfo")
    await all_of(rpc, *CHAIN_CALLS)
    fake.forbidden.clear()
    assert await all_of(rpc, *CHAIN_CALLS) == [{}, {}, {}]
    fake.requests.clear()
    await all_of(rpc, *CHAIN_CALLS)
    assert len(fake.requests) == 1


async def test_missing_method_is_remembered_and_says_nothing_about_the_node_being_up(
    fake: FakeNode, rpc: BitcoinRpc
) -> None:
    answers = await all_of(rpc, "getblockcount", "getorphantxs")
    assert answers[0] == 7
    assert isinstance(answers[1], errors.MethodNotFound)
    assert answers[1].answered
    with pytest.raises(errors.MethodNotFound) as caught:
        await rpc.call("getorphantxs", into=list)
    assert not caught.value.answered
    assert fake.methods.count("getorphantxs") == 1
    assert failures(rpc) == {("getorphantxs", "method_not_found"): 1}


async def test_missing_method_asked_alone_comes_as_404(fake: FakeNode, rpc: BitcoinRpc) -> None:
    with pytest.raises(errors.MethodNotFound, match=r"^getorphantxs at 127.0.0.1:\d+: this node does not have it$"):
        await rpc.call("getorphantxs", into=list)


async def test_missing_method_is_asked_again_after_the_node_restarted(fake: FakeNode, rpc: BitcoinRpc) -> None:
    with pytest.raises(errors.MethodNotFound):
        await rpc.call("getorphantxs", into=list)
    await fake.stop()
    with pytest.raises(errors.NodeUnreachable):
        await rpc.call("getblockcount", into=int)
    await fake.restart()
    fake.answers["getorphantxs"] = []
    assert await rpc.call("getorphantxs", into=list) == []


async def test_nodes_own_error_carries_its_code_and_a_cleaned_message(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.errors["getblockstats"] = (-5, "Block not found\nlevel=error forged " + "x" * 500)
    with pytest.raises(RpcError) as caught:
        await rpc.call("getblockstats", "00", into=dict)
    assert caught.value.code == -5
    assert "Block not found\\nlevel" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert failures(rpc) == {("getblockstats", "rpc_error"): 1}


@pytest.mark.parametrize("methods", [("getblockcount",), ("getblockcount", "getbestblockhash")])
async def test_warming_up(fake: FakeNode, rpc: BitcoinRpc, methods: tuple[str, ...]) -> None:
    fake.errors["*"] = WARMING_UP
    for error in await all_of(rpc, *methods):
        assert isinstance(error, errors.WarmingUp)
        assert "the node is starting (Loading block index...)" in str(error)


async def test_one_error_that_answers_a_whole_batch(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.body = b'{"result":null,"error":{"code":-28,"message":"Loading"},"id":null}'
    assert all(isinstance(error, errors.WarmingUp) for error in await all_of(rpc, "getblockcount", "getpeerinfo"))


@pytest.mark.parametrize("status", [500, 503])  # versions of old, and of late
async def test_full_work_queue(fake: FakeNode, rpc: BitcoinRpc, status: int) -> None:
    fake.status, fake.body = status, b"Work queue depth exceeded"
    with pytest.raises(errors.WorkQueueFull, match="rpcworkqueue"):
        await rpc.call("getblockcount", into=int)


async def test_a_node_that_shuts_down_is_no_full_queue(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.status = 503
    with pytest.raises(errors.NodeUnreachable, match="503"):
        await rpc.call("getblockcount", into=int)


@pytest.mark.parametrize("status", [404, 500, 302])
async def test_http_status_without_a_reply_in_the_body(fake: FakeNode, rpc: BitcoinRpc, status: int) -> None:
    fake.status = status
    with pytest.raises(errors.BadReply, match=f"HTTP {status} with 0 bytes.*is this the node's RPC port"):
        await rpc.call("getblockcount", into=int)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[1, 2]",
        b'[{"id": 5, "result": 1}]',
        b'{"result": 1, "id": 0}',
        b'{"result": 1, "id": 0, "error": "text"}',
        b'{"result": 1, "id": {}, "error": null}',
        b"[" * 100_000,
        b'{"result": ' + b"[" * 100_000,
    ],
)
async def test_body_that_is_no_answer_to_a_batch(fake: FakeNode, rpc: BitcoinRpc, body: bytes) -> None:
    fake.body = body
    for error in await all_of(rpc, "getblockcount", "getbestblockhash"):
        assert isinstance(error, errors.BadReply), error
    fake.body = None
    assert await rpc.call("getblockcount", into=int) == 7


@pytest.mark.parametrize("result", ["text", 1.5, None, {"a": 1}])
async def test_answer_of_another_type_than_documented(fake: FakeNode, rpc: BitcoinRpc, result: object) -> None:
    fake.answers["getblockcount"] = result
    with pytest.raises(errors.BadReply, match=r"getblockcount at .* not as documented"):
        await rpc.call("getblockcount", into=int)
    assert failures(rpc) == {("getblockcount", "bad_reply"): 1}


async def test_nesting_deeper_than_the_decoder_goes_is_a_bad_reply(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.body = b'{"error":null,"id":0,"result":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    with pytest.raises(errors.BadReply):
        await rpc.call("getblockcount", into=list)


async def test_oversized_answer_is_given_up(fake: FakeNode, rpc: BitcoinRpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 100_000)
    fake.answers["getpeerinfo"] = "x" * 5_000_000
    with pytest.raises(errors.ReplyTooLarge, match="the answer is larger than"):
        await rpc.call("getpeerinfo", into=str)
    assert await rpc.call("getblockcount", into=int) == 7


# Silence and broken connections


async def test_hanging_node_is_given_up_after_the_timeout(fake: FakeNode) -> None:
    rpc = BitcoinRpc(Rpc(url=fake.url, timeout=0.1))
    fake.delays["*"] = 10
    with pytest.raises(errors.NodeTimeout, match=r"getblockcount at .*: no answer within 0\.1 s"):
        await rpc.call("getblockcount", into=int)
    assert failures(rpc) == {("getblockcount", "timeout"): 1}
    fake.delays.clear()
    assert await rpc.call("getblockcount", into=int) == 7
    await rpc.close()


async def test_port_that_accepts_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        rpc = BitcoinRpc(Rpc(url=f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.1))
        with pytest.raises(errors.NodeTimeout):
            await rpc.call("getblockcount", into=int)
        await rpc.close()


async def test_answer_that_breaks_off(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.cut = True
    with pytest.raises(errors.NodeUnreachable, match="the connection broke"):
        await rpc.call("getblockcount", into=int)
    fake.cut = False
    assert await rpc.call("getblockcount", into=int) == 7


async def test_refused_connection(fake: FakeNode, rpc: BitcoinRpc) -> None:
    await fake.stop()
    answers = await all_of(rpc, "getblockcount", "getbestblockhash", "uptime")
    for error in answers:
        assert isinstance(error, errors.NodeUnreachable)
        assert "is the node running" in str(error)
    assert "getblockcount and 1 more calls at 127.0.0.1" in str(answers[0])


async def test_node_that_restarts_between_two_calls_is_asked_on_a_new_connection(
    fake: FakeNode, rpc: BitcoinRpc
) -> None:
    await rpc.call("getblockcount", into=int)
    await fake.restart()
    assert await rpc.call("getblockcount", into=int) == 7


async def test_name_that_does_not_resolve() -> None:
    rpc = BitcoinRpc(Rpc(url="http://node.invalid:8332", timeout=5))
    with pytest.raises(errors.NodeUnreachable, match=r"node\.invalid:8332"):
        await rpc.call("getblockcount", into=int)
    await rpc.close()
