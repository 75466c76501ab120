"""The doctor says what keeps a CometBFT node from being watched, and what to do about it."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from chainwatch.config import Secret, State, Web
from chainwatch.exposition.report import Finding, Level
from chainwatch.families.cometbft.diagnosis import listening
from chainwatch.families.cometbft.doctor import diagnose, examine
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Validators, Vantage
from tests.unit.cometbft.fake_node import CHAIN_ID, FakeNode

OWN = "63D55B36139650643B22251A44066B2215A15318"
STRANGER = "0" * 40


def now(ago: float = 0.0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Talking(FakeNode):
    """A node in sync, whose websocket takes every subscription and then tells votes of this age."""

    def __init__(self, *, vote_age: float = 0.1, refuses: bool = False, silent: bool = False) -> None:
        super().__init__()
        self.on_chain(CHAIN_ID, latest_block_time=now(1))
        self.answers["validators"] = lambda **params: {
            **self.result("validators"), "block_height": params["height"]
        }  # fmt: skip
        self._vote_age, self._refuses, self._silent = vote_age, refuses, silent

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/websocket", self._talk)]

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        if self._refuses:
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            await socket.send_json({"jsonrpc": "2.0", "id": asked["id"], "result": {}})
            if "'o'" in asked["params"]["query"] and not self._silent:
                for number in range(6):
                    await socket.send_json(self._vote(asked["id"], asked["params"]["query"], f"{number:040X}"))
        return socket

    def _vote(self, number: int, query: str, address: str) -> dict[str, Any]:
        vote = {
            "type": 1, "height": "10", "round": 0, "block_id": {"hash": "AB" * 32, "parts": {"total": 1, "hash": ""}},
            "timestamp": now(self._vote_age), "validator_address": address, "validator_index": 0,
        }  # fmt: skip
        data = {"type": "tendermint/event/Vote", "value": {"Vote": vote}}
        return {
            "jsonrpc": "2.0", "id": number, "result": {"query": query, "data": data, "events": {"tm.event": ["Vote"]}}
        }  # fmt: skip


async def findings(settings: CometbftSettings) -> list[Finding]:
    return await asyncio.to_thread(lambda: list(examine(settings)))


def watching(fake: FakeNode, *others: FakeNode, **sections: Any) -> CometbftSettings:
    rpc = sections.pop("rpc", Rpc(url=fake.url, timeout=5))
    vantage = Vantage(urls=",".join(other.url for other in others) or None)
    return CometbftSettings(rpc=rpc, vantage=vantage, **sections)


def levels(found: list[Finding], subject: str) -> list[Level]:
    return [finding.level for finding in found if finding.subject == subject]


def said(found: list[Finding], subject: str) -> str:
    return " ".join(f"{f.text} {f.todo} {' '.join(f.paste)}" for f in found if f.subject == subject)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening.examine, "__defaults__", (0.5,))


def test_a_key_in_the_address_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:1/sesame?key=sesame"
    assert diagnose(CometbftSettings(rpc=Rpc(url=url))) == 1
    report = capsys.readouterr().out
    assert "the node at http://127.0.0.1:1, as user" in report
    assert "sesame" not in report


async def test_a_healthy_node_has_nothing_to_mend(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    async with Talking() as fake, Talking() as other:
        told = other.result("status")
        told["node_info"]["id"] = "another"
        other.answers["status"] = told
        settings = watching(fake, other, validators=Validators(own=f"{OWN}=ours"), state=State(dir=tmp_path))
        assert await asyncio.to_thread(diagnose, settings) == 0
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert "WARN" not in report
    assert report.splitlines()[-1] == "All is well."
    assert re.search(r"OK    node .* version 0\.38\.25, chain chainwatch-lab", report)
    assert re.search(
        r"OK    validator .*ours \(63D55B\w+\) has 10 power, 25\.00%", report.replace("\n" + " " * 18, " ")
    )
    assert list(tmp_path.iterdir()) == []


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = await findings(CometbftSettings(rpc=Rpc(url=url)))
    assert levels(found, "connection") == [Level.FAIL]
    assert levels(found, "the rest") == [Level.SKIP]
    assert "rpc.laddr" in said(found, "connection")
    assert levels(found, "state") == [Level.OK]  # what is of this machine is examined all the same


@pytest.mark.parametrize(
    ("break_it", "subject", "words"),
    [
        (lambda fake: setattr(fake, "login", "u:right"), "login", "refuses the password of user u"),
        (lambda fake: setattr(fake, "body", b"<html>"), "server", "no JSON-RPC reply"),
        (lambda fake: fake.delays.update(status=30), "server", "is the process stopped"),
        (lambda fake: setattr(fake, "status", 502), "server", "the node behind it does not"),
    ],
)
async def test_a_node_that_gives_no_status(break_it: Callable[[FakeNode], None], subject: str, words: str) -> None:
    async with Talking() as fake:
        break_it(fake)
        rpc = Rpc(url=fake.url, user="u", password=Secret("hunter2-and-more"), timeout=0.5)
        found = await findings(watching(fake, rpc=rpc))
        assert fake.methods == ["status"]
    assert levels(found, subject) == [Level.FAIL]
    assert words in said(found, subject)
    assert "hunter2" not in str(found)


async def test_a_node_that_claims_to_be_in_sync_with_an_old_block() -> None:
    async with Talking(silent=True) as fake:
        fake.on_chain(CHAIN_ID, latest_block_time=now(3600))
        found = await findings(watching(fake))
    assert levels(found, "sync") == [Level.WARN]
    assert "says that it is in sync" in said(found, "sync")
    assert "the node is still at height" in said(found, "websocket")
    assert levels(found, "websocket") == [Level.WARN]


async def test_frames_that_are_held_back_while_the_node_moves_on() -> None:
    async with Talking(silent=True) as fake:
        heights = itertools.count(100)
        before = fake.result("status")

        def status(**_: Any) -> dict[str, Any]:
            return {**before, "sync_info": {**before["sync_info"], "latest_block_height": str(next(heights))}}

        fake.answers["status"] = status
        found = await findings(watching(fake))
    assert levels(found, "websocket") == [Level.FAIL]
    assert "while the node took 1 block." in said(found, "websocket")


async def test_a_port_that_speaks_something_else() -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x22\x0a\x20" + bytes(range(32)) * 3)  # as a CometBFT node does to its peers
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        found = await findings(CometbftSettings(rpc=Rpc(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")))
    assert levels(found, "server") == [Level.FAIL]
    assert "does not speak HTTP; is this the node's RPC port" in said(found, "server")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"catching_up": True}, "It catches up"),
        ({"latest_block_height": "0", "latest_block_hash": ""}, "has no block yet"),
    ],
)
async def test_a_node_on_its_way(told: dict[str, Any], words: str) -> None:
    async with Talking() as fake:
        fake.on_chain(CHAIN_ID, **{"latest_block_time": now(1), **told})
        found = await findings(watching(fake))
    assert levels(found, "sync") == [Level.WARN]
    assert words in said(found, "sync")


async def test_a_node_without_peers() -> None:
    async with Talking() as fake:
        fake.answers["net_info"] = {"n_peers": "0", "peers": []}
        found = await findings(watching(fake))
    assert levels(found, "peers") == [Level.WARN]


async def test_a_chain_whose_name_cannot_be_a_label() -> None:
    async with Talking() as fake:
        fake.on_chain("my chain", latest_block_time=now(1))
        found = await findings(watching(fake))
    assert "chain=unknown" in said(found, "chain")


async def test_a_websocket_that_a_proxy_does_not_pass_on() -> None:
    async with Talking(refuses=True) as fake:
        found = await findings(watching(fake))
    assert levels(found, "websocket") == [Level.FAIL]
    assert "403" in said(found, "websocket")
    assert "Upgrade" in said(found, "websocket")


@pytest.mark.parametrize(("age", "words"), [(-30.0, "clock is behind"), (30.0, "clock is ahead")])
async def test_a_clock_that_disagrees_with_the_validators(age: float, words: str) -> None:
    async with Talking(vote_age=age) as fake:
        found = await findings(watching(fake))
    assert levels(found, "clock") == [Level.WARN]
    assert words in said(found, "clock")


async def test_a_block_from_the_future_shows_a_slow_clock() -> None:
    async with Talking() as fake:
        fake.on_chain(CHAIN_ID, latest_block_time=now(-60))
        found = await findings(watching(fake))
    assert Level.WARN in levels(found, "clock")
    assert "ahead of this machine's clock" in said(found, "clock")


async def test_vantage_points_that_are_none() -> None:
    async with Talking() as fake, Talking() as elsewhere, Talking() as itself, Talking() as gone:
        elsewhere.on_chain("elsewhere-1")
        settings = watching(fake, elsewhere, itself, gone)
        await gone.stop()
        found = await findings(settings)
    assert levels(found, "vantage1") == [Level.FAIL]
    assert "on chain elsewhere-1, the watched node on chainwatch-lab" in said(found, "vantage1")
    assert levels(found, "vantage2") == [Level.FAIL]
    assert "the watched node itself" in said(found, "vantage2")
    assert levels(found, "vantage3") == [Level.WARN]


async def test_an_own_validator_that_is_not_in_the_set() -> None:
    async with Talking() as fake:
        found = await findings(watching(fake, validators=Validators(own=f"{STRANGER}=typo,{OWN}")))
    assert levels(found, "validator") == [Level.WARN, Level.OK]
    assert f"typo ({STRANGER}) is not in the set" in said(found, "validator")


async def test_a_validating_node_whose_validator_is_not_named() -> None:
    async with Talking() as fake:
        told = fake.answers["status"]
        told["validator_info"] |= {"address": OWN, "voting_power": "10"}
        found = await findings(watching(fake))
    assert levels(found, "validator") == [Level.WARN]
    assert f"--validators.own {OWN}=NAME" in said(found, "validator")


async def test_a_set_that_cannot_be_read() -> None:
    async with Talking() as fake:
        fake.errors["validators"] = (-32603, "Internal error", "could not find validator set")
        found = await findings(watching(fake))
    assert levels(found, "validators") == [Level.WARN]


async def test_pages_that_are_open_to_the_network() -> None:
    async with Talking() as fake:
        found = await findings(watching(fake, web=Web(listen_address="0.0.0.0:11333")))
    assert levels(found, "web") == [Level.WARN]


async def test_hostile_texts_of_the_node_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    async with Talking() as fake:
        told = fake.answers["status"]
        told["node_info"] |= {"moniker": "evil\x1b[2J\nOK    all", "version": "1\x07"}
        await asyncio.to_thread(diagnose, watching(fake))
    report = capsys.readouterr().out
    assert "\x1b" not in report
    assert "\x07" not in report
    assert "\nOK    all" not in report


async def test_it_is_done_in_time() -> None:
    async with Talking() as fake:
        fake.delays |= {"net_info": 30, "validators": 30}
        started = time.monotonic()
        found = await findings(watching(fake, rpc=Rpc(url=fake.url, timeout=0.3)))
    assert time.monotonic() - started < 20
    assert levels(found, "peers") == [Level.WARN]
