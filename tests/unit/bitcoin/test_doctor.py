"""The doctor says who refuses what and why, on a terminal that nobody else commands, and is done in time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec import structs

from chainwatch.config import Secret, State, Web, WebConfigFile
from chainwatch.errors import MethodNotFound
from chainwatch.exposition.report import Finding, Level, fail, ok, render, skip, verdict, warn
from chainwatch.families.bitcoin import methods
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.collectors.mempool import MempoolCollector
from chainwatch.families.bitcoin.diagnosis import access, machine, node, scrape, zmq_check
from chainwatch.families.bitcoin.doctor import diagnose, examine
from chainwatch.families.bitcoin.oneoff import Answer, OneOff
from chainwatch.families.bitcoin.schema import BlockchainInfo, NetworkInfo
from chainwatch.families.bitcoin.settings import BitcoinLog, BitcoinSettings, Rpc, Zmq
from chainwatch.families.bitcoin.tracker.zmq_feed import Publisher
from chainwatch.rpc.reach import resolve
from tests.unit.bitcoin.fake_node import FIXTURES, WARMING_UP, FakeNode, watched

BITCOIN.load()
ENABLED = [entry for entry in BITCOIN if entry.default]
PASSWORD = "hunter2-and-more"


def a_core_node(folder: str = "bitcoind31") -> FakeNode:
    """A node whose login is that of `as_watcher`, with the clock of now."""
    fake = FakeNode(FIXTURES / folder)
    fake.login = f"watcher:{PASSWORD}"
    fake.answers["getnettotals"] = lambda *_: {
        "totalbytesrecv": 1,
        "totalbytessent": 1,
        "timemillis": round(time.time() * 1000),
    }
    fake.answers["getzmqnotifications"] = []
    return fake


def as_watcher(fake: FakeNode, password: str = PASSWORD, timeout: float = 5, **sections: Any) -> BitcoinSettings:
    rpc = Rpc(url=fake.url, user="watcher", password=Secret(password), timeout=timeout)
    return BitcoinSettings(rpc=rpc, **sections)


async def findings(settings: BitcoinSettings) -> list[Finding]:
    return await asyncio.to_thread(lambda: list(examine(settings)))


def about(found: list[Finding], subject: str) -> list[Finding]:
    return [finding for finding in found if finding.subject == subject]


def failures(found: list[Finding]) -> list[str]:
    return [finding.subject for finding in found if finding.level is Level.FAIL]


def test_a_key_in_the_address_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:1/sesame?key=sesame"
    assert diagnose(BitcoinSettings(rpc=Rpc(url=url))) == 1
    report = capsys.readouterr().out
    assert "the node at http://127.0.0.1:1, as user" in report
    assert "sesame" not in report


async def test_a_healthy_node_has_nothing_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_core_node() as fake:
        assert await asyncio.to_thread(diagnose, as_watcher(fake)) == 0
        asked = set(fake.methods)
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert 'chain="bitcoin-regtest"' in report
    assert f"all {len(methods.methods_of(ENABLED))} methods" in report
    assert report.splitlines()[-1].startswith("All works")
    assert all(re.search(rf"\b{entry.name}\b", report) for entry in ENABLED)
    assert PASSWORD not in report
    assert not {"gettxoutsetinfo", "getblocktemplate"} & asked


async def test_a_wrong_password_is_told_as_that_and_nothing_else_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_core_node() as fake:
        assert await asyncio.to_thread(diagnose, as_watcher(fake, "not the right one")) == 1
        assert len(fake.requests) == 2
    report = capsys.readouterr().out
    assert re.search(r"FAIL  login .*401\. The node refuses the password of user watcher", report)
    assert "not the right one" not in report
    assert "1 thing to mend" in report


async def test_an_address_that_rpcallowip_leaves_out_is_told_from_a_whitelist() -> None:
    async with a_core_node() as fake:
        fake.login, fake.forbidden = None, {"*"}
        found = await findings(as_watcher(fake))
    assert failures(found) == ["server"]
    assert about(found, "server")[0].paste == ["rpcallowip=127.0.0.1"]
    assert not about(found, "whitelist")


async def test_methods_that_the_whitelist_misses_are_named_even_those_asked_only_sometimes() -> None:
    async with a_core_node() as fake:
        fake.forbidden = {"getpeerinfo", "getblockheader"}
        found = await findings(as_watcher(fake))
        asked = [call for calls in fake.requests for call in calls]
    assert failures(found) == ["whitelist", "collectors"]
    whitelist, collectors = about(found, "whitelist")[0], about(found, "collectors")[-1]
    assert f"refuses 2 of {len(methods.methods_of(ENABLED))} methods" in whitelist.text
    assert whitelist.text.endswith("getblockheader, getpeerinfo.")
    assert whitelist.paste == [methods.whitelist("watcher", ENABLED)]
    assert collectors.text.startswith("2 get nothing")
    assert collectors.text.endswith("peers, traffic.")
    # Knocking makes the node do no work: no method takes that many parameters.
    assert [len(params) for method, params in asked if method == "getblockheader"] == [40]


async def test_a_user_without_any_right_is_told_about_the_default() -> None:
    async with a_core_node() as fake:
        needed = methods.methods_of(ENABLED)
        fake.forbidden = set(needed)
        found = await findings(as_watcher(fake))
    assert "rpcwhitelistdefault=0" in about(found, "whitelist")[0].todo
    assert about(found, "software")[0].level is Level.SKIP
    assert about(found, "login")[0].level is Level.OK


async def test_a_node_that_answers_anybody_is_worth_knowing() -> None:
    async with a_core_node() as fake:
        fake.login = None
        found = await findings(as_watcher(fake))
    assert failures(found) == []
    assert "answers without a login" in about(found, "server")[0].text


@pytest.mark.parametrize(("status", "subject"), [(503, "server"), (404, "server"), (302, "server")])
async def test_a_server_that_answers_otherwise(status: int, subject: str) -> None:
    async with a_core_node() as fake:
        fake.status = status
        found = await findings(as_watcher(fake))
    assert failures(found) == [subject]
    assert str(status) in about(found, subject)[0].text


async def test_a_node_that_is_starting() -> None:
    async with a_core_node() as fake:
        fake.errors["*"] = WARMING_UP
        found = await findings(as_watcher(fake))
    assert failures(found) == ["warm-up"]
    assert "Loading block index" in about(found, "warm-up")[0].text


async def test_a_frozen_node_is_diagnosed_in_one_timeout() -> None:
    async with a_core_node() as fake:
        fake.delays["*"] = 30
        started = time.monotonic()
        found = await findings(as_watcher(fake, timeout=0.5))
    assert time.monotonic() - started < 1.0
    assert failures(found) == ["server"]
    assert "nothing reads them" in about(found, "server")[0].todo


async def test_a_locked_chain_state_is_told_from_a_frozen_node() -> None:
    async with a_core_node() as fake:
        fake.delays["getblockchaininfo"] = 30
        found = await findings(as_watcher(fake, timeout=0.5))
    assert failures(found) == ["warm-up"]
    assert "the chain state is locked" in about(found, "warm-up")[0].todo


async def test_a_node_that_freezes_meanwhile_is_asked_nothing_more() -> None:
    async with a_core_node() as fake:
        late = set(methods.methods_of(ENABLED)) | set(node.QUESTIONS)
        fake.delays = dict.fromkeys(late - {"uptime", "getblockchaininfo"}, 30)
        started = time.monotonic()
        found = await findings(as_watcher(fake, timeout=0.5))
    assert time.monotonic() - started < 1.0
    assert failures(found) == ["answers"]
    assert about(found, "software")[0].level is Level.SKIP


async def test_a_port_that_is_closed() -> None:
    async with a_core_node() as fake:
        settings = as_watcher(fake)
    found = await findings(settings)
    assert failures(found) == ["connection"]
    assert "Connection refused" in about(found, "connection")[0].text


async def test_a_name_that_does_not_exist() -> None:
    found = await findings(BitcoinSettings(rpc=Rpc(url="http://does-not-exist.invalid:8332", timeout=5)))
    assert failures(found) == ["address"]


def test_a_name_server_that_hangs_does_not_hold_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1.5) or [])
    started = time.monotonic()
    assert resolve("node.example", 0.2) == "the name server does not answer"
    assert time.monotonic() - started < 1
    for thread in threading.enumerate():
        if "look_up" in thread.name:
            thread.join()


async def test_a_port_for_peers_is_recognised() -> None:
    async def peer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await findings(BitcoinSettings(rpc=Rpc(url=f"http://127.0.0.1:{port}")))
    assert failures(found) == ["server"]


async def test_a_missing_cookie_shows_the_folder_where_it_should_be(tmp_path: Path) -> None:
    async with a_core_node() as fake:
        cookie = tmp_path / "regtest" / ".cookie"
        found = await findings(BitcoinSettings(rpc=Rpc(url=fake.url, cookie_file=cookie)))
    assert failures(found) == ["login"]
    assert re.search(rf"{tmp_path} is drwx\S+ \w+:\w+", about(found, "login")[0].todo)


async def test_what_the_node_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\u202eevil\r\nOK    everything  is fine\x9b31m"
    async with a_core_node() as fake:
        network = FIXTURES.joinpath("bitcoind31/getnetworkinfo.json").read_bytes()
        fake.answers["getnetworkinfo"] = {**json.loads(network), "subversion": hostile, "warnings": hostile}
        fake.errors["getmempoolinfo"] = (-1, hostile)
        fake.answers["getrpcinfo"] = {"active_commands": [{"method": hostile, "duration": 5}], "logpath": hostile}
        await asyncio.to_thread(diagnose, as_watcher(fake))
    report = capsys.readouterr().out
    assert "\\x1b[2J" in report
    assert all(char.isprintable() or char == "\n" for char in report)
    assert "\nOK    everything" not in report


async def test_a_collector_that_fails_says_why_and_how_to_do_without() -> None:
    async with a_core_node() as fake:
        fake.errors["getmempoolinfo"] = (-1, "out of order")
        found = await findings(as_watcher(fake))
    (failed,) = [finding for finding in about(found, "collector") if finding.level is Level.FAIL]
    assert re.match(r"mempool: getmempoolinfo at .*: out of order", failed.text)
    assert "--no-collector.mempool" in failed.todo


async def test_a_mistake_of_ours_is_owned_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: MempoolCollector) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MempoolCollector, "collect", broken)
    async with a_core_node() as fake:
        found = await findings(as_watcher(fake))
    assert any("ZeroDivisionError" in each.text and "mistake in chainwatch" in each.todo for each in found)


async def test_metrics_that_a_version_lacks_are_named_by_what_came_back() -> None:
    async with a_core_node("litecoind") as fake:
        found = await asyncio.to_thread(lambda: list(scrape.examine(as_watcher(fake), ENABLED)))
    texts = [finding.text for finding in found]
    assert any(re.match(r"mempool: works; .*bitcoin_mempool_fees_satoshis, bitcoin_mempool_full_rbf", t) for t in texts)
    assert any(t.startswith("addrman: not on this node. getaddrmaninfo") for t in texts)
    assert not any(finding.level is Level.FAIL for finding in found)


async def test_collectors_that_are_switched_off_are_not_examined() -> None:
    async with a_core_node() as fake:
        found = await findings(as_watcher(fake, collector={"peers": False, "utxo_set": True}))
        asked = fake.methods
    assert not any("peers" in finding.text for finding in about(found, "collectors"))
    assert "gettxoutsetinfo" in asked


# The whitelist


@pytest.mark.parametrize("folder", ["bitcoind31", "litecoind", "bitcoinsv"])
async def test_the_whitelist_holds_all_that_collectors_really_ask(folder: str) -> None:
    async with FakeNode(FIXTURES / folder) as fake, watched(fake) as watched_node:
        collectors = [(entry, entry.build(watched_node)) for entry in BITCOIN]
        for entry, collector in collectors:
            fake.requests.clear()
            await asyncio.gather(collector.collect(), return_exceptions=True)
            assert fake.methods or watched_node.rpc._missing, entry.name
            assert set(fake.methods) <= set(methods.methods_of([entry])), entry.name


def test_the_whitelist_holds_nothing_that_commands_the_node() -> None:
    allowed = methods.methods_of(BITCOIN)
    assert {"getzmqnotifications", "activezmqnotifications", "getblockhash", "uptime"} <= set(allowed)
    assert all(name.startswith(("get", "estimate", "list", "active")) or name == "uptime" for name in allowed)
    assert "gettxoutsetinfo" not in methods.methods_of(ENABLED)


# ZMQ


def heard(published: object, zmq_settings: Zmq | None = None, url: str = "http://127.0.0.1:8332") -> list[Finding]:
    answers: dict[str, Any] = dict.fromkeys(node.QUESTIONS, MethodNotFound("getzmqnotifications: not here"))
    if isinstance(published, list):
        answers["activezmqnotifications"] = Answer(published, 0, 0, None)
    settings = BitcoinSettings(rpc=Rpc(url=url, timeout=1), zmq=zmq_settings or Zmq())
    return list(zmq_check.examine(settings, node.Facts(answers)))


@pytest.fixture
def publisher() -> Iterator[tuple[zmq.Socket[bytes], int]]:
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield socket, port


def test_zmq_that_answers(publisher: tuple[zmq.Socket[bytes], int]) -> None:
    found = heard([Publisher(f"tcp://127.0.0.1:{publisher[1]}", type="pubhashblock")])
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    assert "no message in" in found[1].text


async def test_zmq_that_speaks_on_every_interface(publisher: tuple[zmq.Socket[bytes], int]) -> None:
    socket, port = publisher
    check = asyncio.to_thread(heard, [Publisher(f"tcp://0.0.0.0:{port}", notification="pubhashblock")])
    task = asyncio.create_task(check)
    while not await asyncio.to_thread(socket.poll, 1000):
        pass
    socket.send_multipart([b"hashblock", bytes(32), bytes(4)])
    assert (await task)[1].text == f"Connected to tcp://127.0.0.1:{port}; a message arrived."


def test_zmq_address_where_nobody_listens(publisher: tuple[zmq.Socket[bytes], int]) -> None:
    publisher[0].close()
    found = heard([Publisher(f"tcp://127.0.0.1:{publisher[1]}", type="pubsequence")])
    assert found[-1].level is Level.FAIL
    assert "Nothing that speaks ZMQ" in found[-1].text


def test_zmq_address_that_is_another_machine_s_loopback() -> None:
    found = heard([Publisher("tcp://127.0.0.1:28332", type="pubsequence")], url="http://192.0.2.7:8332")
    assert found[-1].level is Level.FAIL
    assert "the node is on another machine" in found[-1].text


def test_zmq_that_publishes_nothing_or_nothing_of_use() -> None:
    for published in ([], [Publisher("tcp://127.0.0.1:1", type="pubrawtx")]):
        (found,) = heard(published)
        assert found.level is Level.WARN
        assert "zmqpubsequence=tcp://127.0.0.1:28332" in found.paste


def test_zmq_that_is_not_built_in_or_not_wanted_is_no_trouble() -> None:
    assert [finding.level for finding in heard(None)] == [Level.OK]
    assert [finding.level for finding in heard(None, Zmq(enabled=False))] == [Level.OK]


def test_zmq_addresses_that_are_none() -> None:
    assert zmq_check.listen("tcp://no such host:1", 0.2) is None
    assert zmq_check.listen("nonsense", 0.2) is None


# The clock


def clock(ahead: float, *, date: bool = False) -> list[Finding]:
    now = time.time()
    answers: dict[str, Any] = dict.fromkeys(node.QUESTIONS, MethodNotFound("not here"))
    text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now + ahead))
    answers["getrpcinfo"] = Answer(node.RpcInfo(), now, now, text)
    if not date:
        answers["getnettotals"] = Answer(node.NetTotals(round((now + ahead) * 1000)), now, now, None)
    return list(node.examine_clock(node.Facts(answers)))


@pytest.mark.parametrize(("ahead", "says"), [(100, "100.0 s ahead of"), (-7200, "7200.0 s behind")])
def test_a_clock_that_is_wrong(ahead: float, says: str) -> None:
    (found,) = clock(ahead)
    assert found.level is Level.WARN
    assert says in found.text
    (found,) = clock(ahead, date=True)
    assert found.level is Level.WARN


@pytest.mark.parametrize("ahead", [0, 1.5, -1.5])
def test_a_clock_that_is_right(ahead: float) -> None:
    assert clock(ahead)[0].level is Level.OK
    assert clock(ahead, date=True)[0].level is Level.OK


@pytest.mark.parametrize("date", ["nonsense", "Sun, 99 Nov 2026 13:00:00 GMT", ""])
def test_a_date_that_is_none_tells_nothing(date: str) -> None:
    answers: dict[str, Any] = dict.fromkeys(node.QUESTIONS, MethodNotFound("not here"))
    answers["uptime"] = Answer(1, 0, 0, date)
    assert list(node.examine_clock(node.Facts(answers))) == []


# The node


def facts(**changes: Any) -> node.Facts:
    """A Core node's answers, with changed fields of getblockchaininfo and getnetworkinfo."""
    blockchain = BlockchainInfo("main", 100, 100, "00" * 32, initialblockdownload=False)
    network = NetworkInfo(310000, "/Satoshi:31.0.0/", connections=8)
    answers: dict[str, Any] = dict.fromkeys(node.QUESTIONS, MethodNotFound("not here"))
    for name, info in (("getblockchaininfo", blockchain), ("getnetworkinfo", network)):
        known = {field: value for field, value in changes.items() if field in info.__struct_fields__}
        answers[name] = Answer(structs.replace(info, **known), 0, 0, None)
    if "commands" in changes:
        answers["getrpcinfo"] = Answer(node.RpcInfo(changes["commands"]), 0, 0, None)
    return node.Facts(answers)


