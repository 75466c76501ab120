"""A node's RPC server as seen from outside: answers are recorded or given by the test, and it misbehaves on demand."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

from aiohttp import web
from msgspec import structs
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.node import BitcoinNode
from chainwatch.families.bitcoin.settings import BitcoinSettings, Rpc
from chainwatch.families.bitcoin.tracker.tracker import Tracker

FIXTURES = Path(__file__).parents[2] / "fixtures"
FIRST_SEEN = 1795400000.5

Page = dict[str, dict[tuple[str, ...], float]]

METHOD_NOT_FOUND = (-32601, "Method not found")
WARMING_UP = (-28, "Loading block index...")


class NodeSays(Exception):
    """Raised by a function in `answers`: the node answers with this code and message."""


class FakeNode:
    """Serves JSON-RPC on a free loopback port; `async with` starts and stops it.

    `folder` holds recorded answers: METHOD.json a result, METHOD.ERROR.json an error object. What is neither recorded
    nor given is answered by -32601.
    """

    def __init__(self, folder: Path | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.folder = folder
        # What the node is to do; tests change these at any time.
        self.answers: dict[str, Any] = {}  # method -> result, or a function of the parameters
        self.errors: dict[str, tuple[int, str]] = {}  # method -> code and message; "*" for all
        self.login: str | None = None  # "user:password", anything else is refused by 401
        self.forbidden: set[str] = set()  # methods refused by 403, with the batch that they are in; "*" for all
        self.delays: dict[str, float] = {}  # method -> seconds before the request is answered; "*" for all
        self.status: int | None = None  # a bare HTTP status in place of any answer
        self.body: bytes | None = None  # a body in place of any answer
        self.cut = False  # the connection breaks in the middle of the answer
        # What was seen of it.
        self.requests: list[list[tuple[str, list[Any]]]] = []  # the calls of each HTTP request
        self.connections: set[int] = set()  # the clients' ports
        self.abandoned = 0  # requests whose client went away before the answer
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def methods(self) -> list[str]:
        """Every method asked so far, in order."""
        return [method for calls in self.requests for method, _ in calls]

    async def start(self, port: int = 0) -> None:
        """Listen, on the same port again when one is given."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Stop and start on the same port."""
        await self.stop()
        await self.start(self._port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append([(call["method"], call["params"]) for call in calls])
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername")[1])
        methods = {call["method"] for call in calls}
        try:
            await asyncio.sleep(max((self.delays.get(method, 0) for method in {*methods, "*"}), default=0))
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        if self.status is not None:
            return web.Response(status=self.status, body=self.body)
        if not self._may_enter(request.headers):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="jsonrpc"'})
        if self.forbidden & {*methods, "*"}:
            return web.Response(status=403)
        replies = [self._reply(call) for call in calls]
        if isinstance(asked, list):
            return await self._send(request, 200, replies)
        error = replies[0]["error"]
        return await self._send(
            request, 200 if error is None else 404 if error["code"] == METHOD_NOT_FOUND[0] else 500, replies[0]
        )

    def _may_enter(self, headers: Mapping[str, str]) -> bool:
        if self.login is None:
            return True
        return headers.get("Authorization") == "Basic " + base64.b64encode(self.login.encode()).decode()

    async def _send(self, request: web.Request, status: int, reply: object) -> web.StreamResponse:
        body = self.body if self.body is not None else json.dumps(reply).encode()
        if not self.cut:
            return web.Response(status=status, body=body, content_type="application/json")
        response = web.StreamResponse(status=status, headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    def _reply(self, call: Mapping[str, Any]) -> dict[str, Any]:
        result, error = self._answer(call["method"], call["params"])
        return {
            "result": result,
            "error": None if error is None else {"code": error[0], "message": error[1]},
            "id": call["id"],
        }

    def _answer(self, method: str, params: list[Any]) -> tuple[Any, Any]:
        if error := self.errors.get(method) or self.errors.get("*"):
            return None, error
        if method in self.answers:
            answer = self.answers[method]
            try:
                return (answer(*params) if callable(answer) else answer), None
            except NodeSays as refusal:
                return None, refusal.args
        if self.folder is not None:
            recorded, refused = self.folder / f"{method}.json", self.folder / f"{method}.ERROR.json"
            if recorded.exists():
                return json.loads(recorded.read_text()), None
            if refused.exists():
                answer = json.loads(refused.read_text())
                return None, (answer["code"], answer["message"])
        return None, METHOD_NOT_FOUND


@asynccontextmanager
async def watched(fake: FakeNode, **sections: Any) -> AsyncIterator[BitcoinNode]:
    """The node as collectors see it, by settings of these `sections`. Every block was first seen at FIRST_SEEN."""
    rpc = structs.replace(sections.pop("rpc", Rpc()), url=fake.url)
    settings = BitcoinSettings(rpc=rpc, **sections)
    tracker = cast(Tracker, SimpleNamespace(first_seen=lambda block_hash: FIRST_SEEN))
    node = BitcoinNode(settings, BitcoinRpc(settings.rpc), tracker)
    try:
        yield node
    finally:
        await node.rpc.close()


def page(families: Iterable[Metric]) -> Page:
    """Sample name to label values to value."""
    made: Page = {}
    for family in families:
        for sample in family.samples:
            made.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return made


async def collect(collector: Collector[Any]) -> Page:
    return page(await collector.collect())


def recorded(folder: str, name: str) -> Any:
    return json.loads((FIXTURES / folder / f"{name}.json").read_text())


def a_peer(**changes: Any) -> dict[str, Any]:
    return {**recorded("bitcoind31", "getpeerinfo")[0], **changes}
