"""Limits on whoever connects: how many at once, and how long a client may take to ask or to listen.

aiohttp has no time limit on a request's header, so each of its connections is wrapped in a guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# A scraper sends its few hundred bytes at once; a minute of patience is for broken networks, not for attackers.
REQUEST_SECONDS = 10.0
RESPONSE_SECONDS = 30.0


class Gate:
    """Makes the protocol of each connection; refuses those above `limit`."""

    def __init__(self, make: Callable[[], asyncio.Protocol], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._open: dict[asyncio.BaseTransport, Guard] = {}

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return Guard(self, self._make())

    def enter(self, transport: asyncio.BaseTransport, guard: Guard) -> bool:
        """Count a connection in; false when there are too many."""
        if len(self._open) >= self._limit:
            return False
        self._open[transport] = guard
        return True

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection out."""
        self._open.pop(transport, None)

    def asked(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that a request came in whole."""
        if transport in self._open:
            self._open[transport].asked()


class Guard(asyncio.Protocol):
    """Passes everything on, and ends a connection whose client keeps us waiting."""

    def __init__(self, gate: Gate, inner: asyncio.Protocol) -> None:
        self._gate = gate
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._asking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        if not self._gate.enter(transport, self):
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            transport.close()
            return
        self._transport = transport
        self._wait(REQUEST_SECONDS)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Start the clock with a request's first byte; later bytes do not buy more time."""
        if self._transport is None:
            return
        if not self._asking:
            self._asking = True
            self._wait(REQUEST_SECONDS)
        self._inner.data_received(data)

    def asked(self) -> None:
        """Note that the request is complete."""
        self._asking = False
        self._stop_waiting()

    def pause_writing(self) -> None:
        """Start the clock while the client does not read."""
        self._wait(RESPONSE_SECONDS)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._stop_waiting()
        self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._inner.eof_received() if self._transport is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the client out."""
        self._stop_waiting()
        if self._transport is not None:
            self._gate.leave(self._transport)
            self._inner.connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        assert self._transport is not None
        self._patience = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