@pytest.mark.parametrize(
    ("changes", "subject", "says"),
    [
        ({"initialblockdownload": True, "verificationprogress": 0.1234}, "sync", "12.34% verified"),
        ({"headers": 200}, "sync", "behind"),
        ({"connections": 0}, "peers", "no peers"),
        ({"networkactive": False}, "peers", "switched off"),
        ({"version": 200100, "subversion": "/Satoshi:0.20.1/"}, "software", "older than Bitcoin Core 0.21"),
        ({"subversion": "/Dogecoin:1.14/"}, "chain", '"dogecoin-main", a chain that chainwatch does not know'),
        ({"warnings": ["Unknown new rules activated (versionbit 4)"]}, "warning", "versionbit 4"),
        ({"commands": [node.ActiveCommand("gettxoutsetinfo", 60_000_000)]}, "RPC queue", "gettxoutsetinfo for 60.0 s"),
    ],
)
def test_what_is_worth_knowing_of_a_node(changes: dict[str, Any], subject: str, says: str) -> None:
    found = list(node.examine(BitcoinSettings(), facts(**changes)))
    assert [finding.subject for finding in found if finding.level is Level.WARN] == [subject]
    assert says in about(found, subject)[0].text


def test_a_chain_that_the_settings_describe_is_known() -> None:
    settings = BitcoinSettings(chain=structs.replace(BitcoinSettings().chain, name="doge", spacing=60.0))
    found = list(node.examine(settings, facts(subversion="/Dogecoin:1.14/")))
    assert all(finding.level is Level.OK for finding in found)


