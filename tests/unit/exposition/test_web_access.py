"""A real server on the loopback, its web configuration changed under it."""

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from aiohttp import web
from cryptography import x509

from chainwatch.errors import ConfigError
from chainwatch.exposition.web_access import WebAccess

from .certificates import Authority

TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
MUTUAL = (
    "tls_server_config: {cert_file: server.crt, key_file: server.key,"
    " client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}\n"
)


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(cost)).decode()


def users(**passwords: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {hashed(word)}\n" for name, word in passwords.items())


@dataclass
class Answer:
    status: int
    headers: dict[str, str]


@dataclass
class Server:
    access: WebAccess
    file: Path
    url: str

    async def get(
        self, tls: ssl.SSLContext | None = None, auth: tuple[str, str] | None = None, path: str = "/metrics"
    ) -> Answer:
        """One request on a connection of its own."""
        headers = {"Authorization": aiohttp.encode_basic_auth(*auth, encoding="utf-8")} if auth else {}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, ssl=tls or True, headers=headers) as response,
        ):
            await response.read()
            return Answer(response.status, dict(response.headers))

    async def certificate(self, tls: ssl.SSLContext) -> int:
        """The serial number of the certificate that a new connection is shown."""
        host, port = self.url.rpartition("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return x509.load_der_x509_certificate(shown).serial_number


Start = Callable[[str], Awaitable[Server]]


@asynccontextmanager
async def serving(file: Path) -> AsyncIterator[Server]:
    access = WebAccess(file, check_seconds=0)

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="up 1\n")

    app = web.Application()
    app.router.add_get("/metrics", page)
    access.install(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=access.ssl_context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Server(access, file, f"http{'s' if access.ssl_context else ''}://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue("server")
    return authority


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running = []

    async def begin(text: str) -> Server:
        file = tmp_path / "web.yml"
        file.write_text(text)
        context = serving(file)
        running.append(context)
        return await context.__aenter__()

    yield begin
    for context in running:
        await context.__aexit__(None, None, None)


async def test_without_users_everybody_is_served(start: Start) -> None:
    server = await start("")
    assert (await server.get()).status == 200


async def test_the_right_password_opens_every_route_and_nothing_else_does(start: Start) -> None:
    server = await start(users(prometheus="s3cret", other="0ther"))
    assert (await server.get(auth=("prometheus", "s3cret"))).status == 200
    assert (await server.get(auth=("prometheus", "s3cret"), path="/none")).status == 404
    for wrong in [
        None,
        ("prometheus", "wrong"),
        ("prometheus", "0ther"),
        ("nobody", "s3cret"),
        ("", ""),
        ("prometheus", ""),
    ]:
        for path in ("/metrics", "/none"):
            answer = await server.get(auth=wrong, path=path)
            assert answer.status == 401, wrong
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header", ["Bearer abc", "Basic", "Basic !!!", "Basic YWxpY2U=", "Basic YWxpY2U6AA==", "basic \x80"]
)
async def test_a_malformed_authorization_is_refused(start: Start, header: str) -> None:
    server = await start(users(alice="x"))
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + "/metrics", headers={"Authorization": header}) as response,
    ):
        assert response.status == 401


async def test_passwords_in_utf8_and_longer_than_bcrypt_looks_are_right(start: Start) -> None:
    long = "é" * 80
    server = await start(users(alice=long))
    assert (await server.get(auth=("alice", long))).status == 200


def recorded_checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """Password and hash of every bcrypt check from now on."""
    checks: list[tuple[bytes, bytes]] = []
    checkpw = bcrypt.checkpw

    def recorded(word: bytes, digest: bytes) -> bool:
        checks.append((word, digest))
        return checkpw(word, digest)

    monkeypatch.setattr(bcrypt, "checkpw", recorded)
    return checks


