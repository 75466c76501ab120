"""The one-off client keeps python-bitcoinrpc's traps away from people, and says what the exporter's client says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chainwatch import errors
from chainwatch.config import Secret
from chainwatch.errors import RpcError
from chainwatch.families.bitcoin import oneoff
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.oneoff import OneOff
from chainwatch.families.bitcoin.schema import MempoolInfo
from chainwatch.families.bitcoin.settings import Rpc
from tests.unit.bitcoin.fake_node import METHOD_NOT_FOUND, WARMING_UP, FakeNode

OK = b'{"result": 7, "error": null, "id": 1}'


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(headers or ("Content-Type: application/json",))]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def canned(answer: bytes, *, every: float | None = None) -> AsyncIterator[tuple[Rpc, list[bytes]]]:
    """A server that gives the same bytes to everybody, one by one where `every` seconds are given."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"}"))
            for part in [answer] if every is None else [answer[at : at + 1] for at in range(len(answer))]:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(every or 0)
        writer.transport.abort() if every else writer.close()

    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield Rpc(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=5), seen
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def ask(settings: Rpc, method: str = "uptime", *params: Any, into: Any = int, **rest: Any) -> Any:
    return await asyncio.to_thread(lambda: OneOff(settings).call(method, *params, into=into, **rest))


async def test_an_answer_comes_as_the_type_asked_for() -> None:
    async with FakeNode() as fake:
        fake.answers["getmempoolinfo"] = {"size": 3, "bytes": 900, "mempoolminfee": 0.00001, "newfield": {}}
        info = await ask(Rpc(url=fake.url), "getmempoolinfo", into=MempoolInfo)
    assert (info.size, info.mempoolminfee, info.loaded) == (3, 0.00001, None)


async def test_an_answer_of_another_type_is_a_bad_reply() -> None:
    async with FakeNode() as fake:
        fake.answers["uptime"] = "soon"
        with pytest.raises(errors.BadReply, match=r"uptime at 127\.0\.0\.1:\d+: the answer is not as documented"):
            await ask(Rpc(url=fake.url))


def both(fake: FakeNode, **login: Any) -> Rpc:
    return Rpc(url=fake.url, timeout=0.3, **login)


Misbehaviour = Callable[[FakeNode], None]


@pytest.mark.parametrize(
    ("kind", "misbehave"),
    [
        (errors.Unauthorized, lambda fake: setattr(fake, "login", "somebody:else")),
        (errors.Forbidden, lambda fake: fake.forbidden.add("uptime")),
        (errors.WorkQueueFull, lambda fake: fake.__dict__.update(status=500, body=b"Work queue depth exceeded")),
        (errors.NodeUnreachable, lambda fake: setattr(fake, "status", 503)),
        (errors.WarmingUp, lambda fake: fake.errors.update(uptime=WARMING_UP)),
        (errors.MethodNotFound, lambda fake: fake.errors.update(uptime=METHOD_NOT_FOUND)),
        (RpcError, lambda fake: fake.errors.update(uptime=(-8, "out of\x1b[31m range"))),
        (errors.NodeTimeout, lambda fake: fake.delays.update(uptime=3)),
        (errors.BadReply, lambda fake: setattr(fake, "body", b"<html>hello</html>")),
    ],
)
async def test_both_clients_say_the_same_in_the_same_words(
    kind: type[errors.NodeError], misbehave: Misbehaviour
) -> None:
    async with FakeNode() as fake:
        misbehave(fake)
        settings = both(fake, user="watcher", password=Secret("hunter2"))
        with pytest.raises(kind) as one:
            await ask(settings)
        client = BitcoinRpc(settings)
        with pytest.raises(kind) as other:
            await client.call("uptime", into=int)
        await client.close()
    assert str(one.value) == str(other.value)
    assert "uptime at 127.0.0.1" in str(one.value)
    assert "hunter2" not in str(one.value)
    assert "\x1b" not in str(one.value)


async def test_a_port_where_nobody_listens_is_named_as_by_the_exporter() -> None:
    async with FakeNode() as fake:
        settings = both(fake)
    with pytest.raises(errors.NodeUnreachable, match="is the node running, and is this its RPC port") as one:
        await ask(settings)
    client = BitcoinRpc(settings)
    with pytest.raises(errors.NodeUnreachable) as other:
        await client.call("uptime", into=int)
    await client.close()
    assert str(one.value) == str(other.value)


async def test_an_answer_that_is_cut_is_a_broken_connection_not_an_empty_one() -> None:
    async with canned(http(OK)[:-10]) as (settings, _):
        with pytest.raises(errors.NodeUnreachable, match="the connection broke"):
            await ask(settings)


async def test_the_node_s_own_error_keeps_its_code() -> None:
    async with FakeNode() as fake:
        fake.errors["getblockhash"] = (-8, "Block height out of range")
        with pytest.raises(RpcError, match="Block height out of range") as caught:
            await ask(Rpc(url=fake.url), "getblockhash", 10**9, into=str)
    assert caught.value.code == -8


