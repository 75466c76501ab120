"""The exporter's own troubles, and those of its streams and scrapers: what a person is told, and what others notice."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import BitcoinSV, Exporter, Litecoind, Process, Prometheus, ZmqRelay, join, part, same_tip, wait_until
from tests.live.site import SCRAPE_SECONDS, Site, running

SV_CHAIN = "bitcoinsv-regtest"
DEPTH = 3


class World:
    """A pair of nodes of which one is watched, a node with ZMQ behind a relay, the site, and a second Prometheus."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = Litecoind(folder / "a", "a"), Litecoind(folder / "b", "b")
        self.sv = BitcoinSV(folder / "sv", "sv")
        self.relay = ZmqRelay(self.sv.zmq_url)
        self.watch_a = Exporter(folder / "watch-a", self.a)
        self.watch_sv = Exporter(folder / "watch-sv", self.sv, settings={"zmq.url": self.relay.url})
        exporters = [self.watch_a, self.watch_sv]
        self.site = Site(folder / "servers", exporters, thresholds={SV_CHAIN: {"stream_silent_seconds": 3}})
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
    wait_until(
        lambda: world.watch_sv.page().get("chainwatch_stream_last_event_timestamp_seconds", stream="zmq"),
        "the first message",
    )
    world.relay.lose("hashblock", 1_000_000)
    silent = wait_until(lambda: silent_after(world), "the stream to be silent for the threshold", timeout=30)
    assert silent.value("chainwatch_tip_height") == world.sv.height
    page = world.site.page("ChainwatchStreamSilent", watch, stream="zmq")
    assert page.receiver == "chat"
    world.relay.stop()
    world.site.page("ChainwatchStreamDown", watch, stream="zmq")
    world.sv.mine(3)
    world.watch_sv.wait_value("chainwatch_tip_height", world.sv.height)
    relay = ZmqRelay(world.sv.zmq_url)
    relay.url = world.relay.url
    with relay:
        world.site.resolved("ChainwatchStreamDown", watch, stream="zmq")
        world.sv.mine(1)
        world.site.resolved("ChainwatchStreamSilent", watch, stream="zmq")
        assert world.site.told(watch, "critical") == set()
