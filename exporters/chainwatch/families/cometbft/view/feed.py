"""Server-sent events: the newest document for everybody who listens, and nobody waits for anybody else.

One document is made and encoded for all. A listener is given the newest one when it is ready for another; what came
between is never kept, so that a slow one costs no memory. One that does not read at all is cut by the house's guard
(`connections.RESPONSE_SECONDS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec
from aiohttp import web
from msgspec.structs import replace

from chainwatch.exposition.http import STOPPING
from chainwatch.families.cometbft.view.document import Snapshot

# At most so many documents a second.
RATE = 4
# A document that has not changed is sent again after so many seconds: who hears nothing for longer has lost us.
HEARTBEAT_SECONDS = 5.0
MAX_LISTENERS = 16

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until it has a page of them
    "X-Content-Type-Options": "nosniff",
}


class Feed:
    """The newest document, made only while somebody wants it."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take
        self._made = float("-inf")
        self._json = b""
        self._changed = 0  # counts the documents that differ from the one before
        self._compared = b""
        self.listeners = 0

    def newest(self) -> bytes:
        """Return the document as JSON, not older than a quarter of a second."""
        if time.monotonic() - self._made >= 1 / RATE:
            snapshot = self._take()
            self._json = msgspec.json.encode(snapshot)
            compared = msgspec.json.encode(replace(snapshot, time=0.0))
            if compared != self._compared:
                self._compared = compared
                self._changed += 1
            self._made = time.monotonic()
        return self._json

    async def document(self, _: web.Request) -> web.Response:
        """Answer `GET /api/v1/consensus`."""
        return web.Response(
            body=self.newest(),
            content_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /api/v1/consensus/stream` until the listener leaves or the exporter stops."""
        if self.listeners >= MAX_LISTENERS:
            text = f"{MAX_LISTENERS} listeners are here already; close one, or read /api/v1/consensus now and then.\n"
            return web.Response(text=text, status=503, headers={"Retry-After": "5"})
        self.listeners += 1
        try:
            response = web.StreamResponse(headers=HEADERS)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):  # it left while it was written to
                await self._serve(response, request.app[STOPPING])
            return response
        finally:
            self.listeners -= 1

    async def _serve(self, response: web.StreamResponse, stopping: asyncio.Event) -> None:
        sent, at = -1, 0.0
        while not stopping.is_set():
            json = self.newest()
            now = time.monotonic()
            if self._changed != sent or now - at >= HEARTBEAT_SECONDS:
                sent, at = self._changed, now
                await response.write(b"data: " + json + b"\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1 / RATE)