@pytest.mark.parametrize("password", ["p@ss/w:rd#?%41 ö", "%", "x" * 3000])
async def test_passwords_that_no_url_can_hold_arrive_as_they_are(password: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(password + "\n")
    async with FakeNode() as fake:
        fake.login, fake.answers["uptime"] = f"watcher:{password}", 7
        assert await ask(Rpc(url=fake.url, user="watcher", password_file=tmp_path / "password")) == 7


async def test_the_cookie_is_read_for_every_call(tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    async with FakeNode() as fake:
        fake.answers["uptime"] = 7
        node = OneOff(Rpc(url=fake.url, cookie_file=cookie))
        for life in ("first", "second"):
            fake.login = f"__cookie__:{life}"
            cookie.write_text(fake.login)
            assert await asyncio.to_thread(node.call, "uptime", into=int) == 7
        cookie.unlink()
        with pytest.raises(errors.NodeUnreachable, match="no cookie file"):
            await asyncio.to_thread(node.call, "uptime", into=int)


async def test_a_call_without_a_login_sends_none() -> None:
    async with canned(http(OK)) as (settings, seen):
        await asyncio.to_thread(OneOff(settings).ask, "uptime", into=int, anonymous=True)
        assert await ask(settings) == 7
    assert len(seen) == 2
    assert b"Authorization" not in seen[0] + seen[1]


async def test_each_call_has_its_own_connection_so_that_a_broken_one_harms_no_other() -> None:
    async with FakeNode() as fake:
        fake.answers["uptime"] = 7
        node = OneOff(Rpc(url=fake.url, timeout=2))
        fake.cut = True
        with pytest.raises(errors.NodeError):
            await asyncio.to_thread(node.call, "uptime", into=int)
        fake.cut = False
        answers = await asyncio.gather(*(asyncio.to_thread(node.call, "uptime", into=int) for _ in range(8)))
        assert answers == [7] * 8
        assert len(fake.connections) == 9


async def test_a_wallet_s_path_is_kept() -> None:
    async with canned(http(OK)) as (settings, seen):
        await ask(Rpc(url=settings.url + "/wallet/my%20wallet"))
    assert seen[0].startswith(b"POST /wallet/my%20wallet HTTP/1.1\r\n")


async def test_a_content_type_with_a_charset_is_json_too() -> None:
    async with canned(http(OK, "Content-Type: application/json; charset=utf-8")) as (settings, _):
        assert await ask(settings) == 7


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"5", b"null", b'"error"', b'{"error": "no"}', b'{"id": 1}', b'{"error": 5}', b"[" * 100_000,
     b'{"result": 1e999999999999999999999, "error": null, "id": 1}', b'{"result": 1, "error": null}', b"\xff\xfe",
     b'{"error": {"code": "x", "message": {"a": 1}}, "id": 1}', b'{"result": NaN, "error": null, "id": 1}'],
)  # fmt: skip
async def test_answers_of_any_shape_are_errors_of_ours(body: bytes) -> None:
    async with canned(http(body)) as (settings, _):
        with pytest.raises(errors.NodeError):
            await ask(settings)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\xfa\xbf\xb5\xdaversion\0", b"\0" * 100, b""])
async def test_servers_of_another_kind_are_errors_of_ours(greeting: bytes) -> None:
    async with canned(greeting) as (settings, _):
        with pytest.raises(errors.NodeUnreachable, match="the connection broke"):
            await ask(settings)


@pytest.mark.parametrize("answer", [http(OK), b"HTTP/1.1 100 Continue\r\n\r\n" * 1000])
async def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_the_call(answer: bytes) -> None:
    async with canned(answer, every=0.05) as (settings, _):
        started = time.monotonic()
        with pytest.raises(errors.NodeTimeout, match=r"no answer within 0\.4 s"):
            await ask(settings, timeout=0.4)
        assert time.monotonic() - started < 2


async def test_an_endless_answer_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oneoff, "MAX_REPLY_BYTES", 100_000)
    async with canned(http(b'{"result": "' + b"x" * 3_000_000)) as (settings, _):
        with pytest.raises(errors.ReplyTooLarge, match="larger than 100000 bytes"):
            await ask(settings, into=str)


async def test_the_library_s_log_stays_off_since_it_prints_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with canned(http(b'{"result": "hunter2", "error": null, "id": 1}')) as (settings, _):
        assert await ask(settings, "dumpprivkey", "hunter2", into=str) == "hunter2"
    assert "hunter2" not in caplog.text


async def test_the_times_of_an_exchange_come_with_it() -> None:
    async with canned(http(OK, "Content-Type: application/json", "Date: Sun, 22 Nov 2026 13:00:00 GMT")) as (rpc, _):
        before = time.time()
        answer = await asyncio.to_thread(OneOff(rpc).ask, "uptime", into=int)
    assert before <= answer.sent <= answer.received <= time.time()
    assert answer.date == "Sun, 22 Nov 2026 13:00:00 GMT"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "node.crt", tmp_path / "node.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


async def test_https_with_the_node_s_authority(certificate: tuple[ssl.SSLContext, Path]) -> None:
    context, authority = certificate
    async with FakeNode(tls=context) as fake:
        fake.login, fake.answers["uptime"] = "watcher:hunter2", 7
        rpc = Rpc(url=fake.url, ca_file=authority, user="watcher", password=Secret("hunter2"))
        assert await ask(rpc) == 7


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of asyncio's, about the handshake that we broke off
async def test_https_with_an_unknown_authority_names_the_setting(certificate: tuple[ssl.SSLContext, Path]) -> None:
    async with FakeNode(tls=certificate[0]) as fake:
        with pytest.raises(errors.NodeUnreachable, match=r"the TLS certificate is not accepted; see rpc\.ca_file"):
            await ask(Rpc(url=fake.url, timeout=2))


def test_an_authority_that_cannot_be_read_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"rpc\.ca_file: cannot read"):
        OneOff(Rpc(url="https://127.0.0.1:1", ca_file=tmp_path / "none.pem"))
