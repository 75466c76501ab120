"""The whole program as systemd runs it, before a node that a test misleads."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from msgspec import structs

from chainwatch.config import load
from chainwatch.errors import ConfigError
from chainwatch.exposition import service as module
from chainwatch.exposition.service import Service
from chainwatch.families.bitcoin import FAMILY
from chainwatch.families.bitcoin.exporter import BitcoinExporter
from chainwatch.families.bitcoin.settings import BitcoinSettings
from tests.unit.bitcoin.fake_node import FIXTURES, FakeNode

PASSWORD = "correct-horse"
FROZEN = {"*": 3600.0}


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    async with FakeNode(FIXTURES / "bitcoind31") as fake:
        yield fake


@dataclass
class Running:
    """The program, with what it said so far in `log`."""

    process: asyncio.subprocess.Process
    log: Path
    url: str = ""

    def said(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log.read_text()))

    async def until_said(self, pattern: str, times: int = 1) -> None:
        await until(lambda: self.said(pattern) >= times or self.process.returncode is not None, pattern)
        assert self.said(pattern) >= times, self.log.read_text()

    async def page(self, timeout: float = 5) -> dict[str, float]:
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": str(timeout), "Accept": "text/plain"}
        async with aiohttp.request("GET", f"{self.url}/metrics", headers=headers) as response:
            text = await response.text()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {re.sub(r'chain="[^"]*",?', "", name).replace("{}", ""): float(value) for name, _, value in lines}

    async def stopped(self, signal_number: int = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signal_number)
        async with asyncio.timeout(15):
            code = await self.process.wait()
        return code, time.monotonic() - started


async def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def chainwatch(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, ready: bool = True
) -> AsyncIterator[Running]:
    log = folder / "output.log"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CHAINWATCH_", "NOTIFY_", "WATCHDOG_", "STATE_"))}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chainwatch", "bitcoin", "--web.listen-address=127.0.0.1:0", *arguments,
            stdout=output, stderr=output, env={**clean, **(environment or {})},
        )  # fmt: skip
    running = Running(process, log)
    try:
        if ready:
            await running.until_said("answers at ")
            running.url = re.findall(r"answers at (http://[^/]+)/", log.read_text())[0]
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# its end


async def test_it_answers_and_ends_at_sigterm(node: FakeNode, tmp_path: Path) -> None:
    async with chainwatch(tmp_path, f"--rpc.url={node.url}") as running:
        page = await running.page()
        assert page["chainwatch_up"] == 1
        assert page["chainwatch_config_last_reload_successful"] == 1
        assert page["process_resident_memory_bytes"] > 1e6
        code, seconds = await running.stopped()
    assert (code, seconds < 3) == (0, True)
    assert "Traceback" not in running.log.read_text()
    assert "never retrieved" not in running.log.read_text()


async def test_ctrl_c_is_a_clean_end_too(node: FakeNode, tmp_path: Path) -> None:
    async with chainwatch(tmp_path, f"--rpc.url={node.url}") as running:
        code, _ = await running.stopped(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in running.log.read_text()


async def test_it_ends_in_time_while_a_scrape_hangs_on_a_frozen_node(node: FakeNode, tmp_path: Path) -> None:
    node.delays = FROZEN
    async with chainwatch(tmp_path, f"--rpc.url={node.url}", "--rpc.timeout=60") as running:
        scrapes = [asyncio.create_task(running.page(60)) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert len(node.requests) >= 3
        code, seconds = await running.stopped()
        results = await asyncio.gather(*scrapes, return_exceptions=True)
    assert code == 0
    assert 0.9 < seconds < 5  # a scrape under way is given a second
    assert all(isinstance(result, aiohttp.ClientError) for result in results)
    assert "Traceback" not in running.log.read_text()


async def test_it_ends_in_time_while_a_file_cannot_be_read_to_its_end(node: FakeNode, tmp_path: Path) -> None:
    """As on a network file system that is gone: the thread that reads cannot be stopped."""
    file = tmp_path / "chainwatch.yml"
    file.write_text(f"rpc: {{url: '{node.url}'}}\n")
    async with chainwatch(tmp_path, f"--config.file={file}") as running:
        file.unlink()
        os.mkfifo(file)
        running.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.3)
        assert (await running.page())["chainwatch_up"] == 1
        code, seconds = await running.stopped()
    assert (code, seconds < 5) == (0, True)


# its start


async def test_a_taken_port_is_one_line(node: FakeNode, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        arguments = (f"--rpc.url={node.url}", f"--web.listen-address={address}")
        async with chainwatch(tmp_path, *arguments, ready=False) as running:
            assert await running.process.wait() == 1
    assert running.log.read_text() == (
        f"chainwatch: web.listen_address: cannot listen on {address}: Address already in use; "
        "expected an address of this machine and a free port\n"
    )


async def test_it_starts_beside_a_node_that_is_down_and_says_so(tmp_path: Path) -> None:
    async with FakeNode() as fake:
        url = fake.url
    async with chainwatch(tmp_path, f"--rpc.url={url}") as running:
        page = await running.page()
        assert page["chainwatch_up"] == 0
        assert page['chainwatch_collector_success{collector="blockchain"}'] == 0
        assert not [name for name in page if name.startswith(("bitcoin_headers", "chainwatch_tip_height"))]


# new settings


class Settings:
    """A file of settings, and a program that was started with it."""

    def __init__(self, file: Path, node: FakeNode) -> None:
        self.file, self.node = file, node

    def write(self, **sections: Any) -> None:
        sections["rpc"] = {"url": self.node.url, **sections.get("rpc", {})}
        lines = [f"{name}: {{{', '.join(f'{k}: {v!r}' for k, v in keys.items())}}}" for name, keys in sections.items()]
        self.file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def settings(node: FakeNode, tmp_path: Path) -> Settings:
    return Settings(tmp_path / "chainwatch.yml", node)


async def post_reload(running: Running) -> tuple[int, str]:
    async with aiohttp.request("POST", f"{running.url}/-/reload") as response:
        return response.status, await response.text()


async def test_a_reload_takes_over_a_new_password(node: FakeNode, settings: Settings, tmp_path: Path) -> None:
    node.login = f"alice:{PASSWORD}"
    settings.write(rpc={"user": "alice", "password": "old"})
    async with chainwatch(tmp_path, f"--config.file={settings.file}") as running:
        assert (await running.page())["chainwatch_up"] == 0
        settings.write(rpc={"user": "alice", "password": PASSWORD})
        running.process.send_signal(signal.SIGHUP)
        await running.until_said("msg=reloaded")
        assert (await running.page())["chainwatch_up"] == 1
    assert PASSWORD not in running.log.read_text()


async def test_wrong_settings_keep_the_old_ones_and_say_so(settings: Settings, tmp_path: Path) -> None:
    settings.write()
    async with chainwatch(tmp_path, f"--config.file={settings.file}") as running:
        before = await running.page()
        settings.file.write_text("rpc: {timeout: soon}\n")
        status, text = await post_reload(running)
        assert status == 500
        assert text.startswith("The old settings stay: rpc.timeout: 'soon' is not valid ")
        page = await running.page()
        assert (page["chainwatch_up"], page["chainwatch_config_last_reload_successful"]) == (1, 0)
        when = "chainwatch_config_last_reload_success_timestamp_seconds"
        assert page[when] == before[when]
        settings.write()
        assert await post_reload(running) == (200, "The settings are in force.\n")
        page = await running.page()
        assert page["chainwatch_config_last_reload_successful"] == 1
        assert page[when] > before[when]


async def test_what_needs_a_restart_is_named_until_it_happens(settings: Settings, tmp_path: Path) -> None:
    settings.write()
    async with chainwatch(tmp_path, f"--config.file={settings.file}") as running:
        settings.write(web={"max_connections": 5, "telemetry_path": "/m"}, rpc={"timeout": 3})
        for _ in range(2):
            assert (await post_reload(running))[0] == 200
        wanted = r"these settings take effect after a restart: web\.telemetry_path, web\.max_connections"
        await running.until_said(wanted, times=2)
        assert (await running.page())["chainwatch_up"] == 1
        settings.write()
        assert (await post_reload(running))[0] == 200
        assert running.said("after a restart") == 2


async def test_a_reload_switches_collectors(settings: Settings, tmp_path: Path) -> None:
    settings.write(collector={"mempool": False})
    async with chainwatch(tmp_path, f"--config.file={settings.file}") as running:
        success = 'chainwatch_collector_success{collector="mempool"}'
        assert success not in await running.page()
        settings.write(collector={"blockchain": False})
        assert (await post_reload(running))[0] == 200
        page = await running.page()
        assert page[success] == 1
        assert 'chainwatch_collector_success{collector="blockchain"}' not in page


async def test_a_web_configuration_that_turns_wrong_shows_in_the_metric(settings: Settings, tmp_path: Path) -> None:
    web_file = tmp_path / "web.yml"
    web_file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    settings.write()
    async with chainwatch(tmp_path, f"--config.file={settings.file}", f"--web.config.file={web_file}") as running:
        async with aiohttp.request("GET", running.url + "/-/healthy") as response:
            assert response.headers["X-Frame-Options"] == "deny"
        web_file.write_text("nonsense: {}\n")
        status, text = await post_reload(running)
        assert (status, "nonsense: no such key" in text) == (500, True)
        assert (await running.page())["chainwatch_config_last_reload_successful"] == 0


# what systemd hears


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


async def test_systemd_hears_of_start_reload_and_end(
    settings: Settings, manager: socket.socket, tmp_path: Path
) -> None:
    settings.write()
    loop = asyncio.get_running_loop()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    heard: list[str] = []

    async def hears(word: str) -> None:
        async with asyncio.timeout(20):
            while not heard or not heard[-1].startswith(word):
                heard.append((await loop.sock_recv(manager, 4096)).decode())

    async with chainwatch(tmp_path, f"--config.file={settings.file}", environment=environment) as running:
        await hears("READY=1")
        await hears("WATCHDOG=1")
        running.process.send_signal(signal.SIGHUP)
        await hears("RELOADING=1\nMONOTONIC_USEC=")
        await hears("READY=1")
        assert (await running.stopped())[0] == 0
        await hears("STOPPING=1")
    assert {message.partition("\n")[0] for message in heard} == {
        "READY=1", "WATCHDOG=1", "RELOADING=1", "STOPPING=1",
    }  # fmt: skip


# inside


def bitcoin(**flags: Any) -> BitcoinSettings:
    names = [registration.name for registration in FAMILY.collectors]
    flags = {key.replace("__", "."): value for key, value in flags.items()}
    return load(BitcoinSettings, file=None, environ={}, flags=flags, switches=names)


@pytest.fixture(autouse=True)
def all_collectors() -> None:
    FAMILY.collectors.load()


async def test_collectors_that_stay_keep_what_they_remember() -> None:
    given = [bitcoin()]
    service = Service(FAMILY, lambda: given[0])
    before = dict(service._runner.collectors)
    given[0] = bitcoin(collector__mempool=False, collector__utxo_set=True)
    assert await service.reload() is None
    after = service._runner.collectors
    assert after["blockchain"] is before["blockchain"]
    assert after.keys() - before.keys() == {"utxo_set"}
    assert before.keys() - after.keys() == {"mempool"}
    await service._finish()


async def test_a_reload_that_fails_by_our_own_mistake_changes_nothing_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(FAMILY, bitcoin)
    service._load = lambda: 1 // 0  # type: ignore[assignment, return-value]
    assert await service.reload() == "an error of chainwatch; see its log"
    assert "ZeroDivisionError" in caplog.text
    assert next(sample.value for metric in service._reloads.collect() for sample in metric.samples) == 0
    await service._finish()


async def test_two_reloads_at_once_come_one_after_the_other() -> None:
    under_way = most = 0

    def slow() -> BitcoinSettings:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.05)
        under_way -= 1
        return bitcoin()

    service = Service(FAMILY, slow)
    await asyncio.gather(service.reload(), service.reload(), service.reload())
    assert most == 1
    await service._finish()


async def test_background_work_that_fails_starts_again_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.01)
    service = Service(FAMILY, bitcoin)
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1
        raise ValueError("the same")

    service._start(service._keep_going("follower", work))
    await until(lambda: times >= 3, "three attempts")
    assert [record.getMessage() for record in caplog.records] == ["follower stopped, and starts again: the same"]
    await service._finish()


async def test_what_hangs_at_the_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(FAMILY, bitcoin)

    async def close() -> None:
        await asyncio.sleep(3600)

    service._exporter.close = close  # type: ignore[method-assign]
    started = time.monotonic()
    await service._finish()
    assert time.monotonic() - started < 2
    assert "did not close in time" in caplog.text


def test_settings_that_cannot_work_are_refused_before_anything_starts(tmp_path: Path) -> None:
    wrong = structs.replace(bitcoin(), web=structs.replace(bitcoin().web, listen_address="nowhere"))
    with pytest.raises(ConfigError, match=r"web\.listen_address"):
        Service(FAMILY, lambda: wrong)


async def test_a_familys_own_routes_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    class WithPages(BitcoinExporter):
        def routes(self) -> list[web.RouteDef]:
            return [web.get("/hello", hello)]

    family = dataclasses.replace(FAMILY, start=WithPages, pages={"/hello": "Hello"})
    settings = bitcoin(web__listen_address="127.0.0.1:0")
    urls: list[str] = []

    def info(text: str, *given: str) -> None:
        if "answers at" in text:
            urls.append(given[1])

    monkeypatch.setattr(module.log, "info", info)
    monkeypatch.setattr(module, "_end_anyway", lambda: None)
    serving = asyncio.create_task(Service(family, lambda: settings).run())
    await until(lambda: bool(urls), "the service to answer")
    async with aiohttp.request("GET", f"{urls[0]}/hello") as response:
        assert await response.text() == "hello"
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 10)


def test_a_familys_own_paths_are_not_for_the_metrics() -> None:
    family = dataclasses.replace(FAMILY, pages={"/hello": "Hello"})
    taken = bitcoin(web__telemetry_path="/hello")
    module.check(FAMILY, taken)
    with pytest.raises(ConfigError, match=r"^web\.telemetry_path: /hello is a path of chainwatch's own"):
        module.check(family, taken)
