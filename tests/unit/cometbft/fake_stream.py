"""A websocket that answers as a CometBFT node does, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Request = dict[str, Any]
CAPACITY = "subscription was canceled (reason: internal subscription event buffer is out of capacity)"
EXITED = "subscription was canceled (reason: CometBFT exited)"


def agree(request: Request) -> object:
    """What a node answers to a subscription that it accepts."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": {}}


def refuse(request: Request, data: str, code: int = -32603, message: str = "Internal error") -> object:
    return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message, "data": data}}


def event(name: str, value: object, number: int | str = 1, query: str = "tm.event CONTAINS 'o'") -> str:
    """A frame with an event, in a node's own shape."""
    data = {"type": f"tendermint/event/{name}", "value": value}
    return json.dumps(
        {"jsonrpc": "2.0", "id": number, "result": {"query": query, "data": data, "events": {"tm.event": [name]}}}
    )


def step(height: int, name: str = "RoundStepPropose", number: int | str = 1) -> str:
    return event("NewRoundStep", {"height": str(height), "round": 0, "step": name}, number)


def block(height: int, number: int | str = 1) -> str:
    header = {"height": str(height), "time": "2026-11-22T12:00:00.000000001Z", "chain_id": "fake"}
    return event("NewBlock", {"block": {"header": header, "last_commit": None}}, number)


def vote(height: int, number: int | str = 1) -> str:
    value = {
        "type": 2, "height": str(height), "round": 0, "block_id": {"hash": "AB" * 32},
        "timestamp": "2026-11-22T12:00:00Z", "validator_address": "CD" * 20, "validator_index": 0,
    }  # fmt: skip
    return event("Vote", {"Vote": value}, number)


class FakeStream:
    """A node's /websocket: keeps what was asked and sends what a test says."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], object] = agree  # None: no answer at all
        self.greet: Callable[[ServerConnection], Any] | None = None  # awaited in place of reading, once connected
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.connections: list[ServerConnection] = []
        self.closed_with: list[int | None] = []
        self.port = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def queries(self) -> list[str]:
        """Queries asked for, of all connections in turn."""
        return [request["params"]["query"] for request in self.requests]

    async def start(self, **options: Any) -> None:
        """Listen; again on the same port after a stop, as a restarted node does."""
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, compression=None, ping_interval=None, max_size=None,
            close_timeout=0.2, **options,
        )  # fmt: skip
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Stop as a killed node does: without a close frame."""
        self.cut()
        if self._server is not None:
            self._server.close(close_connections=False)
            await self._server.wait_closed()
            self._server = None

    def cut(self) -> None:
        """End every connection without a close frame."""
        for connection in self.connections:
            connection.transport.abort()

    async def send(self, *frames: str | bytes) -> None:
        """Send frames on the newest connection."""
        for frame in frames:
            await self.connections[-1].send(frame)

    async def cancel(self, number: int | str, text: str = CAPACITY) -> None:
        """Cancel a subscription with an error frame."""
        error = {"code": -32000, "message": "Server error", "data": text}
        await self.send(json.dumps({"jsonrpc": "2.0", "id": number, "error": error}))

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.connections.append(connection)
        self.headers.append(dict(connection.request.headers.raw_items()))
        self.paths.append(connection.request.path)
        with contextlib.suppress(ConnectionClosed):
            if self.greet is not None:
                await self.greet(connection)
            async for message in connection:
                request = json.loads(message)
                self.requests.append(request)
                answer = self.answer(request)
                if answer is not None:
                    await connection.send(json.dumps(answer))
        self.closed_with.append(connection.close_code)


@asynccontextmanager
async def fake_stream(**options: Any) -> AsyncIterator[FakeStream]:
    """A node that listens on a loopback port of its own."""
    node = FakeStream()
    await node.start(**options)
    try:
        yield node
    finally:
        await node.stop()


@asynccontextmanager
async def dead_port() -> AsyncIterator[int]:
    """A port on which connections are accepted and nothing is ever answered."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