# This machine


def test_a_state_folder_that_does_not_exist(tmp_path: Path) -> None:
    found = list(machine.examine(BitcoinSettings(state=State(dir=tmp_path / "none")), None))
    assert failures(found) == ["state"]
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    found = list(machine.examine(BitcoinSettings(), None))
    assert about(found, "state")[0].text == f"{tmp_path} can be written."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_log_that_cannot_be_followed(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "debug.log"
    if kind == "folder":
        file.mkdir()
    if kind == "pipe":
        os.mkfifo(file)
    found = list(machine.examine(BitcoinSettings(log=BitcoinLog(file=file)), None))
    assert failures(found) == ["log"]


def test_a_log_without_the_lines_that_metrics_are_made_of(tmp_path: Path) -> None:
    file = tmp_path / "debug.log"
    file.write_bytes((FIXTURES / "litecoind" / "log_rejects_misbehave.txt").read_bytes())
    found = about(list(machine.examine(BitcoinSettings(log=BitcoinLog(file=file)), None)), "log")
    assert [finding.level for finding in found] == [Level.OK, Level.WARN]
    assert "debug=cmpctblock" in found[1].paste
    assert "debug=mempoolrej" not in found[1].paste  # such lines are in it


def test_categories_are_believed_when_the_node_tells_them(tmp_path: Path) -> None:
    file = tmp_path / "debug.log"
    file.write_bytes(b"")
    told = facts()
    on = dict.fromkeys(["mempool", "mempoolrej", "net", "bench", "cmpctblock"], True)
    told.answers["logging"] = Answer(on, 0, 0, None)
    found = about(list(machine.examine(BitcoinSettings(log=BitcoinLog(file=file)), told)), "log")
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    told.answers["logging"] = Answer({**on, "bench": False}, 0, 0, None)
    found = about(list(machine.examine(BitcoinSettings(log=BitcoinLog(file=file)), told)), "log")
    assert found[-1].paste == ["debug=bench"]


def test_a_web_configuration_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: {alice: secret}\n")
    settings = BitcoinSettings(web=Web(listen_address="127.0.0.1:0", config=WebConfigFile(file=file)))
    found = list(machine.examine(settings, None))
    assert failures(found) == ["web"]
    assert not any("secret" in finding.text for finding in found)


def test_a_page_that_is_open_to_the_network() -> None:
    found = list(machine.examine(BitcoinSettings(web=Web(listen_address="0.0.0.0:9332")), None))
    assert about(found, "web")[0].level is Level.WARN


# The report


def test_lines_fit_a_terminal_and_lines_to_paste_are_whole() -> None:
    long = "word " * 100
    lines = render(fail("subject", long, long, ["x" * 500])).splitlines()
    assert all(len(line) <= 110 for line in lines[:-1])
    assert lines[-1].strip() == "x" * 500
    assert lines[0].startswith("FAIL  subject     word")


def test_the_last_line_counts() -> None:
    good, bad, odd = ok("a", ""), fail("b", ""), warn("c", "")
    assert verdict([good, skip("d", "")]) == "All is well.\n"
    assert verdict([good, odd]) == "All works; 1 thing worth knowing, see WARN.\n"
    assert verdict([bad, odd, odd, bad]) == "2 things to mend, and 2 things worth knowing; begin with the first FAIL.\n"


async def test_knocking_stays_within_its_time() -> None:
    async with a_core_node() as fake:
        fake.delays["*"] = 30
        settings = as_watcher(fake)
        started = time.monotonic()
        found = await asyncio.to_thread(lambda: list(access.examine(settings, OneOff(settings.rpc), ENABLED, 0.3)))
    assert time.monotonic() - started < 1
    assert failures(found) == ["whitelist"]
    assert "got no answer" in found[0].text
