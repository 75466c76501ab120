"""Whole scrapes against real nodes, beside the bare batch of the same calls."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.exposition.runner import Runner
from chainwatch.families.bitcoin import FAMILY
from chainwatch.families.bitcoin.settings import BitcoinSettings, Rpc
from tests.bench.measure import Connection, percentile, row, seconds
from tests.lab import Exporter, Node

PAIRS = 400
LEAK_SCRAPES = 10_000


def scrapes(folder: Path, node: Node, *, leak: bool = False) -> None:
    """Print time, CPU and series of a scrape of this node; with `leak` also the memory after 10,000 scrapes."""
    calls = asyncio.run(_calls_of_a_scrape(node))
    body = msgspec.json.encode([{"id": n, "method": m, "params": p} for n, (m, p) in enumerate(calls)])
    login = "Basic " + base64.b64encode(node.cookie_file.read_bytes()).decode()
    with (
        Exporter(folder / "exporter", node) as exporter,
        Connection(exporter.port) as scraper,
        Connection(node.rpc_port) as bare,
    ):
        whole, batch = _in_turns(lambda: scraper.get("/metrics"), lambda: bare.post(body, login))
        series = sum(1 for line in exporter.page().text.splitlines() if not line.startswith("#"))
        row("series", f"{series}", "at least 200")
        row("calls in a scrape", f"{len(calls)}")
        for percent in (50, 99):
            mine, theirs = percentile(whole, percent) * 1e3, percentile(batch, percent) * 1e3
            row(f"p{percent}: scrape, bare batch", f"{mine:.2f}, {theirs:.2f} ms")
            row(f"p{percent}: ratio", f"{mine / theirs:.2f}", "goal 2, bar 3" if percent == 50 else "")
        cpu = exporter.page().value("process_cpu_seconds_total")
        for _ in range(500):
            scraper.get("/metrics")
        cpu = exporter.page().value("process_cpu_seconds_total") - cpu
        row("CPU of the exporter for a scrape", f"{cpu / 501 * 1e3:.2f} ms", "goal 2 ms, bar 3 ms")
        if leak:
            _memory(exporter, scraper)


def _memory(exporter: Exporter, scraper: Connection) -> None:
    marks = []
    for number in range(1, LEAK_SCRAPES + 1):
        scraper.get("/metrics")
        if number % (LEAK_SCRAPES // 4) == 0:
            marks.append(exporter.page().value("process_resident_memory_bytes") / 2**20)
    row(f"resident memory over {LEAK_SCRAPES} scrapes", f"{marks[-1]:.1f} MiB", "bar 60 MiB")
    row("  at each quarter", ", ".join(f"{mark:.1f}" for mark in marks), "no growth")


def _in_turns(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Time both in turns, so that whatever else the machine does falls on both."""
    for _ in range(20):
        one()
        other()
    pairs = [(seconds(one), seconds(other)) for _ in range(PAIRS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


async def _calls_of_a_scrape(node: Node) -> list[tuple[str, tuple[Any, ...]]]:
    """Run the collectors once in this process and list what they ask; of the second run, when caches are filled."""
    settings = BitcoinSettings(rpc=Rpc(url=node.rpc_url, cookie_file=node.cookie_file))
    exporter = FAMILY.start(settings)
    FAMILY.collectors.load()
    calls: dict[tuple[str, str], tuple[str, tuple[Any, ...]]] = {}
    ask = exporter.node.rpc.call

    async def note(method: str, *params: Any, into: Any) -> Any:
        calls[method, repr(params)] = (method, params)
        return await ask(method, *params, into=into)

    built = {r.name: r.build(exporter.node) for r in FAMILY.collectors if r.default}
    runner = Runner(built, [])
    await runner.collect(10)
    supported = {name for name, outcome in runner.last.items() if outcome.supported}
    exporter.node.rpc.call = note
    runner.collectors = {name: collector for name, collector in built.items() if name in supported}
    await runner.collect(10)
    await exporter.close()
    return list(calls.values())
