"""The node's own log, followed for what the node tells nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import Metric

from chainwatch.errors import NodeError
from chainwatch.exposition.stream_metrics import stream_metrics
from chainwatch.families.bitcoin.client import BitcoinRpc
from chainwatch.families.bitcoin.log.metrics import LogMetrics
from chainwatch.streams.health import StreamHealth
from chainwatch.streams.logfile import LogFollower

# An operator may switch debug categories at any time (RPC `logging`); a restart of the node resets them.
CATEGORIES_SECONDS = 60.0
# Every node writes a line for each block that it connects. It is read well before this has passed.
PATIENCE_SECONDS = 60.0
CHECK_SECONDS = 5.0


class NodeLog:
    """Follows one debug.log; `run` follows, `collect` reads.

    `moved_after` returns the Unix time after which the node's tip last moved, None while it has not: what is quiet
    is told from what is deaf by blocks of which the log says nothing.
    """

    def __init__(self, file: Path, rpc: BitcoinRpc, moved_after: Callable[[], float | None]) -> None:
        self._rpc = rpc
        self._moved_after = moved_after
        self._metrics = LogMetrics()
        self._health = StreamHealth("log")
        self._follower = LogFollower(file, self._metrics.feed, self._health, prime=self._metrics.learn)

    @property
    def status(self) -> str:
        """Which file, and how it fares, for a person."""
        return self._follower.status

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follower.run())
            tasks.create_task(self._ask_categories())
            tasks.create_task(self._listen())

    def collect(self) -> Iterable[Metric]:
        """Return what was counted, and how the stream fares."""
        yield from self._metrics.collect()
        yield from stream_metrics([self._health])

    async def _ask_categories(self) -> None:
        """Ask now and then which categories the node writes; where it may not be asked, its lines must tell."""
        while True:
            with contextlib.suppress(NodeError):
                answer = await self._rpc.call("logging", into=dict[str, bool | int])
                self._metrics.categories([category for category, active in answer.items() if active])
            await asyncio.sleep(CATEGORIES_SECONDS)

    async def _listen(self) -> None:
        """Compare the log with the tip now and then."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            moved, heard = self._moved_after(), self._health.last_event_timestamp
            if moved is not None and (heard or 0) < moved < time.time() - PATIENCE_SECONDS:
                self._follower.silent()
