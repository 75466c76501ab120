"""Limits on whoever connects: how many at once, and how long a client may take to ask or to listen.

aiohttp has no time limit on a request's header, nor on a client that does not read, so each of its connections is
wrapped in a guard.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

# A scraper sends its few hundred bytes at once; ten seconds are for broken networks, not for attackers.
REQUEST_SECONDS = 10.0
RESPONSE_SECONDS = 30.0
# A client that is turned away needs a moment to read why.
REFUSAL_SECONDS = 1.0
# So many may be told why; above that connections are closed without a word.
REFUSALS = 16


class Door(socket.socket):
    """A listening socket that closes at once what comes above `limit`, before TLS and before any memory is spent.

    `inside` holds the open connections, for all the doors of one house.
    """

    limit: int
    inside: set[socket.socket]

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; raises `ConnectionAbortedError`, which asyncio passes over, when full."""
        connection, address = super().accept()
        if len(self.inside) >= self.limit:
            for other in [other for other in self.inside if other.fileno() == -1]:
                self.inside.discard(other)
        if len(self.inside) >= self.limit:
            connection.close()
            raise ConnectionAbortedError
        self.inside.add(connection)
        return connection, address


async def doors(host: str, port: int, limit: int) -> list[Door]:
    """Listen on every address that `host` stands for (every interface when empty); raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[Door] = []
    inside: set[socket.socket] = set()
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            door = Door(family, kind, protocol)
            opened.append(door)
            door.limit, door.inside = limit, inside
            door.setblocking(False)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind(address)
            door.listen(128)
    except OSError:
        for door in opened:
            door.close()
        raise
    return opened


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
        self._asking: asyncio.TimerHandle | None = None
        self._listening: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or turn it away."""
        assert isinstance(transport, asyncio.Transport)
        if not self._gate.enter(transport, self):
            _refuse(transport)
            return
        self._transport = transport
        if transport.get_extra_info("sslcontext") is None:
            # Any unsent byte shall start the clock. (TLS has a time limit of its own when it closes.)
            transport.set_write_buffer_limits(high=0)
        self._asking = _cut_in(REQUEST_SECONDS, transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Start the clock with a request's first byte; later bytes do not buy more time."""
        if self._transport is None:
            return
        if self._asking is None:
            self._asking = _cut_in(REQUEST_SECONDS, self._transport)
        self._inner.data_received(data)

    def asked(self) -> None:
        """Note that the request is complete."""
        _stop(self._asking)
        self._asking = None

    def pause_writing(self) -> None:
        """Start the clock while the client does not read."""
        if self._transport is not None:
            _stop(self._listening)
            self._listening = _cut_in(RESPONSE_SECONDS, self._transport)
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has read everything."""
        _stop(self._listening)
        if self._transport is not None:
            self._inner.resume_writing()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._inner.eof_received() if self._transport is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the client out."""
        _stop(self._asking)
        _stop(self._listening)
        if self._transport is not None:
            self._gate.leave(self._transport)
            self._inner.connection_lost(exc)


def _refuse(transport: asyncio.Transport) -> None:
    """Say that there are too many; what the client sends meanwhile is read, lest a reset swallow the answer."""
    transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    if transport.can_write_eof():
        transport.write_eof()
        _cut_in(REFUSAL_SECONDS, transport)
    else:
        transport.close()


def _cut_in(seconds: float, transport: asyncio.Transport) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, _cut, transport)


def _cut(transport: asyncio.Transport) -> None:
    """End a connection; the kernel shall not go on offering what was sent to a client that does not read."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
