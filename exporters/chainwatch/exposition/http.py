"""What the exporter answers over HTTP."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import Metric

from chainwatch import __version__
from chainwatch.exposition.runner import Runner
from chainwatch.exposition.text import Render, negotiate

log = logging.getLogger(__name__)

# Time to render and send a page, kept from what the scraper allows.
MARGIN_SECONDS = 0.5
# A person with a browser sends no limit.
DEFAULT_TIMEOUT_SECONDS = 10.0
MAX_TIMEOUT_SECONDS = 120.0
TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
# Above this a page is compressed outside the event loop, so that streams are read meanwhile.
LARGE_PAGE_BYTES = 1 << 20

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


# Set when the exporter stops: answers that would never end have to end now.
STOPPING: web.AppKey[asyncio.Event] = web.AppKey("stopping", asyncio.Event)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an exporter answers about."""

    runner: Runner
    constant_labels: Callable[[], Mapping[str, str]]
    facts: Callable[[], Iterable[tuple[str, str]]]
    ready: Callable[[], bool]
    reload: Callable[[], Awaitable[str | None]]
    # Pages of the family's own: handlers, and titles by path for those that the landing page names.
    routes: Iterable[web.RouteDef] = ()
    pages: Mapping[str, str] = field(default_factory=dict)


def application(subject: Subject, family: str, telemetry_path: str) -> web.Application:
    """Return the routes: the metrics page, a landing page, health, readiness, reload, and the family's own."""
    pages = Pages(subject, family, telemetry_path)
    app = web.Application(client_max_size=1 << 16)
    app[STOPPING] = asyncio.Event()
    app.on_shutdown.append(_stopping)
    app.add_routes(
        [
            web.get("/", pages.landing),
            web.get(telemetry_path, pages.metrics),
            web.get("/-/healthy", pages.healthy),
            web.get("/-/ready", pages.ready),
            web.post("/-/reload", pages.reload),
            *subject.routes,
        ]
    )
    return app


async def _stopping(app: web.Application) -> None:
    app[STOPPING].set()


class Pages:
    """The handlers."""

    def __init__(self, subject: Subject, family: str, telemetry_path: str) -> None:
        self._subject = subject
        self._family = family
        self._telemetry_path = telemetry_path
        templates = Environment(
            loader=PackageLoader("chainwatch.exposition"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._landing = templates.get_template("landing.html")

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer one scrape, before the scraper gives up."""
        render, content_type = negotiate(request.headers.get("Accept"))
        families = await self._subject.runner.collect(scrape_seconds(request.headers.get(TIMEOUT_HEADER)))
        if names := request.query.getall("name[]", []):
            families = list(only(families, frozenset(names)))
        body = self._page(render, families)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = await asyncio.to_thread(_gzip, body) if len(body) > LARGE_PAGE_BYTES else _gzip(body)
        return web.Response(body=body, headers=headers)

    def _page(self, render: Render, families: Sequence[Metric]) -> bytes:
        """Return the page; a family that cannot be rendered is left out, lest the scraper refuse all of it."""
        labels = self._subject.constant_labels()
        try:
            return render(families, labels)
        except Exception:
            log.exception("the page cannot be rendered; trying metric by metric")
        whole = []
        for family in families:
            try:
                render([family], labels)
            except Exception as error:
                log.error("metric %s cannot be rendered and is left out: %s", family.name, error)
            else:
                whole.append(family)
        return render(whole, labels)

    async def landing(self, _: web.Request) -> web.Response:
        """Answer a person: what this is, which node, how each collector fares."""
        runner = self._subject.runner
        text = self._landing.render(
            family=self._family,
            version=__version__,
            telemetry_path=self._telemetry_path,
            links=[(path, title) for path, title in self._subject.pages.items() if title],
            facts=list(self._subject.facts()),
            collectors=[(name, runner.last.get(name)) for name in sorted(runner.collectors)],
            age=None if runner.last_finished is None else time.time() - runner.last_finished,
        )
        return web.Response(text=text, content_type="text/html", headers=SECURITY_HEADERS)

    async def healthy(self, _: web.Request) -> web.Response:
        """Answer that the process is alive and its collections come to an end."""
        if self._subject.runner.sound:
            return web.Response(text="chainwatch is healthy.\n")
        return web.Response(text="A collection does not end; see the log.\n", status=503)

    async def ready(self, _: web.Request) -> web.Response:
        """Answer whether scrapes will be served."""
        if self._subject.ready():
            return web.Response(text="chainwatch is ready.\n")
        return web.Response(text="chainwatch is starting or stopping.\n", status=503)

    async def reload(self, _: web.Request) -> web.Response:
        """Read the settings again; wrong ones change nothing."""
        problem = await self._subject.reload()
        if problem is None:
            return web.Response(text="The settings are in force.\n")
        return web.Response(text=f"The old settings stay: {problem}\n", status=500)


def scrape_seconds(header: str | None) -> float:
    """How long a collection may take for a scraper that sent this header."""
    try:
        allowed = float(header) if header else DEFAULT_TIMEOUT_SECONDS
    except ValueError:
        allowed = DEFAULT_TIMEOUT_SECONDS
    if not math.isfinite(allowed) or allowed <= 0:
        allowed = DEFAULT_TIMEOUT_SECONDS
    allowed = min(allowed, MAX_TIMEOUT_SECONDS)
    return max(allowed - MARGIN_SECONDS, allowed / 2)


def only(families: Iterable[Metric], names: Collection[str]) -> Iterable[Metric]:
    """Return the families reduced to samples of these names, as prometheus-client's name[] does."""
    for family in families:
        samples = [sample for sample in family.samples if sample.name in names]
        if samples:
            reduced = Metric(family.name, family.documentation, family.type, family.unit)
            reduced.samples = samples
            yield reduced


def _accepts_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(body: bytes) -> bytes:
    """Compress at the fastest level: a page shrinks tenfold already, and the exporter shares the node's cores."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
