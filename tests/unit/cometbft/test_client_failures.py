"""The JSON-RPC client against a node that refuses, hangs, breaks off, and answers nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from chainwatch import errors
from chainwatch.families.cometbft import client as client_module
from chainwatch.families.cometbft.client import CometbftRpc
from chainwatch.families.cometbft.schema import BlockResult, Status
from chainwatch.families.cometbft.settings import Rpc
from tests.unit.cometbft.asking import failures
from tests.unit.cometbft.fake_node import FakeNode

# The node's own errors


@pytest.mark.parametrize("status", [200, 500])  # 0.38, 0.34
async def test_error_in_the_body_counts_whatever_the_http_status(fake: FakeNode, rpc: CometbftRpc, status: int) -> None:
    fake.error_status = status
    told = "height 999999 must be less than or equal to the current blockchain height 9"
    fake.errors["block"] = (-32603, "Internal error", told)
    with pytest.raises(errors.RpcError) as caught:
        await rpc.call("block", BlockResult, height=999999)
    assert (caught.value.code, caught.value.data) == (-32603, told)
    assert caught.value.answered
    assert str(caught.value) == f"block at {rpc.address}: Internal error: {told} (code -32603)"
    assert failures(rpc) == {("block", "rpc_error"): 1}


async def test_error_without_data_and_with_hostile_text_is_one_short_line(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.errors["block"] = (-32603, "no\nlevel=error forged " + "x" * 500, "")
    with pytest.raises(errors.RpcError, match=r"no\\nlevel") as caught:
        await rpc.call("block", BlockResult)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [200, 404])
async def test_method_that_the_node_lacks_is_not_supported(fake: FakeNode, rpc: CometbftRpc, status: int) -> None:
    fake.error_status = status
    with pytest.raises(errors.MethodNotFound, match="this node does not have it"):
        await rpc.call("no_such_method", dict)
    assert failures(rpc) == {("no_such_method", "method_not_found"): 1}


# Proxies and strangers


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, errors.Unauthorized, "refuses a call without a login; see rpc.user"),
        (403, errors.Forbidden, "refuses us or this method"),
        (429, errors.WorkQueueFull, "ask a node of your own"),
        (502, errors.NodeUnreachable, "the node behind it does not"),
        (503, errors.NodeUnreachable, "the node behind it does not"),
        (404, errors.BadReply, "is the path in rpc.url right"),
        (301, errors.BadReply, "HTTP 301 with 9 bytes that are no JSON-RPC reply"),
    ],
)
async def test_what_a_proxy_says(
    fake: FakeNode, rpc: CometbftRpc, status: int, kind: type[errors.NodeError], words: str
) -> None:
    fake.status, fake.body = status, b"<html></>"
    with pytest.raises(kind, match=words) as caught:
        await rpc.call("status", Status)
    assert type(caught.value) is kind
    assert failures(rpc) == {("status", kind.reason): 1}


async def test_wrong_password_names_the_user_and_not_the_password(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.login = "u:right"
    rpc.configure(replace(rpc.settings, user="u", password="wrong-horse"))
    with pytest.raises(errors.Unauthorized, match="password of user u") as caught:
        await rpc.call("status", Status)
    assert "wrong-horse" not in str(caught.value)


async def test_password_file_that_vanished_is_named(fake: FakeNode, tmp_path: Path) -> None:
    rpc = CometbftRpc(Rpc(url=fake.url, user="u", password_file=tmp_path / "gone"))
    with pytest.raises(errors.Unauthorized, match=r"rpc\.password_file: cannot read"):
        await rpc.call("status", Status)
    assert failures(rpc) == {("status", "unauthorized"): 1}


async def test_unknown_path_says_to_look_at_the_path(fake: FakeNode) -> None:
    rpc = CometbftRpc(Rpc(url=fake.url + "/nowhere"))
    with pytest.raises(errors.BadReply, match=r"HTTP 404; is this the node's RPC port"):
        await rpc.call("status", Status)
    await rpc.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"error":"no object"}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sync_info":{"latest_block_height":"many"}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sync_info":{"latest_block_height":"9223372036854775808"}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sync_info":{"latest_block_height":"1","latest_block_time":"soon"}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sync_info":' + b'{"x":' * 100_000,
    ],
    ids=lambda body: repr(body[:100]),
)
async def test_nonsense_is_a_bad_reply(fake: FakeNode, rpc: CometbftRpc, body: bytes) -> None:
    fake.body = body
    with pytest.raises(errors.BadReply, match=r"^status at 127.0.0.1:\d+: "):
        await rpc.call("status", Status)
    assert failures(rpc) == {("status", "bad_reply"): 1}


async def test_answer_without_end_is_not_read_to_it(
    fake: FakeNode, rpc: CometbftRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 100_000)
    fake.body = b" " * 5_000_000
    with pytest.raises(errors.ReplyTooLarge, match="larger than 100000 bytes; is this a CometBFT node's RPC server"):
        await rpc.call("status", Status)
    fake.body = None
    assert await rpc.call("status", Status)


# Connections


async def test_nobody_listens(fake: FakeNode, rpc: CometbftRpc) -> None:
    await fake.stop()
    with pytest.raises(errors.NodeUnreachable, match=r"Connection refused; is the node running, and is this its RPC"):
        await rpc.call("status", Status)
    await fake.restart()
    assert await rpc.call("status", Status)


async def test_connection_that_breaks_in_the_middle(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.cut = True
    with pytest.raises(errors.NodeUnreachable, match="the connection broke"):
        await rpc.call("status", Status)


async def test_node_that_hangs(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.delays["status"] = 30
    rpc.configure(replace(rpc.settings, timeout=0.05))
    with pytest.raises(errors.NodeTimeout, match=r"no answer within 0.05 s; the node hangs"):
        await rpc.call("status", Status)
    assert failures(rpc) == {("status", "timeout"): 1}


async def test_waiting_for_a_turn_counts_as_waiting_for_the_node(fake: FakeNode, rpc: CometbftRpc) -> None:
    fake.delays["block"] = 0.3
    rpc.configure(replace(rpc.settings, timeout=0.5))
    calls = [rpc.call("block", BlockResult, height=height) for height in range(12)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in ended} == {BlockResult, errors.NodeTimeout}
    assert len(fake.requests) <= 8


async def test_port_of_something_else(rpc: CometbftRpc) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        rpc.configure(Rpc(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        with pytest.raises(errors.BadReply, match="does not speak HTTP; is this the node's RPC port"):
            await rpc.call("status", Status)
    finally:
        server.close()
        await server.wait_closed()


async def test_certificate_file_that_cannot_be_used_keeps_the_old_settings(rpc: CometbftRpc, tmp_path: Path) -> None:
    before = rpc.settings
    with pytest.raises(errors.ConfigError, match=r"^rpc\.ca_file: cannot read"):
        rpc.configure(replace(before, ca_file=tmp_path / "none"))
    assert rpc.settings is before


async def test_answer_to_another_question_is_of_no_use_to_either(fake: FakeNode, rpc: CometbftRpc) -> None:
    """Who asks in two types gets each its own: one that does not fit spoils nothing for the other."""
    fake.body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"block_id": {"hash": "AA"}}}).encode()
    block, status = await asyncio.gather(
        rpc.call("block", BlockResult), rpc.call("block", Status), return_exceptions=True
    )
    assert isinstance(block, BlockResult)
    assert isinstance(status, errors.BadReply)
