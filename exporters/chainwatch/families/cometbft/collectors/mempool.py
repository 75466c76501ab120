"""Transactions that wait for a block, from /num_unconfirmed_txs."""

from collections.abc import Iterable

from prometheus_client import Metric

from chainwatch.exposition.collector import Collector
from chainwatch.exposition.fleet import MEMPOOL_BYTES, MEMPOOL_TRANSACTIONS
from chainwatch.families.cometbft.collectors import COMETBFT
from chainwatch.families.cometbft.node import CometbftNode


@COMETBFT.register("mempool")
class MempoolCollector(Collector[CometbftNode]):
    """Transactions that wait for a block: count and bytes."""

    async def collect(self) -> Iterable[Metric]:
        """Ask /num_unconfirmed_txs."""
        info = await self.node.unconfirmed_txs()
        return [*MEMPOOL_TRANSACTIONS.sample(info.total), *MEMPOOL_BYTES.sample(info.total_bytes)]