async def test_a_right_password_is_checked_by_bcrypt_once_and_a_wrong_one_each_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(users(alice="right"))
    checks = recorded_checks(monkeypatch)
    for _ in range(3):
        assert (await server.get(auth=("alice", "right"))).status == 200
    for _ in range(2):
        assert (await server.get(auth=("alice", "wrong"))).status == 401
        assert (await server.get(auth=("nobody", "right"))).status == 401
    assert [word for word, _ in checks] == [b"right", b"wrong", b"right", b"wrong", b"right"]


async def test_an_unknown_user_costs_as_much_bcrypt_as_a_known_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(users(alice="a"))
    checks = recorded_checks(monkeypatch)
    await server.get(auth=("alice", "wrong"))
    await server.get(auth=("nobody", "wrong"))
    assert checks[0] == checks[1]
    assert (await server.get(auth=("nobody", "a"))).status == 401  # even when the stand-in's password is given


async def test_a_flood_of_wrong_passwords_has_one_thread_and_does_not_lock_out_the_scraper(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(users(prometheus="right"))
    assert (await server.get(auth=("prometheus", "right"))).status == 200
    gate, running, most = threading.Event(), [0], [0]

    def slow(word: bytes, digest: bytes) -> bool:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(10)
        running[0] -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    flood = [asyncio.create_task(server.get(auth=("prometheus", f"guess{n}"))) for n in range(20)]
    refused, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status for task in refused} == {429}
    assert (await server.get(auth=("prometheus", "right"))).status == 200
    gate.set()
    statuses = [(await task).status for task in flood]
    assert (statuses.count(401), statuses.count(429)) == (4, 16)
    assert most == [1]


async def test_users_are_read_again_when_the_file_changes(start: Start) -> None:
    server = await start(users(alice="old"))
    assert (await server.get(auth=("alice", "old"))).status == 200
    server.file.write_text(users(alice="new", bob="b"))
    assert (await server.get(auth=("alice", "old"))).status == 401
    assert (await server.get(auth=("alice", "new"))).status == 200
    assert (await server.get(auth=("bob", "b"))).status == 200
    server.file.write_text(users(alice="new"))
    assert (await server.get(auth=("bob", "b"))).status == 401


async def test_a_broken_file_keeps_the_users_from_before_and_says_so_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(users(alice="a"))
    server.file.write_text("basic_auth_users: {alice: a")
    for _ in range(3):
        assert (await server.get(auth=("alice", "a"))).status == 200
        assert (await server.get()).status == 401
    assert not server.access.last_reload_successful
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "the settings from before stay" in errors[0]
    server.file.unlink()
    assert (await server.get()).status == 401
    server.file.write_text(users(alice="b"))
    assert (await server.get(auth=("alice", "b"))).status == 200
    assert server.access.last_reload_successful


async def test_reload_on_request_raises_what_is_wrong(start: Start) -> None:
    server = await start(users(alice="a"))
    server.file.write_text("basic_auth_user: {}")
    with pytest.raises(ConfigError, match=r"basic_auth_user: no such key"):
        server.access.reload()
    assert list(server.access.config.users) == ["alice"]
    assert not server.access.last_reload_successful


async def test_headers_are_on_pages_errors_and_refusals(start: Start) -> None:
    given = "X-Frame-Options: deny, Strict-Transport-Security: max-age=9, X-XSS-Protection: ''"
    headers = f"http_server_config: {{headers: {{{given}}}}}\n"
    server = await start(headers + users(alice="a"))
    for answer in (
        await server.get(auth=("alice", "a")),
        await server.get(auth=("alice", "a"), path="/none"),
        await server.get(),
    ):
        assert answer.headers["X-Frame-Options"] == "deny"
        assert answer.headers["Strict-Transport-Security"] == "max-age=9"
        assert "X-XSS-Protection" not in answer.headers
    server.file.write_text(users(alice="a"))
    assert "X-Frame-Options" not in (await server.get()).headers


async def test_pages_are_served_by_tls_and_not_in_the_clear(start: Start, authority: Authority) -> None:
    server = await start(TLS)
    assert (await server.get(authority.client())).status == 200
    server.url = server.url.replace("https", "http")
    with pytest.raises(aiohttp.ClientError):
        await server.get()


