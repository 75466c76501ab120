"""A CometBFT node's RPC server as seen from outside: recorded or given answers, and failures on demand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self, cast

from aiohttp import web
from msgspec import structs
from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.families.cometbft.client import Endpoints
from chainwatch.families.cometbft.node import CometbftNode, Following
from chainwatch.families.cometbft.sdk.application import Application
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, Vantage

FIXTURES = Path(__file__).parents[2] / "fixtures" / "cometbft"
RECORDED = FIXTURES / "http"

Page = dict[str, dict[tuple[str, ...], float]]

METHOD_NOT_FOUND = (-32601, "Method not found", "")
CHAIN_ID = "chainwatch-lab"
FIRST_SEEN = 1795400000.5


class NodeSays(Exception):
    """Raised by a function in `answers`: the node answers with this code, message and data."""


class FakeNode:
    """Serves JSON-RPC by POST on a free loopback port; `async with` starts and stops it.

    `folder` holds recorded replies, METHOD.json. What is neither recorded nor given is answered by -32601. As the real
    node does, it answers errors with HTTP 200 (0.34: `error_status` 500), refuses numbers for 64-bit integers, and an
    unknown path in plain text.
    """

    def __init__(self, folder: Path | None = RECORDED) -> None:
        self.folder = folder
        # What the node is to do; tests change these at any time.
        self.answers: dict[str, Any] = {}  # method -> result, or a function of the parameters by name
        self.errors: dict[str, tuple[int, str, str]] = {}  # method -> code, message and data; "*" for all
        self.error_status = 200
        self.login: str | None = None  # "user:password" of a proxy in front, anything else is refused by 401
        self.delays: dict[str, float] = {}  # method -> seconds before the request is answered; "*" for all
        self.status: int | None = None  # a bare HTTP status in place of any answer
        self.body: bytes | None = None  # a body in place of any answer
        self.cut = False  # the connection breaks in the middle of the answer
        # What was seen of it.
        self.requests: list[tuple[str, dict[str, Any]]] = []  # method and parameters
        self.logins: list[str | None] = []  # the Authorization header of each
        self.connections: set[int] = set()  # the clients' ports
        self.abandoned = 0  # requests whose client went away before the answer
        self.busy = self.most_busy = 0  # requests under way, and the most at one time
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def methods(self) -> list[str]:
        """Every method asked so far, in order."""
        return [method for method, _ in self.requests]

    def result(self, method: str) -> Any:
        """The recorded result of a method, to be changed and given in `answers`."""
        assert self.folder is not None
        return json.loads((self.folder / f"{method}.json").read_text())["result"]

    def on_chain(self, chain_id: str, **sync_info: Any) -> None:
        """From now on /status names this chain, and these of its `sync_info`."""
        told = self.result("status")
        told["node_info"]["network"] = chain_id
        told["sync_info"] |= sync_info
        self.answers["status"] = told

    def routes(self) -> list[web.RouteDef]:
        """What a test's own kind of node answers besides, such as /websocket."""
        return []

    async def start(self, port: int = 0) -> None:
        """Listen, on the same port again when one is given."""
        app = web.Application(client_max_size=1_000_000)
        app.router.add_post("/", self._handle)
        app.add_routes(self.routes())
        app.router.add_route("*", "/{path:.+}", _unknown_path)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
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
        self.requests.append((asked["method"], asked["params"]))
        self.logins.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername")[1])
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await asyncio.sleep(max(self.delays.get(asked["method"], 0), self.delays.get("*", 0)))
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.busy -= 1
        if self.status is not None:
            return web.Response(status=self.status, body=self.body)
        if not self._may_enter(request.headers):
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        reply = self._reply(asked)
        return await self._send(request, 200 if "error" not in reply else self.error_status, reply)

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

    def _reply(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        reply = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            return reply | {"result": self._result(asked["method"], asked["params"])}
        except NodeSays as refusal:
            code, message, data = refusal.args
            return reply | {"error": {"code": code, "message": message} | ({"data": data} if data else {})}

    def _result(self, method: str, params: dict[str, Any]) -> Any:
        if error := self.errors.get(method) or self.errors.get("*"):
            raise NodeSays(*error)
        for value in params.values():
            if type(value) is int:
                raise NodeSays(
                    -32602,
                    "Invalid params",
                    "error converting json params to arguments: invalid 64-bit integer "
                    f'encoding "{value}", expected string',
                )
        if method in self.answers:
            answer = self.answers[method]
            return answer(**params) if callable(answer) else answer
        if self.folder is not None and (self.folder / f"{method}.json").exists():
            return self.result(method)
        raise NodeSays(*METHOD_NOT_FOUND)


async def _unknown_path(_: web.Request) -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


@asynccontextmanager
async def watched(fake: FakeNode, *others: FakeNode, **sections: Any) -> AsyncIterator[CometbftNode]:
    """The node as collectors see it, with others as vantage points. Every block was first seen at FIRST_SEEN."""
    rpc = structs.replace(sections.pop("rpc", Rpc(timeout=5)), url=fake.url)
    urls = ",".join(other.url for other in others) or None
    settings = CometbftSettings(rpc=rpc, vantage=sections.pop("vantage", Vantage(urls=urls)), **sections)
    tracker = SimpleNamespace(
        first_seen=lambda height: FIRST_SEEN, target_spacing=1.3, chain_id=None, names={}, shown=[]
    )
    endpoints = Endpoints(settings)
    node = CometbftNode(settings, endpoints, cast(Following, tracker), Application(endpoints))
    try:
        yield node
    finally:
        await node.endpoints.close()


def page(families: Iterable[Metric]) -> Page:
    """Sample name to label values to value."""
    made: Page = {}
    for family in families:
        for sample in family.samples:
            made.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return made


async def collect(collector: Collector[Any]) -> Page:
    return page(await collector.collect())
