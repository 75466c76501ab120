"""One call at a time to a node's RPC server, for people and tools, through python-bitcoinrpc.

The library (1.0) is used for one call and thrown away, since one broken connection makes a proxy useless for good. It
gets a connection of ours, which mends the rest: a deadline for the whole call, a limit on the answer, logins that a
URL cannot hold, the HTTP status (the library hides it in a text), content types with a charset. Its log, which prints
parameters and answers, is off; its `batch_` is never used.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from yarl import URL

from chainwatch.families.bitcoin import login
from chainwatch.families.bitcoin.sentences import MAX_REPLY_BYTES, refusal, rpc_error
from chainwatch.families.bitcoin.settings import Rpc
from chainwatch.rpc import sentences, tls

logging.getLogger("BitcoinRPC").setLevel(logging.CRITICAL + 1)

T = TypeVar("T")

# The library reads numbers with a fraction as Decimal, exactly.
_encode = msgspec.json.Encoder(decimal_format="number").encode
# The library's own codes for answers that are no JSON-RPC replies.
_LIBRARY_CODES = (-342, -343)
# What the library raises on replies that are JSON, but not of the documented shape.
_MISSHAPEN = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)


@dataclass(slots=True)
class _Exchange:
    """What the library does not tell about a call."""

    login: Mapping[str, str]
    deadline: float
    status: int | None = None
    date: str | None = None
    beginning: bytes = b""
    size: int = 0
    timed_out: bool = field(default=False)


class _Response(http.client.HTTPResponse):
    """A response that is read to its limit and no further."""

    exchange: _Exchange

    def read(self, _amount: int | None = None) -> bytes:
        """Return the whole body; raises `OverflowError` when it is too large, `IncompleteRead` when it is cut."""
        parts = []
        while part := self.read1(1 << 16):
            self.exchange.size += len(part)
            if self.exchange.size > MAX_REPLY_BYTES:
                raise OverflowError
            parts.append(part)
        if self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return b"".join(parts)

    def getheader(self, name: str, default: Any = None) -> Any:
        """Return a header; the library knows no charset beside the content type."""
        value = super().getheader(name, default)
        return value.partition(";")[0].strip().lower() if name == "Content-Type" and value else value


class _Connecting:
    """Notes and mends what passes through a connection of http.client."""

    exchange: _Exchange

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **rest: Any) -> None:
        """Send with the right login; the library's is made from a URL, and its Host header lacks the port."""
        kept = {name: value for name, value in (headers or {}).items() if name not in ("Authorization", "Host")}
        super().request(method, url, body, {**kept, **self.exchange.login}, **rest)  # type: ignore[misc]

    def getresponse(self) -> Any:
        """Note status, date and how the body begins."""
        response: _Response = super().getresponse()  # type: ignore[misc]
        response.exchange = self.exchange
        if (
            response.status in (500, 503) and response.length
        ):  # a queue that is full is told in plain text, which the library does not read
            self.exchange.beginning = response.peek(64)
        self.exchange.status, self.exchange.date = response.status, response.getheader("Date")
        return response


class _Http(_Connecting, http.client.HTTPConnection):
    response_class = _Response


class _Https(_Connecting, http.client.HTTPSConnection):
    response_class = _Response


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came back, and when: `sent` and `received` are Unix times of ours, `date` is the node's Date header."""

    result: T
    sent: float
    received: float
    date: str | None


class OneOff:
    """A node's RPC server for single calls from any thread; holds no connection.

    Raises the same errors as `BitcoinRpc`, with the same sentences, and `ConfigError` when made with an `rpc.ca_file`
    that cannot be used.
    """

    def __init__(self, settings: Rpc) -> None:
        self._settings = settings
        self._url = URL(settings.url)
        self._tls = tls.context(settings.ca_file) if self._url.scheme == "https" else None
        self.address = f"{self._url.host}:{self._url.port}"

    def call(self, method: str, *params: Any, into: type[T], timeout: float | None = None) -> T:
        """Return the result of one call as `into`; the whole call takes at most `timeout` seconds (`rpc.timeout`)."""
        return self.ask(method, *params, into=into, timeout=timeout).result

    def ask(
        self, method: str, *params: Any, into: type[T], timeout: float | None = None, anonymous: bool = False
    ) -> Answer[T]:
        """Likewise, with the times of the exchange. `anonymous` leaves the login out."""
        seconds = timeout or self._settings.timeout
        asked = f"{method} at {self.address}"
        exchange = _Exchange({} if anonymous else login.header(self._settings), time.monotonic() + seconds)
        connection = self._connection(exchange, seconds)
        self._connect(connection, exchange, asked, seconds)
        # The library's own time limit is for each read: a node that sends a byte now and then would hold us for ever.
        watch = threading.Timer(exchange.deadline - time.monotonic(), _cut, (connection.sock, exchange))
        watch.daemon = True
        watch.start()
        sent = time.time()
        try:
            # The user and password in this URL are never sent.
            url = str(self._url.with_user("x").with_password("x"))
            result = AuthServiceProxy(url, method, seconds, connection)(*params)
        except Exception as error:
            raise self._error(error, asked, exchange, seconds) from None
        finally:
            watch.cancel()
            connection.close()
        received = time.time()
        try:
            return Answer(msgspec.json.decode(_encode(result), type=into), sent, received, exchange.date)
        except (msgspec.MsgspecError, *_MISSHAPEN) as error:
            raise sentences.misshapen(asked, error) from None

    def _connection(self, exchange: _Exchange, seconds: float) -> _Http | _Https:
        host, port = self._url.host or "", self._url.port
        made: _Http | _Https = _Http(host, port, timeout=seconds)
        if self._tls is not None:
            made = _Https(host, port, timeout=seconds, context=self._tls)
        made.exchange = exchange
        return made

    def _connect(self, connection: _Http | _Https, exchange: _Exchange, asked: str, seconds: float) -> None:
        try:
            connection.connect()
        except TimeoutError:
            raise sentences.no_answer(asked, seconds) from None
        except ssl.SSLCertVerificationError:
            raise sentences.no_connection(asked, sentences.bad_certificate()) from None
        except OSError as error:
            raise sentences.no_connection(asked, sentences.cause(error)) from None

    def _error(self, error: Exception, asked: str, exchange: _Exchange, seconds: float) -> Exception:
        """The typed error for what the library raised."""
        if exchange.timed_out or isinstance(error, TimeoutError):
            return sentences.no_answer(asked, seconds)
        if refused := refusal(asked, exchange.status or 0, exchange.beginning, self._settings):
            return refused
        if isinstance(error, OverflowError):
            return sentences.too_large(asked, MAX_REPLY_BYTES, "Bitcoin")
        if isinstance(error, OSError | http.client.HTTPException):
            return sentences.broken_connection(asked, type(error).__name__)
        if isinstance(error, JSONRPCException) and error.code not in _LIBRARY_CODES:
            code = error.code if isinstance(error.code, int) else 0
            return rpc_error(asked, code, str(error.message))
        if isinstance(error, (JSONRPCException, *_MISSHAPEN)):
            return sentences.no_reply(asked, exchange.status or 0, exchange.size)
        return error


def _cut(sock: socket.socket | None, exchange: _Exchange) -> None:
    """End a call whose time is over; whoever reads from the socket wakes up."""
    exchange.timed_out = True
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
