"""An application of ours on a free loopback port, with its subject in the test's hands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from chainwatch.config import Web
from chainwatch.exposition.collector import Collector
from chainwatch.exposition.http import Subject, application
from chainwatch.exposition.runner import Runner
from chainwatch.exposition.server import Server

HOSTILE = "<script>alert(1)</script>\"'&\n"


class Values(Collector[Any]):
    def __init__(self) -> None:
        super().__init__(None)
        self.asked = self.cancelled = 0
        self.seconds = 0.0
        self.error: Exception | None = None
        self.size = 1

    async def collect(self) -> Iterable[Metric]:
        self.asked += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        many = GaugeMetricFamily("test_value", "Help.", labels=["number"])
        for number in range(self.size):
            many.add_metric([str(number)], number)
        return [many, CounterMetricFamily("test_events", "Help.", value=2)]


class Site:
    """An application of ours with its subject in the test's hands."""

    def __init__(self) -> None:
        self.values = Values()
        self.runner = Runner({"values": self.values}, [])
        self.ready = True
        self.problem: str | None = None
        self.reloads = 0
        self.routes: Iterable[web.RouteDef] = ()
        self.pages: Mapping[str, str] = {}
        self.url = ""
        self.port = 0
        self.session: aiohttp.ClientSession

    async def reload(self) -> str | None:
        self.reloads += 1
        return self.problem

    @property
    def subject(self) -> Subject:
        return Subject(
            self.runner,
            lambda: {"chain": "test-main"},
            lambda: [("Software", HOSTILE)],
            lambda: self.ready,
            self.reload,
            self.routes,
            self.pages,
        )

    async def get(self, path: str = "/metrics", **headers: str) -> aiohttp.ClientResponse:
        response = await self.session.get(self.url + path, headers={"Accept-Encoding": "identity", **headers})
        await response.read()
        return response

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b"reset"
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serve(
    context: ssl.SSLContext | None = None,
    routes: Iterable[web.RouteDef] = (),
    pages: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Site]:
    site = Site()
    site.routes, site.pages = routes, pages or {}
    listening = Web(listen_address="127.0.0.1:0", **settings)
    async with Server(application(site.subject, "bitcoin", listening.telemetry_path), listening, context) as server:
        site.url = server.url
        site.port = int(server.url.rpartition(":")[2])
        async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(20)) as site.session:
            yield site
