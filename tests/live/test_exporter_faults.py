"""The exporter's own troubles, and those of its streams and scrapers: what a person is told, and what others notice."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import (
    BitcoinSV,
    Exporter,
    Litecoind,
    Page,
    Process,
    Prometheus,
    ZmqRelay,
    join,
    part,
    same_tip,
    wait_until,
)
from tests.live.site import SCRAPE_SECONDS, Site, running

SV_CHAIN = "bitcoinsv-regtest"
SILENT_SECONDS = 3
DEPTH = 3


class ExporterOnSmallDisk(Exporter):
    """An exporter whose state folder is a file system of its own, as large as a few pages of memory.

    The file system is mounted in a mount namespace of the exporter's own, so that it ends with it; we reach it by
    way of /proc.
    """

    def _process(self) -> Process:
        process = super()._process()
        mount = 'mount -t tmpfs -o size=64k,mode=700 state "$0" && exec "$@"'
        process.command = ["unshare", "--mount", "sh", "-c", mount, str(self.state_dir), *process.command]
        return process

    @property
    def disk(self) -> Path:
        """The state folder as the exporter sees it."""
        return Path(f"/proc/{self.process.pid}/root{self.state_dir}")

    def fill_disk(self) -> None:
        """Write until nothing more fits."""
        with (self.disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1024))

    def free_disk(self) -> None:
        """Give the room back."""
        (self.disk / "filler").unlink()


@dataclass(frozen=True)
class FullDisk:
    """What a full disk did to an exporter, as seen while it was full; meanwhile it has room again."""

    node: Litecoind
    exporter: ExporterOnSmallDisk
    page: Page
    log: str
    state_before: str
    state: str


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullDisk]:
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root, or who has CAP_SYS_ADMIN, may mount a small disk")
    folder = tmp_path_factory.mktemp("full-disk")
    with Litecoind(folder / "node") as node:
        node.mine(5)
        with ExporterOnSmallDisk(folder / "exporter", node) as exporter:
            wait_until(lambda: node.tip in written(exporter), "the exporter to write down the tip")
            before = written(exporter)
            exporter.fill_disk()
            node.mine(3)
            wait_until(lambda: "state file" in exporter.process.log_tail(), "the exporter to fail")
            page = exporter.wait_value("bitcoin_blocks_connected_total", 3)
            log, after = exporter.process.log_tail(), written(exporter)
            exporter.free_disk()
            yield FullDisk(node, exporter, page, log, before, after)


def test_a_full_disk_costs_the_state_file_and_nothing_else(full_disk: FullDisk) -> None:
    assert "No space left on device" in full_disk.log
    assert full_disk.state == full_disk.state_before  # whole, though old: nothing was cut
    assert full_disk.page.value("chainwatch_up") == 1
    assert full_disk.page.value("chainwatch_tip_height") == 8


def written(exporter: ExporterOnSmallDisk) -> str:
    """What stands on the small disk for the exporter's next start."""
    return "".join(file.read_text() for file in exporter.disk.glob("*.json"))


