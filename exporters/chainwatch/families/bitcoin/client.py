"""JSON-RPC to a Bitcoin-family node: keep-alive, batched, with errors that say what to check.

Calls made together travel together: `call()` only notes what is wanted, and one request per lane leaves when every
collector has said what it needs. Equal calls are asked once. A request that nobody waits for any more is given up.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from chainwatch import errors
from chainwatch.exposition.rpc import RpcMetrics
from chainwatch.families.bitcoin.login import header
from chainwatch.families.bitcoin.sentences import MAX_REPLY_BYTES, refusal, rpc_error
from chainwatch.families.bitcoin.settings import Rpc
from chainwatch.rpc import http, sentences, tls

T = TypeVar("T")

# Bitcoin Core serves 4 calls at a time by default (-rpcthreads); one is left to others.
MAX_REQUESTS = 3

# Bitcoin Core closes a connection that is idle for 30 s (-rpcservertimeout); we let go of it first.
KEEP_ALIVE_SECONDS = 25

# These answer without the lock on the chain state (cs_main): they still answer while a long validation holds it.
# A method that is missing here waits with those that need the lock.
LOCK_FREE = frozenset(
    {
        "getaddrmaninfo", "getmemoryinfo", "getnettotals", "getnetworkinfo", "getrpcinfo", "getzmqnotifications",
        "activezmqnotifications", "listbanned", "uptime",
    }
)  # fmt: skip
# These may take a second on a large node: each travels alone, so that it delays nobody.
SLOW = frozenset({"getblockstats", "getblocktemplate", "getchaintips", "gettxoutsetinfo", "getrawmempool", "getblock"})


class RpcErrorBody(msgspec.Struct):
    """The `error` member of a reply."""

    code: int = 0
    message: str = ""


class Reply(msgspec.Struct):
    """One reply; `result` is decoded by whoever asked."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: RpcErrorBody | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """One question, and whoever waits for its answer: a future for each, by the type wanted."""

    method: str
    params: tuple[Any, ...]
    waiters: list[tuple[asyncio.Future[Any], Any]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    done: bool = False

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for an answer that has not come."""
        return not self.done and any(not future.done() for future, _ in self.waiters)

    def answer(self, raw: msgspec.Raw) -> Exception | None:
        """Give the answer to each who waits, decoded once for each type.

        Returns what kept it from being decoded for some of them, who wait on.
        """
        decoded: dict[Any, Any] = {}
        problem = None
        for future, into in self.waiters:
            try:
                if into not in decoded:
                    decoded[into] = msgspec.json.decode(raw, type=into)
                if not future.done():
                    future.set_result(decoded[into])
            except _NOT_DECODED as error:
                problem = error
        self.done = problem is None
        return problem

    def fail(self, error: Exception) -> None:
        """Give an error to whoever still waits."""
        self.done = True
        for future, _ in self.waiters:
            if not future.done():
                future.set_exception(error)


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_replies = msgspec.json.Decoder(list[Reply]).decode
_encode = msgspec.json.Encoder().encode
# Whoever answers on the port may send anything, nested deeper than the decoder goes too.
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BitcoinRpc:
    """The node's JSON-RPC server.

    `call` raises a `NodeError` of `chainwatch.errors`. Nothing is retried, save once after a 401: the node writes a
    new cookie whenever it starts.
    """

    def __init__(self, settings: Rpc, metrics: RpcMetrics | None = None) -> None:
        self.metrics = metrics or RpcMetrics()
        self._session: aiohttp.ClientSession | None = None
        self._login: Mapping[str, str] | None = None
        self._waiting: dict[str, dict[tuple[str, bytes], _Call]] = {}
        self._tasks: dict[asyncio.Task[None], Sequence[_Call]] = {}
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        # Methods that this node lacks, and those it refuses to this user: neither may spoil a batch.
        self._missing: set[str] = set()
        self._forbidden: set[str] = set()
        self.configure(settings)

    def configure(self, settings: Rpc) -> None:
        """Take over new settings; calls under way end by the old ones. Raises `ConfigError` and then keeps the old."""
        self._tls: ssl.SSLContext | bool = tls.context(settings.ca_file) if settings.ca_file else True
        self.settings = settings
        self._url = URL(settings.url)
        self.address = f"{self._url.host}:{self._url.port}"
        self._forget()

    async def close(self) -> None:
        """Close connections and give up calls under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def call(self, method: str, *params: Any, into: type[T]) -> asyncio.Future[T]:
        """Ask the node; `into` is the type of the answer, which those who ask the same share: it is not to be changed.

        Await the result. Raises `NodeError`: `MethodNotFound` where the node lacks the method, `RpcError` where it
        answers with an error of its own, `BadReply` where the answer is not of the type.
        """
        # A plain future: a scrape asks some thirty questions, and a task for each would cost more than the answers.
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if method in self._missing:
            missing = errors.MethodNotFound(f"{method} at {self.address}: this node does not have it")
            missing.answered = False  # known from before: it says nothing about whether the node is up now
            future.set_exception(missing)
            return future
        call = self._join(method, params)
        call.waiters.append((future, into))
        future.add_done_callback(lambda done: self._left(call, done))
        return future

    def _left(self, call: _Call, future: asyncio.Future[Any]) -> None:
        """Free the slot and the connection of a request when the last who waited for it is gone."""
        if not future.cancelled():
            future.exception()  # whoever asked may be gone: not an error that nobody looked at
            return
        if not call.done and not call.wanted:
            # Counted now: the page of a scrape that waited in vain must say why.
            self._fail([call], sentences.given_up(self._asked([call])))
        if call.task in self._tasks and not any(other.wanted for other in self._tasks[call.task]):
            call.task.cancel()

    def _join(self, method: str, params: tuple[Any, ...]) -> _Call:
        """Note a call; the first one sees to it that all are sent."""
        if method in SLOW or method in self._forbidden:
            lane = f"alone {method}"
        else:
            lane = "lock-free" if method in LOCK_FREE else "chain"
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # Two turns of the loop later: a collector that gathers several calls makes them one turn after the others.
            loop.call_soon(loop.call_soon, self._send_all)
        calls = self._waiting.setdefault(lane, {})
        key = (method, _encode(params) if params else b"")
        if key not in calls:
            calls[key] = _Call(method, params)
        return calls[key]

    def _send_all(self) -> None:
        lanes, self._waiting = self._waiting, {}
        for lane, calls in lanes.items():
            groups = [[call] for call in calls.values()] if lane.startswith("alone") else [list(calls.values())]
            for group in groups:
                wanted = [call for call in group if call.wanted]
                if not wanted:
                    continue
                task = asyncio.create_task(self._send(wanted))
                self._tasks[task] = wanted
                task.add_done_callback(self._finished)
                for call in wanted:
                    call.task = task

    async def _send(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            self.metrics.asked(call.method)
        try:
            async with asyncio.timeout(self.settings.timeout), self._slots:
                await self._exchange(calls)
        except errors.NodeError as error:
            self._fail(calls, error)
        except TimeoutError:
            self._fail(calls, sentences.no_answer(self._asked(calls), self.settings.timeout))
        except Exception as error:  # a mistake of ours: whoever waits must hear of it
            for call in calls:
                call.fail(error)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Forget a request; one that was given up has failed."""
        calls = self._tasks.pop(task)
        self._fail(calls, sentences.given_up(self._asked(calls)))

    def _fail(self, calls: Sequence[_Call], error: errors.NodeError) -> None:
        for call in calls:
            if not call.done:
                self.metrics.failed(call.method, error.reason)
                call.fail(error)

    async def _exchange(self, calls: Sequence[_Call]) -> None:
        login = self._login if self._login is not None else self._log_in()
        status, body = await self._post(calls, login)
        if status == 401 and (renewed := self._log_in()) != login:
            # The cookie changes when the node restarts. The same again would only make the node wait: it answers a
            # wrong password late, to slow down whoever guesses.
            self._missing.clear()
            status, body = await self._post(calls, renewed)
        if status == 403 and len(calls) > 1:
            # A whitelist refuses a whole batch for one method: ask one by one, and remember which.
            await asyncio.gather(*(self._ask_alone(call) for call in calls))
            return
        self._answer(calls, status, body)

    async def _ask_alone(self, call: _Call) -> None:
        """Ask one call of a refused batch."""
        try:
            self._answer([call], *await self._post([call], self._login or {}))
        except errors.Forbidden as error:
            self._forbidden.add(call.method)
            self._fail([call], error)
        except errors.NodeError as error:
            self._fail([call], error)

    async def _post(self, calls: Sequence[_Call], login: Mapping[str, str]) -> tuple[int, bytes]:
        """Send one request; return HTTP status and body."""
        requests = [{"id": number, "method": call.method, "params": call.params} for number, call in enumerate(calls)]
        if self._session is None:
            self._session = http.open_session(MAX_REQUESTS, KEEP_ALIVE_SECONDS)
        body = _encode(requests if len(requests) > 1 else requests[0])
        request = http.Request(self._url, body, login, self._tls, self._asked(calls), "Bitcoin", MAX_REPLY_BYTES)
        started = time.perf_counter()
        try:
            answer = await http.post(self._session, request)
        except errors.NodeUnreachable:
            self._forget()
            raise
        self.metrics.took(calls[0].method if len(calls) == 1 else "batch", time.perf_counter() - started)
        return answer

    def _answer(self, calls: Sequence[_Call], status: int, body: bytes) -> None:
        """Give each call its result or its error; raises what concerns them all."""
        if refused := refusal(self._asked(calls), status, body, self.settings):
            raise refused
        try:
            replies = _decode_replies(body) if len(calls) > 1 else [_decode_reply(body)]
        except _NOT_DECODED:
            replies = self._whole_error(calls, status, body)
        by_id = {reply.id: reply for reply in replies}
        for number, call in enumerate(calls):
            # A request that the node could not even read is answered without an id.
            reply = by_id.get(number) or (replies[0] if len(calls) == 1 and replies else None)
            if reply is None:
                self._fail(
                    [call], errors.BadReply(f"{call.method} at {self.address}: the batch's answer leaves it out")
                )
            elif reply.error is not None:
                self._fail([call], self._error(call, reply.error))
            else:
                self._forbidden.discard(call.method)
                if misshapen := call.answer(reply.result):
                    self._fail([call], sentences.misshapen(self._asked([call]), misshapen))

    def _whole_error(self, calls: Sequence[_Call], status: int, body: bytes) -> list[Reply]:
        """Read the single error object that answers a whole batch, as while the node warms up."""
        try:
            reply = _decode_reply(body)
        except _NOT_DECODED:
            raise sentences.no_reply(self._asked(calls), status, len(body)) from None
        if reply.error is None:
            raise errors.BadReply(f"{self._asked(calls)}: one answer to {len(calls)} questions")
        return [Reply(number, error=reply.error) for number in range(len(calls))]

    def _error(self, call: _Call, error: RpcErrorBody) -> errors.NodeError:
        """The typed error for what the node answered."""
        failure = rpc_error(self._asked([call]), error.code, error.message)
        if isinstance(failure, errors.MethodNotFound):
            self._missing.add(call.method)
        elif isinstance(failure, errors.WarmingUp):
            self._missing.clear()
        return failure

    def _asked(self, calls: Sequence[_Call]) -> str:
        """What was asked, and whom."""
        names = calls[0].method if len(calls) == 1 else f"{calls[0].method} and {len(calls) - 1} more calls"
        return f"{names} at {self.address}"

    def _log_in(self) -> Mapping[str, str]:
        """Read the login afresh."""
        self._login = header(self.settings)
        return self._login

    def _forget(self) -> None:
        """What was learnt about the node may not hold for its next life."""
        self._login = None
        self._missing.clear()
        self._forbidden.clear()
