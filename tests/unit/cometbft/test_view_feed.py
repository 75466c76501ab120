"""The live view over a real socket: JSON, events, page."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from chainwatch.config import Web
from chainwatch.exposition.http import Subject, application
from chainwatch.exposition.runner import Runner
from chainwatch.exposition.server import Server
from chainwatch.families.cometbft.view import feed, page
from chainwatch.families.cometbft.view.document import Snapshot
from chainwatch.families.cometbft.view.page import PAGES, LiveView
from chainwatch.families.cometbft.view.reader import events
from chainwatch.families.cometbft.view.snapshot import MAX_NAME

from .heights import Story
from .view_scene import NODE2, Scene, halted

TEMPLATES = ("/consensus", "/consensus.css", "/consensus.js")


class Site:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.view = LiveView(scene, lambda address: scene.called.get(address))
        self.session: aiohttp.ClientSession
        self.server: Server
        self.url = ""

    async def get(self, path: str) -> aiohttp.ClientResponse:
        response = await self.session.get(self.url + path)
        await response.read()
        return response

    async def listen(self) -> aiohttp.ClientResponse:
        return await self.session.get(self.url + "/api/v1/consensus/stream")

    async def count(self, listeners: int) -> None:
        async with asyncio.timeout(5):
            while self.view._feed.listeners != listeners:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serve(scene: Scene) -> AsyncIterator[Site]:
    site = Site(scene)

    async def reload() -> str | None:
        return None

    subject = Subject(Runner({}, []), dict, list, lambda: True, reload, site.view.routes(), PAGES)
    app = application(subject, "cometbft", "/metrics")
    timeout = aiohttp.ClientTimeout(20)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as site.session,
        Server(app, Web(listen_address="127.0.0.1:0")) as site.server,
    ):
        site.url = site.server.url
        yield site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(halted()) as serving:
        yield serving


def documents(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    return events(response.content.iter_any())


async def following(stream: AsyncIterator[bytes]) -> Snapshot:
    async with asyncio.timeout(10):
        return msgspec.json.decode(await anext(stream), type=Snapshot)


# JSON


async def test_the_document_is_json_that_nobody_keeps(site: Site) -> None:
    response = await site.get("/api/v1/consensus")
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.headers["Cache-Control"] == "no-store"
    doc = msgspec.json.decode(await response.read(), type=Snapshot)
    assert (doc.version, doc.height, len(doc.missing)) == (1, 6, 2)


async def test_many_who_ask_at_once_cost_one_document(site: Site) -> None:
    made = 0
    take = site.view._feed._take

    def counted() -> Snapshot:
        nonlocal made
        made += 1
        return take()

    site.view._feed._take = counted
    listeners = [await site.listen() for _ in range(5)]
    started = time.monotonic()
    for _ in range(50):
        await site.get("/api/v1/consensus")
    elapsed = time.monotonic() - started
    assert made <= 2 + elapsed * feed.RATE
    for listener in listeners:
        listener.close()


# events


async def test_a_change_reaches_every_listener(site: Site) -> None:
    streams = [documents(await site.listen()) for _ in range(3)]
    assert [(await following(stream)).node.height for stream in streams] == [5, 5, 5]
    site.scene.tip = 6
    started = time.monotonic()
    assert [(await following(stream)).node.height for stream in streams] == [6, 6, 6]
    assert time.monotonic() - started < feed.HEARTBEAT_SECONDS


async def test_without_a_change_there_is_a_heartbeat_and_no_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_SECONDS", 1.0)
    stream = documents(await site.listen())
    first = await following(stream)
    started = time.monotonic()
    second = await following(stream)
    assert time.monotonic() - started > 0.9
    assert second.time > first.time


async def test_changes_come_at_most_four_times_a_second(site: Site) -> None:
    stream = documents(await site.listen())
    received, ends = 0, time.monotonic() + 1.5
    while time.monotonic() < ends:
        site.scene.tip = received
        await following(stream)
        received += 1
    assert 2 <= received <= 9


async def test_the_headers_let_no_proxy_keep_events_back(site: Site) -> None:
    response = await site.listen()
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"


async def test_too_many_listeners_are_told_so_and_places_are_given_back(site: Site) -> None:
    listeners = [await site.listen() for _ in range(feed.MAX_LISTENERS)]
    assert [listener.status for listener in listeners] == [200] * feed.MAX_LISTENERS
    refused = await site.get("/api/v1/consensus/stream")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert "16 listeners are here already" in await refused.text()
    assert (await site.get("/api/v1/consensus")).status == 200
    listeners[0].close()
    await site.count(feed.MAX_LISTENERS - 1)
    assert (await site.listen()).status == 200


async def test_whoever_leaves_is_forgotten_even_between_two_documents(site: Site) -> None:
    for _ in range(3):
        response = await site.listen()
        await following(documents(response))
        response.close()
    await site.count(0)


async def test_one_that_does_not_read_holds_up_nobody_and_is_owed_no_more_than_its_buffer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RATE", 200)
    site.scene.called = dict.fromkeys(site.scene.called, "鯨" * 70)
    for height in range(20):
        site.view.count(Story(height + 1, absent=range(4)).settled())
    host, port = site.url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(b"GET /api/v1/consensus/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.count(1)
        stream = documents(await site.listen())
        (gate,) = [site.server._gate]
        assert gate is not None
        (transport,) = [t for t in gate._open if t.get_extra_info("peername") == deaf.getsockname()]
        sent = 0
        for number in range(400):
            site.scene.tip = number
            sent += len(msgspec.json.encode(await following(stream)))
        waiting = transport.get_write_buffer_size()  # type: ignore[attr-defined]
        assert sent > 4 << 20
        assert waiting < 200_000
    await site.count(1)


async def test_a_stop_ends_every_stream_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.exposition.server.SHUTDOWN_SECONDS", 30.0)
    async with serve(halted()) as site:
        streams = [documents(await site.listen()) for _ in range(4)]
        for stream in streams:
            await following(stream)
        started = time.monotonic()
        await site.server.__aexit__()
        assert time.monotonic() - started < 10
        for stream in streams:
            with contextlib.suppress(aiohttp.ClientError):
                assert len([event async for event in stream]) <= 1
        site.server._servers.clear()


# the page


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/consensus", "text/html"), ("/consensus.css", "text/css"), ("/consensus.js", "text/javascript")],
)
async def test_the_page_and_its_files_are_served_with_a_strict_policy(site: Site, path: str, kind: str) -> None:
    response = await site.get(path)
    assert (response.status, response.content_type) == (200, kind)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


async def test_the_page_uses_nothing_that_its_policy_forbids(site: Site) -> None:
    html, _, script = [await (await site.get(path)).text() for path in TEMPLATES]
    assert re.findall(r"<script[^>]*>", html) == ['<script src="consensus.js" defer>']
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    for text in (html, script):
        assert not re.search(r"https?://", text)


async def test_the_script_finds_every_part_of_the_page(site: Site) -> None:
    html, _, script = [await (await site.get(path)).text() for path in TEMPLATES]
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r'byId\("([^"]+)"\)', script)) | set(re.findall(r'part\("([^"]+)"', script)) <= ids


async def test_a_hostile_name_travels_as_data_alone(site: Site) -> None:
    site.scene.called[NODE2] = "</script><img src=x onerror=alert(1)>\n\ndata: {}\n\n"
    stream = documents(await site.listen())
    (name,) = [one.name for one in (await following(stream)).missing if one.address == NODE2]
    assert name is not None
    assert "\n" not in name
    assert name.startswith("</script><img")
    for path in TEMPLATES:
        assert "onerror=alert" not in await (await site.get(path)).text()


async def test_a_hostile_chain_travels_as_data_alone(site: Site) -> None:
    site.scene.chain_id = "</script><img src=x onerror=alert(1)>\n\ndata: {}\n\n\u202e\x1b[2J\ud800" + "x" * 500
    document = await following(documents(await site.listen()))
    assert document.chain is not None
    assert document.chain.startswith("</script><img")
    assert document.chain.isprintable()
    assert len(document.chain) == MAX_NAME
    for path in TEMPLATES:
        assert "onerror=alert" not in await (await site.get(path)).text()


async def test_the_landing_page_leads_to_it(site: Site) -> None:
    text = await (await site.get("/")).text()
    assert '<a href="/consensus">Consensus, live</a>' in text
    assert '<a href="/api/v1/consensus">Consensus as JSON</a>' in text
    assert "consensus.css" not in text


async def test_every_route_is_among_the_familys_pages() -> None:
    scene = Scene()
    routes = list(LiveView(scene, scene.called.get).routes())
    assert sorted(route.path for route in routes) == sorted(page.PAGES)
