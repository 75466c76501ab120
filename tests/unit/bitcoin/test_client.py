"""The JSON-RPC client: what leaves together, how it logs in, who waits, TLS."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from chainwatch import errors
from chainwatch.config import Secret
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.settings import Rpc
from tests.unit.bitcoin.asking import all_of, counted, failures
from tests.unit.bitcoin.fake_node import FakeNode
from tests.unit.exposition.certificates import Authority

SECRET = Secret("s3cret-Pa55word")


# What leaves together


async def test_one_call_is_a_plain_request(fake: FakeNode, rpc: BitcoinRpc) -> None:
    assert await rpc.call("getblockcount", into=int) == 7
    assert fake.requests == [[("getblockcount", [])]]
    assert counted(rpc, "chainwatch_rpc_duration_seconds_count") == {("getblockcount",): 1}


async def test_calls_made_together_travel_in_one_batch_on_one_connection(fake: FakeNode, rpc: BitcoinRpc) -> None:
    for _ in range(3):
        assert await all_of(rpc, "getblockcount", "getbestblockhash") == [7, "00ff"]
    assert len(fake.requests) == 3
    assert len(fake.connections) == 1
    assert counted(rpc, "chainwatch_rpc_duration_seconds_count") == {("batch",): 3}
    assert counted(rpc, "chainwatch_rpc_requests_total") == {("getblockcount",): 3, ("getbestblockhash",): 3}


async def test_calls_gathered_inside_a_collector_join_the_batch_of_those_made_directly(
    fake: FakeNode, rpc: BitcoinRpc
) -> None:
    async def direct() -> int:
        return await rpc.call("getblockcount", into=int)

    async def gathered() -> list[Any]:
        return await all_of(rpc, "getbestblockhash", "getpeerinfo")

    await asyncio.gather(direct(), gathered(), direct())
    assert fake.requests == [[("getblockcount", []), ("getbestblockhash", []), ("getpeerinfo", [])]]


async def test_equal_calls_are_asked_once_and_different_parameters_apart(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.answers["getblockheader"] = lambda block, verbose: [block, verbose]
    asked = [("a", True), ("b", True), ("a", True), ("a", 1)]
    answers = await asyncio.gather(*(rpc.call("getblockheader", *params, into=list) for params in asked))
    assert answers == [["a", True], ["b", True], ["a", True], ["a", 1]]
    assert len(fake.methods) == 3


async def test_each_asker_gets_its_own_type_of_the_one_answer(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.answers["getindexinfo"] = {"a": 1}
    one, other = await asyncio.gather(
        rpc.call("getindexinfo", into=dict[str, int]), rpc.call("getindexinfo", into=list[int]), return_exceptions=True
    )
    assert one == {"a": 1}
    assert isinstance(other, errors.BadReply)
    assert "not as documented" in str(other)
    assert len(fake.methods) == 1


async def test_calls_that_need_no_lock_do_not_wait_for_those_that_do(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.delays["getblockchaininfo"] = 3
    slow = asyncio.ensure_future(rpc.call("getblockchaininfo", into=dict))
    async with asyncio.timeout(2):
        assert await rpc.call("uptime", into=int) == 12
        await asyncio.gather(rpc.call("getnettotals", into=dict), rpc.call("uptime", into=int))
    slow.cancel()


async def test_a_slow_call_travels_alone(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.answers["getchaintips"] = []
    await all_of(rpc, "getblockcount", "getchaintips", "getbestblockhash")
    assert sorted(len(calls) for calls in fake.requests) == [1, 2]


async def test_no_more_than_three_requests_are_under_way(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.answers["getblockstats"] = lambda block: block
    fake.delays["getblockstats"] = 0.2
    calls = [asyncio.ensure_future(rpc.call("getblockstats", str(number), into=str)) for number in range(6)]
    await asyncio.sleep(0.1)
    assert len(fake.requests) == 3
    assert await asyncio.gather(*calls) == [str(number) for number in range(6)]
    assert len(fake.connections) == 3


# Logging in


async def test_user_and_password_log_in(fake: FakeNode) -> None:
    fake.login = f"exporter:{SECRET}"
    rpc = BitcoinRpc(Rpc(url=fake.url, user="exporter", password=SECRET))
    assert await rpc.call("getblockcount", into=int) == 7
    await rpc.close()


async def test_password_file_is_read_again_when_the_node_refuses(fake: FakeNode, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    fake.login = "exporter:old"
    rpc = BitcoinRpc(Rpc(url=fake.url, user="exporter", password_file=file))
    await rpc.call("getblockcount", into=int)
    file.write_text(f"{SECRET}\n")
    fake.login = f"exporter:{SECRET}"
    assert await rpc.call("getblockcount", into=int) == 7
    await rpc.close()


async def test_cookie_is_read_again_after_the_node_restarted(fake: FakeNode, tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    cookie.write_text("__cookie__:first")
    fake.login = "__cookie__:first"
    rpc = BitcoinRpc(Rpc(url=fake.url, cookie_file=cookie))
    await rpc.call("getblockcount", into=int)
    cookie.write_text("__cookie__:second")
    fake.login = "__cookie__:second"
    assert await all_of(rpc, "getblockcount", "uptime") == [7, 12]
    assert failures(rpc) == {}
    await rpc.close()


async def test_missing_method_is_asked_again_under_a_new_cookie(fake: FakeNode, tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    cookie.write_text("__cookie__:first")
    fake.login = "__cookie__:first"
    rpc = BitcoinRpc(Rpc(url=fake.url, cookie_file=cookie))
    with pytest.raises(errors.MethodNotFound):
        await rpc.call("getorphantxs", into=list)
    cookie.write_text("__cookie__:second")
    fake.login = "__cookie__:second"
    fake.answers["getorphantxs"] = []  # the node came back as a newer version
    await rpc.call("getblockcount", into=int)
    assert await rpc.call("getorphantxs", into=list) == []
    await rpc.close()


async def test_a_cookie_that_is_refused_is_not_sent_twice(fake: FakeNode, tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    cookie.write_text(f"__cookie__:{SECRET}")
    fake.login = "__cookie__:another"
    rpc = BitcoinRpc(Rpc(url=fake.url, cookie_file=cookie))
    with pytest.raises(errors.Unauthorized, match=r"getblockcount at 127.0.0.1:\d+: 401.*\.cookie; is it this node's"):
        await rpc.call("getblockcount", into=int)
    assert len(fake.requests) == 1
    assert failures(rpc) == {("getblockcount", "unauthorized"): 1}
    cookie.write_text("__cookie__:another")
    assert await rpc.call("getblockcount", into=int) == 7
    await rpc.close()


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (None, errors.NodeUnreachable, "no cookie file .*is the node running"),
        ("", errors.Unauthorized, "is no cookie file"),
        ("no colon", errors.Unauthorized, "is no cookie file"),
        (b"\xff\xfe:", errors.Unauthorized, "not text"),
    ],
)
async def test_cookie_file_that_cannot_be_used(
    fake: FakeNode, tmp_path: Path, content: str | bytes | None, kind: type[Exception], text: str
) -> None:
    cookie = tmp_path / ".cookie"
    if content is not None:
        cookie.write_bytes(content if isinstance(content, bytes) else content.encode())
    rpc = BitcoinRpc(Rpc(url=fake.url, cookie_file=cookie))
    with pytest.raises(kind, match=text):
        await rpc.call("getblockcount", into=int)
    await rpc.close()
    assert fake.requests == []


@pytest.mark.parametrize("failure", ["unauthorized", "forbidden", "timeout", "cut", "garbage", "down", "error"])
async def test_no_secret_in_any_error_or_log(
    fake: FakeNode, failure: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "password").write_text(SECRET)
    fake.login = None if failure != "unauthorized" else "exporter:another"
    match failure:
        case "forbidden":
            fake.forbidden.add("*")
        case "timeout":
            fake.delays["*"] = 5
        case "cut":
            fake.cut = True
        case "garbage":
            fake.body = b"\x00" * 50
        case "down":
            await fake.stop()
        case "error":
            fake.errors["*"] = (-8, "bad parameter")
    for settings in (
        Rpc(url=fake.url, user="exporter", password=SECRET, timeout=0.1),
        Rpc(url=fake.url, user="exporter", password_file=tmp_path / "password", timeout=0.1),
    ):
        rpc = BitcoinRpc(settings)
        with pytest.raises(errors.NodeError) as caught:
            await rpc.call("getblockcount", into=int)
        await rpc.close()
        seen = f"{caught.value!r} {caught.value} {caught.getrepr(showlocals=False)} {rpc!r}"
        assert SECRET not in seen
    assert SECRET not in caplog.text


# Callers that go away


async def test_request_nobody_waits_for_is_given_up_and_frees_its_slot(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.delays["*"] = 30
    waiting = [asyncio.ensure_future(rpc.call("getblockstats", number, into=int)) for number in range(3)]
    await asyncio.sleep(0.1)
    assert len(fake.requests) == 3
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    fake.delays.clear()
    async with asyncio.timeout(2):
        assert await rpc.call("getblockcount", into=int) == 7
    assert fake.abandoned == 3
    assert failures(rpc) == {("getblockstats", "timeout"): 3}


async def test_caller_that_goes_away_takes_nothing_from_the_others(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.delays["*"] = 0.2
    impatient, patient, other = (
        asyncio.ensure_future(rpc.call(method, into=object))
        for method in ("getblockcount", "getblockcount", "getbestblockhash")
    )
    await asyncio.sleep(0.1)
    impatient.cancel()
    assert [await patient, await other] == [7, "00ff"]
    assert len(fake.requests) == 1


async def test_caller_that_goes_away_at_once_is_not_asked_for(fake: FakeNode, rpc: BitcoinRpc) -> None:
    task = asyncio.ensure_future(rpc.call("getpeerinfo", into=dict))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await rpc.call("getblockcount", into=int)
    assert fake.methods == ["getblockcount"]


async def test_closing_ends_the_calls_under_way(fake: FakeNode, rpc: BitcoinRpc) -> None:
    fake.delays["*"] = 30
    calls = [asyncio.ensure_future(rpc.call("getblockstats", number, into=int)) for number in range(5)]
    await asyncio.sleep(0.1)
    await rpc.close()
    async with asyncio.timeout(2):
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, errors.NodeTimeout) for error in answers)


async def test_mistake_of_ours_reaches_whoever_waits(
    fake: FakeNode, rpc: BitcoinRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rpc, "_answer", broken)
    with pytest.raises(ZeroDivisionError):
        await rpc.call("getblockcount", into=int)


# TLS and settings


async def test_https_with_the_authority_of_the_node(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("node"))
    async with FakeNode(tls=context) as fake:
        fake.answers["getblockcount"] = 7
        rpc = BitcoinRpc(Rpc(url=fake.url, ca_file=authority.file))
        assert await rpc.call("getblockcount", into=int) == 7
        await rpc.close()
        stranger = BitcoinRpc(Rpc(url=fake.url))
        with pytest.raises(errors.NodeUnreachable, match=r"certificate is not accepted; see rpc\.ca_file"):
            await stranger.call("getblockcount", into=int)
        await stranger.close()


async def test_bad_authority_file_keeps_the_old_settings(fake: FakeNode, rpc: BitcoinRpc, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(errors.ConfigError, match=r"^rpc.ca_file: cannot read"):
            rpc.configure(Rpc(url="https://127.0.0.1:1", ca_file=tmp_path / name))
    assert await rpc.call("getblockcount", into=int) == 7


async def test_path_of_the_address_is_kept(fake: FakeNode) -> None:
    rpc = BitcoinRpc(Rpc(url=f"{fake.url}/wallet/mine"))
    assert await rpc.call("getblockcount", into=int) == 7
    await rpc.close()
