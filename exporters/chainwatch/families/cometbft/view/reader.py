"""The exporter's document as `chainwatch cometbft top` reads it: once, or as it changes."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
import msgspec
from yarl import URL

from chainwatch.config import host_and_port, read_secret
from chainwatch.errors import BadReply, ConfigError, NodeUnreachable
from chainwatch.families.cometbft.settings import CometbftSettings, Top, check_top
from chainwatch.families.cometbft.view.document import VERSION, Snapshot
from chainwatch.families.cometbft.view.feed import HEARTBEAT_SECONDS
from chainwatch.rpc.login import basic

PATH = "/api/v1/consensus"
# A document of 10,000 validators with long names is smaller.
MAX_BYTES = 8 << 20
SILENCE_SECONDS = 2 * HEARTBEAT_SECONDS + 2
CONNECT_SECONDS = 5.0

decode = msgspec.json.Decoder(Snapshot).decode


def exporter(settings: CometbftSettings) -> Exporter:
    """Return the exporter that `top` is to show; raises `ConfigError`."""
    check_top(settings.top)
    return Exporter(address(settings), _login(settings.top), _tls(settings.top))


def address(settings: CometbftSettings) -> URL:
    """Where the exporter answers, by settings that `check_top` passed; raises `ConfigError`."""
    if settings.top.url is not None:
        return URL(settings.top.url).with_query(None).with_fragment(None)
    host, port = host_and_port(settings.web.listen_address, "web.listen_address")
    if not port:
        raise ConfigError("top.url", "not given, and web.listen_address names no port", "http://host:port")
    # An exporter that listens on every interface answers on loopback too.
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing listens here
    return URL.build(scheme="http", host=host, port=port)


def _login(top: Top) -> Mapping[str, str]:
    if top.user is None or top.password_file is None:
        return {}
    return basic(top.user, read_secret(top.password_file, "top.password_file"))


def _tls(top: Top) -> ssl.SSLContext | bool:
    if top.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=top.ca_file)
    except OSError:  # a file that cannot be read, or is no certificate (SSLError)
        raise ConfigError("top.ca_file", f"cannot read {top.ca_file}", "a PEM file") from None


@dataclass(frozen=True, slots=True)
class Exporter:
    """The exporter that is asked. Every call raises `ChainwatchError` with a sentence of its own."""

    url: URL
    login: Mapping[str, str]
    tls: ssl.SSLContext | bool

    async def once(self) -> Snapshot:
        """Return the document as it is now."""
        timeout = aiohttp.ClientTimeout(total=SILENCE_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._asked(PATH, timeout) as response:
            return self._read(await _whole(response, self._name(PATH)))

    async def stream(self) -> AsyncIterator[Snapshot]:
        """Yield documents as they come; ends where the exporter ends."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._asked(PATH + "/stream", timeout) as response:
            async for data in events(response.content.iter_any()):
                yield self._read(data)

    @contextlib.asynccontextmanager
    async def _asked(self, path: str, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        asked = self._name(path)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self.login) as session,
                session.get(self.url / path.lstrip("/"), ssl=self.tls, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise BadReply(f"{asked}: HTTP {response.status}; {_hint(response.status)}")
                yield response
        except aiohttp.ClientConnectorCertificateError:
            raise NodeUnreachable(f"{asked}: its certificate is not trusted; see top.ca_file") from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno or 0  # a resolver's are negative, and it has texts of its own
            cause = os.strerror(number) if number > 0 else "no connection"
            raise NodeUnreachable(
                f"{asked}: {cause}; does `chainwatch cometbft` run there? See web.listen-address and top.url"
            ) from None
        except TimeoutError:
            raise NodeUnreachable(f"{asked}: no answer within {SILENCE_SECONDS:g} s; does the exporter hang?") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            hint = "https://… in top.url, where the exporter has TLS?" if self.url.scheme == "http" else "did it stop?"
            raise NodeUnreachable(f"{asked}: the connection broke ({type(error).__name__}); {hint}") from None

    def _name(self, path: str) -> str:
        return f"{path} at {self.url.authority}"

    def _read(self, data: bytes) -> Snapshot:
        try:
            version = msgspec.json.decode(data, type=_Version).version
            if version != VERSION:
                raise BadReply(f"{self._name(PATH)}: version {version}; this program reads {VERSION}, update it")
            return decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadReply(f"{self._name(PATH)}: not as documented: {error}; is this a chainwatch exporter?") from None


class _Version(msgspec.Struct):
    version: int


async def _whole(response: aiohttp.ClientResponse, asked: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise BadReply(f"{asked}: longer than {MAX_BYTES} bytes; is this a chainwatch exporter?")
    return bytes(body)


def _hint(status: int) -> str:
    hints = {
        401: "a user and a password are needed: top.user, top.password_file",
        403: "the exporter refuses this client",
        404: "does `chainwatch cometbft` answer there, or another program?",
        503: "too many pages are open, or the exporter stops",
    }
    return hints.get(status, "is this a chainwatch exporter?")


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each server-sent event, all of one line as our exporter sends them."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        while (end := pending.find(b"\n")) >= 0:
            line = bytes(pending[:end]).rstrip(b"\r")
            del pending[: end + 1]
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(pending) > MAX_BYTES:
            raise BadReply(f"an event of more than {MAX_BYTES} bytes; is this a chainwatch exporter?")
