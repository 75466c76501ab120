"""One JSON exchange over HTTP: bounded, on a connection that is kept, with errors that say what to check."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from chainwatch.rpc import sentences


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, to whom, and how large the answer may be; `asked` and `kind` are for the errors."""

    url: URL
    body: bytes
    headers: Mapping[str, str]
    tls: ssl.SSLContext | bool
    asked: str
    kind: str
    limit: int


def open_session(requests: int, keep_alive: float) -> aiohttp.ClientSession:
    """Open a session for as many requests at a time, which lets go of a connection idle for `keep_alive` seconds."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=requests, ttl_dns_cache=60, keepalive_timeout=keep_alive),
        timeout=aiohttp.ClientTimeout(total=None),  # every request is inside a timeout of its own
        headers={"Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def post(session: aiohttp.ClientSession, request: Request) -> tuple[int, bytes]:
    """Send a request; return HTTP status and body. Raises `NodeUnreachable`, `BadReply`, `ReplyTooLarge`."""
    try:
        async with session.post(
            request.url, data=request.body, headers=request.headers, ssl=request.tls, allow_redirects=False
        ) as response:
            _acknowledge(response)
            return response.status, await _read(response, request)
    except aiohttp.ClientConnectorError as error:
        raise sentences.no_connection(request.asked, _cause(error)) from None
    except aiohttp.ClientResponseError:
        raise sentences.not_http(request.asked) from None
    except (aiohttp.ClientError, OSError) as error:
        raise sentences.broken_connection(request.asked, type(error).__name__) from None


async def _read(response: aiohttp.ClientResponse, request: Request) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > request.limit:
            response.close()
            raise sentences.too_large(request.asked, request.limit, request.kind)
        parts.append(part)
    return b"".join(parts)


def _acknowledge(response: aiohttp.ClientResponse) -> None:
    """Acknowledge the head of an answer at once, where the body is still to come.

    Bitcoin SV sends the two apart and holds the body back until then, for which the kernel would take 40 ms.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        sock = connection.transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _cause(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return sentences.bad_certificate()
    return sentences.cause(error.os_error)
