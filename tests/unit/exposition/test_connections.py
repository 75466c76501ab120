"""Clients that are too many, too slow or mean no good."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chainwatch.config import Web
from chainwatch.errors import ConfigError
from chainwatch.exposition import connections
from chainwatch.exposition.http import application
from chainwatch.exposition.server import Server

from .certificates import Authority
from .site import Site, serve

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve() as serving:
        yield serving


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        GET + b"X: a\r\n" * 100_000 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50 + b"\r\n\r\n",
    ],
    ids=["one header too long", "too many headers", "path too long", "TLS to a plain port"],
)
async def test_an_oversized_or_broken_request_is_refused_and_the_connection_ends(site: Site, request_: bytes) -> None:
    async with asyncio.timeout(5):
        answer = await site.raw(request_)
    assert answer[:12] in (b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 431", b"reset")
    assert (await site.get()).status == 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(connections, "RESPONSE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "REFUSAL_SECONDS", 0.3)


async def cut_after(reader: asyncio.StreamReader) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(5):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    return loop.time() - started


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [b"", b"G", GET])
async def test_a_client_that_does_not_finish_asking_is_cut(site: Site, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(sent)
    assert 0.2 < await cut_after(reader) < 2
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_asks_byte_by_byte_is_cut(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)

    async def drip() -> None:
        for byte in GET + b"X-Long: " + b"a" * 500:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await cut_after(reader) < 2
    dripping.cancel()
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_second_request_is_under_the_same_limit_while_a_quiet_connection_stays_open(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(GET + b"\r\n")
    await reader.readuntil(b"is healthy.\n")
    await asyncio.sleep(0.6)  # longer than a request may take: between two scrapes nobody is in a hurry
    writer.write(GET + b"\r\n")
    await reader.readuntil(b"is healthy.\n")
    writer.write(GET)
    assert await cut_after(reader) < 2
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_a_collection_may_take_longer_than_asking_for_it(site: Site) -> None:
    site.values.seconds = 0.7
    assert 'test_value{chain="test-main",number="0"} 0.0' in await (await site.get()).text()


async def never_reads(site: Site, request: bytes) -> socket.socket:
    """A client with a tiny window that asks and does not listen."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", site.port))
    await loop.sock_sendall(client, request)
    return client