async def test_a_client_certificate_of_the_authority_is_accepted_and_no_other(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(MUTUAL)
    assert (await server.get(authority.client(authority.issue("prometheus")))).status == 200
    stranger = Authority(tmp_path, "stranger")
    for certificate in (None, stranger.issue("prometheus", file="forged")):
        with pytest.raises(aiohttp.ClientError):
            await server.get(authority.client(certificate))


async def test_a_client_may_come_without_certificate_where_it_is_optional_but_not_with_a_bad_one(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"))
    assert (await server.get(authority.client())).status == 200
    with pytest.raises(aiohttp.ClientError):
        await server.get(authority.client(Authority(tmp_path, "stranger").issue("forged")))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (x509.DNSName("prometheus.example"), 200),
        (x509.UniformResourceIdentifier("spiffe://site/prometheus"), 200),
        (x509.IPAddress(ipaddress.ip_address("2001:db8::1")), 200),
        (x509.RFC822Name("ops@site.example"), 200),
        (x509.DNSName("grafana.example"), 403),
    ],
)
async def test_only_certificates_with_an_allowed_name_are_served(
    start: Start, authority: Authority, name: x509.GeneralName, status: int
) -> None:
    allowed = "[prometheus.example, 'spiffe://site/prometheus', '2001:db8::1', ops@site.example]"
    server = await start(MUTUAL.replace("}", f", client_allowed_sans: {allowed}}}"))
    assert (await server.get(authority.client(authority.issue("client", name)))).status == status


async def test_a_renewed_certificate_is_used_by_the_next_connection(start: Start, authority: Authority) -> None:
    server = await start(TLS)
    before = await server.certificate(authority.client())
    assert await server.certificate(authority.client()) == before
    crt, key = authority.issue("server", file="renewed")
    crt.replace(crt.with_name("server.crt"))
    # Between the two replacements certificate and key do not fit: the old pair goes on serving.
    assert await server.certificate(authority.client()) == before
    assert not server.access.last_reload_successful
    key.replace(key.with_name("server.key"))
    after = await server.certificate(authority.client())
    assert after != before
    assert server.access.last_reload_successful


async def test_a_certificate_mended_after_the_file_named_a_broken_one_is_noticed(
    start: Start, authority: Authority
) -> None:
    server = await start(TLS)
    before = await server.certificate(authority.client())
    server.file.write_text(TLS.replace("server.", "next."))
    assert await server.certificate(authority.client()) == before
    authority.issue("next")
    assert await server.certificate(authority.client()) != before


async def test_an_authority_that_was_replaced_opens_no_more_doors(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server = await start(MUTUAL)
    old = authority.client(authority.issue("prometheus"))
    assert (await server.get(old)).status == 200
    successor = Authority(tmp_path, "successor")
    new = authority.client(successor.issue("prometheus", file="new"))
    successor.file.replace(tmp_path / "ca.pem")
    assert (await server.get(new)).status == 200
    with pytest.raises(aiohttp.ClientError):
        await server.get(old)


async def test_turning_tls_on_or_off_needs_a_restart(
    start: Start, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(TLS)
    server.file.write_text("")
    assert (await server.get(authority.client())).status == 200
    assert "TLS was turned off, which needs a restart" in caplog.text
    plain = await start("")
    plain.file.write_text(TLS)
    assert (await plain.get()).status == 200
    assert "TLS was turned on, which needs a restart" in caplog.text


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(TLS)
    with pytest.raises(ConfigError, match=r"web\.yml: tls_server_config\.cert_file: cannot read"):
        WebAccess(file)


async def test_the_file_is_looked_at_no_more_than_once_in_the_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(users(alice="a"))
    access = WebAccess(file, check_seconds=3600)
    access.refresh()
    file.write_text(users(bob="b"))
    access.refresh()
    assert list(access.config.users) == ["alice"]
    access.reload()
    assert list(access.config.users) == ["bob"]
