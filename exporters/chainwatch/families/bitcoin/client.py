"""JSON-RPC to a Bitcoin-family node: keep-alive, batched, with errors that say what to check.

Calls made in the same turn of the event loop travel together: `call()` only notes what is wanted, and one request per
lane leaves when every collector has said what it needs. Equal calls are asked once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from chainwatch import errors
from chainwatch.config import read_secret
from chainwatch.exposition.rpc import RpcMetrics
from chainwatch.families.bitcoin.settings import Rpc

T = TypeVar("T")

# getpeerinfo of 125 peers has 0.2 MB, a template 5 MB; a verbose mempool, which is never asked for, 80 MB.
MAX_REPLY_BYTES = 32 << 20
# Bitcoin Core serves 4 calls at a time by default (-rpcthreads); one is left to others.
MAX_REQUESTS = 3

# These answer without the lock on the chain state: they still answer while a long validation holds it.
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


class RpcError(errors.NodeError):
    """The node answered that it cannot; `code` is its JSON-RPC error code."""

    answered = True

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True, eq=False)
class _Call:
    method: str
    params: tuple[Any, ...]
    future: asyncio.Future[msgspec.Raw] = field(repr=False)
    waiters: int = 0

    def fail(self, error: errors.NodeError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_decode_reply = msgspec.json.Decoder(Reply).decode
_decode_replies = msgspec.json.Decoder(list[Reply]).decode
_encode = msgspec.json.Encoder().encode
WARMING_UP = -28
METHOD_NOT_FOUND = -32601


class BitcoinRpc:
    """The node's JSON-RPC server.

    `call` raises a `NodeError` of `chainwatch.errors`. Nothing is retried, save once after a 401: the node writes a
    new cookie whenever it starts.
    """

    def __init__(self, settings: Rpc, metrics: RpcMetrics | None = None) -> None:
        self.metrics = metrics or RpcMetrics()
        self._session: aiohttp.ClientSession | None = None
        self._login: Mapping[str, str] | None = None
        self._waiting: dict[str, dict[tuple[str, tuple[Any, ...]], _Call]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_REQUESTS)
        # Methods that this node lacks, and those it refuses to this user: neither may spoil a batch.
        self._missing: set[str] = set()
        self._forbidden: set[str] = set()
        self.configure(settings)

    def configure(self, settings: Rpc) -> None:
        """Take over new settings; calls under way end by the old ones."""
        self.settings = settings
        self._url = URL(settings.url)
        self.address = f"{self._url.host}:{self._url.port}"
        self._tls: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            try:
                self._tls = ssl.create_default_context(cafile=settings.ca_file)
            except (OSError, ssl.SSLError):
                raise errors.ConfigError("rpc.ca_file", f"cannot read {settings.ca_file}", "a PEM file") from None
        self._forget()

    async def close(self) -> None:
        """Close connections and give up calls under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *params: Any, into: type[T]) -> T:
        """Ask the node; `into` is the type of the answer.

        Raises `NodeError`: `MethodNotFound` where the node lacks the method, `RpcError` where it answers with an
        error of its own, `BadReply` where the answer is not of the type.
        """
        if method in self._missing:
            raise errors.MethodNotFound(f"{method} at {self.address}: this node does not have it")
        call = self._join(method, params)
        call.waiters += 1
        try:
            # Several collectors may wait for one call: none may cancel it for the others.
            raw = await asyncio.shield(call.future)
        except errors.NodeError as error:
            # A fresh error for each who waits, so that their tracebacks do not pile up on one object.
            raise error.with_traceback(None) from None
        finally:
            call.waiters -= 1
        try:
            return msgspec.json.decode(raw, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.metrics.failed(method, errors.BadReply.reason)
            raise errors.BadReply(f"{method} at {self.address}: the answer is not as documented: {error}") from None

    def _join(self, method: str, params: tuple[Any, ...]) -> _Call:
        """Note a call; the first one of a turn sends them all at the end of the turn."""
        if method in SLOW or method in self._forbidden:
            lane = f"alone {method}"
        else:
            lane = "lock-free" if method in LOCK_FREE else "chain"
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send_all)
        calls = self._waiting.setdefault(lane, {})
        key = (method, tuple(_hashable(param) for param in params))
        if key not in calls:
            calls[key] = _Call(method, params, loop.create_future())
        return calls[key]

    def _send_all(self) -> None:
        lanes, self._waiting = self._waiting, {}
        for lane, calls in lanes.items():
            groups = [[call] for call in calls.values()] if lane.startswith("alone") else [list(calls.values())]
            for group in groups:
                task = asyncio.create_task(self._send(group))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            self.metrics.asked(call.method)
        try:
            async with asyncio.timeout(self.settings.timeout), self._slots:
                if any(call.waiters for call in calls):
                    await self._exchange(calls)
        except errors.NodeError as error:
            self._fail(calls, error)
        except TimeoutError:
            names = _names(calls)
            self._fail(
                calls,
                errors.NodeTimeout(
                    f"{names} at {self.address}: no answer within {self.settings.timeout:g} s; "
                    "the node hangs, is overloaded, or rpc.timeout is too short"
                ),
            )
        finally:
            for call in calls:
                call.future.cancel()

    def _fail(self, calls: Sequence[_Call], error: errors.NodeError) -> None:
        for call in calls:
            if not call.future.done():
                self.metrics.failed(call.method, error.reason)
                call.fail(error)
                call.future.exception()  # whoever waited may be gone: not an error that nobody looked at

    async def _exchange(self, calls: Sequence[_Call]) -> None:
        status, body = await self._post(calls)
        if status == 401:
            # The cookie changes when the node restarts.
            self._login = None
            status, body = await self._post(calls)
        if status == 403 and len(calls) > 1:
            # A whitelist refuses a whole batch for one method: ask one by one, and remember which.
            await asyncio.gather(*(self._ask_alone(call) for call in calls))
            return
        self._answer(calls, status, body)

    async def _ask_alone(self, call: _Call) -> None:
        """Ask one call of a refused batch."""
        try:
            self._answer([call], *await self._post([call]))
        except errors.Forbidden as error:
            self._forbidden.add(call.method)
            self._fail([call], error)
        except errors.NodeError as error:
            self._fail([call], error)

    async def _post(self, calls: Sequence[_Call]) -> tuple[int, bytes]:
        """Send one request; return HTTP status and body."""
        requests = [{"id": number, "method": call.method, "params": call.params} for number, call in enumerate(calls)]
        login = self._login if self._login is not None else self._log_in()
        started = time.perf_counter()
        try:
            async with (self._session or self._open()).post(
                self._url,
                data=_encode(requests if len(requests) > 1 else requests[0]),
                headers=login,
                ssl=self._tls,
                allow_redirects=False,
            ) as response:
                status, body = response.status, await self._read(response, calls)
        except aiohttp.ClientConnectorError as error:
            self._forget()
            raise errors.NodeUnreachable(
                f"{_names(calls)} at {self.address}: {_cause(error)}; is the node running, and is this its RPC port?"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            self._forget()
            raise errors.NodeUnreachable(
                f"{_names(calls)} at {self.address}: the connection broke ({type(error).__name__}); did the node stop?"
            ) from None
        self.metrics.took(calls[0].method if len(calls) == 1 else "batch", time.perf_counter() - started)
        return status, body

    async def _read(self, response: aiohttp.ClientResponse, calls: Sequence[_Call]) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_REPLY_BYTES:
                response.close()
                raise errors.ReplyTooLarge(
                    f"{_names(calls)} at {self.address}: the answer is larger than {MAX_REPLY_BYTES} bytes; "
                    "is this a Bitcoin node's RPC server?"
                )
            parts.append(part)
        return b"".join(parts)

    def _answer(self, calls: Sequence[_Call], status: int, body: bytes) -> None:
        """Give each call its result or its error; raises what concerns them all."""
        if refused := self._refusal(calls, status):
            raise refused
        try:
            replies = _decode_replies(body) if len(calls) > 1 else [_decode_reply(body)]
        except (msgspec.DecodeError, UnicodeDecodeError):
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
            elif not call.future.done():
                self._forbidden.discard(call.method)
                call.future.set_result(reply.result)

    def _whole_error(self, calls: Sequence[_Call], status: int, body: bytes) -> list[Reply]:
        """Read the single error object that answers a whole batch, as while the node warms up."""
        try:
            reply = _decode_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise errors.BadReply(
                f"{_names(calls)} at {self.address}: HTTP {status} with {len(body)} bytes that are no JSON-RPC reply; "
                "is this the node's RPC port?"
            ) from None
        if reply.error is None:
            raise errors.BadReply(f"{_names(calls)} at {self.address}: one answer to {len(calls)} questions")
        return [Reply(number, error=reply.error) for number in range(len(calls))]

    def _refusal(self, calls: Sequence[_Call], status: int) -> errors.NodeError | None:
        """What a bare HTTP status says about all the calls."""
        asked = f"{_names(calls)} at {self.address}: {status}."
        match status:
            case 401:
                return errors.Unauthorized(f"{asked} The node refuses {self._login_name()}.")
            case 403:
                return errors.Forbidden(
                    f"{asked} The node refuses this address (see rpcallowip) or this method for this user "
                    "(see rpcwhitelist)."
                )
            case 503:
                return errors.WorkQueueFull(f"{asked} The node's RPC queue is full; see rpcworkqueue and rpcthreads.")
        return None

    def _error(self, call: _Call, error: RpcErrorBody) -> errors.NodeError:
        """The typed error for what the node answered."""
        # The message is the node's own, but may carry what a peer sent.
        message = error.message[:200].encode("unicode_escape").decode()
        asked = f"{call.method} at {self.address}"
        if error.code == METHOD_NOT_FOUND:
            self._missing.add(call.method)
            return errors.MethodNotFound(f"{asked}: this node does not have it")
        if error.code == WARMING_UP:
            self._missing.clear()
            return errors.WarmingUp(f"{asked}: the node is starting ({message})")
        return RpcError(f"{asked}: {message} (code {error.code})", error.code)

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_REQUESTS, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None),  # every request is inside a timeout of its own
            headers={"Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self._session

    def _log_in(self) -> Mapping[str, str]:
        """Return the header that logs in, reading cookie or password file afresh."""
        settings = self.settings
        if settings.cookie_file is not None:
            user, password = self._read_cookie(settings.cookie_file)
        elif settings.user is None:
            return {}
        else:
            user = settings.user
            try:
                password = settings.password or read_secret(settings.password_file or Path(), "rpc.password_file")
            except errors.ConfigError as error:
                raise errors.Unauthorized(str(error)) from None
        login = {"Authorization": aiohttp.encode_basic_auth(user, password, encoding="utf-8")}
        self._login = login
        return login

    def _read_cookie(self, file: Path) -> tuple[str, str]:
        try:
            user, colon, password = file.read_text().strip().partition(":")
        except FileNotFoundError:
            raise errors.NodeUnreachable(
                f"no cookie file {file}: is the node running, and is this its data directory?"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise errors.Unauthorized(
                f"cannot read the cookie file {file}: {why}; may this user read it (see rpccookieperms)?"
            ) from None
        if not colon:
            raise errors.Unauthorized(f"{file} is no cookie file: it lacks user:password")
        return user, password

    def _login_name(self) -> str:
        if self.settings.cookie_file is not None:
            return f"the cookie in {self.settings.cookie_file}; is it this node's data directory"
        if self.settings.user is not None:
            return f"the password of user {self.settings.user}; see rpcauth and rpc.password_file"
        return "a call without a login; give rpc.cookie_file, or rpc.user with rpc.password_file"

    def _forget(self) -> None:
        """What was learnt about the node may not hold for its next life."""
        self._login = None
        self._missing.clear()
        self._forbidden.clear()


def _names(calls: Sequence[_Call]) -> str:
    return calls[0].method if len(calls) == 1 else f"{calls[0].method} and {len(calls) - 1} more calls"


def _cause(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the TLS certificate is not accepted; see rpc.ca_file"
    return str(error.os_error.strerror or error.os_error)


def _hashable(param: Any) -> Any:
    """A key for equal parameters."""
    return param if isinstance(param, str | int | float | bool | None) else _encode(param)