async def gone(client: socket.socket) -> None:
    """Wait until the server has reset the connection."""
    async with asyncio.timeout(5):
        while client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNRESET:
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("times", [1, 3])
async def test_a_client_that_does_not_read_is_cut(site: Site, times: int) -> None:
    site.values.size = 150_000
    with await never_reads(site, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * times) as client:
        await gone(client)
    assert (await site.get("/-/healthy")).status == 200


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_leaves_a_small_rest_unread_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest below asyncio's usual 64 KiB must not keep the connection open when everything else is done with it."""

    class Narrow(connections.Door):
        def accept(self) -> tuple[socket.socket, Any]:
            connection, address = super().accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            return connection, address

    monkeypatch.setattr(connections, "Door", Narrow)
    async with serve() as site:
        site.values.size = 1000
        assert len(await (await site.get()).read()) < 60_000
        with await never_reads(site, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") as client:
            await gone(client)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_reads_drop_by_drop_is_cut(site: Site) -> None:
    site.values.size = 150_000
    with await never_reads(site, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(ConnectionResetError):
            await drop_by_drop(client)
        assert loop.time() - started < 5


async def drop_by_drop(client: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(client, 512):
        await asyncio.sleep(0.05)


async def test_a_client_that_pauses_and_then_reads_gets_the_whole_page(site: Site) -> None:
    site.values.size = 150_000
    with await never_reads(site, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
        await asyncio.sleep(1)
        page, loop = b"", asyncio.get_running_loop()
        while part := await loop.sock_recv(client, 1 << 16):
            page += part
    assert b'test_value{chain="test-main",number="149999"} 149999.0\n' in page


@pytest.mark.usefixtures("impatient")
async def test_a_connection_stays_open_after_a_page_that_was_read_late(site: Site) -> None:
    site.values.size = 150_000
    with await never_reads(site, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n") as client:
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()

        async def read_until(end: bytes) -> None:
            page = b""
            while not page.endswith(end):
                page = page[-100:] + await loop.sock_recv(client, 1 << 20)

        await read_until(b"is healthy.\n")
        await asyncio.sleep(0.6)
        await loop.sock_sendall(client, GET + b"\r\n")
        await read_until(b"is healthy.\n")


@pytest.mark.usefixtures("impatient")
async def test_the_time_that_a_password_check_takes_is_not_the_clients() -> None:
    site = Site()

    @web.middleware
    async def check(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0.6)
        return await handler(request)

    app = application(site.subject, "bitcoin", "/metrics")
    app.middlewares.append(check)
    async with (
        Server(app, Web(listen_address="127.0.0.1:0")) as server,
        aiohttp.request("GET", server.url + "/-/healthy") as response,
    ):
        assert response.status == 200


async def test_too_many_connections_are_told_so_and_room_is_made_again() -> None:
    async with serve(max_connections=2) as site:
        streams = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(2)]
        for reader, writer in streams:
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"is healthy.\n")
        for _ in range(3):
            assert (await site.raw(GET + b"\r\n")).startswith(b"HTTP/1.1 503 ")
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()
        assert (await site.get("/-/healthy")).status == 200


async def test_far_too_many_connections_are_closed_without_a_word() -> None:
    async with serve(max_connections=1) as site:
        limit = 1 + connections.REFUSALS
        streams = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(limit + 5)]
        answers = await asyncio.gather(*(reader.read(12) for reader, _ in streams[1:]), return_exceptions=True)
        told = [answer for answer in answers if answer == b"HTTP/1.1 503"]
        assert len(told) <= connections.REFUSALS
        assert len(told) >= 1
        assert all(answer == b"" or isinstance(answer, ConnectionError) for answer in answers if answer not in told)
        for _, writer in streams:
            writer.transport.abort()
        await asyncio.sleep(0.05)
        assert (await site.get("/-/healthy")).status == 200


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side and the client's."""
    authority = Authority(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("server"))
    return server, authority.client()


@pytest.mark.usefixtures("impatient")
async def test_connections_that_never_finish_the_tls_handshake_are_limited_and_cut(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = tls
    async with serve(server, max_connections=1) as site:
        streams = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(1 + connections.REFUSALS + 3)]
        for reader, writer in streams:
            assert await cut_after(reader) < 2
            writer.transport.abort()
        response = await site.session.get(site.url + "/-/healthy", ssl=client)
        assert response.status == 200


async def test_a_scrape_over_tls_is_whole_and_one_too_many_is_turned_away(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = tls
    async with serve(server, max_connections=1) as site:
        site.values.size = 50_000
        response = await site.session.get(site.url + "/metrics", ssl=client, headers={"Accept-Encoding": "identity"})
        assert b'number="49999"} 49999.0\n' in await response.read()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=client)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_no_place_to_listen_is_one_line(site: Site) -> None:
    taken = f"127.0.0.1:{site.port}"
    for address, why in (
        (taken, "Address already in use"),
        ("192.0.2.1:9332", "Cannot assign requested address"),
        (".a:9332", "no host can have this name"),
    ):
        settings = Web(listen_address=address)
        with pytest.raises(ConfigError) as caught:
            async with Server(application(site.subject, "bitcoin", "/metrics"), settings):
                pass
        problem = f"cannot listen on {address}: {why}; expected an address of this machine and a free port"
        assert str(caught.value) == f"web.listen_address: {problem}"


async def test_an_ipv6_address_is_answered_on() -> None:
    site = Site()
    async with Server(application(site.subject, "bitcoin", "/metrics"), Web(listen_address="[::1]:0")) as server:
        assert re.fullmatch(r"http://\[::1\]:[0-9]+", server.url)
        async with aiohttp.request("GET", server.url + "/-/healthy") as response:
            assert response.status == 200


async def test_a_name_with_two_addresses_is_answered_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    resolve: Callable[..., Awaitable[list[Any]]] = loop.getaddrinfo

    async def both(_host: str | None, port: int, **options: Any) -> list[Any]:
        found: list[Any] = []
        for host in ("127.0.0.1", "127.0.0.2"):
            found += await resolve(host, port, **options)
        return found + found

    monkeypatch.setattr(loop, "getaddrinfo", both)
    doors = await connections.doors("two.example", 0, 5)
    addresses: Mapping[str, int] = dict(door.getsockname() for door in doors)
    for door in doors:
        door.close()
    assert list(addresses) == ["127.0.0.1", "127.0.0.2"]
