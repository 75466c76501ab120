"""Votes: how many one process settles in a second, and what a scrape costs beside 180 validators."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chainwatch.families.cometbft.consensus.events import decode
from chainwatch.families.cometbft.consensus.ledger import Ledger
from chainwatch.families.cometbft.consensus.model import NodeCondition, Settled, Validator, ValidatorSet
from chainwatch.families.cometbft.consensus.tallies import Tallies
from chainwatch.families.cometbft.frames import decode_frame
from tests.bench import crowd
from tests.bench.measure import Connection, percentile, row, seconds
from tests.lab import Exporter, Process, free_port, wait_until, web

HEALTHY = NodeCondition(answering=True, catching_up=False, peers=20)
VOTES_A_HEIGHT = 2 * crowd.VALIDATORS - 1
MILLION = 1_000_000 // VOTES_A_HEIGHT + 1
# Frames within 100 ms that must all arrive: a height and a bit.
SCRAPES = 200


class CrowdNode:
    """What an exporter watches: the crowd's address."""

    family = "cometbft"

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def watch_settings(self) -> Mapping[str, str | bool | None]:
        """Settings by dotted key with which an exporter reaches it."""
        return {"rpc.url": self.url}

    def go(self, heights: int) -> None:
        """Let it decide so many heights."""
        web.get(f"{self.url}/go?heights={heights}", timeout=10)


@contextmanager
def _crowd(folder: Path) -> Iterator[CrowdNode]:
    port = free_port()
    with Process("crowd", [sys.executable, "-m", "tests.bench.crowd", str(port)], log=folder / "crowd.log") as process:
        node = CrowdNode(port)
        process.wait_ready(lambda: web.get(f"{node.url}/go?heights=0", timeout=2), ignoring=web.NOT_ANSWERING)
        yield node


def votes(folder: Path) -> None:
    """Print what frames cost within the process, then in a whole exporter that reads them from a node."""
    _pipeline()
    with _crowd(folder) as node:
        with Exporter(folder / "all", node) as exporter:
            _whole(node, exporter)
            _scrape(exporter, "180 validators", 5000)
        only = {"validators.own": f"{crowd.ADDRESSES[0]}=mine", "validators.only-own": "true"}
        with Exporter(folder / "own", node, settings=only) as exporter:
            _settled(node, exporter, 20)
            _scrape(exporter, "one's own validators only", 400)


def _pipeline() -> None:
    """Frames to settled and counted heights, without a network: made a height at a time, and not timed."""
    tallies = Tallies({crowd.ADDRESSES[0]: "mine"})
    settled: list[int] = []

    def settle(height: Settled) -> None:
        tallies.count(height, HEALTHY)
        settled.append(height.block.height)

    ledger = Ledger(settle, tallies.double_sign)
    ledger.learn(ValidatorSet(crowd.SET_HASH, tuple(Validator(address, 10) for address in crowd.ADDRESSES)))
    spent = 0.0
    heights = 300
    for height in range(2, heights + 2):
        frames = list(crowd.events(height))
        began = time.perf_counter()
        for raw in frames:
            result = decode_frame(raw).result
            event = decode(result) if result else None
            if event is not None:
                ledger.take(event, began)
        for name in ledger.wanted_sets():
            ledger.learn(ValidatorSet(name, tuple(Validator(address, 10) for address in crowd.ADDRESSES)))
        spent += time.perf_counter() - began
    assert len(settled) == heights - 1, f"{len(settled)} of {heights} heights settled"
    row(
        "votes settled a second, decoded and counted",
        f"{heights * VOTES_A_HEIGHT / spent:,.0f}",
        "goal 20000, bar 10000",
    )


def _settled(node: CrowdNode, exporter: Exporter, heights: int) -> float:
    """Let the node decide heights, and return the seconds until all but the last are settled."""
    wait_until(lambda: exporter.page().get("chainwatch_stream_connected", stream="consensus") == 1, "the stream")
    before = _heights(exporter)
    began = time.perf_counter()
    node.go(heights)
    wait_until(
        lambda: _heights(exporter) - before >= heights - 1, f"{heights} heights settled", timeout=300, interval=0.5
    )
    return time.perf_counter() - began


def _heights(exporter: Exporter) -> float:
    """How many are settled; read off the page by hand, since a parser would take more than the exporter itself."""
    page = web.get(f"{exporter.url}/metrics", timeout=10).decode()
    return sum(map(float, re.findall(r"^cometbft_heights_settled_total{.*} (\S+)$", page, re.MULTILINE)))


def _whole(node: CrowdNode, exporter: Exporter) -> None:
    _settled(node, exporter, 3)
    page = exporter.page()
    before = page.value("process_cpu_seconds_total")
    marks = []
    took = 0.0
    for _ in range(4):
        took += _settled(node, exporter, MILLION // 4)
        marks.append(exporter.page().value("process_resident_memory_bytes") / 2**20)
    page = exporter.page()
    cpu = page.value("process_cpu_seconds_total") - before
    number = MILLION // 4 * 4 * VOTES_A_HEIGHT
    row(f"{number:,} votes by websocket, a second", f"{number / took:,.0f}", "goal 20000, bar 10000")
    row("  a second of the exporter's CPU", f"{number / cpu:,.0f}")
    row("  resident memory at each quarter", ", ".join(f"{mark:.1f}" for mark in marks), "MiB, no growth")
    lost = sum(page.samples("cometbft_stream_dropped_frames_total").values())
    settled = {
        dict(labels)["how"]: int(value) for labels, value in page.samples("cometbft_heights_settled_total").items()
    }
    row("  frames lost; heights watched, partial, filled", f"{lost:.0f}; {settled}", "none; all but the first")


def _scrape(exporter: Exporter, what: str, bar: int) -> None:
    page = exporter.page()
    row(f"series, {what}", f"{sum(not line.startswith('#') for line in page.text.splitlines())}", f"bar {bar}")
    with Connection(exporter.port) as scraper:
        times = [seconds(lambda: scraper.get("/metrics")) for _ in range(SCRAPES)]
    row(
        f"scrape, {what}: p50, p99",
        f"{percentile(times, 50) * 1e3:.1f}, {percentile(times, 99) * 1e3:.1f} ms",
        "goal 15, bar 60 ms",
    )