class World:
    """A pair of nodes of which one is watched, a node with ZMQ behind a relay, the site, and a second Prometheus."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = Litecoind(folder / "a", "a"), Litecoind(folder / "b", "b")
        self.sv = BitcoinSV(folder / "sv", "sv")
        self.relay = ZmqRelay(self.sv.zmq_url)
        self.watch_a = Exporter(folder / "watch-a", self.a)
        self.watch_sv = Exporter(folder / "watch-sv", self.sv, settings={"zmq.url": self.relay.url})
        exporters = [self.watch_a, self.watch_sv]
        self.site = Site(
            folder / "servers", exporters, thresholds={SV_CHAIN: {"stream_silent_seconds": SILENT_SECONDS}}
        )
        self.second = Prometheus(
            folder / "second",
            targets={"bitcoin": [exporter.address for exporter in exporters]},
            scrape_interval=f"{SCRAPE_SECONDS}s",
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    it = World(tmp_path_factory.mktemp("world"))
    with running(it.a, it.b, it.sv):
        it.a.connect(it.b)
        it.a.mine(5)
        it.sv.mine(5)
        same_tip(it.a, it.b)
        with it.relay, running(*it.site.exporters), it.site, it.second:
            yield it


def test_an_exporter_killed_while_its_chain_reorganises_pages_for_it_once(world: World) -> None:
    world.watch_a.wait_value("chainwatch_tip_height", world.a.height)
    part(world.a, world.b)
    world.a.mine(DEPTH)
    world.b.mine(DEPTH + 1)
    world.watch_a.wait_value("chainwatch_tip_height", world.a.height)
    wait_until(lambda: world.a.tip in saved(world.watch_a), "the exporter to write down the tip")
    world.watch_a.kill()
    join(world.a, world.b)
    world.watch_a.start()
    page = world.site.page("ChainwatchDeepReorg", world.watch_a.address)
    assert f"up to {DEPTH} blocks" in page.annotations["description"]
    world.site.resolved("ChainwatchDeepReorg", world.watch_a.address)
    wait_until(lambda: world.a.tip in saved(world.watch_a), "the exporter to write down the tip")
    world.watch_a.kill()
    world.a.mine(1)
    world.watch_a.start()
    world.watch_a.wait_value("chainwatch_tip_height", world.a.height)
    counted = world.watch_a.page()
    assert counted.value("chainwatch_reorgs_total", origin="network") == 1
    assert counted.value("chainwatch_reorg_depth_blocks_sum", origin="network") == DEPTH
    world.site.evaluated()
    assert len(world.site.pages("ChainwatchDeepReorg")) == 1


def saved(exporter: Exporter) -> str:
    """What the exporter has written down for its next start."""
    return "".join(file.read_text() for file in exporter.state_dir.glob("*.json"))


def test_a_zmq_stream_that_withholds_blocks_or_ends_is_told_while_the_tip_is_followed(world: World) -> None:
    watch = world.watch_sv.address
    world.watch_sv.wait_value("chainwatch_stream_connected", 1, stream="zmq")
    world.sv.mine(1)
    heard = wait_until(
        lambda: world.watch_sv.page().get("chainwatch_stream_last_event_timestamp_seconds", stream="zmq"),
        "the first message",
    )
    world.relay.lose("hashblock", 1_000_000)
    wait_until(lambda: time.time() > heard + SILENT_SECONDS + 1, "the next block's turn")
    world.sv.mine(1)
    page = world.site.page("ChainwatchStreamSilent", watch, stream="zmq")
    assert page.receiver == "chat"
    world.relay.stop()
    world.site.page("ChainwatchStreamDown", watch, stream="zmq")
    world.sv.mine(3)
    world.watch_sv.wait_value("chainwatch_tip_height", world.sv.height)
    relay = ZmqRelay(world.sv.zmq_url)
    relay.url = world.relay.url
    with relay:
        # A stream that was deaf is sound with the first message that it brings.
        wait_until(
            lambda: world.sv.mine(1) and world.watch_sv.page().get("chainwatch_stream_connected", stream="zmq") == 1,
            "a block to be heard of",
            timeout=60,
            interval=1,
        )
        world.site.resolved("ChainwatchStreamDown", watch, stream="zmq")
        world.site.resolved("ChainwatchStreamSilent", watch, stream="zmq")
        assert world.site.told(watch, "critical") == set()


def test_two_servers_that_scrape_at_once_see_the_same(world: World) -> None:
    world.watch_a.wait_value("chainwatch_tip_height", world.a.height)
    world.site.evaluated()
    query = "chainwatch_tip_height or chainwatch_reorgs_total or bitcoin_blocks_connected_total"
    wait_until(
        lambda: sorted(map(str, world.second.query(query))) == sorted(map(str, world.site.prometheus.query(query))),
        "both servers to know the same",
    )
    assert len(world.second.query("chainwatch_up == 1")) == 2


def test_clients_that_read_nothing_or_never_finish_asking_cost_the_scrapers_nothing(world: World) -> None:
    clients = [dawdler(world.watch_a.port, whole=bool(number % 2)) for number in range(40)]
    try:
        watched = f'up{{instance="{world.watch_a.address}"}}'
        for _ in range(2):
            world.site.evaluated()
        for server in (world.site.prometheus, world.second):
            assert server.query(f"min_over_time({watched}[{2 * SCRAPE_SECONDS}s])")[0][1] == 1
        assert world.watch_a.page(SCRAPE_SECONDS).value("chainwatch_up") == 1
    finally:
        for client in clients:
            client.close()


def dawdler(port: int, *, whole: bool) -> socket.socket:
    """A client that asks many times and takes no answer, or does not even end its first question."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.connect(("127.0.0.1", port))
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
    client.sendall((request + b"\r\n") * 20 if whole else request)
    return client


def test_a_disk_that_has_room_again_is_written_to(full_disk: FullDisk) -> None:
    wait_until(
        lambda: full_disk.node.tip in written(full_disk.exporter), "another try to write", timeout=60, interval=0.5
    )


def test_the_watchdog_calls_again_and_again(world: World) -> None:
    # Prometheus forgets what it sent before it knew its Alertmanager, and sends it again after a minute.
    heard = world.site.webhook.received
    wait_until(
        lambda: len(heard("ChainwatchWatchdog")) >= 2,
        "the watchdog's second call",
        timeout=150,
        interval=0.5,
    )
    assert {notice.receiver for notice in heard("ChainwatchWatchdog")} == {"deadman"}
    assert heard("ChainwatchWatchdog", "resolved") == []
