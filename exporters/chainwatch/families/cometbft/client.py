"""JSON-RPC to CometBFT nodes: keep-alive, equal questions asked once, errors that say what to check, failover.

Tendermint 0.34 to CometBFT 1.x. Whether a call failed stands in the body: a failed POST is HTTP 200 in some versions,
500 in others.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from chainwatch import errors
from chainwatch.exposition.rpc import RpcMetrics
from chainwatch.families.cometbft.frames import NOT_DECODED, FrameError
from chainwatch.families.cometbft.schema import Status
from chainwatch.families.cometbft.settings import CometbftSettings, Rpc, endpoints
from chainwatch.families.cometbft.vantage import Comparison
from chainwatch.rpc import http, login, sentences, tls

log = logging.getLogger(__name__)

T = TypeVar("T")
Param = str | int | bool

# So many are under way at a time: filling in a thousand heights must leave the node, and /status, room.
MAX_REQUESTS = 4
# The node closes an idle connection after 10 s (http.Server's ReadTimeout); we let go of it first.
KEEP_ALIVE_SECONDS = 8
# A block may be 21 MB by default, in base64 within JSON; 180 signatures are 50 KB.
MAX_REPLY_BYTES = 64 << 20

METHOD_NOT_FOUND = -32601
# After these the same question may be answered later; any other error is an answer, or as good as one.
NO_ANSWER = (errors.NodeTimeout, errors.NodeUnreachable, errors.WorkQueueFull, errors.WarmingUp)

# A node that did not answer is asked after the others for so long.
ASIDE_SECONDS = 10.0
# How often a vantage point is asked before it was found to be on the chain, and looked up afterwards.
LOOK_SECONDS = 5.0


NULL = msgspec.Raw(b"null")


class Reply(msgspec.Struct, frozen=True):
    """One reply; `result` is decoded by whoever asked."""

    result: msgspec.Raw = NULL
    error: FrameError | None = None


_decode_reply = msgspec.json.Decoder(Reply).decode
_encode = msgspec.json.Encoder().encode


class _Call:
    """One question under way, and how many wait for its answer."""

    def __init__(self, task: asyncio.Task[msgspec.Raw]) -> None:
        self.task = task
        self.waiters = 0


class CometbftRpc:
    """One node's RPC server, whose address is in the settings: `endpoints` has them for each node.

    `call` raises a `NodeError` of `chainwatch.errors`. Nothing is retried.
    """

    def __init__(self, settings: Rpc, metrics: RpcMetrics | None = None) -> None:
        self.metrics = metrics or RpcMetrics()
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        # Those that have not left yet may be joined: nobody gets an answer that is older than his question.
        self._waiting: dict[bytes, _Call] = {}
        self._tasks: set[asyncio.Task[msgspec.Raw]] = set()
        self.configure(settings)

    def configure(self, settings: Rpc) -> None:
        """Take over new settings; calls under way end by the old ones. Raises `ConfigError` and then keeps the old."""
        self._tls: ssl.SSLContext | bool = tls.context(settings.ca_file) if settings.ca_file else True
        self.settings = settings
        self._url = URL(settings.url)
        self.address = f"{self._url.host}:{self._url.port}"

    async def close(self) -> None:
        """Close connections and give up calls under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, into: type[T], **params: Param) -> T:
        """Ask the node; `into` is the type of the result, in which numbers may stand as strings.

        Raises `NodeError`: `MethodNotFound` where the node lacks the method, `RpcError` where it answers with an error
        of its own, as for a height that it does not have, `BadReply` where the result is not of the type.
        """
        call = self._join(method, params)
        call.waiters += 1
        try:
            await asyncio.wait((call.task,))
        finally:
            call.waiters -= 1
            if not call.waiters:
                call.task.cancel()
        if call.task.cancelled():
            raise sentences.given_up(self._asked(method))
        try:
            return msgspec.json.decode(call.task.result(), type=into, strict=False)
        except NOT_DECODED as error:
            self.metrics.failed(method, errors.BadReply.reason)
            raise sentences.misshapen(self._asked(method), error) from None

    def _join(self, method: str, params: Mapping[str, Param]) -> _Call:
        """The call that asks this and has not left yet, or a new one."""
        texts = {name: str(value) if type(value) is int else value for name, value in params.items()}
        body = _encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": texts})
        call = self._waiting.get(body)
        if call is None or not call.waiters:
            call = self._waiting[body] = _Call(asyncio.create_task(self._ask(method, body)))
            self._tasks.add(call.task)
            call.task.add_done_callback(lambda task: self._finished(body, task))
        return call

    def _finished(self, body: bytes, task: asyncio.Task[msgspec.Raw]) -> None:
        """Forget a call, also one that was given up before it left."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone: not an error that nobody looked at
        self._left(body, task)

    def _left(self, body: bytes, task: asyncio.Task[msgspec.Raw] | None) -> None:
        if (call := self._waiting.get(body)) and call.task is task:
            del self._waiting[body]

    async def _ask(self, method: str, body: bytes) -> msgspec.Raw:
        """Wait for a slot, send, and return the result."""
        self.metrics.asked(method)
        asked = self._asked(method)
        for _ in range(2):  # a collector that gathers several calls makes them a turn of the loop after the others
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self.settings.timeout), self._slots:
                self._left(body, asyncio.current_task())
                return self._result(asked, *await self._post(method, asked, body))
        except errors.NodeError as error:
            self.metrics.failed(method, error.reason)
            raise
        except TimeoutError:
            self.metrics.failed(method, errors.NodeTimeout.reason)
            raise sentences.no_answer(asked, self.settings.timeout) from None
        except asyncio.CancelledError:  # the page of a scrape that waited in vain must say why
            self.metrics.failed(method, errors.NodeTimeout.reason)
            raise

    async def _post(self, method: str, asked: str, body: bytes) -> tuple[int, bytes]:
        headers = login.header(self.settings)
        if self._session is None:
            self._session = http.open_session(MAX_REQUESTS, KEEP_ALIVE_SECONDS)
        started = time.perf_counter()
        answer = await http.post(
            self._session, http.Request(self._url, body, headers, self._tls, asked, "CometBFT", MAX_REPLY_BYTES)
        )
        self.metrics.took(method, time.perf_counter() - started)
        return answer

    def _result(self, asked: str, status: int, body: bytes) -> msgspec.Raw:
        """The result in a reply; raises the typed error for any other."""
        if refused := self._refusal(asked, status):
            raise refused
        try:
            reply = _decode_reply(body)
        except NOT_DECODED:
            reply = Reply()
        if reply.error is not None:
            if reply.error.code == METHOD_NOT_FOUND:
                raise sentences.method_not_found(asked)
            raise sentences.rpc_error(asked, reply.error.code, reply.error.message, reply.error.data)
        if reply.result == NULL:  # no method answers so: it is somebody else's JSON
            raise _no_reply(asked, status, body)
        return reply.result

    def _refusal(self, asked: str, status: int) -> errors.NodeError | None:
        """What a proxy in front says; the node itself has no users."""
        match status:
            case 401:
                who = f"the password of user {self.settings.user}" if self.settings.user else "a call without a login"
                return errors.Unauthorized(f"{asked}: 401. The proxy in front of the node refuses {who}; see rpc.user.")
            case 403:
                return errors.Forbidden(f"{asked}: 403. The proxy in front of the node refuses us or this method.")
            case 429:
                return errors.WorkQueueFull(f"{asked}: 429. The server has had too many calls; ask a node of your own.")
        return None

    def _asked(self, method: str) -> str:
        """What was asked, and whom."""
        return f"{method} at {self.address}"


def _no_reply(asked: str, status: int, body: bytes) -> errors.NodeError:
    """The error for what is no JSON-RPC reply."""
    if status in (502, 503, 504):
        return errors.NodeUnreachable(f"{asked}: {status}. A proxy answers, the node behind it does not; does it run?")
    if status in (404, 405):
        return errors.BadReply(
            f"{asked}: HTTP {status}; is this the node's RPC port (rpc.laddr, 26657), and is the path in rpc.url right?"
        )
    return sentences.no_reply(asked, status, len(body))


class Endpoints:
    """The watched node and the vantage points; any of them may answer for what is the chain's, not the node's.

    A vantage point is asked only once it has shown to be on the watched node's chain. `chain_id` is that chain as far
    as it is known; whoever remembers it from before a restart, or finds that the node has moved, sets it.
    """

    def __init__(self, settings: CometbftSettings, metrics: RpcMetrics | None = None) -> None:
        own, *others = endpoints(settings)
        self.own = CometbftRpc(own, metrics)
        # The calls to others are not counted: the exporter's rpc metrics are about the watched node.
        self.all: Sequence[CometbftRpc] = [self.own, *(CometbftRpc(rpc) for rpc in others)]
        self.chain_id = None

    @property
    def chain_id(self) -> str | None:
        """Id of the watched node's chain; None before it is known."""
        return self._chain_id

    @chain_id.setter
    def chain_id(self, chain_id: str | None) -> None:
        self._chain_id = chain_id
        self._forget()

    def configure(self, settings: CometbftSettings) -> None:
        """Take over new settings; a change of the vantage points needs a restart. Raises `ConfigError`."""
        if settings.rpc.url != self.own.settings.url:
            self._chain_id = None
        for rpc, given in zip(self.all, endpoints(settings), strict=False):
            rpc.configure(given)
        self._forget()

    def _forget(self) -> None:
        self._failed: dict[CometbftRpc, float] = {}
        # Those that gave no answer at all when last asked by `ask`.
        self._silent: set[CometbftRpc] = set()
        self._compared = Comparison(self.own)
        self._tip = 0  # of the watched node

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(rpc.close() for rpc in self.all))

    def set_aside(self) -> None:
        """Note that the watched node was seen not to answer: for a while the others are asked first."""
        self._failed[self.own] = time.monotonic()

    async def status(self) -> Status:
        """Ask the watched node's /status, and learn its chain from the first answer."""
        status = await self.own.call("status", Status)
        if self.chain_id is None:
            self.chain_id = status.node_info.network
        if status.node_info.network == self.chain_id:
            self._tip = status.sync_info.latest_block_height
        return status

    async def ask(self, method: str, into: type[T], **params: Param) -> T:
        """Ask the watched node, else the first vantage point that answers.

        One that failed within the last seconds comes last. Where none can answer, the watched node's error is raised.
        """
        return (await self.ask_whom(method, into, **params))[0]

    async def ask_whom(self, method: str, into: type[T], **params: Param) -> tuple[T, int]:
        """Ask likewise; return also who answered: 0 for the watched node, else the number of the vantage point."""
        problems: dict[CometbftRpc, errors.NodeError] = {}
        for rpc in sorted(self.all, key=self._aside):
            try:
                if rpc is not self.own and not await self.same_chain(rpc):
                    continue
                answer = await rpc.call(method, into, **params)
            except errors.NodeError as error:
                problems[rpc] = error
                self._note(rpc, error)
            else:
                self._failed.pop(rpc, None)
                self._silent.discard(rpc)
                return answer, self.all.index(rpc)
        raise problems[self.own]

    def _note(self, rpc: CometbftRpc, error: errors.NodeError) -> None:
        if isinstance(error, NO_ANSWER):
            self._silent.add(rpc)
        else:
            self._silent.discard(rpc)
        if not error.answered:
            self._failed[rpc] = time.monotonic()
            # Who answers there next time may be another.
            self._compared.drop(rpc)

    @property
    def all_answered(self) -> bool:
        """Whether each one that was asked last has answered, be it with an error: nobody may know better later."""
        return not self._silent

    async def same_chain(self, vantage: CometbftRpc) -> bool:
        """Whether a vantage point is on the watched node's chain; False while that chain is not known.

        It must name that chain, and have the same block where both have one: a test network that began anew keeps its
        name. Raises `NodeError` where the vantage point does not say.
        """
        if self.chain_id is None:
            return False
        return await self._compared.same_chain(vantage, self.chain_id, 0 if self._aside(self.own) else self._tip)

    async def found_same_chain(self, vantage: CometbftRpc) -> None:
        """Wait until a vantage point is on the watched node's chain; for whoever is to read its stream."""
        await self._until_same(vantage, True)

    async def left_chain(self, vantage: CometbftRpc) -> None:
        """Wait until a vantage point is on another chain than the watched node."""
        await self._until_same(vantage, False)

    async def _until_same(self, vantage: CometbftRpc, wanted: bool) -> None:
        while True:
            try:
                if await self.same_chain(vantage) is wanted:
                    return
            except errors.NodeError as error:
                log.debug("vantage point %s: %s", vantage.address, error)
            await asyncio.sleep(LOOK_SECONDS)

    def _aside(self, rpc: CometbftRpc) -> bool:
        """Whether to ask the others first."""
        return time.monotonic() - self._failed.get(rpc, -ASIDE_SECONDS) < ASIDE_SECONDS
