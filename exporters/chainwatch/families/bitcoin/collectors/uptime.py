"""When the node's process started, from uptime."""

import time
from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.fleet import NODE_START
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode

# The node answers in whole seconds, so that now less uptime is off by up to one, and the answer takes its time.
JITTER_SECONDS = 2


@BITCOIN.register("uptime")
class UptimeCollector(Collector[BitcoinNode]):
    """When the node started; the value changes only when it starts again, or when a clock is set."""

    def __init__(self, node: BitcoinNode) -> None:
        super().__init__(node)
        self._start: int | None = None

    async def collect(self) -> Iterable[Metric]:
        """Ask uptime."""
        start = round(time.time() - await self.node.rpc.call("uptime", into=int))
        if self._start is None or abs(start - self._start) > JITTER_SECONDS:
            self._start = start
        return NODE_START.sample(self._start)
