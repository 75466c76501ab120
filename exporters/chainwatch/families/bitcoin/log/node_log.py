"""The node's own log, followed for what the node tells nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
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


class NodeLog:
    """Follows one debug.log; `run` follows, `collect` reads."""

    def __init__(self, file: Path, rpc: BitcoinRpc) -> None:
        self._rpc = rpc
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
