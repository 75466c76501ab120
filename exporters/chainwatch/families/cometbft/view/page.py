"""The page at /consensus, and the routes of the live view."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files

from aiohttp import web

from chainwatch.families.cometbft.consensus.model import Settled
from chainwatch.families.cometbft.view.feed import Feed
from chainwatch.families.cometbft.view.history import History
from chainwatch.families.cometbft.view.snapshot import Naming, Watched, take

# Every path, with its title on the landing page.
PAGES = {
    "/consensus": "Consensus, live",
    "/consensus.css": "",
    "/consensus.js": "",
    "/api/v1/consensus": "Consensus as JSON",
    "/api/v1/consensus/stream": "",
}

# Nothing from elsewhere, nothing inline: a name that a stranger chose stays text, even if the page had a mistake.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class LiveView:
    """What an exporter has of the live view: it hands over each settled height, and gets the routes.

    `naming` gives the name of an address, or None; `history` is what is remembered from before a restart.
    """

    def __init__(self, watched: Watched, naming: Naming, history: History | None = None) -> None:
        self._history = history or History()
        self._feed = Feed(lambda: take(watched, self._history, naming, time.time()))

    def count(self, settled: Settled) -> None:
        """Take a settled height, in order."""
        self._history.count(settled)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the handlers of every path in `PAGES`."""
        return (
            web.get("/consensus", _file("consensus.html")),
            web.get("/consensus.css", _file("consensus.css")),
            web.get("/consensus.js", _file("consensus.js")),
            web.get("/api/v1/consensus", self._feed.document),
            web.get("/api/v1/consensus/stream", self._feed.stream, allow_head=False),
        )


def _file(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that answers with a file, which is read once."""
    text = (files(__package__) / "templates" / name).read_text(encoding="utf-8")
    content_type = TYPES[name.rpartition(".")[2]]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type, headers=SECURITY_HEADERS)

    return answer
