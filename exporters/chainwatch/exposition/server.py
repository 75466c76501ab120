"""The listening socket with its limits."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from chainwatch.config import Web, host_and_port
from chainwatch.errors import ConfigError
from chainwatch.exposition import connections

# A scrape that runs when the process is told to stop may go on for so long; then it is cut.
SHUTDOWN_SECONDS = 1.0
MAX_HEADER_BYTES = 8190
# Longer than anybody's scrape interval.
KEEP_ALIVE_SECONDS = 120.0


class Server:
    """Answers for an application while its asynchronous context is open."""

    def __init__(self, app: web.Application, settings: Web, ssl_context: ssl.SSLContext | None = None) -> None:
        self._host, self._port = host_and_port(settings.listen_address, "web.listen_address")
        self._limit = settings.max_connections
        self._ssl_context = ssl_context
        self._servers: list[asyncio.Server] = []
        self._gate: connections.Gate | None = None
        app.middlewares.insert(0, self._complete)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,  # a scraper that has left must not keep the node busy
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        return f"{'https' if self._ssl_context else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    async def __aenter__(self) -> Server:
        try:
            doors = await connections.doors(self._host, self._port, self._limit + connections.REFUSALS)
        except (OSError, UnicodeError) as error:
            problem = f"cannot listen on {self._host}:{self._port}: {_why(error)}"
            raise ConfigError("web.listen_address", problem, "an address of this machine and a free port") from None
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = connections.Gate(self._runner.server, self._limit)
        for door in doors:
            server = await asyncio.get_running_loop().create_server(
                self._gate,
                sock=door,
                ssl=self._ssl_context,
                ssl_handshake_timeout=connections.REQUEST_SECONDS if self._ssl_context else None,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS if self._ssl_context else None,
            )
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    @web.middleware
    async def _complete(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Tell the guard of the connection that the client has asked."""
        assert self._gate is not None
        self._gate.asked(request.transport)
        return await handler(request)


def _why(error: OSError | UnicodeError) -> str:
    """What is wrong with an address; the resolver's errors have negative numbers, and texts of their own."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or str(error)
    return "no host can have this name"
