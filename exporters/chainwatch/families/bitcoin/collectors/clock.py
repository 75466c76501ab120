"""The node's clock against its peers', from getnetworkinfo."""

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.fleet import CLOCK_OFFSET
from chainwatch.families.bitcoin.collectors import BITCOIN
from chainwatch.families.bitcoin.node import BitcoinNode


@BITCOIN.register("clock")
class ClockCollector(Collector[BitcoinNode]):
    """How far the peers' clocks are ahead of the node's, as the node sees it."""

    async def collect(self) -> Iterable[Metric]:
        """Ask getnetworkinfo."""
        info = await self.node.network_info()
        # Without peers the node reports 0, which nobody has measured.
        return CLOCK_OFFSET.sample(info.timeoffset if info.connections else None)
