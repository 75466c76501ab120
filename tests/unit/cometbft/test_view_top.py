"""`chainwatch cometbft top`, before an exporter, on a terminal and without one."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from chainwatch.config import Web
from chainwatch.errors import BadReply, ChainwatchError, ConfigError, NodeUnreachable
from chainwatch.families.cometbft.settings import CometbftSettings, Top
from chainwatch.families.cometbft.view import reader
from chainwatch.families.cometbft.view.reader import Exporter, address, events, exporter

from .test_view_feed import serve
from .view_scene import halted

RUN = (
    "import sys; from chainwatch.errors import ChainwatchError\n"
    "from chainwatch.families.cometbft.settings import CometbftSettings, Top\n"
    "from chainwatch.families.cometbft.view.top import run\n"
    "try: sys.exit(run(CometbftSettings(top=Top(url=sys.argv[1]))))\n"
    "except ChainwatchError as error: sys.exit(f'chainwatch: {error}')\n"
)


def at(url: str, **top: Any) -> Exporter:
    return exporter(CometbftSettings(top=Top(url=url, **top)))


@asynccontextmanager
async def answering(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refused_with(response: web.Response) -> str:
    async def handler(_: web.Request) -> web.Response:
        return response

    async with answering(handler) as url:
        with pytest.raises(ChainwatchError) as raised:
            await at(url).once()
    return str(raised.value)


# where


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:11333", "http://127.0.0.1:11333"), (":8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"), ("[::]:8000", "http://[::1]:8000"),
        ("host.example:80", "http://host.example"),
    ],
)  # fmt: skip
def test_the_exporter_is_where_it_listens(listen: str, url: str) -> None:
    assert address(CometbftSettings(web=Web(listen_address=listen))) == URL(url)


@pytest.mark.parametrize(
    ("top", "key"),
    [
        (Top(url="127.0.0.1:11333"), "top.url"), (Top(url="http://a:secret@h:1"), "top.url"),
        (Top(url="http://["), "top.url"), (Top(user="a"), "top.user"), (Top(password_file=Path("/none")), "top.user"),
        (Top(user="a", password_file=Path("/none")), "top.password_file"), (Top(ca_file=Path("/none")), "top.ca_file"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(top: Top, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: ") as raised:
        exporter(CometbftSettings(top=top))
    assert "secret" not in str(raised.value)


def test_a_port_that_the_system_chooses_cannot_be_guessed() -> None:
    with pytest.raises(ConfigError, match=r"^top\.url: not given"):
        exporter(CometbftSettings(web=Web(listen_address="127.0.0.1:0")))


# the exporter's answers


async def test_the_path_of_a_proxy_is_kept() -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("Authorization")))
        return web.Response(status=404)

    async with answering(handler) as url:
        with pytest.raises(BadReply, match="HTTP 404"):
            await at(url + "/node1/").once()
    assert asked == [("/node1/api/v1/consensus", None)]


async def test_the_login_is_sent(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pw\n")
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.Response(status=401)

    async with answering(handler) as url:
        with pytest.raises(BadReply, match="a user and a password are needed"):
            await at(url, user="u", password_file=tmp_path / "password").once()
    assert asked == ["Basic dTpwdw=="]


async def test_an_answer_of_something_else_is_one_clear_sentence() -> None:
    assert "version 2; this program reads 1" in await refused_with(web.json_response({"version": 2}))
    assert "not as documented" in await refused_with(web.json_response({"version": 1}))
    assert "is this a chainwatch exporter?" in await refused_with(web.Response(text="<html>"))
    assert "is this a chainwatch exporter?" in await refused_with(web.Response(body=b"[" * 100_000))
    assert "HTTP 302" in await refused_with(web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}))


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    assert "longer than 1000 bytes" in await refused_with(web.Response(body=b"x" * 5000))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    with pytest.raises(BadReply, match="an event of more than 1000 bytes"):
        [event async for event in events(chunks())]


async def test_nobody_there_is_one_clear_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(NodeUnreachable, match=r"Connection refused; does `chainwatch cometbft` run there\?"):
            await at(url).once()


async def test_an_exporter_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SILENCE_SECONDS", 0.3)

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with answering(handler) as url:
        with pytest.raises(NodeUnreachable, match=r"no answer within 0\.3 s"):
            await at(url).once()


async def test_events_are_put_together_from_any_pieces() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in b": hello\ndata: {1}\n\ndata:{2}\r\n\r\nid: 3\ndata: {3":
            yield bytes([byte])

    assert [event async for event in events(chunks())] == [b"{1}", b"{2}"]


# the program


async def test_without_a_terminal_one_frame_is_printed() -> None:
    async with serve(halted()) as site:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", RUN, site.url],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Halted: no quorum. 50.0 %" in done.stdout
    assert "\x1b" not in done.stdout


def test_without_an_exporter_it_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "http://127.0.0.1:1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("chainwatch: /api/v1/consensus at 127.0.0.1:1: Connection refused")


class Terminal:
    """A program on a terminal of 80 by 24."""

    def __init__(self, url: str) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, url], stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True,
            preexec_fn=os.setsid,
        )  # fmt: skip
        os.close(slave)
        self.output = ""

    async def until(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in self.output:
            assert time.monotonic() < deadline, self.output[-2000:]
            await asyncio.sleep(0.02)
            try:
                self.output += os.read(self.master, 65536).decode()
            except BlockingIOError:
                continue
            except OSError:
                break
        assert text in self.output, self.output[-2000:]

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


async def test_on_a_terminal_it_lives_until_q() -> None:
    async with serve(halted()) as site:
        terminal = Terminal(site.url)
        try:
            await terminal.until("newest block 5")
            assert "\x1b[?1049h" in terminal.output
            site.scene.tip = 6
            await terminal.until("newest block 6")
            terminal.type(b"q")
            await terminal.until("\x1b[?1049l")
            assert await terminal.ended() == 0
        finally:
            terminal.close()
        await site.count(0)


async def test_an_exporter_that_goes_away_is_told_and_found_again_and_sigterm_ends_it() -> None:
    async with serve(halted()) as site:
        terminal = Terminal(site.url)
        try:
            await terminal.until("newest block 5")
            await site.count(1)
            await site.server.__aexit__()
            site.server._servers.clear()
            await terminal.until("OLD DATA")
            terminal.process.terminate()
            await terminal.until("\x1b[?1049l")
            assert await terminal.ended() == 128 + 15
        finally:
            terminal.close()
