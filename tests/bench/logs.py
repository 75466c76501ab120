"""Following a node's log as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from chainwatch.families.bitcoin.log.metrics import LogMetrics
from chainwatch.streams.health import StreamHealth
from chainwatch.streams.logfile import LogFollower
from tests.bench.measure import row
from tests.conformance.paths import recording

LINES = 200_000
# Written by real nodes with every debug category on, which is the worst mix.
RECORDINGS = ("litecoind/debug_A_full.log", "bitcoind31/debug_A_full.log")


def log_following(folder: Path) -> None:
    """Print lines a second, by the CPU time of this process and by the clock."""
    for name in RECORDINGS:
        source = recording(name)
        content = source.read_bytes()
        repeats = LINES // content.count(b"\n") + 1
        cpu, wall = asyncio.run(_follow(folder / "debug.log", content, repeats))
        lines = repeats * content.count(b"\n")
        row(f"following {name}", f"{lines / cpu:,.0f} lines/s", "goal 150,000 of CPU time")
        row("  by the clock", f"{lines / wall:,.0f} lines/s")


async def _follow(log: Path, content: bytes, repeats: int) -> tuple[float, float]:
    metrics, health = LogMetrics(), StreamHealth("log")
    read = 0

    def count(chunk: bytes) -> None:
        nonlocal read
        metrics.feed(chunk)
        read += len(chunk)

    log.write_bytes(content[: content.index(b"\n", 20_000) + 1])
    task = asyncio.create_task(LogFollower(log, count, health, prime=metrics.learn).run())
    while not health.connected:
        await asyncio.sleep(0.01)
    with log.open("ab") as file:
        file.write(content * repeats)
    cpu, wall = time.process_time(), time.perf_counter()
    while read < len(content) * repeats:
        await asyncio.sleep(0.005)
    cost = time.process_time() - cpu, time.perf_counter() - wall
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return cost
