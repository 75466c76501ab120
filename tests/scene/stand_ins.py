"""What no program of the lab can tell: Bitcoin Core 31's answers, and a Cosmos SDK application's.

Exporters ask both as they ask real nodes. Core's answers were recorded and never change; of the application there are
its slashing module, whose counts follow the real chain, and its upgrade module.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any, Self

from aiohttp import ClientSession, web

from chainwatch.families.cometbft.sdk import queries
from chainwatch.families.cometbft.sdk.bech32 import _CHARSET, _checksum
from chainwatch.families.cometbft.sdk.wire import encode
from tests.lab import CometbftNet, CometbftNode, free_port
from tests.unit.bitcoin.fake_node import FIXTURES, FakeNode, recorded
from tests.unit.zmq_publisher import Publisher

CORE = "bitcoind31"
WINDOW = 200  # blocks
HALF = str(10**18 // 2)  # of the window, as the SDK writes decimals
UPGRADE_AFTER = 3000  # blocks


class Background:
    """An event loop in a thread of its own. `with` starts it, and cancels at the end what still runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand-ins", daemon=True)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and close the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Core31:
    """A node that gives Bitcoin Core 31's recorded answers, and publishes comings and goings of its mempool by ZMQ."""

    family = "bitcoin"

    def __init__(self) -> None:
        self._background = Background()
        self._port = free_port()
        self._node = FakeNode(FIXTURES / CORE)
        self._node.answers["getbestblockhash"] = recorded(CORE, "getblockchaininfo")["bestblockhash"]
        self._publisher = Publisher()
        self._sequence = 0

    def watch_settings(self) -> dict[str, str | bool | None]:
        """Settings of an exporter that watches it."""
        # By this name it has the alerts of a public chain, and boards their lines.
        login = {"rpc.cookie-file": None, "chain.name": "bitcoin-main"}
        return {"rpc.url": f"http://127.0.0.1:{self._port}", "zmq.url": self._publisher.address, **login}

    def beat(self) -> None:
        """A transaction comes, one is replaced, one goes."""
        for label in "AARAR":
            self._sequence += 1
            self._publisher.mempool(label, self._sequence)

    def start(self) -> None:
        """Answer."""
        self._background.start()
        self._background.run(self._node.start(self._port))

    def stop(self) -> None:
        """Answer no more."""
        self._background.run(self._node.stop())
        self._background.stop()
        self._publisher.close()


class Application:
    """Stands before a node of a chain without the Cosmos SDK, and answers what is asked of the SDK's modules."""

    family = "cometbft"

    def __init__(self, net: CometbftNet, node: CometbftNode) -> None:
        self._net, self._node = net, node
        self._background = Background()
        self._runner: web.AppRunner | None = None
        self._session: ClientSession | None = None
        self._port = free_port()
        self._missed: Counter[str] = Counter()
        self._counted = 0  # the last height
        self._upgrade = 0

    def watch_settings(self) -> dict[str, str | bool | None]:
        """Settings of an exporter that watches the node."""
        return {"rpc.url": f"http://127.0.0.1:{self._port}"}

    def beat(self) -> None:
        """Count who missed the heights of late."""
        tip = self._net.height - 1
        for height in range(max(self._counted, tip - 5) + 1, tip + 1):
            self._missed.update(who for who, vote in self._net.votes(height).items() if vote == "absent")
        self._counted = max(self._counted, tip)

    def start(self) -> None:
        """Answer."""
        self._upgrade = self._net.height + UPGRADE_AFTER
        self._background.start()
        self._background.run(self._listen())

    def stop(self) -> None:
        """Answer no more."""
        self._background.run(self._close())
        self._background.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _listen(self) -> None:
        self._session = ClientSession()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/", self._call)
        app.router.add_get("/websocket", self._stream)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _close(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _call(self, request: web.Request) -> web.Response:
        body = await request.read()
        call = json.loads(body)
        if call["method"] == "abci_query":
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": self._answer(call["params"])})
        assert self._session is not None
        async with self._session.post(
            self._node.rpc_url, data=body, headers={"Content-Type": "application/json"}
        ) as said:
            return web.Response(status=said.status, body=await said.read(), content_type="application/json")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        ours = web.WebSocketResponse(max_msg_size=0)
        await ours.prepare(request)
        assert self._session is not None
        async with self._session.ws_connect(f"{self._node.rpc_url}/websocket", max_msg_size=0) as theirs:
            ways = [asyncio.create_task(_pass_on(ours, theirs)), asyncio.create_task(_pass_on(theirs, ours))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                await ours.close()
        return ours

    def _answer(self, params: Mapping[str, Any]) -> dict[str, Any]:
        modules = {
            queries.SLASHING_PARAMS: encode({1: encode({1: WINDOW, 2: HALF})}),
            queries.SIGNING_INFOS: b"".join(encode({1: self._info(node)}) for node in self._net.validators),
            queries.CURRENT_PLAN: encode({1: encode({1: "v2", 3: self._upgrade})}),
        }
        value = modules.get(params["path"])
        known = {"code": 0, "value": base64.b64encode(value).decode()} if value is not None else {"code": 6}
        return {"response": {"codespace": "sdk", **known}}

    def _info(self, node: CometbftNode) -> bytes:
        return encode({1: _bech32(node.address), 4: encode({1: 0}), 6: min(self._missed[node.address], WINDOW)})


async def _pass_on(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError):  # the other side is gone
        async for message in source:
            await sink.send_str(message.data)


def _bech32(address: str) -> str:
    """A consensus address as the SDK writes it."""
    prefix, content = "cosmosvalcons", int(address, 16)
    values = [content >> shift & 31 for shift in range(155, -1, -5)]
    head = [*(ord(char) >> 5 for char in prefix), 0, *(ord(char) & 31 for char in prefix)]
    check = _checksum([*head, *values, *[0] * 6]) ^ 1
    values += [check >> shift & 31 for shift in range(25, -1, -5)]
    return f"{prefix}1" + "".join(_CHARSET[value] for value in values)
