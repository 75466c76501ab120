"""A scrape of a node with 125 peers, made of a recorded one."""

from __future__ import annotations

import asyncio
import json

from chainwatch.exposition.runner import Runner
from chainwatch.families.bitcoin import FAMILY
from chainwatch.families.bitcoin.settings import BitcoinSettings, Rpc
from tests.bench.measure import percentile, row
from tests.unit.bitcoin.fake_node import FIXTURES, FakeNode

PEERS = 125
ROUNDS = 100


def many_peers() -> None:
    """Print what a collection costs with 1 and with 125 peers, in turns, and the ratio."""
    few, many = asyncio.run(_measure())
    row(f"collection with 1 and with {PEERS} peers, p50", f"{few * 1e3:.2f}, {many * 1e3:.2f} ms")
    row("  ratio", f"{many / few:.2f}")


async def _measure() -> tuple[float, float]:
    FAMILY.collectors.load()
    folder = FIXTURES / "bitcoind31"
    peer = json.loads((folder / "getpeerinfo.json").read_text())[0]
    async with FakeNode(folder) as node:
        exporter = FAMILY.start(BitcoinSettings(rpc=Rpc(url=node.url)))
        runner = Runner({r.name: r.build(exporter.node) for r in FAMILY.collectors if r.default}, exporter.sources)
        loop = asyncio.get_running_loop()
        times: dict[int, list[float]] = {1: [], PEERS: []}
        for _ in range(ROUNDS):
            for count, taken in times.items():
                node.answers["getpeerinfo"] = [
                    {**peer, "id": number, "inbound": number % 2 == 0} for number in range(count)
                ]
                began = loop.time()
                await runner.collect(10)
                taken.append(loop.time() - began)
        await exporter.close()
    return percentile(times[1], 50), percentile(times[PEERS], 50)
