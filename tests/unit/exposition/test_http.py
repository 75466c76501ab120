"""The exporter's answers, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from chainwatch.errors import NodeError
from chainwatch.exposition import http
from chainwatch.exposition.http import STOPPING, scrape_seconds

from .site import HOSTILE, Site, serve

# As these versions send them (scrape/scrape.go).
PROMETHEUS_2_42 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # noqa: E501
PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"  # noqa: E501


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve() as serving:
        yield serving


# the metrics page


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS_2_42, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_the_format_is_what_the_scraper_asks_for(site: Site, accept: str, content_type: str) -> None:
    response = await site.get(Accept=accept)
    page = (await response.read()).decode()
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert page.endswith("# EOF\n") == content_type.startswith("application/openmetrics")
    assert 'test_value{chain="test-main",number="0"} 0.0\n' in page
    assert 'chainwatch_up{chain="test-main"} 1.0\n' in page


@pytest.mark.parametrize("size", [1, 40_000])
async def test_a_page_is_compressed_for_whoever_accepts_it(site: Site, size: int) -> None:
    site.values.size = size
    plain = await site.get(**{"Accept-Encoding": "identity"})
    packed = await site.get(**{"Accept-Encoding": "deflate, gzip;q=0.8"})
    refused = await site.get(**{"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert "Content-Encoding" not in refused.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    values = [line for line in (await plain.read()).splitlines() if line.startswith(b"test_value")]
    unpacked = gzip.decompress(await packed.read())
    assert [line for line in unpacked.splitlines() if line.startswith(b"test_value")] == values
    assert len(await packed.read()) < len(unpacked)


async def test_names_reduce_the_page(site: Site) -> None:
    page = await (await site.get("/metrics?name[]=test_events_total&name[]=chainwatch_up&name[]=nothing")).text()
    samples = [line.partition("{")[0] for line in page.splitlines() if not line.startswith("#")]
    assert samples == ["chainwatch_up", "test_events_total"]
    assert "# TYPE test_events_total counter\n" in page


async def test_a_metric_that_cannot_be_rendered_is_left_out(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    broken = GaugeMetricFamily("test_broken", "Help.")
    broken.add_sample("test_broken", {}, "no number")  # type: ignore[arg-type]

    class Source:
        def collect(self) -> list[Metric]:
            return [broken]

    site.runner._sources = [Source()]
    response = await site.get()
    page = await response.text()
    assert response.status == 200
    assert "test_broken" not in page
    assert 'test_value{chain="test-main",number="0"} 0.0\n' in page
    assert "metric test_broken cannot be rendered" in caplog.text


async def test_two_scrapers_at_once_cost_one_collection(site: Site) -> None:
    site.values.seconds = 0.2
    pages = await asyncio.gather(site.get(), site.get())
    assert site.values.asked == 1
    assert [page.status for page in pages] == [200, 200]


async def test_the_scrapers_deadline_is_kept(site: Site) -> None:
    site.values.seconds = 3600
    async with asyncio.timeout(1.5):
        response = await site.get(**{http.TIMEOUT_HEADER: "1"})
    page = await response.text()
    assert 'chainwatch_up{chain="test-main"} 0.0' in page
    assert 'chainwatch_collector_success{chain="test-main",collector="values"} 0.0' in page
    assert "test_value" not in page


async def test_a_scraper_that_leaves_does_not_keep_the_node_busy(site: Site) -> None:
    site.values.seconds = 3600
    with pytest.raises(asyncio.TimeoutError):
        await site.session.get(site.url + "/metrics", timeout=aiohttp.ClientTimeout(0.2))
    async with asyncio.timeout(5):
        while not site.values.cancelled:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 9.5), ("", 9.5), ("10", 9.5), ("15.000000", 14.5), ("0.6", 0.3), ("1", 0.5), ("1e9", 119.5), ("0", 9.5),
        ("-1", 9.5), ("nan", 9.5), ("inf", 9.5), ("-inf", 9.5), ("10s", 9.5), ("1,2", 9.5), ("9" * 5000, 9.5),
    ],
)  # fmt: skip
def test_a_timeout_header_is_read_with_a_margin_and_never_believed_blindly(header: str | None, seconds: float) -> None:
    assert scrape_seconds(header) == pytest.approx(seconds)


# pages for people and machines


async def test_the_landing_page_shows_a_person_how_each_collector_fares(site: Site) -> None:
    before = await (await site.get("/")).text()
    assert "Not scraped yet" in before
    await site.get()
    assert '<td class="good">ok</td>' in await (await site.get("/")).text()
    site.values.error = NodeError(HOSTILE)
    await site.get()
    failed = await (await site.get("/")).text()
    assert '<td class="bad">failed</td>' in failed
    assert 'href="/metrics"' in failed


async def test_hostile_text_on_the_landing_page_is_text(site: Site) -> None:
    site.values.error = NodeError(HOSTILE)
    await site.get()
    response = await site.get("/")
    page = await response.text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") == 2
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


async def test_another_path_for_the_metrics() -> None:
    async with serve(telemetry_path="/bitcoin/metrics") as site:
        assert (await site.get("/bitcoin/metrics")).status == 200
        assert (await site.get("/metrics")).status == 404
        assert 'href="/bitcoin/metrics"' in await (await site.get("/")).text()


async def test_a_family_answers_at_paths_of_its_own_and_the_landing_page_leads_there() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    pages = {"/hello": f"Hello {HOSTILE}", "/quiet": ""}
    async with serve(routes=[web.get("/hello", hello), web.get("/quiet", hello)], pages=pages) as site:
        assert await (await site.get("/hello")).text() == "hello"
        assert await (await site.get("/quiet")).text() == "hello"
        landing = await (await site.get("/")).text()
        assert '<a href="/hello">Hello &lt;script&gt;' in landing
        assert "/quiet" not in landing
        assert (await site.get()).status == 200


async def test_an_answer_without_end_is_told_when_the_exporter_stops() -> None:
    begun = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        begun.set()
        await request.app[STOPPING].wait()
        await response.write(b"the end")
        return response

    async with serve(routes=[web.get("/endless", endless)]) as site:
        reading = asyncio.create_task(site.raw(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"))
        await asyncio.wait_for(begun.wait(), 5)
        started = time.monotonic()
    assert b"the end" in await reading
    assert time.monotonic() - started < 0.9


async def test_health_and_readiness(site: Site) -> None:
    assert ((await site.get("/-/healthy")).status, (await site.get("/-/ready")).status) == (200, 200)
    site.ready = False
    assert (await site.get("/-/ready")).status == 503
    site.runner._given_up = {asyncio.current_task(): -1e9}  # type: ignore[dict-item]
    assert (await site.get("/-/healthy")).status == 503


async def test_reload_says_whether_the_settings_are_in_force(site: Site) -> None:
    response = await site.session.post(site.url + "/-/reload")
    assert (response.status, await response.text()) == (200, "The settings are in force.\n")
    site.problem = "rpc.url: not a URL"
    response = await site.session.post(site.url + "/-/reload", data=b"x" * 100_000)
    assert (response.status, await response.text()) == (500, "The old settings stay: rpc.url: not a URL\n")
    assert (await site.get("/-/reload")).status == 405
    assert site.reloads == 2


async def test_what_is_not_there_is_404_and_leaves_the_connection_usable(site: Site) -> None:
    assert (await site.get("/nothing")).status == 404
    assert (await site.get("/-/healthy")).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
async def test_head_answers_like_get_without_a_body(site: Site, path: str) -> None:
    request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    head, _, body = (await site.raw(request)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 0" not in head
    assert body == b""
